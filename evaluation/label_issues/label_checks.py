"""The label check as a kind of study: gold labels compared with predictions of models that did not see them, the most
suspect first.

Hold-out documents are never checked: hold-out labels that are corrected where a model disagrees favor that model.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from django.contrib.auth.models import User
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import QueryDict
from pydantic import Field

from evaluation.audit import services as audit_services
from evaluation.label_issues import suspects
from evaluation.label_issues.challenges import challenge_suspect
from evaluation.label_issues.suspects import CheckedLabel
from evaluation.models import EvalOutput, EvalRun, LabelChallenge, PrelabelRun, SuspectLabel
from evaluation.runs.outputs import confidences
from evaluation.scores.display import text_of
from evaluation.scores.label_noise import candidate_label
from labeling.datasets.freeze_candidates import TextIndex, class_fields, no_progress
from labeling.datasets.near_duplicates import THRESHOLD
from labeling.form.merge import MISSING, value_at
from labeling.models import (
    AnnotationRevision,
    DatasetItem,
    Document,
    Gold,
    Prediction,
    Project,
    SchemaVersion,
    Split,
    Study,
)
from labeling.studies.kinds import Choices, StudyKind, StudySpec
from slmstudio.access import Action, require
from slmstudio.contract.json_text import dumps, loads
from slmstudio.contract.schema.compiled import CompiledSchema, split
from slmstudio.contract.scoring.pairing import pair
from slmstudio.contract.values.kinds.registry import KINDS
from slmstudio.contract.values.kinds.values import normalize
from slmstudio.errors import Refused
from slmstudio.runs.models import Status
from slmstudio.text.classifier import out_of_fold
from training.models import BaseModel

#: labels that a check needs to say anything
MIN_DOCUMENTS = 20
#: labeled documents of a check; the newest where there are more
MAX_DOCUMENTS = 20_000
#: suspects that are kept
MAX_SUSPECTS = 1_000
#: evaluations to choose from
MAX_EVALUATIONS = 30
PAGE_SIZE = 30
_CHUNK = 500
CLASSIFIER, PREDICTIONS = "classifier", "predictions"


class LabelCheckSpec(StudySpec):
    """What gold labels are compared with: ``classifier``, ``predictions``, or ``evaluation-7``."""

    source: str = Field(PREDICTIONS, title="Compare with")

    @property
    def evaluation(self) -> int | None:
        """The number of the evaluation, where one is compared with."""
        match = re.fullmatch(r"evaluation-(\d{1,9})", self.source)
        return int(match[1]) if match else None


class LabelCheck(StudyKind[LabelCheckSpec]):
    """Suspect labels."""

    key = "label-check"
    title = "Label check"
    about = (
        "Compares gold labels with predictions of models that were not trained on them, and lists the most suspect "
        "first. Hold-out documents are not checked."
    )
    spec = LabelCheckSpec
    template = "evaluation/label_issues/label_check_panel.html"
    action = Action.CURATE

    def choices(self, project: Project) -> dict[str, Choices]:
        own: Choices = [(PREDICTIONS, "Pre-labels of models that did not train on the document")]
        if class_fields(project.schema_version.compiled):
            own.insert(0, (CLASSIFIER, "Out-of-fold classifier (seconds; fields with fixed values)"))
        runs = [(f"evaluation-{run.number}", f"Evaluation {run.short_name}") for run in evaluations(project)]
        return {"source": [*own, ("Evaluations on validation", runs)] if runs else own}

    def defaults(self, project: Project, chosen: Any) -> dict[str, Any]:
        classes = {pattern for pattern, _ in class_fields(project.schema_version.compiled)}
        # Its outputs have the confidence of each field that it has a head for.
        encoder = evaluations(project, family=BaseModel.Family.ENCODER).first()
        if encoder is not None and encoder.scores.get("documents", 0) >= MIN_DOCUMENTS and classes <= _headed(encoder):
            return {"source": f"evaluation-{encoder.number}"}
        return {"source": CLASSIFIER if classes else PREDICTIONS}

    def plan(self, study: Study, spec: LabelCheckSpec) -> None:
        project = study.project
        if spec.evaluation is not None:
            evaluation = _evaluation(project, spec)
            study.dataset = evaluation.dataset
        elif spec.source not in (CLASSIFIER, PREDICTIONS):
            raise Refused("Choose what the labels are compared with.", field="source")
        version = project.schema_version
        if spec.source == CLASSIFIER and not class_fields(version.compiled):
            raise Refused("The schema has no field with fixed values. Compare with pre-labels.", field="source")
        if Study.objects.live().filter(project=project, kind=self.key).exists():
            raise Refused("A label check is already running.", field="source")
        study.result = {"schema": version.number}

    def conclude(self, study: Study, spec: LabelCheckSpec) -> dict[str, Any]:
        """Compares, ranks and stores."""
        project = study.project
        version = project.schema_versions.get(number=study.result["schema"])
        gold = _gold(project)
        if spec.source == CLASSIFIER:
            checks = list(_classifier_checks(project, version, gold))
        else:
            predicted = _evaluated(_evaluation(project, spec)) if spec.evaluation else _predicted(project, version)
            checks = list(_model_checks(version, gold, predicted))
        documents = len({check.document for check in checks})
        if documents < MIN_DOCUMENTS:
            raise Refused(
                f"{documents} labeled documents outside the hold-out have a prediction to compare with; at least "
                f"{MIN_DOCUMENTS} are needed."
            )
        ranked = suspects.rank(checks)
        rows = [
            SuspectLabel(
                run=study,
                place=place,
                document_id=check.document,
                revision_id=gold[check.document],
                field=check.field,
                gold=loads(check.gold),
                predicted=loads(check.prediction),
                probability=check.probability,
                gold_probability=check.gold_probability,
                suggestion=candidate_label(check.label, check.output, check.field),
                confident=confident,
                model=check.model[:200],
            )
            for place, (check, confident) in enumerate(ranked[:MAX_SUSPECTS], start=1)
        ]
        SuspectLabel.objects.bulk_create(rows, batch_size=_CHUNK)
        return {
            **study.result,
            "documents": documents,
            "fields": suspects.summary(checks, ranked),
            "summary": f"{len(rows):,} suspect in {documents:,} documents",
        }

    def panel(self, study: Study, spec: LabelCheckSpec, query: QueryDict) -> dict[str, Any]:
        rows = SuspectLabel.objects.filter(run=study).select_related("document").order_by("place")
        pages = Paginator(rows.defer("document__text", "document__metadata"), PAGE_SIZE)
        page = pages.get_page(query.get("page"))
        challenges = challenged(page.object_list)
        return {
            "page": page,
            "rows": [
                (suspect, text_of(suspect.gold), text_of(suspect.predicted), challenges.get(suspect.document_id))
                for suspect in page.object_list
            ],
            "first": min(20, pages.count),
        }


LABEL_CHECK = LabelCheck()


def evaluations(project: Project, family: str = "") -> QuerySet[EvalRun]:
    """The evaluations that labels can be compared with, newest first. ``family``: only of models trained from a base
    model of it.
    """
    rows = EvalRun.objects.with_model().filter(project=project, split=Split.VALIDATION, status=Status.DONE)
    if family:
        rows = rows.filter(training_run__base_model__family=family)
    newest: QuerySet[EvalRun] = rows.order_by("-number")[:MAX_EVALUATIONS]
    return newest


def _evaluation(project: Project, spec: LabelCheckSpec) -> EvalRun:
    rows = EvalRun.objects.with_model().filter(project=project, number=spec.evaluation or 0)
    run = rows.filter(split=Split.VALIDATION, status=Status.DONE).first()
    if run is None:
        raise Refused("Choose a finished evaluation on the validation split.", field="source")
    return run


def _headed(run: EvalRun) -> set[str]:
    """The fields that the encoder of an evaluation has a head for."""
    assert run.training_run is not None
    return {head["field"] for head in run.training_run.facts.get("heads") or []}


def _gold(project: Project) -> dict[int, int]:
    """Document -> revision of its gold label, outside the hold-out; the newest documents."""
    rows = Gold.objects.current(project).filter(document__holdout=False).order_by("-document_id")
    return dict(rows.values_list("document_id", "revision_id")[:MAX_DOCUMENTS])


# -- predictions of the classifier --------------------------------------------------------------------------------


def _classifier_checks(project: Project, version: SchemaVersion, gold: dict[int, int]) -> Iterator[CheckedLabel]:
    """Near-duplicates are in one fold: one would give away the other's label."""
    keys = sorted(gold)
    if len(keys) < MIN_DOCUMENTS:
        return
    index = TextIndex(THRESHOLD)
    index.read(project, no_progress, keys)
    _, groups = index.groups()
    texts: dict[int, str] = {}
    values: dict[int, Any] = {}
    for start in range(0, len(keys), _CHUNK):
        part = keys[start : start + _CHUNK]
        texts.update(Document.objects.filter(pk__in=part).values_list("pk", "text"))
        rows = AnnotationRevision.objects.filter(pk__in=[gold[pk] for pk in part])
        by_revision = dict(rows.values_list("pk", "value"))
        values.update((pk, by_revision[gold[pk]]) for pk in part)
    for pattern, _ in class_fields(version.compiled):
        labels = [dumps(_value(values[pk], pattern)) for pk in keys]
        if len(set(labels)) < 2:
            continue
        probabilities, classes = out_of_fold(
            [texts[pk] for pk in keys], labels, groups=[groups[pk] for pk in keys]
        )  # fmt: skip
        for check in suspects.checks_of(keys, pattern, labels, probabilities, classes):
            output = _nested(pattern, loads(check.prediction))
            yield replace(check, model="classifier", output=output, label=values[check.document])


