"""The playground in a real browser: a headless Chromium against the application on a socket, the fake engine behind it.

`SOLOTUNE_SCREENSHOTS=DIR` keeps what it looked like.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import Serve
from serve_app import keys
from serve_app.engines.fake import FakeEngine
from serve_app.http import gateway
from tests.serve_app.browser import PROGRAM, Page
from tests.serve_app.upstream import serving

pytestmark = [pytest.mark.clients, pytest.mark.skipif(PROGRAM is None, reason="there is no Chromium here")]

GOOD = "sk-solotune-test"


@dataclass
class Service:
    """The application in a thread. `engine` may be slowed down and broken; `asked` holds what it got."""

    engine: FakeEngine
    url: str
    asked: list[Any] = field(default_factory=list)


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    engine = FakeEngine("tiny", 2000)
    ring = keys.Keyring([keys.Key(sha256=keys.digest(GOOD), scopes=("chat",), created="")])
    settings = Serve(playground=True, max_new_tokens=300, max_input_tokens=1000)
    app = gateway.build(engine, settings, ring)
    with serving(app) as url:
        made = Service(engine, url)
        generate = engine.generate

        def noted(request: Any) -> Any:
            made.asked.append(request)
            return generate(request)

        engine.generate = noted  # type: ignore[method-assign]
        yield made


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    page = Page(tmp_path_factory.mktemp("chromium"))
    yield page
    page.close()


@pytest.fixture
def page(browser: Page, service: Service) -> Iterator[Page]:
    """The page with a good key, at its start; nothing may have been complained about at the end."""
    service.engine.interval, service.engine.length, service.engine.ended = 0.0, 12, False
    service.asked.clear()
    browser.look(width=1200)
    browser.open(f"{service.url}/playground", "document.getElementById('status')")
    browser.type("#key", GOOD)
    browser.leave()
    browser.wait("!document.getElementById('model').disabled")
    browser.complaints.clear()
    yield browser
    assert browser.complaints == []


def say(page: Page, text: str) -> None:
    page.type("#message", text)
    page.press("Enter")


def answered(page: Page, count: int) -> str:
    """Waits for so many whole answers; returns the last."""
    page.wait(
        f"running === null && document.querySelectorAll('article.assistant footer:not([hidden])').length === {count}"
    )
    return page.text(f"article.assistant:nth-of-type({2 * count}) p")


def shoot(page: Page, name: str) -> None:
    if folder := os.environ.get("SOLOTUNE_SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.shoot(Path(folder) / f"{name}.png")


def test_a_conversation_streams(page: Page, service: Service) -> None:
    assert page.text("#status") == "Connected"
    assert page.text("#model") == "tiny"
    shoot(page, "start")
    page.type("#system", "Be kind.")
    page.type("#temperature", "0")
    service.engine.interval = 0.01
    say(page, "How do I block my card?")
    page.wait("document.querySelector('article.assistant p').textContent.length > 5 && running")
    assert page.text("#status") == "Answering"
    shoot(page, "streaming")
    first = answered(page, 1)
    request = service.asked[0]
    assert first == service.engine.codec.decode(service.engine.answer(request))
    assert request.prompt.messages == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "How do I block my card?"},
    ]
    footer = page.text("article.assistant footer")
    for part in (" tokens · ", " tokens/s · ", "first token after ", " in all"):
        assert part in footer
    speed = float(footer.split(" tokens/s")[0].split(" · ")[1])
    assert 10 < speed <= 200  # a token each hundredth of a second; a page that is held up sees them closer together
    say(page, "And then?")
    answered(page, 2)
    assert [message["role"] for message in service.asked[1].prompt.messages] == ["system", "user", "assistant", "user"]
    assert service.asked[1].prompt.messages[2]["content"] == first
    shoot(page, "conversation")
    page.look(dark=True)
    shoot(page, "dark")
    page.look(width=400)
    shoot(page, "narrow")


def test_settings_reach_the_engine_and_a_seed_repeats(page: Page, service: Service) -> None:
    page.click("#stream")
    for name, value in {"temperature": "0.5", "top_p": "0.9", "max_tokens": "20", "seed": "7"}.items():
        page.type(f"#{name}", value)
    texts = []
    for _ in range(2):
        say(page, "How do I block my card?")
        texts.append(answered(page, 1))
        assert "20 tokens" in page.text("article.assistant footer")
        assert "first token" not in page.text("article.assistant footer")
        assert "cut at the limit of tokens" in page.text("article.assistant footer")
        page.click("#clear")
    assert texts[0] == texts[1] != ""
    request = service.asked[0]
    assert (request.temperature, request.top_p, request.max_tokens, request.seed) == (0.5, 0.9, 20, 7)


def test_stop_ends_the_request_and_keeps_what_came(page: Page, service: Service) -> None:
    service.engine.interval, service.engine.length = 0.02, 0
    for count, stop in enumerate((lambda: page.click("#stop"), lambda: page.press("Escape")), 1):
        say(page, "Go on and on.")
        page.wait(f"document.querySelectorAll('article.assistant p')[{count - 1}]?.textContent.length > 10")
        stop()
        kept = answered(page, count)
        assert "stopped by you" in page.text(f"article.assistant:nth-of-type({2 * count}) footer")
        until = time.monotonic() + 5
        while service.engine.running and time.monotonic() < until:
            time.sleep(0.02)
        assert service.engine.running == 0
        assert len(kept) >= 5  # in characters, not in the halves that JavaScript counts
    assert len(service.asked[1].prompt.messages) == 3


def test_keys_of_the_keyboard(page: Page, service: Service) -> None:
    page.type("#message", "first line")
    page.press("Enter", shift=True)
    page.call("Input.insertText", text="second line")
    assert service.asked == []
    page.press("Enter")
    answered(page, 1)
    assert service.asked[0].prompt.messages == [{"role": "user", "content": "first line\nsecond line"}]
    assert page.js("document.activeElement.id") == "message"
    say(page, "   ")
    assert len(service.asked) == 1


def test_text_of_the_model_is_text(page: Page, service: Service) -> None:
    page.js("document.title = 'unchanged'")
    say(page, "<img src=x onerror=\"document.title = 'changed'\"><script>document.title = 'changed'</script>")
    answered(page, 1)
    assert page.js("document.title") == "unchanged"
    assert page.js("document.querySelectorAll('article img, article script').length") == 0


def test_errors_are_sentences_and_nothing_is_lost(page: Page, service: Service) -> None:
    page.type("#max_tokens", "9999")
    say(page, "How much?")
    page.wait("!document.getElementById('problem').hidden")
    assert page.text("#problem") == "max_tokens is too large: this service generates at most 300 tokens."
    assert page.js("document.getElementById('message').value") == "How much?"
    assert page.js("document.querySelectorAll('article').length") == 0
    shoot(page, "error")
    page.type("#max_tokens", "")
    page.type("#key", "sk-wrong")
    page.leave()
    page.wait("document.getElementById('problem').textContent.startsWith('Incorrect API key')")
    assert page.text("#status") == "Not connected"
    page.type("#key", GOOD)
    page.leave()
    page.wait("document.getElementById('status').textContent === 'Connected'")
    assert page.text("#problem") == ""
    page.js("window.fetch = () => Promise.reject(new TypeError('Failed to fetch'))")
    say(page, "Hello?")
    page.wait("document.getElementById('problem').textContent.includes('cannot be reached')")
    assert page.js("document.getElementById('message').value") == "Hello?"
    told = [text for text in page.complaints if "Failed to load resource" not in text]  # Chromium's note of a 4xx
    page.complaints[:] = told


def test_a_stream_that_breaks_says_so_and_keeps_what_came(page: Page, service: Service) -> None:
    service.engine.interval, service.engine.length = 0.02, 0
    say(page, "Go on.")
    page.wait("document.querySelector('article.assistant p')?.textContent.length > 10")
    service.engine.ended = True
    answered(page, 1)
    assert page.text("#problem") == "The service failed on this request."
    assert "failed" in page.text("article.assistant footer")


def test_the_key_lives_in_the_tab_alone(page: Page, service: Service) -> None:
    assert page.js("sessionStorage.getItem('solotune.key')") == GOOD
    assert page.js("localStorage.length + document.cookie.length") == 0
    page.open(f"{service.url}/playground", "document.getElementById('status').textContent === 'Connected'")
    assert page.js("document.getElementById('key').value") == GOOD


def test_every_field_has_a_name_for_those_who_do_not_see_it(page: Page) -> None:
    nameless = page.js(
        "[...document.querySelectorAll('input, select, textarea, button')]"
        ".filter((e) => !(e.labels?.length || e.textContent.trim())).length"
    )
    assert nameless == 0
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    fields = [
        node for node in nodes if node.get("role", {}).get("value") in ("textbox", "spinbutton", "combobox", "button")
    ]
    assert len(fields) >= 9
    assert all(node["name"]["value"] for node in fields)
    assert page.js("document.documentElement.lang") == "en"
