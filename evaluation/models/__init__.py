"""Tables of the evaluation side."""

from evaluation.models.audit import AuditEntry
from evaluation.models.benchmarks import Benchmark
from evaluation.models.classical import ClassicalModel
from evaluation.models.comparison import Comparison
from evaluation.models.endpoints import Endpoint
from evaluation.models.gates import Approval, GatePolicy, GateReport, PolicyProposal
from evaluation.models.label_issues import LabelChallenge, SuspectLabel
from evaluation.models.pipeline import PipelineRun
from evaluation.models.prelabels import PrelabelItem, PrelabelRun
from evaluation.models.prompts import OptimizedPrompt
from evaluation.models.regression_suite import Pin
from evaluation.models.resources import ResourceMeasurement
from evaluation.models.runs import EvalOutput, EvalRun

__all__ = [
    "Approval",
    "AuditEntry",
    "Benchmark",
    "ClassicalModel",
    "Comparison",
    "Endpoint",
    "EvalOutput",
    "EvalRun",
    "GatePolicy",
    "GateReport",
    "LabelChallenge",
    "OptimizedPrompt",
    "Pin",
    "PipelineRun",
    "PolicyProposal",
    "PrelabelItem",
    "PrelabelRun",
    "ResourceMeasurement",
    "SuspectLabel",
]
