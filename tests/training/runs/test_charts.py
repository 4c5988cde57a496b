"""Charts: histograms, and field accuracy over time with the counts of scoring."""

from hypothesis import given, settings
from hypothesis import strategies as st

from training.runs.charts import HEIGHT, WIDTH, fields_over_time, histogram, marks_of


@settings(max_examples=40)
@given(st.lists(st.integers(min_value=0, max_value=50_000), max_size=100))
def test_histogram_counts_every_length_once(lengths: list[int]) -> None:
    drawn = histogram(lengths)
    if drawn is None:
        assert not lengths
        return
    assert sum(bar["count"] for bar in drawn["bars"]) == len(lengths)
    assert len(drawn["bars"]) <= 40
    for bar in drawn["bars"]:
        assert bar["count"] == sum(bar["start"] <= tokens < bar["end"] for tokens in lengths)
        assert bar["height"] <= HEIGHT
        assert bar["x"] + bar["width"] <= WIDTH + 1
    assert drawn["longest"] == max(lengths) < drawn["scale"]


def sample(name: str, **outcomes: str) -> dict[str, object]:
    return {"id": name, "raw": "{}", "valid": True, "correct": 1, "fields": 2, "outcomes": outcomes}


def test_fields_over_time_omit_absent_values_and_count_invalid_outputs_as_wrong() -> None:
    first = {"rows": [sample("a", total="wrong", date="both_absent"), sample("b", total="correct", date="missing")]}
    second = {
        "rows": [sample("a", total="correct", date="both_absent"), sample("b", total="unscorable", date="correct")]
    }
    third = {"rows": [sample("a", late="correct")]}
    assert dict(fields_over_time([first, second, third])) == {
        "total": [(1, 2), (1, 2), (0, 0)],
        "date": [(0, 1), (1, 1), (0, 0)],
        "late": [(0, 0), (0, 0), (1, 1)],
    }


def test_list_values_are_one_field_in_schema_order() -> None:
    data = {"rows": [sample("a", **{"lines[0].amount": "correct", "lines[1].amount": "wrong", "id": "correct"})]}
    rows = fields_over_time([data], order=["id", "lines[].amount"])
    assert rows == [("id", [(1, 1)]), ("lines[].amount", [(1, 2)])]


def test_marks_follow_the_schema_and_unknown_outcomes_are_not_correct() -> None:
    marks = marks_of({"total": "invented", "company": "correct"}, order=["company", "total"])
    assert [(field, tone) for field, _, tone, _ in marks] == [("company", "good"), ("total", "bad")]
