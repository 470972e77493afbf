#!/usr/bin/env bash
# Moves between clouds while others read and list; a directory of 10,000 files renamed.
. "$(dirname "$0")/lib.sh"
mount_it drain_timeout=1s
python3 "$(dirname "$0")/busy.py" "$mnt" "$astra" "$work"
unmount_it
mount_it drain_timeout=1s
python3 "$(dirname "$0")/busy.py" "$mnt" "$astra" "$work" again
unmount_it
