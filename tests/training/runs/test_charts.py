"""Charts: histograms, and field accuracy over time with the counts of scoring."""

from hypothesis import given
from hypothesis import strategies as st

from training.runs.charts import fields_over_time, histogram, samples_of


@given(st.lists(st.integers(min_value=0, max_value=50_000), min_size=1, max_size=300))
def test_histogram_counts_every_length_once(lengths: list[int]) -> None:
    drawn = histogram(lengths)
    assert drawn is not None
    assert sum(bar.count for bar in drawn.bars) == len(lengths)
    assert len(drawn.bars) <= 40
    for bar in drawn.bars:
        assert bar.count == sum(bar.start <= tokens < bar.end for tokens in lengths)
        assert bar.height <= drawn.height
        assert bar.x + bar.width <= drawn.width + 1
    assert drawn.longest == max(lengths) < drawn.scale


def test_no_lengths_give_no_histogram() -> None:
    assert histogram([]) is None


def sample(name: str, **outcomes: str) -> dict[str, object]:
    return {"id": name, "raw": "{}", "valid": True, "correct": 1, "fields": 2, "outcomes": outcomes}


def test_fields_over_time_omit_absent_values() -> None:
    first = {"rows": [sample("a", total="wrong", date="both_absent"), sample("b", total="correct", date="missing")]}
    second = {
        "rows": [sample("a", total="correct", date="both_absent"), sample("b", total="unscorable", date="correct")]
    }
    rows = {row.name: [(cell.right, cell.scored) for cell in row.cells] for row in fields_over_time([first, second])}
    assert rows == {"total": [(1, 2), (1, 2)], "date": [(0, 1), (1, 1)]}


def test_invalid_output_is_wrong_in_all_fields() -> None:
    [row] = fields_over_time([{"rows": [sample("a", total="unscorable"), sample("b", total="correct")]}])
    assert (row.cells[0].right, row.cells[0].scored) == (1, 2)


def test_list_values_are_one_field_in_schema_order() -> None:
    data = {"rows": [sample("a", **{"lines[0].amount": "correct", "lines[1].amount": "wrong", "id": "correct"})]}
    rows = fields_over_time([data], order=["id", "lines[].amount"])
    assert [row.name for row in rows] == ["id", "lines[].amount"]
    assert (rows[1].cells[0].right, rows[1].cells[0].scored) == (1, 2)


def test_late_field_has_empty_cells_before() -> None:
    rows = fields_over_time([{"rows": [sample("a", x="correct")]}, {"rows": [sample("a", x="correct", y="wrong")]}])
    assert {row.name: len(row.cells) for row in rows} == {"x": 2, "y": 2}
    assert next(row for row in rows if row.name == "y").cells[0].scored == 0


def test_marks_follow_the_schema_and_have_texts() -> None:
    [found] = samples_of({"rows": [sample("a", total="hallucinated", company="correct")]}, order=["company", "total"])
    assert [(mark.field, mark.word) for mark in found.marks] == [
        ("company", "correct"),
        ("total", "hallucinated"),
    ]


def test_unknown_outcome_is_not_shown_as_correct() -> None:
    [found] = samples_of({"rows": [sample("a", total="invented")]})
    assert found.marks[0].tone == "bad"
