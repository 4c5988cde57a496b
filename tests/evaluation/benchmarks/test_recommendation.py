"""Which model is recommended, with what reason, and when models cannot be told apart."""

from typing import Any

from evaluation.benchmarks.recommendation import Candidate, Limits, recommend

LIMITS = Limits(memory_gb=16, latency_p95_ms=800)
N = 20


def candidate(run: int, name: str, rights: list[int], **changes: Any) -> Candidate:
    """A model with four fields a document of which so many are right."""
    values: dict[str, Any] = {
        "run": run, "model": name, "name": name, "mode": "held to the schema", "right": sum(rights),
        "fields": 4 * len(rights), "valid": 1.0, "shares": {str(n): right / 4 for n, right in enumerate(rights)},
        "memory_bytes": 900_000_000, "p50_ms": 400.0, "p95_ms": 700.0, "p95_least": 650.0, "p95_most": 790.0,
        "requests": 60, "size": 100, **changes,
    }  # fmt: skip
    return Candidate(**values)


def test_a_model_that_is_better_on_nearly_every_document_is_recommended_as_proven() -> None:
    found = recommend([candidate(1, "Small", [1] * N), candidate(2, "Large", [3] * N)], LIMITS)
    assert (found.run, found.separable) == (2, True)
    assert found.sentence == (
        "Large, held to the schema: best field accuracy among those not ruled out by 16 GB and 800 ms; 75.0 % against "
        "25.0 % of Small, more than luck (better on 20 of 20 documents, worse on 0, p < 0.001)."
    )
    assert found.notes == ()


def test_a_difference_within_noise_is_called_that_and_something_else_decides() -> None:
    close = [2] * 10 + [1] * 10
    found = recommend(
        [candidate(1, "Small", [1] * 8 + [2] * 12, p50_ms=90.0), candidate(2, "Large", [3] * 9 + close[9:])], LIMITS
    )
    assert found.run == 2
    assert not found.separable
    assert "difference within noise" in found.sentence
    assert found.notes[0] == (
        "These documents do not tell Large and Small apart: choose by size, speed and licence, or judge "
        "more. Small is the fastest of them (90 ms at p50)."
    )


def test_more_candidates_ask_for_more_proof() -> None:
    """Six documents better and none worse is p = 0.031 for one pair, and not enough for three."""
    weak, strong = [1] * N, [2] * 6 + [1] * 14
    alone = recommend([candidate(1, "A", weak), candidate(2, "B", strong)], LIMITS)
    among = recommend([candidate(1, "A", weak), candidate(3, "C", weak), candidate(2, "B", strong)], LIMITS)
    assert (alone.separable, among.separable) == (True, False)
    assert [pair.documents for pair in among.pairs] == [N, N, N]


def test_what_breaks_the_contract_is_not_recommended_and_the_page_says_why() -> None:
    slow = candidate(2, "Slow", [4] * N, p95_ms=1250.0, p95_least=900.0)
    big = candidate(3, "Big", [4] * N, memory_bytes=17_100_000_000)
    found = recommend([candidate(1, "Small", [1] * N), slow, big], LIMITS)
    assert found.run == 1
    assert found.sentence == (
        "Small, held to the schema: the only one not ruled out by 16 GB and 800 ms; 25.0 % of fields right."
    )
    assert set(found.notes) == {
        "Slow does not keep to 16 GB and 800 ms: p95 1.25 s.",
        "Big does not keep to 16 GB and 800 ms: took 17.1 GB.",
    }


def test_a_p95_rules_a_model_out_only_by_more_than_luck() -> None:
    """Of 20 requests two were slow: p95 is over the limit, but its lower bound is not."""
    doubtful: dict[str, Any] = {
        "p95_ms": 850.0,
        "p95_least": 700.0,
        "p95_most": None,
        "requests": 20,
        "machine": "Xeon",
    }
    found = recommend([candidate(1, "Small", [1] * N), candidate(2, "Large", [3] * N, **doubtful)], LIMITS)
    assert found.run == 2
    assert found.notes[0] == (
        "Large, held to the schema: p95 850 ms is over 800 ms, which could be luck in 20 requests, one at a time on "
        "Xeon."
    )


def test_a_p95_within_the_limit_is_not_called_proven_by_20_requests() -> None:
    few: dict[str, Any] = {"p95_ms": 700.0, "p95_most": None, "requests": 20, "machine": "Xeon"}
    found = recommend([candidate(1, "Small", [1] * N), candidate(2, "Large", [3] * N, **few)], LIMITS)
    assert found.notes[0] == (
        "That p95 of Large stays within 800 ms is not proven by 20 requests, one at a time on Xeon; 59 are the fewest "
        "that can."
    )


def test_where_none_keeps_to_the_contract_none_is_recommended() -> None:
    slow = candidate(1, "A", [1] * N, p95_ms=900.0, p95_least=810.0)
    found = recommend([slow, candidate(2, "B", [2] * N, p95_ms=950.0, p95_least=820.0)], LIMITS)
    assert found.run is None
    assert found.sentence == (
        "None of the 2 models keeps to 16 GB and 800 ms, so none is recommended. Best without these limits: B, held to "
        "the schema, 50.0 % of fields."
    )


def test_a_model_stands_for_its_better_mode_and_the_other_is_told() -> None:
    free = candidate(2, "Small", [2] * N, mode="free", valid=0.5)
    found = recommend([candidate(1, "Small", [1] * N), free, candidate(3, "Large", [1] * N)], LIMITS)
    assert found.run == 2
    assert "Small, held to the schema: 25.0 % of fields right, 100.0 % of outputs valid." in found.notes
    assert len(found.pairs) == 1


def test_a_model_elsewhere_is_what_has_to_be_beaten_and_never_the_choice() -> None:
    hosted = candidate(2, "gpt-x", [4] * N, base=False, memory_bytes=None, p95_ms=700.0)
    found = recommend([candidate(1, "Small", [1] * N), hosted], LIMITS)
    assert (found.run, found.alone, found.separable) == (1, True, False)
    assert "the only base model measured, so nothing is compared" in found.sentence
    assert found.notes == ("To beat: gpt-x, held to the schema, has 100.0 % of fields right, 400 ms at p50.",)


def test_a_model_that_stands_alone_is_told_as_measured_and_not_as_the_winner() -> None:
    found = recommend([candidate(1, "Small", [1] * N)], LIMITS)
    assert (found.run, found.alone, found.separable) == (1, True, False)
    assert found.sentence == (
        "Small, held to the schema: the only one measured, so nothing is compared; 25.0 % of fields right, and not "
        "ruled out by 16 GB and 800 ms."
    )


def test_where_no_field_is_right_accuracy_does_not_choose() -> None:
    found = recommend([candidate(1, "Large", [0] * N, size=900), candidate(2, "Small", [0] * N)], LIMITS)
    assert found.run == 2
    assert found.sentence.startswith("No model gets a field right before tuning, so accuracy does not choose.")
    assert not found.separable


def test_a_cost_limit_is_a_limit_too() -> None:
    limits = Limits(memory_gb=16, cost_per_request=0.01, currency="EUR")
    dear = candidate(1, "Dear", [4] * N, cost=0.02)
    found = recommend([dear, candidate(2, "Cheap", [1] * N, cost=0.001)], limits)
    assert found.run == 2
    assert found.notes == ("Dear does not keep to 16 GB and 0.01 EUR a request: 0.02 EUR a request.",)
