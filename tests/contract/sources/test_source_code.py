"""Models and types in source code, read as the libraries read them, with errors at their line."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from slmstudio.contract.schema.compiled import CompiledSchema, compile_schema
from slmstudio.contract.sources.detection import draft_schema
from slmstudio.contract.sources.drafts import Draft, SourceError
from slmstudio.contract.translation.translation import translate, translate_value
from tests.contract import test_generated_schemas
from tests.contract.translation.generators import pydantic_models

PYDANTIC = """
import datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated, Literal, Optional
from pydantic import BaseModel, ConfigDict, Field, conlist, constr, field_validator

Money = Annotated[Decimal, Field(ge=0, decimal_places=2, description="in EUR")]

class Base(BaseModel):
    id: constr(min_length=3)

class Line(Base):
    \"\"\"A line.\"\"\"
    amount: Money
    quantity: Annotated[int, Field(gt=0)] = 1
    kind: Literal["a", "b", None] = None

class Invoice(Base):
    model_config = ConfigDict(extra="forbid")
    lines: conlist(Line, min_length=1) = Field(..., alias="lineItems")
    due: Optional[datetime.date] = Field(None, title="Due date")
    currency: "Currency"

    @field_validator("due")
    def check(cls, value):
        return value

class Currency(str, Enum):
    EUR = "EUR"
    USD = "USD"
