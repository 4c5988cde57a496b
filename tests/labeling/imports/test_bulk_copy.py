"""Rows into the database by COPY: every column, pages with images, evidence, proposals, overlap."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from labeling.imports import bulk_copy
from labeling.imports.bulk_copy import import_rows
from labeling.imports.formats.page_text import ReadPage
from labeling.imports.rows import ParsedRow, RowPrediction
from labeling.imports.services import insert_rows
from labeling.models import Annotation, AnnotationRevision, Document, Gold, Page, Prediction
from slmstudio.storage import artifacts
from tests.labeling.desk import SEED_ROW, Desk, bring_in, invoice, make_desk


def test_copy_omits_nullable_columns_only() -> None:
    """A column that is new and must hold something has to be written, or every import would fail."""
    models: list[tuple[Any, tuple[str, ...]]] = [
        (Document, bulk_copy.DOCUMENT_COLUMNS),
        (Page, bulk_copy.PAGE_COLUMNS),
        (Annotation, bulk_copy.ANNOTATION_COLUMNS),
        (AnnotationRevision, bulk_copy.REVISION_COLUMNS),
        (Gold, bulk_copy.GOLD_COLUMNS),
    ]
    for model, columns in models:
        fields = {field.column: field for field in model._meta.concrete_fields}
        assert set(columns) <= fields.keys()
        for name, field in fields.items():
            if name not in columns and not field.primary_key:
                assert field.null or field.has_db_default(), f"{model.__name__}.{name}"


def test_copy_defaults_match_the_model(desk: Desk) -> None:
    bring_in(desk.project, [SEED_ROW])
    document, annotation = Document.objects.get(), Annotation.objects.get()
    fresh = Document(project=desk.project, external_id="x", text="x", sha256="x")
    for name in ("disputed", "locked_by", "locked_until", "assigned_to", "overlap", "skip_reason", "metadata", "tags"):
        assert getattr(document, name) == getattr(fresh, name), name
    plain = Annotation(project=desk.project)
    for name in ("seconds", "field_seconds", "evidence", "prediction", "changed_fields", "submitted_at"):
        assert getattr(annotation, name) == getattr(plain, name), name


def test_copied_texts_round_trip(desk: Desk) -> None:
    text = "tab\there \\N \\. back\\slash\r\nline “quotes” \u200b\u202e العربية 🙂 <script>"
    row = {"id": "\\N", "text": text, "tags": ['a "b"', "c,d", "{e}"], "note": {"x": ["\\", 1.50]}}
    bring_in(desk.project, [row])
    document = Document.objects.get()
    assert (document.text, document.external_id, document.tags) == (text, "\\N", ['a "b"', "c,d", "{e}"])
    assert document.metadata == {"note": {"x": ["\\", Decimal("1.5")]}}


def page(number: int, folder: Path | None, **more: Any) -> ReadPage:
    image = None
    if folder is not None:
        image = folder / f"{number}.webp"
        image.write_bytes(b"picture %d" % number)
    return ReadPage(number, 100, 50, 0, 4, [[0, 4, 1, 2, 30, 12]], image, **more)


def test_pages_and_images_are_stored_once(desk: Desk, tmp_path: Path) -> None:
    parsed = ParsedRow(1, {"text": "text"}, pages=(page(1, tmp_path), page(2, tmp_path)))
    import_rows(project=desk.project, rows=[parsed], source="s")
    document = Document.objects.get()
    first, second = Page.objects.filter(document=document).order_by("number")
    assert (document.page_count, first.width, first.lines) == (2, 100, [[0, 4, 1, 2, 30, 12]])
    with artifacts.store().open(second.image_key) as file:
        assert file.read() == b"picture 2"
    again = import_rows(project=desk.project, rows=[parsed], source="s")
    assert (again.imported, again.duplicates) == (0, 1)
    folder = second.image_key.rpartition("/")[0]
    assert sorted(artifacts.store().listdir(folder)[1]) == ["1.webp", "2.webp"]


def test_boxes_of_a_row_become_pages(desk: Desk) -> None:
    lines = [{"text": "Total", "bbox": [10, 20, 60, 30]}, {"text": "12.00", "bbox": [70, 20, 99, 30]}]
    bring_in(desk.project, [{"id": "r", "text": "Total  12.00", "page": {"width": 100, "height": 50, "lines": lines}}])
    stored = Page.objects.get()
    assert (stored.image_key, stored.lines) == ("", [[0, 5, 10, 20, 60, 30], [7, 12, 70, 20, 99, 30]])
    assert Document.objects.get().metadata == {}
    url = desk.url(f"documents/{stored.document_id}/pages/1/image")
    assert desk.as_("annotator").get(url).status_code == 404, "it has no image"


def test_gold_has_evidence(desk: Desk) -> None:
    data = invoice(1)
    parsed = ParsedRow(1, data, evidence={"invoice_id": {"start": 8, "end": 11}, "date": {"start": 9, "end": 10_000}})
    import_rows(project=desk.project, rows=[parsed], source="s")
    assert Annotation.objects.get().evidence == {"invoice_id": {"start": 8, "end": 11}}
    assert AnnotationRevision.objects.get().evidence == Annotation.objects.get().evidence


@pytest.mark.parametrize("as_holdout", [False, True])
def test_imported_predictions_exclude_the_holdout(desk: Desk, as_holdout: bool) -> None:
    proposals = (RowPrediction('{"invoice_id": "A"}', "tiny"), RowPrediction("{oops", ""))
    rows = [ParsedRow(1, {"text": "text"}, predictions=proposals)]
    import_rows(project=desk.project, rows=rows, source="file.json", as_holdout=as_holdout)
    stored = {prediction.model: prediction.value for prediction in Prediction.objects.all()}
    assert stored == ({} if as_holdout else {"tiny": {"invoice_id": "A"}, "unnamed model": None})
    assert not Gold.objects.exists()


def test_new_documents_get_overlap(desk: Desk) -> None:
    desk.project.overlap_share, desk.project.overlap_people = 0.5, 3
    desk.project.save()
    rows = [invoice(number, gold=False) for number in range(200)]
    bring_in(desk.project, rows)
    names = Document.objects.order_by("pk").values_list("external_id", flat=True)
    assert list(names) == [row["id"] for row in rows], "ids follow the order of the rows"
    drawn = set(Document.objects.filter(overlap=3).values_list("external_id", flat=True))
    assert 60 < len(drawn) < 140
    bring_in(desk.project, [invoice(number) for number in range(200, 300)])
    assert set(Document.objects.filter(state="submitted").values_list("overlap", flat=True)) == {1}
    other = make_desk("other")
    other.project.overlap_share, other.project.overlap_people = 0.5, 3
    other.project.save()
    bring_in(other.project, rows[::-1])
    of_other = Document.objects.filter(project=other.project, overlap=3)
    assert set(of_other.values_list("external_id", flat=True)) == drawn


def test_failed_batch_is_rolled_back(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk_copy, "BATCH", 5)
    copy_gold = bulk_copy._copy_gold

    def fails_later(*args: Any) -> None:
        if Gold.objects.exists():
            raise OSError("the disk is full")
        copy_gold(*args)

    monkeypatch.setattr(bulk_copy, "_copy_gold", fails_later)
    with pytest.raises(OSError, match="disk"):
        bring_in(desk.project, [invoice(number) for number in range(20)])
    assert Document.objects.count() == Gold.objects.count() == 5


def test_rows_are_counted_and_numbered(desk: Desk) -> None:
    rows = [invoice(1), {"id": "x"}, invoice(1), "nonsense"]
    result = insert_rows(project=desk.project, user=desk.people["engineer"], rows=rows)
    assert (result.imported, result.duplicates, result.rejected) == (1, 1, 2)
    assert [(reject["row"], reject["id"]) for reject in result.rejects] == [(2, "x"), (4, "")]
    assert desk.project.index_runs.count() == 1
