#!/bin/sh
# One patron's card at a self-check machine, with curl, openssl and python3 (to read JSON).
# Run it with the variables that `koha-jpki sandbox` prints.
set -eu

api="$BRIDGE/api/v1"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# The terminal's token goes through a file: on a command line every user of the machine could read it.
printf 'header = "Authorization: Bearer %s"\n' "$(cat "$SELF_CHECK_TOKEN_FILE")" >"$work/curl.conf"
chmod 600 "$work/curl.conf"

post() { # post PATH FILE
    curl --silent --show-error --fail-with-body --noproxy '*' --config "$work/curl.conf" \
        --header 'Content-Type: application/json' --data "@$2" "$api$1"
}
field() { python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }

certificate=$(base64 -w 0 "$CARD/certificate.der")
printf '{"purpose": "borrow", "certificate": "%s"}' "$certificate" >"$work/begin.json"
post /challenges "$work/begin.json" >"$work/challenge.json"

field message <"$work/challenge.json" | base64 -d >"$work/message"
signature=$(openssl dgst -sha256 -sign "$CARD/card.key" "$work/message" | base64 -w 0)

printf '{"certificate": "%s", "signature": "%s"}' "$certificate" "$signature" >"$work/response.json"
post "/challenges/$(field challenge_id <"$work/challenge.json")/response" "$work/response.json" | field token
