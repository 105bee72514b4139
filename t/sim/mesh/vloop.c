/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * libuv's loop, handles and timers on virtual time, as far as core/base/loop.c uses them, in the
 * order of libuv 1.44: timers, idle, prepare, poll, check, close callbacks.  A poll never waits:
 * the world runs a turn when there is something to do.
 */

#include "t/sim/mesh/virtual.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

size_t vhandles_open;

static struct vloop *loop_of(const uv_loop_t *loop)
{
	return loop->data;
}

/* ---------------------------------------------------------------- handles */

struct vhandle *vhandle_of(const void *h)
{
	return ((const uv_handle_t *)h)->u.reserved[3];
}

struct vhandle *vhandle_bare(uv_loop_t *loop, uv_handle_type type)
{
	struct vhandle *h = calloc(1, sizeof(*h));
	if (h == NULL) {
		abort();
	}
	h->loop = loop_of(loop);
	h->type = type;
	ob__list_init(&h->link);
	ob__list_init(&h->ready_link);
	bool stream = type == UV_TCP || type == UV_NAMED_PIPE;
	ob__list_append(stream ? &h->loop->streams : &h->loop->handles, &h->link);
	vhandles_open++;
	return h;
}

struct vhandle *vhandle_new(uv_loop_t *loop, uv_handle_t *uv, uv_handle_type type)
{
	struct vhandle *h = vhandle_bare(loop, type);
	h->uv = uv;
	uv->loop = loop;
	uv->type = type;
	uv->u.reserved[3] = h;
	return h;
}

void vhandle_ready(struct vhandle *h)
{
	if (!ob__list_on(&h->ready_link)) {
		ob__list_append(&h->loop->ready, &h->ready_link);
	}
}

static void set_active(const void *uv, bool on)
{
	vhandle_of(uv)->active = on;
}

void uv_ref(uv_handle_t *h)
{
	vhandle_of(h)->weak = false;
}

void uv_unref(uv_handle_t *h)
{
	vhandle_of(h)->weak = true;
}

void vhandle_close(struct vhandle *h)
{
	h->active = false;
	ob__list_del(&h->ready_link);
	ob__list_del(&h->link);
	ob__list_append(&h->loop->closing, &h->link);
	vstream_close(h);
}

void uv_close(uv_handle_t *uv, uv_close_cb cb)
{
	vhandle_of(uv)->on_close = cb;
	vhandle_close(vhandle_of(uv));
}

/* libuv's two kinds of sockets are only those of listeners. */
int uv_tcp_init(uv_loop_t *loop, uv_tcp_t *tcp)
{
	vhandle_new(loop, (uv_handle_t *)tcp, UV_TCP);
	return 0;
}

int uv_pipe_init(uv_loop_t *loop, uv_pipe_t *pipe, int ipc)
{
	(void)ipc;
	vhandle_new(loop, (uv_handle_t *)pipe, UV_NAMED_PIPE);
	return 0;
}

int uv_is_active(const uv_handle_t *h)
{
	return vhandle_of(h)->active;
}

int uv_idle_init(uv_loop_t *loop, uv_idle_t *h)
{
	vhandle_new(loop, (uv_handle_t *)h, UV_IDLE);
	return 0;
}

int uv_idle_start(uv_idle_t *h, uv_idle_cb cb)
{
	vhandle_of(h)->cb.idle = cb;
	set_active(h, true);
	return 0;
}

int uv_idle_stop(uv_idle_t *h)
{
	set_active(h, false);
	return 0;
}

int uv_prepare_init(uv_loop_t *loop, uv_prepare_t *h)
{
	vhandle_new(loop, (uv_handle_t *)h, UV_PREPARE);
	return 0;
}

int uv_prepare_start(uv_prepare_t *h, uv_prepare_cb cb)
{
	vhandle_of(h)->cb.prepare = cb;
	set_active(h, true);
	return 0;
}

int uv_check_init(uv_loop_t *loop, uv_check_t *h)
{
	vhandle_new(loop, (uv_handle_t *)h, UV_CHECK);
	return 0;
}

int uv_check_start(uv_check_t *h, uv_check_cb cb)
{
	vhandle_of(h)->cb.check = cb;
	set_active(h, true);
	return 0;
}

int uv_check_stop(uv_check_t *h)
{
	set_active(h, false);
	return 0;
}

int uv_async_init(uv_loop_t *loop, uv_async_t *h, uv_async_cb cb)
{
	vhandle_new(loop, (uv_handle_t *)h, UV_ASYNC)->cb.async = cb;
	set_active(h, true);
	return 0;
}

