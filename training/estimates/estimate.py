"""Foretells what a fine-tuning costs in memory, time and disk, and which knob to turn where it does not fit. Pure.

``estimate`` foretells, ``how_far_off`` compares with what came. The memory itself is in ``training.estimates.memory``.
"""

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from slmstudio.storage.sizes import format_bytes
from training.base_models.architecture import NoShape, Shape
from training.estimates.memory import CUDA, Part, inference_memory, training_memory
from training.estimates.throughput import STARTING, rough_speed, rough_words
from training.runs.presets import PACKAGES, Knobs, not_installed, with_effective_batch

if TYPE_CHECKING:
    from slmstudio.workers.hardware import Hardware

__all__ = ["Estimate", "Fit", "NoShape", "Part", "Shape", "estimate", "fit", "inference_memory", "training_memory"]

#: the hardware of production, where a project's contract names none: bytes
USUAL_LIMIT = 16_000_000_000
#: tokens of a request where nothing is measured yet
TYPICAL_TOKENS = 1024
#: share of a machine that a run may fill; the rest is the system's
USABLE = 0.92
#: the order in which knobs are turned: first what costs only time, last what costs documents
_ORDER = ("batch_size", "activation_checkpointing", "method", "max_length")
#: share of the documents that may stay out for one knob to be enough
_HARDLY = 0.05


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What is foretold of a run, for the device that needs the most.

    ``memory_limit`` is what the run may take there, None where no worker has said. ``seconds`` is None where nothing is
    known of the speed; ``seconds_from`` says where it comes from, as a sentence's end. ``binding``: what costs most, in
    words. ``refusals``: knob -> sentence; empty means that it fits, or that nobody knows.
    ``turn``: knob -> the value its sentence advises, where there is one.
    """

    memory_bytes: int
    parts: tuple[Part, ...] = ()
    memory_limit: int | None = None
    limit_name: str = ""
    seconds: float | None = None
    seconds_from: str = ""
    steps: int = 0
    tokens: int = 0
    disk_bytes: int = 0
    binding: str = ""
    refusals: dict[str, str] = field(default_factory=dict)
    turn: dict[str, Any] = field(default_factory=dict)

    @property
    def fits(self) -> bool | None:
        """None where the limit is not known."""
        return None if self.memory_limit is None else not self.refusals

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for ``TrainingRun.estimate``."""
        return {**asdict(self), "parts": [asdict(part) for part in self.parts]}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Estimate | None":
        """The estimate that ``as_dict`` gave; None where there is none (a run of an older version)."""
        if "memory_bytes" not in values:
            return None
        known = {name: values[name] for name in cls.__dataclass_fields__ if name in values}
        parts = tuple(Part(title=one["title"], bytes=one["bytes"]) for one in known.pop("parts", []))
        return cls(**known, parts=parts)


@dataclass(frozen=True)
class Fit:
    """Whether a model can be served on the hardware of production. ``fits`` None: its shape is not known."""

    memory_bytes: int
    fits: bool | None
    sentence: str


def fit(shape: Shape | None, *, limit_bytes: int = USUAL_LIMIT, tokens: int = TYPICAL_TOKENS) -> Fit:
    """Whether the model serves one request of ``tokens`` in 16 bit within ``limit_bytes``."""
    if shape is None:
        return Fit(0, None, "Its size is known once it is prepared.")
    needed = inference_memory(shape, precision="bf16", tokens=tokens)
    if needed <= limit_bytes:
        return Fit(needed, True, f"{format_bytes(needed)} of {format_bytes(limit_bytes)}")
    return Fit(needed, False, f"Needs {format_bytes(needed)}; there are {format_bytes(limit_bytes)}.")


def estimate(
    *,
    shape: Shape,
    knobs: Knobs,
    lengths: list[int],
    hardware: "Hardware | None",
    speed: float | None = None,
    speed_from: str = "",
    answer: int = 0,
    disk_free: int | None = None,
) -> Estimate:
    """Memory, time and disk of a run over training rows of ``lengths`` tokens.

    ``speed``: tokens per second that these knobs are known to reach, else it is worked out from the model's size and
    the cores; ``answer``: tokens of the longest completion; ``disk_free``: bytes where the run will write. Rows over
    ``knobs.max_length`` are taken as left out.
    """
    kept = [length for length in lengths if length <= knobs.max_length] or [knobs.max_length]
    needs = _Needs(shape, hardware, kept, min(kept), max(kept), answer)
    parts = needs.parts(knobs)
    total = sum(part.bytes for part in parts)
    limit, name = memory_limit(hardware)
    tokens = round(sum(kept) * knobs.epochs)
    if not speed and hardware is not None:
        speed = rough_speed(shape, knobs, hardware, sum(kept) / len(kept))
        speed_from = rough_words(hardware)
    disk = disk_bytes(shape, knobs)
    refusals, turn = dict[str, str](), dict[str, Any]()
    if limit is not None and total > limit:
        refusals, turn = _memory_refusals(needs, knobs, total, limit, name)
    if disk_free is not None and disk > disk_free:
        refusals["disk"] = _disk_words(shape, knobs, disk, disk_free)
    return Estimate(
        memory_bytes=total,
        parts=parts,
        memory_limit=limit,
        limit_name=name,
        seconds=tokens / speed + STARTING if speed else None,
        seconds_from=speed_from if speed else "",
        steps=knobs.steps(len(kept)),
        tokens=tokens,
        disk_bytes=disk,
        binding=parts[0].title,
        refusals=refusals,
        turn=turn,
    )


