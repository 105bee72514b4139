/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "mesh/directory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mesh/directory_priv.h"
#include "mesh/proto.h"

#define BEAT_MS   1000u
#define GONE_MS   600000u /* how long the incarnation of one that was removed is remembered */
#define GONE_MAX  1024u   /* and of how many, */
#define GONE_SOON 60000u  /* but at least this long */

static struct ob__dir_node *node_of(struct ob__list *it)
{
	return OB__CONTAINER(it, struct ob__dir_node, link);
}

void ob__directory_init(struct ob__directory *d, uint64_t id, uint64_t incarnation, uint64_t seed,
                        const struct ob__directory_ops *ops, void *arg, uint64_t now_ms)
{
	*d = (struct ob__directory){
		.ops = ops,
		.arg = arg,
		.self = {.id = id, .incarnation = incarnation, .state = OB__MEMBER_UP},
		.stale_since = now_ms != 0 ? now_ms : 1,
		.beat_at = now_ms,
	};
	ob__map_init(&d->by_id, seed);
	ob__list_init(&d->nodes);
	ob__list_init(&d->rest);
}

static void free_node(struct ob__dir_node *n)
{
	ob__description_unref(n->m.desc);
	ob__description_unref(n->best.desc);
	free(n->said);
	free(n);
}

void ob__directory_free(struct ob__directory *d)
{
	if (d == NULL) {
		return;
	}
	struct ob__map_entry *it;
	for (size_t i = 0; (it = ob__map_next(&d->by_id, &i)) != NULL;) {
		free_node(it->value);
	}
	ob__map_free(&d->by_id);
	ob__description_unref(d->self.desc);
	memset(d, 0, sizeof(*d));
}

struct ob__dir_node *ob__directory_get(const struct ob__directory *d, uint64_t id)
{
	struct ob__dir_node *n = ob__map_get(&d->by_id, id, 0);
	return n != NULL && n->listed ? n : NULL;
}

/* A source that is down and lists it must tell all again, as it would not tell this one. */
void ob__directory_forget(struct ob__directory *d, struct ob__dir_node *n)
{
	for (size_t i = 0; i < n->said_len; i++) {
		if (n->said[i].state != OB__MEMBER_UNKNOWN && !d->sources[i].synced) {
			d->sources[i].boot = 0;
		}
	}
	ob__map_del(&d->by_id, n->best.id, 0);
	ob__list_del(&n->link);
	free_node(n);
}

/* ---------------------------------------------------------------- what we say */

static int send(struct ob__directory *d, struct ob__dir_source *s, uint32_t sys,
                const uint8_t *data, size_t len)
{
	int rc = d->ops->send(d->arg, s->id, sys, data, len);
	if (rc < 0) {
		d->counts.unsent++;
		return rc;
	}
	ob__dir_count(&d->counts.out[ob__dir_kind(sys)], len);
	return 0;
}

static bool knows_us(const struct ob__directory *d, const struct ob__dir_source *s)
{
	return d->self.desc == NULL ||
	       (s->told == d->self.incarnation && s->told_rev == d->self.rev);
}

static void announce(struct ob__directory *d, struct ob__dir_source *s, uint64_t now_ms)
{
	uint8_t record[OB__MEMBER_MAX];
	size_t len = ob__member_put(&d->self, true, record, sizeof(record));
	if (send(d, s, OB__SYS_MEMBER_ANNOUNCE, record, len) == 0) {
		s->told = d->self.incarnation;
		s->told_rev = d->self.rev;
		s->told_at = now_ms;
	}
}

static void subscribe(struct ob__directory *d, struct ob__dir_source *s)
{
	uint8_t out[OB__SUBSCRIBE_SIZE];
	ob__subscribe_put(out, &(struct ob__subscribe){.boot = s->boot, .seq = s->seq});
	s->subscribed = send(d, s, OB__SYS_MEMBER_SUBSCRIBE, out, sizeof(out)) == 0;
}

static void beat(struct ob__directory *d, struct ob__dir_source *s)
{
	uint8_t out[OB__BEAT_SIZE];
	ob__beat_put(out, &(struct ob__beat){
				  .incarnation = d->self.incarnation,
				  .rev = d->self.rev,
				  .load = d->self.load,
			  });
	send(d, s, OB__SYS_MEMBER_BEAT, out, sizeof(out));
}

