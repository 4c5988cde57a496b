"""The page on which an owner finds a text and erases it."""

from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from serving.erasure import services
from serving.erasure.forms import ErasureForm
from slmstudio.access import Action, project_for
from slmstudio.accounts.step_up import step_up
from slmstudio.web.forms import FieldErrors
from slmstudio.web.requests import SignedInRequest


@require_http_methods(["GET", "POST"])
@step_up
def erasure(request: SignedInRequest, slug: str) -> HttpResponse:
    """The form and the reports; POST shows where a text is, and with ``erase`` erases it."""
    project = project_for(request.user, slug, Action.ADMINISTER)
    form = ErasureForm(request.POST if request.method == "POST" else None)
    context: dict[str, Any] = {"project": project, "form": form, "reports": services.reports(project)}
    if form.is_valid():
        with FieldErrors(form):
            values = {"project": project, "user": request.user, "text": form.cleaned_data["text"]}
            if "erase" in request.POST:
                report = services.erase(**values)
                messages.success(request, f"Erased. The report is number {report.pk}.")
                return redirect("settings_erasure", slug)
            context["found"] = services.find(**values)
    return render(request, "serving/erasure/erasure.html", context, status=422 if form.errors else 200)