int uv_async_send(uv_async_t *h)
{
	vhandle_of(h)->sent = true;
	sim_wake(vhandle_of(h)->loop->node);
	return 0;
}

/* Nobody sends signals to a virtual process. */
int uv_signal_init(uv_loop_t *loop, uv_signal_t *h)
{
	vhandle_new(loop, (uv_handle_t *)h, UV_SIGNAL);
	return 0;
}

int uv_signal_start(uv_signal_t *h, uv_signal_cb cb, int signum)
{
	(void)h;
	(void)cb;
	(void)signum;
	return 0;
}

int uv_timer_init(uv_loop_t *loop, uv_timer_t *h)
{
	vhandle_new(loop, (uv_handle_t *)h, UV_TIMER);
	return 0;
}

int uv_timer_start(uv_timer_t *uv, uv_timer_cb cb, uint64_t timeout, uint64_t repeat)
{
	struct vhandle *h = vhandle_of(uv);
	h->cb.timer = cb;
	h->due = h->loop->now + timeout;
	h->repeat = repeat;
	h->active = true;
	return 0;
}

int uv_timer_stop(uv_timer_t *h)
{
	set_active(h, false);
	return 0;
}

static void walk(struct ob__list *handles, uv_walk_cb cb, void *arg)
{
	OB__LIST_EACH_SAFE (it, handles) {
		cb(OB__CONTAINER(it, struct vhandle, link)->uv, arg);
	}
}

void uv_walk(uv_loop_t *loop, uv_walk_cb cb, void *arg)
{
	struct vloop *l = loop_of(loop);
	walk(&l->handles, cb, arg);
	walk(&l->streams, cb, arg);
	walk(&l->closing, cb, arg);
}

/* ---------------------------------------------------------------- look-ups */

#define LOOKUP_MS 5u

struct lookup {
	struct ob__list link;
	uv_getaddrinfo_t *req;
	uv_getaddrinfo_cb cb;
	uint64_t due;
	int status;
	char name[64];
	uint16_t port;
};

int uv_getaddrinfo(uv_loop_t *loop, uv_getaddrinfo_t *req, uv_getaddrinfo_cb cb, const char *name,
                   const char *service, const struct addrinfo *hints)
{
	(void)hints;
	struct vloop *l = loop_of(loop);
	struct lookup *lookup = calloc(1, sizeof(*lookup));
	if (lookup == NULL) {
		return UV_ENOMEM;
	}
	lookup->req = req;
	lookup->cb = cb;
	lookup->due = l->now + LOOKUP_MS + sim_below(l->node->world, 10 * LOOKUP_MS);
	lookup->port = (uint16_t)atoi(service);
	snprintf(lookup->name, sizeof(lookup->name), "%s", name);
	req->reserved[0] = lookup;
	ob__list_init(&lookup->link);
	ob__list_append(&l->lookups, &lookup->link);
	return 0;
}

int uv_cancel(uv_req_t *req)
{
	struct lookup *lookup = req->reserved[0];
	lookup->status = UV_ECANCELED;
	lookup->due = 0;
	return 0;
}

void uv_freeaddrinfo(struct addrinfo *found)
{
	while (found != NULL) {
		struct addrinfo *next = found->ai_next;
		free(found);
		found = next;
	}
}

static struct addrinfo *address_new(const char *host, uint16_t port)
{
	struct {
		struct addrinfo ai;
		struct sockaddr_in in;
	} *both = calloc(1, sizeof(*both));
	if (both == NULL) {
		return NULL;
	}
	uv_ip4_addr(host, port, &both->in);
	both->ai.ai_family = AF_INET;
	both->ai.ai_socktype = SOCK_STREAM;
	both->ai.ai_addr = (struct sockaddr *)&both->in;
	both->ai.ai_addrlen = sizeof(both->in);
	return &both->ai;
}

/* "nodeN" has the address of node N, now and then behind one where nobody is. */
static struct addrinfo *resolve(struct sim_world *w, const struct lookup *lookup)
{
	unsigned index;
	if (sscanf(lookup->name, "node%u", &index) != 1 || index >= sim_nodes(w)) {
		return NULL;
	}
	struct addrinfo *found = address_new(sim_node(w, index)->host, lookup->port);
	if (found != NULL && sim_chance(w, 300)) {
		struct addrinfo *nobody = address_new("10.255.255.1", lookup->port);
		if (nobody != NULL) {
			nobody->ai_next = found;
			found = nobody;
		}
	}
	return found;
}

