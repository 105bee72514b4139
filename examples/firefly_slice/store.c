/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_SIZE 4096
#define FILE_SIZE 65536

bool store_name_ok(const char *name)
{
	size_t len = name ? strlen(name) : 0;

	return len >= 1 && len <= STORE_NAME_MAX &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") ==
	               len;
}

static int path_of(char *path, const char *folder, const char *kind, const char *name)
{
	int n = store_name_ok(name) ? snprintf(path, PATH_SIZE, "%s/%s/%s.json", folder, kind, name)
	                            : -1;

	return n > 0 && n < PATH_SIZE ? 0 : -EINVAL;
}

json_t *store_read(const char *folder, const char *kind, const char *name, int *err)
{
	char path[PATH_SIZE];
	char text[FILE_SIZE];

	*err = path_of(path, folder, kind, name);
	if (*err < 0) {
		return NULL;
	}
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		*err = errno == ENOENT ? 0 : -errno;
		return NULL;
	}
	ssize_t n = read(fd, text, sizeof(text));
	*err = n < 0 ? -errno : 0;
	close(fd);
	json_t *value = n >= 0 ? json_loadb(text, (size_t)n, 0, NULL) : NULL;
	if (n >= 0 && !value) {
		*err = -EBADMSG;
	}
	return value;
}

static int write_all(int fd, const char *text, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, text, len);

		if (n < 0 && errno != EINTR) {
			return -errno;
		}
		text += n > 0 ? n : 0;
		len -= n > 0 ? (size_t)n : 0;
	}
	return fsync(fd) < 0 ? -errno : 0;
}

/* What has been renamed in a folder is on the disk when the folder is. */
static int sync_folder(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int rc = fd < 0 || fsync(fd) < 0 ? -errno : 0;

	if (fd >= 0) {
		close(fd);
	}
	return rc;
}

static int replace(const char *at, const char *path, const char *text)
{
	char fresh[PATH_SIZE + 16];

	snprintf(fresh, sizeof(fresh), "%s.new", path);
	int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0) {
		return -errno;
	}
	int rc = write_all(fd, text, strlen(text));
	rc = close(fd) < 0 && rc == 0 ? -errno : rc;
	if (rc == 0 && rename(fresh, path) < 0) {
		rc = -errno;
	}
	if (rc < 0) {
		unlink(fresh);
		return rc;
	}
	return sync_folder(at);
}

int store_write(const char *folder, const char *kind, const char *name, const json_t *value)
{
	char at[PATH_SIZE];
	char path[PATH_SIZE];
	int rc = path_of(path, folder, kind, name);

	if (rc < 0) {
		return rc;
	}
	snprintf(at, sizeof(at), "%s/%s", folder, kind);
	if (mkdir(at, 0700) < 0 && errno != EEXIST) {
		return -errno;
	}
	char *text = json_dumps(value, JSON_INDENT(1));
	if (!text || strlen(text) > FILE_SIZE) {
		free(text);
		return text ? -EFBIG : -ENOMEM;
	}
	rc = replace(at, path, text);
	free(text);
	return rc;
}

int store_lock(const char *folder)
{
	char path[PATH_SIZE];

	if (snprintf(path, sizeof(path), "%s/lock", folder) >= PATH_SIZE) {
		return -ENAMETOOLONG;
	}
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	while (fd >= 0 && flock(fd, LOCK_EX) < 0) {
		if (errno != EINTR) {
			int rc = -errno;

			close(fd);
			return rc;
		}
	}
	return fd < 0 ? -errno : fd;
}

void store_unlock(int lock)
{
	close(lock);
}
