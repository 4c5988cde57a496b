"""From counts to a verdict about a candidate: promote, abort, or wait for data. Pure: no rows here."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Protocol

from evaluation.stats.sequential import (
    CallerCount,
    FailureRatio,
    PairedFailures,
    RateLimit,
    checkpoint_alpha,
    checkpoint_at,
    latency,
    log_e_of_callers,
    log_mean_exp,
    needed,
)
from serving.rollouts.counts import Counts, Step
from slmstudio.text.formatting import exact_percent, milliseconds, percent

#: each question is decided at E >= 1/ALPHA
ALPHA = 0.05
#: the share of an event of shadow: each of the pair is as likely to be the one that fails
PAIR_SHARE = 0.5


class Plan(Protocol):
    """What a candidate has to show; see ``RolloutPlan``."""

    margin: float
    max_failure_rate: float | None
    p95_ms: int | None
    min_requests: int
    max_disagreement: float | None


class Action(StrEnum):
    """What to do with the candidate."""

    PROMOTE = "promote"
    ABORT = "abort"
    WAIT = "wait"


class Code(StrEnum):
    """Why."""

    FAILS_MORE = "fails_more"
    OVER_LIMIT = "over_limit"
    SLOW = "slow"
    FEW_REQUESTS = "few_requests"
    UNDECIDED = "undecided"
    LATENCY_UNDECIDED = "latency_undecided"
    READY = "ready"
    CALLERS = "callers"
    DISAGREES = "disagrees"
    CRASHES = "crashes"
    ABSENT = "absent"


@dataclass(frozen=True)
class Verdict:
    """What to do, and why. ``log_e``: question -> logarithm of the evidence; ``ready`` is that for promotion."""

    action: Action
    code: Code
    sentence: str
    log_e: dict[str, float] = field(default_factory=dict)


def judge(steps: Sequence[Step], plan: Plan) -> Verdict:
    """The verdict about the last of the steps. Evidence of a canary carries over its shares, and that for promotion
    over all stages. Raises ValueError without a step."""
    if not steps:
        raise ValueError("a rollout has at least one step")
    current = steps[-1]
    log_e = evidence(steps, plan)
    limit = needed(ALPHA)
    total = _total(steps)
    if log_e["fails_more"] >= limit and _fails_more(steps):
        return Verdict(Action.ABORT, Code.FAILS_MORE, _fails_more_sentence(current, steps), log_e)
    if log_e.get("over_limit", -math.inf) >= limit:
        failed = f"{_share_of(total.candidate_failures, total.candidate_requests)} of the candidate's requests failed"
        sentence = f"{failed}; the limit is {exact_percent(plan.max_failure_rate)}."
        return Verdict(Action.ABORT, Code.OVER_LIMIT, sentence, log_e)
    if log_e.get("slow", -math.inf) >= limit:
        slow = f"{_share_of(total.candidate_slow, total.candidate_timed)} of the candidate's answers took longer than"
        return Verdict(Action.ABORT, Code.SLOW, f"{slow} {milliseconds(plan.p95_ms)}; at most 5% may.", log_e)
    if log_e.get("disagrees", -math.inf) >= limit:
        sentence = (
            f"On {_share_of(total.disagreed, total.compared)} of the documents that both versions answered, fewer than "
            f"half of the fields agree; the limit is {exact_percent(plan.max_disagreement)}."
        )
        return Verdict(Action.ABORT, Code.DISAGREES, sentence, log_e)
    answered = current.counts.candidate_requests
    if answered < plan.min_requests:
        sentence = f"The candidate answered {answered:,} of at least {plan.min_requests:,} requests in this stage."
        return Verdict(Action.WAIT, Code.FEW_REQUESTS, sentence, log_e)
    if log_e["ready"] < limit:
        sentence = "There is not enough evidence yet that the candidate stays within the failure rate of the plan."
        return Verdict(Action.WAIT, Code.UNDECIDED, sentence, log_e)
    if not current.is_shadow and log_e.get("fast", math.inf) < limit:
        limit_ms = milliseconds(plan.p95_ms)
        sentence = f"There is not enough evidence yet that 95% of the candidate's answers take at most {limit_ms}."
        return Verdict(Action.WAIT, Code.LATENCY_UNDECIDED, sentence, log_e)
    sentence = f"The candidate is non-inferior after {total.candidate_requests:,} requests."
    return Verdict(Action.PROMOTE, Code.READY, sentence, log_e)


def judge_callers(steps: Sequence[Step], callers: Sequence[CallerCount]) -> Verdict:
    """The verdict where a caller always gets the same version. It is read at checkpoints only, aborts a candidate
    whose callers fail more often, and leaves the next share to a person. Notes the checkpoint in the last step.
    """
    current = steps[-1]
    checkpoint = checkpoint_at(sum(caller.requests for caller in callers))
    mine = [caller for caller in callers if caller.is_candidate and caller.requests]
    active = sum(caller.requests > 0 for caller in callers)
    sentence = (
        f"The evidence counts clients: {len(mine):,} of {active:,} clients used the candidate. Promote it manually."
    )
    if not checkpoint:
        return Verdict(Action.WAIT, Code.CALLERS, sentence)
    number = sum(step.checkpoint for step in steps[:-1]) + checkpoint
    # Scaled, so that 1/ALPHA decides at each checkpoint.
    log_e = log_e_of_callers(callers, current.share) + math.log(checkpoint_alpha(number, ALPHA) / ALPHA)
    if checkpoint > current.checkpoint and log_e >= needed(ALPHA):
        failed, total = sum(caller.failures for caller in mine), sum(caller.requests for caller in mine)
        others = [caller for caller in callers if not caller.is_candidate]
        rest = _share_of(sum(caller.failures for caller in others), sum(caller.requests for caller in others))
        own = _share_of(failed, total)
        text = f"Clients of the candidate fail more often: {own} of their requests, {rest} of the others'."
        return Verdict(Action.ABORT, Code.FAILS_MORE, text, {"fails_more": log_e})
    current.checkpoint = max(checkpoint, current.checkpoint)
    return Verdict(Action.WAIT, Code.CALLERS, sentence, {"fails_more": log_e})


@dataclass(frozen=True)
class Replicas:
    """How the replicas do: how often those of each version crashed, and whether one of the candidate answers."""

    candidate_crashes: int = 0
    stable_crashes: int = 0
    is_answering: bool = True


def judge_replicas(verdict: Verdict, replicas: Replicas) -> Verdict:
    """The verdict about the outputs, with what the replicas did. An absent replica says nothing about a model: the
    rollout waits for it. Replicas of both versions are as many, and those of the candidate get no more requests, so
    each crash is the candidate's with a probability of at most one half while it crashes no more often.
    """
    process = FailureRatio()
    process.add(candidate=replicas.candidate_crashes, stable=replicas.stable_crashes, share=PAIR_SHARE)
    log_e = verdict.log_e
    if replicas.candidate_crashes or replicas.stable_crashes:
        log_e = {**log_e, "crashes": process.log_e}
    if verdict.action == Action.ABORT:
        return replace(verdict, log_e=log_e)
    if process.decided(ALPHA):
        sentence = (
            f"The candidate's replicas crashed {replicas.candidate_crashes:,} times, those of the stable version "
            f"{replicas.stable_crashes:,} times."
        )
        return Verdict(Action.ABORT, Code.CRASHES, sentence, log_e)
    if not replicas.is_answering:
        sentence = "No replica of the candidate responds. The rollout continues when one does."
        return Verdict(Action.WAIT, Code.ABSENT, sentence, log_e)
    return replace(verdict, log_e=log_e)


def evidence(steps: Sequence[Step], plan: Plan) -> dict[str, float]:
    """Logarithms of the e-values of each question of the plan.

    ``ready`` is the mean of the evidence that the candidate fails less than ``margin`` times as often and of that for a
    rate under the limit: evidence against a candidate for which neither holds.
    """
    paired, ratio, mirror = PairedFailures(), FailureRatio(), FailureRatio(plan.margin, mirrored=True)
    for step in steps:
        candidate, stable = step.counts.candidate_documents_failed, step.counts.stable_documents_failed
        if step.is_shadow:
            paired.add(candidate_only=candidate, stable_only=stable)
            # A risk ratio of at least the margin is at least that ratio of requests that one release alone fails.
            mirror.add(candidate=candidate, stable=stable, share=PAIR_SHARE)
        else:
            ratio.add(candidate=candidate, stable=stable, share=step.share)
            mirror.add(candidate=candidate, stable=stable, share=step.share)
    log_e = {"fails_more": (paired if steps[-1].is_shadow else ratio).log_e}
    ready = [mirror.log_e]
    total = _total(steps)
    if plan.max_failure_rate is not None:
        over, under = RateLimit(plan.max_failure_rate), RateLimit(plan.max_failure_rate, mirrored=True)
        for process in (over, under):
            process.add(hits=total.candidate_failures, total=total.candidate_requests)
        log_e["over_limit"] = over.log_e
        ready.append(under.log_e)
    if plan.p95_ms is not None:
        slow, fast = latency(), latency(mirrored=True)
        for process in (slow, fast):
            process.add(hits=total.candidate_slow, total=total.candidate_timed)
        log_e |= {"slow": slow.log_e, "fast": fast.log_e}
    if plan.max_disagreement is not None and total.compared:
        apart = RateLimit(plan.max_disagreement)
        apart.add(hits=total.disagreed, total=total.compared)
        log_e["disagrees"] = apart.log_e
    return {**log_e, "ready": log_mean_exp(ready)}


#: what the evidence of a question is against
_NULL = {
    "fails_more": "a candidate that fails no more often",
    "over_limit": "a candidate within the limit",
    "slow": "a candidate within the limit",
    "disagrees": "a candidate within the limit",
    "crashes": "a candidate that crashes no more often",
    "ready": "a candidate outside the limits of the plan",
    "fast": "a candidate over the limit",
}


def meaning(question: str, log_e: float) -> str:
    """What E means, as a sentence: by Ville's inequality, 1/E bounds how often it gets there by chance."""
    if log_e < 0.01:  # the chance is 99% or more
        return "no evidence"
    chance = math.exp(-log_e)
    if chance >= 1e-5:
        shown = exact_percent(float(f"{chance:.2g}"))
    else:
        shown = f"10^{math.log10(chance):.0f}" if chance else "0%"
    return f"{_NULL[question]} reaches this at most {shown} of the time"


