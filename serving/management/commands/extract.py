"""``manage.py extract``: sends the documents of a file through the gateway, and writes their outputs.

Input: JSON lines with ``id``, ``text`` and, for a model that reads texts with their layout, ``page``. Output: JSON
lines as those of ``run_loop --outputs``: id, raw, finish_reason, latency_ms, prompt_tokens, output_tokens, error. Rows
that are in the output file already are kept, so an interrupted run resumes.
"""

import json
from argparse import ArgumentParser
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
from django.core.management.base import BaseCommand, CommandError

from labeling.models import Project
from serving.deployments import gateway_client
from slmstudio.contract.json_text import JsonError, dumps, loads

#: a line of progress after so many documents
_EVERY = 25


class Command(BaseCommand):
    """Sends documents through the gateway. The exit code is 1 if a document has no valid output."""

    help = __doc__ or ""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--project", required=True, help="slug of the project")
        parser.add_argument("--input", required=True, type=Path, help='JSON lines {"id", "text", "page"}')
        parser.add_argument("--output", required=True, type=Path, help="JSON lines, appended to")
        parser.add_argument("--at-once", type=int, default=4, help="concurrent documents (default: %(default)s)")

    def handle(self, *args: Any, **options: Any) -> None:
        slug = options["project"]
        if not Project.objects.filter(slug=slug).exists():
            raise CommandError(f"There is no project {slug!r}.")
        rows, done = list(_rows(options["input"])), _done(options["output"])
        waiting = [row for row in rows if row["id"] not in done]
        if done:
            self.stdout.write(f"{len(rows) - len(waiting)} of {len(rows)} documents already have an output")
        failed = 0
        with options["output"].open("a", encoding="utf-8") as file, ThreadPoolExecutor(options["at_once"]) as pool:
            for number, answer in enumerate(pool.map(lambda row: _answer(slug, row), waiting), start=1):
                file.write(json.dumps(answer, ensure_ascii=False) + "\n")
                file.flush()
                failed += bool(answer["error"])
                if number % _EVERY == 0 or number == len(waiting):
                    self.stdout.write(f"{number} of {len(waiting)} documents, {failed} without an output")
        if failed:
            raise CommandError(f"{failed} of {len(waiting)} documents have no valid output; their rows have the error.")


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    """The documents of a file. Raises CommandError naming the line."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"Cannot read {path}: {error}.") from error
    seen: set[str] = set()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            value = loads(line)
        except JsonError as error:
            raise CommandError(f"Line {number} of {path} is not valid JSON: {error.message}.") from error
        if not isinstance(value, dict) or not isinstance(value.get("text"), str):
            raise CommandError(f"Line {number} of {path} has no text.")
        name = str(value.get("id") or number)
        if name in seen:
            raise CommandError(f"Line {number} of {path} has the id {name!r} of an earlier line.")
        seen.add(name)
        yield {"id": name, "text": value["text"], "page": value.get("page")}


def _done(path: Path) -> set[str]:
    """Ids with an output in the file; a last line that was cut off is removed."""
    if not path.exists():
        return set()
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        path.write_text(whole, encoding="utf-8")
    rows = [json.loads(line) for line in whole.splitlines()]
    kept = [row for row in rows if not row["error"]]
    if len(kept) != len(rows):  # documents without an output are sent again
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept), encoding="utf-8")
    return {str(row["id"]) for row in kept}


def _answer(slug: str, row: dict[str, Any]) -> dict[str, Any]:
    failed: dict[str, Any] = {
        "id": row["id"], "raw": "", "finish_reason": "error", "latency_ms": 0.0, "prompt_tokens": 0, "output_tokens": 0,
        "error": "",
    }  # fmt: skip
    try:
        response = gateway_client.send(slug=slug, text=row["text"], page=row["page"])
        value = loads(response.text)
    except (httpx.HTTPError, JsonError) as error:
        return {**failed, "error": f"The gateway does not respond: {error}"}
    if response.status_code != 200:
        return {**failed, "error": str(value.get("detail", response.status_code))}
    name = value.get("unwrapped")  # evaluations score the object around the document
    output = {name: value["output"]} if name else value["output"]
    return {
        **failed, "raw": dumps(output), "finish_reason": "stop",
        "latency_ms": float(value["latency_ms"]["total"]),
        "prompt_tokens": value["usage"]["prompt_tokens"], "output_tokens": value["usage"]["output_tokens"],
        "request_id": value["request_id"], "version": value["version"],
    }  # fmt: skip
