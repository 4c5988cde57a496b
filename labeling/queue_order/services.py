"""The order of a project's queue: how it is set, computed and kept current.

The queue (``labeling.annotation.queue``) reads the places of the run that ``Project.order_run`` names. A new run writes
its places first and is put in effect by one update, so annotators never wait for it.
"""

from dataclasses import dataclass

from django.contrib.auth.models import User
from django.db import connection, transaction
from django.db.models import Max, Q

from labeling.models import Document, DocumentPlace, Gold, Project, QueueOrderRun
from labeling.models.documents import QUEUE
from labeling.queue_order.computation import rank_documents
from slmstudio.access import Action, require
from slmstudio.audit import note
from slmstudio.errors import Refused
from slmstudio.runs.models import Status

Order = Project.QueueOrder
#: the order is computed again after this share of new labels, but at least after ``MIN_NEW_LABELS``
NEW_LABELS = 0.1
MIN_NEW_LABELS = 50
_COPY = "COPY labeling_documentplace (run_id, document_id, place, chosen, signal, open) FROM STDIN"


@transaction.atomic
def set_order(*, project: Project, user: User, order: str, control_share: float) -> QueueOrderRun | None:
    """Sets the order of the queue and queues its computation; import order is in effect at once (None).

    ``control_share``: of the places, how many are drawn at random.

    Raises:
        Refused: ``field`` is order or control_share.
    """
    require(project, user, Action.ORDER_QUEUE)
    if order not in Order.values:
        raise Refused("Choose an order from the list.", field="order")
    if not 0 <= control_share <= 1:
        raise Refused("The share of random places must be from 0 to 100%.", field="control_share")
    row = Project.objects.select_for_update(no_key=True).get(pk=project.pk)
    row.queue_order, row.order_control = order, control_share
    if order == Order.IMPORT:
        row.order_run = None
    row.save(update_fields=["queue_order", "order_control", "order_run"])
    details = {"order": order or "import order", "control": control_share}
    note(project=row, user=user, action="set the queue order", about="queue", details=details)
    return start(project=row, user=user) if order != Order.IMPORT else None


def start(*, project: Project, user: User | None) -> QueueOrderRun:
    """Queues a computation of the project's order; queued ones are replaced, and a running one is cancelled."""
    require(project, user, Action.ORDER_QUEUE)
    for other in QueueOrderRun.objects.live().filter(project=project):
        other.cancel()
    run: QueueOrderRun = QueueOrderRun.objects.create(
        project=project,
        method=project.queue_order,
        control_share=project.order_control,
        seed=project.order_runs.count() + 17,
        created_by=user,
    )
    run.enqueue()
    return run


def process(run: QueueOrderRun) -> None:
    """Computes a claimed run and puts it in effect, unless the order was changed since.

    Raises:
        Refused: there is no signal to order by; the order in effect stays.
    """
    project = run.project
    newest = Document.objects.filter(project=project).aggregate(newest=Max("pk"))["newest"] or 0
    ranked = rank_documents(project, run.method, control_share=run.control_share, seed=run.seed)
    with transaction.atomic(), connection.cursor() as cursor:
        with cursor.copy(_COPY) as copy:
            for place, pk in enumerate(ranked.order, start=1):
                copy.write_row((run.pk, pk, place, pk not in ranked.at_random, round(ranked.signal[pk], 4), True))
        # Documents that were labeled while it was computed.
        DocumentPlace.objects.filter(run=run).exclude(document__state__in=QUEUE).update(open=False)
        facts = {
            "documents": len(ranked.order),
            "labels": ranked.labels,
            "signal": ranked.source,
            "newest_document": newest,
        }
        if not run.finish(facts=facts):
            raise _Superseded
        Project.objects.filter(pk=project.pk, queue_order=run.method).update(order_run=run)
    # Closed places stay: they say which labels were chosen by a signal.
    DocumentPlace.objects.filter(run__project=project, open=True).exclude(run=run).delete()


class _Superseded(Exception):
    """The run was cancelled; its places are rolled back."""


def run_order(run: QueueOrderRun) -> None:
    """Runs a claimed computation to its end."""
    try:
        process(run)
    except _Superseded:
        run.cancelled()
    except Refused as refusal:
        run.fail(refusal.message)


# -- keeping it current -------------------------------------------------------------------------------------------


def sweep() -> None:
    """Computes orders again that new labels or documents have outdated; called after each pass of the reaper."""
    for project in Project.objects.exclude(queue_order=Order.IMPORT).select_related("order_run"):
        if not QueueOrderRun.objects.live().filter(project=project).exists() and is_outdated(project):
            start(project=project, user=None)


def is_outdated(project: Project) -> bool:
    """Whether the order of a project should be computed again. Not where the last computation failed on the same
    labels.
    """
    run = project.order_run
    last = project.order_runs.order_by("-pk").first()
    if run is None:
        return last is None or last.status == Status.CANCELLED or new_labels(project, last) >= MIN_NEW_LABELS
    if Document.objects.filter(project=project, pk__gt=run.facts.get("newest_document", 0)).exists():
        return True
    return run.method != Order.RANDOM and new_labels(project, run) >= max(
        MIN_NEW_LABELS, NEW_LABELS * run.facts.get("labels", 0)
    )


def new_labels(project: Project, run: QueueOrderRun) -> int:
    """How many gold labels are newer than a computation."""
    since = run.started_at or run.created_at
    return int(Gold.objects.current(project).filter(Q(created_at__gt=since)).count())


# -- for the page -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class OrderStatus:
    """The order in effect (None: import order), the last computation, and what came since.

    ``labeled_chosen`` and ``labeled_at_random``: labeled documents whose place was chosen by a signal, and drawn.
    """

    current: QueueOrderRun | None
    last: QueueOrderRun | None
    new_labels: int
    labeled_chosen: int
    labeled_at_random: int
    next_places: list[DocumentPlace]


def order_status(project: Project, shown: int = 20) -> OrderStatus:
    """The status of a project's order with the next documents."""
    current = project.order_run
    closed = DocumentPlace.objects.filter(run__project=project, open=False)
    places = DocumentPlace.objects.filter(run=current, open=True, document__assigned_to__isnull=True)
    following = places.select_related("document").defer("document__text", "document__metadata").order_by("place")
    return OrderStatus(
        current,
        project.order_runs.order_by("-pk").first(),
        new_labels(project, current) if current is not None else 0,
        closed.filter(chosen=True).values("document").distinct().count(),
        closed.filter(chosen=False).values("document").distinct().count(),
        list(following[:shown]) if current is not None else [],
    )
