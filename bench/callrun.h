/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to bench: one run of a caller that keeps a number of calls in flight, whatever carries
 * them. The caller has a slot per call in flight; when a slot's answer is there it asks
 * ob__callrun_ended(), which says whether the slot goes on. What ended between warm-up and end of
 * the run counts. One thread; callers with more lock around it.
 */
#ifndef OB__CALLRUN_H
#define OB__CALLRUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tools/latency.h"

enum { OB__CALLRUN_MAX_SLOTS = 4096, OB__CALLRUN_MAX_SIZE = 65536, OB__CALLRUN_JSON = 512 };

struct ob__callrun {
	unsigned in_flight;
	size_t size; /* bytes of a request, and of its answer */
	double warmup;
	double seconds;
	uint64_t from; /* ns, the time measured */
	uint64_t to;
	unsigned owed;  /* slots that still wait */
	uint64_t total; /* ended calls, warm-up and what was owed at the end included */
	uint64_t done;  /* of them those that count */
	uint64_t errors;
	uint64_t sent[OB__CALLRUN_MAX_SLOTS]; /* ns */
	struct ob__lat lat;
};

/* Begins: all slots send now. -1 if what the caller was asked for is out of bounds. */
int ob__callrun_start(struct ob__callrun *r);

/* The call in this slot has ended, well or not. True: send the next one in it. When it is false
 * and r->owed is 0, the run is over. */
bool ob__callrun_ended(struct ob__callrun *r, unsigned slot, bool ok);

/* Writes the report, an object that is not closed yet, so that a caller may add to it; its length.
 */
size_t ob__callrun_json(const struct ob__callrun *r, char out[OB__CALLRUN_JSON]);

/* The options -W, -s, -w and -t of a program that is a caller: takes one if it is one of these. */
bool ob__callrun_option(struct ob__callrun *r, int option, const char *text);

#endif
