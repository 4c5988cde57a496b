"""Agreement against published values, and what must hold for any labels."""

import random
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.inter_rater import cohens_kappa

from labeling.annotation.services import labels_agree
from labeling.review.agreement import (
    NOT_LABELED,
    FieldAgreement,
    by_field,
    cohen_kappa,
    krippendorff_alpha,
    mean_pairwise_kappa,
)
from slmstudio.contract.schema.compiled import compile_schema

_ = NOT_LABELED
# Krippendorff (2011), "Computing Krippendorff's alpha-reliability", C: four observers, twelve units, missing values.
OBSERVERS = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, _, _, _],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, _, 3],
    [_, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, _],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, _],
]
UNITS: list[Any] = [list(unit) for unit in zip(*OBSERVERS, strict=True)]


def test_alpha_of_the_worked_examples() -> None:
    assert krippendorff_alpha(UNITS) == pytest.approx(0.743, abs=0.0005)
    # The same paper, A: ten units, two observers, alpha = 0.095.
    meg = [0, 1, 0, 0, 0, 0, 0, 0, 1, 0]
    owen = [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]
    pairs = [list(pair) for pair in zip(meg, owen, strict=True)]
    assert krippendorff_alpha(pairs) == pytest.approx(0.095, abs=0.0005)


def test_kappa_by_hand() -> None:
    # 50 units: both yes 20, both no 15, first yes alone 5, second yes alone 10. Observed 0.7, by chance 0.5.
    first = ["yes"] * 25 + ["no"] * 25
    second = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    assert cohen_kappa(first, second) == pytest.approx(0.4)
    assert cohen_kappa(["a", "b", "c"], ["a", "b", "c"]) == 1
    assert cohen_kappa(["a", "b"], ["b", "a"]) == -1


def random_units(seed: int, people: int, missing: float = 0) -> list[list[Any]]:
    draw = random.Random(seed)
    return [[NOT_LABELED if draw.random() < missing else draw.choice("aabc") for _ in range(people)] for _ in range(40)]


def test_kappa_is_that_of_statsmodels() -> None:
    for seed in range(3):
        units = random_units(seed, 2)
        table = [[sum(unit == [first, second] for unit in units) for second in "abc"] for first in "abc"]
        kappa = cohens_kappa(table, return_results=False)
        assert cohen_kappa([unit[0] for unit in units], [unit[1] for unit in units]) == pytest.approx(kappa)
        assert mean_pairwise_kappa(units) == pytest.approx(kappa)


# What the package krippendorff 0.9 gives for the same units.
@pytest.mark.parametrize(
    ("seed", "people", "alpha"),
    [(1, 2, -0.10624169986719778), (2, 3, 0.09398099260823645), (3, 5, -0.0676835081029552)],
)
def test_alpha_with_missing_labels_matches_reference(seed: int, people: int, alpha: float) -> None:
    assert krippendorff_alpha(random_units(seed, people, missing=0.3)) == pytest.approx(alpha)


def test_kappa_of_several_annotators_is_a_weighted_mean() -> None:
    # ana and ben agree on four units; ana and cleo disagree on two; ben and cleo share none.
    units = [["x", "x", _], ["y", "y", _], ["x", "x", _], ["y", "y", _], ["x", _, "y"], ["y", _, "x"]]
    assert mean_pairwise_kappa(units) == pytest.approx((4 * 1 + 2 * -1) / 6)
    # A pair with a single value has no kappa and does not affect the others.
    assert mean_pairwise_kappa([*units, [_, "x", "x"]]) == pytest.approx((4 * 1 + 2 * -1) / 6)
    assert mean_pairwise_kappa([["x", _, _]]) is None


def test_coefficients_are_undefined_for_one_value() -> None:
    assert cohen_kappa(["a", "a"], ["a", "a"]) is None
    assert cohen_kappa([], []) is None
    assert krippendorff_alpha([["a", "a"], ["a", "a"]]) is None
    assert krippendorff_alpha([["a", NOT_LABELED], [NOT_LABELED, NOT_LABELED]]) is None
    with pytest.raises(ValueError, match="zip"):
        cohen_kappa(["a"], ["a", "b"])


