/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/* Names of messages: the table, and in whole nodes from a client's word to a handler and back. */

#include <CUnit/CUnit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/message/msgname.h"
#include "tap.h"
#include "unit/node_rig.h"

/* ---------------------------------------------------------------- the table */

static void test_ok(void)
{
	static const struct {
		const char *name;
		size_t len;
		bool ok;
	} rows[] = {
		{"a", 1, true},        {"", 0, false},     {"chat.chatHandler.send", 21, true},
		{"a\0b", 3, false},    {"a\nb", 3, false}, {"\x7f", 1, false},
		{"\xc3\xa9", 2, true}, {"\xc3", 1, false}, {"\xed\xa0\x80", 3, false},
	};
	char longest[OB_NAME_MAX + 1];

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		CU_ASSERT_EQUAL(ob__msgname_ok(rows[i].name, rows[i].len), rows[i].ok);
	}
	memset(longest, 'n', sizeof(longest));
	CU_ASSERT_TRUE(ob__msgname_ok(longest, OB_NAME_MAX));
	CU_ASSERT_FALSE(ob__msgname_ok(longest, OB_NAME_MAX + 1));
}

static void test_table(void)
{
	struct ob__msgnames n;
	uint32_t id;

	ob__msgnames_init(&n, 1);
	/* FNV-1a of "a" is 0xe40c292c, of "foobar" 0xbf9cf968 */
	CU_ASSERT_EQUAL(ob__msgname_hash("a", 1), 0x40000000u | 0x240c292cu);
	CU_ASSERT_EQUAL(ob__msgname_hash("foobar", 6), 0x40000000u | 0x3f9cf968u);
	CU_ASSERT_EQUAL(ob__msgname_id(&n, "foobar", 6), 0x7f9cf968u);
	CU_ASSERT_EQUAL(ob__msgname_id(&n, "", 0), 0);
	CU_ASSERT_PTR_NULL(ob__msgname_of(&n, 0x7f9cf968u)); /* to ask is not to know */

	CU_ASSERT_EQUAL(ob__msgname_know(&n, "foobar", 6, &id), 0);
	CU_ASSERT_EQUAL(id, 0x7f9cf968u);
	CU_ASSERT_STRING_EQUAL(ob__msgname_of(&n, id)->name, "foobar");
	CU_ASSERT_EQUAL(ob__msgname_know(&n, "foobar", 6, &id), 0);
	CU_ASSERT_EQUAL(ob__msgname_know(&n, "a\n", 2, &id), OB_E_INVAL);

	CU_ASSERT_EQUAL(ob__msgnames_choose(&n, "login", 1000), 0);
	CU_ASSERT_EQUAL(ob__msgnames_choose(&n, "logout", 1000), OB_E_EXISTS);
	CU_ASSERT_EQUAL(ob__msgname_id(&n, "login", 5), 1000);
	CU_ASSERT_EQUAL(ob__msgname_id(&n, "logi", 4), ob__msgname_hash("logi", 4));
	/* one whose letters lead to another's id */
	CU_ASSERT_EQUAL(ob__msgnames_choose(&n, "taken", ob__msgname_hash("b", 1)), 0);
	CU_ASSERT_EQUAL(ob__msgname_know(&n, "b", 1, &id), OB_E_EXISTS);
	CU_ASSERT_TRUE(ob__msgname_taken(&n, "b", 1, ob__msgname_hash("b", 1)));
	CU_ASSERT_FALSE(ob__msgname_taken(&n, "taken", 5, ob__msgname_hash("b", 1)));
	CU_ASSERT_FALSE(ob__msgname_taken(&n, "c", 1, ob__msgname_hash("c", 1)));

	json_t *shown = ob__msgnames_json(&n);
	json_t *want = rig_json("{'foobar': 2140993896, 'login': 1000}");
	CU_ASSERT_TRUE(rig_json_has(shown, want));
	json_decref(shown);
	json_decref(want);
	ob__msgnames_free(&n);
}

