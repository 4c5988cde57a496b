"""Decisions start as a linear classifier of what the encoder gives before it is trained."""

from pathlib import Path
from typing import Any

import pytest
import torch

from slmstudio.contract.schema.compiled import compile_schema
from tests.training.ml.encoders.test_training import spec_of
from tests.training.ml_data import rows
from training.ml.encoders.decision_start import fit_decision_heads
from training.ml.encoders.network import EncoderWithHeads
from training.ml.encoders.task import EncoderTask
from training.ml.encoders.trainer import WindowCollator

WORDS = {"card": "my card is lost", "fee": "why is there a fee", "top": "the top up failed"}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["intent", "topics", "urgency"],
    "properties": {
        "intent": {"enum": [*WORDS]},
        "topics": {"type": "array", "items": {"enum": [*WORDS]}, "uniqueItems": True},
        "urgency": {"type": "integer", "enum": [1, 2, 3]},
    },
}


@pytest.fixture
def task(tmp_path: Path) -> EncoderTask:
    made = rows(train=24, validation=6)
    for number, row in enumerate(made):
        name = [*WORDS][number % 3]
        row["text"] = f"{WORDS[name]} {number}"
        row["gold"] = {"intent": name, "topics": [name], "urgency": 1 + number % 3}
    return EncoderTask(spec_of(tmp_path, made, contract={"schema": SCHEMA}), compile_schema(SCHEMA))


def started(task: EncoderTask) -> tuple[EncoderWithHeads, dict[str, torch.Tensor]]:
    """A new model after the fit, and its outputs and targets on the training windows."""
    torch.manual_seed(1)
    model = task._new_model()
    collate = WindowCollator(task.data.heads, 0, in_parts=False)
    fit_decision_heads(model, task.data.train, collate, torch.device("cpu"))
    [part] = collate(task.data.train)["parts"]
    model.eval()
    with torch.no_grad():
        outputs = model(part["input_ids"], part["attention_mask"], part["inner"])
    return model, {**part, **{f"of {name}": value for name, value in outputs.items()}}


def test_classes_are_known_before_the_first_step(task: EncoderTask) -> None:
    _, values = started(task)
    kinds = [head.pattern for head in task.data.heads if head.kind == "decision"]
    intent, topics = (f"decision.{kinds.index(name)}" for name in ("intent", "topics"))
    assert (values[f"of {intent}"].argmax(1) == values[intent]).float().mean() >= 0.9
    assert (values[f"of {topics}"].argmax(1) == values[topics].argmax(1)).float().mean() >= 0.9


def test_the_same_model_and_windows_give_the_same_weights(task: EncoderTask) -> None:
    first, second = (started(task)[0].head_state() for _ in range(2))
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_the_heads_of_other_fields_stay_random(task: EncoderTask) -> None:
    model, _ = started(task)
    torch.manual_seed(1)
    untouched = task._new_model()
    for head, before, after in zip(model.decisions, untouched.decision_heads, model.decision_heads, strict=True):
        assert torch.equal(before.scores.weight, after.scores.weight) == head.ordered
