/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/session/sticky.h"

#include <obhost/obhost.h>

#include "host/node.h"
#include "lib/fnv.h"
#include "mesh/sticks.h"

#define SETTLING_MS 5000u /* for the nodes that a route node had links with to come back to it */

struct ob__sticky_rule ob__sticky_rule(uint32_t number)
{
	enum ob__sticky_lost lost = number & ~OB__STICKY_BY_USER;

	return (struct ob__sticky_rule){
		.lost = lost,
		.by_user = (number & OB__STICKY_BY_USER) != 0,
		.flags = lost == OB__LOST_FAIL   ? OB__FRAME_LOST_FAIL
	                 : lost == OB__LOST_WAIT ? OB__FRAME_LOST_WAIT
	                                         : 0,
	};
}

uint64_t ob__sticky_key(const struct ob__session *s)
{
	const char *user = ob__session_user(s);

	return *user != '\0' ? ob__balance_key(ob__fnv1a64_of(user, strlen(user)), 0)
	                     : ob__balance_key(s->node, s->seq);
}

void ob__sticky_user_changed(const struct ob__node *node, struct ob__session *s)
{
	for (uint8_t i = 0; node->conf->sticky_by_user && i < s->sticky_len; i++) {
		if (s->sticky[i].busy == 0) {
			ob__session_move(s, s->sticky[i].role);
		}
	}
}

void ob__sticky_go_home(const struct ob__node *node, struct ob__session *s,
                        const struct ob__home *homes, uint8_t len)
{
	for (uint8_t i = 0; node->conf->sticky_by_user && i < len; i++) {
		const struct ob__peer *p = ob__registry_get(&node->registry, homes[i].node);
		if (p != NULL && p->ready && p->who.role_id == homes[i].role &&
		    p->state != OB__MEMBER_SUSPECT) {
			ob__session_settle(s, homes[i].role, homes[i].node);
		}
	}
}

/* There is a route node that may know a way. */
static bool has_way(const struct ob__node *node)
{
	const struct ob__registry_role *role =
		ob__registry_role_get(&node->registry, node->router.route_role);

	if (role == NULL) {
		return false;
	}
	OB__LIST_EACH (it, &role->peers) {
		if (OB__CONTAINER(it, struct ob__peer, role_link)->link != NULL) {
			return true;
		}
	}
	return false;
}

/* Of one that was never heard of only a route node can say so. */
static bool is_gone(const struct ob__node *node, const struct ob__peer *peer)
{
	if (peer != NULL) {
		return peer->link == NULL && !ob__peer_is_listed(peer);
	}
	return node->self.role_id == node->router.route_role && !has_way(node) &&
	       ob__loop_now(node->loop) - node->started_ms > SETTLING_MS;
}

bool ob__sticky_is_gone(const struct ob__node *node, uint64_t id)
{
	return is_gone(node, ob__registry_get(&node->registry, id));
}

static void count_lost(struct ob__node *node, enum ob__sticky_lost lost)
{
	static const char *const labels[] = {
		[OB__LOST_MOVE] = "then=\"move\"",
		[OB__LOST_FAIL] = "then=\"fail\"",
		[OB__LOST_WAIT] = "then=\"wait\"",
	};

	++*ob__stat_counter(node->stats, "obhost_sticky_lost_total", labels[lost],
	                    "Messages whose session sticks to a node that is gone.");
}

/* The node may be gone or not; in a few seconds that will be known. */
static bool is_missed(const struct ob__peer *peer)
{
	return peer != NULL && peer->link == NULL && peer->state == OB__MEMBER_SUSPECT;
}

/* Something has changed, and what was held until then is sent in a moment. */
static bool others_go_first(const struct ob__node *node)
{
	return node->cluster.reach_changed && !ob__list_empty(&node->dispatch.held_frames);
}

static enum ob__sticky_verdict settle(struct ob__node *node, uint64_t choice,
                                      enum ob__sticky_lost lost, uint64_t *to)
{
	*to = choice;
	if (choice == 0) {
		return OB__STICKY_GO;
	}
	const struct ob__peer *peer = ob__registry_get(&node->registry, choice);
	if (is_missed(peer) || others_go_first(node)) {
		return OB__STICKY_WAIT;
	}
	if (!is_gone(node, peer)) {
		return OB__STICKY_GO;
	}
	count_lost(node, lost);
	switch (lost) {
	case OB__LOST_FAIL:
		return OB__STICKY_FAIL;
	case OB__LOST_WAIT:
		return OB__STICKY_WAIT;
	default:
		*to = 0;
		return OB__STICKY_GO;
	}
}

enum ob__sticky_verdict ob__sticky_of_session(struct ob__node *node, struct ob__session *s,
                                              uint32_t role, enum ob__sticky_lost lost,
                                              uint64_t *to)
{
	if (lost == OB__LOST_FAIL || lost == OB__LOST_WAIT) {
		ob__session_stays(s, role);
	}
	if (role == 0) {
		*to = 0;
		return OB__STICKY_GO;
	}
	uint64_t choice = ob__session_sticky(s, role);
	enum ob__sticky_verdict verdict = settle(node, choice, lost, to);
	if (choice != 0 && *to == 0) {
		ob__session_move(s, role);
	}
	return verdict;
}

