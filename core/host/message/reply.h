/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  How ends travel: results, error bodies, frames back.
 */

#ifndef OB__REPLY_H
#define OB__REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <obhost/obhost.h>

#include "lib/frame.h"

struct ob__node;

#define OB__ERROR_TEXT_MAX 200u /* bytes of an error's text on a link */

/* Who waits on the other side of a link. */
struct ob__reply_to {
	uint64_t src;
	uint64_t call;
	uint32_t id;
	bool from_client; /* the request came from a client: a failure carries its body */
};

/* Counts a result in counters indexed by its wire number. */
static inline void ob__count_result(uint64_t **counters, int code)
{
	++*counters[OB_RESULT_WIRE(code)];
}

/* A code that may travel: unknown ones are the application's failure. */
static inline int ob__result_clean(int code)
{
	return code == 0 || (code <= OB_E_APP && code >= OB_RESULT_LAST) ? code : OB_E_APP;
}

/* The body for a failure: the error_body module's or the host's own; to be freed. */
char *ob__error_body(struct ob__node *node, int code, const char *text, size_t *len);

/* Sends a frame this node made to a node by id, directly or through a route node: always the same
 * one for the same session, so that what is said about one keeps its order. 0 or OB_E_*. */
int ob__send_to_node(struct ob__node *node, uint64_t dst, struct ob__frame *f);

/* The same for what is no reason to make a link with the node. */
int ob__send_in_passing(struct ob__node *node, uint64_t dst, struct ob__frame *f);

/* Adds an answer that is OK to the frame of the one before it, if they go to the same node and it
 * has not left: what is answered in one burst goes in one frame. */
bool ob__reply_add(struct ob__node *node, uint64_t dst, uint64_t call, uint32_t id,
                   const void *data, size_t len);

/* Sends the end of a request back, in a frame of its own, with flags of the frame:
 * OB__FRAME_ONE_WAY ends it without anything for its client, OB__FRAME_REFUSED says that no handler
 * has seen it. */
void ob__send_reply(struct ob__node *node, const struct ob__reply_to *to, int code,
                    const char *text, const void *data, size_t len, uint16_t flags);

/* Ends the request of a frame without anything for its client. */
void ob__send_silence(struct ob__node *node, const struct ob__frame *f);

/* Ends the request of a frame that no handler will see; other frames are only counted. */
void ob__refuse_frame(struct ob__node *node, const struct ob__frame *f, int code, const char *text);

#endif
