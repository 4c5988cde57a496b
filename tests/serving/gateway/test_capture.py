"""Requests that are forwarded: the official client sees what it sees without the gateway, byte for byte."""

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI

from serving.gateway.capture import relay
from serving.models import Budget
from tests.serving import event_loop
from tests.serving.gateway.rig import RAW, TEXT, backend, release, reply, route
from tests.serving.gateway.stand_in import Listening, StandIn, external, listening, standing_in

MESSAGES: Any = [{"role": "system", "content": "You read invoices."}, {"role": "user", "content": TEXT}]
TOOLS: Any = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]


def completion(content: str | None = RAW, **changes: Any) -> bytes:
    """A body with unusual white space, which has to stay."""
    message = {"role": "assistant", "content": content, "refusal": None, **changes}
    value = {
        "id": "chatcmpl-7", "object": "chat.completion", "created": 1_800_000_000, "model": "big-2026-08",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}],
        "usage": {"prompt_tokens": 31, "completion_tokens": 12, "total_tokens": 43}, "service_tier": "default",
    }  # fmt: skip
    return json.dumps(value, indent=3).encode() + b"\n"


def events(*pieces: str) -> list[bytes]:
    """A stream of chat completions."""
    head = {"id": "chatcmpl-8", "object": "chat.completion.chunk", "created": 1_800_000_000, "model": "big-2026-08"}
    deltas = [{"index": 0, "delta": {"content": piece}, "finish_reason": None} for piece in pieces]
    lines = [b"data: " + json.dumps({**head, "choices": [choice]}).encode() + b"\n\n" for choice in deltas]
    usage = {"prompt_tokens": 31, "completion_tokens": 12, "total_tokens": 43}
    return [*lines, b"data: " + json.dumps({**head, "choices": [], "usage": usage}).encode() + b"\n\ndata: [DONE]\n\n"]


@pytest.fixture(autouse=True)
def reachable(settings: Any) -> None:
    """The gateway may call this machine."""
    settings.OUTBOUND_ALLOW = ["127.0.0.1"]


@pytest.fixture
def model() -> Iterator[StandIn]:
    """The external model."""
    with standing_in() as stand_in:
        stand_in.answers(
            completion(), x_request_id="req_1", openai_processing_ms="12", x_ratelimit_remaining_requests="9"
        )
        yield stand_in


@pytest.fixture
def gateway(model: StandIn, tmp_path: Path) -> Iterator[Listening]:
    """A gateway whose callers keep their key."""
    with listening(tmp_path, route(external(model.url, key="sk-ours"), capture="own_key")) as gateway:
        yield gateway


def client(url: str, key: str = "sk-caller") -> OpenAI:
    """The official client."""
    return OpenAI(base_url=url, api_key=key, max_retries=0, organization="org-1")


CALLS: dict[str, dict[str, Any]] = {
    "plain": {"messages": MESSAGES},
    "parameters": {"messages": MESSAGES, "temperature": 0.25, "max_tokens": 77, "seed": 5, "user": "customer-17"},
    "schema": {
        "messages": MESSAGES,
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}},
    },
    "tools": {"messages": MESSAGES, "tools": TOOLS, "tool_choice": "auto"},
    "conversation": {
        "messages": [*MESSAGES, {"role": "assistant", "content": "Hm."}, {"role": "user", "content": "?"}]
    },
    "picture": {
        "messages": [
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,"}}]}
        ]
    },
}


def test_the_client_sends_and_gets_the_same_bytes(gateway: Listening, model: StandIn) -> None:
    changed = {"host", "accept-encoding", "connection"}
    for number, (name, values) in enumerate(CALLS.items(), start=1):
        answers = [
            client(url).chat.completions.with_raw_response.create(model="big", **values)
            for url in (model.url, gateway.base())
        ]
        direct, forwarded = model.received[-2:]
        assert (forwarded.body, forwarded.path) == (direct.body, direct.path), name
        assert {k: v for k, v in forwarded.headers.items() if k not in changed} == {
            k: v for k, v in direct.headers.items() if k not in changed
        }
        assert answers[1].content == answers[0].content == completion()
        for header in ("content-type", "x-request-id", "openai-processing-ms", "x-ratelimit-remaining-requests"):
            assert answers[1].headers[header] == answers[0].headers[header]
        assert answers[1].parse() == answers[0].parse()
        row = gateway.rows(number)[-1]
        assert (row["status"], row["protocol"], row["source"], row["release_id"]) == (200, "capture", "stable", 9)
        assert (row["prompt_tokens"], row["output_tokens"], row["output"]) == (31, 12, RAW)
        assert row["id"] == answers[1].headers["x-slm-request-id"]


