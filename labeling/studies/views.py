"""The pages of studies: the list, a new one, and one with the panel of its kind."""

import json
from typing import Any

import yaml
from django.contrib import messages
from django.core.paginator import Paginator
from django.http import Http404, HttpResponse, HttpResponsePermanentRedirect, QueryDict
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe
from django_htmx.http import HttpResponseClientRefresh

from labeling.models import Project, Study
from labeling.studies import services
from labeling.studies.forms import StudyForm
from labeling.studies.kinds import StudyKind, all_kinds, kind_of, known_kind, read_spec, spec_of
from slmstudio.access import Action, object_for, project_for
from slmstudio.errors import Refused
from slmstudio.web.body_limits import takes_files
from slmstudio.web.forms import RefusalMessage
from slmstudio.web.requests import SignedInRequest, is_htmx, page_or_fragment, positive_int
from slmstudio.workers.live_workers import no_worker_message

PAGE_SIZE = 30
_MAX_FILE = 64 * 1024


def _existing_kind(key: str) -> StudyKind[Any]:
    kind = kind_of(key)
    if kind is None:
        raise Http404("No such kind of study.")
    return kind


@require_safe
def studies(request: SignedInRequest, slug: str) -> HttpResponse:
    """The studies of a project, newest first; ``?kind=``: of one kind."""
    project = project_for(request.user, slug, Action.READ)
    kind = kind_of(request.GET.get("kind", ""))
    rows = project.studies.newest(kind.key) if kind else project.studies.newest().by_hand()
    page = Paginator(rows, PAGE_SIZE).get_page(request.GET.get("page"))
    for study in page:
        study.project = project
    context = {
        "project": project,
        "page": page,
        "rows": [(study, known_kind(study)) for study in page],
        "kinds": all_kinds(),
        "chosen": kind,
    }
    return render(request, "labeling/studies/list.html", context)


@takes_files(2**20, "django.core.files.uploadhandler.MemoryFileUploadHandler")
def new_study(request: SignedInRequest, slug: str, kind: str) -> HttpResponse:
    """The form of a new study; POST starts it, or fills in the form from a YAML file."""
    chosen = _existing_kind(kind)
    project = project_for(request.user, slug, chosen.action)
    if request.method == "POST" and (file := request.FILES.get("spec")) is not None:
        try:
            values = _file_values(chosen, project, file.read(_MAX_FILE + 1))
        except Refused as refusal:
            form = StudyForm(kind=chosen, project=project, values=chosen.defaults(project, {}))
            return _form_page(request, project, form, 422, file_problem=refusal.message)
        return _form_page(request, project, StudyForm(kind=chosen, project=project, values=values))
    if request.method != "POST":
        values = _initial_values(request.GET, project, chosen)
        return _form_page(request, project, StudyForm(kind=chosen, project=project, values=values))
    form = StudyForm(request.POST, kind=chosen, project=project, values={})
    if form.is_valid():
        name = form.cleaned_data["name"]
        try:
            return redirect(
                services.start(project=project, user=request.user, kind=chosen, spec=form.checked, name=name)
            )
        except Refused as refusal:
            form.add_errors(chosen.after_refusal(project, request.user, form.checked, refusal))
    return _form_page(request, project, form, 422)


def _form_page(
    request: SignedInRequest, project: Project, form: StudyForm, status: int = 200, file_problem: str = ""
) -> HttpResponse:
    values = {name: form[name].value() for name in form.fields}
    defaults = StudyForm(kind=form.kind, project=project, values=form.kind.defaults(project, values)).initial
    context = {
        "project": project,
        "kind": form.kind,
        "form": form,
        "defaults": json.dumps(defaults),
        "decisive": ", ".join(f"change from:#id_{name}" for name in form.kind.decisive),
        "file_problem": file_problem,
        **form.kind.form_context(project, values),
    }
    return render(request, "labeling/studies/new.html", context, status=status)


