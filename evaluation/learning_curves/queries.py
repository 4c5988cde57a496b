"""Reads of learning curves."""

from django.db.models import QuerySet

from evaluation.learning_curves.outlook import Price, price
from evaluation.models import LearningCurve, LearningPoint
from labeling.models import Annotation, Project

#: the newest labels whose median time counts
_RECENT = 500


def curves(project: Project) -> QuerySet[LearningCurve]:
    """The curves of a project, newest first."""
    rows = LearningCurve.objects.filter(project=project).select_related("dataset", "base_model", "created_by")
    found: QuerySet[LearningCurve] = rows.order_by("-number")
    return found


def points(curve: LearningCurve) -> list[LearningPoint]:
    """The points of a curve, the smallest first."""
    return list(curve.points.select_related("training_run", "eval_run").order_by("share", "seed"))


def label_price(project: Project) -> Price:
    """The price of more labels, from the contract and the median time of the newest labels."""
    rows = Annotation.objects.filter(project=project, submitted=True, user__isnull=False, seconds__gt=0)
    times = sorted(rows.order_by("-submitted_at").values_list("seconds", flat=True)[:_RECENT])
    constraints = project.contract.constraints
    return price(
        review_cost=constraints.get("review_cost"),
        currency=constraints.get("currency", ""),
        seconds=times[len(times) // 2] if times else None,
    )
