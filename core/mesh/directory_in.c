/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * What sources say, and what follows from it.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mesh/directory_priv.h"
#include "mesh/proto.h"

/* One record as it came. */
struct record {
	struct ob__member m;
	const uint8_t *wire;
	size_t wire_len;
};

static struct ob__dir_node *node_of(struct ob__list *it)
{
	return OB__CONTAINER(it, struct ob__dir_node, link);
}

static bool is_live(const struct ob__member *m)
{
	return m->state == OB__MEMBER_UP || m->state == OB__MEMBER_SUSPECT;
}

/* ---------------------------------------------------------------- judging */

/* What the sources say of a node's newest life. */
struct verdict {
	uint8_t state; /* the best that a synced one says; OB__MEMBER_UNKNOWN: none lists it */
	bool gone;     /* none lists it, and what they don't list is gone, or it has left */
	bool lower;    /* one lists a former life as up */
};

static bool lists(const struct ob__dir_node *n, size_t slot)
{
	return slot < n->said_len && n->said[slot].state != OB__MEMBER_UNKNOWN &&
	       n->said[slot].incarnation == n->best.incarnation;
}

static struct verdict hear(const struct ob__directory *d, const struct ob__dir_node *n)
{
	struct verdict v = {.state = OB__MEMBER_UNKNOWN};
	bool waiting = false;
	for (size_t i = 0; i < OB__DIR_SOURCES; i++) {
		const struct ob__dir_source *s = &d->sources[i];
		if (!s->synced) {
			waiting = waiting || s->up;
		} else if (!lists(n, i)) {
			v.gone = v.gone || s->settled;
			v.lower = v.lower || (i < n->said_len && n->said[i].state == OB__MEMBER_UP);
		} else if (v.state == OB__MEMBER_UNKNOWN || n->said[i].state < v.state) {
			v.state = n->said[i].state;
		}
	}
	/* Whoever says goodbye is believed at once. */
	v.gone = v.gone || n->best.state == OB__MEMBER_LEFT;
	v.gone = v.gone && !waiting && v.state == OB__MEMBER_UNKNOWN;
	return v;
}

static void show(struct ob__dir_node *n, uint8_t state)
{
	struct ob__description *had = n->m.desc;
	n->m = n->best;
	ob__description_ref(n->m.desc);
	ob__description_unref(had);
	n->m.state = state == OB__MEMBER_UP && n->m.draining ? OB__MEMBER_DRAINING : state;
}

static void add(struct ob__directory *d, struct ob__dir_node *n, uint8_t state)
{
	show(n, state);
	ob__list_del(&n->link);
	ob__list_append(&d->nodes, &n->link);
	n->listed = true;
	d->count++;
	d->ops->on_node(d->arg, OB__DIR_ADDED, n, NULL);
}

static void take_out(struct ob__directory *d, struct ob__dir_node *n, uint64_t now_ms)
{
	struct ob__member old = n->m;
	n->m.state = n->best.state == OB__MEMBER_LEFT ? OB__MEMBER_LEFT : OB__MEMBER_DEAD;
	ob__list_del(&n->link);
	ob__list_append(&d->rest, &n->link);
	n->listed = false;
	n->gone_at = now_ms;
	d->count--;
	d->ops->on_node(d->arg, OB__DIR_REMOVED, n, &old);
	ob__description_unref(n->m.desc);
	n->m.desc = NULL;
	n->user = NULL;
}

static unsigned difference(const struct ob__member *old, const struct ob__member *now)
{
	if (old->incarnation != now->incarnation) {
		return OB__DIR_REPLACED;
	}
	return (old->state != now->state ? OB__DIR_STATE : 0u) |
	       (old->rev != now->rev ? OB__DIR_UPDATED : 0u) |
	       (old->load != now->load ? OB__DIR_LOAD : 0u);
}

static void update(struct ob__directory *d, struct ob__dir_node *n, uint8_t state)
{
	struct ob__member old = n->m;
	ob__description_ref(old.desc);
	show(n, state);
	unsigned change = difference(&old, &n->m);
	if (change != 0) {
		d->ops->on_node(d->arg, change, n, &old);
	}
	ob__description_unref(old.desc);
}

