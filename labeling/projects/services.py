"""Projects and what their task promises: instruction, schema versions, constraints."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from typing import Any

import simplejson
from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import QuerySet

from labeling.annotation import gold
from labeling.demo.templates import UnknownTemplate, template
from labeling.models import (
    Annotation,
    Contract,
    Document,
    Gold,
    Membership,
    Project,
    SchemaMigration,
    SchemaVersion,
)
from labeling.models.documents import QUEUE
from labeling.projects import contract_changes
from labeling.review.queries import pending_adjudication, pending_review
from labeling.schema_migration import label_migration
from labeling.schema_migration.mapping import reason, suggest_mapping
from slmstudio import quotas
from slmstudio.access import Role
from slmstudio.accounts import permissions
from slmstudio.contract.schema.compiled import (
    CompiledSchema,
    JsonError,
    SchemaError,
    compile_schema,
    dumps,
    loads,
    sha256,
)
from slmstudio.database import transactions

MAX_INSTRUCTION = 8_000
MAX_SCHEMA = 400_000
ONE_LINE = 72
MOST_PENDING = 1_000
NUMBERS = {
    "latency_p95_ms": "latency",
    "requests_per_second": "throughput",
    "cost_per_request": "cost per request",
    "hardware_memory_gb": "memory",
    "hardware_price_per_hour": "price of the hardware",
    "expected_volume": "expected volume",
    "review_cost": "cost of a review",
}


class ContractError(ValueError):
    """A contract that cannot be saved. ``errors``: a sentence per field (instruction, schema, a constraint, form)."""

    def __init__(self, errors: dict[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {message}" for name, message in errors.items()))
        self.errors = errors


class ProjectError(ValueError):
    """A project that cannot be made. ``errors``: a sentence per field (name, slug, template)."""

    def __init__(self, errors: dict[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {message}" for name, message in errors.items()))
        self.errors = errors


@transaction.atomic
def create_project(
    *, owner: User, name: str, slug: str, template: str, members: Mapping[Any, str] | None = None
) -> Project:
    """A project with the contract of a template of the catalogue. ``members``: more people and their roles.

    Raises:
        ProjectError: the name or slug is missing, ill-formed or taken, or there is no such template.
    """
    start = _template(template)
    project = Project(name=name.strip(), slug=slug.strip(), template=start.slug)
    try:
        project.full_clean()
    except ValidationError as error:
        raise ProjectError({key: " ".join(messages) for key, messages in error.message_dict.items()}) from error
    project.save()
    Contract.objects.create(
        project=project, instruction=start.instruction, constraints=clean_constraints(start.constraints)
    )
    _, text = read_schema(dumps(start.schema))
    SchemaVersion.objects.create(project=project, number=1, schema_text=text, sha256=sha256(text), created_by=owner)
    roles = {**(members or {}), owner: Role.OWNER}
    for user, role in roles.items():
        membership = Membership(
            project=project, user=user, role=role, role_since=project.created_at, role_given_by=owner
        )
        membership.full_clean()
        membership.save()
    return project


def open_project(*, owner: User, name: str, slug: str, template: str) -> Project:
    """As ``create_project``, for somebody who asks for a project of their own.

    Raises:
        ProjectError: also where their account may make none, or they own as many as one person may (``form``).
    """
    if not permissions.may_create_projects(owner):
        raise ProjectError(
            {"form": f"Your account may not make projects; {permissions.permission_granter()} can allow it."}
        )
    with transaction.atomic():
        get_user_model().objects.select_for_update(no_key=True).get(pk=owner.pk)  # two at once count each other
        owned = Membership.objects.filter(user=owner, role=Role.OWNER).count()
        if why := quotas.projects_problem(owned):
            raise ProjectError({"form": why})
        return create_project(owner=owner, name=name, slug=slug, template=template)


def _template(slug: str) -> Any:
    try:
        return template(slug)
    except UnknownTemplate as error:
        raise ProjectError({"template": f"{str(error)[:1].upper()}{str(error)[1:]}."}) from error


def read_schema(text: str) -> tuple[CompiledSchema, str]:
    """The compiled schema of what somebody typed, and the compact text that is stored.

    Raises:
        ContractError: not JSON (with line and column), no JSON Schema (with the place), or nothing to fill in.
    """
    if len(text) > MAX_SCHEMA:
        raise ContractError({"schema": f"The schema is longer than {MAX_SCHEMA:,} characters."})
    try:
        schema = loads(text)
    except JsonError as error:
        raise ContractError(
            {"schema": f"This is not JSON: {error.message} (line {error.line}, column {error.column})."}
        ) from error
    if not isinstance(schema, dict):
        raise ContractError({"schema": 'A schema is an object: {"type": "object", "properties": {...}}.'})
    try:
        compiled = compile_schema(schema)
    except SchemaError as error:
        place = f"At {error.path}: " if error.path else ""
        raise ContractError({"schema": f"{place}{_sentence(error.message)}"}) from error
    if not compiled.fields:
        raise ContractError({"schema": 'The schema has no field: put at least one into "properties".'})
    return compiled, dumps(schema)


def _sentence(text: str) -> str:
    text = text.strip()
    return text if text.endswith((".", "!", "?")) else f"{text}."


def clean_constraints(constraints: Mapping[str, Any]) -> dict[str, Any]:
    """The constraints as they are stored: positive plain numbers and a currency; empty ones are left out.

    Raises:
        ContractError: an unknown name, no positive number, or no currency code.
    """
    errors: dict[str, str] = {}
    clean: dict[str, Any] = {}
    for name, value in constraints.items():
        if value in (None, ""):
            continue
        if name == "currency":
            if isinstance(value, str) and re.fullmatch("[A-Z]{3}", value):
                clean[name] = value
            else:
                errors[name] = "A currency is three capital letters, for example USD."
        elif name not in NUMBERS:
            errors[name] = f"There is no constraint of this name; there are {', '.join(NUMBERS)} and currency."
        elif not _is_positive(value):
            errors[name] = f"The {NUMBERS[name]} must be a number above 0."
        else:
            clean[name] = int(value) if value == int(value) else float(value)
    if errors:
        raise ContractError(errors)
    return clean


def _is_positive(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return False
    return math.isfinite(value) and 0 < value < 10**12


@transaction.atomic
def save_contract(
    *,
    project: Project,
    user: User,
    instruction: str,
    schema_text: str,
    constraints: Mapping[str, Any],
    seen: str = "",
) -> SchemaVersion:
    """Saves the contract; makes a new SchemaVersion only where the schema changed.

    Where it changed, labelled documents whose gold no longer fits go back to the queue, and so do those that wait for a
    review or an adjudication: nothing is decided about a label of an older schema. All labels stay. People are led
    through a migration where any label is affected (``needs_migration``).
    ``seen`` is the ``stamp`` of the contract the person started from: another one means somebody saved meanwhile.

    Raises:
        ContractError: with a sentence per field; nothing was saved then.
    """
    Project.objects.select_for_update(no_key=True).get(pk=project.pk)  # no import batch or freeze meanwhile
    contract = Contract.objects.select_for_update().get(project=project)
    errors: dict[str, str] = {}
    if seen and seen != stamp(contract):
        errors["form"] = (
            "Somebody saved this contract while you were editing it. Copy what you changed, reload the page and "
            "put it in again."
        )
    instruction = instruction.replace("\r\n", "\n").strip()
    if not instruction:
        errors["instruction"] = "Say in a sentence what the model is to do."
    elif len(instruction) > MAX_INSTRUCTION or "\0" in instruction:
        errors["instruction"] = f"The instruction may have at most {MAX_INSTRUCTION:,} characters, none of them NUL."
    clean: dict[str, Any] = {}
    compiled, text = None, ""
    try:
        clean = clean_constraints(constraints)
    except ContractError as error:
        errors.update(error.errors)
    try:
        compiled, text = read_schema(schema_text)
    except ContractError as error:
        errors.update(error.errors)
    if errors or compiled is None:
        raise ContractError(errors)

    before = contract_changes.state(project)
    contract.instruction, contract.constraints = instruction, clean
    contract.full_clean()
    contract.save(update_fields=["instruction", "constraints", "updated_at"])
    newest = project.schema_version
    if newest.schema_text == text:
        contract_changes.record(project=project, user=user, before=before)
        return newest
    if SchemaMigration.objects.live().filter(project=project, dry_run=False).exists():
        raise ContractError({"schema": "Labels are being taken to another schema just now. Save once that is done."})
    version = SchemaVersion(
        project=project, number=newest.number + 1, schema_text=text, sha256=sha256(text), created_by=user
    )
    version.full_clean()
    version.save()
    contract_changes.record(project=project, user=user, before=before)
    _queue_again(project, newest, version)
    transaction.on_commit(partial(_catch_up, project, newest, version), robust=True)
    return version


def needs_migration(project: Project, schema_text: str) -> bool:
    """Whether a schema affects existing labels, so that it is tried on them before it is saved: labels become invalid,
    need a mapping, wait for a decision, or are to be restored, or there are too many to try at once.

    Raises:
        ContractError: the schema cannot be read.
    """
    compiled, text = read_schema(schema_text)
    newest = project.schema_version
    if text == newest.schema_text or not Annotation.objects.filter(project=project).exists():
        return False
    if suggest_mapping(newest.compiled, compiled) or project.schema_versions.filter(sha256=sha256(text)).exists():
        return True
    if Document.objects.filter(project=project, state__in=QUEUE, returned__isnull=False).exists():
        return True
    found = fit(project=project, compiled=compiled)
    return bool(found.broken or found.pending) or not found.all_of_them


def stamp(contract: Contract) -> str:
    """What tells one state of a contract from another."""
    return contract.updated_at.isoformat()


@dataclass
class Fit:
    """How existing labels stand to a schema: how many were looked at, how many do not fit, and the first of those.
    ``pending``: documents that wait for a decision about their label, counted up to ``MOST_PENDING``.
    """

    pending: int = 0
    looked_at: int = 0
    broken: int = 0
    examples: list[tuple[Document, str]] = field(default_factory=list)
    all_of_them: bool = True


def fit(*, project: Project, compiled: CompiledSchema, limit: int = 500) -> Fit:
    """A dry run of a schema over the first ``limit`` labelled documents of a project."""
    pending = sum(len(rows.values_list("pk")[:MOST_PENDING]) for rows in _undecided(project))
    result = Fit(pending=min(pending, MOST_PENDING))
    rows = list(
        Gold.objects.current(project).select_related("revision", "document").order_by("document_id")[: limit + 1]
    )
    result.all_of_them = len(rows) <= limit
    for row in rows[:limit]:
        result.looked_at += 1
        problems = compiled.validate(row.revision.value)
        if problems:
            result.broken += 1
            if len(result.examples) < 5:
                result.examples.append((row.document, in_words(problems[0])))
    return result


def in_words(problem: Any) -> str:
    """A problem of a value as one piece of a sentence: path and message."""
    return f"{problem.path} {problem.message}".strip()


def _queue_again(project: Project, old: SchemaVersion, version: SchemaVersion) -> None:
    """Labelled documents whose gold the schema refuses are to be labelled again, and those without a decision yet."""
    broken = gold.carry_forward(project, version)
    # The undecided last: as few as possible are submitted under the old schema between this and the commit.
    undecided = _undecided_keys(project, version)
    keys = sorted({*broken, *undecided})
    for start in range(0, len(keys), 5_000):
        rows = Document.objects.labeled().filter(pk__in=keys[start : start + 5_000])
        # In the order in which everybody locks them.
        held = rows.order_by("pk").select_for_update(no_key=True).only("pk", "state", "disputed")
        label_migration.update_documents(
            {
                row.pk: label_migration.requeue_columns(
                    row, version, reason(old.compiled, version.compiled, broken.get(row.pk, ()))
                )
                for row in held
            }
        )


def _catch_up(project: Project, old: SchemaVersion, version: SchemaVersion) -> None:
    """The same once more after the commit, for submits that began under the old version and ended behind it."""
    transactions.wait_for(transactions.running())
    with transaction.atomic():
        Project.objects.select_for_update(no_key=True).get(pk=project.pk)
        if project.schema_version.pk != version.pk:
            return  # the newer one takes along what this one would
        late = set(gold.outdated_gold(project, version).values_list("document_id", flat=True))
        late.update(_undecided_keys(project, version))
        rows = Document.objects.labeled().filter(pk__in=late).order_by("pk")
        if list(rows.select_for_update(no_key=True).values_list("pk", flat=True)):  # nobody answers them now
            _queue_again(project, old, version)


def _undecided_keys(project: Project, version: SchemaVersion) -> list[int]:
    """Those that nobody has answered under the new version."""
    rows = (found.filter(~gold.has_label(version, "pk")) for found in _undecided(project))
    return [pk for found in rows for pk in found.values_list("pk", flat=True)]


def _undecided(project: Project) -> tuple[QuerySet[Document], QuerySet[Document]]:
    """Documents whose label waits for a reviewer, and those that wait for adjudication."""
    return pending_review(project), pending_adjudication(project)


def pretty(schema_text: str) -> str:
    """A stored schema as people read and edit it: indented, what is short and flat on one line, numbers as written."""
    return _indented(loads(schema_text), 0)


def _indented(value: Any, depth: int) -> str:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    one_line = str(simplejson.dumps(value, use_decimal=True, ensure_ascii=False))
    if not inside or (
        depth and len(one_line) <= ONE_LINE and not any(isinstance(item, dict | list) for item in inside)
    ):
        return one_line
    margin, outer = "  " * (depth + 1), "  " * depth
    if isinstance(value, dict):
        names = [f"{dumps(name)}: {_indented(item, depth + 1)}" for name, item in value.items()]
        return "{\n" + ",\n".join(margin + line for line in names) + f"\n{outer}}}"
    return "[\n" + ",\n".join(margin + _indented(item, depth + 1) for item in value) + f"\n{outer}]"
