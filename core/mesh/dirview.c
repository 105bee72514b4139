/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "mesh/dirview.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mesh/dirview_priv.h"
#include "mesh/proto.h"

#define LATE_MS     1000u /* a tick this late: we slept */
#define LATE_SETTLE 3000u /* and after this much all links may have to come up anew */

static uint64_t or64(uint64_t value, uint64_t otherwise)
{
	return value != 0 ? value : otherwise;
}

static uint64_t max64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static struct ob__dirview_options complete(const struct ob__dirview_options *o)
{
	const struct ob__dirview_options none = {0};
	if (o == NULL) {
		o = &none;
	}
	return (struct ob__dirview_options){
		.suspect_ms = or64(o->suspect_ms, 3000),
		.dead_ms = or64(o->dead_ms, 10000),
		.lost_ms = or64(o->lost_ms, 3000),
		.settle_ms = or64(o->settle_ms, 5000),
		.batch_ms = or64(o->batch_ms, 50),
		.load_batch_ms = or64(o->load_batch_ms, 1000),
		.load_ms = or64(o->load_ms, 5000),
		.tomb_ms = or64(o->tomb_ms, 600000),
		.members_max = (uint32_t)or64(o->members_max, 4096),
		.tombs_max = (uint32_t)or64(o->tombs_max, 1024),
	};
}

int ob__dirview_init(struct ob__dirview *v, uint64_t boot, uint64_t seed,
                     const struct ob__dirview_options *options, const struct ob__dirview_ops *ops,
                     void *arg, uint64_t now_ms)
{
	*v = (struct ob__dirview){
		.ops = ops,
		.arg = arg,
		.o = complete(options),
		.boot = boot,
		.flush_at = OB__DIRVIEW_NEVER,
		.scratch = malloc(OB__DIR_PAYLOAD_MAX),
	};
	v->settle_until = now_ms + v->o.settle_ms;
	v->told = true; /* so that the end of settling is looked at once */
	ob__map_init(&v->entries, seed);
	ob__map_init(&v->links, ~seed);
	ob__list_init(&v->by_seq);
	ob__list_init(&v->heard);
	ob__list_init(&v->silent);
	ob__list_init(&v->lost);
	ob__list_init(&v->gone);
	ob__list_init(&v->current);
	ob__list_init(&v->behind);
	return v->scratch != NULL ? 0 : -ENOMEM;
}

void ob__dirview_free(struct ob__dirview *v)
{
	if (v == NULL) {
		return;
	}
	struct ob__map_entry *it;
	for (size_t i = 0; (it = ob__map_next(&v->entries, &i)) != NULL;) {
		struct ob__dirview_entry *e = it->value;
		ob__description_unref(e->m.desc);
		free(e);
	}
	for (size_t i = 0; (it = ob__map_next(&v->links, &i)) != NULL;) {
		free(it->value);
	}
	ob__map_free(&v->entries);
	ob__map_free(&v->links);
	free(v->scratch);
	memset(v, 0, sizeof(*v));
}

const struct ob__dirview_entry *ob__dirview_get(const struct ob__dirview *v, uint64_t id)
{
	return ob__map_get(&v->entries, id, 0);
}

/* ---------------------------------------------------------------- records */

static void wait_in(struct ob__dirview_entry *e, struct ob__list *list, uint64_t at)
{
	e->at = at;
	ob__list_del(&e->wait);
	ob__list_append(list, &e->wait);
}

/* The record has changed; what is sent of it is what it says now. */
static void changed(struct ob__dirview *v, struct ob__dirview_entry *e, uint64_t now_ms)
{
	e->seq = ++v->seq;
	ob__list_del(&e->by_seq);
	ob__list_append(&v->by_seq, &e->by_seq);
	e->m.load = e->load;
	e->sent_load = now_ms;
}

