"""Answers a document for any interface: route, model, check, log. Interfaces only read requests and write responses."""

import asyncio
import hashlib
import logging
import time
import uuid
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from evaluation.inference.completion import ResponseStatus, classify_output
from serving.budgets.limits import NO_LIMITS, Limits
from serving.gateway.answer_policy import AnswerPolicyEvaluator, Outcome, assess, note_confidence
from serving.gateway.external import ExternalModels
from serving.gateway.idempotency import MAX_RESPONSE
from serving.gateway.pool import NO_REPLICA, ReplicaPool
from serving.gateway.problems import Problem
from serving.gateway.request_log import LogEntry, RequestLogWriter, now
from serving.gateway.routes import ReleaseRoute, Route
from serving.gateway.tracing import timeline
from serving.gateway.tracing.names import MODEL, VALIDATION
from serving.models import RequestLog, Stage
from serving.replicas.protocol import Confidence, ModelOutput
from slmstudio.contract.scoring.scorer import count_differences

if TYPE_CHECKING:
    from serving.gateway.tracing.traces import Tracer

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
    limits: Limits = NO_LIMITS
    #: live requests go first
    is_batch: bool = False
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    started: float = field(default_factory=time.perf_counter)
    #: of both models, for the budgets; known once it is in the log
    used_tokens: int = 0
    #: makes the response, of a request with an idempotency key: the log then stores it
    render: "Callable[[ExtractionResponse], bytes] | None" = None
    _sha256: str = ""

    @property
    def key_sha256(self) -> str:
        if not self._sha256:
            self._sha256 = hashlib.sha256((self.key or self.text).encode(errors="replace")).hexdigest()
        return self._sha256

    def split_sha256(self, route: Route) -> str:
        """What decides which release answers: the key, or the caller with sticky callers."""
        if not route.sticky:
            return self.key_sha256
        return hashlib.sha256(caller_name(self.caller, self.token_id).encode(errors="replace")).hexdigest()


@dataclass(slots=True)
class ExtractionResponse:
    """A valid output with what is known about it. Times in milliseconds."""

    request_id: str
    release: ReleaseRoute
    source: str
    raw: str
    #: as the engine gives it, of the small model
    confidence: Confidence
    outcome: Outcome
    entry: LogEntry
    prompt_tokens: int
    output_tokens: int
    total_ms: float
    queue_ms: float
    model_ms: float
    #: where the request says how it is made
    response: bytes = b""


