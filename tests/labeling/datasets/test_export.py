"""Exports of a version and of a project: what goes out comes in again, filters hold, memory and rights too."""

import csv
import html
import io
import json
import re
import zipfile
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from django.core.files.base import ContentFile

from labeling.datasets.export import export_dataset, export_project
from labeling.datasets.formats.registry import FORMATS
from labeling.datasets.freeze import freeze
from labeling.datasets.queries import file_path, rows
from labeling.datasets.splits import ORDER
from labeling.imports.bulk_copy import import_rows
from labeling.imports.formats.base import Context
from labeling.imports.formats.jsonl import parse_jsonl
from labeling.imports.formats.registry import detect, open_file
from labeling.imports.rows import ParsedRow
from labeling.imports.services import start_import
from labeling.jobs import run_import
from labeling.models import Annotation, Document, Gold, Origin
from slmstudio.contract.schema.compiled import dumps, loads
from tests.labeling.desk import SEED_ROW, Desk, bring_in, invoice, make_desk
from tests.shared_rows import shared_fixture

ROUND = ("rows", "csv", "label-studio", "hf")


@shared_fixture
def desk(db: None) -> Desk:
    desk = make_desk()
    bring_in(desk.project, [SEED_ROW, *[invoice(n, tags=["ocr_noise"], shop=f"s{n % 3}") for n in range(10)]])
    bring_in(desk.project, [invoice(50, gold=False)])
    return desk


def exported(desk: Desk, shape: str, **more: Any) -> bytes:
    return b"".join(export_project(desk.project, shape, **more))


def read_again(shape: str, data: bytes, desk: Desk, folder: Path) -> Iterator[ParsedRow]:
    context = Context(desk.project.schema_version.compiled, folder)
    if shape == "rows":
        return parse_jsonl(io.BytesIO(data))
    path = folder / f"export.{FORMATS[shape].extension}"
    path.write_bytes(data)
    with open_file(path, detect(path, path.name).name, path.name, context) as opened:
        return iter(list(opened.rows))


def labels(desk: Desk) -> dict[str, tuple[str, str]]:
    compiled = desk.project.schema_version.compiled
    golds = Gold.objects.filter(document__project=desk.project).select_related("document", "revision")
    return {g.document.external_id: (g.document.text, dumps(compiled.ordered(g.revision.value))) for g in golds}


@pytest.mark.parametrize(("shape", "frozen"), [("csv", True), ("label-studio", False), ("rows", True)])
def test_export_imports_with_equal_labels(desk: Desk, shape: str, frozen: bool, tmp_path: Path) -> None:
    if frozen:
        dataset = freeze(project=desk.project, user=None, rules=None)
        data = b"".join(export_dataset(dataset, shape))
    else:
        data = exported(desk, shape)
    other = make_desk("other")
    result = import_rows(project=other.project, rows=read_again(shape, data, other, tmp_path), source="export")
    assert (result.imported, result.with_gold, result.rejected) == (11, 11, 0), result.rejects
    assert labels(other) == labels(desk)
    assert '"total_amount":1248.50' in labels(other)["seed"][1]


def test_rows_export_keeps_metadata(desk: Desk) -> None:
    Document.objects.filter(external_id="seed").update(metadata={"text": "other", "gold": 1, "id": "x", "tags": "y"})
    rows = {row["id"]: row for row in map(loads, exported(desk, "rows").splitlines())}
    assert (rows["inv-0004"]["shop"], rows["inv-0004"]["tags"]) == ("s1", ["ocr_noise"])
    seed = rows["seed"]
    assert seed["gold"]["total_amount"] == Decimal("1248.50"), "metadata do not replace labels"
    assert list(seed["gold"]) == ["invoice_id", "date", "vendor", "total_amount"]
    assert seed["text"].startswith("...Thank you")


def test_page_boxes_round_trip(desk: Desk) -> None:
    pages = [
        {"width": 200, "height": 300, "lines": [{"text": "Total", "bbox": [1, 2, 30, 12]}]},
        {"width": 210, "height": 310, "lines": [{"text": "2.50", "bbox": [40, 2, 60, 12]}]},
    ]
    bring_in(desk.project, [{"id": "one", "text": "Total", "page": pages[0]}])
    bring_in(desk.project, [{"id": "two", "text": "Total\n2.50", "page": pages}])
    data = exported(desk, "rows", part="all")
    rows = {row["id"]: row for row in map(loads, data.splitlines())}
    assert (rows["one"]["page"], rows["two"]["page"]) == (pages[0], pages)
    assert "page" not in rows["seed"]
    other = make_desk("other")
    import_rows(project=other.project, rows=parse_jsonl(io.BytesIO(data)), source="export")
    assert exported(other, "rows", part="all") == data


