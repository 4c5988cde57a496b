"""The document list, and its saved views."""

from urllib.parse import urlencode

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from labeling.documents import saved_filters
from labeling.documents.list import choices, counts, search
from labeling.documents.list.choices import chips
from labeling.documents.list.filters import PARTIAL, Filters, read_filters
from labeling.documents.list.rows import rows
from labeling.failure_tags import tags_of
from labeling.models import SavedView
from slmstudio.access import Action, object_for, project_for
from slmstudio.database.transactions import StatementTimeout
from slmstudio.web.forms import RefusalMessage
from slmstudio.web.paging import ApproximateCount
from slmstudio.web.requests import SignedInRequest


@require_safe
def documents(request: SignedInRequest, slug: str) -> HttpResponse:
    """The list. Filters, order and position are URL parameters."""
    project = project_for(request.user, slug, Action.READ)
    compiled = project.schema_version.compiled
    filters = read_filters(request.GET, compiled)
    errors = list(filters.errors)
    extended = request.GET.get("search") == "on"
    try:
        shown = search.page(
            project=project,
            filters=filters,
            after=request.GET.get("after", ""),
            before=request.GET.get("before", ""),
            extended=extended,
        )
        count = counts.count(project, filters, shown)
    except StatementTimeout:
        shown, count = search.Page([]), ApproximateCount(0)
        errors.append("These filters take too long. Remove one of them.")
    offered = choices.choices(project, filters, compiled)
    context = {
        "project": project,
        "filters": filters,
        "errors": errors,
        "page": shown,
        "exact": project.documents.with_id(project, filters.q) if filters.q else None,
        "rows": rows(project, shown.ids),
        "count": count,
        "choices": offered,
        "chips": chips(filters, offered),
        "tag_titles": {name: tag.title for name, tag in tags_of(project).items()},
        "order_lacks": PARTIAL.get(filters.order, ""),
        "views": saved_filters.views_for(project=project, user=request.user),
        "query": filters.query(),
    }
    # A link or the browser's back button requests the whole page.
    fragment = request.htmx and not request.htmx.history_restore_request  # type: ignore[attr-defined]
    response = render(request, f"labeling/documents/list.html{'#list' if fragment else ''}", context)
    if fragment:
        # A search that continues automatically is one history entry.
        response["HX-Replace-Url" if extended else "HX-Push-Url"] = _address(request, filters)
    return response


def _address(request: SignedInRequest, filters: Filters) -> str:
    """The URL of the list with the filters that are set."""
    pairs = filters.pairs() + [(name, request.GET[name]) for name in ("after", "before") if request.GET.get(name)]
    return f"{request.path}{'?' + urlencode(pairs) if pairs else ''}"


# -- saved views -------------------------------------------------------------------------------------------------------


@require_POST
def save_view(request: SignedInRequest, slug: str) -> HttpResponse:
    """Saves the filters of a query string under a name."""
    project = project_for(request.user, slug, Action.READ)
    query = request.POST.get("query", "")
    with RefusalMessage(request):
        view = saved_filters.save_view(
            project=project,
            user=request.user,
            name=request.POST.get("name", ""),
            query=query,
            shared=request.POST.get("shared") == "on",
        )
        query = view.query
        audience = "for all members" if view.shared else "for you"
        messages.success(request, f"The view {view.name} was saved {audience}.")
    return redirect(_list(slug, query[:2000]))


@require_POST
def delete_view(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """Deletes a view; its filters stay in the URL."""
    project, view = object_for(request.user, slug, Action.READ, SavedView, pk=pk)
    with RefusalMessage(request):
        saved_filters.delete_view(view=view, user=request.user, can_delete_shared=Action.CURATE in project.can)
        messages.success(request, f"The view {view.name} was deleted.")
    return redirect(_list(slug, view.query))


def _list(slug: str, query: str) -> str:
    return f"{reverse('documents', args=[slug])}{'?' + query if query else ''}"
