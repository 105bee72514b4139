/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Files of tests.  A test works in directories of its own, which are gone when the process ends,
 * whether the test removed them, failed on the way, or was interrupted (TERM, INT, HUP, and the
 * time limit of t/tap.c).  A crash leaves them, for whoever looks into it.
 */

#ifndef OB__TEST_FILES_H
#define OB__TEST_FILES_H

#include <stddef.h>

/* Makes a fresh directory below $TMPDIR, else /tmp; its path without links into the buffer.  Aborts
 * where that can't be. */
void files_make_dir(char *path, size_t cap);

/* Removes what is there, with everything in it; it need not be a directory of files_make_dir(). */
void files_remove(const char *path);

/* A file's bytes, followed by a NUL; *len (or NULL) is how many.  To be freed.  "" if there is
 * none. */
char *files_read(const char *path, size_t *len);

/* Writes a file anew; the test fails if that can't be. */
void files_write(const char *path, const void *data, size_t len);
void files_write_text(const char *path, const char *text);

#endif
