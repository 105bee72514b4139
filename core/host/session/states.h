/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  The states of sessions: which message ids a client may send now.
 *
 * States are declared by the configuration (`states`) and by modules (ob_session_allow()); what is
 * allowed in one is what any of them allows.  The table is made anew after each switch of modules
 * and each reload of the configuration; names stay, with their numbers, as long as the node runs,
 * so a session's number never means another state.  A session that has never changed its state has
 * no number: it is in the first one.
 *
 * Only a session's proxy knows its state.  Other nodes say to it what the state shall be, with a
 * frame.  The state of one session changes in one go: who leaves hears, it changes, who enters
 * hears; a change that one of them asks for waits until all have heard of this one.
 *
 * A client that comes back through another proxy is in its state there from the beginning: that it
 * is entered is heard when the session is announced.
 */

#ifndef OB__STATES_H
#define OB__STATES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>
#include <obhost/obhost.h>

#include "base/log.h"
#include "lib/frame.h"
#include "lib/idrange.h"
#include "lib/list.h"

#define OB__STATES_MAX        256u /* names, while the node runs */
#define OB__STATE_CHANGES_MAX 64u  /* that come of one */

struct ob__node;
struct ob__nodeconf;
struct ob__session;

struct ob__state_def {
	char name[OB_STATE_MAX + 1];
	bool declared;
	bool closes; /* whoever sends what is not allowed */
	struct ob__idrange ids;
	uint64_t *refused;
};

struct ob__states {
	bool on; /* some are declared: messages are looked at */
	uint16_t first;
	struct ob__state_def **defs; /* by number - 1 */
	uint16_t len;
	bool changing;        /* hooks are being called */
	uint32_t changes;     /* since there was none */
	struct ob__list todo; /* changes that wait */
	uint64_t *entered;
	uint64_t *lost;
	struct ob__log_limit refused_log;
	struct ob__log_limit lost_log;
};

void ob__states_init(struct ob__node *node);
void ob__states_free(struct ob__node *node);

/* 1..32 letters, digits, '_', '-' or '.'. */
bool ob__state_name_ok(const char *name);

/* Modules or the configuration have changed. */
void ob__states_rebuild(struct ob__node *node);

/* The state of a session of this node; only while they are on. */
struct ob__state_def *ob__states_of(const struct ob__node *node, const struct ob__session *s);

/* Its client sends a message with this id: NULL if it may, else the state in which it may not;
 * counted and logged. */
const struct ob__state_def *ob__states_refuse(struct ob__node *node, const struct ob__session *s,
                                              uint32_t id);

/* A session of this node's clients begins; and ends. */
void ob__states_session_begins(struct ob__node *node, const struct ob__session *s);
void ob__states_session_ends(struct ob__node *node, const struct ob__session *s);

/* From another node, to a session's proxy. */
void ob__states_frame(struct ob__node *node, const struct ob__frame *f);

/* ---- of a session that goes to another proxy ---- */

/* Its state, "" when it has never changed, and in *data what it has in it, borrowed, or NULL. */
const char *ob__states_leaves(const struct ob__node *node, const struct ob__session *s,
                              const json_t **data);

/* A session that has not been announced is in that state; `len` bytes of JSON, or none.  What can't
 * be is counted and logged, and the session is in the first one. */
void ob__states_comes(struct ob__node *node, struct ob__session *s, const char *state,
                      const uint8_t *data, size_t len);

/* ---- behind the SDK ---- */

int ob__states_enter(struct ob__node *node, uint64_t session, const char *state, json_t *data);

/* "" where there are none, NULL for a session that has none here. */
const char *ob__states_get(const struct ob__node *node, uint64_t session, const json_t **data);

#endif
