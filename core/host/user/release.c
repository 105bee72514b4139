/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Users that sessions here have no more, until their keepers have said that they know: a keeper is
 * told again every AGAIN_MS, for LAST_MS at most, or until it is gone.  What is told again must not
 * meet a later claim: when the session claims the user from that keeper, it is told no more.
 *
 * A session that has its user from another keeper now may claim him from the former one again, at
 * any time.  That one is told by its own link only, which keeps the order: what is sent another way
 * might wait there, and come behind the claim.
 */

#include "host/user/users_priv.h"

#include <stdlib.h>
#include <string.h>

#include "host/node.h"
#include "host/session/lost.h"

#define AGAIN_MS     2000u
#define LAST_MS      60000u
#define RELEASES_MAX 65536u /* beyond it the oldest is told no more */
#define A_TICK       500u

struct release {
	struct ob__list link; /* the one told longest ago first */
	struct release *next; /* of the same session */
	uint64_t call;
	uint64_t keeper;
	uint64_t seq;
	uint64_t epoch;
	uint64_t again_at;
	uint64_t until;
	bool moved; /* to another keeper: the session has the user still */
	char user[];
};

static bool is_near(const struct ob__node *node, uint64_t id)
{
	const struct ob__peer *p = ob__registry_get(&node->registry, id);

	return id == node->self.id || (p != NULL && p->link != NULL);
}

/* True if the keeper may be told now. */
static bool can_tell(const struct ob__node *node, const struct release *r)
{
	return !r->moved || is_near(node, r->keeper);
}

static void tell(struct ob__node *node, const struct release *r)
{
	uint8_t payload[OB__USER_WIRE_MAX];
	struct ob__frame f = {
		.id = OB__SYS_USER_RELEASE,
		.call = r->call,
		.budget = AGAIN_MS, /* then it is said again, so it need not wait longer */
		.session_node = node->self.id,
		.session_seq = r->seq,
		.payload = payload,
		.payload_len = (uint32_t)ob__user_put(payload, r->user, r->epoch, 0),
	};

	(void)ob__users_send(node, r->keeper, &f);
}

static void forget(struct ob__users *us, struct release *r)
{
	struct release *first = ob__map_get(&us->released, r->seq, 0);

	if (first == r) {
		ob__map_del(&us->released, r->seq, 0);
		if (r->next != NULL && ob__map_put(&us->released, r->seq, 0, r->next) != 0) {
			r->next = NULL; /* can't be: there was room for this one */
		}
	} else {
		while (first->next != r) {
			first = first->next;
		}
		first->next = r->next;
	}
	ob__list_del(&r->link);
	us->releases_len--;
	free(r);
}

static void lose(struct ob__users *us, struct release *r)
{
	uint32_t missed;

	++*us->releases_lost;
	if (ob__log_allow(&us->release_limit, 1, ob__loop_now(us->node->loop), &missed)) {
		ob__warning("session",
		            "user %s: the keeper has not acknowledged that the session is over; "
		            "the next login may wait [and %u like it]",
		            r->user, (unsigned)missed);
	}
	forget(us, r);
}

/* Notes it; without the memory it is told once. */
static void keep(struct ob__users *us, const struct release *once)
{
	size_t len = strlen(once->user) + 1;
	struct release *r = malloc(sizeof(*r) + len);

	if (r == NULL) {
		return;
	}
	memcpy(r, once, sizeof(*r));
	memcpy(r->user, once->user, len);
	ob__list_init(&r->link);
	r->next = ob__map_get(&us->released, r->seq, 0);
	if (ob__map_put(&us->released, r->seq, 0, r) != 0) {
		free(r);
		return;
	}
	if (us->releases_len == RELEASES_MAX) {
		lose(us, OB__CONTAINER(us->releases.next, struct release, link));
	}
	ob__list_append(&us->releases, &r->link);
	us->releases_len++;
	ob__users_tick_soon(us);
}

