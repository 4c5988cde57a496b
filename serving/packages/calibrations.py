"""The calibration of a package: its documents, and what its build found about them."""

import json
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from django.db import transaction

from evaluation.models import EvalRun
from evaluation.runs import run_documents
from labeling.datasets import queries as dataset_queries
from labeling.models import Split
from serving.confidence.calibration import DocumentRecord
from serving.models import Package, PackageCalibration
from slmstudio.storage.hashing import sha256_file

#: documents that a package answers for its calibration, at most
MAX_DOCUMENTS = 400


@dataclass(frozen=True)
class CalibrationDocuments:
    """The documents of a split as rows: id, text, gold. ``is_evaluated``: they are those of the evaluation."""

    split: str
    is_evaluated: bool
    rows: list[dict[str, Any]]


def calibration_documents(run: EvalRun) -> CalibrationDocuments:
    """The validation documents of the dataset; where it has none, those of the evaluation.

    A model whose epochs were chosen by these documents looks a little better on them than it is.
    """
    rows = list(islice(dataset_queries.rows(run.dataset, Split.VALIDATION), MAX_DOCUMENTS))
    if rows:
        return CalibrationDocuments(Split.VALIDATION, run.split == Split.VALIDATION, rows)
    return CalibrationDocuments(run.split, True, list(islice(run_documents.rows(run), MAX_DOCUMENTS)))


def store(package: Package, documents: CalibrationDocuments, files: dict[str, Path]) -> None:
    """Replaces the calibrations of a package by those of its build. ``files``: variant -> file in its folder."""
    names = [str(row["id"]) for row in documents.rows]
    rows = []
    for variant, file in files.items():
        built = json.loads(file.read_text(encoding="utf-8"))
        records = [DocumentRecord.from_json(record) for record in built["records"]]
        rows.append(
            PackageCalibration(
                package=package, variant=variant, split=documents.split, is_evaluated=documents.is_evaluated,
                documents=len(records), fits=built["fits"], summary=built["summary"], sha256=sha256_file(file),
                # The file names no document.
                records=[replace(record, name=names[int(record.name)]).to_json() for record in records],
            )
        )  # fmt: skip
    with transaction.atomic():
        PackageCalibration.objects.filter(package=package).delete()
        PackageCalibration.objects.bulk_create(rows)
