"""HTTP on the wire: offers of an upgrade are declined and their bodies kept; what is no HTTP gets the envelope."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from serve_app.engines.fake import FakeEngine
from serve_app.http import gateway, listener
from tests.serve_app.client import ASK, CHAT, KEY, KEYRING, SETTINGS

HOST = "127.0.0.1"
H2C = "connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAEAAEAAAAIAAAABAAMAAABk\r\n"
BODY = json.dumps({**ASK, "max_tokens": 3, "temperature": 0}).encode()
LENGTH = f"content-length: {len(BODY)}\r\n"
CHUNKED = b"%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n" % (7, BODY[:7], len(BODY) - 7, BODY[7:])


def asking(headers: str, body: bytes = BODY) -> bytes:
    head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\ncontent-type: application/json\r\n"
    return f"{head}{headers}\r\n".encode() + body


async def answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], Any]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
    return int(head[0].split()[1]), headers, json.loads(await reader.readexactly(int(headers["content-length"])))


def exchange(pieces: list[bytes], answers: int = 1) -> list[tuple[int, dict[str, str], Any]]:
    """Sends pieces over one connection, each for itself; returns the answers."""

    async def run() -> list[tuple[int, dict[str, str], Any]]:
        port = listener.bind(HOST, 0)
        number = port.getsockname()[1]
        served = listener.Listener(gateway.build(FakeEngine("tiny", 250), SETTINGS, KEYRING), port, 1)
        try:
            reader, writer = await asyncio.open_connection(HOST, number)
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0.001 * (len(pieces) > 1))
            got = [await answer(reader) for _ in range(answers)]
            writer.close()
            return got
        finally:
            await served.stop()

    return asyncio.run(asyncio.wait_for(run(), 30))


@pytest.fixture(scope="module")
def whole() -> Any:
    """The choices of the answer to a request without an offer."""
    return exchange([asking(LENGTH)])[0][2]["choices"]


@pytest.mark.parametrize("request_bytes", [asking(H2C + LENGTH), asking(LENGTH + H2C)])
@pytest.mark.parametrize("size", [1 << 20, 400, 64, 7])
def test_an_offer_of_http_2_keeps_its_body(request_bytes: bytes, size: int, whole: Any) -> None:
    pieces = [request_bytes[at : at + size] for at in range(0, len(request_bytes), size)]
    [(status, _, body)] = exchange(pieces)
    assert status == 200
    assert body["choices"] == whole


@pytest.mark.parametrize("size", [1 << 20, 11])
def test_a_chunked_one_too(size: int, whole: Any) -> None:
    request = asking(H2C + "transfer-encoding: chunked\r\n", CHUNKED)
    [(status, _, body)] = exchange([request[at : at + size] for at in range(0, len(request), size)])
    assert status == 200
    assert body["choices"] == whole


def test_requests_with_and_without_an_offer_share_a_connection(whole: Any) -> None:
    look = f"GET /health HTTP/1.1\r\nhost: x\r\n{H2C}\r\n".encode()
    requests = [asking(H2C + LENGTH), look, asking(LENGTH), look, asking(H2C + LENGTH)]
    for pieces in (requests, [b"".join(requests)]):
        got = exchange(pieces, len(requests))
        assert [status for status, _, _ in got] == [200] * 5
        assert [body.get("choices", "health") for _, _, body in got] == [whole, "health", whole, "health", whole]


def test_many_offers_in_one_packet_are_no_recursion() -> None:
    look = b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n"
    assert {status for status, _, _ in exchange([look * 2000], 2000)} == {200}


def test_a_path_with_two_slashes_is_none_with_a_host() -> None:
    request = asking(LENGTH).replace(b" /v1", b" //v1/", 1)
    assert exchange([request])[0][0] == 200


def test_no_other_protocol_is_taken_up() -> None:
    handshake = "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: eA==\r\n"
    [(status, headers, _)] = exchange([f"GET /health HTTP/1.1\r\nhost: x\r\n{handshake}\r\n".encode()])
    assert status == 200
    assert "upgrade" not in headers


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"CONNECT example.com:443 HTTP/1.1\r\nhost: example.com\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
        b"GET /health HTTP/1.1\r\nhost x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        asking(f"content-length: 5\r\n{H2C}transfer-encoding: chunked\r\n"),
    ],
)
def test_what_is_no_http_is_a_400_in_the_envelope(request_bytes: bytes) -> None:
    [(status, headers, body)] = exchange([request_bytes])
    assert status == 400
    assert headers["x-request-id"].startswith("req_")
    assert headers["connection"] == "close"
    assert set(body["error"]) == {"message", "type", "param", "code"}
