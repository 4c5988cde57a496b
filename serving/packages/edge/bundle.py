"""A package as a static folder for browsers: the page, the model and its runtime in WebAssembly, without a server."""

import base64
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.conf import settings
from django.template.loader import render_to_string

from serving.engines import DEFAULT_CONTEXT, ENGINES, PROMPT
from serving.packages.edge import encoders
from serving.packages.spec import FILE, ServeSpec
from slmstudio.contract.decoding.gbnf import gbnf
from slmstudio.contract.json_text import dumps
from slmstudio.errors import Refused
from slmstudio.text.formatting import format_bytes
from training.ml.data.rows import compiled
from training.ml.encoders.onnx_scorer import FILES

CONTRACT, RUNTIME = "contract.json", "runtime"
_VALIDATOR = "@cfworker/json-schema"
_WLLAMA, _ONNX = "@wllama/wllama", "onnxruntime-web"


@dataclass
class Bundle:
    """The parts of a bundle. ``contract``: for contract.json. ``files``: path in the bundle -> file. ``modules``: name
    -> path in the bundle. ``browsers``: that can run it. ``notes``: sentences on what differs from the server.
    """

    contract: dict[str, Any]
    files: dict[str, Path]
    modules: dict[str, str]
    browsers: str
    notes: list[str] = field(default_factory=list)


