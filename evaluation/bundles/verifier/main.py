"""Checks an evidence bundle: ``python verify.py [BUNDLE.zip] [--sha256 HASH] [--public-key FILE.pub]``.

Exit codes: 0 nothing is wrong, 1 something is, 2 the bundle cannot be read or the arguments are wrong. Without
``--sha256`` or a signature, a bundle that was changed consistently is not recognized, and the output says so.
"""

import argparse
import hashlib
import json
import sys
import zipfile
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from .documents import ACCEPTED, CORRECT, Checker
from .signature import SignatureError, verify
from .verdicts import INAPPLICABLE, PASS, Evidence, check_gate

LIST, SIGNATURE, MANIFEST = "bundle.json", "bundle.json.sig", "manifest.json"
_MAX_SHOWN = 10

Row = dict[str, Any]


class Report:
    """Prints the result of each check, and counts what is wrong."""

    def __init__(self) -> None:
        self.failed = 0

    def ok(self, text: str) -> None:
        """A check that found nothing wrong."""
        print(f"ok      {text}")

    def note(self, text: str) -> None:
        """Something that was not checked."""
        print(f"note    {text}")

    def check(self, text: str, problems: Sequence[str]) -> None:
        """A check with what it found."""
        if not problems:
            self.ok(text)
            return
        self.failed += 1
        print(f"FAILED  {text}")
        for problem in problems[:_MAX_SHOWN]:
            print(f"        {problem}")
        if len(problems) > _MAX_SHOWN:
            print(f"        and {len(problems) - _MAX_SHOWN} more")


class Bundle:
    """The files of a bundle, from a zip file or a folder."""

    def __init__(self, path: Path) -> None:
        if path.is_dir():
            names = [one.relative_to(path).as_posix() for one in path.rglob("*") if one.is_file()]
            self.files = {name: (path / name).read_bytes() for name in names if "__pycache__" not in name}
        else:
            with zipfile.ZipFile(path) as archive:
                self.files = {one.filename: archive.read(one) for one in archive.infolist()}

    def __contains__(self, name: str) -> bool:
        return name in self.files

    def sha256(self, name: str) -> str:
        """The hash of a file; "" where it is missing."""
        return hashlib.sha256(self.files[name]).hexdigest() if name in self.files else ""

    def json(self, name: str) -> Any:
        """The value in a JSON file, numbers exact."""
        return _loads(self.files[name].decode())

    def rows(self, name: str) -> Iterator[Row]:
        """The rows of a file of JSON lines."""
        return (_loads(line) for line in self.files[name].decode().split("\n") if line.strip())


def _loads(text: str) -> Any:
    return json.loads(text, parse_float=Decimal)


def main(arguments: Sequence[str] | None = None) -> int:
    """Checks a bundle; returns the exit code."""
    parser = argparse.ArgumentParser(description="Checks an evidence bundle of a gate report.")
    parser.add_argument("bundle", nargs="?", type=Path, default=Path(__file__).resolve().parents[1])
    parser.add_argument("--sha256", default="", help="hash of the bundle, or of its manifest, from the report's page")
    parser.add_argument("--public-key", type=Path, help="PEM file of the key that bundles are signed with")
    options = parser.parse_args(arguments)
    report = Report()
    try:
        bundle = Bundle(options.bundle)
        listed = bundle.json(LIST)
        report.check("every file has its listed hash", list(_hash_problems(bundle, listed)))
        report.check("the parts have the hashes of the manifest", list(_manifest_problems(bundle, listed)))
        key = options.public_key.read_text() if options.public_key else ""
        _check_origin(bundle, listed, options.sha256.strip().lower(), key, report)
        if not report.failed:
            _check_content(bundle, listed, report)
    except (OSError, zipfile.BadZipFile, ValueError, KeyError, TypeError, AttributeError, NotImplementedError) as error:
        print(f"FAILED  the bundle cannot be read: {type(error).__name__}: {error}")
        return 2 if not report.failed else 1
    print("Nothing is wrong." if not report.failed else f"{report.failed} checks failed.")
    return 1 if report.failed else 0


