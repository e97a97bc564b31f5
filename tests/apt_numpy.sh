#!/bin/sh
# `make install` in a Bookworm tree whose apt packages are built for numpy 1.24, as picamera2's are on Raspberry Pi OS: the
# agent says what to do where numpy 2 was installed before picamera2 was, and works once that is done.
#   sudo make test-camera SUITE=bookworm      (TREE=/var/tmp/edge-agent-camera-bookworm)
# Debian's Bookworm has neither picamera2 nor libcamera's Python; a stand-in built on apt's PyWavelets takes their place.
# Not part of `make test`: it needs root, debootstrap, and some minutes to make the tree once.
set -eu
cd "$(dirname "$0")/.."
tree=${TREE:-/var/tmp/edge-agent-camera-bookworm}
[ "$(id -u)" = 0 ] || { echo "run it as root" >&2; exit 1; }
command -v debootstrap > /dev/null || { echo "debootstrap is missing: apt install debootstrap" >&2; exit 1; }

if [ ! -d "$tree/usr/lib/python3/dist-packages/pywt" ]; then
    debootstrap --variant=minbase \
        --include=systemd,python3,python3-venv,python3-numpy,python3-pywt,make,ca-certificates bookworm "$tree"
fi
rm -rf "$tree/src" "$tree/opt/edge-agent" "$tree/usr/lib/python3/dist-packages/picamera2.py"
mkdir "$tree/src"
git ls-files -z | xargs -0 cp --parents -t "$tree/src"
if ! cat requirements/kiosk.txt requirements/kiosk-numpy1.txt | cmp -s - "$tree/wheels/locks.txt"; then
    rm -rf "$tree/wheels"
    platforms=$(for minor in 5 12 17 24 26 27 28 31 34 35; do echo "--platform manylinux_2_${minor}_$(uname -m)"; done)
    for lock in kiosk kiosk-numpy1; do
        # shellcheck disable=SC2086
        python3 -m pip download --quiet --dest "$tree/wheels" --only-binary=:all: --python-version 3.11 $platforms \
            --platform "manylinux2014_$(uname -m)" --platform any \
            --require-hashes -r requirements/build.txt -r requirements/$lock.txt
    done
    cat requirements/kiosk.txt requirements/kiosk-numpy1.txt > "$tree/wheels/locks.txt"
fi
cat > "$tree/probe.sh" << 'END'
failed=0
check() { name=$1; shift; if "$@" > /tmp/out 2>&1; then echo "ok    $name"; else failed=1; echo "FAIL  $name"; cat /tmp/out; fi; }
cat > /config.yaml << 'YAML'
camera: {source: picamera2, width: 640, height: 480, frame_rate_hz: 10}
outbox: {state_dir: /tmp/state}
YAML
cd /src
export PIP_ARGS='--no-index --find-links=/wheels' PIP_DISABLE_PIP_VERSION_CHECK=1
check "make install where nothing needs numpy 1" make install
check "brings numpy 2" sh -c "/opt/edge-agent/bin/python -c 'import numpy; print(numpy.__version__)' | grep '^2\.'"
cp tests/virtual_camera/numpy1_picamera2.py /usr/lib/python3/dist-packages/picamera2.py
check "apt's picamera2 works with apt's numpy" python3 -c 'import picamera2, numpy; assert numpy.__version__ == "1.24.2"'
edge-agent doctor --config /config.yaml > /tmp/said 2>&1
check "doctor says in one line what to do about numpy 2" \
    grep -E 'camera: picamera2 cannot be imported .* another numpy than 2.*run: sudo make install, once more' /tmp/said
check "and no traceback" sh -c "! grep Traceback /tmp/said"
check "make install, once more" make install
check "brings numpy 1" sh -c "/opt/edge-agent/bin/python -c 'import numpy; print(numpy.__version__)' | grep '^1\.26'"
edge-agent doctor --config /config.yaml > /tmp/said 2>&1
check "the camera's driver loads and delivers" grep -E 'camera: picamera2 gives 640x480' /tmp/said
check "so do the models" grep -E 'models: .*golden vectors hold' /tmp/said
timeout --signal=TERM --kill-after=5 15 edge-agent run --config /config.yaml 2> /tmp/log
check "the agent runs" grep -q 'camera delivers frames' /tmp/log
check "make uninstall" make uninstall
exit $failed
END
mountpoint -q "$tree/proc" || mount -t proc proc "$tree/proc"
trap 'umount "$tree/proc"' EXIT
env -i PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin HOME=/root chroot "$tree" sh /probe.sh
