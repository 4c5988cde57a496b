"""Converts between form entries and JSON values, both ways without loss.

An *entry* has the shape of its value, but every leaf is the state of a control: a text as typed ("Jan 14, 2026",
"1,248.50"), true or false, the JSON text of a choice, or None for "not in the document". A missing key is an empty
field. A value that a control cannot show is ``{"$json": "its JSON text"}``. An entry contains no numbers, so a browser
cannot round them.

If a value takes one of several forms, its entry is ``{"$form": number, "$value": entry}``. A map is a list of rows,
``{"key": name, "value": entry}``, so names can be typed; an object with fields and additional names has these rows
under ``"$more"``.

``from_entry(node, to_entry(node, value)).value`` is ``value``, digit for digit, whatever the value.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import simplejson

from labeling.form.nodes import FORM, MORE, RAW, VALUE, FormNode, children_with_values, form_of
from slmstudio.contract.json_text import JsonError, dumps, loads
from slmstudio.contract.schema.compiled import ValueProblem
from slmstudio.contract.schema.structure import join, split
from slmstudio.contract.values.kinds.registry import KINDS
from slmstudio.contract.values.kinds.values import format_value, parse_typed

#: texts that mean null in number and date fields
_NOTHING: Final = ("-", "–", "n/a", "none", "null")


class _Absent:
    """An empty field; falsy."""

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = _Absent()


@dataclass(frozen=True, slots=True)
class FormEntry:
    """A value as a form entry, to be parsed with the current schema."""

    entry: Any


@dataclass(frozen=True, slots=True)
class JsonEntry:
    """A value from the JSON view. ``typed``: texts in it that were typed into the form, by path."""

    value: Any
    typed: Mapping[str, str]


@dataclass(slots=True)
class Parsed:
    """The value of an entry. ``shown``: path -> how a typed text was understood, where that differs. ``document``: the
    text of the document, for ambiguous dates.
    """

    value: Any
    problems: list[ValueProblem] = field(default_factory=list)
    shown: dict[str, str] = field(default_factory=dict)
    document: str = ""


def raw_text(entry: Any) -> str | None:
    """The JSON text of a raw entry, else None."""
    if isinstance(entry, dict) and len(entry) == 1 and isinstance(entry.get(RAW), str):
        return str(entry[RAW])
    return None


def entry_form(node: FormNode, entry: Any) -> int:
    """The number of the form that an entry of a ``variants`` node has; the first by default."""
    number = entry.get(FORM) if isinstance(entry, dict) else None
    return number if type(number) is int and 0 <= number < len(node.forms) else 0


def to_entry(node: FormNode, value: Any) -> Any:
    """The entry for a value: the state of the form's controls."""
    if value is None:
        return None
    if node.shape == "variants":
        number = form_of(node, value)
        return {FORM: number, VALUE: to_entry(node.forms[number], value)}
    if node.shape == "group" and isinstance(value, dict) and RAW not in value:
        return _group_entry(node, value)
    if node.shape == "map" and isinstance(value, dict) and all(map(_is_typeable_name, value)):
        return _map_entry(node, value)
    if node.shape == "tuple" and isinstance(value, list) and len(value) <= len(node.children):
        return [to_entry(child, inner) for child, inner in zip(node.children, value, strict=False)]
    if node.shape in ("list", "table") and isinstance(value, list):
        assert node.item is not None
        return [to_entry(node.item, inner) for inner in value]
    return _leaf_entry(node, value)


def _group_entry(node: FormNode, value: dict[str, Any]) -> Any:
    children = {child.key: child for child in node.children}
    more = children.pop(MORE, None)
    result = {}
    others = {}
    for name, inner in value.items():
        if name in children:
            result[name] = to_entry(children[name], inner)
        elif more is None:
            result[name] = {RAW: dumps(inner)}
        else:
            others[name] = inner
    if more is not None and others:
        result[MORE] = to_entry(more, others)
    return result


def _map_entry(node: FormNode, value: dict[str, Any]) -> list[dict[str, Any]]:
    names, values = node.names, node.values
    return [
        {"key": to_entry(names, name) if names.shape == "choice" else name, "value": to_entry(values, inner)}
        for name, inner in value.items()
    ]