static void test_bound(void)
{
	struct ob__msgnames n;
	char name[16];
	uint32_t id;

	ob__msgnames_init(&n, 1);
	for (uint32_t i = 1; i <= OB__MSGNAMES_MAX; i++) {
		snprintf(name, sizeof(name), "n%u", i);
		CU_ASSERT_EQUAL_FATAL(ob__msgnames_choose(&n, name, i), 0);
	}
	CU_ASSERT_EQUAL(ob__msgname_know(&n, "more", 4, &id), OB_E_LIMIT);
	CU_ASSERT_EQUAL(ob__msgname_know(&n, "n7", 2, &id), 0);
	json_t *shown = ob__msgnames_json(&n);
	CU_ASSERT_EQUAL(json_object_size(shown), OB__MSGNAMES_SHOWN);
	json_decref(shown);
	ob__msgnames_free(&n);
}

/* A push's frame says the name; one of a host of before, which does not, is as good. */
static void test_frames(void)
{
	struct ob__msgnames here;
	struct ob__msgnames there;
	uint8_t ext[OB__MSGNAME_EXT_MAX];
	char longest[OB_NAME_MAX];
	struct ob__frame f = {.ext = ext};
	uint32_t id;

	ob__msgnames_init(&here, 1);
	ob__msgnames_init(&there, 2);
	CU_ASSERT_EQUAL(ob__msgname_ext_put(&here, 7, ext), 0);
	ob__msgname_heard(&there, &f, 7);
	CU_ASSERT_PTR_NULL(ob__msgname_of(&there, 7));

	memset(longest, 'x', sizeof(longest));
	CU_ASSERT_EQUAL(ob__msgname_know(&here, longest, sizeof(longest), &id), 0);
	f.ext_len = ob__msgname_ext_put(&here, id, ext);
	CU_ASSERT(f.ext_len > OB_NAME_MAX && f.ext_len <= OB__MSGNAME_EXT_MAX);
	ob__msgname_heard(&there, &f, id);
	CU_ASSERT_EQUAL(ob__msgname_of(&there, id)->len, OB_NAME_MAX);
	/* who has one keeps it; what is none is not heard */
	CU_ASSERT_EQUAL(ob__msgnames_choose(&there, "mine", 9), 0);
	ob__msgname_heard(&there, &f, 9);
	CU_ASSERT_STRING_EQUAL(ob__msgname_of(&there, 9)->name, "mine");
	ob__msgname_heard(&there, &f, 0);
	CU_ASSERT_EQUAL(there.by_id.count, 2);
	ext[f.ext_len - 1] = '\n';
	ob__msgname_heard(&there, &f, 10);
	CU_ASSERT_EQUAL(there.by_id.count, 2);
	ob__msgnames_free(&here);
	ob__msgnames_free(&there);
}

static void hear(struct ob__msgnames *n, const char *name, uint32_t id)
{
	uint8_t ext[OB__MSGNAME_EXT_MAX];
	struct ob__frame f = {.ext = ext};

	f.ext_len = (uint16_t)ob__frame_ext_put(ext, 0, sizeof(ext), OB__FRAME_EXT_METHOD, name,
	                                        (uint16_t)strlen(name));
	ob__msgname_heard(n, &f, id);
}

