"""Keeps the replicas of one host as the deployments want them: starts, restarts, checks and drains them."""

import contextlib
import logging
import time
from dataclasses import dataclass, field

from django.conf import settings
from django.db import DatabaseError
from django.db.models.functions import Now
from django.utils import timezone

from serving.deployments.services import finish_promotion
from serving.models import Deployment, Release, Replica, ReplicaCrash
from serving.packages.documents.manifest import verify_signature
from serving.replicas.addresses import host_name, new_address
from serving.replicas.changes import announce
from serving.replicas.child import ReplicaProcess
from serving.replicas.fetch import PackageFetcher
from slmstudio.errors import Refused
from slmstudio.stack.errors import StackError
from slmstudio.stack.programs import restart_delay
from slmstudio.storage.artifacts import local_path

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
        found = {name: process.identity.get(name, "") for name in expected}
        if found != expected:
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
