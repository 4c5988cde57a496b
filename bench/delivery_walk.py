"""Delivery from an approval to a corrected model, by three people in the browser: ``python -m bench.delivery_walk``.

    python -m bench.delivery_home FOLDER
    python -m bench.delivery_walk --home FOLDER --pictures PICTURES

Everything real: PostgreSQL, Valkey, workers, gateway, ``manage.py serve``, a fine-tuned SmolLM2-135M on llama.cpp,
Chromium. An annotator, an engineer and a manager click and type; only requests are sent by a program. ``--home`` is
copied first. Prints each step when it ends, then all steps and the figures, and exits with 1 where a page or a script
reported an error.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import expect

from bench.delivery_messages import marketplace, read
from bench.delivery_rig import WORK_MS, Call, Callers, Walk, programs, walk
from bench.delivery_versions import PER_SECOND, QUIET, Versions
from bench.timing import table
from slmstudio.stack import environment
from slmstudio.stack.environment import ROOT

#: labels after which a training run is proposed
LABELS = 16
EPOCHS = "1.2"


class Delivery(Versions):
    """All steps."""

    has_broken = True

    def run(self) -> None:
        """All steps."""
        self.approve()
        self.deploy_first()
        self.new_token()
        self.first_answer()
        self.callers = Callers(self.gateway, self.token, QUIET)
        self.callers.start()
        try:
            self.try_document()
            self.second_version()
            self.callers.per_second = PER_SECOND
            self.shadow()
            self.canary()
            if self.has_broken:
                self.broken_candidate()
            self.roll_back()
            failed = self.alarm()
            self.review_failures()
            self.label()
            self.retrain()
            self.corrected(failed)
        finally:
            self.callers.stop()

    # -- alarm, review, labels ----------------------------------------------------------------------------------------

    def alarm(self) -> Call:
        """Erik sets a rule; a marketplace begins to send messages; the alarm is on mona's page."""
        erik, mona = self.erik, self.mona
        with self.walk.step(erik, "sets the rules of invalid outputs and of retraining") as shown:
            erik.link("Deploy")
            erik.link("Monitoring")
            erik.link("Alerts")
            erik.click(erik.page.get_by_role("link", name="Change Invalid outputs"))
            erik.fill("window", "2")
            erik.fill("duration", "0.5")
            erik.fill("min_requests", "10")
            erik.button("Save")
            shown.append(erik.text("#alert-invalid"))
            erik.link("Live accuracy")
            erik.fill("retrain_labels", str(LABELS))
            erik.button("Save plan")
        with self.walk.step(mona, "has the overview open: the alarm") as shown:
            mona.home()
            self.callers.share = 0.3
            while not (failed := [one for one in self.callers.calls if one.status == 502]):
                mona.page.wait_for_timeout(500)
            began = failed[0].at
            # The page refreshes itself.
            firing = mona.page.locator("#firing-alerts", has_text="Invalid outputs")
            expect(firing).to_be_visible(timeout=WORK_MS)
            self.figures["seconds from the first failing request to the alarm"] = f"{time.monotonic() - began:.0f}"
            shown.append(mona.text("#firing-alerts"))
        return failed[0]

    def review_failures(self) -> None:
        """Erik follows the alarm to the review queue, and sends the failures to labeling."""
        erik = self.erik
        with self.walk.step(erik, "opens the review queue until the failures are there") as shown:
            erik.home()
            shown.append(erik.text("#firing-alerts a:last-of-type"))
            erik.link("Review invalid outputs")
            tab = erik.page.get_by_role("link", name=re.compile("^invalid output"))
            while not tab.count() or int(tab.inner_text().split()[-1]) < LABELS:
                erik.page.wait_for_timeout(3_000)
                erik.page.reload()
            erik.click(tab)
            shown.append(erik.text(".queue-filters"))
            self.callers.share, self.callers.per_second = 0.0, QUIET
        with self.walk.step(erik, "sends them to labeling as wrong") as shown:
            erik.click(erik.page.locator("[data-all]"))
            erik.page.locator("#queue-tag").select_option("rare_layout")
            erik.clicks += 1
            erik.button("Wrong w")
            shown.append(erik.text("[role=status]"))

    def label(self) -> None:
        """Ana labels them."""
        ana = self.ana
        with self.walk.step(ana, "labels them by keys") as shown:
            ana.home()
            shown.append(ana.text(".next-step p"))
            ana.click(ana.page.locator(".next-step a"))
            number = 0
            while ana.page.locator("#document-name").count():
                self._label_one()
                number += 1
            shown.append(f"{number} labels; {ana.text('main h1')}")

    def _label_one(self) -> None:
        """Queue and order number by keys; Ctrl+Enter opens the next document."""
        ana, name = self.ana, self.ana.page.locator("#document-name")
        expect(ana.page.locator("#strip")).to_contain_text("left for you")
        expect(ana.page.locator("#document")).to_contain_text("order")
        before = name.inner_text()
        found = read(ana.text("#document"))
        ana.click(ana.page.locator("#form .sf-choice", has_text=found["queue"]))
        ana.click(ana.page.get_by_role("textbox", name="Order number"))
        ana.page.keyboard.press("Control+A")
        ana.page.keyboard.insert_text(found["order"])
        ana.press("Control+Enter")
        expect(ana.page.locator(f"#document-name:text-is('{before}')")).to_have_count(0)

    # -- the corrected model ------------------------------------------------------------------------------------------

    def retrain(self) -> None:
        """Freeze and train, as the proposal says; evaluate, approve, export."""
        erik = self.erik
        with self.walk.step(erik, "follows the proposal: freezes a dataset version") as shown:
            self._until_next_step("new labels")
            shown.append(erik.text(".next-step p"))
            erik.click(erik.page.locator(".next-step a"))
            erik.button("Freeze")
            expect(erik.page.get_by_role("heading", level=1)).to_contain_text("v2", timeout=WORK_MS)
        with self.walk.step(erik, "trains a model") as shown:
            erik.home()
            shown.append(erik.text(".next-step p"))
            erik.click(erik.page.locator(".next-step a"))
            start = erik.page.get_by_role("button", name="Start run")
            expect(start).to_be_enabled(timeout=WORK_MS)
            erik.fill("epochs", EPOCHS)
            erik.click(start)
            expect(erik.page.locator(".page-head .badge").first).to_contain_text("done", timeout=WORK_MS)
            shown.append(erik.text(".page-head"))
        self.report()

    def report(self) -> None:
        """Evaluates the model of the training run that the page shows; its gate report is approved."""
        erik = self.erik
        with self.walk.step(erik, "evaluates it on the hold-out, creates the gate report") as shown:
            erik.link("Evaluate")
            erik.select("split", "holdout")
            erik.click(erik.page.locator("#id_confirmed"))
            erik.button("Start")
            expect(erik.page.locator(".page-head .badge").first).to_contain_text("done", timeout=WORK_MS)
            erik.page.reload()
            erik.link("Create gate report")
            erik.button("Create gate report")
            expect(erik.page.locator(".ship-yes, .ship-no").first).to_be_visible()
            shown.append(erik.text(".ship-yes, .ship-no"))
        self.approve()

    def _until_next_step(self, text: str) -> None:
        self.erik.home()
        expect(self.erik.page.locator(".next-step")).to_contain_text(text, timeout=WORK_MS)

    def corrected(self, failed: Call) -> None:
        """The new version answers the request that failed, and others of its kind."""
        erik = self.erik
        with self.walk.step(erik, "deploys the retrained model to all traffic") as shown:
            self._open_deploy_form()
            erik.select("stage", "Full")
            erik.click(erik.page.locator("#deploy").get_by_role("button", name="Deploy"))
            expect(erik.page.locator(".release")).to_have_count(1, timeout=WORK_MS)
            expect(erik.page.locator(".release h2").first).to_contain_text(
                f"version {3 + self.has_broken}", timeout=WORK_MS
            )
            again = self.callers.send("marketplace", failed.row)
            minutes = (time.monotonic() - failed.at) / 60
            shown.append(f"the request that failed: {again.status}, {'right' if again.right else 'wrong'}")
        self.figures["minutes from the failing request to the corrected version"] = f"{minutes:.1f}"
        before = [one for one in self.callers.calls if one.kind == "marketplace"]
        later = [self.callers.send("marketplace", row) for row in marketplace(20, 5)]
        for name, calls in (("before", before), ("after", later)):
            figure = f"{sum(one.status == 200 for one in calls)} and {sum(one.right for one in calls)} of {len(calls)}"
            self.figures[f"marketplace requests that are answered, and right, {name}"] = figure
        with self.walk.step(self.mona, "sees the versions") as shown:
            self.mona.link("Deploy")
            self.mona.link("Versions")
            shown.append(self.mona.text("table.versions tbody tr"))


