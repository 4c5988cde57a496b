"""Labels that differ: what is asked, and what comes of the picks."""

from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from labeling.form.merge import MISSING
from labeling.review.conflicts import KEEP, LEAVE_OUT, evidence_of, resolve_conflicts
from slmstudio.contract.scoring.scorer import count_differences
from tests.labeling.review.test_agreement import SCHEMA, label

ROOT = SCHEMA.root


def test_conflicts_list_most_frequent_value_first() -> None:
    equal = resolve_conflicts(ROOT, [label(), label(number="a-1", total=Decimal("15.00"))])
    assert (equal.conflicts, equal.value) == ([], label()), "normalized values are equal"
    dispute = resolve_conflicts(ROOT, [label(total=16), label(), label()])
    [difference] = dispute.conflicts
    assert difference.path == "total"
    assert [(vote.value, vote.labels) for vote in difference.votes] == [(15, (1, 2)), (16, (0,))]
    assert dispute.value["total"] == 15
    assert resolve_conflicts(ROOT, [label(total=16), label(), label()], {"total": 16}).value["total"] == 16
    assert resolve_conflicts(ROOT, [label(total=16), label()], {"total": 17}).value["total"] == 17


def test_absence_is_a_value() -> None:
    without = {name: value for name, value in label().items() if name != "total"}
    [difference] = resolve_conflicts(ROOT, [label(), without]).conflicts
    assert [vote.value for vote in difference.votes] == [15, MISSING]
    assert "total" not in resolve_conflicts(ROOT, [label(), without], {"total": MISSING}).value
    assert resolve_conflicts(ROOT, [label(), without, label(total=None)], {"total": None}).value["total"] is None


def test_rows_are_paired_by_similarity() -> None:
    other = label(rows=[{"what": "hose", "amount": 5}, {"what": "pump", "amount": 11}])
    [difference] = resolve_conflicts(ROOT, [label(), other]).conflicts
    assert difference.path == "rows[0].amount"
    assert [vote.value for vote in difference.votes] == [10, 11]
    assert resolve_conflicts(ROOT, [label(), other], {"rows[0].amount": 11}).value["rows"] == [
        {"what": "pump", "amount": 11},
        {"what": "hose", "amount": 5},
    ]


def test_row_of_some_annotators_can_be_kept_or_omitted() -> None:
    other = label(rows=[{"what": "hose", "amount": 5}])
    dispute = resolve_conflicts(ROOT, [label(), other])
    [difference] = dispute.conflicts
    assert (difference.path, difference.is_row) == ("rows[0]", True)
    assert [vote.value for vote in difference.votes] == [{"what": "pump", "amount": 10}, MISSING]
    kept = resolve_conflicts(ROOT, [label(), other], {"rows[0]": KEEP}).value
    left = resolve_conflicts(ROOT, [label(), other], {"rows[0]": LEAVE_OUT})
    assert kept["rows"] == label()["rows"]
    assert left.value["rows"] == [{"what": "hose", "amount": 5}]
    assert left.sources["rows[0].what"] == (0, "rows[1].what")
    assert "rows[1].what" not in left.sources


def test_cells_name_their_row() -> None:
    other = [{"what": "pump", "amount": 11}, {"what": "hose", "amount": 5}]
    dispute = resolve_conflicts(ROOT, [label(), label(rows=other), label(rows=[{"what": "hose", "amount": 5}])])
    conflicts = [(conflict.path, conflict.within) for conflict in dispute.conflicts]
    assert conflicts == [("rows[0]", ""), ("rows[0].amount", "rows[0]")]
    assert dispute.value_paths["rows[0].amount"] == "rows[0].amount"


def test_evidence_follows_the_chosen_value() -> None:
    labels = [label(number="A-1"), label(number="B-1")]
    evidence: list[dict[str, Any]] = [
        {"number": {"start": 1, "end": 4}},
        {"number": {"confirmed": True, "of": '"B-1"'}},
    ]
    assert evidence_of(resolve_conflicts(ROOT, labels, {"number": "B-1"}), evidence) == {
        "number": evidence[1]["number"]
    }
    assert evidence_of(resolve_conflicts(ROOT, labels, {"number": "C-1"}), evidence) == {}


def test_unknown_choices_are_ignored_and_additional_properties_compared() -> None:
    assert resolve_conflicts(ROOT, [label(), label()], {"kind": "reminder", "surprise": 1}).value == label()
    dispute = resolve_conflicts(ROOT, [label(extra={"a": 1}), label(extra={"a": 2})])
    assert [conflict.path for conflict in dispute.conflicts] == ["extra"]


ROWS = st.lists(
    st.fixed_dictionaries({"what": st.sampled_from(["pump", "hose", "bolt"]), "amount": st.integers(1, 3)}), max_size=4
)
LABELS = st.fixed_dictionaries(
    {"kind": st.sampled_from(["invoice", "reminder"]), "paid": st.booleans(), "rows": ROWS},
    optional={"total": st.none() | st.integers(1, 3), "number": st.sampled_from(["A", "B"])},
)


@given(LABELS, LABELS)
def test_choosing_one_annotator_yields_their_label(mine: dict[str, Any], other: dict[str, Any]) -> None:
    picks: dict[str, Any] = {}
    # A pick can bring up no new differences, so that one round is enough.
    for difference in resolve_conflicts(SCHEMA.root, [mine, other]).conflicts:
        given = next((vote.value for vote in difference.votes if 0 in vote.labels), MISSING)
        picks[difference.path] = (LEAVE_OUT if given is MISSING else KEEP) if difference.is_row else given
    settled = resolve_conflicts(SCHEMA.root, [mine, other], picks)
    assert count_differences(SCHEMA, settled.value, mine)[0] == 0
    assert not SCHEMA.validate(settled.value)
