"""What callers and models get wrong: every case has a code, and no output that breaks the schema is a success."""

import asyncio
import contextlib
import json
import time
from pathlib import Path
from typing import Any

import orjson
import pytest
from starlette.responses import JSONResponse, Response

from serving.gateway.intake import bodies
from tests.serving.gateway import wire
from tests.serving.gateway.rig import ANSWER, RAW, TEXT, answering, backend, release, reply, rig, route
from tests.serving.gateway.test_external import external

ADDRESS = "/api/v1/projects/invoices/extract"
CHAT = "/v1/chat/completions"
BODY = json.dumps({"text": TEXT}).encode()


def chat(**changes: Any) -> bytes:
    return json.dumps({"model": "invoices", "messages": [{"role": "user", "content": TEXT}], **changes}).encode()


#: members of a body of the other interface that are wrong
WRONG_CHATS: list[dict[str, Any]] = [
    {"model": 5}, {"messages": []}, {"messages": "a"}, {"messages": [{"role": "user", "content": "a\0"}]},
    {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, {"n": 2},
]  # fmt: skip


#: address, body and type of what is sent -> status and code
BODIES: list[tuple[str, bytes, str, int, str]] = [
    *((ADDRESS, body, "application/json", 400, "invalid_json") for body in (
        b"", b"{", b"[]", b'"text"', b'{"text": "a", "text": "b"}', b'{"text": "a", "te\\u0078t": "b"}',
        b'{"text": "\\ud800"}', b'{"text": "\xed\xa0\x80"}', b'{"text": NaN}', b"[" * 100_000, b'{"text":' * 100_000,
        b'{"text": "a"} {"text": "b"}', b'\xef\xbb\xbf{"text": "a"}', '{"text": "a"}'.encode("utf-16"),
    )),
    *((ADDRESS, body, "application/json", 422, "field") for body in (
        b"{}", b'{"text": 5}', b'{"text": null}', b'{"text": {"a": [1]}}', b'{"text": "  "}', b'{"text": "a\\u0000"}',
        b'{"text": "a", "evidnce": true}',
    )),
    (ADDRESS, b"text=1", "application/x-www-form-urlencoded", 415, "content_type"),
    (ADDRESS, b'{"text": "' + b"a" * 21_000_000 + b'"}', "application/json", 413, "too_large"),
    (CHAT, b'{"model": "invoices", "model": "receipts", "messages": []}', "application/json", 400, "invalid_json"),
    *((CHAT, chat(model=name), "application/json", 404, code) for name, code in (
        ("receipts", "project"), ("invoices@7", "version"), ("invoices@-1", "model_not_found"),
    )),
    *((CHAT, chat(**changes), "application/json", 422, "field") for changes in WRONG_CHATS),
]  # fmt: skip


async def test_bodies_that_are_rejected(tmp_path: Path) -> None:
    async with answering(tmp_path) as (gateway, replica):
        for path, body, kind, status, code in BODIES:
            headers = {"Authorization": "Bearer good", "Content-Type": kind}
            response = await gateway.client.post(path, content=body, headers=headers)
            value = response.json()
            got = (response.status_code, value.get("code") or value["error"]["code"])
            assert got == (status, code), (path, body[:100])
        assert (replica.asked, gateway.log.rows()) == ([], [])


# -- the connection of the caller --------------------------------------------------------------------------------------


async def test_bodies_in_chunks_have_the_same_limits(tmp_path: Path) -> None:
    async with (
        backend(tmp_path / "a", reply()) as replica,
        rig(tmp_path, route(release(1, replica.address))) as gateway,
    ):
        async with wire.listening(gateway) as port:
            head = wire.HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
            chunk = b"%x\r\n%s\r\n" % (len(BODY), BODY)
            assert (await wire.exchange(port, head, chunk, b"0\r\n\r\n"))[0] == 200
            large = b"%x\r\n%s\r\n" % (2**20, b"a" * 2**20)
            status, body = await wire.exchange(port, head, *[large] * 21)
            assert (status, json.loads(body)["code"]) == (413, "too_large")
            length = b"Content-Length: %d\r\n\r\n" % (30 * 2**20)
            status, body = await wire.exchange(port, wire.HEAD + length)
            assert (status, json.loads(body)["code"]) == (413, "too_large")
            assert len(replica.asked) == 1


async def test_a_body_that_does_not_arrive_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "BODY_SECONDS", 0.2)
    async with (
        backend(tmp_path / "a", reply()) as replica,
        rig(tmp_path, route(release(1, replica.address))) as gateway,
    ):
        async with wire.listening(gateway) as port:
            began = time.monotonic()
            status, body = await wire.exchange(port, wire.HEAD + b"Content-Length: 100\r\n\r\n", b'{"text"')
            assert (status, json.loads(body)["code"]) == (408, "slow_body")
            assert time.monotonic() - began < 5
            assert replica.asked == []


