"""``manage.py extract``: what is sent to the gateway, what is written, and how a run continues."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from tests.evaluation.factories import World
from tests.serving.batches.gateway import Gateway, gateway, right

PAGE = {"width": 10, "height": 20, "lines": [{"text": "1", "bbox": [0.5, 1, 2.25, 3]}]}


@pytest.fixture
def stand_in(settings: Any) -> Iterator[Gateway]:
    def answer(text: str) -> tuple[int, dict[str, Any]]:
        status, body = right(text)
        usage = {"prompt_tokens": 3, "output_tokens": 2}
        return status, {**body, "version": 1, "latency_ms": {"total": 5}, "usage": usage}

    with gateway() as running:
        settings.GATEWAY_URL = running.url
        running.reply = answer
        yield running


def files(folder: Path, *rows: Any) -> dict[str, Path]:
    path = folder / "in.jsonl"
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), encoding="utf-8")
    return {"input": path, "output": folder / "out.jsonl"}


def written(paths: dict[str, Path]) -> dict[str, Any]:
    rows = [json.loads(line) for line in paths["output"].read_text(encoding="utf-8").splitlines()]
    return {row["id"]: row for row in rows}


def test_documents_are_sent_with_their_pages_and_once(world: World, stand_in: Gateway, tmp_path: Path) -> None:
    paths = files(tmp_path, {"id": "a", "text": "1", "page": PAGE}, {"id": "b", "text": "2"}, "", {"text": "3"})
    for _ in range(2):
        call_command("extract", project="invoices", **paths)
    assert sorted(stand_in.asked) == ["1", "2", "3"]
    assert stand_in.pages == {"1": PAGE, "2": None, "3": None}
    rows = written(paths)
    assert {name: json.loads(row["raw"])["number"] for name, row in rows.items()} == {"a": "1", "b": "2", "4": "3"}
    assert (rows["a"]["error"], rows["a"]["output_tokens"], rows["a"]["finish_reason"]) == ("", 2, "stop")


def test_documents_without_an_output_are_sent_again(world: World, stand_in: Gateway, tmp_path: Path) -> None:
    paths = files(tmp_path, {"id": "a", "text": "1"}, {"id": "b", "text": "2"})
    good = stand_in.reply
    stand_in.reply = lambda text: (502, {"detail": "No."}) if text == "2" else good(text)
    with pytest.raises(CommandError):
        call_command("extract", project="invoices", **paths)
    assert written(paths)["b"]["error"] == "No."
    stand_in.reply = good
    call_command("extract", project="invoices", **paths)
    assert stand_in.asked.count("1") == 1
    assert {row["error"] for row in written(paths).values()} == {""}


def test_a_bad_line_is_named_before_anything_is_sent(world: World, stand_in: Gateway, tmp_path: Path) -> None:
    for row in ("{", "[1]", '{"id": "a"}', '{"id": "a", "text": "2"}'):
        with pytest.raises(CommandError, match="Line 2"):
            call_command("extract", project="invoices", **files(tmp_path, {"id": "a", "text": "1"}, row))
    assert stand_in.asked == []
