/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  Taking up a changed configuration while the node runs.
 *
 * The file is read and checked whole first; any error leaves everything as it is.  Then what can
 * change without a restart is taken over in one turn: the route table, policies, remote_ports,
 * timeouts, limits, the log level, and each module's conf (by its reconf hook: all check, then all
 * apply). Keys that changed and need a restart are named.  Code is never loaded here.
 */

#ifndef OB__CONFRELOAD_H
#define OB__CONFRELOAD_H

#include <jansson.h>

struct ob__node;

/* 0 or negative; *report (new reference) says what was applied, what needs a restart, or the
 * errors. */
int ob__conf_reload(struct ob__node *node, json_t **report);

/* Dials what remote_ports lists and stops dialling what it no longer lists. */
int ob__conf_apply_remotes(struct ob__node *node);

/* Builds the router's table from the configuration; overlaps are warned of. 0 or negative. */
int ob__conf_apply_routes(struct ob__node *node);

/* Lets policies choose for the roles that rpc.policy names. 0 or negative. */
int ob__conf_apply_policies(struct ob__node *node);

#endif
