"""``manage.py setup_demo``: its logins. ``tests/stack/test_serve.py`` starts the whole demo."""

import json
import stat
import time
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.management import call_command

from evaluation.management.commands import setup_demo
from evaluation.models import Benchmark, PipelineRun
from labeling.models import Split
from slmstudio.storage.hashing import folder_hash
from tests.training.ml_data import tiny, tiny_encoder
from training.models import BaseModel, TrainingRun
from training.runs.jobs import measure_lengths as run_lengths


@pytest.fixture
def logins(db: None, queues: None, settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of the logins; the demo has few documents."""
    settings.HOME = tmp_path
    monkeypatch.setattr(setup_demo, "DOCUMENTS", 2)
    monkeypatch.setattr(setup_demo, "WAITING", 1)
    return tmp_path / "demo-logins.json"


def add_base_model(slug: str, folder: Path, family: str) -> BaseModel:
    """A base model that is prepared."""
    ready = {"folder": str(folder), "sha256": folder_hash(folder), "context": 256, "parameters": 200_000}
    made: BaseModel = BaseModel.objects.create(
        slug=slug, name=slug, family=family, source="folder", location=str(folder), **ready
    )
    return made


def printed() -> str:
    output = StringIO()
    call_command("setup_demo", "--no-loop", stdout=output, stderr=StringIO())
    return output.getvalue()


def passwords(logins: Path) -> dict[str, str]:
    stored: dict[str, str] = json.loads(logins.read_text())["passwords"]
    return stored


def test_each_user_gets_a_password_that_is_printed_once(logins: Path) -> None:
    first = printed()
    made = passwords(logins)
    assert set(made) == {"ana", "erik", "mona"}
    assert len({*made.values()}) == 3
    assert all(len(password) >= 16 and first.count(password) == 1 for password in made.values())
    assert stat.S_IMODE(logins.stat().st_mode) == 0o600
    again = printed()
    assert passwords(logins) == made
    assert not any(password in again for password in made.values())
    assert str(logins) in again
    for name, password in made.items():
        assert get_user_model().objects.get(username=name).check_password(password)


def test_the_common_password_of_an_older_version_is_replaced(logins: Path) -> None:
    logins.write_text(json.dumps({"people": ["ana", "erik", "mona"], "password": "demo-abc123"}))
    made = printed()
    assert "demo-abc123" not in passwords(logins).values()
    assert all(password in made for password in passwords(logins).values())


def test_an_encoder_reaches_the_gates_and_a_benchmark_compares_it(
    logins: Path, forked_children: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"DOCUMENTS": 330, "WAITING": 10, "BENCHMARK_DOCUMENTS": 20}.items():
        monkeypatch.setattr(setup_demo, name, value)
    models = {"base_model": "small-decoder", "encoder": "small-encoder"}
    add_base_model("small-decoder", tiny(), "decoder")
    add_base_model("small-encoder", tiny_encoder(), "encoder")
    call_command("setup_demo", **models, stdout=StringIO(), stderr=StringIO())
    encoder, decoder = TrainingRun.objects.order_by("number").select_related("base_model")
    assert (encoder.base_model.is_encoder, decoder.base_model.is_encoder) == (True, False)
    pipeline = PipelineRun.objects.get()
    assert pipeline.training_run == encoder
    assert pipeline.tuned.split == Split.HOLDOUT
    candidates = Benchmark.objects.get().runs
    assert {run.training_run for run in candidates.all()} == {encoder, decoder, None}
    assert candidates.filter(classical__kind="rules").exists()
    call_command("setup_demo", **models, stdout=StringIO(), stderr=StringIO())
    assert TrainingRun.objects.count() == 2


def test_runs_are_queued_where_a_worker_measures_the_lengths(
    logins: Path, forked_children: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"DOCUMENTS": 330, "WAITING": 10}.items():
        monkeypatch.setattr(setup_demo, name, value)
    add_base_model("small-decoder", tiny(), "decoder")
    reports: list[int] = []
    monkeypatch.setattr(setup_demo, "measure_lengths_job", reports.append)

    def work(_: float) -> None:
        if reports:
            run_lengths(reports.pop())

    monkeypatch.setattr(time, "sleep", work)
    call_command("setup_demo", base_model="small-decoder", encoder="", stdout=StringIO(), stderr=StringIO())
    assert TrainingRun.objects.count() == 1
