"""Where requests of each project go: a snapshot of deployments and replicas in memory, read again when they change."""

import asyncio
import contextlib
import hashlib
import logging
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import redis.asyncio
from django.conf import settings
from django.db import DatabaseError
from django.db.models import Count
from redis.exceptions import RedisError

from evaluation.inference.endpoint_keys import endpoint_config
from evaluation.models import Endpoint
from labeling.models import Project
from serving.budgets.usage import NO_LIMITS
from serving.confidence import policy as answer_policies
from serving.confidence.calibration import ConfidenceCalibration
from serving.confidence.policy import NO_POLICY, Policy
from serving.gateway.database import in_database
from serving.gateway.external_models import ExternalRoute
from serving.models import AnswerPolicy, Budget, CaptureKey, Deployment, Release, Replica, Stage
from serving.replicas.changes import CHANNEL
from slmstudio.contract.schema.compiled import CompiledSchema
from slmstudio.errors import Refused

logger = logging.getLogger(__name__)
REFRESH_SECONDS = 2.0
#: replicas with a heartbeat: project, version, state -> number
ReplicaCounts = dict[tuple[str, str, str], int]


@dataclass(frozen=True)
class ReleaseRoute:
    """A release and the addresses that answer for it now."""

    id: int
    number: int
    schema: CompiledSchema
    addresses: tuple[str, ...] = ()
    external: ExternalRoute | None = None
    confidence: ConfidenceCalibration | None = None
    fallback: ExternalRoute | None = None

    @property
    def can_answer(self) -> bool:
        return bool(self.addresses) or self.external is not None


@dataclass(frozen=True)
class Route:
    """The deployment of a project."""

    project_id: int
    slug: str
    stable: ReleaseRoute | None
    candidate: ReleaseRoute | None
    stage: str
    share: float
    max_queue: int
    retention_days: int
    capture: str = ""
    #: hashes of registered keys of callers
    caller_keys: frozenset[str] = frozenset()
    sticky: bool = False
    policy: Policy = NO_POLICY
    limits: Budget = NO_LIMITS

    def choose(self, key_sha256: str, number: int | None = None) -> tuple[ReleaseRoute | None, bool]:
        """The release that answers a request, and whether it is the candidate. ``number``: the caller names it.

        Traffic is split by a hash of the document or idempotency key, so the same document gets the same release.
        """
        if number is not None:
            named = next((release for release in self.answering if release.number == number), None)
            return named, named is not None and named is self.candidate
        candidate = self.candidate
        if candidate is None or not candidate.can_answer or self.stage == Stage.SHADOW:
            return self.stable, False
        if self.stable is None or not self.stable.can_answer or position(key_sha256) < self.share:
            return candidate, True
        return self.stable, False

    def other(self, release: ReleaseRoute) -> ReleaseRoute | None:
        """The release that answers callers where ``release`` has no replica that does."""
        return next((other for other in self.answering if other is not release and other.can_answer), None)

    @property
    def answering(self) -> list[ReleaseRoute]:
        """The releases that callers may name."""
        candidate = None if self.stage == Stage.SHADOW else self.candidate
        return [release for release in (self.stable, candidate) if release is not None]

    @property
    def shadow(self) -> ReleaseRoute | None:
        """The release that repeats every request without being seen."""
        candidate = self.candidate
        return candidate if self.stage == Stage.SHADOW and candidate is not None and candidate.can_answer else None


def position(key_sha256: str) -> float:
    """Where a key falls in [0, 1): uniform, and the same on every gateway."""
    return int(hashlib.sha256(f"split:{key_sha256}".encode()).hexdigest()[:13], 16) / 16**13


