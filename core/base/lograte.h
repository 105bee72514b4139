/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F1.  Lines about others: one per reason and peer, at a limited rate.
 *
 * A single limit per reason lets a peer that breaks a rule again and again hide that another one
 * does so too.  So each pair of a peer and a reason has a limit of its own: its first line comes,
 * and then one in ten seconds, with the number of those that were left out.
 *
 * The table is bounded.  When it is full, pairs of which nothing came for ten seconds make room; if
 * there are none, and for whoever is unknown, one limit per reason is left, which the caller has.
 */

#ifndef OB__LOGRATE_H
#define OB__LOGRATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/log.h"
#include "lib/list.h"
#include "lib/map.h"

#define OB__LOGRATE_MAX 1024u

struct ob__lograte {
	struct ob__map map;      /* peer and reason -> pair */
	struct ob__list entries; /* the one whose ten seconds began longest ago first */
};

/* Allocates nothing. */
void ob__lograte_init(struct ob__lograte *r, uint64_t seed);

/* NULL and a zeroed struct are accepted. */
void ob__lograte_free(struct ob__lograte *r);

/* True when a line about the peer `who` may be written for the reason `why`; then *missed is how
 * many were not.  `who` 0 is anybody unknown: all of them share `others`, with its `burst`. */
bool ob__lograte_allow(struct ob__lograte *r, uint64_t who, uint32_t why,
                       struct ob__log_limit *others, uint32_t burst, uint64_t now_ms,
                       uint32_t *missed);

#endif
