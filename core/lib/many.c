/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "lib/many.h"

#include <string.h>

#include "lib/frame_priv.h"

uint32_t ob__many_count(const uint8_t *payload, size_t len)
{
	uint32_t count = 0;

	for (size_t at = 0; at < len; count++) {
		if (len - at < OB__MANY_HEAD) {
			return 0;
		}
		uint32_t bytes = ob__get32(payload + at + sizeof(uint64_t));
		at += OB__MANY_HEAD;
		if (bytes > len - at) {
			return 0;
		}
		at += bytes;
	}
	return count;
}

struct ob__frame ob__many_cut(struct ob__frame *f, uint8_t *raw, uint32_t n)
{
	struct ob__frame rest = *f;
	struct ob__frame one = ob__many_begin(f);

	for (uint32_t i = 0; i < n; i++) {
		(void)ob__many_next(&one, f);
	}
	f->payload_len = (uint32_t)(one.payload + one.payload_len - f->payload);
	f->many = n;
	rest.payload += f->payload_len;
	rest.payload_len -= f->payload_len;
	rest.many -= n;
	rest.len -= f->payload_len;
	f->len -= rest.payload_len;
	ob__put32(raw + OFF_LEN, f->len);
	return rest;
}

/* What it belongs to is settled: any more messages go where this one goes. */
static bool is_settled(const struct ob__frame *f)
{
	return f->kind == OB__FRAME_REPLY || (f->kind == OB__FRAME_REQUEST &&
	                                      (f->dst != 0 || (f->flags & OB__FRAME_STICKY) != 0));
}

static bool has_order(const uint8_t *ext, size_t len)
{
	return len >= OB__FRAME_EXT_HEADER + sizeof(uint32_t) && ext[0] == OB__FRAME_EXT_ORDER &&
	       ob__get16(ext + 2) == sizeof(uint32_t);
}

/* But for the number in the session's order: that is the next one. */
static bool same_ext(const uint8_t *last, uint32_t count, const struct ob__frame *f)
{
	const size_t value = OB__FRAME_EXT_HEADER + sizeof(uint32_t);

	if (f->ext_len == 0) {
		return true;
	}
	if (!has_order(f->ext, f->ext_len)) {
		return memcmp(last, f->ext, f->ext_len) == 0;
	}
	uint32_t first = ob__get32(last + OB__FRAME_EXT_HEADER);
	uint32_t number = ob__get32(f->ext + OB__FRAME_EXT_HEADER);
	return has_order(last, f->ext_len) && first + count == number &&
	       (first ^ number) >> 31 == 0 && /* of the same row, and not beyond its end */
	       memcmp(last + value, f->ext + value, f->ext_len - value) == 0;
}

/* The bits in which they differ, but for those of call id and length. */
static uint64_t header_differs(const uint8_t *last, const struct ob__frame *f)
{
	uint16_t flags = ob__get16(last + OFF_FLAGS) & (uint16_t)~OB__FRAME_MANY;
	uint64_t wide = (ob__get64(last + OFF_DST) ^ f->dst) |
	                (ob__get64(last + OFF_SESSION_SEQ) ^ f->session_seq) |
	                (ob__get64(last + OFF_SESSION_NODE) ^ f->session_node) |
	                (ob__get64(last + OFF_SRC) ^ f->src);
	uint32_t narrow = (ob__get32(last + OFF_ID) ^ f->id) |
	                  (ob__get32(last + OFF_BUDGET) ^ f->budget) |
	                  (ob__get32(last + OFF_ROLE) ^ f->role) |
	                  (uint32_t)(ob__get16(last + OFF_EXT_LEN) ^ f->ext_len) |
	                  (uint32_t)(flags ^ f->flags) | (uint32_t)(last[OFF_HOPS] ^ f->hops) |
	                  (uint32_t)(last[OFF_STATUS] ^ f->status) |
	                  (uint32_t)(last[OB__FRAME_OFF_KIND] ^ f->kind) |
	                  (uint32_t)(last[OFF_VERSION] ^ OB__FRAME_VERSION);

	return wide | narrow;
}

bool ob__many_alike(const uint8_t *last, uint32_t count, const struct ob__frame *f)
{
	return is_settled(f) && header_differs(last, f) == 0 &&
	       same_ext(last + OB__FRAME_HEADER, count, f);
}

static inline bool is_many(const uint8_t *last)
{
	return (ob__get16(last + OFF_FLAGS) & OB__FRAME_MANY) != 0;
}

static inline size_t grows(const uint8_t *last, size_t len, size_t payload_len)
{
	size_t more = OB__MANY_HEAD + payload_len + (is_many(last) ? 0 : OB__MANY_HEAD);

	return payload_len <= OB__MANY_ITEM && len + more <= OB__MANY_BYTES ? more : 0;
}

static inline uint8_t *put_item(uint8_t *at, uint64_t call, uint32_t len)
{
	ob__put64(at, call);
	ob__put32(at + sizeof(call), len);
	return at + OB__MANY_HEAD;
}

/* A frame with one message becomes one with a row of one. */
static void begin_row(uint8_t *last, size_t len)
{
	uint8_t *payload = last + OB__FRAME_HEADER + ob__get16(last + OFF_EXT_LEN);
	uint32_t payload_len = (uint32_t)(len - (size_t)(payload - last));

	memmove(payload + OB__MANY_HEAD, payload, payload_len);
	put_item(payload, ob__get64(last + OFF_CALL), payload_len);
	ob__put64(last + OFF_CALL, 0);
	ob__put16(last + OFF_FLAGS, ob__get16(last + OFF_FLAGS) | OB__FRAME_MANY);
}

static inline void add(uint8_t *last, size_t len, uint64_t call, const void *payload,
                       size_t payload_len)
{
	if (!is_many(last)) {
		begin_row(last, len);
		len += OB__MANY_HEAD;
	}
	ob__put32(last + OFF_LEN, (uint32_t)(len + OB__MANY_HEAD + payload_len));
	uint8_t *bytes = put_item(last + len, call, (uint32_t)payload_len);
	if (payload_len > 0) {
		memcpy(bytes, payload, payload_len);
	}
}

size_t ob__many_grows(const uint8_t *last, size_t len, size_t payload_len)
{
	return grows(last, len, payload_len);
}

void ob__many_add(uint8_t *last, size_t len, uint64_t call, const void *payload, size_t payload_len)
{
	add(last, len, call, payload, payload_len);
}

size_t ob__many_put(uint8_t *last, size_t len, size_t max, uint64_t call, const void *payload,
                    size_t payload_len)
{
	size_t more = grows(last, len, payload_len);

	if (more == 0 || more > max - len) {
		return 0;
	}
	add(last, len, call, payload, payload_len);
	return more;
}
