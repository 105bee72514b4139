/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Which node keeps a user: of the route nodes that are up the one with the highest hash of its id
 * and the user, so that the coming or going of one changes the keeper of its own users only.
 */

#include "host/user/users_priv.h"

#include <string.h>

#include "host/node.h"
#include "host/session/lock.h"
#include "lib/fnv.h"

static uint64_t mix(uint64_t h)
{
	h = (h ^ h >> 31) * UINT64_C(0x7fb5d329728ea185);
	h = (h ^ h >> 27) * UINT64_C(0x81dadef4bc2dd44d);
	return h ^ h >> 33;
}

uint64_t ob__users_keeper(const struct ob__users *us, const char *user, uint32_t *stamp)
{
	uint64_t hash = us->keepers_len > 1 ? ob__fnv1a64_of(user, strlen(user)) : 0;
	uint64_t best = 0;
	const struct ob__keeper *k = NULL;

	for (uint32_t i = 0; i < us->keepers_len; i++) {
		uint64_t weight = mix(mix(us->keepers[i].id) ^ hash);
		if (k == NULL || weight > best) {
			k = &us->keepers[i];
			best = weight;
		}
	}
	*stamp = k != NULL ? k->stamp : 0;
	return k != NULL ? k->id : us->node->self.id;
}

/* The route nodes that are up, this one among them if it is one. */
static uint32_t route_nodes(const struct ob__node *node, struct ob__keeper *out, uint32_t cap)
{
	const struct ob__registry_role *role =
		ob__registry_role_get(&node->registry, node->router.route_role);
	uint32_t len = 0;

	if (node->self.role_id == node->router.route_role) {
		out[len++] = (struct ob__keeper){.id = node->self.id};
	}
	for (uint32_t i = 0; role != NULL && i < role->ready.len && len < cap; i++) {
		const struct ob__peer *p =
			OB__CONTAINER(role->ready.nodes[i], struct ob__peer, balance);
		out[len++] = (struct ob__keeper){.id = p->who.id, .stamp = (uint32_t)p->ups};
	}
	return len;
}

void ob__users_peers_changed(struct ob__node *node)
{
	struct ob__users *us = node->users;
	struct ob__keeper now[OB__KEEPERS_MAX] = {0};
	uint32_t len = route_nodes(node, now, OB__KEEPERS_MAX);

	bool same = len == us->keepers_len;
	for (uint32_t i = 0; same && i < len; i++) {
		same = now[i].id == us->keepers[i].id && now[i].stamp == us->keepers[i].stamp;
	}
	if (same) {
		return;
	}
	memcpy(us->keepers, now, sizeof(now));
	us->keepers_len = len;
	ob__claims_send(us);
	ob__bound_again(us);
	ob__locks_again(node);
	ob__users_tick_soon(us);
}
