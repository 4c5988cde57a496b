"""Tables of the evaluation side."""

from evaluation.models.benchmarks import Benchmark
from evaluation.models.cases import GoldQuestion, Pin
from evaluation.models.judging import (
    Approval,
    AuditEntry,
    Comparison,
    EvalOutput,
    EvalRun,
    GatePolicy,
    GateReport,
    LoopRun,
    PolicyProposal,
)
from evaluation.models.prelabels import Endpoint, PrelabelItem, PrelabelRun
from evaluation.models.resources import ResourceMeasurement

__all__ = [
    "Approval",
    "AuditEntry",
    "Benchmark",
    "Comparison",
    "Endpoint",
    "EvalOutput",
    "EvalRun",
    "GatePolicy",
    "GateReport",
    "GoldQuestion",
    "LoopRun",
    "Pin",
    "PolicyProposal",
    "PrelabelItem",
    "PrelabelRun",
    "ResourceMeasurement",
]
