"""The provenance of a gate report: which application, environment, prompt, base model and optimizer made its model and
its outputs. Frozen with the report; its hash is in the manifest.

Facts are recorded by the jobs of training and evaluation. Rows from before they were recorded lack some of them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from evaluation.models import ClassicalModel, EvalRun, GateReport
from slmstudio.runs.application import application, scorer_code
from slmstudio.text.formatting import format_bytes
from training.licenses import LicenseRecord
from training.models import BaseModel, TrainingRun

Facts = dict[str, Any]
#: the environment that was recorded before all of it was
_OLD_ENVIRONMENT = ("processor", "device", "precision", "threads", "packages", "engine", "model", "url")
_TITLES = {
    "version": "Version",
    "commit": "Commit",
    "requirements": "Pinned packages",
    "processor": "Processor",
    "cores": "Cores",
    "threads": "Threads",
    "memory_bytes": "Memory",
    "gpu": "GPU",
    "gpu_memory_bytes": "GPU memory",
    "cuda": "CUDA",
    "device": "Device",
    "devices": "Devices",
    "precision": "Precision",
    "instructions": "Instructions",
    "layers": "Layers",
    "python": "Python",
    "platform": "System",
    "machine": "Architecture",
    "engine": "Engine",
    "model": "Model",
    "url": "URL",
    "reference": "Hub ID",
    "revision": "Revision on the hub",
    "source": "Source",
    "sha256": "Files",
    "licence": "License",
    "optim": "Optimizer",
    "learning_rate": "Learning rate",
    "lr_scheduler_type": "Scheduler",
    "adam_beta1": "Beta 1",
    "adam_beta2": "Beta 2",
    "adam_epsilon": "Epsilon",
    "weight_decay": "Weight decay",
    "max_grad_norm": "Gradient norm",
    "warmup_steps": "Warm-up steps",
    "max_steps": "Steps",
    "per_device_train_batch_size": "Batch size",
    "gradient_accumulation_steps": "Accumulation",
    "seed": "Seed",
    "kind": "Kind",
    "labels": "Training labels",
    "classes": "Classes",
    "data_seed": "Seed of the data",
}
_BYTES = ("memory_bytes", "gpu_memory_bytes")
#: what each part has at least; shown as not recorded where it is missing
_EXPECTED = {
    "application": ("version", "commit", "requirements"),
    "environment": ("processor", "device", "python", "platform"),
    "optimizer": ("optim",),
}


@dataclass(frozen=True)
class Fact:
    """A line on the page of a report. ``is_hash``: the value is one, and shown shortened; "" where not recorded."""

    title: str
    value: str
    is_hash: bool = False


@dataclass(frozen=True)
class Section:
    """The facts about one step."""

    title: str
    facts: list[Fact]


def provenance_of(run: EvalRun, baseline: EvalRun | None) -> Facts:
    """The provenance of a report on an evaluation that is created now."""
    facts: Facts = {
        "report": {"application": application(), "scorer_code": scorer_code()},
        "evaluation": _evaluation(run),
    }
    training, base = run.training_run, run.base_model
    if training is not None:
        base = training.base_model
        facts["training"] = _training(training)
    if (classical := run.classical) is not None:
        facts["classical"] = _classical(classical)
    if base is not None:
        facts["base_model"] = _base_model(base, training)
    if baseline is not None:
        facts["baseline"] = _evaluation(baseline)
    return facts


def _evaluation(run: EvalRun) -> Facts:
    """Of a re-scoring: the environment of the evaluation whose outputs it scored, and the code that scored them."""
    facts = run.facts
    recorded = {
        "number": run.number,
        "application": facts.get("application") or {},
        "environment": environment_of(facts),
        **_prompt_hash(facts, decodes=run.backend.decodes),
        "scorer": run.scorer_version,
        "scorer_code": str(facts.get("scorer_code") or ""),
    }
    return recorded if run.rescored_from is None else {**recorded, "outputs_of": run.rescored_from.number}


def _training(run: TrainingRun) -> Facts:
    facts = run.facts
    return {
        "number": run.number,
        "application": facts.get("application") or {},
        "environment": environment_of(facts),
        "optimizer": facts.get("optimizer") or {},
        **_prompt_hash(facts, decodes=not run.base_model.is_encoder),
        **_silver(run),
    }


def _prompt_hash(facts: Mapping[str, Any], *, decodes: bool) -> Facts:
    """The hash of the prompt template; absent where a model has no prompt."""
    return {"prompt_sha256": str(facts.get("prompt_sha256") or "")} if decodes else {}


def _silver(run: TrainingRun) -> Facts:
    """The silver labels that a run trained on; empty where it used none."""
    if not run.facts.get("silver_rows"):
        return {}
    counted = run.dataset.counts.get("silver") or {}
    return {"silver": {"documents": run.facts["silver_rows"], "sha256": counted.get("sha256", "")}}


def _classical(model: ClassicalModel) -> Facts:
    facts = model.facts
    names = ("kind", "labels", "labels_sha256", "classes", "seed")
    return {
        "number": model.number,
        "dataset": model.dataset.sha256,
        "environment": environment_of(facts),
        **{name: facts[name] for name in names if name in facts},
    }


def _base_model(base: BaseModel, training: TrainingRun | None) -> Facts:
    """``sha256`` is that of the files when the training started; a base model can be prepared again."""
    trained_on = ""
    if training is not None and (version := getattr(training, "model_version", None)) is not None:
        trained_on = str(version.lineage.get("base_model_sha256") or "")
    return {
        "name": base.name,
        "family": str(base.family),
        "source": str(base.source),
        "reference": base.reference or (base.location if base.source == BaseModel.Source.HUB else ""),
        "revision": base.revision,
        "sha256": trained_on or base.sha256,
        "licence": base.licence,
        "license_record": base.license_record.as_dict(),
    }


def environment_of(facts: Mapping[str, Any]) -> Facts:
    """The environment that a job recorded; of an older run, the part of it that it recorded."""
    recorded = facts.get("environment")
    if recorded:
        return {**recorded, **({"engine": facts["engine"]} if facts.get("engine") else {})}
    return {name: facts[name] for name in _OLD_ENVIRONMENT if facts.get(name)}


def sections(report: GateReport) -> list[Section]:
    """The provenance of a report for its page; empty for a report from before it was recorded."""
    stored = report.provenance
    if not stored:
        return []
    made = stored["report"]
    parts = [Section("Gate report", [*_application(made)])]
    if base := stored.get("base_model"):
        rows = [Fact("Name", base["name"]), *_rows(base, ("source", "reference", "licence"))]
        missing = "" if base["source"] == BaseModel.Source.HUB else "none: not from the hub"
        rows += [Fact("Revision on the hub", base["revision"] or missing), Fact("Files", base["sha256"], True)]
        if terms := base.get("license_record"):
            rows += [Fact(title, value) for title, value in LicenseRecord(**terms).rows()[1:]]
        parts.append(Section("Base model", rows))
    if training := stored.get("training"):
        title = f"Training run {training['number']}"
        rows = [*_application(training), *_environment(training), *_prompt(training), *_optimizer(training)]
        if silver := training.get("silver"):
            rows += [Fact("Silver labels", f"{silver['documents']:,} documents")]
            rows += [Fact("File of silver labels", silver["sha256"], True)]
        parts.append(Section(title, rows))
    if classical := stored.get("classical"):
        rows = [*_rows(classical, ("kind", "labels", "classes", "seed")), *_environment(classical)]
        rows.append(Fact("Hash of the labels", str(classical.get("labels_sha256", "")), True))
        parts.append(Section(f"Classical model {classical['number']}", rows))
    for name in ("evaluation", "baseline"):
        if part := stored.get(name):
            parts.append(
                Section(
                    _evaluation_title(name, part),
                    [*_application(part), *_environment(part), *_prompt(part), *_scorer(part)],
                )
            )
    return parts


def _evaluation_title(name: str, part: Facts) -> str:
    title = f"{'Evaluation' if name == 'evaluation' else 'Baseline: evaluation'} {part['number']}"
    return f"{title}, outputs of evaluation {part['outputs_of']}" if "outputs_of" in part else title


def _application(part: Facts) -> Iterator[Fact]:
    return _rows(part["application"], _EXPECTED["application"])


def _environment(part: Facts) -> Iterator[Fact]:
    environment = part["environment"]
    if environment.get("device") == "elsewhere":
        yield from _rows(environment, ("model", "url"))
        return
    names = [name for name in _TITLES if name in environment]
    yield from _rows(environment, dict.fromkeys((*names, *_EXPECTED["environment"])))
    packages = environment.get("packages") or {}
    yield Fact("Packages", ", ".join(f"{name} {version}" for name, version in packages.items()))


def _prompt(part: Facts) -> Iterator[Fact]:
    if "prompt_sha256" in part and part["environment"].get("device") != "elsewhere":
        yield Fact("Prompt template", part["prompt_sha256"], True)


def _optimizer(part: Facts) -> Iterator[Fact]:
    optimizer = part["optimizer"]
    yield from _rows(
        optimizer, dict.fromkeys((*_EXPECTED["optimizer"], *(name for name in _TITLES if name in optimizer)))
    )


def _scorer(part: Facts) -> Iterator[Fact]:
    yield Fact("Scorer", f"version {part['scorer']}" if part["scorer"] else "")
    yield Fact("Code of the scorer", part["scorer_code"], True)


def _rows(values: Mapping[str, Any], names: Any) -> Iterator[Fact]:
    for name in names:
        value = values.get(name)
        text = "" if value in (None, "") else format_bytes(value) if name in _BYTES else str(value)
        yield Fact(_TITLES[name], text, name in ("requirements", "sha256"))
