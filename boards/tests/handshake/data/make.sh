#!/bin/bash
# Makes the files of this folder anew: an authority, and the certificate and key of a server and of a client. The cycles of a
# verification depend on them a little.
set -euo pipefail
cd "$(dirname "$0")"
authority=$(mktemp -d)
trap 'rm -r "$authority"' EXIT
key() { openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -outform DER -out "$1"; }
key "$authority/key"
openssl req -x509 -new -key "$authority/key" -subj "/CN=authority" -days 36500 -sha256 -outform DER -out authority.der \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,digitalSignature
issue() {
    key "$1.key"
    openssl req -new -key "$1.key" -subj "/O=system:nodes/CN=system:node:$1" |
        openssl x509 -req -CA authority.der -CAkey "$authority/key" -days 36500 -sha256 -outform DER -out "$1.der" \
            -extfile <(printf 'subjectAltName=DNS:api.test\nextendedKeyUsage=%s' "$2")
}
issue server serverAuth
issue client clientAuth
