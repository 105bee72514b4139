/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/work.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <uv.h>

#include "base/loop.h"
#include "host/admin/admin.h"
#include "host/fdwatch.h"
#include "host/node.h"
#include "mesh/handles.h"
#include "net/httpc.h"

#define TIMERS_MAX   (1u << 20)
#define MSGS_MAX     (1u << 20)
#define DELAY_MAX    (366ull * 24 * 3600 * 1000)
#define CRON_LOOK_S  20 /* between two looks at the clock */
#define CRON_SOON_MS 50u
#define CRON_BACK_S  (3 * 3600)
#define ADMIN_DEEP   8u /* verbs asked for in the answer to another, on one stack */

struct timer {
	uint64_t handle;
	struct ob__timeout timeout;
	struct ob__list gen_link;
	struct ob__gen *gen;
	ob_timer_fn fn;
	void *arg;
	uint64_t repeat; /* not 0 of all that ends when a newer generation takes over */
	uint64_t due;    /* of a fixed one: loop ms */
	uint64_t left;   /* times to fire; 0: no end */
	bool fixed;
	struct by_calendar *cron; /* or NULL */
};

/* By the calendar. */
struct by_calendar {
	struct ob__cron cron;
	bool local;
	int64_t last; /* what it was looked for behind last */
	int64_t next; /* when it fires, s; or OB__CRON_NEVER */
};

struct held_msg {
	uint64_t handle;
	struct ob__list gen_link;
	struct ob__gen *gen;
	ob_view view;
	void *bytes; /* payload and method, owned */
};

/* Something outside the loop turn that will call back into a generation. */
struct wait {
	struct ob__list gen_link;
	struct ob__gen *gen;
	void *arg;
	ob_post_fn post;
	ob_work_fn work;
	ob_http_fn http;
	ob_admin_fn admin;
	char *verb; /* that waits for its turn, with its arguments; owned */
	json_t *args;
	uint64_t http_id;
	uv_work_t req;
};

static int64_t wall_now(void *arg)
{
	(void)arg;
	return (int64_t)time(NULL);
}

static int32_t local_offset(void *arg, int64_t at)
{
	time_t t = (time_t)at;
	struct tm tm;

	(void)arg;
	return localtime_r(&t, &tm) != NULL ? (int32_t)tm.tm_gmtoff : 0;
}

void ob__works_init(struct ob__works *w)
{
	w->wall = (struct ob__wall){.now = wall_now, .offset = local_offset};
	ob__slab_init(&w->timers, sizeof(struct timer), OB__KIND_TIMER, TIMERS_MAX);
	ob__slab_init(&w->msgs, sizeof(struct held_msg), OB__KIND_MSG, MSGS_MAX);
	ob__fd_watches_init(w);
}

void ob__works_free(struct ob__works *w)
{
	ob__slab_destroy(&w->timers);
	ob__slab_destroy(&w->msgs);
	ob__slab_destroy(&w->watches);
}

/* ---- timers ---- */

static void timer_end(struct timer *t)
{
	struct ob__gen *g = t->gen;
	bool single = t->repeat == 0;

	ob__timeout_clear(g->node->loop, &t->timeout);
	ob__list_del(&t->gen_link);
	free(t->cron);
	ob__slab_free(&g->node->works.timers, t);
	if (single) {
		ob__gen_unref(g);
	}
}

/* ---- by the calendar ---- */

/* How long to wait, in ms: till it is due, but not so long that a clock which is set goes
 * unnoticed. */
static uint64_t cron_wait(const struct ob__node *node, const struct by_calendar *c)
{
	int64_t left = c->next == OB__CRON_NEVER
	                       ? CRON_LOOK_S
	                       : c->next - node->works.wall.now(node->works.wall.arg);

	left = left < 0 ? 0 : left > CRON_LOOK_S ? CRON_LOOK_S : left;
	/* Within the last second it looks often enough to be in time. */
	return left > 1 ? (uint64_t)(left - 1) * 1000 : CRON_SOON_MS;
}

static void cron_plan(const struct ob__node *node, struct by_calendar *c, int64_t after)
{
	const struct ob__wall *wall = &node->works.wall;

	c->last = after;
	c->next = ob__cron_next(&c->cron, after, c->local ? wall->offset : NULL, wall->arg);
}

