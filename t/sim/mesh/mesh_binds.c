/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * How much nodes say about users, over the host's own code (t/sim/mesh/vnode.h).
 *
 *     mesh_binds          10 and 100 nodes; with OB_LONG=1 in the environment 1,000, too
 *     mesh_binds NODES    so many
 *
 * Two route nodes, two proxies, services.  Clients have been served by a service each; then each is
 * given a user, then the same users log in at the other proxy, which ends their first sessions, and
 * then they log out.  All frames about sessions and users are counted, once on each link they go
 * over, and it is few who are told: so many frames and bytes for each user, however many nodes
 * there are.
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/message/dispatch.h"
#include "host/message/request.h"
#include "host/user/users_priv.h"
#include "mesh/proto.h"
#include "t/sim/mesh/vnode.h"

#define SECOND     UINT64_C(1000000)
#define NODES_LEN  3u
#define ROUTES     2u
#define PROXIES    2u
#define USERS      32u
#define WORK_ID    1001u
#define PATIENCE_S 60u

/* The most that one user may cost. */
static const struct {
	const char *what;
	uint64_t frames;
	uint64_t bytes;
} bounds[] = {
	{"a bind", 5, 400},
	{"a login elsewhere", 12, 900},
	{"an unbind", 5, 400},
};

enum step {
	BIND,
	LOGIN_ELSEWHERE,
	UNBIND,
	STEPS,
};

struct test;

struct client {
	struct test *test;
	uint32_t user;
	uint32_t proxy;
	uint64_t conn;
	bool served;
	bool bound;
	bool closed;
};

struct test {
	struct sim_world *world;
	uint32_t nodes;
	bool counting;
	uint64_t frames;
	uint64_t bytes;
	struct client clients[PROXIES][USERS];
};

#define FAIL(t, ...) sim_fail((t)->world, __VA_ARGS__)

static struct test *test_of(const struct vnode *v)
{
	return sim_user(v->sim->world);
}

/* ---- nodes ---- */

static void on_work(ob_ctx *ctx, ob_req req)
{
	struct vnode *v = vnode_of_ctx(ctx);
	ob__req_end(ob__req_get(&v->node, req), OB_OK, NULL, NULL, 0);
}

static ob_verdict decide(ob_ctx *ctx, const ob_view *view)
{
	(void)ctx;
	(void)view;
	return (ob_verdict){
		.action = OB_FORWARD,
		.target = {.role = ob__fnv1a32("service"), .flags = OB_TARGET_STICKY},
	};
}

static void on_reply(struct vnode *v, void *user, uint64_t cookie, int code, const uint8_t *data,
                     size_t len)
{
	struct client *c = user;
	(void)cookie;
	(void)data;
	(void)len;
	if (code != OB_OK) {
		FAIL(test_of(v), "a message of user%u fails (%d)", c->user, code);
	}
	c->served = true;
}

static void on_closed(struct vnode *v, void *user, uint16_t code)
{
	struct client *c = user;
	(void)v;
	(void)code;
	c->closed = true;
}

static void on_frame(struct vnode *v, const struct ob__frame *f)
{
	struct test *t = test_of(v);
	bool of_users =
		f->kind == OB__FRAME_SYSTEM && f->id >= OB__SYS_BIND && f->id < OB__SYS_CANCEL;
	if (t->counting && (of_users || f->session_seq != 0)) {
		t->frames++;
		t->bytes += f->len;
		sim_say(t->world, "%s: kind %u id %u", v->node.name, (unsigned)f->kind,
		        (unsigned)f->id);
	}
}

static void boot(struct sim_node *n)
{
	static const struct vnode_ops ops = {.on_reply = on_reply, .on_closed = on_closed};
	const char *role = n->index < ROUTES             ? OB__ROLE_ROUTE
	                   : n->index < ROUTES + PROXIES ? "proxy"
	                                                 : "service";
	struct vnode *v = vnode_new(n, role, &ops);
	vnode_start(v);
	vnode_tap(v, on_frame);
	if (n->index >= ROUTES + PROXIES) {
		vnode_handler(v, OB__SLOT_LINK_ID, WORK_ID, NULL, on_work);
	} else if (n->index >= ROUTES) {
		vnode_decider(v, OB__SLOT_CLIENT_DECIDER, decide);
	}
	if (n->index > 0) {
		vnode_dial(v, sim_node(n->world, 0), OB__ROLE_ROUTE);
	}
}

static void halt(struct sim_node *n)
{
	vnode_halt(vnode_of(n));
}

/* ---- clients ---- */

static struct sim_node *proxy_of(const struct client *c)
{
	return sim_node(c->test->world, ROUTES + c->proxy);
}

static uint64_t session_of(const struct client *c)
{
	const struct ob__conn *conn = ob__conn_get(&vnode_of(proxy_of(c))->node, c->conn);
	return conn != NULL ? conn->session->handle : 0;
}

static void come(void *arg)
{
	struct client *c = arg;
	struct vnode *v = vnode_of(proxy_of(c));
	c->conn = vnode_connect(v, c);
	if (c->conn == 0 || !vnode_send(v, c->conn, WORK_ID, 1, "x", 1)) {
		FAIL(c->test, "%s takes no client", v->node.name);
	}
}

static void on_bound(ob_ctx *ctx, const ob_user_result *res, void *arg)
{
	struct client *c = arg;
	(void)ctx;
	if (res->code != OB_OK) {
		FAIL(c->test, "user%u can't log in: %d, %s", c->user, res->code, res->text);
	}
	c->bound = true;
}

