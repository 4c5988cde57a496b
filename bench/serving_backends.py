"""Backends behind the gateway: ``python -m bench.serving_backends HOME [--variants KEY ...] [--documents N]``.

HOME is made by ``bench.serving_backends_model``. For each variant of its package: documents per second and latency of
callers that send one document after another to the gateway, and the field accuracy of the outputs against gold. Then
llama.cpp alone, one document after another, with and without the cache of the prompt's prefix, and with and without
speculation that copies from the prompt. Real processes: PostgreSQL, Valkey, a gateway, a replica.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp

from bench.serving_backends_model import contract
from bench.studio import free_port, studio, wait_for
from bench.timing import percentile, table
from serving.packages.spec import FILE, ServeSpec
from slmstudio.contract.json_text import dumps, loads
from slmstudio.stack.environment import ROOT

_PATH = "/api/v1/projects/bench/extract"
WARM = 2


@dataclass
class Measured:
    """Outputs in the order of the documents ("" where there is none), and their times in milliseconds."""

    seconds: float
    times: list[float]
    outputs: list[str]


def main() -> None:
    """Measures and prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("home", type=Path)
    parser.add_argument("--variants", nargs="+", help="default: all of the package")
    parser.add_argument("--documents", type=int, default=40)
    parser.add_argument("--callers", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--slots", type=int, nargs="+", default=[2], help="concurrent documents of llama.cpp")
    parser.add_argument("--llama", action="store_true", help="only the second table")
    options = parser.parse_args()
    package = options.home / "package"
    spec = ServeSpec.from_yaml((package / FILE).read_text(encoding="utf-8"))
    rows = [json.loads(line) for line in (options.home / "data.jsonl").read_text().splitlines()]
    rows = [row for row in rows if row["split"] == "holdout"][: options.documents]
    if not options.llama:
        keys = options.variants or [spec.key, *(one.key for one in spec.variants)]
        _through_gateway(package, [(key, slots) for key in keys for slots in options.slots], rows, options.callers)
    if options.llama or not options.variants:
        _llama(package, rows)


def accuracy(rows: list[dict[str, Any]], outputs: list[str]) -> float:
    """Mean field accuracy."""
    from evaluation.scores.score_view import ScoreView
    from slmstudio.contract.schema.compiled import compile_schema
    from slmstudio.contract.scoring.scorer import score_document

    schema = compile_schema(contract().schema)
    scores = [
        ScoreView.of(score_document(schema, text=row["text"], gold=row["gold"], raw=raw)).accuracy
        for row, raw in zip(rows, outputs, strict=True)
    ]
    return sum(scores) / len(scores)


# -- behind the gateway -----------------------------------------------------------------------------------------------


def _through_gateway(
    package: Path, replicas: list[tuple[str, int]], rows: list[dict[str, Any]], callers: list[int]
) -> None:
    found = []
    with studio(web_workers=1) as _:
        from bench.serving import deployed
        from serving.models import Replica

        token, release = deployed()
        port = free_port()
        environment = {**os.environ, "API_REQUESTS_PER_MINUTE": "1000000"}
        command = [sys.executable, "-m", "serving.gateway", "--bind", f"127.0.0.1:{port}"]
        gateway = subprocess.Popen(command, cwd=ROOT, env=environment)
        try:
            wait_for(port)
            for key, slots in replicas:
                with _Replica(package, key, slots, package.parent / "bench.sock") as (process, engine):
                    Replica.objects.all().delete()
                    address = f"unix:{package.parent / 'bench.sock'}"
                    _announce(release, address)
                    for number in callers:
                        measured = asyncio.run(_ask(port, token, rows, number))
                        found.append(_row(key, engine, slots, number, rows, measured, _memory(process)))
                        print(" ".join(found[-1]), file=sys.stderr, flush=True)
        finally:
            gateway.terminate()
            gateway.wait(20)
    heads = ("variant", "engine", "slots", "callers", "documents/s", "p50 ms", "p95 ms", "field accuracy", "MiB")
    print(table("Behind the gateway", heads, found))


def _announce(release: Any, address: str) -> None:
    from django.utils import timezone

    from serving.models import Replica

    Replica.objects.create(
        release=release, host="bench", slot=0, state="ready", address=address,
        heartbeat_at=timezone.now() + timedelta(days=1),
    )  # fmt: skip
    time.sleep(4)  # the gateway looks every two seconds


class _Replica:
    """A replica of one variant as a process; its engine's name once it answers."""

    def __init__(self, package: Path, key: str, slots: int, socket: Path) -> None:
        self._command = [
            *(sys.executable, "-m", "serving.ml.replica", str(package), "--address", f"unix:{socket}"),
            *("--variant", key, "--slots", str(slots)),
        ]
        self._log = (package.parent / f"replica-{key}.log").open("wb")

    def __enter__(self) -> "tuple[subprocess.Popen[str], str]":
        from serving.replicas.addresses import secret
        from serving.replicas.protocol import SECRET_VARIABLE

        self._process = subprocess.Popen(
            self._command, cwd=ROOT, stdout=subprocess.PIPE, stderr=self._log, text=True,
            env={**os.environ, SECRET_VARIABLE: secret()},
        )  # fmt: skip
        assert self._process.stdout is not None
        event = json.loads(self._process.stdout.readline() or "{}")
        if event.get("event") != "ready":
            self.__exit__()
            raise SystemExit(f"The replica does not start: {event}")
        return self._process, str(event["identity"]["engine"])

    def __exit__(self, *error: object) -> None:
        self._process.terminate()
        self._process.wait(60)
        self._log.close()


def _memory(process: "subprocess.Popen[str]") -> int:
    """MiB of a process and its children."""
    import psutil

    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    return int(sum(one.memory_info().rss for one in family) // 2**20)


async def _ask(port: int, token: str, rows: list[dict[str, Any]], callers: int) -> Measured:
    times, outputs = [0.0] * len(rows), [""] * len(rows)
    waiting = list(range(len(rows)))
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=300)) as client:

        async def send(text: str) -> str:
            async with client.post(f"http://127.0.0.1:{port}{_PATH}", json={"text": text, "evidence": False}) as found:
                body = await found.text()
                return dumps(loads(body)["output"]) if found.status == 200 else ""

        async def caller() -> None:
            while waiting:
                number = waiting.pop(0)
                began = time.perf_counter()
                outputs[number] = await send(rows[number]["text"])
                times[number] = (time.perf_counter() - began) * 1000

        for row in rows[:WARM]:
            await send(row["text"])
        began = time.perf_counter()
        await asyncio.gather(*[caller() for _ in range(callers)])
        return Measured(time.perf_counter() - began, sorted(times), outputs)


