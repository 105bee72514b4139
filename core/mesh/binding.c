/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "mesh/binding.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define OWN_BITS 10 /* of an epoch */

void ob__bindings_init(struct ob__bindings *t, uint32_t limit, uint64_t seed,
                       const struct ob__bindings_ops *ops, void *arg)
{
	*t = (struct ob__bindings){.limit = limit, .seed = seed, .ops = ops, .arg = arg};
	ob__list_init(&t->waits);
	ob__list_init(&t->homes);
}

static void wait_free(struct ob__bindings *t, struct ob__binding *b)
{
	struct ob__binding_wait *w = b->wait;
	if (w != NULL) {
		t->locks -= w->locks_len;
		t->pending -= w->pending;
		ob__list_del(&w->link);
		free(w->locks);
		free(w);
		b->wait = NULL;
	}
}

static void home_free(struct ob__binding *b)
{
	if (b->home != NULL) {
		ob__list_del(&b->home->link);
		free(b->home);
		b->home = NULL;
	}
}

void ob__bindings_free(struct ob__bindings *t)
{
	if (t == NULL || t->shards == NULL) {
		return;
	}
	for (uint32_t i = 0; i < OB__BINDING_SHARDS; i++) {
		struct ob__binding_shard *s = &t->shards[i];
		for (uint32_t j = 0; s->buckets != NULL && j <= s->mask; j++) {
			for (struct ob__binding *b = s->buckets[j]; b != NULL;) {
				struct ob__binding *next = b->next;
				wait_free(t, b);
				home_free(b);
				free(b);
				b = next;
			}
		}
		free(s->buckets);
	}
	free(t->shards);
	t->shards = NULL;
	t->count = 0;
}

/* ---- the table ---- */

static uint64_t hash_of(const struct ob__bindings *t, const char *user)
{
	uint64_t h = t->seed ^ UINT64_C(0x9e3779b97f4a7c15);
	for (; *user != '\0'; user++) {
		h = (h ^ (uint8_t)*user) * (t->seed | 1);
		h ^= h >> 29;
	}
	h = (h ^ h >> 32) * UINT64_C(0xd6e8feb86659fd93);
	return h ^ h >> 32;
}

static struct ob__binding_shard *shard_of(const struct ob__bindings *t, uint64_t hash)
{
	return &t->shards[hash % OB__BINDING_SHARDS];
}

static struct ob__binding **bucket_of(const struct ob__binding_shard *s, uint64_t hash)
{
	return &s->buckets[hash / OB__BINDING_SHARDS & s->mask];
}

static struct ob__binding *lookup(const struct ob__bindings *t, const char *user)
{
	if (t->count == 0) {
		return NULL;
	}
	uint64_t hash = hash_of(t, user);
	const struct ob__binding_shard *s = shard_of(t, hash);
	struct ob__binding *b = s->buckets != NULL ? *bucket_of(s, hash) : NULL;
	while (b != NULL && (b->hash != hash || strcmp(b->user, user) != 0)) {
		b = b->next;
	}
	return b;
}

const struct ob__binding *ob__bindings_find(const struct ob__bindings *t, const char *user)
{
	const struct ob__binding *b = lookup(t, user);
	bool has = b != NULL && b->who.node != 0 && (b->wait == NULL || !b->wait->pending);
	return has ? b : NULL;
}

/* Twice the buckets; without the memory the chains grow longer. */
static void grow(struct ob__binding_shard *s)
{
	uint32_t len = s->buckets != NULL ? (s->mask + 1) * 2 : 4;
	struct ob__binding **more = calloc(len, sizeof(*more));
	if (more == NULL) {
		return;
	}
	struct ob__binding_shard old = *s;
	s->buckets = more;
	s->mask = len - 1;
	for (uint32_t i = 0; old.buckets != NULL && i <= old.mask; i++) {
		for (struct ob__binding *b = old.buckets[i]; b != NULL;) {
			struct ob__binding *next = b->next;
			struct ob__binding **at = bucket_of(s, b->hash);
			b->next = *at;
			*at = b;
			b = next;
		}
	}
	free(old.buckets);
}

