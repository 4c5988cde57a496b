"""Files that start a package on other servers: Ollama, vLLM, a container."""

import shlex

import yaml

from serving.engines import ENCODER_REQUIREMENTS, MIN_VLLM, REQUIREMENTS, vllm_options
from serving.packages.documents.facts import PackageFacts

#: the port of the container
PORT = 8080
_RELEASE = "bookworm"


def modelfile(facts: PackageFacts) -> str:
    """Ollama's Modelfile of a GGUF package. It cannot contain a schema: each request sends it as ``format``."""
    assert facts.prompt is not None
    prompt = facts.prompt
    template = f"{_literal(prompt['prefix'])}{{{{ .Prompt }}}}{_literal(prompt['suffix'])}"
    # The first special token is part of the text again: Ollama takes no token ids.
    start = _literal(prompt.get("first_text", ""))
    return (
        '# ollama create NAME -f Modelfile. With every request send the contents of schema.json as "format", and\n'
        "# escape the special tokens of prompt.json in the document.\n"
        f"FROM ./{prompt['gguf']}\n"
        f'TEMPLATE """{start}{template}"""\n'
        "PARAMETER temperature 0\n"
        "PARAMETER top_k 1\n"
        f"PARAMETER seed {facts.serve.seed}\n"
        f"PARAMETER num_ctx {facts.serve.context or 0}\n"
        f"PARAMETER num_predict {facts.serve.output_tokens.maximum}\n"
    )


def _literal(text: str) -> str:
    """A text in a template in triple quotes, with strings for braces and quotes that would end it."""
    marked = text.replace("{{", "\0").replace('"""', "\1")
    return marked.replace("\0", '{{ "{{" }}').replace("\1", '{{ "\\"\\"\\"" }}')


def vllm(facts: PackageFacts) -> str:
    """The command line of vLLM for a package with weights."""
    serve = facts.serve
    options = vllm_options(name=serve.name or facts.name, context=serve.context, seed=serve.seed)
    return (
        "#!/bin/sh\n"
        f"# vLLM {'.'.join(map(str, MIN_VLLM))} or newer. The studio starts it with the same arguments, or uses this\n"
        "# server where VLLM_URL names it. Send the rendered prompt to /v1/completions with\n"
        '# "structured_outputs": {"json": SCHEMA}, "temperature": 0, "add_special_tokens": false.\n'
        'cd "$(dirname "$0")" || exit 1\n'
        f'exec vllm serve ./model {shlex.join(options)} "$@"\n'
    )


def requirements(facts: PackageFacts) -> str:
    """The pinned packages that extract.pyz imports."""
    names = ENCODER_REQUIREMENTS if facts.family == "encoder" else REQUIREMENTS
    return "".join(f"{name}=={facts.versions[name]}\n" for name in names)


def dockerfile(facts: PackageFacts) -> str:
    """A container that answers for the package on a port, without the studio."""
    return (
        f"FROM python:{facts.python}-slim-{_RELEASE}\n"
        "# Without a network: pip download -r requirements.txt -d wheels on another machine, and build with\n"
        "# --build-arg PIP_OPTIONS=--no-index.\n"
        'ARG PIP_OPTIONS=""\n'
        "RUN ldconfig -p | grep -q libgomp.so.1 || (apt-get update \\\n"
        "    && apt-get install -y --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/*)\n"
        "COPY requirements.txt wheels* /build/\n"
        "RUN pip install --no-cache-dir --find-links /build ${PIP_OPTIONS} -r /build/requirements.txt \\\n"
        "    && rm -r /build\n"
        "COPY . /package/\n"
        "ENV HF_HOME=/tmp\n"
        "USER 65534:65534\n"
        f"EXPOSE {PORT}\n"
        f'CMD ["python", "/package/extract.pyz", "--listen", "0.0.0.0:{PORT}"]\n'
    )


def compose(facts: PackageFacts) -> str:
    """The same with docker compose; the port is open on this machine only."""
    check = f"import urllib.request; urllib.request.urlopen('http://127.0.0.1:{PORT}/health', timeout=5)"
    service = {
        "build": ".",
        "image": f"{facts.name}:{facts.package.number}",
        "ports": [f"127.0.0.1:{PORT}:{PORT}"],
        "environment": {"REPLICA_SECRET": "${REPLICA_SECRET:-}"},
        "read_only": True,
        "tmpfs": ["/tmp"],
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "restart": "unless-stopped",
        "healthcheck": {"test": ["CMD", "python", "-c", check], "interval": "30s", "start_period": "60s"},
    }
    return yaml.safe_dump({"services": {"replica": service}}, sort_keys=False)