static void run_lookups(struct vloop *l)
{
	OB__LIST_EACH_SAFE (it, &l->lookups) {
		struct lookup *lookup = OB__CONTAINER(it, struct lookup, link);
		if (lookup->due > l->now) {
			continue;
		}
		struct lookup done = *lookup;
		ob__list_del(it);
		free(lookup);
		struct addrinfo *found = done.status == 0 ? resolve(l->node->world, &done) : NULL;
		if (done.status == 0 && found == NULL) {
			done.status = UV_EAI_NONAME;
		}
		l->worked = true;
		done.cb(done.req, done.status, found);
		return; /* the list may be another now; there is a next turn */
	}
}

/* ---------------------------------------------------------------- the loop */

int uv_loop_init(uv_loop_t *loop)
{
	struct vloop *l = calloc(1, sizeof(*l));
	if (l == NULL) {
		return UV_ENOMEM;
	}
	*loop = (uv_loop_t){.data = l};
	l->uv = loop;
	l->node = sim_current;
	ob__list_init(&l->handles);
	ob__list_init(&l->streams);
	ob__list_init(&l->closing);
	ob__list_init(&l->ready);
	ob__list_init(&l->lookups);
	l->now = sim_local_us(l->node) / 1000;
	l->node->vloop = l;
	return 0;
}

int uv_loop_close(uv_loop_t *loop)
{
	struct vloop *l = loop_of(loop);
	if (!ob__list_empty(&l->handles) || !ob__list_empty(&l->streams) ||
	    !ob__list_empty(&l->closing) || !ob__list_empty(&l->lookups)) {
		return UV_EBUSY;
	}
	l->node->vloop = NULL;
	free(l);
	return 0;
}

uint64_t uv_now(const uv_loop_t *loop)
{
	return loop_of(loop)->now;
}

uint64_t uv_hrtime(void)
{
	return (sim_local_us(sim_current) + sim_current->vloop->ahead_us) * 1000;
}

void uv_stop(uv_loop_t *loop)
{
	(void)loop;
}

static bool keeps_alive(const struct ob__list *handles)
{
	OB__LIST_EACH (it, handles) {
		const struct vhandle *h = OB__CONTAINER(it, struct vhandle, link);
		if (h->active && !h->weak) {
			return true;
		}
	}
	return false;
}

int uv_loop_alive(const uv_loop_t *loop)
{
	const struct vloop *l = loop_of(loop);
	return !ob__list_empty(&l->closing) || !ob__list_empty(&l->lookups) ||
	       keeps_alive(&l->streams) || keeps_alive(&l->handles);
}

static struct vhandle *due_timer(const struct vloop *l)
{
	struct vhandle *first = NULL;
	OB__LIST_EACH (it, &l->handles) {
		struct vhandle *h = OB__CONTAINER(it, struct vhandle, link);
		if (h->type == UV_TIMER && h->active && (first == NULL || h->due < first->due)) {
			first = h;
		}
	}
	return first;
}

static uint64_t due_lookup(const struct vloop *l)
{
	uint64_t due = UINT64_MAX;
	OB__LIST_EACH (it, &l->lookups) {
		const struct lookup *lookup = OB__CONTAINER(it, struct lookup, link);
		due = lookup->due < due ? lookup->due : due;
	}
	return due;
}

uint64_t vloop_due(const struct vloop *l)
{
	const struct vhandle *timer = due_timer(l);
	uint64_t lookup = due_lookup(l);
	return timer != NULL && timer->due < lookup ? timer->due : lookup;
}

static void run_timers(struct vloop *l)
{
	struct vhandle *h;
	while ((h = due_timer(l)) != NULL && h->due <= l->now) {
		h->active = false;
		l->worked = true;
		h->cb.timer((uv_timer_t *)h->uv);
	}
}

/* Those of a kind that are active now; libuv has few of them, and none is closed by a callback
 * here. */
static void run_kind(struct vloop *l, uv_handle_type type)
{
	struct vhandle *found[16];
	size_t n = 0;
	OB__LIST_EACH (it, &l->handles) {
		struct vhandle *h = OB__CONTAINER(it, struct vhandle, link);
		if (h->type == type && h->active && n < 16) {
			found[n++] = h;
		}
	}
	for (size_t i = 0; i < n; i++) {
		if (type == UV_IDLE) {
			found[i]->cb.idle((uv_idle_t *)found[i]->uv);
		} else if (type == UV_PREPARE) {
			found[i]->cb.prepare((uv_prepare_t *)found[i]->uv);
		} else if (type == UV_CHECK) {
			found[i]->cb.check((uv_check_t *)found[i]->uv);
		} else if (type == UV_ASYNC && found[i]->sent) {
			found[i]->sent = false;
			l->worked = true;
			found[i]->cb.async((uv_async_t *)found[i]->uv);
		}
	}
}

