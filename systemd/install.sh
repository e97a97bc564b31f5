#!/bin/sh
# Called by `make install` and `make uninstall`, as root; both can be run again and again.
#   sh systemd/install.sh install        program to /opt/edge-agent, configuration to /etc/edge-agent, service enabled
#   sh systemd/install.sh uninstall      all of it removed but configuration and state; PURGE=1 removes those too
# Versions and hashes are those of requirements/kiosk.txt. The configuration that is there is never changed.
# PIP_ARGS is handed to pip, e.g. PIP_ARGS='--no-index --find-links=/media/wheels'.
set -eu
cd "$(dirname "$0")/.."
. systemd/program.sh

unit=/etc/systemd/system/edge-agent.service
running() { [ -d /run/systemd/system ]; }
control() { if running; then systemctl "$@"; fi; }

if [ "$(id -u)" != 0 ]; then
    echo "run it as root: sudo make ${1:-install}" >&2
    exit 1
fi

case ${1:-} in
install)
    program /opt/edge-agent requirements/kiosk.txt
    ln -sf /opt/edge-agent/bin/edge-agent /usr/local/bin/edge-agent
    install -D -m 644 systemd/edge-agent.sysusers /etc/sysusers.d/edge-agent.conf
    install -D -m 644 systemd/edge-agent.tmpfiles /etc/tmpfiles.d/edge-agent.conf
    install -D -m 644 systemd/edge-agent.service $unit
    version=$(systemctl --version | sed -n '1s/^systemd \([0-9]*\).*/\1/p')
    if [ "$version" -ge 254 ]; then
        install -D -m 644 systemd/edge-agent.service.d/10-restart-steps.conf $unit.d/10-restart-steps.conf
    fi
    systemd-sysusers edge-agent.conf
    if [ ! -f /etc/edge-agent/config.yaml ]; then
        sed -f systemd/installed-paths.sed config.yaml |
            install -D -m 640 /dev/stdin /etc/edge-agent/config.yaml
    fi
    systemd-tmpfiles --create edge-agent.conf

    control daemon-reload
    systemctl enable --quiet edge-agent.service
    control try-restart edge-agent.service
    cat << 'END'
installed. Next:
  sudoedit /etc/edge-agent/config.d/10-site.yaml   the camera, the broker, this device's name
  sudoedit /etc/edge-agent/mqtt-password        if the broker wants one
  sudo -u edge-agent edge-agent check-config /etc/edge-agent/config.yaml
  sudo -u edge-agent edge-agent doctor --config /etc/edge-agent/config.yaml
  sudo systemctl restart edge-agent             and watch it: journalctl -fu edge-agent
END
    ;;
uninstall)
    if running; then systemctl disable --quiet --now edge-agent.service 2> /dev/null || true; fi
    rm -rf /opt/edge-agent /opt/edge-agent.versions $unit $unit.d /etc/systemd/system/multi-user.target.wants/edge-agent.service
    rm -f /usr/local/bin/edge-agent /etc/sysusers.d/edge-agent.conf /etc/tmpfiles.d/edge-agent.conf
    control daemon-reload
    if [ "${PURGE:-0}" = 1 ]; then
        rm -rf /etc/edge-agent /var/lib/edge-agent
        if getent passwd edge-agent > /dev/null; then userdel edge-agent; fi
        echo "removed, with configuration and state"
    else
        echo "removed; /etc/edge-agent and /var/lib/edge-agent are kept (PURGE=1 removes them too)"
    fi
    ;;
*)
    sed -n '2,6s/^# *//p' "$0" >&2
    exit 2
    ;;
esac
