/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/session/moved.h"

#include <stdlib.h>

struct move {
	struct ob__list link;
	uint64_t seq;
	uint64_t until_ms;
	struct ob__resume_token now;
};

void ob__moves_init(struct ob__moves *m, uint32_t limit)
{
	*m = (struct ob__moves){.limit = limit};
	ob__list_init(&m->oldest);
}

static struct move *oldest(const struct ob__moves *m)
{
	return ob__list_empty(&m->oldest) ? NULL : OB__CONTAINER(m->oldest.next, struct move, link);
}

static void forget(struct ob__moves *m, struct move *move)
{
	ob__map_del(&m->by_seq, move->seq, 0);
	ob__list_del(&move->link);
	free(move);
}

void ob__moves_free(struct ob__moves *m)
{
	struct move *move;

	while ((move = oldest(m)) != NULL) {
		forget(m, move);
	}
	ob__map_free(&m->by_seq);
}

void ob__moves_put(struct ob__moves *m, uint64_t seq, const struct ob__resume_token *now,
                   uint64_t now_ms, uint64_t until_ms)
{
	struct move *move = ob__map_get(&m->by_seq, seq, 0);

	if (move != NULL) {
		forget(m, move);
	}
	while ((move = oldest(m)) != NULL &&
	       (move->until_ms <= now_ms || m->by_seq.count >= m->limit)) {
		forget(m, move);
	}
	move = malloc(sizeof(*move));
	if (move == NULL) {
		return;
	}
	*move = (struct move){.seq = seq, .until_ms = until_ms, .now = *now};
	if (ob__map_put(&m->by_seq, seq, 0, move) != 0) {
		free(move);
		return;
	}
	ob__list_append(&m->oldest, &move->link);
}

const struct ob__resume_token *ob__moves_get(const struct ob__moves *m, uint64_t seq,
                                             uint64_t now_ms)
{
	const struct move *move = ob__map_get(&m->by_seq, seq, 0);

	return move != NULL && move->until_ms > now_ms ? &move->now : NULL;
}
