"""Label migrations: the result of a dry run, applying it."""

from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from labeling.contract.errors import ContractError
from labeling.contract.schema_text import pretty, read_schema
from labeling.models import SchemaMigration
from labeling.schema_migration import mapping, services
from labeling.schema_migration.forms import MappingForm
from slmstudio.access import Action, object_for
from slmstudio.contract.schema.compiled import dumps, loads
from slmstudio.errors import Refused
from slmstudio.web.requests import SignedInRequest


@require_http_methods(["GET", "HEAD", "POST"])
def migration(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """One run: its mapping, counts and examples; posting the form repeats the dry run or applies it."""
    action = Action.CONTRACT if request.method == "POST" else Action.READ
    project, run = object_for(request.user, slug, action, SchemaMigration, pk=pk)
    compiled = read_schema(run.schema_text).compiled
    steps = loads(dumps(run.mapping))
    form = MappingForm(run.from_version.compiled, compiled, steps, request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        following = _start(request, run, form)
        if following is not None:
            return redirect("schema_migration", slug, following.pk)
    newest = project.schema_version
    fragment = bool(request.htmx) and not request.htmx.history_restore_request  # type: ignore[attr-defined]
    context: dict[str, Any] = {
        "fragment": fragment,
        "project": project,
        "run": run,
        "form": form,
        "steps": [mapping.in_words(step) for step in steps],
        "result": run.result,
        "outdated": run.to_version_id is None and newest.pk != run.from_version_id,
        "newest": newest,
        "schema_text": pretty(run.schema_text),
    }
    template = f"labeling/schema_migration/migration.html{'#result' if fragment else ''}"
    return render(request, template, context, status=422 if form.errors else 200)


def _start(request: SignedInRequest, run: SchemaMigration, form: MappingForm) -> SchemaMigration | None:
    apply = request.POST.get("do") == "apply"
    try:
        steps = form.steps()
        if apply and (run.status != "done" or loads(dumps(run.mapping)) != steps):
            # Only a mapping with a finished dry run is applied.
            messages.info(request, "The mapping changed after the dry run. Review the new dry run before applying.")
            apply = False
        return services.start_dry_run(
            project=run.project,
            user=request.user,
            schema_text=run.schema_text,
            source_text=run.source_text,
            mapping=steps,
            dry_run=not apply,
        )
    except (Refused, mapping.MappingError) as error:
        form.add_error(None, str(error))
    except ContractError as error:
        form.add_error(None, " ".join(error.errors.values()))
    return None


@require_POST
def resume(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """Resumes a migration that stopped after creating its version."""
    _, run = object_for(request.user, slug, Action.CONTRACT, SchemaMigration, pk=pk)
    again = services.resume(run=run, user=request.user)
    if again is None:
        messages.info(request, "The migration has nothing to resume.")
    return redirect("schema_migration", slug, (again or run).pk)
