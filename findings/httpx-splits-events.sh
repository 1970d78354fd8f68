#!/usr/bin/env bash
# httpx's `iter_lines` cuts a server-sent event in the middle of its JSON.
#
# Version: httpx 0.28.1
# Seen:    one event `data: {"text": "first<U+2028>second<U+0085>third"}` arrives as three lines. JSON allows both
#          characters unescaped inside a string, and the event-stream format ends lines at CR and LF only.
# Matters: a client that reads a model's stream with `iter_lines` fails with a JSON error on answers that hold such a
#          character. Splitting the bytes of `iter_bytes` at newlines is right; a server that escapes non-ASCII text
#          hides the difference.
set -euo pipefail

packages=$(mktemp -d)
trap 'rm -rf "$packages"' EXIT
cd "$packages"
python3 -m pip install -qq --target . httpx==0.28.1

python3 - <<'PYTHON'
import json
import sys

import httpx

event = json.dumps({"text": "first\u2028second\u0085third"}, ensure_ascii=False)
body = f"data: {event}\n\n".encode()
headers = {"content-type": "text/event-stream; charset=utf-8"}
transport = httpx.MockTransport(lambda request: httpx.Response(200, headers=headers, content=body))
with httpx.Client(transport=transport) as client, client.stream("GET", "http://model.example/") as response:
    lines = [line for line in response.iter_lines() if line]
print(f"httpx {httpx.__version__}: one event is {len(lines)} lines: {[ascii(line) for line in lines]}")
whole = [line for line in body.splitlines() if line]
print(f"bytes.splitlines: {len(whole)}")
as_described = lines == ['data: {"text": "first', "second", 'third"}'] and len(whole) == 1
print("as described" if as_described else "changed")
sys.exit(not as_described)
PYTHON