def _is_typeable_name(name: str) -> bool:
    return bool(name) and name == name.strip() and "\n" not in name and "\r" not in name


def _leaf_entry(node: FormNode, value: Any) -> Any:
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
    elif node.is_leaf and node.field is not None and node.shape != "json" and not isinstance(value, dict | list | bool):
        text = _typeable(node, value)
        if text is not None:
            return text
    return {RAW: dumps(value)}


def _typeable(node: FormNode, value: Any) -> str | None:
    """A text that gives exactly this value when typed into the control, or None."""
    assert node.field is not None
    exact = dumps(value)
    plain = value if isinstance(value, str) else exact
    for text in (plain, format_value(value, node.field), plain.replace(".", ",")):
        if not text or "\r" in text or ("\n" in text and node.shape != "lines") or _is_null_word(node, text):
            continue
        if dumps(_typed(node, text)) == exact:
            return text
    return None


def from_entry(node: FormNode, entry: Any, document: str = "") -> Parsed:
    """The value of an entry, with problems such as invalid JSON and empty rows.

    Accepts any JSON value: one without the shape of the form is the value itself. An ambiguous date stays as typed,
    unless the other dates of ``document`` decide.
    """
    parsed = Parsed(None, document=document)
    value = _value(node, entry, "", parsed)
    parsed.value = _empty(node) if value is ABSENT else value
    return parsed


def from_json_entry(node: FormNode, written: JsonEntry, document: str = "") -> Parsed:
    """The value of the JSON view. Texts that were typed into the form and are unchanged are parsed as typed;
    ``written.value`` is modified in place.
    """
    parsed = Parsed(written.value, document=document)
    unread = [leaf for leaf in leaf_values(node, written.value) if written.typed.get(leaf[0]) == leaf[2]]
    for path, leaf, text in unread:
        value = _leaf_value(leaf, text, path, parsed)
        steps = split(path)
        place = written.value
        for step in steps[:-1]:
            place = place[step]
        if not steps:
            parsed.value = value
        elif value is not ABSENT:
            place[steps[-1]] = value
    return parsed


def _empty(node: FormNode) -> Any:
    if node.shape in ("group", "map"):
        return {}
    if node.shape == "variants":
        return _empty(node.forms[0])
    return [] if node.item is not None or node.shape in ("checks", "tuple") else None


def _value(node: FormNode, entry: Any, path: str, parsed: Parsed) -> Any:
    if entry is ABSENT or entry is None or entry == "":
        return None if entry is None else ABSENT
    raw = raw_text(entry)
    if raw is not None:
        return _raw_value(raw, path, parsed)
    if node.shape == "variants" and isinstance(entry, dict) and FORM in entry:
        return _value(node.forms[entry_form(node, entry)], entry.get(VALUE, ABSENT), path, parsed)
    if node.shape == "group" and isinstance(entry, dict):
        return _group_value(node, entry, path, parsed)
    if isinstance(entry, list):
        return _list_value(node, entry, path, parsed)
    if isinstance(entry, str):
        if node.shape == "choice":
            return _choice_value(node, entry)
        if node.shape == "json":
            return _raw_value(entry, path, parsed)
        if node.field is not None and node.is_leaf:
            return _leaf_value(node, entry, path, parsed)
    return entry


def _list_value(node: FormNode, entry: list[Any], path: str, parsed: Parsed) -> Any:
    if node.shape == "map":
        return _map_value(node, entry, path, parsed)
    if node.shape == "tuple" and len(entry) <= len(node.children):
        places = list(entry)
        while places and places[-1] == "":  # empty places at the end are absent
            places.pop()
        pairs = zip(node.children, places, strict=False)
        rows = [_row_value(child, inner, join(path, number), parsed) for number, (child, inner) in enumerate(pairs)]
        return rows or (ABSENT if entry else [])
    if node.item is not None:
        return [_row_value(node.item, inner, join(path, number), parsed) for number, inner in enumerate(entry)]
    if node.shape == "checks":
        return [_choice_value(node, code) for code in entry]
    return entry


