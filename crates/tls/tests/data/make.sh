#!/bin/bash
# Makes the files of this folder anew.
set -euo pipefail
cd "$(dirname "$0")"
openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out rsa-ca.key
openssl req -x509 -new -key rsa-ca.key -subj "/CN=rsa authority" -days 36500 -sha256 \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign -out rsa-ca.pem
openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:3072 -out rsa-3072.key
openssl rsa -in rsa-3072.key -traditional -out rsa-pkcs1.key
openssl ecparam -name prime256v1 -genkey -out p256-sec1.key
openssl pkcs8 -topk8 -nocrypt -in p256-sec1.key -out p256.key
openssl pkcs8 -topk8 -passout pass:x -in p256-sec1.key -out p256-encrypted.key
openssl ecparam -name secp384r1 -genkey -noout -out p384-sec1.key
openssl pkcs8 -topk8 -nocrypt -in p384-sec1.key -out p384.key
issue() {
    openssl req -new -key "$1.key" -subj "/CN=$1" |
        openssl x509 -req -CA rsa-ca.pem -CAkey rsa-ca.key -days 36500 "$2" -out "$1.pem" \
            -extfile <(printf 'subjectAltName=DNS:api.test\nextendedKeyUsage=serverAuth,clientAuth')
}
issue rsa-3072 -sha512
issue p256 -sha256
