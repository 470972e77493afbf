#!/usr/bin/env bash
# Directories that are made, moved and removed while older moves of the same names are under way:
# every store call is slow, so that the moves are still going when the next change comes.
. "$(dirname "$0")/lib.sh"
cat >"$work/conf" <<T
[remote aws]
type = local
provider = aws
bucket = astra-aws
fault = set_meta:delay=600; *:delay=150
T
mount_slow() {
    "$astrafs" -f -c "$work/conf" -o "state=$state,data=$data,$opts,upload_delay=0ms,metadata_ttl=50ms,log_level=info,log_file=$work/log" \
        "$mnt" 2>>"$work/err" &
    pid=$!
    for _ in $(seq 300); do mountpoint -q "$mnt" && return 0; sleep 0.05; done
    exit 1
}
mount_slow
cd "$mnt/aws"
swap() { # A B, as RENAME_EXCHANGE
    python3 -c 'import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
a, b = map(os.fsencode, sys.argv[1:])
sys.exit(libc.renameat2(-100, a, -100, b, 2) and os.strerror(ctypes.get_errno()))' "$1" "$2"
}
tree() { find . -type f -printf '%p %s\n' -o -type d -printf '%p/\n' | sort; }
native_files() { (cd "$data/aws/astra-aws" && find . -name .astra -prune -o -type f -printf '%p %s\n' | sort); }
settled_same() {
    settle
    ls -R . >/dev/null
    sleep 0.3 # listings in the background
    ls -R . >/dev/null
    sleep 0.3
    same "$(tree)" "$1"
    same "$(native_files)" "$(echo "$1" | grep -v '/$' || true)"
}

# a directory made at the name that a move is leaving, then removed: it must not come back
mkdir x y
echo one >x/f; echo twoo >y/f
settle
swap x y
mkdir x/new
sleep 0.1
settle
rmdir x/new
settled_same "./
./x/
./x/f 5
./y/
./y/f 4"

# ... renamed: what is put into it goes along
swap x y
mkdir x/new
echo three >x/new/g
sleep 0.1
mv x/new y/new
echo fourr4 >y/new/h
settled_same "./
./x/
./x/f 4
./y/
./y/f 5
./y/new/
./y/new/g 6
./y/new/h 7"

# the old name again, moved below the moved one
mv y z
mkdir y
echo five56 >y/i
sleep 0.1 # its upload is posted, and waits for the move
mv y z/y
settled_same "./
./x/
./x/f 4
./z/
./z/f 5
./z/new/
./z/new/g 6
./z/new/h 7
./z/y/
./z/y/i 7"

# there and back while the first move still runs
mv z w
mkdir w/sub
echo sixsix66 >w/sub/j
sleep 0.1
mv w z
swap z x
settled_same "./
./x/
./x/f 5
./x/new/
./x/new/g 6
./x/new/h 7
./x/sub/
./x/sub/j 9
./x/y/
./x/y/i 7
./z/
./z/f 4"
# attributes of files whose directories move: the row keeps the version that the move made
for i in 1 2 3; do
    swap x z
    chmod 64$i x/f z/f
    settle
    mv x/f x/ff
    mv z/f z/ff
    settle
    mv x/ff x/f
    mv z/ff z/f
    same "$(stat -c %a x/f z/f | tr '\n' ' ')" "64$i 64$i "
done
swap x z
settle

# removed while its move still runs: the marker that goes is its own, not that of the new one
mkdir a
settle
mv a b
mkdir a
rmdir b
settle
[ -d "$data/aws/astra-aws/a" ]
[ ! -e "$data/aws/astra-aws/b" ]
settled_same "./
./a/
./x/
./x/f 5
./x/new/
./x/new/g 6
./x/new/h 7
./x/sub/
./x/sub/j 9
./x/y/
./x/y/i 7
./z/
./z/f 4"
# through a name and back to it, then away again: every move takes the marker along
mkdir m
settle
mv m n
mv n o
mv o n
settle
[ -d "$data/aws/astra-aws/n" ]
[ ! -e "$data/aws/astra-aws/m" ]
[ ! -e "$data/aws/astra-aws/o" ]
rmdir n
settle
[ ! -e "$data/aws/astra-aws/n" ]
cd /
unmount_it
