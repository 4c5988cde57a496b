"""From a fine-tuning file of fifty rows to the verdict on a first model: ``python -m bench.first_model``.

    .venv/bin/python -m bench.first_model --pictures PICTURES

The owner of a studio without projects has a chat fine-tuning file of OpenAI with fifty messages to a shop, and nothing
else. She creates the project from the file, freezes, sets the gates, trains, evaluates and creates the gate report; a
manager decides. Everything real: PostgreSQL, Valkey, workers, a fine-tuned SmolLM2-135M, Chromium. A key takes 60 to
300 ms, a click 0.7 to 1.5 s, a page 3 to 8 s to read. The time of the persons is counted apart from the time that they
wait for the machine. ``--answers prelabels``: the fifty answers are confirmed one by one; ``gold``: they are imported
as labels. Exits with 1 where a page or a script reported an error.
"""

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import Locator, Page, expect

from bench import schema_builder
from bench.delivery_messages import CONTRACT, read, usual
from bench.delivery_rig import WORK_MS, Walk, programs, walk
from bench.timing import table
from slmstudio.stack import environment
from slmstudio.stack.environment import ROOT

PASSWORD, SEED, ROWS = "walk-17", 17, 50
NAME = "Shop messages"
#: what the manager asks of a first model, in percent: gate -> threshold
THRESHOLDS = {"schema-valid": "80", "field-errors": "30"}
#: a step: what, clicks, keys, seconds of the person, seconds of the machine, what the page showed
Line = tuple[str, int, int, float, float, str]


class Person(schema_builder.Person):
    """Counts also the seconds that she takes herself, at the speed of a person whatever ``speed`` is."""

    seconds = 0.0

    def wait(self, low: float, high: float) -> None:
        """A pause, in seconds."""
        taken = self.random.uniform(low, high)
        self.seconds += taken
        self.page.wait_for_timeout(1000 * taken / self.speed)

    def read(self, low: float = 3, high: float = 8) -> None:
        """Reads a page."""
        self.wait(low, high)

    def link(self, name: str) -> None:
        """Clicks a link by its name."""
        self.click(self.page.get_by_role("link", name=name, exact=True).first)

    def button(self, name: str) -> None:
        """Clicks a button by its name."""
        self.click(self.page.locator("main").get_by_role("button", name=name, exact=True).first)

    def enter(self, target: Locator, text: str) -> None:
        """Replaces the content of an input."""
        self.click(target)
        self.press("Control+a")
        self.type(text)

    def select(self, target: Locator, value: str) -> None:
        """Opens a list and chooses."""
        self.wait(1.4, 3)
        target.select_option(value)
        self.clicks += 2

    def home(self) -> None:
        """The overview, by its link; reads the next step."""
        self.click(self.page.locator("nav").get_by_role("link", name="Overview").first)
        self.wait(1, 2.5)

    def next_step(self) -> str:
        """Follows the next step of the overview; what it says."""
        self.home()
        text = " ".join(self.page.locator(".next-step p").inner_text(timeout=15_000).split())
        self.click(self.page.locator(".next-step a"))
        return text


@dataclass
class Counted:
    """The lines of the table."""

    pictures: Path
    lines: list[Line] = field(default_factory=list)

    @contextlib.contextmanager
    def step(self, who: Person, what: str) -> Iterator[list[str]]:
        """A line; the body appends what the page showed."""
        began, shown = time.monotonic(), list[str]()
        clicks, keys, seconds = who.clicks, who.keys, who.seconds
        try:
            yield shown
        finally:
            own = who.seconds - seconds
            waited = max(0.0, time.monotonic() - began - own / who.speed)
            line = (what, who.clicks - clicks, who.keys - keys, own, waited, "; ".join(shown))
            self.lines.append(line)
            print(
                " | ".join(str(round(cell, 1)) if isinstance(cell, float) else str(cell) for cell in line), flush=True
            )
            with contextlib.suppress(Exception):
                who.page.screenshot(path=self.pictures / f"{len(self.lines):02}.png", full_page=True)


