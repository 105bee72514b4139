/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to host/users.  What its parts share.  Of a proxy: user_claim.c has the claims that its
 * sessions wait for, user_binding.c the sessions that have a user, user_ending.c those that had
 * one, user_release.c what their keepers are to hear, session_attr.c what else is known of them. Of
 * a keeper: user_keeper.c.  Of all others: user_ask.c asks keepers and proxies for modules,
 * user_send.c reaches users, user_push.c many of them at once, session_user.c is told whose the
 * sessions are that have been met.  Of all: user_keeper_choice.c says who keeps a user,
 * user_frame.c sends what one says to the other, and users.c has their begin, time and end.
 */

#ifndef OB__USERS_PRIV_H
#define OB__USERS_PRIV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "host/user/users.h"
#include "mesh/proto.h"

/* A session's name. */
static inline struct ob__who ob__users_who(const struct ob__session *s)
{
	return (struct ob__who){s->node, s->seq};
}

/* ---- users.c ---- */

void ob__users_tick_soon(struct ob__users *us);

/* ---- user_frame.c ---- */

/* Sends a system frame; to this node itself in the next turn. 0 or OB_E_*. */
int ob__users_send(struct ob__node *node, uint64_t dst, struct ob__frame *f);

/* The same to this node, of any kind. */
int ob__users_to_self(struct ob__node *node, const struct ob__frame *f);

/* The same of a frame that is about a session and a user. */
int ob__users_tell(struct ob__node *node, uint64_t dst, uint32_t id, const struct ob__who *who,
                   const char *user, uint64_t epoch);

/* Ends the pending of a node; one's own too. */
void ob__users_reply(struct ob__node *node, uint64_t dst, uint64_t call, int code, const char *text,
                     const struct ob__place *place);

/* ---- user_keeper_choice.c ---- */

/* The node that keeps the user; *stamp changes with each time its link has come up. */
uint64_t ob__users_keeper(const struct ob__users *us, const char *user, uint32_t *stamp);

/* ---- user_claim.c ---- */

/* A claim of a session here that has not been answered. */
struct ob__claim {
	struct ob__list link;
	struct ob__node *node;
	struct ob__timeout timeout;
	struct ob__session_more *more;
	uint64_t call;
	uint64_t keeper; /* that was asked, 0: nobody could be */
	uint32_t stamp;
	struct ob__list waiters;
	uint32_t waiters_len;
	struct ob__home homes[OB__HOMES_MAX]; /* where the user was served before */
	uint8_t homes_len;
	char user[OB__USER_MAX + 1];
};

/* Claims the user for a session that has no claim under way, for `budget` ms at most (0: as
 * configured); the pending `call` of node `src` is ended with its end. 0 or OB_E_BUSY. */
int ob__claim_begin(struct ob__node *node, struct ob__session_more *more, const char *user,
                    uint32_t budget, uint64_t src, uint64_t call);

/* That pending as well. 0 or OB_E_BUSY. */
int ob__claim_wait(struct ob__claim *c, uint64_t src, uint64_t call);

/* The claim is over, and freed; whoever waits for it hears.  To drop it takes it back as well. */
void ob__claim_end(struct ob__claim *c, int code, const char *text);
void ob__claim_drop(struct ob__claim *c, int code, const char *text);

/* The keepers are others now: asks those that have not been asked. */
void ob__claims_send(struct ob__users *us);

void ob__claims_free(struct ob__users *us);
void ob__claimed_frame(struct ob__node *node, const struct ob__frame *f);

/* Where its user was served before: comes before its end. */
void ob__claim_home_frame(struct ob__node *node, const struct ob__frame *f);

/* ---- user_binding.c ---- */

/* The keeper has granted the user to the session. */
void ob__user_bound(struct ob__node *node, struct ob__session_more *more, const char *user,
                    uint64_t epoch, uint64_t keeper);

/* The keepers are others now: claims again, in the next ticks, whose keeper is another one or has
 * come back. */
void ob__bound_again(struct ob__users *us);
void ob__bound_tick(struct ob__node *node, uint64_t now_ms);

/* The keeper may have given the session a higher one meanwhile. */
void ob__user_take_epoch(struct ob__node *node, struct ob__session_more *more, uint64_t epoch);

/* The answer to a claim that was made again. */
void ob__user_claimed_again(struct ob__node *node, const struct ob__frame *f,
                            struct ob__session_more *more, const struct ob__user_msg *m);

