"""Permissions of every page, for anonymous users, non-members and every role."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from labeling.projects.services import create_project
from slmstudio.access import Action, Role, may
from tests.shared_rows import shared_fixture

OPEN = {"/login/", "/healthz"}

# What each page or request takes; by name, and (name, "post") where sending takes more than looking.
# A new address must be added here: the walk fails for a name it does not know.
NEEDS: dict[str | tuple[str, str], Action] = {
    **dict.fromkeys(
        ("project", "contract", "contract_version", "documents", "document", "import_run"),
        Action.READ,
    ),
    **dict.fromkeys(
        ("import_rejects", "datasets", "dataset", "dataset_export", "dataset_export_page", "freeze_run"), Action.READ
    ),
    **dict.fromkeys(("training", "training_run", "training_curves", "training_spec", "training_log"), Action.READ),
    **dict.fromkeys(("studies", "study", "study_spec"), Action.READ),
    **dict.fromkeys(("former_studies", "former_study", "former_study_new"), Action.READ),
    **dict.fromkeys(("study_new", "study_cancel", "study_resume"), Action.RUN),  # of a search
    **dict.fromkeys(("training_runs_change", "training_notes"), Action.RUN),
    **dict.fromkeys(("evaluation", "eval_run", "eval_output", "eval_outputs", "comparison"), Action.READ),
    **dict.fromkeys(("comparison_json", "comparison_markdown", "eval_suite"), Action.READ),
    **dict.fromkeys(("eval_pin", "eval_pin_fixed"), Action.PROPOSE_POLICY),
    "eval_unpin": Action.SET_POLICY,
    **dict.fromkeys(("pipeline_panel", "gates", "gate_report", "gate_bundle", "gate_bundle_sha256"), Action.READ),
    **dict.fromkeys(("benchmarks", "benchmark"), Action.READ),
    **dict.fromkeys(("benchmark_new", "benchmark_cancel"), Action.RUN),
    **dict.fromkeys(("prelabels", "prelabel_run"), Action.READ),
    **dict.fromkeys(("prelabel_new", "prelabel_cancel"), Action.RUN),
    **dict.fromkeys(("endpoint", "endpoint_new", "endpoint_test", "endpoint_remove"), Action.RUN),
    "endpoint_holdout": Action.ADMINISTER,
    **dict.fromkeys(("label", "label_document", "label_state", "label_next", "label_save"), Action.LABEL),
    **dict.fromkeys(("label_skip", "label_flag", "label_presence", "label_release"), Action.LABEL),
    **dict.fromkeys(("label_comments", "label_resolve", "label_history", "label_restore"), Action.LABEL),
    **dict.fromkeys(("dataset_twins", "dataset_absent", "dataset_diff", "export", "project_export"), Action.READ),
    "freeze_cancel": Action.CURATE,
    "mentions": Action.LABEL,
    "review": Action.READ,
    **dict.fromkeys(("review_next", "review_document", "review_approve", "review_reject"), Action.REVIEW),
    **dict.fromkeys(("review_adjudicate", "review_onward", "review_undo"), Action.REVIEW),
    **dict.fromkeys(("import_rejects_text", "page_image"), Action.READ),
    **dict.fromkeys(("import_columns", "import_exchanges", "import_again"), Action.CURATE),
    **dict.fromkeys(("import", "import_cancel", ("datasets", "post")), Action.CURATE),
    "import_instruction": Action.CONTRACT,
    "schema_migration": Action.READ,
    **dict.fromkeys(("progress", "progress_days", "progress_quality", "bulk_edit"), Action.READ),
    **dict.fromkeys(("view_save", "view_remove"), Action.READ),
    **dict.fromkeys(("document_tags", "document_comment"), Action.LABEL),
    **dict.fromkeys(("bulk_start", "bulk_cancel", "bulk_undo", "document_change"), Action.CURATE),
    **dict.fromkeys(
        (
            ("contract", "post"),
            ("schema_migration", "post"),
            "schema_migration_plan",
            "schema_migration_cancel",
            "schema_migration_resume",
        ),
        Action.CONTRACT,
    ),
    "dataset_lengths": Action.READ,
    ("dataset_lengths", "post"): Action.RUN,
    **dict.fromkeys(("training_overlay", "training_tracker"), Action.READ),
    **dict.fromkeys(("training_resume", "training_estimate", "training_from_spec"), Action.RUN),
    "training_weights_delete": Action.RUN,
    **dict.fromkeys(
        ("training_new", "training_lengths", "training_cancel", "eval_new", "eval_cancel", "eval_resume"), Action.RUN
    ),
    **dict.fromkeys(("tokens", "token_revoke"), Action.READ),  # one's own; others' are not found
    **dict.fromkeys(("settings", "member_add", "member_change", "member_remove"), Action.ADMINISTER),
    **dict.fromkeys(("webhook_add", "webhook", "webhook_secret", "webhook_test"), Action.ADMINISTER),
    **dict.fromkeys(("webhook_remove", "webhook_redeliver"), Action.ADMINISTER),
    **dict.fromkeys(("training_exports", "training_folder", "training_file"), Action.READ),
    **dict.fromkeys(("training_export_make", "training_export_cancel"), Action.RUN),
    **dict.fromkeys(("gate_pdf", "gate_markdown", "gate_audit", "gate_audit_export"), Action.READ),
    "challenge": Action.LABEL,
    **dict.fromkeys(("challenges", "lookalikes_queued"), Action.READ),
    **dict.fromkeys(("challenges_freeze", "lookalikes"), Action.CURATE),
    "suspects_challenge": Action.CURATE,
    **dict.fromkeys(("challenges_rescore", "eval_rescore", "eval_measure_cancel"), Action.RUN),
    ("eval_measure", "post"): Action.RUN,
    "eval_measure": Action.READ,
    **dict.fromkeys(("gate_policy", "gate_verify", "eval_open"), Action.PROPOSE_POLICY),
    "contract_preview": Action.CONTRACT,
    "schema_draft": Action.CONTRACT,
    **dict.fromkeys(("former_challenge", "former_challenges", "former_challenges_freeze"), Action.READ),
    **dict.fromkeys(("former_challenges_rescore", "former_gate_report_new"), Action.READ),
    "policy_proposal": Action.SET_POLICY,  # to take one's own back takes who may propose
    "gate_labels": Action.CURATE,
    **dict.fromkeys(("gate_decide", "gate_withdraw"), Action.APPROVE),
    **dict.fromkeys(("deploy_settings", "former_confidence", "former_accuracy"), Action.READ),
    "packages": Action.READ,
    **dict.fromkeys(("deploy_plan", "package_build", "deploy_policy", "deploy_resume", "deploy_sample"), Action.DEPLOY),
    **dict.fromkeys(("deploy_review", "deploy_versions"), Action.READ),
    "deploy_review_decide": Action.REVIEW,
    "deploy_retraining_dismiss": Action.RUN,
    "captures": Action.READ,
    **dict.fromkeys(
        ("traffic_comparisons", "traffic_comparison", "traffic_comparison_certificate"),
        Action.READ,
    ),
    **dict.fromkeys(("former_ab_tests", "former_certificates", "former_certificate"), Action.READ),
    **dict.fromkeys(("traffic_comparison_new", "traffic_comparison_stop"), Action.DEPLOY),
    **dict.fromkeys(("traffic_comparison_draw", "traffic_comparison_issue"), Action.DEPLOY),
    "captures_collect": Action.CURATE,
    "captures_options": Action.DEPLOY,
    "captures_key_new": Action.DEPLOY,
    "captures_key_remove": Action.DEPLOY,
    "captures_instruction": Action.CONTRACT,
    **dict.fromkeys(("deployment", "deploy_rollout", "deploy_monitoring"), Action.READ),
    **dict.fromkeys(("former_alerts", "former_drift", "former_usage"), Action.READ),
    **dict.fromkeys(("deploy_plan", "deploy_alert_rule", "deploy_alert_recipients"), Action.DEPLOY),
    **dict.fromkeys(("batches", "batch_result", "batch_cancel", "batch_resume"), Action.DEPLOY),
    "budget": Action.READ,
    ("budget", "post"): Action.ADMINISTER,
    **dict.fromkeys(("deploy_new", "deploy_promote", "deploy_abort", "deploy_roll_back"), Action.DEPLOY),
    **dict.fromkeys(("deploy_stop", "deploy_try", "deploy_endpoint", "release_bundle"), Action.DEPLOY),
}
# Open to those who may run and to those who may approve; no single action says that.
EITHER = {"gate_report_new": (Action.RUN, Action.APPROVE)}


#: the outer ones always; those between them in make test-all
ROLES = [
    role if role in (Role.ANNOTATOR, Role.OWNER) else pytest.param(role, marks=pytest.mark.slow) for role in Role.values
]


def addresses(patterns: list[Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Name and address of everything in the URLconf, arguments filled in."""
    for pattern in patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            if pattern.app_name != "admin":
                yield from addresses(pattern.url_patterns, route)
        elif isinstance(pattern, URLPattern):
            filled = re.sub(r"<slug:slug>|<slug>", "guarded", route.replace("<slug:kind>", "search"))
            yield str(pattern.name), "/" + re.sub(r"<(?:\w+:)?\w+>", "1", filled)


