/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/* Transports of modules in whole nodes: two that have nothing else between them. */

#include <CUnit/CUnit.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <obhost/mock.h>

#include "host/cluster/transport.h"
#include "tap.h"
#include "unit/node_rig.h"

#define HOOKS(p) (long)(intptr_t)(p)

static struct rig_node one; /* listens */
static struct rig_node two; /* dials */
static struct puppet at_one;
static struct puppet at_two;

/* ---------------------------------------------------------------- the transport */

static struct {
	int dials;
	int listens;
	int checks;
	int dial_says;   /* not 0: instead of a socket */
	int listen_says; /* not 0: instead of a socket */
	int give;        /* not 0: this descriptor */
	const char *name;
	uint32_t flags;
	bool no_listen;
} fake;

/* Abstract unix sockets, with the process in the name. */
static socklen_t fill(struct sockaddr_un *a, const char *address)
{
	*a = (struct sockaddr_un){.sun_family = AF_UNIX};
	int n = snprintf(a->sun_path + 1, sizeof(a->sun_path) - 1, "obhost-%ld-%s", (long)getpid(),
	                 address);
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
}

static int check_address(ob_ctx *ctx, const char *address, ob_err *err)
{
	fake.checks++;
	return strcmp(address, "wrong") == 0 ? ob_err_set(err, "what is \"%s\"?", address) : 0;
}

static int dial(ob_ctx *ctx, const char *address, int *fd, ob_err *err)
{
	struct sockaddr_un a;
	socklen_t len = fill(&a, address);

	fake.dials++;
	if (fake.dial_says != 0) {
		return fake.dial_says;
	}
	if (fake.give != 0) {
		*fd = fake.give;
		return 0;
	}
	*fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	if (connect(*fd, (struct sockaddr *)&a, len) < 0) {
		int code = errno;
		close(*fd);
		ob_err_set(err, "%s: nobody", address);
		return -code;
	}
	return 0;
}

static int bind_name(ob_ctx *ctx, const char *address, int *fd, ob_err *err)
{
	struct sockaddr_un a;
	socklen_t len = fill(&a, address);

	fake.listens++;
	if (fake.listen_says != 0) {
		return fake.listen_says;
	}
	if (fake.give != 0) {
		*fd = fake.give;
		return 0;
	}
	*fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	if (bind(*fd, (struct sockaddr *)&a, len) < 0) {
		int code = errno;
		close(*fd);
		ob_err_set(err, "%s: is taken", address);
		return -code;
	}
	return 0;
}

static int offer(ob_ctx *ctx, const json_t *conf)
{
	const ob_transport t = {
		.size = sizeof(t),
		.flags = fake.flags,
		.name = fake.name,
		.dial = dial,
		.listen = fake.no_listen ? NULL : bind_name,
		.check = check_address,
	};

	return ob_on_transport(ctx, &t);
}

static void who(ob_ctx *ctx, ob_req req)
{
	ob_node_info me = {.size = sizeof(me)};

	ob_node(ctx, &me);
	ob_reply_json(ctx, req, "s", me.name);
}

static int offer_and_answer(ob_ctx *ctx, const json_t *conf)
{
	int rc = offer(ctx, conf);

	return rc == 0 ? ob_on_method(ctx, "t.who", who, 0) : rc;
}

/* ---------------------------------------------------------------- nodes */

static const char *more = "";
static const char *listen_entry = "{'transport': 'fake', 'address': 'one'}";
static const char *remote_entry = "{'transport': 'fake', 'address': 'one'}";

#define ONE                                                                  \
	"'rpc': {'token': '" RIG_TOKEN "', %s 'listen': [%s]}, 'modules': [" \
	"'service', {'name': 'puppet', 'conf': {'hooks': %ld}}]"
#define TWO                                                                            \
	"'rpc': {'token': '" RIG_TOKEN "', 'reconnect_time': 0.05, %s 'weight': 100}," \
	"'remote_ports': [%s], 'modules': ['service', {'name': 'puppet', 'conf': "     \
	"{'hooks': %ld}}]"

