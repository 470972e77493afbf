#!/usr/bin/env bash
# Archived files that get other names: nothing else waits for them, jobs say for what they wait, and
# what somebody has restored can be read.
. "$(dirname "$0")/lib.sh"
a() { timeout 60 "$astra" --mount "$mnt" "$@"; }
waits='waiting for restore of /aws/app.log.1 (archived)'

mount_it durability=fsync
cd "$mnt/aws"

# ---- astra mv ends, and says what is true
echo old >app.log
archive app.log
same "$(a mv /aws/app.log /aws/app.log.1)" "/aws/app.log -> /aws/app.log.1
The name has moved; its object follows later: $waits"
same "$(a mv /aws/app.log.1 /aws/app.log)" "/aws/app.log.1 -> /aws/app.log"
live_are 0 # there and back: nothing is to be done
a sync

# ---- a log is rotated: the new one is in the cloud, beside its key
mv app.log app.log.1
timeout 20 sh -c 'echo one >app.log' # durability=fsync: close waits
timeout 20 sync app.log
echo two >>app.log
timeout 20 sync app.log
timeout 20 sync .
live_are 2
live | cut -d'|' -f1,2,4 | sed 's/later-[0-9a-f]*/later-ID/' >"$work/live"
same "$(cat "$work/live")" "relocate|/aws/app.log|$waits
relocate|/aws/app.log.later-ID|$waits"
a jobs | grep -F "/aws/app.log.1  ($waits)"
same "$(cat "$(native aws "")"app.log.later-*)" "one
two"
for verb in "sync" "status --wait-clean"; do
    status=0
    # shellcheck disable=SC2086
    a $verb >"$work/out" 2>"$work/says" || status=$?
    same "$status" 1
    grep -qF "$waits" "$work/says"
    grep -qF "'astra restore' brings back what is archived" "$work/says"
done
cd /
unmount_it
mount_it durability=fsync
cd "$mnt/aws"
echo three >>app.log
timeout 20 sync app.log
same "$(ls)" "$(printf 'app.log\napp.log.1')"

# ---- rotated again, and what is between can be removed
mv app.log.1 app.log.2
mv app.log app.log.1
echo four >app.log
timeout 20 sync app.log
for _ in $(seq 100); do [ "$(cat "$(native aws app.log.1)" 2>/dev/null)" = "$(printf 'one\ntwo\nthree')" ] && break; sleep 0.1; done
same "$(cat "$(native aws app.log.1)")" "$(printf 'one\ntwo\nthree')"
rm app.log
timeout 20 sync .
echo five >app.log
timeout 20 sync app.log
live_are 2

# ---- restored it can be read as long as was said, and follows when it is told
a restore /aws/app.log.2 1d 2>"$work/says" | grep -q "/aws/app.log.2: can be read until "
if grep "/aws/app.log\$" "$work/says"; then exit 1; fi
grep -q "^restore waiting  /aws/app.log.2\$" "$work/says"
a jobs | grep -Eq "restore +done +/aws/app.log.2 \(object app.log\)\$"
sleep 1
same "$(cat app.log.2)" old
same "$(getfattr --only-values -n user.astra.state app.log.2)" restored
[ -e "$(native aws app.log)" ] && [ ! -e "$(native aws app.log.2)" ]
a jobs | grep -F "/aws/app.log.2 is restored and can be read: its object follows at 20"
a jobs retry "$(a jobs --json | python3 -c 'import json, sys
print(*(j["id"] for j in json.load(sys.stdin)["jobs"] if j["destination"] == "/aws/app.log.2" and not j["ended"]))')"
live_are 0
same "$(cat "$(native aws app.log)")" five
same "$(cat "$(native aws app.log.2)")" old
if ls "$(native aws "")" | grep later; then exit 1; fi
a sync

