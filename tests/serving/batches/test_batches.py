"""Batches: every line of the input becomes one line of the result, whatever happens in between."""

import io
import json
import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from labeling.integrations import tokens, webhooks
from labeling.models import WebhookDelivery
from serving.batches import jobs, lines, services
from serving.gateway.tokens import Pass, verify_pass
from serving.models import BatchRun, Deployment
from serving.retention import services as retention
from slmstudio.errors import Refused
from slmstudio.runs import supervisor
from slmstudio.runs.models import Status
from slmstudio.storage.artifacts import local_path
from tests.evaluation.factories import World
from tests.serving.batches.gateway import Gateway, gateway, right


@pytest.fixture
def stand_in(settings: Any) -> Iterator[Gateway]:
    with gateway() as running:
        settings.GATEWAY_URL = running.url
        yield running


def start(world: World, *rows: Any, **options: Any) -> BatchRun:
    """A batch of these lines; bytes are lines as they are."""
    body = b"".join(row if isinstance(row, bytes) else json.dumps(row).encode() + b"\n" for row in rows)
    values = {
        "project": world.project,
        "user": world.engineer,
        "source": io.BytesIO(body),
        "name": "a.jsonl",
        **options,
    }
    return services.start(**values)[0]


def run(batch: BatchRun) -> BatchRun:
    """The batch after one turn of its job."""
    batch.refresh_from_db()
    jobs.run_batch(batch.pk)
    batch.refresh_from_db()
    return batch


def result(batch: BatchRun) -> list[dict[str, Any]]:
    return [json.loads(line) for line in local_path(batch.result_key).read_bytes().splitlines()]


def documents(number: int) -> list[dict[str, str]]:
    return [{"id": f"d{number}", "text": f"{number}"} for number in range(1, number + 1)]


PAGE = {"width": 10, "height": 20, "lines": [{"text": "1", "bbox": [0.5, 1, 2.25, 3]}]}


def test_bad_lines_cost_only_themselves(world: World, deployment: Deployment, stand_in: Gateway) -> None:
    def reply(text: str) -> tuple[int, dict[str, Any]]:
        return (502, {"code": "invalid_output", "detail": "No."}) if text == "bad" else right(text)

    stand_in.reply = reply
    sent = [
        {"id": 7, "text": "1", "caller": "ana"}, b"{\n", b"\xff\n", b"[]\n", b'{"text": "a", "text": "b"}\n', b"\n",
        {"id": "x", "text": 5}, {"text": " "}, {"text": "2", "txt": "3"}, {"text": "bad"},
        {"text": "4", "page": PAGE},
    ]  # fmt: skip
    batch = run(start(world, *sent))
    assert (batch.status, batch.progress_done, batch.progress_total) == (Status.DONE, 10, 10)
    assert (batch.answered, batch.failed) == (2, 8)
    answered = result(batch)
    assert [row["line"] for row in answered] == [1, 2, 3, 4, 5, 7, 8, 9, 10, 11]
    codes = ["", "invalid_json", "invalid_json", "invalid_json", "invalid_json", *["field"] * 3, "invalid_output", ""]
    assert [row.get("error", {}).get("code", "") for row in answered] == codes
    assert (answered[0]["id"], answered[0]["output"]["number"], answered[5]["id"]) == (
        "7",
        "1",
        "x",
    )
    assert b'"total": 12.5,' in local_path(batch.result_key).read_bytes().replace(b'":12', b'": 12')
    assert stand_in.pages == {"1": None, "4": PAGE, "bad": None}
    assert [verify_pass(token) for token in stand_in.tokens] == [Pass("invoices", None, is_batch=True)]


def test_a_batch_goes_on_where_a_killed_worker_stopped(world: World, deployment: Deployment, stand_in: Gateway) -> None:
    batch = start(world, *documents(6))
    kept = lines.result_line(lines.Line(2, "d2", "2"), {"output": {}}, None)
    local_path(batch.result_key).write_bytes(kept + b'{"line":3,"id":"d3","outp')
    batch = run(batch)
    assert (batch.status, batch.answered, batch.failed) == (Status.DONE, 6, 0)
    assert [row["line"] for row in result(batch)] == [1, 2, 3, 4, 5, 6]
    assert sorted(stand_in.asked) == ["1", "3", "4", "5", "6"]


