/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Both halves of the directory, each alone: what it is told is made here, what it says is written
 * down.  How they work together is t/sim/directory_model.c's.
 */

#include "mesh/directory.h"

#include <CUnit/CUnit.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/frame.h"
#include "lib/map.h"
#include "mesh/dirview.h"
#include "mesh/proto.h"
#include "tap.h"

#define BOOT 700u

/* ---------------------------------------------------------------- what was sent */

#define SENT_MAX 256u

static struct sent {
	uint64_t to;
	uint32_t sys;
	size_t len;
	uint8_t data[600];
} sent[SENT_MAX];
static size_t sent_len;
static uint64_t deaf; /* its link takes nothing */

static int send(void *arg, uint64_t to, uint32_t sys, const uint8_t *data, size_t len)
{
	(void)arg;
	if (to == deaf) {
		return -EBUSY;
	}
	if (sent_len < SENT_MAX) {
		struct sent *s = &sent[sent_len++];
		s->to = to;
		s->sys = sys;
		s->len = len;
		memcpy(s->data, data, len < sizeof(s->data) ? len : sizeof(s->data));
	}
	return 0;
}

static size_t count_sent(uint64_t to, uint32_t sys)
{
	size_t n = 0;
	for (size_t i = 0; i < sent_len; i++) {
		n += sent[i].to == to && sent[i].sys == sys;
	}
	return n;
}

static const struct sent *last_sent(uint64_t to, uint32_t sys)
{
	for (size_t i = sent_len; i > 0; i--) {
		if (sent[i - 1].to == to && sent[i - 1].sys == sys) {
			return &sent[i - 1];
		}
	}
	return NULL;
}

/* ---------------------------------------------------------------- records */

static const char *const names[] = {"a", "b", "c", "d"};
#define ID(i) ob__node_id(names[i])

static struct ob__description *describe(const char *name, const char *role)
{
	struct ob__description *d;
	struct ob__member_facts facts = {.name = name, .role = role};
	CU_ASSERT_EQUAL_FATAL(ob__description_make(&d, &facts), 0);
	return d;
}

struct said {
	int who;
	uint64_t incarnation;
	uint32_t rev;
	uint8_t state;
	uint32_t load;
	bool draining;
	bool brief;       /* without a description */
	const char *role; /* NULL: service */
};

static size_t put_record(const struct said *s, uint8_t *out, size_t cap)
{
	struct ob__member m = {
		.id = ID(s->who),
		.incarnation = s->incarnation,
		.rev = s->rev,
		.load = s->load,
		.weight = 100,
		.state = s->state,
		.draining = s->draining,
		.desc = describe(names[s->who], s->role != NULL ? s->role : "service"),
	};
	size_t len = ob__member_put(&m, !s->brief && s->state < OB__MEMBER_DEAD, out, cap);
	ob__description_unref(m.desc);
	return len;
}

/* The record of a node in the last delta to `to`; false if it has none. */
static bool in_delta(uint64_t to, uint64_t id, struct ob__member *m, bool *whole)
{
	const struct sent *s = last_sent(to, OB__SYS_MEMBER_DELTA);
	struct ob__delta head;
	if (s == NULL || ob__delta_get(&head, s->data, s->len) < 0) {
		return false;
	}
	size_t at = OB__DELTA_HEAD;
	for (unsigned i = 0; i < head.records; i++) {
		const uint8_t *wire;
		size_t wire_len;
		int n = ob__member_get(m, s->data + at, s->len - at, &wire, &wire_len);
		CU_ASSERT_FATAL(n > 0);
		*whole = wire_len > 0;
		if (m->id == id) {
			return true;
		}
		at += (size_t)n;
	}
	return false;
}

static struct ob__delta delta_head(uint64_t to)
{
	struct ob__delta head = {0};
	const struct sent *s = last_sent(to, OB__SYS_MEMBER_DELTA);
	if (s != NULL) {
		ob__delta_get(&head, s->data, s->len);
	}
	return head;
}

/* ---------------------------------------------------------------- the view's rig */

static struct ob__dirview view;
static uint64_t now;

static void view_begin(const struct ob__dirview_options *options)
{
	static const struct ob__dirview_ops ops = {.send = send};
	sent_len = 0;
	deaf = 0;
	now = 100000;
	CU_ASSERT_EQUAL_FATAL(ob__dirview_init(&view, BOOT, 1, options, &ops, NULL, now), 0);
}

/* Time passes, with a tick whenever one is due. */
static void view_until(uint64_t when)
{
	for (uint64_t next; (next = ob__dirview_next(&view)) <= when;) {
		now = next > now ? next : now;
		ob__dirview_tick(&view, now);
	}
	now = when;
}

static int view_say(const struct said *s)
{
	uint8_t out[OB__MEMBER_MAX];
	size_t len = put_record(s, out, sizeof(out));
	return ob__dirview_receive(&view, ID(s->who), OB__SYS_MEMBER_ANNOUNCE, out, len, now);
}

static void view_join(int who, uint64_t incarnation)
{
	struct said s = {.who = who, .incarnation = incarnation, .rev = 1, .state = OB__MEMBER_UP};
	CU_ASSERT_EQUAL(ob__dirview_link_up(&view, ID(who), incarnation, ob__fnv1a32("service")),
	                0);
	CU_ASSERT_EQUAL(view_say(&s), 0);
}

static int view_beat(int who, uint64_t incarnation, uint32_t rev, uint32_t load)
{
	uint8_t out[OB__BEAT_SIZE];
	ob__beat_put(out, &(struct ob__beat){incarnation, rev, load});
	return ob__dirview_receive(&view, ID(who), OB__SYS_MEMBER_BEAT, out, sizeof(out), now);
}

static void view_subscribe(int who, uint64_t boot, uint64_t seq)
{
	uint8_t out[OB__SUBSCRIBE_SIZE];
	ob__subscribe_put(out, &(struct ob__subscribe){boot, seq});
	CU_ASSERT_EQUAL(ob__dirview_receive(&view, ID(who), OB__SYS_MEMBER_SUBSCRIBE, out,
	                                    sizeof(out), now),
	                0);
}

static void view_leave(int who, uint64_t incarnation)
{
	uint8_t out[OB__LEAVE_SIZE];
	ob__dir_u64_put(out, incarnation);
	CU_ASSERT_EQUAL(
		ob__dirview_receive(&view, ID(who), OB__SYS_MEMBER_LEAVE, out, sizeof(out), now),
		0);
}

static unsigned view_state(int who)
{
	const struct ob__dirview_entry *e = ob__dirview_get(&view, ID(who));
	return e == NULL ? OB__MEMBER_UNKNOWN : e->m.state;
}

/* Beats of one node until then, each second. */
static void view_beats_until(int who, uint64_t incarnation, uint64_t when)
{
	while (now + 1000 <= when) {
		view_until(now + 1000);
		CU_ASSERT_EQUAL(view_beat(who, incarnation, 1, 0), 0);
	}
	view_until(when);
}

/* ---------------------------------------------------------------- the view's tests */

static void test_silence(void)
{
	view_begin(NULL);
	view_until(now + 6000); /* settled */
	view_join(0, 5);
	uint64_t heard = now;
	view_until(heard + 2999);
	CU_ASSERT_EQUAL(view_state(0), OB__MEMBER_UP);
	view_until(heard + 3000);
	CU_ASSERT_EQUAL(view_state(0), OB__MEMBER_SUSPECT);
	CU_ASSERT_EQUAL(view_beat(0, 5, 1, 0), 0); /* a beat and it is back */
	CU_ASSERT_EQUAL(view_state(0), OB__MEMBER_UP);
	heard = now;
	view_until(heard + 9999);
	CU_ASSERT_EQUAL(view_state(0), OB__MEMBER_SUSPECT);
	view_until(heard + 10000);
	CU_ASSERT_EQUAL(view_state(0), OB__MEMBER_DEAD);
	CU_ASSERT_EQUAL(view.living, 0);
	CU_ASSERT_EQUAL(view.tombs, 1);
	CU_ASSERT_EQUAL(view_beat(0, 5, 1, 0), 0); /* the dead must say anew who they are */
	CU_ASSERT_EQUAL(view_state(0), OB__MEMBER_DEAD);
	CU_ASSERT_EQUAL(count_sent(ID(0), OB__SYS_MEMBER_AGAIN), 1);
	view_join(0, 5);
	CU_ASSERT_EQUAL(view_state(0), OB__MEMBER_UP);
	CU_ASSERT_EQUAL(view.tombs, 0);
	ob__dirview_free(&view);
	ob__dirview_free(&view);
	ob__dirview_free(NULL);
}

