/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  A request in the hands of a handler: what stands behind an
 * ob_req.
 *
 * It lives in a slab, is made just before the handler is called, and is ended exactly once: by the
 * handler, by its return without an end, by its deadline, or by the end of the generation that
 * holds it.  Most live only as long as the callback; one that is held keeps a reference to its
 * generation, and its borrowed bytes are gone.
 */

#ifndef OB__REQUEST_H
#define OB__REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <obhost/obhost.h>

#include "base/loop.h"
#include "host/call/trace.h"
#include "host/generation.h"
#include "lib/list.h"
#include "lib/slab.h"
#include "net/http.h"

struct ob__node;
struct ob__reg;

enum ob__origin {
	OB__ORIGIN_CLIENT = 1,
	OB__ORIGIN_LINK,
	OB__ORIGIN_HTTP,
	OB__ORIGIN_SELF, /* a call of this node's own code */
	OB__ORIGIN_HOST, /* nobody waits: the host's own one-way messages */
};

struct ob__req {
	uint64_t handle;
	struct ob__gen *gen;
	struct ob__list gen_link;   /* in gen->reqs while held */
	struct ob__timeout timeout; /* while held */
	enum ob__origin origin;
	bool running; /* the handler's callback has not returned */
	bool held;
	bool ended;
	bool cancelled; /* nobody waits for its end any more */
	bool bad_json;
	bool json_reply;       /* the answer is JSON (an HTTP answer's type) */
	int http_status;       /* of the answer, or 0: 200 */
	const char *http_type; /* borrowed while the end is under way, or NULL */
	ob_view view;          /* data is NULL once the callback has returned */
	char *method;          /* owned copy of a held request's method name */
	json_t *json;
	uint64_t deadline;      /* loop ms */
	uint64_t key;           /* of ob__keys_end(), or 0 */
	struct ob__trace trace; /* as it came; id[0] 0: it begins with this request */
	union {
		struct {
			uint64_t conn;
			uint64_t cookie;
		} client;
		struct {
			uint64_t src;
			uint64_t call;
		} link;
		struct {
			struct ob__http_server *server;
			uint64_t handle;
			const struct ob__http_request *request; /* NULL once returned */
			const char *tail;
		} http;
		uint64_t self; /* pending call */
	} from;
};

/* A new request for the handler of `reg`; view and from are filled in by the caller.  NULL when
 * there are too many. */
struct ob__req *ob__req_new(struct ob__node *node, struct ob__reg *reg, enum ob__origin origin,
                            uint64_t budget_ms);

/* The same for a client's message, with its view. */
struct ob__req *ob__req_of_client(struct ob__node *node, struct ob__reg *reg, const ob_view *view);

/* Calls the handler.  The request may be gone when this returns. */
void ob__req_run(struct ob__node *node, struct ob__reg *reg, struct ob__req *r);

/* Goes on with a request that a filter held: with the filters from number `from` on, then the
 * handler.  The same. */
void ob__req_go_on(struct ob__node *node, struct ob__req *r, ob_handler_fn fn, uint32_t flags,
                   const uint8_t *data, size_t len, size_t from);

/* The registration that takes a session's message here (by id, by id 0, unknown), or NULL. */
struct ob__reg *ob__local_handler(struct ob__node *node, bool client, uint32_t id,
                                  uint64_t session_node, uint64_t session_seq);

/* A live request that has not ended, or NULL; and the same of a node's slab of them. */
struct ob__req *ob__req_get(struct ob__node *node, uint64_t handle);
static inline struct ob__req *ob__req_of(const struct ob__slab *reqs, uint64_t handle)
{
	struct ob__req *r = ob__slab_get(reqs, handle);

	return r != NULL && !r->ended ? r : NULL;
}

/* Ends a request: once, by handle, in any way. 0, OB_E_STALE. */
int ob__req_end(struct ob__req *r, int code, const char *text, const void *data, size_t len);

/* Ends one whose caller has cancelled it: with GONE, which goes to nobody. */
void ob__req_cancel(struct ob__req *r);

/* Ends it silently (ob_done). */
int ob__req_done(struct ob__req *r);
int ob__req_hold(struct ob__req *r);
const json_t *ob__req_json(struct ob__req *r);

#endif
