"""Bounds over documents, latency and cost: against scipy, by hand, and by simulating how often they err."""

import math
import subprocess
import sys

import numpy as np
import pytest
from scipy import stats as scipy_stats

from evaluation.stats import (
    exact_lower,
    exact_upper,
    mean_bound,
    paired_loss,
    quantile_lower,
    quantile_upper,
    sample_size_for,
    share_interval,
    share_loss,
)
from slmstudio.intervals import wilson

# -- bounds over documents ------------------------------------------------------------------------------------------


def test_the_paired_bound_is_about_that_of_student_where_losses_are_common() -> None:
    rng = np.random.default_rng(1)
    before, after = rng.random(400), rng.random(400)
    ours, losses = paired_loss(list(before), list(after)), before - after
    reach = scipy_stats.sem(losses) * scipy_stats.t.ppf(0.95, 399)

    assert ours.estimate == pytest.approx(losses.mean())
    assert losses.mean() + reach < ours.value < losses.mean() + reach + 2 / 400


def test_no_change_on_few_documents_is_no_proof_of_no_change() -> None:
    same = paired_loss([1.0] * 40, [1.0] * 40)

    assert same.value == pytest.approx(exact_upper(0, 40))
    assert same.documents_for(0.02) == sample_size_for(0, 0.98)


def test_the_bound_of_the_opposite_is_that_of_the_opposite_losses() -> None:
    before, after = [1.0] * 30 + [0.5] * 10, [1.0] * 35 + [0.0] * 5

    assert paired_loss(before, after).flipped().value == paired_loss(after, before).value
    assert paired_loss(before, after).at(0.99).value == paired_loss(before, after, confidence=0.99).value
    assert (paired_loss([], []).value, paired_loss([], []).estimate) == (1.0, 0.0), "nothing to compare"
    for before, after, words in (([1.0], [1.0, 0.0], "must be paired"), ([2.0], [0.0], "between 0 and 1")):
        with pytest.raises(ValueError, match=words):
            paired_loss(before, after)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n", "limit", "gains", "confidence"), [(40, 0.05, 0.1, 0.95), (40, 0.05, 0.0, 0.975), (150, 0.1, 0.3, 0.975)]
)
def test_a_model_worse_by_the_limit_passes_at_most_at_the_level(
    n: int, limit: float, gains: float, confidence: float
) -> None:
    rng = np.random.default_rng(11)
    passed = 0
    for _ in range(250):
        draw = rng.random(n)
        after = np.where(draw < gains + limit, 0.0, np.where(draw < 2 * gains + limit, 1.0, 0.5))
        # Half a document is lost or won, so the true loss is limit / 2.
        passed += paired_loss([0.5] * n, list(after), confidence=confidence).value < limit / 2

    assert passed / 250 <= (1 - confidence) + 0.03  # two standard errors of the simulation


def test_a_late_evaluation_is_bounded_as_far_as_student_would() -> None:
    losses = [0.5] * 20 + [-0.5] * 15 + [0.0] * 115
    loss = paired_loss([max(0.0, loss) for loss in losses], [max(0.0, -loss) for loss in losses], confidence=0.99999)
    reach = scipy_stats.sem(losses) * scipy_stats.t.ppf(0.99999, 149)

    assert loss.value - loss.estimate >= reach


def _correlated_documents(rng: np.random.Generator, documents: int, fields: int, rate: float) -> list[float]:
    """Wrong fields per document, where half of all documents are wrong or right as a whole."""
    whole = rng.random(documents) < 0.5
    alike = (rng.random(documents) < rate) * fields
    apart = rng.binomial(fields, rate, documents)
    return [float(count) for count in np.where(whole, alike, apart)]