static void test_lost_link(void)
{
	view_begin(NULL);
	view_until(now + 6000);
	view_join(0, 5);
	ob__dirview_link_down(&view, ID(0), now);
	CU_ASSERT_EQUAL(view_state(0), OB__MEMBER_SUSPECT); /* at once */
	view_until(now + 2999);
	view_join(0, 5); /* back in time: nobody died */
	CU_ASSERT_EQUAL(view_state(0), OB__MEMBER_UP);
	view_beats_until(0, 5, now + 20000);
	CU_ASSERT_EQUAL(view_state(0), OB__MEMBER_UP);
	ob__dirview_link_down(&view, ID(0), now);
	view_until(now + 2999);
	CU_ASSERT_EQUAL(view_state(0), OB__MEMBER_SUSPECT);
	view_until(now + 1);
	CU_ASSERT_EQUAL(view_state(0), OB__MEMBER_DEAD);
	ob__dirview_link_down(&view, ID(0), now); /* unknown by now */
	ob__dirview_free(&view);
}

/* Silent for 9 s, then its link goes: it does not get 3 s more. */
static void test_silent_and_lost(void)
{
	view_begin(NULL);
	view_until(now + 6000);
	view_join(0, 5);
	view_until(now + 9000);
	ob__dirview_link_down(&view, ID(0), now);
	view_until(now + 999);
	CU_ASSERT_EQUAL(view_state(0), OB__MEMBER_SUSPECT);
	view_until(now + 1);
	CU_ASSERT_EQUAL(view_state(0), OB__MEMBER_DEAD);
	ob__dirview_free(&view);
}

static void test_leave(void)
{
	view_begin(NULL);
	view_join(0, 5);
	view_leave(0, 4); /* of another life */
	CU_ASSERT_EQUAL(view_state(0), OB__MEMBER_UP);
	view_leave(0, 5);
	CU_ASSERT_EQUAL(view_state(0), OB__MEMBER_LEFT); /* at once, even while settling */
	CU_ASSERT_EQUAL(view_beat(0, 5, 1, 0), 0);       /* one that was under way */
	CU_ASSERT_EQUAL(view_state(0), OB__MEMBER_LEFT);
	CU_ASSERT_EQUAL(count_sent(ID(0), OB__SYS_MEMBER_AGAIN), 0);
	ob__dirview_link_down(&view, ID(0), now);
	CU_ASSERT_EQUAL(view_state(0), OB__MEMBER_LEFT);
	ob__dirview_free(&view);
}

static void test_view_incarnations(void)
{
	struct ob__member m;
	bool whole;
	view_begin(NULL);
	view_join(0, 5);
	struct said lower = {.who = 0, .incarnation = 4, .rev = 9, .state = OB__MEMBER_UP};
	CU_ASSERT_EQUAL(view_say(&lower), -EACCES); /* lower than its own hello's */
	ob__dirview_link_up(&view, ID(0), 4, ob__fnv1a32("service"));
	CU_ASSERT_EQUAL(view_say(&lower), 0); /* refused, and told why */
	CU_ASSERT_EQUAL(view.counts.refused, 1);
	CU_ASSERT_EQUAL(ob__dirview_get(&view, ID(0))->m.incarnation, 5);
	CU_ASSERT_TRUE(in_delta(ID(0), ID(0), &m, &whole));
	CU_ASSERT_EQUAL(m.incarnation, 5);
	CU_ASSERT_EQUAL(delta_head(ID(0)).flags & OB__DELTA_ANSWER, OB__DELTA_ANSWER);
	struct said higher = {.who = 0, .incarnation = 6, .rev = 1, .state = OB__MEMBER_UP};
	uint64_t seq = view.seq;
	CU_ASSERT_EQUAL(view_say(&higher), 0);
	CU_ASSERT_EQUAL(ob__dirview_get(&view, ID(0))->m.incarnation, 6);
	CU_ASSERT_EQUAL(view.seq, seq + 1);
	CU_ASSERT_EQUAL(view_say(&higher), 0); /* the same again changes nothing */
	CU_ASSERT_EQUAL(view.seq, seq + 1);
	higher.rev = 3;
	higher.draining = true;
	CU_ASSERT_EQUAL(view_say(&higher), 0);
	CU_ASSERT_TRUE(ob__dirview_get(&view, ID(0))->m.draining);
	higher.rev = 2; /* late */
	higher.draining = false;
	CU_ASSERT_EQUAL(view_say(&higher), 0);
	CU_ASSERT_TRUE(ob__dirview_get(&view, ID(0))->m.draining);
	CU_ASSERT_EQUAL(view_beat(0, 6, 2, 0), 0); /* of a rev that is not the one known */
	CU_ASSERT_EQUAL(count_sent(ID(0), OB__SYS_MEMBER_AGAIN), 1);
	/* Others remember a higher one of it. */
	static const struct ob__higher rows[] = {{0, 6}, {0, 7}};
	for (size_t i = 0; i < 2; i++) {
		struct ob__higher h = {ID(0), rows[i].incarnation};
		uint8_t out[OB__HIGHER_SIZE];
		sent_len = 0;
		ob__higher_put(out, &h);
		CU_ASSERT_EQUAL(ob__dirview_receive(&view, ID(0), OB__SYS_MEMBER_HIGHER, out,
		                                    sizeof(out), now),
		                0);
		CU_ASSERT_EQUAL(in_delta(ID(0), ID(0), &m, &whole), i == 1);
	}
	CU_ASSERT_EQUAL(m.incarnation, 7);
	CU_ASSERT_EQUAL(m.state, OB__MEMBER_DEAD);
	ob__dirview_free(&view);
}

static void test_view_refuses(void)
{
	uint8_t bytes[OB__MEMBER_MAX];
	static const struct said rows[] = {
		{.who = 1, .incarnation = 5, .rev = 1, .state = OB__MEMBER_UP}, /* another's */
		{.who = 0, .incarnation = 5, .rev = 1, .state = OB__MEMBER_UP, .role = "proxy"},
		{.who = 0, .incarnation = 5, .rev = 1, .state = OB__MEMBER_SUSPECT},
		{.who = 0, .incarnation = 5, .rev = 1, .state = OB__MEMBER_UP, .brief = true},
	};
	static const int codes[] = {-EACCES, -EACCES, -EPROTO, -EPROTO};
	view_begin(&(struct ob__dirview_options){.members_max = 2});
	ob__dirview_link_up(&view, ID(0), 5, ob__fnv1a32("service"));
	for (size_t i = 0; i < 4; i++) {
		size_t len = put_record(&rows[i], bytes, sizeof(bytes));
		CU_ASSERT_EQUAL(
			ob__dirview_receive(&view, ID(0), OB__SYS_MEMBER_ANNOUNCE, bytes, len, now),
			codes[i]);
	}
	for (uint32_t sys = OB__SYS_MEMBER_ANNOUNCE; sys <= OB__SYS_MEMBER_HIGHER; sys++) {
		CU_ASSERT_EQUAL(ob__dirview_receive(&view, ID(0), sys, bytes, 3, now), -EPROTO);
	}
	CU_ASSERT_EQUAL(ob__dirview_receive(&view, ID(0), OB__SYS_MEMBER_DELTA, bytes, 0, now),
	                -ENOENT);
	CU_ASSERT_EQUAL(ob__dirview_receive(&view, ID(1), OB__SYS_MEMBER_BEAT, bytes, 0, now),
	                -ENOTCONN);
	CU_ASSERT_EQUAL(view.counts.bad, 12);
	CU_ASSERT_EQUAL(view.entries.count, 0);
	view_join(0, 5);
	view_join(1, 5);
	CU_ASSERT_EQUAL(ob__dirview_link_up(&view, ID(2), 5, 1), -ENOSPC);
	ob__dirview_link_down(&view, ID(1), now); /* suspect: still counts */
	CU_ASSERT_EQUAL(ob__dirview_link_up(&view, ID(2), 5, ob__fnv1a32("service")), 0);
	struct said third = {.who = 2, .incarnation = 5, .rev = 1, .state = OB__MEMBER_UP};
	CU_ASSERT_EQUAL(view_say(&third), -ENOSPC);
	ob__dirview_free(&view);
}

