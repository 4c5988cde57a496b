"""Runs of pre-labels: whom they ask about, what they keep, and that nothing of it is ever gold or on the hold-out."""

import shutil
import threading
from collections.abc import Callable
from typing import Any

import pytest

from evaluation.endpoints import permits
from evaluation.endpoints.services import save_endpoint
from evaluation.inference.completion import Completion, ResponseStatus
from evaluation.models import AuditEntry, Endpoint, PrelabelItem, PrelabelRun
from evaluation.prelabels.jobs import run_prelabels
from evaluation.prelabels.services import PrelabelWriter, cancel, run_statistics, start_prelabels
from labeling.annotation import predictions
from labeling.imports.bulk_copy import import_rows
from labeling.imports.rows import ParsedRow
from labeling.models import Annotation, DatasetItem, Document, Gold, Prediction
from labeling.projects.services import create_project
from slmstudio.contract.json_text import dumps
from slmstudio.errors import Refused
from slmstudio.runs import heartbeat
from slmstudio.runs.models import Status
from slmstudio.storage import artifacts
from slmstudio.storage.hashing import folder_hash, sha256_file
from tests.evaluation.factories import World, drawn, make_world, permitted
from tests.evaluation.fake_openai import Fake, error, says, sends, slowly
from tests.shared_rows import shared_fixture
from training.base_models.preparation import prepare
from training.base_models.services import register_tiny
from training.models import ModelVersion

FRESH = 8


@pytest.fixture
def fake(fake: Fake) -> Fake:
    fake.replies = [answers]
    return fake


@shared_fixture
def fresh(world: World) -> list[Document]:
    """Documents that nobody has begun to label."""
    return add_fresh(world)


def add_fresh(world: World) -> list[Document]:
    samples = drawn(40, 99)[:FRESH]
    rows = [ParsedRow(n, {"id": f"fresh-{n}", "text": sample.text}) for n, sample in enumerate(samples, start=1)]
    assert import_rows(project=world.project, rows=rows, source="test").imported == FRESH
    return list(Document.objects.filter(project=world.project, external_id__startswith="fresh").order_by("pk"))


def answers(handler: Any, body: dict[str, Any]) -> None:
    """Reads the invoice number out of the document that it is asked about, and makes up the rest."""
    text = body["messages"][-1]["content"]
    word = next(word for word in text.split() if any(letter.isdigit() for letter in word))
    value = {"invoice_id": word, "date": "2026-01-14", "vendor": "Nobody Anywhere Ltd", "total_amount": 12.5}
    says(dumps(value))(handler, body)


def make_endpoint(world: World, fake: Fake, **changes: Any) -> Endpoint:
    values: dict[str, Any] = {
        "name": "large", "url": fake.url, "model": "fake-1", "key_variable": "", "structured": "auto",
        "logprobs": True, "timeout_seconds": 5, "concurrency": 4, "max_tokens": 500, **changes,
    }  # fmt: skip
    return permitted(world, save_endpoint(project=world.project, user=world.engineer, **values))


def started(world: World, endpoint: Endpoint | None = None, **more: Any) -> PrelabelRun:
    subject: dict[str, Any] = {"endpoint": endpoint} if endpoint else {"model_version": world.version}
    return start_prelabels(project=world.project, user=world.engineer, **subject, **more)


def outcomes(run: PrelabelRun) -> dict[str, int]:
    return {name: n for name, _, n in run_statistics(run).outcomes}


def ended(run: PrelabelRun) -> PrelabelRun:
    run_prelabels(run.pk)
    run.refresh_from_db()
    return run


# -- whom it asks about ------------------------------------------------------------------------------------------------


def test_unstarted_documents_are_selected_in_order_up_to_the_limit(world: World, fresh: list[Document]) -> None:
    run = started(world, limit=5)
    assert list(run.items.order_by("pk").values_list("document", flat=True)) == [document.pk for document in fresh[:5]]
    assert (run.progress_total, run.source) == (5, "prelabel-1")
    entry = AuditEntry.objects.get(about="pre-labels 1")
    assert (entry.action, entry.details["documents"]) == ("started", 5)


