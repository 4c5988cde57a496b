"""Files of exchanges: every shape, the shared prompt, answers, batches, and rows that are broken."""

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from labeling.imports.conversations.exchanges import Exchange, Turn
from labeling.imports.conversations.readings import SAMPLE, contract_draft, shared_prompt
from labeling.imports.formats.base import Context
from labeling.imports.formats.registry import detect, open_file, options_error
from labeling.imports.rows import ParsedRow, ReadError
from slmstudio.contract.schema.compiled import compile_schema
from tests.labeling.conversation_files import (
    ANSWERS,
    DOCUMENTS,
    FILES,
    MODEL,
    PREFIX,
    PROMPTS,
    SYSTEM,
    TEXTS,
    WITHOUT_SYSTEM,
    Invoice,
    argilla,
    argilla_flat,
    batch_input,
    batch_output,
    lines,
    messages,
)
from tests.labeling.import_files import packed, read, stored

COMPILED = compile_schema(Invoice.model_json_schema())


def chats(folder: Path, name: str, data: bytes | str, **options: Any) -> list[ParsedRow]:
    path = stored(folder, name, data)
    assert detect(path, name).name == "chats"
    return read(path, compiled=COMPILED, **options)


def answers(rows: list[ParsedRow]) -> list[Any]:
    return [json.loads(row.predictions[0].raw) if row.predictions else None for row in rows]


@pytest.mark.parametrize("name", FILES)
def test_every_shape_gives_documents_and_prelabels(tmp_path: Path, name: str) -> None:
    shape, text = FILES[name]
    path = stored(tmp_path, name, text())
    (tmp_path / "work").mkdir()
    with open_file(path, detect(path, name).name, name, Context(COMPILED, tmp_path / "work")) as opened:
        rows = list(opened.rows)
    assert [row.error for row in rows] == [""] * 4
    assert [row.data["text"] for row in rows] == DOCUMENTS
    assert answers(rows) == ANSWERS
    assert not any("gold" in row.data for row in rows)
    (reading,) = opened.readings
    assert reading.shape.name == shape
    assert reading.shared.instruction == (PREFIX.strip() if name in WITHOUT_SYSTEM else f"{SYSTEM}\n\n{PREFIX.strip()}")
    draft = contract_draft([reading])
    assert list(draft.draft.schema["properties"]) == ["invoice_id", "total"]


LOGS = ("stored", "langsmith", "langfuse", "langfuse-blob", "otlp", "litellm", "helicone")


@pytest.mark.parametrize("name", [f"{log}.jsonl" for log in LOGS])
def test_logs_name_the_model_and_the_time(tmp_path: Path, name: str) -> None:
    rows = chats(tmp_path, name, FILES[name][1]())
    assert {row.predictions[0].model for row in rows} == {MODEL}
    assert all(row.data["model"] == MODEL and row.data["time"][:2] == "20" for row in rows)
    assert len({row.data["id"] for row in rows}) == 4


def test_times(tmp_path: Path) -> None:
    times: list[tuple[Any, str | None]] = [
        (1_770_000_000, "2026-02-02T02:40:00+00:00"),
        ("1770000000", "2026-02-02T02:40:00+00:00"),
        (1_770_000_000_000, "2026-02-02T02:40:00+00:00"),
        ("1770000000000000000", "2026-02-02T02:40:00+00:00"),
        (1_770_000_000.75, "2026-02-02T02:40:00+00:00"),
        (-86_400, "1969-12-31T00:00:00+00:00"),
        ("2026-02-02 02:40", "2026-02-02 02:40"),
        ("²", "²"),
        (True, None),
    ]
    records = [{"prompt": "Invoice A-1", "completion": "{}", "created": written} for written, _ in times]
    rows = chats(tmp_path, "log.jsonl", lines(records))
    assert [(row.error, row.data.get("time")) for row in rows] == [("", time) for _, time in times]


