"""The sample invoices: seeded, valid, consistent with their text, tagged, and short."""

import hashlib
import os
import re
import subprocess
import sys
from datetime import date
from functools import cache
from pathlib import Path

import pytest

from labeling.demo.samples import Sample, generate
from labeling.demo.templates import template
from labeling.failure_tags import FAILURE_TAGS
from slmstudio.contract.rules.invariants import check
from slmstudio.contract.schema.compiled import compile_schema, dumps

MADE_OF = ("invoice_id", "vendor", "purchase_order")


@cache
def made() -> tuple[Sample, ...]:
    return tuple(generate(300, 17))


def collapsed(text: str) -> str:
    return " ".join(text.split())


def digest(samples: tuple[Sample, ...]) -> str:
    rows = "\n".join(f"{s.external_id} {s.text} {dumps(s.gold)} {s.tags} {s.language}" for s in samples)
    return hashlib.sha256(rows.encode()).hexdigest()


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes_in_another_process() -> None:
    code = (
        "import sys; sys.path.insert(0, '.')\n"
        "from tests.labeling.demo.test_samples import digest, generate\n"
        "print(digest(tuple(generate(80, 5))))"
    )
    root = Path(__file__).resolve().parents[3]
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=root,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }

    assert digests == {digest(tuple(generate(80, 5)))}


def test_gold_is_valid_canonical_and_printed_unless_it_is_tagged() -> None:
    compiled = compile_schema(template("invoice").schema)
    for sample in made():
        assert compiled.validate(sample.gold) == [], sample
        assert check(compiled.schema, sample.gold) == [], sample
        assert compiled.canonical(sample.gold) == dumps(sample.gold), sample
        for name in MADE_OF:
            value = sample.gold.get(name)
            if value and not ("unreadable_value" in sample.tags and name == "invoice_id"):
                assert value in collapsed(sample.text), (name, sample)
        for value in filter(None, (sample.gold.get("date"), sample.gold.get("due_date"))):
            day = date.fromisoformat(value)
            assert re.search(rf"(?<!\d)0?{day.day}(?!\d)", sample.text), sample
            assert str(day.year) in sample.text, sample
        assert ("missing_field" in sample.tags) == (None in sample.gold.values()), sample


def test_tags_are_those_of_the_vocabulary() -> None:
    assert {tag for sample in made() for tag in sample.tags} <= set(FAILURE_TAGS)
    assert sum(not sample.tags for sample in made()) > 15  # some are easy
    damaged = [sample for sample in made() if "unreadable_value" in sample.tags]
    assert len(damaged) > 5
    assert all("ocr_noise" in sample.tags and sample.gold["invoice_id"] not in sample.text for sample in damaged)
    missing = {name for sample in made() for name, value in sample.gold.items() if value is None}
    assert missing == {"invoice_id", "date", "vendor", "total_amount"}


@pytest.mark.slow
@pytest.mark.real_model
def test_document_and_completion_are_at_most_200_tokens() -> None:
    from tokenizers import Tokenizer

    from tests.training.ml_data import smollm2

    tokenizer = Tokenizer.from_file(str(smollm2() / "tokenizer.json"))
    for sample in made():
        text = sample.text + dumps(sample.gold)
        assert len(tokenizer.encode(text, add_special_tokens=False).ids) <= 200, sample