static void erase(struct ob__bindings *t, struct ob__binding *b)
{
	struct ob__binding_shard *s = shard_of(t, b->hash);
	struct ob__binding **at = bucket_of(s, b->hash);
	while (*at != b) {
		at = &(*at)->next;
	}
	*at = b->next;
	s->count--;
	t->count--;
	wait_free(t, b);
	home_free(b);
	free(b);
}

/* Forgets where the user was served whose session ended longest ago. */
static void forget_home(struct ob__bindings *t)
{
	if (ob__list_empty(&t->homes)) {
		return;
	}
	struct ob__binding *b = OB__CONTAINER(t->homes.next, struct ob__binding_home, link)->of;
	home_free(b);
	if (b->who.node == 0 && b->wait == NULL) {
		erase(t, b);
	}
}

/* Its time begins when the user has no session, and stops when he has. */
static void home_time(struct ob__bindings *t, struct ob__binding *b)
{
	struct ob__binding_home *h = b->home;
	if (h == NULL || (b->who.node == 0) == (h->until != 0)) {
		return;
	}
	ob__list_del(&h->link);
	h->until = 0;
	if (b->who.node == 0 && t->home_ms == 0) {
		home_free(b);
	} else if (b->who.node == 0) {
		h->until = t->now_ms + t->home_ms;
		ob__list_append(&t->homes, &h->link);
	}
}

/* The user's entry, made if need be; NULL with *err -ENOSPC or -ENOMEM. */
static struct ob__binding *obtain(struct ob__bindings *t, const char *user, int *err)
{
	struct ob__binding *b = lookup(t, user);
	if (b != NULL) {
		return b;
	}
	*err = -ENOSPC;
	if (t->count >= t->limit) {
		forget_home(t);
	}
	if (t->count >= t->limit) {
		return NULL;
	}
	*err = -ENOMEM;
	if (t->shards == NULL &&
	    (t->shards = calloc(OB__BINDING_SHARDS, sizeof(*t->shards))) == NULL) {
		return NULL;
	}
	size_t len = strlen(user) + 1;
	uint64_t hash = hash_of(t, user);
	struct ob__binding_shard *s = shard_of(t, hash);
	if (s->buckets == NULL || s->count > s->mask) {
		grow(s);
	}
	b = s->buckets != NULL ? malloc(sizeof(*b) + len) : NULL;
	if (b == NULL) {
		return NULL;
	}
	*b = (struct ob__binding){.hash = hash};
	memcpy(b->user, user, len);
	struct ob__binding **at = bucket_of(s, hash);
	b->next = *at;
	*at = b;
	s->count++;
	t->count++;
	return b;
}

/* ---- what stands in the way of a claim ---- */

static bool same(const struct ob__who *a, const struct ob__who *b)
{
	return a->node == b->node && a->seq == b->seq;
}

static struct ob__binding_wait *wait_of(struct ob__bindings *t, struct ob__binding *b)
{
	if (b->wait == NULL && (b->wait = calloc(1, sizeof(*b->wait))) != NULL) {
		b->wait->of = b;
		ob__list_init(&b->wait->link);
		ob__list_append(&t->waits, &b->wait->link);
	}
	return b->wait;
}

static void old_del(struct ob__binding_wait *w, uint8_t i)
{
	w->olds_len--;
	memmove(&w->olds[i], &w->olds[i + 1], (size_t)(w->olds_len - i) * sizeof(w->olds[0]));
	memmove(&w->olds_until[i], &w->olds_until[i + 1],
	        (size_t)(w->olds_len - i) * sizeof(w->olds_until[0]));
}

/* True if it was among them. */
static bool old_over(struct ob__binding_wait *w, const struct ob__who *who)
{
	for (uint8_t i = 0; w != NULL && i < w->olds_len; i++) {
		if (same(&w->olds[i], who)) {
			old_del(w, i);
			return true;
		}
	}
	return false;
}

static void old_add(struct ob__binding_wait *w, const struct ob__who *who, uint64_t until)
{
	(void)old_over(w, who);
	if (w->olds_len == OB__BINDING_OLDS) {
		old_del(w, 0);
	}
	w->olds[w->olds_len] = *who;
	w->olds_until[w->olds_len++] = until;
}

