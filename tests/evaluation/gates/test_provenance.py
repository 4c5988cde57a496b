"""The provenance of a report: frozen, in the manifest, and readable where facts were not recorded."""

from pathlib import Path
from typing import Any

import pytest

from evaluation.approvals import decisions
from evaluation.gates import manifest, provenance
from evaluation.gates.services import create_report
from evaluation.models import Approval, AuditEntry, GateReport
from evaluation.runs import summary
from slmstudio.runs.application import application, scorer_code
from slmstudio.storage import installation
from tests.evaluation.factories import World, evaluated, pretend, rewrite

FACTS: dict[str, Any] = {
    "application": {"version": "9.1", "commit": "c0ffee", "requirements": "ab" * 32},
    "environment": {"processor": "Test CPU", "device": "cpu", "python": "3.11.2", "packages": {"torch": "2.9.0"}},
    "optimizer": {"optim": "adamw_torch_fused", "adam_epsilon": 1e-08, "weight_decay": 0.0},
    "prompt_sha256": "cd" * 32,
}


def report_of(world: World) -> GateReport:
    rewrite(world.training_run, facts=FACTS)
    rewrite(world.base_model, revision="e" * 40, reference="team/small")
    run = evaluated(world, pretend(2, spoil=0.05))
    rewrite(run, facts={**run.facts, **{name: FACTS[name] for name in ("application", "environment", "prompt_sha256")}})
    run.refresh_from_db()
    return create_report(eval_run=run, baseline=None, user=world.engineer)


def titles(report: GateReport) -> dict[str, dict[str, str]]:
    return {
        section.title: {fact.title: fact.value for fact in section.facts} for section in provenance.sections(report)
    }


def test_a_report_freezes_what_made_its_model_and_outputs(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    report = GateReport.objects.get(pk=report_of(world).pk)
    frozen = report.provenance
    assert frozen["report"] == {"application": application(), "scorer_code": scorer_code()}
    for part in ("training", "evaluation"):
        assert all(frozen[part][name] == FACTS[name] for name in ("application", "environment", "prompt_sha256"))
    assert frozen["training"]["optimizer"] == FACTS["optimizer"]
    assert frozen["evaluation"]["scorer_code"] == scorer_code()
    assert frozen["base_model"]["revision"] == "e" * 40
    shown = titles(report)["Training run 1"]
    assert (shown["Commit"], shown["Packages"], shown["Epsilon"]) == ("c0ffee", "torch 2.9.0", "1e-08")
    assert all(check.equal for check in manifest.verify(report))
    with monkeypatch.context() as patch:
        patch.setattr(provenance, "application", lambda: {"version": "10", "commit": "", "requirements": ""})
        assert decisions.changed_since(report) == [], "a newer application voids nothing"
    decisions.decide(report=report, user=world.manager, decision=Approval.Decision.REJECTED, reason="No.")
    assert AuditEntry.objects.filter(about=str(report)).latest("pk").details["application"] == application()


def test_a_changed_fact_voids_the_approval(world: World) -> None:
    report = report_of(world)
    rewrite(report, provenance={**report.provenance, "training": {}})
    for files in (True, False):
        changed = [
            check.name
            for check in manifest.verify(GateReport.objects.get(pk=report.pk), files=files)
            if not check.equal
        ]
        assert changed == ["provenance"]


def test_another_code_of_the_scorer_computes_the_scores_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    report = GateReport.objects.get(pk=report_of(world).pk)
    monkeypatch.setattr(summary, "recompute_summary", lambda run: {"other": 1})
    assert all(check.equal for check in manifest.verify(report, files=False))
    monkeypatch.setattr(manifest, "scorer_code", lambda: "f" * 64)
    assert [check.name for check in manifest.verify(report, files=False) if not check.equal] == ["scores"]


def test_a_report_from_before_is_readable(world: World) -> None:
    report = report_of(world)
    packet = {name: value for name, value in report.manifest.items() if name != "provenance"}
    rewrite(report, provenance={}, manifest=packet)
    old = GateReport.objects.get(pk=report.pk)
    assert provenance.sections(old) == []
    assert decisions.changed_since(old) == []


@pytest.fixture
def fresh() -> Any:
    application.cache_clear()
    yield
    application.cache_clear()


def test_the_commit_without_a_checkout(tmp_path: Path, settings: Any, fresh: None) -> None:
    (tmp_path / "requirements.txt").write_text("torch==1\n")
    settings.ASSETS, settings.APPLICATION_COMMIT = tmp_path, ""
    made = application()
    assert (made["version"], made["commit"]) == (installation.version(), "")
    assert made["version"]
    application.cache_clear()
    (tmp_path / "COMMIT").write_text("beef\n")
    (tmp_path / "requirements.txt").write_text("torch==2\n")
    assert application()["commit"] == "beef"
    assert application()["requirements"] != made["requirements"]
    application.cache_clear()
    settings.APPLICATION_COMMIT = "cafe"
    assert application()["commit"] == "cafe"
