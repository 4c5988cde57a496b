"""Keeps the replicas of one host as the deployments want them: starts, restarts, checks and drains them."""

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import DatabaseError
from django.db.models.functions import Now
from django.utils import timezone

from serving.deployments.services import finish_promotion
from serving.engines import VARIABLES
from serving.models import Deployment, Package, Release, Replica, ReplicaCrash
from serving.packages.documents.manifest import verify_signature
from serving.packages.exchange import place_of, pull
from serving.replicas.addresses import accepted_secrets, host_name, new_address
from serving.replicas.changes import announce
from serving.replicas.protocol import SECRET_VARIABLE
from slmstudio.errors import Refused
from slmstudio.runs.child_environment import child_environment
from slmstudio.runs.exit_messages import explain_exit
from slmstudio.runs.path_redaction import redact_paths
from slmstudio.stack.errors import StackError
from slmstudio.stack.supervisor import restart_delay
from slmstudio.storage.artifacts import local_path


class ReplicaProcess:
    """A child of ``serving.ml.replica``. ``identity`` is what it reported once it answered."""

    #: what runs; load and fault tests put a replica without a model here
    module = "serving.ml.replica"

    def __init__(self, folder: Path, *, sha256: str, address: str, slots: int, log: Path, variant: str = "") -> None:
        self.address = address
        self.started = time.monotonic()
        self.identity: dict[str, str] = {}
        self.error = ""
        self._log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as errors:
            self._since = errors.seek(0, os.SEEK_END)
            self._child = subprocess.Popen(
                [
                    *(sys.executable, "-m", self.module, str(folder)),
                    *("--address", address, "--sha256", sha256, "--slots", str(slots)),
                    *(("--variant", variant) if variant else ()),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=settings.BASE_DIR,
                env={
                    **child_environment(VARIABLES),
                    "PYTHONUNBUFFERED": "1",
                    SECRET_VARIABLE: " ".join(accepted_secrets()),
                },
                start_new_session=True,
            )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def is_running(self) -> bool:
        """Whether the process has not ended."""
        return self._child.poll() is None

    @property
    def failure(self) -> str:
        """Why it ended, as a sentence."""
        self._reader.join(2)
        code = self._child.poll()
        reason = self.error or explain_exit(1 if code is None else code, self._log, since=self._since)
        return redact_paths(reason)

    def drain(self) -> None:
        """Asks it to finish its documents and to end."""
        with contextlib.suppress(ProcessLookupError):
            self._child.send_signal(signal.SIGTERM)

    def end(self, patience: float) -> None:
        """Drains it; kills it after ``patience`` seconds."""
        self.drain()
        try:
            self._child.wait(patience)
        except subprocess.TimeoutExpired:
            pass
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._child.pid, signal.SIGKILL)
        self._child.wait()

    def _read(self) -> None:
        assert self._child.stdout is not None
        for line in self._child.stdout:
            try:
                event: dict[str, Any] = json.loads(line)
            except ValueError:
                continue
            if event.get("event") == "ready":
                self.identity = dict(event["identity"])
            elif event.get("event") == "error":
                self.error = str(event.get("message"))


@dataclass
class PackageFetcher:
    """Copies run in threads, so that the supervisor goes on with other packages."""

    _threads: dict[int, threading.Thread] = field(default_factory=dict)
    _errors: dict[int, Refused] = field(default_factory=dict)

    def is_here(self, package: Package) -> bool:
        """Whether the files of a package are on this host; where they are not, they are being copied.

        Raises:
            Refused: the copy failed, once; the next call tries again.
        """
        if not settings.PACKAGE_STORE or local_path(package.folder_key).is_dir():
            return True
        thread = self._threads.get(package.pk)
        if thread is None:
            place, target = place_of(package.project.slug, package.number), local_path(package.folder_key)
            thread = threading.Thread(target=self._copy, args=(package.pk, place, target, package.sha256), daemon=True)
            self._threads[package.pk] = thread
            thread.start()
        elif not thread.is_alive():
            del self._threads[package.pk]
            if error := self._errors.pop(package.pk, None):
                raise error
        return False

    def _copy(self, pk: int, place: str, target: Path, sha256: str) -> None:
        try:
            pull(place, target, sha256=sha256)
        except Refused as refused:
            self._errors[pk] = refused


logger = logging.getLogger(__name__)
State = Replica.State
Slot = tuple[int, int]  # release, number on the host
#: seconds that a replica has for its open requests when it is drained
DRAIN_SECONDS = 60.0
_STORED = ("state", "address", "pid", "identity", "error", "starts", "started_at")


@dataclass
class _Slot:
    """A replica of this host and its process."""

    row: Replica
    process: ReplicaProcess | None = None
    failures: int = 0
    start_at: float = 0.0
    draining_since: float = field(default=0.0)