static void lock_del(struct ob__bindings *t, struct ob__binding_wait *w, uint8_t i)
{
	w->locks[i] = w->locks[--w->locks_len];
	t->locks--;
}

static bool locked_for(const struct ob__binding *b)
{
	const struct ob__binding_wait *w = b->wait;
	for (uint8_t i = 0; i < w->locks_len; i++) {
		if (!same(&w->locks[i].who, &b->who)) {
			return true;
		}
	}
	return false;
}

static void set_pending(struct ob__bindings *t, struct ob__binding_wait *w, bool pending)
{
	t->pending -= w->pending;
	w->pending = pending;
	t->pending += pending;
}

/* Answers the claim that waits, if nothing stands in its way any more, and forgets what says
 * nothing.  The entry may be gone then. */
static void settle(struct ob__bindings *t, struct ob__binding *b)
{
	struct ob__binding_wait *w = b->wait;
	if (w != NULL && w->pending && w->olds_len == 0 && !locked_for(b)) {
		struct ob__who who = b->who;
		uint64_t call = w->call;
		set_pending(t, w, false);
		if (w->locks_len == 0) {
			wait_free(t, b);
		}
		t->ops->answer(t->arg, &who, b->user, call, 0, b->epoch);
		return;
	}
	if (w != NULL && !w->pending && w->locks_len == 0 &&
	    (w->olds_len == 0 || b->who.node != 0)) {
		wait_free(t, b);
	}
	home_time(t, b);
	if (b->who.node == 0 && b->wait == NULL && b->home == NULL) {
		erase(t, b);
	}
}

/* ---- claims ---- */

/* The low bits are this table's own: two keepers that know of the same epochs and not of each other
 * don't give the same one next. */
static uint64_t next_epoch(struct ob__bindings *t, uint64_t wall_ms)
{
	uint64_t own = t->seed >> (64 - OWN_BITS);
	uint64_t epoch = wall_ms << 16 | own;
	if (epoch <= t->last_epoch) {
		epoch = (t->last_epoch >> OWN_BITS << OWN_BITS) + own;
		epoch += epoch <= t->last_epoch ? 1u << OWN_BITS : 0;
	}
	t->last_epoch = epoch;
	return epoch;
}

static bool locked(const struct ob__binding *b)
{
	return b->wait != NULL && b->wait->locks_len > 0;
}

/* The session that has the user, or waits for it, has lost it to a new claim. */
static int displace(struct ob__bindings *t, struct ob__binding *b, uint64_t epoch, uint64_t now_ms)
{
	struct ob__who old = b->who;
	bool over = t->ops->gone(t->arg, old.node, old.seq);
	if (!over) {
		struct ob__binding_wait *w = wait_of(t, b);
		if (w == NULL) {
			return -ENOMEM;
		}
		old_add(w, &old, now_ms + OB__BINDING_OVER_MS);
	}
	if (b->wait != NULL) {
		set_pending(t, b->wait, false);
	}
	b->who = (struct ob__who){0};
	t->ops->fence(t->arg, &old, b->user, epoch);
	return 0;
}

static void claim_new(struct ob__bindings *t, const struct ob__who *who, uint64_t call,
                      const char *user, uint64_t wall_ms, uint64_t now_ms)
{
	int err = 0;
	struct ob__binding *b = obtain(t, user, &err);
	if (b == NULL) {
		t->ops->answer(t->arg, who, user, call, err, 0);
		return;
	}
	if (same(&b->who, who)) {
		if (b->wait != NULL && b->wait->pending) {
			b->wait->call = call; /* asked again */
			return;
		}
		t->ops->answer(t->arg, who, user, call, 0, b->epoch);
		return;
	}
	uint64_t epoch = next_epoch(t, wall_ms);
	if (b->who.node != 0 && (err = displace(t, b, epoch, now_ms)) != 0) {
		t->ops->answer(t->arg, who, user, call, err, 0);
		return;
	}
	(void)old_over(b->wait, who); /* it had the user before: it is not over after all */
	b->who = *who;
	b->epoch = epoch;
	home_time(t, b);
	if (b->wait == NULL) {
		t->ops->answer(t->arg, who, user, call, 0, epoch);
		return;
	}
	b->wait->call = call;
	set_pending(t, b->wait, true);
	settle(t, b);
}

