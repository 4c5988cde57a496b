"""Generated tests of the REST interface against its OpenAPI document, with valid and invalid requests.

Nothing may end in a 5xx, in a status or content type that the description does not name, or in an answer that is not of
the shape it promises; what is wrong must be refused, and nothing is open without a token.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pytest_django.live_server_helper import LiveServer

from tests.labeling.api_client import api_of
from tests.labeling.desk import bring_in, invoice, make_desk

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
    "negative_data_rejection",
    "unsupported_method",
    "allow_header_conformance",
    "ignored_auth",
)
#: a parameter without a value counts as absent (the fields of an HTML form), so it is no wrong request
HOOKS = """
import schemathesis


@schemathesis.hook
def filter_query(context, query):
    return all(value not in ("", [], {}, None) for value in (query or {}).values())
"""


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_api_conforms_to_its_schema(live_server: LiveServer, queues: None, settings: Any, tmp_path: Path) -> None:
    settings.API_REQUESTS_PER_MINUTE = 1_000_000
    settings.OUTBOUND_ALLOW = ["127.0.0.1"]
    desk = make_desk()
    bring_in(desk.project, [invoice(number, gold=number % 2 == 0) for number in range(30)])
    token = api_of(desk.project, desk.people["owner"]).token
    command = [
        *(sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()"),
        *("run", f"{live_server.url}/api/v1/openapi.json", "--url", live_server.url, "--wait-for-schema", "60"),
        *("--header", f"Authorization: Bearer {token}"),
        *("--checks", ",".join(CHECKS)),
        *("--phases", "coverage", "--seed", "17"),
        # It would end the token that all this comes with.
        *("--exclude-path-regex", "/tokens/"),
        *("--no-color", "--warnings", "off"),
    ]
    (tmp_path / "hooks.py").write_text(HOOKS)
    environment = {
        **os.environ, "HYPOTHESIS_STORAGE_DIRECTORY": str(tmp_path / "hypothesis"), "SCHEMATHESIS_HOOKS": "hooks",
    }  # fmt: skip
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=500, check=False
    )
    assert done.returncode == 0, done.stdout[-12_000:] + done.stderr[-2_000:]
    assert "passed" in done.stdout
