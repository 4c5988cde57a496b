"""The form in which a person says what becomes of fields when the schema changes: a row for everything that differs."""

from dataclasses import dataclass
from typing import Any

from django import forms

from labeling.schema_migration.mapping import Difference, Step, difference, last_name, rows_of
from slmstudio.contract.json_text import JsonError, dumps, loads
from slmstudio.contract.schema.compiled import CompiledSchema, Node
from slmstudio.contract.values.kinds.values import parse_typed

TEXT = {"class": "form-control form-control-sm", "autocomplete": "off", "spellcheck": "false"}
SELECT = {"class": "form-select form-select-sm"}


@dataclass(frozen=True, slots=True)
class MappingLine:
    """One thing that differs: the field, what happened to it, and the controls that say what to do."""

    field: str
    what: str
    controls: list[forms.BoundField]


class MappingForm(forms.Form):
    """Removed, new, retyped and narrowed fields, each with what to do. ``steps()`` gives the mapping."""

    def __init__(self, old: CompiledSchema, new: CompiledSchema, steps: list[Step], data: Any = None) -> None:
        super().__init__(data)
        self.difference: Difference = difference(old, new)
        self._old, self._new = old, new
        self._lines: list[tuple[str, str, list[str]]] = []
        said = {(step["do"], step["field"]): step for step in steps}
        for number, pattern in enumerate(self.difference.removed):
            self._add_removed(number, pattern, said)
        for number, (pattern, node) in enumerate(self.difference.added.items()):
            step = said.get(("default", pattern))
            self._add(
                f"new-{number}",
                forms.CharField(
                    required=False,
                    label=f"{pattern}: value for labels that have none",
                    initial="" if step is None else _text(step["value"]),
                    widget=forms.TextInput(attrs={**TEXT, "placeholder": "left empty"}),
                ),
                pattern,
                f"new, {_kind(node)}{', required' if node.required else ''}",
            )
        for number, (pattern, (before, after)) in enumerate(self.difference.retyped.items()):
            self._add(
                f"type-{number}",
                forms.BooleanField(
                    required=False,
                    label=f"{pattern}: read what is there as {_kind(after)}",
                    initial=("convert", pattern) in said,
                    widget=forms.CheckboxInput(attrs={"class": "form-check-input"}),
                ),
                pattern,
                f"was {_kind(before)}, is {_kind(after)}",
            )
        self._add_narrowed(said)

    def _add(self, name: str, field: forms.Field, pattern: str, what: str) -> None:
        self.fields[name] = field
        self._lines.append((pattern, what, [name]))

    def _add_removed(self, number: int, pattern: str, said: dict[tuple[str, str], Step]) -> None:
        targets = [name for name in self.difference.added if rows_of(name) == rows_of(pattern)]
        rename, cut = said.get(("rename", pattern)), said.get(("split", pattern))
        choices = [("drop", "leave it out"), *((f"to:{name}", f"becomes {name}") for name in targets)]
        if targets:
            choices.append(("split", "split it by an expression"))
        initial = f"to:{rename['to']}" if rename else "split" if cut else "drop"
        what = forms.ChoiceField(
            choices=choices,
            label=f"{pattern}: what becomes of it",
            initial=initial,
            widget=forms.Select(attrs={**SELECT, "data-removed": str(number)}),
        )
        self._add(f"gone-{number}", what, pattern, "no longer there")
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

    def _add_narrowed(self, said: dict[tuple[str, str], Step]) -> None:
        nodes = {node.pattern: node for node in self._new.root.nodes()}
        for number, (pattern, gone) in enumerate(self.difference.narrowed.items()):
            field = nodes[pattern].field
            options = [(dumps(value), _text(value)) for value in (field.enum if field is not None else ())]
            step = said.get(("replace", pattern))
            names = []
            for place, code in enumerate(gone):
                name = f"choice-{number}-{place}"
                self.fields[name] = forms.ChoiceField(
                    required=False,
                    choices=[("", "to be labelled again"), *options],
                    label=f"{pattern}: {_text(loads(code))} becomes",
                    initial=step["values"].get(code, "") if step else "",
                    widget=forms.Select(attrs=SELECT),
                )
                names.append(name)
            self._lines.append((pattern, f"{len(gone)} choice{'s' if len(gone) != 1 else ''} no longer there", names))

    def lines(self) -> list[MappingLine]:
        """What to draw, in the order removed, new, retyped, narrowed."""
        return [MappingLine(pattern, what, [self[name] for name in names]) for pattern, what, names in self._lines]

    def clean(self) -> dict[str, Any]:
        """Two old fields cannot become one new field; a split needs its expression."""
        cleaned = super().clean() or {}
        taken: dict[str, str] = {}
        for number, pattern in enumerate(self.difference.removed):
            choice = cleaned.get(f"gone-{number}", "")
            if choice.startswith("to:"):
                if choice in taken:
                    self.add_error(f"gone-{number}", f"{taken[choice]} becomes that field already.")
                taken[choice] = pattern
            if choice == "split" and not cleaned.get(f"by-{number}"):
                self.add_error(f"by-{number}", "Give the expression to split by.")
        return cleaned

    def steps(self) -> list[Step]:
        """The mapping as ``labeling.schema_migration.mapping`` takes it."""
        found: list[Step] = []
        for number, pattern in enumerate(self.difference.removed):
            choice = self.cleaned_data[f"gone-{number}"]
            if choice == "split":
                found.append(self._split(pattern, self.cleaned_data[f"by-{number}"]))
            elif choice.startswith("to:"):
                found.append({"do": "rename", "field": pattern, "to": choice.removeprefix("to:")})
            else:
                found.append({"do": "drop", "field": pattern})
        for number, (pattern, node) in enumerate(self.difference.added.items()):
            text = self.cleaned_data[f"new-{number}"].strip()
            if text:
                found.append({"do": "default", "field": pattern, "value": _value(text, node)})
        for number, pattern in enumerate(self.difference.retyped):
            if self.cleaned_data[f"type-{number}"]:
                found.append({"do": "convert", "field": pattern})
        for number, (pattern, gone) in enumerate(self.difference.narrowed.items()):
            values = {code: self.cleaned_data[f"choice-{number}-{place}"] for place, code in enumerate(gone)}
            values = {old: new for old, new in values.items() if new}
            if values:
                found.append({"do": "replace", "field": pattern, "values": values})
        return found

    def _split(self, pattern: str, by: str) -> Step:
        """Each new field in the same rows whose name is that of a group takes what the group holds."""
        targets = {last_name(name): name for name in self.difference.added if rows_of(name) == rows_of(pattern)}
        into = {name: target for name, target in targets.items() if f"(?P<{name}>" in by}
        return {"do": "split", "field": pattern, "by": by, "into": into}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else dumps(value)


def _value(text: str, node: Node) -> Any:
    """A typed default as a value of the field; JSON for whole objects and arrays."""
    if node.field is not None:
        read = parse_typed(text, node.field)
        return text if read is None and text.casefold() != "null" else read
    try:
        return loads(text)
    except JsonError:
        return text


def _kind(node: Node) -> str:
    words = {"string": "a text", "number": "a number", "integer": "a whole number", "boolean": "yes or no"}
    if node.field is None:
        return "an object" if node.shape == "object" else "a list"
    if node.field.enum:
        return "a choice"
    return words.get(node.field.type, node.field.type)
