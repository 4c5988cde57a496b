"""Packages, a section of the page of a deployment; Build again, and downloads."""

from typing import Any

from django.http import Http404, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_POST, require_safe

from serving.models import Release
from serving.navigation import section_url
from serving.packages import services
from slmstudio.access import Action, object_for, project_for
from slmstudio.errors import Refused
from slmstudio.storage.artifacts import local_path
from slmstudio.web.requests import SignedInRequest, is_htmx, redirect_to
from training.exports.downloads import Folder, zip_folder


@require_safe
def bundle(request: SignedInRequest, slug: str, number: int) -> HttpResponseBase:
    """The bundle of a release as a streamed zip."""
    _, release = object_for(request.user, slug, Action.DEPLOY, Release, number=number)
    package = release.package
    if package is None or not package.has_bundle:
        raise Http404("The version has no bundle. Build its package again with llama.cpp.")
    folder = Folder(local_path(package.folder_key), tuple(str(entry["path"]) for entry in package.files))
    if folder.missing:
        raise Http404(f"{folder.missing[0]} is missing on disk. Restore a backup.")
    name = f"{release.project.slug}-release-{release.number}"
    response = StreamingHttpResponse(zip_folder(folder, name), content_type="application/zip")
    response["Content-Disposition"] = f'attachment; filename="{name}.zip"'
    return response


@require_safe
def packages(request: SignedInRequest, slug: str) -> HttpResponse:
    """Every package with its engines; it refreshes itself while one is being built."""
    project = project_for(request.user, slug, Action.READ)
    if not is_htmx(request):
        return redirect_to(request, section_url(slug, "packages"))
    return _packages(request, project)


def _packages(request: SignedInRequest, project: Any, refused: str = "") -> HttpResponse:
    groups = services.of_project(project)
    context = {
        "project": project,
        "groups": groups,
        "building": any(group["is_building"] for group in groups),
        "refused": refused,
    }
    return render(request, "serving/packages/packages.html", context, status=422 if refused else 200)


@require_POST
def build_again(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Another package of the same evaluation, with the chosen engines."""
    project = project_for(request.user, slug, Action.DEPLOY)
    package = get_object_or_404(project.packages.with_content(), number=number)
    try:
        services.build_again(run=package.eval_run, user=request.user, variants=request.POST.getlist("variants"))
    except Refused as refused:
        return _packages(request, project, refused.message)
    return _packages(request, project) if is_htmx(request) else redirect_to(request, section_url(slug, "packages"))