static void tell_leave(struct ob__directory *d, struct ob__dir_source *s)
{
	uint8_t out[OB__LEAVE_SIZE];
	ob__dir_u64_put(out, d->self.incarnation);
	s->told_leave = send(d, s, OB__SYS_MEMBER_LEAVE, out, sizeof(out)) == 0;
}

/* Whatever a source should hear from us now. */
static void tell(struct ob__directory *d, struct ob__dir_source *s, bool with_beat, uint64_t now_ms)
{
	if (d->leaving) {
		if (!s->told_leave) {
			tell_leave(d, s);
		}
	} else if (!knows_us(d, s)) {
		announce(d, s, now_ms);
	} else if (with_beat && d->self.desc != NULL) {
		beat(d, s);
	}
	if (!s->subscribed) {
		subscribe(d, s);
	}
}

/* The sources that list a life of the node that was over before, and no other: they tell it. */
static bool tell_higher(struct ob__directory *d, const struct ob__dir_node *n)
{
	bool told = false;
	for (size_t i = 0; i < n->said_len; i++) {
		if (d->sources[i].synced && n->said[i].state == OB__MEMBER_UP &&
		    n->said[i].incarnation < n->best.incarnation) {
			uint8_t out[OB__HIGHER_SIZE];
			ob__higher_put(out, &(struct ob__higher){n->best.id, n->best.incarnation});
			send(d, &d->sources[i], OB__SYS_MEMBER_HIGHER, out, sizeof(out));
			told = true;
		}
	}
	return told;
}

static void tell_all_higher(struct ob__directory *d)
{
	struct ob__map_entry *it;
	bool doubtful = false;
	for (size_t i = 0; (it = ob__map_next(&d->by_id, &i)) != NULL;) {
		const struct ob__dir_node *n = it->value;
		if (!ob__directory_is_listed(d, n)) {
			doubtful = tell_higher(d, n) || doubtful;
		}
	}
	d->doubtful = doubtful;
}

static void tell_all(struct ob__directory *d, bool with_beat, uint64_t now_ms)
{
	for (size_t i = 0; i < OB__DIR_SOURCES; i++) {
		if (d->sources[i].up) {
			tell(d, &d->sources[i], with_beat, now_ms);
		}
	}
}

void ob__directory_describe(struct ob__directory *d, struct ob__description *desc, uint16_t weight,
                            bool draining, uint64_t now_ms)
{
	if (!d->leaving && weight == d->self.weight && draining == d->self.draining &&
	    ob__description_equal(desc, d->self.desc)) {
		return;
	}
	ob__description_ref(desc);
	ob__description_unref(d->self.desc);
	d->self.desc = desc;
	d->self.weight = weight;
	d->self.draining = draining;
	d->self.rev++;
	d->leaving = false;
	tell_all(d, false, now_ms);
}

void ob__directory_incarnation(struct ob__directory *d, uint64_t incarnation, uint64_t now_ms)
{
	if (incarnation > d->self.incarnation) {
		d->self.incarnation = incarnation;
		tell_all(d, false, now_ms);
	}
}

void ob__directory_leave(struct ob__directory *d, uint64_t now_ms)
{
	d->leaving = true;
	for (size_t i = 0; i < OB__DIR_SOURCES; i++) {
		d->sources[i].told_leave = false;
	}
	tell_all(d, false, now_ms);
}

void ob__directory_tell_again(struct ob__directory *d, struct ob__dir_source *s, uint64_t now_ms)
{
	s->told = 0;
	s->subscribed = false; /* that may have been lost too */
	uint64_t at = s->told_at + BEAT_MS > now_ms ? s->told_at + BEAT_MS : now_ms;
	if (at < d->beat_at) {
		d->beat_at = at;
	}
}

int ob__directory_ask(struct ob__directory *d, uint64_t id)
{
	uint8_t out[OB__ASK_SIZE];
	ob__dir_u64_put(out, id);
	int rc = -ENOTCONN;
	for (size_t i = 0; i < OB__DIR_SOURCES; i++) {
		struct ob__dir_source *s = &d->sources[i];
		if (s->up && send(d, s, OB__SYS_MEMBER_ASK, out, sizeof(out)) == 0) {
			rc = 0;
		}
	}
	return rc;
}

/* ---------------------------------------------------------------- sources */

static struct ob__dir_source *find_source(const struct ob__directory *d, uint64_t id)
{
	for (size_t i = 0; i < OB__DIR_SOURCES; i++) {
		if (d->sources[i].id == id) {
			return (struct ob__dir_source *)&d->sources[i];
		}
	}
	return NULL;
}

