"""The forms of tokens and webhooks. They validate and write nothing."""

from typing import Any

from django import forms

from labeling.integrations.events import EVENTS, GROUPS
from labeling.integrations.tokens import DEFAULT_DAYS, MAX_DAYS, scopes_for
from labeling.widgets import CONTROL


class TokenForm(forms.Form):
    """A new token: its name, scopes and lifetime."""

    name = forms.CharField(
        max_length=80,
        help_text="What it is used for.",
        widget=forms.TextInput(attrs={**CONTROL, "autocomplete": "off"}),
    )
    scopes = forms.MultipleChoiceField(
        widget=forms.CheckboxSelectMultiple, error_messages={"required": "Select at least one scope."}
    )
    days = forms.IntegerField(
        required=False,
        min_value=1,
        max_value=MAX_DAYS,
        label="Valid for (days)",
        help_text="Leave empty for no expiration.",
        widget=forms.NumberInput(attrs={**CONTROL, "autocomplete": "off"}),
    )

    def __init__(self, *args: Any, role: str, **kwargs: Any) -> None:
        kwargs.setdefault("initial", {"days": DEFAULT_DAYS, "scopes": ["read"]})
        super().__init__(*args, **kwargs)
        scopes = self.fields["scopes"]
        assert isinstance(scopes, forms.MultipleChoiceField)
        scopes.choices = list(scopes_for(role).items())


class WebhookForm(forms.Form):
    """The URL of a webhook and its events."""

    url = forms.CharField(
        label="URL",
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
        error_messages={"required": "Select at least one event."},
    )
    active = forms.BooleanField(required=False, initial=True, label="Active")

    @property
    def event_groups(self) -> list[tuple[str, list[Any]]]:
        """The check boxes of the events, by group."""
        boxes = list(self["events"])
        return [
            (title, [box for box in boxes if str(box.data["value"]).partition(".")[0] in kinds])
            for title, kinds in GROUPS.items()
        ]
