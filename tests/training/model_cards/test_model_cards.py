"""Model cards: facts, usage and lineage, without local paths or documents."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from labeling.datasets.queries import rows
from slmstudio.runs.models import Status
from slmstudio.storage.artifacts import local_path, write_text
from slmstudio.storage.hashing import folder_manifest, manifest_hash
from tests.shared_rows import shared_fixture
from tests.training.fakes import start_run
from training.model_cards import card
from training.models import BaseModel, LengthReport, TrainingEvent, TrainingRun
from training.runs.event_recorder import record_artifacts
from training.spec import CARD_FILES, RunSpec

pytestmark = pytest.mark.usefixtures("queues")
ENVIRONMENT = {"python": "3.11", "processor": "A processor", "packages": {"torch": "2.13.0"}}


@shared_fixture
def run(lengths: LengthReport, queues: None) -> TrainingRun:
    """A run that has learned, with its folder as the trainer leaves it."""
    BaseModel.objects.filter(pk=lengths.base_model_id).update(licence="Apache-2.0", reference="some/model")
    lengths.base_model.refresh_from_db()
    made = start_run(lengths, learning_rate=5e-4)
    row = next(row for row in rows(lengths.dataset) if row["split"] == "train")
    seen = {
        "train": {"id": row["id"], "prompt": f"<|im_start|>user\n{row['text']}<|im_end|>", "completion": "{}<|im_end|>"}
    }
    write_text(lengths.sample_key, json.dumps(seen))
    write_text(f"{made.folder_key}/environment.json", json.dumps(ENVIRONMENT))
    folder = local_path(f"{made.folder_key}/merged")
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"weights")
    for kind, step, data in (
        ("metrics", 1, {"loss": 2.5}),
        ("metrics", 40, {"loss": 0.25}),
        ("validation", 40, {"loss": 0.375}),
        ("samples", 40, {"field_exact": 0.75, "schema_valid": 1.0, "rows": [{"id": "a"}, {"id": "b"}]}),
    ):
        TrainingEvent.objects.create(run=made, kind=kind, step=step, data=data)
    made.status = Status.RUNNING
    made.facts = {"tokens": 12345, "seconds": 60.5, "left_out": [{"id": "x", "tokens": 9}]}
    made.save(update_fields=["status", "facts"])
    return made


def artifact(run: TrainingRun) -> dict[str, Any]:
    folder = local_path(f"{run.folder_key}/merged")
    return {"kind": "merged", "path": str(folder), "sha256": manifest_hash(folder_manifest(folder))}


def test_model_version_has_card_lineage_and_environment(run: TrainingRun) -> None:
    reported = artifact(run)
    model = record_artifacts(run, {"merged": reported})
    folder = local_path(model.folder_key)
    assert {file["path"] for file in model.files} == {"model.safetensors", *CARD_FILES}
    assert model.sha256 == manifest_hash(folder_manifest(folder)) != reported["sha256"]
    assert json.loads((folder / "environment.json").read_text()) == ENVIRONMENT
    lineage = json.loads((folder / "lineage.json").read_text())
    assert lineage.items() >= model.lineage.items()
    assert lineage["licence"] == "Apache-2.0"
    assert lineage["license_record"]["commercial_use"] == "yes"


def test_card_describes_model_usage_and_training(run: TrainingRun) -> None:
    text, reported = card.text(run), artifact(run)
    card.write(run, local_path(f"{run.folder_key}/merged"))
    model = record_artifacts(run, {"merged": reported})
    assert (local_path(model.folder_key) / "README.md").read_text() == text, "recorded once more, it stays the same"
    front = yaml.safe_load(text.split("---")[1])
    assert (front["license"], front["base_model"]) == ("apache-2.0", "some/model")
    assert f"\n{run.dataset.instruction}\n" in text
    assert "\n<|im_start|>user\n{document}<|im_end|>\n" in text
    assert "then `<|im_end|>`" in text
    assert run.dataset.sha256 in text
    assert run.base_model.sha256 in text
    assert "| 40 | 0.2500 |" in text
    assert "| 40 | 0.3750 | 75% | 100% |" in text
    assert "from 2 validation documents" in text
    assert "1 were longer than the sequence length" in text
    for words in ("apply_chat_template", "vllm serve", "llama-server -m", "| torch | 2.13.0 |", "0.0005"):
        assert words in text


def test_card_contains_no_path_and_no_document(run: TrainingRun) -> None:
    record_artifacts(run, {"merged": artifact(run)})
    folder = local_path(f"{run.folder_key}/merged")
    whole = "".join((folder / name).read_text() for name in CARD_FILES)
    assert run.base_model.folder not in whole
    assert str(folder.parent.parent) not in whole
    assert str(Path.home()) not in whole
    assert not any(row["text"].split("\n")[0] in whole for row in rows(run.dataset))


def test_user_text_is_escaped(run: TrainingRun) -> None:
    run.project.name = "# <img src=x onerror=alert(1)>\n---\nlicense: mit | `x`"
    spec, instruction = RunSpec.from_yaml(run.spec), "Extract.\n```\n# not a title\n````\n<b>bold</b>"
    run.spec = replace(spec, contract=replace(spec.contract, instruction=instruction)).to_yaml()
    text = card.text(run)
    assert yaml.safe_load(text.split("---\n")[1])["license"] == "apache-2.0"
    titles = [line for line in _outside_fences(text) if line.startswith("# ")]
    assert len(titles) == 1
    assert "<img" not in titles[0].replace("\\<", "")
    assert instruction in text
    assert "# not a title" not in _outside_fences(text)


def _outside_fences(text: str) -> list[str]:
    """The lines of a Markdown text outside of code blocks."""
    outside, fence = [], ""
    for line in text.splitlines():
        ticks = re.match(r"`{3,}", line)
        if fence:
            fence = "" if line == fence else fence
        elif ticks:
            fence = ticks[0]
        else:
            outside.append(line)
    return outside


def test_card_without_measured_lengths_has_no_prompt_and_a_long_run_few_points(run: TrainingRun) -> None:
    LengthReport.objects.all().delete()
    assert "{document}" not in card.text(run)
    assert card.spread(range(1, 101)) == [1, 15, 29, 43, 58, 72, 86, 100]
    assert card.spread([1, 2]) == [1, 2]