/* Whether the claim with this epoch stays when it meets what the table has. */
static bool wins(const struct ob__who *who, uint64_t epoch, const struct ob__binding *b)
{
	if (epoch != b->epoch) {
		return epoch > b->epoch;
	}
	return who->node != b->who.node ? who->node > b->who.node : who->seq >= b->who.seq;
}

static void claim_again(struct ob__bindings *t, const struct ob__who *who, uint64_t call,
                        const char *user, uint64_t epoch)
{
	int err = -EINVAL;
	struct ob__binding *b = epoch < OB__BINDING_EPOCH_MAX ? obtain(t, user, &err) : NULL;
	if (b == NULL) {
		t->ops->answer(t->arg, who, user, call, err, 0);
		return;
	}
	t->last_epoch = epoch > t->last_epoch ? epoch : t->last_epoch;
	bool mine = same(&b->who, who);
	struct ob__who other = b->who;
	if (!mine && other.node != 0 && !wins(who, epoch, b)) {
		uint64_t higher = b->epoch;
		t->ops->answer(t->arg, who, user, call, -ESTALE, higher);
		t->ops->fence(t->arg, who, user, higher);
		return;
	}
	b->who = *who;
	home_time(t, b);
	b->epoch = mine && b->epoch > epoch ? b->epoch : epoch;
	epoch = b->epoch;
	if (b->wait != NULL) {
		set_pending(t, b->wait, false);
		(void)old_over(b->wait, who);
		settle(t, b);
	}
	t->ops->answer(t->arg, who, user, call, 0, epoch);
	if (!mine && other.node != 0) {
		t->ops->fence(t->arg, &other, user, epoch);
	}
}

void ob__bindings_claim(struct ob__bindings *t, const struct ob__who *who, uint64_t call,
                        const char *user, uint64_t epoch, uint64_t wall_ms, uint64_t now_ms)
{
	if (epoch != 0) {
		claim_again(t, who, call, user, epoch);
	} else {
		claim_new(t, who, call, user, wall_ms, now_ms);
	}
}

bool ob__bindings_release(struct ob__bindings *t, const struct ob__who *who, const char *user,
                          uint64_t epoch)
{
	struct ob__binding *b = lookup(t, user);
	if (b == NULL) {
		return false;
	}
	bool had = same(&b->who, who) && (epoch == 0 || epoch == b->epoch);
	if (had) {
		b->who = (struct ob__who){0};
		if (b->wait != NULL) {
			set_pending(t, b->wait, false);
		}
	} else if (!same(&b->who, who)) {
		(void)old_over(b->wait, who);
	}
	settle(t, b);
	return had;
}

/* ---- where users are served ---- */

void ob__bindings_set_homes(struct ob__bindings *t, const struct ob__who *who,
                            const struct ob__home_msg *m)
{
	struct ob__binding *b = lookup(t, m->user.user);
	if (b == NULL || !same(&b->who, who)) {
		return;
	}
	if (b->home == NULL && m->len > 0 && (b->home = calloc(1, sizeof(*b->home))) != NULL) {
		b->home->of = b;
		ob__list_init(&b->home->link);
	}
	if (b->home != NULL) {
		b->home->len = m->len;
		memcpy(b->home->homes, m->homes, sizeof(m->homes));
	}
}

uint8_t ob__bindings_homes(const struct ob__bindings *t, const char *user,
                           struct ob__home homes[OB__HOMES_MAX])
{
	const struct ob__binding *b = lookup(t, user);
	if (b == NULL || b->home == NULL) {
		return 0;
	}
	memcpy(homes, b->home->homes, sizeof(b->home->homes));
	return b->home->len;
}

/* ---- locks ---- */

static struct ob__binding_lock *lock_find(const struct ob__binding *b,
                                          const struct ob__binding_lock *l)
{
	for (uint8_t i = 0; locked(b) && i < b->wait->locks_len; i++) {
		struct ob__binding_lock *have = &b->wait->locks[i];
		if (have->locker == l->locker && same(&have->who, &l->who) &&
		    strcmp(have->key, l->key) == 0) {
			return have;
		}
	}
	return NULL;
}

