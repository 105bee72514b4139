/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "mesh/pending.h"

#include <string.h>

#include <obhost/obhost.h>
#include <openssl/rand.h>

#include "lib/apart.h"
#include "mesh/handles.h"
#include "mesh/link.h"
#include "mesh/registry.h"

static void on_first(void *arg);

void ob__pendings_init(struct ob__pendings *ps, struct ob__loop *loop, uint32_t limit,
                       ob__pending_fn on_end, void *arg)
{
	uint64_t serial = 0;
	RAND_bytes((unsigned char *)&serial, sizeof(serial));
	*ps = (struct ob__pendings){.loop = loop, .on_end = on_end, .arg = arg};
	ob__slab_init(&ps->slab, sizeof(struct ob__pending), OB__KIND_PENDING, limit);
	ob__slab_begin(&ps->slab, serial);
	for (size_t i = 0; i < OB__PENDING_CALL; i++) {
		struct ob__pending_queue *q = &ps->queues[i];
		q->all = ps;
		ob__list_init(&q->entries);
		ob__timeout_init(&q->timeout, on_first, q);
	}
}

static void went_to(struct ob__pending *p, struct ob__peer *peer)
{
	if (p->to != NULL) {
		p->to->balance.pending--;
	}
	p->to = peer;
	if (peer != NULL) {
		peer->balance.pending++;
	}
}

/* Takes it off the wheel and every list: from here on only its owner on the stack knows it. */
static inline void detach(struct ob__pending *p)
{
	went_to(p, NULL);
	if (p->queued) {
		ob__list_del(&p->timeout.entry.link);
	} else {
		ob__timeout_clear(p->all->loop, &p->timeout);
	}
	ob__list_del(&p->link);
	if (p->kind == OB__PENDING_CALL) {
		ob__list_del(&p->u.call.gen_link);
	} else if (p->kind == OB__PENDING_TRY) {
		ob__list_del(&p->u.attempt.link);
	}
}

void ob__pendings_free(struct ob__pendings *ps)
{
	if (ps == NULL || ps->loop == NULL) {
		return;
	}
	struct ob__pending *p;
	for (uint32_t i = 0; (p = ob__slab_next(&ps->slab, &i)) != NULL;) {
		detach(p);
	}
	for (size_t i = 0; i < OB__PENDING_CALL; i++) {
		ob__timeout_clear(ps->loop, &ps->queues[i].timeout);
	}
	ob__slab_destroy(&ps->slab);
	ps->loop = NULL;
}

static void on_deadline(void *arg)
{
	struct ob__pending *p = arg;
	p->all->deadlines++;
	ob__pending_end(p, &(struct ob__end){.code = OB_E_DEADLINE, .text = "no answer in time"});
}

static struct ob__pending *first_of(const struct ob__pending_queue *q)
{
	struct ob__list *first = q->entries.next;
	return ob__list_empty(&q->entries)
	               ? NULL
	               : OB__CONTAINER(first, struct ob__pending, timeout.entry.link);
}

static void on_first(void *arg)
{
	struct ob__pending_queue *q = arg;
	struct ob__pendings *ps = q->all;
	uint64_t now = ob__loop_now(ps->loop);
	struct ob__pending *p;
	while (ps->loop != NULL && (p = first_of(q)) != NULL && p->timeout.entry.expiry <= now) {
		on_deadline(p);
	}
	if (ps->loop != NULL && p != NULL) {
		ob__timeout_set(ps->loop, &q->timeout, p->timeout.entry.expiry - now);
	}
}

/* The queue is to have that budget, and its timeout is to be armed; false: it has another one. */
static OB__APART bool begin_queue(struct ob__pending_queue *q, uint64_t budget_ms)
{
	if (budget_ms != q->ms && (!ob__list_empty(&q->entries) || budget_ms == 0)) {
		return false;
	}
	ob__timeout_set(q->all->loop, &q->timeout, budget_ms);
	q->ms = budget_ms;
	return true;
}

/* Those with the budget of the queue wait there; others do while it is empty, and it is theirs. */
static inline bool queue(struct ob__pending_queue *q, struct ob__pending *p, uint64_t budget_ms)
{
	struct ob__loop *loop = q->all->loop;
	/* One that is armed for an entry that is gone comes too early, and looks for the next. */
	bool begun = budget_ms == q->ms && ob__wheel_armed(&q->timeout.entry);
	if (!begun && !begin_queue(q, budget_ms)) {
		return false;
	}
	p->timeout.entry.expiry = ob__loop_now(loop) + budget_ms;
	ob__list_append(&q->entries, &p->timeout.entry.link);
	return true;
}

