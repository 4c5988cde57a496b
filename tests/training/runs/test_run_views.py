"""The page of a run: states, live parts, files, permissions."""

import io
import zipfile
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from labeling.datasets.queries import rows
from slmstudio.runs.models import Status
from slmstudio.storage.artifacts import local_path, write_text
from tests.shared_rows import shared_fixture
from tests.training.fakes import start_run
from training.models import LengthReport, ModelVersion, TrainingEvent, TrainingRun
from training.spec import RunSpec

pytestmark = pytest.mark.usefixtures("queues")
URL = "/p/receipts/training/1/"
HTMX = {"HX-Request": "true"}
Login = Callable[[str], Client]


@shared_fixture
def run(lengths: LengthReport, queues: None) -> TrainingRun:
    return start_run(lengths, name="a first try", learning_rate=3e-4, epochs=6, batch_size=2)


@shared_fixture
def points(run: TrainingRun) -> list[TrainingEvent]:
    """Two steps, an evaluation with samples, and a warning."""
    validation = next(iter(rows(run.dataset, "validation")))
    outcomes = {"company": "correct", "date": "wrong", "address": "missing", "total": "both_absent"}
    sample = {"id": validation["id"], "raw": '{"company"', "valid": False, "correct": 1, "fields": 3}
    numbers = {
        "learning_rate": 1e-4, "grad_norm": 1.5, "tokens_per_second": 183.0, "memory_bytes": 2**30, "tokens": 900,
    }  # fmt: skip
    began = timezone.now() - timedelta(minutes=1)
    return [
        TrainingEvent.objects.create(
            run=run, kind=kind, step=step, data={"step": step, **data}, created_at=began + timedelta(minutes=step - 1)
        )
        for kind, step, data in (
            ("metrics", 1, {"loss": 2.5, "epoch": 0.5, "seconds_left": 90, **numbers}),
            ("metrics", 2, {"loss": 2.25, "epoch": 1.0, "seconds_left": 75, **numbers}),
            ("validation", 2, {"loss": 2.375, "epoch": 1.0}),
            ("samples", 2, {"field_exact": 1 / 3, "schema_valid": 0.0, "rows": [{**sample, "outcomes": outcomes}]}),
            ("warning", 2, {"message": "The loss jumped."}),
            ("checkpoint", 2, {"path": "/srv/state/checkpoint-00000002", "bytes": 3 * 2**20, "sha256": "e" * 64}),
        )
    ]


def set_to(run: TrainingRun, status: str, **changes: Any) -> None:
    TrainingRun.objects.filter(pk=run.pk).update(status=status, **changes)


def test_engineers_have_the_buttons(run: TrainingRun, login: Login) -> None:
    for role in ("annotator", "engineer"):
        html = login(role).get(URL).content.decode()
        assert "a first try" in html
        for button in ('id="cancel-run"', 'id="duplicate-run"'):
            assert (button in html) == (role == "engineer"), button


def test_running_run_shows_progress_and_samples_next_to_gold(
    run: TrainingRun, points: list[TrainingEvent], login: Login
) -> None:
    set_to(run, Status.RUNNING, progress_done=2, progress_total=24, stage="training", started_at=run.created_at)
    html = " ".join(login("manager").get(URL).content.decode().split())
    for words in ("step <strong>2</strong> of 24", "epoch <strong>1.00</strong>", "1 min 15 s</strong> left"):
        assert words in html, words
    for words in ("2.2500", "2.3750", "183", "1.1 GB", "The loss jumped."):
        assert words in html, words
    assert next(iter(rows(run.dataset, "validation")))["gold"]["company"] in html
    marks = ["company: correct", "date: wrong", "address: false negative", "total: absent in both"]
    places = [html.index(f'title="{mark}"') for mark in marks]
    assert places == sorted(places), "in the order of the schema"


