#!/usr/bin/env bash
# Builds the images and uses them as a user would, over HTTP. Needs a container engine, curl and python3:
#
#     docker/test.sh              the service: build, compose up, search, add, restart, keys, a folder of one's own, down
#     docker/test.sh training     training: build (torch: gigabytes), one tiny `train` in the container, swap
#
# Everything is under a project name and a port of its own, and taken down at the end, volumes included. Ends with 0; with
# 1 and one line where something is wrong; with 77 and one line where there is no container engine.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
engine=$("$here/compose" --engine)
half=${1:-service}
work=$(mktemp -d) # mounted into containers, whose user is another
chmod 755 "$work"
export COMPOSE_PROJECT_NAME=crossmatch-test CROSSMATCH_EVERY=2 CROSSMATCH_PUBLIC_NAME=search.test
CROSSMATCH_PORT=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
CROSSMATCH_PUBLIC_PORT=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
export CROSSMATCH_PORT CROSSMATCH_PUBLIC_PORT CROSSMATCH_ADDRESS=127.0.0.1
url=http://127.0.0.1:$CROSSMATCH_PORT index=/indexes/default
log=$work/log

compose() { "$here/compose" "$@" >"$log" 2>&1 || fail "compose $*: $(grep -vi 'systemd\|syslog' "$log" | tail -n 3 | tr '\n' ' ')"; }
inside() { "$here/compose" exec -T "$@" 2>>"$log"; } # SERVICE COMMAND...
say() { printf '%6.1f s  %s\n' "$(python3 -c "import time; print(time.time() - $started)")" "$*"; }
fail() { echo "docker/test.sh: $*" >&2; exit 1; }

take_down() {
    "$here/compose" --profile training down -v >/dev/null 2>&1 || true
    rm -rf "$work"
}
trap take_down EXIT

# await SECONDS WHAT COMMAND...: until the command succeeds
await() {
    local end=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        [[ $SECONDS -lt $end ]] || fail "$what: not within the time"
        sleep 0.5
    done
}

# field PYTHON: one value of the JSON on standard input, called `d`
field() { python3 -c "import json, sys; d = json.load(sys.stdin); print($1)"; }

search() { curl -sS --fail-with-body -F "image=@$1" "$url/v1/search?k=5" "${@:2}"; }

# Up, as `docker compose up -d` does it. podman waits for no health check, so the wait is made here.
bring_up() {
    if [[ $engine == podman ]]; then
        compose "$@" up -d --no-build indexer
        await 120 "the first pictures" inside indexer test -e /tmp/in-step
        compose "$@" up -d --no-build service
    else
        compose "$@" up -d --no-build
    fi
    await 60 "readiness" curl -sf "$url/readyz"
}

test_service() {
    compose build service
    say "the image is built"
    "$engine" run --rm --read-only --entrypoint sh crossmatch-service:0.1.0 -c \
        '[ "$(id -u):$(id -g)" = 10001:10001 ] && ! python -c "import torch" 2>/dev/null && ! [ -w / ]' ||
        fail "the image: expected user 10001:10001, no torch, a root that can not be written"
    local size
    size=$("$engine" image inspect crossmatch-service:0.1.0 --format '{{.Size}}')
    [[ $size -lt 480000000 ]] || fail "the image: expected under 480 MB, found $size bytes"
    "$engine" run --rm --entrypoint sh crossmatch-service:0.1.0 -c 'cat "/pictures/red apple/1f34e.png"' >"$work/apple.png"

    local up=$started
    started=$(python3 -c 'import time; print(time.time())')
    bring_up
    [[ $(search "$work/apple.png" | field 'd["index"]["size"] > 0') == True ]] || fail "no first answer"
    say "from compose up to the first answer"
    started=$up
    [[ $(curl -sSf "$url/") == *'<title>'* ]] || fail "no search page"
    [[ $(curl -sSf "$url/v1/index") == *Twemoji* ]] || fail "the page does not name whose pictures they are"
    [[ $(curl -s -o /dev/null -w '%{http_code}' -H 'Host: elsewhere.example' "$url/") == 421 ]] || fail "a foreign Host is answered"
    await 180 "the whole sample" search_finds "$work/apple.png" "red apple/1f34e.png"
    say "the sample picture finds itself"

    "$engine" run --rm --entrypoint python crossmatch-service:0.1.0 -c \
        'import sys; from PIL import Image; Image.linear_gradient("L").save(sys.stdout.buffer, "PNG")' >"$work/new.png"
    add_picture "$work/new.png"
    search_finds "$work/new.png" new.png || fail "an added picture is not found"
    say "a picture was added and found"

    compose restart service
    await 60 "readiness after a restart" curl -sf "$url/readyz"
    search_finds "$work/new.png" new.png || fail "an added picture did not outlive a restart"
    say "it outlived a restart"
    test_backup
    test_public
}

