"""The price of proof, paid: exactly the labels that a verdict lacks are drawn at random and queued for the hold-out."""

import math
import secrets
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import F, Func, Q, TextField, Value
from django.db.models.lookups import Exact

from evaluation.audit import services as audit_services
from evaluation.gates.holdout import membership
from evaluation.gates.policy.definition import METRICS
from evaluation.gates.verdicts import Gate, Status, Verdict
from evaluation.models import EvalOutput, GateReport
from evaluation.scores.slices import Slice
from labeling.datasets import holdout_sampling
from labeling.models import DatasetItem, Document, DocumentState, Membership, Project, Split
from labeling.models.documents import LABELED_STATES
from slmstudio.access import Role
from slmstudio.errors import Refused

#: more labels than this are a plan, not an afternoon
MOST = 5_000
#: whoever labels for a living comes first
_LABELLERS = (Role.ANNOTATOR, Role.REVIEWER)
TURN, ANYBODY = "turn", ""


@dataclass(frozen=True)
class Missing:
    """What a verdict lacks: ``wanted`` more held-out documents, of which so many wait for a label or have one since.

    ``allowed``: how many of them may fail; None where that is not counted.
    """

    key: str
    title: str
    slice: str
    wanted: int
    allowed: int | None
    waiting: int
    labelled: int
    drawable: int

    @property
    def missing(self) -> int:
        """How many are still to be drawn."""
        return max(0, self.wanted - self.waiting - self.labelled)

    @property
    def short(self) -> int:
        """How many of them cannot be drawn, because there are no more unlabelled documents."""
        return max(0, self.missing - self.drawable)

    @property
    def queued(self) -> bool:
        """Whether all that is missing was drawn already."""
        return not self.missing


def missing_labels(report: GateReport) -> list[Missing]:
    """What the verdicts of a report lack that labels can prove; the dearest first."""
    verdicts = [Verdict.from_dict(row) for row in report.verdicts]
    priced = [verdict for verdict in verdicts if _by_labels(verdict)]
    drawable: dict[str, int] = {}
    for verdict in priced:
        gate = verdict.gate
        if gate.slice not in drawable:
            drawable[gate.slice] = holdout_sampling.unlabeled_documents(report.project, filter_of(gate)).count()
    drawn = membership.drawn_for_slices(report.project_id)
    found = [_missing(report, verdict, drawable[verdict.gate.slice], drawn) for verdict in priced]
    return sorted(found, key=lambda one: -one.missing)


def _by_labels(verdict: Verdict) -> bool:
    return verdict.status is Status.NOT_PROVEN and bool(verdict.needed) and METRICS[verdict.gate.metric].documents


def _missing(report: GateReport, verdict: Verdict, drawable: int, drawn: dict[int, str]) -> Missing:
    gate = verdict.gate
    where = filter_of(gate)
    wanted = math.ceil((verdict.needed or 0) * _documents_for_one(report, verdict, drawn))
    judged = DatasetItem.objects.filter(dataset_id=report.eval_run.dataset_id, split=Split.HOLDOUT).values("document")
    since = Document.objects.filter(where, project_id=report.project_id, holdout=True).exclude(pk__in=judged)
    # What was drawn for another slice will not count in this gate.
    since = since.exclude(pk__in=membership.of_others(drawn, gate.slice))
    labelled = since.filter(state__in=LABELED_STATES).count()
    waiting = since.exclude(state__in=[*LABELED_STATES, DocumentState.SKIPPED]).count()
    return Missing(gate.key, gate.title, gate.slice, wanted, verdict.allowed_failures, waiting, labelled, drawable)


def _documents_for_one(report: GateReport, verdict: Verdict, drawn: dict[int, str]) -> float:
    """How many documents hold one that counts: a field, or a class, is not in every document."""
    if not verdict.n:
        return 1.0
    rows = EvalOutput.objects.filter(filter_of(verdict.gate, "document__"), eval_run=report.eval_run)
    rows = rows.exclude(document__in=membership.of_others(drawn, verdict.gate.slice))
    return max(1.0, rows.count() / verdict.n)