static void changed_now(struct ob__dirview *v, struct ob__dirview_entry *e, uint64_t now_ms)
{
	changed(v, e, now_ms);
	ob__dirview_want_flush(v, now_ms);
}

static void set_state(struct ob__dirview *v, struct ob__dirview_entry *e,
                      enum ob__member_state state, uint64_t now_ms)
{
	e->m.state = (uint8_t)state;
	e->since = now_ms;
	changed_now(v, e, now_ms);
}

static void forget(struct ob__dirview *v, struct ob__dirview_entry *e)
{
	v->forgotten = max64(v->forgotten, e->seq);
	v->tombs--;
	ob__map_del(&v->entries, e->m.id, 0);
	ob__list_del(&e->by_seq);
	ob__list_del(&e->wait);
	free(e);
}

static void bury(struct ob__dirview *v, struct ob__dirview_entry *e, enum ob__member_state state,
                 uint64_t now_ms)
{
	set_state(v, e, state, now_ms);
	ob__description_unref(e->m.desc);
	e->m.desc = NULL;
	wait_in(e, &v->gone, now_ms);
	v->living--;
	v->tombs++;
	if (v->tombs > v->o.tombs_max) {
		forget(v, OB__CONTAINER(v->gone.next, struct ob__dirview_entry, wait));
	}
}

static struct ob__dirview_entry *new_entry(struct ob__dirview *v, uint64_t id, int *err)
{
	if (v->living >= v->o.members_max) {
		*err = -ENOSPC;
		return NULL;
	}
	struct ob__dirview_entry *e = calloc(1, sizeof(*e));
	if (e == NULL || ob__map_put(&v->entries, id, 0, e) < 0) {
		free(e);
		*err = -ENOMEM;
		return NULL;
	}
	e->m.id = id;
	e->m.state = OB__MEMBER_DEAD;
	ob__list_init(&e->by_seq);
	ob__list_init(&e->wait);
	v->tombs++; /* which ends as soon as it has said what it is */
	return e;
}

/* ---------------------------------------------------------------- what members say */

/* The description in an announcement: the one there is if nothing has changed. */
static int read_description(const struct ob__dirview_entry *e, const struct ob__dirview_link *l,
                            const uint8_t *wire, size_t len, struct ob__description **desc)
{
	const struct ob__description *had = e != NULL ? e->m.desc : NULL;
	if (had != NULL && had->wire_len == len && memcmp(had->wire, wire, len) == 0) {
		*desc = ob__description_ref(e->m.desc);
		return 0;
	}
	int rc = ob__description_get(desc, l->id, wire, len);
	if (rc == 0 && (*desc)->role_id != l->role_id) {
		ob__description_unref(*desc);
		rc = -EACCES;
	}
	return rc;
}

static bool same_rev(const struct ob__member *a, const struct ob__member *b)
{
	return a->incarnation == b->incarnation && a->rev == b->rev;
}

/* Takes over a record that is not older than what there is; `m` gives its description away. */
static void take(struct ob__dirview *v, struct ob__dirview_entry *e, const struct ob__member *m,
                 uint64_t now_ms)
{
	bool was_gone = ob__dirview_is_gone(e);
	bool was_up = e->m.state == OB__MEMBER_UP;
	bool reborn = e->m.incarnation != m->incarnation;
	bool fresh = was_gone || !same_rev(&e->m, m);
	ob__description_unref(e->m.desc);
	e->load = m->load;
	uint32_t sent = e->m.load;
	e->m = *m;
	e->m.load = sent;
	wait_in(e, &v->heard, now_ms);
	if (was_gone) {
		v->tombs--;
		v->living++;
	}
	if (!was_up || reborn) {
		e->since = now_ms;
	}
	if (!was_up || fresh) {
		changed_now(v, e, now_ms);
	}
	if (fresh) {
		e->desc_seq = e->seq;
	}
}

