"""The log as JSON, one object a line, with what is known about the request. Without Django: child processes use it."""

import json
import logging
import os
import re
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

#: variables of child processes: the format of the log, and the request that led to them
FORMAT_VARIABLE, ID_VARIABLE = "LOG_FORMAT", "SLM_REQUEST_ID"
_SANE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,99}")
_facts: ContextVar[Mapping[str, Any]] = ContextVar("log_facts", default=MappingProxyType({}))


@contextmanager
def log_facts(**facts: Any) -> Iterator[None]:
    """Adds facts such as ``request_id`` and ``address`` to all lines of this thread or task within the block.

    A fact can be a function, which is called for each line.
    """
    token = _facts.set({**_facts.get(), **facts})
    try:
        yield
    finally:
        _facts.reset(token)


def set_log_facts(**facts: Any) -> None:
    """Sets the facts of this thread or task for all lines that follow; without any, they have none."""
    _facts.set(facts)


def request_id() -> str:
    """The ID of the request that is handled, or that queued the job that runs; "" outside of one."""
    return str(_facts.get().get("request_id", ""))


def sane_id(given: object) -> str:
    """The ID that a client or a job names, if it is short and has only letters, digits and ``._:-``; or a new one."""
    return given if isinstance(given, str) and _SANE_ID.fullmatch(given) else str(uuid.uuid4())


class JsonLines(logging.Formatter):
    """One object for each record. ``extra={"facts": {...}}`` of a call adds members."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name, value in {**_facts.get(), **getattr(record, "facts", {})}.items():
            known = value() if callable(value) else value
            if known not in ("", None):
                line[name] = known
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def child_variables() -> dict[str, str]:
    """The environment with which a child process logs as this one, with the same request."""
    found = {FORMAT_VARIABLE: os.environ.get(FORMAT_VARIABLE, ""), ID_VARIABLE: request_id()}
    return {name: value for name, value in found.items() if value}


def log_as_parent() -> None:
    """Logs on standard error as the parent of this child process does."""
    if os.environ.get(FORMAT_VARIABLE) != "json":
        return
    set_log_facts(request_id=os.environ.get(ID_VARIABLE, ""))
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
