/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Public: the obhost SDK, the only header a module includes.
 *
 * A module is a shared object with one exported symbol, the descriptor that OB_MODULE() writes.
 * The host owns every socket, session, message and timer; the module decides what happens to
 * them.  It sees them only as handles and borrowed views:
 *
 * - A HANDLE (ob_req, ob_session, ob_timer, ob_call_id, ...) is a 64-bit number, safe to store and
 *   to compare, never to take apart.  One that has outlived its object answers OB_E_STALE; 0 is
 *   never valid.
 * - A VIEW is a small struct with a pointer into the host's read buffer.  It is valid until the
 *   callback that received it returns.  ob_msg_hold() is the only way to keep one.
 *
 * OWNERSHIP.  Passed in = borrowed for the time of the call; the host copies every string and
 * byte it keeps.  Returned = yours only where the function says so.  json_t parameters whose name
 * ends in _stolen lose their reference to the host, on failure too.  `arg` pointers are handed
 * back and never followed.  Whatever a module registers belongs to its generation: taking the
 * generation out takes it all out, so there is nothing to unregister.
 *
 * THREADS.  Everything runs on the host's one loop thread, except ob_job()'s work function and
 * callers of ob_post().  A callback that blocks blocks the node.
 *
 * ERRORS.  Functions return 0 or a negative code: OB_E_* below, or a negative errno from the
 * system.
 *
 * LIFE.  check (is this configuration right?) -> start (register; nothing goes out yet) ->
 * selftest -> load (the old generation's state, if its version differs) -> live (in the turn that
 * switches; send from here on) -> drain (a newer generation has taken over for good) -> stop.
 * Between start and live, registrations are inert, and push, call, timers, jobs, posts, HTTP calls
 * and writing keys answer OB_E_STATE.  For a while after the switch the old generation stands by:
 * if the new one fails, the old one is given the state back (load), told to `resume`, and serves
 * again.
 *
 * REHEARSAL.  Before a module is let into the node, a child process loads it and runs check, start,
 * selftest, load and stop against a table of functions that only pretend.  ob_rehearsing() tells;
 * a start that would reach outside (a database, a file it writes) skips that part then.
 *
 * ABI.  A module names the OB_ABI_MAJOR and OB_ABI_MINOR of the header it was compiled with.  The
 * host takes its own major number, and minor numbers up to its own.  Whatever is added increments
 * the minor number: functions at the end of ob_api, fields at the end of structs, codes and flags
 * that had no meaning before.  Whatever is removed, or changes its layout or meaning, increments
 * the major number.  Structs passed by pointer begin with their size; the host copies a shorter
 * descriptor into a zeroed one of its own.  A module that wants a function newer than the minor
 * number it insists on (one that redefines OB_ABI_MINOR as 0 to run on hosts of 1.0, say) asks
 * OB_HAS(ctx, function) first, and finds the newer fields of a host's struct only if its size says
 * so.
 *
 * History:
 *   1.1  2026-11-22  ob_call_with(): fail modes, idempotency keys, all nodes of a role, a session's
 *                    node; ob_trace(); ob_on_call_filter(); left, failed and tries in
 *                    ob_call_result; OB_EVENT_NODE_REPLACED; users and what belongs to them: bind,
 *                    unbind, find, push and kick by user, locks; session attributes; sessions
 *                    that are replaced, lost or moved; pushes to many; OB_CODEC_SHARED,
 *                    OB_CODEC_BLANK;
 *                    ob_on_transport(); what policies see of candidates and sessions; codecs that
 *                    open, wake, answer and say goodbye; groups; messages with names; listeners
 *                    with TLS; ob_secret_equal(); descriptors that are watched; transports for
 *                    clients; states of sessions; filters around messages; events by name;
 *                    timers that count, keep their pace or go by a calendar
 *   1.0  2026-11-22  the whole transaction: state hand-over, standing by, rehearsal, interfaces,
 *                    key-value store, listeners, policies; the identity note
 *   0.1  2026-11-21  first form
 */

#ifndef OBHOST_H
#define OBHOST_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>

#include <jansson.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define OB_EXPORT       __attribute__((visibility("default")))
#define OB_PRINTF(f, a) __attribute__((format(printf, f, a)))
#else
#define OB_EXPORT
#define OB_PRINTF(f, a)
#endif

#define OB_ABI_MAJOR    1
#define OB_ABI_MINOR    1
#define OB_MODULE_MAGIC 0x6f62686fu

/* ---------------------------------------------------------------- results and errors ------- */

/*
 * The ends a request or call can have.  The number on the wire is -(code) - 5000; the number a
 * client sees as `code` is in the comment.
 */
enum ob_result_code {
	OB_OK = 0,               /* 200 */
	OB_E_APP = -5001,        /* 500: the handler failed or ended nothing */
	OB_E_NOT_FOUND = -5002,  /* 404: no handler for the id or method */
	OB_E_NO_ROUTE = -5003,   /* 503: no live node of the role */
	OB_E_BUSY = -5004,       /* 503: a bound was reached */
	OB_E_DEADLINE = -5005,   /* 504: not answered in time */
	OB_E_NOT_SENT = -5006,   /* 503: the link broke before the request went out */
	OB_E_MAYBE_SENT = -5007, /* 502: the link broke after the request may have gone out */
	OB_E_GONE = -5008,       /* 503: the code or node that held it is gone */
	OB_E_DENIED = -5009,     /* 403 */
	OB_E_TOO_BIG = -5010,    /* 413 */
	OB_E_BAD = -5011,        /* 400: the body is not what the handler reads */
	OB_RESULT_LAST = OB_E_BAD,

	/* Codes of SDK functions only, never the end of a request. */
	OB_E_STALE = -5101,  /* the handle's object is gone */
	OB_E_STATE = -5102,  /* not now: not live yet, or ended already */
	OB_E_DEAD = -5103,   /* this generation has been taken out */
	OB_E_EXISTS = -5104, /* another module has that id, name or path */
	OB_E_INVAL = -5105,  /* an argument makes no sense */
	OB_E_NOMEM = -5106,
	OB_E_LIMIT = -5107, /* a table is full */
};

/* A result as the byte it is on the wire, and back. */
#define OB_RESULT_WIRE(code)   ((uint8_t)((code) == 0 ? 0 : -(code)-5000))
#define OB_RESULT_FROM_WIRE(n) ((n) == 0 ? 0 : -((int)(n) + 5000))

/* ---------------------------------------------------------------- handles and views -------- */

typedef struct ob_ctx ob_ctx;

typedef uint64_t ob_req;
typedef uint64_t ob_session;
typedef uint64_t ob_timer;
typedef uint64_t ob_call_id;
typedef uint64_t ob_msg;
typedef uint64_t ob_watch; /* a descriptor that is watched */
typedef uint64_t ob_door;  /* a listener of a module's transport */

enum ob_view_flag {
	OB_VIEW_CLIENT = 1u << 0,   /* from a client of this node */
	OB_VIEW_LINK = 1u << 1,     /* from another node */
	OB_VIEW_CALL = 1u << 2,     /* made by code with ob_call(), not by a client */
	OB_VIEW_ONE_WAY = 1u << 3,  /* nobody waits for an end */
	OB_VIEW_NO_STATE = 1u << 4, /* the listener's no_state covers the id */
	OB_VIEW_STICKY = 1u << 5,   /* a link message whose session should stay with one node */
	OB_VIEW_HTTP = 1u << 6,
};

/* A message, borrowed. */
typedef struct ob_view {
	uint32_t size;       /* of this struct */
	uint32_t id;         /* message id; 0 for a method or HTTP */
	uint32_t flags;      /* enum ob_view_flag */
	uint32_t budget_ms;  /* time left for an answer */
	const char *method;  /* method name, or NULL */
	ob_session session;  /* the client's session, or 0 */
	uint64_t source;     /* id of the node it came from; our own for a client's */
	const uint8_t *data; /* payload, not terminated */
	size_t len;

	/* Since 1.1, if view->size covers them: */
	/* Name of the message, not terminated; NULL: it has none, or none that this node knows as
	 * its own.  Of a client's message what the client said; of a held one what the node knows
	 * (ob_name()).  It is not the only way to say a message: a client may say the id, and the
	 * node know no name for it.  So who allows or denies decides by the id:
	 * view->id == ob_name_id(ctx, "the.name"). */
	const char *name;
	size_t name_len;
} ob_view;

/* Where a message or call goes.  Zero fields are open. */
typedef struct ob_target {
	uint64_t node;  /* a node by id: exactly this one */
	uint32_t role;  /* any node of the role: ob_role(ctx, "service") */
	uint32_t flags; /* OB_TARGET_* */
} ob_target;

#define OB_TARGET_STICKY  1u /* stay with the node that served the session before */
#define OB_TARGET_SESSION 2u /* calls: the node that the session's client is connected to */
#define OB_TARGET_ALL     4u /* calls: each node of the role, this one too if it is of it */

/* Where a check that says no writes why: ob_err_set(). */
typedef struct ob_err {
	char text[256];
} ob_err;

/* ---------------------------------------------------------------- callbacks ---------------- */

/* Handles one request.  Ends it by exactly one of ob_reply*(), ob_fail(), ob_done(), or keeps it
 * with ob_request_hold(); returning without any is ob_fail(OB_E_APP), counted. */
typedef void (*ob_handler_fn)(ob_ctx *ctx, ob_req req);

enum ob_action {
	OB_LOCAL = 1, /* give it to this node's handlers */
	OB_FORWARD,   /* send it to `target` */
	OB_DONE,      /* nothing more; a request is ended without an answer */
	OB_REFUSE,    /* end it with `code` and `text` */
};

typedef struct ob_verdict {
	int action;
	int code;         /* OB_REFUSE */
	const char *text; /* OB_REFUSE; static, or NULL */
	ob_target target; /* OB_FORWARD */
} ob_verdict;

/* Decides what happens to a message that no local handler takes. */
typedef ob_verdict (*ob_decide_fn)(ob_ctx *ctx, const ob_view *view);

/* Called before a client's message goes anywhere: 0 lets it pass, a negative result code ends it
 * with that code.  Filters run in the order of their priority. */
typedef int (*ob_filter_fn)(ob_ctx *ctx, const ob_view *view);

/* Writes the body a client gets for a failed request; the host's own is
 * {"code":503,"error":"text"}.  Returns a new reference or NULL for the host's own. */
typedef json_t *(*ob_error_body_fn)(ob_ctx *ctx, int code, const char *text);

enum ob_event {
	OB_EVENT_SESSION_OPENED = 1, /* a client of this node */
	OB_EVENT_SESSION_CLOSED,     /* a client of this node, or one this node has served */
	OB_EVENT_NODE_UP,            /* another node: it has joined, or there is a link with it */
	OB_EVENT_NODE_DOWN,          /* it has left or is taken for dead, and there is no link */
	OB_EVENT_NODE_REPLACED, /* since 1.1: it has started again; what it had in memory is gone */
	OB_EVENT_SESSION_REPLACED, /* since 1.1: its user has logged in elsewhere; CLOSED comes next
	                            */
	OB_EVENT_SESSION_LOST,     /* since 1.1: its proxy is gone: comes instead of CLOSED, once */
	OB_EVENT_SESSION_MOVED,    /* since 1.1: it sticks here now; `node`: where it did before */
	OB_EVENT_SESSION_LEFT,     /* since 1.1: one that stuck here sticks elsewhere now */
	OB_EVENT_GROUP_JOINED,     /* since 1.1: see ob_on_group() */
	OB_EVENT_GROUP_LEFT,
};

typedef struct ob_event_info {
	uint32_t size;
	int event;
	ob_session session; /* still valid during the callback */
	uint64_t node;
	const char *name; /* the node's name */
	const char *role;
} ob_event_info;

/* What binding a session to a user, or looking for one, has come to. */
typedef struct ob_user_result {
	uint32_t size;
	int code;           /* OB_OK or one of enum ob_result_code */
	const char *text;   /* why, for a failure; never NULL */
	ob_session session; /* that has the user, if this node has met it; else 0 */
	uint64_t node;      /* its proxy */
	const char *name;   /* its text form */
	uint64_t epoch;     /* of the binding: grows with every login of the user */
} ob_user_result;

/* Who has joined or left a group on this node. */
typedef struct ob_group_info {
	uint32_t size;
	int event; /* OB_EVENT_GROUP_JOINED or OB_EVENT_GROUP_LEFT */
	const char *group;
	ob_session session; /* of a client of this node; still valid during the callback */
	uint32_t members;   /* that the group has on this node then */
	uint32_t ended;     /* 1: it left because it ends */
} ob_group_info;

/* How many members a group has. */
typedef struct ob_group_result {
	uint32_t size;
	int code;         /* OB_OK: of all nodes; OB_E_DEADLINE: of those that answered in time */
	const char *text; /* why, for a failure; never NULL */
	const char *group;
	uint64_t members;
	uint32_t nodes;          /* that have answered, this one included */
	uint32_t missing_len;    /* those that have not: */
	const uint64_t *missing; /* their ids */
} ob_group_result;

typedef void (*ob_group_fn)(ob_ctx *ctx, const ob_group_info *info);
typedef void (*ob_group_count_fn)(ob_ctx *ctx, const ob_group_result *res, void *arg);

typedef void (*ob_user_fn)(ob_ctx *ctx, const ob_user_result *res, void *arg);