static bool older(const struct ob__member *m, const struct ob__member *than)
{
	return m->incarnation < than->incarnation ||
	       (m->incarnation == than->incarnation && m->rev < than->rev);
}

static int announce(struct ob__dirview *v, struct ob__dirview_link *l, const uint8_t *data,
                    size_t len, uint64_t now_ms)
{
	struct ob__member m;
	const uint8_t *wire;
	size_t wire_len;
	int rc = ob__member_get(&m, data, len, &wire, &wire_len);
	if (rc < 0) {
		return rc;
	}
	if ((size_t)rc != len || wire_len == 0 || m.state != OB__MEMBER_UP) {
		return -EPROTO;
	}
	if (m.id != l->id || m.incarnation < l->incarnation) {
		return -EACCES;
	}
	struct ob__dirview_entry *e = ob__map_get(&v->entries, l->id, 0);
	rc = read_description(e, l, wire, wire_len, &m.desc);
	if (rc < 0) {
		return rc;
	}
	if (e != NULL && older(&m, &e->m)) {
		v->counts.refused++;
		ob__description_unref(m.desc);
		ob__dirview_answer(v, l->id, l->id, now_ms);
		return 0;
	}
	if (e == NULL) {
		e = new_entry(v, l->id, &rc);
	} else if (ob__dirview_is_gone(e) && v->living >= v->o.members_max) {
		rc = -ENOSPC;
	}
	if (rc < 0) {
		ob__description_unref(m.desc);
		return rc;
	}
	take(v, e, &m, now_ms);
	return 0;
}

/* More than an eighth of what was said last, and not too often. */
static bool load_moved(const struct ob__dirview *v, const struct ob__dirview_entry *e,
                       uint64_t now_ms)
{
	uint64_t said = e->m.load;
	uint64_t now = e->load;
	uint64_t moved = now > said ? now - said : said - now;
	return moved * 8 > said && now_ms - e->sent_load >= v->o.load_ms;
}

static int beat(struct ob__dirview *v, const struct ob__dirview_link *l, const uint8_t *data,
                size_t len, uint64_t now_ms)
{
	struct ob__beat b;
	int rc = ob__beat_get(&b, data, len);
	if (rc < 0) {
		return rc;
	}
	struct ob__dirview_entry *e = ob__map_get(&v->entries, l->id, 0);
	if (e != NULL && e->m.state == OB__MEMBER_LEFT && e->m.incarnation == b.incarnation) {
		return 0;
	}
	if (e == NULL || ob__dirview_is_gone(e) || e->m.incarnation != b.incarnation ||
	    e->m.rev != b.rev) {
		ob__dirview_send(v, l->id, OB__SYS_MEMBER_AGAIN, 0);
		return 0;
	}
	e->load = b.load;
	wait_in(e, &v->heard, now_ms);
	if (e->m.state != OB__MEMBER_UP) {
		set_state(v, e, OB__MEMBER_UP, now_ms);
	} else if (load_moved(v, e, now_ms)) {
		changed(v, e, now_ms);
		ob__dirview_want_flush(v, now_ms + v->o.load_batch_ms);
	}
	return 0;
}

static int leave(struct ob__dirview *v, const struct ob__dirview_link *l, const uint8_t *data,
                 size_t len, uint64_t now_ms)
{
	uint64_t incarnation;
	int rc = ob__dir_u64_get(&incarnation, data, len);
	if (rc < 0) {
		return rc;
	}
	struct ob__dirview_entry *e = ob__map_get(&v->entries, l->id, 0);
	if (e != NULL && !ob__dirview_is_gone(e) && e->m.incarnation == incarnation) {
		bury(v, e, OB__MEMBER_LEFT, now_ms);
	}
	return 0;
}

