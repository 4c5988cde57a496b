"""The statistics of comparisons and gates: intervals, tests and required sample sizes.

The document is the unit everywhere: the fields of one document are correlated, and treating them as independent
would find differences that do not exist.

Pure Python without Django. scipy and statsmodels are imported where they are called, because the web process imports
this package at start.
"""

from evaluation.stats.common import ALPHA, Tail
from evaluation.stats.families import alpha_level, benjamini_hochberg, holm
from evaluation.stats.noninferiority import NonInferiority, family_loss, non_inferiority, pairs_needed
from evaluation.stats.quantiles import distribution, percentile, quantile_lower, quantile_upper
from evaluation.stats.rates import (
    Canary,
    canary,
    difference_interval,
    exact_lower,
    exact_upper,
    mcnemar_exact,
    wilson,
)
from evaluation.stats.resampling import (
    LossBound,
    mean_bound,
    paired_bootstrap_lower,
    paired_loss,
    share_interval,
    share_loss,
)
from evaluation.stats.sample_size import RequiredSample, additional_sample_size, sample_size_for

__all__ = [
    "ALPHA",
    "Canary",
    "LossBound",
    "NonInferiority",
    "RequiredSample",
    "Tail",
    "additional_sample_size",
    "alpha_level",
    "benjamini_hochberg",
    "canary",
    "difference_interval",
    "distribution",
    "exact_lower",
    "exact_upper",
    "family_loss",
    "holm",
    "mcnemar_exact",
    "mean_bound",
    "non_inferiority",
    "paired_bootstrap_lower",
    "paired_loss",
    "pairs_needed",
    "percentile",
    "quantile_lower",
    "quantile_upper",
    "sample_size_for",
    "share_interval",
    "share_loss",
    "wilson",
]
