"""``manage.py gate``: what it prints, and the code that it exits with."""

import io
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import OperationalError

from evaluation.gates.display import ExitCode
from evaluation.management.commands import gate
from evaluation.models import EvalRun, GateReport
from evaluation.runs.services import start_evaluation
from labeling.models import Split
from tests.evaluation.factories import World, broken, complete, evaluated, right

VALID = {"key": "schema-valid", "metric": "schema_valid_rate", "operator": ">=", "threshold": 0.01}


def run_gate(world: World, run: EvalRun, **options: Any) -> tuple[int, str]:
    """The exit code and standard output."""
    out = io.StringIO()
    try:
        call_command(
            "gate", project=world.project.slug, evaluation=run.number, stdout=out, stderr=io.StringIO(), **options
        )
    except SystemExit as end:
        return int(end.code or 0), out.getvalue()
    except CommandError as error:
        return error.returncode, out.getvalue()
    raise AssertionError("it does not exit")


def test_a_report_on_the_holdout(world: World, tmp_path: Path) -> None:
    run = evaluated(world, right)
    code, text = run_gate(world, run, json=True, junit=tmp_path / "gates.xml")
    outcome = json.loads(text)
    report = GateReport.objects.get()
    assert (code, outcome["code"], outcome["verdict"], outcome["report"]) == (2, 2, "NOT PROVEN", report.number)
    assert report.created_by == world.engineer  # the first member who may
    tests = list(ElementTree.parse(tmp_path / "gates.xml").getroot().iter("testcase"))
    assert len(tests) == len(outcome["gates"]) == len(report.verdicts)
    code, text = run_gate(world, run)
    assert (code, text.split("  ")[0]) == (2, "NOT PROVEN")
    assert GateReport.objects.count() == 1


def test_each_verdict_has_its_code(world: World, tmp_path: Path) -> None:
    file = tmp_path / "gates.json"
    file.write_text(json.dumps([VALID]))
    passing = evaluated(world, right, split=Split.VALIDATION)
    assert run_gate(world, passing, gates=file)[0] == ExitCode.PASS
    assert run_gate(world, passing)[0] == ExitCode.NOT_PROVEN
    failing = evaluated(world, broken, split=Split.VALIDATION)
    file.write_text(json.dumps([{**VALID, "threshold": 0.99}]))
    assert run_gate(world, failing, gates=file)[0] == ExitCode.FAIL
    assert not GateReport.objects.exists()


def test_no_verdict(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = evaluated(world, right)
    file = tmp_path / "gates.json"
    file.write_text(json.dumps([VALID]))
    for options in ({"gates": file}, {"baseline": 99}, {"user": "none"}, {"user": "ana"}, {"user": "paul"}):
        assert run_gate(world, run, **options)[0] == ExitCode.NO_VERDICT, options
    monkeypatch.setattr(gate, "POLL_SECONDS", 0)
    live = start_evaluation(project=world.project, user=world.engineer, dataset=world.dataset, model=world.training_run)
    assert live.claim()
    live.fail("The worker stopped.")
    assert run_gate(world, live)[0] == ExitCode.NO_VERDICT
    assert not GateReport.objects.exists()


def test_it_waits_for_the_evaluation(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    live = start_evaluation(project=world.project, user=world.engineer, dataset=world.dataset, model=world.training_run)
    asked: list[float] = []

    def wait(seconds: float) -> None:
        asked.append(seconds)
        if len(asked) == 2:
            complete(EvalRun.objects.get(pk=live.pk), right, version=world.version)

    monkeypatch.setattr("time.sleep", wait)
    assert run_gate(world, live)[0] == ExitCode.NOT_PROVEN
    assert len(asked) == 2


def test_an_unusable_file_of_gates_is_a_wrong_argument(world: World, tmp_path: Path) -> None:
    file, run = tmp_path / "gates.json", evaluated(world, right)
    assert run_gate(world, run, gates=file)[0] == ExitCode.USAGE, "there is none"
    for content in ("{", "[{}]", '{"gates": 1}'):
        file.write_text(content)
        assert run_gate(world, run, gates=file)[0] == ExitCode.USAGE
    assert not GateReport.objects.exists()


def test_wrong_arguments_are_no_verdict() -> None:
    """argparse ends with 2, which is NOT PROVEN."""
    both = ["--project", "x", "--evaluation", "1", "--baseline", "2", "--no-baseline"]
    for arguments in ([], ["--project", "x", "--evaluation", "one"], both):
        with pytest.raises(SystemExit) as end:
            gate.Command().run_from_argv(["manage.py", "gate", *arguments])
        assert end.value.code == ExitCode.USAGE


def test_an_error_is_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python ends with 1, which is FAIL."""

    def handle(self: gate.Command, **options: Any) -> None:
        raise OperationalError("the database is away")

    monkeypatch.setattr(gate.Command, "handle", handle)
    with pytest.raises(SystemExit) as end:
        gate.Command().run_from_argv(["manage.py", "gate", "--project", "x", "--evaluation", "1", "--skip-checks"])
    assert end.value.code == ExitCode.NO_VERDICT
