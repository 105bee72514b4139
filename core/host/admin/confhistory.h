/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  The last configurations that were taken over, to return to.
 *
 * DIR/conf holds the text of the last ten as NUMBER.conf, mode 0600 (they may have secrets in
 * them).  Numbers grow and are not used again.  A configuration equal to the newest is not added.
 * Nothing here waits for the disk: what a machine's crash may cut is refused as any broken file.
 */

#ifndef OB__CONFHISTORY_H
#define OB__CONFHISTORY_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <jansson.h>

#define OB__CONFHISTORY_KEPT 10

/* Adds a text.  *number: that of the entry, new or the newest that is equal.  0 or -errno; nothing
 * half-written stays. */
int ob__confhistory_add(const char *dir, const char *text, size_t len, uint64_t *number);

/* The path of a kept one. 0, or -ENOENT, -ENAMETOOLONG. */
int ob__confhistory_path(const char *dir, uint64_t number, char *out, size_t cap);

/* The last one before the newest whose text differs from it. 0, or -ENOENT. */
int ob__confhistory_before(const char *dir, uint64_t *number);

/* [{"version": 7, "taken": "2026-11-22T10:00:00Z", "size": 812, "sha256": "..."}], newest first;
 * new reference. */
json_t *ob__confhistory_json(const char *dir);

/* Gives directory and files to a user, if they are there. 0 or -errno. */
int ob__confhistory_chown(const char *dir, uid_t uid, gid_t gid);

#endif
