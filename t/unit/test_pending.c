/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "mesh/pending.h"

#include <CUnit/CUnit.h>
#include <string.h>

#include <obhost/obhost.h>

#include "mesh/link.h"
#include "tap.h"

static struct ob__loop *loop;
static struct ob__pendings ps;

/* What on_end was told, in order. */
static struct told {
	uint32_t id;
	int code;
	uint8_t kind;
} told[64];
static size_t told_len;

/* What it does besides. */
static void (*meanwhile)(struct ob__pending *p);

static void on_end(void *arg, struct ob__pending *p, const struct ob__end *end)
{
	CU_ASSERT_PTR_EQUAL(arg, &ps);
	CU_ASSERT_PTR_NOT_NULL(end->text);
	told[told_len++ % 64] = (struct told){.id = p->id, .code = end->code, .kind = p->kind};
	if (meanwhile != NULL) {
		meanwhile(p);
	}
}

static void begin(uint32_t limit)
{
	loop = ob__loop_new();
	CU_ASSERT_PTR_NOT_NULL_FATAL(loop);
	ob__pendings_init(&ps, loop, limit, on_end, &ps);
	told_len = 0;
	meanwhile = NULL;
}

static void end(void)
{
	ob__pendings_free(&ps);
	CU_ASSERT_EQUAL(ob__loop_free(loop), 0);
}

static struct ob__pending *make(enum ob__pending_kind kind, uint32_t id, uint64_t ms)
{
	struct ob__pending *p = ob__pending_new(&ps, kind, ms);
	CU_ASSERT_PTR_NOT_NULL_FATAL(p);
	p->id = id;
	return p;
}

static const struct ob__end good = {.code = OB_OK, .text = ""};

static void turn_until(size_t n, uint64_t ms)
{
	uint64_t give_up = ob__loop_hrtime_us() + ms * 1000;
	while (told_len < n && ob__loop_hrtime_us() < give_up) {
		ob__loop_turn(loop);
	}
}

static void test_ends_once(void)
{
	begin(4);
	struct ob__pending *p = make(OB__PENDING_CLIENT, 1000, 20);
	uint64_t handle = p->handle;
	CU_ASSERT_PTR_EQUAL(ob__pending_find(&ps, handle), p);
	ob__pending_end(p, &good);
	CU_ASSERT_EQUAL(told_len, 1);
	CU_ASSERT_EQUAL(told[0].code, OB_OK);
	CU_ASSERT_EQUAL(told[0].kind, OB__PENDING_CLIENT);
	CU_ASSERT_EQUAL(ps.stale, 0);
	CU_ASSERT_PTR_NULL(ob__pending_find(&ps, handle)); /* the reply came twice */
	CU_ASSERT_EQUAL(ps.stale, 1);
	turn_until(2, 60); /* nor does the deadline end it again */
	CU_ASSERT_EQUAL(told_len, 1);
	CU_ASSERT_EQUAL(ps.deadlines, 0);
	CU_ASSERT_EQUAL(ps.slab.live, 0);
	end();
}

/* A reply may come to a process that has been started again since. */
static void test_of_a_former_process(void)
{
	uint64_t former[4];
	begin(4);
	for (int i = 0; i < 4; i++) {
		former[i] = make(OB__PENDING_CLIENT, 1, 1000)->handle;
	}
	end();
	begin(4);
	for (int i = 0; i < 4; i++) {
		make(OB__PENDING_CLIENT, 2, 1000);
	}
	for (int i = 0; i < 4; i++) {
		CU_ASSERT_PTR_NULL(ob__pending_find(&ps, former[i]));
	}
	CU_ASSERT_EQUAL(ps.stale, 4);
	end();
}

