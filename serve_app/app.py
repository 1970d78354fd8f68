"""The service on Ray Serve: one deployment of one replica, which holds engine and gateway and listens itself.

With the engine `ray_llm` the model is a deployment of its own, without a port, and the gateway holds its handle.
Output contract: `deploy` returns the base URL once the replica answers over HTTP. Requests come straight to the
replica, on the cluster's head node; Serve starts it, watches it, replaces it and ends it. Serve's controller is
detached: the service outlives the job that deployed it and ends with the cluster.
This module routes nothing and makes no keys.
"""

# No `from __future__ import annotations` here: Ray Serve reads the annotations of a deployment.

import gc
import json
import logging
import re
import time
import urllib.request
from pathlib import Path
from typing import Any

from pipeline import errors
from pipeline.config import Project
from pipeline.errors import IntegrityError, SolotuneError, UserError
from pipeline.run import Run
from serve_app.http import listener

NAME = "solotune"
LOG = "serve/log"  # in the run folder: the log of requests
LOCAL = ("hf", "vllm", "gguf")  # engines that run the model in the replica's machine
HEAD = "node:__internal_head__"  # the resource by which Ray marks the head node
ENDING = 15.0  # seconds beyond `serve.drain` until Serve kills a replica: the engine, too, must end


class Gateway:
    """The replica: the port, the engine, and the ASGI application between them."""

    async def __init__(self, project: Project, run: Run, store: Path, model: Any = None) -> None:  # type: ignore[misc]
        from pipeline.screen.pii.pseudonyms import key_of
        from serve_app.engines.load import load
        from serve_app.generation.guard import Guard
        from serve_app.http import gateway
        from serve_app.keys import KeyFile
        from serve_app.observe.request_log import LogWriter

        settings = project.serve
        self.project, self.run, self.store = project, run, store
        port = listener.bind(settings.host, settings.port, listener.PATIENCE)
        try:
            self.log_writer = LogWriter(run.local(LOG), settings.log.megabytes << 20, settings.log.keep)
            self.engine = load(project, run, model)
            guard = Guard(project, key_of(project.curate.pii, run) if Guard.needs_key(project) else None)
            app = gateway.build(self.engine, settings, KeyFile(store), self.log_writer, guard)
            gc.collect()
            gc.freeze()  # the garbage collector's passes over loaded modules cost a third of a request
            self.listener = listener.Listener(app, port, settings.drain)
        except BaseException:
            port.close()  # the process may live on: waiting clients are refused now
            raise

    def about(self) -> tuple[Project, Run, Path]:
        """Returns the served project and run, and the file of its keys."""
        return self.project, self.run, self.store

    async def check_health(self) -> None:
        """Raises when the replica must be replaced: its server has ended, or its own engine has failed."""
        if not self.listener.alive:
            raise IntegrityError("the HTTP server has ended")
        if self.project.serve.engine in LOCAL:  # a new replica does not mend a model elsewhere
            await self.engine.check()

    async def __del__(self) -> None:
        """Ends the replica; called by Serve."""
        try:
            await self.listener.stop()
        finally:
            await self.engine.stop()
            self.log_writer.close()


def build(project: Project, run: Run, store: Path) -> Any:
    """Returns the Serve application for a run's merged model, sized for the head of the connected cluster.

    `store` is the file of API keys. On a GPU the engine needs one core; without one it gets half of the head's.
    A model in a deployment of its own has the card, and the gateway one core. Raises `UserError`
    when the cluster's GPU is not on its head.
    """
    import ray
    from ray import serve

    from serve_app.engines import ray_llm

    (head,) = [node["Resources"] for node in ray.nodes() if node["Alive"] and HEAD in node["Resources"]]
    local = project.serve.engine in LOCAL
    gpu = 1 if local and head.get("GPU", 0) >= 1 else 0
    anywhere = ray.cluster_resources().get("GPU", 0) >= 1
    if local and not gpu and anywhere:
        raise UserError("this cluster's GPU is not on its head node, where the service runs: start Ray's head there")
    model = () if project.serve.engine != "ray_llm" else (ray_llm.deployment(project, run, anywhere),)
    cores = int(head.get("CPU", 0))
    deployment = serve.deployment(
        Gateway,
        name="Gateway",
        ray_actor_options={
            "num_gpus": gpu,
            "num_cpus": min(cores, 1 if gpu or model else max(1, cores // 2)),
            "resources": {HEAD: 0.001},
        },
        health_check_period_s=3,  # by default 10: the time until a dead replica is noticed
        graceful_shutdown_wait_loop_s=0.1,  # Serve sees none of the requests
        graceful_shutdown_timeout_s=project.serve.drain + ENDING,
    )
    return deployment.bind(project, run, store, *model)


def deploy(project: Project, run: Run, store: Path) -> str:
    """Deploys the service, or replaces it; returns the base URL when it answers.

    Raises `UserError` when the port is taken, and `IntegrityError` when the replica cannot start.
    """
    from ray import serve

    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    host, port = project.serve.host, project.serve.port
    if not deployed():
        listener.bind(host, port).close()  # a port in use is reported before a replica starts
    if not serving():
        serve.start(proxy_location="Disabled", logging_config={"log_level": "WARNING"})
    try:
        serve.run(build(project, run, store), name=NAME, route_prefix=None, blocking=False)
    except RuntimeError as error:
        deployments = serve.status().applications[NAME].deployments.values()
        raise _cause("\n".join(str(one.message) for one in deployments)) from error
    url = f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}"
    get(f"{url}/health")
    return url


def _cause(message: str) -> SolotuneError:
    """Returns the error that kept the replica from starting, from Serve's text of its traceback."""
    ours = re.findall(r"pipeline\.errors\.(\w+): (.+)", message)
    kind = getattr(errors, ours[-1][0]) if ours else IntegrityError
    return kind(ours[-1][1] if ours else f"the service did not start: {message}")


def serving() -> bool:
    """Whether this cluster runs Ray Serve."""
    import ray

    return any(actor["name"] == "SERVE_CONTROLLER_ACTOR" for actor in ray.util.list_named_actors(all_namespaces=True))


def deployed() -> bool:
    """Whether this cluster runs the service, working or not."""
    from ray import serve

    return serving() and NAME in serve.status().applications


def get(url: str, key: str | None = None, body: dict[str, Any] | None = None) -> Any:
    """Returns the JSON of a response of the service, asked without any proxy of the environment.

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
    """Generates one token over HTTP; returns the completion with its `seconds`."""
    started = time.monotonic()
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1}
    return {**get(f"{url}/v1/chat/completions", key, body), "seconds": time.monotonic() - started}
