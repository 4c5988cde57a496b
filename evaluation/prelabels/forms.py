"""What people send to the pages of pre-labels and endpoints, parsed and checked."""

from typing import Any

from django import forms

from evaluation.models import Endpoint
from evaluation.prelabels.services import MOST_DOCUMENTS, MOST_EXAMPLES
from labeling.models import Project
from training.models import ModelVersion


def _text(**more: Any) -> forms.TextInput:
    return forms.TextInput(attrs={"class": "form-control", "autocomplete": "off", "spellcheck": "false", **more})


def _number(**more: Any) -> forms.NumberInput:
    return forms.NumberInput(attrs={"class": "form-control", **more})


def _select() -> forms.Select:
    return forms.Select(attrs={"class": "form-select"})


def _check() -> forms.CheckboxInput:
    return forms.CheckboxInput(attrs={"class": "form-check-input"})


class PrelabelForm(forms.Form):
    """A new run: which model, about how many documents. ``query`` comes from the list of documents."""

    model = forms.ChoiceField(label="Model", widget=_select())
    limit = forms.IntegerField(
        label="At most so many documents",
        min_value=1,
        max_value=MOST_DOCUMENTS,
        widget=_number(),
        help_text="In the order they came in.",
    )
    again = forms.BooleanField(label="Also those that have a pre-label already", required=False, widget=_check())
    examples = forms.IntegerField(
        label="Solved examples",
        min_value=0,
        max_value=MOST_EXAMPLES,
        required=False,
        widget=_number(),
        help_text="For an endpoint: training documents with their labels that it is shown first.",
    )
    token_budget = forms.IntegerField(
        label="Token budget",
        min_value=1,
        max_value=2_000_000_000,
        required=False,
        widget=_number(),
        help_text="For an endpoint: no more documents are asked about after so many tokens. Empty: no limit.",
    )
    query = forms.CharField(max_length=2000, required=False, widget=forms.HiddenInput())

    def __init__(self, data: Any = None, *, project: Project, initial: dict[str, Any] | None = None) -> None:
        super().__init__(data, initial=initial)
        versions = ModelVersion.objects.filter(project=project).select_related("training_run").order_by("-number")
        own = [(f"version-{one.number}", one) for one in versions]
        others = [(f"endpoint-{one.pk}", one) for one in Endpoint.objects.in_use(project)]
        self.subjects: dict[str, ModelVersion | Endpoint] = {**dict(own), **dict(others)}
        groups = [
            ("Fine-tuned here", [(key, f"{one} ({one.training_run})") for key, one in own]),
            ("Endpoints", [(key, f"{one.name} ({one.model})") for key, one in others]),
        ]
        model: Any = self.fields["model"]
        model.choices = [group for group in groups if group[1]]
        model.error_messages = {
            "required": "Choose a model.",
            "invalid_choice": "Choose a model from the list; this one is not in it.",
        }

    @property
    def impossible(self) -> bool:
        """There is no model that could propose anything."""
        return not self.subjects

    @property
    def shown_query(self) -> str:
        """The list of documents that is asked about, as its address has it."""
        return str(self["query"].value() or "")[:2000]

    def order(self) -> dict[str, Any]:
        """What ``start_prelabels`` takes."""
        wanted = self.cleaned_data
        subject = self.subjects[wanted["model"]]
        return {
            "model_version": subject if isinstance(subject, ModelVersion) else None,
            "endpoint": subject if isinstance(subject, Endpoint) else None,
            "query": wanted["query"].replace("\0", ""),
            "limit": wanted["limit"],
            "again": wanted["again"],
            "examples": wanted["examples"] or 0 if isinstance(subject, Endpoint) else 0,
            "token_budget": wanted["token_budget"],
        }


class EndpointForm(forms.Form):
    """A model elsewhere. The key itself is never typed here."""

    name = forms.CharField(label="Name", max_length=80, widget=_text(), help_text="People see it beside a pre-label.")
    url = forms.CharField(
        label="Address",
        max_length=300,
        widget=_text(inputmode="url"),
        help_text="Of an OpenAI-compatible server, up to where /chat/completions begins; it usually ends in /v1.",
    )
    model = forms.CharField(label="Model", max_length=200, widget=_text(), help_text="As the server calls it.")
    key_variable = forms.CharField(
        label="Variable with the key",
        max_length=80,
        required=False,
        widget=_text(),
        help_text="SLM_KEY_… in the environment of the studio; SLM_KEY_…_HOSTS and SLM_KEY_…_PROJECTS beside it name "
        "the hosts that may get it and the projects that may use it. An administrator sets them. Empty: none is sent.",
    )
    structured = forms.ChoiceField(
        label="Asked for JSON",
        choices=Endpoint.Structured.choices,
        widget=_select(),
        help_text="The best it can do: held to the schema, else any JSON object, else in words.",
    )
    logprobs = forms.BooleanField(
        label="Ask how sure it is of each token, where it can say so", required=False, widget=_check()
    )
    timeout_seconds = forms.IntegerField(label="Seconds for an answer", widget=_number())
    at_once = forms.IntegerField(
        label="Requests at once",
        widget=_number(),
        help_text="No more than the server works on side by side: the others wait there, and their time runs.",
    )
    max_tokens = forms.IntegerField(
        label="Most tokens of an answer",
        widget=_number(),
        help_text="Thinking counts: a reasoning model needs several thousand.",
    )
    reasoning_effort = forms.ChoiceField(
        label="Reasoning effort",
        choices=[("", "not sent"), *Endpoint.Effort.choices],
        widget=_select(),
        required=False,
        help_text="For reasoning models alone. Thinking is left out of the answer and paid for as tokens written.",
    )
    price_in = forms.FloatField(
        label="Price of a million tokens read",
        min_value=0,
        max_value=1_000_000,
        required=False,
        widget=_number(step="any"),
        help_text="In the currency of the contract. A benchmark says what a thousand documents cost.",
    )
    price_out = forms.FloatField(
        label="Price of a million tokens written",
        min_value=0,
        max_value=1_000_000,
        required=False,
        widget=_number(step="any"),
    )

    @classmethod
    def of(cls, endpoint: Endpoint) -> "EndpointForm":
        """Filled with what an endpoint has."""
        return cls(initial={name: getattr(endpoint, name) for name in cls.base_fields})

    @classmethod
    def empty(cls) -> "EndpointForm":
        """Filled with what is right without touching anything."""
        new = Endpoint()
        return cls(
            initial={
                name: getattr(new, name)
                for name in ("structured", "logprobs", "timeout_seconds", "at_once", "max_tokens")
            }
        )
