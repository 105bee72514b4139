/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "lib/blob.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/le.h"

#define MAGIC          "OBST"
#define FORMAT         1u
#define SECTION_HEADER 16u
#define POLYNOMIAL     0x82f63b78u /* of CRC-32C, bits reversed */

enum {
	OFF_MAGIC = 0,
	OFF_FORMAT = 4,
	OFF_VERSION = 8,
	OFF_COUNT = 12,
	OFF_LENGTH = 16,
	OFF_NAME = 24,
	OFF_CRC = 88,
	OFF_ZERO = 92,
};

enum {
	SECTION_TAG = 0,
	SECTION_FLAGS = 4,
	SECTION_LENGTH = 8,
};

/* ---- the checksum ---- */

/* Eight bytes at a time.  Filling the tables takes as long as the sum of a few KiB. */
struct crc {
	uint32_t table[8][256];
	uint32_t sum;
};

static void crc_begin(struct crc *c)
{
	for (uint32_t i = 0; i < 256; i++) {
		uint32_t v = i;
		for (int bit = 0; bit < 8; bit++) {
			v = v >> 1 ^ (POLYNOMIAL & (0u - (v & 1)));
		}
		c->table[0][i] = v;
	}
	for (int k = 1; k < 8; k++) {
		for (uint32_t i = 0; i < 256; i++) {
			uint32_t v = c->table[k - 1][i];
			c->table[k][i] = v >> 8 ^ c->table[0][v & 0xff];
		}
	}
	c->sum = UINT32_MAX;
}

static void crc_add(struct crc *c, const uint8_t *p, size_t len)
{
	uint32_t sum = c->sum;

	for (; len >= 8; p += 8, len -= 8) {
		uint32_t low = ob__get32(p) ^ sum;
		uint32_t high = ob__get32(p + 4);
		sum = c->table[7][low & 0xff] ^ c->table[6][low >> 8 & 0xff] ^
		      c->table[5][low >> 16 & 0xff] ^ c->table[4][low >> 24] ^
		      c->table[3][high & 0xff] ^ c->table[2][high >> 8 & 0xff] ^
		      c->table[1][high >> 16 & 0xff] ^ c->table[0][high >> 24];
	}
	for (; len > 0; p++, len--) {
		sum = sum >> 8 ^ c->table[0][(sum ^ *p) & 0xff];
	}
	c->sum = sum;
}

/* Of the whole, with the field that holds it taken as 0. */
static uint32_t checksum(const uint8_t *data, size_t len)
{
	static const uint8_t zero[4];
	struct crc c;

	crc_begin(&c);
	crc_add(&c, data, OFF_CRC);
	crc_add(&c, zero, sizeof(zero));
	crc_add(&c, data + OFF_ZERO, len - OFF_ZERO);
	return ~c.sum;
}

/* ---- writing ---- */

static size_t padding(size_t len)
{
	return (0u - len) & 7u;
}

/* Room for `more` bytes, counted: where they begin, or NULL with the error set. */
static uint8_t *extend(struct ob__blob_writer *w, size_t more)
{
	if (more > w->max - w->len) {
		w->error = -EFBIG;
		return NULL;
	}
	if (more > w->cap - w->len) {
		size_t need = w->len + more;
		size_t cap = w->cap > w->max / 2 ? w->max : 2 * w->cap;
		cap = cap > need ? cap : need;
		uint8_t *grown = realloc(w->data, cap);
		if (grown == NULL) {
			w->error = -ENOMEM;
			return NULL;
		}
		w->data = grown;
		w->cap = cap;
	}
	uint8_t *place = w->data + w->len;
	w->len += more;
	return place;
}