def _row(
    key: str, engine: str, slots: int, callers: int, rows: list[dict[str, Any]], measured: Measured, memory: int
) -> tuple[str, ...]:
    return (
        key, engine, str(slots), str(callers), f"{len(rows) / measured.seconds:.2f}",
        f"{percentile(measured.times, 0.5):.0f}", f"{percentile(measured.times, 0.95):.0f}",
        f"{100 * accuracy(rows, measured.outputs):.1f}%", str(memory),
    )  # fmt: skip


# -- llama.cpp alone --------------------------------------------------------------------------------------------------


def _llama(package: Path, rows: list[dict[str, Any]]) -> None:
    spec = ServeSpec.from_yaml((package / FILE).read_text(encoding="utf-8"))
    keys = [one.key for one in spec.variants if one.engine == "llama_cpp"]
    found = []
    for key in keys:
        plain: list[str] = []
        for cache, speculate in ((False, False), (True, False), (True, True)):
            measured = asyncio.run(_alone(package, key, rows, cache=cache, speculate=speculate))
            plain = plain or measured.outputs
            equal = sum(one == other for one, other in zip(plain, measured.outputs, strict=True))
            found.append(
                (
                    key, "on" if cache else "off", "on" if speculate else "off", f"{len(rows) / measured.seconds:.2f}",
                    f"{percentile(measured.times, 0.5):.0f}", f"{percentile(measured.times, 0.95):.0f}",
                    f"{equal} of {len(rows)}", f"{100 * accuracy(rows, measured.outputs):.1f}%",
                )
            )  # fmt: skip
            print("llama.cpp:", " ".join(found[-1]), file=sys.stderr, flush=True)
    heads = ("variant", "prefix cache", "speculation", "documents/s", "p50 ms", "p95 ms", "equal", "field accuracy")
    print(table("llama.cpp alone, one document after another", heads, found))


async def _alone(package: Path, key: str, rows: list[dict[str, Any]], *, cache: bool, speculate: bool) -> Measured:
    from serving.ml.engines.llama_cpp import LlamaCppEngine
    from serving.ml.loading import load_package

    engine = load_package(package, variant=key).engine
    assert isinstance(engine, LlamaCppEngine)
    engine.cache_prompt, engine.speculate = cache, speculate
    await engine.start()
    try:
        for row in rows[:WARM]:
            await engine.answer(row["text"])
        times, outputs = [], []
        began = time.perf_counter()
        for row in rows:
            at = time.perf_counter()
            outputs.append((await engine.answer(row["text"])).raw)
            times.append((time.perf_counter() - at) * 1000)
        return Measured(time.perf_counter() - began, sorted(times), outputs)
    finally:
        await engine.close()


if __name__ == "__main__":
    main()
