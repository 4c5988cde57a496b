"""What ``bench.delivery_walk`` runs and drives: the programs of the studio, three browsers, callers, and the table."""

import contextlib
import os
import queue
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Response, expect, sync_playwright

from bench.delivery_home import PASSWORD, SLUG
from bench.delivery_messages import requests
from bench.studio import free_port, wait_for
from slmstudio.stack.environment import ROOT

#: milliseconds for a page, and for work in the background
PAGE_MS, WORK_MS = 60_000, 1_800_000
expect.set_options(timeout=PAGE_MS)
_ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"]
#: concurrent requests of the callers
_CALLERS = 8
_SEED = 77
#: what htmx logs where a page is left while it asks, and the empty style that a picture of the page adds
_EXPECTED = ("htmx:sendAbort", "htmx:afterRequest", "Failed to load resource", "sha256-47DEQpj8HBSa")


@contextlib.contextmanager
def programs(home: Path) -> Iterator[tuple[str, str]]:
    """The programs of ``make demo``; yields the addresses of pages and gateway. Their logs are in ``home/logs``."""
    web, gateway = free_port(), free_port()
    manage = [sys.executable, "manage.py"]
    commands = {
        "web": [sys.executable, "-m", "slmstudio.server", "--bind", f"127.0.0.1:{web}"],
        "worker": [*manage, "rqworker", "default", "webhooks", "--with-scheduler"],
        "imports": [*manage, "rqworker", "imports"],
        "gpu": [*manage, "rqworker", "gpu"],
        "gateway": [sys.executable, "-m", "serving.gateway", "--bind", f"127.0.0.1:{gateway}"],
        "serve": [*manage, "serve"],
        "sweep": [*manage, "sweep", "--every", "10"],
    }
    variables = {**os.environ, "GATEWAY_URL": f"http://127.0.0.1:{gateway}", "PYTHONUNBUFFERED": "1"}
    folder = home / "logs"
    folder.mkdir(exist_ok=True)
    started = []
    try:
        for name, command in commands.items():
            with (folder / f"{name}.log").open("ab") as log:
                started.append(subprocess.Popen(command, cwd=ROOT, env=variables, stdout=log, stderr=log))
        wait_for(web, seconds=120)
        wait_for(gateway, seconds=120)
        yield f"http://127.0.0.1:{web}", f"http://127.0.0.1:{gateway}"
    finally:
        for process in reversed(started):
            process.terminate()
        for process in started:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(40)
            process.kill()


@dataclass
class Person:
    """Someone with a browser. Clicks and inputs are counted."""

    name: str
    page: Page
    clicks: int = 0

    def click(self, target: Locator) -> None:
        """Clicks."""
        target.click()
        self.clicks += 1

    def link(self, name: str) -> None:
        """Clicks a link of the page by its name."""
        self.click(self.page.get_by_role("link", name=name, exact=True).first)

    def button(self, name: str) -> None:
        """Clicks a button by its name."""
        self.click(self.page.locator("main").get_by_role("button", name=name, exact=True).first)

    def fill(self, name: str, value: str) -> None:
        """Types into the field of this name."""
        self.page.locator(f"[name={name}]:visible").first.fill(value)
        self.clicks += 1

    def select(self, name: str, option: str) -> None:
        """Selects an option of the field of this name, by the beginning of its label or by its value."""
        box = self.page.locator(f"select[name={name}]").first
        for found in box.locator("option").all():
            text, value = found.inner_text().strip(), found.get_attribute("value")
            if text.startswith(option) or value == option:
                box.select_option(value)
                self.clicks += 1
                return
        raise SystemExit(f"{self.name}: {name} has no option {option!r}: {box.inner_text()}")

    def press(self, keys: str) -> None:
        """Presses a key."""
        self.page.keyboard.press(keys)
        self.clicks += 1

    def home(self) -> None:
        """The overview of the project, by its link in the navigation."""
        self.click(self.page.locator("nav").get_by_role("link", name="Overview").first)
        expect(self.page.get_by_role("heading", level=1, name="Messages")).to_be_visible()

    def text(self, selector: str) -> str:
        """What the page shows there, on one line."""
        return " ".join(self.page.locator(selector).first.inner_text().split())


@dataclass
class Call:
    """A request of a caller. ``status`` 0: no response."""

    kind: str
    row: dict[str, Any]
    at: float
    status: int = 0
    code: str = ""
    right: bool = False
    seconds: float = 0.0
    body: dict[str, Any] = field(default_factory=dict)


