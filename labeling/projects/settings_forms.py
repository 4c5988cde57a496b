"""What is typed on a project's settings and token pages: parsing and checking, no writes."""

from decimal import Decimal
from typing import Any

from django import forms

from labeling.integrations.tokens import MOST_DAYS, scopes_for
from labeling.integrations.webhooks import EVENTS
from labeling.models import Project
from labeling.projects.forms import CONTROL, SELECT
from labeling.projects.members import MOST_PEOPLE
from slmstudio.access import Role

SHARES = ("overlap_share", "withheld_share", "confidence_floor")


def _share(label: str, help_text: str) -> forms.DecimalField:
    widget = forms.TextInput(attrs={**CONTROL, "inputmode": "decimal", "autocomplete": "off"})
    return forms.DecimalField(
        label=label, min_value=0, max_value=100, max_digits=7, decimal_places=3, help_text=help_text, widget=widget
    )


class WorkForm(forms.Form):
    """How work is done in a project. Shares in per cent."""

    review_required = forms.BooleanField(
        required=False, label="Review: a submitted label is gold only once a reviewer approved it"
    )
    four_eyes = forms.BooleanField(
        required=False, label="Four eyes: nobody reviews a label of their own, or approves a run they started"
    )
    overlap_share = _share("Labelled several times (%)", "Of new documents. Nobody sees the others' labels.")
    overlap_people = forms.IntegerField(
        label="By how many people",
        min_value=2,
        max_value=MOST_PEOPLE,
        widget=forms.NumberInput(attrs=CONTROL),
    )
    withheld_share = _share(
        "Pre-labels withheld (%)", "Share of documents. What people write without them shows whether they look."
    )
    confidence_floor = _share(
        "Look at fields below (% sure)", "Pre-filled fields that are surer and pass every check are passed over."
    )
    extra_tags = forms.CharField(
        required=False,
        max_length=3_000,
        label="Failure tags of this project",
        help_text="Beside the vocabulary, separated by commas.",
        widget=forms.TextInput(attrs={**CONTROL, "autocomplete": "off", "spellcheck": "false"}),
    )

    @classmethod
    def of(cls, project: Project) -> "WorkForm":
        """The form as the project stands."""
        initial: dict[str, Any] = {
            "review_required": project.review_required,
            "four_eyes": project.four_eyes,
            "overlap_people": project.overlap_people,
            "extra_tags": ", ".join(project.extra_tags),
        }
        for name in SHARES:
            initial[name] = f"{100 * getattr(project, name):.6g}"
        return cls(initial=initial)

    def values(self) -> dict[str, Any]:
        """What was typed, as the service takes it."""
        given = dict(self.cleaned_data)
        for name in SHARES:
            given[name] = float(given[name] / Decimal(100))
        given["extra_tags"] = given["extra_tags"].split(",")
        return given


class MemberForm(forms.Form):
    """Somebody to take into the project."""

    username = forms.CharField(
        label="User name",
        max_length=150,
        widget=forms.TextInput(
            attrs={**CONTROL, "autocomplete": "off", "autocapitalize": "off", "spellcheck": "false"}
        ),
    )
    role = forms.ChoiceField(choices=Role.choices, widget=forms.Select(attrs=SELECT))


class TokenForm(forms.Form):
    """A token to make: its name, its scopes, how long it is good for."""

    name = forms.CharField(
        max_length=80,
        help_text="What it is for, so that you know later.",
        widget=forms.TextInput(attrs={**CONTROL, "autocomplete": "off"}),
    )
    scopes = forms.MultipleChoiceField(
        widget=forms.CheckboxSelectMultiple, error_messages={"required": "Choose at least one scope."}
    )
    days = forms.IntegerField(
        required=False,
        min_value=1,
        max_value=MOST_DAYS,
        label="Good for (days)",
        help_text="Empty: without an end.",
        widget=forms.NumberInput(attrs={**CONTROL, "autocomplete": "off"}),
    )

    def __init__(self, *args: Any, role: str, **kwargs: Any) -> None:
        kwargs.setdefault("initial", {"days": 90, "scopes": ["read"]})
        super().__init__(*args, **kwargs)
        scopes = self.fields["scopes"]
        assert isinstance(scopes, forms.MultipleChoiceField)
        scopes.choices = list(scopes_for(role).items())


class WebhookForm(forms.Form):
    """Where messages go, and about what."""

    url = forms.CharField(
        label="Address",
        max_length=500,
        widget=forms.TextInput(
            attrs={
                **CONTROL,
                "inputmode": "url",
                "autocomplete": "off",
                "spellcheck": "false",
                "placeholder": "https://",
            }
        ),
    )
    events = forms.MultipleChoiceField(
        choices=list(EVENTS.items()),
        widget=forms.CheckboxSelectMultiple,
        error_messages={"required": "Choose at least one event."},
    )
    active = forms.BooleanField(required=False, initial=True, label="Switched on")
