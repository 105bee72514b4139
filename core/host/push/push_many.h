/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  Pushes to many clients, wherever they are connected.
 *
 * The sender groups the receivers by their proxies.  A proxy gets one frame with the list and the
 * message (mesh/pushwire.h), or several when the list is long, and writes the message to each
 * (host/push/fanout.h); a broadcast is one frame without a list for each proxy
 * (host/push/broadcast.h). Frames go out before this node's own clients are served, since what is
 * written to these may end one of them, of which modules hear.
 */

#ifndef OB__PUSH_MANY_H
#define OB__PUSH_MANY_H

#include <stddef.h>
#include <stdint.h>

#include "lib/frame.h"
#include "mesh/pushwire.h"

struct ob__node;

/* A receiver; in a list all of one proxy are side by side, and nobody is there twice. */
struct ob__push_member {
	uint64_t node;
	uint64_t seq;
	const char *user; /* NULL in a list of sessions */
};

/* Sorts the list, takes out who is in it twice; how many are left. */
size_t ob__push_members_sort(struct ob__push_member *list, size_t len);

/* Where those end that have the proxy of list[from]. */
size_t ob__push_members_group(const struct ob__push_member *list, size_t len, size_t from);

/* Bytes of a list that a frame has room for beside `len` bytes of message. */
size_t ob__push_list_room(const struct ob__node *node, size_t len);

/* Sends a frame that is not for one session. 0 or OB_E_*. */
int ob__push_send(struct ob__node *node, uint64_t dst, enum ob__push_to to, uint32_t id,
                  const void *payload, size_t len);

/* Such a frame has come. */
void ob__push_many_frame(struct ob__node *node, const struct ob__frame *f);

/* ---- behind the SDK: how many it is on its way to, or OB_E_* ---- */

int ob__push_many(struct ob__node *node, const uint64_t *sessions, size_t count, uint32_t id,
                  const void *data, size_t len);
int ob__push_all(struct ob__node *node, uint32_t role, uint32_t id, const void *data, size_t len);

/* 0, or why no such list or message can be sent. */
int ob__push_many_check(const struct ob__node *node, const void *list, size_t count, uint32_t id,
                        size_t len);

#endif
