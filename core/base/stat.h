/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F1.  Numbers for the metrics page.
 *
 * A counter is a plain uint64_t that its owner increments; asking for one by name and labels gives
 * its address, the same address each time, valid as long as the registry.  So counting costs an
 * increment, and the page is rendered only when somebody reads it.  Gauges are callbacks.
 * The loop thread owns it all.
 */

#ifndef OB__STAT_H
#define OB__STAT_H

#include <stdint.h>

#include "lib/buf.h"
#include "lib/histogram.h"

struct ob__stats;

typedef double (*ob__stat_gauge_fn)(void *arg);

struct ob__stats *ob__stats_new(void);
void ob__stats_free(struct ob__stats *s);

/* `labels` is the inside of the braces, e.g. "reason=\"too_big\"", or NULL; values must come from
 * bounded sets.  At most 4096 series.  Returns the counter; on a full table, out of memory,
 * with a name or labels that would break the page, or for a name that stands for another kind, a
 * shared counter that is never shown, so callers need no check. */
uint64_t *ob__stat_counter(struct ob__stats *s, const char *name, const char *labels,
                           const char *help);

/* Registers or replaces a gauge; fn(arg) is called when the page is rendered. 0 or negative. */
int ob__stat_gauge(struct ob__stats *s, const char *name, const char *labels, const char *help,
                   ob__stat_gauge_fn fn, void *arg);

/* A histogram of microseconds, shown in seconds with fixed bucket edges. As counter on failure. */
struct ob__histogram *ob__stat_histogram(struct ob__stats *s, const char *name, const char *labels,
                                         const char *help);

/* Appends the page in Prometheus text format 0.0.4, families sorted by name. 0 or -ENOMEM. */
int ob__stats_render(const struct ob__stats *s, struct ob__buf *out);

#endif
