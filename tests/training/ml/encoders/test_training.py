"""Training an encoder: it learns, resumes bit for bit, and refuses what it cannot learn."""

import itertools
import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from tokenizers import BertWordPieceTokenizer

from slmstudio.contract.schema.compiled import compile_schema
from slmstudio.errors import Refused
from slmstudio.storage.hashing import sha256_file
from tests.training.ml_data import SCHEMA as INVOICE
from tests.training.ml_data import (
    EventCollector,
    named,
    rows,
    tiny_encoder,
    train_spec,
    trained_tiny_encoder,
    write_dataset,
)  # fmt: skip
from tests.training.ml_process import nursery
from training.ml import lengths
from training.ml.encoders.folder import HeadsDescription
from training.ml.encoders.predictor import load_predictor
from training.ml.encoders.task import EncoderTask, load_tokenizer
from training.ml.modeling.folder_checks import check_decoder, check_folder
from training.ml.train import main
from training.spec import LengthsSpec, RunSpec
from training.strict_yaml import build

SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["invoice_id", "total"],
    "properties": {"invoice_id": {"type": ["string", "null"]}, "total": {"type": ["string", "null"]}},
}


def spec_of(folder: Path, made: list[dict[str, Any]] | None = None, **changes: Any) -> RunSpec:
    dataset = write_dataset(folder / "data.jsonl", made or rows(train=24, validation=6))
    values = train_spec(tiny_encoder(), dataset, folder / "out", method="full", **changes)
    values["contract"] = {"instruction": "Extract.", "schema": changes.pop("schema", SCHEMA)} | changes.get(
        "contract", {}
    )
    return build(RunSpec, values)


def trained(spec: RunSpec) -> list[dict[str, Any]]:
    collector = EventCollector()
    main(spec, collector.emitter)
    return collector.events


def test_an_encoder_learns_and_answers_from_its_folder(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, epochs=30.0, learning_rate=2e-3, sample_documents=6, best_metric="field_accuracy")
    events = trained(spec)
    [start] = named(events, "start")
    assert start["heads"] == [
        {"field": "invoice_id", "kind": "span", "located": [24, 24]},
        {"field": "total", "kind": "span", "located": [24, 24]},
    ]
    assert max(event["field_exact"] for event in named(events, "samples")) >= 0.9
    folder = tmp_path / "out/merged"
    check_folder(folder)
    predictor = load_predictor(folder, compile_schema(SCHEMA))
    made = predictor.predict("Invoice A-113\nthank you again again \ntotal 14.50")
    assert made.text == '{"invoice_id":"A-113","total":"14.50"}'
    assert set(made.confidence) == {"invoice_id", "total"}
    other = {**SCHEMA, "properties": {"invoice_id": {"enum": ["A-113"]}, "total": {"type": ["string", "null"]}}}
    hashes = [compile_schema(schema).hash[:12] for schema in (SCHEMA, other)]
    with pytest.raises(Refused, match=rf"\({hashes[0]}\), not for {hashes[1]}.*: invoice_id\."):
        load_predictor(folder, compile_schema(other))
    with pytest.raises(Refused, match=r": none\."):
        load_predictor(folder, compile_schema({**SCHEMA, "title": "Other"}))


@pytest.mark.parametrize(("least", "unsigned"), [(-20, ("fee",)), (20, ("fee", "total"))])
def test_brackets_are_a_sign_where_gold_is_negative(tmp_path: Path, least: int, unsigned: tuple[str, ...]) -> None:
    made = rows(train=4, validation=0)
    for number, row in enumerate(made):
        row |= {"text": f"total ({20 + number})", "gold": {"total": 20 + number, "fee": None}}
    made[0]["gold"] = {"total": least, "fee": None}
    schema = {"type": "object", "properties": {"total": {"type": "number"}, "fee": {"type": ["number", "null"]}}}
    data = EncoderTask(spec_of(tmp_path, made, contract={"schema": schema}), compile_schema(schema)).data
    assert sorted(data.description.unsigned) == list(unsigned)
    data.description.save(tmp_path, data.heads)
    assert HeadsDescription.load(tmp_path).unsigned == data.description.unsigned
    places = {data.train[at].targets[0].places[0][:2] for at in range(len(data.train)) if at or least > 0}
    assert {made[0]["text"][slice(*place)] for place in places} == {"20"}


@pytest.mark.parametrize(("places", "glued"), [(0, ()), (1, ("code",)), (4, ("code",))])
def test_values_begin_inside_words_where_evidence_does(tmp_path: Path, places: int, glued: tuple[str, ...]) -> None:
    made = rows(train=4, validation=0)
    for number, row in enumerate(made):
        row |= {"text": "NoAB17 AB17", "gold": {"code": "AB17", "count": 17}}
        row["evidence"] = {"code": [[2, 6] if number < places else [7, 11]], "count": [[4, 6]]}
    schema = {"type": "object", "properties": {"code": {"type": "string"}, "count": {"type": "integer"}}}
    data = EncoderTask(spec_of(tmp_path, made, contract={"schema": schema}), compile_schema(schema)).data
    assert data.description.glued == glued


UNITS = {"bolt": "piece", "nut": "box", "gear": "piece"}


def table_of(*names: str) -> dict[str, Any]:
    return {"items": [{"name": name, "unit": UNITS[name]} for name in names]}


