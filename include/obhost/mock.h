/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Public: a mock host, to test a module without a node.  Link libobhost-mock and jansson
 * (`pkg-config --cflags --libs obhost-mock`), compile the module's source into the test, and:
 *
 *     extern const ob_module_desc ob_module;
 *
 *     ob_mock *m = ob_mock_new(&ob_module, NULL);
 *     assert(ob_mock_begin(m) == 0);
 *     ob_mock_reply r = ob_mock_send_json(m, 1000, 0, "{s:s}", "name", "ada");
 *     assert(r.ended && r.code == OB_OK);
 *     ob_mock_free(m);
 *
 * The rules are the host's: what is registered is inert until live, a request has exactly one end,
 * a handle that has outlived its object answers OB_E_STALE, a payload is there only during the
 * callback.  What needs the world outside is written down instead of sent: pushes, calls, HTTP
 * requests and administrative verbs are lists, and the test answers them.  Time stands still until
 * ob_mock_advance().  Nothing runs but in the functions below, on the thread that calls them (only
 * ob_post() may come from others).
 *
 * One module is alone in a mock host: nobody else has its ids and names, every codec that it
 * listens with exists, calls to other nodes wait for the test's answer.
 *
 * OWNERSHIP.  Passed in = borrowed and copied, json_t parameters whose name ends in _stolen lose
 * their reference.  What a function returns is the mock's own and lives until ob_mock_free(),
 * unless the function says otherwise.  All lists are bounded; what would not fit is refused with
 * the host's own codes (OB_E_LIMIT, OB_E_BUSY).
 */

#ifndef OBHOST_MOCK_H
#define OBHOST_MOCK_H

#include <obhost/obhost.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ob_mock ob_mock;
typedef struct ob_mock_blob ob_mock_blob;

/* ---------------------------------------------------------------- the mock and its life ----- */

/* A mock host with one module in it; conf NULL: an empty object.  NULL when out of memory or when
 * that is no descriptor this header knows. */
ob_mock *ob_mock_new(const ob_module_desc *desc, const json_t *conf);

/* The host of the module's next generation: it shares what survives a reload (ob_state() blocks,
 * key-value store, counters, sessions, the clock) with the one before.  Two generations of one
 * source share its static variables as well, unless each is a shared object of its own. */
ob_mock *ob_mock_next(ob_mock *m, const ob_module_desc *desc, const json_t *conf);

/* Stops the module if that was not done, and frees everything.  NULL is accepted. */
void ob_mock_free(ob_mock *m);

/* What the hooks are called with, for SDK calls of the test itself. */
ob_ctx *ob_mock_ctx(ob_mock *m);

/* check, start, selftest, live, until one fails. */
int ob_mock_begin(ob_mock *m);

/* The hooks one by one; 0 or the hook's code, OB_E_STATE out of order.  A start that fails leaves
 * nothing registered. */
int ob_mock_check(ob_mock *m);
int ob_mock_start(ob_mock *m);
int ob_mock_selftest(ob_mock *m);
int ob_mock_live(ob_mock *m);
int ob_mock_drain(ob_mock *m);
int ob_mock_resume(ob_mock *m); /* one that stands by, see ob_mock_switch() */

/* Both phases; conf becomes the module's own when it accepts. */
int ob_mock_reconf(ob_mock *m, const json_t *conf);

/* The end: drains, ends what is in flight as the host does when the time to drain is over
 * (requests, calls and HTTP requests with OB_E_GONE; timers fire early; jobs and posts run), then
 * stop(). From here on every SDK function answers OB_E_DEAD. */
int ob_mock_stop(ob_mock *m);

/* Why the last of these functions failed, in the module's own words if it had any; "" if not. */
const char *ob_mock_error(const ob_mock *m);

/* ---------------------------------------------------------------- what the node is like ----- */

/* Who the node is; "mock" and "service" unless told.  Before start. */
int ob_mock_node(ob_mock *m, const char *name, const char *role);

/* A value of the node's configuration, at a dotted path.  "session_closed_id", "call_timeout" (ms)
 * and "limits.message" mean what they mean to a node. */
int ob_mock_config(ob_mock *m, const char *path, json_t *value_stolen);

/* The same for a secret: ob_config() shows it masked, ob_secret_check() compares. */
int ob_mock_secret(ob_mock *m, const char *path, const char *text);

