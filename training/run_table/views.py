"""The list of training runs as a table, changes of several runs, and the notes of one."""

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import ngettext
from django.views.decorators.http import require_POST, require_safe

from slmstudio.access import Action, object_for, project_for
from slmstudio.errors import Refused
from slmstudio.runs.models import ACTIVE
from slmstudio.web.forms import RefusalMessage
from slmstudio.web.requests import SignedInRequest, is_htmx, positive_int
from slmstudio.workers.live_workers import no_worker_message
from training.models import TrainingRun
from training.run_table import services
from training.run_table.columns import COLUMNS, grouped
from training.run_table.filters import choices, matching_runs, table_query
from training.runs.queries import newest_dataset

PER_PAGE = 50


@require_safe
def runs(request: SignedInRequest, slug: str) -> HttpResponse:
    """The project's runs, newest first unless sorted; refreshed while one is live."""
    project = project_for(request.user, slug, Action.READ)
    query = table_query(request)
    page = Paginator(matching_runs(project, query), PER_PAGE).get_page(request.GET.get("page"))
    live = project.training_runs.filter(status__in=ACTIVE).exists()
    shown = [COLUMNS[name] for name in query.columns]
    context = {
        "project": project,
        "page": page,
        "rows": [(run, [(column, column.text(run)) for column in shown]) for run in page],
        "table": query,
        "columns": shown,
        "states": [("", "All"), ("live", "Live"), ("done", "Done"), ("failed", "Failed or cancelled")],
        "live": live,
        "no_worker": no_worker_message("gpu") if live else "",
        "any": bool(page.object_list) or project.training_runs.exists(),
        "has_dataset": bool(page.object_list) or newest_dataset(project) is not None,
    }
    if is_htmx(request):
        return render(request, "training/run_table/list.html#table", context)
    return render(request, "training/run_table/list.html", {**context, **choices(project), "all_columns": grouped()})


@require_POST
def change_runs(request: SignedInRequest, slug: str) -> HttpResponse:
    """Archives, restores or tags the runs that are selected in the table."""
    project = project_for(request.user, slug, Action.RUN)
    numbers = [number for number in map(positive_int, request.POST.getlist("runs")) if number]
    tags = request.POST.get("tags", "").replace("\0", "")
    with RefusalMessage(request):
        match request.POST.get("action"):
            case "archive":
                changed = services.archive(project=project, user=request.user, numbers=numbers)
                text = ngettext("%d run archived.", "%d runs archived.", changed)
            case "restore":
                changed = services.restore(project=project, user=request.user, numbers=numbers)
                text = ngettext("%d run restored.", "%d runs restored.", changed)
            case "tag":
                changed = services.change_tags(project=project, user=request.user, numbers=numbers, add=tags)
                text = ngettext("%d run tagged.", "%d runs tagged.", changed)
            case "untag":
                changed = services.change_tags(project=project, user=request.user, numbers=numbers, remove=tags)
                text = ngettext("Tags of %d run removed.", "Tags of %d runs removed.", changed)
            case _:
                raise Refused("Choose what to do with the selected runs.")
        messages.success(request, text % changed)
    back = request.POST.get("query", "")
    address = reverse("training", args=[project.slug])
    return redirect(f"{address}{back}" if back.startswith("?") else address)


@require_POST
def describe_run(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Stores name, tags and notes of a run; with ``archive`` or ``restore`` only that."""
    project, run = object_for(request.user, slug, Action.RUN, TrainingRun, number=number)
    texts = {name: request.POST.get(name, "").replace("\0", "") for name in ("name", "tags", "notes")}
    with RefusalMessage(request):
        if "archive" in request.POST:
            if not services.archive(project=project, user=request.user, numbers=[run.number]):
                raise Refused("A run that is queued or running cannot be archived. Cancel it first.")
        elif "restore" in request.POST:
            services.restore(project=project, user=request.user, numbers=[run.number])
        else:
            services.describe_run(run=run, user=request.user, **texts)
            messages.success(request, "Saved.")
    return redirect(run.get_absolute_url())
