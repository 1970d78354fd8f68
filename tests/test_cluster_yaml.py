"""cluster.yaml against Ray's own schema, preparation and command line."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def raw() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "cluster.yaml").read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def prepared(raw: dict[str, Any]) -> dict[str, Any]:
    """What `ray up` makes of the file before it touches a machine."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = prepare_config(raw)
    validate_config(config)
    return dict(config)


def starts(config: dict[str, Any]) -> dict[str, list[str]]:
    """Returns the words after `ray start` of head and workers."""
    found = {}
    for name in ("head", "worker"):
        commands = config[f"{name}_start_ray_commands"]
        assert commands[0].endswith("ray stop")
        (start,) = (command for command in commands if "ray start" in command)
        assert "RAY_AUTH_MODE=token" in start.split("ray start")[0]
        found[name] = shlex.split(start.split("ray start")[1])
    return found


def test_every_machine_stays_in_the_cluster(prepared: dict[str, Any]) -> None:
    (kind,) = prepared["available_node_types"].values()
    machines = len(prepared["provider"]["worker_ips"])
    assert (kind["min_workers"], kind["max_workers"], prepared["max_workers"]) == (machines, machines, machines)


def test_ray_knows_every_option_of_the_start_commands(prepared: dict[str, Any]) -> None:
    from ray.scripts.scripts import start

    for name, words in starts(prepared).items():
        options = start.make_context("start", words).params  # raises for an option that there is not
        assert options["head"] == (name == "head")
        assert options["disable_usage_stats"]
    assert start.make_context("start", starts(prepared)["head"]).params["dashboard_host"] == "127.0.0.1"


def test_ports_are_fixed_the_same_on_all_machines_and_documented(prepared: dict[str, Any]) -> None:
    ports = {
        name: {word for word in words if word.startswith("--") and "port=" in word}
        for name, words in starts(prepared).items()
    }
    assert ports["worker"] <= ports["head"]
    numbers = [int(word.rsplit("=", 1)[1]) for word in ports["head"]]
    assert len(numbers) == len(set(numbers)) == 11
    assert all(6379 <= n <= 6389 or 10002 <= n <= 10999 or n == 8265 for n in numbers)
    assert "6379-6389, 10002-10999" in (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")


def test_the_token_is_on_every_machine_and_in_no_file(raw: dict[str, Any]) -> None:
    assert raw["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert "chmod 600 ~/.ray/auth_token" in raw["setup_commands"]
    assert ".venv" in raw["rsync_exclude"]