int ob__bindings_lock(struct ob__bindings *t, const struct ob__binding_lock *lock, const char *user)
{
	int err = 0;
	struct ob__binding *b = obtain(t, user, &err);
	if (b == NULL) {
		return err;
	}
	struct ob__binding_lock *have = lock_find(b, lock);
	if (have != NULL) {
		have->until = lock->until;
		return 0;
	}
	struct ob__binding_wait *w = wait_of(t, b);
	err = w == NULL ? -ENOMEM : w->locks_len == OB__BINDING_LOCKS ? -ENOSPC : 0;
	struct ob__binding_lock *locks =
		err == 0 ? realloc(w->locks, (size_t)(w->locks_len + 1) * sizeof(*locks)) : NULL;
	if (locks == NULL) {
		settle(t, b);
		return err != 0 ? err : -ENOMEM;
	}
	w->locks = locks;
	w->locks[w->locks_len++] = *lock;
	t->locks++;
	return 0;
}

bool ob__bindings_unlock(struct ob__bindings *t, const struct ob__binding_lock *lock,
                         const char *user, bool keep)
{
	struct ob__binding *b = lookup(t, user);
	struct ob__binding_lock *have = b != NULL ? lock_find(b, lock) : NULL;
	if (have == NULL) {
		return false;
	}
	if (keep) {
		have->locker = 0;
		return true;
	}
	lock_del(t, b->wait, (uint8_t)(have - b->wait->locks));
	settle(t, b);
	return true;
}

/* ---- time ---- */

static void wait_check(struct ob__bindings *t, struct ob__binding_wait *w, uint64_t now_ms)
{
	for (uint8_t i = w->locks_len; i-- > 0;) {
		const struct ob__binding_lock *l = &w->locks[i];
		if (l->until <= now_ms) {
			t->ops->expired(t->arg, w->of->user, l);
			lock_del(t, w, i);
		} else if (l->locker != 0 && t->ops->gone(t->arg, l->locker, 0)) {
			lock_del(t, w, i);
		}
	}
	for (uint8_t i = w->olds_len; i-- > 0;) {
		const struct ob__who *old = &w->olds[i];
		if (w->olds_until[i] <= now_ms || t->ops->gone(t->arg, old->node, old->seq)) {
			old_del(w, i);
		}
	}
	settle(t, w->of);
}

void ob__bindings_tick(struct ob__bindings *t, uint32_t n, uint64_t now_ms)
{
	struct ob__list seen;
	uint32_t most = n;
	ob__list_init(&seen);
	while (n-- > 0 && !ob__list_empty(&t->waits)) {
		struct ob__binding_wait *w =
			OB__CONTAINER(t->waits.next, struct ob__binding_wait, link);
		ob__list_del(&w->link);
		ob__list_append(&seen, &w->link);
		wait_check(t, w, now_ms);
	}
	ob__list_splice(&t->waits, &seen);
	t->now_ms = now_ms;
	for (; most > 0 && !ob__list_empty(&t->homes); most--) {
		if (OB__CONTAINER(t->homes.next, struct ob__binding_home, link)->until > now_ms) {
			return;
		}
		forget_home(t);
	}
}

bool ob__bindings_sweep(struct ob__bindings *t, uint32_t n)
{
	if (t->shards == NULL) {
		return false;
	}
	for (; t->shard < OB__BINDING_SHARDS; t->shard++, t->bucket = 0) {
		const struct ob__binding_shard *s = &t->shards[t->shard];
		for (; s->buckets != NULL && t->bucket <= s->mask; t->bucket++) {
			for (struct ob__binding *b = s->buckets[t->bucket]; b != NULL;) {
				struct ob__binding *next = b->next;
				n -= n > 0;
				if (b->who.node != 0 &&
				    t->ops->gone(t->arg, b->who.node, b->who.seq)) {
					struct ob__who who = b->who;
					(void)ob__bindings_release(t, &who, b->user, 0);
				}
				b = next;
			}
			n -= n > 0;
			if (n == 0) {
				t->bucket++;
				return true;
			}
		}
	}
	t->shard = 0;
	t->bucket = 0;
	return false;
}
