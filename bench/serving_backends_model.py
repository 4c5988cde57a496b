"""The model of ``bench.serving_backends``: tuned on demo invoices, exported, evaluated and packed.

    python -m bench.serving_backends_model HOME [--rows 192] [--documents 40]

HOME has ``package`` afterwards, with the variants transformers, llama_cpp-f16, llama_cpp-q8_0 and, with VLLM_COMMAND,
vllm. The evaluation is that of the weights.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from bench.training import child_events, prepared
from evaluation.inference.spec import DocumentsRef, EvalSpec
from labeling.demo.samples import generate
from labeling.demo.templates import template
from serving.packages.external_engines import VLLM_COMMAND
from serving.packages.spec import PackSpec, PackVariant
from slmstudio.contract.json_text import dumps
from slmstudio.runs.child_environment import cpu_settings
from slmstudio.storage.hashing import folder_hash, sha256_file
from training.exports.child_specs import GgufSpec
from training.spec import ContractRef, DatasetRef, Lora, ModelRef, RunSpec

NAME = "smollm2-135m-instruct"
#: documents that the package answers again
PARITY = 20


def contract() -> ContractRef:
    """That of the demo."""
    invoice = template("invoice")
    return ContractRef(instruction=invoice.instruction, schema=invoice.schema)


def write_rows(path: Path, rows: int, documents: int) -> None:
    """A dataset file: ``rows`` to train on, 16 for validation, ``documents`` as the hold-out."""
    splits = ["train"] * rows + ["validation"] * 16 + ["holdout"] * documents
    with path.open("w", encoding="utf-8") as file:
        for split, one in zip(splits, generate(len(splits), 29), strict=True):
            file.write(dumps({"id": one.external_id, "split": split, "text": one.text, "gold": one.gold}) + "\n")


def _child(module: str, path: Path, text: str) -> list[dict[str, Any]]:
    path.write_text(text, encoding="utf-8")
    began = time.perf_counter()
    found = list(child_events(module, str(path), cpu_settings()))
    print(f"{module}: {time.perf_counter() - began:.0f} s", flush=True)
    return found


def tune(home: Path, dataset: Path, rows: int) -> Path:
    """The tuned weights; made once."""
    output = home / "run"
    if not (output / "merged/config.json").exists():
        spec = RunSpec(
            base_model=ModelRef(path=str(prepared(NAME, home))),
            dataset=DatasetRef(path=str(dataset)),
            contract=contract(),
            output_dir=str(output),
            prompt="chat",
            lora=Lora(),
            batch_size=8,
            epochs=1,
            learning_rate=1e-3,
            warmup_ratio=0,
            scheduler="linear",
            sample_documents=0,
            max_length=512,
        )
        _child("training.ml.train", home / "train.yaml", spec.to_yaml())
    return output / "merged"


def export(home: Path, dataset: Path, model: Path, kind: Any) -> Path:
    """The GGUF file of the weights; made once."""
    file = home / kind / f"model-{kind}.gguf"
    if not file.exists():
        spec = GgufSpec(
            model=ModelRef(path=str(model), sha256=folder_hash(model)),
            dataset=DatasetRef(path=str(dataset), sha256=sha256_file(dataset)),
            contract=contract(), converter=str(Path(sys.prefix) / "gguf-converter"), output_dir=str(home / kind),
            stem=f"model-{kind}", kind=kind, documents=4,
        )  # fmt: skip
        _child("training.ml.export_gguf", home / f"{kind}.yaml", spec.to_yaml())
    return file


def pack(home: Path, dataset: Path, model: Path, files: dict[str, Path]) -> Path:
    """The package with all variants; made once."""
    package, complete = home / "package", home / "package.complete"
    if complete.exists():
        return package
    reference = ModelRef(path=str(model), sha256=folder_hash(model))
    documents = DocumentsRef(path=str(dataset), sha256=sha256_file(dataset), split="holdout")
    outputs = home / "outputs.jsonl"
    evaluation = EvalSpec(model=reference, contract=contract(), documents=documents, outputs=str(outputs))
    rows = [json.loads(line) for line in dataset.read_text().splitlines()]
    wanted = sum(row["split"] == "holdout" for row in rows)
    if not outputs.exists() or len(outputs.read_text().splitlines()) < wanted:
        _child("evaluation.ml.generate", home / "evaluation.yaml", evaluation.to_yaml())
    raw = {one["id"]: one["raw"] for one in map(json.loads, outputs.read_text().splitlines())}
    parity = home / "parity.jsonl"
    with parity.open("w", encoding="utf-8") as file:
        for row in [one for one in rows if one["id"] in raw][:PARITY]:
            one = {"id": row["id"], "text": row["text"], "raw": raw[row["id"]], "gold": row["gold"]}
            file.write(json.dumps(one) + "\n")
    variants = [
        PackVariant(key=f"llama_cpp-{kind}", engine="llama_cpp", name=file.name, gguf=ModelRef(path=str(file)))
        for kind, file in files.items()
    ]
    if os.environ.get(VLLM_COMMAND):
        variants.append(PackVariant(key="vllm", engine="vllm"))
    spec = PackSpec(
        evaluation=evaluation, engine="transformers", key="transformers", model=reference, output_dir=str(package),
        parity=str(parity), name="bench", variants=tuple(variants),
    )  # fmt: skip
    for event in _child("serving.ml.pack", home / "pack.yaml", spec.to_yaml()):
        if event["event"] in ("parity", "variant_failed"):
            print(json.dumps(event), flush=True)
    complete.touch()
    return package


def main() -> None:
    """Everything that is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("home", type=Path)
    parser.add_argument("--rows", type=int, default=192)
    parser.add_argument("--documents", type=int, default=40)
    options = parser.parse_args()
    home: Path = options.home.absolute()
    home.mkdir(parents=True, exist_ok=True)
    dataset = home / "data.jsonl"
    if not dataset.exists():
        write_rows(dataset, options.rows, options.documents)
    model = tune(home, dataset, options.rows)
    files = {kind: export(home, dataset, model, kind) for kind in ("f16", "q8_0")}
    pack(home, dataset, model, files)


if __name__ == "__main__":
    main()
