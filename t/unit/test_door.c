/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/* Descriptors that modules have watched, and clients that they bring, in a whole node. */

#include <CUnit/CUnit.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tap.h"
#include "unit/node_rig.h"

#define HOOKS(p)  (long)(intptr_t)(p)
#define SAY_AGAIN 5000

static struct rig_node node;
static struct puppet p;
static int pair[2]; /* the module watches the first one */

static struct {
	ob_watch watch;
	uint32_t events; /* to watch for */
	uint32_t got;
	int calls;
	bool reads; /* and keeps quiet then */
	bool unwatches;
	ob_watch early; /* what start was given */
} seen;

/* ---------------------------------------------------------------- descriptors */

static void on_fd(ob_ctx *ctx, ob_watch watch, uint32_t events, void *arg)
{
	char byte;

	CU_ASSERT_EQUAL(watch, seen.watch);
	CU_ASSERT_PTR_EQUAL(arg, &seen);
	CU_ASSERT_PTR_EQUAL(ctx, p.ctx);
	seen.calls++;
	seen.got |= events;
	if (seen.reads) {
		CU_ASSERT_EQUAL(read(pair[0], &byte, 1), 1);
	}
	if (seen.unwatches) {
		CU_ASSERT_EQUAL(ob_fd_unwatch(ctx, watch), 0);
		CU_ASSERT_EQUAL(ob_fd_unwatch(ctx, watch), OB_E_STALE);
	}
}

static void begin_watch(ob_ctx *ctx)
{
	seen.watch = ob_fd_watch(ctx, pair[0], seen.events, on_fd, &seen);
}

static int watch_early(ob_ctx *ctx, const json_t *conf)
{
	(void)conf;
	seen.early = ob_fd_watch(ctx, pair[0], OB_FD_READABLE, on_fd, &seen);
	return 0;
}

