"""Forms of the pre-label and endpoint pages."""

from typing import Any

from django import forms

from evaluation.models import Endpoint
from evaluation.prelabels.services import MAX_DOCUMENTS, MAX_EXAMPLES
from labeling.models import Project
from training.models import ModelVersion


def text_field(**more: Any) -> forms.TextInput:
    return forms.TextInput(attrs={"class": "form-control", "autocomplete": "off", "spellcheck": "false", **more})


def _number(**more: Any) -> forms.NumberInput:
    return forms.NumberInput(attrs={"class": "form-control", **more})


def _select() -> forms.Select:
    return forms.Select(attrs={"class": "form-select"})


def _check() -> forms.CheckboxInput:
    return forms.CheckboxInput(attrs={"class": "form-check-input"})


class PrelabelForm(forms.Form):
    """A new run: model and documents. ``query`` comes from the list of documents."""

    model = forms.ChoiceField(label="Model", widget=_select())
    limit = forms.IntegerField(
        label="Maximum number of documents",
        min_value=1,
        max_value=MAX_DOCUMENTS,
        widget=_number(),
        help_text="In import order.",
    )
    again = forms.BooleanField(label="Include documents that already have a pre-label", required=False, widget=_check())
    examples = forms.IntegerField(
        label="Few-shot examples",
        min_value=0,
        max_value=MAX_EXAMPLES,
        required=False,
        widget=_number(),
        help_text="For an endpoint: labeled training documents in the prompt.",
    )
    token_budget = forms.IntegerField(
        label="Token budget",
        min_value=1,
        max_value=2_000_000_000,
        required=False,
        widget=_number(),
        help_text="For an endpoint: it gets no more documents after this many tokens. Empty: no limit.",
    )
    query = forms.CharField(max_length=2000, required=False, widget=forms.HiddenInput())

    def __init__(self, data: Any = None, *, project: Project, initial: dict[str, Any] | None = None) -> None:
        super().__init__(data, initial=initial)
        versions = ModelVersion.objects.filter(project=project).select_related("training_run").order_by("-number")
        own = [(f"version-{one.number}", one) for one in versions]
        others = [(f"endpoint-{one.pk}", one) for one in Endpoint.objects.in_use(project)]
        self.models: dict[str, ModelVersion | Endpoint] = {**dict(own), **dict(others)}
        groups = [
            ("Fine-tuned here", [(key, f"{one} ({one.training_run})") for key, one in own]),
            ("Endpoints", [(key, f"{one.name} ({one.model})") for key, one in others]),
        ]
        model: Any = self.fields["model"]
        model.choices = [group for group in groups if group[1]]
        model.error_messages = {
            "required": "Choose a model from the list.",
            "invalid_choice": "Choose a model from the list.",
        }

    @property
    def has_no_model(self) -> bool:
        """Whether the project has no model that can create pre-labels."""
        return not self.models

    @property
    def shown_query(self) -> str:
        """The query string of the selected list of documents."""
        return str(self["query"].value() or "")[:2000]

    def service_arguments(self) -> dict[str, Any]:
        """The arguments of ``start_prelabels``."""
        data = self.cleaned_data
        model = self.models[data["model"]]
        return {
            "model_version": model if isinstance(model, ModelVersion) else None,
            "endpoint": model if isinstance(model, Endpoint) else None,
            "query": data["query"].replace("\0", ""),
            "limit": data["limit"],
            "again": data["again"],
            "examples": data["examples"] or 0 if isinstance(model, Endpoint) else 0,
            "token_budget": data["token_budget"],
        }


class EndpointForm(forms.Form):
    """An endpoint. Its key is never entered here."""

    name = forms.CharField(label="Name", max_length=80, widget=text_field(), help_text="Shown with its pre-labels.")
    url = forms.CharField(
        label="URL",
        max_length=300,
        widget=text_field(inputmode="url"),
        help_text="Base URL of an OpenAI-compatible server, without /chat/completions. It usually ends in /v1.",
    )
    model = forms.CharField(
        label="Model", max_length=200, widget=text_field(), help_text="The model name that the server expects."
    )
    key_variable = forms.CharField(
        label="Key variable",
        max_length=80,
        required=False,
        widget=text_field(),
        help_text="Environment variable SLM_KEY_…; SLM_KEY_…_HOSTS and SLM_KEY_…_PROJECTS list the hosts that get the "
        "key and the projects that can use it. An administrator sets them. Empty: no key is sent.",
    )
    structured = forms.ChoiceField(
        label="Structured output",
        choices=Endpoint.Structured.choices,
        widget=_select(),
        help_text="Automatic: JSON Schema, else any JSON object, else the prompt only.",
    )
    logprobs = forms.BooleanField(label="Request token probabilities, where supported", required=False, widget=_check())
    timeout_seconds = forms.IntegerField(label="Timeout in seconds", widget=_number())
    at_once = forms.IntegerField(
        label="Concurrent requests",
        widget=_number(),
        help_text="At most the number of parallel slots of the server: additional requests time out while they wait.",
    )
    max_tokens = forms.IntegerField(
        label="Maximum output tokens",
        widget=_number(),
        help_text="Includes reasoning: a reasoning model needs several thousand.",
    )
    reasoning_effort = forms.ChoiceField(
        label="Reasoning effort",
        choices=[("", "not sent"), *Endpoint.Effort.choices],
        widget=_select(),
        required=False,
        help_text="For reasoning models only. Reasoning is removed from the output and billed as output tokens.",
    )
    price_in = forms.FloatField(
        label="Price per million input tokens",
        min_value=0,
        max_value=1_000_000,
        required=False,
        widget=_number(step="any"),
        help_text="In the currency of the contract. Used for the cost of evaluations and benchmarks.",
    )
    price_out = forms.FloatField(
        label="Price per million output tokens",
        min_value=0,
        max_value=1_000_000,
        required=False,
        widget=_number(step="any"),
    )

    @classmethod
    def of(cls, endpoint: Endpoint) -> "EndpointForm":
        """With the values of an endpoint."""
        return cls(initial={name: getattr(endpoint, name) for name in cls.base_fields})

    @classmethod
    def empty(cls) -> "EndpointForm":
        """With the defaults."""
        new = Endpoint()
        return cls(
            initial={
                name: getattr(new, name)
                for name in ("structured", "logprobs", "timeout_seconds", "at_once", "max_tokens")
            }
        )
