/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  Slots: the places where modules plug in.
 *
 * A slot is a message id, a method, an HTTP route, an event, a decision.  The host keeps slots,
 * never addresses of module code: a slot points at the registration that is active now, and, while
 * a new generation starts, at the one that will be.  Switching a set of modules is moving those
 * pointers in one loop turn; nothing else in the host knows that there was a swap.
 *
 * One-of-a-kind slots (an id, a method, a route, a decision, a codec) belong to one module at a
 * time; a second one is refused when it registers, that is before anything is switched.  Events and
 * both kinds of filters take any number, in the order of priority, then of registration.
 */

#ifndef OB__SLOT_H
#define OB__SLOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <obhost/obhost.h>

#include "host/generation.h"
#include "lib/list.h"
#include "lib/map.h"

enum ob__slot_kind {
	OB__SLOT_CLIENT_ID = 1, /* messages of this node's clients */
	OB__SLOT_LINK_ID,       /* messages from other nodes */
	OB__SLOT_METHOD,
	OB__SLOT_HTTP,
	OB__SLOT_CODEC,
	OB__SLOT_CLIENT_DECIDER,
	OB__SLOT_LINK_DECIDER,
	OB__SLOT_UNKNOWN,
	OB__SLOT_ERROR_BODY,
	OB__SLOT_EVENT,
	OB__SLOT_FILTER,
	OB__SLOT_LISTEN,
	OB__SLOT_POLICY,
	OB__SLOT_CALL_FILTER,
	OB__SLOT_TRANSPORT,
	OB__SLOT_GROUP,
	OB__SLOT_CLIENT_TRANSPORT,
	OB__SLOT_STATE,
	OB__SLOT_MESSAGE_FILTER,
	OB__SLOT_RAISED,
	OB__SLOT_KINDS,
};

/* Of STATE, in flags: what it is; */
enum ob__state_reg {
	OB__STATE_ALLOWS = 1,
	OB__STATE_HEARS,
};

#define OB__CALL_WHENS    4 /* enum ob_call_when has so many */
#define OB__MESSAGE_WHENS 4 /* and enum ob_message_when */

struct ob__client_listener;
struct ob__codec_states;

struct ob__reg {
	struct ob__slot *slot;
	struct ob__gen *gen;
	struct ob__list gen_link;
	uint64_t number; /* no other one of the node has, or has had, it */
	uint32_t flags;  /* of CALL_FILTER: enum ob_call_when; of FILTER, MESSAGE_FILTER: enum
	                  * ob_message_when, 0: fn.filter; of STATE: enum ob__state_reg */
	int priority;    /* filters, RAISED; the event's number for EVENT */
	union {
		ob_handler_fn handler;
		ob_decide_fn decide;
		ob_filter_fn filter;
		ob_event_fn event;
		ob_error_body_fn error_body;
		ob_policy_fn policy;
		ob_call_filter_fn call_filter;
		ob_transport transport;               /* its name is the slot's */
		ob_client_transport client_transport; /* the same */
		struct {
			ob_group_fn fn;
			char prefix[OB_GROUP_MAX + 1];
		} group;
		ob_message_filter_fn message_filter;
		struct {
			ob_session_change_fn enter;
			ob_session_change_fn leave;
			uint32_t lo;
			uint32_t hi;
			char name[OB_STATE_MAX + 1]; /* "": all */
		} state;
		struct {
			ob_raised_fn fn;
			char *words;     /* owned: prefix, key, value, each terminated */
			const char *key; /* in it, or NULL */
			const char *value;
		} raised;
		struct {
			struct ob__slot *codec;
			uint32_t idle_ms;
		} listen;
	} fn;
	ob_codec codec; /* its name is the slot's */
};

struct ob__slot {
	enum ob__slot_kind kind;
	uint64_t id; /* of a message */
	char *name;  /* method, "METHOD /path", codec, "tcp HOST:PORT", policy, transport; NULL for
	              * others */
	struct ob__reg *active;
	struct ob__reg *canary; /* takes a share of the sessions, or NULL */
	struct ob__reg *shadow; /* of a generation that is starting */
	struct ob__client_listener
		*listener;               /* of LISTEN, while it is open (host/client/listen.h) */
	uint32_t conns;                  /* of CODEC: connections that use it */
	struct ob__codec_states *states; /* of CODEC: owned (host/client/codec_state.h) */
};

/* Registrations of a kind that takes many, those of active generations, in order. */
struct ob__chain {
	struct ob__reg **regs;
	size_t len;
};

