/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/swap/depend.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <obhost/obhost.h>

#include "base/err.h"

#define NAME_CHARS "abcdefghijklmnopqrstuvwxyz0123456789_.-"
#define BLANKS     " \t"
#define NONE       SIZE_MAX

/* One word of a list: "rank/2.1". */
struct interface {
	const char *name; /* not terminated */
	int name_len;
	bool optional;
	unsigned major;
	unsigned minor;
	size_t provider; /* of a need: the module that meets it, or NONE */
};

struct list {
	struct interface of[OB__DEPEND_INTERFACES];
	size_t len;
};

struct module {
	struct list provides;
	struct list needs;
	bool placed;
};

struct check {
	const struct ob__depend *items;
	struct module *modules;
	size_t len;
	struct ob__depend_fault *fault;
};

OB_PRINTF(4, 5)
static int fail(struct check *c, size_t item, const char *code, const char *fmt, ...)
{
	va_list ap;

	c->fault->item = item;
	c->fault->code = code;
	va_start(ap, fmt);
	vsnprintf(c->fault->text, sizeof(c->fault->text), fmt, ap);
	va_end(ap);
	return -1;
}

OB_PRINTF(2, 3)
static void found(struct check *c, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(c->fault->found, sizeof(c->fault->found), fmt, ap);
	va_end(ap);
}

OB_PRINTF(2, 3)
static void expected(struct check *c, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(c->fault->expected, sizeof(c->fault->expected), fmt, ap);
	va_end(ap);
}

/* ---- reading the lists ---- */

/* A decimal number up to 65535 at *s, which moves behind it. */
static bool read_number(const char **s, const char *end, unsigned *n)
{
	const char *begin = *s;

	*n = 0;
	while (*s < end && **s >= '0' && **s <= '9' && *n <= UINT16_MAX) {
		*n = *n * 10 + (unsigned)(*(*s)++ - '0');
	}
	return *s > begin && *n <= UINT16_MAX && (*begin != '0' || *s == begin + 1);
}

/* NULL, or what is wrong with the word. */
static const char *read_word(const char *word, const char *end, bool needs, struct interface *out)
{
	*out = (struct interface){.provider = NONE};
	if (*word == '?') {
		if (!needs) {
			return "\"?\" is for what is needed";
		}
		out->optional = true;
		word++;
	}
	size_t len = strspn(word, NAME_CHARS);
	const char *number = word + len;
	if (len == 0 || (number < end && *number != '/')) {
		return "a name has lower-case letters, digits, \"_\", \".\" and \"-\"";
	}
	if (len > OB__DEPEND_NAME) {
		return "a name has at most 40 characters";
	}
	out->name = word;
	out->name_len = (int)len;
	if (number++ == end) {
		return "the major number is missing";
	}
	bool ok = read_number(&number, end, &out->major);
	if (ok && number < end && *number == '.') {
		number++;
		ok = read_number(&number, end, &out->minor);
	}
	return ok && number == end ? NULL : "a number is from 0 to 65535, as in rank/2 or rank/2.1";
}

static int read_list(struct check *c, size_t item, const char *text, bool needs, struct list *out)
{
	const char *which = needs ? "needs" : "provides";
	const char *module = c->items[item].name;

	for (text = text != NULL ? text : "", text += strspn(text, BLANKS); *text != '\0';) {
		const char *end = text + strcspn(text, BLANKS);
		int len = end - text > 60 ? 60 : (int)(end - text);
		if (out->len == OB__DEPEND_INTERFACES) {
			found(c, "one more: %.*s", len, text);
			expected(c, "at most %u", OB__DEPEND_INTERFACES);
			return fail(c, item, "syntax", "%.63s: %s lists more than %u interfaces",
			            module, which, OB__DEPEND_INTERFACES);
		}
		const char *why = read_word(text, end, needs, &out->of[out->len++]);
		if (why != NULL) {
			found(c, "%.*s", len, text);
			expected(c, "%s", why);
			return fail(c, item, "syntax", "%.63s: %s: \"%.*s\": %s", module, which,
			            len, text, why);
		}
		text = end + strspn(end, BLANKS);
	}
	return 0;
}