@pytest.mark.parametrize("log", [False, True])
def test_absurd_time_rejects_its_row(tmp_path: Path, log: bool) -> None:
    """In a fine-tuning file, and in a log of requests and responses."""
    row: dict[str, Any] = {"prompt": "Invoice A-0", "completion": "{}"}
    if log:
        row = {"request": {"messages": messages(0)}, "response": {"choices": [{"message": messages(1)[0]}]}}
    first = json.dumps(row)
    times = [f'"{"9" * 400}"', "9" * 60, f"-{'9' * 60}", "1e59", "-1e59", "1e400"]
    absurd = "".join(f'{first[:-1]}, "created": {time}}}\n' for time in times)
    rows = chats(tmp_path, "log.jsonl", f"{first}\n{absurd}")
    assert [bool(row.error) for row in rows] == [False] + [True] * len(times)


def called(number: int, *names: str) -> dict[str, Any]:
    """A row whose answer calls these functions."""
    calls = [{"type": "function", "function": {"name": name, "arguments": TEXTS[number]}} for name in names]
    return {"messages": [*messages(number), {"role": "assistant", "content": None, "tool_calls": calls}]}


CALLS = {
    "openai": lambda name: called(0, name),
    "function_call": lambda name: {
        "messages": [*messages(0), {"role": "assistant", "function_call": {"name": name, "arguments": TEXTS[0]}}]
    },
    "anthropic": lambda name: {
        "system": "Read.",
        "messages": [
            {"role": "user", "content": PROMPTS[0]},
            {"role": "assistant", "content": [{"type": "tool_use", "name": name, "input": ANSWERS[0]}]},
        ],
    },
    "gemini": lambda name: {
        "contents": [
            {"role": "user", "parts": [{"text": PROMPTS[0]}]},
            {"role": "model", "parts": [{"functionCall": {"name": name, "args": ANSWERS[0]}}]},
        ]
    },
    "sharegpt": lambda name: {
        "conversations": [
            {"from": "human", "value": PROMPTS[0]},
            {"from": "function_call", "value": json.dumps({"name": name, "arguments": ANSWERS[0]})},
        ]
    },
}


@pytest.mark.parametrize("shape", CALLS)
def test_file_of_several_functions_is_refused(tmp_path: Path, shape: str) -> None:
    assert answers(chats(tmp_path, "one.jsonl", lines([CALLS[shape]("store")] * 2))) == [ANSWERS[0]] * 2
    with pytest.raises(ReadError, match="store, search"):
        chats(tmp_path, "two.jsonl", lines([CALLS[shape]("store"), CALLS[shape]("search")]))


def test_later_function_rejects_its_row(tmp_path: Path) -> None:
    many = [called(number % 4, "store") for number in range(SAMPLE)]
    rows = chats(tmp_path, "late.jsonl", lines([*many, called(0, "search"), called(1, "store")]))
    assert [bool(row.error) for row in rows[SAMPLE:]] == [True, False]
    files: dict[str, bytes | str] = {"a.jsonl": lines([called(0, "store")]), "b.jsonl": lines([called(1, "search")])}
    assert [bool(row.error) for row in chats(tmp_path, "both.zip", packed(files))] == [False, True]


def test_answer_with_several_calls_is_rejected_unless_a_text_follows(tmp_path: Path) -> None:
    rows = chats(tmp_path, "twice.jsonl", lines([called(0, "store", "store"), called(1, "store")]))
    assert [bool(row.error) for row in rows] == [True, False]
    row = called(0, "search", "look")
    row["messages"] += [{"role": "tool", "content": "found"}, {"role": "assistant", "content": TEXTS[0]}]
    assert answers(chats(tmp_path, "agent.jsonl", lines([row]))) == [ANSWERS[0]]


