/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/* Who hears of groups: two listeners on one node, which end sessions and join and leave meanwhile.
 */

#include "host/push/groups.h"

#include <CUnit/CUnit.h>
#include <stdio.h>
#include <string.h>

#include "tap.h"
#include "unit/node_rig.h"

static struct rig_node n;
static struct puppet p;
static struct rig_client c;
static ob_session session;
static char heard[2][256];
static void (*hook)(ob_ctx *ctx, const ob_group_info *info); /* of who hears first */
static bool swing;
static unsigned swings;

/* "+group", "-group", with '!' at the session's end and '?' behind that. */
static void note(ob_ctx *ctx, const ob_group_info *info, char *text)
{
	ob_session_info it = {.size = sizeof(it)};
	size_t len = strlen(text);

	snprintf(text + len, sizeof(heard[0]) - len, "%c%s%s%s ",
	         info->event == OB_EVENT_GROUP_JOINED ? '+' : '-', info->group,
	         info->ended ? "!" : "", ob_session_get(ctx, info->session, &it) == 0 ? "" : "?");
}

static void first(ob_ctx *ctx, const ob_group_info *info)
{
	note(ctx, info, heard[0]);
	if (hook != NULL) {
		hook(ctx, info);
	}
}

static void second(ob_ctx *ctx, const ob_group_info *info)
{
	if (!swing) {
		note(ctx, info, heard[1]);
	}
}

/* The two that never agree. */
static void in_and_out(ob_ctx *ctx, const ob_group_info *info)
{
	if (swing && !info->ended && swings++ < 100000) {
		(void)(info->event == OB_EVENT_GROUP_JOINED
		               ? ob_group_leave(ctx, info->session, info->group)
		               : ob_group_join(ctx, info->session, info->group));
	}
}

static void on_opened(ob_ctx *ctx, const ob_event_info *info)
{
	session = info->session;
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	int rc = ob_on_group(ctx, "room", first);

	rc = rc == 0 ? ob_on_group(ctx, "", second) : rc;
	rc = rc == 0 ? ob_on_group(ctx, "swing", in_and_out) : rc;
	return rc == 0 ? ob_on_event(ctx, OB_EVENT_SESSION_OPENED, on_opened) : rc;
}

static void begin(void)
{
	rig_begin();
	memset(heard, 0, sizeof(heard));
	memset(&p, 0, sizeof(p));
	session = 0;
	p.start = start;
	rig_start(&n, "n", "game",
	          "'listen': [{'transport': 'tcp', 'port': 0}], "
	          "'modules': [{'name': 'puppet', 'conf': {'hooks': %ld}}]",
	          (long)(intptr_t)&p);
	rig_connect(&c, n.port, false);
	CU_ASSERT_TRUE_FATAL(RIG_UNTIL(session != 0));
}

static void end(void)
{
	hook = NULL;
	rig_disconnect(&c);
	CU_ASSERT_TRUE(RIG_UNTIL(n.node->clients.conns.live == 0));
	rig_stop(&n);
	rig_end();
}

static void end_at_join(ob_ctx *ctx, const ob_group_info *info)
{
	if (info->event == OB_EVENT_GROUP_JOINED) {
		CU_ASSERT_EQUAL(ob_session_close(ctx, info->session, 4000, "out"), 0);
	}
}

static void end_at_leave(ob_ctx *ctx, const ob_group_info *info)
{
	if (info->event == OB_EVENT_GROUP_LEFT && !info->ended) {
		CU_ASSERT_EQUAL(ob_session_close(ctx, info->session, 4000, "out"), 0);
	}
}

/* Who hears of a session first ends it: the other hears the same, in the same order. */
static void test_ended_by_a_listener(void)
{
	begin();
	hook = end_at_join;
	CU_ASSERT_EQUAL(ob_group_join(p.ctx, session, "room"), 0);
	CU_ASSERT_TRUE(RIG_UNTIL(strchr(heard[1], '!') != NULL));
	CU_ASSERT_STRING_EQUAL(heard[0], "+room -room! ");
	CU_ASSERT_STRING_EQUAL(heard[1], "+room -room! ");
	end();

	begin();
	hook = end_at_leave;
	CU_ASSERT_EQUAL(ob_group_join(p.ctx, session, "room"), 0);
	CU_ASSERT_EQUAL(ob_group_leave(p.ctx, session, "room"), 0);
	CU_ASSERT_TRUE(RIG_UNTIL(strchr(heard[1], '-') != NULL));
	CU_ASSERT_STRING_EQUAL(heard[0], "+room -room ");
	CU_ASSERT_STRING_EQUAL(heard[1], "+room -room ");
	end();
}

static void leave_others(ob_ctx *ctx, const ob_group_info *info)
{
	if (info->ended) {
		CU_ASSERT_EQUAL(ob_group_leave(ctx, info->session, "room a"), 0);
		CU_ASSERT_EQUAL(ob_group_leave(ctx, info->session, "room b"), 0);
	}
}

/* At its end a module takes it out of another group: all hear of that while it can be looked at. */
static void test_leaves_at_its_end(void)
{
	begin();
	CU_ASSERT_EQUAL(ob_group_join(p.ctx, session, "room a"), 0);
	CU_ASSERT_EQUAL(ob_group_join(p.ctx, session, "room b"), 0);
	CU_ASSERT_TRUE(RIG_UNTIL(strstr(heard[1], "room b") != NULL));
	memset(heard, 0, sizeof(heard));
	hook = leave_others;
	CU_ASSERT_EQUAL(ob_session_close(p.ctx, session, 4000, "out"), 0);
	CU_ASSERT_TRUE(RIG_UNTIL(strstr(heard[1], "room a") && strstr(heard[1], "room b")));
	CU_ASSERT_STRING_EQUAL(heard[0], heard[1]);
	CU_ASSERT_PTR_NULL(strchr(heard[1], '?'));
	CU_ASSERT_PTR_EQUAL(strchr(heard[1], '!'), strrchr(heard[1], '!'));
	end();
}

/* Two that undo what the other does: the node goes on, and so does the session's end. */
static void test_swing(void)
{
	begin();
	swing = true;
	swings = 0;
	CU_ASSERT_EQUAL(ob_group_join(p.ctx, session, "swing"), 0);
	CU_ASSERT_TRUE(RIG_UNTIL(swings >= 20));
	CU_ASSERT(swings < 100);
	rig_disconnect(&c);
	CU_ASSERT_TRUE(RIG_UNTIL(n.node->clients.conns.live == 0));
	CU_ASSERT_EQUAL(n.node->groups.events_len, 0);
	CU_ASSERT(swings < 100000);
	swing = false;
	rig_connect(&c, n.port, false);
	end();
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("groups", NULL, NULL);
	CU_add_test(s, "a listener ends the session", test_ended_by_a_listener);
	CU_add_test(s, "a listener lets it leave at its end", test_leaves_at_its_end);
	CU_add_test(s, "listeners that never agree", test_swing);
	return ob__tap_run();
}
