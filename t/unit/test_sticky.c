/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/* What becomes of messages that are to stay with a node, by what is known of that node: on the
 * session's proxy, on the way, and of those that have waited. */

#include "host/session/sticky.h"

#include <CUnit/CUnit.h>
#include <stdio.h>
#include <string.h>

#include "host/message/held.h"
#include "mesh/sticks.h"
#include "tap.h"
#include "unit/node_rig.h"

#define ROLE ob__fnv1a32("game")

static struct rig_node rig;
static struct ob__node *node;
static struct ob__peer *game;
static struct ob__link a_link; /* is never looked into */

static void begin(const char *role)
{
	struct ob__identity who = {
		.id = ob__node_id("g"), .incarnation = 1, .name = "g", .role = "game"};
	int err;

	rig_begin();
	rig_start(&rig, "n", role, "'modules': ['service']");
	node = rig.node;
	game = ob__registry_put(&node->registry, &who, &err);
	CU_ASSERT_PTR_NOT_NULL_FATAL(game);
}

static void end(void)
{
	ob__registry_set_link(&node->registry, game, NULL, 0);
	ob__held_drop(node);
	node->cluster.reach_changed = false;
	rig_stop(&rig);
	rig_end();
}

static void is(uint8_t state, bool linked)
{
	ob__registry_set_state(&node->registry, game, state);
	ob__registry_set_link(&node->registry, game, linked ? &a_link : NULL, 0);
}

static double lost(const char *then)
{
	char series[64];

	snprintf(series, sizeof(series), "obhost_sticky_lost_total{then=\"%s\"}", then);
	double n = rig_metric(&rig, series);
	return n > 0 ? n : 0;
}

static double lost_all(void)
{
	return lost("move") + lost("fail") + lost("wait");
}

/* The node's state and link, the rule, then the verdict, whether it goes to that node, and whether
 * it counts as lost. */
static const struct row {
	uint8_t state;
	bool linked;
	enum ob__sticky_lost lost;
	enum ob__sticky_verdict verdict;
	bool there;
	bool counted;
} rows[] = {
	{OB__MEMBER_UP, false, OB__LOST_MOVE, OB__STICKY_GO, true, false},
	{OB__MEMBER_UP, true, OB__LOST_FAIL, OB__STICKY_GO, true, false},
	{OB__MEMBER_DRAINING, false, OB__LOST_MOVE, OB__STICKY_GO, true, false},
	/* missed, whatever the rule: in a moment it will be known */
	{OB__MEMBER_SUSPECT, false, OB__LOST_MOVE, OB__STICKY_WAIT, true, false},
	{OB__MEMBER_SUSPECT, false, OB__LOST_FAIL, OB__STICKY_WAIT, true, false},
	{OB__MEMBER_SUSPECT, false, OB__LOST_WAIT, OB__STICKY_WAIT, true, false},
	/* others miss it, this node has a link with it */
	{OB__MEMBER_SUSPECT, true, OB__LOST_MOVE, OB__STICKY_GO, true, false},
	{OB__MEMBER_DEAD, true, OB__LOST_MOVE, OB__STICKY_GO, true, false},
	/* gone */
	{OB__MEMBER_DEAD, false, OB__LOST_MOVE, OB__STICKY_GO, false, true},
	{OB__MEMBER_LEFT, false, OB__LOST_MOVE, OB__STICKY_GO, false, true},
	{OB__MEMBER_DEAD, false, OB__LOST_FAIL, OB__STICKY_FAIL, true, true},
	{OB__MEMBER_DEAD, false, OB__LOST_WAIT, OB__STICKY_WAIT, true, true},
	{OB__MEMBER_LEFT, false, OB__LOST_WAIT, OB__STICKY_WAIT, true, true},
	/* it was here once, and no route node tells of it */
	{OB__MEMBER_UNKNOWN, false, OB__LOST_MOVE, OB__STICKY_GO, false, true},
};

static void test_session(void)
{
	begin("proxy");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct row *r = &rows[i];
		struct ob__session *s = ob__session_open(&node->sessions, 1, 0);
		uint64_t to = 4711;
		double before = lost_all();

		CU_ASSERT_EQUAL(ob__session_stick(s, ROLE, game->who.id), 0);
		is(r->state, r->linked);
		CU_ASSERT_EQUAL(ob__sticky_of_session(node, s, ROLE, r->lost, &to), r->verdict);
		CU_ASSERT_EQUAL(to, r->there ? game->who.id : 0);
		CU_ASSERT_EQUAL(lost_all() - before, r->counted);
		/* the choice is forgotten but for where it was, or is as before */
		const struct ob__session_choice *c = ob__session_choice(s, ROLE);
		CU_ASSERT_EQUAL(c->node, r->there ? game->who.id : 0);
		CU_ASSERT_EQUAL(c->from, r->there ? 0 : game->who.id);
		/* and does not move on account of a drain if its messages fail or wait */
		CU_ASSERT_EQUAL(ob__session_may_move(s, ROLE), r->lost == OB__LOST_MOVE);
		/* no role yet, or no choice: nothing is settled here */
		CU_ASSERT_EQUAL(ob__sticky_of_session(node, s, 0, OB__LOST_MOVE, &to),
		                OB__STICKY_GO);
		CU_ASSERT_EQUAL(to, 0);
		CU_ASSERT_EQUAL(ob__sticky_of_session(node, s, 99, OB__LOST_MOVE, &to),
		                OB__STICKY_GO);
		CU_ASSERT_EQUAL(to, 0);
		ob__session_end(&node->sessions, s);
	}
	end();
}

