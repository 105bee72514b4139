/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/call/calls.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "host/call/callfilter.h"
#include "host/call/cancel.h"
#include "host/message/dispatch.h"
#include "host/message/held.h"
#include "host/message/reply.h"
#include "host/message/request.h"
#include "host/node.h"
#include "mesh/handles.h"

#define CALLS_MAX     (1u << 20)
#define PAUSE_FIRST   10u /* ms */
#define PAUSE_LONGEST 1000u
#define TRY_LEAST     50u /* ms; a rest that is shorter than twice this is not shared */
#define TRIES_UNKNOWN 3u  /* ways on through route nodes, who choose themselves */
#define SAFE_BURST    5u  /* lines in ten seconds */
#define OPTIONS_SIZE  sizeof(ob_call_options)

void ob__calls_init(struct ob__node *node)
{
	struct ob__calls *cs = &node->calls;

	ob__slab_init(&cs->slab, sizeof(struct ob__call), OB__KIND_CALL, CALLS_MAX);
	cs->retried = ob__stat_counter(node->stats, "obhost_calls_retried_total", NULL,
	                               "Tries of calls after one that failed.");
	cs->safe = ob__stat_counter(node->stats, "obhost_calls_fail_safe_total", NULL,
	                            "Failures of calls whose callers did not want to hear of it.");
}

static void drop_tries(struct ob__node *node, struct ob__call *c)
{
	while (!ob__list_empty(&c->tries)) {
		struct ob__pending *p =
			OB__CONTAINER(c->tries.next, struct ob__pending, u.attempt.link);
		ob__held_forget(node, p);
		ob__pending_drop(p);
	}
}

/* Takes it off everything; its memory stays. */
static void detach(struct ob__node *node, struct ob__call *c)
{
	ob__timeout_clear(node->loop, &c->pause);
	ob__list_del(&c->gen_link);
	drop_tries(node, c);
}

static void call_free(struct ob__node *node, struct ob__call *c)
{
	free((void *)(uintptr_t)c->out.method);
	free((void *)(uintptr_t)c->out.data);
	ob__slab_free(&node->calls.slab, c);
}

void ob__calls_free(struct ob__node *node)
{
	struct ob__call *c;

	for (uint32_t i = 0; (c = ob__slab_next(&node->calls.slab, &i)) != NULL;) {
		detach(node, c);
		call_free(node, c);
	}
	ob__slab_destroy(&node->calls.slab);
}

/* It is over: nothing more is handed over. */
static void close_call(struct ob__node *node, struct ob__call *c)
{
	struct ob__gen *g = c->gen;

	c->over = true;
	detach(node, c);
	if (c->telling == 0) {
		call_free(node, c);
		ob__gen_unref(g);
	}
}

/* ---- results ---- */

static void log_safe(struct ob__node *node, const struct ob__call *c, const ob_call_result *res)
{
	uint32_t missed;

	++*node->calls.safe;
	if (!ob__log_allow(&node->calls.safe_limit, SAFE_BURST, ob__loop_now(node->loop),
	                   &missed)) {
		return;
	}
	char label[OB__TRACE_LABEL];
	ob__warning("call", "%s: %s failed, and its caller goes on without (%s) [%u more]",
	            c->gen->module->name, ob__trace_label(label, c->out.method, c->out.id),
	            res->text, missed);
}

ob_call_result ob__call_result(const struct ob__end *end)
{
	return (ob_call_result){
		.size = sizeof(ob_call_result),
		.code = end->code,
		.text = end->text != NULL    ? end->text
	                : end->code == OB_OK ? OB__OK_SENTENCE
	                                     : ob__strerror(end->code),
		.source = end->source,
		.data = end->data,
		.len = end->len,
		.tries = 1,
	};
}

void ob__call_tell(struct ob__gen *g, uint64_t req, ob_call_fn fn, uint64_t call,
                   const ob_call_result *res, void *arg)
{
	struct ob__dispatch *d = &g->node->dispatch;
	uint64_t before = d->current;

	d->current = req;
	uint64_t entered = ob__gen_enter(g);
	fn(&g->ctx, call, res, arg);
	ob__gen_leave(g, entered);
	d->current = before;
}

