/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the mock host.  What its files share.
 *
 * A `world` is the part of a node that outlives a generation: clock, sessions, memory.  An ob_mock
 * is one generation in it.  Everything a handle may stand for begins with a struct obj.
 */

#ifndef OB_MOCK_PRIV_H
#define OB_MOCK_PRIV_H

#include <pthread.h>

#include <obhost/mock.h>

#define LIST_MAX     65536u
#define OBJS_MAX     (1u << 20)
#define KEPT_MAX     1024u /* ended requests that can still be asked for */
#define LINES_MAX    256u
#define STATE_MAX    (16u << 20)
#define STATES_MAX   64u
#define COUNTERS_MAX 64u
#define KV_VALUE_MAX (1u << 20)
#define KV_KEYS_MAX  65536u
#define KV_BYTES_MAX (64u << 20)
#define BLOB_MAX     (64u << 20)
#define DELAY_MAX    (366ull * 24 * 3600 * 1000)
#define HTTP_HELD_MS 120000u
#define CALL_MS      5000u
#define MESSAGE_MAX  (1u << 20)
#define CLOSED_ID    100130u
#define OFFLINE_ID   999u
#define OWN_SEQ      (1ull << 32)

enum kind {
	KIND_FREE,
	KIND_REQ = 1,
	KIND_SESSION,
	KIND_TIMER,
	KIND_WATCH,
	KIND_CALL,
	KIND_MSG,
	KIND_HTTP,
	KIND_VERB,
};

enum phase {
	PHASE_NEW,
	PHASE_STARTING,
	PHASE_LIVE,
	PHASE_STANDBY, /* another generation serves, this one may be asked back */
	PHASE_DRAINING,
	PHASE_STOPPED,
};

/* ---- lists of pointers ---- */

struct vec {
	void **at;
	size_t len;
	size_t cap;
};

/* 0, OB_E_LIMIT beyond LIST_MAX, OB_E_NOMEM. */
int ob__mock_vec_add(struct vec *v, void *item);
void ob__mock_vec_del(struct vec *v, size_t i);
void ob__mock_vec_take(struct vec *v, const void *item); /* deletes it, if it is there */

static inline void *vec_get(const struct vec *v, size_t i)
{
	return i < v->len ? v->at[i] : NULL;
}

/* ---- the world ---- */

struct obj {
	uint64_t handle; /* 0: it has none (any more) */
	ob_mock *owner;
};

struct slot {
	struct obj *obj;
	uint64_t serial;
};

struct state_block {
	char *key;
	size_t size;
	uint32_t version;
	uint32_t refs;
	void *data;
};

struct kv_entry {
	char *key;
	uint8_t *data;
	size_t len;
};

struct counter {
	char *name;
	uint64_t value;
};

struct attr {
	char key[OB_KEY_MAX + 1];
	uint8_t value[OB_ATTR_MAX];
	size_t len;
};

struct session {
	struct obj obj;
	uint64_t seq;
	char *node; /* NULL: a client of this node */
	char peer[32];
	bool closing; /* its end is being told */
	bool lost;    /* its proxy is gone */
	char user[OB_USER_MAX + 1];
	uint64_t epoch;
	struct attr *attrs[OB_ATTRS_MAX];
	size_t attrs_len;
	char state[OB_STATE_MAX + 1]; /* "": the first one */
	json_t *state_data;
};

struct world {
	uint32_t refs;
	uint64_t now;
	uint64_t next_seq;
	uint32_t last_generation;
	struct slot *slots;
	size_t slots_len;
	size_t slots_cap;
	struct vec free_slots; /* their numbers, as pointers */
	struct vec sessions;   /* struct session */
	struct vec locks;      /* of mock_user.c */
	struct vec members;    /* of mock_group.c */
	uint64_t last_epoch;
	json_t *codecs; /* of the generation that is live: name -> [version, size, opens] */
	json_t *names;  /* of messages: name -> id */
	struct state_block *blocks[STATES_MAX]; /* those of the generation that is live */
	size_t blocks_len;
	struct kv_entry *kv; /* sorted by key */
	size_t kv_len;
	size_t kv_cap;
	size_t kv_bytes;
	struct counter counters[COUNTERS_MAX];
	size_t counters_len;
};

