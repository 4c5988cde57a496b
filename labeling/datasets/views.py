"""Dataset versions: the list, freezing one, a running freeze."""

from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import ngettext
from django.views.decorators.http import require_http_methods, require_safe

from labeling.datasets import freeze, freeze_candidates
from labeling.datasets.forms import NAMES, FreezeForm
from labeling.datasets.queries import freeze_warnings
from labeling.models import DatasetVersion, FreezeRun, Project, SchemaMigration
from slmstudio.access import Action, project_for
from slmstudio.web.forms import FieldErrors
from slmstudio.web.requests import SignedInRequest


@require_http_methods(["GET", "HEAD", "POST"])
def datasets(request: SignedInRequest, slug: str) -> HttpResponse:
    """The versions of a project, the contents of a new one, and freezing it. GET accepts the values of the form."""
    project = project_for(request.user, slug, Action.CURATE if request.method == "POST" else Action.READ)
    data = request.POST if request.method == "POST" else request.GET if "seed" in request.GET else None
    form = FreezeForm(data, project=project)
    if request.method == "POST" and form.is_valid():
        frozen = _freeze(request, project, form)
        if frozen is not None:
            return redirect(frozen)
    preview = freeze_candidates.preview(project=project, rules=form.rules())
    context = {"project": project, "form": form, "preview": preview}
    if preview.documents and not form.errors and Action.CURATE in project.can:
        settings = form.settings()
        sizes = preview.split_sizes(settings["holdout_share"], settings["validation_share"])
        context["warnings"] = freeze_warnings(project, sizes)
    fragment = request.htmx and not request.htmx.history_restore_request  # type: ignore[attr-defined]
    if request.method != "POST" and fragment:
        return render(request, "labeling/datasets/list.html#preview", context)
    context |= {
        "datasets": project.datasets.for_page(),
        "unfinished": SchemaMigration.unfinished(project),
        "freezes": project.freezes.live().select_related("created_by").order_by("-pk"),
    }
    return render(request, "labeling/datasets/list.html", context, status=422 if form.errors else 200)


def _freeze(request: SignedInRequest, project: Project, form: FreezeForm) -> DatasetVersion | FreezeRun | None:
    """Freezes a small project directly, a large one in a job."""
    settings: dict[str, Any] = {**form.settings(), "rules": form.rules()}
    newest = project.datasets.newest()
    with FieldErrors(form, NAMES):
        if freeze.needs_job(project, form.rules()):
            return freeze.start_freeze(project=project, user=request.user, **settings)
        frozen = freeze.freeze(project=project, user=request.user, **settings)
        if newest is not None and frozen.pk == newest.pk:
            messages.info(request, f"No new version: nothing has changed since {frozen}.")
        else:
            count = frozen.counts["documents"]
            messages.success(request, f"Created {frozen} with {count:,} {ngettext('document', 'documents', count)}.")
        return frozen
    return None


@require_safe
def freeze_run(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """A freeze run: its progress or its result."""
    project = project_for(request.user, slug, Action.READ)
    run = get_object_or_404(project.freezes.select_related("created_by", "dataset"), pk=pk)
    fragment = "#progress" if request.htmx else ""  # type: ignore[attr-defined]
    return render(request, f"labeling/datasets/freeze_run.html{fragment}", {"project": project, "run": run})
