/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "host/node.h"
#include "lib/buf.h"

#define DEFAULT_STATE_DIR "/var/lib/obhost"

static int make_dirs(const char *path, mode_t mode)
{
	char part[PATH_MAX];
	size_t len = strlen(path);

	if (len >= sizeof(part)) {
		return -ENAMETOOLONG;
	}
	for (size_t i = 1; i <= len; i++) {
		if (path[i] != '/' && path[i] != '\0') {
			continue;
		}
		memcpy(part, path, i);
		part[i] = '\0';
		if (mkdir(part, mode) != 0 && errno != EEXIST) {
			return -errno;
		}
	}
	return 0;
}

/* The system's directory, made when root starts the first node; of nodes that start together one
 * makes it, and all are in it. */
static bool have_default_dir(void)
{
	if (access("/var/lib", W_OK) == 0) {
		mkdir(DEFAULT_STATE_DIR, 0755);
	}
	return access(DEFAULT_STATE_DIR, W_OK) == 0;
}

/* The base of all state: the configured one, systemd's, the system's, the user's. */
static int state_base(const struct ob__nodeconf *conf, char *out, size_t cap)
{
	const char *env = getenv("STATE_DIRECTORY");
	const char *cache = getenv("XDG_CACHE_HOME");
	const char *home = getenv("HOME");
	int len;

	if (conf->state_dir != NULL) {
		len = snprintf(out, cap, "%s", conf->state_dir);
	} else if (env != NULL && *env == '/') {
		len = snprintf(out, cap, "%.*s", (int)strcspn(env, ":"), env);
	} else if (have_default_dir()) {
		len = snprintf(out, cap, "%s", DEFAULT_STATE_DIR);
	} else if (cache != NULL && *cache == '/') {
		len = snprintf(out, cap, "%s/obhost", cache);
	} else if (home != NULL && *home == '/') {
		len = snprintf(out, cap, "%s/.cache/obhost", home);
	} else {
		return -ENOENT;
	}
	return len > 0 && (size_t)len < cap ? 0 : -ENAMETOOLONG;
}

/* A file in the directory can be mapped executable (a noexec mount can't). */
static int check_exec(const char *dir)
{
	char path[PATH_MAX];
	int rc = 0;

	snprintf(path, sizeof(path), "%s/.exec-%ld", dir, (long)getpid());
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0700);
	if (fd < 0) {
		return -errno;
	}
	unlink(path);
	if (ftruncate(fd, 4096) != 0) {
		rc = -errno;
	} else {
		void *map = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
		rc = map == MAP_FAILED ? -errno : 0;
		if (map != MAP_FAILED) {
			munmap(map, 4096);
		}
	}
	close(fd);
	return rc;
}

int ob__node_dir(const struct ob__nodeconf *conf, char *out, size_t cap, char *err, size_t err_cap)
{
	char base[PATH_MAX];
	char stage[PATH_MAX];
	int rc = state_base(conf, base, sizeof(base));

	if (rc != 0) {
		snprintf(err, err_cap, "no directory for state: set state_dir in %s", conf->path);
		return rc;
	}
	int len = snprintf(out, cap, "%s/%s", base, conf->name);
	if (len < 0 || (size_t)len + 32 >= cap) {
		snprintf(err, err_cap, "state_dir: %.100s... is too long", base);
		return -ENAMETOOLONG;
	}
	snprintf(stage, sizeof(stage), "%s/stage", out);
	rc = make_dirs(stage, 0755);
	if (rc == 0 && chmod(stage, 0700) != 0) {
		rc = -errno;
	}
	if (rc != 0) {
		snprintf(err, err_cap, "state_dir: can't make %.150s (%s)", stage, strerror(-rc));
		return rc;
	}
	rc = check_exec(stage);
	if (rc != 0) {
		snprintf(err, err_cap,
		         "state_dir: %.120s can't hold modules (%s); is it mounted noexec?", stage,
		         strerror(-rc));
	}
	return rc;
}

void ob__node_clear_stage(const char *dir)
{
	char stage[PATH_MAX];
	const struct dirent *entry;

	snprintf(stage, sizeof(stage), "%s/stage", dir);
	DIR *d = opendir(stage);
	while (d != NULL && (entry = readdir(d)) != NULL) {
		if (entry->d_name[0] != '.') {
			unlinkat(dirfd(d), entry->d_name, 0);
		}
	}
	if (d != NULL) {
		closedir(d);
	}
}

void ob__node_lock_path(const char *dir, char *out, size_t cap)
{
	snprintf(out, cap, "%s/lock", dir);
}

/* The directory of the running program, or "". */
static void program_dir(char *out, size_t cap)
{
	ssize_t n = readlink("/proc/self/exe", out, cap - 1);

	out[n > 0 ? n : 0] = '\0';
	char *slash = strrchr(out, '/');
	if (slash != NULL) {
		*slash = '\0';
	}
}

static int add_dir(char **dirs, size_t *len, const char *path)
{
	dirs[*len] = strdup(path);
	return dirs[(*len)++] != NULL ? 0 : -ENOMEM;
}

static bool is_dir(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

char **ob__node_module_dirs(const struct ob__nodeconf *conf)
{
	static const char *const built[] = {"modules/.libs", "examples/.libs"};
	char **dirs = calloc(conf->module_dirs_len + 5, sizeof(*dirs));
	char program[PATH_MAX];
	char path[PATH_MAX + 32];
	size_t len = 0;
	int rc = 0;

	if (dirs == NULL) {
		return NULL;
	}
	for (size_t i = 0; i < conf->module_dirs_len; i++) {
		rc |= add_dir(dirs, &len, conf->module_dirs[i]);
	}
	/* A program that lies in its build tree uses the modules beside it. */
	program_dir(program, sizeof(program));
	for (size_t i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "%s/%s", program, built[i]);
		if (is_dir(path)) {
			rc |= add_dir(dirs, &len, path);
		}
	}
	rc |= add_dir(dirs, &len, OB_MODULE_DIR);
	rc |= add_dir(dirs, &len, OB_EXAMPLE_DIR);
	if (rc != 0) {
		ob__node_module_dirs_free(dirs);
		return NULL;
	}
	return dirs;
}

void ob__node_module_dirs_free(char **dirs)
{
	for (char **dir = dirs; dir != NULL && *dir != NULL; dir++) {
		free(*dir);
	}
	free(dirs);
}
