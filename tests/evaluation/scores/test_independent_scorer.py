"""The studio's figures beside those of a script that was written from the protocol and shares no line with it."""

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.models import EvalRun
from labeling.datasets import freeze
from labeling.datasets import queries as dataset_queries
from labeling.demo.templates import template
from labeling.imports.bulk_copy import import_rows
from labeling.imports.rows import ParsedRow
from labeling.models import Project
from labeling.projects.services import create_project
from slmstudio.contract.json_text import dumps, loads
from slmstudio.contract.schema.compiled import CompiledSchema, compile_schema
from slmstudio.contract.scoring.scorer import class_scores, cord, score_document, slices, sroie, summarize
from slmstudio.storage import artifacts
from tests.evaluation import independent_scorer
from tests.evaluation.factories import Say, World, evaluated, pretend

SCRIPT = Path(independent_scorer.__file__)
DOCUMENT = {
    "json": "valid_json",
    "valid": "schema_valid",
    "required": "required_present",
    "no_extra_keys": "no_extra_keys",
    "exact": "document_exact",
}


def same(studio: dict[str, Any], script: dict[str, Any], *, rows: bool = False) -> None:
    """Every figure that both have. With ``rows`` a value that is wrong here may be missing and extra there."""
    documents = script["documents"]
    for name, ours in DOCUMENT.items():
        assert (studio[ours]["k"], studio[ours]["n"]) == (documents[name], documents["n"]), name
    if studio["invariants_hold"]["n"]:
        assert studio["invariants_hold"]["k"] == documents["invariants"]
    if not rows:
        right = studio["field_exact"]
        assert (right["k"], right["n"]) == (documents["right"], documents["fields"])
    for name in ("precision", "recall", "f1"):
        assert studio["micro"][name] == pytest.approx(script["micro"][name]), name
        assert studio["macro"][name] == pytest.approx(script["macro"][name]), name
    assert studio["per_field"].keys() == script["fields"].keys()
    for pattern, ours in studio["per_field"].items():
        theirs = script["fields"][pattern]
        for name in ("precision", "recall", "f1"):
            assert ours[name] == pytest.approx(theirs[name]), (pattern, name)
        if not rows:
            assert (ours["k"], ours["n"]) == (theirs["correct"], theirs["n"]), pattern
            _same_outcomes(ours["outcomes"], theirs["outcomes"])
    if not rows:
        assert studio["anls"] == pytest.approx(script["anls"])


def _same_outcomes(studio: dict[str, int], script: dict[str, int]) -> None:
    """Whether a wrong value is invented is left out here: the studio looks through OCR errors and languages, and for
    whole words, where the script looks for letters. What both have to call so is compared further below.
    """
    for name in ("correct", "missing", "both_absent", "unscorable"):
        assert studio.get(name, 0) == script[name], name
    given = [sum(outcomes.get(name, 0) for name in ("wrong", "extra", "hallucinated")) for outcomes in (studio, script)]
    assert given[0] == given[1]


def same_classes(studio: dict[str, Any], script: dict[str, Any]) -> None:
    """Confusion matrix and the figures of each class."""
    assert studio.keys() == script.keys()
    for pattern, ours in studio.items():
        theirs = script[pattern]
        cells = {(gold, output): n for gold, row in ours["matrix"].items() for output, n in row.items()}
        assert cells == theirs["matrix"]
        assert (ours["decided"]["k"], ours["decided"]["n"]) == (theirs["decided"], theirs["n"])
        assert ours["right"]["k"] == theirs["right"]
        for name, figures in ours["classes"].items():
            for part in ("precision", "recall", "f1"):
                assert figures[part] == pytest.approx(theirs["classes"][name][part]), (name, part)


def second_opinion(run: EvalRun, folder: Path) -> dict[str, Any]:
    """What the script says of a run, from the files that the studio exports."""
    schema = folder / "schema.json"
    schema.write_text(dumps(run.dataset.schema_version.compiled.schema), encoding="utf-8")
    outputs = artifacts.local_path(run.outputs_key)
    return independent_scorer.score_files(schema, dataset_queries.file_path(run.dataset), outputs, run.split)


def test_an_evaluation_of_invoices_has_the_same_figures(world: World, tmp_path: Path) -> None:
    run = evaluated(world, pretend(6, spoil=0.35, invalid=0.15))
    script = second_opinion(run, tmp_path)
    assert script["documents"]["n"] == 12
    assert 0 < script["documents"]["valid"] < 12
    same(run.scores, script)
    assert run.scores["slices"].keys() == script["tags"].keys()
    for tag, theirs in script["tags"].items():
        ours = run.scores["slices"][tag]
        assert ours["document_exact"]["k"] == theirs["exact"]
        assert (ours["field_exact"]["k"], ours["field_exact"]["n"]) == (theirs["right"], theirs["fields"])


