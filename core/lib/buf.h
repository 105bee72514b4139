/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F0.  Two kinds of byte buffer.
 *
 * `struct ob__buf` grows: it is an owner's private scratch, the place where half a packet waits
 * for its other half.  `struct ob__rbuf` never grows but is shared: a payload that several queues
 * send is written once and counted, and the last queue that lets go frees it.
 *
 * Everything here runs on one thread; the counts are plain integers.
 */

#ifndef OB__BUF_H
#define OB__BUF_H

#include <stddef.h>
#include <stdint.h>

struct ob__buf {
	uint8_t *data; /* owned; NULL while empty and never used */
	size_t len;    /* bytes in use */
	size_t cap;    /* bytes allocated */
};

/* A zeroed struct is a valid empty buffer; init only says so by name. */
void ob__buf_init(struct ob__buf *b);

/* Frees the bytes and zeroes the struct.  NULL is accepted. */
void ob__buf_free(struct ob__buf *b);

/* Makes room for `more` bytes behind `len`.  When it must allocate: exactly that much if no byte is
 * in use, else at least twice the old capacity.  0, or -ENOMEM (also on size overflow) with the
 * buffer unchanged. */
int ob__buf_reserve(struct ob__buf *b, size_t more);

/* Appends a copy of `data`, which may not point into the buffer.  0 or -ENOMEM, then nothing was
 * appended. */
int ob__buf_append(struct ob__buf *b, const void *data, size_t len);

/* Appends formatted text without its terminator.  0 or a negative errno. */
int ob__buf_printf(struct ob__buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Drops `n` bytes from the front (n <= len); the rest moves down, so drop once per read rather than
 * once per packet. */
void ob__buf_consume(struct ob__buf *b, size_t n);

struct ob__rbuf {
	uint32_t refs;
	size_t len;
	uint8_t data[];
};

/* A buffer of `len` uninitialised bytes with one reference, the caller's, or NULL when out of
 * memory. */
struct ob__rbuf *ob__rbuf_new(size_t len);

/* As new, with a copy of `data`. */
struct ob__rbuf *ob__rbuf_copy(const void *data, size_t len);

/* Takes a further reference and returns `r`. */
struct ob__rbuf *ob__rbuf_ref(struct ob__rbuf *r);

/* Gives one back; the last one frees.  NULL is accepted. */
void ob__rbuf_unref(struct ob__rbuf *r);

#endif
