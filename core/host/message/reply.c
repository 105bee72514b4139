/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/message/reply.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "host/message/dispatch.h"
#include "host/node.h"
#include "host/slot.h"
#include "lib/many.h"

#define TEXT_MAX OB__ERROR_TEXT_MAX

char *ob__error_body(struct ob__node *node, int code, const char *text, size_t *len)
{
	struct ob__reg *reg = ob__slot_active(&node->slots.single[OB__SLOT_ERROR_BODY]);
	json_t *body = NULL;

	text = text != NULL ? text : ob__strerror(code);
	if (reg != NULL) {
		body = reg->fn.error_body(&reg->gen->ctx, code, text);
	}
	if (body == NULL) {
		body = json_pack("{s:i, s:s}", "code", ob__result_http(code), "error", text);
	}
	if (body == NULL) {
		body = json_pack("{s:i, s:s}", "code", ob__result_http(code), "error",
		                 ob__strerror(code));
	}
	char *dump = json_dumps(body, JSON_COMPACT | JSON_ENCODE_ANY);
	json_decref(body);
	*len = dump != NULL ? strlen(dump) : 0;
	return dump;
}

/* 0, and who has it now in *peer; or why not. */
static int send_by(struct ob__node *node, uint64_t dst, struct ob__frame *f, struct ob__peer **peer)
{
	struct ob__route_query q = {
		.node = dst,
		.sticky = f->session_node != 0,
		.session_node = f->session_node,
		.session_seq = f->session_seq,
	};
	struct ob__route route = ob__router_find(&node->router, &q);

	f->src = node->self.id; /* also when it says again what it has been told */
	f->dst = dst;
	f->hops = OB__FRAME_HOPS;
	if (route.kind != OB__ROUTE_PEER) {
		return OB_E_NO_ROUTE;
	}
	*peer = route.peer;
	return ob__peer_send(node->links, route.peer, f);
}

int ob__send_to_node(struct ob__node *node, uint64_t dst, struct ob__frame *f)
{
	struct ob__peer *peer;

	return send_by(node, dst, f, &peer);
}

int ob__send_in_passing(struct ob__node *node, uint64_t dst, struct ob__frame *f)
{
	ob__route_wanted wanted = node->router.wanted;

	node->router.wanted = NULL;
	int rc = ob__send_to_node(node, dst, f);
	node->router.wanted = wanted;
	return rc;
}

bool ob__reply_add(struct ob__node *node, uint64_t dst, uint64_t call, uint32_t id,
                   const void *data, size_t len)
{
	struct ob__last_reply *last = &node->dispatch.last_reply;

	return last->peer != NULL && last->dst == dst && last->id == id &&
	       last->changes == node->registry.changes &&
	       ob__peer_add(last->peer, &last->mark, call, data, len);
}

static void note_reply(struct ob__node *node, const struct ob__reply_to *to, struct ob__peer *peer)
{
	node->dispatch.last_reply = (struct ob__last_reply){
		.changes = node->registry.changes,
		.dst = to->src,
		.mark = ob__peer_mark(peer),
		.id = to->id,
		.peer = peer,
	};
}

void ob__send_reply(struct ob__node *node, const struct ob__reply_to *to, int code,
                    const char *text, const void *data, size_t len, uint16_t flags)
{
	uint8_t ext[TEXT_MAX + 8];
	struct ob__peer *peer;
	char *body = NULL;
	struct ob__frame f = {
		.kind = OB__FRAME_REPLY,
		.flags = flags,
		.id = to->id,
		.call = to->call,
		.status = OB_RESULT_WIRE(code),
		.payload = data,
		.payload_len = (uint32_t)len,
	};

	if (code != OB_OK) {
		size_t text_len = text != NULL ? strnlen(text, TEXT_MAX) : 0;
		size_t end = ob__frame_ext_put(ext, 0, sizeof(ext), OB__FRAME_EXT_TEXT,
		                               text != NULL ? text : "", (uint16_t)text_len);
		f.ext = ext;
		f.ext_len = (uint16_t)end;
	}
	if (code != OB_OK && to->from_client && len == 0) {
		size_t body_len;
		body = ob__error_body(node, code, text, &body_len);
		f.payload = (const uint8_t *)body;
		f.payload_len = (uint32_t)body_len;
	}
	int rc = len > UINT32_MAX ? OB_E_TOO_BIG : send_by(node, to->src, &f, &peer);
	if (rc == 0 && code == OB_OK && flags == 0) {
		note_reply(node, to, peer);
	}
	if (rc == OB_E_TOO_BIG && code == OB_OK) {
		ob__send_reply(node, to, OB_E_TOO_BIG, "the answer is too big", NULL, 0, 0);
	} else if (rc != 0) {
		++*node->dispatch.replies_lost;
		ob__debug("dispatch", "a reply to %016llx is lost: %s", (unsigned long long)to->src,
		          ob__strerror(rc));
	}
	free(body);
}

void ob__refuse_frame(struct ob__node *node, const struct ob__frame *f, int code, const char *text)
{
	if ((f->flags & OB__FRAME_MANY) != 0) {
		for (struct ob__frame one = ob__many_begin(f); ob__many_next(&one, f);) {
			ob__refuse_frame(node, &one, code, text);
		}
		return;
	}
	ob__count_result(node->dispatch.refused, code);
	if (f->kind != OB__FRAME_REQUEST || (f->flags & OB__FRAME_ONE_WAY) != 0) {
		return;
	}
	if (f->src == node->self.id) {
		struct ob__pending *p = ob__pending_find(&node->pendings, f->call);
		struct ob__end end = {.code = code, .text = text, .refused = true};
		if (p != NULL) {
			ob__pending_end(p, &end);
		}
		return;
	}
	struct ob__reply_to to = {f->src, f->call, f->id, (f->flags & OB__FRAME_CALL) == 0};
	ob__send_reply(node, &to, code, text, NULL, 0, OB__FRAME_REFUSED);
}

void ob__send_silence(struct ob__node *node, const struct ob__frame *f)
{
	if ((f->flags & OB__FRAME_MANY) != 0) {
		for (struct ob__frame one = ob__many_begin(f); ob__many_next(&one, f);) {
			ob__send_silence(node, &one);
		}
	} else if ((f->flags & OB__FRAME_ONE_WAY) == 0) {
		struct ob__reply_to to = {f->src, f->call, f->id, false};
		ob__send_reply(node, &to, OB_OK, NULL, NULL, 0, OB__FRAME_ONE_WAY);
	}
}
