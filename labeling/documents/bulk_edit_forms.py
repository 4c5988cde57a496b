"""What the list's bar sends: which documents, which change, and its value."""

from typing import Any

from django import forms

from labeling.documents.bulk_edit import MOST_IDS, MOST_PEOPLE
from labeling.models import BulkEdit

Action = BulkEdit.Action
ACTIONS = [(action.value, str(action.label)) for action in Action if action != Action.UNDO]


class BulkForm(forms.Form):
    """``of``: ticked or all that match ``query``. ``sure``: how many that are has been seen."""

    action = forms.ChoiceField(
        choices=ACTIONS,
        error_messages={
            "required": "Choose what to do with the documents.",
            "invalid_choice": "There is no such change.",
        },
    )
    of = forms.ChoiceField(choices=[("ticked", "ticked"), ("all", "all")], required=False)
    query = forms.CharField(required=False, max_length=2000)
    sure = forms.BooleanField(required=False)
    user = forms.CharField(required=False, max_length=150)
    tags = forms.CharField(required=False, max_length=40)
    wanted = forms.IntegerField(
        required=False,
        error_messages={"invalid": f"Say how many people are to label each document, from 1 to {MOST_PEOPLE}."},
    )

    def clean(self) -> dict[str, Any]:
        """Ids are numbers; the one who is to be assigned is named, or nobody is on purpose."""
        cleaned = super().clean() or {}
        self._ids: list[int] = []
        if cleaned.get("of") != "all":
            data: Any = self.data
            given = data.getlist("id")
            if len(given) > MOST_IDS or not all(text.isascii() and text.isdigit() and len(text) < 19 for text in given):
                raise forms.ValidationError("Which documents are meant cannot be understood. Tick them again.")
            self._ids = [int(text) for text in given]
        if cleaned.get("action") == Action.ASSIGN and not cleaned.get("user"):
            raise forms.ValidationError("Choose whom to assign the documents to.")
        return cleaned

    def ids(self) -> list[int]:
        """The documents that were ticked."""
        return self._ids

    def params(self) -> dict[str, Any]:
        """The values as the service takes them."""
        data = self.cleaned_data
        match data["action"]:
            case Action.ASSIGN:
                return {"user": "" if data["user"] == "-" else data["user"]}
            case Action.TAG | Action.UNTAG:
                return {"tags": [data["tags"]] if data["tags"] else []}
            case Action.OVERLAP:
                return {"wanted": data["wanted"]}
        return {}

    def words(self) -> str:
        """The change as the end of the sentence "This will ..."."""
        data = self.cleaned_data
        match data["action"]:
            case Action.ASSIGN:
                return "take the assignment from" if data["user"] == "-" else f"assign to {data['user']}"
            case Action.TAG | Action.UNTAG:
                return f"{'add' if data['action'] == Action.TAG else 'remove'} the tag {data['tags']}"
            case Action.OVERLAP:
                return f"ask for {data['wanted']} labels each"
        return dict(ACTIONS)[data["action"]]
