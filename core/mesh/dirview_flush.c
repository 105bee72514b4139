/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "mesh/dirview_priv.h"
#include "mesh/proto.h"

#define RETRY_MS 1000u

/* What one batch of frames tells, and how far it is. */
struct batch {
	uint64_t after; /* changes up to here are known to those who get it */
	bool snapshot;
	bool settling;
	bool first;
	struct ob__list *next; /* the next record's by_seq, or the list's head */
};

static struct ob__dirview_entry *entry_of(struct ob__list *it)
{
	return OB__CONTAINER(it, struct ob__dirview_entry, by_seq);
}

static struct ob__dirview_link *link_of(struct ob__list *it)
{
	return OB__CONTAINER(it, struct ob__dirview_link, sub);
}

void ob__dirview_want_flush(struct ob__dirview *v, uint64_t when)
{
	uint64_t soonest = v->flushed_at + v->o.batch_ms;
	if (v->flushed_at != 0 && when < soonest) {
		when = soonest;
	}
	if (when < v->flush_at) {
		v->flush_at = when;
	}
}

int ob__dirview_send(struct ob__dirview *v, uint64_t to, uint32_t sys, size_t len)
{
	int rc = v->ops->send(v->arg, to, sys, v->scratch, len);
	if (rc < 0) {
		v->counts.unsent++;
	} else {
		ob__dir_count(&v->counts.out[ob__dir_kind(sys)], len);
	}
	return rc;
}

static struct ob__list *first_after(const struct ob__dirview *v, uint64_t after)
{
	struct ob__list *it = v->by_seq.prev;
	while (it != &v->by_seq && entry_of(it)->seq > after) {
		it = it->prev;
	}
	return it->next;
}

/* Writes the next frame into scratch; its size. *upto: the change it goes up to. */
static size_t fill(struct ob__dirview *v, struct batch *b, uint64_t *upto)
{
	struct ob__delta head = {.boot = v->boot, .flags = b->settling ? OB__DELTA_SETTLING : 0};
	size_t len = OB__DELTA_HEAD;
	*upto = b->after;
	for (; b->next != &v->by_seq; b->next = b->next->next) {
		const struct ob__dirview_entry *e = entry_of(b->next);
		if (b->snapshot && ob__dirview_is_gone(e)) {
			continue;
		}
		bool whole = e->m.desc != NULL && (b->snapshot || e->desc_seq > b->after);
		size_t n = ob__member_put(&e->m, whole, v->scratch + len, OB__DELTA_MAX - len);
		if (n == 0) {
			break;
		}
		len += n;
		head.records++;
		*upto = e->seq;
	}
	bool last = b->next == &v->by_seq;
	if (last || b->snapshot) {
		*upto = v->seq;
	}
	head.flags |= (uint16_t)((b->snapshot && b->first ? OB__DELTA_BEGIN : 0u) |
	                         (last ? 0u : OB__DELTA_MORE));
	b->first = false;
	head.seq = *upto;
	ob__delta_put(v->scratch, &head);
	return len;
}

/* Sends the frame to all of the group; those whose link does not take it fall behind. */
static void send_frame(struct ob__dirview *v, struct ob__list *group, const struct batch *b,
                       size_t len, uint64_t upto, uint64_t now_ms)
{
	OB__LIST_EACH_SAFE (it, group) {
		struct ob__dirview_link *l = link_of(it);
		if (ob__dirview_send(v, l->id, OB__SYS_MEMBER_DELTA, len) == 0) {
			l->at = b->snapshot ? l->at : upto;
			continue;
		}
		l->retry_at = now_ms + RETRY_MS;
		ob__list_del(it);
		ob__list_append(&v->behind, it);
		ob__dirview_want_flush(v, l->retry_at);
	}
}

