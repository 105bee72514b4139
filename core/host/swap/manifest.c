/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/swap/manifest.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "lib/io.h"

#define FORMAT         1 /* of the file */
#define FILE_NAME      "modules.json"
#define NEW_NAME       "modules.json.new"
#define DAMAGED_NAME   "modules.json.damaged"
#define COPY_NAME      "new" /* in DIR/good, while a copy is made */
#define FILE_MAX       (1u << 20)
#define MODULES_MAX    256
#define QUARANTINE_MAX 32 /* builds per module */
#define NAME_CAP       64
#define SHA_LEN        64
#define SHA_SHOWN      16 /* of it in the names of copies */
#define VERSION_MAX    64
#define COPY_BLOCK     65536
#define MARK_MAX       64
#define COPY_NAME_CAP  (NAME_CAP + SHA_SHOWN + 8)

struct ob__manifest {
	char *dir;
	int fd;      /* DIR, -1: it can't be opened */
	int good_fd; /* DIR/good */
	json_t *modules;
	json_t *trial; /* {"since", "builds": [...]} or NULL */
};

/* ---------------------------------------------------------------- small things */

static void now_text(char out[24])
{
	time_t now = time(NULL);
	struct tm tm;

	gmtime_r(&now, &tm);
	snprintf(out, 24, "%04u-%02u-%02uT%02u:%02u:%02uZ", (unsigned)(tm.tm_year + 1900) % 10000u,
	         (unsigned)(tm.tm_mon + 1) % 100u, (unsigned)tm.tm_mday % 100u,
	         (unsigned)tm.tm_hour % 100u, (unsigned)tm.tm_min % 100u,
	         (unsigned)tm.tm_sec % 100u);
}

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text != NULL ? text : "";
}

/* It becomes part of a file's name. */
static bool valid_name(const char *name)
{
	size_t len = 0;

	while (name[len] > ' ' && name[len] < 0x7f && name[len] != '/') {
		len++;
	}
	return name[len] == '\0' && len > 0 && len < NAME_CAP && name[0] != '.';
}

static bool valid_sha(const char *sha)
{
	return strlen(sha) == SHA_LEN && strspn(sha, "0123456789abcdef") == SHA_LEN;
}

static bool valid_build(const json_t *build)
{
	return json_is_object(build) && valid_sha(text_of(build, "sha256"));
}

static bool valid_builds(const json_t *builds)
{
	size_t i;
	json_t *build;

	if (!json_is_array(builds)) {
		return false;
	}
	json_array_foreach (builds, i, build) {
		if (!valid_build(build)) {
			return false;
		}
	}
	return true;
}

static json_t *new_build(const char *sha256, const char *version)
{
	char since[24];
	size_t len = version != NULL ? strnlen(version, VERSION_MAX) : 0;

	bool cut = len == VERSION_MAX;
	while (cut && len > 0 && ((unsigned char)version[len] & 0xc0) == 0x80) {
		len--; /* not within a character */
	}
	json_t *text = json_stringn(version != NULL ? version : "", len);
	now_text(since);
	if (text == NULL) {
		text = json_string("?"); /* not UTF-8 */
	}
	return json_pack("{s:s, s:o, s:s}", "sha256", sha256, "version", text, "since", since);
}

static size_t find_build(const json_t *builds, const char *sha256)
{
	size_t i;
	json_t *build;

	json_array_foreach (builds, i, build) {
		if (strcmp(text_of(build, "sha256"), sha256) == 0) {
			return i;
		}
	}
	return SIZE_MAX;
}

static json_t *list_of(const struct ob__manifest *m, const char *name, const char *list)
{
	return json_object_get(json_object_get(m->modules, name), list);
}

static void copy_name(char out[COPY_NAME_CAP], const char *name, const char *sha256)
{
	snprintf(out, COPY_NAME_CAP, "%.*s.%.*s.so", NAME_CAP - 1, name, SHA_SHOWN, sha256);
}

