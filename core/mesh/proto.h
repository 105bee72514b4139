/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F3.  The words hosts use among themselves.
 *
 * A frame of kind OB__FRAME_SYSTEM is never routed by id and never reaches a module: its message id
 * is one of these.  Frames with a destination are passed on by route nodes like any other.
 */

#ifndef OB__PROTO_H
#define OB__PROTO_H

#include <stdint.h>

enum ob__system_id {
	OB__SYS_PING = 1, /* link only; answered by PONG with the same call id */
	OB__SYS_PONG,
	OB__SYS_FENCE,      /* the last frame on a path that is being left: a link, or, with a
	                     * destination, the way through a route node */
	OB__SYS_FENCE_BACK, /* its echo, with the same call id, over the link that it came from */
	OB__SYS_SERVED,     /* to a session's proxy: `src`, of `role`, has met the session; status
	                     * 1: said before */
	OB__SYS_CLOSED,     /* from a session's proxy to a node that met it; call id: the notice */
	OB__SYS_CLOSED_ACK, /* back, with the same call id */
	OB__SYS_KICK,       /* to a session's proxy: close the client; payload: u16 code, reason */
	OB__SYS_NAME,       /* from a route node: payload is the name of a node it has heard of */

	/* The directory (mesh/dirwire.h); link only.  To a route node: */
	OB__SYS_MEMBER_ANNOUNCE,  /* the sender's whole record */
	OB__SYS_MEMBER_BEAT,      /* it lives, and its load */
	OB__SYS_MEMBER_LEAVE,     /* it goes, on purpose */
	OB__SYS_MEMBER_SUBSCRIBE, /* tell me what changes, from here on */
	OB__SYS_MEMBER_ASK,       /* does this node live? */
	OB__SYS_MEMBER_HIGHER,    /* of a node you list I know a higher incarnation */
	/* From a route node: */
	OB__SYS_MEMBER_DELTA, /* records: changes, a snapshot or an answer */
	OB__SYS_MEMBER_AGAIN, /* I don't know your record: announce it again */

	/* The end of a link that nobody uses; link only. */
	OB__SYS_IDLE,    /* from its dialer: I see no traffic, may it end? */
	OB__SYS_IDLE_OK, /* yes, and I send nothing on it any more; no is not said */
	OB__SYS_STAY,    /* there is traffic after all: go on sending on it */
	OB__SYS_PART,    /* link only; a piece of a frame of `call` bytes (mesh/backlog.h) */
	OB__SYS_METHODS, /* link only; the names of the sender's methods (host/call/methods.h) */
	/* Users (mesh/userwire.h).  To a session's proxy: */
	OB__SYS_BIND = 32,        /* the session is this user's; answered by a REPLY */
	OB__SYS_UNBIND = 33,      /* it is no longer */
	OB__SYS_USER_SEND = 34,   /* something for the user that this session should have */
	OB__SYS_SESSION_SET = 35, /* an attribute */
	/* To a user's keeper: */
	OB__SYS_USER_CLAIM = 36,   /* for a session of the sender's; answered by CLAIMED */
	OB__SYS_USER_RELEASE = 37, /* the session has it no more, and is over */
	OB__SYS_USER_FIND = 38,    /* which session has the user? answered by a REPLY */
	OB__SYS_USER_LOCK = 39,    /* also to the session's proxy, which passes it on */
	OB__SYS_USER_UNLOCK = 40,
	/* From a keeper to a session's proxy: */
	OB__SYS_USER_CLAIMED = 41, /* the end of a claim; status: an OB_RESULT_WIRE() */
	OB__SYS_USER_FENCED = 42,  /* the user is another session's now */
	/* From a session's proxy: */
	OB__SYS_USER_STALE = 43,   /* a SEND back: the session has not that user */
	OB__SYS_SESSION_USER = 44, /* to a node that has met the session: whose it is */

	/* A node that drains (host/cluster/drain.h). */
	OB__SYS_DRAINING = 48, /* to each linked peer; status 1: nothing new for me, 0: again */
	OB__SYS_DRAINING_HEARD = 49, /* its echo: what comes after it is nothing new; call 1: the
	                              * sender waits for answers to what it has sent this way */
	OB__SYS_SESSION_MOVE = 50,   /* to a session's proxy: `src`, of `role`, lets go of it */
	OB__SYS_SESSION_MOVED = 51,  /* back; status 0: it has moved, else a code: it stays */

	OB__SYS_SERVED_ACK = 52, /* from a session's proxy: it knows that the node has met it */

	OB__SYS_USER_RELEASED = 53, /* from a keeper: the RELEASE with that call id was heard */
	OB__SYS_USER_HOME = 54, /* to a user's keeper: which nodes his messages stay with; and back,
	                         * with status 1, before the end of a claim */

	OB__SYS_SESSION_ENTER = 55, /* to a session's proxy: it goes to this state */

	/* Calls. */
	OB__SYS_CANCEL =
		64, /* `src` has cancelled its request with this call id (host/call/cancel.h) */
	OB__SYS_METHODS_ASK = 65,  /* which methods have you? (host/call/methods_far.h) */
	OB__SYS_METHODS_LIST = 66, /* their names; call id: their digest */

	/* Groups (mesh/groupwire.h). */
	OB__SYS_GROUP_JOIN = 72, /* to a session's proxy; call id: a number */
	OB__SYS_GROUP_LEAVE = 73,
	OB__SYS_GROUP_HEARD = 74, /* back: the JOIN of that number was done */
	OB__SYS_GROUPS_ASK = 75,  /* which groups have members at your node? */
	OB__SYS_GROUPS_TELL = 76,
	OB__SYS_GROUP_COUNT = 77, /* how many members has it at your node? answered by a REPLY */

	OB__SYS_EVENT = 80, /* something was raised; status: its depth (host/event.h) */

	/* Clients that come back to another proxy (mesh/resumewire.h). */
	OB__SYS_RESUME_ASK = 88,  /* to the proxy that has the session; call id: a number */
	OB__SYS_RESUME_GIVE = 89, /* back; status: what came of it */
};

/* Steps of the handshake, in `status` of a HELLO frame. */
enum ob__hello_step {
	OB__HELLO_DIALER = 1, /* dialer's facts and nonce */
	OB__HELLO_ACCEPTOR,   /* acceptor's facts and nonce */
	OB__HELLO_PROOF,      /* dialer's HMAC */
	OB__HELLO_WELCOME,    /* acceptor's HMAC: the link is up */
	OB__HELLO_REFUSED,    /* id: enum ob__refusal, payload: why; closed behind it */
};

/* What the refused side must know to act; for people there is the text. */
enum ob__refusal {
	OB__REFUSED_OTHER = 0,
	OB__REFUSED_DUPLICATE, /* the two nodes have a working link already */
	OB__REFUSED_FOR_GOOD,  /* as long as neither is configured otherwise: for its token, ... */
};

#define OB__ROLE_ROUTE "route"

/* Who a node is.  The strings live as long as the struct's owner. */
struct ob__identity {
	uint64_t id; /* first 8 bytes of SHA-256(name), big-endian */
	uint64_t incarnation;
	const char *name;
	const char *role;
	uint32_t role_id; /* FNV-1a of the role's word */
};

/* The id of a node of that name. */
uint64_t ob__node_id(const char *name);

#endif
