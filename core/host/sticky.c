/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/sticky.h"

#include "host/node.h"
#include "mesh/sticks.h"

/* The node is known to be down.  Of one that was never linked here nothing is known. */
static bool is_down(const struct ob__node *node, uint64_t id)
{
	const struct ob__peer *peer = ob__registry_get(&node->registry, id);

	return peer != NULL && peer->link == NULL;
}

uint64_t ob__sticky_of_session(struct ob__node *node, struct ob__session *s, uint32_t role)
{
	uint64_t choice = ob__session_sticky(s, role);

	if (choice != 0 && is_down(node, choice)) {
		ob__session_move(s, role);
		return 0;
	}
	return choice;
}

uint64_t ob__sticky_of_frame(const struct ob__node *node, const struct ob__frame *f)
{
	uint64_t choice;
	uint64_t from;

	if (!ob__sticks_get(f, f->role, &choice, &from) || choice == node->self.id ||
	    is_down(node, choice)) {
		return 0;
	}
	return choice;
}
