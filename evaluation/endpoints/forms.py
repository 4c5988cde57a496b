"""The form of an endpoint."""

from django import forms

from evaluation.models import Endpoint
from evaluation.widgets import text_input
from slmstudio.web.forms import BootstrapForm


class EndpointForm(BootstrapForm):
    """An endpoint. Its key is never entered here."""

    name = forms.CharField(
        label="Name", max_length=80, widget=text_input(spellcheck="false"), help_text="Shown with its pre-labels."
    )
    url = forms.CharField(
        label="URL",
        max_length=300,
        widget=text_input(spellcheck="false", inputmode="url"),
        help_text="Base URL of an OpenAI-compatible server, without /chat/completions. It usually ends in /v1.",
    )
    model = forms.CharField(
        label="Model",
        max_length=200,
        widget=text_input(spellcheck="false"),
        help_text="The model name that the server expects.",
    )
    key_variable = forms.CharField(
        label="Key variable",
        max_length=80,
        required=False,
        widget=text_input(spellcheck="false"),
        help_text="Environment variable SLM_KEY_…; SLM_KEY_…_HOSTS and SLM_KEY_…_PROJECTS list the hosts that get the "
        "key and the projects that can use it. An administrator sets them. Leave empty to send no key.",
    )
    structured = forms.ChoiceField(
        label="Structured output",
        choices=Endpoint.Structured.choices,
        help_text="Automatic tries JSON Schema, then any JSON object, then the prompt only.",
    )
    logprobs = forms.BooleanField(label="Request token probabilities, where supported", required=False)
    timeout_seconds = forms.IntegerField(label="Timeout in seconds")
    concurrency = forms.IntegerField(
        label="Concurrent requests",
        help_text="At most the server's number of parallel slots; further requests would time out in its queue.",
    )
    max_tokens = forms.IntegerField(
        label="Maximum output tokens",
        help_text="Includes reasoning: a reasoning model needs several thousand.",
    )
    window_tokens = forms.IntegerField(
        label="Window size in tokens",
        required=False,
        help_text="Longer documents are sent in windows of this size, and the outputs are merged. Leave empty to send "
        "documents whole.",
    )
    reasoning_effort = forms.ChoiceField(
        label="Reasoning effort",
        choices=[("", "Not sent"), *Endpoint.Effort.choices],
        required=False,
        help_text="For reasoning models only. Reasoning is removed from the output and billed as output tokens.",
    )
    price_in = forms.FloatField(
        label="Price per million input tokens",
        min_value=0,
        max_value=1_000_000,
        required=False,
        help_text="In the currency of the contract. Used for the cost of evaluations and benchmarks.",
    )
    price_out = forms.FloatField(
        label="Price per million output tokens",
        min_value=0,
        max_value=1_000_000,
        required=False,
    )

    @classmethod
    def of(cls, endpoint: Endpoint) -> "EndpointForm":
        """With the values of an endpoint."""
        return cls(initial={name: getattr(endpoint, name) for name in cls.base_fields})
