"""Feedback of callers: ``POST /api/v1/projects/{slug}/feedback``."""

from typing import Any

import orjson
from django.db import DatabaseError
from starlette.requests import Request
from starlette.responses import Response

from labeling.models import Project
from serving.gateway.app_state import Gateway
from serving.gateway.problems import GatewayProblem, unavailable
from serving.models import Judgment
from serving.review import judgments
from slmstudio.contract.json_text import loads
from slmstudio.errors import Refused

_FIELDS = {"request_id", "right", "output"}
SCOPE = "feedback"


async def feedback(request: Request, gateway: Gateway, request_id: str) -> Response:
    """Stores what a caller knows about an answer: ``{"request_id", "right"}`` or ``{"request_id", "output"}``.

    Raises GatewayProblem: 404 for a request that the project's log does not have, 422 with ``errors`` by field.
    """
    slug = request.path_params["slug"]
    caller = await gateway.authorize(request, slug, also=SCOPE)
    body = await gateway.bodies.read_object(request, slug, parse=loads)  # numbers keep all their digits
    gateway.reject_unknown(body, _FIELDS)
    right, output = body.get("right"), body.get("output")
    if right is not None and not isinstance(right, bool):
        raise GatewayProblem(422, "field", "right must be true or false.", field="right")

    def judge() -> Judgment | None:
        project = Project.objects.filter(slug=slug).first()
        if project is None or project.is_read_only:
            return None
        try:
            row = judgments.find_request(project, judgments.parse_id(body.get("request_id", "")))
        except judgments.UnknownRequest:
            return None
        return judgments.judge(
            project=project, request=row, right=right, output=output, token_id=caller.token_id
        )  # fmt: skip

    try:
        stored = await gateway.log.stored(judge)
    except Refused as error:
        raise GatewayProblem(422, error.code or "field", error.message, field=error.field, **_errors(error)) from error
    except DatabaseError as error:
        raise unavailable("database", "Feedback cannot be stored at the moment. Try again later.") from error
    if stored is None:
        unknown = judgments.UnknownRequest()
        raise GatewayProblem(404, unknown.code, unknown.message)
    content = {"request_id": str(stored.request_id), "right": stored.right, "fields": stored.fields}
    return Response(orjson.dumps(content), media_type="application/json")


def _errors(error: Refused) -> dict[str, Any]:
    """The members of the problem for each field of the object that does not match the schema."""
    if error.code != "schema":
        return {}
    return {"errors": [{"field": path, "detail": text} for path, text in error.errors.items() if path != error.field]}
