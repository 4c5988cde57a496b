"""Ways of answering: held to the document, several documents together, and by llama.cpp. All answer the same."""

import json
import time
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest

from evaluation.inference.spec import EvalSpec
from evaluation.ml import generate, generate_llama, windows
from evaluation.ml.batches import BatchGenerator, BatchItem
from evaluation.ml.prompts import PromptBuilder
from slmstudio.contract.decoding.grammar import grammar
from slmstudio.contract.decoding.grounding import collapse_spaces
from slmstudio.contract.schema.compiled import compile_schema
from slmstudio.errors import Refused
from slmstudio.storage.hashing import folder_hash, sha256_file
from tests.evaluation import tiny_gguf
from tests.training.ml_data import INSTRUCTION, SCHEMA, EventCollector, named, rows, tiny, write_dataset
from training.ml.data.encoder import Encoder
from training.ml.decoding.constraint import Grammar
from training.ml.decoding.decoder import Decoder, load
from training.ml.hardware import device
from training.ml.llama_cpp.runtime import Llama
from training.strict_yaml import SpecError, build

COPIED: dict[str, Any] = {
    **SCHEMA,
    "properties": {
        "invoice_id": {"type": "string", "maxLength": 12, "x-slm": {"evidence": "required"}},
        "total": {"type": ["string", "null"], "maxLength": 10, "x-slm": {"evidence": "required"}},
    },
}
Outputs = dict[str, dict[str, Any]]


def spec(folder: Path, made: list[dict[str, Any]] | None = None, **changes: Any) -> EvalSpec:
    folder.mkdir(exist_ok=True)
    dataset = write_dataset(folder / "data.jsonl", made)
    schema = changes.pop("schema", SCHEMA)
    values: dict[str, Any] = {
        "model": {"path": str(tiny()), "sha256": folder_hash(tiny())},
        "contract": {"instruction": INSTRUCTION, "schema": schema},
        "documents": {"path": str(dataset), "sha256": sha256_file(dataset), "split": "holdout"},
        "outputs": str(folder / "outputs.jsonl"),
        **changes,
    }
    return build(EvalSpec, values)


def run(folder: Path, made: list[dict[str, Any]] | None = None, *, child: Any = generate, **changes: Any) -> Any:
    collector = EventCollector()
    child.main(spec(folder, made, **changes), collector.emitter)
    return collector.events


def by_id(events: Any) -> Outputs:
    return {output["id"]: output for output in named(events, "output")}


def mixed(count: int = 7) -> list[dict[str, Any]]:
    """Documents of very different lengths."""
    made = rows(holdout=count)
    for number, row in enumerate(made[-count:]):
        row["text"] = f"{row['text']}\n" + "again and again " * (5 * (number % 3))
    return made


# -- held to the document ------------------------------------------------------------------------------------------


def test_a_held_field_says_only_what_stands_in_its_document(tmp_path: Path) -> None:
    events = run(tmp_path, mode="grounded", schema=COPIED)
    [start] = named(events, "start")
    assert start["grounded"] == {"held": {"invoice_id": [], "total": []}, "left": {}, "known": {}}
    texts = {row["id"]: collapse_spaces(row["text"]) for row in rows()}
    outputs = by_id(events)
    assert len(outputs) == 3
    for name, output in outputs.items():
        assert (output["finish_reason"], output["error"]) == ("stop", "")
        value = json.loads(output["raw"])
        assert compile_schema(COPIED).check(output["raw"])[1] == []
        assert value["invoice_id"] in texts[name]
        assert value["total"] is None or value["total"] in texts[name]
    free = by_id(run(tmp_path / "held", mode="constrained", schema=COPIED))
    assert any(json.loads(output["raw"])["invoice_id"] not in texts[name] for name, output in free.items()), (
        "it can invent"
    )


def test_field_without_gold_in_text_is_not_grounded(tmp_path: Path) -> None:
    made = rows()
    for row in made:
        row["gold"]["total"] = "about " + row["gold"]["total"]
    [start] = named(run(tmp_path, made, mode="grounded", schema=COPIED), "start")
    assert start["grounded"]["held"] == {"invoice_id": []}
    assert start["grounded"]["left"]["total"].startswith("only 0 of 12 gold values of the training split")


def test_without_a_field_that_can_be_held_it_is_refused(tmp_path: Path) -> None:
    made = rows()
    for number, row in enumerate(made):
        row["gold"] = {"invoice_id": f"none {number}", "total": None}
    with pytest.raises(Refused, match="No field can be grounded") as caught:
        run(tmp_path, made, mode="grounded")
    assert caught.value.code == "schema"


