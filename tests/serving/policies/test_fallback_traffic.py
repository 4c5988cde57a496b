"""Small first, large as fallback, whole: the policy over REST, routes from the database, both models over HTTP, the
request log in the database, and the figures of the page."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import JSONResponse, Response

from serving.gateway.routes import _routes
from serving.models import Deployment, RequestLog
from serving.policies import queries
from slmstudio.contract.json_text import dumps
from tests.evaluation import fake_openai
from tests.evaluation.factories import World, drawn
from tests.labeling.api_client import api_of
from tests.serving import event_loop
from tests.serving.factories import answering
from tests.serving.gateway.rig import ANSWER, backend, rig
from tests.serving.policies.rows import deployed, larger

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
@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"min_confidence": 0.8}, "confidence"),
        ({"budget_wrong": 1, "budget_of": 50, "budget_unit": "document", "rest": "fallback"}, "budget"),
    ],
)
def test_the_rest_goes_to_the_larger_model_and_is_counted(
    world: World, tmp_path: Path, settings: Any, values: dict[str, Any], reason: str
) -> None:
    settings.OUTBOUND_ALLOW = ["127.0.0.1"]
    deployment = deployed(world)
    assert deployment.stable is not None
    with fake_openai.running() as fake:
        fake.replies = [fake_openai.says(dumps(UNSURE.gold))]
        larger(world, url=fake.url, structured="free", price_in=10.0, price_out=100.0)
        api = api_of(world.project, world.engineer, "deploy")
        policy = api.put("deployment/policy", {"larger_model": "Big", "audit_share": 1.0, **values})
        assert policy.status == 200, policy.json
        replica = answering(deployment.stable, address=f"unix:{tmp_path / 'a'}")
        sure, unsure = event_loop.run(_send_both(tmp_path, _routes()[world.project.slug], replica.address))
        assert len(fake.asked) == 1
        assert UNSURE.text in str(fake.asked[0]["messages"])
    assert (sure["answered_by"], sure["needs_review"], sure["output"]) == ("stable", False, _plain(SURE.gold))
    assert (unsure["answered_by"], unsure["output"]) == ("fallback", _plain(UNSURE.gold))
    usage = {"prompt_tokens": 100, "output_tokens": 20}
    assert unsure["fallback"] == {"model": "Big", "reason": reason, "error": None, "cost": 0.003, "usage": usage}
    _check_log(sure["request_id"], unsure["request_id"], reason)
    _check_figures(deployment, reason)


async def _send_both(folder: Path, route: Any, address: str) -> list[dict[str, Any]]:
    async with backend(Path(address.removeprefix("unix:")), small), rig(folder, route) as found:
        responses = await asyncio.gather(found.extract(SURE.text), found.extract(UNSURE.text))
        await found.log.store()
    assert [one.status_code for one in responses] == [200, 200], [one.text for one in responses]
    return [one.json() for one in responses]


def _plain(value: Any) -> Any:
    return json.loads(dumps(value))


def _check_log(sure: str, unsure: str, reason: str) -> None:
    rows = {str(row.id): row for row in RequestLog.objects.all()}
    assert {one: (row.source, row.fallback_reason) for one, row in rows.items()} == {
        sure: ("stable", ""), unsure: ("fallback", reason),
    }  # fmt: skip
    row = rows[unsure]
    assert (json.loads(row.output), json.loads(row.first_output)) == (_plain(UNSURE.gold), _plain(GUESSED))
    assert (row.cost, row.fallback_prompt_tokens, row.fallback_output_tokens) == (0.003, 100, 20)
    assert row.lowest == row.calibrated["vendor"] < 0.8 < min(rows[sure].calibrated.values())


def _check_figures(deployment: Deployment, reason: str) -> None:
    traffic = queries.traffic_of(deployment)
    assert (traffic.requests, traffic.asked, traffic.by_fallback, traffic.fallback_failed) == (2, 1, 1, 0)
    assert traffic.reasons == {reason: 1}
    assert (traffic.cost_per_thousand, traffic.cost_per_answer) == (1.5, 0.003)
    status = queries.status_of(deployment.project)
    assert status is not None
    if reason == "budget":
        # No person is asked for either of them; the audit is of the small model's answers.
        assert traffic.automatic == 2
        assert status.audit is not None
        assert status.audit.drawn == 1
    # The larger model's price by these requests, at the share of the documents that are not sure.
    at = min(status.curve, key=lambda one: abs(one.limit - (status.limit or 0)))
    assert at.cost == pytest.approx(1_000 * at.rest * 0.003)
