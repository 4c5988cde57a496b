"""Documents that are too long for the model are read in windows and scored as one."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from evaluation.ml import generate_llama, windows
from evaluation.ml.prompts import DocumentOutput, PromptBuilder, merged_output
from slmstudio.contract.schema.compiled import compile_schema
from slmstudio.contract.scoring.scorer import score_document
from slmstudio.contract.windows.windows import Window
from tests.contract.windows.statements import SCHEMA, Statement, statement
from tests.evaluation.ml.test_generate import run, spec
from tests.training.ml_data import INSTRUCTION, named, rows, tiny
from training.ml.data.rows import Row
from training.ml.lengths import load_encoder

CONTRACT = {"instruction": INSTRUCTION, "schema": SCHEMA}
PLAN = {"size": 600, "whole": 0, "answer": 900}


def builder_of(folder: Path, train: Sequence[Row] = (), context: int | None = 2048, **changes: Any) -> PromptBuilder:
    asked = spec(folder, contract=CONTRACT, **changes)
    return PromptBuilder.of_evaluation(asked, compile_schema(SCHEMA), load_encoder(str(tiny()), "chat"), train, context)


class PerfectLlama:
    """A server whose model reads its window without an error."""

    def __init__(self, builder: PromptBuilder, made: Statement) -> None:
        self.builder = builder
        self.windows = builder.split(made.text)
        self.made = made
        self.spoils = -1

    def complete(self, prompt: list[int], limit: int, **_: Any) -> dict[str, Any]:
        number = next(
            number for number, window in enumerate(self.windows) if self.builder.part.prompt(window.text) == prompt
        )
        value = self.made.read(self.windows[number])
        text = self.builder.part.schema.canonical(value)
        tokens = self.builder.encoder.completion(text)
        assert len(prompt) + len(tokens) <= 2048
        if number == self.spoils:
            return {"tokens": tokens[:9], "stop_type": "limit"}
        return {"tokens": tokens, "stop_type": "eos"}


def test_a_statement_of_several_windows_is_one_exact_output(tmp_path: Path) -> None:
    made = statement(pages=3, lines=12)
    builder = builder_of(tmp_path, windows=PLAN)
    llama = PerfectLlama(builder, made)
    model: Any = llama
    generator = generate_llama.LlamaGenerator(builder, model, builder.encoder)
    row = Row("s", "holdout", made.text, made.gold)
    output = generator.answer(row)
    assert (output.finish_reason, output.error) == ("stop", "")
    assert output.windows == len(llama.windows) > 5
    assert output.as_dict()["windows"] == output.windows
    assert output.prompt_tokens > len(made.text.encode())
    score = score_document(compile_schema(SCHEMA), text=made.text, gold=made.gold, raw=output.raw)
    assert score.exact
    llama.spoils = 2
    cut = generator.answer(row)
    assert (cut.finish_reason, cut.windows) == ("length", output.windows)


def test_a_document_of_too_many_windows_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "MAX_WINDOWS", 3)
    builder = builder_of(tmp_path, windows=PLAN)
    model: Any = None
    text = "line of text\n" * 200
    output = generate_llama.LlamaGenerator(builder, model, builder.encoder).answer(Row("s", "holdout", text, None))
    assert (output.finish_reason, output.error[:15]) == ("error", "The prompt has ")
    assert builder.prompts(text) == []


def test_transformers_reads_windows(tmp_path: Path) -> None:
    made = rows(train=3, validation=0)
    made[-2]["text"] = "Invoice A-7\n" + "x" * 60 + "\n" * 3 + "more lines of text\n" * 200
    outputs = {output["id"]: output for output in named(run(tmp_path, made, at_once=3, max_new_tokens=60), "output")}
    long = outputs.pop("holdout-1")
    assert (long["finish_reason"], long["error"]) == ("stop", "")
    assert long["windows"] >= 2
    assert long["prompt_tokens"] > 2048
    assert isinstance(json.loads(long["raw"]), dict)
    assert all("windows" not in output for output in outputs.values())


def test_confidence_of_a_merged_output_is_that_of_its_values() -> None:
    schema = compile_schema({"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}})
    row, cuts = Row("d", "", "one two", None), [Window(0, 4, "one "), Window(4, 7, "two")]
    parts = [
        DocumentOutput("d", '{"a":"one"}', "stop", 5, 10, 3, "", {"a": (0.5, 0.6)}),
        DocumentOutput("d", '{"b":"two"}', "stop", 5, 10, 3, "", {"b": (0.7, 0.8)}),
    ]
    merged = merged_output(schema, row, cuts, parts, 12.345)
    assert merged == DocumentOutput(
        "d", '{"a":"one","b":"two"}', "stop", 12.35, 20, 6, "", {"a": (0.5, 0.6), "b": (0.7, 0.8)}, windows=2
    )
