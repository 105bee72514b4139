/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/call/methods.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "base/log.h"
#include "host/message/reply.h"
#include "host/node.h"
#include "lib/buf.h"
#include "mesh/link.h"

#define PART_MAX       32768u /* bytes of names in one frame */
#define NAME_MAX_BYTES 255u
#define WAITS_MS       5000u /* a list for a node that asked, at most, where it can't go on */

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

static int compare(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Names in order, to be freed; NULL without memory. */
static const char **sorted(const struct ob__strmap *names, bool own, size_t *len)
{
	const char **list = calloc(names->count + 1, sizeof(*list));
	struct ob__strmap_entry *e;

	*len = 0;
	for (size_t i = 0; list != NULL && (e = ob__strmap_next(names, &i)) != NULL;) {
		if (!own || has_method(e->value)) {
			list[(*len)++] = e->key;
		}
	}
	if (*len > 0) {
		qsort(list, *len, sizeof(*list), compare);
	}
	return list;
}

static uint64_t digest(const struct ob__strmap *names, bool own)
{
	uint8_t hash[EVP_MAX_MD_SIZE] = {0};
	uint64_t first = 0;
	size_t len;
	const char **list = sorted(names, own, &len);
	EVP_MD_CTX *md = list != NULL ? EVP_MD_CTX_new() : NULL;

	if (md != NULL && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1) {
		for (size_t i = 0; i < len; i++) {
			EVP_DigestUpdate(md, list[i], strlen(list[i]) + 1);
		}
		EVP_DigestFinal_ex(md, hash, NULL);
		memcpy(&first, hash, sizeof(first));
		first = le64toh(first);
		first = first != 0 ? first : 1;
	}
	EVP_MD_CTX_free(md);
	free(list);
	return first;
}

uint64_t ob__methods_digest(const struct ob__strmap *names)
{
	return digest(names, false);
}

uint64_t ob__methods_own_digest(struct ob__node *node)
{
	struct ob__methods *m = &node->methods;

	if (m->digest == 0 || m->seen != node->slots.methods_version) {
		m->seen = node->slots.methods_version;
		m->digest = digest(&node->slots.methods, true);
	}
	return m->digest;
}

/* To the peer at the other end of a link; or, `peer` NULL, to the node `to`, wherever it is. */
static void send_part(struct ob__node *node, struct ob__peer *peer, uint64_t to,
                      struct ob__buf *part, uint8_t flags)
{
	part->data[0] = flags;
	struct ob__frame f = {
		.kind = OB__FRAME_SYSTEM,
		.id = peer != NULL ? OB__SYS_METHODS : OB__SYS_METHODS_LIST,
		.dst = to,
		.hops = 1,
		.budget = WAITS_MS,
		.call = peer != NULL ? 0 : node->methods.digest,
		.payload = part->data,
		.payload_len = (uint32_t)part->len,
	};

	/* A link that can't take it is about to go; and who has asked will ask again. */
	(void)(peer != NULL ? ob__peer_send(node->links, peer, &f)
	                    : ob__send_in_passing(node, to, &f));
}

static void tell(struct ob__node *node, struct ob__peer *peer, uint64_t to)
{
	struct ob__buf part = {0};
	struct ob__strmap_entry *e;
	uint8_t flags = OB__METHODS_FIRST;

	if (ob__buf_append(&part, "", 1) != 0) {
		return;
	}
	for (size_t i = 0; (e = ob__strmap_next(&node->slots.methods, &i)) != NULL;) {
		size_t len = strlen(e->key) + 1;
		if (!has_method(e->value)) {
			continue;
		}
		if (part.len + len > PART_MAX) {
			send_part(node, peer, to, &part, flags);
			part.len = 1;
			flags = 0;
		}
		if (ob__buf_append(&part, e->key, len) != 0) {
			ob__buf_free(&part); /* without LAST, what was sent counts for nothing */
			return;
		}
	}
	send_part(node, peer, to, &part, flags | OB__METHODS_LAST);
	ob__buf_free(&part);
}

void ob__methods_send(struct ob__node *node, uint64_t to)
{
	if (ob__methods_own_digest(node) != 0) {
		tell(node, NULL, to);
	}
}

static void before_poll(void *arg)
{
	struct ob__node *node = arg;
	uint64_t now = ob__methods_own_digest(node);

	if (now == node->methods.told) {
		return;
	}
	node->methods.told = now;
	OB__LIST_EACH (it, &node->registry.peers) {
		struct ob__peer *peer = OB__CONTAINER(it, struct ob__peer, all_link);
		if (peer->link != NULL) {
			tell(node, peer, peer->who.id);
		}
	}
	ob__cluster_describe(node);
}

void ob__methods_init(struct ob__node *node)
{
	ob__map_init(&node->methods.peers, node->registry.seed);
	ob__far_init(node);
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
	ob__far_free(node);
}

void ob__methods_up(struct ob__node *node, struct ob__peer *peer)
{
	tell(node, peer, peer->who.id);
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

int ob__methods_read(struct ob__strmap *names, const struct ob__frame *f)
{
	const char *at = (const char *)f->payload + 1;
	const char *end = (const char *)f->payload + f->payload_len;

	if (f->payload_len == 0 || (f->payload_len > 1 && end[-1] != '\0')) {
		return -EPROTO; /* a name that does not end */
	}
	for (; at < end; at += strlen(at) + 1) {
		size_t len = strlen(at);
		if (len == 0 || len > NAME_MAX_BYTES) {
			return -EPROTO;
		}
		if (names->count >= OB__METHODS_MAX || ob__strmap_put(names, at, &present) != 0) {
			return 0;
		}
	}
	return 1;
}

void ob__methods_heard(struct ob__node *node, const struct ob__peer *peer,
                       const struct ob__frame *f)
{
	uint8_t flags = f->payload_len > 0 ? f->payload[0] : 0;

	if (f->payload_len == 0 || (f->payload_len > 1 && f->payload[f->payload_len - 1] != 0)) {
		ob__ignore_frame(node, f, OB__IGNORED_METHODS);
		return;
	}
	struct list *l = (flags & OB__METHODS_FIRST) != 0
	                         ? list_begin(node, peer)
	                         : ob__map_get(&node->methods.peers, peer->who.id, 0);
	if (l == NULL || !l->more) {
		if ((flags & OB__METHODS_FIRST) == 0) {
			ob__ignore_frame(node, f, OB__IGNORED_METHODS); /* of no list */
		}
		return;
	}
	int rc = l->over ? 1 : ob__methods_read(&l->names, f);
	if (rc < 0) {
		ob__ignore_frame(node, f, OB__IGNORED_METHODS);
	}
	l->over = l->over || rc <= 0;
	if ((flags & OB__METHODS_LAST) != 0) {
		l->more = false;
		l->whole = !l->over;
	}
}

/* ---- asking ---- */

bool ob__methods_may(const struct ob__node *node, uint64_t id, const char *method)
{
	const struct list *l = ob__map_get(&node->methods.peers, id, 0);
	const struct ob__strmap *names = NULL;

	if (l == NULL) {
		names = ob__far_names(node, id);
	} else if (l->whole) {
		names = &l->names;
	}
	return names == NULL || ob__strmap_get(names, method) != NULL;
}

static json_t *names_json(const struct ob__strmap *names, bool own)
{
	size_t len;
	const char **list = sorted(names, own, &len);
	json_t *array = json_array();

	for (size_t i = 0; i < len; i++) {
		json_array_append_new(array, json_string(list[i]));
	}
	free(list);
	return array;
}

json_t *ob__methods_json(const struct ob__node *node, uint64_t id)
{
	const struct list *l = ob__map_get(&node->methods.peers, id, 0);
	const struct ob__strmap *names =
		l != NULL && !l->more ? &l->names : ob__far_names(node, id);

	return names != NULL ? names_json(names, false) : json_null();
}

json_t *ob__methods_own_json(const struct ob__node *node)
{
	return names_json(&node->slots.methods, true);
}
