/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/fdwatch.h"

#include <stddef.h>

#include <uv.h>

#include "base/log.h"
#include "host/generation.h"
#include "host/node.h"
#include "host/work.h"
#include "mesh/handles.h"

#define WATCHES_MAX (1u << 16)

struct fd_watch {
	uv_poll_t poll; /* until its close callback the slot is taken */
	uint64_t handle;
	struct ob__list gen_link;
	struct ob__gen *gen;
	struct ob__works *works;
	ob_fd_fn fn;
	void *arg;
	uint32_t events;
	bool ended;
};

void ob__fd_watches_init(struct ob__works *w)
{
	ob__slab_init(&w->watches, sizeof(struct fd_watch), OB__KIND_WATCH, WATCHES_MAX);
}

static void on_closed(uv_handle_t *handle)
{
	struct fd_watch *w = handle->data;

	ob__slab_free(&w->works->watches, w);
}

static void end(struct fd_watch *w)
{
	w->ended = true;
	ob__list_del(&w->gen_link);
	uv_close((uv_handle_t *)&w->poll, on_closed);
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
	struct fd_watch *w = poll->data;
	struct ob__gen *g = w->gen;
	uint64_t handle = w->handle;
	ob_fd_fn fn = w->fn;
	void *arg = w->arg;
	uint32_t what = ((events & UV_READABLE) != 0 ? OB_FD_READABLE : 0) |
	                ((events & UV_WRITABLE) != 0 ? OB_FD_WRITABLE : 0);

	if (status < 0) {
		what = OB_FD_BROKEN;
		end(w);
	}
	ob__gen_ref(g);
	uint64_t entered = ob__gen_enter(g);
	fn(&g->ctx, handle, what, arg);
	ob__gen_leave(g, entered);
	ob__gen_unref(g);
}

static int poll_start(struct fd_watch *w)
{
	int events = ((w->events & OB_FD_READABLE) != 0 ? UV_READABLE : 0) |
	             ((w->events & OB_FD_WRITABLE) != 0 ? UV_WRITABLE : 0);

	return uv_poll_start(&w->poll, events, on_ready);
}

uint64_t ob__fd_watch(struct ob__gen *g, int fd, uint32_t events, ob_fd_fn fn, void *arg)
{
	struct ob__works *works = &g->node->works;
	uint64_t handle;

	if (!ob__gen_may_begin(g) || (g->state != OB__GEN_ACTIVE && g->state != OB__GEN_CANARY) ||
	    fn == NULL || fd < 0 || events == 0 ||
	    (events & ~(OB_FD_READABLE | OB_FD_WRITABLE)) != 0) {
		return 0;
	}
	struct fd_watch *w = ob__slab_alloc(&works->watches, &handle);
	if (w == NULL) {
		return 0;
	}
	w->handle = handle;
	w->gen = g;
	w->works = works;
	w->fn = fn;
	w->arg = arg;
	w->events = events;
	if (uv_poll_init(ob__loop_uv(g->node->loop), &w->poll, fd) != 0) {
		ob__slab_free(&works->watches, w);
		return 0;
	}
	w->poll.data = w;
	ob__list_append(&g->watches, &w->gen_link);
	if (poll_start(w) != 0) {
		end(w);
		return 0;
	}
	return handle;
}

int ob__fd_unwatch(struct ob__gen *g, uint64_t watch)
{
	struct fd_watch *w = ob__slab_get(&g->node->works.watches, watch);

	if (w == NULL || w->ended || w->gen->module != g->module) {
		return OB_E_STALE;
	}
	end(w);
	return 0;
}

void ob__fd_watches_pause(struct ob__gen *g, bool pause)
{
	OB__LIST_EACH_SAFE (it, &g->watches) {
		struct fd_watch *w = OB__CONTAINER(it, struct fd_watch, gen_link);
		if (pause) {
			uv_poll_stop(&w->poll);
		} else if (poll_start(w) != 0) {
			ob__error("module", "%s: a descriptor can't be watched any more",
			          g->module->name);
			end(w);
		}
	}
}

void ob__fd_watches_end(struct ob__gen *g)
{
	OB__LIST_EACH_SAFE (it, &g->watches) {
		end(OB__CONTAINER(it, struct fd_watch, gen_link));
	}
}
