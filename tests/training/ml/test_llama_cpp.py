"""The llama.cpp server of a process: no proxy, timeouts, errors."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import httpx
import pytest

from tests.servers import in_thread
from training.ml import prepare
from training.ml.llama_cpp import runtime


class _Answers(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = json.dumps({"tokens": [1, 2]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Says nothing."""


@pytest.fixture
def server() -> Iterator[str]:
    answers = HTTPServer(("127.0.0.1", 0), _Answers)
    with in_thread(answers):
        yield f"http://127.0.0.1:{answers.server_port}"


def test_documents_bypass_proxies(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # no server
    assert runtime.Llama(server).tokenize("a receipt") == [1, 2]


def test_timeout_grows_with_tokens() -> None:
    assert runtime.answer_seconds(1500, 500) > 3600  # 4 B parameters at 16 bits on four cores
    assert runtime.answer_seconds(1, 1) < 180


def test_unresponsive_llama_cpp_is_an_error_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "installed", lambda: True)
    for error in (httpx.ConnectError("refused"), RuntimeError("failed to load"), OSError("no library")):
        monkeypatch.setattr(runtime, "compare", Mock(side_effect=error))
        assert "Not compared with llama.cpp" in prepare._compare_with_llama_cpp(Path("x.gguf"), None, None, "Smol")
