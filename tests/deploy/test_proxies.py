"""The reverse-proxy examples under the real nginx and Caddy: TLS, streams, clients that hang up, limits. See README.md.

The examples run as they are but for what belongs to a machine: ports, and the files of the certificate.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import Serve
from serve_app.engines.fake import FakeEngine
from tests.cluster.nodes import free_ports
from tests.deploy.running import service, until
from tests.serve_app.client import ASK, CHAT, KEY

pytestmark = pytest.mark.deploy

DEPLOY = Path(__file__).parents[2] / "deploy"
HOST = "model.example.com"
INTERVAL = 0.1  # seconds between the engine's tokens
ENDLESS = 3000  # tokens: five minutes
SETTINGS = Serve(max_new_tokens=ENDLESS, max_input_tokens=1000, playground=True)
VERSIONS = ["--http1.1", "--http2"]


@dataclass(frozen=True)
class Response:
    status: int
    version: str  # of HTTP
    headers: dict[str, str]
    body: str
    whole: bool  # what had been announced came


@dataclass(frozen=True)
class Site:
    """A proxy that runs, and the engine of the service behind it."""

    port: int
    authority: Path  # the certificate that signed the proxy's
    engine: FakeEngine

    def curl(self, path: str, *options: str) -> list[str]:
        """Returns the command that asks the proxy under its own name."""
        trusted = ["--cacert", str(self.authority), "--resolve", f"{HOST}:{self.port}:127.0.0.1", "--noproxy", "*"]
        shown = ["--silent", "--show-error", "--no-buffer", "--path-as-is", "--max-time", "60"]
        return ["curl", "-q", *shown, *trusted, *options, f"https://{HOST}:{self.port}{path}"]

    def ask(self, path: str, *options: str) -> Response:
        account = ["--include", "--write-out", r"\n%{http_code} %{http_version}"]
        done = subprocess.run(self.curl(path, *account, *options), capture_output=True, check=False)
        assert done.stdout, done.stderr
        head, _, rest = done.stdout.decode().partition("\r\n\r\n")
        body, _, last = rest.rpartition("\n")
        status, version = last.split()
        headers = [line.split(": ", 1) for line in head.splitlines()[1:]]
        names = {name.lower(): value for name, value in headers}
        assert len(names) == len(headers), headers  # none comes twice
        return Response(int(status), version, names, body, done.returncode == 0)

    def reached(self) -> bool:
        return subprocess.run(self.curl("/health"), capture_output=True, check=False).returncode == 0


def question(*options: str, **changes: Any) -> list[str]:
    """Returns curl's options for a chat request with the key."""
    body = json.dumps({**ASK, "max_tokens": 20, **changes})
    return ["-H", f"Authorization: Bearer {KEY}", "-H", "Content-Type: application/json", *options, "--data", body]


