/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  Staging: from the operator's file to a private copy.
 *
 * The operator's file is never mapped: it may be overwritten or truncated at any time.  It is found
 * by the module's name in the module directories (a request never gives a path) or by the path in
 * the configuration, opened without following a symbolic link and without waiting (openat2), and
 * copied, while its SHA-256 is computed, to a path that was never used before in a directory of the
 * node's own.  What was hashed is what is loaded.
 *
 * TRUST.  The file and every directory above it, up to the root, and the staging directory belong
 * to root, to the user the node runs as or to the owner of the program itself (who could as well
 * change that), are not writable by others, and not by their group unless it is the node's or the
 * program's.  A directory of root's with the sticky bit (/tmp) may be writable, and directories
 * that lead to the program as well are not looked at.  A directory may be reached through links:
 * what is looked at is where they lead.
 *
 * Refusals have the step "stage" and one of these codes: not_found, unreadable, symlink,
 * not_a_file, owner, writable (both for the file or a directory, which `file` names), empty,
 * too_big, sha256, no_stage (the copy can't be made).
 */

#ifndef OB__STAGE_H
#define OB__STAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "host/swap/refusal.h"

struct ob__stage {
	/* in */
	const char *const *dirs; /* where modules are looked for, NULL at the end */
	const char *stage_dir;
	const char *name;      /* of the module */
	const char *path;      /* a file, or "": look in the directories */
	const char *want_sha;  /* what the file must be (any case), or "": anything */
	const char *known_sha; /* what runs already, or "": if it is that, no copy, `unchanged` */
	uint32_t number;       /* of the staged file; used once per module */

	/* out */
	char file[512];   /* that was found */
	char staged[512]; /* the copy; "" if none was made */
	char sha256[65];
	uint64_t size;
	uint64_t mtime_ns; /* with inode and size: to see later whether the file was changed */
	uint64_t inode;
	bool unchanged;
};

/* Opens a file for reading that is trusted as a module is.  A descriptor, closed by exec, or -1
 * with the refusal filled. */
int ob__stage_open(const char *path, struct ob__load_refusal *r);

/* Blocks; for the loader thread.  0, or -1 with the refusal filled and no copy left behind. */
int ob__stage_run(struct ob__stage *s, struct ob__load_refusal *r);

#endif
