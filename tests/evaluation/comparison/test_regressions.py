"""What counts as a regression, in sentences."""

from typing import Any

from evaluation.comparison.paired import compare
from evaluation.comparison.regressions import document_p, fields, improvements, measures, regressions, sample_note
from evaluation.stats import holm
from tests.evaluation.comparison.test_paired import RIGHT, WRONG


def result(right_a: int, right_b: int, broken: int, n: int = 40) -> dict[str, Any]:
    """Of ``n`` documents A has the first ``right_a`` right, B all but the first ``broken`` of as many as it has."""
    a = [(f"d{i}", RIGHT if i < right_a else WRONG) for i in range(n)]
    b = [(f"d{i}", RIGHT if broken <= i < right_b + broken else WRONG) for i in range(n)]
    return compare(a, b)[0]


def test_what_could_be_luck_is_no_regression_unless_every_document_counts_or_is_pinned() -> None:
    assert regressions(result(20, 20, 0)) == regressions(result(10, 30, 0)) == []
    few = result(20, 17, 3)
    assert (few["counts"]["broken"], regressions(few)) == (3, [])
    assert regressions(few, any_document=True) == ["3 documents regressed: d0, d1, d2."]
    assert regressions(result(20, 20, 0), ["d7"]) == ["1 pinned document wrong: d7."]
    many = [f"p{number}" for number in range(8)]
    assert regressions(result(20, 20, 0), many) == ["8 pinned documents wrong: p0, p1, p2, p3, p4 and 3 more."]


def test_the_four_figures_are_one_family() -> None:
    """One figure at p = 0.03 among four is no proof."""
    few = result(20, 14, 6)
    assert {measure["name"]: measure["p_value"] for measure in few["measures"]}["document_exact"] == 0.03125
    assert regressions(few) == []


def test_more_invented_values_are_a_regression() -> None:
    def documents(outcome: str) -> list[Any]:
        row = {"exact": outcome == "correct", "schema_valid": True, "fields": [{"field": "total", "outcome": outcome}]}
        return [(str(number), row) for number in range(9)]

    sentences = regressions(compare(documents("correct"), documents("hallucinated"))[0])
    assert any("hallucinated values" in sentence for sentence in sentences)


def test_what_is_worse_or_better_by_more_than_luck_is_named() -> None:
    worse = regressions(result(30, 0, 30))
    assert "Fewer documents are an exact match: 75.0% to 0%, p < 0.001 over documents (Holm)." in worse
    assert "total is correct in 0 of 40 documents instead of 30, p < 0.001 (Holm)." in worse
    assert not any(sentence.startswith("date") for sentence in worse)
    assert improvements(result(0, 30, 0)) == [
        "field accuracy improved in more documents than it dropped",
        "more documents are an exact match",
    ]
    assert improvements(result(17, 20, 0)) == improvements(result(30, 0, 30)) == []


def test_documents_with_two_golds_decide_nothing() -> None:
    whole, rest = result(0, 30, 0), result(5, 5, 0, n=10)
    assert improvements({**whole, "judged": rest}) == []
    assert sample_note({**whole, "judged": rest}) == "Based on the 10 of 40 documents with the same gold in both runs."
    assert regressions({**result(30, 0, 30), "judged": rest}, any_document=True) == []
    nothing = compare([], [])[0]
    assert (improvements({**whole, "judged": nothing}), regressions({**whole, "judged": nothing})) == ([], [])
    assert sample_note({**whole, "judged": nothing}).startswith("No document has the same gold")
    assert sample_note(whole) == ""


def test_one_adjusted_p_value_stands_in_table_and_sentence() -> None:
    """The table's p is the one that the sentence names: adjusted, and on the documents that are judged."""
    compared = result(20, 4, 16)
    raw = {measure["name"]: measure["p_value"] for measure in compared["measures"]}
    adjusted = {measure["name"]: measure["p_adjusted"] for measure in measures(compared)}
    assert list(adjusted.values()) == holm(list(raw.values()))
    assert document_p(compared) == adjusted["document_exact"] != raw["document_exact"]
    assert all("p_value" not in row for row in [*measures(compared), *fields(compared)])
    [sentence] = [
        sentence for sentence in regressions(compared) if sentence.startswith("Fewer documents are an exact match")
    ]
    p = adjusted["document_exact"]
    assert ("p < 0.001" if p < 0.001 else f"p = {p:.3f}") in sentence
    few = result(3, 1, 2, n=4)
    assert document_p({**compared, "judged": few}) == document_p(few)
    nothing = compare([], [])[0]
    assert document_p({**compared, "judged": nothing}) is None
    assert {row["p_adjusted"] for row in fields({**compared, "judged": nothing})} == {None}
