"""SearchSpec: what a search varies and its budget, as strict YAML. Pure."""

from dataclasses import dataclass, field, fields
from typing import Literal

from training import strict_yaml
from training.spec import Problems

Method = Literal["lora", "qlora", "full"]
MAX_TRIALS = 500
#: evaluations of a trial; the pruner compares trials after the first and the second of them
EVALUATIONS = 4
MAX_PARALLEL = 32


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """The values that are tried. Ranges are (low, high), both included; the rest are choices.

    ``batch``: documents per optimizer step. ``lora_r`` applies to adapters only.
    """

    learning_rate: tuple[float, ...] = (1e-4, 3e-3)
    epochs: tuple[int, ...] = (1, 6)
    lora_r: tuple[int, ...] = (8, 16, 32)
    method: tuple[Method, ...] = ("lora",)
    batch: tuple[int, ...] = (4, 8, 16)

    def problems(self) -> Problems:
        for name, low, high, text in (
            ("learning_rate", 1e-8, 0.1, "0.00000001 to 0.1"),
            ("epochs", 1, 100, "1 to 100"),
        ):
            values = getattr(self, name)
            if len(values) != 2 or values[0] > values[1]:
                yield name, "must be two numbers, the lower first"
            elif not (low <= values[0] and values[1] <= high):
                yield name, f"must be within {text}"
        for name, low, high, text in (("lora_r", 1, 512, "1 to 512"), ("batch", 1, 4096, "1 to 4,096")):
            if not getattr(self, name):
                yield name, "needs at least one value"
            elif not all(low <= value <= high for value in getattr(self, name)):
                yield name, f"must be within {text}"
        if not self.method:
            yield "method", "needs at least one value"
        for one in fields(self):
            values = getattr(self, one.name)
            if one.name not in ("learning_rate", "epochs") and len(set(values)) != len(values):
                yield one.name, "has a value twice"


@dataclass(frozen=True, kw_only=True)
class SearchSpec:
    """One search. ``dataset``: the number of a dataset version; ``base_model``: a slug.

    ``hours``: training time of all trials together, times their GPUs. ``trials``: how many at most, ``parallel``: how
    many at the same time. ``documents``: validation documents that are scored at each evaluation, in at most
    ``seconds``. ``seed``: of the sampler, and of every run. ``keep``: how many of the best complete trials keep their
    models once the search has ended.
    """

    dataset: int
    base_model: str
    hours: float
    version: Literal[1] = 1
    trials: int = 20
    parallel: int = 1
    documents: int = 50
    seconds: int | None = 120
    seed: int = 17
    keep: int = 1
    space: SearchSpace = field(default_factory=SearchSpace)

    def problems(self) -> Problems:
        if not 0 < self.hours <= 10_000:
            yield "hours", "must be above 0 and at most 10,000"
        if not 1 <= self.trials <= MAX_TRIALS:
            yield "trials", f"must be between 1 and {MAX_TRIALS}"
        if not 1 <= self.parallel <= MAX_PARALLEL:
            yield "parallel", f"must be between 1 and {MAX_PARALLEL}"
        if not 1 <= self.documents <= 1000:
            yield "documents", "must be between 1 and 1,000"
        if self.seconds is not None and self.seconds < 1:
            yield "seconds", "must be at least 1"
        if not 0 <= self.seed < 2**31:
            yield "seed", "must be between 0 and 2147483647"
        if not 1 <= self.keep <= MAX_TRIALS:
            yield "keep", f"must be between 1 and {MAX_TRIALS}"

    def to_yaml(self) -> str:
        """This spec as a YAML text that ``from_yaml`` reads back to an equal spec."""
        return strict_yaml.to_yaml(self)

    @classmethod
    def from_yaml(cls, text: str) -> "SearchSpec":
        """Raises SpecError naming the field."""
        return strict_yaml.from_yaml(cls, text)
