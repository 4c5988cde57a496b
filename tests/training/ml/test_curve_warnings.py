"""Warnings about curves."""

import json
import math

import pytest

from training.ml.loop.curve_warnings import TrainingMonitor


def warnings_of(losses: list[float]) -> list[str]:
    watch = TrainingMonitor()
    return [message for loss in losses for message in watch.train(loss)]


def falling(steps: int) -> list[float]:
    return [4 * 0.95**step for step in range(steps)]


def test_a_normal_loss_has_no_warning_and_a_spike_one() -> None:
    assert warnings_of(falling(100)) == []
    messages = warnings_of([*falling(40), 9.0, 9.0, *falling(20)])
    assert len(messages) == 1
    assert "Loss spike" in messages[0]


def test_flat_and_rising_losses_are_warned_of() -> None:
    assert ["too low" in message for message in warnings_of([2.0] * 60)] == [True]
    assert ["too high" in message for message in warnings_of([2.0 + step / 20 for step in range(60)])] == [True]


@pytest.mark.parametrize(("scale", "warned"), [(1.0, [True]), (1e-4, [])])
def test_overfitting_is_warned_once_and_not_near_zero(scale: float, warned: list[bool]) -> None:
    watch = TrainingMonitor()
    messages = []
    for step, validation in enumerate([1.0, 0.8, 0.9, 1.0, 1.1], start=1):
        for loss in falling(60)[10 * step - 10 : 10 * step]:
            list(watch.train(loss))
        messages += list(watch.validation(scale * validation))
    assert ["Overfitting" in message for message in messages] == warned


def test_nan_validation_loss_is_warned_once() -> None:
    watch = TrainingMonitor()
    messages = [message for _ in range(3) for message in watch.validation(math.nan)]
    assert ["not a number" in message for message in messages] == [True]


def test_slowdown_is_warned_once() -> None:
    watch = TrainingMonitor()
    rates = [*[900.0, 1100.0] * 20, *[400.0] * 60]
    messages = [message for rate in rates for message in watch.speed(rate)]
    assert len(messages) == 1
    assert "from 1,000 to 400 tokens per second" in messages[0]


def test_memory_near_the_limit_is_warned_once() -> None:
    watch = TrainingMonitor(memory_limit=8_000_000_000)
    messages = [message for used in (7_000_000_000, 7_500_000_000, 7_900_000_000) for message in watch.memory(used)]
    assert len(messages) == 1
    assert "7.5 GB of 8.0 GB" in messages[0]
    assert list(TrainingMonitor(None).memory(10**12)) == []


def test_restored_monitor_warns_as_before() -> None:
    losses = [*falling(30), 9.0, *falling(20), 9.0]
    for cut in (5, 15, 31, 40):
        first = TrainingMonitor()
        before = [message for loss in losses[:cut] for message in first.train(loss)]
        second = TrainingMonitor()
        second.restore(json.loads(json.dumps(first.state())))
        after = [message for loss in losses[cut:] for message in second.train(loss)]
        assert before + after == warnings_of(losses)
