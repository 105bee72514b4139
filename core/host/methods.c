/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/methods.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "host/node.h"
#include "lib/buf.h"
#include "mesh/link.h"

#define PART_MAX       32768u /* bytes of names in one frame */
#define PART_FIRST     1u     /* flags: the first byte of each */
#define PART_LAST      2u
#define NAME_MAX_BYTES 255u

struct list {
	struct ob__strmap names;
	bool whole; /* all of them are here */
	bool more;  /* parts are still to come */
	bool over;  /* there were too many */
};

static char present; /* what the names map to */

static void list_free(struct list *l)
{
	if (l != NULL) {
		ob__strmap_free(&l->names);
		free(l);
	}
}

/* ---- telling ---- */

static bool has_method(const struct ob__slot *slot)
{
	return slot->active != NULL || slot->canary != NULL;
}

static void send_part(struct ob__node *node, struct ob__peer *peer, struct ob__buf *part,
                      uint8_t flags)
{
	part->data[0] = flags;
	struct ob__frame f = {
		.kind = OB__FRAME_SYSTEM,
		.id = OB__SYS_METHODS,
		.dst = peer->who.id,
		.hops = 1,
		.payload = part->data,
		.payload_len = (uint32_t)part->len,
	};

	/* A link that can't take it is about to go. */
	(void)ob__peer_send(node->links, peer, &f);
}

static void tell(struct ob__node *node, struct ob__peer *peer)
{
	struct ob__buf part = {0};
	struct ob__strmap_entry *e;
	uint8_t flags = PART_FIRST;

	if (ob__buf_append(&part, "", 1) != 0) {
		return;
	}
	for (size_t i = 0; (e = ob__strmap_next(&node->slots.methods, &i)) != NULL;) {
		size_t len = strlen(e->key) + 1;
		if (!has_method(e->value)) {
			continue;
		}
		if (part.len + len > PART_MAX) {
			send_part(node, peer, &part, flags);
			part.len = 1;
			flags = 0;
		}
		if (ob__buf_append(&part, e->key, len) != 0) {
			ob__buf_free(&part); /* without LAST, what was sent counts for nothing */
			return;
		}
	}
	send_part(node, peer, &part, flags | PART_LAST);
	ob__buf_free(&part);
}

/* The same for the same names, in whatever order. */
static uint64_t own_hash(const struct ob__node *node)
{
	struct ob__strmap_entry *e;
	uint64_t sum = 0;

	for (size_t i = 0; (e = ob__strmap_next(&node->slots.methods, &i)) != NULL;) {
		if (has_method(e->value)) {
			sum += (e->hash ^ e->hash >> 31) * UINT64_C(0x9e3779b97f4a7c15);
		}
	}
	return sum;
}

static void before_poll(void *arg)
{
	struct ob__node *node = arg;

	if (node->methods.seen == node->slots.methods_version) {
		return;
	}
	node->methods.seen = node->slots.methods_version;
	uint64_t now = own_hash(node);
	if (now == node->methods.told) {
		return;
	}
	node->methods.told = now;
	OB__LIST_EACH (it, &node->registry.peers) {
		struct ob__peer *peer = OB__CONTAINER(it, struct ob__peer, all_link);
		if (peer->link != NULL) {
			tell(node, peer);
		}
	}
}

void ob__methods_init(struct ob__node *node)
{
	ob__map_init(&node->methods.peers, node->registry.seed);
	node->methods.hook = (struct ob__loop_hook){.fn = before_poll, .arg = node};
	ob__loop_before_poll(node->loop, &node->methods.hook);
}

void ob__methods_free(struct ob__node *node)
{
	struct ob__map_entry *e;

	ob__loop_hook_remove(&node->methods.hook);
	for (size_t i = 0; (e = ob__map_next(&node->methods.peers, &i)) != NULL;) {
		list_free(e->value);
	}
	ob__map_free(&node->methods.peers);
}

void ob__methods_up(struct ob__node *node, struct ob__peer *peer)
{
	tell(node, peer);
}

/* ---- hearing ---- */

void ob__methods_down(struct ob__node *node, const struct ob__peer *peer)
{
	list_free(ob__map_del(&node->methods.peers, peer->who.id, 0));
}

/* A list is begun anew; until its last part is here it refuses nothing. */
static struct list *list_begin(struct ob__node *node, const struct ob__peer *peer)
{
	struct list *l = calloc(1, sizeof(*l));

	ob__methods_down(node, peer);
	if (l == NULL || ob__map_put(&node->methods.peers, peer->who.id, 0, l) != 0) {
		free(l);
		return NULL;
	}
	ob__strmap_init(&l->names, node->methods.peers.seed);
	l->more = true;
	return l;
}

void ob__methods_heard(struct ob__node *node, const struct ob__peer *peer,
                       const struct ob__frame *f)
{
	uint8_t flags = f->payload_len > 0 ? f->payload[0] : 0;
	const char *at = (const char *)f->payload + 1;
	const char *end = (const char *)f->payload + f->payload_len;

	if (f->payload_len == 0 || (f->payload_len > 1 && end[-1] != '\0')) {
		ob__ignore_frame(node, f, OB__IGNORED_METHODS); /* a name that does not end */
		return;
	}
	struct list *l = (flags & PART_FIRST) != 0
	                         ? list_begin(node, peer)
	                         : ob__map_get(&node->methods.peers, peer->who.id, 0);
	if (l == NULL || !l->more) {
		if ((flags & PART_FIRST) == 0) {
			ob__ignore_frame(node, f, OB__IGNORED_METHODS); /* of no list */
		}
		return;
	}
	for (; at < end && !l->over; at += strlen(at) + 1) {
		size_t len = strlen(at);
		if (len == 0 || len > NAME_MAX_BYTES) {
			ob__ignore_frame(node, f, OB__IGNORED_METHODS);
			l->over = true;
		} else if (l->names.count >= OB__METHODS_MAX ||
		           ob__strmap_put(&l->names, at, &present) != 0) {
			l->over = true;
		}
	}
	if ((flags & PART_LAST) != 0) {
		l->more = false;
		l->whole = !l->over;
	}
}

/* ---- asking ---- */

bool ob__methods_may(const struct ob__node *node, uint64_t id, const char *method)
{
	const struct list *l = ob__map_get(&node->methods.peers, id, 0);

	return l == NULL || !l->whole || ob__strmap_get(&l->names, method) != NULL;
}

static int compare(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static json_t *sorted(const char **names, size_t len)
{
	json_t *list = json_array();

	if (len > 0) {
		qsort(names, len, sizeof(*names), compare);
	}
	for (size_t i = 0; i < len; i++) {
		json_array_append_new(list, json_string(names[i]));
	}
	return list;
}

static json_t *names_json(const struct ob__strmap *names, bool own)
{
	const char **list = calloc(names->count + 1, sizeof(*list));
	struct ob__strmap_entry *e;
	size_t len = 0;

	for (size_t i = 0; list != NULL && (e = ob__strmap_next(names, &i)) != NULL;) {
		if (!own || has_method(e->value)) {
			list[len++] = e->key;
		}
	}
	json_t *array = sorted(list, len);
	free(list);
	return array;
}

json_t *ob__methods_json(const struct ob__node *node, uint64_t id)
{
	const struct list *l = ob__map_get(&node->methods.peers, id, 0);

	return l != NULL && !l->more ? names_json(&l->names, false) : json_null();
}

json_t *ob__methods_own_json(const struct ob__node *node)
{
	return names_json(&node->slots.methods, true);
}
