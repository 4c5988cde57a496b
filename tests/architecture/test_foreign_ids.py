"""Every URL with an id, called in one project with another project's ids, is a 404.

Ids of one project begin at a million, those of the other at one, so that none is in both.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from evaluation.gates.policy import proposals
from evaluation.gates.services import create_report
from evaluation.models import Benchmark, Endpoint
from evaluation.prelabels import services as prelabel_services
from labeling.annotation import services as annotation_services
from labeling.comments import services as comment_services
from labeling.documents import bulk_edit, saved_filters
from labeling.imports.bulk_copy import import_rows
from labeling.imports.rows import ParsedRow
from labeling.integrations import deliveries, tokens, webhooks
from labeling.models import Document, Study, Webhook
from labeling.projects.services import create_project
from slmstudio.access import Role
from tests.evaluation.factories import evaluated, make_world, right
from tests.labeling.api_client import api_of

FIRST = 1_000_000
APPS = ("labeling", "training", "evaluation")
#: what every project has its own of, and what has a test of its own
LEFT_OUT = {"contract_version", "former_challenge", "former_study", "former_certificate"}
#: what managers do
DECISIONS = {"gate_decide", "gate_withdraw", "gate_confirm", "api_decide", "api_withdraw", "api_confirm"}
#: valid bodies of pages and operations that take JSON
SENT = {
    "label_save": b'{"entry": {}, "evidence": {}, "base_version": 0, "schema": 1, "seconds": 0, "submit": false}',
    **dict.fromkeys(("label_restore", "api_restore"), b'{"revision": 1000000, "base_version": 0}'),
    **dict.fromkeys(("api_save_draft", "api_submit", "api_adjudicate"), b'{"value": {}, "base_version": 0}'),
    "api_approve": b'{"base_version": 0}',
    **dict.fromkeys(("api_reject", "api_skip"), b'{"reason": "x"}'),
    "api_flag": b'{"tags": []}',
    "api_comments": b'{"text": "x"}',
}


def routes(patterns: list[Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Name and route of every address of a project that has an id."""
    for pattern in patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            if pattern.app_name != "admin":
                yield from routes(pattern.url_patterns, route)
        elif isinstance(pattern, URLPattern) and "slug>" in route and "<int:" in route:
            yield str(pattern.name), route


def filled(route: str, slug: str, *ids: int) -> str:
    """The address with these ids, the last for all that follow."""
    left = list(ids)
    named = re.sub(r"<slug:slug>|<slug>", slug, route.replace("<slug:kind>", "search"))
    return "/" + re.sub(r"<int:\w+>", lambda _: str(left.pop(0) if len(left) > 1 else left[0]), named)


@pytest.fixture
def owner(db: None, tmp_path: Path, settings: Any, queues: None) -> Any:
    """Owns the project "mine"; the project "theirs" has one of nearly everything there is."""
    settings.OUTBOUND_ALLOW = ["example.test", "127.0.0.1"]
    mine = get_user_model().objects.create_user("me")
    members = {get_user_model().objects.create_user("my-manager"): Role.MANAGER}
    own = create_project(owner=mine, name="Mine", slug="mine", template="invoice", members=members)
    import_rows(project=own, rows=[ParsedRow(1, {"id": "a", "text": "Invoice"})], source="test")
    webhooks.create(project=own, user=mine, url="http://127.0.0.1/", events=["document.submitted"])
    with connection.cursor() as cursor:
        for model in (model for label in APPS for model in apps.get_app_config(label).get_models()):
            key = model._meta.pk.column
            cursor.execute("SELECT pg_get_serial_sequence(%s, %s)", [f'"{model._meta.db_table}"', key])
            if last := cursor.fetchone()[0]:
                cursor.execute("SELECT setval(%s, %s, false)", [last, FIRST])
    _furnish(tmp_path)
    return mine


