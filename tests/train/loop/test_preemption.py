"""A notice is seen in every place it can be given."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import Preemption
from pipeline.train.loop import preemption
from pipeline.train.loop.preemption import Notice, ask, on_sigterm


class Metadata(BaseHTTPRequestHandler):
    """The metadata service of a cloud: `answers` maps a path to a status and a body."""

    answers: dict[str, tuple[int, str]]
    seen: list[tuple[str, str, str | None]]
    token = False

    def _answer(self) -> None:
        self.seen.append((self.command, self.path, self.headers.get("Metadata-Flavor")))
        status, body = self.answers.get(self.path, (404, ""))
        if self.command == "PUT":
            status, body = (200, "secret") if self.token else (403, "")
        elif self.token and self.headers.get("X-aws-ec2-metadata-token") != "secret":
            status, body = 401, ""
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body.encode())

    do_GET = do_PUT = _answer  # noqa: N815  # so http.server wants it

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def cloud() -> Iterator[tuple[type[Metadata], str]]:
    kind = type("Cloud", (Metadata,), {"answers": {}, "seen": []})
    server = HTTPServer(("127.0.0.1", 0), kind)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield kind, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize(
    ("status", "body", "given"),
    [(200, "TRUE", True), (200, "FALSE", False), (200, " NONE\n", False), (404, "not found", False), (500, "x", False)],
)
def test_an_address_says_it_with_200_and_something(
    cloud: tuple[type[Metadata], str], status: int, body: str, given: bool
) -> None:
    kind, address = cloud
    kind.answers["/computeMetadata/v1/instance/preempted"] = (status, body)
    assert ask(f"{address}/computeMetadata/v1/instance/preempted") is given
    assert kind.seen == [("GET", "/computeMetadata/v1/instance/preempted", "Google")]


@pytest.mark.parametrize("token", [True, False])
def test_aws_is_asked_with_a_token_where_it_wants_one(cloud: tuple[type[Metadata], str], token: bool) -> None:
    kind, address = cloud
    kind.token = token
    place = "/latest/meta-data/spot/instance-action"
    assert not ask(address + place)
    kind.answers[place] = (200, '{"action": "terminate", "time": "2026-11-24T10:00:00Z"}')
    assert ask(address + place)


def test_nobody_there_is_no_notice() -> None:
    assert not ask("http://127.0.0.1:9/nothing")


def test_the_address_is_polled_while_watching(
    cloud: tuple[type[Metadata], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preemption, "EVERY", 0.02)
    kind, address = cloud
    notice = Notice(Preemption(url=f"{address}/gone"), tmp_path / "sigterm")
    with notice.watching():
        limit = time.monotonic() + 10
        while len(kind.seen) < 2 and time.monotonic() < limit:
            time.sleep(0.01)
        assert notice.given() is None
        kind.answers["/gone"] = (200, "soon")
        while notice.given() is None and time.monotonic() < limit:
            time.sleep(0.01)
    assert "127.0.0.1" in (notice.given() or "")


def test_files_are_looked_for_on_the_spot(tmp_path: Path) -> None:
    notice = Notice(Preemption(file=str(tmp_path / "notice")), tmp_path / "sigterm")
    with notice.watching():
        assert notice.given() is None
        (tmp_path / "notice").touch()
        assert "notice" in (notice.given() or "")
        (tmp_path / "sigterm").touch()
        assert notice.given() == "SIGTERM"


def test_the_first_sigterm_becomes_a_file_and_the_second_is_the_old_one(tmp_path: Path) -> None:
    got: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: got.append(number))
    try:
        with on_sigterm(tmp_path / "stages" / "sigterm"):
            os.kill(os.getpid(), signal.SIGTERM)
            assert (tmp_path / "stages" / "sigterm").exists()
            assert got == []
            os.kill(os.getpid(), signal.SIGTERM)
            assert got == [signal.SIGTERM]
        os.kill(os.getpid(), signal.SIGTERM)
        assert got == [signal.SIGTERM] * 2
    finally:
        signal.signal(signal.SIGTERM, before)