def test_the_log_has_the_document_the_system_prompt_and_the_model(gateway: Listening, model: StandIn) -> None:
    client(gateway.base()).chat.completions.create(model="big", **CALLS["parameters"])
    [row] = gateway.rows()
    stored = json.loads(row["exchange"])
    assert (row["text"], row["caller"], row["valid"]) == (TEXT, "customer-17", True)
    assert (stored["system"], stored["model"], stored["asked_model"]) == ("You read invoices.", "big-2026-08", "big")
    assert stored["request"]["temperature"] == 0.25
    assert stored["request"]["messages"][1]["content"] is None
    assert "sk-" not in json.dumps(row)


@pytest.mark.parametrize(
    ("status", "error", "raised"),
    [
        (401, {"message": "Wrong key.", "type": "x", "code": "invalid_api_key"}, openai.AuthenticationError),
        (429, {"message": "Slow down.", "type": "x", "code": "rate_limit_exceeded"}, openai.RateLimitError),
    ],
)
def test_errors_are_those_of_the_model(
    gateway: Listening, model: StandIn, status: int, error: dict[str, Any], raised: Any
) -> None:
    model.answers(json.dumps({"error": error}).encode(), status=status, retry_after="7", x_should_retry="false")
    caught = []
    for url in (model.url, gateway.base()):
        with pytest.raises(raised) as failed:
            client(url).chat.completions.create(model="big", messages=MESSAGES)
        caught.append(failed.value)
    assert caught[1].body == caught[0].body
    assert caught[1].response.content == caught[0].response.content
    assert caught[1].response.headers["retry-after"] == "7"
    [row] = gateway.rows()
    assert row["status"] == status
    # Who is not let in leaves nothing behind.
    assert row["text"] == ("" if status == 401 else TEXT)


def test_a_stream_comes_as_it_arrives(gateway: Listening, model: StandIn) -> None:
    model.answers(*events(RAW[:9], RAW[9:]), kind="text/event-stream")
    model.waits = True
    stream = client(gateway.base()).chat.completions.create(model="big", messages=MESSAGES, stream=True)
    first = next(stream)
    # The model has not written the rest yet: the first event was not held back.
    assert (first.choices[0].delta.content, model.go_on.is_set()) == (RAW[:9], False)
    model.go_on.set()
    rest = list(stream)
    assert "".join(event.choices[0].delta.content or "" for event in [first, *rest] if event.choices) == RAW
    [row] = gateway.rows()
    assert (row["output"], row["output_tokens"], row["valid"], row["status"]) == (RAW, 12, True, 200)


def test_a_stream_that_breaks_off_breaks_off(gateway: Listening, model: StandIn) -> None:
    model.answers(*events(RAW)[:1], kind="text/event-stream")
    model.breaks_off = True
    stream = client(gateway.base()).chat.completions.create(model="big", messages=MESSAGES, stream=True)
    assert next(stream).choices[0].delta.content == RAW
    model.go_on.set()
    with pytest.raises(openai.APIConnectionError):
        next(stream)
    [row] = gateway.rows()
    assert (row["status"], row["code"]) == (502, "broken")


def test_a_caller_that_hangs_up_stops_the_model(gateway: Listening, model: StandIn) -> None:
    model.answers(*events(*(["x"] * 2_000)), kind="text/event-stream")
    model.waits = True
    with client(gateway.base()).chat.completions.create(model="big", messages=MESSAGES, stream=True) as stream:
        next(stream)
    [row] = gateway.rows()
    assert (row["status"], row["code"]) == (499, "client_closed")
    model.go_on.set()
    assert model.gone.wait(10)