/* The route table sends ids first to last to the role. */
int ob_mock_route(ob_mock *m, uint32_t first, uint32_t last, const char *role);

/* The module is configured with "admin": true. */
void ob_mock_admin(ob_mock *m, bool admin);

/* What the verb "verbs" answers at once, {"verbs": [{"verb", "method", "path", "write"}, ...]}: it
 * says which paths are administrative and which verbs write.  Without it the paths registered with
 * OB_HTTP_ADMIN are, and every verb only reads. */
int ob_mock_verbs(ob_mock *m, json_t *verbs_stolen);

/* ob_rehearsing() says so. */
void ob_mock_rehearse(ob_mock *m, bool rehearsing);

/* ---------------------------------------------------------------- messages to the module ---- */

/* What came of a message. */
typedef struct ob_mock_reply {
	uint32_t size;
	bool ended;               /* it has had its one end */
	bool held;                /* the handler keeps it: ob_mock_reply_of() later */
	bool silent;              /* ended without an answer: ob_done(), or nobody waited */
	ob_req req;               /* for ob_mock_reply_of(); 0: nothing more will come */
	int code;                 /* OB_OK or one of enum ob_result_code; OB_E_STATE: not live */
	int status;               /* what a client sees: `code`, or the HTTP status */
	const char *text;         /* why it failed, "" otherwise */
	const char *content_type; /* of an HTTP answer, "" otherwise */
	const uint8_t *data;      /* the answer, with a zero byte behind it; never NULL */
	size_t len;
	int action;       /* the verdict, when no handler took it and a decider was asked */
	ob_target target; /* of OB_FORWARD; such a message is not ended: another node would */
} ob_mock_reply;

/* Delivers a message.  `flags` are OB_VIEW_*: none or OB_VIEW_CLIENT: from a client of this node,
 * through filters, handler, decider; OB_VIEW_LINK: from another node, to the decider if there is
 * one, else the handlers; OB_VIEW_LINK | OB_VIEW_CALL: a call for this node.  OB_VIEW_ONE_WAY,
 * OB_VIEW_NO_STATE and OB_VIEW_STICKY may be added.  The sender's session is that of ob_mock_as();
 * a client has one in any case, opened with its first message.  The strings of this reply live
 * until 1024 others have ended, as with all functions of this chapter. */
ob_mock_reply ob_mock_send(ob_mock *m, uint32_t id, uint32_t flags, const void *data, size_t len);

/* The same with a body in the words of json_pack(3). */
ob_mock_reply ob_mock_send_json(ob_mock *m, uint32_t id, uint32_t flags, const char *fmt, ...);

/* A call by method name from another node; `flags`: 0 or OB_VIEW_ONE_WAY. */
ob_mock_reply ob_mock_send_method(ob_mock *m, const char *method, uint32_t flags, const void *data,
                                  size_t len);

/* An HTTP request for "/path?query"; the path is not decoded.  It comes from a loopback address and
 * has no headers unless the functions below said otherwise for it. */
ob_mock_reply ob_mock_http(ob_mock *m, const char *method, const char *target, const void *data,
                           size_t len);

/* For the next ob_mock_http(): a header; where it comes from. */
int ob_mock_http_header(ob_mock *m, const char *name, const char *value);
void ob_mock_http_from(ob_mock *m, bool loopback, bool unix_socket);

/* What has come by now of a message that was delivered before; size 0 if it is forgotten. */
ob_mock_reply ob_mock_reply_of(ob_mock *m, ob_req req);

/* A header that the module set in an HTTP answer, or NULL. */
const char *ob_mock_reply_header(ob_mock *m, ob_req req, const char *name);

/* The body as JSON, a new reference; NULL if it is none. */
json_t *ob_mock_reply_json(const ob_mock_reply *reply);

/* Requests whose handlers returned without an end. */
uint64_t ob_mock_unended(const ob_mock *m);

/* ---------------------------------------------------------------- sessions, events ---------- */

/* Opens a session: `node` NULL: a client of this node (the module hears of it), else a client of
 * the proxy with that name.  0 on failure. */
ob_session ob_mock_session(ob_mock *m, const char *node);

/* The messages that follow come from this session; 0: a client of its own, resp. none. */
int ob_mock_as(ob_mock *m, ob_session session);

