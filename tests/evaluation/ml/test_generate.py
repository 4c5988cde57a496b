"""Generation over a split: every document has an outcome, every outcome is written down."""

import json
from pathlib import Path
from typing import Any

import pytest

from evaluation.inference.spec import EvalSpec
from evaluation.ml.generate import main
from evaluation.ml.prompts import DEFAULT_TOKENS, MAX_BOUNDED_TOKENS, PromptBuilder, TokenLimit, token_limit
from slmstudio.contract.decoding.grammar import output_bound
from slmstudio.contract.schema.compiled import compile_schema
from slmstudio.errors import Refused
from slmstudio.storage.hashing import folder_hash, sha256_file
from tests.training.ml_data import (
    INSTRUCTION,
    SCHEMA,
    EventCollector,
    named,
    receipts,
    rows,
    run_child,
    smollm2,
    tiny,
    write_dataset,
)
from training.ml.data.rows import read_rows
from training.ml.lengths import load_encoder
from training.strict_yaml import build

WIDE: dict[str, Any] = {
    "type": "object",
    "properties": {"note": {"type": "string", "maxLength": 400}},
    "required": ["note"],
    "additionalProperties": False,
}
Events = list[dict[str, Any]]


def spec(folder: Path, made: list[dict[str, Any]] | None = None, **changes: Any) -> EvalSpec:
    dataset = write_dataset(folder / "data.jsonl", made)
    model = changes.pop("model", tiny())
    values: dict[str, Any] = {
        "model": {"path": str(model), "sha256": folder_hash(model)},
        "contract": {"instruction": INSTRUCTION, "schema": SCHEMA},
        "documents": {"path": str(dataset), "sha256": sha256_file(dataset), "split": "holdout"},
        "outputs": str(folder / "eval" / "outputs.jsonl"),
        **changes,
    }
    return build(EvalSpec, values)


def run(folder: Path, made: list[dict[str, Any]] | None = None, **changes: Any) -> Events:
    collector = EventCollector()
    main(spec(folder, made, **changes), collector.emitter)
    return collector.events


@pytest.mark.slow
def test_every_document_of_the_split_has_a_valid_answer(tmp_path: Path) -> None:
    code, events, errors = run_child("evaluation.ml.generate", spec(tmp_path).to_yaml(), tmp_path)
    assert code == 0, errors
    [start] = named(events, "start")
    assert start["documents"] == 3
    outputs = named(events, "output")
    assert [output["id"] for output in outputs] == ["holdout-0", "holdout-1", "holdout-2"]
    compiled = compile_schema(SCHEMA)
    for output in outputs:
        assert (output["finish_reason"], output["error"]) == ("stop", "")
        assert compiled.check(output["raw"])[1] == []
        assert output["latency_ms"] > 0
        assert output["prompt_tokens"] > 0
        assert output["output_tokens"] > 0
    path = tmp_path / "eval" / "outputs.jsonl"
    written = [json.loads(line) for line in path.read_text().splitlines()]
    assert written == [{key: value for key, value in output.items() if key != "event"} for output in outputs]
    [done] = named(events, "done")
    assert done["sha256"] == sha256_file(path)
    assert done["docs_per_second"] > 0
    assert done["peak_memory_bytes"] > 1_000_000


def test_a_document_that_fails_does_not_fail_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = PromptBuilder.prompt_within_context

    def failing(self: PromptBuilder, document: str) -> list[int]:
        if "A-101" in document:
            raise Refused("The prompt has 4000 tokens.", code="length")
        return real(self, document)

    monkeypatch.setattr(PromptBuilder, "prompt_within_context", failing)
    outputs = named(run(tmp_path), "output")
    assert [output["finish_reason"] for output in outputs] == ["stop", "error", "stop"]
    assert "4000" in outputs[1]["error"]
    assert outputs[1]["raw"] == ""


