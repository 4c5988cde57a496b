"""Projects and their contracts: instruction, schema versions, constraints."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import QuerySet

from labeling.annotation import gold
from labeling.contract import changes
from labeling.contract.constraints import clean_constraints
from labeling.contract.errors import ContractError
from labeling.contract.schema_text import problem_text, read_schema
from labeling.demo.templates import Template, UnknownTemplate, template
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
from labeling.review.queries import pending_adjudication, pending_review
from labeling.schema_migration import label_migration
from labeling.schema_migration.mapping import check, in_words, mapper, reason, suggest_mapping
from labeling.schema_migration.services import start_dry_run
from slmstudio import quotas
from slmstudio.access import Action, Role, require
from slmstudio.accounts import global_permissions
from slmstudio.contract.schema.compiled import (
    CompiledSchema,
    dumps,
    sha256,
)
from slmstudio.database import transactions
from slmstudio.hooks import note_audit

MAX_INSTRUCTION = 8_000
MAX_PENDING = 1_000


class ProjectError(ValueError):
    """A project is invalid. ``errors``: a message per field (name, slug, template)."""

    def __init__(self, errors: dict[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {message}" for name, message in errors.items()))
        self.errors = errors


@dataclass(frozen=True, slots=True)
class StartContract:
    """The contract that a project is created with, instead of a template's."""

    instruction: str
    schema: Mapping[str, Any]
    constraints: Mapping[str, Any] = field(default_factory=dict)
    slug: str = ""


@transaction.atomic
def create_project(
    *,
    owner: User,
    name: str,
    slug: str,
    template: str = "",
    members: Mapping[Any, str] | None = None,
    contract: StartContract | None = None,
) -> Project:
    """Creates a project with a contract, or that of a template. ``members``: further users and their roles.

    Raises:
        ProjectError: the name or slug is missing, invalid or taken, or the template does not exist.
    """
    start = contract or _template(template)
    project = Project(name=name.strip(), slug=slug.strip(), template=start.slug)
    try:
        project.full_clean()
    except ValidationError as error:
        raise ProjectError({key: " ".join(messages) for key, messages in error.message_dict.items()}) from error
    project.save()
    Contract.objects.create(
        project=project, instruction=start.instruction, constraints=clean_constraints(start.constraints)
    )
    text = read_schema(dumps(dict(start.schema))).text
    SchemaVersion.objects.create(project=project, number=1, schema_text=text, sha256=sha256(text), created_by=owner)
    roles = {**(members or {}), owner: Role.OWNER}
    for user, role in roles.items():
        membership = Membership(
            project=project, user=user, role=role, role_since=project.created_at, role_given_by=owner
        )
        membership.full_clean()
        membership.save()
    names = {user.get_username(): str(role) for user, role in roles.items()}
    note_audit(project=project, user=owner, action="created", about="project", details={"members": names})
    return project


def create_own_project(
    *, owner: User, name: str, slug: str, template: str = "", contract: StartContract | None = None
) -> Project:
    """``create_project`` for a user who requests it.

    Raises:
        ProjectError: also if the user may not create projects or owns the maximum number (``form``).
    """
    if not global_permissions.may_create_projects(owner):
        raise ProjectError(
            {"form": f"Your account cannot create projects; {global_permissions.permission_granter()} can allow it."}
        )
    with transaction.atomic():
        get_user_model().objects.select_for_update(no_key=True).get(pk=owner.pk)  # serializes two requests
        owned = Membership.objects.filter(user=owner, role=Role.OWNER).count()
        if problem := quotas.projects_problem(owned):
            raise ProjectError({"form": problem})
        contract = contract or _own_start(_template(template))
        return create_project(owner=owner, name=name, slug=slug, contract=contract)


def _own_start(chosen: Template) -> StartContract:
    """A template as the start of a user's contract: the title of its schema and its constraints are not theirs."""
    schema = {key: value for key, value in chosen.schema.items() if key != "title"}
    return StartContract(instruction=chosen.instruction, schema=schema, slug=chosen.slug)


def _template(slug: str) -> Template:
    try:
        return template(slug)
    except UnknownTemplate as error:
        raise ProjectError({"template": f"{str(error)[:1].upper()}{str(error)[1:]}."}) from error