def test_export_parts(desk: Desk) -> None:
    waiting = Document.objects.get(external_id="inv-0050")
    Annotation.objects.create(
        project=desk.project, document=waiting, schema_version=desk.project.schema_version,
        value={"invoice_id": "by hand"}, submitted=True, origin=Origin.HUMAN,
    )  # fmt: skip
    bring_in(desk.project, [invoice(60, gold=False)])
    sizes = {part: len(exported(desk, "rows", part=part).splitlines()) for part in ("gold", "labels", "all")}
    assert sizes == {"gold": 11, "labels": 12, "all": 13}
    assert b"by hand" in exported(desk, "rows", part="labels")


def test_filtered_export(desk: Desk) -> None:
    client = desk.as_("annotator")
    answer = client.get(desk.url("export/rows/?tag=ocr_noise&q=F-7"))
    assert [json.loads(line)["id"] for line in b"".join(answer.streaming_content).splitlines()] == ["inv-0007"]  # type: ignore[attr-defined]
    assert 'filename="desk-selection-rows.jsonl"' in answer["Content-Disposition"]
    page = client.get(desk.url("export/?tag=ocr_noise"))
    assert page.context["counts"] == {"gold": 10, "all": 10, "holdout": 0}
    assert "tag=ocr_noise&amp;part=gold" in page.content.decode()


def test_selected_documents_are_exported(desk: Desk) -> None:
    bring_in(desk.project, [invoice(number) for number in range(1, 5)])
    keys = list(Document.objects.filter(external_id__in=["inv-0002", "inv-0004"]).values_list("pk", flat=True))
    client = desk.as_("engineer")
    asked = {"action": "export", "of": "ticked", "id": keys, "query": "state=submitted"}
    page = client.post(desk.url("documents/bulk/"), asked, follow=True)
    assert "2 selected documents." in page.content.decode()
    link = re.search(r'href="([^"]*export/rows/[^"]*)"', page.content.decode())
    assert link is not None
    rows = b"".join(client.get(html.unescape(link[1])).streaming_content).decode().splitlines()  # type: ignore[attr-defined]
    assert {json.loads(row)["id"] for row in rows} == {"inv-0002", "inv-0004"}
    everything = client.post(desk.url("documents/bulk/"), {**asked, "of": "all"})
    assert everything["Location"].endswith("/export/?state=submitted")
    none = client.post(desk.url("documents/bulk/"), {"action": "export", "of": "ticked"}, follow=True)
    assert "Select the documents" in none.content.decode()
    assert client.get(desk.url("export/rows/?ids=1;2")).status_code == 404
    stranger = make_desk("stranger")
    foreign = stranger.as_("engineer").get(stranger.url(f"export/rows/?ids={keys[0]}"))
    assert b"".join(foreign.streaming_content) == b""  # type: ignore[attr-defined]


def test_invalid_filter_exports_nothing_and_unknown_exports_are_404(desk: Desk) -> None:
    client = desk.as_("annotator")
    answer = client.get(desk.url("export/rows/?field=nowhere&op=is&value=1"))
    assert answer.status_code == 422
    assert "no field" in answer.content.decode()
    assert client.get(desk.url("export/?below=x")).status_code == 422
    for path in ("export/xml/", "export/rows/?part=drafts", "datasets/9/export/rows/"):
        assert client.get(desk.url(path)).status_code == 404, path


def test_training_file_has_one_split_and_by_default_train(desk: Desk) -> None:
    dataset = freeze(project=desk.project, user=None)
    splits = dataset.counts["splits"]
    assert splits["holdout"]
    for shape in (name for name, file_format in FORMATS.items() if file_format.is_training):
        sizes = {split: len(b"".join(export_dataset(dataset, shape, split)).splitlines()) for split in ("", *ORDER)}
        assert sizes == {**splits, "": splits["train"]}, shape


def test_mixed_export_names_the_split_of_every_row(desk: Desk) -> None:
    dataset = freeze(project=desk.project, user=None)
    assert dataset.counts["splits"]["holdout"]
    expected = {row["id"]: row["split"] for row in rows(dataset)}
    for shape in ROUND:
        assert splits_in(shape, b"".join(export_dataset(dataset, shape))) == expected, shape
    assert b"".join(export_dataset(dataset, "rows")) == file_path(dataset).read_bytes()


