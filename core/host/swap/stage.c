/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/swap/stage.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "lib/io.h"

#define MODULE_FILE_MAX (256ll << 20)
#define COPY_BLOCK      (1u << 20)
#define DEPTH_MAX       256 /* directories above a file */

/* openat2(2) is younger than many C libraries: its number is the same on all machines but alpha,
 * and its argument is three words. */
#if !defined(SYS_openat2) && !defined(__alpha__)
#define SYS_openat2 437
#endif
#define NO_MAGIC_LINKS 0x02
#define NO_LINKS       0x04
#define BENEATH        0x08

struct how {
	uint64_t flags;
	uint64_t mode;
	uint64_t resolve;
};

/* A file as it was found: its directory, opened, and its name in it. */
struct found {
	int dir;
	const char *name;
	char dir_path[PATH_MAX];
};

/* ---------------------------------------------------------------- refusals */

static int refuse(struct ob__stage *s, struct ob__load_refusal *r, const char *code,
                  const char *found, const char *expected, const char *remedy)
{
	ob__refuse(r, "stage", code, s->file, found, expected, remedy, "%s: %s, expected %s",
	           s->file, found, expected);
	return -1;
}

static const char *remedy_for(int err)
{
	switch (err) {
	case EACCES:
	case EPERM:
		return "let the node's user read it: check its mode and those of the directories "
		       "above";
	case EMFILE:
	case ENFILE:
		return "raise the limit of open files (LimitNOFILE, ulimit -n)";
	case ENOENT:
		return "restart the node: it makes its directories when it starts";
	case ENOSPC:
	case EDQUOT:
		return "make room in state_dir";
	case EFBIG:
		return "raise the limit of a file's size (LimitFSIZE, ulimit -f)";
	case ENAMETOOLONG:
		return "set a shorter state_dir or module directory";
	case EROFS:
		return "put state_dir on a file system that can be written";
	default:
		return "check the file system and the system's log";
	}
}

static int refuse_errno(struct ob__stage *s, struct ob__load_refusal *r, int err)
{
	if (err == ENOENT) {
		return refuse(s, r, "not_found", strerror(err), "a readable file",
		              "check the path in the configuration");
	}
	return refuse(s, r, "unreadable", strerror(err), "a readable file", remedy_for(err));
}

/* ---------------------------------------------------------------- owners and modes */

/* Whose program this is: he could as well change the host itself. */
static struct stat program(void)
{
	struct stat st;

	if (stat("/proc/self/exe", &st) != 0) {
		st = (struct stat){.st_uid = geteuid(), .st_gid = getegid()};
	}
	return st;
}

/* Trusted is what nobody can change but root, this process's user and the owner of the program that
 * runs (root may run a tree that another user has built): what they own and others may not write,
 * and a group only if it is this process's or the program's own. */
static int check_trust(const struct stat *st, const char *path, bool dir,
                       struct ob__load_refusal *r)
{
	const char *what = dir ? "directory" : "file";
	uid_t me = geteuid();
	struct stat exe = program();
	bool own_group = st->st_gid == getegid() || st->st_gid == exe.st_gid;
	mode_t loose = S_IWOTH | (own_group ? 0u : S_IWGRP);
	char found[64];
	char expected[96];
	char remedy[128];

