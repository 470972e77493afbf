/* SPDX-License-Identifier: MIT */
/*
 * ~/.aws/credentials and ~/.aws/config (or where AWS_SHARED_CREDENTIALS_FILE and AWS_CONFIG_FILE
 * say). Values stay in the text of the files, which is wiped at the end. Lines that make no sense
 * are other tools' business and skipped; indented lines belong to the key above them.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "astra/base_cleanup.h"
#include "aws_priv.h"

#define ITEMS_MAX 2048

struct item {
	const char *section, *key, *value; /* in the text */
};

struct ini {
	char *text; /* owned, cut into strings */
	struct item *v;
	size_t n;
};

struct aws_profile {
	struct ini credentials, config;
};

static char *trim(char *s)
{
	size_t n;

	s += strspn(s, " \t\r");
	n = strlen(s);
	while (n && strchr(" \t\r", s[n - 1]))
		s[--n] = 0;
	return s;
}

/* A comment begins with # or ; at the start, or behind a blank. */
static void comment_cut(char *s)
{
	for (char *p = s; *p; p++)
		if ((*p == '#' || *p == ';') && (p == s || p[-1] == ' ' || p[-1] == '\t')) {
			*p = 0;
			return;
		}
}

static void ini_parse(struct ini *f)
{
	const char *section = "";
	char *save = NULL;

	f->v = calloc(ITEMS_MAX, sizeof(*f->v));
	if (!f->v)
		return;
	for (char *line = strtok_r(f->text, "\n", &save); line && f->n < ITEMS_MAX;
		line = strtok_r(NULL, "\n", &save)) {
		char *eq, *end;

		if (*line == ' ' || *line == '\t' || *line == '#' || *line == ';')
			continue;
		if (*line == '[') {
			end = strchr(line, ']');
			if (end)
				*end = 0;
			section = trim(line + 1);
			f->v[f->n++] = (struct item){section, "", ""};
			continue;
		}
		eq = strchr(line, '=');
		if (!eq)
			continue;
		*eq = 0;
		comment_cut(eq + 1);
		f->v[f->n++] = (struct item){section, trim(line), trim(eq + 1)};
	}
}

static void ini_load(struct ini *f, const char *variable, const char *name)
{
	const char *path = getenv(variable), *home = getenv("HOME");
	cleanup_free char *own = NULL;

	if (!path || !*path) {
		if (!home || asprintf(&own, "%s/.aws/%s", home, name) < 0)
			return;
		path = own;
	}
	f->text = aws_file(path);
	if (f->text)
		ini_parse(f);
}

struct aws_profile *aws_profile_load(void)
{
	struct aws_profile *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	ini_load(&p->credentials, "AWS_SHARED_CREDENTIALS_FILE", "credentials");
	ini_load(&p->config, "AWS_CONFIG_FILE", "config");
	return p;
}

static void ini_done(struct ini *f)
{
	/* Cut into strings: aws_text_free would stop at the first. */
	for (size_t i = 0; i < f->n; i++)
		explicit_bzero((char *)f->v[i].value, strlen(f->v[i].value));
	free(f->v);
	aws_text_free(&f->text);
}

void aws_profile_done(struct aws_profile *p)
{
	ini_done(&p->credentials);
	ini_done(&p->config);
	free(p);
}

/* The value, or with key "" whether the section is there. The last one wins. */
static const char *ini_get(const struct ini *f, const char *section, const char *key)
{
	const char *found = NULL;

	for (size_t i = 0; i < f->n; i++)
		if (!strcmp(f->v[i].section, section) && !strcmp(f->v[i].key, key) &&
			(*f->v[i].value || !*key))
			found = f->v[i].value;
	return found;
}

/* In config profiles are [profile NAME], but for [default]. */
static const char *config_get(
	const struct ini *f, const char *kind, const char *name, const char *key)
{
	const char *found = NULL;

	for (size_t i = 0; i < f->n; i++) {
		const char *s = f->v[i].section;
		size_t n = strlen(kind);
		bool match = !strncmp(s, kind, n) && isspace((unsigned char)s[n]) &&
			     !strcmp(s + n + strspn(s + n, " \t"), name);

		match |= !strcmp(kind, "profile") && !strcmp(name, "default") &&
			 !strcmp(s, "default");
		if (match && !strcmp(f->v[i].key, key) && (*f->v[i].value || !*key))
			found = f->v[i].value;
	}
	return found;
}

const char *aws_profile_get(const struct aws_profile *p, const char *profile, const char *key)
{
	const char *v = ini_get(&p->credentials, profile, key);

	return v ? v : config_get(&p->config, "profile", profile, key);
}

bool aws_profile_has(const struct aws_profile *p, const char *profile)
{
	return aws_profile_get(p, profile, "");
}

const char *aws_profile_session(const struct aws_profile *p, const char *name, const char *key)
{
	return config_get(&p->config, "sso-session", name, key);
}