bool ob__directory_is_listed(const struct ob__directory *d, const struct ob__dir_node *n)
{
	return hear(d, n).state != OB__MEMBER_UNKNOWN;
}

void ob__directory_judge(struct ob__directory *d, struct ob__dir_node *n, uint64_t now_ms)
{
	struct verdict v = hear(d, n);
	if (v.state != OB__MEMBER_UNKNOWN) {
		if (n->listed) {
			update(d, n, v.state);
		} else {
			add(d, n, v.state);
		}
		return;
	}
	d->doubtful = d->doubtful || v.lower;
	if (n->listed && v.gone && !d->ops->linked(d->arg, n->m.id)) {
		take_out(d, n, now_ms);
	}
}

void ob__directory_judge_all(struct ob__directory *d, uint64_t now_ms)
{
	OB__LIST_EACH_SAFE (it, &d->nodes) {
		ob__directory_judge(d, node_of(it), now_ms);
	}
	OB__LIST_EACH_SAFE (back, &d->rest) {
		ob__directory_judge(d, node_of(back), now_ms);
	}
}

/* ---------------------------------------------------------------- records */

static bool newer(const struct ob__member *m, const struct ob__member *than)
{
	return m->incarnation > than->incarnation ||
	       (m->incarnation == than->incarnation && m->rev > than->rev);
}

/* What this source told can't be made sense of: it is to tell all once more. */
static void resync(struct ob__directory *d, struct ob__dir_source *s, uint64_t now_ms)
{
	s->boot = 0;
	s->seq = 0;
	s->subscribed = false;
	if (now_ms < d->beat_at) {
		d->beat_at = now_ms;
	}
}

/* 0, -ENOMEM, or 1: there are too many, and this one is left out. */
static int new_node(struct ob__directory *d, uint64_t id, uint64_t now_ms,
                    struct ob__dir_node **out)
{
	if (d->by_id.count >= OB__DIR_NODES && !ob__list_empty(&d->rest)) {
		ob__directory_forget(d, node_of(d->rest.next));
	}
	if (d->by_id.count >= OB__DIR_NODES) {
		d->overfull++;
		return 1;
	}
	struct ob__dir_node *n = calloc(1, sizeof(*n));
	if (n == NULL || ob__map_put(&d->by_id, id, 0, n) < 0) {
		free(n);
		return -ENOMEM;
	}
	n->best.id = id;
	n->gone_at = now_ms;
	ob__list_init(&n->link);
	ob__list_append(&d->rest, &n->link);
	*out = n;
	return 0;
}

static struct ob__dir_said *said_of(struct ob__dir_node *n, size_t slot)
{
	if (slot >= n->said_len) {
		struct ob__dir_said *more = realloc(n->said, (slot + 1) * sizeof(*more));
		if (more == NULL) {
			return NULL;
		}
		memset(more + n->said_len, 0, (slot + 1 - n->said_len) * sizeof(*more));
		n->said = more;
		n->said_len = (uint8_t)(slot + 1);
	}
	return &n->said[slot];
}

/* A newer record of a node that lives: what it says of itself is news. */
static int take_news(struct ob__dir_node *n, const struct record *r)
{
	struct ob__description *desc;
	const struct ob__description *had = n->best.desc;
	if (had != NULL && had->wire_len == r->wire_len &&
	    memcmp(had->wire, r->wire, r->wire_len) == 0) {
		desc = ob__description_ref(n->best.desc);
	} else {
		int rc = ob__description_get(&desc, r->m.id, r->wire, r->wire_len);
		if (rc < 0) {
			return rc;
		}
	}
	ob__description_unref(n->best.desc);
	n->best = r->m;
	n->best.desc = desc;
	return 0;
}

/* The newest that is known of a node, by one record more. 1: the record must be whole and is not.
 */
