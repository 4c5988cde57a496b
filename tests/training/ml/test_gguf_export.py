"""GGUF exports: tokens and outputs on llama.cpp match the trained model, or the file is rejected."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import httpx
import pytest

from slmstudio.contract.decoding import grammar
from slmstudio.contract.schema.compiled import compile_schema
from slmstudio.errors import Refused
from slmstudio.storage.hashing import folder_hash, sha256_file
from tests.training.ml_data import INSTRUCTION, SCHEMA, EventCollector, named, rows, smollm2, tiny, write_dataset
from training.exports.child_specs import GgufSpec
from training.ml import export_gguf
from training.ml.data.encoder import Encoder
from training.ml.data.rows import Row, compiled, read_rows
from training.ml.decoding.constraint import Grammar
from training.ml.decoding.decoder import Decoder, load
from training.ml.lengths import encode_rows, load_encoder
from training.ml.llama_cpp import parity
from training.ml.llama_cpp.runtime import running
from training.prompts import FewShotExample, chat
from training.spec import ContractRef, DatasetRef, ModelRef

CONVERTER = Path(sys.prefix) / "gguf-converter"
CONTRACT = ContractRef(instruction=INSTRUCTION, schema=SCHEMA)
# One field, and what our grammar of it allows in llama.cpp's words: its own from a schema also allows blanks.
NUMBER: dict[str, Any] = {
    "type": "object",
    "properties": {"invoice_id": {"type": "string", "maxLength": 12}},
    "required": ["invoice_id"],
    "additionalProperties": False,
}
_COMPACT = r"""
root ::= "{\"invoice_id\":\"" char{0,12} "\"}"
char ::= [^"\\\x7F\x00-\x1F] | "\\" ["\\/bfnrt]
"""


def spec(folder: Path, model: Path, **changes: Any) -> GgufSpec:
    dataset = write_dataset(folder / "data.jsonl")
    wanted = GgufSpec(
        model=ModelRef(path=str(model), sha256=folder_hash(model)),
        dataset=DatasetRef(path=str(dataset), sha256=sha256_file(dataset)),
        contract=CONTRACT,
        converter=str(CONVERTER),
        output_dir=str(folder / "out"),
        stem="invoices-v1",
        title="Invoices v1",
        documents=2,
    )
    return replace(wanted, **changes)


def asked(folder: Path, style: str = "chat") -> parity.ParityCheck:
    encoder = load_encoder(str(tiny()), style)
    schema = compiled(CONTRACT)
    documents = read_rows(str(write_dataset(folder / "data.jsonl", rows(3, 0, 0))))
    encoded = encode_rows(documents, instruction=INSTRUCTION, schema=schema, encoder=encoder)
    return parity.ParityCheck(encoded, INSTRUCTION, schema, encoder, limit=20)


class Server:
    """A llama.cpp that reads text as the encoder does, but for what a test changes."""

    def __init__(self, encoder: Encoder, *, template: str = "", prompt: Sequence[int] = (), text: str = "") -> None:
        self.encoder, self.template, self.extra, self.text = encoder, template, list(prompt), text

    def prompt_of(self, messages: Sequence[Any]) -> str:
        prompt = self.encoder.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        return str(prompt) + self.template

    def tokenize(self, text: str, *, start: bool = False) -> list[int]:
        if not start:
            return list(self.encoder.tokenizer(text + self.text, add_special_tokens=False)["input_ids"])
        ids = list(self.encoder.tokenizer(text, add_special_tokens=False)["input_ids"])
        return [self.encoder.tokenizer.bos_token_id] * self.encoder.adds_bos + ids + self.extra


def test_differing_token_is_reported(tmp_path: Path) -> None:
    for style in ("chat", "plain"):
        question = asked(tmp_path, style)
        server: Any = Server(question.encoder)
        assert parity.first_difference(server, question) is None
    question = asked(tmp_path)
    changes: list[tuple[dict[str, Any], str]] = [
        ({"template": "\n"}, "chat template"), ({"prompt": [7]}, "prompt"), ({"text": "9"}, "answer"),
    ]  # fmt: skip
    for changed, what in changes:
        server = Server(question.encoder, **changed)
        difference = parity.first_difference(server, question)
        assert difference is not None
        assert (difference["id"], difference["what"]) == ("train-0", what)
        assert difference["training"] != difference["llama_cpp"]


def test_outputs_are_compared_and_scored(tmp_path: Path) -> None:
    question = asked(tmp_path)
    right = [parity.ParityAnswer(question.schema.canonical(row.row.gold), (1, 2, 3, 4), 5.0) for row in question.rows]
    other = [right[0], right[1], parity.ParityAnswer('{"invoice_id":"X","total":null}', (1, 9, 3, 4), 50.0)]
    summary = parity.summary(question, right, other)
    assert (summary["documents"], summary["outputs_equal"], summary["tokens_equal"]) == (3, 2, True)
    assert summary["tokens_shared"] == round(9 / 12, 4)
    assert (summary["training"]["field_exact"], summary["llama_cpp"]["field_exact"]) == (1.0, round(4 / 6, 16))
    assert (summary["training"]["schema_valid"], summary["llama_cpp"]["median_ms"]) == (1.0, 5.0)
    assert [example["id"] for example in summary["examples"]] == ["train-2"]
    parity.check_parity(summary, "f16")  # of three documents one says little


def compared(shared: float, *, right: float = 0.8, valid: float = 1.0, documents: int = 20) -> dict[str, Any]:
    """A comparison with a model that has 80% of the fields right and all answers valid."""
    return {
        "documents": documents,
        "tokens_shared": shared,
        "training": {"field_exact": 0.8, "schema_valid": 1.0, "median_ms": 900.0},
        "llama_cpp": {"field_exact": right, "schema_valid": valid, "median_ms": 300.0},
    }


@pytest.mark.parametrize(
    ("kind", "comparison", "figures"),
    [
        ("f16", compared(0.1), "10%"),
        ("q8_0", compared(0.05), "5% .*f16"),
        ("q8_0", compared(0.3, right=0.0), "field accuracy 0%.*80%.*f16"),
        ("q8_0", compared(0.3, right=0.69), "field accuracy 69%"),
        ("q8_0", compared(0.9, valid=0.85), "85%.*100%"),
        ("f16", compared(0.9, right=0.6), "field accuracy 60%"),
    ],
)
def test_differing_outputs_or_lower_accuracy_are_rejected(kind: str, comparison: dict[str, Any], figures: str) -> None:
    with pytest.raises(Refused, match=figures) as caught:
        parity.check_parity(comparison, kind)
    assert caught.value.code == "outputs"


def test_rounding_differences_are_only_measured() -> None:
    parity.check_parity(compared(0.5), "f16")
    without_values = compared(0.9)
    without_values["training"]["field_exact"] = without_values["llama_cpp"]["field_exact"] = None
    for comparison in (
        compared(0.1),
        compared(0.3, right=0.7, valid=0.9),
        compared(0.3, right=0.95),
        compared(0.3, right=0.4, documents=4),  # two documents of four
        without_values,
    ):
        parity.check_parity(comparison, "q8_0")


def answered(monkeypatch: pytest.MonkeyPatch, *, milliseconds: float, garbage: bool = False) -> None:
    """Both sides say gold; with ``garbage`` llama.cpp says none of it. Nothing is converted."""

    def gold(asked: parity.ParityCheck) -> list[parity.ParityAnswer]:
        answers = [asked.schema.canonical(row.row.gold) for row in asked.rows]
        return [parity.ParityAnswer(answer, (1, 2, 3), milliseconds) for answer in answers]

    def llama(file: Path, asked: parity.ParityCheck, progress: parity.Progress) -> Any:
        outputs = gold(asked)
        return [replace(output, text="%%", tokens=(9,)) for output in outputs] if garbage else outputs, None

    monkeypatch.setattr(export_gguf, "convert", lambda model, file, **parts: file.write_bytes(b"GGUF"))
    monkeypatch.setattr(parity, "on_llama_cpp", llama)
    monkeypatch.setattr(parity, "on_training_side", lambda folder, asked, progress: gold(asked))


def test_repeated_export_has_the_same_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashes: list[str] = []
    times: list[float] = []
    for milliseconds in (40.0, 7000.5):
        answered(monkeypatch, milliseconds=milliseconds)
        collector = EventCollector()
        export_gguf.main(spec(tmp_path, tiny()), collector.emitter)
        hashes.append(folder_hash(tmp_path / "out"))
        times.append(named(collector.events, "parity")[0]["llama_cpp"]["median_ms"])
    assert hashes[0] == hashes[1]
    assert times == [40.0, 7000.5]  # which the page shows
    kept = json.loads((tmp_path / "out" / "parity.json").read_text())
    assert kept["training"] == kept["llama_cpp"] == {"field_exact": 1.0, "schema_valid": 1.0}


def test_garbage_from_an_8_bit_file_is_rejected_with_its_measurements(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered(monkeypatch, milliseconds=5.0, garbage=True)
    collector = EventCollector()
    with pytest.raises(Refused, match="only 0% of the tokens agree"):
        export_gguf.main(spec(tmp_path, tiny(), kind="q8_0"), collector.emitter)
    assert list((tmp_path / "out").iterdir()) == []
    assert named(collector.events, "parity")[0]["llama_cpp"]["schema_valid"] == 0.0


def test_missing_output_is_an_error_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    question = asked(tmp_path)

    class Slow(Server):
        def complete(self, ids: Sequence[int], count: int, *, seconds: float) -> dict[str, Any]:
            raise httpx.ReadTimeout("timed out")

    @contextmanager
    def running(file: Path, *, context: int) -> Iterator[Any]:
        yield Slow(question.encoder)

    monkeypatch.setattr(parity, "running", running)
    with pytest.raises(Refused, match=r"has not answered document train-0 within \d+ minutes") as caught:
        parity.on_llama_cpp(tmp_path / "x.gguf", question, lambda stage, done: None)
    assert caught.value.code == "llama.cpp"


def test_different_tokens_are_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    difference = {"id": "validation-0", "what": "prompt", "at": 3, "training": "12", "llama_cpp": "1"}
    monkeypatch.setattr(export_gguf, "convert", lambda model, file, **parts: file.write_bytes(b"GGUF"))
    monkeypatch.setattr(parity, "on_llama_cpp", lambda *parts: ([], difference))
    collector = EventCollector()
    with pytest.raises(Refused, match="prompt of document validation-0"):
        export_gguf.main(spec(tmp_path, tiny()), collector.emitter)
    assert list((tmp_path / "out").iterdir()) == []
    result = named(collector.events, "parity")[0]
    assert (result["tokens_equal"], result["difference"]) == (False, difference)


def test_missing_converter_and_failed_conversion_are_error_messages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Refused, match=r"converter is not installed in .*\. make setup installs it"):
        export_gguf.main(spec(tmp_path, tiny(), converter=str(tmp_path)), EventCollector().emitter)
    for words, sentence in (
        ("NotImplementedError: BPE pre-tokenizer was not recognized - update", "does not support the tokenizer"),
        ("ERROR: Model FooForCausalLM is not supported", "does not support the architecture LlamaForCausalLM"),
        ("OSError: [Errno 28] No space left on device", "The disk is full"),
        ("Traceback\nValueError: odd", "Last output: ValueError: odd"),
    ):
        failed = subprocess.CompletedProcess([], 1, stderr=words.encode())
        monkeypatch.setattr(subprocess, "run", Mock(return_value=failed))
        with pytest.raises(Refused, match=sentence):
            export_gguf.convert(tiny(), tmp_path / "x.gguf", kind="f16", title="x", converter=CONVERTER)


@pytest.mark.slow
def test_unknown_tokenizer_is_rejected_by_the_export(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="cannot be exported to GGUF"):
        export_gguf.main(spec(tmp_path, tiny()), EventCollector().emitter)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.real_model
@pytest.mark.slow
def test_smollm2_outputs_match_on_llama_cpp(tmp_path: Path) -> None:
    model = smollm2()
    collector = EventCollector()
    export_gguf.main(spec(tmp_path, model), collector.emitter)
    file = tmp_path / "out" / "invoices-v1.gguf"
    done, comparison = named(collector.events, "done")[0], named(collector.events, "parity")[0]
    assert (done["file"], done["sha256"]) == (file.name, sha256_file(file))
    assert comparison["tokens_equal"] is True
    # Untuned, it writes on to the limit, and where two tokens are equally likely the sides may part.
    assert comparison["documents"] == 2
    assert comparison["outputs_equal"] >= 1
    assert comparison["tokens_shared"] > 0.6
    assert json.loads((tmp_path / "out" / "parity.json").read_text())["sha256"] == done["sha256"]

    # As a server is asked: the turns, and what the answer is held to. Examples show the untuned model our form; one
    # that would rather write blanks is led astray by a grammar without them, and by each grammar in its own way.
    encoder = load_encoder(str(model), "chat")
    first, *others = rows()[:4]
    examples = [FewShotExample(row["text"], f'{{"invoice_id":"{row["gold"]["invoice_id"]}"}}') for row in others]
    parts: dict[str, Any] = {"instruction": INSTRUCTION, "document": first["text"], "examples": examples}
    with running(file, context=1024) as llama:

        def ask(**held: Any) -> str:
            body = {"messages": chat(**parts), "temperature": 0, "max_tokens": 60, **held}
            response = httpx.post(f"{llama.address}/v1/chat/completions", json=body, timeout=300).json()
            return str(response["choices"][0]["message"]["content"])

        by_schema = ask(response_format={"type": "json_schema", "json_schema": {"name": "answer", "schema": NUMBER}})
        by_grammar = ask(grammar=_COMPACT)
    loaded = load(str(model), precision="fp32")
    limits = Grammar(
        grammar.grammar(compile_schema(NUMBER).schema),
        encoder.tokenizer,
        vocabulary=loaded.model.get_output_embeddings().weight.shape[0],
        stop_ids=encoder.stop_ids,
    )
    ours = Decoder(loaded, encoder).answer(
        lambda: encoder.prompt(**parts), max_new_tokens=60, constraint=limits.constraint()
    )
    assert by_schema == by_grammar == ours.text == f'{{"invoice_id":"{first["gold"]["invoice_id"]}"}}'


def test_checked_documents_are_validation_then_training_and_never_hold_out() -> None:
    for splits, ids, words in (
        ({"validation": 5, "train": 9}, ["v0", "v1", "v2"], "validation"),
        ({"validation": 2, "train": 9}, ["v0", "v1", "t0"], "validation and training"),
        ({"train": 9, "holdout": 4}, ["t0", "t1", "t2"], "training"),
        ({"validation": 1, "holdout": 4}, ["v0"], "validation"),
    ):
        documents = [
            Row(f"{split[0]}{n}", split, "text", {}) for split, count in splits.items() for n in reversed(range(count))
        ]
        chosen, of_splits = export_gguf._choose_documents(documents, 3)
        assert ([row.id for row in chosen], of_splits) == (ids, words)
    with pytest.raises(Refused, match="no validation and no training document"):
        export_gguf._choose_documents([Row("h0", "holdout", "text", {})], 3)
