"""The columns of a table: guessed and chosen roles, the preview, and expired uploads."""

import pytest

from labeling.imports import uploads
from labeling.jobs import run_import
from labeling.models import (
    Document,
    Gold,
    ImportRun,
)
from tests.labeling.desk import Desk, make_desk
from tests.labeling.import_pages import HTMX, PAGE, columns_url, upload_token
from tests.shared_rows import shared_fixture

pytestmark = pytest.mark.django_db


@shared_fixture
def desk() -> Desk:
    return make_desk()


def test_table_asks_for_columns() -> None:
    desk = make_desk("routing", template="ticket-routing")
    address = columns_url(desk)
    client = desk.as_("engineer")
    answer = client.get(address)
    page = answer.content.decode()
    assert not ImportRun.objects.exists()
    assert [(column["name"], column["role"]) for column in answer.context["columns"]] == [
        ("text", "text"),
        ("category", "gold:queue"),
    ]
    assert "2 of the first 3 rows are valid" in page
    assert "unknown" in page

    sent = client.post(desk.url(f"{PAGE}columns/"), {"u": upload_token(address), "c0": "text", "c1": "gold:queue"})
    run = ImportRun.objects.get()
    assert sent["Location"] == desk.url(f"{PAGE}{run.pk}/")
    run_import(run.pk)
    run.refresh_from_db()
    assert (run.kind, run.imported, run.rejected, run.as_holdout) == ("csv", 2, 1, True)
    assert {gold.revision.value["queue"] for gold in Gold.objects.all()} == {"billing", "sales"}


def test_other_columns_and_options_can_be_chosen(desk: Desk) -> None:
    client = desk.as_("engineer")
    options = columns_url(desk, data=b"a|b,c\nd|e,f\n")
    answer = client.get(f"{options}&delimiter=|&header=no")
    assert [column["name"] for column in answer.context["columns"]] == ["column 1", "column 2"]
    assert answer.context["rows"] == [["a", "b,c"], ["d", "e,f"]]
    address = columns_url(desk)
    invalid = client.post(desk.url(f"{PAGE}columns/"), {"u": upload_token(address), "c0": "beside", "c1": "beside"})
    assert invalid.status_code == 422
    assert "Choose the column that contains the document text." in invalid.content.decode()
    assert not ImportRun.objects.exists()
    fragment = client.get(f"{address}&c1=beside", headers=HTMX).content.decode()
    assert "<html" not in fragment
    assert "The first 3 rows are valid" in fragment
    client.post(desk.url(f"{PAGE}columns/"), {"u": upload_token(address), "c1": "id"})
    run_import(ImportRun.objects.get().pk)
    assert set(Document.objects.values_list("external_id", flat=True)) == {"billing", "sales", "unknown"}


def test_upload_token_is_signed_per_project(desk: Desk) -> None:
    address = columns_url(desk)
    other = make_desk("other")
    for where, text in ((other, upload_token(address)), (desk, "made-up"), (desk, "")):
        answer = where.as_("engineer").get(where.url(f"{PAGE}columns/"), {"u": text}, follow=True)
        assert "Upload it again" in answer.content.decode()


def test_expired_upload_is_deleted(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    address = columns_url(desk)
    assert uploads.delete_expired() == 0
    monkeypatch.setattr(uploads, "RETENTION", -uploads.RETENTION)
    assert uploads.delete_expired() >= 1
    monkeypatch.undo()
    assert "Upload it again" in desk.as_("engineer").get(address, follow=True).content.decode()
