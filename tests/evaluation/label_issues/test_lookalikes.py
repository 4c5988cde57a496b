"""Documents that look like failing ones: never held out, nor nearly so; at the front of a queue; listed afterwards."""

import random
from typing import Any

import pytest
from django.db import connection

from evaluation.label_issues import lookalikes, similarity
from evaluation.label_issues.lookalikes import OutputFilter
from evaluation.models import AuditEntry, EvalRun
from labeling.annotation.queue import next_document
from labeling.datasets import freeze
from labeling.datasets.freeze_rules import Rules
from labeling.documents import search_index
from labeling.models import DatasetItem, Document, IndexRun, Project
from slmstudio.contract.json_text import dumps, sha256
from slmstudio.errors import Refused
from slmstudio.runs.models import Status
from slmstudio.storage import artifacts
from tests.evaluation.factories import World, broken, evaluated, right
from tests.shared_rows import shared_fixture

WORDS = ("river", "window", "copper", "garden", "signal", "marble", "winter", "basket", "forest", "bridge", "candle")


def document(world: World, text: str, name: str, **more: Any) -> Document:
    made: Document = Document.objects.create(
        project=world.project, external_id=name, text=text, sha256=sha256(text), **more
    )
    return made


def failed(world: World) -> Document:
    """The document that the model gets wrong, in the validation split."""
    item = world.dataset.items.filter(split="validation").select_related("document").earliest("document_id")
    wrong: Document = item.document
    return wrong


def held_out(world: World) -> Document:
    first: Document = Document.objects.filter(project=world.project, holdout=True).earliest("pk")
    return first


def relative(text: str, seed: int) -> str:
    """Something like a text: the same form, a third of its words others."""
    rng = random.Random(seed)
    return " ".join(
        rng.choice(WORDS) + str(rng.randrange(99)) if rng.random() < 0.35 else word for word in text.split()
    )


def noise(seed: int) -> str:
    rng = random.Random(seed)
    return " ".join(rng.choice(WORDS) for _ in range(80))


def failing_run(world: World, split: str = "validation") -> EvalRun:
    wrong = (failed(world) if split == "validation" else held_out(world)).external_id
    return evaluated(world, lambda row: broken(row) if row["id"] == wrong else right(row), split=split)


@shared_fixture
def run(world: World) -> EvalRun:
    """Wrong on one validation document alone."""
    return failing_run(world)


ALL = OutputFilter()


def queue(world: World, run: EvalRun, count: int = 3, part: OutputFilter = ALL, people: Any = None) -> AuditEntry:
    return lookalikes.queue_lookalikes(
        run=run, part=part, count=count, people=people or [world.annotator], user=world.engineer
    )


def test_the_most_similar_documents_are_at_the_front_of_the_queue(world: World, run: EvalRun) -> None:
    for number in range(6):
        document(world, noise(number), f"noise-{number}")
    like = {document(world, relative(failed(world).text, number), f"like-{number}").pk for number in range(3)}
    entry = queue(world, run)
    rows = lookalikes.queued_documents(entry)
    assert {row.document.pk for row in rows} == like
    assert all(row.like == failed(world) and row.document.assigned_to == world.annotator for row in rows)
    assert [row.similarity for row in rows] == sorted((row.similarity for row in rows), reverse=True)
    taken = next_document(project=world.project, user=world.annotator)
    assert taken is not None
    assert taken.pk in like, "though six others came before them"
    assert not Document.objects.filter(pk__in=like, holdout=True).exists()
    Document.objects.filter(pk=failed(world).pk).update(holdout=True)
    with pytest.raises(Refused, match="No wrong documents"):
        queue(world, run)


def test_a_hold_out_evaluation_has_no_lookalikes(world: World) -> None:
    run = failing_run(world, "holdout")
    document(world, relative(held_out(world).text, 1), "like")
    with pytest.raises(Refused) as refused:
        queue(world, run)
    assert (refused.value.field, refused.value.code) == ("form", "holdout")
    assert not AuditEntry.objects.filter(action=lookalikes.QUEUED_ACTION).exists()


