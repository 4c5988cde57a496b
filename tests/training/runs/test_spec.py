"""Specs on disk: round trips, and rejections with the name of the invalid field."""

import time
from decimal import Decimal
from typing import Any

import pytest
import yaml

from evaluation.inference.spec import EvalSpec
from slmstudio.contract.schema.compiled import compile_schema
from training.runs.spec_import import MAX_LENGTH
from training.spec import RunSpec
from training.strict_yaml import SpecError, build

MINIMAL: dict[str, Any] = {
    "base_model": {"slug": "tiny", "path": "/models/tiny", "sha256": "ab"},
    "dataset": {"path": "/data.jsonl", "sha256": "cd"},
    "contract": {"instruction": "Extract.", "schema": {"type": "object"}, "schema_sha256": "ef"},
    "output_dir": "/out",
}


def run_yaml(**changes: Any) -> str:
    return yaml.safe_dump({**MINIMAL, **changes})


def field_of(text: str) -> str:
    with pytest.raises(SpecError) as caught:
        RunSpec.from_yaml(text)
    assert caught.value.message
    return caught.value.field


def test_spec_survives_a_round_trip() -> None:
    spec = build(RunSpec, {**MINIMAL, "learning_rate": 1e-5, "lora": {"r": 4, "targets": ["q_proj", "v_proj"]}})
    assert RunSpec.from_yaml(spec.to_yaml()) == spec
    assert spec.lora.targets == ("q_proj", "v_proj")
    text = build(RunSpec, MINIMAL).to_yaml()
    assert RunSpec.from_yaml(text).to_yaml() == text
    assert yaml.safe_load(text)["lora"]["targets"] == "all-linear"


def test_every_text_survives_a_round_trip() -> None:
    for text in (
        "a\x85b", "\x85a\x85", "a\u2028\u2029b", "\n\na", "  \na", "a \nb\t", "\ufeffa", "a😀\nb", "'\"", "- #",
        "é\u200b",
    ):  # fmt: skip
        spec = build(RunSpec, {**MINIMAL, "contract": {**MINIMAL["contract"], "instruction": text}})
        assert RunSpec.from_yaml(spec.to_yaml()).contract.instruction == text


def test_defaults_are_filled_in() -> None:
    spec = RunSpec.from_yaml(run_yaml())
    assert (spec.method, spec.prompt, spec.precision, spec.too_long) == ("lora", "chat", "auto", "windows")


def test_schema_keeps_digits_order_and_hash() -> None:
    schema = {
        "type": "object",
        "properties": {
            "total": {"type": "number", "multipleOf": Decimal("0.010")},
            "no": {"type": "string", "enum": ["yes", "null", "2026-01-14", "1e3", "0x10", "a\nb", " é "]},
            "date": {"type": ["string", "null"]},
        },
    }
    contract = {"instruction": "a\nb: c", "schema": schema, "schema_sha256": ""}
    back = RunSpec.from_yaml(build(RunSpec, {**MINIMAL, "contract": contract}).to_yaml())
    assert list(back.contract.schema["properties"]) == ["total", "no", "date"]
    assert compile_schema(back.contract.schema).hash == compile_schema(schema).hash


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"learning_rat": 1}, "learning_rat"),
        ({"learning_rate": 0}, "learning_rate"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"batch_size": 2.5}, "batch_size"),
        ({"batch_size": True}, "batch_size"),
        ({"method": "magic"}, "method"),
        ({"version": 2}, "version"),
        ({"lora": {"r": "16"}}, "lora.r"),
        ({"lora": [16]}, "lora"),
        ({"lora": {"targets": ["q_proj", 3]}}, "lora.targets"),
        ({"base_model": None}, "base_model"),
        ({"contract": {"instruction": "x"}}, "contract.schema"),
        ({"contract": {"instruction": " ", "schema": {}}}, "contract.instruction"),
        ({"activation_checkpointing": "yes please"}, "activation_checkpointing"),
    ],
)
def test_invalid_field_is_named(changes: dict[str, Any], field: str) -> None:
    assert field_of(run_yaml(**changes)).startswith(field)


def test_missing_field_and_duplicate_key_are_named() -> None:
    without = {key: value for key, value in MINIMAL.items() if key != "output_dir"}
    assert field_of(yaml.safe_dump(without)) == "output_dir"
    assert field_of(run_yaml() + "\nseed: 1\nseed: 2\n") == "seed"