static void remove_copy(const struct ob__manifest *m, const char *name, const json_t *build)
{
	char file[COPY_NAME_CAP];

	copy_name(file, name, text_of(build, "sha256"));
	if (m->good_fd >= 0 && unlinkat(m->good_fd, file, 0) != 0 && errno != ENOENT) {
		ob__warning("manifest", "%s: can't remove %s/good/%s (%s)", name, m->dir, file,
		            strerror(errno));
	}
}

/* ---------------------------------------------------------------- reading */

/* The whole file, terminated; NULL with errno, EFBIG beyond `max`. */
static char *read_file(int dir, const char *name, size_t max, size_t *len)
{
	int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	char *data = fd >= 0 ? malloc(max + 2) : NULL;
	ssize_t n = 0;

	*len = 0;
	while (data != NULL && *len <= max) {
		n = read(fd, data + *len, max + 1 - *len);
		if (n == 0 || (n < 0 && errno != EINTR)) {
			break;
		}
		*len += n > 0 ? (size_t)n : 0;
	}
	int err = data == NULL ? errno : n < 0 ? errno : *len > max ? EFBIG : 0;
	if (fd >= 0) {
		close(fd);
	}
	if (err != 0) {
		free(data);
		errno = err;
		return NULL;
	}
	data[*len] = '\0';
	return data;
}

static bool valid_module(const char *name, json_t *module)
{
	json_t *good = json_object_get(module, "good");
	json_t *quarantine = json_object_get(module, "quarantine");

	return valid_name(name) && valid_builds(good) && valid_builds(quarantine) &&
	       json_array_size(good) <= OB__MANIFEST_GOOD &&
	       json_array_size(quarantine) <= QUARANTINE_MAX;
}

static bool valid_trial(const json_t *trial)
{
	json_t *builds = json_object_get(trial, "builds");
	size_t i;
	json_t *build;

	if (!valid_builds(builds) || json_array_size(builds) > MODULES_MAX) {
		return false;
	}
	json_array_foreach (builds, i, build) {
		if (!valid_name(text_of(build, "name"))) {
			return false;
		}
	}
	return true;
}

/* NULL, or what is wrong with it. */
static const char *take(struct ob__manifest *m, json_t *root)
{
	json_t *modules = json_object_get(root, "modules");
	json_t *trial = json_object_get(root, "trial");
	const char *name;
	json_t *module;

	if (json_integer_value(json_object_get(root, "format")) != FORMAT) {
		return "of another format";
	}
	if (!json_is_object(modules) || json_object_size(modules) > MODULES_MAX) {
		return "without a list of modules, or with too long a one";
	}
	json_object_foreach (modules, name, module) {
		if (!valid_module(name, module)) {
			return "with an entry that makes no sense";
		}
	}
	if (trial != NULL && !valid_trial(trial)) {
		return "with a trial that makes no sense";
	}
	json_decref(m->modules);
	m->modules = json_incref(modules);
	m->trial = json_incref(trial);
	return NULL;
}

/* True: what was there is known now. */
static bool read_manifest(struct ob__manifest *m)
{
	const char *why = NULL;
	json_error_t error;
	size_t len;
	char *data = read_file(m->fd, FILE_NAME, FILE_MAX, &len);

	if (data == NULL && errno == ENOENT) {
		return true;
	}
	if (data == NULL) {
		why = errno == EFBIG ? "too long" : strerror(errno);
	} else {
		json_t *root = json_loadb(data, len, JSON_REJECT_DUPLICATES, &error);
		why = root == NULL ? error.text : take(m, root);
		json_decref(root);
		free(data);
	}
	if (why == NULL) {
		return true;
	}
	bool kept = renameat(m->fd, FILE_NAME, m->fd, DAMAGED_NAME) == 0;
	ob__warning("manifest",
	            "%s/" FILE_NAME " is damaged (%s)%s; last good builds and quarantine are "
	            "forgotten",
	            m->dir, why, kept ? " and set aside as " DAMAGED_NAME : "");
	return false;
}

/* ---------------------------------------------------------------- writing */

