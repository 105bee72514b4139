/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/cluster/names.h"

#include <stdlib.h>
#include <string.h>

#include "host/node.h"
#include "mesh/hello.h"

const char *ob__names_get(const struct ob__node *node, uint64_t id)
{
	if (id == node->self.id) {
		return node->self.name;
	}
	const struct ob__peer *p = ob__registry_get(&node->registry, id);
	return p != NULL ? p->who.name : ob__map_get(&node->names, id, 0);
}

static void tell(struct ob__node *node, struct ob__peer *to, const char *name)
{
	struct ob__frame f = {
		.kind = OB__FRAME_SYSTEM,
		.id = OB__SYS_NAME,
		.dst = to->who.id,
		.hops = OB__FRAME_HOPS,
		.payload = (const uint8_t *)name,
		.payload_len = (uint32_t)strlen(name),
	};

	(void)ob__peer_send(node->links, to, &f);
}

/* Tells every peer that is up, but `about` itself and the one it was heard from. */
static void tell_all(struct ob__node *node, const char *name, uint64_t about, uint64_t from)
{
	OB__LIST_EACH (it, &node->registry.peers) {
		struct ob__peer *p = OB__CONTAINER(it, struct ob__peer, all_link);
		if (p->link != NULL && p->who.id != about && p->who.id != from) {
			tell(node, p, name);
		}
	}
}

static bool is_route_node(const struct ob__node *node)
{
	return node->self.role_id == node->router.route_role;
}

void ob__names_share(struct ob__node *node, struct ob__peer *peer)
{
	struct ob__map_entry *e;

	if (!is_route_node(node)) {
		return;
	}
	tell_all(node, peer->who.name, peer->who.id, peer->who.id);
	OB__LIST_EACH (it, &node->registry.peers) {
		const struct ob__peer *p = OB__CONTAINER(it, struct ob__peer, all_link);
		if (p != peer) {
			tell(node, peer, p->who.name);
		}
	}
	for (size_t i = 0; (e = ob__map_next(&node->names, &i)) != NULL;) {
		tell(node, peer, e->value);
	}
}

/* As in a hello. */
static bool name_ok(const uint8_t *name, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (name[i] <= ' ' || name[i] > '~') {
			return false;
		}
	}
	return len > 0 && len < OB__HELLO_NAME;
}

void ob__names_heard(struct ob__node *node, const struct ob__frame *f)
{
	char name[OB__HELLO_NAME];

	if (!name_ok(f->payload, f->payload_len)) {
		ob__ignore_frame(node, f, OB__IGNORED_NAME);
		return;
	}
	memcpy(name, f->payload, f->payload_len);
	name[f->payload_len] = '\0';
	uint64_t id = ob__node_id(name);
	if (ob__names_get(node, id) != NULL || node->names.count >= OB__PEERS_MAX) {
		return;
	}
	char *copy = strdup(name);
	if (copy == NULL || ob__map_put(&node->names, id, 0, copy) != 0) {
		free(copy);
		return;
	}
	if (is_route_node(node)) {
		tell_all(node, name, id, f->src);
	}
}

void ob__names_free(struct ob__node *node)
{
	struct ob__map_entry *e;

	for (size_t i = 0; (e = ob__map_next(&node->names, &i)) != NULL;) {
		free(e->value);
	}
	ob__map_free(&node->names);
}
