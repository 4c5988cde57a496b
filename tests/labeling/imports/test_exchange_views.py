"""The page of a file of exchanges, and a project that begins with one."""

import json
from typing import Any

import pytest
from django.contrib.auth.models import Permission

from labeling.imports import uploads
from labeling.jobs import run_import
from labeling.models import Contract, Document, Gold, ImportRun, Prediction, Project
from labeling.projects.services import MAX_INSTRUCTION
from slmstudio.accounts import global_permissions
from slmstudio.storage import artifacts
from tests.labeling.conversation_files import ANSWERS, DOCUMENTS, FILES, PREFIX, SYSTEM, batch_input, batch_output
from tests.labeling.desk import Desk, make_desk
from tests.labeling.import_pages import HTMX, PAGE, file, upload_token

CHAT = FILES["openai.jsonl"][1]().encode()


def review_url(desk: Desk, *files: tuple[str, bytes]) -> str:
    """Uploads files; the URL of the page that shows what they become."""
    data = {"file": [file(name, content) for name, content in files or [("train.jsonl", CHAT)]]}
    answer = desk.as_("engineer").post(desk.url(PAGE), data)
    assert answer["Location"].startswith(desk.url(f"{PAGE}exchanges/?u="))
    return str(answer["Location"])


def finished(location: str) -> ImportRun:
    run = ImportRun.objects.get(pk=int(location.rstrip("/").rsplit("/", 1)[1]))
    run_import(run.pk)
    run.refresh_from_db()
    return run


def test_exchanges_are_shown_before_they_become_documents_with_prelabels(desk: Desk) -> None:
    address = review_url(desk)
    review = desk.as_("engineer").get(address).context["review"]
    assert (review.rows, review.valid, review.answers, review.matching) == (4, 4, 4, 0)  # another schema
    assert [row.text for row in review.shown] == DOCUMENTS
    assert review.shared.instruction == f"{SYSTEM}\n\n{PREFIX.strip()}"
    assert not ImportRun.objects.exists()
    assert not Document.objects.exists()
    sent = desk.as_("engineer").post(desk.url(f"{PAGE}exchanges/"), {"u": upload_token(address)})
    run = finished(sent["Location"])
    assert (run.kind, run.imported, run.rejected) == ("chats", 4, 0)
    assert not Gold.objects.exists()
    assert Prediction.objects.count() == 4


def test_choices_change_what_is_shown_and_imported(desk: Desk) -> None:
    address = review_url(desk)
    fragment = desk.as_("engineer").get(f"{address}&prompt=keep&answers=gold", headers=HTMX)
    assert b"<html" not in fragment.content
    assert fragment.context["review"].valid == 0  # the answers do not match the contract
    form = {"u": upload_token(address), "shape": "gemini", "prompt": "keep"}
    run = finished(desk.as_("engineer").post(desk.url(f"{PAGE}exchanges/"), form)["Location"])
    assert run.options == {"shape": "gemini", "prompt": "keep"}
    assert (run.imported, run.rejected) == (0, 4)


def test_both_files_of_a_batch(desk: Desk) -> None:
    files = ("in.jsonl", batch_input().encode()), ("out.jsonl", batch_output().encode())
    token = upload_token(review_url(desk, *files))
    other = make_desk("other")
    assert other.as_("engineer").get(other.url(f"{PAGE}exchanges/"), {"u": token})["Location"] == other.url(PAGE)
    run = finished(desk.as_("engineer").post(desk.url(f"{PAGE}exchanges/"), {"u": token})["Location"])
    assert (run.imported, run.rejected) == (4, 0)
    assert set(Document.objects.values_list("text", flat=True)) == set(DOCUMENTS)


def creator(desk: Desk) -> Any:
    """A browser of the owner, who may create projects."""
    desk.people["owner"].user_permissions.add(Permission.objects.get(codename="add_project"))
    return desk.as_("owner")