/* A session of this node's clients goes from one state to another. */
typedef struct ob_session_change {
	uint32_t size;
	uint32_t flags;     /* 0 */
	ob_session session; /* still valid during the callback */
	const char *from;   /* "": the session begins */
	const char *to;     /* "": it ends */
	const json_t *data; /* what it has in `to`; NULL: nothing */
	const json_t *left; /* what it had in `from`; NULL: nothing */
} ob_session_change;

typedef void (*ob_session_change_fn)(ob_ctx *ctx, const ob_session_change *change);

typedef uint64_t ob_gate; /* a message that a filter holds */

/* Where a filter stands around messages of clients: on the node whose client it is, and on the node
 * whose handler takes it, which may be the same one. */
enum ob_message_when {
	OB_MESSAGE_BEFORE_CLIENT = 1, /* it has come from a client of this node */
	OB_MESSAGE_AFTER_CLIENT,      /* its end has gone back to the client */
	OB_MESSAGE_BEFORE_HANDLER,    /* it is about to reach a handler here */
	OB_MESSAGE_AFTER_HANDLER,     /* the handler has ended it */
};

/* What such a filter sees; all borrowed. */
typedef struct ob_message_event {
	uint32_t size;
	int when;            /* enum ob_message_when */
	const ob_view *view; /* the message; AFTER_*: without its payload */
	uint32_t took_ms;    /* AFTER_*: since it came to this node */
	int code;            /* AFTER_*: its end */
	const char *text;    /* why it failed, "" otherwise */
	size_t len;          /* AFTER_*: bytes of the answer */
} ob_message_event;

/* BEFORE_*: 0 lets it pass, a negative result code ends it with that code, and so do
 * ob_message_hold() and what follows that.  AFTER_*: what it returns counts for nothing. */
typedef int (*ob_message_filter_fn)(ob_ctx *ctx, const ob_message_event *event);

#define OB_RAISED_NOTICE 1u /* nobody can stop it */

/* An event by name. */
typedef struct ob_raised {
	uint32_t size;
	uint32_t flags;     /* OB_RAISED_NOTICE */
	const char *name;   /* borrowed, as is: */
	const json_t *data; /* NULL: nothing */
	uint64_t node;      /* that it was raised on */
	uint32_t depth;     /* of events that were raised by who heard of another one */
} ob_raised;

#define OB_RAISED_STOP 1 /* nobody else hears of it */

/* 0, or OB_RAISED_STOP. */
typedef int (*ob_raised_fn)(ob_ctx *ctx, const ob_raised *raised);

/* Which events somebody hears of. */
typedef struct ob_listener {
	uint32_t size;
	int priority;       /* smaller ones first */
	const char *prefix; /* their names begin so; NULL: all */
	const char *key;    /* not NULL: a member of the data, whose value is the text: */
	const char *value;
} ob_listener;

typedef void (*ob_event_fn)(ob_ctx *ctx, const ob_event_info *info);
typedef void (*ob_timer_fn)(ob_ctx *ctx, ob_timer timer, void *arg);
typedef void (*ob_fd_fn)(ob_ctx *ctx, ob_watch watch, uint32_t events, void *arg);

#define OB_TIMER_FIXED 1u /* repeats keep the pace of the first, however late one is */
#define OB_TIMER_LOCAL 2u /* `cron` is meant in the machine's own time zone, not UTC */

/* How a timer goes. */
typedef struct ob_timer_options {
	uint32_t size;
	uint32_t flags; /* OB_TIMER_* */
	uint64_t delay_ms;
	uint64_t repeat_ms;
	uint64_t count;   /* it ends when it has fired so often; 0: never, if it repeats */
	const char *cron; /* not NULL: by the calendar, then delay_ms and repeat_ms are 0 */
} ob_timer_options;

typedef void (*ob_work_fn)(void *arg); /* on a pool thread: no SDK call but ob_post() */
typedef void (*ob_post_fn)(ob_ctx *ctx, void *arg);

/* The one end of a call. */
typedef struct ob_call_result {
	uint32_t size;
	int code;            /* OB_OK or one of enum ob_result_code */
	const char *text;    /* why, for a failure; never NULL */
	uint64_t source;     /* the node that answered, or 0 */
	const uint8_t *data; /* the answer, borrowed */
	size_t len;
	int failed;     /* OB_CALL_FAIL_SAFE: the code that OB_OK stands for; else 0 */
	uint32_t left;  /* OB_TARGET_ALL: results still to come; else 0 */
	uint32_t tries; /* how often it was tried, at least 1 */
} ob_call_result;

typedef void (*ob_call_fn)(ob_ctx *ctx, ob_call_id call, const ob_call_result *res, void *arg);

/*
 * What becomes of a call when a try fails.  Nothing but time makes one more than once, and no mode
 * hands over more than one result.
 *
 * OB_E_NO_ROUTE, OB_E_NOT_SENT and OB_E_BUSY of a host, this one or one on the way, say that no
 * handler has seen the call: it is tried again as the mode says.  With a key it is tried again also
 * when a handler itself has ended it with one of these, and when one may have run: after
 * OB_E_MAYBE_SENT, OB_E_GONE and a try without an answer in time.  Any other failure is the end.
 */
enum ob_call_mode {
	OB_CALL_FAIL_FAST = 0, /* the first failure is the end */
	OB_CALL_FAIL_OVER,     /* on to another node of the role, at once */
	OB_CALL_FAIL_BACK,     /* again and again until the deadline, less and less often */
	OB_CALL_FAIL_SAFE,     /* one try; a failure is counted and logged, and ends with OB_OK */
};

#define OB_CALL_NO_WAIT 1u /* OB_E_NO_ROUTE at once when nobody live can take it */

#define OB_CALL_KEY_MAX  64u /* bytes of an idempotency key */
#define OB_CALL_KEEP_MAX 64u

/* How a call is made.  Zero, but for size and one of id and method, is a good choice everywhere. */
typedef struct ob_call_options {
	uint32_t size;
	int mode; /* enum ob_call_mode */
	uint32_t id;
	uint32_t deadline_ms; /* 0: call_timeout; whatever it is, the call has no more time than is
	                       * left of the request it is made for, if somebody waits for that */
	const char *method;
	ob_session session;
	const void *data;
	size_t len;
	const void *key; /* idempotency key: a node that gets it a second time from this one, for
	                  * the same id or method, runs no handler again but gives the first end */
	uint32_t key_len;
	uint32_t retries;  /* at most so many tries more; 0: as many as the mode can use */
	uint32_t flags;    /* OB_CALL_NO_WAIT */
	uint32_t keep_len; /* not 0: the host keeps a copy of these bytes as long as the call lives,
	                    * and fn gets a pointer to it as `arg`; at most OB_CALL_KEEP_MAX */
	const void *keep;
	ob_req request; /* that it is made for; 0: the one whose handler runs, or made the call
	                 * whose result is being handed over */
} ob_call_options;

/* Where a request stands in its trace.  All that is done for one message of a client, or one call
 * of a module's own, over any number of nodes, has the same id. */
typedef struct ob_trace_info {
	uint32_t size;
	uint32_t begins; /* 1: the trace begins with this request */
	uint64_t id[2];
	uint64_t span;   /* this request */
	uint64_t parent; /* the request it is made for; 0: none */
} ob_trace_info;

/* Where a filter stands: around the calls that this node's modules make, and around those that its
 * handlers answer. */
enum ob_call_when {
	OB_CALL_BEFORE_OUT = 1, /* a call is about to be made */
	OB_CALL_AFTER_OUT,      /* its result is about to be handed over */
	OB_CALL_BEFORE_IN,      /* a call is about to reach its handler */
	OB_CALL_AFTER_IN,       /* the handler has ended it */
};

/* What a filter sees; all borrowed. */
typedef struct ob_call_event {
	uint32_t size;
	int when;            /* enum ob_call_when */
	const ob_view *view; /* the call; AFTER_*: without its payload */
	ob_target target;    /* *_OUT: where it goes */
	uint64_t node;    /* OUT: that it goes to, or that answered, 0: not known; IN: that asks */
	uint32_t took_ms; /* AFTER_* */
	int code;         /* AFTER_*: the end */
	const char *text; /* why it failed, "" otherwise */
	const uint8_t *data; /* AFTER_*: the answer */
	size_t len;
	ob_trace_info trace;
} ob_call_event;

/* BEFORE_*: 0 lets the call pass, a negative result code ends it with that code.  AFTER_*: what it
 * returns counts for nothing. */
typedef int (*ob_call_filter_fn)(ob_ctx *ctx, const ob_call_event *event);

/* ---------------------------------------------------------------- HTTP --------------------- */

/* An HTTP request in a handler registered with ob_on_http(); the body is the view's data. */
typedef struct ob_http_info {
	uint32_t size;
	const char *method;
	const char *path;  /* decoded, without the query */
	const char *query; /* undecoded, "" if none */
	const char *tail;  /* what a route's final "*" matched, "" otherwise */
	bool loopback;     /* the peer's address is a loopback one, or a unix socket */
	bool unix_socket;
} ob_http_info;

/* An HTTP request this node makes. */
typedef struct ob_http_request {
	uint32_t size;
	const char *method;         /* NULL: GET */
	const char *url;            /* http or https */
	const char *const *headers; /* "Name: value" strings, NULL at the end; may be NULL */
	const void *body;
	size_t body_len;
	uint32_t timeout_ms; /* 0: 5000 */
	size_t max_body;     /* of the answer; 0: 1 MiB */
} ob_http_request;

typedef struct ob_http_response {
	uint32_t size;
	int code;   /* OB_OK, OB_E_DEADLINE, OB_E_TOO_BIG, OB_E_NOT_SENT, OB_E_MAYBE_SENT, OB_E_GONE
	             */
	int status; /* the HTTP status, when code is OB_OK */
	const char *text; /* why, for a failure */
	const char *content_type;
	const uint8_t *data;
	size_t len;
} ob_http_response;

typedef void (*ob_http_fn)(ob_ctx *ctx, const ob_http_response *res, void *arg);

/* ---------------------------------------------------------------- codecs ------------------- */

enum ob_packet_kind {
	OB_PACKET_MESSAGE = 1, /* id, data, len are set */
	OB_PACKET_NEED,        /* the packet at the front has `need` bytes in all (or at least) */
	OB_PACKET_SKIP,        /* consumed, nothing for anyone */
	OB_PACKET_CLOSE,       /* close the connection: `code` (a WebSocket close code), `reason` */
	OB_PACKET_ANSWER, /* since 1.1: consumed; `data`, `len` go back to this client at once, as
	                   * they are, in a transport message: handshakes, heartbeats.  Nothing for
	                   * anyone else; len 0: nothing is sent */
	OB_PACKET_HELLO,  /* since 1.1, with OB_CODEC_RESUMES: the client begins; `data`, `len` are
	                   * the token of a session that it had, if any, and then `cookie` is how
	                   * many messages of that it has seen */
	OB_PACKET_SEEN,   /* the same: `cookie` is how many messages it has seen by now */
};

enum ob_packet_out {
	OB_PACKET_REPLY = 1, /* the answer to a request */
	OB_PACKET_PUSH,      /* unasked */
	OB_PACKET_WELCOME,   /* since 1.1, the answer to OB_PACKET_HELLO: `name`, `name_len` are the
	                      * session, `data`, `len` its token (none: it can't be resumed),
	                      * `status` is OB_OK when it is the one that was asked for, else `reason`
	                      * says why not, and `cookie` is how many messages of the client it has
	                      * had since its first hello */
};

/* A decoded packet, or one to be encoded. */
typedef struct ob_packet {
	uint32_t size;
	int kind;
	uint32_t id;
	uint32_t one_way; /* decoded: the client wants no answer */
	uint64_t cookie;  /* decoded with a request, given back when its reply is encoded */
	int status;       /* to encode: OB_OK or why it failed */
	uint16_t code;
	size_t need;
	const char *reason;  /* static */
	const uint8_t *data; /* decoded: points into the input, since 1.1 or anywhere else where it
	                      * stays as it is until the codec is called again, as with
	                      * OB_PACKET_ANSWER */
	size_t len;

	/* Since 1.1, if packet->size covers them: */
	const char *name; /* decoded: of a message that has one in the place of an id (then 0);
	                   * where data may be, not terminated.  To encode: the name of `id`, if
	                   * the host knows one, else NULL */
	size_t name_len;
	uint32_t idle_ms; /* decoded: not 0: from now on the client may be silent for so long;
	                   * UINT32_MAX: for ever */
	uint32_t wake_ms; /* decoded: not 0: call wake() after so long, once; a later one counts in
	                   * its place */
	const char *kind_word; /* decoded, with OB_PACKET_CLOSE: which kind of violation,
	                        * [a-z_]{1,31}; counted as obhost_client_closed_total{reason="..."}.
	                        * Copied at once.  NULL: bad_packet, or too_big with code 1009 */
	uint32_t no_hello;     /* decoded, with OB_PACKET_SKIP or _ANSWER, of a codec with
	                        * OB_CODEC_RESUMES: not 0: this client has begun and will say no hello,
	                        * so that its session is announced at once and not with its first
	                        * message */
} ob_packet;

#define OB_CODEC_STREAM 1u /* packets may span transport messages and share them */
#define OB_CODEC_TEXT   2u /* what encode() writes is UTF-8: a text message on WebSocket */
#define OB_CODEC_SHARED                                                                     \
	4u /* since 1.1: what encode() writes for OB_PACKET_PUSH depends on nothing but the \
	    * packet, so that one for many clients is encoded once.  A codec that keeps no  \
	    * state with connections (state_size 0) is taken to be so anyway */