static int take_best(struct ob__dir_node *n, const struct record *r)
{
	if (is_live(&r->m) && (newer(&r->m, &n->best) || n->best.desc == NULL)) {
		return r->wire_len == 0 ? 1 : take_news(n, r);
	}
	if (r->m.incarnation > n->best.incarnation) {
		n->best.incarnation = r->m.incarnation;
		n->best.rev = 0;
	}
	if (r->m.incarnation == n->best.incarnation) {
		n->best.state = r->m.state;
		n->best.load = is_live(&r->m) ? r->m.load : n->best.load;
	}
	return 0;
}

static int take_node(struct ob__directory *d, struct ob__dir_source *s, const struct record *r,
                     uint64_t now_ms)
{
	struct ob__dir_node *n = ob__map_get(&d->by_id, r->m.id, 0);
	int rc = 0;
	if (n == NULL && !is_live(&r->m)) {
		return 0;
	}
	if (n == NULL && r->wire_len == 0) {
		resync(d, s, now_ms);
		return 0;
	}
	if (n == NULL) {
		rc = new_node(d, r->m.id, now_ms, &n);
	}
	if (rc != 0) {
		return rc < 0 ? rc : 0;
	}
	struct ob__dir_said *said = said_of(n, (size_t)(s - d->sources));
	rc = said != NULL ? take_best(n, r) : -ENOMEM;
	if (rc < 0) {
		return rc;
	}
	if (rc > 0) {
		resync(d, s, now_ms);
		return 0;
	}
	*said = (struct ob__dir_said){
		.incarnation = r->m.incarnation,
		.gen = s->gen,
		.state = is_live(&r->m) ? r->m.state : OB__MEMBER_UNKNOWN,
	};
	if (s->synced) {
		ob__directory_judge(d, n, now_ms);
	}
	return 0;
}

/* Our own record as a source has it. */
static void take_self(struct ob__directory *d, struct ob__dir_source *s, const struct ob__member *m,
                      uint64_t now_ms)
{
	s->saw_self = true;
	bool higher = m->incarnation > d->self.incarnation;
	bool twin = m->incarnation == d->self.incarnation && m->rev > d->self.rev;
	if (higher || twin) {
		d->clash = m->incarnation > d->clash ? m->incarnation : d->clash;
	} else if (!d->leaving && (!is_live(m) || m->incarnation < d->self.incarnation)) {
		ob__directory_tell_again(d, s, now_ms);
	}
}

static int take(struct ob__directory *d, struct ob__dir_source *s, const struct record *r,
                uint64_t now_ms)
{
	if (r->m.id == d->self.id) {
		take_self(d, s, &r->m, now_ms);
		return 0;
	}
	return r->m.state == OB__MEMBER_UNKNOWN ? -EPROTO : take_node(d, s, r, now_ms);
}

/* ---------------------------------------------------------------- frames */

static int take_records(struct ob__directory *d, struct ob__dir_source *s, size_t records,
                        const uint8_t *data, size_t len, uint64_t now_ms)
{
	for (size_t i = 0; i < records; i++) {
		struct record r;
		int n = ob__member_get(&r.m, data, len, &r.wire, &r.wire_len);
		if (n < 0) {
			return n;
		}
		int rc = take(d, s, &r, now_ms);
		if (rc < 0) {
			return rc;
		}
		data += n;
		len -= (size_t)n;
	}
	return len == 0 ? 0 : -EPROTO;
}

static int take_answer(struct ob__directory *d, struct ob__dir_source *s, const uint8_t *data,
                       size_t len, uint64_t now_ms)
{
	struct record r;
	int n = ob__member_get(&r.m, data, len, &r.wire, &r.wire_len);
	if (n < 0 || (size_t)n != len) {
		return n < 0 ? n : -EPROTO;
	}
	if (r.m.id == d->self.id) {
		return take(d, s, &r, now_ms);
	}
	if (r.m.state != OB__MEMBER_UNKNOWN && s->synced) {
		int rc = take(d, s, &r, now_ms);
		if (rc < 0) {
			return rc;
		}
	}
	d->ops->on_answer(d->arg, s->id, &r.m);
	return 0;
}