/* ---- who meets what ---- */

static bool same_name(const struct interface *a, const struct interface *b)
{
	return a->name_len == b->name_len && memcmp(a->name, b->name, (size_t)a->name_len) == 0;
}

/* The module that provides this name and major number, but for `item`; *as is how. */
static size_t find_provider(const struct check *c, size_t item, const struct interface *want,
                            bool any_major, const struct interface **as)
{
	for (size_t m = 0; m < c->len; m++) {
		const struct list *list = &c->modules[m].provides;
		for (size_t i = 0; m != item && i < list->len; i++) {
			*as = &list->of[i];
			if (same_name(*as, want) && (any_major || (*as)->major == want->major)) {
				return m;
			}
		}
	}
	return NONE;
}

/* Nobody provides what another or the same module provides. */
static int check_twice(struct check *c, size_t item)
{
	const struct list *list = &c->modules[item].provides;
	const char *module = c->items[item].name;
	const struct interface *as;

	for (size_t i = 0; i < list->len; i++) {
		const struct interface *it = &list->of[i];
		size_t other = find_provider(c, item, it, false, &as);
		for (size_t k = 0; k < i && other == NONE; k++) {
			if (same_name(&list->of[k], it) && list->of[k].major == it->major) {
				other = item;
			}
		}
		if (other != NONE && other <= item) {
			const char *first = c->items[other].name;
			found(c, "%.*s/%u of %.40s and of %.40s", it->name_len, it->name, it->major,
			      first, module);
			expected(c, "one module that provides it");
			return fail(c, item, "twice", "%.*s/%u is provided by %.63s and by %.63s",
			            it->name_len, it->name, it->major, first, module);
		}
	}
	return 0;
}

static int fail_need(struct check *c, size_t item, const struct interface *want)
{
	const char *module = c->items[item].name;
	const struct interface *as;
	size_t m = find_provider(c, item, want, false, &as);

	if (m != NONE) {
		expected(c, "%.*s/%u.%u or a later minor number", want->name_len, want->name,
		         want->major, want->minor);
		found(c, "%.*s/%u.%u of %.63s", as->name_len, as->name, as->major, as->minor,
		      c->items[m].name);
		return fail(c, item, "minor",
		            "%.63s: %.*s/%u.%u is needed, %.*s/%u.%u is provided by %.63s", module,
		            want->name_len, want->name, want->major, want->minor, as->name_len,
		            as->name, as->major, as->minor, c->items[m].name);
	}
	expected(c, "%.*s/%u", want->name_len, want->name, want->major);
	m = find_provider(c, item, want, true, &as);
	if (m != NONE) {
		found(c, "%.*s/%u of %.63s", as->name_len, as->name, as->major, c->items[m].name);
		return fail(c, item, "major",
		            "%.63s: %.*s/%u is needed, %.*s/%u is provided by %.63s", module,
		            want->name_len, want->name, want->major, as->name_len, as->name,
		            as->major, c->items[m].name);
	}
	found(c, "no other module that provides it");
	return fail(c, item, "missing", "%.63s: %.*s/%u is needed, no other module provides it",
	            module, want->name_len, want->name, want->major);
}

static int resolve(struct check *c, size_t item)
{
	struct list *needs = &c->modules[item].needs;
	const struct interface *as;

	for (size_t i = 0; i < needs->len; i++) {
		struct interface *want = &needs->of[i];
		size_t m = find_provider(c, item, want, false, &as);
		if (m != NONE && as->minor >= want->minor) {
			want->provider = m;
		} else if (!want->optional) {
			return fail_need(c, item, want);
		}
	}
	return 0;
}

/* ---- the order ---- */