def test_hold_out_documents_and_near_duplicates_are_never_queued(world: World, run: EvalRun) -> None:
    text = failed(world).text
    document(world, held_out(world).text.upper() + " .", "twin")
    used = document(world, relative(text, 1), "used-once")
    gold = DatasetItem.objects.filter(dataset=world.dataset).first()
    assert gold is not None
    DatasetItem.objects.create(
        dataset=world.dataset, document=used, revision=gold.revision, split="holdout", origin="human"
    )
    document(world, relative(text, 2), "marked", holdout=True)
    document(world, relative(text, 3), "fine")
    entry = queue(world, run, count=10)
    assert [row.document.external_id for row in lookalikes.queued_documents(entry)] == ["fine"]
    assert (entry.details["near_held_out"], entry.details["asked_for"]) == (1, 10)


def test_signatures_of_the_hold_out_are_cached_by_text(world: World, run: EvalRun) -> None:
    def assert_signed() -> None:
        documents = Document.objects.filter(project=world.project, holdout=True).order_by("pk")
        keys, signatures = lookalikes.signatures_of(world.project, [row.pk for row in documents])
        assert keys == [row.pk for row in documents]
        assert (signatures == similarity.signatures([row.text for row in documents])).all()

    assert_signed()
    document(world, "Another one that is held out now.", "more", holdout=True)
    Document.objects.filter(pk=held_out(world).pk).update(text="Another text", sha256=sha256("Another text"))
    assert_signed()
    artifacts.local_path(f"lookalikes/{world.project.pk}/held-out-1.npz").write_bytes(b"PK\x03\x04 cut off")
    assert_signed()


def test_only_unlabeled_unassigned_documents_are_queued(world: World, run: EvalRun) -> None:
    text = failed(world).text
    other = Project.objects.create(slug="other", name="Other")
    Document.objects.create(project=other, external_id="other", text=text, sha256=sha256(text))
    document(world, relative(text, 1), "begun", state="in_progress")
    document(world, relative(text, 2), "mine", assigned_to=world.owner)
    document(world, relative(text, 3), "done", state="submitted")
    with pytest.raises(Refused, match="no unlabeled, unassigned documents"):
        queue(world, run)
    assert not AuditEntry.objects.filter(action=lookalikes.QUEUED_ACTION).exists()


def test_what_a_version_groups_with_the_hold_out_is_left_out(world: World, run: EvalRun) -> None:
    Document.objects.filter(pk=held_out(world).pk).update(metadata={"supplier": "ACME"})
    document(world, relative(failed(world).text, 1), "same-supplier", metadata={"supplier": "ACME"})
    document(world, relative(failed(world).text, 2), "another", metadata={"supplier": "Other"})
    Document.objects.filter(project=world.project).exclude(state="new").update(tags=["totals"])
    rules = Rules(group_by="metadata.supplier")
    assert freeze.freeze(project=world.project, user=world.engineer, rules=rules).number == 2
    entry = queue(world, run)
    assert [row.document.external_id for row in lookalikes.queued_documents(entry)] == ["another"]


