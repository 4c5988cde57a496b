"""The page of base models: access, table, preparation, registration."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from django.conf import settings
from django.contrib.auth.models import Group
from django.test import Client
from django.urls import reverse

from labeling.models import Project
from slmstudio.access import Role
from slmstudio.accounts.global_permissions import GROUP
from slmstudio.errors import Refused
from slmstudio.runs.models import Status
from training.base_models.catalog import CATALOG
from training.base_models.preparation import download_model
from training.base_models.services import sync_catalog
from training.models import BaseModel, ModelDownload, TrainingRun

pytestmark = pytest.mark.usefixtures("queues")
URL = "/models/"
Login = Callable[[str], Client]


def test_page_is_visible_to_engineers_and_owners(project: Project, login: Login) -> None:
    sync_catalog()
    for role in [*Role.values, "stranger"]:
        allowed = role in (Role.ENGINEER, Role.OWNER)
        client = login(role)
        assert client.get(URL).status_code == (200 if allowed else 403), role
        assert client.post(f"{URL}gemma-3-270m/prepare/").status_code == (302 if allowed else 403), role
        answer = client.post(f"{URL}add/", {"kind": "hub", "hub-hub_id": "a/b"})
        assert answer.status_code == (302 if allowed else 403), role
        assert ModelDownload.objects.exists() == allowed, role
        ModelDownload.objects.all().delete()


def test_download_needs_an_account_permission(project: Project, login: Login) -> None:
    client = login("engineer")
    Group.objects.get(name=GROUP).user_set.clear()
    hub = BaseModel.objects.create(slug="m", name="M", source="hub", location="a/m")
    page = client.get(URL).content.decode()
    assert "do not have permission to download models" in page
    for address, sent in [("add/", {"kind": "hub", "hub-hub_id": "a/b"}), (f"{hub.slug}/prepare/", {})]:
        assert client.post(URL + address, sent).status_code == 403
    assert client.post(f"{URL}add/", {"kind": "folder"}).status_code == 403
    assert not ModelDownload.objects.exists()
    sync_catalog()
    assert client.post(f"{URL}gemma-3-270m/prepare/").status_code == 302, "nothing is downloaded for a package"


def test_page_shows_catalog_memory_and_fit(project: Project, login: Login) -> None:
    project.contract.constraints = {"hardware_memory_gb": "2"}
    project.contract.save()
    page = login("engineer").get(URL).content.decode()
    assert "Gemma terms of use" in page
    assert "not instruction-tuned" in page
    assert "Fits in 16 GB" in page
    assert "there are" not in page
    page = login("engineer").get(f"{URL}?project={project.slug}").content.decode()
    assert "Fits in 2.0 GB" in page
    assert "2.0 GB available" in page  # for the models of a billion parameters and more
    foreign = login("engineer").get(f"{URL}?project=secret&tokens=99999999999")
    assert "documents of 1,024 tokens" in foreign.content.decode()


def test_page_query_count_is_constant(project: Project, login: Login, django_assert_max_num_queries: Any) -> None:
    client = login("engineer")
    client.get(URL)
    for number in range(30):
        BaseModel.objects.create(slug=f"m{number}", name=f"M {number}", source="hub", location=f"a/m{number}")
    with django_assert_max_num_queries(12):
        client.get(URL)


def test_model_is_prepared_once_in_the_background(project: Project, login: Login) -> None:
    sync_catalog()
    client = login("engineer")
    for _ in range(2):
        answer = client.post(f"{URL}gemma-3-270m/prepare/", headers={"HX-Request": "true"})
        assert answer.status_code == 200
        assert "waiting for a worker" in answer.content.decode()
    download = ModelDownload.objects.get()
    assert (download.status, download.base_model.slug) == (Status.QUEUED, "gemma-3-270m")
    page = client.get(URL).content.decode()
    for control in (
        "stop-gemma-3-270m",
        "prepare-",
    ):  # by their ids they keep focus when the table refreshes
        assert f'id="{control}' in page
    client.post(f"{URL}gemma-3-270m/stop/")
    download.refresh_from_db()
    assert download.status == Status.CANCELLED
    for action in ("prepare", "stop"):
        assert client.post(f"{URL}nothing/{action}/").status_code == 404


def test_prepare_and_cancel_keep_project_and_length(project: Project, login: Login) -> None:
    project.contract.constraints = {"hardware_memory_gb": "2"}
    project.contract.save()
    client, model = login("engineer"), f"{URL}gemma-3-270m/"
    shown = f"{URL}?project={project.slug}&tokens=2048"
    sent = {"project": project.slug, "tokens": "2048"}
    for what in ("prepare", "stop"):
        page = client.get(shown).content.decode()
        form = page[page.index(f'<form method="post" action="{model}{what}/"') :]
        form = form[: form.index("</form>")]
        for name, value in sent.items():
            assert f'<input type="hidden" name="{name}" value="{value}">' in form
        table = client.post(f"{model}{what}/", sent, headers={"HX-Request": "true"}).content.decode()
        assert "Fits in 2.0 GB" in table
        assert "documents of 2,048 tokens" in table
    assert client.post(f"{model}prepare/", sent)["Location"] == shown
    assert client.post(f"{model}stop/")["Location"] == URL


def test_failed_pull_shows_its_error_and_can_be_repeated(
    project: Project, login: Login, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = Refused("someone/some-model cannot be downloaded.", field="base_model")
    monkeypatch.setattr("training.base_models.preparation.prepare", Mock(side_effect=refused))
    client = login("engineer")
    client.post(f"{URL}add/", {"kind": "hub", "hub-hub_id": "someone/some-model"})
    download = ModelDownload.objects.get()
    download_model(download.pk)
    download.refresh_from_db()
    assert download.status == Status.FAILED
    assert "someone/some-model cannot be downloaded" in client.get(URL).content.decode()
    client.post(f"{URL}some-model/prepare/")
    download.refresh_from_db()
    assert (download.status, download.error) == (Status.QUEUED, "")


def test_prepared_model_finishes_immediately(project: Project, tiny_base_model: BaseModel, login: Login) -> None:
    login("engineer").post(f"{URL}tiny-random/prepare/")
    download = ModelDownload.objects.get()
    download_model(download.pk)
    download.refresh_from_db()
    assert download.status == Status.DONE
    download_model(download.pk)  # a job that comes twice does nothing
    download_model(0)


def test_invalid_model_is_reported_at_its_field(
    project: Project, login: Login, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "MODEL_FOLDERS", [Path("/m")])
    folder = {"kind": "folder", "folder-name": "X", "folder-slug": "x"}
    client = login("engineer")
    for sent, message in (
        ({"kind": "hub"}, "This field is required"),
        ({"kind": "hub", "hub-hub_id": "a/b", "hub-revision": "../x"}, "A revision is a branch"),
        ({**folder, "folder-folder": "/etc"}, "is not inside /m"),
    ):
        answer = client.post(f"{URL}add/", sent)
        assert answer.status_code == 422
        assert message in answer.content.decode()
    assert not ModelDownload.objects.exists()


def test_a_registered_model_that_nothing_uses_is_removed(
    project: Project, run: TrainingRun, login: Login, django_capture_on_commit_callbacks: Any
) -> None:
    sync_catalog()
    folder = Path(settings.HOME) / "models" / "unused"
    folder.mkdir(parents=True)
    for name, values in (
        ("unused", {"folder": str(folder), "sha256": "0" * 64}),
        ("live", {}),
    ):
        BaseModel.objects.create(slug=name, name=name, source="folder", location=f"/m/{name}", **values)
    live = BaseModel.objects.get(slug="live")
    ModelDownload.objects.create(base_model=live, status=Status.RUNNING)
    used = run.base_model
    for slug in (CATALOG[0].slug, used.slug, "live"):
        login("engineer").post(f"{URL}{slug}/remove/")
        assert BaseModel.objects.filter(slug=slug).exists(), slug
    for role in ("annotator", "reviewer", "manager", "stranger"):
        assert login(role).post(f"{URL}unused/remove/").status_code == 403, role
    with django_capture_on_commit_callbacks(execute=True):
        assert login("engineer").post(f"{URL}unused/remove/").status_code == 302
    assert not BaseModel.objects.filter(slug="unused").exists()
    assert not folder.exists()
    own = folder.with_name("own")  # a folder that was registered where it is
    own.mkdir()
    BaseModel.objects.create(
        slug="own", name="own", source="folder", location=str(own), folder=str(own), sha256="0" * 64
    )
    with django_capture_on_commit_callbacks(execute=True):
        assert login("engineer").post(f"{URL}own/remove/").status_code == 302
    assert own.exists()
    Group.objects.get(name=GROUP).user_set.clear()
    assert login("engineer").post(f"{URL}live/remove/").status_code == 403


def test_folder_is_registered_and_prepared(project: Project, login: Login, tiny_folder: Path) -> None:
    settings.MODEL_FOLDERS.append(tiny_folder.parent)
    try:
        sent = {"kind": "folder", "folder-folder": str(tiny_folder), "folder-name": "Ours", "folder-slug": "ours"}
        assert login("engineer").post(f"{URL}add/", sent)["Location"] == reverse("base_models")
    finally:
        settings.MODEL_FOLDERS.remove(tiny_folder.parent)
    assert ModelDownload.objects.get().base_model.slug == "ours"
