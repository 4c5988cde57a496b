"""Child processes get the environment variables they need, and no secrets."""

import json
import subprocess
import sys
from ctypes.util import find_library
from pathlib import Path
from typing import Any

import pytest

from labeling.models import ImportRun
from slmstudio.runs import child_environment as settings_module
from slmstudio.runs import supervisor
from slmstudio.runs.child_environment import DOWNLOADS, child_environment, cpu_settings

SECRETS = (
    "DATABASE_URL", "DATABASE_OWNER_URL", "REDIS_URL", "SECRET_KEY", "SECRET_KEY_FALLBACKS", "SLM_KEY_TODAY",
    "SLM_KEY_TODAY_HOSTS", "WANDB_API_KEY", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "HTTPS_PROXY", "PGPASSWORD",
)  # fmt: skip
MAPS = "import json; print(json.dumps({'event': 'maps', 'maps': open('/proc/self/maps').read()}))"
DUMP = "import json, os; print(json.dumps({'event': 'environment', 'names': sorted(os.environ)}))"


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SECRETS:
        monkeypatch.setenv(name, "secret")


def test_only_needed_variables_are_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    compute = {"HSA_OVERRIDE_GFX_VERSION", "CUBLAS_WORKSPACE_CONFIG", "GLOO_SOCKET_IFNAME", "CC", "PATH"}
    download = {"HF_HUB_DOWNLOAD_TIMEOUT", "HF_XET_CACHE", "HF_TOKEN_PATH", "HF_TOKEN", "HTTPS_PROXY"}
    for name in (compute | download) - {"PATH"}:
        monkeypatch.setenv(name, "set")
    assert compute <= set(child_environment())
    assert not (set(SECRETS) | download) & set(child_environment())
    requested = set(child_environment([*DOWNLOADS, "WANDB_*"]))
    assert download | {"WANDB_API_KEY"} <= requested
    assert "DATABASE_URL" not in requested


def test_a_supervised_child_has_no_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = ImportRun()
    seen: list[dict[str, Any]] = []
    monkeypatch.setattr(ImportRun, "send_heartbeat", lambda self, **_: True)
    ending = supervisor.supervise(run, [sys.executable, "-c", DUMP], on_event=seen.append, log=tmp_path / "log")
    assert ending.ok
    assert not set(SECRETS) & set(seen[0]["names"])


@pytest.mark.parametrize(
    "module", ["labeling.imports.formats.scans", "labeling.imports.formats.arrow", "training.child_processes"]
)
def test_every_child_uses_the_child_environment(module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib import import_module

    given: list[Any] = []

    class Started(Exception):
        pass

    def start(*_: Any, env: Any = None, **__: Any) -> Any:
        given.append(env)
        raise Started

    imported: Any = import_module(module)
    monkeypatch.setattr(subprocess, "Popen", start)
    context: Any = type("Context", (), {"folder": tmp_path, "options": {}})()
    starts = {
        "scans": lambda: imported.Scanner(context)._ask({}),
        "arrow": lambda: next(imported._records_of(tmp_path, lambda: False)),
        "child_processes": lambda: imported.run_child("training.ml.verify", tmp_path / "spec", tmp_path / "log"),
    }
    with pytest.raises(Started):
        starts[module.rpartition(".")[2]]()
    assert given[0] is not None
    assert not set(SECRETS) & set(given[0])
    json.dumps(given[0])


@pytest.mark.parametrize(
    ("system", "library"), [("linux", None), ("linux", "libnone.so.4"), ("darwin", "libtcmalloc_minimal.dylib")]
)
def test_nothing_is_preloaded_that_does_not_work(
    monkeypatch: pytest.MonkeyPatch, system: str, library: str | None
) -> None:
    monkeypatch.setattr(settings_module, "find_library", lambda name: library)
    monkeypatch.setattr(sys, "platform", system)
    variables = cpu_settings.__wrapped__()
    assert "LD_PRELOAD" not in variables
    assert "GLIBC_TUNABLES" in variables


@pytest.mark.skipif(sys.platform != "linux", reason="reads the maps of a process of Linux")
def test_a_child_has_tcmalloc_unless_another_library_is_preloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LD_PRELOAD", raising=False)
    monkeypatch.setattr(ImportRun, "send_heartbeat", lambda self, **_: True)
    seen: list[dict[str, Any]] = []

    def maps() -> str:
        seen.clear()
        child = [sys.executable, "-c", MAPS]
        assert supervisor.supervise(ImportRun(), child, on_event=seen.append, log=tmp_path / "log").ok
        assert (tmp_path / "log").read_text() == ""
        return str(seen[0]["maps"])

    assert ("libtcmalloc_minimal" in maps()) == ("LD_PRELOAD" in cpu_settings())
    monkeypatch.setenv("LD_PRELOAD", find_library("m") or "")
    assert "libtcmalloc_minimal" not in maps()