static void log_in(void *arg)
{
	struct client *c = arg;
	char name[OB__USER_MAX + 1];
	snprintf(name, sizeof(name), "user%u", c->user);
	if (ob__users_bind(vnode_of(proxy_of(c))->gen, session_of(c), name, on_bound, c) != 0) {
		FAIL(c->test, "user%u can't log in at all", c->user);
	}
}

static void log_out(void *arg)
{
	struct client *c = arg;
	char name[OB__USER_MAX + 1];
	snprintf(name, sizeof(name), "user%u", c->user);
	if (ob__users_unbind(&vnode_of(proxy_of(c))->node, session_of(c), name) != 0) {
		FAIL(c->test, "user%u can't log out", c->user);
	}
	c->bound = false;
}

static void all_do(struct test *t, uint32_t proxy, void (*fn)(void *arg))
{
	for (uint32_t i = 0; i < USERS; i++) {
		struct client *c = &t->clients[proxy][i];
		if (!sim_on(proxy_of(c), fn, c)) {
			FAIL(t, "a proxy does not run");
		}
	}
}

static void connect_all(struct test *t, uint32_t proxy)
{
	for (uint32_t i = 0; i < USERS; i++) {
		t->clients[proxy][i] = (struct client){.test = t, .user = i, .proxy = proxy};
	}
	all_do(t, proxy, come);
	sim_run(t->world, 5 * SECOND);
	for (uint32_t i = 0; i < USERS; i++) {
		if (!t->clients[proxy][i].served) {
			FAIL(t, "user%u is not served", i);
		}
	}
}

/* ---- a world ---- */

static void gather(struct test *t)
{
	uint32_t missing = t->nodes;
	for (uint32_t i = 0; i < t->nodes; i++) {
		sim_boot(sim_node(t->world, i));
		sim_run(t->world, 2000);
	}
	for (uint32_t s = 0; s < PATIENCE_S && missing > 0; s++) {
		sim_run(t->world, SECOND);
		missing = 0;
		for (uint32_t i = 0; i < t->nodes; i++) {
			const struct ob__node *node = &vnode_of(sim_node(t->world, i))->node;
			missing += node->cluster.dir.count < t->nodes - 1;
		}
	}
	if (missing > 0) {
		FAIL(t, "%u nodes have not heard of all others", missing);
	}
}

static void measure(struct test *t, enum step step, uint32_t proxy, void (*fn)(void *arg))
{
	t->frames = 0;
	t->bytes = 0;
	t->counting = true;
	all_do(t, proxy, fn);
	sim_run(t->world, 5 * SECOND);
	t->counting = false;
	printf("# %4u nodes, %s: %.2f messages, %.1f bytes\n", t->nodes, bounds[step].what,
	       (double)t->frames / USERS, (double)t->bytes / USERS);
	if (t->frames == 0 || t->frames > bounds[step].frames * USERS ||
	    t->bytes > bounds[step].bytes * USERS) {
		FAIL(t,
		     "%s is %" PRIu64 " messages and %" PRIu64 " bytes at most, and one at least",
		     bounds[step].what, bounds[step].frames, bounds[step].bytes);
	}
	for (uint32_t i = 0; i < USERS; i++) {
		if (t->clients[proxy][i].bound != (step != UNBIND) ||
		    (step == LOGIN_ELSEWHERE && !t->clients[0][i].closed)) {
			FAIL(t, "%s: it has not happened to user%u", bounds[step].what, i);
		}
	}
}

static void live(struct test *t)
{
	gather(t);
	connect_all(t, 0);
	measure(t, BIND, 0, log_in);
	connect_all(t, 1);
	measure(t, LOGIN_ELSEWHERE, 1, log_in);
	measure(t, UNBIND, 1, log_out);
}

static bool run(uint32_t nodes, bool loud)
{
	static const struct sim_ops ops = {.boot = boot, .halt = halt};
	static struct test test;
	const struct sim_options o = {.seed = nodes, .nodes = nodes, .loud = loud};
	jmp_buf where;
	test = (struct test){.nodes = nodes};
	test.world = sim_new(&o, &ops, &test);
	sim_catch(test.world, &where);
	if (setjmp(where) != 0) {
		printf("# %u nodes: %s (t/sim/mesh/mesh_binds %u shows it)\n", nodes, sim_why(),
		       nodes);
		return false;
	}
	live(&test);
	sim_free(test.world);
	return true;
}

static bool is_long(void)
{
	const char *value = getenv("OB_LONG");
	return value != NULL && *value != '\0' && strcmp(value, "0") != 0;
}

int main(int argc, char **argv)
{
	static const uint32_t sizes[NODES_LEN] = {10, 100, 1000};
	uint32_t chosen = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 0;
	bool good = true;
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("1..1\n");
	if (chosen > SIM_NODES_MAX || (argc > 1 && chosen < ROUTES + PROXIES + 1)) {
		fprintf(stderr, "usage: mesh_binds [NODES]\n");
		return 2;
	}
	for (uint32_t i = 0; i < (is_long() ? NODES_LEN : NODES_LEN - 1) && chosen == 0; i++) {
		good = run(sizes[i], false) && good;
	}
	good = chosen == 0 ? good : run(chosen, true);
	printf("%sok 1 - what is said of a user does not grow with the nodes\n",
	       good ? "" : "not ");
	return !good;
}
