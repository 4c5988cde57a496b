"""Services that write check the role first; views read through named queries.

A service is a public function that writes: in a module ``services``, or for a person (it takes ``user`` or ``by``), or
called by a view or the REST interface.
"""

import ast
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from django.conf import settings

from tests.architecture.test_structure import APPS, modules

WRITES = {
    "save", "create", "delete", "update", "bulk_create", "bulk_update", "get_or_create", "update_or_create",
    "enqueue", "cancel", "requeue_by", "atomic",
}  # fmt: skip
#: services without ``require`` by reason; the first two reasons exclude that a view or the REST interface calls them
JOB = "a job, a periodic task, a hook or a command calls it, for no member"
PART = "a part of services that have checked the role, in their transaction"
OWN = "the user's own row or file, of no project"
ACCOUNT = "no project is concerned, or there is none yet; the account has a permission"
EXCEPTIONS = {
    JOB: """
        evaluation.benchmarks.services: advance advance_all on_evaluation_ended
        evaluation.pipeline.services: advance advance_all cancel_pipeline on_evaluation_ended
        labeling.imports.services: process fail
        labeling.schema_migration.services: process
        labeling.studies.services: run_study advance advance_all on_run_changed
        serving.batches.services: erase erase_expired
        serving.deployments.services: finish_promotion
        serving.retention.services: drop_old_partitions erase_expired run_retention
        training.exports.services: keep_previous_export
        slmstudio.accounts.sign_in: log_event on_signed_in on_signed_out
    """,
    PART: """
        evaluation.audit.services: record
        evaluation.gates.policy.proposals: propose_from_contract
        evaluation.gates.policy.services: freeze_policy
        labeling.annotation.locked_document: lock_document
        labeling.annotation.queue: assign claim_first
        labeling.annotation.revisions: record_review write_revision
        labeling.imports.bulk_copy: import_rows
        serving.captures.services: withhold
        serving.comparisons.labels: draw_documents
        serving.deployments.services: record_change
        serving.packages.services: prepare_package
        serving.retention.services: empty_pairs erase_rows
        serving.review.judgments: store
    """,
    OWN: """
        labeling.annotation.shortcuts: reset_keys set_exceptions_only set_key
        labeling.annotation.presence: close_tab
        labeling.comments.services: mark_read
        labeling.imports.uploads: delete_upload store_upload
        labeling.integrations.tokens: authenticate
    """,
    ACCOUNT: """
        labeling.projects.services: create_own_project create_project
        slmstudio.runs.reaper: reap_lost_runs
        slmstudio.workers.queues: requeue_job
        training.base_models.downloads: cancel_download request_download
        training.base_models.services: add_hub_model fill_catalog register_folder register_tiny resolve_model
        training.base_models.services: remove_base_model sync_catalog
        training.runs.services: restart
    """,
    "the invitation or the company's provider says what a user may: accounts have no role before": """
        labeling.projects.groups: apply_groups
        labeling.projects.invitations: accept
        slmstudio.accounts.oidc.accounts: reactivate signed_in
    """,
    "a page reads: it stores what it computes, such as the default policy, or sets a time limit": """
        evaluation.comparison.services: get_or_create_comparison
        evaluation.gates.policy.services: current_policy
        evaluation.label_issues.challenges: resolve_project
        serving.monitoring.alerts: lines rules_of
        slmstudio.database.transactions: statement_timeout
    """,
}


def exceptions(*reasons: str) -> set[str]:
    """The names of EXCEPTIONS as ``module.function``."""
    names = set()
    for reason in reasons:
        for line in filter(None, map(str.strip, EXCEPTIONS[reason].splitlines())):
            module, functions = line.split(":")
            names |= {f"{module}.{function}" for function in functions.split()}
    return names


@lru_cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(settings.BASE_DIR).with_suffix("").parts)


def functions(path: Path) -> dict[str, ast.FunctionDef]:
    return {node.name: node for node in parsed(path).body if isinstance(node, ast.FunctionDef)}


def is_write(node: ast.AST) -> bool:
    """``update`` of rows has names, that of a dictionary or a digest has none."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
        return False
    return node.func.attr in WRITES and (node.func.attr != "update" or bool(node.keywords))


def writes(function: ast.FunctionDef, others: dict[str, ast.FunctionDef]) -> bool:
    """Whether a function writes, or calls a function of its module that does."""
    waiting, visited = [function], set()
    while waiting:
        current = waiting.pop()
        visited.add(current.name)
        for node in ast.walk(current):
            if is_write(node):
                return True
            if isinstance(node, ast.Name) and node.id in others and node.id not in visited:
                waiting.append(others[node.id])
    return False


def services() -> Iterator[tuple[str, ast.FunctionDef]]:
    called = set().union(*map(called_by, doors()))
    for path in (path for app in APPS for path in modules(app) if not is_door(path)):
        others = functions(path)
        for name, function in others.items():
            full_name = f"{name_of(path)}.{name}"
            arguments = {argument.arg for argument in (*function.args.args, *function.args.kwonlyargs)}
            is_service = path.stem == "services" or arguments & {"user", "by", "owner"} or full_name in called
            if is_service and not name.startswith("_") and "instance" not in arguments and writes(function, others):
                yield full_name, function


def is_view(path: Path) -> bool:
    return path.stem == "views" or path.stem.endswith("_views") or "views" in path.parent.parts


def is_door(path: Path) -> bool:
    """Whether a module has views or operations of the REST interface."""
    return is_view(path) or path.stem == "api" or "api" in path.parts


def requires_first(function: ast.FunctionDef) -> bool:
    body = [node for node in function.body if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))]
    return ast.unparse(body[0]).startswith(("require(", "access.require("))


def doors() -> list[Path]:
    return [path for app in APPS for path in modules(app) if is_door(path)]


def called_by(path: Path) -> set[str]:
    """What a module uses by ``from package import module`` or ``from module import function``, as module.function."""
    nodes = list(ast.walk(parsed(path)))
    imported = {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in nodes
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    names = {imported.get(node.id, "") for node in nodes if isinstance(node, ast.Name)}
    attributes = {
        f"{imported.get(node.value.id, '')}.{node.attr}"
        for node in nodes
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    }
    return names | attributes


def test_services_that_write_check_the_role_first() -> None:
    all_services = dict(services())
    assert len(all_services) > 100
    unchecked = {name for name, function in all_services.items() if not requires_first(function)}
    assert unchecked == exceptions(*EXCEPTIONS)


def test_views_call_no_part_of_a_service_and_no_job() -> None:
    internal = exceptions(JOB, PART)
    assert {(name_of(path), name) for path in doors() for name in called_by(path) & internal} == set()


def test_views_do_not_write() -> None:
    """Not even the end of a run: ``slmstudio.runs.controls.cancel`` checks the role."""
    written = [
        f"{name_of(path)}:{node.lineno}"
        for path in doors()
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in WRITES - {"atomic", "update", "create", "delete"}
        and not (
            isinstance(node.func.value, ast.Name) and node.func.value.id.endswith(("services", "service", "controls"))
        )
    ]
    assert written == []


def test_views_do_not_query() -> None:
    """Views read through related managers, querysets and queries of their feature."""
    querying = {
        name_of(path)
        for app in APPS
        for path in filter(is_view, modules(app))
        if any(isinstance(node, ast.Attribute) and node.attr == "objects" for node in ast.walk(parsed(path)))
    }
    assert querying == set()
