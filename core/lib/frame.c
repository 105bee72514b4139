/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "lib/frame.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "lib/frame_priv.h"
#include "lib/many.h"

void ob__frame_put_header(uint8_t out[OB__FRAME_HEADER], const struct ob__frame *f)
{
	assert(f->payload_len <= UINT32_MAX - OB__FRAME_HEADER - f->ext_len);
	ob__put32(out + OFF_LEN, OB__FRAME_HEADER + f->ext_len + f->payload_len);
	out[OFF_VERSION] = f->version != 0 ? f->version : OB__FRAME_VERSION;
	out[OB__FRAME_OFF_KIND] = f->kind;
	ob__put16(out + OFF_FLAGS, f->flags);
	ob__put32(out + OFF_ID, f->id);
	ob__put32(out + OFF_BUDGET, f->budget);
	ob__put64(out + OFF_CALL, f->call);
	ob__put64(out + OFF_SRC, f->src);
	ob__put64(out + OFF_DST, f->dst);
	ob__put64(out + OFF_SESSION_NODE, f->session_node);
	ob__put64(out + OFF_SESSION_SEQ, f->session_seq);
	ob__put32(out + OFF_ROLE, f->role);
	out[OFF_HOPS] = f->hops;
	out[OFF_STATUS] = f->status;
	ob__put16(out + OFF_EXT_LEN, f->ext_len);
}

/* Where the extension at `at` ends, or 0 if it does not lie within `len` or is malformed. */
static size_t ext_end(const uint8_t *ext, size_t at, size_t len)
{
	if (len - at < OB__FRAME_EXT_HEADER || ext[at + 1] != 0) {
		return 0;
	}
	size_t end = at + OB__FRAME_EXT_HEADER + ob__get16(ext + at + 2);
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
	return ob__get16(data + OFF_EXT_LEN) <= total - OB__FRAME_HEADER ? 0 : -EPROTO;
}

static void read_frame(struct ob__frame *f, const uint8_t *data, uint32_t total, uint64_t ext_lacks)
{
	uint16_t ext_len = ob__get16(data + OFF_EXT_LEN);
	*f = (struct ob__frame){
		.len = total,
		.version = data[OFF_VERSION],
		.kind = data[OB__FRAME_OFF_KIND],
		.flags = ob__get16(data + OFF_FLAGS),
		.id = ob__get32(data + OFF_ID),
		.budget = ob__get32(data + OFF_BUDGET),
		.call = ob__get64(data + OFF_CALL),
		.src = ob__get64(data + OFF_SRC),
		.dst = ob__get64(data + OFF_DST),
		.session_node = ob__get64(data + OFF_SESSION_NODE),
		.session_seq = ob__get64(data + OFF_SESSION_SEQ),
		.role = ob__get32(data + OFF_ROLE),
		.hops = data[OFF_HOPS],
		.status = data[OFF_STATUS],
		.ext_len = ext_len,
		.ext = data + OB__FRAME_HEADER,
		.ext_lacks = ext_lacks,
		.payload = data + OB__FRAME_HEADER + ext_len,
		.payload_len = total - OB__FRAME_HEADER - ext_len,
	};
}

/* Counts the messages of a frame that says it has many. */
static bool check_many(struct ob__frame *f)
{
	if ((f->flags & OB__FRAME_MANY) == 0) {
		return true;
	}
	f->many = ob__many_count(f->payload, f->payload_len);
	return f->many != 0 && (f->kind == OB__FRAME_REQUEST || f->kind == OB__FRAME_REPLY);
}

int64_t ob__frame_get(struct ob__frame *f, const uint8_t *data, size_t len, size_t max,
                      size_t *need)
{
	if (len < sizeof(uint32_t)) {
		*need = OB__FRAME_HEADER;
		return 0;
	}
	uint32_t total = ob__get32(data + OFF_LEN);
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
	if (check_exts(data + OB__FRAME_HEADER, ob__get16(data + OFF_EXT_LEN), &ext_lacks) < 0) {
		return -EPROTO;
	}
	read_frame(f, data, total, ext_lacks);
	return check_many(f) ? (int64_t)total : -EPROTO;
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
	ob__put16(out + 2, len);
	return OB__FRAME_EXT_HEADER + (size_t)len;
}

void ob__frame_patch_forward(uint8_t *frame, uint8_t hops, uint32_t budget, uint32_t role,
                             uint64_t dst)
{
	frame[OFF_HOPS] = hops;
	ob__put32(frame + OFF_BUDGET, budget);
	ob__put32(frame + OFF_ROLE, role);
	ob__put64(frame + OFF_DST, dst);
}
