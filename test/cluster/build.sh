#!/usr/bin/env bash
# Builds the cluster's programs and images, once for each state of their sources, and links them to build/cluster.
#
#   build.sh            all that "up run" needs, into $XDG_CACHE_HOME/podstep/cluster/VERSION/bin; nothing when it is there
#   build.sh kubectl    kubectl too
#   build.sh test       the tests of this module, in a cluster
#
# The flags are always the same: other ones would be other entries in Go's build cache, and 10 minutes. VERSION is a hash of all that
# goes in. The three versions used last are kept, and those of running clusters. One build runs at a time; others wait for it.
set -euo pipefail
cd "$(dirname "$0")"
repo=$(cd ../.. && pwd)
say() { echo "cluster: $*" >&2; }

export CGO_ENABLED=0 GOFLAGS='-trimpath -buildvcs=false' GOGC=400
gcflags=-gcflags=all=-dwarf=false
release=$(sed -n 's|^\tk8s.io/kubernetes v||p' go.mod)
minor=$(cut -d. -f2 <<<"$release")
ldflags="-s -w -X k8s.io/component-base/version.gitVersion=v$release -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=$minor -X k8s.io/client-go/pkg/version.gitVersion=v$release"
programs=(./kubebox ./containerd-shim-runc-v2 ./coredns ./echo ./pause ./up)
images=(coredns echo pause)

# build ARG... is go build with the flags. go -v says a line for each package that it compiles: progress is told from their number.
build() {
    nice -n 10 go build -v "$gcflags" -ldflags "$ldflags" "$@" 2>&1 | {
        compiled=0 fetched=0 told=$SECONDS
        while IFS= read -r line; do
            case $line in
            'go: downloading '*) fetched=$((fetched + 1)) ;;
            *' '*) echo "$line" >&2 ;;
            *) compiled=$((compiled + 1)) ;;
            esac
            if ((SECONDS >= told + 15)); then
                told=$SECONDS
                say "$fetched modules fetched, $compiled of up to 3,450 packages compiled after $SECONDS s"
            fi
        done
    }
}

# image NAME makes the archive of an image with one program in it.
image() {
    go run -C "$repo/agent/image" . -o "$1/images/$2.tar" -ref "test.local/$2:1" -plain -entrypoint "/$2" "/$2=$1/$2"
}

version=$({
    go version
    echo "$GOFLAGS $gcflags $ldflags ${programs[*]}"
    find . "$repo/agent/image" \( -name '*.go' -o -name go.mod -o -name go.sum -o -name build.sh \) ! -name '*_test.go' -print0 |
        LC_ALL=C sort -z | xargs -0 sha256sum | cut -d' ' -f1
} | sha256sum | cut -c1-16)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/podstep/cluster
mkdir -p "$cache" "$repo/build"
exec 9>"$cache/lock"
flock --nonblock 9 || {
    say "waiting for another build"
    flock 9
}

bin=$cache/$version/bin
if [ ! -e "$bin" ]; then
    say "building Kubernetes $release (version $version): 8 to 13 minutes the first time, seconds after that"
    rm -rf "$cache"/*/new
    mkdir -p "$cache/$version/new/images"
    build -o "$cache/$version/new/" "${programs[@]}"
    say "making images"
    for name in "${images[@]}"; do
        image "$cache/$version/new" "$name"
        rm "$cache/$version/new/$name"
    done
    mv "$cache/$version/new" "$bin"
fi
if [ "${1:-}" = kubectl ] && [ ! -e "$bin/kubectl" ]; then
    say "building kubectl"
    build -o "$bin/" ./kubectl
fi
touch "$cache/$version"
find "$cache" -mindepth 1 -maxdepth 1 -type d -printf '%T@ %p\n' | sort -rn | tail -n +4 | cut -d' ' -f2- | while IFS= read -r old; do
    flock --nonblock "$old/bin" rm -rf "$old" || say "$old is in use"
done
ln -sfn "$bin" "$repo/build/cluster"
"$bin/up" check || say "there it is, but cannot run yet"
say "ready after $SECONDS s: build/cluster -> $bin"
if [ "${1:-}" = test ]; then
    "$bin/up" run -nodes 2 -state "$repo/build/cluster-test" -bin "$bin" go test "$gcflags" -count=1 ./internal/... ./up
fi
