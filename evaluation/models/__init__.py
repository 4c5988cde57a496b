"""Tables of the evaluation side."""

from evaluation.models.approvals import Approval
from evaluation.models.audit import AuditEntry
from evaluation.models.benchmarks import Benchmark
from evaluation.models.classical import ClassicalModel
from evaluation.models.comparison import Comparison
from evaluation.models.endpoints import Endpoint
from evaluation.models.gates import GatePolicy, GateReport, PolicyProposal
from evaluation.models.label_issues import GoldQuestion, LabelCheckRun, SuspectLabel
from evaluation.models.learning_curves import LearningCurve, LearningPoint
from evaluation.models.pipeline import LoopRun
from evaluation.models.prelabels import PrelabelItem, PrelabelRun
from evaluation.models.prompts import PromptSearch
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
    "GoldQuestion",
    "LabelCheckRun",
    "LearningCurve",
    "LearningPoint",
    "LoopRun",
    "Pin",
    "PolicyProposal",
    "PrelabelItem",
    "PrelabelRun",
    "PromptSearch",
    "ResourceMeasurement",
    "SuspectLabel",
]
