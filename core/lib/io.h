/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F0.  Blocking file I/O that is done whole.
 *
 * For regular files, off the loop or in its start: read() and write() may do less than they are
 * asked for and may be interrupted; these don't.
 */

#ifndef OB__IO_H
#define OB__IO_H

#include <stddef.h>

struct ob__buf;

/* Writes all of it. 0 or -errno; then part of it may be written. */
int ob__write_all(int fd, const void *data, size_t len);

/* Appends what is there up to the end; of more than `max` bytes one more than these, and no
 * further. 0 or -errno; then a part of it may be there. */
int ob__read_all(int fd, size_t max, struct ob__buf *out);

#endif
