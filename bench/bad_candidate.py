"""A candidate with broken weights is taken out without a person: ``python -m bench.bad_candidate --model FOLDER``.

``--model``: a prepared folder, for example var/models/smollm2-135m-instruct. Its copy gets noise on every weight. Real
processes: PostgreSQL, Valkey, a gateway, ``manage.py serve`` with one replica of each, both with the engine
transformers. Documents are sent one after the other, first with the copy in shadow, then in a canary of half of the
requests. Printed: requests and seconds until ``serve`` aborts it, and how often each of both failed.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

from bench.studio import free_port, wait_for
from bench.timing import table
from slmstudio.stack import environment
from slmstudio.stack.environment import ROOT

SCHEMA = {
    "type": "object",
    "properties": {
        "kind": {"type": "string", "maxLength": 16},
        "subject": {"type": "string", "maxLength": 16},
        "action": {"type": "string", "maxLength": 16},
    },
    "required": ["kind", "subject", "action"],
    "additionalProperties": False,
}
INSTRUCTION = "Say in a word or two what kind of message this is, what it is about, and what to do."
MAX_TOKENS = 96
#: standard deviation of the noise, in those of each tensor
NOISE = 3.0
MAX_REQUESTS = 80
_SUBJECTS = (
    "the invoice",
    "a parcel",
    "my password",
    "the meeting",
    "a refund",
    "the contract",
    "a job",
    "the printer",
)


def add_noise(folder: Path, noise: float, *, seed: int = 14) -> None:
    """Adds noise to the weights of a folder, in standard deviations of each tensor."""
    import torch
    from safetensors.torch import load_file, save_file

    torch.manual_seed(seed)
    for path in folder.glob("*.safetensors"):
        weights = {
            name: (one + noise * one.float().std() * torch.randn_like(one, dtype=torch.float32)).to(one.dtype)
            for name, one in load_file(path).items()
        }
        save_file(weights, path, metadata={"format": "pt"})


def write_package(model: Path, target: Path, *, noise: float, seed: int = 14) -> str:
    """The folder of a package with this model; returns its hash."""
    from serving.packages.spec import FILE, OutputTokens, ServeSpec
    from slmstudio.storage.hashing import folder_hash
    from training.spec import ContractRef

    shutil.copytree(model, target / "model")
    if noise:
        add_noise(target / "model", noise, seed=seed)
    spec = ServeSpec(
        engine="transformers", contract=ContractRef(instruction=INSTRUCTION, schema=SCHEMA), include_schema=True,
        output_tokens=OutputTokens(reserved=MAX_TOKENS, maximum=MAX_TOKENS),
    )  # fmt: skip
    (target / FILE).write_text(spec.to_yaml(), encoding="utf-8")
    return folder_hash(target)


def _deploy(model: Path, noise: float) -> str:
    """Both releases of a project; returns a token."""
    from bench.serving import deployed
    from evaluation.models import EvalRun
    from labeling.contract.schema_text import read_schema
    from labeling.models import DatasetVersion, SchemaVersion
    from serving.models import DeploymentEvent, Package, Release
    from slmstudio.contract.schema.compiled import dumps
    from slmstudio.storage.artifacts import local_path

    token, release = deployed(replicas=1)
    schema = read_schema(dumps(SCHEMA))
    version = SchemaVersion.objects.create(
        project=release.project, number=2, schema_text=schema.text, sha256=schema.compiled.hash
    )
    # A dataset version is frozen with its schema.
    owner = release.project.memberships.get().user
    rows = local_path("bench/rows.jsonl")
    rows.parent.mkdir(parents=True, exist_ok=True)
    rows.touch()
    dataset = DatasetVersion.objects.create(
        project=release.project, number=2, schema_version=version, created_by=owner, seed=17,
        artifact_key="bench/rows.jsonl",
    )  # fmt: skip
    EvalRun.objects.update(dataset=dataset)
    package = Package.objects.get()
    package.folder_key, package.sha256 = "packages/good", write_package(model, local_path("packages/good"), noise=0)
    package.save()
    DeploymentEvent.objects.create(project=release.project, kind="deployed", release=release, stable=release)
    package.pk, package.number = None, 2
    package.save()
    sha256 = write_package(model, local_path("packages/bad"), noise=noise)
    Package.objects.filter(pk=package.pk).update(folder_key="packages/bad", sha256=sha256)
    Release.objects.create(project=release.project, number=2, package=package)
    return token


def _stage(stage: str, share: float, port: int, token: str) -> dict[str, Any]:
    """Sends documents until the candidate is aborted."""
    from serving.models import Deployment, DeploymentEvent, Release, Replica, RequestLog

    bad = Release.objects.get(number=2)
    project = bad.project
    before = DeploymentEvent.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
    Deployment.objects.get()
    for deployment in Deployment.objects.all():
        deployment.candidate, deployment.stage, deployment.share = bad, stage, share
        deployment.save()
    DeploymentEvent.objects.create(
        project=project, kind="deployed", release=bad, stable_id=deployment.stable_id, stage=stage, share=share
    )
    deadline = time.monotonic() + 240
    while Replica.objects.ready().values("release").distinct().count() < 2:
        if time.monotonic() > deadline:
            errors = list(Replica.objects.values_list("release__number", "state", "error"))
            raise SystemExit(f"The replicas do not start: {errors}")
        time.sleep(0.5)
    time.sleep(3)
    began, sent = time.monotonic(), 0
    aborted = DeploymentEvent.objects.filter(kind="aborted", pk__gt=before)
    with httpx.Client(timeout=120) as client:
        while sent < MAX_REQUESTS and not aborted.exists():
            subject = _SUBJECTS[sent % len(_SUBJECTS)]
            client.post(
                f"http://127.0.0.1:{port}/api/v1/projects/bench/extract", headers={"Authorization": f"Bearer {token}"},
                json={"text": f"Message {sent} of {stage}: please help me with {subject} today.", "evidence": False},
            )  # fmt: skip
            sent += 1
        deadline = time.monotonic() + 10  # the last ones have to be counted
        while not aborted.exists() and time.monotonic() < deadline:
            time.sleep(0.5)
    seconds = time.monotonic() - began
    event = aborted.order_by("pk").first()
    time.sleep(1.5)
    rows = RequestLog.objects.filter(project_id=project.pk, stage=stage)
    counts = {
        name: (rows.filter(release=release).count(), rows.filter(release=release, status__gte=500).count())
        for name, release in (("stable", deployment.stable_id), ("candidate", bad.pk))
    }
    after = Deployment.objects.get()
    return {
        "stage": stage, "aborted": event is not None, "by_application": event is not None and event.user_id is None,
        "reason": event.reason if event else "", "requests": sent, "seconds": seconds,
        "stable": counts["stable"], "candidate": counts["candidate"], "candidate_left": after.candidate_id is not None,
    }  # fmt: skip


def main() -> None:
    """Starts everything, breaks the model, prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="a prepared folder with safetensors")
    parser.add_argument("--noise", type=float, default=NOISE)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    for variable in ("DATABASE_URL", "REDIS_URL", "DATABASE_OWNER_URL"):
        os.environ.pop(variable, None)
    home = Path(tempfile.mkdtemp(prefix="slm-bad-"))
    os.environ |= {
        "SLM_HOME": str(home),
        "DJANGO_SETTINGS_MODULE": "slmstudio.settings",
        "SECRET_KEY": "abcdefgh" * 4,
    }
    try:
        with environment.servers() as running:
            assert running is not None
            subprocess.run([sys.executable, "manage.py", "migrate", "--verbosity=0"], cwd=ROOT, check=True)
            os.environ.pop("DATABASE_OWNER_URL", None)
            results = _run(options.model, options.noise)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    if options.json:
        print(json.dumps(results))
        return
    heads = ("stage", "aborted", "requests", "seconds", "stable failed", "candidate failed")
    rows = [
        (one["stage"], "yes" if one["aborted"] else "no", str(one["requests"]), f"{one['seconds']:.0f}",
         f"{one['stable'][1]} of {one['stable'][0]}", f"{one['candidate'][1]} of {one['candidate'][0]}")
        for one in results
    ]  # fmt: skip
    print(table(f"Weights with noise of {options.noise:g} standard deviations", heads, rows))
    print("\n".join(one["reason"] for one in results))


def _run(model: Path, noise: float) -> list[dict[str, Any]]:
    import django

    django.setup()
    from django.db import connections

    token, port = _deploy(model, noise), free_port()
    processes = [
        subprocess.Popen([sys.executable, "-m", "serving.gateway", "--bind", f"127.0.0.1:{port}"], cwd=ROOT),
        subprocess.Popen([sys.executable, "manage.py", "serve"], cwd=ROOT),
    ]
    try:
        wait_for(port)
        return [_stage("shadow", 0.0, port, token), _stage("canary", 0.5, port, token)]
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(30)
        connections.close_all()


if __name__ == "__main__":
    main()
