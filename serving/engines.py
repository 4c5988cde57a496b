"""The engines: what runs the model of a package, and where servers outside this process are. Pure.

A new engine is a line of ``ENGINES`` and its module in ``serving/ml/engines/``.
"""

import json
import os
import re
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

VLLM_COMMAND, VLLM_URL, VLLM_API_KEY = "VLLM_COMMAND", "VLLM_URL", "VLLM_API_KEY"
OLLAMA_URL, OLLAMA_API_KEY = "OLLAMA_URL", "OLLAMA_API_KEY"
#: variables that replicas and builds get; see ``slmstudio.runs.child_environment``
VARIABLES = (VLLM_COMMAND, VLLM_URL, VLLM_API_KEY, "VLLM_CPU_*", "VLLM_LOGGING_LEVEL", OLLAMA_URL, OLLAMA_API_KEY)
#: older ones read ``guided_*`` and ignore ``structured_outputs``, or lack options used here
MIN_VLLM = (0, 32)
#: sequences that vLLM computes together
SEQUENCES = 16
#: share of the memory of a machine without a GPU that one server uses; an option in VLLM_COMMAND overrides it
CPU_MEMORY = "0.2"
#: tokens of a request where the model does not say how many it knows
DEFAULT_CONTEXT = 4096
#: the program of a package that answers without the studio
PROGRAM = "extract.pyz"
#: the prompt of a package as text, for Ollama and browsers
PROMPT = "prompt.json"
#: the distributions that it imports, with llama.cpp and with ONNX Runtime
_PROGRAM_REQUIREMENTS = (
    "aiohttp", "babel", "google-re2", "httpx", "jinja2", "jsonschema", "llguidance", "numpy", "orjson", "psutil",
    "pydantic", "pyyaml", "rapidfuzz", "regex", "rfc3339-validator", "scipy", "simplejson", "starlette", "tokenizers",
    "uvicorn",
)  # fmt: skip
REQUIREMENTS = (*_PROGRAM_REQUIREMENTS, "transformers", "xllamacpp")
ENCODER_REQUIREMENTS = (*_PROGRAM_REQUIREMENTS, "onnxruntime")


@dataclass(frozen=True)
class EngineType:
    """An engine. ``runner``: its module and class below ``serving.ml.engines``; ``loads``: what it gets of a package;
    ``libraries``: the distributions that it imports; ``servers``: variables, one of which names a server that it asks;
    ``precision``: of the ONNX file of an encoder.
    """

    label: str
    runner: str
    loads: Literal["gguf", "weights", "classical", "onnx"]
    libraries: tuple[str, ...] = ()
    servers: tuple[str, ...] = ()
    is_grounded: bool = True
    precision: Literal["int8", "fp32"] = "int8"

    @property
    def family(self) -> Literal["decoder", "encoder", "classical"]:
        """The models that it runs."""
        if self.loads == "classical":
            return "classical"
        return "encoder" if self.loads == "onnx" else "decoder"


ENGINES = {
    "llama_cpp": EngineType("llama.cpp", "llama_cpp.LlamaCppEngine", "gguf", REQUIREMENTS),
    "transformers": EngineType(
        "transformers",
        "transformers.TransformersEngine",
        "weights",
        ("transformers", "torch", "tokenizers", "llguidance"),
    ),
    "vllm": EngineType("vLLM", "vllm.VllmEngine", "weights", servers=(VLLM_COMMAND, VLLM_URL)),
    "ollama": EngineType("Ollama", "ollama.OllamaEngine", "gguf", servers=(OLLAMA_URL,), is_grounded=False),
    "encoder": EngineType("ONNX Runtime, int8", "encoder.EncoderEngine", "onnx", ENCODER_REQUIREMENTS),
    "encoder_fp32": EngineType(
        "ONNX Runtime, fp32", "encoder.EncoderEngine", "onnx", ENCODER_REQUIREMENTS, precision="fp32"
    ),
    "sklearn": EngineType("scikit-learn", "sklearn.SklearnEngine", "classical", ("scikit-learn", "numpy", "scipy")),
}


def urls(variable: str) -> list[str]:
    """The addresses of a variable, separated by spaces or commas."""
    return [address.rstrip("/") for address in re.split(r"[\s,]+", os.environ.get(variable, "")) if address]


def vllm_serve(command: str, model: str, options: list[str]) -> list[str]:
    """The command line of a server. ``command``: ``vllm`` or the folder of its virtual environment, and options."""
    program, *more = shlex.split(command)
    folder = Path(program)
    if folder.is_dir():
        # The program of the package vllm-cpu does not start: it reads the version of a package named vllm.
        start = [str(folder / "bin/python"), "-m", "vllm.entrypoints.openai.api_server", "--model", model]
    else:
        start = [program, "serve", model]
    # Without a GPU it would reserve nearly all memory of the machine.
    memory = [] if shutil.which("nvidia-smi") or shutil.which("rocm-smi") else ["--gpu-memory-utilization", CPU_MEMORY]
    return [*start, *options, *memory, *more]


def vllm_options(*, name: str, context: int | None, seed: int) -> list[str]:
    """The options of a server: everything that a default could change about an output."""
    outputs = {"backend": "guidance", "disable_any_whitespace": True}
    length = ["--max-model-len", str(context)] if context else []
    return [
        "--served-model-name", name, *length, "--max-num-seqs", str(SEQUENCES), "--generation-config", "vllm",
        "--seed", str(seed), "--logprobs-mode", "raw_logprobs", "--structured-outputs-config", json.dumps(outputs),
    ]  # fmt: skip
