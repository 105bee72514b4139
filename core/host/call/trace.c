/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/call/trace.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "host/cluster/names.h"
#include "host/message/request.h"
#include "host/node.h"
#include "lib/le.h"

void ob__trace_of_frame(const struct ob__frame *f, struct ob__trace *t)
{
	uint16_t len = 0;
	const uint8_t *ext = ob__frame_ext(f, OB__FRAME_EXT_TRACE, &len);

	*t = (struct ob__trace){.id = {f->src, f->call}, .span = f->call};
	if (ext != NULL && len == OB__TRACE_EXT) {
		t->id[0] = ob__get64(ext);
		t->id[1] = ob__get64(ext + 8);
		t->parent = ob__get64(ext + 16);
	}
}

void ob__trace_of_req(const struct ob__node *node, const struct ob__req *r, struct ob__trace *t)
{
	if (r->trace.id[0] != 0) {
		*t = r->trace;
		return;
	}
	if (r->origin == OB__ORIGIN_LINK) {
		const uint64_t call = r->from.link.call;
		*t = (struct ob__trace){.id = {r->from.link.src, call}, .span = call};
		return;
	}
	/* It began here, without a call id: the handle is one only in this life of the node. */
	uint64_t number = r->handle ^ node->self.incarnation << 20;
	*t = (struct ob__trace){.id = {node->self.id, number}, .span = number};
}

void ob__trace_next(struct ob__node *node, uint64_t req, uint64_t call, struct ob__trace *t)
{
	const struct ob__req *r = req != 0 ? ob__req_get(node, req) : NULL;

	*t = (struct ob__trace){.id = {node->self.id, call}, .span = call};
	if (r != NULL) {
		struct ob__trace above;
		ob__trace_of_req(node, r, &above);
		t->id[0] = above.id[0];
		t->id[1] = above.id[1];
		t->parent = above.span;
	}
}

void ob__trace_put(const struct ob__trace *t, uint8_t out[OB__TRACE_EXT])
{
	ob__put64(out, t->id[0]);
	ob__put64(out + 8, t->id[1]);
	ob__put64(out + 16, t->parent);
}

const char *ob__trace_label(char out[OB__TRACE_LABEL], const char *method, uint32_t id)
{
	if (method != NULL) {
		snprintf(out, OB__TRACE_LABEL, "%s", method);
	} else {
		snprintf(out, OB__TRACE_LABEL, "message %" PRIu32, id);
	}
	return out;
}

void ob__trace_write(const struct ob__node *node, const struct ob__frame *f, const char *what,
                     uint64_t with)
{
	struct ob__trace t;
	char method[256];
	char label[OB__TRACE_LABEL];
	uint16_t len = 0;

	const uint8_t *ext = (f->flags & OB__FRAME_METHOD) != 0
	                             ? ob__frame_ext(f, OB__FRAME_EXT_METHOD, &len)
	                             : NULL;
	snprintf(method, sizeof(method), "%.*s", (int)len, ext != NULL ? (const char *)ext : "");
	const char *name = ob__names_get(node, with);
	ob__trace_of_frame(f, &t);
	ob__debug("trace",
	          "%016" PRIx64 "%016" PRIx64 " %016" PRIx64 " %s %s: %s, %" PRIu32 " ms left",
	          t.id[0], t.id[1], t.span, what, name != NULL ? name : "another node",
	          ob__trace_label(label, ext != NULL ? method : NULL, f->id), f->budget);
}
