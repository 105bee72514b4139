/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  The node: all parts of the house in one struct, their start and
 * their end.
 *
 * Start goes from the ground up: directories and identity, loop and mesh, modules (one transaction,
 * as any later one), then the listeners are bound, privileges dropped, and only then anything is
 * accepted or dialled.  Whatever fails on the way ends the start with a line that says what to do.
 */

#ifndef OB__NODE_H
#define OB__NODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "base/log.h"
#include "base/loop.h"
#include "base/notify.h"
#include "base/stat.h"
#include "host/call/callfilter.h"
#include "host/call/calls.h"
#include "host/call/cancel.h"
#include "host/call/keys.h"
#include "host/call/methods.h"
#include "host/client/client.h"
#include "host/cluster/cluster.h"
#include "host/cluster/drain.h"
#include "host/cluster/permit.h"
#include "host/cluster/transport.h"
#include "host/conf/nodeconf.h"
#include "host/event.h"
#include "host/generation.h"
#include "host/message/dispatch.h"
#include "host/message/gate.h"
#include "host/message/ignored.h"
#include "host/message/msgname.h"
#include "host/push/groups.h"
#include "host/session/lost.h"
#include "host/session/resume.h"
#include "host/session/states.h"
#include "host/slot.h"
#include "host/swap/loader.h"
#include "host/web.h"
#include "host/work.h"
#include "mesh/firsts.h"
#include "mesh/link.h"
#include "mesh/pending.h"
#include "mesh/registry.h"
#include "mesh/router.h"
#include "mesh/session.h"
#include "net/httpc.h"
#include "net/stream.h"

struct ob__swap;
struct ob__admin_socket;
struct ob__users;

enum ob__node_phase {
	OB__NODE_STARTING = 1,
	OB__NODE_RUNNING,
	OB__NODE_DRAINING, /* takes nothing new (host/cluster/drain.h) */
	OB__NODE_LEAVING,  /* drains, then stops */
	OB__NODE_STOPPING,
};

struct ob__node {
	struct ob__nodeconf *conf;
	json_t *masked_conf;
	const char *const *extra_modules; /* of the command line; borrowed */
	size_t extra_modules_len;

	struct ob__identity self; /* points at the two strings below */
	char name[OB__HELLO_NAME];
	char role[OB__HELLO_NAME];
	char dir[512];      /* STATE_DIR/NAME */
	char pid_path[512]; /* empty: none */
	int lock_fd;

	struct ob__notify notify; /* the service manager */
	struct ob__loop *loop;
	struct ob__streams streams;
	struct ob__stats *stats;

	struct ob__registry registry;
	struct ob__links *links;
	struct ob__listener *link_listener;
	struct ob__transports transports;
	struct ob__permits permits;
	struct ob__ignored ignored;
	struct ob__router router;
	struct ob__firsts firsts;
	const struct ob__route_query *placing; /* what a policy is being asked about, and */
	const ob_choice *choice;               /* how; NULL: none is asked */
	struct ob__cluster cluster;
	struct ob__pendings pendings;
	struct ob__sessions sessions;
	struct ob__users *users;
	struct ob__hostgroups groups;
	struct ob__states states;
	struct ob__events events;
	struct ob__resumes resumes;
	struct ob__losses losses;
	struct ob__map names; /* node id -> owned name (host/cluster/names.h) */
	struct ob__timeout notice_timeout;
	uint32_t notices_at; /* slot in the table of notices that is sent next */
	bool notices_again;  /* and when that is at its end, all once more */
	struct ob__log_limit notice_limit;
	uint64_t *notices_lost;
	struct ob__timeout served_timeout;
	uint32_t served_at; /* slot in the table of sessions that is looked at next */
	bool served_open;   /* one before it has not been acknowledged */
	uint64_t *served_lost;
	struct ob__log_limit served_limit;

	struct ob__slots slots;
	struct ob__msgnames msgnames;
	struct ob__list modules;
	struct ob__loader *loader;
	bool rehearses; /* there is a program for it */
	struct ob__swap *swap;
	struct ob__works works;