/* Gives the object a handle; OB_E_LIMIT, OB_E_NOMEM. */
int ob__mock_obj_open(struct world *w, struct obj *obj, enum kind kind, ob_mock *owner);
void ob__mock_obj_close(struct world *w, struct obj *obj);
void *ob__mock_obj_get(const struct world *w, uint64_t handle, enum kind kind);

/* ---- one generation ---- */

enum reg_kind {
	REG_CLIENT_ID,
	REG_LINK_ID,
	REG_METHOD,
	REG_HTTP,
	REG_EVENT,
	REG_FILTER,
	REG_CALL_FILTER,
	REG_CLIENT_DECIDER,
	REG_LINK_DECIDER,
	REG_UNKNOWN,
	REG_ERROR_BODY,
	REG_CODEC,
	REG_POLICY,
	REG_LISTEN,
	REG_TRANSPORT,
	REG_GROUP,
	REG_NONE, /* taken back */
	REG_CLIENT_TRANSPORT,
	REG_ALLOW,
	REG_STATE,
	REG_MESSAGE_FILTER,
	REG_RAISED,
};

struct reg {
	enum reg_kind kind;
	uint32_t flags; /* of CALL_FILTER: enum ob_call_when */
	int priority;   /* FILTER, CALL_FILTER; the event's number for EVENT */
	union {
		ob_handler_fn handler;
		ob_decide_fn decide;
		ob_filter_fn filter;
		ob_call_filter_fn call_filter;
		ob_event_fn event;
		ob_error_body_fn error_body;
		ob_policy_fn policy;
		ob_group_fn group;
		ob_message_filter_fn message_filter;
		ob_raised_fn raised;
		struct {
			ob_session_change_fn enter;
			ob_session_change_fn leave;
			uint32_t lo;
			uint32_t hi;
		} state;
	} fn;
	ob_codec codec;
	ob_listen_options listen;
	ob_transport transport;
	ob_client_transport client_transport;
	char *name;    /* of method, path, codec, policy, transport, listener */
	char *text[6]; /* strings of a listener; a group's prefix; a state's name; what somebody
	                * who hears of events asks for */
};

enum origin {
	FROM_CLIENT,
	FROM_LINK,
	FROM_CALL, /* made by code on another node */
	FROM_HTTP,
	FROM_SELF, /* a call of the module to its own node */
	FROM_HOST,
};

struct request {
	struct obj obj;
	ob_req req; /* its handle, kept when that is stale */
	enum origin origin;
	ob_view view;
	ob_http_info http;
	const char *const *headers; /* of the HTTP request, during the callback */
	struct vec set;             /* headers of the answer, "Name: value" */
	size_t set_bytes;
	char *method;
	json_t *json;
	uint64_t deadline;
	ob_call_id self;
	bool handled; /* a handler was called */
	ob_gate gate; /* a filter holds it; 0: none */
	int gate_when;
	const struct reg *gate_by;
	const struct reg *handler; /* that it is for, while a filter holds it there */
	uint8_t *gate_bytes;
	bool running;
	bool held;
	bool ended;
	bool silent;
	bool bad_json;
	bool json_reply;
	int code;
	int status;
	char *text;
	char *content_type;
	uint8_t *data;
	size_t len;
	int action;
	ob_target target;
};

struct timer {
	struct obj obj;
	uint64_t due;
	uint64_t repeat;
	uint64_t left; /* times to fire; 0: no end */
	char *cron;    /* schedule, or NULL */
	ob_timer_fn fn;
	void *arg;
};

struct watch {
	struct obj obj;
	int fd;
	uint32_t events;
	ob_fd_fn fn;
	void *arg;
};

struct held_msg {
	struct obj obj;
	ob_view view;
	uint8_t *bytes;
};