/* The longest quarantine gives up its oldest build; false: there is none. */
static bool shed(struct ob__manifest *m)
{
	json_t *longest = NULL;
	const char *name;
	json_t *module;

	json_object_foreach (m->modules, name, module) {
		json_t *list = json_object_get(module, "quarantine");
		if (json_array_size(list) > json_array_size(longest)) {
			longest = list;
		}
	}
	return longest != NULL && json_array_remove(longest, 0) == 0;
}

static char *dump(struct ob__manifest *m, size_t *len)
{
	for (;;) {
		json_t *root = json_pack("{s:i, s:O, s:O*}", "format", FORMAT, "modules",
		                         m->modules, "trial", m->trial);
		char *text = root != NULL ? json_dumps(root, JSON_INDENT(1)) : NULL;
		json_decref(root);
		*len = text != NULL ? strlen(text) : 0;
		if (text == NULL || *len <= FILE_MAX || !shed(m)) {
			return text;
		}
		free(text);
	}
}

static int sync_fd(int fd)
{
	return fsync(fd) == 0 ? 0 : -errno;
}

/* Writes the file anew; what is there is the old one or the new one, whole, whatever happens. */
static int save(struct ob__manifest *m)
{
	size_t len;
	char *text = dump(m, &len);

	if (text == NULL) {
		return -ENOMEM;
	}
	int fd = openat(m->fd, NEW_NAME, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW,
	                0600);
	int rc = fd < 0 ? -errno : ob__write_all(fd, text, len);
	if (rc == 0) {
		rc = sync_fd(fd);
	}
	if (fd >= 0 && close(fd) != 0 && rc == 0) {
		rc = -errno;
	}
	if (rc == 0 && renameat(m->fd, NEW_NAME, m->fd, FILE_NAME) != 0) {
		rc = -errno;
	}
	if (rc == 0) {
		rc = sync_fd(m->fd);
	} else {
		unlinkat(m->fd, NEW_NAME, 0);
		ob__error("manifest", "can't write %s/" FILE_NAME " (%s)", m->dir,
		          ob__strerror(rc));
	}
	free(text);
	return rc;
}

/* ---------------------------------------------------------------- modules */

static void forget_module(struct ob__manifest *m, const char *name)
{
	size_t i;
	json_t *build;

	json_array_foreach (list_of(m, name, "good"), i, build) {
		remove_copy(m, name, build);
	}
	json_object_del(m->modules, name);
}

/* Room for one more: the one whose last good build is the oldest goes, one without a quarantine if
 * there is any. */
static void make_room(struct ob__manifest *m)
{
	char oldest[NAME_CAP] = "";
	char oldest_since[24] = "";
	bool oldest_quarantined = false;
	const char *name;
	json_t *module;

	json_object_foreach (m->modules, name, module) {
		const char *since =
			text_of(json_array_get(json_object_get(module, "good"), 0), "since");
		bool quarantined = json_array_size(json_object_get(module, "quarantine")) > 0;
		if (oldest[0] == '\0' || quarantined < oldest_quarantined ||
		    (quarantined == oldest_quarantined && strcmp(since, oldest_since) < 0)) {
			snprintf(oldest, sizeof(oldest), "%s", name);
			snprintf(oldest_since, sizeof(oldest_since), "%s", since);
			oldest_quarantined = quarantined;
		}
	}
	if (oldest[0] != '\0') {
		forget_module(m, oldest);
	}
}

/* The module's entry, made if need be; NULL: out of memory. */
static json_t *module_of(struct ob__manifest *m, const char *name)
{
	json_t *module = json_object_get(m->modules, name);

	if (module != NULL) {
		return module;
	}
	while (json_object_size(m->modules) >= MODULES_MAX) {
		make_room(m);
	}
	module = json_pack("{s:[], s:[]}", "good", "quarantine");
	return json_object_set_new(m->modules, name, module) == 0 ? module : NULL;
}

/* ---------------------------------------------------------------- what the last run left */