static void test_subscribe(void)
{
	struct ob__member m;
	bool whole;
	view_begin(NULL);
	view_until(now + 6000);
	view_join(0, 5);
	view_subscribe(0, 0, 0);
	view_until(now + 100);
	struct ob__delta head = delta_head(ID(0));
	CU_ASSERT_EQUAL(head.boot, BOOT);
	CU_ASSERT_EQUAL(head.flags, OB__DELTA_BEGIN);       /* a snapshot in one frame, settled */
	CU_ASSERT_TRUE(in_delta(ID(0), ID(0), &m, &whole)); /* with oneself in it */
	view_join(1, 5);
	view_until(now + 100);
	CU_ASSERT_EQUAL(delta_head(ID(0)).flags, 0);
	CU_ASSERT_EQUAL(delta_head(ID(0)).records, 1);
	CU_ASSERT_TRUE(in_delta(ID(0), ID(1), &m, &whole));
	CU_ASSERT_TRUE(whole);
	uint64_t at = delta_head(ID(0)).seq;

	ob__dirview_link_down(&view, ID(1), now); /* only the state has changed */
	view_until(now + 100);
	CU_ASSERT_TRUE(in_delta(ID(0), ID(1), &m, &whole));
	CU_ASSERT_EQUAL(m.state, OB__MEMBER_SUSPECT);
	CU_ASSERT_FALSE(whole);

	ob__dirview_link_down(&view, ID(0), now); /* it resumes where it stood */
	view_join(0, 5);
	view_subscribe(0, BOOT, at);
	view_until(now + 100);
	CU_ASSERT_EQUAL(delta_head(ID(0)).flags, 0);
	CU_ASSERT_EQUAL(delta_head(ID(0)).records, 2);
	CU_ASSERT_TRUE(in_delta(ID(0), ID(1), &m, &whole));
	CU_ASSERT_FALSE(whole);

	view_subscribe(0, BOOT, view.seq); /* nothing has happened: it hears even that */
	sent_len = 0;
	view_until(now + 100);
	CU_ASSERT_EQUAL(count_sent(ID(0), OB__SYS_MEMBER_DELTA), 1);
	CU_ASSERT_EQUAL(delta_head(ID(0)).records, 0);
	view_subscribe(0, BOOT - 1, at); /* another life of this node */
	view_until(now + 100);
	CU_ASSERT_EQUAL(delta_head(ID(0)).flags, OB__DELTA_BEGIN);
	view_subscribe(0, BOOT, view.seq + 1); /* what has never been */
	view_until(now + 100);
	CU_ASSERT_EQUAL(delta_head(ID(0)).flags, OB__DELTA_BEGIN);
	ob__dirview_free(&view);
}

static void test_tombstones(void)
{
	struct ob__member m;
	bool whole;
	view_begin(&(struct ob__dirview_options){.tombs_max = 1});
	view_until(now + 6000);
	view_join(0, 5);
	view_join(1, 5);
	view_join(2, 5);
	uint64_t at = view.seq;
	view_leave(1, 5);
	view_subscribe(0, BOOT, at);
	view_until(now + 100);
	CU_ASSERT_EQUAL(delta_head(ID(0)).flags, 0); /* the tombstone is still there */
	CU_ASSERT_TRUE(in_delta(ID(0), ID(1), &m, &whole));
	CU_ASSERT_EQUAL(m.state, OB__MEMBER_LEFT);
	CU_ASSERT_FALSE(whole);
	view_leave(2, 5); /* takes the only place */
	CU_ASSERT_EQUAL(view_state(1), OB__MEMBER_UNKNOWN);
	view_subscribe(0, BOOT, at);
	view_until(now + 100);
	CU_ASSERT_EQUAL(delta_head(ID(0)).flags, OB__DELTA_BEGIN);
	CU_ASSERT_FALSE(in_delta(ID(0), ID(2), &m, &whole)); /* snapshots list the living */
	view_subscribe(0, BOOT, view.seq - 1); /* had seen the one that was forgotten */
	view_until(now + 100);
	CU_ASSERT_EQUAL(delta_head(ID(0)).flags, 0);
	view_beats_until(0, 5, now + 599000);
	CU_ASSERT_EQUAL(view_state(2), OB__MEMBER_LEFT);
	view_beats_until(0, 5, now + 1000);
	CU_ASSERT_EQUAL(view_state(2), OB__MEMBER_UNKNOWN); /* ten minutes */
	CU_ASSERT_EQUAL(view.tombs, 0);
	ob__dirview_free(&view);
}

static void test_coalescing(void)
{
	view_begin(NULL);
	view_until(now + 6000);
	view_join(0, 5);
	view_subscribe(0, 0, 0);
	view_until(now + 1000);
	view_beat(0, 5, 1, 0);
	sent_len = 0;
	struct said s = {.who = 1, .incarnation = 5, .rev = 1, .state = OB__MEMBER_UP};
	ob__dirview_link_up(&view, ID(1), 5, ob__fnv1a32("service"));
	CU_ASSERT_EQUAL(view_say(&s), 0);
	CU_ASSERT_EQUAL(ob__dirview_next(&view), now); /* it was quiet: at once */
	view_until(now);
	CU_ASSERT_EQUAL(count_sent(ID(0), OB__SYS_MEMBER_DELTA), 1);
	for (int i = 0; i < 10; i++) { /* ten changes of one record in 50 ms: sent once */
		s.rev++;
		view_until(now + 4);
		CU_ASSERT_EQUAL(view_say(&s), 0);
	}
	CU_ASSERT_EQUAL(count_sent(ID(0), OB__SYS_MEMBER_DELTA), 1);
	view_until(now + 10);
	CU_ASSERT_EQUAL(count_sent(ID(0), OB__SYS_MEMBER_DELTA), 2);
	CU_ASSERT_EQUAL(delta_head(ID(0)).records, 1);
	ob__dirview_free(&view);
}

static void test_load(void)
{
	static const struct {
		uint32_t said;
		uint32_t load;
		unsigned after_s; /* since it was said */
		bool sent;
	} rows[] = {
		{800, 2000, 4, false},                       /* too soon */
		{800, 2000, 5, true},  {800, 900, 6, false}, /* not more than an eighth */
		{800, 901, 6, true},   {800, 700, 6, false}, {800, 699, 6, true},
		{0, 1, 6, true},       {0, 0, 6, false},     {UINT32_MAX, 0, 6, true},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct ob__member m;
		bool whole;
		struct said s = {
			.incarnation = 5, .rev = 1, .state = OB__MEMBER_UP, .load = rows[i].said};
		view_begin(NULL);
		view_until(now + 6000);
		ob__dirview_link_up(&view, ID(0), 5, ob__fnv1a32("service"));
		CU_ASSERT_EQUAL(view_say(&s), 0);
		view_subscribe(0, 0, 0);
		for (unsigned t = 0; t < rows[i].after_s; t++) {
			view_until(now + 1000);
			sent_len = 0;
			view_beat(0, 5, 1, t + 1 < rows[i].after_s ? rows[i].said : rows[i].load);
		}
		view_until(now + 999); /* waits for company */
		CU_ASSERT_EQUAL(sent_len, 0);
		view_until(now + 1);
		CU_ASSERT_EQUAL(count_sent(ID(0), OB__SYS_MEMBER_DELTA), rows[i].sent);
		if (rows[i].sent && in_delta(ID(0), ID(0), &m, &whole)) {
			CU_ASSERT_EQUAL(m.load, rows[i].load);
			CU_ASSERT_FALSE(whole);
		}
		ob__dirview_free(&view);
	}
}

