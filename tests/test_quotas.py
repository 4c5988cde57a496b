"""Project quotas of storage and GPU hours, and the permission to create projects."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.core.cache import caches
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from evaluation.models import EvalRun
from evaluation.runs import services as run_services
from labeling.imports import services as import_services
from labeling.models import ImportRun
from labeling.projects.services import create_project
from slmstudio import quotas
from slmstudio.accounts import global_permissions
from slmstudio.errors import Refused
from slmstudio.runs.models import Status
from slmstudio.runs.reaper import run_models
from slmstudio.storage import artifacts
from slmstudio.workers.queues import project_path
from tests.evaluation.factories import World, make_world
from tests.shared_rows import shared_fixture
from training.models import TrainingRun
from training.runs.services import resume


@shared_fixture
def world(db: None, tmp_path: Any) -> World:
    caches["process"].clear()
    return make_world(tmp_path / "base", documents=8, holdout=4)


def test_stored_bytes_are_those_of_files_and_texts(world: World) -> None:
    before = quotas.storage(world.project).used
    assert before > 0, "the texts of its documents and its dataset"
    artifacts.write_text(f"{world.training_run.folder_key}/state/weights", "x" * 3_000_000)
    other = create_project(owner=world.owner, name="Other", slug="other", template="invoice")
    assert quotas.storage(world.project).used == before, "known for a minute"
    caches["process"].clear()
    assert quotas.storage(world.project).used == pytest.approx(before + 0.003, abs=1e-6)
    assert quotas.storage(other).used == 0


def test_an_exceeded_storage_quota_rejects_imports(world: World, settings: Any) -> None:
    settings.PROJECT_STORAGE_GB = 1e-6
    file = SimpleUploadedFile("rows.jsonl", b'{"id": "a", "text": "b"}\n')
    with pytest.raises(Refused) as refusal:
        import_services.start_import(project=world.project, user=world.engineer, file=file)
    assert refusal.value.code == "quota"
    assert not ImportRun.objects.exists()
    settings.PROJECT_GPU_HOURS = settings.PROJECT_STORAGE_GB = 0
    with CaptureQueriesContext(connection) as queries:
        assert quotas.compute_problem(world.project) == quotas.storage_problem(world.project) == ""
    assert len(queries) == 0


def spend(world: World, hours: float, ago: float = 0, **more: Any) -> None:
    end = timezone.now() - timedelta(hours=ago)
    TrainingRun.objects.filter(pk=world.training_run.pk).update(
        status=Status.DONE, started_at=end - timedelta(hours=hours), finished_at=end, **more
    )


def test_hours_are_counted_by_gpu_and_fall_out_after_thirty_days(world: World) -> None:
    spend(world, 5)
    assert quotas.compute(world.project).used == pytest.approx(5, abs=0.01)
    spend(world, 5, spec="devices: 4\n")
    assert quotas.compute(world.project).used == pytest.approx(20, abs=0.01)
    spend(world, 5, ago=24 * 30 - 2)
    assert quotas.compute(world.project).used == pytest.approx(2 * 4, abs=0.01)
    spend(world, 5, ago=24 * 31)
    assert quotas.compute(world.project).used == 0


def test_hours_are_counted_without_loading_the_runs(world: World) -> None:
    spend(world, 3, spec="devices: 2\n")
    with CaptureQueriesContext(connection) as queries:
        assert quotas.compute(world.project).used == pytest.approx(6)
    asked = [query["sql"] for query in queries]
    assert not any(f'"{column}"' in sql for sql in asked for column in ("hyperparameters", "error", "facts", "summary"))
    assert len(asked) == sum(model.queue_name == "gpu" and bool(project_path(model)) for model in run_models())


def test_an_exceeded_gpu_quota_rejects_runs(world: World, settings: Any) -> None:
    settings.PROJECT_GPU_HOURS = 4
    spend(world, 5)
    with pytest.raises(Refused) as refusal:
        run_services.start_evaluation(
            project=world.project, user=world.engineer, dataset=world.dataset, model=world.base_model
        )
    assert refusal.value.code == "quota"
    assert not EvalRun.objects.exists()
    world.training_run.status, world.training_run.checkpoint_step = Status.FAILED, 5
    world.training_run.save(update_fields=["status", "checkpoint_step"])
    with pytest.raises(Refused) as refusal:
        resume(run=world.training_run, user=world.engineer)
    assert refusal.value.code == "quota"


def test_the_settings_page_shows_usage(world: World, client: Client) -> None:
    spend(world, 5)
    client.force_login(world.owner)
    page = client.get("/p/invoices/settings/").content.decode()
    assert "5.0 of 500 hours" in " ".join(page.split())
    assert "PROJECT_STORAGE_GB" not in page, "names of settings are for administrators"


def test_the_group_contains_project_owners(world: World) -> None:
    Group.objects.filter(name=global_permissions.GROUP).delete()
    global_permissions.create_group()
    group = Group.objects.get(name=global_permissions.GROUP)
    assert list(group.user_set.all()) == [world.owner]
    assert {f"{right.content_type.app_label}.{right.codename}" for right in group.permissions.all()} == {
        global_permissions.CREATE_PROJECTS,
        global_permissions.FETCH_MODELS,
    }
    owner = type(world.owner).objects.get(pk=world.owner.pk)
    assert global_permissions.may_create_projects(owner)
    assert global_permissions.may_download_models(owner)
    assert not global_permissions.may_create_projects(world.engineer)
    group.user_set.clear()
    global_permissions.create_group()
    assert not group.user_set.exists(), "whom an administrator took out stays out"
