/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  Sessions that are another proxy's now.
 *
 * A client that has moved to another proxy may not hear so: its connection breaks once more before
 * the answer is there, and it comes back with the token that it knows.  So the former proxy
 * remembers, as long as such a client would be waited for, which token is the session's now.  Who
 * asks with the old one is sent there.
 *
 * There is a bound, beyond which the oldest are forgotten.
 */

#ifndef OB__SESSION_MOVED_H
#define OB__SESSION_MOVED_H

#include <stdint.h>

#include "lib/list.h"
#include "lib/map.h"
#include "mesh/resumetoken.h"

struct ob__moves {
	struct ob__map by_seq;
	struct ob__list oldest;
	uint32_t limit; /* most that are remembered */
};

void ob__moves_init(struct ob__moves *m, uint32_t limit);
void ob__moves_free(struct ob__moves *m);

/* The session of that number has the token `now` elsewhere, which is remembered until `until_ms` of
 * the loop's time.  Without memory it is not. */
void ob__moves_put(struct ob__moves *m, uint64_t seq, const struct ob__resume_token *now,
                   uint64_t now_ms, uint64_t until_ms);

/* Its token, or NULL: it has not moved, or that was long ago.  Until the next put. */
const struct ob__resume_token *ob__moves_get(const struct ob__moves *m, uint64_t seq,
                                             uint64_t now_ms);

#endif
