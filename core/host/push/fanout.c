/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/push/fanout.h"

#include <stdlib.h>

#include "host/client/conn.h"
#include "host/node.h"
#include "host/session/resume.h"

void ob__fanout_begin(struct ob__fanout *fo, struct ob__node *node, uint32_t id, const void *data,
                      size_t len)
{
	fo->node = node;
	fo->packet = ob__push_packet(&node->msgnames, id, data, len);
	fo->at_once = false;
	fo->forms_len = 0;
	fo->slow_len = 0;
	fo->slow_cap = 0;
	fo->slow = NULL;
}

struct ob__form *ob__fanout_form(struct ob__fanout *fo, const struct ob__reg *codec,
                                 uint32_t variant, uint8_t kind)
{
	for (uint32_t i = 0; i < fo->forms_len; i++) {
		struct ob__form *form = &fo->forms[i];
		if (form->codec == codec && form->variant == variant && form->kind == kind) {
			return form;
		}
	}
	if (fo->forms_len == OB__FANOUT_FORMS) {
		return NULL;
	}
	struct ob__form *form = &fo->forms[fo->forms_len++];
	*form = (struct ob__form){.codec = codec, .variant = variant, .kind = kind};
	return form;
}

bool ob__fanout_close_later(struct ob__fanout *fo, const struct ob__conn *conn)
{
	if (fo->slow_len == fo->slow_cap) {
		uint32_t cap = fo->slow_cap > 0 ? 2 * fo->slow_cap : 16;
		uint64_t *slow = realloc(fo->slow, cap * sizeof(*slow));
		if (slow == NULL) {
			return false;
		}
		fo->slow = slow;
		fo->slow_cap = cap;
	}
	fo->slow[fo->slow_len++] = ob__conn_handle(conn);
	return true;
}

int ob__fanout_to(struct ob__fanout *fo, uint64_t handle)
{
	struct ob__node *node = fo->node;
	struct ob__conn *conn = ob__conn_get(node, handle);
	int rc = conn != NULL ? ob__conn_give(conn, &fo->packet, fo)
	                      : ob__resume_push(node, handle, &fo->packet);

	++*(rc == 0 ? node->dispatch.pushes : node->dispatch.pushes_lost);
	return rc;
}

void ob__fanout_end(struct ob__fanout *fo)
{
	for (uint32_t i = 0; i < fo->forms_len; i++) {
		ob__rbuf_unref(fo->forms[i].bytes);
	}
	for (uint32_t i = 0; i < fo->slow_len; i++) {
		struct ob__conn *conn = ob__conn_get(fo->node, fo->slow[i]);
		if (conn != NULL) {
			ob__conn_too_slow(conn);
		}
	}
	free(fo->slow);
}
