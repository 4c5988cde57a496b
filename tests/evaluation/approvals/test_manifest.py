"""What a packet freezes of each kind of model, and of outputs that were scored again."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.cache import caches

from evaluation.gates import manifest as manifest_module
from evaluation.gates.policy.services import current_policy, set_policy
from evaluation.gates.services import create_report
from evaluation.inference.spec import EvalSpec, GgufRef
from evaluation.models import Endpoint, EvalRun, GateReport
from evaluation.regression_suite import services as regression_suite_services
from labeling.datasets import queries as dataset_queries
from labeling.models import Document
from slmstudio.errors import Refused
from slmstudio.runs.models import Status
from slmstudio.runs.supervisor import ChildExit
from slmstudio.storage import artifacts
from slmstudio.storage.hashing import folder_hash, folder_manifest, manifest_hash, sha256_file, sha256_text
from tests.evaluation.factories import World, broken, evaluated, pretend, rewrite, right
from tests.evaluation.gates.test_services import changed
from training.exports import jobs as export_jobs
from training.models import BaseModel, ModelExport


def remade(report: GateReport, run: Any) -> GateReport:
    """The report with the packet that this run would have had."""
    fresh = GateReport.objects.get(pk=report.pk)
    fresh.eval_run = EvalRun.objects.get(pk=run.pk)
    fresh.manifest = manifest_module.build_manifest(fresh)
    return fresh


def test_the_hash_of_a_modified_file_is_cached_until_it_changes_again(
    report: GateReport, monkeypatch: pytest.MonkeyPatch
) -> None:
    caches["process"].clear()
    path = artifacts.local_path(report.eval_run.outputs_key)
    later = report.created_at.timestamp() + 1  # the clock of files can be some milliseconds late
    os.utime(path, (later, later))
    read: list[Path] = []

    def counted(file: Path) -> str:
        read.append(file)
        return sha256_file(file)

    monkeypatch.setattr(manifest_module, "sha256_file", counted)
    for _ in range(3):
        assert all(check.equal for check in manifest_module.verify(report, files=False))
    assert read.count(path) == 1
    path.write_text(path.read_text().replace("stop", "step"))
    assert [check.name for check in manifest_module.verify(report, files=False) if not check.equal] == ["outputs"]


def test_a_model_in_one_file_is_its_file(world: World, report: GateReport) -> None:
    key = "training/exports/1"
    folder = artifacts.local_path(key)
    folder.mkdir(parents=True)
    (folder / "model.gguf").write_bytes(b"GGUF")
    export = ModelExport.objects.create(
        model_version=world.version, kind=ModelExport.Kind.Q8_0, folder_key=key, sha256=folder_hash(folder)
    )
    run = report.eval_run
    rewrite(run, export=export)
    made = remade(report, run)
    assert made.manifest["file"] == folder_hash(folder)
    assert not {"model", "tokenizer"} & set(made.manifest)
    assert all(check.equal for check in manifest_module.verify(made))
    (folder / "model.gguf").write_bytes(b"GGUF2")
    for files in (True, False):
        [changed] = [check for check in manifest_module.verify(made, files=files) if not check.equal]
        assert changed.sentence.startswith("Model file: the hash of the GGUF file")


def test_a_new_file_with_the_same_weights_keeps_the_approval(
    world: World, report: GateReport, queues: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where its folder holds the times of its check, as it once did."""
    key = f"{world.training_run.folder_key}/exports/q8_0"
    folder = artifacts.local_path(key)
    folder.mkdir(parents=True)
    (folder / "model.gguf").write_bytes(b"GGUF")
    (folder / "parity.json").write_text('{"median_ms": 41.5}')
    manifest = folder_manifest(folder)
    parts: dict[str, Any] = {"files": [dict(file) for file in manifest], "sha256": manifest_hash(manifest)}
    export = ModelExport.objects.create(
        model_version=world.version, kind=ModelExport.Kind.Q8_0, status=Status.DONE, folder_key=key, **parts
    )
    rewrite(report.eval_run, export=export)
    frozen = remade(report, report.eval_run).manifest

    def made_again(content: bytes, error: str = "") -> GateReport:
        def supervise(export: Any, argv: list[str], **more: Any) -> ChildExit:
            output = Path(yaml.safe_load(Path(argv[-1]).read_text())["output_dir"])
            output.mkdir(parents=True)
            (output / "model.gguf").write_bytes(content)
            (output / "parity.json").write_text("{}")
            return ChildExit(ok=not error, error=error)

        monkeypatch.setattr(export_jobs, "supervise", supervise)
        row = ModelExport.objects.get(pk=export.pk)
        row.requeue_by(world.engineer)
        export_jobs.export_model(row.pk)
        row.refresh_from_db()
        assert (row.status, row.error) == (Status.DONE, error)
        verified = remade(report, report.eval_run)
        verified.manifest = frozen
        return verified

    for content, error in ((b"GGUF", ""), (b"half", "The disk is full.")):
        again = made_again(content, error)
        for files in (True, False):
            checks = manifest_module.verify(again, files=files)
            assert [check.sentence for check in checks if not check.equal] == []
    [changed] = [check for check in manifest_module.verify(made_again(b"GGUF2")) if not check.equal]
    assert changed.sentence.startswith("Model file: the hash of the GGUF file")