uint64_t ob__sticky_relay(const struct ob__node *node, const struct ob__session *s, bool *wait)
{
	uint64_t choice = ob__session_sticky(s, node->router.route_role);
	const struct ob__peer *peer =
		choice != 0 ? ob__registry_get(&node->registry, choice) : NULL;

	*wait = false;
	if (peer == NULL || !ob__peer_drains(peer)) {
		return choice;
	}
	if (ob__session_busy(s, 0) == 0) {
		return 0;
	}
	*wait = !peer->ready;
	return choice;
}

bool ob__sticky_has_policy(const struct ob__node *node, const struct ob__frame *f)
{
	const struct ob__registry_role *role =
		node->registry.policies > 0 ? ob__registry_role_get(&node->registry, f->role)
					    : NULL;

	return role != NULL && ob__router_chooser(&node->router, role, f).policy != NULL;
}

enum ob__sticky_verdict ob__sticky_of_frame(struct ob__node *node, const struct ob__frame *f,
                                            uint64_t stick, uint64_t *to)
{
	uint64_t choice = *to != 0 ? *to : stick;

	if (f->role == 0 || choice == 0 || choice == node->self.id ||
	    (*to == 0 && ob__sticky_has_policy(node, f))) {
		return OB__STICKY_GO;
	}
	enum ob__sticky_lost lost = (f->flags & OB__FRAME_LOST_FAIL) != 0   ? OB__LOST_FAIL
	                            : (f->flags & OB__FRAME_LOST_WAIT) != 0 ? OB__LOST_WAIT
	                                                                    : OB__LOST_MOVE;
	return settle(node, choice, lost, to);
}

uint64_t ob__sticky_known(struct ob__node *node, const struct ob__frame *f,
                          const struct ob__sticks *sticks, struct ob__route_query *q)
{
	const struct ob__registry_role *role =
		q->node == 0 && q->role != 0 && sticks->node == 0 && sticks->key == 0
			? ob__registry_role_get(&node->registry, q->role)
			: NULL;
	uint64_t now = ob__loop_now(node->loop);

	if (role == NULL || f->session_node == 0 ||
	    ob__router_chooser(&node->router, role, f).way == 0) {
		return sticks->node;
	}
	if ((f->flags & OB__FRAME_FIRST) != 0 && q->from->who.id == f->session_node) {
		q->first = ob__firsts_begin(&node->firsts, f->session_node, f->session_seq, q->role,
		                            now);
		return 0;
	}
	uint64_t choice =
		ob__firsts_get(&node->firsts, f->session_node, f->session_seq, q->role, now);
	return choice != sticks->from ? choice : 0;
}

void ob__sticky_placed(struct ob__node *node, const struct ob__route_query *q,
                       const struct ob__peer *to)
{
	if (q->first) {
		bool chosen = to != NULL && to->who.role_id == q->role;
		ob__firsts_set(&node->firsts, q->session_node, q->session_seq, q->role,
		               chosen ? to->who.id : 0);
	}
}

enum ob__sticky_verdict ob__sticky_of_held(struct ob__node *node, const struct ob__frame *f,
                                           const struct ob__route_query *q)
{
	const struct ob__peer *peer =
		q->node != 0 ? ob__registry_get(&node->registry, q->node) : NULL;

	if (q->sticky && is_missed(peer)) {
		return OB__STICKY_WAIT;
	}
	if (!q->stays || q->node == 0 || !is_gone(node, peer)) {
		return OB__STICKY_GO;
	}
	if ((f->flags & OB__FRAME_LOST_FAIL) == 0) {
		return OB__STICKY_WAIT;
	}
	count_lost(node, OB__LOST_FAIL);
	return OB__STICKY_FAIL;
}

/* The node may be gone, or hang. */
static bool speaks_of_loss(int code)
{
	return code == OB_E_NO_ROUTE || code == OB_E_NOT_SENT || code == OB_E_MAYBE_SENT ||
	       code == OB_E_DEADLINE || code == OB_E_GONE;
}

/* For role 0: for any but that of the route nodes on the way. */
static bool has_choice(const struct ob__node *node, const struct ob__session *s, uint32_t role)
{
	for (uint8_t i = 0; i < s->sticky_len; i++) {
		const struct ob__session_choice *c = &s->sticky[i];
		if (c->node != 0 &&
		    (role == 0 ? c->role != node->router.route_role : c->role == role)) {
			return true;
		}
	}
	return false;
}

bool ob__sticky_failed(const struct ob__node *node, struct ob__session *s,
                       const struct ob__pending *p, int code)
{
	uint32_t role = p->u.client.role;

	if (p->u.client.lost == OB__LOST_WAIT) {
		return code == OB_E_NO_ROUTE && has_choice(node, s, role);
	}
	if (p->u.client.lost == OB__LOST_MOVE && role != 0 && speaks_of_loss(code)) {
		ob__session_move(s, role);
	}
	return false;
}
