"""Unanswered fields: optional fields that are empty and not marked as absent. Pure.

A field without a value is absent from the document, or the annotator forgot it. ``null`` and an empty list mean absent.
Where the schema accepts neither, the evidence of the field marks it: ``{"absent": true}``.
"""

from collections.abc import Iterator
from typing import Any

from labeling.form.nodes import MORE, FormNode, children_with_values
from slmstudio.contract.schema.structure import join


def empty_optional_fields(node: FormNode, value: Any, path: str = "") -> Iterator[str]:
    """The paths of empty optional fields, in the order of the form.

    An absent group counts once. Empty required fields are problems of the schema.
    """
    if value is None or node.is_leaf:
        return
    if node.shape == "group":
        if not isinstance(value, dict):
            return
        for child in node.children:
            if child.key != MORE and child.key not in value and not child.required and not child.fixed:
                yield join(path, child.key)
    for here, inner, found in children_with_values(node, value, path):
        yield from empty_optional_fields(inner, found, here)


def is_marked_absent(evidence: Any, path: str) -> bool:
    """Whether an empty field is marked as not in the document."""
    place = evidence.get(path) if isinstance(evidence, dict) else None
    return isinstance(place, dict) and place.get("absent") is True


def unanswered_fields(node: FormNode, value: Any, evidence: Any) -> list[str]:
    """The empty optional fields that are not marked as absent."""
    return [path for path in empty_optional_fields(node, value) if not is_marked_absent(evidence, path)]


def with_absent_evidence(node: FormNode, value: Any, evidence: dict[str, Any]) -> dict[str, Any]:
    """The evidence with all empty optional fields marked as absent, for predictions, imports and programs."""
    marks = {path: {**evidence.get(path, {}), "absent": True} for path in empty_optional_fields(node, value)}
    return {**evidence, **marks}
