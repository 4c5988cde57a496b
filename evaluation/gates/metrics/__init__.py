"""The metrics that a gate can test: one entry each, with its title, unit, count and test.

A new metric is one entry in the module of its source (``answers`` or ``resources``). Policies,
forms, verdicts and pages read everything they need from ``METRICS``.
"""

from evaluation.gates.metrics import answers, resources
from evaluation.gates.metrics.metric import Metric

#: name, as stored in policies -> metric, in the order of the policy form
METRICS: dict[str, Metric] = {**answers.METRICS, **resources.METRICS}
