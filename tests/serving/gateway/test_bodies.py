"""Bodies are read once the caller is known, and one caller's bodies do not block others."""

import asyncio
import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from serving.gateway import app_state
from serving.gateway.intake import bodies, json_check
from tests.serving.gateway import wire
from tests.serving.gateway.rig import Rig, answering, release, rig, route

EXTRACT = b"/api/v1/projects/invoices/extract"
PATHS = (
    EXTRACT, b"/v1/chat/completions", b"/api/v1/projects/invoices/feedback", b"/capture/invoices/v1/chat/completions",
)  # fmt: skip


def head(path: bytes, length: int, token: bytes = b"", kind: bytes = b"application/json") -> bytes:
    """The header of a request with a body."""
    authorization = b"Authorization: Bearer %s\r\n" % token if token else b""
    return b"POST %s HTTP/1.1\r\nHost: gateway\r\nContent-Type: %s\r\n%sContent-Length: %d\r\n\r\n" % (
        path, kind, authorization, length
    )  # fmt: skip


async def test_nothing_is_read_without_a_token(tmp_path: Path) -> None:
    """The answer comes although not a byte of the body was sent."""
    async with rig(tmp_path, route(release(1), capture="own_key")) as gateway, wire.listening(gateway) as port:
        for path in (*PATHS, b"/api/v1/projects/invoices/replay"):
            for token in (b"", b"slm_bad", b"bad"):
                for kind in (b"application/json", b"multipart/form-data; boundary=a"):
                    request = head(path, 19_000_000, token, kind)
                    status, _ = await asyncio.wait_for(wire.exchange(port, request), 60)
                    assert status == 401, (path, token, kind)


async def test_large_bodies_have_limits_of_what_they_cost(tmp_path: Path) -> None:
    async with answering(tmp_path) as (gateway, replica):
        for body, status in (
            (b"[" + b"[]," * 2_000_000 + b"[]]", 413),
            (b'{"text":"a","caller":[' + b"{}," * 2_000_000 + b"0]}", 413),
            (b"{" + b",".join(b'"k%d":1' % number for number in range(1_000_000)) + b"}", 413),
            (b'{"text":"a","page":' + b"[" * 200_000, 400),
            (b'{"text":"' + b"a" * 4_000_001 + b'"}', 413),
            (b'{"text":"' + b"\\" * 3_000_001, 400),
            (b" " * 5_000_000, 400),
        ):
            assert (await post(gateway, EXTRACT.decode(), body)).status_code == status, body[:30]
        assert replica.asked == []


async def post(gateway: Rig, path: str, body: bytes, token: str = "good") -> Any:
    """The response to a JSON body."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    return await gateway.client.post(path, content=body, headers=headers)


def test_a_page_with_as_many_lines_as_an_import_takes_is_read() -> None:
    line = {"text": "Invoice number 17", "bbox": [10, 20, 300, 400]}
    json_check.check(json.dumps({"text": "a", "page": {"width": 1, "height": 2, "lines": [line] * 20_000}}).encode())


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":1,"a":2}', b'{"a":{"b":1,"b":2}}', b'[{"a":1},{"a":1,"\\u0061":2}]', b'{"a":[1,{"b":1}],"c":1,"a":2}',
        b'{"":1,"":2}', b'{"a\\"":1,"a\\"":2}', b'{"a" : "x,{" , "a" : 1}', b'{"\\\\":1,"\\\\":2}',
        b'{"' + b"a" * 200_000 + b'":1,"' + b"a" * 200_000 + b'":2}',
    ],
)  # fmt: skip
def test_equal_names_are_found(body: bytes) -> None:
    json.loads(body)
    with pytest.raises(ValueError):
        json_check.check(body)


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":1,"b":{"a":2},"c":[{"a":1},{"a":2}]}', b'{"a":"a","b":"a\\",\\"a\\":1"}', b'["a","a"]',
        b'{"a":["a","a"]}',
        b'{"a\\\\":1,"a":2}', b'""', b"1", b"", b'{"a":"' + b"\\\\" * 70_000 + b'","b":1}',
        b'{"a":"' + b"x" * 65_535 + b'\\"","b":1}',
    ],
)  # fmt: skip
def test_other_names_are_left_alone(body: bytes) -> None:
    json_check.check(body)


async def test_large_bodies_leave_the_event_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[threading.Thread] = []
    checked = json_check.check

    def check(body: bytes) -> None:
        threads.append(threading.current_thread())
        checked(body)

    monkeypatch.setattr(json_check, "check", check)
    loop = threading.current_thread()
    where = route(release(1), capture="token")
    async with rig(tmp_path, where) as gateway:
        for path in (path.decode() for path in PATHS):
            threads.clear()
            await post(gateway, path, b'{"model":"invoices"}')
            await post(gateway, path, b'{"model":"' + b"a" * bodies.SMALL + b'"}')
            assert [thread is loop for thread in threads] == [True, False]


async def test_large_bodies_of_a_project_wait_for_each_other_alone(tmp_path: Path) -> None:
    """Four bodies that do not end take the places of their project; another project's body is read."""
    body = json.dumps({"text": "a" * (bodies.LARGE + 100_000)}).encode()
    async with rig(tmp_path, route(release(1)), route_of("receipts")) as gateway, wire.listening(gateway) as port:
        slow = [await opened(port, head(EXTRACT, len(body) + 1, b"good") + body) for _ in range(bodies.PLACES)]
        places = gateway.gateway.bodies._places
        while not (place := places.get("invoices")) or not place.locked():
            await asyncio.sleep(0.01)
        other = head(EXTRACT.replace(b"invoices", b"receipts"), len(body), b"other")
        assert (await asyncio.wait_for(wire.exchange(port, other, body), 60))[0] == 503  # no replica: it was read
        small = b'{"text": "a"}'
        assert (await wire.exchange(port, head(EXTRACT, len(small), b"good"), small))[0] == 503
        waiting = asyncio.ensure_future(wire.exchange(port, head(EXTRACT, len(body), b"good"), body))
        slow[0].transport.abort()
        assert (await asyncio.wait_for(waiting, 60))[0] == 503
        for writer in slow[1:]:
            writer.transport.abort()


async def opened(port: int, data: bytes) -> asyncio.StreamWriter:
    """A connection that has sent these bytes."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    await writer.drain()
    return writer


def route_of(slug: str) -> Any:
    """The deployment of another project."""
    return replace(route(release(2)), slug=slug, project_id=2)


async def test_open_requests_of_a_project_have_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app_state, "MAX_OPEN", 2)
    async with rig(tmp_path, route(release(1)), route_of("receipts")) as gateway, wire.listening(gateway) as port:
        slow = [await opened(port, head(EXTRACT, 100, b"good")) for _ in range(2)]
        while gateway.gateway.open["invoices"] < 2:
            await asyncio.sleep(0.01)
        refused = await post(gateway, EXTRACT.decode(), b'{"text": "a"}')
        assert (refused.status_code, refused.json()["code"]) == (429, "queue_full")
        other = await post(gateway, "/api/v1/projects/receipts/extract", b'{"text": "a"}', token="other")
        assert other.status_code == 503
        for writer in slow:
            writer.transport.abort()
        while gateway.gateway.open:
            await asyncio.sleep(0.01)
        assert (await post(gateway, EXTRACT.decode(), b'{"text": "a"}')).status_code == 503
