"""Estimates from the database: token lengths, the model's shape, workers, earlier runs; the method that suits them."""

import shutil
from dataclasses import replace
from typing import Any

from django.db.models import Case, Value, When
from redis.exceptions import RedisError

from labeling.models import DatasetVersion, Project, Split
from slmstudio.storage.artifacts import local_path
from slmstudio.workers import live_workers
from slmstudio.workers.hardware import Hardware
from training.encoders.heads import plan_heads
from training.estimates.estimate import Estimate, estimate, trained_lengths
from training.estimates.memory import DEFAULT_MEMORY_LIMIT
from training.estimates.reduction import resolved_precision
from training.estimates.throughput import scaled_throughput
from training.hyperparameters.dataset_defaults import default_hyperparameters
from training.hyperparameters.definitions import Hyperparameters
from training.hyperparameters.presets import task_of
from training.hyperparameters.validation import problems
from training.model_shape import ModelShape, UnknownModelShape
from training.models import BaseModel, LengthReport, TrainingRun
from training.spec import RunSpec
from training.strict_yaml import SpecError

#: hyperparameters that depend on the machine, besides its memory
MACHINE_SETTINGS = ("devices", "method", "precision", "trackers")
#: parameters up to which all weights are trained for an extraction where no method is chosen; larger models read long
#: values with an adapter, too
SMALL_MODEL = 500_000_000


def shape_of(base_model: BaseModel) -> ModelShape | None:
    """The shape of a base model; None where it is unknown until prepared."""
    try:
        return ModelShape.from_dict(base_model.shape)
    except UnknownModelShape:
        return None


def estimate_for(
    *,
    dataset: DatasetVersion,
    base_model: BaseModel,
    hyperparameters: Hyperparameters,
    hardware: Hardware | None = None,
) -> Estimate | None:
    """The estimate of a run on a machine, by default on that of the most capable worker.

    None where lengths or shape are unknown.
    """
    shape = shape_of(base_model)
    report = LengthReport.objects.of(dataset, base_model)
    if shape is None or report is None or not report.is_current:
        return None
    rows = [(prompt + answer, answer) for _, split, prompt, answer in report.lengths if split == Split.TRAIN]
    # Which rows a share draws does not matter for an estimate.
    rows = rows[: max(1, round(hyperparameters.train_share * len(rows)))] if rows else rows
    lengths = [tokens for tokens, _ in rows]
    kept = trained_lengths(lengths, hyperparameters)
    mean = sum(kept) / len(kept) if kept else float(hyperparameters.max_length)
    hardware = with_measured_bf16(hardware) if hardware else gpu_hardware()
    speed, speed_from = measured_throughput(dataset.project, base_model, shape, hyperparameters, mean, hardware)
    return estimate(
        shape=shape,
        hyperparameters=hyperparameters,
        lengths=lengths,
        hardware=hardware,
        speed=speed,
        speed_from=speed_from,
        answer=max((answer for tokens, answer in rows if tokens <= hyperparameters.max_length), default=0),
        spans=_span_heads(dataset, hyperparameters) if shape.encoder else 0,
        disk_free=_free_disk_bytes(),
    )


def _span_heads(dataset: DatasetVersion, hyperparameters: Hyperparameters) -> int:
    heads = plan_heads(dataset.schema_version.compiled).heads
    return sum(head.kind == "span" and head.pattern not in hyperparameters.without_heads for head in heads)


def measured_throughput(
    project: Project,
    base_model: BaseModel,
    shape: ModelShape,
    hyperparameters: Hyperparameters,
    length: float,
    hardware: Hardware | None,
) -> tuple[float | None, str]:
    """Tokens per second of the last finished run of this base model on such a machine, scaled to the hyperparameters.

    The run has the same precision, and is one of the project where there is one. All of its time counts, evaluations
    and samples included. The text names the run, unless it belongs to another project.
    """
    device = "cuda" if hardware and hardware.gpus else "cpu"
    runs = TrainingRun.objects.filter(
        base_model=base_model,
        facts__tokens__gt=0,
        facts__seconds__gt=0,
        facts__device=device,
        facts__precision=resolved_precision(hyperparameters, hardware),
    ).done()
    if hardware is not None:
        runs = runs.filter(facts__machine=hardware.kind)
    own = Case(When(project=project, then=Value(0)), default=Value(1))
    run = runs.order_by(own, "-finished_at").first()
    if run is None:
        return None, ""
    try:
        spec = RunSpec.from_yaml(run.spec)
    except SpecError:
        return None, ""
    then = Hyperparameters(
        method=spec.method,
        lora_r=spec.lora.r,
        activation_checkpointing=spec.activation_checkpointing,
        precision=spec.precision,
        devices=spec.devices,
    )
    reached = run.facts["tokens"] / run.facts["seconds"]
    which = f"run {run.number}" if run.project_id == project.pk else "an earlier run of another project"
    source = f"from {which}, which reached {reached:,.0f} tokens per second"
    return scaled_throughput(reached, shape, then, hyperparameters, length), source + _scaling_note(
        then, hyperparameters
    )


def _scaling_note(then: Hyperparameters, now: Hyperparameters) -> str:
    """How the throughput was scaled, as the end of a sentence; empty with the same settings."""
    by = []
    if _work_settings(then) != _work_settings(now):
        by.append("operations per token")
    if then.devices != now.devices:
        by.append("the number of GPUs")
    return f" with other settings, scaled by {' and '.join(by)}" if by else ""


