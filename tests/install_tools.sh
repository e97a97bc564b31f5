#!/bin/sh
# The tests talk to a real broker, over TLS too, and use a real browser; install what is missing (Debian, Raspberry Pi OS).
set -eu
PATH="$PATH:/usr/sbin:/usr/local/sbin"
command -v mosquitto >/dev/null && command -v mosquitto_passwd >/dev/null && command -v openssl >/dev/null && command -v strace >/dev/null &&
  command -v chromium >/dev/null && command -v certutil >/dev/null && command -v ustreamer >/dev/null &&
  command -v gcc >/dev/null && exit 0
as_root=""
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || { echo "as root, run: apt-get install mosquitto openssl strace chromium libnss3-tools ustreamer gcc libc6-dev" >&2; exit 1; }
  as_root="sudo"
fi
$as_root apt-get update -qq
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends mosquitto openssl strace chromium libnss3-tools ustreamer gcc libc6-dev
