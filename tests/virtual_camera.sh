#!/bin/sh
# Runs the agent on picamera2 and libcamera in a Debian tree; the camera is libcamera's virtual one, showing the demo clip.
#   sudo make test-camera           (TREE=/var/tmp/edge-agent-camera)
# Not part of `make test`: it needs root, debootstrap, and some minutes to make the tree once.
set -eu
cd "$(dirname "$0")/.."
tree=${TREE:-/var/tmp/edge-agent-camera}
[ "$(id -u)" = 0 ] || { echo "run it as root" >&2; exit 1; }
command -v debootstrap > /dev/null || { echo "debootstrap is missing: apt install debootstrap" >&2; exit 1; }

if [ ! -x "$tree/usr/bin/mosquitto_sub" ]; then
    debootstrap --variant=minbase \
        --include=python3,python3-venv,python3-dev,python3-libcamera,libcamera-ipa,libcap-dev,gcc,libc6-dev,mosquitto,mosquitto-clients,ca-certificates \
        trixie "$tree"
fi
# The tree asks and trusts whom this computer asks and trusts.
cp /etc/resolv.conf "$tree/etc/resolv.conf"
cp /etc/ssl/certs/ca-certificates.crt "$tree/etc/ssl/certs/ca-certificates.crt"
rm -rf "$tree/src"
mkdir "$tree/src"
git ls-files -z | xargs -0 cp --parents -t "$tree/src"
mkdir -p "$tree/usr/share/libcamera/pipeline/virtual"
cat > "$tree/usr/share/libcamera/pipeline/virtual/virtual.yaml" << 'END'
"Virtual0":
  supported_formats:
  - width: 640
    height: 512
    frame_rates: [15, 30]
  frames:
    path: "/frames/"
  location: "CameraLocationFront"
  model: "Virtual Video Device"
END
cat > "$tree/probe.sh" << 'END'
set -eu
export PIP_DISABLE_PIP_VERSION_CHECK=1
[ -x /venv/bin/edge-agent ] || python3 -m venv --system-site-packages /venv
/venv/bin/pip install --quiet picamera2 /src 2> /tmp/pip || { cat /tmp/pip; exit 1; }
gcc -shared -fPIC -Wall -Werror -o /udmabuf.so /src/tests/virtual_camera/udmabuf.c
[ -d /frames ] || /venv/bin/python /src/tests/virtual_camera/frames.py /frames
cat > /config.yaml << 'YAML'
camera: {source: picamera2, width: 640, height: 512, frame_rate_hz: 15}
privacy: {notice_posted: true}
outbox: {state_dir: /tmp/state}
performance: {max_cpu_percent: 400}  # the virtual camera delivers as fast as it is read
YAML
mosquitto > /dev/null 2>&1 &
broker=$!
agent="env LD_PRELOAD=/udmabuf.so PYTHONPATH=/src/tests/virtual_camera LIBCAMERA_LOG_LEVELS=*:ERROR /venv/bin/edge-agent"
failed=0
check() { name=$1; shift; if "$@" > /tmp/out 2>&1; then echo "ok    $name"; else failed=1; echo "FAIL  $name"; cat /tmp/out; fi; }
check "edge-agent doctor sees the camera" sh -c "$agent doctor --config /config.yaml | grep 'camera: picamera2 gives 640x512'"
mosquitto_sub -t 'kiosk/v1/+/+/alert/+' -W 30 > /tmp/alerts &
listener=$!
cd /tmp
timeout --signal=TERM --kill-after=5 15 $agent run --config /config.yaml 2> /tmp/log && code=0 || code=$?
check "it captured frames" grep -q 'camera delivers frames' /tmp/log
check "an angry face became a page" grep -q '"step": "raised"' /tmp/alerts
check "and the page was ended" grep -q '"step": "cleared"' /tmp/alerts
check "it stopped when told to" test "$code" = 124  # what timeout says of a process that ended at its signal
kill $listener $broker
exit $failed
END
mountpoint -q "$tree/proc" || mount -t proc proc "$tree/proc"
trap 'umount "$tree/proc"' EXIT
env -i PATH=/usr/bin:/bin:/usr/sbin:/sbin HOME=/root chroot "$tree" sh /probe.sh
