"""Silver labels: pre-labels of unlabeled documents that pass every check, for training only.

They are a file and rows of a dataset version of their own, so they can never be in its validation or hold-out, and a
training run uses them only if it asks for them. ``DatasetVersion.counts["silver"]`` is ``{"documents", "sha256",
"left_out" (a count by ``SILVER_REASONS``), "models" (a count by name)}``.
"""

import hashlib
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, Any

from labeling.datasets.freeze_candidates import CHUNK, Progress, group_expression
from labeling.datasets.freeze_rules import Rules
from labeling.datasets.near_duplicates import MinHashIndex
from labeling.form.codec import Parsed
from labeling.form.validation import check
from labeling.models import (
    DatasetVersion,
    Document,
    DocumentState,
    Gold,
    Prediction,
    Project,
    SchemaVersion,
    SilverItem,
    Split,
)
from slmstudio.contract.rules import invariants
from slmstudio.contract.schema.compiled import CompiledSchema, dumps
from slmstudio.contract.scoring.scorer import count_differences
from slmstudio.errors import Refused

AGREEMENT, CONFIDENCE = "agreement", "confidence"
METHODS = (AGREEMENT, CONFIDENCE)
SILVER_REASONS = {
    "one_prediction": "Only one model or sample",
    "disagree": "Two models or samples disagree",
    "no_confidence": "No confidence",
    "low_confidence": "Confidence below the limit",
    "schema": "Invalid under the schema",
    "invariants": "Violates a rule",
    "evidence": "A value is not in the document",
    "near_duplicate": "Near-duplicate of a validation or hold-out document",
    "related": "In the same group as a validation or hold-out document",
}


@dataclass(frozen=True, slots=True)
class SilverRow:
    """A silver label: the document, the prediction, and the model's name."""

    document: int
    prediction: int
    model: str
    value: Any


@dataclass
class SilverLabels:
    """The silver labels of a version, and those that were left out by reason."""

    rows: list[SilverRow] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    sha256: str = ""

    def counts(self) -> dict[str, Any]:
        """As stored with the version."""
        return {
            "documents": len(self.rows),
            "sha256": self.sha256,
            "left_out": dict(sorted(self.left_out.items())),
            "models": dict(sorted(Counter(row.model for row in self.rows).items())),
        }


def silver_key(artifact_key: str) -> str:
    """The artifact key of the silver rows that belong to the rows at ``artifact_key``."""
    return f"{artifact_key.rpartition('/')[0]}/silver.jsonl"


def check_silver_rules(rules: Rules) -> None:
    """Raises Refused where the rules of silver labels are invalid."""
    if rules.silver not in ("", *METHODS):
        raise Refused("Silver labels need the agreement of two predictions, or a confidence.", field="silver")
    if not 0 <= rules.silver_confidence <= 1:
        raise Refused("The confidence of silver labels must be from 0 to 100%.", field="silver_confidence")


def collect_silver(
    project: Project, version: SchemaVersion, rules: Rules, split: Mapping[int, str], progress: Progress
) -> SilverLabels:
    """The silver labels of unlabeled documents; none if the rules have none. ``split``: of the labeled documents."""
    silver = SilverLabels()
    if not rules.silver:
        return silver
    keys = list(_unlabeled(project).order_by("pk").values_list("pk", flat=True))
    for start in range(0, len(keys), CHUNK):
        _collect(silver, version, rules, keys[start : start + CHUNK])
        progress("silver labels", min(start + CHUNK, len(keys)), len(keys))
    tested = [pk for pk, name in split.items() if name != Split.TRAIN]
    marked = Document.objects.filter(project=project, holdout=True).values_list("pk", flat=True)
    _separate(silver, rules, sorted({*tested, *marked}))
    return silver


def _unlabeled(project: Project) -> Any:
    states = (DocumentState.NEW, DocumentState.IN_PROGRESS)
    rows = Document.objects.filter(project=project, holdout=False, state__in=states)
    return rows.exclude(pk__in=Gold.objects.current(project).values("document"))


