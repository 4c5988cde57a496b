"""The job of a batch. It works for some seconds at a time, so that other jobs of its queue do not wait for it."""

import asyncio
import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import IO, Any

import aiohttp
import django_rq
from django.conf import settings
from django.db import transaction
from redis.exceptions import RedisError

from evaluation.inference.endpoint_keys import endpoint_config
from serving.batches import lines, services
from serving.batches.lines import Line
from serving.gateway.tokens import issue_pass
from serving.models import BatchRun, Deployment, Replica
from slmstudio.contract.json_text import JsonError, dumps, loads
from slmstudio.database.transactions import with_retries
from slmstudio.errors import Refused
from slmstudio.runs import supervisor
from slmstudio.runs.reaper import reap_lost_runs
from slmstudio.storage.artifacts import local_path

logger = logging.getLogger(__name__)
#: seconds until it lets other jobs of the queue run
SLICE_SECONDS = 20.0
#: seconds between two updates of the progress, which are heartbeats too
_PROGRESS_SECONDS = 1.0
_PASS_SECONDS = 60.0
MAX_CONCURRENCY = 32
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


def run_batch(pk: int) -> None:
    """Answers lines of a batch until it is done, or until it is the turn of others."""
    reap_lost_runs()
    run = BatchRun.objects.select_related("project", "token").filter(pk=pk).first()
    if run is None or not _claim(run):
        return
    try:
        _process(run)
    except Stop as stop:
        _end(run, stop=stop)
    except FileNotFoundError:
        _end(run, stop=Stop("input", "The input of the batch is missing from the artifact store."))
    except Exception as error:
        logger.exception("batch %s failed", pk)
        _end(run, stop=Stop("internal", f"The batch failed: {type(error).__name__}: {str(error)[:300]}."))


def _claim(run: BatchRun) -> bool:
    """Attempts count from the last one that made progress."""
    if run.facts.get("done") != run.progress_done:
        run.facts = {"attempts": 0, "done": run.progress_done}
    return run.claim_attempt()


def _process(run: BatchRun) -> None:
    source, target = local_path(run.input_key), local_path(run.result_key)
    done = lines.done_lines(target)
    waiting = (line for line in lines.read(source) if line.number not in done)
    with target.open("ab") as file:
        work = _Slice(run, waiting, file, len(done))
        work.supervise()
    if work.is_lost:
        return
    if work.is_cancelled:
        _end(run, cancelled=True)
    elif work.done >= run.progress_total:
        _end(run)
    else:
        work.report()
        with_retries(lambda: run.release_attempt() if supervisor.stop_requested() else run.return_to_queue(first=False))


