/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "mock_priv.h"

#include <stdlib.h>
#include <string.h>

/* ---- lists ---- */

int ob__mock_vec_add(struct vec *v, void *item)
{
	if (v->len >= LIST_MAX) {
		return OB_E_LIMIT;
	}
	if (v->len == v->cap) {
		size_t cap = v->cap > 0 ? v->cap * 2 : 8;
		void **grown = realloc(v->at, cap * sizeof(*grown));
		if (grown == NULL) {
			return OB_E_NOMEM;
		}
		v->at = grown;
		v->cap = cap;
	}
	v->at[v->len++] = item;
	return 0;
}

void ob__mock_vec_del(struct vec *v, size_t i)
{
	memmove(&v->at[i], &v->at[i + 1], (v->len - i - 1) * sizeof(*v->at));
	v->len--;
	if (v->len == 0) {
		free(v->at);
		*v = (struct vec){NULL, 0, 0};
	}
}

void ob__mock_vec_take(struct vec *v, const void *item)
{
	for (size_t i = v->len; i > 0; i--) {
		if (v->at[i - 1] == item) {
			ob__mock_vec_del(v, i - 1);
			return;
		}
	}
}

/* ---- handles ---- */

#define SLOT_BITS  24u
#define SLOT_MASK  ((1u << SLOT_BITS) - 1)
#define KIND_SHIFT 60u

static int slot_take(struct world *w, size_t *slot)
{
	if (w->free_slots.len > 0) {
		*slot = (size_t)(uintptr_t)w->free_slots.at[w->free_slots.len - 1];
		ob__mock_vec_del(&w->free_slots, w->free_slots.len - 1);
		return 0;
	}
	if (w->slots_len >= OBJS_MAX) {
		return OB_E_LIMIT;
	}
	if (w->slots_len == w->slots_cap) {
		size_t cap = w->slots_cap > 0 ? w->slots_cap * 2 : 16;
		struct slot *grown = realloc(w->slots, cap * sizeof(*grown));
		if (grown == NULL) {
			return OB_E_NOMEM;
		}
		w->slots = grown;
		w->slots_cap = cap;
	}
	*slot = w->slots_len++;
	w->slots[*slot] = (struct slot){NULL, 1};
	return 0;
}

int ob__mock_obj_open(struct world *w, struct obj *obj, enum kind kind, ob_mock *owner)
{
	size_t slot;
	int rc = slot_take(w, &slot);

	if (rc != 0) {
		return rc;
	}
	w->slots[slot].obj = obj;
	obj->owner = owner;
	obj->handle = (uint64_t)kind << KIND_SHIFT | w->slots[slot].serial << SLOT_BITS | slot;
	return 0;
}

void ob__mock_obj_close(struct world *w, struct obj *obj)
{
	size_t slot = obj->handle & SLOT_MASK;

	if (obj->handle == 0) {
		return;
	}
	w->slots[slot].obj = NULL;
	w->slots[slot].serial++;
	obj->handle = 0;
	/* A slot that can't be noted as free is not used again. */
	(void)ob__mock_vec_add(&w->free_slots, (void *)(uintptr_t)slot);
}

void *ob__mock_obj_get(const struct world *w, uint64_t handle, enum kind kind)
{
	size_t slot = handle & SLOT_MASK;

	if (handle >> KIND_SHIFT != kind || slot >= w->slots_len) {
		return NULL;
	}
	struct obj *obj = w->slots[slot].obj;
	return obj != NULL && obj->handle == handle ? obj : NULL;
}

/* ---- ob_state ---- */

static void block_unref(struct state_block *b)
{
	if (b == NULL || --b->refs > 0) {
		return;
	}
	free(b->key);
	free(b->data);
	free(b);
}

static struct state_block *block_find(struct state_block *const *blocks, size_t len,
                                      const char *key)
{
	for (size_t i = 0; i < len; i++) {
		if (strcmp(blocks[i]->key, key) == 0) {
			return blocks[i];
		}
	}
	return NULL;
}

static struct state_block *block_new(const char *key, size_t size, uint32_t version)
{
	struct state_block *b = calloc(1, sizeof(*b));

	if (b == NULL) {
		return NULL;
	}
	*b = (struct state_block){strdup(key), size, version, 1, calloc(1, size)};
	if (b->key == NULL || b->data == NULL) {
		block_unref(b);
		return NULL;
	}
	return b;
}