static void release(struct ob__node *node, uint64_t keeper, uint64_t seq, const char *user,
                    uint64_t epoch, bool moved)
{
	struct ob__users *us = node->users;
	uint64_t now = ob__loop_now(node->loop);
	union {
		struct release r;
		char room[sizeof(struct release) + OB__USER_MAX + 1];
	} once = {.r = {.keeper = keeper, .seq = seq, .epoch = epoch, .moved = moved}};

	memcpy(once.r.user, user, strlen(user) + 1);
	once.r.call = ++us->next_call;
	once.r.again_at = now + AGAIN_MS;
	once.r.until = now + LAST_MS;
	if (can_tell(node, &once.r)) {
		tell(node, &once.r);
	}
	if (keeper != node->self.id && node->phase != OB__NODE_STOPPING) {
		keep(us, &once.r);
	}
}

void ob__release(struct ob__node *node, uint64_t keeper, uint64_t seq, const char *user,
                 uint64_t epoch)
{
	release(node, keeper, seq, user, epoch, false);
}

void ob__release_moved(struct ob__node *node, uint64_t keeper, uint64_t seq, const char *user,
                       uint64_t epoch)
{
	release(node, keeper, seq, user, epoch, true);
}

void ob__release_all(struct ob__node *node, const uint64_t keepers[2], uint64_t seq,
                     const char *user, uint64_t epoch)
{
	uint32_t stamp;
	uint64_t now = ob__users_keeper(node->users, user, &stamp);

	release(node, now, seq, user, epoch, false);
	for (unsigned i = 0; i < 2; i++) {
		if (keepers[i] != 0 && keepers[i] != now && (i == 0 || keepers[i] != keepers[0])) {
			release(node, keepers[i], seq, user, epoch, false);
		}
	}
}

void ob__release_void(struct ob__users *us, uint64_t keeper, uint64_t seq, const char *user)
{
	struct release *r = us->releases_len > 0 ? ob__map_get(&us->released, seq, 0) : NULL;

	while (r != NULL) {
		struct release *next = r->next;
		if (r->keeper == keeper && strcmp(r->user, user) == 0) {
			forget(us, r);
		}
		r = next;
	}
}

void ob__released_frame(struct ob__node *node, const struct ob__frame *f)
{
	struct release *r = ob__map_get(&node->users->released, f->session_seq, 0);

	while (r != NULL && (r->call != f->call || r->keeper != f->src)) {
		r = r->next;
	}
	if (r != NULL) {
		forget(node->users, r);
	}
}

static void tell_again(struct ob__node *node, const struct release *r)
{
	if (can_tell(node, r)) {
		++*node->users->released_again;
		tell(node, r);
	}
}

void ob__releases_tick(struct ob__node *node, uint64_t now_ms)
{
	struct ob__users *us = node->users;

	for (unsigned i = 0; i < A_TICK && !ob__list_empty(&us->releases); i++) {
		struct release *r = OB__CONTAINER(us->releases.next, struct release, link);
		if (r->again_at > now_ms) {
			return;
		}
		if (ob__node_gone(node, r->keeper, 0)) {
			forget(us, r);
		} else if (r->until <= now_ms) {
			lose(us, r);
		} else {
			r->again_at = now_ms + AGAIN_MS;
			ob__list_del(&r->link);
			ob__list_append(&us->releases, &r->link);
			tell_again(node, r);
		}
	}
}

void ob__releases_init(struct ob__users *us)
{
	struct ob__stats *s = us->node->stats;

	ob__list_init(&us->releases);
	ob__map_init(&us->released, us->node->self.incarnation);
	us->released_again = ob__stat_counter(
		s, "obhost_users_released_again_total", NULL,
		"Times that a keeper was told again that a session here has a user no more.");
	us->releases_lost =
		ob__stat_counter(s, "obhost_users_releases_lost_total", NULL,
	                         "Ends of sessions with a user that no keeper has acknowledged.");
}

void ob__releases_free(struct ob__users *us)
{
	while (!ob__list_empty(&us->releases)) {
		forget(us, OB__CONTAINER(us->releases.next, struct release, link));
	}
	ob__map_free(&us->released);
}