def test_a_list_can_be_asked_about_and_its_holdout_is_left_out(world: World, fresh: list[Document]) -> None:
    run = started(world, query="state=submitted", limit=1000)
    holdout = set(Document.objects.filter(project=world.project, holdout=True).values_list("pk", flat=True))
    chosen = set(run.items.values_list("document", flat=True))
    assert holdout
    assert chosen
    assert not chosen & (holdout | {document.pk for document in fresh})
    assert run.chosen.startswith("documents in the list “state=submitted”")


def test_what_cannot_be_run_is_refused_and_nothing_is_queued(world: World, fresh: list[Document]) -> None:
    orders: list[tuple[dict[str, Any], str]] = [
        ({"limit": 10_001}, "limit"),
        ({"query": "below=many"}, "query"),
        ({"query": "holdout=yes"}, "query"),
        ({"query": "q=no+such+text+anywhere"}, "query"),
        ({"token_budget": 0}, "token_budget"),
        ({"endpoint": None, "model_version": None}, "model"),
    ]
    for changes, field in orders:
        with pytest.raises(Refused) as caught:
            start_prelabels(project=world.project, user=world.engineer, **{"model_version": world.version, **changes})
        assert caught.value.field == field
    other = create_project(owner=world.engineer, name="Other", slug="other", template="invoice")
    with pytest.raises(Refused, match="another project"):
        start_prelabels(project=other, user=world.engineer, model_version=world.version)
    assert not PrelabelRun.objects.exists()


# -- an endpoint -------------------------------------------------------------------------------------------------------


def test_an_endpoint_proposes_and_every_document_has_its_outcome(
    world: World, fresh: list[Document], fake: Fake
) -> None:
    several = threading.Event()

    def once_several_ask(handler: Any, body: dict[str, Any]) -> None:
        if fake.at_work > 1:
            several.set()
        several.wait(5)
        answers(handler, body)

    fake.replies = [once_several_ask]
    before = (Annotation.objects.count(), Gold.objects.count())
    run = ended(started(world, make_endpoint(world, fake, timeout_seconds=20)))
    assert (Annotation.objects.count(), Gold.objects.count()) == before, "it is never gold by itself"
    assert set(Document.objects.filter(pk__in=[row.pk for row in fresh]).values_list("state", flat=True)) == {"new"}
    assert (run.status, run.error, run.progress_done) == (Status.DONE, "", FRESH)
    assert outcomes(run) == {"valid": FRESH}
    assert Prediction.objects.filter(source="prelabel-1", valid=True).count() == FRESH
    counted = run_statistics(run)
    assert counted.valid["rate"] == 1
    assert 0 < counted.with_evidence["k"] < counted.with_evidence["n"], (
        "the invoice number is in the text, the vendor is made up"
    )
    assert counted.tokens == run.facts["tokens"] == 120 * FRESH
    assert run.facts["response_format"] == "json_schema"
    assert 1 < fake.most_at_work <= 4
    asked = len(fake.asked)
    run_prelabels(run.pk)
    run_prelabels(0)
    assert len(fake.asked) == asked == FRESH, "delivered twice it asks once"


def test_documents_are_sent_with_the_permission_of_an_owner(world: World, fresh: list[Document], fake: Fake) -> None:
    endpoint = make_endpoint(world, fake)
    permits.withdraw(endpoint=endpoint, user=world.owner, purpose=permits.Purpose.DOCUMENTS)
    permits.grant(endpoint=endpoint, user=world.owner)  # for the hold-out only
    with pytest.raises(Refused) as caught:
        started(world, endpoint)
    assert (caught.value.field, caught.value.code) == ("model", "not_permitted")
    start_prelabels(project=world.project, user=world.owner, endpoint=endpoint)
    permit = permits.permit_for(endpoint, permits.Purpose.DOCUMENTS)
    assert permit is not None
    assert permit.user == world.owner
    assert started(world, endpoint, again=True).endpoint == endpoint
    endpoint.model = "another"
    endpoint.save()
    with pytest.raises(Refused):
        started(world, endpoint, again=True)


def test_document_moved_to_holdout_gets_no_prelabel(world: World, fresh: list[Document], fake: Fake) -> None:
    run = started(world, make_endpoint(world, fake))
    Document.objects.filter(pk=fresh[0].pk).update(holdout=True)
    ended(run)
    assert run.status == Status.DONE
    assert outcomes(run) == {"valid": FRESH - 1, "held_out": 1}
    assert not Prediction.objects.filter(document=fresh[0]).exists()
    assert fresh[0].text not in str(fake.asked), "nor was it shown to anybody"


