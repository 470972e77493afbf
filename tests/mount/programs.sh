#!/usr/bin/env bash
# Real programs on the mount; what they made is the same after a remount, and natively in the
# stores. A program that is not installed is named and left out.
. "$(dirname "$0")/lib.sh"
mount_it
missing=
have() { command -v "$1" >/dev/null || { missing="$missing $1"; return 1; }; }
at=$mnt/aws

# A tree with what trees have: sizes, modes, times, links, attributes, odd names.
plain=$work/plain
mkdir -p "$plain/sub/deep" "$plain/empty"
for i in $(seq 60); do head -c $((i * i * 37)) /dev/urandom >"$plain/sub/f$i"; done
head -c 20000000 /dev/urandom >"$plain/sub/deep/big"
printf 'x' >"$plain/sub/$(printf "caf$odd_e %%41 \n")"
ln -s ../sub/f1 "$plain/empty/link"
ln -s nowhere "$plain/dangling"
chmod 4751 "$plain/sub/f2"
chmod 1777 "$plain/empty"
# rsync leaves a time that is in the same second as the one that it should be.
find "$plain" -exec touch -h -d '2003-02-03 04:05:06.789012345' {} +
touch -d '2001-02-03 04:05:06.789012345' "$plain/sub/f3" "$plain/sub/deep"
touch -h -d '2002-02-03 04:05:06.7' "$plain/dangling"
chown 1234:4321 "$plain/sub/f4"
setfattr -n user.colour -v green "$plain/sub/f5"
setfattr -n user.bin -v 0x00ff10 "$plain/sub/deep"
list() {
    cd "$1"
    find . -printf '%P %y %m %U:%G %T@ %l\0' | sort -z | tr '\0' '\n'
    find . -type f -print0 | sort -z | xargs -0 sha256sum
    find . -print0 | sort -z | xargs -0 getfattr -dh -m '^user\.[^a]' | grep -v '^$'
}
like_plain() { (list "$1") >"$work/list"; diff -a "$work/plain.list" "$work/list"; }
(list "$plain") >"$work/plain.list"

# ---- copies of a tree ----
cp -a "$plain" "$at/cp"
like_plain "$at/cp"
tar --xattrs -cf - -C "$plain" . | (mkdir "$at/tar" && tar --xattrs -xpf - -C "$at/tar")
like_plain "$at/tar"
tar --xattrs --xattrs-include='user.[!a]*' -cf "$at/tar.tar" -C "$at/tar" .
mkdir "$work/untar"
tar --xattrs -xpf "$at/tar.tar" -C "$work/untar"
like_plain "$work/untar"
if have rsync; then
    rsync -aX "$plain/" "$at/rsync/"
    like_plain "$at/rsync"
    same "$(rsync -aXi "$plain/" "$at/rsync/")" ""
    settle
    same "$(rsync -aXi "$plain/" "$at/rsync/")" ""
    echo changed >>"$at/rsync/sub/f9"
    rm "$at/rsync/sub/f10"
    same "$(rsync -aXi --delete "$plain/" "$at/rsync/" | grep -c '^>f')" 2
    like_plain "$at/rsync"
fi
mv "$at/cp" "$mnt/azure/moved"
like_plain "$mnt/azure/moved"
same "$(du -s --apparent-size -b "$mnt/azure/moved/sub/deep/big" | cut -f1)" 20000000
[ "$(du -s "$mnt/azure/moved" | cut -f1)" -ge 19500 ]
same "$(find "$mnt/azure/moved" -name 'f*' -size +100k | wc -l)" \
    "$(find "$plain" -name 'f*' -size +100k | wc -l)"
dd if="$plain/sub/deep/big" of="$at/direct" bs=1M oflag=direct conv=fsync status=none
same "$(dd if="$at/direct" bs=1M iflag=direct status=none | sha256sum)" \
    "$(sha256sum <"$plain/sub/deep/big")"

# ---- git ----
if have git; then
    mkdir "$at/repo"
    cd "$at/repo"
    g() { git -c user.name=a -c user.email=a@example.org -c advice.detachedHead=false "$@"; }
    g init -q -b main .
    mkdir -p src/a src/b
    for i in $(seq 120); do
        seq "$i" $((i * 30)) >"src/a/f$i"
        echo "$i" >"src/b/g$i"
    done
    ln -s a/f1 src/link
    g add . && g commit -qm one
    for b in one two three; do
        g checkout -qb "$b" main
        seq 500 >>"src/a/f7" && echo "$b" >"src/$b" && g rm -q "src/b/g1" && g add . &&
            g commit -qm "branch $b"
    done
    g checkout -q main
    g merge -q one
    for b in two three one main; do g checkout -q "$b"; same "$(g status --porcelain)" ""; done
    g tag -a v1 -m v1
    g gc -q
    g fsck --full --strict --no-dangling 2>/dev/null
    g clone -q . "$mnt/gcp/clone"
    diff -r --no-dereference --exclude=.git . "$mnt/gcp/clone"
    (cd "$mnt/gcp/clone" && g checkout -q -t origin/two && seq 9 >src/new && g add . &&
        g commit -qm new && g push -q origin two:pushed && g repack -adq && g fsck --full --no-dangling 2>/dev/null)
    same "$(g log --oneline pushed | wc -l)" 3
    echo dirty >>src/a/f3
    g stash -q && g stash pop -q
    same "$(g status --porcelain)" " M src/a/f3"
    g checkout -q src
    # What uploads do is not seen as a change: no file has to be read again.
    g update-index -q --refresh
    settle
    g diff-files --quiet
    cd /
