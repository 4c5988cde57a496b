"""The form for the mapping between two schemas: a row for each difference."""

from dataclasses import dataclass
from typing import Any

from django import forms
from django.utils.translation import ngettext

from labeling.schema_migration.mapping import Difference, Step, difference, last_name, rows_of
from slmstudio.contract.json_text import JsonError, dumps, loads
from slmstudio.contract.schema.compiled import CompiledSchema, Node
from slmstudio.contract.values.kinds.values import parse_typed

TEXT = {"class": "form-control form-control-sm", "autocomplete": "off", "spellcheck": "false"}
SELECT = {"class": "form-select form-select-sm"}


@dataclass(frozen=True, slots=True)
class MappingLine:
    """One difference: the field, its change, and the controls for it."""

    field: str
    what: str
    controls: list[forms.BoundField]

    @property
    def shows_labels(self) -> bool:
        """Whether a control does not say by itself what it is for."""
        return len(self.controls) > 1 or not self.controls[0].name.startswith("gone-")


class MappingForm(forms.Form):
    """Removed, new, retyped and narrowed fields with their controls. ``steps()`` gives the mapping."""

    def __init__(self, old: CompiledSchema, new: CompiledSchema, steps: list[Step], data: Any = None) -> None:
        super().__init__(data)
        self.difference: Difference = difference(old, new)
        self._new = new
        self._lines: list[tuple[str, str, list[str]]] = []
        by_field = {(step["do"], step["field"]): step for step in steps}
        for number, pattern in enumerate(self.difference.removed):
            self._add_removed(number, pattern, by_field)
        for number, (pattern, node) in enumerate(self.difference.added.items()):
            step = by_field.get(("default", pattern))
            self._add(
                f"new-{number}",
                forms.CharField(
                    required=False,
                    label=f"{pattern}: default value",
                    initial="" if step is None else _text(step["value"]),
                    widget=forms.TextInput(attrs={**TEXT, "placeholder": "empty"}),
                ),
                pattern,
                f"new, {_kind(node)}{', required' if node.required else ''}",
            )
        for number, (pattern, (before, after)) in enumerate(self.difference.retyped.items()):
            self._add(
                f"type-{number}",
                forms.BooleanField(
                    required=False,
                    label=f"{pattern}: convert values to {_kind(after)}",
                    initial=("convert", pattern) in by_field,
                    widget=forms.CheckboxInput(attrs={"class": "form-check-input"}),
                ),
                pattern,
                f"was {_kind(before)}, is {_kind(after)}",
            )
        self._add_narrowed(by_field)

    def _add(self, name: str, field: forms.Field, pattern: str, what: str) -> None:
        self.fields[name] = field
        self._lines.append((pattern, what, [name]))

    def _add_removed(self, number: int, pattern: str, by_field: dict[tuple[str, str], Step]) -> None:
        targets = [name for name in self.difference.added if rows_of(name) == rows_of(pattern)]
        rename, cut = by_field.get(("rename", pattern)), by_field.get(("split", pattern))
        choices = [("drop", "Remove"), *((f"to:{name}", f"Rename to {name}") for name in targets)]
        if targets:
            choices.append(("split", "Split by an expression"))
        initial = f"to:{rename['to']}" if rename else "split" if cut else "drop"
        what = forms.ChoiceField(
            choices=choices,
            label=f"{pattern}: mapping",
            initial=initial,
            widget=forms.Select(attrs={**SELECT, "data-removed": str(number)}),
        )
        self._add(f"gone-{number}", what, pattern, "removed")
        if targets:
            self.fields[f"by-{number}"] = forms.CharField(
                required=False,
                label=f"{pattern}: expression with a named group for each new field",
                initial=cut["by"] if cut else "",
                widget=forms.TextInput(
                    attrs={
                        **TEXT,
                        "class": f"{TEXT['class']} font-monospace",
                        "placeholder": rf"(?P<{last_name(targets[0])}>.+), (?P<{last_name(targets[-1])}>.+)",
                    }
                ),
            )
            self._lines[-1][2].append(f"by-{number}")

    def _add_narrowed(self, by_field: dict[tuple[str, str], Step]) -> None:
        nodes = {node.pattern: node for node in self._new.root.nodes()}
        for number, (pattern, gone) in enumerate(self.difference.narrowed.items()):
            field = nodes[pattern].field
            options = [(dumps(value), _text(value)) for value in (field.enum if field is not None else ())]
            step = by_field.get(("replace", pattern))
            names = []
            for place, code in enumerate(gone):
                name = f"choice-{number}-{place}"
                self.fields[name] = forms.ChoiceField(
                    required=False,
                    choices=[("", "Label again"), *options],
                    label=f"{pattern}: {_text(loads(code))} becomes",
                    initial=step["values"].get(code, "") if step else "",
                    widget=forms.Select(attrs=SELECT),
                )
                names.append(name)
            self._lines.append(
                (pattern, ngettext("%d choice removed", "%d choices removed", len(gone)) % len(gone), names)
            )

    def lines(self) -> list[MappingLine]:
        """The rows: removed, new, retyped, narrowed."""
        return [MappingLine(pattern, what, [self[name] for name in names]) for pattern, what, names in self._lines]

    def clean(self) -> dict[str, Any]:
        """Two fields cannot have the same new name; a split needs an expression."""
        cleaned = super().clean() or {}
        taken: dict[str, str] = {}
        for number, pattern in enumerate(self.difference.removed):
            choice = cleaned.get(f"gone-{number}", "")
            if choice.startswith("to:"):
                if choice in taken:
                    self.add_error(f"gone-{number}", f"{taken[choice]} already has this new name.")
                taken[choice] = pattern
            if choice == "split" and not cleaned.get(f"by-{number}"):
                self.add_error(f"by-{number}", "Enter an expression.")
        return cleaned

    def steps(self) -> list[Step]:
        """The mapping as ``labeling.schema_migration.mapping`` takes it."""
        steps: list[Step] = []
        for number, pattern in enumerate(self.difference.removed):
            choice = self.cleaned_data[f"gone-{number}"]
            if choice == "split":
                steps.append(self._split(pattern, self.cleaned_data[f"by-{number}"]))
            elif choice.startswith("to:"):
                steps.append({"do": "rename", "field": pattern, "to": choice.removeprefix("to:")})
            else:
                steps.append({"do": "drop", "field": pattern})
        for number, (pattern, node) in enumerate(self.difference.added.items()):
            text = self.cleaned_data[f"new-{number}"].strip()
            if text:
                steps.append({"do": "default", "field": pattern, "value": _value(text, node)})
        for number, pattern in enumerate(self.difference.retyped):
            if self.cleaned_data[f"type-{number}"]:
                steps.append({"do": "convert", "field": pattern})
        for number, (pattern, gone) in enumerate(self.difference.narrowed.items()):
            values = {code: self.cleaned_data[f"choice-{number}-{place}"] for place, code in enumerate(gone)}
            values = {old: new for old, new in values.items() if new}
            if values:
                steps.append({"do": "replace", "field": pattern, "values": values})
        return steps

    def _split(self, pattern: str, by: str) -> Step:
        """Each named group of the expression fills the new field of the same name in the same rows."""
        targets = {last_name(name): name for name in self.difference.added if rows_of(name) == rows_of(pattern)}
        into = {name: target for name, target in targets.items() if f"(?P<{name}>" in by}
        return {"do": "split", "field": pattern, "by": by, "into": into}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else dumps(value)


def _value(text: str, node: Node) -> Any:
    """A typed default as a value of the field; JSON for objects and arrays."""
    if node.field is not None:
        read = parse_typed(text, node.field)
        return text if read is None and text.casefold() != "null" else read
    try:
        return loads(text)
    except JsonError:
        return text


def _kind(node: Node) -> str:
    words = {"string": "a string", "number": "a number", "integer": "a whole number", "boolean": "yes or no"}
    if node.field is None:
        return "an object" if node.shape == "object" else "a list"
    if node.field.enum:
        return "a choice"
    return words.get(node.field.type, node.field.type)
