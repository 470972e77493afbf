/* SPDX-License-Identifier: MIT */
/*
 * The XML that stores speak, by libxml2: elements, their text and attributes, no name spaces.
 * What comes from a server is not trusted: bounded size and depth, no document type, no entities
 * but the five of XML, nothing fetched.
 */
#ifndef STORE_XML_H
#define STORE_XML_H

#include "astra/base_buf.h"

struct _xmlDoc;
struct _xmlNode; /* an element */

struct xml {
	struct _xmlDoc *doc; /* owned */
	const struct _xmlNode *root;
};
#define cleanup_xml __attribute__((cleanup(xml_done)))

/* Parses p[0..len). root NULL = any; another name, or anything not well formed: -EBADMSG with the
 * place. */
errint_t xml_parse(struct xml *ret, const char *p, size_t len, const char *root, struct err *err);
void xml_done(struct xml *x); /* safe on a zeroed struct */

/* First child element of that name (NULL = any name), or NULL; node may be NULL. */
const struct _xmlNode *xml_child(const struct _xmlNode *node, const char *name);
/* The next one behind it. */
const struct _xmlNode *xml_next(const struct _xmlNode *node, const char *name);
const char *xml_name(const struct _xmlNode *node);
/* Text of the element itself: "" when empty, NULL when it holds elements. Good until xml_done. */
const char *xml_text(const struct _xmlNode *node);
/* Value of an attribute, or NULL. */
const char *xml_attr(const struct _xmlNode *node, const char *name);
/* Text of its child, or NULL when there is none. */
const char *xml_child_text(const struct _xmlNode *node, const char *name);
/* Unsigned number in the child; -EBADMSG for anything else, also none. */
errint_t xml_child_u64(const struct _xmlNode *node, const char *name, uint64_t *ret);
bool xml_child_true(const struct _xmlNode *node, const char *name); /* "true" */

/* Appends <name>text</name>, or only the escaped text where name is NULL. -EILSEQ, sticky in the
 * buffer's failed, for what XML cannot hold: control characters, bytes that are not UTF-8. */
errint_t xml_add(struct buf *b, const char *name, const char *text);
bool xml_utf8(const char *text); /* well formed UTF-8 */
/* Whether XML can hold it. */
bool xml_holds(const char *text);

#endif
