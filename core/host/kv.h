/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  The key-value store of a module: host memory that every
 * generation of it shares (ob_kv_set() and so on say the bounds).
 *
 * A skip list in the order of strcmp(): finding, setting and stepping take a time that grows with
 * the logarithm of the number of keys, and a key or value stays where it is until it is replaced.
 */

#ifndef OB__KV_H
#define OB__KV_H

#include <stddef.h>

#define OB__KV_KEY_MAX   255u
#define OB__KV_VALUE_MAX (1u << 20)
#define OB__KV_KEYS_MAX  65536u
#define OB__KV_BYTES_MAX (64u << 20) /* keys and values */

struct ob__kv;

/* NULL: out of memory. */
struct ob__kv *ob__kv_new(void);
void ob__kv_free(struct ob__kv *kv);

/* 0, OB_E_INVAL (key, or bytes that are NULL), OB_E_TOO_BIG, OB_E_LIMIT, OB_E_NOMEM; after a
 * failure the old value stays.  `data` may be the old value. */
int ob__kv_set(struct ob__kv *kv, const char *key, const void *data, size_t len);

/* Borrowed until the key is set or deleted, aligned for any type; NULL if there is none.  `len`
 * may be NULL. */
const void *ob__kv_get(const struct ob__kv *kv, const char *key, size_t *len);

/* 0 or OB_E_NOT_FOUND. */
int ob__kv_del(struct ob__kv *kv, const char *key);

/* The first key (`after` NULL) or the one behind it in strcmp() order, whether `after` is still
 * there or not; NULL at the end. */
const char *ob__kv_next(const struct ob__kv *kv, const char *after);

size_t ob__kv_count(const struct ob__kv *kv);
size_t ob__kv_bytes(const struct ob__kv *kv);

#endif