static void tell_module(struct ob__node *node, struct ob__call *c, ob_call_result *res)
{
	if (res->code != OB_OK && c->mode == OB_CALL_FAIL_SAFE) {
		log_safe(node, c, res);
		res->failed = res->code;
		res->code = OB_OK;
		res->data = NULL;
		res->len = 0;
	}
	ob__call_tell(c->gen, c->req, c->fn, c->handle, res, c->arg);
}

/* Hands one result over; the call may be gone afterwards. */
static void tell(struct ob__node *node, struct ob__call *c, const struct ob__end *end)
{
	bool last = !c->all || c->left == 0;
	ob_call_result res = ob__call_result(end);

	res.left = c->left;
	res.tries = c->tries_made;
	ob__debug("trace", "%016" PRIx64 "%016" PRIx64 " call of %s ended after %" PRIu64 " ms: %s",
	          c->out.trace.id[0], c->out.trace.id[1], c->gen->module->name,
	          ob__loop_now(node->loop) - c->began, res.text);
	/* What runs now may end others of its tries, or cancel it. */
	c->telling++;
	if (last) {
		c->over = true;
		detach(node, c);
	}
	ob__callfilter_after_out(node, c, &res);
	if (last || !c->over) {
		tell_module(node, c, &res);
	}
	if (--c->telling == 0 && c->over) {
		struct ob__gen *g = c->gen;
		call_free(node, c);
		ob__gen_unref(g);
	}
}

/* ---- tries ---- */

static bool tried(const struct ob__call *c, uint64_t id)
{
	for (uint32_t i = 0; i < c->tried_len; i++) {
		if (c->tried[i] == id) {
			return true;
		}
	}
	return false;
}

static void note_tried(struct ob__call *c, uint64_t id)
{
	if (id != 0 && c->tried_len < OB__CALL_TRIED_MAX && !tried(c, id)) {
		c->tried[c->tried_len++] = id;
	}
}

size_t ob__call_nodes(const struct ob__node *node, uint32_t role, uint64_t *out, size_t cap)
{
	const struct ob__registry_role *r = ob__registry_role_get(&node->registry, role);
	size_t len = 0;

	if (role == node->self.role_id && len < cap) {
		out[len++] = node->self.id;
	}
	for (uint32_t i = 0; r != NULL && i < r->ready.len && len < cap; i++) {
		out[len++] = r->ready.nodes[i]->id;
	}
	return len;
}

/* Less to do for us, by weight; one without weight only where all are. */
static bool less_busy(const struct ob__node *node, uint64_t a, uint64_t b)
{
	const struct ob__peer *x = ob__registry_get(&node->registry, a);
	const struct ob__peer *y = ob__registry_get(&node->registry, b);
	uint64_t x_weight = x != NULL ? x->balance.weight : node->conf->weight;
	uint64_t y_weight = y != NULL ? y->balance.weight : node->conf->weight;
	uint64_t x_has = x != NULL ? x->balance.pending : 0;
	uint64_t y_has = y != NULL ? y->balance.pending : 0;

	if (x_weight == 0 || y_weight == 0) {
		return x_weight != y_weight ? x_weight > y_weight : x_has < y_has;
	}
	return (x_has + 1) * y_weight < (y_has + 1) * x_weight;
}

/* Of the nodes of the role that were not tried yet: the one with the least to do for us, or 0; and
 * how many there are. */
static uint64_t untried(const struct ob__node *node, const struct ob__call *c, size_t *count)
{
	uint64_t ids[OB__ROUTE_CANDIDATES];
	size_t len = ob__call_nodes(node, c->out.target.role, ids, OB__ROUTE_CANDIDATES);
	uint64_t best = 0;

	*count = 0;
	for (size_t i = 0; i < len; i++) {
		if (tried(c, ids[i])) {
			continue;
		}
		++*count;
		if (best == 0 || less_busy(node, ids[i], best)) {
			best = ids[i];
		}
	}
	return best;
}

