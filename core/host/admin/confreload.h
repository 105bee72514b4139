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
 *
 * What is taken over is kept (host/admin/confhistory.h), and a kept one is returned to in the same
 * way; the operator's file is not touched by that, and is read again by the next reload.
 */

#ifndef OB__CONFRELOAD_H
#define OB__CONFRELOAD_H

#include <stdint.h>

#include <jansson.h>

struct ob__node;

/* An HTTP status and what was applied, what needs a restart and the number under which it is kept;
 * or the errors.  The report is borrowed.  Called once, perhaps before the call that asked returns.
 */
typedef void (*ob__conf_reload_cb)(void *arg, int status, const json_t *report);

/* Takes over the node's file.  Modules whose conf changed and that can't take a new one are
 * exchanged for a new generation of the same code; everything changes in the turn of that switch.
 */
void ob__conf_reload(struct ob__node *node, ob__conf_reload_cb cb, void *arg);

/* For a signal: nobody waits for the answer.  One that comes while another configuration is being
 * taken over has the file read again after that. */
void ob__conf_reload_soon(struct ob__node *node);

/* As ob__conf_reload(), with a kept one in the file's place; version 0: the last that differs from
 * the newest. 404 when there is none. */
void ob__conf_rollback(struct ob__node *node, uint64_t version, ob__conf_reload_cb cb, void *arg);

/* Keeps the text of the configuration that the node has now.  Its number, or 0 when that failed,
 * which is logged and no reason to stop. */
uint64_t ob__conf_keep(struct ob__node *node);

/* Dials what remote_ports lists and stops dialling what it no longer lists. */
int ob__conf_apply_remotes(struct ob__node *node);

/* Builds the router's table from the configuration; overlaps are warned of. 0 or negative. */
int ob__conf_apply_routes(struct ob__node *node);

/* Lets policies choose for the roles that rpc.policy names. 0 or negative. */
int ob__conf_apply_policies(struct ob__node *node);

#endif
