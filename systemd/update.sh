#!/bin/sh
# Called by `make update` and `make rollback`, as root, in a clone of the version to install.
#   sh systemd/update.sh              builds it beside the one that runs, tries the configuration with it, switches, and
#                                     switches back where a service that ran does not start, or not stay for SETTLE_S
#   sh systemd/update.sh --rollback   back to the version before, in the same way
# /opt/edge-agent becomes a link into /opt/edge-agent.versions, which keeps two. Configuration and state are not touched.
# PIP_ARGS is handed to pip, as in install.sh; ROOT goes before all paths, for tests.
set -eu
umask 022
cd "$(dirname "$0")/.."
. systemd/program.sh

root=${ROOT:-} settle_s=${SETTLE_S:-30}
current=$root/opt/edge-agent versions=$root/opt/edge-agent.versions units=$root/etc/systemd/system
if [ "$(id -u)" != 0 ] && [ -z "$root" ]; then
    echo "run it as root: sudo make update" >&2
    exit 1
fi
services='' running=''
for name in edge-agent edge-pager edge-notify edge-pager-gpio; do
    if [ -f "$units/$name.service" ]; then
        services="$services $name"
        if systemctl is-active --quiet $name.service; then running="$running $name"; fi
    fi
done
if [ -z "$services" ] || [ ! -e "$current" ]; then
    echo "nothing is installed by make install; packages are updated with: apt install ./edge-agent_….deb" >&2
    exit 1
fi
mkdir -p "$versions"
exec 9> "$versions/.lock"
flock -n 9 || { echo "another update is running" >&2; exit 1; }

# keep_units FOLDER FROM: the units of the services that are installed.
keep_units() {
    mkdir -p "$1/units"
    for name in $services; do
        cp "$2/$name.service" "$1/units"
        if [ -f "$units/$name.service.d/10-restart-steps.conf" ]; then
            mkdir -p "$1/units/$name.service.d"
            cp "$2/$name.service.d/10-restart-steps.conf" "$1/units/$name.service.d"
        fi
    done
}

# link FOLDER NAME: in one step, so that there is always one.
link() {
    ln -sfn "$1" "$2.new"
    mv -fT "$2.new" "$2"
}

switch_to() {
    link "$1" "$current"
    cp -R "$1/units/." "$units"
    systemctl daemon-reload
}

processes() { for name in $running; do systemctl show $name.service -p MainPID --value; done; }

# The agent says itself when it is ready: after its first frame. All must then stay, without a restart.
come_up() {
    if [ -z "$running" ]; then return; fi
    for name in $running; do
        systemctl restart $name.service || return 1
    done
    before=$(processes)
    sleep "$settle_s"
    for name in $running; do
        systemctl is-active --quiet $name.service || return 1
    done
    [ "$before" = "$(processes)" ]
}

# change_to FOLDER: or stay with the old one.
change_to() {
    before_that=$(readlink "$versions/previous" || true)
    link "$old" "$versions/previous"
    switch_to "$1"
    if come_up; then
        for folder in "$versions"/*/; do
            folder=${folder%/}
            case $folder in "$1" | "$old" | "$versions/previous") ;; *) rm -rf "$folder" ;; esac
        done
        echo "$("$1/bin/edge-agent" --version) runs; back to the one before: sudo make rollback"
        return
    fi
    for name in $running; do journalctl -q -n 5 -o cat -u $name.service >&2 || true; done
    switch_to "$old"
    if [ -n "$before_that" ]; then link "$before_that" "$versions/previous"; else rm "$versions/previous"; fi
    if come_up; then echo "it did not come up or stay; the version before runs again" >&2
    else echo "it did not come up, and neither does the version before: journalctl -u${running}" >&2; fi
    return 1
}

# Of a first update: what make install made, whose scripts name /opt/edge-agent, works where that leads to it.
adopt() {
    if [ ! -L "$current" ]; then
        mv "$current" "$versions/installed"
        ln -s "$versions/installed" "$current"
    fi
    old=$(readlink "$current")
    [ -d "$old/units" ] || keep_units "$old" "$units"
}

case ${1:-} in
'')
    new=$(mktemp -d "$versions/$(date +%Y%m%d-%H%M%S)-XXXX")  # a name of its own, even within one second
    chmod 755 "$new"
    trap 'rm -rf "$new"' EXIT
    roles=''
    case $services in *edge-agent*) roles=kiosk ;; esac
    case $services in *edge-pager* | *edge-notify*) roles="$roles pager" ;; esac
    # shellcheck disable=SC2086
    program "$new" $roles || { echo "it could not be built; nothing was changed" >&2; exit 1; }
    keep_units "$new" systemd
    for name in edge-agent edge-pager; do
        config=$root/etc/$name/config.yaml
        if [ ! -f "$config" ]; then continue; fi
        as=''
        if [ -z "$root" ]; then as="runuser -u $name --"; fi
        $as "$new/bin/edge-agent" check-config "$config" || {
            echo "the new version does not take $config; nothing was changed" >&2
            exit 1
        }
    done
    adopt
    trap - EXIT
    change_to "$new" || { rm -rf "$new"; exit 1; }
    ;;
--rollback)
    if [ ! -d "$versions/previous/" ]; then
        echo "there is no version before" >&2
        exit 1
    fi
    adopt
    change_to "$(readlink "$versions/previous")"
    ;;
*)
    sed -n '2,5s/^# *//p' "$0" >&2
    exit 2
    ;;
esac