def _nested(path: str, value: Any) -> Any:
    """An object with one value at a path without lists."""
    for step in reversed(split(path)):
        value = {step: value}
    return value


def _value(value: Any, path: str) -> Any:
    member = value_at(value, path)
    return None if member is MISSING else member


# -- predictions of language models -------------------------------------------------------------------------------


def _model_checks(
    version: SchemaVersion, gold: dict[int, int], predicted: "Iterator[Predicted]"
) -> Iterator[CheckedLabel]:
    """A value without a confidence gets the field's accuracy: a model counts as much as it is right."""
    rows = [row for row in predicted if row[0] in gold]
    revisions = dict(
        AnnotationRevision.objects.filter(pk__in=[gold[row[0]] for row in rows]).values_list("pk", "value")
    )
    fields = [list(_fields(version.compiled, revisions[gold[pk]], value)) for pk, _, value, _ in rows]
    accuracy = _accuracy(field for some in fields for field in some)
    for (pk, model, value, confidence), some in zip(rows, fields, strict=True):
        for path, pattern, own, other, output_path in some:
            sure = float(confidence.get(output_path, accuracy[pattern]))
            gold_probability = sure if own == other else 1 - sure
            yield CheckedLabel(pk, path, own, other, sure, gold_probability, model, value, revisions[gold[pk]])


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


