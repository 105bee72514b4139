/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/kv.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <obhost/obhost.h>

#include "lib/ws.h"

/* A node is in each level with a quarter of the probability of the one below. */
#define LEVELS 10

struct node {
	char *key;
	void *data;
	size_t len;
	struct node *next[]; /* one per level it is in */
};

struct ob__kv {
	struct node *first[LEVELS];
	size_t count;
	size_t bytes;
	uint64_t random; /* decides about shape and speed only */
};

struct ob__kv *ob__kv_new(void)
{
	struct ob__kv *kv = calloc(1, sizeof(*kv));

	if (kv != NULL) {
		kv->random = UINT64_C(0x9e3779b97f4a7c15);
	}
	return kv;
}

static void node_free(struct node *n)
{
	if (n != NULL) {
		free(n->key);
		free(n->data);
		free(n);
	}
}

void ob__kv_free(struct ob__kv *kv)
{
	if (kv == NULL) {
		return;
	}
	for (struct node *n = kv->first[0]; n != NULL;) {
		struct node *next = n->next[0];
		node_free(n);
		n = next;
	}
	free(kv);
}

/* The first node whose key is not below `key` (`above`: that is above it), or NULL.  links[i], if
 * asked for, is the place of level i that points at or beyond it. */
static struct node *seek(const struct ob__kv *kv, const char *key, bool above, struct node ***links)
{
	struct node *const *row = kv->first;
	int bound = above ? 1 : 0;

	for (int level = LEVELS; level-- > 0;) {
		while (row[level] != NULL && strcmp(row[level]->key, key) < bound) {
			row = row[level]->next;
		}
		if (links != NULL) {
			links[level] = (struct node **)(uintptr_t)&row[level];
		}
	}
	return row[0];
}

static struct node *find(const struct ob__kv *kv, const char *key, struct node ***links)
{
	struct node *n = seek(kv, key, false, links);

	return n != NULL && strcmp(n->key, key) == 0 ? n : NULL;
}

static bool key_ok(const char *key)
{
	size_t len = key != NULL ? strnlen(key, OB__KV_KEY_MAX + 1) : 0;

	return len > 0 && len <= OB__KV_KEY_MAX && ob__utf8_ok((const uint8_t *)key, len);
}

/* How many levels the next node is in. */
static int levels(struct ob__kv *kv)
{
	int n = 1;

	kv->random ^= kv->random << 13;
	kv->random ^= kv->random >> 7;
	kv->random ^= kv->random << 17;
	for (uint64_t bits = kv->random >> 32; n < LEVELS && (bits & 3) == 0; bits >>= 2) {
		n++;
	}
	return n;
}

static void *copy_of(const void *data, size_t len)
{
	void *copy = malloc(len > 0 ? len : 1);

	if (copy != NULL && len > 0) {
		memcpy(copy, data, len);
	}
	return copy;
}

/* Takes `copy` in any case. */
static int insert(struct ob__kv *kv, const char *key, void *copy, size_t len, struct node ***links)
{
	int n = levels(kv);
	struct node *node = calloc(1, sizeof(*node) + (size_t)n * sizeof(node->next[0]));
	char *name = strdup(key);

	if (node == NULL || name == NULL) {
		free(node);
		free(name);
		free(copy);
		return OB_E_NOMEM;
	}
	node->key = name;
	node->data = copy;
	node->len = len;
	for (int level = 0; level < n; level++) {
		node->next[level] = *links[level];
		*links[level] = node;
	}
	kv->count++;
	kv->bytes += strlen(key) + len;
	return 0;
}

int ob__kv_set(struct ob__kv *kv, const char *key, const void *data, size_t len)
{
	struct node **links[LEVELS];

	if (!key_ok(key) || (data == NULL && len > 0)) {
		return OB_E_INVAL;
	}
	if (len > OB__KV_VALUE_MAX) {
		return OB_E_TOO_BIG;
	}
	struct node *old = find(kv, key, links);
	size_t without = kv->bytes - (old != NULL ? old->len : 0);
	size_t more = len + (old != NULL ? 0 : strlen(key));
	if (without + more > OB__KV_BYTES_MAX || (old == NULL && kv->count >= OB__KV_KEYS_MAX)) {
		return OB_E_LIMIT;
	}
	void *copy = copy_of(data, len);
	if (copy == NULL) {
		return OB_E_NOMEM;
	}
	if (old == NULL) {
		return insert(kv, key, copy, len, links);
	}
	free(old->data);
	old->data = copy;
	old->len = len;
	kv->bytes = without + more;
	return 0;
}

const void *ob__kv_get(const struct ob__kv *kv, const char *key, size_t *len)
{
	const struct node *n = key != NULL ? find(kv, key, NULL) : NULL;

	if (len != NULL) {
		*len = n != NULL ? n->len : 0;
	}
	return n != NULL ? n->data : NULL;
}

int ob__kv_del(struct ob__kv *kv, const char *key)
{
	struct node **links[LEVELS];
	struct node *n = key != NULL ? find(kv, key, links) : NULL;

	if (n == NULL) {
		return OB_E_NOT_FOUND;
	}
	for (int level = 0; level < LEVELS && *links[level] == n; level++) {
		*links[level] = n->next[level];
	}
	kv->count--;
	kv->bytes -= strlen(n->key) + n->len;
	node_free(n);
	return 0;
}

const char *ob__kv_next(const struct ob__kv *kv, const char *after)
{
	const struct node *n = after != NULL ? seek(kv, after, true, NULL) : kv->first[0];

	return n != NULL ? n->key : NULL;
}

size_t ob__kv_count(const struct ob__kv *kv)
{
	return kv->count;
}

size_t ob__kv_bytes(const struct ob__kv *kv)
{
	return kv->bytes;
}
