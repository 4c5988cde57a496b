"""The monitoring page. Its figures read themselves again."""

from django.http import HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from serving.alerts.queries import firing
from serving.monitoring import queries
from serving.traffic.series import WINDOWS
from slmstudio.access import Action, project_for
from slmstudio.web.requests import SignedInRequest, is_htmx

_TEMPLATE = "serving/monitoring/monitoring.html"


@require_safe
def monitoring(request: SignedInRequest, slug: str) -> HttpResponse:
    """The page. ``window``: 1h, 24h, 7d or 30d; ``version``: of one version only."""
    project = project_for(request.user, slug, Action.READ)
    window = WINDOWS.get(request.GET.get("window", ""), WINDOWS["24h"])
    version = request.GET.get("version", "")
    number = int(version) if version.isascii() and version.isdigit() and len(version) < 9 else None
    page = queries.page(project, window, timezone.now(), number)
    context = {"project": project, "page": page, "windows": WINDOWS.values(), "firing": firing(project)}
    part = "#figures" if is_htmx(request) and request.GET.get("part") == "figures" else ""
    return render(request, f"{_TEMPLATE}{part}", context)
