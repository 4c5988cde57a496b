"""The effect of a mapping on a value. Pure."""

from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from typing import Any, Final

from labeling.schema_migration.mapping.patterns import parts
from labeling.schema_migration.mapping.steps import Step, compiled_expression
from slmstudio.contract.json_text import dumps, loads
from slmstudio.contract.schema.compiled import CompiledSchema, Node
from slmstudio.contract.values.kinds.values import parse_typed


def mapper(steps: list[Step], new: CompiledSchema) -> Callable[[Any], Any]:
    """A function that maps a value of the old schema to the new one; ``steps`` as ``check`` returns them."""
    nodes = {node.pattern: node for node in new.root.nodes()}
    actions: list[Callable[[Any], None]] = []
    for step in steps:
        if step["do"] == "split":
            step = {**step, "by": compiled_expression(step["by"])}
        actions.append(_ACTIONS[step["do"]](step, nodes))

    def apply(value: Any) -> Any:
        result = deepcopy(value)
        for action in actions:
            action(result)
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


class _Missing:
    pass


_GONE: Final = _Missing()


def _take(holder: dict[str, Any], names: tuple[Any, ...], *, remove: bool) -> Any:
    for name in names[:-1]:
        inner = holder.get(name)
        if not isinstance(inner, dict):
            return _GONE
        holder = inner
    if names[-1] not in holder:
        return _GONE
    return holder.pop(names[-1]) if remove else holder[names[-1]]


def _put(holder: dict[str, Any], names: tuple[Any, ...], value: Any) -> None:
    for name in names[:-1]:
        inner = holder.get(name)
        if not isinstance(inner, dict):
            inner = holder[name] = {}
        holder = inner
    holder[names[-1]] = value


def _rename(step: Step, nodes: Mapping[str, Node]) -> Callable[[Any], None]:
    (rows, names), (_, target) = parts(step["field"]), parts(step["to"])

    def do(value: Any) -> None:
        for holder in _holders(value, rows):
            taken = _take(holder, names, remove=True)
            if taken is not _GONE:
                _put(holder, target, taken)

    return do


def _drop(step: Step, nodes: Mapping[str, Node]) -> Callable[[Any], None]:
    rows, names = parts(step["field"])

    def do(value: Any) -> None:
        for holder in _holders(value, rows):
            _take(holder, names, remove=True)

    return do


def _default(step: Step, nodes: Mapping[str, Node]) -> Callable[[Any], None]:
    rows, names = parts(step["field"])

    def do(value: Any) -> None:
        for holder in _holders(value, rows):
            if _take(holder, names, remove=False) is _GONE:
                _put(holder, names, deepcopy(step["value"]))

    return do


def _replace(step: Step, nodes: Mapping[str, Node]) -> Callable[[Any], None]:
    rows, names = parts(step["field"])
    values = {dumps(loads(old)): loads(new) for old, new in step["values"].items()}

    def swap(value: Any) -> Any:
        if isinstance(value, list):
            return [swap(item) for item in value]
        return values.get(dumps(value), value)

    return _each(rows, names, swap)


def _convert(step: Step, nodes: Mapping[str, Node]) -> Callable[[Any], None]:
    rows, names = parts(step["field"])
    node = nodes[step["field"]]
    if step["field"].endswith("[]"):
        return _each(rows, names, lambda value: [_read_again(item, node) for item in _listed(value)])
    return _each(rows, names, lambda value: _read_again(value, node))


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _each(rows: tuple[Any, ...], names: tuple[Any, ...], change: Callable[[Any], Any]) -> Callable[[Any], None]:
    def do(value: Any) -> None:
        for holder in _holders(value, rows):
            old = _take(holder, names, remove=False)
            if old is not _GONE:
                _put(holder, names, change(old))

    return do


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


def _split(step: Step, nodes: Mapping[str, Node]) -> Callable[[Any], None]:
    rows, names = parts(step["field"])
    targets = {group: (parts(target)[1], nodes[target]) for group, target in step["into"].items()}

    def do(value: Any) -> None:
        for holder in _holders(value, rows):
            old = _take(holder, names, remove=False)
            match = step["by"].fullmatch(old) if isinstance(old, str) else None
            if match is None:
                continue
            _take(holder, names, remove=True)
            for group, (target, node) in targets.items():
                if match[group] is not None:
                    _put(holder, target, _read_again(match[group].strip(), node))

    return do


_ACTIONS: Final[dict[str, Callable[[Step, Mapping[str, Node]], Callable[[Any], None]]]] = {
    "split": _split,
    "rename": _rename,
    "replace": _replace,
    "convert": _convert,
    "drop": _drop,
    "default": _default,
}
