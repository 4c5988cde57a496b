"""Parallel coordinates of the trials of a search, as lines for an SVG. Pure."""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from slmstudio.text.formatting import percent
from training.hyperparameters.display import TITLES, exact_text

if TYPE_CHECKING:
    from training.search.study import SearchSpec, Trial

WIDTH, HEIGHT, TOP, BOTTOM, SIDE = 720.0, 260.0, 34.0, 26.0, 60.0
#: shades of the lines, by field accuracy; the last is the best
SHADES = 5


Scale = Callable[[Any], float | None]


def parallel_coordinates(
    space: "SearchSpec", trials: "Sequence[Trial]", best: int | None = None
) -> dict[str, Any] | None:
    """A line for each complete or pruned trial over one axis for each parameter that varies, and field accuracy. None
    without such trials.
    """
    scored = [(trial.score, trial) for trial in trials if trial.state in ("complete", "pruned")]
    ended = sorted(((score, trial) for score, trial in scored if score is not None), key=lambda pair: pair[0])
    if not ended:
        return None
    low, high = ended[0][0], ended[-1][0]
    scales: list[tuple[str, str, Scale, list[tuple[Any, str]]]] = [
        *(
            (name, TITLES.get("effective_batch" if name == "batch" else name, name), *_scale(name, space))
            for name in ("method", "learning_rate", "epochs", "batch", "lora_r")
            if len(set(getattr(space, name))) > 1
        ),
        (
            "value",
            "Field accuracy",
            lambda value: (value - low) / (high - low) if high > low else 0.5,
            [(low, percent(low)), (high, percent(high))] if high > low else [(low, percent(low))],
        ),
    ]
    gap = (WIDTH - 2 * SIDE) / max(1, len(scales) - 1)
    places = {name: round(SIDE + index * gap, 1) for index, (name, *_) in enumerate(scales)}
    axes = [
        {"x": places[name], "title": title, "ticks": [(_y(scale(value)), text) for value, text in ticks]}
        for name, title, scale, ticks in scales
    ]
    lines = []
    for score, trial in ended:  # the best on top
        values = {**trial.parameters, "value": score}
        is_pruned = trial.state == "pruned"
        points = [(places[name], scale(values.get(name))) for name, _, scale, _ in scales]
        share = (score - low) / (high - low) if high > low else 1.0
        lines.append(
            {
                "points": " ".join(f"{x:g},{_y(at):g}" for x, at in points if at is not None),
                "shade": 1 + min(SHADES - 1, int(share * SHADES)),
                "is_pruned": is_pruned,
                "is_best": trial.number == best,
                "label": f"Trial {trial.number}: {percent(score)}{', pruned' if is_pruned else ''}",
            }
        )
    return {
        "axes": axes,
        "lines": lines,
        "width": WIDTH,
        "height": HEIGHT,
        "top": TOP,
        "bottom": HEIGHT - BOTTOM,
    }


def _y(share: float | None) -> float:
    """The place of a share of an axis, from its bottom."""
    return round(HEIGHT - BOTTOM - (share if share is not None else 0.5) * (HEIGHT - TOP - BOTTOM), 1)


def _scale(name: str, space: "SearchSpec") -> tuple[Scale, list[tuple[Any, str]]]:
    """Where a value of a parameter is on its axis, 0 to 1, and the ticks."""
    values = list(getattr(space, name))
    if name == "learning_rate":
        first, last = math.log(values[0]), math.log(values[1])
        return lambda value: (math.log(value) - first) / (last - first), [
            (value, exact_text(value)) for value in values
        ]
    if name == "epochs":
        return lambda value: (value - values[0]) / (values[1] - values[0]), [(value, str(value)) for value in values]
    ordered: list[Any] = values if name == "method" else sorted(values)
    if name == "lora_r" and "full" in space.method:
        ordered = [None, *ordered]  # full fine-tuning has no rank, and its lines must not cross the axis at one
    step = max(1, len(ordered) - 1)
    return lambda value: ordered.index(value) / step if value in ordered else None, [
        (value, {"full": "full", "lora": "LoRA", "qlora": "QLoRA", "None": "none"}.get(str(value), str(value)))
        for value in ordered
    ]
