"""Hooks: a lower app calls functions that higher apps registered, without importing them.

An app registers its functions in ``AppConfig.ready``. Hooks of the project package are below; a hook whose arguments
are types of an app is in the feature that calls it (``labeling/contract/changes.py``,
``labeling/annotation/challenged_labels.py``).
"""

from collections.abc import Callable, Iterable
from typing import Any, Generic, ParamSpec, Protocol, TypeVar

from django.contrib.auth.models import AnonymousUser, User
from django.db.models import Model

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class Hook(Generic[Arguments, Result]):
    """Functions of one type, in the order of registration. Registering one again has no effect."""

    def __init__(self) -> None:
        self._functions: list[Callable[Arguments, Result]] = []

    def register(self, function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
        """Adds a function; also a decorator."""
        if function not in self._functions:
            self._functions.append(function)
        return function

    def unregister(self, function: Callable[Arguments, Result]) -> None:
        """Removes a function, for tests."""
        self._functions.remove(function)

    def call(self, *args: Arguments.args, **kwargs: Arguments.kwargs) -> list[Result]:
        """Calls every function; an exception propagates to the caller."""
        return [function(*args, **kwargs) for function in self._functions]


class ModelHooks(Generic[Arguments, Result]):
    """A hook for each model, by its label (``"training.TrainingRun"``, in any case)."""

    def __init__(self) -> None:
        self._hooks: dict[str, Hook[Arguments, Result]] = {}

    def __getitem__(self, label: str) -> Hook[Arguments, Result]:
        return self._hooks.setdefault(label.lower(), Hook())


class Member(Protocol):
    """A user's membership in a project."""

    project: Any
    role: str


#: a user and the slug of a project -> their membership, if any
membership: Hook[[User | AnonymousUser, str], Member | None] = Hook()
#: an event for the audit log, in the transaction of what happened
audit_noted: Hook[..., object] = Hook()
#: a token or a membership was added, changed or removed, in the transaction of it
access_changed: Hook[[], object] = Hook()
#: the groups of a user at the company's provider, in the transaction that stores them
groups_changed: Hook[[User, list[str]], object] = Hook()
#: the invitation in a session, as its page stored it -> whether an account may be created with it
invitation_checked: Hook[[str], bool] = Hook()
#: the value of an Authorization header -> whether a token in it is valid
token_checked: Hook[[str], bool] = Hook()
#: a project -> the keys of its files and folders in the artifact store
project_files: Hook[[Any], Iterable[str]] = Hook()
#: a project -> bytes that it stores elsewhere, such as in the database
project_bytes: Hook[[Any], int] = Hook()
#: facts that a restored database must have as well, by name: heads of logs, hashes of datasets, counts
backup_facts: Hook[[], dict[str, str]] = Hook()
#: a run of this model has ended with any status, in the transaction of its end
run_ended: ModelHooks[[Any], object] = ModelHooks()
#: the reaper has ended a run of this model
run_reaped: ModelHooks[[Any], object] = ModelHooks()
#: a failed run of this model is requeued: the run and the user; raises ``Refused``
run_restarted: ModelHooks[[Any, User], object] = ModelHooks()


def note_audit(
    *, project: Model, user: User | None, action: str, about: str, details: dict[str, Any] | None = None
) -> None:
    """Sends an event for the audit log, in the transaction of what it reports: who did what.

    ``action`` is a past-tense verb, ``about`` its object; ``details`` are JSON-ready. Secrets never go into
    ``details``.
    """
    audit_noted.call(project=project, user=user, action=action, about=about, details=details)