/* Tells the group, all of which stand at b->after; those who have heard it all become current. */
static void tell(struct ob__dirview *v, struct ob__list *group, struct batch *b, uint64_t now_ms)
{
	b->first = true;
	b->next = b->snapshot ? v->by_seq.next : first_after(v, b->after);
	do {
		uint64_t upto;
		size_t len = fill(v, b, &upto);
		send_frame(v, group, b, len, upto, now_ms);
	} while (b->next != &v->by_seq && !ob__list_empty(group));
	OB__LIST_EACH (it, group) {
		link_of(it)->boot = v->boot;
		link_of(it)->at = v->seq;
	}
	v->told = v->told || (b->settling && !ob__list_empty(group));
	if (group != &v->current) {
		ob__list_splice(&v->current, group);
	}
}

static bool knows_boot(const struct ob__dirview *v, const struct ob__dirview_link *l)
{
	return l->boot == v->boot && l->at >= v->forgotten && l->at <= v->seq;
}

/* Those behind: each from where it stands, or all who stand nowhere together. */
static void tell_behind(struct ob__dirview *v, bool settling, uint64_t now_ms)
{
	struct ob__list todo;
	struct ob__list nowhere;
	struct ob__list one;
	ob__list_init(&todo);
	ob__list_init(&nowhere);
	ob__list_init(&one);
	ob__list_splice(&todo, &v->behind);
	while (!ob__list_empty(&todo)) {
		struct ob__dirview_link *l = link_of(todo.next);
		ob__list_del(&l->sub);
		if (l->retry_at > now_ms) {
			ob__list_append(&v->behind, &l->sub);
			ob__dirview_want_flush(v, l->retry_at);
		} else if (!knows_boot(v, l)) {
			ob__list_append(&nowhere, &l->sub);
		} else {
			ob__list_append(&one, &l->sub);
			struct batch b = {.after = l->at, .settling = settling};
			tell(v, &one, &b, now_ms);
		}
	}
	if (!ob__list_empty(&nowhere)) {
		struct batch b = {.snapshot = true, .settling = settling};
		tell(v, &nowhere, &b, now_ms);
	}
}

void ob__dirview_flush(struct ob__dirview *v, uint64_t now_ms)
{
	bool settling = ob__dirview_settling(v, now_ms);
	bool settled = v->told && !settling;
	v->flush_at = OB__DIRVIEW_NEVER;
	v->flushed_at = now_ms;
	if (!ob__list_empty(&v->current) && (v->seq > v->flushed || settled)) {
		struct batch b = {.after = v->flushed, .settling = settling};
		tell(v, &v->current, &b, now_ms);
	}
	if (settled) {
		v->told = false;
	}
	tell_behind(v, settling, now_ms);
	v->flushed = v->seq;
}

static void answer(struct ob__dirview *v, uint64_t to, const struct ob__member *m, uint64_t now_ms)
{
	struct ob__delta head = {
		.boot = v->boot,
		.seq = v->seq,
		.records = 1,
		.flags = OB__DELTA_ANSWER,
	};
	if (ob__dirview_settling(v, now_ms)) {
		head.flags |= OB__DELTA_SETTLING;
	}
	ob__delta_put(v->scratch, &head);
	size_t len = OB__DELTA_HEAD + ob__member_put(m, m->desc != NULL,
	                                             v->scratch + OB__DELTA_HEAD, OB__MEMBER_MAX);
	ob__dirview_send(v, to, OB__SYS_MEMBER_DELTA, len);
}

void ob__dirview_answer(struct ob__dirview *v, uint64_t to, uint64_t id, uint64_t now_ms)
{
	const struct ob__dirview_entry *e = ob__dirview_get(v, id);
	const struct ob__member unknown = {.id = id};
	answer(v, to, e != NULL ? &e->m : &unknown, now_ms);
}

void ob__dirview_tell_higher(struct ob__dirview *v, const struct ob__higher *h, uint64_t now_ms)
{
	const struct ob__member over = {
		.id = h->id,
		.incarnation = h->incarnation,
		.state = OB__MEMBER_DEAD,
	};
	answer(v, h->id, &over, now_ms);
}
