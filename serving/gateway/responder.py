"""Answers a document for any interface: route, model, check, answer policy, log. Interfaces only read requests and
write responses."""

import asyncio
import hashlib
import logging
import time
import uuid
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from evaluation.inference.completion import ResponseStatus, classify_output
from serving.budgets.usage import NO_LIMITS
from serving.confidence.calibration import ConfidenceCalibration
from serving.confidence.policy import Assessment, Reason, asks_fallback, doubt, doubtful_fields
from serving.gateway.external_models import ExternalModels, ExternalRoute
from serving.gateway.idempotency import MAX_RESPONSE
from serving.gateway.problems import GatewayProblem, unavailable
from serving.gateway.replica_pool import NO_REPLICA, ReplicaPool
from serving.gateway.request_log.writer import DEFAULTS, RequestLogWriter, Row, now
from serving.gateway.routes import ReleaseRoute, Route
from serving.gateway.tracing import timeline
from serving.models import Budget, RequestLog, Stage
from serving.replicas.protocol import ModelOutput
from slmstudio.contract.json_text import loads
from slmstudio.contract.rules import invariants
from slmstudio.contract.schema.compiled import CompiledSchema
from slmstudio.contract.scoring.scorer import count_differences

if TYPE_CHECKING:
    from serving.gateway.tracing.spans import Tracer

logger = logging.getLogger(__name__)
Source = RequestLog.Source
#: requests that are repeated in shadow at once; more are answered without one
MAX_SHADOWS = 32
CLIENT_CLOSED = 499
_CODES = {
    "too_long": (413, "The document is too long for the model."),
    "grammar": (502, "The model's output does not match the schema."),
    "engine": (502, "The model failed."),
}
#: codes of the small model's errors by what the policy calls them; others are the caller's, or a full queue
_REASONS = {
    "invalid_output": Reason.INVALID, "grammar": Reason.INVALID, "too_long": Reason.INVALID,
    "engine": Reason.UNAVAILABLE, "no_replica": Reason.UNAVAILABLE, "timeout": Reason.UNAVAILABLE,
    "endpoint": Reason.UNAVAILABLE,
}  # fmt: skip
#: requests for one document to the larger model; one more where its server fails
_FALLBACK_ATTEMPTS = 2


def caller_name(caller: str, token_id: int | None) -> str:
    """Who a caller is for a sticky split: the name in the request, or else its token."""
    return f"caller:{caller}" if caller else f"token:{token_id or 0}"


@dataclass(slots=True)
class ExtractionRequest:
    """A document to answer. ``key``: what the split of the traffic depends on; "" for the text itself."""

    text: str
    protocol: str
    token_id: int | None = None
    key: str = ""
    caller: str = ""
    #: the version that the caller names; None: by the split of the traffic
    number: int | None = None
    #: of the token
    limits: Budget = NO_LIMITS
    #: live requests go first
    is_batch: bool = False
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    started: float = field(default_factory=time.perf_counter)
    created_at: str = field(default_factory=now)
    #: of both models, for the budgets; known once it is in the log
    used_tokens: int = 0
    #: makes the response, of a request with an idempotency key: the log then stores it
    render: "Callable[[ExtractionResponse], bytes] | None" = None
    #: of the key, where it is known
    sha256: str = ""

    @property
    def key_sha256(self) -> str:
        if not self.sha256:
            self.sha256 = hashlib.sha256((self.key or self.text).encode(errors="replace")).hexdigest()
        return self.sha256

    def split_sha256(self, route: Route) -> str:
        """What decides which release answers: the key, or the caller with sticky callers."""
        if not route.sticky:
            return self.key_sha256
        return hashlib.sha256(caller_name(self.caller, self.token_id).encode(errors="replace")).hexdigest()


#: before a release has answered
NO_OUTPUT = ModelOutput("", "")