def test_a_part_of_the_evaluation_is_what_fails_in_it(world: World) -> None:
    items = world.dataset.items.filter(split="train").select_related("document").order_by("document_id")
    trained = [item.document for item in items]
    Document.objects.filter(pk=trained[0].pk).update(metadata={"supplier": "ACME", "pages": 2})

    def say(row: dict[str, Any]) -> dict[str, Any]:
        return (
            {"raw": dumps({**row["gold"], "vendor": "Nobody Ltd"})}
            if row["id"] != trained[1].external_id
            else right(row)
        )

    run = evaluated(world, say, split="train")
    wrong = len(trained) - 1

    def count(part: OutputFilter) -> int:
        return int(lookalikes.failing(run, part).count())

    assert count(OutputFilter()) == count(OutputFilter(field="vendor")) == wrong
    assert count(OutputFilter(field="date")) == 0
    assert count(OutputFilter(error="hallucinated")) == wrong
    assert count(OutputFilter(where="supplier=ACME")) == count(OutputFilter(where="pages=2")) == 1
    assert count(OutputFilter(where="supplier=Other")) == 0
    tag = next(tag for row in run.outputs.all() for tag in row.tags)
    assert count(OutputFilter(tag=tag)) == run.outputs.filter(tags__contains=[tag], exact=False).count()
    assert OutputFilter(field="vendor", where="supplier=ACME").words == "vendor wrong, supplier ACME"
    assert OutputFilter(field="queue", gold="a", predicted="b").words == "queue wrong, a confused with b"


def test_one_search_runs_at_a_time(world: World, run: EvalRun) -> None:
    document(world, relative(failed(world).text, 1), "like")
    key = world.project.pk % 2**31
    other = connection.copy()
    try:
        with other.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(hashtext('evaluation.lookalikes'), %s)", [key])
            with pytest.raises(Refused, match="already running"):
                queue(world, run)
            cursor.execute("SELECT pg_advisory_unlock(hashtext('evaluation.lookalikes'), %s)", [key])
            assert queue(world, run).details["documents"]
            cursor.execute("SELECT pg_try_advisory_lock(hashtext('evaluation.lookalikes'), %s)", [key])
            assert cursor.fetchone() == (True,), "it is given back"
    finally:
        other.close()


def test_bad_orders_are_refused(world: World, run: EvalRun) -> None:
    document(world, relative(failed(world).text, 1), "like")
    for order, field in (
        ({"count": 0}, "count"),
        ({"count": lookalikes.MAX_COUNT + 1}, "count"),
        ({"part": OutputFilter(field="nothing")}, "form"),
        ({"people": [world.stranger]}, "people"),
    ):
        with pytest.raises(Refused) as refused:
            queue(world, run, **order)
        assert refused.value.field == field, order
    with pytest.raises(Refused) as refused:
        lookalikes.queue_lookalikes(run=run, part=OutputFilter(), count=1, people=[], user=world.engineer)
    assert refused.value.field == "people"
    assert Document.objects.get(external_id="like").assigned_to is None


def test_among_many_the_index_finds_them(world: World, run: EvalRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookalikes, "_MAX_COMPARED", 40)
    monkeypatch.setattr(lookalikes, "_SAMPLE_SIZE", 60)
    rows = [
        Document(project=world.project, external_id=f"n{number}", text=(text := noise(number)), sha256=sha256(text))
        for number in range(300)
    ]
    like = [
        Document(
            project=world.project,
            external_id=f"like-{number}",
            text=(text := relative(failed(world).text, number)),
            sha256=sha256(text),
        )
        for number in range(5)
    ]
    Document.objects.bulk_create([*rows[:150], *like, *rows[150:]])
    index = IndexRun.objects.create(project=world.project, status=Status.QUEUED)
    assert index.claim()
    search_index.process(index)
    entry = queue(world, run, count=5)
    names = {row.document.external_id for row in lookalikes.queued_documents(entry)}
    assert names == {document_like.external_id for document_like in like}
    assert entry.details["compared"] <= 40 < entry.details["waiting"] == 305


# -- pure --------------------------------------------------------------------------------------------------------------


def test_distinctive_words_are_shared_and_rare() -> None:
    failing = [similarity.words("Invoice from Obscure Traders number 48213"), similarity.words("Obscure Traders 99121")]
    sample = [similarity.words(f"Invoice number {n} from somebody") for n in range(50)]
    told = [word for word, _ in similarity.distinctive_words(failing, sample)]
    assert set(told[:2]) == {"OBSCURE", "TRADERS"}
    assert "INVOICE" not in told, "everybody has it"
    assert not {"48213", "99121"} & set(told), "a number that is nowhere else finds nothing"