/* True when it is due; then what comes next is planned. */
static bool cron_due(const struct ob__node *node, struct by_calendar *c)
{
	int64_t now = node->works.wall.now(node->works.wall.arg);

	if (now <
	    c->last - CRON_BACK_S) { /* the clock was set back by more than one makes up for */
		cron_plan(node, c, now);
		return false;
	}
	if (c->next == OB__CRON_NEVER || now < c->next) {
		return false;
	}
	cron_plan(node, c, now);
	return true;
}

/* ---- all timers ---- */

/* When it fires next; it is armed. */
static void timer_again(struct timer *t)
{
	struct ob__loop *loop = t->gen->node->loop;
	uint64_t now = ob__loop_now(loop);
	uint64_t wait = t->repeat;

	if (t->cron != NULL) {
		wait = cron_wait(t->gen->node, t->cron);
	} else if (t->fixed) {
		t->due += t->repeat;
		if (t->due + t->repeat <= now) { /* what was missed comes once */
			t->due = now - (now - t->due) % t->repeat;
		}
		wait = t->due > now ? t->due - now : 0;
	}
	ob__timeout_set(loop, &t->timeout, wait);
}

static void timer_fire(void *arg)
{
	struct timer *t = arg;
	struct ob__gen *g = t->gen;
	uint64_t handle = t->handle;
	ob_timer_fn fn = t->fn;
	void *fn_arg = t->arg;

	if (t->cron != NULL && !cron_due(g->node, t->cron)) {
		timer_again(t);
		return;
	}
	if (t->repeat != 0 && g->state == OB__GEN_STANDBY) {
		timer_again(t);
		return; /* the generation that serves has its own */
	}
	ob__gen_ref(g);
	if (t->repeat == 0 || t->left == 1) {
		timer_end(t);
	} else {
		t->left -= t->left > 0;
		timer_again(t);
	}
	uint64_t entered = ob__gen_enter(g);
	fn(&g->ctx, handle, fn_arg);
	ob__gen_leave(g, entered);
	ob__gen_unref(g);
}

static struct timer *timer_new(struct ob__gen *g, uint64_t repeat, ob_timer_fn fn, void *arg)
{
	uint64_t handle;

	if (!ob__gen_may_begin(g) || fn == NULL ||
	    (repeat != 0 && g->state != OB__GEN_ACTIVE && g->state != OB__GEN_CANARY)) {
		return NULL;
	}
	struct timer *t = ob__slab_alloc(&g->node->works.timers, &handle);
	if (t == NULL) {
		return NULL;
	}
	t->handle = handle;
	t->gen = g;
	t->fn = fn;
	t->arg = arg;
	t->repeat = repeat;
	ob__list_append(&g->timers, &t->gen_link);
	ob__timeout_init(&t->timeout, timer_fire, t);
	if (repeat == 0) {
		ob__gen_ref(g);
	}
	return t;
}

uint64_t ob__work_timer(struct ob__gen *g, uint64_t delay_ms, uint64_t repeat_ms, ob_timer_fn fn,
                        void *arg)
{
	struct timer *t = delay_ms <= DELAY_MAX && repeat_ms <= DELAY_MAX
	                          ? timer_new(g, repeat_ms, fn, arg)
	                          : NULL;

	if (t == NULL) {
		return 0;
	}
	ob__timeout_set(g->node->loop, &t->timeout, delay_ms);
	return t->handle;
}

static uint64_t timer_cron(struct ob__gen *g, const ob_timer_options *o, ob_timer_fn fn, void *arg)
{
	struct by_calendar *c = calloc(1, sizeof(*c));
	struct timer *t = NULL;

	if (c != NULL && ob__cron_parse(&c->cron, o->cron) == 0) {
		c->local = (o->flags & OB_TIMER_LOCAL) != 0;
		cron_plan(g->node, c, g->node->works.wall.now(g->node->works.wall.arg));
		t = c->next != OB__CRON_NEVER ? timer_new(g, 1, fn, arg) : NULL;
	}
	if (t == NULL) {
		free(c);
		return 0;
	}
	t->cron = c;
	t->left = o->count;
	timer_again(t);
	return t->handle;
}

