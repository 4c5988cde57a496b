"""The contract: instruction, schema with a live preview of its form, constraints, versions."""

from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from labeling.annotation.diffs import DiffLine, compare_lines
from labeling.form.tree import form_for
from labeling.models import Contract, Project, SchemaMigration, SchemaVersion
from labeling.projects.forms import ContractForm
from labeling.projects.services import (
    MOST_PENDING,
    ContractError,
    fit,
    needs_migration,
    pretty,
    read_schema,
    save_contract,
    stamp,
)
from labeling.schema_migration import services as schema_migration_services
from slmstudio.access import Action, project_for
from slmstudio.contract.decoding.grammar import output_bound, unsupported
from slmstudio.errors import Refused
from slmstudio.web.requests import SignedInRequest


@require_http_methods(["GET", "HEAD", "POST"])
def contract(request: SignedInRequest, slug: str) -> HttpResponse:
    """Reads the contract, or saves it; whoever may not change it sees the same page without the form."""
    project = project_for(request.user, slug, Action.CONTRACT if request.method == "POST" else Action.READ)
    row = Contract.objects.get(project=project)
    version = project.schema_version
    if request.method == "POST":
        form = ContractForm(request.POST)
        saved = _save(project, request, form)
        if isinstance(saved, SchemaMigration):
            messages.info(
                request,
                "The new schema affects labels that are there already, so it is not in force yet: see what comes of "
                "them, then apply it. The instruction and the constraints are saved.",
            )
            return redirect("schema_migration", slug, saved.pk)
        if saved is not None:
            schema = "unchanged" if saved.pk == version.pk else f"now {saved}"
            messages.success(request, f"Saved. The schema is {schema}.")
            return redirect("contract", slug)
    else:
        form = ContractForm(
            initial={
                **row.constraints,
                "instruction": row.instruction,
                "schema": pretty(version.schema_text),
                "seen": stamp(row),
            }
        )
    text = form["schema"].value() or ""
    context = {
        "project": project,
        "contract": row,
        "version": version,
        "versions": project.schema_versions.select_related("created_by").order_by("-number"),
        "migrations": project.migrations.select_related("from_version", "to_version", "created_by").order_by("-pk")[
            :10
        ],
        "form": form,
        "schema_text": pretty(version.schema_text),
        **_preview(project, text, version),
    }
    return render(request, "labeling/projects/contract.html", context, status=422 if form.errors else 200)


def _save(project: Project, request: SignedInRequest, form: ContractForm) -> SchemaVersion | SchemaMigration | None:
    """Saves the contract; where its schema affects labels, starts a dry run of it instead."""
    if not form.is_valid():
        return None
    data = form.cleaned_data
    given: dict[str, Any] = {
        "project": project,
        "user": request.user,
        "instruction": data["instruction"],
        "schema_text": data["schema"],
        "constraints": form.constraints(),
        "seen": data["seen"],
    }
    try:
        if needs_migration(project, data["schema"]):
            return schema_migration_services.start_contract_dry_run(**given)
        return save_contract(**given)
    except Refused as error:
        form.add_error(None, str(error))
        return None
    except ContractError as error:
        for name, message in error.errors.items():
            form.add_error(name if name in form.fields else None, message)
        return None


@require_POST
def preview(request: SignedInRequest, slug: str) -> HttpResponse:
    """The form a schema would give, as it is typed; or what is wrong with it. Saves nothing."""
    project = project_for(request.user, slug, Action.CONTRACT)  # costly: a schema is compiled, labels are checked
    context = {"project": project, **_preview(project, request.POST.get("schema", ""), project.schema_version)}
    return render(request, "labeling/projects/contract.html#preview", context)


def _preview(project: Project, text: str, version: SchemaVersion) -> dict[str, Any]:
    """The preview's context. Existing labels are only looked at where the schema differs from the saved one."""
    try:
        compiled, compact = read_schema(text)
    except ContractError as error:
        return {"preview_error": error.errors["schema"]}
    changed = compact != version.schema_text
    return {
        "preview_error": "",
        "preview_form": form_for(compiled),
        "fields": compiled.fields,
        "limits": unsupported(compiled.schema),
        "bound": output_bound(compiled.schema),
        "changed": changed,
        "fit": fit(project=project, compiled=compiled) if changed else None,
        "most_pending": MOST_PENDING,
    }


@require_safe
def version(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """One version of the schema, and what it changed."""
    project = project_for(request.user, slug, Action.READ)
    shown = get_object_or_404(project.schema_versions.select_related("created_by"), number=number)
    earlier = project.schema_versions.filter(number__lt=number).order_by("-number").first()
    lines: list[DiffLine] = []
    if earlier is not None:
        lines = compare_lines(pretty(earlier.schema_text), pretty(shown.schema_text))
    context = {
        "project": project,
        "version": shown,
        "earlier": earlier,
        "lines": lines,
        "text": pretty(shown.schema_text),
    }
    return render(request, "labeling/projects/contract_version.html", context)