int ob__blob_begin(struct ob__blob_writer *w, const char *module, uint32_t version, size_t max)
{
	size_t name_len = strlen(module);

	*w = (struct ob__blob_writer){.max = max};
	if (name_len == 0 || name_len >= OB__BLOB_NAME || max < OB__BLOB_HEADER ||
	    max > SIZE_MAX / 2) {
		return -EINVAL;
	}
	uint8_t *head = extend(w, OB__BLOB_HEADER);
	if (head == NULL) {
		return w->error;
	}
	memset(head, 0, OB__BLOB_HEADER);
	memcpy(head + OFF_MAGIC, MAGIC, 4);
	ob__put32(head + OFF_FORMAT, FORMAT);
	ob__put32(head + OFF_VERSION, version);
	memcpy(head + OFF_NAME, module, name_len);
	return 0;
}

static int check_add(const struct ob__blob_writer *w, uint32_t tag, uint32_t flags,
                     const void *data, size_t len)
{
	if ((flags & ~OB__BLOB_CRITICAL) != 0 || (data == NULL && len > 0)) {
		return -EINVAL;
	}
	if (ob__map_get(&w->tags, tag, 0) != NULL) {
		return -EEXIST;
	}
	return w->sections >= OB__BLOB_SECTIONS || len > w->max ? -EFBIG : 0;
}

int ob__blob_add(struct ob__blob_writer *w, uint32_t tag, uint32_t flags, const void *data,
                 size_t len)
{
	if (w->error == 0) {
		w->error = check_add(w, tag, flags, data, len);
	}
	if (w->error != 0) {
		return w->error;
	}
	/* No overflow: len is at most max, which is at most half of what size_t holds. */
	uint8_t *head = extend(w, SECTION_HEADER + len + padding(len));
	if (head == NULL) {
		return w->error;
	}
	ob__put32(head + SECTION_TAG, tag);
	ob__put32(head + SECTION_FLAGS, flags);
	ob__put64(head + SECTION_LENGTH, len);
	if (len > 0) {
		memcpy(head + SECTION_HEADER, data, len);
	}
	memset(head + SECTION_HEADER + len, 0, padding(len));
	w->sections++;
	w->error = ob__map_put(&w->tags, tag, 0, w);
	return w->error;
}

int ob__blob_finish(struct ob__blob_writer *w)
{
	if (w->error != 0) {
		return w->error;
	}
	ob__put32(w->data + OFF_COUNT, w->sections);
	ob__put64(w->data + OFF_LENGTH, w->len);
	ob__put32(w->data + OFF_CRC, checksum(w->data, w->len));
	return 0;
}

void ob__blob_end(struct ob__blob_writer *w)
{
	free(w->data);
	ob__map_free(&w->tags);
	*w = (struct ob__blob_writer){0};
}

/* ---- reading ---- */

static const char *check_name(const char *name, const char *module)
{
	size_t len = strnlen(name, OB__BLOB_NAME);

	if (len == 0 || len == OB__BLOB_NAME) {
		return "its module's name is malformed";
	}
	for (size_t i = len; i < OB__BLOB_NAME; i++) {
		if (name[i] != '\0') {
			return "its module's name is malformed";
		}
	}
	return strcmp(name, module) != 0 ? "it is another module's" : NULL;
}

/* NULL, or what is wrong. */
static const char *check_header(const uint8_t *data, size_t len, const char *module)
{
	if (len < OB__BLOB_HEADER) {
		return "it is shorter than its header";
	}
	if (memcmp(data + OFF_MAGIC, MAGIC, 4) != 0) {
		return "it is no state";
	}
	if (ob__get32(data + OFF_FORMAT) != FORMAT) {
		return "its format is another or newer one";
	}
	if (ob__get64(data + OFF_LENGTH) > len) {
		return "it is cut short";
	}
	if (ob__get64(data + OFF_LENGTH) < len) {
		return "there are bytes behind its end";
	}
	if (checksum(data, len) != ob__get32(data + OFF_CRC)) {
		return "its checksum is wrong";
	}
	if (ob__get32(data + OFF_ZERO) != 0) {
		return "its header has a field that is not known";
	}
	return check_name((const char *)data + OFF_NAME, module);
}