def test_it_runs_as_a_script(world: World, tmp_path: Path) -> None:
    run = evaluated(world, pretend(6, spoil=0.35))
    figures = second_opinion(run, tmp_path)
    files = [tmp_path / "schema.json", dataset_queries.file_path(run.dataset), artifacts.local_path(run.outputs_key)]
    command = [sys.executable, str(SCRIPT), *map(str, files), run.split]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert json.loads(printed.stdout)["micro"] == figures["micro"]


PEOPLE = ["Ada Birch", "Carl Dunn", "Eve Finch", "Gus Hale", "Ida Joss"]
PEOPLE += ["Kim Lund", "Mia Nash", "Otto Pike", "Quin Reed", "Sue Teal"]
THINGS = ["kettle", "anchor", "violin", "ladder", "candle", "saddle", "mirror", "basket", "hammer", "pillow"]


def redaction(world: World) -> Project:
    """Ten texts with two to four stretches of personal data each; half of them are held out."""
    members = {world.engineer: "engineer"}
    project = create_project(
        owner=world.owner, name="Redaction", slug="redaction", template="pii-redaction", members=members
    )
    rows = []
    for index, person in enumerate(PEOPLE):
        mail = f"{person.split()[0].lower()}{index}@{THINGS[index]}.example"
        phone, number = f"0{index}9 55{index}1 {index}20", f"ID{index}77{index}"
        said = [("person", person), ("email", mail), ("phone", phone), ("id_number", number)][: 2 + index % 3]
        words = " ".join(f"{THINGS[(index * 3 + step) % 10]}{index}{step}" for step in range(30))
        text = f"{words}. " + " and ".join(value for _, value in said)
        gold = {"spans": [{"type": kind, "text": value} for kind, value in said]}
        rows.append(ParsedRow(index + 1, {"id": f"t{index}", "text": text, "gold": gold}))
    result = import_rows(project=project, rows=rows, source="test")
    assert result.rejected == 0, result.rejects
    return project


def hasty(row: dict[str, Any]) -> dict[str, Any]:
    """Another order, one span less, one type mistaken, one too many; for one document no JSON."""
    rng = random.Random(row["id"])
    spans = [dict(span) for span in row["gold"]["spans"]]
    rng.shuffle(spans)
    spans[0]["type"] = rng.choice(["person", "other", "email"])
    if len(spans) > 2:
        spans.pop()
    if rng.random() < 0.5:
        spans.append({"type": "other", "text": "nobody"})
    return {"raw": "{" if rng.random() < 0.2 else dumps({"spans": spans})}


def test_an_evaluation_of_lists_with_classes_has_the_same_figures(world: World, tmp_path: Path) -> None:
    world.project = redaction(world)
    world.dataset = freeze.freeze(project=world.project, user=world.owner, validation_share=0, holdout_share=0.6)
    say: Say = hasty
    run = evaluated(world, say, tuned=False)
    script = second_opinion(run, tmp_path)
    assert script["documents"]["n"] == 6
    same(run.scores, script, rows=True)
    scores = [row.score for row in run.outputs.all()]
    assert sum(len(score["fields"]) for score in scores) > 20
    assert run.scores["classes"]["spans[].type"]["right"]["k"] == script["classes"]["spans[].type"]["right"]
    assert run.scores["cord"]["f1"] == pytest.approx(script["cord"]["f1"])
    assert run.scores["cord"]["tree"] == pytest.approx(script["cord"]["tree"])


def pure(compiled: CompiledSchema, dataset: list[dict[str, Any]], outputs: dict[str, Any]) -> dict[str, Any]:
    """The studio's figures without a database."""
    scores = [
        score_document(
            compiled,
            text=row["text"],
            gold=row["gold"],
            raw=outputs[row["id"]]["raw"],
            finish_reason=outputs[row["id"]]["finish_reason"],
        )
        for row in dataset
    ]
    pairs = [(row["gold"], score.output) for row, score in zip(dataset, scores, strict=True)]
    return {
        **summarize(scores),
        "classes": class_scores(compiled, scores),
        "sroie": sroie(pairs),
        "cord": cord(pairs, 10**9),
        "slices": slices(scores, [row.get("tags", []) for row in dataset]),
    }


