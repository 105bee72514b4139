/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * A node that tells of its groups and one that listens, with a way between them that keeps order
 * and loses what it likes.
 */

#include "mesh/groupview.h"

#include <CUnit/CUnit.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mesh/grouptell.h"
#include "tap.h"

#define TELLER   7u
#define LISTENER 9u

struct letter {
	struct ob__list link;
	bool to_teller;
	uint8_t status;
	size_t len;
	uint8_t data[];
};

static struct {
	struct ob__groups groups;
	struct ob__grouptell tell;
	struct ob__groupview view;
	struct ob__list way;
	uint64_t now;
	unsigned seed;
	unsigned lose; /* of 100 letters */
	bool cut;      /* nothing can be sent */
	bool soon;
	unsigned letters;
	bool again;
} w;

static bool chance(unsigned of_100)
{
	return (unsigned)rand_r(&w.seed) % 100 < of_100;
}

static int post(bool to_teller, uint8_t status, const uint8_t *data, size_t len)
{
	if (w.cut) {
		return -1;
	}
	w.letters++;
	if (chance(w.lose)) {
		return 0;
	}
	struct letter *l = malloc(sizeof(*l) + len);
	l->to_teller = to_teller;
	l->status = status;
	l->len = len;
	memcpy(l->data, data, len);
	ob__list_init(&l->link);
	ob__list_append(&w.way, &l->link);
	return 0;
}

static int tell_send(void *arg, uint64_t to, uint8_t status, const uint8_t *data, size_t len)
{
	(void)arg;
	CU_ASSERT_EQUAL(to, LISTENER);
	return post(false, status, data, len);
}

static void tell_soon(void *arg)
{
	(void)arg;
	w.soon = true;
}

static const struct ob__grouptell_ops ops = {.tell = tell_send, .soon = tell_soon};

static int ask(void *arg, uint64_t to, const uint8_t *data, size_t len)
{
	(void)arg;
	CU_ASSERT_EQUAL(to, TELLER);
	return post(true, 0, data, len);
}

static void changed(void *arg, uint64_t hash, bool there)
{
	(void)arg;
	ob__grouptell_changed(&w.tell, hash, there);
}

static void teller_begins(uint64_t life)
{
	ob__groups_init(&w.groups, 3, 100000, 100000, changed, NULL);
	ob__grouptell_init(&w.tell, &w.groups, 4, life, &ops, NULL);
}

static void teller_ends(void)
{
	ob__grouptell_free(&w.tell);
	ob__groups_free(&w.groups);
}

static void lose_all(void)
{
	while (!ob__list_empty(&w.way)) {
		struct letter *l = OB__CONTAINER(w.way.next, struct letter, link);
		ob__list_del(&l->link);
		free(l);
	}
}

static void setup(unsigned seed)
{
	memset(&w, 0, sizeof(w));
	w.seed = seed;
	w.now = 1000;
	ob__list_init(&w.way);
	teller_begins(1);
	ob__groupview_init(&w.view, 5, ask, NULL);
}

static void end(void)
{
	lose_all();
	ob__groupview_free(&w.view);
	teller_ends();
}

static void deliver(unsigned most)
{
	while (most-- > 0 && !ob__list_empty(&w.way)) {
		struct letter *l = OB__CONTAINER(w.way.next, struct letter, link);
		ob__list_del(&l->link);
		if (l->to_teller) {
			CU_ASSERT_EQUAL(
				ob__grouptell_asked(&w.tell, LISTENER, l->data, l->len, w.now), 0);
		} else {
			int rc = ob__groupview_told(&w.view, TELLER, l->status, l->data, l->len,
			                            w.now);
			CU_ASSERT_TRUE(rc == 0 || rc == 1);
			w.again = w.again || rc == 1;
		}
		free(l);
	}
}

static void turn(void)
{
	if (w.soon) {
		w.soon = false;
		ob__grouptell_flush(&w.tell);
	}
	deliver(UINT32_MAX);
}

static void pass(uint64_t ms)
{
	for (uint64_t t = 0; t < ms; t += 100) {
		w.now += 100;
		ob__groupview_want(&w.view, TELLER, w.now);
		(void)ob__grouptell_tick(&w.tell, w.now);
		turn();
		turn();
	}
}

