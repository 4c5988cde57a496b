"""What differs between two schemas, and steps that take a value from one to the other."""

from decimal import Decimal
from typing import Any

import pytest

from labeling.schema_migration.mapping import MappingError, check, difference, mapper, suggest_mapping
from slmstudio.contract.schema.compiled import CompiledSchema, compile_schema, dumps

ROW = {"type": "object", "properties": {"text": {"type": "string"}, "price": {"type": "string"}}}
OLD: dict[str, Any] = {
    "type": "object",
    "properties": {
        "vendor": {"type": "string"},
        "address": {"type": "string"},
        "currency": {"enum": ["EURO", "USD"]},
        "total": {"type": "string"},
        "rows": {"type": "array", "items": ROW},
        "tags": {"type": "array", "items": {"type": "string"}},
        "note": {"type": "string"},
    },
}
NEW: dict[str, Any] = {
    "type": "object",
    "properties": {
        "vendor_name": {"type": "string"},
        "street": {"type": "string"},
        "zip": {"type": "integer"},
        "currency": {"enum": ["EUR", "USD"]},
        "total": {"type": "number"},
        "rows": {
            "type": "array",
            "items": {"type": "object", "properties": {"text": {"type": "string"}, "unit_price": {"type": "string"}}},
        },
        "tags": {"type": "array", "items": {"type": "integer"}},
        "country": {"type": "string", "default": "MY"},
    },
    "required": ["country"],
}
VALUE = {
    "vendor": "Acme",
    "address": "Hauptstr. 1, 10115 Berlin",
    "currency": "EURO",
    "total": "USD 1,248.50",
    "rows": [{"text": "a", "price": "1"}, {"text": "b"}, {"price": "3"}],
    "tags": ["7", "8"],
    "note": "x",
}


def schemas() -> tuple[CompiledSchema, CompiledSchema]:
    return compile_schema(OLD), compile_schema(NEW)


def moved(*steps: dict[str, Any], value: Any = None) -> Any:
    old, new = schemas()
    return mapper(check(list(steps), old, new), new)(VALUE if value is None else value)


def test_difference_has_top_level_fields() -> None:
    differs = difference(*schemas())
    assert list(differs.removed) == ["vendor", "address", "rows[].price", "note"]
    assert list(differs.added) == ["vendor_name", "street", "zip", "rows[].unit_price", "country"]
    assert list(differs.retyped) == ["total", "tags[]"]
    assert differs.narrowed == {"currency": ['"EURO"']}
    assert not difference(compile_schema(OLD), compile_schema(OLD))


def test_suggestion_renames_similar_fields_and_drops_others() -> None:
    steps = suggest_mapping(*schemas())
    assert {"do": "rename", "field": "vendor", "to": "vendor_name"} in steps
    assert {"do": "rename", "field": "rows[].price", "to": "rows[].unit_price"} in steps
    assert {"do": "drop", "field": "note"} in steps
    assert {"do": "convert", "field": "total"} in steps
    assert {"do": "default", "field": "country", "value": "MY"} in steps
    assert check(steps, *schemas())


def texts(*names: str, **more: Any) -> CompiledSchema:
    return compile_schema({"type": "object", "properties": {**{name: {"type": "string"} for name in names}, **more}})


def test_single_replacement_is_a_rename() -> None:
    assert suggest_mapping(texts("id", "company"), texts("id", "seller")) == [
        {"do": "rename", "field": "company", "to": "seller"}
    ]
    # Of two it is open which one it was; a number never was a text.
    assert suggest_mapping(texts("company"), texts("seller", "zip"))[0] == {"do": "drop", "field": "company"}
    other = texts("id", amount={"type": "number"})
    assert suggest_mapping(texts("id", "company"), other)[0] == {"do": "drop", "field": "company"}
    row = {"type": "object", "properties": {"seller": {"type": "string"}}}
    moved_down = compile_schema(
        {"type": "object", "properties": {"id": {"type": "string"}, "rows": {"type": "array", "items": row}}}
    )
    assert {"do": "drop", "field": "company"} in suggest_mapping(texts("id", "company"), moved_down)


