"""Required sample sizes: the labels that a gate needs to pass, sampled at random and queued for the hold-out."""

import math
import secrets
from dataclasses import dataclass, replace
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import F, Func, Q, TextField, Value
from django.db.models.lookups import Exact

from evaluation.audit import services as audit_services
from evaluation.gates.holdout import membership
from evaluation.gates.metrics import METRICS
from evaluation.gates.metrics.metric import VerdictStatus
from evaluation.gates.metrics.rate_tests import rate_at_least
from evaluation.gates.policy.definition import Gate
from evaluation.gates.policy.services import gates_of
from evaluation.gates.verdicts import Verdict
from evaluation.models import EvalOutput, GateReport
from evaluation.scores.slice_selector import KNOWN, Slice
from evaluation.stats import Outlook, alpha_level, estimated_outlook, outlook
from labeling.datasets import holdout_sampling
from labeling.models import DatasetItem, Document, DocumentState, Membership, Project, Split
from labeling.models.documents import LABELED_STATES
from slmstudio.access import Action, Role, require
from slmstudio.errors import Refused

#: more labels than this cannot be queued at once
MAX_LABELS = 5_000
#: who labels round robin
LABELING_ROLES = (Role.ANNOTATOR, Role.REVIEWER)
#: who the documents are assigned to, besides a member by name
ROUND_ROBIN, ANY_ANNOTATOR = "turn", ""


@dataclass(frozen=True)
class RequiredLabels:
    """The labels that a gate needs to pass: ``required`` more hold-out documents, of which ``waiting`` are queued and
    ``labeled`` are labeled since the report; ``available`` unlabeled documents can be sampled.

    ``allowed``: how many of them may fail; None where ``required`` is an estimate. ``outlook``: the chance that they
    pass the gate, and the number with a high chance, in documents as ``required``.
    """

    key: str
    title: str
    slice: str
    required: int
    allowed: int | None
    waiting: int
    labeled: int
    available: int
    outlook: Outlook

    @property
    def missing(self) -> int:
        """How many are not queued yet."""
        return max(0, self.required - self.waiting - self.labeled)

    @property
    def shortfall(self) -> int:
        """How many of them cannot be sampled, because there are too few unlabeled documents."""
        return max(0, self.missing - self.available)

    @property
    def is_queued(self) -> bool:
        """Whether all of them are queued."""
        return not self.missing


def required_labels(report: GateReport) -> list[RequiredLabels]:
    """The required labels of each gate of a report that more labels can pass, the largest number first."""
    verdicts = [Verdict.from_dict(row) for row in report.verdicts]
    verdicts = [verdict for verdict in verdicts if _needs_labels(verdict)]
    available: dict[str, int] = {}
    for verdict in verdicts:
        gate = verdict.gate
        if gate.slice not in available:
            available[gate.slice] = holdout_sampling.unlabeled_documents(report.project, filter_of(gate)).count()
    samples = membership.slice_samples(report.project_id)
    rows = [_required_labels(report, verdict, available[verdict.gate.slice], samples) for verdict in verdicts]
    return sorted(rows, key=lambda row: -row.missing)


def _needs_labels(verdict: Verdict) -> bool:
    return (
        verdict.status is VerdictStatus.NOT_PROVEN
        and bool(verdict.needed)
        and METRICS[verdict.gate.metric].needs_labels
    )


def _required_labels(report: GateReport, verdict: Verdict, available: int, samples: dict[int, str]) -> RequiredLabels:
    gate = verdict.gate
    for_one = _documents_for_one(report, verdict, samples)
    required = math.ceil((verdict.needed or 0) * for_one)
    tested = DatasetItem.objects.filter(dataset_id=report.eval_run.dataset_id, split=Split.HOLDOUT).values("document")
    since = Document.objects.filter(filter_of(gate), project_id=report.project_id, holdout=True)
    # Documents that were sampled for another slice do not count in this gate.
    since = since.exclude(pk__in=tested).exclude(pk__in=membership.samples_of_other_slices(samples, gate.slice))
    labeled = since.filter(state__in=LABELED_STATES).count()
    waiting = since.exclude(state__in=[*LABELED_STATES, DocumentState.SKIPPED]).count()
    chance = _outlook(report, verdict)
    enough = None if chance.enough is None else math.ceil(chance.enough * for_one)
    return RequiredLabels(
        gate.key,
        gate.title,
        gate.slice,
        required,
        verdict.allowed_failures,
        waiting,
        labeled,
        available,
        replace(chance, enough=enough),
    )


