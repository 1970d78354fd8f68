"""The gateway's HTTP port: a listening socket, and the ASGI server (uvicorn) on it.

Output contract: `bind` takes the port before the model is loaded: connections wait in the kernel's queue instead of
being refused, and a port in use is reported at once. `Listener.stop` closes the port, lets running answers end and cuts
those beyond their time. The application's headers stay as they are.
This module knows no routes, no engine and no Ray.
"""

from __future__ import annotations

import asyncio
import errno
import math
import socket
import time
from typing import TYPE_CHECKING

from starlette.types import ASGIApp

from pipeline.errors import UserError

if TYPE_CHECKING:
    import uvicorn

BACKLOG = 2048  # connections that may wait to be accepted; Linux takes at most net.core.somaxconn (4096)
KEEP_ALIVE = 130  # seconds of a silent connection: longer than clients (5 to 15), nginx (60) and Caddy (120)
PATIENCE = 15.0  # seconds until the port of a killed replica is certainly free
CUT = 5.0  # seconds that cancelled answers get to end


def bind(host: str, port: int, patience: float = 0.0) -> socket.socket:
    """Returns a listening socket; raises `UserError` when the port is still taken after `patience` seconds."""
    end = time.monotonic() + patience
    while True:
        listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # earlier connections may be in TIME_WAIT
        try:
            listening.bind((host, port))
            listening.listen(BACKLOG)
            return listening
        except OSError as error:
            listening.close()
            if error.errno != errno.EADDRINUSE or time.monotonic() >= end:
                raise UserError(f"cannot listen on {host}:{port}: {error.strerror}. Set `serve.port`") from error
        time.sleep(0.1)


class Listener:
    """Serves an application on a listening socket, in the running event loop. `drain`: see `stop`."""

    def __init__(self, app: ASGIApp, on: socket.socket, drain: float) -> None:
        import uvicorn

        from serve_app.http.protocol import Protocol

        config = uvicorn.Config(
            app,
            lifespan="off",
            http=Protocol,
            ws="none",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            backlog=BACKLOG,
            timeout_keep_alive=KEEP_ALIVE,
            timeout_graceful_shutdown=math.ceil(drain),
        )
        self._server: uvicorn.Server = uvicorn.Server(config)
        self._serving = asyncio.get_running_loop().create_task(self._server.serve([on]))

    @property
    def alive(self) -> bool:
        """Whether the server still runs."""
        return not self._serving.done()

    async def stop(self) -> None:
        """Closes the port; returns when running answers have ended, which are cut after `drain` seconds."""
        self._server.should_exit = True
        await asyncio.wait({self._serving})
        async with asyncio.timeout(CUT):
            while self._server.server_state.tasks:
                await asyncio.sleep(0.02)
