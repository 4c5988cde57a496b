"""What a run will cost, from what is known here: lengths, the model's shape, the workers, earlier runs."""

import shutil
from typing import Any

from django.db.models import Case, Value, When

from labeling.models import DatasetVersion, Project, Split
from slmstudio.storage.artifacts import local_path
from slmstudio.workers.hardware import Hardware
from training.estimates.estimate import USUAL_LIMIT, Estimate, NoShape, Shape, estimate, resolved_precision
from training.estimates.machines import as_timed, gpu_hardware
from training.estimates.throughput import scaled_speed
from training.models import BaseModel, LengthReport, TrainingRun
from training.runs.presets import Knobs
from training.spec import RunSpec
from training.strict_yaml import SpecError


def shape_of(base_model: BaseModel) -> Shape | None:
    """The shape of a base model, None where it is not known before it is prepared."""
    try:
        return Shape.from_dict(base_model.shape)
    except NoShape:
        return None


def estimate_for(
    *, dataset: DatasetVersion, base_model: BaseModel, knobs: Knobs, hardware: Hardware | None = None
) -> Estimate | None:
    """What this run would cost on a machine, that of the ablest worker unless one is named.

    None where lengths or shape are not known yet.
    """
    shape = shape_of(base_model)
    report = LengthReport.objects.filter(dataset=dataset, base_model=base_model).select_related("base_model").first()
    if shape is None or report is None or not report.current:
        return None
    rows = [(prompt + answer, answer) for _, split, prompt, answer in report.lengths if split == Split.TRAIN]
    kept = [row for row in rows if row[0] <= knobs.max_length]
    lengths = [tokens for tokens, _ in rows]
    mean = sum(tokens for tokens, _ in kept) / len(kept) if kept else float(knobs.max_length)
    hardware = as_timed(hardware) if hardware else gpu_hardware()
    project: Any = dataset.project
    speed, speed_from = measured_speed(project, base_model, shape, knobs, mean, hardware)
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
    project: Project, base_model: BaseModel, shape: Shape, knobs: Knobs, length: float, hardware: Hardware | None
) -> tuple[float | None, str]:
    """Tokens per second of the last run of this base model that ended well on such a machine, scaled to these knobs.

    A run of the same precision, of the project where it has one. All of its time counts, samples and looks included.
    The sentence's end says which run it was; a run of another project, which not everybody may see, is not named.
    """
    device = "cuda" if hardware and hardware.gpus else "cpu"
    runs: Any = TrainingRun.objects.filter(
        base_model=base_model,
        facts__tokens__gt=0,
        facts__seconds__gt=0,
        facts__device=device,
        facts__precision=resolved_precision(knobs, hardware),
    ).done()
    if hardware is not None:
        runs = runs.filter(facts__machine=hardware.kind)
    own = Case(When(project=project, then=Value(0)), default=Value(1))
    run: Any = runs.order_by(own, "-finished_at").first()
    if run is None:
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
    reached = run.facts["tokens"] / run.facts["seconds"]
    which = f"run {run.number}" if run.project_id == project.pk else "an earlier run elsewhere in this studio"
    words = f"from {which}, which reached {reached:,.0f} tokens a second"
    return scaled_speed(reached, shape, then, knobs, length), words + _scaled_words(then, knobs)


def _scaled_words(then: Knobs, now: Knobs) -> str:
    """How a speed was scaled, as the end of a sentence; empty where the settings that it depends on are the same."""
    by = []
    if _work_of(then) != _work_of(now):
        by.append("the work of a token")
    if then.devices != now.devices:
        by.append("the number of GPUs")
    return f" with other settings, scaled by {' and '.join(by)}" if by else ""


def _work_of(knobs: Knobs) -> tuple[str, bool, int]:
    """The knobs that the work of a token depends on."""
    return knobs.method, knobs.activation_checkpointing, 0 if knobs.method == "full" else knobs.lora_r


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