LABELS = st.lists(st.lists(st.sampled_from(["a", "b", "c", NOT_LABELED]), min_size=3, max_size=3), max_size=12)


@given(LABELS, st.permutations(range(3)))
def test_alpha_is_invariant_to_annotators_and_names(units: list[list[Any]], order: list[int]) -> None:
    alpha = krippendorff_alpha(units)
    renamed = {"a": 1, "b": 2, "c": 3, NOT_LABELED: NOT_LABELED}
    assert krippendorff_alpha([[renamed[unit[index]] for index in order] for unit in units]) == pytest.approx(alpha)
    assert krippendorff_alpha([*units, ["a", NOT_LABELED, NOT_LABELED]]) == alpha
    if alpha is not None:
        assert alpha <= 1
        assert (alpha == 1) == all(len({value for value in unit if value is not NOT_LABELED}) <= 1 for unit in units)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), max_size=20))
def test_kappa_is_invariant_to_order(pairs: list[tuple[str, str]]) -> None:
    first, second = [a for a, _b in pairs], [b for _a, b in pairs]
    kappa = cohen_kappa(first, second)
    assert cohen_kappa(second, first) == pytest.approx(kappa)
    if kappa is not None:
        assert -1 <= kappa <= 1
        assert (kappa == 1) == (first == second)


SCHEMA = compile_schema(
    {
        "type": "object",
        "properties": {
            "number": {"type": "string", "x-slm": {"kind": "identifier"}},
            "kind": {"type": "string", "enum": ["invoice", "reminder"]},
            "paid": {"type": "boolean"},
            "total": {"type": ["number", "null"]},
            "rows": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {"what": {"type": "string"}, "amount": {"type": "number"}},
                },
            },
        },
    }
)


def label(**changes: Any) -> dict[str, Any]:
    rows = [{"what": "pump", "amount": 10}, {"what": "hose", "amount": 5}]
    return {"number": "A-1", "kind": "invoice", "paid": True, "total": 15, "rows": rows, **changes}


def test_values_are_normalized() -> None:
    assert labels_agree(SCHEMA, [label(), label(number="a -1", total=Decimal("15.00"))])
    swapped = label(rows=[{"what": "hose", "amount": 5}, {"what": "pump", "amount": 10}])
    assert labels_agree(SCHEMA, [label(), swapped, label()])
    assert not labels_agree(SCHEMA, [label(), label(), label(paid=False)])
    assert labels_agree(
        SCHEMA, [label(total=None), {name: value for name, value in label().items() if name != "total"}]
    )


def fields(documents: list[list[Any]]) -> dict[str, FieldAgreement]:
    return {agreement.field.pattern: agreement for agreement in by_field(SCHEMA, documents)}


def test_each_field_and_each_row_is_compared() -> None:
    missing_row = label(rows=[{"what": "hose", "amount": 5}])
    agreement = fields([[label(), label()], [label(), missing_row], [label(), label(kind="reminder", total=16)]] * 10)
    assert (agreement["number"].units, agreement["number"].exact) == (30, 1)
    assert agreement["kind"].exact == pytest.approx(2 / 3)
    assert agreement["total"].exact == pytest.approx(2 / 3)
    # Three documents with two rows each; in the second, one person lacks the pump.
    assert agreement["rows[].what"].units == 60
    assert agreement["rows[].what"].exact == pytest.approx(5 / 6)
    assert agreement["kind"].kappa == 0
    assert agreement["kind"].alpha == pytest.approx(-0.18)
    assert agreement["paid"].kappa is None
    assert (agreement["number"].kappa, agreement["number"].alpha) == (None, None)


def test_missing_labels_do_not_count_and_few_units_have_no_coefficients() -> None:
    documents = [
        [label(), label(), NOT_LABELED],
        [NOT_LABELED, label(kind="reminder"), label(kind="reminder")],
        [label(), NOT_LABELED, NOT_LABELED],
    ]
    kind = fields(documents * 10)["kind"]
    assert (kind.units, kind.exact, kind.kappa, kind.alpha) == (20, 1, None, 1)
    assert by_field(SCHEMA, []) == []
    kind = fields([[label(), label(kind="reminder")]])["kind"]
    assert (kind.exact, kind.kappa, kind.alpha) == (0, None, None)
