"""Which documents a package is calibrated with, and what its build stores."""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from labeling.datasets import queries as dataset_queries
from labeling.models import Split
from serving.confidence.calibration import (
    AnsweredDocument,
    ConfidenceCalibration,
    DocumentRecord,
    JudgedField,
    calibrate,
    judged_fields,
    summary,
)
from serving.models import Package, PackageCalibration
from serving.packages import calibrations, jobs
from serving.packages.services import request_package
from serving.packages.spec import PackSpec
from slmstudio.contract.json_text import loads
from slmstudio.contract.schema.compiled import compile_schema
from slmstudio.runs.models import Status
from slmstudio.storage.artifacts import local_path
from slmstudio.storage.hashing import sha256_file
from tests.evaluation.factories import World, evaluated, right
from tests.serving.packages.test_documents import PARITY

SERVE = (
    "engine: transformers\ncontract: {instruction: Extract., schema: {}}\noutput_tokens: {reserved: 64, maximum: 64}\n"
)


def child(module: str, path: Path, log: Path, *, on_event: Callable[[dict[str, Any]], None], **_: Any) -> None:
    """The build without a model: every second document has a wrong value."""
    spec = PackSpec.from_yaml(path.read_text())
    folder = Path(spec.output_dir)
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "evidence").mkdir(parents=True)
    (folder / "serve.yaml").write_text(SERVE)
    on_event({"event": "parity", **PARITY})
    labeled = Path(spec.calibration).read_text().splitlines()
    answered = [
        AnsweredDocument(str(number), [JudgedField("total", 0.9, False, is_correct=number % 2 == 0)])
        for number in range(len(labeled))
    ]
    fitted, records = calibrate(answered)
    value = {
        **asdict(fitted), "summary": summary(fitted, records),
        "records": [record.to_json() for record in records],
    }  # fmt: skip
    (folder / "evidence/calibration.json").write_text(json.dumps(value))
    on_event({"event": "calibration", "variant": "", "file": "evidence/calibration.json"})


def test_a_build_stores_the_calibration_with_its_hash(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "run_child", child)
    package = request_package(run=evaluated(world, right), user=world.engineer)
    for _ in range(2):  # built again, it is replaced
        jobs.build_package(package.pk)
        package.refresh_from_db()
        assert package.status == Status.DONE, package.error
        [row] = PackageCalibration.objects.filter(package=package)
        Package.objects.filter(pk=package.pk).update(status=Status.QUEUED)
    names = [str(record["id"]) for record in dataset_queries.rows(world.dataset, Split.VALIDATION)]
    assert (row.documents, row.split, row.is_evaluated) == (len(names), "validation", False)
    assert [DocumentRecord.from_json(record).name for record in row.records] == names
    file = local_path(package.folder_key) / "evidence/calibration.json"
    assert row.sha256 == sha256_file(file)
    assert {entry["path"]: entry["sha256"] for entry in package.files}["evidence/calibration.json"] == row.sha256
    assert not any(name in file.read_text() for name in names)
    assert set(row.fits) == {""}


def test_without_validation_documents_those_of_the_evaluation_are_used_and_marked(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = evaluated(world, right)
    validation = calibrations.calibration_documents(run)
    assert (validation.split, validation.is_evaluated) == (Split.VALIDATION, run.split == Split.VALIDATION)
    real = dataset_queries.rows
    monkeypatch.setattr(
        dataset_queries, "rows", lambda dataset, split=None: () if split == Split.VALIDATION else real(dataset, split)
    )
    monkeypatch.setattr(run, "split", Split.HOLDOUT)
    other = calibrations.calibration_documents(run)
    assert (other.split, other.is_evaluated) == (Split.HOLDOUT, True)
    assert other.rows
    assert not {row["id"] for row in other.rows} & {row["id"] for row in validation.rows}


SCHEMA = compile_schema({
    "type": "object", "additionalProperties": False,
    "properties": {
        "number": {"type": "string"}, "date": {"type": ["string", "null"]},
        "rows": {"type": "array", "items": {"type": "object", "properties": {"name": {"type": "string"}}}},
    },
})  # fmt: skip
TEXT = "Invoice A-17: bread, milk"


def test_values_are_right_or_wrong_by_the_scorer() -> None:
    gold = {"number": "A-17", "date": None, "rows": [{"name": "bread"}, {"name": "milk"}]}
    raw = '{"number":"A-17","date":null,"rows":[{"name":"milk"},{"name":"cheese"}]}'
    probabilities = {
        "number": (0.9, 0.95, 0.8), "date": (0.7, 0.7), "rows[0].name": (0.6, 0.6), "rows[1].name": (0.5, 0.5),
    }  # fmt: skip
    rows = judged_fields(SCHEMA, text=TEXT, gold=gold, raw=raw, probabilities=probabilities)
    assert rows is not None
    known = {row.probability: row for row in rows if row.probability is not None}
    assert {key: (row.pattern, row.is_correct) for key, row in known.items()} == {
        0.9: ("number", True), 0.7: ("date", True), 0.6: ("rows[].name", True), 0.5: ("rows[].name", False),
    }  # fmt: skip
    assert (known[0.7].is_null, known[0.7].is_empty, known[0.9].is_null) == (True, True, False)
    assert judged_fields(SCHEMA, text=TEXT, gold=gold, raw='{"number": 5}', probabilities=probabilities) is None
    # At the gateway, where there is no gold, each value has the same probability.
    served = ConfidenceCalibration().confidences(SCHEMA, loads(raw), probabilities)
    assert served == {path: values[0] for path, values in probabilities.items()}