fi

# ---- sqlite ----
if have sqlite3; then
    for mode in delete wal truncate persist; do
        db=$at/$mode.db
        same "$(sqlite3 "$db" "pragma journal_mode=$mode;")" "$mode"
        sqlite3 "$db" 'create table t(a integer primary key, b text);'
        for p in 1 2 3; do
            (for i in $(seq 15); do
                sqlite3 -cmd '.timeout 300000' "$db" \
                    "begin immediate; insert into t(b) values(hex(randomblob(3000))); commit;"
            done) &
        done
        wait $(jobs -p | grep -vx "$pid")
        sqlite3 "$db" 'begin; delete from t where a % 2; rollback; delete from t where a = 1; vacuum;'
        same "$(sqlite3 "$db" 'pragma integrity_check; select count(*) from t;' | tr '\n' ' ')" "ok 44 "
        sync "$db"
    done
fi

# ---- a C build ----
if have make && have cc; then
    mkdir "$at/build"
    cd "$at/build"
    for i in $(seq 30); do
        printf '#include "all.h"\nint f%d(int x) { return x + %d; }\n' "$i" "$i" >"f$i.c"
        printf 'int f%d(int);\n' "$i" >>all.h
    done
    { echo '#include <stdio.h>'; echo '#include "all.h"'; echo 'int main(void) { int x = 0;'
        seq -f 'x = f%.0f(x);' 30; echo 'printf("%d\n", x); return 0; }'; } >main.c
    cat >Makefile <<'EOF'
OBJ := $(patsubst %.c,%.o,$(filter-out main.c,$(wildcard *.c)))
prog: main.o libf.a
	$(CC) -o $@ $^
libf.a: $(OBJ)
	ar rcs $@ $^
%.o: %.c all.h
	$(CC) -O1 -c -o $@ $<
clean:
	rm -f *.o *.a prog
EOF
    make -s -j4
    same "$(./prog)" 465
    make -q
    touch all.h
    make -s -j4
    same "$(./prog)" 465
    make -s clean
    make -s -j4
    settle
    make -q
    cd /
    same "$("$(native aws build/prog)" 2>/dev/null || sh -c "cp '$(native aws build/prog)' '$work/p'; chmod +x '$work/p'; '$work/p'")" 465
fi

# ---- saves by rename ----
doc=$at/docs
mkdir "$doc"
echo v1 >"$doc/letter"
chmod 640 "$doc/letter"
setfattr -n user.note -v keep "$doc/letter"
settle
ino=$(stat -c %i "$doc/letter")
vim=$(command -v vim vim.tiny | head -1)
if [ -z "$vim" ]; then
    missing="$missing vim"
else
    for copy in yes no auto; do
        "$vim" -u NONE -N -i NONE -es --cmd "set backup writebackup backupskip= backupdir=. backupcopy=$copy" \
            -c "\$s/.*/&\r$copy/" -c wq "$doc/letter" </dev/null >/dev/null 2>&1 || true
        same "$(tail -1 "$doc/letter")" "$copy"
        same "$(stat -c %a "$doc/letter")" 640
    done
    same "$(cat "$doc/letter~")" "$(head -n -1 "$doc/letter")"
    rm "$doc/letter~"
fi
# As office programs do: a lock file, a new file, the old one aside, both renamed.
office() {
    printf '%s' "$USER" >"$doc/.~lock.letter#"
    printf '%s\n' "$1" >"$doc/lu$$.tmp"
    chmod --reference="$doc/letter" "$doc/lu$$.tmp"
    sync "$doc/lu$$.tmp"
    mv -T "$doc/letter" "$doc/letter.bak"
    mv -T "$doc/lu$$.tmp" "$doc/letter"
    rm "$doc/letter.bak" "$doc/.~lock.letter#"
}
USER=${USER:-somebody}
for i in $(seq 5); do office "office $i"; same "$(cat "$doc/letter")" "office $i"; done
# As most editors do: written beside, synced, renamed over.
for i in $(seq 5); do
    echo "editor $i" >"$doc/.letter.swp"
    [ "$i" != 3 ] || sync "$doc/.letter.swp"
    mv -f "$doc/.letter.swp" "$doc/letter"
    same "$(cat "$doc/letter")" "editor $i"
done
sed -i 's/editor/sed/' "$doc/letter"
same "$(cat "$doc/letter")" "sed 5"
same "$(stat -c %a "$doc/letter")" 644
[ "$(stat -c %i "$doc/letter")" != "$ino" ]
settle
same "$(cat "$(native aws docs/letter)")" "sed 5"
same "$(ls -A "$doc")" letter
same "$(ls -A "$(native aws docs)" | grep -v '^\.astra')" letter

# ---- all of it again, by a new daemon ----
unmount_it
mount_it
like_plain "$mnt/azure/moved"
like_plain "$at/tar"
if [ -d "$at/repo" ]; then
    cd "$at/repo"
    g diff-files --quiet
    g fsck --full --no-dangling 2>/dev/null
    cd "$mnt/gcp/clone"
    same "$(g status --porcelain)" ""
    cd /
fi
for mode in delete wal; do
    [ ! -e "$at/$mode.db" ] ||
        same "$(sqlite3 "$at/$mode.db" 'pragma integrity_check; select count(*) from t;' | tr '\n' ' ')" "ok 44 "
done
[ ! -d "$at/build" ] || make -q -C "$at/build"
unmount_it
[ -z "$missing" ] || echo "not installed, left out:$missing"
