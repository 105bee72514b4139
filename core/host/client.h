/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  Listeners for clients.
 *
 * Each listener has a transport and a codec; what it accepts becomes a connection (host/conn.h).  A
 * WebSocket listener is an HTTP server whose only good answer is 101.
 */

#ifndef OB__CLIENT_H
#define OB__CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <obhost/obhost.h>

#include "host/nodeconf.h"
#include "host/slot.h"
#include "lib/slab.h"
#include "net/http.h"
#include "net/listener.h"

struct ob__node;

struct ob__client_listener {
	struct ob__node *node;
	const struct ob__listen_conf *conf;
	struct ob__listener *listener;
	struct ob__http_server *http; /* for transport ws: reads the handshake */
	struct ob__slot *codec;
};

struct ob__clients {
	struct ob__slab conns;
	struct ob__client_listener *listeners;
	size_t listeners_len;
	struct ob__list link_paused;
	uint64_t *opened;
	uint64_t *dropped_pushes;
};

/* Binds every listener of the configuration; nothing is accepted yet. 0, or negative with a line
 * logged. Codecs must be loaded. */
int ob__clients_open(struct ob__node *node);
int ob__clients_start(struct ob__node *node);

/* Closes the listening sockets: newcomers are refused, and the ports are free. */
void ob__clients_unlisten(struct ob__node *node);

/* Closes every connection with a close code, flushing what is queued. */
void ob__clients_close(struct ob__node *node, uint16_t code, const char *reason);

/* Closes the listeners and frees; connections must be gone. */
void ob__clients_free(struct ob__node *node);

/* A listener uses this codec. */
bool ob__clients_use_codec(const struct ob__node *node, const struct ob__slot *slot);

/* A listener uses the codec of this module. */
bool ob__clients_need(const struct ob__node *node, const struct ob__module *m);

#endif
