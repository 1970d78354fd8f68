#!/usr/bin/env bash
# Builds the image for a CPU with podman, starts it as deploy/compose.yaml says, asks it, stops it while it answers. Then
# the same with deploy/solotune.service, under a systemd in a container.
# Usage: tests/deploy/image.sh [WORK]     README.md beside this says what it needs, and what BUILD_FLAGS and PYTHON are.
# WORK keeps the containers' storage, so that a second run builds only what has changed; without it all is removed.
set -euo pipefail
cd "$(dirname "$0")/../.."
PYTHON=${PYTHON:-python}
IMAGE=solotune:cpu CONTAINER=solotune_solotune_1 UNIT=solotune_unit URL=http://127.0.0.1:8000
WORK=$(mkdir -p "${1:-/var/tmp}" && realpath "${1:-$(mktemp -d /var/tmp/solotune.XXXXXX)}")

say() { printf '\n%s  (%d s)\n' "$1" "$SECONDS"; }
fail() { echo "image.sh: $1" >&2; exit "${2:-1}"; }
compose() { podman-compose --project-name solotune --podman-build-args "${FLAGS:-}" -f "$TREE/deploy/compose.yaml" "$@"; }
asked() { curl --silent --show-error --noproxy '*' --max-time 60 -H "Authorization: Bearer $KEY" "$@"; }
inside() { podman exec $UNIT "$@"; }
BODY='{"model": "tiny", "messages": [{"role": "user", "content": "My card was stolen. How do I block it?"}], "temperature": 0'

# ready COMMAND...: waits for the service that `COMMAND... curl` reaches, at most five minutes
ready() {
    for _ in $(seq 150); do
        "$@" curl --silent --fail --noproxy '*' --max-time 2 $URL/ready > /dev/null && return
        sleep 2
    done
    fail "the service does not get ready"
}

# streamed COMMAND...: starts a long stream into $WORK/stream through `COMMAND... curl`; returns when text has come
streamed() {
    : > "$WORK/stream"
    "$@" curl --silent --show-error --noproxy '*' --no-buffer -H "Authorization: Bearer $KEY" -H 'Content-Type: application/json' \
        --data "$BODY, \"max_tokens\": 700, \"stream\": true}" $URL/v1/chat/completions > "$WORK/stream" &
    ASKING=$!
    until grep -q '"content":"[^"]' "$WORK/stream"; do
        kill -0 $ASKING || fail "the stream has ended early"
        sleep 0.02
    done
    BEFORE=$(grep -c '^data' "$WORK/stream")
}

# finished: checks that the stream came to its own end
finished() {
    wait $ASKING || fail "the stream was cut"
    echo "  $BEFORE events before the stop, $(grep -c '^data' "$WORK/stream") in all"
    [ "$(tail -n 2 "$WORK/stream" | head -n 1)" = 'data: [DONE]' ] || fail "the stream was cut"
}

[ "$(id -u)" = 0 ] || fail "run as root" 2
for tool in podman podman-compose runc debootstrap curl; do
    command -v $tool > /dev/null || fail "$tool is not installed: see tests/deploy/README.md" 2
done
(exec 3<> /dev/tcp/127.0.0.1/8000) 2> /dev/null && fail "port 8000 is taken" 2

# Storage, networks and limits of its own: no other container of this machine is seen or changed. The limits are this
# shell's, because a sandbox may not raise them.
export CONTAINERS_STORAGE_CONF=$WORK/storage.conf CONTAINERS_CONF=$WORK/containers.conf
printf '[storage]\ndriver = "overlay"\ngraphroot = "%s"\nrunroot = "%s"\n' "$WORK/storage" "$WORK/state" > "$WORK/storage.conf"
cat > "$WORK/containers.conf" <<CONF
[containers]
default_ulimits = ["nofile=$(ulimit -Hn):$(ulimit -Hn)", "nproc=32768:32768"]
[engine]
runtime = "runc"
[network]
network_config_dir = "$WORK/networks"
CONF
mkdir -p "$WORK/networks"
TREE=$WORK/tree RUN=$WORK/run
export SOLOTUNE_RUN=$RUN

