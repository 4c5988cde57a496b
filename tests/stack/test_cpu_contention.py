"""The CPU load of other programs, and the warning about slow runs."""

import subprocess
import sys
from typing import Any

import pytest

from slmstudio.runs import cpu_contention
from slmstudio.runs.cpu_contention import OtherProcessLoad, Seconds, slow_warning


def test_other_process_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_contention, "WINDOW_SECONDS", -1)
    readings = iter([Seconds(0, 100, 10), Seconds(10, 118, 13), Seconds(20, 120, 20), Seconds(30, 160, 1)])
    load = OtherProcessLoad(now=lambda: next(readings), cores=2)
    assert load.read() == {"others": 1.5, "cores": 2}
    assert load.read() == {"others": 0, "cores": 2}
    assert load.read() is None, "a child that has ended took its seconds with it"


def test_ended_children_count_as_own_load() -> None:
    before = cpu_contention._now().own
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    subprocess.run([sys.executable, "-c", burn], check=True)
    assert cpu_contention._now().own - before >= 0.25


def test_readings_have_a_minimum_window() -> None:
    assert OtherProcessLoad().read() is None


BUSY, IDLE = {"others": 1.7, "cores": 2.0}, {"others": 0.1, "cores": 2.0}


@pytest.mark.parametrize(
    ("measured", "expected", "load", "named"),
    [
        (8, 60, BUSY, (True, True)),
        (8, 60, IDLE, (True, False)),
        (8, 60, None, (True, False)),
        (31, 60, BUSY, (False, False)),
        (None, 60, BUSY, (False, False)),
        (8, None, BUSY, (False, False)),
    ],
)
def test_slow_warning(measured: Any, expected: Any, load: Any, named: tuple[bool, bool]) -> None:
    """It names the speed, and other programs where they use the cores."""
    warning = slow_warning(measured, expected, load, estimate="estimated")
    assert ("8.0" in warning, "1.7 of 2 cores" in warning) == named
