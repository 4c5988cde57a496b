"""The contract page: instruction, schema with a live preview of its form and drafts, constraints and versions; and the
frame of the JSON editor.
"""

import json
from typing import Any

from csp.constants import NONCE, NONE, SELF, UNSAFE_INLINE
from csp.decorators import csp_replace, csp_update
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.html import format_html
from django.views.decorators.clickjacking import xframe_options_sameorigin
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from labeling.annotation.diffs import DiffLine, compare_lines
from labeling.contract.errors import ContractError
from labeling.contract.field_list import listed_fields, rules_in_words
from labeling.contract.label_examples import draft_from_labels
from labeling.contract.schema_text import MAX_SCHEMA, notes_of, pretty, read_schema
from labeling.demo.templates import BLANK
from labeling.form.tree import form_for
from labeling.models import Project, SchemaMigration, SchemaVersion
from labeling.projects import queries
from labeling.projects.forms import ContractForm
from labeling.projects.services import (
    MAX_PENDING,
    contract_etag,
    needs_migration,
    save_contract,
    schema_impact,
    start_contract_dry_run,
)
from slmstudio.access import Action, project_for
from slmstudio.contract.decoding.grammar import output_bound, unsupported
from slmstudio.contract.json_text import dumps
from slmstudio.contract.schema.keywords import vocabulary
from slmstudio.contract.sources.detection import GENERATORS, draft_schema
from slmstudio.contract.sources.examples import Draft, SourceError
from slmstudio.errors import Refused
from slmstudio.panels import next_steps_for
from slmstudio.web.import_map import import_map
from slmstudio.web.requests import SignedInRequest


@csp_update({"script-src": [NONCE]})  # type: ignore[arg-type]  # of the import map; its type names one argument
@require_http_methods(["GET", "HEAD", "POST"])
def contract(request: SignedInRequest, slug: str) -> HttpResponse:
    """Shows or saves the contract. Without permission to change it, the form is not shown."""
    project = project_for(request.user, slug, Action.CONTRACT if request.method == "POST" else Action.READ)
    row = project.contract
    version = project.schema_version
    if request.method == "POST":
        form = ContractForm(request.POST)
        saved = _save(project, request, form)
        if isinstance(saved, SchemaMigration):
            messages.info(
                request,
                "The new schema affects existing labels, so it is not in effect yet. Check the result of the dry run, "
                "then apply it. The instruction and the constraints are saved.",
            )
            return redirect("schema_migration", slug, saved.pk)
        if saved is not None:
            schema = "unchanged" if saved.pk == version.pk else f"now {saved}"
            messages.success(request, _saved(project, request, schema))
            return redirect("contract", slug)
    else:
        form = ContractForm(
            initial={
                **row.constraints,
                "instruction": row.instruction,
                "schema": pretty(version.schema_text),
                "seen": contract_etag(row),
            }
        )
    text = form["schema"].value() or ""
    context = {
        "project": project,
        "contract": row,
        "version": version,
        "versions": queries.schema_versions(project),
        "migrations": queries.recent_migrations(project),
        "form": form,
        "pending_import": request.session.get("imports", {}).get(slug, ""),
        "listed": listed_fields(version.compiled),
        "rules": rules_in_words(version.compiled),
        "vocabulary": vocabulary(),
        "generators": GENERATORS,
        "is_new": request.method != "POST" and version.number == 1 and project.template == BLANK,
        "import_map": import_map(),
        **_preview(project, text, version),
    }
    return render(request, "labeling/projects/contract.html", context, status=422 if form.errors else 200)


def _saved(project: Project, request: SignedInRequest, schema: str) -> str:
    """What was saved, with a link to the next step."""
    steps = next_steps_for(project, request.user, limit=1)
    following = format_html(' Next: <a href="{}">{}</a>', steps[0].url, steps[0].button) if steps else ""
    return format_html("Saved. The schema is {}.{}", schema, following)


def _save(project: Project, request: SignedInRequest, form: ContractForm) -> SchemaVersion | SchemaMigration | None:
    """Saves the contract, or starts a dry run if its schema affects labels."""
    if not form.is_valid():
        return None
    values = _values(project, request, form)
    try:
        if needs_migration(project, values["schema_text"]):
            return start_contract_dry_run(**values)
        return save_contract(**values)
    except Refused as error:
        form.add_error(None, str(error))
        return None
    except ContractError as error:
        for name, message in error.errors.items():
            form.add_error(name if name in form.fields else None, message)
        return None


def _values(project: Project, request: SignedInRequest, form: ContractForm) -> dict[str, Any]:
    """The arguments of the services. A text that is too long to be kept is left out, with a message."""
    data = form.cleaned_data
    source = data["source"].replace("\r\n", "\n")
    if len(source) > MAX_SCHEMA:
        messages.info(
            request, f"The text in “Create from…” has more than {MAX_SCHEMA:,} characters, so it was not kept."
        )
        source = ""
    return {
        "project": project,
        "user": request.user,
        "instruction": data["instruction"],
        "schema_text": data["schema"],
        "constraints": form.constraints(),
        "seen": data["seen"],
        "source_text": source,
    }


