"""From scores of windows to outputs, and from gold to what heads should answer: one is the inverse of the other."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from slmstudio.contract.schema.compiled import CompiledSchema, compile_schema
from tests.training.ml_data import tiny
from training.encoders.heads import plan_heads, tag_labels, trained_heads
from training.ml.encoders import labels
from training.ml.encoders.folder import HeadsDescription
from training.ml.encoders.network import IGNORED
from training.ml.encoders.output_decoder import EncoderOutput, OutputDecoder, is_in_number
from training.ml.encoders.windows import TokenWindow, line_break_of, whole_words, windows_of
from training.ml.modeling.tiny_model import _tokenizer

SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["number", "total", "day", "kind", "flags", "names", "items"],
    "properties": {
        "number": {"type": ["string", "null"]},
        "total": {"type": ["number", "null"]},
        "day": {"type": ["string", "null"], "format": "date"},
        "kind": {"enum": ["invoice", "receipt"]},
        "flags": {"type": "array", "items": {"enum": ["paid", "late"]}},
        "names": {"type": "array", "items": {"type": "string"}},
        "items": {
            "type": "array",
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["name", "amount", "unit"],
                "properties": {
                    "name": {"type": "string", "x-slm": {"kind": "text"}},
                    "amount": {"type": "number"},
                    "unit": {"enum": ["piece", "box"]},
                    "taxed": {"type": "boolean"},
                },
            },
        },
    },
}
TEXT = "Invoice A-17 of 3 March 2026\nAda Lovelace\nbolt 1.50\nnut 2.25\nbolt 1.75\ntotal 5.50, paid"
GOLD = {
    "number": "A-17",
    "total": Decimal("5.50"),
    "day": "2026-03-03",
    "kind": "invoice",
    "flags": ["paid"],
    "names": ["Ada Lovelace"],
    "items": [
        {"name": "bolt", "amount": Decimal("1.50"), "unit": "piece", "taxed": True},
        {"name": "nut", "amount": Decimal("2.25"), "unit": "box"},
        {"name": "bolt", "amount": Decimal("1.75"), "unit": "piece", "taxed": False},
    ],
}


def table() -> dict[str, Any]:
    """The schema with its items alone."""
    properties: Any = SCHEMA["properties"]
    return {**SCHEMA, "required": ["items"], "properties": {"items": properties["items"]}}


def windows(text: str, size: int = 512) -> list[TokenWindow]:
    tokenizer = _tokenizer().backend_tokenizer
    return windows_of(tokenizer, text, size, line_break_of(tokenizer))


def test_a_line_begins_with_a_token_of_its_own() -> None:
    from tokenizers import BertWordPieceTokenizer

    words = ["[UNK]", "[CLS]", "[SEP]", "acme", "bolt", "nut", "7"]
    tokenizer = BertWordPieceTokenizer(vocab={word: number for number, word in enumerate(words)})
    text = "\n Acme \n\n bolt  nut\n7\n"
    token = line_break_of(tokenizer)
    [window] = windows_of(tokenizer, text, 20, token)
    assert [words[number] for number in window.tokens] == [
        "[CLS]", "[SEP]", "acme", "[SEP]", "bolt", "nut", "[SEP]", "7", "[SEP]",
    ]  # fmt: skip
    places = [text[start:end] for start, end in zip(window.starts, window.ends, strict=True)]
    assert places == ["\n", "Acme", "\n", "bolt", "nut", "\n", "7"]
    assert window.span_of(text.index("bolt"), text.index("7") + 1) == (4, 7)
    assert window.characters_of(4, 7) == (text.index("bolt"), text.index("7") + 1)


def test_a_tokenizer_that_keeps_line_breaks_needs_none() -> None:
    from transformers import AutoTokenizer

    assert line_break_of(AutoTokenizer.from_pretrained(tiny()).backend_tokenizer) is None


def perfect(compiled: CompiledSchema, gold: Any, text: str, parts: list[TokenWindow]) -> list[dict[str, Any]]:
    """The scores of a model that has learned the targets of each window."""
    heads = plan_heads(compiled).heads
    targets = [labels.target_of(head, gold, text) for head in heads]
    assert all(target.known for target in targets)
    scores = []
    for window in parts:
        batch = {name: value.numpy() for name, value in labels.batch(heads, [(window, targets)]).items()}
        score: dict[str, Any] = {}
        for name, value in batch.items():
            kind, _, number = name.partition(".")
            if name == "span_places":
                score["spans"] = np.full((len(batch["span_none"][0]), len(window.tokens), 40), -9.0)
                score["spans"][value[:, 1], value[:, 2], value[:, 3]] = 9.0
            elif name == "span_none":
                score["none"] = np.where(value[0], 9.0, -9.0)
            elif kind == "decision" and value.ndim == 2:
                score[name] = np.where(value[0] > 0, 9.0, -9.0)
            elif kind == "decision":
                width = len([head for head in heads if head.kind == "decision"][int(number)].classes)
                score[name] = np.where(np.arange(width) == value[0], 9.0, -9.0)
            elif kind == "tags":
                head = [head for head in heads if head.kind in ("tags", "rows")][int(number)]
                outputs = [one_hot(value[0], tag_labels(head))]
                if head.kind == "rows":
                    outputs.append(np.where(batch[f"starts.{number}"][0] > 0, 9.0, -9.0)[:, None])
                for at, choice in enumerate(head.choices):
                    outputs.append(one_hot(batch[f"choices.{number}"][0, :, at], len(choice.classes)))
                score[name] = np.hstack(outputs)
        scores.append(score)
    return scores


def one_hot(wanted: Any, width: int) -> Any:
    return np.where(np.arange(width) == np.maximum(wanted, 0)[:, None], 9.0, -9.0)


def decode(gold: Any = GOLD, text: str = TEXT, size: int = 512, schema: dict[str, Any] = SCHEMA) -> EncoderOutput:
    compiled = compile_schema(schema)
    parts = windows(text, size)
    decoder = OutputDecoder(compiled, plan_heads(compiled).heads, {}, {})
    return decoder.decode(text, parts, perfect(compiled, gold, text, parts))


@pytest.mark.parametrize("size", [512, 48])
def test_targets_decode_to_gold_in_one_window_and_in_several(size: int) -> None:
    output = decode(size=size)
    assert (len(windows(TEXT, size)) > 1) == (size < 100)
    assert output.value == GOLD
    assert min(output.confidence.values()) > 0.9
    paths = {"number", "items[2].amount", "items[2].unit", "items[1].taxed", "names[0]"}
    assert paths <= set(output.confidence)


def test_a_number_is_not_split_between_two_columns() -> None:
    compiled = compile_schema(SCHEMA)
    parts = windows(TEXT)
    [score] = perfect(compiled, GOLD, TEXT, parts)
    at = parts[0].span_of(TEXT.index("2.25") + 2, TEXT.index("2.25") + 4)
    assert at is not None
    name = next(name for name in score if name.startswith("tags") and score[name].shape[1] == 11)
    score[name][at[0] : at[1] + 1, :5] = np.array([9.1, -9.0, -9.0, -9.0, 9.0])  # its decimals as likely outside
    decoder = OutputDecoder(compiled, plan_heads(compiled).heads, {}, {})
    assert decoder.decode(TEXT, parts, [score]).value == GOLD


@pytest.mark.parametrize(
    ("text", "at", "inside"),
    [("463", 1, True), ("4.63", 1, True), ("4.63", 2, True), ("4. 6", 1, False), ("A30", 1, False), ("4,", 1, False)],
)
def test_where_a_number_goes_on(text: str, at: int, inside: bool) -> None:
    assert is_in_number(text, at) == inside


def test_a_row_without_a_required_cell_is_joined_with_the_next_or_left_out() -> None:
    compiled = compile_schema(table())
    parts = windows(TEXT)
    rows: Any = GOLD["items"]
    gold = {"items": rows}
    [score] = perfect(compiled, gold, TEXT, parts)
    starts = score["tags.0"][:, 5]
    amount, name = (parts[0].span_of(TEXT.index(word), TEXT.index(word) + 2) for word in ("1.50", "nut"))
    assert amount is not None
    assert name is not None
    starts[amount[0]] = 9.0  # the first row is torn apart
    score["tags.0"][name[0] : name[1] + 2, :5] = np.array([9.0, -9.0, -9.0, -9.0, -9.0])  # the second has no name
    starts[name[0] : name[1] + 3] = 9.0
    decoder = OutputDecoder(compiled, plan_heads(compiled).heads, {}, {})
    output = decoder.decode(TEXT, parts, [score])
    assert output.value == {"items": [rows[0], rows[2]]}
    assert not compiled.validate(output.value)
    assert "items[1].amount" in output.confidence
    assert "items[2].amount" not in output.confidence


@pytest.mark.parametrize("quantity", [{"type": "integer"}, {"type": "integer", "minimum": 1}])
def test_pieces_in_brackets_are_no_negative_numbers(quantity: dict[str, Any]) -> None:
    compiled = compile_schema(delivery(quantity))
    text = "2 items: napkins (20), LED panel (120)"
    gold = pieces(napkins=20, LED_panel=120)
    heads = plan_heads(compiled).heads
    [target] = [labels.target_of(head, gold, text) for head in heads]
    assert [text[start:end] for start, end, _ in target.places] == ["napkins", "20", "LED panel", "120"]
    assert decode(gold, text, schema=delivery(quantity)).value == gold
    # A stretch with the brackets, and gold that has no negative quantity.
    [window] = windows(text)
    score = perfect(compiled, gold, text, [window])[0]["tags.0"]
    for low, number in ((text.index("(20)"), 3), (text.index("(120)"), 3)):
        first, last = window.span_of(low, text.index(")", low) + 1) or (0, 0)
        score[first : last + 1, :5] = one_hot(np.array([number] + [4] * (last - first)), 5)
    for unsigned in ((), ("items[].quantity",)):
        known = HeadsDescription(schema_sha256=compiled.hash, window=512, unsigned=unsigned)
        output = known.decoder(compiled).decode(text, [window], [{"tags.0": score}])
        is_signed = not unsigned and "minimum" not in quantity
        assert output.value == (pieces(napkins=-20, LED_panel=-120) if is_signed else gold)


@pytest.mark.parametrize(
    ("text", "at", "end", "whole", "apart"),
    [
        ("Ein Schreibtisch, neu", 6, 16, "Schreibtisch", "Schreibtisch"),
        ("Ein Schreibtisch, neu", 4, 10, "Schreibtisch", "Schreibtisch"),
        ("Ein Schreibtisch, neu", 4, 19, "Schreibtisch, neu", "Schreibtisch, neu"),
        ("Ein Schreibtisch", 3, 16, " Schreibtisch", " Schreibtisch"),
        ("Bürostühle (20)", 2, 5, "Bürostühle", "Bürostühle"),
        ("x120 RM9.90", 2, 3, "x120", "120"),
        ("x120 RM9.90", 7, 9, "RM9.", "9."),
        ("x" * 300, 150, 151, "x" * 201, "x" * 201),
    ],
)
def test_stretches_are_whole_words(text: str, at: int, end: int, whole: str, apart: str) -> None:
    assert text[slice(*whole_words(text, at, end, digits_apart=False))] == whole
    assert text[slice(*whole_words(text, at, end, digits_apart=True))] == apart


def test_a_value_does_not_begin_or_end_inside_a_word() -> None:
    compiled = compile_schema({"type": "object", "properties": {"name": {"type": "string"}}})
    heads = plan_heads(compiled).heads
    text = "Ein Schreibtisch"
    [window] = windows(text)
    spans = np.full((1, len(window.tokens), 20), -9.0)
    for start, end in ((4, 16), (6, 16), (4, 11)):
        first, last = window.span_of(start, end) or (0, 0)
        spans[0, first, last - first] = 9.0 - start
    scores = [{"spans": spans, "none": np.full(1, -9.0)}]
    whole, glued = (
        OutputDecoder(compiled, heads, {}, {}, glued).decode(text, [window], scores) for glued in ((), ["name"])
    )
    assert whole.value == {"name": "Schreibtisch"}
    assert whole.confidence["name"] > 0.99 > glued.confidence["name"]


@pytest.mark.parametrize(("glued", "names"), [((), ["napkins", "chair"]), (["items"], ["apkins", "cha"])])
def test_a_cell_does_not_begin_or_end_inside_a_word(glued: Sequence[str], names: list[str]) -> None:
    compiled = compile_schema(delivery({"type": "integer"}))
    text = "napkins 20x\nchair x120"
    gold = pieces(napkins=20, chair=120)
    [window] = windows(text)
    [score] = perfect(compiled, gold, text, [window])
    for start, end in ((0, 1), (15, 17)):
        first, last = window.span_of(start, end) or (0, 0)
        score["tags.0"][first : last + 1, :5] = np.array([9.0, 8.0, 8.0, -9.0, -9.0])
    first, _ = window.span_of(1, 2) or (0, 0)
    score["tags.0"][first, :5] = np.array([-9.0, 9.0, -9.0, -9.0, -9.0])
    output = OutputDecoder(compiled, plan_heads(compiled).heads, {}, {}, glued).decode(text, [window], [score])
    assert [row["description"] for row in output.value["items"]] == names
    assert [row["quantity"] for row in output.value["items"]] == [20, 120]


def delivery(quantity: dict[str, Any]) -> dict[str, Any]:
    """A schema of delivered items."""
    columns = {"description": {"type": "string"}, "quantity": quantity}
    row = {"type": "object", "required": ["description", "quantity"], "properties": columns}
    return {"type": "object", "properties": {"items": {"type": "array", "items": row}}}


def pieces(**quantities: int) -> dict[str, Any]:
    rows = [{"description": name.replace("_", " "), "quantity": number} for name, number in quantities.items()]
    return {"items": rows}


QUANTITY = {"type": "integer", "minimum": 1}


@pytest.mark.parametrize(
    ("text", "gold", "rows", "valid"),
    [
        ("napkins -20\nLED 3", {"napkins": -20, "LED": 3}, ["napkins -20", "LED 3"], False),
        ("-20 napkins\n3 LED", {"napkins": -20, "LED": 3}, ["napkins -20", "LED 3"], False),
        ("napkins 20\nLED 3", {"napkins": 20, "LED": 3}, ["napkins 20", "LED 3"], True),
    ],
)
def test_a_value_that_a_column_does_not_allow(text: str, gold: dict[str, int], rows: list[str], valid: bool) -> None:
    """It is left out of an optional column, and makes the output invalid in a required one."""
    output = decode(pieces(**gold), text, schema=delivery(QUANTITY))
    assert [f"{row['description']} {row['quantity']}" for row in output.value["items"]] == rows
    assert bool(compile_schema(delivery(QUANTITY)).validate(output.value)) != valid
    assert {"items[0].quantity", "items[1].quantity"} <= set(output.confidence)
    optional = delivery(QUANTITY)
    optional["properties"]["items"]["items"]["required"] = ["description"]
    kept = decode(pieces(**gold), text, schema=optional).value
    assert not compile_schema(optional).validate(kept)
    assert [row.get("quantity") for row in kept["items"]] == [gold["napkins"] if valid else None, 3]


@pytest.mark.parametrize("text", ["napkins 20 -5", "napkins -5 20"])
def test_a_value_that_is_allowed_wins_in_a_cell(text: str) -> None:
    compiled = compile_schema(delivery(QUANTITY))
    [window] = windows(text)
    [score] = perfect(compiled, pieces(napkins=20), text, [window])
    for start, end in ((8, 10), (11, 13)):
        first, last = window.span_of(start, end) or (0, 0)
        score["tags.0"][first : last + 1, :5] = one_hot(np.array([3] + [4] * (last - first)), 5)
    output = OutputDecoder(compiled, plan_heads(compiled).heads, {}, {}).decode(text, [window], [score])
    assert output.value == pieces(napkins=20)


@pytest.mark.parametrize(
    ("text", "gold", "cells"),
    [
        ("2 items: napkins (2), LED (2)", {"napkins": 2, "LED": 2}, ["napkins", "2", "LED", "2"]),
        ("1 item: napkins (1)", {"napkins": 1}, ["napkins", "1"]),
        ("napkins: 20; LED: 20", {"napkins": 20, "LED": 20}, ["napkins", "20", "LED", "20"]),
        ("20 napkins, 120 LED lamps", {"napkins": 20, "LED_lamps": 120}, ["20", "napkins", "120", "LED lamps"]),
        ("20 cups, 20 LED, 9 mugs", {"LED": 20, "mugs": 9, "cups": 20}, ["20", "cups", "20", "LED", "9", "mugs"]),
        ("cups\nLED\n20\n30", {"LED": 30, "cups": 20}, None),
    ],
)
def test_rows_of_a_line_have_cells_of_their_own(text: str, gold: dict[str, int], cells: list[str] | None) -> None:
    compiled = compile_schema(delivery({"type": "integer", "minimum": 0}))
    target = labels.target_of(plan_heads(compiled).heads[0], pieces(**gold), text)
    assert target.known == (cells is not None)
    assert [text[start:end] for start, end, _ in target.places] == (cells or [])
    if cells is not None:
        output = decode(pieces(**gold), text, schema=delivery({"type": "integer", "minimum": 0})).value
        assert sorted(map(str, output["items"])) == sorted(map(str, pieces(**gold)["items"]))


def test_amounts_in_accounting_notation_are_negative() -> None:
    text = "balance (1,234.50)\nfees 20.00"
    rows = [("balance", "-1234.50"), ("fees", "20.00")]
    gold = {"items": [{"name": name, "amount": Decimal(amount), "unit": "box"} for name, amount in rows]}
    assert decode(gold, text, schema=table()).value == gold


def test_a_text_goes_on_below_its_row() -> None:
    text = (
        "Safety gloves,  4,750.00\n   type A89\nbolt  1.50\nSafety gloves, type A89  2.50\nnut\n\n7.25\n"
        "Freight,  3.00\n  by air"
    )
    rows = [
        ("Safety gloves, type A89", "4750.00"),
        ("bolt", "1.50"),
        ("Safety gloves, type A89", "2.50"),
        ("nut", "7.25"),
        ("Freight, by air", "3.00"),
    ]
    gold = {"items": [{"name": name, "amount": Decimal(amount), "unit": "box"} for name, amount in rows]}
    target = labels.target_of(plan_heads(compile_schema(table())).heads[0], gold, text)
    assert [text[start:end] for start, end, column in target.places if column == 0] == [
        "Safety gloves,", "type A89", "bolt", "Safety gloves, type A89", "nut", "Freight,", "by air",
    ]  # fmt: skip
    assert len(target.starts) == 5
    assert decode(gold, text, schema=table()).value == gold


def test_a_class_that_is_optional_is_kept() -> None:
    entity = {
        "type": "object",
        "additionalProperties": False,
        "required": ["text"],
        "properties": {"type": {"enum": ["P", "O"]}, "text": {"type": "string"}},
    }
    schema = {"type": "object", "properties": {"names": {"type": "array", "items": entity}}}
    gold = {"names": [{"type": "P", "text": "Ada Lovelace"}, {"text": "nut"}, {"type": "O", "text": "total"}]}
    assert decode(gold, schema=schema).value == gold


def test_a_choice_is_read_where_its_row_begins() -> None:
    """Also of a row that is joined with the next one, or whose text goes on below; an unknown one teaches nothing."""
    compiled = compile_schema(table())
    rows: Any = GOLD["items"]
    [head] = plan_heads(compiled).heads
    target = labels.target_of(head, {"items": [{**rows[0], "unit": "pallet"}, *rows[1:]]}, TEXT)
    assert target.choices == ((IGNORED, 2), (1, 0), (0, 1))
    parts = windows(TEXT)
    [score] = perfect(compiled, {"items": rows}, TEXT, parts)
    amount = parts[0].span_of(TEXT.index("1.50"), TEXT.index("1.50") + 2)
    assert amount is not None
    score["tags.0"][amount[0], 5:8] = [9.0, -9.0, 9.0]  # the first row is torn apart, and its amount comes in a box
    output = OutputDecoder(compiled, [head], {}, {}).decode(TEXT, parts, [score])
    assert output.value == {"items": rows}
    assert output.confidence["items[0].unit"] > 0.99


def test_absent_values_and_empty_lists() -> None:
    gold = {**GOLD, "number": None, "day": None, "flags": [], "names": [], "items": []}
    assert decode(gold).value == gold


def test_gold_that_is_not_in_the_text_teaches_nothing() -> None:
    compiled = compile_schema(SCHEMA)
    gold = {**GOLD, "number": "B-99", "kind": "letter", "names": ["Grace Hopper"]}
    known = {head.pattern: labels.target_of(head, gold, TEXT).known for head in plan_heads(compiled).heads}
    assert {name for name, is_known in known.items() if not is_known} == {"number", "kind", "names"}


def test_gold_is_where_its_evidence_is() -> None:
    compiled = compile_schema(SCHEMA)
    text = "bolt 1.50\nAda\nOrder A-17 of Ada\nbolt 1.50\nInvoice A-17.\nSum 7"
    row = {"name": "bolt", "amount": Decimal("1.50")}
    gold = {**GOLD, "number": "A-17", "total": 7, "day": None, "names": ["Ada"], "items": [row]}
    second, last = text.rindex("bolt"), text.rindex("A-17")
    chosen = {
        "number": [(last, last + 4)],
        "names[0]": [(text.index("Ada"), text.index("Ada") + 3)],
        "items[0].name": [(second, second + 4)],
        "items[0].amount": [(second + 5, second + 9)],
    }

    def places(evidence: dict[str, list[tuple[int, int]]]) -> dict[str, list[int]]:
        targets = ((head, labels.target_of(head, gold, text, evidence)) for head in plan_heads(compiled).heads)
        return {head.pattern: [start for start, *_ in target.places] for head, target in targets if target.known}

    found, evident = places({}), places(chosen)
    assert (len(found["number"]), len(found["names"]), found["items"]) == (2, 2, [0, 5])
    assert (evident["number"], evident["names"], evident["items"]) == ([last], [10], [second, second + 5])
    assert evident["total"] == found["total"]
    targets = labels.targets_of(plan_heads(compiled).heads, {**gold, "number": "A-17."}, text, chosen)
    assert text[slice(*targets[0].places[0][:2])] == "A-17."  # with the mark that gold has


def test_evidence_that_is_a_piece_of_the_value_is_no_gold() -> None:
    compiled = compile_schema({"type": "object", "properties": {"name": {"type": "string"}}})
    [head] = plan_heads(compiled).heads
    text = "Ada\nof Lovelace, and A. L."
    assert not labels.target_of(head, {"name": "Ada Lovelace"}, text, {"name": [(0, 3)]}).known
    by_hand = labels.target_of(head, {"name": "Ada L."}, text, {"name": [(21, 26)]})
    assert text[slice(*by_hand.places[0][:2])] == "A. L."


@pytest.mark.parametrize(("order", "day"), [(0, "2026-04-03"), (1, "2026-03-04")])
def test_a_date_in_digits_is_read_in_the_order_of_its_document(order: int, day: str) -> None:
    compiled = compile_schema({"type": "object", "properties": {"day": {"type": "string", "format": "date"}}})
    heads = trained_heads(plan_heads(compiled))
    text = "dated 03/04/2026"
    targets = labels.targets_of(heads, {"day": day}, text)
    assert targets[1].labels == (order,)
    [window] = windows(text)
    span = np.full((1, len(window.tokens), 20), -9.0)
    first, last = window.span_of(6, 16) or (0, 0)
    span[0, first, last - first] = 9.0
    decision = np.where(np.arange(2) == order, 4.0, -4.0)
    scores = [{"spans": span, "none": np.full(1, -9.0), "decision.0": decision}]
    output = OutputDecoder(compiled, heads, {}, {}).decode(text, [window], scores)
    assert output.value == {"day": day}
    assert set(output.confidence) == {"day"}


def test_the_best_combination_that_follows_the_rules_is_chosen() -> None:
    schema = {
        "type": "object",
        "required": ["net", "total"],
        "properties": {"net": {"type": ["number", "null"]}, "total": {"type": ["number", "null"]}},
        "x-slm": {"invariants": [{"rule": "net <= total"}]},
    }
    compiled = compile_schema(schema)
    text = "10.00 20.00 30.00"
    [window] = windows(text)
    spans = np.full((2, len(window.tokens), 12), -9.0)

    def point(field: int, value: str, score: float) -> None:
        start = text.index(value)
        first, last = window.span_of(start, start + len(value)) or (0, 0)
        spans[field, first, last - first] = score

    point(0, "30.00", 3.0)
    point(0, "10.00", 2.0)
    point(1, "20.00", 3.0)
    scores = [{"spans": spans, "none": np.full(2, -9.0)}]
    output = OutputDecoder(compiled, plan_heads(compiled).heads, {}, {}).decode(text, [window], scores)
    assert output.value == {"net": Decimal("10.00"), "total": Decimal("20.00")}
