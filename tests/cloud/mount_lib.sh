# shellcheck shell=bash
# Sourced by cases that mount servers of clouds ($here is the case's directory): a private mount, the
# servers, an end that stops these too, and an environment without anybody's credentials.
# shellcheck source=tests/mount/lib.sh
. "$here/../mount/lib.sh"
# shellcheck source=tests/cloud/servers.sh
. "$here/../cloud/servers.sh"
# shellcheck source=tests/cloud/gcs_servers.sh
. "$here/../cloud/gcs_servers.sh"
finish_all() {
    local status=$?
    set +e
    stop_servers
    (exit "$status")
    finish
}
trap finish_all EXIT
clean_environment
unset GOOGLE_APPLICATION_CREDENTIALS GOOGLE_CLOUD_PROJECT STORAGE_EMULATOR_HOST CLOUDSDK_CONFIG
