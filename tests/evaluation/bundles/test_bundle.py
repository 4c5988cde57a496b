"""The evidence bundle: who gets it, and what its verifier finds in it without the studio."""

import hashlib
import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization as formats
from cryptography.hazmat.primitives.asymmetric import ec
from django.core.cache import cache
from django.core.management import call_command
from django.test import Client

from evaluation.approvals import decisions
from evaluation.bundles.archive import checked_files, zipped
from evaluation.bundles.contents import LIST, SIGNATURE, bundle_hash
from evaluation.bundles.verifier.main import main
from evaluation.gates.policy.definition import Gate, GatePolicy
from evaluation.gates.policy.services import set_policy
from evaluation.gates.services import create_report
from evaluation.models import Approval, GateReport
from labeling.datasets.freeze import freeze
from labeling.datasets.freeze_rules import Rules
from labeling.models import Document
from slmstudio.errors import Refused
from slmstudio.storage import artifacts
from tests.evaluation.factories import World, evaluated, pretend
from tests.evaluation.gates.test_production import in_production
from tests.shared_rows import shared_fixture

pytestmark = pytest.mark.slow

Files = dict[str, bytes]
GATES = GatePolicy(
    (
        Gate("valid", "schema_valid_rate", ">=", 0.95),
        Gate("exact", "document_error_rate", "<=", 0.9),
        Gate("fields", "field_error_rate", "<=", 0.5),
        Gate("total", "field_error_rate", "<=", 0.5, field="total_amount"),
        Gate("found", "recall", ">=", 0.2),
        Gate("invented", "hallucination_rate", "<=", 0.8),
        Gate("rules", "invariants_hold_rate", ">=", 0.1),
        Gate("better", "no_regression", ">=", 0.3, compared_with="deployed"),
        Gate("margin", "non_inferiority", ">=", 0.3, compared_with="production"),
        Gate("fast", "p95_latency_ms", "<=", 900.0),
        Gate("many", "requests_per_second", ">=", 2.0),
        Gate("memory", "peak_memory_gb", "<=", 16.0),
        Gate("scans", "schema_valid_rate", ">=", 0.5, slice="poor_scan"),
    )
)


@shared_fixture
def report(world: World) -> GateReport:
    """Every metric of the gates, on a model that is compared with its base."""
    set_policy(project=world.project, user=world.manager, gates=GATES)
    base = evaluated(world, pretend(1, spoil=0.3, invalid=0.1), tuned=False)
    tuned = evaluated(world, pretend(2, spoil=0.1, invalid=0.1))
    with in_production(base):
        made = create_report(eval_run=tuned, baseline=base, user=world.engineer)
    return GateReport.objects.with_content().get(pk=made.pk)


def files_of(report: GateReport) -> Files:
    content = io.BytesIO(b"".join(zipped(checked_files(report))))
    with zipfile.ZipFile(content) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def unpacked(folder: Path, files: Files) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def listed_again(files: Files) -> Files:
    """The files with the hashes of a corrected list."""
    listed = json.loads(files[LIST])
    for one in listed["files"]:
        one["sha256"] = hashlib.sha256(files[one["path"]]).hexdigest()
    return {**files, LIST: (json.dumps(listed, indent=2, ensure_ascii=False) + "\n").encode()}


def with_verdicts(files: Files, verdicts: list[dict[str, Any]], *, passed: bool) -> Files:
    """The files with other verdicts, and every hash of them corrected."""
    files = {**files, "verdicts.json": json.dumps([verdicts, passed]).encode()}
    manifest = json.loads(files["manifest.json"])
    manifest["verdicts"] = hashlib.sha256(files["verdicts.json"]).hexdigest()
    files["manifest.json"] = json.dumps(manifest).encode()
    files = listed_again(files)
    listed = json.loads(files[LIST])
    listed["manifest_sha256"] = hashlib.sha256(files["manifest.json"]).hexdigest()
    return {**files, LIST: json.dumps(listed).encode()}


