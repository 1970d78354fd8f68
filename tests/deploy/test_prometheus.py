"""The scrape configuration and the dashboard's queries under the real Prometheus. See README.md."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from serve_app.engines.fake import FakeEngine
from tests.cluster.nodes import free_ports
from tests.deploy.running import service, until
from tests.serve_app.client import ASK, CHAT, KEY, SETTINGS

pytestmark = pytest.mark.deploy

DEPLOY = Path(__file__).parents[2] / "deploy"
RARE = ("solotune:guard_findings_total", "solotune:log_lines_dropped")  # there once the guard found, the log lost

Query = Callable[[str], list[Any]]


@pytest.fixture(scope="module")
def query(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Query]:
    """Prometheus with `deploy/prometheus.yaml`, scraping a service that has answered."""
    if shutil.which("prometheus") is None:
        pytest.skip("prometheus is not installed")
    folder = tmp_path_factory.mktemp("prometheus")
    (folder / "key").write_text(KEY)
    with service(FakeEngine("tiny", 350), SETTINGS) as port:
        (own,) = free_ports(1)
        config = (DEPLOY / "prometheus.yaml").read_text(encoding="utf-8")
        for ours, here in [
            ("solotune:8000", f"127.0.0.1:{port}"),
            ("/run/secrets/metrics_key", str(folder / "key")),
            ("scrape_interval: 10s", "scrape_interval: 1s"),
        ]:
            assert config.count(ours) == 1, ours
            config = config.replace(ours, here)
        (folder / "prometheus.yaml").write_text(config)
        command = ["prometheus", f"--config.file={folder}/prometheus.yaml", f"--storage.tsdb.path={folder}/data"]
        command.append(f"--web.listen-address=127.0.0.1:{own}")
        log = folder / "log"
        with (
            log.open("wb") as sink,
            subprocess.Popen(command, stdout=sink, stderr=sink) as process,
            httpx.Client(trust_env=False, headers={"Authorization": f"Bearer {KEY}"}) as client,
        ):

            def ask(expression: str) -> list[Any]:
                response = client.get(f"http://127.0.0.1:{own}/api/v1/query", params={"query": expression})
                assert response.json()["status"] == "success", (expression, response.json()["error"])
                result: list[Any] = response.json()["data"]["result"]
                return result

            def scraped() -> bool:
                client.post(f"http://127.0.0.1:{port}{CHAT}", json={**ASK, "max_tokens": 5}).raise_for_status()
                try:
                    series = ask("count_over_time(up[1m])")
                except httpx.HTTPError:  # it is starting
                    assert process.poll() is None, log.read_text()
                    return False
                return bool(series) and int(series[0]["value"][1]) > 3

            try:
                until(scraped, "Prometheus does not scrape", 30)
                yield ask
            finally:
                process.terminate()
                process.wait(20)


def test_it_scrapes_with_the_key(query: Query) -> None:
    (series,) = query('up{job="solotune"}')
    assert series["value"][1] == "1"


def test_every_query_of_the_dashboard_has_an_answer(query: Query) -> None:
    dashboard = json.loads((DEPLOY / "grafana/dashboards/solotune.json").read_text(encoding="utf-8"))
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    assert len(expressions) > 20
    for expression in expressions:
        series = query(expression.replace("$model", ".*").replace("$__rate_interval", "1m"))
        assert series or any(name in expression for name in RARE), expression
    assert query("vllm:nobody_exports_this") == []
