"""Two versions of a dataset: what was added, removed, relabelled, moved, and what else is different."""

from typing import Any

from labeling.datasets.diff import diff, differences
from labeling.datasets.freeze import freeze
from labeling.models import Annotation, AnnotationRevision, DatasetVersion, Document, DocumentState, Gold, Origin
from slmstudio.contract.schema.compiled import loads
from tests.labeling.desk import Desk, bring_in, invoice, make_desk
from tests.labeling.label_desk import change_schema
from tests.shared_rows import shared_fixture


@shared_fixture
def desk(db: None) -> Desk:
    desk = make_desk()
    bring_in(desk.project, [invoice(number) for number in range(20)])
    return desk


def frozen(desk: Desk, **more: Any) -> DatasetVersion:
    return freeze(project=desk.project, user=desk.people["engineer"], **more)


def label_again(name: str, **changes: Any) -> None:
    gold = Gold.objects.get(document__external_id=name)
    annotation = Annotation.objects.get(document=gold.document)
    revision = AnnotationRevision.objects.create(
        annotation=annotation, number=2, action="submit", value={**gold.revision.value, **changes}
    )
    Gold.objects.filter(pk=gold.pk).update(revision=revision, origin=Origin.HUMAN)


def test_changed_labels_by_field(desk: Desk) -> None:
    first = frozen(desk)
    same = diff(first, first)
    assert set(same.counts.values()) == {0}
    assert (same.fields, same.moves, same.schema, same.instruction) == ([], [], [], [])
    label_again("inv-0002")  # an equal label is no change
    label_again("inv-0003", vendor="Another", total_amount=loads("3.5"))
    label_again("inv-0004", vendor="Another")
    label_again("inv-0005", total_amount=loads("5.500"))
    second = frozen(desk)
    changed = diff(first, second)
    assert changed.counts["changed"] == 3
    assert changed.fields == [("vendor", 2), ("total_amount", 1)]
    rows = {row.external_id: row for row in differences(first, second, "changed")}
    (change,) = rows["inv-0003"].changes
    assert (change.path, change.old, change.new) == ("vendor", "Acme Supplies", "Another")
    assert (rows["inv-0005"].changes[0].old, rows["inv-0005"].changes[0].new) == ("5.5", "5.500")
    assert (rows["inv-0004"].old_origin, rows["inv-0004"].new_origin) == ("imported", "human")


def test_added_and_removed_documents(desk: Desk) -> None:
    first = frozen(desk)
    gone = first.items.filter(split="train").select_related("document").first()
    assert gone is not None
    Document.objects.filter(pk=gone.document_id).update(state=DocumentState.SKIPPED)
    bring_in(desk.project, [invoice(30), invoice(31)])
    second = frozen(desk)
    counts = diff(first, second).counts
    assert (counts["added"], counts["removed"]) == (2, 1)
    assert [row.external_id for row in differences(first, second, "added")] == ["inv-0030", "inv-0031"]
    assert [row.external_id for row in differences(first, second, "removed")] == [gone.document.external_id]
    assert [row.external_id for row in differences(first, second, "added", start=1, count=1)] == ["inv-0031"]


def test_moved_documents(desk: Desk) -> None:
    first, second = frozen(desk), frozen(desk, seed=5, validation_share=0.4)
    moved = diff(first, second)
    assert moved.counts["moved"] == sum(count for _, _, count in moved.moves) > 0
    assert all("holdout" not in (before, after) for before, after, _ in moved.moves), "a hold-out stays"
    row = differences(first, second, "moved")[0]
    assert {row.before, row.after} == {"train", "validation"}


def test_schema_and_instruction_changes(desk: Desk) -> None:
    first = frozen(desk)
    currency = {"type": ["string", "null"]}
    change_schema(desk.project, desk.people["engineer"], "Another one.", currency=currency)
    changed = diff(first, frozen(desk))
    assert any("currency" in line.text for line in changed.schema if line.mark == "+")
    assert [line.text for line in changed.instruction if line.mark == "+"] == ["Another one."]