def _total(steps: Sequence[Step]) -> Counts:
    return sum((step.counts for step in steps), Counts())


def _same_stage(steps: Sequence[Step]) -> Counts:
    return _total([step for step in steps if step.is_shadow == steps[-1].is_shadow])


def _fails_more(steps: Sequence[Step]) -> bool:
    """The paired evidence is two-sided: it also grows where the candidate fails less often."""
    counts = _same_stage(steps)
    return not steps[-1].is_shadow or counts.candidate_documents_failed > counts.stable_documents_failed


def _fails_more_sentence(current: Step, steps: Sequence[Step]) -> str:
    counts = _same_stage(steps)
    if current.is_shadow:
        return (
            "The candidate fails more often: only the candidate failed on "
            f"{counts.candidate_documents_failed:,} documents, "
            f"only the stable version on {counts.stable_documents_failed:,}, of {counts.candidate_requests:,} requests."
        )
    candidate = f"{counts.candidate_failures:,} of its {counts.candidate_requests:,} requests"
    stable = f"the stable version {counts.stable_failures:,} of {counts.stable_requests:,}"
    return f"The candidate fails more often: it failed {candidate}, {stable}."


def _share_of(part: int, total: int) -> str:
    return f"{part:,} of {total:,} ({percent(part / total)})" if total else "0"