def _outlook(report: GateReport, verdict: Verdict) -> Outlook:
    """The chance that the required sample passes a gate at the next hold-out evaluation, in documents that count."""
    gate, metric = verdict.gate, METRICS[verdict.gate.metric]
    alpha = round(1 - gate.confidence, 12)
    if not gates_of(report.policy).single_evaluation:
        alpha = alpha_level(report.holdout_number + 1, alpha)
    needed = verdict.needed or 0
    if verdict.allowed_failures is None:
        return estimated_outlook(verdict.n, needed, alpha)
    if not verdict.n or verdict.k is None:
        right = 0
    else:
        right = verdict.k if metric.test is rate_at_least else verdict.n - verdict.k
    is_share = gate.operator == ">=" and not metric.is_paired
    threshold = gate.threshold if is_share else round(1 - gate.threshold, 12)
    # Documents of families count as fewer independent ones, also those that are still to be labeled.
    share = verdict.effective / verdict.n if verdict.effective and verdict.n else 1.0
    n, right, more = round(verdict.n * share), round(right * share), math.ceil(needed * share)
    chance = outlook(min(right, n), n, more, threshold, alpha)
    return chance if chance.enough is None else replace(chance, enough=math.ceil(chance.enough / share))


def _documents_for_one(report: GateReport, verdict: Verdict, samples: dict[int, str]) -> float:
    """How many documents contain one that counts: not every document has the field or the class."""
    if not verdict.n:
        return 1.0
    rows = EvalOutput.objects.filter(filter_of(verdict.gate, "document__"), eval_run=report.eval_run)
    rows = rows.exclude(document__in=membership.samples_of_other_slices(samples, verdict.gate.slice))
    return max(1.0, rows.count() / verdict.n)


def filter_of(gate: Gate, prefix: str = "", tags: str = "tags") -> Q:
    """The documents of a gate's slice; ``tags`` is the column of tags, and ``prefix`` the path to the metadata."""
    where = Slice.parse(gate.slice)
    if where.tag:
        return Q(**{f"{tags}__contains": [where.tag]})
    if where.key:
        value = Func(
            F(f"{prefix}metadata"), Value(where.key), function="jsonb_extract_path_text", output_field=TextField()
        )
        return Q(Exact(value, Value(where.value)))
    # Groups of training documents are never sampled for the hold-out, so all that is sampled is new.
    return Q(pk__in=()) if where.families == KNOWN else Q()


def queue_labels(
    *, report: GateReport, key: str, user: User, who: str = ROUND_ROBIN, seed: int | None = None
) -> holdout_sampling.HoldoutSample:
    """Samples the documents that a gate needs for the hold-out, and queues them for labeling.

    Args:
        report: the report with the verdict.
        key: the gate's key.
        user: recorded in the audit log, with the seed and every document.
        who: who labels: ``turn`` for annotators round robin, a user name, or "" for any annotator.
        seed: of the sample; None: a random one.

    Raises:
        Refused: ``field`` is key or who.
    """
    require(report.project, user, Action.CURATE)
    _missing_labels(report, key)  # before texts are read
    people = _people(report, who)
    known = holdout_sampling.TrainingTexts(report.project).read()
    with transaction.atomic():
        # A concurrent request waits here and then finds nothing missing.
        Project.objects.select_for_update(no_key=True).get(pk=report.project_id)
        missing = _missing_labels(report, key)
        gate = next(Verdict.from_dict(row).gate for row in report.verdicts if row["gate"]["key"] == key)
        grown = holdout_sampling.sample_holdout(
            project=report.project,
            count=missing.missing,
            seed=secrets.randbelow(2**31) if seed is None else seed,
            only=filter_of(gate),
            people=people,
            known=known,
        )
        if not grown.documents:
            raise Refused(_no_documents_message(grown), field="key", code="no_documents")
        audit_services.record(
            project=report.project,
            user=user,
            action=membership.SAMPLED_ACTION,
            about=str(report),
            details={
                "gate": key,
                "slice": gate.slice,
                "wanted": missing.missing,
                "drawn": len(grown.documents),
                "from": grown.pool,
                "passed over": len(grown.near),
                "seed": grown.seed,
                "documents": grown.documents,
                "people": [person.get_username() for person in people],
            },
        )
    return grown


def _missing_labels(report: GateReport, key: str) -> RequiredLabels:
    """The required labels of a gate. Raises Refused where none are missing, or more than can be queued at once."""
    gate = next((row for row in required_labels(report) if row.key == key), None)
    if gate is None:
        raise Refused("More labels cannot make this gate pass.", field="key", code="no_labels_needed")
    if gate.is_queued:
        raise Refused(
            f"The {gate.required:,} documents are already in the hold-out; {gate.waiting:,} of them are unlabeled.",
            field="key",
            code="already_queued",
        )
    if gate.missing > MAX_LABELS:
        raise Refused(
            f"{gate.missing:,} labels would be required. Lower the threshold or import labels.",
            field="key",
            code="too_many",
        )
    return gate


def _no_documents_message(grown: holdout_sampling.HoldoutSample) -> str:
    if grown.near:
        return "All unlabeled documents are near-duplicates of training documents. Import other documents."
    return "There are no unlabeled documents to sample. Import documents without labels."


def _people(report: GateReport, who: str) -> list[Any]:
    members = Membership.objects.filter(project_id=report.project_id).select_related("user").order_by("pk")
    if who == ANY_ANNOTATOR:
        return []
    if who == ROUND_ROBIN:
        return [member.user for member in members if member.role in LABELING_ROLES]
    users = [member.user for member in members if member.user.get_username() == who]
    if not users:
        raise Refused(f"{who[:60]} is not a member of this project.", field="who", code="not_a_member")
    return users
