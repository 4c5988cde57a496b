"""Classical models: what they learn from a few labels, and that their files say all of it."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from evaluation.inference.backend import Output
from evaluation.inference.classical_spec import EMBEDDINGS_MODULE, ClassicalTrainSpec, class_fields, kinds_for
from evaluation.inference.completion import ResponseStatus
from evaluation.ml.classical import answer as answering
from evaluation.ml.classical import extractor, features
from evaluation.ml.classical.candidates import CandidateRule, Extent
from evaluation.ml.classical.model import ClassicalPredictors
from evaluation.ml.classical.train import labels_sha256, training_rows
from slmstudio.contract.json_text import loads
from slmstudio.contract.schema.compiled import CompiledSchema, compile_schema
from slmstudio.errors import Refused
from slmstudio.storage.hashing import folder_hash
from training.ml.data.rows import Row
from training.spec import ContractRef, DatasetRef

TICKET: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["queue", "urgent"],
    "properties": {
        "queue": {"type": "string", "enum": ["billing", "shipping", "other"], "x-slm": {"kind": "class"}},
        "urgent": {"type": "boolean"},
        "reason": {"type": "string", "x-slm": {"kind": "free"}},
    },
}
INVOICE: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["number", "date", "total"],
    "properties": {
        "number": {"type": "string", "pattern": "^INV-[0-9]+$"},
        "date": {"type": "string", "format": "date"},
        "total": {"type": "number", "x-slm": {"kind": "money"}},
        "vendor": {"type": ["string", "null"]},
        "lines": {"type": "array", "items": {"type": "object", "properties": {"name": {"type": "string"}}}},
    },
}
TEXTS = {
    "billing": ["The invoice is wrong", "I was charged twice", "refund my payment", "the bill has a wrong charge"],
    "shipping": ["Where is my parcel", "The package did not arrive", "parcel is late", "delivery of my package"],
    "other": ["Thank you very much", "How are you today", "I like your shop", "Good morning to you"],
}


def spec(kind: str, **changes: Any) -> ClassicalTrainSpec:
    values: dict[str, Any] = {"kind": kind, "contract": ContractRef(instruction="x", schema={}), "output_dir": "unused"}
    return ClassicalTrainSpec(**{**values, "dataset": DatasetRef(path="unused"), **changes})


def tickets() -> list[Row]:
    return [
        Row(f"{queue}-{at}", "train", text, {"queue": queue, "urgent": queue == "billing"})
        for queue, texts in TEXTS.items()
        for at, text in enumerate(texts)
    ]


def invoice(at: int, vendor: str) -> Row:
    text = (
        f"{vendor}\nInvoice INV-{2000 + at} of order INV-{at}\nDate: 2026-03-{at + 1:02d}\nDue: 2026-04-{at + 1:02d}\n"
        f"Net 9{at}.50\nTotal due 11{at}.25\nThank you"
    )
    gold = {"number": f"INV-{2000 + at}", "date": f"2026-03-{at + 1:02d}", "total": loads(f"11{at}.25")}
    return Row(str(at), "train", text, {**gold, "vendor": vendor})


def invoices(count: int = 12) -> list[Row]:
    names = ["Acme", "Bolt", "Cork", "Dune", "Echo", "Fern", "Gust"]
    return [invoice(at, f"{names[at % 7]} Ltd") for at in range(count)]


def trained(kind: str, schema: dict[str, Any], rows: list[Row]) -> tuple[CompiledSchema, ClassicalPredictors]:
    compiled = compile_schema(schema)
    return compiled, ClassicalPredictors.train(spec(kind), compiled, rows)


def test_kinds_follow_the_schema() -> None:
    assert kinds_for(compile_schema(TICKET)) == ["tfidf", "embeddings"]
    assert kinds_for(compile_schema(INVOICE)) == ["rules"]
    assert [field.pattern for field in class_fields(compile_schema(TICKET))] == ["queue", "urgent"]
    rows_only = {"type": "object", "properties": {"lines": INVOICE["properties"]["lines"]}}
    assert kinds_for(compile_schema(rows_only)) == []


def test_classifier_predicts_classes_with_probabilities() -> None:
    compiled, model = trained("tfidf", TICKET, tickets())
    made = model.predict("my parcel and my package are late")
    assert loads(made.text) == {"queue": "shipping", "urgent": False}
    assert compiled.check(made.text)[1] == []
    assert 1 / 3 < made.confidence["queue"] < 1


@pytest.mark.slow
@pytest.mark.skipif(find_spec(EMBEDDINGS_MODULE) is None, reason="make embeddings installs the weights")
def test_embeddings_know_words_that_no_label_has(tmp_path: Path) -> None:
    compiled, model = trained("embeddings", TICKET, tickets())
    made = model.predict("the courier never came with my box")
    assert loads(made.text)["queue"] == "shipping"
    model.save(tmp_path, {})
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 100_000  # the weights stay in their package
    assert (
        ClassicalPredictors.load(tmp_path, compiled).predict("Where is it?").text == model.predict("Where is it?").text
    )


def test_missing_or_other_weights_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(features, "find_spec", lambda name: None)
    with pytest.raises(Refused) as refused:
        features.new_features("embeddings")
    assert refused.value.code == "embeddings"
    (tmp_path / "model.zip").write_bytes(b"other")
    monkeypatch.setattr(features, "embeddings_file", lambda: tmp_path / "model.zip")
    with pytest.raises(Refused) as refused:
        features.load_features({"features": "embeddings", "sha256": "0" * 64}, {})
    assert refused.value.code == "model"


def test_field_with_one_value_is_constant() -> None:
    rows = [Row(row.id, row.split, row.text, {**row.gold, "urgent": True}) for row in tickets()]
    output = trained("tfidf", TICKET, rows)[1].predict("anything")
    assert (loads(output.text)["urgent"], output.confidence["urgent"]) == (True, 1)


@pytest.mark.parametrize(("kind", "schema", "rows"), [("tfidf", TICKET, tickets()), ("rules", INVOICE, invoices())])
def test_stored_model_predicts_the_same(kind: str, schema: dict[str, Any], rows: list[Row], tmp_path: Path) -> None:
    compiled, model = trained(kind, schema, rows)
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    model.save(tmp_path / "first", {"seed": 17})
    _, again = trained(kind, schema, rows)
    again.save(tmp_path / "second", {"seed": 17})
    assert folder_hash(tmp_path / "first") == folder_hash(tmp_path / "second")
    loaded = ClassicalPredictors.load(tmp_path / "first", compiled)
    for row in rows[:3]:
        made, other = model.predict(row.text), loaded.predict(row.text)
        assert made.text == other.text
        assert made.confidence == pytest.approx(other.confidence, abs=1e-5)


def test_extractor_learns_which_candidate_is_meant() -> None:
    compiled, model = trained("rules", INVOICE, invoices(10))
    text = (
        "Hill Ltd\nInvoice INV-3107 of order INV-55\nDate: 2026-05-09\nDue: 2026-06-09\nNet 80.00\nTotal due 95.20\n"
        "Thank you"
    )
    made = model.predict(text)
    wanted = {"number": "INV-3107", "date": "2026-05-09", "total": loads("95.20"), "vendor": "Hill Ltd"}
    assert loads(made.text) == wanted
    assert compiled.check(made.text)[1] == []
    assert made.confidence["total"] > 0.5


@pytest.mark.parametrize("sign", [1, -1])
def test_brackets_are_a_sign_where_gold_is_negative(sign: int) -> None:
    schema = {"type": "object", "required": ["count"], "properties": {"count": {"type": "integer"}}}
    texts = {at: f"order {1000 + at}: napkins ({at})" for at in range(20, 32)}
    rows = [Row(str(at), "train", text, {"count": sign * at}) for at, text in texts.items()]
    _, model = trained("tfidf", schema, rows)
    assert loads(model.predict("order 1077: napkins (77)").text) == {"count": sign * 77}


def test_schema_limits_the_candidates() -> None:
    compiled = compile_schema(INVOICE)
    candidates = CandidateRule(compiled, compiled.by_pattern["number"]).find("Order A-1 and INV-12 or INV-13, due")
    assert [candidate.value for candidate in candidates] == ["INV-12", "INV-13"]


def test_unknown_values_are_null_or_left_out() -> None:
    rows = [Row(row.id, row.split, "no text at all", row.gold) for row in invoices(4)]
    compiled, model = trained("rules", INVOICE, rows)
    made = loads(model.predict("nothing").text)
    assert made["vendor"] is None
    assert "lines" not in made
    assert not compiled.validate(made)  # required values fall back to the most frequent ones


def test_training_rows_are_nested_and_without_the_excluded() -> None:
    rows = [*tickets(), Row("v", "validation", "x", {}), Row("h", "holdout", "y", {})]
    every = training_rows(spec("tfidf"), rows)
    few = training_rows(spec("tfidf", labels=4), rows)
    more = training_rows(spec("tfidf", labels=8), rows)
    assert few == more[:4] == every[:4]
    assert {row.split for row in every} == {"train"}
    left = training_rows(spec("tfidf", excluded=("billing-0",)), rows)
    assert {row.id for row in every} - {row.id for row in left} == {"billing-0"}
    assert labels_sha256(few) != labels_sha256(more) == labels_sha256(more[::-1])
    with pytest.raises(Refused, match="13 are needed"):
        training_rows(spec("tfidf", labels=13), rows)


def test_a_value_at_the_end_of_a_long_document_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extractor, "_SCORED_TOGETHER", 100)  # several parts of each document
    rows = invoices()
    filling = "\n".join(f"Line {at} of the delivery, checked and packed" for at in range(200)) + "\n"
    _, model = trained("tfidf", INVOICE, rows)
    for row in rows[:2]:
        made = loads(model.predict(filling + row.text).text)
        assert (made["number"], made["date"]) == (row.gold["number"], row.gold["date"])


def test_a_document_above_the_limit_has_no_output(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled, model = trained("tfidf", TICKET, tickets())
    row = tickets()[0]
    monkeypatch.setattr(answering, "MAX_CHARACTERS", len(row.text))
    assert answering.answer(model, row).finish_reason == "stop"
    longer = answering.answer(model, Row(row.id, row.split, row.text + "x", row.gold))
    assert longer.finish_reason == "error"
    assert Output(longer.as_dict()).completion(compiled).status == ResponseStatus.TOO_LONG


def test_an_extractor_that_was_stored_without_a_limit_searches_what_it_did() -> None:
    text = "x" * 30_000
    assert len(Extent(words=3, lines=1, spaced_commas=False).searched(text)) == 20_000
    assert Extent(characters=None).searched(text) == text
