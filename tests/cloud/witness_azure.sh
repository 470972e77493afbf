#!/usr/bin/env bash
# A mount with Azurite, our fake and an embedded cloud: what astrafs writes Microsoft's own client
# reads, and the other way round; moves between all of them; request counts; tiers and rehydration;
# a server that is busy, loses answers and blocks; kills of the daemon and of a server.
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/cloud/mount_lib.sh
. "$here/../cloud/mount_lib.sh"
azure_tools
# One that survives kill -9, for a remote of its own: it writes its indexes before each answer.
start_azurite kept
kept_url=$azurite_url kept_pid=${servers##* } kept_command=("${azurite_command[@]}")
start_azurite
start_fake_azure fake --rehydrate 3
export AZURITE_KEY=$azurite_key
{
    cat <<EOF
[remote azure]
type = azure
endpoint = $azurite_url
account = $azurite_account
account_key_env = AZURITE_KEY
bucket = astra-azure
create_bucket = yes
retries = 3
[remote kept]
type = azure
endpoint = $kept_url
account = $azurite_account
account_key_env = AZURITE_KEY
bucket = astra-kept
create_bucket = yes
retry_delay = 10ms
fault = part_put:key=mid*:after=4:delay=2000
[remote near]
type = local
bucket = astra-near
EOF
    fake_azure_section fake "retry_delay = 20ms"
} >"$work/conf"
export ASTRA_CONF=$work/conf
sdk() { "$tools/azure/bin/python" "$here/witness_azure.py" "$azurite_url" "$@"; }
sdk_kept() { "$tools/azure/bin/python" "$here/witness_azure.py" "$kept_url" "$@"; }
fake() { curl -sf -d "$1" "$fake_url/control"; }
requests() { # PATTERN -> lines of the wire log
    grep -acE "net: #[0-9]+ > $1" "$work/log" || true
}
attr() { getfattr --only-values -n "user.astra.$1" "$2"; }
mount_it debug=net
a=$mnt/azure f=$mnt/fake n=$mnt/near s=$mnt/kept

echo "-- what we write, the SDK reads"
for size in 0 1 4096 8388608 8388609 30000001; do
    head -c "$size" /dev/urandom >"$work/f$size"
    cp "$work/f$size" "$a/f$size"
    cp "$work/f$size" "$f/f$size"
done
mkdir "$a/dir"
odd='dir/odd name + %41 ä & <x>'
cp "$work/f4096" "$a/$odd"
settle
for size in 0 1 4096 8388608 8388609 30000001; do
    sdk same astra-azure "f$size" "$work/f$size" Hot >"$work/meta"
    grep -q '"mtime"' "$work/meta"
    grep -q '"astra_write"' "$work/meta"
    cmp "$work/f$size" "$f/f$size"
done
sdk same astra-azure "$odd" "$work/f4096" >/dev/null
if touch "$a/dot." 2>/dev/null; then echo "a name that Azure cannot hold"; exit 1; fi

echo "-- what the SDK writes, we read"
sdk put astra-azure "theirs/deep/ü + b" "$work/f30000001"
sdk put astra-azure theirs/warm "$work/f4096" Cool Colour=green my_name=x
sdk put astra-azure theirs/cold "$work/f4096" Archive
sdk blocks astra-azure theirs/blocks "$work/f30000001" 4000000
setfattr -n user.astra.refresh -v 1 "$a"
same "$(sum "$a/theirs/deep/ü + b")" "$(sum "$work/f30000001")"
same "$(sum "$a/theirs/warm")" "$(sum "$work/f4096")"
same "$(sum "$a/theirs/blocks")" "$(sum "$work/f30000001")"
same "$(attr storage_class "$a/theirs/warm")" Cool
same "$(attr state "$a/theirs/cold")" archived
if cat "$a/theirs/cold" 2>/dev/null; then echo "read an archived object"; exit 1; fi

echo "-- blocks that others left do not stand in the way"
sdk leave astra-azure left5 5
sdk leave astra-azure left9 9
sdk leave astra-azure left48 48
cp "$work/f30000001" "$a/left9"
cp "$work/f30000001" "$a/left48"
settle
sdk same astra-azure left9 "$work/f30000001" >/dev/null
sdk same astra-azure left48 "$work/f30000001" >/dev/null

echo "-- appending keeps the blocks that are there"
cp "$work/f30000001" "$a/log"
settle
before=$(requests 'PUT [^ ]*/log[?]comp=block&')
echo more >>"$a/log"
settle
{ cat "$work/f30000001"; echo more; } >"$work/log.want"
sdk same astra-azure log "$work/log.want" >/dev/null
same "$(($(requests 'PUT [^ ]*/log[?]comp=block&') - before))" 1
same "$(sdk nblocks astra-azure log)" 4

echo "-- a rename keeps tier, metadata and tags"
sdk tag astra-azure theirs/warm "team=a+b c"
mv "$a/theirs/warm" "$a/renamed"
settle
sdk same astra-azure renamed "$work/f4096" Cool | grep -q '"Colour": "green", .*"my_name": "x"'
same "$(sdk tags astra-azure renamed)" "team=a+b c"

echo "-- a blob with snapshots stays as long as it has them"
cp "$work/f1" "$a/snapped"
settle
sdk snapshot astra-azure snapped
rm "$a/snapped"
sleep 1
sdk same astra-azure snapped "$work/f1" >/dev/null
sdk unsnap astra-azure snapped
settle
if sdk keys astra-azure | grep -Fqx snapped; then echo "it is still there"; exit 1; fi

echo "-- moves between clouds"
mv "$a/f30000001" "$f/moved"
mv "$f/f8388609" "$n/moved"
mv "$n/moved" "$a/moved"
mv "$a/dir" "$n/dir"
settle
cmp "$work/f30000001" "$f/moved"
cmp "$work/f4096" "$n/$odd"
sdk same astra-azure moved "$work/f8388609" Hot >/dev/null
for gone in f30000001 "$odd"; do
    if sdk keys astra-azure | grep -Fqx "$gone"; then echo "$gone is still there"; exit 1; fi
done

echo "-- requests: a LIST for each thousand names, no HEAD, no HEAD to read after ls"
sdk many astra-azure many/ 2500
setfattr -n user.astra.refresh -v 1 "$a"
heads=$(requests HEAD) lists=$(requests 'GET [^ ]*comp=list[^ ]*prefix=many')
same "$(find "$a/many" -type f -printf '%s\n' | wc -l)" 2500
same "$(($(requests 'GET [^ ]*comp=list[^ ]*prefix=many') - lists))" 3
same "$(cat "$a/many/01234")" x
same "$(($(requests HEAD) - heads))" 0

echo "-- archived, rehydrated, overwritten"
cp "$work/f30000001" "$f/cold"
cp "$work/f4096" "$f/cold2"
settle
setfattr -n user.astra.tier -v ARCHIVE "$f/cold"
setfattr -n user.astra.tier -v ARCHIVE "$f/cold2"
settle
same "$(attr storage_class "$f/cold")" Archive
same "$(attr state "$f/cold")" archived
setfattr -n user.astra.restore -v 1d "$f/cold"
for _ in $(seq 100); do [ "$(attr state "$f/cold")" = archived ] || break; sleep 0.1; done
for _ in $(seq 300); do
    setfattr -n user.astra.refresh -v 1 "$f"
    ls "$f" >/dev/null
    [ "$(attr storage_class "$f/cold")" != Hot ] || break
    sleep 0.2
done
same "$(attr storage_class "$f/cold")" Hot
cmp "$work/f30000001" "$f/cold"
setfattr -n user.astra.tier -v ARCHIVE "$f/cold"
settle
cat "$work/f8388608" >"$f/cold2"
cat "$work/log.want" >"$f/cold" # in parts, over what is offline
settle
cmp "$work/f8388608" "$f/cold2"
cmp "$work/log.want" "$f/cold"

echo "-- busy, answers and blocks lost"
fake '{"faults": [
    {"method": "PUT", "times": 4, "status": 503, "code": "ServerBusy", "retry_after": 1},
    {"method": "PUT", "comp": "blocklist", "times": 1, "drop_blocks": true},
    {"method": "PUT", "comp": "blocklist", "times": 1, "lost": true},
    {"method": "PUT", "comp": "block", "times": 3, "lost": true}]}'