"""
TYPESCRIPT = """
import { x } from "y";
export enum Currency { EUR = "EUR", USD = 'USD', }
interface Base { readonly id: string }
/** A line. */
interface Line extends Base {
  /** What was sold.
   * @maxLength 120 */
  description: string
  quantity?: number
  kind: "a" | "b" | null
  parts?: Line[]
  total(): number;
}
type Page<T> = { items: T[]; next?: string | null };
const ignored = { a: 1 };
export type Invoice = Base & {
  currency: Currency;
  lines: Array<Line>
  rates: Record<string, number>; page: Page<Pick<Line, "id" | "kind">>
  point: [x: number, y?: string]
  paid: true | false, n: -1 | 2
}
"""
ZOD = """
import { z } from "zod";
const Currency = z.enum(["EUR", "USD"]);
const Base = z.object({ id: z.string().min(3) });
const Line = Base.extend({
  description: z.string().describe("What was sold"),
  quantity: z.number().int().positive().optional(),
  code: z.string().regex(/^[A-Z]{2}\\/\\d+$/).nullable(),
}).strict();
export const Invoice = z.object({
  issued: z.iso.date(),
  due: z.string().date().nullish(),
  currency: Currency.default("EUR"),
  lines: z.array(Line).min(1),
  pay: z.discriminatedUnion("kind", [z.object({ kind: z.literal("card") }), z.object({ kind: z.literal("iban") })]),
}).refine((v) => v.due > v.issued);
"""


def fields(schema: Any) -> dict[str, Any]:
    return dict(schema["properties"])


def test_pydantic_source() -> None:
    draft = draft_schema(PYDANTIC)
    assert (draft.source, draft.name, draft.names) == ("pydantic", "Invoice", ("Base", "Line", "Invoice"))
    assert draft.schema["required"] == ["id", "lineItems", "currency"]
    assert draft.schema["additionalProperties"] is False
    found = fields(draft.schema)
    assert found["due"] == {"type": ["string", "null"], "format": "date", "title": "Due date"}
    assert found["currency"] == {"type": "string", "enum": ["EUR", "USD"]}
    assert found["lineItems"]["minItems"] == 1
    row = fields(found["lineItems"]["items"])
    assert found["lineItems"]["items"]["required"] == ["id", "amount"]
    assert row["amount"]["minimum"] == 0
    assert row["amount"]["description"] == "in EUR"
    assert row["kind"] == {"type": ["string", "null"], "enum": ["a", "b", None]}
    line = 1 + PYDANTIC[: PYDANTIC.index("def check")].count("\n")
    assert any(f"line {line}" in note for note in draft.notes)
    assert fields(draft_schema(PYDANTIC, "Line").schema).keys() == {"id", "amount", "quantity", "kind"}


def places(compiled: CompiledSchema) -> dict[str, Any]:
    """What forms and scores depend on."""
    return {
        field.pattern: (field.type if field.type != "any" else "", field.format, field.required, set(field.enum))
        for field in compiled.fields
    }


@pytest.mark.parametrize(
    "model", [pydantic_models.Invoice, pydantic_models.Node, pydantic_models.Total, pydantic_models.Line]
)
def test_source_gives_what_pydantic_gives(model: Any) -> None:
    text = Path(str(pydantic_models.__file__)).read_text()
    compare(model, text)


@pytest.mark.parametrize("name", ["Invoice", "Part", "Loose", "Line", "Counts"])
def test_models_of_the_tests_are_read(name: str) -> None:
    compare(getattr(test_generated_schemas, name), Path(str(test_generated_schemas.__file__)).read_text())


def compare(model: Any, text: str) -> None:
    ours = places(compile_schema(draft_schema(text, model.__name__).schema))
    theirs = places(translate_value(model.model_json_schema(mode="validation")).compiled)
    money = {pattern for pattern, (type_, *_) in theirs.items() if not type_}  # Decimal is a number or a text there
    assert {p: one for p, one in ours.items() if p not in money} == {
        p: one for p, one in theirs.items() if p not in money
    }
    assert money <= ours.keys()


GENERATORS = Path(str(pydantic_models.__file__)).with_name("schemas.mjs").read_text()
FIXTURES = Path(str(pydantic_models.__file__)).parents[1] / "fixtures"


def between(start: str, end: str) -> str:
    """A part of the source of the generators."""
    return GENERATORS.split(start, 1)[1].split(end, 1)[0]


INVOICE = re.sub(
    r"z\.\S+ \? (.*) : .*,",
    r"\1,",
    between("const make = (z) => {", "    node,\n").replace("return {\n", "").replace("invoice:", "const invoice ="),
)
FORMATS = "const formats = z.object({" + between('put("zod4.duration"', "unrepresentable").split("({", 1)[1]
TYPES = between('"types.ts",', "`,\n);").replace("@format date", "").replace("\\", "").strip(" \n`")


@pytest.mark.parametrize(
    ("name", "text", "fixture"),
    [
        ("invoice", INVOICE, "zod-4:zod4.draft-2020-12.input.invoice"),
        ("invoice", INVOICE, "zod-3:zod3.jsonSchema7.false.invoice"),
        ("formats", FORMATS, "zod-4:zod4.duration"),
        ("Invoice", TYPES, "ts-json-schema-generator:ts.Invoice.export"),
    ],
)
def test_source_gives_what_the_generators_give(name: str, text: str, fixture: str) -> None:
    file, key = fixture.split(":")
    theirs = translate(json.dumps(json.loads((FIXTURES / f"{file}.json").read_text())[key])).compiled
    ours = compile_schema(draft_schema(text, name).schema)
    # zod writes some formats as patterns, and its versions differ in whether these may be missing
    left, right = ({path: (one[0], *one[2:]) for path, one in places(found).items()} for found in (ours, theirs))
    for path in ("any", "unknown", "cat") if "zod" in file else ():
        assert (path in left) == (path in right)
        left.pop(path, None)
        right.pop(path, None)
    assert left == right


def test_typescript_source() -> None:
    draft = draft_schema(TYPESCRIPT)
    assert (draft.source, draft.name) == ("typescript", "Invoice")
    found = fields(draft.schema)
    assert list(found) == ["id", "currency", "lines", "rates", "page", "point", "paid", "n"]
    line = draft.schema["$defs"]["Line"]
    assert line["required"] == ["id", "description", "kind"]
    assert line["properties"]["description"] == {"type": "string", "maxLength": 120, "description": "What was sold."}
    assert line["properties"]["kind"] == {"type": ["string", "null"], "enum": ["a", "b", None]}
    assert found["page"]["properties"]["items"]["items"]["required"] == ["id", "kind"]
    assert found["page"]["required"] == ["items"]
    assert found["paid"] == {"type": "boolean"}
    assert found["n"] == {"type": "number", "enum": [-1, 2]}
    assert found["point"]["minItems"] == 1
    assert any("total" in note for note in draft.notes)


def test_zod_source() -> None:
    draft = draft_schema(ZOD)
    assert (draft.source, draft.name) == ("zod", "Invoice")
    found = fields(draft.schema)
    assert draft.schema["required"] == ["issued", "lines", "pay"]
    assert found["due"] == {"type": ["string", "null"], "format": "date"}
    assert found["currency"] == {"type": "string", "enum": ["EUR", "USD"], "default": "EUR"}
    line = found["lines"]["items"]
    assert line["required"] == ["id", "description", "code"]
    assert line["additionalProperties"] is False
    assert line["properties"]["quantity"] == {"type": "integer", "exclusiveMinimum": 0}
    assert [form["properties"]["kind"]["const"] for form in found["pay"]["anyOf"]] == ["card", "iban"]
    assert any("refine" in note for note in draft.notes)


def test_types_that_contain_themselves() -> None:
    texts = (
        "class A(BaseModel):\n    name: str\n    below: list['A'] = []\n",
        "interface A { name: string; below?: A[] }",
        "const A = z.object({ name: z.string(), get below() { return z.array(A).optional(); } });",
    )
    for text in texts:
        draft: Draft = draft_schema(text)
        assert draft.schema["properties"]["below"]["items"] == {"$ref": "#"}
        assert draft.schema["required"] == ["name"]


@pytest.mark.parametrize(
    ("text", "line", "part"),
    [
        ("class A(BaseModel):\n    x: int\n    y: Foo\n", 3, "Foo"),
        ("class A(BaseModel):\n    x: int =\n", 2, "Python"),
        ("class A:\n    x: int\n", 0, "no type"),
        ("class A(BaseModel):\n    x: int\n    y: make(3)\n", 3, "make"),
        ("interface A {\n  x: Foo\n}", 2, "Foo"),
        ("interface A {\n  x string\n}", 2, ":"),
        ("interface A {\n  x: string", 2, "}"),
        ("type A = {\n  a: string\n  b: keyof A }", 3, "keyof"),
        ("type A = {\n  a: (x: number) => void }", 2, "function"),
        ("type A = {\n  a: string extends B ? 1 : 2 }", 2, "conditional"),
        ("const A = z.object({\n  a: z.string(),\n  b: z.function() })", 3, "z.function"),
        ("const A = z.object({\n  a: Line })", 2, "Line"),
        ("const A = z.object({\n  a: z.string(", 2, ")"),
    ],
)
def test_errors_name_their_line(text: str, line: int, part: str) -> None:
    with pytest.raises(SourceError) as caught:
        draft_schema(text)
    assert caught.value.line == line
    assert part in caught.value.message


def test_source_is_never_executed(tmp_path: Path) -> None:
    target = tmp_path / "made"
    text = f"open({str(target)!r}, 'w')\nclass A(BaseModel):\n    x: int = open({str(target)!r}, 'w')\n"
    assert fields(draft_schema(text).schema).keys() == {"x"}
    assert not target.exists()
