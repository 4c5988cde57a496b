"""Two jobs from their data to traffic: ``python -m bench.delivery_jobs [receipts] [routing] [--home FOLDER]``.

Real processes and a real model: PostgreSQL, Valkey, web server, workers, gateway, ``manage.py serve``, SmolLM2-135M.
For each job: ``run_loop`` with the contract and the gates of ``examples/`` on a part of the data, the decision of a
manager, ``manage.py deploy`` (package with parity and calibration), and the hold-out through the gateway, by ``POST
extract`` and by the official client of OpenAI, compared with the evaluation. Then answer policies over REST: the limit
on confidence, a larger model below it (``bench.larger_model``: a stand-in), and error budgets; each with what the
what-if curve of the validation documents predicts. The accuracy of a training on all of the data is in
``examples/README.md``.

``--home`` keeps the data: a job that is trained is not trained again.
"""

import argparse
import contextlib
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import httpx

from bench.delivery_policies import LARGER, larger_model, policies
from bench.delivery_traffic import Accuracy, Caller, Job, Reply, Row, Work, calibration, send
from bench.serving import running
from bench.studio import free_port, studio, wait_for
from bench.timing import percentile, table
from examples.rows import HERE, HOLDOUT, held_out, receipts, routing, write
from slmstudio.contract.json_text import loads
from slmstudio.stack.environment import ROOT, exit_on_termination

ENGINEER, MANAGER = "erik", "mona"
_START_SECONDS = 1_800
_BUDGET = {"min_confidence": None, "budget_unit": "document"}


JOBS = {
    "receipts": Job(
        receipts, "sroie/receipts.jsonl",
        ("--template", "receipt", "--max-train", "100", "--validation-share", "0.3", "--max-holdout", "24"),
        budgets={"at most 1 field in 5 wrong, expected; else a person": {
            **_BUDGET, "budget_wrong": 1, "budget_of": 5, "budget_unit": "field", "basis": "expected", "rest": "people",
        }},
    ),
    "routing": Job(
        routing, "banking77/train.csv",
        (
            *("--template", "ticket-routing", "--contract", "examples/routing/contract.json"),
            *("--max-train", "500", "--validation-share", "0.4", "--max-holdout", "120"),
        ),
        budgets={
            "at most 1 in 10 wrong, proven; else larger model": {
                **_BUDGET, "budget_wrong": 1, "budget_of": 10, "basis": "proven", "rest": "fallback",
            },
            "at most 1 in 20 wrong, expected; else larger model": {
                **_BUDGET, "budget_wrong": 1, "budget_of": 20, "basis": "expected", "rest": "fallback",
            },
        },
        choice="queue", actions=HERE / "routing" / "actions.json",
    ),
}  # fmt: skip


