"""The search index behind an import: filled in the order of ids, resumed by itself, in a run of its own."""

import pytest

from labeling.documents import search_index
from labeling.jobs import run_indexing
from labeling.models import Document, DocumentSearch, IndexRun
from slmstudio.runs.models import Status
from tests.labeling.desk import Desk, bring_in, invoice, make_desk
from tests.shared_rows import shared_fixture


@shared_fixture
def desk(db: None) -> Desk:
    desk = make_desk()
    bring_in(desk.project, [invoice(number) for number in range(25)])
    return desk


def test_only_the_project_is_indexed_and_case_insensitive(desk: Desk) -> None:
    bring_in(make_desk("other").project, [invoice(1)])
    run = search_index.index_text(desk.project.pk)
    assert run is not None
    assert search_index.index_text(desk.project.pk) is None, "it is queued"
    run_indexing(run.pk)
    run.refresh_from_db()
    assert (run.status, run.indexed, run.progress_done) == (Status.DONE, 25, 25)
    assert run.seconds is not None
    assert DocumentSearch.objects.count() == 25
    entry = DocumentSearch.objects.get(document__external_id="inv-0003")
    assert entry.content.startswith("INV-0003\nINVOICE F-3 OF 2026")
    assert entry.project_id == desk.project.pk


def test_indexing_resumes_after_the_last_row(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_index, "BATCH", 10)
    assert search_index._fill(desk.project.pk) == 10
    known = set(Document.objects.order_by("pk").values_list("pk", flat=True)[:10])
    assert set(DocumentSearch.objects.values_list("pk", flat=True)) == known
    run = search_index.index_text(desk.project.pk)
    assert run is not None
    run_indexing(run.pk)
    run.refresh_from_db()
    assert (run.indexed, DocumentSearch.objects.count()) == (15, 25)
    assert search_index.index_text(desk.project.pk) is None, "nothing is left to do"


def test_indexing_is_restarted_unless_it_fails_three_times(desk: Desk) -> None:
    run = search_index.index_text(desk.project.pk)
    assert run is not None
    assert search_index.index_all() == [], "it is queued"
    assert run.claim()
    run.fail("its worker is lost")
    (again,) = search_index.index_all()
    run_indexing(again.pk)
    assert DocumentSearch.objects.count() == 25
    assert search_index.index_all() == []
    DocumentSearch.objects.all().delete()
    IndexRun.objects.all().delete()
    for _ in range(3):
        IndexRun.objects.create(project=desk.project).fail("broken")
    assert search_index.index_all() == []


def test_cancelled_index_run_keeps_entries(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_index, "BATCH", 10)
    run = search_index.index_text(desk.project.pk)
    assert run is not None
    IndexRun.objects.filter(pk=run.pk).update(cancel_requested=True)
    run_indexing(run.pk)
    run.refresh_from_db()
    assert (run.status, run.indexed, DocumentSearch.objects.count()) == (Status.CANCELLED, 10, 10)
