/* SPDX-License-Identifier: MIT */
/*
 * Options: one table for the command line, the configuration file and the help. Values are read
 * into struct options; sections of other rooms stay in conf for these to read.
 */
#ifndef DAEMON_OPTIONS_H
#define DAEMON_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "astra/base_conf.h"
#include "astra/base_err.h"
#include "astra/base_log.h"
#include "astra/policy.h"
#include "astra/vfs.h"

enum run_mode {
	RUN_MOUNT,
	RUN_CONF,
	RUN_CHECK,
	RUN_DUMP,
	RUN_LOAD,
	RUN_REBUILD,
	RUN_HELP,
	RUN_VERSION,
};

/*	name		 kind	     member	     argument	default	  help */
/* clang-format off */
#define OPTION_LIST(X) \
	X(state,	 PATH,	     state,	     "DIR",	"$XDG_STATE_HOME/astrafs/NAME", \
	  "index, journal, staging and cache") \
	X(data,		 PATH,	     data,	     "DIR",	"data in the state directory", \
	  "where embedded clouds keep their objects") \
	X(moved,	 LIST,	     moved,	     "REMOTE[:REMOTE...]", "none", \
	  "remotes whose objects are the same at another place") \
	X(ro,		 BOOL,	     ro,	     NULL,	"no", "refuse every change") \
	X(allow_other,	 BOOL,	     allow_other,    NULL,	"no", "let other users in") \
	X(uid,		 USER,	     uid,	     "N",	"the mounter", \
	  "owner of files that carry none") \
	X(gid,		 GROUP,	     gid,	     "N",	"the mounter's", \
	  "group of files that carry none") \
	X(umask,	 OCTAL,	     umask,	     "OCTAL",	"the mounter's", \
	  "permission bits that files carrying none lack") \
	X(durability,	 DURABILITY, durability,     "local|fsync|close", "fsync", \
	  "when a change is called safe") \
	X(recall,	 RECALL,     recall,	     "error|request|block:DURATION", "error", \
	  "reading an archived file") \
	X(migrate_wait,	 DURATION,   migrate_wait_ns, "DURATION", "200ms", \
	  "how long a rename across clouds waits for the bytes") \
	X(metadata_ttl,	 DURATION,   metadata_ttl_ns, "DURATION", "60s", \
	  "how long a listed directory is believed") \
	X(upload_delay,	 DURATION,   upload_delay_ns, "DURATION", "1s", \
	  "how long a closed file rests before its upload") \
	X(drain_timeout, DURATION,   drain_ns,	     "DURATION", "30s", \
	  "how long jobs are finished after an unmount") \
	X(lock_wait,	 DURATION,   lock_wait_ns,   "DURATION", "30s", \
	  "how long to wait for a state directory in use") \
	X(io_deadline,	 DURATION,   io_deadline_ns, "DURATION", "30s", \
	  "when an uncached read or lookup gives up") \
	X(open_grace,	 DURATION,   open_grace_ns,  "DURATION", "60s", \
	  "how long a version that is being read outlives its name") \
	X(cache_size,	 CACHE,	     cache_size,     "SIZE",	"10G", \
	  "disk for staged and cached bytes") \
	X(memory_limit,	 MEMORY,     memory_limit,   "SIZE",	"256M", \
	  "memory for transfers, half of it for their buffers") \
	X(buffers,	 BUFFERS,    buffers,	     "N",	"by memory_limit", \
	  "transfer buffers of 8 MiB") \
	X(workers,	 WORKERS,    workers,	     "N",	"16", "transfer threads") \
	X(conflict,	 CONFLICT,   conflict_overwrite, "keep|overwrite", "keep", \
	  "when the object was changed by others meanwhile") \
	X(delete_guard,	 GUARD,	     delete_guard,   "N",	"none", \
	  "removals a minute that are done at once; more are held") \
	X(undo_window,	 DURATION,   undo_window_ns, "DURATION", "10m", \
	  "how long held removals can be taken back") \
	X(request_budget, BUDGET,   budget,	     "N/min+N/day+$N/day", "none", \
	  "requests to all clouds together; more have to wait") \
	X(no_count,	 LIST,	     no_count,	     "NAME[:NAME...]", "updatedb, ...", \
	  "programs whose opens are no accesses") \
	X(no_recall,	 LIST,	     no_recall,	     "NAME[:NAME...]", "updatedb, ...", \
	  "programs that never start a restore") \
	X(no_list,	 LIST,	     no_list,	     "NAME[:NAME...]", "rsync, cp, ...", \
	  "programs that copy all attributes and are not shown user.astra.*") \
	X(log_level,	 LEVEL,	     log_level,	     "error|warn|notice|info|debug", "notice", \
	  "what is logged") \
	X(debug,	 ROOMS,	     debug_rooms,    "ROOM[:ROOM...]", "none", \
	  "parts that log debug messages: net shows requests and answers") \
	X(log_file,	 PATH,	     log_file,	     "FILE",	"the system log", \
	  "where it is logged")
/* clang-format on */

enum { NAMES_MAX = 64 };

struct options {
	enum run_mode mode;
	bool foreground, debug, fake, verbose;
	char *conf_path;  /* -c; owned, as all strings here */
	char *mountpoint; /* as given; NULL = none */
	char *fsname;	  /* SOURCE or fsname= */
	char mount_flags[256];

	char *state, *data, *log_file;
	bool ro, allow_other, conflict_overwrite;
	uint32_t uid, gid, umask;
	enum vfs_durability durability;
	enum vfs_recall recall;
	int64_t recall_block_ns;
	int64_t migrate_wait_ns, metadata_ttl_ns, upload_delay_ns, drain_ns, lock_wait_ns;
	int64_t io_deadline_ns, open_grace_ns, undo_window_ns;
	uint64_t cache_size, memory_limit, buffers, workers, delete_guard;
	enum log_level log_level;
	struct store_budget_conf budget;
	unsigned debug_rooms; /* of log_rooms_parse */
	/* NULL-terminated; array and strings owned */
	const char **no_count, **no_recall, **no_list, **moved;

	struct conf *conf; /* with the sections of the other rooms */
};

/* Reads the command line and the configuration. -EINVAL with a line that names the place. On any
 * return options_done() is due. */
errint_t options_parse(struct options *o, int argc, char **argv, struct err *err);
void options_done(struct options *o);
void options_help(FILE *to, const char *name);
/* The state directory's default for a mount point's absolute path. -EINVAL without a home. */
errint_t options_state_default(struct options *o, const char *place, struct err *err);
/* Where embedded clouds are; the state directory is known. free() it; NULL without memory. */
char *options_data_dir(const struct options *o);
/* "/mnt/my clouds" -> "mnt-my%20clouds": one file name for an absolute path. */
void options_name_of(const char *place, char ret[256]);

#endif