/* What others say is for encoding, has its own bound, and is nobody else's. */
static void test_heard(void)
{
	struct ob__msgnames n;
	char name[16];
	uint32_t id = ob__msgname_hash("b", 1);
	ob_view v = {.size = sizeof(v), .id = id};
	ob_packet p = {.id = id};

	ob__msgnames_init(&n, 1);
	hear(&n, "a", id);
	CU_ASSERT_EQUAL(n.by_id.count, 0);
	hear(&n, "b", id);
	ob__msgname_show(&n, &v);
	CU_ASSERT_PTR_NULL(v.name);
	ob__msgname_tell(&n, &p);
	CU_ASSERT_EQUAL(p.name_len, 1);
	CU_ASSERT_EQUAL(ob__msgname_know(&n, "b", 1, &id), 0); /* its own from here on */
	ob__msgname_show(&n, &v);
	CU_ASSERT_EQUAL(v.name_len, 1);
	CU_ASSERT_EQUAL(n.heard, 0);
	/* an own one takes its place; to others it gives no way */
	hear(&n, "x", 7);
	hear(&n, "y", 7);
	const char *x = ob__msgname_of(&n, 7)->name;
	CU_ASSERT_FALSE(ob__msgname_taken(&n, "z", 1, 7));
	CU_ASSERT_EQUAL(ob__msgnames_choose(&n, "z", 7), 0);
	CU_ASSERT_STRING_EQUAL(ob__msgname_of(&n, 7)->name, "z");
	CU_ASSERT_STRING_EQUAL(x, "x"); /* "it stays" */
	hear(&n, "x", 7);
	CU_ASSERT_STRING_EQUAL(ob__msgname_of(&n, 7)->name, "z");
	CU_ASSERT_EQUAL(n.heard, 0);
	for (uint32_t i = 1; i <= OB__MSGNAMES_MAX; i++) {
		snprintf(name, sizeof(name), "n%u", i);
		hear(&n, name, 100 + i);
	}
	CU_ASSERT_EQUAL(n.by_id.count, 2 + OB__MSGNAMES_HEARD);
	CU_ASSERT_EQUAL(ob__msgname_know(&n, "more", 4, &id), 0);
	ob__msgnames_free(&n);
}

/* ---------------------------------------------------------------- in nodes */

static struct rig_node proxy;
static struct rig_node chat;
static struct rig_node route; /* users are found by it */
static struct rig_client c;
static struct puppet at_proxy;
static struct puppet at_chat;
static ob_session client;
static char viewed[64];
static ob_req kept;

/* Lines: "NAME TEXT" or "ID TEXT"; answers and pushes "NAME TEXT", "#ID TEXT" without a name. */
static size_t line_decode(ob_ctx *ctx, void *state, uint8_t *data, size_t len, bool boundary,
                          size_t max, ob_packet *out)
{
	uint8_t *nl = memchr(data, '\n', len);
	uint8_t *blank = memchr(data, ' ', len);

	if (nl == NULL) {
		out->kind = OB_PACKET_NEED;
		out->need = len + 1;
		return 0;
	}
	out->kind = OB_PACKET_MESSAGE;
	if (data[0] >= '0' && data[0] <= '9') {
		out->id = (uint32_t)strtoul((char *)data, NULL, 10);
	} else {
		out->name = (char *)data;
		out->name_len = (size_t)(blank - data);
	}
	out->data = blank + 1;
	out->len = (size_t)(nl - blank - 1);
	return (size_t)(nl - data) + 1;
}

static size_t line_encode(ob_ctx *ctx, void *state, const ob_packet *p, uint8_t *out, size_t cap)
{
	char id[16];

	snprintf(id, sizeof(id), "#%u", p->id);
	return (size_t)snprintf((char *)out, cap, "%.*s %.*s\n",
	                        p->name != NULL ? (int)p->name_len : (int)strlen(id),
	                        p->name != NULL ? p->name : id, (int)p->len,
	                        p->len > 0 ? (const char *)p->data : "");
}

static void note(ob_ctx *ctx, ob_req req, ob_view *v)
{
	v->size = sizeof(*v);
	CU_ASSERT_EQUAL(ob_req_view(ctx, req, v), 0);
	snprintf(viewed, sizeof(viewed), "%.*s", (int)v->name_len, v->name != NULL ? v->name : "");
}

static void echo(ob_ctx *ctx, ob_req req)
{
	ob_view v;

	note(ctx, req, &v);
	client = v.session;
	ob_reply(ctx, req, v.data, v.len);
}

