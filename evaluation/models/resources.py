"""Measurements of the resources of a finished evaluation: latency, tokens, memory. No output is stored."""

from typing import Any

from django.db import models

from evaluation.models.runs import EvalRun
from labeling.models import Project
from slmstudio.runs.models import RetryableRun


class ResourceMeasurement(RetryableRun):
    """The documents of a finished evaluation, sent once more to measure resources.

    Outputs are neither stored nor scored, so it needs no labels and is not a hold-out evaluation.
    """

    job_name = "evaluation.runs.resource_jobs.run_measurement"
    queue_name = "gpu"

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="resource_measurements")
    eval_run = models.ForeignKey(EvalRun, on_delete=models.CASCADE, related_name="measurements")
    requests = models.JSONField(
        default=list,
        blank=True,
        help_text="of each document: its key, latency_ms, prompt_tokens, output_tokens, finish_reason",
    )
    latency = models.JSONField(default=dict, blank=True, help_text="p50, p95, p99 in ms")
    facts = models.JSONField(default=dict, blank=True, help_text="documents per second, peak memory, seconds, device")
    sha256 = models.CharField(max_length=64, blank=True, help_text="of the requests")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["eval_run"], condition=models.Q(status__in=["queued", "running"]), name="measurement_one_live"
            )
        ]

    def __str__(self) -> str:
        return f"measurement of evaluation {self.eval_run.number}"

    def get_absolute_url(self) -> str:
        """Its section on the page of the evaluation."""
        return f"{self.eval_run.get_absolute_url()}#resources"

    @property
    def folder_key(self) -> str:
        """The folder of its files in the artifact store while it runs: spec.yaml, outputs.jsonl, log.txt."""
        return f"evaluation/resources/{self.pk}"

    @property
    def hardware(self) -> str:
        """The hardware it ran on; "" where it is unknown."""
        return hardware_of(self.facts)


def hardware_of(facts: dict[str, Any]) -> str:
    """The processor or device in the facts of a run."""
    return str(facts.get("processor") or facts.get("device") or "")