static uint64_t hash_of(const char *name)
{
	return ob__group_hash(name, strlen(name));
}

static bool may(const char *name)
{
	return ob__groupview_may_have(&w.view, TELLER, w.tell.life, hash_of(name), w.now);
}

static void join(uint64_t session, unsigned group)
{
	char name[16];
	snprintf(name, sizeof(name), "g%u", group);
	(void)ob__group_join(&w.groups, session, name);
}

static void leave(uint64_t session, unsigned group)
{
	char name[16];
	snprintf(name, sizeof(name), "g%u", group);
	(void)ob__group_leave(&w.groups, session, name);
}

/* The listener has heard all, and it is so. */
static bool same(void)
{
	const struct ob__map_entry *e;

	if (ob__groupview_count(&w.view, TELLER) != (int64_t)w.groups.hashes.count) {
		return false;
	}
	for (size_t i = 0; (e = ob__map_next(&w.groups.hashes, &i)) != NULL;) {
		if (!ob__groupview_may_have(&w.view, TELLER, w.tell.life, e->a, w.now)) {
			return false;
		}
	}
	return true;
}

static void test_told(void)
{
	setup(1);
	join(1, 1);
	CU_ASSERT_TRUE(may("g1") && may("g2")); /* nothing is known */
	ob__groupview_want(&w.view, TELLER, w.now);
	turn();
	turn();
	CU_ASSERT_TRUE(may("g1") && !may("g2"));
	join(1, 2);
	leave(1, 1);
	turn();
	CU_ASSERT_TRUE(!may("g1") && may("g2"));
	unsigned before = w.letters;
	pass(60000); /* a question and an answer each five seconds */
	CU_ASSERT_TRUE(w.letters - before >= 20 && w.letters - before <= 28);
	CU_ASSERT_TRUE(same());
	end();
}

static void test_many_parts(void)
{
	setup(2);
	for (unsigned i = 0; i < 20000; i++) {
		join(1, i);
	}
	ob__groupview_want(&w.view, TELLER, w.now);
	turn();
	turn();
	CU_ASSERT_FALSE(same());                  /* not all at once */
	for (unsigned i = 0; i < 20000; i += 3) { /* while parts are under way */
		leave(1, i);
		join(1, 100000 + i);
		if (i % 5000 == 0) {
			turn();
		}
	}
	for (int i = 0; i < 20; i++) {
		turn();
	}
	CU_ASSERT_TRUE(same());
	end();
}

static void test_a_former_life(void)
{
	setup(3);
	join(1, 1);
	pass(1000);
	CU_ASSERT_TRUE(same());
	teller_ends();
	w.soon = false;
	teller_begins(2);
	join(1, 5);
	CU_ASSERT_TRUE(may("g9")); /* what it told was of a life that is over */
	pass(6000);
	CU_ASSERT_TRUE(same());
	CU_ASSERT_FALSE(may("g1"));
	end();
}

static void test_silence_and_lease(void)
{
	setup(4);
	join(1, 1);
	pass(1000);
	CU_ASSERT_FALSE(ob__grouptell_lost(&w.tell, LISTENER));
	CU_ASSERT_FALSE(ob__grouptell_lost(&w.tell, 77));
	w.cut = true;
	join(1, 2);
	turn();
	CU_ASSERT_TRUE(ob__grouptell_lost(&w.tell, LISTENER));
	CU_ASSERT_FALSE(may("g2")); /* that is what a way that is cut means */
	pass(OB__GROUPVIEW_SILENT + 1000);
	CU_ASSERT_TRUE(may("g2") && may("g77"));
	pass(OB__GROUPTELL_LEASE);
	CU_ASSERT_EQUAL(ob__grouptell_tick(&w.tell, w.now), 0);
	w.cut = false;
	pass(2000);
	CU_ASSERT_TRUE(same());
	CU_ASSERT_FALSE(ob__grouptell_lost(&w.tell, LISTENER));
	end();
}

