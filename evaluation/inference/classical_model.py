"""A classical model, as columns: how it is trained, and what was trained."""

from django.contrib.postgres.fields import ArrayField
from django.db import models

from labeling.models import DatasetVersion, Project


class ClassicalKind(models.TextChoices):
    """What predicts choices; other fields always have extraction rules."""

    TFIDF = "tfidf", "TF-IDF and logistic regression"
    EMBEDDINGS = "embeddings", "Embeddings and logistic regression"
    RULES = "rules", "Extraction rules"


class AbstractClassicalModel(models.Model):
    """A model without a neural language model, trained in seconds by the first evaluation that needs it.

    ``ClassicalModel`` is its table. It shows what a fine-tuned model has to exceed.
    """

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="classical_models")
    number = models.PositiveIntegerField()
    kind = models.CharField(max_length=12, choices=ClassicalKind.choices)
    dataset = models.ForeignKey(DatasetVersion, on_delete=models.PROTECT, related_name="classical_models")
    labels = models.PositiveIntegerField(default=0, help_text="how many training labels, drawn by the seed; 0: all")
    excluded = ArrayField(
        models.BigIntegerField(), default=list, blank=True, help_text="keys of training documents that are left out"
    )
    seed = models.PositiveIntegerField(default=17)
    sha256 = models.CharField(max_length=64, blank=True, help_text="of its folder; empty until it is trained")
    facts = models.JSONField(default=dict, blank=True, help_text="the done event of evaluation.ml.classical.train")

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.number}"

    @property
    def folder_key(self) -> str:
        """The folder of its files in the artifact store."""
        return f"classical/{self.pk}"