/* Moves a build that was on trial to its module's quarantine. */
static int quarantine(struct ob__manifest *m, const json_t *tried, const char *why)
{
	const char *sha256 = text_of(tried, "sha256");
	json_t *module = module_of(m, text_of(tried, "name"));
	json_t *list = json_object_get(module, "quarantine");
	json_t *build = new_build(sha256, text_of(tried, "version"));
	size_t at = find_build(list, sha256);

	if (list == NULL || json_object_set_new(build, "why", json_string(why)) != 0) {
		json_decref(build);
		return -ENOMEM;
	}
	if (at != SIZE_MAX) {
		json_array_remove(list, at);
	}
	while (json_array_size(list) >= QUARANTINE_MAX) {
		json_array_remove(list, 0);
	}
	return json_array_append_new(list, build) == 0 ? 0 : -ENOMEM;
}

/* "rank 1.2.0 (0123456789abcdef), ..." for a log line. */
static void list_trial(const struct ob__manifest *m, char *out, size_t cap)
{
	size_t i;
	size_t len = 0;
	json_t *build;

	out[0] = '\0';
	json_array_foreach (json_object_get(m->trial, "builds"), i, build) {
		int n = snprintf(out + len, cap - len, "%s%s %s (%.*s)", i > 0 ? ", " : "",
		                 text_of(build, "name"), text_of(build, "version"), SHA_SHOWN,
		                 text_of(build, "sha256"));
		len += n > 0 ? (size_t)n : 0;
		if (len >= cap) {
			break;
		}
	}
}

/* The mark of a crash as a sentence's part, "" if there is none. */
static void read_mark(const struct ob__manifest *m, char out[MARK_MAX])
{
	static const struct {
		int number;
		const char *name;
	} names[] = {{SIGSEGV, "SEGV"}, {SIGBUS, "BUS"}, {SIGFPE, "FPE"},  {SIGILL, "ILL"},
	             {SIGABRT, "ABRT"}, {SIGSYS, "SYS"}, {SIGTRAP, "TRAP"}};
	size_t len;
	char *data = read_file(m->fd, "crashed", MARK_MAX, &len);

	out[0] = '\0';
	if (data == NULL || len == 0) {
		free(data);
		return;
	}
	int number = strncmp(data, "signal ", 7) == 0 ? atoi(data + 7) : 0;
	snprintf(out, MARK_MAX, number > 0 ? "by signal %d" : "by an exit nobody asked for",
	         number);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (names[i].number == number) {
			snprintf(out, MARK_MAX, "by signal %d (%s)", number, names[i].name);
		}
	}
	free(data);
}

static void look_back(struct ob__manifest *m)
{
	char mark[MARK_MAX];
	char builds[512];
	char why[MARK_MAX + 100];
	size_t i;
	json_t *build;

	read_mark(m, mark);
	list_trial(m, builds, sizeof(builds));
	if (m->trial != NULL && mark[0] != '\0') {
		snprintf(why, sizeof(why), "the node ended %s while it was on trial, since %.24s",
		         mark, text_of(m->trial, "since"));
		json_array_foreach (json_object_get(m->trial, "builds"), i, build) {
			if (quarantine(m, build, why) != 0) {
				ob__error("manifest", "out of memory: a build is not quarantined");
			}
		}
		ob__error("manifest",
		          "the node ended %s while these were on trial: %s; they are quarantined "
		          "until they are asked for with \"force\"",
		          mark, builds);
	} else if (m->trial != NULL) {
		ob__notice("manifest",
		           "the node was ended from outside while these were on "
		           "trial: %s; they are not quarantined",
		           builds);
	} else if (mark[0] != '\0') {
		ob__warning("manifest", "the node ended %s; no build was on trial", mark);
	}
	if (m->trial != NULL) {
		json_decref(m->trial);
		m->trial = NULL;
		save(m);
	}
	unlinkat(m->fd, "crashed", 0);
}

/* Copies that no entry names, from a run that ended between the one and the other. */
static void remove_orphans(struct ob__manifest *m)
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
				copy_name(file, name, text_of(build, "sha256"));
				known = known || strcmp(file, e->d_name) == 0;
			}
		}
		if (!known) {
			unlinkat(m->good_fd, e->d_name, 0);
		}
	}
	closedir(d);
}