static void test_settling(void)
{
	view_begin(NULL);
	view_join(0, 5);
	view_join(1, 5);
	view_subscribe(0, 0, 0);
	view_until(now + 10);
	CU_ASSERT_EQUAL(delta_head(ID(0)).flags, OB__DELTA_BEGIN | OB__DELTA_SETTLING);
	ob__dirview_link_down(&view, ID(1), now);
	view_beats_until(0, 5, now + 4900);
	CU_ASSERT_EQUAL(view_state(1), OB__MEMBER_SUSPECT); /* nobody dies meanwhile */
	sent_len = 0;
	view_until(now + 200);
	CU_ASSERT_EQUAL(view_state(1), OB__MEMBER_DEAD);
	CU_ASSERT(count_sent(ID(0), OB__SYS_MEMBER_DELTA) >= 1);
	CU_ASSERT_EQUAL(delta_head(ID(0)).flags, 0); /* said that it is over */
	ob__dirview_free(&view);

	view_begin(NULL); /* said even when nothing else is to say */
	view_join(0, 5);
	view_subscribe(0, 0, 0);
	view_until(now + 100);
	view_join(1, 5);
	view_leave(1, 5);
	view_beats_until(0, 5, now + 4800);
	sent_len = 0;
	view_until(now + 200);
	CU_ASSERT_EQUAL(count_sent(ID(0), OB__SYS_MEMBER_DELTA), 1);
	CU_ASSERT_EQUAL(delta_head(ID(0)).records, 0);
	CU_ASSERT_EQUAL(delta_head(ID(0)).flags, 0);
	ob__dirview_free(&view);
}

/* The view itself was stopped: what it did not hear meanwhile is nobody's fault. */
static void test_sleep(void)
{
	view_begin(NULL);
	view_until(now + 6000);
	view_join(0, 5);
	view_beats_until(0, 5, now + 2000);
	now += 60000;
	ob__dirview_tick(&view, now);
	CU_ASSERT_EQUAL(view_state(0), OB__MEMBER_UP);
	CU_ASSERT_TRUE(ob__dirview_settling(&view, now));
	ob__dirview_link_down(&view, ID(0), now);
	view_until(now + 4999);
	CU_ASSERT_EQUAL(view_state(0), OB__MEMBER_SUSPECT);
	view_until(now + 1);
	CU_ASSERT_EQUAL(view_state(0), OB__MEMBER_DEAD);
	ob__dirview_free(&view);
}

/* A link that takes nothing misses nothing: it hears it later from where it stood. */
static void test_deaf(void)
{
	struct ob__member m;
	bool whole;
	view_begin(NULL);
	view_until(now + 6000);
	view_join(0, 5);
	view_subscribe(0, 0, 0);
	view_until(now + 100);
	deaf = ID(0);
	view_join(1, 5);
	view_until(now + 200);
	view_leave(1, 5);
	view_until(now + 200);
	CU_ASSERT(view.counts.unsent >= 1);
	deaf = 0;
	view_until(now + 1100);
	CU_ASSERT_TRUE(in_delta(ID(0), ID(1), &m, &whole));
	CU_ASSERT_EQUAL(m.state, OB__MEMBER_LEFT);
	CU_ASSERT_EQUAL(delta_head(ID(0)).seq, view.seq);
	ob__dirview_free(&view);
}

/* More than one frame holds: each but the last says that it goes on, none is too long. */
static void test_large_snapshot(void)
{
	view_begin(NULL);
	for (int i = 0; i < 1500; i++) {
		char name[32];
		snprintf(name, sizeof(name), "node-%d", i);
		struct ob__member m = {
			.id = ob__node_id(name),
			.incarnation = 5,
			.rev = 1,
			.state = OB__MEMBER_UP,
			.desc = describe(name, "service"),
		};
		uint8_t out[OB__MEMBER_MAX];
		size_t len = ob__member_put(&m, true, out, sizeof(out));
		ob__description_unref(m.desc);
		ob__dirview_link_up(&view, m.id, 5, ob__fnv1a32("service"));
		CU_ASSERT_EQUAL(
			ob__dirview_receive(&view, m.id, OB__SYS_MEMBER_ANNOUNCE, out, len, now),
			0);
	}
	view_join(0, 5);
	view_subscribe(0, 0, 0);
	view_until(now + 10);
	unsigned records = 0;
	CU_ASSERT(sent_len >= 2);
	for (size_t i = 0; i < sent_len; i++) {
		struct ob__delta head;
		CU_ASSERT_EQUAL(ob__delta_get(&head, sent[i].data, sent[i].len), 0);
		CU_ASSERT(sent[i].len <= OB__DELTA_MAX);
		CU_ASSERT_EQUAL((head.flags & OB__DELTA_BEGIN) != 0, i == 0);
		CU_ASSERT_EQUAL((head.flags & OB__DELTA_MORE) != 0, i + 1 < sent_len);
		records += head.records;
	}
	CU_ASSERT_EQUAL(records, 1501);
	uint64_t bytes = 0;
	for (size_t i = 0; i < sent_len; i++) {
		bytes += sent[i].len + OB__FRAME_HEADER;
	}
	CU_ASSERT_EQUAL(view.counts.out[OB__DIR_DELTA].messages, sent_len);
	CU_ASSERT_EQUAL(view.counts.out[OB__DIR_DELTA].bytes, bytes);
	CU_ASSERT_EQUAL(view.counts.in[OB__DIR_ANNOUNCE].messages, 1501);
	ob__dirview_free(&view);
}

static void test_ask(void)
{
	struct ob__member m;
	bool whole;
	uint8_t out[OB__ASK_SIZE];
	view_begin(NULL);
	view_join(0, 5);
	view_join(1, 5);
	ob__dir_u64_put(out, ID(1));
	CU_ASSERT_EQUAL(
		ob__dirview_receive(&view, ID(0), OB__SYS_MEMBER_ASK, out, sizeof(out), now), 0);
	CU_ASSERT_TRUE(in_delta(ID(0), ID(1), &m, &whole));
	CU_ASSERT_EQUAL(m.state, OB__MEMBER_UP);
	CU_ASSERT_TRUE(whole);
	ob__dir_u64_put(out, 77);
	ob__dirview_receive(&view, ID(0), OB__SYS_MEMBER_ASK, out, sizeof(out), now);
	CU_ASSERT_TRUE(in_delta(ID(0), 77, &m, &whole));
	CU_ASSERT_EQUAL(m.state, OB__MEMBER_UNKNOWN);
	ob__dirview_free(&view);
}

/* ---------------------------------------------------------------- the directory's rig */

#define SOURCE(i) (1000u + (i))

static struct ob__directory dir;
static uint64_t seqs[OB__DIR_SOURCES];
static uint64_t direct;     /* the node a direct link to is up */
static unsigned changes;    /* of the last on_node, and how many there were */
static unsigned changes_of; /* bits of all since event_begin */
static size_t events;
static struct ob__member before;
static uint64_t clash;
static int answered;
static int stale;

static bool linked(void *arg, uint64_t id)
{
	(void)arg;
	return id == direct;
}

static void on_node(void *arg, unsigned change, struct ob__dir_node *node,
                    const struct ob__member *old)
{
	(void)arg;
	CU_ASSERT_PTR_NOT_NULL(node->m.desc);
	CU_ASSERT_EQUAL(old == NULL, change == OB__DIR_ADDED);
	changes = change;
	changes_of |= change;
	events++;
	before = old != NULL ? *old : (struct ob__member){0};
}

static void on_stale(void *arg, bool is)
{
	(void)arg;
	stale = is;
}

static void on_clash(void *arg, uint64_t incarnation)
{
	(void)arg;
	clash = incarnation;
}

static void on_answer(void *arg, uint64_t source, const struct ob__member *m)
{
	(void)arg;
	(void)source;
	answered = m->state;
}

