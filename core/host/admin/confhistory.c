/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/admin/confhistory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "base/conf.h"
#include "lib/buf.h"
#include "lib/io.h"

#define DIGITS_MAX 18
#define HALF       ".new" /* what is not whole yet */
#define NAME_CAP   32

/* The directory and the numbers in it, growing. */
struct history {
	int fd;
	uint64_t *numbers;
	size_t len;
};

static void file_name(uint64_t number, char out[NAME_CAP])
{
	snprintf(out, NAME_CAP, "%llu.conf", (unsigned long long)number);
}

/* The number of "12.conf", or 0. */
static uint64_t number_of(const char *name)
{
	size_t digits = strspn(name, "0123456789");

	if (digits == 0 || digits > DIGITS_MAX || *name == '0' ||
	    strcmp(name + digits, ".conf") != 0) {
		return 0;
	}
	return strtoull(name, NULL, 10);
}

static int by_number(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a;
	uint64_t y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static int read_names(struct history *h, DIR *d)
{
	const struct dirent *entry;
	size_t cap = 0;

	while ((entry = readdir(d)) != NULL) {
		uint64_t number = number_of(entry->d_name);
		if (number == 0) {
			continue;
		}
		if (h->len == cap) {
			cap = cap > 0 ? 2 * cap : 16;
			uint64_t *grown = realloc(h->numbers, cap * sizeof(*grown));
			if (grown == NULL) {
				return -ENOMEM;
			}
			h->numbers = grown;
		}
		h->numbers[h->len++] = number;
	}
	if (h->len > 0) {
		qsort(h->numbers, h->len, sizeof(*h->numbers), by_number);
	}
	return 0;
}

static void close_history(struct history *h)
{
	if (h->fd >= 0) {
		close(h->fd);
	}
	free(h->numbers);
	*h = (struct history){.fd = -1};
}

/* 0 or -errno; then there is nothing to close. */
static int open_history(const char *dir, bool make, struct history *h)
{
	char path[PATH_MAX];

	*h = (struct history){.fd = -1};
	if ((size_t)snprintf(path, sizeof(path), "%s/conf", dir) >= sizeof(path)) {
		return -ENAMETOOLONG;
	}
	if (make && mkdir(path, 0700) != 0 && errno != EEXIST) {
		return -errno;
	}
	h->fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int list_fd = h->fd >= 0 ? fcntl(h->fd, F_DUPFD_CLOEXEC, 0) : -1;
	DIR *d = list_fd >= 0 ? fdopendir(list_fd) : NULL;
	int rc = d == NULL ? -errno : read_names(h, d);
	if (d != NULL) {
		closedir(d);
	} else if (list_fd >= 0) {
		close(list_fd);
	}
	if (rc != 0) {
		close_history(h);
	}
	return rc;
}

/* ---- files ---- */

static int read_kept(const struct history *h, uint64_t number, struct ob__buf *out, struct stat *st)
{
	char name[NAME_CAP];

	file_name(number, name);
	int fd = openat(h->fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0) {
		return -errno;
	}
	int rc = fstat(fd, st) != 0 ? -errno : 0;
	if (rc == 0 && (!S_ISREG(st->st_mode) || st->st_size > (off_t)OB__CONF_FILE_MAX)) {
		rc = -EINVAL;
	}
	if (rc == 0) {
		rc = ob__read_all(fd, OB__CONF_FILE_MAX, out);
	}
	close(fd);
	return rc;
}

/* The text is that of a kept one. */
static bool equals(const struct history *h, uint64_t number, const char *text, size_t len)
{
	struct ob__buf kept = {0};
	struct stat st;
	bool same = read_kept(h, number, &kept, &st) == 0 && kept.len == len &&
	            (len == 0 || memcmp(kept.data, text, len) == 0);

	ob__buf_free(&kept);
	return same;
}

/* Under another name first: a number stands for a whole file. */
static int write_kept(const struct history *h, uint64_t number, const char *text, size_t len)
{
	char name[NAME_CAP];

	file_name(number, name);
	unlinkat(h->fd, HALF, 0);
	int fd = openat(h->fd, HALF, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0) {
		return -errno;
	}
	int rc = ob__write_all(fd, text, len);
	if (close(fd) != 0 && rc == 0) {
		rc = -errno;
	}
	if (rc == 0 && renameat(h->fd, HALF, h->fd, name) != 0) {
		rc = -errno;
	}
	if (rc != 0) {
		unlinkat(h->fd, HALF, 0);
	}
	return rc;
}

/* ---- the functions ---- */

int ob__confhistory_add(const char *dir, const char *text, size_t len, uint64_t *number)
{
	struct history h;
	int rc = open_history(dir, true, &h);

	if (rc != 0) {
		return rc;
	}
	*number = h.len > 0 ? h.numbers[h.len - 1] : 0;
	if (*number != 0 && equals(&h, *number, text, len)) {
		close_history(&h);
		return 0;
	}
	rc = write_kept(&h, ++*number, text, len);
	for (size_t i = 0; rc == 0 && i + OB__CONFHISTORY_KEPT <= h.len; i++) {
		char name[NAME_CAP];
		file_name(h.numbers[i], name);
		unlinkat(h.fd, name, 0);
	}
	close_history(&h);
	return rc;
}

int ob__confhistory_path(const char *dir, uint64_t number, char *out, size_t cap)
{
	char name[NAME_CAP];
	struct stat st;

	file_name(number, name);
	if ((size_t)snprintf(out, cap, "%s/conf/%s", dir, name) >= cap) {
		return -ENAMETOOLONG;
	}
	if (number_of(name) == 0 || lstat(out, &st) != 0 || !S_ISREG(st.st_mode)) {
		return -ENOENT;
	}
	return 0;
}

int ob__confhistory_before(const char *dir, uint64_t *number)
{
	struct ob__buf newest = {0};
	struct history h;
	struct stat st;
	int rc = open_history(dir, false, &h);

	if (rc != 0) {
		return -ENOENT;
	}
	rc = -ENOENT;
	if (h.len > 0 && read_kept(&h, h.numbers[h.len - 1], &newest, &st) == 0) {
		for (size_t i = h.len - 1; i > 0 && rc != 0; i--) {
			if (!equals(&h, h.numbers[i - 1], (const char *)newest.data, newest.len)) {
				*number = h.numbers[i - 1];
				rc = 0;
			}
		}
	}
	ob__buf_free(&newest);
	close_history(&h);
	return rc;
}

static json_t *describe(const struct history *h, uint64_t number)
{
	struct ob__buf text = {0};
	struct stat st;
	struct tm tm;
	uint8_t digest[32];
	char hex[65];
	char taken[32];
	json_t *entry = NULL;

	if (read_kept(h, number, &text, &st) == 0 && gmtime_r(&st.st_mtime, &tm) != NULL &&
	    EVP_Digest(text.len > 0 ? (const void *)text.data : "", text.len, digest, NULL,
	               EVP_sha256(), NULL) == 1) {
		for (size_t i = 0; i < sizeof(digest); i++) {
			snprintf(hex + 2 * i, 3, "%02x", digest[i]);
		}
		strftime(taken, sizeof(taken), "%Y-%m-%dT%H:%M:%SZ", &tm);
		entry = json_pack("{s:I, s:s, s:I, s:s}", "version", (json_int_t)number, "taken",
		                  taken, "size", (json_int_t)text.len, "sha256", hex);
	}
	ob__buf_free(&text);
	return entry;
}

json_t *ob__confhistory_json(const char *dir)
{
	json_t *list = json_array();
	struct history h;

	if (open_history(dir, false, &h) != 0) {
		return list;
	}
	for (size_t i = h.len; i > 0; i--) {
		json_t *entry = describe(&h, h.numbers[i - 1]);
		if (entry != NULL) {
			json_array_append_new(list, entry);
		}
	}
	close_history(&h);
	return list;
}

int ob__confhistory_chown(const char *dir, uid_t uid, gid_t gid)
{
	struct history h;
	int rc = open_history(dir, false, &h);

	if (rc != 0) {
		return rc == -ENOENT ? 0 : rc;
	}
	rc = fchown(h.fd, uid, gid) != 0 ? -errno : 0;
	for (size_t i = 0; i < h.len && rc == 0; i++) {
		char name[NAME_CAP];
		file_name(h.numbers[i], name);
		rc = fchownat(h.fd, name, uid, gid, AT_SYMLINK_NOFOLLOW) != 0 ? -errno : 0;
	}
	close_history(&h);
	return rc;
}