def _hash_problems(bundle: Bundle, listed: Row) -> Iterator[str]:
    expected = {one["path"]: one["sha256"] for one in listed["files"]}
    for name, sha256 in expected.items():
        if bundle.sha256(name) != sha256:
            yield f"{name} was changed" if name in bundle else f"{name} is missing"
    for name in bundle.files.keys() - expected.keys() - {LIST, SIGNATURE}:
        yield f"{name} is not listed"


def _manifest_problems(bundle: Bundle, listed: Row) -> Iterator[str]:
    """The manifest is what the decision on the report rests on."""
    manifest = bundle.json(MANIFEST)
    if bundle.sha256(MANIFEST) != listed["manifest_sha256"]:
        yield f"{MANIFEST} is not the manifest of the report"
    for one in listed["files"]:
        if one["part"] and manifest.get(one["part"]) != bundle.sha256(one["path"]):
            yield f"{one['path']} is not the one of the manifest ({one['part']})"
    decision = bundle.json("decision.json")
    if decision.get("manifest_sha256") and decision["manifest_sha256"] != listed["manifest_sha256"]:
        yield "the decision is about another manifest"


def _check_origin(bundle: Bundle, listed: Row, sha256: str, key: str, report: Report) -> None:
    """Whether the bundle is the one of the report: by its hash or its signature."""
    own = bundle.sha256(LIST)
    if sha256 == listed["manifest_sha256"]:
        report.ok("the manifest has the given hash")
        loose = [one["path"] for one in listed["files"] if not one["part"] and one["path"] != MANIFEST]
        report.note(f"the hash of the manifest does not cover {', '.join(loose)}")
    elif sha256:
        report.check("the bundle has the given hash", [] if sha256 == own else [f"its hash is {own}"])
    if key and SIGNATURE not in bundle:
        report.check("the bundle is signed", [f"{SIGNATURE} is missing"])
    elif key:
        problems = []
        try:
            verify(bundle.files[SIGNATURE], key, LIST, bundle.files[LIST])
        except SignatureError as error:
            problems.append(str(error))
        report.check("the signature is of the given key", problems)
    elif not sha256:
        report.note(f"without --sha256 or --public-key, who made this bundle is not checked (its hash is {own})")


def _check_content(bundle: Bundle, listed: Row, report: Report) -> None:
    scores = _check_documents(bundle, listed, "", report)
    baseline = _check_documents(bundle, listed, "baseline_", report) if "baseline_documents.jsonl" in bundle else None
    other = None
    if "production_documents.jsonl" in bundle:
        other = _check_documents(bundle, listed, "production_", report)
    _check_summary(bundle.json("scores.json"), scores, "scores.json", report)
    if baseline is not None:
        _check_summary(bundle.json("baseline_scores.json"), baseline, "baseline_scores.json", report)
    if other is not None and sum(1 for _ in bundle.rows("production_outputs.jsonl")) == len(other):
        _check_summary(bundle.json("production_scores.json"), other, "production_scores.json", report)
    _check_verdicts(bundle, listed, scores, baseline, other, report)


def _check_documents(bundle: Bundle, listed: Row, prefix: str, report: Report) -> dict[str, Row]:
    """Counts the scores of documents again; returns them by id."""
    checker = Checker(bundle.json("schema.json"))
    rows = {str(row["id"]): row for row in bundle.rows("holdout.jsonl")}
    events = {str(row["id"]): row for row in bundle.rows(f"{prefix}outputs.jsonl")}
    stored = {str(row["id"]): row for row in bundle.rows(f"{prefix}documents.jsonl")}
    counted = {name: row for name, row in stored.items() if not row["removed"]}
    # The production model may have been evaluated on other documents as well, or on fewer.
    problems = [] if prefix == "production_" else [f"{name} has no score" for name in rows.keys() - counted.keys()]
    for name, row in counted.items():
        if name not in rows or name not in events:
            problems.append(f"{name} has no {'gold label' if name not in rows else 'output'}")
        else:
            checker.check(rows[name], events[name], row, extract=listed[f"{prefix}external"])
    found = checker.found
    whose = {"": "the model", "baseline_": "the baseline", "production_": "the production model"}[prefix]
    text = f"scores of {whose} counted again: {len(counted)} documents, {found.values} values"
    report.check(text, problems + found.problems)
    for name, number in found.accepted.items():
        report.note(f"taken from the report: {number} {ACCEPTED[name]}")
    return stored


