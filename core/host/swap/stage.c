/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/swap/stage.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "base/err.h"

#define MODULE_FILE_MAX (256ll << 20)
#define COPY_BLOCK      (1u << 20)

/* Opens the module's file: the path given, or the first NAME.so in the directories. */
static int find_file(struct ob__stage *s, struct ob__load_refusal *r)
{
	if (s->path[0] != '\0') {
		snprintf(s->file, sizeof(s->file), "%s", s->path);
		int fd = open(s->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
		if (fd < 0) {
			ob__refuse(r, "stage", errno == ENOENT ? "not_found" : "unreadable",
			           s->file, strerror(errno), "a readable file",
			           "check the path in the configuration", "%s: %s", s->file,
			           strerror(errno));
		}
		return fd;
	}
	for (const char *const *dir = s->dirs; *dir != NULL; dir++) {
		snprintf(s->file, sizeof(s->file), "%s/%s.so", *dir, s->name);
		int fd = open(s->file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
		if (fd >= 0 || errno != ENOENT) {
			if (fd < 0) {
				ob__refuse(r, "stage", "unreadable", s->file, strerror(errno),
				           "a readable file", "check its permissions", "%s: %s",
				           s->file, strerror(errno));
			}
			return fd;
		}
	}
	snprintf(s->file, sizeof(s->file), "%s.so", s->name);
	ob__refuse(r, "stage", "not_found", s->file, "no such file in any module directory",
	           "a module of that name", "check the name, or add its directory to module_dirs",
	           "module %s: %s is in none of the module directories (first: %s)", s->name,
	           s->file, s->dirs[0] != NULL ? s->dirs[0] : "none configured");
	return -1;
}

static int check_regular(int fd, struct ob__stage *s, struct ob__load_refusal *r)
{
	struct stat st;

	if (fstat(fd, &st) != 0) {
		ob__refuse(r, "stage", "unreadable", s->file, strerror(errno), NULL, NULL, "%s: %s",
		           s->file, strerror(errno));
		return -1;
	}
	if (!S_ISREG(st.st_mode)) {
		ob__refuse(r, "stage", "not_a_file", s->file, "not a regular file",
		           "a regular file", NULL, "%s is not a regular file", s->file);
		return -1;
	}
	if (st.st_size > MODULE_FILE_MAX) {
		ob__refuse(r, "stage", "too_big", s->file, "more than 256 MiB", "at most 256 MiB",
		           NULL, "%s is larger than 256 MiB", s->file);
		return -1;
	}
	return 0;
}

static int write_all(int fd, const uint8_t *data, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, data, len);
		if (n < 0 && errno == EINTR) {
			continue;
		}
		if (n < 0) {
			return -errno;
		}
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

/* Copies from `in` to `out` (-1: only hash) and writes the hex SHA-256. 0 or -errno. */
static int copy_and_hash(int in, int out, char hex[65])
{
	uint8_t *block = malloc(COPY_BLOCK);
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	uint8_t digest[32];
	int rc = -ENOMEM;
	long long total = 0;

	if (block == NULL || md == NULL || EVP_DigestInit_ex(md, EVP_sha256(), NULL) != 1) {
		goto out;
	}
	for (;;) {
		ssize_t n = read(in, block, COPY_BLOCK);
		if (n < 0 && errno == EINTR) {
			continue;
		}
		total += n > 0 ? n : 0;
		rc = n < 0 ? -errno : (total > MODULE_FILE_MAX ? -EFBIG : 0);
		if (n <= 0 || rc != 0) {
			break;
		}
		EVP_DigestUpdate(md, block, (size_t)n);
		rc = out >= 0 ? write_all(out, block, (size_t)n) : 0;
		if (rc != 0) {
			break;
		}
	}
	if (rc == 0) {
		EVP_DigestFinal_ex(md, digest, NULL);
		for (int i = 0; i < 32; i++) {
			snprintf(hex + 2 * i, 3, "%02x", digest[i]);
		}
	}
out:
	EVP_MD_CTX_free(md);
	free(block);
	return rc;
}

static int stage(struct ob__stage *s, int in, struct ob__load_refusal *r)
{
	snprintf(s->staged, sizeof(s->staged), "%s/%s.%u.so", s->stage_dir, s->name, s->number);
	int out = open(s->staged, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0500);
	if (out < 0) {
		ob__refuse(r, "stage", "no_stage", s->staged, strerror(errno),
		           "a writable staging directory", "check state_dir: space and permissions",
		           "can't stage to %s: %s", s->staged, strerror(errno));
		s->staged[0] = '\0';
		return -1;
	}
	int rc = copy_and_hash(in, out, s->sha256);
	close(out);
	if (rc != 0) {
		ob__refuse(r, "stage", "no_stage", s->staged, ob__strerror(rc), NULL,
		           "check the space in state_dir", "can't copy %s to %s: %s", s->file,
		           s->staged, ob__strerror(rc));
		return -1;
	}
	if (s->want_sha[0] != '\0' && strcmp(s->want_sha, s->sha256) != 0) {
		ob__refuse(r, "stage", "sha256", s->file, s->sha256, s->want_sha,
		           "install the file that was meant, or leave sha256 out",
		           "%s is not the file that was asked for", s->file);
		return -1;
	}
	return 0;
}

/* Hashes the file in place; true when it is the one that runs already. */
static bool is_known(struct ob__stage *s, int fd)
{
	if (s->known_sha[0] == '\0' || copy_and_hash(fd, -1, s->sha256) != 0) {
		return false;
	}
	return strcmp(s->known_sha, s->sha256) == 0 && s->want_sha[0] == '\0';
}

int ob__stage_run(struct ob__stage *s, struct ob__load_refusal *r)
{
	int fd = find_file(s, r);
	int rc = -1;

	if (fd < 0) {
		return -1;
	}
	if (check_regular(fd, s, r) != 0) {
		goto out;
	}
	if (is_known(s, fd)) {
		s->unchanged = true;
		rc = 0;
		goto out;
	}
	lseek(fd, 0, SEEK_SET);
	rc = stage(s, fd, r);
	if (rc != 0 && s->staged[0] != '\0') {
		unlink(s->staged);
		s->staged[0] = '\0';
	}
out:
	close(fd);
	return rc;
}
