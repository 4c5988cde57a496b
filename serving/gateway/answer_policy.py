"""The answer policy of a deployment: assesses the output of a release, and asks the larger model where the policy says
so."""

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from evaluation.inference.completion import ResponseStatus, classify_output
from evaluation.inference.prices import cost_of_tokens
from serving.confidence.calibration import Calibration
from serving.confidence.policy import Assessment, Policy, Reason, asks_fallback, doubt, doubtful_fields
from serving.gateway.external import ExternalModels, ExternalRoute
from serving.gateway.problems import Problem
from serving.gateway.request_log import LogEntry
from serving.gateway.tracing import timeline
from serving.gateway.tracing.names import FALLBACK
from serving.replicas.protocol import ModelOutput
from slmstudio.contract.json_text import loads
from slmstudio.contract.rules import invariants
from slmstudio.contract.schema.compiled import CompiledSchema

if TYPE_CHECKING:
    from serving.gateway.routes import ReleaseRoute, Route

#: codes of the small model's errors by what the policy calls them; others are the caller's, or a full queue
_REASONS = {
    "invalid_output": Reason.INVALID, "grammar": Reason.INVALID, "too_long": Reason.INVALID,
    "engine": Reason.UNAVAILABLE, "no_replica": Reason.UNAVAILABLE, "timeout": Reason.UNAVAILABLE,
    "endpoint": Reason.UNAVAILABLE,
}  # fmt: skip
#: errors of the larger model that one more attempt may mend
_RETRIED = ("engine",)
_ATTEMPTS = 2
#: without a policy
NO_POLICY = Policy(on_invariant=False)
#: retries may be this share of the requests, so that a failing model is not asked twice as often
RETRY_SHARE = 0.1
_BURST = 10.0


@dataclass(frozen=True)
class FallbackRoute:
    """The larger model of a deployment with its prices per million tokens; None: unknown."""

    external: ExternalRoute
    price_in: float | None = None
    price_out: float | None = None

    def cost(self, answer: ModelOutput) -> float | None:
        """What an answer cost, in the currency of the contract."""
        if self.price_in is None or self.price_out is None:
            return None
        return cost_of_tokens(answer.prompt_tokens, answer.output_tokens, self.price_in, self.price_out)


@dataclass(slots=True)
class Outcome:
    """What a caller gets. ``confidence``: of each field, calibrated where ``is_calibrated``; ``review_fields``: those
    that a person should check. ``fallback``: the name of the larger model, "" where it was not asked; ``by_fallback``:
    whether the output is its.
    """

    raw: str
    confidence: dict[str, float]
    is_calibrated: bool = False
    needs_review: bool = False
    review_fields: list[str] = field(default_factory=list)
    fallback: str = ""
    by_fallback: bool = False


@dataclass
class RetryBudget:
    """The retries of a gateway process, of replicas and larger models: a bucket that each request fills a little and
    each retry empties by one."""

    left: float = _BURST

    def request(self) -> None:
        """A request begins."""
        self.left = min(_BURST, self.left + RETRY_SHARE)

    def take(self) -> bool:
        """Whether one more attempt is allowed."""
        if self.left < 1:
            return False
        self.left -= 1
        return True


