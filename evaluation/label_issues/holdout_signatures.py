"""Signatures of the texts that are or were held out, kept in a file: those of 20,000 take a quarter of a minute.

A signature follows from its text alone, so the file is keyed by the texts' hashes and never stale; what is not in it is
made and added. It holds nothing that cannot be made again.
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


class Texts(Sequence[str]):
    """Texts of documents by their place, each read when it is asked for."""

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
            return Texts(self._keys[place])
        return str(Document.objects.values_list("text", flat=True).get(pk=self._keys[place]))


def held_out(project: Project, keys: Sequence[int]) -> tuple[Texts, Signatures]:
    """The texts of these documents and their signatures, in the same order; those of documents that went are left
    out.
    """
    marks = _marks(keys)
    there = [key for key in keys if key in marks]
    path = artifacts.local_path(f"lookalikes/{project.pk}/held-out-1.npz")
    known = _read(path)
    fresh = [key for key in there if marks[key] not in known]
    for start in range(0, len(fresh), _CHUNK):
        part = fresh[start : start + _CHUNK]
        rows = dict(Document.objects.filter(pk__in=part).values_list("pk", "text"))
        found = [key for key in part if key in rows]
        made = signatures([rows[key] for key in found])
        known.update({marks[key]: made[place] for place, key in enumerate(found)})
    there = [key for key in there if marks[key] in known]
    if fresh:
        _write(path, {marks[key]: known[marks[key]] for key in there})
    stacked = np.vstack([known[marks[key]] for key in there]) if there else signatures([])
    return Texts(there), stacked


def _marks(keys: Sequence[int]) -> dict[int, int]:
    """Key -> a number that tells its text from all others."""
    found: dict[int, int] = {}
    for start in range(0, len(keys), _CHUNK):
        rows = Document.objects.filter(pk__in=keys[start : start + _CHUNK]).values_list("pk", "sha256")
        found.update((key, int(sha256[:15], 16)) for key, sha256 in rows)
    return found


def _read(path: os.PathLike[str]) -> dict[int, NDArray[np.uint32]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            marks, rows = file["marks"], file["signatures"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return {}  # not there yet, or cut off: made anew
    if rows.shape != (len(marks), signatures([]).shape[1]) or rows.dtype != np.uint32:
        return {}
    return dict(zip(marks.tolist(), rows, strict=True))


def _write(path: os.PathLike[str], known: dict[int, NDArray[np.uint32]]) -> None:
    """Puts the file in its place in one step, so that who reads meanwhile finds the old one."""
    fresh = f"{os.fspath(path)}.{uuid.uuid4().hex}.tmp"
    with open(fresh, "wb") as file:
        np.savez(file, marks=np.array(list(known), dtype=np.int64), signatures=np.vstack(list(known.values())))
    os.replace(fresh, path)
