#!/bin/sh
# Makes a certificate authority of your own, the broker's certificate and one for each kiosk.
#   sh make-certificates.sh FOLDER BROKER-NAME-OR-ADDRESS [SITE/DEVICE ...]
# Keep FOLDER/ca.key away from the kiosks. Existing files are kept, so that a kiosk can be added later.
set -eu
if [ $# -lt 2 ]; then sed -n '2,4s/^# //p' "$0" >&2; exit 2; fi
folder=$1 broker=$2
shift 2
mkdir -p "$folder"
cd "$folder"
umask 077

key() { [ -f "$1.key" ] || openssl ecparam -name prime256v1 -genkey -noout -out "$1.key"; }

key ca
[ -f ca.pem ] || openssl req -x509 -new -key ca.key -sha256 -days 3650 -subj "/CN=edge-agent authority" \
    -addext "keyUsage=critical,keyCertSign,cRLSign" -out ca.pem

sign() { # file, subject, extensions
    [ -f "$1.pem" ] && return
    key "$1"
    printf '%s\n' "$3" > "$1.ext"
    openssl req -new -key "$1.key" -subj "$2" |
        openssl x509 -req -sha256 -days 825 -CA ca.pem -CAkey ca.key -CAcreateserial -extfile "$1.ext" -out "$1.pem" 2> /dev/null
    rm "$1.ext"
}

case $broker in
    *[!0-9.]*) name="DNS:$broker" ;;
    *) name="IP:$broker" ;;
esac
sign broker "/CN=$broker" "subjectAltName=$name
extendedKeyUsage=serverAuth"
for device in "$@"; do
    # A slash in a common name has to be escaped for openssl.
    sign "$(printf %s "$device" | tr / -)" "/CN=$(printf %s "$device" | sed 's|/|\\/|g')" "extendedKeyUsage=clientAuth"
done
chmod 644 ./*.pem
ls -- *.pem