#define OB_CODEC_RESUMES                                                                     \
	8u /* since 1.1: it knows OB_PACKET_HELLO, _SEEN and _WELCOME, and its clients count \
	    * what they get, from the WELCOME on: 1 is the first packet behind it */

#define OB_CODEC_BLANK                                                                          \
	16u /* since 1.1: a state of at most 256 bytes that open leaves zeroed is never written \
	     * to, so that all connections with such a one share it, and it can't be.  A        \
	     * generation that begins to say so, or no longer does, needs another state_ver */

#define OB_CODEC_NO_PUSH    UINT32_MAX        /* of variant */
#define OB_CODEC_OWN        (UINT32_MAX - 1u) /* of variant */
#define OB_CODEC_LAST_WORDS 512u              /* bytes that close() has room for, at least */
#define OB_CODEC_WORDS_MAX                                                    \
	64u /* different kind_words of a node's codecs; more are "bad_packet" \
	     */

/* Since 1.1.  A connection that begins, and the listener that it came through; all borrowed. */
typedef struct ob_codec_open {
	uint32_t size;
	uint32_t encode;       /* the listener's, 0..2 */
	uint64_t arg;          /* ob_codec.arg */
	const char *transport; /* what it came by: "ws", "tcp", "unix", ... */
	const char *token;     /* the listener's, a secret; NULL: none */
	const json_t *conf;    /* the listener's codec_conf, as it is written; NULL: none */
	uint32_t *wake_ms;     /* of open: where it may say that wake() is to be called after so
	                        * long; and: */
	uint32_t *idle_ms;     /* how long the client may be silent, as in a packet.  Of conf_check
	                        * both are NULL */
	uint32_t *no_hello;    /* of open, with OB_CODEC_RESUMES: set to not 0 when the client can't
	                        * say hello on this listener; of conf_check NULL */
} ob_codec_open;

/*
 * Turns bytes into messages.  The host allocates `state_size` zeroed bytes with each connection,
 * keeps undecoded bytes itself, and calls decode at packet edges only: so the next generation goes
 * on where this one stopped.  A generation with another state_ver needs migrate.  The host wipes
 * the state before it frees it, however the connection ends: there may be keys in it.  A codec's
 * functions send nothing: they may be called in the middle of a message to many, where
 * ob_push_all() reaches none of this node's clients.
 */
typedef struct ob_codec {
	uint32_t size;
	uint32_t state_size;
	uint32_t state_ver;
	uint32_t flags;    /* OB_CODEC_* */
	uint32_t overhead; /* most bytes encode() adds to the payload's length */
	const char *name;

	/* Decodes at most one packet from the front of `data` (len > 0) and returns the bytes it
	 * consumed; with OB_PACKET_NEED and OB_PACKET_CLOSE that is 0.  `boundary` is true when a
	 * transport message ends behind `data`.  `max` is the longest packet allowed, its header
	 * included; `need` is more than `len`.  *out is zeroed but for its size. */
	size_t (*decode)(ob_ctx *ctx, void *state, uint8_t *data, size_t len, bool boundary,
	                 size_t max, ob_packet *out);

	/* Writes the packet into out[0..cap), cap >= len + overhead, and returns its size, or 0 if
	 * it cannot be expressed.  The packet's data does not overlap out.  Since 1.1: more than
	 * cap says that it needs so much room; it is called again with that, once, if the client's
	 * queue has it. */
	size_t (*encode)(ob_ctx *ctx, void *state, const ob_packet *packet, uint8_t *out,
	                 size_t cap);

	/* Optional: turns a connection's state of version `from` into this one's.  0 or negative,
	 * then that connection is closed (when code returns that was replaced, its state from
	 * before is restored instead).  Pure: called at any time from start on, perhaps twice for
	 * one state. */
	int (*migrate)(ob_ctx *ctx, uint32_t from, const void *old_state, void *state);

	/* Since 1.1, all of them optional.  None may close or push to the connection it is about.
	 */

	uint64_t arg; /* the module's own number, for open: so several codecs can share functions */

	/* A connection begins: fills in its state, before anything else is called for it.  0, or
	 * negative: it is closed with 1011, counted as "codec_open".  A generation that begins to
	 * have open, for state of some size, needs another state_ver: no state is left zeroed. */
	int (*open)(ob_ctx *ctx, void *state, const ob_codec_open *info);

	/* The connection is being closed from this side: writes the last bytes for the client into
	 * out[0..cap), cap >= OB_CODEC_LAST_WORDS, one transport message before the transport's own
	 * close.  `reason` is never NULL.  How many, 0: none. */
	size_t (*close)(ob_ctx *ctx, void *state, uint16_t code, const char *reason, uint8_t *out,
	                size_t cap);

	/* The time of wake_ms is over: sets out->kind to OB_PACKET_SKIP, _ANSWER or _CLOSE, and
	 * perhaps idle_ms and wake_ms.  Returns 0. */
	size_t (*wake)(ob_ctx *ctx, void *state, ob_packet *out);

	/* Is what a listener is configured with right?  Asked before it opens, and by a new
	 * generation for those that are open: before that, `encode`, `token` and `codec_conf` are
	 * only known to be a number, a text and an object.  0, or negative with a sentence in
	 * err->text.  Without conf_check and open, a listener can have neither encode nor
	 * codec_conf. */
	int (*conf_check)(ob_ctx *ctx, const ob_codec_open *info, ob_err *err);

	/* Which form of a push to many a connection with this state gets: one encoding is for all
	 * for whom this answers the same.  OB_CODEC_OWN: it is encoded for this one alone, in the
	 * order in which it goes out.  OB_CODEC_NO_PUSH: none, it is lost for this one.
	 * Without it OB_CODEC_SHARED counts. */
	uint32_t (*variant)(ob_ctx *ctx, const void *state);
} ob_codec;

/* ---------------------------------------------------------------- the descriptor ----------- */

/* For check and reconf: `return ob_err_set(err, "port: %d is taken", port);` Returns OB_E_INVAL. */
OB_PRINTF(2, 3)
static inline int ob_err_set(ob_err *err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
	return OB_E_INVAL;
}

enum ob_reconf_phase {
	OB_RECONF_CHECK = 1, /* is it acceptable? change nothing */
	OB_RECONF_APPLY,     /* take it; can't fail */
};

/* What a module's state is written to and read from; both live only during the hook. */
typedef struct ob_writer ob_writer;
typedef struct ob_reader ob_reader;

enum ob_module_flag {
	/* Two generations of it may serve at once, each a share of the sessions (a canary). */
	OB_MODULE_PARALLEL = 1u << 0,
	/* It can't be unmapped safely: its generations stay mapped when they are taken out. */
	OB_MODULE_RESIDENT = 1u << 1,
};

/*
 * Every hook is optional.  `conf` is the module's "conf" object, or an empty one; borrowed.
 *
 * INTERFACES.  `provides` and `needs` are words separated by blanks: "rank/2.1 audit/1" names an
 * interface, its major and its minor number (0 if left out).  A need is met by another active
 * module's interface of the same name, the same major number and no lower minor number; with a
 * "?" before it the module can do without.  Modules that need each other are refused.
 *
 * STATE.  `state_write` is the version of state that save() writes at most, `state_read_min` the
 * oldest that load() reads; 0: it has none but ob_state() blocks.  Both hooks run only when the two
 * generations' state_write differ, in the turn that switches: save() is asked for the lower of the
 * two versions, so that a return to older code works as well.
 */
typedef struct ob_module_desc {
	uint32_t magic; /* OB_MODULE_MAGIC */
	uint32_t size;  /* of this struct in the module's header */
	uint16_t abi_major;
	uint16_t abi_minor;
	const char *name;
	const char *version;
	uint32_t flags; /* enum ob_module_flag */
	uint32_t state_write;
	uint32_t state_read_min;
	const char *provides; /* NULL: nothing */
	const char *needs;

	/* Before anything else: is the configuration right?  Pure.  0, or negative with a sentence
	 * in err->text. */
	int (*check)(const json_t *conf, ob_err *err);

	/* Registers handlers and allocates.  0 or a negative code; then nothing of it stays. */
	int (*start)(ob_ctx *ctx, const json_t *conf);

	/* Proves that what was started works, before anything is switched.  0 or negative. */
	int (*selftest)(ob_ctx *ctx);

	/* Takes over state that another generation saved in `version`.  0 or negative: then the
	 * other one goes on as if nothing had been.  May be called again after a failed switch. */
	int (*load)(ob_ctx *ctx, ob_reader *reader, uint32_t version);

	/* In the turn in which this generation takes over: may send, call, set timers. */
	void (*live)(ob_ctx *ctx);

	/* Writes its state in `version` (at most state_write).  Changes nothing: it may go on
	 * serving.  0 or negative. */
	int (*save)(ob_ctx *ctx, ob_writer *writer, uint32_t version);

	/* A newer generation has taken over for good, or the node stops.  Work in flight goes on.
	 */
	void (*drain)(ob_ctx *ctx);

	/* The generation that had taken over was taken back: this one serves again. */
	void (*resume)(ob_ctx *ctx);

	/* The module's part of the configuration changed, phase by phase. */
	int (*reconf)(ob_ctx *ctx, const json_t *conf, int phase, ob_err *err);

	/* The last call: free what start allocated.  Nothing of this generation is in flight. */
	void (*stop)(ob_ctx *ctx);
} ob_module_desc;

/*
 * The identity note, section .note.obhost: what a host and its tools read from a module's file
 * before any of its code is mapped.  It repeats the descriptor's numbers and says what the layout
 * of shared structs depends on.  All members are in the byte order of the machine.
 */
typedef struct ob_note {
	uint32_t name_size; /* of owner */
	uint32_t desc_size; /* of what follows owner */
	uint32_t type;      /* 1 */
	char owner[8];      /* "obhost" */
	uint32_t magic;     /* OB_MODULE_MAGIC */
	uint16_t abi_major;
	uint16_t abi_minor;
	uint32_t size; /* of ob_module_desc */
	uint8_t pointer_size;
	uint8_t time_size;  /* of time_t */
	uint8_t off_size;   /* of off_t */
	uint8_t bool_size;  /* of bool */
	uint32_t sanitizer; /* OB_SANITIZER */
	uint32_t jansson;   /* JANSSON_VERSION_HEX >> 16: its major number */
	char name[64];      /* the module's */
} ob_note;

#if defined(__SANITIZE_ADDRESS__)
#define OB_SANITIZER 1u
#elif defined(__SANITIZE_THREAD__)
#define OB_SANITIZER 2u
#elif defined(__has_feature) /* clang; in an #if of its own, as others can't read the call */
#if __has_feature(address_sanitizer)
#define OB_SANITIZER 1u
#elif __has_feature(thread_sanitizer)
#define OB_SANITIZER 2u
#endif
#endif
#ifndef OB_SANITIZER
#define OB_SANITIZER 0u
#endif

#ifdef __cplusplus
#define OB_EXTERN extern "C"
#else
#define OB_EXTERN extern
#endif

