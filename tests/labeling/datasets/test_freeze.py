"""Dataset versions: equal content gives an equal file, versions are immutable, exclusions are counted."""

import hashlib
import json
from decimal import Decimal
from typing import Any

import pytest
from django.db import transaction
from django.db.utils import DatabaseError

from labeling.datasets import freeze as freeze_module
from labeling.datasets.export import export_dataset
from labeling.datasets.freeze import freeze
from labeling.datasets.freeze_candidates import preview
from labeling.datasets.queries import file_path, row_page, rows
from labeling.models import (
    Annotation,
    AnnotationRevision,
    DatasetItem,
    DatasetVersion,
    Document,
    DocumentState,
    Gold,
    Origin,
)
from slmstudio.contract.schema.compiled import dumps, loads
from slmstudio.errors import Refused
from slmstudio.storage import artifacts
from slmstudio.storage.hashing import sha256_file
from tests.labeling.desk import SEED_OUTPUT, SEED_ROW, SEED_TEXT, Desk, bring_in, invoice, make_desk
from tests.labeling.label_desk import change_schema


def frozen(desk: Desk, **more: Any) -> DatasetVersion:
    return freeze(project=desk.project, user=desk.people["engineer"], **more)


def label_again(desk: Desk, external_id: str, evidence: Any = None, **changes: Any) -> None:
    """Makes another revision the gold of a document, as a person would."""
    gold = Gold.objects.get(document__external_id=external_id)
    annotation = Annotation.objects.get(document=gold.document)
    revision = AnnotationRevision.objects.create(
        annotation=annotation,
        number=2,
        action="submit",
        value={**gold.revision.value, **changes},
        evidence=evidence or {},
    )
    Gold.objects.filter(pk=gold.pk).update(revision=revision, origin=Origin.HUMAN)


def test_rows_have_the_evidence_that_people_chose(desk: Desk) -> None:
    text = "Acme 5.00\nFrom Acme\nBolts 2 5.00 for ACMEE\nTotal 5.00"
    gold = {**invoice(1)["gold"], "vendor": "Acme", "total_amount": 5}
    texts = {name: f"{text}\n{' '.join(f'{name}{number}' for number in range(90))}" for name in "abcd"}
    made = [{"id": name, "text": text, "gold": gold} for name, text in texts.items()]
    bring_in(desk.project, made[:3])
    bring_in(desk.project, made[3:], as_holdout=True)
    assert all("evidence" not in row for row in rows(frozen(desk)))
    first, second, last = {"start": 0, "end": 4}, {"start": 15, "end": 19}, text.rindex("5.00")
    total = {"start": last, "end": last + 4}
    label_again(desk, "a", evidence={"vendor": first})  # as it is found without it
    label_again(desk, "b", evidence={"vendor": second, "total_amount": total, "notes": {"absent": True}})
    hand = {"start": text.index("ACMEE"), "end": text.index("ACMEE") + 5, "by": "hand"}
    label_again(desk, "c", evidence={"vendor": hand}, vendor="Acme Works")
    label_again(desk, "d", evidence={"vendor": second})
    assert {row["id"]: row.get("evidence") for row in rows(frozen(desk))} == {
        "a": None,
        "b": {"vendor": [[15, 19]], "total_amount": [[last, last + 4]]},
        "c": {"vendor": [[hand["start"], hand["end"]]]},
        "d": None,  # no model is trained on it, and its hash stays
    }


def test_seed_example_is_frozen_and_exported(desk: Desk) -> None:
    bring_in(desk.project, [SEED_ROW])
    dataset = frozen(desk)
    (row,) = rows(dataset)
    assert row["gold"]["total_amount"] == Decimal("1248.50")
    example = loads(b"".join(export_dataset(dataset, "instruct")))
    assert example == {
        "instruction": "Extract invoice fields into the JSON schema.",
        "input": SEED_TEXT,
        "output": dumps(loads(SEED_OUTPUT)),
    }
    assert '"total_amount":1248.50' in example["output"]


def test_the_hash_is_that_of_the_file_and_of_its_holdout_lines(desk: Desk) -> None:
    bring_in(desk.project, [invoice(number) for number in range(40)])
    dataset = frozen(desk)
    assert sha256_file(file_path(dataset)) == dataset.sha256
    lines = file_path(dataset).read_bytes().splitlines(keepends=True)
    held = b"".join(line for line in lines if json.loads(line)["split"] == "holdout")
    assert hashlib.sha256(held).hexdigest() == dataset.holdout_sha256
    assert held