# ---- a directory with an archived file moves twice
mkdir d
echo cold >d/x
echo warm >d/y
archive d/x
mv d e
timeout 20 sync e
mv e f
timeout 20 sh -c 'echo new >f/new'
timeout 20 sync f/new
timeout 20 sync f
same "$(cat "$(native aws f/y)") $(cat "$(native aws f/new)") $(cat "$(native aws d/x)")" "warm new cold"
for _ in $(seq 100); do live | grep -q /f/x && break; sleep 0.1; done # it looks every 5 s
same "$(live)" "relocate|/aws/d/x|/aws/f/x|waiting for restore of /aws/f/x (archived)"
mv f d
live_are 0
same "$(cat "$(native aws d/y)") $(cat "$(native aws d/new)")" "warm new"

# ---- what needs the bytes of one that is archived is told
echo more >log.0
archive log.0
mv log.0 log.1
mv log.1 log.2
cd /
unmount_it
rm -rf "$state/stage"
mount_it
cd "$mnt/aws"
if timeout 20 sh -c 'echo x >>log.2' 2>"$work/says"; then echo "an archived file was appended to"; exit 1; fi
grep -qE "(I/O|Input/output) error" "$work/says"
live_are 1
a restore /aws/log.2 >/dev/null
echo x >>log.2
timeout 20 sync log.2
live_are 0
same "$(cat "$(native aws log.2)")" "$(printf 'more\nx')"
[ ! -e "$(native aws log.0)" ]

# ---- a new file is replaced by the archived one, which takes its name back
echo cold >n
archive n
mv n o
echo new >n
timeout 20 sync n
ls "$(native aws "")" | grep -q '^n\.later-'
mv o n
live_are 0
setfattr -n user.astra.refresh -v 1 .
if ls . "$(native aws "")" | grep later; then exit 1; fi
same "$(getfattr --only-values -n user.astra.state n)" archived

# ---- names are not exchanged with one
echo a >p
echo b >q
archive p
swap() { # -> what it says
    python3 -c 'import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
print(libc.renameat2(-100, sys.argv[1].encode(), -100, sys.argv[2].encode(), 2) and os.strerror(ctypes.get_errno()))' "$@"
}
same "$(swap p q) $(swap q p)" "Input/output error Input/output error"
same "$(getfattr --only-values -n user.astra.state p) $(cat q)" "archived b"
grep -q "warning vfs: 'p' is archived, or about to be: names cannot be exchanged with it" "$work/log"
live_are 0
a tier /aws/p HOT >/dev/null
same "$(swap p q)" 0
a sync
same "$(cat p q)" "$(printf 'b\na')"
cd /
unmount_it

# ---- what is restored just now is waited for, and what goes on after that
two_clouds 'restore_delay = 2s'
rm -rf "$state" "$data"
mount_it
cd "$mnt/aws"
echo cold >w
archive w
setfattr -n user.astra.restore -v 1d w
a status --wait-clean >/dev/null
same "$(getfattr --only-values -n user.astra.state w)" restored
mv w v
echo new >w
timeout 20 sync w
live_are 2
sleep 1
a jobs retry "$(a jobs --json | json '[j["id"] for j in d["jobs"] if j["destination"] == "/aws/v" and not j["ended"]][0]')"
a status --wait-clean >/dev/null
same "$(cat "$(native aws w)") $(cat "$(native aws v)")" "new cold"
archive w
# Pinned, and rewritten: where it is, and where it goes.
a ls -l /aws | grep -q "^ARCHIVE\* .* w\$"
echo newer >w
timeout 20 sync w
a ls -l /aws | grep -q "^HOT>ARCHIVE .* settled .* w\$"
same "$(a --json ls /aws | json '[(i["tier"], i["pinned"], i["pin"]) for i in d["items"] if i["name"] == "w"][0]')" "('HOT', True, 'ARCHIVE')"
setfattr -n user.astra.tier -v AUTO w
a ls -l /aws | grep -q "^HOT  .* w\$"
archive w
mv w u
live_are 1
for ids in "" "$(a jobs --json | json 'd["jobs"][0]["id"]')"; do
    status=0
    # shellcheck disable=SC2086
    a jobs wait --timeout 3s $ids 2>"$work/says" || status=$?
    same "$status" "$([ -z "$ids" ] && echo 1 || echo 5)"
    grep -F "waiting for restore of /aws/u (archived)" "$work/says"
done
cd /
unmount_it