cp "$work/f30000001" "$f/lossy"
settle
cmp "$work/f30000001" "$f/lossy"
cp "$work/f30000001" "$n/from"
settle
fake '{"faults": [{"method": "PUT", "comp": "blocklist", "times": 1, "drop_blocks": true}]}'
mv "$n/from" "$f/lossy3"
settle
cmp "$work/f30000001" "$f/lossy3"
fake '{"faults": [{"method": "PUT", "times": 2, "lost": true},
    {"method": "DELETE", "times": 1, "lost": true}]}'
mv "$f/lossy" "$f/lossy2"
settle
cmp "$work/f30000001" "$f/lossy2"
same "$(find "$f" "$a" -name '*conflict*' -o -name '*unmoved*' | wc -l)" 0

echo "-- kill -9 of the daemon under uploads"
mkdir "$a/k"
for i in $(seq 40); do head -c $((i * 300000)) "$work/f30000001" >"$a/k/$i"; done
kill -9 "$pid"
wait "$pid" 2>/dev/null || true
umount -l "$mnt" 2>/dev/null || true
mount_it debug=net
settle
for i in $(seq 40); do
    head -c $((i * 300000)) "$work/f30000001" >"$work/part"
    sdk same astra-azure "k/$i" "$work/part" >/dev/null
    cmp "$work/part" "$a/k/$i"
