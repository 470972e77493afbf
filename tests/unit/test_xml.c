/* SPDX-License-Identifier: MIT */
/* XML of servers, also of those that mean harm. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "astra/base_cleanup.h"
#include "store/xml.h"

static errint_t parse(struct xml *x, const char *text, const char *root)
{
	struct err err;

	return xml_parse(x, text, strlen(text), root, &err);
}

static void elements_and_text(void **state)
{
	static const char text[] =
		"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
		"<L xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"> <N>1</N>\n"
		"<K>a&amp;b &#13;&lt;\xc3\xa4</K><E/><C><![CDATA[<x>]]></C><N>22</N>"
		"<P><Q>t</Q></P><T x='1' y=''>true</T><!-- note --></L>";
	const struct _xmlNode *n;
	cleanup_xml struct xml x;
	uint64_t v;

	assert_int_equal(parse(&x, text, "L"), 0);
	assert_string_equal(xml_child_text(x.root, "K"), "a&b \r<\xc3\xa4");
	assert_string_equal(xml_child_text(x.root, "E"), "");
	assert_string_equal(xml_child_text(x.root, "C"), "<x>");
	assert_null(xml_child_text(x.root, "P"));
	assert_null(xml_child_text(x.root, "Z"));
	assert_string_equal(xml_child_text(xml_child(x.root, "P"), "Q"), "t");
	assert_true(xml_child_true(x.root, "T") && !xml_child_true(x.root, "N"));
	n = xml_child(x.root, "T");
	assert_string_equal(xml_attr(n, "x"), "1");
	assert_string_equal(xml_attr(n, "y"), "");
	assert_null(xml_attr(n, "z"));
	n = xml_child(x.root, "N");
	assert_string_equal(xml_text(n), "1");
	n = xml_next(n, "N");
	assert_string_equal(xml_text(n), "22");
	assert_null(xml_next(n, "N"));
	assert_int_equal(xml_child_u64(x.root, "N", &v), 0);
	assert_int_equal(v, 1);
	assert_int_equal(xml_child_u64(x.root, "K", &v), -EBADMSG);
	assert_int_equal(xml_child_u64(x.root, "Z", &v), -EBADMSG);
	assert_null(xml_child(NULL, "a"));
}

static void bad_documents_are_refused(void **state)
{
	static const char *const bad[] = {"", "hello", "<a>", "<a></b>", "<a><b></a>", "<a/><b/>",
		"<a>&undefined;</a>", "<a>\x01</a>", "<a>\xff</a>",
		"<!DOCTYPE a [<!ENTITY x \"y\">]><a>&x;</a>",
		"<!DOCTYPE a SYSTEM \"http://127.0.0.1:1/x\"><a/>",
		"<html><body>proxy error</body></html>", "{\"a\":1}"};
	struct xml x;
	char *deep = malloc(8000);

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(parse(&x, bad[i], "a"), -EBADMSG);
		assert_null(x.doc);
	}
	/* deeper than anybody needs */
	deep[0] = 0;
	for (unsigned i = 0; i < 1000; i++)
		strcat(deep, "<a>");
	for (unsigned i = 0; i < 1000; i++)
		strcat(deep, "</a>");
	assert_int_equal(parse(&x, deep, "a"), -EBADMSG);
	free(deep);
}

static void entities_do_not_grow(void **state)
{
	static const char utf16[] = "\xff\xfe<\0!\0D\0O\0C\0T\0Y\0P\0E\0 \0l\0>\0<\0l\0/\0>\0";
	char text[3000];
	size_t n = 0;
	struct xml x;

	n += (size_t)sprintf(text, "<!DOCTYPE l [<!ENTITY a \"aaaaaaaaaa\">");
	for (char c = 'b'; c <= 'j'; c++)
		n += (size_t)sprintf(text + n,
			"<!ENTITY %c \"&%c;&%c;&%c;&%c;&%c;&%c;&%c;&%c;&%c;&%c;\">", c, c - 1,
			c - 1, c - 1, c - 1, c - 1, c - 1, c - 1, c - 1, c - 1, c - 1);
	sprintf(text + n, "]><l>&j;</l>");
	assert_int_equal(parse(&x, text, "l"), -EBADMSG);
	/* hidden by another encoding */
	assert_int_equal(xml_parse(&x, utf16, sizeof(utf16) - 1, "l", NULL), -EBADMSG);
}

static void text_goes_both_ways(void **state)
{
	static const char *const texts[] = {"", "plain", "<&>\"'", "a\tb\nc\rd", " blanks ",
		"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", "]]>"};
	static const char *const cannot[] = {
		"\x01", "a\x1f", "\xff", "\xc3", "\xed\xa0\x80", "\xef\xbf\xbf"};

	for (unsigned i = 0; i < ARRAY_SIZE(texts); i++) {
		cleanup_buf struct buf b = BUF_INIT(1000);
		cleanup_xml struct xml x;

		buf_adds(&b, "<a>");
		assert_int_equal(xml_add(&b, "k", texts[i]), 0);
		buf_adds(&b, "</a>");
		assert_int_equal(parse(&x, b.p, "a"), 0);
		assert_string_equal(xml_child_text(x.root, "k"), texts[i]);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(cannot); i++) {
		cleanup_buf struct buf b = BUF_INIT(1000);

		assert_int_equal(xml_add(&b, "k", cannot[i]), -EILSEQ);
		assert_int_equal(buf_adds(&b, "x"), -EILSEQ);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(elements_and_text),
		cmocka_unit_test(bad_documents_are_refused),
		cmocka_unit_test(entities_do_not_grow),
		cmocka_unit_test(text_goes_both_ways),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
