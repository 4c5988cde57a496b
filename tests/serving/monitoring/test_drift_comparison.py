"""Tests of drift: what they find, and how often they find what is not there."""

import math
import random
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from serving.monitoring.drift import LEVEL, MIN_SHARE, Profile, _numbers, _shares, compare, fisher, language, profile
from slmstudio.contract.schema.compiled import compile_schema

Draw = Callable[[random.Random], Profile]


def document(rng: random.Random, *, length: float = 1.0, null: float = 0.1, french: float = 0.05) -> Profile:
    """A document of a made-up population."""
    return {
        "length": float(round(200 + length * rng.lognormvariate(6, 0.5))),
        "language": "fr" if rng.random() < french else "en",
        "null vendor": rng.random() < null,
        "value currency": rng.choices(["EUR", "USD", "GBP"], [0.7, 0.25, 0.05])[0],
        "value total": round(rng.lognormvariate(5, 1), 2),
        "confidence total": round(rng.betavariate(8, 1), 4),
    }


def sample(draw: Draw, number: int, seed: int) -> list[Profile]:
    rng = random.Random(seed)
    return [draw(rng) for _ in range(number)]


@pytest.mark.parametrize(("k", "n", "j", "m"), [(1, 10, 9, 12), (0, 50, 5, 60), (30, 100, 28, 100)])
def test_the_share_test_is_fishers(k: int, n: int, j: int, m: int) -> None:
    counts = np.array([[k, n - k], [j, m - j]])
    less, greater = (stats.fisher_exact(counts, side).pvalue for side in ("less", "greater"))
    assert fisher(k, n, j, m) == pytest.approx(min(1, 2 * min(less, greater)))


@pytest.mark.slow
def test_each_p_value_is_no_smaller_than_it_may_be() -> None:
    rng = random.Random(5)
    rounds = 300
    low_numbers = low_shares = 0
    for _ in range(rounds):
        first, second = ([rng.gauss(0, 1) for _ in range(size)] for size in (25, 40))
        low_numbers += _numbers("x", first, second).p <= 0.05
        names = [rng.choices("abcd", [5, 3, 1, 1], k=size) for size in (30, 60)]
        low_shares += _shares("x", *names).p <= 0.05
    spread = 3 * math.sqrt(0.05 * 0.95 / rounds)
    assert low_numbers / rounds <= 0.05 + spread
    assert low_numbers / rounds >= 0.02  # and not so careful that it finds nothing
    assert low_shares / rounds <= 0.05 + spread


@pytest.mark.parametrize(("metric", "draw", "category"), [
    ("length", lambda rng: document(rng, length=2.0), ""),
    ("null vendor", lambda rng: document(rng, null=0.4), "True"),
    ("language", lambda rng: document(rng, french=0.4), "en"),
])  # fmt: skip
def test_a_change_is_found_and_named(metric: str, draw: Draw, category: str) -> None:
    findings = compare(sample(document, 200, 1), sample(draw, 500, 2))
    changed = [finding for finding in findings if finding.changed]
    assert [finding.metric for finding in changed] == [metric]
    assert changed[0].adjusted <= LEVEL
    assert changed[0].category in (category, "fr" if metric == "language" else category)


def test_a_small_change_is_significant_and_does_not_matter() -> None:
    """A fixed limit would be crossed by chance with few documents; a test alone by anything with many."""
    few: list[Profile] = [{"null a": number % 100 < 2} for number in range(20_000)]
    more: list[Profile] = [{"null a": number % 100 < 5} for number in range(20_000)]
    [finding] = compare(few, more)
    assert finding.adjusted <= LEVEL
    assert (finding.effect < MIN_SHARE, finding.changed) == (True, False)


def test_metrics_with_few_values_are_left_out() -> None:
    assert compare(sample(document, 10, 1), sample(document, 500, 2)) == []


# -- profiles ---------------------------------------------------------------------------------------------------------

SCHEMA = compile_schema({
    "type": "object",
    "properties": {
        "number": {"type": "string"}, "date": {"type": ["string", "null"], "format": "date"},
        "currency": {"enum": ["EUR", "USD"]}, "total": {"type": ["number", "null"]}, "paid": {"type": "boolean"},
        "lines": {"type": "array", "items": {"type": "object", "properties": {"text": {"type": "string"}}}},
        "seller": {"type": "object", "properties": {"name": {"type": "string"}}},
    },
})  # fmt: skip
RAW = (
    '{"number":"A-17","date":"2026-01-02","currency":"EUR","total":12.5,"paid":true,"lines":[{"text":"a"}],'
    '"seller":{"name":"Bradley"}}'
)


@pytest.mark.parametrize(("text", "code"), [
    ("Please find attached the invoice for the goods that were delivered in March.", "en"),
    ("Bitte überweisen Sie den Rechnungsbetrag innerhalb von vierzehn Tagen auf unser Konto.", "de"),
    ("A-17", "?"),
])  # fmt: skip
def test_languages(text: str, code: str) -> None:
    assert language(text) == code


def test_fields_become_metrics_by_their_kind() -> None:
    values = profile(SCHEMA, text="x" * 50, raw=RAW, confidence={"total": [0.9, 0.95], "lines[0].text": 0.4})
    assert values["length"] == 50.0
    assert (values["characters number"], values["value currency"], values["value total"]) == (4.0, "EUR", 12.5)
    assert (values["rows lines"], values["null total"], values["characters seller.name"]) == (1.0, False, 7.0)
    assert values["confidence total"] == 0.9
    # Dates move on by themselves.
    assert "value date" not in values
    assert values["null date"] is False
    assert not any("lines[" in name for name in values)
    missing = profile(SCHEMA, raw='{"total":null}')
    assert (missing["null total"], missing["null seller.name"], missing["rows lines"]) == (True, True, 0.0)
    assert profile(SCHEMA, raw="[1") == {}
