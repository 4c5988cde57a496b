"""The images of pages."""

from typing import Final

from django.http import FileResponse, Http404, HttpResponseBase
from django.views.decorators.http import require_safe

from labeling.models import Document, Page
from slmstudio.access import Action, object_for
from slmstudio.storage import artifacts
from slmstudio.web.requests import SignedInRequest

_TYPES: Final = {"webp": "image/webp", "jpg": "image/jpeg", "png": "image/png"}


@require_safe
def page_image(request: SignedInRequest, slug: str, pk: int, number: int) -> HttpResponseBase:
    """The image of a page."""
    _, document = object_for(request.user, slug, Action.READ, Document.objects.only("project", "sha256"), pk=pk)
    page = Page.objects.filter(document=document, number=number).only("image_key").first()
    content_type = _TYPES.get(page.image_key.rpartition(".")[2], "") if page is not None else ""
    if page is None or not content_type:
        raise Http404("This page has no image.")
    try:
        response = FileResponse(artifacts.store().open(page.image_key), content_type=content_type)
    except FileNotFoundError:
        raise Http404("The image of this page was deleted.") from None
    response["X-Content-Type-Options"] = "nosniff"
    response["Content-Disposition"] = "inline"
    return response
