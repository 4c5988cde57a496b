"""What the validation documents showed about a package: one record a document, without its values. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from serving.confidence.automation import Scored
from serving.confidence.calibration import Calibration, Sample, cross_fitted, fit
from serving.confidence.signals import JudgedField


@dataclass(frozen=True, slots=True)
class FieldRecord:
    """A field with tokens: its lowest token probability ``raw``, its ``calibrated`` confidence by a fit without its
    document, and the one that is ``served``, by the fit over all documents."""

    pattern: str
    raw: float
    calibrated: float
    is_null: bool
    is_correct: bool
    served: float


@dataclass(frozen=True, slots=True)
class DocumentRecord:
    """An answered document: ``wrong`` of ``counted`` fields that have a value in gold or output. An output that is not
    valid, or violates an invariant (``holds``), has no fields: it is never automatic."""

    name: str
    is_valid: bool
    holds: bool
    wrong: int
    counted: int
    fields: tuple[FieldRecord, ...] = ()

    @property
    def confidence(self) -> float:
        """What limits are compared with: the lowest of its fields, as the gateway computes it; 0 without any."""
        return min((one.served for one in self.fields), default=0.0)

    def to_json(self) -> list[Any]:
        """As stored."""
        fields = [[f.pattern, f.raw, f.calibrated, int(f.is_null), int(f.is_correct), f.served] for f in self.fields]
        return [self.name, int(self.is_valid), int(self.holds), self.wrong, self.counted, fields]

    @classmethod
    def of_json(cls, value: Sequence[Any]) -> "DocumentRecord":
        """Reads ``to_json`` again."""
        name, is_valid, holds, wrong, counted, rows = value
        # Packages of before have no confidence as it is served.
        fields = tuple(
            FieldRecord(str(p), float(r), float(c), bool(n), bool(ok), float(served[0] if served else c))
            for p, r, c, n, ok, *served in rows
        )
        return cls(str(name), bool(is_valid), bool(holds), int(wrong), int(counted), fields)


@dataclass(frozen=True, slots=True)
class AnsweredDocument:
    """A document that the package answered; ``fields`` None: its output is not valid."""

    name: str
    fields: list[JudgedField] | None
    holds: bool = True


def calibrate(documents: Sequence[AnsweredDocument]) -> tuple[Calibration, list[DocumentRecord]]:
    """The calibration from all documents, and their records with confidences by fits without them."""
    samples = [
        Sample(one.pattern, one.signals, one.is_correct, document.name)
        for document in documents
        for one in document.fields or ()
        if one.signals is not None
    ]
    left_out, fitted = iter(cross_fitted(samples)), fit(samples)
    records = []
    for document in documents:
        rows = document.fields or []
        fields = tuple(
            FieldRecord(
                one.pattern, round(one.signals.minimum, 4), round(next(left_out), 4), one.signals.is_null,
                one.is_correct, round(fitted.probability(one.pattern, one.signals), 4),
            )
            for one in rows
            if one.signals is not None
        )  # fmt: skip
        counted = [one for one in rows if not one.is_empty]
        wrong = sum(not one.is_correct for one in counted)
        is_valid = document.fields is not None
        records.append(DocumentRecord(document.name, is_valid, document.holds, wrong, len(counted), fields))
    return fitted, records


def scored(records: Sequence[DocumentRecord], *, raw: bool = False, pattern: str = "") -> list[Scored]:
    """The confidences of all fields, or of one pattern."""
    return [
        Scored(one.raw if raw else one.calibrated, one.is_correct)
        for record in records
        for one in record.fields
        if not pattern or one.pattern == pattern
    ]
