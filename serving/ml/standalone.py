"""Extracts JSON objects from documents with the package of this folder: the code of a replica, without the studio.

    pip install -r requirements.txt
    python extract.pyz < document.txt > output.json
    python extract.pyz --input documents.jsonl --output outputs.jsonl
    python extract.pyz --listen 127.0.0.1:8080
    python extract.pyz --verify

A line of the input has ``id`` and ``text``; a line of the output has ``id`` and ``output``, or ``error`` with ``code``
(too_long, invalid_output, invalid_line, grammar, engine). ``--listen`` answers ``POST /answer`` {"text"} and ``GET
/health``, one document at a time; with REPLICA_SECRET in the environment it needs that as a bearer token. ``--verify``
compares every file of the folder with package.json, and needs no other package. Exit code 0; 1 where a document has no
valid output; 2 where the model cannot be loaded or a file has changed.
"""

import argparse
import asyncio
import contextlib
import json
import os
import sys
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from modulefinder import ModuleFinder
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from serving.engines import ENGINES
from slmstudio.errors import Refused
from slmstudio.storage.hashing import changed_files

if TYPE_CHECKING:
    from serving.ml.engines.engine import Engine
    from serving.ml.loading import LoadedPackage
    from serving.replicas.protocol import ModelOutput
    from slmstudio.contract.schema.compiled import CompiledSchema

_ROOT = Path(__file__).resolve().parents[2]
_START = "import sys\n\nfrom serving.ml.standalone import main\n\nsys.exit(main())\n"
#: a fixed time, so that equal sources give an equal file
_TIMESTAMP = (1980, 1, 1, 0, 0, 0)


def write_program(file: Path, engine: str) -> None:
    """Writes the program of a package: this module and every module of the studio that it imports with ``engine``."""
    finder = ModuleFinder([str(_ROOT)])
    finder.run_script(__file__)
    finder.import_hook(f"serving.ml.engines.{ENGINES[engine].runner.partition('.')[0]}")
    files = (getattr(module, "__file__", None) for module in finder.modules.values())
    sources = {Path(file) for file in files if file}
    sources |= {file for source in sources for file in source.parent.glob("*.json")}
    with zipfile.ZipFile(file, "w") as archive:
        for source in sorted(sources):
            archive.writestr(
                zipfile.ZipInfo(str(source.relative_to(_ROOT)), _TIMESTAMP), source.read_bytes(), zipfile.ZIP_DEFLATED
            )
        archive.writestr(zipfile.ZipInfo("__main__.py", _TIMESTAMP), _START)


class CheckedEngine:
    """A started engine whose outputs are checked against the contract, as the gateway does for a replica."""

    def __init__(self, engine: "Engine", schema: "CompiledSchema") -> None:
        self._engine, self._schema = engine, schema
        self.start, self.metrics, self.close, self.version = engine.start, engine.metrics, engine.close, engine.version

    async def answer(self, text: str) -> "ModelOutput":
        """The answer of the engine; one with the code ``invalid_output`` where its output is not valid."""
        from evaluation.inference.completion import ResponseStatus, classify_output
        from serving.replicas.protocol import ModelOutput

        answer = await self._engine.answer(text)
        if answer.finish_reason == "error":
            return answer
        status, detail = classify_output(self._schema, answer.raw, truncated=answer.finish_reason == "length")
        if status == ResponseStatus.VALID:
            return answer
        error = f"The output is not valid: {detail or str(status)}"
        return ModelOutput.failed("invalid_output", error, queue_ms=answer.queue_ms, model_ms=answer.model_ms)


async def extract_lines(package: "LoadedPackage", source: TextIO, target: TextIO) -> int:
    """Answers a JSON lines file; returns the number of documents without a valid output."""
    failed = 0
    for number, line in enumerate(source, start=1):
        if not line.strip():
            continue
        started, name, raw, error, code = time.perf_counter(), str(number), "", "", ""
        try:
            row = json.loads(line)
            if not isinstance(row, dict) or not isinstance(row.get("text"), str):
                raise ValueError("it has no text")
            name = row.get("id", name)
            answer = await package.engine.answer(row["text"])
            raw, error, code = answer.raw, answer.error, answer.code
        except ValueError as problem:
            error, code = f"Line {number}: {problem}", "invalid_line"
        body = f'"error": {json.dumps(error)}, "code": "{code}"' if code else f'"output": {raw}'
        latency = round((time.perf_counter() - started) * 1000, 1)
        target.write(f'{{"id": {json.dumps(name, ensure_ascii=False)}, {body}, "latency_ms": {latency}}}\n')
        target.flush()
        failed += bool(code)
    return failed


async def run(options: argparse.Namespace, output: TextIO, errors: TextIO) -> int:
    """Loads the package and does what the options say; returns the exit code.

    Raises:
        Refused, SpecError: the package cannot be loaded.
    """
    from serving.ml.loading import load_package
    from serving.ml.replica import answer_requests

    package = load_package(options.folder)
    try:
        await package.start()
        package = replace(package, engine=CheckedEngine(package.engine, package.schema))
        if options.listen:
            ready = f"Listening on {options.listen}"
            await answer_requests(package, f"http://{options.listen}", lambda _: print(ready, file=errors, flush=True))
            return 0
        if options.input is None:
            answer = await package.engine.answer(sys.stdin.buffer.read().decode())
            if answer.code:
                print(f"{answer.error} ({answer.code})", file=errors)
                return 1
            print(answer.raw, file=output)
            return 0
        with options.input.open(encoding="utf-8") as source, options.output.open("w", encoding="utf-8") as target:
            failed = await extract_lines(package, source, target)
        if failed:
            print(f"{failed} documents have no valid output.", file=errors)
        return 1 if failed else 0
    finally:
        await package.engine.close()


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", type=Path, help="JSON lines with id and text")
    parser.add_argument("--output", type=Path, help="JSON lines")
    parser.add_argument("--listen", metavar="HOST:PORT", help="answer over HTTP")
    parser.add_argument("--threads", type=int, help="processor threads, on Linux (default: all)")
    parser.add_argument("--verify", action="store_true", help="compare the files with package.json")
    parser.add_argument("--verbose", action="store_true", help="show the log of the engine")
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path(sys.argv[0]).resolve().parent,
        help="folder of the package (default: that of this program)",
    )
    options = parser.parse_args()
    if options.verify:
        changed = changed_files(options.folder)
        print(f"Changed: {', '.join(changed)}" if changed else "Every file is unchanged.")
        return 2 if changed else 0
    if (options.input is None) != (options.output is None):
        parser.error("--input and --output must be used together")
    if options.threads and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    with _reserved_streams(verbose=options.verbose) as (output, errors):
        try:
            return asyncio.run(run(options, output, errors))
        except (Refused, OSError, ImportError, ValueError) as error:
            print(error, file=errors)
            return 2


@contextlib.contextmanager
def _reserved_streams(*, verbose: bool) -> Iterator[tuple[TextIO, TextIO]]:
    """Copies of both streams: libraries log to them. Their log goes to standard error, or nowhere."""
    output, errors = (os.fdopen(os.dup(number), "w", encoding="utf-8") for number in (1, 2))
    log = os.dup(2) if verbose else os.open(os.devnull, os.O_WRONLY)
    os.dup2(log, 1)
    os.dup2(log, 2)
    try:
        yield output, errors
    finally:
        output.flush()
        errors.flush()


if __name__ == "__main__":
    sys.exit(main())