static void begin(void)
{
	rig_begin();
	memset(&fake, 0, sizeof(fake));
	memset(&at_one, 0, sizeof(at_one));
	memset(&at_two, 0, sizeof(at_two));
	fake.name = "fake";
	fake.flags = OB_TRANSPORT_LOCAL;
	at_one.start = offer_and_answer;
	at_two.start = offer;
	more = "";
	listen_entry = remote_entry = "{'transport': 'fake', 'address': 'one'}";
}

static void start_one(void)
{
	rig_start(&one, "one", "one", ONE, more, listen_entry, HOOKS(&at_one));
}

static void start_two(void)
{
	rig_start(&two, "two", "two", TWO, more, remote_entry, HOOKS(&at_two));
}

static bool entry_is(const char *json)
{
	char text[512];

	snprintf(text, sizeof(text), "{'remote_ports': [%s]}", json);
	json_t *part = rig_json(text);
	json_t *body = NULL;
	bool is = rig_admin(&two, "peers", NULL, &body) == 200 && rig_json_has(body, part);
	json_decref(part);
	json_decref(body);
	return is;
}

static int ended;
static char answer[64];

static void call_ended(ob_ctx *ctx, ob_call_id call, const ob_call_result *res, void *arg)
{
	ended++;
	snprintf(answer, sizeof(answer), "%.*s", (int)res->len,
	         res->len > 0 ? (const char *)res->data : res->text);
}

static bool calls_work(void)
{
	ob_target to = {.node = ob__node_id("one")};
	int before = ended;

	ob_call_method(at_two.ctx, &to, "t.who", 0, "", 0, 1000, call_ended, NULL);
	return RIG_UNTIL(ended > before) && strcmp(answer, "\"one\"") == 0;
}

/* ---------------------------------------------------------------- tests */

static void test_links(void)
{
	begin();
	start_one();
	start_two();
	CU_ASSERT_TRUE_FATAL(rig_linked(&one, &two));
	CU_ASSERT_TRUE(calls_work());
	CU_ASSERT_EQUAL(fake.listens, 1);
	CU_ASSERT_TRUE(rig_admin_expect(&two, "peers", NULL, 200,
	                                "{'peers': [{'name': 'one', 'address': 'fake:one', "
	                                "'direction': 'dialled'}], 'transports': {'tcp': "
	                                "{'built_in': true}, 'fake': {'built_in': false, "
	                                "'module': 'puppet', 'listening': []}}}"));
	CU_ASSERT_TRUE(rig_admin_expect(&one, "peers", NULL, 200,
	                                "{'peers': [{'name': 'two', 'address': 'fake:one', "
	                                "'direction': 'accepted'}], 'transports': {'fake': "
	                                "{'listening': ['one']}}}"));
	rig_stop(&one);
	CU_ASSERT_TRUE(
		RIG_UNTIL(entry_is("{'state': 'waiting', 'error': 'fake: one: nobody', 'address': "
	                           "'fake:one'}")));
	CU_ASSERT_TRUE(rig_metric(&two, "obhost_transport_failed_total{transport=\"fake\"}") >= 1);
	start_one();
	CU_ASSERT_TRUE_FATAL(rig_linked(&one, &two));
	rig_stop(&one);
	rig_stop(&two);
	rig_end();
}

/* With TLS of a key from the token below the hello. */
static void test_encrypted(void)
{
	begin();
	more = "'encode': 1,";
	start_one();
	start_two();
	CU_ASSERT_TRUE_FATAL(rig_linked(&one, &two));
	CU_ASSERT_TRUE(calls_work());
	char tls[64];
	ob__stream_cipher(&rig_peer(&two, &one)->link->stream, tls, sizeof(tls));
	CU_ASSERT_TRUE(strncmp(tls, "TLSv1.3 ", 8) == 0);
	rig_stop(&one);
	rig_stop(&two);
	rig_end();
}