def all_addresses() -> list[str]:
    """Every page. The REST interface answers in its own way and is walked in test_api_rights."""
    named = {address for name, address in addresses(get_resolver().url_patterns) if not name.startswith("api_")}
    return sorted({*named, "/api/docs"})


def in_project() -> list[tuple[str, str]]:
    return sorted(set(addresses(get_resolver().url_patterns)) - {("", "")}, key=lambda pair: pair[1])


@shared_fixture
def people(db: None) -> dict[str, Any]:
    users = get_user_model().objects
    owner = users.create_user("owner", password="x")
    members = {users.create_user(role, password="x"): role for role in Role.values if role != Role.OWNER}
    create_project(owner=owner, name="Guarded", slug="guarded", template="invoice", members=members)
    stranger = users.create_user("stranger", password="x")
    return {"owner": owner, "stranger": stranger, **{user.username: user for user in members}}


def test_all_urls_are_found() -> None:
    every = all_addresses()
    assert len([a for a in every if a.startswith("/p/guarded/")]) > 25, every


@pytest.mark.parametrize("method", ["get", "post"])
def test_anonymous_requests_redirect_to_login(people: dict[str, Any], method: str) -> None:
    client = Client()
    for address in all_addresses():
        if address in OPEN:
            continue
        answer = getattr(client, method)(address)
        assert answer.status_code in (302, 405), (address, answer.status_code)
        if answer.status_code == 302:
            assert answer["Location"].startswith("/login/"), address


@pytest.mark.parametrize("method", ["get", "post"])
def test_non_members_get_404(people: dict[str, Any], method: str) -> None:
    client = Client()
    client.force_login(people["stranger"])
    for address in all_addresses():
        if address.startswith("/p/guarded/"):
            answer = getattr(client, method)(address)
            assert answer.status_code in (404, 405), (address, answer.status_code)


@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize("role", ROLES)
def test_each_role_reaches_what_the_table_says_and_nothing_else(
    people: dict[str, Any], role: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if role != Role.OWNER or method != "get":  # drawing the pages takes longest, and one role sees them all
        monkeypatch.setattr("django.template.backends.django.Template.render", lambda *args, **options: "")
    client = Client()
    client.force_login(people[role])
    for name, address in in_project():
        if not address.startswith("/p/guarded/"):
            continue
        needed = EITHER.get(name) or (NEEDS.get((name, method)) or NEEDS[name],)
        answer = getattr(client, method)(address)
        if answer.status_code == 405:
            continue
        forbidden = answer.status_code == 403
        assert forbidden != any(may(role, action) for action in needed), (name, method, answer.status_code)
