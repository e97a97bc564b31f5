#!/bin/sh
# Makes what compose.yaml mounts, in /srv/edge-agent or $EDGE_AGENT_SITE: passwords, certificates, and configurations to change.
#   sudo sh packaging/compose-files.sh NAME-OF-THIS-COMPUTER
# Phones ask for that name, such as pager.lan. What is there is kept.
set -eu
cd "$(dirname "$0")"
[ $# = 1 ] || { sed -n '2,4s/^# //p' "$0" >&2; exit 2; }
[ "$(id -u)" = 0 ] || { echo "run it as root: the containers' users own these files" >&2; exit 1; }
for tool in openssl mosquitto_passwd; do
    command -v $tool > /dev/null || { echo "$tool is missing: apt install openssl mosquitto" >&2; exit 1; }
done
site=${EDGE_AGENT_SITE:-/srv/edge-agent}

# Within the compose file the broker is named so.
sh ../systemd/mosquitto/make-certificates.sh -o "$site/broker/certs" -a "$site/authority" broker > /dev/null
umask 077
mkdir -p "$site/broker/conf.d" "$site/kiosk" "$site/pager"
secret() { [ -s "$1" ] || openssl rand -hex 16 > "$1"; }
secret "$site/kiosk/mqtt-password"
secret "$site/pager/mqtt-password"
secret "$site/pager/token"
cp "$site/broker/certs/ca.pem" "$site/kiosk/"
cp "$site/broker/certs/ca.pem" "$site/pager/"
cp ../systemd/mosquitto/edge-agent.conf "$site/broker/conf.d/"
echo "persistence_location /mosquitto/data/" >> "$site/broker/conf.d/edge-agent.conf"
cp ../systemd/mosquitto/edge-agent.acl "$site/broker/"
[ -f "$site/broker/edge-agent.passwords" ] || : > "$site/broker/edge-agent.passwords"
mosquitto_passwd -b "$site/broker/edge-agent.passwords" site/kiosk-1 "$(cat "$site/kiosk/mqtt-password")"
mosquitto_passwd -b "$site/broker/edge-agent.passwords" staff "$(cat "$site/pager/mqtt-password")"

[ -f "$site/kiosk/config.yaml" ] || cat > "$site/kiosk/config.yaml" << 'END'
camera: {source: opencv, device: "0"}
mqtt:
  host: broker
  port: 8883
  username: site/kiosk-1
  password_file: /etc/edge-agent/mqtt-password
  tls: {enabled: true, ca_file: /etc/edge-agent/ca.pem}
outbox: {state_dir: /var/lib/edge-agent}
privacy: {notice_posted: false}   # true once the sign of `edge-agent notice` is up; until then nobody is paged
END
[ -f "$site/pager/config.yaml" ] || cat > "$site/pager/config.yaml" << END
mqtt:
  host: broker
  port: 8883
  username: staff
  password_file: /etc/edge-pager/mqtt-password
  tls: {enabled: true, ca_file: /etc/edge-pager/ca.pem}
pager:
  host: 0.0.0.0
  token_file: /etc/edge-pager/token
  url: https://$1:8090
  state_dir: /var/lib/edge-agent   # with the certificate that it makes
END
chown -R 1883:1883 "$site/broker"
chown -R 10001:10001 "$site/kiosk" "$site/pager"
echo "phones begin at http://$1:8091; the page's token is in $site/pager/token"
