#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Keys, signatures, tokens and client secrets of all three clouds stay out of the log, also with
# everything logged, of command lines, of what astra prints, and of files that others can read.
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/cloud/mount_lib.sh
. "$here/../cloud/mount_lib.sh"
command -v python3 >/dev/null || skip "no python3"
mkdir -m 700 "$work/auth" "$work/keys"
start_gcs_stub stub http --auth "$work/auth"
start_fake_azure fake
# The fake does not look at signatures; the stub is no S3 server, but it is sent S3's requests.
export AZ_KEY AZ_SECRET S3_SECRET AZURE_AUTHORITY_HOST=$fake_url/oauth
AZ_KEY=$(head -c 48 /dev/urandom | base64 -w0)
AZ_SECRET=client$(head -c 24 /dev/urandom | base64 -w0 | tr -d '/+=')
S3_SECRET=$(head -c 30 /dev/urandom | base64 -w0 | tr / Z)
sig=$(head -c 33 /dev/urandom | base64 -w0 | tr -d '/+=')
echo "sv=2024-11-04&ss=b&srt=sco&sp=rwdlac&se=2099-01-01T00:00:00Z&sig=$sig" >"$work/keys/sas"
chmod 600 "$work/keys/sas"
azure() { # NAME LINE...: a remote
    local name=$1
    shift
    printf '[remote %s]\ntype = azure\nendpoint = %s/fake\naccount = fake\nbucket = astra-%s\n' \
        "$name" "$fake_url" "$name"
    printf 'retry_delay = 10ms\n'
    printf '%s\n' "$@"
}
{
    azure key 'create_bucket = yes' 'account_key_env = AZ_KEY'
    azure sas 'create_bucket = yes' "sas_file = $work/keys/sas"
    # one that is refused
    azure client 'credentials = client' 'tenant_id = t' 'client_id = c' \
        'client_secret_env = AZ_SECRET'
    printf '[remote gcp]\ntype = gcs\nendpoint = %s\ncredentials_file = %s\nbucket = astra-gcp\n' \
        "$gcs_url" "$work/auth/service.json"
    printf 'create_bucket = yes\nretry_delay = 10ms\n'
    printf '[remote s3]\ntype = s3\nendpoint = %s\nregion = us-east-1\nbucket = astra-s3\n' "$gcs_url"
    printf 'access_key_id = AKIDEXAMPLE\nsecret_access_key_env = S3_SECRET\nretry_delay = 10ms\n'
} >"$work/conf"
chmod 600 "$work/conf"
export ASTRA_CONF=$work/conf
opts=$opts,debug=net
mount_it log_level=debug
for r in key sas client gcp s3; do
    ls "$mnt/$r" >/dev/null 2>&1 || true
    { echo "to $r" >"$mnt/$r/f" && cat "$mnt/$r/f" && mv "$mnt/$r/f" "$mnt/$r/g"; } >/dev/null 2>&1 || true
done
"$astra" --mount "$mnt" doctor >"$work/said" 2>&1 || true
# It tells as whom each is asked, and no more.
for who in "key .*$fake_url/fake, with the key of account fake)" \
    "sas .*with a shared access signature in $work/keys/sas)" \
    "client .*with client c of tenant t, by its secret)" \
    "gcp .*$gcs_url, as .*@.*($work/auth/service.json)" \
    "s3 .*$gcs_url, region us-east-1, with the key AKIDEXAMPLE of the configuration)"; do
    grep -q "remote $who" "$work/said" || { echo "doctor does not say: $who"; cat "$work/said"; exit 1; }
done
"$astra" --mount "$mnt" --json doctor >>"$work/said" 2>&1 || true
"$astra" --mount "$mnt" --json status >>"$work/said" 2>&1 || true
"$astra" --mount "$mnt" jobs >>"$work/said" 2>&1 || true
tr '\0' '\n' <"/proc/$pid/cmdline" >"$work/cmdline"
for what in "put.*astra-key" "astra-sas" oauth2 "astra-gcp" "astra-s3"; do
    grep -qiE "$what" "$work/log" || { echo "no request to $what was logged: this proves nothing"; exit 1; }
done

echo "-- nothing of a secret is anywhere"
pem=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["private_key"].splitlines()[3])' \
    "$work/auth/service.json")
for secret in "$AZ_KEY" "${AZ_KEY%%=*}" "$AZ_SECRET" "$S3_SECRET" "$sig" "$pem"; do
    [ "${#secret}" -gt 20 ] || { echo "'$secret' is too short to be looked for"; exit 1; }
    for file in log err said cmdline; do
        ! grep -qF -- "$secret" "$work/$file" || { echo "a secret is in $file"; exit 1; }
    done
done
# What is made of them: signatures and tokens.
for file in log err said; do
    if grep -nE 'Bearer [A-Za-z0-9._-]{8}|SharedKey [a-z]+:[A-Za-z0-9+/]{20}|Signature=[0-9a-f]{20}|[?&]sig=[A-Za-z0-9%]{8}|"access_token" *: *"[^"]{8}' \
        "$work/$file"; then
        echo "a signature or token is in $file"
        exit 1
    fi
done

echo "-- nobody else can read what is kept"
same "$(stat -c %a "$state")" 700
same "$(find "$state" "$work/log" -type f -perm /077 | head -3)" ""
same "$(grep -rlF -- "$AZ_KEY" "$state" 2>/dev/null | head -1)" ""

echo "-- a wrong key is told without it"
unmount_it
sed -i "s|^credentials_file = $work/auth/service.json|credentials_file = $work/keys/wrong.json|" "$work/conf"
python3 - "$work" <<'P'
import json, sys
d = json.load(open(sys.argv[1] + "/auth/service.json"))
d["private_key"] = "-----BEGIN PRIVATE KEY-----\nMIIsecretsecretsecretsecret\n-----END PRIVATE KEY-----\n"
json.dump(d, open(sys.argv[1] + "/keys/wrong.json", "w"))
P
if timeout 30 "$astrafs" -c "$work/conf" -f -o "state=$state,data=$data,log_level=debug,debug=net" \
    "$mnt" >"$work/said" 2>&1; then
    echo "it was mounted with a wrong key"
    exit 1
fi
grep -qF "$work/keys/wrong.json" "$work/said" || { cat "$work/said"; exit 1; }
! grep -qF MIIsecretsecret "$work/said" || { echo "a key is in the message"; exit 1; }
