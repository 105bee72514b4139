/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  Which methods the members of the cluster have, linked or not.
 *
 * A member's record (mesh/member.h) has a digest of its methods' names.  Nodes that have the same
 * ones, as those of a role mostly do, have the same digest, so a list is kept by digest, and asked
 * for once: by a METHODS_ASK to one of those nodes, which answers with METHODS_LIST frames; both go
 * through route nodes as anything else.  What comes is taken if the digest is right.  A record that
 * changes, as when modules are exchanged, has another digest, and that list is asked for; lists
 * that no member has are forgotten.
 *
 * A node that does not answer is asked again less and less often, another one if there is one.  All
 * is bounded; what is not known refuses nothing.
 */

#ifndef OB__METHODS_FAR_H
#define OB__METHODS_FAR_H

#include <stdbool.h>
#include <stdint.h>

#include "base/loop.h"
#include "lib/frame.h"
#include "lib/map.h"

#define OB__FAR_LISTS_MAX 256u
#define OB__FAR_NAMES_MAX 65536u /* in all lists */
#define OB__FAR_ANSWERS   256u   /* given a second */

struct ob__node;

struct ob__far {
	struct ob__map lists; /* digest -> its list */
	struct ob__timeout timer;
	uint32_t names; /* in all lists */
	uint32_t answers;
	uint64_t answers_since; /* loop ms */
	uint64_t *asked;
};

void ob__far_init(struct ob__node *node);
void ob__far_free(struct ob__node *node);

/* The directory has changed.  May be called from within it. */
void ob__far_changed(struct ob__node *node);

/* The names that a member has, or NULL while they are not known. */
const struct ob__strmap *ob__far_names(const struct ob__node *node, uint64_t id);

/* A METHODS_ASK or METHODS_LIST frame for this node; false for any other. */
bool ob__far_frame(struct ob__node *node, const struct ob__frame *f);

#endif
