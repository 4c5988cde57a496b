"""The page of the order of a queue."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from labeling.queue_order import services
from labeling.queue_order.forms import QueueOrderForm
from slmstudio.access import Action, project_for
from slmstudio.errors import Refused
from slmstudio.web.requests import SignedInRequest, is_htmx


@require_http_methods(["GET", "HEAD", "POST"])
def queue_order(request: SignedInRequest, slug: str) -> HttpResponse:
    """The order in effect and the next documents; POST sets the order."""
    project = project_for(request.user, slug, Action.ORDER_QUEUE if request.method == "POST" else Action.READ)
    form = QueueOrderForm(request.POST) if request.method == "POST" else QueueOrderForm.of(project)
    if request.method == "POST" and form.is_valid():
        try:
            run = services.set_order(project=project, user=request.user, **form.options())
        except Refused as refusal:
            form.add_error(refusal.field, refusal.message)
        else:
            messages.success(request, "The order is being computed." if run else "Import order is in effect.")
            return redirect("queue_order", slug)
    status = services.order_status(project)
    if is_htmx(request) and request.GET.get("part") == "live" and not (status.last and status.last.is_live):
        return HttpResponse(headers={"HX-Refresh": "true"})
    context = {"project": project, "form": form, "status": status, "run": status.last}
    return render(request, "labeling/queue_order/order.html", context, status=422 if form.errors else 200)


@require_POST
def update(request: SignedInRequest, slug: str) -> HttpResponse:
    """Computes the order again."""
    project = project_for(request.user, slug, Action.ORDER_QUEUE)
    if project.queue_order:
        services.start(project=project, user=request.user)
        messages.success(request, "The order is being computed.")
    return redirect("queue_order", slug)