class _Slice:
    """The turn of a batch: its lines are sent to the gateway, as many at the same time as live traffic leaves room for.

    The event loop has a thread of its own; the database is asked in the thread of the job.
    """

    def __init__(self, run: BatchRun, waiting: Iterator[Line], file: IO[bytes], done: int) -> None:
        self.run, self.file, self.done = run, file, done
        self.is_cancelled = self.is_lost = False
        self._lines = waiting
        self._url = f"{str(settings.GATEWAY_URL).rstrip('/')}/api/v1/projects/{run.project.slug}/extract"
        self._is_over = False
        self._stopped: Stop | None = None
        self._away_since = 0.0
        self._authorization, self._authorized_until = "", 0.0

    def supervise(self) -> None:
        """Sends lines, and reports the progress. Raises Stop."""
        until, concurrency = time.monotonic() + SLICE_SECONDS, _concurrency(self.run)
        self._authorize()
        with ThreadPoolExecutor(1, thread_name_prefix="batch") as pool:
            sending = pool.submit(lambda: asyncio.run(self._send(concurrency)))
            try:
                while not wait([sending], _PROGRESS_SECONDS).done:
                    self.report()
                    self._authorize()
                    if time.monotonic() > until and _others_wait(self.run):
                        self._is_over = True
            finally:
                self._is_over = True
            sending.result()
        if self._stopped is not None:
            raise self._stopped

    @property
    def _goes_on(self) -> bool:
        """Whether the next line is sent."""
        has_ended = self._is_over or self.is_cancelled or self.is_lost or self._stopped is not None
        return not (has_ended or supervisor.stop_requested())

    async def _send(self, concurrency: int) -> None:
        timeout = aiohttp.ClientTimeout(total=float(settings.GATEWAY_TIMEOUT_SECONDS) + 10, connect=2.0)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as client:
            await asyncio.gather(*(self._work(client) for _ in range(concurrency)))

    async def _work(self, client: aiohttp.ClientSession) -> None:
        while self._goes_on:
            line = next(self._lines, None)
            if line is None:
                return
            if line.error:
                self._write((line, None, {"status": 422, "code": line.code, "detail": line.error}))
                continue
            try:
                result = await self._answer(client, line)
            except Stop as stop:
                self._stopped = stop
                return
            if result is not None:
                self._write(result)

    async def _answer(self, client: aiohttp.ClientSession, line: Line) -> Result | None:
        """The result of a line; None where the batch stops before it has one."""
        pause, timeouts = BUSY_SECONDS, 0
        while self._goes_on:
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
        body = {"text": line.text, "evidence": self.run.evidence, "caller": line.caller}
        if line.page is not None:
            body["page"] = line.page
        headers = {"Authorization": self._authorization, "Content-Type": "application/json"}
        try:
            async with client.post(self._url, data=dumps(body), headers=headers) as response:
                text = await response.text()
                retry_after = response.headers.get("Retry-After", "")
                return response.status, loads(text), float(retry_after) if retry_after.isdecimal() else 0.0
        except (aiohttp.ClientError, OSError, TimeoutError, JsonError) as error:
            return 0, {"detail": f"The gateway does not respond: {type(error).__name__}."}, 0.0

    def _write(self, result: Result) -> None:
        """Stores a result: the kernel has it when this returns."""
        line, response, error = result
        self.file.write(lines.result_line(line, response, error))
        self.file.flush()
        self.done += 1
        if response is not None:
            self.run.answered += 1
        else:
            self.run.failed += 1

    def report(self) -> None:
        """Stores the progress, as a heartbeat."""
        progress = {
            "progress_done": self.done, "answered": self.run.answered, "failed": self.run.failed, "stage": "answering"
        }  # fmt: skip
        if not with_retries(lambda: self.run.send_heartbeat(**progress)):
            self.is_cancelled = self.run.is_owned()
            self.is_lost = not self.is_cancelled

    def _authorize(self) -> None:
        """A pass of the token that started the batch, as long as that is valid. Raises Stop."""
        now = time.monotonic()
        if now < self._authorized_until:
            return
        token = self.run.token
        if token is not None:
            with_retries(token.refresh_from_db)
            if token.has_ended:
                raise Stop("invalid_token", "The token that started the batch is revoked or expired.")
        signed = issue_pass(self.run.project.slug, token_id=self.run.token_id, is_batch=True)
        self._authorization, self._authorized_until = f"Bearer {signed}", now + _PASS_SECONDS


def _others_wait(run: BatchRun) -> bool:
    try:
        return bool(django_rq.get_queue(run.queue()).count)
    except RedisError:
        return False


def _concurrency(run: BatchRun) -> int:
    """One less than the documents that the deployment answers at the same time, so that one place is free."""
    deployment = Deployment.objects.select_related("stable__endpoint").filter(project=run.project).first()
    release = deployment.stable or deployment.candidate if deployment is not None else None
    if release is None:
        return 1
    if release.endpoint is not None:
        try:
            slots = endpoint_config(release.endpoint).concurrency
        except Refused:
            slots = 1
    else:
        slots = Replica.objects.ready().filter(release=release).count() * int(settings.REPLICA_SLOTS)
    return max(1, min(slots - 1, MAX_CONCURRENCY))


def _end(run: BatchRun, *, stop: Stop | None = None, cancelled: bool = False) -> None:
    """Ends a batch, with its result in the order of the input."""
    path = local_path(run.result_key)
    if path.exists():
        run.answered, run.failed = lines.sort(path)
    counts: dict[str, Any] = {
        "answered": run.answered, "failed": run.failed, "progress_done": run.answered + run.failed
    }  # fmt: skip

    def end() -> None:
        with transaction.atomic():
            if stop is not None:
                ended = run.fail(stop.detail, code=stop.code, **counts)
            elif cancelled:
                ended = run.cancelled(**counts)
            else:
                ended = run.finish(**counts)
            if ended:
                services.emit(run)

    with_retries(end)
