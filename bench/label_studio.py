"""The same operations in Label Studio and here, one after the other on one machine, with the ratio.

Label Studio is not a requirement of this project; it needs its own environment::

    python3.11 -m venv /tmp/label-studio
    /tmp/label-studio/bin/pip install label-studio==1.23.2 gunicorn
    python -m bench.label_studio --environment /tmp/label-studio --documents 10000

Label Studio runs under gunicorn, the studio under its own server, each with 2 processes of 4 threads on the embedded
PostgreSQL, with one client on one connection. The requests are those of Label Studio's own pages:
``/api/projects/<id>/next`` and so on.
"""

import argparse
import contextlib
import json
import logging
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from bench.harness import Samples, free_port, studio, table, wait_for
from bench.labeling import EXPORT_NAME, Bench, write_rows
from slmstudio.stack.paths import Paths

FIELDS = ("invoice_id", "date", "vendor", "total_amount")
ANNOTATED = 5_000
CONFIG = (
    "<View><Text name='text' value='$text'/>"
    + "".join(f"<TextArea name='{field}' toName='text'/>" for field in FIELDS)
    + "</View>"
)


def main() -> int:
    """Runs both and prints a table of medians."""
    parser = argparse.ArgumentParser(prog="python -m bench.label_studio", description=__doc__)
    parser.add_argument("--environment", type=Path, required=True, help="a virtual environment with Label Studio")
    parser.add_argument("--documents", type=int, default=10_000)
    parser.add_argument("--repeat", type=int, default=20)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    logging.getLogger("httpx").setLevel(logging.WARNING)
    with studio() as running:
        ours = Bench(running, options.documents, options.repeat, annotated=ANNOTATED)
        imported = ours.run()["import"]["rows_seconds"] * 1000
        ours.samples["import"] = Samples("import")
        ours.samples["import"].add(imported, 0)
        with label_studio(options.environment.resolve()) as address:
            theirs = _Theirs(address, options.documents, options.repeat).run()
    rows = []
    for name, samples in theirs.items():
        mine = ours.samples[name]
        rows.append((name, f"{samples.median:.0f}", f"{mine.median:.1f}", f"{samples.median / mine.median:.0f}"))
    print(
        table(
            f"Label Studio and SLM Studio at {options.documents:,} documents, {ANNOTATED:,} annotated; medians",
            ["operation", "Label Studio ms", "SLM Studio ms", "times as fast"],
            rows,
        )
    )
    if options.json:
        figures = {
            "theirs": [s.as_dict() for s in theirs.values()],
            "ours": [s.as_dict() for s in ours.samples.values()],
        }
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return 1 if ours.failed else 0


@contextlib.contextmanager
def label_studio(environment: Path) -> Iterator[str]:
    """Starts Label Studio on its own database in the embedded PostgreSQL; yields its URL."""
    import psycopg

    home = Path(os.environ["SLM_HOME"])
    places = Paths.of(home)
    with psycopg.connect(places.database_url(), autocommit=True) as connection:
        connection.execute("CREATE DATABASE labelstudio")
    source = next(environment.glob("lib/python3*/site-packages/label_studio"))
    variables = {
        **{name: value for name, value in os.environ.items() if not name.startswith("DJANGO")},
        "DJANGO_SETTINGS_MODULE": "core.settings.label_studio",
        "DJANGO_DB": "default",
        "POSTGRE_USER": "slmstudio",
        "POSTGRE_PASSWORD": "",
        "POSTGRE_NAME": "labelstudio",
        "POSTGRE_HOST": str(places.postgres_socket_folder),
        "POSTGRE_PORT": "5432",
        "LABEL_STUDIO_BASE_DATA_DIR": str(home / "label-studio"),
        "LATEST_VERSION_CHECK": "0",
        "COLLECT_ANALYTICS": "0",
    }
    quiet: dict[str, Any] = {
        "cwd": source,
        "env": variables,
        "stdout": subprocess.DEVNULL,
        "stderr": subprocess.DEVNULL,
    }
    subprocess.run([environment / "bin/python", "manage.py", "migrate", "--verbosity=0"], check=True, **quiet)
    port = free_port()
    command: list[str | Path] = [environment / "bin/gunicorn", "core.wsgi:application", "--bind", f"127.0.0.1:{port}"]
    with subprocess.Popen([*command, "--workers", "2", "--threads", "4", "--timeout", "900"], **quiet) as server:
        try:
            wait_for(port)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