static int subscribe(struct ob__dirview *v, struct ob__dirview_link *l, const uint8_t *data,
                     size_t len, uint64_t now_ms)
{
	struct ob__subscribe s;
	int rc = ob__subscribe_get(&s, data, len);
	if (rc < 0) {
		return rc;
	}
	l->boot = s.boot;
	l->at = s.seq;
	ob__list_del(&l->sub);
	ob__list_append(&v->behind, &l->sub);
	ob__dirview_want_flush(v, now_ms);
	return 0;
}

static int ask(struct ob__dirview *v, const struct ob__dirview_link *l, const uint8_t *data,
               size_t len, uint64_t now_ms)
{
	uint64_t id;
	int rc = ob__dir_u64_get(&id, data, len);
	if (rc < 0 || id == 0) {
		return -EPROTO;
	}
	ob__dirview_answer(v, l->id, id, now_ms);
	return 0;
}

/* A node that began anew with a lower incarnation hears of the one that others remember. */
static int higher(struct ob__dirview *v, const uint8_t *data, size_t len, uint64_t now_ms)
{
	struct ob__higher h;
	int rc = ob__higher_get(&h, data, len);
	if (rc < 0) {
		return rc;
	}
	const struct ob__dirview_entry *e = ob__dirview_get(v, h.id);
	if (e != NULL && e->m.state == OB__MEMBER_UP && e->m.incarnation < h.incarnation) {
		ob__dirview_tell_higher(v, &h, now_ms);
	}
	return 0;
}

static int receive(struct ob__dirview *v, uint64_t from, uint32_t sys, const uint8_t *data,
                   size_t len, uint64_t now_ms)
{
	struct ob__dirview_link *l = ob__map_get(&v->links, from, 0);
	if (l == NULL) {
		return -ENOTCONN;
	}
	switch (sys) {
	case OB__SYS_MEMBER_ANNOUNCE:
		return announce(v, l, data, len, now_ms);
	case OB__SYS_MEMBER_BEAT:
		return beat(v, l, data, len, now_ms);
	case OB__SYS_MEMBER_LEAVE:
		return leave(v, l, data, len, now_ms);
	case OB__SYS_MEMBER_SUBSCRIBE:
		return subscribe(v, l, data, len, now_ms);
	case OB__SYS_MEMBER_ASK:
		return ask(v, l, data, len, now_ms);
	case OB__SYS_MEMBER_HIGHER:
		return higher(v, data, len, now_ms);
	default:
		return -ENOENT;
	}
}

int ob__dirview_receive(struct ob__dirview *v, uint64_t from, uint32_t sys, const uint8_t *data,
                        size_t len, uint64_t now_ms)
{
	int kind = ob__dir_kind(sys);
	if (kind >= 0) {
		ob__dir_count(&v->counts.in[kind], len);
	}
	int rc = receive(v, from, sys, data, len, now_ms);
	if (rc < 0) {
		v->counts.bad++;
	}
	return rc;
}

/* ---------------------------------------------------------------- links and time */

int ob__dirview_link_up(struct ob__dirview *v, uint64_t id, uint64_t incarnation, uint32_t role_id)
{
	struct ob__dirview_link *l = ob__map_get(&v->links, id, 0);
	if (l == NULL) {
		if (v->links.count >= v->o.members_max) {
			return -ENOSPC;
		}
		l = calloc(1, sizeof(*l));
		if (l == NULL || ob__map_put(&v->links, id, 0, l) < 0) {
			free(l);
			return -ENOMEM;
		}
		ob__list_init(&l->sub);
		l->id = id;
	}
	ob__list_del(&l->sub);
	l->incarnation = incarnation;
	l->role_id = role_id;
	l->retry_at = 0;
	return 0;
}

void ob__dirview_link_gap(struct ob__dirview *v, uint64_t id, uint64_t now_ms)
{
	struct ob__dirview_link *l = ob__map_get(&v->links, id, 0);
	if (l == NULL || ob__list_empty(&l->sub)) {
		return;
	}
	l->boot = 0;
	l->retry_at = 0;
	ob__list_del(&l->sub);
	ob__list_append(&v->behind, &l->sub);
	ob__dirview_want_flush(v, now_ms);
}

