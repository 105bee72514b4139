/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F0.  Blocking file I/O that is done whole.
 *
 * For regular files, off the loop or in its start: write() may take less than it is given and may
 * be interrupted; these don't.
 */

#ifndef OB__IO_H
#define OB__IO_H

#include <stddef.h>

/* Writes all of it. 0 or -errno; then part of it may be written. */
int ob__write_all(int fd, const void *data, size_t len);

#endif
