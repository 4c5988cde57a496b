"""The files of a project in which an erased text, or the row of an erased document, is found and replaced.

Files of models and packages stay as they are: their hashes are what was approved. Binary files are not read.
"""

import shutil
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evaluation.models import ClassicalModel
from labeling.models import Project
from serving.erasure.pattern import ErasedText
from serving.models import BatchRun, Package
from slmstudio.contract.json_text import JsonError, dumps, loads
from slmstudio.hooks import project_files
from slmstudio.storage.artifacts import store
from slmstudio.storage.hashing import sha256_file
from training.models import ModelExport, ModelVersion

#: members of a row that say nothing of its document
_PLAIN = frozenset({"split", "origin", "finish_reason", "tags", "windows"})
_EMPTY: dict[type, Callable[[], Any]] = {str: str, dict: dict, list: list}


@dataclass
class FoundFiles:
    """Keys of the files that have a text or a document; ``kept``: of models and packages; ``unread``: the number of
    binary uploads.
    """

    keys: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    unread: int = 0


class FileEraser:
    """Replaces a text, and empties the rows of documents: id -> the id that the row gets."""

    def __init__(self, text: ErasedText, documents: dict[str, str]) -> None:
        self._text = text
        self._documents = documents

    def concerns(self, path: Path) -> bool:
        """Whether a file has the text, or a row of one of the documents."""
        return any(self._line(line) != line for line in _lines(path))

    def rewrite(self, path: Path) -> None:
        """Replaces a file whole."""
        draft = path.with_name(f".{path.name}.erased")
        with draft.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            file.writelines(map(self._line, _lines(path)))
        draft.replace(path)

    def _line(self, line: str) -> str:
        if self._documents and any(name in line for name in self._documents):
            try:
                value = loads(line, max_characters=None)
            except JsonError:
                pass
            else:
                emptied = self._emptied(value)
                if emptied != value:
                    line = dumps(emptied) + ("\n" if line.endswith("\n") else "")
        return str(self._text.replaced(line)[0])

    def _emptied(self, value: Any) -> Any:
        """A JSON value in which each object with the id of an erased document is empty."""
        if isinstance(value, list):
            return [self._documents.get(part, part) if isinstance(part, str) else self._emptied(part) for part in value]
        if not isinstance(value, dict):
            return value
        if str(value.get("id")) in self._documents:
            rest = {name: part if name in _PLAIN else _without_content(part) for name, part in value.items()}
            return {**rest, "id": self._documents[str(value["id"])]}
        return {name: self._emptied(part) for name, part in value.items()}


def _without_content(value: Any) -> Any:
    return _EMPTY[type(value)]() if type(value) in _EMPTY else value


def _is_binary(path: Path) -> bool:
    with path.open("rb") as file:
        return b"\0" in file.read(8_192)


def _lines(path: Path) -> Iterator[str]:
    """The lines of a file; bytes that are not UTF-8 stay as they are."""
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as text:
        yield from text


def find(project: Project, eraser: FileEraser) -> FoundFiles:
    """The files of a project that have what is erased. Those of batches are erased by line, not here."""
    found, root = FoundFiles(), Path(store().path(""))
    frozen = {root / key for key in _frozen_folders(project)}
    for path in _files(project, root):
        if _is_binary(path):
            found.unread += path.is_relative_to(root / "imports")
        elif eraser.concerns(path):
            target = found.kept if frozen.intersection(path.parents) else found.keys
            target.append(path.relative_to(root).as_posix())
    return found


def _files(project: Project, root: Path) -> Iterator[Path]:
    batches = BatchRun.objects.filter(project=project).values_list("input_key", "result_key")
    without = {root / key for pair in batches for key in pair if key}
    visited = set()
    for keys in project_files.call(project):
        for key in filter(None, keys):
            place = root / key
            for path in [place] if place.is_file() else sorted(place.rglob("*")):
                if path.is_file() and path not in without and path not in visited:
                    visited.add(path)
                    yield path


def _frozen_folders(project: Project) -> Collection[str]:
    versions = ModelVersion.objects.filter(project=project).values_list("folder_key", "adapter_key")
    exports = ModelExport.objects.filter(model_version__project=project).values_list("folder_key", flat=True)
    packages = Package.objects.filter(project=project).values_list("folder_key", flat=True)
    classical = [model.folder_key for model in ClassicalModel.objects.filter(project=project)]
    return {*(key for pair in versions for key in pair), *exports, *packages, *classical} - {""}


def rewrite(keys: Collection[str], eraser: FileEraser) -> dict[str, tuple[str, str]]:
    """Rewrites files; returns the hashes of each before and after."""
    hashes = {}
    for key in keys:
        path = Path(store().path(key))
        before = sha256_file(path)
        eraser.rewrite(path)
        hashes[key] = (before, sha256_file(path))
    return hashes


def delete_folder(key: str) -> None:
    """Deletes a folder of the artifact store."""
    shutil.rmtree(store().path(key), ignore_errors=True)
