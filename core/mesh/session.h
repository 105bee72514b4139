/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F3.  Sessions: a client's routable identity.
 *
 * A session is named by its proxy's node id and a sequence number that starts at the proxy's
 * incarnation (in s) << 32 and is never used twice, so a name that outlives its client reaches
 * nobody.  On its proxy a session hangs on a connection and knows two things more: which nodes have
 * met it (served-by), and which node it sticks to per role.  On any other node a record is made
 * when a handler first meets the session; the node then tells the proxy (SERVED), and the record
 * goes when the proxy says CLOSED.
 *
 * CLOSED is sent to each node of the served-by set until acknowledged: again whenever a link comes
 * up, and every few seconds.  The receiver forgets the session at the first one, so its event comes
 * once.
 */

#ifndef OB__SESSION_H
#define OB__SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "base/loop.h"
#include "lib/list.h"
#include "lib/map.h"
#include "lib/slab.h"
#include "mesh/order.h"
#include "mesh/userwire.h"

#define OB__SESSION_NODES_MAX \
	64u /* nodes one session may be served by, and roles it may stick to */
#define OB__SESSION_ATTRS_MAX 16u

struct ob__session_choice {
	uint32_t role;       /* 0: of messages for which it is settled further on */
	uint32_t busy : 27;  /* its client's requests to the role that have not ended */
	uint32_t user : 1;   /* messages to it go by the user */
	uint32_t open : 1;   /* a one-way message of it was left to others to place */
	uint32_t stays : 1;  /* it is not to move: some of its messages are to fail or wait */
	uint32_t moving : 1; /* its node wants to be rid of it as soon as there are none */
	uint64_t node;       /* 0: to be chosen */
	uint64_t from;       /* the node before, until the next one is chosen; or 0 */
	uint64_t next;       /* where it goes when its requests have ended; or 0 */
};

struct ob__session_attr {
	char key[OB__KEY_MAX + 1];
	uint16_t len;
	uint8_t value[];
};

/* What a session has from the time on that somebody says whose it is, or sets an attribute. */
struct ob__session_more {
	struct ob__session *of;
	char user[OB__USER_MAX + 1]; /* "": nobody's; the last one's when it was replaced */
	uint64_t epoch;              /* of its last binding */
	uint32_t change;             /* grows each time its proxy gives it another user */
	struct ob__session_attr **attrs;
	uint8_t attrs_len;
	uint16_t carried_len;
	uint16_t state;     /* on its proxy: the number of its state, from 1 on; 0: the first one */
	json_t *state_data; /* what it has in it; owned, or NULL */
	uint8_t *carried;   /* on its proxy: the attributes that go along with its messages, as they
	                     * are on the wire; NULL: none */

	/* On its proxy, the floor above's own: */
	bool bound;
	bool replaced;     /* somebody else has logged in as its user */
	uint32_t stamp;    /* of the keeper's link */
	uint8_t homes_len; /* as the keeper was told last: */
	struct ob__home homes[OB__HOMES_MAX];
	uint64_t keeper;      /* node that knows of the binding; 0: none does for sure */
	uint64_t asked;       /* another one that may: it has not answered; or 0 */
	void *claim;          /* under way, or NULL */
	struct ob__list link; /* in the bound ones */
};

struct ob__session {
	uint64_t handle;
	uint64_t node;
	uint64_t seq;
	uint64_t conn; /* handle of the client's connection; 0 on other nodes */
	union {
		uint64_t opened_ms; /* one of a client of this node: loop ms */
		/* another node's: loop s since which its proxy has not said that it knows; 0: it
		 * has */
		uint64_t unheard_s;
	};
	uint64_t messages;
	uint64_t *served; /* node ids that met it */
	struct ob__session_choice *sticky;
	struct ob__session_more *more; /* or NULL */
	struct ob__push_row *pushers;  /* on its proxy: nodes that have pushed to it */
	struct ob__order order; /* of what its client sends: given here on its proxy, else taken */
	uint32_t version;       /* grows when `served` changes, or what it sticks to */
	uint8_t served_len;
	uint8_t sticky_len;
	uint8_t pushers_len;
	uint8_t flags; /* the floor above's own */
};

/* A CLOSED that has not been acknowledged. */
struct ob__notice {
	uint64_t handle;
	uint64_t to;
	uint64_t session_node;
	uint64_t session_seq;
	uint64_t until_ms; /* then it is given up */
	bool replaced;     /* and why: see ob__session_more */
	struct ob__list link;
};

struct ob__sessions {
	struct ob__slab slab;
	struct ob__map by_name; /* (node, seq) -> ob__session */
	struct ob__slab notices;
	struct ob__list notice_list; /* oldest first */
	uint64_t self;
	uint64_t next_seq;
	uint32_t local;
};

/* `incarnation` in ms. */
void ob__sessions_init(struct ob__sessions *ss, uint64_t self, uint64_t incarnation,
                       uint32_t limit);
void ob__sessions_free(struct ob__sessions *ss);

/* A new session of a client of this node. NULL at the limit. */
struct ob__session *ob__session_open(struct ob__sessions *ss, uint64_t conn, uint64_t now_ms);

/* The record of another node's session, made if need be; *fresh says so. NULL at the limit, and for
 * an own session that is over. */
struct ob__session *ob__session_meet(struct ob__sessions *ss, uint64_t node, uint64_t seq,
                                     bool *fresh);

