"""An evaluation over an endpoint that is cut off, fails or is given up: what is not lost, and not paid for twice."""

import json
import threading
import uuid
from typing import Any

import pytest
from django.db import OperationalError
from django.test import Client
from django.urls import reverse

from evaluation.inference import circuit_breaker
from evaluation.models import AuditEntry, Endpoint, EvalOutput, EvalRun
from evaluation.runs import jobs as run_jobs
from evaluation.runs import outputs
from evaluation.runs import services as run_services
from evaluation.runs.jobs import run_evaluation
from slmstudio.errors import Refused
from slmstudio.runs import heartbeat, supervisor
from slmstudio.runs.models import Status
from slmstudio.storage import artifacts
from tests.evaluation.factories import World, endpoint
from tests.evaluation.fake_openai import Fake, error, says
from tests.evaluation.runs.test_external_model import ended, start


def test_a_run_whose_worker_was_lost_pays_for_no_answer_twice(world: World, fake: Fake) -> None:
    run = start(world, endpoint(world, fake.url))
    total, cut = run.progress_total, 4
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(heartbeat.Heartbeat, "__call__", lambda self: len(fake.asked) < cut)
        run_evaluation(run.pk)
    assert len(fake.asked) == cut
    path = artifacts.local_path(run.outputs_key)
    path.write_text(path.read_text() + '{"id": "x", "ra')  # the last line was cut off
    EvalRun.objects.filter(pk=run.pk).update(status=Status.QUEUED)
    EvalOutput.objects.filter(eval_run=run)[0].delete()  # was told, and not stored yet
    run = ended(run)
    assert (run.status, run.error, len(fake.asked)) == (Status.DONE, "", total)
    assert EvalOutput.objects.filter(eval_run=run).count() == run.scores["documents"] == total
    assert outputs.rows_match_file(run)
    assert run.facts["attempts"] == 2
    assert run.facts["docs_per_second"] == pytest.approx(total / run.facts["seconds"], rel=0.1)