async def test_a_caller_may_hang_up_at_any_point(tmp_path: Path) -> None:
    """In the head, in the body, while it waits and while the model works: the gateway goes on."""

    async def answer(text: str) -> Response:
        if text != TEXT:
            await asyncio.sleep(60)
        return JSONResponse(ANSWER)

    async with answering(tmp_path, answer) as (gateway, replica), wire.listening(gateway) as port:
        slow = json.dumps({"text": "slow"}).encode()
        head = wire.HEAD + b"Content-Length: %d\r\n\r\n" % len(slow)
        for pieces in ((), (wire.HEAD[:40],), (head,), (head, slow[:5])):
            await wire.hang_up(port, *pieces)
        await wire.hang_up(port, head, slow, after=lambda: replica.asked == ["slow"])
        while not (rows := gateway.log.rows()):
            await asyncio.sleep(0.005)
        assert [(row["status"], row["code"]) for row in rows] == [(499, "client_closed")]
        length = b"Content-Length: %d\r\n\r\n" % len(BODY)
        status, body = await wire.exchange(port, wire.HEAD + length, BODY)
        assert (status, json.loads(body)["output"]) == (200, {"number": "A-17", "total": 12.5})
        await wire.hang_up(port, wire.HEAD + length, BODY, after=lambda: len(gateway.log.rows()) == 3)
        assert gateway.log.rows()[2]["status"] == 200
        assert all(state.outstanding == 0 for state in gateway.gateway.pool._states.values())


async def test_bytes_that_are_no_http_harm_nobody(tmp_path: Path) -> None:
    async with (
        backend(tmp_path / "a", reply()) as replica,
        rig(tmp_path, route(release(1, replica.address))) as gateway,
    ):
        async with wire.listening(gateway) as port:
            for garbage in (b"\x16\x03\x01\x02\x00" * 20, b"GET /\r\n\r\n", b"\0" * 100):
                await wire.hang_up(port, garbage)
            length = b"Content-Length: %d\r\n\r\n" % len(BODY)
            assert (await wire.exchange(port, wire.HEAD + length, BODY))[0] == 200


# -- the replica -------------------------------------------------------------------------------------------------------


def answered(**changes: Any) -> bytes:
    """The response of a replica to a document."""
    return wire.response(orjson.dumps({**ANSWER, **changes}))


WHOLE = orjson.dumps(ANSWER)
#: what a replica writes -> status and code; "" closes the connection without a byte
REPLICAS: dict[str, tuple[bytes, int, str]] = {
    "500": (wire.response(b"Internal Server Error", b"500 Internal Server Error", b"text/plain"), 502, "engine"),
    "401": (wire.response(b"{}", b"401 Unauthorized"), 503, "no_replica"),
    "redirect": (wire.response(b"", b"302 Found\r\nLocation: http://127.0.0.1:1/"), 502, "engine"),
    "HTML": (wire.response(b"<html>Bad gateway</html>", kind=b"text/html"), 502, "engine"),
    "nothing": (b"", 503, "no_replica"),
    "an empty body": (wire.response(b""), 502, "engine"),
    "half a response": (wire.response(WHOLE)[:-20], 503, "no_replica"),
    "half a JSON": (wire.response(WHOLE[:-20]), 502, "engine"),
    "no HTTP": (b"hello\r\n\r\n", 503, "no_replica"),
    "a list": (wire.response(b"[]"), 502, "engine"),
    "other members": (wire.response(b'{"choices": [{"text": "{}"}]}'), 502, "engine"),
    "a finish reason of another server": (answered(finish_reason="tool_calls"), 502, "engine"),
    "another model": (answered(raw='{"label":"invoice"}'), 502, "invalid_output"),
    "an unconstrained answer": (answered(raw="The total is 12.50."), 502, "invalid_output"),
    "an answer in a fence": (answered(raw=f"```json\n{RAW}\n```"), 502, "invalid_output"),
    "an answer with an introduction": (answered(raw=f"Here it is: {RAW}"), 502, "invalid_output"),
    "two answers": (answered(raw=RAW + RAW), 502, "invalid_output"),
    "an unknown field": (answered(raw=RAW[:-1] + ',"x":1}'), 502, "invalid_output"),
    "the same field twice": (answered(raw='{"number":"A","total":1,"total":2}'), 502, "invalid_output"),
    "NaN": (answered(raw='{"number":"A","total":NaN}'), 502, "invalid_output"),
    "a number with 100 digits": (answered(raw='{"number":"A","total":1' + "0" * 100 + "}"), 502, "invalid_output"),
    "half a surrogate pair": (answered(raw='{"number":"\\ud800","total":1}'), 502, "invalid_output"),
    "a NUL": (answered(raw='{"number":"\\u0000","total":1}'), 502, "invalid_output"),
    "a list of objects": (answered(raw=f"[{RAW}]"), 502, "invalid_output"),
    "null": (answered(raw="null"), 502, "invalid_output"),
    "an answer cut off where it is valid": (answered(raw=RAW[:-2], finish_reason="length"), 502, "invalid_output"),
    "deep nesting": (answered(raw="[" * 10_000), 502, "invalid_output"),
    "a field that is missing": (answered(raw='{"number":"A-17"}'), 502, "invalid_output"),
    "a text for a number": (answered(raw='{"number":"A-17","total":"12"}'), 502, "invalid_output"),
    "an output outside the grammar": (answered(raw="", finish_reason="error", code="grammar"), 502, "grammar"),
    "a document that is too long": (answered(raw="", finish_reason="error", code="too_long"), 413, "too_long"),
    "an error of the engine": (answered(raw="", finish_reason="error", code="engine"), 502, "engine"),
}