static void dir_begin(void)
{
	static const struct ob__directory_ops ops = {
		.send = send,
		.linked = linked,
		.on_node = on_node,
		.on_stale = on_stale,
		.on_clash = on_clash,
		.on_answer = on_answer,
	};
	sent_len = 0;
	deaf = 0;
	direct = 0;
	clash = 0;
	answered = -1;
	stale = -1;
	events = 0;
	changes_of = 0;
	now = 100000;
	memset(seqs, 0, sizeof(seqs));
	ob__directory_init(&dir, ob__node_id("self"), 50, 1, &ops, NULL, now);
	struct ob__description *d = describe("self", "proxy");
	ob__directory_describe(&dir, d, 100, false, now);
	ob__description_unref(d);
}

static void dir_until(uint64_t when)
{
	for (uint64_t next; (next = ob__directory_next(&dir)) <= when;) {
		now = next > now ? next : now;
		ob__directory_tick(&dir, now);
	}
	now = when;
}

static size_t put_self(uint8_t *out, size_t cap, uint64_t incarnation, uint32_t rev, uint8_t state)
{
	struct ob__member m = {
		.id = ob__node_id("self"), .incarnation = incarnation, .rev = rev, .state = state};
	return ob__member_put(&m, false, out, cap);
}

/* A delta of a source; flags as given, the records of `s`, own record in front if self_inc. */
static int tell(unsigned source, uint16_t flags, const struct said *s, size_t n, uint64_t self_inc)
{
	uint8_t out[2048];
	struct ob__delta head = {.boot = BOOT, .seq = ++seqs[source], .flags = flags};
	size_t len = OB__DELTA_HEAD;
	if (self_inc != 0) {
		len += put_self(out + len, sizeof(out) - len, self_inc, 1, OB__MEMBER_UP);
		head.records++;
	}
	for (size_t i = 0; i < n; i++) {
		len += put_record(&s[i], out + len, sizeof(out) - len);
		head.records++;
	}
	ob__delta_put(out, &head);
	return ob__directory_receive(&dir, SOURCE(source), OB__SYS_MEMBER_DELTA, out, len, now);
}

static int tell_one(unsigned source, struct said s)
{
	return tell(source, 0, &s, 1, 0);
}

/* A source comes up and lists `s`. */
static void up(unsigned source, uint16_t flags, const struct said *s, size_t n)
{
	CU_ASSERT_EQUAL(ob__directory_source_up(&dir, SOURCE(source), now), 0);
	CU_ASSERT_EQUAL(tell(source, OB__DELTA_BEGIN | flags, s, n, 50), 0);
}

static int state_of(int who)
{
	const struct ob__dir_node *n = ob__directory_get(&dir, ID(who));
	return n == NULL ? OB__MEMBER_UNKNOWN : n->m.state;
}

#define A_UP      ((struct said){0, 5, 1, OB__MEMBER_UP, 0, false, false, NULL})
#define A_SUSPECT ((struct said){0, 5, 1, OB__MEMBER_SUSPECT, 0, false, true, NULL})
#define A_DEAD    ((struct said){0, 5, 1, OB__MEMBER_DEAD, 0, false, true, NULL})
#define A_LEFT    ((struct said){0, 5, 1, OB__MEMBER_LEFT, 0, false, true, NULL})

/* ---------------------------------------------------------------- the directory's tests */

static void test_union(void)
{
	const struct said a = A_UP;
	const struct said b = {.who = 1, .incarnation = 5, .rev = 1, .state = OB__MEMBER_UP};
	dir_begin();
	CU_ASSERT(dir.stale_since != 0);
	up(0, 0, &a, 1);
	CU_ASSERT_EQUAL(stale, 0);
	up(1, 0, &b, 1);
	CU_ASSERT_EQUAL(dir.count, 2);
	CU_ASSERT_EQUAL(changes_of, OB__DIR_ADDED);
	/* The best that is said. */
	CU_ASSERT_EQUAL(tell_one(0, A_SUSPECT), 0);
	CU_ASSERT_EQUAL(state_of(0), OB__MEMBER_SUSPECT);
	CU_ASSERT_EQUAL(changes, OB__DIR_STATE);
	CU_ASSERT_EQUAL(before.state, OB__MEMBER_UP);
	CU_ASSERT_EQUAL(tell_one(1, A_UP), 0);
	CU_ASSERT_EQUAL(state_of(0), OB__MEMBER_UP);
	/* Gone only when all say so. */
	CU_ASSERT_EQUAL(tell_one(0, A_DEAD), 0);
	CU_ASSERT_EQUAL(state_of(0), OB__MEMBER_UP);
	CU_ASSERT_EQUAL(tell_one(1, A_LEFT), 0);
	CU_ASSERT_EQUAL(state_of(0), OB__MEMBER_UNKNOWN);
	CU_ASSERT_EQUAL(changes, OB__DIR_REMOVED);
	CU_ASSERT_EQUAL(tell_one(0, A_UP), 0);
	CU_ASSERT_EQUAL(changes, OB__DIR_ADDED);
	ob__directory_free(&dir);
	ob__directory_free(&dir);
	ob__directory_free(NULL);
}

static void test_incarnations(void)
{
	const struct said a = A_UP;
	dir_begin();
	up(0, 0, &a, 1);
	up(1, 0, &a, 1);
	events = 0;
	struct said next = {.who = 0, .incarnation = 6, .rev = 1, .state = OB__MEMBER_UP};
	CU_ASSERT_EQUAL(tell_one(0, next), 0);
	CU_ASSERT_EQUAL(changes, OB__DIR_REPLACED);
	CU_ASSERT_EQUAL(before.incarnation, 5);
	CU_ASSERT_EQUAL(ob__directory_get(&dir, ID(0))->m.incarnation, 6);
	CU_ASSERT_EQUAL(tell_one(1, A_SUSPECT), 0); /* about a life that is over */
	CU_ASSERT_EQUAL(events, 1);
	CU_ASSERT_EQUAL(state_of(0), OB__MEMBER_UP);
	/* The new life ends: that the other source lists the old one doesn't count. */
	next.state = OB__MEMBER_DEAD;
	CU_ASSERT_EQUAL(tell_one(0, next), 0);
	CU_ASSERT_EQUAL(changes, OB__DIR_REMOVED);
	CU_ASSERT_EQUAL(tell_one(1, A_UP), 0); /* and it can't come back */
	CU_ASSERT_EQUAL(state_of(0), OB__MEMBER_UNKNOWN);
	struct ob__higher h;
	sent_len = 0;
	dir_until(now + 1000); /* but if it lives, it is told */
	const struct sent *told = last_sent(SOURCE(1), OB__SYS_MEMBER_HIGHER);
	CU_ASSERT_PTR_NOT_NULL_FATAL(told);
	CU_ASSERT_EQUAL(ob__higher_get(&h, told->data, told->len), 0);
	CU_ASSERT_EQUAL(h.id, ID(0));
	CU_ASSERT_EQUAL(h.incarnation, 6);
	CU_ASSERT_EQUAL(count_sent(SOURCE(0), OB__SYS_MEMBER_HIGHER), 0);
	next.state = OB__MEMBER_UP;
	next.incarnation = 7;
	CU_ASSERT_EQUAL(tell_one(1, next), 0);
	CU_ASSERT_EQUAL(state_of(0), OB__MEMBER_UP);
	CU_ASSERT_EQUAL(ob__directory_get(&dir, ID(0))->m.incarnation, 7);
	sent_len = 0;
	dir_until(now + 3000);
	CU_ASSERT_EQUAL(count_sent(SOURCE(1), OB__SYS_MEMBER_HIGHER), 0);
	ob__directory_free(&dir);
}