def test_the_manifest_of_an_external_model_has_what_answered(world: World, report: GateReport) -> None:
    endpoint = Endpoint.objects.create(project=world.project, name="large", url="https://models.test/v1", model="big")
    run = report.eval_run
    facts = {**run.facts, "model": "big", "url": "https://models.test/v1", "max_new_tokens": 256, "examples": 2}
    rewrite(run, endpoint=endpoint, training_run=None, model_version=None, spec="", facts=facts)
    first = remade(report, run)
    frozen = first.manifest
    assert "endpoint" in frozen
    assert not {"model", "tokenizer", "file"} & set(frozen)
    assert all(check.equal for check in manifest_module.verify(first))
    assert create_report(eval_run=EvalRun.objects.get(pk=run.pk), baseline=None, user=world.engineer)
    rewrite(endpoint, model="small")
    made = remade(report, run)
    assert made.manifest["endpoint"] == frozen["endpoint"]
    for files in (True, False):
        [changed] = [check for check in manifest_module.verify(made, files=files) if not check.equal]
        assert changed.sentence.startswith("External model: the hash of its URL")
    with pytest.raises(Refused, match=r"large is small at .* now; these outputs are from big"):
        create_report(eval_run=EvalRun.objects.get(pk=run.pk), baseline=None, user=world.engineer)
    rewrite(run, facts={**facts, "max_new_tokens": 64})
    assert remade(report, run).manifest["spec"] != frozen["spec"]


def test_a_file_that_was_exported_again_has_no_report(world: World, report: GateReport) -> None:
    files = [{"path": "model.gguf", "sha256": "a" * 64}]
    export = ModelExport.objects.create(
        model_version=world.version, kind=ModelExport.Kind.Q8_0, folder_key="training/exports/1", files=files
    )
    run = report.eval_run
    spec = EvalSpec.from_yaml(run.spec)
    spec = replace(spec, gguf=GgufRef(path="/x/model.gguf", sha256="a" * 64), confidence=False)
    rewrite(run, export=export, spec=spec.to_yaml())
    fresh = EvalRun.objects.get(pk=run.pk)
    assert fresh.backend.changed(fresh) == ""
    rewrite(export, files=[{"path": "model.gguf", "sha256": "b" * 64}])
    fresh = EvalRun.objects.get(pk=run.pk)
    assert fresh.backend.changed(fresh)


