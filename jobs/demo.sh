#!/usr/bin/env bash
# The whole story on the bundled sample: curate, synthesize, train, evaluate, export, serve, ask, report.
# Usage: jobs/demo.sh [RUN] [CONFIG] [QUESTION ...]     Starts a private Ray head with token auth; stops only what it started.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p "${1:-runs/demo}"
RUN=$(cd "${1:-runs/demo}" && pwd)
CONFIG=$(realpath "${2:-configs/demo.yaml}")
QUESTIONS=("${@:3}")
[ "${#QUESTIONS[@]}" -gt 0 ] || QUESTIONS=("My card was stolen. How do I block it?" "Wie sperre ich meine Karte?")
STARTED=$SECONDS

say() { printf '\n\033[1m%s\033[0m  (%d s)\n' "$1" "$((SECONDS - STARTED))"; }

# A private Ray: its own folder and free ports, and a token that only this user can read. The folder's name is short
# because Ray puts sockets below it.
HEAD=$(mktemp -d /tmp/solotune.XXXXXX)
RAY_PID=
stop() {
    local status=$?
    trap - EXIT INT TERM
    if [ -n "$RAY_PID" ]; then # its own process group: the head and all it started, nothing else
        kill -TERM -- "-$RAY_PID" 2>/dev/null || true
        for _ in $(seq 20); do kill -0 -- "-$RAY_PID" 2>/dev/null || break; sleep 0.25; done
        kill -KILL -- "-$RAY_PID" 2>/dev/null || true
        wait "$RAY_PID" 2>/dev/null || true
    fi
    if [ "$status" -ne 0 ] && [ -s "$HEAD/head.log" ]; then cp "$HEAD/head.log" "$RUN/ray-head.log"; fi
    rm -rf "$HEAD"
    exit "$status"
}
trap stop EXIT INT TERM
(umask 077 && python -c 'import secrets; print(secrets.token_hex(32), end="")' > "$HEAD/token")
read -r GCS DASHBOARD AGENT METRICS CLIENT < <(python -c '
import socket
held = [socket.socket() for _ in range(5)]
for s in held: s.bind(("127.0.0.1", 0))
print(*(s.getsockname()[1] for s in held))')
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$HEAD/token RAY_USAGE_STATS_ENABLED=0 RAY_DISABLE_IMPORT_WARNING=1
export OMP_WAIT_POLICY=PASSIVE # spinning threads are many times slower where processes share two cores
export HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false PYTHONUNBUFFERED=1 COLUMNS=110

say "Starting a private Ray on 127.0.0.1"
setsid ray start --head --block --disable-usage-stats --temp-dir "$HEAD/ray" --node-ip-address 127.0.0.1 --port "$GCS" \
    --dashboard-host 127.0.0.1 --dashboard-port "$DASHBOARD" --dashboard-agent-listen-port "$AGENT" \
    --metrics-export-port "$METRICS" --ray-client-server-port "$CLIENT" > "$HEAD/head.log" 2>&1 &
RAY_PID=$!
export RAY_ADDRESS=http://127.0.0.1:$DASHBOARD
python - <<'WAIT'
import os, pathlib, time, urllib.request

token = pathlib.Path(os.environ["RAY_AUTH_TOKEN_PATH"]).read_text()
request = urllib.request.Request(os.environ["RAY_ADDRESS"] + "/api/jobs/", headers={"Authorization": f"Bearer {token}"})
deadline = time.monotonic() + 120
while True:
    try:
        urllib.request.urlopen(request, timeout=5).read()
        break
    except OSError as error:
        if time.monotonic() > deadline:
            raise SystemExit(f"Ray did not come up within two minutes: {error}")
        time.sleep(0.3)
WAIT

# Submits one job and shows its output without Ray's own lines about the submission.
job() {
    local verb=$1
    shift
    ray job submit --log-color false -- python -m "jobs.$verb" "$CONFIG" "$@" --run "$RUN" 2>&1 | grep --line-buffered -v \
        -e 'Job submission server address' -e '^-*$' -e "Job 'raysubmit_" -e 'Next steps' \
        -e 'Query the ' -e 'Request the job' -e 'ray job ' -e 'Tailing logs' -e 'Running entrypoint for job' \
        -e 'WebSocket closed' -e 'Runtime env is setting up' -e 'cli.py:' -e ' SUCC '
}

say "1  curate: $(ls assets/sample/dump/*.csv | wc -l) exports and $(find assets/sample/dump/pages -name "*.md" | wc -l) pages"
job curate --input "$PWD/assets/sample/dump"
say "2  synthesize: rephrased questions"
job synthesize
say "3  train: QLoRA"
job train
say "4  evaluate: base against tuned"
job evaluate
say "5  export: merged model"
job export
say "6  serve"
job serve

URL=$(python -c 'import json, sys; print(json.load(open(sys.argv[1]))["url"])' "$RUN/serve/endpoint.json")
KEY=$(cat "$RUN/serve/api_key")
say "7  ask: ${QUESTIONS[0]}"
BODY=$(python -c 'import json, sys
name, question = json.load(open(sys.argv[1]))["model"], sys.argv[2]
print(json.dumps({"model": name, "messages": [{"role": "user", "content": question}], "temperature": 0}))' \
    "$RUN/serve/endpoint.json" "${QUESTIONS[0]}")
if command -v curl > /dev/null; then
    echo "curl $URL/v1/chat/completions"
    curl --silent --show-error --fail --noproxy '*' "$URL/v1/chat/completions" -H "Authorization: Bearer $KEY" \
        -H 'Content-Type: application/json' -d "$BODY" > "$HEAD/answer.json"
else
    echo "curl is not installed here: the same request from Python"
    URL=$URL KEY=$KEY BODY=$BODY python -c '
import os, urllib.request
headers = {"Authorization": "Bearer " + os.environ["KEY"], "Content-Type": "application/json"}
request = urllib.request.Request(os.environ["URL"] + "/v1/chat/completions", os.environ["BODY"].encode(), headers)
print(urllib.request.urlopen(request).read().decode())' > "$HEAD/answer.json"
fi
python -c 'import json, sys; print("  " + json.load(open(sys.argv[1]))["choices"][0]["message"]["content"])' "$HEAD/answer.json"
echo "the openai client, streaming"
URL=$URL KEY=$KEY python - "${QUESTIONS[@]:1}" <<'ASK'
import os
import sys

from openai import OpenAI

client = OpenAI(base_url=os.environ["URL"] + "/v1", api_key=os.environ["KEY"])
model = client.models.list().data[0].id
for question in sys.argv[1:]:
    print(f"  {question}\n  ", end="")
    messages = [{"role": "user", "content": question}]
    for chunk in client.chat.completions.create(model=model, messages=messages, stream=True, temperature=0):
        print(chunk.choices[0].delta.content or "", end="", flush=True)
    print()
ASK

say "8  report"
python -m jobs.report "$CONFIG" --run "$RUN"
say "Done"
echo "report:  $RUN/report.html"
echo "model:   $RUN/model/merged"
echo "Ray and the service stop now; nothing of the demo remains outside $RUN"