@transaction.atomic
def save_contract(
    *,
    project: Project,
    user: User,
    instruction: str,
    schema_text: str,
    constraints: Mapping[str, Any],
    seen: str = "",
    source_text: str = "",
) -> SchemaVersion:
    """Saves the contract. Creates a SchemaVersion if the schema changed.

    With a new schema, documents are requeued if their gold label is no longer valid, or if they wait for a review or an
    adjudication (decisions are only made under the current schema). All labels stay. The pages start a migration first
    if any label is affected (``needs_migration``).
    ``seen`` is the ``contract_etag`` of the contract that the user edited; ``source_text`` what its schema was derived
    from.

    Raises:
        ContractError: a field is invalid, or the contract was saved since; nothing was saved.
    """
    require(project, user, Action.CONTRACT)
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
    schema = None
    try:
        clean = clean_constraints(constraints)
    except ContractError as error:
        errors.update(error.errors)
    try:
        schema = read_schema(schema_text)
    except ContractError as error:
        errors.update(error.errors)
    if errors or schema is None:
        raise ContractError(errors)

    before = changes.state(project)
    contract.instruction, contract.constraints = instruction, clean
    contract.full_clean()
    contract.save(update_fields=["instruction", "constraints", "updated_at"])
    newest = project.schema_version
    if newest.schema_text == schema.text:
        changes.record(project=project, user=user, before=before)
        return newest
    if SchemaMigration.objects.live().filter(project=project, dry_run=False).exists():
        raise ContractError({"schema": "A label migration is running. Save the contract when it has ended."})
    version = SchemaVersion(
        project=project, number=newest.number + 1, schema_text=schema.text, source_text=schema.source or source_text,
        sha256=sha256(schema.text), created_by=user,
    )  # fmt: skip
    version.full_clean()
    version.save()
    changes.record(project=project, user=user, before=before)
    _requeue_invalid(project, newest, version)
    transaction.on_commit(partial(_requeue_late_submits, project, newest, version), robust=True)
    return version


def save_instruction(*, project: Project, user: User, instruction: str) -> None:
    """Saves another instruction; schema and constraints stay.

    Raises:
        ContractError: it is empty or too long.
    """
    require(project, user, Action.CONTRACT)
    save_contract(
        project=project,
        user=user,
        instruction=instruction,
        schema_text=project.schema_version.schema_text,
        constraints=Contract.objects.get(project=project).constraints,
    )


def needs_migration(project: Project, schema_text: str) -> bool:
    """Whether a schema needs a dry run before it is saved: labels become invalid, need a mapping or a decision, can be
    restored, or are too many to check.

    Raises:
        ContractError: the schema is invalid.
    """
    schema = read_schema(schema_text)
    compiled, text = schema.compiled, schema.text
    newest = project.schema_version
    if text == newest.schema_text or not Annotation.objects.filter(project=project).exists():
        return False
    if suggest_mapping(newest.compiled, compiled):
        return True
    earlier = project.schema_versions.filter(sha256=sha256(text)).order_by("-number").first()
    # Without annotations since, all labels are those of the earlier version.
    if (
        earlier is not None
        and Annotation.objects.filter(project=project, schema_version__number__gt=earlier.number).exists()
    ):
        return True
    if Document.objects.filter(project=project, state__in=QUEUE, returned__isnull=False).exists():
        return True
    impact = schema_impact(project=project, compiled=compiled)
    return bool(impact.invalid or impact.pending) or not impact.is_complete


def start_contract_dry_run(
    *,
    project: Project,
    user: User,
    instruction: str,
    schema_text: str,
    constraints: Mapping[str, Any],
    seen: str = "",
    source_text: str = "",
) -> SchemaMigration:
    """Saves the instruction and constraints of a contract, and queues a dry run of its schema with a suggested mapping.

    Raises:
        ContractError: with a message per field; nothing was saved.
        Refused: the schema is unchanged, or another migration of this project is running.
    """
    require(project, user, Action.CONTRACT)
    with transaction.atomic():
        newest = project.schema_version
        compiled = read_schema(schema_text).compiled
        save_contract(
            project=project,
            user=user,
            instruction=instruction,
            schema_text=newest.schema_text,
            constraints=constraints,
            seen=seen,
        )
        mapping = suggest_mapping(newest.compiled, compiled)
        return start_dry_run(
            project=project, user=user, schema_text=schema_text, mapping=mapping, source_text=source_text
        )


def contract_etag(contract: Contract) -> str:
    """Identifies a state of a contract."""
    return contract.updated_at.isoformat()


@dataclass
class SchemaImpact:
    """The effect of a schema on gold labels: how many were checked, how many are invalid, and examples. The labels are
    checked as they are after the suggested ``mapping``, which the dry run starts with.

    ``pending``: documents that wait for a review or adjudication, up to ``MAX_PENDING``. ``is_complete``: no label was
    left out.
    """

    pending: int = 0
    checked: int = 0
    invalid: int = 0
    examples: list[tuple[Document, str]] = field(default_factory=list)
    is_complete: bool = True
    mapping: list[str] = field(default_factory=list)


def schema_impact(*, project: Project, compiled: CompiledSchema, limit: int = 500) -> SchemaImpact:
    """Validates the first ``limit`` gold labels of a project against a schema."""
    pending = sum(len(rows.values_list("pk")[:MAX_PENDING]) for rows in _pending_documents(project))
    result = SchemaImpact(pending=min(pending, MAX_PENDING))
    rows = list(
        Gold.objects.current(project).select_related("revision", "document").order_by("document_id")[: limit + 1]
    )
    result.is_complete = len(rows) <= limit
    old = project.schema_version.compiled
    steps = check(suggest_mapping(old, compiled), old, compiled) if rows else []
    result.mapping = [in_words(step) for step in steps]
    mapped = mapper(steps, compiled)
    for row in rows[:limit]:
        result.checked += 1
        problems = compiled.validate(mapped(row.revision.value))
        if problems:
            result.invalid += 1
            if len(result.examples) < 5:
                result.examples.append((row.document, problem_text(problems[0])))
    return result


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
