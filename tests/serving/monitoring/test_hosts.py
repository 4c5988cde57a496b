"""GPUs by NVML, and the memory of replicas."""

import os
from types import SimpleNamespace
from typing import Any

import pytest
from django.utils import timezone

from serving.models import Deployment, HostSample
from serving.monitoring import hosts
from serving.replicas.addresses import host_name
from slmstudio.workers.hardware import Gpu, gpus
from tests.evaluation.factories import World
from tests.serving.factories import answering


class NoDriver(Exception):
    """As pynvml raises it."""


def nvml(*, load: Any = 40, fails: bool = False) -> Any:
    """A module like pynvml, with one GPU."""

    def init() -> None:
        if fails:
            raise NoDriver

    def rates(card: int) -> Any:
        if load is None:
            raise NoDriver
        return SimpleNamespace(gpu=load)

    return SimpleNamespace(
        NVMLError=NoDriver, nvmlInit=init, nvmlShutdown=lambda: None, nvmlDeviceGetCount=lambda: 1,
        nvmlDeviceGetHandleByIndex=lambda index: index, nvmlDeviceGetName=lambda card: "H100",
        nvmlDeviceGetUUID=lambda card: "GPU-1", nvmlDeviceGetUtilizationRates=rates,
        nvmlDeviceGetMemoryInfo=lambda card: SimpleNamespace(total=80, used=20),
    )  # fmt: skip


def test_gpus_are_read_from_the_driver() -> None:
    assert gpus(nvml()) == (Gpu(0, "GPU-1", "H100", memory_bytes=80, used_bytes=20, load=0.4),)
    assert gpus(nvml(load=None))[0].load is None
    assert gpus(nvml(fails=True)) == ()


def test_a_host_stores_what_its_replicas_use(
    world: World, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hosts, "gpus", tuple)
    release = deployment.stable
    assert release is not None
    now = timezone.now()
    answering(release, pid=os.getpid())
    hosts.sample(now)
    assert not HostSample.objects.exists()  # it is a replica of another host
    replica = answering(release, pid=os.getpid())
    type(replica).objects.filter(pk=replica.pk).update(host=host_name())
    hosts.sample(now)
    hosts.sample(now)
    [stored] = HostSample.objects.all()
    [used] = stored.replicas
    assert (used["project"], used["release"], used["slot"]) == (world.project.pk, release.pk, replica.slot)
    assert used["memory_bytes"] > 10_000_000
    assert [sample.host for sample in hosts.newest(now)] == [host_name()]
