"""The states of an alert, check by check."""

from datetime import UTC, datetime, timedelta

import pytest

from serving.alerts.states import FORGET, Change, Level, State, level, step

START = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
OVER, NEAR, CLEAR, UNKNOWN = Level.OVER, Level.NEAR, Level.CLEAR, Level.UNKNOWN


def history(levels: list[Level], *, every: int = 60, for_seconds: int = 300, state: State | None = None) -> list[str]:
    """The state after each check, with a mark where people are informed."""
    current = state or State("ok", START)
    found = []
    for index, one in enumerate(levels):
        current, change = step(current, one, START + timedelta(seconds=every * index), for_seconds=for_seconds)
        found.append(current.name + ("" if change == Change.NONE else f"!{change.value}"))
    return found


def test_it_fires_after_its_duration_and_not_before() -> None:
    assert history([OVER] * 6) == ["pending"] * 5 + ["firing!fired"]
    assert history([OVER], for_seconds=0) == ["firing!fired"]


def test_one_good_check_starts_the_duration_over() -> None:
    assert history([OVER] * 4 + [NEAR] + [OVER] * 5) == ["pending"] * 4 + ["ok"] + ["pending"] * 5


def test_it_resolves_after_as_long_below_the_margin() -> None:
    found = history([OVER] * 6 + [CLEAR] * 6)
    assert found[5:] == ["firing!fired"] + ["firing"] * 5 + ["ok!resolved"]


def test_near_the_limit_it_neither_fires_nor_resolves() -> None:
    assert history([NEAR] * 20) == ["ok"] * 20
    assert history([OVER] * 6 + [NEAR, CLEAR, CLEAR] * 10)[6:] == ["firing"] * 30


def test_a_value_that_swings_informs_once() -> None:
    found = history([OVER] * 6 + [CLEAR, OVER] * 30)
    assert [one for one in found if "!" in one] == ["firing!fired"]


def test_without_requests_nothing_fires_and_nothing_resolves() -> None:
    assert history([UNKNOWN] * 50) == ["ok"] * 50
    assert history([OVER] * 3 + [UNKNOWN] + [OVER] * 3)[3:] == ["ok"] + ["pending"] * 3
    assert history([OVER] * 6 + [UNKNOWN] * 30)[6:] == ["firing"] * 30


def test_an_alert_that_cannot_be_measured_is_forgotten() -> None:
    hours = int(FORGET.total_seconds() // 60)
    found = history([OVER] * 6 + [UNKNOWN] * (hours + 1))
    assert [one for one in found if "!" in one] == ["firing!fired", "ok!forgotten"]


def test_checks_that_were_missed_prove_nothing() -> None:
    state, _ = step(State("ok", START), OVER, START, for_seconds=300)
    later, change = step(state, OVER, START + timedelta(hours=2), for_seconds=300)
    assert (later.name, later.since, change) == ("pending", START + timedelta(hours=2), Change.NONE)
    firing = State("firing", START, clear_since=START, checked_at=START, measured_at=START)
    later, change = step(firing, CLEAR, START + timedelta(hours=2), for_seconds=300)
    assert (later.name, change) == ("firing", Change.NONE)


@pytest.mark.parametrize(("value", "is_lower", "expected"), [
    (0.051, False, OVER), (0.05, False, NEAR), (0.046, False, NEAR), (0.045, False, CLEAR), (None, False, UNKNOWN),
    (0.049, True, OVER), (0.05, True, NEAR), (0.056, True, CLEAR),
])  # fmt: skip
def test_levels(value: float | None, is_lower: bool, expected: Level) -> None:
    assert level(value, 0.05, is_lower=is_lower) == expected


def test_a_limit_of_zero_can_be_cleared() -> None:
    assert (level(1.0, 0), level(0.0, 0)) == (OVER, CLEAR)