@dataclass(slots=True)
class Fallback:
    """What the larger model was asked for, and gave. ``code``: why it has no valid output; ``cost``: in the currency of
    the contract, None where it has no price."""

    model: ExternalRoute
    reason: Reason
    output: ModelOutput | None = None
    code: str = ""
    milliseconds: float = 0.0
    prompt_tokens: int = 0
    output_tokens: int = 0
    cost: float | None = None


@dataclass(slots=True)
class ExtractionResponse:
    """What is known of an answer: of a valid one once ``Responder.answer`` returns it.

    ``output``: of the release; ``valid``: whether it matches the schema. ``raw``: the valid output, which may be the
    larger model's. ``review_fields``: those that a person should check. ``total_ms``: until it was made.
    """

    request_id: str
    release: ReleaseRoute
    source: str
    output: ModelOutput = NO_OUTPUT
    valid: bool | None = None
    assessment: Assessment = field(default_factory=Assessment)
    fallback: Fallback | None = None
    review_reason: Reason = Reason.NONE
    review_fields: list[str] = field(default_factory=list)
    raw: str = ""
    total_ms: float = 0.0
    #: where the request says how it is made
    response: bytes = b""

    @property
    def confidence(self) -> dict[str, float]:
        """Of each field of the valid output. The larger model is not calibrated."""
        if self.source == Source.FALLBACK:
            assert self.fallback is not None
            assert self.fallback.output is not None
            return {path: known[0] for path, known in self.fallback.output.confidence.items()}
        return dict(self.assessment.confidence)

    @property
    def is_calibrated(self) -> bool:
        return self.assessment.is_calibrated and self.source != Source.FALLBACK

    def row(self, *, store: bool) -> Row:
        """Its columns in the log. ``store``: whether outputs are stored."""
        output, known, larger = self.output, self.assessment, self.fallback
        columns: Row = {
            "release_id": self.release.id, "source": self.source, "valid": self.valid,
            "prompt_tokens": output.prompt_tokens, "output_tokens": output.output_tokens,
            "queue_ms": output.queue_ms, "model_ms": output.model_ms, "confidence": output.confidence,
            "lowest": known.lowest, "calibrated": dict(known.confidence) if known.is_calibrated else {},
            "output": output.raw if store else "", "needs_review": bool(self.review_reason),
            "review_reason": self.review_reason,
        }  # fmt: skip
        if larger is not None:
            columns |= {
                "fallback_reason": larger.reason, "fallback_endpoint_id": larger.model.endpoint_id,
                "fallback_ms": larger.milliseconds, "fallback_code": larger.code, "cost": larger.cost,
                "fallback_prompt_tokens": larger.prompt_tokens, "fallback_output_tokens": larger.output_tokens,
            }  # fmt: skip
            if larger.output is not None and store:
                columns |= {"first_output": output.raw, "output": larger.output.raw}
        return columns


def log_row(route: Route, extraction: ExtractionRequest, **columns: Any) -> Row:
    """A row of the log: what the request says of itself, and these columns."""
    return {
        **DEFAULTS,
        "id": extraction.id, "created_at": extraction.created_at, "project_id": route.project_id,
        "protocol": extraction.protocol, "token_id": extraction.token_id, "key_sha256": extraction.key_sha256,
        "caller": extraction.caller,
        # A request that names its version is no part of the split, nor of a rollout's evidence.
        "stage": "" if extraction.number is not None else route.stage,
        **columns,
    }  # fmt: skip


