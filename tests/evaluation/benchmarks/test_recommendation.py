"""Which model is recommended, with what reason, and when models cannot be told apart."""

from dataclasses import replace
from typing import Any

from evaluation.benchmarks.recommendation import Limits, MeasuredCandidate, recommend

LIMITS = Limits(memory_gb=16, latency_p95_ms=800)
N = 20


def candidate(run: int, name: str, rights: list[int], **changes: Any) -> MeasuredCandidate:
    """A model with four fields a document of which so many are right."""
    values: dict[str, Any] = {
        "run": run, "model": name, "name": name, "mode": "constrained", "right": sum(rights),
        "fields": 4 * len(rights), "valid": 1.0, "shares": {str(n): right / 4 for n, right in enumerate(rights)},
        "memory_bytes": 900_000_000, "p50_ms": 400.0, "p95_ms": 700.0, "p95_low": 650.0, "p95_high": 790.0,
        "requests": 60, "size": 100, **changes,
    }  # fmt: skip
    return MeasuredCandidate(**values)


def test_a_model_that_is_better_on_nearly_every_document_is_recommended_as_proven() -> None:
    advice = recommend([candidate(1, "Small", [1] * N), candidate(2, "Large", [3] * N)], LIMITS)
    assert (advice.run, advice.separable) == (2, True)
    for value in ("Large", "16 GB and 800 ms", "75.0%", "25.0% of Small", "20 of 20 documents", "p < 0.001"):
        assert value in advice.sentence
    assert advice.notes == ()


def test_a_difference_that_is_not_significant_is_called_that_and_something_else_decides() -> None:
    close = [2] * 10 + [1] * 10
    advice = recommend(
        [candidate(1, "Small", [1] * 8 + [2] * 12, p50_ms=90.0), candidate(2, "Large", [3] * 9 + close[9:])], LIMITS
    )
    assert advice.run == 2
    assert not advice.separable
    assert "not significant" in advice.sentence
    assert "Small is the fastest (90 ms at p50)" in advice.notes[0]


def test_more_candidates_ask_for_more_proof() -> None:
    """Six documents better and none worse is p = 0.031 for one pair, and not enough for three."""
    weak, strong = [1] * N, [2] * 6 + [1] * 14
    alone = recommend([candidate(1, "A", weak), candidate(2, "B", strong)], LIMITS)
    among = recommend([candidate(1, "A", weak), candidate(3, "C", weak), candidate(2, "B", strong)], LIMITS)
    assert (alone.separable, among.separable) == (True, False)


def test_what_breaks_the_contract_is_not_recommended_and_the_page_says_why() -> None:
    slow = candidate(2, "Slow", [4] * N, p95_ms=1250.0, p95_low=900.0)
    big = candidate(3, "Big", [4] * N, memory_bytes=17_100_000_000)
    advice = recommend([candidate(1, "Small", [1] * N), slow, big], LIMITS)
    assert advice.run == 1
    assert advice.sentence.startswith("Small, constrained: the only model within 16 GB and 800 ms")
    assert [slow.over_limits(LIMITS), big.over_limits(LIMITS)] == [["p95 1.25 s"], ["needs 17.1 GB"]]
    assert {note.split()[0] for note in advice.notes} == {"Slow", "Big"}
    dear = candidate(2, "Dear", [4] * N, cost=0.02)
    assert dear.over_limits(Limits(memory_gb=16, cost_per_request=0.01, currency="EUR")) == ["€0.02 per request"]


def test_a_p95_rules_a_model_out_only_significantly() -> None:
    """Of 20 requests two were slow: p95 is over the limit, but its lower bound is not."""
    doubtful: dict[str, Any] = {
        "p95_ms": 850.0,
        "p95_low": 700.0,
        "p95_high": None,
        "requests": 20,
        "machine": "Xeon",
    }
    advice = recommend([candidate(1, "Small", [1] * N), candidate(2, "Large", [3] * N, **doubtful)], LIMITS)
    assert advice.run == 2
    for value in ("Large, constrained", "850 ms", "800 ms", "not significantly", "20 requests", "Xeon"):
        assert value in advice.notes[0]


