"""The contents of a model card from the database."""

import json
from pathlib import Path
from typing import Any

from labeling.datasets.queries import rows
from slmstudio.contract.schema.compiled import loads
from slmstudio.storage.artifacts import local_path
from slmstudio.storage.hashing import sha256_text
from training.model_cards import card
from training.models import LengthReport, TrainingEvent, TrainingRun
from training.prompts import PLACEHOLDER, prompt_schema
from training.spec import RunSpec

_KIND = TrainingEvent.Kind


def lineage_of(run: TrainingRun, spec: RunSpec) -> dict[str, Any]:
    """Base model, dataset, schema and spec of a model, with their hashes."""
    return {
        "base_model": spec.base_model.slug,
        "base_model_sha256": spec.base_model.sha256,
        "dataset": run.dataset.number,
        "dataset_sha256": spec.dataset.sha256,
        **({"silver_sha256": spec.silver.sha256} if spec.silver is not None else {}),
        "schema": run.dataset.schema_version.number,
        "schema_sha256": spec.contract.schema_sha256,
        "spec_sha256": sha256_text(run.spec),
    }


def describe(run: TrainingRun, folder: Path) -> None:
    """Writes card, lineage and environment into the folder of the run's model. Idempotent."""
    card.write(folder, facts_of(run))


def facts_of(run: TrainingRun) -> card.ModelCardFacts:
    """The contents of the card."""
    spec = RunSpec.from_yaml(run.spec)
    base, dataset, facts = run.base_model, run.dataset, run.facts
    prompt, end = _prompt(run)
    evaluations = _evaluations(run)
    metrics = list(run.events.filter(kind=_KIND.METRICS).order_by("step").values_list("step", "data__loss"))
    samples = run.events.filter(kind=_KIND.SAMPLES).order_by("-step").first()
    return card.ModelCardFacts(
        project=run.project.name,
        run=str(run),
        base_model=base.name,
        base_reference=base.reference or (base.location if base.source == "hub" else ""),
        licence=base.licence,
        terms=base.license_record,
        style=spec.prompt,
        instruction=spec.contract.instruction,
        schema=prompt_schema(loads(dataset.schema_version.schema_text)),
        prompt=prompt,
        end_token=end,
        context=base.context,
        dataset=f"version {dataset.number}",
        counts=_counts(run, spec),
        left_out=len(facts.get("left_out") or []),
        windowed=int((facts.get("windows") or {}).get("documents") or 0),
        settings=[*_settings(spec), *((name, str(value)) for name, value in (facts.get("optimizer") or {}).items())],
        losses=card.spread(metrics),
        evaluations=card.spread(evaluations),
        samples=len((samples.data.get("rows") if samples else None) or []),
        totals=_totals(facts),
        lineage={
            **lineage_of(run, spec),
            "licence": base.licence,
            "license_record": base.license_record.as_dict(),
            "revision": base.revision,
            **_made_by(facts),
        },
        environment=_environment(run),
    )


def _counts(run: TrainingRun, spec: RunSpec) -> dict[str, int]:
    """The documents by split, and those with silver labels where the run used them."""
    counts = {str(name): int(count) for name, count in (run.dataset.counts.get("splits") or {}).items()}
    return counts | ({"silver": int(run.facts.get("silver_rows") or 0)} if spec.silver is not None else {})


def _made_by(facts: dict[str, Any]) -> dict[str, str]:
    """The application that trained, and its prompt template; runs from before they were recorded have neither."""
    found = {f"application_{name}": str(value) for name, value in (facts.get("application") or {}).items()}
    return {**found, **({"prompt_sha256": facts["prompt_sha256"]} if facts.get("prompt_sha256") else {})}


def _settings(spec: RunSpec) -> list[tuple[str, str]]:
    """The settings of the spec, without paths."""
    names = [
        *("method", "max_length", "batch_size", "accumulation", "devices", "learning_rate", "scheduler"),
        *("warmup_ratio", "epochs", "max_steps", "precision", "seed", "early_stopping", "too_long", "prompt"),
        *(("weight_averaging", "ema_decay") if spec.weight_averaging != "none" else ()),
        *(("augmentation",) if spec.augmentation != "none" else ()),
    ]
    found = [(name, str(value)) for name in names if (value := getattr(spec, name)) is not None]
    if spec.method != "full":
        lora = spec.lora
        targets = lora.targets if isinstance(lora.targets, str) else ", ".join(lora.targets)
        words = f"r {lora.r}, alpha {lora.alpha}, dropout {lora.dropout}, {targets}"
        found.insert(1, ("lora", words))
    return found


def _totals(facts: dict[str, Any]) -> list[tuple[str, str]]:
    names = {
        "steps": "Steps",
        "best_step": "Best step",
        "tokens": "Training tokens",
        "seconds": "Seconds",
        "parameters": "Parameters",
        "trainable_parameters": "Trainable parameters",
        "longest": "Longest row in tokens",
        "peak_memory_bytes": "Peak memory in bytes",
    }
    return [(title, f"{facts[name]:,}") for name, title in names.items() if isinstance(facts.get(name), int | float)]


def _evaluations(run: TrainingRun) -> list[tuple[int, Any, Any, Any]]:
    """Step, validation loss, and field accuracy and schema validity of the samples at that step."""
    losses = dict(run.events.filter(kind=_KIND.VALIDATION).values_list("step", "data__loss"))
    found = run.events.filter(kind=_KIND.SAMPLES).values_list("step", "data__field_exact", "data__schema_valid")
    samples = {step: (exact, valid) for step, exact, valid in found}
    return [(step, losses.get(step), *samples.get(step, (None, None))) for step in sorted({*losses, *samples})]


def _prompt(run: TrainingRun) -> tuple[str, str]:
    """The prompt as the model reads it with a placeholder for the document, and the end token.

    Empty where lengths were not measured, or the prompt does not contain the document verbatim.
    """
    report = LengthReport.objects.of(run.dataset, run.base_model)
    if report is None:
        return "", ""
    try:
        seen = json.loads(local_path(report.sample_key).read_text(encoding="utf-8"))
        shown = seen.get("train") or next(iter(seen.values()))
        document = next(row["text"] for row in rows(run.dataset) if row["id"] == shown["id"])
    except (OSError, ValueError, KeyError, StopIteration):
        return "", ""
    end = str(shown["completion"]).rpartition("}")[2].strip()
    if not document.strip() or shown["prompt"].count(document) != 1:
        return "", end
    return shown["prompt"].replace(document, PLACEHOLDER), end


def _environment(run: TrainingRun) -> dict[str, Any]:
    try:
        found = json.loads(local_path(f"{run.folder_key}/environment.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
