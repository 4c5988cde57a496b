"""Pipeline runs."""

from django.db import models

from evaluation.models.comparison import Comparison
from evaluation.models.gates import GateReport
from evaluation.models.runs import EvalRun
from labeling.models import DatasetVersion, Project
from slmstudio.runs.models import BackgroundRun
from training.models import TrainingRun


class PipelineRun(BackgroundRun):
    """A pipeline run: evaluate the base model, fine-tune, evaluate, compare, create a gate report.

    It has no job: each stage that ends advances it (``evaluation.pipeline.services.advance``).
    """

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="pipelines")
    dataset = models.ForeignKey(DatasetVersion, on_delete=models.PROTECT, related_name="pipelines")
    training_run = models.ForeignKey(TrainingRun, on_delete=models.PROTECT, related_name="pipelines")
    #: on the hold-out, for the gate report; an encoder has no evaluations of its base model
    base = models.ForeignKey(EvalRun, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    base_free = models.ForeignKey(EvalRun, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    tuned = models.ForeignKey(EvalRun, on_delete=models.PROTECT, related_name="+")
    tuned_free = models.ForeignKey(EvalRun, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    base_validation = models.ForeignKey(EvalRun, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    tuned_validation = models.ForeignKey(EvalRun, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    comparison = models.ForeignKey(Comparison, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    gate_report = models.ForeignKey(GateReport, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