static void run_ready(struct vloop *l)
{
	struct ob__list now;
	ob__list_init(&now);
	ob__list_splice(&now, &l->ready);
	while (!ob__list_empty(&now)) {
		/* epoll's order is anybody's guess. */
		struct ob__list *it = sim_chance(l->node->world, 250) ? now.prev : now.next;
		struct vhandle *h = OB__CONTAINER(it, struct vhandle, ready_link);
		ob__list_del(it);
		if (h->listener != NULL ? vlistener_waits(h) : vstream_waits(h)) {
			l->worked = true;
			if (h->listener != NULL) {
				vlistener_event(h);
			} else {
				vstream_event(h);
			}
		}
	}
}

static void run_closing(struct vloop *l)
{
	struct ob__list now;
	ob__list_init(&now);
	ob__list_splice(&now, &l->closing);
	while (!ob__list_empty(&now)) {
		struct vhandle *h = OB__CONTAINER(now.next, struct vhandle, link);
		ob__list_del(&h->link);
		uv_handle_t *uv = h->uv;
		uv_close_cb cb = h->on_close;
		free(h);
		vhandles_open--;
		l->worked = true;
		if (cb != NULL) {
			cb(uv);
		}
	}
}

bool vloop_busy(const struct vloop *l)
{
	OB__LIST_EACH (it, &l->handles) {
		const struct vhandle *h = OB__CONTAINER(it, struct vhandle, link);
		if ((h->type == UV_IDLE && h->active) || h->sent) {
			return true;
		}
	}
	return l->worked || !ob__list_empty(&l->ready) || !ob__list_empty(&l->closing) ||
	       vloop_due(l) <= sim_local_us(l->node) / 1000;
}

int uv_run(uv_loop_t *loop, uv_run_mode mode)
{
	struct vloop *l = loop_of(loop);
	l->worked = false;
	l->now = (sim_local_us(l->node) + l->ahead_us) / 1000;
	run_timers(l);
	run_kind(l, UV_IDLE);
	run_kind(l, UV_PREPARE);
	run_ready(l);
	run_kind(l, UV_ASYNC);
	run_lookups(l);
	run_kind(l, UV_CHECK);
	run_closing(l);
	/* A wait, which only a process that ends does itself. */
	uint64_t due = vloop_due(l);
	bool waits = mode == UV_RUN_ONCE || !l->node->running;
	if (waits && !vloop_busy(l) && due != UINT64_MAX && due > l->now) {
		l->ahead_us += (due - l->now) * 1000;
	}
	return uv_loop_alive(loop);
}

/* ---------------------------------------------------------------- words and addresses */

const char *uv_strerror(int err)
{
	switch (err) {
#define WORDS(name, text) \
	case UV_##name:   \
		return text;
		UV_ERRNO_MAP(WORDS)
#undef WORDS
	default:
		return "unknown error";
	}
}

const char *uv_err_name(int err)
{
	return uv_strerror(err);
}

uv_buf_t uv_buf_init(char *base, unsigned len)
{
	return (uv_buf_t){.base = base, .len = len};
}

int uv_ip4_addr(const char *ip, int port, struct sockaddr_in *addr)
{
	*addr = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	return inet_pton(AF_INET, ip, &addr->sin_addr) == 1 ? 0 : UV_EINVAL;
}

int uv_ip6_addr(const char *ip, int port, struct sockaddr_in6 *addr)
{
	*addr = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
	return inet_pton(AF_INET6, ip, &addr->sin6_addr) == 1 ? 0 : UV_EINVAL;
}

int uv_ip4_name(const struct sockaddr_in *addr, char *out, size_t cap)
{
	return inet_ntop(AF_INET, &addr->sin_addr, out, (socklen_t)cap) != NULL ? 0 : UV_ENOSPC;
}

int uv_ip6_name(const struct sockaddr_in6 *addr, char *out, size_t cap)
{
	return inet_ntop(AF_INET6, &addr->sin6_addr, out, (socklen_t)cap) != NULL ? 0 : UV_ENOSPC;
}