def test_outputs_do_not_depend_on_order_or_on_saying_how_sure_they_are(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    first.mkdir()
    second.mkdir()
    plain = {output["id"]: output for output in named(run(first), "output")}
    sure = {output["id"]: output for output in named(run(second, rows()[::-1], confidence=True), "output")}
    assert {key: output["raw"] for key, output in plain.items()} == {key: output["raw"] for key, output in sure.items()}
    assert all("confidence" not in output for output in plain.values())
    for output in sure.values():
        assert set(output["confidence"]) == set(json.loads(output["raw"]))
        assert all(0 <= least <= mean <= 1 for least, mean in output["confidence"].values())
        assert 0 < output["confidence"]["total"][0] < 1, "a random model is not sure"


def test_schema_and_examples_are_shown_and_shared(tmp_path: Path) -> None:
    lean, full = tmp_path / "lean", tmp_path / "full"
    lean.mkdir()
    full.mkdir()
    example = {"text": "Invoice A-1 total 2.50", "gold": {"total": "2.50", "invoice_id": "A-1"}}
    events = run(lean)
    collector = run(full, include_schema=True, examples=[example, example])
    assert named(collector, "output")[0]["prompt_tokens"] > named(events, "output")[0]["prompt_tokens"] + 150
    assert named(collector, "start")[0]["shared_tokens"] > named(events, "start")[0]["shared_tokens"] + 150


def test_what_cannot_run_is_refused(tmp_path: Path) -> None:
    changes: list[tuple[dict[str, Any], str]] = [
        ({"documents": {"path": "/nowhere", "split": "holdout"}}, "dataset"),
        ({"contract": {"instruction": "x", "schema": SCHEMA, "schema_sha256": "00"}}, "schema"),
    ]
    for change, kind in changes:
        with pytest.raises(Refused) as caught:
            main(spec(tmp_path, **change), EventCollector().emitter)
        assert caught.value.code == kind
    with pytest.raises(Refused, match="holdout"):
        main(spec(tmp_path, rows(holdout=0)), EventCollector().emitter)


def test_the_limit_of_an_answer(tmp_path: Path) -> None:
    encoder = load_encoder(str(tiny()), "chat")
    compiled = compile_schema(SCHEMA)
    made = read_rows(str(write_dataset(tmp_path / "data.jsonl")))
    longest = max(len(encoder.completion(compiled.canonical(row.gold))) for row in made if row.split == "train")
    room = max(-(-9 * longest // 4), 64) + 16
    assert token_limit(spec(tmp_path, mode="free"), compiled, made, encoder) == TokenLimit(room, room)
    held = token_limit(spec(tmp_path), compiled, made, encoder)
    assert held == TokenLimit(room, max(room, output_bound(SCHEMA) or 0)), "the schema bounds its answers"
    endless = compile_schema({"type": "object", "properties": {"a": {"type": "string"}}})
    assert token_limit(spec(tmp_path), endless, [], encoder) == TokenLimit(DEFAULT_TOKENS, DEFAULT_TOKENS)
    assert token_limit(spec(tmp_path), compile_schema(WIDE), made, encoder) == TokenLimit(room, MAX_BOUNDED_TOKENS)
    assert token_limit(spec(tmp_path, max_new_tokens=9), compiled, made, encoder) == TokenLimit(9, 9)


def test_an_answer_may_go_on_to_its_bound_as_far_as_the_context_goes(tmp_path: Path) -> None:
    gold = {"note": "short"}
    made = [{**row, "gold": gold} for row in rows()]
    made[-2]["text"] = "x" * 1500
    events = run(tmp_path, made, contract={"instruction": INSTRUCTION, "schema": WIDE})
    [start] = named(events, "start")
    assert start["max_new_tokens"] == MAX_BOUNDED_TOKENS
    for output in named(events, "output"):
        assert output["finish_reason"] in ("stop", "length"), output["error"]
        assert output["prompt_tokens"] + output["output_tokens"] <= 2048


@pytest.mark.slow
@pytest.mark.real_model
def test_the_packaged_model_answers_a_receipt_validly(tmp_path: Path) -> None:
    example, receipt = ({**row, "split": "holdout", "tags": [], "origin": "imported"} for row in receipts(2))
    texts = {name: {"type": ["string", "null"], "maxLength": 60} for name in ("company", "date", "address", "total")}
    schema = {"type": "object", "properties": texts, "required": list(texts), "additionalProperties": False}
    events = run(
        tmp_path,
        [receipt],
        model=smollm2(),
        contract={"instruction": "Extract the fields of the receipt.", "schema": schema},
        include_schema=True,
        examples=[{"text": example["text"], "gold": example["gold"]}],
    )
    [output] = named(events, "output")
    assert compile_schema(schema).check(output["raw"])[1] == []