/* He asks again while a change is on its way to him: that is no reason to begin again. */
static void test_asked_meanwhile(void)
{
	setup(8);
	for (unsigned i = 0; i < 5000; i++) {
		join(1, i);
	}
	pass(1000);
	CU_ASSERT_TRUE(same());
	for (unsigned lost = 0; lost < 2; lost++) {
		w.now += OB__GROUPVIEW_RENEW;
		ob__groupview_want(&w.view, TELLER, w.now);
		w.lose = lost != 0 ? 100 : 0;
		join(1, 100000 + lost);
		ob__grouptell_flush(&w.tell);
		w.soon = false;
		w.lose = 0;
		unsigned before = w.letters;
		deliver(UINT32_MAX);
		CU_ASSERT_EQUAL(w.letters - before, 1);
		CU_ASSERT_FALSE(w.soon);
		CU_ASSERT_EQUAL(w.again, lost != 0);
	}
	pass(1000); /* the one that got lost was missed: all is told */
	CU_ASSERT_TRUE(same());
	end();
}

/* A change that got lost, and nothing behind it: a beat shows it. */
static void test_beat(void)
{
	setup(5);
	pass(1000);
	w.lose = 100;
	join(1, 1);
	turn();
	w.lose = 0;
	CU_ASSERT_FALSE(may("g1"));
	ob__grouptell_beat(&w.tell);
	turn();
	CU_ASSERT_TRUE(w.again);
	CU_ASSERT_TRUE(may("g1"));
	pass(300);
	CU_ASSERT_TRUE(same());
	end();
}

static void test_joins(void)
{
	setup(6);
	pass(1000);
	CU_ASSERT_FALSE(may("g1"));
	uint64_t one = ob__groupview_join(&w.view, TELLER, hash_of("g1"), w.now);
	uint64_t two = ob__groupview_join(&w.view, TELLER, hash_of("g2"), w.now);
	CU_ASSERT_TRUE(one < two && may("g1") && may("g2") && !may("g3"));
	CU_ASSERT_EQUAL(ob__groupview_sweep(&w.view, w.now), 2);
	ob__groupview_joined(&w.view, TELLER, one);
	CU_ASSERT_TRUE(!may("g1") && may("g2"));
	uint64_t again = ob__groupview_join(&w.view, TELLER, hash_of("g2"), w.now);
	ob__groupview_joined(&w.view, TELLER, two);
	CU_ASSERT_TRUE(may("g2")); /* joined once more since */
	ob__groupview_joined(&w.view, TELLER, again);
	CU_ASSERT_FALSE(may("g2"));
	(void)ob__groupview_join(&w.view, TELLER, hash_of("g3"), w.now);
	pass(OB__GROUPVIEW_JOIN);
	CU_ASSERT_EQUAL(ob__groupview_sweep(&w.view, w.now), 0);
	CU_ASSERT_FALSE(may("g3"));
	CU_ASSERT_EQUAL(ob__groupview_sweep(&w.view, w.now), 0); /* nobody wanted it since */
	CU_ASSERT_EQUAL(w.view.nodes.count, 0);
	for (unsigned i = 0; i < OB__GROUPVIEW_JOINS + 1; i++) {
		(void)ob__groupview_join(&w.view, TELLER, i, w.now);
	}
	pass(1000);
	CU_ASSERT_TRUE(may("any")); /* too many to remember */
	end();
}

/* Whatever is lost: when the way works again, it is right again, and soon. */
static void test_random(void)
{
	for (unsigned seed = 1; seed <= 200; seed++) {
		uint64_t life = 1;
		setup(seed * 77);
		for (int i = 0; i < 300; i++) {
			unsigned g = (unsigned)rand_r(&w.seed) % 40;
			uint64_t s = 1 + (uint64_t)rand_r(&w.seed) % 10;
			if (chance(50)) {
				join(s, g);
			} else {
				leave(s, g);
			}
			if (chance(10)) {
				w.lose = chance(50) ? 30 : 0;
				w.cut = chance(10);
			}
			if (chance(1)) {
				teller_ends();
				w.soon = false;
				teller_begins(++life);
			}
			if (chance(3)) {
				lose_all();
				ob__groupview_doubt(&w.view);
				ob__grouptell_beat(&w.tell);
			}
			if (chance(50)) {
				pass(100 * ((unsigned)rand_r(&w.seed) % 20));
			} else {
				turn();
			}
		}
		w.cut = false;
		w.lose = 0;
		pass(OB__GROUPVIEW_RENEW + 2 * OB__GROUPVIEW_RETRY);
		CU_ASSERT_TRUE(same());
		end();
	}
}

