/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  Listeners for clients.
 *
 * Each listener has a transport and a codec; what it accepts becomes a connection
 * (host/client/conn.h).  A WebSocket listener is an HTTP server whose only good answer is 101.
 * Those of the configuration live as long as the node; those of modules (host/client/listen.h)
 * until nothing has to do with them.
 */

#ifndef OB__CLIENT_H
#define OB__CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include <obhost/obhost.h>

#include "base/log.h"
#include "host/client/codec_hook.h"
#include "host/client/too_slow.h"
#include "host/conf/nodeconf.h"
#include "host/push/broadcast.h"
#include "host/slot.h"
#include "lib/map.h"
#include "lib/slab.h"
#include "net/http.h"
#include "net/listener.h"

struct ob__node;
struct ob__wsdeflate;

struct ob__client_listener {
	struct ob__node *node;
	const struct ob__listen_conf *conf;
	struct ob__listener *listener; /* NULL: closed */
	struct ob__http_server *http;  /* for WebSockets: reads the handshake */
	struct ob__tls_ctx *tls;       /* of wss and tls, or NULL */
	struct ob__wsdeflate *deflate; /* where messages may be compressed, or NULL */
	struct ob__list entries;       /* newcomers on their way (host/client/entry.h) */
	uint32_t entries_len;
	uint32_t guests;          /* clients, newcomers included, if it counts them */
	struct ob__map addresses; /* of guests, by household -> how many */
	struct ob__log_limit refused_log;
	struct ob__slot *codec; /* of the connections to come */

	/* one whose clients a module brings (host/client/door.h) */
	struct ob__slot *transport; /* or NULL */
	bool door_open;
	char address[OB_TRANSPORT_ADDRESS_MAX + 1]; /* as it is shown */

	bool accepting;
	uint32_t conns; /* connections that came through it */

	/* one that a module opened */
	struct ob__list link;  /* in clients->opened */
	struct ob__slot *slot; /* its place; NULL: nobody claims it any more */
	char *module;          /* whose it is; NULL: the configuration's */
	struct ob__listen_conf own;
	struct ob__timeout linger; /* handshakes under way when it was closed */
};

#define OB__CLOSED_KNOWN 32u /* reasons whose counters are not looked for again */

struct ob__clients {
	struct ob__slab conns;
	struct ob__client_listener *listeners; /* the configuration's */
	size_t listeners_len;
	struct ob__list opened_listeners; /* modules' */
	struct ob__list link_paused;
	struct ob__broadcasts broadcasts;
	struct ob__too_slow too_slow;
	struct ob__codec_words words;
	uint64_t *opened;
	struct {
		const char *reason; /* a word that stays, by its address */
		uint64_t *count;
	} closed[OB__CLOSED_KNOWN];
	size_t closed_len;
	uint64_t *dropped_pushes[OB__SLOW_CONFLATE + 1]; /* by enum ob__slow */
};

/* Before modules are started. */
void ob__clients_init(struct ob__node *node);

/* Binds every listener of the configuration; nothing is accepted yet. 0, or negative with a line
 * logged. Codecs must be loaded. */
int ob__clients_open(struct ob__node *node);
int ob__clients_start(struct ob__node *node);

/* Binds the socket of a listener that has its conf. 0, or a negative code with a sentence in err.
 */
int ob__client_listener_bind(struct ob__client_listener *cl, char *err, size_t cap);

/* Accepts from now on, unless it does or the node takes no new clients. 0 or negative. */
int ob__client_listener_start(struct ob__client_listener *cl);

/* What it is bound to, "127.0.0.1:7000"; NULL: it is closed. */
const char *ob__client_listener_name(const struct ob__client_listener *cl);

/* A zeroed one that has its node and conf. */
void ob__client_listener_init(struct ob__client_listener *cl);

/* A connection that came through it is gone. */
void ob__client_listener_left(struct ob__client_listener *cl);

/* Nobody has to do with one of a module's, perhaps: then its memory goes. */
void ob__client_listener_unneeded(struct ob__client_listener *cl);

/* Reads the certificates of all listeners again, for newcomers: first all are read, with a line in
 * `errors` for each that can't be used (0, or OB_E_INVAL), then they are taken, or dropped. */
int ob__clients_tls_read(struct ob__node *node, json_t *errors);
void ob__clients_tls_take(struct ob__node *node, bool take);

/* Closes the listening sockets: newcomers are refused, and the ports are free. */
void ob__clients_unlisten(struct ob__node *node);

/* Opens them again. 0; or negative with a sentence in err, and none is open. */
int ob__clients_relisten(struct ob__node *node, char *err, size_t cap);

/* Closes every connection with a close code, flushing what is queued. */
void ob__clients_close(struct ob__node *node, uint16_t code, const char *reason);

/* Closes the listeners; their memory goes with ob__clients_free(). */
void ob__clients_stop(struct ob__node *node);

/* Connections must be gone, and the loop. */
void ob__clients_free(struct ob__node *node);

/* A listener that stays uses this codec, or a connection does. */
bool ob__clients_use_codec(const struct ob__node *node, const struct ob__slot *slot);

/* A codec or a transport of this module is in use, and not by a listener that goes with the module.
 */
bool ob__clients_need(const struct ob__node *node, const struct ob__module *m);

#endif