/* The client has gone: the event, the handler of session_closed_id, then the handle is stale. */
int ob_mock_session_end(ob_mock *m, ob_session session);

/* The session's proxy is gone: OB_EVENT_SESSION_LOST instead of CLOSED.  OB_E_INVAL for a client of
 * this node. */
int ob_mock_session_lost(ob_mock *m, ob_session session);

/* A module of another node has bound the session to a user; as with ob_session_bind(), whose result
 * comes in ob_mock_run(), the session that had the user is replaced: REPLACED, then its end, and it
 * is among those closed (4001).  No bind waits for a lock here. */
int ob_mock_bind(ob_mock *m, ob_session session, const char *user);

/* The module has locked the session's user under that key, and the lock's time is not over; also
 * when it was left to its deadline. */
bool ob_mock_locked(const ob_mock *m, ob_session session, const char *key);

/* The session's state, "" where there are none; of another node's client the one it was sent to.
 * States are those that the module declares, behind those of ob_mock_config(m, "states", ...). */
const char *ob_mock_state(const ob_mock *m, ob_session session);

/* OB_EVENT_NODE_UP or _DOWN. */
int ob_mock_node_event(ob_mock *m, int event, const char *name, const char *role);

/* The id that stands for a node's name in views, targets and events. */
uint64_t ob_mock_node_id(const char *name);

/* ---------------------------------------------------------------- what the module sent ------ */

/* Lists in the order of sending: the element `i`, counted from 0, or NULL behind the last.  They
 * stay until ob_mock_forget(), at most 65,536 each. */

typedef struct ob_mock_push {
	ob_session session;
	uint32_t id;
	const uint8_t *data; /* with a zero byte behind it */
	size_t len;
} ob_mock_push;

/* One to many is here once for each session that gets it, in the order of the list. */
const ob_mock_push *ob_mock_push_at(const ob_mock *m, size_t i);

/* What ob_push_all() sent; no client gets it. */
typedef struct ob_mock_broadcast {
	uint32_t role;
	uint32_t id;
	const uint8_t *data; /* with a zero byte behind it */
	size_t len;
} ob_mock_broadcast;

const ob_mock_broadcast *ob_mock_broadcast_at(const ob_mock *m, size_t i);

/* Events that it sent to the nodes of a role. */
typedef struct ob_mock_raised {
	uint32_t role;
	const char *name;
	const json_t *data; /* or NULL */
} ob_mock_raised;

const ob_mock_raised *ob_mock_raised_at(const ob_mock *m, size_t i);

/* Another module, or another node, raises an event; who hears of it does in ob_mock_run(). */
int ob_mock_raise(ob_mock *m, const char *name, json_t *data_stolen);

/* The session is in that group. A push to it is in the list of pushes, once for each member. */
bool ob_mock_in_group(const ob_mock *m, ob_session session, const char *group);

typedef struct ob_mock_close {
	ob_session session;
	uint16_t code;
	const char *reason;
} ob_mock_close;

/* Sessions that the module closed. */
const ob_mock_close *ob_mock_close_at(const ob_mock *m, size_t i);

typedef struct ob_mock_call {
	ob_call_id call;
	ob_target target;
	uint32_t id;
	const char *method; /* or NULL */
	ob_session session;
	const uint8_t *data; /* with a zero byte behind it */
	size_t len;
	uint32_t deadline_ms; /* from the call on */
	bool ended;           /* it has had its result, or was cancelled */
	bool cancelled;
	int mode; /* this and what follows: of ob_call_with() */
	uint32_t retries;
	uint32_t flags;
	uint32_t key_len;
	const uint8_t *key; /* or NULL */
	ob_req request;     /* that it is made for, or 0 */
	uint32_t left;      /* OB_TARGET_ALL: nodes that have not answered */
} ob_mock_call;

/* Calls to other nodes.  Those to this node go to the module's own handlers in ob_mock_run(), and
 * are in the list as well. */
const ob_mock_call *ob_mock_call_at(const ob_mock *m, size_t i);

/* Ends a call, code OB_OK or one of enum ob_result_code: what comes of all its tries, so the mock
 * repeats none.  With OB_TARGET_ALL it is the end of one node.  0, OB_E_STALE. */
