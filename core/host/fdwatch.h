/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  Descriptors that modules have watched (ob_fd_watch).
 *
 * A watch is a registration with the poll of the loop; the descriptor is the module's.  It belongs
 * to its generation as a repeating timer does, and holds no reference to it: while the generation
 * stands by it is paused, so that the one that serves can watch the same descriptor, and when that
 * has taken over for good it ends.
 */

#ifndef OB__FDWATCH_H
#define OB__FDWATCH_H

#include <stdbool.h>
#include <stdint.h>

#include <obhost/obhost.h>

struct ob__gen;
struct ob__works;

void ob__fd_watches_init(struct ob__works *w);

/* 0: not possible. */
uint64_t ob__fd_watch(struct ob__gen *g, int fd, uint32_t events, ob_fd_fn fn, void *arg);
int ob__fd_unwatch(struct ob__gen *g, uint64_t watch);

/* Of a generation that no longer serves, or does so again.  A descriptor that can't be watched any
 * more then is logged, and the watch has ended. */
void ob__fd_watches_pause(struct ob__gen *g, bool pause);

/* Ends all of them without a word. */
void ob__fd_watches_end(struct ob__gen *g);

#endif