@dataclass
class Responder:
    """Answers requests with the deployed releases."""

    pool: ReplicaPool
    log: RequestLogWriter
    external: ExternalModels
    shadows: set["asyncio.Task[LogEntry]"] = field(default_factory=set)
    tracer: "Tracer | None" = None

    def __post_init__(self) -> None:
        self.policies = AnswerPolicyEvaluator(self.external, self.pool.retries)

    async def answer(self, route: Route, extraction: ExtractionRequest) -> ExtractionResponse:
        """The output for a request; it is in the log when this returns or raises.

        Raises:
            Problem: there is no output that matches the schema, with the reason.
        """
        key = extraction.key_sha256
        entry = LogEntry(
            id=extraction.id, created_at=now(), project_id=route.project_id, protocol=extraction.protocol,
            token_id=extraction.token_id, key_sha256=key, caller=extraction.caller,
            # A request that names its version is no part of the split, nor of a rollout's evidence.
            stage="" if extraction.number is not None else route.stage,
        )  # fmt: skip
        if route.retention_days:
            entry.text = extraction.text
        try:
            answered = await self._answer(route, extraction, entry)
        except Problem as problem:
            entry.status, entry.code = problem.status, problem.code
            entry.detail = problem.detail if route.retention_days else ""  # it may quote the output
            self.write(entry, extraction)
            if entry.release_id is not None:
                self.repeat(route, extraction, entry)
            problem.is_logged = True
            raise
        except asyncio.CancelledError:
            entry.status, entry.code = CLIENT_CLOSED, "client_closed"
            self.write(entry, extraction)
            raise
        except Exception:
            entry.status, entry.code = 500, "internal"
            self.write(entry, extraction)
            raise
        entry.status = 200
        answered.total_ms = milliseconds_since(extraction.started)
        if extraction.render is not None:
            answered.response = extraction.render(answered)
            if route.retention_days and len(answered.response) <= MAX_RESPONSE:
                entry.response = answered.response.decode()
        self.write(entry, extraction)
        self.repeat(route, extraction, entry, raw="" if entry.source == Source.FALLBACK else answered.raw)
        return answered

    def repeat(self, route: Route, extraction: ExtractionRequest, entry: LogEntry, *, raw: str = "") -> None:
        """Starts the shadow of a request; also of one that failed, so that failures of both releases are pairs.

        In a canary the stable release repeats what the candidate answered, so that their outputs are compared there,
        too: together it gets no more requests than before. ``raw``: the valid output, "" without one.
        """
        shadow = route.shadow
        is_split = entry.stage == Stage.CANARY and entry.source == Source.CANDIDATE and raw
        if is_split and route.stable is not None and route.stable.addresses:
            shadow = route.stable
        if shadow is not None and entry.status != 429 and len(self.shadows) < MAX_SHADOWS:
            self._spawn(self._shadow(route, shadow, extraction, entry, raw=raw))

    async def _answer(self, route: Route, extraction: ExtractionRequest, entry: LogEntry) -> ExtractionResponse:
        release, _ = route.choose(extraction.split_sha256(route), extraction.number)
        if release is None:
            raise Problem(404, "not_deployed", "No model of this project is deployed.")
        return await self._respond_with(release, route, extraction, entry)

    async def _respond_with(
        self,
        release: ReleaseRoute,
        route: Route,
        extraction: ExtractionRequest,
        entry: LogEntry,
        *,
        is_chosen: bool = True,
    ) -> ExtractionResponse:
        """``is_chosen``: by the split of the traffic; False: in place of a release without a replica."""
        entry.release_id = release.id
        entry.source = Source.CANDIDATE if release is route.candidate else Source.STABLE
        output: ModelOutput | None = None
        result: ModelOutput | Problem
        try:
            result = output = await self._ask(release, extraction.text, route.max_queue)
            _note(entry, output, store=bool(route.retention_days))
            check(release, output, entry)
        except Problem as problem:
            result = problem
        # An absent replica says nothing about its model, and callers need an answer.
        is_absent = isinstance(result, Problem) and result.code == NO_REPLICA
        if is_absent and is_chosen and extraction.number is None and (other := route.other(release)) is not None:
            return await self._respond_with(other, route, extraction, entry, is_chosen=False)
        deadline = extraction.started + self.external.timeout
        outcome = await self.policies.decide(
            entry, extraction.text, result, route=route, release=release, deadline=deadline
        )
        return ExtractionResponse(
            request_id=extraction.id, release=release, source=entry.source, raw=outcome.raw,
            confidence=output.confidence if output is not None else {}, outcome=outcome, entry=entry,
            prompt_tokens=entry.prompt_tokens, output_tokens=entry.output_tokens, total_ms=0.0,
            queue_ms=entry.queue_ms, model_ms=entry.model_ms,
        )  # fmt: skip

    def check_idle(self, route: Route, extraction: ExtractionRequest) -> None:
        """Raises Problem 429 ``busy`` where a batch would take the last free place of a live request."""
        release, _ = route.choose(extraction.key_sha256, extraction.number)
        if release is not None and release.external is not None:
            is_busy = self.external.is_busy(release.external)
        else:
            is_busy = release is not None and self.pool.is_busy(release)
        if is_busy:
            raise Problem(429, "busy", "Live requests have priority. Try again later.", headers={"Retry-After": "1"})

    @timeline.timed(MODEL)
    async def _ask(self, release: ReleaseRoute, text: str, max_queue: int) -> ModelOutput:
        if release.external is not None:
            return await self.external.answer(release.external, text, max_queue=max_queue)
        return await self.pool.answer(release, text, max_queue=max_queue)

    def write(self, entry: LogEntry, extraction: ExtractionRequest) -> None:
        """Logs a request that has ended. Raises Problem 503 where the entry of a success cannot be stored."""
        entry.total_ms = milliseconds_since(extraction.started)
        extraction.used_tokens = entry.used_tokens
        self._trace(entry, extraction.started)
        try:
            self.log.write(entry)
        except OSError as error:
            logger.error("the request log cannot be written: %s", error)
            if entry.status == 200:
                raise Problem(
                    503,
                    "log",
                    "The request cannot be logged at the moment. Try again later.",
                    headers={"Retry-After": "10"},
                ) from error

    async def replay(
        self, route: Route, release: ReleaseRoute, extraction: ExtractionRequest, *, key_sha256: str, raw: str
    ) -> LogEntry:
        """Repeats a logged request, whose id ``extraction`` has, with the candidate; returns the row of the log.

        ``raw``: the output that the stable release had, "" without a valid one.
        """
        of = LogEntry(
            id=extraction.id, created_at="", project_id=route.project_id, protocol=extraction.protocol,
            key_sha256=key_sha256,
        )  # fmt: skip
        return await self._shadow(route, release, extraction, of, raw=raw)

    async def _shadow(
        self, route: Route, release: ReleaseRoute, extraction: ExtractionRequest, of: LogEntry, *, raw: str = ""
    ) -> LogEntry:
        """Repeats a request with another release; only the log sees its output. ``raw``: the output of the first."""
        started = time.perf_counter()
        timeline.begin_shadow()
        entry = LogEntry(
            id=str(uuid.uuid4()), created_at=now(), project_id=route.project_id, protocol=extraction.protocol,
            token_id=extraction.token_id, stage=route.stage, key_sha256=of.key_sha256, caller=of.caller,
            shadow_of=extraction.id, release_id=release.id,
            source=Source.STABLE if release is route.stable else Source.CANDIDATE,
        )  # fmt: skip
        try:
            output = await self._ask(release, extraction.text, route.max_queue)
            _note(entry, output, store=bool(route.retention_days))
            check(release, output, entry)
            note_confidence(entry, assess(release.schema, output, release.confidence), release.confidence)
            entry.status = 200
            entry.agreement = agreement(release, raw, output.raw) if raw else None
        except Problem as problem:
            entry.status, entry.code = problem.status, problem.code
            entry.detail = problem.detail if route.retention_days else ""
        entry.total_ms = milliseconds_since(started)
        self._trace(entry, started)
        try:
            self.log.write(entry)
        except OSError as error:
            logger.error("the request log cannot be written: %s", error)
        return entry

    def _trace(self, entry: LogEntry, started: float) -> None:
        if self.tracer is not None:
            self.tracer.record(entry, timeline.current(), started=started)

    def _spawn(self, work: Coroutine[Any, Any, LogEntry]) -> None:
        task = asyncio.ensure_future(work)
        self.shadows.add(task)
        task.add_done_callback(self.shadows.discard)


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