class _Theirs:
    """The operations in Label Studio."""

    def __init__(self, address: str, documents: int, repeat: int) -> None:
        self.documents, self.repeat = documents, repeat
        self.client = httpx.Client(base_url=address, timeout=900, follow_redirects=True)
        self.samples: dict[str, Samples] = {}
        self.client.get("/user/signup/")
        form = {"email": "bench@example.com", "password": "bench-password-1", "allow_newsletters": "false"}
        self.ask("", "POST", "/user/signup/", data={**form, "csrfmiddlewaretoken": self.client.cookies["csrftoken"]})
        project = self.ask("", "POST", "/api/projects/", json={"title": "bench", "label_config": CONFIG})
        self.project = f"/api/projects/{project.json()['id']}"
        self.key = project.json()["id"]

    def ask(self, name: str, method: str, path: str, **more: Any) -> httpx.Response:
        """One request, measured if it has a name."""
        headers = {"X-CSRFToken": self.client.cookies["csrftoken"], "Referer": str(self.client.base_url)}
        start = time.perf_counter()
        response = self.client.request(method, path, headers=headers, **more)
        spent = (time.perf_counter() - start) * 1000
        response.raise_for_status()
        if name:
            self.samples.setdefault(name, Samples(name)).add(spent, 0)
        return response

    def run(self) -> dict[str, Samples]:
        """Import, then the measured operations."""
        self.load()
        for _ in range(self.repeat):
            task = self.ask("next", "GET", f"{self.project}/next").json()["id"]
            self.ask("open", "GET", f"/api/tasks/{task}", params={"project": self.key})
            self.ask("submit", "POST", f"/api/tasks/{task}/annotations/", json={"result": _result("1"), "lead_time": 3})
        draw = random.Random(1)
        listing = {"project": self.key, "page": 1, "page_size": 30}
        for _ in range(self.repeat):
            self.ask("list of 30", "GET", "/api/tasks", params=listing)
            query = {"conjunction": "and", "items": [_contains(f"A-{draw.randrange(self.documents):07}")]}
            filtered = {**listing, "query": json.dumps({"filters": query})}
            self.ask("text filter, rare", "GET", "/api/tasks", params=filtered)
            self.ask("project home", "GET", f"{self.project}/")
        for _ in range(3):
            self.ask(EXPORT_NAME, "GET", f"{self.project}/export", params={"exportType": "JSON"})
        return self.samples

    def load(self) -> None:
        """Imports the same documents, the first ones with annotations."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "invoices.jsonl"
            write_rows(path, self.documents, ANNOTATED)
            tasks = []
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines()):
                row = json.loads(line)
                task: dict[str, Any] = {"data": {"text": row["text"]}}
                if "gold" in row:
                    task["annotations"] = [{"result": _result(str(number), row["gold"])}]
                tasks.append(task)
            body = json.dumps(tasks).encode()
        self.ask("import", "POST", f"{self.project}/import", files={"tasks.json": ("tasks.json", body)})


def _result(mark: str, gold: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    values = gold or dict.fromkeys(FIELDS, "2026-01-14")
    return [
        {
            "id": f"{field}-{mark}",
            "from_name": field,
            "to_name": "text",
            "type": "textarea",
            "value": {"text": [str(values[field])]},
        }
        for field in FIELDS
    ]


def _contains(text: str) -> dict[str, str]:
    return {"filter": "filter:tasks:data.text", "operator": "contains", "type": "String", "value": text}


if __name__ == "__main__":
    sys.exit(main())