/* All but `u`, and the timeout. */
static void begin(struct ob__pendings *ps, struct ob__pending *p, enum ob__pending_kind kind)
{
	p->handle = ob__slab_handle(&ps->slab, p);
	p->link_offset = 0;
	p->to = NULL;
	p->all = ps;
	p->kind = (uint8_t)kind;
	p->ending = false;
	/* Reading the clock costs as much as all the rest. */
	p->started_us = ps->made++ % OB__PENDING_SAMPLE == 0 ? ob__loop_hrtime_us() : 0;
	ob__list_init(&p->link);
}

static inline void set_deadline(struct ob__pendings *ps, struct ob__pending *p, uint64_t budget_ms)
{
	p->queued = p->kind <= OB__PENDING_CALL && queue(&ps->queues[p->kind - 1], p, budget_ms);
	if (!p->queued) {
		ob__timeout_init(&p->timeout, on_deadline, p);
		ob__timeout_set(ps->loop, &p->timeout, budget_ms);
	}
}

struct ob__pending *ob__pending_client(struct ob__pendings *ps, uint64_t budget_ms)
{
	struct ob__pending *p = ob__slab_take(&ps->slab);
	if (p != NULL) {
		begin(ps, p, OB__PENDING_CLIENT);
		set_deadline(ps, p, budget_ms);
	}
	return p;
}

struct ob__pending *ob__pending_new(struct ob__pendings *ps, enum ob__pending_kind kind,
                                    uint64_t budget_ms)
{
	struct ob__pending *p = kind != OB__PENDING_CLIENT ? ob__slab_take(&ps->slab)
	                                                   : ob__pending_client(ps, budget_ms);
	if (p == NULL) {
		return NULL;
	}
	p->id = 0;
	memset(&p->u, 0, sizeof(p->u));
	if (kind == OB__PENDING_CLIENT) {
		return p;
	}
	begin(ps, p, kind);
	if (kind == OB__PENDING_CALL) {
		ob__list_init(&p->u.call.gen_link);
	} else if (kind == OB__PENDING_TRY) {
		ob__list_init(&p->u.attempt.link);
	}
	set_deadline(ps, p, budget_ms);
	return p;
}

void ob__pending_sent(struct ob__pending *p, struct ob__link *link, struct ob__peer *to)
{
	ob__list_del(&p->link);
	ob__list_append(&link->pendings, &p->link);
	went_to(p, to);
	p->link_offset = link->appended;
}

void ob__pending_end(struct ob__pending *p, const struct ob__end *end)
{
	struct ob__pendings *ps = p->all;
	if (p->ending) {
		return;
	}
	detach(p);
	p->ending = true;
	ps->on_end(ps->arg, p, end);
	if (ps->loop != NULL) { /* else on_end has freed all of them */
		ob__slab_free(&ps->slab, p);
	}
}

void ob__pending_drop(struct ob__pending *p)
{
	if (p->ending) {
		return; /* its end is on the stack and frees it */
	}
	detach(p);
	ob__slab_free(&p->all->slab, p);
}

void ob__pending_link_lost(struct ob__link *link)
{
	struct ob__list lost;
	ob__list_init(&lost);
	ob__list_splice(&lost, &link->pendings);
	while (!ob__list_empty(&lost)) {
		struct ob__pending *p = OB__CONTAINER(lost.next, struct ob__pending, link);
		bool given = ob__link_given(link, p->link_offset);
		struct ob__end end = {
			.code = given ? link->why : OB_E_NOT_SENT,
			.text = given ? "the link broke before the answer came"
		                      : "the link broke before the request went out",
			.refused = !given,
		};
		ob__pending_end(p, &end);
	}
}

void ob__pending_node_lost(struct ob__link *link, const struct ob__peer *to)
{
	const struct ob__end end = {
		.code = OB_E_MAYBE_SENT,
		.text = "the node went before the answer came",
	};
	struct ob__list lost;
	ob__list_init(&lost);
	OB__LIST_EACH_SAFE (it, &link->pendings) {
		struct ob__pending *p = OB__CONTAINER(it, struct ob__pending, link);
		if (p->to == to) {
			ob__list_del(&p->link);
			ob__list_append(&lost, &p->link);
		}
	}
	while (!ob__list_empty(&lost)) {
		ob__pending_end(OB__CONTAINER(lost.next, struct ob__pending, link), &end);
	}
}
