#!/usr/bin/env python3
"""Extracts a JSON object from a document with the model of this folder. Needs only the package xllamacpp.

    python extract.py < document.txt > output.json
    python extract.py --input documents.jsonl --output outputs.jsonl
    python extract.py --listen 127.0.0.1:8080
    python extract.py --verify

A line of the input has ``id`` and ``text``; a line of the output has ``id`` and ``output``, or ``error`` with ``code``.
``--listen`` answers ``POST /answer`` {"text"} and ``GET /health``, one document at a time; with REPLICA_SECRET in the
environment it needs that as bearer token. ``--verify`` compares every file of this folder with package.json. Exit code
0; 1 where a document has no valid output; 2 where the model cannot be loaded or a file has changed.
"""

import argparse
import hashlib
import json
import os
import re
import secrets
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TextIO

FOLDER = Path(__file__).resolve().parent
#: bytes of a request
MAX_BODY = 16_000_000


class ExtractionError(Exception):
    """A document has no valid output, or (code ``package``, ``engine``) none can have one."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Extractor:
    """The loaded model. ``threads``: processor threads; None: all."""

    def __init__(self, folder: Path = FOLDER, threads: int | None = None) -> None:
        try:
            self.prompt = json.loads((folder / "prompt.json").read_text(encoding="utf-8"))
            self.schema = json.loads((folder / "schema.json").read_text(encoding="utf-8"))
            grammar = folder / "grammar.lark"
            self.grammar = grammar.read_text(encoding="utf-8") if grammar.exists() else ""
        except (OSError, ValueError) as error:
            raise ExtractionError("package", f"The folder is not complete: {error}") from error
        self._socket = tempfile.TemporaryDirectory(prefix="extract-")
        self._server = self._load(folder, threads or _cores())
        if self.grammar:
            self._check_enforcement()

    def _load(self, folder: Path, threads: int) -> Any:
        # Threads that spin while they wait make decoding several times slower on a busy machine.
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
        import xllamacpp

        parameters = xllamacpp.CommonParams()
        parameters.model.path = str(folder / self.prompt["gguf"])
        # A UNIX socket in a private folder: no port is opened.
        parameters.hostnames, parameters.port = [str(Path(self._socket.name) / "llama.sock")], 0
        parameters.api_keys = [secrets.token_urlsafe(16)]
        parameters.n_ctx, parameters.n_parallel, parameters.cache_ram_mib = self.prompt["context"], 1, 0
        parameters.cpuparams.n_threads = threads
        parameters.ui = parameters.endpoint_slots = parameters.endpoint_props = False
        try:
            return xllamacpp.Server(parameters)
        except Exception as error:
            raise ExtractionError("engine", f"llama.cpp does not load the model: {error}") from error

    def extract(self, text: str) -> str:
        """The output for a document: one JSON object that matches the schema, exactly as the model wrote it.

        Raises:
            ExtractionError: too_long, invalid_output, ungrounded, engine.
        """
        return self.extract_with_usage(text)[0]

    def extract_with_usage(self, text: str) -> tuple[str, dict[str, int]]:
        """The same, with ``prompt_tokens`` and ``completion_tokens``."""
        answer = self._complete(self._prompt_of(text), self.grammar, self.prompt["max_output_tokens"])
        used = answer["usage"]["prompt_tokens"]
        if used + self.prompt["reserved_output_tokens"] > self.prompt["context"]:
            raise ExtractionError("too_long", f"The prompt has {used} tokens; the context is {self.prompt['context']}.")
        choice = answer["choices"][0]
        output = str(choice["text"])
        if choice["finish_reason"] == "length":
            raise ExtractionError("invalid_output", "The output reached its token limit before it was complete.")
        try:
            value = json.loads(output)
        except ValueError as error:
            raise ExtractionError("invalid_output", f"The output is not valid JSON: {error}.") from error
        if problem := next(problems(self.schema, value, self.schema), ""):
            raise ExtractionError("invalid_output", f"The output does not match the schema: {problem}.")
        whole = " ".join(text.split())
        for field in self.prompt["grounded"]:
            if missing := next(_not_copied(value, field["steps"], whole, field), ""):
                raise ExtractionError(
                    "ungrounded", f"The document does not contain the value of {field['pattern']}: {missing!r}."
                )
        return output, answer["usage"]

    def _prompt_of(self, document: str) -> Any:
        """Leading token ids, then the text around the document, in which control tokens are escaped."""
        for token in self.prompt["special_tokens"]:
            document = document.replace(token, f"{token[0]} {token[1:]}")
        if self.prompt["strip"]:
            document = document.strip()
        text = self.prompt["prefix"] + document + self.prompt["suffix"]
        return [*self.prompt["first_tokens"], text] if self.prompt["first_tokens"] else text

    def _check_enforcement(self) -> None:
        """Asks for a random constant: where a grammar does not work, llama.cpp continues without it."""
        nonce = secrets.token_hex(6)
        grammar = f'%llguidance {{}}\nstart: "[\\"{nonce}\\"]"'
        output = self._complete("Write a word.\n", grammar, 48)["choices"][0]["text"]
        if output != f'["{nonce}"]':
            raise ExtractionError("engine", "This build of xllamacpp does not apply grammars.")

    def _complete(self, prompt: Any, grammar: str, tokens: int) -> dict[str, Any]:
        body = {
            "prompt": prompt, "n_predict": tokens, "temperature": 0.0, "top_k": 1, "cache_prompt": True, "seed": 1,
        }  # fmt: skip
        answer: dict[str, Any] = self._server.handle_completions({**body, "grammar": grammar} if grammar else body)
        if error := answer.get("error"):
            too_long = error.get("type") == "exceed_context_size_error"
            raise ExtractionError("too_long" if too_long else "engine", str(error.get("message")))
        return answer


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# -- the schema: what the grammar enforces, checked again --------------------------------------------------------------

_TYPES: dict[str, Any] = {
    "object": dict, "array": list, "string": str, "boolean": bool, "number": (int, float), "integer": (int, float),
    "null": type(None),
}  # fmt: skip


def problems(schema: Any, value: Any, root: dict[str, Any], path: str = "") -> Iterator[str]:
    """How a value violates a JSON Schema. Checks types, names, lists, enums, lengths, ranges and alternatives; formats
    and rules between fields (``if``, ``not``, ``uniqueItems``) are not checked.
    """
    where = path or "the object"
    if schema is False:
        yield f"{where} is not allowed"
    if not isinstance(schema, dict):
        return
    if "$ref" in schema:
        yield from problems(_resolved(schema["$ref"], root), value, root, path)
    if "const" in schema and not _is_any(value, [schema["const"]]):
        yield f"{where} is not {schema['const']!r}"
    if "enum" in schema and not _is_any(value, schema["enum"]):
        yield f"{where} is not one of the allowed values"
    types = schema.get("type", [])
    types = [types] if isinstance(types, str) else types
    if types and not any(_is(value, one) for one in types):
        yield f"{where} is not of type {' or '.join(types)}"
        return
    for key in ("anyOf", "oneOf"):
        if key in schema and all(next(problems(one, value, root, path), None) for one in schema[key]):
            yield f"{where} matches none of the alternatives"
    for one in schema.get("allOf", []):
        yield from problems(one, value, root, path)
    if isinstance(value, str):
        yield from _of_text(schema, value, where)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield from _of_number(schema, value, where)
    elif isinstance(value, list):
        yield from _of_list(schema, value, root, path)
    elif isinstance(value, dict):
        yield from _of_object(schema, value, root, path)


def _of_text(schema: dict[str, Any], value: str, where: str) -> Iterator[str]:
    if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)):
        yield f"{where} has {len(value)} characters"
    try:
        matches = "pattern" not in schema or re.search(schema["pattern"], value)
    except re.error:  # a pattern of another dialect
        matches = True
    if not matches:
        yield f"{where} does not match its pattern"


def _of_number(schema: dict[str, Any], value: float, where: str) -> Iterator[str]:
    if not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        yield f"{where} is out of range"
    if value <= schema.get("exclusiveMinimum", value - 1) or value >= schema.get("exclusiveMaximum", value + 1):
        yield f"{where} is out of range"


def _of_list(schema: dict[str, Any], value: list[Any], root: dict[str, Any], path: str) -> Iterator[str]:
    if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
        yield f"{path or 'the list'} has {len(value)} entries"
    first = schema.get("prefixItems", [])
    for number, item in enumerate(value):
        inner = first[number] if number < len(first) else schema.get("items", True)
        yield from problems(inner, item, root, f"{path}[{number}]")


def _of_object(schema: dict[str, Any], value: dict[str, Any], root: dict[str, Any], path: str) -> Iterator[str]:
    named, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    for name in schema.get("required", []):
        if name not in value:
            yield f"{path or 'the object'} has no {name}"
    for name, item in value.items():
        inner = f"{path}.{name}".lstrip(".")
        if name in named:
            yield from problems(named[name], item, root, inner)
        elif not patterns:
            yield from problems(schema.get("additionalProperties", True), item, root, inner)


def _resolved(reference: str, root: Any) -> Any:
    for part in reference.removeprefix("#").strip("/").split("/"):
        root = root[part.replace("~1", "/").replace("~0", "~")] if part else root
    return root


def _is(value: Any, name: str) -> bool:
    if isinstance(value, bool):
        return name == "boolean"
    if name == "integer":
        return isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    return isinstance(value, _TYPES[name])


def _is_any(value: Any, values: list[Any]) -> bool:
    return any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in values)


def _not_copied(value: Any, steps: list[str | None], text: str, field: dict[str, Any]) -> Iterator[str]:
    """Values that are not known and not in a text, whole or as parts joined by separators. A step None: a list."""
    if not steps:
        if isinstance(value, str) and value and value not in field["known"]:
            wanted, separators = " ".join(value.split()), field["separators"]
            parts = re.split("|".join(map(re.escape, separators)), wanted) if separators else [wanted]
            if wanted not in text and not all(part in text for part in parts):
                yield value
    elif steps[0] is None:
        for item in value if isinstance(value, list) else []:
            yield from _not_copied(item, steps[1:], text, field)
    elif isinstance(value, dict) and steps[0] in value:
        yield from _not_copied(value[steps[0]], steps[1:], text, field)


def verify(folder: Path) -> list[str]:
    """Files that differ from package.json, or are missing."""
    changed = []
    for entry in json.loads((folder / "package.json").read_text(encoding="utf-8"))["files"]:
        try:
            with (folder / entry["path"]).open("rb") as file:
                equal = hashlib.file_digest(file, "sha256").hexdigest() == entry["sha256"]
        except OSError:
            equal = False
        if not equal:
            changed.append(str(entry["path"]))
    return changed


def extract_lines(extractor: Extractor, source: TextIO, target: TextIO) -> int:
    """Answers a JSON lines file; gives the number of documents without a valid output."""
    failed = 0
    for number, line in enumerate(source, start=1):
        if not line.strip():
            continue
        started, name = time.perf_counter(), str(number)
        try:
            row = json.loads(line)
            if not isinstance(row, dict) or not isinstance(row.get("text"), str):
                raise ValueError("it has no text")
            name = row.get("id", name)
            body = f'"output": {extractor.extract(row["text"])}'
        except ExtractionError as error:
            failed, body = failed + 1, f'"error": {json.dumps(str(error))}, "code": "{error.code}"'
        except ValueError as error:
            failed, body = failed + 1, f'"error": {json.dumps(f"Line {number}: {error}")}, "code": "invalid_line"'
        latency = round((time.perf_counter() - started) * 1000, 1)
        target.write(f'{{"id": {json.dumps(name, ensure_ascii=False)}, {body}, "latency_ms": {latency}}}\n')
        target.flush()
    return failed


class Server(ThreadingHTTPServer):
    """Answers over HTTP, as a replica of SLM Studio does."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], extractor: Extractor, secret: str) -> None:
        super().__init__(address, Handler)
        self.extractor, self.secret, self.turn = extractor, secret, threading.Lock()

    def answer(self, text: str) -> dict[str, Any]:
        """The body of an answer."""
        arrived = time.perf_counter()
        found: dict[str, Any] = {"raw": "", "finish_reason": "error", "confidence": {}, "error": "", "code": ""}
        usage = {"prompt_tokens": 0, "completion_tokens": 0}
        with self.turn:
            started = time.perf_counter()
            try:
                found["raw"], usage = self.extractor.extract_with_usage(text)
                found["finish_reason"] = "stop"
            except ExtractionError as error:
                found |= {"error": str(error), "code": error.code}
        found |= {"prompt_tokens": usage["prompt_tokens"], "output_tokens": usage["completion_tokens"]}
        ended = time.perf_counter()
        return {**found, "queue_ms": 1000 * (started - arrived), "model_ms": 1000 * (ended - started)}


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Server

    def do_GET(self) -> None:
        """Whether it is ready."""
        known = self.path == "/health"
        self._send(*((200, {"state": "ready"}) if known else (404, {"detail": "Not found."})))

    def do_POST(self) -> None:
        """The output for a document."""
        given = self.headers.get("Authorization", "").removeprefix("Bearer ")
        length = self.headers.get("Content-Length", "")
        if self.server.secret and not secrets.compare_digest(given.encode(), self.server.secret.encode()):
            return self._send(401, {"detail": "The secret is missing or wrong."})
        if self.path != "/answer":
            return self._send(404, {"detail": "Not found."})
        if not length.isdigit() or int(length) > MAX_BODY:
            return self._send(413, {"detail": f"Send at most {MAX_BODY:,} bytes, and their number."})
        try:
            text = json.loads(self.rfile.read(int(length)))["text"]
        except (ValueError, KeyError, TypeError):
            text = None
        if not isinstance(text, str):
            return self._send(422, {"detail": "Send an object with a text."})
        return self._send(200, self.server.answer(text))

    def _send(self, status: int, value: dict[str, Any]) -> None:
        body = json.dumps(value, ensure_ascii=False).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Nothing is logged: documents may be confidential."""


def listen(extractor: Extractor, address: str, ready: TextIO) -> None:
    """Answers on HOST:PORT until the process ends; says where on ``ready``."""
    host, _, port = address.rpartition(":")
    with Server((host or "127.0.0.1", int(port)), extractor, os.environ.get("REPLICA_SECRET", "")) as server:
        ready.write(f"Listening on {server.server_address[0]!s}:{server.server_address[1]}\n")
        ready.flush()
        server.serve_forever()


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", type=Path, help="JSON lines with id and text")
    parser.add_argument("--output", type=Path, help="JSON lines")
    parser.add_argument("--listen", metavar="HOST:PORT", help="answer over HTTP")
    parser.add_argument("--threads", type=int, help="processor threads (default: all)")
    parser.add_argument("--verify", action="store_true", help="compare the files with package.json")
    parser.add_argument("--verbose", action="store_true", help="show the log of llama.cpp")
    options = parser.parse_args()
    if options.verify:
        changed = verify(FOLDER)
        print(f"Changed: {', '.join(changed)}" if changed else "Every file is unchanged.")
        return 2 if changed else 0
    if (options.input is None) != (options.output is None):
        parser.error("--input and --output belong together")
    return _run(options)


def _run(options: argparse.Namespace) -> int:
    # llama.cpp logs to both streams; the output goes to copies of them.
    output, errors = (os.fdopen(os.dup(number), "w", encoding="utf-8") for number in (1, 2))
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(2 if options.verbose else silent, 1)
    os.dup2(2 if options.verbose else silent, 2)
    try:
        extractor = Extractor(threads=options.threads)
        if options.listen:
            listen(extractor, options.listen, errors)
        if options.input is None:
            output.write(extractor.extract(sys.stdin.buffer.read().decode()) + "\n")
            return 0
        with options.input.open(encoding="utf-8") as source, options.output.open("w", encoding="utf-8") as target:
            failed = extract_lines(extractor, source, target)
        if failed:
            errors.write(f"{failed} documents have no valid output.\n")
        return 1 if failed else 0
    except ExtractionError as error:
        errors.write(f"{error} ({error.code})\n")
        return 2 if error.code in ("package", "engine") else 1
    except (OSError, ImportError, UnicodeDecodeError) as error:
        errors.write(f"{error}\n")
        return 2
    finally:
        output.flush()
        errors.flush()


if __name__ == "__main__":
    sys.exit(main())
