"""Label checks: gold labels compared with predictions of models that did not see them, the most suspect first.

Hold-out documents are never checked: hold-out labels that are corrected where a model disagrees favor that model.
"""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import QuerySet

from evaluation.audit import services as audit_services
from evaluation.label_issues import suspects
from evaluation.label_issues.challenges import challenge_suspect
from evaluation.label_issues.suspects import CheckedLabel, Suspect
from evaluation.models import EvalOutput, EvalRun, GoldQuestion, LabelCheckRun, PrelabelRun, SuspectLabel
from evaluation.scores.label_noise import candidate_label
from labeling.datasets.freeze_candidates import TextIndex, class_fields, no_progress
from labeling.datasets.near_duplicates import THRESHOLD
from labeling.form.merge import MISSING, value_at
from labeling.models import AnnotationRevision, DatasetItem, Document, Gold, Prediction, Project, Split
from slmstudio.access import Action, require
from slmstudio.contract.json_text import dumps, loads
from slmstudio.contract.schema.compiled import CompiledSchema, split
from slmstudio.contract.scoring.pairing import pair
from slmstudio.contract.values.kinds.registry import KINDS
from slmstudio.contract.values.kinds.values import normalize
from slmstudio.errors import Refused
from slmstudio.runs.heartbeat import keep_alive
from slmstudio.runs.models import Status
from slmstudio.text.classifier import out_of_fold

logger = logging.getLogger(__name__)
#: labels that a check needs to say anything
MIN_DOCUMENTS = 20
#: labeled documents of a check; the newest where there are more
MAX_DOCUMENTS = 20_000
#: suspects that are kept
MAX_SUSPECTS = 1_000
_CHUNK = 500
Source = LabelCheckRun.Source


@transaction.atomic
def start_label_check(*, project: Project, user: User, source: str, eval_run: EvalRun | None = None) -> LabelCheckRun:
    """Queues a check of all gold labels outside the hold-out.

    ``source``: predictions of an out-of-fold classifier (fields with fixed values), the newest pre-labels, or the
    outputs of ``eval_run`` on validation.

    Raises:
        Refused: ``field`` is source; there is nothing to compare with.
    """
    require(project, user, Action.CURATE)
    if source not in Source.values:
        raise Refused(f"Choose a source: {', '.join(Source.values)}.", field="source")
    if (source == Source.EVALUATION) != (eval_run is not None):
        raise Refused("Choose an evaluation to compare with.", field="source")
    if eval_run is not None and (
        eval_run.project_id != project.pk or eval_run.split != Split.VALIDATION or eval_run.status != Status.DONE
    ):
        raise Refused("Choose a finished evaluation on the validation split.", field="source")
    version = project.schema_version
    if source == Source.CLASSIFIER and not class_fields(version.compiled):
        raise Refused("The schema has no field with fixed values. Compare with pre-labels.", field="source")
    if LabelCheckRun.objects.live().filter(project=project).exists():
        raise Refused("A label check is already running.", field="source")
    run: LabelCheckRun = LabelCheckRun.objects.create(
        project=project,
        number=project.next_number(LabelCheckRun),
        source=source,
        schema_version=version,
        eval_run=eval_run,
        created_by=user,
    )
    run.enqueue()
    return run


def run_label_check(pk: int) -> None:
    """The job of a label check."""
    run = LabelCheckRun.objects.select_related("project", "schema_version", "eval_run").filter(pk=pk).first()
    if run is None or not run.claim():
        return
    try:
        with keep_alive(run):
            process(run)
    except Refused as refusal:
        run.fail(refusal.message)
    except Exception as error:
        logger.exception("label check %s failed", pk)
        run.fail(f"The check failed: {type(error).__name__}: {str(error)[:300]}.")


def process(run: LabelCheckRun) -> None:
    """Compares, ranks and stores.

    Raises:
        Refused: fewer than ``MIN_DOCUMENTS`` labels can be compared.
    """
    gold = _gold(run.project)
    compared = list(_classifier_checks(run, gold) if run.source == Source.CLASSIFIER else _model_checks(run, gold))
    found = [check for one in compared for check in one.checks]
    documents = len({check.document for check in found})
    if documents < MIN_DOCUMENTS:
        raise Refused(
            f"{documents} labeled documents outside the hold-out have a prediction to compare with; at least "
            f"{MIN_DOCUMENTS} are needed."
        )
    ranked = suspects.rank(found)
    by_check = {(check.document, check.field): one for one in compared for check in one.checks}
    rows = []
    for place, suspect in enumerate(ranked[:MAX_SUSPECTS], start=1):
        check = suspect.check
        rows.append(_row(run, place, suspect, by_check[check.document, check.field], gold[check.document]))
    with transaction.atomic():
        SuspectLabel.objects.bulk_create(rows, batch_size=_CHUNK)
        run.finish(facts={"documents": documents, "fields": suspects.summary(found, ranked)})


