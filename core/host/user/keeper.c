/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/user/users_priv.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include <openssl/rand.h>

#include "host/node.h"
#include "host/session/lost.h"

#define LOOK_A_TICK 2000u /* users with locks or a claim that waits */
#define LOG_BURST   5u

static uint64_t wall_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static int wire_code(int code)
{
	switch (code) {
	case 0:
		return OB_OK;
	case -ESTALE:
		return OB_E_GONE;
	case -EINVAL:
		return OB_E_BAD;
	default:
		return OB_E_BUSY;
	}
}

/* ---- what the table says ---- */

/* Before the claim's end: where the user was served before. */
static void tell_homes(struct ob__node *node, const struct ob__who *who, const char *user,
                       uint64_t epoch)
{
	uint8_t payload[OB__HOME_WIRE_MAX];
	struct ob__home_msg m = {.user = {.epoch = epoch}};

	m.len = ob__bindings_homes(&node->users->table, user, m.homes);
	if (m.len == 0) {
		return;
	}
	memcpy(m.user.user, user, strlen(user) + 1);
	struct ob__frame f = {
		.id = OB__SYS_USER_HOME,
		.status = 1,
		.session_node = who->node,
		.session_seq = who->seq,
		.payload = payload,
		.payload_len = (uint32_t)ob__home_put(payload, &m),
	};
	(void)ob__users_send(node, who->node, &f);
}

static void answer(void *arg, const struct ob__who *who, const char *user, uint64_t call, int code,
                   uint64_t epoch)
{
	uint8_t payload[OB__USER_WIRE_MAX];
	struct ob__frame f = {
		.id = OB__SYS_USER_CLAIMED,
		.call = call,
		.status = OB_RESULT_WIRE(wire_code(code)),
		.session_node = who->node,
		.session_seq = who->seq,
		.payload = payload,
		.payload_len = (uint32_t)ob__user_put(payload, user, epoch, 0),
	};

	if (code == 0 && call != 0) {
		tell_homes(arg, who, user, epoch);
	}
	(void)ob__users_send(arg, who->node, &f);
}

static void fence(void *arg, const struct ob__who *who, const char *user, uint64_t epoch)
{
	/* A proxy that can't be reached now claims again when it is back, and hears then. */
	(void)ob__users_tell(arg, who->node, OB__SYS_USER_FENCED, who, user, epoch);
}

static bool gone(void *arg, uint64_t node, uint64_t seq)
{
	return ob__node_gone(arg, node, seq);
}

static void expired(void *arg, const char *user, const struct ob__binding_lock *lock)
{
	struct ob__node *node = arg;
	struct ob__users *us = node->users;
	uint32_t missed;

	++*us->locks_expired;
	if (ob__log_allow(&us->expired_limit, LOG_BURST, ob__loop_now(node->loop), &missed)) {
		ob__warning("session",
		            "user %s: the lock %s has expired; what its holder was to save may be "
		            "lost [and %u like it]",
		            user, lock->key, (unsigned)missed);
	}
}

static const struct ob__bindings_ops ops = {
	.answer = answer,
	.fence = fence,
	.gone = gone,
	.expired = expired,
};

void ob__keeper_init(struct ob__node *node)
{
	struct ob__users *us = node->users;
	uint64_t seed = 0;

	RAND_bytes((unsigned char *)&seed, sizeof(seed));
	ob__bindings_init(&us->table, node->conf->limits.users, seed, &ops, node);
	us->locks_expired = ob__stat_counter(node->stats, "obhost_user_locks_expired_total", NULL,
	                                     "Locks on users whose deadline has passed.");
}

void ob__keeper_tick(struct ob__node *node)
{
	ob__bindings_tick(&node->users->table, LOOK_A_TICK, ob__loop_now(node->loop));
}

/* ---- what it is told ---- */

