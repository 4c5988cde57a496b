"""The form of a freeze: shares in percent, rules as choices."""

from typing import Any

from django import forms

from labeling.datasets.freeze_candidates import class_fields, has_prelabels, metadata_keys, used_tags
from labeling.datasets.freeze_rules import Rules
from labeling.datasets.near_duplicates import HIGHEST, LOWEST, THRESHOLD
from labeling.datasets.splits import SPREAD, WHOLE
from labeling.models import DocumentState, Origin, Project
from labeling.widgets import CONTROL, SELECT

STATES = [(state.value, state.label) for state in (DocumentState.SUBMITTED, DocumentState.APPROVED)]
#: fields of the service with another name in this form
NAMES = {"validation_share": "validation", "holdout_share": "holdout"}


class FreezeForm(forms.Form):
    """The settings of a freeze. ``rare`` names the fields that the page folds away."""

    validation = forms.DecimalField(
        label="Validation (% of documents outside the hold-out)",
        initial=10,
        min_value=0,
        max_value=50,
        decimal_places=1,
    )
    holdout = forms.DecimalField(
        label="Hold-out (% of all)",
        initial=20,
        min_value=0,
        max_value=90,
        decimal_places=1,
        required=False,
        help_text="Selected once and permanently excluded from training. "
        "Uses real documents labeled by annotators, if available.",
    )
    seed = forms.IntegerField(initial=17, min_value=0, max_value=2**31 - 1)
    group_by = forms.ChoiceField(
        label="Group by",
        required=False,
        help_text="Documents in a group go to the same split and count together in intervals and gates.",
    )
    large_families = forms.ChoiceField(
        label="Large groups",
        choices=[
            ("", "Same as other groups"),
            (WHOLE, "Hold out one whole group"),
            (SPREAD, "Spread across the splits"),
        ],
        required=False,
        help_text="Groups with 10% or more of all documents are usually too large for the hold-out. Hold out one whole "
        "group to test models on new groups, or spread large groups to test on known ones.",
    )
    stratify = forms.ChoiceField(
        label="Stratify by", required=False, help_text="Gives every split the same class distribution."
    )
    similarity = forms.IntegerField(
        label="Near-duplicate threshold (%)",
        initial=round(THRESHOLD * 100),
        min_value=round(LOWEST * 100),
        max_value=round(HIGHEST * 100),
        required=False,
        help_text="Near-duplicates go to the same split, or are excluded if one is in the hold-out.",
    )
    states = forms.MultipleChoiceField(label="States", choices=STATES, required=False)
    origins = forms.MultipleChoiceField(label="Origins", choices=Origin.choices, required=False)
    tags = forms.MultipleChoiceField(label="Tags", required=False)
    without_tags = forms.MultipleChoiceField(label="Excluded tags", required=False)
    most = forms.IntegerField(
        label="Maximum for training and validation", min_value=2, max_value=10_000_000, required=False
    )

    silver = forms.ChoiceField(
        label="Silver labels",
        choices=[
            ("", "None"),
            ("agreement", "Pre-labels that a second model or sample agrees with"),
            ("confidence", "Pre-labels with high confidence"),
        ],
        required=False,
        help_text="Pre-labels of unlabeled documents that are valid, satisfy all rules and have evidence in the text. "
        "Used for training only, in runs that include them.",
    )
    silver_confidence = forms.IntegerField(
        label="Minimum confidence of silver labels (%)",
        initial=95,
        min_value=0,
        max_value=100,
        required=False,
        help_text="The lowest confidence of any field.",
    )

    rare = (
        "group_by",
        "large_families",
        "stratify",
        "similarity",
        "states",
        "origins",
        "tags",
        "without_tags",
        "most",
    )

    def __init__(self, *args: Any, project: Project, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        keys = [(f"metadata.{key}", key) for key in metadata_keys(project) if key]
        self._offer("group_by", [("", "Near-duplicates only"), ("source", "Source file"), *keys])
        classes = class_fields(project.schema_version.compiled)
        tags = used_tags(project)
        self._offer("stratify", [("", "Nothing"), *([("tags", "Tags")] if tags else []), *classes])
        for name in ("tags", "without_tags"):
            self._offer(name, tags)
            if not tags:
                del self.fields[name]
        if not has_prelabels(project):
            del self.fields["silver"], self.fields["silver_confidence"]
        for name, field in self.fields.items():
            if isinstance(field, forms.MultipleChoiceField):
                field.widget = forms.CheckboxSelectMultiple({"class": "form-check-input"}, list(field.choices))  # type: ignore[arg-type]
            else:
                field.widget.attrs.update(SELECT if isinstance(field, forms.ChoiceField) else CONTROL)
            if name in self.errors and not isinstance(field, forms.MultipleChoiceField):
                field.widget.attrs["aria-invalid"] = "true"

    def _offer(self, name: str, choices: list[tuple[str, str]]) -> None:
        field = self.fields[name]
        assert isinstance(field, forms.ChoiceField)
        field.choices = choices

    @property
    def unfolded(self) -> bool:
        """Whether a rare field is set or invalid, so the fields must be visible."""
        return any(
            self.errors.get(name)
            or str(self[name].value() or "") not in ("", "[]", str(self.fields[name].initial or ""))
            for name in self.rare
            if name in self.fields
        )

    @property
    def silver_unfolded(self) -> bool:
        """Whether silver labels are asked for, or their confidence is invalid."""
        return "silver" in self.fields and bool(self["silver"].value() or self.errors.get("silver_confidence"))

    def rules(self) -> Rules:
        """The rules for the service; in a form with errors, those that are valid."""
        data = self.cleaned_data if self.is_bound and self.is_valid() else getattr(self, "cleaned_data", {})
        return Rules(
            similarity=(data.get("similarity") or round(THRESHOLD * 100)) / 100,
            group_by=data.get("group_by") or "",
            large_families=data.get("large_families") or "",
            stratify=data.get("stratify") or "",
            states=tuple(data.get("states") or ()),
            origins=tuple(data.get("origins") or ()),
            tags=tuple(data.get("tags") or ()),
            without_tags=tuple(data.get("without_tags") or ()),
            most=data.get("most"),
            silver=data.get("silver") or "",
            silver_confidence=(95 if data.get("silver_confidence") is None else data["silver_confidence"]) / 100,
        )

    def settings(self) -> dict[str, Any]:
        """The other settings for the service; the initial ones before the form is sent."""
        data = self.cleaned_data if self.is_bound else {name: field.initial for name, field in self.fields.items()}
        return {
            "seed": data["seed"],
            "validation_share": float(data["validation"]) / 100,
            "holdout_share": float(data["holdout"] or 0) / 100,
        }
