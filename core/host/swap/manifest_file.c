/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "host/swap/manifest_priv.h"
#include "lib/buf.h"
#include "lib/io.h"

#define FORMAT       1 /* of the file */
#define FILE_NAME    "modules.json"
#define NEW_NAME     "modules.json.new"
#define DAMAGED_NAME "modules.json.damaged"
#define FILE_MAX     (1u << 20)

/* ---------------------------------------------------------------- what makes sense */

const char *ob__manifest_text(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text != NULL ? text : "";
}

/* It becomes part of a file's name. */
bool ob__manifest_name_ok(const char *name)
{
	size_t len = 0;

	while (name[len] > ' ' && name[len] < 0x7f && name[len] != '/') {
		len++;
	}
	return name[len] == '\0' && len > 0 && len < NAME_CAP && name[0] != '.';
}

bool ob__manifest_sha_ok(const char *sha)
{
	return strlen(sha) == SHA_LEN && strspn(sha, "0123456789abcdef") == SHA_LEN;
}

static bool valid_build(const json_t *build)
{
	return json_is_object(build) && ob__manifest_sha_ok(ob__manifest_text(build, "sha256"));
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

/* ---------------------------------------------------------------- reading */

char *ob__manifest_read_file(int dir, const char *name, size_t max, size_t *len)
{
	int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	struct ob__buf b = {0};

	if (fd < 0) {
		return NULL;
	}
	int rc = ob__read_all(fd, max, &b);
	close(fd);
	*len = b.len;
	if (rc == 0) {
		rc = b.len > max ? -EFBIG : ob__buf_append(&b, "", 1);
	}
	if (rc != 0) {
		ob__buf_free(&b);
		errno = -rc;
		return NULL;
	}
	return (char *)b.data;
}

static bool valid_module(const char *name, json_t *module)
{
	json_t *good = json_object_get(module, "good");
	json_t *quarantine = json_object_get(module, "quarantine");

	return ob__manifest_name_ok(name) && valid_builds(good) && valid_builds(quarantine) &&
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
		if (!ob__manifest_name_ok(ob__manifest_text(build, "name"))) {
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

bool ob__manifest_read(struct ob__manifest *m)
{
	const char *why = NULL;
	json_error_t error;
	size_t len;
	char *data = ob__manifest_read_file(m->fd, FILE_NAME, FILE_MAX, &len);

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

int ob__manifest_sync(int fd)
{
	return fsync(fd) == 0 ? 0 : -errno;
}

int ob__manifest_save(struct ob__manifest *m)
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
		rc = ob__manifest_sync(fd);
	}
	if (fd >= 0 && close(fd) != 0 && rc == 0) {
		rc = -errno;
	}
	if (rc == 0 && renameat(m->fd, NEW_NAME, m->fd, FILE_NAME) != 0) {
		rc = -errno;
	}
	if (rc == 0) {
		rc = ob__manifest_sync(m->fd);
	} else {
		unlinkat(m->fd, NEW_NAME, 0);
		ob__error("manifest", "can't write %s/" FILE_NAME " (%s)", m->dir,
		          ob__strerror(rc));
	}
	free(text);
	return rc;
}
