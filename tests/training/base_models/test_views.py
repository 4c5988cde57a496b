"""The page of base models: access, table, preparation, registration."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import Group
from django.test import Client
from django.urls import reverse

from labeling.models import Project
from slmstudio.access import Role
from slmstudio.accounts.global_permissions import GROUP
from slmstudio.runs.models import Status
from training.base_models.preparation import download_model
from training.base_models.services import sync_catalog
from training.models import BaseModel, ModelDownload

pytestmark = pytest.mark.usefixtures("queues")
URL = "/models/"
Login = Callable[[str], Client]


@pytest.mark.parametrize("role", [*Role.values, "stranger"])
def test_page_is_visible_to_engineers_and_owners(project: Project, login: Login, role: str) -> None:
    allowed = role in (Role.ENGINEER, Role.OWNER)
    client = login(role)
    assert client.get(URL).status_code == (200 if allowed else 403)
    sync_catalog()
    assert client.post(f"{URL}gemma-3-270m/prepare/").status_code == (302 if allowed else 403)
    assert client.post(f"{URL}add/", {"kind": "hub", "hub-hub_id": "a/b"}).status_code == (302 if allowed else 403)
    assert ModelDownload.objects.exists() == allowed


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


def test_foreign_project_and_invalid_length_are_ignored(project: Project, login: Login) -> None:
    answer = login("engineer").get(f"{URL}?project=secret&tokens=99999999999")
    assert answer.status_code == 200
    assert "documents of 1,024 tokens" in answer.content.decode()


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
    ):  # focus stays on what has an id while the table draws itself again
        assert f'id="{control}' in page
    client.post(f"{URL}gemma-3-270m/stop/")
    download.refresh_from_db()
    assert download.status == Status.CANCELLED


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
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # no server
    client = login("engineer")
    client.post(f"{URL}add/", {"kind": "hub", "hub-hub_id": "someone/some-model"})
    download = ModelDownload.objects.get()
    download_model(download.pk)
    download.refresh_from_db()
    assert download.status == Status.FAILED
    page = client.get(URL).content.decode()
    assert "someone/some-model cannot be downloaded" in page
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


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        ({"kind": "hub"}, "This field is required"),
        ({"kind": "hub", "hub-hub_id": "Qwen3"}, "organization/name, such as"),
        ({"kind": "hub", "hub-hub_id": "a/b", "hub-revision": "../x"}, "A revision is a branch"),
        (
            {"kind": "folder", "folder-folder": "~nosuchuser/x", "folder-name": "X", "folder-slug": "x"},
            "is not inside /m",
        ),
        (
            {"kind": "folder", "folder-folder": "{models}/" + "x" * 260, "folder-name": "X", "folder-slug": "x"},
            "is not a folder",
        ),
        ({"kind": "folder", "folder-folder": "/etc", "folder-name": "X", "folder-slug": "x"}, "is not inside /m"),
    ],
)
def test_invalid_model_is_reported_at_its_field(
    project: Project, login: Login, monkeypatch: pytest.MonkeyPatch, sent: dict[str, str], message: str
) -> None:
    monkeypatch.setattr(settings, "MODEL_FOLDERS", [Path("/m")])
    sent = {key: value.replace("{models}", "/m") for key, value in sent.items()}
    answer = login("engineer").post(f"{URL}add/", sent)
    assert answer.status_code == 422
    assert message in answer.content.decode()
    assert not ModelDownload.objects.exists()


def test_folder_is_registered_and_prepared(project: Project, login: Login, tiny_folder: Path) -> None:
    settings.MODEL_FOLDERS.append(tiny_folder.parent)
    try:
        sent = {"kind": "folder", "folder-folder": str(tiny_folder), "folder-name": "Ours", "folder-slug": "ours"}
        assert login("engineer").post(f"{URL}add/", sent)["Location"] == reverse("base_models")
    finally:
        settings.MODEL_FOLDERS.remove(tiny_folder.parent)
    assert ModelDownload.objects.get().base_model.slug == "ours"


def test_wrong_method_and_unknown_model_are_not_found(project: Project, login: Login) -> None:
    client = login("engineer")
    assert client.post(URL).status_code == 405
    assert client.get(f"{URL}add/").status_code == 405
    assert client.post(f"{URL}nothing/prepare/").status_code == 404
    assert client.post(f"{URL}nothing/stop/").status_code == 404
