/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "mesh/member.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/le.h"
#include "lib/map.h"
#include "mesh/proto.h"

#define FIELD    4u /* bytes in front of a field */
#define WIRE_MAX (OB__MEMBER_MAX - OB__MEMBER_HEAD)
#define DRAINING 1u

enum field_type {
	FIELD_NAME = 1,
	FIELD_ROLE,
	FIELD_ADDRESS,
	FIELD_RANGES,
	FIELD_MODULE,
	FIELD_METHODS,
};

struct field {
	uint8_t type;
	uint16_t len;
	const uint8_t *value;
};

static uint8_t *put(uint8_t *at, const void *data, size_t len)
{
	memcpy(at, data, len);
	return at + len;
}

static uint8_t *put16(uint8_t *at, uint16_t v)
{
	ob__put16(at, v);
	return at + sizeof(v);
}

static uint8_t *put32(uint8_t *at, uint32_t v)
{
	ob__put32(at, v);
	return at + sizeof(v);
}

static uint8_t *put64(uint8_t *at, uint64_t v)
{
	ob__put64(at, v);
	return at + sizeof(v);
}

const char *ob__member_state_word(unsigned state)
{
	switch ((enum ob__member_state)state) {
	case OB__MEMBER_UNKNOWN:
		return "unknown";
	case OB__MEMBER_UP:
		return "up";
	case OB__MEMBER_DRAINING:
		return "draining";
	case OB__MEMBER_SUSPECT:
		return "suspect";
	case OB__MEMBER_DEAD:
		return "dead";
	case OB__MEMBER_LEFT:
		return "left";
	}
	return "?";
}

/* ---------------------------------------------------------------- the description's fields */

/* The field at *pos, moving *pos past it: 1, 0 at the end, or -EPROTO. */
static int next_field(struct field *f, const uint8_t *data, size_t len, size_t *pos)
{
	if (*pos == len) {
		return 0;
	}
	if (len - *pos < FIELD || data[*pos + 1] != 0) {
		return -EPROTO;
	}
	f->type = data[*pos];
	f->len = ob__get16(data + *pos + 2);
	f->value = data + *pos + FIELD;
	if (len - *pos - FIELD < f->len) {
		return -EPROTO;
	}
	*pos += FIELD + f->len;
	return 1;
}

/* Where the text that `at` begins with ends, its terminator included; 0 if it is none. */
static size_t text_len(const uint8_t *at, size_t room, size_t max, uint8_t lowest)
{
	size_t n = 0;
	while (n < room && n < max && at[n] != 0) {
		if (at[n] < lowest || at[n] > '~') {
			return 0;
		}
		n++;
	}
	return n == 0 || n == room || n == max ? 0 : n + 1;
}

static bool is_word(const struct field *f)
{
	return f->len > 0 && text_len(f->value, f->len, OB__MEMBER_NAME, '!') == f->len;
}

static bool is_address(const struct field *f)
{
	struct ob__address address;
	return f->len > 0 && text_len(f->value, f->len, OB__MEMBER_ADDRESS, ' ') == f->len &&
	       ob__address_get(&address, (const char *)f->value) == 0;
}

static int check_ranges(const struct field *f)
{
	if (f->len % 8 != 0) {
		return -EPROTO;
	}
	if (f->len > 8 * OB__MEMBER_RANGES) {
		return -EMSGSIZE;
	}
	for (size_t i = 0; i < f->len; i += 8) {
		if (ob__get32(f->value + i) > ob__get32(f->value + i + 4)) {
			return -EPROTO;
		}
	}
	return 0;
}

static bool get_module(const struct field *f, struct ob__member_module *module)
{
	if (f->len < 4) {
		return false;
	}
	const uint8_t *at = f->value + 4;
	size_t room = f->len - 4u;
	size_t name = text_len(at, room, OB__MEMBER_NAME, '!');
	if (name == 0 || text_len(at + name, room - name, OB__MEMBER_NAME, ' ') != room - name ||
	    name == room) {
		return false;
	}
	module->generation = ob__get32(f->value);
	module->name = (const char *)at;
	module->version = (const char *)at + name;
	return true;
}

