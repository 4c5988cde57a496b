"""The checks of ``bin/`` before anything is installed."""

import os
import subprocess
from pathlib import Path

import pytest
from django.conf import settings


@pytest.mark.parametrize(
    ("version", "setup", "tools"),
    [
        ("18.20.4", 2, 2),
        ("20.18.3", 0, 2),
        ("20.19.0", 0, 0),
        ("21.7.0", 0, 2),
        ("22.13.0", 0, 0),
        ("23.5.0", 0, 2),
    ],
)
def test_node_versions(tmp_path: Path, version: str, setup: int, tools: int) -> None:
    for name in ("node", "npm"):
        (tmp_path / name).write_text(f"#!/bin/sh\necho v{version}\n")
        (tmp_path / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}

    def code(*arguments: str) -> int:
        command = [str(settings.BASE_DIR / "bin/check-node"), *arguments]
        return subprocess.run(command, env=environment, check=False, capture_output=True).returncode

    assert (code(), code("tools")) == (setup, tools)