@pytest.mark.slow
def test_fields_that_go_wrong_together_do_not_fool_the_bound() -> None:
    rng = np.random.default_rng(2)
    documents, fields, rate, rounds = 150, 8, 0.1, 300
    by_document = by_field = 0
    for _ in range(rounds):
        wrong = _correlated_documents(rng, documents, fields, rate)
        by_document += share_loss(wrong, [fields] * documents).value < rate
        by_field += exact_upper(int(sum(wrong)), documents * fields) < rate

    assert by_document / rounds <= 0.08
    assert by_field / rounds > 0.1  # counting fields is what this is for


def test_equal_documents_still_have_an_interval() -> None:
    assert share_loss([1.0] * 3, [20.0] * 3).value > 0.5
    assert share_loss([0.0] * 40, [5.0] * 40).value == pytest.approx(exact_upper(0, 40))
    assert share_loss([], []).value == 1.0
    assert share_loss([0.0, 0.0], [5.0, 0.0]) == share_loss([0.0], [5.0]), "documents without fields do not count"
    assert (mean_bound([1.0]), mean_bound([2.0, 2.0, 2.0])) == (None, 2.0)


def test_the_interval_of_a_share_knows_that_fields_of_a_document_go_together() -> None:
    """Half of 20 documents wholly right and half wholly wrong are 20 observations, not 160."""
    low, high = share_interval([8.0] * 10 + [0.0] * 10, [8.0] * 20)
    narrow = wilson(80 / 160, 160)
    assert (low < 0.3 < narrow[0], high > 0.7 > narrow[1]) == (True, True)
    low, high = share_interval([8.0] * 20, [8.0] * 20)
    assert (low == pytest.approx(1 - exact_upper(0, 20, 0.975)), high) == (True, 1.0)
    assert share_interval([], []) == (0.0, 1.0)


def test_the_required_sample_of_a_bound_is_about_right() -> None:
    wrong, fields = [0.0] * 36 + [1.0] * 3 + [2.0], [5.0] * 40
    needed = share_loss(wrong, fields).documents_for(0.06)

    assert needed is not None
    times = needed / 40
    assert times > 1
    grown = [w for w in wrong for _ in range(math.ceil(times))]
    assert share_loss(grown, [5.0] * len(grown)).value <= 0.06
    assert share_loss(wrong, fields).documents_for(0.02) is None


# -- latency and cost -----------------------------------------------------------------------------------------------


def test_a_p95_needs_59_requests_and_a_p99_299() -> None:
    values = list(np.random.default_rng(0).random(299))

    assert quantile_upper(values[:58], 0.95) is None
    assert quantile_upper(values[:59], 0.95) == max(values[:59])
    assert quantile_upper(values[:298], 0.99) is None
    assert quantile_upper(values, 0.99) == max(values)
    assert quantile_upper([], 0.95) is None


def test_a_limit_holds_for_the_p95_where_95_percent_are_proven_to_be_within() -> None:
    values = sorted(np.random.default_rng(1).lognormal(size=200))
    bound = quantile_upper(values, 0.95)

    assert bound is not None
    within = sum(value <= bound for value in values)
    assert exact_lower(within, 200) >= 0.95
    assert exact_lower(within - 1, 200) < 0.95
    least = quantile_lower(values, 0.95)
    assert least is not None
    below = sum(value < least for value in values)
    assert exact_upper(below, 200) <= 0.95 < exact_upper(below + 1, 200), "proven to be slower"
    assert quantile_lower([], 0.95) is None


@pytest.mark.slow
def test_the_bounds_of_a_mean_miss_it_about_one_time_in_twenty() -> None:
    rng = np.random.default_rng(6)
    missed = 0
    for _ in range(200):
        upper = mean_bound(list(rng.gamma(2.0, 1.0, 60)))
        assert upper is not None
        missed += upper < 2.0

    assert missed / 200 <= 0.08


def test_the_web_process_pays_nothing_for_it() -> None:
    heavy = "{'scipy', 'statsmodels', 'numpy'}"
    code = f"import sys, evaluation.stats, evaluation.gates.verdicts; print({heavy} & set(sys.modules))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert printed.stdout.strip() == "set()"