/* Takes one field into `d`, whose pointers then borrow from the input. */
static int take_field(struct ob__description *d, const struct field *f, size_t at)
{
	struct ob__member_module module;
	int rc;

	switch ((enum field_type)f->type) {
	case FIELD_NAME:
		if (d->name != NULL || !is_word(f)) {
			return -EPROTO;
		}
		d->name = (const char *)f->value;
		return 0;
	case FIELD_ROLE:
		if (d->role != NULL || !is_word(f)) {
			return -EPROTO;
		}
		d->role = (const char *)f->value;
		return 0;
	case FIELD_ADDRESS:
		if (d->addresses_len == OB__MEMBER_ADDRESSES) {
			return -EMSGSIZE;
		}
		d->addresses[d->addresses_len++] = (const char *)f->value;
		return is_address(f) ? 0 : -EPROTO;
	case FIELD_RANGES:
		rc = d->ranges != NULL ? -EPROTO : check_ranges(f);
		d->ranges = f->value;
		d->ranges_len = (uint8_t)(f->len / 8);
		return rc;
	case FIELD_MODULE:
		if (d->modules_len == OB__MEMBER_MODULES) {
			return -EMSGSIZE;
		}
		if (d->modules_len++ == 0) {
			d->modules_at = (uint16_t)at;
		}
		return get_module(f, &module) ? 0 : -EPROTO;
	case FIELD_METHODS:
		if (d->methods != 0 || f->len != 8 || (d->methods = ob__get64(f->value)) == 0) {
			return -EPROTO;
		}
		return 0;
	}
	return 0;
}

static int read_fields(struct ob__description *d, uint64_t id, const uint8_t *data, size_t len)
{
	struct field f;
	size_t pos = 0;
	size_t at = 0;
	int rc;

	while ((rc = next_field(&f, data, len, &pos)) > 0) {
		rc = take_field(d, &f, at);
		if (rc < 0) {
			return rc;
		}
		at = pos;
	}
	if (rc < 0 || d->name == NULL || d->role == NULL || ob__node_id(d->name) != id) {
		return -EPROTO;
	}
	d->id = id;
	d->role_id = ob__fnv1a32(d->role);
	return 0;
}

/* `to` holds a copy of the bytes that `from` points into. */
static void move_pointers(struct ob__description *d, const uint8_t *from)
{
	const uint8_t *to = d->wire;
	d->name = (const char *)to + (d->name - (const char *)from);
	d->role = (const char *)to + (d->role - (const char *)from);
	for (size_t i = 0; i < d->addresses_len; i++) {
		d->addresses[i] = (const char *)to + (d->addresses[i] - (const char *)from);
	}
	if (d->ranges != NULL) {
		d->ranges = to + (d->ranges - from);
	}
}

int ob__description_get(struct ob__description **out, uint64_t id, const uint8_t *data, size_t len)
{
	if (len > WIRE_MAX) {
		return -EMSGSIZE;
	}
	struct ob__description read = {.refs = 1, .wire_len = (uint16_t)len};
	int rc = read_fields(&read, id, data, len);
	if (rc < 0 || out == NULL) {
		return rc;
	}
	struct ob__description *d = malloc(sizeof(*d) + len);
	if (d == NULL) {
		return -ENOMEM;
	}
	*d = read;
	memcpy(d->wire, data, len);
	move_pointers(d, data);
	*out = d;
	return 0;
}

/* ---------------------------------------------------------------- making one */

struct maker {
	uint8_t wire[WIRE_MAX];
	size_t len;
	bool full;
};

static uint8_t *add_field(struct maker *m, uint8_t type, size_t len)
{
	if (sizeof(m->wire) - m->len < FIELD + len) {
		m->full = true;
		return NULL;
	}
	uint8_t *at = m->wire + m->len;
	at[0] = type;
	at[1] = 0;
	m->len += FIELD + len;
	return put16(at + 2, (uint16_t)len);
}

static void add_text(struct maker *m, uint8_t type, const char *text)
{
	size_t len = strnlen(text, OB__MEMBER_ADDRESS);
	uint8_t *at = add_field(m, type, len + 1);
	if (at != NULL) {
		*put(at, text, len) = 0;
	}
}

static void add_ranges(struct maker *m, const struct ob__member_facts *facts)
{
	if (facts->ranges_len == 0) {
		return;
	}
	uint8_t *at = add_field(m, FIELD_RANGES, 8 * facts->ranges_len);
	for (size_t i = 0; at != NULL && i < facts->ranges_len; i++) {
		at = put32(at, facts->ranges[i].lo);
		at = put32(at, facts->ranges[i].hi);
	}
}

static void add_methods(struct maker *m, uint64_t methods)
{
	uint8_t *at = methods != 0 ? add_field(m, FIELD_METHODS, 8) : NULL;
	if (at != NULL) {
		put64(at, methods);
	}
}