def test_an_encoder_learns_the_choices_of_rows(tmp_path: Path) -> None:
    note = {"type": "string", "x-slm": {"kind": "free"}}
    columns = {"name": {"type": "string"}, "unit": {"enum": ["piece", "box"]}, "note": note}
    item = {"type": "object", "additionalProperties": False, "required": ["name", "unit"], "properties": columns}
    schema = {"type": "object", "properties": {"items": {"type": "array", "items": item}}}
    pairs = itertools.cycle(itertools.product(UNITS, UNITS))
    made = [
        {**row, "text": f"order\n{first} a\n{second} a", "gold": table_of(first, second)}
        for row, (first, second) in zip(rows(train=27, validation=2), pairs, strict=False)
    ]
    events = trained(spec_of(tmp_path, made, epochs=30.0, learning_rate=2e-3, contract={"schema": schema}))
    assert named(events, "start")[0]["unanswered"] == {"items[].note": "it is free text"}
    prediction = load_predictor(tmp_path / "out/merged", compile_schema(schema)).predict("order\nnut a\ngear a")
    assert json.loads(prediction.text) == table_of("nut", "gear")
    assert prediction.confidence["items[1].unit"] > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_killed_run_ends_like_an_uninterrupted_one(tmp_path: Path, method: str) -> None:
    def run(name: str) -> Path:
        (tmp_path / name).mkdir()
        spec = spec_of(tmp_path / name, epochs=3.0, augmentation="exchange", save_every=1)
        values = {**spec.__dict__, "method": method}
        (tmp_path / name / "spec.yaml").write_text(RunSpec(**values).to_yaml())
        return tmp_path / name / "spec.yaml"

    whole = list(nursery().run(run("whole")))
    killed = run("killed")
    nursery().signal_at(signal.SIGKILL, killed, 4)
    assert nursery().code == -signal.SIGKILL
    resumed = list(nursery().run(killed, "--resume"))
    hashes = [[event["sha256"] for event in named(events, "artifact")] for events in (whole, resumed)]
    assert hashes[0] == hashes[1] != []


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"type": "object", "properties": {"why": {"type": "string", "x-slm": {"kind": "free"}}}}, "why: it is free"),
        ({"type": "object", "properties": {"other": {"type": ["string", "null"]}}}, "No gold of other is in the text"),
    ],
)
def test_what_an_encoder_cannot_learn_is_refused_before_training(
    tmp_path: Path, schema: dict[str, Any], reason: str
) -> None:
    made = [{**row, "gold": {"other": "nowhere", "why": "because"}} for row in rows()]
    for row in made:
        row["gold"] = {name: row["gold"][name] for name in schema["properties"]}
    spec = spec_of(tmp_path, made, contract={"schema": schema})
    with pytest.raises(Refused, match=reason):
        trained(spec)


def test_silver_labels_are_trained_on_and_not_validated(tmp_path: Path) -> None:
    made = rows(train=4, validation=2, holdout=0)
    made[0]["gold"] = {**made[0]["gold"], "total": None}  # no document with a value
    labels = [{**row, "id": f"silver-{row['id']}"} for row in rows(train=5, validation=0, holdout=0)]
    silver = write_dataset(tmp_path / "silver.jsonl", labels)
    spec = spec_of(tmp_path, made, epochs=1.0, silver={"path": str(silver), "sha256": sha256_file(silver)})
    events = trained(spec)
    [start] = named(events, "start")
    assert (start["train_rows"], start["silver_rows"], start["validation_rows"]) == (9, 5, 2)
    assert start["total_steps"] == 3
    assert {head["field"]: head["located"] for head in start["heads"]} == {"invoice_id": [9, 9], "total": [8, 8]}
    assert all(event["loss"] > 0 for event in named(events, "step"))
    write_dataset(silver, made[:1])
    with pytest.raises(Refused, match="a gold label and a silver label"):
        trained(spec_of(tmp_path, made, silver={"path": str(silver), "sha256": sha256_file(silver)}))


def test_a_tokenizer_without_offsets_is_refused(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_encoder(), tmp_path / "model"))
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "ByT5Tokenizer"}')
    with pytest.raises(Refused, match="no offsets"):
        load_tokenizer(folder)


def test_an_encoder_without_heads_does_not_answer(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="has no heads"):
        load_predictor(tiny_encoder(), compile_schema(SCHEMA))
    with pytest.raises(Refused, match="does not generate text"):
        check_decoder(check_folder(tiny_encoder()))


def test_lengths_count_the_tokens_between_lines(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_encoder(), tmp_path / "model"))
    words = ["[UNK]", "[CLS]", "[SEP]", "acme"]
    BertWordPieceTokenizer(vocab={word: at for at, word in enumerate(words)}).save(str(folder / "tokenizer.json"))
    dataset = write_dataset(tmp_path / "data.jsonl", [{**rows(train=1)[0], "text": "Acme\nbolt"}])
    contract = {"instruction": "x", "schema": SCHEMA}
    parts = {"base_model": {"path": str(folder)}, "dataset": {"path": str(dataset)}, "contract": contract}
    lengths.main(build(LengthsSpec, {**parts, "output": str(tmp_path / "lengths")}), EventCollector().emitter)
    assert json.loads((tmp_path / "lengths").read_text())["prompt"] == 5


def test_the_token_between_lines_is_that_of_the_tokenizer(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(trained_tiny_encoder(), tmp_path / "model"))
    described = json.loads((folder / "heads.json").read_text())
    (folder / "heads.json").write_text(json.dumps({**described, "line_break": 10**9}))
    with pytest.raises(Refused, match="line_break"):
        load_predictor(folder, compile_schema(INVOICE))


def test_a_document_is_too_long_by_characters_only(tmp_path: Path) -> None:
    trained(spec_of(tmp_path, epochs=1.0))
    predictor = load_predictor(tmp_path / "out/merged", compile_schema(SCHEMA))
    long = predictor.predict("word " * 5_000 + "total 1.50")
    assert long.windows > 20
    assert predictor.predict("").windows == 1
    with pytest.raises(Refused, match="1,000,001 characters"):
        predictor.predict("a" * 1_000_001)