int ob_mock_answer(ob_mock *m, ob_call_id call, int code, const void *data, size_t len);

/* How many nodes of a role a call to all of them finds; one unless told.  None: the call ends in
 * ob_mock_run(). */
int ob_mock_role_size(ob_mock *m, const char *role, uint32_t nodes);

typedef struct ob_mock_http_call {
	uint64_t call; /* for ob_mock_http_answer() */
	const char *method;
	const char *url;
	const char *const *headers; /* NULL at the end */
	const uint8_t *body;
	size_t body_len;
	uint32_t timeout_ms;
	bool ended;
} ob_mock_http_call;

const ob_mock_http_call *ob_mock_http_call_at(const ob_mock *m, size_t i);

/* Answers an HTTP request; OB_E_TOO_BIG reaches the module when the body is larger than it allowed.
 * 0, OB_E_STALE. */
int ob_mock_http_answer(ob_mock *m, uint64_t call, int status, const char *content_type,
                        const void *data, size_t len);

/* It fails with OB_E_NOT_SENT, OB_E_MAYBE_SENT, ... */
int ob_mock_http_fail(ob_mock *m, uint64_t call, int code, const char *text);

typedef struct ob_mock_verb {
	uint64_t call; /* for ob_mock_verb_answer() */
	const char *verb;
	const json_t *args; /* NULL: none */
	bool ended;
} ob_mock_verb;

const ob_mock_verb *ob_mock_verb_at(const ob_mock *m, size_t i);
int ob_mock_verb_answer(ob_mock *m, uint64_t call, int status, json_t *body_stolen);

/* Listeners that the module opened. */
const ob_listen_options *ob_mock_listen_at(const ob_mock *m, size_t i);

/* Forgets pushes, broadcasts, closed sessions, and the calls that have ended. */
void ob_mock_forget(ob_mock *m);

/* ---------------------------------------------------------------- time and work ------------- */

/* Runs what is queued, and what that queues: jobs (work, then done), posts, calls to this node.
 * Returns how many, at most 65,536. */
size_t ob_mock_run(ob_mock *m);

/* Lets time go by: runs what is queued; timers fire, and held requests, calls and HTTP requests
 * reach their deadlines, each at its time and in order. */
void ob_mock_advance(ob_mock *m, uint64_t ms);

/* The calendar of ob_cron(): when the clock began, 2000-01-01 00:00:00, in s since 1970.  Local
 * time is UTC here. */
#define OB_MOCK_EPOCH INT64_C(946684800)

/* Timers that are set. */
size_t ob_mock_timers(const ob_mock *m);

/* The events that a descriptor is watched for; 0: it is not. */
uint32_t ob_mock_watched(const ob_mock *m, int fd);

/* Tells the module that a descriptor is ready: nothing is polled by itself.  OB_E_NOT_FOUND: it is
 * not watched for that. */
int ob_mock_fd_ready(ob_mock *m, int fd, uint32_t events);

/* ---------------------------------------------------------------- what it registered -------- */

/* How many ids, methods, paths, events, filters, deciders, codecs, policies, listeners and
 * transports, of either kind. */
size_t ob_mock_registered(const ob_mock *m);

/* The codec of that name, or NULL. */
const ob_codec *ob_mock_codec(const ob_mock *m, const char *name);

/* decode() and encode() of the codec, with what the host insists on checked: OB_E_NOT_FOUND: no
 * such codec, OB_E_BAD with ob_mock_error(): it breaks its contract.  decode returns the bytes
 * consumed, encode those written (0: it can't be expressed; more than cap: it needs so much room).
 * `state` is state_size bytes of the test's own, zeroed at first.  out->size and packet->size are
 * set here. */
ssize_t ob_mock_decode(ob_mock *m, const char *name, void *state, uint8_t *data, size_t len,
                       bool boundary, size_t max, ob_packet *out);
ssize_t ob_mock_encode(ob_mock *m, const char *name, void *state, ob_packet *packet, uint8_t *out,
                       size_t cap);

/* The codec's other hooks, checked in the same way; those that it has not do nothing.
 * info->size and info->arg are set here; info NULL: a WebSocket listener with nothing configured.
 * ob_mock_codec_check is what is asked about a listener before it opens: 0, or negative with the
 * reason; wake is OB_E_NOT_FOUND without the hook. */
