"""Which optional fields of a label somebody answered, and which nobody filled. Pure.

A field that is absent from a label may not be in the document, or may be forgotten. ``null`` and an empty list are
answers. Where the schema takes neither, "not in the document" is noted beside the value, in the evidence of the field:
``{"absent": true}``. The label itself stays what the schema allows.
"""

from collections.abc import Iterator
from typing import Any

from labeling.form.nodes import MORE, FormNode, parts
from slmstudio.contract.schema.structure import join


def left_open(node: FormNode, value: Any, path: str = "") -> Iterator[str]:
    """The paths of the optional places of a value that hold nothing, in the order of the form.

    Of a group that is not there only the group itself; what a required field lacks is a problem of the schema.
    """
    if value is None or node.is_leaf:
        return
    if node.shape == "group":
        if not isinstance(value, dict):
            return
        for child in node.children:
            if child.key != MORE and child.key not in value and not child.required and not child.fixed:
                yield join(path, child.key)
    for here, inner, found in parts(node, value, path):
        yield from left_open(inner, found, here)


def is_answered(evidence: Any, path: str) -> bool:
    """Whether somebody said that a field which holds nothing is not in the document."""
    place = evidence.get(path) if isinstance(evidence, dict) else None
    return isinstance(place, dict) and place.get("absent") is True


def unanswered(node: FormNode, value: Any, evidence: Any) -> list[str]:
    """The optional places of a value that nobody answered."""
    return [path for path in left_open(node, value) if not is_answered(evidence, path)]


def answered(node: FormNode, value: Any, evidence: dict[str, Any]) -> dict[str, Any]:
    """The evidence of a label whose absent fields are an answer: a prediction's, an import's, a program's."""
    marks = {path: {**evidence.get(path, {}), "absent": True} for path in left_open(node, value)}
    return {**evidence, **marks}
