"""The statistics of comparisons and gates: intervals, tests and required sample sizes.

The document is the unit, and where documents come in families, the family: the fields of one document are correlated,
and so are the documents of one supplier. Treating them as independent would find differences that do not exist.

Pure Python without Django. scipy and statsmodels are imported where they are called, because the web process imports
this package at start.
"""

from evaluation.stats.common import ALPHA, Tail
from evaluation.stats.families import (
    FamilyCount,
    by_family,
    effective_documents,
    family_lower,
    family_p_value,
    family_upper,
)
from evaluation.stats.losses import LossBound, mean_bound, paired_loss, share_interval, share_loss
from evaluation.stats.multiple_testing import alpha_level, benjamini_hochberg, holm
from evaluation.stats.power import Outlook, documents_with_power, estimated_outlook, outlook, pass_chance
from evaluation.stats.quantiles import distribution, percentile, quantile_lower, quantile_upper
from evaluation.stats.rates import (
    Canary,
    best_start_p_value,
    canary,
    difference_interval,
    exact_lower,
    exact_upper,
    mcnemar_exact,
)
from evaluation.stats.sample_size import RequiredSample, additional_sample_size, sample_size_for
from evaluation.stats.sequential import NonInferiority, non_inferiority, pairs_needed

__all__ = [
    "ALPHA",
    "Canary",
    "FamilyCount",
    "LossBound",
    "NonInferiority",
    "Outlook",
    "RequiredSample",
    "Tail",
    "additional_sample_size",
    "alpha_level",
    "benjamini_hochberg",
    "best_start_p_value",
    "by_family",
    "canary",
    "difference_interval",
    "distribution",
    "documents_with_power",
    "effective_documents",
    "estimated_outlook",
    "exact_lower",
    "exact_upper",
    "family_lower",
    "family_p_value",
    "family_upper",
    "holm",
    "mcnemar_exact",
    "mean_bound",
    "non_inferiority",
    "outlook",
    "paired_loss",
    "pairs_needed",
    "pass_chance",
    "percentile",
    "quantile_lower",
    "quantile_upper",
    "sample_size_for",
    "share_interval",
    "share_loss",
]
