/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "mesh/dirwire.h"

#include <errno.h>
#include <string.h>

#include "lib/frame.h"
#include "lib/le.h"
#include "mesh/proto.h"

const char *ob__dir_kind_word(enum ob__dir_kind kind)
{
	static const char *const words[] = {
		"announce", "beat", "leave", "subscribe", "ask", "higher", "delta", "again",
	};
	return kind < OB__DIR_KINDS ? words[kind] : "?";
}

int ob__dir_kind(uint32_t sys)
{
	switch (sys) {
	case OB__SYS_MEMBER_ANNOUNCE:
		return OB__DIR_ANNOUNCE;
	case OB__SYS_MEMBER_BEAT:
		return OB__DIR_BEAT;
	case OB__SYS_MEMBER_LEAVE:
		return OB__DIR_LEAVE;
	case OB__SYS_MEMBER_SUBSCRIBE:
		return OB__DIR_SUBSCRIBE;
	case OB__SYS_MEMBER_ASK:
		return OB__DIR_ASK;
	case OB__SYS_MEMBER_HIGHER:
		return OB__DIR_HIGHER;
	case OB__SYS_MEMBER_DELTA:
		return OB__DIR_DELTA;
	case OB__SYS_MEMBER_AGAIN:
		return OB__DIR_AGAIN;
	default:
		return -1;
	}
}

bool ob__dir_kind_for_view(enum ob__dir_kind kind)
{
	return kind < OB__DIR_DELTA;
}

void ob__dir_count(struct ob__dir_count *of_kind, size_t payload_len)
{
	of_kind->messages++;
	of_kind->bytes += OB__FRAME_HEADER + payload_len;
}

void ob__dir_u64_put(uint8_t out[8], uint64_t v)
{
	ob__put64(out, v);
}

int ob__dir_u64_get(uint64_t *v, const uint8_t *data, size_t len)
{
	if (len != sizeof(*v)) {
		return -EPROTO;
	}
	*v = ob__get64(data);
	return 0;
}

void ob__beat_put(uint8_t out[OB__BEAT_SIZE], const struct ob__beat *b)
{
	ob__dir_u64_put(out, b->incarnation);
	ob__put32(out + 8, b->rev);
	ob__put32(out + 12, b->load);
}

int ob__beat_get(struct ob__beat *b, const uint8_t *data, size_t len)
{
	if (len != OB__BEAT_SIZE) {
		return -EPROTO;
	}
	b->incarnation = ob__get64(data);
	b->rev = ob__get32(data + 8);
	b->load = ob__get32(data + 12);
	return 0;
}

void ob__subscribe_put(uint8_t out[OB__SUBSCRIBE_SIZE], const struct ob__subscribe *s)
{
	ob__dir_u64_put(out, s->boot);
	ob__dir_u64_put(out + 8, s->seq);
}

int ob__subscribe_get(struct ob__subscribe *s, const uint8_t *data, size_t len)
{
	if (len != OB__SUBSCRIBE_SIZE) {
		return -EPROTO;
	}
	s->boot = ob__get64(data);
	s->seq = ob__get64(data + 8);
	return 0;
}

void ob__higher_put(uint8_t out[OB__HIGHER_SIZE], const struct ob__higher *h)
{
	ob__dir_u64_put(out, h->id);
	ob__dir_u64_put(out + 8, h->incarnation);
}

int ob__higher_get(struct ob__higher *h, const uint8_t *data, size_t len)
{
	if (len != OB__HIGHER_SIZE) {
		return -EPROTO;
	}
	h->id = ob__get64(data);
	h->incarnation = ob__get64(data + 8);
	return 0;
}

void ob__delta_put(uint8_t out[OB__DELTA_HEAD], const struct ob__delta *d)
{
	ob__dir_u64_put(out, d->boot);
	ob__dir_u64_put(out + 8, d->seq);
	ob__put16(out + 16, d->records);
	ob__put16(out + 18, d->flags);
}

int ob__delta_get(struct ob__delta *d, const uint8_t *data, size_t len)
{
	if (len < OB__DELTA_HEAD) {
		return -EPROTO;
	}
	d->boot = ob__get64(data);
	d->seq = ob__get64(data + 8);
	d->records = ob__get16(data + 16);
	d->flags = ob__get16(data + 18);
	bool answer = (d->flags & OB__DELTA_ANSWER) != 0;
	if (d->boot == 0 || (answer && (d->flags & (OB__DELTA_BEGIN | OB__DELTA_MORE)) != 0) ||
	    (answer && d->records != 1)) {
		return -EPROTO;
	}
	return 0;
}

const char *ob__dir_reason(int code)
{
	switch (code) {
	case -EPROTO:
		return "a malformed message about members";
	case -EMSGSIZE:
		return "a record that is too long";
	case -EACCES:
		return "a record that is not the sender's own";
	case -ENOTCONN:
		return "a message about members from a node that may not send it";
	case -ENOSPC:
		return "too many members";
	case -ENOENT:
		return "a message about members for another kind of node";
	case -ENOMEM:
		return "out of memory";
	default:
		return "a bad message about members";
	}
}
