"""Error messages contain no absolute paths."""

import sys
import tempfile
from pathlib import Path

import pytest
from django.conf import settings

from slmstudio.runs.path_redaction import redact_paths


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"no {settings.HOME}/artifacts/a.bin", "no $SLM_HOME/artifacts/a.bin"),
        (f"{settings.BASE_DIR}/training/jobs.py failed", "training/jobs.py failed"),
        (f'File "{sys.prefix}/lib/x.py", line 3', 'File "python/lib/x.py", line 3'),
        (f"{tempfile.gettempdir()}/spec-1.yaml is gone", "tmp/spec-1.yaml is gone"),
        ("[Errno 2] No such file: '/srv/models/a/config.json'", "[Errno 2] No such file: 'config.json'"),
        ("At /items/0/total: a number", "At /items/0/total: a number"),
        ("https://example.com/usr/lib/x", "https://example.com/usr/lib/x"),
        ("12 / 13 and a/b/c", "12 / 13 and a/b/c"),
        ("", ""),
    ],
    # The texts name folders of this process, and processes of one run must agree about the names of tests.
    ids=["home", "checkout", "python", "temporary", "elsewhere", "pointer", "address", "fraction", "empty"],
)
def test_paths_are_shortened(text: str, shown: str) -> None:
    assert redact_paths(text) == shown


def test_only_whole_path_parts_are_redacted() -> None:
    other = f"{settings.BASE_DIR}-other/file"
    assert str(Path(other).name) in redact_paths(other)
