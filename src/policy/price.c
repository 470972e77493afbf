/* SPDX-License-Identifier: MIT */
/*
 * Price books: the built-in book "astra", the parser of [prices NAME], and what
 * storing, reading and moving costs by a book. Pure; any thread.
 *
 * A price in 10^-12 dollars per GB (10^9 bytes) is the same integer of 10^-21 dollars (money_t) per
 * byte, so size times price is exact and no figure is rounded before it is printed. Bounds keep
 * every product inside 127 bits: prices at most $100 per GB (10^14 a byte), sizes below 2^64, at
 * most 3,650 days.
 */
#include "astra/policy.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "astra/base_cleanup.h"

#define DAYS_PER_MONTH 30
#define DAY_S	       86400
#define GB_PRICE_MAX   100  /* dollars per GB */
#define REQ_PRICE_MAX  1000 /* dollars per 1,000 requests */

/* ---- the built-in book ---- */

/* Storage in millionths of a dollar per GB. */
#define CLASS(word, micro, when)                                                                   \
	{                                                                                          \
		.name = (word), .first_byte = (when), .storage = (money_t)(micro)*1000000          \
	}
#define ROW(provider, hot, warm, cold, archive)                                                    \
	{                                                                                          \
		.name = (provider), .tiers = { hot, warm, cold, archive }                          \
	}

/* All AWS prices and the GCP ones of COLDLINE and ARCHIVE are the classic demo figures; the rest
 * are list prices of the date (us-central1; Azure LRS). GB is 10^9 everywhere in this book. */
static const struct price_book book_astra = {
	.name = "astra",
	.date = "2026-09-20",
	.providers = {ROW("aws", CLASS("STANDARD", 23000, "instant"),
			      CLASS("STANDARD_IA", 12500, "instant"),
			      CLASS("GLACIER", 4000, "minutes"),
			      CLASS("DEEP_ARCHIVE", 990, "hours")),
		ROW("gcp", CLASS("STANDARD", 20000, "instant"), CLASS("NEARLINE", 10000, "instant"),
			CLASS("COLDLINE", 4000, "instant"), CLASS("ARCHIVE", 1200, "instant")),
		ROW("azure", CLASS("Hot", 20800, "instant"), CLASS("Cool", 11500, "instant"),
			CLASS("Cold", 4500, "instant"), CLASS("Archive", 2000, "hours")),
		ROW("local", CLASS("HOT", 0, "instant"), CLASS("WARM", 0, "instant"),
			CLASS("COLD", 0, "instant"), CLASS("ARCHIVE", 0, "instant"))},
};

const struct price_book *price_book_astra(void)
{
	return &book_astra;
}

const struct price_provider *price_find(const struct price_book *b, const char *provider)
{
	if (!provider)
		return NULL;
	for (unsigned i = 0; i < PRICE_PROVIDERS; i++) {
		if (!strcmp(b->providers[i].name, provider))
			return &b->providers[i];
	}
	return NULL;
}

/* ---- what things cost ---- */

money_t price_month(const struct price_provider *p, enum tier t, uint64_t size)
{
	const struct price_class *c = &p->tiers[t];

	assert((unsigned)t < TIER_N);
	return (money_t)MAX_OF(size, c->min_size) * c->storage + (money_t)c->overhead * c->storage +
	       (money_t)c->overhead_hot * p->tiers[TIER_HOT].storage;
}

money_t price_read(const struct price_provider *p, enum tier t, uint64_t size)
{
	const struct price_class *c = &p->tiers[t];

	assert((unsigned)t < TIER_N);
	return c->read + (money_t)size * (c->retrieval + p->egress);
}

void price_move_cost(struct price_move *m)
{
	const struct price_class *from = &m->from->tiers[m->from_tier];
	const struct price_class *to = &m->to->tiers[m->to_tier];
	int64_t held_days = m->held_s < 0 ? 0 : m->held_s / DAY_S;
	money_t month = price_month(m->from, m->from_tier, m->size);
	unsigned parts = m->parts ? m->parts : 1;

	assert((unsigned)m->from_tier < TIER_N && (unsigned)m->to_tier < TIER_N);
	m->retrieval = (money_t)m->size * from->retrieval;
	if (m->from == m->to) {
		m->requests = to->transition;
		m->egress = 0;
	} else {
		m->requests = (money_t)parts * (from->read + to->write);
		m->egress = (money_t)m->size * m->from->egress;
	}
	m->early = 0;
	if (held_days < from->min_days)
		m->early = month * (from->min_days - held_days) / DAYS_PER_MONTH;
	m->retained = month * m->retained_days / DAYS_PER_MONTH;
	m->total = m->requests + m->retrieval + m->early + m->egress + m->retained;
	m->saving = month - price_month(m->to, m->to_tier, m->size);
}

