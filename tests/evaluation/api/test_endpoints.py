"""External models over REST."""

from typing import Any

import pytest

from evaluation.models import Endpoint
from tests.evaluation.factories import World
from tests.labeling.api_client import Api, api_of
from tests.shared_rows import shared_fixture

LARGE = {"name": "large", "url": "https://93.184.215.14/v1", "model": "gpt"}


@shared_fixture
def api(world: World) -> Api:
    return api_of(world.project, world.engineer)


def test_an_endpoint_is_added_evaluated_and_removed(world: World, api: Api) -> None:
    added = api.post("endpoints", {**LARGE, "price_in": 2.5})
    assert (added.status, added.json["structured"], added.json["price_in"]) == (201, "auto", 2.5)
    row = Endpoint.objects.get()
    assert (row.name, row.created_by, added.json["key"]) == ("large", world.engineer, f"endpoint-{row.pk}")
    assert [one["name"] for one in api.get("endpoints").json["items"]] == ["large"]
    started = api.post("evaluations", {"model": added.json["key"]})
    assert (started.status, started.json["key"]) == (202, added.json["key"])
    held_out = api.post("evaluations", {"model": added.json["key"], "split": "holdout", "confirm_holdout": True})
    assert (held_out.status, held_out.json["errors"][0]["field"]) == (422, "split")
    assert api("DELETE", f"endpoints/{row.pk}").status == 204
    assert api("DELETE", f"endpoints/{row.pk}").status == 404
    assert api.get("endpoints").json["items"] == []


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"url": "http://127.0.0.1/v1"}, "url"),
        ({"url": "http://169.254.169.254/latest"}, "url"),
        ({"url": "https://93.184.215.14/v1?key=x"}, "url"),
        ({"name": " "}, "name"),
        ({"structured": "yes"}, "structured"),
        ({"concurrency": 0}, "concurrency"),
        ({"max_tokens": 10**9}, "max_tokens"),
        ({"key_variable": "PATH"}, "key_variable"),
        ({"key_variable": "SLM_KEY_UNKNOWN"}, "key_variable"),
        ({"price_in": -1}, "price_in"),
        ({"key": "sk-secret"}, "key"),
    ],
)
def test_a_wrong_endpoint_is_refused(api: Api, changes: dict[str, Any], field: str) -> None:
    answer = api.post("endpoints", {**LARGE, **changes})
    assert (answer.status, [error["field"] for error in answer.json["errors"]]) == (422, [field])
    assert not Endpoint.objects.exists()


def test_names_are_unique(api: Api) -> None:
    assert api.post("endpoints", LARGE).status == 201
    assert api.post("endpoints", LARGE).json["errors"][0]["field"] == "name"


@pytest.mark.parametrize("role", ["annotator", "manager"])
def test_other_roles_add_none(world: World, role: str) -> None:
    api = api_of(world.project, getattr(world, role))
    assert api.post("endpoints", LARGE).status == 403
    assert not Endpoint.objects.exists()


def test_a_token_for_evaluations_adds_none(world: World) -> None:
    assert api_of(world.project, world.engineer, "read", "evaluate").post("endpoints", LARGE).status == 403