/* Its module is exchanged, taken out, and comes back. */
static void test_swap(void)
{
	begin();
	start_one();
	start_two();
	CU_ASSERT_TRUE_FATAL(rig_linked(&one, &two));
	struct ob__link *before = rig_peer(&two, &one)->link;
	CU_ASSERT_TRUE(rig_admin_expect(&two, "modules.reload", "{'name': 'puppet', 'force': true}",
	                                200, "{'result': 'switched'}"));
	CU_ASSERT_TRUE(rig_admin_expect(&one, "modules.reload", "{'name': 'puppet', 'force': true}",
	                                200, "{'result': 'switched'}"));
	CU_ASSERT_TRUE(calls_work());
	CU_ASSERT_PTR_EQUAL(rig_peer(&two, &one)->link, before);
	CU_ASSERT_EQUAL(fake.dials, 1);

	CU_ASSERT_TRUE(rig_admin_expect(&two, "modules.unload", "{'name': 'puppet'}", 200, "{}"));
	CU_ASSERT_TRUE(rig_admin_expect(&one, "modules.unload", "{'name': 'puppet'}", 200, "{}"));
	rig_turn_ms(20);
	CU_ASSERT_PTR_EQUAL(rig_peer(&two, &one)->link, before); /* it is the host's */
	ob__peer_close(two.node->links, rig_peer(&two, &one), "for a test");
	CU_ASSERT_TRUE(RIG_UNTIL(
		entry_is("{'state': 'no transport', 'error': 'no loaded module offers the "
	                 "transport fake'}")));
	CU_ASSERT_TRUE(rig_admin_expect(&two, "peers", NULL, 200,
	                                "{'transports': {'fake': {'module': null}}}"));
	/* What it once bound is listened on still. */
	char load[128];
	snprintf(load, sizeof(load), "{'name': 'puppet', 'conf': {'hooks': %ld}}", HOOKS(&at_two));
	CU_ASSERT_TRUE(rig_admin_expect(&two, "modules.load", load, 200, "{}"));
	CU_ASSERT_TRUE_FATAL(rig_linked(&one, &two));
	CU_ASSERT_EQUAL(fake.listens, 1);
	rig_stop(&one);
	rig_stop(&two);
	rig_end();
}

/* A module that gives no sockets, or things that are none. */
static void test_no_sense(void)
{
	static const struct {
		int says;
		int give;
		const char *error;
	} rows[] = {
		{-ECONNREFUSED, 0, "fake: connection refused"},
		{OB_E_NOT_FOUND, 0, "fake: no such"},
		{7, 0, "fake: module puppet answered 7, which is no code"},
		{0, 99999, "fake: module puppet gave descriptor 99999, which is no stream socket"},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		begin();
		fake.dial_says = rows[i].says;
		fake.give = rows[i].give;
		start_two();
		CU_ASSERT_TRUE(RIG_UNTIL(fake.dials >= 2));
		json_t *body = NULL;
		CU_ASSERT_EQUAL(rig_admin(&two, "peers", NULL, &body), 200);
		const json_t *entry = json_array_get(json_object_get(body, "remote_ports"), 0);
		const char *error = json_string_value(json_object_get(entry, "error"));
		CU_ASSERT_PTR_NOT_NULL_FATAL(error);
		if (strncmp(error, rows[i].error, strlen(rows[i].error)) != 0 && i != 1) {
			printf("# %s\n", error);
		}
		CU_ASSERT_TRUE(i == 1 ? strncmp(error, "fake: ", 6) == 0
		                      : strcmp(error, rows[i].error) == 0);
		CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(entry, "state")),
		                       "waiting");
		json_decref(body);
		CU_ASSERT_TRUE(RIG_UNTIL(i < 2 || rig_logged("two", rows[i].error)));
		rig_stop(&two);
		rig_end();
	}
}

static void refused_start(const char *says)
{
	int code;

	rig_write_conf(&one, "one", "one", ONE, more, listen_entry, HOOKS(&at_one));
	CU_ASSERT_PTR_NULL(rig_start_conf(&one, &code));
	if (!rig_logged("one", says)) {
		char *log = rig_log("one");
		printf("# not said: %s\n# %s\n", says, log);
		free(log);
	}
	CU_ASSERT_TRUE(rig_logged("one", says));
	rig_end();
}

