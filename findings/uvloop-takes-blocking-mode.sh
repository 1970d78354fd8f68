#!/usr/bin/env bash
# uvloop makes a watched descriptor non-blocking and leaves it so; asyncio does not touch it.
#
# Version: uvloop 0.23.0
# Seen:    after `loop.add_reader(connection.fileno(), ...)` on a `multiprocessing.Pipe`, `os.get_blocking` is False,
#          and stays False after `remove_reader`. `send_bytes` of 5 MB, more than the pipe's buffer, then raises
#          BlockingIOError with a part of the message sent. With asyncio's own loop the same code sends all of it.
# Matters: code that watches a pipe to another process works under asyncio and in tests with small messages, and fails
#          under servers that run uvloop (uvicorn chooses it when it is installed). `os.set_blocking(fd, True)` after
#          `add_reader` gives the mode back; a thread that reads needs no watching.
set -euo pipefail

packages=$(mktemp -d)
trap 'rm -rf "$packages"' EXIT
cd "$packages"
python3 -m pip install -qq --target . uvloop==0.23.0

python3 - <<'PYTHON'
import asyncio
import multiprocessing
import os
import sys
import threading

import uvloop

MESSAGE = b"x" * 5_000_000


def receive(connection):
    try:
        connection.recv_bytes()
    except (EOFError, OSError):  # the sender gave up and closed its end
        pass


async def send():
    near, far = multiprocessing.Pipe()
    reader = threading.Thread(target=receive, args=[far])
    reader.start()
    loop = asyncio.get_running_loop()
    loop.add_reader(near.fileno(), lambda: None)
    loop.remove_reader(near.fileno())
    blocking = os.get_blocking(near.fileno())
    try:
        await asyncio.to_thread(near.send_bytes, MESSAGE)
        outcome = "sent"
    except BlockingIOError as error:
        outcome = type(error).__name__
    near.close()
    reader.join()
    print(f"{type(loop).__module__}: blocking {blocking}, {outcome}")
    return blocking, outcome


stock = asyncio.run(send())
with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    other = runner.run(send())
print(f"uvloop {uvloop.__version__}")
as_described = stock == (True, "sent") and other == (False, "BlockingIOError")
print("as described" if as_described else "changed")
sys.exit(not as_described)
PYTHON
