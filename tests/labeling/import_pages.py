"""What the tests of the import pages share."""

from typing import Any
from urllib.parse import parse_qs, urlsplit

from django.core.files.uploadedfile import SimpleUploadedFile

from labeling.jobs import run_import
from labeling.models import ImportRun
from tests.labeling.desk import Desk

HTMX = {"HX-Request": "true"}
PAGE = "documents/import/"
TABLE = b"text,category\nmy card is lost,billing\nI want to buy,sales\nwhat is this,unknown\n"


def file(name: str, data: bytes) -> SimpleUploadedFile:
    """A file to upload."""
    return SimpleUploadedFile(name, data)


def imported(desk: Desk, data: dict[str, Any]) -> ImportRun:
    """Posts the form and runs its import."""
    response = desk.as_("engineer").post(desk.url(PAGE), data)
    assert response.status_code == 302, response.content.decode()
    run = ImportRun.objects.order_by("-pk")[0]
    run_import(run.pk)
    run.refresh_from_db()
    return run


def columns_url(desk: Desk, name: str = "train.csv", data: bytes = TABLE) -> str:
    """Uploads a table; the URL of the page of its columns."""
    response = desk.as_("engineer").post(desk.url(PAGE), {"file": file(name, data), "as_holdout": "on"})
    assert response["Location"].startswith(desk.url(f"{PAGE}columns/?u="))
    return str(response["Location"])


def upload_token(url: str) -> str:
    """The signed upload in a URL."""
    return parse_qs(urlsplit(url).query)["u"][0]
