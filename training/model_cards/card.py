"""The model card of a run: description, usage, training, limits, lineage.

It contains no paths of the machine and no document: the prompt has a placeholder in place of the document.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from labeling.datasets.queries import rows
from slmstudio.contract.schema.compiled import loads
from slmstudio.storage.artifacts import local_path
from slmstudio.storage.hashing import sha256_text
from slmstudio.text.formatting import percent
from training.encoders.heads import plan_heads
from training.models import BaseModel, LengthReport, TrainingEvent, TrainingRun
from training.prompts import PLACEHOLDER, prompt_schema
from training.spec import CARD_FILES, RunSpec

README, LINEAGE, ENVIRONMENT = CARD_FILES
#: evaluations that the card shows, spread over the run
MAX_EVALUATIONS = 8
_KIND = TrainingEvent.Kind
#: facts of a run, with their titles
_TOTALS = {
    "steps": "Steps",
    "best_step": "Best step",
    "tokens": "Training tokens",
    "seconds": "Seconds",
    "parameters": "Parameters",
    "trainable_parameters": "Trainable parameters",
    "longest": "Longest row in tokens",
    "peak_memory_bytes": "Peak memory in bytes",
}


def write(run: TrainingRun, folder: Path) -> None:
    """Writes card, lineage and environment into the folder of the run's model, replacing existing ones."""
    texts = {README: text(run), LINEAGE: _json(_full_lineage(run)), ENVIRONMENT: _json(_environment(run))}
    for name, content in texts.items():
        (folder / name).write_text(content, encoding="utf-8")
        (folder / name).chmod(0o644)


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def text(run: TrainingRun) -> str:
    """The card as Markdown with the front matter that model hubs read."""
    base = run.base_model
    values: dict[str, Any] = {"library_name": "transformers", "pipeline_tag": "text-generation"}
    if base.is_encoder:
        values = {"library_name": "slm-studio", "pipeline_tag": "token-classification"}
    if base.licence:
        values["license"] = base.licence.lower()
    if reference := _reference(base):
        values["base_model"] = reference
    values["tags"] = ["structured-extraction", "slm-studio"]
    return f"{front_matter(values)}\n\n{body(run)}"


