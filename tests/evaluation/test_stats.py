"""The statistics: against scipy and statsmodels, by hand, and by simulating how often they are wrong."""

import math
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from evaluation.stats import (
    Price,
    documents_for,
    documents_needed,
    exact_lower,
    exact_upper,
    holm,
    look_level,
    mcnemar_exact,
    mean_bound,
    paired_bootstrap_lower,
    paired_loss,
    quantile_lower,
    quantile_upper,
    share_interval,
    share_loss,
    wilson,
)

COUNTS = [(0, 10), (10, 10), (1, 7), (198, 200), (299, 299), (37, 150)]


# -- intervals of a rate --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("k", "n"), COUNTS)
def test_wilson_is_that_of_statsmodels(k: int, n: int) -> None:
    assert wilson(k, n) == pytest.approx(proportion_confint(k, n, method="wilson"), abs=1e-12)


@pytest.mark.parametrize(("k", "n"), COUNTS)
@pytest.mark.parametrize("confidence", [0.95, 0.975, 0.9875])
def test_exact_bounds_are_the_ends_of_the_two_sided_interval_at_twice_the_level(
    k: int, n: int, confidence: float
) -> None:
    low, high = proportion_confint(k, n, alpha=2 * (1 - confidence), method="beta")

    assert exact_lower(k, n, confidence) == pytest.approx(low if k else 0.0, abs=1e-9)
    assert exact_upper(k, n, confidence) == pytest.approx(high if k < n else 1.0, abs=1e-9)


def test_full_marks_are_not_certainty() -> None:
    assert exact_lower(299, 299) == pytest.approx(0.05 ** (1 / 299))
    assert wilson(299, 299)[0] < 0.99


def test_nothing_counted_says_nothing() -> None:
    assert (wilson(0, 0), exact_lower(0, 0), exact_upper(0, 0)) == ((0.0, 1.0), 0.0, 1.0)


@pytest.mark.parametrize("call", [wilson, exact_lower, exact_upper])
@pytest.mark.parametrize(("k", "n"), [(-1, 3), (4, 3)])
def test_impossible_counts_are_refused(call: Callable[[int, int], object], k: int, n: int) -> None:
    with pytest.raises(ValueError, match="is not a count"):
        call(k, n)


@pytest.mark.parametrize(("threshold", "n"), [(0.9, 40), (0.95, 100), (0.99, 299), (0.99, 500)])
def test_a_model_at_the_threshold_passes_at_most_one_time_in_twenty(threshold: float, n: int) -> None:
    passing = [k for k in range(n + 1) if exact_lower(k, n) >= threshold]

    assert sum(float(scipy_stats.binom.pmf(k, n, threshold)) for k in passing) <= 0.05


# -- the price of proof ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("threshold", "failures", "documents"),
    [
        (0.90, 0, 29),
        (0.95, 0, 59),
        (0.98, 0, 149),
        (0.99, 0, 299),
        (0.995, 0, 598),
        (0.999, 0, 2995),
        (0.99, 1, 473),
        (0.99, 2, 628),
        (0.99, 3, 773),
    ],
)
def test_documents_that_prove_a_rate(threshold: float, failures: int, documents: int) -> None:
    assert documents_for(failures, threshold) == documents
    assert exact_lower(documents - failures, documents) >= threshold
    assert exact_lower(documents - 1 - failures, documents - 1) < threshold


def test_the_price_at_the_rate_seen_so_far() -> None:
    assert documents_needed(198, 200, 0.98) == Price(186, 1)
    assert documents_needed(40, 40, 0.99) == Price(259, 0)
    assert documents_needed(0, 0, 0.99) == Price(299, 0)


def test_a_stricter_level_costs_more() -> None:
    assert documents_needed(40, 40, 0.99, look_level(2)) == Price(397, 0)


def test_what_is_proven_costs_nothing() -> None:
    assert documents_needed(299, 299, 0.99) == Price(0, 0)


@pytest.mark.parametrize(("k", "n", "threshold"), [(39, 40, 0.99), (98, 100, 0.98), (40, 40, 1.0), (0, 10, 0.5)])
def test_no_number_of_documents_proves_what_is_not_so(k: int, n: int, threshold: float) -> None:
    assert documents_needed(k, n, threshold) is None


def test_a_rate_a_hair_above_the_threshold_has_no_price_and_no_endless_search() -> None:
    assert documents_needed(9950, 10000, 0.9949) is None


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 400),
    failed=st.integers(0, 8),
    threshold=st.sampled_from([0.8, 0.9, 0.95, 0.98, 0.99, 0.995]),
    look=st.integers(1, 4),
)
def test_the_price_paid_is_a_proof(n: int, failed: int, threshold: float, look: int) -> None:
    alpha = look_level(look)
    failed = min(failed, n)
    price = documents_needed(n - failed, n, threshold, alpha)
    if price is None or price.more == 0:
        return
    total, failures = n + price.more, failed + price.allowed_failures

    assert exact_lower(total - failures, total, 1 - alpha) >= threshold
    assert exact_lower(total - failures - 1, total, 1 - alpha) < threshold  # one failure more is one too many
    assert price.allowed_failures >= failed * price.more // n  # what the rate seen so far will bring