class FirstModel:
    """All steps."""

    def __init__(self, on: Walk, counted: Counted, options: argparse.Namespace) -> None:
        self.walk, self.counted, self.options = on, counted, options
        self.olga, self.mona = (self._person(name, number) for number, name in enumerate(("olga", "mona")))

    def _person(self, name: str, number: int) -> Person:
        page = self.walk.page(name)
        return Person(page, SEED + number, self.options.speed)

    def run(self, file: Path) -> None:
        """All steps."""
        self.sign_in(self.olga, "olga")
        self.create(file)
        self.import_rows()
        if self.options.answers == "prelabels":
            self.confirm()
        self.freeze()
        self.gates()
        self.train()
        self.evaluate("validation")
        self.evaluate("holdout")
        self.report()
        self.decide()

    def sign_in(self, who: Person, name: str) -> None:
        """From the address of the studio to its first page."""
        with self.counted.step(who, f"{name} signs in"):
            who.page.goto("/")
            who.enter(who.page.locator("[name=username]"), name)
            who.press("Tab")
            who.type(PASSWORD)
            who.press("Enter")
            expect(who.page.get_by_role("heading", level=1, name="Projects")).to_be_visible()

    def create(self, file: Path) -> None:
        """The project with its contract."""
        olga = self.olga
        with self.counted.step(olga, "creates the project from the file") as shown:
            olga.link("New project from a file")
            olga.read()
            olga.enter(olga.page.locator("input[name=name]"), NAME)
            olga.clicks += 2  # the file dialog: opened, and the file chosen
            olga.wait(3, 6)
            olga.page.set_input_files("input[name=file]", file)
            olga.button("Create project")
            expect(olga.page.get_by_role("button", name="Import", exact=True)).to_be_visible()
            shown.append(_text(olga.page, "#review .card p"))

    def import_rows(self) -> None:
        """Reads contract and documents, chooses what the answers are, imports."""
        olga = self.olga
        with self.counted.step(olga, f"checks them, imports the answers as {self.options.answers}") as shown:
            olga.read(15, 30)
            if self.options.answers == "gold":
                olga.select(olga.page.locator("select[name=answers]"), "gold")
                expect(olga.page.locator("th", has_text="Gold")).to_be_visible()
            olga.button("Import")
            expect(olga.page.get_by_role("link", name="Open documents")).to_be_visible(timeout=WORK_MS)
            shown.append(_text(olga.page, ".counts"))

    def confirm(self) -> None:
        """Every answer is compared with its document and submitted by keys."""
        olga, page = self.olga, self.olga.page
        with self.counted.step(olga, "confirms each answer") as shown:
            shown.append(olga.next_step())
            number = withheld = 0
            while page.locator("#document-name").count():
                before = page.locator("#document-name").inner_text()
                expect(page.locator("#strip")).to_contain_text("left for you")
                olga.read()
                if "to fill" in _text(page, "#verdict-words"):  # a withheld pre-label
                    withheld += 1
                    self._label()
                olga.press("Control+Enter")
                expect(page.locator(f"#document-name:text-is('{before}')")).to_have_count(0)
                number += 1
            shown.append(f"{number} labels, {withheld} of them without a pre-label; {_text(page, 'main h1, main h2')}")

    def _label(self) -> None:
        """The form is empty."""
        olga, page = self.olga, self.olga.page
        found = read(_text(page, "#document"))
        olga.click(page.locator("#form .sf-choice", has_text=found["queue"]))
        olga.click(page.get_by_role("textbox", name="Order"))
        if found["order"] is None:
            olga.press("Alt+Digit0")
        else:
            olga.type(found["order"])

    def freeze(self) -> None:
        """A dataset version."""
        olga = self.olga
        with self.counted.step(olga, "freezes a dataset version") as shown:
            shown.append(olga.next_step())
            olga.read()
            if self.options.answers == "gold":  # else the import has reserved it
                olga.enter(olga.page.locator("[name=holdout]"), "30")
            olga.button("Freeze")
            expect(olga.page.get_by_role("heading", level=1)).to_contain_text("v1", timeout=WORK_MS)
            shown.append(_text(olga.page, "main .facts, main .card"))

    def gates(self) -> None:
        """The policy that the first model has to meet; the manager becomes a member."""
        olga = self.olga
        with self.counted.step(olga, "adds a manager") as shown:
            olga.link("Settings")
            olga.read()
            olga.enter(olga.page.locator("[name=username]").first, "mona")
            olga.select(olga.page.locator("#members select[name=role]").last, "manager")
            olga.button("Add")
            expect(olga.page.locator("#members")).to_contain_text("mona")
        with self.counted.step(olga, "sets the gates") as shown:
            olga.link("Gates")
            olga.link("Change")
            olga.read()
            for name, value in THRESHOLDS.items():
                olga.enter(olga.page.locator(f"[name={name}]"), value)
            olga.button("Save as version 2")
            expect(olga.page.locator(".policy h2")).to_contain_text("version 2")
            shown.append(_text(olga.page, ".policy-list"))

    def train(self) -> None:
        """With the defaults of the form, or the epochs asked for."""
        olga = self.olga
        with self.counted.step(olga, "starts the training, which runs") as shown:
            shown.append(olga.next_step())
            olga.read()
            start = olga.page.get_by_role("button", name="Start run")
            expect(start).to_be_enabled(timeout=WORK_MS)
            if self.options.epochs:
                olga.enter(olga.page.locator("[name=epochs]"), self.options.epochs)
            olga.click(start)
            olga.page.wait_for_url("**/training/1/")
            expect(olga.page.locator(".page-head .badge").first).to_contain_text("done", timeout=WORK_MS)
            shown.append(_text(olga.page, ".page-head"))

    def evaluate(self, split: str) -> None:
        """From the next step on validation; then on the hold-out."""
        olga, page = self.olga, self.olga.page
        with self.counted.step(olga, f"evaluates it: {split}") as shown:
            shown.append(olga.next_step())
            olga.read()
            if split == "holdout":
                if page.locator("select[name=split]").input_value() != split:
                    olga.select(page.locator("select[name=split]"), split)
                olga.read()
                olga.click(page.locator("#id_confirmed"))
            olga.button("Start")
            expect(page.locator(".page-head .badge").first).to_contain_text("done", timeout=WORK_MS)
            olga.read()
            shown.append(_text(page, "main .card"))

    def report(self) -> None:
        """The gate report."""
        olga = self.olga
        with self.counted.step(olga, "creates the gate report") as shown:
            shown.append(olga.next_step())
            olga.read()
            olga.button("Create gate report")
            expect(olga.page.locator(".ship-yes, .ship-no").first).to_be_visible()
            shown.append(_text(olga.page, ".ship-yes, .ship-no"))

    def decide(self) -> None:
        """The manager reads the verdict and decides by it."""
        mona = self.mona
        self.sign_in(mona, "mona")
        with self.counted.step(mona, "mona reads the verdict and decides") as shown:
            mona.link(NAME)
            shown.append(mona.next_step())
            mona.read(15, 30)
            passed = mona.page.locator(".ship-yes").count() > 0
            shown.append(_text(mona.page, ".ship-yes, .ship-no"))
            mona.click(mona.page.get_by_label("Approve" if passed else "Reject"))
            mona.enter(mona.page.locator("[name=reason]"), "All gates pass." if passed else "Needs more labels.")
            mona.button("Decide")
            expect(mona.page.locator("#decision .decided")).to_be_visible()
            shown.append(_text(mona.page, "#decision .decided"))


