"""Signatures of current and former hold-out texts, cached in a file: those of 20,000 texts take 15 seconds.

A signature depends only on its text, so the file is keyed by text hashes and never outdated; missing ones are computed
and added.
"""

import os
import uuid
import zipfile
from collections.abc import Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray

from evaluation.label_issues.similarity import Signatures, signatures
from labeling.models import Document, Project
from slmstudio.storage import artifacts

_CHUNK = 500


class LazyTexts(Sequence[str]):
    """The texts of documents by index, each read on access."""

    def __init__(self, keys: Sequence[int]) -> None:
        self._keys = keys

    def __len__(self) -> int:
        return len(self._keys)

    @overload
    def __getitem__(self, place: int) -> str: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[str]: ...

    def __getitem__(self, place: int | slice) -> str | Sequence[str]:
        if isinstance(place, slice):
            return LazyTexts(self._keys[place])
        return str(Document.objects.values_list("text", flat=True).get(pk=self._keys[place]))


def held_out(project: Project, keys: Sequence[int]) -> tuple[LazyTexts, Signatures]:
    """The texts of documents and their signatures, in the same order, without deleted documents."""
    marks = _text_versions(keys)
    present = [key for key in keys if key in marks]
    path = artifacts.local_path(f"lookalikes/{project.pk}/held-out-1.npz")
    known = _read(path)
    fresh = [key for key in present if marks[key] not in known]
    for start in range(0, len(fresh), _CHUNK):
        part = fresh[start : start + _CHUNK]
        rows = dict(Document.objects.filter(pk__in=part).values_list("pk", "text"))
        keys_read = [key for key in part if key in rows]
        computed = signatures([rows[key] for key in keys_read])
        known.update({marks[key]: computed[index] for index, key in enumerate(keys_read)})
    present = [key for key in present if marks[key] in known]
    if fresh:
        _write(path, {marks[key]: known[marks[key]] for key in present})
    stacked = np.vstack([known[marks[key]] for key in present]) if present else signatures([])
    return LazyTexts(present), stacked


def _text_versions(keys: Sequence[int]) -> dict[int, int]:
    """Document key -> a number that identifies its text."""
    versions: dict[int, int] = {}
    for start in range(0, len(keys), _CHUNK):
        rows = Document.objects.filter(pk__in=keys[start : start + _CHUNK]).values_list("pk", "sha256")
        versions.update((key, int(sha256[:15], 16)) for key, sha256 in rows)
    return versions


def _read(path: os.PathLike[str]) -> dict[int, NDArray[np.uint32]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            marks, rows = file["marks"], file["signatures"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return {}  # missing or truncated: computed again
    if rows.shape != (len(marks), signatures([]).shape[1]) or rows.dtype != np.uint32:
        return {}
    return dict(zip(marks.tolist(), rows, strict=True))


def _write(path: os.PathLike[str], known: dict[int, NDArray[np.uint32]]) -> None:
    """Replaces the file atomically."""
    fresh = f"{os.fspath(path)}.{uuid.uuid4().hex}.tmp"
    with open(fresh, "wb") as file:
        np.savez(file, marks=np.array(list(known), dtype=np.int64), signatures=np.vstack(list(known.values())))
    os.replace(fresh, path)
