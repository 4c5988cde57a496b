"""The routes of a gateway while the database is away and after."""

from types import SimpleNamespace
from typing import Any

import pytest
from django.conf import settings
from django.db import OperationalError

from serving.gateway import routes
from serving.gateway.routes import Route, RouteTable
from tests.serving import event_loop
from tests.serving.gateway.rig import release, route


def test_after_an_outage_replicas_get_time_to_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their heartbeats are as old as the outage, although they have answered all the time."""
    now, asked = [1_000.0], []
    stored: Any = {"invoices": route(release(1, "unix:/a"))}

    def read(*, without_heartbeat: bool = False) -> dict[str, Route]:
        asked.append(without_heartbeat)
        if isinstance(stored, Exception):
            raise stored
        return dict(stored)

    monkeypatch.setattr(routes, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(routes, "_routes", read)
    read_addresses: list[set[str]] = []
    table = RouteTable(on_read=read_addresses.append)

    def refresh(seconds: float) -> bool:
        now[0] += seconds
        event_loop.run(table.refresh())
        assert table.get("invoices") is not None
        return asked[-1]

    lost = settings.REPLICA_LOST_AFTER_SECONDS
    assert [refresh(0), refresh(2), refresh(2)] == [False, False, False]
    assert read_addresses[-1] == {"unix:/a"}
    known, stored = stored, OperationalError("away")
    for _ in range(20):
        refresh(2)
    stored = known
    assert [refresh(2), refresh(5), refresh(lost - 11)] == [True, True, True]
    assert refresh(7) is False
