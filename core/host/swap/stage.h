/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  Staging: from the operator's file to a private copy.
 *
 * The operator's file is never mapped: it may be overwritten or truncated at any time.  It is found
 * by the module's name (a request never gives a path), opened without following symbolic links,
 * checked for its owner and mode and those of the directories above it, and copied, while its
 * SHA-256 is computed, to a path that was never used before in a directory of the node's own.  What
 * was hashed is what is loaded.
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
	const char *want_sha;  /* what the file must be, or "": anything */
	const char *known_sha; /* what runs already, or "": then stop after the hash, `unchanged` */
	uint32_t number;       /* of the staged file; used once per module */

	/* out */
	char file[512];   /* that was found */
	char staged[512]; /* the copy; "" if none was made */
	char sha256[65];
	uint64_t size;
	uint64_t mtime_ns; /* of the file, with its inode and size: to see whether it changed since
	                    */
	uint64_t inode;
	bool unchanged;
};

/* 0, or -1 with the refusal filled (step "stage") and no copy left behind. */
int ob__stage_run(struct ob__stage *s, struct ob__load_refusal *r);

#endif
