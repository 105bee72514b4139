/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  Taking up a changed configuration while the node runs.
 *
 * The file is read and checked whole first; any error leaves everything as it is.  Then what can
 * change without a restart is taken over in one turn: the route table, remote_ports, timeouts,
 * limits, the log level, and each module's conf (by its reconf hook: all check, then all apply).
 * Keys that changed and need a restart are named.  Code is never loaded here.
 *
 * What is taken over is kept (host/confhistory.h), and a kept one is returned to in the same way;
 * the operator's file is not touched by that, and is read again by the next reload.
 */

#ifndef OB__CONFRELOAD_H
#define OB__CONFRELOAD_H

#include <stdint.h>

#include <jansson.h>

struct ob__node;

/* Takes over the node's file, or with `kept` not NULL the text of that file in its place.  0 or
 * negative; *report (new reference) says what was applied, what needs a restart and the number
 * under which it is kept, or the errors. */
int ob__conf_reload(struct ob__node *node, const char *kept, json_t **report);

/* Takes over a kept one; *version 0: the last that differs from the newest, set then.  As above, or
 * OB_E_NOT_FOUND with *report NULL. */
int ob__conf_rollback(struct ob__node *node, uint64_t *version, json_t **report);

/* Keeps the text of the configuration that the node has now.  Its number, or 0 when that failed,
 * which is logged and no reason to stop. */
uint64_t ob__conf_keep(struct ob__node *node);

/* Dials what remote_ports lists and stops dialling what it no longer lists. */
int ob__conf_apply_remotes(struct ob__node *node);

/* Builds the router's table from the configuration; overlaps are warned of. 0 or negative. */
int ob__conf_apply_routes(struct ob__node *node);

#endif
