/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "lib/frame.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <string.h>

enum {
	OFF_LEN = 0,
	OFF_VERSION = 4,
	OFF_FLAGS = 6,
	OFF_ID = 8,
	OFF_BUDGET = 12,
	OFF_CALL = 16,
	OFF_SRC = 24,
	OFF_DST = 32,
	OFF_SESSION_NODE = 40,
	OFF_SESSION_SEQ = 48,
	OFF_ROLE = 56,
	OFF_HOPS = 60,
	OFF_STATUS = 61,
	OFF_EXT_LEN = 62,
};

static inline void put16(uint8_t *p, uint16_t v)
{
	v = htole16(v);
	memcpy(p, &v, sizeof(v));
}

static inline void put32(uint8_t *p, uint32_t v)
{
	v = htole32(v);
	memcpy(p, &v, sizeof(v));
}

static inline void put64(uint8_t *p, uint64_t v)
{
	v = htole64(v);
	memcpy(p, &v, sizeof(v));
}

static inline uint16_t get16(const uint8_t *p)
{
	uint16_t v;
	memcpy(&v, p, sizeof(v));
	return le16toh(v);
}

static inline uint32_t get32(const uint8_t *p)
{
	uint32_t v;
	memcpy(&v, p, sizeof(v));
	return le32toh(v);
}

static inline uint64_t get64(const uint8_t *p)
{
	uint64_t v;
	memcpy(&v, p, sizeof(v));
	return le64toh(v);
}

void ob__frame_put_header(uint8_t out[OB__FRAME_HEADER], const struct ob__frame *f)
{
	assert(f->payload_len <= UINT32_MAX - OB__FRAME_HEADER - f->ext_len);
	put32(out + OFF_LEN, OB__FRAME_HEADER + f->ext_len + f->payload_len);
	out[OFF_VERSION] = f->version != 0 ? f->version : OB__FRAME_VERSION;
	out[OB__FRAME_OFF_KIND] = f->kind;
	put16(out + OFF_FLAGS, f->flags);
	put32(out + OFF_ID, f->id);
	put32(out + OFF_BUDGET, f->budget);
	put64(out + OFF_CALL, f->call);
	put64(out + OFF_SRC, f->src);
	put64(out + OFF_DST, f->dst);
	put64(out + OFF_SESSION_NODE, f->session_node);
	put64(out + OFF_SESSION_SEQ, f->session_seq);
	put32(out + OFF_ROLE, f->role);
	out[OFF_HOPS] = f->hops;
	out[OFF_STATUS] = f->status;
	put16(out + OFF_EXT_LEN, f->ext_len);
}

/* Where the extension at `at` ends, or 0 if it does not lie within `len` or is malformed. */
static size_t ext_end(const uint8_t *ext, size_t at, size_t len)
{
	if (len - at < OB__FRAME_EXT_HEADER || ext[at + 1] != 0) {
		return 0;
	}
	size_t end = at + OB__FRAME_EXT_HEADER + get16(ext + at + 2);
	return end <= len ? end : 0;
}

/* In *lacks a bit for each type below 64 that is not among them. */
static int check_exts(const uint8_t *ext, size_t len, uint64_t *lacks)
{
	*lacks = UINT64_MAX;
	for (size_t at = 0; at < len;) {
		uint8_t type = ext[at];
		at = ext_end(ext, at, len);
		if (at == 0) {
			return -EPROTO;
		}
		*lacks &= type < 64 ? ~(UINT64_C(1) << type) : UINT64_MAX;
	}
	return 0;
}

/* Refuses what no further byte can mend; the header is whole. */
static int check_header(const uint8_t *data, uint32_t total)
{
	if (data[OFF_VERSION] != OB__FRAME_VERSION) {
		return -EPROTONOSUPPORT;
	}
	uint8_t kind = data[OB__FRAME_OFF_KIND];
	if (kind < OB__FRAME_HELLO || kind >= OB__FRAME_KIND_END) {
		return -EPROTO;
	}
	return get16(data + OFF_EXT_LEN) <= total - OB__FRAME_HEADER ? 0 : -EPROTO;
}

