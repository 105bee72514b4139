/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "mesh/userwire.h"

#include <errno.h>
#include <string.h>

#include "lib/le.h"

/* ---- words ---- */

static bool bytes_ok(const uint8_t *s, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (s[i] < 0x20 || s[i] == 0x7f) {
			return false;
		}
	}
	return true;
}

static bool word_ok(const char *s, size_t max)
{
	size_t len = s != NULL ? strnlen(s, max + 1) : 0;
	return len >= 1 && len <= max && bytes_ok((const uint8_t *)s, len);
}

bool ob__user_ok(const char *user)
{
	return word_ok(user, OB__USER_MAX);
}

bool ob__key_ok(const char *key)
{
	return word_ok(key, OB__KEY_MAX);
}

static size_t put_word(uint8_t *out, const char *s, size_t max)
{
	size_t len = strnlen(s, max);
	out[0] = (uint8_t)len;
	memcpy(out + 1, s, len);
	return 1 + len;
}

/* Reads a word at *data and moves past it. */
static int get_word(char *out, size_t max, bool may_be_empty, const uint8_t **data, size_t *len)
{
	size_t n = *len > 0 ? (*data)[0] : 0;
	if (*len == 0 || n > max || n > *len - 1 || (n == 0 && !may_be_empty) ||
	    !bytes_ok(*data + 1, n)) {
		return -EPROTO;
	}
	memcpy(out, *data + 1, n);
	out[n] = '\0';
	*data += 1 + n;
	*len -= 1 + n;
	return 0;
}

/* ---- messages ---- */

size_t ob__user_put(uint8_t out[OB__USER_WIRE_MAX], const char *user, uint64_t epoch,
                    uint32_t change)
{
	ob__put64(out, epoch);
	ob__put32(out + 8, change);
	return 12 + put_word(out + 12, user, OB__USER_MAX);
}

int ob__user_get(struct ob__user_msg *m, const uint8_t *data, size_t len, bool may_be_empty)
{
	if (len < 12) {
		return -EPROTO;
	}
	m->epoch = ob__get64(data);
	m->change = ob__get32(data + 8);
	data += 12;
	len -= 12;
	if (get_word(m->user, OB__USER_MAX, may_be_empty, &data, &len) != 0 || len != 0) {
		return -EPROTO;
	}
	return 0;
}

size_t ob__home_put(uint8_t out[OB__HOME_WIRE_MAX], const struct ob__home_msg *m)
{
	size_t at = ob__user_put(out, m->user.user, m->user.epoch, m->user.change);
	for (uint8_t i = 0; i < m->len && i < OB__HOMES_MAX; i++) {
		ob__put32(out + at, m->homes[i].role);
		ob__put64(out + at + 4, m->homes[i].node);
		at += 12;
	}
	return at;
}

int ob__home_get(struct ob__home_msg *m, const uint8_t *data, size_t len)
{
	size_t head = len > 12 ? 13u + data[12] : 0;
	if (head == 0 || head > len || (len - head) % 12 != 0 ||
	    (len - head) / 12 > OB__HOMES_MAX || ob__user_get(&m->user, data, head, false) != 0) {
		return -EPROTO;
	}
	m->len = 0;
	for (data += head, len -= head; len > 0; data += 12, len -= 12) {
		m->homes[m->len++] =
			(struct ob__home){.role = ob__get32(data), .node = ob__get64(data + 4)};
	}
	return 0;
}

size_t ob__lock_put(uint8_t out[OB__LOCK_WIRE_MAX], const struct ob__lock_msg *m)
{
	ob__put64(out, m->locker);
	ob__put32(out + 8, m->ms);
	ob__put32(out + 12, m->flags);
	size_t at = 16 + put_word(out + 16, m->user, OB__USER_MAX);
	return at + put_word(out + at, m->key, OB__KEY_MAX);
}

int ob__lock_get(struct ob__lock_msg *m, const uint8_t *data, size_t len)
{
	if (len < 16) {
		return -EPROTO;
	}
	m->locker = ob__get64(data);
	m->ms = ob__get32(data + 8);
	m->flags = ob__get32(data + 12);
	data += 16;
	len -= 16;
	if (get_word(m->user, OB__USER_MAX, false, &data, &len) != 0 ||
	    get_word(m->key, OB__KEY_MAX, false, &data, &len) != 0 || len != 0) {
		return -EPROTO;
	}
	return 0;
}

