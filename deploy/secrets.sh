#!/bin/sh
# Makes the secrets of a new installation in ./secrets, or in the folder given:
#
#   nats.env, listener.env, worker.env   for the containers of that name
#   app.env                              for your application
#   providers.env                        to be filled in by you
#   users.acl                            Redis's users, with hashes only
#
# It never overwrites. To renew, move the folder away, run it and restart all;
# keep RESCIND_ADDRESS_KEY, or the providers' registrations are made anew.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=${1:-$here/secrets}
if [ -e "$out" ]; then
	echo "secrets.sh: $out exists; move it away first" >&2
	exit 1
fi

# 48 hexadecimal digits behind a letter, since NATS takes digits for a number.
word() { printf 's%s' "$(head -c 24 /dev/urandom | od -An -v -tx1 | tr -d ' \n')"; }
hash() { printf '%s' "$1" | sha256sum | cut -d ' ' -f 1; }

umask 077
mkdir -p "$out"
nats=$(word) worker=$(word) app=$(word) ask=$(word) address=$(word)
vault=$(head -c 32 /dev/urandom | base64)

echo "NATS_PASSWORD=$nats" >"$out/nats.env"
printf '%s\n' "NATS_PASSWORD=$nats" "RESCIND_VAULT_KEY=$vault" \
	"RESCIND_ADDRESS_KEY=$address" >"$out/listener.env"
printf '%s\n' "NATS_PASSWORD=$nats" "RESCIND_VAULT_KEY=$vault" \
	"REDIS_PASSWORD=$worker" "RESCIND_ASK_TOKEN=$ask" >"$out/worker.env"
printf '%s\n' "REDIS_USER=app" "REDIS_PASSWORD=$app" "RESCIND_ASK_TOKEN=$ask" >"$out/app.env"
printf '%s\n' "RC_CLIENT_SECRET=" "RC_JWT=" "RC_VERIFICATION_TOKEN=$(word)" >"$out/providers.env"
sed -e "s/WORKER_SHA256/$(hash "$worker")/" -e "s/APP_SHA256/$(hash "$app")/" \
	"$here/users.acl.example" >"$out/users.acl"
chmod 755 "$out"
chmod 644 "$out/users.acl" # hashes of random words, read by the container's user