def main() -> int:
    """Copies the folder, walks, prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, required=True, help="made by bench.delivery_home")
    parser.add_argument("--pictures", type=Path, required=True, help="folder for a picture of each step")
    parser.add_argument("--keep", type=Path, help="folder for the copy (default: a temporary one)")
    parser.add_argument("--no-broken", action="store_true", help="without the model with broken weights")
    options = parser.parse_args()
    for variable in ("DATABASE_URL", "REDIS_URL", "DATABASE_OWNER_URL"):
        os.environ.pop(variable, None)
    temporary = Path(tempfile.mkdtemp(prefix="slm-walk-"))
    home = options.keep or temporary / "home"
    subprocess.run(["cp", "-a", str(options.home), str(home)], check=True)  # with the owner of the database
    # Requests are drawn for review once they have surely ended.
    os.environ |= {
        "SLM_HOME": str(home), "DJANGO_SETTINGS_MODULE": "slmstudio.settings", "GATEWAY_TIMEOUT_SECONDS": "20",
    }  # fmt: skip
    environment.exit_on_termination()
    try:
        with environment.servers():
            subprocess.run([sys.executable, "manage.py", "migrate", "--verbosity=0"], cwd=ROOT, check=True)
            os.environ.pop("DATABASE_OWNER_URL", None)
            with programs(home) as (base, gateway), walk(options.pictures, base) as on:
                delivery = Delivery(on, gateway)
                delivery.has_broken = not options.no_broken
                try:
                    delivery.run()
                finally:
                    _print(on, delivery)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return 1 if on.complaints else 0


def _print(on: Walk, delivery: Delivery) -> None:
    heads = ("", "step", "who", "seconds", "the page", "clicks")
    print(table("Delivery by three people", heads, on.lines))
    print(table("Figures", ("", ""), list(delivery.figures.items())))
    for line in dict.fromkeys(on.complaints):
        print(f"COMPLAINT: {line}")


if __name__ == "__main__":
    sys.exit(main())
