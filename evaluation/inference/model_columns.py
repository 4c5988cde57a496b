"""External models, classical models and optimized prompts, as columns: what a backend reads of their rows."""

from collections.abc import Mapping
from typing import Any, Self

from django.contrib.postgres.fields import ArrayField
from django.db import models

from labeling.models import DatasetVersion, Project
from slmstudio.contract.json_text import dumps
from slmstudio.storage.hashing import sha256_text


class ExternalModel(models.Model):
    """An external model behind an OpenAI-compatible server (``url`` without ``/chat/completions``).

    Its key is not stored: ``key_variable`` names the environment variable that holds it. ``Endpoint`` is its table.
    """

    class Structured(models.TextChoices):
        """How JSON is requested."""

        AUTO = "auto", "Automatic"
        SCHEMA = "json_schema", "JSON Schema"
        OBJECT = "json_object", "Any JSON object"
        FREE = "free", "Prompt only"

    class Effort(models.TextChoices):
        """How much a reasoning model reasons (OpenAI's ``reasoning_effort``)."""

        NONE = "none", "None"
        MINIMAL = "minimal", "Minimal"
        LOW = "low", "Low"
        MEDIUM = "medium", "Medium"
        HIGH = "high", "High"
        XHIGH = "xhigh", "Extra high"

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="endpoints")
    name = models.CharField(max_length=80)
    url = models.CharField(max_length=300)
    model = models.CharField(max_length=200, help_text="the model name in requests")
    key_variable = models.CharField(max_length=80, blank=True)
    structured = models.CharField(max_length=12, choices=Structured.choices, default=Structured.AUTO)
    logprobs = models.BooleanField(default=True, help_text="request token probabilities")
    timeout_seconds = models.PositiveIntegerField(default=60)
    concurrency = models.PositiveSmallIntegerField(default=4, help_text="concurrent requests")
    max_tokens = models.PositiveIntegerField(default=1024, help_text="of one output, including reasoning")
    window_tokens = models.PositiveIntegerField(
        null=True, blank=True, help_text="a longer document is read in windows of this size; empty: never"
    )
    reasoning_effort = models.CharField(max_length=10, blank=True, default="", choices=Effort.choices)
    accepts = models.JSONField(default=dict, blank=True, help_text="the options that the model at this URL accepted")
    price_in = models.FloatField(
        null=True, blank=True, help_text="per million input tokens, in the currency of the contract"
    )
    price_out = models.FloatField(null=True, blank=True, help_text="per million output tokens")
    retired_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return self.name

    def reloaded(self) -> Self:
        """The row as it is stored now, apart from this one."""
        return type(self)._default_manager.get(pk=self.pk)

    def save_detected_options(self, options: Mapping[str, Any]) -> None:
        """Stores the options that the endpoint accepted, so the next run starts with them."""
        accepts = {"url": self.url, "model": self.model}
        accepts |= {name: options[name] for name in ("limit_name", "temperature")}
        if accepts != self.accepts:
            # Only for the model that answered: the row may have changed since it was read.
            type(self)._default_manager.filter(pk=self.pk, url=self.url, model=self.model).update(accepts=accepts)
            self.accepts = accepts


class AbstractPrompt(models.Model):
    """Instruction and few-shot examples that replace those of the contract and the seed. ``OptimizedPrompt`` is its
    table."""

    number = models.PositiveIntegerField()
    instruction = models.TextField(blank=True, help_text="the best instruction; empty until the search is done")
    examples = ArrayField(
        models.BigIntegerField(), default=list, blank=True, help_text="keys of the few-shot examples, in their order"
    )

    class Meta:
        abstract = True

    @property
    def short_label(self) -> str:
        """ "optimized prompt 2"."""
        return f"optimized prompt {self.number}"

    @property
    def prompt_sha256(self) -> str:
        """SHA-256 of instruction and examples."""
        return sha256_text(dumps({"instruction": self.instruction, "examples": self.examples}))


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