def test_real_receipts_have_the_same_figures_under_every_protocol(shared: Path) -> None:
    with (shared / "data/sroie/receipts.jsonl").open("rb") as file:
        dataset = [loads(line) for _, line in zip(range(120), file, strict=False)]
    say, outputs = pretend(8, spoil=0.3, invalid=0.05), {}
    for row in dataset:
        row["gold"] = {name: value for name, value in row["gold"].items() if value is not None}
        outputs[row["id"]] = {"finish_reason": "stop", **say(row)}
    compiled = compile_schema(template("receipt").schema)
    studio, script = pure(compiled, dataset, outputs), independent_scorer.score(compiled.schema, dataset, outputs)
    same(studio, script)
    assert 0.5 < script["sroie"]["f1"] < 0.9
    for name in ("precision", "recall", "f1"):
        assert studio["sroie"][name] == pytest.approx(script["sroie"][name])
    for name in ("f1", "tree"):
        assert studio["cord"][name] == pytest.approx(script["cord"][name])


_days = st.dates().map(lambda day: day.isoformat())
_cents = st.integers(-(10**7), 10**7).map(lambda cents: loads(f"{cents / 100:.2f}"))
LEAVES: list[tuple[dict[str, Any], st.SearchStrategy[Any]]] = [
    ({"type": "string"}, st.text("ab .", max_size=4)),
    ({"type": "string", "x-slm": {"kind": "exact"}}, st.text("ab .", max_size=4)),
    ({"type": "string", "maxLength": 3, "x-slm": {"ignore": ["case", "spacing"]}}, st.text("aB ", max_size=5)),
    ({"type": "string", "x-slm": {"kind": "identifier"}}, st.text("aA 1-", max_size=4)),
    ({"type": "string", "x-slm": {"kind": "address"}}, st.text("aA 1,", max_size=4)),
    ({"type": "string", "x-slm": {"kind": "free"}}, st.text("ab", max_size=3)),
    ({"type": "string", "format": "date"}, _days),
    ({"type": "number", "multipleOf": 0.01, "x-slm": {"kind": "money", "locale": "en_US"}}, _cents),
    (
        {"type": "string", "x-slm": {"kind": "money", "locale": "en_US"}},
        st.sampled_from(
            ["EUR 100.00", "USD 100.00", "100.00", "€100", "$100", "£100", "$100 CAD", "CAD$100", "USD$100"]
        ),
    ),
    (
        {"type": "string", "x-slm": {"kind": "money", "locale": "en_US", "currency": "USD"}},
        st.sampled_from(["$5", "5", "CAD 5", "$5 USD"]),
    ),
    (
        {"type": "string", "x-slm": {"kind": "money", "locale": "en_US", "currency": "COP"}},
        st.sampled_from(["$5", "5", "USD 5", "COP$5"]),
    ),
    ({"type": "integer"}, st.integers(-5, 5)),
    ({"type": "string", "enum": ["a", "b", "c"]}, st.sampled_from(["a", "b", "c", "d"])),
]


@st.composite
def flat_runs(draw: st.DrawFn) -> tuple[dict[str, Any], list[dict[str, Any]], dict[str, Any]]:
    """A schema without lists, documents with gold, outputs that are often near it and at times broken."""
    fields = {name: draw(st.sampled_from(LEAVES)) for name in draw(st.sets(st.sampled_from("abcdef"), min_size=1))}
    properties = {name: {**schema, "type": [schema["type"], "null"]} for name, (schema, _) in sorted(fields.items())}
    for schema in properties.values():
        if "enum" in schema:
            schema["enum"] = [*schema["enum"], None]
    schema = {
        "type": "object",
        "properties": properties,
        "required": sorted(fields)[::2],
        "additionalProperties": draw(st.booleans()),
    }
    dataset, outputs = [], {}
    validator = compile_schema(schema)
    for index in range(draw(st.integers(1, 4))):
        values = {name: st.none() | strategy for name, (_, strategy) in fields.items()}
        gold = {name: draw(value) for name, value in values.items()}
        for problem in validator.validate(gold):
            gold[problem.path] = None
        output = {name: draw(st.just(gold[name]) | value) for name, value in values.items()}
        for name in draw(st.sets(st.sampled_from(sorted(fields)), max_size=1)):
            del output[name]
        for side in (gold, output):
            side |= draw(st.dictionaries(st.sampled_from("xy"), st.none() | st.sampled_from("ab"), max_size=2))
        raw = draw(st.sampled_from([dumps(output)] * 4 + [dumps(output)[:-1], dumps([output])]))
        dataset.append({"id": f"d{index}", "text": "a b 1", "gold": gold, "tags": []})
        outputs[f"d{index}"] = {"raw": raw, "finish_reason": draw(st.sampled_from(["stop"] * 5 + ["length", "error"]))}
    return schema, dataset, outputs