def test_exponent_without_a_point_is_explained() -> None:
    with pytest.raises(SpecError, match=r"5\.0e-4"):
        RunSpec.from_yaml(run_yaml() + "\nlearning_rate: 5e-4\n")


def test_invalid_spec_is_rejected() -> None:
    for text in ("", "[]", "a: [", "a: !!python/object/apply:os.system ['true']", "? [a]\n: b", "1: 2", "&a [*a]"):
        with pytest.raises(SpecError):
            RunSpec.from_yaml(text)


def test_eval_spec_survives_a_round_trip() -> None:
    spec = build(
        EvalSpec,
        {
            "model": {"path": "/m", "sha256": ""},
            "contract": MINIMAL["contract"],
            "documents": {"path": "/d", "split": "holdout", "sha256": ""},
            "outputs": "/o.jsonl",
            "examples": [{"text": "a\n  b\n", "gold": {"total": Decimal("12.50"), "none": None}}],
        },
    )
    back = EvalSpec.from_yaml(spec.to_yaml())
    assert back == spec
    assert str(back.examples[0].gold["total"]) == "12.50"


def test_max_new_tokens_is_auto_or_a_number() -> None:
    data = {
        "model": {"path": "/m"},
        "contract": MINIMAL["contract"],
        "documents": {"path": "/d", "split": "holdout"},
        "outputs": "/o.jsonl",
    }
    for value in ("auto", 64):
        assert build(EvalSpec, {**data, "max_new_tokens": value}).max_new_tokens == value
    for invalid in (0, "many", 1.5):
        with pytest.raises(SpecError, match="max_new_tokens"):
            build(EvalSpec, {**data, "max_new_tokens": invalid})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: &a 1\nsave_every: *a", "aliases"),
        ("seed: !!timestamp x", "tags"),
        ("seed: " + "9" * 5000, "digits"),
        ("seed: " + "1:1" * 800, "digits"),
        ("learning_rate: 1" + "0" * 5000 + ".5", "digits"),
        ("learning_rate: " + ":".join(["59"] * 300) + ".5", "not YAML"),
    ],
)
def test_expanding_values_are_rejected(text: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        RunSpec.from_yaml(text)


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ('output_dir: "a\\0"', "output_dir"),
        ("learning_rate: 1" + "0" * 400, "learning_rate"),
        ("prompt: 2026-99-99", "prompt"),
        ("max_length: [[1, 2], {a: b}]", "max_length"),
    ],
)
def test_unstorable_text_is_rejected_by_its_field(value: str, field: str) -> None:
    name = value.partition(":")[0]
    text = run_yaml(**{name: "X"}).replace(f"{name}: X", value)
    with pytest.raises(SpecError) as caught:
        RunSpec.from_yaml(text)
    assert caught.value.field == field
    assert len(str(caught.value).encode()) < 200


def test_date_in_a_schema_stays_text() -> None:
    contract = {"instruction": "i", "schema": {"type": "object", "const": "2026-01-14"}, "schema_sha256": ""}
    text = build(RunSpec, {**MINIMAL, "contract": contract}).to_yaml().replace("'2026-01-14'", "2026-01-14")
    assert RunSpec.from_yaml(text).contract.schema["const"] == "2026-01-14"


SIZE = MAX_LENGTH
LONG = {
    "an alias at the end": f"a: [{'1, ' * (SIZE // 3)}1]\nb: &x 1\nc: *x",
    "a bracket that stays open": f"a: [{'1, ' * (SIZE // 3)}1]\nb: [",
    "nested lists": "[" * SIZE,
    "nested mappings": "{a: " * (SIZE // 4),
    "keys": "".join(f"k{number}: 1\n" for number in range(SIZE // 9)),
    "a number": f"seed: {'9' * SIZE}",
    "an exponent": f"seed: 1.0e+{'9' * SIZE}",
    "sexagesimal": f"seed: {'1:' * (SIZE // 2)}1",
    "documents": "---\n" * (SIZE // 4),
}


def test_long_files_take_linear_time() -> None:
    for name, text in LONG.items():
        started = time.process_time()
        with pytest.raises(SpecError):
            RunSpec.from_yaml(text)
        assert time.process_time() - started < 5, name
