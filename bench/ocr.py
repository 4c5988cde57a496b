"""The share of gold values found in OCR text of scans: ``python -m bench.ocr [FOLDER]``.

FOLDER holds images and ``gold.json`` (file name -> fields of the receipt template); by default the receipts in
``../shared/data/sroie/images``. Each image goes through the reader of imports. Per field: found verbatim (except
whitespace), and found by ``slmstudio.contract.values.evidence``, which handles dates, numbers, spacing and OCR errors.
"""

import json
import resource
import sys
import tempfile
import time
from pathlib import Path

from labeling.demo.templates import template
from labeling.imports.formats.base import Context
from labeling.imports.formats.scans import IMAGE, Scanner
from slmstudio.contract.schema.compiled import compile_schema
from slmstudio.contract.values import evidence
from slmstudio.storage.installation import ROOT


def main() -> None:
    """Reads every image; prints a line for each and a table."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT.parent / "shared/data/sroie/images"
    golds = json.loads((folder / "gold.json").read_text(encoding="utf-8"))
    compiled = compile_schema(template("receipt").schema)
    matches: dict[str, list[tuple[bool, bool]]] = {}
    seconds = []
    with tempfile.TemporaryDirectory() as work, Scanner(Context(compiled, Path(work))) as scanner:
        for name, gold in sorted(golds.items()):
            start = time.perf_counter()
            row = scanner.row(1, folder / name, IMAGE, name)
            seconds.append(time.perf_counter() - start)
            text = "" if row.error else row.data["text"]
            plain, missing = " ".join(text.split()), []
            for field in compiled.fields:
                value = gold.get(field.pattern)
                if value in (None, ""):
                    continue
                exact, meant = " ".join(str(value).split()) in plain, evidence.is_present(value, field, text)
                matches.setdefault(field.pattern, []).append((exact, meant))
                if not meant:
                    missing.append(f"{field.pattern} {value!r}")
            summary = row.error or f"{len(text)} characters, {len(row.pages[0].lines)} boxes"
            print(f"{name}: {seconds[-1]:.1f} s, {summary}{'; not matches: ' + '; '.join(missing) if missing else ''}")
    print(f"\n{'field':<12}{'n':>4}{'exactly':>12}{'normalized':>14}")
    every = [pair for pairs in matches.values() for pair in pairs]
    for field_name, pairs in [*matches.items(), ("all", every)]:
        whole, alike = sum(exact for exact, _ in pairs), sum(meant for _, meant in pairs)
        print(f"{field_name:<12}{len(pairs):>4}{_share(whole, len(pairs)):>12}{_share(alike, len(pairs)):>14}")
    rest = sorted(seconds[1:] or seconds)
    print(f"\nseconds per image: median {rest[len(rest) // 2]:.1f}, most {max(rest):.1f}; the first {seconds[0]:.1f}")
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = (used.ru_utime + used.ru_stime) / len(golds)
    print(f"(the first one loads the models); CPU seconds per image: {cpu:.1f}; peak {used.ru_maxrss // 1024} MB")


def _share(part: int, whole: int) -> str:
    return f"{part} ({100 * part / whole:.0f}%)"


if __name__ == "__main__":
    main()
