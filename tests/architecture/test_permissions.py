"""Permissions of every page, for anonymous users, non-members and every role."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from labeling.models import ApiToken, Project
from labeling.projects.services import create_project
from slmstudio.access import Action, Role, may
from tests.labeling.api_client import api_of
from tests.shared_rows import shared_fixture

OPEN = {"/healthz", "/invitations/1/"}
# Pages of allauth and of the sign-in at a provider are in no project; those of one's own account are not open.
ACCOUNTS = ("allauth.", "slmstudio.accounts.", "django.views.generic")
OWN_ACCOUNT = [
    "/password/change/",
    "/password/set/",
    "/email/",
    "/reauthenticate/",
    "/sessions/",
    "/3rdparty/",
    "/2fa/",
    "/2fa/authenticate/",
    "/2fa/reauthenticate/",
    "/2fa/totp/activate/",
    "/2fa/totp/deactivate/",
    "/2fa/recovery-codes/",
    "/2fa/recovery-codes/generate/",
    "/2fa/recovery-codes/download/",
    "/2fa/webauthn/",
    "/2fa/webauthn/add/",
    "/2fa/webauthn/reauthenticate/",
    "/2fa/webauthn/keys/1/edit/",
    "/2fa/webauthn/keys/1/remove/",
]

# What each page or request takes; by name, and "name:post" where sending takes more than looking.
# A new address must be added here: the walk fails for a name it does not know. Tokens are one's own, those of others
# are not found; one's own proposal of a policy is taken back by who may propose.
NEEDS = {
    name: action
    for action, names in {
        Action.READ: """
            project contract contract_version documents document import_run import_rejects datasets dataset
            dataset_export dataset_export_page freeze_run training training_run training_curves training_spec
            training_log studies study study_spec evaluation eval_run eval_output eval_outputs comparison
            comparison_json comparison_markdown eval_suite pipeline_panel gates gate_report gate_bundle
            gate_bundle_sha256 benchmarks benchmark prelabels prelabel_run dataset_twins dataset_absent dataset_diff
            export project_export review import_rejects_text page_image schema_migration progress progress_days
            progress_quality bulk_edit view_save view_remove dataset_lengths training_overlay training_tracker tokens
            token_revoke training_exports training_folder training_file gate_pdf gate_markdown gate_audit
            gate_audit_export challenges lookalikes_queued eval_measure deploy_settings packages deploy_review
            deploy_versions captures traffic_comparisons traffic_comparison traffic_comparison_certificate deployment
            deploy_rollout deploy_monitoring budget former_studies former_study former_study_new former_challenge
            former_challenges former_challenges_freeze former_challenges_rescore former_gate_report_new
            former_confidence former_accuracy former_ab_tests former_certificates former_certificate former_alerts
            former_drift former_usage deploy_request
        """,
        Action.LABEL: """
            label label_document label_state label_next label_save label_skip label_flag label_presence label_release
            label_comments label_resolve label_history label_restore mentions document_tags document_comment challenge
        """,
        Action.REVIEW: """
            review_next review_document review_approve review_reject review_adjudicate review_onward review_undo
            deploy_review_decide
        """,
        Action.CURATE: """
            freeze_cancel import_columns import_exchanges import_again import import_cancel datasets:post bulk_start
            bulk_cancel bulk_undo document_change challenges_freeze lookalikes suspects_challenge gate_labels
            captures_collect
        """,
        Action.CONTRACT: """
            import_instruction contract:post schema_migration:post schema_migration_plan schema_migration_cancel
            schema_migration_resume contract_preview schema_draft captures_instruction
        """,
        Action.RUN: """
            study_new study_cancel study_resume training_runs_change training_notes benchmark_new benchmark_cancel
            hybrid_new prelabel_new prelabel_cancel endpoint endpoint_new endpoint_test endpoint_remove
            dataset_lengths:post
            training_resume training_estimate training_from_spec training_weights_delete training_new training_lengths
            training_cancel eval_new eval_cancel eval_resume training_export_make training_export_cancel
            challenges_rescore eval_rescore eval_measure_cancel eval_measure:post deploy_retraining_dismiss
        """,
        Action.PROPOSE_POLICY: """
            eval_pin eval_pin_fixed gate_policy gate_verify eval_open
        """,
        Action.SET_POLICY: """
            eval_unpin policy_proposal gate_confirm
        """,
        Action.APPROVE: """
            gate_decide gate_withdraw
        """,
        Action.DEPLOY: """
            deploy_plan package_build deploy_policy deploy_resume deploy_sample traffic_comparison_new
            traffic_comparison_stop traffic_comparison_draw traffic_comparison_issue captures_options captures_key_new
            captures_key_remove deploy_alert_rule deploy_alert_recipients batches batch_result batch_cancel batch_resume
            deploy_new deploy_promote deploy_abort deploy_roll_back deploy_stop deploy_try deploy_endpoint
            release_bundle release_browser_bundle
        """,
        Action.ADMINISTER: """
            endpoint_permit settings member_add member_change member_remove invitation_add invitation_revoke group_add
            service_account_add
            project_rename project_archive project_restore
            group_remove settings_erasure settings_outgoing webhook_add webhook webhook_secret
            webhook_test webhook_remove webhook_redeliver budget:post
        """,
    }.items()
    for name in names.split()
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
        elif isinstance(pattern, URLPattern) and not pattern.callback.__module__.startswith(ACCOUNTS):
            filled = re.sub(r"<slug:slug>|<slug>", "guarded", route.replace("<slug:kind>", "search"))
            yield str(pattern.name), "/" + re.sub(r"<(?:\w+:)?\w+>", "1", filled)


def all_addresses() -> list[str]:
    """Every page. The REST interface answers in its own way and is walked in test_api_permissions."""
    named = {address for name, address in addresses(get_resolver().url_patterns) if not name.startswith("api_")}
    assert len([address for address in named if address.startswith("/p/guarded/")]) > 100
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
    create_project(owner=stranger, name="Elsewhere", slug="elsewhere", template="invoice")
    # In a new database a walk must not have token 1, which it revokes.
    api_of(Project.objects.get(slug="guarded"), owner, "read")
    ApiToken.objects.all().delete()
    return {"owner": owner, "stranger": stranger, **{user.username: user for user in members}}


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


def test_pages_of_an_account_need_sign_in(people: dict[str, Any]) -> None:
    for address in OWN_ACCOUNT:
        answer = Client().get(address)
        assert answer.status_code == 302, (address, answer.status_code)
        assert answer["Location"].startswith(("/login/", "/2fa/authenticate/")), address


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
        needed = EITHER.get(name) or (NEEDS.get(f"{name}:{method}") or NEEDS[name],)
        answer = getattr(client, method)(address)
        if answer.status_code == 405:
            continue
        forbidden = answer.status_code == 403
        assert forbidden != any(may(role, action) for action in needed), (name, method, answer.status_code)
