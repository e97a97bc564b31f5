#!/bin/sh
# Boots a Debian tree under a real systemd and tries install, start, watchdog, restart, stop, journal and uninstall.
#   sudo make test-boot           (TREE=/var/tmp/edge-agent-boot, SUITE=trixie, FROM=source)
# FROM=deb tries the packages of `make packages` in place of `make install`; those of dist/, built if they are not there.
# Not part of `make test`: it needs root, debootstrap and systemd-container, and some minutes to make the tree once.
set -eu
cd "$(dirname "$0")/.."
tree=${TREE:-/var/tmp/edge-agent-boot} suite=${SUITE:-trixie} from=${FROM:-source}
[ "$(id -u)" = 0 ] || { echo "run it as root" >&2; exit 1; }
for tool in debootstrap systemd-nspawn; do
    command -v $tool > /dev/null || { echo "$tool is missing: apt install debootstrap systemd-container" >&2; exit 1; }
done

if [ ! -x "$tree/usr/bin/mosquitto_sub" ]; then
    debootstrap --variant=minbase \
        --include=systemd,systemd-sysv,dbus,python3,python3-venv,make,mosquitto,mosquitto-clients,ca-certificates,libstdc++6,tzdata \
        "$suite" "$tree"
fi
rm -rf "$tree/src" "$tree/probe.log"
mkdir "$tree/src"
git ls-files -z | xargs -0 cp --parents -t "$tree/src"
if [ "$from" = deb ]; then
    python=${PYTHON:-.venv/bin/python} number=$(. "$tree/etc/os-release" && echo "$VERSION_ID") arch=$(dpkg --print-architecture)
    ls dist/edge-agent_*+deb"${number}_$arch.deb" > /dev/null 2>&1 ||
        "$python" packaging/build.py --suite "$suite" --arch "$arch"
    rm -rf "$tree/debs"
    mkdir "$tree/debs"
    cp dist/edge-agent_*+deb"${number}_$arch.deb" "$tree/debs/edge-agent.deb"
    cp dist/edge-agent-pager_*+deb"${number}_$arch.deb" "$tree/debs/edge-agent-pager.deb"
    # The next version, with a new default in its configuration.
    dpkg-deb -R "$tree/debs/edge-agent.deb" "$tree/debs/next"
    sed -i 's/^Version: .*/&+next/' "$tree/debs/next/DEBIAN/control"
    echo '# the next version' >> "$tree/debs/next/etc/edge-agent/config.yaml"
    dpkg-deb --root-owner-group -Znone --build "$tree/debs/next" "$tree/debs/next.deb" > /dev/null
    rm -r "$tree/debs/next"
else
    python=$(ls "$tree"/usr/bin/python3.* | sed -n 's/.*python\(3\.[0-9]*\)$/\1/p' | head -1)
    if ! cmp -s requirements/kiosk.txt "$tree/wheels/kiosk.txt"; then
        rm -rf "$tree/wheels"
        platforms=$(for minor in 5 12 17 24 26 27 28 31 34 35; do echo "--platform manylinux_2_${minor}_$(uname -m)"; done)
        # shellcheck disable=SC2086
        python3 -m pip download --quiet --dest "$tree/wheels" --only-binary=:all: --python-version "$python" $platforms \
            --platform "manylinux2014_$(uname -m)" --platform any \
            --require-hashes -r requirements/build.txt -r requirements/kiosk.txt
        cp requirements/kiosk.txt "$tree/wheels"
    fi
fi
echo "FROM=$from" > "$tree/from"

cat > "$tree/probe.sh" << 'END'
check() { name=$1; shift; if "$@" > /tmp/out 2>&1; then echo "ok    $name"; else echo "FAIL  $name"; cat /tmp/out; fi; }
shows() { systemctl show edge-agent -p "$1" --value | grep -qx "$2"; }
within_s() { s=$1; shift; for _ in $(seq "$s"); do if "$@"; then return 0; fi; sleep 1; done; return 1; }
within() { for _ in $(seq "$1"); do if shows "$2" "$3"; then return 0; fi; sleep 1; done; return 1; }
. /from
export DEBIAN_FRONTEND=noninteractive
apt() { apt-get -qq -y -o Dpkg::Options::=--force-confold "$@"; }
cd /src
export PIP_ARGS='--no-index --find-links=/wheels'
if [ $FROM = deb ]; then
    check "apt install ./edge-agent.deb" apt install /debs/edge-agent.deb
    check "it waits for its configuration" sh -c "systemctl is-enabled edge-agent && ! systemctl is-active edge-agent"
else
    check "make install" make install
    check "make install, again" make install