def resolved_precision(knobs: Knobs, hardware: "Hardware | None") -> str:
    """``auto`` as the trainer will take it there: bf16 where the device multiplies it in hardware."""
    if knobs.precision != "auto":
        return knobs.precision
    return "bf16" if hardware is None or hardware.gpus or hardware.bf16 else "fp32"


def memory_limit(hardware: "Hardware | None") -> tuple[int | None, str]:
    """Bytes that a run may take on each of its devices, and whose they are; None where nobody has said."""
    if hardware is None:
        return None, ""
    if hardware.gpus:
        gpu = min(hardware.gpus, key=lambda one: one.memory_bytes)
        return int(gpu.memory_bytes * USABLE), f"{gpu.name} of {hardware.host}"
    return int(hardware.memory_bytes * USABLE), f"the memory of {hardware.host}"


@dataclass(frozen=True)
class _Needs:
    """What stays the same while knobs are turned."""

    shape: Shape
    hardware: "Hardware | None"
    lengths: list[int]
    shortest: int
    longest: int
    answer: int

    @property
    def gpus(self) -> bool:
        return self.hardware is not None and bool(self.hardware.gpus)

    @property
    def qlora(self) -> bool:
        """Whether QLoRA can be had there."""
        return self.gpus and self.hardware is not None and PACKAGES["qlora"] not in self.hardware.missing

    def keeps_most(self, knobs: Knobs) -> bool:
        """Whether hardly a document is longer than these knobs allow."""
        out = sum(length > knobs.max_length for length in self.lengths)
        return out <= _HARDLY * len(self.lengths)

    def parts(self, knobs: Knobs) -> tuple[Part, ...]:
        return training_memory(
            self.shape,
            method=knobs.method,
            knobs=knobs,
            longest=min(self.longest, knobs.max_length),
            precision=resolved_precision(knobs, self.hardware),
            device="cuda" if self.gpus else "cpu",
            answer=self.answer,
        )

    def total(self, knobs: Knobs) -> int:
        return sum(part.bytes for part in self.parts(knobs))


def _memory_refusals(
    needs: _Needs, knobs: Knobs, total: int, limit: int, name: str
) -> tuple[dict[str, str], dict[str, Any]]:
    """The knob to turn, by itself if one is enough, else all that have to be turned: in words, and the values."""
    costly = max(needs.parts(knobs), key=lambda part: part.bytes).title
    why = f"This takes about {format_bytes(total)}, most of it for {costly}; {name} has {format_bytes(limit)} for it."
    found = _fitting(needs, knobs, limit)
    if found is None:
        return {"base_model": f"{why} {_too_large(needs, knobs, limit)}"}, {}
    values = {knob: getattr(found, knob) for knob in _ORDER if getattr(found, knob) != getattr(knobs, knob)}
    first, *others = values
    size = format_bytes(needs.total(found))
    if not others:
        return {first: f"{why} {_advice(first, found)}, and it fits ({size})."}, values
    said = {knob: f"{_advice(knob, found)}." for knob in values}
    enough = f"One knob is not enough; all that are named here fit together ({size})."
    return {**said, first: f"{why} {enough} {said[first]}"}, values


def _fitting(needs: _Needs, knobs: Knobs, limit: int) -> Knobs | None:
    """One knob turned where that is enough and hardly a document stays out, else several; None where nothing helps.

    Of several each is turned as far as it goes until the run fits, then let out again as far as it can be beside the
    others: the limit on documents first, so that the fewest stay out.
    """
    for knob in _ORDER:
        one = _nearest(needs, knobs, knobs, knob, limit)
        if one is not None and needs.keeps_most(one):
            return one
    turned = knobs
    for knob in _ORDER:
        turned = _most_frugal(needs, turned, knob)
        if needs.total(turned) <= limit:
            break
    else:
        return None
    for knob in reversed(_ORDER):
        turned = _nearest(needs, knobs, turned, knob, limit) or turned
    return turned


def _nearest(needs: _Needs, knobs: Knobs, turned: Knobs, knob: str, limit: int) -> Knobs | None:
    """``turned`` with one knob as near to that of ``knobs`` as makes the run fit; None where it alone cannot."""
    values = [getattr(knobs, knob), *_values(needs, knobs, knob)]
    if needs.total(_turned(turned, knob, values[-1])) > limit:
        return None
    ways = (_turned(turned, knob, value) for value in values)
    return next((way for way in ways if needs.total(way) <= limit), None)