	struct ob__dispatch dispatch;
	struct ob__calls calls;
	struct ob__cancels cancels;
	struct ob__keys keys;
	struct ob__callfilter callfilter;
	struct ob__gates gates;
	struct ob__methods methods;
	struct ob__clients clients;
	struct ob__web web;
	struct ob__httpc *httpc;
	struct ob__admin_socket *admin_socket;
	uint64_t http_timeout_ms; /* of HTTP requests that a handler holds */

	struct ob__drain drain;
	bool conf_wrong; /* it does not start because of what it is configured with */
	enum ob__node_phase phase;
	bool conf_reloading; /* a configuration is being taken over */
	bool conf_again;     /* HUP came meanwhile: the file is read once more */
	uint64_t started_ms;
	struct ob__timeout leave_timeout;
	uint64_t leave_until;
	bool told; /* STOPPING: whoever waited for an answer has one */
	int exit_code;
	char peer_text[80]; /* for ob_session_get() */
};

/* Takes ownership of conf.  NULL after the reason was logged; *exit_code is set then. */
struct ob__node *ob__node_start(struct ob__nodeconf *conf, const char *const *extra_modules,
                                size_t extra_modules_len, int *exit_code);

/* Runs until the node is stopped; the process's exit code. */
int ob__node_run(struct ob__node *node);

/* 0, or -EBUSY: a job on the thread pool or the loader did not end in time, and what it may use is
 * leaked; then the process should _exit(), as ob__node_start() does in that case. */
int ob__node_free(struct ob__node *node);

/* Takes nothing new, then stops when nothing is in flight and the sessions that stick here have
 * moved, or reload.drain has passed. */
void ob__node_quit(struct ob__node *node);

/* Closes everything and ends the loop soon. */
void ob__node_stop(struct ob__node *node);

/* Tells the service manager, if there is one, what the node is about: with RELOADING, READY,
 * STOPPING its state as well. `more` is put behind it, or NULL. */
void ob__node_tell(struct ob__node *node, enum ob__notify_state state, const char *more);

/* Remembers the incarnation for the next start. */
void ob__node_keep_incarnation(const char *dir, uint64_t incarnation);

/* Why the node is not ready for traffic, or NULL. */
const char *ob__node_not_ready(const struct ob__node *node);

bool ob__module_name_ok(const char *name);

/* Where modules are looked for: a NULL-ended list, to be freed with the strings in it. */
char **ob__node_module_dirs(const struct ob__nodeconf *conf);
void ob__node_module_dirs_free(char **dirs);

/* STATE_DIR/NAME for a configuration, made if need be. 0 or negative with a sentence in err. */
int ob__node_dir(const struct ob__nodeconf *conf, char *out, size_t cap, char *err, size_t err_cap);

/* Removes staged modules that a former life left behind; the node's lock must be held. */
void ob__node_clear_stage(const char *dir);

/* The file that a running node holds locked, with its pid in it. */
void ob__node_lock_path(const char *dir, char *out, size_t cap);

/* The text form of a session, NAME-<16 hex>. 0, OB_E_INVAL when cap is too small. */
int ob__node_session_text(const struct ob__node *node, const struct ob__session *s, char *out,
                          size_t cap);

/* The session with that text form, or NULL. */
struct ob__session *ob__node_session(const struct ob__node *node, const char *text);

/* 1 equal, 0 not, OB_E_NOT_FOUND when none is set. */
int ob__node_secret_check(const struct ob__node *node, const char *path, const char *given);

/* 1 equal, 0 not, or no secret; in constant time. */
int ob__node_secret_equal(const char *secret, const char *given);

/* Pages of the administration; new references. */
json_t *ob__node_json(const struct ob__node *node);
json_t *ob__node_peers_json(struct ob__node *node);
json_t *ob__node_sessions_json(const struct ob__node *node, size_t limit, uint64_t after);
json_t *ob__node_routes_json(const struct ob__node *node);

/* Registers the gauges of the metrics page. */
void ob__node_gauges(struct ob__node *node);

#endif