def test_failed_run_shows_its_error_and_what_is_kept(
    run: TrainingRun, points: list[TrainingEvent], login: Login
) -> None:
    set_to(run, Status.FAILED, error="The disk is full.", progress_done=2, progress_total=24)
    html = login("annotator").get(URL).content.decode()
    assert "The disk is full." in html
    assert "at step 2 of 24" in html
    assert 'id="cancel-run"' not in html
    assert "hx-trigger" not in html  # nothing asks again
    client = login("engineer")
    assert 'id="resume-run"' not in client.get(URL).content.decode()
    assert "cannot be resumed" in client.post(f"{URL}resume/", follow=True).content.decode()
    assert client.post(f"{URL}resume/", headers=HTMX)["HX-Refresh"] == "true"


def test_run_with_a_checkpoint_can_be_resumed(run: TrainingRun, points: list[TrainingEvent], login: Login) -> None:
    resume = f"{URL}resume/"
    assert 'id="resume-run"' not in login("engineer").get(URL).content.decode()  # it waits
    for status in (Status.FAILED, Status.CANCELLED):
        set_to(run, status, checkpoint_step=2, progress_done=2, progress_total=24, started_at=run.created_at)
        html = login("engineer").get(URL).content.decode()
        assert 'id="resume-run"' in html
        assert "checkpoint at step 2" in html
        assert 'id="resume-run"' not in login("manager").get(URL).content.decode()
    answer = login("engineer").post(resume)
    assert (answer.status_code, answer["Location"]) == (302, URL)
    run.refresh_from_db()
    assert run.status == Status.QUEUED
    assert "It resumes from its checkpoint at step 2." in login("engineer").get(URL).content.decode()


def test_checkpoints_best_evaluation_and_estimate_are_shown(
    run: TrainingRun, points: list[TrainingEvent], login: Login
) -> None:
    TrainingEvent.objects.create(run=run, kind="validation", step=4, data={"loss": 2.125})
    TrainingEvent.objects.create(run=run, kind="validation", step=6, data={"loss": 2.5})
    facts = {"peak_memory_bytes": 84 * 10**8, "seconds": 60, "best_step": 4, "stopped_early": True}
    set_to(run, Status.DONE, facts=facts, estimate={"memory_bytes": 91 * 10**8, "seconds": 60.0})
    html = " ".join(login("manager").get(URL).content.decode().split())
    assert "Best validation loss 2.1250 at step 4; these weights were chosen." in html
    assert "Stopped early" in html
    assert "memory: estimated 9.1 GB, measured 8.4 GB, 8% too high" in html
    set_to(run, Status.DONE, facts={**facts, "best_step": None, "stopped_early": False})
    html = " ".join(login("manager").get(URL).content.decode().split())
    assert "Best validation loss 2.1250 at step 4; the weights of the last step were chosen." in html


def test_only_existing_checkpoints_are_listed(run: TrainingRun, points: list[TrainingEvent], login: Login) -> None:
    for step in (4, 6):
        data = {"path": f"/srv/state/checkpoint-{step:08}", "bytes": 5_000_000, "sha256": f"{step}" * 64}
        TrainingEvent.objects.create(run=run, kind="checkpoint", step=step, data=data)
        write_text(f"{run.folder_key}/state/checkpoint-{step:08}/manifest.json", "{}")
    set_to(run, Status.CANCELLED, checkpoint_step=6, facts={"best_step": 4})
    html = " ".join(login("manager").get(URL).content.decode().split())
    assert "3 saved, 2 on disk" in html
    for shown in ("4" * 12, "6" * 12, '<span class="tag">Best</span> 4</td>', "5 MB"):
        assert shown in html, shown
    assert "e" * 12 not in html  # the one of step 2 has made room
    assert "Resume it from its last checkpoint" in html
    assert "may lie in" not in html


