/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F1.  The one loop thread of a node.
 *
 * A thin layer over libuv with the four things every part of the host shares: a monotonic clock
 * read once per turn, a timing wheel for timeouts, hooks that run just before the loop polls
 * (where output is flushed), and a queue through which other threads post work, in order.
 * Signals come in as plain callbacks.  The shared read buffer is here because reads never
 * overlap: what was read into it is handed over before it is read into again.
 */

#ifndef OB__LOOP_H
#define OB__LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/list.h"
#include "lib/wheel.h"

#define OB__LOOP_READ_BUFFER (256u << 10)

struct uv_loop_s;
struct ob__loop;

typedef void (*ob__loop_fn)(void *arg);

/* Embedded in whoever wants to run before each poll; fill fn and arg. */
struct ob__loop_hook {
	struct ob__list link;
	ob__loop_fn fn;
	void *arg;
};

/* A timeout on the wheel; embedded in the object that waits. */
struct ob__timeout {
	struct ob__wheel_entry entry;
	ob__loop_fn fn;
	void *arg;
};

/* NULL when out of memory or file descriptors. */
struct ob__loop *ob__loop_new(void);

/* Runs what is still deferred or posted and waits for handles that are closing and requests that
 * are under way, at most 5 s; then closes what the loop itself opened.  Work that comes even later
 * is dropped unrun, and no other thread may post any more.
 * 0, or -EBUSY if handles were left open (then the memory is leaked on purpose, and the number of
 * handles logged). NULL is accepted. */
int ob__loop_free(struct ob__loop *l);

/* Runs until ob__loop_stop(). */
void ob__loop_run(struct ob__loop *l);

/* Runs one turn without waiting; for tests. True while there is something left to do. */
bool ob__loop_turn(struct ob__loop *l);
void ob__loop_stop(struct ob__loop *l);

struct uv_loop_s *ob__loop_uv(struct ob__loop *l);

/* Milliseconds, monotonic, of the start of this turn. */
uint64_t ob__loop_now(const struct ob__loop *l);

/* Microseconds, monotonic, read now. */
uint64_t ob__loop_hrtime_us(void);

/* Runs hooks in the order they were added, before each poll.  A hook may add hooks and remove any,
 * itself included; removing one twice, or one that is zeroed, is harmless. */
void ob__loop_before_poll(struct ob__loop *l, struct ob__loop_hook *hook);
void ob__loop_hook_remove(struct ob__loop_hook *hook);

/* Runs fn(arg) once in the next turn, after the callbacks of this one have returned: no other
 * frame of ours is on the stack then.  0 or -ENOMEM. */
int ob__loop_defer(struct ob__loop *l, ob__loop_fn fn, void *arg);

/* From any thread: runs fn(arg) once on the loop, with no other frame of ours on the stack; posts
 * of one thread keep their order.  0 or -ENOMEM. */
int ob__loop_post(struct ob__loop *l, ob__loop_fn fn, void *arg);

void ob__timeout_init(struct ob__timeout *t, ob__loop_fn fn, void *arg);

/* Arms or re-arms for `ms` from ob__loop_now(); fires up to one tick of the wheel (10 ms) later. */
void ob__timeout_set(struct ob__loop *l, struct ob__timeout *t, uint64_t ms);
void ob__timeout_clear(struct ob__loop *l, struct ob__timeout *t);
bool ob__timeout_armed(const struct ob__timeout *t);

/* Calls fn(signum, arg) on the loop for each of `signums` (ended by 0). 0 or negative. */
int ob__loop_signals(struct ob__loop *l, const int *signums, void (*fn)(int signum, void *arg),
                     void *arg);

/* The shared read buffer, OB__LOOP_READ_BUFFER bytes. */
uint8_t *ob__loop_read_buffer(struct ob__loop *l);

#endif