# -- several together ----------------------------------------------------------------------------------------------


@pytest.fixture
def fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also on processors that are faster in bf16, where the sums of a batch can round to another token."""
    monkeypatch.setattr(device, "fast_bf16", lambda _: False)


@pytest.mark.usefixtures("fp32")
@pytest.mark.parametrize("mode", ["free", "grounded"])
def test_together_they_answer_what_they_answer_one_at_a_time(tmp_path: Path, mode: str) -> None:
    same: dict[str, Any] = {"mode": mode, "schema": COPIED, "max_new_tokens": 24}
    alone = by_id(run(tmp_path / "alone", mixed(), **same))
    events = run(tmp_path / "together", mixed(), at_once=3, **same)
    assert named(events, "start")[0]["at_once"] == 3
    together = by_id(events)
    parts = ("raw", "finish_reason", "prompt_tokens", "output_tokens", "error")
    assert {name: [output[part] for part in parts] for name, output in together.items()} == {
        name: [output[part] for part in parts] for name, output in alone.items()
    }
    assert all(output["latency_ms"] > 0 for output in together.values())
    lengths = [output["prompt_tokens"] for output in named(events, "output")]
    assert lengths == sorted(lengths, reverse=True)
    lines = (tmp_path / "together" / "outputs.jsonl").read_text().splitlines()
    assert {json.loads(line)["id"] for line in lines} == set(alone)


@pytest.mark.parametrize(("fed", "warm", "held"), [(8, False, True), (64, True, False)])
def test_neither_a_shared_start_nor_tokens_fed_ahead_change_a_token(fed: int, warm: bool, held: bool) -> None:
    loaded = load(str(tiny()), precision="fp32")
    encoder = Encoder(loaded.tokenizer, "chat", loaded.model.generation_config)
    made = Grammar(grammar(SCHEMA), encoder.tokenizer, vocabulary=loaded.model.config.vocab_size,
                   stop_ids=encoder.stop_ids)  # fmt: skip
    prompts = [encoder.prompt(instruction=INSTRUCTION, document=row["text"]) for row in mixed(4)[-4:]]
    asked = [BatchItem(prompt, 20 + place, made.constraint() if held else None) for place, prompt in enumerate(prompts)]
    batches = BatchGenerator(loaded, encoder, fed=fed)
    assert (batches.warm(prompts, max(len(item.prompt) + item.max_tokens for item in asked)) > 0) if warm else True
    batches.answer(asked, time.perf_counter())
    reference = Decoder(loaded, encoder, speculate=False)
    for item in asked:
        held_to = made.constraint() if held else None
        alone = reference.answer(
            item.prompt.copy, max_new_tokens=item.max_tokens, constraint=held_to, with_logprobs=True
        )
        assert (tuple(item.tokens), item.finish_reason) == (alone.tokens, alone.finish_reason)


def test_a_document_that_does_not_fit_leaves_its_batch_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "MAX_WINDOWS", 0)
    made = rows()
    made[-2]["text"] = "x" * 4000
    outputs = by_id(run(tmp_path, made, at_once=3))
    assert [outputs[f"holdout-{n}"]["finish_reason"] for n in range(3)] == ["stop", "error", "stop"]
    assert outputs["holdout-1"]["error"].startswith("The prompt has ")


@pytest.mark.usefixtures("fp32")
def test_a_batch_that_breaks_is_answered_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*args: Any) -> None:
        raise MemoryError

    alone = by_id(run(tmp_path / "alone"))
    monkeypatch.setattr(BatchGenerator, "answer", breaks)
    together = by_id(run(tmp_path / "together", at_once=3))
    assert {name: output["raw"] for name, output in together.items()} == {
        name: output["raw"] for name, output in alone.items()
    }


def test_the_latency_of_a_batch_has_the_prompts_of_all_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = PromptBuilder.prompt_within_context

    def slow(self: PromptBuilder, text: str) -> list[int]:
        time.sleep(0.1)
        return original(self, text)

    monkeypatch.setattr(PromptBuilder, "prompt_within_context", slow)
    outputs = by_id(run(tmp_path, at_once=3, max_new_tokens=4))
    assert min(output["latency_ms"] for output in outputs.values()) >= 300


# -- llama.cpp -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_gguf.write(tiny(), tmp_path_factory.mktemp("gguf") / "tiny-v1-f32.gguf")


def shared(ours: Outputs, theirs: Outputs) -> float:
    """Share of what is written that agrees before the first difference. llama.cpp keeps what it has read at 16 bits,
    and between two tokens that a random model likes equally well, that decides.
    """
    assert set(ours) == set(theirs)
    pairs = [(ours[name]["raw"], theirs[name]["raw"]) for name in ours]
    same = sum(1 for pair in pairs for _ in takewhile(lambda two: two[0] == two[1], zip(*pair, strict=False)))
    return same / sum(max(map(len, pair)) for pair in pairs)


@pytest.mark.parametrize(("mode", "at_once"), [("grounded", 1), ("free", 3)])
def test_llama_cpp_answers_what_the_folder_answers(tmp_path: Path, gguf: Path, mode: str, at_once: int) -> None:
    same: dict[str, Any] = {"mode": mode, "schema": COPIED, "max_new_tokens": 24}
    ours = by_id(run(tmp_path / "folder", **same))
    ref = {"path": str(gguf), "sha256": sha256_file(gguf)}
    events = run(tmp_path / "file", child=generate_llama, gguf=ref, at_once=at_once, **same)
    theirs = by_id(events)
    assert shared(ours, theirs) > 0.6
    for name, output in theirs.items():
        assert (output["error"], output["finish_reason"] in ("stop", "length")) == ("", True)
        if mode != "free" and output["finish_reason"] == "stop":
            assert compile_schema(COPIED).check(output["raw"])[1] == []
            value, text = (
                json.loads(output["raw"]),
                collapse_spaces(next(row["text"] for row in rows() if row["id"] == name)),
            )
            assert mode != "grounded" or (value["invoice_id"] in text and (value["total"] or "") in text)
        assert output["prompt_tokens"] == ours[output["id"]]["prompt_tokens"]
        assert 0 < output["output_tokens"] <= 24
        assert output["latency_ms"] > 0
    [start], [done] = named(events, "start"), named(events, "done")
    assert (start["engine"], start["precision"]) == ("llama.cpp", "f32")
    assert done["docs_per_second"] > 0
    assert 1_000_000 < done["peak_memory_bytes"] < 2_000_000_000


def test_llama_cpp_reads_a_long_document_in_windows_up_to_their_maximum(
    tmp_path: Path, gguf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = rows()
    made[-2]["text"] = "x" * 4000
    read = by_id(run(tmp_path / "read", made, child=generate_llama, gguf={"path": str(gguf)}))["holdout-1"]
    assert (read["finish_reason"], read["error"]) == ("stop", "")
    assert read["windows"] > 1
    monkeypatch.setattr(windows, "MAX_WINDOWS", 0)
    outputs = by_id(run(tmp_path / "rejected", made, child=generate_llama, gguf={"path": str(gguf)}))
    assert [outputs[f"holdout-{n}"]["finish_reason"] for n in range(3)] == ["stop", "error", "stop"]


def test_an_answer_that_was_not_held_does_not_count(
    tmp_path: Path, gguf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """llama.cpp goes on without a grammar where its library gives up."""
    complete = Llama.complete
    monkeypatch.setattr(Llama, "complete", lambda self, *parts, grammar="", **more: complete(self, *parts, **more))
    outputs = by_id(run(tmp_path, child=generate_llama, gguf={"path": str(gguf)}, max_new_tokens=12))
    refused = [output for output in outputs.values() if output["finish_reason"] == "error"]
    assert refused
    assert {output["error"] for output in refused} == {"The output violates its grammar: llama.cpp did not apply it."}
    assert all(output["raw"].strip("\ufffd") == "" for output in outputs.values()), "nothing but what may still begin"


def test_a_file_that_is_not_what_was_made_is_refused(tmp_path: Path, gguf: Path) -> None:
    changes: list[tuple[dict[str, Any], str]] = [
        ({}, "names no GGUF file"),
        ({"gguf": {"path": "/nowhere/a.gguf"}}, "The GGUF file a.gguf is missing"),
        ({"gguf": {"path": str(gguf), "sha256": "00"}}, "has changed since"),
    ]
    for change, why in changes:
        with pytest.raises(Refused, match=why):
            run(tmp_path, child=generate_llama, **change)
    wrongs: list[tuple[dict[str, Any], str]] = [
        ({"confidence": True, "at_once": 2}, "confidence"),
        ({"at_once": 99}, "at_once"),
    ]
    for wrong, field in wrongs:
        with pytest.raises(SpecError, match=field):
            spec(tmp_path, **wrong)
