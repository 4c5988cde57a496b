"""Replays: logged requests that a candidate in shadow answers again."""

from django.db import models
from django.urls import reverse

from labeling.models import Project
from serving.models.deployments import Release
from slmstudio.runs.models import RetryableRun


class Replay(RetryableRun):
    """Sends logged requests to a candidate, the newest first; a request that it answered before is left out.

    ``progress_done``: requests that were sent; ``skipped``: those of which no text is stored any more.
    """

    job_name = "serving.replays.jobs.run_replay"
    job_timeout = -1  # it waits for live traffic

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="replays", db_index=False)
    number = models.PositiveIntegerField()
    candidate = models.ForeignKey(Release, on_delete=models.CASCADE, related_name="replays")
    stable = models.ForeignKey(Release, on_delete=models.CASCADE, related_name="+")
    failed = models.PositiveIntegerField(default=0)
    skipped = models.PositiveIntegerField(default=0)
    facts = models.JSONField(default=dict, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "number"], name="replay_number_once")]

    def __str__(self) -> str:
        return f"replay {self.number}"

    def get_absolute_url(self) -> str:
        """The page of the deployment, which shows it."""
        return reverse("deployment", args=[self.project.slug])