/* The start is refused by what can't be listened on. */
static void test_listen_fails(void)
{
	begin();
	fake.listen_says = -EACCES;
	refused_start("rpc.listen[0]: fake: permission denied");
	begin();
	fake.no_listen = true;
	refused_start("rpc.listen[0]: the transport fake can't be listened on");
	begin();
	fake.give = 99999;
	refused_start("rpc.listen[0]: fake: module puppet gave descriptor 99999");
	begin();
	fake.give = socket(AF_UNIX, SOCK_STREAM, 0); /* not bound */
	refused_start("rpc.listen[0]: fake:one: invalid argument");
	begin();
	listen_entry = "{'transport': 'fake', 'address': 'wrong'}";
	refused_start("rpc.listen[0]: fake: what is \"wrong\"?");
	begin();
	listen_entry = "{'transport': 'fame', 'address': 'one'}";
	refused_start("rpc.listen[0]: no module of this node offers the transport \"fame\"; did "
	              "you mean \"fake\"?");
}

/* At run time, by the administration and by the file. */
static void test_refused(void)
{
	begin();
	start_one();
	start_two();
	CU_ASSERT_TRUE(rig_admin_expect(
		&two, "peers.add", "{'transport': 'fakke', 'address': 'x'}", 400,
		"{'error': {'code': 'unknown_transport', 'message': 'no module of this node offers "
		"the transport \\\"fakke\\\"; did you mean \\\"fake\\\"?'}}"));
	CU_ASSERT_TRUE(rig_admin_expect(&two, "peers.add", "{'transport': 'fake'}", 400,
	                                "{'error': {'code': 'address'}}"));
	CU_ASSERT_TRUE(rig_admin_expect(
		&two, "peers.add", "{'transport': 'fake', 'address': 'wrong'}", 400,
		"{'error': {'code': 'address', 'message': 'fake: what is \\\"wrong\\\"?'}}"));
	CU_ASSERT_TRUE(rig_admin_expect(&two, "peers.add", "{'transport': 'unix', 'address': 'x'}",
	                                400, "{'error': {'code': 'address'}}"));
	CU_ASSERT_TRUE(rig_admin_expect(&two, "peers.add",
	                                "{'transport': 'fake', 'address': 'one'}", 409, "{}"));
	CU_ASSERT_TRUE(rig_admin_expect(&two, "peers.add",
	                                "{'transport': 'fake', 'address': 'more'}", 202, "{}"));
	CU_ASSERT_TRUE(rig_admin_expect(&two, "peers.drop", "{'peer': 'fake:more'}", 200, "{}"));

	remote_entry = "{'transport': 'fakee', 'address': 'one'}";
	rig_write_conf(&two, "two", "two", TWO, more, remote_entry, HOOKS(&at_two));
	CU_ASSERT_TRUE(rig_admin_expect(&two, "config.reload", NULL, 422, "{}"));
	CU_ASSERT_TRUE(RIG_UNTIL(rig_logged("two", "remote_ports[0]: no module of this node offers "
	                                           "the transport \"fakee\"; did you mean "
	                                           "\"fake\"?")));
	/* Another address of the same transport is taken over. */
	remote_entry = "{'transport': 'fake', 'address': 'two'}";
	rig_write_conf(&two, "two", "two", TWO, more, remote_entry, HOOKS(&at_two));
	CU_ASSERT_TRUE(rig_linked(&one, &two));
	CU_ASSERT_TRUE(rig_admin_expect(&two, "config.reload", NULL, 200,
	                                "{'changed': ['remote_ports'], 'needs_restart': []}"));
	CU_ASSERT_TRUE(RIG_UNTIL(rig_peer(&two, &one) == NULL));
	rig_stop(&one);
	rig_stop(&two);
	rig_end();
}