def test_rename_applies_per_row_and_leaves_the_value_that_it_is_given() -> None:
    before = dumps(VALUE)
    result = moved(
        {"do": "drop", "field": "note"}, {"do": "rename", "field": "rows[].price", "to": "rows[].unit_price"}
    )
    assert result["rows"] == [{"text": "a", "unit_price": "1"}, {"text": "b"}, {"unit_price": "3"}]
    assert dumps(VALUE) == before


def test_split_parses_parts_and_keeps_mismatches() -> None:
    step = {
        "do": "split",
        "field": "address",
        "by": r"(?P<s>.+), (?P<z>\d{5}) .*",
        "into": {"s": "street", "z": "zip"},
    }
    result = moved(step)
    assert (result["street"], result["zip"], "address" in result) == ("Hauptstr. 1", 10115, False)
    other = moved(step, value={"address": "somewhere"})
    assert other == {"address": "somewhere"}


def test_convert_replace_and_default() -> None:
    assert moved({"do": "convert", "field": "total"})["total"] == Decimal("1248.50")
    assert moved({"do": "convert", "field": "total"}, value={"total": "free"}) == {"total": "free"}
    assert moved({"do": "convert", "field": "tags[]"})["tags"] == [7, 8]
    result = moved(
        {"do": "replace", "field": "currency", "values": {'"EURO"': '"EUR"'}},
        {"do": "default", "field": "country", "value": "DE"},
    )
    assert (result["currency"], result["country"]) == ("EUR", "DE")
    assert moved({"do": "default", "field": "country", "value": "DE"}, value={"country": "FR"})["country"] == "FR"
    # Steps have a fixed order.
    default = {"do": "default", "field": "vendor_name", "value": "nobody"}
    rename = {"do": "rename", "field": "vendor", "to": "vendor_name"}
    assert moved({"do": "drop", "field": "note"}, default, rename)["vendor_name"] == "Acme"


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ("drop", "A mapping is a list"),
        ([{"do": "explode", "field": "note"}], 'Step 1: "do" must be one of'),
        ([{"do": "drop", "field": "note", "also": 1}], "Step 1: drop takes field"),
        ([{"do": "drop", "field": "note"}, {"do": "drop", "field": "nowhere"}], "Step 2: there is no field 'nowhere'"),
        ([{"do": "rename", "field": "rows[].price", "to": "street"}], "a field stays within its rows"),
        ([{"do": "rename", "field": "note", "to": "nowhere"}], "no field 'nowhere' in the new schema"),
        ([{"do": "split", "field": "address", "by": "(", "into": {"s": "street"}}], "is not a regular expression"),
        ([{"do": "split", "field": "address", "by": "(?P<a>.*)", "into": {"s": "street"}}], "it has a"),
        ([{"do": "replace", "field": "currency", "values": {"EURO": '"EUR"'}}], '"values" maps JSON texts'),
        ([{"do": "drop", "field": ["note"]}], "there is no field"),
    ],
)
def test_invalid_mapping_names_its_step(steps: Any, message: str) -> None:
    with pytest.raises(MappingError) as caught:
        check(steps, *schemas())
    assert message in str(caught.value)


def test_catastrophic_expression_is_fast() -> None:
    step = {"do": "split", "field": "address", "by": "(?P<s>(a+)+)$", "into": {"s": "street"}}
    assert moved(step, value={"address": "a" * 5_000 + "!"}) == {"address": "a" * 5_000 + "!"}


def test_values_of_other_shapes_are_unchanged() -> None:
    steps = suggest_mapping(*schemas())
    shapes: list[Any] = [{}, {"rows": None}, {"rows": [1, None]}, {"rows": "x", "total": [1, 2]}, [], None, 3]
    for odd in shapes:
        moved(*steps, value=odd)
