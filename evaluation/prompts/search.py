"""Which prompts a search tries, and which one it keeps. Pure and deterministic.

One part at a time: instructions with the usual examples first, then other examples with the best instruction.
"""

import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from slmstudio.contract.json_text import dumps
from slmstudio.contract.schema.compiled import CompiledSchema

_VERBATIM = (
    "Copy each value exactly as it stands in the document, without changing, translating or completing it. Use null "
    "for a value that is not in the document."
)
_EXAMPLE_COUNTS = (0, 4, 8)
_MAX_LISTED_CLASSES = 100


@dataclass(frozen=True)
class Prompt:
    """An instruction and the keys of its few-shot examples."""

    instruction: str
    examples: tuple[int, ...]


@dataclass(frozen=True)
class Trial:
    """A prompt as it was measured: ``right`` of ``fields`` fields, ``exact`` documents, tokens, seconds, and the cost
    in the currency of the contract (None: unknown)."""

    prompt: Prompt
    right: int
    fields: int
    exact: int
    tokens: int
    seconds: float
    cost: float | None = None

    @property
    def accuracy(self) -> float:
        """Field accuracy."""
        return self.right / self.fields if self.fields else 0.0

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**asdict(self), "accuracy": self.accuracy}

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> "Trial":
        """The trial of ``as_dict``."""
        own = {item.name: values[item.name] for item in fields(cls) if item.name in values and item.name != "prompt"}
        prompt = values["prompt"]
        return cls(Prompt(prompt["instruction"], tuple(prompt["examples"])), **own)


@dataclass
class Space:
    """What a search varies: instructions, that of the contract first, and sets of examples, the usual one first."""

    instructions: Sequence[str]
    example_sets: Sequence[tuple[int, ...]]
    trials: list[Trial] = field(default_factory=list)

    def prompts(self) -> Iterator[Prompt]:
        """The prompts to try, each depending on the trials before it."""
        usual = self.example_sets[0]
        for instruction in self.instructions:
            yield Prompt(instruction, usual)
        best = self.best()
        instruction = best.prompt.instruction if best is not None else self.instructions[0]
        for examples in self.example_sets[1:]:
            yield Prompt(instruction, examples)

    def best(self) -> Trial | None:
        """The trial with the most correct fields; with equal ones, the earlier one: its prompt is simpler."""
        return max(self.trials, key=lambda trial: trial.accuracy, default=None)


def instructions(base: str, compiled: CompiledSchema) -> list[str]:
    """The instruction of the contract, and with more of what the schema says."""
    about = _about_fields(compiled)
    copied = any(item.evidence != "none" for item in compiled.fields)
    texts = [base]
    if copied:
        texts.append(f"{base}\n\n{_VERBATIM}")
    if about:
        texts.append(f"{base}\n\n{about}")
    if copied and about:
        texts.append(f"{base}\n\n{about}\n\n{_VERBATIM}")
    return texts


def _about_fields(compiled: CompiledSchema) -> str:
    lines = []
    for item in compiled.fields:
        meaning = item.description or (item.title if item.title != item.name else "")
        if item.enum and len(item.enum) <= _MAX_LISTED_CLASSES:
            values = ", ".join(value if isinstance(value, str) else dumps(value) for value in item.enum)
            meaning = f"{meaning} One of: {values}.".strip()
        if meaning:
            lines.append(f"- {item.pattern}: {meaning}")
    return "\n".join(["Fields:", *lines]) if lines else ""


def example_sets(
    usual: Sequence[int], labeled: Mapping[int, str], lengths: Mapping[int, int], *, seed: int
) -> list[tuple[int, ...]]:
    """Sets of examples: the usual ones, none, and more, drawn over the labels so that each occurs early.

    ``labeled``: training document -> its gold, or its class, as text; ``lengths``: characters of its text. Only the
    shorter half is drawn from, as for the usual examples.
    """
    short = sorted(labeled, key=lambda key: (lengths[key], key))
    short = short[: max(max(_EXAMPLE_COUNTS), len(short) // 2)]
    random.Random(seed).shuffle(short)
    by_label: dict[str, list[int]] = defaultdict(list)
    for key in short:
        by_label[labeled[key]].append(key)
    spread = [key for turn in range(max(map(len, by_label.values()), default=0)) for key in _turn(by_label, turn)]
    sets = [tuple(usual)]
    for count in _EXAMPLE_COUNTS:
        chosen = tuple(spread[:count])
        if len(chosen) == count and chosen not in sets:
            sets.append(chosen)
    return sets


def _turn(by_label: Mapping[str, list[int]], turn: int) -> Iterator[int]:
    for keys in by_label.values():
        if turn < len(keys):
            yield keys[turn]