struct ob__slots {
	struct ob__map client_ids;
	struct ob__map link_ids;
	struct ob__strmap methods;
	struct ob__strmap http;
	struct ob__strmap codecs;
	struct ob__strmap listens;
	struct ob__strmap policies;
	struct ob__strmap transports;
	struct ob__strmap client_transports;
	struct ob__slot *last[2]; /* of the link's and the client's message id that were looked up
	                           * last, or NULL; a slot stays, whoever has it */
	struct ob__slot single[OB__SLOT_KINDS]; /* the decisions, by kind */
	struct ob__chain filters;
	struct ob__chain events;
	struct ob__chain groups;
	struct ob__chain states;
	struct ob__chain raised;
	struct ob__chain message_filters[OB__MESSAGE_WHENS]; /* by enum ob_message_when, from 0; the
	                                                      * first is `filters` */
	struct ob__chain call_filters[OB__CALL_WHENS];       /* by enum ob_call_when, from 0 */
	uint32_t count;
	uint32_t chains_version;  /* grows when they are rebuilt */
	uint64_t registered;      /* registrations so far */
	uint32_t methods_version; /* grows with each change of what methods there are */
};

void ob__slots_init(struct ob__slots *s, uint64_t seed);
void ob__slots_free(struct ob__slots *s);

struct ob__slot_key {
	enum ob__slot_kind kind;
	uint64_t id;
	const char *name;
};

/* Registers for a generation: at once when it is active, in the shadow when it is starting.  0;
 * OB_E_EXISTS when another module has the slot; OB_E_STATE when the generation is neither;
 * OB_E_LIMIT, OB_E_NOMEM.  *out is the registration, to be filled. */
int ob__slot_register(struct ob__slots *s, struct ob__gen *g, const struct ob__slot_key *key,
                      struct ob__reg **out);

/* Takes one registration back. */
void ob__slot_unregister(struct ob__reg *reg);

/* Takes back what the generation has registered for this id or method; false: nothing. */
bool ob__slot_off(struct ob__slots *s, const struct ob__gen *g, const struct ob__slot_key *key);

/* The switch: slots that point at this generation point at nothing; and the generation's
 * registrations are what their slots point at from now.  The number of registrations. */
uint32_t ob__slots_deactivate(struct ob__slots *s, struct ob__gen *g);
uint32_t ob__slots_activate(struct ob__slots *s, struct ob__gen *g);

/* A switch for some sessions: its registrations for messages and decisions take the generation's
 * share, the others wait in the shadow. */
uint32_t ob__slots_canary(struct ob__slots *s, struct ob__gen *g);

/* Rebuilds the chains of filters and events; once per switch. 0, or OB_E_NOMEM with empty chains.
 */
int ob__slots_rebuild(struct ob__slots *s, struct ob__list *modules);

/* Frees the registrations of a generation that no slot points at, dropping shadows. */
void ob__slots_drop(struct ob__slots *s, struct ob__gen *g);

static inline struct ob__reg *ob__slot_active(const struct ob__slot *slot)
{
	return slot != NULL ? slot->active : NULL;
}

/* Of two generations, the one that a session's messages go to. */
struct ob__reg *ob__slot_share(const struct ob__slot *slot, uint64_t node, uint64_t seq);

/* The registration for a session's message: by node and number of the session, 0 for none. */
static inline struct ob__reg *ob__slot_pick(const struct ob__slot *slot, uint64_t node,
                                            uint64_t seq)
{
	if (slot == NULL || slot->canary == NULL) {
		return slot != NULL ? slot->active : NULL;
	}
	return ob__slot_share(slot, node, seq);
}

/* The half of the function below that has something to look for. */
struct ob__reg *ob__slots_find(struct ob__slots *s, bool client, uint32_t id, uint64_t node,
                               uint64_t seq);

/* The registration for a message id, or of id 0, or NULL. */
static inline struct ob__reg *ob__slots_by_id(struct ob__slots *s, bool client, uint32_t id,
                                              uint64_t node, uint64_t seq)
{
	const struct ob__slot *last = s->last[client];

	if (last != NULL && last->id == id && last->active != NULL && last->canary == NULL) {
		return last->active;
	}
	return (client ? s->client_ids.count : s->link_ids.count) != 0
	               ? ob__slots_find(s, client, id, node, seq)
	               : NULL;
}
struct ob__reg *ob__slots_method(const struct ob__slots *s, const char *name, size_t len,
                                 uint64_t node, uint64_t seq);

/* The registration for an HTTP request: the exact path, else the longest "prefix*"; the method
 * itself, then "*".  *tail is what the star stood for.  NULL if there is none. */
struct ob__reg *ob__slots_http(const struct ob__slots *s, const char *method, const char *path,
                               const char **tail);

/* The methods that a path has handlers for, "GET, POST", cut to `cap`; "" if none. */
void ob__slots_http_methods(const struct ob__slots *s, const char *path, char *out, size_t cap);
struct ob__slot *ob__slots_codec(const struct ob__slots *s, const char *name);

/* The slot of that key, made if need be.  0, OB_E_LIMIT or OB_E_NOMEM. */
int ob__slots_get(struct ob__slots *s, const struct ob__slot_key *key, struct ob__slot **out);

#endif
