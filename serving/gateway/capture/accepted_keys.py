"""Callers' own keys of the external model, which only that model can check."""

import hashlib
import time
from collections import OrderedDict
from dataclasses import dataclass, field

from serving.gateway.routes import Route

#: seconds that a caller's own key counts as valid after the external model accepted it
ACCEPTED_SECONDS = 3_600.0
_MAX_KEYS = 10_000


@dataclass
class AcceptedKeys:
    """Callers' own keys that the external model accepted lately, by their hash: only it can check them."""

    _known: "OrderedDict[str, float]" = field(default_factory=OrderedDict)

    def add(self, route: Route, key: str) -> None:
        """Notes a key that was accepted."""
        self._known[_hash(route, key)] = time.monotonic()
        self._known.move_to_end(_hash(route, key))
        while len(self._known) > _MAX_KEYS:
            self._known.popitem(last=False)

    def has(self, route: Route, key: str) -> bool:
        """Whether a key was accepted within the last hour."""
        return time.monotonic() - self._known.get(_hash(route, key), -ACCEPTED_SECONDS) < ACCEPTED_SECONDS


def _hash(route: Route, key: str) -> str:
    return hashlib.sha256(f"{route.project_id} {key}".encode(errors="replace")).hexdigest()
