"""The number line of a verdict."""

from evaluation.gates.display import number_line_of

VERDICT = {
    "gate": {"metric": "schema_valid_rate", "operator": ">=", "threshold": 0.99},
    "measured": 0.95,
    "low": 0.9,
    "high": 0.98,
}


def test_everything_is_in_order_between_0_and_1() -> None:
    line = number_line_of(VERDICT)
    assert line is not None
    assert line.measured is not None
    assert 0 <= line.low < line.measured < line.high < line.limit <= 1
    assert line.good == (line.limit, 1.0)


def test_nothing_measured_is_no_line() -> None:
    assert number_line_of({**VERDICT, "measured": None, "low": None, "high": None}) is None
