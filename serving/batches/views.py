"""Batches, a section of the page of a deployment: upload, progress, result."""

from typing import Any

from django import forms
from django.http import FileResponse, Http404, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from serving.batches import lines, services
from serving.batches.lines import MAX_BYTES
from serving.models import BatchRun
from serving.navigation import section_url
from slmstudio.access import Action, object_for, project_for
from slmstudio.errors import Refused
from slmstudio.storage.artifacts import local_path
from slmstudio.web.body_limits import AROUND_FILES, takes_files
from slmstudio.web.forms import BootstrapForm
from slmstudio.web.paging import page
from slmstudio.web.requests import SignedInRequest, is_htmx, redirect_to


class BatchForm(BootstrapForm):
    """A file of documents."""

    file = forms.FileField(
        label="File",
        help_text='JSONL with one {"text": …} per line (optional: id, page, caller), or a JSON list. Up to 200 MB.',
        widget=forms.FileInput(attrs={"accept": ".jsonl,.ndjson,.json"}),
    )
    evidence = forms.BooleanField(
        label="Include the position of each value in the text",
        required=False,
        initial=True,
    )

    def __init__(self, data: Any = None, files: Any = None) -> None:
        # The page has another form with a file.
        super().__init__(data, files, auto_id="batch_%s")


_TEMPLATE = "serving/batches/batches.html"
SHOWN = 50


def _may_start(request: SignedInRequest, slug: str) -> None:
    project_for(request.user, slug, Action.DEPLOY)


@takes_files(MAX_BYTES + AROUND_FILES, "django.core.files.uploadhandler.TemporaryFileUploadHandler", check=_may_start)
@require_http_methods(["GET", "HEAD", "POST"])
def batches(request: SignedInRequest, slug: str) -> HttpResponse:
    """The batches; POST starts one."""
    project = project_for(request.user, slug, Action.DEPLOY)
    form = BatchForm(request.POST, request.FILES) if request.method == "POST" else BatchForm()

    def start() -> object:
        file, evidence = form.cleaned_data["file"], form.cleaned_data["evidence"]
        return services.start(
            project=project, user=request.user, source=file.file, name=file.name, evidence=evidence
        )  # fmt: skip

    if request.method == "POST" and form.is_accepted(start):
        if not is_htmx(request):
            return redirect_to(request, section_url(slug, "batches"))
        form = BatchForm()
    if request.method != "POST" and not is_htmx(request):
        return redirect_to(request, section_url(slug, "batches"))
    part = "#list" if request.method != "POST" and request.GET.get("part") == "list" else ""
    context = {**_listed(project), "form": form, "project": project}
    return render(request, f"{_TEMPLATE}{part}", context, status=422 if form.errors else 200)


def _listed(project: Any) -> dict[str, Any]:
    newest = page(project.batches.select_related("token", "created_by"), newest=True, size=SHOWN)
    failures = {
        run.pk: lines.first_failures(local_path(run.result_key)) for run in newest.rows if run.failed and run.has_result
    }
    return {"runs": newest.rows, "live": any(run.is_live for run in newest.rows), "failures": failures}


@require_safe
def result(request: SignedInRequest, slug: str, pk: int) -> HttpResponseBase:
    """The result as JSONL."""
    _, run = object_for(request.user, slug, Action.DEPLOY, BatchRun, pk=pk)
    path = local_path(run.result_key) if run.has_result else None
    if path is None or not path.exists():
        raise Http404("The batch has no result.")
    name = f"{slug}-batch-{run.pk}.jsonl"
    return FileResponse(path.open("rb"), as_attachment=True, filename=name, content_type="application/jsonl")


@require_POST
def cancel(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """Cancels a batch."""
    project, run = object_for(request.user, slug, Action.DEPLOY, BatchRun, pk=pk)
    run.project = project
    services.cancel(run=run, user=request.user)
    return _back(request, project)


@require_POST
def resume(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """Goes on with a batch."""
    project, run = object_for(request.user, slug, Action.DEPLOY, BatchRun, pk=pk)
    try:
        services.resume(run=run, user=request.user)
    except Refused as error:
        return _back(request, project, error.message)
    return _back(request, project)


def _back(request: SignedInRequest, project: Any, refused: str = "") -> HttpResponse:
    if not is_htmx(request) and not refused:
        return redirect_to(request, section_url(project.slug, "batches"))
    part = "#list" if is_htmx(request) else ""
    context = {**_listed(project), "form": BatchForm(), "project": project, "refused": refused}
    return render(request, f"{_TEMPLATE}{part}", context, status=422 if refused else 200)
