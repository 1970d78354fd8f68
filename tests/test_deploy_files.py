"""What is in deploy/: names that exist, files that parse, ports kept to this machine, a unit that systemd takes."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.config import Serve
from serve_app import keys
from serve_app.engines.fake import FakeEngine
from serve_app.http import gateway
from serve_app.observe.metrics import GuardFindings
from tests.serve_app.client import connect

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"


def load(name: str) -> Any:
    return yaml.safe_load((DEPLOY / name).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def dashboard() -> dict[str, Any]:
    return dict(json.loads((DEPLOY / "grafana/dashboards/solotune.json").read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def exported() -> set[str]:
    """The names of all series that the service has, `up` and the guard's among them."""
    ring = keys.Keyring([keys.Key(sha256=keys.digest("k"), scopes=("metrics",), created="")])
    app = gateway.build(FakeEngine("tiny", 250), Serve(), ring)

    async def scrape() -> str:
        async with connect(app, "k") as client:
            await client.get("/metrics")
            return (await client.get("/metrics")).text

    text = asyncio.run(scrape())
    (guarded,) = GuardFindings(Counter({("in", "email", "redact"): 1})).collect()
    return {*re.findall(r"^([a-zA-Z_:][a-zA-Z_:0-9]*)", text, re.MULTILINE), *(at.name for at in guarded.samples), "up"}


def test_every_name_on_the_dashboard_is_exported(dashboard: dict[str, Any], exported: set[str]) -> None:
    words = {"sum", "rate", "by", "le", "min", "or", "vector", "clamp_min", "histogram_quantile"}
    found = set()
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            bare = re.sub(r"\{[^}]*\}|\[[^]]*\]|\bby \([^)]*\)|(?<![a-zA-Z_:\d])\d[\d.e-]*", " ", target["expr"])
            found |= set(re.findall(r"[a-zA-Z_:][a-zA-Z_:0-9]*", bare)) - words
    assert "vllm:time_to_first_token_seconds_bucket" in found
    missing = found - exported - {"solotune:log_lines_dropped"}  # that one is there where there is a log
    assert not missing


def test_panels_do_not_overlap_and_have_ids_of_their_own(dashboard: dict[str, Any]) -> None:
    cells: Counter[tuple[int, int]] = Counter()
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells.update((x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"]))
    assert max(cells.values()) == 1
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_the_dashboard_finds_the_source_that_is_provisioned(dashboard: dict[str, Any]) -> None:
    (source,) = load("grafana/provisioning/datasources/prometheus.yaml")["datasources"]
    assert dashboard["templating"]["list"][0]["current"]["value"] == source["uid"]
    (provider,) = load("grafana/provisioning/dashboards/solotune.yaml")["providers"]
    mounts = load("compose.yaml")["services"]["grafana"]["volumes"]
    assert f"./grafana/dashboards:{provider['options']['path']}:ro" in mounts


def test_compose_publishes_on_this_machine_alone_and_mounts_what_exists() -> None:
    services = load("compose.yaml")["services"]
    assert set(services) == {"solotune", "prometheus", "grafana"}
    for service in services.values():
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        for mount in service["volumes"]:
            source = mount.split(":")[0]
            if source.startswith("./") and source != "./config.yaml":  # the user's own
                assert (DEPLOY / source).exists(), source
    assert services["solotune"]["build"]["args"]["DEVICE"] == "cpu"
    assert load("compose.cuda.yaml")["services"]["solotune"]["build"]["args"]["DEVICE"] == "cuda"


def test_prometheus_asks_with_the_key_that_compose_mounts() -> None:
    (job,) = load("prometheus.yaml")["scrape_configs"]
    services = load("compose.yaml")["services"]
    (secret,) = services["prometheus"]["secrets"]
    assert job["authorization"] == {"type": "Bearer", "credentials_file": f"/run/secrets/{secret}"}
    (target,) = job["static_configs"][0]["targets"]
    assert target == f"solotune:{services['solotune']['ports'][0].split(':')[-1]}"
    assert job.get("metrics_path", "/metrics") == "/metrics"


def test_the_object_store_fits_into_the_container_s_shared_memory() -> None:
    service = load("compose.yaml")["services"]["solotune"]
    most = int(service["environment"]["RAY_DEFAULT_OBJECT_STORE_MAX_MEMORY_BYTES"])
    assert most < int(service["shm_size"].removesuffix("gb")) << 30  # or Ray puts it under /tmp


def test_the_proxies_leave_limits_to_the_service() -> None:
    deadline = Serve().deadline
    nginx, caddy = ((DEPLOY / name).read_text(encoding="utf-8") for name in ("nginx.conf", "Caddyfile"))
    for limit in (r"proxy_read_timeout (\d+)s;", r"response_header_timeout (\d+)s"):
        (seconds,) = re.findall(limit, nginx + caddy)
        assert int(seconds) > deadline
    assert "client_max_body_size 0;" in nginx
    assert "max_size" not in caddy
    for page in ("/metrics", "/playground"):
        assert re.search(rf"location = {page} +{{ return 404; }}", nginx)
        assert re.search(rf"^\t@inside path .*{page}\b", caddy, re.MULTILINE)


def test_the_dockerfile_copies_what_there_is() -> None:
    text = (ROOT / "Dockerfile").read_text()
    stages = re.findall(r"^FROM (\S+) AS (\S+)", text, re.MULTILINE)
    assert [name for _, name in stages] == ["base", "cpu", "cuda", "service"]
    assert stages[-1][0] == "${DEVICE}"
    assert {source for source, _ in stages[1:3]} == {"base"}
    kept = re.findall(r"^!(\S+)", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    assert all((ROOT / name).exists() for name in kept)
    assert {"pipeline", "serve_app", "jobs", "assets", "pyproject.toml", "requirements.lock"} <= set(kept)
    user = text.index("USER solotune")
    assert user < text.index("ENTRYPOINT")
    assert "pip install" not in text[user:]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / "solotune.service"
    text = (DEPLOY / "solotune.service").read_text()
    unit.write_text(text.replace("/opt/solotune/.venv/bin/python", "/bin/sh"))
    done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
    ours = [line for line in done.stderr.splitlines() if "solotune" in line]
    assert (done.returncode, ours) == (0, [])
    assert "KillMode=mixed" in text  # or systemd ends Ray before the service could finish its answers
