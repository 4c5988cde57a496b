"""Label challenges."""

from typing import Self

from django.conf import settings
from django.db import models
from django.urls import reverse
from django.utils import timezone

from evaluation.models.runs import EvalRun
from labeling.models import AnnotationRevision, Document, Project, SchemaVersion
from slmstudio.database.fields import ExactJSONField
from slmstudio.runs.models import BackgroundRun


class GoldQuestionQuerySet(models.QuerySet["GoldQuestion"]):
    """Named reads of label challenges."""

    def open(self) -> Self:
        """The open ones."""
        return self.filter(answer=GoldQuestion.Answer.OPEN)

    def open_for(self, document: int) -> "GoldQuestion | None":
        """The open challenge of a document."""
        return self.open().filter(document=document).select_related("created_by").first()

    def for_list(self, project: Project) -> Self:
        """The challenges of a project with everything that a list displays, open ones first."""
        rows = self.filter(project=project).select_related(
            "document", "created_by", "answered_by", "eval_run__base_model", "eval_run__model_version",
            "eval_run__training_run", "eval_run__endpoint",
        )  # fmt: skip
        return rows.defer("document__text", "document__metadata").order_by("-answer", "-pk")

    def counts(self, project: Project) -> dict[str, int]:
        """How many challenges of a project have each answer."""
        return dict(self.filter(project=project).values_list("answer").annotate(count=models.Count("pk")))


class GoldQuestion(models.Model):
    """A label challenge: a claim that a gold label is wrong. The adjudication of the document resolves it."""

    class Answer(models.TextChoices):
        """The result of the adjudication."""

        OPEN = "open", "Open"
        CORRECTED = "corrected", "Upheld"
        CONFIRMED = "confirmed", "Rejected"

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="gold_questions")
    document = models.ForeignKey(Document, on_delete=models.CASCADE, related_name="gold_questions")
    eval_run = models.ForeignKey(
        EvalRun, null=True, blank=True, on_delete=models.SET_NULL, related_name="gold_questions"
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

    objects = GoldQuestionQuerySet.as_manager()

    class Meta:
        constraints = [
            # One open challenge per document.
            models.UniqueConstraint(
                fields=["document"], condition=models.Q(answer="open"), name="gold_question_open_once"
            ),
        ]

    def __str__(self) -> str:
        return f"question about the gold of {self.document}"


class LabelCheckRun(BackgroundRun):
    """Compares the gold labels of a project with predictions of models that did not see them.

    ``facts``: ``fields`` (``suspects.summary``) and ``documents``, the number of documents that were checked.
    """

    class Source(models.TextChoices):
        """Where the predictions come from."""

        CLASSIFIER = "classifier", "Out-of-fold classifier"
        PREDICTIONS = "predictions", "Pre-labels"
        EVALUATION = "evaluation", "Evaluation on validation"

    job_name = "evaluation.label_issues.label_checks.run_label_check"

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="label_checks")
    number = models.PositiveIntegerField()
    source = models.CharField(max_length=12, choices=Source.choices)
    schema_version = models.ForeignKey(SchemaVersion, on_delete=models.PROTECT, related_name="+")
    eval_run = models.ForeignKey(EvalRun, null=True, blank=True, on_delete=models.SET_NULL, related_name="label_checks")
    facts = models.JSONField(default=dict, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "number"], name="label_check_number_once")]

    def __str__(self) -> str:
        return f"label check {self.number}"

    def get_absolute_url(self) -> str:
        """The page of the check."""
        return reverse("suspect_labels", args=[self.project.slug, self.number])


class SuspectLabel(models.Model):
    """A field of a gold label that a prediction contradicts; ``place`` 1 is the most suspect of its run."""

    run = models.ForeignKey(LabelCheckRun, on_delete=models.CASCADE, related_name="suspects", db_index=False)
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
