/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  HTTP for applications and for administration.
 *
 * Handlers of modules are slots named "METHOD /path".  Administrative paths are those of the verb
 * table (host/admin/admin.h); only modules with "admin": true may register them, and when the
 * configuration has `admin`, they answer on that listener only.
 */

#ifndef OB__WEB_H
#define OB__WEB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/http.h"
#include "net/listener.h"

struct ob__node;

struct ob__web_server {
	struct ob__node *node;
	struct ob__http_server *http;
	struct ob__listener *listener;
	bool admin;       /* answers administrative paths */
	bool application; /* answers the others */
};

struct ob__web {
	struct ob__web_server servers[2];
	size_t len;
};

/* Binds; accepts nothing yet. 0, or negative with a line logged. */
int ob__web_open(struct ob__node *node);
int ob__web_start(struct ob__node *node);

/* Closes the listening sockets. */
void ob__web_unlisten(struct ob__node *node);
void ob__web_free(struct ob__node *node);

#endif
