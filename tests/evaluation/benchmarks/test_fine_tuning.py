"""Whether fine-tuning is needed: the simplest candidate that passes, else the nearest, else the bar."""

from typing import Any

from evaluation.benchmarks.recommendation import Limits, MeasuredCandidate, fine_tuning_advice

FAIL, PASS, NOT_PROVEN = "FAIL", "PASS", "NOT PROVEN"
LIMITS = Limits(memory_gb=16, latency_p95_ms=1000)


def candidate(name: str, verdict: str, right: int = 90, **changes: Any) -> MeasuredCandidate:
    values: dict[str, Any] = {
        "run": 1, "model": name, "name": name, "mode": "constrained", "right": right, "fields": 100, "valid": 1.0,
        "shares": {}, "memory_bytes": 10**9, "p50_ms": 300.0, "p95_ms": 400.0, "p95_low": 350.0, "verdict": verdict,
    }  # fmt: skip
    return MeasuredCandidate(**{**values, **changes})


def classical(verdict: str, right: int = 90, **changes: Any) -> MeasuredCandidate:
    return candidate("TF-IDF", verdict, right, mode="", classical=True, labels=1200, p50_ms=2.0, **changes)


def test_simplest_passing_candidate_is_named() -> None:
    advice = fine_tuning_advice(
        [candidate("Far", PASS, 99, memory_bytes=None), candidate("Base", PASS, 98), classical(PASS, 95)], LIMITS
    )
    assert "TF-IDF has 95.0% field accuracy with 1,200 labels" in advice
    assert "Base, constrained" in fine_tuning_advice([candidate("Base", PASS), classical(FAIL)], LIMITS)


def test_nearest_open_candidate_is_named_where_none_passes() -> None:
    advice = fine_tuning_advice(
        [candidate("Base", NOT_PROVEN, 80), classical(NOT_PROVEN, 85), classical(FAIL, 99)], LIMITS
    )
    assert "TF-IDF has 85.0%" in advice


def test_where_all_fail_the_best_is_the_bar() -> None:
    advice = fine_tuning_advice([candidate("Base", FAIL, 70), classical(FAIL, 60)], LIMITS)
    assert "Base, constrained has 70.0%" in advice


def test_fine_tuned_slow_and_untested_candidates_answer_nothing() -> None:
    tuned = candidate("Tuned", PASS, fine_tuned=True)
    slow = candidate("Slow", PASS, p95_ms=5000.0, p95_low=4000.0)
    assert fine_tuning_advice([tuned, slow, candidate("Base", "")], LIMITS) == ""


def test_no_bar_where_a_fine_tuned_model_may_pass() -> None:
    candidates = [candidate("Base", FAIL, 70), candidate("Tuned", NOT_PROVEN, 98, fine_tuned=True)]
    assert fine_tuning_advice(candidates, LIMITS) == ""
    assert fine_tuning_advice([candidates[0], candidate("Tuned", FAIL, 98, fine_tuned=True)], LIMITS) != ""