/* OB_MODULE(login, .version = "1.0.0", .start = start); at the foot of the file. */
#define OB_MODULE(module_name, ...)                                            \
	static const ob_note ob_module_note                                    \
		__attribute__((used, section(".note.obhost"), aligned(4))) = { \
			8,                                                     \
			sizeof(ob_note) - offsetof(ob_note, magic),            \
			1,                                                     \
			"obhost",                                              \
			OB_MODULE_MAGIC,                                       \
			OB_ABI_MAJOR,                                          \
			OB_ABI_MINOR,                                          \
			sizeof(ob_module_desc),                                \
			sizeof(void *),                                        \
			sizeof(time_t),                                        \
			sizeof(off_t),                                         \
			sizeof(bool),                                          \
			OB_SANITIZER,                                          \
			JANSSON_VERSION_HEX >> 16,                             \
			#module_name};                                         \
	OB_EXTERN OB_EXPORT const ob_module_desc ob_module;                    \
	const ob_module_desc ob_module = {.magic = OB_MODULE_MAGIC,            \
	                                  .size = sizeof(ob_module_desc),      \
	                                  .abi_major = OB_ABI_MAJOR,           \
	                                  .abi_minor = OB_ABI_MINOR,           \
	                                  .name = #module_name,                \
	                                  __VA_ARGS__}

/* ---------------------------------------------------------------- the table ---------------- */

enum ob_log_level {
	OB_LOG_DEBUG = 0, /* one line per message; no payloads */
	OB_LOG_INFO,      /* lifecycle */
	OB_LOG_NOTICE,    /* state or configuration changed */
	OB_LOG_WARNING,   /* degraded, going on */
	OB_LOG_ERROR,     /* an operator must act */
};

typedef struct ob_node_info {
	uint32_t size;
	uint32_t role_id; /* as ob_role() of the own role */
	uint64_t id;
	uint64_t incarnation;
	const char *name;
	const char *role;
} ob_node_info;

typedef struct ob_session_info {
	uint32_t size;
	bool local;    /* its client is connected to this node */
	uint64_t node; /* the proxy that owns it */
	uint64_t seq;
	const char *peer; /* a local client's address, else "" */

	/* Since 1.1, if info->size covers them: */
	const char *user; /* it is bound to; "" if it is nobody's.  Borrowed as peer is */
	uint64_t epoch;   /* of the binding; 0: there was none yet */
} ob_session_info;

#define OB_SESSION_TEXT 96 /* bytes that hold any session's text form */

typedef struct ob_admin_reply {
	uint32_t size;
	int status;         /* an HTTP status: 200, 202, 400, 404, 409, 422, ... */
	const json_t *body; /* borrowed; NULL when the body is text */
	const char *text;   /* e.g. the metrics page; NULL when the body is JSON */
} ob_admin_reply;

typedef void (*ob_admin_fn)(ob_ctx *ctx, const ob_admin_reply *reply, void *arg);

/* The module that asks, and which generation of it. */
typedef struct ob_module_info {
	uint32_t size;
	uint32_t generation; /* 1, 2, ... */
	const char *name;
	const char *version;
} ob_module_info;

/* How a node is, as far as this one has heard. */
enum ob_node_state {
	OB_NODE_UP = 1,
	OB_NODE_DRAINING, /* it takes nothing new; a candidate only as a route node, to relay */
	OB_NODE_SUSPECT,  /* it may be gone; a candidate only while nobody else is there */
};

/* A node that a request could go to, over a link or through a route node, in a policy.  They come
 * as an array, so the struct keeps its size: what is new takes the place of padding, and is 0 on
 * hosts of before. */
typedef struct ob_candidate {
	uint32_t size;
	uint32_t weight; /* its rpc.weight */
	uint64_t node;
	const char *name;
	uint32_t pending; /* requests and calls of this node sent there that have not ended */
	bool local;       /* it is on this machine (since 1.1; until then always false) */

	/* Since 1.1: */
	uint8_t state; /* enum ob_node_state */
	uint16_t load; /* requests in work there, whosoever, as it said last; 65535: or more */
} ob_candidate;

typedef struct ob_choice {
	uint32_t size;
	uint32_t role;
	const ob_view *view;            /* the message; its payload may be absent */
	const ob_candidate *candidates; /* 1..256, in the order of their ids, those with the
	                                 * smallest */
	size_t len;

	/* Since 1.1, if choice->size covers it: */
	uint64_t key; /* of the message's session, or of its user where `rpc.sticky` says so: the
	               * same on all nodes, also where view->session is 0; 0: it has no session */
} ob_choice;

/* Chooses a node: the index of a candidate, or a negative result code, which ends the request.  Any
 * other number is an error: counted, logged, and the node chooses itself. */
typedef int (*ob_policy_fn)(ob_ctx *ctx, const ob_choice *choice);

/* A listener that a module opens. */
typedef struct ob_listen_options {
	uint32_t size;
	const char *transport; /* "ws", "tcp" or "unix"; since 1.1 also "wss", "tls", "tcp+ws" and
	                        * "tls+wss" */
	const char *codec;     /* a codec's name */
	const char *host;      /* in numbers, or localhost; NULL: the node's */
	uint16_t port;         /* 0: any, for tests */
	const char *path;      /* of transport unix */
	uint32_t idle_ms;      /* close a client that sent nothing for so long; 0: never */

	/* Since 1.1: PEM files of wss and tls, read again when the configuration is. */
	const char *tls_cert; /* the certificate and its chain */
	const char *tls_key;  /* NULL: in tls_cert */
	const char *tls_ca;   /* clients must show a certificate that one of these has signed; NULL:
	                       * none is asked for */
} ob_listen_options;

#define OB_TRANSPORT_LOCAL 1u /* its addresses mean something on the node's own machine only */

#define OB_TRANSPORT_ADDRESS_MAX 107u /* bytes of an address: printable ASCII */

/*
 * Since 1.1.  Makes stream sockets for links with other nodes; the host does all the rest: it waits
 * for the connection, proves who is there, encrypts if that is configured, sends and reads.  Any
 * address family will do, and one end of a socketpair() to a helper process as well.
 *
 * Hooks run on the loop and must not block.  `address` is a text of the configuration's or of
 * another node's that only the transport understands.  A descriptor that is handed over is the
 * host's from then on: the module keeps no copy, so links outlive its generation.  Hooks return 0,
 * or a negative code with a sentence in err->text if there is more to say than the code does.
 */
typedef struct ob_transport {
	uint32_t size;
	uint32_t flags; /* OB_TRANSPORT_LOCAL */
	const char *name;

	/* A stream socket that is connected to the address, or whose connect() has been begun and
	 * goes on.  The host gives up when that takes longer than three seconds. */
	int (*dial)(ob_ctx *ctx, const char *address, int *fd, ob_err *err);

	/* Optional: a stream socket that is bound to the address, for the host to listen on; other
	 * nodes' dial is given the same text, unless the configuration tells them another one. */
	int (*listen)(ob_ctx *ctx, const char *address, int *fd, ob_err *err);

	/* Optional: is that an address?  Pure. */
	int (*check)(ob_ctx *ctx, const char *address, ob_err *err);
} ob_transport;

#define OB_FD_READABLE 1u
#define OB_FD_WRITABLE 2u
#define OB_FD_BROKEN   4u /* it can't be watched any more: the watch has ended */

/* Since 1.1.  A listener of the configuration whose transport a module offers; all borrowed. */
typedef struct ob_door_info {
	uint32_t size;
	uint32_t connections; /* most clients at once that it can have */
	ob_door door;         /* names the listener as long as the node runs */
	const char *host;     /* the address to bind, as it is configured */
	uint16_t port;        /* 0: any free one */
	bool reuseport;
	uint32_t per_address; /* most from one address; 0: any number */
	const char *where;    /* its place in the configuration, for messages */
} ob_door_info;

/*
 * Since 1.1.  Brings clients by what is no stream socket: UDP with something reliable on top, a
 * serial line, a helper process.  `listen` of the configuration names it.
 *
 * The module has the socket and speaks with the clients.  For each one it makes a pair of connected
 * stream sockets, socketpair() above all, and gives the host one end (ob_client_adopt): what it
 * writes into the other end are the packets of the listener's codec, and what it reads there is for
 * the client.  To the host it is a client as any other: codec, session, bounds, pushes, groups.
 * Whoever ends first closes its end, so the other one reads the end; the module closes its own when
 * the last bytes have gone to the client, which the host waits for, two seconds at most.
 *
 * Hooks run on the loop and must not block.  Those that can fail return 0, or a negative code with
 * a sentence in err->text.  All but leave are needed.
 */
typedef struct ob_client_transport {
	uint32_t size;
	uint32_t flags; /* 0 */
	const char *name;

	/* Binds the listener's address, so that one that is taken is an error now, and lets nobody
	 * in yet.  `address` gets what is shown of it ("127.0.0.1:7000"), cut to cap.  The same
	 * door may be opened again after close, while clients of before are still there. */
	int (*open)(ob_ctx *ctx, const ob_door_info *info, char *address, size_t cap, ob_err *err);

	/* Lets clients in from now on. */
	int (*accept)(ob_ctx *ctx, ob_door door, ob_err *err);

	/* No newcomers any more; clients that are there stay until they or the host end. */
	void (*close)(ob_ctx *ctx, ob_door door);

	/* Asked of a new generation before it takes over, for each door that is open or has
	 * clients: does it go on with it, as the old one has left it in an ob_state() block?
	 * Changes nothing.  Negative: the new generation is refused. */
	int (*keep)(ob_ctx *ctx, ob_door door, ob_err *err);

	/* Optional: the host closes a client, with a WebSocket close code and a reason that is
	 * never NULL; what is still in the socket is for it.  `client` is the number that
	 * ob_client_adopt() was given. May come from within that function. */
	void (*leave)(ob_ctx *ctx, uint64_t client, uint16_t code, const char *reason);
} ob_client_transport;

/* Since 1.1.  A client that a transport of the module brings; all borrowed. */
typedef struct ob_adopt_options {
	uint32_t size;
	ob_door door;     /* it came by */
	uint64_t client;  /* the module's own number, for leave */
	const char *peer; /* its address in numbers, "192.0.2.1:7000" or "[2001:db8::1]:7000", for
	                   * GET /sessions, logs and limits.per_address; NULL: it has none */
} ob_adopt_options;

#define OB_SECTION_CRITICAL 1u /* a reader that does not know the section must refuse the whole */

#define OB_FROM_CLIENT 1u /* ob_on_id: messages of this node's own clients */
#define OB_FROM_LINK   2u /* ob_on_id: messages from other nodes */
#define OB_ONE_WAY     4u /* ob_on_id, ob_on_method: nobody is answered */
#define OB_HTTP_ADMIN  8u /* ob_on_http: an administrative path; needs "admin": true */

#define OB_NAME_MAX    255u        /* bytes of a message's name: text without control characters */
#define OB_NAME_ID_MIN 0x40000000u /* ids from here on belong to names */
#define OB_NAME_KNOW   1u          /* ob_api.name_id: it is known from now on */

#define OB_USER_MAX    64u    /* bytes of a user id: text without control characters */
#define OB_KEY_MAX     32u    /* of the key of a session's attribute or lock, of the same kind */
#define OB_ATTR_MAX    256u   /* of an attribute's value */
#define OB_ATTRS_MAX   16u    /* attributes of one session */
#define OB_LOCK_MS_MAX 60000u /* the longest lock */

#define OB_STATE_MAX      32u   /* bytes of a state's name: letters, digits, '_', '-' or '.' */
#define OB_STATE_DATA_MAX 4096u /* of what a session has in a state, as JSON text */

#define OB_RAISED_MAX      64u    /* bytes of an event's name: text without control characters */
#define OB_RAISED_DATA_MAX 65536u /* of its data, as JSON text */

#define OB_GROUP_MAX 64u /* bytes of a group's name: text without control characters */

#define OB_PUSH_MANY_MAX 65536u /* receivers of one push */

#define OB_UNLOCK_KEEP 1u /* the lock stays until its deadline, though nobody works under it */

/*
 * The host's functions as a module sees them.  Modules use the inline functions below, which say
 * what each one does; the table exists so that the host exports no symbol, so that each call is
 * attributed to a generation, and so that a test can stand in for the host.
 */
typedef struct ob_api {
	uint32_t size;
	uint16_t abi_major;
	uint16_t abi_minor;

	const char *(*strerror)(ob_ctx *ctx, int code);
	int (*status)(ob_ctx *ctx, int code);
	void (*vlog)(ob_ctx *ctx, int level, const char *fmt, va_list ap);
	const json_t *(*config)(ob_ctx *ctx, const char *path);
	int (*node_info)(ob_ctx *ctx, ob_node_info *info);
	uint64_t (*now_ms)(ob_ctx *ctx);
	uint32_t (*role)(ob_ctx *ctx, const char *word);
	void *(*state)(ob_ctx *ctx, const char *key, size_t size, uint32_t version);
	int (*counter)(ob_ctx *ctx, const char *name, const char *help);
	void (*count)(ob_ctx *ctx, int counter, uint64_t n);
	bool (*rehearsing)(ob_ctx *ctx);
	int (*module_info)(ob_ctx *ctx, ob_module_info *info);

	int (*kv_set)(ob_ctx *ctx, const char *key, const void *data, size_t len);
	const void *(*kv_get)(ob_ctx *ctx, const char *key, size_t *len);
	int (*kv_del)(ob_ctx *ctx, const char *key);
	const char *(*kv_next)(ob_ctx *ctx, const char *after);
	int (*section_write)(ob_ctx *ctx, ob_writer *writer, uint32_t tag, uint32_t flags,
	                     const void *data, size_t len);
	const void *(*section_read)(ob_ctx *ctx, ob_reader *reader, uint32_t tag, size_t *len);
	const void *(*section_next)(ob_ctx *ctx, ob_reader *reader, uint32_t *tag, size_t *len);

	int (*refuse)(ob_ctx *ctx, int code, const char *text);
	int (*on_id)(ob_ctx *ctx, uint32_t id, ob_handler_fn fn, uint32_t flags);
	int (*on_method)(ob_ctx *ctx, const char *name, ob_handler_fn fn, uint32_t flags);
	int (*on_http)(ob_ctx *ctx, const char *method, const char *path, ob_handler_fn fn,
	               uint32_t flags);
	int (*on_event)(ob_ctx *ctx, int event, ob_event_fn fn);
	int (*on_filter)(ob_ctx *ctx, int priority, ob_filter_fn fn);
	int (*on_client_message)(ob_ctx *ctx, ob_decide_fn fn);
	int (*on_link_message)(ob_ctx *ctx, ob_decide_fn fn);
	int (*on_unknown)(ob_ctx *ctx, ob_handler_fn fn);
	int (*on_error_body)(ob_ctx *ctx, ob_error_body_fn fn);
	int (*on_codec)(ob_ctx *ctx, const ob_codec *codec);
	int (*on_policy)(ob_ctx *ctx, const char *name, ob_policy_fn fn);
	int (*listen)(ob_ctx *ctx, const ob_listen_options *options);

	int (*req_view)(ob_ctx *ctx, ob_req req, ob_view *view);
	const json_t *(*req_json)(ob_ctx *ctx, ob_req req);
	int (*reply)(ob_ctx *ctx, ob_req req, const void *data, size_t len);
	int (*reply_json)(ob_ctx *ctx, ob_req req, json_t *body_stolen);
	int (*fail)(ob_ctx *ctx, ob_req req, int code, const char *text);
	int (*done)(ob_ctx *ctx, ob_req req);
	int (*request_hold)(ob_ctx *ctx, ob_req req);
	ob_msg (*msg_hold)(ob_ctx *ctx, const ob_view *view);
	int (*msg_view)(ob_ctx *ctx, ob_msg msg, ob_view *view);
	int (*msg_release)(ob_ctx *ctx, ob_msg msg);

	uint32_t (*route_role)(ob_ctx *ctx, uint32_t id);
	int (*session_info)(ob_ctx *ctx, ob_session session, ob_session_info *info);
	int (*session_text)(ob_ctx *ctx, ob_session session, char *out, size_t cap);
	ob_session (*session_find)(ob_ctx *ctx, const char *text);
	int (*session_close)(ob_ctx *ctx, ob_session session, uint16_t code, const char *reason);
	int (*push)(ob_ctx *ctx, ob_session session, uint32_t id, const void *data, size_t len);
	int (*push_json)(ob_ctx *ctx, ob_session session, uint32_t id, json_t *body_stolen);

	ob_call_id (*call)(ob_ctx *ctx, const ob_target *target, uint32_t id, const char *method,
	                   ob_session session, const void *data, size_t len, uint32_t deadline_ms,
	                   ob_call_fn fn, void *arg);
	int (*call_cancel)(ob_ctx *ctx, ob_call_id call);
	ob_timer (*timer_start)(ob_ctx *ctx, uint64_t delay_ms, uint64_t repeat_ms, ob_timer_fn fn,
	                        void *arg);
	int (*timer_stop)(ob_ctx *ctx, ob_timer timer);
	int (*job)(ob_ctx *ctx, ob_work_fn work, ob_post_fn done, void *arg);
	int (*post)(ob_ctx *ctx, ob_post_fn fn, void *arg);

	int (*http_info)(ob_ctx *ctx, ob_req req, ob_http_info *info);
	const char *(*http_header)(ob_ctx *ctx, ob_req req, const char *name);
	int (*http_set_header)(ob_ctx *ctx, ob_req req, const char *name, const char *value);
	int (*http_reply)(ob_ctx *ctx, ob_req req, int status, const char *content_type,
	                  const void *data, size_t len);
	int (*http_call)(ob_ctx *ctx, const ob_http_request *request, ob_http_fn fn, void *arg);

	int (*admin)(ob_ctx *ctx, const char *verb, json_t *args_stolen, ob_admin_fn fn, void *arg);
	int (*secret_check)(ob_ctx *ctx, const char *path, const char *given);

	/* from 1.1 on */
	ob_call_id (*call_with)(ob_ctx *ctx, const ob_target *target,
	                        const ob_call_options *options, ob_call_fn fn, void *arg);
	int (*trace)(ob_ctx *ctx, ob_req req, ob_trace_info *info);
	int (*on_call_filter)(ob_ctx *ctx, int when, int priority, ob_call_filter_fn fn);

	/* from 1.1 on: users and sessions. */
	int (*session_bind)(ob_ctx *ctx, ob_session session, const char *user, ob_user_fn fn,
	                    void *arg);
	int (*session_unbind)(ob_ctx *ctx, ob_session session, const char *user);
	int (*user_find)(ob_ctx *ctx, const char *user, ob_user_fn fn, void *arg);
	int (*push_user)(ob_ctx *ctx, const char *user, uint32_t id, const void *data, size_t len);
	int (*kick_user)(ob_ctx *ctx, const char *user, const char *reason);
	int (*session_set)(ob_ctx *ctx, ob_session session, const char *key, const void *value,
	                   size_t len);
	const void *(*session_attr)(ob_ctx *ctx, ob_session session, const char *key, size_t *len);
	int (*session_lock)(ob_ctx *ctx, ob_session session, const char *key, uint32_t ms);
	int (*session_unlock)(ob_ctx *ctx, ob_session session, const char *key, uint32_t flags);

	/* from 1.1 on: pushes to many. */
	int (*push_many)(ob_ctx *ctx, const ob_session *sessions, size_t count, uint32_t id,
	                 const void *data, size_t len);
	int (*push_users)(ob_ctx *ctx, const char *const *users, size_t count, uint32_t id,
	                  const void *data, size_t len);
	int (*push_all)(ob_ctx *ctx, uint32_t role, uint32_t id, const void *data, size_t len);

	/* from 1.1 on: links. */
	int (*on_transport)(ob_ctx *ctx, const ob_transport *transport);

	/* from 1.1 on: in policies. */
	const void *(*choice_attr)(ob_ctx *ctx, const ob_choice *choice, const char *key,
	                           size_t *len);

	/* from 1.1 on: groups. */
	int (*on_group)(ob_ctx *ctx, const char *prefix, ob_group_fn fn);
	int (*group_join)(ob_ctx *ctx, ob_session session, const char *group);
	int (*group_leave)(ob_ctx *ctx, ob_session session, const char *group);
	int (*push_group)(ob_ctx *ctx, const char *group, uint32_t id, const void *data,
	                  size_t len);
	int (*group_count)(ob_ctx *ctx, const char *group, ob_group_count_fn fn, void *arg);
	int (*group_members)(ob_ctx *ctx, const char *group, ob_session *sessions, size_t cap);
	int (*secret_equal)(ob_ctx *ctx, const char *secret, const char *given);

	/* from 1.1 on: names of messages. */
	int (*on_name)(ob_ctx *ctx, const char *name, ob_handler_fn fn, uint32_t flags);
	uint32_t (*name_id)(ob_ctx *ctx, const char *name, size_t len, uint32_t flags);
	const char *(*name_of)(ob_ctx *ctx, uint32_t id);
	uint32_t (*route_name)(ob_ctx *ctx, const char *name, size_t len);

	/* from 1.1 on: handlers are taken back. */
	int (*off_id)(ob_ctx *ctx, uint32_t id);
	int (*off_method)(ob_ctx *ctx, const char *name);

	/* from 1.1 on: descriptors, and clients that a module brings. */
	ob_watch (*fd_watch)(ob_ctx *ctx, int fd, uint32_t events, ob_fd_fn fn, void *arg);
	int (*fd_unwatch)(ob_ctx *ctx, ob_watch watch);
	int (*on_client_transport)(ob_ctx *ctx, const ob_client_transport *transport);
	int (*client_adopt)(ob_ctx *ctx, int fd, const ob_adopt_options *options);

	/* from 1.1 on: states of sessions. */
	int (*session_allow)(ob_ctx *ctx, const char *state, uint32_t lo, uint32_t hi);
	int (*on_session_state)(ob_ctx *ctx, const char *state, ob_session_change_fn enter,
	                        ob_session_change_fn leave);
	int (*session_enter)(ob_ctx *ctx, ob_session session, const char *state,
	                     json_t *data_stolen);
	const char *(*session_state)(ob_ctx *ctx, ob_session session, const json_t **data);

	/* from 1.1 on: filters around messages. */
	int (*on_message_filter)(ob_ctx *ctx, int when, int priority, ob_message_filter_fn fn);
	ob_gate (*message_hold)(ob_ctx *ctx);
	int (*message_pass)(ob_ctx *ctx, ob_gate gate);
	int (*message_end)(ob_ctx *ctx, ob_gate gate, int code, const char *text, const void *data,
	                   size_t len);

	/* from 1.1 on: events by name. */
	int (*on_raised)(ob_ctx *ctx, const ob_listener *listener, ob_raised_fn fn);
	int (*event_raise)(ob_ctx *ctx, uint32_t role, const char *name, json_t *data_stolen,
	                   uint32_t flags);

	/* from 1.1 on: timers. */
	ob_timer (*timer_with)(ob_ctx *ctx, const ob_timer_options *options, ob_timer_fn fn,
	                       void *arg);
} ob_api;

struct ob_ctx {
	const ob_api *api;
};

/* The host has this function of the table: OB_HAS(ctx, listen). */
#define OB_HAS(ctx, fn) \
	((ctx)->api->size >= offsetof(ob_api, fn) + sizeof((ctx)->api->fn) && (ctx)->api->fn)

/* ---------------------------------------------------------------- the functions ------------ */

/* A short English sentence for a code of this header or a negative errno; static storage. */
static inline const char *ob_strerror(ob_ctx *ctx, int code)
{
	return ctx->api->strerror(ctx, code);
}

/* The number a client sees for a result: 200, 400, 403, 404, 413, 500, 502, 503 or 504. */
static inline int ob_status(ob_ctx *ctx, int code)
{
	return ctx->api->status(ctx, code);
}

/* Logs one line under the module's name.  Payloads and secrets do not belong in a log. */
static inline void ob_vlog(ob_ctx *ctx, int level, const char *fmt, va_list ap)
{
	ctx->api->vlog(ctx, level, fmt, ap);
}

OB_PRINTF(3, 4)
static inline void ob_log(ob_ctx *ctx, int level, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	ctx->api->vlog(ctx, level, fmt, ap);
	va_end(ap);
}

/* The node's configuration at a dotted path ("websocket.timeout"), secrets masked; borrowed until
 * the callback returns.  NULL if absent. */
static inline const json_t *ob_config(ob_ctx *ctx, const char *path)
{
	return ctx->api->config(ctx, path);
}

/* Who this node is.  Set info->size first.  The strings live as long as the node. */
static inline int ob_node(ob_ctx *ctx, ob_node_info *info)
{
	return ctx->api->node_info(ctx, info);
}

/* Milliseconds of a clock that never goes back, read once per loop turn. */
static inline uint64_t ob_now_ms(ob_ctx *ctx)
{
	return ctx->api->now_ms(ctx);
}

/* The number that stands for a role word on the wire. */
static inline uint32_t ob_role(ob_ctx *ctx, const char *word)
{
	return ctx->api->role(ctx, word);
}

/* `size` bytes of host memory, zeroed at first, that survive a reload: the next generation gets
 * the same block when it asks with the same key, size and version, else a fresh one.  The block is
 * shared from the new generation's start on, while the old one still serves: change it only from
 * live on.  NULL when out of memory or beyond 16 MiB.  Only in start and later. */
static inline void *ob_state(ob_ctx *ctx, const char *key, size_t size, uint32_t version)
{
	return ctx->api->state(ctx, key, size, version);
}

/* A counter on the metrics page, obhost_module_NAME_total{module="..."}; letters, digits and '_'.
 * Returns its number for ob_count(), or negative.  It goes on counting over a reload. */
static inline int ob_counter(ob_ctx *ctx, const char *name, const char *help)
{
	return ctx->api->counter(ctx, name, help);
}

static inline void ob_count(ob_ctx *ctx, int counter, uint64_t n)
{
	ctx->api->count(ctx, counter, n);
}

/* This is the rehearsal in a child process: nothing that is registered or sent comes about. */
static inline bool ob_rehearsing(ob_ctx *ctx)
{
	return ctx->api->rehearsing(ctx);
}

/* Which module and generation asks.  Set info->size first.  The strings live as long as the
 * generation. */
static inline int ob_module_get(ob_ctx *ctx, ob_module_info *info)
{
	return ctx->api->module_info(ctx, info);
}

/* Keeps a copy of the bytes under a key (1..255 bytes of text) in the module's key-value store.
 * It survives reloads, both ways, as long as the module stays on the node; all generations of the
 * module share it.  OB_E_TOO_BIG beyond 1 MiB a value, OB_E_LIMIT beyond 65,536 keys or 64 MiB in
 * all, OB_E_STATE before live() and in load(): a reload that is refused changes nothing. */
static inline int ob_kv_set(ob_ctx *ctx, const char *key, const void *data, size_t len)
{
	return ctx->api->kv_set(ctx, key, data, len);
}

/* The bytes under a key (never NULL if it is there, also when *len is 0), borrowed until the key
 * is set or deleted; NULL if there are none. */
static inline const void *ob_kv_get(ob_ctx *ctx, const char *key, size_t *len)
{
	return ctx->api->kv_get(ctx, key, len);
}

/* Deletes a key. 0, or OB_E_NOT_FOUND. */
static inline int ob_kv_del(ob_ctx *ctx, const char *key)
{
	return ctx->api->kv_del(ctx, key);
}

/* The first key (`after` NULL), and the one that follows `after` in the order of strcmp(); NULL
 * after the last.  Borrowed until the key is deleted. */
static inline const char *ob_kv_next(ob_ctx *ctx, const char *after)
{
	return ctx->api->kv_next(ctx, after);
}

/* In save: writes one section of the state; the bytes are copied.  `tag` is the module's own
 * number, each at most once; flags: 0 or OB_SECTION_CRITICAL.  Numbers little-endian, no pointers:
 * other code reads it. */
static inline int ob_section_write(ob_ctx *ctx, ob_writer *writer, uint32_t tag, uint32_t flags,
                                   const void *data, size_t len)
{
	return ctx->api->section_write(ctx, writer, tag, flags, data, len);
}

/* In load: a section's bytes, borrowed until load returns (never NULL if it is there); NULL if
 * there is none.  A critical section that load has not asked for refuses the whole. */
static inline const void *ob_section_read(ob_ctx *ctx, ob_reader *reader, uint32_t tag, size_t *len)
{
	return ctx->api->section_read(ctx, reader, tag, len);
}

/* In load: the sections one by one, in the order they were written; NULL after the last. */
static inline const void *ob_section_next(ob_ctx *ctx, ob_reader *reader, uint32_t *tag,
                                          size_t *len)
{
	return ctx->api->section_next(ctx, reader, tag, len);
}

/* In start: says why it fails, for the operator's report. Returns `code`, so that
 * `return ob_refuse(ctx, OB_E_INVAL, "...")` is the whole of it. */
static inline int ob_refuse(ob_ctx *ctx, int code, const char *text)
{
	return ctx->api->refuse(ctx, code, text);
}

/* Takes messages with this id, from clients and links.  Id 0: those that no other handler takes.
 * Ids are 1..2^31-1; 999 and session_closed_id come from the host only.  OB_E_EXISTS if another
 * module has it. */
static inline int ob_on_id(ob_ctx *ctx, uint32_t id, ob_handler_fn fn)
{
	return ctx->api->on_id(ctx, id, fn, OB_FROM_CLIENT | OB_FROM_LINK);
}

/* As ob_on_id() with OB_FROM_CLIENT and/or OB_FROM_LINK (neither: OB_E_INVAL), and perhaps
 * OB_ONE_WAY. */
static inline int ob_on_id_flags(ob_ctx *ctx, uint32_t id, ob_handler_fn fn, uint32_t flags)
{
	return ctx->api->on_id(ctx, id, fn, flags);
}

/* Takes calls of a method, "namespace.role.module.method" by custom; flags: 0 or OB_ONE_WAY.  Of
 * the namespaces "sys" is the host's: OB_E_DENIED.  "user" is meant for everybody else. */
static inline int ob_on_method(ob_ctx *ctx, const char *name, ob_handler_fn fn, uint32_t flags)
{
	return ctx->api->on_method(ctx, name, fn, flags);
}

/* Takes HTTP requests.  `method` "*" takes any; a path ending in "/" and a star takes what begins
 * so.  The longest path wins, then the exact method; HEAD is taken by GET's handler unless it has
 * its own.  Administrative paths are refused with OB_E_DENIED unless flags has
 * OB_HTTP_ADMIN and the module is configured with "admin": true. */
static inline int ob_on_http(ob_ctx *ctx, const char *method, const char *path, ob_handler_fn fn,
                             uint32_t flags)
{
	return ctx->api->on_http(ctx, method, path, fn, flags);
}

/* Hears of an event.  Only in start. */
static inline int ob_on_event(ob_ctx *ctx, int event, ob_event_fn fn)
{
	return ctx->api->on_event(ctx, event, fn);
}

/* Sees each client message before it goes anywhere; smaller priorities first.  Only in start. */
static inline int ob_on_filter(ob_ctx *ctx, int priority, ob_filter_fn fn)
{
	return ctx->api->on_filter(ctx, priority, fn);
}

/* Decides about client messages that no local handler takes; one module per node. */
static inline int ob_on_client_message(ob_ctx *ctx, ob_decide_fn fn)
{
	return ctx->api->on_client_message(ctx, fn);
}

/* Decides about link messages that are not for this node; one module per node. */
static inline int ob_on_link_message(ob_ctx *ctx, ob_decide_fn fn)
{
	return ctx->api->on_link_message(ctx, fn);
}

/* Takes messages for this node that have no handler; one module per node. */
static inline int ob_on_unknown(ob_ctx *ctx, ob_handler_fn fn)
{
	return ctx->api->on_unknown(ctx, fn);
}

/* Writes the body of error answers; one module per node. */
static inline int ob_on_error_body(ob_ctx *ctx, ob_error_body_fn fn)
{
	return ctx->api->on_error_body(ctx, fn);
}

/* Offers a codec under codec->name; the struct is copied.  OB_E_STATE when its state_ver differs
 * from the one in use and there is no migrate, or connections still have a version that it can't
 * take. */
static inline int ob_on_codec(ob_ctx *ctx, const ob_codec *codec)
{
	return ctx->api->on_codec(ctx, codec);
}

/* Offers a way to choose the node a message goes to; the configuration names it for a role
 * (`rpc.policy`) or message ids (`rpc.policy_range`).  It is asked wherever this node chooses among
 * nodes of a role, but not for a message to a node, nor, on its own proxy, for a session that
 * already has one to stay with; a route node asks for each message, and the session goes where it
 * says.  The name: letters, digits, '_' or '-', at most 63; OB_E_EXISTS for those that are built in
 * (round_robin, ...). */
static inline int ob_on_policy(ob_ctx *ctx, const char *name, ob_policy_fn fn)
{
	return ctx->api->on_policy(ctx, name, fn);
}

/* Offers a transport for links with other nodes under transport->name; the struct is copied.  The
 * configuration names it (`remote_ports[].transport`, `rpc.listen`).  Links that are up stay when a
 * newer generation takes over or the module is taken out; without it nothing is dialled by it.  The
 * name: letters, digits, '_' or '-', at most 63; OB_E_EXISTS for what is built in (tcp, unix, tls,
 * ws), and for another module's. */
static inline int ob_on_transport(ob_ctx *ctx, const ob_transport *transport)
{
	return ctx->api->on_transport(ctx, transport);
}

/* Opens a listener for clients.  It is bound at once and accepts from live on.  A generation that
 * asks for the same one (transport, host and port, or path, and files) takes it over as it is, its
 * queue of newcomers untouched; codec and idle_ms may differ, and count for newcomers from live on.
 * One that nobody asks for any more is closed, its connections stay.  The module that offers the
 * codec comes before this one, or is called codec_NAME; a module's own codec is registered first.
 * Only in start.  OB_E_EXISTS: another module's or the configuration's; -EADDRINUSE: another
 * program's; OB_E_NOT_FOUND: no such codec; OB_E_INVAL, OB_E_LIMIT. */
static inline int ob_listen(ob_ctx *ctx, const ob_listen_options *options)
{
	return ctx->api->listen(ctx, options);
}

/* The request's message.  Set view->size first.  The payload is there only during the handler's
 * callback; later data is NULL. */
static inline int ob_req_view(ob_ctx *ctx, ob_req req, ob_view *view)
{
	return ctx->api->req_view(ctx, req, view);
}

/* The payload as JSON, parsed at the first call and borrowed until the request ends.  NULL when
 * it is not JSON; a handler that returns then without an end answers OB_E_BAD. */
static inline const json_t *ob_req_json(ob_ctx *ctx, ob_req req)
{
	return ctx->api->req_json(ctx, req);
}

/* The text of a member of the JSON payload, or NULL; borrowed as ob_req_json(). */
static inline const char *ob_req_str(ob_ctx *ctx, ob_req req, const char *key)
{
	return json_string_value(json_object_get(ctx->api->req_json(ctx, req), key));
}

/* The integer member `key`, or `otherwise`. */
static inline json_int_t ob_req_int(ob_ctx *ctx, ob_req req, const char *key, json_int_t otherwise)
{
	const json_t *value = json_object_get(ctx->api->req_json(ctx, req), key);

	return json_is_integer(value) ? json_integer_value(value) : otherwise;
}

/* Ends the request with an answer.  OB_E_STALE if it has ended (its deadline may have passed). */
static inline int ob_reply(ob_ctx *ctx, ob_req req, const void *data, size_t len)
{
	return ctx->api->reply(ctx, req, data, len);
}

/* As ob_reply() with a JSON value; NULL ends the request with OB_E_APP and answers OB_E_INVAL. */
static inline int ob_reply_value(ob_ctx *ctx, ob_req req, json_t *body_stolen)
{
	return ctx->api->reply_json(ctx, req, body_stolen);
}

/* As ob_reply() with a value in the words of json_pack(3); a format or text it can't pack ends the
 * request with OB_E_APP. */
static inline int ob_reply_json(ob_ctx *ctx, ob_req req, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	json_t *body = json_vpack_ex(NULL, 0, fmt, ap);
	va_end(ap);
	return ctx->api->reply_json(ctx, req, body);
}

/* Ends the request with a failure of enum ob_result_code; `text` may be NULL. */
static inline int ob_fail(ob_ctx *ctx, ob_req req, int code, const char *text)
{
	return ctx->api->fail(ctx, req, code, text);
}

/* Ends the request and sends nothing. */
static inline int ob_done(ob_ctx *ctx, ob_req req)
{
	return ctx->api->done(ctx, req);
}

/* Keeps the request beyond the callback; it is still owed one end, by its deadline. */
static inline int ob_request_hold(ob_ctx *ctx, ob_req req)
{
	return ctx->api->request_hold(ctx, req);
}

/* Keeps a copy of a message until ob_msg_release() or the end of the generation; 0 on failure. */
static inline ob_msg ob_msg_hold(ob_ctx *ctx, const ob_view *view)
{
	return ctx->api->msg_hold(ctx, view);
}

static inline int ob_msg_view(ob_ctx *ctx, ob_msg msg, ob_view *view)
{
	return ctx->api->msg_view(ctx, msg, view);
}

static inline int ob_msg_release(ob_ctx *ctx, ob_msg msg)
{
	return ctx->api->msg_release(ctx, msg);
}

/* The role the node's route table gives for an id, or 0. */
static inline uint32_t ob_route_role(ob_ctx *ctx, uint32_t id)
{
	return ctx->api->route_role(ctx, id);
}

/* Facts about a session.  Set info->size first; info->peer is borrowed until the callback returns.
 * Who has no use for the peer saves a system call with the size that ends before it (since 1.1):
 * offsetof(ob_session_info, peer). */
static inline int ob_session_get(ob_ctx *ctx, ob_session session, ob_session_info *info)
{
	return ctx->api->session_info(ctx, session, info);
}

/* The text form NAME-<16 hex> into out; it names the session on every node and in JSON. */
static inline int ob_session_text(ob_ctx *ctx, ob_session session, char *out, size_t cap)
{
	return ctx->api->session_text(ctx, session, out, cap);
}

/* The session with that text form, if this node owns or has served it; else 0. */
static inline ob_session ob_session_find(ob_ctx *ctx, const char *text)
{
	return ctx->api->session_find(ctx, text);
}

/* Closes the client's connection, wherever it is, after what was sent before.  `code` 0: 1000. */
static inline int ob_session_close(ob_ctx *ctx, ob_session session, uint16_t code,
                                   const char *reason)
{
	return ctx->api->session_close(ctx, session, code, reason);
}

/* Sends a message to the session's client, wherever it is connected.  At most once. */
static inline int ob_push(ob_ctx *ctx, ob_session session, uint32_t id, const void *data,
                          size_t len)
{
	return ctx->api->push(ctx, session, id, data, len);
}

/* As ob_push() with a JSON value; OB_E_INVAL for NULL. */
static inline int ob_push_value(ob_ctx *ctx, ob_session session, uint32_t id, json_t *body_stolen)
{
	return ctx->api->push_json(ctx, session, id, body_stolen);
}

/* As ob_push() with a value in the words of json_pack(3). */
static inline int ob_push_json(ob_ctx *ctx, ob_session session, uint32_t id, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	json_t *body = json_vpack_ex(NULL, 0, fmt, ap);
	va_end(ap);
	return ctx->api->push_json(ctx, session, id, body);
}

/* Calls the handler of a message id on another node (or this one).  `fn` gets exactly one result,
 * by the deadline (0: call_timeout; no later than that of the request that is being handled, as in
 * ob_call_options), and never before this returns.  `session` may be 0.
 *
 * What this node can't send ends by fn as well, at once: too big, too much on its way, unknown to
 * the other node.  Returns 0, and then fn is not called, only for arguments that make no sense (no
 * fn, no id, a method's name that is empty or too long), a session that has ended with
 * OB_TARGET_SESSION, while nothing may be sent, and without memory for the call. */
static inline ob_call_id ob_call(ob_ctx *ctx, const ob_target *target, uint32_t id,
                                 ob_session session, const void *data, size_t len,
                                 uint32_t deadline_ms, ob_call_fn fn, void *arg)
{
	return ctx->api->call(ctx, target, id, NULL, session, data, len, deadline_ms, fn, arg);
}

/* As ob_call(), by method name. */
static inline ob_call_id ob_call_method(ob_ctx *ctx, const ob_target *target, const char *method,
                                        ob_session session, const void *data, size_t len,
                                        uint32_t deadline_ms, ob_call_fn fn, void *arg)
{
	return ctx->api->call(ctx, target, 0, method, session, data, len, deadline_ms, fn, arg);
}

/* As ob_call(), in the ways of ob_call_options; 0 also for options that make no sense.
 *
 * OB_TARGET_ALL: fn gets one result for each node of the role that is up, in the order they come,
 * each by the deadline, `left` saying how many more; one OB_E_NO_ROUTE when there is none.  Modes
 * are OB_CALL_FAIL_FAST and OB_CALL_FAIL_SAFE then, and a cancel means all that have not come. */
static inline ob_call_id ob_call_with(ob_ctx *ctx, const ob_target *target,
                                      const ob_call_options *options, ob_call_fn fn, void *arg)
{
	return ctx->api->call_with(ctx, target, options, fn, arg);
}

/* Stands around calls at `when`, smaller priorities first; messages of clients are for
 * ob_on_filter().  A filter that makes calls sees them as well.  Only in start. */
static inline int ob_on_call_filter(ob_ctx *ctx, int when, int priority, ob_call_filter_fn fn)
{
	return ctx->api->on_call_filter(ctx, when, priority, fn);
}

/* Where a request stands in its trace; `req` 0: as ob_call_options.request.  Set info->size first.
 * OB_E_STALE when it has ended, or nothing is being handled. */
static inline int ob_trace(ob_ctx *ctx, ob_req req, ob_trace_info *info)
{
	return ctx->api->trace(ctx, req, info);
}

/* Forgets a call: fn will not be called any more, and where a handler holds the request it ends
 * with OB_E_GONE, as it would at its deadline.  That is asked for once, and may get lost with a
 * link.  OB_E_STATE in a policy. */
static inline int ob_call_cancel(ob_ctx *ctx, ob_call_id call)
{
	return ctx->api->call_cancel(ctx, call);
}

/* Calls fn after delay_ms, then every repeat_ms if that is not 0.  Precision 10 ms.  A repeating
 * timer ends when a newer generation takes over; a single one still fires, early if the time to
 * drain is over or the node stops. 0 on failure. */
static inline ob_timer ob_timer_start(ob_ctx *ctx, uint64_t delay_ms, uint64_t repeat_ms,
                                      ob_timer_fn fn, void *arg)
{
	return ctx->api->timer_start(ctx, delay_ms, repeat_ms, fn, arg);
}

static inline int ob_timer_stop(ob_ctx *ctx, ob_timer timer)
{
	return ctx->api->timer_stop(ctx, timer);
}

/* Runs work(arg) on a pool thread, then done(ctx, arg) on the loop, before stop().  When the node
 * ends meanwhile it waits some seconds for work, and whatever done calls answers OB_E_DEAD. */
static inline int ob_job(ob_ctx *ctx, ob_work_fn work, ob_post_fn done, void *arg)
{
	return ctx->api->job(ctx, work, done, arg);
}

/* Runs fn(ctx, arg) on the loop, in the order of the calls.  From any thread that ends before
 * stop() returns.  What it has taken (0) is run before a generation that is replaced is stopped;
 * OB_E_STATE before live() and once the generation is about to be stopped. */
static inline int ob_post(ob_ctx *ctx, ob_post_fn fn, void *arg)
{
	return ctx->api->post(ctx, fn, arg);
}

/* Facts about an HTTP request, during its handler's callback.  Set info->size first. */
static inline int ob_http_get(ob_ctx *ctx, ob_req req, ob_http_info *info)
{
	return ctx->api->http_info(ctx, req, info);
}

/* The value of a request header (any case; the first of several), or NULL; during the handler's
 * callback. */
static inline const char *ob_http_header(ob_ctx *ctx, ob_req req, const char *name)
{
	return ctx->api->http_header(ctx, req, name);
}

/* Adds a header to the answer, also to that of a held request.  OB_E_INVAL for a name or value that
 * would break the header. */
static inline int ob_http_set_header(ob_ctx *ctx, ob_req req, const char *name, const char *value)
{
	return ctx->api->http_set_header(ctx, req, name, value);
}

/* Ends an HTTP request.  ob_reply() is 200 with application/octet-stream, ob_reply_json() with
 * application/json. */
static inline int ob_http_reply(ob_ctx *ctx, ob_req req, int status, const char *content_type,
                                const void *data, size_t len)
{
	return ctx->api->http_reply(ctx, req, status, content_type, data, len);
}

/* Makes an HTTP request; fn gets exactly one response.  Nonzero: fn is not called. */
static inline int ob_http_call(ob_ctx *ctx, const ob_http_request *request, ob_http_fn fn,
                               void *arg)
{
	return ctx->api->http_call(ctx, request, fn, arg);
}

/* Compares a secret of the node's configuration ("http.token") in constant time: 1 equal, 0 not,
 * OB_E_NOT_FOUND when none is set, OB_E_DENIED without "admin": true.  Allowed in start. */
static inline int ob_secret_check(ob_ctx *ctx, const char *path, const char *given)
{
	return ctx->api->secret_check(ctx, path, given);
}

/* Asks for an administrative verb; the verb "verbs" lists them all.  OB_E_DENIED without
 * "admin": true.  fn is called once, perhaps before this returns, and never when this answers a
 * negative code; a generation taken out meanwhile still gets it.  Allowed in start for verbs that
 * only read. */
static inline int ob_admin(ob_ctx *ctx, const char *verb, json_t *args_stolen, ob_admin_fn fn,
                           void *arg)
{
	return ctx->api->admin(ctx, verb, args_stolen, fn, arg);
}

/* ---------------------------------------------------------------- users (since 1.1) -------- */

/* Binds a session to a user: logs the user in with it.  At most one session in the cluster has a
 * user; the one that had it before is replaced: its modules hear OB_EVENT_SESSION_REPLACED and
 * OB_EVENT_SESSION_CLOSED, its client is closed with 4001.  fn gets exactly one result: OB_OK when
 * the session has the user (also if it had it before) and everybody who served the former session
 * has heard of its end and holds no lock; OB_E_DEADLINE after sessions.bind_timeout, then it has it
 * not; OB_E_NO_ROUTE; OB_E_GONE when the session ended or was replaced meanwhile; OB_E_BUSY, at
 * once, when there are too many users (limits.users of the route nodes): whoever wants it all the
 * same binds it again later.  A session that another user has loses that one first.  Nonzero: fn is
 * not called.
 *
 * A session keeps its user when route nodes come or go.  Should there be no room for the user at
 * the route node that answers for it then, it is not found and can't be replaced until there is;
 * the host asks again, with pauses of up to 30 s. */
static inline int ob_session_bind(ob_ctx *ctx, ob_session session, const char *user, ob_user_fn fn,
                                  void *arg)
{
	return ctx->api->session_bind(ctx, session, user, fn, arg);
}

/* Takes the user from the session, if it has that one: logs out.  A session's end does it, too. */
static inline int ob_session_unbind(ob_ctx *ctx, ob_session session, const char *user)
{
	return ctx->api->session_unbind(ctx, session, user);
}

/* Asks which session has the user.  fn gets exactly one result; OB_E_NOT_FOUND: none.  Nonzero: fn
 * is not called. */
static inline int ob_user_find(ob_ctx *ctx, const char *user, ob_user_fn fn, void *arg)
{
	return ctx->api->user_find(ctx, user, fn, arg);
}

/* Sends a message to the user's client, wherever it is connected.  At most once; 0 says that it is
 * on its way, not that it arrives. */
static inline int ob_push_user(ob_ctx *ctx, const char *user, uint32_t id, const void *data,
                               size_t len)
{
	return ctx->api->push_user(ctx, user, id, data, len);
}

/* Closes the user's client with 4003 and the reason, wherever it is connected. */
static inline int ob_kick_user(ob_ctx *ctx, const char *user, const char *reason)
{
	return ctx->api->kick_user(ctx, user, reason);
}

/* Sets an attribute of a session at its proxy; len 0 removes it.  From another node it is on its
 * way then.  OB_E_TOO_BIG beyond OB_ATTR_MAX, OB_E_LIMIT beyond OB_ATTRS_MAX (from another node
 * only logged, at the proxy). */
static inline int ob_session_set(ob_ctx *ctx, ob_session session, const char *key,
                                 const void *value, size_t len)
{
	return ctx->api->session_set(ctx, session, key, value, len);
}

/* An attribute of a session of this node's own clients, borrowed until it is set again or the
 * callback returns; NULL if there is none. */
static inline const void *ob_session_attr(ob_ctx *ctx, ob_session session, const char *key,
                                          size_t *len)
{
	return ctx->api->session_attr(ctx, session, key, len);
}

/* In a policy: an attribute of the message's session, borrowed until the policy returns; NULL if it
 * is not known.  On the session's proxy those are all that it has.  On other nodes, route nodes
 * above all, they are those that the proxy sends along: the keys in its `sessions.carry`. */
static inline const void *ob_choice_attr(ob_ctx *ctx, const ob_choice *choice, const char *key,
                                         size_t *len)
{
	return ctx->api->choice_attr(ctx, choice, key, len);
}

/* Locks the session's user for up to `ms`, or renews the lock: while it is held, the user's next
 * session waits in ob_session_bind().  Take it before the session ends, or in the event of its end
 * (replaced, closed or lost) and save then what this node knows of the user.  It outlives the
 * session: its handle still names it here, to renew the lock and to end it.  It ends with this node
 * as well, and by its deadline, which is counted and logged.  OB_E_STATE: the session has no user;
 * OB_E_LIMIT beyond 16. */
static inline int ob_session_lock(ob_ctx *ctx, ob_session session, const char *key, uint32_t ms)
{
	return ctx->api->session_lock(ctx, session, key, ms);
}

/* Ends a lock of this node.  With OB_UNLOCK_KEEP (saving has failed) it stays until its deadline,
 * logged: a next try may lock again.  OB_E_NOT_FOUND. */
static inline int ob_session_unlock(ob_ctx *ctx, ob_session session, const char *key,
                                    uint32_t flags)
{
	return ctx->api->session_unlock(ctx, session, key, flags);
}

/* ---------------------------------------------------------------- pushes to many (1.1) ----- */

/* Sends one message to the clients of `count` sessions, wherever they are connected.  To each proxy
 * the list and the message travel once (a list of more than 1,024 sessions, or one for which a
 * frame with the message has no room, in several frames); the proxy encodes it once for all whose
 * codec allows that.  `sessions` and `data` are borrowed for the time of the call.
 *
 * Returns the number of sessions that it is on its way to, each at most once, also one that the
 * list names twice.  Sessions that are gone are skipped, and counted in obhost_pushes_lost_total,
 * as are those whose proxy can't be reached.  To each session it keeps its place among all that
 * this module sends there.  Negative, and nothing was sent: OB_E_INVAL (the id, or no list),
 * OB_E_LIMIT beyond OB_PUSH_MANY_MAX, OB_E_TOO_BIG beyond limits.message, OB_E_STATE, OB_E_NOMEM.
 */
static inline int ob_push_many(ob_ctx *ctx, const ob_session *sessions, size_t count, uint32_t id,
                               const void *data, size_t len)
{
	return ctx->api->push_many(ctx, sessions, count, id, data, len);
}

/* The same to the clients of users, as ob_push_user() to each: those whose proxy is known here go
 * there in a list, the others are looked for one by one.  Returns the number of users that it is on
 * its way to; that one of them is not there is noticed later, and counted in
 * obhost_user_sends_lost_total.  OB_E_INVAL, too, when one of the words is no user id. */
static inline int ob_push_users(ob_ctx *ctx, const char *const *users, size_t count, uint32_t id,
                                const void *data, size_t len)
{
	return ctx->api->push_users(ctx, users, count, id, data, len);
}

/* Sends one message to every client of the nodes of a role, ob_role(ctx, "proxy"), this one too if
 * it is of it: to those who are connected when the node gets it.  It travels once to each node,
 * which writes it to its clients over some turns of its loop; each client gets it in its place
 * among what else comes.  Returns the number of nodes that it is on its way to; those that can't
 * be reached are left out and counted.  Negative, and nothing was sent, as above; OB_E_INVAL for
 * role 0. */
static inline int ob_push_all(ob_ctx *ctx, uint32_t role, uint32_t id, const void *data, size_t len)
{
	return ctx->api->push_all(ctx, role, id, data, len);
}

/* ---------------------------------------------------------------- groups (since 1.1) ------- */

/* Puts a session into a group: a name, of 1 to OB_GROUP_MAX bytes, that is there as long as
 * somebody is in it, and is the same on all nodes.  Who is in it already stays there once; a
 * session's end leaves all its groups.  For a session of another node's client it is on its way
 * there then: what this node sends to the group afterwards reaches the session as well. OB_E_STALE;
 * OB_E_LIMIT beyond limits.groups and limits.group_members, OB_E_BUSY when modules have not heard
 * of too many who joined (both only logged, at the proxy, for a session of another node). */
static inline int ob_group_join(ob_ctx *ctx, ob_session session, const char *group)
{
	return ctx->api->group_join(ctx, session, group);
}

/* Takes it out again; 0 also if it was not in the group. */
static inline int ob_group_leave(ob_ctx *ctx, ob_session session, const char *group)
{
	return ctx->api->group_leave(ctx, session, group);
}

/* Sends one message to all members of a group, wherever they are connected.  It travels once to
 * each node that has members (a node that has not said yet which groups it has gets it, too), and
 * is encoded there once for all whose codec allows that.  What this node sends to a group comes in
 * its order, among what else it sends, as with ob_push_many().  Returns the number of nodes that it
 * is on its way to, this one included if it has members.  Negative, and nothing was sent:
 * OB_E_INVAL (the id, or no group's name), OB_E_TOO_BIG, OB_E_STATE, OB_E_NOMEM. */
static inline int ob_push_group(ob_ctx *ctx, const char *group, uint32_t id, const void *data,
                                size_t len)
{
	return ctx->api->push_group(ctx, group, id, data, len);
}

/* Asks how many members a group has on all nodes.  fn gets exactly one result, within call_timeout.
 * Nonzero: fn is not called. */
static inline int ob_group_count(ob_ctx *ctx, const char *group, ob_group_count_fn fn, void *arg)
{
	return ctx->api->group_count(ctx, group, fn, arg);
}

/* The members that are clients of this node: how many there are, the first `cap` of them in
 * `sessions`, those who joined first. */
static inline int ob_group_members(ob_ctx *ctx, const char *group, ob_session *sessions, size_t cap)
{
	return ctx->api->group_members(ctx, group, sessions, cap);
}

/* Hears who joins and leaves the groups on this node whose names begin with `prefix` ("": all), in
 * the order in which it happens.  Only in start. */
static inline int ob_on_group(ob_ctx *ctx, const char *prefix, ob_group_fn fn)
{
	return ctx->api->on_group(ctx, prefix, fn);
}

/* Compares a secret of the module's own configuration in constant time: 1 equal, 0 not (nor is
 * anything equal to a secret that is NULL or empty). */
static inline int ob_secret_equal(ob_ctx *ctx, const char *secret, const char *given)
{
	return ctx->api->secret_equal(ctx, secret, given);
}

/* ---------------------------------------------------------------- names (since 1.1) -------- */

/*
 * A message's name and its id are one thing.  The configuration gives ids to names (`names`); any
 * other name has the id OB_NAME_ID_MIN | (its 32-bit FNV-1a & (OB_NAME_ID_MIN - 1)), on every node.
 * So what goes by ids goes by names as well; ids from OB_NAME_ID_MIN on are meant for nothing else.
 */

/* As ob_on_id_flags() for a name.  OB_E_EXISTS also when another name has the same id, OB_E_LIMIT
 * beyond 65,536 names, OB_E_INVAL for what is no name. */
static inline int ob_on_name(ob_ctx *ctx, const char *name, ob_handler_fn fn, uint32_t flags)
{
	return ctx->api->on_name(ctx, name, fn, flags);
}

/* The id of a name; 0: it is none. */
static inline uint32_t ob_name_id(ob_ctx *ctx, const char *name)
{
	return ctx->api->name_id(ctx, name, strlen(name), 0);
}

/* The same, and the node knows the name of that id from now on: it tells its codecs and, with
 * pushes, other nodes.  0: it is no name, another one has the id, or there are too many.  Not for
 * names that clients choose: none is ever forgotten. */
static inline uint32_t ob_name(ob_ctx *ctx, const char *name)
{
	return ctx->api->name_id(ctx, name, strlen(name), OB_NAME_KNOW);
}

/* The name of an id that this node knows, for as long as it runs; or NULL. */
static inline const char *ob_name_of(ob_ctx *ctx, uint32_t id)
{
	return ctx->api->name_of(ctx, id);
}

/* The role that takes a message with this name (view->name): what the route table says of its id,
 * else the part before the first dot if there is, or was, a node of such a role and it is not this
 * node's own; 0: neither. */
static inline uint32_t ob_route_name(ob_ctx *ctx, const char *name, size_t len)
{
	return ctx->api->route_name(ctx, name, len);
}

/* Pushes by name; OB_E_INVAL when ob_name() can't take it. */
static inline int ob_push_name(ob_ctx *ctx, ob_session session, const char *name, const void *data,
                               size_t len)
{
	return ctx->api->push(ctx, session, ob_name(ctx, name), data, len);
}

static inline int ob_push_user_name(ob_ctx *ctx, const char *user, const char *name,
                                    const void *data, size_t len)
{
	return ctx->api->push_user(ctx, user, ob_name(ctx, name), data, len);
}

static inline int ob_push_many_name(ob_ctx *ctx, const ob_session *sessions, size_t count,
                                    const char *name, const void *data, size_t len)
{
	return ctx->api->push_many(ctx, sessions, count, ob_name(ctx, name), data, len);
}

static inline int ob_push_users_name(ob_ctx *ctx, const char *const *users, size_t count,
                                     const char *name, const void *data, size_t len)
{
	return ctx->api->push_users(ctx, users, count, ob_name(ctx, name), data, len);
}

static inline int ob_push_group_name(ob_ctx *ctx, const char *group, const char *name,
                                     const void *data, size_t len)
{
	return ctx->api->push_group(ctx, group, ob_name(ctx, name), data, len);
}

static inline int ob_push_all_name(ob_ctx *ctx, uint32_t role, const char *name, const void *data,
                                   size_t len)
{
	return ctx->api->push_all(ctx, role, ob_name(ctx, name), data, len);
}

/* Takes this module's handler for an id back, from clients and links; requests that it holds stay
 * its own.  With ob_on_id(), which works in a live module too, handlers are mapped and unmapped at
 * run time.  What the next generation takes is what its own start registers.  OB_E_NOT_FOUND: it
 * has none. */
static inline int ob_off_id(ob_ctx *ctx, uint32_t id)
{
	return ctx->api->off_id(ctx, id);
}

/* The same by name, and of a method. */
static inline int ob_off_name(ob_ctx *ctx, const char *name)
{
	return ctx->api->off_id(ctx, ob_name_id(ctx, name));
}

static inline int ob_off_method(ob_ctx *ctx, const char *name)
{
	return ctx->api->off_method(ctx, name);
}

/* ---------------------------------------------------------------- descriptors (since 1.1) -- */

/* Calls fn whenever the descriptor can be read or written, `events`: OB_FD_READABLE, _WRITABLE or
 * both, once a turn as long as it is so.  A socket, pipe, eventfd, timerfd, epoll descriptor or
 * terminal, which is the module's: it is made non-blocking, and must be unwatched before it is
 * closed.  One watch for a descriptor; for other events, or when it is to be exchanged, begin a new
 * one.  0: not possible: no such descriptor, one that is watched already or can't be (files), too
 * many, or not now, as with a repeating timer: before live, and when draining.
 *
 * It belongs to the generation: nothing is called while that stands by, and it ends when a newer
 * one has taken over for good.  The newer one watches the same descriptor itself, from live on. */
static inline ob_watch ob_fd_watch(ob_ctx *ctx, int fd, uint32_t events, ob_fd_fn fn, void *arg)
{
	return ctx->api->fd_watch(ctx, fd, events, fn, arg);
}

/* Ends it: fn is not called again.  Also from within fn.  OB_E_STALE: it has ended. */
static inline int ob_fd_unwatch(ob_ctx *ctx, ob_watch watch)
{
	return ctx->api->fd_unwatch(ctx, watch);
}

/* ---------------------------------------------------------------- clients brought (1.1) ---- */

/* Offers a transport for clients under transport->name; the struct is copied.  The configuration
 * names it (`listen[].transport`), and all that is said there of a listener, its codec, token,
 * limits, no_state, holds for the clients that it brings.  A module whose transport a listener uses
 * can be replaced, not taken out.  Only in start.  The name: letters, digits, '_' or '-', at most
 * 63; OB_E_EXISTS for what is built in (ws, wss, tcp, tls, unix), and for another module's. */
static inline int ob_on_client_transport(ob_ctx *ctx, const ob_client_transport *transport)
{
	return ctx->api->on_client_transport(ctx, transport);
}

/* Hands over a client: a connected stream socket that is the host's from now on.  Negative: it is
 * still the caller's.  OB_E_LIMIT: one too many, of the listener's, its address's or the node's;
 * OB_E_STATE: no newcomers now; OB_E_NOT_FOUND: no such door of the module; OB_E_INVAL: no stream
 * socket, or no address; OB_E_APP: the codec did not take it. */
static inline int ob_client_adopt(ob_ctx *ctx, int fd, const ob_adopt_options *options)
{
	return ctx->api->client_adopt(ctx, fd, options);
}

/* ---------------------------------------------------------------- states (since 1.1) ------- */

/*
 * Where states are declared, in the configuration (`states`) or by modules, each session of this
 * node's clients is in one of them, at first in the first one: that of the configuration, else the
 * one that was declared first.  Its client may send the ids that are allowed in it; any other
 * message is refused with OB_E_DENIED, or closes the client, before anybody sees it.  A session
 * stays in its state whatever is replaced; in one that nobody declares any more it may send
 * nothing.
 */

/* Allows a client's messages with the ids lo to hi in a state, and declares the state; lo 1, hi 0:
 * declares it, and allows nothing.  Those of all modules and of the configuration count together.
 * Of a name: ob_name_id().  Only in start. */
static inline int ob_session_allow(ob_ctx *ctx, const char *state, uint32_t lo, uint32_t hi)
{
	return ctx->api->session_allow(ctx, state, lo, hi);
}

/* Hears when a session of this node's clients enters a state and when it leaves it; either may be
 * NULL; `state` NULL: whichever.  It is still in the former state when it leaves that.  A session
 * that begins enters its first state, one that ends leaves its last.  In the order of registration.
 * Only in start. */
static inline int ob_on_session_state(ob_ctx *ctx, const char *state, ob_session_change_fn enter,
                                      ob_session_change_fn leave)
{
	return ctx->api->on_session_state(ctx, state, enter, leave);
}

/* Takes a session to a state, with data for it (NULL: none), which takes the place of what it had;
 * also to the state that it is in.  For a client of this node it has happened when this returns,
 * and those who wanted to know have heard; from one of them it happens when all have heard of the
 * change before it.  For another node's client it is on its way there.  OB_E_NOT_FOUND: there is no
 * such state (from another node only logged, at the proxy), OB_E_TOO_BIG beyond OB_STATE_DATA_MAX,
 * OB_E_LIMIT: 64 changes came of one; OB_E_STALE, OB_E_INVAL. */
static inline int ob_session_enter(ob_ctx *ctx, ob_session session, const char *state,
                                   json_t *data_stolen)
{
	return ctx->api->session_enter(ctx, session, state, data_stolen);
}

/* The state of a session of this node's clients, and in *data (which may be NULL) what it has in
 * it; both borrowed until it changes or the callback returns.  "" where no states are declared;
 * NULL for any other session. */
static inline const char *ob_session_state(ob_ctx *ctx, ob_session session, const json_t **data)
{
	return ctx->api->session_state(ctx, session, data);
}

/* ---------------------------------------------------------------- filters (since 1.1) ------ */

/* Stands around messages of clients at `when`.  BEFORE_*: smaller priorities first, those of one
 * priority in the order in which modules were loaded, ob_on_filter()'s among those of
 * OB_MESSAGE_BEFORE_CLIENT; AFTER_* the other way round.  AFTER_CLIENT sees the end of requests,
 * those too that never left; AFTER_HANDLER also that of one-way messages.  Only in start. */
static inline int ob_on_message_filter(ob_ctx *ctx, int when, int priority, ob_message_filter_fn fn)
{
	return ctx->api->on_message_filter(ctx, when, priority, fn);
}

/* In a filter at BEFORE_*: the message waits, whatever the filter returns, until one of the two
 * functions below is called, there and then or later; at its deadline it ends with OB_E_DEADLINE.
 * The session's later messages overtake it, unless the configuration's `filters.serial` covers
 * them. 0: not now, or too many or too much waits (limits.held). */
static inline ob_gate ob_message_hold(ob_ctx *ctx)
{
	return ctx->api->message_hold(ctx);
}

/* It goes on to the filters behind this one.  OB_E_STALE: it has ended. */
static inline int ob_message_pass(ob_ctx *ctx, ob_gate gate)
{
	return ctx->api->message_pass(ctx, gate);
}

/* It ends here: OB_OK with an answer, or a failure with `text`, which may be NULL. */
static inline int ob_message_end(ob_ctx *ctx, ob_gate gate, int code, const char *text,
                                 const void *data, size_t len)
{
	return ctx->api->message_end(ctx, gate, code, text, data, len);
}

/* ---------------------------------------------------------------- events by name (1.1) ----- */

/* Hears of events by name.  Those of one priority hear in the order in which modules were loaded.
 * Only in start. */
static inline int ob_on_raised(ob_ctx *ctx, const ob_listener *listener, ob_raised_fn fn)
{
	return ctx->api->on_raised(ctx, listener, fn);
}

/* Raises an event: who wants to know hears of it after the callback that runs now, in the order in
 * which events were raised, until one stops it.  `data` may be NULL.  OB_E_LIMIT when too many
 * wait, or when 16 events have come of one another; both are counted and logged.  OB_E_INVAL,
 * OB_E_TOO_BIG, OB_E_STATE. */
static inline int ob_event_raise(ob_ctx *ctx, const char *name, json_t *data_stolen)
{
	return ctx->api->event_raise(ctx, 0, name, data_stolen, 0);
}

/* Says that something has happened: all who want to know hear of it before this returns, and nobody
 * can stop it.  OB_E_LIMIT when 16 have come of one another. */
static inline int ob_event_notify(ob_ctx *ctx, const char *name, json_t *data_stolen)
{
	return ctx->api->event_raise(ctx, 0, name, data_stolen, OB_RAISED_NOTICE);
}

/* Raises an event on each node of a role, ob_role(ctx, "game"), this one too if it is of it.  At
 * most once on each.  Returns the number of nodes that it is on its way to; those that can't be
 * reached are left out. */
static inline int ob_event_send(ob_ctx *ctx, uint32_t role, const char *name, json_t *data_stolen)
{
	if (role == 0) {
		json_decref(data_stolen);
		return OB_E_INVAL;
	}
	return ctx->api->event_raise(ctx, role, name, data_stolen, 0);
}

/* ---------------------------------------------------------------- timers (since 1.1) ------- */

/* As ob_timer_start(), in the ways of ob_timer_options; 0 also for options that make no sense.  A
 * timer with a count or a calendar is a repeating one: it ends when a newer generation takes over.
 */
static inline ob_timer ob_timer_with(ob_ctx *ctx, const ob_timer_options *options, ob_timer_fn fn,
                                     void *arg)
{
	return ctx->api->timer_with(ctx, options, fn, arg);
}

/* Calls fn by the calendar: "minute hour day month weekday", or six fields with the second first.
 * A field is a star, a number, a range 1-5, a list 1,3,5-7, each with a step behind it (star/15,
 * 10-40/10); months and weekdays have English names of three letters, Sunday is 0 or 7.  Where both
 * the day and the weekday are restricted, either will do.  @yearly, @monthly, @weekly, @daily,
 * @hourly stand for what they say.
 *
 * The clock that counts is the machine's.  When it is set forward, what was skipped fires once;
 * when it is set back by up to three hours, nothing fires twice.  With OB_TIMER_LOCAL, a time that
 * daylight saving skips fires when it begins, and one that comes twice the first time only;
 * schedules of every hour go on by hours.  0: that is no schedule, or it never comes. */
static inline ob_timer ob_cron(ob_ctx *ctx, const char *schedule, uint32_t flags, ob_timer_fn fn,
                               void *arg)
{
	ob_timer_options options;

	memset(&options, 0, sizeof(options));
	options.size = sizeof(options);
	options.flags = flags;
	options.cron = schedule;
	return ctx->api->timer_with(ctx, &options, fn, arg);
}

#ifdef __cplusplus
}
#endif

#endif