def splits_in(shape: str, data: bytes) -> dict[str, str]:
    """The split of each document of an export by its id, "" where it names none."""
    if shape == "rows":
        return {row["id"]: row.get("split", "") for row in map(loads, data.splitlines())}
    if shape == "csv":
        return {row["id"]: row["split"] for row in csv.DictReader(io.StringIO(data.decode("utf-8-sig")))}
    if shape == "label-studio":
        return {task["data"]["id"]: task["data"].get("split", "") for task in json.loads(data)}
    splits: dict[str, str] = {}
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for name in json.loads(archive.read("dataset/dataset_dict.json"))["splits"]:
            table = pa.ipc.open_stream(archive.read(f"dataset/{name}/data-00000-of-00001.arrow")).read_all()
            splits |= dict.fromkeys(table["id"].to_pylist(), name)
    return splits


@pytest.fixture
def held(desk: Desk) -> list[str]:
    """Documents in the hold-out."""
    names = ["inv-0002", "inv-0005"]
    Document.objects.filter(external_id__in=names).update(holdout=True)
    return names


def test_training_file_of_current_labels_leaves_out_the_holdout(desk: Desk, held: list[str]) -> None:
    client = desk.as_("engineer")

    def lines(query: str) -> list[bytes]:
        answer: Any = client.get(desk.url(f"export/instruct/?{query}"))
        return b"".join(answer.streaming_content).splitlines()

    assert len(lines("")) == 9
    assert len(lines("tag=ocr_noise")) == 8
    keys = Document.objects.filter(external_id__in=["inv-0001", "inv-0002"]).values_list("pk", flat=True)
    assert len(lines(f"ids={','.join(map(str, keys))}")) == 1
    for choice in ("holdout=yes", "holdout=yes&tag=ocr_noise"):
        only = lines(choice)
        assert len(only) == 2
        assert all(b"F-2 " in line or b"F-5 " in line for line in only)


def test_current_labels_mark_the_holdout(desk: Desk, held: list[str]) -> None:
    for shape in ROUND:
        splits = splits_in(shape, exported(desk, shape, part="all"))
        assert len(splits) == 12
        assert sorted(name for name, split in splits.items() if split == "holdout") == held, shape
        assert {split for name, split in splits.items() if name not in held} == {"train" if shape == "hf" else ""}


def test_holdout_files_are_a_choice_of_their_own(desk: Desk) -> None:
    freeze(project=desk.project, user=None)
    client = desk.as_("engineer")
    for part, splits in (("holdout", {"holdout"}), ("all", set())):
        page = client.get(desk.url(f"datasets/1/export/?part={part}"))
        files = re.findall(r'href="[^"]*/export/chat/\?split=(\w+)"', page.content.decode())
        assert set(files) == splits
        assert page.context["part"] == part
    assert client.get(desk.url("datasets/1/export/?part=test")).context["part"] == "training"


INVOICE = {
    "invoice_id": "-17",
    "date": None,
    "vendor": '=Acme, "& Sons"',
    "line_items": [
        {"description": "Widget\nblue", "quantity": 2, "unit_price": Decimal("10.0"), "amount": Decimal("20.00")}
    ],
    "total_amount": Decimal("20.00"),
}
SPANS = {"spans": [{"type": "person", "text": "@Ana"}, {"type": "phone", "text": "+49 170 1"}]}


@pytest.mark.parametrize(
    ("shape", "template", "gold"),
    [
        ("csv", "invoice-with-lines", INVOICE),
        ("hf", "invoice-with-lines", INVOICE),
        ("label-studio", "pii-redaction", SPANS),
    ],
)
def test_exported_file_can_be_uploaded(db: None, shape: str, template: str, gold: dict[str, Any]) -> None:
    """Through the upload and the job: the kind of the file and its columns are seen by themselves."""
    desk, other = make_desk("first", template), make_desk("other", template)
    text = '=Acme, "& Sons"\nInvoice -17\nWidget\nblue 2 10.0 20.00\n@Ana +49 170 1 No. '
    bring_in(desk.project, [dumps({"id": f"=d{n}", "text": f"{text}{n}", "gold": gold}) for n in range(4)])
    assert len(labels(desk)) == 4
    upload = ContentFile(exported(desk, shape), name=f"export.{FORMATS[shape].extension}")
    run = start_import(project=other.project, user=other.people["owner"], file=upload)
    run_import(run.pk)
    run.refresh_from_db()
    assert (run.status, run.imported, run.rejected) == ("done", 4, 0), (run.error, run.rejects)
    assert labels(other) == labels(desk)
