"""Packages, a section of the page of a deployment; Build again, and downloads."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.http import Http404, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_POST, require_safe

from serving.models import Release
from serving.navigation import section_url
from serving.packages import services
from serving.packages.edge.bundle import linked, write_bundle
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
    return _zipped(zip_folder(folder, name), name)


@require_safe
def browser_bundle(request: SignedInRequest, slug: str, number: int) -> HttpResponseBase:
    """The package of a release as a streamed zip of a folder whose page answers in the browser."""
    _, release = object_for(request.user, slug, Action.DEPLOY, Release, number=number)
    package = release.package
    if package is None or not package.runs_in_browsers:
        raise Http404("The package of the version has no model that runs in browsers.")
    folder = local_path(package.folder_key)
    # On the disk of the package, so that its files are linked; the response removes it.
    temporary = tempfile.TemporaryDirectory(prefix=".browser-", dir=folder.parent)
    target = Path(temporary.name) / "edge"
    try:
        write_bundle(folder, target, title=f"{release.project.name}, package {package.number}", copy=linked)
    except (Refused, OSError) as error:
        temporary.cleanup()
        message = error.message if isinstance(error, Refused) else "A file of the package is missing on disk."
        raise Http404(message) from error
    names = tuple(str(file.relative_to(target)) for file in sorted(target.rglob("*")) if file.is_file())
    name = f"{release.project.slug}-release-{release.number}-browser"

    def chunks() -> Iterator[bytes]:
        with temporary:
            yield from zip_folder(Folder(target, names), name)

    return _zipped(chunks(), name)


def _zipped(chunks: Iterator[bytes], name: str) -> HttpResponseBase:
    response = StreamingHttpResponse(chunks, content_type="application/zip")
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