@require_POST
def plan_migration(request: SignedInRequest, slug: str) -> HttpResponse:
    """From the contract's form: saves instruction and constraints, and starts a dry run of its schema."""
    project = project_for(request.user, slug, Action.CONTRACT)
    form = ContractForm(request.POST)
    if not form.is_valid():
        problems = (str(error) for errors in form.errors.values() for error in errors)
        return _refuse_dry_run(request, project, " ".join(problems))
    try:
        run = start_contract_dry_run(**_values(project, request, form))
    except ContractError as error:
        return _refuse_dry_run(request, project, " ".join(error.errors.values()))
    except Refused as error:
        return _refuse_dry_run(request, project, str(error))
    return redirect("schema_migration", slug, run.pk)


def _refuse_dry_run(request: SignedInRequest, project: Project, message: str) -> HttpResponse:
    messages.error(request, f"The dry run was not started. {message}")
    return redirect("contract", project.slug)


@require_POST
def preview(request: SignedInRequest, slug: str) -> HttpResponse:
    """The form of a schema while it is typed, or its error. Saves nothing."""
    project = project_for(request.user, slug, Action.CONTRACT)  # expensive: compiles a schema and validates labels
    context = {"project": project, **_preview(project, request.POST.get("schema", ""), project.schema_version)}
    return render(request, "labeling/projects/contract.html#preview", context)


def _preview(project: Project, text: str, version: SchemaVersion) -> dict[str, Any]:
    """The context of the preview. Existing labels are only validated if the schema changed."""
    try:
        schema = read_schema(text)
    except ContractError as error:
        return {"preview_error": error.errors["schema"], "error_path": error.path, "error_line": error.line}
    compiled = schema.compiled
    changed = schema.text != version.schema_text
    return {
        "preview_error": "",
        "notes": schema.notes,
        "translated": pretty(schema.text) if schema.notes else "",
        "preview_form": form_for(compiled),
        "fields": compiled.fields,
        "limits": unsupported(compiled.schema),
        "bound": output_bound(compiled.schema),
        "changed": changed,
        "impact": schema_impact(project=project, compiled=compiled) if changed else None,
        "max_pending": MAX_PENDING,
    }


@require_safe
def version(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """A schema version and its changes."""
    project = project_for(request.user, slug, Action.READ)
    shown = get_object_or_404(queries.schema_versions(project), number=number)
    earlier = queries.previous_schema_version(shown)
    lines: list[DiffLine] = []
    if earlier is not None:
        lines = compare_lines(pretty(earlier.schema_text), pretty(shown.schema_text))
    context = {
        "project": project,
        "version": shown,
        "earlier": earlier,
        "lines": lines,
        "text": pretty(shown.schema_text),
        "notes": notes_of(shown.source_text),
    }
    return render(request, "labeling/projects/contract_version.html", context)


# -- schema drafts -----------------------------------------------------------------------------------------------------


@require_POST
def schema_draft(request: SignedInRequest, slug: str) -> HttpResponse:
    """The draft of a schema. The body: ``{"text"}``, or ``{"labels": true}`` for the labels of the project."""
    project = project_for(request.user, slug, Action.CONTRACT)
    try:
        body = json.loads(request.body)
        text, labels = body.get("text", ""), body.get("labels") is True
    except (ValueError, AttributeError, RecursionError):
        return JsonResponse({"message": "The request is not JSON."}, status=400)
    if not isinstance(text, str):
        return JsonResponse({"message": "The text must be a string."}, status=400)
    try:
        if labels:
            draft, examples = draft_from_labels(project)
            return JsonResponse({**_draft(draft), "examples": examples})
        return JsonResponse(_draft(draft_schema(text)))
    except SourceError as error:
        return JsonResponse({"message": error.message, "line": error.line}, status=422)


def _draft(draft: Draft) -> dict[str, Any]:
    return {**draft.as_dict(), "schema": pretty(dumps(draft.schema))}


# -- the JSON editor ---------------------------------------------------------------------------------------------------


# The editor creates style elements, which the policy of the other pages forbids. So it runs in a frame without project
# data, which exchanges the text by messages.
@require_safe
@xframe_options_sameorigin
@csp_replace(
    {
        "style-src": [SELF, UNSAFE_INLINE],
        "frame-ancestors": [SELF],
        "connect-src": [NONE],
        "form-action": [NONE],
    }
)
def json_editor(request: HttpRequest) -> HttpResponse:
    """The editor, empty; ``static/js/annotation/json_editor_frame.js`` fills it with the text from the parent page."""
    return render(request, "labeling/projects/json_editor.html")
