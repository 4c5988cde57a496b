"""What tells runs apart: only what differs, in words. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from training.runs.presets import TITLES, Knobs, say


@dataclass(frozen=True)
class Side:
    """One run: what it rests on by title (``Base model``, ``Dataset``, ``Prompt``, ...) and its knobs.

    ``knobs`` is None where the spec is of a form that nobody knows any more.
    """

    facts: Mapping[str, str]
    knobs: Knobs | None


@dataclass(frozen=True)
class Difference:
    """One line of the difference: what it is about and what each run has, in the order of the runs."""

    title: str
    values: tuple[str, ...]


def differences(sides: Sequence[Side]) -> list[Difference]:
    """Only what is not the same in all of the runs; what they rest on first, then the knobs."""
    titles = list(dict.fromkeys(title for side in sides for title in side.facts))
    lines = [Difference(title, tuple(side.facts.get(title, "–") for side in sides)) for title in titles]
    for name, title in TITLES.items():
        lines.append(Difference(title, tuple(_said(name, side.knobs) for side in sides)))
    return [line for line in lines if len(set(line.values)) > 1]


def _said(name: str, knobs: Knobs | None) -> str:
    if knobs is None or (name.startswith("lora_") and knobs.method == "full"):
        return "–"
    return say(name, knobs)
