"""Projects and their contracts: instruction, schema versions, constraints."""

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
MAX_INLINE_LENGTH = 72
MAX_PENDING = 1_000
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
    """A contract is invalid. ``errors``: a message per field (instruction, schema, a constraint, form)."""

    def __init__(self, errors: dict[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {message}" for name, message in errors.items()))
        self.errors = errors


class ProjectError(ValueError):
    """A project is invalid. ``errors``: a message per field (name, slug, template)."""

    def __init__(self, errors: dict[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {message}" for name, message in errors.items()))
        self.errors = errors


@transaction.atomic
def create_project(
    *, owner: User, name: str, slug: str, template: str, members: Mapping[Any, str] | None = None
) -> Project:
    """Creates a project with the contract of a template. ``members``: further users and their roles.

    Raises:
        ProjectError: the name or slug is missing, invalid or taken, or the template does not exist.
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


def create_own_project(*, owner: User, name: str, slug: str, template: str) -> Project:
    """``create_project`` for a user who requests it.

    Raises:
        ProjectError: also if the user may not create projects or owns the maximum number (``form``).
    """
    if not permissions.may_create_projects(owner):
        raise ProjectError(
            {"form": f"Your account cannot create projects; {permissions.permission_granter()} can allow it."}
        )
    with transaction.atomic():
        get_user_model().objects.select_for_update(no_key=True).get(pk=owner.pk)  # serializes two requests
        owned = Membership.objects.filter(user=owner, role=Role.OWNER).count()
        if problem := quotas.projects_problem(owned):
            raise ProjectError({"form": problem})
        return create_project(owner=owner, name=name, slug=slug, template=template)


def _template(slug: str) -> Any:
    try:
        return template(slug)
    except UnknownTemplate as error:
        raise ProjectError({"template": f"{str(error)[:1].upper()}{str(error)[1:]}."}) from error


def read_schema(text: str) -> tuple[CompiledSchema, str]:
    """The compiled schema of a typed text, and the compact text that is stored.

    Raises:
        ContractError: it is not JSON, not a JSON Schema, or has no fields.
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
        raise ContractError({"schema": 'A schema must be an object: {"type": "object", "properties": {...}}.'})
    try:
        compiled = compile_schema(schema)
    except SchemaError as error:
        place = f"At {error.path}: " if error.path else ""
        raise ContractError({"schema": f"{place}{_sentence(error.message)}"}) from error
    if not compiled.fields:
        raise ContractError({"schema": 'The schema has no fields. Add at least one to "properties".'})
    return compiled, dumps(schema)


def _sentence(text: str) -> str:
    text = text.strip()
    return text if text.endswith((".", "!", "?")) else f"{text}."


def clean_constraints(constraints: Mapping[str, Any]) -> dict[str, Any]:
    """The constraints as stored: positive numbers and a currency, without empty ones.

    Raises:
        ContractError: a name is unknown or a value invalid.
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
            errors[name] = f"This constraint does not exist. The constraints are {', '.join(NUMBERS)} and currency."
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
    """Saves the contract. Creates a SchemaVersion if the schema changed.

    With a new schema, documents are requeued if their gold label is no longer valid, or if they wait for a review or an
    adjudication (decisions are only made under the current schema). All labels stay. The pages start a migration first
    if any label is affected (``needs_migration``).
    ``seen`` is the ``contract_etag`` of the contract that the user edited.

    Raises:
        ContractError: a field is invalid, or the contract was saved since; nothing was saved.
    """
    Project.objects.select_for_update(no_key=True).get(pk=project.pk)  # serializes import batches and freezes
    contract = Contract.objects.select_for_update().get(project=project)
    errors: dict[str, str] = {}
    if seen and seen != contract_etag(contract):
        errors["form"] = (
            "Another user saved this contract while you were editing it. Copy your changes, reload the page and "
            "enter them again."
        )
    instruction = instruction.replace("\r\n", "\n").strip()
    if not instruction:
        errors["instruction"] = "Describe the task of the model in a sentence."
    elif len(instruction) > MAX_INSTRUCTION or "\0" in instruction:
        errors["instruction"] = f"The instruction can have at most {MAX_INSTRUCTION:,} characters, without NUL."
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
        raise ContractError({"schema": "A label migration is running. Save the contract when it has ended."})
    version = SchemaVersion(
        project=project, number=newest.number + 1, schema_text=text, sha256=sha256(text), created_by=user
    )
    version.full_clean()
    version.save()
    contract_changes.record(project=project, user=user, before=before)
    _requeue_invalid(project, newest, version)
    transaction.on_commit(partial(_requeue_late_submits, project, newest, version), robust=True)
    return version


def needs_migration(project: Project, schema_text: str) -> bool:
    """Whether a schema needs a dry run before it is saved: labels become invalid, need a mapping or a decision, can be
    restored, or are too many to check.

    Raises:
        ContractError: the schema is invalid.
    """
    compiled, text = read_schema(schema_text)
    newest = project.schema_version
    if text == newest.schema_text or not Annotation.objects.filter(project=project).exists():
        return False
    if suggest_mapping(newest.compiled, compiled) or project.schema_versions.filter(sha256=sha256(text)).exists():
        return True
    if Document.objects.filter(project=project, state__in=QUEUE, returned__isnull=False).exists():
        return True
    impact = schema_impact(project=project, compiled=compiled)
    return bool(impact.invalid or impact.pending) or not impact.is_complete


def contract_etag(contract: Contract) -> str:
    """Identifies a state of a contract."""
    return contract.updated_at.isoformat()


@dataclass
class SchemaImpact:
    """The effect of a schema on gold labels: how many were checked, how many are invalid, and examples.

    ``pending``: documents that wait for a review or adjudication, up to ``MAX_PENDING``. ``is_complete``: no label was
    left out.
    """

    pending: int = 0
    checked: int = 0
    invalid: int = 0
    examples: list[tuple[Document, str]] = field(default_factory=list)
    is_complete: bool = True


def schema_impact(*, project: Project, compiled: CompiledSchema, limit: int = 500) -> SchemaImpact:
    """Validates the first ``limit`` gold labels of a project against a schema."""
    pending = sum(len(rows.values_list("pk")[:MAX_PENDING]) for rows in _pending_documents(project))
    result = SchemaImpact(pending=min(pending, MAX_PENDING))
    rows = list(
        Gold.objects.current(project).select_related("revision", "document").order_by("document_id")[: limit + 1]
    )
    result.is_complete = len(rows) <= limit
    for row in rows[:limit]:
        result.checked += 1
        problems = compiled.validate(row.revision.value)
        if problems:
            result.invalid += 1
            if len(result.examples) < 5:
                result.examples.append((row.document, problem_text(problems[0])))
    return result


def problem_text(problem: Any) -> str:
    """The path and message of a problem."""
    return f"{problem.path} {problem.message}".strip()


def _requeue_invalid(project: Project, old: SchemaVersion, version: SchemaVersion) -> None:
    """Requeues documents whose gold label is invalid under the new schema, and those that wait for a decision."""
    broken = gold.carry_forward(project, version)
    # Read pending documents last: fewer submits under the old schema can follow before the commit.
    pending = _pending_keys(project, version)
    keys = sorted({*broken, *pending})
    for start in range(0, len(keys), 5_000):
        rows = Document.objects.labeled().filter(pk__in=keys[start : start + 5_000])
        # All writers lock documents in this order.
        held = rows.order_by("pk").select_for_update(no_key=True).only("pk", "state", "disputed")
        label_migration.update_documents(
            {
                row.pk: label_migration.requeue_columns(
                    row, version, reason(old.compiled, version.compiled, broken.get(row.pk, ()))
                )
                for row in held
            }
        )


def _requeue_late_submits(project: Project, old: SchemaVersion, version: SchemaVersion) -> None:
    """Repeats ``_requeue_invalid`` after the commit, for submits that began under the old version."""
    transactions.wait_for(transactions.running())
    with transaction.atomic():
        Project.objects.select_for_update(no_key=True).get(pk=project.pk)
        if project.schema_version.pk != version.pk:
            return  # the newer version requeues them
        late = set(gold.outdated_gold(project, version).values_list("document_id", flat=True))
        late.update(_pending_keys(project, version))
        rows = Document.objects.labeled().filter(pk__in=late).order_by("pk")
        if list(rows.select_for_update(no_key=True).values_list("pk", flat=True)):  # locked
            _requeue_invalid(project, old, version)


def _pending_keys(project: Project, version: SchemaVersion) -> list[int]:
    """The pending documents without an annotation under the new version."""
    rows = (pending.filter(~gold.has_label(version, "pk")) for pending in _pending_documents(project))
    return [pk for pending in rows for pk in pending.values_list("pk", flat=True)]


def _pending_documents(project: Project) -> tuple[QuerySet[Document], QuerySet[Document]]:
    """Documents that wait for a review, and those that wait for adjudication."""
    return pending_review(project), pending_adjudication(project)


def pretty(schema_text: str) -> str:
    """A stored schema for display and editing: indented, with short flat values on one line and numbers as written."""
    return _indented(loads(schema_text), 0)


def _indented(value: Any, depth: int) -> str:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    one_line = str(simplejson.dumps(value, use_decimal=True, ensure_ascii=False))
    if not inside or (
        depth and len(one_line) <= MAX_INLINE_LENGTH and not any(isinstance(item, dict | list) for item in inside)
    ):
        return one_line
    margin, outer = "  " * (depth + 1), "  " * depth
    if isinstance(value, dict):
        names = [f"{dumps(name)}: {_indented(item, depth + 1)}" for name, item in value.items()]
        return "{\n" + ",\n".join(margin + line for line in names) + f"\n{outer}}}"
    return "[\n" + ",\n".join(margin + _indented(item, depth + 1) for item in value) + f"\n{outer}]"
