/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * The part as a whole: its begin and end, the frames that are for it, and its time.
 */

#include "host/user/users_priv.h"

#include <stdlib.h>

#include "host/node.h"
#include "host/session/lock.h"

#define TICK_MS      50u
#define TICK_BUSY_MS 10u
#define SWEEP_A_TICK 2000u

bool ob__users_frame(struct ob__node *node, const struct ob__frame *f)
{
	switch (f->id) {
	case OB__SYS_BIND:
		ob__bind_frame(node, f);
		return true;
	case OB__SYS_UNBIND:
		ob__unbind_frame(node, f);
		return true;
	case OB__SYS_USER_RELEASED:
		ob__released_frame(node, f);
		return true;
	case OB__SYS_USER_CLAIMED:
		ob__claimed_frame(node, f);
		return true;
	case OB__SYS_USER_FENCED:
		ob__fenced_frame(node, f);
		return true;
	case OB__SYS_SESSION_SET:
		ob__session_set_frame(node, f);
		return true;
	case OB__SYS_SESSION_ENTER:
		ob__states_frame(node, f);
		return true;
	case OB__SYS_SESSION_USER:
		ob__session_user_frame(node, f);
		return true;
	case OB__SYS_USER_SEND:
		ob__user_send_frame(node, f);
		return true;
	case OB__SYS_USER_STALE:
		ob__user_stale_frame(node, f);
		return true;
	case OB__SYS_USER_HOME:
		if (f->status == 1) {
			ob__claim_home_frame(node, f);
		} else {
			ob__keeper_frame(node, f);
		}
		return true;
	case OB__SYS_USER_CLAIM:
	case OB__SYS_USER_RELEASE:
	case OB__SYS_USER_FIND:
	case OB__SYS_USER_LOCK:
	case OB__SYS_USER_UNLOCK:
		ob__keeper_frame(node, f);
		return true;
	default:
		return false;
	}
}

/* ---- time ---- */

static bool tick_busy(const struct ob__users *us)
{
	return us->sweeping || !ob__list_empty(&us->todo);
}

static void arm(struct ob__users *us)
{
	bool waits = !ob__list_empty(&us->table.waits) || !ob__list_empty(&us->ending_list) ||
	             !ob__list_empty(&us->lock_list) || !ob__list_empty(&us->later) ||
	             !ob__list_empty(&us->table.homes) || !ob__list_empty(&us->releases);

	if (tick_busy(us) || waits) {
		ob__timeout_set(us->node->loop, &us->tick, tick_busy(us) ? TICK_BUSY_MS : TICK_MS);
	}
}

void ob__users_tick_soon(struct ob__users *us)
{
	if (!ob__timeout_armed(&us->tick)) {
		arm(us);
	}
}

static void tick(void *arg)
{
	struct ob__users *us = arg;
	struct ob__node *node = us->node;

	ob__bound_tick(node, ob__loop_now(node->loop));
	ob__endings_tick(node, ob__loop_now(node->loop));
	ob__releases_tick(node, ob__loop_now(node->loop));
	if (us->sweeping) {
		bool more = ob__bindings_sweep(&us->table, SWEEP_A_TICK);
		us->sweeping = more || us->sweep_again;
		us->sweep_again = more && us->sweep_again;
	}
	ob__keeper_tick(node);
	ob__locks_tick(node);
	arm(us);
}

void ob__users_node_gone(struct ob__node *node)
{
	struct ob__users *us = node->users;

	us->sweep_again = us->sweeping;
	us->sweeping = us->table.count > 0;
	ob__users_tick_soon(us);
}

/* ---- life ---- */

int ob__users_init(struct ob__node *node)
{
	struct ob__users *us = calloc(1, sizeof(*us));
	struct ob__stats *s = node->stats;

	if (us == NULL) {
		return OB_E_NOMEM;
	}
	node->users = us;
	us->node = node;
	ob__list_init(&us->claims);
	ob__list_init(&us->bound);
	ob__list_init(&us->todo);
	ob__list_init(&us->later);
	ob__list_init(&us->ending_list);
	ob__list_init(&us->under_way);
	ob__map_init(&us->endings, node->self.incarnation);
	ob__timeout_init(&us->tick, tick, us);
	ob__releases_init(us);
	ob__keeper_init(node);
	ob__user_sends_init(us);
	ob__locks_init(node);
	us->claimed = ob__stat_counter(s, "obhost_users_bound_total", NULL,
	                               "Sessions here that were bound to a user.");
	us->refused = ob__stat_counter(s, "obhost_users_refused_total", NULL,
	                               "Sessions here that could not be bound to a user.");
	us->replaced = ob__stat_counter(s, "obhost_users_replaced_total", NULL,
	                                "Sessions here whose user has logged in elsewhere.");
	us->crowded = ob__stat_counter(s, "obhost_users_crowded_out_total", NULL,
	                               "Users claimed again for whom the keeper had no room.");
	us->again = ob__stat_counter(s, "obhost_users_claimed_again_total", NULL,
	                             "Users claimed again because their keeper is another one.");
	ob__users_peers_changed(node);
	return ob__user_tags_init(us);
}

void ob__users_free(struct ob__node *node)
{
	struct ob__users *us = node->users;

	if (us == NULL) {
		return;
	}
	ob__timeout_clear(node->loop, &us->tick);
	ob__claims_free(us);
	ob__endings_free(us);
	ob__releases_free(us);
	ob__user_sends_free(us);
	ob__user_tags_free(us);
	ob__locks_free(node);
	ob__bindings_free(&us->table);
	node->users = NULL;
	free(us);
}

static double gauge_u32(void *arg)
{
	return *(const uint32_t *)arg;
}

void ob__users_gauges(struct ob__node *node)
{
	struct ob__bindings *t = &node->users->table;

	ob__stat_gauge(node->stats, "obhost_users_kept", NULL,
	               "Users whose whereabouts this node keeps.", gauge_u32, &t->count);
	ob__stat_gauge(node->stats, "obhost_users_waiting", NULL,
	               "Claims of users here that wait for the former session.", gauge_u32,
	               &t->pending);
	ob__stat_gauge(node->stats, "obhost_user_locks", NULL, "Locks on users kept here.",
	               gauge_u32, &t->locks);
}