def body(run: TrainingRun) -> str:
    """The card without front matter."""
    spec = RunSpec.from_yaml(run.spec)
    lineage = _full_lineage(run).items()
    terms = [(title, escaped_line(value)) for title, value in run.base_model.license_record.rows()]
    parts = [
        f"# {escaped_line(run.project.name)}: {escaped_line(str(run))}",
        f"{escaped_line(run.base_model.name)}, fine-tuned to extract a JSON object of a fixed schema from a document.",
        *(_hybrid_sections(run) if spec.hybrid else _sections(run, spec)),
        table("License of the base model", ("", ""), terms),
        table(
            "Lineage",
            ("What", "Value"),
            [(name, f"`{value}`") for name, value in lineage if not isinstance(value, dict)],
        ),
        _environment_section(run),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _sections(run: TrainingRun, spec: RunSpec) -> list[str]:
    """The sections of a run that trained a model."""
    return [
        _summary_section(run, spec),
        _encoder_usage_section(run, spec) if run.base_model.is_encoder else _usage_section(run, spec),
        _training_section(run, spec),
        _limits_section(run),
    ]


def _hybrid_sections(run: TrainingRun) -> list[str]:
    """Those of a run that combined two models."""
    rows = [
        (field["pattern"], f"{field['threshold']:.7g}", f"{field['asked']} of {field['documents']}")
        for field in run.facts.get("hybrid", {}).get("fields", [])
    ]
    how = (
        "A hybrid model: the encoder in `encoder/` answers first, and this decoder where the encoder's probability is "
        "below the threshold of a field in `hybrid.json`, or where it has no head. SLM Studio runs both; other "
        "programs run the decoder alone."
    )
    if mode := run.facts.get("hybrid", {}).get("mode"):
        how += f" The thresholds hold for {mode} decoding."
    return [
        how,
        table("Thresholds", ("Field", "Threshold", "Answered by the decoder on validation"), rows),
    ]


def _reference(base: BaseModel) -> str:
    """The hub ID of a base model; "" without one."""
    return base.reference or (base.location if base.source == BaseModel.Source.HUB else "")


def _summary_section(run: TrainingRun, spec: RunSpec) -> str:
    base, splits = run.base_model, dict(run.dataset.counts.get("splits") or {})
    if spec.silver is not None:
        splits["silver"] = run.facts.get("silver_rows") or 0
    counts = ", ".join(f"{count:,} {name}" for name, count in splits.items())
    left_out, windowed = len(run.facts.get("left_out") or []), (run.facts.get("windows") or {}).get("documents")
    left = f" {left_out:,} were longer than the sequence length and were dropped." if left_out else ""
    if windowed:
        left += f" {windowed:,} were longer than the sequence length and were split into windows."
    unknown = "unknown: check it before you distribute the model"
    summary = [
        ("Base model", f"{escaped_line(base.name)} ({escaped_line(_reference(base)) or 'no hub ID'})"),
        ("License of the base model", escaped_line(base.licence) or unknown),
        ("Dataset", f"version {run.dataset.number}: {counts} documents.{left}"),
        ("Context", f"{base.context:,} tokens" if base.context else "unknown"),
    ]
    schema = prompt_schema(loads(run.dataset.schema_version.schema_text))
    return (
        table("Model", ("", ""), summary)
        + "\n\nSchema of its output:\n\n"
        + fenced(json.dumps(schema, indent=2, ensure_ascii=False, default=float), "json")
    )


def _usage_section(run: TrainingRun, spec: RunSpec) -> str:
    prompt, end_token = _prompt(run)
    parts = ["## Usage", "The exact training instruction:", fenced(spec.contract.instruction)]
    if prompt:
        parts += [
            f"The prompt as the model reads it, with `{PLACEHOLDER}` in place of the document:",
            fenced(prompt),
        ]
    end = f", then `{end_token}`" if end_token else ""
    parts.append(
        "The output is one JSON object with properties in the order of the schema and no whitespace between them"
        f"{end}. Decode greedily (temperature 0). A different instruction lowers accuracy."
    )
    return "\n\n".join([*parts, _transformers(spec.prompt), _servers(spec.prompt)])


def _encoder_usage_section(run: TrainingRun, spec: RunSpec) -> str:
    located = {head["field"]: head["located"] for head in run.facts.get("heads") or ()}
    plan = plan_heads(run.dataset.schema_version.compiled)
    heads = [head for head in plan.heads if head.pattern not in spec.without_heads]
    gold = {field: f"{count:,} of {total:,}" for field, (count, total) in located.items()}
    rows = [(head.pattern, head.description, gold.get(head.pattern, "")) for head in heads]
    missing = {
        **{item.pattern: item.reason for item in plan.unanswered},
        **dict.fromkeys(spec.without_heads, "left out"),
    }
    rows += [(pattern, f"none: {reason}", "") for pattern, reason in missing.items()]
    code = (
        "from pathlib import Path\n\n"
        "from training.ml.data.rows import compiled\n"
        "from training.ml.encoders.predictor import load_predictor\n"
        "from training.spec import RunSpec\n\n"
        "contract = RunSpec.from_yaml(Path(SPEC).read_text()).contract\n"
        "predictor = load_predictor(Path(FOLDER), compiled(contract))\n"
        "answer = predictor.predict(document)\n"
        "print(answer.text, answer.confidence)"
    )
    parts = [
        "## Usage",
        (
            "The encoder reads the document once, without an instruction. Its heads point at the values of the fields; "
            "the output is one JSON object with properties in the order of the schema."
        ),
        table("", ("Field", "Head", "Training documents with gold in the text"), rows),
        _spelling_rules(run),
        (
            "`model.safetensors` and `config.json` are the encoder, which transformers loads; `heads.safetensors` and "
            "`heads.json` are the heads, which SLM Studio computes. In its repository, with the RunSpec of the run:"
        ),
        fenced(code, "python"),
    ]
    return "\n\n".join(part for part in parts if part)


def _spelling_rules(run: TrainingRun) -> str:
    """How the letters of a document become the spelling of gold, by field; "" where they stay as they are."""
    try:
        stored = json.loads(local_path(f"{run.folder_key}/merged/heads.json").read_text(encoding="utf-8"))
        spelling = {str(field): (rules["rules"], rules["known"]) for field, rules in stored["spelling"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ""
    rows = [(field, "; ".join(rules) or "none", f"{len(known):,}") for field, (rules, known) in spelling.items()]
    return table("", ("Field", "Changes to what is printed", "Values with a spelling of their own"), rows)


def _transformers(style: str) -> str:
    if style == "chat":
        make = (
            'messages = [{"role": "system", "content": INSTRUCTION}, {"role": "user", "content": document}]\n'
            "prompt = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)\n"
            'inputs = tokenizer(prompt, add_special_tokens=False, return_tensors="pt")'
        )
    else:
        make = (
            'prompt = f"{INSTRUCTION}\\n\\nDocument:\\n{document}\\n\\nJSON:\\n"\n'
            'inputs = tokenizer(prompt, return_tensors="pt")'
        )
    code = (
        "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        "tokenizer = AutoTokenizer.from_pretrained(FOLDER)\n"
        "model = AutoModelForCausalLM.from_pretrained(FOLDER)\n"
        f"{make}\n"
        "output = model.generate(**inputs, do_sample=False, max_new_tokens=512)\n"
        'print(tokenizer.decode(output[0, inputs["input_ids"].shape[1]:], skip_special_tokens=True))'
    )
    return "With transformers:\n\n" + fenced(code, "python")


def _servers(style: str) -> str:
    chat = style == "chat"
    call = "chat/completions" if chat else "completions"
    body: dict[str, Any] = {"model": "FOLDER", "temperature": 0, "max_tokens": 512}
    if chat:
        body["messages"] = [
            {"role": "system", "content": "INSTRUCTION"},
            {"role": "user", "content": "DOCUMENT"},
        ]
        body["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "schema": "SCHEMA"}}
    else:
        body["prompt"] = "INSTRUCTION\n\nDocument:\nDOCUMENT\n\nJSON:\n"
    shown = json.dumps(body, indent=2).replace('"SCHEMA"', "SCHEMA")
    lines = "vllm serve FOLDER\nllama-server -m FILE.gguf -c 4096 --jinja"
    return (
        "With vLLM, or with llama.cpp and a GGUF file of the model (each line starts a server):\n\n"
        + fenced(lines, "sh")
        + f"\n\nThen `POST /v1/{call}`; `response_format` constrains the output to the schema:\n\n"
        + fenced(shown, "json")
    )


def _training_section(run: TrainingRun, spec: RunSpec) -> str:
    metrics = run.events.filter(kind=_KIND.METRICS).order_by("step").values_list("step", "data__loss")
    losses = [(f"{step:,}", _number(loss, 4)) for step, loss in spread(list(metrics))]
    evaluations = [
        (f"{step:,}", _number(loss, 4), *("" if rate is None else percent(rate, 0) for rate in (exact, valid)))
        for step, loss, exact, valid in spread(_evaluations(run))
    ]
    settings = [
        *_settings(spec, run.base_model.is_encoder),
        *((name, str(value)) for name, value in (run.facts.get("optimizer") or {}).items()),
    ]
    totals = [(title, run.facts.get(name)) for name, title in _TOTALS.items()]
    measured = [(title, f"{value:,}") for title, value in totals if isinstance(value, int | float)]
    parts = [
        table("Training", ("Setting", "Value"), [(name, escaped_line(value)) for name, value in settings]),
        table("", ("Measured", "Value"), measured),
        table("", ("Step", "Training loss"), losses),
        table("", ("Step", "Validation loss", "Field accuracy in samples", "Schema-valid samples"), evaluations),
    ]
    return "\n\n".join(part for part in parts if part)


def _limits_section(run: TrainingRun) -> str:
    newest = run.events.filter(kind=_KIND.SAMPLES).order_by("-step").first()
    samples = len((newest.data.get("rows") if newest else None) or [])
    if run.base_model.is_encoder:
        lines = [
            "It is trained only on documents like those of its dataset.",
            f"The figures above are from {samples} validation documents, and no evaluation: the hold-out was not used.",
            "Every output is valid under the schema, but values can be wrong. Verify them.",
        ]
        return "## Limits\n\n" + "\n".join(f"- {line}" for line in lines)
    lines = [
        "It is trained only on documents like those of its dataset, and not to converse or to refuse requests.",
        (
            f"The figures above are from {samples} validation documents with unconstrained decoding. They are not an "
            "evaluation: the hold-out was not used."
        ),
        (
            "A document can contain text that looks like a control token of the chat template. Insert a space after "
            "the first character of such text."
        ),
        "Constrained decoding makes every output valid under the schema, but values can be wrong. Verify them.",
    ]
    return "## Limits\n\n" + "\n".join(f"- {line}" for line in lines)


def _environment_section(run: TrainingRun) -> str:
    environment = _environment(run)
    plain = {name: value for name, value in environment.items() if not isinstance(value, dict)}
    lines = {**plain, **(environment.get("packages") or {})}
    return table("Environment", ("", ""), [(name, escaped_line(str(value))) for name, value in lines.items()])


# -- facts of a run ---------------------------------------------------------------------------------------------------


def lineage_of(run: TrainingRun, spec: RunSpec) -> dict[str, Any]:
    """Base model, dataset, schema and spec of a model, with their hashes."""
    return {
        "base_model": spec.base_model.slug,
        "base_model_sha256": spec.base_model.sha256,
        "dataset": run.dataset.number,
        "dataset_sha256": spec.dataset.sha256,
        **({"silver_sha256": spec.silver.sha256} if spec.silver is not None else {}),
        **_parts_of(spec),
        "schema": run.dataset.schema_version.number,
        "schema_sha256": spec.contract.schema_sha256,
        "spec_sha256": sha256_text(run.spec),
    }


def _parts_of(spec: RunSpec) -> dict[str, str]:
    """The hashes of the two models of a hybrid; nothing for another model."""
    if spec.hybrid is None:
        return {}
    return {"encoder_sha256": spec.hybrid.encoder.sha256, "decoder_sha256": spec.hybrid.decoder.sha256}


def _full_lineage(run: TrainingRun) -> dict[str, Any]:
    """The lineage with license and revision of the base model, the application that trained, and its prompt template.
    Runs from before the last two were recorded have neither.
    """
    base, facts = run.base_model, run.facts
    return {
        **lineage_of(run, RunSpec.from_yaml(run.spec)),
        "licence": base.licence,
        "license_record": base.license_record.as_dict(),
        "revision": base.revision,
        **{f"application_{name}": str(value) for name, value in (facts.get("application") or {}).items()},
        **({"prompt_sha256": facts["prompt_sha256"]} if facts.get("prompt_sha256") else {}),
    }


def _settings(spec: RunSpec, is_encoder: bool) -> list[tuple[str, str]]:
    """The settings of the spec, without paths."""
    names = [
        *("method", "max_length", "batch_size", "accumulation", "devices", "learning_rate", "scheduler"),
        *("warmup_ratio", "epochs", "max_steps", "precision", "seed", "early_stopping", "too_long"),
        *(() if is_encoder else ("prompt",)),
        *(("weight_averaging", "ema_decay") if spec.weight_averaging != "none" else ()),
        *(("augmentation",) if spec.augmentation != "none" else ()),
        *(("without_heads",) if spec.without_heads else ()),
    ]
    settings = [(name, str(value)) for name in names if (value := getattr(spec, name)) is not None]
    if spec.method != "full":
        lora = spec.lora
        targets = lora.targets if isinstance(lora.targets, str) else ", ".join(lora.targets)
        words = f"r {lora.r}, alpha {lora.alpha}, dropout {lora.dropout}, {targets}"
        settings.insert(1, ("lora", words))
    return settings


def _evaluations(run: TrainingRun) -> list[tuple[int, Any, Any, Any]]:
    """Step, validation loss, and field accuracy and schema validity of the samples at that step."""
    losses = dict(run.events.filter(kind=_KIND.VALIDATION).values_list("step", "data__loss"))
    sampled = run.events.filter(kind=_KIND.SAMPLES).values_list("step", "data__field_exact", "data__schema_valid")
    samples = {step: (exact, valid) for step, exact, valid in sampled}
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
        environment = json.loads(local_path(f"{run.folder_key}/environment.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return environment if isinstance(environment, dict) else {}


# -- Markdown ---------------------------------------------------------------------------------------------------------


def front_matter(values: dict[str, Any]) -> str:
    """Metadata as the front matter of a card."""
    return f"---\n{yaml.safe_dump(values, sort_keys=False, allow_unicode=True)}---"


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A section with a table; "" without rows."""
    if not rows:
        return ""
    lines = [f"## {title}\n"] if title else []
    lines += [_cells(head), _cells(["---"] * len(head)), *(_cells(row) for row in rows)]
    return "\n".join(lines)


def _cells(row: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"


def escaped_line(words: str) -> str:
    """A user's text as one line with Markdown and HTML escaped."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in words).split())
    return re.sub(r"([\\`*_\[\]<>#|])", r"\\\1", line)


def fenced(words: str, language: str = "") -> str:
    """A fenced block, with a fence longer than any in the text."""
    longest = max((len(run) for run in re.findall(r"`+", words)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{words}\n{fence}"


def _number(value: float | None, places: int) -> str:
    return "" if value is None else f"{value:.{places}f}"


def spread(items: Sequence[Any], limit: int = MAX_EVALUATIONS) -> list[Any]:
    """At most ``limit`` items, evenly spread, with the first and the last."""
    if len(items) <= limit:
        return list(items)
    return [items[round(index * (len(items) - 1) / (limit - 1))] for index in range(limit)]
