"""The life of the service without Ray: the file for `serve deploy`, an update that goes back, the command line."""

from __future__ import annotations

import io
import stat
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from rich.console import Console

import jobs
from jobs import Job
from jobs import serve as job
from pipeline import job_log
from pipeline.errors import IntegrityError, UserError
from pipeline.run import Run
from serve_app import app, deploy, keys
from tests.serve_app.conftest import make_project

pytestmark = pytest.mark.filterwarnings(
    "ignore:Using extra keyword arguments on .Field.:DeprecationWarning:ray.serve._private.config"
)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.open(str(tmp_path / "run"))


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=200, highlight=False)


def said(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was deployed, in order; a run whose name ends in `bad` does not start. Every probe is answered."""
    deployed: list[Any] = []

    def start(project: Any, run: Run, store: Path) -> str:
        deployed.append((project, run, store))
        if run.uri.endswith("bad"):
            raise IntegrityError("it does not start")
        return "http://127.0.0.1:8000"

    def ask(url: str, key: str, model: str) -> dict[str, Any]:
        found = keys.KeyFile(deployed[-1][2]).find(key)
        assert found is not None
        assert found.scopes == ("chat",)
        return {"usage": {"completion_tokens": 1}, "seconds": 0.5}

    monkeypatch.setattr(app, "deploy", start)
    monkeypatch.setattr(app, "ask", ask)
    monkeypatch.setattr(deploy, "served", lambda: deployed[-1] if deployed else None)
    return deployed


def test_the_file_is_one_that_serve_deploy_takes(run: Run, tmp_path: Path) -> None:
    from ray.serve.schema import ServeDeploySchema

    project = make_project(port=8123)
    target = tmp_path / "deploy.yaml"
    deploy.write(project, run, None, target)
    made = ServeDeploySchema.model_validate(yaml.safe_load(target.read_text()))
    assert made.proxy_location == "Disabled"
    (application,) = made.applications
    module, _, name = application.import_path.partition(":")
    assert (module, name) == ("serve_app.deploy", "application")
    assert application.route_prefix is None
    assert getattr(deploy, name) is deploy.application
    assert application.args == {"run": run.uri, "keys": str(run.local(keys.STORE))}
    assert len(keys.read(run.local(keys.STORE))) == 1
    assert run.local(keys.PLAIN).read_text() not in target.read_text()


def test_a_start_probes_and_tells_where_the_first_key_is(run: Run, console: Console, cluster: list[Any]) -> None:
    deploy.start(make_project(playground=True), run, None, console)
    assert f"API key: in {run.local(keys.PLAIN)}, for its owner alone" in said(console)
    assert "probe: 1 token generated in 0.50 s" in said(console)
    assert "playground: http://127.0.0.1:8000/playground" in said(console)
    assert len(keys.read(run.local(keys.STORE))) == 1  # the probe's is gone
    assert run.read_json("serve/endpoint.json") == {"url": "http://127.0.0.1:8000", "model": "tiny"}
    again = Console(file=io.StringIO(), width=200)
    run.local(keys.PLAIN).unlink()
    deploy.start(make_project(), run, None, again)
    assert "API key: " not in said(again)
    assert "probe: 1 token" in said(again)


def test_no_key_is_shown_or_kept_in_a_log(
    run: Run, cluster: list[Any], capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    shown = jobs.console()
    with job_log.kept(run, "serve", shown):
        deploy.start(make_project(), run, None, shown)
        deploy.update(make_project(), run, None, shown)
        deploy.write(make_project(), run, None, tmp_path / "deploy.yaml")
    printed, errors = capfd.readouterr()
    (log,) = run.local("logs").iterdir()
    kept = pa.input_stream(str(log), compression="zstd").read().decode()
    assert "API key: in " in kept
    for text in (kept, printed, errors):
        assert keys.PREFIX not in text
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_an_update_keeps_the_keys(run: Run, tmp_path: Path, console: Console, cluster: list[Any]) -> None:
    project, store = make_project(), run.local(keys.STORE)
    deploy.start(project, run, None, console)
    new = Run.open(str(tmp_path / "new"))
    deploy.update(project, new, None, console)
    assert cluster[-1] == (project, new, store)
    assert not new.local(keys.STORE).exists()


def test_an_update_that_fails_puts_the_old_model_back(
    run: Run, tmp_path: Path, console: Console, cluster: list[Any]
) -> None:
    project = make_project()
    deploy.start(project, run, None, console)
    with pytest.raises(IntegrityError, match="does not start"):
        deploy.update(project, Run.open(str(tmp_path / "bad")), None, console)
    assert cluster[-1] == cluster[0] == (project, run, run.local(keys.STORE))
    assert "putting back" in said(console)


def test_an_update_needs_something_to_update(run: Run, console: Console, cluster: list[Any]) -> None:
    with pytest.raises(UserError, match="leave --update out"):
        deploy.update(make_project(), run, None, console)
    assert not cluster


OPTIONS = {"keys": None, "update": False, "stop": False, "write": None}


@pytest.mark.parametrize(
    ("options", "expected"), [({}, "start"), ({"update": True}, "update"), ({"stop": True}, "stop")]
)
def test_the_job_does_one_thing(
    exported: Run, console: Console, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], expected: str
) -> None:
    called: list[str] = []
    for name in ("start", "update", "stop"):
        monkeypatch.setattr(deploy, name, lambda *_, name=name, **__: called.append(name))
    monkeypatch.setattr(job, "start_ray", lambda: called.append("ray"))
    monkeypatch.setenv("RAY_JOB_ID", "01000000")
    job.serve(Job(make_project(), exported, (), console, options={**OPTIONS, **options}))
    assert called == ["ray", expected]


@pytest.mark.parametrize(
    ("head", "engine", "gpus", "cpus"),
    [
        ({"CPU": 16, "GPU": 1}, "vllm", 1, 1),
        ({"CPU": 16, "GPU": 1}, "url", 0, 8),
        ({"CPU": 2}, "hf", 0, 1),
        ({"GPU": 1}, "hf", 1, 0),  # a head that lends no cores
    ],
)
def test_the_replica_is_on_the_head(
    run: Run, monkeypatch: pytest.MonkeyPatch, head: dict[str, float], engine: str, gpus: int, cpus: int
) -> None:
    deployment = built(monkeypatch, run, head, {"CPU": 64.0}, engine, drain=30)
    options = deployment.ray_actor_options
    assert (options["num_gpus"], options["num_cpus"], options["resources"]) == (gpus, cpus, {app.HEAD: 0.001})
    assert deployment.num_replicas == 1
    assert deployment._deployment_config.graceful_shutdown_timeout_s > 30 + 5  # Serve does not cut what we let end


def test_a_gpu_on_another_node_is_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="GPU is not on its head"):
        built(monkeypatch, run, {"CPU": 16}, {"CPU": 16, "GPU": 1}, "vllm")
    assert built(monkeypatch, run, {"CPU": 16}, {"CPU": 16, "GPU": 1}, "url").ray_actor_options["num_gpus"] == 0


def built(
    monkeypatch: pytest.MonkeyPatch,
    run: Run,
    head: dict[str, float],
    worker: dict[str, float],
    engine: str,
    **more: Any,
) -> Any:
    """Returns what is deployed on a cluster of a head and a worker with these resources."""
    import ray

    nodes = [{"Alive": True, "Resources": worker}, {"Alive": True, "Resources": {**head, app.HEAD: 1.0}}]
    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"GPU": head.get("GPU", 0) + worker.get("GPU", 0)})
    upstream = {"url": {"base_url": "http://127.0.0.1:1/v1", "model": "m"}} if engine == "url" else {}
    made = app.build(make_project(engine=engine, **upstream, **more), run, run.local(keys.STORE))
    return made._bound_deployment
