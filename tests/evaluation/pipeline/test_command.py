"""``manage.py run_loop`` on real workers with the tiny model: what it reports can be counted again by anyone."""

import json
from contextlib import nullcontext
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from evaluation.gates.holdout.disclosure import OPENED_ACTION
from evaluation.management.commands import run_loop
from evaluation.models import AuditEntry, EvalRun
from evaluation.pipeline.services import EVALUATIONS
from labeling.demo.templates import template
from labeling.models import DatasetVersion, ImportRun, Project
from slmstudio.contract.json_text import dumps
from slmstudio.runs.models import BackgroundRun
from slmstudio.storage.hashing import sha256_file
from slmstudio.workers import live_workers
from slmstudio.workers.live_workers import StartedWorkers, WorkerGone, active_queues
from tests.conftest import worker_environment
from tests.forked_children import COMMAND
from tests.training.ml_data import tiny_encoder
from training.base_models.services import sync_catalog
from training.models import LengthReport, ModelVersion, TrainingRun
from training.runs.curves import spec_of

GATE = {"key": "valid", "metric": "schema_valid_rate", "operator": ">="}
FIELDS = ("company", "date", "address", "total")


def receipt(number: int) -> dict[str, Any]:
    gold = {
        "company": f"SHOP {number % 7} SDN BHD",
        "date": f"{number % 28 + 1:02}/03/2018",
        "address": f"NO {number}, JALAN {number % 5}" if number % 3 else None,
        "total": f"{number}.50",
    }
    lines = [str(gold["company"]), gold["address"] or "", f"DATE {gold['date']}", f"TOTAL {gold['total']}", "THANK YOU"]
    return {"id": f"r{number}", "text": "\n".join(lines), "gold": gold, "till": number % 4}


@pytest.fixture
def receipts(tmp_path: Path) -> Path:
    lines = [json.dumps(receipt(number)) for number in range(1, 19)]
    lines.insert(3, json.dumps({"id": "no-text", "gold": receipt(99)["gold"]}))
    lines.insert(9, '{"id": "broken", "text": ')
    path = tmp_path / "receipts.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_worker_is_asked_for_on_every_queue_that_is_waited_for(
    db: None, receipts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def working(queues: list[str], *, say: Any) -> Any:
        asked.extend(queues)
        raise WorkerGone("There is no worker to be had.")

    monkeypatch.setattr(run_loop, "ensure_workers", working)
    with pytest.raises(CommandError, match="no worker to be had"):
        call_command("run_loop", template="receipt", train=receipts)
    waited_for: tuple[type[BackgroundRun], ...] = (ImportRun, LengthReport, EvalRun, TrainingRun)
    assert {run.queue_name for run in waited_for} <= {*asked}


def test_a_folder_is_registered_under_a_slug_that_is_free(db: None, settings: Any, tmp_path: Path) -> None:
    settings.MODEL_FOLDERS = [tmp_path]
    sync_catalog()
    folder = tmp_path / "all-MiniLM-L6-v2"
    folder.mkdir()
    made = run_loop._base_model(str(folder))
    assert (made.slug, made.location) == ("all-minilm-l6-v2-folder", str(folder))
    assert run_loop._base_model(str(folder)) == made
    assert run_loop._base_model("all-minilm-l6-v2").source != made.source


@pytest.fixture
def workers_listen(monkeypatch: pytest.MonkeyPatch) -> None:
    """For commands that end before any worker has something to do."""
    monkeypatch.setattr(run_loop, "ensure_workers", lambda queues, *, say: nullcontext(StartedWorkers()))


