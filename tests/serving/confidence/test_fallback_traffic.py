"""Small first, large as fallback, whole: the policy over REST, routes from the database, both models over HTTP, the
request log in the database, and the figures of the page."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import JSONResponse, Response

from serving.confidence.status import answers_of, status_of
from serving.gateway.routes import _routes
from serving.models import Deployment, RequestLog
from slmstudio.contract.json_text import dumps
from tests.evaluation import fake_openai
from tests.evaluation.factories import World, drawn
from tests.labeling.api_client import api_of
from tests.serving import event_loop
from tests.serving.confidence.rows import deployed, larger
from tests.serving.factories import answering
from tests.serving.gateway.rig import ANSWER, backend, rig

SURE, UNSURE = (drawn(40)[number] for number in (38, 39))
#: the vendor that the small model is not sure of
GUESSED = {**UNSURE.gold, "vendor": "Acme"}


async def small(text: str) -> Response:
    """The small model: sure of one document, and of all but one field of the other."""
    output = SURE.gold if text == SURE.text else GUESSED
    confidence = {name: [0.99, 0.99] for name in output}
    if output is GUESSED:
        confidence["vendor"] = [0.5, 0.99]
    return JSONResponse({**ANSWER, "raw": dumps(output), "confidence": confidence})


@pytest.mark.django_db(transaction=True)
def test_the_rest_goes_to_the_larger_model_and_is_counted(world: World, tmp_path: Path, settings: Any) -> None:
    values = {"budget_wrong": 1, "budget_of": 50, "rest": "fallback"}
    settings.OUTBOUND_ALLOW = ["127.0.0.1"]
    deployment = deployed(world)
    assert deployment.stable is not None
    with fake_openai.running() as fake:
        fake.replies = [fake_openai.says(dumps(UNSURE.gold))]
        larger(world, url=fake.url, structured="free", price_in=10.0, price_out=100.0)
        api = api_of(world.project, world.engineer, "deploy")
        policy = api.put("deployment/policy", {"larger_model": "Big", "min_confidence": 0.8, **values})
        assert policy.status == 200, policy.json
        replica = answering(deployment.stable, address=f"unix:{tmp_path / 'a'}")
        sure, unsure = event_loop.run(_send_both(tmp_path, _routes()[world.project.slug], replica.address))
        assert len(fake.asked) == 1
        assert UNSURE.text in str(fake.asked[0]["messages"])
    assert (sure["answered_by"], sure["needs_review"], sure["output"]) == ("stable", False, _plain(SURE.gold))
    assert (unsure["answered_by"], unsure["output"]) == ("fallback", _plain(UNSURE.gold))
    usage = {"prompt_tokens": 100, "output_tokens": 20}
    assert unsure["fallback"] == {"model": "Big", "reason": "confidence", "error": None, "cost": 0.003, "usage": usage}
    _check_log(sure["request_id"], unsure["request_id"])
    _check_figures(deployment)


async def _send_both(folder: Path, route: Any, address: str) -> list[dict[str, Any]]:
    async with backend(Path(address.removeprefix("unix:")), small), rig(folder, route) as gateway:
        responses = await asyncio.gather(gateway.extract(SURE.text), gateway.extract(UNSURE.text))
        await gateway.log.store()
    assert [response.status_code for response in responses] == [200, 200], [response.text for response in responses]
    return [response.json() for response in responses]


def _plain(value: Any) -> Any:
    return json.loads(dumps(value))


def _check_log(sure: str, unsure: str) -> None:
    rows = {str(row.id): row for row in RequestLog.objects.all()}
    assert {request_id: (row.source, row.fallback_reason) for request_id, row in rows.items()} == {
        sure: ("stable", ""), unsure: ("fallback", "confidence"),
    }  # fmt: skip
    row = rows[unsure]
    assert (json.loads(row.output), json.loads(row.first_output)) == (_plain(UNSURE.gold), _plain(GUESSED))
    assert (row.cost, row.fallback_prompt_tokens, row.fallback_output_tokens) == (0.003, 100, 20)
    assert row.lowest == row.calibrated["vendor"] < 0.8 < min(rows[sure].calibrated.values())


def _check_figures(deployment: Deployment) -> None:
    answers = answers_of(deployment)
    assert [answers[name] for name in ("requests", "asked", "by_fallback", "fallback_failed")] == [2, 1, 1, 0]
    assert (answers["reasons"], answers["cost_per_thousand"]) == ({"confidence": 1}, 1.5)
    assert answers["automatic"] == 2  # no person is asked for either of them
    status = status_of(deployment.project)
    assert status is not None
    # The larger model's price by these requests, at the share of the documents that are not sure.
    row = status.in_effect
    assert row is not None
    assert row.cost == pytest.approx(1_000 * (1 - row.share) * 0.003)