/* How long this try may take: with a key, some of the time is for others. */
static uint64_t try_ms(const struct ob__node *node, const struct ob__call *c, uint64_t left)
{
	size_t parts = 1;

	if (c->out.key_len == 0 || c->retries == 0 || left < 2 * TRY_LEAST) {
		return left;
	}
	if (c->mode == OB_CALL_FAIL_BACK) {
		parts = 3;
	} else if (c->mode == OB_CALL_FAIL_OVER) {
		(void)untried(node, c, &parts);
		parts = parts > c->retries + 1u ? c->retries + 1u : parts;
		parts = parts == 0 ? 1 : parts;
	}
	return left / parts > TRY_LEAST ? left / parts : TRY_LEAST;
}

static void failed(struct ob__node *node, struct ob__call *c, const struct ob__end *end);

/* False when there are too many requests already. */
static bool start_try(struct ob__node *node, struct ob__call *c, const ob_target *target)
{
	uint64_t now = ob__loop_now(node->loop);
	uint64_t left = c->deadline > now ? c->deadline - now : 1;
	struct ob__call_out out = c->out;
	struct ob__pending *p =
		ob__pending_new(&node->pendings, OB__PENDING_TRY, try_ms(node, c, left));

	if (p == NULL) {
		return false;
	}
	out.target = *target;
	out.budget = left;
	p->id = out.id;
	p->u.attempt.call = c->handle;
	ob__list_append(&c->tries, &p->u.attempt.link);
	int rc = ob__call_send(node, &out, p, &p->u.attempt.node);
	if (rc != 0) {
		/* Without memory for that, its deadline is its end. */
		(void)ob__call_refused(node, p, rc);
	}
	p->u.attempt.by = p->to != NULL ? p->to->who.id : 0;
	if (!c->all) {
		note_tried(c, p->u.attempt.node);
	}
	return true;
}

static void try_again(struct ob__node *node, struct ob__call *c, const ob_target *target)
{
	const struct ob__end full = {
		.code = OB_E_BUSY,
		.text = "too many requests",
		.refused = true,
	};

	c->tries_made++;
	if (start_try(node, c, target)) {
		return;
	}
	if (c->mode == OB_CALL_FAIL_OVER) {
		tell(node, c, &full); /* there is no room for the next node either */
	} else {
		failed(node, c, &full);
	}
}

/* Whether the handler can't have run, or may run again. */
static bool may_retry(const struct ob__call *c, const struct ob__end *end)
{
	switch (end->code) {
	case OB_E_NO_ROUTE:
	case OB_E_NOT_SENT:
	case OB_E_BUSY:
		return end->refused || c->out.key_len > 0;
	case OB_E_MAYBE_SENT:
	case OB_E_DEADLINE:
	case OB_E_GONE:
		return c->out.key_len > 0;
	default:
		return false;
	}
}

static uint64_t pause_ms(const struct ob__call *c)
{
	uint32_t shift = c->tries_made > 8 ? 8 : c->tries_made - 1;
	uint64_t ms = (uint64_t)PAUSE_FIRST << shift;

	ms = ms > PAUSE_LONGEST ? PAUSE_LONGEST : ms;
	/* Callers that failed together shall not come back together. */
	return ms - (c->handle * UINT64_C(0x9e3779b97f4a7c15) >> 32) % (ms / 4 + 1);
}

static void pause_over(void *arg)
{
	struct ob__call *c = arg;
	struct ob__node *node = c->gen->node;
	const struct ob__end late = {.code = OB_E_DEADLINE};

	if (ob__loop_now(node->loop) >= c->deadline) {
		tell(node, c, &late); /* this process slept */
	} else {
		try_again(node, c, &c->out.target);
	}
}

/* Later, unless there is no later. */
static bool retry_later(struct ob__node *node, struct ob__call *c)
{
	uint64_t ms = pause_ms(c);

	if (ob__loop_now(node->loop) + ms >= c->deadline) {
		return false;
	}
	ob__timeout_set(node->loop, &c->pause, ms);
	return true;
}