unsigned price_payback_months(money_t fees, money_t saving)
{
	if (fees <= 0 && saving >= 0)
		return 0;
	if (saving <= 0 || (fees + saving - 1) / saving >= UINT_MAX)
		return UINT_MAX;
	return (unsigned)((fees + saving - 1) / saving);
}

/* ---- [prices NAME] ---- */

enum price_kind { PER_GB, PER_1000, DAYS, SIZE, WORD };

static const struct {
	const char *key;
	enum price_kind kind;
	size_t offset; /* in struct price_class */
	size_t len;    /* of a WORD */
} price_keys[] = {
#define FIELD(f) offsetof(struct price_class, f), sizeof(((struct price_class *)0)->f)
	{"storage", PER_GB, FIELD(storage)},
	{"retrieval", PER_GB, FIELD(retrieval)},
	{"write", PER_1000, FIELD(write)},
	{"read", PER_1000, FIELD(read)},
	{"transition", PER_1000, FIELD(transition)},
	{"min_days", DAYS, FIELD(min_days)},
	{"min_size", SIZE, FIELD(min_size)},
	{"overhead", SIZE, FIELD(overhead)},
	{"overhead_hot", SIZE, FIELD(overhead_hot)},
	{"class", WORD, FIELD(name)},
	{"first_byte", WORD, FIELD(first_byte)},
#undef FIELD
};

