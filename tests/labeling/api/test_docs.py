"""docs/api.md does what it says: its examples are run as they stand, against a server and a worker that are real."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from pytest_django.live_server_helper import LiveServer

from labeling.integrations import deliveries
from labeling.models import DatasetVersion, Document, Gold
from tests.conftest import Workers
from tests.labeling.api_client import api_of
from tests.labeling.desk import Desk, make_desk

TEXT = (Path(django_settings.BASE_DIR) / "docs/api.md").read_text()


def example(language: str, word: str) -> str:
    """The one block of code of the page that has this word in it."""
    [block] = [code for code in re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL) if word in code]
    return str(block)


def run(command: list[str], code: str, desk: Desk, url: str, folder: Path) -> str:
    environment = {
        **os.environ,
        "SLM_URL": url,
        "SLM_PROJECT": desk.project.slug,
        "SLM_TOKEN": api_of(desk.project, desk.people["engineer"]).token,
    }
    done = subprocess.run(
        command, input=code, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.django_db(transaction=True)
def test_the_example_in_python(live_server: LiveServer, queues: None, tmp_path: Path) -> None:
    desk = make_desk()
    lines = run([sys.executable, "-"], example("python", "queue/next"), desk, live_server.url, tmp_path).splitlines()
    assert lines[:2] == ["2 imported, 0 duplicates, 1 rejected", 'row 3: "text" is missing']
    assert lines[2:4] == ["A-1029 submitted", "A-1030 submitted"]
    outputs = [json.loads(json.loads(line)["output"])["total_amount"] for line in lines[4:]]
    assert outputs == [1248.5, 99.9]
    assert Gold.objects.count() == 2
    again = run([sys.executable, "-"], example("python", "queue/next"), desk, live_server.url, tmp_path)
    assert again.startswith("0 imported, 2 duplicates, 1 rejected")


@pytest.mark.slow
def test_the_example_with_curl(live_server: LiveServer, idle_workers: Workers, tmp_path: Path) -> None:
    idle_workers.start("default", "imports")
    desk = make_desk()
    row = {"id": "A-1031", "text": "Invoice A-1031 of 2026-01-16 from Acme Supplies. Total 12.50"}
    gold = {"invoice_id": "B-2", "date": "2026-01-17", "vendor": "Acme Supplies", "total_amount": 2}
    more = {"id": "B-2", "text": "Invoice B-2 of 2026-01-17 from Acme Supplies. Total 2.00", "gold": gold}
    (tmp_path / "rows.jsonl").write_text(f"{json.dumps(row)}\n{json.dumps(more)}\n")
    imported, submitted, *_ = run(["sh"], example("sh", "queue/next"), desk, live_server.url, tmp_path).splitlines()
    assert json.loads(imported)["imported"] == 2
    assert json.loads(submitted)["submitted"] is True
    assert '"total_amount":12.50' in submitted
    assert Document.objects.get(external_id="A-1031").state == "submitted"
    assert DatasetVersion.objects.get().counts["documents"] == 2
    lines = [line for name in ("train", "validation") for line in (tmp_path / f"{name}.jsonl").read_text().splitlines()]
    contents = [json.loads(line)["messages"][1]["content"] for line in lines]
    assert sorted(contents) == sorted([row["text"], str(more["text"])])


def test_documented_signature_check() -> None:
    names: dict[str, Any] = {}
    exec(example("python", "is_authentic"), names)
    body = b'{"id": "1"}'
    import time

    now = int(time.time())
    assert names["is_authentic"]("whsec_x", deliveries.signature("whsec_x", body, now), body)
    assert not names["is_authentic"]("whsec_y", deliveries.signature("whsec_x", body, now), body)
    assert not names["is_authentic"]("whsec_x", deliveries.signature("whsec_x", body, now), body + b" ")
    assert not names["is_authentic"]("whsec_x", deliveries.signature("whsec_x", body, now - 400), body)
