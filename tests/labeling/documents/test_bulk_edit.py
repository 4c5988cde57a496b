"""Changes of many documents: what each does and leaves alone, progress, the way back, rights."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from labeling.annotation import services as annotation_services
from labeling.datasets.freeze import freeze
from labeling.documents import bulk_edit
from labeling.jobs import run_bulk_edit
from labeling.models import BulkEdit, Document, DocumentState
from slmstudio.errors import Refused
from slmstudio.runs.models import Status
from slmstudio.runs.reaper import reap_lost_runs, requeue_interrupted
from slmstudio.storage import artifacts
from tests.labeling.desk import Desk, bring_in, invoice, make_desk
from tests.shared_rows import shared_fixture

Action = BulkEdit.Action


@shared_fixture
def desk(db: None) -> Desk:
    made = make_desk()
    bring_in(made.project, [invoice(number, gold=number % 2 == 0) for number in range(6)])
    return made


def do(desk: Desk, action: str, query: str | None = "", ids: list[int] | None = None, **params: Any) -> BulkEdit:
    """Asks for a change and makes it."""
    edit = bulk_edit.start(
        project=desk.project, user=desk.people["engineer"], action=action, params=params, query=query, ids=ids
    )
    run_bulk_edit(edit.pk)
    edit.refresh_from_db()
    return edit


def undone(desk: Desk, edit: BulkEdit) -> BulkEdit:
    back = bulk_edit.undo(edit=edit, user=desk.people["owner"])
    run_bulk_edit(back.pk)
    back.refresh_from_db()
    return back


def pks(*numbers: int) -> list[int]:
    names = [f"inv-{number:04}" for number in numbers]
    return list(Document.objects.filter(external_id__in=names).order_by("pk").values_list("pk", flat=True))


def test_selected_documents_are_assigned_and_unassigned(desk: Desk) -> None:
    edit = do(desk, Action.ASSIGN, None, pks(0, 1, 3), user="desk-annotator")
    assert (edit.status, edit.changed, edit.left_alone) == (Status.DONE, 2, 1)
    assert edit.params["left"] == {"it is not in the queue": 1}
    assigned = Document.objects.filter(assigned_to=desk.people["annotator"])
    assert list(assigned.order_by("pk").values_list("pk", flat=True)) == pks(1, 3)
    again = do(desk, Action.ASSIGN, None, pks(1, 3), user="desk-annotator")
    assert (again.changed, again.left_alone, again.progress_done) == (0, 0, 2)
    assert not bulk_edit.can_undo(again)
    do(desk, Action.ASSIGN, None, pks(3), user="desk-reviewer")
    back = undone(desk, edit)
    assert (back.status, back.changed, back.left_alone) == (Status.DONE, 1, 1)
    assert back.params["left"] == {"changed since": 1}
    assert Document.objects.get(pk=pks(1)[0]).assigned_to is None
    assert Document.objects.get(pk=pks(3)[0]).assigned_to == desk.people["reviewer"]
    with pytest.raises(Refused):
        bulk_edit.undo(edit=edit, user=desk.people["owner"])


def test_tags_of_all_that_match(desk: Desk) -> None:
    Document.objects.filter(pk__in=pks(2)).update(tags=["mine"])
    edit = do(desk, Action.TAG, "state=submitted", tags=["ocr_noise"])
    assert edit.changed == 3
    assert Document.objects.get(pk=pks(2)[0]).tags == ["mine", "ocr_noise"]
    assert Document.objects.get(pk=pks(1)[0]).tags == []
    removed = do(desk, Action.UNTAG, "tag=ocr_noise", tags=["ocr_noise"])
    assert (removed.changed, Document.objects.filter(tags__contains=["ocr_noise"]).count()) == (3, 0)
    assert undone(desk, removed).changed == 3
    assert Document.objects.get(pk=pks(2)[0]).tags == ["mine", "ocr_noise"]


def test_documents_of_a_version_do_not_move(desk: Desk) -> None:
    before = do(desk, Action.HOLDOUT, None, pks(0, 1))
    freeze(project=desk.project, user=desk.people["engineer"], holdout_share=0)
    undo = undone(desk, before)
    assert (undo.changed, undo.params["left"]) == (1, {"a dataset version used it": 1})
    assert Document.objects.get(pk=pks(0)[0]).holdout
    edit = do(desk, Action.HOLDOUT)
    assert (edit.changed, edit.params["left"]["a dataset version used it"]) == (3, 2)
    assert set(Document.objects.filter(holdout=True).values_list("pk", flat=True)) == set(pks(0, 1, 3, 5))
    assert do(desk, Action.TRAIN, "holdout=yes").changed == 3
    assert set(Document.objects.filter(holdout=True).values_list("pk", flat=True)) == set(pks(0))


def test_an_erased_document_does_not_return_to_the_queue(desk: Desk) -> None:
    Document.objects.filter(pk__in=pks(0)).update(erased_at=timezone.now(), state=DocumentState.SKIPPED)
    edit = do(desk, Action.REQUEUE, None, pks(0))
    assert (edit.changed, edit.params["left"]) == (0, {"it was erased": 1})


def test_requeue_keeps_labels(desk: Desk) -> None:
    skipped = Document.objects.get(pk=pks(1)[0])
    annotation_services.skip(document=skipped, user=desk.people["annotator"], reason="two invoices in one")
    edit = do(desk, Action.REQUEUE)
    states = dict(Document.objects.values_list("pk", "state"))
    assert {states[pk] for pk in pks(0, 2, 4)} == {DocumentState.IN_PROGRESS}
    assert states[skipped.pk] == DocumentState.NEW
    assert edit.changed == 4
    assert Document.objects.filter(annotations__isnull=False, golds__isnull=False).count() == 3
    # Until a newer label is submitted, the current one stays in datasets; the pages show it.
    assert freeze(project=desk.project, user=desk.people["engineer"], holdout_share=0).counts["documents"] == 3
    assert "The gold label is kept" in desk.as_("engineer").get(edit.get_absolute_url()).content.decode()
    undone(desk, edit)
    skipped.refresh_from_db()
    assert (skipped.state, skipped.skip_reason) == (DocumentState.SKIPPED, "two invoices in one")


def test_overlap_is_set_for_queued_documents(desk: Desk) -> None:
    edit = do(desk, Action.OVERLAP, overlap=2)
    assert (edit.changed, edit.left_alone) == (3, 3)
    document = Document.objects.get(pk=pks(1)[0])
    value = invoice(1)["gold"]
    annotation_services.submit(
        document=document, user=desk.people["annotator"], value=value, evidence={}, base_version=0
    )
    lower = do(desk, Action.OVERLAP, None, pks(1, 3), overlap=1)
    assert lower.params["left"] == {"it has a label": 1}
    assert lower.changed == 1


def test_bulk_edit_runs_in_batches_and_can_be_cancelled(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk_edit, "BATCH", 2)
    edit = bulk_edit.start(
        project=desk.project, user=desk.people["engineer"], action=Action.TAG, params={"tags": ["cut_off"]}, query=""
    )
    beat = BulkEdit.send_heartbeat

    def cancelled_after_one(self: BulkEdit, **changes: Any) -> bool:
        if changes.get("progress_done") == 2:
            BulkEdit.objects.filter(pk=self.pk).update(cancel_requested=True)
        return beat(self, **changes)

    monkeypatch.setattr(BulkEdit, "send_heartbeat", cancelled_after_one)
    run_bulk_edit(edit.pk)
    edit.refresh_from_db()
    assert (edit.status, edit.progress_total, edit.changed) == (Status.CANCELLED, 6, 2)
    assert Document.objects.filter(tags=["cut_off"]).count() == 2
    monkeypatch.setattr(BulkEdit, "send_heartbeat", beat)
    assert undone(desk, edit).changed == 2
    assert not Document.objects.filter(tags=["cut_off"]).exists()


def test_failed_bulk_edit_can_be_undone(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk_edit, "BATCH", 2)
    write, calls = bulk_edit._write, []

    def fails_at_the_second(changes: Any) -> None:
        calls.append(changes)
        if len(calls) == 2:
            raise OSError("no space left on device")
        write(changes)

    monkeypatch.setattr(bulk_edit, "_write", fails_at_the_second)
    edit = do(desk, Action.TAG, tags=["cut_off"])
    assert edit.status == Status.FAILED
    assert "no space left" in edit.error
    assert edit.changed == 2
    assert undone(desk, edit).changed == 2


@pytest.mark.parametrize("swept", [requeue_interrupted, reap_lost_runs])
def test_undo_covers_an_interrupted_edit(desk: Desk, monkeypatch: pytest.MonkeyPatch, swept: Any) -> None:
    monkeypatch.setattr(bulk_edit, "BATCH", 2)
    edit = bulk_edit.start(
        project=desk.project, user=desk.people["engineer"], action=Action.TAG, params={"tags": ["cut_off"]}, query=""
    )
    with monkeypatch.context() as killed:
        killed.setattr(BulkEdit, "send_heartbeat", lambda self, **changes: "progress_total" in changes or _kill())
        with pytest.raises(KeyboardInterrupt):
            run_bulk_edit(edit.pk)
    assert Document.objects.filter(tags=["cut_off"]).count() == 2
    BulkEdit.objects.filter(pk=edit.pk).update(heartbeat_at=timezone.now() - timedelta(days=1))
    swept()
    run_bulk_edit(edit.pk)
    edit.refresh_from_db()
    there = 6 if swept is requeue_interrupted else 2
    assert Document.objects.filter(tags=["cut_off"]).count() == there
    assert undone(desk, edit).changed == there
    assert not Document.objects.filter(tags=["cut_off"]).exists()


def _kill() -> bool:
    raise KeyboardInterrupt


def test_interrupted_undo_resumes_and_a_job_delivered_twice_changes_once(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_edit, "BATCH", 2)
    edit = do(desk, Action.TAG, tags=["cut_off"])
    run_bulk_edit(edit.pk)
    run_bulk_edit(10**9)
    edit.refresh_from_db()
    assert (edit.changed, edit.progress_done) == (6, 6)
    undo = bulk_edit.undo(edit=edit, user=desk.people["owner"])
    bulk_edit._restore(desk.project, edit.action, list(bulk_edit._before(edit))[:2])
    run_bulk_edit(undo.pk)
    undo.refresh_from_db()
    assert (undo.changed, undo.left_alone) == (4, 0)
    assert not Document.objects.filter(tags=["cut_off"]).exists()


def test_undo_needs_the_stored_values(desk: Desk) -> None:
    edit = do(desk, Action.TAG, tags=["cut_off"])
    ((key, count),) = edit.params["kept"]
    lines = artifacts.store().open(key).read().splitlines()
    assert len(lines) == count == 6
    assert json.loads(lines[0]) == [pks(0)[0], {"tags": []}, {"tags": ["cut_off"]}]
    artifacts.store().delete(key)
    back = undone(desk, edit)
    assert back.status == Status.FAILED
    assert "is missing" in back.error


def test_invalid_bulk_edit_is_refused(desk: Desk) -> None:
    cases: list[tuple[str, dict[str, Any], str]] = [
        ("undo", {}, "does not exist"),
        ("drop", {}, "does not exist"),
        (Action.ASSIGN, {"user": "stranger"}, "not a member"),
        (Action.TAG, {"tags": []}, "at least one tag"),
        (Action.TAG, {"tags": ["nonsense"]}, "Unknown tag"),
        (Action.TAG, {"tags": "ocr_noise"}, "at least one tag"),
        (Action.OVERLAP, {"overlap": 0}, "from 1 to 10"),
        (Action.OVERLAP, {"overlap": True}, "from 1 to 10"),
        (Action.OVERLAP, {}, "from 1 to 10"),
    ]
    for action, params, message in cases:
        with pytest.raises(Refused, match=message):
            bulk_edit.start(project=desk.project, user=desk.people["engineer"], action=action, params=params, query="")
    with pytest.raises(Refused, check=lambda refusal: refusal.code == "filter"):
        do(desk, Action.REQUEUE, "state=nonsense")
    with pytest.raises(Refused, check=lambda refusal: refusal.code == "selection"):
        do(desk, Action.REQUEUE, None, [])
    with pytest.raises(Refused, check=lambda refusal: refusal.code == "limit"):
        do(desk, Action.REQUEUE, None, list(range(bulk_edit.MAX_IDS + 1)))
    assert not BulkEdit.objects.exists()


def test_documents_of_other_projects_are_not_changed(desk: Desk) -> None:
    other = make_desk("other")
    bring_in(other.project, [invoice(90)])
    strange = Document.objects.get(project=other.project)
    edit = do(desk, Action.TAG, None, [*pks(0), strange.pk], tags=["cut_off"])
    strange.refresh_from_db()
    assert strange.tags == []
    assert edit.changed == 1


# -- pages -------------------------------------------------------------------------------------------------------------


def post(client: Client, desk: Desk, **data: Any) -> Any:
    return client.post(desk.url("documents/bulk/"), data)


def test_selected_documents_on_the_pages(desk: Desk) -> None:
    client = desk.as_("engineer")
    answer = post(client, desk, action="tag", tags="cut_off", of="ticked", id=[str(pk) for pk in pks(0, 1)])
    edit = BulkEdit.objects.get()
    assert answer["Location"] == desk.url(f"documents/bulk/{edit.pk}/") == edit.get_absolute_url()
    assert "every 1s" in client.get(answer["Location"]).content.decode()
    run_bulk_edit(edit.pk)
    page = client.get(answer["Location"]).content.decode()
    assert "every 1s" not in page
    assert "Undo" in page
    assert "Undo</button>" not in desk.as_("annotator").get(answer["Location"]).content.decode()
    back = client.post(desk.url(f"documents/bulk/{edit.pk}/undo/"))
    run_bulk_edit(BulkEdit.objects.latest("pk").pk)
    assert "Undo: Add tags" in client.get(back["Location"]).content.decode()
    assert not Document.objects.filter(tags=["cut_off"]).exists()
    again = client.post(desk.url(f"documents/bulk/{edit.pk}/undo/"), follow=True).content.decode()
    assert "cannot be undone" in again


def test_bulk_edit_of_all_matches_needs_confirmation(desk: Desk) -> None:
    client = desk.as_("engineer")
    asked = {"action": "requeue", "of": "all", "query": "state=submitted"}
    page = post(client, desk, **asked).content.decode()
    assert "3 documents" in page
    assert 'name="sure"' in page
    assert "The gold label is kept" in page
    assert not BulkEdit.objects.exists()
    everything = post(client, desk, **{**asked, "query": ""}).content.decode()
    assert "all documents in the project" in everything
    post(client, desk, **asked, sure="on")
    run_bulk_edit(BulkEdit.objects.get().pk)
    assert Document.objects.filter(state="in_progress").count() == 3


def test_invalid_request_redirects_with_a_message(desk: Desk) -> None:
    client = desk.as_("engineer")
    cases: list[tuple[dict[str, str], str]] = [
        ({}, "Choose a change"),
        ({"action": "undo"}, "does not exist"),
        ({"action": "tag", "tags": "cut_off"}, "No documents are selected"),
        ({"action": "assign", "id": "1"}, "Choose a user"),
        ({"action": "tag", "tags": "cut_off", "id": "1; DROP"}, "Select the documents again"),
        ({"action": "tag", "tags": "cut_off", "id": "9" * 30}, "Select the documents again"),
        ({"action": "overlap", "overlap": "many", "id": "1"}, "The overlap must be"),
        ({"action": "requeue", "of": "all", "query": "field=nope&op=is&value=1"}, "Nothing was changed"),
        ({"action": "requeue", "of": "all", "query": "x" * 3000}, "at most 2000"),
        ({"action": "tag", "tags": "cut_off", "query": "q=%0D%0ASet-Cookie:x\r\n"}, "No documents are selected"),
    ]
    for data, message in cases:
        answer = client.post(desk.url("documents/bulk/"), data, follow=True)
        assert answer.status_code == 200
        assert message in answer.content.decode()
    assert not BulkEdit.objects.exists()
