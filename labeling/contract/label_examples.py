"""The labels of a project as examples of a schema: gold under any schema version, and gold that an import rejected."""

import json
from typing import Any

from labeling.models import Gold, ImportRun, Project
from slmstudio.contract.json_text import JsonError, loads
from slmstudio.contract.sources.detection import draft_from_values
from slmstudio.contract.sources.examples import Draft, SourceError
from slmstudio.storage import artifacts

MAX_LABELS = 2_000
_MAX_IMPORTS = 5


def label_examples(project: Project) -> list[dict[str, Any]]:
    """At most ``MAX_LABELS`` labels: the newest gold of each document, then those of rows that imports rejected."""
    rows = Gold.objects.filter(document__project=project).order_by("document_id", "-schema_version__number")
    newest = rows.distinct("document_id").select_related("revision")[:MAX_LABELS]
    labels = [row.revision.value for row in newest if isinstance(row.revision.value, dict) and row.revision.value]
    for run in ImportRun.objects.filter(project=project).exclude(rejects_key="").order_by("-pk")[:_MAX_IMPORTS]:
        labels += _rejected(run.rejects_key, MAX_LABELS - len(labels))
    return labels


def draft_from_labels(project: Project) -> tuple[Draft, int]:
    """The draft of a schema that the labels of a project show, and their number.

    Raises:
        SourceError: there are none.
    """
    values = label_examples(project)
    if not values:
        raise SourceError("No document of this project has a gold label, and no import rejected one.")
    return draft_from_values(values), len(values)


def _rejected(key: str, most: int) -> list[dict[str, Any]]:
    """The gold of an import's rejected rows, whatever they were rejected for."""
    labels: list[dict[str, Any]] = []
    if not artifacts.store().exists(key):
        return labels
    with artifacts.store().open(key) as file:
        for line in file:
            if len(labels) >= most:
                break
            try:
                row = loads(json.loads(line)["line"])
            except (JsonError, ValueError, KeyError, TypeError):
                continue
            gold = row.get("gold") if isinstance(row, dict) else None
            if isinstance(gold, dict) and gold:
                labels.append(gold)
    return labels