def _check_summary(summary: Row, stored: dict[str, Row], name: str, report: Report) -> None:
    """Compares the rates of a summary with the scores of the documents."""
    scores = [row for row in stored.values() if not row["removed"]]
    fields = [one for row in scores for one in row["fields"]]
    checked = [row["invariants_hold"] for row in scores if row["invariants_hold"] is not None]
    counted = {
        "valid_json": (sum(row["valid_json"] for row in scores), len(scores)),
        "schema_valid": (sum(row["schema_valid"] for row in scores), len(scores)),
        "document_exact": (sum(row["exact"] for row in scores), len(scores)),
        "invariants_hold": (sum(checked), len(checked)),
        "field_exact": (
            sum(one["outcome"] == "correct" for one in fields),
            sum(one["outcome"] != "both_absent" for one in fields),
        ),
        "hallucinated": (
            sum(any(one["outcome"] == "hallucinated" for one in row["fields"]) for row in scores),
            len(scores),
        ),
    }
    problems = [
        f"{title}: {k} of {n} counted, {summary[title]['k']} of {summary[title]['n']} stored"
        for title, (k, n) in counted.items()
        if title in summary and (summary[title]["k"], summary[title]["n"]) != (k, n)
    ]
    for field, row in summary.get("per_field", {}).items():
        mine = [one["outcome"] for one in fields if one["field"] == field]
        k, n = sum(one in CORRECT[:1] for one in mine), sum(one != "both_absent" for one in mine)
        if (row["k"], row["n"]) != (k, n):
            problems.append(f"{field}: {k} of {n} counted, {row['k']} of {row['n']} stored")
    report.check(f"{name} is the sum of the documents", problems)


def _check_verdicts(
    bundle: Bundle,
    listed: Row,
    scores: dict[str, Row],
    baseline: dict[str, Row] | None,
    production: dict[str, Row] | None,
    report: Report,
) -> None:
    verdicts, passed = json.loads(bundle.files["verdicts.json"])
    policy = json.loads(bundle.files["policy.json"])
    inputs = bundle.json("gates.json")
    pins = bundle.json("pins.json") if "pins.json" in bundle else None
    requests, families = _requests(bundle, scores), inputs.get("families", {})
    evidence = Evidence(scores, baseline, requests, pins, production, families, listed["external"])
    gates = {gate["key"]: gate for gate in policy["gates"]}
    own = {verdict["gate"]["key"]: verdict["gate"] for verdict in verdicts}
    problems = [f"the gate {key} has no verdict" for key in gates.keys() - own.keys()]
    problems += [
        f"the gate {key} is not the one of the policy"
        for key, gate in own.items()
        if any(
            gate.get(name) != gates.get(key, {}).get(name) for name in ("metric", "threshold", "confidence", "slice")
        )
    ]
    report.check(f"the verdicts are about the {len(gates)} gates of the policy", problems)
    for verdict in verdicts:
        of_gate = inputs["gates"][verdict["gate"]["key"]]
        result = check_gate(verdict, of_gate, evidence, inputs["number"], policy.get("only_look", False))
        report.check(f"{result.status}: {result.title} ({result.how})", result.problems)
    applicable = [verdict["status"] for verdict in verdicts if verdict["status"] != INAPPLICABLE]
    expected = bool(applicable) and all(status == PASS for status in applicable)
    report.check("the result follows from the verdicts", [] if passed == expected else ["it does not"])


def _requests(bundle: Bundle, scores: dict[str, Row]) -> dict[str, tuple[float, bool]]:
    """Milliseconds of each request by document, of the newest measurement or of the evaluation itself."""
    if "measurement.json" in bundle:
        names = {row["document"]: name for name, row in scores.items()}
        rows = bundle.json("measurement.json")
        return {names[row[0]]: (float(row[1]) / 1000, row[4] == "error") for row in rows if row[0] in names}
    return {
        str(row["id"]): (float(row.get("latency_ms") or 0), row.get("finish_reason") == "error")
        for row in bundle.rows("outputs.jsonl")
    }


if __name__ == "__main__":
    sys.exit(main())
