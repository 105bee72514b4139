/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the manifest's files.  manifest.c decides: what is on trial, suspected, good, and what
 * the last run left.  manifest_file.c reads and writes modules.json, and knows what makes sense in
 * it; manifest_copies.c keeps the builds in DIR/good.  manifest_guard.c has nothing to do with
 * these: it leaves the mark of a crash.
 */

#ifndef OB__MANIFEST_PRIV_H
#define OB__MANIFEST_PRIV_H

#include "host/swap/manifest.h"

#define MODULES_MAX    256
#define QUARANTINE_MAX 32 /* builds per module */
#define NAME_CAP       64
#define SHA_LEN        64
#define SHA_SHOWN      16 /* of it in the names of copies */
#define COPY_NAME_CAP  (NAME_CAP + SHA_SHOWN + 8)

struct ob__manifest {
	char *dir;
	int fd;      /* DIR, -1: it can't be opened */
	int good_fd; /* DIR/good */
	json_t *modules;
	json_t *trial; /* {"since", "builds": [...]} or NULL */
};

/* ---- manifest_file.c ---- */

/* A member's text, "" if it has none. */
const char *ob__manifest_text(const json_t *object, const char *key);
bool ob__manifest_name_ok(const char *name);
bool ob__manifest_sha_ok(const char *sha);

/* A whole file of the directory, terminated, to be freed; NULL with errno, EFBIG beyond `max`. */
char *ob__manifest_read_file(int dir, const char *name, size_t max, size_t *len);

/* Takes modules.json in, or sets it aside.  True: what was there is known now. */
bool ob__manifest_read(struct ob__manifest *m);

/* Writes the file anew; what is there is the old one or the new one, whole, whatever happens.
 * 0 or -errno, logged. */
int ob__manifest_save(struct ob__manifest *m);
int ob__manifest_sync(int fd);

/* ---- manifest_copies.c ---- */

void ob__manifest_copy_name(char out[COPY_NAME_CAP], const char *name, const char *sha256);

/* The staged file gets a second name in DIR/good, or a copy where that can't be; on disk when this
 * returns.  0 or -errno. */
int ob__manifest_keep_copy(const struct ob__manifest *m, const char *staged, const char *file);
void ob__manifest_drop_copy(const struct ob__manifest *m, const char *name, const json_t *build);

/* Removes copies that no entry names, from a run that ended between the one and the other. */
void ob__manifest_drop_orphans(struct ob__manifest *m);

#endif