/* On to another node.  When a route node chose, another choice of its is worth as much. */
static bool retry_elsewhere(struct ob__node *node, struct ob__call *c)
{
	uint64_t known;
	size_t count;

	if (c->out.target.node != 0) {
		return false;
	}
	uint64_t next = untried(node, c, &count);
	if (next != 0) {
		const ob_target target = {.node = next};
		try_again(node, c, &target);
		return true;
	}
	return ob__call_nodes(node, c->out.target.role, &known, 1) == 0 &&
	       c->tries_made <= TRIES_UNKNOWN && retry_later(node, c);
}

static bool retry(struct ob__node *node, struct ob__call *c, const struct ob__end *end)
{
	if (c->retries == 0 || !may_retry(c, end) || ob__loop_now(node->loop) >= c->deadline) {
		return false;
	}
	c->retries--;
	bool done = (c->mode == OB_CALL_FAIL_OVER && retry_elsewhere(node, c)) ||
	            (c->mode == OB_CALL_FAIL_BACK && retry_later(node, c));
	*node->calls.retried += done;
	return done;
}

static void failed(struct ob__node *node, struct ob__call *c, const struct ob__end *end)
{
	if (!retry(node, c, end)) {
		tell(node, c, end);
	}
}

static void note_late(struct ob__call *c, const struct ob__pending *p)
{
	uint64_t node = p->u.attempt.node != 0 ? p->u.attempt.node : p->u.attempt.by;

	if (node != 0 && c->late_len < OB__CALL_TRIED_MAX) {
		c->late[c->late_len].node = node;
		c->late[c->late_len++].call = p->handle;
	}
}

void ob__call_try_ended(struct ob__node *node, struct ob__pending *p, const struct ob__end *end)
{
	struct ob__call *c = ob__slab_get(&node->calls.slab, p->u.attempt.call);
	struct ob__end e = *end;

	if (c == NULL || c->over) {
		return;
	}
	if (end->code == OB_E_DEADLINE) {
		ob__held_forget(node, p);
		note_late(c, p);
	}
	if (c->all) {
		e.source = p->u.attempt.node;
		c->left--;
		tell(node, c, &e);
		return;
	}
	if (end->code == OB_OK) {
		tell(node, c, end);
		return;
	}
	note_tried(c, end->source);
	failed(node, c, end);
}

/* ---- from the beginning to the end ---- */

struct refused {
	struct ob__node *node;
	uint64_t call;
	int code;
};

static void refused_turn(void *arg)
{
	struct refused *r = arg;
	struct ob__call *c = ob__slab_get(&r->node->calls.slab, r->call);
	struct ob__end end = {.code = r->code};

	if (c != NULL && !c->over) {
		ob__count_result(r->node->dispatch.refused, r->code);
		c->left = 0;
		tell(r->node, c, &end);
	}
	free(r);
}

/* Ends it in the next turn, with a result as any other. */
static int refuse(struct ob__node *node, const struct ob__call *c, int code)
{
	struct refused *r = malloc(sizeof(*r));

	if (r == NULL) {
		return OB_E_NOMEM;
	}
	*r = (struct refused){node, c->handle, code};
	int rc = ob__loop_defer(node->loop, refused_turn, r);
	if (rc != 0) {
		free(r);
	}
	return rc;
}

static int try_all(struct ob__node *node, struct ob__call *c)
{
	size_t cap = OB__CALL_NODES_MAX + 1;
	uint64_t *ids = malloc(cap * sizeof(*ids));
	size_t len = ids != NULL ? ob__call_nodes(node, c->out.target.role, ids, cap) : 0;

	c->tries_made = 1;
	if (ids == NULL || len > node->pendings.slab.limit - node->pendings.slab.live) {
		free(ids);
		return refuse(node, c, OB_E_BUSY);
	}
	if (len == 0) {
		free(ids);
		return refuse(node, c, OB_E_NO_ROUTE);
	}
	c->left = (uint32_t)len;
	size_t i = 0;
	while (i < len && start_try(node, c, &(const ob_target){.node = ids[i]})) {
		i++;
	}
	free(ids);
	if (i == len) {
		return 0;
	}
	drop_tries(node, c);
	return refuse(node, c, OB_E_BUSY);
}