class Callers:
    """Requests at a steady rate; a share of them is of the marketplace."""

    def __init__(self, gateway: str, token: str, per_second: float) -> None:
        self.calls: list[Call] = []
        self.share, self.per_second = 0.0, per_second
        self._url, self._token = f"{gateway}/api/v1/projects/{SLUG}/extract", token
        self._waiting: queue.Queue[tuple[str, dict[str, Any]] | None] = queue.Queue(_CALLERS)
        self._next, self._stopped = requests(_SEED), threading.Event()
        self._threads = [threading.Thread(target=self._answer, daemon=True) for _ in range(_CALLERS)]
        self._clock = threading.Thread(target=self._tick, daemon=True)

    def start(self) -> None:
        """Starts to send."""
        for thread in (*self._threads, self._clock):
            thread.start()

    def stop(self) -> None:
        """Waits for the last responses."""
        self._stopped.set()
        self._clock.join()
        for _ in self._threads:
            self._waiting.put(None)
        for thread in self._threads:
            thread.join()

    def send(self, kind: str, row: dict[str, Any]) -> Call:
        """One request."""
        call = Call(kind, row, time.monotonic())
        try:
            response = httpx.post(
                self._url, json={"text": row["text"]}, headers={"Authorization": f"Bearer {self._token}"}, timeout=60
            )
            call.status, call.body = response.status_code, response.json()
            call.code = call.body.get("code", "")
            call.right = call.body.get("output") == row["gold"]
        except (httpx.HTTPError, ValueError):
            pass
        call.seconds = time.monotonic() - call.at
        return call

    def _tick(self) -> None:
        due = time.monotonic()
        while not self._stopped.is_set():
            due = max(due + 1 / self.per_second, time.monotonic())
            time.sleep(max(0.0, due - time.monotonic()))
            self._waiting.put(self._next(self.share))

    def _answer(self) -> None:
        while (row := self._waiting.get()) is not None:
            self.calls.append(self.send(*row))


@dataclass
class Walk:
    """The table, the pictures, what pages complained about."""

    folder: Path
    base: str
    browser: Browser
    people: dict[str, Person] = field(default_factory=dict)
    lines: list[tuple[str, ...]] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def page(self, name: str) -> Page:
        """A page in a browser context of its own, whose errors are noted."""
        context = self.browser.new_context(base_url=self.base, viewport={"width": 1366, "height": 900})
        context.set_default_timeout(PAGE_MS)
        page = context.new_page()
        page.on("console", lambda message: self._console(name, message))
        page.on("pageerror", lambda error: self.complaints.append(f"{name}: script error: {error}"))
        page.on("response", lambda response: self._response(name, response))
        page.on("dialog", lambda dialog: dialog.accept())
        return page

    def person(self, name: str) -> Person:
        """A person who has just logged in, with a browser context of their own."""
        page = self.page(name)
        found = self.people[name] = Person(name, page)
        page.goto("/login/")
        found.fill("username", name)
        found.fill("password", PASSWORD)
        found.click(page.get_by_role("button", name="Log in"))
        found.click(page.get_by_role("link", name="Messages").first)
        expect(page.get_by_role("heading", level=1, name="Messages")).to_be_visible()
        return found

    @contextlib.contextmanager
    def step(self, who: Person, what: str) -> Iterator[list[str]]:
        """A line of the table. The body appends what the page showed; a picture is taken at its end."""
        began, clicks, shown = time.monotonic(), who.clicks, list[str]()
        try:
            yield shown
        finally:
            number = len(self.lines) + 1
            seconds = time.monotonic() - began
            line = (str(number), what, who.name, f"{seconds:.1f}", "; ".join(shown), str(who.clicks - clicks))
            self.lines.append(line)
            print(" | ".join(line), flush=True)
            with contextlib.suppress(Exception):
                who.page.screenshot(path=self.folder / f"{number:02}-{who.name}.png", full_page=True)

    def _console(self, name: str, message: ConsoleMessage) -> None:
        if message.type == "error" and not any(part in message.text for part in _EXPECTED):
            self.complaints.append(f"{name}: console: {message.text}")

    def _response(self, name: str, response: Response) -> None:
        path = urlsplit(response.url).path
        # A form that is rejected says why: 422.
        if response.status >= 400 and response.status != 422 and path != "/favicon.ico":
            self.complaints.append(f"{name}: {response.status} {response.request.method} {path}")


@contextlib.contextmanager
def walk(folder: Path, base: str) -> Iterator[Walk]:
    """A walk with Debian's chromium."""
    folder.mkdir(parents=True, exist_ok=True)
    names = ("chromium-headless-shell", "chromium")
    path = next((found for name in names if (found := shutil.which(name))), None)
    if path is None:
        raise SystemExit("Chromium is not on the PATH: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=_ARGUMENTS)
        try:
            yield Walk(folder, base, browser)
        finally:
            browser.close()
