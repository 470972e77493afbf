#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# What `astra umount` says of what it leaves behind, by words and exit status, and while it waits.
. "$(dirname "$0")/lib.sh"
ASTRA_RUNTIME_DIR=$work/run
export ASTRA_RUNTIME_DIR
a() { "$astra" --mount "$mnt" "$@"; }
says() { # STATUS LINES COMMAND...: so many lines at most, none on standard output
    local want=$1 lines=$2 s=0
    shift 2
    "$@" >"$work/out" 2>"$work/says" || s=$?
    same "$s" "$want"
    same "$(cat "$work/out")" ""
    [ "$(wc -l <"$work/says")" -le "$lines" ] || { cat "$work/says"; exit 1; }
}
has() { grep -q -- "$1" "$work/says" || { echo "no '$1' in:"; cat "$work/says"; exit 1; }; }
# In the background, as users do; the faults of /gcp are of the configuration.
printf '[remote aws]\nprovider = aws\nbucket = astra-aws\n[remote gcp]\nprovider = gcp\nbucket = astra-gcp\nfault =\n' >"$work/c"
up() { # [OPTIONS]
    "$astrafs" -c "$work/c" -o "state=$state,data=$data,log_file=$work/log,$opts${1:+,$1}" "$mnt"
}

# All is done: nothing is said.
up
echo x >"$mnt/aws/x"
settle
says 0 0 a umount
same "$(cat "$(native aws x)")" x

# Somebody uses it: who, and how.
busy() { # PATTERN COMMAND...: that uses it
    local want=$1 user s=0
    shift
    up
    echo m >"$mnt/aws/m"
    "$@" &
    user=$!
    until [ -e "$work/uses" ]; do sleep 0.05; done
    rm -f "$work/uses" "$work/says" # what the one before said is not waited for
    a umount 2>"$work/says" &
    for _ in $(seq 100); do [ ! -s "$work/says" ] || break; sleep 0.05; done
    has "^astra umount: $mnt is busy: $want; waiting up to 20 s (drain_timeout)\$"
    kill "$user"
    wait "$!" || s=$?
    same "$s" 0
    wait "$user" || true
}
in_use='
import ctypes, os, sys, time
how, mnt, uses = sys.argv[1:]
if how == "cwd":
    os.chdir(mnt + "/aws")
else:
    f = os.open(mnt + "/aws/m", os.O_RDONLY)
    libc = ctypes.CDLL(None) # mmap.mmap() would keep a descriptor
    libc.mmap(None, ctypes.c_size_t(4096), 1, 1, f, ctypes.c_long(0))
    os.close(f)
open(uses, "w").close()
time.sleep(60)'
busy "in use by python3 ([0-9]*, current directory)" python3 -c "$in_use" cwd "$mnt" "$work/uses"
busy "1 open file or directory, by python3 ([0-9]*, mapped file)" python3 -c "$in_use" map "$mnt" "$work/uses"

# Jobs that take a while: one line says so, and all is done.
up
a debug fault gcp 'put:delay=2500'
echo x >"$mnt/gcp/x"
says 0 1 a umount
has "^astra umount: jobs are being finished; waiting up to 20 s (drain_timeout)$"
same "$(cat "$(native gcp x)")" x
up upload_delay=10s # its upload begins by the unmounting: one that runs has another behind it
a debug fault gcp 'put:delay=2500'
echo y >"$mnt/gcp/x"
script -qec "'$astra' --mount '$mnt' umount" /dev/null >"$work/says" # a terminal
has "1 job, 0 changed files to go"
same "$(cat "$(native gcp x)")" y

# Who asks a second time waits as well: it is no second signal.
up
a debug fault gcp 'put:delay=2500'
echo z >"$mnt/gcp/x"
a umount 2>/dev/null &
first=$!
until ! mountpoint -q "$mnt"; do sleep 0.05; done
says 0 1 a umount
wait $first
same "$(cat "$(native gcp x)")" z

# The time is over: how much is left, why, where it is; it goes on at the next mount.
up drain_timeout=2s
a debug fault gcp 'put:error=EIO/retry'
echo left >"$mnt/gcp/left"
echo more >"$mnt/gcp/more"
echo whole >"$mnt/aws/whole"
says 6 2 a umount
has "^astra umount: unmounted, but not all is in the clouds: 2 jobs and 0 changed files are left (drain_timeout (2 s) was too short; /gcp/.*: \(try [0-9]*: .*\|upload, [a-z]*\)); they are kept in $state and go on at the next mount$"
grep -q "2 jobs and 0 changed files are left for the next mount of $state: drain_timeout (2 s) was too short" "$work/log"
[ ! -e "$(native gcp left)" ]
same "$(cat "$(native aws whole)")" whole
up
settle
same "$(cat "$(native gcp left)")" left

# What failed for good is put off: why it did is told.
says 0 1 a umount
up drain_timeout=2s
a debug fault gcp 'put:error=EACCES/final'
echo refused >"$mnt/gcp/refused"
sleep 1
says 6 2 a umount
has "0 jobs and 1 changed file are left (drain_timeout (2 s) was too short; /gcp/refused: .*fault"
up
settle
same "$(cat "$(native gcp refused)")" refused

# An archived object that was renamed: nobody waits for it.
setfattr -n user.astra.tier -v ARCHIVE "$mnt/aws/whole"
settle
mv "$mnt/aws/whole" "$mnt/aws/later"
start=$(date +%s)
says 6 2 a umount
[ $(($(date +%s) - start)) -lt 10 ]
has "1 job and 0 changed files are left (1 waits for archived objects or the delete guard; /aws/later: .*archived"
up
s=0
a --json umount >"$work/out" 2>"$work/says" || s=$?
same "$s" 6
same "$(json 'd["jobs"], d["files"], d["state"]' <"$work/out")" "(1, 0, '$state')"
up
a restore later >/dev/null
says 6 2 a umount
has "/aws/later: /aws/later is restored and can be read: its object follows at 20"
up
a jobs retry "$(a --json jobs | json '[j["id"] for j in d["jobs"] if j["kind"] == "relocate"][0]')"
settle
says 0 1 a umount
same "$(cat "$(native aws later)")" whole

# One that is told to end at once says that, too.
up
a debug fault gcp 'put:hang'
echo again >"$mnt/gcp/left"
echo again >"$mnt/gcp/more"
pid=$(a --json status | json 'd["pid"]')
rm "$work/says"
a umount 2>"$work/says" && s=0 || s=$? &
waits=$!
for _ in $(seq 100); do grep -qs "jobs are being finished" "$work/says" && break; sleep 0.05; done
kill "$pid"
wait "$waits" || true
pid=
has "(it was told to end at once"
up
settle
same "$(cat "$(native gcp left)") $(cat "$(native gcp more)")" "again again"

# A daemon that dies meanwhile has not ended well.
a debug fault gcp 'put:hang'
echo gone >"$mnt/gcp/more"
pid=$(a --json status | json 'd["pid"]')
rm "$work/says"
(s=0; a umount 2>"$work/says" || s=$?; echo "$s" >"$work/status") &
for _ in $(seq 100); do grep -qs "jobs are being finished" "$work/says" && break; sleep 0.05; done
kill -9 "$pid"
wait $!
pid=
same "$(cat "$work/status")" 3
up
settle
same "$(cat "$(native gcp more)")" gone
says 0 1 a umount