def test_the_same_content_has_the_same_hash_in_any_project_and_order(desk: Desk) -> None:
    content = [invoice(number, tags=["a"] if number % 3 else ["b", "a"]) for number in range(30)]
    bring_in(desk.project, content)
    other = make_desk("other")
    bring_in(other.project, content[::-1])
    first, second = frozen(desk), frozen(other)
    assert first.sha256 == second.sha256
    assert first.holdout_sha256 == second.holdout_sha256
    assert first.counts == second.counts


def test_another_seed_or_label_is_another_hash(desk: Desk) -> None:
    bring_in(desk.project, [invoice(number) for number in range(30)])
    first = frozen(desk)
    assert frozen(desk).pk == first.pk, "nothing has changed"
    second = frozen(desk, seed=18)
    label_again(desk, "inv-0003", vendor="Another")
    third = frozen(desk, seed=18)
    assert len({first.sha256, second.sha256, third.sha256}) == 3
    assert [first.number, second.number, third.number] == [1, 2, 3]
    assert "Another" not in file_path(first).read_text(), "an earlier version keeps its labels"


def test_a_new_instruction_is_a_new_version_of_the_same_file(desk: Desk) -> None:
    bring_in(desk.project, [invoice(number) for number in range(10)])
    first = frozen(desk)
    change_schema(desk.project, desk.people["engineer"], "Another one.")
    second = frozen(desk)
    assert (second.number, second.sha256) == (2, first.sha256)


def test_the_holdout_stays_the_same_while_the_project_grows(desk: Desk) -> None:
    bring_in(desk.project, [invoice(number) for number in range(50)])
    first = frozen(desk)
    bring_in(desk.project, [invoice(number) for number in range(50, 120)])
    second = frozen(desk, seed=99, holdout_share=0.5)
    assert first.holdout_sha256 == second.holdout_sha256
    assert first.counts["splits"]["holdout"] == 10
    assert Document.objects.filter(holdout=True).count() == 10


def test_documents_imported_as_holdout_are_the_holdout(desk: Desk) -> None:
    bring_in(desk.project, [invoice(number) for number in range(20)])
    bring_in(desk.project, [invoice(number) for number in range(100, 105)], as_holdout=True)
    dataset = frozen(desk)
    held = set(dataset.items.filter(split="holdout").values_list("document__external_id", flat=True))
    assert held == {f"inv-{number:04}" for number in range(100, 105)}


def test_training_documents_never_enter_the_holdout(desk: Desk) -> None:
    bring_in(desk.project, [invoice(number) for number in range(30)])
    frozen(desk, holdout_share=0)
    bring_in(desk.project, [invoice(number) for number in range(100, 140)])
    second = frozen(desk)
    held = second.items.filter(split="holdout").values_list("document__external_id", flat=True)
    assert held
    assert all(name >= "inv-0100" for name in held)


def test_origins_of_the_holdout_are_counted(desk: Desk) -> None:
    bring_in(desk.project, [invoice(1), invoice(2)], as_holdout=True)
    bring_in(desk.project, [invoice(3)], as_holdout=True, synthetic=True)
    bring_in(desk.project, [invoice(4)])
    label_again(desk, "inv-0001", vendor="By hand")
    label_again(desk, "inv-0003", vendor="By hand")
    counts = frozen(desk).counts
    # A generated document is always synthetic.
    assert counts["holdout_origins"] == {"human": 1, "imported": 1}
    assert counts["origins"] == {"human": 1, "imported": 2}
    assert counts["left_out"]["holdout_not_by_people"] == 1


def test_near_duplicates_of_the_holdout_are_left_out_and_counted(desk: Desk) -> None:
    bring_in(desk.project, [invoice(1)], as_holdout=True)
    bring_in(desk.project, [invoice(2), {**invoice(3), "text": invoice(1)["text"].upper()}])
    counts = frozen(desk).counts
    left_out = {reason: count for reason, count in counts["left_out"].items() if count}
    assert left_out == {"near_duplicate_of_holdout": 1}
    assert counts["documents"] == 2


