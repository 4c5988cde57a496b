"""Every kind of part: how a schema is drawn, what is typed into it, and why something is written as JSON."""

import re
import time
from typing import Any

import pytest

from labeling.form.codec import ABSENT, from_entry, to_entry
from labeling.form.nodes import RAW, FormNode
from labeling.form.tree import MAX_PARTS, bind, form_for, node_at, tree_of
from slmstudio.contract.json_text import dumps, loads
from slmstudio.contract.schema.compiled import compile_schema
from tests.contract.samples import object_schema
from tests.labeling.form_values import BANK, CARD, EVERYTHING


def tree(schema: dict[str, Any]) -> FormNode:
    return tree_of(compile_schema(loads(dumps(schema))))


def field_node(schema: dict[str, Any], **more: Any) -> FormNode:
    """The node of a field with this schema."""
    return tree(object_schema({"a": schema}, **more)).children[0]


@pytest.fixture
def everything() -> FormNode:
    return tree(EVERYTHING)


def test_every_schema_has_its_shape(everything: FormNode) -> None:
    assert {child.key: child.shape for child in everything.children} == {
        "paid": "variants",
        "amount": "variants",
        "tags": "map",
        "labels": "map",
        "place": "tuple",
        "buyer": "group",
        "parts": "list",
        "grid": "table",
        "tree": "group",
        "anything": "json",
        "open": "json",
    }
    assert node_at(everything, "parts[0]").shape == "variants"
    assert node_at(everything, "tags.red").shape == "number"
    assert node_at(everything, "place[1]").title == "Item 2"
    assert node_at(everything, "buyer.city").shape == "lines"


@pytest.mark.parametrize(
    ("schema", "titles"),
    [
        ({"oneOf": [CARD, BANK]}, ["card", "bank"]),
        ({"oneOf": [{**CARD, "title": "Card"}, BANK]}, ["Card", "bank"]),
        ({"anyOf": [{"type": "number"}, {"type": "string"}, {"type": "null"}]}, ["Number", "Text"]),
        ({"type": ["string", "integer"]}, ["Text", "Whole number"]),
        ({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}, ["Text", "List of texts"]),
        ({"anyOf": [object_schema({"x": {}}), object_schema({"y": {}})]}, ["With x", "With y"]),
        (
            {"oneOf": [{"oneOf": [CARD, BANK]}, object_schema({"cash": {"type": "number"}})]},
            ["card", "bank", "With cash"],
        ),
        (
            {"oneOf": [object_schema({"x": {}}), object_schema({"x": {}}, minProperties=2)]},
            ["With x (1)", "With x (2)"],
        ),
    ],
)
def test_forms_of_a_value_have_names(schema: dict[str, Any], titles: list[str]) -> None:
    assert [form.title for form in field_node(schema).forms] == titles


def test_forms_of_the_same_plain_type_are_one_control() -> None:
    texts = {"anyOf": [{"type": "string", "format": "email"}, {"type": "string", "maxLength": 5}]}
    assert field_node(texts).shape == "lines"
    nullable = {"anyOf": [{"type": "object", "title": "A", "properties": {"x": {}}}, {"type": "null"}]}
    assert field_node(nullable).shape == "group"
    constant = field_node({"const": "company"})
    assert (constant.shape, constant.fixed, constant.options[0].label) == ("choice", '"company"', "company")


def test_value_opens_in_its_form(everything: FormNode) -> None:
    paid = node_at(everything, "paid")
    assert to_entry(paid, {"by": "bank", "iban": "DE1"}) == {"$form": 1, "$value": {"by": '"bank"', "iban": "DE1"}}
    assert to_entry(node_at(everything, "amount"), "12") == {"$form": 1, "$value": "12"}
    unlike = field_node({"oneOf": [object_schema({"x": {"type": "number"}}), object_schema({"y": {"type": "number"}})]})
    assert [to_entry(unlike, value)["$form"] for value in ({"x": 1}, {"y": 1}, {}, {"z": 1})] == [0, 1, 0, 0]


def test_a_map_is_rows_of_names_and_values(everything: FormNode) -> None:
    assert to_entry(node_at(everything, "tags"), {"red": 3}) == [{"key": "red", "value": "3"}]
    parsed = from_entry(everything, {"tags": [{"key": " red ", "value": "3"}, {"key": "x.y", "value": "4"}]})
    assert (parsed.value, parsed.problems) == ({"tags": {"red": 3, "x.y": 4}}, [])
    # Rows without a name, or with the name of another row, are kept.
    rows = [{"key": "a", "value": "1"}, {"key": "a", "value": "2"}, {"value": "3"}, {"key": "", "value": "4"}, {}]
    parsed = from_entry(everything, {"tags": rows})
    assert parsed.value == {"tags": {"a": 1, "a (2)": 2, "unnamed": 3, "unnamed (2)": 4}}
    assert [(problem.path, problem.rule) for problem in parsed.problems] == [
        ('tags["a (2)"]', "name"),
        ("tags.unnamed", "name"),
        ('tags["unnamed (2)"]', "name"),
        ("tags", "empty"),
    ]


def test_additional_names_of_a_group_are_rows(everything: FormNode) -> None:
    entry = to_entry(everything, {"buyer": {"name": "Acme", "city": "Ulm"}})
    assert entry["buyer"] == {"name": "Acme", "$more": [{"key": "city", "value": "Ulm"}]}
    closed = field_node(object_schema({"x": {"type": "string"}}, additionalProperties=False))
    assert closed.more is None
    assert to_entry(closed, {"y": 1}) == {"y": {RAW: "1"}}


