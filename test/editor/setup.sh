#!/bin/sh
# Puts what the editor test needs where it can be found again: a Node for the editor's server, the server itself (VS Code in the browser) and a Chromium.
# A second run finds them and ends at once. The last line printed is the directory; $directory/env is for a shell to source.
#
#   PODSTEP_CHROMIUM   a Chromium to use. Otherwise the one in PATH, otherwise Debian's is installed (as root).
#   XDG_CACHE_HOME     where the directory is made. Zero value: ~/.cache.
set -eu

node_version=24.21.0
server_version=4.139.1 # VS Code 1.139.1; wants exactly this major version of Node
packages='chromium build-essential pkg-config python3 libkrb5-dev libsecret-1-dev libx11-dev libxkbfile-dev' # the headers: for the server's native modules

say() { echo "setup: $*" >&2; }

fail() {
    say "$*"
    exit 1
}

# find_browser prints the path of one, or nothing.
find_browser() {
    for browser in "${PODSTEP_CHROMIUM:-}" chromium chromium-browser google-chrome; do
        if [ -n "$browser" ] && command -v "$browser"; then return; fi
    done
}

# install_packages brings what Debian has. It needs root: on a developer's machine it says what to type instead.
install_packages() {
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        fail "missing: $packages (apt-get install --no-install-recommends $packages)"
    fi
    say "install $packages"
    # shellcheck disable=SC2086 # a list of words
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive nice apt-get install -y -qq --no-install-recommends $packages; } \
        >"$cache/packages.log" 2>&1 || {
        tail -20 "$cache/packages.log" >&2
        fail "installing packages failed: $cache/packages.log"
    }
}

machine() {
    case $(uname -m) in
    x86_64) echo x64 ;;
    aarch64) echo arm64 ;;
    *) fail "no editor server for $(uname -m)" ;;
    esac
}

# install_server fills $1. Its native modules are built against the headers of the Node beside them, whatever ~/.npmrc says.
install_server() {
    mkdir -p "$1/node" "$1/server"
    say "install Node $node_version"
    nice npm install --prefix "$1/node" --no-save --no-package-lock --silent "node-linux-$(machine)@$node_version" >&2
    node=$1/node/node_modules/node-linux-$(machine)
    say "install the editor's server $server_version (some minutes, once)"
    PATH=$node/bin:$PATH npm_config_nodedir=$node nice npm install --prefix "$1/server" --no-save --no-package-lock --silent \
        --foreground-scripts "code-server@$server_version" >"$1/install.log" 2>&1 || {
        tail -40 "$1/install.log" >&2
        fail "installing the editor's server failed: $1/install.log"
    }
}

pins=$(printf '%s %s %s\n' "$node_version" "$server_version" "$(machine)" | sha256sum | cut -c1-12)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/podstep
directory=$cache/editor-$pins
mkdir -p "$cache"

exec 9>"$cache/editor.lock"
flock 9 # two test runs at once: the second waits for the first's install

if [ ! -e "$directory" ]; then
    install_packages
    rm -rf "$directory.part"
    install_server "$directory.part"
    mv "$directory.part" "$directory"
fi
[ -n "$(find_browser)" ] || install_packages

cat >"$directory/env" <<END
PODSTEP_EDITOR_NODE=$directory/node/node_modules/node-linux-$(machine)/bin/node
PODSTEP_EDITOR_SERVER=$directory/server/node_modules/code-server/out/node/entry.js
PODSTEP_CHROMIUM=$(find_browser)
END
echo "$directory"
