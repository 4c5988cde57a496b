"""Sets the budget of a token or a project."""

from django.contrib.auth.models import User
from django.db import transaction

from labeling.models import ApiToken, Project
from serving.models import Budget
from serving.replicas.changes import announce
from slmstudio.access import Action, require
from slmstudio.errors import Refused
from slmstudio.hooks import note_audit

FIELDS = ("requests_per_month", "tokens_per_month", "requests_per_minute", "tokens_per_minute")
MAX_LIMIT = 10**15


def set_budget(*, project: Project, user: User, token: ApiToken | None = None, **limits: int | None) -> Budget | None:
    """The budget of a token, or of the project; None where no limit is left. ``limits``: of ``FIELDS``.

    Raises:
        Refused: a limit is not a positive number; ``field`` names it.
    """
    require(project, user, Action.ADMINISTER)
    for name, limit in limits.items():
        if name not in FIELDS or (limit is not None and not 1 <= limit <= MAX_LIMIT):
            raise Refused("Enter a whole number of at least 1.", field=name, code="limit")
    values = {name: limits.get(name) for name in FIELDS}
    about = f"budget of token {token.prefix}" if token is not None else "budget of the project"
    with transaction.atomic():
        Project.objects.select_for_update(no_key=True).get(pk=project.pk)
        rows = Budget.objects.filter(project=project, token=token)
        budget = rows.first()
        if all(limit is None for limit in values.values()):
            rows.delete()
            budget = None
        elif budget is None:
            budget = Budget.objects.create(project=project, token=token, **values)
        else:
            rows.update(**values)
            budget.refresh_from_db()
        note_audit(project=project, user=user, action="changed", about=about, details=values)
        transaction.on_commit(announce)
    return budget