def test_names_that_are_choices_and_names_like_a_pattern() -> None:
    names = field_node(
        {"type": "object", "propertyNames": {"enum": ["de", "en"]}, "additionalProperties": {"type": "string"}}
    )
    assert [option.label for option in names.names.options] == ["de", "en"]
    assert to_entry(names, {"de": "Hallo"}) == [{"key": '"de"', "value": "Hallo"}]
    like = field_node({"type": "object", "patternProperties": {"^x-": {"type": "string"}}})
    assert like.names.description == "Names like ^x-"


def test_unknown_name_is_kept_with_a_problem() -> None:
    schema = {"type": "object", "propertyNames": {"enum": ["de", "en"]}, "additionalProperties": {"type": "string"}}
    compiled = compile_schema(object_schema({"x": schema}))
    node = tree_of(compiled)
    for name in ("fr", "12", "null", '"de"', "[]"):
        assert from_entry(node, to_entry(node, {"x": {name: "Salut"}})).value == {"x": {name: "Salut"}}
        assert to_entry(node, {"x": {name: "Salut"}}) == {"x": [{"key": {RAW: dumps(name)}, "value": "Salut"}]}
    typed = from_entry(node, {"x": [{"key": "fr", "value": "Salut"}, {"key": '"de"', "value": "Hallo"}]}).value
    assert typed == {"x": {"fr": "Salut", "de": "Hallo"}}
    [problem] = compiled.validate(typed)
    assert (problem.path, problem.rule) == ("x.fr", "propertyNames")
    assert "de, en" in problem.message


def test_gaps_in_a_tuple_are_problems(everything: FormNode) -> None:
    assert from_entry(everything, {"place": ["1", ""]}).value == {"place": [1]}
    parsed = from_entry(everything, {"place": ["", "2"]})
    assert [(problem.path, problem.rule) for problem in parsed.problems] == [("place[0]", "empty")]
    assert from_entry(everything, {"place": ["", ""]}).value == {}


def test_all_of_is_combined() -> None:
    base = {"$ref": "#/$defs/base"}
    schema = object_schema(
        {"a": {"allOf": [base, object_schema({"kind": {"description": "Which"}, "size": {"maximum": 5}})]}},
        **{"$defs": {"base": object_schema({"kind": {"enum": ["x", "y"]}, "size": {"type": "number"}})}},
    )
    group = tree(schema).children[0]
    assert [(child.key, child.shape, child.description) for child in group.children] == [
        ("kind", "choice", "Which"),
        ("size", "number", ""),
    ]


# -- written as JSON, and why ------------------------------------------------------------------------------------------

FORMS = [object_schema({f"f{number}": {"type": "string"}}, required=[f"f{number}"]) for number in range(60)]


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({}, "it can have any type"),
        ({"type": "object"}, "it accepts any names and values"),
        ({"type": "array"}, "its items can have any type"),
        (
            {"type": "array", "prefixItems": [{"type": "string"}], "items": {"type": "number"}},
            "fixed items followed by",
        ),
        ({"oneOf": FORMS}, "more than 50 forms"),
        (object_schema({RAW: {"type": "string"}}), "a reserved name"),
    ],
)
def test_unsupported_schema_is_edited_as_json(schema: dict[str, Any], reason: str) -> None:
    node = field_node(schema)
    assert node.shape == "json"
    assert reason in node.reason


def test_recursion_ends_in_json(everything: FormNode) -> None:
    inner = node_at(everything, "tree.inner[0]")
    assert (inner.shape, inner.reason) == ("json", "it is recursive, or repeated in a large schema")
    deep = {"tree": {"name": "a", "inner": [{"name": "b", "inner": [{"name": "c"}]}]}}
    assert from_entry(everything, to_entry(everything, deep)).value == deep


def test_recursion_through_forms_and_folded_fields_ends() -> None:
    expression = {
        "type": "object",
        "properties": {"op": {"type": "string"}, "left": {"$ref": "#/$defs/e"}},
        "allOf": [{"properties": {"left": {"description": "again"}}}],
        "oneOf": [
            object_schema({"right": {"$ref": "#/$defs/e", "title": "R"}}),
            object_schema({"not": {"type": "boolean"}}),
        ],
    }
    node = tree(object_schema({"a": {"$ref": "#/$defs/e"}}, **{"$defs": {"e": expression}}))
    assert any(part.shape == "json" and "recursive" in part.reason for part in node.nodes())


def test_huge_form_is_declined_fast() -> None:
    start = time.thread_time()
    node = tree(object_schema({f"f{number}": {"type": "string"} for number in range(3000)}))
    assert node.shape == "json"
    assert f"more than {MAX_PARTS:,} parts" in node.reason
    assert time.thread_time() - start < 10


# -- drawn ----------------------------------------------------------------------------------------------------------


def test_preview_renders_all_forms_with_unique_ids() -> None:
    from django.template.loader import render_to_string

    html = render_to_string("labeling/form/form.html", {"form": form_for(compile_schema(loads(dumps(EVERYTHING))))})
    assert html.count("sf-form-preview") >= 4
    ids = re.findall(r'\sid="([^"]+)"', re.sub(r"(?s)<template.*?</template>", "", html))
    assert len(ids) == len(set(ids))


def test_markup_in_a_schema_is_escaped() -> None:
    from django.template.loader import render_to_string

    mark = "</script><img src=x onerror=alert(1)>"
    many = [mark, *(f"c{number}" for number in range(12))]
    hostile = object_schema(
        {mark: {"enum": many, "title": mark, "description": mark}, "b": {"oneOf": [{**CARD, "title": mark}, BANK]}},
        title=mark,
    )
    form = bind(tree(hostile), ABSENT)
    html = render_to_string("labeling/form/form.html", {"form": form})
    assert "form-choices" in html
    assert "<img" not in html
    assert html.count("</script>") == 1