@dataclass(frozen=True, slots=True)
class _Compared:
    """A document: the name of the model, its output (with at least the checked fields), gold, and the checks."""

    model: str
    output: Any
    gold: Any
    checks: list[CheckedLabel]


def _gold(project: Project) -> dict[int, int]:
    """Document -> revision of its gold label, outside the hold-out; the newest documents."""
    rows = Gold.objects.current(project).filter(document__holdout=False).order_by("-document_id")
    return dict(rows.values_list("document_id", "revision_id")[:MAX_DOCUMENTS])


def _row(run: LabelCheckRun, place: int, suspect: Suspect, compared: _Compared, revision: int) -> SuspectLabel:
    check = suspect.check
    return SuspectLabel(
        run=run,
        place=place,
        document_id=check.document,
        revision_id=revision,
        field=check.field,
        gold=loads(check.gold),
        predicted=loads(check.prediction),
        probability=check.probability,
        gold_probability=check.gold_probability,
        suggestion=candidate_label(compared.gold, compared.output, check.field),
        confident=suspect.confident,
        model=compared.model[:200],
    )


# -- predictions of the classifier --------------------------------------------------------------------------------


def _classifier_checks(run: LabelCheckRun, gold: dict[int, int]) -> Iterator[_Compared]:
    """Near-duplicates are in one fold: one would give away the other's label."""
    keys = sorted(gold)
    if len(keys) < MIN_DOCUMENTS:
        return
    index = TextIndex(THRESHOLD)
    index.read(run.project, no_progress, keys)
    _, groups = index.groups()
    texts: dict[int, str] = {}
    values: dict[int, Any] = {}
    for start in range(0, len(keys), _CHUNK):
        part = keys[start : start + _CHUNK]
        texts.update(Document.objects.filter(pk__in=part).values_list("pk", "text"))
        rows = AnnotationRevision.objects.filter(pk__in=[gold[pk] for pk in part])
        by_revision = dict(rows.values_list("pk", "value"))
        values.update((pk, by_revision[gold[pk]]) for pk in part)
    for pattern, _ in class_fields(run.schema_version.compiled):
        labels = [dumps(_value(values[pk], pattern)) for pk in keys]
        if len(set(labels)) < 2:
            continue
        probabilities, classes = out_of_fold(
            [texts[pk] for pk in keys], labels, groups=[groups[pk] for pk in keys]
        )  # fmt: skip
        for check in suspects.checks_of(keys, pattern, labels, probabilities, classes):
            output = _nested(pattern, loads(check.prediction))
            yield _Compared("classifier", output, values[check.document], [check])


def _nested(path: str, value: Any) -> Any:
    """An object with one value at a path without lists."""
    for step in reversed(split(path)):
        value = {step: value}
    return value


def _value(value: Any, path: str) -> Any:
    found = value_at(value, path)
    return None if found is MISSING else found


# -- predictions of language models -------------------------------------------------------------------------------


def _model_checks(run: LabelCheckRun, gold: dict[int, int]) -> Iterator[_Compared]:
    """A value without a confidence gets the field's accuracy: a model counts as much as it is right."""
    compiled = run.schema_version.compiled
    rows = list(_evaluated(run) if run.eval_run is not None else _predicted(run))
    rows = [row for row in rows if row[0] in gold]
    revisions = dict(
        AnnotationRevision.objects.filter(pk__in=[gold[row[0]] for row in rows]).values_list("pk", "value")
    )
    fields = [list(_fields(compiled, revisions[gold[pk]], value)) for pk, _, value, _ in rows]
    accuracy = _accuracy(field for some in fields for field in some)
    for (pk, model, value, confidence), some in zip(rows, fields, strict=True):
        checks = []
        for path, pattern, own, other, output_path in some:
            sure = float(confidence.get(output_path, accuracy[pattern]))
            checks.append(CheckedLabel(pk, path, own, other, sure, sure if own == other else 1 - sure))
        yield _Compared(model, value, revisions[gold[pk]], checks)


FieldPair = tuple[str, str, str, str, str]


