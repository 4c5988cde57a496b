"""Forms of the pre-label and endpoint pages."""

from typing import Any

from django import forms

from evaluation.models import Endpoint
from evaluation.prelabels.services import MAX_DOCUMENTS, MAX_EXAMPLES
from labeling.models import Project
from slmstudio.web.forms import BootstrapForm
from training.models import ModelVersion


class PrelabelForm(BootstrapForm):
    """A new run: model and documents. ``query`` comes from the list of documents.

    Models of archived runs are offered only where they are named.
    """

    model = forms.ChoiceField(label="Model")
    limit = forms.IntegerField(
        label="Maximum number of documents",
        min_value=1,
        max_value=MAX_DOCUMENTS,
        help_text="In import order.",
    )
    again = forms.BooleanField(label="Include documents that already have a pre-label", required=False)
    examples = forms.IntegerField(
        label="Few-shot examples",
        min_value=0,
        max_value=MAX_EXAMPLES,
        required=False,
        help_text="For an endpoint: labeled training documents in the prompt.",
    )
    token_budget = forms.IntegerField(
        label="Token budget",
        min_value=1,
        max_value=2_000_000_000,
        required=False,
        help_text="For an endpoint: no more documents are sent after this many tokens. Leave empty for no limit.",
    )
    query = forms.CharField(max_length=2000, required=False, widget=forms.HiddenInput())

    def __init__(self, data: Any = None, *, project: Project, initial: dict[str, Any] | None = None) -> None:
        super().__init__(data, initial=initial)
        versions = ModelVersion.objects.with_weights().filter(project=project).select_related("training_run")
        named = str((data or initial or {}).get("model", ""))
        own = [
            (key, version)
            for version in versions.order_by("-number")
            if (key := f"version-{version.number}") == named or version.training_run.archived_at is None
        ]
        others = [(f"endpoint-{endpoint.pk}", endpoint) for endpoint in Endpoint.objects.in_use(project)]
        self.models: dict[str, ModelVersion | Endpoint] = {**dict(own), **dict(others)}
        groups = [
            ("Fine-tuned here", [(key, f"{version} ({version.origin})") for key, version in own]),
            ("Endpoints", [(key, f"{endpoint.name} ({endpoint.model})") for key, endpoint in others]),
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