def test_tracker_files_are_downloaded_as_a_zip(run: TrainingRun, login: Login) -> None:
    client, address = login("annotator"), f"{URL}tensorboard.zip"
    assert client.get(address).status_code == 404
    TrainingRun.objects.update(spec=run.spec.replace("trackers: []", "trackers: [tensorboard]"))
    key = f"{run.folder_key}/tensorboard"
    write_text(f"{key}/events.out.tfevents.1", "points")
    local_path(f"{key}/link").symlink_to("/etc/passwd")
    html = client.get(URL).content.decode()
    assert f"tensorboard --logdir {local_path(key)}" in html
    assert address in html
    answer: Any = client.get(address)
    assert 'filename="receipts-run-1-tensorboard.zip"' in answer["Content-Disposition"]
    with zipfile.ZipFile(io.BytesIO(b"".join(answer.streaming_content))) as archive:
        assert archive.namelist() == ["tensorboard/events.out.tfevents.1"]
    for name in ("wandb", "adapter", "state"):
        assert client.get(f"{URL}{name}.zip").status_code == 404


def test_finished_run_lists_files_lineage_and_next_step(run: TrainingRun, login: Login) -> None:
    set_to(run, Status.DONE)
    ModelVersion.objects.create(
        project=run.project,
        number=1,
        training_run=run,
        folder_key=f"{run.folder_key}/merged",
        sha256="c" * 64,
        files=[{"path": "model.safetensors", "size": 3 * 2**20, "sha256": "d" * 64}],
    )
    html = login("engineer").get(URL).content.decode()
    folder = f"{run.folder_key}/merged"
    for words in ("model.safetensors", "3 MB", "c" * 12, "d" * 12, folder, run.dataset.sha256[:12]):
        assert words in html, words
    assert 'href="/p/receipts/evaluation/new/?model=run-1&amp;dataset=1"' in html


def test_curves_return_new_points_as_json(run: TrainingRun, points: list[TrainingEvent], login: Login) -> None:
    client = login("annotator")
    first = client.get(f"{URL}curves.json").json()
    assert first["live"] is True

    def drawn(kind: str) -> list[list[Any]]:
        return [[row[0], *row[3:]] for row in first[kind]]  # epoch and seconds are looked at below

    assert drawn("metrics") == [[step, loss, 1e-4, 1.5, 183.0, 2**30, 900] for step, loss in ((1, 2.5), (2, 2.25))]
    assert drawn("validation") == [[2, 2.375]]
    [sample] = drawn("samples")
    assert sample[:3] == [2, pytest.approx(1 / 3), 0.0]
    assert sample[3] == {"company": [1, 1], "date": [0, 1], "address": [0, 1], "total": [0, 0]}
    assert drawn("checkpoint") == [[2]]
    assert [row[1] for row in first["metrics"]] == [0.5, 1.0]
    assert [row[2] for row in first["metrics"]] == [0, 60]
    assert first["order"] == ["company", "date", "address", "total"]
    again = client.get(f"{URL}curves.json", {"after": first["last"]}).json()
    assert (again["metrics"], again["validation"], again["samples"]) == ([], [], [])
    assert again["last"] == first["last"]
    TrainingEvent.objects.create(run=run, kind="metrics", step=3, data={"step": 3, "loss": None})
    set_to(run, Status.DONE)
    last = client.get(f"{URL}curves.json", {"after": first["last"]}).json()
    assert [[row[0], *row[3:]] for row in last["metrics"]] == [[3, None, None, None, None, None, None]]
    assert last["live"] is False


def test_page_query_count_is_constant(
    run: TrainingRun, points: list[TrainingEvent], login: Login, django_assert_max_num_queries: Any
) -> None:
    TrainingEvent.objects.bulk_create(
        TrainingEvent(run=run, kind=kind, step=step, data={"step": step, "loss": 1.0, "rows": []})
        for step in range(3, 103)
        for kind in ("metrics", "validation", "samples", "checkpoint")
    )
    client = login("manager")
    with django_assert_max_num_queries(30):
        assert client.get(URL).status_code == 200
    with django_assert_max_num_queries(7):
        answer = client.get(f"{URL}curves.json")
    assert len(answer.json()["metrics"]) == 102
    assert '{\\"company' not in answer.content.decode()  # what the model wrote stays where it is


