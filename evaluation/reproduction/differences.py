"""What differs between a report and its reproduction. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

#: facts of an environment that say nothing about the machine or its software
_IGNORED = ("memory_bytes", "gpu_memory_bytes")
_RATES = {
    "schema_valid": "Schema-valid outputs",
    "field_exact": "Field accuracy",
    "document_exact": "Exact match",
    "invariants_hold": "Rules",
    "hallucinated": "Hallucinated values",
}


@dataclass(frozen=True)
class Change:
    """A fact, a rate or a verdict that is another one now."""

    name: str
    before: str
    now: str

    def __str__(self) -> str:
        return f"{self.name}: {self.before or 'not recorded'} before, {self.now or 'none'} now"


@dataclass
class Reproduction:
    """The result. ``environment``: changes by step (training, evaluation), which can be why something differs.

    ``files``: of the model, that differ; None where it was not trained again. ``outputs``: ids of the documents whose
    output differs, out of ``documents``.
    """

    environment: dict[str, list[Change]] = field(default_factory=dict)
    files: list[str] | None = None
    documents: int = 0
    outputs: list[str] = field(default_factory=list)
    rates: list[Change] = field(default_factory=list)
    verdicts: list[Change] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def is_equal(self) -> bool:
        """Whether the model and every output are equal."""
        return not (self.files or self.outputs or self.rates or self.verdicts)


def changed_facts(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Change]:
    """The facts of an environment that differ, package versions one by one. What was not recorded is listed, too."""
    first, second = dict(_flat(before)), dict(_flat(now))
    return [
        Change(name, first.get(name, ""), second.get(name, ""))
        for name in sorted(first.keys() | second.keys())
        if first.get(name) != second.get(name)
    ]


def _flat(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in facts.items():
        if isinstance(value, Mapping):
            yield from _flat(value)
        elif name not in _IGNORED:
            yield name, str(value)


def changed_rates(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Change]:
    """The rates of two summaries of scores that differ."""
    return [
        Change(title, _rate(before.get(name)), _rate(now.get(name)))
        for name, title in _RATES.items()
        if _rate(before.get(name)) != _rate(now.get(name))
    ]


def _rate(rate: Any) -> str:
    return f"{rate['k']} of {rate['n']}" if rate else ""
