"""Augmented training rows: what is exchanged and dropped, and what is not."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from slmstudio.contract.schema.compiled import CompiledSchema, compile_schema
from tests.training.ml_data import tiny, train_spec, write_dataset
from training.ml.data.augmentation import Augmentation, AugmentedRows
from training.ml.data.encoded_dataset import EncodedDataset, load_dataset
from training.ml.data.encoder import Encoder
from training.ml.data.rows import Row
from training.ml.lengths import load_encoder
from training.spec import RunSpec
from training.strict_yaml import build

SHOPS = [f"{name} Trading" for name in ("Aster", "Birch", "Cedar", "Daisy", "Elder", "Fern")]
CITIES = ["Alor Setar", "Butterworth", "Cheras", "Dengkil", "Ipoh", "Klang"]


def schema(**properties: Any) -> CompiledSchema:
    text = {"type": ["string", "null"]}
    wanted = {"shop": text, "seller": {"type": "object", "properties": {"city": text}}, "total": text, **properties}
    return compile_schema({"type": "object", "properties": wanted})


def receipt(number: int, **gold: Any) -> Row:
    """Of its twenty lines of items fourteen are not next to a value."""
    shop, city = SHOPS[number % 6], CITIES[number % 6]
    items = "\n".join(f"item {letter * 3}" for letter in "abcdefghijklmnopqrst")
    text = f"# {shop.upper()}.\nJalan\n{city}\n{items}\ntotal {number}7.50\nthanks to\n{shop.upper()}."
    return Row(f"r{number}", "train", text, {"shop": shop, "seller": {"city": city}, "total": f"{number}7.50", **gold})


def copies(rows: list[Row], compiled: CompiledSchema, epochs: int = 2) -> list[tuple[Row, Row]]:
    """Each row with its augmented copies in some epochs."""
    augmentation = Augmentation(rows, compiled, seed=3)
    return [
        (row, augmentation.row(index, epoch))
        for epoch in range(epochs)
        for index, row in enumerate(rows)
        if (index + epoch) % 2
    ]


def test_values_are_exchanged_in_text_and_gold() -> None:
    rows = [receipt(number) for number in range(12)]
    made = copies(rows, schema())
    assert 4 <= sum(copy.gold["shop"] != row.gold["shop"] for row, copy in made) < 12
    assert any(copy.gold["seller"] != row.gold["seller"] for row, copy in made)
    for row, copy in made:
        shop = copy.gold["shop"].upper()
        assert copy.text.startswith(f"# {shop}.\n")
        assert copy.text.endswith(f"\n{shop}.")  # both occurrences
        assert f"\n{copy.gold['seller']['city']}\n" in copy.text
        assert copy.gold["total"] == row.gold["total"]
        assert f"total {row.gold['total']}\n" in copy.text
        assert (copy.id, copy.split) == (row.id, row.split)
    assert rows == [receipt(number) for number in range(12)]


def test_rows_are_themselves_in_every_second_epoch_and_copies_differ_by_epoch() -> None:
    rows = [receipt(number) for number in range(6)]
    augmentation = Augmentation(rows, schema(), seed=3)
    assert [augmentation.row(1, epoch) is rows[1] for epoch in range(4)] == [False, True, False, True]
    assert augmentation.row(1, 0) == Augmentation(rows, schema(), seed=3).row(1, 0)
    assert len({augmentation.row(1, epoch).text for epoch in range(0, 12, 2)}) > 1
    assert augmentation.row(1, 0) != Augmentation(rows, schema(), seed=4).row(1, 0)


def test_changed_copies_have_no_evidence() -> None:
    rows = [replace(receipt(number), evidence={"name": ((0, 3),)}) for number in range(8)]
    made = copies(rows, schema())
    assert {bool(copy.evidence) for row, copy in made if copy.text != row.text} == {False}
    unchanged = [replace(row, text=row.gold["shop"], evidence={"name": ((0, 3),)}) for row in rows[:2]]
    assert all(copy.evidence for _, copy in copies(unchanged, schema()))


def test_only_lines_away_from_values_are_dropped() -> None:
    for row, copy in copies([receipt(number) for number in range(12)], schema(), epochs=4):
        lines = copy.text.split("\n")
        assert {"Jalan", "item aaa", "item ttt", "thanks to"} <= set(lines)
        assert 10 <= len(lines) < len(row.text.split("\n"))


def test_no_line_is_dropped_where_a_value_has_no_place() -> None:
    schema_and_gold: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"paid": {"type": "boolean"}}, {"paid": True}),  # any line may be the reason of a class
        ({"note": {"type": "string"}}, {"note": "is not in the text"}),
    ]
    for properties, gold in schema_and_gold:
        for row, copy in copies([receipt(number, **gold) for number in range(8)], schema(**properties)):
            assert copy.text.count("\n") == row.text.count("\n")


def test_a_value_within_another_is_never_lost() -> None:
    """The city is a part of the address as well, and its only occurrence."""
    text = {"type": "string"}
    compiled = compile_schema({"type": "object", "properties": {"address": text, "city": text}})
    for number in range(3):
        addresses = [(f"Jalan {shop}, {city}", city) for shop, city in zip(SHOPS, CITIES, strict=True)]
        rows = [
            Row(f"r{n}-{number}", "train", address, {"address": address, "city": city})
            for n, (address, city) in enumerate(addresses)
        ]
        for _, copy in copies(rows, compiled, epochs=4):
            assert copy.gold["address"] in copy.text
            assert copy.gold["city"] in copy.text


def test_overlapping_occurrences_are_exchanged_once() -> None:
    compiled = compile_schema({"type": "object", "properties": {"shop": {"type": "string"}}})
    rows = [Row(f"r{n}", "train", f"{a} {a} {a}", {"shop": f"{a} {a}"}) for n, a in enumerate("abcdef")]
    exchanged = [(row, copy) for row, copy in copies(rows, compiled) if copy.gold != row.gold]
    assert exchanged
    assert all(copy.text == f"{copy.gold['shop']} {row.gold['shop'][0]}" for row, copy in exchanged)


def test_copies_follow_the_schema() -> None:
    """A shop of the first kind has no city of the second."""
    compiled = compile_schema({
        "type": "object",
        "properties": {"shop": {"type": "string"}, "city": {"type": "string"}},
        "if": {"properties": {"shop": {"const": SHOPS[0]}}},
        "then": {"properties": {"city": {"const": CITIES[0]}}},
    })  # fmt: skip
    rows = [Row(f"r{n}", "train", f"{SHOPS[n]}\n{CITIES[n]}", {"shop": SHOPS[n], "city": CITIES[n]}) for n in range(6)]
    made = copies(rows, compiled, epochs=8)
    assert any(copy.gold != row.gold for row, copy in made)
    assert all(not compiled.validate(copy.gold) for _, copy in made)


def test_few_values_and_values_in_words_of_their_own_are_not_exchanged() -> None:
    """The kind of a document, which a few documents happen to contain."""
    compiled, kinds = schema(kind={"type": "string"}), ["refund", "sale", "return", "deposit", "repair", "loan"]
    plain = [receipt(number, kind=kinds[number % 6]) for number in range(12)]
    rows = [replace(row, text=f"{row.text}\n{row.gold['kind'] if n < 5 else ''}") for n, row in enumerate(plain)]
    made = copies(rows, compiled, epochs=4)
    assert any(copy.gold["shop"] != row.gold["shop"] for row, copy in made)
    assert all(copy.gold["kind"] == row.gold["kind"] for row, copy in made)
    few = [receipt(number) for number in range(3)]  # three shops
    assert all(copy.gold == row.gold for row, copy in copies(few, schema(), epochs=4))


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return load_encoder(str(tiny()), "chat")


def loaded(folder: Path, encoder: Encoder, **changes: Any) -> tuple[EncodedDataset, RunSpec, CompiledSchema]:
    rows = [receipt(number) for number in range(6)]
    dataset = write_dataset(folder / "data.jsonl", [{**vars(row), "tags": [], "origin": "human"} for row in rows])
    compiled = schema()
    contract = {"instruction": "Extract.", "schema": compiled.schema}
    spec = build(RunSpec, train_spec(tiny(), dataset, folder / "out", contract=contract, **changes))
    return load_dataset(spec, compiled, encoder), spec, compiled


def test_dataset_has_the_tokens_of_its_epoch(tmp_path: Path, encoder: Encoder) -> None:
    data, spec, compiled = loaded(tmp_path, encoder, max_length=1024)
    rows = AugmentedRows(data.train, spec, compiled, encoder)
    augmentation = Augmentation([encoded.row for encoded in data.train], compiled, spec.seed)
    dataset = rows.dataset()
    for rows.epoch in (0, 1):
        for index in range(6):
            item, row = dataset[index], augmentation.row(index, rows.epoch)
            answer = encoder.completion(compiled.canonical(row.gold))
            assert item["labels"] == [-100] * (len(item["input_ids"]) - len(answer)) + answer
            assert item["input_ids"] == encoder.prompt(instruction="Extract.", document=row.text) + answer
    shortest = min(encoded.length for encoded in data.train)
    limited = AugmentedRows(data.train, replace(spec, max_length=shortest // 2), compiled, encoder)
    assert [limited.encoded(number) for number in range(6)] == data.train, "copies over the limit stay as they were"
