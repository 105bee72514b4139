/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/session_lost.h"

#include <endian.h>
#include <string.h>

#include "host/node.h"
#include "host/session_end.h"
#include "host/users.h"

#define GONE_MS     3000u
#define LOST_A_TURN 1000u
#define LOOK_A_TURN 20000u
#define UPS_MAX     (8 * OB__PEERS_MAX)

/* ---- who is in reach ---- */

static bool is_route_node(const struct ob__node *node)
{
	return node->self.role_id == node->router.route_role;
}

/* Somebody has a link with it. */
static bool in_reach(struct ob__node *node, uint64_t id)
{
	const struct ob__peer *own = ob__registry_get(&node->registry, id);

	if (own != NULL && own->link != NULL) {
		return true;
	}
	OB__LIST_EACH (it, &node->registry.peers) {
		const struct ob__peer *p = OB__CONTAINER(it, struct ob__peer, all_link);
		if (p->link != NULL && p->who.role_id == node->router.route_role &&
		    (uintptr_t)ob__map_get(&node->losses.up, id, p->who.id) == p->ups) {
			return true;
		}
	}
	return false;
}

bool ob__node_gone(struct ob__node *node, uint64_t id, uint64_t seq)
{
	uint64_t begin = (uint64_t)(uintptr_t)ob__map_get(&node->losses.lives, id, 0);

	if (id == node->self.id) {
		return seq != 0 && seq >> 32 < node->self.incarnation / 1000;
	}
	if (seq != 0 && (seq >> 32) + 1 < begin) {
		return true;
	}
	uint64_t since = (uint64_t)(uintptr_t)ob__map_get(&node->losses.suspects, id, 0);
	return since != 0 && ob__loop_now(node->loop) + 1 - since >= GONE_MS;
}

/* ---- sessions that are lost ---- */

static void sweep_soon(struct ob__node *node)
{
	node->losses.again = true;
	if (!ob__timeout_armed(&node->losses.sweep)) {
		ob__timeout_set(node->loop, &node->losses.sweep, 0);
	}
	ob__users_node_gone(node);
}

static void sweep(void *arg)
{
	struct ob__node *node = arg;
	struct ob__losses *l = &node->losses;
	unsigned looked = 0;
	unsigned lost = 0;
	struct ob__session *s;

	if (l->again && l->at == 0) {
		l->again = false;
	}
	while (looked++ < LOOK_A_TURN && lost < LOST_A_TURN) {
		s = ob__slab_next(&node->sessions.slab, &l->at);
		if (s == NULL) {
			l->at = 0;
			if (!l->again) {
				return;
			}
			break; /* somebody else is gone meanwhile: once more */
		}
		if (s->node != node->self.id && ob__node_gone(node, s->node, s->seq)) {
			lost++;
			++*l->lost;
			ob__session_lost(node, s);
		}
	}
	ob__timeout_set(node->loop, &l->sweep, 0);
}

/* The node lives, or did, with sessions that begin at this second. */
static void life(struct ob__node *node, uint64_t id, uint64_t second)
{
	uint64_t known = (uint64_t)(uintptr_t)ob__map_get(&node->losses.lives, id, 0);

	if (second + 1 <= known || (known == 0 && node->losses.lives.count >= UPS_MAX) ||
	    ob__map_put(&node->losses.lives, id, 0, (void *)(uintptr_t)(second + 1)) != 0) {
		return;
	}
	if (known != 0) {
		sweep_soon(node);
	}
}

void ob__losses_met(struct ob__node *node, uint64_t proxy, uint64_t seq)
{
	life(node, proxy, seq >> 32);
}

/* ---- suspects ---- */

static void check_arm(struct ob__node *node)
{
	struct ob__map_entry *e;
	uint64_t now = ob__loop_now(node->loop);
	uint64_t soonest = UINT64_MAX;

	for (size_t i = 0; (e = ob__map_next(&node->losses.suspects, &i)) != NULL;) {
		uint64_t due = (uint64_t)(uintptr_t)e->value - 1 + GONE_MS;
		if (due > now && due < soonest) {
			soonest = due;
		}
	}
	if (soonest != UINT64_MAX) {
		ob__timeout_set(node->loop, &node->losses.check, soonest - now);
	}
}

static void check(void *arg)
{
	sweep_soon(arg);
	check_arm(arg);
}