clean() {
    local status=$?
    trap - EXIT
    if [ "$status" -ne 0 ]; then # a container that is not there has nothing to show
        { podman logs --tail 40 $CONTAINER; inside journalctl --lines 40 --unit solotune; } 2>&1 |
            grep -v 'no such container' | sed 's/sk-solotune-[^ ]*/sk-solotune-.../' || true
    fi
    podman rm --force --ignore --time 5 $CONTAINER $UNIT > /dev/null 2>&1 || true
    podman network rm --force solotune_default > /dev/null 2>&1 || true
    rm -rf "$TREE" "$RUN"
    if [ "$KEPT" = no ]; then
        podman rmi --all --force > /dev/null 2>&1 || true
        umount "$WORK/storage/overlay" 2> /dev/null || true
        rm -rf "$WORK"
    fi
    exit "$status"
}
KEPT=$([ $# -gt 0 ] && echo yes || echo no)
trap clean EXIT
rm -rf "$TREE" "$RUN"
mkdir -p "$TREE"
git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents --target-directory "$TREE"

BASE=docker.io/library/python:$(sed -n 's/^ARG PYTHON=//p' Dockerfile)-slim-bookworm
if ! podman image exists "$BASE"; then
    say "$BASE, made from Debian's packages"
    debootstrap --variant=minbase --include=python3-venv,ca-certificates bookworm "$WORK/base" > "$WORK/debootstrap.log" ||
        fail "debootstrap failed: $(tail -n 1 "$WORK/debootstrap.log")"
    chroot "$WORK/base" python3 -m venv /usr/local # the official image has its Python there
    chroot "$WORK/base" /usr/local/bin/python --version
    tar -C "$WORK/base" --create . | podman import --quiet --change ENV=PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin - "$BASE"
    rm -rf "$WORK/base"
fi

say "build $IMAGE (the log: $WORK/build.log)"
FLAGS="--pull=never --network=host --format=docker ${BUILD_FLAGS:-}"
podman untag "$IMAGE" 2> /dev/null || true # podman-compose does not say that a build failed: the name then stays away
compose build solotune > "$WORK/build.log" 2>&1 || true
podman image exists "$IMAGE" || fail "the build failed: $(tail -n 3 "$WORK/build.log")"
podman image inspect "$IMAGE" --format '{{.Size}} bytes, user {{.User}}, {{.HealthCheck}}'
HELD=$(podman run --rm --no-healthcheck --network none --entrypoint ls "$IMAGE" -A /opt/solotune | tr '\n' ' ')
echo "holds $HELD"
for name in tests deploy .git; do
    case " $HELD" in *" $name "*) fail "the image holds $name" ;; esac
done

say "a run folder with an exported model"
mkdir -p "$RUN/model"
cp -r assets/tiny-base "$RUN/model/merged"
PYTHONPATH=$PWD "$PYTHON" -c '
import sys
from bench.exported import finish
from pipeline.run import Run
finish(Run.open(sys.argv[1]))' "$RUN"
chown -R 10001:10001 "$RUN"
echo '{name: tiny, base_model: tiny-base, serve: {host: 0.0.0.0, max_new_tokens: 700, max_input_tokens: 256}}' \
    > "$TREE/deploy/config.yaml"

say "start"
compose up --detach solotune > "$WORK/up.log" 2>&1 || fail "it does not start: $(tail -n 3 "$WORK/up.log")"
ready
podman healthcheck run $CONTAINER || fail "the image's own health check fails"
podman logs $CONTAINER 2>&1 | grep -q "object store is using /tmp" && fail "Ray's object store does not fit into shm_size"
podman exec $CONTAINER sh -c 'test "$(id -u)" = 10001 && grep -q "^CapBnd:.*0000000000000000" /proc/1/status &&
    ! touch /opt/solotune/x 2> /dev/null' || fail "the service can do more than it needs"
[ "$(ss --no-header -ltn 'sport = :8000' | awk '{print $4}')" = 127.0.0.1:8000 ] || fail "the port is published beyond 127.0.0.1"

say "ask"
KEY=wrong
[ "$(asked --output /dev/null --write-out '%{http_code}' $URL/v1/models)" = 401 ] || fail "a wrong key was not refused"
KEY=$(cat "$RUN/serve/api_key")
asked --fail -H 'Content-Type: application/json' --data "$BODY, \"max_tokens\": 24}" $URL/v1/chat/completions > "$WORK/answer"
"$PYTHON" -c 'import json, sys; print("  " + json.load(sys.stdin)["choices"][0]["message"]["content"])' < "$WORK/answer"

say "stop, while a stream runs"
streamed
compose stop --timeout 90 solotune > "$WORK/stop.log" 2>&1
finished
[ "$(podman inspect $CONTAINER --format '{{.State.ExitCode}}')" = 0 ] || fail "the service did not end by itself"
podman logs $CONTAINER 2>&1 | grep -q "serve: stopped" || fail "the service did not end by itself"

say "deploy/solotune.service, under systemd"
podman build $FLAGS --tag solotune:unit --file - "$TREE/deploy" > "$WORK/unit.log" 2>&1 <<'DOCKERFILE' ||
FROM localhost/solotune:cpu
USER root
RUN apt-get update && apt-get install --yes --no-install-recommends systemd systemd-sysv curl
RUN mkdir -p .venv/bin && printf '#!/bin/sh\nexec /usr/local/bin/python "$@"\n' > .venv/bin/python && chmod +x .venv/bin/python
COPY solotune.service /etc/systemd/system/
DOCKERFILE
    fail "the build failed: $(tail -n 3 "$WORK/unit.log")"
podman run --detach --name $UNIT --systemd=always --privileged --network none --no-healthcheck --entrypoint /sbin/init \
    --volume "$TREE/deploy/config.yaml:/etc/solotune/config.yaml:ro" --volume "$RUN:/var/lib/solotune/run" solotune:unit > /dev/null
for _ in $(seq 60); do
    inside systemctl is-system-running 2> /dev/null | grep -qxE 'running|degraded' && break
    sleep 1
done
inside systemctl start solotune
ready inside
# As the service sees it: nobody's powers, a system that cannot be written, a home folder that can.
inside sh -c 'PID=$(systemctl show --property MainPID --value solotune)
    grep -q "^CapBnd:.*0000000000000000" /proc/$PID/status && grep -q "^Uid:.*10001" /proc/$PID/status || exit 1
    HOME=$(tr "\0" "\n" < /proc/$PID/environ | sed -n s/^HOME=//p)
    nsenter --target $PID --mount --setuid 10001 --setgid 10001 touch "$HOME/probe" || exit 1
    for folder in /opt/solotune /etc /usr /home; do
        nsenter --target $PID --mount touch $folder/probe 2> /dev/null && exit 1
    done
    exit 0' || fail "the service can do more than it needs, or less"

say "kill, and stop while a stream runs"
inside systemctl kill --signal KILL --kill-whom main solotune
restarts() { inside systemctl show --property NRestarts --value solotune; }
for _ in $(seq 60); do
    [ "$(restarts)" = 0 ] || break
    sleep 1
done
[ "$(restarts)" = 1 ] || fail "systemd did not start it anew"
ready inside
streamed inside
inside systemctl stop solotune
finished
[ "$(inside systemctl show --property Result --value solotune)" = success ] || fail "the service did not end by itself"
inside ps -e --format args= | grep -q '[r]ay' && fail "something of Ray is left"
say "passed"
