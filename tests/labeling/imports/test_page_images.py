"""Imported PDFs and the images of their pages."""

import zipfile
from io import BytesIO

import pytest

from labeling.models import (
    Document,
    Page,
)
from slmstudio.storage import artifacts
from tests.labeling.desk import Desk, browser, make_desk
from tests.labeling.import_files import pdf
from tests.labeling.import_pages import file, imported
from tests.shared_rows import shared_fixture

pytestmark = pytest.mark.django_db


@shared_fixture
def desk() -> Desk:
    return make_desk()


def test_page_image_is_for_members(desk: Desk) -> None:
    imported(desk, {"file": file("a.pdf", pdf([["Invoice A-1"], ["Page two"]]))})
    document = Document.objects.get()
    assert (document.external_id, document.page_count) == ("a.pdf", 2)
    url = desk.url(f"documents/{document.pk}/pages/2/image")
    client = desk.as_("annotator")
    answer = client.get(url)
    data = b"".join(answer.streaming_content)  # type: ignore[attr-defined]
    assert (answer["Content-Type"], data[8:12]) == ("image/webp", b"WEBP")
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["Cache-Control"] == "private, no-store"
    assert client.get(desk.url(f"documents/{document.pk}/pages/3/image")).status_code == 404

    stranger = browser(make_desk("other").people["owner"])
    assert stranger.get(url).status_code == 404
    assert stranger.get(f"/p/other/documents/{document.pk}/pages/2/image").status_code == 404
    artifacts.store().delete(Page.objects.get(number=2).image_key)
    assert client.get(url).status_code == 404


def test_a_folder_of_pdfs_with_a_broken_one(desk: Desk) -> None:
    whole = BytesIO()
    with zipfile.ZipFile(whole, "w") as zipped:
        zipped.writestr("good.pdf", pdf([["Good"]]))
        zipped.writestr("bad.pdf", pdf([["Bad"]])[:150])
        zipped.writestr("locked.pdf", pdf([["x"]], encrypted=True))
    run = imported(desk, {"file": file("f.zip", whole.getvalue()), "ocr": "never"})
    assert (run.imported, run.rejected) == (1, 2)
    reasons = {row["file"]: row["reason"] for row in run.rejects}
    assert "password" in reasons["locked.pdf"]
    assert "not a valid PDF" in reasons["bad.pdf"]
