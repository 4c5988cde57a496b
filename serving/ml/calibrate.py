"""Calibrates the confidence of a package: it answers labeled documents, and its probabilities are compared with what is
right."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from serving.confidence.calibration import AnsweredDocument, calibrate, judged_fields, summary
from serving.ml.loading import LoadedPackage
from serving.packages.spec import CalibrationDocument
from slmstudio.contract.json_text import loads
from slmstudio.contract.rules import invariants
from training.ml.events import Emitter
from training.strict_yaml import build

FOLDER = "evidence"


def read_documents(path: str) -> list[CalibrationDocument]:
    """The documents of a file; "": none."""
    if not path:
        return []
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    return [build(CalibrationDocument, loads(line, max_characters=None)) for line in lines if line.strip()]


async def calibrate_package(
    folder: Path,
    package: LoadedPackage,
    documents: Sequence[CalibrationDocument],
    emitter: Emitter,
    *,
    variant: str = "",
) -> None:
    """Answers the documents with a started engine, and writes the calibration into the folder ``evidence``.

    Event: ``calibration`` {variant, file}.
    """
    if not documents:
        return
    answered = []
    for number, document in enumerate(documents):
        emitter.emit("progress", stage="calibrating the confidence", done=number, total=len(documents))
        answered.append(await _answered(package, str(number), document))
    calibration, records = calibrate(answered)
    name = f"{FOLDER}/calibration{f'-{variant}' if variant else ''}.json"
    value = {
        "version": 2,
        "engine": package.engine.version,
        "documents": len(records),
        **asdict(calibration),
        "summary": summary(calibration, records),
        "records": [record.to_json() for record in records],
    }
    (folder / FOLDER).mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    emitter.emit("calibration", variant=variant, file=name)


async def _answered(package: LoadedPackage, name: str, document: CalibrationDocument) -> AnsweredDocument:
    schema = package.schema
    answer = await package.engine.answer(document.text)
    if answer.finish_reason != "stop":
        return AnsweredDocument(name, None)
    fields = judged_fields(
        schema, text=document.text, gold=document.gold, raw=answer.raw, probabilities=answer.confidence
    )
    holds = not (fields is not None and invariants.declared(schema) and invariants.check(schema, loads(answer.raw)))
    return AnsweredDocument(name, fields, holds)