def test_where_none_keeps_to_the_contract_none_is_recommended() -> None:
    slow = candidate(1, "A", [1] * N, p95_ms=900.0, p95_low=810.0)
    advice = recommend([slow, candidate(2, "B", [2] * N, p95_ms=950.0, p95_low=820.0)], LIMITS)
    assert advice.run is None
    for value in ("None of the 2 models", "16 GB and 800 ms", "B, constrained, 50.0%"):
        assert value in advice.sentence


def test_better_mode_of_a_model_counts_and_the_other_is_listed() -> None:
    free = candidate(2, "Small", [2] * N, mode="unconstrained", valid=0.5)
    advice = recommend([candidate(1, "Small", [1] * N), free, candidate(3, "Large", [1] * N)], LIMITS)
    assert advice.run == 2
    assert "Small, constrained: 25.0% field accuracy, 100% schema-valid." in advice.notes
    assert len(advice.pairs) == 1


def test_an_external_model_is_a_baseline_and_never_recommended() -> None:
    hosted = candidate(2, "gpt-x", [4] * N, base=False, memory_bytes=None, p95_ms=700.0)
    advice = recommend([candidate(1, "Small", [1] * N), hosted], LIMITS)
    assert (advice.run, advice.alone, advice.separable) == (1, True, False)
    assert "the only base model measured" in advice.sentence
    assert advice.notes == ("Baseline: gpt-x, constrained, 100% field accuracy, 400 ms at p50.",)


def test_the_smallest_model_that_passes_is_recommended_however_accurate_the_others_are() -> None:
    trained: dict[str, Any] = {"base": False, "fine_tuned": True, "verdict": "PASS"}
    encoder = candidate(1, "v2 (MiniLM)", [3] * N, mode="", size=23_000_000, p50_ms=9.0, **trained)
    decoder = candidate(2, "v1 (SmolLM2)", [4] * N, size=135_000_000, **trained)
    hosted = candidate(3, "gpt-x", [4] * N, base=False, memory_bytes=None, verdict="PASS")
    base = candidate(4, "SmolLM2", [1] * N, size=135_000_000, verdict="FAIL")
    advice = recommend([hosted, base, decoder, encoder], LIMITS)
    assert (advice.run, advice.passes) == (1, True)
    for value in ("the smallest model that passes", "75.0%", "23 M parameters", "9 ms at p50"):
        assert value in advice.sentence
    assert "SmolLM2, constrained: 25.0% field accuracy, 400 ms at p50; fails the gates." in advice.notes
    slow = replace(encoder, p95_ms=1250.0, p95_low=900.0)
    assert recommend([hosted, base, decoder, slow], LIMITS).run == 2
    classical = candidate(5, "Rules", [2] * N, mode="", base=False, classical=True, verdict="PASS", size=0)
    assert recommend([classical, encoder], LIMITS).run == 5
    unproven = [replace(model, verdict="NOT PROVEN") for model in (encoder, base)]
    advice = recommend(unproven, LIMITS)
    assert (advice.run, advice.passes, advice.unproven) == (1, False, True)
    assert f"{N} documents are too few" in advice.sentence
    better = replace(decoder, verdict="NOT PROVEN")
    assert recommend([*unproven, better], LIMITS).run == 2, "the more accurate one, as none is proven"
    assert recommend([replace(encoder, verdict="FAIL"), base], LIMITS).run == 4


def test_where_no_field_is_right_accuracy_does_not_choose() -> None:
    advice = recommend([candidate(1, "Large", [0] * N, size=900), candidate(2, "Small", [0] * N)], LIMITS)
    assert advice.run == 2
    assert advice.sentence.startswith("No model has a correct field before fine-tuning.")
    assert not advice.separable
