"""The forms of the settings of a deployment. Probabilities and shares are entered in percent."""

from typing import Any

from django import forms

from evaluation.models import Endpoint
from labeling.failure_tags import tags_of
from labeling.models import Project
from serving.models import AnswerPolicy, SamplePlan
from serving.review.redaction import KINDS
from serving.settings.services import LIMITS, MAX_LIMIT, SAMPLE
from slmstudio.web.forms import BootstrapForm


def _percent(label: str, *, required: bool = True, help_text: str = "") -> forms.FloatField:
    return forms.FloatField(label=label, required=required, min_value=0, max_value=100, help_text=help_text)


def _whole(
    label: str, limit: int, *, min_value: int = 1, required: bool = False, help_text: str = ""
) -> forms.IntegerField:
    return forms.IntegerField(label=label, required=required, min_value=min_value, max_value=limit, help_text=help_text)


class PolicyForm(BootstrapForm):
    """The answer policy. What only a larger model needs is left out where the project has none, and stays as it is."""

    #: without meaning where no larger model is selected
    of_larger_model = ("rest", "on_invalid", "on_unavailable", "on_invariant")

    min_confidence = _percent(
        "Threshold (%)", required=False,
        help_text="Minimum confidence of every field. Leave empty to return every valid answer.",
    )  # fmt: skip
    endpoint = forms.ModelChoiceField(
        Endpoint.objects.none(), label="Larger model", required=False, empty_label="None",
        help_text="None: answers below the threshold go to human review.",
    )  # fmt: skip
    rest = forms.ChoiceField(label="Answers below the threshold go to", choices=AnswerPolicy.Rest.choices)
    on_invalid = forms.BooleanField(label="Use the larger model when the output is invalid", required=False)
    on_unavailable = forms.BooleanField(
        label="Use the larger model when the small model does not respond", required=False
    )
    on_invariant = forms.BooleanField(label="Use the larger model when a rule is violated", required=False)
    budget_wrong = _whole(
        "Error budget: maximum wrong documents", 1_000_000,
        help_text="Among the automatic answers. Leave empty for no error budget.",
    )  # fmt: skip
    budget_of = _whole("Out of", 100_000_000, min_value=2, required=True)

    def __init__(self, data: Any = None, *, project: Project, policy: AnswerPolicy) -> None:
        initial = {name: getattr(policy, name) for name in self.base_fields}
        if policy.min_confidence is not None:
            initial["min_confidence"] = round(100 * policy.min_confidence, 4)
        super().__init__(data, initial=initial)
        endpoints = Endpoint.objects.in_use(project)
        self.fields["endpoint"].queryset = endpoints  # type: ignore[attr-defined]
        if policy.endpoint_id is None and not endpoints.exists():
            for name in ("endpoint", *self.of_larger_model):
                del self.fields[name]
            self.fields["min_confidence"].help_text += " Answers below it go to human review."

    def values(self) -> dict[str, Any]:
        """What ``confidence.policy.set_policy`` takes."""
        return _shares(self.cleaned_data, "min_confidence")


class SampleForm(BootstrapForm):
    """The review sample, how long texts are stored, and when retraining is proposed."""

    share = _percent(
        "Sampling rate (% of the answers)",
        help_text="Sampled at random for review. Live accuracy and the error budget are measured on these. Failures, "
        "negative feedback and answers below the threshold are reviewed in addition.",
    )  # fmt: skip
    redact = forms.MultipleChoiceField(
        label="Redact", required=False, choices=[(kind, title) for kind, (title, _, _) in KINDS.items()],
        help_text="Applies to the review queue and the documents created from it. Names are not detected.",
        widget=forms.CheckboxSelectMultiple,
    )  # fmt: skip
    retention_days = _whole(
        "Days that texts and outputs are stored", 3_650, min_value=0, required=True,
        help_text="0: never stored, so nothing can be reviewed.",
    )  # fmt: skip
    retrain_labels = _whole("Propose a training run after this many new labels", 10_000_000)
    retrain_tag = forms.ChoiceField(label="Count only documents with this tag", required=False)
    retrain_below = _percent(
        "Propose a training run when live accuracy is below (%)", required=False,
        help_text="Applies once the upper end of its 95% interval is below this value.",
    )  # fmt: skip

    def __init__(self, data: Any = None, *, project: Project, plan: SamplePlan, retention_days: int) -> None:
        initial = {name: getattr(plan, name) for name in SAMPLE} | {"retention_days": retention_days}
        for name in ("share", "retrain_below"):
            initial[name] = None if initial[name] is None else round(100 * initial[name], 4)
        super().__init__(data, initial=initial)
        tags = ((name, tag.title) for name, tag in tags_of(project).items())
        self.fields["retrain_tag"].choices = [("", "All labels"), *tags]  # type: ignore[attr-defined]

    def values(self) -> dict[str, Any]:
        """What ``services.set_sample`` takes."""
        return _shares(self.cleaned_data, "share", "retrain_below")


def _shares(values: dict[str, Any], *names: str) -> dict[str, Any]:
    return values | {name: None if values[name] is None else values[name] / 100 for name in names}


class LimitsForm(BootstrapForm):
    """Empty: no limit."""

    requests_per_month = _whole("Requests per month", MAX_LIMIT)
    tokens_per_month = _whole("Tokens per month", MAX_LIMIT)
    requests_per_minute = _whole("Requests per minute", MAX_LIMIT)
    tokens_per_minute = _whole("Tokens per minute", MAX_LIMIT)

    def __init__(self, data: Any = None, *, limits: Any) -> None:
        super().__init__(data, initial={name: getattr(limits, name) for name in LIMITS})


class RecipientsForm(BootstrapForm):
    """Who gets mail."""

    addresses = forms.CharField(
        label="Send alerts by email to", required=False, max_length=4_000,
        help_text="One address per line. Leave empty to send no email.",
        widget=forms.Textarea(attrs={"rows": 3, "autocomplete": "off", "spellcheck": "false"}),
    )  # fmt: skip
