"""Documents that came from requests: targeted ones never enter the hold-out, those of the uniform sample may."""

from typing import Any

import pytest

from labeling.datasets.freeze import freeze
from labeling.datasets.holdout_sampling import sample_holdout
from labeling.datasets.splits import Candidate, assign_splits, text_key
from labeling.documents import bulk_edit
from labeling.models import BulkEdit, DatasetItem, Document
from labeling.models.documents import Selection
from slmstudio.errors import Refused
from tests.labeling.desk import Desk, bring_in, invoice

pytestmark = pytest.mark.django_db


def select(**kinds: range) -> None:
    """Marks documents by the numbers of their invoices."""
    for kind, numbers in kinds.items():
        names = [f"inv-{number:04}" for number in numbers]
        assert Document.objects.filter(external_id__in=names).update(selection=kind) == len(names)


def ids(**changes: Any) -> set[int]:
    return set(Document.objects.filter(**changes).values_list("pk", flat=True))


def test_a_freeze_draws_the_hold_out_from_the_others(desk: Desk) -> None:
    bring_in(desk.project, [invoice(number, gold=True) for number in range(40)])
    select(targeted=range(25), uniform=range(25, 40))
    dataset = freeze(project=desk.project, user=desk.people["engineer"], holdout_share=0.9, validation_share=0.2)
    held = set(DatasetItem.objects.filter(dataset=dataset, split="holdout").values_list("document_id", flat=True))
    assert len(held) >= 5
    assert held <= ids(selection=Selection.UNIFORM)
    # They count toward the version: in training or validation.
    assert dataset.counts["documents"] == 40
    assert ids(selection=Selection.TARGETED, holdout=True) == set()


def test_no_seed_draws_a_targeted_document() -> None:
    rows = [Candidate(pk, text_key(f"document {pk}"), False, "human", targeted=pk % 3 > 0) for pk in range(60)]
    for seed in range(20):
        plan = assign_splits(rows, seed=seed, validation_share=0.1, holdout_share=0.5)
        assert plan.new_holdout
        assert all(pk % 3 == 0 for pk in plan.new_holdout)


def test_a_group_with_a_targeted_document_stays_out() -> None:
    rows = [Candidate(pk, text_key(f"document {pk}"), False, "human", duplicate_group=pk // 2) for pk in range(20)]
    rows += [Candidate(100, text_key("copy"), False, "human", duplicate_group=3, targeted=True)]
    plan = assign_splits(rows, seed=3, validation_share=0.1, holdout_share=0.9)
    assert plan.new_holdout
    assert not {6, 7, 100} & set(plan.new_holdout)


def test_more_hold_out_documents_are_sampled_from_the_others(desk: Desk) -> None:
    bring_in(desk.project, [invoice(number, gold=False) for number in range(12)])
    select(targeted=range(8), uniform=range(8, 12))
    sample = sample_holdout(project=desk.project, count=12, seed=5)
    assert sample.pool == 4
    assert set(sample.documents) <= ids(selection=Selection.UNIFORM)


def test_a_person_cannot_move_a_targeted_document_there(desk: Desk) -> None:
    bring_in(desk.project, [invoice(number, gold=False) for number in range(2)])
    select(targeted=range(1))
    targeted, other = Document.objects.order_by("external_id")
    engineer = desk.people["engineer"]
    with pytest.raises(Refused):
        bulk_edit.change_one(document=targeted, user=engineer, action=BulkEdit.Action.HOLDOUT, params={})
    bulk_edit.change_one(document=other, user=engineer, action=BulkEdit.Action.HOLDOUT, params={})
    assert ids(holdout=True) == {other.pk}