/* Only that a higher life is over is known: the lower one is over as well. */
static void test_dead_of_higher(void)
{
	const struct said a = A_UP;
	struct said next = {.who = 0, .incarnation = 6, .rev = 1, .state = OB__MEMBER_DEAD};
	dir_begin();
	up(0, 0, &a, 1);
	CU_ASSERT_EQUAL(tell_one(0, next), 0);
	CU_ASSERT_EQUAL(changes, OB__DIR_REMOVED);
	next.state = OB__MEMBER_UP; /* its description is taken although the rev is no news */
	next.role = "proxy";
	CU_ASSERT_EQUAL(tell_one(0, next), 0);
	CU_ASSERT_STRING_EQUAL(ob__directory_get(&dir, ID(0))->m.desc->role, "proxy");
	ob__directory_free(&dir);
}

static void test_revs(void)
{
	const struct said a = A_UP;
	dir_begin();
	up(0, 0, &a, 1);
	up(1, 0, &a, 1);
	struct said next = {.who = 0,
	                    .incarnation = 5,
	                    .rev = 3,
	                    .state = OB__MEMBER_UP,
	                    .draining = true,
	                    .role = "proxy"};
	CU_ASSERT_EQUAL(tell_one(0, next), 0);
	CU_ASSERT_EQUAL(changes, OB__DIR_STATE | OB__DIR_UPDATED);
	CU_ASSERT_EQUAL(state_of(0), OB__MEMBER_DRAINING);
	CU_ASSERT_STRING_EQUAL(ob__directory_get(&dir, ID(0))->m.desc->role, "proxy");
	events = 0;
	struct said late = {.who = 0, .incarnation = 5, .rev = 2, .state = OB__MEMBER_UP};
	CU_ASSERT_EQUAL(tell_one(1, late), 0); /* it lives, but draining is the newer word */
	CU_ASSERT_EQUAL(events, 0);
	CU_ASSERT_EQUAL(state_of(0), OB__MEMBER_DRAINING);
	late.rev = 3;
	late.brief = true;
	late.draining = true;
	late.load = 77;
	CU_ASSERT_EQUAL(tell_one(1, late), 0);
	CU_ASSERT_EQUAL(changes, OB__DIR_LOAD);
	CU_ASSERT_EQUAL(ob__directory_get(&dir, ID(0))->m.load, 77);
	ob__directory_free(&dir);
}

static void test_settled(void)
{
	const struct said a = A_UP;
	dir_begin();
	up(0, 0, &a, 1);
	ob__directory_source_down(&dir, SOURCE(0), now);
	CU_ASSERT_EQUAL(stale, 1);
	up(1, OB__DELTA_SETTLING, NULL, 0); /* does not list it, yet */
	CU_ASSERT_EQUAL(stale, 0);
	CU_ASSERT_EQUAL(state_of(0), OB__MEMBER_UP);
	CU_ASSERT_EQUAL(tell(1, OB__DELTA_SETTLING, NULL, 0, 0), 0);
	CU_ASSERT_EQUAL(state_of(0), OB__MEMBER_UP);
	CU_ASSERT_EQUAL(tell(1, 0, NULL, 0, 0), 0); /* settled */
	CU_ASSERT_EQUAL(state_of(0), OB__MEMBER_UNKNOWN);
	ob__directory_free(&dir);
}

/* Every source that can be reached must have said it. */
static void test_every_source(void)
{
	const struct said a = A_UP;
	dir_begin();
	up(0, 0, &a, 1);
	up(1, 0, &a, 1);
	up(2, 0, &a, 1);
	CU_ASSERT_EQUAL(tell_one(0, A_DEAD), 0);
	CU_ASSERT_EQUAL(tell_one(1, A_DEAD), 0);
	CU_ASSERT_EQUAL(state_of(0), OB__MEMBER_UP);
	ob__directory_source_down(&dir, SOURCE(2), now); /* can't be reached: does not count */
	CU_ASSERT_EQUAL(state_of(0), OB__MEMBER_UNKNOWN);
	/* It is back, and has not said anything yet. */
	CU_ASSERT_EQUAL(ob__directory_source_up(&dir, SOURCE(2), now), 0);
	CU_ASSERT_EQUAL(state_of(0), OB__MEMBER_UNKNOWN);
	CU_ASSERT_EQUAL(tell(2, 0, NULL, 0, 0), 0); /* nothing has changed with it */
	CU_ASSERT_EQUAL(state_of(0), OB__MEMBER_UP);
	ob__directory_source_down(&dir, SOURCE(1), now);
	CU_ASSERT_EQUAL(ob__directory_source_up(&dir, SOURCE(1), now), 0);
	CU_ASSERT_EQUAL(tell_one(2, A_DEAD), 0); /* waits for the one that is coming up */
	CU_ASSERT_EQUAL(state_of(0), OB__MEMBER_UP);
	CU_ASSERT_EQUAL(tell(1, 0, NULL, 0, 0), 0);
	CU_ASSERT_EQUAL(state_of(0), OB__MEMBER_UNKNOWN);
	ob__directory_free(&dir);
}

static void test_direct_link(void)
{
	const struct said a = A_UP;
	dir_begin();
	up(0, 0, &a, 1);
	direct = ID(0);
	CU_ASSERT_EQUAL(tell_one(0, A_DEAD), 0);
	CU_ASSERT_EQUAL(state_of(0), OB__MEMBER_UP);
	direct = 0;
	ob__directory_link_down(&dir, ID(0), now);
	CU_ASSERT_EQUAL(state_of(0), OB__MEMBER_UNKNOWN);
	CU_ASSERT_EQUAL(changes, OB__DIR_REMOVED);
	ob__directory_link_down(&dir, 4711, now);
	ob__directory_free(&dir);
}

static void test_all_away(void)
{
	const struct said a = A_UP;
	dir_begin();
	up(0, 0, &a, 1);
	up(1, 0, &a, 1);
	events = 0;
	ob__directory_source_down(&dir, SOURCE(0), now);
	CU_ASSERT_EQUAL(stale, 0);
	ob__directory_source_down(&dir, SOURCE(1), now);
	CU_ASSERT_EQUAL(stale, 1);
	CU_ASSERT_EQUAL(dir.stale_since, now);
	dir_until(now + 3600000);
	CU_ASSERT_EQUAL(state_of(0), OB__MEMBER_UP);
	CU_ASSERT_EQUAL(events, 0);
	CU_ASSERT_EQUAL(ob__directory_ask(&dir, ID(0)), -ENOTCONN);
	ob__directory_free(&dir);
}

static void test_resume(void)
{
	const struct said a = A_UP;
	struct ob__subscribe s;
	dir_begin();
	up(0, 0, &a, 1);
	const struct sent *said = last_sent(SOURCE(0), OB__SYS_MEMBER_SUBSCRIBE);
	CU_ASSERT_PTR_NOT_NULL_FATAL(said);
	CU_ASSERT_EQUAL(ob__subscribe_get(&s, said->data, said->len), 0);
	CU_ASSERT_EQUAL(s.boot, 0);
	CU_ASSERT_EQUAL(tell_one(0, A_SUSPECT), 0);
	ob__directory_source_down(&dir, SOURCE(0), now);
	CU_ASSERT_EQUAL(ob__directory_source_up(&dir, SOURCE(0), now), 0);
	said = last_sent(SOURCE(0), OB__SYS_MEMBER_SUBSCRIBE);
	CU_ASSERT_EQUAL(ob__subscribe_get(&s, said->data, said->len), 0);
	CU_ASSERT_EQUAL(s.boot, BOOT);
	CU_ASSERT_EQUAL(s.seq, seqs[0]);
	CU_ASSERT_EQUAL(tell(0, 0, NULL, 0, 0), 0); /* deltas: what was known stays */
	CU_ASSERT_EQUAL(state_of(0), OB__MEMBER_SUSPECT);
	ob__directory_source_down(&dir, SOURCE(0), now);
	const struct said b = {.who = 1, .incarnation = 5, .rev = 1, .state = OB__MEMBER_UP};
	up(0, OB__DELTA_MORE, &b, 1); /* a snapshot: what is not in it goes, at its end */
	CU_ASSERT_EQUAL(state_of(0), OB__MEMBER_SUSPECT);
	CU_ASSERT_EQUAL(state_of(1), OB__MEMBER_UNKNOWN);
	CU_ASSERT_EQUAL(tell(0, 0, NULL, 0, 0), 0);
	CU_ASSERT_EQUAL(state_of(0), OB__MEMBER_UNKNOWN);
	CU_ASSERT_EQUAL(state_of(1), OB__MEMBER_UP);
	ob__directory_free(&dir);
}

