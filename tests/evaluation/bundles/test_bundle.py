"""The evidence bundle: who gets it, and what ``manage.py verify_bundle`` finds in it without a database."""

import hashlib
import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization as formats
from cryptography.hazmat.primitives.asymmetric import ec
from django.core.cache import caches
from django.core.management import CommandError, call_command
from django.test import Client

from evaluation.approvals import decisions
from evaluation.bundles.archive import checked_files, zipped
from evaluation.bundles.contents import bundle_hash
from evaluation.bundles.verification import LIST, SIGNATURE
from evaluation.gates.manifest import report_manifest_hash
from evaluation.gates.policy.definition import Gate, GateSet
from evaluation.gates.policy.services import set_policy
from evaluation.gates.services import create_report
from evaluation.models import Approval, GateReport
from labeling.datasets.freeze import freeze
from labeling.datasets.freeze_rules import Rules
from labeling.models import Document
from slmstudio.errors import Refused
from slmstudio.storage import artifacts
from tests.conftest import ROOT
from tests.evaluation.encoders import make_encoder
from tests.evaluation.factories import World, evaluated, pretend
from tests.evaluation.gates.test_production import in_production
from tests.shared_rows import shared_fixture

pytestmark = pytest.mark.slow

Files = dict[str, bytes]
GATES = GateSet(
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
    for file in listed["files"]:
        file["sha256"] = hashlib.sha256(files[file["path"]]).hexdigest()
    return {**files, LIST: (json.dumps(listed, indent=2, ensure_ascii=False) + "\n").encode()}


def with_verdicts(files: Files, verdicts: list[dict[str, Any]], *, passed: bool) -> Files:
    """The files with other verdicts, and every hash of them corrected."""
    files = {**files, "verdicts.json": json.dumps([verdicts, passed]).encode()}
    manifest = json.loads(files["manifest.json"])
    manifest["verdicts"] = hashlib.sha256(files["verdicts.json"]).hexdigest()
    return with_manifest(files, manifest)


def with_manifest(files: Files, manifest: dict[str, str]) -> Files:
    """The files with another manifest, and every hash corrected."""
    files = listed_again({**files, "manifest.json": json.dumps(manifest).encode()})
    listed = json.loads(files[LIST])
    listed["manifest_sha256"] = report_manifest_hash(manifest)
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


def verify(*arguments: Any) -> int:
    """The exit code of the command."""
    try:
        call_command("verify_bundle", *map(str, arguments))
    except CommandError as error:
        return error.returncode
    return 0


def test_a_third_person_verifies_it_without_a_database(report: GateReport, tmp_path: Path) -> None:
    folder = unpacked(tmp_path / "bundle", files_of(report))
    command = [sys.executable, "manage.py", "verify_bundle", str(folder), "--sha256", bundle_hash(report)]
    nowhere = {"DATABASE_URL": "postgresql://127.0.0.1:1/none", "REDIS_URL": "redis://127.0.0.1:1/0"}
    environment = {**os.environ, "SLM_HOME": str(tmp_path / "home"), **nowhere}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "FAILED" not in done.stdout
    assert done.stdout.count("(recomputed)") == len(GATES) - 1  # one has no documents


@pytest.mark.parametrize("is_encoder", [True, False])
def test_only_an_encoder_need_not_be_compared(world: World, tmp_path: Path, is_encoder: bool) -> None:
    compared = Gate("better", "no_regression", ">=", 0.3, compared_with="deployed")
    set_policy(project=world.project, user=world.manager, gates=GateSet((GATES.gates[0], compared)))
    if is_encoder:
        make_encoder(world)
    report = create_report(eval_run=evaluated(world, pretend(2, spoil=0.1)), baseline=None, user=world.engineer)
    assert report.verdicts[1]["status"] == ("INAPPLICABLE" if is_encoder else "NOT PROVEN")
    files = files_of(GateReport.objects.with_content().get(pk=report.pk))
    forged = [{**verdict, "status": "INAPPLICABLE"} for verdict in report.verdicts[1:]]
    changed = with_verdicts(files, [report.verdicts[0], *forged], passed=report.passed)
    assert verify(unpacked(tmp_path / "bundle", files)) == 0
    assert verify(unpacked(tmp_path / "changed", changed)) == (0 if is_encoder else 1)


def test_one_changed_byte_of_any_file_is_found(
    report: GateReport, tmp_path: Path, settings: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    private, public = key_pair(tmp_path)
    settings.PACKAGE_SIGNING_KEY = str(private)
    files = files_of(report)
    assert SIGNATURE in files
    folder = unpacked(tmp_path / "bundle", files)
    assert verify(folder, "--public-key", public) == 0, capsys.readouterr().out
    for name, content in files.items():
        (folder / name).write_bytes(flipped(content))
        assert verify(folder, "--public-key", public) != 0, name
        (folder / name).write_bytes(content)
    (folder / "outputs.jsonl").unlink()
    assert verify(folder, "--public-key", public) == 1
    assert verify(tmp_path / "nothing") == 2


def test_a_consistent_change_is_found_by_hash_and_signature(report: GateReport, tmp_path: Path, settings: Any) -> None:
    private, public = key_pair(tmp_path)
    settings.PACKAGE_SIGNING_KEY = str(private)
    files, sha256 = files_of(report), bundle_hash(report)
    for part in ("outputs.jsonl", "verdicts.json", "decision.json"):
        changed = listed_again({**files, part: files[part].replace(b"1", b"2", 1) + b"\n"})
        entry = next(file for file in json.loads(files[LIST])["files"] if file["path"] == part)["part"]
        if entry:
            manifest = json.loads(files["manifest.json"])
            manifest[entry] = hashlib.sha256(changed[part]).hexdigest()
            changed = with_manifest(changed, manifest)
        folder = unpacked(tmp_path / part, changed)
        assert verify(folder, "--sha256", sha256) == verify(folder, "--public-key", public) == 1, part
        if entry:
            assert verify(folder, "--sha256", hashlib.sha256(files["manifest.json"]).hexdigest()) == 1


def _score(row: dict[str, Any]) -> None:
    field = next(field for field in row["fields"] if field["outcome"] in ("wrong", "hallucinated", "missing"))
    field["outcome"] = "correct"


def _gold(row: dict[str, Any]) -> None:
    row["fields"][0]["gold"] = "another"


def _exact(row: dict[str, Any]) -> None:
    row["exact"] = not row["exact"]


def _valid(row: dict[str, Any]) -> None:
    row["schema_valid"] = not row["schema_valid"]


def test_a_score_that_does_not_follow_from_the_output_is_found(
    report: GateReport, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = files_of(report)
    for change in (_score, _gold, _exact, _valid):
        rows = [json.loads(line) for line in files["documents.jsonl"].splitlines()]
        change(next(row for row in rows if row["valid_json"] and not row["exact"]))
        changed = {**files, "documents.jsonl": "".join(json.dumps(row) + "\n" for row in rows).encode()}
        assert verify(unpacked(tmp_path / change.__name__, listed_again(changed))) == 1
        assert "FAILED  scores of the model" in capsys.readouterr().out


def test_a_summary_that_does_not_follow_from_the_scores_is_found(
    report: GateReport, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = files_of(report)
    scores = json.loads(files["scores.json"])
    scores["field_exact"]["k"] += 1
    files["scores.json"] = json.dumps(scores).encode()
    manifest = json.loads(files["manifest.json"])
    manifest["scores"] = hashlib.sha256(files["scores.json"]).hexdigest()
    assert verify(unpacked(tmp_path / "bundle", with_manifest(files, manifest))) == 1
    assert "field_exact.k" in capsys.readouterr().out


def test_a_figure_or_status_of_a_verdict_is_computed_again(
    report: GateReport, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = files_of(report)
    verdicts, passed = json.loads(files["verdicts.json"])
    cases = [("fields", "high", -1), ("better", "low", 1), ("margin", "low", 1)]
    cases += [("valid", "k", -1), ("valid", "n", 1), ("valid", "confidence", -1)]
    cases += [(key, "measured", -1) for key in ("fast", "many", "memory")]
    for key, name, change in cases:
        verdict = next(verdict for verdict in verdicts if verdict["gate"]["key"] == key)
        before = verdict[name]
        verdict[name] += change if name in ("k", "n") else change * 1e-3 * max(0.1, abs(before))
        folder = unpacked(tmp_path / f"{key}-{name}", with_verdicts(files, verdicts, passed=passed))
        verdict[name] = before
        assert verify(folder) == 1
        failed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("FAILED")]
        assert [verdict["gate"]["title"] in line for line in failed] == [True]
    unproven = next(verdict for verdict in verdicts if verdict["status"] == "NOT PROVEN")
    unproven["status"] = "PASS"
    assert verify(unpacked(tmp_path / "status", with_verdicts(files, verdicts, passed=passed))) == 1


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
    assert verify(unpacked(tmp_path / "bundle", files)) == 0, capsys.readouterr().out
    verdicts, passed = json.loads(files["verdicts.json"])
    for key, name in (("valid", "low"), ("fields", "high"), ("valid", "families")):
        verdict = next(verdict for verdict in verdicts if verdict["gate"]["key"] == key)
        assert verdict["families"] == 4
        kept = dict(verdict)
        verdict[name] += {"low": 0.01, "high": -0.01, "families": 1}[name]
        folder = unpacked(tmp_path / f"{key}-{name}", with_verdicts(files, verdicts, passed=passed))
        verdict.update(kept)
        assert verify(folder) == 1, (key, name)


def test_there_is_none_of_changed_files(report: GateReport, client: Client, world: World) -> None:
    path = artifacts.local_path(report.eval_run.outputs_key)
    path.write_bytes(flipped(path.read_bytes()))
    with pytest.raises(Refused) as refused:
        checked_files(report)
    assert refused.value.code == "changed"
    client.force_login(world.annotator)
    assert client.get(f"{report.get_absolute_url()}bundle.zip").status_code == 302


def test_members_download_it_with_the_decision(world: World, report: GateReport, client: Client) -> None:
    before = bundle_hash(report)
    decisions.decide(report=report, user=world.manager, decision=Approval.Decision.REJECTED, reason="Not yet.")
    decided = GateReport.objects.with_content().get(pk=report.pk)
    decision = json.loads(files_of(decided)["decision.json"])
    assert (decision["decision"], decision["by"], decision["reason"]) == ("rejected", "mona", "Not yet.")
    client.force_login(world.annotator)
    answer = client.get(f"{report.get_absolute_url()}bundle.zip")
    assert answer["Content-Type"] == "application/zip"
    assert answer["Bundle-SHA256"] == bundle_hash(decided) != before
    content = b"".join(answer.streaming_content)  # type: ignore[attr-defined]
    over_rest = client.get(f"/api/v1/projects/{world.project.slug}/evidence/{report.number}")
    assert over_rest.status_code == 200
    assert b"".join(over_rest.streaming_content) == content  # type: ignore[attr-defined]


def test_a_page_does_not_wait_for_the_hash_and_asks_for_it(world: World, report: GateReport, client: Client) -> None:
    client.force_login(world.annotator)
    asked = f"{report.get_absolute_url()}bundle.sha256"
    caches["process"].clear()
    page = client.get(report.get_absolute_url())
    assert page.context["bundle_sha256"] == ""
    assert asked in page.content.decode()
    sha256 = bundle_hash(report)
    caches["process"].clear()
    assert sha256 in client.get(asked).content.decode()
    assert client.get(report.get_absolute_url()).context["bundle_sha256"] == sha256
    caches["process"].clear()
    assert sha256 in client.get(f"{report.get_absolute_url()}report.md").content.decode()
