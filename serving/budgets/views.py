"""The page of the use of tokens, and their budgets."""

from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods

from labeling.integrations.tokens import active_tokens
from labeling.models import ApiToken, Project
from serving.budgets import queries, services
from serving.budgets.forms import BudgetForm
from slmstudio.access import Action, project_for
from slmstudio.errors import Refused
from slmstudio.web.requests import SignedInRequest, redirect_to


@require_http_methods(["GET", "HEAD", "POST"])
def budget(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """The use of a token by day, and its budget; ``pk`` 0: of the project. Owners set it."""
    action = Action.ADMINISTER if request.method == "POST" else Action.READ
    project = project_for(request.user, slug, action)
    token = _token(request, project, pk)
    use = queries.use_of(project, token)
    form = BudgetForm(request.POST) if request.method == "POST" else BudgetForm.of(use.limits)
    if request.method == "POST" and form.is_valid():
        try:
            services.set_budget(project=project, user=request.user, token=token, **form.limits())
        except Refused as error:
            form.add_error(error.field if error.field in form.fields else None, error.message)
        else:
            return redirect_to(request, f"{reverse('deploy_monitoring', args=[slug])}#usage")
    context = {
        "project": project, "token": token, "use": use, "form": form, "pk": pk,
        "days": queries.days(project, token), "resets_on": queries.resets_on(timezone.now().date()),
    }  # fmt: skip
    return render(request, "serving/budgets/budget.html", context, status=422 if form.errors else 200)


def _token(request: SignedInRequest, project: Project, pk: int) -> ApiToken | None:
    if pk == 0:
        return None
    is_owner = Action.ADMINISTER in getattr(project, "can", ())
    found: ApiToken | None = active_tokens(project, None if is_owner else request.user).filter(pk=pk).first()
    if found is None:
        raise Http404("No such token.")
    return found
