#!/bin/sh
# Called by `make install-pager` and `make uninstall-pager`, as root, on one computer of the site; both can be run again
# and again.
#   sh systemd/install-pager.sh install-pager     program to /opt/edge-agent, configuration to /etc/edge-pager, service enabled
#   sh systemd/install-pager.sh uninstall-pager   the services removed, the program as well where no agent runs on it;
#                                                 PURGE=1 removes configuration and state too, and every phone joins anew
# Versions and hashes are those of requirements/pager.txt.
# The configuration that is there is never changed. PIP_ARGS is handed to pip, as in install.sh.
set -eu
umask 022
cd "$(dirname "$0")/.."
. systemd/program.sh

units=/etc/systemd/system
running() { [ -d /run/systemd/system ]; }
control() { if running; then systemctl "$@"; fi; }

if [ "$(id -u)" != 0 ]; then
    echo "run it as root: sudo make ${1:-install-pager}" >&2
    exit 1
fi

case ${1:-} in
install-pager)
    program /opt/edge-agent requirements/pager.txt
    ln -sf /opt/edge-agent/bin/edge-agent /usr/local/bin/edge-agent

    install -D -m 644 systemd/edge-pager.sysusers /etc/sysusers.d/edge-pager.conf
    install -D -m 644 systemd/edge-pager.tmpfiles /etc/tmpfiles.d/edge-pager.conf
    install -D -m 644 -t $units systemd/edge-pager.service systemd/edge-notify.service
    systemd-sysusers edge-pager.conf
    install -d -m 750 /etc/edge-pager
    if [ ! -f /etc/edge-pager/config.yaml ]; then
        install -m 640 /dev/stdin /etc/edge-pager/config.yaml << 'END'
mqtt:
  host: 127.0.0.1           # the broker, as the kiosks know it
  port: 1883                # 8883 with TLS
  username: null            # such as staff; its password goes into /etc/edge-pager/mqtt-password
  password_file: /etc/edge-pager/mqtt-password
  tls: {enabled: false, ca_file: null}
pager:
  host: 0.0.0.0             # all networks of this computer, on port 8090, with a certificate of its own
  token_file: /etc/edge-pager/token
  state_dir: /var/lib/edge-pager
notify:
  push_contact: null        # mailto: address of whoever looks after this; phones ring with their screen off then
END
    fi
    if [ ! -s /etc/edge-pager/token ]; then
        /opt/edge-agent/bin/python -c 'import secrets; print(secrets.token_hex(16))' |
            install -m 640 /dev/stdin /etc/edge-pager/token
    fi
    systemd-tmpfiles --create edge-pager.conf

    control daemon-reload
    systemctl enable --quiet edge-pager.service
    control try-restart edge-pager.service edge-notify.service
    cat << 'END'
installed. Next:
  sudoedit /etc/edge-pager/config.yaml          the broker
  sudoedit /etc/edge-pager/mqtt-password        if the broker wants one
  sudo -u edge-pager edge-agent check-config /etc/edge-pager/config.yaml
  sudo systemctl restart edge-pager             and watch it: journalctl -fu edge-pager
  sudo edge-agent pager --join --config /etc/edge-pager/config.yaml    what a phone scans
  sudo systemctl enable --now edge-notify       once notify.push_contact or notify.targets are set
END
    ;;
uninstall-pager)
    if running; then systemctl disable --quiet --now edge-pager.service edge-notify.service 2> /dev/null || true; fi
    rm -f $units/edge-pager.service $units/edge-notify.service $units/multi-user.target.wants/edge-pager.service \
        $units/multi-user.target.wants/edge-notify.service /etc/sysusers.d/edge-pager.conf /etc/tmpfiles.d/edge-pager.conf
    if [ ! -f $units/edge-agent.service ] && [ ! -f $units/edge-pager-gpio.service ]; then
        rm -rf /opt/edge-agent /opt/edge-agent.versions
        rm -f /usr/local/bin/edge-agent
    fi
    control daemon-reload
    if [ "${PURGE:-0}" = 1 ]; then
        rm -rf /etc/edge-pager /var/lib/edge-pager
        if getent passwd edge-pager > /dev/null; then userdel edge-pager; fi
        echo "removed, with configuration and state"
    else
        echo "removed; /etc/edge-pager and /var/lib/edge-pager are kept (PURGE=1 removes them too)"
    fi
    ;;
*)
    sed -n '2,8s/^# *//p' "$0" >&2
    exit 2
    ;;
esac
