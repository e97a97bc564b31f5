#!/bin/sh
# Makes a certificate authority of your own, the broker's certificate and one for each kiosk; as root, at the broker:
#   sh make-certificates.sh [-o FOLDER] [-a AUTHORITY] BROKER-NAME-OR-ADDRESS [SITE/DEVICE ...]
# FOLDER gets what the broker reads: /etc/mosquitto/certs unless you say another. AUTHORITY, /root/edge-agent-authority,
# gets what can make certificates, and those of kiosks. What is there is kept, so that a kiosk can be added later.
set -eu
usage() { sed -n '2,5s/^# //p' "$0" >&2; exit 2; }
refuse() { echo "make-certificates: $*" >&2; exit 1; }

out=/etc/mosquitto/certs authority=/root/edge-agent-authority
while getopts o:a: option; do
    case $option in
        o) out=$OPTARG ;;
        a) authority=$OPTARG ;;
        *) usage ;;
    esac
done
shift $((OPTIND - 1))
[ $# -ge 1 ] || usage
broker=$1
shift

clone=$(cd "$(dirname "$0")/../.." && pwd -P)
umask 077
for folder in "$out" "$authority"; do
    case $(realpath -m "$folder")/ in
        "$clone"/*) refuse "$folder is in the clone, from where keys get into commits and copies; say another folder" ;;
    esac
done
# The broker's own user has to get into its folder.
[ -d "$out" ] || mkdir -p -m 755 "$out" 2> /dev/null || true
for folder in "$out" "$authority"; do
    mkdir -p "$folder" 2> /dev/null && [ -w "$folder" ] ||
        refuse "$folder cannot be written to: run it as root, or say others: -o FOLDER -a AUTHORITY"
done
out=$(realpath "$out")
cd "$authority"

if [ -f ca.pem ] && [ ! -f ca.key ]; then
    refuse "$authority/ca.key is not there: bring it back from where you keep it, or begin anew in another AUTHORITY"
elif [ -f ca.key ] && [ ! -f ca.pem ]; then
    refuse "$authority/ca.pem is not there but ca.key is: bring it back, or begin anew in another AUTHORITY"
elif [ -f "$out/ca.pem" ] && ! cmp -s ca.pem "$out/ca.pem"; then
    refuse "$out/ca.pem is another authority's, which kiosks may trust; move it and broker.* away if you mean to replace it"
fi

key() { [ -f "$1.key" ] || openssl ecparam -name prime256v1 -genkey -noout -out "$1.key"; }

if [ ! -f ca.pem ]; then
    key ca
    openssl req -x509 -new -key ca.key -sha256 -days 3650 -subj "/CN=edge-agent authority" \
        -addext "keyUsage=critical,keyCertSign,cRLSign" -out ca.pem
    chmod 644 ca.pem
fi

sign() { # file without its ending, subject, extensions
    [ -f "$1.pem" ] && return
    key "$1"
    printf '%s\n' "$3" > "$1.ext"
    openssl req -new -key "$1.key" -subj "$2" |
        openssl x509 -req -sha256 -days 825 -CA ca.pem -CAkey ca.key -CAcreateserial -extfile "$1.ext" -out "$1.new" 2> /dev/null
    rm "$1.ext"
    chmod 644 "$1.new"
    mv "$1.new" "$1.pem"
}

case $broker in
    *[!0-9.]*) name="DNS:$broker" ;;
    *) name="IP:$broker" ;;
esac
sign "$out/broker" "/CN=$broker" "subjectAltName=$name
extendedKeyUsage=serverAuth"
[ -f "$out/ca.pem" ] || install -m 644 ca.pem "$out/ca.pem"
if [ "$(id -u)" = 0 ] && id mosquitto > /dev/null 2>&1; then
    chown mosquitto: "$out/broker.key" "$out/broker.pem" "$out/ca.pem"
fi
echo "the broker reads:         $out: ca.pem, broker.pem, broker.key"
echo "to each kiosk and pager:  $out/ca.pem, nothing else"
for device in "$@"; do
    file=$(printf %s "$device" | tr / -)
    # A slash in a common name has to be escaped for openssl.
    sign "$file" "/CN=$(printf %s "$device" | sed 's|/|\\/|g')" "extendedKeyUsage=clientAuth"
    echo "to $device alone:  $PWD/$file.pem, $file.key; then delete that key here"
done
echo "to a stick in a drawer:   $PWD/ca.key; whoever has it can speak for every kiosk. Adding one needs it back"