struct call {
	struct obj obj;
	ob_mock_call pub;
	uint64_t due;
	uint64_t began;
	bool all;
	int refused; /* not 0: it ends with this in ob_mock_run() */
	bool forgotten;
	unsigned telling; /* how often fn is on the stack */
	ob_call_fn fn;
	void *arg;
	char *method;
	uint8_t *bytes;
	_Alignas(16) uint8_t keep[OB_CALL_KEEP_MAX];
	uint8_t key[OB_CALL_KEY_MAX];
};

struct http_call {
	struct obj obj;
	ob_mock_http_call pub;
	uint64_t due;
	size_t max_body;
	ob_http_fn fn;
	void *arg;
	char *method;
	char *url;
	char **headers;
	uint8_t *bytes;
};

struct verb {
	struct obj obj;
	ob_mock_verb pub;
	ob_admin_fn fn;
	void *arg;
	char *name;
	json_t *args;
};

/* What runs in ob_mock_run(). */
struct work {
	struct work *next;
	ob_work_fn job;
	ob_post_fn post;
	void *arg;
	ob_call_id self; /* not 0: a call to this node */
};

struct route {
	uint32_t first;
	uint32_t last;
	char *role;
};

struct section {
	uint32_t tag;
	uint32_t flags;
	bool seen;
	uint8_t *data;
	size_t len;
};

struct ob_mock_blob {
	uint32_t version;
	struct vec sections;
	size_t bytes;
	size_t at; /* of section_next() */
	int error; /* the first of writing */
};

struct ob_mock {
	ob_ctx ctx; /* first */
	struct world *world;
	ob_module_desc desc;
	json_t *conf;
	enum phase phase;
	bool draining_over; /* nothing new may begin */
	bool rehearsing;
	bool admin;
	uint32_t generation;
	char name[64];
	char role[64];
	json_t *node_conf;
	json_t *secrets;
	json_t *verbs;
	char error[512];
	char refused[256];

	struct vec regs;
	json_t *taken; /* "kind name" -> number of a reg */
	struct vec routes;
	struct state_block *blocks[STATES_MAX];
	size_t blocks_len;

	struct vec requests; /* oldest first; ended ones up to KEPT_MAX */
	size_t requests_ended;
	struct vec timers;
	struct vec watches;
	struct vec adopted; /* ob_mock_adopted */
	int adopt_says;
	struct vec msgs;
	struct vec pushes;
	struct vec broadcasts;
	struct vec closes;
	struct vec calls;
	struct vec http_calls;
	struct vec asked;   /* struct verb */
	struct vec headers; /* of the next HTTP request */
	bool http_remote;
	bool http_unix;
	ob_session as;
	ob_session client; /* who sends when ob_mock_as() said nothing */
	ob_req current;    /* whose handler runs */
	json_t *role_sizes;
	bool changing;            /* a session's state is */
	unsigned changes;         /* since it is */
	struct vec events;        /* of mock_event.c, that wait */
	struct vec sent;          /* of mock_event.c, to other nodes */
	uint32_t depth;           /* of the event that is being told */
	struct request *filtered; /* whose message a filter sees, */
	const struct reg *asked_by;
	int asked_when;
	struct vec todo; /* of mock_state.c: changes that wait for it */
	uint64_t unended;

	pthread_mutex_t lock; /* for the queue */
	struct work *queue;
	struct work **queue_end;
	size_t queue_len;

	ob_mock_blob *saving;
	ob_mock_blob *loading;
	struct vec lines; /* ob_mock_line */
};

extern const ob_api ob__mock_api;

static inline ob_mock *mock_of(ob_ctx *ctx)
{
	return (ob_mock *)ctx;
}

static inline bool mock_live(const ob_mock *m)
{
	return m->phase == PHASE_LIVE || m->phase == PHASE_STANDBY || m->phase == PHASE_DRAINING;
}

/* May begin something that calls back later. */
static inline bool mock_may_begin(const ob_mock *m)
{
	return mock_live(m) && !m->draining_over;
}

/* OB_E_DEAD or `code`, for functions that are refused now. */
static inline int mock_no(const ob_mock *m, int code)
{
	return m->phase == PHASE_STOPPED ? OB_E_DEAD : code;
}

