/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "mesh/pushwire.h"

#include <errno.h>
#include <string.h>

#include "lib/le.h"

#define USER_HEAD 17u /* seq, tag and the user's length */

size_t ob__push_head_put(uint8_t out[OB__PUSH_LIST_HEAD], uint32_t count, uint32_t at)
{
	ob__put32(out, count);
	ob__put32(out + 4, at);
	return OB__PUSH_LIST_HEAD;
}

size_t ob__push_session_put(uint8_t out[OB__PUSH_SESSION_SIZE], uint64_t seq)
{
	ob__put64(out, seq);
	return OB__PUSH_SESSION_SIZE;
}

size_t ob__push_user_size(const char *user)
{
	return USER_HEAD + strnlen(user, OB__USER_MAX);
}

size_t ob__push_user_put(uint8_t out[OB__PUSH_USER_MAX], const struct ob__push_user *u)
{
	size_t len = strnlen(u->user, OB__USER_MAX);

	ob__put64(out, u->seq);
	ob__put64(out + 8, u->tag);
	out[16] = (uint8_t)len;
	memcpy(out + USER_HEAD, u->user, len);
	return USER_HEAD + len;
}

/* The bytes of the user at the front, 0 if it is none. */
static size_t check_user(const uint8_t *data, size_t len)
{
	char user[OB__USER_MAX + 1];
	size_t n = len > USER_HEAD ? data[16] : 0;

	if (n == 0 || n > OB__USER_MAX || n > len - USER_HEAD ||
	    memchr(data + USER_HEAD, '\0', n) != NULL) {
		return 0;
	}
	memcpy(user, data + USER_HEAD, n);
	user[n] = '\0';
	return ob__user_ok(user) ? USER_HEAD + n : 0;
}

int ob__push_list_get(struct ob__push_list *l, enum ob__push_to to, const uint8_t *payload,
                      size_t len)
{
	if (len < OB__PUSH_LIST_HEAD) {
		return -EPROTO;
	}
	l->count = ob__get32(payload);
	l->at = ob__get32(payload + 4);
	l->members = payload + OB__PUSH_LIST_HEAD;
	len -= OB__PUSH_LIST_HEAD;
	if (l->count == 0 || l->count > OB__PUSH_LIST_MAX) {
		return -EPROTO;
	}
	size_t used = 0;
	if (to == OB__PUSH_SESSIONS) {
		used = (size_t)l->count * OB__PUSH_SESSION_SIZE;
		if (l->at != 0 || used > len) {
			return -EPROTO;
		}
	}
	for (uint32_t i = 0; to == OB__PUSH_USERS && i < l->count; i++) {
		size_t n = check_user(l->members + used, len - used);
		if (n == 0) {
			return -EPROTO;
		}
		used += n;
	}
	l->data = l->members + used;
	l->len = len - used;
	return 0;
}

uint64_t ob__push_session_next(const uint8_t **at)
{
	uint64_t seq = ob__get64(*at);
	*at += OB__PUSH_SESSION_SIZE;
	return seq;
}

void ob__push_user_next(struct ob__push_user *u, const uint8_t **at)
{
	size_t n = (*at)[16];

	u->seq = ob__get64(*at);
	u->tag = ob__get64(*at + 8);
	memcpy(u->user, *at + USER_HEAD, n);
	u->user[n] = '\0';
	*at += USER_HEAD + n;
}
