"""Erases single documents from the files of batches: those of a caller, or of requests."""

from collections.abc import Callable, Collection
from pathlib import Path

import orjson

from labeling.models import Project
from serving.batches import lines
from serving.models import BatchRun
from slmstudio.storage.artifacts import local_path

#: whether a line has what is erased
Find = Callable[[str], bool]
_ERASED = {"status": 410, "code": "erased", "detail": "The document was erased."}


def erase_documents(
    project: Project,
    *,
    caller: str = "",
    requests: Collection[str] = (),
    found: Find | None = None,
    dry_run: bool = False,
) -> tuple[int, int]:
    """Erases lines of the ended batches of a project: their documents and their results. ``found``: of a line or its
    result, instead of a caller or requests. ``dry_run``: only counts them.

    Returns the number of erased lines, and of batches with such lines that have not ended, which stay as they are.
    """
    erased = waiting = 0
    for run in BatchRun.objects.filter(project=project, erased_at=None):
        source, target = local_path(run.input_key), local_path(run.result_key)
        if found is not None:
            numbers = _lines_with(source, target, found)
        else:
            numbers = _lines_of(source, caller) if caller else _lines_answered(target, requests)
        if numbers and run.is_live:
            waiting += 1
        elif numbers:
            if not dry_run:
                _erase(source, target, numbers)
            erased += len(numbers)
    return erased, waiting


def _lines_of(source: Path, caller: str) -> set[int]:
    if not source.exists():
        return set()
    return {line.number for line in lines.read(source) if line.caller == caller}


def _lines_answered(target: Path, requests: Collection[str]) -> set[int]:
    """Numbers of the lines whose results name one of these requests."""
    if not target.exists() or not requests:
        return set()
    with target.open("rb") as file:
        results = (orjson.loads(line) for line in file if line.endswith(b"\n"))
        return {int(result["line"]) for result in results if result.get("request_id") in requests}


def _lines_with(source: Path, target: Path, found: Find) -> set[int]:
    numbers: set[int] = set()
    if source.exists():
        with source.open(encoding="utf-8") as file:
            numbers.update(number for number, line in enumerate(file, start=1) if found(line))
    if target.exists():
        with target.open(encoding="utf-8") as file:
            numbers.update(int(orjson.loads(line)["line"]) for line in file if line.endswith("\n") and found(line))
    return numbers


def _erase(source: Path, target: Path, numbers: set[int]) -> None:
    _rewrite(source, lambda number, line: b"\n" if number in numbers else line)
    done = lines.done_lines(target)
    _rewrite(target, lambda _, line: _without(line, numbers))
    with target.open("ab") as file:  # a batch that is resumed counts them as done
        file.writelines(_result(number) for number in numbers.difference(done))
    lines.sort(target)


def _without(line: bytes, numbers: Collection[int]) -> bytes:
    number = int(orjson.loads(line)["line"])
    return _result(number) if number in numbers else line


def _result(number: int) -> bytes:
    return orjson.dumps({"line": number, "id": "", "error": _ERASED}) + b"\n"


def _rewrite(path: Path, change: Callable[[int, bytes], bytes]) -> None:
    """Replaces a file whole: blank lines keep the numbers of the others."""
    if not path.exists():
        return
    draft = path.with_suffix(".erased")
    with path.open("rb") as file, draft.open("wb") as kept:
        for number, line in enumerate(file, start=1):
            kept.write(change(number, line))
    draft.replace(path)