static void hold(ob_ctx *ctx, ob_req req)
{
	ob_view v = {.size = offsetof(ob_view, name)}; /* of a header of before */

	CU_ASSERT_EQUAL(ob_req_view(ctx, req, &v), 0);
	CU_ASSERT_EQUAL(v.size, offsetof(ob_view, name));
	CU_ASSERT_PTR_NULL(v.name);
	ob_msg msg = ob_msg_hold(ctx, &v);
	memset(&v, 0xff, sizeof(v));
	CU_ASSERT_EQUAL(ob_msg_view(ctx, msg, &v), 0);
	CU_ASSERT_EQUAL(v.len, 1);
	ob_msg_release(ctx, msg);
	CU_ASSERT_EQUAL(ob_request_hold(ctx, req), 0);
	kept = req;
}

static int filter(ob_ctx *ctx, const ob_view *v)
{
	bool denied = v->name_len == 6 && memcmp(v->name, "denied", 6) == 0;

	CU_ASSERT_TRUE(v->name == NULL || v->id == ob_name_id(ctx, "denied") || !denied);
	return denied ? OB_E_DENIED : 0;
}

static ob_verdict decide(ob_ctx *ctx, const ob_view *v)
{
	uint32_t role = v->name != NULL ? ob_route_name(ctx, v->name, v->name_len)
	                                : ob_route_role(ctx, v->id);

	return (ob_verdict){.action = role != 0 ? OB_FORWARD : OB_LOCAL, .target = {.role = role}};
}

static int start_proxy(ob_ctx *ctx, const json_t *conf)
{
	static const ob_codec line = {
		.size = sizeof(line),
		.flags = OB_CODEC_STREAM,
		.overhead = 300,
		.name = "line",
		.decode = line_decode,
		.encode = line_encode,
	};
	int rc = ob_on_codec(ctx, &line);

	rc = rc == 0 ? ob_on_filter(ctx, 1, filter) : rc;
	rc = rc == 0 ? ob_on_name(ctx, "gate.here", echo, OB_FROM_CLIENT) : rc;
	rc = rc == 0 ? ob_on_name(ctx, "chosen", echo, OB_FROM_CLIENT) : rc;
	rc = rc == 0 ? ob_on_name(ctx, "gate.hold", hold, OB_FROM_CLIENT) : rc;
	CU_ASSERT_EQUAL(ob_on_name(ctx, "gate.hold", hold, OB_FROM_CLIENT), OB_E_EXISTS);
	CU_ASSERT_EQUAL(ob_on_name(ctx, "", hold, OB_FROM_CLIENT), OB_E_INVAL);
	CU_ASSERT_EQUAL(ob_on_name(ctx, "x", hold, 0), OB_E_INVAL);
	return rc == 0 ? ob_on_client_message(ctx, decide) : rc;
}

static int start_chat(ob_ctx *ctx, const json_t *conf)
{
	int rc = ob_on_name(ctx, "chat.send", echo, OB_FROM_LINK);

	return rc == 0 ? ob_on_id(ctx, 2000, echo) : rc;
}

static uint8_t *line_end(void)
{
	return c.packets_len > 0 ? memchr(c.packets, '\n', c.packets_len) : NULL;
}

static bool line_is(const char *want)
{
	char got[256] = "";
	uint8_t *nl = RIG_UNTIL((rig_pump(&c), c.eof || line_end() != NULL)) ? line_end() : NULL;

	if (nl != NULL) {
		size_t len = (size_t)(nl - c.packets);
		snprintf(got, sizeof(got), "%.*s", (int)len, (char *)c.packets);
		memmove(c.packets, nl + 1, c.packets_len - len - 1);
		c.packets_len -= len + 1;
	}
	if (strcmp(got, want) != 0) {
		printf("# got \"%s\", expected \"%s\"\n", got, want);
	}
	return strcmp(got, want) == 0;
}

static bool says(const char *text, const char *want)
{
	rig_send_raw(&c, text, strlen(text));
	return line_is(want);
}

