#!/usr/bin/env bash
# Real programs on the mount.
. "$(dirname "$0")/lib.sh"
mount_it
cd "$mnt/aws"
if command -v git >/dev/null; then
    git init -q repo
    cd repo
    git config user.email a@example.org; git config user.name a
    for i in $(seq 30); do echo "$i" >"f$i"; done
    git add . && git commit -qm one
    echo more >>f1 && git commit -qam two
    git gc -q
    git fsck --full 2>/dev/null
    cd ..
    git clone -q repo clone
    diff -r --exclude=.git repo clone
fi
if command -v sqlite3 >/dev/null; then
    sqlite3 t.db 'create table t(a,b); begin; insert into t values(1,2),(3,4); commit;
        insert into t select a+10,b from t; delete from t where a=1;' 
    same "$(sqlite3 t.db 'pragma integrity_check; select count(*) from t;' | tr '\n' ' ')" "ok 3 "
fi
mkdir "$work/plain"
for i in $(seq 50); do head -c $((i * 137)) /dev/urandom >"$work/plain/f$i"; done
tar cf - -C "$work" plain | tar xf - -C "$mnt/gcp"
diff -r "$work/plain" "$mnt/gcp/plain"
if command -v rsync >/dev/null; then
    rsync -a "$work/plain/" "$mnt/azure/copy/"
    diff -r "$work/plain" "$mnt/azure/copy"
    same "$(rsync -ai "$work/plain/" "$mnt/azure/copy/" | wc -l)" 0
fi
# save as editors do
echo v1 >"$mnt/aws/doc"; settle
echo v2 >"$mnt/aws/.doc.tmp"; mv "$mnt/aws/.doc.tmp" "$mnt/aws/doc"
same "$(cat "$mnt/aws/doc")" v2
settle
same "$(cat "$(native aws doc)")" v2
[ ! -e "$(native aws .doc.tmp)" ]
cd /
unmount_it
