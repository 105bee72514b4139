/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the example.  Where accounts and characters are kept: a JSON file each, in a folder
 * for each kind, FOLDER/KIND/NAME.json.  A file is written beside the old one and takes its place
 * when it is on the disk, so it is there whole, the old one or the new one, whenever the machine
 * stops.  All of it blocks: for pool threads.  Another store needs these four functions.
 */

#ifndef FIREFLY_STORE_H
#define FIREFLY_STORE_H

#include <stdbool.h>

#include <jansson.h>

#define STORE_NAME_MAX 32

/* 1 to 32 of a-z, A-Z, 0-9, '_' and '-'. */
bool store_name_ok(const char *name);

/* A new reference; NULL with *err 0: there is none, or a negative errno. */
json_t *store_read(const char *folder, const char *kind, const char *name, int *err);

/* 0, or a negative errno: what was there is there still.  Nobody else writes that one meanwhile. */
int store_write(const char *folder, const char *kind, const char *name, const json_t *value);

/* Keeps other threads and processes out that lock, too; for reading and then writing.  What to
 * give to store_unlock(), or a negative errno. */
int store_lock(const char *folder);
void store_unlock(int lock);

#endif