@pytest.mark.slow
@given(flat_runs())
@settings(max_examples=80, deadline=None)
def test_any_run_without_lists_has_the_same_figures(
    run: tuple[dict[str, Any], list[dict[str, Any]], dict[str, Any]],
) -> None:
    schema, dataset, outputs = run
    compiled = compile_schema(schema)
    studio, script = pure(compiled, dataset, outputs), independent_scorer.score(loads(dumps(schema)), dataset, outputs)
    # A list is JSON, though not what was asked for: the script has one word for both.
    studio["valid_json"]["k"] = script["documents"]["json"]
    same(studio, script)
    same_classes(studio["classes"], script["classes"])
    assert studio["cord"]["f1"] == pytest.approx(script["cord"]["f1"])
    assert studio["cord"]["tree"] == pytest.approx(script["cord"]["tree"])


WORDS = ["amber", "cobalt", "indigo", "quartz", "topaz", "walnut"]
AMOUNTS = ["124.85", "12485.00", "37.20", "910.00", "6.55"]
INVOICE = {
    "type": "object",
    "properties": {
        "vendor": {"type": ["string", "null"], "pattern": "^[a-z ]+$", "x-slm": {"evidence": "required"}},
        "total": {"type": ["number", "null"], "multipleOf": 0.01, "x-slm": {"kind": "money", "evidence": "required"}},
        "day": {"type": ["string", "null"], "format": "date", "x-slm": {"evidence": "expected"}},
        "due": {"type": ["string", "null"], "format": "date", "x-slm": {"evidence": "expected"}},
        "note": {"type": ["string", "null"], "x-slm": {"evidence": "none"}},
    },
    "required": ["vendor", "total", "day", "due", "note"],
}
_vendors = st.lists(st.sampled_from(WORDS), min_size=1, max_size=2).map(" ".join)
_misread = st.sampled_from(["ambex", "amberr", "cobaltt", "inidgo", "quarz", "toppaz walnut", "walmutt"])
_totals = st.sampled_from(AMOUNTS).map(loads)
_off_totals = st.sampled_from(["124.86", "12486.00", "37.29", "910.1", "16.55", "6.56"]).map(loads)
_shown_days = st.sampled_from(["2026-01-14", "2026-03-09", "2031-12-30"])

_off_days = st.sampled_from(["2026-01-15", "2026-02-14", "2026-03-19"])


@st.composite
def clear_runs(draw: st.DrawFn) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Documents of whole words and plain numbers, so that there is no doubt about what they say."""
    dataset, outputs = [], {}
    for index in range(draw(st.integers(1, 3))):
        gold = {"vendor": draw(_vendors), "total": draw(_totals), "day": draw(_shown_days), "note": "none"}
        text = f"{gold['vendor']} / {draw(_vendors)} / DUE {gold['total']} / ON {gold['day']}"
        output = {
            "vendor": draw(st.just(gold["vendor"]) | _vendors | _vendors.map(str.upper) | st.none() | _misread),
            "total": draw(st.just(gold["total"]) | _totals | st.sampled_from(AMOUNTS) | st.none() | _off_totals),
            "day": draw(st.just(gold["day"]) | _shown_days | st.just("9999-99-99") | _off_days),
            "due": draw(st.none() | _off_days),
            "note": draw(_vendors),
            **draw(st.dictionaries(st.sampled_from(["tax", "terms"]), _vendors | st.none(), max_size=2)),
        }
        gold["vendor"] = draw(st.just(gold["vendor"]) | st.none())
        gold["day"] = draw(st.just(gold["day"]) | st.none())
        gold["due"] = draw(st.none() | _off_days)
        gold |= draw(st.dictionaries(st.sampled_from(["tax", "terms"]), _vendors, max_size=1))
        dataset.append({"id": f"d{index}", "text": text, "gold": gold, "tags": []})
        outputs[f"d{index}"] = {"raw": dumps(output), "finish_reason": "stop"}
    return dataset, outputs


@pytest.mark.slow
@given(clear_runs())
@settings(max_examples=80, deadline=None)
def test_both_call_the_same_values_invented(run: tuple[list[dict[str, Any]], dict[str, Any]]) -> None:
    dataset, outputs = run
    studio = pure(compile_schema(INVOICE), dataset, outputs)
    script = independent_scorer.score(loads(dumps(INVOICE)), dataset, outputs)
    same(studio, script)
    for pattern, ours in studio["per_field"].items():
        theirs = script["fields"][pattern]["outcomes"]
        for name in ("wrong", "extra", "hallucinated"):
            assert ours["outcomes"].get(name, 0) == theirs[name], (pattern, name)
