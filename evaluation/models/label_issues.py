"""Label challenges, and the suspect labels that a study of the kind label-check finds."""

from typing import Self

from django.conf import settings
from django.db import models
from django.utils import timezone

from evaluation.models.runs import EvalRun
from labeling.models import AnnotationRevision, Document, Project, Study
from slmstudio.database.fields import ExactJSONField


class LabelChallengeQuerySet(models.QuerySet["LabelChallenge"]):
    """Named reads of label challenges."""

    def open(self) -> Self:
        """The open ones."""
        return self.filter(answer=LabelChallenge.Answer.OPEN)

    def open_for(self, document: int) -> "LabelChallenge | None":
        """The open challenge of a document."""
        return self.open().filter(document=document).select_related("created_by").first()

    def for_list(self, project: Project) -> Self:
        """The challenges of a project with everything that a list displays, open ones first."""
        rows = self.filter(project=project).select_related(
            "document", "created_by", "answered_by", "eval_run__base_model", "eval_run__model_version",
            "eval_run__training_run__base_model", "eval_run__endpoint",
        )  # fmt: skip
        return rows.defer("document__text", "document__metadata").order_by("-answer", "-pk")

    def counts(self, project: Project) -> dict[str, int]:
        """How many challenges of a project have each answer."""
        return dict(self.filter(project=project).values_list("answer").annotate(count=models.Count("pk")))


class LabelChallenge(models.Model):
    """A label challenge: a claim that a gold label is wrong. The adjudication of the document resolves it."""

    class Answer(models.TextChoices):
        """The result of the adjudication."""

        OPEN = "open", "Open"
        CORRECTED = "corrected", "Upheld"
        CONFIRMED = "confirmed", "Rejected"

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="label_challenges")
    document = models.ForeignKey(Document, on_delete=models.CASCADE, related_name="label_challenges")
    eval_run = models.ForeignKey(
        EvalRun, null=True, blank=True, on_delete=models.SET_NULL, related_name="label_challenges"
    )
    revision = models.ForeignKey(
        AnnotationRevision, on_delete=models.PROTECT, related_name="+", help_text="the challenged gold label"
    )
    field = models.CharField(max_length=300, blank=True, help_text="the challenged path; empty: the whole label")
    reason = models.TextField(blank=True)
    suggestion = ExactJSONField(
        null=True, blank=True, help_text="the whole label with the value of the model, if no evaluation has it"
    )
    suggested_by = models.CharField(max_length=200, blank=True, default="")
    answer = models.CharField(max_length=10, choices=Answer.choices, default=Answer.OPEN)
    answered_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    answered_at = models.DateTimeField(null=True, blank=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now)

    objects = LabelChallengeQuerySet.as_manager()

    class Meta:
        constraints = [
            # One open challenge per document.
            models.UniqueConstraint(
                fields=["document"], condition=models.Q(answer="open"), name="label_challenge_open_once"
            ),
        ]

    def __str__(self) -> str:
        return f"challenge of the label of {self.document}"


class SuspectLabel(models.Model):
    """A field of a gold label that a prediction contradicts; ``place`` 1 is the most suspect of its run."""

    run = models.ForeignKey(Study, on_delete=models.CASCADE, related_name="suspects", db_index=False)
    place = models.PositiveIntegerField()
    document = models.ForeignKey(Document, on_delete=models.CASCADE, related_name="+")
    revision = models.ForeignKey(AnnotationRevision, on_delete=models.PROTECT, related_name="+")
    field = models.CharField(max_length=300)
    gold = ExactJSONField(null=True)
    predicted = ExactJSONField(null=True)
    suggestion = ExactJSONField(help_text="the whole label with the predicted value")
    probability = models.FloatField(help_text="of the prediction")
    gold_probability = models.FloatField()
    confident = models.BooleanField(help_text="wrong by confident learning")
    model = models.CharField(max_length=200)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["run", "place"], name="suspect_place_once")]

    def __str__(self) -> str:
        return f"suspect {self.field} of document {self.document_id}"
