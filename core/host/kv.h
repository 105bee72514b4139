/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  The key-value store of a module: host memory that every
 * generation of it shares (ob_kv_set() and so on say the bounds).
 */

#ifndef OB__KV_H
#define OB__KV_H

#include <stddef.h>

struct ob__kv;

struct ob__kv *ob__kv_new(void);
void ob__kv_free(struct ob__kv *kv);

/* 0, OB_E_INVAL, OB_E_TOO_BIG, OB_E_LIMIT, OB_E_NOMEM; after a failure the old value stays. */
int ob__kv_set(struct ob__kv *kv, const char *key, const void *data, size_t len);

/* Borrowed until the key is set or deleted; NULL if there is none. */
const void *ob__kv_get(const struct ob__kv *kv, const char *key, size_t *len);

/* 0 or OB_E_NOT_FOUND. */
int ob__kv_del(struct ob__kv *kv, const char *key);

/* The first key (`after` NULL) or the one behind it in strcmp() order, whether `after` is still
 * there or not; NULL at the end. */
const char *ob__kv_next(const struct ob__kv *kv, const char *after);

size_t ob__kv_count(const struct ob__kv *kv);
size_t ob__kv_bytes(const struct ob__kv *kv);

#endif
