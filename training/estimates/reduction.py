"""Which hyperparameters to change so that a run fits in memory, each as little as possible. Pure."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from slmstudio.text.formatting import format_bytes
from training.estimates.memory import MemoryPart, training_memory
from training.hyperparameters.definitions import PACKAGES, Hyperparameters
from training.hyperparameters.presets import with_effective_batch
from training.hyperparameters.validation import missing_package_message
from training.model_shape import ModelShape

if TYPE_CHECKING:
    from slmstudio.workers.hardware import Hardware

#: the order in which hyperparameters are changed: first what costs only time, last what drops documents
REDUCTION_ORDER = ("batch_size", "activation_checkpointing", "method", "max_length")
#: share of the documents that one change may drop to be enough on its own
MAX_DROPPED_SHARE = 0.05


def resolved_precision(hyperparameters: Hyperparameters, hardware: "Hardware | None") -> str:
    """The precision that ``auto`` stands for on this hardware: bf16 where the device multiplies it in hardware."""
    if hyperparameters.precision != "auto":
        return hyperparameters.precision
    return "bf16" if hardware is None or hardware.gpus or hardware.bf16 else "fp32"


@dataclass(frozen=True)
class Requirements:
    """What stays the same while hyperparameters change. Lengths are in tokens; ``answer``: the longest completion;
    ``spans``: span heads of an encoder.
    """

    shape: ModelShape
    hardware: "Hardware | None"
    lengths: list[int]
    shortest: int
    longest: int
    answer: int
    spans: int = 0

    @property
    def has_gpus(self) -> bool:
        """Whether the run would train on GPUs."""
        return self.hardware is not None and bool(self.hardware.gpus)

    @property
    def supports_qlora(self) -> bool:
        """Whether QLoRA is available on this hardware, and for this family of models."""
        installed = self.hardware is not None and PACKAGES["qlora"] not in self.hardware.missing
        return self.has_gpus and installed and not self.shape.encoder

    def keeps_most_documents(self, hyperparameters: Hyperparameters) -> bool:
        """Whether at most ``MAX_DROPPED_SHARE`` of the documents are over the sequence length."""
        dropped = sum(length > hyperparameters.max_length for length in self.lengths)
        return dropped <= MAX_DROPPED_SHARE * len(self.lengths)

    def parts(self, hyperparameters: Hyperparameters) -> tuple[MemoryPart, ...]:
        """The memory of a run by its parts, largest first."""
        return training_memory(
            self.shape,
            method=hyperparameters.method,
            hyperparameters=hyperparameters,
            longest=min(self.longest, hyperparameters.max_length),
            precision=resolved_precision(hyperparameters, self.hardware),
            device="cuda" if self.has_gpus else "cpu",
            answer=self.answer,
            spans=self.spans,
        )

    def total(self, hyperparameters: Hyperparameters) -> int:
        """Bytes of all parts."""
        return sum(part.bytes for part in self.parts(hyperparameters))


def memory_problems(
    needs: Requirements, hyperparameters: Hyperparameters, total: int, limit: int, limit_name: str
) -> tuple[dict[str, str], dict[str, Any]]:
    """A message for each hyperparameter to change, and the values: a single change where one is enough."""
    largest = max(needs.parts(hyperparameters), key=lambda part: part.bytes).title
    reason = f"Needs about {format_bytes(total)}, most of it for {largest}; {limit_name} has {format_bytes(limit)}."
    fitting = _fitting(needs, hyperparameters, limit)
    if fitting is None:
        return {"base_model": f"{reason} {_too_large_message(needs, hyperparameters, limit)}"}, {}
    values = {
        name: getattr(fitting, name)
        for name in REDUCTION_ORDER
        if getattr(fitting, name) != getattr(hyperparameters, name)
    }
    first, *others = values
    size = format_bytes(needs.total(fitting))
    if not others:
        return {first: f"{reason} {_advice(first, fitting)} to fit ({size})."}, values
    messages = {name: f"{_advice(name, fitting)}." for name in values}
    together = f"One change is not enough; apply all of these to fit ({size})."
    return {**messages, first: f"{reason} {together} {messages[first]}"}, values


def _fitting(needs: Requirements, hyperparameters: Hyperparameters, limit: int) -> Hyperparameters | None:
    """The hyperparameters with one change where one is enough and drops few documents, else with several.

    Of several, each goes to its minimum until the run fits; then each is relaxed as far as the others allow, the
    sequence length first, so that the fewest documents are dropped. None where nothing fits.
    """
    for name in REDUCTION_ORDER:
        single = _closest_fitting(needs, hyperparameters, hyperparameters, name, limit)
        if single is not None and needs.keeps_most_documents(single):
            return single
    reduced = hyperparameters
    for name in REDUCTION_ORDER:
        reduced = _with_minimum(needs, reduced, name)
        if needs.total(reduced) <= limit:
            break
    else:
        return None
    for name in reversed(REDUCTION_ORDER):
        reduced = _closest_fitting(needs, hyperparameters, reduced, name, limit) or reduced
    return reduced


def _closest_fitting(
    needs: Requirements, original: Hyperparameters, reduced: Hyperparameters, name: str, limit: int
) -> Hyperparameters | None:
    """``reduced`` with one value as close to ``original`` as fits; None where that value alone is not enough."""
    values = [getattr(original, name), *_smaller_values(needs, original, name)]
    if needs.total(_with_value(reduced, name, values[-1])) > limit:
        return None
    candidates = (_with_value(reduced, name, value) for value in values)
    return next((candidate for candidate in candidates if needs.total(candidate) <= limit), None)


def _smaller_values(needs: Requirements, hyperparameters: Hyperparameters, name: str) -> list[Any]:
    """Values that take less memory than the current one, the closest first."""
    if name == "batch_size":
        return list(range(hyperparameters.batch_size - 1, 0, -1))
    if name == "activation_checkpointing":
        return [] if hyperparameters.activation_checkpointing else [True]
    if name == "max_length":
        top = min(hyperparameters.max_length, needs.longest) - 1
        # below the shortest document no training document would be left
        return [length for length in range(top // 64 * 64, 63, -64) if length >= needs.shortest]
    methods = {"full": ["lora"], "lora": []}.get(hyperparameters.method, [])
    return [*methods, "qlora"] if needs.supports_qlora and hyperparameters.method != "qlora" else methods


def _with_minimum(needs: Requirements, hyperparameters: Hyperparameters, name: str) -> Hyperparameters:
    values = _smaller_values(needs, hyperparameters, name)
    return _with_value(hyperparameters, name, values[-1]) if values else hyperparameters


def _with_value(hyperparameters: Hyperparameters, name: str, value: Any) -> Hyperparameters:
    """The hyperparameters with one changed; the effective batch size stays the same."""
    if name == "batch_size":
        return with_effective_batch(hyperparameters, hyperparameters.effective_batch, int(value))
    return replace(hyperparameters, **{name: value})


def _advice(name: str, fitting: Hyperparameters) -> str:
    """What to set, without a full stop."""
    value = getattr(fitting, name)
    if name == "batch_size":
        return f"Set the batch size per device to {value}"
    if name == "activation_checkpointing":
        return "Turn gradient checkpointing on (a third slower)"
    if name == "max_length":
        fate = (
            "leave longer documents out" if fitting.too_long == "leave_out" else "split longer documents into windows"
        )
        return f"Set the sequence length to {value:,} and {fate}"
    return f"Choose {'QLoRA' if value == 'qlora' else 'LoRA'}"


def _too_large_message(needs: Requirements, hyperparameters: Hyperparameters, limit: int) -> str:
    """The advice where nothing fits; names the package where QLoRA would fit and the worker lacks it."""
    for name in REDUCTION_ORDER:
        hyperparameters = _with_minimum(needs, hyperparameters, name)
    smallest = (
        f"Even the minimum settings need {format_bytes(needs.total(hyperparameters))}. Choose a smaller base model"
    )
    missing = needs.has_gpus and not needs.supports_qlora and not needs.shape.encoder
    if missing and needs.total(replace(hyperparameters, method="qlora")) <= limit:
        return f"{smallest}, or QLoRA, which would fit. {missing_package_message('qlora')}"
    return f"{smallest}."
