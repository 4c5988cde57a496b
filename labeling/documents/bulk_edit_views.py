"""Bulk edits: start, progress, cancel and undo."""

from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from labeling.documents import bulk_edit
from labeling.documents.bulk_edit_forms import BulkForm
from labeling.documents.list import counts
from labeling.documents.list.filters import read_query
from labeling.models import BulkEdit
from slmstudio.access import Action, object_for, project_for
from slmstudio.errors import Refused
from slmstudio.web.forms import RefusalMessage
from slmstudio.web.requests import SignedInRequest


@require_POST
def start(request: SignedInRequest, slug: str) -> HttpResponse:
    """Queues a change of the selected documents. For all that match, it first asks to confirm their number."""
    project = project_for(request.user, slug, Action.CURATE)
    if request.POST.get("action") == "export":
        return _to_export(request, slug)
    form = BulkForm(request.POST)
    if not form.is_valid():
        return _back(request, slug, str(next(iter(form.errors.values()))[0]))
    data = form.cleaned_data
    try:
        bulk_edit.clean_params(project, data["action"], form.params())
        if data["of"] == "all" and not data["sure"]:
            filters = read_query(data["query"], project.schema_version.compiled)
            if filters.errors:
                raise Refused(f"{filters.errors[0]} Nothing was changed.")
            context = {
                "project": project,
                "form": form,
                "fields": list(request.POST.lists()),
                "description": form.description(),
                "action": data["action"],
                "count": counts.count(project, filters),
                "filtered": filters.active,
                "query": filters.query(),
            }
            return render(request, "labeling/documents/bulk_edit_confirm.html", context)
        edit = bulk_edit.start(
            project=project,
            user=request.user,
            action=data["action"],
            params=form.params(),
            ids=None if data["of"] == "all" else form.ids(),
            query=data["query"] if data["of"] == "all" else None,
        )
    except Refused as refusal:
        return _back(request, slug, str(refusal))
    return redirect("bulk_edit", slug, edit.pk)


def _to_export(request: SignedInRequest, slug: str) -> HttpResponse:
    """Opens the export page with the selected documents or the filters."""
    selected = ",".join(request.POST.getlist("id"))
    if request.POST.get("of") == "all":
        query = request.POST.get("query", "")[:2000]
    elif selected:
        query = urlencode({"ids": selected}, safe=",")
    else:
        return _back(request, slug, "Select the documents to export.")
    return redirect(f"{reverse('export', args=[slug])}{'?' + query if query else ''}")


def _back(request: SignedInRequest, slug: str, message: str) -> HttpResponse:
    """Redirects to the filtered list, with an error message."""
    messages.error(request, message)
    query = request.POST.get("query", "")[:2000]
    return redirect(f"{reverse('documents', args=[slug])}{'?' + query if query else ''}")


@require_safe
def edit(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """The progress and result of an edit."""
    project, row = object_for(request.user, slug, Action.READ, BulkEdit, pk=pk)
    undoes = None
    if row.action == BulkEdit.Action.UNDO:
        undoes = bulk_edit.undone_edit(row)
    skipped: dict[str, Any] = row.params.get("left", {})
    context = {
        "project": project,
        "edit": row,
        "undoes": undoes,
        "can_undo": bulk_edit.can_undo(row),
        "skipped": sorted(skipped.items(), key=lambda item: -item[1]),
        "unchanged": max(0, row.progress_done - row.changed - row.left_alone),
        "query": row.filters.get("query"),
        "chosen": len(row.filters.get("ids", ())),
    }
    fragment = "#progress" if request.htmx else ""  # type: ignore[attr-defined]
    return render(request, f"labeling/documents/bulk_edit.html{fragment}", context)


@require_POST
def undo(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """Queues the undo of an edit."""
    _, row = object_for(request.user, slug, Action.CURATE, BulkEdit, pk=pk)
    with RefusalMessage(request):
        back = bulk_edit.undo(edit=row, user=request.user)
        return redirect("bulk_edit", slug, back.pk)
    return redirect("bulk_edit", slug, pk)
