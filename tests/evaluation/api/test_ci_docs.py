"""docs/ci.md does what it says: its script is run as it stands, against a live server."""

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml
from django.conf import settings
from django.db import transaction
from pytest_django.live_server_helper import LiveServer

from evaluation.gates.display import ExitCode
from evaluation.models import EvalRun, GateReport
from labeling.models import ApiToken
from slmstudio.runs.models import Status
from tests.evaluation.factories import Say, World, broken, complete, pretend, right
from tests.labeling.api_client import api_of

TEXT = (Path(settings.BASE_DIR) / "docs/ci.md").read_text()
Job = Callable[..., subprocess.CompletedProcess[str]]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture
def job(live_server: LiveServer, world: World, queues: None, tmp_path: Path) -> Job:
    """Runs the script with these variables more, in a folder of its own."""
    [script] = blocks("sh")
    (tmp_path / "gates.sh").write_text(script)
    token = api_of(world.project, world.engineer, "read", "evaluate").token

    def run(**variables: str) -> subprocess.CompletedProcess[str]:
        environment = {
            **os.environ, "SLM_URL": live_server.url, "SLM_PROJECT": world.project.slug, "SLM_TOKEN": token,
            "SLM_MODEL": "run-1", "SLM_POLL_SECONDS": "0.1", **variables,
        }  # fmt: skip
        return subprocess.run(
            ["sh", "gates.sh"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False
        )

    return run


@pytest.fixture
def answers(world: World, monkeypatch: pytest.MonkeyPatch) -> Callable[[Say], None]:
    """Evaluations are done by the time that they are read first, with the answers of a function."""

    def say(how: Say) -> None:
        def enqueue(run: EvalRun, *, first: bool = False) -> None:
            transaction.on_commit(lambda: complete(run, how, version=world.version))

        monkeypatch.setattr(EvalRun, "enqueue", enqueue)

    return say


pytestmark = pytest.mark.django_db(transaction=True)


def test_the_script_exits_by_the_verdict(job: Job, answers: Callable[[Say], None], tmp_path: Path) -> None:
    answers(right)
    done = job(SLM_BUILD="1")
    assert done.returncode == ExitCode.NOT_PROVEN, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[:2] == ["evaluation 1", "NOT PROVEN"]
    failures = ElementTree.parse(tmp_path / "gates.xml").getroot().findall(".//failure")
    assert len(failures) == len(lines) - 2 > 0
    assert not GateReport.objects.exists()
    assert job(SLM_BUILD="1").stdout == done.stdout
    assert EvalRun.objects.count() == 1
    answers(broken)
    assert job(SLM_BUILD="2").returncode == ExitCode.FAIL


def test_the_script_confirms_the_holdout(job: Job, answers: Callable[[Say], None]) -> None:
    answers(pretend(1, spoil=0.4))
    priced = job(SLM_SPLIT="holdout")
    assert priced.returncode == ExitCode.NO_VERDICT
    assert "holdout_not_confirmed" in priced.stderr
    assert not EvalRun.objects.exists()
    done = job(SLM_SPLIT="holdout", SLM_CONFIRM_HOLDOUT="true")
    report = GateReport.objects.get()
    assert (done.returncode, report.eval_run.number) == (1 if "FAIL" in done.stdout else 2, 1)
    assert done.stdout.splitlines()[1] in ("FAIL", "NOT PROVEN")


def test_the_script_ends_without_a_verdict(
    job: Job, monkeypatch: pytest.MonkeyPatch, world: World, tmp_path: Path
) -> None:
    assert job(SLM_MODEL="run-9").returncode == ExitCode.NO_VERDICT

    def enqueue(run: Any, *, first: bool = False) -> None:
        transaction.on_commit(lambda: run.fail("No worker."))

    monkeypatch.setattr(EvalRun, "enqueue", enqueue)
    failed = job()
    assert (failed.returncode, failed.stderr.strip()) == (ExitCode.NO_VERDICT, "evaluation 1: failed")
    assert EvalRun.objects.get().status == Status.FAILED
    ApiToken.objects.update(scopes=["read"])
    assert "evaluate" in job().stderr
    assert job(SLM_URL="http://127.0.0.1:9").returncode == ExitCode.NO_VERDICT


def test_the_jobs_run_the_script_with_its_variables() -> None:
    github, gitlab = (yaml.safe_load(block) for block in blocks("yaml"))
    [script] = blocks("sh")
    known = set(re.findall(r"SLM_[A-Z_]+", script))
    step = next(step for step in github["jobs"]["gates"]["steps"] if "run" in step)
    assert step["run"] == "sh ci/gates.sh"
    assert {"SLM_URL", "SLM_PROJECT", "SLM_MODEL", "SLM_TOKEN", "SLM_CONFIRM_HOLDOUT"} <= set(step["env"]) <= known
    assert gitlab["gates"]["script"] == ["sh ci/gates.sh"]
    for name in gitlab:
        assert set(gitlab[name]["variables"]) <= known
    documented = set(re.findall(r"`(SLM_[A-Z_]+)`", TEXT))
    assert known == documented