def test_a_project_begins_with_a_file(desk: Desk) -> None:
    client = creator(desk)
    sent = client.post("/new/", {"name": "From a file", "file": file("train.jsonl", CHAT)})
    project = Project.objects.get(slug="from-a-file")
    assert sent["Location"].startswith(f"/p/from-a-file/{PAGE}exchanges/?u=")
    assert Contract.objects.get(project=project).instruction == f"{SYSTEM}\n\n{PREFIX.strip()}"
    assert list(project.schema_version.compiled.schema["properties"]) == ["invoice_id", "total"]
    review = client.get(sent["Location"]).context["review"]
    assert (review.answers, review.matching) == (4, 4)
    assert client.get("/p/from-a-file/contract/").context["pending_import"] == upload_token(sent["Location"])

    started = client.post(f"/p/from-a-file/{PAGE}exchanges/", {"u": upload_token(sent["Location"])})
    run = finished(started["Location"])
    assert (run.imported, run.rejected) == (4, 0)
    stored = Prediction.objects.filter(document__project=project).order_by("document_id")
    assert [json.loads(json.dumps(row.value, default=float)) for row in stored] == ANSWERS
    assert all(row.valid for row in stored)
    assert not client.get("/p/from-a-file/contract/").context["pending_import"]


@pytest.mark.parametrize("prompt", [SYSTEM, SYSTEM + " Ä" * 5_000])
def test_the_shared_prompt_becomes_the_instruction(desk: Desk, prompt: str) -> None:
    content = CHAT.replace(json.dumps(SYSTEM).encode(), json.dumps(prompt).encode())
    address = review_url(desk, ("train.jsonl", content))
    form = {"u": upload_token(address), "prompt": "keep"}
    before = Contract.objects.get(project=desk.project).instruction
    url = desk.url(f"{PAGE}exchanges/instruction/")
    assert desk.as_("annotator").post(url, form).status_code == 403
    answer = desk.as_("engineer").post(url, form)
    assert answer["Location"] == f"{address}&prompt=keep"
    after = Contract.objects.get(project=desk.project).instruction
    assert after == (before if len(prompt) > MAX_INSTRUCTION else f"{SYSTEM}\n\n{PREFIX.strip()}")
    assert desk.project.schema_versions.count() == 1


def test_a_prompt_that_is_too_long_is_cut_with_a_message(desk: Desk) -> None:
    content = CHAT.replace(json.dumps(SYSTEM).encode(), json.dumps(SYSTEM + " a" * 5_000).encode())
    client = creator(desk)
    sent = client.post("/new/", {"name": "Long", "file": file("train.jsonl", content)})
    assert len(Contract.objects.get(project__slug="long").instruction) in (MAX_INSTRUCTION - 1, MAX_INSTRUCTION)
    shown = [str(message) for message in client.get(sent["Location"]).context["messages"]]
    assert any(f"{MAX_INSTRUCTION:,}" in message for message in shown)


def test_the_contract_page_leads_to_no_upload_that_is_gone(desk: Desk) -> None:
    address = review_url(desk)
    client = desk.as_("engineer")
    client.get(address)
    assert client.get(desk.url("contract/")).context["pending_import"]
    artifacts.store().delete(uploads.upload_from_signature(upload_token(address), desk.project)[0].key)
    assert client.get(address)["Location"] == desk.url(PAGE)
    assert not client.get(desk.url("contract/")).context["pending_import"]


def test_a_file_without_a_contract_creates_no_project(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    before, client = Project.objects.count(), creator(desk)
    for content in (b"a,b\n1,2\n", b"", b'{"messages": [{"role": "user", "content": "x"}]}\n'):
        answer = client.post("/new/", {"name": "Nothing", "file": file("a.jsonl", content)})
        assert answer.status_code == 422
        assert answer.context["form"].errors["file"]
    monkeypatch.setattr(global_permissions, "may_create_projects", lambda user: False)
    assert client.get("/new/").status_code == 403
    assert client.post("/new/", {"name": "x", "file": file("a.jsonl", CHAT)}).status_code == 403
    assert Project.objects.count() == before
