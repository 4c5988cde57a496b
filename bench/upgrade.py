"""An update with a million documents: ``python -m bench.upgrade REVISION [--documents 1000000]``.

The code of an earlier revision makes the database, with a deployed version, and its gateway answers 10,000 requests,
100 a second. During that the code of today migrates and starts the web server, as docs/production.md describes. Prints
how long pages were away and how many requests failed; the exit code is 1 where one did, or after more than 60 seconds.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.harness import EXTRACT, Browser, free_port, manage, percentile, running, set_up_django, table, wait_for
from bench.serving import send
from labeling.demo.samples import generate
from slmstudio.stack import environment
from slmstudio.storage.installation import ROOT

REQUESTS, RATE = 10_000, 100.0
#: pages must be back within so many seconds
PAGES_SECONDS = 60.0
_FILL = """
import sys, itertools
from bench.harness import set_up_django
set_up_django()
from bench.harness import deployed
from labeling.models import Document, Project
token, _ = deployed(address=sys.argv[1])
project = Project.objects.get(slug="bench")
rows = (
    Document(project=project, external_id=f"a-{n:07}", text=f"Invoice A-{n:07}. " + "paid " * 300, sha256=f"{n:064}")
    for n in range(int(sys.argv[2]))
)
while batch := list(itertools.islice(rows, 5_000)):
    Document.objects.bulk_create(batch)
print(token)
"""


def main() -> int:
    """Runs the update once; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("revision", help="of the code to update from, as git names it")
    parser.add_argument("--documents", type=int, default=1_000_000)
    options = parser.parse_args()
    for variable in ("DATABASE_URL", "REDIS_URL", "DATABASE_OWNER_URL"):
        os.environ.pop(variable, None)
    with tempfile.TemporaryDirectory(prefix="slm-upgrade-", ignore_cleanup_errors=True) as folder:
        os.environ |= {"SLM_HOME": folder, "SECRET_KEY": "abcdefgh" * 4, "API_REQUESTS_PER_MINUTE": "1000000"}
        with checkout(options.revision) as old, environment.servers():
            return update(old, Path(folder), options.documents)


@contextlib.contextmanager
def checkout(revision: str) -> Iterator[Path]:
    """A folder with the code of a revision."""
    with tempfile.TemporaryDirectory(prefix="slm-former-") as folder:
        archive = subprocess.Popen(["git", "archive", revision], cwd=ROOT, stdout=subprocess.PIPE)
        subprocess.run(["tar", "-x", "-C", folder], stdin=archive.stdout, check=True)
        yield Path(folder)


def update(old: Path, folder: Path, documents: int) -> int:
    """Fills the database with the code in ``old``, updates it under load, and prints the figures."""
    python = [sys.executable]
    subprocess.run([*python, "manage.py", "migrate", "--verbosity=0"], cwd=old, check=True)
    socket, port, web_port = f"unix:{folder}/replica.sock", free_port(), free_port()
    filled = subprocess.run([*python, "-c", _FILL, socket, str(documents)], cwd=old, check=True, stdout=subprocess.PIPE)
    token = filled.stdout.decode().split()[-1]
    body = folder / "body.json"
    body.write_text(json.dumps({"text": next(iter(generate(1, 17))).text}))
    sent: dict[str, Any] = {}

    def ask() -> None:
        sent.update(send(f"http://127.0.0.1:{port}", EXTRACT, 20, RATE, REQUESTS, token, body))

    web = [*python, "-m", "slmstudio.server", "--bind", f"127.0.0.1:{web_port}", "--workers", "1"]
    with (
        running(*python, "-m", "bench.serving_load", "replica", socket),
        running(*python, "-m", "serving.gateway", "--bind", f"127.0.0.1:{port}", folder=old),
    ):
        wait_for(port)
        time.sleep(3)  # until the gateway has read its routes
        asking = threading.Thread(target=ask)
        asking.start()
        time.sleep(5)
        began = time.perf_counter()
        manage("migrate", "--verbosity=0")
        migrated = time.perf_counter() - began
        os.environ.pop("DATABASE_OWNER_URL", None)
        with running(*web):
            wait_for(web_port)
            status = page(web_port)
            away = time.perf_counter() - began
            asking.join()
    failed = sent["failed"]
    heads = ("documents", "migrated, s", "pages away, s", "requests", "failed", "p50, ms", "p99, ms", "longest, ms")
    times = [f"{percentile(sent['times'], share):.1f}" for share in (0.5, 0.99, 1.0)]
    row = (f"{documents:,}", f"{migrated:.1f}", f"{away:.1f}", f"{len(sent['times']):,}", str(failed), *times)
    print(table("Update under load", heads, [row]))
    return 1 if failed or status != 200 or away > PAGES_SECONDS or len(sent["times"]) < REQUESTS else 0


def page(port: int) -> int:
    """The status of the list of documents for the owner."""
    set_up_django()
    from django.contrib.auth import get_user_model
    from django.db import connections

    browser = Browser(port, get_user_model().objects.get(username="ana"))
    status = browser.get("/p/bench/documents/").status
    browser.close()
    connections.close_all()
    return status


if __name__ == "__main__":
    sys.exit(main())