def _fields(compiled: CompiledSchema, gold: Any, output: Any) -> Iterator[FieldPair]:
    """Path, pattern, gold, output and path in the output of each scored field. Values that are equal after
    normalization are equal here.
    """
    for leaf in pair(compiled.root, gold, output):
        if not KINDS[leaf.field.kind].scored or (leaf.gold is None and leaf.output is None):
            continue
        same = normalize(leaf.gold, leaf.field) == normalize(leaf.output, leaf.field)
        other = leaf.gold if same else leaf.output
        yield leaf.path, leaf.field.pattern, dumps(leaf.gold), dumps(other), leaf.output_path


def _accuracy(fields: Iterator[FieldPair]) -> dict[str, float]:
    """The share of equal values by pattern, shrunk towards one half where there are few."""
    counts: dict[str, list[int]] = {}
    for _, pattern, own, other, _ in fields:
        count = counts.setdefault(pattern, [0, 0])
        count[0] += own == other
        count[1] += 1
    return {pattern: (right + 1) / (total + 2) for pattern, (right, total) in counts.items()}


Predicted = tuple[int, str, Any, dict[str, float]]


def _evaluated(run: LabelCheckRun) -> Iterator[Predicted]:
    """The outputs of an evaluation on validation: no model version trained on these documents."""
    assert run.eval_run is not None
    rows = EvalOutput.objects.filter(eval_run=run.eval_run, valid=True, document__holdout=False)
    for pk, score in rows.values_list("document_id", "score"):
        output = (score or {}).get("output")
        if isinstance(output, dict):
            yield pk, run.eval_run.model_label, output, {}


def _predicted(run: LabelCheckRun) -> Iterator[Predicted]:
    """The newest prediction of each document by a model that did not train on it."""
    rows: QuerySet[Prediction] = Prediction.objects.filter(
        document__project=run.project, schema_version=run.schema_version, valid=True, document__holdout=False
    ).order_by("document_id", "-id")
    trained = _trained_on(run.project)
    last = None
    for pk, model, source, value, confidence in rows.values_list(
        "document_id", "model", "source", "value", "confidence"
    ):
        if pk != last and pk not in trained.get(source, ()):
            last = pk
            yield pk, model, value, confidence


def _trained_on(project: Project) -> dict[str, set[int]]:
    """The documents that the model of each pre-label run trained on, by the source of its predictions."""
    runs = PrelabelRun.objects.filter(project=project, model_version__isnull=False)
    found = {}
    for run in runs.select_related("model_version__training_run"):
        assert run.training_run is not None
        items = DatasetItem.objects.filter(dataset=run.training_run.dataset_id, split=Split.TRAIN)
        found[run.source] = set(items.values_list("document_id", flat=True))
    return found


# -- challenges ---------------------------------------------------------------------------------------------------


def challenge_first(*, run: LabelCheckRun, user: User, count: int) -> tuple[int, int]:
    """Challenges the labels of the first ``count`` suspects that are still as they were checked.

    Returns how many documents were sent to adjudication, and how many were skipped: challenged already, changed or
    removed since.
    """
    require(run.project, user, Action.CURATE)
    sent = 0
    seen: set[int] = set()
    rows = SuspectLabel.objects.filter(run=run, place__lte=count).select_related("document", "revision")
    for suspect in rows.order_by("place"):
        if suspect.document_id in seen:
            continue
        seen.add(suspect.document_id)
        try:
            sent += challenge_suspect(suspect=suspect, user=user)
        except Refused:
            continue
    audit_services.record(
        project=run.project,
        user=user,
        action="challenged suspect labels",
        about=str(run),
        details={"first": count, "sent": sent},
    )
    return sent, len(seen) - sent


def challenged(suspects_shown: Iterable[SuspectLabel]) -> dict[int, GoldQuestion]:
    """The newest challenge of the shown documents that is of the checked label, by document."""
    shown = {suspect.document_id: suspect.revision_id for suspect in suspects_shown}
    rows = GoldQuestion.objects.filter(document__in=shown).order_by("pk")
    return {row.document_id: row for row in rows if row.revision_id == shown[row.document_id]}


def evaluations(project: Project) -> QuerySet[EvalRun]:
    """The evaluations that labels can be compared with, newest first."""
    rows = EvalRun.objects.with_model().filter(project=project, split=Split.VALIDATION, status=Status.DONE)
    found: QuerySet[EvalRun] = rows.order_by("-number")
    return found
