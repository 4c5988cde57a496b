"""The job of a batch. It works for some seconds at a time, so that other jobs of its queue do not wait for it."""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor, wait
from typing import IO, Any

import django_rq
from django.conf import settings
from django.db import transaction
from redis.exceptions import RedisError

from evaluation.inference.endpoint_keys import endpoint_config
from serving.batches import lines, services
from serving.batches.sender import Result, Sender, Stop
from serving.gateway import passes
from serving.models import BatchRun, Deployment, Replica
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
        work = _Slice(run, file, len(done))
        sender = Sender(
            url=f"{str(settings.GATEWAY_URL).rstrip('/')}/api/v1/projects/{run.project.slug}/extract",
            authorization=work.authorization, evidence=run.evidence, concurrency=_concurrency(run),
            timeout=float(settings.GATEWAY_TIMEOUT_SECONDS) + 10, write=work.write, goes_on=work.goes_on,
        )  # fmt: skip
        work.supervise(lambda: sender.send(waiting))
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
    """The turn of a batch. The event loop has a thread of its own; the database is asked in the thread of the job."""

    def __init__(self, run: BatchRun, file: IO[bytes], done: int) -> None:
        self.run, self.file, self.done = run, file, done
        self.is_cancelled = self.is_lost = False
        self._is_over = False
        self._authorization, self._authorized_until = "", 0.0

    def supervise(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Runs the coroutine that ``work`` makes, and reports its progress. Raises Stop."""
        until = time.monotonic() + SLICE_SECONDS
        self._authorize()
        with ThreadPoolExecutor(1, thread_name_prefix="batch") as pool:
            sending = pool.submit(lambda: asyncio.run(work()))
            try:
                while not wait([sending], _PROGRESS_SECONDS).done:
                    self.report()
                    self._authorize()
                    if time.monotonic() > until and _others_wait(self.run):
                        self._is_over = True
            finally:
                self._is_over = True
            sending.result()

    def goes_on(self) -> bool:
        """Whether the next line is sent."""
        return not (self._is_over or self.is_cancelled or self.is_lost or supervisor.stop_requested())

    def authorization(self) -> str:
        """The header of a request."""
        return self._authorization

    def write(self, result: Result) -> None:
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
        found = passes.issue(self.run.project.slug, token_id=self.run.token_id, is_batch=True)
        self._authorization, self._authorized_until = f"Bearer {found}", now + _PASS_SECONDS


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
