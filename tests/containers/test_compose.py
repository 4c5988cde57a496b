"""The stack of compose.yaml: from an empty host to a model that answers, in a browser, through nginx with TLS; then
containers are killed, and nothing that was stored is lost.

``make test-containers`` builds the images and sets CONTAINERS. The variables POSTGRES_IMAGE, VALKEY_IMAGE and
NGINX_IMAGE name other images than those of Docker Hub, such as the targets of the Dockerfile of this folder.
"""

import json
import os
import re
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from labeling.demo.samples import Sample, generate
from slmstudio.contract.schema.compiled import dumps
from tests.browser.conftest import ARGUMENTS
from tests.conftest import ROOT

pytestmark = [
    pytest.mark.skipif(os.environ.get("CONTAINERS") != "1", reason="make test-containers builds the images first"),
    pytest.mark.timeout(2400),
]
HOST = "studio.localhost"
STUDIO = f"https://{HOST}"
#: milliseconds: every page is served by programs that train at the same time
LONG = 60_000
#: fields of the demo whose labels on the screen are not their keys
TITLES = {"invoice_id": "Invoice number", "date": "Invoice date"}


class Stack:
    """compose.yaml under a project name of its own, with new secrets, on 127.0.0.1:443."""

    def __init__(self, folder: Path) -> None:
        certificates = folder / "certificates"
        certificates.mkdir()
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
             "-days", "2", "-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST}",
             "-keyout", certificates / "studio.key", "-out", certificates / "studio.pem"],
            check=True, capture_output=True,
        )  # fmt: skip
        names = ("SECRET_KEY", "DATABASE_PASSWORD", "DATABASE_OWNER_PASSWORD", "VALKEY_PASSWORD")
        variables = {name: secrets.token_hex(32) for name in names}
        variables |= {
            "STUDIO_HOST": HOST, "HTTPS_PORT": "127.0.0.1:443", "STUDIO_CERTIFICATES": str(certificates),
            "GATEWAY_URL": "http://gateway:8001",
        }  # fmt: skip
        (folder / "env").write_text("".join(f"{name}={value}\n" for name, value in variables.items()))
        # The shell's variables would precede those of the file.
        self._environment = {name: value for name, value in os.environ.items() if name not in variables}
        self._command = ["docker", "compose", "--project-name", "slmstudio-test", "--env-file", str(folder / "env")]

    def run(self, *arguments: str) -> str:
        """The output of ``docker compose``."""
        command, environment = [*self._command, *arguments], self._environment
        result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert result.returncode == 0, f"{arguments}: {result.stdout[-2000:]}{result.stderr[-2000:]}"
        return result.stdout

    def manage(self, *arguments: str) -> str:
        """The output of a command of the application, in the container of the web server."""
        return self.run("exec", "-T", "web", "slm-studio", *arguments)

    def states(self) -> dict[str, str]:
        """Service -> ``healthy``, or what Docker calls the state of one that has no health check."""
        rows = map(json.loads, self.run("ps", "--all", "--format", "json").splitlines())
        return {row["Service"]: row["Health"] or row["State"] for row in rows}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The running stack; its volumes are removed afterward."""
    assert shutil.which("docker"), "Docker is not installed"
    running = Stack(tmp_path_factory.mktemp("stack"))
    try:
        running.run("up", "--detach")
        yield running
    finally:
        running.run("down", "--volumes", "--timeout", "5")


@pytest.fixture(scope="module")
def passwords(stack: Stack) -> dict[str, str]:
    """The users of the demo project, whose runs are queued."""
    lines = stack.manage("setup_demo").splitlines()
    logins = [match for line in lines if (match := re.fullmatch(r"\s*\w+\s+(\w+)\s+(\S{16,})", line))]
    assert len(logins) == 3, lines
    assert counted(stack, "training", "TrainingRun") > 0
    return {login[1]: login[2] for login in logins}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, which finds HOST at this machine."""
    path = shutil.which("chromium-headless-shell", path=f"{os.environ['PATH']}:/usr/lib/chromium")
    with sync_playwright() as running:
        yield running.chromium.launch(executable_path=path or shutil.which("chromium"), args=ARGUMENTS)


@pytest.fixture(scope="module")
def enter(browser: Browser, passwords: dict[str, str]) -> Callable[[str], Page]:
    """``enter("ana")`` is a page of a browser in which that person has just signed in."""

    def sign_in(name: str) -> Page:
        page = browser.new_context(ignore_https_errors=True, base_url=STUDIO).new_page()
        page.set_default_timeout(LONG)
        page.goto("/login/")
        page.get_by_label("Username").fill(name)
        page.get_by_label("Password").fill(passwords[name])
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("link", name="Invoices").first).to_be_visible(timeout=LONG)
        return page

    return sign_in


def until(is_done: Callable[[], bool], seconds: float, what: str) -> None:
    """Waits; fails with ``what`` after ``seconds``."""
    end = time.monotonic() + seconds
    while not is_done():
        assert time.monotonic() < end, what
        time.sleep(2)


def counted(stack: Stack, app: str, model: str, **filters: str) -> int:
    """Rows of a model in the database of the stack."""
    code = f"from {app}.models import {model}; print({model}.objects.filter(**{filters}).count())"
    return int(stack.manage("shell", "--no-imports", "--command", code).split()[-1])


def submitted(stack: Stack) -> int:
    return counted(stack, "labeling", "Document", state="submitted")


