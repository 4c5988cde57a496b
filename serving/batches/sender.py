"""Sends the lines of a batch to the gateway, as many at the same time as live traffic leaves room for."""

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from serving.batches.lines import Line
from slmstudio.contract.json_text import JsonError, dumps, loads

#: seconds that the gateway or the model may be away until the batch stops
PATIENCE_SECONDS = 600.0
#: seconds between two attempts of a line; of a full queue, and of a gateway that does not answer
BUSY_SECONDS, AWAY_SECONDS, MAX_PAUSE_SECONDS = 0.2, 1.0, 15.0
_WAIT = {"busy", "queue_full", "rate_limit"}
_AWAY = {"no_replica", "database", "log", "timeout", "internal", "in_progress"}
#: statuses that concern every line
_STOP = {401, 403, 404}
_TIMEOUT_ATTEMPTS = 2


@dataclass(frozen=True)
class Stop(Exception):
    """The batch cannot go on: why, as a sentence and for programs."""

    code: str
    detail: str


Result = tuple[Line, dict[str, Any] | None, dict[str, Any] | None]


@dataclass
class Sender:
    """``authorization`` makes the header of a request; ``write`` takes each result in this thread.

    ``goes_on``: asked before each line; False: the batch was cancelled, or its time is over.
    """

    url: str
    authorization: Callable[[], str]
    evidence: bool
    concurrency: int
    timeout: float
    write: Callable[[Result], None]
    goes_on: Callable[[], bool]
    _stopped: Stop | None = None
    _away_since: float = 0.0
    _lines: Iterator[Line] = field(default_factory=lambda: iter(()))

    async def send(self, lines: Iterator[Line]) -> None:
        """Sends lines until they end, or until it has to stop. Raises Stop."""
        self._lines = lines
        connector = aiohttp.TCPConnector(limit=0)
        timeout = aiohttp.ClientTimeout(total=self.timeout, connect=2.0)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as client:
            await asyncio.gather(*(self._work(client) for _ in range(self.concurrency)))
        if self._stopped is not None:
            raise self._stopped

    async def _work(self, client: aiohttp.ClientSession) -> None:
        while self._stopped is None and self.goes_on():
            line = next(self._lines, None)
            if line is None:
                return
            if line.error:
                self.write((line, None, {"status": 422, "code": line.code, "detail": line.error}))
                continue
            try:
                result = await self._answer(client, line)
            except Stop as stop:
                self._stopped = stop
                return
            if result is not None:
                self.write(result)

    async def _answer(self, client: aiohttp.ClientSession, line: Line) -> Result | None:
        """The result of a line; None where the batch stops before it has one."""
        pause, timeouts = BUSY_SECONDS, 0
        while self._stopped is None and self.goes_on():
            status, value, retry_after = await self._post(client, line)
            code = str(value.get("code", "")) if isinstance(value, dict) else ""
            if status == 200:
                self._away_since = 0.0
                return line, value, None
            if status == 429 and code in _WAIT:
                self._away_since = 0.0
                await asyncio.sleep(min(retry_after or pause, MAX_PAUSE_SECONDS) if code == "rate_limit" else pause)
                pause = min(2 * pause, 2.0)
                continue
            detail = str(value.get("detail", "")) if isinstance(value, dict) else ""
            if code == "budget" or status in _STOP:
                raise Stop(code or "gateway", detail or f"The gateway responded with status {status}.")
            timeouts += code == "timeout"
            if (status == 0 or code in _AWAY) and timeouts < _TIMEOUT_ATTEMPTS:
                self._check_patience(detail)
                pause = max(AWAY_SECONDS, pause)
                await asyncio.sleep(pause)
                pause = min(2 * pause, MAX_PAUSE_SECONDS)
                continue
            self._away_since = 0.0
            return line, None, {"status": status, "code": code or "gateway", "detail": detail}
        return None

    def _check_patience(self, detail: str) -> None:
        now = time.monotonic()
        self._away_since = self._away_since or now
        if now - self._away_since > PATIENCE_SECONDS:
            minutes = int(PATIENCE_SECONDS // 60)
            raise Stop("away", f"The model did not respond for {minutes} minutes. {detail}".strip())

    async def _post(self, client: aiohttp.ClientSession, line: Line) -> tuple[int, Any, float]:
        body = {"text": line.text, "evidence": self.evidence, "caller": line.caller}
        if line.page is not None:
            body["page"] = line.page
        headers = {"Authorization": self.authorization(), "Content-Type": "application/json"}
        try:
            async with client.post(self.url, data=dumps(body), headers=headers) as response:
                text = await response.text()
                retry_after = response.headers.get("Retry-After", "")
                return response.status, loads(text), float(retry_after) if retry_after.isdecimal() else 0.0
        except (aiohttp.ClientError, OSError, TimeoutError, JsonError) as error:
            return 0, {"detail": f"The gateway does not respond: {type(error).__name__}."}, 0.0