def filter_of(gate: Gate, prefix: str = "", tags: str = "tags") -> Q:
    """The documents that a gate is about; ``tags`` is the column of tags, and ``prefix`` the way to the metadata."""
    where = Slice.parse(gate.slice)
    if where.tag:
        return Q(**{f"{tags}__contains": [where.tag]})
    if where.key:
        said = Func(
            F(f"{prefix}metadata"), Value(where.key), function="jsonb_extract_path_text", output_field=TextField()
        )
        return Q(Exact(said, Value(where.value)))
    return Q()


def queue_labels(
    *, report: GateReport, key: str, user: User, who: str = TURN, seed: int | None = None
) -> holdout_sampling.HoldoutSample:
    """Holds out what the verdict of a gate lacks, drawn at random, and puts it into people's queues.

    Args:
        report: the report with the verdict.
        key: the gate's key.
        user: who pays the price; it stands in the audit log, with the seed and every document.
        who: ``turn``: those who label, one after the other; a member's name: that person; "": whoever comes by.
        seed: of the draw; None: a new one.

    Raises:
        Refused: ``field`` is key or who: labels prove nothing here, all are queued already, or there are none.
    """
    _wanted(report, key)  # refuses at once, before anything is read
    people = _people(report, who)
    known = holdout_sampling.TrainingTexts(report.project).read()
    with transaction.atomic():
        # Whoever presses at the same time waits here, and then finds that nothing is missing any more.
        Project.objects.select_for_update(no_key=True).get(pk=report.project_id)
        wanted = _wanted(report, key)
        gate = next(Verdict.from_dict(row).gate for row in report.verdicts if row["gate"]["key"] == key)
        grown = holdout_sampling.sample_holdout(
            project=report.project,
            count=wanted.missing,
            seed=secrets.randbelow(2**31) if seed is None else seed,
            only=filter_of(gate),
            people=people,
            known=known,
        )
        if not grown.documents:
            raise Refused(_none(grown), field="key")
        audit_services.record(
            project=report.project,
            user=user,
            action=membership.DREW,
            about=str(report),
            details={
                "gate": key,
                "slice": gate.slice,
                "wanted": wanted.missing,
                "drawn": len(grown.documents),
                "from": grown.pool,
                "passed over": len(grown.near),
                "seed": grown.seed,
                "documents": grown.documents,
                "people": [person.get_username() for person in people],
            },
        )
    return grown


def _wanted(report: GateReport, key: str) -> Missing:
    """What the verdict of a gate lacks now. Raises Refused where that is nothing, or more than a button should draw."""
    wanted = next((one for one in missing_labels(report) if one.key == key), None)
    if wanted is None:
        raise Refused("Labels are not what this verdict lacks.", field="key")
    if wanted.queued:
        waiting = f"{wanted.waiting:,} of them wait for a label"
        raise Refused(f"The {wanted.wanted:,} documents are held out already; {waiting}.", field="key")
    if wanted.missing > MOST:
        raise Refused(
            f"It would take {wanted.missing:,} labels. Ask for less in the policy, or import labels.", field="key"
        )
    return wanted


def _none(grown: holdout_sampling.HoldoutSample) -> str:
    if grown.near:
        return (
            f"The {len(grown.near):,} unlabelled documents are nearly the same as training documents, so none of them "
            "can judge. Import others."
        )
    return "There is no unlabelled document left that could be drawn. Import more, without labels."


def _people(report: GateReport, who: str) -> list[Any]:
    members = Membership.objects.filter(project_id=report.project_id).select_related("user").order_by("pk")
    if who == ANYBODY:
        return []
    if who == TURN:
        return [one.user for one in members if one.role in _LABELLERS]
    found = [one.user for one in members if one.user.get_username() == who]
    if not found:
        raise Refused(f"{who[:60]} is no member of this project.", field="who")
    return found
