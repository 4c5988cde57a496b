"""What a model's card says, gathered from the rows of its run."""

import json
from pathlib import Path
from typing import Any

from labeling.datasets.queries import rows
from slmstudio.contract.schema.compiled import loads
from slmstudio.storage.artifacts import local_path
from slmstudio.storage.hashing import sha256_text
from training.exports import model_card
from training.models import LengthReport, TrainingEvent, TrainingRun
from training.prompts import shown_schema
from training.spec import RunSpec

_KIND = TrainingEvent.Kind


def lineage_of(run: TrainingRun, spec: RunSpec) -> dict[str, Any]:
    """What a model rests on, by name and by hash."""
    return {
        "base_model": spec.base_model.slug,
        "base_model_sha256": spec.base_model.sha256,
        "dataset": run.dataset.number,
        "dataset_sha256": spec.dataset.sha256,
        "schema": run.dataset.schema_version.number,
        "schema_sha256": spec.contract.schema_sha256,
        "spec_sha256": sha256_text(run.spec),
    }


def describe(run: TrainingRun, folder: Path) -> None:
    """Writes card, lineage and environment into the folder of the run's model. Done twice, it comes to the same."""
    model_card.write(folder, facts_of(run))


def facts_of(run: TrainingRun) -> model_card.Facts:
    """Everything the card says."""
    spec = RunSpec.from_yaml(run.spec)
    base, dataset, said = run.base_model, run.dataset, run.facts
    prompt, end = _prompt(run)
    looks = _looks(run)
    metrics = list(run.events.filter(kind=_KIND.METRICS).order_by("step").values_list("step", "data__loss"))
    samples = run.events.filter(kind=_KIND.SAMPLES).order_by("-step").first()
    return model_card.Facts(
        project=run.project.name,
        run=str(run),
        base_model=base.name,
        base_reference=base.reference or (base.location if base.source == "hub" else ""),
        licence=base.licence,
        style=spec.prompt,
        instruction=spec.contract.instruction,
        schema=shown_schema(loads(dataset.schema_version.schema_text)),
        prompt=prompt,
        end_token=end,
        context=base.context,
        dataset=f"version {dataset.number}",
        counts={str(name): int(count) for name, count in (dataset.counts.get("splits") or {}).items()},
        left_out=len(said.get("left_out") or []),
        settings=_settings(spec),
        losses=model_card.spread(metrics),
        looks=model_card.spread(looks),
        samples=len((samples.data.get("rows") if samples else None) or []),
        totals=_totals(said),
        lineage={**lineage_of(run, spec), "licence": base.licence, "revision": base.revision},
        environment=_environment(run),
    )


def _settings(spec: RunSpec) -> list[tuple[str, str]]:
    """The spec in words, without what is of this machine."""
    names = [
        *("method", "max_length", "batch_size", "accumulation", "devices", "learning_rate", "scheduler"),
        *("warmup_ratio", "epochs", "max_steps", "precision", "seed", "early_stopping", "too_long", "prompt"),
    ]
    found = [(name, str(value)) for name in names if (value := getattr(spec, name)) is not None]
    if spec.method != "full":
        lora = spec.lora
        targets = lora.targets if isinstance(lora.targets, str) else ", ".join(lora.targets)
        words = f"r {lora.r}, alpha {lora.alpha}, dropout {lora.dropout}, {targets}"
        found.insert(1, ("lora", words))
    return found


def _totals(said: dict[str, Any]) -> list[tuple[str, str]]:
    names = {
        "steps": "Steps",
        "best_step": "Best step",
        "tokens": "Tokens learned from",
        "seconds": "Seconds",
        "parameters": "Parameters",
        "trainable_parameters": "Trained parameters",
        "longest": "Longest row in tokens",
        "peak_memory_bytes": "Peak memory in bytes",
    }
    return [(title, f"{said[name]:,}") for name, title in names.items() if isinstance(said.get(name), int | float)]


def _looks(run: TrainingRun) -> list[tuple[int, Any, Any, Any]]:
    """Step, validation loss, and the samples' figures of the same step."""
    losses = dict(run.events.filter(kind=_KIND.VALIDATION).values_list("step", "data__loss"))
    found = run.events.filter(kind=_KIND.SAMPLES).values_list("step", "data__field_exact", "data__schema_valid")
    samples = {step: (exact, valid) for step, exact, valid in found}
    return [(step, losses.get(step), *samples.get(step, (None, None))) for step in sorted({*losses, *samples})]


def _prompt(run: TrainingRun) -> tuple[str, str]:
    """The prompt as the model reads it with a placeholder for the document, and the token behind an answer.

    Empty where the lengths were not measured here, or the document does not stand in it to the letter.
    """
    report = LengthReport.objects.filter(dataset=run.dataset, base_model=run.base_model).first()
    if report is None:
        return "", ""
    try:
        seen = json.loads(local_path(report.seen_key).read_text(encoding="utf-8"))
        shown = seen.get("train") or next(iter(seen.values()))
        document = next(row["text"] for row in rows(run.dataset) if row["id"] == shown["id"])
    except (OSError, ValueError, KeyError, StopIteration):
        return "", ""
    end = str(shown["completion"]).rpartition("}")[2].strip()
    if not document.strip() or shown["prompt"].count(document) != 1:
        return "", end
    return shown["prompt"].replace(document, model_card.PLACEHOLDER), end


def _environment(run: TrainingRun) -> dict[str, Any]:
    try:
        found = json.loads(local_path(f"{run.folder_key}/environment.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