def test_the_share_that_is_withheld_is_the_same_for_every_run(world: World, fresh: list[Document], fake: Fake) -> None:
    world.project.withheld_share = 0.5
    world.project.save()
    endpoint = make_endpoint(world, fake)
    first, second = ended(started(world, endpoint)), ended(started(world, endpoint, again=True))
    drawn = [
        set(Prediction.objects.filter(source=run.source, withheld=True).values_list("document", flat=True))
        for run in (first, second)
    ]
    expected = {document.pk for document in fresh if predictions.is_withheld(world.project, document.pk)}
    assert drawn == [expected, expected]
    assert run_statistics(first).withheld == len(expected)


def test_a_bad_answer_costs_only_its_document(world: World, fresh: list[Document], fake: Fake) -> None:
    fake.replies = [
        says("sorry"), sends(b"<html>"), error(400, "bad words"), sends(b"x" * 2_000_000), says("{}"), answers
    ]  # fmt: skip
    run = ended(started(world, make_endpoint(world, fake, concurrency=1, structured="free", logprobs=False)))
    assert run.status == Status.DONE
    assert outcomes(run) == {
        "not_json": 1, "web_page": 1, "refused": 1, "too_big": 1, "invalid": 1, "valid": FRESH - 5
    }  # fmt: skip
    item = run.items.get(outcome="refused")
    assert item.detail == "HTTP 400: bad words"
    assert not Prediction.objects.filter(document=item.document).exists()
    assert Prediction.objects.get(document=run.items.get(outcome="not_json").document).raw == "sorry"


def test_a_refused_key_ends_the_run_and_keeps_what_there_is(world: World, fresh: list[Document], fake: Fake) -> None:
    fake.replies = [answers, answers, error(401, "The key has expired")]
    run = ended(started(world, make_endpoint(world, fake, concurrency=1)))
    assert run.status == Status.FAILED
    assert run.error == (
        "Endpoint large rejected the request: HTTP 401: The key has expired. "
        f"2 documents have a pre-label, {FRESH - 3} are pending."
    )
    assert len(fake.asked) == 3
    again = ended(started(world, make_endpoint(world, fake, name="mended")))
    assert again.progress_total == FRESH - 2, "a new run goes on with the others"


def test_a_missing_key_and_an_unreachable_endpoint_end_the_run(
    world: World, fresh: list[Document], fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("", "sk-1"), ("_PROJECTS", "*"), ("_HOSTS", "127.0.0.1")):
        monkeypatch.setenv(f"SLM_KEY_TEST{name}", value)
    run = started(world, make_endpoint(world, fake, key_variable="SLM_KEY_TEST"))
    monkeypatch.delenv("SLM_KEY_TEST")
    ended(run)
    assert (run.status, fake.asked) == (Status.FAILED, [])
    assert run.error.startswith("Environment variable SLM_KEY_TEST is not set.")
    run = started(world, make_endpoint(world, fake, name="away", concurrency=1))
    Endpoint.objects.update(url="http://127.0.0.1:9/v1")
    ended(run)
    assert (run.status, outcomes(run)) == (Status.FAILED, {"unreachable": 5, "waiting": FRESH - 5})


def test_the_budget_ends_the_asking(world: World, fresh: list[Document], fake: Fake) -> None:
    run = ended(started(world, make_endpoint(world, fake, concurrency=1), token_budget=300))
    assert run.status == Status.DONE
    assert outcomes(run) == {"valid": 3, "waiting": FRESH - 3}
    assert run.facts["budget_spent"] is True
    assert run.facts["tokens"] == 360


def test_a_run_that_is_cancelled_stops_asking(
    world: World, fresh: list[Document], fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat.Heartbeat, "__call__", lambda self: self._run.send_heartbeat())
    run = started(world, make_endpoint(world, fake, concurrency=1))

    def cancelling(handler: Any, body: dict[str, Any]) -> None:
        answers(handler, body)
        if len(fake.asked) == 2:
            done.set()

    done = threading.Event()
    monkeypatch.setattr(
        PrelabelRun,
        "send_heartbeat",
        lambda self, **changes: not (done.is_set() and cancel(run=self, user=world.engineer)),
    )
    fake.replies = [slowly(0.05, cancelling)]
    ended(run)
    assert run.status == Status.CANCELLED
    assert len(fake.asked) < FRESH
    assert AuditEntry.objects.filter(action="cancelled", about="pre-labels 1").exists()