static uint16_t flags_of(enum ob__sticky_lost lost)
{
	return lost == OB__LOST_FAIL   ? OB__FRAME_LOST_FAIL
	       : lost == OB__LOST_WAIT ? OB__FRAME_LOST_WAIT
	                               : 0;
}

/* The same on the way, by the destination or by the choice that the frame has with it. */
static void test_frame(void)
{
	uint8_t ext[OB__STICKS_EXT];

	begin("route");
	struct ob__session *s = ob__session_open(&node->sessions, 1, 0);
	CU_ASSERT_EQUAL(ob__session_stick(s, ROLE, game->who.id), 0);
	size_t len = ob__sticks_put(ext, s, ROLE, 0, true);
	CU_ASSERT_FATAL(len > 0);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct row *r = &rows[i];
		is(r->state, r->linked);
		for (int with = 0; with < 2; with++) {
			struct ob__frame f = {
				.kind = OB__FRAME_REQUEST,
				.flags = OB__FRAME_STICKY | flags_of(r->lost),
				.role = ROLE,
				.ext = with ? ext : NULL,
				.ext_len = with ? (uint16_t)len : 0,
			};
			uint64_t to = with ? 0 : game->who.id;
			double before = lost_all();
			CU_ASSERT_EQUAL(
				ob__sticky_of_frame(node, &f, ob__sticks_get(&f, ROLE).node, &to),
				r->verdict);
			CU_ASSERT_EQUAL(to, r->there ? game->who.id : 0);
			CU_ASSERT_EQUAL(lost_all() - before, r->counted);
		}
	}
	/* for this node itself, or for nobody yet */
	struct ob__frame f = {.kind = OB__FRAME_REQUEST, .role = ROLE};
	uint64_t to = node->self.id;
	CU_ASSERT_EQUAL(ob__sticky_of_frame(node, &f, ob__sticks_get(&f, ROLE).node, &to),
	                OB__STICKY_GO);
	CU_ASSERT_EQUAL(to, node->self.id);
	to = 0;
	CU_ASSERT_EQUAL(ob__sticky_of_frame(node, &f, ob__sticks_get(&f, ROLE).node, &to),
	                OB__STICKY_GO);
	CU_ASSERT_EQUAL(to, 0);
	ob__session_end(&node->sessions, s);
	end();
}

/* Of one that was never heard of: a route node says that it is gone, when it has been here for long
 * enough to be told, and there is no other route node that may know. */
static void test_stranger(void)
{
	static const char *const roles[] = {"proxy", "route"};
	struct ob__identity who = {
		.id = ob__node_id("r2"), .incarnation = 1, .name = "r2", .role = "route"};
	int err;

	for (size_t i = 0; i < 2; i++) {
		begin(roles[i]);
		CU_ASSERT_FALSE(ob__sticky_is_gone(node, 4711));
		uint64_t started = node->started_ms;
		node->started_ms -= 6000;
		CU_ASSERT_EQUAL(ob__sticky_is_gone(node, 4711), i == 1);
		struct ob__peer *other = ob__registry_put(&node->registry, &who, &err);
		CU_ASSERT_PTR_NOT_NULL_FATAL(other);
		CU_ASSERT_EQUAL(ob__sticky_is_gone(node, 4711), i == 1);
		ob__registry_set_link(&node->registry, other, &a_link, 0);
		CU_ASSERT_FALSE(ob__sticky_is_gone(node, 4711));
		ob__registry_set_link(&node->registry, other, NULL, 0);
		node->started_ms = started;
		end();
	}
}

static void hold_one(struct ob__frame *f, uint64_t to, bool stays)
{
	struct ob__route_query q = {.node = to, .role = ROLE, .sticky = true, .stays = stays};

	CU_ASSERT_EQUAL(ob__hold_own(node, f, &q), 0);
}

/* Something has changed, and what was held is about to be sent: what comes now waits behind it, as
 * nothing would keep their order otherwise. */
