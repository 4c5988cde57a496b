"""The README of a package: a model card with the metadata that model hubs read, and how to answer with it."""

from typing import Any

from serving.packages.documents.facts import PackageFacts
from slmstudio.text.formatting import percent, points
from training.model_cards.card import body, escaped_line, fenced, front_matter, table


def text(facts: PackageFacts) -> str:
    """The card as Markdown."""
    package, training = facts.package, facts.run.training_run if facts.run.model_version_id else None
    title = f"# {escaped_line(package.project.name)}, package {package.number}"
    lead = f"{escaped_line(facts.run.model_label)} extracts a JSON object of a fixed schema from a document."
    parts = [front_matter(_metadata(facts)), title, lead, _usage(facts), _evaluation(facts), _parity(facts)]
    parts.append(_files(facts))
    if training is not None:
        parts.append("## Training card\n\n" + _lower_headings(body(training)))
    return "\n\n".join(part for part in parts if part) + "\n"


def _metadata(facts: PackageFacts) -> dict[str, Any]:
    kind = "text-generation" if facts.family == "decoder" else "token-classification"
    values: dict[str, Any] = {"library_name": _library(facts), "pipeline_tag": kind}
    if facts.licence:
        values["license"] = facts.licence.lower()
    if facts.base_reference:
        values["base_model"] = facts.base_reference
    run, name = facts.run, facts.package.project.name
    dataset = {"type": facts.slug, "name": f"{name}, dataset version {run.dataset.number}", "split": run.split}
    metrics = [{"type": metric.name, "name": metric.title, "value": round(metric.value, 4)} for metric in facts.metrics]
    task = {"type": kind, "name": "structured extraction"}
    if metrics:
        values["model-index"] = [
            {"name": facts.name, "results": [{"task": task, "dataset": dataset, "metrics": metrics}]}
        ]
    values["tags"] = ["structured-extraction", "slm-studio"]
    return values


def _library(facts: PackageFacts) -> str:
    if facts.family != "decoder":
        return "sklearn" if facts.family == "classical" else "onnx"
    return "gguf" if facts.has_program else "transformers"


def _usage(facts: PackageFacts) -> str:
    if facts.family == "classical":
        command = "python -m serving.ml.replica FOLDER --address http://127.0.0.1:8080"
        return (
            "## Usage\n\nThe studio contains the code of the model. In the studio's folder, run this command with this "
            "package:\n\n" + fenced(command, "sh")
        )
    if not facts.has_program:
        return "## Usage\n\nWith vLLM:\n\n" + fenced("sh vllm.sh", "sh")
    commands = (
        "pip install -r requirements.txt\n"
        "python extract.pyz --verify\n"
        "python extract.pyz < document.txt\n"
        "python extract.pyz --input documents.jsonl --output outputs.jsonl\n"
        "docker compose up"
    )
    parts = [
        "## Usage",
        "After the packages of requirements.txt are installed, neither a network nor the studio is needed:",
        fenced(commands, "sh"),
    ]
    parts.append(
        "extract.pyz contains the code of a replica, so its outputs are those of a replica. Every output is checked "
        "against the JSON Schema of serve.yaml."
    )
    if facts.prompt is not None:
        parts.append("Ollama reads the Modelfile; send schema.json as `format` with every request.")
    return "\n\n".join(parts)


def _evaluation(facts: PackageFacts) -> str:
    rows = []
    for metric in facts.metrics:
        rows.append((metric.title, percent(metric.value), f"{percent(metric.low)} to {percent(metric.high)}"))
    run = facts.run
    where = f"Evaluation {run.number}, {run.mode_label}, split {run.split} of dataset version {run.dataset.number}."
    return f"{table('Evaluation', ('Metric', 'Value', '95% interval'), rows)}\n\n{where}" if rows else ""


def _parity(facts: PackageFacts) -> str:
    parity = facts.parity
    if not parity:
        return ""
    rows = [
        (
            variant.label, f"{variant.parity['equal']} of {variant.parity['documents']}",
            percent(variant.parity["accuracy"]), points(variant.difference),
        )
        for variant in facts.package.all_variants
        if variant.difference is not None
    ]  # fmt: skip
    engines = table("", ("Engine", "Outputs equal", "Field accuracy", "Points"), rows) if len(rows) > 1 else ""
    text = (
        f"## Parity\n\nOn {parity['documents']} documents of the evaluation {parity['equal']} outputs are equal; field "
        f"accuracy {percent(parity['accuracy'])} instead of {percent(parity['evaluated_accuracy'])}, at most "
        f"{percent(parity['max_loss'])} lower (upper 95% bound)."
    )
    return f"{text}\n\n{engines}" if engines else text


def _files(facts: PackageFacts) -> str:
    about = {
        "serve.yaml": "how it is served: prompt, schema, limits",
        "extract.pyz": "answers without the studio",
        "model/model.onnx": "the encoder with its heads, int8",
        "model/model-fp32.onnx": "the same in fp32",
        "prompt.json": "the prompt around the document, for other servers",
        "schema.json": "the JSON Schema of the output, for other servers",
        "package.json": "every file with its SHA-256; package.json.sig is its signature",
        "bom.json": "bill of materials, CycloneDX 1.6",
        "evidence/": "parity, evaluation, hashes, approval",
    }
    there = {str(entry["path"]) for entry in facts.files} | {"package.json", "bom.json", "evidence/"}
    return table("Files", ("File", "What"), [(f"`{name}`", what) for name, what in about.items() if name in there])


def _lower_headings(card: str) -> str:
    """Headings one level deeper, outside code."""
    lines, fence = [], ""
    for line in card.split("\n"):
        mark = line[: len(line) - len(line.lstrip("`"))]
        if len(mark) >= 3 and (not fence or mark == fence):
            fence = "" if fence else mark
        lines.append(f"#{line}" if line.startswith("#") and not fence else line)
    return "\n".join(lines).strip()