static void begin(void)
{
	rig_begin();
	memset(&p, 0, sizeof(p));
	memset(&seen, 0, sizeof(seen));
	CU_ASSERT_EQUAL_FATAL(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
	seen.events = OB_FD_READABLE;
	seen.reads = true;
	p.start = watch_early;
	p.live = begin_watch;
	p.resume = NULL;
}

static void end(void)
{
	rig_stop(&node);
	close(pair[0]);
	close(pair[1]);
	rig_end();
}

static void start_watching(const char *more)
{
	rig_start(&node, "n", "game",
	          "%s 'modules': ['service', {'name': 'puppet', 'conf': {'hooks': %ld}}]", more,
	          HOOKS(&p));
}

static void poke(void)
{
	CU_ASSERT_EQUAL(write(pair[1], "x", 1), 1);
}

static void test_watch(void)
{
	begin();
	start_watching("");
	CU_ASSERT_EQUAL(seen.early, 0); /* nothing runs before live */
	CU_ASSERT_NOT_EQUAL_FATAL(seen.watch, 0);
	rig_turn_ms(20);
	CU_ASSERT_EQUAL(seen.calls, 0);
	poke();
	CU_ASSERT_TRUE(RIG_UNTIL(seen.calls == 1));
	CU_ASSERT_EQUAL(seen.got, OB_FD_READABLE);
	poke();
	poke();
	CU_ASSERT_TRUE(RIG_UNTIL(seen.calls == 3));
	seen.unwatches = true;
	poke();
	CU_ASSERT_TRUE(RIG_UNTIL(seen.calls == 4));
	poke();
	rig_turn_ms(20);
	CU_ASSERT_EQUAL(seen.calls, 4);
	end();
}

static void test_refused(void)
{
	int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	int once[2];

	begin();
	start_watching("");
	ob_ctx *ctx = p.ctx;
	CU_ASSERT_EQUAL(ob_fd_watch(ctx, pair[0], OB_FD_READABLE, on_fd, &seen), 0); /* twice */
	CU_ASSERT_EQUAL(ob_fd_watch(ctx, -1, OB_FD_READABLE, on_fd, &seen), 0);
	CU_ASSERT_EQUAL(ob_fd_watch(ctx, pair[1], 0, on_fd, &seen), 0);
	CU_ASSERT_EQUAL(ob_fd_watch(ctx, pair[1], 8, on_fd, &seen), 0);
	CU_ASSERT_EQUAL(ob_fd_watch(ctx, pair[1], OB_FD_READABLE, NULL, &seen), 0);
	CU_ASSERT_EQUAL(ob_fd_watch(ctx, file, OB_FD_READABLE, on_fd, &seen), 0);
	CU_ASSERT_EQUAL(ob_fd_unwatch(ctx, 12345), OB_E_STALE);
	CU_ASSERT_EQUAL(ob_fd_unwatch(ctx, seen.watch), 0);

	/* A pipe that nobody reads any more. */
	CU_ASSERT_EQUAL_FATAL(pipe2(once, O_CLOEXEC | O_NONBLOCK), 0);
	seen.reads = false;
	seen.watch = ob_fd_watch(ctx, once[1], OB_FD_READABLE, on_fd, &seen);
	CU_ASSERT_NOT_EQUAL(seen.watch, 0);
	close(once[0]);
	CU_ASSERT_TRUE(RIG_UNTIL(seen.calls == 1));
	CU_ASSERT_EQUAL(seen.got, OB_FD_BROKEN);
	CU_ASSERT_EQUAL(ob_fd_unwatch(ctx, seen.watch), OB_E_STALE);
	close(once[1]);
	close(file);
	end();
}

static void test_writable(void)
{
	begin();
	seen.reads = false;
	seen.unwatches = true;
	seen.events = OB_FD_READABLE | OB_FD_WRITABLE;
	start_watching("");
	CU_ASSERT_TRUE(RIG_UNTIL(seen.calls == 1));
	CU_ASSERT_EQUAL(seen.got, OB_FD_WRITABLE);
	end();
}

/* Each generation watches the same descriptor: one at a time. */
static void test_generations(void)
{
	begin();
	start_watching("'reload': {'probation': 60, 'probe': 0, 'rate': '0/s'},");
	ob_watch first = seen.watch;
	ob_ctx *old = p.ctx;
	CU_ASSERT_TRUE(rig_admin_expect(&node, "modules.reload",
	                                "{'name': 'puppet', 'force': true}", 200,
	                                "{'result': 'switched'}"));
	CU_ASSERT_NOT_EQUAL(seen.watch, first);
	CU_ASSERT_NOT_EQUAL(seen.watch, 0);
	poke();
	CU_ASSERT_TRUE(RIG_UNTIL(seen.calls == 1)); /* with the new one's ctx and watch */
	/* Back: the old one's goes on by itself. */
	ob_watch second = seen.watch;
	seen.watch = first;
	CU_ASSERT_TRUE(
		rig_admin_expect(&node, "modules.rollback", "{'name': 'puppet'}", 200, "{}"));
	CU_ASSERT_PTR_EQUAL(p.ctx, old);
	poke();
	CU_ASSERT_TRUE(RIG_UNTIL(seen.calls == 2));
	CU_ASSERT_EQUAL(ob_fd_unwatch(old, second), OB_E_STALE); /* it has ended */
	CU_ASSERT_EQUAL(ob_fd_unwatch(old, first), 0);
	end();
}

/* ---------------------------------------------------------------- clients */

static struct {
	int opens;
	int accepts;
	int closes;
	int keeps;
	int leaves;
	ob_door door;
	uint64_t client;
	uint16_t code;
	char reason[64];
	bool no_open;
	bool no_keep;
	uint32_t connections;
} fake;

static int on_open(ob_ctx *ctx, const ob_door_info *info, char *address, size_t cap, ob_err *err)
{
	(void)ctx;
	fake.opens++;
	fake.door = info->door;
	fake.connections = info->connections;
	snprintf(address, cap, "fake:%u", info->port);
	return fake.no_open ? ob_err_set(err, "it is gone fishing") : 0;
}

static int on_accept(ob_ctx *ctx, ob_door door, ob_err *err)
{
	(void)ctx;
	(void)err;
	CU_ASSERT_EQUAL(door, fake.door);
	fake.accepts++;
	return 0;
}

static void on_close(ob_ctx *ctx, ob_door door)
{
	(void)ctx;
	CU_ASSERT_EQUAL(door, fake.door);
	fake.closes++;
}

static int on_keep(ob_ctx *ctx, ob_door door, ob_err *err)
{
	(void)ctx;
	CU_ASSERT_EQUAL(door, fake.door);
	fake.keeps++;
	return fake.no_keep ? ob_err_set(err, "it has forgotten") : 0;
}

static void on_leave(ob_ctx *ctx, uint64_t client, uint16_t code, const char *reason)
{
	(void)ctx;
	fake.leaves++;
	fake.client = client;
	fake.code = code;
	snprintf(fake.reason, sizeof(fake.reason), "%s", reason);
}

static void echo(ob_ctx *ctx, ob_req req)
{
	ob_view view = {.size = sizeof(view)};

	ob_req_view(ctx, req, &view);
	ob_reply(ctx, req, view.data, view.len);
}

static ob_client_transport offered = {
	.size = sizeof(offered),
	.name = "fake",
	.open = on_open,
	.accept = on_accept,
	.close = on_close,
	.keep = on_keep,
	.leave = on_leave,
};

static int offer(ob_ctx *ctx, const json_t *conf)
{
	(void)conf;
	int rc = ob_on_client_transport(ctx, &offered);

	return rc == 0 ? ob_on_id(ctx, SAY_AGAIN, echo) : rc;
}

static void begin_door(void)
{
	begin();
	memset(&fake, 0, sizeof(fake));
	offered.name = "fake";
	p.start = offer;
	p.live = NULL;
	rig_install("transport_fake",
	            "transport_fake"); /* which the listener implies: an idle one */
}

#define DOOR                                                                       \
	"%s 'listen': [{'transport': 'fake', 'port': 7, 'codec': 'obespoir'%s}], " \
	"'modules': ['proxy', {'name': 'puppet', 'conf': {'hooks': %ld}}]"

static void start_door(const char *limits)
{
	rig_start(&node, "n", "proxy", DOOR,
	          "'reload': {'probation': 0, 'probe': 0, 'rate': '0/s'},", limits, HOOKS(&p));
}

/* A client of the module's: the other end of the pair. */
static int bring(struct rig_client *c, uint64_t number, const char *peer)
{
	int fds[2];
	ob_adopt_options o = {.size = sizeof(o), .door = fake.door, .client = number, .peer = peer};

	CU_ASSERT_EQUAL_FATAL(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
	int rc = ob_client_adopt(p.ctx, fds[0], &o);
	memset(c, 0, sizeof(*c));
	c->fd = fds[1];
	if (rc != 0) {
		CU_ASSERT_EQUAL(close(fds[0]), 0); /* it was still ours */
		close(fds[1]);
		c->fd = -1;
	}
	return rc;
}

static void test_adopt(void)
{
	struct rig_client c;

	begin_door();
	start_door("");
	CU_ASSERT_EQUAL(fake.opens, 1);
	CU_ASSERT_EQUAL(fake.accepts, 1);
	CU_ASSERT_TRUE(rig_admin_expect(&node, "node", NULL, 200,
	                                "{'listeners': [{'address': 'fake:7', 'transport': 'fake', "
	                                "'codec': 'obespoir', 'accepting': true}]}"));
	CU_ASSERT_EQUAL_FATAL(bring(&c, 77, "192.0.2.1:4000"), 0);
	CU_ASSERT_TRUE(rig_ask(&c, SAY_AGAIN, "{'n': 1}", "{'n': 1}"));
	CU_ASSERT_TRUE(rig_admin_expect(&node, "sessions", NULL, 200,
	                                "{'sessions': [{'peer': '192.0.2.1:4000'}]}"));
	/* The module's side ends. */
	rig_disconnect(&c);
	CU_ASSERT_TRUE(RIG_UNTIL(node.node->clients.conns.live == 0));
	CU_ASSERT_EQUAL(fake.leaves, 0);
	/* The host's does. */
	CU_ASSERT_EQUAL_FATAL(bring(&c, 78, "[2001:db8::1]:4001"), 0);
	CU_ASSERT_TRUE(rig_ask(&c, SAY_AGAIN, "{'n': 2}", "{'n': 2}"));
	rig_send_raw(&c, "\1\0\0\0\0\0\0\0\0\0\0\0", 12);
	CU_ASSERT_TRUE(RIG_UNTIL(fake.leaves == 1));
	CU_ASSERT_EQUAL(fake.client, 78);
	CU_ASSERT_EQUAL(fake.code, 1002);
	CU_ASSERT_STRING_NOT_EQUAL(fake.reason, "");
	rig_disconnect(&c);
	CU_ASSERT_TRUE(RIG_UNTIL(node.node->clients.conns.live == 0));
	end();
	CU_ASSERT_EQUAL(fake.closes, 1);
}

static void test_adopt_refused(void)
{
	struct rig_client a;
	struct rig_client b;
	struct rig_client c;
	ob_adopt_options o = {.size = sizeof(o)};

	begin_door();
	start_door(", 'limits': {'connections': 2, 'per_address': 1}");
	CU_ASSERT_EQUAL(fake.connections, 2);
	CU_ASSERT_EQUAL(bring(&a, 1, "192.0.2.1"), OB_E_INVAL);
	CU_ASSERT_EQUAL(bring(&a, 1, "192.0.2.1:70000"), OB_E_INVAL);
	CU_ASSERT_EQUAL(bring(&a, 1, "192.0.2.1:"), OB_E_INVAL);
	CU_ASSERT_EQUAL(bring(&a, 1, "2001:db8::1:5"), OB_E_INVAL);
	CU_ASSERT_EQUAL(bring(&a, 1, "example.org:5"), OB_E_INVAL);
	o.door = fake.door;
	CU_ASSERT_EQUAL(ob_client_adopt(p.ctx, -1, &o), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_client_adopt(p.ctx, pair[0], NULL), OB_E_INVAL);
	int lone = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CU_ASSERT_EQUAL(ob_client_adopt(p.ctx, lone, &o), OB_E_INVAL); /* not connected */
	close(lone);
	o.door = fake.door + 1;
	CU_ASSERT_EQUAL(ob_client_adopt(p.ctx, pair[0], &o), OB_E_NOT_FOUND);
	o.size--;
	CU_ASSERT_EQUAL(ob_client_adopt(p.ctx, pair[0], &o), OB_E_INVAL);

	CU_ASSERT_EQUAL_FATAL(bring(&a, 1, "192.0.2.1:1"), 0);
	CU_ASSERT_EQUAL(bring(&b, 2, "192.0.2.1:2"), OB_E_LIMIT); /* of its address */
	CU_ASSERT_EQUAL_FATAL(bring(&b, 2, NULL), 0);             /* it has none */
	CU_ASSERT_EQUAL(bring(&c, 3, "192.0.2.2:1"), OB_E_LIMIT); /* of the listener */
	CU_ASSERT_EQUAL(rig_metric(&node, "obhost_client_refused_total{reason=\"per_address\"}"),
	                1);
	CU_ASSERT_EQUAL(rig_metric(&node, "obhost_client_refused_total{reason=\"connections\"}"),
	                1);
	rig_disconnect(&a);
	CU_ASSERT_TRUE(RIG_UNTIL(node.node->clients.conns.live == 1));
	CU_ASSERT_EQUAL_FATAL(bring(&a, 1, "192.0.2.1:1"), 0);
	rig_disconnect(&a);
	rig_disconnect(&b);
	end();
}

static void test_keep(void)
{
	struct rig_client c;

	begin_door();
	start_door("");
	CU_ASSERT_EQUAL_FATAL(bring(&c, 1, "192.0.2.1:1"), 0);
	CU_ASSERT_TRUE(rig_admin_expect(&node, "modules.reload",
	                                "{'name': 'puppet', 'force': true}", 200, "{}"));
	CU_ASSERT_EQUAL(fake.keeps, 1);
	CU_ASSERT_EQUAL(fake.opens, 1);
	CU_ASSERT_TRUE(rig_ask(&c, SAY_AGAIN, "{'n': 1}", "{'n': 1}"));
	fake.no_keep = true;
	CU_ASSERT_TRUE(rig_admin_expect(&node, "modules.reload",
	                                "{'name': 'puppet', 'force': true}", 422,
	                                "{'error': {'step': 'start', 'code': 'transport', "
	                                "'message': 'fake: it has forgotten'}}"));
	fake.no_keep = false;
	offered.name = "other";
	CU_ASSERT_TRUE(rig_admin_expect(&node, "modules.reload",
	                                "{'name': 'puppet', 'force': true}", 422,
	                                "{'error': {'step': 'start', 'code': 'transport'}}"));
	CU_ASSERT_TRUE(rig_admin_expect(&node, "modules.unload", "{'name': 'puppet'}", 409,
	                                "{'error': {'code': 'in_use'}}"));
	CU_ASSERT_TRUE(rig_ask(&c, SAY_AGAIN, "{'n': 2}", "{'n': 2}"));
	offered.name = "fake";
	rig_disconnect(&c);
	end();
}

static int offer_wrong(ob_ctx *ctx, const json_t *conf)
{
	ob_client_transport t = offered;

	(void)conf;
	CU_ASSERT_EQUAL(ob_on_client_transport(ctx, NULL), OB_E_INVAL);
	t.keep = NULL;
	CU_ASSERT_EQUAL(ob_on_client_transport(ctx, &t), OB_E_INVAL);
	t = offered;
	t.flags = 1;
	CU_ASSERT_EQUAL(ob_on_client_transport(ctx, &t), OB_E_INVAL);
	t = offered;
	t.size++;
	CU_ASSERT_EQUAL(ob_on_client_transport(ctx, &t), OB_E_INVAL);
	t = offered;
	for (size_t i = 0; i < 5; i++) {
		t.name = (const char *[]){"ws", "wss", "tcp", "tls", "unix"}[i];
		CU_ASSERT_EQUAL(ob_on_client_transport(ctx, &t), OB_E_EXISTS);
	}
	t.name = "a b";
	CU_ASSERT_EQUAL(ob_on_client_transport(ctx, &t), OB_E_INVAL);
	return ob_on_client_transport(ctx, &offered);
}

static void test_open_fails(void)
{
	int code = 0;

	begin_door();
	p.start = offer_wrong;
	fake.no_open = true;
	rig_write_conf(&node, "n", "proxy", DOOR, "", "", HOOKS(&p));
	CU_ASSERT_PTR_NULL(rig_start_conf(&node, &code));
	CU_ASSERT_NOT_EQUAL(code, 0);
	CU_ASSERT_TRUE(rig_logged("n", "fake: it is gone fishing"));
	close(pair[0]);
	close(pair[1]);
	rig_end();
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite fd = CU_add_suite("fdwatch", NULL, NULL);
	CU_add_test(fd, "readable", test_watch);
	CU_add_test(fd, "refused", test_refused);
	CU_add_test(fd, "writable", test_writable);
	CU_add_test(fd, "generations", test_generations);
	CU_pSuite door = CU_add_suite("door", NULL, NULL);
	CU_add_test(door, "adopt", test_adopt);
	CU_add_test(door, "adopt refused", test_adopt_refused);
	CU_add_test(door, "keep", test_keep);
	CU_add_test(door, "open fails", test_open_fails);
	return ob__tap_run();
}