void *ob__mock_memory_state(ob_mock *m, const char *key, size_t size, uint32_t version)
{
	struct world *w = m->world;

	if (m->phase == PHASE_NEW || m->phase == PHASE_STOPPED || size == 0 || size > STATE_MAX) {
		return NULL;
	}
	struct state_block *b = block_find(m->blocks, m->blocks_len, key);
	if (b != NULL) {
		return b->size == size && b->version == version ? b->data : NULL;
	}
	if (m->blocks_len == STATES_MAX) {
		return NULL;
	}
	b = block_find(w->blocks, w->blocks_len, key);
	if (b != NULL && b->size == size && b->version == version) {
		b->refs++;
	} else {
		b = block_new(key, size, version);
	}
	if (b == NULL) {
		return NULL;
	}
	m->blocks[m->blocks_len++] = b;
	if (m->phase == PHASE_LIVE) {
		ob__mock_memory_commit(m);
	}
	return b->data;
}

void ob__mock_memory_commit(ob_mock *m)
{
	struct world *w = m->world;

	for (size_t i = 0; i < m->blocks_len; i++) {
		struct state_block *b = m->blocks[i];
		size_t at = 0;
		while (at < w->blocks_len && strcmp(w->blocks[at]->key, b->key) != 0) {
			at++;
		}
		if (at == STATES_MAX) {
			continue;
		}
		b->refs++;
		if (at < w->blocks_len) {
			block_unref(w->blocks[at]);
		} else {
			w->blocks_len++;
		}
		w->blocks[at] = b;
	}
}

void ob__mock_memory_drop(ob_mock *m)
{
	for (size_t i = 0; i < m->blocks_len; i++) {
		block_unref(m->blocks[i]);
	}
	m->blocks_len = 0;
}

/* ---- counters ---- */

static bool metric_name_ok(const char *name)
{
	size_t len = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_");

	return len > 0 && len < 64 && name[len] == '\0';
}

int ob__mock_memory_counter(ob_mock *m, const char *name)
{
	struct world *w = m->world;

	if (!metric_name_ok(name)) {
		return OB_E_INVAL;
	}
	for (size_t i = 0; i < w->counters_len; i++) {
		if (strcmp(w->counters[i].name, name) == 0) {
			return (int)i;
		}
	}
	if (w->counters_len == COUNTERS_MAX) {
		return OB_E_LIMIT;
	}
	char *copy = strdup(name);
	if (copy == NULL) {
		return OB_E_NOMEM;
	}
	w->counters[w->counters_len] = (struct counter){copy, 0};
	return (int)w->counters_len++;
}

uint64_t ob_mock_counter(const ob_mock *m, const char *name)
{
	for (size_t i = 0; i < m->world->counters_len; i++) {
		if (strcmp(m->world->counters[i].name, name) == 0) {
			return m->world->counters[i].value;
		}
	}
	return 0;
}

/* ---- the key-value store ---- */

/* Where the key is, or would be: the first entry that is not before it. */
static size_t kv_place(const struct world *w, const char *key, bool *there)
{
	size_t low = 0;
	size_t high = w->kv_len;

	while (low < high) {
		size_t mid = (low + high) / 2;
		if (strcmp(w->kv[mid].key, key) < 0) {
			low = mid + 1;
		} else {
			high = mid;
		}
	}
	*there = low < w->kv_len && strcmp(w->kv[low].key, key) == 0;
	return low;
}

static int kv_insert(struct world *w, size_t at, const char *key, uint8_t *data, size_t len)
{
	if (w->kv_len >= KV_KEYS_MAX) {
		return OB_E_LIMIT;
	}
	if (w->kv_len == w->kv_cap) {
		size_t cap = w->kv_cap > 0 ? w->kv_cap * 2 : 16;
		struct kv_entry *grown = realloc(w->kv, cap * sizeof(*grown));
		if (grown == NULL) {
			return OB_E_NOMEM;
		}
		w->kv = grown;
		w->kv_cap = cap;
	}
	char *copy = strdup(key);
	if (copy == NULL) {
		return OB_E_NOMEM;
	}
	memmove(&w->kv[at + 1], &w->kv[at], (w->kv_len - at) * sizeof(*w->kv));
	w->kv[at] = (struct kv_entry){copy, data, len};
	w->kv_len++;
	return 0;
}

int ob__mock_kv_set(struct world *w, const char *key, const void *data, size_t len)
{
	bool there;

	if (key == NULL || *key == '\0' || strlen(key) > 255 || (data == NULL && len > 0)) {
		return OB_E_INVAL;
	}
	if (len > KV_VALUE_MAX) {
		return OB_E_TOO_BIG;
	}
	size_t at = kv_place(w, key, &there);
	if (w->kv_bytes - (there ? w->kv[at].len : 0) + len > KV_BYTES_MAX) {
		return OB_E_LIMIT;
	}
	uint8_t *copy = ob__mock_copy(data, len);
	if (copy == NULL) {
		return OB_E_NOMEM;
	}
	if (there) {
		w->kv_bytes -= w->kv[at].len;
		free(w->kv[at].data);
		w->kv[at].data = copy;
		w->kv[at].len = len;
	} else {
		int rc = kv_insert(w, at, key, copy, len);
		if (rc != 0) {
			free(copy);
			return rc;
		}
	}
	w->kv_bytes += len;
	return 0;
}

