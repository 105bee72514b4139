/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/* The example policy by_room, in a mock host. */

#include <stdio.h>
#include <string.h>

#include <CUnit/CUnit.h>
#include <obhost/mock.h>

#include "tap.h"

OB_EXTERN const ob_module_desc ob_module; /* of examples/by_room/by_room.c */

enum { NODES = 5, ROOMS = 400 };

static ob_candidate nodes[NODES];

static ob_mock *begin(void)
{
	ob_mock *m = ob_mock_new(&ob_module, NULL);

	CU_ASSERT_PTR_NOT_NULL_FATAL(m);
	CU_ASSERT_EQUAL_FATAL(ob_mock_begin(m), 0);
	for (size_t i = 0; i < NODES; i++) {
		nodes[i] = (ob_candidate){.size = sizeof(nodes[i]),
		                          .weight = 100,
		                          .node = 1000 + i * 7919,
		                          .name = "node"};
	}
	return m;
}

/* The node that a message of this session with this body goes to. */
static uint64_t node_of(ob_mock *m, const char *body, ob_session session,
                        const ob_candidate *candidates, size_t len)
{
	ob_view view = {.size = sizeof(view),
	                .session = session,
	                .data = (const uint8_t *)body,
	                .len = body != NULL ? strlen(body) : 0};
	ob_choice choice = {
		.size = sizeof(choice), .view = &view, .candidates = candidates, .len = len};
	int i = ob_mock_choose(m, "by_room", &choice);

	CU_ASSERT_FATAL(i >= 0 && (size_t)i < len);
	return candidates[i].node;
}

static const char *room_body(unsigned room)
{
	static char body[64];

	snprintf(body, sizeof(body), "{\"room\": \"room %u\", \"seat\": %u}", room, room * 3);
	return body;
}

static void test_room_decides(void)
{
	ob_mock *m = begin();

	for (unsigned room = 0; room < ROOMS; room++) {
		uint64_t node = node_of(m, room_body(room), room + 1, nodes, NODES);
		CU_ASSERT_EQUAL(node_of(m, room_body(room), room + 77, nodes, NODES), node);
	}
	CU_ASSERT_EQUAL(node_of(m, "{\"room\":7}", 1, nodes, NODES),
	                node_of(m, "{\"x\":1,\"room\":7}", 2, nodes, NODES));
	ob_mock_free(m);
}

/* Each node has a fair share, and the loss of one moves its own rooms only. */
static void test_only_its_own_rooms_move(void)
{
	ob_mock *m = begin();
	unsigned share[NODES] = {0};

	for (unsigned room = 0; room < ROOMS; room++) {
		uint64_t before = node_of(m, room_body(room), 1, nodes, NODES);
		uint64_t after = node_of(m, room_body(room), 1, nodes, NODES - 1);

		share[(before - 1000) / 7919]++;
		if (before != nodes[NODES - 1].node) {
			CU_ASSERT_EQUAL(after, before);
		}
	}
	for (size_t i = 0; i < NODES; i++) {
		CU_ASSERT(share[i] > ROOMS / NODES / 2 && share[i] < ROOMS / NODES * 2);
	}
	ob_mock_free(m);
}

/* Without a room, with a payload that is none or has gone: by session. */
static void test_others_by_session(void)
{
	static const char *const bodies[] = {NULL,        "",           "hello",          "{",
	                                     "{\"a\":1}", "[\"room\"]", "{\"room\":null}"};
	ob_mock *m = begin();

	for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
		bool differ = false;
		uint64_t first = node_of(m, bodies[i], 1, nodes, NODES);

		CU_ASSERT_EQUAL(node_of(m, bodies[i], 1, nodes, NODES), first);
		CU_ASSERT_EQUAL(node_of(m, NULL, 1, nodes, NODES), first);
		for (ob_session s = 2; s < 64; s++) {
			differ = differ || node_of(m, bodies[i], s, nodes, NODES) != first;
		}
		CU_ASSERT(differ);
	}
	ob_mock_free(m);
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("by_room", NULL, NULL);
	CU_add_test(s, "a room has one node", test_room_decides);
	CU_add_test(s, "a node that goes takes its own rooms only", test_only_its_own_rooms_move);
	CU_add_test(s, "all else goes by session", test_others_by_session);
	return ob__tap_run();
}
