"""``/capture/{slug}/v1``: the address that callers give their OpenAI client instead of that of the external model.

Requests go to the external model as they are, and its responses come back as they are. Once a small model answers a
share of the requests or all of them, those that consist of a system prompt and one document are answered by it, at the
same address. Others, such as conversations and calls of tools, stay with the external model.
"""

import logging
import re
import time
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from labeling.integrations.tokens import PREFIX
from serving.budgets.usage import NO_LIMITS
from serving.captures.services import key_sha256
from serving.gateway import chat_completions
from serving.gateway.app_state import Gateway
from serving.gateway.capture import exchange, relay
from serving.gateway.capture.exchange import Asked
from serving.gateway.capture.relay import Forwarded
from serving.gateway.capture.upstream import KEYS, Upstream
from serving.gateway.idempotency import HEADER
from serving.gateway.intake.bodies import HungUp, check_length, unless_disconnected
from serving.gateway.problems import GatewayProblem
from serving.gateway.responder import CLIENT_CLOSED, ExtractionRequest
from serving.gateway.routes import Route
from serving.gateway.tokens import Caller
from serving.models import Budget, Capture

logger = logging.getLogger(__name__)
PROTOCOL = "capture"
#: what is forwarded: a key of the gateway must not reach files, fine-tuning or billing
POSTS = frozenset({exchange.CHAT, exchange.COMPLETIONS, exchange.RESPONSES, exchange.EMBEDDINGS})
_MODELS = re.compile(r"models(/[A-Za-z0-9._:-]+)*")


@dataclass(frozen=True)
class _Asking:
    """Who asks: with a token of the project, or with a registered key of the external model."""

    caller: Caller | None
    own_key: str = ""

    @property
    def token_id(self) -> int | None:
        return self.caller.token_id if self.caller is not None else None

    @property
    def limits(self) -> Budget:
        return self.caller.limits if self.caller is not None else NO_LIMITS


async def capture(request: Request, gateway: Gateway, request_id: str) -> Response:
    """Forwards or answers a request. Raises GatewayProblem."""
    slug, path = request.path_params["slug"], request.path_params["path"].removesuffix("/")
    route = gateway.table.get(slug)
    if route is None or not route.capture:
        raise GatewayProblem(404, "not_captured", "Requests are not forwarded for this project.")
    who = await _asking(request, gateway, route)
    if not (request.method == "POST" and path in POSTS) and not (request.method == "GET" and _is_models(path)):
        raise GatewayProblem(404, "address", "This URL is not forwarded.")

    def understood(raw: bytes) -> tuple[bytes, Asked, ExtractionRequest]:
        asked = exchange.asked(path, raw) if raw else Asked()
        extraction = ExtractionRequest(
            text=asked.text, protocol=PROTOCOL, token_id=who.token_id, limits=who.limits,
            key=request.headers.get(HEADER, "") or relay.key_of(asked.text, raw),
            caller=asked.caller, id=request_id,
        )  # fmt: skip
        _ = extraction.key_sha256  # the hash of a large document is made here, in a thread
        return raw, asked, extraction

    if request.method == "POST":
        raw, asked, extraction = await gateway.bodies.read(request, slug, understood)
    else:
        raw, asked, extraction = understood(b"")
    if asked.body is not None and _is_answered_here(route, extraction, asked, path):
        check_length(extraction.text)
        return await chat_completions.respond(request, gateway, route, asked.body, extraction, who.caller)
    return await _forward(request, gateway, route, who, raw, path, extraction, asked)


async def _asking(request: Request, gateway: Gateway, route: Route) -> _Asking:
    """Raises GatewayProblem 401, 403, 404 or 429.

    A key that is not registered costs its caller's project nothing: neither a query nor a count.
    """
    authorization = request.headers.get("authorization", "")
    key = authorization.partition(" ")[2].strip()
    own = key or next((request.headers[name] for name in sorted(KEYS) if name in request.headers), "")
    if route.capture != Capture.OWN_KEY or key.startswith(PREFIX):
        return _Asking(await gateway.authorize(request, route.slug))
    if not own:
        raise GatewayProblem(401, "no_token", "Send a token, or a registered key for the external model.")
    sha256 = key_sha256(route.project_id, own)
    if sha256 not in route.caller_keys:
        raise GatewayProblem(401, "invalid_token", "The key is not registered for this project. Send a token.")
    gateway.limits.count(f"key:{sha256[:16]}")
    gateway.enter(request, route.slug)
    return _Asking(None, own)


def _is_models(path: str) -> bool:
    """The path was decoded once; a part that would have to be decoded again, or that is resolved, names no model."""
    return bool(_MODELS.fullmatch(path)) and not {".", ".."} & set(path.split("/"))


def _is_answered_here(route: Route, extraction: ExtractionRequest, asked: Asked, path: str) -> bool:
    """Whether a small model answers: by the split of the traffic, and where it can do what is asked."""
    release, _ = route.choose(extraction.split_sha256(route))
    if release is None or release.external is not None:
        return False
    if asked.is_document and path == exchange.CHAT:
        return True
    if route.stable is None or route.stable.external is None:
        raise GatewayProblem(
            422, "field", "This model takes exactly one document, in a user message.", field="messages"
        )
    return False


async def _forward(
    request: Request, gateway: Gateway, route: Route, who: _Asking, raw: bytes, path: str,
    extraction: ExtractionRequest, asked: Asked,
) -> Response:  # fmt: skip
    external = route.stable.external if route.stable is not None else None
    if external is None:
        raise GatewayProblem(404, "not_deployed", "No external model of this project is deployed.")
    if external.config is None:
        raise GatewayProblem(503, "endpoint", f"{external.name} cannot be called: {external.problem}")
    # The small model could have been chosen, but may not answer this caller or this request yet.
    _, is_candidate = route.choose(extraction.split_sha256(route))
    stage = route.stage if asked.is_document and not is_candidate else ""
    work = Forwarded(gateway.responder, route, extraction, asked, path, stage)
    if request.method == "POST":
        work.reserved = await gateway.reserve(route, extraction)
    key = None if who.own_key else external.config.key
    with gateway.metrics.in_flight(route.slug):
        try:
            response = await unless_disconnected(
                request, _ask(gateway.upstream, request, external.config.url, path, raw, key, work)
            )
        except GatewayProblem as problem:
            if request.method == "POST":
                work.log(problem.status, exchange.ModelResponse(), code=problem.code)
                problem.is_logged = True
            raise
        except HungUp:
            work.log(CLIENT_CLOSED, exchange.ModelResponse(), code="client_closed")
            raise
        except BaseException:
            work.finish(answered=False)
            raise
    if isinstance(response, relay.Relayed):
        response.in_flight = gateway.metrics.in_flight(route.slug)
    return response


async def _ask(
    upstream: Upstream, request: Request, base: str, path: str, raw: bytes, key: str | None, work: Forwarded
) -> Response:
    work.sent = time.perf_counter()
    work.is_logged = request.method != "POST"  # lists of models are no requests to a model
    response = await upstream.send(
        base=base, path=path, query=request.url.query, method=request.method, headers=request.headers.items(), body=raw,
        key=key,
    )  # fmt: skip
    if request.method != "POST":
        who = f"token {work.extraction.token_id}" if work.extraction.token_id is not None else "a key of its own"
        logger.info("%s: read %s of the external model with %s: %d", work.route.slug, path, who, response.status)
    if relay.is_stream(response):
        return relay.Relayed(work, response)
    return await relay.whole(work, response)