@dataclass
class Responder:
    """Answers requests with the deployed releases."""

    pool: ReplicaPool
    log: RequestLogWriter
    external: ExternalModels
    shadows: set["asyncio.Task[Row]"] = field(default_factory=set)
    tracer: "Tracer | None" = None

    async def answer(self, route: Route, extraction: ExtractionRequest) -> ExtractionResponse:
        """The output for a request; it is in the log when this returns or raises.

        Raises:
            GatewayProblem: there is no output that matches the schema, with the reason.
        """
        keeps = bool(route.retention_days)
        release, _ = route.choose(extraction.split_sha256(route), extraction.number)
        response = None if release is None else _begun(release, route, extraction)

        def logged(status: int, code: str = "", **columns: Any) -> Row:
            own = response.row(store=keeps) if response is not None else {}
            text = extraction.text if keeps else ""
            row = log_row(route, extraction, text=text, status=status, code=code, **own, **columns)
            self.write(row, extraction)
            return row

        try:
            if response is None:
                raise GatewayProblem(404, "not_deployed", "No model of this project is deployed.")
            result = await self._result(response, route, extraction)
            # An absent replica says nothing about its model, and callers need an answer.
            is_absent = isinstance(result, GatewayProblem) and result.code == NO_REPLICA
            if is_absent and extraction.number is None and (other := route.other(response.release)) is not None:
                response = _begun(other, route, extraction)
                result = await self._result(response, route, extraction)
            await self._decide(response, route, extraction, result)
        except GatewayProblem as problem:
            # The detail may quote the output.
            row = logged(problem.status, problem.code, detail=problem.detail if keeps else "")
            if response is not None:
                self.repeat(route, extraction, row)
            problem.is_logged = True
            raise
        except asyncio.CancelledError:
            logged(CLIENT_CLOSED, "client_closed")
            raise
        except Exception:
            logged(500, "internal")
            raise
        response.total_ms = milliseconds_since(extraction.started)
        stored = ""
        if extraction.render is not None:
            response.response = extraction.render(response)
            if keeps and len(response.response) <= MAX_RESPONSE:
                stored = response.response.decode()
        automatic = route.policy.has_budget and not response.review_reason
        row = logged(200, response=stored, automatic=automatic)
        self.repeat(route, extraction, row, raw="" if response.source == Source.FALLBACK else response.raw)
        return response

    def repeat(self, route: Route, extraction: ExtractionRequest, row: Row, *, raw: str = "") -> None:
        """Starts the shadow of a request; also of one that failed, so that failures of both releases are pairs.

        In a canary the stable release repeats what the candidate answered, so that their outputs are compared there,
        too: together it gets no more requests than before. ``raw``: the valid output, "" without one.
        """
        shadow = route.shadow
        is_split = row["stage"] == Stage.CANARY and row["source"] == Source.CANDIDATE and raw
        if is_split and route.stable is not None and route.stable.addresses:
            shadow = route.stable
        if shadow is not None and row["status"] != 429 and len(self.shadows) < MAX_SHADOWS:
            self._spawn(self.shadow(route, shadow, extraction, raw=raw))

    async def _result(
        self, response: ExtractionResponse, route: Route, extraction: ExtractionRequest
    ) -> "ModelOutput | GatewayProblem":
        """The valid output of the release, or why it has none; noted in ``response``."""
        try:
            response.output = await self._ask(response.release, extraction.text, route.max_queue)
            check(response)
        except GatewayProblem as problem:
            return problem
        return response.output

    def check_idle(self, route: Route, extraction: ExtractionRequest) -> None:
        """Raises GatewayProblem 429 ``busy`` where a batch would take the last free place of a live request."""
        release, _ = route.choose(extraction.key_sha256, extraction.number)
        if release is not None and release.external is not None:
            is_busy = self.external.is_busy(release.external)
        else:
            is_busy = release is not None and self.pool.is_busy(release)
        if is_busy:
            raise GatewayProblem(
                429, "busy", "Live requests have priority. Try again later.", headers={"Retry-After": "1"}
            )

    @timeline.timed(timeline.MODEL)
    async def _ask(self, release: ReleaseRoute, text: str, max_queue: int) -> ModelOutput:
        if release.external is not None:
            return await self.external.answer(release.external, text, max_queue=max_queue)
        return await self.pool.answer(release, text, max_queue=max_queue)

    # -- the answer policy --------------------------------------------------------------------------------------------

    async def _decide(
        self,
        response: ExtractionResponse,
        route: Route,
        extraction: ExtractionRequest,
        result: "ModelOutput | GatewayProblem",
    ) -> None:
        """What the caller gets. Raises GatewayProblem where neither model has a valid output; that of the small one."""
        policy, release = route.policy, response.release
        if isinstance(result, GatewayProblem):
            why = _REASONS.get(result.code, Reason.NONE)
        else:
            response.assessment = assess(
                release.schema, result, release.confidence, with_invariants=policy.on_invariant
            )
            why = doubt(policy, response.assessment)
        larger = None
        if release.fallback is not None and asks_fallback(policy, why):
            response.fallback = Fallback(release.fallback, why)
            larger = await self._ask_larger(response.fallback, release.schema, extraction, route.max_queue)
        if larger is not None:
            response.source, response.valid, response.raw = Source.FALLBACK, True, larger.raw
            # What the larger model is asked for is checked as far as the contract can.
            if policy.on_invariant and not _keeps_rules(release.schema, larger.raw):
                response.review_reason = Reason.INVARIANT
        elif isinstance(result, GatewayProblem):
            raise result
        else:
            response.raw = result.raw
            if why != Reason.NONE:
                response.review_fields = doubtful_fields(policy, response.assessment)
                response.review_reason = Reason.FALLBACK if response.fallback is not None else why

    async def _ask_larger(
        self, fallback: Fallback, schema: CompiledSchema, extraction: ExtractionRequest, max_queue: int
    ) -> ModelOutput | None:
        """The valid answer of the larger model, None where there is none."""
        began = time.perf_counter()
        left = extraction.started + self.external.timeout - began
        try:
            with timeline.step(timeline.FALLBACK):
                async with asyncio.timeout(max(0.0, left)):
                    for attempt in range(_FALLBACK_ATTEMPTS):
                        await self._ask_once(fallback, schema, extraction.text, max_queue)
                        is_last = attempt + 1 == _FALLBACK_ATTEMPTS
                        if fallback.code != "engine" or is_last or not self.pool.retries.take():
                            break
        except TimeoutError:
            fallback.code = "timeout"
        except GatewayProblem as problem:
            fallback.code = problem.code
        finally:
            fallback.milliseconds = milliseconds_since(began)
        return fallback.output

    async def _ask_once(self, fallback: Fallback, schema: CompiledSchema, text: str, max_queue: int) -> None:
        answer = await self.external.answer(fallback.model, text, max_queue=max_queue, attempts=1)
        fallback.prompt_tokens += answer.prompt_tokens
        fallback.output_tokens += answer.output_tokens
        cost = fallback.model.cost(answer)
        fallback.cost = None if cost is None else cost + (fallback.cost or 0.0)
        if answer.finish_reason == "error":
            fallback.code = answer.code or "engine"
            return
        status, _ = classify_output(schema, answer.raw, truncated=answer.finish_reason == "length")
        fallback.code = "" if status == ResponseStatus.VALID else "invalid_output"
        fallback.output = None if fallback.code else answer

    # -- the log, and shadows -----------------------------------------------------------------------------------------

    def write(self, row: Row, extraction: ExtractionRequest) -> None:
        """Logs a request that has ended. Raises GatewayProblem 503 where the row of a success cannot be stored."""
        row["total_ms"] = milliseconds_since(extraction.started)
        extraction.used_tokens = sum(row[name] for name in _TOKENS)
        if not self._log(row, extraction.started) and row["status"] == 200:
            raise unavailable("log", "The request cannot be logged at the moment. Try again later.", seconds=10)

    async def shadow(self, route: Route, release: ReleaseRoute, extraction: ExtractionRequest, *, raw: str = "") -> Row:
        """Repeats a request with another release; only the log sees its output. ``raw``: the valid output of the first
        one, "" without one."""
        started, created_at, keeps = time.perf_counter(), now(), bool(route.retention_days)
        timeline.begin_shadow()
        response, ended = _begun(release, route, extraction), Row(status=200)
        result = await self._result(response, route, extraction)
        if isinstance(result, GatewayProblem):
            detail = result.detail if keeps else ""
            ended = {"status": result.status, "code": result.code, "detail": detail}
        else:
            response.assessment = assess(release.schema, result, release.confidence)
            ended["agreement"] = agreement(release, raw, result.raw) if raw else None
        row = log_row(route, extraction, **response.row(store=keeps))
        row |= {
            **ended, "id": str(uuid.uuid4()), "created_at": created_at, "shadow_of": extraction.id,
            "stage": route.stage, "total_ms": milliseconds_since(started),
        }  # fmt: skip
        self._log(row, started)
        return row

    def _log(self, row: Row, started: float) -> bool:
        """Whether it could be written."""
        if self.tracer is not None:
            self.tracer.record(row, timeline.current(), started=started)
        try:
            self.log.write(row)
        except OSError as error:
            logger.error("the request log cannot be written: %s", error)
            return False
        return True

    def _spawn(self, work: Coroutine[Any, Any, Row]) -> None:
        task = asyncio.ensure_future(work)
        self.shadows.add(task)
        task.add_done_callback(self.shadows.discard)