/* mock.c */
OB_PRINTF(2, 3) void ob__mock_fail(ob_mock *m, const char *fmt, ...);
const char *ob__mock_strerror(int code);
int ob__mock_status(int code);
uint32_t ob__mock_role(const char *word);
uint8_t *ob__mock_copy(const void *data, size_t len); /* with a zero byte behind it */
int64_t ob__mock_number(const ob_mock *m, const char *path, int64_t otherwise);
const json_t *ob__mock_config(const ob_mock *m, const char *path);
OB_PRINTF(3, 0) void ob__mock_log(ob_mock *m, int level, const char *fmt, va_list ap);
const char *ob__mock_secret(const ob_mock *m, const char *path);

/* mock_memory.c: what outlives a generation */
void *ob__mock_memory_state(ob_mock *m, const char *key, size_t size, uint32_t version);
void ob__mock_memory_commit(ob_mock *m);
void ob__mock_memory_drop(ob_mock *m);
void ob__mock_world_unref(struct world *w);
int ob__mock_memory_counter(ob_mock *m, const char *name);
int ob__mock_kv_set(struct world *w, const char *key, const void *data, size_t len);
const void *ob__mock_kv_get(const struct world *w, const char *key, size_t *len);
int ob__mock_kv_del(struct world *w, const char *key);
const char *ob__mock_kv_next(const struct world *w, const char *after);
int ob__mock_blob_add(ob_mock_blob *b, uint32_t tag, uint32_t flags, const void *data, size_t len);
struct section *ob__mock_blob_find(const ob_mock_blob *b, uint32_t tag);

/* mock_reg.c: registering */
int ob__mock_reg_id(ob_mock *m, uint32_t id, ob_handler_fn fn, uint32_t flags);
int ob__mock_off_id(ob_mock *m, uint32_t id);
int ob__mock_off_method(ob_mock *m, const char *name);
int ob__mock_reg_method(ob_mock *m, const char *name, ob_handler_fn fn, uint32_t flags);
int ob__mock_reg_http(ob_mock *m, const char *method, const char *path, ob_handler_fn fn,
                      uint32_t flags);
int ob__mock_reg_event(ob_mock *m, int event, ob_event_fn fn);
int ob__mock_reg_filter(ob_mock *m, int priority, ob_filter_fn fn);
int ob__mock_reg_call_filter(ob_mock *m, int when, int priority, ob_call_filter_fn fn);
int ob__mock_reg_single(ob_mock *m, enum reg_kind kind, const char *what, struct reg **out);
int ob__mock_reg_codec(ob_mock *m, const ob_codec *codec);

/* Names of messages: 0 or NULL when there is none; know answers 0 or OB_E_*. */
uint32_t ob__mock_name_id(const ob_mock *m, const char *name, size_t len);
int ob__mock_name_know(ob_mock *m, const char *name, size_t len, uint32_t *id);
const char *ob__mock_name_of(const ob_mock *m, uint32_t id);
void ob__mock_reg_codecs_live(ob_mock *m);
int ob__mock_reg_policy(ob_mock *m, const char *name, ob_policy_fn fn);
int ob__mock_reg_listen(ob_mock *m, const ob_listen_options *options);
int ob__mock_reg_transport(ob_mock *m, const ob_transport *transport);
int ob__mock_reg_client_transport(ob_mock *m, const ob_client_transport *transport);
void ob__mock_reg_drop(ob_mock *m);
bool ob__mock_reg_verb_writes(const ob_mock *m, const char *verb);
const struct reg *ob__mock_reg_by_id(const ob_mock *m, bool client, uint32_t id);
const struct reg *ob__mock_reg_exact_id(const ob_mock *m, bool client, uint32_t id);
const struct reg *ob__mock_reg_by_name(const ob_mock *m, enum reg_kind kind, const char *name);
const struct reg *ob__mock_reg_one(const ob_mock *m, enum reg_kind kind);
const struct reg *ob__mock_reg_find_http(const ob_mock *m, const char *method, const char *path,
                                         const char **tail);
