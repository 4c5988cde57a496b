"""What a packet freezes of each kind of model, and of outputs that were scored again."""

from pathlib import Path
from typing import Any

import pytest

from evaluation.models import Endpoint, EvalRun, GateReport
from evaluation.services import packets, subjects
from evaluation.services.gates import make_report
from slmstudio import artifacts
from slmstudio.hashing import folder_hash
from tests.evaluation.factories import World, evaluated, pretend, rewrite
from training.models import ModelExport


@pytest.fixture
def report(world: World) -> GateReport:
    return make_report(eval_run=evaluated(world, pretend(2, spoil=0.05)), baseline=None, user=world.engineer)


def remade(report: GateReport, run: Any) -> GateReport:
    """The report with the packet that this run would have had."""
    fresh = GateReport.objects.get(pk=report.pk)
    fresh.eval_run = EvalRun.objects.get(pk=run.pk)
    fresh.packet = packets.packet(fresh)
    return fresh


def test_a_packet_is_the_same_in_any_order() -> None:
    assert packets.packet_hash({"a": "1", "b": "2"}) == packets.packet_hash({"b": "2", "a": "1"})
    assert packets.packet_hash({"a": "1"}) != packets.packet_hash({"a": "2"})


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
    assert made.packet["file"] == folder_hash(folder)
    assert not {"model", "tokenizer"} & set(made.packet)
    assert all(check.equal for check in packets.verify(made))
    (folder / "model.gguf").write_bytes(b"GGUF2")
    for files in (True, False):
        [changed] = [check for check in packets.verify(made, files=files) if not check.equal]
        assert changed.sentence.startswith("Model file: the hash of the GGUF file")


def test_a_model_elsewhere_is_where_it_is_asked(world: World, report: GateReport) -> None:
    endpoint = Endpoint.objects.create(project=world.project, name="large", url="https://models.test/v1", model="big")
    run = report.eval_run
    rewrite(run, endpoint=endpoint, training_run=None, model_version=None, spec="")
    made = remade(report, run)
    assert "endpoint" in made.packet
    assert not {"model", "tokenizer", "spec", "file"} & set(made.packet)
    assert all(check.equal for check in packets.verify(made))
    made.eval_run.endpoint.model = "bigger"  # type: ignore[union-attr]
    for files in (True, False):
        [changed] = [check for check in packets.verify(made, files=files) if not check.equal]
        assert changed.sentence.startswith("Model elsewhere: the hash of its address")


def test_outputs_scored_again_rest_on_what_they_were_made_by(world: World, report: GateReport) -> None:
    first = report.eval_run
    again = evaluated(world, pretend(2, spoil=0.05))
    rewrite(again, rescored_from=first, spec=first.spec)
    artifacts.local_path(subjects.spec_key(again)).unlink()
    made = remade(report, again)
    assert all(check.equal for check in packets.verify(made)), [check.sentence for check in packets.verify(made)]
    path = Path(artifacts.local_path(subjects.spec_key(first)))
    path.write_text(path.read_text().replace("mode: constrained", "mode: free"))
    assert [check.name for check in packets.verify(made) if not check.equal] == ["spec"]
