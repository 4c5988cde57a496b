"""The output of a document from predictions for single fields, by the schema. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from slmstudio.contract.json_text import dumps, loads
from slmstudio.contract.schema.structure import Node, split

_MISSING = object()


def value_at(value: Any, pattern: str) -> Any:
    """The value at a path, whose rows have numbers; None where there is none."""
    for step in split(pattern):
        if isinstance(step, int) and isinstance(value, list):
            value = value[step] if step < len(value) else None
        else:
            value = value.get(step) if isinstance(value, dict) else None
    return value


def usual_values(gold: Mapping[str, Sequence[Any]]) -> dict[str, str]:
    """Field -> its most frequent value that is not null, in canonical JSON."""
    usual = {}
    for pattern, values in gold.items():
        counts = Counter(dumps(value) for value in values if value is not None)
        if counts:
            usual[pattern] = min(counts, key=lambda text: (-counts[text], text))
    return usual


def assembled(root: Node, values: Mapping[str, Any], usual: Mapping[str, str]) -> Any:
    """The output with predicted ``values`` by field, lists included. It is valid under the schema except where a value
    that it requires is unknown.

    ``usual``: the values in canonical JSON of required fields without a prediction that must not be null.
    """
    output = _assembled(root, values, usual)
    return {} if output is _MISSING else output


def _assembled(node: Node, values: Mapping[str, Any], usual: Mapping[str, str]) -> Any:
    if node.shape == "object" and node.pattern not in values:
        parts = {name: _assembled(child, values, usual) for name, child in node.children.items()}
        present = {name: value for name, value in parts.items() if value is not _MISSING}
        is_empty = all(value is None for value in present.values())
        return present if node.required or not is_empty else None if node.nullable else _MISSING
    value = values.get(node.pattern)
    if value is not None:
        return value
    if node.nullable:
        return None
    if not node.required:
        return _MISSING
    if node.shape == "array":
        return []
    return loads(usual[node.pattern]) if node.pattern in usual else _MISSING
