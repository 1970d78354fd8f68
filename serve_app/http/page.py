"""Pages: single files that load nothing, with a policy by which the browser runs only their own scripts.

Output contract: `load` returns a file's bytes and its headers. The Content-Security-Policy names the SHA-256 of every
inline script and style, allows requests to this service alone, and forbids frames.
This module does not know the content of a page.
"""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

FOLDER = Path(__file__).parent.parent / "pages"
_INLINE = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)


def load(name: str) -> tuple[bytes, dict[str, str]]:
    """Returns a page of `pages/` and its headers."""
    text = (FOLDER / name).read_text(encoding="utf-8")
    return text.encode(), {
        "Content-Type": "text/html; charset=utf-8",
        "Content-Security-Policy": policy(text),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cache-Control": "no-cache",
    }


def policy(text: str) -> str:
    """Returns the policy for a page; its scripts and styles are `<script>` and `<style>` without attributes."""
    sources: dict[str, list[str]] = {"script": [], "style": []}
    for kind, content in _INLINE.findall(text):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        sources[kind].append(f"'sha256-{digest}'")
    allowed = [f"{kind}-src {' '.join(digests) or chr(39) + 'none' + chr(39)}" for kind, digests in sources.items()]
    rest = ["connect-src 'self'", "img-src data:", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"]
    return "; ".join(["default-src 'none'", *allowed, *rest])
