/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "host/swap/manifest_priv.h"
#include "lib/io.h"

#define NEW_NAME   "new" /* in DIR/good, while a copy is made */
#define COPY_BLOCK 65536

void ob__manifest_copy_name(char out[COPY_NAME_CAP], const char *name, const char *sha256)
{
	snprintf(out, COPY_NAME_CAP, "%.*s.%.*s.so", NAME_CAP - 1, name, SHA_SHOWN, sha256);
}

void ob__manifest_drop_copy(const struct ob__manifest *m, const char *name, const json_t *build)
{
	char file[COPY_NAME_CAP];

	ob__manifest_copy_name(file, name, ob__manifest_text(build, "sha256"));
	if (m->good_fd >= 0 && unlinkat(m->good_fd, file, 0) != 0 && errno != ENOENT) {
		ob__warning("manifest", "%s: can't remove %s/good/%s (%s)", name, m->dir, file,
		            strerror(errno));
	}
}

void ob__manifest_drop_orphans(struct ob__manifest *m)
{
	int fd = dup(m->good_fd);
	DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	const struct dirent *e;

	if (d == NULL) {
		if (fd >= 0) {
			close(fd);
		}
		return;
	}
	while ((e = readdir(d)) != NULL) {
		bool known = e->d_name[0] == '.';
		const char *name;
		json_t *module;
		json_object_foreach (m->modules, name, module) {
			size_t i;
			json_t *build;
			json_array_foreach (json_object_get(module, "good"), i, build) {
				char file[COPY_NAME_CAP];
				ob__manifest_copy_name(file, name,
				                       ob__manifest_text(build, "sha256"));
				known = known || strcmp(file, e->d_name) == 0;
			}
		}
		if (!known) {
			unlinkat(m->good_fd, e->d_name, 0);
		}
	}
	closedir(d);
}

static int copy_file(const char *from, int dir, const char *to)
{
	int in = open(from, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	int out = in >= 0 ? openat(dir, to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0500) : -1;
	char *block = malloc(COPY_BLOCK);
	int rc = in < 0 || out < 0 ? -errno : block == NULL ? -ENOMEM : 0;

	while (rc == 0) {
		ssize_t n = read(in, block, COPY_BLOCK);
		if (n < 0 && errno == EINTR) {
			continue;
		}
		rc = n < 0 ? -errno : ob__write_all(out, block, (size_t)n);
		if (n <= 0) {
			break;
		}
	}
	free(block);
	if (out >= 0 && close(out) != 0 && rc == 0) {
		rc = -errno;
	}
	if (in >= 0) {
		close(in);
	}
	return rc;
}

int ob__manifest_keep_copy(const struct ob__manifest *m, const char *staged, const char *file)
{
	int dir = m->good_fd;
	int rc = 0;

	if (dir < 0) {
		return -ENOENT;
	}
	unlinkat(dir, NEW_NAME, 0);
	if (linkat(AT_FDCWD, staged, dir, NEW_NAME, 0) != 0) {
		rc = errno == ENOENT ? -ENOENT : copy_file(staged, dir, NEW_NAME);
	}
	int fd = rc == 0 ? openat(dir, NEW_NAME, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
	if (rc == 0) {
		rc = fd < 0 ? -errno : ob__manifest_sync(fd);
	}
	if (fd >= 0) {
		close(fd);
	}
	if (rc == 0 && renameat(dir, NEW_NAME, dir, file) != 0) {
		rc = -errno;
	}
	/* A file renamed to another name of its own keeps both. */
	unlinkat(dir, NEW_NAME, 0);
	return rc == 0 ? ob__manifest_sync(dir) : rc;
}