def _file_values(kind: StudyKind[Any], project: Project, content: bytes) -> dict[str, Any]:
    """The values of a YAML file of a study of this kind."""
    if len(content) > _MAX_FILE:
        raise Refused(f"The file is larger than {_MAX_FILE // 1024} KB.")
    try:
        values = yaml.safe_load(content)
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise Refused("The file is not valid YAML.") from error
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise Refused("The file must have one line for each value, such as hours: 4.")
    return read_spec(kind, project, values).model_dump()


def _initial_values(sent: QueryDict, project: Project, kind: StudyKind[Any]) -> dict[str, Any]:
    """The values of an earlier study (``?from=``), else those sent, and the defaults for the others.

    A form whose decisive fields changed sends the ``defaults`` that it had: values that are still these become the new
    defaults.
    """
    number = positive_int(sent.get("from"))
    source = project.studies.filter(kind=kind.key, number=number).first() if number else None
    if source is not None:
        return {"name": source.name, **spec_of(source).model_dump()}
    try:
        before = json.loads(sent.get("defaults") or "{}")
    except ValueError:
        before = {}
    form = StudyForm(sent, kind=kind, project=project, values={})
    kept = {name: form[name].value() for name in form.fields if name in sent}
    kept = {name: value for name, value in kept.items() if _normal(value) != _normal(before.get(name))}
    return {**kind.defaults(project, {**sent.dict(), **kept}), **kept}


def _normal(value: Any) -> Any:
    return value.replace(" ", "").split(",") if isinstance(value, str) else value


@require_safe
def study_page(request: SignedInRequest, slug: str, kind: str, number: int) -> HttpResponse:
    """A study: its progress, then the panel of its kind. Refreshed while it is live."""
    project = project_for(request.user, slug, Action.READ)
    study = get_object_or_404(project.studies.newest(), kind=kind, number=number)
    study.project = project
    if is_htmx(request) and not study.is_live:
        return HttpResponseClientRefresh()  # the head changes, too
    chosen, spec = known_kind(study), spec_of(study)
    if study.dataset is not None:
        study.dataset.project = project
    context = {
        "project": project,
        "study": study,
        "kind": chosen,
        "spec": spec,
        "no_worker": no_worker_message(study.queue()) if study.is_live and not study.is_composed else "",
        **chosen.panel(study, spec, request.GET),
    }
    return page_or_fragment(request, "labeling/studies/study.html", "live", context)


@require_safe
def spec_file(request: SignedInRequest, slug: str, kind: str, number: int) -> HttpResponse:
    """The spec of a study as YAML, from which the form of a new one can be filled in."""
    project, study = object_for(request.user, slug, Action.READ, Study, kind=kind, number=number)
    text = yaml.safe_dump(study.spec, sort_keys=False, allow_unicode=True)
    response = HttpResponse(text, content_type="application/yaml; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{project.slug}-{kind}-{number}.yaml"'
    return response


@require_POST
def cancel(request: SignedInRequest, slug: str, kind: str, number: int) -> HttpResponse:
    """Cancels a study; its trials are kept."""
    _, study = object_for(request.user, slug, _existing_kind(kind).action, Study, kind=kind, number=number)
    if not services.cancel(study=study, user=request.user):
        messages.info(request, "This study has already ended.")
    return redirect(study)


@require_POST
def resume(request: SignedInRequest, slug: str, kind: str, number: int) -> HttpResponse:
    """Continues a study that failed or was cancelled."""
    _, study = object_for(request.user, slug, _existing_kind(kind).action, Study, kind=kind, number=number)
    with RefusalMessage(request):
        services.resume(study=study, user=request.user)
    return redirect(study)


def former_page(request: SignedInRequest, slug: str, kind: str, page: str, **lookup: int) -> HttpResponse:
    """Redirects the page that a kind of study had before."""
    project_for(request.user, slug, Action.READ)
    kinds = {} if page == "studies" else {"kind": kind}
    query = f"?kind={kind}" if page == "studies" else ""
    return HttpResponsePermanentRedirect(reverse(page, kwargs={"slug": slug, **kinds, **lookup}) + query)
