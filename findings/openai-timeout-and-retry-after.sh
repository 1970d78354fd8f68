#!/usr/bin/env bash
# A call of the openai client with `timeout=5` may take four minutes.
#
# Version: openai 3.54.0
# Seen:    a server that answers 503 with `Retry-After: 120` is asked three times, with a sleep of 120 s before each
#          repetition: the header is obeyed up to 120 s, whatever the timeout, which holds for one attempt only. With
#          `Retry-After: 121` the client does not wait and does not ask again: the error arrives at once.
# Matters: a service that announces honestly how long it is busy holds its callers' threads for up to 240 s, and one
#          second more turns waiting into failing. Both sides choose: `max_retries=0`, or a value that suits.
set -euo pipefail

packages=$(mktemp -d)
trap 'rm -rf "$packages"' EXIT
cd "$packages"
python3 -m pip install -qq --target . openai==3.54.0

python3 - <<'PYTHON'
import sys
import time

import httpx2
import openai

waits = []
time.sleep = waits.append


def ask(seconds):
    waits.clear()
    requests = []

    def busy(request):
        requests.append(request)
        return httpx2.Response(503, headers={"retry-after": str(seconds)}, json={})

    http = httpx2.Client(transport=httpx2.MockTransport(busy))
    client = openai.OpenAI(api_key="none", base_url="http://model.example/v1", timeout=5, http_client=http)
    try:
        client.models.list()
    except openai.InternalServerError:
        print(f"openai {openai.__version__}, Retry-After {seconds}: {len(requests)} requests, slept {waits}")
    return len(requests), list(waits)


as_described = ask(120) == (3, [120.0, 120.0]) and ask(121) == (1, [])
print("as described" if as_described else "changed")
sys.exit(not as_described)
PYTHON