struct ob__manifest *ob__manifest_open(const char *dir)
{
	struct ob__manifest *m = calloc(1, sizeof(*m));

	if (m == NULL) {
		return NULL;
	}
	m->fd = m->good_fd = -1;
	m->dir = strdup(dir);
	m->modules = json_object();
	if (m->dir == NULL || m->modules == NULL) {
		ob__manifest_close(m);
		return NULL;
	}
	m->fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (m->fd >= 0 && (mkdirat(m->fd, "good", 0700) == 0 || errno == EEXIST)) {
		m->good_fd = openat(m->fd, "good", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	}
	if (m->good_fd < 0) {
		ob__error("manifest", "can't use %s/good (%s): no last good builds are kept", dir,
		          strerror(errno));
	}
	if (m->fd >= 0) {
		bool whole = read_manifest(m);
		look_back(m);
		if (whole && m->good_fd >= 0) {
			remove_orphans(m);
		}
	}
	return m;
}

void ob__manifest_close(struct ob__manifest *m)
{
	if (m == NULL) {
		return;
	}
	if (m->good_fd >= 0) {
		close(m->good_fd);
	}
	if (m->fd >= 0) {
		close(m->fd);
	}
	json_decref(m->trial);
	json_decref(m->modules);
	free(m->dir);
	free(m);
}

/* ---------------------------------------------------------------- quarantine */

bool ob__manifest_quarantined(const struct ob__manifest *m, const char *name, const char *sha256,
                              char *why, size_t cap)
{
	const json_t *list = list_of(m, name, "quarantine");
	size_t at = find_build(list, sha256);

	if (at == SIZE_MAX) {
		return false;
	}
	if (cap > 0) {
		snprintf(why, cap, "%s", text_of(json_array_get(list, at), "why"));
	}
	return true;
}

bool ob__manifest_known(const struct ob__manifest *m, const char *name, const char *sha256)
{
	return find_build(list_of(m, name, "good"), sha256) != SIZE_MAX &&
	       !ob__manifest_quarantined(m, name, sha256, NULL, 0);
}

int ob__manifest_release(struct ob__manifest *m, const char *name, const char *sha256)
{
	json_t *list = list_of(m, name, "quarantine");
	size_t at = find_build(list, sha256);

	if (at == SIZE_MAX) {
		return -ENOENT;
	}
	json_array_remove(list, at);
	return save(m);
}

/* ---------------------------------------------------------------- trial */

int ob__manifest_trial(struct ob__manifest *m, const struct ob__manifest_build *builds, size_t len)
{
	char since[24];
	json_t *list = json_array();

	now_text(since);
	bool valid = len <= MODULES_MAX;
	for (size_t i = 0; valid && i < len; i++) {
		valid = valid_name(builds[i].name) && valid_sha(builds[i].sha256);
		json_t *build = valid ? new_build(builds[i].sha256, builds[i].version) : NULL;
		json_object_set_new(build, "name", json_string(builds[i].name));
		json_array_append_new(list, build);
	}
	if (!valid || json_array_size(list) != len) {
		json_decref(list);
		return valid ? -ENOMEM : -EINVAL;
	}
	json_decref(m->trial);
	m->trial = json_pack("{s:s, s:o}", "since", since, "builds", list);
	int rc = m->trial != NULL ? save(m) : -ENOMEM;
	if (rc != 0) {
		json_decref(m->trial);
		m->trial = NULL;
	}
	return rc;
}

int ob__manifest_trial_end(struct ob__manifest *m)
{
	if (m->trial == NULL) {
		return 0;
	}
	json_decref(m->trial);
	m->trial = NULL;
	return save(m);
}

/* ---------------------------------------------------------------- good builds */

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

/* The staged file gets a second name in DIR/good, or a copy where that can't be; on disk when this
 * returns. */
static int keep_copy(const struct ob__manifest *m, const char *staged, const char *file)
{
	int dir = m->good_fd;
	int rc = 0;

	if (dir < 0) {
		return -ENOENT;
	}
	unlinkat(dir, COPY_NAME, 0);
	if (linkat(AT_FDCWD, staged, dir, COPY_NAME, 0) != 0) {
		rc = errno == ENOENT ? -ENOENT : copy_file(staged, dir, COPY_NAME);
	}
	int fd = rc == 0 ? openat(dir, COPY_NAME, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
	if (rc == 0) {
		rc = fd < 0 ? -errno : sync_fd(fd);
	}
	if (fd >= 0) {
		close(fd);
	}
	if (rc == 0 && renameat(dir, COPY_NAME, dir, file) != 0) {
		rc = -errno;
	}
	/* A file renamed to another name of its own keeps both. */
	unlinkat(dir, COPY_NAME, 0);
	return rc == 0 ? sync_fd(dir) : rc;
}

/* It is the newest good build already, and what was kept of it is there: nothing is to be written
 * and waited for. */
static bool is_newest(const struct ob__manifest *m, const struct ob__manifest_build *build,
                      const char *file)
{
	const json_t *good = list_of(m, build->name, "good");
	const json_t *suspects = list_of(m, build->name, "quarantine");
	struct stat staged;
	struct stat kept;

	return find_build(good, build->sha256) == 0 &&
	       find_build(suspects, build->sha256) == SIZE_MAX &&
	       stat(build->staged, &staged) == 0 &&
	       fstatat(m->good_fd, file, &kept, AT_SYMLINK_NOFOLLOW) == 0 &&
	       S_ISREG(kept.st_mode) && kept.st_size == staged.st_size;
}

int ob__manifest_good_add(struct ob__manifest *m, const struct ob__manifest_build *build)
{
	char file[COPY_NAME_CAP];

	if (!valid_name(build->name) || !valid_sha(build->sha256)) {
		return -EINVAL;
	}
	copy_name(file, build->name, build->sha256);
	if (is_newest(m, build, file)) {
		return 0;
	}
	int rc = keep_copy(m, build->staged, file);
	if (rc != 0) {
		return rc;
	}
	json_t *module = module_of(m, build->name);
	json_t *good = json_object_get(module, "good");
	json_t *suspects = json_object_get(module, "quarantine");
	size_t at = find_build(good, build->sha256);
	if (at != SIZE_MAX) {
		json_array_remove(good, at);
	}
	if (json_array_insert_new(good, 0, new_build(build->sha256, build->version)) != 0) {
		return -ENOMEM;
	}
	/* It has proved itself since. */
	at = find_build(suspects, build->sha256);
	if (at != SIZE_MAX) {
		json_array_remove(suspects, at);
	}
	json_t *dropped = json_incref(json_array_get(good, OB__MANIFEST_GOOD));
	json_array_remove(good, OB__MANIFEST_GOOD);
	rc = save(m);
	if (rc == 0 && dropped != NULL) {
		remove_copy(m, build->name, dropped);
	}
	json_decref(dropped);
	return rc;
}

bool ob__manifest_good(const struct ob__manifest *m, const char *name, const char *except,
                       char *path, size_t path_cap, char sha256[65])
{
	size_t i;
	json_t *build;

	json_array_foreach (list_of(m, name, "good"), i, build) {
		char file[COPY_NAME_CAP];
		struct stat st;
		const char *sha = text_of(build, "sha256");
		if ((except != NULL && strcmp(sha, except) == 0) ||
		    ob__manifest_quarantined(m, name, sha, NULL, 0)) {
			continue;
		}
		copy_name(file, name, sha);
		if (m->good_fd < 0 || fstatat(m->good_fd, file, &st, AT_SYMLINK_NOFOLLOW) != 0 ||
		    !S_ISREG(st.st_mode)) {
			continue;
		}
		int len = snprintf(path, path_cap, "%s/good/%s", m->dir, file);
		if (len > 0 && (size_t)len < path_cap) {
			snprintf(sha256, 65, "%s", sha);
			return true;
		}
	}
	return false;
}

json_t *ob__manifest_json(const struct ob__manifest *m, const char *name)
{
	json_t *module = json_object_get(m->modules, name);

	return module != NULL ? json_deep_copy(module)
	                      : json_pack("{s:[], s:[]}", "good", "quarantine");
}
