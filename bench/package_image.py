"""The container of a package: ``python -m bench.package_image PACKAGE --base IMAGE.tar [--wheels FOLDER] [--compose]``.

PACKAGE is a folder with ``extract.pyz`` and its files, for example of ``bench.serving_backends_model``. IMAGE.tar is a
Debian root file system (``mmdebstrap --variant=apt trixie IMAGE.tar``), which gets this machine's Python and stands in
for the base image of the Dockerfile: no image registry is asked. The image is built with the wheels alone, runs as in
compose.yaml (without a network, a read-only root file system, no capabilities), and answers a document.
"""

import argparse
import platform
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import httpx

from serving.packages.documents import recipes
from serving.packages.documents.facts import PackageFacts
from serving.packages.spec import FILE, ServeSpec
from serving.packages.standalone import REQUIREMENTS

TEXT = "Invoice A-17 of 2026-01-14\nBradley Ltd\nTotal: 12.50"
PREFIX = "/usr/local"


def _docker(*arguments: str, **options: Any) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["docker", *arguments], check=True, text=True, **options)


def facts_of(folder: Path) -> PackageFacts:
    """What the container files of a package say."""
    spec = ServeSpec.from_yaml((folder / FILE).read_text(encoding="utf-8"))
    nothing: dict[str, Any] = dict.fromkeys(
        (
            "project", "model", "base_model", "base_reference", "base_sha256", "licence", "architecture",
            "dataset_sha256", "split", "mode", "built_at",
        ),
        "",
    )  # fmt: skip
    return PackageFacts(
        **nothing, slug="bench", number=1, engine="llama_cpp", dataset=1, evaluation=1, metrics=(), parity={},
        context=spec.context or 0, max_output_tokens=spec.output_tokens.maximum, seed=spec.seed,
        python=platform.python_version(), versions={name: metadata.version(name) for name in REQUIREMENTS}, files=(),
    )  # fmt: skip


def import_base(tar: Path, name: str) -> None:
    """The base image: the root file system with this Python below /usr/local."""
    with tempfile.TemporaryDirectory(prefix="slm-image-") as folder:
        context = Path(folder)
        _docker("import", str(tar), "slm-base-system", stdout=subprocess.DEVNULL)
        shutil.copytree(
            sys.base_prefix, context / "python", symlinks=True,
            ignore=shutil.ignore_patterns("site-packages", "test", "__pycache__"),
        )  # fmt: skip
        site = f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
        (context / "python" / site).mkdir(parents=True)
        shutil.copytree(Path(sys.base_prefix) / site / "pip", context / "python" / site / "pip")
        (context / "python/bin/pip").unlink(missing_ok=True)
        (context / "python/bin/pip").write_text('#!/bin/sh\nexec python -m pip "$@"\n')
        (context / "python/bin/pip").chmod(0o755)
        (context / "Dockerfile").write_text(
            f"FROM slm-base-system\nENV PATH={PREFIX}/bin:/usr/bin:/bin:/usr/sbin:/sbin\nCOPY python {PREFIX}\n"
            "RUN ldconfig\n"
        )
        _docker("build", "-q", "-t", name, str(context), stdout=subprocess.DEVNULL)


def build(folder: Path, wheels: Path, base: Path) -> PackageFacts:
    """Builds the image of a package, without a network."""
    facts = facts_of(folder)
    (folder / "Dockerfile").write_text(recipes.dockerfile(facts))
    (folder / "requirements.txt").write_text(recipes.requirements(facts))
    (folder / "compose.yaml").write_text(recipes.compose(facts))
    shutil.copytree(wheels, folder / "wheels", dirs_exist_ok=True)
    import_base(base, (folder / "Dockerfile").read_text().split()[1])
    began = time.perf_counter()
    _docker(
        "build", "-q", "--network", "none", "--build-arg", "PIP_OPTIONS=--no-index", "-t",
        f"{facts.name}:{facts.number}", str(folder), stdout=subprocess.DEVNULL,
    )  # fmt: skip
    print(f"built in {time.perf_counter() - began:.0f} s")
    return facts


def answer(url: str, secret: str, patience: float = 120.0) -> dict[str, Any]:
    """What the container answers, once it does."""
    began, headers = time.perf_counter(), {"Authorization": f"Bearer {secret}"}
    while True:
        try:
            if httpx.get(f"{url}/health", timeout=2).status_code == 200:
                break
        except httpx.HTTPError:
            pass
        if time.perf_counter() - began > patience:
            raise SystemExit("The container does not answer.")
        time.sleep(0.2)
    print(f"answers after {time.perf_counter() - began:.1f} s")
    if httpx.post(f"{url}/answer", json={"text": TEXT}, timeout=60).status_code != 401:
        raise SystemExit("It answers without the secret.")
    found: dict[str, Any] = httpx.post(f"{url}/answer", json={"text": TEXT}, headers=headers, timeout=120).json()
    if found["finish_reason"] != "stop":
        raise SystemExit(f"It does not answer the document: {found}")
    print(f"{found['raw']} in {found['model_ms']:.0f} ms")
    return found


def main() -> None:
    """Builds, runs, asks, and removes the container."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", type=Path)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--wheels", type=Path, required=True, help="a folder with the wheels of requirements.txt")
    parser.add_argument("--compose", action="store_true", help="run it with docker compose")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="slm-package-") as temporary:
        folder = Path(temporary) / "package"
        shutil.copytree(options.package, folder, ignore=shutil.ignore_patterns("*.safetensors"))
        facts = build(folder, options.wheels, options.base)
        secret, url = secrets.token_urlsafe(16), f"http://127.0.0.1:{recipes.PORT}"
        if options.compose:
            _compose(folder, secret, url)
        else:
            _run(f"{facts.name}:{facts.number}", secret, url)


def _run(image: str, secret: str, url: str) -> None:
    port = f"127.0.0.1:{recipes.PORT}:{recipes.PORT}"
    limits = ["--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
    started = _docker(
        "run", "-d", "-p", port, *limits, "-e", f"REPLICA_SECRET={secret}", image, stdout=subprocess.PIPE
    ).stdout.strip()
    try:
        answer(url, secret)
    finally:
        _docker("rm", "-f", started, stdout=subprocess.DEVNULL)


def _compose(folder: Path, secret: str, url: str) -> None:
    import os

    compose = ["docker-compose"] if shutil.which("docker-compose") else ["docker", "compose"]
    environment = {**os.environ, "REPLICA_SECRET": secret}
    subprocess.run([*compose, "up", "-d", "--no-build"], cwd=folder, check=True, env=environment)
    try:
        answer(url, secret)
    finally:
        subprocess.run([*compose, "down"], cwd=folder, check=True, env=environment)


if __name__ == "__main__":
    main()
