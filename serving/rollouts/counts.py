"""What a rollout has seen: counts of requests and failures of each of its steps. No Django here."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from typing import Any, Self

#: stage of the only steps without a split of the traffic
SHADOW = "shadow"


@dataclass
class Counts:
    """Requests of one step.

    ``documents_failed`` counts each document once per release: a caller that repeats a failed request would otherwise
    count as many failures of the one release that the document is assigned to.
    """

    stable_requests: int = 0
    candidate_requests: int = 0
    stable_failures: int = 0
    candidate_failures: int = 0
    #: in a canary, documents that failed; in shadow, documents that failed although the other release answered them
    stable_documents_failed: int = 0
    candidate_documents_failed: int = 0
    #: answered requests of the candidate, and those of them over the limit of the p95 latency
    candidate_timed: int = 0
    candidate_slow: int = 0
    #: documents that both releases answered, and those on which fewer than half of the fields agree
    compared: int = 0
    disagreed: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(*(getattr(self, count.name) + getattr(other, count.name) for count in fields(self)))


@dataclass
class Step:
    """A stage and share of a candidate, from ``began_at`` until the next one.

    ``settled`` counts requests that began before ``settled_until``; all of those have ended. ``recent`` counts the
    later ones and is counted anew each time.
    """

    stage: str
    share: float
    release: int
    stable: int
    began_at: datetime
    settled_until: datetime
    ended_at: datetime | None = None
    settled: Counts = field(default_factory=Counts)
    recent: Counts = field(default_factory=Counts)
    #: with sticky callers, the newest checkpoint
    checkpoint: int = 0

    @property
    def counts(self) -> Counts:
        """Everything that was counted."""
        return self.settled + self.recent

    @property
    def is_shadow(self) -> bool:
        return self.stage == SHADOW

    @property
    def is_complete(self) -> bool:
        """Whether nothing can be added any more."""
        return self.ended_at is not None and self.settled_until >= self.ended_at

    def to_json(self) -> dict[str, Any]:
        """As ``Rollout.steps`` stores it."""
        values = asdict(self)
        for name in ("began_at", "settled_until", "ended_at"):
            values[name] = values[name].isoformat() if values[name] else None
        return values

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """A stored step."""
        moments = {
            name: datetime.fromisoformat(value[name]) if value[name] else None
            for name in ("began_at", "settled_until", "ended_at")
        }
        return cls(**{**value, **moments, "settled": Counts(**value["settled"]), "recent": Counts(**value["recent"])})