def _work_settings(hyperparameters: Hyperparameters) -> tuple[str, bool, int]:
    """The hyperparameters that the operations per token depend on."""
    return (
        hyperparameters.method,
        hyperparameters.activation_checkpointing,
        0 if hyperparameters.method == "full" else hyperparameters.lora_r,
    )


def memory_limit(project: Project | None) -> int:
    """Memory of the production hardware in the project's contract, 16 GB without one."""
    value = _constraint(project, "hardware_memory_gb")
    return int(float(value) * 1e9) if value else DEFAULT_MEMORY_LIMIT


def latency_limit(project: Project | None) -> float | None:
    """Maximum p95 latency in seconds by the project's contract, or None."""
    value = _constraint(project, "latency_p95_ms")
    return float(value) / 1000 if value else None


def _constraint(project: Project | None, name: str) -> float | None:
    contract = getattr(project, "contract", None)
    return contract.constraints.get(name) if contract is not None else None


def _free_disk_bytes() -> int | None:
    """Free bytes where runs write, or None where unknown."""
    try:
        return shutil.disk_usage(local_path("training").parent).free
    except (OSError, NotImplementedError):
        return None


# -- machines ---------------------------------------------------------------------------------------------------------


def gpu_hardware() -> Hardware | None:
    """The hardware of a live worker of the queue ``gpu``; None without a worker, or where the queue is unreachable."""
    try:
        hardware = live_workers.hardware_of("gpu")
    except RedisError:
        return None
    return with_measured_bf16(hardware) if hardware else None


def with_measured_bf16(hardware: Hardware) -> Hardware:
    """The hardware without bf16, where the last run with ``precision: auto`` measured that it is not faster than fp32.

    A worker reports the CPU's flags, which do not show its speed; runs measure it.
    """
    if hardware.gpus or not hardware.bf16:
        return hardware
    runs = TrainingRun.objects.filter(
        facts__machine=hardware.kind, facts__device="cpu", facts__precision__in=("bf16", "fp32")
    )
    runs = runs.filter(spec__contains="\nprecision: auto\n")
    last = runs.order_by("-pk").values_list("facts__precision", flat=True).first()
    return replace(hardware, bf16=False) if last == "fp32" else hardware


def capabilities() -> dict[str, Any]:
    """The capabilities of the worker that would train a run."""
    return capabilities_of(gpu_hardware())


def capabilities_of(hardware: Hardware | None) -> dict[str, Any]:
    """The machine for ``presets.problems``: ``cuda``, number of ``gpus``, ``missing`` packages."""
    if hardware is None:
        return {"cuda": False, "gpus": 1, "missing": frozenset()}
    return {"cuda": bool(hardware.gpus), "gpus": max(1, len(hardware.gpus)), "missing": hardware.missing}


def capability_problem(run: TrainingRun, hyperparameters: Hyperparameters, machine: Hardware) -> str:
    """Why a machine cannot train a run, with what to change; empty where it can, or where that is unknown."""
    invalid = problems(hyperparameters, **capabilities_of(machine))
    messages = [invalid[name] for name in MACHINE_SETTINGS if name in invalid]
    if not messages:
        estimate = estimate_for(
            dataset=run.dataset, base_model=run.base_model, hyperparameters=hyperparameters, hardware=machine
        )
        memory_problems = estimate.problems if estimate is not None else {}
        messages = [message for name, message in memory_problems.items() if name != "disk"]
    return " ".join(messages)


def any_worker_fits(run: TrainingRun, hyperparameters: Hyperparameters) -> bool:
    """Whether a live worker of the run's queue can train it; assumed where the queue is not reachable."""
    try:
        machines = live_workers.hardware_by_worker(run.queue_name)
    except RedisError:
        return True
    return any(not capability_problem(run, hyperparameters, machine) for machine in machines)


# -- advice -----------------------------------------------------------------------------------------------------------


def recommended_method(*, dataset: DatasetVersion, base_model: BaseModel) -> tuple[str, str]:
    """The method of a run where none is chosen, and why: ``full`` for an extraction with a small model where full
    fine-tuning is known to fit, else ``lora``.

    Whether it fits is estimated with its preset. It is unknown without the lengths of the documents or a worker.
    """
    if base_model.is_encoder:
        return _recommended_for_encoder(dataset, base_model)
    task = task_of(dataset.schema_version.compiled.fields)
    if task != "extraction":
        return "lora", f"LoRA is recommended: an adapter is enough for {task}."
    if base_model.parameters > SMALL_MODEL:
        return "lora", "LoRA is recommended: an adapter is enough for a model of this size."
    full = default_hyperparameters(dataset=dataset, base_model=base_model, method="full")
    estimate = estimate_for(dataset=dataset, base_model=base_model, hyperparameters=full)
    if estimate is None:
        return "lora", "LoRA is the default until the token lengths are known."
    if estimate.fits is None:
        return "lora", "LoRA is the default while no worker has reported its memory."
    if estimate.problems:
        return "lora", "LoRA is recommended: full fine-tuning needs more memory or disk than the worker has."
    # measured on receipts, see docs/benchmarks.md
    return "full", (
        "Full fine-tuning is recommended: a small model needs all its weights for values that span several lines, such "
        "as addresses. It takes longer."
    )


def _recommended_for_encoder(dataset: DatasetVersion, base_model: BaseModel) -> tuple[str, str]:
    full = default_hyperparameters(dataset=dataset, base_model=base_model, method="full")
    estimate = estimate_for(dataset=dataset, base_model=base_model, hyperparameters=full)
    if estimate is not None and estimate.problems:
        return "lora", "LoRA is recommended: full fine-tuning needs more memory or disk than the worker has."
    return "full", "Full fine-tuning is recommended: an encoder is small, and its heads are new."