# -- looks at one hold-out ------------------------------------------------------------------------------------------


def test_all_looks_together_stay_below_the_level() -> None:
    assert [look_level(look) for look in (1, 2, 3)] == [0.025, 0.0125, 0.00625]
    assert sum(look_level(look) for look in range(1, 50)) <= 0.05
    with pytest.raises(ValueError, match="counted from 1"):
        look_level(0)


def _passes_some_look(rng: np.random.Generator, level: Callable[[int], float]) -> bool:
    """A model exactly at 95 % that is looked at five times, a hundred more documents each time."""
    good = rng.binomial(100, 0.95, size=5).cumsum()
    return any(exact_lower(int(good[i]), 100 * (i + 1), 1 - level(i + 1)) >= 0.95 for i in range(5))


def test_labelling_more_until_it_passes_is_paid_for_by_the_levels() -> None:
    rng = np.random.default_rng(3)
    at_levels = sum(_passes_some_look(rng, look_level) for _ in range(400)) / 400
    naive = sum(_passes_some_look(rng, lambda look: 0.05) for _ in range(400)) / 400

    assert at_levels <= 0.05
    assert naive > 0.08  # what the levels are for


# -- McNemar and Holm -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("fixed", "broken"), [(0, 1), (9, 2), (15, 15), (0, 6), (40, 3)])
def test_mcnemar_is_a_fair_coin_over_the_changed_documents(fixed: int, broken: int) -> None:
    assert mcnemar_exact(fixed, broken) == pytest.approx(scipy_stats.binomtest(fixed, fixed + broken).pvalue)
    assert mcnemar_exact(fixed, broken) == mcnemar_exact(broken, fixed)


def test_mcnemar_of_no_change_is_one() -> None:
    assert mcnemar_exact(0, 0) == 1.0


def test_mcnemar_cries_wolf_at_most_one_time_in_twenty() -> None:
    changed = 30
    alarms = sum(
        scipy_stats.binom.pmf(fixed, changed, 0.5)
        for fixed in range(changed + 1)
        if mcnemar_exact(fixed, changed - fixed) <= 0.05
    )

    assert 0.01 < alarms <= 0.05


@pytest.mark.parametrize("p_values", [[0.01, 0.04, 0.03], [0.5], [0.2, 0.2, 0.001, 0.9, 0.04], [1.0, 0.6]])
def test_holm_is_that_of_statsmodels(p_values: list[float]) -> None:
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1])


def test_holm_of_nothing_is_nothing() -> None:
    assert holm([]) == []


def test_holm_keeps_the_rate_of_any_false_alarm() -> None:
    rng = np.random.default_rng(5)
    rounds = rng.random((2000, 8))
    adjusted = sum(min(holm(list(p_values))) <= 0.05 for p_values in rounds) / len(rounds)

    assert adjusted <= 0.06
    assert (rounds.min(axis=1) <= 0.05).mean() > 0.3  # what it is for


# -- bounds over documents ------------------------------------------------------------------------------------------


def test_the_paired_bound_is_scipys_bootstrap_where_losses_are_common() -> None:
    rng = np.random.default_rng(1)
    before, after = rng.random(400), rng.random(400)
    ours = paired_loss(list(before), list(after), seed=4)
    theirs = scipy_stats.bootstrap(
        (before - after,),
        np.mean,
        alternative="less",
        confidence_level=0.95,
        n_resamples=4999,
        rng=np.random.default_rng(4),
    ).confidence_interval.high

    assert ours.estimate + ours.spread == pytest.approx(theirs, abs=2e-3)
    assert ours.margin < 0.005


def test_the_paired_bound_is_the_same_every_time() -> None:
    rng = np.random.default_rng(8)
    before, after = list(rng.random(60)), list(rng.random(60))

    assert paired_bootstrap_lower(before, after) == paired_bootstrap_lower(before, after)
    assert paired_bootstrap_lower(before, after) != paired_bootstrap_lower(before, after, seed=18)


def test_no_change_on_few_documents_is_no_proof_of_no_change() -> None:
    same = [1.0] * 40

    assert paired_bootstrap_lower(same, same) == pytest.approx(-exact_upper(0, 40))
    assert paired_loss(same, same).documents_for(0.02) == documents_for(0, 0.98)


def test_nothing_to_compare_proves_nothing() -> None:
    assert paired_bootstrap_lower([], []) == -1.0


def test_unpaired_documents_are_refused() -> None:
    with pytest.raises(ValueError, match="paired documents"):
        paired_loss([1.0], [1.0, 0.0])
    with pytest.raises(ValueError, match="between 0 and 1"):
        paired_loss([2.0], [0.0])


