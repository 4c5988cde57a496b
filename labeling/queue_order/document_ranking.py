"""Reads the documents of a project and ranks the unlabeled ones.

The confidence of pre-labels is calibrated on labels: by field an isotonic regression (Zadrozny and Elkan 2002) of
"right" on the confidence, where there are enough labels; otherwise the confidence itself.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from django.db.models import Q, QuerySet

from labeling.datasets.freeze_candidates import class_fields
from labeling.form.merge import MISSING, value_at
from labeling.models import Document, Gold, Prediction, Project, SchemaVersion
from labeling.models.documents import QUEUE
from labeling.queue_order import acquisition
from labeling.queue_order.acquisition import Numbers, Places
from slmstudio.contract.json_text import dumps
from slmstudio.contract.schema.compiled import CompiledSchema
from slmstudio.contract.schema.structure import pattern_of
from slmstudio.contract.scoring.pairing import pair
from slmstudio.contract.scoring.scorer import count_differences
from slmstudio.contract.values.kinds.values import normalize
from slmstudio.errors import Refused
from slmstudio.text.classifier import TextClassifier, TextVectors

Order = Project.QueueOrder
#: labels that a classifier needs
MIN_LABELS = 20
#: labeled values of a field that calibrate its confidence
MIN_VALUES = 30
#: labeled documents that are read; the newest where there are more
MAX_LABELED = 5_000
_CHUNK = 1_000


@dataclass
class Labeled:
    """Labeled documents outside the hold-out: keys, texts and gold."""

    keys: list[int]
    texts: list[str]
    values: list[Any]


@dataclass
class Ranked:
    """Keys of unlabeled documents in their order, what placed each (0 to 1), and which were placed at random."""

    order: list[int]
    signal: dict[int, float]
    at_random: set[int]
    labels: int
    source: str


def rank_documents(project: Project, method: str, *, control_share: float, seed: int) -> Ranked:
    """Ranks the unassigned documents in the queue. Hold-out documents get random places: a part of the hold-out that a
    model chose would not represent it.

    Raises:
        Refused: nothing says how certain a model is.
    """
    rows = Document.objects.filter(project=project, state__in=QUEUE, assigned_to__isnull=True)
    keys = dict(rows.order_by("pk").values_list("pk", "holdout"))
    held_out = [pk for pk, held in keys.items() if held]
    open_keys = [pk for pk, held in keys.items() if not held]
    if method == Order.RANDOM or not open_keys:
        order = [list(keys)[at] for at in acquisition.at_random(len(keys), seed)]
        return Ranked(order, dict.fromkeys(order, 0.0), set(order), 0, "")
    labeled = _labeled(project)
    values, vectors, source = _signal(project, project.schema_version, method, open_keys, labeled)
    places = acquisition.by_value(values) if vectors is None else acquisition.spread(values, vectors)
    mixed, control = acquisition.with_control(places, control_share, seed)
    order = _with_holdout([open_keys[at] for at in mixed], held_out, seed)
    signal = {pk: float(value) for pk, value in zip(open_keys, values, strict=True)}
    at_random = {open_keys[at] for at in control} | set(held_out)
    return Ranked(order, {**dict.fromkeys(held_out, 0.0), **signal}, at_random, len(labeled.keys), source)


def _with_holdout(order: list[int], held_out: Sequence[int], seed: int) -> list[int]:
    if not held_out:
        return order
    places = np.random.default_rng([seed, 1]).uniform(-1, len(order), len(held_out))
    mixed = [(float(at), pk) for at, pk in enumerate(order)] + [
        (float(at), pk) for at, pk in zip(places, held_out, strict=True)
    ]
    return [pk for _, pk in sorted(mixed)]


def _labeled(project: Project) -> Labeled:
    rows = Gold.objects.current(project).filter(document__holdout=False).order_by("-document_id")
    newest = list(rows.values_list("document_id", "document__text", "revision__value")[:MAX_LABELED])
    return Labeled([row[0] for row in newest], [row[1] for row in newest], [row[2] for row in newest])


def _texts(keys: Sequence[int]) -> Iterator[str]:
    """The texts of documents in this order; a chunk of them in memory."""
    for start in range(0, len(keys), _CHUNK):
        part = keys[start : start + _CHUNK]
        texts = dict(Document.objects.filter(pk__in=part).values_list("pk", "text"))
        yield from (texts.get(pk, "") for pk in part)


def _signal(
    project: Project, version: SchemaVersion, method: str, keys: list[int], labeled: Labeled
) -> tuple[Numbers, Callable[[Places], Any] | None, str]:
    """The signal of each document, what gives the vectors that keep similar documents apart, and the source as text."""
    if method in (Order.DIVERSITY, Order.COMBINED):
        fitted = _vectors(keys, labeled)

        def vectors(places: Places) -> Any:
            return fitted.of(_texts([keys[at] for at in places]))

        if method == Order.DIVERSITY:
            return _novelty(fitted, keys, labeled), vectors, "texts"
    from_models = _disagreements if method == Order.DISAGREEMENT else _uncertainties
    values, source = from_models(project, version, keys)
    if values is None:
        values, source = _classified(version, method, keys, labeled)
    return values, vectors if method == Order.COMBINED else None, source


def _novelty(fitted: TextVectors, keys: list[int], labeled: Labeled) -> Numbers:
    known = fitted.of(labeled.texts)
    parts = [
        acquisition.novelty(fitted.of(_texts(keys[start : start + _CHUNK])), known)
        for start in range(0, len(keys), _CHUNK)
    ]  # fmt: skip
    return np.concatenate(parts)


def _vectors(keys: list[int], labeled: Labeled) -> TextVectors:
    """Fitted to the labeled texts and a part of the others."""
    return TextVectors([*labeled.texts, *_texts(keys[:: max(1, len(keys) // _CHUNK)])])


# -- the classifier -----------------------------------------------------------------------------------------------


def _classified(version: SchemaVersion, method: str, keys: list[int], labeled: Labeled) -> tuple[Numbers, str]:
    """The uncertainty of classifiers of the fields with fixed values, or the disagreement of two of them."""
    fields = [pattern for pattern, _ in class_fields(version.compiled)]
    targets = {pattern: [_class(value, pattern) for value in labeled.values] for pattern in fields}
    usable = {pattern: labels for pattern, labels in targets.items() if len(set(labels)) > 1}
    if len(labeled.keys) < MIN_LABELS or not usable:
        raise Refused(
            f"There are no pre-labels with confidence, and a classifier needs {MIN_LABELS} labels of a field with "
            "fixed values. Pre-label documents, or choose a random order until more are labeled."
        )
    kinds = (False, True) if _is_committee(method) else (False,)
    views = [TextVectors(labeled.texts, characters=kind) for kind in kinds]
    models = {
        pattern: [TextClassifier(view.of(labeled.texts), labels) for view in views]
        for pattern, labels in usable.items()
    }
    total = np.zeros(len(keys))
    for start in range(0, len(keys), _CHUNK):
        texts = list(_texts(keys[start : start + _CHUNK]))
        rows = [view.of(texts) for view in views]
        for own in models.values():
            guesses = [model.probabilities(vectors) for model, vectors in zip(own, rows, strict=True)]
            value = acquisition.disagreement(*guesses) if _is_committee(method) else acquisition.uncertainty(guesses[0])
            total[start : start + len(texts)] += value
    source = "two classifiers" if _is_committee(method) else "classifier"
    return total / len(usable), f"{source} of {', '.join(usable)}"


def _is_committee(method: str) -> bool:
    return method == Order.DISAGREEMENT


def _class(value: Any, path: str) -> str:
    member = value_at(value, path)
    return dumps(None if member is MISSING else member)


# -- predictions of models ----------------------------------------------------------------------------------------


def _predictions(project: Project, version: SchemaVersion, extra: Q | None = None) -> QuerySet[Prediction]:
    rows: QuerySet[Prediction] = Prediction.objects.filter(
        extra or Q(), document__project=project, schema_version=version, value__isnull=False, document__holdout=False
    )
    return rows.order_by("document_id", "-id")


def _uncertainties(project: Project, version: SchemaVersion, keys: list[int]) -> tuple[Numbers | None, str]:
    """1 minus the calibrated confidence of the newest pre-label: the probability that any of its fields is wrong."""
    place = {pk: at for at, pk in enumerate(keys)}
    confidence: dict[int, dict[str, float]] = {}
    rows = _predictions(project, version, ~Q(confidence={}))
    for pk, own in rows.values_list("document_id", "confidence").iterator(chunk_size=_CHUNK):
        if pk in place:
            confidence.setdefault(pk, own)
    if not confidence:
        return None, ""
    calibrated = calibrate(version.compiled, _judged(project, version))
    values = np.full(len(keys), np.nan)
    for pk, own in confidence.items():
        values[place[pk]] = 1 - calibrated.document(own)
    return _filled(values), f"pre-labels of {len(confidence):,} documents, calibrated on {calibrated.labels:,} labels"


class ConfidenceCurves:
    """``labels``: documents that it was learned from."""

    def __init__(self, observed: Mapping[str, list[tuple[float, bool]]], labels: int) -> None:
        self.labels = labels
        self._curves: dict[str, Any] = {}
        for pattern, pairs in observed.items():
            if len(pairs) >= MIN_VALUES:
                from sklearn.isotonic import IsotonicRegression

                curve = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip")
                self._curves[pattern] = curve.fit([sure for sure, _ in pairs], [float(right) for _, right in pairs])

    def field(self, pattern: str, confidence: float) -> float:
        """The probability that a value of this confidence is right."""
        curve = self._curves.get(pattern)
        return confidence if curve is None else float(curve.predict(np.asarray([confidence]))[0])

    def document(self, confidence: Mapping[str, float]) -> float:
        """The probability that all fields are right, if their errors are independent."""
        return float(np.prod([self.field(pattern_of(path), value) for path, value in confidence.items()]))


def calibrate(compiled: CompiledSchema, judged: Iterable[tuple[Mapping[str, float], Any, Any]]) -> ConfidenceCurves:
    """A calibration from the confidence and the value of predictions, and gold."""
    observed: dict[str, list[tuple[float, bool]]] = defaultdict(list)
    labels = 0
    for confidence, value, gold in judged:
        labels += 1
        for leaf in pair(compiled.root, gold, value):
            if leaf.output_path in confidence:
                right = normalize(leaf.gold, leaf.field) == normalize(leaf.output, leaf.field)
                observed[leaf.field.pattern].append((confidence[leaf.output_path], right))
    return ConfidenceCurves(observed, labels)


def _judged(project: Project, version: SchemaVersion) -> Iterator[tuple[dict[str, float], Any, Any]]:
    """The confidence and the value of the newest pre-label of labeled documents, and gold."""
    gold = dict(
        Gold.objects.current(project)
        .filter(document__holdout=False)
        .order_by("-document_id")
        .values_list("document_id", "revision__value")[:MAX_LABELED]
    )
    last = None
    rows = _predictions(project, version, Q(document__in=gold))
    for pk, own, value in rows.values_list("document_id", "confidence", "value"):
        if pk != last:
            last = pk
            yield own, value, gold[pk]


def _disagreements(project: Project, version: SchemaVersion, keys: list[int]) -> tuple[Numbers | None, str]:
    """The share of fields in which the two newest pre-labels of a document differ."""
    place = {pk: at for at, pk in enumerate(keys)}
    values = np.full(len(keys), np.nan)
    newest: tuple[int, Any] | None = None
    for pk, value in _predictions(project, version).values_list("document_id", "value").iterator(chunk_size=_CHUNK):
        if newest is not None and newest[0] == pk and pk in place and np.isnan(values[place[pk]]):
            different, total = count_differences(version.compiled, newest[1], value)
            values[place[pk]] = different / total if total else 0.0
        elif newest is None or newest[0] != pk:
            newest = (pk, value)
    known = int(np.count_nonzero(~np.isnan(values)))
    if not known:
        return None, ""
    return _filled(values), f"two pre-labels of {known:,} documents"


def _filled(values: Numbers) -> Numbers:
    """Documents without a signal get the median of the others."""
    return np.where(np.isnan(values), np.nanmedian(values), values)
