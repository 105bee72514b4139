/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F0.  A state blob: what one generation of a module hands to another.
 *
 * Header: magic "OBST", u32 format (1), u32 state version, u32 count of sections, u64 length of
 * the whole, u8[64] module name, u32 CRC-32C of everything behind the header.  Then sections:
 * u32 tag, u32 flags, u64 length, bytes, padding to 8.  All little-endian.  A reader skips sections
 * it does not know, unless they are critical.  The format is kept: golden blobs of every release
 * are in the tests.
 */

#ifndef OB__BLOB_H
#define OB__BLOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OB__BLOB_CRITICAL 1u /* equal to OB_SECTION_CRITICAL */
#define OB__BLOB_SECTIONS 65536u

struct ob__blob_writer {
	uint8_t *data;
	size_t len;
	size_t cap;
	size_t max;
	uint32_t sections;
	int error; /* the first; kept */
};

/* `max` bytes in all. 0, -ENOMEM, -EINVAL (name). */
int ob__blob_begin(struct ob__blob_writer *w, const char *module, uint32_t version, size_t max);

/* 0, -EEXIST (tag), -EFBIG, -ENOMEM, -EINVAL (flags). */
int ob__blob_add(struct ob__blob_writer *w, uint32_t tag, uint32_t flags, const void *data,
                 size_t len);

/* Closes the blob; the bytes are the writer's until ob__blob_end(). 0 or the first error. */
int ob__blob_finish(struct ob__blob_writer *w);
void ob__blob_end(struct ob__blob_writer *w);

struct ob__blob_reader {
	const uint8_t *data;
	size_t len;
	uint32_t version;
	uint32_t sections;
	size_t at;     /* of next */
	uint8_t *seen; /* a bit per section */
};

/* Checks the whole (borrowed). 0, or -EINVAL with *why (static), -ENOMEM. */
int ob__blob_open(struct ob__blob_reader *r, const void *data, size_t len, const char *module,
                  const char **why);
void ob__blob_close(struct ob__blob_reader *r);

/* A section's bytes (never NULL if it is there); marks it as seen. */
const void *ob__blob_find(struct ob__blob_reader *r, uint32_t tag, size_t *len);
const void *ob__blob_next(struct ob__blob_reader *r, uint32_t *tag, size_t *len);

/* A critical section that was not seen: true with its tag. */
bool ob__blob_unseen(const struct ob__blob_reader *r, uint32_t *tag);

#endif