@pytest.mark.parametrize("confidence", [0.95, 0.975])
@pytest.mark.parametrize(
    ("n", "limit", "gains"), [(40, 0.05, 0.0), (40, 0.05, 0.1), (100, 0.02, 0.02), (150, 0.1, 0.3)]
)
def test_a_model_worse_by_the_limit_passes_at_most_at_the_level(
    n: int, limit: float, gains: float, confidence: float
) -> None:
    rng = np.random.default_rng(11)
    passed = 0
    for _ in range(250):
        draw = rng.random(n)
        after = np.where(draw < gains + limit, 0.0, np.where(draw < 2 * gains + limit, 1.0, 0.5))
        lower = paired_bootstrap_lower([0.5] * n, list(after), confidence=confidence, resamples=499)
        passed += lower > -limit / 2  # half a document is lost or won, so the true loss is limit / 2

    assert passed / 250 <= (1 - confidence) + 0.03  # two standard errors of the simulation


def test_a_much_better_model_is_recognised() -> None:
    before, after = [0.0] * 20 + [1.0] * 20, [1.0] * 18 + [0.0] * 2 + [1.0] * 17 + [0.0] * 3

    assert paired_bootstrap_lower(before, after) > 0.1


def _correlated_documents(rng: np.random.Generator, documents: int, fields: int, rate: float) -> list[float]:
    """Wrong fields per document, where half of all documents are wrong or right as a whole."""
    whole = rng.random(documents) < 0.5
    alike = (rng.random(documents) < rate) * fields
    apart = rng.binomial(fields, rate, documents)
    return [float(count) for count in np.where(whole, alike, apart)]


def test_fields_that_go_wrong_together_do_not_fool_the_bound() -> None:
    rng = np.random.default_rng(2)
    documents, fields, rate, rounds = 150, 8, 0.1, 300
    by_document = by_field = 0
    for _ in range(rounds):
        wrong = _correlated_documents(rng, documents, fields, rate)
        by_document += share_loss(wrong, [fields] * documents, resamples=499).value < rate
        by_field += exact_upper(int(sum(wrong)), documents * fields) < rate

    assert by_document / rounds <= 0.08
    assert by_field / rounds > 0.1  # counting fields is what this is for


def test_alike_documents_are_not_taken_for_a_law() -> None:
    assert share_loss([1.0] * 3, [20.0] * 3).value > 0.5
    assert share_loss([0.0] * 40, [5.0] * 40).value == pytest.approx(exact_upper(0, 40))
    assert share_loss([], []).value == 1.0


def test_the_interval_of_a_share_knows_that_fields_of_a_document_go_together() -> None:
    """Half of 20 documents wholly right and half wholly wrong are 20 observations, not 160."""
    low, high = share_interval([8.0] * 10 + [0.0] * 10, [8.0] * 20)
    narrow = wilson(80, 160)
    assert (low < 0.3 < narrow[0], high > 0.7 > narrow[1]) == (True, True)
    low, high = share_interval([8.0] * 20, [8.0] * 20)
    assert (low == pytest.approx(1 - exact_upper(0, 20, 0.975)), high) == (True, 1.0)
    assert share_interval([], []) == (0.0, 1.0)


def test_documents_without_fields_do_not_count() -> None:
    assert share_loss([0.0, 0.0], [5.0, 0.0]) == share_loss([0.0], [5.0])


def test_the_price_of_a_bound_is_about_right() -> None:
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


def test_the_bounds_of_a_p95_miss_it_at_most_one_time_in_twenty() -> None:
    rng = np.random.default_rng(4)
    truth = scipy_stats.lognorm(0.5).ppf(0.95)
    below = above = 0
    for _ in range(400):
        values = list(rng.lognormal(0, 0.5, 120))
        upper, lower = quantile_upper(values), quantile_lower(values)
        assert upper is not None
        assert lower is not None
        below += upper < truth
        above += lower > truth

    assert below / 400 <= 0.06
    assert above / 400 <= 0.06


def test_the_bounds_of_a_mean_miss_it_about_one_time_in_twenty() -> None:
    rng = np.random.default_rng(6)
    missed = 0
    for _ in range(200):
        upper = mean_bound(list(rng.gamma(2.0, 1.0, 60)), resamples=499)
        assert upper is not None
        missed += upper < 2.0

    assert missed / 200 <= 0.08


def test_one_value_bounds_no_mean() -> None:
    assert mean_bound([1.0]) is None
    assert mean_bound([2.0, 2.0, 2.0]) == 2.0


def test_the_web_process_pays_nothing_for_it() -> None:
    code = "import sys, evaluation.stats, evaluation.gates; print({'scipy', 'statsmodels', 'numpy'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert found.stdout.strip() == "set()"