def _furnish(folder: Path) -> None:
    world = make_world(folder / "base", documents=8, holdout=4, slug="theirs")
    create_report(eval_run=evaluated(world, right), baseline=None, user=world.engineer)
    gates = [{"key": "valid", "metric": "schema_valid_rate", "operator": ">=", "threshold": 0.5}]
    proposals.propose(project=world.project, user=world.engineer, gates=gates, reason="Theirs.")
    project, user = world.project, world.owner
    import_rows(project=project, rows=[ParsedRow(1, {"id": "b", "text": "Theirs alone"})], source="test")
    hook = webhooks.create(project=project, user=user, url="http://127.0.0.1/", events=["document.submitted"])
    deliveries.send_test(webhook=hook, user=user)
    tokens.create(project=project, user=user, name="theirs", scopes=["read"], days=None)
    document = Document.objects.filter(project=project, holdout=False).earliest("pk")
    annotation_services.save_draft(
        document=document, user=user, value={"vendor": "Theirs"}, evidence={}, base_version=0
    )
    comment_services.add(document=document, user=user, text="theirs @erik")
    Endpoint.objects.create(project=project, name="theirs", url="http://127.0.0.1/v1", model="m", created_by=user)
    prelabel_services.start_prelabels(project=project, user=user, model_version=world.version)
    Benchmark.objects.create(
        project=project, number=1, dataset=world.dataset, seed=1, documents=[], examples=[], modes=[]
    )
    spec = {"dataset": 1, "base_model": "tiny"}
    Study.objects.create(project=project, kind="search", number=1, dataset=world.dataset, spec=spec)
    bulk_edit.start(project=project, user=user, action="assign", params={"user": ""}, query="")
    saved_filters.save_view(project=project, user=user, name="theirs", query="state=new", shared=True)
    api = api_of(project, user)
    assert api.post("datasets").status == 202
    encoded = '--x\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n{"text": "c"}\r\n--x--\r\n'
    sent = api.post("imports", encoded.encode(), content_type="multipart/form-data; boundary=x")
    assert sent.status == 202, sent.raw


def client_of(user: User) -> Client:
    client = Client(raise_request_exception=False)
    client.force_login(user)
    return client


def _call(client: Client, name: str, method: str, address: str) -> Any:
    if method == "get" or not (name in SENT or name.startswith("api_")):
        return getattr(client, method)(address)
    return client.generic(method.upper(), address, SENT.get(name, b"{}"), "application/json")


def test_other_projects_objects_are_404(owner: Any) -> None:
    client, manager = client_of(owner), client_of(get_user_model().objects.get(username="my-manager"))
    own = [Webhook.objects.get(project__slug="mine").pk, Document.objects.get(project__slug="mine").pk]
    for name, route in routes(get_resolver().url_patterns):
        if name in LEFT_OUT:
            continue
        ids: list[tuple[int, ...]] = [(FIRST,), (1,)] if "number>" in route else [(FIRST,)]
        if route.count("<int:") > 1:
            ids += [(identifier, FIRST) for identifier in own]
        for some in ids:
            address = filled(route, "mine", *some)
            for method in ("get", "post", "put", "patch", "delete") if name.startswith("api_") else ("get", "post"):
                answer = _call(manager if name in DECISIONS else client, name, method, address)
                # An operation looks at what was sent before it looks for what it is about.
                refused = (404, 405, 422) if name.startswith("api_") and name not in SENT else (404, 405)
                assert answer.status_code in refused, (name, method, address, answer.status_code, answer.content[:300])
                assert b"theirs" not in answer.content.lower(), (method, address)
    assert SENT.keys() <= {name for name, _ in routes(get_resolver().url_patterns)}
    # The walk would see nothing where there is nothing to see.
    client = client_of(get_user_model().objects.get(username="olga"))
    there = {
        name
        for name, route in routes(get_resolver().url_patterns)
        if any(client.get(filled(route, "theirs", number)).status_code == 200 for number in (FIRST, 1))
    }
    assert {
        "document", "label_document", "label_history", "label_comments", "review_document", "webhook", "prelabel_run",
        "endpoint", "benchmark", "training_run", "study", "training_log", "eval_run", "eval_outputs", "dataset",
        "import_run", "bulk_edit", "freeze_run", "api_document", "api_dataset", "api_import_run", "api_freeze_run",
        "api_webhook", "api_deliveries",
    } <= there  # fmt: skip