/* A record that makes no sense without what went before: everything is asked for anew. */
static void test_resync(void)
{
	struct ob__subscribe s;
	dir_begin();
	up(0, 0, NULL, 0);
	sent_len = 0;
	CU_ASSERT_EQUAL(tell_one(0, A_SUSPECT), 0); /* brief, of an unknown node */
	CU_ASSERT_EQUAL(dir.by_id.count, 0);
	dir_until(now);
	const struct sent *said = last_sent(SOURCE(0), OB__SYS_MEMBER_SUBSCRIBE);
	CU_ASSERT_PTR_NOT_NULL_FATAL(said);
	CU_ASSERT_EQUAL(ob__subscribe_get(&s, said->data, said->len), 0);
	CU_ASSERT_EQUAL(s.boot, 0);
	CU_ASSERT_EQUAL(tell_one(0, A_UP), 0); /* was under way: passed over */
	CU_ASSERT_EQUAL(dir.count, 0);
	const struct said a = A_UP;
	CU_ASSERT_EQUAL(tell(0, OB__DELTA_BEGIN, &a, 1, 50), 0);
	CU_ASSERT_EQUAL(state_of(0), OB__MEMBER_UP);
	ob__directory_free(&dir);
}

static void test_own_record(void)
{
	dir_begin();
	up(0, 0, NULL, 0);
	CU_ASSERT_EQUAL(count_sent(SOURCE(0), OB__SYS_MEMBER_ANNOUNCE), 1);
	CU_ASSERT_EQUAL(dir.count, 0); /* not one's own peer */
	dir_until(now + 5000);
	CU_ASSERT_EQUAL(count_sent(SOURCE(0), OB__SYS_MEMBER_ANNOUNCE), 1);
	CU_ASSERT_EQUAL(count_sent(SOURCE(0), OB__SYS_MEMBER_BEAT), 5);
	ob__directory_source_down(&dir, SOURCE(0), now);
	sent_len = 0;

	/* Not listed in a snapshot: announced again, but not more than once a second. */
	CU_ASSERT_EQUAL(ob__directory_source_up(&dir, SOURCE(0), now), 0);
	CU_ASSERT_EQUAL(tell(0, OB__DELTA_BEGIN, NULL, 0, 0), 0);
	dir_until(now + 999);
	CU_ASSERT_EQUAL(count_sent(SOURCE(0), OB__SYS_MEMBER_ANNOUNCE), 1);
	dir_until(now + 1);
	CU_ASSERT_EQUAL(count_sent(SOURCE(0), OB__SYS_MEMBER_ANNOUNCE), 2);

	/* Listed as dead, as a former life, or not at all. */
	static const struct {
		uint64_t incarnation;
		uint8_t state;
		size_t announced;
		uint64_t clash;
		uint32_t rev;
	} rows[] = {
		{50, OB__MEMBER_UP, 0, 0, 1},     {50, OB__MEMBER_SUSPECT, 0, 0, 1},
		{50, OB__MEMBER_DEAD, 1, 0, 1},   {50, OB__MEMBER_LEFT, 1, 0, 1},
		{49, OB__MEMBER_UP, 1, 0, 9},     {51, OB__MEMBER_UP, 0, 51, 1},
		{60, OB__MEMBER_DEAD, 0, 60, 1},  {50, OB__MEMBER_UP, 0, 50, 2},
		{0, OB__MEMBER_UNKNOWN, 1, 0, 0},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint8_t out[200];
		struct ob__delta head = {.boot = BOOT, .seq = ++seqs[0], .records = 1};
		if (rows[i].state == OB__MEMBER_UNKNOWN) {
			head.flags = OB__DELTA_ANSWER;
		}
		ob__delta_put(out, &head);
		size_t len =
			OB__DELTA_HEAD + put_self(out + OB__DELTA_HEAD, 100, rows[i].incarnation,
		                                  rows[i].rev, rows[i].state);
		dir_until(now + 2500);
		sent_len = 0;
		clash = 0;
		CU_ASSERT_EQUAL(
			ob__directory_receive(&dir, SOURCE(0), OB__SYS_MEMBER_DELTA, out, len, now),
			0);
		dir_until(now);
		CU_ASSERT_EQUAL(count_sent(SOURCE(0), OB__SYS_MEMBER_ANNOUNCE), rows[i].announced);
		CU_ASSERT_EQUAL(clash, rows[i].clash);
	}
	CU_ASSERT_EQUAL(dir.count, 0);
	dir_until(now + 2500);
	sent_len = 0;
	CU_ASSERT_EQUAL(ob__directory_receive(&dir, SOURCE(0), OB__SYS_MEMBER_AGAIN, NULL, 0, now),
	                0);
	dir_until(now);
	CU_ASSERT_EQUAL(count_sent(SOURCE(0), OB__SYS_MEMBER_ANNOUNCE), 1);
	ob__directory_incarnation(&dir, 40, now);
	CU_ASSERT_EQUAL(dir.self.incarnation, 50);
	ob__directory_incarnation(&dir, 61, now);
	CU_ASSERT_EQUAL(count_sent(SOURCE(0), OB__SYS_MEMBER_ANNOUNCE), 2);
	ob__directory_free(&dir);
}

static void test_saying(void)
{
	struct ob__beat b;
	dir_begin();
	up(0, 0, NULL, 0);
	up(1, 0, NULL, 0);
	sent_len = 0;
	struct ob__description *d = describe("self", "proxy");
	ob__directory_describe(&dir, d, 100, false, now); /* the same: no news */
	CU_ASSERT_EQUAL(sent_len, 0);
	ob__directory_describe(&dir, d, 100, true, now);
	CU_ASSERT_EQUAL(count_sent(SOURCE(0), OB__SYS_MEMBER_ANNOUNCE), 1);
	CU_ASSERT_EQUAL(count_sent(SOURCE(1), OB__SYS_MEMBER_ANNOUNCE), 1);
	CU_ASSERT_EQUAL(dir.self.rev, 2);
	ob__directory_load(&dir, 7);
	dir_until(now + 1000);
	const struct sent *s = last_sent(SOURCE(1), OB__SYS_MEMBER_BEAT);
	CU_ASSERT_PTR_NOT_NULL_FATAL(s);
	CU_ASSERT_EQUAL(ob__beat_get(&b, s->data, s->len), 0);
	CU_ASSERT(b.incarnation == 50 && b.rev == 2 && b.load == 7);

	deaf = SOURCE(1); /* it hears it with the next beat */
	ob__directory_describe(&dir, d, 50, true, now);
	CU_ASSERT_EQUAL(dir.counts.unsent, 1);
	deaf = 0;
	sent_len = 0;
	dir_until(now + 1000);
	CU_ASSERT_EQUAL(count_sent(SOURCE(0), OB__SYS_MEMBER_BEAT), 1);
	CU_ASSERT_EQUAL(count_sent(SOURCE(1), OB__SYS_MEMBER_ANNOUNCE), 1);

	sent_len = 0;
	deaf = SOURCE(1);
	ob__directory_leave(&dir, now);
	deaf = 0;
	dir_until(now + 10000);
	CU_ASSERT_EQUAL(sent_len, 2); /* LEAVE, and no more beats */
	CU_ASSERT_EQUAL(count_sent(SOURCE(0), OB__SYS_MEMBER_LEAVE), 1);
	CU_ASSERT_EQUAL(count_sent(SOURCE(1), OB__SYS_MEMBER_LEAVE), 1);
	CU_ASSERT_EQUAL(tell(0, OB__DELTA_BEGIN, NULL, 0, 0), 0); /* not listed: as it should be */
	dir_until(now + 3000);
	CU_ASSERT_EQUAL(sent_len, 2);
	ob__directory_describe(&dir, d, 50, true, now); /* it stays after all */
	CU_ASSERT_EQUAL(count_sent(SOURCE(0), OB__SYS_MEMBER_ANNOUNCE), 1);
	ob__description_unref(d);
	CU_ASSERT_EQUAL(dir.counts.out[OB__DIR_LEAVE].messages, 2);
	CU_ASSERT_EQUAL(dir.counts.out[OB__DIR_LEAVE].bytes,
	                2 * (OB__FRAME_HEADER + OB__LEAVE_SIZE));
	ob__directory_free(&dir);
}