def _collect(silver: SilverLabels, version: SchemaVersion, rules: Rules, keys: Sequence[int]) -> None:
    compiled = version.compiled
    predictions: dict[int, list[Prediction]] = {}
    rows = Prediction.objects.filter(document__in=keys, schema_version=version, value__isnull=False)
    for prediction in rows.order_by("document_id", "-id"):
        predictions.setdefault(prediction.document_id, []).append(prediction)
    texts = dict(Document.objects.filter(pk__in=predictions).values_list("pk", "text"))
    for pk, own in predictions.items():
        if reason := _problem(compiled, rules, texts[pk], own):
            silver.left_out[reason] += 1
        else:
            silver.rows.append(SilverRow(pk, own[0].pk, own[0].model, compiled.ordered(own[0].value)))


def _problem(compiled: CompiledSchema, rules: Rules, text: str, own: Sequence[Prediction]) -> str:
    """Why the newest prediction of a document is not silver; "" if it is."""
    newest = own[0]
    if not newest.valid:
        return "schema"
    if invariants.declared(compiled) and invariants.check(compiled, newest.value):
        return "invariants"
    if check(compiled, Parsed(newest.value), text, {}).missing:
        return "evidence"
    if rules.silver == AGREEMENT:
        if len(own) < 2:
            return "one_prediction"
        return "disagree" if count_differences(compiled, newest.value, own[1].value)[0] else ""
    if not newest.confidence:
        return "no_confidence"
    return "low_confidence" if min(newest.confidence.values()) < rules.silver_confidence else ""


def _separate(silver: SilverLabels, rules: Rules, tested: Sequence[int]) -> None:
    """Leaves out what would give away the answers of validation and hold-out: near-duplicates, and whole groups."""
    keys = [row.document for row in silver.rows]
    if not keys or not tested:
        return
    related: set[int] = set()
    if rules.group_by:
        groups = _groups(rules.group_by, tested)
        related = {pk for pk, group in _group_of(rules.group_by, keys) if group in groups}
    sketches = MinHashIndex()
    for pk in (*tested, *keys):
        sketches.add(Document.objects.values_list("text", flat=True).get(pk=pk))
    group = sketches.find(rules.similarity).group
    taken = set(group[: len(tested)])
    near = {pk for pk, number in zip(keys, group[len(tested) :], strict=True) if number in taken}
    silver.left_out.update({"near_duplicate": len(near), "related": len(related - near)})
    silver.rows = [row for row in silver.rows if row.document not in near | related]
    silver.left_out = +silver.left_out


def _group_of(rule: str, keys: Sequence[int]) -> Iterator[tuple[int, Any]]:
    rows: Any = Document.objects.filter(pk__in=keys).annotate(group=group_expression(rule, prefix=""))
    yield from rows.values_list("pk", "group")


def _groups(rule: str, keys: Sequence[int]) -> set[Any]:
    return {group for _, group in _group_of(rule, keys) if group}


@contextmanager
def silver_file(silver: SilverLabels) -> Iterator[IO[bytes]]:
    """The rows as a file, in the format of a dataset version's; sets their hash."""
    digest = hashlib.sha256()
    with tempfile.TemporaryFile() as file:
        for start in range(0, len(silver.rows), CHUNK):
            part = silver.rows[start : start + CHUNK]
            documents = Document.objects.filter(pk__in=[row.document for row in part])
            texts = {pk: rest for pk, *rest in documents.values_list("pk", "external_id", "text", "tags")}
            for row in part:
                name, text, tags = texts[row.document]
                line = {
                    "id": name, "split": "train", "text": text, "gold": row.value, "tags": sorted(set(tags)),
                    "origin": "silver", "model": row.model,
                }  # fmt: skip
                data = f"{dumps(line)}\n".encode()
                digest.update(data)
                file.write(data)
        silver.sha256 = digest.hexdigest()
        file.seek(0)
        yield file


def store_items(dataset: DatasetVersion, silver: SilverLabels) -> None:
    """Stores which documents have silver labels in a version. They can never enter the hold-out."""
    SilverItem.objects.bulk_create(
        [SilverItem(dataset=dataset, document_id=row.document, model=row.model) for row in silver.rows],
        batch_size=CHUNK,
    )