uint64_t ob__work_timer_with(struct ob__gen *g, const ob_timer_options *o, ob_timer_fn fn,
                             void *arg)
{
	if (o == NULL || o->size != sizeof(*o) ||
	    (o->flags & ~(OB_TIMER_FIXED | OB_TIMER_LOCAL)) != 0 || o->delay_ms > DELAY_MAX ||
	    o->repeat_ms > DELAY_MAX || (o->cron == NULL && (o->flags & OB_TIMER_LOCAL) != 0) ||
	    (o->cron != NULL &&
	     (o->delay_ms != 0 || o->repeat_ms != 0 || o->flags & OB_TIMER_FIXED)) ||
	    (o->cron == NULL && o->repeat_ms == 0 && o->count > 1)) {
		return 0;
	}
	if (o->cron != NULL) {
		return timer_cron(g, o, fn, arg);
	}
	struct timer *t = timer_new(g, o->repeat_ms, fn, arg);
	if (t == NULL) {
		return 0;
	}
	t->fixed = (o->flags & OB_TIMER_FIXED) != 0;
	t->left = o->count;
	t->due = ob__loop_now(g->node->loop) + o->delay_ms;
	ob__timeout_set(g->node->loop, &t->timeout, o->delay_ms);
	return t->handle;
}

int ob__work_timer_stop(struct ob__gen *g, uint64_t timer)
{
	struct timer *t = ob__slab_get(&g->node->works.timers, timer);

	if (t == NULL || t->gen->module != g->module) {
		return OB_E_STALE;
	}
	timer_end(t);
	return 0;
}

static void timers_end(struct ob__gen *g, bool single_too)
{
	OB__LIST_EACH_SAFE (it, &g->timers) {
		struct timer *t = OB__CONTAINER(it, struct timer, gen_link);
		if (single_too || t->repeat != 0) {
			timer_end(t);
		}
	}
}

/* A callback that was promised comes, if early: what it frees would be lost otherwise. */
static void timers_fire(struct ob__gen *g)
{
	timers_end(g, false);
	while (!ob__list_empty(&g->timers)) {
		struct timer *t = OB__CONTAINER(g->timers.next, struct timer, gen_link);
		ob__timeout_clear(g->node->loop, &t->timeout);
		timer_fire(t);
	}
}

/* ---- kept messages ---- */

uint64_t ob__work_msg(struct ob__gen *g, const ob_view *view)
{
	size_t method_len = view->method != NULL ? strlen(view->method) + 1 : 0;
	uint8_t *bytes = malloc(view->len + method_len + 1);
	uint64_t handle;
	struct held_msg *m = bytes != NULL ? ob__slab_alloc(&g->node->works.msgs, &handle) : NULL;

	if (m == NULL) {
		free(bytes);
		return 0;
	}
	if (view->len > 0) {
		memcpy(bytes, view->data, view->len);
	}
	m->handle = handle;
	m->gen = g;
	m->bytes = bytes;
	m->view = (ob_view){.size = sizeof(m->view)};
	memcpy(&m->view, view, view->size < sizeof(*view) ? OB__VIEW_1_0 : sizeof(*view));
	m->view.size = sizeof(m->view);
	m->view.data = bytes;
	ob__msgname_show(&g->node->msgnames, &m->view);
	if (method_len > 0) {
		memcpy(bytes + view->len, view->method, method_len);
		m->view.method = (const char *)bytes + view->len;
	}
	ob__list_append(&g->msgs, &m->gen_link);
	return handle;
}

static struct held_msg *msg_get(struct ob__gen *g, uint64_t msg)
{
	struct held_msg *m = ob__slab_get(&g->node->works.msgs, msg);

	return m != NULL && m->gen->module == g->module ? m : NULL;
}

int ob__work_msg_view(struct ob__gen *g, uint64_t msg, ob_view *view)
{
	const struct held_msg *m = msg_get(g, msg);

	if (m == NULL) {
		return OB_E_STALE;
	}
	/* Modules of 1.0 have a shorter one, and need not say so. */
	memcpy(view, &m->view, g->desc->abi_minor == 0 ? OB__VIEW_1_0 : sizeof(*view));
	return 0;
}

