/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  The manifest: which builds of the modules were good, which one is
 * on trial, and which ones have brought the node down.
 *
 * DIR/modules.json names, for each module, the last builds that passed their probation, with a copy
 * of each in DIR/good, so that a rollback needs nothing of the operator.  Before a switch that has
 * a probation the builds on trial are written down; the entry goes when the probation ends or the
 * node stops properly.  A node that starts and finds one, together with the mark that a fatal
 * signal (or an exit nobody asked for) left in DIR/crashed, quarantines those builds: they are
 * refused, and the last good copy is loaded instead, until they are asked for with "force".  A node
 * that was killed from outside (SIGKILL, power) leaves no such mark and quarantines nothing.
 *
 * Not thread-safe: opened before the loader thread starts, then used on that thread alone, closed
 * when it has ended.
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
 * ended in a crash into quarantine, with an error line that names the builds.  NULL: out of memory.
 */
struct ob__manifest *ob__manifest_open(const char *dir);
void ob__manifest_close(struct ob__manifest *m);

/* Says why in `why` when the build is in quarantine. */
bool ob__manifest_quarantined(const struct ob__manifest *m, const char *name, const char *sha256,
                              char *why, size_t cap);
int ob__manifest_release(struct ob__manifest *m, const char *name, const char *sha256);

/* The newest good build of the module that is not `except` (NULL: any).  Its copy's path and hash
 * into the buffers; false if there is none.  `at` counts from the newest, 0. */
bool ob__manifest_good(const struct ob__manifest *m, const char *name, const char *except,
                       char *path, size_t path_cap, char sha256[65]);

/* These builds are about to take over; on disk (synced) when this returns. 0 or -errno. */
int ob__manifest_trial(struct ob__manifest *m, const struct ob__manifest_build *builds, size_t len);

/* The trial is over, one way or the other. */
int ob__manifest_trial_end(struct ob__manifest *m);

/* The build passed: it is the newest good one of its module, a copy is kept, the oldest goes. */
int ob__manifest_good_add(struct ob__manifest *m, const struct ob__manifest_build *build);

/* The module's part, for display: {"good": [{"sha256", "version", "since"}], "quarantine": [...]};
 * new reference. */
json_t *ob__manifest_json(const struct ob__manifest *m, const char *name);

/* From here on a fatal signal, or an exit before ob__manifest_disarm(), leaves the mark in DIR. The
 * process's one guard: 0 or -errno.  Leaves handlers that somebody else has set (a sanitizer) to
 * run afterwards. */
int ob__manifest_guard(const char *dir);
void ob__manifest_disarm(void);

#endif
