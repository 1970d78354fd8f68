"""The service as jobs on a cluster: submitted, surviving its job, updated, put back, stopped, deployed from a file."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipeline.run import Run
from serve_app import keys
from tests.cluster.nodes import QUIET, ROOT, Cluster, cluster, free_ports, outside

pytestmark = pytest.mark.cluster
SECONDS = 300  # that a job may take


@pytest.fixture(scope="module")
def head() -> Iterator[Cluster]:
    with cluster(2, environment={**outside(), **QUIET}) as made:
        yield made


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "fake.yaml"
    (port,) = free_ports(1)
    path.write_text(f"name: made-up\nbase_model: tiny-base\nserve: {{engine: fake, port: {port}, drain: 1}}\n")
    return path


def finished(folder: Path) -> Run:
    """A run folder whose export counts as finished; the fake engine needs nothing of it."""
    run = Run.open(str(folder))
    stage = run.begin("export", "key")
    run.put_json(stage, "metrics/export.json", {})
    run.commit(stage, inputs={}, rows={})
    return run


def submit(head: Cluster, *words: str) -> tuple[int, str]:
    """Runs `python -m jobs.serve` as a submitted job; returns its code and what it printed."""
    environment = {**outside(), **QUIET, **head.credentials, "RAY_ADDRESS": head.dashboard}
    entry = [sys.executable, "-m", "jobs.serve", *words]
    variables = json.dumps({"env_vars": {"PYTHONPATH": str(ROOT)}})
    command = ["ray", "job", "submit", "--log-color", "false", "--runtime-env-json", variables, "--", *entry]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=SECONDS, cwd=ROOT
    )
    return done.returncode, done.stdout + done.stderr


def ask(url: str, secret: str) -> Any:
    body = {"model": "made-up", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 5}
    headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{url}/v1/chat/completions", json.dumps(body).encode(), headers)
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as response:
        return json.load(response)


def interfaces(port: int) -> set[str]:
    """Returns the addresses at which this machine listens on a port."""
    return {at.laddr.ip for at in psutil.net_connections("tcp") if at.status == "LISTEN" and at.laddr.port == port}


def test_the_life_of_a_service(head: Cluster, settings: Path, tmp_path: Path) -> None:
    first, second = finished(tmp_path / "first"), finished(tmp_path / "second")
    code, printed = submit(head, str(settings), "--run", first.uri)
    assert code == 0, printed
    url = first.read_json("serve/endpoint.json")["url"]
    secret = first.local(keys.PLAIN).read_text()
    assert f"{url}/v1" in printed
    assert str(first.local(keys.PLAIN)) in printed
    assert keys.PREFIX not in printed
    assert re.search(r"probe: 1 token generated in \d+\.\d\d s", printed)
    assert ask(url, secret)["usage"]["completion_tokens"] == 5  # the job is over, the service is not
    port = int(url.rpartition(":")[2])
    assert interfaces(port) == {"127.0.0.1"}

    code, printed = submit(head, str(settings), "--run", second.uri, "--update")
    assert code == 0, printed
    assert second.read_json("serve/endpoint.json")["url"] == url
    ask(url, secret)
    keys.make(first.local(keys.STORE), "more", ["chat"])
    keys.revoke(first.local(keys.STORE), "first")
    with pytest.raises(urllib.error.HTTPError, match="401"):
        ask(url, secret)
    _, other = keys.make(first.local(keys.STORE), "other", ["chat"])
    ask(url, other)

    broken = tmp_path / "broken.yaml"
    broken.write_text(settings.read_text().replace("engine: fake", "engine: gguf"))
    code, printed = submit(head, str(broken), "--run", finished(tmp_path / "third").uri, "--update")
    assert code != 0
    assert f"putting back {second.uri}" in printed.replace("\n", "")
    ask(url, other)

    code, printed = submit(head, str(settings), "--run", second.uri, "--stop")
    assert code == 0, printed
    assert "Deleting app" not in printed  # Ray's words
    assert interfaces(port) == set()
    assert submit(head, str(settings), "--run", second.uri, "--stop")[0] != 0
    assert list(second.local("serve/log").iterdir())


def test_a_file_for_serve_deploy(head: Cluster, settings: Path, tmp_path: Path) -> None:
    run, target = finished(tmp_path / "run"), tmp_path / "deploy.yaml"
    environment = {**outside(), **QUIET, **head.credentials}
    command = [sys.executable, "-m", "jobs.serve", str(settings), "--run", run.uri, "--write", str(target)]
    subprocess.run(command, env=environment, check=True, cwd=ROOT, timeout=SECONDS)
    made = {**environment, "RAY_DASHBOARD_ADDRESS": head.dashboard}
    subprocess.run(["serve", "deploy", str(target)], env=made, check=True, cwd=ROOT, timeout=SECONDS)
    url = re.findall(r"port: (\d+)", settings.read_text())[0]
    secret = run.local(keys.PLAIN).read_text()
    for _ in range(120):
        try:
            answer = ask(f"http://127.0.0.1:{url}", secret)
            break
        except OSError:
            time.sleep(1)
    assert answer["usage"]["completion_tokens"] == 5
    assert interfaces(int(url)) == {"127.0.0.1"}
    subprocess.run(["serve", "shutdown", "--yes"], env=made, check=True, cwd=ROOT, timeout=SECONDS)


def test_a_service_of_its_own_ends_with_its_command(settings: Path, tmp_path: Path) -> None:
    run = finished(tmp_path / "run")
    command = [sys.executable, "-m", "jobs.serve", str(settings), "--run", run.uri]
    log = tmp_path / "log"
    with log.open("wb") as sink:
        process = subprocess.Popen(command, env={**outside(), **QUIET}, cwd=ROOT, stdout=sink, stderr=sink)
    try:
        until = time.monotonic() + SECONDS
        while "Ctrl-C to stop" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until
            time.sleep(0.5)
        url = run.read_json("serve/endpoint.json")["url"]
        assert ask(url, run.local(keys.PLAIN).read_text())["usage"]["completion_tokens"] == 5
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGTERM)  # as systemd does: to the process alone
        assert process.wait(60) == 0, log.read_text()
        assert log.read_text().endswith("Ctrl-C to stop\nserve: stopped\n")  # Ray has nothing to say in between
        assert psutil.wait_procs(children, timeout=30)[1] == []
        assert interfaces(int(url.rpartition(":")[2])) == set()
    finally:
        process.kill()


def test_sigterm_before_all_is_ready_ends_the_service_in_order(settings: Path, tmp_path: Path) -> None:
    run, log = finished(tmp_path / "run"), tmp_path / "log"
    command = [sys.executable, "-m", "jobs.serve", str(settings), "--run", run.uri]
    with log.open("wb") as sink:
        process = subprocess.Popen(command, env={**outside(), **QUIET}, cwd=ROOT, stdout=sink, stderr=sink)
    try:
        until = time.monotonic() + SECONDS
        while not run.local(keys.STORE).exists():  # made just before the replica is started
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until
            time.sleep(0.05)
        children = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        assert process.wait(60) == 0, log.read_text()
        assert "Ctrl-C to stop" not in log.read_text()
        assert psutil.wait_procs(children, timeout=30)[1] == []
    finally:
        process.kill()
