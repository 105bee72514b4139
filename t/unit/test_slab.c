/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "lib/slab.h"

#include <CUnit/CUnit.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "tap.h"

#define KIND        3
#define SERIAL_LAST ((UINT64_C(1) << 36) - 1)

static uint64_t serial_of(uint64_t handle)
{
	return handle >> 24 & SERIAL_LAST;
}

static void test_life(void)
{
	struct ob__slab s;
	ob__slab_init(&s, 40, KIND, 10);
	CU_ASSERT_EQUAL(s.live, 0);
	uint64_t handle = 0;
	uint8_t *object = ob__slab_alloc(&s, &handle);
	CU_ASSERT_PTR_NOT_NULL_FATAL(object);
	CU_ASSERT_EQUAL(ob__handle_kind(handle), KIND);
	CU_ASSERT_EQUAL((uintptr_t)object % 16, 0);
	CU_ASSERT_EQUAL(ob__slab_handle(&s, object), handle);
	CU_ASSERT_PTR_EQUAL(ob__slab_get(&s, handle), object);
	CU_ASSERT_EQUAL(s.live, 1);
	memset(object, 0xaa, 40);
	ob__slab_free(&s, object);
	CU_ASSERT_PTR_NULL(ob__slab_get(&s, handle));
	CU_ASSERT_EQUAL(s.live, 0);

	uint64_t second = 0;
	uint8_t *again = ob__slab_alloc(&s, &second);
	CU_ASSERT_PTR_EQUAL(again, object); /* last in, first out */
	CU_ASSERT_NOT_EQUAL(second, handle);
	CU_ASSERT_PTR_NULL(ob__slab_get(&s, handle));
	CU_ASSERT_PTR_EQUAL(ob__slab_get(&s, second), again);
	for (size_t i = 0; i < 40; i++) {
		CU_ASSERT_EQUAL(again[i], 0);
	}
	ob__slab_destroy(&s);
	CU_ASSERT_PTR_NULL(ob__slab_get(&s, second));
	ob__slab_destroy(&s);
	ob__slab_destroy(NULL);
}

static void test_nonsense(void)
{
	struct ob__slab s;
	ob__slab_init(&s, 8, KIND, 1000);
	CU_ASSERT_PTR_NULL(ob__slab_get(&s, (uint64_t)KIND << 60)); /* before the first page */
	uint64_t live;
	uint64_t freed;
	CU_ASSERT_PTR_NOT_NULL(ob__slab_alloc(&s, &live));
	void *object = ob__slab_alloc(&s, &freed);
	CU_ASSERT_PTR_NOT_NULL_FATAL(object);
	ob__slab_free(&s, object);
	const uint64_t serial = UINT64_C(1) << 24;
	const uint64_t no_kind = ~(UINT64_C(15) << 60);
	const uint64_t rows[] = {
		0,
		UINT64_MAX,
		freed,
		(freed & no_kind) + serial, /* what the free slot holds */
		freed + serial,             /* what its next tenant will get */
		live + serial,              /* the future */
		live - serial,              /* the past */
		live & no_kind,             /* of no kind */
		live ^ (UINT64_C(1) << 60), /* of another kind */
		live + 2,                   /* a slot of the page that was never used */
		live + OB__SLAB_PAGE,       /* a page that is not there */
		live | OB__SLAB_SLOT_MASK,  /* the last slot there can be */
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		CU_ASSERT_PTR_NULL(ob__slab_get(&s, rows[i]));
	}
	CU_ASSERT_PTR_NOT_NULL(ob__slab_get(&s, live));
	ob__slab_destroy(&s);
}

/* The serial of a slot, set by hand, and the one its next tenant gets. */
static void test_serial_wraps(void)
{
	static const struct {
		uint64_t serial;
		uint64_t next;
	} rows[] = {
		{1, 2},
		{UINT32_MAX, UINT64_C(1) << 32},
		{SERIAL_LAST / 2, SERIAL_LAST / 2 + 1},
		{SERIAL_LAST - 1, SERIAL_LAST},
		{SERIAL_LAST, 0},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct ob__slab s;
		ob__slab_init(&s, 8, 15, 1); /* a kind of all ones, so that a carry would show */
		uint64_t handle;
		uint64_t *object = ob__slab_alloc(&s, &handle);
		CU_ASSERT_PTR_NOT_NULL_FATAL(object);
		struct ob__slab_head *head = (struct ob__slab_head *)(void *)object - 1;
		head->handle = UINT64_C(15) << 60 | rows[i].serial << 24;
		uint64_t old = ob__slab_handle(&s, object);
		CU_ASSERT_EQUAL(serial_of(old), rows[i].serial);
		CU_ASSERT_PTR_EQUAL(ob__slab_get(&s, old), object);
		ob__slab_free(&s, object);
		CU_ASSERT_PTR_NULL(ob__slab_get(&s, old));
		CU_ASSERT_PTR_EQUAL(ob__slab_alloc(&s, &handle), object);
		CU_ASSERT_EQUAL(serial_of(handle), rows[i].next);
		CU_ASSERT_EQUAL(ob__handle_kind(handle), 15);
		CU_ASSERT_PTR_EQUAL(ob__slab_get(&s, handle), object);
		CU_ASSERT_PTR_NULL(ob__slab_get(&s, old));
		ob__slab_destroy(&s);
	}
}

