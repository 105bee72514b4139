/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F0.  Messages that nobody waits for, kept while their reader is slow.
 *
 * The queue is bounded: what does not fit makes the oldest ones go.  Where only the newest of each
 * id is worth having, the one before goes (conflation).
 */

#ifndef OB__PUSHQ_H
#define OB__PUSHQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/list.h"

#define OB__PUSHQ_LEN_MAX  4096u
#define OB__PUSHQ_OVERHEAD 64u /* bytes that a message counts beyond its own */

struct ob__pushq_item {
	struct ob__list link;
	uint32_t id;
	size_t len;
	uint8_t data[];
};

struct ob__pushq {
	struct ob__list items; /* oldest first */
	uint32_t len;
	size_t bytes; /* overhead included */
};

void ob__pushq_init(struct ob__pushq *q);
void ob__pushq_free(struct ob__pushq *q);

/* Keeps a copy, so that no more than `max` bytes are kept; *dropped is how many went for it. 0;
 * -E2BIG if it is longer than that; -ENOMEM; then nothing has changed. */
int ob__pushq_put(struct ob__pushq *q, uint32_t id, const void *data, size_t len, size_t max,
                  bool conflate, uint32_t *dropped);

/* Takes the oldest out; the caller frees it.  NULL when there is none. */
struct ob__pushq_item *ob__pushq_take(struct ob__pushq *q);

#endif