	if (st->st_uid != 0 && st->st_uid != me && st->st_uid != exe.st_uid) {
		snprintf(found, sizeof(found), "owner %lu", (unsigned long)st->st_uid);
		snprintf(expected, sizeof(expected),
		         me != 0 ? "owner 0 (root) or %lu" : "owner %lu (root)", (unsigned long)me);
		snprintf(remedy, sizeof(remedy), "chown it to root, or run the node as its owner");
		ob__refuse(r, "stage", "owner", path, found, expected, remedy,
		           "the %s %s has %s, expected %s", what, path, found, expected);
		return -1;
	}
	if ((st->st_mode & loose) == 0 ||
	    (dir && (st->st_mode & S_ISVTX) != 0 && st->st_uid == 0)) {
		return 0;
	}
	bool others = (st->st_mode & S_IWOTH) != 0;
	if (others) {
		snprintf(found, sizeof(found), "mode %04o",
		         (unsigned)(st->st_mode & ~(mode_t)S_IFMT));
	} else {
		snprintf(found, sizeof(found), "mode %04o, group %lu",
		         (unsigned)(st->st_mode & ~(mode_t)S_IFMT), (unsigned long)st->st_gid);
	}
	snprintf(expected, sizeof(expected), "a %s that %s can't write", what,
	         others ? "others" : "its group");
	snprintf(remedy, sizeof(remedy), "chmod %s it", others ? "o-w" : "g-w");
	ob__refuse(r, "stage", "writable", path, found, expected, remedy,
	           "the %s %s has %s, expected %s", what, path, found, expected);
	return -1;
}

/* One directory up in the text of a path. */
static void to_parent(char *path)
{
	char *slash = strrchr(path, '/');

	if (slash == NULL || slash == path) {
		snprintf(path, 2, "/");
	} else {
		*slash = '\0';
	}
}

/* The program that runs lies below this directory: whoever can change it could as well change the
 * host itself. */
static bool leads_to_program(const struct stat *dir)
{
	char path[PATH_MAX];
	ssize_t len = readlink("/proc/self/exe", path, sizeof(path) - 1);
	struct stat st;

	path[len > 0 ? len : 0] = '\0';
	while (path[0] == '/' && path[1] != '\0') {
		to_parent(path);
		if (stat(path, &st) == 0 && st.st_dev == dir->st_dev && st.st_ino == dir->st_ino) {
			return true;
		}
	}
	return false;
}

/* The directories from `dir` up to the root, by descriptor, so that what is looked at is what leads
 * to the file; the names are only for the texts. */
