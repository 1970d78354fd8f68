"""Other people's clients, and schemathesis, against the fake engine behind a real socket. See README.md beside this."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.config import Serve
from serve_app.engines.fake import FakeEngine
from tests.serve_app.client import KEY, application
from tests.serve_app.upstream import serving

pytestmark = pytest.mark.clients

HERE = Path(__file__).parent
PEERS = os.environ.get("SOLOTUNE_CLIENTS", "")  # the `bin` folder of an environment with the packages
CHECKS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "missing_required_header",
    "unsupported_method",
    "ignored_auth",
]


@pytest.fixture(scope="module")
def base() -> Iterator[str]:
    settings = Serve(max_new_tokens=200, max_input_tokens=150, concurrency=16, queue=64)
    with serving(application(FakeEngine("tiny", 350, interval=0.004), settings)) as url:
        yield url


def peer(name: str) -> str:
    if not (Path(PEERS) / name).exists():
        pytest.skip(f"SOLOTUNE_CLIENTS names no environment with {name}")
    return str(Path(PEERS) / name)


def ran(*command: str, cwd: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    return done.stdout


def test_the_node_client(base: str, tmp_path: Path) -> None:
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    for name in ("package.json", "client.mjs"):
        shutil.copy(HERE / name, tmp_path)
    ran("npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", cwd=tmp_path)
    assert "node: ok" in ran("node", "client.mjs", base, KEY, cwd=tmp_path)


def test_litellm_and_langchain(base: str, tmp_path: Path) -> None:
    assert "ok" in ran(peer("python"), str(HERE / "peers.py"), base, KEY, cwd=tmp_path)


@pytest.mark.parametrize("seed", ["1", "2", "3"])
def test_schemathesis_finds_no_breach_of_the_document(base: str, tmp_path: Path, seed: str) -> None:
    # `positive_data_acceptance` is left out: JSON schema cannot say that `top_logprobs` needs `logprobs`, or that a
    # prompt must fit, so some requests that meet the document are refused, with a 400.
    command = [peer("schemathesis"), "run", f"{base}/openapi.json", "-H", f"Authorization: Bearer {KEY}"]
    options = ["--checks", ",".join(CHECKS), "--seed", seed, "--max-examples", "60", "--mode", "all", "--no-color"]
    print(ran(*command, *options, cwd=tmp_path)[-3000:])
