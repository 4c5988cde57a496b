"""``POST /api/v1/projects/{slug}/replay``: a logged request for the candidate in shadow, sent by the studio.

It waits for live traffic: while a caller's request of the project is being answered by this gateway, or the candidate
has no free slot, the answer is 429. The log has it as a shadow of the logged request, with the protocol ``replay``.
"""

import orjson
from starlette.requests import Request
from starlette.responses import Response

from serving.gateway.app_state import Gateway
from serving.gateway.intake.bodies import text_field
from serving.gateway.problems import GatewayProblem
from serving.gateway.responder import ExtractionRequest
from serving.gateway.tokens import verify_pass

PROTOCOL = "replay"
_FIELDS = {"text", "request_id", "version", "key", "output"}


async def replay(request: Request, gateway: Gateway, request_id: str) -> Response:
    """Answers ``{"status", "code"}``: how the candidate answered. Raises GatewayProblem: 401, 404, 409 or 429."""
    slug = request.path_params["slug"]
    given = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
    signed = verify_pass(given)
    if signed is None or signed.slug != f"{slug} replay":
        raise GatewayProblem(401, "invalid_token", "Only the studio replays requests.")
    body = await gateway.bodies.read_object(request, slug)
    gateway.reject_unknown(body, _FIELDS)
    route = gateway.route(slug)
    release = route.shadow
    if release is None or release.number != body.get("version"):
        raise GatewayProblem(409, "no_candidate", "This version is not in shadow, or has no replica.")
    if gateway.metrics.live[slug] or gateway.responder.shadows or not gateway.pool.has_free_slot(release):
        raise GatewayProblem(429, "busy", "Callers are being answered.", headers={"Retry-After": "1"})
    extraction = ExtractionRequest(
        text=text_field(body, "text"), protocol=PROTOCOL, id=str(body.get("request_id")),
        sha256=str(body.get("key"))[:64],
    )  # fmt: skip
    row = await gateway.responder.shadow(route, release, extraction, raw=str(body.get("output") or ""))
    content = orjson.dumps({"status": row["status"], "code": row["code"]})
    return Response(content, media_type="application/json")
