"""Downloads from the hub: which files, and errors of size, disk and network."""

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest

from slmstudio.errors import Refused
from tests.training.ml_data import tiny
from training.ml.prepare import prepare
from training.spec import PrepareSpec

GB = 1_000_000_000


def spec(output: Path, **more: Any) -> PrepareSpec:
    return PrepareSpec(kind="hub", source="org/model", output_dir=str(output), **more)


def sharded(folder: Path) -> Path:
    """A model as some keep it: its weights by an index, and all of them again under another name."""
    source = Path(shutil.copytree(tiny(), folder))
    (source / "model.safetensors").rename(source / "model-00001-of-00001.safetensors")
    weights = (source / "model-00001-of-00001.safetensors").read_bytes()
    names = json.loads(weights[8 : 8 + int.from_bytes(weights[:8], "little")])
    names.pop("__metadata__", None)
    placed = dict.fromkeys(names, "model-00001-of-00001.safetensors")
    (source / "model.safetensors.index.json").write_text(json.dumps({"weight_map": placed}))
    (source / "consolidated.safetensors").write_bytes(weights)
    return source


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Puts a folder on a hub of our own; gives the names that were downloaded."""

    def put(source: Path, *, sizes: dict[str, int] | None = None, broken: Exception | None = None) -> list[str]:
        fetched: list[str] = []
        siblings = [
            SimpleNamespace(rfilename=path.name, size=(sizes or {}).get(path.name, path.stat().st_size))
            for path in source.iterdir()
        ]
        info = SimpleNamespace(sha="c0ffee", siblings=siblings, card_data=None)
        monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda self, *args, **kwargs: info)

        def file(repo: str, name: str, *, revision: str, local_dir: Path) -> str:
            (local_dir / ".cache").mkdir(exist_ok=True)
            fetched.append(name)
            return str(shutil.copyfile(source / name, local_dir / name))

        def snapshot(repo: str, *, revision: str, allow_patterns: list[str], local_dir: Path) -> str:
            if broken is not None:
                raise broken
            for name in allow_patterns:
                file(repo, name, revision=revision, local_dir=local_dir)
            return str(local_dir)

        monkeypatch.setattr(huggingface_hub, "hf_hub_download", file)
        monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
        return fetched

    return put


def test_duplicate_weights_are_copied_or_downloaded_once(hub: Any, tmp_path: Path) -> None:
    source = sharded(tmp_path / "source")
    local = prepare(PrepareSpec(kind="local", source=str(source), output_dir=str(tmp_path / "local")))
    assert local["parameters"] == 147_840
    assert not (tmp_path / "local" / "consolidated.safetensors").exists()
    fetched = hub(source)
    done = prepare(spec(tmp_path / "out"))
    assert "consolidated.safetensors" not in fetched
    assert done["parameters"] == 147_840  # and not twice as many
    assert done["revision"] == "c0ffee"
    assert {path.name for path in tmp_path.iterdir()} == {"source", "local", "out"}
    assert not (tmp_path / "out" / ".cache").exists()


@pytest.mark.parametrize(
    ("size", "free", "most", "expected"),
    [
        (900 * GB, 10_000 * GB, 40, "the limit is 40 GB"),
        (900 * GB, 50 * GB, 0, "org/model is 900 GB. 50 GB"),
        (49 * GB, 50 * GB, 0, "2.0 GB"),
    ],
)
def test_download_needs_free_disk(
    hub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, free: int, most: int, expected: str
) -> None:
    fetched = hub(tiny(), sizes={"model.safetensors": size})
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free))
    with pytest.raises(Refused) as caught:
        prepare(spec(tmp_path / "out", max_gb=float(most)))
    assert expected in caught.value.message
    assert (caught.value.code, fetched, list(tmp_path.iterdir())) == ("disk", [], [])


@pytest.mark.parametrize(
    ("error", "kind", "expected"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "disk", "The disk is full, so org/model was not downloaded"),
        (RuntimeError("Data processing error: No space left on device (os error 28)"), "disk", "The disk is full"),
        (PermissionError(errno.EACCES, "Permission denied"), "disk", "cannot be written here: Permission denied"),
        (OSError(errno.ENETUNREACH, "Network is unreachable"), "offline", "The hub cannot be reached"),
        (ConnectionResetError(errno.ECONNRESET, "reset"), "offline", "The hub cannot be reached"),
    ],
)
def test_failed_download_names_its_cause(hub: Any, tmp_path: Path, error: Exception, kind: str, expected: str) -> None:
    hub(tiny(), broken=error)
    with pytest.raises(Refused) as caught:
        prepare(spec(tmp_path / "out"))
    assert (caught.value.code, expected in caught.value.message) == (kind, True)
    assert list(tmp_path.iterdir()) == []
