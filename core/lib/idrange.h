/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F0.  Message id to value, by ranges and special ids.
 *
 * This is the shape of a route table: ranges are inclusive, a special id beats every range, and
 * where ranges overlap the one added last wins.  A table is filled, then sealed: sealing flattens
 * it into disjoint sorted intervals so that a lookup is one binary search over them.
 */

#ifndef OB__IDRANGE_H
#define OB__IDRANGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OB__IDRANGE_REPORTS_MAX 256u

struct ob__idrange_span {
	uint32_t lo;
	uint32_t hi;
	uint32_t value;
};

struct ob__idrange {
	struct ob__idrange_span *added; /* in the order of the calls, ranges only */
	size_t added_len;
	struct ob__idrange_span *special; /* lo == hi */
	size_t special_len;
	struct ob__idrange_span *flat; /* sorted and disjoint, after seal */
	size_t flat_len;
};

/* A pair that disagrees about some ids: of the two, `winner` has them.  For the caller's warning;
 * the spans are valid during the call. */
typedef void (*ob__idrange_overlap_cb)(const struct ob__idrange_span *winner,
                                       const struct ob__idrange_span *loser, bool special,
                                       void *arg);

/* A zeroed struct is a valid empty table too. */
void ob__idrange_init(struct ob__idrange *t);

/* Frees all and leaves an empty table.  NULL is accepted. */
void ob__idrange_free(struct ob__idrange *t);

/* 0, -EINVAL if lo > hi, -E2BIG beyond 65536 entries (ranges and specials together), -ENOMEM. */
int ob__idrange_add(struct ob__idrange *t, uint32_t lo, uint32_t hi, uint32_t value);

/* As add for one id that beats all ranges; of two for the same id the first one stays, as in the
 * seed's table, and seal reports the pair. */
int ob__idrange_add_special(struct ob__idrange *t, uint32_t id, uint32_t value);

/* Builds the flat form, anew if entries were added since.  `cb` may be NULL; it is called for each
 * pair of ranges, and each pair of specials, that overlap with different values, at most
 * OB__IDRANGE_REPORTS_MAX times for either.  A special within a range is not reported: that is what
 * specials are for.  0, or -ENOMEM with the earlier flat form in place. */
int ob__idrange_seal(struct ob__idrange *t, ob__idrange_overlap_cb cb, void *arg);

/* The half of the function below that has something to look at. */
bool ob__idrange_search(const struct ob__idrange *t, uint32_t id, uint32_t *value);

/* True and *value set if the id is covered.  Only after seal. */
static inline bool ob__idrange_find(const struct ob__idrange *t, uint32_t id, uint32_t *value)
{
	return t->flat_len != 0 && ob__idrange_search(t, id, value);
}

#endif
