"""The first half of ``bench.delivery_walk``: versions are approved, deployed, aborted and rolled back."""

import re
import time

from playwright.sync_api import expect

from bench.delivery_rig import WORK_MS, Callers, Walk

#: requests of callers a second in a rollout and until the alarm, and while models are trained and built
PER_SECOND, QUIET = 1.0, 0.2
#: what the people set on the form of the plan
PLAN = {"max_failure_rate": "10", "min_requests": "20"}
READY = "ready for the next stage"
LLAMA_CPP = "llama.cpp, GGUF q8_0"


class Versions:
    """The steps, and the figures that they leave."""

    def __init__(self, on: Walk, gateway: str) -> None:
        self.walk, self.gateway = on, gateway
        self.figures: dict[str, str] = {}
        self.mona, self.erik, self.ana = (on.person(name) for name in ("mona", "erik", "ana"))
        self.approved_at = 0.0
        self.callers: Callers
        self.token = ""

    # -- approval and first version -----------------------------------------------------------------------------------

    def approve(self) -> None:
        """Mona decides on the newest report, from her next step."""
        with self.walk.step(self.mona, "approves the model") as shown:
            self.mona.home()
            shown.append(self.mona.text(".next-step p"))
            self.mona.click(self.mona.page.locator(".next-step a"))
            shown.append(self.mona.text(".ship-yes, .ship-no"))
            self.mona.click(self.mona.page.get_by_label("Approve"))
            self.mona.fill("reason", "All gates pass.")
            self.mona.button("Decide")
            expect(self.mona.page.locator("#decision .decided")).to_contain_text("approved")
            self.approved_at = time.monotonic()

    def deploy_first(self) -> None:
        """Erik deploys it from his next step."""
        erik = self.erik
        with self.walk.step(erik, "deploys it to all traffic, llama.cpp") as shown:
            erik.home()
            shown.append(erik.text(".next-step p"))
            erik.click(erik.page.locator(".next-step a"))
            erik.select("engine", LLAMA_CPP)
            erik.click(erik.page.locator("#deploy").get_by_role("button", name="Deploy"))
            expect(erik.page.locator(".release")).to_be_visible()
            shown.append(erik.text(".release .badge"))

    def new_token(self) -> None:
        """Erik creates the callers' token while the package is built."""
        erik = self.erik
        with self.walk.step(erik, "creates a token for the callers") as shown:
            erik.click(erik.page.locator("#call").get_by_role("link", name="My tokens"))
            expect(erik.page.locator("[name=scopes][value=extract]")).to_be_checked()
            erik.fill("name", "shop")
            erik.button("Create token")
            self.token = erik.page.locator("#made-token").input_value()
            shown.append(erik.text("#made-title"))

    def first_answer(self) -> None:
        """A caller asks until it answers, and then the page says so."""
        erik, poll = self.erik, Callers(self.gateway, self.token, PER_SECOND)
        row = {"text": "Hello, please refund the kettle, order #48213.", "gold": {"queue": "refund", "order": "#48213"}}
        with self.walk.step(erik, "waits for the first answer") as shown:
            erik.link("Deploy")
            while poll.send("usual", row).status != 200:
                erik.page.wait_for_timeout(300)
            seconds = time.monotonic() - self.approved_at
            expect(erik.page.locator(".release .badge").first).to_have_text("answering", timeout=WORK_MS)
            shown.append(erik.text(".release .hint"))
        self.figures["seconds from the approval to the first answer"] = f"{seconds:.0f}"

    def try_document(self) -> None:
        """Erik tries it on the page."""
        with self.walk.step(self.erik, "tries a document on the page") as shown:
            self.erik.page.reload()
            self.erik.click(self.erik.page.locator("#try").get_by_role("button", name="Send"))
            expect(self.erik.page.locator(".answer pre").first).to_be_visible()
            shown.append(self.erik.text(".answer pre"))

    # -- a second version ---------------------------------------------------------------------------------------------

    def second_version(self) -> None:
        """A gate report of the second model, its approval, and the GGUF file that its engine needs."""
        erik = self.erik
        with self.walk.step(erik, "creates a gate report of the second model") as shown:
            erik.link("Gates")
            erik.link("Create gate report")
            erik.select("eval_run", "#2")
            erik.button("Create gate report")
            expect(erik.page.locator(".ship-yes, .ship-no").first).to_be_visible()
            shown.append(erik.text(".ship-yes, .ship-no"))
        self.approve()
        with self.walk.step(erik, "deploys it: the page leads to the missing GGUF file") as shown:
            self._open_deploy_form()
            erik.select("engine", "llama.cpp")
            erik.click(erik.page.locator("#deploy").get_by_role("button", name="Deploy"))
            shown.append(erik.text("#deploy .field-error"))
            erik.link("Export a GGUF file of run 2")
        self._export()

    def _open_deploy_form(self) -> None:
        """From the home of the project, by its next step."""
        self.erik.home()
        self.erik.click(self.erik.page.locator(".next-step a"))
        expect(self.erik.page.locator("#deploy")).to_be_visible()

    def _export(self) -> None:
        erik = self.erik
        with self.walk.step(erik, "exports the GGUF file") as shown:
            option = erik.page.locator("#export-option-q8_0")
            erik.click(option.get_by_role("button", name=re.compile("^Export")))
            expect(option.get_by_role("link", name=re.compile("Download"))).to_be_visible(timeout=WORK_MS)
            shown.append(erik.text("#export-option-q8_0 .export-option-head"))

    def _deploy(self, model: str, engine: str, stage: str) -> None:
        """Fills in the form and waits until the candidate answers."""
        erik = self.erik
        if model:
            erik.select("report", model)
        erik.select("engine", engine)
        erik.select("stage", stage)
        erik.click(erik.page.locator("#deploy").get_by_role("button", name="Deploy"))
        candidate = erik.page.locator(".release", has_text="Candidate")
        expect(candidate.locator(".badge").first).to_have_text("answering", timeout=WORK_MS)

    def shadow(self) -> None:
        """The second version in shadow until it is ready."""
        erik = self.erik
        with self.walk.step(erik, "deploys it to shadow") as shown:
            self._open_deploy_form()
            self._deploy("", LLAMA_CPP, "Shadow")
            shown += [" ".join(one.split()) for one in erik.page.locator(".release h2").all_inner_texts()]
        with self.walk.step(erik, "sets the plan, watches the shadow") as shown:
            erik.click(erik.page.locator("#plan summary"))
            for name, value in PLAN.items():
                erik.fill(name, value)
            erik.click(erik.page.locator("#plan").get_by_role("button", name="Save plan"))
            shown.append(self._ready())

    def _ready(self) -> str:
        expect(self.erik.page.locator("#evidence .badge").first).to_have_text(READY, timeout=WORK_MS)
        last = self.erik.page.locator("#evidence table", has_text="Since").locator("tbody tr").last
        return f"ready: {' '.join(last.inner_text().split())}"

    def canary(self) -> None:
        """Two shares, then all traffic."""
        erik = self.erik
        for share in ("50%",):
            with self.walk.step(erik, f"promotes it to {share}") as shown:
                erik.button(share)
                expect(erik.page.locator(".release").last).to_contain_text(f"{share} of the requests")
                erik.page.wait_for_timeout(6_000)  # the badge is that of the step before until requests are counted
                shown.append(self._ready())
        with self.walk.step(erik, "promotes it to all traffic") as shown:
            erik.button("Promote to all traffic")
            expect(erik.page.locator(".release")).to_have_count(1, timeout=WORK_MS)
            shown.append(erik.text(".release h2"))

    def broken_candidate(self) -> None:
        """A model with broken weights in shadow: it is taken out without a person."""
        erik = self.erik
        with self.walk.step(erik, "deploys a model with broken weights to shadow") as shown:
            erik.page.reload()
            self._deploy("Evaluation 3", "As evaluated", "Shadow")
            shown += [" ".join(one.split()) for one in erik.page.locator(".release h2").all_inner_texts()]
            began = time.monotonic()
        with self.walk.step(erik, "watches: it is aborted without a person") as shown:
            expect(erik.page.locator("#evidence .badge").first).to_have_text("aborted", timeout=WORK_MS)
            seconds = time.monotonic() - began
            expect(erik.page.locator(".release")).to_have_count(1)
            shown.append(erik.text("#evidence [role=status]"))
            row = erik.page.locator("#evidence table", has_text="Since").locator("tbody tr").last.locator("td")
            self.figures["requests until the broken candidate is aborted"] = row.nth(2).inner_text()
            self.figures["seconds until it is aborted, from its first answer"] = f"{seconds:.0f}"

    def roll_back(self) -> None:
        """Mona returns to the version before."""
        mona = self.mona
        with self.walk.step(mona, "rolls back to the version before") as shown:
            mona.link("Deploy")
            mona.click(mona.page.get_by_role("button", name=re.compile("^Roll back")))
            began = time.monotonic()
            expect(mona.page.locator(".release h2").first).to_contain_text("version 1", timeout=WORK_MS)
            self.figures["seconds of the rollback, on the page"] = f"{time.monotonic() - began:.1f}"
            mona.page.wait_for_timeout(3_000)  # for a request after it
            mona.page.reload()
            shown.append(mona.text("section:has(h2:text('History')) .hint"))
