/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F3.  A keeper's table: which session a user is logged in with.
 *
 * Every user has a keeper, one of the route nodes (host/user/users.h chooses).  The proxies claim
 * users for their sessions; at the keeper, at most one session has the user.  Each claim that is
 * granted gets an epoch, a number that only grows; of two claims that meet, the higher epoch stays
 * and the other is fenced: its proxy is told that the user is somebody else's now.
 *
 * - A new claim gets a higher epoch than any before.  Its epoch begins at the wall clock, so it
 *   also grows when the user's keeper is another one; its low bits are the keeper's own, so that
 * two which are cut off from each other don't give the same one.
 * - A claim that was granted elsewhere is made again with its epoch when the keeper changes.
 * - A release takes the user from a session if session and epoch are still those.
 *
 * A new claim is answered when the session before it is over: when its proxy has said so, which it
 * does when all who served the session have heard of its end; or when that proxy is gone; or after
 * OB__BINDING_OVER_MS.  And when nobody holds a lock on the user for an earlier session: nodes lock
 * while they save what they know of the user, so that the next login reads what the last one has
 * saved.  A lock outlives the session and its binding; it ends by its holder's word, by the
 * holder's end or by its deadline.
 *
 * What nodes a user's messages stay with is kept with him, and for home_ms after his session, so
 * that his next login can be told.  That counts as a user, and gives way to one that logs in.
 *
 * The table is pure: it does what it is told, with the time it is told, and speaks by callbacks.
 * It costs one allocation per user; it never looks at all of itself at once.
 */

#ifndef OB__BINDING_H
#define OB__BINDING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/list.h"
#include "mesh/userwire.h"

#define OB__BINDING_SHARDS    1024u /* each grows for itself, so that growing is never felt */
#define OB__BINDING_LOCKS     16u   /* of one user */
#define OB__BINDING_OLDS      8u    /* sessions a claim waits for; beyond it the oldest is not */
#define OB__BINDING_OVER_MS   3000u
#define OB__BINDING_LOCK_MS   60000u       /* the longest lock */
#define OB__BINDING_EPOCH_MAX (1ull << 62) /* a claim with a higher one is refused */

/* A session by name. */
struct ob__who {
	uint64_t node; /* its proxy; 0: nobody */
	uint64_t seq;
};

struct ob__binding_lock {
	uint64_t locker; /* node; 0: it was left to its deadline */
	struct ob__who who;
	uint64_t until; /* ms */
	char key[OB__KEY_MAX + 1];
};

struct ob__binding;

/* What a user has besides a session; most have none. */
struct ob__binding_wait {
	struct ob__list link; /* in table->waits */
	struct ob__binding *of;
	uint64_t call; /* of the claim that waits */
	bool pending;  /* there is one */
	uint8_t olds_len;
	uint8_t locks_len;
	struct ob__who olds[OB__BINDING_OLDS]; /* sessions before it that are not over yet */
	uint64_t olds_until[OB__BINDING_OLDS];
	struct ob__binding_lock *locks;
};

/* Where a user was served: for his next login. */
struct ob__binding_home {
	struct ob__list link; /* in table->homes, if he has no session */
	struct ob__binding *of;
	uint64_t until; /* ms; 0: he has one */
	uint8_t len;
	struct ob__home homes[OB__HOMES_MAX];
};

struct ob__binding {
	struct ob__binding *next;      /* in its bucket */
	struct ob__binding_home *home; /* or NULL */
	struct ob__binding_wait *wait;
	struct ob__who who; /* node 0: only its wait keeps it here */
	uint64_t epoch;
	uint64_t hash;
	char user[]; /* terminated */
};

struct ob__binding_shard {
	struct ob__binding **buckets;
	uint32_t count;
	uint32_t mask; /* buckets - 1 */
};

/* None of them calls back into the table. */
struct ob__bindings_ops {
	/* A claim has its end: 0; -ESTALE: another session has the user, with a higher epoch;
	 * -ENOSPC: the table is full; -EINVAL: an epoch that can't be; -ENOMEM. */
	void (*answer)(void *arg, const struct ob__who *who, const char *user, uint64_t call,
	               int code, uint64_t epoch);
	/* The session has the user no more: one with this epoch has. */
	void (*fence)(void *arg, const struct ob__who *who, const char *user, uint64_t epoch);
	/* The node, resp. the life of it that the session number is of (0: any), is gone. */
	bool (*gone)(void *arg, uint64_t node, uint64_t seq);
	/* A lock's deadline has passed. */
	void (*expired)(void *arg, const char *user, const struct ob__binding_lock *lock);
};

struct ob__bindings {
	struct ob__binding_shard *shards;
	struct ob__list waits; /* the one looked at longest ago first */
	struct ob__list homes; /* of users without a session, the one that ends first first */
	uint64_t home_ms;      /* both set by the caller, before each call: how long, */
	uint64_t now_ms;       /* and the time */
	uint64_t seed;
	uint64_t last_epoch;
	uint32_t limit;
	uint32_t count;   /* users */
	uint32_t locks;   /* of all users */
	uint32_t pending; /* claims that wait */
	uint32_t shard;   /* of the sweep */
	uint32_t bucket;
	const struct ob__bindings_ops *ops;
	void *arg;
};

/* Allocates nothing yet. `seed`: random. */
void ob__bindings_init(struct ob__bindings *t, uint32_t limit, uint64_t seed,
                       const struct ob__bindings_ops *ops, void *arg);

/* NULL and a zeroed struct are accepted. */
void ob__bindings_free(struct ob__bindings *t);

/* Claims the user for a session, in answer() with `call`: now, or when nothing stands in the way.
 * `epoch` 0: anew.  Users are words that ob__user_ok() accepts, here and below. */
void ob__bindings_claim(struct ob__bindings *t, const struct ob__who *who, uint64_t call,
                        const char *user, uint64_t epoch, uint64_t wall_ms, uint64_t now_ms);

/* The session has the user no more (`epoch` 0: whichever it has) and is over: claims need not wait
 * for it.  A claim of it that waits is forgotten without an answer.  True if it had the user. */
bool ob__bindings_release(struct ob__bindings *t, const struct ob__who *who, const char *user,
                          uint64_t epoch);

/* Locks the user for a session, or renews that lock. 0, -ENOSPC beyond OB__BINDING_LOCKS or at the
 * limit of users, -ENOMEM. */
int ob__bindings_lock(struct ob__bindings *t, const struct ob__binding_lock *lock,
                      const char *user);

/* Ends the lock of that locker, session and key; `keep`: leaves it to its deadline.  True if it was
 * there. */
bool ob__bindings_unlock(struct ob__bindings *t, const struct ob__binding_lock *lock,
                         const char *user, bool keep);

/* The binding of a user that a session has, or NULL. */
const struct ob__binding *ob__bindings_find(const struct ob__bindings *t, const char *user);

/* Where the user of that session is served, and what was said last; 0: nothing is known. */
void ob__bindings_set_homes(struct ob__bindings *t, const struct ob__who *who,
                            const struct ob__home_msg *m);
uint8_t ob__bindings_homes(const struct ob__bindings *t, const char *user,
                           struct ob__home homes[OB__HOMES_MAX]);

/* Looks at up to n users with locks or a claim that waits, in turn: ends what has ended. */
void ob__bindings_tick(struct ob__bindings *t, uint32_t n, uint64_t now_ms);

/* Goes on through the table, about n users at a time, and forgets sessions of nodes that are gone.
 * False when it is through. */
bool ob__bindings_sweep(struct ob__bindings *t, uint32_t n);

#endif