def test_live_parts_refresh_and_unchanged_ones_are_not_sent_again(
    run: TrainingRun, points: list[TrainingEvent], login: Login
) -> None:
    write_text(f"{run.folder_key}/log.txt", "loading\n")
    client = login("manager")
    for part in ("head", "side", "samples", "log", "kept"):
        fragment = client.get(URL, {"part": part}, headers=HTMX).content.decode()
        assert f"?part={part}" in fragment
        assert "hx-trigger" in fragment
        assert "<html" not in fragment
    for part, seen, status in (("samples", points[3].pk, 204), ("log", len("loading\n"), 204), ("log", 3, 200)):
        assert client.get(f"{URL}?part={part}&seen={seen}", headers=HTMX).status_code == status, part


def test_spec_file_reproduces_the_run_and_names_the_resolved_precision(run: TrainingRun, login: Login) -> None:
    client = login("manager")
    answer = client.get(f"{URL}spec.yaml")
    assert answer.content.decode() == run.spec
    assert 'filename="receipts-run-1.yaml"' in answer["Content-Disposition"]
    set_to(run, Status.DONE, facts={"precision": "bf16"})
    text = client.get(f"{URL}spec.yaml").content.decode()
    assert RunSpec.from_yaml(text) == replace(RunSpec.from_yaml(run.spec), precision="bf16")
    assert "resolved to bf16" in text.splitlines()[0]
    assert "precision: bf16" in client.get(URL).content.decode()
    TrainingRun.objects.update(spec=run.spec.replace("precision: auto", "precision: fp32"))
    assert "\nprecision: fp32\n" in client.get(f"{URL}spec.yaml").content.decode(), "an explicit choice is kept"


def test_log_is_plain_text_and_may_be_missing(run: TrainingRun, login: Login) -> None:
    client = login("manager")
    assert client.get(f"{URL}log.txt").content == b""
    write_text(f"{run.folder_key}/log.txt", "<b>10%\r<b>20%\nsaved\n")
    answer = client.get(f"{URL}log.txt")
    assert answer["Content-Type"].startswith("text/plain")
    html = client.get(URL).content.decode()
    assert "&lt;b&gt;20%\nsaved" in html  # markup is text, and a progress bar shows its last state
    assert "10%" not in html


def test_cancelling_is_idempotent(run: TrainingRun, login: Login) -> None:
    cancel = f"{URL}cancel/"
    answer = login("engineer").post(cancel)
    assert (answer.status_code, answer["Location"]) == (302, URL)
    run.refresh_from_db()
    assert run.status == Status.CANCELLED
    ended = run.finished_at
    assert login("engineer").post(cancel, headers=HTMX)["HX-Refresh"] == "true"
    run.refresh_from_db()
    assert run.finished_at == ended


def test_model_output_is_escaped(run: TrainingRun, login: Login) -> None:
    data = {"rows": [{"id": "<i>x", "raw": "<script>alert(1)</script>", "outcomes": {"<u>": "wrong"}}]}
    TrainingEvent.objects.create(run=run, kind="samples", step=1, data=data)
    html = login("manager").get(URL).content.decode()
    for markup in ("<script>alert(1)", "<i>x", "<u>"):
        assert markup not in html


def test_unknown_spec_does_not_break_the_page(run: TrainingRun, login: Login) -> None:
    TrainingRun.objects.update(spec="version: 99\nnew: form\n")
    client = login("engineer")
    assert client.get(URL).status_code == 200
    assert client.get("/p/receipts/training/new/", {"from": "1"}).status_code == 200