int ob_mock_codec_check(ob_mock *m, const char *name, const ob_codec_open *info, ob_err *err);
int ob_mock_codec_open(ob_mock *m, const char *name, void *state, const ob_codec_open *info);
ssize_t ob_mock_codec_close(ob_mock *m, const char *name, void *state, uint16_t code,
                            const char *reason, uint8_t *out, size_t cap);
int ob_mock_codec_wake(ob_mock *m, const char *name, void *state, ob_packet *out);

/* Asks a policy: the index of the candidate, or a result code; OB_E_NOT_FOUND: no such policy,
 * OB_E_APP: an index that is none. */
int ob_mock_choose(ob_mock *m, const char *name, const ob_choice *choice);

/* Transports that the module offers; NULL after the last. */
const ob_transport *ob_mock_transport_at(const ob_mock *m, size_t i);

/* Asks a transport for a socket, as the host does: what its dial or listen answers; *fd is the
 * test's to close.  OB_E_NOT_FOUND: no such transport, or it can't be listened on; OB_E_APP with
 * ob_mock_error(): no stream socket, or one that blocks. */
int ob_mock_socket(ob_mock *m, const char *name, const char *address, bool listens, int *fd,
                   ob_err *err);

/* A transport for clients that the module offers, for its hooks to be called; or NULL.  And one
 * after the other, NULL after the last. */
const ob_client_transport *ob_mock_client_transport(const ob_mock *m, const char *name);
const ob_client_transport *ob_mock_client_transport_at(const ob_mock *m, size_t i);

/* A client that the module has handed over: fd is the host's, so the test's to read and write.  It
 * is closed in the end, unless the test takes it (and sets it to -1 here). */
typedef struct ob_mock_adopted {
	int fd;
	ob_door door;
	uint64_t client;
	char peer[80];
} ob_mock_adopted;

/* The first one is 0; NULL after the last. */
ob_mock_adopted *ob_mock_adopted_at(const ob_mock *m, size_t i);

/* From now on ob_client_adopt() answers this; 0: it takes them. */
void ob_mock_adopt_says(ob_mock *m, int code);

/* ---------------------------------------------------------------- state --------------------- */

/* The module's save() for a version; NULL and ob_mock_error() when it fails or wrote more than
 * 64 MiB.  The blob is the caller's: ob_mock_blob_free(). */
ob_mock_blob *ob_mock_save(ob_mock *m, uint32_t version);

/* The module's load().  Between start and live, or on a generation that stood by.  Refused when
 * the module does not read that version, or did not ask for a critical section. */
int ob_mock_load(ob_mock *m, ob_mock_blob *blob);

/* What the switch does between two generations of ob_mock_next(): if their state_write differ,
 * save() in the lower version and load(); then the new one's live(), or resume() when it is the one
 * that stood by.  `from` stands by: it may go on with what is in flight, and is drained
 * (ob_mock_drain), stopped, or switched back to.  On failure `from` goes on serving and
 * ob_mock_error(to) says why. */
int ob_mock_switch(ob_mock *from, ob_mock *to);

/* A blob by hand, for states that older versions wrote. */
ob_mock_blob *ob_mock_blob_new(uint32_t version);
int ob_mock_blob_add(ob_mock_blob *blob, uint32_t tag, uint32_t flags, const void *data,
                     size_t len);
void ob_mock_blob_free(ob_mock_blob *blob);
uint32_t ob_mock_blob_version(const ob_mock_blob *blob);

/* A section's bytes, NULL if there is none; whether a load has asked for it. */
const void *ob_mock_blob_get(const ob_mock_blob *blob, uint32_t tag, size_t *len);
bool ob_mock_blob_seen(const ob_mock_blob *blob, uint32_t tag);

/* ---------------------------------------------------------------- counters and log ---------- */

uint64_t ob_mock_counter(const ob_mock *m, const char *name);

typedef struct ob_mock_line {
	int level; /* enum ob_log_level */
	const char *text;
} ob_mock_line;

/* The last 256 lines, the oldest first; valid until the module logs again. */
const ob_mock_line *ob_mock_log_at(const ob_mock *m, size_t i);

/* One of them has these words. */
bool ob_mock_logged(const ob_mock *m, const char *words);

#ifdef __cplusplus
}
#endif

#endif