static void msg_free(struct held_msg *m)
{
	ob__list_del(&m->gen_link);
	free(m->bytes);
	ob__slab_free(&m->gen->node->works.msgs, m);
}

int ob__work_msg_release(struct ob__gen *g, uint64_t msg)
{
	struct held_msg *m = msg_get(g, msg);

	if (m == NULL) {
		return OB_E_STALE;
	}
	msg_free(m);
	return 0;
}

/* ---- waits ---- */

static struct wait *wait_new(struct ob__gen *g, void *arg)
{
	struct wait *w = calloc(1, sizeof(*w));
	if (w == NULL) {
		return NULL;
	}
	w->gen = g;
	w->arg = arg;
	ob__list_append(&g->waits, &w->gen_link);
	ob__gen_ref(g);
	return w;
}

static void wait_end(struct wait *w)
{
	struct ob__gen *g = w->gen;

	ob__list_del(&w->gen_link);
	free(w);
	ob__gen_unref(g);
}

static void job_work(uv_work_t *req)
{
	struct wait *w = req->data;

	w->work(w->arg);
}

static void job_done(uv_work_t *req, int status)
{
	struct wait *w = req->data;
	struct ob__gen *g = w->gen;

	(void)status;
	g->node->works.jobs--;
	if (w->post != NULL && (g->state != OB__GEN_STOPPED || g->started)) {
		uint64_t entered = ob__gen_enter(g);
		w->post(&g->ctx, w->arg);
		ob__gen_leave(g, entered);
	}
	wait_end(w);
	if (g->state == OB__GEN_STOPPED && !ob__work_running(g)) {
		ob__gen_call_stop(g); /* the node ends, and it was still running */
	}
}

int ob__work_job(struct ob__gen *g, ob_work_fn work, ob_post_fn done, void *arg)
{
	if (!ob__gen_may_begin(g)) {
		return OB_E_STATE;
	}
	struct wait *w = work != NULL ? wait_new(g, arg) : NULL;
	if (w == NULL) {
		return work == NULL ? OB_E_INVAL : OB_E_NOMEM;
	}
	w->work = work;
	w->post = done;
	w->req.data = w;
	int rc = uv_queue_work(ob__loop_uv(g->node->loop), &w->req, job_work, job_done);
	if (rc != 0) {
		wait_end(w);
	} else {
		g->node->works.jobs++;
	}
	return rc;
}

struct post {
	struct ob__gen *gen;
	ob_post_fn fn;
	void *arg;
};

static void post_run(void *arg)
{
	struct post *p = arg;
	struct ob__gen *g = p->gen;

	if (ob__gen_live(g)) {
		ob__gen_ref(g);
		uint64_t entered = ob__gen_enter(g);
		p->fn(&g->ctx, p->arg);
		ob__gen_leave(g, entered);
		ob__gen_unref(g);
	}
	free(p);
	ob__gen_post_ran(g);
}

int ob__work_post(struct ob__gen *g, ob_post_fn fn, void *arg)
{
	struct post *p = fn != NULL ? malloc(sizeof(*p)) : NULL;
	if (p == NULL) {
		return fn == NULL ? OB_E_INVAL : OB_E_NOMEM;
	}
	*p = (struct post){g, fn, arg};
	atomic_fetch_add(&g->posts,
	                 1); /* before the look: whoever shuts the door looks behind it */
	int rc = atomic_load(&g->open) ? ob__loop_post(g->node->loop, post_run, p) : OB_E_STATE;
	if (rc != 0) {
		atomic_fetch_sub(&g->posts, 1);
		free(p);
	}
	return rc;
}

static void http_done(const struct ob__httpc_response *res, void *arg)
{
	struct wait *w = arg;
	ob_http_response out = {
		.size = sizeof(out),
		.code = res->code,
		.status = res->status,
		.text = res->text,
		.content_type = res->content_type,
		.data = res->data,
		.len = res->len,
	};

	uint64_t entered = ob__gen_enter(w->gen);
	w->http(&w->gen->ctx, &out, w->arg);
	ob__gen_leave(w->gen, entered);
	wait_end(w);
}

