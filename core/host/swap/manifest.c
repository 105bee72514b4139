/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/swap/manifest.h"

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
#include "host/swap/manifest_priv.h"

#define VERSION_MAX 64
#define MARK_MAX    64

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
		if (strcmp(ob__manifest_text(build, "sha256"), sha256) == 0) {
			return i;
		}
	}
	return SIZE_MAX;
}

static json_t *list_of(const struct ob__manifest *m, const char *name, const char *list)
{
	return json_object_get(json_object_get(m->modules, name), list);
}

/* ---------------------------------------------------------------- modules */

static void forget_module(struct ob__manifest *m, const char *name)
{
	size_t i;
	json_t *build;

	json_array_foreach (list_of(m, name, "good"), i, build) {
		ob__manifest_drop_copy(m, name, build);
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
		const char *since = ob__manifest_text(
			json_array_get(json_object_get(module, "good"), 0), "since");
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
	const char *sha256 = ob__manifest_text(tried, "sha256");
	json_t *module = module_of(m, ob__manifest_text(tried, "name"));
	json_t *list = json_object_get(module, "quarantine");
	json_t *build = new_build(sha256, ob__manifest_text(tried, "version"));
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
		const char *version = ob__manifest_text(build, "version");
		int n = snprintf(out + len, cap - len, "%s%s%s%s (%.*s)", i > 0 ? ", " : "",
		                 ob__manifest_text(build, "name"), version[0] != '\0' ? " " : "",
		                 version, SHA_SHOWN, ob__manifest_text(build, "sha256"));
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
	char *data = ob__manifest_read_file(m->fd, "crashed", MARK_MAX, &len);

	out[0] = '\0';
	if (data == NULL || len == 0) {
		free(data);
		return;
	}
	int number = strncmp(data, "signal ", 7) == 0 ? atoi(data + 7) : 0;
	if (number > 0) {
		snprintf(out, MARK_MAX, "by signal %d", number);
	} else {
		bool hang = strncmp(data, "hang", 4) == 0;
		snprintf(out, MARK_MAX,
		         hang ? "with its loader hanging" : "by an exit nobody asked for");
	}
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
		         mark, ob__manifest_text(m->trial, "since"));
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
		ob__manifest_save(m);
	}
	unlinkat(m->fd, "crashed", 0);
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
		bool whole = ob__manifest_read(m);
		look_back(m);
		if (whole && m->good_fd >= 0) {
			ob__manifest_drop_orphans(m);
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
		snprintf(why, cap, "%s", ob__manifest_text(json_array_get(list, at), "why"));
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
	return ob__manifest_save(m);
}

/* ---------------------------------------------------------------- trial */

int ob__manifest_trial(struct ob__manifest *m, const struct ob__manifest_build *builds, size_t len)
{
	char since[24];
	json_t *list = json_array();

	now_text(since);
	bool valid = len <= MODULES_MAX;
	for (size_t i = 0; valid && i < len; i++) {
		valid = ob__manifest_name_ok(builds[i].name) &&
		        ob__manifest_sha_ok(builds[i].sha256);
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
	int rc = m->trial != NULL ? ob__manifest_save(m) : -ENOMEM;
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
	return ob__manifest_save(m);
}

/* ---------------------------------------------------------------- good builds */

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

	if (!ob__manifest_name_ok(build->name) || !ob__manifest_sha_ok(build->sha256)) {
		return -EINVAL;
	}
	ob__manifest_copy_name(file, build->name, build->sha256);
	if (is_newest(m, build, file)) {
		return 0;
	}
	int rc = ob__manifest_keep_copy(m, build->staged, file);
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
	rc = ob__manifest_save(m);
	if (rc == 0 && dropped != NULL) {
		ob__manifest_drop_copy(m, build->name, dropped);
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
		const char *sha = ob__manifest_text(build, "sha256");
		if ((except != NULL && strcmp(sha, except) == 0) ||
		    ob__manifest_quarantined(m, name, sha, NULL, 0)) {
			continue;
		}
		ob__manifest_copy_name(file, name, sha);
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
