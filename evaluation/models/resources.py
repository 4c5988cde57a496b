"""What an evaluation's model takes, measured again: latency, tokens, memory. No answer is kept."""

from typing import Any

from django.db import models

from evaluation.models.runs import EvalRun
from labeling.models import Project
from slmstudio.runs.models import RetryableRun


class ResourceMeasurement(RetryableRun):
    """The documents of a finished evaluation asked about once more, for what that takes alone.

    Answers are neither kept nor scored, so that it needs no label and is no evaluation of the hold-out.
    """

    job_name = "evaluation.runs.resource_jobs.run_measurement"
    former_job_names = ("evaluation.resource_jobs.run_measurement",)
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
        """Where it is shown: on the evaluation's page."""
        return f"{self.eval_run.get_absolute_url()}#resources"

    @property
    def folder_key(self) -> str:
        """Where its files lie in the artifact store while it is at work: spec.yaml, outputs.jsonl, log.txt."""
        return f"evaluation/resources/{self.pk}"

    @property
    def hardware(self) -> str:
        """What it ran on, in words; "" where that is not known."""
        return hardware_of(self.facts)


def hardware_of(facts: dict[str, Any]) -> str:
    """The processor or the device that the facts of a run name."""
    return str(facts.get("processor") or facts.get("device") or "")
