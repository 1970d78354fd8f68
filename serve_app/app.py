"""The service on Ray Serve: one deployment, the engine inside the gateway's replica (`single` topology).

Output contract: `deploy` returns the base URL once the replica has generated a token and answers over HTTP. Serve's
controller is detached: the service outlives the job that deployed it and ends with the cluster.
This module routes nothing and makes no keys.
"""

# No `from __future__ import annotations` here: Ray Serve's typed builder and FastAPI read annotations.

import json
import logging
import re
import socket
import time
import urllib.request
from pathlib import Path
from typing import Any

from pipeline import errors
from pipeline.config import Project
from pipeline.errors import IntegrityError, SolotuneError, UserError
from pipeline.run import Run
from serve_app.limits import Admission

NAME = "solotune"
LOG = "serve/log"  # in the run folder: the log of requests
LOCAL = ("hf", "vllm", "gguf")  # engines that run the model themselves
SPARE = 256  # requests that may be on their way through the replica beside the admitted ones, to be answered 429


class Gateway:
    """The replica: an engine, and the ASGI application that Serve sends requests to."""

    def __init__(self, project: Project, run: Run, store: Path) -> None:
        from pipeline.screen.pseudonyms import key_of
        from serve_app.engines.load import load
        from serve_app.guard import Guard
        from serve_app.journal import Journal
        from serve_app.keys import KeyFile

        self.project, self.run, self.store, self.settings = project, run, store, project.serve
        self.keyring = KeyFile(store)
        self.journal = Journal(run.local(LOG), project.serve.log.megabytes << 20, project.serve.log.keep)
        self.engine = load(project, run)
        self.guard = Guard(project, key_of(project.curate.pii, run) if Guard.needs_key(project) else None)
        self.admission: Admission | None = None

    def __serve_build_asgi_app__(self) -> Any:
        from serve_app import gateway

        app = gateway.build(self.engine, self.settings, self.keyring, self.journal, self.guard, proxied=True)
        self.admission = app.state.admission
        return app

    def about(self) -> tuple[Project, Run, Path]:
        """Returns what is being served, and the file of its keys."""
        return self.project, self.run, self.store

    async def check_health(self) -> None:
        await self.engine.check()

    async def __del__(self) -> None:
        """Serve calls this once it sends the replica nothing more: running answers are finished first."""
        if self.admission is not None:
            await self.admission.drain(self.settings.drain)
        await self.engine.stop()
        self.journal.close()


def build(project: Project, run: Run, store: Path) -> Any:
    """Returns the Serve application for a run's merged model, sized for the cluster that this process is connected to.

    `store` is the file of API keys. On a GPU the engine needs one core; without one it gets half
    of them, and torch as many threads.
    """
    import ray
    from ray import serve

    resources = ray.cluster_resources()
    gpu = 1 if resources.get("GPU", 0) >= 1 and project.serve.engine in LOCAL else 0
    limit = project.serve.concurrency + project.serve.queue
    deployment = serve.deployment(
        serve.ingress()(Gateway),
        name="Gateway",
        ray_actor_options={"num_gpus": gpu, "num_cpus": 1 if gpu else max(1, int(resources.get("CPU", 1)) // 2)},
        max_ongoing_requests=limit + SPARE,
        graceful_shutdown_timeout_s=project.serve.drain,
    )
    return deployment.bind(project, run, store)


def deploy(project: Project, run: Run, store: Path) -> str:
    """Deploys, or replaces what is deployed; returns the base URL when the service answers.

    Raises `UserError` when the port is taken, and `IntegrityError` when the replica cannot start.
    """
    from ray import serve

    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    host, port = project.serve.host, project.serve.port
    if not serving():
        _require_free(host, port)
        serve.start(http_options={"host": host, "port": port}, logging_config={"log_level": "WARNING"})
    try:
        serve.run(build(project, run, store), name=NAME, route_prefix="/", blocking=False)
    except RuntimeError as error:
        raise _cause(str(serve.status().applications[NAME].deployments["Gateway"].message)) from error
    url = f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}"
    try:
        get(f"{url}/health")
    except IntegrityError as error:
        raise UserError(f"{error}: this cluster's Ray Serve listens elsewhere already, start a new cluster") from error
    return url


def _cause(message: str) -> SolotuneError:
    """Returns what kept the replica from starting: Serve hands over the text of the traceback, not the exception."""
    ours = re.findall(r"pipeline\.errors\.(\w+): (.+)", message)
    kind = getattr(errors, ours[-1][0]) if ours else IntegrityError
    return kind(ours[-1][1] if ours else f"the service did not start: {message}")


def serving() -> bool:
    """Tells whether this cluster runs Ray Serve."""
    import ray

    return any(actor["name"] == "SERVE_CONTROLLER_ACTOR" for actor in ray.util.list_named_actors(all_namespaces=True))


def _require_free(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise UserError(f"cannot listen on {host}:{port}: {error.strerror}. Set `serve.port`") from error


def get(url: str, key: str | None = None, body: dict[str, Any] | None = None) -> Any:
    """Asks the service directly, past any proxy of the environment; returns its JSON.

    Raises `IntegrityError` for any answer but 200.
    """
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    data = None if body is None else json.dumps(body).encode()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(urllib.request.Request(url, data, headers), timeout=120) as response:
            return json.load(response)
    except (OSError, ValueError) as error:
        raise IntegrityError(f"{url} does not answer: {error}") from error


def ask(url: str, key: str, model: str) -> dict[str, Any]:
    """Has one token generated over HTTP; returns the completion with the `seconds` it took."""
    started = time.monotonic()
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1}
    return {**get(f"{url}/v1/chat/completions", key, body), "seconds": time.monotonic() - started}