static void test_deadline(void)
{
	begin(4);
	make(OB__PENDING_CALL, 2, 80);
	make(OB__PENDING_CLIENT, 1, 30);
	uint64_t before = ob__loop_hrtime_us();
	turn_until(1, 5000);
	CU_ASSERT_TRUE(ob__loop_hrtime_us() - before >= 28000);
	CU_ASSERT_EQUAL(told_len, 1);
	CU_ASSERT_EQUAL(told[0].id, 1);
	CU_ASSERT_EQUAL(told[0].code, OB_E_DEADLINE);
	turn_until(2, 5000);
	CU_ASSERT_EQUAL(told[1].id, 2);
	CU_ASSERT_EQUAL(ps.deadlines, 2);
	CU_ASSERT_EQUAL(ps.slab.live, 0);
	end();
}

/* Calls with one budget wait in a row, others by themselves: each ends at its own time, whoever
 * goes before it. */
static void test_budgets(void)
{
	static const struct {
		uint32_t id;
		uint64_t ms;
	} made[] = {
		{1, 60}, {2, 60}, {3, 30}, {4, 400}, {5, 60}, {6, 100}, {7, 60},
	};
	static const uint32_t order[] = {3, 2, 5, 7, 6};
	struct ob__pending *p[8];

	begin(16);
	/* the one that the row was begun for goes at once, and its timer is still to come */
	ob__pending_drop(make(OB__PENDING_CALL, 9, 60));
	for (size_t i = 0; i < sizeof(made) / sizeof(made[0]); i++) {
		p[made[i].id] = make(OB__PENDING_CALL, made[i].id, made[i].ms);
	}
	uint64_t before = ob__loop_hrtime_us();
	ob__pending_drop(p[1]);
	turn_until(1, 5000);
	CU_ASSERT_TRUE(ob__loop_hrtime_us() - before >= 28000);
	turn_until(4, 5000);
	CU_ASSERT_TRUE(ob__loop_hrtime_us() - before >= 58000);
	turn_until(5, 5000);
	CU_ASSERT_TRUE(ob__loop_hrtime_us() - before >= 98000);
	CU_ASSERT_EQUAL_FATAL(told_len, 5);
	for (size_t i = 0; i < 5; i++) {
		CU_ASSERT_EQUAL(told[i].id, order[i]);
		CU_ASSERT_EQUAL(told[i].code, OB_E_DEADLINE);
	}
	CU_ASSERT_EQUAL(ps.slab.live, 1);
	ob__pending_end(p[4], &good);

	/* the row is empty, and takes another budget: also a shorter one */
	told_len = 0;
	make(OB__PENDING_CALL, 1, 100);
	turn_until(1, 20);
	ob__pending_end(make(OB__PENDING_CALL, 2, 100), &good);
	CU_ASSERT_EQUAL(told_len, 1);
	turn_until(2, 5000);
	CU_ASSERT_EQUAL(told[1].id, 1);
	ob__pending_drop(make(OB__PENDING_CALL, 3, 5000));
	before = ob__loop_hrtime_us();
	make(OB__PENDING_CALL, 4, 30);
	turn_until(3, 5000);
	CU_ASSERT_EQUAL(told[2].id, 4);
	CU_ASSERT_TRUE(ob__loop_hrtime_us() - before < 2000000);
	CU_ASSERT_EQUAL(ps.slab.live, 0);
	end();
}

/* A deadline whose callback makes the next call. */
static void again(struct ob__pending *p)
{
	if (p->id < 4) {
		make(OB__PENDING_CALL, p->id + 1, 20);
	}
}

static void test_budgets_reentry(void)
{
	begin(16);
	meanwhile = again;
	uint64_t before = ob__loop_hrtime_us();
	make(OB__PENDING_CALL, 1, 20);
	turn_until(4, 5000);
	CU_ASSERT_EQUAL(told_len, 4);
	CU_ASSERT_TRUE(ob__loop_hrtime_us() - before >= 76000);
	CU_ASSERT_EQUAL(ps.deadlines, 4);
	CU_ASSERT_EQUAL(ps.slab.live, 0);
	end();
}

