/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to host/session/resume*.c, floor F4.  resume.c has the records and what is kept,
 * resume_hello.c what a client says and hears, resume_far.c what proxies say to each other.
 */

#ifndef OB__RESUME_PRIV_H
#define OB__RESUME_PRIV_H

#include "host/session/resume.h"

/* A new record of a connection; NULL at the limit. */
struct ob__resume *ob__resume_new(struct ob__conn *conn);
void ob__resume_free(struct ob__resume *r);

/* Its time, in the state that it is in, is over after so long; 0: never. */
void ob__resume_time(struct ob__resume *r, uint64_t ms);

static inline struct ob__replay_msg ob__resume_msg(const ob_packet *p)
{
	return (struct ob__replay_msg){
		.kind = p->kind,
		.id = p->id,
		.cookie = p->cookie,
		.status = p->status,
		.name = p->name,
		.name_len = p->name_len,
		.data = p->data,
		.len = p->len,
	};
}

/* The answer to a hello, and what follows; false when the connection is closed. */
bool ob__resume_begin(struct ob__conn *conn, enum ob__resume_result result, uint64_t seen);

/* The record of a session of this node; in *result what is in the way of having it back, else
 * OB__RESUMED.  OB__RESUME_MOVED: *moved is its token now. */
struct ob__resume *ob__resume_find(struct ob__node *node, const struct ob__resume_token *t,
                                   uint64_t seen, enum ob__resume_result *result,
                                   struct ob__resume_token *moved);

/* Goes for the session that the client of a connection wants, wherever it is; false when the
 * connection is closed. */
bool ob__resume_seek(struct ob__conn *conn, const struct ob__resume_token *t, uint64_t seen);

/* Its session is on its way to some proxy: the client is to come again. */
void ob__resume_later(struct ob__conn *conn);

/* Asks for a session of another proxy. 0, or negative: it can't be. */
int ob__resume_ask(struct ob__resume *r, const struct ob__resume_token *t, uint64_t seen);

/* The session of another proxy is this one's, or its user could not be bound in time. */
void ob__resume_taken(struct ob__resume *r);

/* Whether the session has a connection that was made after that moment of ob__loop_hrtime_us(). */
bool ob__resume_is_newer(const struct ob__resume *r, uint64_t since_us);

/* Whoever has asked for a detached session is told that he does not get it, and why. */
void ob__resume_decline(struct ob__resume *r, enum ob__resume_result result);

/* The session goes to the proxy that has asked for it. */
void ob__resume_give(struct ob__resume *r);

/* Its session has the connection now, which may be closed afterwards, and with it the record. */
void ob__resume_attach(struct ob__resume *r, struct ob__conn *conn);

/* The connection that a detached-to-be session has goes at once. */
void ob__resume_unseat(struct ob__resume *r);

#endif
