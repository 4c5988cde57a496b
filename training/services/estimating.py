"""What a run will cost, from what is known here: lengths, the model's shape, the workers, earlier runs."""

import shutil
from typing import Any

from labeling.models import DatasetVersion, Project, Split
from slmstudio.artifacts import local_path
from training.estimates import USUAL_LIMIT, Estimate, NoShape, Shape, estimate
from training.models import BaseModel, LengthReport, TrainingRun
from training.presets import Knobs
from training.services.machines import gpu_hardware
from training.spec import RunSpec
from training.speed import scaled_speed
from training.strict import SpecError


def shape_of(base_model: BaseModel) -> Shape | None:
    """The shape of a base model, None where it is not known before it is prepared."""
    try:
        return Shape.from_dict(base_model.shape)
    except NoShape:
        return None


def estimate_for(*, dataset: DatasetVersion, base_model: BaseModel, knobs: Knobs) -> Estimate | None:
    """What this run would cost on the worker that would take it; None where lengths or shape are not known yet."""
    shape = shape_of(base_model)
    report = LengthReport.objects.filter(dataset=dataset, base_model=base_model).select_related("base_model").first()
    if shape is None or report is None or not report.current:
        return None
    rows = [(prompt + answer, answer) for _, split, prompt, answer in report.lengths if split == Split.TRAIN]
    kept = [row for row in rows if row[0] <= knobs.max_length]
    lengths = [tokens for tokens, _ in rows]
    mean = sum(tokens for tokens, _ in kept) / len(kept) if kept else float(knobs.max_length)
    hardware = gpu_hardware()
    speed, speed_from = measured_speed(base_model, shape, knobs, mean, "cuda" if hardware and hardware.gpus else "cpu")
    return estimate(
        shape=shape,
        knobs=knobs,
        lengths=lengths,
        hardware=hardware,
        speed=speed,
        speed_from=speed_from,
        answer=max((answer for _, answer in kept), default=0),
        disk_free=_free(),
    )


def measured_speed(
    base_model: BaseModel, shape: Shape, knobs: Knobs, length: float, device: str
) -> tuple[float | None, str]:
    """Tokens per second of the last run of this base model that ended well on such a device, scaled to these knobs.

    All of that run's time counts, samples and looks included. The sentence's end says which run it was.
    """
    runs: Any = TrainingRun.objects.filter(base_model=base_model, facts__tokens__gt=0, facts__device=device).done()
    run: Any = runs.order_by("-finished_at").first()
    seconds = run.facts.get("seconds") if run is not None else None
    if not seconds or run.facts.get("resumed_from"):  # tokens of the whole, seconds of the last part
        return None, ""
    try:
        spec = RunSpec.from_yaml(run.spec)
    except SpecError:
        return None, ""
    then = Knobs(
        method=spec.method,
        lora_r=spec.lora.r,
        activation_checkpointing=spec.activation_checkpointing,
        precision=spec.precision,
        devices=spec.devices,
    )
    reached = run.facts["tokens"] / seconds
    same = then.method == knobs.method and then.activation_checkpointing == knobs.activation_checkpointing
    words = f"from run {run.number}, which reached {reached:,.0f} tokens a second"
    scaled = words if same else f"{words} with other settings, scaled by the work of a token"
    return scaled_speed(reached, shape, then, knobs, length), scaled


def memory_limit(project: Project | None) -> int:
    """Bytes of the hardware that the project's contract names, 16 GB where it names none or there is no project."""
    contract: Any = getattr(project, "contract", None)
    wanted = contract.constraints.get("hardware_memory_gb") if contract is not None else None
    return int(float(wanted) * 1e9) if wanted else USUAL_LIMIT


def latency_limit(project: Project | None) -> float | None:
    """Seconds that the project's contract gives a request, None where it does not say."""
    contract: Any = getattr(project, "contract", None)
    wanted = contract.constraints.get("latency_p95_ms") if contract is not None else None
    return float(wanted) / 1000 if wanted else None


def _free() -> int | None:
    """Bytes free where runs write, None where that cannot be asked."""
    try:
        return shutil.disk_usage(local_path("training").parent).free
    except (OSError, NotImplementedError):
        return None
