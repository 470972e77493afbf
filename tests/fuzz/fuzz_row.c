/* SPDX-License-Identifier: MIT */
/* Rows of the index: what is taken is written and read again as the same. */
#include "fuzz.h"

#include "meta/row.h"

static void inode_row(const uint8_t *p, size_t n)
{
	static uint8_t buf[ROW_INODE_MAX];
	static struct meta_inode a, b;
	size_t len;

	memset(&a, 0, sizeof(a));
	memset(&b, 0, sizeof(b));
	(void)row_inode_kind(p, n);
	if (row_inode_decode(7, p, n, &a))
		return;
	CHECK(row_inode_kind(p, n) == a.kind);
	len = row_inode_encode(&a, buf);
	CHECK(len <= sizeof(buf) && !row_inode_decode(7, buf, len, &b));
	CHECK(a.size == b.size && a.flags == b.flags && a.mode == b.mode);
	CHECK(a.parent == b.parent && !strcmp(a.name, b.name));
	CHECK(!strcmp(a.loc.path, b.loc.path) && !strcmp(a.loc.etag, b.loc.etag));
	CHECK(!strcmp(a.symlink, b.symlink) && !strcmp(a.last_error, b.last_error));
	CHECK(a.mtime_ns == b.mtime_ns && a.version == b.version && a.tier == b.tier);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static uint8_t buf[ROW_ACCESS_MAX];
	struct meta_access a, b;
	struct meta_totals t, u;
	size_t len;
	uint8_t which;

	fuzz_take(&p, &n, &which, 1);
	switch (which % 3) {
	case 0:
		inode_row(p, n);
		break;
	case 1:
		if (row_access_decode(p, n, &a))
			break;
		len = row_access_encode(&a, buf);
		CHECK(!row_access_decode(buf, len, &b));
		CHECK(a.reads == b.reads && a.day0 == b.day0 &&
			!memcmp(a.day, b.day, sizeof(a.day)));
		break;
	default:
		if (row_totals_decode(p, n, &t))
			break;
		len = row_totals_encode(&t, buf);
		CHECK(!row_totals_decode(buf, len, &u) && !memcmp(&t, &u, sizeof(t)));
		break;
	}
	return 0;
}