static void test_limit(void)
{
	begin(2);
	struct ob__pending *p = make(OB__PENDING_CLIENT, 1, 1000);
	make(OB__PENDING_CLIENT, 2, 1000);
	CU_ASSERT_PTR_NULL(ob__pending_new(&ps, OB__PENDING_CLIENT, 1000));
	ob__pending_drop(p);
	CU_ASSERT_EQUAL(told_len, 0);
	CU_ASSERT_PTR_NOT_NULL(ob__pending_new(&ps, OB__PENDING_CLIENT, 1000));
	end(); /* with two that still wait */
	CU_ASSERT_EQUAL(told_len, 0);
}

static void test_calls_of_a_generation(void)
{
	struct ob__list calls;
	ob__list_init(&calls);
	begin(4);
	struct ob__pending *a = make(OB__PENDING_CALL, 1, 1000);
	struct ob__pending *b = make(OB__PENDING_CALL, 2, 1000);
	ob__list_append(&calls, &a->u.call.gen_link);
	ob__list_append(&calls, &b->u.call.gen_link);
	ob__pending_end(a, &good);
	CU_ASSERT_PTR_EQUAL(calls.next, &b->u.call.gen_link);
	ob__pending_drop(b);
	CU_ASSERT_TRUE(ob__list_empty(&calls));
	end();
}

static void find_again(struct ob__pending *p)
{
	CU_ASSERT_PTR_NULL(ob__pending_find(&ps, p->handle));
	ob__pending_end(p, &good);
	ob__pending_drop(p);
}

static void make_another(struct ob__pending *p)
{
	meanwhile = NULL;
	CU_ASSERT_PTR_NOT_EQUAL(make(OB__PENDING_CLIENT, 9, 1000), p);
}

static void test_reentry(void)
{
	begin(4);
	meanwhile = find_again;
	ob__pending_end(make(OB__PENDING_CALL, 1, 1000), &good);
	CU_ASSERT_EQUAL(told_len, 1);
	CU_ASSERT_EQUAL(ps.slab.live, 0);
	meanwhile = make_another;
	ob__pending_end(make(OB__PENDING_CALL, 1, 1000), &good);
	CU_ASSERT_EQUAL(ps.slab.live, 1);
	end();
}

static struct ob__pending *other;

static void drop_other(struct ob__pending *p)
{
	meanwhile = NULL;
	CU_ASSERT_PTR_NOT_EQUAL(p, other);
	ob__pending_drop(other);
}

/* A link that was closed when the kernel had 100 of its bytes. */
static void test_link_lost(void)
{
	static struct ob__link link;
	link = (struct ob__link){.state = OB__LINK_CLOSED, .given = 100, .why = OB_E_MAYBE_SENT};
	ob__list_init(&link.pendings);
	begin(8);
	for (uint32_t i = 1; i <= 4; i++) { /* frames that end at 50, 100, 150 and 200 */
		link.appended = 50 * i;
		ob__pending_sent(make(OB__PENDING_CLIENT, i, 1000), &link, link.peer);
	}
	make(OB__PENDING_CLIENT, 5, 1000); /* on no link */
	other = OB__CONTAINER(link.pendings.prev, struct ob__pending, link);
	meanwhile = drop_other; /* the owner reacts to the first */
	ob__pending_link_lost(&link);
	CU_ASSERT_TRUE(ob__list_empty(&link.pendings));
	CU_ASSERT_EQUAL(told_len, 3);
	CU_ASSERT_EQUAL(told[0].code, OB_E_MAYBE_SENT);
	CU_ASSERT_EQUAL(told[1].code, OB_E_MAYBE_SENT);
	CU_ASSERT_EQUAL(told[2].code, OB_E_NOT_SENT);
	CU_ASSERT_EQUAL(told[2].id, 3);
	CU_ASSERT_EQUAL(ps.slab.live, 1);
	end();
}

