"""The card of a model: what it is, what it rests on, how to ask it, how it learned. Pure: facts in, files out.

Nothing in it is of this machine but the hardware, and nothing in it is a document: the prompt is shown with a
placeholder where the document stood.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

README, LINEAGE, ENVIRONMENT = "README.md", "lineage.json", "environment.json"
#: what ``write`` puts into a model folder
FILES = (README, LINEAGE, ENVIRONMENT)
PLACEHOLDER = "{document}"
#: looks at the validation rows that the card shows, spread over the run
LOOKS = 8


@dataclass(frozen=True)
class Facts:
    """Everything a card says. ``prompt`` is the text before tokenising, with ``{document}`` in it, or empty.

    ``losses`` are (step, training loss) of the first and last steps, ``looks`` (step, validation loss, share of sample
    fields right, share of schema-valid samples), what is not known being None.
    """

    project: str
    run: str
    base_model: str
    base_reference: str
    licence: str
    style: str
    instruction: str
    schema: dict[str, Any]
    prompt: str
    end_token: str
    context: int
    dataset: str
    counts: dict[str, int]
    left_out: int
    settings: Sequence[tuple[str, str]]
    losses: Sequence[tuple[int, float | None]]
    looks: Sequence[tuple[int, float | None, float | None, float | None]]
    samples: int
    totals: Sequence[tuple[str, str]]
    lineage: dict[str, Any]
    environment: dict[str, Any] = field(default_factory=dict)


def write(folder: Path, facts: Facts) -> None:
    """Puts README.md, lineage.json and environment.json into a model folder, over those that are there."""
    (folder / README).write_text(text(facts), encoding="utf-8")
    for name, value in ((LINEAGE, facts.lineage), (ENVIRONMENT, facts.environment)):
        (folder / name).write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    for name in FILES:
        (folder / name).chmod(0o644)


def text(facts: Facts) -> str:
    """The card as Markdown with the front matter that model hubs read."""
    parts = [
        _front_matter(facts),
        f"# {_plain(facts.project)}: {_plain(facts.run)}",
        f"{_plain(facts.base_model)}, fine-tuned to answer one document with one JSON object of a fixed schema.",
        _what(facts),
        _asking(facts),
        _learning(facts),
        _limits(facts),
        _table("Lineage", ("What", "Value"), [(name, f"`{value}`") for name, value in facts.lineage.items()]),
        _environment(facts.environment),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _front_matter(facts: Facts) -> str:
    values: dict[str, Any] = {"library_name": "transformers", "pipeline_tag": "text-generation"}
    if facts.licence:
        values["license"] = facts.licence.lower()
    if facts.base_reference:
        values["base_model"] = facts.base_reference
    values["tags"] = ["structured-extraction", "slm-studio"]
    return f"---\n{yaml.safe_dump(values, sort_keys=False, allow_unicode=True)}---"


def _what(facts: Facts) -> str:
    counts = ", ".join(f"{count:,} {_plain(name)}" for name, count in facts.counts.items())
    left = f" {facts.left_out:,} were longer than the sequence length and left out." if facts.left_out else ""
    rows = [
        ("Base model", f"{_plain(facts.base_model)} ({_plain(facts.base_reference) or 'no hub id'})"),
        ("Licence of the base model", _plain(facts.licence) or "not known: find out before you pass the model on"),
        ("Dataset", f"{_plain(facts.dataset)}: {counts} documents.{left}"),
        ("Context", f"{facts.context:,} tokens" if facts.context else "not known"),
    ]
    return (
        _table("What it is", ("", ""), rows)
        + "\n\nThe schema of its answers:\n\n"
        + _fenced(json.dumps(facts.schema, indent=2, ensure_ascii=False, default=float), "json")
    )


def _asking(facts: Facts) -> str:
    parts = ["## How to ask it", "The instruction it was trained with, to the letter:", _fenced(facts.instruction)]
    if facts.prompt:
        parts += [
            f"The prompt as the model reads it, with `{PLACEHOLDER}` where the document stands:",
            _fenced(facts.prompt),
        ]
    end = f", then `{facts.end_token}`" if facts.end_token else ""
    parts.append(
        "The answer is one JSON object: properties in the order of the schema, no white space between them" + end + ". "
        "Decode greedily (temperature 0). Ask with other words, and it answers worse."
    )
    parts += [_transformers(facts), _servers(facts)]
    return "\n\n".join(parts)


def _transformers(facts: Facts) -> str:
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
    return "With transformers:\n\n" + _fenced(code, "python")


def _servers(facts: Facts) -> str:
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
        "With vLLM, or with llama.cpp and a GGUF file of the model (either line starts a server):\n\n"
        + _fenced(lines, "sh")
        + f"\n\nThen `POST /v1/{call}`; `response_format` holds the answer to the schema:\n\n"
        + _fenced(shown, "json")
    )


def _learning(facts: Facts) -> str:
    rows = [(f"{step:,}", _number(loss, 4)) for step, loss in facts.losses]
    looks = [
        (f"{step:,}", _number(loss, 4), _percent(exact), _percent(valid)) for step, loss, exact, valid in facts.looks
    ]
    parts = [
        _table("How it was trained", ("Setting", "Value"), [(one, _plain(value)) for one, value in facts.settings]),
        _table("", ("Measured", "Value"), [(one, _plain(value)) for one, value in facts.totals]),
        _table("", ("Step", "Training loss"), rows),
        _table("", ("Step", "Validation loss", "Sample fields right", "Samples fit the schema"), looks),
    ]
    return "\n\n".join(part for part in parts if part)


def _limits(facts: Facts) -> str:
    measured = (
        f"The figures above are of {facts.samples} validation documents, decoded freely. They are no evaluation: the "
        "hold-out was not looked at."
    )
    control = (
        "A document can contain text that looks like a control token of the chat template. Put a blank behind the "
        "first character of such text before you ask."
    )
    lines = [
        "It reads documents like those of its dataset and nothing else; it was not taught to converse or to refuse.",
        measured,
        control,
        "Held to a grammar, every answer fits the schema, right or wrong. Check values against the document.",
    ]
    return "## Limits\n\n" + "\n".join(f"- {line}" for line in lines)


def _environment(found: dict[str, Any]) -> str:
    rows = [(name, _plain(str(value))) for name, value in found.items() if not isinstance(value, dict)]
    rows += [(name, _plain(str(value))) for name, value in (found.get("packages") or {}).items()]
    return _table("Environment", ("", ""), rows)


def _table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    lines = [f"## {title}\n"] if title else []
    lines += [_cells(head), _cells(["---"] * len(head)), *(_cells(row) for row in rows)]
    return "\n".join(lines)


def _cells(row: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"


def _plain(words: str) -> str:
    """A text that people wrote, as one line in which nothing is Markdown or HTML."""
    line = " ".join("".join(one if one.isprintable() else " " for one in words).split())
    return re.sub(r"([\\`*_\[\]<>#|])", r"\\\1", line)


def _fenced(words: str, language: str = "") -> str:
    """A block that ends where it should, whatever stands in it."""
    longest = max((len(run) for run in re.findall(r"`+", words)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{words}\n{fence}"


def _number(value: float | None, places: int) -> str:
    return "" if value is None else f"{value:.{places}f}"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.0f} %"


def spread(items: Sequence[Any], most: int = LOOKS) -> list[Any]:
    """At most ``most`` of them, evenly spread, the first and the last among them."""
    if len(items) <= most:
        return list(items)
    return [items[round(index * (len(items) - 1) / (most - 1))] for index in range(most)]
