"""The audit log of a project: list, filters and export. It is read-only."""

import re
from collections.abc import Iterator
from typing import Any

from django.core.paginator import Paginator
from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.views.decorators.http import require_safe

from evaluation.audit import services
from evaluation.audit.forms import AuditForm
from evaluation.models import AuditEntry
from slmstudio.access import Action, project_for
from slmstudio.web.requests import SignedInRequest, page_or_fragment

PAGE_SIZE = 50
#: object of an entry -> URL name of its page, by number
PAGES = {
    "gate report": "gate_report",
    "evaluation": "eval_run",
    "benchmark": "benchmark",
    "pre-labels": "prelabel_run",
}
_NUMBERED = re.compile(rf"({'|'.join(PAGES)}) (\d{{1,9}})")
_FORMATS = {"csv": (services.as_table, "text/csv; charset=utf-8"), "jsonl": (services.as_lines, "application/x-ndjson")}


@require_safe
def audit_log(request: SignedInRequest, slug: str) -> HttpResponse:
    """The entries, newest first."""
    project = project_for(request.user, slug, Action.READ)
    form = AuditForm(request.GET, project=project)
    page = Paginator(services.entries(project=project, filters=form.filters()), PAGE_SIZE).get_page(
        request.GET.get("page")
    )
    context = {
        "project": project,
        "form": form,
        "page": page,
        "rows": [_row(project, entry) for entry in page],
        "head": services.entries(project=project).order_by("-position").first(),
        "filtered": any(form.cleaned_data.get(name) for name in form.fields),
    }
    return page_or_fragment(request, "evaluation/audit/log.html", "entries", context)


def _row(project: Any, entry: AuditEntry) -> dict[str, Any]:
    """An entry with the URL of its object, and its reason separate from other details."""
    details = dict(entry.details) if isinstance(entry.details, dict) else {}
    reason = details.pop("reason", "")
    named = _NUMBERED.fullmatch(entry.about)
    url = reverse(PAGES[named[1]], args=[project.slug, int(named[2])]) if named else ""
    if entry.about == "gate policy" or entry.about.startswith("policy proposal "):
        url = reverse("gates", args=[project.slug])
    action = services.ACTION_LABELS.get(entry.action, entry.action)
    return {"entry": entry, "action": action, "url": url, "reason": reason, "details": dict(_flat(details))}


def _flat(details: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Names and values; nested details one by one."""
    for name, value in details.items():
        if isinstance(value, dict):
            yield from ((f"{name}: {inner}", item) for inner, item in value.items())
        elif value not in ("", None):
            yield name.replace("_", " "), value


@require_safe
def export(request: SignedInRequest, slug: str) -> HttpResponseBase:
    """The filtered entries, oldest first: ``?format=csv`` or ``jsonl``."""
    project = project_for(request.user, slug, Action.READ)
    ending = request.GET.get("format", "csv")
    if ending not in _FORMATS:
        return HttpResponse("The format must be csv or jsonl.\n", status=422, content_type="text/plain; charset=utf-8")
    write, content_type = _FORMATS[ending]
    rows = services.entries(project=project, filters=AuditForm(request.GET, project=project).filters())
    name = f"{project.slug}-audit-log.{ending}"
    return StreamingHttpResponse(
        write(rows), content_type=content_type, headers={"Content-Disposition": f'attachment; filename="{name}"'}
    )
