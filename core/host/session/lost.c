/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/session/lost.h"

#include "host/node.h"
#include "host/session/end.h"
#include "host/user/users.h"

#define GONE_MS     3000u
#define LOST_A_TURN 1000u
#define LOOK_A_TURN 20000u
#define LIVES_MAX   (8 * OB__PEERS_MAX)

/* ---- who is in reach ---- */

static bool in_reach(const struct ob__node *node, uint64_t id)
{
	const struct ob__peer *p = ob__registry_get(&node->registry, id);

	return p != NULL && (p->link != NULL || ob__peer_is_listed(p));
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
	uint64_t due = (uint64_t)(uintptr_t)ob__map_get(&node->losses.suspects, id, 0);
	return due != 0 && ob__loop_now(node->loop) + 1 >= due;
}

/* ---- sessions that are lost ---- */

static void look_soon(struct ob__node *node)
{
	node->losses.again = true;
	if (!ob__timeout_armed(&node->losses.sweep)) {
		ob__timeout_set(node->loop, &node->losses.sweep, 0);
	}
}

static void sweep_soon(struct ob__node *node)
{
	look_soon(node);
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

	if (second + 1 <= known || (known == 0 && node->losses.lives.count >= LIVES_MAX) ||
	    ob__map_put(&node->losses.lives, id, 0, (void *)(uintptr_t)(second + 1)) != 0) {
		return;
	}
	if (known != 0) {
		sweep_soon(node);
	}
}

/* Of a node in reach its hello or the directory says when its life began: no message does, which
 * anybody may have sent. */
void ob__losses_met(struct ob__node *node, uint64_t proxy, uint64_t seq)
{
	if (ob__node_gone(node, proxy, seq)) {
		look_soon(node); /* its last words were still under way */
		return;
	}
	if (in_reach(node, proxy)) {
		return;
	}
	life(node, proxy, seq >> 32);
}

/* ---- suspects ---- */

static void check_arm(struct ob__node *node)
{
	struct ob__map_entry *e;
	uint64_t now = ob__loop_now(node->loop);
	uint64_t soonest = UINT64_MAX;

	for (size_t i = 0; (e = ob__map_next(&node->losses.suspects, &i)) != NULL;) {
		uint64_t due = (uint64_t)(uintptr_t)e->value - 1;
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

/* Somebody out of reach is gone after `grace` ms, or when that was said before. */
static void reach_changed(struct ob__node *node, uint64_t id, uint32_t grace)
{
	struct ob__losses *l = &node->losses;
	uint64_t due = ob__loop_now(node->loop) + grace + 1;
	uint64_t before = (uint64_t)(uintptr_t)ob__map_get(&l->suspects, id, 0);

	if (in_reach(node, id)) {
		(void)ob__map_del(&l->suspects, id, 0);
		return;
	}
	if (before != 0 && before <= due) {
		return;
	}
	if (before == 0) {
		suspects_trim(l);
	}
	(void)ob__map_put(&l->suspects, id, 0, (void *)(uintptr_t)due);
	if (grace == 0) {
		ob__timeout_set(node->loop, &l->check, 0);
	} else {
		check_arm(node);
	}
}

/* ---- what is known ---- */

void ob__losses_link_up(struct ob__node *node, const struct ob__peer *peer)
{
	life(node, peer->who.id, peer->who.incarnation / 1000);
	reach_changed(node, peer->who.id, GONE_MS);
}

void ob__losses_link_down(struct ob__node *node, const struct ob__peer *peer)
{
	reach_changed(node, peer->who.id, GONE_MS);
}

void ob__losses_member(struct ob__node *node, const struct ob__member *m)
{
	if (m->state != OB__MEMBER_DEAD && m->state != OB__MEMBER_LEFT) {
		life(node, m->id, m->incarnation / 1000);
	}
	reach_changed(node, m->id, m->state == OB__MEMBER_DEAD ? 0 : GONE_MS);
}

/* ---- life ---- */

void ob__losses_init(struct ob__node *node)
{
	struct ob__losses *l = &node->losses;

	ob__map_init(&l->suspects, node->registry.seed);
	ob__map_init(&l->lives, node->registry.seed);
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
	ob__map_free(&l->suspects);
	ob__map_free(&l->lives);
}
