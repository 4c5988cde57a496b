"""The image of a page, for those who may read its document."""

from typing import Final

from django.http import FileResponse, Http404, HttpResponseBase
from django.utils.cache import get_conditional_response
from django.views.decorators.http import require_safe

from labeling.models import Document, Page
from slmstudio.access import Action, object_for
from slmstudio.storage import artifacts
from slmstudio.storage.hashing import sha256_text
from slmstudio.web.requests import SignedInRequest

_TYPES: Final = {"webp": "image/webp", "jpg": "image/jpeg", "png": "image/png"}


@require_safe
def page_image(request: SignedInRequest, slug: str, pk: int, number: int) -> HttpResponseBase:
    """The picture of one page. It never changes, so a browser that has it is told so without the file being read."""
    _, document = object_for(request.user, slug, Action.READ, Document.objects.only("project", "sha256"), pk=pk)
    page = Page.objects.filter(document=document, number=number).only("image_key").first()
    kind = _TYPES.get(page.image_key.rpartition(".")[2], "") if page is not None else ""
    if page is None or not kind:
        raise Http404("This page has no image.")
    etag = f'"{sha256_text(f"{page.pk}:{page.image_key}")[:32]}"'
    answer: HttpResponseBase | None = get_conditional_response(request, etag=etag)
    if answer is None:
        try:
            answer = FileResponse(artifacts.store().open(page.image_key), content_type=kind)
        except FileNotFoundError:
            raise Http404("The image of this page is gone.") from None
    answer["ETag"] = etag
    answer["Cache-Control"] = "private, max-age=3600"
    answer["X-Content-Type-Options"] = "nosniff"
    answer["Content-Disposition"] = "inline"
    return answer
