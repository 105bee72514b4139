/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "mesh/groupwire.h"

#include <errno.h>
#include <string.h>

#include "lib/le.h"

size_t ob__group_word_put(uint8_t out[OB__GROUP_WORD_MAX], const char *group)
{
	size_t len = strnlen(group, OB__GROUP_MAX);

	out[0] = (uint8_t)len;
	memcpy(out + 1, group, len);
	return 1 + len;
}

size_t ob__group_word_get(char group[OB__GROUP_MAX + 1], const uint8_t *data, size_t len)
{
	size_t n = len > 0 ? data[0] : 0;

	if (n == 0 || n > OB__GROUP_MAX || n > len - 1 || memchr(data + 1, '\0', n) != NULL) {
		return 0;
	}
	memcpy(group, data + 1, n);
	group[n] = '\0';
	return ob__group_ok(group) ? 1 + n : 0;
}

size_t ob__group_join_put(uint8_t out[OB__GROUP_JOIN_MAX], uint64_t seq, const char *group)
{
	ob__put64(out, seq);
	return 8 + ob__group_word_put(out + 8, group);
}

int ob__group_join_get(struct ob__group_join_msg *m, const uint8_t *data, size_t len)
{
	if (len <= 8 || ob__group_word_get(m->group, data + 8, len - 8) != len - 8) {
		return -EPROTO;
	}
	m->seq = ob__get64(data);
	return 0;
}

size_t ob__group_ask_put(uint8_t out[OB__GROUP_ASK_SIZE], uint64_t life, uint64_t version)
{
	ob__put64(out, life);
	ob__put64(out + 8, version);
	return OB__GROUP_ASK_SIZE;
}

int ob__group_ask_get(uint64_t *life, uint64_t *version, const uint8_t *data, size_t len)
{
	if (len != OB__GROUP_ASK_SIZE) {
		return -EPROTO;
	}
	*life = ob__get64(data);
	*version = ob__get64(data + 8);
	return 0;
}

size_t ob__group_tell_put(uint8_t *out, const struct ob__group_tell_msg *m, const uint64_t *entries)
{
	ob__put64(out, m->life);
	ob__put64(out + 8, m->from);
	ob__put64(out + 16, m->to);
	ob__put64(out + 24, m->part);
	for (size_t i = 0; i < m->count; i++) {
		ob__put64(out + OB__GROUP_TELL_HEAD + 8 * i, entries[i]);
	}
	return OB__GROUP_TELL_HEAD + 8 * m->count;
}

uint64_t ob__group_entry(const struct ob__group_tell_msg *m, size_t i)
{
	return ob__get64(m->entries + 8 * i);
}

static bool part_ok(const struct ob__group_tell_msg *m, uint8_t status)
{
	if (m->from != m->to || ((status & OB__GROUP_FIRST) != 0) != (m->part == 0)) {
		return false;
	}
	for (size_t i = 0; i < m->count; i++) {
		if ((ob__group_entry(m, i) & OB__GROUP_THERE) == 0) {
			return false;
		}
	}
	return true;
}

int ob__group_tell_get(struct ob__group_tell_msg *m, uint8_t status, const uint8_t *data,
                       size_t len)
{
	if (len < OB__GROUP_TELL_HEAD || len > OB__GROUP_TELL_MAX || len % 8 != 0 ||
	    status > (OB__GROUP_PART | OB__GROUP_FIRST | OB__GROUP_LAST)) {
		return -EPROTO;
	}
	*m = (struct ob__group_tell_msg){
		.life = ob__get64(data),
		.from = ob__get64(data + 8),
		.to = ob__get64(data + 16),
		.part = ob__get64(data + 24),
		.entries = data + OB__GROUP_TELL_HEAD,
		.count = (len - OB__GROUP_TELL_HEAD) / 8,
	};
	if (m->life == 0) {
		return -EPROTO;
	}
	if ((status & OB__GROUP_PART) != 0) {
		return part_ok(m, status) ? 0 : -EPROTO;
	}
	return status == 0 && m->part == 0 && m->to >= m->from && m->to - m->from == m->count
	               ? 0
	               : -EPROTO;
}
