"""Failure modes: the rates of every failure tag and metadata slice before and after. Pure."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from evaluation.comparison.document_filter import LETTERS, DocumentColumns
from evaluation.scores.rates import field_accuracy, is_mixed, sign_test
from evaluation.scores.score_view import FieldCount
from evaluation.stats import benjamini_hochberg


def failure_modes(
    cases: DocumentColumns,
    a: Sequence[FieldCount],
    b: Sequence[FieldCount],
    *,
    families: Mapping[str, Any] | None = None,
    group_key: str = "",
) -> list[dict[str, Any]]:
    """A row for every tag and every metadata slice, the largest drop first; the counts are in the order of the cases.

    ``families``: document id -> family, where a document is not alone in it. A slice of ``group_key``, by which they
    are grouped, is one family, whose documents are the unit.

    ``a`` and ``b``: field accuracy with its interval. ``broken`` and ``fixed``: whole documents. ``p_value``: sign test
    over the documents whose field accuracy changed; ``p_adjusted`` after Benjamini and Hochberg over all rows, because
    slices are explored. ``mixed``: the test and the rate point in different directions.
    """
    of = [(families or {}).get(key, key) for key in cases.keys]
    modes = [_mode("tag", "", tag, cases.tagged(tag), cases, a, b, of) for tag in cases.tags]
    modes += [
        _mode("metadata", key, value, places, cases, a, b, cases.keys if key == group_key else of)
        for key, value, places in cases.slices()
    ]
    adjusted = benjamini_hochberg([row["p_value"] for row in modes])
    rows = [{**row, "p_adjusted": p} for row, p in zip(modes, adjusted, strict=True)]
    return sorted(rows, key=lambda row: (row["change"], row["fixed"] - row["broken"], row["key"], row["value"]))


def _mode(
    kind: str,
    key: str,
    value: str,
    places: Sequence[int],
    cases: DocumentColumns,
    a: Sequence[FieldCount],
    b: Sequence[FieldCount],
    of: Sequence[Hashable],
) -> dict[str, Any]:
    before, after, groups = [a[place] for place in places], [b[place] for place in places], [of[at] for at in places]
    left, right = field_accuracy(before, groups), field_accuracy(after, groups)
    better, worse, p_value = sign_test([count.share for count in before], [count.share for count in after], groups)
    states = [cases.state[place] for place in places]
    change = (right["rate"] or 0.0) - (left["rate"] or 0.0)
    return {
        "kind": kind,
        "key": key,
        "value": value,
        "n": len(places),
        "a": left,
        "b": right,
        "change": change,
        "broken": states.count(LETTERS["broken"]),
        "fixed": states.count(LETTERS["fixed"]),
        "better": better,
        "worse": worse,
        "mixed": is_mixed(change, better, worse),
        "p_value": p_value,
    }
