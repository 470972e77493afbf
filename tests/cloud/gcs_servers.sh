# shellcheck shell=bash
# Sourced behind servers.sh: what the tests of Google Cloud Storage talk to.

# The stub of tests/fake, which knows conditions, rewrites, sessions and credentials; it ends with
# its standard input, so it cannot outlive the test.
start_gcs_stub() { # NAME URL-SCHEME [ARGUMENTS] -> gcs_url, gcs_pid
    local scheme=$2
    gcs_dir=$work/$1
    shift 2
    mkdir -p "$gcs_dir"
    mkfifo "$gcs_dir/in"
    gcs_command=(python3 "$here/../fake/gcs.py" "$@")
    run_gcs_stub
    gcs_url=$scheme://127.0.0.1:$(cat "$gcs_dir/port")
}
start_gcs_stub_again() { # the last one, with --keep, after it was killed -> gcs_pid
    gcs_command+=(--port "$(cat "$gcs_dir/port")")
    run_gcs_stub
}
run_gcs_stub() {
    "${gcs_command[@]}" <"$gcs_dir/in" >"$gcs_dir/port" 2>"$gcs_dir/err" &
    gcs_pid=$!
    servers="$servers $gcs_pid"
    exec {gcs_hold}>"$gcs_dir/in"
    for _ in $(seq 200); do
        [ -s "$gcs_dir/port" ] && break
        sleep 0.05
    done
    [ -s "$gcs_dir/port" ] || { cat "$gcs_dir/err"; echo "the stub did not start"; exit 1; }
}

# Not ours: lists, pages, uploads and conditions of uploads; nothing else looks at conditions, and no
# rewrite changes a class.
start_fake_gcs_server() { # -> gcs_url
    local port
    command -v go >/dev/null || [ -x "$tools/bin/fake-gcs-server" ] ||
        skip "fake-gcs-server needs go"
    install_once fake-gcs-server "$tools/bin/fake-gcs-server" env GOBIN="$tools/bin" \
        go install github.com/fsouza/fake-gcs-server@v1.56.1
    port=$(free_port)
    gcs_url=http://127.0.0.1:$port
    start_server fake-gcs-server "curl -sf -o /dev/null '$gcs_url/storage/v1/b?project=p'" -- \
        "$tools/bin/fake-gcs-server" -host 127.0.0.1 -port "$port" -scheme http -backend memory \
        -external-url "$gcs_url" -public-host "127.0.0.1:$port" -log-level warn
}

# Google's own client: $witness ENDPOINT BUCKET ... (tests/cloud/gcs_witness.py); 77 without.
need_gcs_witness() {
    install_once gcs-venv "$tools/gcs-venv/ok" sh -c "
        python3 -m venv '$tools/gcs-venv' &&
        '$tools/gcs-venv/bin/pip' install -q google-cloud-storage==3.17.1 &&
        touch '$tools/gcs-venv/ok'"
    witness="$tools/gcs-venv/bin/python $here/../cloud/gcs_witness.py"
}