size_t ob__send_put_head(uint8_t out[OB__SEND_HEAD_MAX], const struct ob__send_msg *m)
{
	out[0] = m->kind;
	out[1] = m->tries;
	out[2] = 0;
	out[3] = 0;
	ob__put32(out + 4, m->id);
	ob__put32(out + 8, m->at);
	ob__put64(out + 12, m->tag);
	return 20 + put_word(out + 20, m->user, OB__USER_MAX);
}

int ob__send_get(struct ob__send_msg *m, const uint8_t *data, size_t len)
{
	if (len < 21 || data[0] < OB__SEND_PUSH || data[0] > OB__SEND_KICK || data[2] != 0 ||
	    data[3] != 0) {
		return -EPROTO;
	}
	m->kind = data[0];
	m->tries = data[1];
	m->id = ob__get32(data + 4);
	m->at = ob__get32(data + 8);
	m->tag = ob__get64(data + 12);
	if (m->kind == OB__SEND_PUSH && (m->id == 0 || m->id > INT32_MAX)) {
		return -EPROTO;
	}
	data += 20;
	len -= 20;
	if (get_word(m->user, OB__USER_MAX, false, &data, &len) != 0) {
		return -EPROTO;
	}
	m->data = data;
	m->len = len;
	return 0;
}

size_t ob__attr_put(uint8_t out[OB__ATTR_WIRE_MAX], const char *key, const void *value, size_t len)
{
	size_t at = put_word(out, key, OB__KEY_MAX);
	len = len < OB__VALUE_MAX ? len : OB__VALUE_MAX;
	if (len > 0) {
		memcpy(out + at, value, len);
	}
	return at + len;
}

int ob__attr_get(struct ob__attr_msg *m, const uint8_t *data, size_t len)
{
	if (get_word(m->key, OB__KEY_MAX, false, &data, &len) != 0 || len > OB__VALUE_MAX) {
		return -EPROTO;
	}
	m->value = data;
	m->len = len;
	return 0;
}

size_t ob__named_put_head(uint8_t out[1 + OB__NAMED_WORD_MAX], const char *name)
{
	return put_word(out, name, OB__NAMED_WORD_MAX);
}

int ob__named_get(struct ob__named_msg *m, const uint8_t *data, size_t len)
{
	if (get_word(m->name, OB__NAMED_WORD_MAX, false, &data, &len) != 0) {
		return -EPROTO;
	}
	m->data = data;
	m->len = len;
	return 0;
}

size_t ob__carry_put(uint8_t *out, const char *key, const void *value, size_t len)
{
	size_t at = put_word(out, key, OB__KEY_MAX);
	ob__put16(out + at, (uint16_t)len);
	memcpy(out + at + sizeof(uint16_t), value, len);
	return at + sizeof(uint16_t) + len;
}

const uint8_t *ob__carry_find(const uint8_t *ext, size_t ext_len, const char *key, size_t *len)
{
	char word[OB__KEY_MAX + 1];
	uint16_t n;
	while (get_word(word, OB__KEY_MAX, false, &ext, &ext_len) == 0 && ext_len >= sizeof(n)) {
		n = ob__get16(ext);
		ext += sizeof(n);
		ext_len -= sizeof(n);
		if (n > ext_len) {
			break;
		}
		if (strcmp(word, key) == 0) {
			*len = n;
			return ext;
		}
		ext += n;
		ext_len -= n;
	}
	*len = 0;
	return NULL;
}

void ob__place_put(uint8_t out[OB__PLACE_SIZE], const struct ob__place *p)
{
	ob__put64(out, p->node);
	ob__put64(out + 8, p->seq);
	ob__put64(out + 16, p->epoch);
}

int ob__place_get(struct ob__place *p, const uint8_t *data, size_t len)
{
	if (len != OB__PLACE_SIZE) {
		return -EPROTO;
	}
	p->node = ob__get64(data);
	p->seq = ob__get64(data + 8);
	p->epoch = ob__get64(data + 16);
	return 0;
}
