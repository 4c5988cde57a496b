"""Downloads of packages."""

from django.http import Http404, HttpResponseBase, StreamingHttpResponse
from django.views.decorators.http import require_safe

from serving.models import Release
from serving.packages.bundle import bundle_folder, bundle_name
from slmstudio.access import Action, object_for
from slmstudio.errors import Refused
from slmstudio.web.requests import SignedInRequest
from training.exports.downloads import zip_folder

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
