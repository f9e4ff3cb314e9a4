#!/bin/sh
# Presses F5 in a real VS Code (its server and a headless Chromium, both on this machine) and steps through stolen requests of the demo's service.
# Wants the three programs in bin/ (make build). Needs root, or user namespaces. The picture for the README is written with PODSTEP_PICTURE=FILE.
# As root, with a cluster in build/cluster (make cluster) and the agent's image (make image), the scenario "cluster" is run too.
#
# The test runs in a network namespace without a way out: a veth pair whose other end nobody reads takes whatever wants to leave, and must count nothing.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$(dirname "$here")")

if [ -z "${PODSTEP_EDITOR_ISOLATED:-}" ]; then
    directory=$("$here/setup.sh" | tail -1)
    [ "$root/node_modules/.package-lock.json" -nt "$root/package-lock.json" ] || (cd "$root" && npm ci --no-progress >&2)
    (cd "$root" && npm run --silent vsix >&2)
    make -C "$root" --no-print-directory venv >&2
    mkdir -p "$root/build/editor"
    go build -C "$root/test/tools" -o "$root/build/editor/" github.com/go-delve/delve/cmd/dlv
    go build -C "$root" -o build/editor/ ./test/editor/pod ./test/debuggees/go/shop ./test/debuggees/go/stock
    if [ "$(id -u)" = 0 ] && [ -e "$root/build/cluster/up" ]; then
        "$root/test/cluster/build.sh" kubectl >&2
        CGO_ENABLED=0 go build -C "$root" -o build/editor/ ./test/debuggees/go/shop ./test/debuggees/go/stock ./test/e2e/visitor
        go run -C "$root/agent/image" . -o "$root/build/editor/shop.tar" -ref test.local/editor:1 -plain \
            "/shop=$root/build/editor/shop" "/stock=$root/build/editor/stock" "/visitor=$root/build/editor/visitor"
    else
        echo "e2e-editor: no root or no build/cluster, so without the scenario in a cluster" >&2
    fi
    map=
    [ "$(id -u)" = 0 ] || map='--user --map-root-user'
    # shellcheck disable=SC2086 # words
    exec env PODSTEP_EDITOR_ISOLATED="$directory" unshare $map --net "$0" "$@"
fi

ip link set lo up
ip link add outside type veth peer name nobody
for device in outside nobody; do echo 1 >"/proc/sys/net/ipv6/conf/$device/disable_ipv6"; done
ip address add 192.0.2.1/24 dev outside # TEST-NET-1, RFC 5737
ip link set outside up
ip link set nobody up
ip neighbour replace 192.0.2.2 lladdr 02:00:00:00:00:02 dev outside nud permanent
ip route add default via 192.0.2.2

. "$PODSTEP_EDITOR_ISOLATED/env"
set -- env PATH="$root/build/editor:$root/build/cluster:$PATH" PODSTEP_CHROMIUM="$PODSTEP_CHROMIUM" \
    PODSTEP_EDITOR_SERVER="$PODSTEP_EDITOR_SERVER" "$PODSTEP_EDITOR_NODE" "$here/run.ts" "$@"
if [ -e "$root/build/editor/shop.tar" ] && [ "$(id -u)" = 0 ]; then
    load='for image in build/podstep-agent.tar build/editor/shop.tar; do $PODSTEP_E2E_LOAD $image; done'
    set -- "$root/build/cluster/up" run -nodes 2 -state "$root/build/editor-cluster" -bin "$root/build/cluster" \
        sh -ec "cd '$root'; $load >&2; exec \"\$@\"" cluster "$@"
fi
exec "$@"