static bool options_ok(const ob_target *t, const ob_call_options *o)
{
	bool all = (t->flags & OB_TARGET_ALL) != 0;

	return o->size == OPTIONS_SIZE && o->mode >= OB_CALL_FAIL_FAST &&
	       o->mode <= OB_CALL_FAIL_SAFE && (o->method != NULL) != (o->id != 0) &&
	       (o->method == NULL || (*o->method != '\0' && strlen(o->method) <= 255)) &&
	       o->key_len <= OB_CALL_KEY_MAX && (o->key_len == 0 || o->key != NULL) &&
	       o->keep_len <= OB_CALL_KEEP_MAX && (o->keep_len == 0 || o->keep != NULL) &&
	       (o->flags & ~OB_CALL_NO_WAIT) == 0 &&
	       (!all || (t->role != 0 && t->node == 0 && (t->flags & OB_TARGET_SESSION) == 0 &&
	                 (o->mode == OB_CALL_FAIL_FAST || o->mode == OB_CALL_FAIL_SAFE)));
}

uint64_t ob__call_budget(const struct ob__node *node, uint32_t wanted_ms, const struct ob__req *r)
{
	uint64_t now = ob__loop_now(node->loop);
	uint64_t most = wanted_ms != 0 ? wanted_ms : node->conf->call_timeout_ms;

	most = most > UINT32_MAX ? UINT32_MAX : most;
	/* For a message that nobody waits for there is no such time. */
	if (r == NULL || (r->view.flags & OB_VIEW_ONE_WAY) != 0 || r->deadline > now + most) {
		return most;
	}
	return r->deadline > now ? r->deadline - now : 1;
}

static uint32_t retries_of(const ob_call_options *o)
{
	switch (o->mode) {
	case OB_CALL_FAIL_OVER:
		return o->retries != 0 ? o->retries : OB__CALL_TRIED_MAX;
	case OB_CALL_FAIL_BACK:
		return o->retries != 0 ? o->retries : UINT32_MAX;
	default:
		return 0;
	}
}

static int copy_options(struct ob__call *c, const ob_call_options *o, void *arg)
{
	if (o->key_len > 0) {
		memcpy(c->key, o->key, o->key_len);
		c->out.key = c->key;
		c->out.key_len = o->key_len;
	}
	c->arg = arg;
	if (o->keep_len > 0) {
		memcpy(c->keep, o->keep, o->keep_len);
		c->arg = c->keep;
	}
	c->out.method = o->method != NULL ? strdup(o->method) : NULL;
	if (o->method != NULL && c->out.method == NULL) {
		return OB_E_NOMEM;
	}
	return 0;
}

static int copy_data(struct ob__call *c, const ob_call_options *o)
{
	void *copy = malloc(o->len);

	if (copy == NULL) {
		return OB_E_NOMEM;
	}
	memcpy(copy, o->data, o->len);
	c->out.data = copy;
	return 0;
}

