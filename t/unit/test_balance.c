/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "mesh/balance.h"

#include <CUnit/CUnit.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tap.h"

#define NODES 7u
#define KEYS  7000u

static struct ob__balance set;
static struct ob__balance_node node[NODES];

static void begin(unsigned n)
{
	ob__balance_init(&set, 4711);
	for (unsigned i = 0; i < n; i++) {
		/* ids in no order */
		node[i] =
			(struct ob__balance_node){.id = (i * 3 % NODES + 1) * 1000, .weight = 100};
		CU_ASSERT_EQUAL_FATAL(ob__balance_add(&set, &node[i]), 0);
	}
}

static void end(void)
{
	ob__balance_free(&set);
}

static unsigned pick(enum ob__balance_way way, uint64_t key)
{
	const struct ob__balance_node *n = ob__balance_pick(&set, way, key, NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(n);
	return (unsigned)(n - node);
}

static void count(enum ob__balance_way way, unsigned times, unsigned hits[NODES])
{
	memset(hits, 0, NODES * sizeof(hits[0]));
	for (unsigned i = 0; i < times; i++) {
		hits[pick(way, i)]++;
	}
}

static void test_set(void)
{
	begin(NODES);
	for (unsigned i = 1; i < NODES; i++) {
		CU_ASSERT_TRUE(set.nodes[i - 1]->id < set.nodes[i]->id);
	}
	struct ob__balance_node twin = {.id = node[2].id, .weight = 100};
	CU_ASSERT_EQUAL(ob__balance_add(&set, &twin), -EEXIST);
	ob__balance_remove(&set, &twin); /* is not in, though its id is */
	CU_ASSERT_EQUAL(set.len, NODES);
	ob__balance_remove(&set, &node[2]);
	ob__balance_remove(&set, &node[2]);
	CU_ASSERT_EQUAL(set.len, NODES - 1);
	CU_ASSERT_EQUAL(ob__balance_reserve(&set, OB__BALANCE_MAX + 1), -ENOSPC);
	end();
	ob__balance_free(NULL);
}

/* Nobody, the only one, the only one but one, and weight 0, for each way. */
static void test_edges(void)
{
	for (int way = OB__BALANCE_STICKY; way <= OB__BALANCE_HASH; way++) {
		begin(0);
		CU_ASSERT_PTR_NULL(ob__balance_pick(&set, way, 1, NULL));
		end();
		begin(1);
		CU_ASSERT_PTR_EQUAL(ob__balance_pick(&set, way, 1, NULL), &node[0]);
		CU_ASSERT_PTR_NULL(ob__balance_pick(&set, way, 1, &node[0]));
		CU_ASSERT_PTR_EQUAL(ob__balance_pick(&set, way, 1, &node[1]), &node[0]);
		ob__balance_weigh(&set, &node[0], 0); /* better than nobody */
		CU_ASSERT_PTR_EQUAL(ob__balance_pick(&set, way, 1, NULL), &node[0]);
		end();
		begin(2);
		for (uint64_t key = 0; key < 50; key++) {
			CU_ASSERT_PTR_EQUAL(ob__balance_pick(&set, way, key, &node[1]), &node[0]);
		}
		ob__balance_weigh(&set, &node[0], 0);
		for (uint64_t key = 0; key < 50; key++) {
			CU_ASSERT_PTR_EQUAL(ob__balance_pick(&set, way, key, NULL), &node[1]);
		}
		end();
	}
}

static void test_names(void)
{
	for (int way = OB__BALANCE_STICKY; way <= OB__BALANCE_HASH; way++) {
		CU_ASSERT_EQUAL((int)ob__balance_way(ob__balance_name(way)), way);
	}
	CU_ASSERT_EQUAL((int)ob__balance_way("by_room"), 0);
}

static void test_turns(void)
{
	unsigned hits[NODES];
	begin(NODES);
	count(OB__BALANCE_ROUND_ROBIN, 100 * NODES, hits);
	for (unsigned i = 0; i < NODES; i++) {
		CU_ASSERT_EQUAL(hits[i], 100);
	}
	end();
}

/* 1,000 each, give or take five sigma; and the same die again gives the same. */
static void test_random(void)
{
	unsigned hits[NODES];
	unsigned again[NODES];
	begin(NODES);
	count(OB__BALANCE_RANDOM, 1000 * NODES, hits);
	for (unsigned i = 0; i < NODES; i++) {
		CU_ASSERT_TRUE(hits[i] > 850 && hits[i] < 1150);
	}
	end();
	begin(NODES);
	count(OB__BALANCE_RANDOM, 1000 * NODES, again);
	CU_ASSERT_EQUAL(memcmp(hits, again, sizeof(hits)), 0);
	end();
}

/* 5, 1, 1 in seven turns, and not five times running. */
static void test_weighted(void)
{
	unsigned hits[NODES];
	unsigned running = 0;
	unsigned longest = 0;
	begin(3);
	ob__balance_weigh(&set, &node[0], 500);
	for (unsigned round = 0; round < 10; round++) {
		memset(hits, 0, sizeof(hits));
		for (unsigned i = 0; i < 7; i++) {
			unsigned n = pick(OB__BALANCE_WEIGHTED, 0);
			hits[n]++;
			running = n == 0 ? running + 1 : 0;
			longest = running > longest ? running : longest;
		}
		CU_ASSERT_EQUAL(hits[0], 5);
		CU_ASSERT_EQUAL(hits[1], 1);
		CU_ASSERT_EQUAL(hits[2], 1);
	}
	CU_ASSERT_TRUE(longest <= 4); /* aaa a|a is never: a a b a c a a | a a b ... */
	end();
}

static void test_least_pending(void)
{
	unsigned hits[NODES];
	begin(3);
	node[0].pending = 4;
	node[1].pending = 3;
	node[2].pending = 9;
	CU_ASSERT_EQUAL(pick(OB__BALANCE_LEAST_PENDING, 0), 1);
	ob__balance_weigh(&set, &node[2], 300); /* (9 + 1) / 3 is less than 3 + 1 */
	CU_ASSERT_EQUAL(pick(OB__BALANCE_LEAST_PENDING, 0), 2);
	ob__balance_weigh(&set, &node[2], 100);
	node[0].pending = node[1].pending = node[2].pending = 2; /* then what they say */
	node[0].load = node[1].load = 70;
	node[2].load = 60;
	CU_ASSERT_EQUAL(pick(OB__BALANCE_LEAST_PENDING, 0), 2);
	node[2].load = 70; /* then by turns */
	count(OB__BALANCE_LEAST_PENDING, 30, hits);
	CU_ASSERT_TRUE(hits[0] == 10 && hits[1] == 10 && hits[2] == 10);
	end();
}

/* The same again, evenly, and only what must move moves. */
static void test_sticky(void)
{
	unsigned before[KEYS];
	unsigned hits[NODES] = {0};
	begin(NODES);
	for (unsigned i = 0; i < KEYS; i++) {
		before[i] = pick(OB__BALANCE_STICKY, i);
		hits[before[i]]++;
	}
	for (unsigned i = 0; i < NODES; i++) {
		CU_ASSERT_TRUE(hits[i] > 850 && hits[i] < 1150);
	}
	ob__balance_remove(&set, &node[3]);
	for (unsigned i = 0; i < KEYS; i++) {
		unsigned now = pick(OB__BALANCE_STICKY, i);
		CU_ASSERT_TRUE(before[i] == 3 ? now != 3 : now == before[i]);
	}
	CU_ASSERT_EQUAL(ob__balance_add(&set, &node[3]), 0);
	for (unsigned i = 0; i < KEYS; i++) {
		CU_ASSERT_EQUAL(pick(OB__BALANCE_STICKY, i), before[i]);
		/* whoever it came from is passed over, for one choice */
		CU_ASSERT_PTR_NOT_EQUAL(
			ob__balance_pick(&set, OB__BALANCE_STICKY, i, &node[before[i]]),
			&node[before[i]]);
	}
	end();
}

/* In proportion to the weights; a change of one node's moves keys to or from that node only. */
static void test_sticky_weighted(void)
{
	unsigned before[KEYS];
	unsigned hits[NODES] = {0};
	begin(3);
	ob__balance_weigh(&set, &node[0], 200);
	ob__balance_weigh(&set, &node[1], 400);
	for (unsigned i = 0; i < KEYS; i++) {
		before[i] = pick(OB__BALANCE_STICKY, i);
		hits[before[i]]++;
	}
	CU_ASSERT_TRUE(hits[0] > 1800 && hits[0] < 2200);
	CU_ASSERT_TRUE(hits[1] > 3780 && hits[1] < 4220);
	CU_ASSERT_TRUE(hits[2] > 850 && hits[2] < 1150);
	ob__balance_weigh(&set, &node[2], 300);
	for (unsigned i = 0; i < KEYS; i++) {
		unsigned now = pick(OB__BALANCE_STICKY, i);
		CU_ASSERT_TRUE(now == before[i] || now == 2);
	}
	end();
}

/* Another host, that met the nodes in another order, with another die. */
static void test_sticky_everywhere(void)
{
	uint64_t before[200];
	struct ob__balance other;
	begin(NODES);
	ob__balance_weigh(&set, &node[1], 170);
	ob__balance_init(&other, 99);
	for (unsigned i = NODES; i-- > 0;) {
		ob__balance_add(&other, &node[i]);
	}
	for (unsigned i = 0; i < 200; i++) {
		before[i] = node[pick(OB__BALANCE_STICKY, ob__balance_key(77, i))].id;
		const struct ob__balance_node *n =
			ob__balance_pick(&other, OB__BALANCE_STICKY, ob__balance_key(77, i), NULL);
		CU_ASSERT_EQUAL(n->id, before[i]);
	}
	CU_ASSERT_EQUAL(ob__balance_key(77, 0), UINT64_C(0x2cfa56b4a2af9298));
	ob__balance_free(&other);
	end();
}

/* As sticky while nobody has more than its share; then the next in line, the same for all. */
static void test_hash(void)
{
	begin(4);
	unsigned first = pick(OB__BALANCE_HASH, 5);
	CU_ASSERT_EQUAL(first, pick(OB__BALANCE_STICKY, 5));
	node[first].pending = 7; /* few are no reason */
	CU_ASSERT_EQUAL(pick(OB__BALANCE_HASH, 5), first);
	for (unsigned i = 0; i < 4; i++) {
		node[i].pending = 100;
	}
	node[first].pending = 125;
	CU_ASSERT_EQUAL(pick(OB__BALANCE_HASH, 5), first);
	node[first].pending = 150; /* of 112.5 in the mean, 140 are allowed */
	unsigned second = pick(OB__BALANCE_HASH, 5);
	CU_ASSERT_NOT_EQUAL(second, first);
	CU_ASSERT_EQUAL(pick(OB__BALANCE_HASH, 5), second);
	ob__balance_weigh(&set, &node[first], 200); /* it may have twice as much */
	node[first].pending = 200;
	unsigned heavy = pick(OB__BALANCE_STICKY, 5);
	CU_ASSERT_EQUAL(pick(OB__BALANCE_HASH, 5), heavy);
	end();
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("balance", NULL, NULL);
	CU_add_test(s, "keeps a set by id", test_set);
	CU_add_test(s, "none, one, all but one, weight 0", test_edges);
	CU_add_test(s, "knows its ways by name", test_names);
	CU_add_test(s, "gives everyone a turn", test_turns);
	CU_add_test(s, "rolls a seeded die", test_random);
	CU_add_test(s, "mixes turns by weight", test_weighted);
	CU_add_test(s, "finds the least busy", test_least_pending);
	CU_add_test(s, "sticks to keys", test_sticky);
	CU_add_test(s, "sticks by weight", test_sticky_weighted);
	CU_add_test(s, "sticks the same everywhere", test_sticky_everywhere);
	CU_add_test(s, "bounds the load of a key's node", test_hash);
	return ob__tap_run();
}
