"""A new field kind is one ``Kind`` and its name in the registry; schema, scorer and form use it."""

import pytest

from labeling.form.tree import tree_of
from slmstudio.contract.schema import checks
from slmstudio.contract.schema.checks import SchemaError
from slmstudio.contract.schema.compiled import CompiledSchema, compile_schema
from slmstudio.contract.scoring.scorer import score_document
from slmstudio.contract.values.kinds.registry import KINDS, Kind, kinds_for

PHONE = Kind("phone", frozenset({"string"}), lambda text, field: "".join(filter(str.isdigit, text)), one_line=True)


@pytest.fixture(autouse=True)
def fresh_validator() -> None:
    checks._x_slm_validator.cache_clear()


def schema(kind: str) -> dict[str, object]:
    return {"type": "object", "properties": {"phone": {"type": "string", "x-slm": {"kind": kind}}}}


def exact(compiled: CompiledSchema) -> bool:
    gold, output = {"phone": "+49 30 901820"}, '{"phone": "(49) 30/90 18 20"}'
    return score_document(compiled, text="", gold=gold, raw=output).exact


def test_a_registered_kind_is_accepted_and_compares(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS, "phone", PHONE)
    compiled = compile_schema(schema("phone"))
    (field,) = compiled.fields
    assert field.kind == "phone"
    assert not field.is_choice
    assert exact(compiled)
    assert not exact(compile_schema(schema("text")))
    assert [node.shape for node in tree_of(compiled).nodes() if node.pattern == "phone"] == ["text"]


def test_an_unknown_kind_is_rejected() -> None:
    with pytest.raises(SchemaError) as caught:
        compile_schema(schema("telephone"))
    assert "phone" in caught.value.path


def test_kinds_fit_types() -> None:
    assert kinds_for("boolean") == ("exact", "class")
    assert kinds_for("object") == ("exact",)
    assert set(kinds_for("integer")) == {"exact", "number", "money", "identifier", "class"}
    assert set(kinds_for("string")) == set(KINDS) - {"array"}
    assert kinds_for("any") == ("exact", "text", "free")