def test_results_of_the_suite_are_in_the_manifest(world: World) -> None:
    gates = [{"key": "pinned", "metric": "pinned_broken", "operator": "<=", "threshold": 0}]
    set_policy(project=world.project, user=world.manager, gates=gates)
    run = evaluated(world, pretend(2, spoil=0.05))
    first, second = Document.objects.filter(project=world.project, holdout=True).order_by("pk")[:2]
    regression_suite_services.pin(project=world.project, document=first, user=world.engineer)
    report = create_report(eval_run=run, baseline=None, user=world.engineer)
    assert all(check.equal for check in manifest_module.verify(report))
    regression_suite_services.pin(project=world.project, document=second, user=world.engineer)
    for files in (True, False):
        assert [check.name for check in manifest_module.verify(report, files=files) if not check.equal] == ["pins"]


def test_a_rescoring_rests_on_the_spec_of_its_source(world: World, report: GateReport) -> None:
    first = report.eval_run
    again = evaluated(world, pretend(2, spoil=0.05))
    rewrite(again, rescored_from=first, spec=first.spec)
    artifacts.local_path(again.spec_key).unlink()
    made = remade(report, again)
    assert all(check.equal for check in manifest_module.verify(made)), [
        check.sentence for check in manifest_module.verify(made)
    ]
    path = Path(artifacts.local_path(first.spec_key))
    path.write_text(path.read_text().replace("mode: constrained", "mode: free"))
    assert [check.name for check in manifest_module.verify(made) if not check.equal] == ["spec"]


def test_the_hashes_of_the_manifest_are_those_of_the_files(world: World) -> None:
    base, tuned = evaluated(world, broken, tuned=False), evaluated(world, pretend(2, spoil=0.2))
    report = create_report(eval_run=tuned, baseline=base, user=world.engineer)
    weights = artifacts.local_path(world.version.folder_key)
    dataset = dataset_queries.file_path(world.dataset)
    held_out = [line for line in dataset.read_text().splitlines(keepends=True) if '"split":"holdout"' in line]
    assert len(held_out) == 12
    expected = {
        "model": folder_hash(weights),
        "tokenizer": sha256_file(weights / "tokenizer.json"),
        "dataset": sha256_file(dataset),
        "holdout": sha256_text("".join(held_out)),
        "schema": sha256_text(world.project.schema_version.schema_text),
        "outputs": sha256_file(artifacts.local_path(tuned.outputs_key)),
        "spec": sha256_file(artifacts.local_path(f"{tuned.folder_key}/spec.yaml")),
        "baseline": sha256_file(artifacts.local_path(base.outputs_key)),
    }
    assert expected.items() <= report.manifest.items()
    assert set(report.manifest) == {
        *expected,
        "scorer",
        "policy",
        "scores",
        "verdicts",
        "baseline_scores",
        "provenance",
    }
    checks = manifest_module.verify(report)
    assert [check.name for check in checks if not check.equal] == []
    assert {check.name for check in checks} == set(report.manifest)


def test_the_manifest_of_a_base_model_has_the_weights_that_ran(world: World) -> None:
    run = evaluated(world, right, tuned=False)
    then = world.base_model.sha256
    folder = Path(world.base_model.folder)
    (folder / "model.safetensors").write_bytes(b"prepared again")
    BaseModel.objects.filter(pk=world.base_model.pk).update(sha256=folder_hash(folder))
    report = create_report(eval_run=EvalRun.objects.get(pk=run.pk), baseline=None, user=world.engineer)
    assert report.manifest["model"] == then
    assert [check.name for check in manifest_module.verify(report) if not check.equal] == ["model"]


def test_a_threshold_the_database_writes_in_full_is_the_same_number(world: World) -> None:
    gates = changed(current_policy(project=world.project), "no-regression", 0.5)
    gates["gates"].append({"key": "speed", "metric": "p95_latency_ms", "operator": "<=", "threshold": 1e23})
    set_policy(project=world.project, user=world.manager, gates=gates)
    report = create_report(eval_run=evaluated(world, right), baseline=None, user=world.engineer)
    stored = GateReport.objects.get(pk=report.pk)
    assert manifest_module.verdicts_hash(stored) == report.manifest["verdicts"]