static void add_module(struct maker *m, const struct ob__member_module *module)
{
	size_t name = strnlen(module->name, OB__MEMBER_NAME) + 1;
	size_t version = strnlen(module->version, OB__MEMBER_NAME) + 1;
	uint8_t *at = add_field(m, FIELD_MODULE, 4 + name + version);
	if (at != NULL) {
		at = put32(at, module->generation);
		at = put(at, module->name, name - 1);
		*at++ = 0;
		*put(at, module->version, version - 1) = 0;
	}
}

int ob__description_make(struct ob__description **out, const struct ob__member_facts *facts)
{
	struct maker m = {.len = 0};
	if (facts->addresses_len > OB__MEMBER_ADDRESSES || facts->ranges_len > OB__MEMBER_RANGES ||
	    facts->modules_len > OB__MEMBER_MODULES) {
		return -EINVAL;
	}
	add_text(&m, FIELD_NAME, facts->name);
	add_text(&m, FIELD_ROLE, facts->role);
	for (size_t i = 0; i < facts->addresses_len; i++) {
		add_text(&m, FIELD_ADDRESS, facts->addresses[i]);
	}
	add_ranges(&m, facts);
	add_methods(&m, facts->methods);
	for (size_t i = 0; i < facts->modules_len && !m.full; i++) {
		add_module(&m, &facts->modules[i]);
	}
	int rc = ob__description_get(out, ob__node_id(facts->name), m.wire, m.len);
	return rc == -EPROTO ? -EINVAL : rc;
}

struct ob__description *ob__description_ref(struct ob__description *d)
{
	d->refs++;
	return d;
}

void ob__description_unref(struct ob__description *d)
{
	if (d != NULL && --d->refs == 0) {
		free(d);
	}
}

bool ob__description_equal(const struct ob__description *a, const struct ob__description *b)
{
	if (a == NULL || b == NULL) {
		return a == b;
	}
	return a == b || (a->wire_len == b->wire_len && memcmp(a->wire, b->wire, a->wire_len) == 0);
}

struct ob__member_range ob__description_range(const struct ob__description *d, size_t i)
{
	return (struct ob__member_range){
		.lo = ob__get32(d->ranges + 8 * i),
		.hi = ob__get32(d->ranges + 8 * i + 4),
	};
}

bool ob__description_module(const struct ob__description *d, size_t *pos,
                            struct ob__member_module *module)
{
	if (d->modules_len == 0) {
		return false;
	}
	if (*pos < d->modules_at) {
		*pos = d->modules_at;
	}
	struct field f;
	while (next_field(&f, d->wire, d->wire_len, pos) > 0) {
		if (f.type == FIELD_MODULE) {
			return get_module(&f, module);
		}
	}
	return false;
}

/* ---------------------------------------------------------------- the record */

size_t ob__member_put(const struct ob__member *m, bool whole, uint8_t *out, size_t cap)
{
	size_t wire_len = whole ? m->desc->wire_len : 0;
	if (cap < OB__MEMBER_HEAD + wire_len) {
		return 0;
	}
	uint8_t *at = put64(out, m->id);
	at = put64(at, m->incarnation);
	at = put32(at, m->rev);
	at = put32(at, m->load);
	at = put16(at, m->weight);
	*at++ = m->state;
	*at++ = m->draining ? DRAINING : 0;
	at = put16(at, (uint16_t)wire_len);
	if (wire_len > 0) {
		put(at, m->desc->wire, wire_len);
	}
	return OB__MEMBER_HEAD + wire_len;
}

int ob__member_get(struct ob__member *m, const uint8_t *data, size_t len, const uint8_t **wire,
                   size_t *wire_len)
{
	if (len < OB__MEMBER_HEAD) {
		return -EPROTO;
	}
	*m = (struct ob__member){
		.id = ob__get64(data),
		.incarnation = ob__get64(data + 8),
		.rev = ob__get32(data + 16),
		.load = ob__get32(data + 20),
		.weight = ob__get16(data + 24),
		.state = data[26],
		.draining = (data[27] & DRAINING) != 0,
	};
	size_t more = ob__get16(data + 28);
	if (more > WIRE_MAX) {
		return -EMSGSIZE;
	}
	bool live = m->state == OB__MEMBER_UP || m->state == OB__MEMBER_SUSPECT;
	if (m->id == 0 || (live && m->rev == 0) || m->state > OB__MEMBER_LEFT ||
	    m->state == OB__MEMBER_DRAINING || len - OB__MEMBER_HEAD < more) {
		return -EPROTO;
	}
	*wire = data + OB__MEMBER_HEAD;
	*wire_len = more;
	return (int)(OB__MEMBER_HEAD + more);
}