_TOKENS = ("prompt_tokens", "output_tokens", "fallback_prompt_tokens", "fallback_output_tokens")


def _begun(release: ReleaseRoute, route: Route, extraction: ExtractionRequest) -> ExtractionResponse:
    return ExtractionResponse(extraction.id, release, Source.CANDIDATE if release is route.candidate else Source.STABLE)


def milliseconds_since(started: float) -> float:
    """Since a time of ``time.perf_counter``."""
    return round((time.perf_counter() - started) * 1000, 2)


def agreement(release: ReleaseRoute, left: str, right: str) -> float | None:
    """The share of fields on which two outputs agree after normalization; None where one cannot be read."""
    outputs = [release.schema.check(raw)[0] for raw in (left, right)]
    if not all(isinstance(output, dict) for output in outputs):
        return None
    changed, total = count_differences(release.schema, *outputs)
    return round(1 - changed / total, 4) if total else 1.0


def assess(
    schema: CompiledSchema, output: ModelOutput, known: ConfidenceCalibration | None, *, with_invariants: bool = False
) -> Assessment:
    """The confidence of the fields of a valid output: calibrated, or the lowest token probability."""
    holds = not with_invariants or _keeps_rules(schema, output.raw)
    if known is None:
        return Assessment({path: round(values[0], 4) for path, values in output.confidence.items()}, holds)
    confidence = known.confidences(schema, loads(output.raw), output.confidence)
    return Assessment(confidence, holds, is_calibrated=True)


def _keeps_rules(schema: CompiledSchema, raw: str) -> bool:
    return not (invariants.declared(schema) and invariants.check(schema, loads(raw)))


def check(response: ExtractionResponse) -> None:
    """Raises GatewayProblem where an answer is no output that matches the schema; notes that in ``response``."""
    output, schema = response.output, response.release.schema
    with timeline.step(timeline.VALIDATION):
        if output.finish_reason == "error":
            response.valid = False if output.code == "grammar" else None
            status, sentence = _CODES.get(output.code, _CODES["engine"])
            raise GatewayProblem(status, output.code or "engine", f"{sentence} {output.error}".strip())
        outcome, detail = classify_output(schema, output.raw, truncated=output.finish_reason == "length")
        response.valid = outcome == ResponseStatus.VALID
        if outcome == ResponseStatus.CUT_OFF:
            limit = f"its limit of {output.output_tokens:,} tokens" if output.output_tokens else "its token limit"
            raise GatewayProblem(502, "invalid_output", f"The model's output reached {limit} before it was complete.")
        if not response.valid:
            raise GatewayProblem(
                502, "invalid_output", f"The model's output does not match the schema: {detail or outcome}"
            )
