#!/usr/bin/env bash
# One mount with S3 (versitygw), Azure (Azurite) and Google (our stub), each keeping what it holds on
# disk: moves between all pairs of them, then workers that move and write while the daemon and the
# servers are killed. See pairs.py. ASTRA_SEED and ASTRA_ROUNDS (kills) repeat a run or make it longer.
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/cloud/mount_lib.sh
. "$here/../cloud/mount_lib.sh"
python_tools
azure_tools
need_gcs_witness
start_versitygw '' --access-log "$work/aws.requests"
start_azurite kept
gcs_port=$(free_port)
start_gcs_stub stub http --port "$gcs_port" --keep "$work/gcs.kept"
export AZURITE_KEY=$azurite_key
{
    s3_section aws "$vgw_url" "bucket = astra-aws" "class.WARM =" \
        "class.COLD =" "class.ARCHIVE =" "read_metadata = yes"
    printf '[remote azure]\ntype = azure\nendpoint = %s\naccount = %s\n' "$azurite_url" \
        "$azurite_account"
    printf 'account_key_env = AZURITE_KEY\nbucket = astra-azure\n'
    printf 'retry_delay = 10ms\n'
    printf '[remote gcp]\ntype = gcs\nendpoint = %s\ncredentials = none\n' "$gcs_url"
    printf 'bucket = astra-gcp\nretry_delay = 10ms\n'
} >"$work/conf"
describe() { # NAME PID URL REQUESTS CLIENT COMMAND...
    local name=$1
    shift
    printf '%s\0' "$@" >"$work/$name.server"
}
read -r azurite_pid gcs_pid <<<"$(set -- $servers; echo "$2 $3")"
describe aws "$vgw_pid" "$vgw_url" "$work/aws.requests" "$tools/venv/bin/python s3" \
    "${vgw_command[@]}"
describe azure "$azurite_pid" "$azurite_url" "$work/azuritekept.log" "$tools/azure/bin/python azure" \
    "${azurite_command[@]}"
describe gcp "$gcs_pid" "$gcs_url" '' "$tools/gcs-venv/bin/python gcs" "${gcs_command[@]}"
disown -a # they are killed without a word
python3 -u "$here/pairs.py" --astrafs "$astrafs" --astra "$astra" --work "$work" \
    --opts "upload_delay=50ms,migrate_wait=50ms,log_level=info,log_file=$work/log" \
    --seed "${ASTRA_SEED:-$RANDOM}" --rounds "${ASTRA_ROUNDS:-10}" "$@"
