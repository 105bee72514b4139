/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  The loader thread: everything that touches files and ld.so.
 *
 * The operator's file is never mapped.  It is copied, while its SHA-256 is computed, to a path that
 * was never used before in a directory of the node's own; the copy's ELF headers are checked; then
 * the copy is dlopen()ed (RTLD_NOW | RTLD_LOCAL), its `ob_module` found and its identity checked.
 * dlclose() runs here too, and its effect is verified.  None of this may run on the loop: while a
 * constructor runs, dlsym() and dlclose() block everywhere.
 */

#ifndef OB__LOADER_H
#define OB__LOADER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <obhost/obhost.h>

#include "base/loop.h"
#include "lib/list.h"

struct ob__loader;

/* Why a module was refused, for the reply and the log. Empty strings: not said. */
struct ob__load_refusal {
	char step[16]; /* "find", "stage", "verify", "load", "check", "start", "selftest" */
	char code[32]; /* a word: "not_found", "truncated", "abi", "name", ... */
	char file[512];
	char found[160];
	char expected[160];
	char remedy[256];
	char message[512];
};

enum ob__load_op {
	OB__LOAD_OPEN = 1, /* find, stage, verify, load */
	OB__LOAD_CLOSE,    /* close, verify that it is unmapped, unlink */
};

/* One piece of work; made and freed by the caller, untouched by it while it is under way. */
struct ob__load_job {
	struct ob__list link;
	enum ob__load_op op;
	void (*done)(struct ob__load_job *job); /* on the loop */
	void *arg;

	/* OPEN, in */
	char name[64];
	char path[512];     /* a file, or empty: look in the directories */
	char known_sha[65]; /* with it, stop after the hash: `unchanged` */
	char want_sha[65];  /* or empty: any */
	uint32_t generation;

	/* OPEN, out; CLOSE, in */
	void *dl;
	const ob_module_desc *desc;
	uintptr_t base;
	char staged[512];

	/* out */
	char file[512];
	char sha256[65];
	bool unchanged;
	bool failed; /* OPEN: refused; CLOSE: still mapped */
	struct ob__load_refusal refusal;
};

/* `stage_dir` must exist; `dirs` is a NULL-ended list of directories, copied. Starts the thread. */
struct ob__loader *ob__loader_new(struct ob__loop *loop, const char *stage_dir,
                                  const char *const *dirs);

/* Waits for the job under way, drops the others (their done is not called), ends the thread. */
void ob__loader_free(struct ob__loader *l);

void ob__loader_submit(struct ob__loader *l, struct ob__load_job *job);

/* The same work on the calling thread; for `obhost -t`. */
void ob__loader_run(struct ob__loader *l, struct ob__load_job *job);

/* Fills a refusal; found, expected, remedy may be NULL. */
void ob__refuse(struct ob__load_refusal *r, const char *step, const char *code, const char *file,
                const char *found, const char *expected, const char *remedy, const char *fmt, ...)
	__attribute__((format(printf, 8, 9)));

#endif
