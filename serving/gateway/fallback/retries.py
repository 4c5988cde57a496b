"""The retry budget of a gateway process, shared by replicas and fallbacks."""

from dataclasses import dataclass

#: retries may be this share of the requests, so that a failing backend is not asked twice as often
RETRY_SHARE = 0.1
_BURST = 10.0


@dataclass
class RetryBudget:
    """A bucket that each request fills a little and each retry empties by one."""

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
