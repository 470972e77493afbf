/* SPDX-License-Identifier: MIT */
/* A staging file and its sidecar as a crash, a power cut or a bad disk left them: they are opened,
 * read, changed and opened again. */
#include "fuzz.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "astra/base_hash.h"
#include "stage/stage_priv.h"

#define INO	 7
#define DATA_MAX 200000u

static char where[200];

static void path_of(const char *name, char ret[300])
{
	(void)snprintf(ret, 300, "%s/%s", where, name);
}

static void write_file(const char *name, const void *p, size_t n, uint64_t size)
{
	char path[300];
	int fd;

	path_of(name, path);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	CHECK(fd >= 0 && pwrite(fd, p, n, 0) == (ssize_t)n && ftruncate(fd, (off_t)size) == 0);
	(void)close(fd);
}

/* A header that is believed, with the input's fields. */
static void mend(struct map_head *h)
{
	h->magic = MAP_MAGIC;
	h->version = MAP_VERSION;
	h->ino = INO;
	h->which &= 1;
	h->epoch %= 4;
	h->size %= STAGE_SIZE_MAX + 1;
	for (unsigned i = 0; i < 2; i++) {
		struct map_base *b = &h->base[i];

		b->etag[sizeof(b->etag) - 1] = '\0';
		b->size %= STAGE_SIZE_MAX + 1;
		b->end = b->size ? b->end % (b->size + 1) : 0;
		b->crc = crc32c(crc32c(0, b->etag, sizeof(b->etag)), &b->size, sizeof(b->size));
	}
}

static void look(struct stage_file *f)
{
	static uint8_t buf[3 * STAGE_CHUNK];
	uint64_t size = stage_size(f), a, len, at = 0;
	size_t got = 0;

	for (unsigned i = 0; i < 8; i++) {
		uint64_t off = i < 4 ? i * 50000 : size > i * 4000 ? size - i * 4000 : 0;
		errint_t r = stage_read(f, off, buf, sizeof(buf), &got, &a, &len);

		CHECK(r || off + got <= size || !got);
		CHECK(r != -ENODATA || (len && a < size));
	}
	for (unsigned i = 0; i < 16 && stage_next_dirty(f, at, &a, &len); i++) {
		CHECK(len && a >= at && a + len <= size);
		at = a + len;
	}
	(void)stage_missing(f, 0, UINT64_MAX, &a, &len);
	(void)stage_seek(f, 0, true, &a);
	(void)stage_seek(f, 0, false, &a);
}

static void change(struct stage_file *f)
{
	uint64_t a, len, seq;
	char etag[128];

	(void)stage_write(f, 4000, "a few bytes", 11, &a, &len);
	(void)stage_write(f, 65536, "0123456789abcdef", 16, &a, &len);
	look(f);
	(void)stage_punch(f, 5000, 70000, &a, &len);
	(void)stage_truncate(f, 100000, &a, &len);
	stage_base_get(f, etag, &a);
	(void)stage_fill(f, etag, 8192, "z", 1);
	look(f);
	seq = stage_seq(f);
	(void)stage_clean(f, seq, "next", stage_size(f));
	look(f);
}

static void open_and_use(bool power_cut, bool rw)
{
	struct stage_conf conf = {.dir = where, .quota_bytes = 8 << 20, .power_cut = power_cut};
	struct stage_file *f = NULL;
	struct stage_stat st;
	struct stage *s = NULL;
	struct err err = {0};
	errint_t r = stage_open(&conf, &s, &err);

	CHECK(!r || *err.msg);
	if (r)
		return;
	r = stage_get(s, INO, false, &f);
	CHECK(!r || r == -ENOENT || r == -EBADMSG);
	if (!r) {
		look(f);
		if (rw)
			change(f);
		stage_put(f);
	}
	stage_drop(s, INO);
	/* Whatever it held, nothing is charged any more. */
	stage_stat(s, &st);
	CHECK(!st.files && !st.clean_bytes && !st.dirty_bytes);
	stage_close(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static union {
		struct map_head h;
		uint8_t page[STAGE_HEAD + DATA_MAX];
	} file;
	struct file_name name;
	char path[300];
	uint8_t how;
	uint32_t data_size;
	size_t len;

	if (!*where) {
		(void)snprintf(where, sizeof(where), "%s/stage", fuzz_dir());
		(void)mkdir(where, 0700);
	}
	memset(&file, 0, sizeof(file));
	fuzz_take(&p, &n, &how, 1);
	fuzz_take(&p, &n, &data_size, sizeof(data_size));
	fuzz_take(&p, &n, &file.h, sizeof(file.h));
	/* What is left are entries, of the first page and of the sidecar, and bytes. */
	len = n < 8 * MAP_CHUNKS_MIN ? n : 8 * MAP_CHUNKS_MIN;
	memcpy(file.page + MAP_HEAD_SIZE, p, len);
	memcpy(file.page + STAGE_HEAD, p, len);
	if (!(how & 1))
		mend(&file.h);
	file_name(INO, &name);
	path_of("07", path);
	(void)mkdir(path, 0700);
	path_of(name.map, path);
	(void)unlink(path);
	if (how & 2)
		write_file(name.map, file.page, STAGE_HEAD + len,
			STAGE_HEAD + 8 * data_size % DATA_MAX);
	if (!(how & 4))
		write_file(
			name.data, file.page, STAGE_HEAD + len, STAGE_HEAD + data_size % DATA_MAX);
	else
		write_file(name.data, file.page, MAP_HEAD_SIZE + len, MAP_HEAD_SIZE + len);
	open_and_use(how & 8, how & 16);
	return 0;
}