fi
check "the configuration is the agent's to read, root's to write" sh -c "stat -c '%U %G %a' /etc/edge-agent/config.yaml | grep -qx 'root edge-agent 640'"
check "so are its drop-ins" sh -c "stat -c '%U %G %a' /etc/edge-agent/config.d | grep -qx 'root edge-agent 750'"
sed -i 's/^  source: opencv .*/  source: synthetic/' /etc/edge-agent/config.yaml
if [ $FROM = source ]; then
    check "make install keeps a changed configuration" sh -c "make install && grep -q 'source: synthetic' /etc/edge-agent/config.yaml"
fi
sed -i '/^web:/,/^$/s/enabled: false/enabled: true /' /etc/edge-agent/config.yaml
sed -i 's/^  cores: \[\]  /  cores: [0] /' /etc/edge-agent/config.yaml
check "check-config, as the service's user" runuser -u edge-agent -- edge-agent check-config /etc/edge-agent/config.yaml
systemctl start mosquitto
check "start, ready after the first frame" systemctl restart edge-agent
check "it says what it does" shows StatusText watching
check "the outbox is where commands beside the service look for it" test -f /var/lib/edge-agent/outbox.sqlite3
check "the live view answers" python3 -c "import urllib.request as u; assert b'edge-agent' in u.urlopen('http://127.0.0.1:8080/').read()"
check "messages arrive" mosquitto_sub -h 127.0.0.1 -t 'kiosk/v1/site/kiosk-1/state' -C 1 -W 10
pid=$(systemctl show edge-agent -p MainPID --value)
check "it runs as its own user" sh -c "ps -o user= -p $pid 2>/dev/null | grep -q edge ||
    stat -c %U /proc/$pid | grep -q edge-agent"
check "it stays on the core it was given" grep -qx 'Cpus_allowed_list:	0' "/proc/$pid/status"
mkdir -p /run/systemd/timesync && touch /run/systemd/timesync/synchronized
check "it believes the clock once timesyncd has set it" systemd-run --quiet --pipe --wait -p User=edge-agent -p ProtectClock=yes \
    -p SystemCallErrorNumber=EPERM -p SystemCallFilter=@system-service -p "SystemCallFilter=~@privileged @resources" \
    /opt/edge-agent/bin/python -c 'from edge_agent.clock import synchronised; assert synchronised()'
mkdir -p /run/systemd/system/edge-agent.service.d
printf '[Service]\nWatchdogSec=3\n' > /run/systemd/system/edge-agent.service.d/watchdog.conf
systemctl daemon-reload
systemctl restart edge-agent
sleep 5
check "the watchdog is fed" shows NRestarts 0
kill -STOP "$(systemctl show edge-agent -p MainPID --value)"
check "a process that stands still is killed and restarted" within 20 NRestarts 1
check "and runs again" within 10 ActiveState active
told() { journalctl -u edge-agent --no-pager | grep -q "$1"; }
check "and tells that the last run stood still" within_s 10 told "the last run stood still"
kill -KILL "$(systemctl show edge-agent -p MainPID --value)"
check "a process that is killed is restarted" within 20 NRestarts 2
check "and runs again" within 10 ActiveState active
check "and tells what ended the last run" within_s 10 told "signal KILL ended the last run"
if grep -qw memory /sys/fs/cgroup/cgroup.controllers 2> /dev/null; then
    mkdir -p /run/systemd/system/edge-agent.service.d
    printf '[Service]\nMemoryMax=40M\n' > /run/systemd/system/edge-agent.service.d/memory.conf
    systemctl daemon-reload
    systemctl restart --no-block edge-agent
    check "a process that takes too much memory is killed" within_s 30 sh -c "journalctl -u edge-agent --no-pager | grep -q oom-kill"
    rm /run/systemd/system/edge-agent.service.d/memory.conf
    systemctl daemon-reload
    check "and the next run tells it" within_s 30 told "took more memory than it may"
else
    echo "--    no memory controller here: MemoryMax is not tried (tests/test_last_end.py has the kernel kill one)"
fi
check "stop" systemctl stop edge-agent
check "it stopped by itself" shows Result success
check "the journal has it" sh -c "journalctl -u edge-agent --no-pager | grep -q '\"event\": \"stopped\"'"
check "it wrote its state only" sh -c "! find / -xdev -user edge-agent -type f -not -path '/var/lib/edge-agent/*' -not -path '/proc/*' | grep ."
if [ $FROM = deb ]; then
    systemctl start edge-agent
    before=$(systemctl show edge-agent -p MainPID --value)
    check "the folder of drop-ins says what it is for, to whom it may" runuser -u edge-agent -- grep -q 10-site.yaml /etc/edge-agent/config.d/README
    check "an upgrade" apt install /debs/next.deb
    check "keeps a changed configuration, as it was owned" sh -c "grep -q 'source: synthetic' /etc/edge-agent/config.yaml &&
        stat -c '%U %G %a' /etc/edge-agent/config.yaml | grep -qx 'root edge-agent 640'"
    check "and restarts what ran" sh -c "systemctl is-active edge-agent && test $before != $(systemctl show edge-agent -p MainPID --value)"
    systemctl disable --quiet edge-agent
    check "an upgrade leaves disabled what was disabled" sh -c "dpkg-reconfigure edge-agent && ! systemctl is-enabled edge-agent"
    systemctl enable --quiet edge-agent
    check "the pager's package beside it" apt install /debs/edge-agent-pager.deb
    check "its unedited configuration is understood" runuser -u edge-pager -- edge-agent check-config /etc/edge-pager/config.yaml
    check "the pager's server starts with it" systemctl start edge-pager
    check "and asks for its token, with a certificate of its own" within_s 20 python3 -c "import http.client, ssl
