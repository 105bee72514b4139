/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "lib/io.h"

#include <errno.h>
#include <unistd.h>

#include "lib/buf.h"

#define READ_BLOCK 65536u

int ob__write_all(int fd, const void *data, size_t len)
{
	const char *at = data;

	while (len > 0) {
		ssize_t n = write(fd, at, len);
		if (n < 0 && errno == EINTR) {
			continue;
		}
		if (n < 0) {
			return -errno;
		}
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

int ob__read_all(int fd, size_t max, struct ob__buf *out)
{
	size_t left = max + 1;

	while (left > 0) {
		int rc = ob__buf_reserve(out, left < READ_BLOCK ? left : READ_BLOCK);
		if (rc != 0) {
			return rc;
		}
		ssize_t n = read(fd, out->data + out->len, left < READ_BLOCK ? left : READ_BLOCK);
		if (n < 0 && errno == EINTR) {
			continue;
		}
		if (n <= 0) {
			return n < 0 ? -errno : 0;
		}
		out->len += (size_t)n;
		left -= (size_t)n;
	}
	return 0;
}
