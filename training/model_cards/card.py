"""The model card: description, usage, training, limits, lineage. Pure: facts in, files out.

It contains no paths of the machine and no document: the prompt has a placeholder in place of the document.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from slmstudio.text.formatting import percent
from training.licenses import LicenseRecord
from training.prompts import PLACEHOLDER

README, LINEAGE, ENVIRONMENT = "README.md", "lineage.json", "environment.json"
#: what ``write`` puts into a model folder
FILES = (README, LINEAGE, ENVIRONMENT)
#: evaluations that the card shows, spread over the run
MAX_EVALUATIONS = 8


@dataclass(frozen=True)
class ModelCardFacts:
    """The contents of a card. ``prompt`` is the text before tokenization, with ``{document}`` in it, or empty.

    ``losses``: (step, training loss) of the first and last steps; ``evaluations``: (step, validation loss, field
    accuracy of samples, share of schema-valid samples), None where unknown.
    ``terms``: those of the license of the base model.
    """

    project: str
    run: str
    base_model: str
    base_reference: str
    licence: str
    terms: LicenseRecord
    style: str
    instruction: str
    schema: dict[str, Any]
    prompt: str
    end_token: str
    context: int
    dataset: str
    counts: dict[str, int]
    left_out: int
    windowed: int
    settings: Sequence[tuple[str, str]]
    losses: Sequence[tuple[int, float | None]]
    evaluations: Sequence[tuple[int, float | None, float | None, float | None]]
    samples: int
    totals: Sequence[tuple[str, str]]
    lineage: dict[str, Any]
    environment: dict[str, Any] = field(default_factory=dict)


def write(folder: Path, facts: ModelCardFacts) -> None:
    """Writes README.md, lineage.json and environment.json into a model folder, replacing existing ones."""
    (folder / README).write_text(text(facts), encoding="utf-8")
    for name, value in ((LINEAGE, facts.lineage), (ENVIRONMENT, facts.environment)):
        (folder / name).write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    for name in FILES:
        (folder / name).chmod(0o644)


def text(facts: ModelCardFacts) -> str:
    """The card as Markdown with the front matter that model hubs read."""
    return f"{front_matter(front_matter_of(facts))}\n\n{body(facts)}"


def body(facts: ModelCardFacts) -> str:
    """The card without front matter."""
    parts = [
        f"# {escaped_line(facts.project)}: {escaped_line(facts.run)}",
        f"{escaped_line(facts.base_model)}, fine-tuned to extract a JSON object of a fixed schema from a document.",
        _summary_section(facts),
        _usage_section(facts),
        _training_section(facts),
        _limits_section(facts),
        _license_section(facts.terms),
        table(
            "Lineage",
            ("What", "Value"),
            [(name, f"`{value}`") for name, value in facts.lineage.items() if not isinstance(value, dict)],
        ),
        _environment(facts.environment),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def front_matter_of(facts: ModelCardFacts) -> dict[str, Any]:
    """The metadata that model hubs read."""
    values: dict[str, Any] = {"library_name": "transformers", "pipeline_tag": "text-generation"}
    if facts.licence:
        values["license"] = facts.licence.lower()
    if facts.base_reference:
        values["base_model"] = facts.base_reference
    values["tags"] = ["structured-extraction", "slm-studio"]
    return values


def front_matter(values: dict[str, Any]) -> str:
    """Metadata as the front matter of a card."""
    return f"---\n{yaml.safe_dump(values, sort_keys=False, allow_unicode=True)}---"


def _summary_section(facts: ModelCardFacts) -> str:
    counts = ", ".join(f"{count:,} {escaped_line(name)}" for name, count in facts.counts.items())
    left = f" {facts.left_out:,} were longer than the sequence length and were dropped." if facts.left_out else ""
    if facts.windowed:
        left += f" {facts.windowed:,} were longer than the sequence length and were split into windows."
    rows = [
        ("Base model", f"{escaped_line(facts.base_model)} ({escaped_line(facts.base_reference) or 'no hub ID'})"),
        (
            "License of the base model",
            escaped_line(facts.licence) or "unknown: check it before you distribute the model",
        ),
        ("Dataset", f"{escaped_line(facts.dataset)}: {counts} documents.{left}"),
        ("Context", f"{facts.context:,} tokens" if facts.context else "unknown"),
    ]
    return (
        table("Model", ("", ""), rows)
        + "\n\nSchema of its output:\n\n"
        + fenced(json.dumps(facts.schema, indent=2, ensure_ascii=False, default=float), "json")
    )


def _license_section(terms: LicenseRecord) -> str:
    return table("License of the base model", ("", ""), [(title, escaped_line(value)) for title, value in terms.rows()])


def _usage_section(facts: ModelCardFacts) -> str:
    parts = ["## Usage", "The exact training instruction:", fenced(facts.instruction)]
    if facts.prompt:
        parts += [
            f"The prompt as the model reads it, with `{PLACEHOLDER}` in place of the document:",
            fenced(facts.prompt),
        ]
    end = f", then `{facts.end_token}`" if facts.end_token else ""
    parts.append(
        "The output is one JSON object with properties in the order of the schema and no whitespace between them"
        + end
        + "."
        " Decode greedily (temperature 0). A different instruction lowers accuracy."
    )
    parts += [_transformers(facts), _servers(facts)]
    return "\n\n".join(parts)


def _transformers(facts: ModelCardFacts) -> str:
    if facts.style == "chat":
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


def _servers(facts: ModelCardFacts) -> str:
    chat = facts.style == "chat"
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


def _training_section(facts: ModelCardFacts) -> str:
    rows = [(f"{step:,}", _number(loss, 4)) for step, loss in facts.losses]
    evaluations = [
        (f"{step:,}", _number(loss, 4), *("" if rate is None else percent(rate, 0) for rate in (exact, valid)))
        for step, loss, exact, valid in facts.evaluations
    ]
    parts = [
        table("Training", ("Setting", "Value"), [(one, escaped_line(value)) for one, value in facts.settings]),
        table("", ("Measured", "Value"), [(one, escaped_line(value)) for one, value in facts.totals]),
        table("", ("Step", "Training loss"), rows),
        table("", ("Step", "Validation loss", "Field accuracy in samples", "Schema-valid samples"), evaluations),
    ]
    return "\n\n".join(part for part in parts if part)


def _limits_section(facts: ModelCardFacts) -> str:
    measured = (
        f"The figures above are from {facts.samples} validation documents with unconstrained decoding. They are not an "
        "evaluation: the hold-out was not used."
    )
    control = (
        "A document can contain text that looks like a control token of the chat template. Insert a space after "
        "the first character of such text."
    )
    lines = [
        "It is trained only on documents like those of its dataset, and not to converse or to refuse requests.",
        measured,
        control,
        "Constrained decoding makes every output valid under the schema, but values can be wrong. Verify them.",
    ]
    return "## Limits\n\n" + "\n".join(f"- {line}" for line in lines)


def _environment(found: dict[str, Any]) -> str:
    rows = [(name, escaped_line(str(value))) for name, value in found.items() if not isinstance(value, dict)]
    rows += [(name, escaped_line(str(value))) for name, value in (found.get("packages") or {}).items()]
    return table("Environment", ("", ""), rows)


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
    line = " ".join("".join(one if one.isprintable() else " " for one in words).split())
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
