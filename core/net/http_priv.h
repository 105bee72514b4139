/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to net/http.  What its two halves share: http.c has connections and requests coming in,
 * http_reply.c answers going out.
 */

#ifndef OB__HTTP_PRIV_H
#define OB__HTTP_PRIV_H

#include <time.h>

#include <openssl/evp.h>

#include "lib/buf.h"
#include "lib/list.h"
#include "lib/slab.h"
#include "net/http.h"
#include "net/http_parse.h"

#define OB__HTTP_REFUSE_MS 2000u /* for the last words to a client that is refused */

/* In the slab; its handle is what the outside keeps. */
struct ob__http_waiting {
	struct ob__http_conn *conn;
};

struct ob__http_server {
	struct ob__streams *m;
	struct ob__http_options options;
	struct ob__http_counts counts;
	struct ob__list conns;
	struct ob__slab waiting; /* requests that wait for their answers */
	uint32_t open;           /* connections, those on their way out included */
	bool freed;              /* the last connection takes it along */
	EVP_MD *sha1;            /* for handshakes; NULL: it is looked for each time */
	time_t date_second;
	char date[32];
};

struct ob__http_conn {
	struct ob__stream stream;
	struct ob__http_server *srv;
	struct ob__list link;
	struct ob__timeout timeout;
	struct ob__http_parse parse;
	struct ob__http_waiting *waiting; /* the request that waits, or NULL */
	struct ob__buf headers;           /* of the coming answer */
	const uint8_t *in;                /* not parsed yet; only during on_read */
	size_t in_len;
	void *guest;          /* of ob__http_take(), or NULL */
	size_t queued_before; /* at the last look of the idle timeout */
	bool calling;         /* on_request or on_upgrade is on the stack */
	bool handshake;       /* the request is a good one; `accept` answers it */
	bool loopback;
	bool hurried; /* the time for its first request runs already */
	char accept[OB__HTTP_ACCEPT_LEN + 1];
	char peer[64]; /* "": not looked at yet */
};

/* The request that waits under that handle, or NULL when it has ended or its client is gone. */
struct ob__http_waiting *ob__http_find(const struct ob__http_server *srv, uint64_t handle);

/* Answers the request at hand and ends it, or the connection. */
void ob__http_answer(struct ob__http_conn *c, int status, const char *type, const void *body,
                     size_t len);

/* Answers what is no request, with a sentence, and closes. */
void ob__http_refuse(struct ob__http_conn *c, int status, const char *reason);

/* The request has been answered: on to the next one, or the end. */
void ob__http_answered(struct ob__http_conn *c, bool keep_alive);

#endif
