"""GPUs and the memory of replicas on this host, sampled once a minute by ``manage.py serve``."""

from dataclasses import asdict
from datetime import datetime, timedelta

from django.db.models import QuerySet

from serving.models import HostSample, Replica
from serving.monitoring.figures import Window, floor
from serving.replicas.addresses import host_name
from slmstudio.workers.hardware import gpus, resident_bytes


def sample(now: datetime) -> None:
    """Stores what this host uses now; nothing where it has neither replicas nor GPUs."""
    host = host_name()
    rows = Replica.objects.alive().filter(host=host, pid__gt=0).order_by("release", "slot")
    replicas = [
        {"project": project, "release": release, "slot": slot, "memory_bytes": memory}
        for project, release, slot, pid in rows.values_list("release__project_id", "release_id", "slot", "pid")
        if (memory := resident_bytes(pid))
    ]
    cards = [asdict(card) for card in gpus()]
    if replicas or cards:
        HostSample.objects.update_or_create(
            host=host, minute=floor(now, 60), defaults={"gpus": cards, "replicas": replicas}
        )


def samples(window: Window, now: datetime) -> QuerySet[HostSample]:
    """One sample a point of the window, of each host, with the replicas of all projects."""
    minutes = [floor(start, 60) for start in window.starts(now)] + [floor(now, 60)]
    return HostSample.objects.filter(minute__in=minutes).order_by("host", "minute")


def newest(now: datetime) -> QuerySet[HostSample]:
    """The newest sample of each host, if it is from the last three minutes."""
    rows = HostSample.objects.filter(minute__gte=floor(now, 60) - timedelta(minutes=3))
    return rows.order_by("host", "-minute").distinct("host")