static void begin(void)
{
	rig_begin();
	memset(&at_proxy, 0, sizeof(at_proxy));
	memset(&at_chat, 0, sizeof(at_chat));
	at_proxy.start = start_proxy;
	at_chat.start = start_chat;
	rig_start(&route, "r", "route",
	          "'rpc': {'port': %d, 'token': '" RIG_TOKEN "'}, 'modules': []", rig_port());
	rig_start(&chat, "c", "chat",
	          "'rpc': {'port': %d, 'token': '" RIG_TOKEN "'}, 'names': {'hello': 2000}, "
	          "'remote_ports': [{'port': %d}], "
	          "'modules': [{'name': 'puppet', 'conf': {'hooks': %ld}}]",
	          rig_port(), route.rpc_port, (long)(intptr_t)&at_chat);
	rig_start(&proxy, "p", "gate",
	          "'listen': [{'transport': 'tcp', 'codec': 'line', 'port': 0}], "
	          "'names': {'chosen': 77, 'hello': 2000}, "
	          "'rpc': {'token': '" RIG_TOKEN
	          "', 'route': {'range': {'chat': [[2000, 2000]]}}}, "
	          "'remote_ports': [{'port': %d}, {'port': %d}], "
	          "'modules': [{'name': 'puppet', 'conf': {'hooks': %ld}}]",
	          chat.rpc_port, route.rpc_port, (long)(intptr_t)&at_proxy);
	CU_ASSERT_TRUE_FATAL(rig_linked(&proxy, &chat));
	CU_ASSERT_TRUE_FATAL(rig_linked(&proxy, &route));
	CU_ASSERT_TRUE_FATAL(rig_linked(&chat, &route));
	rig_connect(&c, proxy.port, false);
}

static void end(void)
{
	rig_disconnect(&c);
	CU_ASSERT_TRUE(RIG_UNTIL(proxy.node->clients.conns.live == 0));
	rig_stop(&proxy);
	rig_stop(&chat);
	rig_stop(&route);
	rig_end();
}

static void test_messages(void)
{
	ob_view v = {.size = sizeof(v)};

	begin();
	CU_ASSERT_TRUE(says("gate.here 1\n", "gate.here 1"));
	CU_ASSERT_STRING_EQUAL(viewed, "gate.here");
	/* the two ways to say the same */
	CU_ASSERT_TRUE(says("chosen 2\n", "chosen 2"));
	CU_ASSERT_TRUE(says("77 3\n", "chosen 3"));
	CU_ASSERT_STRING_EQUAL(viewed, "chosen");
	/* by the first word to another role; by the route table; the service knows the name */
	char want[128]; /* the proxy does not know its name, the codec has the client's cookie */
	snprintf(want, sizeof(want), "#%u 4", ob__msgname_hash("chat.send", 9));
	CU_ASSERT_TRUE(says("chat.send 4\n", want));
	CU_ASSERT_STRING_EQUAL(viewed, "chat.send");
	CU_ASSERT_TRUE(says("hello 5\n", "hello 5"));
	CU_ASSERT_STRING_EQUAL(viewed, "hello");
	CU_ASSERT_TRUE(says("2000 6\n", "hello 6"));
	/* nobody's, a name that is none, one that a filter denies */
	CU_ASSERT_EQUAL(ob_name_id(at_proxy.ctx, "no.such"), ob__msgname_hash("no.such", 7));
	rig_send_raw(&c, "no.such 7\na\x01 8\ndenied 9\n", 24);
	snprintf(want, sizeof(want), "#%u {\"code\":404,\"error\":\"no handler for this id\"}",
	         ob__msgname_hash("no.such", 7));
	CU_ASSERT_TRUE(line_is(want));
	CU_ASSERT_TRUE(line_is("#0 {\"code\":400,\"error\":\"a message name is 1 to 255 bytes of "
	                       "text without control characters\"}"));
	CU_ASSERT_TRUE(RIG_UNTIL((rig_pump(&c), c.packets_len > 0)));
	CU_ASSERT_PTR_NOT_NULL(strstr((char *)c.packets, "\"code\":403"));
	c.packets_len = 0;

	/* one that leads to another's id is not that */
	CU_ASSERT_EQUAL(
		ob__msgnames_choose(&proxy.node->msgnames, "gate.other", ob__msgname_hash("b", 1)),
		0);
	CU_ASSERT_TRUE(says("b 9\n", "#0 {\"code\":400,\"error\":\"the id of this name is another "
	                             "name's\"}"));

	/* what is held keeps what the node knows */
	rig_send_raw(&c, "gate.hold x\n", 12);
	CU_ASSERT_TRUE(RIG_UNTIL(kept != 0));
	CU_ASSERT_EQUAL(ob_req_view(at_proxy.ctx, kept, &v), 0);
	CU_ASSERT_STRING_EQUAL(v.name, "gate.hold");
	CU_ASSERT_EQUAL(ob_reply(at_proxy.ctx, kept, "y", 1), 0);
	CU_ASSERT_TRUE(line_is("gate.hold y"));
	CU_ASSERT_TRUE(rig_admin_expect(&proxy, "routes", NULL, 200,
	                                "{'names': {'chosen': 77, 'hello': 2000}}"));
	end();
}

