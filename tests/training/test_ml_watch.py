"""Warnings in words."""

from training.ml.watch import Watch


def said(losses: list[float]) -> list[str]:
    watch = Watch()
    return [message for loss in losses for message in watch.train(loss)]


def falling(steps: int) -> list[float]:
    return [4 * 0.95**step for step in range(steps)]


def test_a_curve_as_it_should_be_says_nothing() -> None:
    assert said(falling(100)) == []


def test_a_jump_is_told_once() -> None:
    messages = said([*falling(40), 9.0, 9.0, *falling(20)])
    assert len(messages) == 1
    assert "jumped" in messages[0]


def test_a_loss_that_stays_is_told() -> None:
    assert ["too low" in message for message in said([2.0] * 60)] == [True]


def test_a_loss_that_rises_is_told() -> None:
    assert ["too high" in message for message in said([2.0 + step / 20 for step in range(60)])] == [True]


def test_learning_by_heart_is_told_once() -> None:
    watch = Watch()
    messages = []
    for step, validation in enumerate([1.0, 0.8, 0.9, 1.0, 1.1], start=1):
        for loss in falling(60)[10 * step - 10 : 10 * step]:
            list(watch.train(loss))
        messages += list(watch.validation(10 * step, validation))
    assert ["by heart" in message for message in messages] == [True]


def test_a_validation_loss_that_falls_says_nothing() -> None:
    watch = Watch()
    assert [list(watch.validation(step, 1.0 / step)) for step in range(1, 6)] == [[]] * 5