static void on_lock(struct ob__node *node, const struct ob__frame *f)
{
	struct ob__lock_msg m;
	uint32_t missed;

	if (ob__lock_get(&m, f->payload, f->payload_len) != 0 || m.ms > OB__BINDING_LOCK_MS ||
	    m.locker == 0) {
		ob__ignore_frame(node, f, OB__IGNORED_LOCK);
		return;
	}
	if ((m.flags & OB__LOCK_RELAY) != 0) {
		uint8_t payload[OB__LOCK_WIRE_MAX];
		uint32_t stamp;
		struct ob__frame on = *f;
		m.flags &= ~OB__LOCK_RELAY;
		on.src = 0; /* now it is this node's word */
		on.ext_len = 0;
		on.payload = payload;
		on.payload_len = (uint32_t)ob__lock_put(payload, &m);
		(void)ob__users_send(node, ob__users_keeper(node->users, m.user, &stamp), &on);
		return;
	}
	struct ob__binding_lock lock = {
		.locker = m.locker,
		.who = {f->session_node, f->session_seq},
		.until = ob__loop_now(node->loop) + m.ms,
	};
	memcpy(lock.key, m.key, sizeof(lock.key));
	if (f->id == OB__SYS_USER_UNLOCK) {
		(void)ob__bindings_unlock(&node->users->table, &lock, m.user,
		                          (m.flags & OB__LOCK_KEEP) != 0);
	} else if (ob__bindings_lock(&node->users->table, &lock, m.user) != 0 &&
	           ob__log_allow(&node->users->lock_limit, LOG_BURST, ob__loop_now(node->loop),
	                         &missed)) {
		ob__warning("session", "user %s: there is no room for the lock %s [and %u like it]",
		            m.user, m.key, (unsigned)missed);
	}
}

static void on_find(struct ob__node *node, const struct ob__frame *f, const char *user)
{
	const struct ob__binding *b = ob__bindings_find(&node->users->table, user);

	if (b == NULL) {
		ob__users_reply(node, f->src, f->call, OB_E_NOT_FOUND, "the user is not logged in",
		                NULL);
		return;
	}
	struct ob__place place = {b->who.node, b->who.seq, b->epoch};
	ob__users_reply(node, f->src, f->call, OB_OK, NULL, &place);
}

static void on_home(struct ob__node *node, const struct ob__frame *f)
{
	struct ob__who who = {f->session_node, f->session_seq};
	struct ob__home_msg m;

	if (ob__home_get(&m, f->payload, f->payload_len) != 0) {
		ob__ignore_frame(node, f, OB__IGNORED_USER);
	} else if (who.node == 0 || who.node != f->src) {
		ob__ignore_frame(node, f, OB__IGNORED_NOT_PROXY);
	} else {
		ob__bindings_set_homes(&node->users->table, &who, &m);
	}
}

void ob__keeper_frame(struct ob__node *node, const struct ob__frame *f)
{
	struct ob__bindings *t = &node->users->table;
	struct ob__who who = {f->session_node, f->session_seq};
	struct ob__user_msg m;

	t->now_ms = ob__loop_now(node->loop);
	t->home_ms = node->conf->home_ms;
	if (f->id == OB__SYS_USER_LOCK || f->id == OB__SYS_USER_UNLOCK) {
		on_lock(node, f);
		ob__users_tick_soon(node->users);
		return;
	}
	if (f->id == OB__SYS_USER_HOME) {
		on_home(node, f);
		return;
	}
	if (ob__user_get(&m, f->payload, f->payload_len, false) != 0) {
		ob__ignore_frame(node, f, OB__IGNORED_USER);
		return;
	}
	if (f->id == OB__SYS_USER_FIND) {
		on_find(node, f, m.user);
		return;
	}
	if (who.node == 0 || who.node != f->src) {
		ob__ignore_frame(node, f, OB__IGNORED_NOT_PROXY);
		return;
	}
	if (f->id == OB__SYS_USER_RELEASE && f->call != 0 && f->src != node->self.id) {
		struct ob__frame heard = {
			.id = OB__SYS_USER_RELEASED,
			.call = f->call,
			.session_node = f->session_node,
			.session_seq = f->session_seq,
		};
		(void)ob__users_send(node, f->src, &heard);
	}
	if (f->id == OB__SYS_USER_CLAIM) {
		ob__bindings_claim(t, &who, f->call, m.user, m.epoch, wall_ms(),
		                   ob__loop_now(node->loop));
	} else {
		(void)ob__bindings_release(t, &who, m.user, m.epoch);
	}
	ob__users_tick_soon(node->users);
}
