/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  The manifest: which builds of the modules were good, which one is
 * on trial, and which ones have brought the node down.
 *
 * DIR/modules.json names, for each module, the last builds that passed their probation, with a copy
 * of each in DIR/good, so that a rollback needs nothing of the operator.  Before new builds are
 * opened they are written down as on trial; the entry goes when they are refused, returned or
 * committed, or the node stops properly.  A node that starts and finds one, together with the mark
 * that a fatal signal (or an exit nobody asked for) left in DIR/crashed, quarantines those builds:
 * they are refused, and the last good copy is loaded instead, until they are asked for with
 * "force".  A node that was killed from outside (SIGKILL, power) leaves no such mark and
 * quarantines nothing.
 *
 * modules.json is replaced whole (written beside, synced, renamed), so a crash while it is written
 * leaves the old one.  One that can't be read, is longer than 1 MiB or makes no sense is set aside
 * as modules.json.damaged.  It holds at most 256 modules (the one whose last good build is the
 * oldest makes room) and 32 quarantined builds of each.  The copies are DIR/good/NAME.<sha256, its
 * first 16 digits>.so, mode 0500, second names of the staged files where the file system allows it.
 *
 * Not thread-safe: opened before the loader thread starts, then used on that thread alone, closed
 * when it has ended.  Every function that changes something blocks until it is on disk.
 */

#ifndef OB__MANIFEST_H
#define OB__MANIFEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#define OB__MANIFEST_GOOD 3 /* builds kept per module */

struct ob__manifest;

struct ob__manifest_build {
	const char *name; /* of the module */
	const char *sha256;
	const char *version;
	const char *staged; /* the private copy */
};

/* Reads DIR/modules.json; a damaged one is set aside (renamed) with a warning.  Turns a trial that
 * ended in a crash into quarantine, with an error line that names the builds, and removes the mark:
 * so it comes before ob__manifest_guard().  Where DIR can't be used, an error line says so and what
 * changes something fails.  NULL: out of memory. */
struct ob__manifest *ob__manifest_open(const char *dir);
void ob__manifest_close(struct ob__manifest *m);

/* Says why in `why` when the build is in quarantine. */
bool ob__manifest_quarantined(const struct ob__manifest *m, const char *name, const char *sha256,
                              char *why, size_t cap);
/* Takes a build out of quarantine. 0, -ENOENT: it is not in it, or -errno: not on disk. */
int ob__manifest_release(struct ob__manifest *m, const char *name, const char *sha256);

/* The newest good build of the module that is not `except` (NULL: any), not in quarantine, and
 * whose copy is there.  Its copy's path and hash into the buffers; false if there is none.  Stage
 * it with that hash as `want_sha`: the copy's bytes are not read here. */
bool ob__manifest_good(const struct ob__manifest *m, const char *name, const char *except,
                       char *path, size_t path_cap, char sha256[65]);

/* The build has passed a probation here, and is among those that are kept. */
bool ob__manifest_known(const struct ob__manifest *m, const char *name, const char *sha256);

/* These builds are about to run in this process; on disk (synced) when this returns.  Ends a trial
 * before it. `staged` is not used.  0, or -errno: then there is no trial. */
int ob__manifest_trial(struct ob__manifest *m, const struct ob__manifest_build *builds, size_t len);

/* The trial is over, one way or the other; 0 as well if there was none. */
int ob__manifest_trial_end(struct ob__manifest *m);

/* The build passed: it is the newest good one of its module and in no quarantine, a copy is kept,
 * the oldest goes.  Ends no trial.  0 or -errno. */
int ob__manifest_good_add(struct ob__manifest *m, const struct ob__manifest_build *build);

/* The module's part, for display: {"good": [{"sha256", "version", "since"}], "quarantine": [...]};
 * new reference. */
json_t *ob__manifest_json(const struct ob__manifest *m, const char *name);

/* From here on a fatal signal (SEGV, BUS, FPE, ILL, ABRT, SYS, TRAP), or an exit() or quick_exit()
 * before ob__manifest_disarm(), leaves the mark in DIR/crashed.  A file that is there but empty is
 * no mark.  The process's one guard: 0, -EALREADY or -errno.
 *
 * Whoever had a signal before (a sanitizer, the kernel's core dump) gets it afterwards, a fault
 * with its own address and registers.  The calling thread gets an alternate signal stack if it has
 * none, so that an overflow of its stack is noticed; on other threads an overflow leaves no mark.
 * Neither does _exit(), which runs nothing: the rehearsal is what finds it.  Children made by
 * fork() leave no mark. */
int ob__manifest_guard(const char *dir);

/* A build on trial hangs, so that the process will be ended from outside: the mark is there, unless
 * it is taken back.  Nothing without a guard. */
void ob__manifest_mark(void);
void ob__manifest_unmark(void);

/* The node ends as it should: no mark from here on, and one of a signal that somebody survived is
 * taken back.  Safe twice and without a guard. */
void ob__manifest_disarm(void);

#endif
