"""Mappings between two schemas: the differences, the steps, and their effect on labels. Pure.

A mapping is a list of steps, which are applied in this order:

    {"do": "split",   "field": "address", "by": "(?P<street>.+), (?P<city>.+)", "into": {"street": "street", ...}}
    {"do": "rename",  "field": "vendor", "to": "seller.name"}
    {"do": "replace", "field": "currency", "values": {"\\"EURO\\"": "\\"EUR\\""}}     JSON texts, old -> new
    {"do": "convert", "field": "total"}                                            parsed as the new type
    {"do": "drop",    "field": "comment"}
    {"do": "default", "field": "currency", "value": "EUR"}                         if it is absent

``field`` is a pattern of the old schema; for ``replace``, ``convert`` and ``default``, which follow the renaming, of
the new one. Steps apply to each row of an array, so a field cannot leave its array. A value that a step cannot parse is
unchanged; the new schema validates it.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Final

import re2  # type: ignore[import-untyped]
from rapidfuzz import fuzz

from labeling.form.merge import MISSING
from slmstudio.contract.json_text import JsonError, dumps, loads
from slmstudio.contract.schema.compiled import CompiledSchema, Node, ValueProblem
from slmstudio.contract.schema.structure import split
from slmstudio.contract.values.kinds.values import parse_typed


def last_name(pattern: str) -> str:
    """The last name in a pattern; for items of a list, the name of the list."""
    return str(next((step for step in reversed(split(pattern)) if step is not None), ""))


def rows_of(pattern: str) -> tuple[Any, ...]:
    """The part of a pattern up to its last ``[]``."""
    steps = split(pattern)
    return steps[: max((place + 1 for place, step in enumerate(steps) if step is None), default=0)]


def parts(pattern: str) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """The rows that contain a field, and the names from there. For items of a plain list, the list is the field."""
    rows = rows_of(pattern)
    names = split(pattern)[len(rows) :]
    if names:
        return rows, names
    whole = split(pattern)[:-1]
    outer = max((place + 1 for place, step in enumerate(whole) if step is None), default=0)
    return whole[:outer], whole[outer:]


# -- the steps: their format, validation and description ---------------------------------------------------------------

Step = dict[str, Any]
#: steps of a path; None stands for the rows of an array
Names = tuple[Any, ...]
#: changes an object that holds the field of a step
Change = Callable[[dict[str, Any]], object]
ORDER: Final = ("split", "rename", "replace", "convert", "drop", "default")
_KEYS: Final = {
    "split": {"field", "by", "into"},
    "rename": {"field", "to"},
    "replace": {"field", "values"},
    "convert": {"field"},
    "drop": {"field"},
    "default": {"field", "value"},
}
_MAX_STEPS = 200
_MAX_PATTERN = 500


class MappingError(ValueError):
    """A mapping that cannot be applied; ``step`` is the number of the step, from 1, or 0 for the whole."""

    def __init__(self, message: str, step: int = 0) -> None:
        super().__init__(f"Step {step}: {message}" if step else message)
        self.step = step


def check(steps: Any, old: CompiledSchema, new: CompiledSchema) -> list[Step]:
    """The steps in the order in which they are applied.

    Raises:
        MappingError: with the number of the invalid step.
    """
    if not isinstance(steps, list):
        raise MappingError("A mapping is a list of steps.")
    if len(steps) > _MAX_STEPS:
        raise MappingError(f"A mapping has at most {_MAX_STEPS} steps.")
    before = {node.pattern for node in old.root.nodes()}
    after = {node.pattern for node in new.root.nodes()}
    for number, step in enumerate(steps, 1):
        _check_step(number, step, before, after)
    return sorted(steps, key=lambda step: ORDER.index(step["do"]))


def _check_step(number: int, step: Any, before: set[str], after: set[str]) -> None:
    if not isinstance(step, dict) or step.get("do") not in ORDER:
        raise MappingError(f'"do" must be one of {", ".join(ORDER)}.', number)
    do = step["do"]
    if set(step) != _KEYS[do] | {"do"}:
        raise MappingError(f"{do} takes {' and '.join(sorted(_KEYS[do]))}.", number)
    name = step["field"]
    known = after if do in ("default", "convert", "replace") else before
    if not isinstance(name, str) or name not in known:
        which = "new" if known is after else "old"
        raise MappingError(f"there is no field {name!r} in the {which} schema.", number)
    if do == "rename":
        _check_target(number, name, step["to"], after)
    elif do == "replace" and not (isinstance(step["values"], dict) and all(map(_is_json, step["values"].items()))):
        raise MappingError('"values" maps JSON texts to JSON texts: {"\\"old\\"": "\\"new\\""}.', number)
    elif do == "split":
        _check_split(number, step, after)


def _check_target(number: int, name: str, target: Any, after: set[str]) -> None:
    if not isinstance(target, str) or target not in after:
        raise MappingError(f"there is no field {target!r} in the new schema.", number)
    if rows_of(name) != rows_of(target):
        raise MappingError(f"{name} cannot become {target}: a field stays within its rows.", number)


def _is_json(pair: tuple[Any, Any]) -> bool:
    try:
        return all(isinstance(text, str) and (loads(text), True)[1] for text in pair)
    except JsonError:
        return False


def _check_split(number: int, step: Step, after: set[str]) -> None:
    try:
        groups = set(compiled_expression(step["by"]).groupindex)
    except (re2.error, TypeError, AttributeError) as error:
        raise MappingError(f"{step['by']!r} is not a regular expression: {_message(error)}.", number) from error
    into = step["into"]
    if not isinstance(into, dict) or not into or set(into) - groups:
        raise MappingError(
            'the expression needs a named group, (?P<street>.+), for each name in "into"; '
            f"it has {', '.join(sorted(groups)) or 'none'}.",
            number,
        )
    for target in into.values():
        _check_target(number, step["field"], target, after)


def _message(error: Exception) -> str:
    text = error.args[0] if error.args else error
    return text.decode(errors="replace") if isinstance(text, bytes) else str(text)


def compiled_expression(pattern: Any) -> Any:
    """A regular expression with linear matching time. Raises TypeError or ``re2.error``."""
    if not isinstance(pattern, str) or len(pattern) > _MAX_PATTERN:
        raise TypeError(f"at most {_MAX_PATTERN} characters")
    options = re2.Options()
    options.log_errors = False
    return re2.compile(pattern, options)


def in_words(step: Step) -> str:
    """The description of a step."""
    name = step["field"]
    if step["do"] == "rename":
        return f"{name} becomes {step['to']}"
    if step["do"] == "split":
        return f"{name} is split into {', '.join(step['into'].values())}"
    if step["do"] == "default":
        return f"{name} is {dumps(step['value'])} if it is absent"
    if step["do"] == "replace":
        return f"{name}: " + ", ".join(f"{old} becomes {new}" for old, new in step["values"].items())
    return f"{name} is {'parsed as the new type' if step['do'] == 'convert' else 'dropped'}"


# -- the differences between two schemas, and a suggested mapping ------------------------------------------------------

#: minimum similarity (0 to 100) of the names of a renamed field
_MIN_SIMILARITY = 55


@dataclass(slots=True)
class Difference:
    """The differences between two schemas, by pattern; of added and removed objects only the top one.

    ``narrowed``: removed choices per field, as JSON texts.
    """

    removed: dict[str, Node] = field(default_factory=dict)
    added: dict[str, Node] = field(default_factory=dict)
    retyped: dict[str, tuple[Node, Node]] = field(default_factory=dict)
    narrowed: dict[str, list[str]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.removed or self.added or self.retyped or self.narrowed)


def difference(old: CompiledSchema, new: CompiledSchema) -> Difference:
    """The differences from the old schema to the new one."""
    result = Difference()
    _compare(old.root, new.root, result)
    result.added = {node.pattern: node for node in new.root.nodes() if node.pattern in result.added}
    return result


def _compare(old: Node, new: Node, result: Difference) -> None:
    if old.shape == new.shape == "object":
        for key in dict.fromkeys([*old.children, *new.children]):
            before, after = old.children.get(key), new.children.get(key)
            if after is None and before is not None:
                result.removed[before.pattern] = before
            elif before is None and after is not None:
                result.added[after.pattern] = after
            elif before is not None and after is not None:
                _compare(before, after, result)
        return
    if old.item is not None and new.item is not None:
        _compare(old.item, new.item, result)
        return
    if _type(old) != _type(new):
        result.retyped[new.pattern] = (old, new)
        return
    kept = _choices(new)
    gone = [code for code in _choices(old) if code not in kept] if kept else []
    if gone:
        result.narrowed[new.pattern] = gone


def _type(node: Node) -> str:
    return node.shape if node.field is None else node.field.type


def _choices(node: Node) -> list[str]:
    return [dumps(value) for value in node.field.enum] if node.field is not None else []


def suggest_mapping(old: CompiledSchema, new: CompiledSchema) -> list[Step]:
    """The most likely mapping, for the user to review."""
    differs = difference(old, new)
    steps: list[Step] = []
    free = dict(differs.added)
    lone = _single_moves(differs)
    for pattern, node in differs.removed.items():
        target = _similar_name(pattern, node, free) or lone.get(pattern, "")
        if target in free:
            steps.append({"do": "rename", "field": pattern, "to": target})
            del free[target]
        else:
            steps.append({"do": "drop", "field": pattern})
    steps.extend({"do": "convert", "field": pattern} for pattern in differs.retyped)
    for pattern, node in free.items():
        declared = node.schema.get("default", node.schema.get("const"))
        if declared is not None:
            steps.append({"do": "default", "field": pattern, "value": declared})
    return steps


def _similar_name(pattern: str, node: Node, free: Mapping[str, Node]) -> str:
    """The new field with the same rows and type and the most similar name; "" without one."""
    scores = {
        other: fuzz.WRatio(last_name(pattern), last_name(other))
        for other, there in free.items()
        if rows_of(other) == rows_of(pattern) and _type(there) == _type(node)
    }
    best = max(scores, key=lambda name: scores[name], default="")
    return best if best and scores[best] >= _MIN_SIMILARITY else ""


def _single_moves(differs: Difference) -> dict[str, str]:
    """Old field -> new field, if an object lost exactly one field of a kind and gained exactly one of that kind: most
    likely a renamed field (company, seller).
    """
    pairs: dict[Any, tuple[list[str], list[str]]] = {}
    for side, nodes in enumerate((differs.removed, differs.added)):
        for pattern, node in nodes.items():
            kind = node.shape if node.field is None else (node.field.type, node.field.kind, node.field.format)
            pairs.setdefault((split(pattern)[:-1], kind), ([], []))[side].append(pattern)
    return {gone[0]: came[0] for gone, came in pairs.values() if len(gone) == len(came) == 1}


# -- why a change requeues a label -------------------------------------------------------------------------------------

#: maximum number of problems in a reason
MAX_PROBLEMS = 3
_INDEX = re.compile(r"\[\d+\]")


def reason(old: CompiledSchema, new: CompiledSchema, problems: Sequence[ValueProblem]) -> str:
    """Why a label is invalid after the change: ``field po_number is new; total must be a number``."""
    added = difference(old, new).added
    words: list[str] = []
    for problem in problems:
        is_new = problem.rule == "required" and _INDEX.sub("[]", problem.path) in added
        text = f"field {problem.path} is new" if is_new else f"{problem.path} {problem.message}".strip()
        words += [] if text in words else [text]
    more = len(words) - MAX_PROBLEMS
    return "; ".join(words[:MAX_PROBLEMS]) + (f"; and {more} more" if more > 0 else "")


# -- the effect of a mapping on a value --------------------------------------------------------------------------------


def mapper(steps: list[Step], new: CompiledSchema) -> Callable[[Any], Any]:
    """A function that maps a value of the old schema to the new one; ``steps`` as ``check`` returns them."""
    nodes = {node.pattern: node for node in new.root.nodes()}
    actions: list[tuple[Names, Change]] = []
    for step in steps:
        rows, names = parts(step["field"])
        actions.append((rows, _ACTIONS[step["do"]](step, names, nodes)))

    def apply(value: Any) -> Any:
        result = deepcopy(value)
        for rows, change in actions:
            for holder in _holders(result, rows):
                change(holder)
        return result

    return apply


def _holders(value: Any, steps: tuple[Any, ...]) -> Iterator[dict[str, Any]]:
    """The objects in the rows of a pattern, which hold its field."""
    if not steps:
        if isinstance(value, dict):
            yield value
        return
    head, rest = steps[0], steps[1:]
    if head is None:
        for row in value if isinstance(value, list) else ():
            yield from _holders(row, rest)
    elif isinstance(value, dict) and head in value:
        yield from _holders(value[head], rest)


def _take(holder: dict[str, Any], names: Names, *, remove: bool) -> Any:
    for name in names[:-1]:
        inner = holder.get(name)
        if not isinstance(inner, dict):
            return MISSING
        holder = inner
    if names[-1] not in holder:
        return MISSING
    return holder.pop(names[-1]) if remove else holder[names[-1]]


def _put(holder: dict[str, Any], names: Names, value: Any) -> None:
    for name in names[:-1]:
        inner = holder.get(name)
        if not isinstance(inner, dict):
            inner = holder[name] = {}
        holder = inner
    holder[names[-1]] = value


def _rename(step: Step, names: Names, nodes: Mapping[str, Node]) -> Change:
    _, target = parts(step["to"])

    def change(holder: dict[str, Any]) -> None:
        taken = _take(holder, names, remove=True)
        if taken is not MISSING:
            _put(holder, target, taken)

    return change


def _drop(step: Step, names: Names, nodes: Mapping[str, Node]) -> Change:
    return lambda holder: _take(holder, names, remove=True)


def _default(step: Step, names: Names, nodes: Mapping[str, Node]) -> Change:
    def change(holder: dict[str, Any]) -> None:
        if _take(holder, names, remove=False) is MISSING:
            _put(holder, names, deepcopy(step["value"]))

    return change


def _replace(step: Step, names: Names, nodes: Mapping[str, Node]) -> Change:
    values = {dumps(loads(old)): loads(new) for old, new in step["values"].items()}

    def swap(value: Any) -> Any:
        if isinstance(value, list):
            return [swap(item) for item in value]
        return values.get(dumps(value), value)

    return _each(names, swap)


def _convert(step: Step, names: Names, nodes: Mapping[str, Node]) -> Change:
    node = nodes[step["field"]]
    if step["field"].endswith("[]"):
        return _each(names, lambda value: [_read_again(item, node) for item in _listed(value)])
    return _each(names, lambda value: _read_again(value, node))


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _each(names: Names, convert: Callable[[Any], Any]) -> Change:
    def change(holder: dict[str, Any]) -> None:
        old = _take(holder, names, remove=False)
        if old is not MISSING:
            _put(holder, names, convert(old))

    return change


def _read_again(value: Any, node: Node) -> Any:
    """The value as the new type: a single value becomes a list and vice versa; texts are parsed as typed."""
    if node.item is not None:
        inner = value if isinstance(value, list) else [] if value is None else [value]
        return [_read_again(item, node.item) for item in inner]
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if node.field is None or isinstance(value, dict | list) or value is None:
        return value
    if node.field.type == "string" and not isinstance(value, str):
        return dumps(value)
    read = parse_typed(value if isinstance(value, str) else dumps(value), node.field)
    return value if read is None else read


def _split(step: Step, names: Names, nodes: Mapping[str, Node]) -> Change:
    expression = compiled_expression(step["by"])
    targets = {group: (parts(target)[1], nodes[target]) for group, target in step["into"].items()}

    def change(holder: dict[str, Any]) -> None:
        old = _take(holder, names, remove=False)
        match = expression.fullmatch(old) if isinstance(old, str) else None
        if match is None:
            return
        _take(holder, names, remove=True)
        for group, (target, node) in targets.items():
            if match[group] is not None:
                _put(holder, target, _read_again(match[group].strip(), node))

    return change


_ACTIONS: Final[dict[str, Callable[[Step, Names, Mapping[str, Node]], Change]]] = {
    "split": _split,
    "rename": _rename,
    "replace": _replace,
    "convert": _convert,
    "drop": _drop,
    "default": _default,
}
