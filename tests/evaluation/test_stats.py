"""The statistics: against scipy and statsmodels, by hand, and by simulating how often they are wrong."""

import math
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import (
    confint_proportions_2indep,
    proportion_confint,
    tost_proportions_2indep,
)

from bench.gate_workflow import critical
from evaluation.stats import (
    Price,
    benjamini_hochberg,
    canary,
    difference_interval,
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


@pytest.mark.parametrize(("k", "n"), [*COUNTS, (0, 1), (1, 1), (9_990, 10_000)])
@pytest.mark.parametrize("confidence", [0.95, 0.9999])
def test_exact_bounds_are_those_of_scipys_binomial_test(k: int, n: int, confidence: float) -> None:
    low = scipy_stats.binomtest(k, n, alternative="greater").proportion_ci(confidence, "exact").low
    high = scipy_stats.binomtest(k, n, alternative="less").proportion_ci(confidence, "exact").high

    assert (exact_lower(k, n, confidence), exact_upper(k, n, confidence)) == pytest.approx((low, high), abs=1e-9)


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


@pytest.mark.parametrize(("limit", "n"), [(0.02, 150), (0.1, 80)])
def test_an_error_rate_at_the_limit_passes_at_most_one_time_in_twenty(limit: float, n: int) -> None:
    passing = [k for k in range(n + 1) if exact_upper(k, n) <= limit]

    assert sum(float(scipy_stats.binom.pmf(k, n, limit)) for k in passing) <= 0.05


@pytest.mark.parametrize(("rate", "n"), [(0.9, 120), (0.98, 300), (0.5, 40)])
def test_the_shown_interval_holds_the_rate_about_nineteen_times_in_twenty(rate: float, n: int) -> None:
    ends = [wilson(k, n) for k in range(n + 1)]
    held = sum(float(scipy_stats.binom.pmf(k, n, rate)) for k, (low, high) in enumerate(ends) if low <= rate <= high)

    assert 0.93 <= held <= 0.98


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


def _passes_some_look(good: "np.ndarray[Any, Any]", level: Callable[[int], float]) -> float:
    """Models exactly at 95 % that are looked at five times, a hundred more documents each time."""
    needed = [critical(100 * look, 0.95, level(look)) for look in range(1, 6)]
    return float((good.cumsum(axis=1) >= needed).any(axis=1).mean())


def test_labelling_more_until_it_passes_is_paid_for_by_the_levels() -> None:
    good = np.random.default_rng(3).binomial(100, 0.95, size=(20_000, 5))

    assert _passes_some_look(good, look_level) <= 0.05
    assert _passes_some_look(good, lambda look: 0.05) > 0.08  # what the levels are for


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
    assert benjamini_hochberg([]) == []


@settings(max_examples=8, deadline=None)  # few: statsmodels collects all garbage at every call
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_the_adjusted_values_are_those_of_statsmodels(p_values: list[float]) -> None:
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1])
    assert benjamini_hochberg(p_values) == pytest.approx(multipletests(p_values, method="fdr_bh")[1])


def test_among_the_slices_that_are_named_few_are_named_wrongly() -> None:
    """20 slices, of which four moved: a false alarm among the alarms one time in twenty, on average."""
    rng = np.random.default_rng(9)
    shares, found = [], 0
    for _ in range(1000):
        p_values = np.concatenate((rng.beta(0.1, 8, 4), rng.random(16)))
        alarms = [place for place, p in enumerate(benjamini_hochberg(list(p_values))) if p <= 0.05]
        shares.append(sum(place >= 4 for place in alarms) / max(1, len(alarms)))
        found += sum(place < 4 for place in alarms)

    assert np.mean(shares) <= 0.05
    assert found > 2000  # and more than half of what moved is found


# -- different requests ---------------------------------------------------------------------------------------------

CANARIES = [((95, 100), (190, 200)), ((5, 10), (7, 9)), ((450, 500), (40, 50)), ((1, 30), (0, 40))]