def flipped(content: bytes) -> bytes:
    at = len(content) // 2
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def key_pair(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    private, public = folder / "package.key", folder / "package.pub"
    private.write_bytes(key.private_bytes(formats.Encoding.PEM, formats.PrivateFormat.PKCS8, formats.NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(formats.Encoding.PEM, formats.PublicFormat.SubjectPublicKeyInfo))
    return private, public


def test_a_third_person_checks_it_without_the_studio(report: GateReport, tmp_path: Path) -> None:
    folder = unpacked(tmp_path / "bundle", files_of(report))
    command = [sys.executable, "-S", "-E", str(folder / "verify.py"), "--sha256", bundle_hash(report)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "FAILED" not in done.stdout
    assert done.stdout.count("counted and computed again") == 10
    assert done.stdout.count("taken from the report") == 2  # the peak of memory, and a mean without bounds


def test_one_changed_byte_of_any_file_is_found(
    report: GateReport, tmp_path: Path, settings: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    private, public = key_pair(tmp_path)
    settings.PACKAGE_SIGNING_KEY = str(private)
    files = files_of(report)
    assert SIGNATURE in files
    folder = unpacked(tmp_path / "bundle", files)
    arguments = [str(folder), "--public-key", str(public)]
    assert main(arguments) == 0, capsys.readouterr().out
    for name, content in files.items():
        (folder / name).write_bytes(flipped(content))
        assert main(arguments) != 0, name
        (folder / name).write_bytes(content)
    (folder / "outputs.jsonl").unlink()
    assert main(arguments) == 1


@pytest.mark.parametrize(
    "part", ["outputs.jsonl", "holdout.jsonl", "verdicts.json", "documents.jsonl", "decision.json"]
)
def test_a_consistent_change_is_found_by_hash_and_signature(
    part: str, report: GateReport, tmp_path: Path, settings: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    private, public = key_pair(tmp_path)
    settings.PACKAGE_SIGNING_KEY = str(private)
    files = files_of(report)
    changed = listed_again({**files, part: files[part].replace(b"1", b"2", 1) + b"\n"})
    manifest = json.loads(files["manifest.json"])
    listed = json.loads(changed[LIST])
    entry = next(one for one in listed["files"] if one["path"] == part)["part"]
    if entry:
        manifest[entry] = hashlib.sha256(changed[part]).hexdigest()
        changed["manifest.json"] = json.dumps(manifest, separators=(",", ":")).encode()
        changed = listed_again(changed)
        listed = json.loads(changed[LIST])
        listed["manifest_sha256"] = hashlib.sha256(changed["manifest.json"]).hexdigest()
        changed[LIST] = json.dumps(listed).encode()
    folder = unpacked(tmp_path / "bundle", changed)
    for arguments in (["--sha256", bundle_hash(report)], ["--public-key", str(public)]):
        assert main([str(folder), *arguments]) == 1
    if entry:
        assert main([str(folder), "--sha256", hashlib.sha256(files["manifest.json"]).hexdigest()]) == 1


Change = Callable[[dict[str, Any]], None]


def _score(row: dict[str, Any]) -> None:
    one = next(one for one in row["fields"] if one["outcome"] in ("wrong", "hallucinated", "missing"))
    one["outcome"] = "correct"


def _gold(row: dict[str, Any]) -> None:
    row["fields"][0]["gold"] = "another"


def _exact(row: dict[str, Any]) -> None:
    row["exact"] = not row["exact"]


def _valid(row: dict[str, Any]) -> None:
    row["schema_valid"] = not row["schema_valid"]


@pytest.mark.parametrize("change", [_score, _gold, _exact, _valid])
def test_a_score_that_does_not_follow_from_the_output_is_found(
    change: Change, report: GateReport, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = files_of(report)
    rows = [json.loads(line) for line in files["documents.jsonl"].splitlines()]
    change(next(row for row in rows if row["valid_json"] and not row["exact"]))
    files["documents.jsonl"] = "".join(json.dumps(row) + "\n" for row in rows).encode()
    assert main([str(unpacked(tmp_path / "bundle", listed_again(files)))]) == 1
    assert "FAILED  scores of the model" in capsys.readouterr().out


@pytest.mark.parametrize("key", ["fields", "found", "better", "margin"])
def test_a_bound_of_shares_and_differences_is_computed_again(
    key: str, report: GateReport, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = files_of(report)
    verdicts, passed = json.loads(files["verdicts.json"])
    for name, change in (("low", 1e-4), ("high", -1e-4)):
        one = next(one for one in verdicts if one["gate"]["key"] == key)
        kept = dict(one)
        one[name] += change * max(1.0, abs(one[name]))
        folder = unpacked(tmp_path / name, with_verdicts(files, verdicts, passed=passed))
        one.update(kept)
        assert main([str(folder)]) == 1, name
        assert "another" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "value"), [("status", "PASS"), ("k", 0), ("low", 0.999), ("high", 0.0), ("confidence", 0.6), ("n", 500)]
)
def test_a_verdict_that_does_not_follow_from_the_scores_is_found(
    name: str, value: Any, report: GateReport, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = files_of(report)
    verdicts, passed = json.loads(files["verdicts.json"])
    wrong = next(one for one in verdicts if one["gate"]["metric"] == "schema_valid_rate")
    assert wrong["status"] != "PASS"
    wrong[name] = value
    files = with_verdicts(files, verdicts, passed=passed)
    assert main([str(unpacked(tmp_path / "bundle", files))]) == 1
    assert "schema-valid" in next(line for line in capsys.readouterr().out.splitlines() if line.startswith("FAILED"))


def test_bounds_over_families_are_computed_again(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    held = list(Document.objects.filter(project=world.project, holdout=True).order_by("pk"))
    for place, document in enumerate(held):
        document.metadata = {"vendor": f"vendor {place // 3}"}
        document.save(update_fields=["metadata"])
    world.dataset = freeze(project=world.project, user=world.engineer, rules=Rules(group_by="metadata.vendor"))
    set_policy(project=world.project, user=world.manager, gates=GATES)
    base = evaluated(world, pretend(1, spoil=0.3, invalid=0.1), tuned=False)
    with in_production(base):
        made = create_report(
            eval_run=evaluated(world, pretend(2, spoil=0.1, invalid=0.1)), baseline=base, user=world.engineer
        )
    files = files_of(GateReport.objects.with_content().get(pk=made.pk))
    assert main([str(unpacked(tmp_path / "bundle", files))]) == 0, capsys.readouterr().out
    verdicts, passed = json.loads(files["verdicts.json"])
    for key, name in (
        ("valid", "low"),
        ("exact", "high"),
        ("fields", "high"),
        ("margin", "low"),
        ("valid", "families"),
    ):
        one = next(one for one in verdicts if one["gate"]["key"] == key)
        assert one["families"] == 4
        kept = dict(one)
        one[name] += {"low": 0.01, "high": -0.01, "families": 1}[name]
        folder = unpacked(tmp_path / f"{key}-{name}", with_verdicts(files, verdicts, passed=passed))
        one.update(kept)
        assert main([str(folder)]) == 1, (key, name)


def test_the_decision_is_in_it(world: World, report: GateReport, tmp_path: Path) -> None:
    before = bundle_hash(report)
    decisions.decide(report=report, user=world.manager, decision=Approval.Decision.REJECTED, reason="Not yet.")
    decided = GateReport.objects.with_content().get(pk=report.pk)
    decision = json.loads(files_of(decided)["decision.json"])
    assert (decision["decision"], decision["by"], decision["reason"]) == ("rejected", "mona", "Not yet.")
    assert bundle_hash(decided) != before


def test_there_is_none_of_changed_files(report: GateReport, client: Client, world: World) -> None:
    path = artifacts.local_path(report.eval_run.outputs_key)
    path.write_bytes(flipped(path.read_bytes()))
    with pytest.raises(Refused) as refused:
        checked_files(report)
    assert refused.value.code == "changed"
    client.force_login(world.annotator)
    assert client.get(f"{report.get_absolute_url()}bundle.zip").status_code == 302


def test_members_download_it_and_others_do_not(world: World, report: GateReport, client: Client) -> None:
    address = f"{report.get_absolute_url()}bundle.zip"
    client.force_login(world.stranger)
    assert client.get(address).status_code == 404
    client.force_login(world.annotator)
    answer = client.get(address)
    assert answer["Content-Type"] == "application/zip"
    assert answer["Bundle-SHA256"] == bundle_hash(report)
    assert answer["Bundle-SHA256"] in client.get(report.get_absolute_url()).content.decode()
    content = b"".join(answer.streaming_content)  # type: ignore[attr-defined]
    over_rest = client.get(f"/api/v1/projects/{world.project.slug}/evidence/{report.number}")
    assert over_rest.status_code == 200
    assert b"".join(over_rest.streaming_content) == content  # type: ignore[attr-defined]


def test_a_page_does_not_wait_for_the_hash_and_asks_for_it(world: World, report: GateReport, client: Client) -> None:
    client.force_login(world.annotator)
    asked = f"{report.get_absolute_url()}bundle.sha256"
    cache.clear()
    page = client.get(report.get_absolute_url())
    assert page.context["bundle_sha256"] == ""
    assert asked in page.content.decode()
    sha256 = bundle_hash(report)
    cache.clear()
    assert sha256 in client.get(asked).content.decode()
    assert client.get(report.get_absolute_url()).context["bundle_sha256"] == sha256
    cache.clear()
    assert sha256 in client.get(f"{report.get_absolute_url()}report.md").content.decode()
    client.force_login(world.stranger)
    assert client.get(asked).status_code == 404


def test_the_command_writes_the_same_file(
    report: GateReport, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "evidence.zip"
    call_command("evidence_bundle", str(report.number), project=report.project.slug, output=path)
    sha256 = capsys.readouterr().out.strip()
    assert sha256 == bundle_hash(report)
    assert path.read_bytes() == b"".join(zipped(checked_files(report)))
    assert main([str(path), "--sha256", sha256]) == 0
    assert main([str(path), "--sha256", "0" * 64]) == 1
