"""Where engines outside this process are: environment variables, and the command line of vLLM. Pure."""

import json
import os
import re
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path

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


def urls(variable: str, environment: Mapping[str, str] | None = None) -> list[str]:
    """The addresses of a variable, separated by spaces or commas."""
    text = (os.environ if environment is None else environment).get(variable, "")
    return [address.rstrip("/") for address in re.split(r"[\s,]+", text) if address]


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
    arguments = ["--served-model-name", name]
    if context:
        arguments += ["--max-model-len", str(context)]
    return [
        *arguments, "--max-num-seqs", str(SEQUENCES), "--generation-config", "vllm", "--seed", str(seed),
        "--logprobs-mode", "raw_logprobs", "--structured-outputs-config", json.dumps(outputs),
    ]  # fmt: skip
