"""Pages of learning curves: the list with a new one, and one curve."""

from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from evaluation.learning_curves import queries, services
from evaluation.learning_curves.forms import LearningCurveForm
from evaluation.learning_curves.outlook import MORE, field_curves
from evaluation.models import LearningCurve
from labeling.models import DatasetVersion, Project, Split
from slmstudio.access import Action, object_for, project_for
from slmstudio.errors import Refused
from slmstudio.web.requests import SignedInRequest, is_htmx


@require_http_methods(["GET", "HEAD", "POST"])
def learning_curves(request: SignedInRequest, slug: str) -> HttpResponse:
    """The curves of a project; POST starts one."""
    project = project_for(request.user, slug, Action.RUN if request.method == "POST" else Action.READ)
    form = LearningCurveForm(request.POST if request.method == "POST" else None, project=project)
    context: dict[str, Any] = {"project": project, "form": form, "curves": queries.curves(project)}
    if request.method == "POST" and form.is_valid():
        options = form.options()
        try:
            curve = services.start_learning_curve(project=project, user=request.user, **options)
        except Refused as refusal:
            form.add_error(refusal.field if refusal.field in form.fields else None, refusal.message)
            if refusal.code == services.FEW_DOCUMENTS:
                context["freeze"] = _freeze_url(project, options["dataset"])
        else:
            return redirect(curve)
    return render(request, "evaluation/learning_curves/list.html", context, status=422 if form.errors else 200)


def _freeze_url(project: Project, dataset: DatasetVersion) -> str:
    """The form of a freeze like that of a version, with the share of validation that a learning curve needs."""
    sizes, rules = dataset.counts["splits"], dataset.rules
    query = {
        "seed": dataset.seed,
        "validation": services.validation_share(sizes[Split.TRAIN] + sizes[Split.VALIDATION]),
        "holdout": round(100 * rules.get("holdout_share", 0.2), 1),
        **{name: rules.get(name, "") for name in ("group_by", "stratify", "large_families")},
    }
    return f"{reverse('datasets', args=[project.slug])}?{urlencode(query)}"


@require_safe
def learning_curve(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """One curve: by field the measurements, the fitted curve, and what more labels would bring."""
    rows = LearningCurve.objects.select_related("dataset", "base_model", "created_by")
    project, curve = object_for(request.user, slug, Action.READ, rows, number=number)
    if is_htmx(request) and request.GET.get("part") == "live":
        if not curve.is_live:
            return HttpResponse(headers={"HX-Refresh": "true"})
        return render(request, "evaluation/learning_curves/curve.html#live", {"project": project, "run": curve})
    points = queries.points(curve)
    labels = max((point.labels for point in points), default=0)
    fields = field_curves([(point.labels, point.fields) for point in points if point.fields], labels)
    context: dict[str, Any] = {
        "project": project,
        "run": curve,
        "points": points,
        "labels": labels,
        "more": MORE,
        "fields": fields,
        "outlooks": [one.outlook for one in fields if one.outlook is not None],
        "price": queries.label_price(project),
    }
    return render(request, "evaluation/learning_curves/curve.html", context)


@require_POST
def cancel(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Cancels a curve with its runs."""
    _, curve = object_for(request.user, slug, Action.RUN, LearningCurve, number=number)
    if not services.cancel(curve=curve, user=request.user):
        messages.info(request, "The learning curve has already ended.")
    return redirect(curve)
