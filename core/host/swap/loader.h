/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  The loader thread: everything that touches files and ld.so.
 *
 * The steps of a transaction that may take time or block are jobs of one thread of their own:
 * stage, preflight, probe, open (dlopen, RTLD_NOW | RTLD_LOCAL, and the identity of what came),
 * close (and whether it is unmapped then), discard, and calls of whatever else writes files.  None
 * of this may run on the loop: while a constructor runs, dlsym() and dlclose() block everywhere.
 */

#ifndef OB__LOADER_H
#define OB__LOADER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <obhost/obhost.h>

#include "base/loop.h"
#include "host/swap/probe.h"
#include "host/swap/refusal.h"
#include "lib/list.h"

struct ob__loader;

#define OB__LOADER_END_MS 3000

enum ob__load_op {
	OB__LOAD_STAGE = 1, /* file, staged, sha256, unchanged */
	OB__LOAD_PREFLIGHT, /* the copy is looked at, byte by byte */
	OB__LOAD_PROBE,     /* a child rehearses it */
	OB__LOAD_OPEN,      /* dl, desc, base, low, high */
	OB__LOAD_CLOSE,     /* dlclose, is it unmapped? (else failed), the copy is removed */
	OB__LOAD_DISCARD,   /* as close, if it was opened; the copy is removed in any case */
	OB__LOAD_CALL,      /* call(job) */
	OB__LOAD_WHOLE,     /* stage, preflight and open; what fails is discarded */
	OB__LOAD_OPS,
};

/* One piece of work, or several in a row; made and freed by the caller, untouched by it while it is
 * under way. */
struct ob__load_job {
	struct ob__list link;
	enum ob__load_op op;
	void (*done)(struct ob__load_job *job); /* on the loop */
	void (*call)(struct ob__load_job *job); /* CALL: on the loader thread */
	void *arg;
	bool loaders; /* malloc()ed; the loader does it in any case, frees it, and tells nobody */

	char name[64];
	bool failed; /* with the refusal, but for CLOSE and DISCARD: still mapped */
	struct ob__load_refusal refusal;

	char path[512];     /* STAGE: a file, or empty: look in the directories */
	char known_sha[65]; /* STAGE: with it, stop after the hash: `unchanged` */
	char want_sha[65];  /* STAGE: or empty: any */
	uint32_t number;    /* STAGE: of the copy */
	char file[512];
	char staged[512];
	char sha256[65];
	uint64_t size;
	uint64_t mtime_ns;
	uint64_t inode;
	bool unchanged;

	struct ob__probe probe; /* PROBE: conf, admin, state, timeout_ms are given */

	void *dl;
	const ob_module_desc *desc;
	uintptr_t base; /* of its link map */
	uintptr_t low;  /* what it maps: [low, high) */
	uintptr_t high;
};

/* `stage_dir` must exist; `dirs` is a NULL-ended list of directories; `probe_exe` is the program
 * that rehearses (obhost itself), NULL: PROBE is not asked for.  All copied.  Starts the thread. */
struct ob__loader *ob__loader_new(struct ob__loop *loop, const char *stage_dir,
                                  const char *const *dirs, const char *probe_exe);

/* Before the first job: most modules are rehearsed by this program, obhost-probe.  It must be
 * trusted as a module is, and what is used for as long as the loader lives is the file of now,
 * whatever is installed over it.  0, or -1 with a line logged: `probe_exe` does all of it. */
int ob__loader_program(struct ob__loader *l, const char *path);

/* A rehearsal that is under way, or begins, is given up: the node ends. */
void ob__loader_hurry(struct ob__loader *l);

/* Waits for the job under way and ends the thread.  Of those that wait, the loader's own are done
 * here and now; the others are dropped (their done is not called).
 *
 * 0, or -EBUSY after OB__LOADER_END_MS: code of a module that ld.so runs does not return.  Then the
 * loader, its jobs and what they point at stay (no done is called any more), and as ld.so keeps its
 * locks, the process should _exit(). */
int ob__loader_free(struct ob__loader *l);

void ob__loader_submit(struct ob__loader *l, struct ob__load_job *job);

/* What the thread is doing. */
struct ob__loader_view {
	uint64_t number; /* of the job, as they were begun */
	enum ob__load_op op;
	char name[64];
	uint64_t ms; /* for so long */
};

/* False while it does nothing, and nothing waits. */
bool ob__loader_look(struct ob__loader *l, struct ob__loader_view *view);

/* Code of a module runs in it: a constructor or a destructor. */
bool ob__load_op_runs_code(enum ob__load_op op);

/* The same work on the calling thread; for `obhost -t` and tools. */
void ob__loader_run(struct ob__loader *l, struct ob__load_job *job);

#endif
