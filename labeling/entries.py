"""What a person typed, and the JSON value it stands for: both ways, losing nothing.

An *entry* has the shape of the value it stands for, but every leaf is what stands in the control: a text as typed
("Jan 14, 2026", "1,248.50"), true or false, the JSON text of a choice, or None for "not in the document". A key that is
missing is a field nobody filled. What a control cannot show is ``{"$json": "its JSON text"}``. So an entry holds no
numbers, and a browser cannot round them.

``from_entry(node, to_entry(node, value)).value`` is ``value``, digit for digit, whatever the value.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import simplejson

from slmstudio.contract.jsontext import JsonError, dumps, loads
from slmstudio.contract.kinds import display, parse_typed
from slmstudio.contract.schema import Problem
from slmstudio.contract.structure import join

if TYPE_CHECKING:
    from labeling.formtree import FormNode

RAW: Final = "$json"
#: kinds whose text is kept as typed
_PLAIN: Final = ("exact", "text", "identifier", "address", "free", "class")
#: what people type for "there is none", where a number or a date is asked for and null is allowed
_NOTHING: Final = ("-", "–", "n/a", "none", "null")


class _Absent:
    """A field that nobody filled; false in a condition."""

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = _Absent()


@dataclass(frozen=True, slots=True)
class Typed:
    """An entry where a value could stand: to be read by the form of the schema that is in force."""

    entry: Any


@dataclass(slots=True)
class Parsed:
    """What an entry stands for. ``shown`` says, per path, how a typed text was understood, where that differs."""

    value: Any
    problems: list[Problem] = field(default_factory=list)
    shown: dict[str, str] = field(default_factory=dict)


def raw_text(entry: Any) -> str | None:
    """The JSON text of an entry that is kept raw, else None."""
    if isinstance(entry, dict) and len(entry) == 1 and isinstance(entry.get(RAW), str):
        return str(entry[RAW])
    return None


def to_entry(node: "FormNode", value: Any) -> Any:
    """The entry for a value: what stands in the form's controls when the value is opened."""
    if value is None:
        return None
    if node.shape == "group" and isinstance(value, dict) and RAW not in value:
        children = {child.key: child for child in node.children}
        return {
            name: to_entry(children[name], inner) if name in children else {RAW: dumps(inner)}
            for name, inner in value.items()
        }
    if node.item is not None and isinstance(value, list):
        return [to_entry(node.item, inner) for inner in value]
    if node.shape == "checks" and isinstance(value, list):
        codes = [dumps(inner) for inner in value]
        known = {option.code for option in node.options}
        if len(set(codes)) == len(codes) and set(codes) <= known:
            return codes
    elif node.shape == "boolean" and isinstance(value, bool):
        return value
    elif node.shape == "choice":
        code = dumps(value)
        if any(option.code == code for option in node.options):
            return code
    elif node.field is not None and node.shape != "json" and not isinstance(value, dict | list | bool):
        text = _typeable(node, value)
        if text is not None:
            return text
    return {RAW: dumps(value)}


def _typeable(node: "FormNode", value: Any) -> str | None:
    """A text that, typed into the control, gives exactly this value; None where there is none."""
    assert node.field is not None
    exact = dumps(value)
    plain = value if isinstance(value, str) else exact
    for text in (plain, display(value, node.field), plain.replace(".", ",")):
        if not text or "\r" in text or ("\n" in text and node.shape != "lines"):
            continue
        if dumps(_typed(node, text)) == exact:
            return text
    return None


def from_entry(node: "FormNode", entry: Any) -> Parsed:
    """The value that an entry stands for, with problems of its own: JSON that is none, rows left empty.

    Takes any JSON value: what does not have the shape of the form is taken as the value itself.
    """
    parsed = Parsed(None)
    value = _value(node, entry, "", parsed)
    parsed.value = _empty(node) if value is ABSENT else value
    return parsed


def _empty(node: "FormNode") -> Any:
    if node.shape == "group":
        return {}
    return [] if node.item is not None or node.shape == "checks" else None


def _value(node: "FormNode", entry: Any, path: str, parsed: Parsed) -> Any:
    if entry is ABSENT or entry is None or entry == "":
        return None if entry is None else ABSENT
    raw = raw_text(entry)
    if raw is not None:
        return _raw_value(raw, path, parsed)
    if node.shape == "group" and isinstance(entry, dict):
        return _group_value(node, entry, path, parsed)
    if node.item is not None and isinstance(entry, list):
        return [_row_value(node.item, inner, join(path, number), parsed) for number, inner in enumerate(entry)]
    if node.shape == "checks" and isinstance(entry, list):
        return [_choice_value(node, code) for code in entry]
    if isinstance(entry, str):
        if node.shape == "choice":
            return _choice_value(node, entry)
        if node.shape == "json":
            return _raw_value(entry, path, parsed)
        if node.field is not None:
            return _leaf_value(node, entry, path, parsed)
    return entry


def _group_value(node: "FormNode", entry: dict[str, Any], path: str, parsed: Parsed) -> dict[str, Any]:
    children = {child.key: child for child in node.children}
    result = {}
    for name, inner in entry.items():
        here = join(path, name)
        if name in children:
            value = _value(children[name], inner, here, parsed)
        else:
            raw = raw_text(inner)
            value = inner if raw is None else _raw_value(raw, here, parsed)
        if value is not ABSENT:
            result[name] = value
    return result


def _row_value(item: "FormNode", entry: Any, path: str, parsed: Parsed) -> Any:
    value = _value(item, entry, path, parsed)
    if value is ABSENT or (value == {} and item.shape == "group"):
        parsed.problems.append(Problem(path, "empty", "this row is empty: fill it or remove it"))
        return {} if item.shape == "group" else "" if value is ABSENT and item.is_leaf else _empty(item)
    return value


def _choice_value(node: "FormNode", code: Any) -> Any:
    return next((option.value for option in node.options if option.code == code), code)


def _raw_value(text: str, path: str, parsed: Parsed) -> Any:
    if not text.strip():
        return ABSENT
    try:
        return loads(text)
    except JsonError as error:
        parsed.problems.append(Problem(path, "json", f"is not JSON: {error}"))
        return text


def _leaf_value(node: "FormNode", text: str, path: str, parsed: Parsed) -> Any:
    if not text.strip():
        return ABSENT
    if node.nullable and node.shape in ("number", "date") and text.strip().casefold() in _NOTHING:
        parsed.shown[path] = "null"
        return None
    value = _typed(node, text)
    shown = value if isinstance(value, str) else dumps(value)
    if shown != text.strip():
        parsed.shown[path] = shown
    return value


def _typed(node: "FormNode", text: str) -> Any:
    assert node.field is not None
    text = text.strip()
    if node.field.type == "string" and node.field.kind in _PLAIN:
        return text
    value = parse_typed(text, node.field)
    return text if value is None else value


def pretty(value: Any) -> str:
    """A value as the JSON view shows it: indented, numbers with the digits they have."""
    return str(simplejson.dumps(value, use_decimal=True, ensure_ascii=False, indent=2))


def leaf_values(node: "FormNode", value: Any, path: str = "") -> Iterator[tuple[str, "FormNode", Any]]:
    """(path, node, value) of every leaf that has a value other than null, in the order of the form."""
    if value is None:
        return
    if node.shape == "group":
        if isinstance(value, dict):
            for child in node.children:
                yield from leaf_values(child, value.get(child.key), join(path, child.key))
    elif node.item is not None:
        if isinstance(value, list):
            for number, inner in enumerate(value):
                yield from leaf_values(node.item, inner, join(path, number))
    elif node.is_leaf:
        yield path, node, value
