"""The form of bulk edits: the documents, the change and its value."""

from typing import Any

from django import forms

from labeling.documents.bulk_edit import MAX_IDS, MAX_OVERLAP
from labeling.models import BulkEdit

Action = BulkEdit.Action
ACTIONS = [(action.value, str(action.label)) for action in Action if action != Action.UNDO]


class BulkForm(forms.Form):
    """``of``: the selected documents, or all that match ``query``. ``sure``: the user confirmed their number."""

    action = forms.ChoiceField(
        choices=ACTIONS,
        error_messages={
            "required": "Choose a change.",
            "invalid_choice": "This change does not exist.",
        },
    )
    of = forms.ChoiceField(choices=[("ticked", "ticked"), ("all", "all")], required=False)
    query = forms.CharField(required=False, max_length=2000)
    sure = forms.BooleanField(required=False)
    user = forms.CharField(required=False, max_length=150)
    tags = forms.CharField(required=False, max_length=40)
    overlap = forms.IntegerField(
        required=False,
        error_messages={"invalid": f"The overlap must be a number from 1 to {MAX_OVERLAP}."},
    )

    def clean(self) -> dict[str, Any]:
        """Checks the ids, and that an assignee is chosen (``-`` removes it)."""
        cleaned = super().clean() or {}
        self._ids: list[int] = []
        if cleaned.get("of") != "all":
            data: Any = self.data
            submitted = data.getlist("id")
            if len(submitted) > MAX_IDS or not all(
                text.isascii() and text.isdigit() and len(text) < 19 for text in submitted
            ):
                raise forms.ValidationError("The selection is invalid. Select the documents again.")
            self._ids = [int(text) for text in submitted]
        if cleaned.get("action") == Action.ASSIGN and not cleaned.get("user"):
            raise forms.ValidationError("Choose a user to assign the documents to.")
        return cleaned

    def ids(self) -> list[int]:
        """The selected documents."""
        return self._ids

    def params(self) -> dict[str, Any]:
        """The parameters for the service."""
        data = self.cleaned_data
        match data["action"]:
            case Action.ASSIGN:
                return {"user": "" if data["user"] == "-" else data["user"]}
            case Action.TAG | Action.UNTAG:
                return {"tags": [data["tags"]] if data["tags"] else []}
            case Action.OVERLAP:
                return {"overlap": data["overlap"]}
        return {}

    def description(self) -> str:
        """The change, as an instruction."""
        data = self.cleaned_data
        match data["action"]:
            case Action.ASSIGN:
                return "remove the assignment" if data["user"] == "-" else f"assign to {data['user']}"
            case Action.TAG | Action.UNTAG:
                return f"{'add' if data['action'] == Action.TAG else 'remove'} the tag {data['tags']}"
            case Action.OVERLAP:
                return f"set the overlap to {data['overlap']}"
        return dict(ACTIONS)[data["action"]].lower()
