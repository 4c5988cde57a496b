"""The settings of a model behind an OpenAI-compatible server, as columns."""

from collections.abc import Mapping
from typing import Any, Self

from django.db import models

from labeling.models import Project


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
    at_once = models.PositiveSmallIntegerField(default=4, help_text="concurrent requests")
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