static struct ob__call *call_new(struct ob__gen *g, const ob_target *target,
                                 const ob_call_options *o, ob_call_fn fn, void *arg)
{
	struct ob__node *node = g->node;
	uint64_t made_for = o->request != 0 ? o->request : node->dispatch.current;
	const struct ob__req *r = made_for != 0 ? ob__req_get(node, made_for) : NULL;
	uint64_t handle;
	struct ob__call *c = ob__slab_alloc(&node->calls.slab, &handle);

	if (c == NULL) {
		return NULL;
	}
	c->handle = handle;
	c->gen = g;
	c->fn = fn;
	c->mode = (uint8_t)o->mode;
	c->all = (target->flags & OB_TARGET_ALL) != 0;
	c->retries = retries_of(o);
	c->req = r != NULL ? made_for : 0;
	c->began = ob__loop_now(node->loop);
	c->out.budget = ob__call_budget(node, o->deadline_ms, r);
	c->deadline = c->began + c->out.budget;
	c->out.target = *target;
	c->out.target.flags &= ~OB_TARGET_ALL;
	c->out.id = o->id;
	c->out.session = o->session;
	c->out.len = o->len;
	c->out.no_wait = (o->flags & OB_CALL_NO_WAIT) != 0;
	ob__list_init(&c->gen_link);
	ob__list_init(&c->tries);
	ob__timeout_init(&c->pause, pause_over, c);
	ob__trace_next(node, c->req, handle, &c->out.trace);
	if (copy_options(c, o, arg) != 0) {
		call_free(node, c);
		return NULL;
	}
	return c;
}

static int start(struct ob__node *node, struct ob__call *c)
{
	if (c->all) {
		return try_all(node, c);
	}
	c->tries_made = 1;
	return start_try(node, c, &c->out.target) ? 0 : refuse(node, c, OB_E_BUSY);
}

/* The first try uses the caller's bytes; only those after it need a copy. */
static int begin(struct ob__node *node, struct ob__call *c, const ob_call_options *o)
{
	int rc;

	if (o->len > node->conf->limits.message) {
		return refuse(node, c, OB_E_TOO_BIG);
	}
	c->out.data = o->data;
	rc = ob__callfilter_before_out(node, &c->out);
	c->out.data = NULL;
	if (rc != 0) {
		return refuse(node, c, rc);
	}
	if (c->retries > 0 && o->len > 0) {
		rc = copy_data(c, o);
		return rc == 0 ? start(node, c) : rc;
	}
	c->out.data = o->data;
	rc = start(node, c);
	c->out.data = NULL;
	return rc;
}

uint64_t ob__dispatch_call_with(struct ob__gen *g, const ob_target *target,
                                const ob_call_options *o, ob_call_fn fn, void *arg)
{
	struct ob__node *node = g->node;
	ob_target to = *target;

	if (!ob__gen_may_begin(g) || fn == NULL || !options_ok(target, o)) {
		return 0;
	}
	if ((to.flags & OB_TARGET_SESSION) != 0) {
		const struct ob__session *s = ob__session_get(&node->sessions, o->session);
		if (s == NULL) {
			return 0;
		}
		to = (ob_target){.node = s->node};
	}
	struct ob__call *c = call_new(g, &to, o, fn, arg);
	if (c == NULL) {
		return 0;
	}
	uint64_t handle = c->handle;
	ob__list_append(&g->plans, &c->gen_link);
	ob__gen_ref(g);
	if (begin(node, c, o) != 0) {
		close_call(node, c);
		return 0;
	}
	return handle;
}

/* Those that other nodes still have. */
static void cancel_tries(struct ob__node *node, const struct ob__call *c)
{
	OB__LIST_EACH (it, &c->tries) {
		const struct ob__pending *p = OB__CONTAINER(it, struct ob__pending, u.attempt.link);
		ob__cancel_pending(node, p, p->u.attempt.node);
	}
	for (uint32_t i = 0; i < c->late_len; i++) {
		ob__cancel_at(node, c->late[i].node, c->late[i].call);
	}
}

int ob__call_forget(struct ob__gen *g, uint64_t handle)
{
	struct ob__call *c = ob__slab_get(&g->node->calls.slab, handle);

	if (c == NULL || c->gen != g || c->over) {
		return OB_E_STALE;
	}
	cancel_tries(g->node, c);
	close_call(g->node, c);
	return 0;
}

void ob__calls_abandon(struct ob__gen *g)
{
	struct ob__end end = {.code = OB_E_GONE, .text = "the module was taken out"};

	while (!ob__list_empty(&g->plans)) {
		struct ob__call *c = OB__CONTAINER(g->plans.next, struct ob__call, gen_link);
		c->left -= c->left > 0;
		tell(g->node, c, &end);
	}
}