@pytest.mark.parametrize("order", [("a-in.jsonl", "b-out.jsonl"), ("b-in.jsonl", "a-out.jsonl")])
def test_batch_files_are_joined(tmp_path: Path, order: tuple[str, str]) -> None:
    extra = {"custom_id": "lost", "response": {"status_code": 200, "body": {"choices": []}}}
    failed = {"custom_id": "row-0", "response": {"status_code": 400, "body": {"error": {"message": "no"}}}}
    output = batch_output().splitlines()
    text = "\n".join([*output[:3], json.dumps(failed), json.dumps(extra), output[0]])
    files: dict[str, bytes | str] = dict(sorted({order[0]: batch_input(), order[1]: text}.items()))
    rows = chats(tmp_path, "batch.zip", packed(files))
    good = sorted((row for row in rows if not row.error), key=lambda row: row.data["id"])
    assert [row.data["text"] for row in good] == DOCUMENTS
    assert answers(good) == [None, *ANSWERS[1:]]
    assert len([row for row in rows if row.error]) == 2
    assert {row.data["id"] for row in rows if row.error} == {"lost", "row-3"}


@pytest.mark.parametrize("record", [argilla, argilla_flat])
def test_only_what_people_submitted_to_argilla_is_gold(tmp_path: Path, record: Any) -> None:
    rows = chats(tmp_path, "a.jsonl", lines([record(0), record(1)]), answers="gold")
    assert [row.data.get("gold") for row in rows] == [ANSWERS[0], None]
    assert [[prediction.model for prediction in row.predictions] for row in rows] == [[], [MODEL]]


def test_responses_to_argilla_that_differ_or_may_be_drafts_are_no_gold(tmp_path: Path) -> None:
    pending = argilla(0) | {"status": "pending"}
    differ = argilla(0)
    differ["responses"]["total"] = [*differ["responses"]["total"], {"value": 9, "user_id": "other"}]
    flat = argilla_flat(0) | {"total.responses": [0.5, 9]}
    flat |= {f"{name}.responses.status": ["discarded", "submitted"] for name in ANSWERS[0]}
    rows = chats(tmp_path, "a.jsonl", lines([pending, differ, flat]), answers="gold")
    assert [row.data.get("gold") for row in rows] == [None, None, {"invoice_id": None, "total": 9}]


def test_rankings_spans_and_chats_of_argilla(tmp_path: Path) -> None:
    marked = [{"label": "vendor", "start": 0, "end": 7}]
    order = [{"value": "b", "rank": 2}, {"value": "a", "rank": 1}]
    values = {"spans": {"value": marked}, "order": {"value": order}}
    base = argilla(1) | {"suggestions": values}
    talk = base | {"fields": {"chat": [{"role": "user", "content": "Invoice A"}]}, "id": "c"}
    several = base | {"fields": {"title": "Invoice", "body": "A-1"}, "id": "s"}
    rows = chats(tmp_path, "a.jsonl", lines([base, talk, several, base | {"fields": {}}]))
    assert [row.data["text"] for row in rows[:3]] == [PROMPTS[1], "Invoice A", "title: Invoice\n\nbody: A-1"]
    assert answers(rows)[0] == {"spans": [{"label": "vendor", "text": PROMPTS[1][:7]}], "order": ["a", "b"]}
    assert rows[3].error


def test_a_demanded_schema_is_the_contract(tmp_path: Path) -> None:
    path = stored(tmp_path, "in.jsonl", batch_input())
    with open_file(path, "chats", "in.jsonl", Context(COMPILED, tmp_path)) as opened:
        assert len(list(opened.rows)) == 4
    draft = contract_draft(opened.readings)
    assert draft.is_demanded
    assert draft.draft.schema["properties"]["total"]["type"] == "number"


def test_a_broken_row_costs_itself(tmp_path: Path) -> None:
    good = json.loads(FILES["openai.jsonl"][1]().splitlines()[0])
    image = [{"type": "image_url", "image_url": {"url": "http://localhost/a.png"}}]
    broken: list[Any] = [
        {"messages": []},
        {"messages": "text"},
        {"messages": [{"role": "wizard", "content": "x"}]},
        {"messages": [{"role": "system", "content": "only"}]},
        {"messages": [{"role": "user", "content": image}]},
        {"messages": [None]},
        {"other": 1},
        [1],
        "text",
    ]
    text = lines([good, *broken]) + '{"messages": [\n' + lines([good])
    rows = chats(tmp_path, "a.jsonl", text)
    assert [row.number for row in rows if not row.error] == [1, 12]
    assert [row.number for row in rows if row.error] == list(range(2, 12))
    assert all(row.raw for row in rows if row.error)