static void on_bound(ob_ctx *ctx, const ob_user_result *res, void *arg)
{
	CU_ASSERT_EQUAL(res->code, OB_OK);
	*(bool *)arg = true;
}

/* Names that only the sender knows reach the client, whichever way a push goes. */
static void test_pushes(void)
{
	ob_session list[1];
	const char *users[] = {"ann"};

	begin();
	CU_ASSERT_TRUE(says("2000 1\n", "hello 1"));
	ob_ctx *ctx = at_chat.ctx;
	list[0] = client;
	CU_ASSERT_EQUAL(ob_push_name(ctx, client, "chat.one", "a", 1), 0);
	CU_ASSERT_TRUE(line_is("chat.one a"));
	CU_ASSERT_EQUAL(ob_push_many_name(ctx, list, 1, "chat.many", "b", 1), 1);
	CU_ASSERT_TRUE(line_is("chat.many b"));
	CU_ASSERT_EQUAL(ob_push_all_name(ctx, ob_role(ctx, "gate"), "chat.all", "c", 1), 1);
	CU_ASSERT_TRUE(line_is("chat.all c"));
	CU_ASSERT_EQUAL(ob_push(ctx, client, 5, "d", 1), 0); /* as from hosts of before */
	CU_ASSERT_TRUE(line_is("#5 d"));
	CU_ASSERT_EQUAL(ob_push_name(ctx, client, "", "x", 1), OB_E_INVAL);
	CU_ASSERT_STRING_EQUAL(ob_name_of(at_proxy.ctx, ob_name_id(ctx, "chat.many")), "chat.many");
	CU_ASSERT_PTR_NULL(ob_name_of(at_proxy.ctx, ob_name_id(ctx, "chat.user")));

	bool bound = false;
	CU_ASSERT_EQUAL(ob_session_bind(ctx, client, "ann", on_bound, &bound), 0);
	CU_ASSERT_TRUE(RIG_UNTIL(bound));
	CU_ASSERT_EQUAL(ob_push_user_name(ctx, "ann", "chat.user", "e", 1), 0);
	CU_ASSERT_TRUE(line_is("chat.user e"));
	CU_ASSERT_EQUAL(ob_push_users_name(ctx, users, 1, "chat.users", "f", 1), 1);
	CU_ASSERT_TRUE(line_is("chat.users f"));
	end();
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("msgname", NULL, NULL);
	CU_add_test(s, "what is a name", test_ok);
	CU_add_test(s, "ids", test_table);
	CU_add_test(s, "a bound", test_bound);
	CU_add_test(s, "in frames", test_frames);
	CU_add_test(s, "from others", test_heard);
	CU_add_test(s, "clients' messages", test_messages);
	CU_add_test(s, "pushes", test_pushes);
	return ob__tap_run();
}
