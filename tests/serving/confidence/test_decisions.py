"""What happens with an answer: whom it is given to, and why."""

import uuid

import pytest

from serving.confidence.decisions import Assessment, Policy, Reason, asks_fallback, doubt, doubtful_fields, is_drawn

ANSWER = Assessment({"number": 0.99, "rows[0].total": 0.9}, {"number": "number", "rows[0].total": "rows[].total"})


@pytest.mark.parametrize(
    ("policy", "found", "reason", "fields"),
    [
        (Policy(), ANSWER, "", []),
        (Policy(min_confidence=0.95), ANSWER, "confidence", ["rows[0].total"]),
        (Policy(min_confidence=0.95, field_confidence={"rows[].total": 0.8}), ANSWER, "", []),
        (Policy(field_confidence={"number": 1.0}), ANSWER, "confidence", ["number"]),
        (Policy(), Assessment({"number": 0.99}, {}, holds=False), "invariant", []),
        (Policy(on_invariant=False), Assessment({"number": 0.99}, {}, holds=False), "", []),
        (Policy(has_budget=True), Assessment(ANSWER.confidence, {}, limit=0.85), "", []),
        (Policy(has_budget=True), Assessment(ANSWER.confidence, {}, limit=0.95), "budget", ["rows[0].total"]),
        (Policy(has_budget=True), ANSWER, "budget", ["number", "rows[0].total"]),
        (Policy(has_budget=True), Assessment(limit=0.1), "budget", []),
        (Policy(has_budget=True, is_broken=True), Assessment(ANSWER.confidence, {}, limit=0.5), "broken", []),
    ],
)
def test_why_an_answer_is_not_good_enough(policy: Policy, found: Assessment, reason: str, fields: list[str]) -> None:
    assert doubt(policy, found) == reason
    assert doubtful_fields(policy, found) == fields


@pytest.mark.parametrize(
    ("policy", "reason", "asked"),
    [
        (Policy(has_fallback=True), Reason.NONE, False),
        (Policy(has_fallback=True), Reason.CONFIDENCE, True),
        (Policy(has_fallback=True), Reason.INVALID, True),
        (Policy(has_fallback=True, on_invalid=False), Reason.INVALID, False),
        (Policy(has_fallback=True, on_unavailable=False), Reason.UNAVAILABLE, False),
        (Policy(has_fallback=False), Reason.INVALID, False),
        (Policy(has_fallback=True), Reason.BUDGET, False),
        (Policy(has_fallback=True, rest_to_fallback=True), Reason.BUDGET, True),
        (Policy(has_fallback=True, rest_to_fallback=True), Reason.BROKEN, True),
    ],
)
def test_when_the_larger_model_is_asked(policy: Policy, reason: Reason, asked: bool) -> None:
    assert asks_fallback(policy, reason) == asked


def test_the_audit_draws_the_share_that_it_says() -> None:
    ids = [str(uuid.UUID(int=number)) for number in range(4_000)]
    drawn = [one for one in ids if is_drawn(one, 0.1)]
    assert 340 < len(drawn) < 460  # 3 standard deviations around 400
    assert all(is_drawn(one, 0.2) for one in drawn)
    assert not any(is_drawn(one, 0.0) for one in ids)
    assert all(is_drawn(one, 1.0) for one in ids)
