"""Renaming and archiving projects."""

from typing import Any

import pytest

from evaluation.models import AuditEntry
from labeling.annotation import services as annotation
from labeling.models import Document, ImportRun, Project
from labeling.projects import lifecycle
from labeling.queue_order.study import update_all
from slmstudio.access import TABLE, Action, Archived, Forbidden, require
from slmstudio.errors import Refused
from slmstudio.runs.models import Status
from tests.labeling.api_client import api_of
from tests.labeling.desk import Desk, bring_in, invoice, make_desk


def actions(desk: Desk) -> list[str]:
    return list(AuditEntry.objects.filter(project=desk.project, about="project").values_list("action", flat=True))


def archived(desk: Desk) -> Project:
    lifecycle.archive(project=desk.project, by=desk.people["owner"])
    return Project.objects.get(pk=desk.project.pk)


def test_an_owner_renames(desk: Desk) -> None:
    client = desk.as_("owner")
    assert client.post(desk.url("settings/rename/"), {"name": " New   name "}).status_code == 302
    project = Project.objects.get(pk=desk.project.pk)
    assert (project.name, project.slug) == ("New name", desk.project.slug)
    assert actions(desk)[-1] == "renamed"
    answer = client.post(desk.url("settings/rename/"), {"name": "x" * 121})
    assert (answer.status_code, list(answer.context["rename"].errors)) == (422, ["name"])
    with pytest.raises(Refused) as refusal:
        lifecycle.rename(project=project, by=desk.people["owner"], name="x" * 121)
    assert refusal.value.field == "name"
    assert Project.objects.get(pk=project.pk).name == "New name"


def test_an_archived_project_allows_reading_and_its_settings_only(desk: Desk) -> None:
    project = archived(desk)
    for role, user in desk.people.items():
        allowed = {Action.READ, Action.ADMINISTER} & {action for action in Action if role in TABLE[action]}
        for action in Action:
            if action in allowed:
                require(project, user, action)
            else:
                with pytest.raises(Forbidden):
                    require(project, user, action)
    with pytest.raises(Archived):
        require(project, None, Action.RUN)


def test_nothing_is_labeled_in_an_archived_project(desk: Desk) -> None:
    bring_in(desk.project, [invoice(1, gold=False)])
    document, client = Document.objects.get(), desk.as_("annotator")
    address = desk.url(f"label/{document.pk}/")
    assert client.get(address).status_code == 200
    document.project = archived(desk)
    assert client.get(address).status_code == 403
    with pytest.raises(Archived):
        annotation.submit(
            document=document, user=desk.people["annotator"], value={}, evidence={}, base_version=0, seconds=1
        )
    assert client.get(document.get_absolute_url()).status_code == 200
    assert desk.as_("engineer").post(desk.url("training/new/")).status_code == 403


def test_rest_reads_an_archived_project_and_changes_nothing(desk: Desk) -> None:
    api: Any = api_of(desk.project, desk.people["owner"], "read", "import")
    archived(desk)
    assert api.get("documents").status == 200
    assert api("POST", "documents", [invoice(1, gold=False)]).status == 403
    assert not Document.objects.exists()


def test_archived_projects_have_a_list_of_their_own(desk: Desk) -> None:
    other = make_desk("other")
    lifecycle.archive(project=other.project, by=other.people["owner"])
    client = other.as_("annotator")
    page = client.get("/")
    assert (page.context["memberships"], page.context["has_archived"]) == ([], True)
    assert [row.project for row in client.get("/?archived=1").context["memberships"]] == [other.project]
    assert not desk.as_("owner").get("/").context["has_archived"]


def test_archiving_and_restoring_are_in_the_audit_log(desk: Desk) -> None:
    client = desk.as_("owner")
    client.post(desk.url("settings/archive/"))
    client.post(desk.url("settings/archive/"))
    assert Project.objects.get(pk=desk.project.pk).is_read_only
    client.post(desk.url("settings/restore/"))
    assert not Project.objects.get(pk=desk.project.pk).is_read_only
    assert actions(desk) == ["created", "archived", "restored"]


def test_a_project_with_a_live_run_is_not_archived(desk: Desk) -> None:
    run = ImportRun.objects.create(project=desk.project, created_by=desk.people["owner"])
    owner = {"project": desk.project, "by": desk.people["owner"]}
    with pytest.raises(Refused) as refusal:
        lifecycle.archive(**owner)
    assert refusal.value.code == "in_use"
    assert desk.as_("owner").get(desk.url("settings/")).context["use"]
    ImportRun.objects.filter(pk=run.pk).update(status=Status.CANCELLED)
    lifecycle.archive(**owner)
    assert Project.objects.get(pk=desk.project.pk).archived_at


def test_no_queue_order_is_computed_for_an_archived_project(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    Project.objects.filter(pk=desk.project.pk).update(queue_order=Project.QueueOrder.RANDOM)
    archived(desk)
    started: list[Any] = []
    monkeypatch.setattr("labeling.queue_order.study.services.start", lambda **values: started.append(values))
    update_all()
    assert started == []
    lifecycle.restore(project=desk.project, by=desk.people["owner"])
    update_all()
    assert [values["project"] for values in started] == [desk.project]