def test_a_stopping_worker_puts_it_back(
    world: World, deployment: Deployment, stand_in: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = start(world, *documents(3))
    monkeypatch.setattr(supervisor, "stop_requested", lambda: True)
    batch = run(batch)
    assert (batch.status, batch.progress_done, batch.attempts_since_restart) == (Status.QUEUED, 0, 0)


def test_other_jobs_have_their_turn(
    world: World, deployment: Deployment, stand_in: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "SLICE_SECONDS", 0.0)
    monkeypatch.setattr(jobs, "_PROGRESS_SECONDS", 0.02)
    waiting = [True]
    monkeypatch.setattr(jobs, "_others_wait", lambda run: waiting[0] and bool(stand_in.asked))
    stand_in.delay = 0.05
    batch = run(start(world, *documents(40)))
    assert batch.status == Status.QUEUED
    assert 0 < batch.progress_done < 40
    waiting[0], stand_in.delay = False, 0.0
    monkeypatch.setattr(jobs, "_PROGRESS_SECONDS", 1.0)
    batch = run(batch)
    assert (batch.status, batch.answered) == (Status.DONE, 40)
    assert sorted(stand_in.asked, key=int) == [f"{number}" for number in range(1, 41)]


def test_a_spent_budget_stops_it_until_it_is_resumed(world: World, deployment: Deployment, stand_in: Gateway) -> None:
    def reply(text: str) -> tuple[int, dict[str, Any]]:
        return (429, {"code": "budget", "detail": "It is spent."}) if len(stand_in.asked) > 3 else right(text)

    stand_in.reply = reply
    batch = run(start(world, *documents(6)))
    assert (batch.status, batch.code, batch.error, batch.answered) == (Status.FAILED, "budget", "It is spent.", 3)
    assert batch.can_resume
    assert batch.has_result
    stand_in.reply = right
    services.resume(run=batch, user=world.engineer)
    batch = run(batch)
    assert (batch.status, batch.code, batch.answered) == (Status.DONE, "", 6)
    assert [row["line"] for row in result(batch)] == [1, 2, 3, 4, 5, 6]
    with pytest.raises(Refused, match="ended"):
        services.resume(run=batch, user=world.engineer)


def test_live_requests_go_first(
    world: World, deployment: Deployment, stand_in: Gateway, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    """One place of the replica stays free, and a busy gateway is asked again."""
    monkeypatch.setattr(jobs, "BUSY_SECONDS", 0.01)
    settings.REPLICA_SLOTS = 4
    stand_in.delay = 0.01
    seen: set[str] = set()

    def reply(text: str) -> tuple[int, dict[str, Any]]:
        first = text not in seen
        seen.add(text)
        return (429, {"code": "busy", "detail": ""}) if first else right(text)

    stand_in.reply = reply
    batch = run(start(world, *documents(12)))
    assert (batch.status, batch.answered, batch.failed) == (Status.DONE, 12, 0)
    assert stand_in.most == 3
    assert len(stand_in.asked) == 24


def test_it_ends_where_the_model_is_away_for_too_long(
    world: World, deployment: Deployment, stand_in: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "AWAY_SECONDS", 0.01)
    monkeypatch.setattr(jobs, "PATIENCE_SECONDS", 0.05)
    stand_in.reply = lambda text: (503, {"code": "no_replica", "detail": "The model is not running."})
    batch = run(start(world, *documents(2)))
    assert (batch.status, batch.code, batch.progress_done) == (Status.FAILED, "away", 0)


def test_a_document_that_times_out_twice_is_an_error(
    world: World, deployment: Deployment, stand_in: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "AWAY_SECONDS", 0.01)
    stand_in.reply = lambda text: (504, {"code": "timeout", "detail": ""}) if text == "1" else right(text)
    batch = run(start(world, *documents(2)))
    assert (batch.status, batch.answered, batch.failed) == (Status.DONE, 1, 1)
    assert result(batch)[0]["error"]["code"] == "timeout"


def test_a_revoked_token_stops_it(
    world: World, deployment: Deployment, stand_in: Gateway, recwarn: pytest.WarningsRecorder
) -> None:
    token, _ = tokens.create(project=world.project, user=world.engineer, name="t", scopes=["extract"], days=None)
    batch = start(world, *documents(2), token=token)
    tokens.revoke(token=token, user=world.engineer)
    batch = run(batch)
    assert (batch.status, batch.code) == (Status.FAILED, "invalid_token")
    assert stand_in.asked == []
    assert not [
        warning.message for warning in recwarn if warning.category is RuntimeWarning
    ]  # a coroutine that nothing awaits


def test_a_cancelled_batch_keeps_what_it_has(
    world: World, deployment: Deployment, stand_in: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "_PROGRESS_SECONDS", 0.02)
    stand_in.delay = 0.05
    batch = start(world, *documents(50))

    def cancel(run: BatchRun) -> bool:
        if stand_in.asked:
            services.cancel(run=BatchRun.objects.get(pk=batch.pk), user=world.engineer)
        return False

    monkeypatch.setattr(jobs, "SLICE_SECONDS", 0.0)
    monkeypatch.setattr(jobs, "_others_wait", cancel)
    batch = run(batch)
    assert batch.status == Status.CANCELLED
    assert 0 < batch.answered < 50
    assert len(result(batch)) == batch.answered == batch.progress_done


def test_a_key_starts_one_batch(world: World, deployment: Deployment) -> None:
    first = start(world, *documents(2), key="k")
    assert start(world, *documents(2), key="k").pk == first.pk
    with pytest.raises(Refused) as refused:
        start(world, *documents(3), key="k")
    assert refused.value.code == "idempotency_key"
    assert start(world, *documents(2)).pk != first.pk


def test_inputs_without_documents(world: World, deployment: Deployment) -> None:
    for body, code in (
        (b"", "empty"), (b"\n \n", "empty"), (b"[", "invalid_json"), (b"[]", "empty"), (b"[\xff]", "invalid_json"),
    ):  # fmt: skip
        with pytest.raises(Refused) as refused:
            start(world, body)
        assert refused.value.code == code
    assert not BatchRun.objects.exists()


def test_large_inputs_are_rejected(world: World, deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MAX_LINES", 3)
    monkeypatch.setattr(lines, "MAX_BYTES", 200)
    monkeypatch.setattr(lines, "MAX_ARRAY_BYTES", 100)
    for body, code in (
        (b'{"text":"a"}\n' * 4, "too_many"), (b'{"text":"%s"}\n' % (b"a" * 200), "too_large"),
        (b'[{"text":"a"},{"text":"a"},{"text":"a"},{"text":"a"}]', "too_many"), (b"[" + b" " * 100 + b"]", "too_large"),
    ):  # fmt: skip
        with pytest.raises(Refused) as refused:
            start(world, body)
        assert refused.value.code == code


def test_webhooks_get_its_end(world: World, deployment: Deployment, stand_in: Gateway, settings: Any) -> None:
    settings.OUTBOUND_ALLOW = ["127.0.0.1"]
    webhooks.create(project=world.project, user=world.owner, url=f"{stand_in.url}/hook", events=[services.EVENT])
    batch = run(start(world, *documents(1), b"{\n"))
    [sent] = WebhookDelivery.objects.filter(event=services.EVENT)
    assert sent.payload["batch"] == batch.pk
    assert (sent.payload["status"], sent.payload["answered"], sent.payload["failed"]) == ("done", 1, 1)


def test_files_are_deleted_when_the_project_stores_them_no_longer(
    world: World, deployment: Deployment, stand_in: Gateway
) -> None:
    Deployment.objects.update(retention_days=0)
    old, new, live = (start(world, *documents(1)) for _ in range(3))
    for batch in (old, new):
        run(batch)
    BatchRun.objects.filter(pk=old.pk).update(finished_at=timezone.now() - timedelta(days=1, minutes=1))
    BatchRun.objects.filter(pk=new.pk).update(finished_at=timezone.now() - timedelta(hours=23))
    path = local_path(old.result_key)
    assert path.exists()
    assert services.erase_expired() == 1
    assert not path.parent.exists()
    old.refresh_from_db()
    assert (old.input_key, old.result_key, old.erased_at is None, old.has_result) == ("", "", False, False)
    assert all(local_path(kept.input_key).exists() for kept in (new, live))


def test_documents_of_a_caller_are_erased_from_its_files(
    world: World, deployment: Deployment, stand_in: Gateway
) -> None:
    ids = {text: str(uuid.uuid4()) for text in ("first", "second", "third")}
    stand_in.reply = lambda text: (200, {"output": {}, "request_id": ids[text]})
    rows = [{"id": "a", "text": "first", "caller": "jane"}, {"id": "b", "text": "second"}, b"\n", {"text": "third"}]
    batch = run(start(world, *rows))
    waiting = start(world, *rows)
    before = result(batch)
    erased = retention.erase(project=world.project, user=world.owner, caller="jane")
    assert (erased.lines, erased.live_batches) == (1, 1)
    after = result(batch)
    assert (after[0]["line"], after[0]["id"], after[0]["error"]["code"]) == (1, "", "erased")
    assert after[1:] == before[1:]
    assert "first" not in local_path(batch.input_key).read_text()
    assert [line.number for line in lines.read(local_path(batch.input_key))] == [2, 4]
    assert "first" in local_path(waiting.input_key).read_text()
    # By the id of a request, too.
    again = retention.erase(project=world.project, user=world.owner, ids=[ids["second"]])
    assert again.lines == 1
    assert "second" not in local_path(batch.input_key).read_text()


def test_a_batch_that_stopped_goes_on_without_what_was_erased(
    world: World, deployment: Deployment, stand_in: Gateway
) -> None:
    batch = start(world, *[{"id": str(number), "text": f"text {number}", "caller": "jane"} for number in range(3)])
    services.cancel(run=batch, user=world.engineer)
    batch.refresh_from_db()
    assert retention.erase(project=world.project, user=world.owner, caller="jane").lines == 3
    assert [line["error"]["code"] for line in result(batch)] == ["erased"] * 3
    services.resume(run=batch, user=world.engineer)
    batch = run(batch)
    assert (batch.status, batch.progress_done, stand_in.asked) == ("done", 3, [])