page = http.client.HTTPSConnection('127.0.0.1', 8090, context=ssl._create_unverified_context())
page.request('GET', '/')
assert page.getresponse().status == 401"
    check "which it made" sh -c "stat -c '%U %G %a %s' /etc/edge-pager/token | grep -qx 'root edge-pager 640 33'"
    check "manual pages" sh -c "zcat /usr/share/man/man1/edge-agent.1.gz /usr/share/man/man1/edge-agent-pager.1.gz | grep -q join"
    check "the kiosk's program stays the command" sh -c "readlink -f /usr/bin/edge-agent | grep -qx /opt/edge-agent/bin/edge-agent"
    check "apt remove" apt remove edge-agent
    check "stops the service, and keeps configuration and state" sh -c "! systemctl is-active edge-agent && test ! -e /opt/edge-agent &&
        test -f /etc/edge-agent/config.yaml && test -f /var/lib/edge-agent/outbox.sqlite3"
    check "the pager's program is the command now" edge-agent --version
    check "and its manual page" sh -c "readlink -f /usr/share/man/man1/edge-agent.1.gz | grep -q ^/opt/edge-pager/"
    check "apt purge" apt purge edge-agent edge-agent-pager
    check "leaves nothing" sh -c "! ls -d /opt/edge-* /etc/edge-* /var/lib/edge-* /usr/bin/edge-agent /usr/share/man/man1/edge-* /etc/systemd/system/*/edge-* 2> /dev/null | grep . &&
        ! id edge-agent && ! id edge-pager"
    install -D -m 644 /src/systemd/edge-agent.service /etc/systemd/system/edge-agent.service
    check "beside make install it says what to do" sh -c "! apt-get -qq -y install /debs/edge-agent.deb > /tmp/told 2>&1 && grep -q 'make uninstall' /tmp/told"
    rm /etc/systemd/system/edge-agent.service
else
    systemctl start edge-agent
    export SETTLE_S=8
    check "make update" make update
    check "the new version runs beside the old one" sh -c "systemctl is-active edge-agent && readlink /opt/edge-agent | grep -q edge-agent.versions/2 &&
        test -x /opt/edge-agent.versions/installed/bin/python"
    good=$(readlink /opt/edge-agent)
    cp edge_agent/agent/loop.py /tmp/loop.py
    sed -i '1i raise SystemExit(3)' edge_agent/agent/loop.py
    check "a version that does not start is taken back" sh -c "! make update && systemctl is-active edge-agent && test $good = \$(readlink /opt/edge-agent)"
    cp /tmp/loop.py edge_agent/agent/loop.py
    check "make rollback" make rollback
    check "what make install made runs again, from where it lies now" sh -c "systemctl is-active edge-agent && edge-agent --version &&
        readlink /opt/edge-agent | grep -q installed"
    check "make uninstall" sh -c "make uninstall && test ! -e /opt/edge-agent && test ! -e /opt/edge-agent.versions && test -f /etc/edge-agent/config.yaml"
    check "make uninstall, again" make uninstall
    check "make uninstall PURGE=1" sh -c "PURGE=1 make uninstall && test ! -e /etc/edge-agent && ! id edge-agent"
fi
echo done
systemctl poweroff --force
END
cat > "$tree/etc/systemd/system/probe.service" << 'END'
[Unit]
After=multi-user.target
[Service]
Type=oneshot
StandardOutput=append:/probe.log
StandardError=append:/probe.log
ExecStart=/bin/sh /probe.sh
END
mkdir -p "$tree/etc/systemd/system/default.target.wants"
ln -sf ../probe.service "$tree/etc/systemd/system/default.target.wants/probe.service"
timeout 600 systemd-nspawn -q --private-network -D "$tree" --register=no --keep-unit -b > /dev/null 2>&1 || true
cat "$tree/probe.log"
grep -qx done "$tree/probe.log" && ! grep -q ^FAIL "$tree/probe.log"