/* A snapshot is complete: what it did not have is not listed. */
static void end_snapshot(struct ob__directory *d, struct ob__dir_source *s, uint64_t now_ms)
{
	size_t slot = (size_t)(s - d->sources);
	struct ob__map_entry *it;
	for (size_t i = 0; (it = ob__map_next(&d->by_id, &i)) != NULL;) {
		struct ob__dir_node *n = it->value;
		if (slot < n->said_len && n->said[slot].gen != s->gen) {
			n->said[slot].state = OB__MEMBER_UNKNOWN;
		}
	}
	s->snapshot = false;
	if (!s->saw_self && !d->leaving) {
		ob__directory_tell_again(d, s, now_ms);
	}
}

/* Whether the frame is what may come now. 1: it is to be passed over, as a snapshot is awaited. */
static int check_order(struct ob__dir_source *s, const struct ob__delta *head)
{
	if ((head->flags & OB__DELTA_BEGIN) != 0) {
		s->snapshot = true;
		s->snap_boot = head->boot;
		s->saw_self = false;
		s->gen++;
		return 0;
	}
	if (s->snapshot) {
		return head->boot == s->snap_boot ? 0 : -EPROTO;
	}
	if (s->boot == 0) {
		return s->synced || !s->subscribed ? 1 : -EPROTO;
	}
	return head->boot == s->boot && head->seq >= s->seq ? 0 : -EPROTO;
}

static int delta(struct ob__directory *d, struct ob__dir_source *s, const uint8_t *data, size_t len,
                 uint64_t now_ms)
{
	struct ob__delta head;
	int rc = ob__delta_get(&head, data, len);
	if (rc < 0) {
		return rc;
	}
	data += OB__DELTA_HEAD;
	len -= OB__DELTA_HEAD;
	if ((head.flags & OB__DELTA_ANSWER) != 0) {
		return take_answer(d, s, data, len, now_ms);
	}
	rc = check_order(s, &head);
	if (rc != 0) {
		return rc > 0 ? 0 : rc;
	}
	/* A record that makes no sense may ask for a snapshot, and then boot stays 0. */
	bool more = (head.flags & OB__DELTA_MORE) != 0;
	bool judge = s->snapshot && !more;
	if (!s->snapshot || !more) {
		s->boot = head.boot;
		s->seq = head.seq;
	}
	rc = take_records(d, s, head.records, data, len, now_ms);
	if (rc < 0) {
		s->boot = 0;
		return rc;
	}
	if (more) {
		return 0;
	}
	bool settled = (head.flags & OB__DELTA_SETTLING) == 0;
	if (s->snapshot) {
		end_snapshot(d, s, now_ms);
	}
	judge = judge || settled != s->settled || !s->synced;
	s->settled = settled;
	ob__directory_set_synced(d, s, true, now_ms);
	if (judge) {
		ob__directory_judge_all(d, now_ms);
	}
	return 0;
}

static int receive(struct ob__directory *d, struct ob__dir_source *s, uint32_t sys,
                   const uint8_t *data, size_t len, uint64_t now_ms)
{
	switch (sys) {
	case OB__SYS_MEMBER_DELTA:
		return delta(d, s, data, len, now_ms);
	case OB__SYS_MEMBER_AGAIN:
		if (len != 0) {
			return -EPROTO;
		}
		if (!d->leaving) {
			ob__directory_tell_again(d, s, now_ms);
		}
		return 0;
	default:
		return -ENOENT;
	}
}

int ob__directory_receive(struct ob__directory *d, uint64_t from, uint32_t sys, const uint8_t *data,
                          size_t len, uint64_t now_ms)
{
	int kind = ob__dir_kind(sys);
	if (kind >= 0) {
		ob__dir_count(&d->counts.in[kind], len);
	}
	struct ob__dir_source *s = (struct ob__dir_source *)ob__directory_source(d, from);
	d->clash = 0;
	int rc = s == NULL || !s->up ? -ENOTCONN : receive(d, s, sys, data, len, now_ms);
	if (rc < 0) {
		d->counts.bad++;
	}
	if (d->clash != 0) {
		d->ops->on_clash(d->arg, d->clash);
	}
	return rc;
}