void ob__bind_frame(struct ob__node *node, const struct ob__frame *f);
void ob__unbind_frame(struct ob__node *node, const struct ob__frame *f);
void ob__fenced_frame(struct ob__node *node, const struct ob__frame *f);

/* ---- user_ending.c ---- */

void ob__endings_tick(struct ob__node *node, uint64_t now_ms);
void ob__endings_free(struct ob__users *us);

/* ---- user_release.c ---- */

/* Tells the keeper that a session here has the user no more (`epoch` 0: whichever it has), until it
 * has heard. */
void ob__release(struct ob__node *node, uint64_t keeper, uint64_t seq, const char *user,
                 uint64_t epoch);

/* The same of a session that has the user still, from another keeper: this one is told by its own
 * link, once there is one. */
void ob__release_moved(struct ob__node *node, uint64_t keeper, uint64_t seq, const char *user,
                       uint64_t epoch);

/* Tells the keeper there is now, and those that may know of the session besides (0: none). */
void ob__release_all(struct ob__node *node, const uint64_t keepers[2], uint64_t seq,
                     const char *user, uint64_t epoch);

/* The session is about to claim the user from that keeper: it is told of no end before that. */
void ob__release_void(struct ob__users *us, uint64_t keeper, uint64_t seq, const char *user);

void ob__released_frame(struct ob__node *node, const struct ob__frame *f);
void ob__releases_tick(struct ob__node *node, uint64_t now_ms);
void ob__releases_init(struct ob__users *us);
void ob__releases_free(struct ob__users *us);

/* ---- session_user.c, session_attr.c ---- */

/* The session is another user's now, or nobody's: tells the nodes that have met it. */
void ob__users_changed(struct ob__node *node, const struct ob__session *s);

void ob__session_user_frame(struct ob__node *node, const struct ob__frame *f);
void ob__session_set_frame(struct ob__node *node, const struct ob__frame *f);

/* ---- user_ask.c ---- */

/* Asks the keeper of a user which session has it: p is ended with a struct ob__place. 0 or OB_E_*.
 */
int ob__users_ask(struct ob__node *node, struct ob__pending *p, const char *user);

/* ---- user_keeper.c ---- */

void ob__keeper_init(struct ob__node *node);
void ob__keeper_frame(struct ob__node *node, const struct ob__frame *f);
void ob__keeper_tick(struct ob__node *node);

/* ---- user_send.c ---- */

void ob__user_sends_init(struct ob__users *us);
void ob__user_sends_free(struct ob__users *us);
void ob__user_forget(struct ob__users *us, const char *user, uint64_t seq);
void ob__user_send_frame(struct ob__node *node, const struct ob__frame *f);
void ob__user_stale_frame(struct ob__node *node, const struct ob__frame *f);
void ob__user_asked(struct ob__node *node, struct ob__pending *p, const struct ob__end *end);

/* Where the user was when he was last sent something, borrowed until the next call; or NULL. */
const struct ob__place *ob__user_cached(struct ob__users *us, const char *user);

/* The session of this node if it has that user, else NULL. */
const struct ob__session *ob__user_session(const struct ob__node *node, uint64_t seq,
                                           const char *user);

/* On its way to the user, wherever he is. 0 or OB_E_*. */
int ob__user_send(struct ob__node *node, const struct ob__send_msg *m);

/* Closes a client; before that it gets {"reason": reason} under `user.kick_id`, if that is
 * configured. */
void ob__user_close(struct ob__node *node, uint64_t conn, uint16_t code, const char *reason,
                    const char *counted);

/* ---- user_tag.c ---- */

/* 0 or OB_E_NOMEM. */
int ob__user_tags_init(struct ob__users *us);
void ob__user_tags_free(struct ob__users *us);

/* Of what is sent: made once if it is for many. */
struct ob__user_digest {
	uint8_t bytes[32];
};

void ob__user_digest(struct ob__user_digest *d, const void *data, size_t len);

/* Tags what goes to that session. 0 or OB_E_NOMEM. */
int ob__user_tag(const struct ob__users *us, const struct ob__who *to, struct ob__send_msg *m);

/* The same when the digest of its data is there, and m->at is set. */
int ob__user_tag_digest(const struct ob__users *us, const struct ob__who *to,
                        struct ob__send_msg *m, const struct ob__user_digest *d);

/* It was sent from here to that session, not long ago. */
bool ob__user_tag_ok(const struct ob__users *us, const struct ob__who *to,
                     const struct ob__send_msg *m);

#endif