static void test_malformed(void)
{
	uint8_t out[OB__GROUP_TELL_MAX + 8] = {0};
	const uint64_t entries[] = {5 | OB__GROUP_THERE, 6};
	struct ob__group_tell_msg m = {.life = 1, .from = 3, .to = 5, .count = 2};
	struct ob__group_tell_msg got;
	size_t len = ob__group_tell_put(out, &m, entries);

	CU_ASSERT_EQUAL(ob__group_tell_get(&got, 0, out, len), 0);
	CU_ASSERT_EQUAL(ob__group_entry(&got, 1), 6);
	for (size_t i = 0; i < len; i++) {
		CU_ASSERT_EQUAL(ob__group_tell_get(&got, 0, out, i), -EPROTO);
	}
	CU_ASSERT_EQUAL(ob__group_tell_get(&got, OB__GROUP_LAST, out, len), -EPROTO);
	CU_ASSERT_EQUAL(ob__group_tell_get(&got, 8, out, len), -EPROTO);
	CU_ASSERT_EQUAL(ob__group_tell_get(&got, OB__GROUP_PART, out, len), -EPROTO);
	m.to = m.from;
	len = ob__group_tell_put(out, &m, entries);
	CU_ASSERT_EQUAL(ob__group_tell_get(&got, OB__GROUP_PART | OB__GROUP_FIRST, out, len),
	                -EPROTO); /* one has left */
	m.count = 1;
	len = ob__group_tell_put(out, &m, entries);
	CU_ASSERT_EQUAL(ob__group_tell_get(&got, OB__GROUP_PART | OB__GROUP_FIRST, out, len), 0);
	CU_ASSERT_EQUAL(ob__group_tell_get(&got, OB__GROUP_PART, out, len), -EPROTO);
	CU_ASSERT_EQUAL(ob__group_tell_get(&got, 0, out, sizeof(out)), -EPROTO);
	m.life = 0;
	len = ob__group_tell_put(out, &m, entries);
	CU_ASSERT_EQUAL(ob__group_tell_get(&got, OB__GROUP_PART | OB__GROUP_FIRST, out, len),
	                -EPROTO);
}

static void test_words(void)
{
	static const struct {
		const char *bytes;
		size_t len;
		size_t used; /* 0: it is none */
	} rows[] = {
		{"\1a", 2, 2},   {"\1abc", 4, 2}, /* data behind it */
		{"\0", 1, 0},    {"\2a", 2, 0},   {"\2a\n", 3, 0},
		{"\2a\0", 3, 0}, {"", 0, 0},      {"\101", 1, 0},
	};
	uint8_t out[OB__GROUP_JOIN_MAX];
	struct ob__group_join_msg m;
	char group[OB__GROUP_MAX + 1];

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		CU_ASSERT_EQUAL(
			ob__group_word_get(group, (const uint8_t *)rows[i].bytes, rows[i].len),
			rows[i].used);
	}
	size_t len = ob__group_join_put(out, 0x1122334455667788, "room");
	CU_ASSERT_EQUAL(len, 13);
	CU_ASSERT_EQUAL(out[0], 0x88);
	CU_ASSERT_EQUAL(ob__group_join_get(&m, out, len), 0);
	CU_ASSERT_EQUAL(m.seq, 0x1122334455667788);
	CU_ASSERT_STRING_EQUAL(m.group, "room");
	for (size_t i = 0; i < len; i++) {
		CU_ASSERT_EQUAL(ob__group_join_get(&m, out, i), -EPROTO);
	}
	CU_ASSERT_EQUAL(ob__group_join_get(&m, out, len + 1), -EPROTO);
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("groupview", NULL, NULL);
	CU_add_test(s, "names, joins", test_words);
	CU_add_test(s, "what is malformed", test_malformed);
	CU_add_test(s, "all, then changes", test_told);
	CU_add_test(s, "many parts, and changes between them", test_many_parts);
	CU_add_test(s, "a former life", test_a_former_life);
	CU_add_test(s, "silence, and who asks no more", test_silence_and_lease);
	CU_add_test(s, "asked while a change is on its way", test_asked_meanwhile);
	CU_add_test(s, "a beat shows what was lost", test_beat);
	CU_add_test(s, "joins that are not done", test_joins);
	CU_add_test(s, "random losses", test_random);
	return ob__tap_run();
}
