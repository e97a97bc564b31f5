#!/bin/sh
# The tests talk to a real broker; install it where it is missing (Debian, Raspberry Pi OS).
set -eu
command -v mosquitto >/dev/null 2>&1 && exit 0
[ -x /usr/sbin/mosquitto ] && exit 0
as_root=""
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null 2>&1 || { echo "mosquitto is missing; as root: apt-get install mosquitto" >&2; exit 1; }
  as_root="sudo"
fi
$as_root apt-get update -qq
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends mosquitto mosquitto-clients
