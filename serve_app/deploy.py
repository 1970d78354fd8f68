"""The life of the service on a cluster: start, update, stop, and the file for `serve deploy`.

Output contract: `start` returns once the service has answered a real request over HTTP, with a temporary key. An update
keeps URL and keys; when the new model does not start, the old one is put back and the error raised. `stop` lets running
answers end, and ends Ray Serve where nothing else uses it.
This module starts no Ray; `app` sizes the deployment.
"""

# No `from __future__ import annotations` here: Ray Serve reads the annotations of `application`.

import logging
from pathlib import Path
from typing import Any, cast

import yaml
from rich.console import Console

from pipeline import config
from pipeline.config import Project
from pipeline.errors import SolotuneError, UserError
from pipeline.run import Run
from pipeline.storage import write_whole
from serve_app import app, keys

Served = tuple[Project, Run, Path]  # project, run, file of keys


def served() -> Served | None:
    """Returns the project, run and keys that this cluster serves, None without a working service."""
    from ray import serve

    if not app.deployed():
        return None
    try:
        return cast(Served, serve.get_app_handle(app.NAME).about.remote().result(timeout_s=10))
    except (RuntimeError, TimeoutError):  # it never started, or is broken: there is nothing to go back to
        return None


def start(project: Project, run: Run, store: Path | None, console: Console) -> None:
    """Deploys the service, or replaces it. `store` is the file of keys, by default that of the run."""
    store = store or run.local(keys.STORE)
    plain = run.local(keys.PLAIN)
    is_new = keys.first(store, plain)
    url = app.deploy(project, run, store)
    _report(project, run, store, url, console)
    if is_new:  # logs keep the output of a job: it holds the file's name, not the key
        text = f"API key: in {plain}, for its owner alone: delete that file once the key is stored elsewhere"
    else:
        text = f"API keys: {store}; for one more: python -m jobs.keys --file {store} make NAME --scopes chat"
    console.print(text, soft_wrap=True, markup=False)
    ask = f'{{"model": "{project.name}", "messages": [{{"role": "user", "content": "Hello"}}]}}'
    console.print(
        f'curl {url}/v1/chat/completions -H "Authorization: Bearer $(cat {plain})" '
        f"-H 'Content-Type: application/json' -d '{ask}'",
        soft_wrap=True,
        markup=False,
    )


def update(project: Project, run: Run, store: Path | None, console: Console) -> None:
    """Replaces the served model; its keys stay unless `store` names others.

    Raises `UserError` when nothing is served, and the new model's error once the old model is back.
    """
    before = served()
    if before is None:
        raise UserError("nothing is served on this cluster: leave --update out to start the service")
    store = store or before[2]
    try:
        url = app.deploy(project, run, store)
    except SolotuneError:
        console.print(f"{run.uri} cannot be served: putting back {before[1].uri}", markup=False)
        app.deploy(*before)
        raise
    _report(project, run, store, url, console)


def _report(project: Project, run: Run, store: Path, url: str, console: Console) -> None:
    with keys.passing(store, ["chat"]) as key:
        answer = app.ask(url, key, project.name)
    run.write_json("serve/endpoint.json", {"url": url, "model": project.name})
    console.print(f"serve: {project.name} at {url}/v1", markup=False)
    text = f"probe: {answer['usage']['completion_tokens']} token generated in {answer['seconds']:.2f} s"
    console.print(text, markup=False)
    if project.serve.playground:
        console.print(f"playground: {url}/playground", markup=False)


def stop(console: Console, ray_stays: bool = True) -> None:
    """Ends the service, and on a Ray that stays an unused Ray Serve; a Ray that ends now takes Serve along.

    Raises `UserError` when nothing is served.
    """
    from ray import serve

    if not app.deployed():
        raise UserError("nothing is served on this cluster")
    logging.getLogger("ray.serve").setLevel(logging.WARNING)  # its lines repeat ours
    serve.delete(app.NAME)
    if ray_stays and not serve.status().applications:
        serve.shutdown()
    console.print("serve: stopped")


def application(args: dict[str, str]) -> Any:
    """Builds the application for `serve deploy`, on the cluster: `run` is the run folder, `keys` the file of keys."""
    project = config.load(str(Path(args["run"]) / "config.yaml"))
    return app.build(project, Run.open(args["run"], make=False), Path(args["keys"]))


def write(project: Project, run: Run, store: Path | None, target: Path) -> None:
    """Writes a file for `serve deploy` and `serve run`, and makes the first key where there is none.

    The run folder and the package must lie on the cluster at the same path as here.
    """
    store = store or run.local(keys.STORE)
    keys.first(store, run.local(keys.PLAIN))
    document = {
        "proxy_location": "Disabled",  # the service listens itself
        "logging_config": {"log_level": "WARNING"},
        "applications": [
            {
                "name": app.NAME,
                "route_prefix": None,
                "import_path": f"{application.__module__}:{application.__name__}",
                "args": {"run": str(run.local()), "keys": str(store)},
            }
        ],
    }
    text = "# Made by `python -m jobs.serve --write`, for `serve deploy`.\n" + yaml.safe_dump(document, sort_keys=False)
    write_whole(target, text.encode())