def test_what_cannot_be_logged_is_no_success(
    gateway: Listening, model: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(line: bytes) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(gateway.rig.log, "_append", full)
    with pytest.raises(openai.InternalServerError) as caught:
        client(gateway.base()).chat.completions.create(model="big", messages=MESSAGES)
    assert (caught.value.status_code, caught.value.code) == (503, "log")
    model.answers(*events(RAW), kind="text/event-stream")
    stream = client(gateway.base()).chat.completions.create(model="big", messages=MESSAGES, stream=True)
    # The last event, which says that the answer is complete, never comes.
    with pytest.raises(openai.APIConnectionError):
        list(stream)


@pytest.mark.parametrize(
    ("key", "limits"), [("slm_good", Budget(requests_per_month=2)), ("sk-caller", Budget(tokens_per_month=80))]
)
def test_forwarded_requests_count_against_budgets(model: StandIn, tmp_path: Path, key: str, limits: Budget) -> None:
    """Against those of the project also where callers keep their key. What the model does not answer is given back."""

    async def nothing(subject: Any) -> tuple[int, int]:
        return 0, 0

    where = route(external(model.url, key="sk-ours"), capture="own_key", limits=limits)
    with listening(tmp_path, where, used=nothing) as gateway:
        caller = client(gateway.base(), key)
        whole, failed = model.pieces, json.dumps({"error": {"message": "Overloaded."}}).encode()
        model.answers(failed, status=503)
        for _ in range(3):
            with pytest.raises(openai.InternalServerError):
                caller.chat.completions.create(model="big", messages=MESSAGES)
        model.answers(*whole)
        caller.chat.completions.create(model="big", messages=MESSAGES)
        model.answers(*events(RAW), kind="text/event-stream")
        list(caller.chat.completions.create(model="big", messages=MESSAGES, stream=True))
        gateway.rows(5)
        with pytest.raises(openai.RateLimitError) as caught:
            caller.chat.completions.create(model="big", messages=MESSAGES)
        assert (caught.value.code, len(model.received)) == ("budget", 5)


def test_the_responses_interface_is_forwarded(gateway: Listening, model: StandIn) -> None:
    value = {
        "id": "resp_1", "object": "response", "created_at": 1, "model": "big-2026-08", "status": "completed",
        "output": [{"type": "message", "id": "m", "role": "assistant", "status": "completed",
                    "content": [{"type": "output_text", "text": RAW, "annotations": []}]}],
        "parallel_tool_calls": True, "tool_choice": "auto", "tools": [],
        "usage": {"input_tokens": 5, "output_tokens": 6, "total_tokens": 11},
    }  # fmt: skip
    model.answers(json.dumps(value).encode())
    answer = client(gateway.base()).responses.create(model="big", instructions="You read.", input=TEXT)
    assert answer.output_text == RAW
    [row] = gateway.rows()
    assert (row["text"], row["output"], row["output_tokens"]) == (TEXT, RAW, 6)
    assert json.loads(row["exchange"])["system"] == "You read."


def test_nothing_else_is_forwarded(gateway: Listening, model: StandIn) -> None:
    for path in ("files", "fine_tuning/jobs", "models/../files", "chat/completions/../files"):
        for method in ("GET", "POST"):
            headers = {"Authorization": "Bearer sk-caller"}
            assert httpx.request(method, f"{gateway.base()}/{path}", headers=headers).status_code == 404, path
    assert model.received == []


def test_with_a_token_the_key_of_the_project_is_sent(tmp_path: Path, model: StandIn) -> None:
    for key, capture in (("sk-ours", "token"), ("sk-ours", "own_key"), ("", "token")):
        with listening(
            tmp_path / (key or "none") / capture, route(external(model.url, key=key), capture=capture)
        ) as gateway:
            token = "good" if capture == "token" else "slm_good"
            client(gateway.base(), token).chat.completions.create(model="big", messages=MESSAGES)
            # Without a key of its own nothing is sent: a token of the studio must not leave it.
            expected = "Bearer sk-ours" if key else None
            assert model.received[-1].headers.get("authorization") == expected
            assert gateway.rows()[0]["token_id"] == 7


def test_strangers_are_not_forwarded(tmp_path: Path, model: StandIn) -> None:
    for capture, keys in (("token", ("bad", "sk-caller")), ("own_key", ("slm_bad", "sk-other"))):
        with listening(tmp_path / capture, route(external(model.url, key="sk-ours"), capture=capture)) as gateway:
            for key in keys:
                with pytest.raises(openai.AuthenticationError):
                    client(gateway.base(), key).chat.completions.create(model="big", messages=MESSAGES)
            with pytest.raises(openai.NotFoundError):
                client(gateway.base("receipts"), "other").chat.completions.create(model="big", messages=MESSAGES)
    with listening(tmp_path / "off", route(external(model.url, key="sk-ours"))) as gateway:
        with pytest.raises(openai.NotFoundError):
            client(gateway.base(), "good").chat.completions.create(model="big", messages=MESSAGES)
    assert model.received == []


def test_a_body_that_is_no_json_is_forwarded_too(gateway: Listening, model: StandIn) -> None:
    headers = {"Authorization": "Bearer sk-caller", "Content-Type": "application/json"}
    httpx.post(f"{gateway.base()}/chat/completions", content=b'{"model": \xff', headers=headers)
    assert model.received[0].body == b'{"model": \xff'
    assert gateway.rows()[0]["valid"] is None


def test_with_retention_zero_no_text_is_stored(tmp_path: Path, model: StandIn) -> None:
    deployed = route(external(model.url), capture="own_key", retention_days=0)
    with listening(tmp_path, deployed) as gateway:
        client(gateway.base()).chat.completions.create(model="big", messages=MESSAGES)
        [row] = gateway.rows()
    assert (row["text"], row["output"], row["exchange"], row["valid"]) == ("", "", "", True)


def test_an_address_inside_is_not_reached(tmp_path: Path, model: StandIn, settings: Any) -> None:
    settings.OUTBOUND_ALLOW = []
    for url in (model.url, model.url.replace("127.0.0.1", "localhost")):
        with listening(tmp_path / url[-12:-3], route(external(url, key="sk"), capture="token")) as gateway:
            with pytest.raises(openai.InternalServerError) as caught:
                client(gateway.base(), "good").chat.completions.create(model="big", messages=MESSAGES)
            assert (caught.value.status_code, caught.value.code) == (502, "unreachable")
            assert gateway.rows()[0]["status"] == 502
    assert model.received == []


# -- with a small model in shadow --------------------------------------------------------------------------------------


@pytest.fixture
def small(tmp_path: Path) -> Iterator[str]:
    """The address of a replica of a small model."""
    ready, stop, addresses = threading.Event(), threading.Event(), []

    async def work() -> None:
        async with backend(tmp_path / "a", reply()) as replica:
            addresses.append(replica.address)
            ready.set()
            await asyncio.to_thread(stop.wait)

    thread = threading.Thread(target=lambda: event_loop.run(work()))
    thread.start()
    assert ready.wait(10)
    yield addresses[0]
    stop.set()
    thread.join()


def test_a_candidate_repeats_documents_in_shadow(tmp_path: Path, model: StandIn, small: str) -> None:
    deployed = route(external(model.url), release(2, small), stage="shadow", capture="own_key")
    with listening(tmp_path, deployed) as gateway:
        client(gateway.base()).chat.completions.create(model="big", messages=MESSAGES)
        client(gateway.base()).chat.completions.create(model="big", **CALLS["tools"])
        model.answers(b"{}", status=401)
        with pytest.raises(openai.AuthenticationError):
            client(gateway.base()).chat.completions.create(model="big", messages=MESSAGES)
        rows = gateway.rows(4)
    [shadow] = [row for row in rows if row["shadow_of"]]
    assert (shadow["release_id"], shadow["output"]) == (2, RAW)
    assert shadow["shadow_of"] == next(row["id"] for row in rows if row["status"] == 200 and row["stage"])


def test_a_candidate_answers_documents_of_callers_that_are_known(tmp_path: Path, model: StandIn, small: str) -> None:
    deployed = route(external(model.url), release(2, small), stage="full", share=1.0, capture="own_key")
    with listening(tmp_path, deployed) as gateway:
        caller = client(gateway.base())
        assert caller.chat.completions.create(model="big", messages=MESSAGES).model == "invoices@2"
        assert caller.chat.completions.create(model="big", **CALLS["tools"]).model == "big-2026-08"
        stages = [(row["release_id"], row["stage"]) for row in gateway.rows(2)]
    # What the split of the traffic did not send there is no evidence.
    assert stages == [(2, "full"), (9, "")]


def test_the_address_stays_when_the_small_model_has_taken_over(tmp_path: Path, small: str) -> None:
    with listening(tmp_path, route(release(2, small), capture="own_key")) as gateway:
        for key in ("slm_good", "sk-caller"):
            answered = client(gateway.base(), key).chat.completions.create(model="big", messages=MESSAGES)
            assert (answered.choices[0].message.content, answered.model) == (RAW, "invoices@2")
        with pytest.raises(openai.UnprocessableEntityError):
            client(gateway.base(), "slm_good").chat.completions.create(model="big", **CALLS["tools"])
        with pytest.raises(openai.AuthenticationError):
            client(gateway.base(), "sk-other").chat.completions.create(model="big", messages=MESSAGES)


def test_keys_that_are_not_registered_cost_real_callers_nothing(tmp_path: Path, model: StandIn) -> None:
    """Neither a place in the log nor a part of the limit."""
    with listening(tmp_path, route(external(model.url), capture="own_key"), per_minute=3) as gateway:
        for number in range(20):
            with pytest.raises(openai.AuthenticationError):
                client(gateway.base(), f"sk-{number}").chat.completions.create(model="big", messages=MESSAGES)
        assert (model.received, gateway.rig.log.rows()) == ([], [])
        for key in ("sk-caller", "slm_good"):
            for _ in range(3):
                client(gateway.base(), key).chat.completions.create(model="big", messages=MESSAGES)
        with pytest.raises(openai.RateLimitError):
            client(gateway.base()).chat.completions.create(model="big", messages=MESSAGES)
    assert len(model.received) == 6


def test_an_answer_of_the_external_model_has_a_maximum_size(
    tmp_path: Path, model: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "MAX_ANSWER", 100_000)
    model.answers(b"a" * 100_001)
    with listening(tmp_path, route(external(model.url), capture="own_key")) as gateway:
        with pytest.raises(openai.InternalServerError) as caught:
            client(gateway.base()).chat.completions.create(model="big", messages=MESSAGES)
        assert (caught.value.status_code, caught.value.code) == (502, "answer_too_large")
        assert gateway.rows()[0]["code"] == "answer_too_large"