void ob__mock_reg_http_methods(const ob_mock *m, const char *path, char *out, size_t cap);

/* mock_in.c: requests */
struct request *ob__mock_request_of(ob_mock *m, ob_req req);
int ob__mock_request_end(struct request *r, int code, const char *text, const void *data,
                         size_t len);
int ob__mock_request_done(struct request *r);
int ob__mock_request_hold(struct request *r);
int ob__mock_request_set_header(struct request *r, const char *name, const char *value);
const json_t *ob__mock_request_json(struct request *r);
const char *ob__mock_request_header(const struct request *r, const char *name);
void ob__mock_request_closed(ob_mock *m, ob_session session); /* one-way, for session_closed_id */
void ob__mock_requests_free(ob_mock *m);
void ob__mock_self_call(ob_mock *m, ob_call_id call);
int ob__mock_call_filters(ob_mock *m, const ob_call_event *event);

/* mock_out.c: what goes out, and time */
void ob__mock_session_gone(ob_mock *m, struct session *s);
void ob__mock_session_ends(ob_mock *m, const struct session *s, int event);
int ob__mock_out_closed(ob_mock *m, ob_session session, uint16_t code, const char *reason);
int ob__mock_session_text(const ob_mock *m, const struct session *s, char *out, size_t cap);
int ob__mock_out_close(ob_mock *m, ob_session session, uint16_t code, const char *reason);
int ob__mock_out_push(ob_mock *m, ob_session session, uint32_t id, const void *data, size_t len);
int ob__mock_push_many(ob_mock *m, const ob_session *sessions, size_t count, uint32_t id,
                       const void *data, size_t len);
int ob__mock_push_all(ob_mock *m, uint32_t role, uint32_t id, const void *data, size_t len);
ob_call_id ob__mock_out_call(ob_mock *m, const ob_mock_call *call, ob_call_fn fn, void *arg);
ob_call_id ob__mock_out_call_with(ob_mock *m, const ob_target *target, const ob_call_options *o,
                                  ob_call_fn fn, void *arg);
int ob__mock_out_cancel(ob_mock *m, ob_call_id call);
int ob__mock_call_end(struct call *c, int code, const char *text, uint64_t source, const void *data,
                      size_t len);
int ob__mock_out_http(ob_mock *m, const ob_http_request *request, ob_http_fn fn, void *arg);
int ob__mock_out_verb(ob_mock *m, const char *name, json_t *args_stolen, ob_admin_fn fn, void *arg);
void ob__mock_outs_expire(ob_mock *m); /* all that is open ends with OB_E_GONE */
void ob__mock_outs_free(ob_mock *m);

/* mock_user.c: users, attributes, locks */
int ob__mock_user_bind(ob_mock *m, ob_session session, const char *user, ob_user_fn fn, void *arg);
int ob__mock_user_unbind(ob_mock *m, ob_session session, const char *user);
int ob__mock_user_find(ob_mock *m, const char *user, ob_user_fn fn, void *arg);
int ob__mock_user_push(ob_mock *m, const char *user, uint32_t id, const void *data, size_t len);
int ob__mock_push_users(ob_mock *m, const char *const *users, size_t count, uint32_t id,
                        const void *data, size_t len);
int ob__mock_user_kick(ob_mock *m, const char *user, const char *reason);
int ob__mock_group_join(ob_mock *m, ob_session session, const char *group);
int ob__mock_group_leave(ob_mock *m, ob_session session, const char *group);
void ob__mock_group_session_ends(ob_mock *m, ob_session session);
void ob__mock_groups_free(struct world *w);
int ob__mock_group_push(ob_mock *m, const char *group, uint32_t id, const void *data, size_t len);
int ob__mock_group_members(const ob_mock *m, const char *group, ob_session *sessions, size_t cap);
int ob__mock_group_count(ob_mock *m, const char *group, ob_group_count_fn fn, void *arg);
int ob__mock_reg_group(ob_mock *m, const char *prefix, ob_group_fn fn);
int ob__mock_session_set(ob_mock *m, ob_session session, const char *key, const void *value,
                         size_t len);