static void read_frame(struct ob__frame *f, const uint8_t *data, uint32_t total, uint64_t ext_lacks)
{
	uint16_t ext_len = get16(data + OFF_EXT_LEN);
	*f = (struct ob__frame){
		.len = total,
		.version = data[OFF_VERSION],
		.kind = data[OB__FRAME_OFF_KIND],
		.flags = get16(data + OFF_FLAGS),
		.id = get32(data + OFF_ID),
		.budget = get32(data + OFF_BUDGET),
		.call = get64(data + OFF_CALL),
		.src = get64(data + OFF_SRC),
		.dst = get64(data + OFF_DST),
		.session_node = get64(data + OFF_SESSION_NODE),
		.session_seq = get64(data + OFF_SESSION_SEQ),
		.role = get32(data + OFF_ROLE),
		.hops = data[OFF_HOPS],
		.status = data[OFF_STATUS],
		.ext_len = ext_len,
		.ext = data + OB__FRAME_HEADER,
		.ext_lacks = ext_lacks,
		.payload = data + OB__FRAME_HEADER + ext_len,
		.payload_len = total - OB__FRAME_HEADER - ext_len,
	};
}

int64_t ob__frame_get(struct ob__frame *f, const uint8_t *data, size_t len, size_t max,
                      size_t *need)
{
	if (len < sizeof(uint32_t)) {
		*need = OB__FRAME_HEADER;
		return 0;
	}
	uint32_t total = get32(data + OFF_LEN);
	if (total < OB__FRAME_HEADER) {
		return -EPROTO;
	}
	if (total > max) {
		return -EMSGSIZE;
	}
	if (len >= OB__FRAME_HEADER) {
		int rc = check_header(data, total);
		if (rc < 0) {
			return rc;
		}
	}
	if (len < total) {
		*need = total;
		return 0;
	}
	uint64_t ext_lacks;
	if (check_exts(data + OB__FRAME_HEADER, get16(data + OFF_EXT_LEN), &ext_lacks) < 0) {
		return -EPROTO;
	}
	read_frame(f, data, total, ext_lacks);
	return total;
}

const uint8_t *ob__frame_ext_find(const struct ob__frame *f, uint8_t type, uint16_t *len)
{
	for (size_t at = 0; at < f->ext_len;) {
		size_t end = ext_end(f->ext, at, f->ext_len);
		if (end == 0) {
			return NULL;
		}
		if (f->ext[at] == type) {
			*len = (uint16_t)(end - at - OB__FRAME_EXT_HEADER);
			return f->ext + at + OB__FRAME_EXT_HEADER;
		}
		at = end;
	}
	return NULL;
}

size_t ob__frame_ext_put(uint8_t *out, size_t at, size_t cap, uint8_t type, const void *data,
                         uint16_t len)
{
	if (at > cap || cap - at < OB__FRAME_EXT_HEADER + (size_t)len) {
		return 0;
	}
	if (len > 0) {
		memcpy(out + at + OB__FRAME_EXT_HEADER, data, len);
	}
	return at + ob__frame_ext_head(out + at, type, len);
}

size_t ob__frame_ext_head(uint8_t *out, uint8_t type, uint16_t len)
{
	out[0] = type;
	out[1] = 0;
	put16(out + 2, len);
	return OB__FRAME_EXT_HEADER + (size_t)len;
}

void ob__frame_patch_forward(uint8_t *frame, uint8_t hops, uint32_t budget, uint32_t role,
                             uint64_t dst)
{
	frame[OFF_HOPS] = hops;
	put32(frame + OFF_BUDGET, budget);
	put32(frame + OFF_ROLE, role);
	put64(frame + OFF_DST, dst);
}