def nginx(folder: Path, port: int, upstream: str) -> tuple[list[str], Path]:
    """Writes the configuration around the example; returns the command and the authority's certificate."""
    certificate, key = folder / "site.pem", folder / "site.key"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={HOST}"]
    made += ["-addext", f"subjectAltName=DNS:{HOST}", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(made, check=True, capture_output=True)
    site = (DEPLOY / "nginx.conf").read_text(encoding="utf-8")
    for ours, here in [
        ("listen 443", f"listen 127.0.0.1:{port}"),
        ("/etc/ssl/model.example.com.pem", str(certificate)),
        ("/etc/ssl/model.example.com.key", str(key)),
        ("127.0.0.1:8000", upstream),
    ]:
        assert site.count(ours) == 1, ours
        site = site.replace(ours, here)
    (folder / "site.conf").write_text(site)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    scratch = " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    whole = (
        f"daemon off; pid {folder}/pid; events {{}} http {{ access_log off; {scratch} include {folder}/site.conf; }}"
    )
    (folder / "nginx.conf").write_text(whole)
    command = ["nginx", "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]
    checked = subprocess.run([*command, "-t"], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    assert "[warn]" not in checked.stderr, checked.stderr
    return command, certificate


def caddy(folder: Path, port: int, upstream: str) -> tuple[list[str], Path]:
    """Writes the example behind options for an authority of its own; returns the command and that one's certificate."""
    site = (DEPLOY / "Caddyfile").read_text(encoding="utf-8")
    formatted = subprocess.run(["caddy", "fmt", str(DEPLOY / "Caddyfile")], capture_output=True, text=True, check=True)
    assert formatted.stdout == site
    assert site.count("127.0.0.1:8000") == 1
    (plain,) = free_ports(1)
    here = ["admin off", "local_certs", "skip_install_trust", "default_bind 127.0.0.1"]
    options = "\n".join([*here, f"http_port {plain}", f"https_port {port}"])
    (folder / "Caddyfile").write_text(f"{{\n{options}\n}}\n{site.replace('127.0.0.1:8000', upstream)}")
    homes = [f"XDG_CONFIG_HOME={folder}", f"XDG_DATA_HOME={folder}"]
    command = ["env", *homes, "caddy", "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]
    return command, folder / "caddy/pki/authorities/local/root.crt"


@contextlib.contextmanager
def proxy(kind: str, folder: Path, upstream: str, engine: FakeEngine) -> Iterator[Site]:
    if shutil.which(kind) is None:
        pytest.skip(f"{kind} is not installed")
    (port,) = free_ports(1)
    command, authority = {"nginx": nginx, "caddy": caddy}[kind](folder, port, upstream)
    site = Site(port, authority, engine)
    log = folder / "log"
    with log.open("wb") as sink, subprocess.Popen(command, stdout=sink, stderr=sink) as process:
        try:
            until(lambda: site.reached() or process.poll() is not None, "the proxy does not answer", 20)
            assert process.poll() is None, log.read_text()
            yield site
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):  # Caddy waits for answers that run
                process.wait(5)
            process.kill()


@pytest.fixture(scope="module", params=["nginx", "caddy"])
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    engine = FakeEngine("tiny", 5000, interval=INTERVAL, length=0)
    with service(engine, SETTINGS) as port:
        folder = tmp_path_factory.mktemp(request.param)
        folder.chmod(0o755)  # nginx's workers are another user
        with proxy(request.param, folder, f"127.0.0.1:{port}", engine) as running:
            yield running


@pytest.mark.parametrize("version", VERSIONS)
def test_an_answer_comes_over_tls_as_the_service_gave_it(site: Site, version: str) -> None:
    response = site.ask(CHAT, version, *question())
    assert response.whole
    assert (response.status, response.version) == (200, {"--http1.1": "1.1", "--http2": "2"}[version])
    assert re.fullmatch("req_[0-9a-f]{32}", response.headers["x-request-id"])
    assert json.loads(response.body)["usage"]["completion_tokens"] == 20
    response = site.ask("/v1/models", version)
    assert response.status == 401
    assert set(json.loads(response.body)["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize("version", VERSIONS)
def test_a_stream_comes_token_by_token(site: Site, version: str) -> None:
    command = site.curl(CHAT, version, *question(stream=True, seed=1))
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None
        events = [(time.monotonic(), line) for line in client.stdout if line.startswith("data: ")]
    assert client.returncode == 0
    assert events[-1][1] == "data: [DONE]\n"
    gaps = [later - sooner for (sooner, _), (later, _) in itertools.pairwise(events)]
    assert sum(gap > INTERVAL / 2 for gap in gaps) >= 10, gaps  # some of 20 tokens are the middle of a character


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_hangs_up_cancels_its_answer(site: Site, version: str, stream: bool) -> None:
    until(lambda: site.engine.running == 0, "an answer of before still runs")
    command = site.curl(CHAT, version, *question(stream=stream, max_tokens=ENDLESS))
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as client:
        until(lambda: site.engine.running == 1, "the request does not arrive")
        time.sleep(5 * INTERVAL)
        client.kill()
    until(lambda: site.engine.running == 0, "the answer goes on though nobody waits for it", 3)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("chunked", [False, True])
def test_the_limit_of_a_body_is_the_service_s(site: Site, tmp_path: Path, version: str, chunked: bool) -> None:
    limit, body = SETTINGS.body_limit, tmp_path / "body"
    for size, status, code in [
        (limit, 400, "context_length_exceeded"),
        (limit + 1, 413, "request_too_large"),
        (32 * limit, 413, "request_too_large"),
    ]:
        head, _, tail = json.dumps({**ASK, "messages": [{"role": "user", "content": "-"}]}).partition("-")
        body.write_text(head + "x" * (size - len(head) - len(tail)) + tail)
        sent = ["-H", "Transfer-Encoding: chunked"] if chunked else []
        response = site.ask(CHAT, version, *question()[:4], "-H", "Expect:", *sent, "--data-binary", f"@{body}")
        assert response.status == status, size
        if response.whole:  # the service does not read on: its connection may be gone before all of the error is read
            assert json.loads(response.body)["error"]["code"] == code, size


@pytest.mark.parametrize("path", ["/metrics", "/playground"])
def test_what_is_for_the_inside_is_not_found(site: Site, path: str) -> None:
    key = ["-H", f"Authorization: Bearer {KEY}"]
    for spelled in [path, f"/{path}", f"/.{path}", f"/x/..{path}", path.replace("m", "%6d").replace("p", "%70")]:
        for version in VERSIONS:
            assert site.ask(spelled, version, *key).status == 404, spelled
    assert site.ask("/health", *key).status == 200


def test_without_the_service_the_proxy_says_bad_gateway(site: Site, tmp_path: Path) -> None:
    kind = "caddy" if site.authority.name == "root.crt" else "nginx"
    tmp_path.chmod(0o755)
    (nobody,) = free_ports(1)
    with proxy(kind, tmp_path, f"127.0.0.1:{nobody}", site.engine) as alone:
        assert alone.ask("/v1/models").status == 502