done
same "$(ls "$a/k" | grep -c conflict || true)" 0

echo "-- a server dies under uploads, some of them in blocks, and comes back"
mkdir "$s/k"
for i in 1 2 3; do cp "$work/f30000001" "$s/mid$i"; done
for i in $(seq 30); do
    head -c $((i * 200000)) "$work/f30000001" >"$s/k/$i"
    [ "$i" != 10 ] || for _ in $(seq 200); do
        [ "$(requests 'PUT [^ ]*/mid[123][?]comp=block&')" -lt 4 ] || break
        sleep 0.02
    done
    [ "$i" != 10 ] || kill -9 "$kept_pid"
done
# Of the twelve blocks of the three only four did not wait: at most one of them was complete.
[ "$(requests 'PUT [^ ]*/mid[123][?]comp=block&')" -ge 4 ] || { echo "no blocks"; exit 1; }
[ "$(requests 'PUT [^ ]*/mid[123][?]comp=blocklist')" -le 1 ] || { echo "all is done"; exit 1; }
start=$(date +%s%N)
ls "$mnt" "$n" >/dev/null
echo near >"$n/while"
same "$(cat "$n/while")" near
[ $((($(date +%s%N) - start) / 1000000)) -lt 1500 ] || { echo "others had to wait"; exit 1; }
"$astra" --mount "$mnt" debug fault kept ''
start_server azuriteagain "curl -sk -o /dev/null $kept_url" -- "${kept_command[@]}"
settle
for i in 1 2 3; do sdk_kept same astra-kept "mid$i" "$work/f30000001" Hot >/dev/null; done
for i in $(seq 30); do
    head -c $((i * 200000)) "$work/f30000001" >"$work/part"
    sdk_kept same astra-kept "k/$i" "$work/part" >/dev/null
done
same "$(sdk_kept keys astra-kept | grep -cv '/$')" 33
same "$(find "$s" -name '*conflict*' | wc -l)" 0

echo "-- everything from the clouds alone"
unmount_it
state=$work/state2
mount_it
cmp "$a/moved" "$work/f8388609"
cmp "$f/moved" "$work/f30000001"
same "$(ls "$a/k" | wc -l)" 40
cmp "$s/mid3" "$work/f30000001"
if grep -aqF -e "${AZURITE_KEY%%/*}" -e "SharedKey $azurite_account" -e "sig=" "$work/log" &&
    grep -aE "Eby8vdM02|SharedKey devstore|sig=[^(]" "$work/log"; then
    echo "a secret in the log"
    exit 1
fi
unmount_it
