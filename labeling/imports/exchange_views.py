"""The page of a file of exchanges before its import, and a new project from such a file."""

from dataclasses import replace
from http import HTTPStatus
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.http import require_http_methods, require_POST

from labeling.contract.errors import ContractError
from labeling.imports import reservations, services, uploads
from labeling.imports.forms import NewProjectForm, OptionsForm
from labeling.imports.uploads import MAX_UPLOAD, Upload, review_exchanges
from labeling.models import Project
from labeling.projects.services import (
    MAX_INSTRUCTION,
    ProjectError,
    StartContract,
    create_own_project,
    save_instruction,
)
from slmstudio.access import Action, project_for
from slmstudio.accounts import global_permissions
from slmstudio.errors import Refused
from slmstudio.storage import artifacts
from slmstudio.web.body_limits import AROUND_FILES, takes_files
from slmstudio.web.forms import RefusalMessage
from slmstudio.web.requests import SignedInRequest, page_or_fragment, redirect_to

#: uploads whose import was not started, by project, in the session
_SESSION = "imports"
_NO_INSTRUCTION = "Extract the fields from the document."


@require_http_methods(["GET", "HEAD", "POST"])
def exchanges(request: SignedInRequest, slug: str) -> HttpResponse:
    """The documents and answers that a file of exchanges becomes; imports it."""
    project = project_for(request.user, slug, Action.CURATE)
    data = request.POST if request.method == "POST" else request.GET
    signed = data.get("u", "")
    try:
        upload, flags = uploads.upload_from_signature(signed, project)
    except Refused as refusal:
        messages.error(request, str(refusal))
        if request.session.get(_SESSION, {}).get(slug) == signed:
            _remember(request, project, "")
        return redirect_to(request, reverse("import", args=[slug]))
    form = OptionsForm(data, formats=[upload.format])
    if request.method == "POST":
        with RefusalMessage(request):
            run = services.start_upload(
                project=project, user=request.user, upload=upload, options=form.chosen(), **flags
            )
            _remember(request, project, "")
            return redirect("import_run", slug, run.pk)
    _remember(request, project, signed)
    context = {**_context(project, upload, form), "upload": upload, "flags": flags, "signed": signed}
    status = HTTPStatus.UNPROCESSABLE_ENTITY if request.method == "POST" else HTTPStatus.OK
    return page_or_fragment(request, "labeling/imports/exchanges.html", "review", context, status)


@require_POST
def use_instruction(request: SignedInRequest, slug: str) -> HttpResponse:
    """Makes the prompt that the rows of a file share the instruction of the contract."""
    project = project_for(request.user, slug, Action.CONTRACT)
    query = request.POST.copy()
    query.pop("csrfmiddlewaretoken", None)
    try:
        upload, _ = uploads.upload_from_signature(query.get("u", ""), project)
        form = OptionsForm(query, formats=[upload.format])
        shared = review_exchanges(upload, form.chosen(), project.schema_version).shared
    except Refused as refusal:
        messages.error(request, str(refusal))
        return redirect("import", slug)
    if shared is not None:
        try:
            save_instruction(project=project, user=request.user, instruction=shared.instruction)
        except ContractError as error:
            messages.error(request, " ".join(error.errors.values()))
        else:
            messages.success(request, "The shared prompt is now the contract's instruction.")
    return redirect(f"{reverse('import_exchanges', args=[slug])}?{query.urlencode()}")


def _context(project: Project, upload: Upload, form: OptionsForm) -> dict[str, Any]:
    context: dict[str, Any] = {"project": project, "form": form, "version": project.schema_version}
    options = form.chosen()
    try:
        review = review_exchanges(upload, options, project.schema_version)
    except Refused as refusal:
        return {**context, "error": str(refusal)}
    if "shape" not in options:
        form.show_detected("shape", review.shapes)
    instruction = project.contract.instruction
    prompt = review.shared.instruction if review.shared else ""
    return {
        **context,
        "review": review,
        "draft": review.contract.draft if review.contract else None,
        "fields": project.schema_version.compiled.fields,
        "instruction": instruction,
        "can_use_prompt": prompt != instruction and len(prompt) <= MAX_INSTRUCTION,
        "max_instruction": MAX_INSTRUCTION,
        "is_gold": options.get("answers") == "gold",
        "reservation": reservations.reservation(project, options, review.valid if review.is_whole else None),
    }


def _remember(request: SignedInRequest, project: Project, signed: str) -> None:
    """The import that the contract page leads back to; "" after it has started."""
    pending = {slug: text for slug, text in request.session.get(_SESSION, {}).items() if slug != project.slug}
    request.session[_SESSION] = {**pending, **({project.slug: signed} if signed else {})}


# -- a new project -----------------------------------------------------------------------------------------------------


def _may_create(request: SignedInRequest) -> None:
    if not global_permissions.may_create_projects(request.user):
        raise PermissionDenied("Your account cannot create projects.")


@takes_files(MAX_UPLOAD + AROUND_FILES, "labeling.imports.upload_handlers.OneFileUploadHandler", check=_may_create)
@require_http_methods(["GET", "HEAD", "POST"])
def new_project(request: SignedInRequest) -> HttpResponse:
    """Creates a project with the contract that a file of exchanges shows, and leads to the page of its import."""
    _may_create(request)
    form = NewProjectForm(request.POST, request.FILES) if request.method == "POST" else NewProjectForm()
    if request.method == "POST" and form.is_valid():
        try:
            project, signed = _create(request, form)
        except ProjectError as error:
            for name, message in error.errors.items():
                form.add_error(name if name in form.fields else None, message)
        except Refused as refusal:
            form.add_error("file", str(refusal))
        else:
            return redirect(f"{reverse('import_exchanges', args=[project.slug])}?{urlencode({'u': signed})}")
    status = HTTPStatus.UNPROCESSABLE_ENTITY if form.errors else HTTPStatus.OK
    return render(request, "labeling/imports/new_project.html", {"form": form}, status=status)


def _create(request: SignedInRequest, form: NewProjectForm) -> tuple[Project, str]:
    """The project, and its signed upload.

    Raises:
        Refused: no contract can be derived from the file.
        ProjectError: the name or slug cannot be used.
    """
    upload = uploads.store_upload(files=form.uploaded)
    try:
        with transaction.atomic():
            data = form.cleaned_data
            contract = _contract(upload)
            project = create_own_project(
                owner=request.user, name=data["name"], slug=data["slug"], contract=_shortened(contract)
            )
            if len(contract.instruction) > MAX_INSTRUCTION:
                messages.warning(
                    request,
                    f"The prompt that the rows share has {len(contract.instruction):,} characters; an instruction can "
                    f"have {MAX_INSTRUCTION:,}. Its end is left out: edit the contract before the import.",
                )
            return project, uploads.sign_upload(upload, project, {"as_holdout": False, "synthetic": False})
    except (Refused, ProjectError):
        artifacts.store().delete(upload.key)
        raise


def _contract(upload: Upload) -> StartContract:
    if not upload.format.is_reviewed:
        raise Refused(
            f"{upload.name} is not a fine-tuning file, chat log or trace. Its format is “{upload.format.title}”. "
            "Create the project from a template and import the file there."
        )
    review = review_exchanges(upload, {})
    if review.contract is None:
        reason = next(iter(review.reasons), review.contract_error)
        raise Refused(f"No contract can be derived from the file: {reason}.")
    return StartContract(review.contract.instruction or _NO_INSTRUCTION, review.contract.draft.schema)


def _shortened(contract: StartContract) -> StartContract:
    return replace(contract, instruction=contract.instruction[:MAX_INSTRUCTION].rstrip())
