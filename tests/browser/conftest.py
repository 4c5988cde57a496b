"""Chromium for the browser tests: the system's, driven by playwright, which downloads none of its own.

A test fails when its pages report an error: an exception in a script, a console error, a violation of the content
security policy, a resource that is missing or a server error.
"""

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from django.conf import settings
from django.core.signals import request_finished, request_started
from django.test import Client
from django.urls import reverse
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Playwright,
    Response,
    ViewportSize,
    expect,
    sync_playwright,
)
from pytest_django.live_server_helper import LiveServer

if TYPE_CHECKING:  # models can be imported only once Django is set up, which comes after this file
    from labeling.models import Document
    from tests.evaluation.factories import World
    from tests.labeling.label_desk import Desk

# Playwright's loop runs in the thread of the test, where Django then refuses the ORM although nothing is asynchronous.
os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"

ARGUMENTS = [
    "--no-sandbox",  # root needs it
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]
TIMEOUT_MS = 30_000
expect.set_options(timeout=TIMEOUT_MS)  # its own 5 s are short for the first page of a run on a busy machine
PHONE: ViewportSize = {"width": 390, "height": 844}
Open = Callable[..., Page]
As = Callable[[Any], Page]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test of this folder carries the mark ``browser``."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    """Playwright's driver."""
    with sync_playwright() as running:
        yield running


@pytest.fixture(scope="session")
def browser(playwright: Playwright) -> Iterator[Browser]:
    """One Chromium for the session."""
    # The shell draws and runs pages as Chromium does, without the windows around them: about half the processor time.
    names = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
    path = next((path for name in names if (path := shutil.which(name))), None)
    if path is None:
        pytest.fail("Chromium is not on the PATH; make test installs it.")
    running = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
    yield running
    running.close()


def until(page: Page, holds: str, argument: Any = None, *, seconds: float = TIMEOUT_MS / 1000) -> None:
    """Waits until a function of the page, given as its source, says true of ``argument``.

    Playwright's own ``wait_for_function`` evaluates its text again and again; the content security policy lets the
    first time pass, so that it fails where the answer does not come at once.
    """
    page.evaluate(
        f"""argument => new Promise((done, fail) => {{
            const holds = {holds};
            const end = performance.now() + {seconds * 1000};
            const look = () => {{
                if (holds(argument)) done();
                else if (performance.now() > end) fail(new Error("never so: " + holds));
                else requestAnimationFrame(look);
            }};
            look();
        }})""",
        argument,
    )


class Watch:
    """Collects what pages complain about. ``allow`` names parts of messages a test expects."""

    def __init__(self) -> None:
        self.complaints: list[str] = []
        self.allowed: list[str] = []

    def allow(self, part: str) -> None:
        """Complaints with this text in them are expected, such as the 403 a test provokes."""
        self.allowed.append(part)

    def attach(self, page: Page) -> None:
        """Listens to a page from now on."""
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.complaints.append(f"script error: {error}"))
        page.on("response", self._response)

    def left(self) -> list[str]:
        """The complaints that were not allowed."""
        return [text for text in self.complaints if not any(part in text for part in self.allowed)]

    def _console(self, message: ConsoleMessage) -> None:
        # Failed loads are reported by their response, with the status; violations of the policy come as errors.
        if message.type == "error" and not message.text.startswith("Failed to load resource"):
            self.complaints.append(f"console: {message.text} ({message.location.get('url', '')})")

    def _response(self, response: Response) -> None:
        path = urlsplit(response.url).path
        if response.status >= 400 and path != "/favicon.ico":
            self.complaints.append(f"{response.status} {response.request.method} {path}")


@pytest.fixture
def watch() -> Iterator[Watch]:
    """The complaints of all pages of this test; the test fails at its end when one is left."""
    watching = Watch()
    yield watching
    if left := watching.left():
        pytest.fail("the pages complained:\n" + "\n".join(left))


class UnderWay:
    """How many requests the site is answering. A page that goes away still sends some, which are not waited for."""

    def __init__(self) -> None:
        self.count, self.changed = 0, threading.Condition()

    def began(self, **_: Any) -> None:
        """A request came in. The tests' own client asks in the thread of the test."""
        self._add(1)

    def ended(self, **_: Any) -> None:
        """Its answer is out."""
        self._add(-1)

    def settle(self, quiet: float = 0.05, most: float = 15) -> None:
        """Waits until nothing has been asked for a moment."""
        until = time.monotonic() + most
        with self.changed:
            while time.monotonic() < until:
                if not self.changed.wait(quiet) and self.count <= 0:
                    return

    def _add(self, number: int) -> None:
        if threading.current_thread() is not threading.main_thread():
            with self.changed:
                self.count += number
                self.changed.notify_all()