@dataclass
class RouteTable:
    """The routes of all projects by slug; the last snapshot stays while the database does not answer."""

    on_change: Callable[[], None] = lambda: None
    #: gets the addresses of all replicas after each reading
    on_read: Callable[[set[str]], None] = lambda addresses: None
    routes: dict[str, Route] = field(default_factory=dict)
    loaded: bool = False
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _read_at: float = 0.0
    #: after an outage of the database the supervisors need a moment to report that their replicas are alive
    _trust_until: float = 0.0

    def get(self, slug: str) -> Route | None:
        """The route of a project, None where nothing is deployed."""
        return self.routes.get(slug)

    def _addresses(self) -> set[str]:
        releases = [
            release
            for route in self.routes.values()
            for release in (route.stable, route.candidate)
            if release is not None
        ]
        return {address for release in releases for address in release.addresses}

    async def run(self) -> None:
        """Refreshes until it is cancelled."""
        listener = asyncio.create_task(self._listen())
        try:
            while True:
                await self.refresh()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), REFRESH_SECONDS)
                self._changed.clear()
        finally:
            listener.cancel()

    async def refresh(self) -> None:
        """Reads the snapshot again."""
        now = time.monotonic()
        try:
            if self.loaded and now - self._read_at > settings.REPLICA_LOST_AFTER_SECONDS / 2:
                self._trust_until = now + settings.REPLICA_LOST_AFTER_SECONDS
            trusted = now < self._trust_until
            self.routes = await in_database(lambda: _routes(without_heartbeat=trusted))
            self.loaded, self._read_at = True, time.monotonic()
            self.on_read(self._addresses())
        except DatabaseError:
            logger.warning("the database does not respond; requests go where they went before")
        except Exception:
            logger.exception("the routes could not be read; requests go where they went before")

    async def replicas(self) -> ReplicaCounts | None:
        """Replicas by state; None while the database does not answer."""
        try:
            return await in_database(_replica_counts, seconds=2.0)
        except DatabaseError:
            return None

    async def _listen(self) -> None:
        while True:
            try:
                client = redis.asyncio.Redis.from_url(settings.REDIS_URL)
                async with client.pubsub() as channel:
                    await channel.subscribe(CHANNEL)
                    async for message in channel.listen():
                        if message["type"] == "message":
                            self.on_change()
                            self._changed.set()
            except (RedisError, OSError):
                await asyncio.sleep(REFRESH_SECONDS)


def _replica_counts() -> ReplicaCounts:
    rows = Replica.objects.alive().values_list("release__project__slug", "release__number", "state")
    return {(slug, str(number), state): count for slug, number, state, count in rows.annotate(count=Count("pk"))}


def _routes(*, without_heartbeat: bool = False) -> dict[str, Route]:
    addresses: defaultdict[int, list[str]] = defaultdict(list)
    replicas = Replica.objects.filter(state=Replica.State.READY) if without_heartbeat else Replica.objects.ready()
    for release, address in replicas.order_by("pk").values_list("release_id", "address"):
        addresses[release].append(address)
    rows = list(Deployment.objects.with_releases().filter(project__deployment__isnull=False))
    policies, limits = (
        answer_policies.policies(row.pk for row in rows),
        {budget.project_id: budget for budget in Budget.objects.filter(token=None)},
    )
    keys: defaultdict[int, set[str]] = defaultdict(set)
    for project, sha256 in CaptureKey.objects.in_use().values_list("project_id", "sha256"):
        keys[project].add(sha256)
    return {
        row.project.slug: replace(
            _route(row, policies.get(row.pk), addresses, limits.get(row.project_id, NO_LIMITS)),
            caller_keys=frozenset(keys[row.project_id]),
        )
        for row in rows
    }


def _route(row: Deployment, policy: AnswerPolicy | None, addresses: dict[int, list[str]], limits: Budget) -> Route:
    applied, endpoint = answer_policies.applied(policy) if policy is not None else (NO_POLICY, None)
    known = answer_policies.calibrations(row.serving)

    def route(release: Release | None) -> ReleaseRoute | None:
        if release is None:
            return None
        if release.package is None:
            assert release.endpoint is not None
            schema = row.project.schema_version.compiled
            external = _external(release.endpoint, row.project, schema)
            fallback = _external(endpoint, row.project, schema) if endpoint != release.endpoint else None
            return ReleaseRoute(release.pk, release.number, schema, external=external, fallback=fallback)
        schema = release.package.eval_run.dataset.schema_version.compiled
        return ReleaseRoute(
            release.pk, release.number, schema, tuple(addresses.get(release.pk, ())),
            confidence=known.get(release.pk), fallback=_external(endpoint, row.project, schema),
        )  # fmt: skip

    return Route(
        project_id=row.project_id,
        slug=row.project.slug,
        stable=route(row.stable),
        candidate=route(row.candidate),
        stage=row.stage,
        share=row.share,
        max_queue=row.max_queue,
        retention_days=row.retention_days,
        capture=row.capture,
        sticky=row.sticky,
        policy=applied,
        limits=limits,
    )


def _external(endpoint: Endpoint | None, project: Project, schema: CompiledSchema) -> ExternalRoute | None:
    """How an external model is called now; its key is in the environment of the gateway."""
    if endpoint is None:
        return None
    config, problem = None, "It was removed."
    if endpoint.retired_at is None:
        try:
            config, problem = endpoint_config(endpoint), ""
        except Refused as error:
            problem = error.message
    return ExternalRoute(
        endpoint.pk, str(endpoint), config, project.contract.instruction, schema, problem, endpoint.price_in,
        endpoint.price_out,
    )  # fmt: skip