/* An entry that is sent again waits on the second link only. */
static void test_sent_again(void)
{
	static struct ob__link first;
	static struct ob__link second;
	ob__list_init(&first.pendings);
	ob__list_init(&second.pendings);
	begin(4);
	struct ob__pending *p = make(OB__PENDING_CLIENT, 1, 1000);
	ob__pending_sent(p, &first, first.peer);
	ob__pending_sent(p, &second, second.peer);
	CU_ASSERT_TRUE(ob__list_empty(&first.pendings));
	CU_ASSERT_PTR_EQUAL(second.pendings.next, &p->link);
	ob__pending_end(p, &good);
	CU_ASSERT_TRUE(ob__list_empty(&second.pendings));
	end();
}

/* A peer knows how many wait for it: those that were sent to it and have not ended. */
static void test_of_a_peer(void)
{
	static struct ob__peer a;
	static struct ob__peer b;
	static struct ob__link links[2];
	links[0].peer = &a;
	links[1].peer = &b;
	for (int i = 0; i < 2; i++) {
		ob__list_init(&links[i].pendings);
	}
	begin(8);
	struct ob__pending *p[4];
	for (uint32_t i = 0; i < 4; i++) {
		p[i] = make(OB__PENDING_CLIENT, i, 1000);
		CU_ASSERT_EQUAL(a.balance.pending, i);
		ob__pending_sent(p[i], &links[0], links[0].peer);
	}
	CU_ASSERT_EQUAL(a.balance.pending, 4);
	ob__pending_sent(p[0], &links[1], links[1].peer);
	CU_ASSERT_EQUAL(a.balance.pending, 3);
	CU_ASSERT_EQUAL(b.balance.pending, 1);
	ob__pending_end(p[0], &good);
	CU_ASSERT_EQUAL(b.balance.pending, 0);
	ob__pending_drop(p[1]);
	CU_ASSERT_EQUAL(a.balance.pending, 2);
	ob__pending_link_lost(&links[0]);
	CU_ASSERT_EQUAL(a.balance.pending, 0);
	end();
}

/* Of those that went over a route node's link, the ones for a node that is gone. */
static void test_node_lost(void)
{
	static struct ob__peer route;
	static struct ob__peer gone;
	static struct ob__peer other_node;
	static struct ob__link link;
	struct ob__peer *const to[] = {&gone, &route, &gone, &other_node, &gone};
	link.peer = &route;
	ob__list_init(&link.pendings);
	begin(8);
	for (uint32_t i = 0; i < 5; i++) {
		ob__pending_sent(make(OB__PENDING_CLIENT, i, 1000), &link, to[i]);
	}
	CU_ASSERT_EQUAL(gone.balance.pending, 3);
	other = OB__CONTAINER(link.pendings.prev, struct ob__pending, link);
	meanwhile = drop_other; /* the owner reacts to the first: the third one is dropped */
	ob__pending_node_lost(&link, &gone);
	CU_ASSERT_EQUAL(told_len, 2);
	CU_ASSERT_EQUAL(told[0].code, OB_E_MAYBE_SENT);
	CU_ASSERT_EQUAL(told[0].id, 0);
	CU_ASSERT_EQUAL(told[1].id, 2);
	CU_ASSERT_EQUAL(gone.balance.pending, 0);
	CU_ASSERT_EQUAL(route.balance.pending, 1);
	CU_ASSERT_EQUAL(other_node.balance.pending, 1);
	CU_ASSERT_EQUAL(ps.slab.live, 2);
	end();
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("pending", NULL, NULL);
	CU_add_test(s, "ends once", test_ends_once);
	CU_add_test(s, "of a former process", test_of_a_former_process);
	CU_add_test(s, "deadline", test_deadline);
	CU_add_test(s, "deadlines of calls", test_budgets);
	CU_add_test(s, "a deadline makes a call", test_budgets_reentry);
	CU_add_test(s, "limit", test_limit);
	CU_add_test(s, "calls of a generation", test_calls_of_a_generation);
	CU_add_test(s, "re-entry", test_reentry);
	CU_add_test(s, "a lost link", test_link_lost);
	CU_add_test(s, "sent again", test_sent_again);
	CU_add_test(s, "of a peer", test_of_a_peer);
	CU_add_test(s, "a lost node", test_node_lost);
	return ob__tap_run();
}