def _group_value(node: FormNode, entry: dict[str, Any], path: str, parsed: Parsed) -> dict[str, Any]:
    children = {child.key: child for child in node.children}
    result: dict[str, Any] = {}
    for name, inner in entry.items():
        here = join(path, name)
        if name == MORE and name in children:
            value = _value(children[name], inner, path, parsed)
            if isinstance(value, dict):
                result.update({other: member for other, member in value.items() if other not in result})
            continue
        if name in children:
            value = _value(children[name], inner, here, parsed)
        else:
            raw = raw_text(inner)
            value = inner if raw is None else _raw_value(raw, here, parsed)
        if value is not ABSENT:
            result[name] = value
    return result


def _map_value(node: FormNode, rows: list[Any], path: str, parsed: Parsed) -> Any:
    """The object of a map's rows. Rows without a name or with a duplicate one get another name."""
    if not all(isinstance(row, dict) for row in rows):
        return rows
    result: dict[str, Any] = {}
    for row in rows:
        key, entry = row.get("key", ""), row.get("value", ABSENT)
        name = _name(node.names, key)
        unnamed = not name
        if unnamed and entry in (ABSENT, ""):
            parsed.problems.append(ValueProblem(path, "empty", "has an empty row: fill it or remove it"))
            continue
        wanted = name or "unnamed"
        taken = 1
        name = wanted
        while name in result:
            taken += 1
            name = f"{wanted} ({taken})"
        here = join(path, name)
        if unnamed or taken > 1:
            message = "this row has no name" if unnamed else f"another row is already named {wanted}"
            parsed.problems.append(ValueProblem(here, "name", message))
        result[name] = _row_value(node.values, entry, here, parsed)
    return result


def _name(names: FormNode, key: Any) -> str:
    """The name in a row of a map, "" for none; an unknown choice stays as typed."""
    raw = raw_text(key)
    if raw is not None:
        try:
            key = loads(raw)
        except JsonError:
            key = raw
    elif names.shape == "choice":
        key = _choice_value(names, key)
    return key.strip() if isinstance(key, str) else ""


def _row_value(item: FormNode, entry: Any, path: str, parsed: Parsed) -> Any:
    value = _value(item, entry, path, parsed)
    if value is ABSENT or (value == {} and item.shape == "group" and item.children):
        parsed.problems.append(ValueProblem(path, "empty", "this row is empty: fill it or remove it"))
        return {} if item.shape == "group" else "" if value is ABSENT and item.is_leaf else _empty(item)
    return value


def _choice_value(node: FormNode, code: Any) -> Any:
    return next((option.value for option in node.options if option.code == code), code)


def _raw_value(text: str, path: str, parsed: Parsed) -> Any:
    if not text.strip():
        return ABSENT
    try:
        return loads(text)
    except JsonError as error:
        parsed.problems.append(ValueProblem(path, "json", f"is not JSON: {error}"))
        return text


def _leaf_value(node: FormNode, text: str, path: str, parsed: Parsed) -> Any:
    if not text.strip():
        return ABSENT
    if _is_null_word(node, text):
        parsed.shown[path] = "null"
        return None
    value = _typed(node, text, parsed.document)
    shown = value if isinstance(value, str) else dumps(value)
    if shown != text.strip():
        parsed.shown[path] = shown
    return value


def _is_null_word(node: FormNode, text: str) -> bool:
    """Whether a text that is typed into the control means null."""
    return node.nullable and node.shape in ("number", "date") and text.strip().casefold() in _NOTHING


def _typed(node: FormNode, text: str, document: str = "") -> Any:
    assert node.field is not None
    text = text.strip()
    if node.field.type == "string" and not KINDS[node.field.kind].by_meaning:
        return text
    value = parse_typed(text, node.field, document)
    return text if value is None else value


def pretty(value: Any) -> str:
    """A value as indented JSON text with exact digits."""
    return str(simplejson.dumps(value, use_decimal=True, ensure_ascii=False, indent=2))


def leaf_values(node: FormNode, value: Any, path: str = "") -> Iterator[tuple[str, FormNode, Any]]:
    """(path, node, value) of every leaf that is not null, in the order of the form."""
    if value is None:
        return
    if node.is_leaf:
        yield path, node, value
        return
    for here, inner, inside in children_with_values(node, value, path):
        yield from leaf_values(inner, inside, here)