int ob__work_http(struct ob__gen *g, const ob_http_request *request, ob_http_fn fn, void *arg)
{
	if (!ob__gen_may_begin(g)) {
		return OB_E_STATE;
	}
	if (fn == NULL || request->size != sizeof(*request) || request->url == NULL) {
		return OB_E_INVAL;
	}
	struct ob__httpc_request q = {
		.method = request->method,
		.url = request->url,
		.headers = request->headers,
		.body = request->body,
		.body_len = request->body_len,
		.timeout_ms = request->timeout_ms,
		.max_body = request->max_body,
	};
	struct wait *w = wait_new(g, arg);
	if (w == NULL) {
		return OB_E_NOMEM;
	}
	w->http = fn;
	int rc = ob__httpc_start(g->node->httpc, &q, http_done, w, &w->http_id);
	if (rc != 0) {
		wait_end(w);
	}
	return rc;
}

static void admin_done(void *arg, const ob_admin_reply *reply)
{
	struct wait *w = arg;

	uint64_t entered = ob__gen_enter(w->gen);
	w->admin(&w->gen->ctx, reply, w->arg);
	ob__gen_leave(w->gen, entered);
	wait_end(w);
}

static void admin_run(struct wait *w, const char *verb, json_t *args_stolen)
{
	struct ob__works *works = &w->gen->node->works;

	works->admin_deep++;
	ob__admin_run(w->gen->node, verb, args_stolen, admin_done, w);
	works->admin_deep--;
}

static void admin_turn(void *arg)
{
	struct wait *w = arg;
	char *verb = w->verb;
	json_t *args = w->args;

	w->verb = NULL;
	w->args = NULL;
	if (w->gen->state == OB__GEN_STOPPED || w->gen->state == OB__GEN_ZOMBIE) {
		json_decref(args);
		wait_end(w);
	} else {
		admin_run(w, verb, args);
	}
	free(verb);
}

int ob__work_admin(struct ob__gen *g, const char *verb, json_t *args_stolen, ob_admin_fn fn,
                   void *arg)
{
	int rc = OB_E_DENIED;

	if (g->module->admin && fn != NULL && verb != NULL) {
		bool starting = g->state == OB__GEN_STARTING;
		rc = starting || ob__gen_live(g) ? 0 : OB_E_STATE;
		if (rc == 0 && starting && ob__admin_writes(verb)) {
			rc = OB_E_STATE;
		}
	}
	struct wait *w = rc == 0 ? wait_new(g, arg) : NULL;
	if (w == NULL) {
		json_decref(args_stolen);
		return rc != 0 ? rc : OB_E_NOMEM;
	}
	w->admin = fn;
	if (g->node->works.admin_deep < ADMIN_DEEP) {
		admin_run(w, verb, args_stolen);
		return 0;
	}
	w->verb = strdup(verb);
	w->args = args_stolen;
	if (w->verb == NULL || ob__loop_defer(g->node->loop, admin_turn, w) != 0) {
		json_decref(args_stolen);
		free(w->verb);
		wait_end(w);
		return OB_E_NOMEM;
	}
	return 0;
}

/* ---- the end of a generation ---- */

void ob__work_drain(struct ob__gen *g)
{
	timers_end(g, false);
	ob__fd_watches_end(g);
}

bool ob__work_running(const struct ob__gen *g)
{
	OB__LIST_EACH (it, &g->waits) {
		if (OB__CONTAINER(it, struct wait, gen_link)->work != NULL) {
			return true;
		}
	}
	return false;
}

void ob__work_expire(struct ob__gen *g)
{
	ob__fd_watches_end(g);
	timers_fire(g);
	OB__LIST_EACH_SAFE (it, &g->waits) {
		struct wait *w = OB__CONTAINER(it, struct wait, gen_link);
		if (w->http == NULL) {
			continue;
		}
		struct ob__httpc_response gone = {
			.code = OB_E_GONE, .text = "the module was taken out", .content_type = ""};
		ob__httpc_cancel(g->node->httpc, w->http_id);
		http_done(&gone, w);
	}
}

void ob__work_drop(struct ob__gen *g)
{
	timers_end(g, true);
	ob__fd_watches_end(g);
	OB__LIST_EACH_SAFE (it, &g->msgs) {
		msg_free(OB__CONTAINER(it, struct held_msg, gen_link));
	}
}
