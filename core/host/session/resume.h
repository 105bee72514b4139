/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  Sessions that outlive their connection.
 *
 * A client whose codec can say so (OB_CODEC_RESUMES) begins with a hello.  From then on it has a
 * token, and what goes to it is numbered and the last of it kept (lib/replay.h).  When its
 * connection breaks the session is detached: it stays as it is, its user, attributes, groups and
 * homes with it, and what is for it is kept.  Who comes back within the window, with the token and
 * the number of the last message that he has seen, has the session again and gets what he missed.
 * Otherwise it ends as any.
 *
 * What says that a session is to end ends it at once, detached or not: the client's own good-bye, a
 * kick, another login, a violation, the node's stop.
 *
 * A connection whose first message may be a hello has its session from the start, but that is
 * announced (OB_EVENT_SESSION_OPENED) only when the message is there, or has been waited for: until
 * then it may give way to an older one without a trace.
 *
 * A session has a record here, which ob__conn.resume points to; while it is detached
 * ob__session.conn is the record's handle, which is no connection's.
 *
 * A client may have more than one connection that wants its session: those that it has given up
 * say so late.  So the session goes to the one that was made last.
 *
 * One that comes from another proxy is taken over also if the connection that it is for breaks
 * meanwhile: it is detached then, and announced when it is whole.
 */

#ifndef OB__RESUME_H
#define OB__RESUME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <obhost/obhost.h>

#include "base/loop.h"
#include "host/session/moved.h"
#include "lib/list.h"
#include "lib/replay.h"
#include "lib/slab.h"
#include "mesh/resumetoken.h"

struct ob__conn;
struct ob__frame;
struct ob__node;
struct ob__session;

/* Of the configuration. */
struct ob__resume_conf {
	uint64_t window_ms; /* 0: no session outlives its connection */
	uint32_t detached;  /* most sessions without a connection */
	struct ob__replay_bounds bounds;
};

enum ob__resume_state {
	OB__RESUME_NEW = 1,  /* its first message has not come */
	OB__RESUME_LIVE,     /* it has said hello */
	OB__RESUME_DETACHED, /* its connection is gone; not announced: as TAKING without one */
	OB__RESUME_ASKING,   /* the proxy that has its former session is being asked */
	OB__RESUME_TAKING,   /* that has come, its user is being bound; what is for it is kept */
};

/* What came of a hello with a token. */
enum ob__resume_result {
	OB__RESUMED,
	OB__RESUMED_FAR,      /* the session was another proxy's */
	OB__RESUME_OFF,       /* this node does not do it */
	OB__RESUME_UNKNOWN,   /* no such token was ever given out, by this life of the node */
	OB__RESUME_EXPIRED,   /* the session is over */
	OB__RESUME_LOST,      /* messages that it has missed are not kept any more */
	OB__RESUME_AWAY,      /* its proxy can't be asked */
	OB__RESUME_NO_MEMORY, /* or another bound */
	OB__RESUME_MOVING,    /* it is on its way to a proxy: again in a moment */
	OB__RESUME_RESULTS,
	OB__RESUME_FRESH = OB__RESUME_RESULTS, /* there was no token */
	OB__RESUME_MOVED, /* between proxies: it has another token, at another one */
};

struct ob__resume {
	uint64_t handle;
	struct ob__node *node;
	enum ob__resume_state state;
	struct ob__conn *conn;       /* NULL: it is gone */
	struct ob__session *session; /* NULL while NEW */
	struct ob__replay replay;
	uint64_t before;          /* messages of the client that are not counted in `heard` */
	uint32_t in_flight;       /* of its requests, while it is detached; it counts then */
	bool repeats;             /* what is sent has its number already */
	bool stuck;               /* what is for it is only kept: it is about to be closed */
	bool leaves;              /* the client has said good-bye, or is sent away */
	bool announced;           /* modules know of the session */
	bool bound;               /* not announced yet: its user is its own again */
	uint8_t hops;             /* proxies that were asked for it */
	uint64_t since_us;        /* when the connection was made */
	struct ob__timeout timer; /* of a state that has an end */
	struct ob__list link;     /* in the detached ones */
	uint64_t far;      /* the proxy that it is asked of, or that has asked for it; or 0 */
	uint64_t far_call; /* its number for that */
	uint64_t far_seen; /* what the client has seen */
	struct ob__resume_token far_token; /* by which it is to be that proxy's */
};