struct ob__session *ob__session_get(const struct ob__sessions *ss, uint64_t handle);
struct ob__session *ob__session_find(const struct ob__sessions *ss, uint64_t node, uint64_t seq);

/* Frees the record; its handle is stale from now on. */
void ob__session_end(struct ob__sessions *ss, struct ob__session *s);

/* Adds a node to the served-by set. 0, -EEXIST if it is there, -ENOSPC at OB__SESSION_NODES_MAX,
 * -ENOMEM. */
int ob__session_served(struct ob__session *s, uint64_t node);

/* Takes it out again. */
void ob__session_unserved(struct ob__session *s, uint64_t node);

/* The node the session sticks to for a role, or 0; set with node 0 forgets. */
uint64_t ob__session_sticky(const struct ob__session *s, uint32_t role);
int ob__session_stick(struct ob__session *s, uint32_t role, uint64_t node);

/* Notes the first push of a node; without room for it the node's pushes are not looked at. */
void ob__session_pusher(struct ob__session *s, uint64_t node, uint64_t number);

/* True for a push that comes in order, which is noted, and for one without a number (0). */
static inline bool ob__session_push_take(struct ob__session *s, uint64_t node, uint64_t number)
{
	for (uint8_t i = 0; i < s->pushers_len; i++) {
		if (s->pushers[i].node == node) {
			return number == 0 || ob__push_row_take(&s->pushers[i], number);
		}
	}
	if (number != 0) {
		ob__session_pusher(s, node, number);
	}
	return true;
}

/* Forgets every choice of that node (it is gone). */
void ob__session_unstick(struct ob__session *s, uint64_t node);

/* What it has more, made if need be; NULL when out of memory. */
struct ob__session_more *ob__session_more(struct ob__session *s);

/* The user it is bound to, "" if none is known. */
const char *ob__session_user(const struct ob__session *s);

/* Sets an attribute (len 0: removes it).  The key is one that ob__key_ok() accepts. 0, -E2BIG
 * beyond OB__VALUE_MAX, -ENOSPC beyond OB__SESSION_ATTRS_MAX, -ENOMEM. */
int ob__session_set(struct ob__session *s, const char *key, const void *value, size_t len);

/* Its bytes, borrowed until it is set again; NULL if there are none. */
const struct ob__session_attr *ob__session_attr(const struct ob__session *s, const char *key);

/* Makes anew what goes along with its messages: those of the `len` keys that it has.  0 or -ENOMEM.
 */
int ob__session_carry(struct ob__session *s, const char *const *keys, size_t len);

/* What is known of the session and a role, or NULL; valid until the next call for the session. */
static inline struct ob__session_choice *ob__session_choice(const struct ob__session *s,
                                                            uint32_t role)
{
	for (uint8_t i = 0; i < s->sticky_len; i++) {
		if (s->sticky[i].role == role) {
			return &s->sticky[i];
		}
	}
	return NULL;
}

/* For the functions below: one for a role that has none; NULL when there is no room.  And what
 * follows when the last request to the role has ended. */
struct ob__session_choice *ob__session_choose(struct ob__session *s, uint32_t role);
void ob__session_quiet(struct ob__session *s, struct ob__session_choice *c);

/* A request of the session's client goes to the role; and has ended. */
static inline void ob__session_begin(struct ob__session *s, uint32_t role)
{
	struct ob__session_choice *c = ob__session_choice(s, role);
	if (c != NULL || (c = ob__session_choose(s, role)) != NULL) {
		c->busy++;
	}
}

static inline void ob__session_ended(struct ob__session *s, uint32_t role)
{
	struct ob__session_choice *c = ob__session_choice(s, role);
	if (c != NULL && c->busy > 0 && --c->busy == 0) {
		ob__session_quiet(s, c);
	}
}

/* No message of it that may be to the role has been left to others to place, as far as that is not
 * known by now: wherever this one goes is the session's first choice.  And there is room to note
 * it. */
bool ob__session_first(struct ob__session *s, uint32_t role);

/* A one-way message to the role was left to others to place. */
void ob__session_leave(struct ob__session *s, uint32_t role);

/* Requests that may be on their way to the node that the session sticks to for a role. */
uint32_t ob__session_busy(const struct ob__session *s, uint32_t role);

/* The choice for a role is not to move as long as its node may come back. */
void ob__session_stays(struct ob__session *s, uint32_t role);
bool ob__session_may_move(const struct ob__session *s, uint32_t role);

/* It goes to that node for the role from now on, or when its requests to the role have ended. */
void ob__session_settle(struct ob__session *s, uint32_t role, uint64_t node);

/* Messages to the role go by the user; and where all those go, but for the role `except`. */
void ob__session_by_user(struct ob__session *s, uint32_t role);
uint8_t ob__session_homes(const struct ob__session *s, uint32_t except,
                          struct ob__home homes[OB__HOMES_MAX]);

/* Forgets the choice but for where it has been. */
void ob__session_move(struct ob__session *s, uint32_t role);

/* Notes that `to` must hear that the session is closed.  There may be as many as sessions. NULL at
 * the limit. */
struct ob__notice *ob__notice_new(struct ob__sessions *ss, uint64_t to, const struct ob__session *s,
                                  uint64_t until_ms);
struct ob__notice *ob__notice_get(const struct ob__sessions *ss, uint64_t handle);
void ob__notice_free(struct ob__sessions *ss, struct ob__notice *n);

#endif