def test_options_of_exchanges(tmp_path: Path) -> None:
    text = FILES["openai.jsonl"][1]()
    unfit = [{"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "no idea"}]}]
    rows = chats(tmp_path, "a.jsonl", text + lines(unfit), answers="gold")
    assert [row.data.get("gold") for row in rows[:4]] == ANSWERS
    assert not any(row.predictions for row in rows)
    assert rows[4].error
    assert [row.data["text"] for row in chats(tmp_path, "a.jsonl", text, prompt="keep")] == PROMPTS
    assert all(row.error for row in chats(tmp_path, "a.jsonl", text, shape="gemini"))
    assert options_error({"answers": "gold", "prompt": "keep", "shape": "openai"}, "chats") == ""
    assert options_error({"answers": "yes"}, "chats")


def test_earlier_turns_stay_with_their_roles(tmp_path: Path) -> None:
    turns = [
        ("system", "s"),
        ("user", "first"),
        ("assistant", "which?"),
        ("user", "second"),
        ("assistant", '{"total": 1}'),
    ]
    (row,) = chats(tmp_path, "a.jsonl", lines([{"messages": [{"role": r, "content": t} for r, t in turns]}]))
    assert row.data["text"] == "User: first\n\nAssistant: which?\n\nUser: second"
    assert answers([row]) == [{"total": 1}]


def test_a_text_is_the_only_field(tmp_path: Path) -> None:
    routing = compile_schema({"type": "object", "properties": {"queue": {"enum": ["billing", "sales"]}}})
    text = lines([{"prompt": f"Where does it go, {n}?", "completion": " billing"} for n in range(2)])
    assert answers(read(stored(tmp_path, "a.jsonl", text), compiled=routing)) == [{"queue": "billing"}] * 2


def test_rows_of_documents_are_no_exchanges(tmp_path: Path) -> None:
    for row in ({"text": "t", "messages": [1]}, {"id": "1", "text": "t", "gold": {}}, {"a": 1}):
        assert detect(stored(tmp_path, "a.jsonl", lines([row])), "a.jsonl").name == "jsonl"


def single(*texts: str) -> list[Exchange]:
    return [Exchange([Turn("user", text)]) for text in texts]


def test_the_shared_prompt_ends_at_a_line_or_sentence() -> None:
    shared = shared_prompt(single(*(f"Classify the ticket below. Ticket: A{n} is late\n\n###\n\n" for n in "123")))
    assert shared.prefix == "Classify the ticket below. Ticket: "
    assert shared.document("Classify the ticket below. Ticket: A1 is late\n\n###\n\n") == "A1 is late"
    assert shared.document("another prompt") == "another prompt"
    for texts in (["Invoice of Acme: 1", "Invoice of Acme: 2"], ["Dear A", "Dear B", "Dear C"], ["a", "b", "c"]):
        shared = shared_prompt(single(*texts))
        assert (shared.prefix, shared.suffix) == ("", ""), "documents that begin alike are kept"


@pytest.mark.slow
def test_a_large_file_is_streamed(tmp_path: Path) -> None:
    row = {"messages": [{"role": "user", "content": "x" * 20_000}, {"role": "assistant", "content": "{}"}]}
    path = stored(tmp_path, "large.jsonl", "".join(f"{json.dumps({**row, 'id': str(n)})}\n" for n in range(500)))
    tracemalloc.start()
    with open_file(path, "chats", path.name, Context(COMPILED, tmp_path)) as opened:
        assert sum(1 for _ in opened.rows) == 500
    highest = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert highest < 7_000_000
