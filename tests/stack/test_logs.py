"""Lines of the log as JSON, the IDs of requests and what has them, and the stream of audit entries."""

import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.test import Client
from django.urls import reverse
from rq import Worker

from labeling.models import ImportRun
from labeling.projects.services import create_project
from slmstudio.accounts import sign_in
from slmstudio.hooks import note_audit
from slmstudio.logs.json_lines import JsonLines, child_variables, log_facts, request_id
from slmstudio.models import SignInEvent
from slmstudio.runs.child_environment import child_environment
from slmstudio.workers.worker import StudioWorker

NAMED = "load-balancer:4711"


class Lines(logging.Handler):
    """Keeps the lines of a logger as they are written with LOG_FORMAT=json."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(JsonLines())
        self.written: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.written.append(json.loads(self.format(record)))


@pytest.fixture
def lines() -> Iterator[Callable[[str], list[dict[str, Any]]]]:
    """Starts to keep the lines of a logger, and returns them."""
    kept: list[tuple[logging.Logger, Lines]] = []

    def keep(name: str) -> list[dict[str, Any]]:
        logger, handler = logging.getLogger(name), Lines()
        logger.addHandler(handler)
        kept.append((logger, handler))
        return handler.written

    yield keep
    for logger, handler in kept:
        logger.removeHandler(handler)


def test_a_line_has_what_is_known_and_the_exception(lines: Any) -> None:
    written = lines("tests.line")
    logger = logging.getLogger("tests.line")
    with log_facts(request_id="r1", user=lambda: "ana", address=""):
        try:
            raise ValueError("first\nsecond")
        except ValueError:
            logger.exception("It %s.", "failed")
    logger.error("Outside.")
    first, second = written
    assert datetime.fromisoformat(first["time"]).utcoffset() is not None
    assert {name: first[name] for name in ("level", "logger", "message", "request_id", "user")} == {
        "level": "ERROR", "logger": "tests.line", "message": "It failed.", "request_id": "r1", "user": "ana",
    }  # fmt: skip
    assert first["exception"].endswith("ValueError: first\nsecond")
    assert "address" not in first
    assert "request_id" not in second


@pytest.mark.parametrize(
    ("given", "is_taken"),
    [(NAMED, True), ("", False), ("a b", False), ('"}', False), ("é1", False), ("x" * 101, False), ("-", False)],
)
def test_a_sane_id_of_a_request_is_taken(db: None, given: str, is_taken: bool) -> None:
    answer = Client().get(reverse("account_login"), headers={"X-Request-Id": given})
    assert (answer["X-Request-Id"] == given) is is_taken
    assert len(answer["X-Request-Id"]) >= 18


def test_the_lines_of_a_request_have_its_id_address_and_user(db: None, lines: Any, settings: Any) -> None:
    settings.LOG_FORMAT = "json"
    access, refused = lines("slmstudio.access"), lines("django.request")
    client = Client(REMOTE_ADDR="192.0.2.7", headers={"X-Request-Id": NAMED})
    client.force_login(User.objects.create_user("ana"))
    client.get("/p/invoices/missing/?text=private")
    [line] = access
    assert (line["method"], line["path"], line["status"]) == ("GET", "/p/invoices/missing/", 404)
    for written in (line, refused[0]):
        assert (written["request_id"], written["address"], written["user"]) == (NAMED, "192.0.2.7", "ana")
    assert "private" not in json.dumps(access)


def test_a_job_has_the_id_of_its_request(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    queued: dict[str, Any] = {}
    seen: list[str] = []

    class Queue:
        def enqueue(self, *args: Any, **options: Any) -> None:
            queued.update(options)

    def perform(*_: Any) -> bool:
        seen.append(request_id())
        return True

    monkeypatch.setattr("slmstudio.runs.models.django_rq.get_queue", lambda name: Queue())
    monkeypatch.setattr(transaction, "on_commit", lambda function: function())
    monkeypatch.setattr(Worker, "perform_job", perform)
    with log_facts(request_id=NAMED):
        ImportRun(pk=1).enqueue()
    assert queued["meta"] == {"request_id": NAMED}
    worker: Any = object.__new__(StudioWorker)
    metas: tuple[Any, ...] = (queued["meta"], {}, ["not", "ours"])
    for meta in metas:
        assert worker.perform_job(type("Job", (), {"meta": meta, "id": "1"}), None, None)
    assert seen[0] == NAMED
    assert len({*seen}) == 3
    assert all(seen)


LOGS = "from slmstudio.logs.json_lines import log_as_parent as start; start(); import logging; logging.warning('Slow.')"


def test_a_child_logs_as_its_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOG_FORMAT", "json")
    with log_facts(request_id=NAMED):
        assert child_variables().items() <= child_environment().items()
        done = subprocess.run(
            [sys.executable, "-c", LOGS],
            env=child_environment(),
            cwd=settings.BASE_DIR,
            capture_output=True,
            text=True,
            check=True,
        )
    line = json.loads(done.stderr)
    assert (line["level"], line["message"], line["request_id"]) == ("WARNING", "Slow.", NAMED)


def test_changes_of_an_account_are_in_the_sign_in_log(db: None) -> None:
    ana = User.objects.create_user("ana", password="correct horse battery")
    client = Client(REMOTE_ADDR="192.0.2.7")
    client.force_login(ana)
    new = "other horse battery"
    sent = {"oldpassword": "correct horse battery", "password1": new, "password2": new}
    client.post(reverse("account_change_password"), sent)
    ana.refresh_from_db()
    assert ana.check_password(new)
    event = SignInEvent.objects.get(kind=SignInEvent.Kind.PASSWORD)
    assert (event.name, event.user_id, event.address) == ("ana", ana.pk, "192.0.2.7")


def test_the_stream_has_entries_once_they_are_stored(
    db: None, lines: Any, django_capture_on_commit_callbacks: Any
) -> None:
    olga = User.objects.create_user("olga")
    project = create_project(name="Invoices", slug="invoices", owner=olga, template="blank")
    written = lines("slmstudio.audit")
    with django_capture_on_commit_callbacks(execute=True):
        note_audit(project=project, user=olga, action="added", about="token 1", details={"days": 90})
        sign_in.log_event(SignInEvent.Kind.FAILED, name="eve", address="192.0.2.9")
        assert written == []
    entry, event = written
    assert (entry["kind"], entry["project"], entry["who"]) == ("audit", project.slug, "olga")
    assert (entry["message"], entry["details"]) == ("olga added token 1", {"days": 90})
    assert (event["kind"], event["who"], event["address"]) == ("sign-in", "eve", "192.0.2.9")


def test_an_administrator_downloads_the_sign_in_log(db: None) -> None:
    root = User.objects.create_superuser("root")
    client = Client()
    client.force_login(root)
    sign_in.log_event(SignInEvent.Kind.FAILED, name="=cmd()", address="192.0.2.9")
    rows = [str(row.pk) for row in SignInEvent.objects.all()]
    sent = {"action": "download", "_selected_action": rows}
    answer: Any = client.post(reverse("admin:slmstudio_signinevent_changelist"), sent)
    text = b"".join(answer.streaming_content).decode("utf-8-sig")
    assert text.splitlines()[0] == "created_at,kind,name,address"
    assert text.splitlines()[-1].endswith(",failed to sign in,'=cmd(),192.0.2.9")