def _evaluated(run: EvalRun) -> Iterator[Predicted]:
    """The outputs of an evaluation on validation: no model version trained on these documents."""
    rows = EvalOutput.objects.filter(eval_run=run, valid=True, document__holdout=False)
    confidence = confidences(run)
    for pk, name, score in rows.values_list("document_id", "document__external_id", "score"):
        output = (score or {}).get("output")
        if isinstance(output, dict):
            yield pk, run.model_label, output, confidence.get(name, {})


def _predicted(project: Project, version: SchemaVersion) -> Iterator[Predicted]:
    """The newest prediction of each document by a model that did not train on it."""
    rows: QuerySet[Prediction] = Prediction.objects.filter(
        document__project=project, schema_version=version, valid=True, document__holdout=False
    ).order_by("document_id", "-id")
    trained = _trained_on(project)
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
    documents = {}
    for run in runs.select_related("model_version__training_run"):
        assert run.training_run is not None
        items = DatasetItem.objects.filter(dataset=run.training_run.dataset_id, split=Split.TRAIN)
        documents[run.source] = set(items.values_list("document_id", flat=True))
    return documents


# -- challenges ---------------------------------------------------------------------------------------------------


def challenge_first(*, run: Study, user: User, count: int) -> tuple[int, int]:
    """Challenges the labels of the first ``count`` suspects that are still as they were checked.

    Returns how many documents were sent to adjudication, and how many were skipped: challenged already, changed or
    removed since.
    """
    require(run.project, user, Action.CURATE)
    sent = 0
    number = LabelCheckSpec.model_validate(run.spec).evaluation
    evaluation = EvalRun.objects.filter(project=run.project_id, number=number).first() if number else None
    tried: set[int] = set()
    rows = SuspectLabel.objects.filter(run=run, place__lte=count).select_related("document", "revision")
    for suspect in rows.order_by("place"):
        if suspect.document_id in tried:
            continue
        tried.add(suspect.document_id)
        try:
            sent += challenge_suspect(suspect=suspect, user=user, eval_run=evaluation)
        except Refused:
            continue
    audit_services.record(
        project=run.project,
        user=user,
        action="challenged suspect labels",
        about=str(run),
        details={"first": count, "sent": sent},
    )
    return sent, len(tried) - sent


def challenged(suspects_shown: Iterable[SuspectLabel]) -> dict[int, LabelChallenge]:
    """The newest challenge of the shown documents that is of the checked label, by document."""
    shown = {suspect.document_id: suspect.revision_id for suspect in suspects_shown}
    rows = LabelChallenge.objects.filter(document__in=shown).order_by("pk")
    return {row.document_id: row for row in rows if row.revision_id == shown[row.document_id]}
