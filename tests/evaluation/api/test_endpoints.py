"""External models over REST."""

from typing import Any

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
    assert [endpoint["name"] for endpoint in api.get("endpoints").json["items"]] == ["large"]
    started = api.post("evaluations", {"model": added.json["key"]})
    assert (started.status, started.json["key"]) == (202, added.json["key"])
    held_out = api.post("evaluations", {"model": added.json["key"], "split": "holdout", "confirm_holdout": True})
    assert (held_out.status, held_out.json["errors"][0]["field"]) == (422, "split")
    assert api("DELETE", f"endpoints/{row.pk}").status == 204
    assert api("DELETE", f"endpoints/{row.pk}").status == 404
    assert api.get("endpoints").json["items"] == []


def test_a_wrong_endpoint_is_refused(api: Api) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"url": "http://169.254.169.254/latest"}, "url"),
        ({"concurrency": 0}, "concurrency"),
        ({"key_variable": "PATH"}, "key_variable"),
        ({"key": "sk-secret"}, "key"),
    ]
    for changes, field in cases:
        answer = api.post("endpoints", {**LARGE, **changes})
        assert (answer.status, [error["field"] for error in answer.json["errors"]]) == (422, [field])
    assert not Endpoint.objects.exists()
