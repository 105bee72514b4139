/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  What a module sets going besides requests: timers, kept messages,
 * jobs on the thread pool, posts from other threads, HTTP requests, administrative verbs.
 *
 * Each piece belongs to its generation and, while it can still call back, holds a reference to it.
 * A repeating timer holds none: it ends when a newer generation takes over.
 */

#ifndef OB__WORK_H
#define OB__WORK_H

#include <stddef.h>
#include <stdint.h>

#include <obhost/obhost.h>

#include "host/generation.h"
#include "lib/cron.h"
#include "lib/slab.h"

#define OB__VIEW_1_0 offsetof(ob_view, name) /* what an ob_view had at first */

/* Seconds since 1970 of the machine's clock, and how far local time is ahead of it then; a test's
 * own in tests. */
struct ob__wall {
	int64_t (*now)(void *arg);
	ob__cron_offset offset;
	void *arg;
};

struct ob__works {
	struct ob__wall wall;
	struct ob__slab timers;
	struct ob__slab msgs;
	struct ob__slab watches; /* host/fdwatch.h */
	uint32_t jobs;           /* on the thread pool */
	uint32_t admin_deep;     /* verbs on the stack that a module asked for */
};

void ob__works_init(struct ob__works *w);
void ob__works_free(struct ob__works *w);

uint64_t ob__work_timer(struct ob__gen *g, uint64_t delay_ms, uint64_t repeat_ms, ob_timer_fn fn,
                        void *arg);
uint64_t ob__work_timer_with(struct ob__gen *g, const ob_timer_options *options, ob_timer_fn fn,
                             void *arg);
int ob__work_timer_stop(struct ob__gen *g, uint64_t timer);

uint64_t ob__work_msg(struct ob__gen *g, const ob_view *view);
int ob__work_msg_view(struct ob__gen *g, uint64_t msg, ob_view *view);
int ob__work_msg_release(struct ob__gen *g, uint64_t msg);

int ob__work_job(struct ob__gen *g, ob_work_fn work, ob_post_fn done, void *arg);
int ob__work_post(struct ob__gen *g, ob_post_fn fn, void *arg);
int ob__work_http(struct ob__gen *g, const ob_http_request *request, ob_http_fn fn, void *arg);
int ob__work_admin(struct ob__gen *g, const char *verb, json_t *args_stolen, ob_admin_fn fn,
                   void *arg);

/* A job of the generation waits for, or runs on, the thread pool. */
bool ob__work_running(const struct ob__gen *g);

/* The generation drains: repeating timers end, and watches. */
void ob__work_drain(struct ob__gen *g);

/* Its time to drain is over: single timers fire now, HTTP requests end with GONE, and no timer can
 * be set any more. */
void ob__work_expire(struct ob__gen *g);

/* Frees what needs no calling back: all timers and kept messages. */
void ob__work_drop(struct ob__gen *g);

#endif