@pytest.mark.parametrize(("a", "b"), CANARIES)
def test_the_difference_of_two_rates_is_that_of_statsmodels(a: tuple[int, int], b: tuple[int, int]) -> None:
    theirs = confint_proportions_2indep(*b, *a, method="newcomb", compare="diff")

    assert difference_interval(*a, *b) == pytest.approx(theirs)
    assert difference_interval(*b, *a) == pytest.approx((-theirs[1], -theirs[0]))


@pytest.mark.parametrize(("a", "b"), CANARIES)
def test_a_canary_is_tested_as_statsmodels_does(a: tuple[int, int], b: tuple[int, int]) -> None:
    found = canary(*a, *b, margin=0.1)
    theirs = tost_proportions_2indep(*b, *a, low=-0.1, upp=0.1, method="score", compare="diff")

    assert found.alike == pytest.approx(float(theirs.pvalue))
    assert found.not_worse == pytest.approx(float(theirs.results_larger.pvalue))
    assert found.not_worse <= found.alike


def test_all_right_on_both_sides_bounds_the_difference() -> None:
    low, high = difference_interval(300, 300, 100, 100)

    assert -0.05 < low < 0 < high < 0.02
    assert canary(300, 300, 100, 100, 0.05).not_worse < 0.05


def test_without_requests_nothing_is_shown() -> None:
    assert difference_interval(0, 0, 5, 5) == (-1.0, 1.0)
    assert canary(5, 5, 0, 0, 0.1).alike == 1.0
    with pytest.raises(ValueError, match="between 0 and 1"):
        canary(1, 2, 1, 2, 0.0)


def test_a_canary_that_is_worse_by_the_margin_is_let_through_at_most_at_the_level() -> None:
    assert _exactly(900, 0.9, 150, 0.85, lambda a, b: canary(*a, *b, 0.05).not_worse <= 0.05) <= 0.06
    assert _exactly(600, 0.98, 150, 0.96, lambda a, b: canary(*a, *b, 0.02).not_worse <= 0.05) <= 0.06


def test_a_canary_that_differs_by_the_margin_is_called_alike_at_most_at_the_level() -> None:
    assert _exactly(900, 0.85, 300, 0.9, lambda a, b: canary(*a, *b, 0.05).alike <= 0.05) <= 0.06


def test_the_interval_of_a_difference_holds_what_is_true() -> None:
    missed = _exactly(
        400, 0.95, 100, 0.92, lambda a, b: not (lambda ends: ends[0] <= -0.03 <= ends[1])(difference_interval(*a, *b))
    )

    assert missed <= 0.06


def _exactly(
    n_a: int, p_a: float, n_b: int, p_b: float, holds: Callable[[tuple[int, int], tuple[int, int]], bool]
) -> float:
    """How likely something is, over what two models are likely to do (a draw of 500)."""
    rng = np.random.default_rng(12)
    draws = zip(rng.binomial(n_a, p_a, 500), rng.binomial(n_b, p_b, 500), strict=True)
    return sum(holds((int(a), n_a), (int(b), n_b)) for a, b in draws) / 500


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


def test_a_late_look_is_bounded_by_more_than_its_resamples() -> None:
    """At 1 in 100,000 no resample lies beyond the bound; Student's t knows how thin the tail is."""
    losses = [0.5] * 20 + [-0.5] * 15 + [0.0] * 115
    found = paired_loss([0.5 + loss / 2 for loss in losses], [0.5 - loss / 2 for loss in losses], confidence=0.99999)
    reach = scipy_stats.sem(losses) * scipy_stats.t.ppf(0.99999, 149)

    assert found.spread >= reach - 1e-9
    share = share_loss([1.0] * 20 + [0.0] * 130, [4.0] * 75 + [8.0] * 75, confidence=0.99999)
    assert share.spread > 1.5 * share_loss([1.0] * 20 + [0.0] * 130, [4.0] * 75 + [8.0] * 75).spread


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
