"""Whether an endpoint still answers: ends a run after several failures in a row."""

from evaluation.inference.answers import Outcome
from evaluation.inference.openai_client import Said

# After so many documents in a row that ended the same way, nobody else is asked: (outcomes, how many).
_HOPELESS = (
    ({Outcome.REFUSED, Outcome.UNREACHABLE, Outcome.WEB_PAGE, Outcome.NO_COMPLETION}, 5),
    ({Outcome.BUSY, Outcome.TIMEOUT}, 10),
)
_FORBIDDEN = (401, 402, 403, 404)


class Broken(Exception):
    """The run as a whole went wrong; the message is a sentence."""


class Trouble:
    """Sees when asking on is hopeless: a key that is refused, an address where nobody answers."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._in_a_row = 0
        self._kind: set[Outcome] = set()

    def note(self, said: Said) -> None:
        """Raises Broken where the documents in a row say that it is of no use."""
        kind, most = next(((kind, most) for kind, most in _HOPELESS if said.outcome in kind), (set(), 0))
        self._in_a_row = self._in_a_row + 1 if kind and kind == self._kind else int(bool(kind))
        self._kind = kind
        if said.outcome == Outcome.REFUSED and said.status in _FORBIDDEN:
            raise Broken(f"The endpoint {self._name} refuses the request: {said.detail}")
        if kind and self._in_a_row >= most:
            raise Broken(f"The endpoint {self._name} failed {most} times in a row, last: {said.detail}")
