/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/node_mesh.h"

#include "host/client/conn.h"
#include "host/cluster/names.h"
#include "host/node.h"
#include "host/session/end.h"
#include "host/user/users.h"
#include "lib/many.h"

/* ---- what the mesh tells ---- */

static void link_up(void *arg, struct ob__peer *peer)
{
	struct ob__node *node = arg;

	ob__cluster_link_up(node, peer);
	ob__names_share(node, peer);
	ob__methods_up(node, peer);
	ob__losses_link_up(node, peer);
	ob__users_peers_changed(node);
	ob__groups_ways_changed(node);
	ob__drain_link_up(node, peer);
	ob__dispatch_peer_up(node);
	ob__served_again(node);
}

static void link_down(void *arg, struct ob__peer *peer, const char *reason)
{
	struct ob__node *node = arg;

	if (peer->parted) {
		ob__info("link", "%s (%s): closed: %s", peer->who.name, peer->who.role, reason);
	} else {
		ob__warning("link", "%s (%s) is down: %s", peer->who.name, peer->who.role, reason);
		ob__served_unsure(node, peer);
	}
	ob__cluster_link_down(node, peer);
	ob__methods_down(node, peer);
	ob__clients_link_drained(node, peer);
	ob__losses_link_down(node, peer);
	ob__users_peers_changed(node);
	ob__groups_ways_changed(node);
}

/* Whatever is said once when a link comes up is said once more. */
static void link_gap(void *arg, struct ob__peer *peer)
{
	struct ob__node *node = arg;

	peer->ups++;
	ob__served_unsure(node, peer);
	ob__cluster_link_gap(node, peer);
	ob__names_share(node, peer);
	ob__methods_up(node, peer);
	ob__drain_link_up(node, peer);
	ob__users_peers_changed(node);
	ob__groups_ways_changed(node);
	ob__served_again(node);
}

static void link_frame(void *arg, struct ob__link *link, struct ob__frame *f, uint8_t *raw)
{
	ob__dispatch_frame(arg, link, f, raw);
}

static void link_lost(void *arg, struct ob__link *link)
{
	(void)arg;
	ob__pending_link_lost(link);
}

static void link_drained(void *arg, struct ob__peer *peer)
{
	ob__clients_link_drained(arg, peer);
}

static const struct ob__links_ops links_ops = {
	.on_up = link_up,
	.on_down = link_down,
	.on_frame = link_frame,
	.on_lost = link_lost,
	.on_drained = link_drained,
	.on_gap = link_gap,
};

/* ---- begin and end ---- */

/* Whatever a message may be here, frames of many small ones come from nodes where it may be more.
 */
static size_t max_frame(const struct ob__nodeconf *c)
{
	size_t max = c->limits.message + 4096;

	return max > OB__MANY_BYTES ? max : OB__MANY_BYTES;
}

int ob__mesh_start(struct ob__node *node)
{
	const struct ob__nodeconf *c = node->conf;
	struct ob__links_options options = {
		.token = c->rpc_token,
		.roles = c->rpc_tokens,
		.roles_len = c->rpc_tokens_len,
		.security = c->rpc_security.mode,
		.files = c->rpc_security.files,
		.reconnect_ms = c->reconnect_ms,
		.max_frame = max_frame(c),
		.high = c->limits.link_queue / 4,
		.hard = c->limits.link_queue,
	};

	if (ob__registry_init(&node->registry, &node->self) != 0) {
		return OB_E_NOMEM;
	}
	ob__router_init(&node->router, &node->registry);
	ob__firsts_init(&node->firsts, node->registry.seed, OB__FIRSTS_MAX);
	ob__pendings_init(&node->pendings, node->loop, c->limits.requests, ob__dispatch_pending_end,
	                  node);
	ob__sessions_init(&node->sessions, node->self.id, node->self.incarnation,
	                  c->limits.sessions);
	ob__map_init(&node->names, node->registry.seed);
	ob__session_ends_init(node);
	node->links = ob__links_new(&node->streams, &node->registry, node->stats, &options,
	                            &links_ops, node);
	ob__losses_init(node);
	ob__hostgroups_init(node);
	ob__states_init(node);
	ob__events_init(node);
	ob__ignored_init(node);
	ob__permits_init(node);
	if (node->links == NULL || ob__permits_apply(node) != 0 || ob__cluster_init(node) != 0 ||
	    ob__users_init(node) != 0) {
		return OB_E_NOMEM;
	}
	return 0;
}

void ob__mesh_free(struct ob__node *node)
{
	ob__timeout_clear(node->loop, &node->notice_timeout);
	ob__timeout_clear(node->loop, &node->served_timeout);
	ob__cluster_free(node);
	ob__links_free(node->links);
	ob__pendings_free(&node->pendings);
	ob__sessions_free(&node->sessions);
	ob__losses_free(node);
	ob__users_free(node);
	ob__hostgroups_free(node);
	ob__states_free(node);
	ob__events_free(node);
	ob__names_free(node);
}