const void *ob__mock_kv_get(const struct world *w, const char *key, size_t *len)
{
	bool there = false;
	size_t at = key != NULL ? kv_place(w, key, &there) : 0;

	*len = there ? w->kv[at].len : 0;
	return there ? w->kv[at].data : NULL;
}

int ob__mock_kv_del(struct world *w, const char *key)
{
	bool there = false;
	size_t at = key != NULL ? kv_place(w, key, &there) : 0;

	if (!there) {
		return OB_E_NOT_FOUND;
	}
	w->kv_bytes -= w->kv[at].len;
	free(w->kv[at].key);
	free(w->kv[at].data);
	memmove(&w->kv[at], &w->kv[at + 1], (w->kv_len - at - 1) * sizeof(*w->kv));
	w->kv_len--;
	return 0;
}

const char *ob__mock_kv_next(const struct world *w, const char *after)
{
	bool there = false;
	size_t at = after != NULL ? kv_place(w, after, &there) : 0;

	at += there;
	return at < w->kv_len ? w->kv[at].key : NULL;
}

void ob__mock_world_unref(struct world *w)
{
	if (--w->refs > 0) {
		return;
	}
	for (size_t i = 0; i < w->blocks_len; i++) {
		block_unref(w->blocks[i]);
	}
	for (size_t i = 0; i < w->counters_len; i++) {
		free(w->counters[i].name);
	}
	while (w->kv_len > 0) {
		ob__mock_kv_del(w, w->kv[w->kv_len - 1].key);
	}
	for (size_t i = 0; i < w->sessions.len; i++) {
		ob__mock_session_free(w->sessions.at[i]);
	}
	for (size_t i = 0; i < w->locks.len; i++) {
		free(w->locks.at[i]);
	}
	free(w->locks.at);
	ob__mock_groups_free(w);
	json_decref(w->codecs);
	json_decref(w->names);
	free(w->sessions.at);
	free(w->free_slots.at);
	free(w->slots);
	free(w->kv);
	free(w);
}

/* ---- blobs ---- */

ob_mock_blob *ob_mock_blob_new(uint32_t version)
{
	ob_mock_blob *b = calloc(1, sizeof(*b));

	if (b != NULL) {
		b->version = version;
	}
	return b;
}

void ob_mock_blob_free(ob_mock_blob *b)
{
	for (size_t i = 0; b != NULL && i < b->sections.len; i++) {
		struct section *s = b->sections.at[i];
		free(s->data);
		free(s);
	}
	if (b != NULL) {
		free(b->sections.at);
	}
	free(b);
}

uint32_t ob_mock_blob_version(const ob_mock_blob *b)
{
	return b->version;
}

struct section *ob__mock_blob_find(const ob_mock_blob *b, uint32_t tag)
{
	for (size_t i = 0; i < b->sections.len; i++) {
		struct section *s = b->sections.at[i];
		if (s->tag == tag) {
			return s;
		}
	}
	return NULL;
}

int ob__mock_blob_add(ob_mock_blob *b, uint32_t tag, uint32_t flags, const void *data, size_t len)
{
	if ((flags & ~OB_SECTION_CRITICAL) != 0 || (data == NULL && len > 0)) {
		return OB_E_INVAL;
	}
	if (ob__mock_blob_find(b, tag) != NULL) {
		return OB_E_EXISTS;
	}
	if (len > BLOB_MAX - b->bytes) {
		return OB_E_TOO_BIG;
	}
	struct section *s = calloc(1, sizeof(*s));
	uint8_t *copy = ob__mock_copy(data, len);
	int rc = s != NULL && copy != NULL ? ob__mock_vec_add(&b->sections, s) : OB_E_NOMEM;
	if (rc != 0) {
		free(copy);
		free(s);
		return rc;
	}
	*s = (struct section){tag, flags, false, copy, len};
	b->bytes += len;
	return 0;
}

int ob_mock_blob_add(ob_mock_blob *b, uint32_t tag, uint32_t flags, const void *data, size_t len)
{
	return ob__mock_blob_add(b, tag, flags, data, len);
}

const void *ob_mock_blob_get(const ob_mock_blob *b, uint32_t tag, size_t *len)
{
	const struct section *s = ob__mock_blob_find(b, tag);

	*len = s != NULL ? s->len : 0;
	return s != NULL ? s->data : NULL;
}

bool ob_mock_blob_seen(const ob_mock_blob *b, uint32_t tag)
{
	const struct section *s = ob__mock_blob_find(b, tag);

	return s != NULL && s->seen;
}