class HostSupervisor:
    """The replicas of this host. ``step`` is called every second."""

    def __init__(self) -> None:
        self.host = host_name()
        self._slots: dict[Slot, _Slot] = {}
        self._fetcher = PackageFetcher()
        # Processes of an earlier supervisor have ended with it.
        Replica.objects.filter(host=self.host).delete()

    def step(self) -> None:
        """One look at what is wanted and at what runs."""
        wanted = self._wanted()
        for key, release in wanted.items():
            if key not in self._slots:
                self._add(key, release)
        for key, slot in list(self._slots.items()):
            if key in wanted:
                slot.draining_since = 0.0
                self._keep(slot)
            else:
                self._drain(key, slot)
        self._finish_promotions()

    def stop(self) -> None:
        """Drains and ends everything."""
        for slot in self._slots.values():
            if slot.process is not None:
                slot.process.drain()
            with contextlib.suppress(DatabaseError):
                self._store(slot, state=State.DRAINING)
        for slot in self._slots.values():
            if slot.process is not None:
                slot.process.end(settings.SERVE_STOP_SECONDS)
        with contextlib.suppress(DatabaseError):  # the next supervisor deletes them
            Replica.objects.filter(host=self.host).delete()
        announce()

    def _wanted(self) -> dict[Slot, Release]:
        """Replicas that this host should have: those of releases whose package is built."""
        wanted: dict[Slot, Release] = {}
        for deployment in Deployment.objects.with_releases():
            for release in deployment.serving:
                if release.package is not None and release.package.is_ready:
                    wanted |= {(release.pk, number): release for number in range(deployment.replicas)}
        return wanted

    def _add(self, key: Slot, release: Release) -> None:
        row = Replica.objects.create(
            release=release, host=self.host, slot=key[1], state=State.STARTING, heartbeat_at=timezone.now()
        )
        self._slots[key] = _Slot(row)

    def _keep(self, slot: _Slot) -> None:
        process, row = slot.process, slot.row
        if process is None:
            if time.monotonic() >= slot.start_at:
                self._start(slot)
            return
        if not process.is_running:
            slot.failures += 1
            slot.process, slot.start_at = None, time.monotonic() + restart_delay(slot.failures)
            logger.warning("%s ended: %s", row, process.failure)
            was_ready = row.state == State.READY
            self._store(slot, state=State.FAILED, error=process.failure, address="", pid=0)
            if was_ready:
                ReplicaCrash.objects.create(release=row.release, host=self.host, error=process.failure)
        elif process.identity and row.state != State.READY:
            self._check_identity(slot, process)
        else:
            if row.state == State.READY and time.monotonic() - process.started > settings.REPLICA_LOST_AFTER_SECONDS:
                slot.failures = 0
            self._beat(slot)

    def _start(self, slot: _Slot) -> None:
        package = slot.row.release.package
        assert package is not None
        try:
            if not self._fetcher.is_here(package):
                self._beat(slot)
                return
            verify_signature(package)
            address = new_address(f"{slot.row.release_id}-{slot.row.slot}")
        except (Refused, StackError) as refused:
            slot.failures += 1
            slot.start_at = time.monotonic() + restart_delay(slot.failures)
            self._store(slot, state=State.FAILED, error=str(refused))
            return
        slot.process = ReplicaProcess(
            local_path(package.folder_key),
            sha256=package.sha256,
            address=address,
            slots=settings.REPLICA_SLOTS,
            log=local_path(f"{package.folder_key}.serve.log"),
            variant=slot.row.release.variant,
        )
        self._store(
            slot, state=State.STARTING, address=address, pid=slot.process.pid, identity={},
            started_at=timezone.now(), starts=slot.row.starts + 1,
        )  # fmt: skip

    def _check_identity(self, slot: _Slot, process: ReplicaProcess) -> None:
        """READY only where the running process reports the package and the schema that were approved."""
        package = slot.row.release.package
        assert package is not None
        expected = {"package": package.sha256, "schema": package.eval_run.dataset.schema_version.compiled.hash}
        if slot.row.release.variant:
            expected["variant"] = slot.row.release.variant
        reported = {name: process.identity.get(name, "") for name in expected}
        if reported != expected:
            process.end(0)
            slot.process, slot.failures = None, slot.failures + 1
            slot.start_at = time.monotonic() + restart_delay(slot.failures)
            self._store(slot, state=State.FAILED, error="It does not serve the model that was approved.")
            return
        self._store(slot, state=State.READY, identity=process.identity, error="")

    def _drain(self, key: Slot, slot: _Slot) -> None:
        process = slot.process
        if process is not None and process.is_running:
            if not slot.draining_since:
                slot.draining_since = time.monotonic()
                # Gateways stop sending before the replica stops answering.
                self._store(slot, state=State.DRAINING)
                return
            waited = time.monotonic() - slot.draining_since
            if waited > settings.DRAIN_NOTICE_SECONDS:
                process.drain()
            if waited > DRAIN_SECONDS:
                process.end(0)
            return
        slot.row.delete()
        del self._slots[key]

    def _finish_promotions(self) -> None:
        """Candidates at stage full whose replicas answer become the stable release."""
        ready = {slot.row.release_id for slot in self._slots.values() if slot.row.state == State.READY}
        for deployment in Deployment.objects.filter(stage="full", candidate__in=ready).select_related("project"):
            finish_promotion(deployment)
            announce()

    def _store(self, slot: _Slot, **changes: object) -> None:
        for name, value in changes.items():
            setattr(slot.row, name, value)
        # All of them: what could not be stored while the database was away is stored now.
        row = {name: getattr(slot.row, name) for name in _STORED}
        Replica.objects.filter(pk=slot.row.pk).update(heartbeat_at=Now(), **row)
        announce()

    def _beat(self, slot: _Slot) -> None:
        Replica.objects.filter(pk=slot.row.pk).update(heartbeat_at=Now())