static int check_dirs(struct ob__stage *s, const struct found *f, struct ob__load_refusal *r)
{
	char path[PATH_MAX];
	struct stat st;
	struct stat up_st;
	int rc = 0;

	if (realpath(f->dir_path, path) == NULL) {
		snprintf(path, sizeof(path), "%s", f->dir_path);
	}
	int dir = fcntl(f->dir, F_DUPFD_CLOEXEC, 0);
	if (dir < 0 || fstat(dir, &st) != 0) {
		rc = refuse_errno(s, r, errno);
	}
	for (int depth = 0; rc == 0; depth++) {
		rc = leads_to_program(&st) ? 0 : check_trust(&st, path, true, r);
		if (rc != 0) {
			break;
		}
		int up = openat(dir, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (up < 0 || fstat(up, &up_st) != 0 || depth == DEPTH_MAX) {
			rc = refuse_errno(s, r, up < 0 ? errno : ELOOP);
		}
		close(dir);
		dir = up;
		if (rc != 0 || (up_st.st_dev == st.st_dev && up_st.st_ino == st.st_ino)) {
			break;
		}
		st = up_st;
		to_parent(path);
	}
	if (dir >= 0) {
		close(dir);
	}
	return rc;
}

/* ---------------------------------------------------------------- finding and opening */

static int open_dir(const char *path)
{
	return open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

/* The file given by its path: its directory may be reached through links, it may not. */
static int find_given(struct ob__stage *s, struct found *f, struct ob__load_refusal *r)
{
	const char *slash = strrchr(s->path, '/');

	snprintf(s->file, sizeof(s->file), "%s", s->path);
	f->name = slash != NULL ? slash + 1 : s->path;
	if (strlen(s->path) >= sizeof(s->file)) {
		return refuse_errno(s, r, ENAMETOOLONG);
	}
	if (slash == NULL) {
		snprintf(f->dir_path, sizeof(f->dir_path), ".");
	} else {
		snprintf(f->dir_path, sizeof(f->dir_path), "%.*s",
		         slash == s->path ? 1 : (int)(slash - s->path), s->path);
	}
	f->dir = open_dir(f->dir_path);
	return f->dir < 0 ? refuse_errno(s, r, errno) : 0;
}

/* The first NAME.so in the directories, links and odd files included: those are refused later. */
static int find_named(struct ob__stage *s, struct found *f, char *name, size_t cap,
                      struct ob__load_refusal *r)
{
	struct stat st;

	snprintf(name, cap, "%s.so", s->name);
	f->name = name;
	for (const char *const *dir = s->dirs; *dir != NULL; dir++) {
		int len = snprintf(s->file, sizeof(s->file), "%s/%s", *dir, name);
		if (len < 0 || (size_t)len >= sizeof(s->file)) {
			return refuse_errno(s, r, ENAMETOOLONG);
		}
		snprintf(f->dir_path, sizeof(f->dir_path), "%s", *dir);
		f->dir = open_dir(*dir);
		if (f->dir >= 0 && fstatat(f->dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
			return 0;
		}
		if (errno != ENOENT) {
			return refuse_errno(s, r, errno);
		}
		if (f->dir >= 0) {
			close(f->dir);
			f->dir = -1;
		}
	}
	snprintf(s->file, sizeof(s->file), "%s", name);
	ob__refuse(r, "stage", "not_found", s->file, "no such file in any module directory",
	           "a module of that name", "check the name, or add its directory to module_dirs",
	           "module %s: %s is in none of the module directories (first: %s)", s->name,
	           s->file, s->dirs[0] != NULL ? s->dirs[0] : "none configured");
	return -1;
}

static int refuse_link(struct ob__stage *s, const struct found *f, struct ob__load_refusal *r)
{
	char target[100];
	char found[160];
	ssize_t n = readlinkat(f->dir, f->name, target, sizeof(target));

	snprintf(found, sizeof(found), "a symbolic link to %.*s", n > 0 ? (int)n : 0, target);
	return refuse(s, r, "symlink", found, "the file itself",
	              "install the file in place of the link (a directory may be a link)");
}

/* Opens the last component, which must be one: without following a link, without waiting. */
static int open_beneath(int dir, const char *name)
{
	int flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW | O_NOCTTY;

	if (name[0] == '\0' || strchr(name, '/') != NULL) {
		errno = ENOENT;
		return -1;
	}
#ifdef SYS_openat2
	struct how how = {(uint64_t)flags, 0, BENEATH | NO_LINKS | NO_MAGIC_LINKS};
	long fd = syscall(SYS_openat2, dir, name, &how, sizeof(how));
	if (fd >= 0 || (errno != ENOSYS && errno != EPERM)) {
		return (int)fd;
	}
#endif
	return openat(dir, name, flags);
}

/* What is no regular file is not even opened: to open a device may already do something. */
static int open_file(struct ob__stage *s, const struct found *f, struct stat *st,
                     struct ob__load_refusal *r)
{
	if (f->name[0] == '\0' || strchr(f->name, '/') != NULL) {
		return refuse(s, r, "not_found", "no file name", "the path of a file",
		              "check the module's name and path in the configuration");
	}
	if (fstatat(f->dir, f->name, st, AT_SYMLINK_NOFOLLOW) != 0) {
		return refuse_errno(s, r, errno);
	}
	if (S_ISLNK(st->st_mode)) {
		return refuse_link(s, f, r);
	}
	int fd = S_ISREG(st->st_mode) ? open_beneath(f->dir, f->name) : -1;
	if (fd < 0 && S_ISREG(st->st_mode)) {
		return errno == ELOOP ? refuse_link(s, f, r) : refuse_errno(s, r, errno);
	}
	if (fd < 0 || fstat(fd, st) != 0 || !S_ISREG(st->st_mode)) {
		if (fd >= 0) {
			close(fd);
		}
		return refuse(s, r, "not_a_file",
		              S_ISDIR(st->st_mode) ? "a directory, not a regular file"
		                                   : "not a regular file",
		              "a regular file", "install the module there");
	}
	return fd;
}

static int check_file(struct ob__stage *s, const struct found *f, const struct stat *st,
                      struct ob__load_refusal *r)
{
	char found[64];

	if (check_trust(st, s->file, false, r) != 0 || check_dirs(s, f, r) != 0) {
		return -1;
	}
	if (st->st_size == 0) {
		return refuse(s, r, "empty", "an empty file", "a module", "install it again");
	}
	if (st->st_size > MODULE_FILE_MAX) {
		snprintf(found, sizeof(found), "%lld bytes", (long long)st->st_size);
		return refuse(s, r, "too_big", found, "at most 256 MiB",
		              "strip it, or check whether it is the right file");
	}
	s->size = (uint64_t)st->st_size;
	s->mtime_ns = (uint64_t)st->st_mtim.tv_sec * 1000000000u + (uint64_t)st->st_mtim.tv_nsec;
	s->inode = st->st_ino;
	return 0;
}

/* Finds, opens and checks: a descriptor, or -1. */
static int open_module(struct ob__stage *s, struct ob__load_refusal *r)
{
	struct found f = {.dir = -1};
	char name[NAME_MAX + 1];
	struct stat st;
	int fd = -1;
	int rc = s->path[0] != '\0' ? find_given(s, &f, r)
	                            : find_named(s, &f, name, sizeof(name), r);

	if (rc == 0) {
		fd = open_file(s, &f, &st, r);
	}
	if (fd >= 0 && check_file(s, &f, &st, r) != 0) {
		close(fd);
		fd = -1;
	}
	if (f.dir >= 0) {
		close(f.dir);
	}
	return fd;
}

int ob__stage_open(const char *path, struct ob__load_refusal *r)
{
	struct ob__stage s = {.path = path};

	return open_module(&s, r);
}

/* ---------------------------------------------------------------- the copy */

struct copy {
	int in;
	int out; /* -1: only hash */
	uint64_t len;
	bool read_failed; /* else it was the writing */
};

/* Copies block by block into the digest and the file. 0 or -errno. */
static int copy_blocks(struct copy *c, EVP_MD_CTX *md, uint8_t *block)
{
	for (;;) {
		ssize_t n = read(c->in, block, COPY_BLOCK);
		if (n < 0 && errno == EINTR) {
			continue;
		}
		if (n <= 0) {
			c->read_failed = n < 0;
			return n < 0 ? -errno : 0;
		}
		c->len += (uint64_t)n;
		if (c->len > MODULE_FILE_MAX) {
			return -E2BIG;
		}
		if (EVP_DigestUpdate(md, block, (size_t)n) != 1) {
			return -ENOMEM;
		}
		int rc = c->out >= 0 ? ob__write_all(c->out, block, (size_t)n) : 0;
		if (rc != 0) {
			return rc;
		}
	}
}

/* Copies and writes the hex SHA-256 of what was copied. 0 or -errno. */
static int copy_and_hash(struct copy *c, char hex[65])
{
	uint8_t *block = malloc(COPY_BLOCK);
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	uint8_t digest[32];
	int rc = -ENOMEM;

	if (block != NULL && md != NULL && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1) {
		rc = copy_blocks(c, md, block);
	}
	if (rc == 0 && EVP_DigestFinal_ex(md, digest, NULL) != 1) {
		rc = -ENOMEM;
	}
	for (int i = 0; rc == 0 && i < 32; i++) {
		snprintf(hex + 2 * i, 3, "%02x", digest[i]);
	}
	EVP_MD_CTX_free(md);
	free(block);
	return rc;
}

static int refuse_copy(struct ob__stage *s, struct ob__load_refusal *r, const struct copy *c,
                       int rc)
{
	if (rc == -E2BIG) {
		return refuse(s, r, "too_big", "more than 256 MiB", "at most 256 MiB",
		              "check whether it is the right file");
	}
	if (c->read_failed) {
		return refuse_errno(s, r, -rc);
	}
	ob__refuse(r, "stage", "no_stage", s->staged, strerror(-rc),
	           "room for a copy of the module", remedy_for(-rc), "can't copy %s to %s: %s",
	           s->file, s->staged, strerror(-rc));
	return -1;
}

static int refuse_sha(struct ob__stage *s, struct ob__load_refusal *r)
{
	ob__refuse(r, "stage", "sha256", s->file, s->sha256, s->want_sha,
	           "install the file that was meant, or leave sha256 out",
	           "%s is not the file that was asked for", s->file);
	return -1;
}

/* Where nothing can be mapped executable, ld.so would only say that an operation is not permitted.
 */
static int check_exec(struct ob__stage *s, int fd, struct ob__load_refusal *r)
{
	struct statvfs vfs;

	if (fstatvfs(fd, &vfs) != 0 || (vfs.f_flag & ST_NOEXEC) == 0) {
		return 0;
	}
	ob__refuse(r, "stage", "no_stage", s->staged, "a file system mounted noexec",
	           "one that code can be mapped from",
	           "set state_dir to another place, or remount it",
	           "%s: %s is on a file system mounted noexec", s->file, s->staged);
	return -1;
}

/* Whoever can write there exchanges the copy between the hash and the mapping. */
static int check_stage(struct ob__stage *s, struct ob__load_refusal *r)
{
	struct stat st;

	if (lstat(s->stage_dir, &st) != 0) {
		return 0; /* what is wrong with it shows when it is used */
	}
	return check_trust(&st, s->stage_dir, true, r);
}

/* Makes the copy; what was made goes again if it fails. */
static int stage(struct ob__stage *s, int in, struct ob__load_refusal *r)
{
	struct copy c = {.in = in};
	int len = snprintf(s->staged, sizeof(s->staged), "%s/%s.%u.so", s->stage_dir, s->name,
	                   s->number);
	bool fits = len > 0 && (size_t)len < sizeof(s->staged);

	c.out = fits ? open(s->staged, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0500)
	             : -1;
	if (c.out < 0) {
		int err = fits ? errno : ENAMETOOLONG;
		ob__refuse(r, "stage", "no_stage", s->staged, strerror(err),
		           "a writable staging directory", remedy_for(err), "can't stage to %s: %s",
		           s->staged, strerror(err));
		s->staged[0] = '\0';
		return -1;
	}
	int rc = check_exec(s, c.out, r);
	if (rc == 0) {
		int copied = copy_and_hash(&c, s->sha256);
		rc = copied != 0 ? refuse_copy(s, r, &c, copied) : 0;
	}
	if (close(c.out) != 0 && rc == 0) {
		rc = refuse_copy(s, r, &c, -errno);
	}
	if (rc == 0 && s->want_sha[0] != '\0' && strcasecmp(s->want_sha, s->sha256) != 0) {
		rc = refuse_sha(s, r);
	}
	s->size = c.len;
	if (rc != 0) {
		unlink(s->staged);
		s->staged[0] = '\0';
	}
	return rc;
}

/* Hashes the file in place; true when it is the one that runs already, and the one that is wanted.
 */
static bool is_known(struct ob__stage *s, int fd)
{
	struct copy c = {.in = fd, .out = -1};

	if (s->known_sha[0] == '\0' || copy_and_hash(&c, s->sha256) != 0) {
		return false;
	}
	return strcasecmp(s->known_sha, s->sha256) == 0 &&
	       (s->want_sha[0] == '\0' || strcasecmp(s->want_sha, s->sha256) == 0);
}

int ob__stage_run(struct ob__stage *s, struct ob__load_refusal *r)
{
	int fd = open_module(s, r);
	int rc = 0;

	s->staged[0] = '\0';
	s->unchanged = false;
	if (fd < 0) {
		return -1;
	}
	if (is_known(s, fd)) {
		s->unchanged = true;
	} else if (lseek(fd, 0, SEEK_SET) != 0) {
		rc = refuse_errno(s, r, errno);
	} else {
		rc = check_stage(s, r);
		rc = rc == 0 ? stage(s, fd, r) : rc;
	}
	close(fd);
	return rc;
}