async def test_no_replica_makes_a_wrong_success(tmp_path: Path) -> None:
    for number, (name, (written, status, code)) in enumerate(REPLICAS.items()):
        folder = tmp_path / str(number)
        async with (
            wire.raw_backend(tmp_path / f"r{number}", wire.writes(written)) as address,
            rig(folder, route(release(1, address))) as gateway,
        ):
            response = await gateway.extract()
            assert (response.status_code, response.json()["code"]) == (status, code), name
            assert "output" not in response.json()
            streamed = await gateway.client.post(
                CHAT, content=chat(stream=True), headers={"Authorization": "Bearer good"}
            )
            assert streamed.status_code == status, name
            rows = gateway.log.rows()
            assert [(row["status"], row["code"]) for row in rows] == [(status, code)] * 2, name
            assert {row["valid"] for row in rows} == {False if code in ("invalid_output", "grammar") else None}, name


async def test_a_replica_that_never_ends_its_response_times_out(tmp_path: Path) -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await wire.request_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.02)

    async with wire.raw_backend(tmp_path / "a", drip) as address:
        async with rig(tmp_path, route(release(1, address)), timeout=0.2) as gateway:
            response = await gateway.extract()
            assert (response.status_code, response.json()["code"]) == (504, "timeout")


# -- an external model -------------------------------------------------------------------------------------------------


def completion(content: Any, **changes: Any) -> tuple[int, bytes]:
    """The response of an OpenAI-compatible server."""
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
    return 200, orjson.dumps({"choices": [choice], "model": "big", **changes})


EXTERNAL_ANSWERS = [
    (500, b"Internal Server Error"), (200, b"<html>Sign in</html>"), (200, b""), (200, completion(RAW)[1][:-30]),
    (200, b"[]"), (200, b'{"choices": []}'), (200, b'{"error": {"message": "no"}}'), completion(None),
    completion(""), completion("I cannot help with that."), completion('{"label":"invoice"}', model="other"),
    completion('{"number":"A","total":"12"}'), completion('{"number":"A","total":1,"total":2}'),
    completion(RAW[:-3]),
]  # fmt: skip


async def test_no_external_model_makes_a_wrong_success(tmp_path: Path, settings: Any) -> None:
    settings.OUTBOUND_ALLOW = ["127.0.0.1"]
    answer = (200, b"")

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await wire.request_of(reader)
                writer.write(wire.response(answer[1], b"%d Status" % answer[0]))
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with rig(tmp_path, route(external(f"http://127.0.0.1:{port}/v1", structured="free"))) as gateway:
        for answer in EXTERNAL_ANSWERS:
            response = await gateway.extract()
            assert response.status_code == 502, (answer, response.text)
            assert response.json()["code"] in ("engine", "invalid_output")
            assert "output" not in response.json()
            assert gateway.log.rows()[-1]["status"] == 502
    server.close()