def _values(needs: _Needs, knobs: Knobs, knob: str) -> list[Any]:
    """Values of a knob that take less memory than its own, the nearest first."""
    if knob == "batch_size":
        return list(range(knobs.batch_size - 1, 0, -1))
    if knob == "activation_checkpointing":
        return [] if knobs.activation_checkpointing else [True]
    if knob == "max_length":
        top = min(knobs.max_length, needs.longest) - 1
        # short of the shortest document nothing would be left to learn from
        return [length for length in range(top // 64 * 64, 63, -64) if length >= needs.shortest]
    frugal = {"full": ["lora"], "lora": []}.get(knobs.method, [])
    return [*frugal, "qlora"] if needs.qlora and knobs.method != "qlora" else frugal


def _most_frugal(needs: _Needs, knobs: Knobs, knob: str) -> Knobs:
    values = _values(needs, knobs, knob)
    return _turned(knobs, knob, values[-1]) if values else knobs


def _turned(knobs: Knobs, knob: str, value: Any) -> Knobs:
    """The knobs with one turned; the documents behind a step stay as many."""
    if knob == "batch_size":
        return with_effective_batch(knobs, knobs.effective_batch, int(value))
    return replace(knobs, **{knob: value})


def _advice(knob: str, turned: Knobs) -> str:
    """What to set, without a full stop."""
    value = getattr(turned, knob)
    if knob == "batch_size":
        return f"Let {value} {'document' if value == 1 else 'documents'} at once through the model"
    if knob == "activation_checkpointing":
        return "Recompute activations, which takes a third more time"
    if knob == "max_length":
        return f"Set max sequence length to {value:,} and leave longer documents out"
    return f"Choose {'QLoRA' if value == 'qlora' else 'LoRA'}"


def _too_large(needs: _Needs, knobs: Knobs, limit: int) -> str:
    """What is said where no knob helps; names the package where only QLoRA would, and the worker lacks it."""
    for knob in _ORDER:
        knobs = _most_frugal(needs, knobs, knob)
    least = f"Even the most frugal settings take {format_bytes(needs.total(knobs))}. Take a smaller base model"
    if needs.gpus and not needs.qlora and needs.total(replace(knobs, method="qlora")) <= limit:
        return f"{least}, or QLoRA, which would fit. {not_installed('qlora')}"
    return f"{least}."


def disk_bytes(shape: Shape, knobs: Knobs) -> int:
    """Bytes that a run writes: its checkpoints at their peak, the adapter, and the merged model.

    The newest two are kept while another is written, and with early stopping the whole one of the best look as well.
    """
    trained = shape.parameters if knobs.method == "full" else shape.adapter_parameters(knobs.lora_r)
    adapter = 0 if knobs.method == "full" else 4 * trained
    checkpoint = 12 * trained  # fp32 weights and the two moments of AdamW
    checkpoints = 4 if knobs.early_stopping else 3
    return checkpoints * checkpoint + adapter + 2 * shape.parameters


def _disk_words(shape: Shape, knobs: Knobs, disk: int, free: int) -> str:
    lora = disk_bytes(shape, replace(knobs, method="lora"))
    way = (
        f" LoRA writes {format_bytes(lora)}." if knobs.method == "full" and lora <= free else " Free some space first."
    )
    return f"The run writes about {format_bytes(disk)}, checkpoints included, and {format_bytes(free)} are free.{way}"


@dataclass(frozen=True)
class Outcome:
    """How far off an estimate was. Shares: 0.1 is ten per cent more than foretold; None where one side is missing."""

    memory_bytes: int | None
    memory_off: float | None
    seconds: float | None
    seconds_off: float | None
    sentence: str


def how_far_off(foretold: Estimate | None, facts: dict[str, Any]) -> Outcome:
    """Compares what was foretold of a run with its facts (``peak_memory_bytes``, ``seconds`` of all its attempts).

    The trainer's clock starts when data and model are there, so the time until then is left out of what was foretold.
    """
    memory = facts.get("peak_memory_bytes") or None
    took = facts.get("seconds") or None
    if foretold is None:
        return Outcome(memory, None, took, None, "")
    told_memory = foretold.memory_bytes - (CUDA.process if facts.get("device") == "cuda" else 0)
    memory_off = memory / told_memory - 1 if memory and told_memory else None
    told_seconds = (foretold.seconds or 0.0) - STARTING
    seconds_off = took / told_seconds - 1 if took and told_seconds > 0 else None
    said = []
    if memory_off is not None:
        said.append(f"It took {format_bytes(memory or 0)} of memory, {_off(memory_off)} than foretold")
    if seconds_off is not None:
        said.append(f"{'it' if said else 'It'} ran {_off(seconds_off, 'longer', 'shorter')} than foretold")
    return Outcome(memory, memory_off, took, seconds_off, f"{', and '.join(said)}." if said else "")


def _off(share: float, more: str = "more", less: str = "less") -> str:
    """A share in words: 12 % more; from twice on, 2.3 times as much."""
    return f"{abs(share):.0%} {more if share >= 0 else less}".replace("%", " %")
