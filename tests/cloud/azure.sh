#!/usr/bin/env bash
# The conformance body over Azure Blob: Azurite plain and over TLS, with a key, a connection string
# and a SAS; our fake for rehydration that takes time, directories, and every kind of token.
#	azure.sh CONFORMANCE-PROGRAM
set -eu
program=$(realpath "$1")
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/astra-azure.XXXXXX")
# shellcheck source=tests/cloud/servers.sh
. "$here/servers.sh"
finish() {
    local status=$?
    stop_servers
    rm -rf "$work"
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM
clean_environment

failed=0
run() { # NAME SKIPPED-TESTS; the section's keys on standard input
    { echo "[remote $1]"; echo "type = azure"; echo "retry_delay = 10ms"; cat; } >"$work/$1.conf"
    echo "== $1"
    "$program" -c "$work/$1.conf" ${2:+-s "$2"} || failed=1
}
# Enough to see that requests of each kind are authorised.
few=test_roundtrip,test_odd_keys,test_list_model,test_list_many,test_tiers,test_parts,test_churn
few=$few,test_threads

# ---- the fake ----
start_fake_azure fake --rehydrate 1
run fake "" < <(fake_azure_account)
token_remote() { # NAME LINES
    run "$1" "$few" <<EOF
endpoint = $fake_url/fake
credentials = $1
$2
EOF
}
# A token lives for two seconds: it is renewed under way.
curl -sf -d '{"token_s": 2}' "$fake_url/control" >/dev/null
echo s3cret >"$work/secret"
echo assertion >"$work/assertion"
AZURE_AUTHORITY_HOST=$fake_url/oauth/ token_remote client "tenant_id = tenant
client_id = client
client_secret_file = $work/secret"
AZURE_AUTHORITY_HOST=$fake_url/oauth token_remote federated "tenant_id = tenant
client_id = client
federated_token_file = $work/assertion"
AZURE_POD_IDENTITY_AUTHORITY_HOST=$fake_url token_remote machine ""
IDENTITY_ENDPOINT=$fake_url/msi IDENTITY_HEADER=header token_remote app ""
# With directories: what cannot be an object and a directory is not asked.
start_fake_azure hns --hns
hns=test_odd_keys,test_list_model,test_list_many,test_remove_many,test_buckets,test_churn
run hns "$hns" < <(fake_azure_account; fake_azure_dfs; echo "fault =")
echo sig=1 >"$work/sas"
run hns_sas "$hns,$few" < <(fake_azure_dfs; printf '%s\n' "endpoint = $fake_url/fake" \
    "sas_file = $work/sas" "fault =")
curl -sf "$fake_url/control" | grep -q '"PUT rename"' || failed=1

# ---- Azurite ----
start_azurite
export AZURITE_KEY=$azurite_key
run azurite "" <<EOF
endpoint = $azurite_url
account = $azurite_account
account_key_env = AZURITE_KEY
EOF
azure_tools
AZURITE_SAS=$("$tools/azure/bin/python" - "$azurite_account" "$azurite_key" <<'EOF'
import datetime, sys
from azure.storage.blob import AccountSasPermissions, ResourceTypes, generate_account_sas
print(generate_account_sas(
    sys.argv[1], sys.argv[2], ResourceTypes(service=True, container=True, object=True),
    AccountSasPermissions(read=True, write=True, delete=True, list=True, create=True, tag=True),
    datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)))
EOF
)
export AZURITE_SAS
# The emulator knows no permission of an account's SAS for blocks that it copies: 500.
run sas "$few,test_part_copy,test_parts_wait" <<EOF
endpoint = $azurite_url
sas_env = AZURITE_SAS
EOF
start_azurite tls
echo "AccountName=$azurite_account;AccountKey=$azurite_key;BlobEndpoint=$azurite_url;" >"$work/string"
run tls "" <<EOF
connection_string_file = $work/string
ca_file = $work/azurite.pem
checksum = md5
EOF
[ "$failed" = 0 ]