def check(release: ReleaseRoute, output: ModelOutput, entry: LogEntry) -> None:
    """Raises Problem where a replica's answer is no output that matches the schema; notes that in ``entry``."""
    with timeline.step(VALIDATION):
        _check(release, output, entry)


def _check(release: ReleaseRoute, output: ModelOutput, entry: LogEntry) -> None:
    if output.finish_reason == "error":
        entry.valid = False if output.code == "grammar" else None
        status, sentence = _CODES.get(output.code, _CODES["engine"])
        raise Problem(status, output.code or "engine", f"{sentence} {output.error}".strip())
    outcome, detail = classify_output(release.schema, output.raw, truncated=output.finish_reason == "length")
    entry.valid = outcome == ResponseStatus.VALID
    if not entry.valid:
        if outcome == ResponseStatus.CUT_OFF:
            limit = f"its limit of {output.output_tokens:,} tokens" if output.output_tokens else "its token limit"
            raise Problem(502, "invalid_output", f"The model's output reached {limit} before it was complete.")
        raise Problem(502, "invalid_output", f"The model's output does not match the schema: {detail or outcome}")


def _note(entry: LogEntry, output: ModelOutput, *, store: bool) -> None:
    entry.prompt_tokens, entry.output_tokens = output.prompt_tokens, output.output_tokens
    entry.queue_ms, entry.model_ms = output.queue_ms, output.model_ms
    entry.confidence = output.confidence
    if store:
        entry.output = output.raw