@pytest.fixture
def under_way(live_server: LiveServer) -> Iterator[UnderWay]:
    """The requests that are being answered; at the end of a test there are none, before its tables are emptied."""
    requests = UnderWay()
    request_started.connect(requests.began)
    request_finished.connect(requests.ended)
    yield requests
    requests.settle()
    request_started.disconnect(requests.began)
    request_finished.disconnect(requests.ended)


class Contexts:
    """Browser contexts, which are used again: of what the tests before left in one only its cache of files is kept."""

    def __init__(self, browser: Browser, address: str) -> None:
        self.browser, self.address = browser, address
        self.idle: list[BrowserContext] = []

    def take(self) -> BrowserContext:
        """A context without cookies and stored data."""
        if self.idle:
            return self.idle.pop()
        context = self.browser.new_context(
            base_url=self.address, viewport={"width": 1366, "height": 900}, reduced_motion="reduce"
        )
        context.set_default_timeout(TIMEOUT_MS)
        return context

    def give_back(self, context: BrowserContext) -> None:
        """Closes its pages, and removes what they stored."""
        for page in context.pages:
            page.close()
        context.set_offline(False)
        context.clear_cookies()
        context.clear_permissions()
        page = context.new_page()
        types = {"origin": self.address, "storageTypes": "local_storage,indexeddb,cache_storage,service_workers"}
        context.new_cdp_session(page).send("Storage.clearDataForOrigin", types)
        page.close()
        self.idle.append(context)


@pytest.fixture(scope="session")
def contexts(browser: Browser, live_server: LiveServer) -> Contexts:
    """The contexts of the session. The browser closes them."""
    return Contexts(browser, live_server.url)


@pytest.fixture
def new_page(
    contexts: Contexts, under_way: UnderWay, watch: Watch, request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Callable[[], Page]]:
    """Makes pages in contexts of their own, each as a different person's browser would be; base address is the site.

    When the test fails, the last state of each page is kept as a picture in ``tmp_path``.
    """
    taken: list[BrowserContext] = []

    def make() -> Page:
        taken.append(contexts.take())
        page = taken[-1].new_page()
        watch.attach(page)
        return page

    yield make
    failed = getattr(request.node, "failed", False)
    for number, context in enumerate(taken):
        for page in context.pages if failed else []:
            page.screenshot(path=tmp_path / f"page-{number}.png")
            print(f"{page.url} looked like {tmp_path / f'page-{number}.png'}")
        if failed:
            context.close()
        elif context.pages:  # a test closes the context that it changed for good, such as its clock
            contexts.give_back(context)


@pytest.fixture
def logged_in(new_page: Callable[[], Page], live_server: LiveServer) -> Callable[[Any], Page]:
    """``logged_in(user)`` is a page of a browser of its own, in which that person is logged in."""

    def opened(user: Any) -> Page:
        client = Client()
        client.force_login(user)
        page = new_page()
        cookie = client.cookies[settings.SESSION_COOKIE_NAME].value
        page.context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": cookie, "url": live_server.url}])
        return page

    return opened


@pytest.fixture
def page(new_page: Callable[[], Page]) -> Page:
    """One page of a person who is not logged in."""
    return new_page()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Iterator[None]:  # a generator, as wrappers are
    """Notes on the test that it failed, for the pictures above."""
    report = yield
    if report.when == "call" and report.failed:  # type: ignore[attr-defined]
        item.failed = True  # type: ignore[attr-defined]
    return report


@pytest.fixture
def desk(transactional_db: None) -> "Desk":
    from tests.labeling.label_desk import make_desk

    return make_desk("invoice-with-lines")


@pytest.fixture
def world(transactional_db: None, queues: None, tmp_path: Path) -> "World":
    """A project of invoices with a hold-out of twelve, a trained model and people of every role."""
    from tests.evaluation.factories import make_world

    return make_world(tmp_path / "small-base", documents=24, holdout=12)


@pytest.fixture
def open_label(logged_in: Callable[[Any], Page]) -> Open:
    """Opens the queue, or a document, as a person."""

    def opened(user: Any, document: "Document | None" = None) -> Page:
        page = logged_in(user)
        page.goto(
            reverse("label_document", args=["desk", document.pk]) if document else reverse("label", args=["desk"])
        )
        expect(page.locator("#strip")).to_contain_text("left for you")
        return page

    return opened
