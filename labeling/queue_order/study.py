"""The order of a project's queue as a kind of study: set, computed and kept current.

The queue (``labeling.annotation.queue``) reads the places of the study that ``Project.order_run`` names. A new one
writes its places first and is put in effect by one update, so annotators never wait for it.
"""

from typing import Any

from django.db import connection
from django.db.models import Max
from django.http import QueryDict
from pydantic import Field

from labeling.models import Document, DocumentPlace, Gold, Project, Study
from labeling.models.documents import QUEUE
from labeling.queue_order.document_ranking import rank_documents
from labeling.studies import services
from labeling.studies.kinds import Choices, StudyKind, StudySpec
from slmstudio.access import Action
from slmstudio.errors import Refused
from slmstudio.runs.models import Status

Order = Project.QueueOrder
#: the order is computed again after this share of new labels, but at least after ``MIN_NEW_LABELS``
NEW_LABELS = 0.1
MIN_NEW_LABELS = 50
#: the next documents on the page
_SHOWN = 20
_COPY = "COPY labeling_documentplace (run_id, document_id, place, chosen, signal, open) FROM STDIN"


class QueueOrderSpec(StudySpec):
    """The order, and the share of places that are drawn at random."""

    method: str = Field(
        Order.COMBINED,
        title="Order of unassigned documents",
        description="Rejected and assigned documents come first. Confidence is that of pre-labels, or of a classifier.",
    )
    control_percent: float = Field(
        20,
        ge=0,
        le=100,
        title="Random places (%)",
        description="Random places represent the project, so a new hold-out is sampled from them only.",
    )


class QueueOrder(StudyKind[QueueOrderSpec]):
    """An order of the queue."""

    key = "queue-order"
    title = "Queue order"
    about = "Documents whose label teaches the most are labeled first."
    spec = QueueOrderSpec
    template = "labeling/queue_order/panel.html"
    styles = ("css/pages.css", "css/documents.css")
    action = Action.ORDER_QUEUE

    def choices(self, project: Project) -> dict[str, Choices]:
        return {"method": [(method or "import", label) for method, label in Order.choices]}

    def defaults(self, project: Project, chosen: Any) -> dict[str, Any]:
        return {"method": project.queue_order or Order.COMBINED, "control_percent": 100 * project.order_control}

    def plan(self, study: Study, spec: QueueOrderSpec) -> None:
        """Sets the order of the project; import order is in effect at once, the others once they are computed."""
        method = _method(spec)
        if method not in Order.values:
            raise Refused("Choose an order from the list.", field="method")
        for other in Study.objects.live().filter(project=study.project, kind=self.key):
            other.cancel()
        changes = {"order_run": None} if method == Order.IMPORT else {}
        Project.objects.filter(pk=study.project_id).update(
            queue_order=method, order_control=spec.control_percent / 100, **changes
        )

    def conclude(self, study: Study, spec: QueueOrderSpec) -> dict[str, Any]:
        """Computes the order and puts it in effect, unless another one was set since."""
        project, method = study.project, _method(spec)
        if method == Order.IMPORT:
            return {"summary": str(Order.IMPORT.label)}
        newest = Document.objects.filter(project=project).aggregate(newest=Max("pk"))["newest"] or 0
        seed = study.number + 16
        ranked = rank_documents(project, method, control_share=spec.control_percent / 100, seed=seed)
        with connection.cursor() as cursor, cursor.copy(_COPY) as copy:
            for place, pk in enumerate(ranked.order, start=1):
                copy.write_row((study.pk, pk, place, pk not in ranked.at_random, round(ranked.signal[pk], 4), True))
        # Documents that were labeled while it was computed.
        DocumentPlace.objects.filter(run=study).exclude(document__state__in=QUEUE).update(open=False)
        Project.objects.filter(pk=project.pk, queue_order=method).update(order_run=study)
        # Closed places stay: they say which labels were chosen by a signal.
        DocumentPlace.objects.filter(run__project=project, open=True).exclude(run=study).delete()
        return {
            "documents": len(ranked.order),
            "labels": ranked.labels,
            "signal": ranked.source,
            "newest_document": newest,
            "summary": f"{len(ranked.order):,} documents",
        }

    def panel(self, study: Study, spec: QueueOrderSpec, query: QueryDict) -> dict[str, Any]:
        project = study.project
        closed = DocumentPlace.objects.filter(run__project=project, open=False)
        places = DocumentPlace.objects.filter(run=study, open=True, document__assigned_to__isnull=True)
        following = places.select_related("document").defer("document__text", "document__metadata").order_by("place")
        return {
            "method": _method(spec),
            "method_label": Order(_method(spec)).label,
            "in_effect": project.order_run_id == study.pk,
            "new_labels": new_labels(project, study),
            "next_places": list(following[:_SHOWN]),
            "labeled_chosen": closed.filter(chosen=True).values("document").distinct().count(),
            "labeled_at_random": closed.filter(chosen=False).values("document").distinct().count(),
        }


def _method(spec: QueueOrderSpec) -> str:
    return "" if spec.method == "import" else spec.method


QUEUE_ORDER = QueueOrder()


def update_all() -> None:
    """Computes orders again that new labels or documents have outdated; a periodic task."""
    for project in Project.objects.editable().exclude(queue_order=Order.IMPORT).select_related("order_run"):
        computed = project.studies.filter(kind=QUEUE_ORDER.key)
        if not computed.live().exists() and is_outdated(project):
            spec = QueueOrderSpec.model_validate(QUEUE_ORDER.defaults(project, {}))
            services.start(project=project, user=None, kind=QUEUE_ORDER, spec=spec)


def is_outdated(project: Project) -> bool:
    """Whether the order of a project should be computed again. Not where the last computation failed on the same
    labels.
    """
    current = project.order_run
    last = project.studies.filter(kind=QUEUE_ORDER.key).order_by("-pk").first()
    if current is None:
        return last is None or last.status == Status.CANCELLED or new_labels(project, last) >= MIN_NEW_LABELS
    if Document.objects.filter(project=project, pk__gt=current.result.get("newest_document", 0)).exists():
        return True
    enough = max(MIN_NEW_LABELS, NEW_LABELS * int(current.result.get("labels", 0)))
    return bool(current.spec["method"] != Order.RANDOM) and new_labels(project, current) >= enough


def new_labels(project: Project, study: Study) -> int:
    """How many gold labels are newer than a computation."""
    since = study.started_at or study.created_at
    return int(Gold.objects.current(project).filter(created_at__gt=since).count())
