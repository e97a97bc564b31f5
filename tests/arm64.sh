#!/bin/sh
# Installs the wheel into 64-bit Arm trees, with what Raspberry Pi OS has, and runs the demo there through QEMU.
#   sudo make test-arm64            (TREES=/var/tmp/edge-agent-arm64)
# Bookworm: Python 3.11 and tflite-runtime alone; Trixie: Python 3.13 and ai-edge-litert. QEMU is slow: a quarter of an hour.
# Not part of `make test`: it needs root, mmdebstrap and qemu-user-static.
set -eu
cd "$(dirname "$0")/.."
trees=${TREES:-/var/tmp/edge-agent-arm64}
python=$(command -v "${PYTHON:-python3}")
[ "$(id -u)" = 0 ] || { echo "run it as root" >&2; exit 1; }
for tool in mmdebstrap qemu-aarch64-static; do
    command -v $tool > /dev/null || { echo "$tool is missing: apt install mmdebstrap qemu-user-static" >&2; exit 1; }
done
if [ "$(uname -m)" != aarch64 ] && [ ! -e /proc/sys/fs/binfmt_misc/qemu-aarch64 ]; then
    [ -e /proc/sys/fs/binfmt_misc/register ] || mount -t binfmt_misc none /proc/sys/fs/binfmt_misc
    cat /usr/lib/binfmt.d/qemu-aarch64.conf > /proc/sys/fs/binfmt_misc/register
fi

work=$(mktemp -d)
trap 'umount "$trees"/*/proc 2> /dev/null || true; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
mkdir "$work/src"
git ls-files -z | xargs -0 cp --parents -t "$work/src"
"$python" -m pip wheel --quiet --no-deps --wheel-dir "$work" "$work/src"
wheel=$(ls "$work"/edge_agent-*.whl)
platforms=$(for minor in 17 24 26 27 28 31 34 35; do echo "--platform manylinux_2_${minor}_aarch64"; done)

# prepare SUITE PYTHON REQUIREMENT...: a tree with the wheel and what it needs, put there from outside.
prepare() {
    tree=$trees/$1 version=$2
    shift 2
    if [ ! -x "$tree/usr/bin/python3" ]; then
        echo "unpacking $tree ..."
        mkdir -p "$trees"
        mmdebstrap --quiet --variant=extract --architectures=arm64 --include=python3,libstdc++6,ca-certificates \
            --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr "$(basename "$tree")" "$tree" > "$work/log" 2>&1 ||
            { cat "$work/log"; exit 1; }
    fi
    rm -rf "$tree/app" "$tree/src"
    # shellcheck disable=SC2086
    "$python" -m pip install --quiet --disable-pip-version-check --target "$tree/app" --only-binary=:all: --no-compile \
        --python-version "$version" $platforms --platform manylinux2014_aarch64 "$@" \
        2> "$work/log" || { cat "$work/log"; exit 1; }
    cp -r "$work/src" "$tree/src"
}

failed=0
# run SUITE COMMAND...: run it there; its last lines are shown when it fails.
run() {
    tree=$trees/$1
    shift
    start=$(date +%s)
    if env -i PATH=/usr/bin:/bin:/usr/sbin:/sbin HOME=/tmp PYTHONPATH=/app chroot "$tree" "$@" > "$work/out" 2>&1; then word=ok; else word=FAIL; fi
    printf '%-5s %-9s %4d s  %s\n' "$word" "$(basename "$tree")" "$(($(date +%s) - start))" "$*"
    [ $word = ok ] || { failed=1; tail -20 "$work/out"; }
}

prepare bookworm 3.11 "$wheel[demo]" pytest 'numpy<2' opencv-python-headless==4.11.0.86 tflite-runtime==2.14.0
rm -rf "$trees"/bookworm/app/ai_edge_litert*  # the wheel wants it, and it would be found first
prepare trixie 3.13 "$wheel[demo]" pytest
for suite in bookworm trixie; do
    mkdir -p "$trees/$suite/proc"
    mountpoint -q "$trees/$suite/proc" || mount -t proc proc "$trees/$suite/proc"
    run $suite python3 -m edge_agent --version
    run $suite python3 -m pytest -q -p no:cacheprovider /src/tests/test_runtime.py
    run $suite python3 -m edge_agent demo --fast --json
    grep '^{' "$work/out" || true
done
exit $failed
