/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  The state that codecs keep with connections, over a swap.
 *
 * A connection has a block of its codec's memory, in the version of the generation that made it.
 * When a generation with another version takes over, a connection's state is turned into that
 * version when it is next used, and by a sweep in the background for those that are silent, so many
 * per loop turn and no more.  Nothing is done in the turn of the switch.
 *
 * THE WAY BACK.  Until the new generation is committed the state before is kept beside the new one.
 * If the generation before returns, its own migrate is asked first; what it does not take is
 * restored from what was kept, and a connection that came meanwhile begins anew.  None is closed.
 *
 * THREE VERSIONS.  A third version may come while connections still have the first.  If its migrate
 * does not take that one, the second generation's code is kept until its migrate has brought the
 * last of them to the second version.  What no chain of them takes is refused when it registers.
 */

#ifndef OB__CODEC_STATE_H
#define OB__CODEC_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include <obhost/obhost.h>

#include "host/slot.h"

#define OB__CODEC_VERSIONS                                                                         \
	8u                      /* of one codec's states at one time, for a new generation to come \
	                         */
#define OB__CODEC_COUNTED  10u  /* and its own, and that of the generation before, if it returns */
#define OB__CODEC_STEPS    4u   /* generations whose migrate is still needed */
#define OB__CODEC_PER_TURN 256u /* connections migrated in one loop turn */
#define OB__CODEC_TURN_US  500u

struct ob__conn;
struct ob__node;

/* A connection's state before it was migrated, for the way back. */
struct ob__codec_kept {
	uint32_t ver;
	uint32_t size;
	void *data;
};

struct ob__codec_step {
	ob_codec codec;
	struct ob__gen *gen;
};

/* Of one codec; hangs on its slot as long as that lives. */
struct ob__codec_states {
	struct ob__node *node;
	struct ob__slot *slot;
	struct {
		uint32_t ver;
		uint32_t size;
		uint32_t conns;
	} versions[OB__CODEC_COUNTED]; /* a connection without a place here changes when used */
	uint32_t kept;                 /* connections with the state before beside theirs */
	struct ob__codec_step now;     /* since the last switch */
	struct ob__codec_step steps[OB__CODEC_STEPS]; /* oldest first; each holds its generation */
	uint32_t steps_len;
	const struct ob__gen *before; /* who may come back, while on trial; compared only */
	uint32_t blank_ver; /* in which states have been shared (OB_CODEC_BLANK), if ... */
	bool blank;         /* ... some have */
	bool trial;
	bool returned;
	bool queued;  /* a turn of the sweep is coming */
	uint32_t pos; /* of the sweep in the slab of connections */
};

/* May a starting generation's codec take the place?  0 with flags for its registration, or
 * OB_E_STATE with the reason in g->refused.  Migrates samples, if there are older states. */
int ob__codec_acceptable(struct ob__gen *g, const ob_codec *codec, uint32_t *flags);

/* It is registered. 0 or OB_E_NOMEM. */
int ob__codec_registered(struct ob__gen *g, struct ob__reg *reg);

/* A new connection: its state. 0 or OB_E_NOMEM. */
int ob__codec_join(struct ob__conn *conn, const struct ob__reg *reg);
void ob__codec_leave(struct ob__conn *conn);

/* The codec has filled it in: one that is blank is shared. */
void ob__codec_share(struct ob__conn *conn, const ob_codec *codec);

/* Its state anew, zeroed, in the version of `reg`. 0 or OB_E_NOMEM. */
int ob__codec_renew(struct ob__conn *conn, const struct ob__reg *reg);

/* Brings the connection's state to the version of `reg`.  False: it can't be, close it. */
bool ob__codec_bring(struct ob__conn *conn, const struct ob__reg *reg);

/* After the switch that made slot->active what it is, forth, back or to nobody: (re)starts the
 * sweep.  Again for the same generation does nothing. */
void ob__conns_codec_switched(struct ob__node *node, struct ob__slot *slot);

/* The generation that is active stays: what was kept for the way back goes, bit by bit. */
void ob__conns_codec_committed(struct ob__node *node, struct ob__slot *slot);

/* The same for each codec of a generation; at a switch for the one that goes, too. */
void ob__codecs_switched(struct ob__gen *g);
void ob__codecs_committed(struct ob__gen *g);

#endif