static void test_others_first(void)
{
	begin("proxy");
	struct ob__session *s = ob__session_open(&node->sessions, 1, 0);
	struct ob__frame f = {.kind = OB__FRAME_REQUEST, .budget = 5000, .role = ROLE};
	uint64_t to;

	CU_ASSERT_EQUAL(ob__session_stick(s, ROLE, game->who.id), 0);
	is(OB__MEMBER_UP, false);
	for (int held = 0; held < 2; held++) {
		for (int changed = 0; changed < 2; changed++) {
			node->cluster.reach_changed = changed;
			enum ob__sticky_verdict v =
				held && changed ? OB__STICKY_WAIT : OB__STICKY_GO;
			CU_ASSERT_EQUAL(ob__sticky_of_session(node, s, ROLE, OB__LOST_MOVE, &to),
			                v);
			CU_ASSERT_EQUAL(to, game->who.id);
			to = game->who.id;
			CU_ASSERT_EQUAL(
				ob__sticky_of_frame(node, &f, ob__sticks_get(&f, ROLE).node, &to),
				v);
			/* a session that has no choice yet has nobody to wait for */
			CU_ASSERT_EQUAL(ob__sticky_of_session(node, s, 99, OB__LOST_MOVE, &to),
			                OB__STICKY_GO);
		}
		hold_one(&f, game->who.id, false);
	}
	ob__session_end(&node->sessions, s);
	end();
}

/* What has waited is looked at again when something has changed. */
static void test_held(void)
{
	static const struct {
		uint8_t state;
		bool sticky;
		bool stays;
		bool named;
		uint16_t flags;
		enum ob__sticky_verdict verdict;
	} held[] = {
		/* still missed: it waits on, with every rule, and only if it is to stay */
		{OB__MEMBER_SUSPECT, true, false, true, 0, OB__STICKY_WAIT},
		{OB__MEMBER_SUSPECT, true, true, true, OB__FRAME_LOST_FAIL, OB__STICKY_WAIT},
		{OB__MEMBER_SUSPECT, true, true, true, OB__FRAME_LOST_WAIT, OB__STICKY_WAIT},
		{OB__MEMBER_SUSPECT, false, false, true, 0, OB__STICKY_GO},
		/* back */
		{OB__MEMBER_UP, true, false, true, 0, OB__STICKY_GO},
		{OB__MEMBER_UP, true, true, true, OB__FRAME_LOST_FAIL, OB__STICKY_GO},
		{OB__MEMBER_UP, true, true, true, OB__FRAME_LOST_WAIT, OB__STICKY_GO},
		/* gone: by its rule */
		{OB__MEMBER_DEAD, true, false, true, 0, OB__STICKY_GO},
		{OB__MEMBER_DEAD, true, true, true, OB__FRAME_LOST_FAIL, OB__STICKY_FAIL},
		{OB__MEMBER_DEAD, true, true, true, OB__FRAME_LOST_WAIT, OB__STICKY_WAIT},
		{OB__MEMBER_LEFT, true, true, true, OB__FRAME_LOST_WAIT, OB__STICKY_WAIT},
		/* for no node in particular */
		{OB__MEMBER_DEAD, true, true, false, OB__FRAME_LOST_FAIL, OB__STICKY_GO},
		{OB__MEMBER_SUSPECT, true, false, false, 0, OB__STICKY_GO},
	};

	begin("proxy");
	for (size_t i = 0; i < sizeof(held) / sizeof(held[0]); i++) {
		struct ob__frame f = {.kind = OB__FRAME_REQUEST, .flags = held[i].flags};
		struct ob__route_query q = {
			.node = held[i].named ? game->who.id : 0,
			.role = ROLE,
			.sticky = held[i].sticky,
			.stays = held[i].stays,
		};
		double before = lost("fail");
		is(held[i].state, false);
		CU_ASSERT_EQUAL(ob__sticky_of_held(node, &f, &q), held[i].verdict);
		CU_ASSERT_EQUAL(lost("fail") - before, held[i].verdict == OB__STICKY_FAIL);
	}
	end();
}

/* Those that wait for a node that is missed stay where they are while others go, in order. */
static void test_held_in_place(void)
{
	struct ob__frame f = {.kind = OB__FRAME_REQUEST, .budget = 5000, .role = ROLE};

	begin("proxy");
	is(OB__MEMBER_SUSPECT, false);
	hold_one(&f, game->who.id, false);
	hold_one(&f, game->who.id, true);
	size_t bytes = node->dispatch.held_bytes;
	ob__dispatch_peer_up(node);
	CU_ASSERT_EQUAL(node->dispatch.held_bytes, bytes);
	f.flags = OB__FRAME_LOST_FAIL;
	hold_one(&f, game->who.id, true);
	ob__dispatch_peer_up(node);
	CU_ASSERT_EQUAL(node->dispatch.held_bytes, bytes + OB__FRAME_HEADER);
	/* It is dead: the one that is to fail ends, the others have nobody to go to yet. */
	is(OB__MEMBER_DEAD, false);
	ob__dispatch_peer_up(node);
	CU_ASSERT_EQUAL(node->dispatch.held_bytes, bytes);
	CU_ASSERT_EQUAL(lost("fail"), 1);
	end();
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("sticky", NULL, NULL);
	CU_add_test(s, "on the session's proxy", test_session);
	CU_add_test(s, "on the way", test_frame);
	CU_add_test(s, "a node never heard of", test_stranger);
	CU_add_test(s, "those that waited go first", test_others_first);
	CU_add_test(s, "those that wait", test_held);
	CU_add_test(s, "those that wait stay where they are", test_held_in_place);
	return ob__tap_run();
}
