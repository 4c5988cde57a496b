"""A hub model on the new-run page: downloads start on request only."""

import re
from collections.abc import Callable
from typing import Any

import django_rq
import pytest
from django.contrib.auth.models import Group
from django.test import Client

from labeling.models import DatasetVersion
from slmstudio.accounts.global_permissions import GROUP
from slmstudio.runs.models import Status
from training.base_models.services import find_base_model, sync_catalog
from training.models import BaseModel, LengthReport, ModelDownload

pytestmark = pytest.mark.usefixtures("queues")
URL = "/p/receipts/training/new/?base_model=qwen3-0-6b"
LENGTHS = "/p/receipts/training/lengths/"
CHOICE = {"dataset": "1", "base_model": "qwen3-0-6b"}
Login = Callable[[str], Client]


@pytest.fixture
def engineer(dataset: DatasetVersion, login: Login) -> Client:
    sync_catalog()
    return login("engineer")


def panel(html: str) -> str:
    section = re.search(r'<section class="card" id="lengths".*?</section>', html, re.S)
    assert section
    return section.group()


def test_showing_a_hub_model_downloads_nothing_and_shows_its_size(engineer: Client) -> None:
    html = panel(engineer.get(URL).content.decode())
    assert 'hx-trigger="load"' not in html
    assert "must be downloaded" in html
    assert "about 1.2 GB" in html
    assert ">Download</button>" in html
    answer = engineer.post(LENGTHS, CHOICE)
    assert answer.status_code == 422
    assert "is not on this machine" in answer.content.decode()
    assert not LengthReport.objects.exists()
    assert not ModelDownload.objects.exists()


def test_download_is_requested_and_cancelled(engineer: Client, django_capture_on_commit_callbacks: Any) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        html = engineer.post(f"{LENGTHS}?fetch=1", CHOICE).content.decode()
    assert 'hx-trigger="every 1s"' in html
    download = ModelDownload.objects.get()
    assert (download.status, download.base_model.slug) == (Status.QUEUED, "qwen3-0-6b")
    assert str(download.job_id) in django_rq.get_queue("imports").job_ids
    assert "Download" in engineer.post(f"{LENGTHS}?fetch=stop", CHOICE).content.decode()
    download.refresh_from_db()
    assert download.status == Status.CANCELLED
    ModelDownload.objects.update(status=Status.FAILED, error="The disk is full.")
    html = engineer.get(LENGTHS, CHOICE).content.decode()
    assert "The disk is full." in html
    assert "Try again" in html


def test_downloaded_model_is_measured_automatically(engineer: Client, tiny_base_model: BaseModel) -> None:
    model = find_base_model("qwen3-0-6b")
    BaseModel.objects.filter(pk=model.pk).update(folder=tiny_base_model.folder, sha256="a" * 64)
    html = panel(engineer.get(URL).content.decode())
    assert 'hx-trigger="load"' in html
    assert ">Download</button>" not in html
    engineer.post(f"{LENGTHS}?fetch=1", CHOICE)  # of an old page
    assert not ModelDownload.objects.exists()


def test_account_without_permission_sees_who_grants_it(engineer: Client, login: Login) -> None:
    Group.objects.get(name=GROUP).user_set.clear()
    answer = engineer.post(f"{LENGTHS}?fetch=1", CHOICE)
    assert answer.status_code == 422
    assert "do not have permission to download models" in answer.content.decode()
    assert login("manager").post(f"{LENGTHS}?fetch=1", CHOICE).status_code == 403
    assert not ModelDownload.objects.exists()