const void *ob__mock_session_attr(const ob_mock *m, ob_session session, const char *key,
                                  size_t *len);
int ob__mock_session_lock(ob_mock *m, ob_session session, const char *key, uint32_t ms);
int ob__mock_session_unlock(ob_mock *m, ob_session session, const char *key, uint32_t flags);
void ob__mock_session_free(struct session *s);

/* mock_brought.c: descriptors that are watched, clients that are brought */
ob_watch ob__mock_fd_watch(ob_mock *m, int fd, uint32_t events, ob_fd_fn fn, void *arg);
int ob__mock_fd_unwatch(ob_mock *m, ob_watch watch);
void ob__mock_watches_end(ob_mock *m);
int ob__mock_client_adopt(ob_mock *m, int fd, const ob_adopt_options *options);
void ob__mock_brought_free(ob_mock *m);

/* mock_gate.c: filters around messages */
int ob__mock_reg_message_filter(ob_mock *m, int when, int priority, ob_message_filter_fn fn);
ob_gate ob__mock_gate_hold(ob_mock *m);
int ob__mock_gate_pass(ob_mock *m, ob_gate gate);
int ob__mock_gate_end(ob_mock *m, ob_gate gate, int code, const char *text, const void *data,
                      size_t len);
enum asked { ASKED_ON, ASKED_TAKEN, ASKED_REFUSED };
/* The filters at `when` behind `after` (NULL: all); *code is why one refuses. */
enum asked ob__mock_gate_ask(ob_mock *m, struct request *r, int when, const struct reg *after,
                             int *code);
void ob__mock_gate_ended(ob_mock *m, const struct request *r, int when);
void ob__mock_request_go_on(ob_mock *m, struct request *r, int when, const struct reg *after);

/* mock_event.c: events by name */
int ob__mock_reg_raised(ob_mock *m, const ob_listener *listener, ob_raised_fn fn);
int ob__mock_event_raise(ob_mock *m, uint32_t role, const char *name, json_t *data, uint32_t flags);
size_t ob__mock_events_run(ob_mock *m, size_t most);
void ob__mock_events_free(ob_mock *m);

/* mock_state.c: states of sessions */
int ob__mock_state_allow(ob_mock *m, const char *state, uint32_t lo, uint32_t hi);
int ob__mock_reg_state(ob_mock *m, const char *state, ob_session_change_fn enter,
                       ob_session_change_fn leave);
int ob__mock_state_enter(ob_mock *m, ob_session session, const char *state, json_t *data);
const char *ob__mock_state_get(const ob_mock *m, ob_session session, const json_t **data);
bool ob__mock_state_allows(const ob_mock *m, ob_session session, uint32_t id);
void ob__mock_state_session(ob_mock *m, ob_session session, bool begins);
void ob__mock_states_free(ob_mock *m);
int ob__mock_reg_chained(ob_mock *m, enum reg_kind kind, struct reg **out);

/* mock_work.c: timers, jobs, posts, kept messages */
ob_timer ob__mock_work_timer(ob_mock *m, uint64_t delay, uint64_t repeat, ob_timer_fn fn,
                             void *arg);
ob_timer ob__mock_work_timer_with(ob_mock *m, const ob_timer_options *o, ob_timer_fn fn, void *arg);
int ob__mock_work_timer_stop(ob_mock *m, ob_timer timer);
int ob__mock_work_queue(ob_mock *m, const struct work *work);
ob_msg ob__mock_work_msg(ob_mock *m, const ob_view *view);
int ob__mock_work_msg_view(ob_mock *m, ob_msg msg, ob_view *view);
int ob__mock_work_msg_release(ob_mock *m, ob_msg msg);
void ob__mock_work_drain(ob_mock *m);  /* repeating timers end */
void ob__mock_work_expire(ob_mock *m); /* the others fire, calls and requests end */
void ob__mock_work_free(ob_mock *m);

#endif