def cut_off(run: EvalRun, after: int, fake: Fake) -> None:
    """Asks about some documents; then its worker is lost."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(heartbeat.Heartbeat, "__call__", lambda self: len(fake.asked) < after)
        run_evaluation(run.pk)
    EvalRun.objects.filter(pk=run.pk).update(status=Status.QUEUED, finished_at=None)


def test_a_row_whose_line_is_gone_is_the_one_that_is_asked_for_again(world: World, fake: Fake) -> None:
    """A machine that dies may keep the rows and lose the end of the file."""
    run = start(world, endpoint(world, fake.url), mode="free")
    cut_off(run, 4, fake)
    path = artifacts.local_path(run.outputs_key)
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:2]))
    fake.replies = [says("another answer")]
    run = ended(run)
    assert (run.status, len(fake.asked)) == (Status.DONE, run.progress_total + 2)
    assert outputs.rows_match_file(run)
    assert EvalOutput.objects.filter(eval_run=run, raw="another answer").count() == run.progress_total - 2


def test_other_line_ends_in_an_answer_do_not_end_its_line(world: World, fake: Fake) -> None:
    fake.replies = [says("a\u2028b\x85c\u2029d")]
    run = start(world, endpoint(world, fake.url), mode="free")
    cut_off(run, 3, fake)
    run = ended(run)
    assert (run.status, len(fake.asked)) == (Status.DONE, run.progress_total), "nothing was paid for twice"
    assert set(EvalOutput.objects.filter(eval_run=run).values_list("raw", flat=True)) == {"a\u2028b\x85c\u2029d"}
    assert outputs.rows_match_file(run)


def test_another_model_behind_the_name_is_asked_about_everything(world: World, fake: Fake) -> None:
    run = start(world, endpoint(world, fake.url))
    cut_off(run, 4, fake)
    Endpoint.objects.update(model="fake-2")
    run = ended(run)
    assert (run.status, run.facts["model"], len(fake.asked)) == (Status.DONE, "fake-2", 4 + run.progress_total)


def test_killed_while_it_takes_up_it_loses_no_answer(world: World, fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    run = start(world, endpoint(world, fake.url))
    cut_off(run, 4, fake)
    with monkeypatch.context() as patch:
        patch.setattr(outputs.OutputWriter, "add", lambda store, event: 1 / 0)
        run_evaluation(run.pk)
    EvalRun.objects.filter(pk=run.pk).update(status=Status.QUEUED)
    run = ended(run)
    assert (run.status, len(fake.asked)) == (Status.DONE, run.progress_total)


def test_an_attempt_that_was_given_up_writes_neither_rows_nor_into_the_file(world: World, fake: Fake) -> None:
    run = start(world, endpoint(world, fake.url))
    cut_off(run, 3, fake)
    old = EvalRun.objects.get(pk=run.pk)
    old.status = Status.RUNNING
    EvalRun.objects.filter(pk=run.pk).update(job_id=uuid.uuid4())
    with artifacts.local_path(run.outputs_key).open("a", encoding="utf-8") as late:
        run = ended(run)
        late.write("x" * 100)
    assert outputs.rows_match_file(run)
    EvalRun.objects.filter(pk=run.pk).update(status=Status.RUNNING)
    first = EvalOutput.objects.filter(eval_run=run).select_related("document")[0]
    first.delete()
    store = outputs.OutputWriter(old)
    store.add({"id": first.document.external_id, "raw": "late"})
    store.flush()
    assert not EvalOutput.objects.filter(eval_run=run, raw="late").exists()


def test_resumed_run_keeps_its_outputs(world: World, fake: Fake, client: Client) -> None:
    good = fake.replies[0]
    fake.replies = [good, good, error(400, "not now")]
    run = ended(start(world, endpoint(world, fake.url)))
    assert (run.status, len(fake.asked)) == (Status.FAILED, 7)
    fake.replies = [good]
    client.force_login(world.engineer)
    address = reverse("eval_resume", args=[world.project.slug, run.number])
    assert address in client.get(run.get_absolute_url()).content.decode()
    client.force_login(world.owner)
    client.post(address)
    run.refresh_from_db()
    assert (run.status, run.created_by) == (Status.QUEUED, world.engineer)
    run = ended(run)
    assert (run.status, run.error, run.attempts_since_restart) == (Status.DONE, "", 1)
    assert len(fake.asked) == 7 + run.progress_total - 2, "what was answered is not paid for twice"
    assert run.scores["document_exact"]["k"] == run.progress_total
    assert (run.facts["failed"], "go_on" in run.facts) == (0, False)
    assert AuditEntry.objects.get(action="resumed").user == world.owner
    client.post(address)
    run.refresh_from_db()
    assert run.status == Status.DONE


def failed(world: World, fake: Fake, external: Endpoint, **order: Any) -> tuple[EvalRun, set[str]]:
    """An evaluation that was told one or two answers and then failed, and the texts of the documents it has those of.

    From now on the server answers everything.
    """
    good = fake.replies[0]
    fake.replies = [good, good, error(400, "not now")]
    run = ended(start(world, external, **order))
    fake.replies = [good]
    answered = EvalOutput.objects.filter(eval_run=run).exclude(finish_reason="error")
    texts = set(answered.values_list("document__text", flat=True))
    assert run.status == Status.FAILED
    assert texts
    return run, texts


def test_fewer_at_once_and_other_prices_lose_no_answer(world: World, fake: Fake, client: Client) -> None:
    run, kept = failed(world, fake, endpoint(world, fake.url), concurrency=2)
    path = artifacts.local_path(run.outputs_key)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert {line.pop("at_once") for line in lines} == {2}  # lines without it, as in older files, count as their run
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    Endpoint.objects.update(concurrency=1, price_in=7.5, price_out=None)
    run_services.resume(run=run, user=world.engineer)
    run = ended(run)
    assert (run.status, run.error) == (Status.DONE, "")
    sent = [body["messages"][-1]["content"] for body in fake.asked]
    assert [sent.count(text) for text in kept] == [1] * len(kept), "what was answered is not paid for twice"
    assert run.scores["document_exact"]["k"] == run.progress_total
    assert (run.concurrency, run.facts["at_once"], run.facts["price_in"], run.facts["price_out"]) == (2, 2, 7.5, None)
    rest = run.progress_total - len(kept)
    assert run.facts["asked_at_once"] == [[2, len(kept)], [1, rest]]
    client.force_login(world.engineer)
    page = " ".join(client.get(run.get_absolute_url()).text.split())
    assert "Latencies are mixed" in page
    assert f"{len(kept)} document" in page
    assert f"{rest} document" in page


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"url": "http://127.0.0.1:9/v1"}, "The URL of"),
        ({"model": "fake-2", "max_tokens": 300}, "The model and token limit of"),
    ],
)
def test_an_endpoint_that_is_another_by_now_is_refused_before_an_answer_is_lost(
    world: World, fake: Fake, client: Client, changes: dict[str, Any], words: str
) -> None:
    external = endpoint(world, fake.url)
    before = {name: getattr(external, name) for name in changes}
    run, kept = failed(world, fake, external)
    asked, file = len(fake.asked), artifacts.local_path(run.outputs_key).read_text()
    Endpoint.objects.update(**changes)
    with pytest.raises(Refused, match=words):
        run_services.resume(run=run, user=world.engineer)
    client.force_login(world.engineer)
    page = client.post(reverse("eval_resume", args=[world.project.slug, run.number]), follow=True)
    assert words in page.text
    run.refresh_from_db()
    assert (run.status, len(fake.asked)) == (Status.FAILED, asked)
    assert artifacts.local_path(run.outputs_key).read_text() == file
    Endpoint.objects.update(**before)
    run_services.resume(run=run, user=world.engineer)
    run = ended(run)
    assert (run.status, len(fake.asked)) == (Status.DONE, asked + run.progress_total - len(kept))


def test_an_endpoint_changed_after_go_on_was_pressed_costs_no_answer(world: World, fake: Fake) -> None:
    run, kept = failed(world, fake, endpoint(world, fake.url))
    rows, file = run.outputs.count(), artifacts.local_path(run.outputs_key).read_text()
    run_services.resume(run=run, user=world.engineer)
    Endpoint.objects.update(model="fake-2")
    asked, run = len(fake.asked), ended(run)
    assert (run.status, len(fake.asked), run.outputs.count()) == (Status.FAILED, asked, rows)
    assert "model of" in run.error
    assert artifacts.local_path(run.outputs_key).read_text() == file
    Endpoint.objects.update(model="fake-1")
    run_services.resume(run=run, user=world.engineer)
    run = ended(run)
    assert (run.status, len(fake.asked)) == (Status.DONE, asked + run.progress_total - len(kept))


def test_where_nothing_was_answered_another_model_may_take_over(world: World, fake: Fake) -> None:
    good = fake.replies[0]
    fake.replies = [error(404, "no such model")]
    run = ended(start(world, endpoint(world, fake.url)))
    assert (run.status, len(fake.asked)) == (Status.FAILED, 1)
    Endpoint.objects.update(model="fake-2")
    fake.replies = [good]
    run_services.resume(run=run, user=world.engineer)
    run = ended(run)
    assert (run.status, run.facts["model"], len(fake.asked)) == (Status.DONE, "fake-2", 1 + run.progress_total)


def test_the_database_may_be_away_when_a_run_is_summed_up(
    world: World, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish, calls = EvalRun.finish, []

    def away(run: EvalRun, **changes: Any) -> bool:
        calls.append(finish(run, **changes))
        if len(calls) == 1:
            raise OperationalError("the connection was lost with the answer")
        return calls[-1]

    def again(do: Any) -> Any:
        try:
            return do()
        except OperationalError:
            return do()

    told: list[int] = []
    monkeypatch.setattr(EvalRun, "finish", away)
    monkeypatch.setattr(run_jobs, "with_retries", again)
    monkeypatch.setattr(outputs, "update_document_scores", lambda run, rows: told.append(len(rows)))
    run = ended(start(world, endpoint(world, fake.url)))
    assert (run.status, calls, told) == (Status.DONE, [True, False], [run.progress_total])


def test_stopping_worker_requeues_the_run(
    world: World, fake: Fake, monkeypatch: pytest.MonkeyPatch, queues: None
) -> None:
    run = start(world, endpoint(world, fake.url))
    asked = threading.Event()
    monkeypatch.setattr(supervisor, "_stop_requested", asked)
    with monkeypatch.context() as patch:
        patch.setattr(circuit_breaker.CircuitBreaker, "record", lambda self, completion: asked.set())
        run = ended(run)
    assert (run.status, run.error, len(fake.asked)) == (Status.QUEUED, "", 1)
    assert (run.facts["attempts"], run.attempts_since_restart) == (1, 0), "no attempt has failed"
    asked.clear()
    run = ended(run)
    assert (run.status, len(fake.asked)) == (Status.DONE, run.progress_total)