/* The first need whose module has no place yet, or NULL. */
static const struct interface *waits_for(const struct check *c, size_t item, bool optional_too)
{
	const struct list *needs = &c->modules[item].needs;

	for (size_t i = 0; i < needs->len; i++) {
		const struct interface *it = &needs->of[i];
		if (it->provider != NONE && !c->modules[it->provider].placed &&
		    (optional_too || !it->optional)) {
			return it;
		}
	}
	return NULL;
}

/* The first module, as given, that waits for nobody. */
static size_t next_ready(const struct check *c, bool optional_too)
{
	for (size_t m = 0; m < c->len; m++) {
		if (!c->modules[m].placed && waits_for(c, m, optional_too) == NULL) {
			return m;
		}
	}
	return NONE;
}

/* The one that the module waits for; only where every module that is left waits. */
static size_t follow(const struct check *c, size_t item)
{
	return waits_for(c, item, false)->provider;
}

/* "a -> b -> a", from `first` round to itself; those that don't fit are left out. */
static void write_round(const struct check *c, size_t first, char *out, size_t cap)
{
	static const char dots[] = " -> ...";
	const char *name = c->items[first].name;
	size_t used = (size_t)snprintf(out, cap, "%.63s", name);
	size_t reserved = sizeof(dots) + used + 4;

	for (size_t m = follow(c, first); m != first; m = follow(c, m)) {
		const char *next = c->items[m].name;
		if (used + 4 + strnlen(next, 63) + reserved > cap) {
			used += (size_t)snprintf(out + used, cap - used, "%s", dots);
			break;
		}
		used += (size_t)snprintf(out + used, cap - used, " -> %.63s", next);
	}
	snprintf(out + used, cap - used, " -> %.63s", name);
}

/* Every module without a place waits for another one: following them leads round. */
static int fail_cycle(struct check *c)
{
	size_t at = 0;

	while (c->modules[at].placed) {
		at++;
	}
	for (size_t steps = 0; steps < c->len; steps++) {
		at = follow(c, at);
	}
	size_t first = at;
	for (size_t m = follow(c, at); m != at; m = follow(c, m)) {
		first = m < first ? m : first;
	}
	write_round(c, first, c->fault->found, sizeof(c->fault->found));
	expected(c, "modules that don't need each other");
	return fail(c, first, "cycle", "modules need each other: %s", c->fault->found);
}

static int place_all(struct check *c, size_t *order)
{
	for (size_t n = 0; n < c->len; n++) {
		size_t m = next_ready(c, true);
		if (m == NONE) {
			m = next_ready(c, false); /* what is optional may be missing for a while */
		}
		if (m == NONE) {
			return fail_cycle(c);
		}
		c->modules[m].placed = true;
		order[n] = m;
	}
	return 0;
}

int ob__depend_order(const struct ob__depend *items, size_t len, size_t *order,
                     struct ob__depend_fault *fault)
{
	struct check c = {
		.items = items,
		.modules = calloc(len + 1, sizeof(*c.modules)),
		.len = len,
		.fault = fault,
	};
	int rc = 0;

	*fault = (struct ob__depend_fault){.code = ""};
	if (c.modules == NULL) {
		return fail(&c, 0, "memory", "%s", ob__strerror(OB_E_NOMEM));
	}
	for (size_t i = 0; i < len && rc == 0; i++) {
		rc = read_list(&c, i, items[i].provides, false, &c.modules[i].provides);
		if (rc == 0) {
			rc = read_list(&c, i, items[i].needs, true, &c.modules[i].needs);
		}
	}
	for (size_t i = 0; i < len && rc == 0; i++) {
		rc = check_twice(&c, i);
	}
	for (size_t i = 0; i < len && rc == 0; i++) {
		rc = resolve(&c, i);
	}
	rc = rc == 0 ? place_all(&c, order) : rc;
	free(c.modules);
	return rc;
}
