/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F0.  A state blob: what one generation of a module hands to another.
 *
 * Header, 96 bytes: magic "OBST", u32 format (1), u32 state version, u32 count of sections, u64
 * length of the whole, u8[64] module name (ended and padded by zeros), u32 CRC-32C of the whole
 * with this field 0, u32 0.  Then sections: u32 tag, u32 flags, u64 length, bytes, zeros up to a
 * multiple of 8.  All little-endian; a section's bytes are aligned to 8.  A reader skips sections
 * it does not know, unless they are critical.  The format is kept: golden blobs of every release
 * are in the tests.
 */

#ifndef OB__BLOB_H
#define OB__BLOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/map.h"

#define OB__BLOB_CRITICAL 1u /* equal to OB_SECTION_CRITICAL */
#define OB__BLOB_SECTIONS 65536u
#define OB__BLOB_HEADER   96u
#define OB__BLOB_NAME     64u

struct ob__blob_writer {
	uint8_t *data;
	size_t len;
	size_t cap;
	size_t max;
	uint32_t sections;
	int error; /* the first of add; kept */
	struct ob__map tags;
};

/* `max` bytes in all, the header included. 0, -ENOMEM, -EINVAL (name, max). */
int ob__blob_begin(struct ob__blob_writer *w, const char *module, uint32_t version, size_t max);

/* 0, -EEXIST (tag), -EFBIG (max, or too many sections), -ENOMEM, -EINVAL (flags; bytes that are
 * NULL).  After an error each further one answers that error. */
int ob__blob_add(struct ob__blob_writer *w, uint32_t tag, uint32_t flags, const void *data,
                 size_t len);

/* Closes the blob: data[0..len) are the writer's until ob__blob_end(). 0 or the first error. */
int ob__blob_finish(struct ob__blob_writer *w);

/* Frees; a zeroed writer is accepted. */
void ob__blob_end(struct ob__blob_writer *w);

struct ob__blob_section {
	const uint8_t *data;
	size_t len;
	uint32_t tag;
	uint32_t flags;
	bool seen;
};

struct ob__blob_reader {
	uint32_t version;
	uint32_t sections;
	uint32_t at; /* of next */
	struct ob__blob_section *list;
	struct ob__map tags; /* tag -> section */
};

/* Checks the whole, which is borrowed until close. 0, or -EINVAL, -ENOMEM with *why (static): then
 * there is nothing to close. */
int ob__blob_open(struct ob__blob_reader *r, const void *data, size_t len, const char *module,
                  const char **why);

/* Frees; a zeroed reader is accepted. */
void ob__blob_close(struct ob__blob_reader *r);

/* A section's bytes (never NULL if it is there); marks it as seen.  `len`, and `tag` below, may be
 * NULL. */
const void *ob__blob_find(struct ob__blob_reader *r, uint32_t tag, size_t *len);

/* The next one in the order of writing, marked as seen; NULL after the last. */
const void *ob__blob_next(struct ob__blob_reader *r, uint32_t *tag, size_t *len);

/* A critical section that was not seen: true with its tag. */
bool ob__blob_unseen(const struct ob__blob_reader *r, uint32_t *tag);

#endif
