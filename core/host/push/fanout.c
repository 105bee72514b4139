/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/push/fanout.h"

#include "host/client/conn.h"
#include "host/client/too_slow.h"
#include "host/node.h"
#include "host/session/resume.h"

void ob__fanout_init(struct ob__fanout *fo, struct ob__node *node, uint32_t id, const void *data,
                     size_t len)
{
	fo->node = node;
	fo->packet = ob__push_packet(&node->msgnames, id, data, len);
	fo->at_once = false;
	fo->forms_len = 0;
}

void ob__fanout_free(struct ob__fanout *fo)
{
	for (uint32_t i = 0; i < fo->forms_len; i++) {
		ob__rbuf_unref(fo->forms[i].bytes);
	}
	fo->forms_len = 0;
}

size_t ob__fanout_bytes(const struct ob__fanout *fo)
{
	size_t bytes = 0;

	for (uint32_t i = 0; i < fo->forms_len; i++) {
		bytes += fo->forms[i].bytes != NULL ? fo->forms[i].bytes->len : 0;
	}
	return bytes;
}

void ob__fanout_begin(struct ob__fanout *fo, struct ob__node *node, uint32_t id, const void *data,
                      size_t len)
{
	ob__fanout_init(fo, node, id, data, len);
	ob__too_slow_hold(node);
}

void ob__fanout_end(struct ob__fanout *fo)
{
	ob__fanout_free(fo);
	ob__too_slow_release(fo->node);
}

struct ob__form *ob__fanout_form(struct ob__fanout *fo, const struct ob__reg *codec,
                                 uint32_t variant, uint8_t kind)
{
	for (uint32_t i = 0; i < fo->forms_len; i++) {
		struct ob__form *form = &fo->forms[i];
		if (form->codec == codec->number && form->variant == variant &&
		    form->kind == kind) {
			return form;
		}
	}
	if (fo->forms_len == OB__FANOUT_FORMS) {
		return NULL;
	}
	struct ob__form *form = &fo->forms[fo->forms_len++];
	*form = (struct ob__form){.codec = codec->number, .variant = variant, .kind = kind};
	return form;
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