def test_valid_labels_of_earlier_schema_are_included(desk: Desk) -> None:
    short = invoice(1)
    short["gold"]["vendor"] = "A"
    bring_in(desk.project, [short, invoice(2), invoice(3)])
    change_schema(desk.project, desk.people["engineer"], vendor={"minLength": 3})
    ahead = preview(project=desk.project)
    assert (ahead.documents, ahead.invalid) == (2, 1)
    dataset = frozen(desk)
    assert dataset.schema_version.number == 2
    assert dataset.counts["left_out"]["does_not_fit_schema"] == 1
    assert {row["id"] for row in rows(dataset)} == {"inv-0002", "inv-0003"}


def test_skipped_and_rejected_documents_are_excluded(desk: Desk) -> None:
    bring_in(desk.project, [invoice(1), invoice(2), invoice(3)])
    Document.objects.filter(external_id="inv-0002").update(state=DocumentState.SKIPPED)
    assert preview(project=desk.project).documents == 2
    assert {row["id"] for row in rows(frozen(desk))} == {"inv-0001", "inv-0003"}


def test_freeze_without_labels_or_training_documents_is_refused(desk: Desk) -> None:
    bring_in(desk.project, [invoice(1, gold=False)])
    with pytest.raises(Refused, check=lambda refusal: refusal.code == "no_gold"):
        frozen(desk)
    bring_in(desk.project, [invoice(2), invoice(3)], as_holdout=True)
    with pytest.raises(Refused, check=lambda refusal: refusal.code == "no_training"):
        frozen(desk)
    assert not DatasetVersion.objects.exists()


def test_invalid_settings_are_refused(desk: Desk) -> None:
    bring_in(desk.project, [invoice(1), invoice(2)])
    settings: list[tuple[str, Any]] = [("seed", -1), ("seed", 2**31), ("validation_share", 0.6), ("holdout_share", 1)]
    for name, value in settings:
        with pytest.raises(Refused) as caught:
            frozen(desk, **{name: value})
        assert caught.value.field == name


def test_the_database_refuses_to_change_what_is_frozen(desk: Desk) -> None:
    bring_in(desk.project, [invoice(1), invoice(2)])
    frozen(desk)
    changes: dict[Any, dict[str, Any]] = {
        DatasetVersion: {"sha256": "0" * 64},
        DatasetItem: {"split": "train"},
        AnnotationRevision: {"value": {}},
    }
    for model, change in changes.items():
        target = model.objects.exclude(**change).first()
        with pytest.raises(DatabaseError, match="frozen"), transaction.atomic():
            model.objects.filter(pk=target.pk).update(**change)


def test_a_failed_freeze_leaves_neither_row_nor_file(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    bring_in(desk.project, [invoice(1), invoice(2)])
    keys: list[str] = []
    storage = type(artifacts.store())
    replace = storage.replace

    def remember(store: Any, key: str, file: Any) -> Any:
        keys.append(key)
        return replace(store, key, file)

    def fail(*_: Any) -> None:
        raise RuntimeError("the database went away")

    monkeypatch.setattr(storage, "replace", remember)
    monkeypatch.setattr(freeze_module, "_store_version", fail)
    with pytest.raises(RuntimeError):
        frozen(desk)
    assert len(keys) == 3
    assert not any(artifacts.store().exists(key) for key in keys)
    assert not DatasetVersion.objects.exists()
    assert not Document.objects.filter(holdout=True).exists()


def test_pages_of_a_split_and_a_missing_file(desk: Desk) -> None:
    bring_in(desk.project, [invoice(number) for number in range(30)])
    dataset = frozen(desk)
    held = [row["id"] for row in rows(dataset, "holdout")]
    assert [row["id"] for row in row_page(dataset, split="holdout", start=0, count=4)] == held[:4]
    assert [row["id"] for row in row_page(dataset, split="holdout", start=4, count=99)] == held[4:]
    last = [row["id"] for row in rows(dataset)][28:]
    assert [row["id"] for row in row_page(dataset, split=None, start=28, count=99)] == last
    artifacts.store().delete(dataset.artifact_key)
    with pytest.raises(FileNotFoundError, match="dataset v1"):
        next(rows(dataset))


def test_unlabeled_holdout_documents_are_counted(desk: Desk) -> None:
    """Otherwise another hold-out would be drawn, and the one that was meant never be used."""
    bring_in(desk.project, [invoice(number, gold=False) for number in range(3)], as_holdout=True)
    bring_in(desk.project, [invoice(number) for number in range(10, 20)])
    with pytest.raises(Refused, check=lambda refusal: refusal.code == "unlabeled_holdout"):
        frozen(desk)
    assert Document.objects.filter(holdout=True).count() == 3
