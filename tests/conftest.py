"""What the tests share: rows of the working schema, the session's one Ray, a local S3 server."""

from __future__ import annotations

import logging
import threading
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pyarrow as pa
import pytest

from pipeline import schema


def working(rows: list[dict[str, Any]]) -> pa.Table:
    """Makes a WORKING table; a row gives what it cares about, the rest is filled in."""
    full = []
    for number, row in enumerate(rows, 1):
        filled: dict[str, Any] = {
            "source": "tickets",
            "source_id": str(number),
            "kind": "qa",
            "prompt": "",
            "response": "",
            "later": [],
            "origin": "real",
            "path": "tickets.csv",
            "line": number,
            "entities": [],
            "pii": [],
            **row,
        }
        texts = (filled["prompt"] or "", filled["response"] or "", filled["later"])
        filled.setdefault("id", schema.content_id(filled["kind"], *texts))
        full.append(filled)
    return pa.Table.from_pylist(full, schema=schema.WORKING)


@pytest.fixture
def make_working() -> Any:
    return working


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """One private Ray for the whole test session: two CPUs, no dashboard, nothing left behind."""
    import os

    import ray

    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the jobs do: two cores are shared by several processes
    ray.init(
        num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR", object_store_memory=300 << 20
    )
    yield
    ray.shutdown()


@pytest.fixture
def ray_blocks(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Has Ray Data put its units into so many blocks, several to each, from the call on."""
    import ray.data

    made = ray.data.from_items

    def cut(blocks: int) -> None:
        monkeypatch.setattr(
            ray.data, "from_items", lambda items, **_: made(items, override_num_blocks=min(blocks, len(items)))
        )

    return cut


class Store:
    """moto's S3 server, behind a gate that counts requests and can refuse some of them."""

    def __init__(self, application: Any) -> None:
        self._application = application
        self.endpoint = ""
        self.refusals: list[tuple[str, str, int]] = []  # method, part of path and query, status; each refuses once
        self.requests: list[str] = []

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        method, place = environ["REQUEST_METHOD"], f"{environ['PATH_INFO']}?{environ['QUERY_STRING']}"
        self.requests.append(f"{method} {place}")
        for refusal in self.refusals:
            if refusal[0] == method and refusal[1] in place:
                self.refusals.remove(refusal)
                environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
                start_response(f"{refusal[2]} Refused", [("Content-Length", "0")])
                return [b""]
        answer: Iterable[bytes] = self._application(environ, start_response)
        return answer

    def make_bucket(self, name: str) -> None:
        urllib.request.urlopen(urllib.request.Request(f"http://{self.endpoint}/{name}", method="PUT")).close()

    def uri(self, path: str) -> str:
        return f"s3://{path}?endpoint_override={self.endpoint}&scheme=http"


@pytest.fixture(scope="session")
def s3() -> Iterator[Store]:
    """A local S3 server with the empty bucket `bucket`, credentials for it in the environment."""
    from moto.server import create_backend_app
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    store = Store(create_backend_app("s3"))
    server = make_server("127.0.0.1", 0, store, threaded=True)
    store.endpoint = f"127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    store.make_bucket("bucket")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "key-of-the-tests")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-the-tests")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        yield store
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def store(s3: Store) -> Store:
    """The session's S3 server with nothing refused."""
    s3.refusals.clear()
    s3.requests.clear()
    return s3
