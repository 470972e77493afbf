/* SPDX-License-Identifier: MIT */
/* XML by libxml2. No state; each document belongs to one thread. */
#include "xml.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <libxml/parser.h>
#include <libxml/tree.h>

#define XML_BYTES_MAX (32u << 20)

static void quiet(void *ctx, const char *msg, ...)
{
}

static errint_t bad(struct err *err, xmlParserCtxtPtr ctx, const char *what)
{
	const xmlError *e = ctx ? xmlCtxtGetLastError(ctx) : NULL;

	if (!e || !e->message)
		return err_set(err, -EBADMSG, ERR_RETRY, "%s", what);
	return err_set(err, -EBADMSG, ERR_RETRY, "%s: line %d: %.*s", what, e->line,
		(int)strcspn(e->message, "\n"), e->message);
}

errint_t xml_parse(struct xml *ret, const char *p, size_t len, const char *root, struct err *err)
{
	xmlParserCtxtPtr ctx;
	const xmlNode *top;
	errint_t r = 0;

	*ret = (struct xml){0};
	if (!len || len > XML_BYTES_MAX)
		return err_set(err, -EBADMSG, ERR_RETRY, "the answer is no XML: %zu bytes", len);
	/* Before the parser sees it: entities of a document type may grow without bound. */
	if (memmem(p, len, "<!DOCTYPE", 9) || memmem(p, len, "<!ENTITY", 8))
		return err_set(err, -EBADMSG, ERR_RETRY, "the answer's XML has a document type");
	ctx = xmlNewParserCtxt();
	if (!ctx)
		return err_set(err, -ENOMEM, ERR_RETRY, "no memory for XML");
	ctx->sax->warning = ctx->sax->error = quiet;
	ret->doc = xmlCtxtReadMemory(ctx, p, (int)len, NULL, "UTF-8",
		XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING | XML_PARSE_NOCDATA |
			XML_PARSE_COMPACT);
	top = ret->doc ? xmlDocGetRootElement(ret->doc) : NULL;
	if (!ret->doc)
		r = bad(err, ctx, "the answer is no XML");
	else if (ret->doc->intSubset || ret->doc->extSubset)
		r = bad(err, NULL, "the answer's XML has a document type");
	else if (!top || (root && strcmp((const char *)top->name, root) != 0))
		r = err_set(err, -EBADMSG, ERR_RETRY, "the answer is <%s>, expected <%s>",
			top ? (const char *)top->name : "", root ? root : "");
	ret->root = top;
	xmlFreeParserCtxt(ctx);
	if (r)
		xml_done(ret);
	return r;
}

void xml_done(struct xml *x)
{
	if (x->doc)
		xmlFreeDoc(x->doc);
	*x = (struct xml){0};
}

/* ---- reading ---- */

static const xmlNode *element(const xmlNode *n, const char *name)
{
	for (; n; n = n->next)
		if (n->type == XML_ELEMENT_NODE && (!name || !strcmp((const char *)n->name, name)))
			return n;
	return NULL;
}

const struct _xmlNode *xml_child(const struct _xmlNode *node, const char *name)
{
	return node ? element(node->children, name) : NULL;
}

const struct _xmlNode *xml_next(const struct _xmlNode *node, const char *name)
{
	return element(node->next, name);
}

const char *xml_name(const struct _xmlNode *node)
{
	return (const char *)node->name;
}

const char *xml_text(const struct _xmlNode *node)
{
	const xmlNode *t = node->children;

	if (!t)
		return "";
	/* The parser joins what is adjacent: more than one is elements, comments or entities. */
	if (t->type != XML_TEXT_NODE || t->next)
		return NULL;
	return t->content ? (const char *)t->content : "";
}

const char *xml_attr(const struct _xmlNode *node, const char *name)
{
	for (const xmlAttr *a = node->properties; a; a = a->next) {
		const xmlNode *t = a->children;

		if (strcmp((const char *)a->name, name) != 0)
			continue;
		return t && t->type == XML_TEXT_NODE && !t->next ? (const char *)t->content : "";
	}
	return NULL;
}

const char *xml_child_text(const struct _xmlNode *node, const char *name)
{
	const xmlNode *c = xml_child(node, name);

	return c ? xml_text(c) : NULL;
}

errint_t xml_child_u64(const struct _xmlNode *node, const char *name, uint64_t *ret)
{
	const char *s = xml_child_text(node, name);
	char *end;

	if (!s || !*s || strspn(s, "0123456789") != strlen(s))
		return -EBADMSG;
	errno = 0;
	*ret = strtoull(s, &end, 10);
	return errno ? -EBADMSG : 0;
}

bool xml_child_true(const struct _xmlNode *node, const char *name)
{
	const char *s = xml_child_text(node, name);

	return s && !strcmp(s, "true");
}

/* ---- writing ---- */

bool xml_utf8(const char *text)
{
	if (!xmlCheckUTF8((const unsigned char *)text))
		return false;
	for (const unsigned char *s = (const unsigned char *)text; *s; s++)
		if (*s == 0xed && s[1] >= 0xa0) /* halves of UTF-16 */
			return false;
	return true;
}

bool xml_holds(const char *text)
{
	if (!xml_utf8(text))
		return false;
	for (const unsigned char *s = (const unsigned char *)text; *s; s++)
		if (*s < 0x20 && *s != '\t' && *s != '\n' && *s != '\r')
			return false;
	/* U+FFFE and U+FFFF */
	return !strstr(text, "\xef\xbf\xbe") && !strstr(text, "\xef\xbf\xbf");
}

errint_t xml_add(struct buf *b, const char *name, const char *text)
{
	if (!xml_holds(text))
		return b->failed = b->failed ? b->failed : -EILSEQ;
	if (name)
		(void)buf_addf(b, "<%s>", name);
	for (const char *s = text; *s; s++) {
		switch (*s) {
		case '&':
			(void)buf_adds(b, "&amp;");
			break;
		case '<':
			(void)buf_adds(b, "&lt;");
			break;
		case '>':
			(void)buf_adds(b, "&gt;");
			break;
		case '"':
			(void)buf_adds(b, "&quot;");
			break;
		case '\t':
		case '\n':
		case '\r':
			(void)buf_addf(b, "&#%d;", *s);
			break;
		default:
			(void)buf_add(b, s, 1);
		}
	}
	if (name)
		(void)buf_addf(b, "</%s>", name);
	return b->failed;
}
