"""A day of made-up traffic in an accelerated clock: ``python -m bench.serving_day [--per-hour N] [--seed N]``.

The rule of rollouts (``serving.rollouts.watch``) and the rules of alerts are the real ones, on a real PostgreSQL; only
the clock and the requests are made. Requests arrive at random, most of them by day, and are split as the gateway
splits them. On that day: a canary that fails six times as often as the stable version, one that is too slow, a good one
that starts in shadow, and an outage of half an hour. Exits with 1 where the day did not go as it should.
"""

import argparse
import hashlib
import math
import os
import random
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.timing import table
from slmstudio.stack import environment
from slmstudio.stack.environment import ROOT

if TYPE_CHECKING:
    from serving.models import Deployment, Release, RequestLog
    from tests.evaluation.factories import World

STEP = timedelta(minutes=1)
#: of the stable version: share of failed requests, median latency and its spread
FAILURE_RATE, MEDIAN_MS, SPREAD = 0.01, 220.0, 0.45
BAD_RATE, SLOW_FACTOR, P95_MS = 0.06, 3.0, 900
OUTAGE_RATE = 0.4


@dataclass(frozen=True)
class Model:
    """How a version behaves."""

    failure_rate: float = FAILURE_RATE
    slower: float = 1.0


@dataclass
class Day:
    """The clock, the models by release, what happened."""

    world: "World"
    started: datetime
    per_hour: float
    chance: random.Random
    now: datetime
    models: dict[int, Model] = field(default_factory=dict)
    requests: int = 0
    failed: int = 0
    lines: list[tuple[str, ...]] = field(default_factory=list)
    seen: set[int] = field(default_factory=set)
    #: metric, what happened, hour
    alarms: dict[int, tuple[str, str, float]] = field(default_factory=dict)
    outage: tuple[float, float] = (20.0, 20.5)

    @property
    def hour(self) -> float:
        """Hours since the beginning."""
        return (self.now - self.started).total_seconds() / 3_600

    def clock(self) -> datetime:
        """The time of the day, for everything that asks Django."""
        return self.now

    def say(self, what: str, detail: str = "") -> None:
        """A line of the table."""
        at = f"{int(self.hour):02}:{int(self.hour * 60) % 60:02}"
        self.lines.append((at, what, f"{self.requests:,}", f"{self.failed:,}", detail[:110]))

    def traffic(self, deployment: "Deployment") -> None:
        """The requests of one step, as the gateway logs them."""
        from serving.models import RequestLog

        shape = 1 - 0.85 * math.cos(2 * math.pi * (self.hour - 2) / 24)  # the fewest at two o'clock
        mean = self.per_hour / 60 * shape
        number = max(0, round(self.chance.gauss(mean, math.sqrt(mean))))
        rows: list[RequestLog] = []
        for _ in range(number):
            rows += self._request(deployment)
        RequestLog.objects.bulk_create(rows)
        self.requests += number
        self.failed += sum(row.status >= 500 and row.shadow_of is None for row in rows)

    def _request(self, deployment: "Deployment") -> Iterator["RequestLog"]:
        from serving.gateway.routes import position

        key = hashlib.sha256(self.chance.randbytes(8)).hexdigest()
        stable, candidate, stage = deployment.stable, deployment.candidate, deployment.stage
        assert stable is not None
        is_candidate = candidate is not None and stage != "shadow" and position(key) < deployment.share
        release = candidate if is_candidate and candidate is not None else stable
        at = self.now + STEP * self.chance.random()
        first = self._row(release, at, key, stage, "candidate" if is_candidate else "stable")
        yield first
        if stage == "shadow" and candidate is not None:
            yield self._row(candidate, at, key, stage, "candidate", shadow_of=first.id)

    def _row(self, release: "Release", at: datetime, key: str, stage: str, source: str, **more: Any) -> "RequestLog":
        from serving.models import RequestLog

        model = self.models.get(release.pk, Model())
        is_out = self.outage[0] <= self.hour < self.outage[1]
        is_failed = self.chance.random() < (OUTAGE_RATE if is_out else model.failure_rate)
        total_ms = MEDIAN_MS * model.slower * math.exp(self.chance.gauss(0, SPREAD))
        return RequestLog(
            id=uuid.UUID(int=self.chance.getrandbits(128)), day=at.astimezone(UTC).date(), created_at=at,
            project_id=self.world.project.pk, release=release, stage=stage, source=source, protocol="extract",
            key_sha256=key, total_ms=total_ms, model_ms=total_ms - 2, valid=not is_failed,
            status=502 if is_failed else 200, code="invalid_output" if is_failed else "", prompt_tokens=300,
            output_tokens=40, **more,
        )  # fmt: skip


