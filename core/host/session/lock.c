/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/session/lock.h"

#include <stdlib.h>
#include <string.h>

#include "host/node.h"
#include "host/session/lost.h"
#include "host/user/users_priv.h"

#define LOCKS_MAX   (1u << 20)
#define LOOK_A_TICK 1000u
#define LOG_BURST   5u
#define AGAIN_MS    300u /* let the proxies notice the change as well */

struct lock {
	struct ob__list link; /* in users->lock_list, the one looked at longest ago first */
	struct lock *next;    /* of the same session */
	uint64_t session;     /* handle */
	struct ob__who who;
	uint64_t until;
	uint64_t again; /* when it is told again; 0: it is not */
	char user[OB__USER_MAX + 1];
	char key[OB__KEY_MAX + 1];
};

void ob__locks_init(struct ob__node *node)
{
	struct ob__users *us = node->users;

	ob__map_init(&us->locks, node->registry.seed);
	ob__list_init(&us->lock_list);
	us->locks_kept = ob__stat_counter(node->stats, "obhost_user_locks_kept_total", NULL,
	                                  "Locks that their holders left to their deadlines.");
}

void ob__locks_free(struct ob__node *node)
{
	struct ob__users *us = node->users;

	while (!ob__list_empty(&us->lock_list)) {
		struct lock *l = OB__CONTAINER(us->lock_list.next, struct lock, link);
		ob__list_del(&l->link);
		free(l);
	}
	ob__map_free(&us->locks);
}

static struct lock *find(const struct ob__users *us, uint64_t session, const char *key,
                         unsigned *count)
{
	struct lock *l = ob__map_get(&us->locks, session, 0);

	for (*count = 0; l != NULL && strcmp(l->key, key) != 0; l = l->next) {
		++*count;
	}
	return l;
}

static void remove_lock(struct ob__users *us, struct lock *l)
{
	struct lock *first = ob__map_get(&us->locks, l->session, 0);

	if (first == l && l->next == NULL) {
		(void)ob__map_del(&us->locks, l->session, 0);
	} else if (first == l) {
		(void)ob__map_put(&us->locks, l->session, 0, l->next); /* replaces */
	} else {
		while (first->next != l) {
			first = first->next;
		}
		first->next = l->next;
	}
	ob__list_del(&l->link);
	free(l);
}

static int tell(struct ob__node *node, const struct lock *l, uint32_t id, uint32_t flags)
{
	uint64_t now = ob__loop_now(node->loop);
	bool relay = !ob__node_gone(node, l->who.node, l->who.seq);
	uint8_t payload[OB__LOCK_WIRE_MAX];
	uint32_t stamp;
	struct ob__lock_msg m = {
		.locker = node->self.id,
		.ms = l->until > now ? (uint32_t)(l->until - now) : 0,
		.flags = flags | (relay ? OB__LOCK_RELAY : 0),
	};
	struct ob__frame f = {
		.id = id,
		.budget = m.ms,
		.session_node = l->who.node,
		.session_seq = l->who.seq,
		.payload = payload,
	};

	memcpy(m.user, l->user, sizeof(m.user));
	memcpy(m.key, l->key, sizeof(m.key));
	f.payload_len = (uint32_t)ob__lock_put(payload, &m);
	return ob__users_send(
		node, relay ? l->who.node : ob__users_keeper(node->users, l->user, &stamp), &f);
}

static int lock_new(struct ob__node *node, uint64_t session, const char *key, unsigned count,
                    struct lock **out)
{
	struct ob__users *us = node->users;
	const struct ob__session *s = ob__session_get(&node->sessions, session);

	if (s == NULL) {
		return OB_E_STALE;
	}
	if (*ob__session_user(s) == '\0') {
		return OB_E_STATE;
	}
	if (count >= OB__BINDING_LOCKS || us->locks.count >= LOCKS_MAX) {
		return OB_E_LIMIT;
	}
	struct lock *l = calloc(1, sizeof(*l));
	struct lock *first = ob__map_get(&us->locks, session, 0);
	if (l == NULL || ob__map_put(&us->locks, session, 0, l) != 0) {
		free(l);
		return OB_E_NOMEM;
	}
	l->next = first;
	l->session = session;
	l->who = (struct ob__who){s->node, s->seq};
	memcpy(l->user, ob__session_user(s), sizeof(l->user));
	memcpy(l->key, key, strlen(key) + 1);
	ob__list_init(&l->link);
	ob__list_append(&us->lock_list, &l->link);
	*out = l;
	return 0;
}

int ob__lock_set(struct ob__node *node, uint64_t session, const char *key, uint32_t ms)
{
	unsigned count;

	if (!ob__key_ok(key) || ms == 0 || ms > OB__BINDING_LOCK_MS) {
		return OB_E_INVAL;
	}
	struct lock *l = find(node->users, session, key, &count);
	int rc = l == NULL ? lock_new(node, session, key, count, &l) : 0;
	if (rc != 0) {
		return rc;
	}
	l->until = ob__loop_now(node->loop) + ms;
	if (tell(node, l, OB__SYS_USER_LOCK, 0) != 0) {
		l->again = ob__loop_now(node->loop) + AGAIN_MS;
	}
	ob__users_tick_soon(node->users);
	return 0;
}

static void log_kept(struct ob__node *node, const struct lock *l)
{
	uint32_t missed;

	if (ob__log_allow(&node->users->kept_limit, LOG_BURST, ob__loop_now(node->loop), &missed)) {
		ob__warning("session",
		            "user %s: the lock %s is left to its deadline, not saved? [and %u like "
		            "it]",
		            l->user, l->key, (unsigned)missed);
	}
}

int ob__lock_end(struct ob__node *node, uint64_t session, const char *key, bool keep)
{
	struct ob__users *us = node->users;
	unsigned count;
	struct lock *l = ob__key_ok(key) ? find(us, session, key, &count) : NULL;

	if (l == NULL) {
		return OB_E_NOT_FOUND;
	}
	(void)tell(node, l, OB__SYS_USER_UNLOCK, keep ? OB__LOCK_KEEP : 0);
	if (keep) {
		++*us->locks_kept;
		log_kept(node, l);
	}
	remove_lock(us, l);
	return 0;
}

void ob__locks_again(struct ob__node *node)
{
	uint64_t at = ob__loop_now(node->loop) + AGAIN_MS;

	OB__LIST_EACH (it, &node->users->lock_list) {
		OB__CONTAINER(it, struct lock, link)->again = at;
	}
	ob__users_tick_soon(node->users);
}

void ob__locks_tick(struct ob__node *node)
{
	struct ob__users *us = node->users;
	uint64_t now = ob__loop_now(node->loop);
	struct ob__list seen;

	ob__list_init(&seen);
	for (unsigned n = 0; n < LOOK_A_TICK && !ob__list_empty(&us->lock_list); n++) {
		struct lock *l = OB__CONTAINER(us->lock_list.next, struct lock, link);
		ob__list_del(&l->link);
		ob__list_append(&seen, &l->link);
		if (l->until <= now) {
			remove_lock(us, l); /* the keeper counts it */
		} else if (l->again != 0 && l->again <= now) {
			l->again = tell(node, l, OB__SYS_USER_LOCK, 0) == 0 ? 0 : now + AGAIN_MS;
		}
	}
	ob__list_splice(&us->lock_list, &seen);
}
