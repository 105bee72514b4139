/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F2.  HTTP requests that the node makes.
 *
 * libcurl's multi interface driven by the loop: connections are kept and reused, names are looked
 * up without blocking, and each request ends once, by its deadline.  This is the one file that
 * knows libcurl.  Only http and https; redirects are not followed, and the proxies that environment
 * variables name are not used.
 */

#ifndef OB__HTTPC_H
#define OB__HTTPC_H

#include <stddef.h>
#include <stdint.h>

#include "base/loop.h"

struct ob__httpc;

struct ob__httpc_request {
	const char *method; /* NULL: GET */
	const char *url;
	const char *const *headers; /* "Name: value", NULL at the end; may be NULL */
	const void *body;           /* copied */
	size_t body_len;
	uint32_t timeout_ms; /* 0: 5000 */
	size_t max_body;     /* of the answer; 0: 1 MiB */
};

/* Strings and data are valid until the callback returns.  NOT_SENT: there was no connection;
 * MAYBE_SENT: it broke when the request was out. */
struct ob__httpc_response {
	int code;                 /* 0, OB_E_DEADLINE, _TOO_BIG, _NOMEM, _NOT_SENT, _MAYBE_SENT */
	int status;               /* HTTP status when code is 0 */
	const char *text;         /* why, for a failure; else "" */
	const char *content_type; /* "" if none */
	const uint8_t *data;
	size_t len;
};

typedef void (*ob__httpc_cb)(const struct ob__httpc_response *res, void *arg);

struct ob__httpc *ob__httpc_new(struct ob__loop *loop, uint32_t max_requests);

/* Ends what is under way without calling back. Memory goes in a later turn. NULL is accepted. */
void ob__httpc_free(struct ob__httpc *c);

/* Starts a request. 0, OB_E_INVAL (url, method or header; Connection, Content-Length and
 * Transfer-Encoding are libcurl's), OB_E_LIMIT, OB_E_NOMEM; then cb is not called.  cb is never
 * called from within this function. *id names it for cancel (may be NULL). */
int ob__httpc_start(struct ob__httpc *c, const struct ob__httpc_request *req, ob__httpc_cb cb,
                    void *arg, uint64_t *id);

/* Forgets a request: cb will not be called. Harmless for one that ended. */
void ob__httpc_cancel(struct ob__httpc *c, uint64_t id);

#endif