def linked(source: Path, target: Path) -> None:
    """The same file at another path where the disk allows it, else a copy: for a folder that does not change."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def write_bundle(
    folder: Path, target: Path, *, title: str, copy: Callable[[Path, Path], object] = shutil.copyfile
) -> int:
    """Writes the package of a folder for browsers into the folder ``target``, which must not exist; returns its bytes.

    Raises:
        Refused: the folder exists, or (code ``edge``) no browser can run the package.
    """
    if target.exists():
        raise Refused(f"The folder {target} already exists.", code="target")
    spec = ServeSpec.from_yaml((folder / FILE).read_text(encoding="utf-8"))
    bundle = _encoder(folder, spec) if ENGINES[spec.engine].family == "encoder" else _decoder(folder, spec)
    bundle.files |= _page_files()
    bundle.files |= _validator_files()
    bundle.modules[_VALIDATOR] = f"{RUNTIME}/json-schema/index.js"
    for name, file in bundle.files.items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        copy(file, target / name)
    (target / CONTRACT).write_text(dumps(bundle.contract) + "\n", encoding="utf-8")
    (target / "index.html").write_text(_page(title, bundle), encoding="utf-8")
    size = sum(file.stat().st_size for file in target.rglob("*") if file.is_file())
    (target / "README.txt").write_text(_readme(title, bundle, size), encoding="utf-8")
    return size


# -- decoders ---------------------------------------------------------------------------------------------------------


def _decoder(folder: Path, spec: ServeSpec) -> Bundle:
    """A language model, which llama.cpp runs. Raises Refused."""
    variants = [spec, *(spec.of_variant(variant.key) for variant in spec.variants)]
    served = next((variant for variant in variants if ENGINES[variant.engine].loads == "gguf" and variant.gguf), None)
    if served is None or not (folder / PROMPT).is_file():
        raise Refused(
            "A browser needs the GGUF file of a language model and its prompt as text. Build the package again with "
            "llama.cpp.",
            code="edge",
        )
    schema = compiled(spec.contract).schema
    notes = [
        "The grammar is llama.cpp's own, which divides words into tokens more freely: now and then an output differs."
    ]
    if spec.mode == "grounded":
        notes.append(
            "The server copies some fields from the document only (grounded decoding). Here the schema alone decides "
            "what the model may write, so an output can differ."
        )
    if spec.windows is not None:
        notes.append(f"A document must fit into the model's {spec.context:,} tokens; the server reads longer ones.")
    notes.append("The confidence of fields is not computed.")
    contract = {
        "family": "decoder",
        "schema": schema,
        "model": f"model/{served.gguf}",
        "prompt": _prompt(json.loads((folder / PROMPT).read_text(encoding="utf-8"))),
        "grammar": "" if spec.mode == "free" else gbnf(schema),
        "context": spec.context or DEFAULT_CONTEXT,
        "reserved": spec.output_tokens.reserved,
        "maximum": spec.output_tokens.maximum,
        "seed": spec.seed,
    }
    package = _installed(_WLLAMA)
    files = {
        f"model/{served.gguf}": folder / served.gguf,
        f"{RUNTIME}/wllama.js": package / "esm/index.min.js",
        f"{RUNTIME}/wllama.wasm": package / "esm/wasm/wllama.wasm",
        f"{RUNTIME}/wllama-LICENSE.txt": package / "LICENCE",
    }
    return Bundle(contract, files, {_WLLAMA: f"{RUNTIME}/wllama.js"}, "Chrome or Edge 137 or newer", notes)


def _prompt(template: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "first": next(iter(template["first_tokens"]), None),
        "start": template["first_text"],
        "prefix": template["prefix"],
        "suffix": template["suffix"],
        "strip": template["strip"],
        "special": template["special_tokens"],
    }


# -- encoders ---------------------------------------------------------------------------------------------------------


def _encoder(folder: Path, spec: ServeSpec) -> Bundle:
    """An encoder, which ONNX Runtime computes, in int8 where the package has that. Raises Refused."""
    schema, model = compiled(spec.contract), folder / spec.model
    file = next((name for name in FILES.values() if (model / name).is_file()), None)
    if file is None:
        raise Refused("The package has no ONNX file.", code="edge")
    contract = {
        "family": "encoder",
        "schema": schema.schema,
        "model": f"model/{file}",
        "tokenizer": f"model/{encoders.TOKENIZER}",
        **encoders.description(model, schema),
    }
    runtime = _installed(_ONNX) / "dist"
    files = {
        f"model/{file}": model / file,
        f"model/{encoders.TOKENIZER}": model / encoders.TOKENIZER,
        f"{RUNTIME}/ort.js": runtime / "ort.wasm.bundle.min.mjs",
        f"{RUNTIME}/ort.wasm": runtime / "ort-wasm-simd-threaded.wasm",
    }
    modules = {f"{_ONNX}/wasm": f"{RUNTIME}/ort.js"}
    return Bundle(contract, files, modules, "any browser of 2024 or newer", encoders.notes(schema))


# -- the page ---------------------------------------------------------------------------------------------------------


def _installed(name: str) -> Path:
    """The folder of a front-end package. Raises Refused where it is not installed."""
    folder: Path = settings.ASSETS / "node_modules" / name
    if not folder.is_dir():
        raise Refused(f"{name} is not installed. Run make setup.", code="edge")
    return folder


def _versioned(module: str) -> str:
    """The front-end package of a module, with its version."""
    name = module.removesuffix("/wasm")
    return f"{name} {json.loads((_installed(name) / 'package.json').read_text(encoding='utf-8'))['version']}"


def _page_files() -> dict[str, Path]:
    static: Path = settings.ASSETS / "static"
    scripts = [*(static / "js/edge").glob("*.js"), static / "js/site/dom.js", static / "js/site/format.js"]
    return {"edge.css": static / "css/edge.css"} | {str(file.relative_to(static)): file for file in scripts}


def _validator_files() -> dict[str, Path]:
    return {f"{RUNTIME}/json-schema/{file.name}": file for file in (_installed(_VALIDATOR) / "dist/esm").glob("*.js")}


def _page(title: str, bundle: Bundle) -> str:
    names = json.dumps({"imports": {name: f"./{path}" for name, path in bundle.modules.items()}})
    context = {
        "title": title,
        "notes": bundle.notes,
        "import_map": f'<script type="importmap">{names}</script>',
        "import_map_hash": base64.b64encode(hashlib.sha256(names.encode()).digest()).decode(),
    }
    return render_to_string("serving/edge/index.html", context)


def _readme(title: str, bundle: Bundle, size: int) -> str:
    notes = "".join(f"- {note}\n" for note in bundle.notes)
    return (
        f"{title}\n\n"
        "This folder answers documents in the browser. Any server of static files will do, also without a network:\n\n"
        "    python3 -m http.server 8080 --bind 127.0.0.1\n\n"
        f"and then open http://127.0.0.1:8080 in {bundle.browsers}. Opened as a file, the page cannot load the model.\n"
        f"The folder has {format_bytes(size)}. Documents stay in the browser: the security policy of the page allows\n"
        "requests to its own server only. One processor core computes; where the server sends the headers\n"
        "Cross-Origin-Opener-Policy: same-origin and Cross-Origin-Embedder-Policy: require-corp, several may.\n\n"
        f"Under the MIT license: {', '.join(sorted(map(_versioned, bundle.modules)))}.\n"
        + (f"\nDifferences from the server:\n\n{notes}" if notes else "")
    )
