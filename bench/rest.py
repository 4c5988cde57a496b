"""Overhead of the REST API over the services behind it: ``python -m bench.rest``.

The same operations on the same data, alternating: over HTTP with a token, through the web server as in production, and
as a call of the service in this process. The difference of the medians is HTTP, Django, the token, rate limits, and
reading and writing JSON.
"""

import argparse
import json
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from bench.harness import Browser, Samples, percentile, studio, table

_TARGET_MS = 5.0
_TEXT = "Invoice F-{0} of 2026-01-14 from Acme Supplies. Total {0}.50\n" + "Thank you for your business. " * 40


class Program(Browser):
    """An API client with a token."""

    def __init__(self, port: int, user: Any, token: str) -> None:
        super().__init__(port, user)
        self._headers = {"Authorization": f"Bearer {token}"}

    def put(self, path: str, body: Any) -> Any:
        """Sends JSON."""
        return self._ask("PUT", path, json.dumps(body).encode())


def _value(number: int) -> dict[str, Any]:
    return {
        "invoice_id": f"F-{number}",
        "date": "2026-01-14",
        "vendor": "Acme Supplies",
        "total_amount": float(f"{number}.5"),
    }


def _timed(call: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    result = call()
    return result, (time.perf_counter() - start) * 1000


def _measure(port: int, rounds: int) -> list[tuple[str, Samples, Samples]]:
    """(operation, over HTTP, as a call) with the times of each round."""
    from django.contrib.auth import get_user_model

    from labeling.annotation import services as annotation_services
    from labeling.api.access import RequestContext
    from labeling.api.documents import DocumentOut
    from labeling.imports.bulk_copy import import_rows
    from labeling.imports.rows import ParsedRow
    from labeling.integrations import tokens
    from labeling.models import Document
    from labeling.projects.services import create_project

    user = get_user_model().objects.create_user("bench")
    project = create_project(owner=user, name="Rest", slug="rest", template="invoice")
    rows = [ParsedRow(n, {"id": f"f-{n}", "text": _TEXT.format(n)}) for n in range(1, 2 * rounds + 41)]
    import_rows(project=project, rows=rows, source="bench")
    _, token = tokens.create(project=project, user=user, name="bench", scopes=["read", "label"], days=1)
    program = Program(port, user, token)
    project.role = "owner"
    names = ("read", "open", "save a draft", "submit")
    figures = {name: (Samples(name), Samples(name)) for name in names}

    def note(name: str, which: int, milliseconds: float, warm: bool) -> None:
        if warm:
            figures[name][which].add(milliseconds, 0)

    keys = list(Document.objects.filter(project=project).order_by("pk").values_list("pk", "external_id"))
    for turn, (pk, external_id) in enumerate(keys):
        number, warm = int(external_id[2:]), turn >= 40
        base = f"/api/v1/projects/rest/documents/{pk}"
        sent: dict[str, Any] = {"value": _value(number), "base_version": 0}
        if turn % 2:
            for name, path, body in (("read", "", None), ("open", "/open", {})):
                answer = program.get(base) if body is None else program.post(f"{base}{path}", body)
                assert answer.status == 200, answer.body
                note(name, 0, answer.milliseconds, warm)
            answer = program.put(f"{base}/draft", sent)
            assert answer.status == 200, answer.body
            note("save a draft", 0, answer.milliseconds, warm)
            answer = program.post(f"{base}/submit", {**sent, "base_version": answer.json()["version"]})
            assert answer.status == 200, answer.body
            note("submit", 0, answer.milliseconds, warm)
            continue
        rows_of, context = project.documents.with_assignee(), {"request": SimpleNamespace(auth=RequestContext(user))}
        _, spent = _timed(lambda: DocumentOut.model_validate(rows_of.get(pk=pk), context=context).model_dump())  # noqa: B023
        note("read", 1, spent, warm)
        opened = annotation_services.with_open_data()
        _, spent = _timed(lambda: annotation_services.open_document(document=opened.get(pk=pk), user=user))  # noqa: B023
        note("open", 1, spent, warm)
        save: dict[str, Any] = {"document": Document(pk=pk, project=project), "user": user, "evidence": {}, **sent}
        saved, spent = _timed(lambda: annotation_services.save_draft(**save))  # noqa: B023
        note("save a draft", 1, spent, warm)
        save["base_version"] = saved.version
        _, spent = _timed(lambda: annotation_services.submit(**save))  # noqa: B023
        note("submit", 1, spent, warm)
    program.close()
    return [(name, *figures[name]) for name in names]


def _fastest(over: Samples, call: Samples) -> tuple[float, float, float]:
    """The upper end of the fastest tenth of both: on a shared machine it is more stable than the median."""
    quick, quick_call = percentile(over.times, 0.1), percentile(call.times, 0.1)
    return quick, quick_call, quick - quick_call


def main() -> None:
    """Prints the medians of both, and their difference."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    rounds = parser.parse_args().rounds
    with studio(web_workers=1) as running:
        measured = _measure(running.port, rounds)
    lines = [
        [name, *(f"{ms:.2f}" for ms in (over.median, call.median, over.median - call.median, *_fastest(over, call)))]
        for name, over, call in measured
    ]
    heads = ["ms", "REST median", "service median", "added", "REST fastest tenth", "service fastest tenth", "added"]
    print(table(f"REST over its services, {rounds} of each (target: under {_TARGET_MS:g} ms added)", heads, lines))


if __name__ == "__main__":
    main()
