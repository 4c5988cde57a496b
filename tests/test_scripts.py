"""Scripts without a page: their tests run in Node."""

import json
import subprocess
from pathlib import Path

from labeling.form.codec import pretty

ROOT = Path(__file__).parent.parent


def node(*arguments: str) -> str:
    done = subprocess.run(["node", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_scripts() -> None:
    """All tests of ``tests/js`` pass."""
    node("--test", "tests/js/")


def test_the_json_view_writes_json_as_the_server_does() -> None:
    value = {"vendor": 'A "b" Ünï', "items": [{"name": "Widget"}, {}, ""], "tags": [], "none": {}}
    script = "import { print } from './static/js/annotation/json_values.js'; process.stdout.write(print(%s));"
    assert node("--input-type=module", "-e", script % json.dumps(value)) == pretty(value)