static errint_t unknown_word(const struct conf_item *it, const char *what, const char *word,
	const char *const *names, size_t n, struct err *err)
{
	const char *near = nearest_name(word, names, n);

	return conf_err(it, err, "unknown %s '%s'%s%s%s", what, word,
		near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

/* A price in dollars per GB as money per byte. */
static errint_t conf_per_gb(
	const struct conf_item *it, bool binary_gb, money_t *ret, struct err *err)
{
	money_t m, bytes = binary_gb ? (money_t)1 << 30 : 1000000000;

	if (money_parse(it->value, &m) || m > GB_PRICE_MAX * MONEY_USD)
		return conf_err(it, err,
			"'%s' is not dollars per GB; allowed: 0 to %d with at most 12 decimals",
			it->value, GB_PRICE_MAX);
	*ret = (m + bytes / 2) / bytes;
	return 0;
}

static errint_t class_key_set(const struct conf_item *it, struct price_class *c, const char *key,
	bool binary_gb, struct err *err)
{
	const char *names[ARRAY_SIZE(price_keys)];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(price_keys); i++) {
		names[i] = price_keys[i].key;
		if (!strcmp(key, price_keys[i].key))
			break;
	}
	if (i == ARRAY_SIZE(price_keys))
		return unknown_word(it, "price", key, names, ARRAY_SIZE(names), err);

	void *field = (char *)c + price_keys[i].offset;
	money_t m;
	uint64_t n;

	switch (price_keys[i].kind) {
	case PER_GB:
		return conf_per_gb(it, binary_gb, field, err);
	case PER_1000:
		if (money_parse(it->value, &m) || m > REQ_PRICE_MAX * MONEY_USD)
			return conf_err(it, err,
				"'%s' is not dollars per 1,000; allowed: 0 to %d with at most 12 "
				"decimals",
				it->value, REQ_PRICE_MAX);
		*(money_t *)field = (m + 500) / 1000;
		return 0;
	case DAYS:
		if (conf_u64(it, 0, 3650, &n, err))
			return -EINVAL;
		*(unsigned *)field = (unsigned)n;
		return 0;
	case SIZE:
		if (conf_size(it, &n, err))
			return -EINVAL;
		if (n > UINT64_C(1) << 40)
			return conf_err(it, err, "'%s' is more than 1 TiB per object", it->value);
		*(uint64_t *)field = n;
		return 0;
	case WORD:
		if (!*it->value || strlen(it->value) >= price_keys[i].len)
			return conf_err(
				it, err, "empty or longer than %zu bytes", price_keys[i].len - 1);
		memcpy(field, it->value, strlen(it->value) + 1);
		return 0;
	}
	return -EINVAL;
}

/* Splits "aws.WARM.storage" at its dots; parts beyond the third stay in the third. */
static errint_t key_split(const struct conf_item *it, char *copy, size_t len, char **ret_tier,
	char **ret_key, struct err *err)
{
	char *dot;

	if (strlen(it->key) >= len)
		return conf_err(it, err, "key too long");
	memcpy(copy, it->key, strlen(it->key) + 1);
	*ret_tier = *ret_key = NULL;
	dot = strchr(copy, '.');
	if (!dot)
		return conf_err(it, err,
			"unknown key; allowed: date, PROVIDER.egress, "
			"PROVIDER.gb, PROVIDER.TIER.PRICE");
	*dot = '\0';
	*ret_tier = dot + 1;
	dot = strchr(*ret_tier, '.');
	if (dot) {
		*dot = '\0';
		*ret_key = dot + 1;
	}
	return 0;
}

static errint_t date_set(const struct conf_item *it, struct price_book *b, struct err *err)
{
	const char *form = "dddd-dd-dd", *s = it->value;

	if (strlen(s) != strlen(form))
		goto bad;
	for (size_t i = 0; form[i]; i++) {
		if (form[i] == 'd' ? s[i] < '0' || s[i] > '9' : s[i] != form[i])
			goto bad;
	}
	memcpy(b->date, s, strlen(s) + 1);
	return 0;
bad:
	return conf_err(it, err, "'%s' is not a date; allowed: YYYY-MM-DD", s);
}

/* One item; in the first pass only the units (PROVIDER.gb), in the second all else. */
static errint_t item_set(const struct conf_item *it, struct price_book *b,
	bool binary_gb[PRICE_PROVIDERS], bool units_pass, struct err *err)
{
	static const char *const tiers[] = {"HOT", "WARM", "COLD", "ARCHIVE", "egress", "gb"};
	const char *names[PRICE_PROVIDERS];
	char copy[128], *word, *key;
	unsigned i;
	enum tier t;
	errint_t r;

	if (!strcmp(it->key, "date"))
		return units_pass ? 0 : date_set(it, b, err);
	r = key_split(it, copy, sizeof(copy), &word, &key, err);
	if (r)
		return r;
	for (i = 0; i < PRICE_PROVIDERS; i++) {
		names[i] = b->providers[i].name;
		if (!strcmp(copy, names[i]))
			break;
	}
	if (i == PRICE_PROVIDERS)
		return unknown_word(it, "provider", copy, names, PRICE_PROVIDERS, err);
	if (!key && !strcmp(word, "gb")) {
		binary_gb[i] = !strcmp(it->value, "GiB");
		if (!binary_gb[i] && strcmp(it->value, "GB"))
			return conf_err(it, err, "'%s' is not a unit; allowed: GB, GiB", it->value);
		return 0;
	}
	if (units_pass)
		return 0;
	if (!key && !strcmp(word, "egress"))
		return conf_per_gb(it, binary_gb[i], &b->providers[i].egress, err);
	if (tier_parse(word, &t))
		return unknown_word(it, "tier", word, tiers, ARRAY_SIZE(tiers), err);
	if (!key)
		return conf_err(
			it, err, "which price of the tier? as in %s.%s.storage", copy, word);
	return class_key_set(it, &b->providers[i].tiers[t], key, binary_gb[i], err);
}

static errint_t section_apply(
	const struct conf *c, const char *section, struct price_book *b, struct err *err)
{
	bool binary_gb[PRICE_PROVIDERS] = {false};

	for (int units_pass = 1; units_pass >= 0; units_pass--) {
		for (size_t i = 0; i < conf_count(c); i++) {
			const struct conf_item *it = conf_at(c, i);
			errint_t r;

			if (strcmp(it->section, section) || !*it->key)
				continue;
			r = item_set(it, b, binary_gb, units_pass, err);
			if (r)
				return r;
		}
	}
	return 0;
}

errint_t price_book_parse(
	const struct conf *c, const char *name, struct price_book *ret, struct err *err)
{
	static const char prefix[] = "prices";
	const char *names[32] = {"astra"};
	const char *last = "", *near;
	const struct conf_item *asked;
	char why[160];
	bool found = !strcmp(name, "astra");
	size_t n = 1;

	*ret = book_astra;
	for (size_t i = 0; i < conf_count(c); i++) {
		const struct conf_item *it = conf_at(c, i);
		struct price_book scratch = book_astra;
		const char *book;
		errint_t r;

		if (strncmp(it->section, prefix, strlen(prefix)) || !strcmp(it->section, last))
			continue;
		last = it->section; /* the rest of a section in pieces is only checked again */
		book = it->section + strlen(prefix);
		if (*book && *book != ' ')
			continue; /* another word that starts like ours */
		book += strspn(book, " ");
		if (!*book || strlen(book) >= sizeof(ret->name))
			return conf_err(it, err, "name of a price book: empty or longer than %zu",
				sizeof(ret->name) - 1);
		if (n < ARRAY_SIZE(names))
			names[n++] = book;
		/* Books that are not in use are checked all the same. */
		r = section_apply(c, it->section, &scratch, err);
		if (r)
			return r;
		if (strcmp(book, name))
			continue;
		found = true;
		*ret = scratch;
		memcpy(ret->name, book, strlen(book) + 1);
	}
	if (found)
		return 0;
	near = nearest_name(name, names, n);
	(void)snprintf(why, sizeof(why), "there is no price book '%.40s'%s%s%s", name,
		near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
	asked = conf_get(c, "policy", "prices");
	return asked ? conf_err(asked, err, "%s", why)
		     : err_set(err, -EINVAL, ERR_FINAL, "%s", why);
}
