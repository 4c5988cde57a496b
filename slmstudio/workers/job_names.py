"""The jobs that a worker runs, and the job class that runs no others.

Other programs may write to Valkey: a job in it can name any function, callbacks, URLs to call, and bytes that a pickle
would execute. So a worker runs a job only if its function is one of ``allowed()`` and its argument is a row's id; it
never calls a callback or a URL that a job names; and everything is read as JSON.
"""

import logging
from functools import cache
from typing import Any

from django.apps import apps
from rq import serializers
from rq.exceptions import DeserializationError
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.utils import import_attribute

logger = logging.getLogger(__name__)

#: dotted names of registered jobs
_registered: set[str] = set()


class JobRejected(Exception):
    """A rejected job; the message is a sentence."""


def register(name: str) -> None:
    """Allows one more job by its dotted name. The job of a ``BackgroundRun`` is allowed by its ``job_name``."""
    _registered.add(name)


def allowed() -> frozenset[str]:
    """The dotted names of all allowed jobs."""
    return _of_runs() | _registered


@cache
def _of_runs() -> frozenset[str]:
    """The names of the jobs of all kinds of runs."""
    from slmstudio.runs.reaper import run_models

    apps.check_models_ready()
    return frozenset(model.job_name for model in run_models() if model.job_name)


class StudioJob(Job):
    """A job whose function is one of ``allowed()`` and has one row's id as argument; it calls nothing else."""

    def __init__(self, id: str | None = None, connection: Any = None, serializer: Any = None) -> None:  # noqa: A002
        super().__init__(id, connection, JSONSerializer)

    def restore(self, raw_data: Any) -> None:
        super().restore(raw_data)
        self.webhooks = []  # no job of this application has any; a worker calls no URL from the queue

    @property
    def func(self) -> Any:
        """The function of the job.

        Raises:
            JobRefused: it is not allowed, or has other arguments than one id.
        """
        reason = self._refusal()
        if reason:
            logger.warning("rejected job %s of the queue %s: %s", self.id, self.origin, reason)
            raise JobRejected(reason)
        return import_attribute(str(self.func_name))

    @property
    def success_callback(self) -> None:
        """None: no callback is called."""

    @property
    def failure_callback(self) -> None:
        """None: no callback is called."""

    @property
    def stopped_callback(self) -> None:
        """None: no callback is called."""

    def _refusal(self) -> str:
        """Why a worker rejects this job, as a sentence; "" if it runs it."""
        try:
            name, instance, args, kwargs = self.func_name, self.instance, self.args, self.kwargs
        except DeserializationError:
            return "The data is not valid JSON."
        if not isinstance(name, str) or name not in allowed():
            return f"{str(name)[:200]!r} is not a job of this application."
        if instance is not None or kwargs or not isinstance(args, list | tuple) or len(args) != 1:
            return f"{name} takes only the ID of one row."
        if type(args[0]) is not int or args[0] < 0:
            return f"{name} takes the ID of a row, not {str(args[0])[:80]!r}."
        if self._success_callback_name or self._failure_callback_name or self._stopped_callback_name:
            return "It names a callback, and no job of this application has one."
        return ""


def read_only_json() -> None:
    """Makes JSON RQ's default serializer. RQ's own default executes what it reads, and some of its parts (groups,
    executions) accept no other.
    """
    for name in ("DefaultSerializer", "PickleSerializer"):
        setattr(serializers, name, JSONSerializer)
    serializers.SERIALIZER_ALIASES["pickle"] = JSONSerializer