# search_finds PICTURE KEY [CURL OPTION...]: whether that key is the best match, and its picture can be fetched
search_finds() {
    local answer
    answer=$(search "$1" "${@:3}") || return 1
    [[ $(field 'd["results"][0]["key"]' <<<"$answer") == "$2" ]] || return 1
    curl -sf -o /dev/null "${@:3}" "$url$(field 'd["results"][0]["image_url"]' <<<"$answer")"
}

add_picture() {
    local status
    status=$(curl -s -o "$work/answer" -w '%{http_code}' -F "image=@$1" -F key=new.png "$url/v1/items")
    [[ $status == 201 ]] || fail "POST /v1/items: expected 201, found $status: $(cat "$work/answer")"
}

# A backup into a mounted folder, and an index restored from it, beside the first.
test_backup() {
    mkdir "$work/backups" && chmod 777 "$work/backups"
    local once=(run --rm -T --no-deps -v "$work/backups:/backups" service index)
    compose "${once[@]}" backup /backups/monday --index "$index"
    compose "${once[@]}" restore /backups/monday --index /indexes/restored
    export CROSSMATCH_INDEX=/indexes/restored
    compose down
    bring_up
    search_finds "$work/new.png" new.png || fail "an added picture is not in the backup"
    unset CROSSMATCH_INDEX
    say "a restored backup answers"
}

# Keys, and pictures of a mounted folder.
test_public() {
    local public=(-f docker-compose.public.yml) key
    mkdir -p "$work/own/fruit" && cp "$work/apple.png" "$work/own/fruit/mine.png" && chmod -R a+rX "$work/own"
    ! "$here/compose" "${public[@]}" config >"$log" 2>&1 || fail "the public file demands nothing"
    grep -q 'CROSSMATCH_PICTURES' "$log" || grep -q 'CROSSMATCH_METRICS_KEY' "$log" || fail "it does not say what it demands"
    key=$(inside service crossmatch key create --scope read --index "$index") || fail "no key: $(tail -n 1 "$log")"
    export CROSSMATCH_METRICS_KEY=$key CROSSMATCH_PICTURES=$work/own
    compose down
    bring_up "${public[@]}"
    [[ $(curl -s -o /dev/null -w '%{http_code}' "$url/v1/index") == 401 ]] || fail "a stranger is answered"
    await 120 "the mounted folder" search_finds "$work/apple.png" fruit/mine.png -H "Authorization: Bearer $key"
    await 60 "the sample gone" size_is 2 -H "Authorization: Bearer $key"
    say "with a key, the mounted folder's picture is found and shown; without one, 401"
}

size_is() { [[ $(curl -sf "$url/v1/index" "${@:2}" | field 'd["size"]') == "$1" ]]; }

# A tiny training on a few of the sample's pictures, and its model swapped in under the running service.
test_training() {
    compose --profile training build service trainer
    say "the images are built"
    mkdir "$work/few"
    "$engine" run --rm --entrypoint sh crossmatch-service:0.1.0 -c \
        'cd /pictures && tar -c "waving hand sign" "raised hand" "baby" "boy" "girl"' | tar -x --no-same-owner -C "$work/few"
    chmod -R a+rX "$work/few"
    export CROSSMATCH_PICTURES=$work/few
    bring_up
    local trainer=(--profile training run --rm -T trainer) before after
    before=$(curl -sSf "$url/v1/index" | field 'd["model"]')
    compose "${trainer[@]}" train /configs/grocery.yaml data.name=folder data.root=/pictures train.epochs=1 train.batch_size=8 \
        augmentation.input_size=64 augmentation.resize=73 evaluation.input_size=64 --output /runs/first
    say "trained"
    compose "${trainer[@]}" index build /pictures --model /runs/first/bundle --index "$index"
    after=$(curl -sSf "$url/v1/index" | field 'd["model"]')
    [[ $after != "$before" ]] || fail "the service did not follow to the trained model"
    await 60 "an answer by the trained model" search_finds "$work/few/baby/1f476.png" baby/1f476.png
    say "the service follows to the trained model without a restart"
    sleep $((CROSSMATCH_EVERY * 3)) # the indexer looks for changes, and keeps to that model
    [[ $(curl -sSf "$url/v1/index" | field 'd["model"]') == "$after" ]] || fail "the indexer undid the trained model"
    inside service crossmatch index rollback --index "$index" >/dev/null || fail "rollback: $(tail -n 1 "$log")"
    [[ $(curl -sSf "$url/v1/index" | field 'd["model"]') == "$before" ]] || fail "the rollback is not followed"
    say "and back"
}

started=$(python3 -c 'import time; print(time.time())')
case $half in
service | training) "test_$half" ;;
*) fail "$half: expected service or training" ;;
esac
say "all well with $engine"
