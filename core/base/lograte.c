/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "base/lograte.h"

#include <stdlib.h>

#define PAIR_BURST 1u

struct pair {
	struct ob__list link;
	uint64_t who;
	uint32_t why;
	struct ob__log_limit limit;
};

void ob__lograte_init(struct ob__lograte *r, uint64_t seed)
{
	*r = (struct ob__lograte){0};
	ob__map_init(&r->map, seed);
	ob__list_init(&r->entries);
}

static void forget(struct ob__lograte *r, struct pair *p)
{
	(void)ob__map_del(&r->map, p->who, p->why);
	ob__list_del(&p->link);
	free(p);
}

void ob__lograte_free(struct ob__lograte *r)
{
	if (r == NULL || r->entries.next == NULL) {
		return;
	}
	while (!ob__list_empty(&r->entries)) {
		forget(r, OB__CONTAINER(r->entries.next, struct pair, link));
	}
	ob__map_free(&r->map);
}

/* False: the oldest one is needed. */
static bool make_room(struct ob__lograte *r, uint64_t now_ms)
{
	if (r->map.count < OB__LOGRATE_MAX) {
		return true;
	}
	struct pair *oldest = OB__CONTAINER(r->entries.next, struct pair, link);
	if (now_ms - oldest->limit.window_start < OB__LOG_LIMIT_MS) {
		return false;
	}
	forget(r, oldest);
	return true;
}

static struct pair *pair_of(struct ob__lograte *r, uint64_t who, uint32_t why, uint64_t now_ms)
{
	struct pair *p = ob__map_get(&r->map, who, why);
	if (p != NULL || !make_room(r, now_ms)) {
		return p;
	}
	p = calloc(1, sizeof(*p));
	if (p == NULL || ob__map_put(&r->map, who, why, p) != 0) {
		free(p);
		return NULL;
	}
	p->who = who;
	p->why = why;
	ob__list_init(&p->link);
	return p;
}

bool ob__lograte_allow(struct ob__lograte *r, uint64_t who, uint32_t why,
                       struct ob__log_limit *others, uint32_t burst, uint64_t now_ms,
                       uint32_t *missed)
{
	struct pair *p = who != 0 ? pair_of(r, who, why, now_ms) : NULL;
	if (p == NULL) {
		return ob__log_allow(others, burst, now_ms, missed);
	}
	if (!ob__log_allow(&p->limit, PAIR_BURST, now_ms, missed)) {
		return false;
	}
	ob__list_del(&p->link); /* its ten seconds begin now */
	ob__list_append(&r->entries, &p->link);
	return true;
}
