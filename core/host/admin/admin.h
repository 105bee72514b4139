/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  Administration: one table of verbs.
 *
 * A verb has a name, JSON in, a status (in the numbers of HTTP) and JSON or text out, and may
 * answer later.  Everything that administers speaks it: the module http_admin maps methods and
 * paths to it, and a unix socket of the core, STATE_DIR/NAME/admin.sock (mode 0600), takes lines of
 *
 *     {"verb": "modules.reload", "args": {"name": "login"}}
 *
 * and answers each with {"status": 200, "body": ...}, so that a node whose http_admin is broken can
 * still be told to replace it.
 */

#ifndef OB__ADMIN_H
#define OB__ADMIN_H

#include <stdbool.h>
#include <stddef.h>

#include <jansson.h>
#include <obhost/obhost.h>

struct ob__node;
struct ob__admin_socket;

typedef void (*ob__admin_cb)(void *arg, const ob_admin_reply *reply);

/* Runs a verb; cb is called once, perhaps before this returns. */
void ob__admin_run(struct ob__node *node, const char *verb, json_t *args_stolen, ob__admin_cb cb,
                   void *arg);

/* The verb changes something (or does not exist). */
bool ob__admin_writes(const char *verb);

/* The path, or "METHOD path" pattern's path, belongs to administration. */
bool ob__admin_path(const char *path);

/* The core's unix socket. 0, or negative with a line logged. */
int ob__admin_open(struct ob__node *node, const char *path);
void ob__admin_close(struct ob__node *node);

#endif
