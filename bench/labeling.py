"""Latency of the labeling screen at 10,000 and 100,000 documents of about 1.8 KB.

``python -m bench.labeling`` starts a separate studio (embedded servers, the web server with 2 processes of 4 threads,
one RQ worker), imports invoices, measures each operation from one browser, then simulates 50 annotators for a minute.
It prints tables and writes JSON. ``--documents 1000000`` is possible and takes some minutes.
"""

import argparse
import json
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from bench.harness import Answer, Browser, Samples, Studio, percentile, studio, table

ANNOTATED = 10_000
EXPORT_NAME = "export of the annotated"
#: median a person may wait, in milliseconds, at up to 100,000 documents; at a million p95 is to stay under 100
TARGETS = {
    "next": 15,
    "open": 15,
    "submit": 20,
    "draft": 20,
    "list of 30": 40,
    "text filter, rare": 40,
    "text filter, in every document": 40,
    "text filter, in none": 40,
    "field filter": 40,
    "state filter": 40,
    "project home": 50,
    EXPORT_NAME: 1000,
}


def main() -> int:
    """Runs the measurement; exit code 1 where a request failed."""
    parser = argparse.ArgumentParser(prog="python -m bench.labeling", description=__doc__)
    parser.add_argument("--documents", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--repeat", type=int, default=100, help="measurements per operation")
    parser.add_argument("--annotators", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60, help="how long the annotators work")
    parser.add_argument("--pause", type=float, default=1.0, help="seconds an annotator thinks before each step")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    figures: dict[str, Any] = {"options": {k: str(v) for k, v in vars(options).items()}, "sizes": []}
    failed = 0
    with studio() as running:
        for documents in options.documents:
            bench = Bench(running, documents, options.repeat)
            figures["sizes"].append(bench.run())
            failed += bench.failed
        if options.annotators:
            figures["together"], lost = together(bench, options.annotators, options.seconds, options.pause)
            failed += lost
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return 1 if failed else 0


# -- documents ---------------------------------------------------------------------------------------------------------


def write_rows(path: Path, documents: int, annotated: int) -> None:
    """A JSONL file of invoices, the first ones with gold labels. The same for the same numbers."""
    draw = random.Random(documents)
    syllables = [a + b for a in "bcdfglmnprstv" for b in ("a", "e", "i", "o", "u", "an", "er", "ol")]
    words = ["".join(draw.choices(syllables, k=draw.randint(2, 4))) for _ in range(4_000)]
    with path.open("w", encoding="utf-8") as file:
        for number in range(documents):
            amount = f"{draw.randint(100, 900_000) / 100:.2f}"
            day = f"2026-{draw.randint(1, 12):02}-{draw.randint(1, 28):02}"
            vendor = f"{draw.choice(words).title()} {draw.choice(['Ltd', 'GmbH', 'Supplies', 'Trading'])}"
            body = " ".join(draw.choices(words, k=235))
            head = f"INVOICE A-{number:07} issued on {day}\nVendor: {vendor}\n"
            row: dict[str, Any] = {
                "id": f"invoice-{documents}-{number:07}",
                "text": f"{head}{body}\nTotal amount due USD {amount}\n",
            }
            if number < annotated:
                row["gold"] = {
                    "invoice_id": f"A-{number:07}",
                    "date": day,
                    "vendor": vendor,
                    "total_amount": float(amount),
                }
            file.write(json.dumps(row) + "\n")


def label_for(state: dict[str, Any]) -> dict[str, str]:
    """The annotation of such a document."""
    lines = state["text"].split("\n")
    return {
        "invoice_id": lines[0].split()[1],
        "date": lines[0].split()[-1],
        "vendor": lines[1].removeprefix("Vendor: "),
        "total_amount": lines[-2].split()[-1],
    }


# -- one person --------------------------------------------------------------------------------------------------------


class Bench:
    """One project of a size, measured from one browser."""

    def __init__(self, running: Studio, documents: int, repeat: int, annotated: int = ANNOTATED) -> None:
        from django.contrib.auth import get_user_model

        from labeling.projects.services import create_project

        self.studio, self.documents, self.repeat = running, documents, repeat
        self.annotated = min(annotated, documents // 2)
        slug = f"bench-{documents}"
        self.user = get_user_model().objects.create_user(slug, password=None)
        self.project = create_project(owner=self.user, name=slug, slug=slug, template="invoice")
        self.base = f"/p/{slug}/"
        self.samples: dict[str, Samples] = {}
        self.failed = 0

    def run(self) -> dict[str, Any]:
        """Import, then every operation; prints a table."""
        imported = self.load()
        annotator, engineer = self.member("annotator"), self.member("engineer")
        try:
            self.label(annotator)
            self.read(engineer)
        finally:
            annotator.close()
            engineer.close()
        print(
            table(
                f"{self.documents:,} documents, {self.annotated:,} annotated",
                ["operation", "n", "median ms", "p95 ms", "queries", "target ms"],
                [
                    [
                        s.name,
                        str(len(s.times)),
                        f"{s.median:.1f}",
                        f"{s.p95:.1f}",
                        f"{statistics.median(s.queries):.0f}",
                        f"{s.target_ms or ''}",
                    ]
                    for s in self.samples.values()
                ],
            ),
            flush=True,
        )
        return {
            "documents": self.documents,
            "import": imported,
            "operations": [s.as_dict() for s in self.samples.values()],
        }

    def member(self, role: str) -> Browser:
        """A browser of a user with a role."""
        from django.contrib.auth import get_user_model

        from labeling.models import Membership

        user = get_user_model().objects.create_user(f"{self.project.slug}-{role}", password=None)
        Membership.objects.create(project=self.project, user=user, role=role)
        return Browser(self.studio.port, user)

    def load(self) -> dict[str, Any]:
        """Imports the documents by the worker; seconds until all rows are stored, and until the text index is built."""
        from django.core.files import File

        from labeling.imports.services import start_import
        from labeling.models import DocumentSearch, IndexRun

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "invoices.jsonl"
            write_rows(path, self.documents, self.annotated)
            size = path.stat().st_size
            with path.open("rb") as file:
                run = start_import(project=self.project, user=self.user, file=File(file, name=path.name))
            watched = _Memory(self.studio.worker)
            while run.is_live:
                watched.look()
                time.sleep(0.05)
                run.refresh_from_db()
            rows_there = _seconds(run.started_at, run.finished_at)
            if run.imported != self.documents:
                raise SystemExit(f"The import ended with {run.imported} of {self.documents} documents. {run.error}")
            indexing = IndexRun.objects.filter(project=self.project).order_by("pk")
            while (last := indexing.last()) is None or last.is_live:
                watched.look()
                time.sleep(0.1)
            if DocumentSearch.objects.filter(project=self.project).count() != self.documents:
                raise SystemExit(f"The text index was not built. {last.error}")
            indexed = _seconds(run.finished_at, last.finished_at)
        figures = {
            "megabytes": round(size / 1e6, 1),
            "rows_seconds": round(rows_there, 2),
            "index_seconds": round(indexed, 2),
            "peak_megabytes": round(watched.peak / 1024, 1),
        }
        print(f"import of {self.documents:,}: {figures}", flush=True)
        return figures

    def measure(self, name: str, answer: Answer) -> Answer:
        """Adds one measurement of an operation."""
        if answer.status >= 400:
            self.failed += 1
            print(f"{name}: {answer.status} {answer.body[:300]!r}", file=sys.stderr)
        samples = self.samples.setdefault(name, Samples(name, TARGETS.get(name)))
        samples.add(answer.milliseconds, answer.queries)
        return answer

    def label(self, browser: Browser) -> None:
        """Next, open, draft and submit, with the requests of the labeling screen."""
        answer = browser.post(f"{self.base}label/next/", {"after": 0})
        for _ in range(self.repeat):
            after = answer.json()["id"]
            answer = self.measure("next", browser.post(f"{self.base}label/next/", {"after": after}))
            state = answer.json()
            at = f"{self.base}label/{state['id']}/"
            self.measure("open", browser.get(f"{at}state/"))
            self.measure("open, whole page", browser.get(at))
            body = save_body(state, label_for(state))
            draft = self.measure("draft", browser.post(f"{at}save/", body))
            final = {
                **body,
                "submit": True,
                "base_version": draft.json()["version"],
                "evidence": draft.json()["evidence"],
            }
            self.measure("submit", browser.post(f"{at}save/", final))

    def read(self, browser: Browser) -> None:
        """List, filters, home, pages and export."""
        draw = random.Random(1)
        documents = f"{self.base}documents/"
        numbers = [draw.randrange(self.documents) for _ in range(self.repeat)]
        pages: dict[str, Callable[[int], str]] = {
            "list of 30": lambda _: documents,
            "state filter": lambda _: f"{documents}?state=submitted",
            "text filter, rare": lambda n: f"{documents}?q=A-{n:07}",
            "text filter, in every document": lambda _: f"{documents}?q=issued+on",
            "text filter, in none": lambda n: f"{documents}?q=nowhere{n}",
            "field filter": lambda n: f"{documents}?field=invoice_id&op=is&value=A-{n % self.annotated:07}",
            "field filter, contains": lambda _: f"{documents}?field=vendor&op=contains&value=GmbH",
            "project home": lambda _: self.base,
            "progress page": lambda _: f"{self.base}progress/",
        }
        for name, address in pages.items():
            for number in numbers:
                self.measure(name, browser.get(address(number)))
        for _ in range(max(3, self.repeat // 20)):
            answer = self.measure(EXPORT_NAME, browser.get(f"{self.base}{EXPORT}"))
            lines = answer.body.count(b"\n")
            if lines < self.annotated:
                self.failed += 1
                print(f"The export has {lines} lines.", file=sys.stderr)


def _seconds(start: datetime | None, end: datetime | None) -> float:
    if start is None or end is None:
        raise SystemExit("A run has no times.")
    return (end - start).total_seconds()


EXPORT = "export/rows/?part=gold"


def save_body(state: dict[str, Any], entry: dict[str, str]) -> dict[str, Any]:
    """A draft as the screen posts it."""
    return {
        "entry": entry,
        "evidence": {},
        "base_version": state["version"],
        "schema": state["schema"],
        "seconds": 3,
        "submit": False,
        "field_seconds": {"vendor": 1, "date": 2},
    }


class _Memory:
    """Peak memory of the children of a process, in KiB."""

    def __init__(self, parent: int) -> None:
        self.parent, self.peak = parent, 0

    def look(self) -> None:
        for path in Path("/proc").glob("[0-9]*/status"):
            try:
                lines = dict(line.split(":", 1) for line in path.read_text().splitlines() if ":" in line)
            except OSError:  # it ended
                continue
            if lines.get("PPid", "").strip() == str(self.parent) and "VmHWM" in lines:
                self.peak = max(self.peak, int(lines["VmHWM"].split()[0]))


# -- many people -------------------------------------------------------------------------------------------------------


def together(bench: Bench, people: int, seconds: float, pause: float) -> tuple[dict[str, Any], int]:
    """Simulates concurrent annotators: next, two drafts, submit, after a pause each. Times and failed requests."""
    from django.contrib.auth import get_user_model

    from labeling.models import Membership
    from slmstudio.access import Role

    users = [get_user_model().objects.create_user(f"annotator-{i}", password=None) for i in range(people)]
    Membership.objects.bulk_create(Membership(project=bench.project, user=user, role=Role.ANNOTATOR) for user in users)
    times: dict[str, list[float]] = {}
    given: list[int] = []
    failures: list[str] = []
    lock = threading.Lock()
    end = time.monotonic() + seconds

    def note(name: str, answer: Answer) -> Answer:
        with lock:
            times.setdefault(name, []).append(answer.milliseconds)
            if answer.status >= 400:
                failures.append(f"{name}: {answer.status} {answer.body[:200]!r}")
        return answer

    def work(number: int, browser: Browser) -> None:
        draw = random.Random(number)
        time.sleep(draw.random() * pause)
        try:
            while time.monotonic() < end:
                state = note("next", browser.post(f"{bench.base}label/next/", {"after": 0})).json()
                with lock:
                    given.append(state["id"])
                at = f"{bench.base}label/{state['id']}/"
                entry = label_for(state)
                for name, fields in (
                    ("draft", ["invoice_id", "date"]),
                    ("draft", list(entry)),
                    ("submit", list(entry)),
                ):
                    time.sleep(pause * (0.5 + draw.random()))
                    body = {**save_body(state, {f: entry[f] for f in fields}), "submit": name == "submit"}
                    body["evidence"] = state["evidence"]
                    state |= note(name, browser.post(f"{at}save/", body)).json()
        except (OSError, ValueError, KeyError) as error:
            with lock:
                failures.append(repr(error))
        finally:
            browser.close()

    threads = [
        threading.Thread(target=work, args=(number, Browser(bench.studio.port, user)))
        for number, user in enumerate(users)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    twice = len(given) - len(set(given))
    everything = [value for values in times.values() for value in values]
    rows = [*times.items(), ("all", everything)]
    title = f"{people} annotators for {seconds:.0f} s, {len(everything) / seconds:.0f} requests a second"
    print(
        table(
            title,
            ["operation", "n", "median ms", "p95 ms", "worst ms"],
            [
                [name, str(len(v)), f"{percentile(v, 0.5):.1f}", f"{percentile(v, 0.95):.1f}", f"{max(v):.0f}"]
                for name, v in rows
            ],
        )
    )
    print(f"failed requests: {len(failures)}; documents given to two people: {twice}")
    for failure in failures[:5]:
        print(failure, file=sys.stderr)
    figures = {
        "annotators": people,
        "seconds": seconds,
        "pause": pause,
        "submitted": len(times.get("submit", [])),
        "p95_ms": round(percentile(everything, 0.95), 1),
        "median_ms": round(percentile(everything, 0.5), 1),
        "failed": len(failures),
        "given_twice": twice,
    }
    return figures, len(failures) + twice


if __name__ == "__main__":
    sys.exit(main())
