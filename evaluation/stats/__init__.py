"""The statistics behind comparisons and gates: intervals, tests, and what a proof would cost.

The document is the unit everywhere: fields of one document are right and wrong together, so resampling or
counting fields as if they were independent finds differences that are not there.

Nothing here knows of Django or of models. scipy and statsmodels are imported where they are called, because
the web process imports this package at start.
"""

from evaluation.stats.common import ALPHA, Side
from evaluation.stats.families import benjamini_hochberg, holm, look_level
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
from evaluation.stats.sample_size import Price, documents_for, documents_needed

__all__ = [
    "ALPHA",
    "Canary",
    "LossBound",
    "Price",
    "Side",
    "benjamini_hochberg",
    "canary",
    "difference_interval",
    "distribution",
    "documents_for",
    "documents_needed",
    "exact_lower",
    "exact_upper",
    "holm",
    "look_level",
    "mcnemar_exact",
    "mean_bound",
    "paired_bootstrap_lower",
    "paired_loss",
    "percentile",
    "quantile_lower",
    "quantile_upper",
    "share_interval",
    "share_loss",
    "wilson",
]