void ob__dirview_link_down(struct ob__dirview *v, uint64_t id, uint64_t now_ms)
{
	struct ob__dirview_link *l = ob__map_del(&v->links, id, 0);
	if (l == NULL) {
		return;
	}
	ob__list_del(&l->sub);
	free(l);
	struct ob__dirview_entry *e = ob__map_get(&v->entries, id, 0);
	if (e == NULL || ob__dirview_is_gone(e)) {
		return;
	}
	if (e->m.state == OB__MEMBER_UP) {
		wait_in(e, &v->lost, now_ms);
		set_state(v, e, OB__MEMBER_SUSPECT, now_ms);
	} else if (e->at + v->o.dead_ms > now_ms + v->o.lost_ms) {
		wait_in(e, &v->lost, now_ms); /* silent before; it is not to wait longer for that */
	}
}

static struct ob__dirview_entry *head(const struct ob__list *list)
{
	return ob__list_empty(list) ? NULL
	                            : OB__CONTAINER(list->next, struct ob__dirview_entry, wait);
}

/* When the first of a list is due; silence in our own sleep is not counted. */
static uint64_t due(const struct ob__dirview *v, const struct ob__list *list, uint64_t after)
{
	const struct ob__dirview_entry *e = head(list);
	return e == NULL ? OB__DIRVIEW_NEVER : max64(e->at, v->awake_since) + after;
}

static uint64_t due_dead(const struct ob__dirview *v, const struct ob__list *list, uint64_t after)
{
	return max64(due(v, list, after), v->settle_until);
}

static uint64_t due_forget(const struct ob__dirview *v)
{
	const struct ob__dirview_entry *e = head(&v->gone);
	return e == NULL ? OB__DIRVIEW_NEVER : e->at + v->o.tomb_ms;
}

uint64_t ob__dirview_next(const struct ob__dirview *v)
{
	const uint64_t times[] = {
		v->flush_at,
		v->told ? v->settle_until : OB__DIRVIEW_NEVER,
		due(v, &v->heard, v->o.suspect_ms),
		due_dead(v, &v->silent, v->o.dead_ms),
		due_dead(v, &v->lost, v->o.lost_ms),
		due_forget(v),
	};
	uint64_t next = OB__DIRVIEW_NEVER;
	for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
		next = times[i] < next ? times[i] : next;
	}
	return next;
}

static void wake(struct ob__dirview *v, uint64_t now_ms)
{
	uint64_t next = ob__dirview_next(v);
	if (next == OB__DIRVIEW_NEVER || now_ms < next + LATE_MS) {
		return;
	}
	v->awake_since = now_ms;
	if (now_ms >= next + LATE_SETTLE) {
		v->settle_until = max64(v->settle_until, now_ms + v->o.settle_ms);
	}
}

void ob__dirview_tick(struct ob__dirview *v, uint64_t now_ms)
{
	wake(v, now_ms);
	while (due_dead(v, &v->silent, v->o.dead_ms) <= now_ms) {
		bury(v, head(&v->silent), OB__MEMBER_DEAD, now_ms);
	}
	while (due_dead(v, &v->lost, v->o.lost_ms) <= now_ms) {
		bury(v, head(&v->lost), OB__MEMBER_DEAD, now_ms);
	}
	while (due(v, &v->heard, v->o.suspect_ms) <= now_ms) {
		struct ob__dirview_entry *e = head(&v->heard);
		wait_in(e, &v->silent, e->at);
		set_state(v, e, OB__MEMBER_SUSPECT, now_ms);
	}
	while (due_forget(v) <= now_ms) {
		forget(v, head(&v->gone));
	}
	if (v->flush_at <= now_ms || (v->told && now_ms >= v->settle_until)) {
		ob__dirview_flush(v, now_ms);
	}
}
