"""Generation over a split: every document has an outcome, every outcome is written down."""

import json
from pathlib import Path
from typing import Any

import pytest

from evaluation.inference.spec import EvalSpec
from evaluation.ml.generate import DEFAULT_TOKENS, MAX_BOUNDED_TOKENS, TokenLimit, main, token_limit
from evaluation.ml.prompts import PromptBuilder
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
    assert [one["id"] for one in outputs] == ["holdout-0", "holdout-1", "holdout-2"]
    compiled = compile_schema(SCHEMA)
    for one in outputs:
        assert (one["finish_reason"], one["error"]) == ("stop", "")
        assert compiled.check(one["raw"])[1] == []
        assert one["latency_ms"] > 0
        assert one["prompt_tokens"] > 0
        assert one["output_tokens"] > 0
    path = tmp_path / "eval" / "outputs.jsonl"
    written = [json.loads(line) for line in path.read_text().splitlines()]
    assert written == [{key: value for key, value in one.items() if key != "event"} for one in outputs]
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
    assert [one["finish_reason"] for one in outputs] == ["stop", "error", "stop"]
    assert "4000" in outputs[1]["error"]
    assert outputs[1]["raw"] == ""


def test_outputs_do_not_depend_on_order(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    first.mkdir()
    second.mkdir()
    events, reversed_events = run(first), run(second, rows()[::-1])
    raw = {one["id"]: one["raw"] for one in named(events, "output")}
    assert raw == {one["id"]: one["raw"] for one in named(reversed_events, "output")}


def test_schema_and_examples_are_shown_and_shared(tmp_path: Path) -> None:
    lean, full = tmp_path / "lean", tmp_path / "full"
    lean.mkdir()
    full.mkdir()
    example = {"text": "Invoice A-1 total 2.50", "gold": {"total": "2.50", "invoice_id": "A-1"}}
    events = run(lean)
    collector = run(full, include_schema=True, examples=[example, example])
    assert named(collector, "output")[0]["prompt_tokens"] > named(events, "output")[0]["prompt_tokens"] + 150
    assert named(collector, "start")[0]["shared_tokens"] > named(events, "start")[0]["shared_tokens"] + 150


@pytest.mark.slow
def test_how_sure_the_model_was_of_each_field_comes_where_it_is_asked_for(tmp_path: Path) -> None:
    code, events, errors = run_child("evaluation.ml.generate", spec(tmp_path, confidence=True).to_yaml(), tmp_path)
    assert code == 0, errors
    for one in named(events, "output"):
        assert set(one["confidence"]) == set(json.loads(one["raw"]))
        for least, mean in one["confidence"].values():
            assert 0 <= least <= mean <= 1
    assert all(0 < one["confidence"]["total"][0] < 1 for one in named(events, "output")), "a random model is not sure"
    assert "confidence" not in named(run(tmp_path), "output")[0]


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"documents": {"path": "/nowhere", "split": "holdout"}}, "dataset"),
        ({"contract": {"instruction": "x", "schema": SCHEMA, "schema_sha256": "00"}}, "schema"),
    ],
)
def test_what_cannot_run_is_refused(tmp_path: Path, changes: dict[str, Any], kind: str) -> None:
    with pytest.raises(Refused) as caught:
        main(spec(tmp_path, **changes), EventCollector().emitter)
    assert caught.value.code == kind


def test_a_split_without_documents_is_refused(tmp_path: Path) -> None:
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
    for one in named(events, "output"):
        assert one["finish_reason"] in ("stop", "length"), one["error"]
        assert one["prompt_tokens"] + one["output_tokens"] <= 2048


@pytest.mark.slow
@pytest.mark.real_model
def test_the_packaged_model_answers_receipts_validly(tmp_path: Path) -> None:
    made = [{**one, "split": "holdout", "tags": [], "origin": "imported"} for one in receipts(4)]
    texts = {name: {"type": ["string", "null"], "maxLength": 250} for name in ("company", "date", "address", "total")}
    schema = {"type": "object", "properties": texts, "required": list(texts), "additionalProperties": False}
    events = run(
        tmp_path,
        made[2:],
        model=smollm2(),
        contract={"instruction": "Extract the fields of the receipt.", "schema": schema},
        include_schema=True,
        examples=[{"text": one["text"], "gold": one["gold"]} for one in made[:2]],
    )
    outputs = named(events, "output")
    assert len(outputs) == 2
    for one in outputs:
        assert compile_schema(schema).check(one["raw"])[1] == []