def test_repeated_output_changes_nothing_and_a_document_that_moves_gets_none(
    world: World, fresh: list[Document]
) -> None:
    run = started(world)
    run.claim()
    for text in ('{"invoice_id": "A"}', '{"invoice_id": "B"}'):
        store = PrelabelWriter(run)
        store.add(fresh[0].pk, Completion(ResponseStatus.INVALID, text=text))
        store.flush()
    assert Prediction.objects.get().value == {"invoice_id": "A"}
    store = PrelabelWriter(run)
    Document.objects.filter(pk=fresh[1].pk).update(holdout=True)
    store.add(fresh[1].pk, Completion(ResponseStatus.VALID, text='{"invoice_id": "A"}'))
    store.flush()
    assert outcomes(run) == {"invalid": 1, "held_out": 1, "waiting": FRESH - 2}
    assert Prediction.objects.count() == 1


def test_no_solved_example_was_held_out_since(world: World, fresh: list[Document], fake: Fake) -> None:
    endpoint = make_endpoint(world, fake)
    shown = started(world, endpoint, examples=2).examples[0]["text"]
    Document.objects.filter(project=world.project, text=shown).update(holdout=True)
    again = started(world, endpoint, examples=2)
    assert len(again.examples) == 2
    texts = {example["text"] for example in again.examples}
    assert shown not in texts
    train = DatasetItem.objects.filter(dataset=world.dataset, split="train", document__text__in=texts)
    assert train.count() == 2, "validation is not shown either"


# -- a model of this studio --------------------------------------------------------------------------------------------


def test_changed_weights_are_refused(world: World, fresh: list[Document]) -> None:
    run = started(world)
    (artifacts.local_path(world.version.folder_key) / "model.safetensors").write_bytes(b"others")
    ended(run)
    assert run.status == Status.FAILED
    assert run.error.startswith("The files of model v1 have changed: their hash is ")


def with_tiny_weights(world: World) -> None:
    """Puts a model that can be loaded where the world's has none."""
    tiny = prepare(base_model=register_tiny())
    folder = artifacts.local_path(world.version.folder_key)
    shutil.copytree(tiny.folder, folder, dirs_exist_ok=True)
    ModelVersion.objects.filter(pk=world.version.pk).update(
        sha256=folder_hash(folder), tokenizer_sha256=sha256_file(folder / "tokenizer.json")
    )
    world.version.refresh_from_db()


@pytest.mark.slow
def test_real_model_prelabels_on_a_real_worker(tmp_path: Any, idle_workers: Any, wait_for: Callable[..., None]) -> None:
    idle_workers.start("gpu")
    world = make_world(tmp_path / "base", documents=24, holdout=12)
    fresh = add_fresh(world)
    Document.objects.filter(pk=fresh[0].pk).update(text=fresh[0].text * 40)
    with_tiny_weights(world)
    run = started(world)
    wait_for(
        lambda: PrelabelRun.objects.get(pk=run.pk).status in (Status.DONE, Status.FAILED),
        seconds=400,
        message=idle_workers.text,
    )
    run.refresh_from_db()
    assert (run.status, run.error) == (Status.DONE, "")
    counts = outcomes(run)
    assert sum(counts.values()) == FRESH
    assert set(counts) == {"valid", "cut_off"}, "held to the schema, a random model writes validly or on and on"
    long, others = run.items.get(document=fresh[0]), run.items.exclude(document=fresh[0])
    assert long.tokens > max(others.values_list("tokens", flat=True))  # one output for each window
    for prediction in Prediction.objects.filter(source=run.source, valid=True):
        assert prediction.model == "model v1"
        assert {path for path, value in prediction.value.items() if not isinstance(value, list | dict)} <= set(
            prediction.confidence
        )
        assert all(0 <= sure <= 1 for sure in prediction.confidence.values())
    assert run.facts["device"]
    assert PrelabelItem.objects.filter(run=run, seconds__gt=0, tokens__gt=0).count() == FRESH