static int wrong_offers(ob_ctx *ctx, const json_t *conf)
{
	ob_transport t = {.size = sizeof(t), .name = "x", .dial = dial};

	CU_ASSERT_EQUAL(ob_on_transport(ctx, NULL), OB_E_INVAL);
	t.dial = NULL;
	CU_ASSERT_EQUAL(ob_on_transport(ctx, &t), OB_E_INVAL);
	t.dial = dial;
	t.flags = 8;
	CU_ASSERT_EQUAL(ob_on_transport(ctx, &t), OB_E_INVAL);
	t.flags = 0;
	t.size--;
	CU_ASSERT_EQUAL(ob_on_transport(ctx, &t), OB_E_INVAL);
	t.size++;
	for (size_t i = 0; i < 4; i++) {
		t.name = (const char *[]){"tcp", "unix", "tls", "ws"}[i];
		CU_ASSERT_EQUAL(ob_on_transport(ctx, &t), OB_E_EXISTS);
	}
	for (size_t i = 0; i < 4; i++) {
		t.name = (const char *[]){"", "a b", "a.b", "a@b"}[i];
		CU_ASSERT_EQUAL(ob_on_transport(ctx, &t), OB_E_INVAL);
	}
	t.name = "x";
	CU_ASSERT_EQUAL(ob_on_transport(ctx, &t), 0);
	CU_ASSERT_EQUAL(ob_on_transport(ctx, &t), OB_E_EXISTS);
	return offer(ctx, conf);
}

static void test_offers(void)
{
	begin();
	at_two.start = wrong_offers;
	remote_entry = "";
	start_two();
	CU_ASSERT_EQUAL(at_two.starts, 1);
	CU_ASSERT_TRUE(rig_admin_expect(&two, "peers", NULL, 200,
	                                "{'transports': {'x': {'module': 'puppet'}, 'fake': "
	                                "{'module': 'puppet'}}}"));
	rig_stop(&two);
	rig_end();
}

/* A route node tells of another one, which is reached by a transport from then on. */
static void test_lazily(void)
{
	static struct rig_node route;
	int port = rig_port();

	begin();
	more = "'idle': 0,";
	rig_start(&route, "route", "route",
	          "'rpc': {'port': %d, 'token': '" RIG_TOKEN "', 'unix': false}", port);
	rig_start(&one, "one", "one",
	          "'rpc': {'token': '" RIG_TOKEN "', 'listen': [{'transport': 'fake', 'address': "
	          "'one'}]}, 'remote_ports': [{'port': %d}], 'modules': ['service', {'name': "
	          "'puppet', 'conf': {'hooks': %ld}}]",
	          port, HOOKS(&at_one));
	rig_start(&two, "two", "two",
	          "'rpc': {'token': '" RIG_TOKEN "'}, 'remote_ports': [{'port': %d}], 'modules': "
	          "['service', {'name': 'puppet', 'conf': {'hooks': %ld}}]",
	          port, HOOKS(&at_two));
	CU_ASSERT_TRUE_FATAL(rig_linked(&route, &one));
	CU_ASSERT_TRUE_FATAL(rig_linked(&route, &two));
	CU_ASSERT_TRUE(
		RIG_UNTIL(ob__registry_get(&two.node->registry, ob__node_id("one")) != NULL));
	CU_ASSERT_TRUE(RIG_UNTIL(calls_work()));
	CU_ASSERT_TRUE(rig_linked(&two, &one)); /* made for the call */
	CU_ASSERT_TRUE(rig_admin_expect(
		&two, "peers", NULL, 200,
		"{'peers': [{'name': 'route'}, {'name': 'one', 'address': 'fake:one', 'dialling': "
		"'up'}]}"));
	CU_ASSERT_TRUE(calls_work());
	rig_stop(&one);
	rig_stop(&two);
	rig_stop(&route);
	rig_end();
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("transport", NULL, NULL);
	CU_add_test(s, "two nodes with nothing else between them", test_links);
	CU_add_test(s, "encrypted", test_encrypted);
	CU_add_test(s, "the module is exchanged, goes and comes", test_swap);
	CU_add_test(s, "a module that makes no sense", test_no_sense);
	CU_add_test(s, "what can't be listened on", test_listen_fails);
	CU_add_test(s, "what is refused at run time", test_refused);
	CU_add_test(s, "what can be offered", test_offers);
	CU_add_test(s, "a node that another one tells of", test_lazily);
	return ob__tap_run();
}
