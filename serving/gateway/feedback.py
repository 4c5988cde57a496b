"""Feedback of callers: ``POST /api/v1/projects/{slug}/feedback``."""

import asyncio
from typing import Any

import orjson
from django.db import DatabaseError
from starlette.requests import Request
from starlette.responses import Response

from labeling.models import Project
from serving.gateway.context import Gateway
from serving.gateway.database import in_database
from serving.gateway.problems import Problem
from serving.models import Judgment
from serving.review import judgments
from slmstudio.contract.json_text import loads
from slmstudio.errors import Refused

_FIELDS = {"request_id", "right", "output"}
SCOPE = "feedback"
#: seconds between attempts to find a request: it is stored about a second after its answer
WAITS = (0.3, 0.6, 1.2)


async def feedback(request: Request, gateway: Gateway, request_id: str) -> Response:
    """Stores what a caller knows about an answer: ``{"request_id", "right"}`` or ``{"request_id", "output"}``.

    Raises Problem: 404 for a request that the project's log does not have, 422 with ``errors`` by field.
    """
    slug = request.path_params["slug"]
    caller = await gateway.authorize(request, slug, also=SCOPE)
    body = await gateway.bodies.read_object(request, slug, parse=loads)  # numbers keep all their digits
    gateway.reject_unknown(body, _FIELDS)
    right, output = body.get("right"), body.get("output")
    if right is not None and not isinstance(right, bool):
        raise Problem(422, "field", "right must be true or false.", field="right")

    def judge() -> Judgment:
        project = Project.objects.filter(slug=slug).first()
        if project is None:
            raise judgments.UnknownRequest
        row = judgments.find_request(project, judgments.parse_id(body.get("request_id", "")))
        return judgments.judge(
            project=project, request=row, right=right, output=output, token_id=caller.token_id
        )  # fmt: skip

    try:
        stored = await _with_stored_log(gateway, judge)
    except judgments.UnknownRequest as error:
        raise Problem(404, error.code, error.message) from error
    except Refused as error:
        raise Problem(422, error.code or "field", error.message, field=error.field, **_errors(error)) from error
    except DatabaseError as error:
        raise Problem(
            503, "database", "Feedback cannot be stored at the moment. Try again later.", headers={"Retry-After": "5"}
        ) from error
    return Response(orjson.dumps(_response(stored)), media_type="application/json")


async def _with_stored_log(gateway: Gateway, judge: Any) -> Judgment:
    """The judgment. A request that was just answered may still be in a file: of this process, or of another one."""
    for seconds in WAITS:
        try:
            return await in_database(judge)
        except judgments.UnknownRequest:
            gateway.log.complete()
            await asyncio.sleep(seconds)
    return await in_database(judge)


def _errors(error: Refused) -> dict[str, Any]:
    """The members of the problem for each field of the object that does not match the schema."""
    if error.code != "schema":
        return {}
    return {"errors": [{"field": path, "detail": text} for path, text in error.errors.items() if path != error.field]}


def _response(stored: Judgment) -> dict[str, Any]:
    return {"request_id": str(stored.request_id), "right": stored.right, "fields": stored.fields}
