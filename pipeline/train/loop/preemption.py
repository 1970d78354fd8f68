"""The notice that a machine will be taken away: a file that appears, an address that answers, SIGTERM to the job.

Output contract: `Notice.given()` returns a few words on the notice, or None; it looks for files on the spot and takes
the address's answer from a thread, so it costs a training step nothing. `on_sigterm` turns the signal into a file.
This module saves nothing and stops nothing: `callback` asks it after every step.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit

from pipeline.config import Preemption

QUIET = {"", "false", "none"}  # what an address answers while nothing is planned
EVERY = 5.0  # seconds between two questions to an address: a notice comes 30 seconds ahead at least
PATIENCE = 2.0  # seconds that an address may take
SIGTERM = "SIGTERM"


class Notice:
    """Where notices come from: the two files, and an address asked every `EVERY` seconds once `watching`."""

    def __init__(self, settings: Preemption, signalled: Path) -> None:
        self.settings, self.signalled = settings, signalled
        self._answer: str | None = None

    def given(self) -> str | None:
        """Returns what gave notice, None while nothing has."""
        if self.signalled.exists():
            return SIGTERM
        if self.settings.file is not None and Path(self.settings.file).exists():
            return f"the file {self.settings.file} is there"
        return self._answer

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Asks the address, where there is one, until the block ends."""
        if self.settings.url is None:
            yield
            return
        done = threading.Event()
        thread = threading.Thread(target=self._poll, args=(self.settings.url, done), daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join(2 * PATIENCE)

    def _poll(self, url: str, done: threading.Event) -> None:
        while self._answer is None and not done.is_set():
            if ask(url):
                self._answer = f"{urlsplit(url).netloc} says so"
            done.wait(EVERY)


def ask(url: str) -> bool:
    """Returns whether an address tells that the machine will be taken away; one that cannot be reached does not.

    Sends what the clouds want: Google's flavour header, and for AWS a session token, where it hands one out.
    """
    headers = {"Metadata-Flavor": "Google"}
    parts = urlsplit(url)
    if parts.path.startswith("/latest/"):
        token = urllib.request.Request(
            f"{parts.scheme}://{parts.netloc}/latest/api/token",
            method="PUT",
            headers={"X-aws-ec2-metadata-token-ttl-seconds": "60"},
        )
        if answer := _body(token):
            headers["X-aws-ec2-metadata-token"] = answer
    return (_body(urllib.request.Request(url, headers=headers)) or "").strip().lower() not in QUIET


def _body(request: urllib.request.Request) -> str | None:
    """Returns the text of an answer 200, None for any other answer and for none."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # the machine itself answers, not a proxy
    try:
        with opener.open(request, timeout=PATIENCE) as answer:
            return str(answer.read(65536).decode(errors="replace")) if answer.status == 200 else None
    except (OSError, ValueError):  # URLError and HTTPError are OSErrors; 404 is how AWS says that nothing is planned
        return None


@contextlib.contextmanager
def on_sigterm(signalled: Path) -> Iterator[None]:
    """Makes the first SIGTERM to this process create a file instead of ending it, in the main thread, where signals
    go; a second one does what it did before."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def note(number: int, frame: FrameType | None) -> None:
        signalled.parent.mkdir(parents=True, exist_ok=True)
        signalled.touch()
        signal.signal(signal.SIGTERM, before)

    before = signal.signal(signal.SIGTERM, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
