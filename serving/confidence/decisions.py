"""What happens with an answer of the small model under a policy. Pure: the gateway and simulations call it."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Reason(StrEnum):
    """Why the larger model is asked, or a person should check an answer."""

    NONE = ""
    INVALID = "invalid"
    UNAVAILABLE = "unavailable"
    INVARIANT = "invariant"
    CONFIDENCE = "confidence"
    BUDGET = "budget"
    BROKEN = "broken"
    FALLBACK = "fallback_failed"


@dataclass(frozen=True)
class Policy:
    """See ``serving.models.AnswerPolicy``. ``has_budget``: an error budget is set; ``rest_to_fallback``: what is below
    its limit goes to the larger model, where there is one."""

    has_fallback: bool = False
    on_invalid: bool = True
    on_invariant: bool = True
    on_unavailable: bool = True
    min_confidence: float | None = None
    field_confidence: Mapping[str, float] = field(default_factory=dict)
    has_budget: bool = False
    rest_to_fallback: bool = False
    is_broken: bool = False
    audit_share: float = 0.0


@dataclass(frozen=True)
class Assessment:
    """A valid output: the confidence of its scored fields by path, their patterns, and whether it keeps the invariants
    of the contract. ``limit``: of the release under the error budget; None: nothing is automatic.
    """

    confidence: Mapping[str, float] = field(default_factory=dict)
    patterns: Mapping[str, str] = field(default_factory=dict)
    holds: bool = True
    limit: float | None = None

    @property
    def lowest(self) -> float | None:
        """The confidence of the document; None without any field."""
        return min(self.confidence.values(), default=None)


def doubtful_fields(policy: Policy, found: Assessment) -> list[str]:
    """Paths of the fields below their minimum, or below the limit of the error budget."""
    paths = []
    for path, confidence in found.confidence.items():
        minimum = policy.field_confidence.get(found.patterns.get(path, path), policy.min_confidence)
        below = minimum is not None and confidence < minimum
        if below or (policy.has_budget and (found.limit is None or confidence < found.limit)):
            paths.append(path)
    return paths


def doubt(policy: Policy, found: Assessment) -> Reason:
    """Why a valid output of the small model is not good enough by itself."""
    if policy.has_budget and policy.is_broken:
        return Reason.BROKEN
    if policy.on_invariant and not found.holds:
        return Reason.INVARIANT
    for path, confidence in found.confidence.items():
        minimum = policy.field_confidence.get(found.patterns.get(path, path), policy.min_confidence)
        if minimum is not None and confidence < minimum:
            return Reason.CONFIDENCE
    if policy.has_budget and (found.limit is None or found.lowest is None or found.lowest < found.limit):
        return Reason.BUDGET
    return Reason.NONE


def asks_fallback(policy: Policy, why: Reason) -> bool:
    """Whether the larger model is asked for this reason."""
    if not policy.has_fallback or why == Reason.NONE:
        return False
    if why in (Reason.BUDGET, Reason.BROKEN):
        return policy.rest_to_fallback
    asked = {Reason.INVALID: policy.on_invalid, Reason.UNAVAILABLE: policy.on_unavailable}
    return asked.get(why, True)


def is_drawn(request_id: str, probability: float) -> bool:
    """Whether a request is in the uniform sample of the audit: by a hash of its id, so that no one can choose."""
    digest = hashlib.sha256(f"audit:{request_id}".encode()).hexdigest()
    return int(digest[:13], 16) / 16**13 < probability