struct ob__resumes {
	struct ob__resume_conf conf; /* as it was at the start */
	struct ob__slab slab;
	struct ob__list detached; /* oldest first */
	struct ob__moves moves;
	uint32_t detached_len;
	size_t bytes; /* that are kept */
	uint8_t key[OB__RESUME_KEY];
	bool ready; /* there is a key */
	uint64_t *results[OB__RESUME_RESULTS];
	uint64_t *expired;
	uint64_t *refused; /* sessions that could not be detached */
};

/* Before modules are started. */
void ob__resumes_init(struct ob__node *node);
void ob__resumes_free(struct ob__node *node);

/* All detached ones end now. */
void ob__resumes_end(struct ob__node *node);

/* ---- of a connection ---- */

/* Whether the connection, whose session has begun, may begin with a hello: then that is announced
 * later. */
bool ob__resume_awaits(struct ob__conn *conn);

/* A message has come on a connection that has a record. False: it is closed now. */
bool ob__resume_message(struct ob__conn *conn);

/* OB_PACKET_HELLO and OB_PACKET_SEEN.  False: the connection is closed now. */
bool ob__resume_hello(struct ob__conn *conn, const ob_packet *p);
bool ob__resume_seen(struct ob__conn *conn, const ob_packet *p);

/* A packet is about to be sent on a connection that has a record: its number, or 0 if it has none.
 */
uint64_t ob__resume_number(struct ob__conn *conn, const ob_packet *p);

/* It could not be, by that code; `record` is its handle.  What the sender is told: 0 if it is kept,
 * as it is for one who was too slow. */
int ob__resume_not_sent(struct ob__node *node, uint64_t record, uint64_t number, int code,
                        bool too_slow);

/* The client has closed the connection with that code. */
void ob__resume_goodbye(struct ob__conn *conn, uint16_t code);

/* Whether its client has said hello, and waits until its session has come from another proxy. */
bool ob__resume_asks(const struct ob__conn *conn);

/* The session ends with this connection, whatever may close it. */
void ob__resume_never(struct ob__conn *conn);

/* The connection, of a client that has this session, is going for the reason that is counted. True:
 * the session has been taken care of. */
bool ob__resume_left(struct ob__conn *conn, struct ob__session *s, const char *counted);

/* ---- of a detached session ---- */

/* The record of a session whose ob__session.conn that is, if it is detached; else NULL. */
struct ob__resume *ob__resume_get(const struct ob__node *node, uint64_t conn_of_session);

/* Whether the session of that handle is detached. */
bool ob__session_is_away(const struct ob__node *node, uint64_t session);

/* Keeps a push for the session whose ob__session.conn that is.  0, or OB_E_STALE: it is not
 * detached. */
int ob__resume_push(struct ob__node *node, uint64_t conn_of_session, const ob_packet *p);

/* A broadcast has begun. */
void ob__resumes_push_all(struct ob__node *node, const ob_packet *p);

/* Ends the session whose ob__session.conn that is, if it is detached. */
void ob__resume_end(struct ob__node *node, uint64_t conn_of_session);

/* ---- of a request ---- */

/* The connection that the client of a request has now: `conn` is the one it came on, or NULL, and
 * `session` its session, or NULL.  NULL: none. */
struct ob__conn *ob__resume_conn(struct ob__node *node, struct ob__conn *conn,
                                 const struct ob__session *session);

/* A request of a detached session has ended. */
void ob__resume_request_ended(struct ob__resume *r);

/* The user of a session of this node is bound, or can't be: 0, or why. */
void ob__resume_claimed(struct ob__node *node, const struct ob__session *s, int code);

/* A SYSTEM frame; false: it is about something else. */
bool ob__resumes_frame(struct ob__node *node, const struct ob__frame *f);

/* Keeps the end of a request of a detached session. */
void ob__resume_reply(struct ob__resume *r, uint32_t id, uint64_t cookie, int code,
                      const char *text, const void *data, size_t len);

#endif
