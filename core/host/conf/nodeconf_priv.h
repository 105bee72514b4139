/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to host/conf.  What the files that read a node's configuration share.
 *
 * nodeconf.c reads what is about the node and its process, sessions.c what is about sessions and
 * their messages, listen.c where clients connect, mesh.c what is about other nodes, modules.c which
 * modules there are.  Each gets a tree that the table in keys.c has passed.
 */

#ifndef OB__NODECONF_PRIV_H
#define OB__NODECONF_PRIV_H

#include "host/conf/nodeconf.h"

/* Of the seed's demo: everybody has it. */
#define OB__SEED_TOKEN "helloworldiloveyou~1234567890123"

struct ob__reading {
	struct ob__nodeconf *c;
	ob__conf_report report;
	void *arg;
	int errors;
};

/* What is at the path is not as it must be: says so, and the file is refused. */
void ob__nodeconf_wrong(struct ob__reading *r, const char *path, const char *text);

/* Whether it is what a node, a role, a module or a codec may be called. */
bool ob__nodeconf_word_ok(const char *s);

/* `sessions`, `names`, `states`, `filters`; after limits. */
void ob__nodeconf_read_sessions(struct ob__reading *r);

/* `listen` and `websocket`; after the node's host. */
void ob__nodeconf_read_listens(struct ob__reading *r);

/* `rpc`, `remote_ports` and what else is about other nodes. */
void ob__nodeconf_read_mesh(struct ob__reading *r);

/* `modules`, with what follows from listeners and ports, and those of the command line; last. */
void ob__nodeconf_read_modules(struct ob__reading *r, const char *const *extra, size_t extra_len);

#endif
