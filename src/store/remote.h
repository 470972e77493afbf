/* SPDX-License-Identifier: MIT */
/* What a type of remote (local, mem, s3, ...) brings for the configuration: its keys, and how a
 * section of them becomes a driver. remote.c knows the types by the list at its head. */
#ifndef STORE_REMOTE_H
#define STORE_REMOTE_H

#include "astra/store.h"

struct section; /* [remote NAME], checked for unknown keys */

/* The last item of a key, or its value; NULL when there is none. */
const struct conf_item *section_item(const struct section *s, const char *key);
const char *section_value(const struct section *s, const char *key);
/* The item to name when something is wrong with the section as a whole. */
const struct conf_item *section_any(const struct section *s);
/* Values, *ret untouched when the key is not there. */
errint_t section_flag(const struct section *s, const char *key, bool *ret, struct err *err);
errint_t section_size(const struct section *s, const char *key, uint64_t *ret, struct err *err);
errint_t section_duration(const struct section *s, const char *key, int64_t *ret, struct err *err);
/* Its place in the list NULL-terminated words; -EINVAL names them. */
errint_t section_word(const struct section *s, const char *key, const char *const *words,
	unsigned *ret, struct err *err);

struct remote_type {
	const char *name;
	const char *const *keys; /* of this type alone; NULL-terminated; all types: see store.h */
	const char *provider;	 /* the default; NULL = "local" */
	bool real;		 /* somebody pays for what happens there */
	/* Whether the environment has credentials for it: then, with nothing configured, it stands
	 * for the embedded cloud of its provider. NULL = no. */
	bool (*in_environment)(void);
	/* Reads all of the section, then makes the driver; ret NULL = reads only. r has name,
	 * provider, region, classes, bucket and prefix. */
	errint_t (*make)(const struct section *s, struct remote *r, const char *data_dir,
		struct store **ret, struct err *err);
};

/* The types of other files. */
extern const struct remote_type remote_type_s3, remote_type_gcs, remote_type_azure;

#endif