/* Those gone for longest may go. */
static void suspects_trim(struct ob__losses *l)
{
	const struct ob__map_entry *oldest = NULL;
	const struct ob__map_entry *e;

	if (l->suspects.count < OB__PEERS_MAX) {
		return;
	}
	for (size_t i = 0; (e = ob__map_next(&l->suspects, &i)) != NULL;) {
		if (oldest == NULL || (uintptr_t)e->value < (uintptr_t)oldest->value) {
			oldest = e;
		}
	}
	(void)ob__map_del(&l->suspects, oldest->a, 0);
}

static void reach_changed(struct ob__node *node, uint64_t id)
{
	struct ob__losses *l = &node->losses;

	if (in_reach(node, id)) {
		(void)ob__map_del(&l->suspects, id, 0);
		return;
	}
	if (ob__map_get(&l->suspects, id, 0) == NULL) {
		suspects_trim(l);
		(void)ob__map_put(&l->suspects, id, 0,
		                  (void *)(uintptr_t)(ob__loop_now(node->loop) + 1));
		check_arm(node);
	}
}

/* ---- what is said ---- */

static void tell(struct ob__node *node, struct ob__peer *to, const struct ob__peer *about, bool up)
{
	uint64_t words[2] = {htole64(about->who.id), htole64(about->who.incarnation)};
	uint8_t payload[sizeof(words)];
	struct ob__frame f = {
		.kind = OB__FRAME_SYSTEM,
		.id = up ? OB__SYS_NODE_UP : OB__SYS_NODE_DOWN,
		.dst = to->who.id,
		.hops = 1,
		.payload = payload,
		.payload_len = sizeof(payload),
	};

	memcpy(payload, words, sizeof(words));
	(void)ob__peer_send(node->links, to, &f);
}

static void tell_all(struct ob__node *node, const struct ob__peer *about, bool up)
{
	OB__LIST_EACH (it, &node->registry.peers) {
		struct ob__peer *p = OB__CONTAINER(it, struct ob__peer, all_link);
		if (p->link != NULL && p != about) {
			tell(node, p, about, up);
		}
	}
}

void ob__losses_link_up(struct ob__node *node, struct ob__peer *peer)
{
	if (is_route_node(node)) {
		tell_all(node, peer, true);
		OB__LIST_EACH (it, &node->registry.peers) {
			const struct ob__peer *p = OB__CONTAINER(it, struct ob__peer, all_link);
			if (p->link != NULL && p != peer) {
				tell(node, peer, p, true);
			}
		}
	}
	life(node, peer->who.id, peer->who.incarnation / 1000);
	reach_changed(node, peer->who.id);
}

void ob__losses_link_down(struct ob__node *node, const struct ob__peer *peer)
{
	if (is_route_node(node)) {
		tell_all(node, peer, false);
	}
	reach_changed(node, peer->who.id);
}

void ob__losses_frame(struct ob__node *node, const struct ob__frame *f)
{
	struct ob__losses *l = &node->losses;
	const struct ob__peer *from = ob__registry_get(&node->registry, f->src);
	uint64_t words[2];

	if (from == NULL || from->link == NULL || from->who.role_id != node->router.route_role ||
	    f->payload_len != sizeof(words)) {
		return;
	}
	memcpy(words, f->payload, sizeof(words));
	uint64_t id = le64toh(words[0]);
	uint64_t incarnation = le64toh(words[1]);
	if (id == node->self.id || incarnation >= UINT64_MAX / 2) {
		return;
	}
	if (f->id == OB__SYS_NODE_DOWN) {
		(void)ob__map_del(&l->up, id, from->who.id);
	} else if (l->up.count < UPS_MAX) {
		(void)ob__map_put(&l->up, id, from->who.id, (void *)(uintptr_t)from->ups);
		life(node, id, incarnation / 1000);
	}
	reach_changed(node, id);
}

/* ---- life ---- */

void ob__losses_init(struct ob__node *node)
{
	struct ob__losses *l = &node->losses;

	ob__map_init(&l->up, node->self.incarnation);
	ob__map_init(&l->suspects, node->self.incarnation);
	ob__map_init(&l->lives, node->self.incarnation);
	ob__timeout_init(&l->check, check, node);
	ob__timeout_init(&l->sweep, sweep, node);
	l->lost = ob__stat_counter(node->stats, "obhost_sessions_lost_total", NULL,
	                           "Sessions met whose proxy is gone.");
}

void ob__losses_free(struct ob__node *node)
{
	struct ob__losses *l = &node->losses;

	ob__timeout_clear(node->loop, &l->check);
	ob__timeout_clear(node->loop, &l->sweep);
	ob__map_free(&l->up);
	ob__map_free(&l->suspects);
	ob__map_free(&l->lives);
}