/* The section at *at, which moves behind it.  NULL, or what is wrong. */
static const char *read_section(const uint8_t *data, size_t len, size_t *at,
                                struct ob__blob_section *s)
{
	if (len - *at < SECTION_HEADER) {
		return "a section is cut short";
	}
	const uint8_t *head = data + *at;
	size_t room = len - *at - SECTION_HEADER;
	uint64_t bytes = ob__get64(head + SECTION_LENGTH);
	if (bytes > room || padding((size_t)bytes) > room - (size_t)bytes) {
		return "a section is longer than what is there";
	}
	*s = (struct ob__blob_section){
		.data = head + SECTION_HEADER,
		.len = (size_t)bytes,
		.tag = ob__get32(head + SECTION_TAG),
		.flags = ob__get32(head + SECTION_FLAGS),
	};
	if ((s->flags & ~OB__BLOB_CRITICAL) != 0) {
		return "a section has flags that are not known";
	}
	for (size_t i = 0; i < padding(s->len); i++) {
		if (s->data[s->len + i] != 0) {
			return "a section's padding is not zero";
		}
	}
	*at += SECTION_HEADER + s->len + padding(s->len);
	return NULL;
}

static int read_sections(struct ob__blob_reader *r, const uint8_t *data, size_t len,
                         const char **why)
{
	size_t at = OB__BLOB_HEADER;

	for (uint32_t i = 0; i < r->sections; i++) {
		struct ob__blob_section *s = &r->list[i];
		*why = read_section(data, len, &at, s);
		if (*why != NULL) {
			return -EINVAL;
		}
		if (ob__map_get(&r->tags, s->tag, 0) != NULL) {
			*why = "a section is there twice";
			return -EINVAL;
		}
		if (ob__map_put(&r->tags, s->tag, 0, s) != 0) {
			*why = "out of memory";
			return -ENOMEM;
		}
	}
	if (at != len) {
		*why = "there are bytes behind its last section";
		return -EINVAL;
	}
	return 0;
}

int ob__blob_open(struct ob__blob_reader *r, const void *data, size_t len, const char *module,
                  const char **why)
{
	const uint8_t *head = data;

	*r = (struct ob__blob_reader){0};
	*why = check_header(data, len, module);
	if (*why != NULL) {
		return -EINVAL;
	}
	r->version = ob__get32(head + OFF_VERSION);
	r->sections = ob__get32(head + OFF_COUNT);
	/* The second half: no more memory is asked for than belongs to what came in. */
	if (r->sections > OB__BLOB_SECTIONS ||
	    r->sections > (len - OB__BLOB_HEADER) / SECTION_HEADER) {
		*why = "it claims too many sections";
		return -EINVAL;
	}
	r->list = calloc(r->sections + 1u, sizeof(*r->list));
	if (r->list == NULL) {
		*why = "out of memory";
		return -ENOMEM;
	}
	int rc = read_sections(r, data, len, why);
	if (rc != 0) {
		ob__blob_close(r);
	}
	return rc;
}

void ob__blob_close(struct ob__blob_reader *r)
{
	free(r->list);
	ob__map_free(&r->tags);
	*r = (struct ob__blob_reader){0};
}

static const void *hand_out(struct ob__blob_section *s, size_t *len)
{
	s->seen = true;
	if (len != NULL) {
		*len = s->len;
	}
	return s->data;
}

const void *ob__blob_find(struct ob__blob_reader *r, uint32_t tag, size_t *len)
{
	struct ob__blob_section *s = ob__map_get(&r->tags, tag, 0);

	return s != NULL ? hand_out(s, len) : NULL;
}

const void *ob__blob_next(struct ob__blob_reader *r, uint32_t *tag, size_t *len)
{
	if (r->at >= r->sections) {
		return NULL;
	}
	struct ob__blob_section *s = &r->list[r->at++];
	if (tag != NULL) {
		*tag = s->tag;
	}
	return hand_out(s, len);
}

bool ob__blob_unseen(const struct ob__blob_reader *r, uint32_t *tag)
{
	for (uint32_t i = 0; i < r->sections; i++) {
		const struct ob__blob_section *s = &r->list[i];
		if (!s->seen && (s->flags & OB__BLOB_CRITICAL) != 0) {
			*tag = s->tag;
			return true;
		}
	}
	return false;
}
