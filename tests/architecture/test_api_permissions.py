"""Permissions of every REST operation, for every role and token scope.

The operations come from the URLconf and from the OpenAPI document, which must agree; so a new one cannot be forgotten.
"""

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from functools import lru_cache
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.test import Client
from django.urls import get_resolver
from django.utils import timezone

from labeling.api.app import PREFIX, document
from labeling.integrations import tokens
from labeling.models import ApiToken, Project
from labeling.projects.services import create_project
from slmstudio.access import Action, Role, may
from slmstudio.contract.json_text import dumps
from tests.architecture.test_permissions import ROLES, addresses
from tests.architecture.test_permissions import people as people
from tests.labeling.api_client import Api, api_of

#: an operation that concerns no single project
GENERAL = [("GET", f"{PREFIX}/projects")]


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Method, address with its arguments filled in, and description of every operation."""
    for path, methods in document()["paths"].items():
        filled = re.sub(r"\{\w+\}", "1", path.replace("{slug}", "guarded").replace("{kind}", "search"))
        for method, operation in methods.items():
            yield method.upper(), filled, operation


def in_project() -> list[tuple[str, str, dict[str, Any]]]:
    return [operation for operation in operations() if operation[:2] not in GENERAL]


def guarded() -> Project:
    return Project.objects.get(slug="guarded")


@lru_cache(maxsize=1)
def anonymous_client() -> Client:
    """A client without cookies; making one costs as much as many requests."""
    return Client()


def call(method: str, path: str, token: str = "", client: Client | None = None) -> Any:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return (client or anonymous_client()).generic(method, path, b"{}", "application/json", headers=headers)


def test_openapi_matches_the_urls() -> None:
    routed = {
        address
        for name, address in addresses(get_resolver().url_patterns)
        if address.startswith(f"{PREFIX}/") and name not in ("api_openapi", "api_nothing")
    }
    described = {path for _, path, _ in operations()}
    assert routed == described
    assert len(in_project()) > 35


def test_openapi_is_valid() -> None:
    """By the schema that the OpenAPI Initiative published for 3.1; every reference in it leads somewhere."""
    from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR  # a second that other processes save

    made = document()
    OPENAPI_31_VALIDATOR.validate(json.loads(dumps(made)))
    names = [operation["operationId"] for _, _, operation in operations()]
    assert len(names) == len(set(names))
    for method, path, operation in operations():
        assert tokens.ACTIONS[operation["x-scope"]] == operation["x-needs"], (method, path)
    references = re.findall(r'"\$ref":"#/([^"]+)"', dumps(made))
    assert references
    for reference in references:
        part_of = made
        for part in reference.split("/"):
            part_of = part_of[part]


def test_requests_without_a_token_are_rejected(people: dict[str, Any]) -> None:
    for method, path, _ in operations():
        answer = call(method, path)
        assert answer.status_code == 401, (method, path, answer.status_code)
        assert answer["Content-Type"] == "application/problem+json"
        assert "Bearer" in answer["WWW-Authenticate"]


def _ended(people: dict[str, Any], how: str) -> str:
    scopes = tokens.scopes_for(Role.OWNER)
    token, text = tokens.create(project=guarded(), user=people["owner"], name="x", scopes=scopes, days=1)
    row = ApiToken.objects.filter(pk=token.pk)
    if how == "expired":
        row.update(expires_at=timezone.now() - timedelta(seconds=1))
    elif how == "revoked":
        tokens.revoke(token=token, user=people["owner"])
    elif how == "account switched off":
        get_user_model().objects.filter(pk=people["owner"].pk).update(is_active=False)
    elif how == "mistyped":
        text = text[:-1] + ("a" if text[-1] != "a" else "b")
    return text


@pytest.mark.parametrize("how", ["expired", "revoked", "account switched off", "mistyped"])
def test_ended_tokens_are_rejected(people: dict[str, Any], how: str) -> None:
    """Every operation checks the token in the same way: one walk over all is enough."""
    text = _ended(people, how)
    for method, path in [(method, path) for method, path, _ in operations()] if how == "revoked" else GENERAL:
        assert call(method, path, text).status_code == 401, (method, path)


def test_other_authorization_headers_are_rejected(people: dict[str, Any]) -> None:
    for header in ("Bearer", "Bearer ", "Basic YTpi", "Bearer slm_" + "x" * 5_000, "Bearer \xff", "slm_x"):
        answer = call("GET", f"{PREFIX}/projects", client=Client(headers={"Authorization": header}))
        assert answer.status_code == 401, header


def test_non_members_get_404(people: dict[str, Any]) -> None:
    """With the answer of a project that does not exist."""
    elsewhere = api_of(Project.objects.get(slug="elsewhere"), people["stranger"])
    browser = Client()
    browser.force_login(people["stranger"])
    for client, token in ((None, elsewhere.token), (browser, "")):
        missing = call("GET", f"{PREFIX}/projects/no-such-project", token, client)
        assert missing.status_code == 404
        for method, path, _ in in_project():
            answer = call(method, path, token, client)
            assert (answer.status_code, answer.content) == (404, missing.content), (method, path, answer.content)


def test_a_token_is_valid_for_one_project(people: dict[str, Any]) -> None:
    other = create_project(owner=people["owner"], name="Second", slug="second", template="invoice")
    elsewhere = api_of(other, people["owner"])
    for method, path, _ in in_project():
        assert call(method, path, elsewhere.token).status_code == 404, (method, path)
    listed = elsewhere.get(f"{PREFIX}/projects").json["items"]
    assert [project["slug"] for project in listed] == ["second"]


def _everything(user: User) -> Api:
    """A token with all scopes, whatever the role of its person: as if the role had been taken away later."""
    api = api_of(guarded(), user, "read")
    ApiToken.objects.filter(user=user).update(scopes=list(tokens.SCOPES))
    return api


@pytest.mark.parametrize("role", ROLES)
def test_each_role_reaches_what_the_table_says_and_nothing_else(people: dict[str, Any], role: str) -> None:
    """By token, and for one role also by session: both lead to the same check."""
    access: list[tuple[Client | None, str]] = [(None, _everything(people[role]).token)]
    if role == Role.ANNOTATOR:
        browser = Client()
        browser.force_login(people[role])
        access.append((browser, ""))
    for method, path, operation in in_project():
        allowed = may(role, Action(operation["x-needs"]))
        for client, token in access:
            answer = call(method, path, token, client)
            assert (answer.status_code != 403) == allowed, (method, path, answer.status_code, answer.content)
            assert answer.status_code < 500, (method, path, answer.content)
            if allowed and method == "GET" and "/1" not in path:
                # Nothing is deployed in this project, so no policy can be read.
                expected = 409 if path.endswith("/deployment/policy") else 200
                assert answer.status_code == expected, (method, path, answer.content)
            if answer.status_code == 422:
                assert "slug" not in answer.json()["detail"], (method, path, answer.content)


@pytest.mark.parametrize("scope", tokens.SCOPES)
def test_token_scopes(people: dict[str, Any], scope: str) -> None:
    """The scope of an operation is enough, and all other scopes together are not."""
    role = next(role for role in (Role.OWNER, Role.MANAGER) if scope in tokens.scopes_for(role))
    token = api_of(guarded(), people[role], "read").token
    for scopes in ([scope], [other for other in tokens.SCOPES if other != scope]):
        ApiToken.objects.update(scopes=scopes)
        for method, path, operation in operations():
            if operation["x-scope"] == scope:
                answer = call(method, path, token)
                assert (answer.status_code == 403) == (scope not in scopes), (method, path, answer.content)
                if answer.status_code == 403:
                    assert scope in answer.json()["detail"]


def test_a_removed_role_takes_effect_immediately(people: dict[str, Any]) -> None:
    from labeling.models import Membership
    from labeling.projects import members

    api = api_of(guarded(), people["engineer"])
    assert api.post("datasets").status == 202
    row = Membership.objects.get(project=guarded(), user=people["engineer"])
    members.change_role(membership=row, by=people["owner"], role=Role.ANNOTATOR)
    assert api.post("datasets").status == 403
    members.remove(membership=row, by=people["owner"])
    assert api.get("documents").status == 401  # removal ends their tokens


def test_session_writes_need_a_csrf_token(people: dict[str, Any]) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(people["owner"])
    for method, path, operation in in_project():
        answer = call(method, path, client=client)
        if method == "GET":
            assert answer.status_code != 403, (method, path)
        else:
            assert answer.status_code == 403, (method, path)
            assert "CSRF" in answer.json()["detail"], operation


def test_a_token_cannot_be_made_with_a_token(people: dict[str, Any]) -> None:
    api = _everything(people["owner"])
    assert api.post("tokens").status == 405
    answer = Client().post("/p/guarded/tokens/", {"name": "x"}, headers={"Authorization": f"Bearer {api.token}"})
    assert answer.status_code == 302
    assert answer["Location"].startswith("/login/")


def test_openapi_requires_a_login(people: dict[str, Any]) -> None:
    address = f"{PREFIX}/openapi.json"
    assert Client().get(address).status_code == 401
    assert Client().get("/api/docs").status_code == 302
    assert api_of(guarded(), people["annotator"]).get(address).json["openapi"].startswith("3.")
    client = Client()
    client.force_login(people["annotator"])
    assert client.get(address).status_code == 200
    assert client.get("/api/docs").status_code == 200


def test_unknown_api_paths_and_methods_are_json_errors(people: dict[str, Any]) -> None:
    for address in ("/api/", "/api/v1/", "/api/v1/nothing", "/api/v2/projects", "/api/docs/"):
        answer = Client().get(address)
        assert (answer.status_code, answer["Content-Type"]) == (404, "application/problem+json"), address
    rejected = api_of(guarded(), people["owner"])("DELETE", "documents")
    assert (rejected.status, rejected.headers["Allow"]) == (405, "GET, POST")
    assert rejected.headers["Content-Type"] == "application/problem+json"