/* Where serials begin is all that tells a process's handles from its predecessor's. */
static void test_begins_elsewhere(void)
{
	struct ob__slab s;
	ob__slab_init(&s, 8, 15, 2);
	ob__slab_begin(&s, UINT64_MAX - 1);
	uint64_t handles[2];
	void *object = ob__slab_alloc(&s, &handles[0]);
	CU_ASSERT_PTR_NOT_NULL(ob__slab_alloc(&s, &handles[1]));
	for (unsigned slot = 0; slot < 2; slot++) {
		CU_ASSERT_EQUAL(serial_of(handles[slot]), SERIAL_LAST - 1);
		CU_ASSERT_EQUAL(handles[slot] & OB__SLAB_SLOT_MASK, slot);
		CU_ASSERT_PTR_NULL(ob__slab_get(&s, UINT64_C(15) << 60 | 1u << 24 | slot));
	}
	CU_ASSERT_PTR_EQUAL(ob__slab_get(&s, handles[0]), object);
	ob__slab_destroy(&s);
}

static void test_limit(void)
{
	static const uint32_t rows[] = {0, 1, OB__SLAB_PAGE - 1, OB__SLAB_PAGE, OB__SLAB_PAGE + 1};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct ob__slab s;
		ob__slab_init(&s, 1, KIND, rows[i]);
		uint64_t handle;
		void *object = NULL;
		for (uint32_t k = 0; k < rows[i]; k++) {
			object = ob__slab_alloc(&s, &handle);
			CU_ASSERT_PTR_NOT_NULL(object);
			CU_ASSERT_EQUAL(handle & OB__SLAB_SLOT_MASK, k);
		}
		CU_ASSERT_PTR_NULL(ob__slab_alloc(&s, &handle));
		CU_ASSERT_EQUAL(s.live, rows[i]);
		if (object != NULL) {
			ob__slab_free(&s, object);
			CU_ASSERT_PTR_NOT_NULL(ob__slab_alloc(&s, &handle));
			CU_ASSERT_PTR_NULL(ob__slab_alloc(&s, &handle));
		}
		ob__slab_destroy(&s);
	}
}

static void test_walk_and_free(void)
{
	struct ob__slab s;
	ob__slab_init(&s, 8, KIND, 1000);
	for (uint64_t i = 0; i < 600; i++) {
		uint64_t handle;
		uint64_t *object = ob__slab_alloc(&s, &handle);
		CU_ASSERT_PTR_NOT_NULL_FATAL(object);
		*object = i;
	}
	uint64_t *object;
	uint64_t want = 0;
	for (uint32_t pos = 0; (object = ob__slab_next(&s, &pos)) != NULL; want++) {
		CU_ASSERT_EQUAL(*object, want);
		if (want % 3 != 0) {
			ob__slab_free(&s, object);
		}
	}
	CU_ASSERT_EQUAL(want, 600);
	CU_ASSERT_EQUAL(s.live, 200);
	want = 0;
	for (uint32_t pos = 0; (object = ob__slab_next(&s, &pos)) != NULL; want += 3) {
		CU_ASSERT_EQUAL(*object, want);
	}
	CU_ASSERT_EQUAL(want, 600);
	ob__slab_destroy(&s);
}

/* Random allocs and frees against a table of what ought to be live. */
static void test_load(void)
{
	enum { MOST = 2000, ROUNDS = 200000 };
	struct model {
		uint64_t handle;
		uint64_t *object;
	} *live = calloc(MOST, sizeof(*live));
	uint64_t *stale = calloc(ROUNDS, sizeof(*stale));
	CU_ASSERT_FATAL(live != NULL && stale != NULL);
	size_t live_len = 0;
	size_t stale_len = 0;
	struct ob__slab s;
	ob__slab_init(&s, 3 * sizeof(uint64_t), KIND, MOST);
	uint64_t random = 88172645463325252u;
	for (int i = 0; i < ROUNDS; i++) {
		random ^= random << 13;
		random ^= random >> 7;
		random ^= random << 17;
		bool grow = (i / 20000 % 2 == 0) == (random % 8 != 0);
		if (grow && live_len < MOST) {
			struct model m;
			m.object = ob__slab_alloc(&s, &m.handle);
			CU_ASSERT_PTR_NOT_NULL_FATAL(m.object);
			CU_ASSERT_EQUAL(m.object[2], 0);
			m.object[0] = m.handle;
			m.object[2] = random;
			live[live_len++] = m;
		} else if (!grow && live_len > 0) {
			size_t k = random / 8 % live_len;
			CU_ASSERT_EQUAL(live[k].object[0], live[k].handle);
			ob__slab_free(&s, live[k].object);
			stale[stale_len++] = live[k].handle;
			live[k] = live[--live_len];
		}
		CU_ASSERT_EQUAL(s.live, live_len);
	}
	for (size_t i = 0; i < live_len; i++) {
		CU_ASSERT_PTR_EQUAL(ob__slab_get(&s, live[i].handle), live[i].object);
	}
	for (size_t i = 0; i < stale_len; i++) {
		CU_ASSERT_PTR_NULL(ob__slab_get(&s, stale[i]));
	}
	CU_ASSERT_TRUE(s.pages_len <= MOST / OB__SLAB_PAGE + 1); /* memory is used again */
	ob__slab_destroy(&s);
	free(stale);
	free(live);
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("slab", NULL, NULL);
	CU_add_test(s, "a handle lives as long as its object", test_life);
	CU_add_test(s, "nonsense is no handle", test_nonsense);
	CU_add_test(s, "the serial wraps within its bits", test_serial_wraps);
	CU_add_test(s, "serials begin where they are told", test_begins_elsewhere);
	CU_add_test(s, "the limit holds", test_limit);
	CU_add_test(s, "a walk may free", test_walk_and_free);
	CU_add_test(s, "random load", test_load);
	return ob__tap_run();
}
