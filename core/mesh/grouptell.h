/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F3.  Telling others which groups have members here; no sockets.
 *
 * Whoever sends to groups asks (ASK, mesh/groupwire.h), and asks again every few seconds.  He is
 * told all groups in parts, some in each turn, and from the first part on each change; when he asks
 * again, he is told which version is the newest.  If he says an older one, the changes since then
 * are on their way to him.  Who has not asked for LEASE_MS is told nothing any more.
 *
 * What is told may be lost on the way.  It is numbered, so the next thing that comes shows it, and
 * he asks for all; ob__grouptell_beat() is such a next thing, for when the ways have changed.
 *
 * Changes of one turn are told together: ops.soon asks for ob__grouptell_flush().
 */

#ifndef OB__GROUPTELL_H
#define OB__GROUPTELL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/list.h"
#include "lib/map.h"
#include "mesh/group.h"
#include "mesh/groupwire.h"

#define OB__GROUPTELL_MAX     1024u  /* nodes that are told */
#define OB__GROUPTELL_LEASE   20000u /* ms */
#define OB__GROUPTELL_A_TURN  8u     /* parts to one node */
#define OB__GROUPTELL_RESTART 100u   /* ms, at least, between two beginnings for one node */

struct ob__grouptell_ops {
	/* 0, or negative: it can't be sent. */
	int (*tell)(void *arg, uint64_t to, uint8_t status, const uint8_t *data, size_t len);
	void (*soon)(void *arg);
};

struct ob__grouptell {
	struct ob__groups *groups;
	struct ob__map by_node;
	struct ob__list list;
	uint32_t count;
	uint64_t life;
	uint64_t told;    /* the version that those who are told have */
	uint64_t version; /* with what is still to be told */
	uint64_t changes[OB__GROUP_TELL_ENTRIES];
	const struct ob__grouptell_ops *ops;
	void *arg;
};

/* `life` is not 0. */
void ob__grouptell_init(struct ob__grouptell *t, struct ob__groups *groups, uint64_t seed,
                        uint64_t life, const struct ob__grouptell_ops *ops, void *arg);
void ob__grouptell_free(struct ob__grouptell *t);

/* From the groups (ob__groups_fn). */
void ob__grouptell_changed(struct ob__grouptell *t, uint64_t hash, bool there);

/* Tells what has changed, and some parts. */
void ob__grouptell_flush(struct ob__grouptell *t);

/* A node asks.  0; -EPROTO: malformed; -ENOSPC: too many are told already. */
int ob__grouptell_asked(struct ob__grouptell *t, uint64_t node, const uint8_t *data, size_t len,
                        uint64_t now_ms);

/* Something could not be sent to a node, and it has not asked since. */
bool ob__grouptell_lost(const struct ob__grouptell *t, uint64_t node);

/* Tells everybody which version is the newest. */
void ob__grouptell_beat(struct ob__grouptell *t);

/* Drops those who have not asked for too long; how many are left. */
uint32_t ob__grouptell_tick(struct ob__grouptell *t, uint64_t now_ms);

#endif