/* ---------------------------------------------------------------- addresses */

static int get_tcp(struct ob__address *out, const char *text)
{
	const char *colon = strrchr(text, ':');
	if (colon == NULL) {
		return -EINVAL;
	}
	const char *host = text;
	size_t len = (size_t)(colon - text);
	bool bracket = *host == '[';
	if (bracket) {
		if (len < 3 || host[len - 1] != ']') {
			return -EINVAL;
		}
		host++;
		len -= 2;
	}
	size_t digits = strspn(colon + 1, "0123456789");
	if (len == 0 || len >= sizeof(out->host) || memchr(host, ' ', len) != NULL ||
	    memchr(host, ']', len) != NULL || (!bracket && memchr(host, ':', len) != NULL) ||
	    digits == 0 || digits > 5 || colon[1 + digits] != '\0') {
		return -EINVAL;
	}
	out->kind = OB__ADDRESS_TCP;
	memcpy(out->host, host, len);
	out->host[len] = '\0';
	out->port = atoi(colon + 1);
	return out->port >= 1 && out->port <= 65535 ? 0 : -EINVAL;
}

static int get_unix(struct ob__address *out, const char *text)
{
	if (strspn(text, "0123456789abcdef") != 16 || text[16] != ' ' || text[17] != '/' ||
	    strlen(text + 17) >= sizeof(out->path)) {
		return -EINVAL;
	}
	out->kind = OB__ADDRESS_UNIX;
	out->machine = strtoull(text, NULL, 16);
	strcpy(out->path, text + 17);
	return 0;
}

/* "NAME ADDRESS" or "NAME@MACHINE ADDRESS"; what else there may be is a newer node's. */
static void get_transport(struct ob__address *out, const char *text)
{
	size_t name =
		strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-");
	const char *at = text + name;
	uint64_t machine = 0;
	if (*at == '@') {
		if (strspn(at + 1, "0123456789abcdef") != 16) {
			return;
		}
		machine = strtoull(at + 1, NULL, 16);
		at += 17;
	}
	if (name == 0 || name >= OB__MEMBER_NAME || *at != ' ' || at[1] == '\0' ||
	    strlen(at + 1) >= sizeof(out->path)) {
		return;
	}
	out->kind = OB__ADDRESS_TRANSPORT;
	out->machine = machine;
	memcpy(out->host, text, name);
	strcpy(out->path, at + 1);
}

int ob__address_get(struct ob__address *out, const char *text)
{
	memset(out, 0, sizeof(*out));
	if (strncmp(text, "tcp ", 4) == 0) {
		return get_tcp(out, text + 4);
	}
	if (strncmp(text, "unix ", 5) == 0) {
		return get_unix(out, text + 5);
	}
	get_transport(out, text);
	return *text != '\0' && *text != ' ' ? 0 : -EINVAL;
}

int ob__address_put(const struct ob__address *a, char out[OB__MEMBER_ADDRESS])
{
	int n = -1;
	if (a->kind == OB__ADDRESS_TCP) {
		bool bracket = strchr(a->host, ':') != NULL;
		n = snprintf(out, OB__MEMBER_ADDRESS, "tcp %s%s%s:%d", bracket ? "[" : "", a->host,
		             bracket ? "]" : "", a->port);
	} else if (a->kind == OB__ADDRESS_UNIX) {
		n = snprintf(out, OB__MEMBER_ADDRESS, "unix %016llx %s",
		             (unsigned long long)a->machine, a->path);
	} else if (a->kind == OB__ADDRESS_TRANSPORT && a->machine != 0) {
		n = snprintf(out, OB__MEMBER_ADDRESS, "%s@%016llx %s", a->host,
		             (unsigned long long)a->machine, a->path);
	} else if (a->kind == OB__ADDRESS_TRANSPORT) {
		n = snprintf(out, OB__MEMBER_ADDRESS, "%s %s", a->host, a->path);
	}
	struct ob__address check;
	if (n < 0 || n >= (int)OB__MEMBER_ADDRESS || ob__address_get(&check, out) != 0) {
		return -EINVAL;
	}
	bool same = check.kind == a->kind && strcmp(check.host, a->host) == 0 &&
	            strcmp(check.path, a->path) == 0;
	return same ? 0 : -EINVAL;
}
