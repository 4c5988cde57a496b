"""What people do with single cases of an evaluation: doubt their gold, or pin them for ever."""

from typing import Any, ClassVar, Self

from django.conf import settings
from django.db import models
from django.utils import timezone

from evaluation.models.runs import EvalRun
from labeling.models import AnnotationRevision, Document, Project


class GoldQuestionQuerySet(models.QuerySet["GoldQuestion"]):
    """Named reads of questions."""

    def open(self) -> Self:
        """Those that nobody has answered."""
        return self.filter(answer=GoldQuestion.Answer.OPEN)


class GoldQuestion(models.Model):
    """Somebody who read a case says that its gold is wrong. The document is adjudicated, which answers the question."""

    class Answer(models.TextChoices):
        """What adjudication made of it."""

        OPEN = "open", "waits for adjudication"
        CORRECTED = "corrected", "gold was wrong"
        CONFIRMED = "confirmed", "gold was right"

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="gold_questions")
    document = models.ForeignKey(Document, on_delete=models.CASCADE, related_name="gold_questions")
    eval_run = models.ForeignKey(
        EvalRun, null=True, blank=True, on_delete=models.SET_NULL, related_name="gold_questions"
    )
    revision = models.ForeignKey(
        AnnotationRevision, on_delete=models.PROTECT, related_name="+", help_text="the gold that is doubted"
    )
    field = models.CharField(max_length=300, blank=True, help_text="the path that is doubted; empty: all of it")
    reason = models.TextField(blank=True)
    answer = models.CharField(max_length=10, choices=Answer.choices, default=Answer.OPEN)
    answered_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    answered_at = models.DateTimeField(null=True, blank=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now)

    objects: ClassVar[Any] = GoldQuestionQuerySet.as_manager()

    class Meta:
        constraints = [
            # Asked twice, it waits once.
            models.UniqueConstraint(
                fields=["document"], condition=models.Q(answer="open"), name="gold_question_open_once"
            ),
        ]

    def __str__(self) -> str:
        return f"question about the gold of {self.document}"
