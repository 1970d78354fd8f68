"""The life of the service on a cluster: start, update, stop, and the file that `serve deploy` takes.

Output contract: `start` returns once the service has answered a real request over HTTP, with a key made for it and
taken away again. An update keeps URL and keys; when the new model does not start, the old one is put back and the error
raised. `stop` lets running answers end, and ends Ray Serve where nothing else uses it.
This module starts no Ray; `app` sizes the deployment.
"""

# No `from __future__ import annotations` here: Ray Serve reads the annotations of `application`.

import logging
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from pipeline import config
from pipeline.config import Project
from pipeline.errors import SolotuneError, UserError
from pipeline.run import Run
from pipeline.storage import write_whole
from serve_app import app, keys

Served = tuple[Project, Run, Path]  # what, from where, for whose keys


def served() -> Served | None:
    """Returns what this cluster serves, None where it serves nothing."""
    from ray import serve

    if not app.deployed():
        return None
    try:
        about: Served = serve.get_app_handle(app.NAME).about.remote().result(timeout_s=10)
    except (RuntimeError, TimeoutError):  # it never started, or is broken: there is nothing to go back to
        return None
    return about


def start(project: Project, run: Run, store: Path | None, console: Console) -> None:
    """Deploys, or replaces what is deployed. `store` is the file of keys, by default that of the run."""
    store = store or run.local(keys.STORE)
    plain = run.local(keys.PLAIN)
    made = keys.first(store, plain)
    url = app.deploy(project, run, store)
    _tell(project, run, store, url, console)
    if made:  # what a job prints is kept in logs: the file's name is among it, the key is not
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
    """Replaces the model that is served; keys are those in use unless `store` names others.

    Raises `UserError` when nothing is served, and what kept the new model from starting, once the old one is back.
    """
    before = served()
    if before is None:
        raise UserError("nothing is served on this cluster: leave --update out to start the service")
    store = store or before[2]
    try:
        url = app.deploy(project, run, store)
    except SolotuneError:
        console.print(f"{run.uri} cannot be served: putting back {before[1].uri}")
        app.deploy(*before)
        raise
    _tell(project, run, store, url, console)


def _tell(project: Project, run: Run, store: Path, url: str, console: Console) -> None:
    with keys.passing(store, ["chat"]) as key:
        answer = app.ask(url, key, project.name)
    run.write_json("serve/endpoint.json", {"url": url, "model": project.name})
    console.print(f"serve: {project.name} at {url}/v1")
    console.print(f"probe: {answer['usage']['completion_tokens']} token generated in {answer['seconds']:.2f} s")
    if project.serve.playground:
        console.print(f"playground: {url}/playground")


def stop(console: Console, ray_stays: bool = True) -> None:
    """Ends the service, and Ray Serve on a Ray that stays, where nothing else uses it; raises `UserError` where nothing
    is served. A Ray that ends now takes Serve along, without a word about Serve's controller."""
    from ray import serve

    if not app.deployed():
        raise UserError("nothing is served on this cluster")
    logging.getLogger("ray.serve").setLevel(logging.WARNING)  # it says what is said here
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

    The run folder and the package must be found on the cluster, at the same path as here.
    """
    store = store or run.local(keys.STORE)
    keys.first(store, run.local(keys.PLAIN))
    made = {
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
    text = "# Made by `python -m jobs.serve --write`, for `serve deploy`.\n" + yaml.safe_dump(made, sort_keys=False)
    write_whole(target, text.encode())