def test_every_service_runs_as_a_user_without_rights(stack: Stack) -> None:
    states = stack.states()
    assert states.pop("migrate") == "exited"
    with_health = {"postgres", "valkey", "web", "gateway"}
    assert states == {name: "healthy" if name in with_health else "running" for name in states}
    assert set(states) == {*with_health, "serve", "worker", "imports", "gpu", "periodic", "proxy"}
    assert stack.run("exec", "-T", "web", "id", "-u").strip() == "10001"
    look = "touch /opt/studio/x 2>/dev/null && echo written; grep CapEff /proc/self/status; which gcc git || true"
    assert stack.run("exec", "-T", "worker", "sh", "-c", look).split() == ["CapEff:", "0" * 16]
    assert _asked("/").status_code == 302


def test_a_container_without_a_volume_does_not_start() -> None:
    prefix = os.environ.get("IMAGE_PREFIX", "slmstudio-")
    result = subprocess.run(["docker", "run", "--rm", f"{prefix}web"], capture_output=True, text=True, check=False)
    assert result.returncode == 78
    assert "SLM_HOME" in result.stderr


def test_from_a_label_to_an_answer(stack: Stack, enter: Callable[[str], Page]) -> None:
    labeled = submitted(stack) + 1  # with what the demo imported
    _label(enter("ana"))
    assert submitted(stack) == labeled
    page = enter("erik")
    until(lambda: _status(page, "/p/invoices/gates/1/") == 200, 1500, "there is no gate report")
    mona = enter("mona")  # a decision needs a sign-in of the last minutes
    _approve_and_deploy(mona)
    samples = list(islice((sample for sample in generate(100, seed=4) if not sample.tags), 3))
    until(lambda: _answers(mona, samples[0]), 300, "the model is deployed and does not answer")
    token = _token(enter("erik"))
    for sample in samples:
        response = _extract(token, sample)
        assert response.status_code == 200, response.text
        assert response.json()["output"] == sample.gold
    for name in ("gateway", "web", "worker", "serve", "valkey", "postgres"):
        _kill(stack, name)
        until(lambda: _is_answered(token, samples[0]), 120, f"no answer after {name} was killed")
    assert submitted(stack) == labeled
    until(
        lambda: counted(stack, "serving", "RequestLog") >= len(samples), 60, "answered requests are missing in the log"
    )


def _label(page: Page) -> None:
    """Labels the first document of the queue with what the generator says is in it."""
    page.goto("/p/invoices/label/")
    samples = {sample.external_id: sample for sample in islice(generate(1040, seed=17), 1040)}
    sample = samples[page.locator("#document-name").inner_text()]
    for key, value in sample.gold.items():
        page.get_by_role("textbox", name=TITLES.get(key, key.replace("_", " ").capitalize())).fill(str(value))
    page.keyboard.press("Alt+Shift+Digit0")  # no other field is in the document
    page.keyboard.press("Control+Enter")
    expect(page.locator("#document")).not_to_contain_text(sample.text.splitlines()[0])


def _status(page: Page, path: str) -> int:
    response = page.goto(path)
    return response.status if response else 0


def _approve_and_deploy(page: Page) -> None:
    page.goto("/p/invoices/gates/1/")
    page.get_by_label("Approve").check()
    page.locator("[name=reason]").fill("Every gate passes.")
    page.get_by_role("button", name="Decide").click()
    expect(page.locator("#decision")).to_contain_text("by mona")
    page.goto("/p/invoices/deploy/?report=1#deploy")
    page.locator("#deploy").get_by_role("button", name="Deploy").click()
    expect(page.locator(".release").first).to_be_visible()


def _answers(page: Page, sample: Sample) -> bool:
    page.goto("/p/invoices/deploy/")
    if not page.locator("#try textarea").count():
        return False
    page.locator("#try textarea").fill(sample.text)
    with page.expect_response("**/deploy/try/"):
        page.locator("#try").get_by_role("button", name="Send").click()
    page.wait_for_timeout(500)
    answer = page.locator(".answer pre")
    return answer.count() > 0 and json.loads(answer.first.inner_text()) == json.loads(dumps(sample.gold))


def _token(page: Page) -> str:
    page.goto("/p/invoices/tokens/")
    page.locator("[name=name]").fill("client")
    page.get_by_role("button", name="Create token").click()
    return page.locator("#made-token").input_value()


def _asked(path: str, token: str = "", **arguments: Any) -> httpx.Response:
    """The answer to a request at 127.0.0.1 with the name HOST, which only browsers find without DNS."""
    headers = {"Host": HOST} | ({"Authorization": f"Bearer {token}"} if token else {})
    with httpx.Client(base_url="https://127.0.0.1", headers=headers, verify=False, timeout=60) as client:
        return client.request("POST" if arguments else "GET", path, **arguments)


def _extract(token: str, sample: Sample) -> httpx.Response:
    return _asked("/api/v1/projects/invoices/extract", token, json={"text": sample.text})


def _is_answered(token: str, sample: Sample) -> bool:
    try:
        return _extract(token, sample).status_code == 200 and _asked("/healthz").status_code == 200
    except httpx.HTTPError:
        return False


def _kill(stack: Stack, service: str) -> None:
    """Ends a container with SIGKILL, and starts it again, which Docker does by itself only after a crash."""
    stack.run("kill", service)
    stack.run("up", "--detach", "--no-deps", service)