def main() -> None:
    """Does the jobs one after the other and prints their tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("jobs", nargs="*", help=f"of {', '.join(JOBS)} (default: all)")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared/data")
    parser.add_argument("--home", type=Path, help="keeps everything there (default: thrown away)")
    options = parser.parse_args()
    exit_on_termination()  # so that every process that was started here is stopped
    names = options.jobs or list(JOBS)
    if unknown := sorted({*names} - {*JOBS}):
        parser.error(f"There is no job {unknown[0]}.")
    with tempfile.TemporaryDirectory(prefix="slm-jobs-") as folder, _servers(options.home) as (web, gateway):
        for name in names:
            _do(Work(name, JOBS[name], Path(folder), web, gateway, ENGINEER), options.data / JOBS[name].source)


@contextlib.contextmanager
def _servers(home: Path | None) -> Iterator[tuple[str, str]]:
    """Every process of a studio; the addresses of pages and gateway."""
    port = free_port()
    os.environ |= {
        "GATEWAY_URL": f"http://127.0.0.1:{port}", "OUTBOUND_ALLOW": "127.0.0.1", "API_REQUESTS_PER_MINUTE": "100000",
        "PYTHONUNBUFFERED": "1",
    }  # fmt: skip
    manage = (sys.executable, "manage.py")
    with (
        studio(web_workers=1, home=home) as started,
        running(*manage, "rqworker", "gpu"),
        running(sys.executable, "-m", "serving.gateway", "--bind", f"127.0.0.1:{port}"),
        running(*manage, "serve"),
    ):
        for name in ("httpx", "httpx2"):
            logging.getLogger(name).setLevel(logging.WARNING)  # a line for each document
        wait_for(port)
        yield f"http://127.0.0.1:{started.port}", f"http://127.0.0.1:{port}"


def _do(work: Work, source: Path) -> None:
    _train(work, source)
    _approve(work)
    _deploy(work)
    _evaluated(work)
    caller = Caller(work.gateway, work.token, work.name)
    try:
        work.policy({"larger_model": None, "min_confidence": None, "budget_wrong": None})
        first = send(work, caller, "extract")
        print(_through_gateway(work, first, send(work, caller, "openai")), flush=True)
        if work.job.choice:
            with larger_model(work):
                policies(work, caller, first, LARGER)
        else:
            policies(work, caller, first, None)
    finally:
        caller.close()
    print("Seconds: " + ", ".join(f"{name} {seconds:.0f}" for name, seconds in work.seconds.items()) + "\n", flush=True)


# -- from the data to an approved model that answers ------------------------------------------------------------------


def _train(work: Work, source: Path) -> None:
    from django.contrib.auth.models import User

    from evaluation.models import GateReport

    for name in (ENGINEER, MANAGER):
        User.objects.get_or_create(username=name)
    work.labeled, held = held_out(work.job.rows(source), HOLDOUT[work.name])
    if not GateReport.objects.filter(project__slug=work.name).exists():
        write(work.labeled, work.folder / "train.jsonl")
        write(held, work.folder / "holdout.jsonl")
        _manage(
            "run_loop", "--project", work.name, *work.job.options, "--gates", f"examples/{work.name}/gates.json",
            "--train", str(work.folder / "train.jsonl"), "--holdout", str(work.folder / "holdout.jsonl"), "--no-free",
            "--owner", ENGINEER, "--member", f"{MANAGER}:manager",
        )  # fmt: skip
    work.report = GateReport.objects.filter(project__slug=work.name).latest("number")
    work.project = work.report.project
    run = work.report.eval_run
    work.seconds["training"] = run.model_version.training_run.seconds or 0
    splits = run.dataset.counts["splits"]
    print(f"\n## {work.name}\n\nDocuments: " + ", ".join(f"{name} {number}" for name, number in splits.items()))


def _manage(*arguments: str) -> None:
    subprocess.run([sys.executable, "manage.py", *arguments], cwd=ROOT, check=True, stdout=sys.stderr)


def _approve(work: Work) -> None:
    """As a manager does on the page; gates that do not pass, with so little data, need a waiver."""
    from django.contrib.auth.models import User
    from django.utils import timezone

    from evaluation.approvals.decisions import decide, open_gates
    from evaluation.approvals.waivers import Waiver
    from evaluation.models import Approval

    unmet = [gate["title"] for gate in open_gates(work.report)]
    print(f"Gates: {work.report.sentence} Waived: {', '.join(unmet) or 'none'}.")
    if not Approval.objects.filter(report=work.report).exists():
        waiver = Waiver("A part of the data, to show the delivery.", timezone.localdate() + timedelta(days=30))
        decide(
            report=work.report, user=User.objects.get(username=MANAGER), decision="approved",
            reason="It answers in a bench.", waiver=waiver if unmet else None,
        )  # fmt: skip


def _deploy(work: Work) -> None:
    from django.contrib.auth.models import User

    from labeling.integrations import tokens
    from serving.models import Deployment, Package

    began = time.monotonic()
    if not Deployment.objects.filter(project=work.project, stable__isnull=False).exists():
        _manage("deploy", "--project", work.name, "--report", str(work.report.number), "--stage", "full")
    engineer = User.objects.get(username=ENGINEER)
    _, work.token = tokens.create(
        project=work.project, user=engineer, name=f"bench {time.time():.0f}", scopes=["extract", "deploy"], days=1
    )
    url = f"{work.gateway}/api/v1/projects/{work.name}/extract"
    with httpx.Client(headers={"Authorization": f"Bearer {work.token}"}, timeout=150) as client:
        # A kept project: its replica starts again.
        while client.post(url, json={"text": work.labeled[0]["text"]}).status_code != 200:
            if time.monotonic() - began > _START_SECONDS:
                raise SystemExit("The gateway does not answer.")
            time.sleep(1)
    work.seconds["approval to the first answer"] = time.monotonic() - began
    package = Package.objects.filter(project=work.project).latest("number")
    parity = package.all_variants[0].parity or package.parity
    print(f"Package: {parity['equal']} of {parity['documents']} outputs equal those of the evaluation.\n", flush=True)


def _evaluated(work: Work) -> None:
    from evaluation.models import EvalOutput

    outputs = EvalOutput.objects.filter(eval_run=work.report.eval_run).select_related("document")
    work.rows = [
        Row(one.document.external_id, one.document.text, one.gold, one.raw) for one in outputs.order_by("document_id")
    ]


# -- the hold-out through the gateway ---------------------------------------------------------------------------------


def _through_gateway(work: Work, by_extract: list[Reply], by_openai: list[Reply]) -> str:
    run = work.report.eval_run
    evaluated = [row.evaluated for row in work.rows]
    latency = (run.latency["p50"], run.latency["p95"])
    lines = [_line(work, "evaluation of the hold-out", evaluated, latency, "–", "–")]
    for name, replies in (("POST extract", by_extract), ("OpenAI client", by_openai)):
        times = [one.milliseconds for one in replies]
        lines.append(_line(
            work, name, [one.raw for one in replies], (percentile(times, 0.5), percentile(times, 0.95)),
            str(calibration(work.schema, work.rows, replies, raw=True)),
            str(calibration(work.schema, work.rows, replies)),
        ))  # fmt: skip
    heads = (
        "hold-out", "documents", "valid", "field accuracy", "exact match", "equal outputs", "p50 ms", "p95 ms",
        "calibration error: tokens", "calibrated (5 to 95% of a perfect one)",
    )  # fmt: skip
    return table("Through the gateway", heads, lines)


def _line(
    work: Work, name: str, outputs: Sequence[str], latency: tuple[float, float], raw: str, calibrated: str
) -> tuple[str, ...]:
    found = Accuracy.of(work.schema, work.rows, outputs)
    equal = sum(
        bool(raw_text) and loads(raw_text) == loads(row.evaluated)
        for raw_text, row in zip(outputs, work.rows, strict=True)
        if row.evaluated
    )
    return (
        name, str(found.documents), f"{found.valid / found.documents:.1%}", f"{found.correct / found.fields:.1%}",
        f"{found.exact / found.documents:.1%}", str(equal), f"{latency[0]:.0f}", f"{latency[1]:.0f}", raw, calibrated,
    )  # fmt: skip


if __name__ == "__main__":
    main()