def _text(page: Page, selector: str) -> str:
    return " ".join(page.locator(selector).first.inner_text().split())[:200]


def fine_tuning_file(folder: Path) -> Path:
    """Fifty messages in the chat format of OpenAI, as a team has it that fine-tuned a large model."""
    path = folder / "train.jsonl"
    with path.open("w") as file:
        for row in usual(ROWS, SEED):
            turns = (("system", CONTRACT["instruction"]), ("user", row["text"]), ("assistant", json.dumps(row["gold"])))
            file.write(json.dumps({"messages": [{"role": role, "content": text} for role, text in turns]}) + "\n")
    return path


def _people() -> None:
    """Two accounts, as an administrator creates them; olga can create projects."""
    import django

    django.setup()
    from django.contrib.auth import get_user_model
    from django.contrib.auth.models import Permission
    from django.db import connections

    for name in ("olga", "mona"):
        person = get_user_model().objects.create_user(name, password=PASSWORD)
        if name == "olga":
            person.user_permissions.add(Permission.objects.get(codename="add_project"))
    connections.close_all()


def main() -> int:
    """Runs the walk; exit code 1 where a page or a script reported an error."""
    parser = argparse.ArgumentParser(prog="python -m bench.first_model", description=__doc__)
    parser.add_argument("--answers", choices=("gold", "prelabels"), default="prelabels")
    parser.add_argument("--epochs", default="", help="instead of the default of the form")
    parser.add_argument("--speed", type=float, default=1, help="20: a twentieth of each pause; counted whole")
    parser.add_argument("--home", type=Path, help="an empty folder for the data, which stays")
    parser.add_argument("--pictures", type=Path, default=Path(tempfile.gettempdir()) / "first-model")
    options = parser.parse_args()
    for variable in ("DATABASE_URL", "REDIS_URL", "DATABASE_OWNER_URL"):
        os.environ.pop(variable, None)
    home = options.home.absolute() if options.home else Path(tempfile.mkdtemp(prefix="slm-first-"))
    home.mkdir(parents=True, exist_ok=True)
    os.environ |= {"SLM_HOME": str(home), "DJANGO_SETTINGS_MODULE": "slmstudio.settings"}
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"  # playwright's loop runs in this thread
    environment.exit_on_termination()
    counted = Counted(options.pictures)
    try:
        with environment.servers():
            for command in (("migrate", "--verbosity=0"), ("models", "list")):
                subprocess.run([sys.executable, "manage.py", *command], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
            os.environ.pop("DATABASE_OWNER_URL", None)
            _people()
            with programs(home) as (base, _), walk(options.pictures, base) as on:
                FirstModel(on, counted, options).run(fine_tuning_file(home))
                complaints = on.complaints
    finally:
        print(report(counted.lines))
        if not options.home:
            shutil.rmtree(home, ignore_errors=True)
    print("\n".join(complaints) or "No page and no script reported an error.")
    return 1 if complaints else 0


def report(lines: list[Line]) -> str:
    """The table with its sums."""
    total: Line = (
        "all", sum(line[1] for line in lines), sum(line[2] for line in lines), sum(line[3] for line in lines),
        sum(line[4] for line in lines), "",
    )  # fmt: skip
    rows = [[line[0], str(line[1]), str(line[2]), f"{line[3]:.0f}", f"{line[4]:.0f}"] for line in (*lines, total)]
    return table("A first gated model", ["step", "clicks", "keys", "person, s", "machine, s"], rows)


if __name__ == "__main__":
    sys.exit(main())