const struct ob__dir_source *ob__directory_source(const struct ob__directory *d, uint64_t id)
{
	return id != 0 ? find_source(d, id) : NULL;
}

/* The one that is down longest, without what it ever said. */
static struct ob__dir_source *make_room(struct ob__directory *d)
{
	struct ob__dir_source *oldest = NULL;
	for (size_t i = 0; i < OB__DIR_SOURCES; i++) {
		struct ob__dir_source *s = &d->sources[i];
		if (!s->up && (oldest == NULL || s->down_at < oldest->down_at)) {
			oldest = s;
		}
	}
	if (oldest == NULL) {
		return NULL;
	}
	size_t slot = (size_t)(oldest - d->sources);
	struct ob__map_entry *it;
	for (size_t i = 0; (it = ob__map_next(&d->by_id, &i)) != NULL;) {
		struct ob__dir_node *n = it->value;
		if (slot < n->said_len) {
			n->said[slot] = (struct ob__dir_said){0};
		}
	}
	return oldest;
}

int ob__directory_source_up(struct ob__directory *d, uint64_t id, uint64_t now_ms)
{
	struct ob__dir_source *s = find_source(d, id);
	if (s == NULL) {
		s = find_source(d, 0);
		s = s != NULL ? s : make_room(d);
		if (s == NULL) {
			return -ENOSPC;
		}
		*s = (struct ob__dir_source){.id = id};
	}
	ob__directory_set_synced(d, s, false, now_ms);
	s->up = true;
	s->snapshot = false;
	s->subscribed = false;
	s->told = 0;
	s->told_leave = false;
	if (d->beat_at <= now_ms) {
		d->beat_at = now_ms + BEAT_MS;
	}
	tell(d, s, false, now_ms);
	return 0;
}

void ob__directory_source_down(struct ob__directory *d, uint64_t id, uint64_t now_ms)
{
	struct ob__dir_source *s = find_source(d, id);
	if (id == 0 || s == NULL || !s->up) {
		return;
	}
	s->up = false;
	s->snapshot = false;
	s->down_at = now_ms;
	ob__directory_set_synced(d, s, false, now_ms);
	ob__directory_judge_all(d, now_ms);
}

void ob__directory_set_synced(struct ob__directory *d, struct ob__dir_source *s, bool synced,
                              uint64_t now_ms)
{
	if (s->synced == synced) {
		return;
	}
	s->synced = synced;
	d->synced += synced ? 1 : -1u;
	bool stale = d->synced == 0;
	if (stale != (d->stale_since != 0)) {
		d->stale_since = !stale ? 0 : now_ms != 0 ? now_ms : 1;
		d->ops->on_stale(d->arg, stale);
	}
}

void ob__directory_link_down(struct ob__directory *d, uint64_t id, uint64_t now_ms)
{
	struct ob__dir_node *n = ob__map_get(&d->by_id, id, 0);
	if (n != NULL) {
		ob__directory_judge(d, n, now_ms);
	}
}

/* ---------------------------------------------------------------- time */

/* When the first of those that are not listed may be forgotten. */
static uint64_t due_forget(const struct ob__directory *d)
{
	if (ob__list_empty(&d->rest)) {
		return OB__DIR_NEVER;
	}
	bool many = d->by_id.count - d->count > GONE_MAX;
	return node_of(d->rest.next)->gone_at + (many ? GONE_SOON : GONE_MS);
}

uint64_t ob__directory_next(const struct ob__directory *d)
{
	uint64_t next = due_forget(d);
	for (size_t i = 0; i < OB__DIR_SOURCES; i++) {
		const struct ob__dir_source *s = &d->sources[i];
		bool quiet = d->leaving && s->told_leave && s->subscribed;
		if (s->up && !quiet && d->beat_at < next) {
			next = d->beat_at;
		}
	}
	return next;
}

void ob__directory_tick(struct ob__directory *d, uint64_t now_ms)
{
	if (d->beat_at <= now_ms) {
		d->beat_at = now_ms + BEAT_MS;
		tell_all(d, true, now_ms);
		if (d->doubtful) {
			tell_all_higher(d);
		}
	}
	while (due_forget(d) <= now_ms) {
		ob__directory_forget(d, node_of(d->rest.next));
	}
}
