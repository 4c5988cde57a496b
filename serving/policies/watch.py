"""Watches error budgets: once the audit shows that one is exceeded, nothing is automatic any more.

``check_all`` is a periodic task.
"""

import logging

from django.db import DatabaseError, connection, transaction

from serving.models import AnswerPolicy, Deployment
from serving.policies.audit import Audit, audit_of
from serving.policies.services import break_budget, budget_text
from slmstudio.text.formatting import percent

logger = logging.getLogger(__name__)
#: no query takes longer: the deployment is locked
_STATEMENT_TIMEOUT = "5s"


def check_all() -> int:
    """Checks every budget that holds; returns how many were broken."""
    broken = 0
    rows = AnswerPolicy.objects.filter(budget_wrong__isnull=False, broken_at=None, audit_since__isnull=False)
    for pk in rows.order_by("pk").values_list("deployment_id", flat=True):
        try:
            broken += check(pk)
        except DatabaseError:
            raise
        except Exception:  # other budgets are checked all the same
            logger.exception("error budget of deployment %s", pk)
    return broken


def check(deployment_id: int) -> bool:
    """Whether the budget of a deployment was broken now."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('statement_timeout', %s, true)", [_STATEMENT_TIMEOUT])
        rows = Deployment.objects.select_for_update(of=("self",), skip_locked=True).with_releases()
        deployment: Deployment | None = rows.filter(pk=deployment_id).first()
        policy = AnswerPolicy.objects.filter(deployment=deployment_id).first()
        if deployment is None or policy is None:
            return False
        audit = audit_of(deployment, policy)
        if audit is None or not audit.is_broken:
            return False
        return break_budget(deployment=deployment, reason=sentence(policy, audit))


def sentence(policy: AnswerPolicy, audit: Audit) -> str:
    """What the audit found."""
    low, _ = audit.interval
    return (
        f"The audit found {audit.wrong:,} of {audit.counted:,} {policy.get_budget_unit_display().lower()} wrong: "
        f"at least {percent(low, 2)}; the budget is {budget_text(policy)}."
    )
