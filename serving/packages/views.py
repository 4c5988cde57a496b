"""The page of packages, Build again, and downloads."""

from django.http import Http404, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from serving.models import Package, Release
from serving.packages import queries, services
from serving.packages.bundle import bundle_folder, bundle_name
from slmstudio.access import Action, object_for, project_for
from slmstudio.errors import Refused
from slmstudio.web.requests import SignedInRequest, is_htmx, redirect_to
from training.exports.downloads import zip_folder

_TEMPLATE = "serving/packages/packages.html"
_RELEASES = Release.objects.select_related("package", "project")


@require_safe
def bundle(request: SignedInRequest, slug: str, number: int) -> HttpResponseBase:
    """The bundle of a release as a streamed zip."""
    _, release = object_for(request.user, slug, Action.DEPLOY, _RELEASES, number=number)
    try:
        folder = bundle_folder(release)
    except Refused as refused:
        raise Http404(refused.message) from refused
    name = bundle_name(release)
    response = StreamingHttpResponse(zip_folder(folder, name), content_type="application/zip")
    response["Content-Disposition"] = f'attachment; filename="{name}.zip"'
    return response


@require_safe
def packages(request: SignedInRequest, slug: str) -> HttpResponse:
    """Every package with its engines; it refreshes itself while one is being built."""
    project = project_for(request.user, slug, Action.READ)
    part = "#list" if is_htmx(request) and request.GET.get("part") == "list" else ""
    groups = queries.of_project(project)
    context = {"project": project, "groups": groups, "building": any(group.is_building for group in groups)}
    return render(request, f"{_TEMPLATE}{part}", context)


@require_POST
def build_again(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Another package of the same evaluation, with the chosen engines."""
    project = project_for(request.user, slug, Action.DEPLOY)
    package = get_object_or_404(Package.objects.with_content(), project=project, number=number)
    try:
        services.build_again(run=package.eval_run, user=request.user, variants=request.POST.getlist("variants"))
    except Refused as refused:
        context = {"project": project, "groups": queries.of_project(project), "refused": refused.message}
        return render(request, f"{_TEMPLATE}{'#list' if is_htmx(request) else ''}", context, status=422)
    return redirect_to(request, reverse("packages", args=[slug]))
