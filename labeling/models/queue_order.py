"""The order of the queue: its computations, and the places of documents."""

from django.db import models

from labeling.models.documents import Document
from labeling.models.projects import Project
from slmstudio.access import Action
from slmstudio.runs.models import BackgroundRun


class QueueOrderRun(BackgroundRun):
    """One computation of the order. The finished run that ``Project.order_run`` names is in effect.

    ``facts``: ``documents`` (with a place), ``labels`` it learned from, ``signal`` (where confidence comes from, as
    text), ``newest_document`` (the highest key of the project then).
    """

    job_name = "labeling.jobs.run_queue_order"
    required_action = Action.ORDER_QUEUE

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="order_runs")
    method = models.CharField(max_length=12, choices=Project.QueueOrder.choices)
    control_share = models.FloatField()
    seed = models.PositiveIntegerField(default=17)
    facts = models.JSONField(default=dict, blank=True)

    def __str__(self) -> str:
        return f"queue order: {self.get_method_display().lower()}"


class DocumentPlace(models.Model):
    """The place of a document in the queue, 1 first. ``open``: it waits for a label; a database trigger on the state of
    documents keeps it, so that labeled documents are not in the index of the queue.

    ``chosen``: placed by a signal and not at random. Chosen documents are targeted: they do not represent the project,
    so the hold-out is never drawn from them. ``signal``: from 0 to 1, what placed it.
    """

    run = models.ForeignKey(QueueOrderRun, on_delete=models.CASCADE, related_name="places", db_index=False)
    document = models.ForeignKey(Document, on_delete=models.CASCADE, related_name="places")
    place = models.PositiveIntegerField()
    chosen = models.BooleanField()
    signal = models.FloatField()
    open = models.BooleanField(default=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["run", "document"], name="place_document_once")]
        indexes = [models.Index(fields=["run", "place"], name="place_open", condition=models.Q(open=True))]

    def __str__(self) -> str:
        return f"place {self.place} of document {self.document_id}"
