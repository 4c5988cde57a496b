"""Documents with the layout of their pages: texts that come with their boxes, and files."""

from pathlib import Path
from typing import Any

from tests.serving.gateway.rig import answering


def page_of(*texts: str) -> dict[str, Any]:
    """A page of lines that are far apart, the second ones to the right."""
    boxes = [
        {"text": text, "bbox": [90 * at, 50 * at, 90 * at + 10 * len(text), 50 * at + 20]}
        for at, text in enumerate(texts)
    ]
    return {"width": 500, "height": 500, "lines": boxes}


async def test_a_text_with_its_boxes_has_the_layout_of_its_page(tmp_path: Path) -> None:
    text, laid_out = "Invoice A-17,\ntotal 12.50", "Invoice A-17,\n\n         total 12.50"

    async with answering(tmp_path, number=3) as (gateway, replica):
        page = page_of("Invoice A-17,", "total 12.50")
        response = await gateway.extract(text, page=page)
        value = response.json()
        assert response.status_code == 200, value
        assert replica.asked == [laid_out]
        assert value["document"] == {"text": laid_out}
        [[start, end]] = value["evidence"]["total"]
        assert laid_out[start:end] == "12.50"
        assert "document" not in (await gateway.extract()).json()


async def test_a_page_of_another_text_is_rejected(tmp_path: Path) -> None:
    async with answering(tmp_path) as (gateway, replica):
        pages: list[Any] = [5, {}, [], {"width": 9, "height": 9, "lines": [{"text": "x"}]}, page_of("Total")]
        for page in pages:
            response = await gateway.extract(page=page)
            assert response.status_code == 422, page
            assert (response.json()["code"], response.json()["field"]) == ("field", "page")
        assert replica.asked == []
