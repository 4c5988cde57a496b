"""The name of a project, and its archive.

An archived project is read-only: see ``slmstudio.access``. It serves nothing and runs nothing.
"""

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone
from django.utils.translation import ngettext

from labeling.models import Project
from slmstudio.access import Action, require
from slmstudio.errors import Refused
from slmstudio.hooks import Hook, note_audit
from slmstudio.workers.queues import live_runs

#: a project -> why it is in use, as a sentence with what to do; "" where it is not
project_used: Hook[[Project], str] = Hook()


def use_of(project: Project) -> str:
    """Why a project cannot be archived now, as a sentence; "" if it can."""
    if number := live_runs(project):
        runs = ngettext("%(number)d run is", "%(number)d runs are", number) % {"number": number}
        return f"{runs} in progress. Cancel them, or wait until they end."
    return next(filter(None, project_used.call(project)), "")


@transaction.atomic
def rename(*, project: Project, by: User, name: str) -> None:
    """Gives a project another name; its URL name stays.

    Raises:
        Refused: the name is missing or too long.
    """
    require(project, by, Action.ADMINISTER)
    row, name = _lock(project), " ".join(name.split())
    longest = Project._meta.get_field("name").max_length or 0
    if not name or len(name) > longest:
        raise Refused(f"Enter a name with at most {longest} characters.", field="name")
    if row.name != name:
        note_audit(project=row, user=by, action="renamed", about="project", details={"before": row.name, "after": name})
        _store(row, project, name=name)


@transaction.atomic
def archive(*, project: Project, by: User) -> None:
    """Makes a project read-only and hides it in the list of projects.

    Raises:
        Refused: it is in use.
    """
    require(project, by, Action.ADMINISTER)
    row = _lock(project)
    if row.archived_at is not None:
        return
    _require_unused(row)
    _store(row, project, archived_at=timezone.now())
    note_audit(project=row, user=by, action="archived", about="project")


@transaction.atomic
def restore(*, project: Project, by: User) -> None:
    """Makes an archived project editable again."""
    require(project, by, Action.ADMINISTER)
    row = _lock(project)
    if row.archived_at is not None:
        _store(row, project, archived_at=None)
        note_audit(project=row, user=by, action="restored", about="project")


def _lock(project: Project) -> Project:
    row: Project = Project.objects.select_for_update(no_key=True).get(pk=project.pk)
    return row


def _require_unused(project: Project) -> None:
    if use := use_of(project):
        raise Refused(use, code="in_use")


def _store(row: Project, shown: Project, **columns: object) -> None:
    """Saves columns of a project, and sets them in the one of the page."""
    for name, value in columns.items():
        setattr(row, name, value)
        setattr(shown, name, value)
    row.save(update_fields=list(columns))
