/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "base/conf_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "lib/ws.h"

#define SECRET_FILE_MAX 4096u

/* Reads at most `cap` bytes of a regular file.  The length or a negative errno. */
static ssize_t read_some(const char *path, uint8_t *out, size_t cap, mode_t *mode)
{
	struct stat st;
	/* Asked before it is opened, as opening a device can do things. */
	if (stat(path, &st) != 0) {
		return -errno;
	}
	if (!S_ISREG(st.st_mode)) {
		return -EINVAL;
	}
	*mode = st.st_mode;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0) {
		return -errno;
	}
	ssize_t len = 0;
	while (len >= 0 && (size_t)len < cap) {
		ssize_t n = read(fd, out + len, cap - (size_t)len);
		if (n == 0) {
			break;
		}
		if (n > 0) {
			len += n;
		} else if (errno != EINTR) {
			len = -errno;
		}
	}
	close(fd);
	return len;
}

static size_t trim_newline(const uint8_t *text, size_t len)
{
	if (len > 0 && text[len - 1] == '\n') {
		len--;
		len -= len > 0 && text[len - 1] == '\r';
	}
	return len;
}

static json_t *read_into(const char *path, uint8_t *text, char *note, size_t note_cap)
{
	mode_t mode = 0;
	ssize_t got = read_some(path, text, SECRET_FILE_MAX + 1, &mode);
	if (got < 0) {
		snprintf(note, note_cap, "%s: can't be read (%s)", path,
		         got == -EINVAL ? "not a regular file" : ob__strerror((int)got));
		return NULL;
	}
	if (got > (ssize_t)SECRET_FILE_MAX) {
		snprintf(note, note_cap, "%s: longer than %u bytes", path, SECRET_FILE_MAX);
		return NULL;
	}
	size_t len = trim_newline(text, (size_t)got);
	if (len == 0) {
		snprintf(note, note_cap, "%s: empty", path);
		return NULL;
	}
	if (memchr(text, '\0', len) || !ob__utf8_ok(text, len)) {
		snprintf(note, note_cap, "%s: not UTF-8 text", path);
		return NULL;
	}
	note[0] = '\0';
	if ((mode & (S_IRGRP | S_IROTH)) != 0) {
		snprintf(note, note_cap, "%s: others can read it (mode %04o; chmod 600)", path,
		         (unsigned)(mode & 07777));
	}
	return json_stringn((const char *)text, len);
}

json_t *ob__conf_secret_read(const char *conf_file, const char *path, char *note, size_t note_cap)
{
	const char *slash = strrchr(conf_file, '/');
	int dir_len = slash && *path != '/' ? (int)(slash - conf_file + 1) : 0;
	char *full;
	snprintf(note, note_cap, "%s", ob__strerror(-ENOMEM));
	if (asprintf(&full, "%.*s%s", dir_len, conf_file, path) < 0) {
		return NULL;
	}
	uint8_t text[SECRET_FILE_MAX + 1];
	json_t *secret = read_into(full, text, note, note_cap);
	explicit_bzero(text, sizeof(text));
	free(full);
	return secret;
}