@pytest.fixture
def workers_start(transactional_db: None, queues: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The workers that the command starts find the test database."""
    monkeypatch.setenv("DATABASE_URL", worker_environment()["DATABASE_URL"])
    monkeypatch.setattr(live_workers, "COMMAND", COMMAND)


@pytest.mark.slow
def test_report_equals_a_recount_of_the_outputs(
    workers_start: None, tiny_base_model: Any, receipts: Path, tmp_path: Path
) -> None:
    """No worker listens beforehand: the command starts its own on every queue, and ends them."""
    gates = tmp_path / "gates.json"
    gates.write_text(json.dumps({"gates": [{**GATE, "threshold": 0.75}]}))
    tiny_base_model.shape = TINY_SHAPE
    tiny_base_model.save(update_fields=["shape"])
    contract = tmp_path / "contract.json"
    known = template("receipt")
    contract.write_text(dumps({"instruction": "Read the slip.", "schema": known.schema, "constraints": {}}))
    printed = StringIO()
    call_command(
        "run_loop",
        template="receipt",
        contract=contract,
        gates=gates,
        train=receipts,
        base_model=tiny_base_model.slug,
        max_holdout=3,
        epochs=1,
        report=tmp_path / "report.json",
        outputs=tmp_path / "outputs",
        stdout=printed,
    )
    assert "{" not in printed.getvalue(), "sentences, not Python's dicts"
    assert not active_queues()
    report = json.loads((tmp_path / "report.json").read_text())

    imports = report["imports"].values()
    assert sum(part["imported"] for part in imports) + sum(part["rejected"] for part in imports) <= 20
    for part in imports:
        assert len(part["rejects"]) == part["rejected"]
    for name in EVALUATIONS:
        _recount(report[name], tmp_path / "outputs" / f"{name}.jsonl")
        is_final = name in ("base", "tuned")
        assert report[name]["split"] == ("holdout" if is_final else "validation")
        assert report[name]["documents"] == 3 or not is_final
    assert EvalRun.objects.on_holdout().count() == 2
    assert AuditEntry.objects.filter(action=OPENED_ACTION).count() == 2
    assert report["tuned"]["schema_valid_rate"] == 1.0  # every string of the schema is bounded: nothing is cut off
    assert report["comparison"]["fixed"] == len(report["comparison"]["fixed_ids"])
    assert 0 <= report["comparison"]["p_adjusted"] <= 1
    assert [verdict["gate"]["threshold"] for verdict in report["gates"]["verdicts"]] == [0.75]

    model = ModelVersion.objects.chosen().get()
    dataset = DatasetVersion.objects.get()
    spec = spec_of(model.training_run)
    assert spec is not None
    assert spec.method == "full", "an extraction with a small model"
    assert report["hashes"]["model"] == model.sha256
    assert report["hashes"]["dataset"] == dataset.sha256
    assert dataset.instruction == "Read the slip."
    from labeling.datasets.queries import file_path

    assert sha256_file(file_path(dataset)) == dataset.sha256


@pytest.mark.slow
def test_the_folder_of_an_encoder_reaches_its_report(
    workers_start: None, receipts: Path, tmp_path: Path, settings: Any
) -> None:
    """Only the trained encoder is evaluated: on validation and on the hold-out."""
    settings.MODEL_FOLDERS = [tiny_encoder().parent]
    paths = {"report": tmp_path / "report.json", "outputs": tmp_path / "outputs"}
    options: dict[str, Any] = {"base_model": str(tiny_encoder()), "max_holdout": 3, "epochs": 1, **paths}
    call_command("run_loop", template="receipt", train=receipts, stdout=StringIO(), **options)
    report = json.loads(paths["report"].read_text())
    assert {name for name in EVALUATIONS if report.get(name)} == {"tuned", "tuned_validation"}
    for name in ("tuned", "tuned_validation"):
        _recount(report[name], paths["outputs"] / f"{name}.jsonl")
    assert "comparison" not in report
    model = ModelVersion.objects.chosen().get()
    assert model.training_run.base_model.is_encoder
    assert report["hashes"]["model"] == model.sha256
    assert {verdict["gate"]["metric"] for verdict in report["gates"]["verdicts"]} > {"schema_valid_rate"}


#: known, so that it can be estimated whether full fine-tuning fits
TINY_SHAPE = {
    "layers": 2,
    "hidden": 64,
    "intermediate": 128,
    "heads": 4,
    "kv_heads": 2,
    "head_dim": 16,
    "vocabulary": 49152,
    "tied": True,
    "parameters": 3_200_000,
    "context": 2048,
    "window": None,
}


def _recount(figures: dict[str, Any], path: Path) -> None:
    """Counts by hand what the report says: exact strings, absent on both sides left out, invalid in the denominator."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert figures["documents"] == len(rows) > 0
    right = total = 0
    for row in rows:
        output = row["output"] if row["valid"] else {}
        for field in FIELDS:
            gold, said = row["gold"].get(field), output.get(field)
            if gold is None and said is None:
                continue
            total += 1
            right += row["valid"] and gold == said
    assert figures["field_exact"] == pytest.approx(right / total)
    assert figures["schema_valid_rate"] == pytest.approx(sum(row["valid"] for row in rows) / len(rows))


@pytest.mark.django_db(transaction=True)
def test_a_file_that_cannot_be_used_is_one_sentence_and_leaves_no_project(
    workers_listen: None, tiny_base_model: Any, receipts: Path, tmp_path: Path
) -> None:
    with pytest.raises(CommandError, match="Cannot read"):
        call_command("run_loop", template="receipt", train=tmp_path / "nowhere.jsonl", base_model=tiny_base_model.slug)
    path = tmp_path / "given.json"
    for option, text, sentence in (
        ("gates", json.dumps({"gates": [{**GATE, "threshold": 75}]}), r"gates\[0\].threshold"),
        ("gates", '{"gates": [', "is not valid JSON"),
        ("contract", '{"instruction": "Read.", "schema": {"properties": {"a": {"type": "strin"}}}}', "schema:"),
        ("contract", "[]", "must contain a JSON object"),
    ):
        path.write_text(text)
        with pytest.raises(CommandError, match=sentence):
            call_command(
                "run_loop", template="receipt", train=receipts, base_model=tiny_base_model.slug, **{option: path}
            )
    assert not Project.objects.exists()