def main() -> int:
    """Lives through the day, prints it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--per-hour", type=float, default=4_000, help="requests, on average")
    parser.add_argument("--seed", type=int, default=14)
    options = parser.parse_args()
    for variable in ("DATABASE_URL", "REDIS_URL", "DATABASE_OWNER_URL"):
        os.environ.pop(variable, None)
    home = Path(tempfile.mkdtemp(prefix="slm-day-"))
    os.environ |= {
        "SLM_HOME": str(home),
        "DJANGO_SETTINGS_MODULE": "slmstudio.settings",
        "SECRET_KEY": "abcdefgh" * 4,
    }
    try:
        with environment.servers():
            subprocess.run([sys.executable, "manage.py", "migrate", "--verbosity=0"], cwd=ROOT, check=True)
            os.environ.pop("DATABASE_OWNER_URL", None)
            problems = _live(home, options.per_hour, options.seed)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    for problem in problems:
        print(f"NOT AS PROMISED: {problem}")
    return 1 if problems else 0


def _live(home: Path, per_hour: float, seed: int) -> list[str]:
    import django

    django.setup()
    from django.db import connections
    from django.utils import timezone

    from serving.models import DeploymentEvent, Replica, Rollout, RolloutPlan
    from tests.evaluation.factories import make_world
    from tests.serving.rollouts.rows import current, deployed

    started = timezone.now()
    world = make_world(home / "small-base", documents=24, holdout=12)
    day = Day(world, started, per_hour, random.Random(seed), started)
    real = timezone.now
    timezone.now = day.clock
    for model, name in ((DeploymentEvent, "created_at"), (Rollout, "began_at")):
        field: Any = model._meta.get_field(name)
        field.default = day.clock
    try:
        deployment = deployed(world)
        RolloutPlan.objects.create(deployment=deployment, auto_promote=True, p95_ms=P95_MS)
        day.say("deployed", str(deployment.stable))
        check = _checks()
        plan: dict[float, Callable[[], None]] = {
            2.0: lambda: _candidate(day, "canary", Model(BAD_RATE), "a canary that fails 6%"),
            6.0: lambda: _candidate(day, "canary", Model(slower=SLOW_FACTOR), "a canary that is three times as slow"),
            9.0: lambda: _candidate(day, "shadow", Model(), "a good one, in shadow"),
        }
        while day.hour < 24:
            for hour in [hour for hour in plan if day.hour >= hour]:
                plan.pop(hour)()
            day.traffic(current(world))
            day.now += STEP
            Replica.objects.update(heartbeat_at=real() + timedelta(days=2))
            for one in check:
                one(day.now)
            _note(day)
        day.say("the day is over")
        heads = ("time", "what", "requests", "failed", "why")
        print(table(f"24 hours, {per_hour:,.0f} requests an hour on average, seed {seed}", heads, day.lines))
        return _problems(day)
    finally:
        timezone.now = real
        connections.close_all()


def _checks() -> list[Callable[[datetime], Any]]:
    """What ``manage.py serve`` does again and again."""
    from serving.deployments import services
    from serving.models import Deployment
    from serving.monitoring.alerts import check_all
    from serving.monitoring.figures import count_marked
    from serving.rollouts import watch

    def settle(now: datetime) -> None:
        for deployment in Deployment.objects.all():
            services.finish_promotion(deployment)

    return [settle, watch.check_all, count_marked, check_all]


def _candidate(day: Day, stage: str, model: Model, title: str) -> None:
    from serving.deployments import services
    from tests.serving.factories import answering, approved_report
    from tests.serving.rollouts.rows import current

    before = current(day.world)
    assert before.candidate is None, f"{before.candidate} is still the candidate"
    found = services.deploy(
        project=day.world.project, user=day.world.engineer, stage=stage, report=approved_report(day.world)
    )
    assert found.candidate is not None
    answering(found.candidate)
    day.models[found.candidate.pk] = model
    day.say(f"{found.candidate}: {title}")


def _note(day: Day) -> None:
    """Changes that the application made since the last step, and its alarms."""
    from serving.models import AlertEvent, DeploymentEvent

    for alarm in AlertEvent.objects.exclude(pk__in=day.alarms).order_by("pk"):
        day.alarms[alarm.pk] = (alarm.metric, alarm.kind, day.hour)
        day.say(f"alarm {alarm.metric}: {alarm.get_kind_display()}", alarm.sentence)
    for event in DeploymentEvent.objects.filter(user=None).exclude(pk__in=day.seen).order_by("pk"):
        day.seen.add(event.pk)
        share = f" to {event.share:.0%}" if event.kind == "promoted" else ""
        what = f"{event.get_kind_display()}{share}" if event.share or not share else "is the stable version"
        day.say(f"{event.release} {what}", event.reason)


def _problems(day: Day) -> list[str]:
    """What did not go as it should."""
    from serving.models import DeploymentEvent, Rollout
    from tests.serving.rollouts.rows import current

    found = []
    bad, slow, good = Rollout.objects.order_by("pk")
    if bad.outcome != "aborted" or bad.code not in ("fails_more", "over_limit"):
        found.append(f"the bad canary: {bad.outcome} {bad.code}")
    if (slow.outcome, slow.code) != ("aborted", "slow"):
        found.append(f"the slow canary: {slow.outcome} {slow.code}")
    deployment = current(day.world)
    if good.outcome != "promoted" or deployment.stable_id != good.candidate_id:
        found.append(f"the good candidate: {good.outcome} {good.reason}")
    if DeploymentEvent.objects.filter(kind="aborted").count() != 2:
        found.append("something else was aborted")
    failures = [(kind, hour) for metric, kind, hour in day.alarms.values() if metric == "failures"]
    begins, ends = day.outage
    if [kind for kind, _ in failures] != ["firing", "resolved"]:
        found.append(f"alarms about failures: {failures}")
    elif not (begins < failures[0][1] < begins + 0.3 and ends < failures[1][1] < ends + 1):
        found.append(f"the alarm about the outage at {begins:g} came at {failures[0][1]:.2f} to {failures[1][1]:.2f}")
    return found


if __name__ == "__main__":
    sys.exit(main())
