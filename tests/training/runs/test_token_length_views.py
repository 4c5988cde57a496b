"""Token lengths on the page of a dataset version: measurements, documents over the limit, permissions."""

import json
from collections.abc import Callable

from django.test import Client

from labeling.models import DatasetVersion
from slmstudio.storage.artifacts import write_text
from training.models import BaseModel, LengthReport
from training.runs.token_length_views import lengths_context

PAGE = "/p/receipts/datasets/1/"
PANEL = "/p/receipts/training/lengths/1/"
HTMX = {"HX-Request": "true"}


def test_dropped_documents_follow_the_limit(lengths: LengthReport, login: Callable[[str], Client]) -> None:
    (fit,) = lengths_context(lengths.dataset)["reports"]
    assert (fit["limit"], fit["over"]) == (1024, 0)
    (fit,) = lengths_context(lengths.dataset, 299)["reports"]
    assert (fit["limit"], fit["over"], len(fit["listed"])) == (299, 1, 1)
    page = login("manager").get(f"{PANEL}?limit=99", headers=HTMX).content.decode()
    rows = lengths.dataset.counts["splits"]["train"] + lengths.dataset.counts["splits"]["validation"]
    assert f"{rows} of {rows}: split into windows" in page
    assert 'class="over"' in page


def test_limit_is_within_the_model_context_and_an_invalid_one_is_the_default(
    lengths: LengthReport, login: Callable[[str], Client]
) -> None:
    client = login("manager")
    for limit in ("", "x", "-1", "9" * 30, "0"):
        page = client.get(f"{PANEL}?limit={limit}", headers=HTMX)
        assert page.status_code == 200
        assert "Longer than 1,024" in page.content.decode(), limit
    BaseModel.objects.filter(pk=lengths.base_model.pk).update(context=256)
    (fit,) = lengths_context(lengths.dataset, 4096)["reports"]
    assert (fit["limit"], fit["over"]) == (256, 1)


def test_measurement_is_queued(
    dataset: DatasetVersion, tiny_base_model: BaseModel, login: Callable[[str], Client], queues: None
) -> None:
    for slug in ("", "nobody", "a\0b"):
        assert login("engineer").post(PANEL, {"base_model": slug}, headers=HTMX).status_code == 422
    answer = login("engineer").post(PANEL, {"base_model": tiny_base_model.slug}, headers=HTMX)
    assert 'hx-trigger="every 1s"' in answer.content.decode()
    assert LengthReport.objects.get().status == "queued"
    plain = login("engineer").post(PANEL, {"base_model": tiny_base_model.slug})
    assert (plain.status_code, plain["Location"]) == (302, PAGE)


def test_document_text_is_escaped(lengths: LengthReport, login: Callable[[str], Client]) -> None:
    seen = {"train": {"id": "a", "prompt": "<|im_start|><script>x</script>", "completion": "{}"}}
    write_text(lengths.sample_key, json.dumps(seen))
    page = login("manager").get(PAGE).content.decode()
    assert "&lt;|im_start|&gt;&lt;script&gt;" in page
    assert "<script>x" not in page