@dataclass
class AnswerPolicyEvaluator:
    """Decides what a caller gets, and asks larger models for it. ``retries``: shared with the replicas."""

    external: ExternalModels
    retries: RetryBudget

    async def decide(
        self,
        entry: LogEntry,
        text: str,
        result: "ModelOutput | Problem",
        *,
        route: "Route",
        release: "ReleaseRoute",
        deadline: float,
    ) -> Outcome:
        """What the caller of a request gets, noted in ``entry``.

        Args:
            entry: of the request.
            text: the document.
            result: the valid output of the release, or why it has none.
            route: of the project, with the policy.
            release: that was asked, with its calibration and its larger model.
            deadline: of ``time.perf_counter``, for the larger model.

        Raises:
            Problem: neither model has a valid output; that of the small one.
        """
        policy, schema, known = route.policy, release.schema, release.confidence
        assessment = Assessment()
        if isinstance(result, Problem):
            why = _REASONS.get(result.code, Reason.NONE)
        else:
            assessment = assess(schema, result, known, with_invariants=policy.on_invariant)
            note_confidence(entry, assessment, known)
            why = doubt(policy, assessment)
        fallback = release.fallback if asks_fallback(policy, why) else None
        larger = None
        if fallback is not None:
            entry.fallback_reason, entry.fallback_endpoint_id = why, fallback.external.endpoint_id
            started = time.perf_counter()
            try:
                with timeline.step(FALLBACK):
                    async with asyncio.timeout(max(0.0, deadline - started)):
                        larger = await self._ask(entry, fallback, schema, text, route.max_queue)
            except TimeoutError:
                entry.fallback_code = "timeout"
            finally:
                entry.fallback_ms = round((time.perf_counter() - started) * 1000, 2)
        if larger is not None:
            if route.retention_days:
                entry.first_output, entry.output = entry.output, larger.raw
            outcome = self._by_fallback(entry, schema, larger, policy)
        elif isinstance(result, Problem):
            raise result
        else:
            outcome = _by_release(entry, result, assessment, policy, why, fallback_failed=fallback is not None)
        outcome.fallback = fallback.external.name if fallback is not None else ""
        outcome.is_calibrated = known is not None and not outcome.by_fallback
        if policy.has_budget and not outcome.needs_review:
            entry.automatic = True
        return outcome

    async def _ask(
        self, entry: LogEntry, route: FallbackRoute, schema: CompiledSchema, text: str, max_queue: int
    ) -> ModelOutput | None:
        """The valid answer of the larger model, None where there is none. One more attempt takes from the budget."""
        for attempt in range(_ATTEMPTS):
            try:
                answer = await self.external.answer(route.external, text, max_queue=max_queue, attempts=1)
            except Problem as problem:
                entry.fallback_code = problem.code
                return None
            entry.fallback_prompt_tokens += answer.prompt_tokens
            entry.fallback_output_tokens += answer.output_tokens
            cost = route.cost(answer)
            entry.cost = cost if entry.cost is None or cost is None else entry.cost + cost
            entry.fallback_code = _code_of(answer, schema)
            if not entry.fallback_code:
                return answer
            if attempt + 1 == _ATTEMPTS or entry.fallback_code not in _RETRIED or not self.retries.take():
                return None
        return None

    @staticmethod
    def _by_fallback(entry: LogEntry, schema: CompiledSchema, larger: ModelOutput, policy: Policy) -> Outcome:
        entry.source, entry.valid = "fallback", True
        outcome = Outcome(larger.raw, {path: known[0] for path, known in larger.confidence.items()}, by_fallback=True)
        # The larger model is not calibrated; what it is asked for is checked as far as the contract can.
        if policy.on_invariant and invariants.declared(schema) and invariants.check(schema, loads(larger.raw)):
            outcome.needs_review, entry.needs_review, entry.review_reason = True, True, Reason.INVARIANT
        return outcome


def _by_release(
    entry: LogEntry, output: ModelOutput, assessment: Assessment, policy: Policy, why: Reason, *, fallback_failed: bool
) -> Outcome:
    """The answer of the small model; below its limits a person should check it."""
    outcome = Outcome(output.raw, dict(assessment.confidence))
    if why != Reason.NONE:
        outcome.needs_review, outcome.review_fields = True, doubtful_fields(policy, assessment)
        entry.needs_review = True
        entry.review_reason = Reason.FALLBACK if fallback_failed else why
    return outcome


def note_confidence(entry: LogEntry, assessment: Assessment, known: Calibration | None) -> None:
    """Notes the confidence of a valid output in its log entry."""
    entry.lowest = assessment.lowest
    entry.calibrated = dict(assessment.confidence) if known is not None else {}


def assess(
    schema: CompiledSchema, output: ModelOutput, known: Calibration | None, *, with_invariants: bool = False
) -> Assessment:
    """The confidence of the fields of a valid output: calibrated, or the lowest token probability."""
    has_rules = with_invariants and invariants.declared(schema)
    value = loads(output.raw) if has_rules or known is not None else None
    holds = not (has_rules and invariants.check(schema, value))
    if known is None:
        confidence = {path: round(values[0], 4) for path, values in output.confidence.items()}
        return Assessment(confidence, holds)
    return Assessment(known.confidences(schema, value, output.confidence), holds, is_calibrated=True)


def _code_of(answer: ModelOutput, schema: CompiledSchema) -> str:
    """Why an answer is no valid output; "" if it is one."""
    if answer.finish_reason == "error":
        return answer.code or "engine"
    status, _ = classify_output(schema, answer.raw, truncated=answer.finish_reason == "length")
    return "" if status == ResponseStatus.VALID else "invalid_output"