static void test_answers(void)
{
	const struct said a = A_UP;
	dir_begin();
	up(0, 0, NULL, 0);
	CU_ASSERT_EQUAL(ob__directory_ask(&dir, ID(0)), 0);
	CU_ASSERT_EQUAL(count_sent(SOURCE(0), OB__SYS_MEMBER_ASK), 1);
	CU_ASSERT_EQUAL(tell(0, OB__DELTA_ANSWER, &a, 1, 0), 0);
	CU_ASSERT_EQUAL(answered, OB__MEMBER_UP);
	CU_ASSERT_EQUAL(state_of(0), OB__MEMBER_UP); /* news as any other */
	const struct said unknown = {.who = 1, .state = OB__MEMBER_UNKNOWN, .brief = true};
	CU_ASSERT_EQUAL(tell(0, OB__DELTA_ANSWER, &unknown, 1, 0), 0);
	CU_ASSERT_EQUAL(answered, OB__MEMBER_UNKNOWN);
	CU_ASSERT_EQUAL(dir.count, 1);
	ob__directory_free(&dir);
}

static void test_directory_refuses(void)
{
	uint8_t out[300];
	const struct said a = A_UP;
	dir_begin();
	CU_ASSERT_EQUAL(tell(0, OB__DELTA_BEGIN, NULL, 0, 0), -ENOTCONN);
	ob__directory_source_up(&dir, SOURCE(0), now);
	CU_ASSERT_EQUAL(ob__directory_receive(&dir, SOURCE(0), OB__SYS_MEMBER_BEAT, out, 0, now),
	                -ENOENT);
	CU_ASSERT_EQUAL(ob__directory_receive(&dir, SOURCE(0), OB__SYS_MEMBER_AGAIN, out, 1, now),
	                -EPROTO);
	up(0, 0, &a, 1);
	const struct said unknown = {.who = 1, .state = OB__MEMBER_UNKNOWN, .brief = true};
	CU_ASSERT_EQUAL(tell_one(0, unknown), -EPROTO); /* only in an answer */
	up(0, 0, &a, 1);
	static const struct {
		uint64_t boot;
		int seq;
		int records;
		int code;
	} rows[] = {
		{BOOT, 1, 1, 0},           {BOOT, 0, 1, 0},       {BOOT, -1, 1, -EPROTO},
		{BOOT + 1, 1, 1, -EPROTO}, {BOOT, 1, 2, -EPROTO}, {BOOT, 1, 0, -EPROTO},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		up(0, 0, &a, 1);
		struct ob__delta head = {.boot = rows[i].boot,
		                         .seq = seqs[0] + (uint64_t)rows[i].seq,
		                         .records = (uint16_t)rows[i].records};
		ob__delta_put(out, &head);
		size_t len = OB__DELTA_HEAD + put_record(&a, out + OB__DELTA_HEAD, 200);
		CU_ASSERT_EQUAL(
			ob__directory_receive(&dir, SOURCE(0), OB__SYS_MEMBER_DELTA, out, len, now),
			rows[i].code);
	}
	CU_ASSERT(dir.counts.bad >= 7);
	ob__directory_free(&dir);
}

static void test_directory_bounds(void)
{
	const struct said a = A_UP;
	dir_begin();
	for (unsigned i = 0; i < OB__DIR_SOURCES; i++) {
		up(i, 0, i == 1 ? &a : NULL, i == 1 ? 1 : 0);
	}
	CU_ASSERT_EQUAL(ob__directory_source_up(&dir, SOURCE(99), now), -ENOSPC);
	ob__directory_source_down(&dir, SOURCE(1), now++);
	ob__directory_source_down(&dir, SOURCE(0), now);
	CU_ASSERT_EQUAL(ob__directory_source_up(&dir, SOURCE(99), now), 0); /* down longest */
	CU_ASSERT_PTR_NULL(ob__directory_source(&dir, SOURCE(1)));
	CU_ASSERT_PTR_NOT_NULL(ob__directory_source(&dir, SOURCE(0)));
	CU_ASSERT_EQUAL(dir.sources[1].boot, 0);
	/* What was removed is remembered for ten minutes, so that a former life can't return. */
	CU_ASSERT_EQUAL(dir.by_id.count, 1);
	for (unsigned i = 2; i < OB__DIR_SOURCES; i++) {
		ob__directory_source_down(&dir, SOURCE(i), now);
	}
	ob__directory_source_down(&dir, SOURCE(99), now);
	dir_until(now + 599998);
	CU_ASSERT_EQUAL(dir.by_id.count, 1);
	dir_until(now + 10);
	CU_ASSERT_EQUAL(dir.by_id.count, 0);
	ob__directory_free(&dir);
}

/* A source that is away lists one that is forgotten here: it must tell all when it is back. */
static void test_forgotten(void)
{
	const struct said a = A_UP;
	dir_begin();
	up(0, 0, &a, 1);
	up(1, 0, NULL, 0);
	ob__directory_source_down(&dir, SOURCE(0), now);
	CU_ASSERT_EQUAL(state_of(0), OB__MEMBER_UNKNOWN);
	dir_until(now + 599000);
	CU_ASSERT_EQUAL(ob__directory_source(&dir, SOURCE(0))->boot, BOOT);
	dir_until(now + 1000);
	CU_ASSERT_EQUAL(dir.by_id.count, 0);
	CU_ASSERT_EQUAL(ob__directory_source(&dir, SOURCE(0))->boot, 0);
	CU_ASSERT_EQUAL(ob__directory_source(&dir, SOURCE(1))->boot, BOOT);
	ob__directory_free(&dir);
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("view", NULL, NULL);
	CU_add_test(s, "silence", test_silence);
	CU_add_test(s, "a lost link", test_lost_link);
	CU_add_test(s, "silent, then lost", test_silent_and_lost);
	CU_add_test(s, "leaving", test_leave);
	CU_add_test(s, "incarnations and revs", test_view_incarnations);
	CU_add_test(s, "what is refused", test_view_refuses);
	CU_add_test(s, "snapshots and deltas", test_subscribe);
	CU_add_test(s, "tombstones", test_tombstones);
	CU_add_test(s, "changes are coalesced", test_coalescing);
	CU_add_test(s, "load is damped", test_load);
	CU_add_test(s, "settling", test_settling);
	CU_add_test(s, "its own sleep", test_sleep);
	CU_add_test(s, "a link that takes nothing", test_deaf);
	CU_add_test(s, "a large snapshot", test_large_snapshot);
	CU_add_test(s, "asking", test_ask);
	s = CU_add_suite("directory", NULL, NULL);
	CU_add_test(s, "union", test_union);
	CU_add_test(s, "incarnations", test_incarnations);
	CU_add_test(s, "the end of a higher incarnation", test_dead_of_higher);
	CU_add_test(s, "revs", test_revs);
	CU_add_test(s, "settled or not", test_settled);
	CU_add_test(s, "every reachable source", test_every_source);
	CU_add_test(s, "a direct link keeps", test_direct_link);
	CU_add_test(s, "all sources away", test_all_away);
	CU_add_test(s, "resume", test_resume);
	CU_add_test(s, "resync", test_resync);
	CU_add_test(s, "the own record", test_own_record);
	CU_add_test(s, "what is said when", test_saying);
	CU_add_test(s, "answers", test_answers);
	CU_add_test(s, "what is refused", test_directory_refuses);
	CU_add_test(s, "bounds", test_directory_bounds);
	CU_add_test(s, "what is forgotten", test_forgotten);
	return ob__tap_run();
}
