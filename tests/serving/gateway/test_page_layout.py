"""Documents with the layout of their pages: texts that come with their boxes, and files."""

from pathlib import Path
from typing import Any

import pytest

from tests.serving import event_loop
from tests.serving.gateway.rig import backend, release, reply, rig, route


def run(work: Any) -> None:
    event_loop.run(work)


def page_of(*texts: str) -> dict[str, Any]:
    """A page of lines that are far apart, the second ones to the right."""
    boxes = [
        {"text": text, "bbox": [90 * at, 50 * at, 90 * at + 10 * len(text), 50 * at + 20]}
        for at, text in enumerate(texts)
    ]
    return {"width": 500, "height": 500, "lines": boxes}


def test_a_text_with_its_boxes_has_the_layout_of_its_page(tmp_path: Path) -> None:
    text, laid_out = "Invoice A-17,\ntotal 12.50", "Invoice A-17,\n\n         total 12.50"

    async def work() -> None:
        async with backend(tmp_path / "a", reply()) as one, rig(tmp_path, route(release(3, one.address))) as found:
            page = page_of("Invoice A-17,", "total 12.50")
            response = await found.extract(text, page=page)
            value = response.json()
            assert response.status_code == 200, value
            assert one.asked == [laid_out]
            assert value["document"] == {"text": laid_out}
            [[start, end]] = value["evidence"]["total"]
            assert laid_out[start:end] == "12.50"
            assert "document" not in (await found.extract()).json()

    run(work())


@pytest.mark.parametrize("page", [5, {}, [], {"width": 9, "height": 9, "lines": [{"text": "x"}]}, page_of("Total")])
def test_a_page_of_another_text_is_rejected(tmp_path: Path, page: Any) -> None:
    async def work() -> None:
        async with backend(tmp_path / "a", reply()) as one, rig(tmp_path, route(release(3, one.address))) as found:
            response = await found.extract(page=page)
            assert response.status_code == 422
            assert (response.json()["code"], response.json()["field"]) == ("field", "page")
            assert one.asked == []

    run(work())
