/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  What other hosts say and is not taken.
 *
 * What a host adds for others to a frame, or a whole system frame, that is malformed or only
 * somebody else's to say changes nothing here: it is counted by reason and logged at a limited
 * rate.  The link it came over stays, because the frame may be from a node behind the one at the
 * link's other end.
 */

#ifndef OB__IGNORED_H
#define OB__IGNORED_H

#include <stdint.h>

#include "base/log.h"
#include "base/lograte.h"
#include "lib/frame.h"

struct ob__node;

enum ob__ignored_reason {
	/* Malformed: */
	OB__IGNORED_USER,
	OB__IGNORED_LOCK,
	OB__IGNORED_SEND,
	OB__IGNORED_ATTR,
	OB__IGNORED_KICK,
	OB__IGNORED_METHODS,
	OB__IGNORED_NAME,
	OB__IGNORED_CANCEL,
	OB__IGNORED_PUSH,
	OB__IGNORED_GROUP,
	OB__IGNORED_STATE,
	OB__IGNORED_EVENT,
	OB__IGNORED_RESUME,
	/* Not the sender's to say: */
	OB__IGNORED_NOT_PROXY,
	OB__IGNORED_NOT_KEEPER,
	OB__IGNORED_NOT_SENT,
	OB__IGNORED_REASONS
};

struct ob__ignored {
	uint64_t *counted[OB__IGNORED_REASONS];
	struct ob__lograte lines;
	struct ob__log_limit limits[OB__IGNORED_REASONS]; /* of nodes unknown here */
};

/* Registers the counters. */
void ob__ignored_init(struct ob__node *node);
void ob__ignored_free(struct ob__ignored *ignored);

/* The frame is ignored, or what its sender has added to it. */
void ob__ignore_frame(struct ob__node *node, const struct ob__frame *f,
                      enum ob__ignored_reason why);

#endif
