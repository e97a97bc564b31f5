#!/bin/sh
# The tests talk to a real broker, over TLS too, and use a real browser; install what is missing (Debian, Raspberry Pi OS).
set -eu
PATH="$PATH:/usr/sbin:/usr/local/sbin"
packages="mosquitto mosquitto-clients openssl strace chromium libnss3-tools ustreamer gcc libc6-dev"
missing=""
for tool in mosquitto mosquitto_passwd mosquitto_pub openssl strace chromium certutil ustreamer gcc; do
  command -v $tool > /dev/null || missing="$missing $tool"
done
[ -n "$missing" ] || exit 0
as_root=""
[ "$(id -u)" -eq 0 ] || as_root="sudo"
for tool in apt-get $as_root; do
  command -v "$tool" > /dev/null || { echo "missing:$missing; as root, install: $packages" >&2; exit 1; }
done
$as_root apt-get update -qq
# shellcheck disable=SC2086
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages
