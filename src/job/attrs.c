/* SPDX-License-Identifier: MIT */
/*
 * Attributes of files <-> metadata of their objects, in forms that other programs know:
 *
 *	mtime			as rclone: on S3 seconds with a fraction, on the others a date
 *	mode			on S3 decimal, as s3fs; on the others octal, as rclone
 *	uid, gid		decimal
 *	xattr			extended attributes, as s3fs: {"user.a":"BASE64","user.b":"BASE64"},
 *				where '%' and what is not printable ASCII are %XX
 *
 * s3fs does not look for escapes inside a name; so that both read the same ones, only quotes,
 * backslashes, commas, colons and braces get one (\u0022), which are hardly in names.
 *
 * Only user.* travels, but not user.astra.*: whoever can write an object may not give a file the
 * trusted.* of this machine. What others put among them stays there: the index keeps it under a
 * name that begins with a byte that no attribute of the user's has (meta_xattr_foreign).
 *
 * A store has room for so much metadata. What does not fit with what others have put there stays in
 * the index alone, and the file says meta-local; the vfs asks job_attrs_fit before it comes to
 * that.
 */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "job_priv.h"

#define KEY_XATTR "xattr"
#define OURS_MAX  256 /* bytes of the other keys of ours */
#define TEXT_MAX  (2u << 20)
#define FOREIGN	  "\001"
#define MODE_MAX  0177777

static const char *const our_keys[] = {
	"mtime", "mode", "uid", "gid", KEY_XATTR, STORE_META_WRITE, NULL};

bool meta_key_ours(const char *key)
{
	for (unsigned i = 0; our_keys[i] != NULL; i++)
		if (strcmp(our_keys[i], key) == 0)
			return true;
	return false;
}

static bool travels(const char *name)
{
	return strncmp(name, "user.", 5) == 0 && strncmp(name, "user.astra.", 11) != 0;
}

/* ---- out ---- */

/* Into a field of a request: printable, no '%' of its own. */
static void put_byte(struct buf *b, unsigned char c)
{
	if (c <= ' ' || c >= 0x7f || c == '%')
		(void)buf_addf(b, "%%%02X", c);
	else
		(void)buf_add(b, &c, 1);
}

static void put_name(struct buf *b, const char *name)
{
	for (; *name != '\0'; name++)
		if (strchr("\"\\,:{}", *name) != NULL)
			(void)buf_addf(b, "\\u%04x", (unsigned char)*name);
		else
			put_byte(b, (unsigned char)*name);
}

static int put_xattr(void *arg, const char *name, const void *p, size_t len)
{
	struct buf *b = arg;

	if (name[0] == FOREIGN[0])
		name++;
	else if (!travels(name))
		return 0;
	if (name[0] == '\0')
		return 0; /* see attrs_take */
	cleanup_free char *text = malloc(BASE64_LEN(len) + 1);

	if (text == NULL)
		return -ENOMEM;
	base64_encode(p, len, text);
	(void)buf_adds(b, b->len == 0 ? "{\"" : ",\"");
	put_name(b, name);
	(void)buf_addf(b, "\":\"%s\"", text);
	return b->failed;
}

errint_t attrs_text(struct meta_txn *t, uint64_t ino, struct buf *out)
{
	errint_t r = meta_xattr_each(t, ino, put_xattr, out);

	if (r == 0 && out->len != 0)
		r = buf_adds(out, "}");
	return r;
}

/* ---- in ---- */

/* One character of a JSON string at *s, as bytes; their number, 0 = not understood. */
static size_t get_char(const char **s, char to[4])
{
	unsigned c = 0;
	int n = 0;

	if (**s != '\\') {
		to[0] = *(*s)++;
		return 1;
	}
	switch ((*s)[1]) {
	case '"':
	case '\\':
	case '/':
		to[0] = (*s)[1];
		*s += 2;
		return 1;
	case 'u':
		if (strspn(*s + 2, "0123456789abcdefABCDEF") < 4 ||
			sscanf(*s + 2, "%4x%n", &c, &n) != 1 || n != 4 || c == 0)
			return 0;
		*s += 6;
		break;
	default:
		return 0;
	}
	if (c < 0x80) {
		to[0] = (char)c;
		return 1;
	}
	if (c >= 0xd800 && c < 0xe000)
		return 0; /* half of a pair: no program is known to write them */
	size_t len = c < 0x800 ? 2 : 3;

	to[0] = (char)(len == 2 ? 0xc0 | c >> 6 : 0xe0 | c >> 12);
	to[1] = (char)(0x80 | (len == 2 ? c & 0x3f : c >> 6 & 0x3f));
	to[2] = (char)(0x80 | (c & 0x3f));
	return len;
}

/* Steps over c; not over the end. */
static bool eat(const char **s, char c)
{
	if (**s != c)
		return false;
	(*s)++;
	return true;
}

/* "..." at *s, without its quotes. */
static bool get_string(const char **s, struct buf *out)
{
	char c[4];

	buf_reset(out);
	if (!eat(s, '"'))
		return false;
	while (!eat(s, '"')) {
		size_t n = **s == '\0' ? 0 : get_char(s, c);

		if (n == 0 || buf_add(out, c, n) < 0)
			return false;
	}
	return buf_adds(out, "") == 0;
}

static void skip_blanks(const char **s)
{
	*s += strspn(*s, " \t\r\n");
}

/* In place. */
static void unescape(char *s)
{
	char *to = s;
	uint8_t c = 0;

	for (; *s != '\0'; s++) {
		char hex[3] = {s[0] == '%' ? s[1] : '\0', s[1] != '\0' ? s[2] : '\0', '\0'};

		if (s[0] == '%' && strlen(hex) == 2 && hex_decode(hex, &c, 1) == 0 && c != 0) {
			*to++ = (char)c;
			s += 2;
		} else {
			*to++ = *s;
		}
	}
	*to = '\0';
}

errint_t attrs_parse(const char *text, attrs_fn fn, void *arg)
{
	struct buf name = BUF_INIT(TEXT_MAX), value = BUF_INIT(TEXT_MAX);
	cleanup_free char *copy = strdup(text), *data = malloc(strlen(text) + 1);
	const char *s = copy;
	size_t len = 0;
	errint_t r = copy == NULL || data == NULL ? -ENOMEM : 0;

	if (r == 0) {
		unescape(copy);
		skip_blanks(&s);
		r = eat(&s, '{') ? 0 : -EBADMSG;
		skip_blanks(&s);
	}
	while (r == 0 && *s != '}') {
		if (!get_string(&s, &name) || (skip_blanks(&s), !eat(&s, ':')) ||
			(skip_blanks(&s), !get_string(&s, &value)) ||
			base64_decode(value.len != 0 ? value.p : "", data, strlen(text), &len) < 0)
			r = name.failed == -ENOMEM || value.failed == -ENOMEM ? -ENOMEM : -EBADMSG;
		else
			r = fn(arg, name.len != 0 ? name.p : "", data, len);
		skip_blanks(&s);
		if (r == 0 && eat(&s, ',')) {
			skip_blanks(&s);
			r = *s == '"' ? 0 : -EBADMSG;
		} else if (r == 0 && *s != '}') {
			r = -EBADMSG;
		}
	}
	buf_done(&name);
	buf_done(&value);
	return r;
}

struct taken {
	struct meta_txn *t; /* NULL: only to see whether it can be read */
	uint64_t ino;
	bool add; /* what the file has stays */
};

static int take_xattr(void *arg, const char *name, const void *p, size_t len)
{
	struct taken *k = arg;
	char key[META_NAME_MAX + 1];
	size_t had = 0;
	int n = snprintf(key, sizeof(key), "%s%s", travels(name) ? "" : FOREIGN, name);

	if (n > META_NAME_MAX || name[0] == '\0' || name[0] == FOREIGN[0] || len > META_XATTR_MAX)
		return -EBADMSG;
	if (k->t == NULL)
		return 0;
	if (k->add && meta_xattr_get(k->t, k->ino, key, NULL, 0, &had) == 0)
		return 0;
	return meta_xattr_set(k->t, k->ino, key, p, len, 0);
}

static int name_old(void *arg, const char *name, const void *p, size_t len)
{
	return name[0] == FOREIGN[0] || travels(name) ? buf_add(arg, name, strlen(name) + 1) : 0;
}

static void read_mtime(const char *v, struct meta_inode *in)
{
	char *end = NULL;
	long long s = strtoll(v, &end, 10), ns = 0;
	unsigned digit = 0;

	if (clock_date_parse(v, &in->mtime_ns))
		return;
	if (end != v && *end == '.') {
		char digits[10] = "000000000";

		for (end++; *end >= '0' && *end <= '9'; end++, digit++)
			if (digit < 9)
				digits[digit] = *end;
		ns = strtoll(digits, NULL, 10);
	}
	if (end != v && *end == '\0' && s > INT32_MIN && s < (INT64_C(1) << 33))
		in->mtime_ns = s * NS_PER_S + (v[0] == '-' ? -ns : ns);
}

mode_t attrs_mode(const char *v)
{
	char *end = NULL;
	unsigned long mode = strtoul(v, &end, 10);

	if (mode > MODE_MAX)
		mode = strtoul(v, &end, 8);
	return *end == '\0' && mode <= MODE_MAX ? (mode_t)mode : 0;
}

void attrs_read(struct jobs *j, struct meta_inode *in, int64_t put_ns,
	const struct store_pair *meta, unsigned nmeta)
{
	in->mode = S_IFREG | (0666 & ~j->conf.umask);
	in->uid = j->conf.uid;
	in->gid = j->conf.gid;
	in->mtime_ns = put_ns;
	in->flags |= META_F_FOREIGN;
	for (unsigned i = 0; i < nmeta; i++) {
		const char *k = meta[i].key, *v = meta[i].value;
		char *end = NULL;

		if (strcmp(k, "mtime") == 0) {
			read_mtime(v, in);
		} else if (strcmp(k, "mode") == 0) {
			mode_t mode = attrs_mode(v);

			if (S_ISREG(mode)) {
				in->mode = S_IFREG | (mode & 0777);
				in->flags &= ~(uint32_t)META_F_FOREIGN;
			} else if (S_ISLNK(mode)) {
				in->kind = META_SYMLINK; /* target: fetched by the caller */
			}
		} else if (strcmp(k, "uid") == 0 || strcmp(k, "gid") == 0) {
			unsigned long id = strtoul(v, &end, 10);

			if (end == v || id >= UINT32_MAX)
				continue;
			*(k[0] == 'u' ? &in->uid : &in->gid) = (uint32_t)id;
			in->flags &= ~(uint32_t)META_F_FOREIGN;
		}
	}
}

static errint_t xattrs_in(
	struct meta_txn *t, uint64_t ino, const struct store_pair *meta, unsigned nmeta, bool add)
{
	struct taken k = {.ino = ino, .add = add};
	const char *text = NULL;

	for (unsigned i = 0; i < nmeta; i++)
		if (strcmp(meta[i].key, KEY_XATTR) == 0)
			text = meta[i].value;
	if (text == NULL)
		return 0;
	errint_t r = attrs_parse(text, take_xattr, &k); /* all of it, or none */

	k.t = t;
	if (r == 0)
		return attrs_parse(text, take_xattr, &k);
	if (r != -EBADMSG)
		return r;
	log_info("job", "inode %llu: its object's extended attributes cannot be read: '%.100s'",
		(unsigned long long)ino, text);
	/* Left there, as long as the file gets none here. */
	return meta_xattr_set(t, ino, FOREIGN, "", 0, 0);
}

errint_t attrs_take(struct meta_txn *t, uint64_t ino, const struct store_pair *meta, unsigned nmeta)
{
	struct buf old = BUF_INIT(TEXT_MAX); /* names, each with its NUL */
	errint_t r = meta_xattr_each(t, ino, name_old, &old);

	for (size_t at = 0; r == 0 && at < old.len; at += strlen(old.p + at) + 1)
		r = meta_xattr_del(t, ino, old.p + at);
	buf_done(&old);
	return r < 0 ? r : xattrs_in(t, ino, meta, nmeta, false);
}

errint_t attrs_learn(
	struct jobs *j, struct meta_txn *t, struct meta_inode *in, const struct store_stat *st)
{
	struct meta_inode theirs = *in;
	int64_t put = in->mtime_ns - st->mtime_ns;
	/* Still that of the listing, in which a LIST and a HEAD may round. */
	bool listed = (put > -NS_PER_S && put < NS_PER_S) || in->mtime_ns == in->btime_ns;

	attrs_read(j, &theirs, in->mtime_ns, st->meta, st->nmeta);
	if (theirs.kind != in->kind || (in->flags & META_F_DIRTY) != 0)
		return 0; /* a link shown as a file: the kernel keeps an inode's kind */
	if ((in->flags & META_F_ATTR_LOCAL) == 0) {
		*in = theirs;
		return attrs_take(t, in->ino, st->meta, st->nmeta);
	}
	if ((in->flags & META_F_FOREIGN) != 0) {
		in->mode = theirs.mode;
		in->uid = theirs.uid;
		in->gid = theirs.gid;
		in->flags &= theirs.flags;
	}
	if (listed)
		in->mtime_ns = theirs.mtime_ns;
	return xattrs_in(t, in->ino, st->meta, st->nmeta, true);
}

/* ---- how much fits ---- */

static size_t room_of(struct jobs *j, uint32_t remote)
{
	const struct remote *r = remote_of(j, remote);

	return r == NULL || r->caps.meta_max < OURS_MAX ? 0 : r->caps.meta_max - OURS_MAX;
}

errint_t job_attrs_fit(struct jobs *j, struct meta_txn *t, const struct meta_inode *in)
{
	struct buf text = BUF_INIT(TEXT_MAX);
	char path[META_PATH_MAX + 1];
	uint32_t remote = in->loc.remote;
	errint_t r = 0;

	if (in->kind != META_FILE || (in->flags & META_F_ORPHAN) != 0)
		return 0; /* no object will have them */
	if (meta_desired(t, in->ino, &remote, path) < 0)
		remote = in->loc.remote;
	r = attrs_text(t, in->ino, &text);
	if (r == 0 && text.len > room_of(j, remote))
		r = -ENOSPC;
	buf_done(&text);
	return r == -ENOBUFS ? -ENOSPC : r;
}

/* ---- sets ---- */

static void set_add(struct meta_set *s, const char *key, const char *value)
{
	assert(s->n < ARRAY_SIZE(s->m));
	s->m[s->n++] = (struct store_meta){.key = key, .value = value};
}

static void set_number(struct meta_set *s, unsigned slot, const char *key, uint64_t v)
{
	(void)snprintf(s->text[slot], sizeof(s->text[0]), "%llu", (unsigned long long)v);
	set_add(s, key, s->text[slot]);
}

static void set_mtime(struct meta_set *s, unsigned slot, int64_t ns, bool date)
{
	uint64_t n = ns < 0 ? -(uint64_t)ns : (uint64_t)ns;

	if (date)
		clock_date_format(ns, s->text[slot]);
	else
		(void)snprintf(s->text[slot], sizeof(s->text[0]), "%s%llu.%09llu",
			ns < 0 ? "-" : "", (unsigned long long)(n / NS_PER_S),
			(unsigned long long)(n % NS_PER_S));
	set_add(s, "mtime", s->text[slot]);
}

static void set_mode(struct meta_set *s, unsigned slot, mode_t mode, bool octal)
{
	(void)snprintf(s->text[slot], sizeof(s->text[0]), octal ? "%06o" : "%u", (unsigned)mode);
	set_add(s, "mode", s->text[slot]);
}

errint_t meta_set_make(struct meta_set *s, struct jobs *j, struct meta_txn *t, uint32_t remote,
	const struct meta_inode *in, const char *mark)
{
	const struct remote *to = remote_of(j, remote);
	bool dates = to != NULL && to->caps.meta_dates;

	*s = (struct meta_set){.xattrs = BUF_INIT(TEXT_MAX)};
	if (mark != NULL) {
		(void)snprintf(s->text[0], sizeof(s->text[0]), "%s", mark);
		set_add(s, STORE_META_WRITE, s->text[0]);
	}
	set_mtime(s, 1, in->mtime_ns, dates);
	if ((in->flags & META_F_FOREIGN) == 0) { /* else it states none, and goes on so */
		set_mode(s, 2, in->mode, dates);
		set_number(s, 3, "uid", in->uid);
		set_number(s, 4, "gid", in->gid);
	}
	if (in->kind != META_FILE)
		return 0;
	cleanup_txn struct meta_txn *own = t == NULL ? meta_begin_read(j->conf.meta) : NULL;
	errint_t r = attrs_text(t == NULL ? own : t, in->ino, &s->xattrs);
	size_t len = 0;

	if (r < 0 && r != -ENOBUFS)
		return r;
	s->unread = meta_xattr_get(t == NULL ? own : t, in->ino, FOREIGN, NULL, 0, &len) == 0;
	s->left = r == -ENOBUFS || s->xattrs.len > room_of(j, remote);
	if (!s->left && s->xattrs.len != 0)
		set_add(s, KEY_XATTR, s->xattrs.p);
	return 0;
}

void meta_set_drop(struct meta_set *s)
{
	if (!s->left && !s->unread && s->xattrs.len == 0)
		set_add(s, KEY_XATTR, NULL);
}

bool meta_set_leave(struct meta_set *s)
{
	for (unsigned i = 0; i < s->n; i++)
		if (strcmp(s->m[i].key, KEY_XATTR) == 0 && s->m[i].value != NULL) {
			s->m[i] = s->m[--s->n];
			s->left = true;
			return true;
		}
	return false;
}

/* Bytes of all pairs, as stores count them and a little more. */
static size_t set_bytes(const struct meta_set *s)
{
	size_t n = 0;

	for (unsigned i = 0; i < s->n; i++)
		n += strlen(s->m[i].key) + strlen(s->m[i].value) + 2;
	return n;
}

static size_t pair_bytes(const struct store_pair *p)
{
	return meta_key_ours(p->key) ? 0 : strlen(p->key) + strlen(p->value) + 2;
}

bool meta_set_others(
	struct meta_set *s, const struct store_stat *st, size_t bytes_max, const char *path)
{
	size_t bytes = set_bytes(s);
	bool left = false;

	for (unsigned i = 0; i < st->nmeta; i++)
		bytes += pair_bytes(&st->meta[i]);
	if (bytes > bytes_max)
		left = meta_set_leave(s); /* the index has them still, and nobody has these */
	bytes = set_bytes(s);
	for (unsigned i = 0; i < st->nmeta; i++) {
		const struct store_pair *p = &st->meta[i];

		if (meta_key_ours(p->key))
			continue;
		if (bytes + pair_bytes(p) > bytes_max || s->n >= STORE_META_MAX - 1 ||
			!store_meta_key_ok(p->key)) {
			log_warn("job",
				"'%s': metadata '%.*s' cannot be had at its new place and is lost",
				path, STORE_META_KEY_MAX, p->key);
			continue;
		}
		set_add(s, p->key, p->value);
		bytes += pair_bytes(p);
	}
	return left;
}

void attrs_left_log(const char *path)
{
	log_warn("job",
		"'%s': the object has no room for its extended attributes: they stay here alone",
		path);
}

uint32_t meta_set_sum(const struct meta_set *s)
{
	uint32_t crc = 0;

	for (unsigned i = 0; i < s->n; i++)
		if (s->m[i].value != NULL && strcmp(s->m[i].key, STORE_META_WRITE) != 0)
			crc = crc32c(crc32c(crc, s->m[i].key, strlen(s->m[i].key) + 1),
				s->m[i].value, strlen(s->m[i].value) + 1);
	return crc;
}

void meta_set_done(struct meta_set *s)
{
	buf_done(&s->xattrs);
}

errint_t attrs_sent(struct job *job, struct meta_set *s, uint32_t remote,
	const struct meta_inode *in, const char *mark, struct err *err)
{
	errint_t r = meta_set_make(s, job->jobs, NULL, remote, in, mark);

	if (r < 0)
		return err_set(err, r, ERR_RETRY, "index: %s", strerror(-r));
	job->own.attrs_sum = meta_set_sum(s);
	job->own.attrs_known = true;
	job->own.attrs_left = s->left;
	if (s->left && !ahead_goes_on(job))
		attrs_left_log(job->dst);
	return 0;
}

bool attrs_differ(struct job *job, struct meta_txn *t, const struct meta_inode *in)
{
	cleanup_meta_set struct meta_set s = {0};

	return meta_set_make(&s, job->jobs, t, in->loc.remote, in, NULL) < 0 ||
	       meta_set_sum(&s) != job->own.attrs_sum;
}

void attrs_arrived(struct job *job, struct meta_txn *t, struct meta_inode *in)
{
	if (!job->own.attrs_known)
		return;
	in->flags &= ~(uint32_t)META_F_ATTR_LOCAL;
	if (job->own.attrs_left || attrs_differ(job, t, in))
		in->flags |= META_F_ATTR_LOCAL;
}
