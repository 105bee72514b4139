/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "mesh/member.h"

#include <CUnit/CUnit.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/map.h"
#include "mesh/dirwire.h"
#include "mesh/proto.h"
#include "tap.h"

static const char *const addresses[] = {
	"tcp 10.0.0.1:21000",
	"unix 0123456789abcdef /run/p1.sock",
};
static const struct ob__member_range ranges[] = {{1, 10}, {100, UINT32_MAX}};
static const struct ob__member_module modules[] = {{"proxy", "1.0.0", 4}, {"chat", "2 beta", 1}};

static struct ob__member_facts facts(void)
{
	return (struct ob__member_facts){
		.name = "p1",
		.role = "proxy",
		.addresses = addresses,
		.addresses_len = 2,
		.ranges = ranges,
		.ranges_len = 2,
		.modules = modules,
		.modules_len = 2,
		.methods = 0x1122334455667788,
	};
}

static void check_p1(const struct ob__description *d)
{
	CU_ASSERT_EQUAL(d->id, ob__node_id("p1"));
	CU_ASSERT_STRING_EQUAL(d->name, "p1");
	CU_ASSERT_STRING_EQUAL(d->role, "proxy");
	CU_ASSERT_EQUAL(d->role_id, ob__fnv1a32("proxy"));
	CU_ASSERT_EQUAL_FATAL(d->addresses_len, 2);
	CU_ASSERT_STRING_EQUAL(d->addresses[1], addresses[1]);
	CU_ASSERT_EQUAL_FATAL(d->ranges_len, 2);
	CU_ASSERT_EQUAL(d->methods, 0x1122334455667788);
	CU_ASSERT_EQUAL(ob__description_range(d, 1).lo, 100);
	CU_ASSERT_EQUAL(ob__description_range(d, 1).hi, UINT32_MAX);
	struct ob__member_module m;
	size_t pos = 0;
	for (size_t i = 0; i < 2; i++) {
		CU_ASSERT_TRUE_FATAL(ob__description_module(d, &pos, &m));
		CU_ASSERT_STRING_EQUAL(m.name, modules[i].name);
		CU_ASSERT_STRING_EQUAL(m.version, modules[i].version);
		CU_ASSERT_EQUAL(m.generation, modules[i].generation);
	}
	CU_ASSERT_FALSE(ob__description_module(d, &pos, &m));
}

static void test_round_trip(void)
{
	struct ob__member_facts f = facts();
	struct ob__member m = {
		.id = ob__node_id("p1"),
		.incarnation = UINT64_C(0x1122334455667788),
		.rev = 9,
		.load = 70000,
		.weight = 250,
		.state = OB__MEMBER_UP,
		.draining = true,
	};
	CU_ASSERT_EQUAL_FATAL(ob__description_make(&m.desc, &f), 0);
	check_p1(m.desc);
	uint8_t out[OB__MEMBER_MAX];
	size_t len = ob__member_put(&m, true, out, sizeof(out));
	CU_ASSERT_EQUAL(len, OB__MEMBER_HEAD + m.desc->wire_len);
	CU_ASSERT_EQUAL(ob__member_put(&m, true, out, len - 1), 0);

	struct ob__member back;
	const uint8_t *wire;
	size_t wire_len;
	CU_ASSERT_EQUAL(ob__member_get(&back, out, len, &wire, &wire_len), (int)len);
	CU_ASSERT_EQUAL(back.id, m.id);
	CU_ASSERT_EQUAL(back.incarnation, m.incarnation);
	CU_ASSERT_EQUAL(back.rev, 9);
	CU_ASSERT_EQUAL(back.load, 70000);
	CU_ASSERT_EQUAL(back.weight, 250);
	CU_ASSERT_EQUAL(back.state, OB__MEMBER_UP);
	CU_ASSERT_TRUE(back.draining);
	CU_ASSERT_PTR_NULL(back.desc);
	CU_ASSERT_EQUAL_FATAL(ob__description_get(&back.desc, back.id, wire, wire_len), 0);
	memset(out, 0, sizeof(out)); /* it has a copy */
	check_p1(back.desc);
	CU_ASSERT_TRUE(ob__description_equal(m.desc, back.desc));
	CU_ASSERT_FALSE(ob__description_equal(m.desc, NULL));
	ob__description_unref(back.desc);

	len = ob__member_put(&m, false, out, sizeof(out));
	CU_ASSERT_EQUAL(len, OB__MEMBER_HEAD);
	CU_ASSERT_EQUAL(ob__member_get(&back, out, len, &wire, &wire_len), (int)len);
	CU_ASSERT_EQUAL(wire_len, 0);
	CU_ASSERT_PTR_NULL(back.desc);
	ob__description_unref(m.desc);

	struct ob__description *d;
	CU_ASSERT_EQUAL_FATAL(ob__description_make(&d, &f), 0);
	ob__description_unref(ob__description_ref(d));
	check_p1(d);
	ob__description_unref(d);
	ob__description_unref(NULL);
}

/* Modules that don't fit are left out, all else stays. */
static void test_too_many_modules(void)
{
	char name[OB__MEMBER_NAME];
	memset(name, 'm', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	struct ob__member_module many[OB__MEMBER_MODULES];
	for (size_t i = 0; i < OB__MEMBER_MODULES; i++) {
		many[i] = (struct ob__member_module){name, name, (uint32_t)i};
	}
	struct ob__member_facts f = facts();
	f.modules = many;
	f.modules_len = OB__MEMBER_MODULES;
	struct ob__description *d;
	CU_ASSERT_EQUAL_FATAL(ob__description_make(&d, &f), 0);
	CU_ASSERT(d->modules_len > 20 && d->modules_len < OB__MEMBER_MODULES);
	CU_ASSERT_EQUAL(d->ranges_len, 2);
	CU_ASSERT(OB__MEMBER_HEAD + d->wire_len <= OB__MEMBER_MAX);
	ob__description_unref(d);
}

static void test_make_refuses(void)
{
	static const char long_name[] =
		"0123456789012345678901234567890123456789012345678901234567890123";
	static const char *const bad_address[] = {"tcp nowhere"};
	static const struct ob__member_range upside_down[] = {{2, 1}};
	struct ob__description *d;
	struct ob__member_facts rows[8];
	for (size_t i = 0; i < 8; i++) {
		rows[i] = facts();
	}
	rows[0].name = "";
	rows[1].name = long_name; /* 64 without its terminator */
	rows[2].name = "p 1";
	rows[3].role = "pro\nxy";
	rows[4].addresses = bad_address;
	rows[4].addresses_len = 1;
	rows[5].ranges = upside_down;
	rows[5].ranges_len = 1;
	rows[6].addresses_len = OB__MEMBER_ADDRESSES + 1;
	rows[7].ranges_len = OB__MEMBER_RANGES + 1;
	for (size_t i = 0; i < 8; i++) {
		CU_ASSERT_EQUAL(ob__description_make(&d, &rows[i]), -EINVAL);
	}
}

static size_t field(uint8_t *out, uint8_t type, const void *value, size_t len)
{
	out[0] = type;
	out[1] = 0;
	out[2] = (uint8_t)len;
	out[3] = (uint8_t)(len >> 8);
	memcpy(out + 4, value, len);
	return 4 + len;
}

#define NAME "\1\0\3\0p1"
#define ROLE "\2\0\6\0proxy"

static void test_description_refuses(void)
{
	static const uint8_t ok[] = NAME "\0" ROLE; /* the last text's zero is the literal's */
	static const struct {
		const char *name;
		size_t at; /* a byte to change, */
		int to;
		size_t len; /* or where to cut; 0: nowhere */
		int code;
	} rows[] = {
		{"as it is", 0, 1, 0, 0},
		{"an unknown field instead of the name", 0, 77, 0, -EPROTO},
		{"another name than the id's", 5, '2', 0, -EPROTO},
		{"a name with a blank", 5, ' ', 0, -EPROTO},
		{"a name without its terminator", 6, 'x', 0, -EPROTO},
		{"a name that ends early", 5, 0, 0, -EPROTO},
		{"a second byte", 1, 1, 0, -EPROTO},
		{"a length beyond the end", 9, 7, 0, -EPROTO},
		{"no role", 0, 1, 7, -EPROTO},
		{"a role cut off", 0, 1, sizeof(ok) - 1, -EPROTO},
		{"half a field's head", 0, 1, 9, -EPROTO},
		{"the name twice", 7, 1, 0, -EPROTO},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint8_t bytes[sizeof(ok)];
		memcpy(bytes, ok, sizeof(ok));
		bytes[rows[i].at] = (uint8_t)rows[i].to;
		int rc = ob__description_get(NULL, ob__node_id("p1"), bytes,
		                             rows[i].len != 0 ? rows[i].len : sizeof(ok));
		if (rc != rows[i].code) {
			printf("# %s: %d\n", rows[i].name, rc);
		}
		CU_ASSERT_EQUAL(rc, rows[i].code);
	}
}

static void test_bounds(void)
{
	static const uint8_t base[] = NAME "\0" ROLE;
	static const uint8_t zero[8 * (OB__MEMBER_RANGES + 1)];
	static const struct {
		uint8_t type;
		const void *value;
		size_t len;
		unsigned times;
		int code;
	} rows[] = {
		{3, "tcp a:1", 8, OB__MEMBER_ADDRESSES, 0},
		{3, "tcp a:1", 8, OB__MEMBER_ADDRESSES + 1, -EMSGSIZE},
		{4, zero, 8 * OB__MEMBER_RANGES, 1, 0},
		{4, zero, 8 * (OB__MEMBER_RANGES + 1), 1, -EMSGSIZE},
		{4, zero, 8, 2, -EPROTO}, /* once */
		{4, zero, 7, 1, -EPROTO},
		{5, "\1\0\0\0m\0001", 8, OB__MEMBER_MODULES, 0},
		{5, "\1\0\0\0m\0001", 8, OB__MEMBER_MODULES + 1, -EMSGSIZE},
		{5, "\1\0\0\0m", 6, 1, -EPROTO}, /* no version */
		{5, "\1\0\0", 3, 1, -EPROTO},    /* no name */
		{6, "12345678", 8, 1, 0},
		{6, "12345678", 8, 2, -EPROTO}, /* once */
		{6, "12345678", 7, 1, -EPROTO},
		{6, zero, 8, 1, -EPROTO},        /* then it is left out */
		{200, zero, 8, 100, 0},          /* unknown ones are skipped */
		{200, zero, 264, 16, -EMSGSIZE}, /* but a record has an end */
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint8_t bytes[2 * OB__MEMBER_MAX];
		size_t len = sizeof(base);
		memcpy(bytes, base, len);
		for (unsigned n = 0; n < rows[i].times; n++) {
			len += field(bytes + len, rows[i].type, rows[i].value, rows[i].len);
		}
		int rc = ob__description_get(NULL, ob__node_id("p1"), bytes, len);
		if (rc != rows[i].code) {
			printf("# row %zu: %d\n", i, rc);
		}
		CU_ASSERT_EQUAL(rc, rows[i].code);
	}
}

static void test_head_refuses(void)
{
	static const struct {
		size_t at;
		int to;
		size_t len;
		int code;
	} rows[] = {
		{27, 1, OB__MEMBER_HEAD, OB__MEMBER_HEAD},
		{27, 0xfe, OB__MEMBER_HEAD, OB__MEMBER_HEAD}, /* unknown flags are skipped */
		{0, 0, OB__MEMBER_HEAD, -EPROTO},             /* id 0 */
		{16, 0, OB__MEMBER_HEAD, -EPROTO},            /* up, and rev 0 */
		{26, OB__MEMBER_DRAINING, OB__MEMBER_HEAD, -EPROTO},
		{26, OB__MEMBER_LEFT + 1, OB__MEMBER_HEAD, -EPROTO},
		{28, 1, OB__MEMBER_HEAD, -EPROTO},      /* a description beyond the end */
		{29, 0x10, OB__MEMBER_HEAD, -EMSGSIZE}, /* of 4096 bytes */
		{27, 0, OB__MEMBER_HEAD - 1, -EPROTO},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct ob__member m = {.id = 5, .rev = 1, .state = OB__MEMBER_UP};
		uint8_t out[OB__MEMBER_HEAD];
		const uint8_t *wire;
		size_t wire_len;
		ob__member_put(&m, false, out, sizeof(out));
		out[rows[i].at] = (uint8_t)rows[i].to;
		CU_ASSERT_EQUAL(ob__member_get(&m, out, rows[i].len, &wire, &wire_len),
		                rows[i].code);
	}
}

static void test_addresses(void)
{
	static const struct {
		const char *text;
		int kind; /* -1: refused */
		const char *where;
		int port;
	} rows[] = {
		{"tcp 10.0.0.1:21000", OB__ADDRESS_TCP, "10.0.0.1", 21000},
		{"tcp host.example:1", OB__ADDRESS_TCP, "host.example", 1},
		{"tcp [::1]:65535", OB__ADDRESS_TCP, "::1", 65535},
		{"unix 00000000000000ff /run/x y", OB__ADDRESS_UNIX, "/run/x y", 255},
		{"quic anything at all", OB__ADDRESS_TRANSPORT, "quic anything at all", 0},
		{"abstract@00000000000000ff a b", OB__ADDRESS_TRANSPORT, "abstract a b", 255},
		{"abstract@ff a", OB__ADDRESS_OTHER, "", 0},
		{"abstract@00000000000000ffa", OB__ADDRESS_OTHER, "", 0},
		{"abstract ", OB__ADDRESS_OTHER, "", 0},
		{"a.b c", OB__ADDRESS_OTHER, "", 0},
		{"0123456789012345678901234567890123456789012345678901234567890123 far too long",
	         OB__ADDRESS_OTHER, "", 0},
		{"tcp", OB__ADDRESS_OTHER, "", 0},
		{"tcp :1", -1, "", 0},
		{"tcp host", -1, "", 0},
		{"tcp host:", -1, "", 0},
		{"tcp host:0", -1, "", 0},
		{"tcp host:65536", -1, "", 0},
		{"tcp host:1x", -1, "", 0},
		{"tcp ::1:5", -1, "", 0},
		{"tcp []:5", -1, "", 0},
		{"tcp a b:5", -1, "", 0},
		{"unix 00000000000000f /run/x", -1, "", 0},
		{"unix 00000000000000FF /run/x", -1, "", 0},
		{"unix 00000000000000ff run/x", -1, "", 0},
		{"unix 00000000000000ff ", -1, "", 0},
		{"", -1, "", 0},
		{" tcp", -1, "", 0},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct ob__address a;
		char back[OB__MEMBER_ADDRESS];
		int rc = ob__address_get(&a, rows[i].text);
		if ((rc == 0) != (rows[i].kind >= 0)) {
			printf("# %s: %d\n", rows[i].text, rc);
		}
		CU_ASSERT_EQUAL(rc, rows[i].kind >= 0 ? 0 : -EINVAL);
		if (rc < 0) {
			continue;
		}
		CU_ASSERT_EQUAL((int)a.kind, rows[i].kind);
		char both[300];
		snprintf(both, sizeof(both), "%s%s%s", a.host,
		         a.kind == OB__ADDRESS_TRANSPORT ? " " : "", a.path);
		CU_ASSERT_STRING_EQUAL(both, rows[i].where);
		CU_ASSERT_EQUAL(a.machine != 0 ? (int)a.machine : a.port, rows[i].port);
		CU_ASSERT_EQUAL(ob__address_put(&a, back),
		                a.kind == OB__ADDRESS_OTHER ? -EINVAL : 0);
		if (a.kind != OB__ADDRESS_OTHER) {
			CU_ASSERT_STRING_EQUAL(back, rows[i].text);
		}
	}
	struct ob__address a = {.kind = OB__ADDRESS_TCP, .host = "a b", .port = 1};
	char out[OB__MEMBER_ADDRESS];
	CU_ASSERT_EQUAL(ob__address_put(&a, out), -EINVAL);
	/* It would be read as another kind. */
	a = (struct ob__address){.kind = OB__ADDRESS_TRANSPORT, .host = "tcp", .path = "h:1"};
	CU_ASSERT_EQUAL(ob__address_put(&a, out), -EINVAL);
	a = (struct ob__address){.kind = OB__ADDRESS_TRANSPORT, .host = "a b", .path = ""};
	CU_ASSERT_EQUAL(ob__address_put(&a, out), -EINVAL);
}

static void test_messages(void)
{
	uint8_t out[OB__DELTA_HEAD];
	struct ob__beat b = {.incarnation = 1, .rev = 2, .load = 3};
	ob__beat_put(out, &b);
	memset(&b, 0, sizeof(b));
	CU_ASSERT_EQUAL(ob__beat_get(&b, out, OB__BEAT_SIZE), 0);
	CU_ASSERT(b.incarnation == 1 && b.rev == 2 && b.load == 3);
	CU_ASSERT_EQUAL(ob__beat_get(&b, out, OB__BEAT_SIZE - 1), -EPROTO);
	CU_ASSERT_EQUAL(ob__beat_get(&b, out, OB__BEAT_SIZE + 1), -EPROTO);

	struct ob__subscribe s = {.boot = 4, .seq = 5};
	ob__subscribe_put(out, &s);
	memset(&s, 0, sizeof(s));
	CU_ASSERT_EQUAL(ob__subscribe_get(&s, out, OB__SUBSCRIBE_SIZE), 0);
	CU_ASSERT(s.boot == 4 && s.seq == 5);
	CU_ASSERT_EQUAL(ob__subscribe_get(&s, out, OB__SUBSCRIBE_SIZE - 1), -EPROTO);

	static const struct {
		struct ob__delta d;
		int code;
	} deltas[] = {
		{{6, 7, 8, OB__DELTA_SETTLING | OB__DELTA_BEGIN | OB__DELTA_MORE}, 0},
		{{6, 7, 1, OB__DELTA_ANSWER}, 0},
		{{6, 7, 2, OB__DELTA_ANSWER}, -EPROTO},
		{{6, 7, 1, OB__DELTA_ANSWER | OB__DELTA_MORE}, -EPROTO},
		{{6, 7, 1, OB__DELTA_ANSWER | OB__DELTA_BEGIN}, -EPROTO},
		{{0, 7, 1, 0}, -EPROTO}, /* boot 0 */
	};
	for (size_t i = 0; i < sizeof(deltas) / sizeof(deltas[0]); i++) {
		struct ob__delta d;
		ob__delta_put(out, &deltas[i].d);
		CU_ASSERT_EQUAL(ob__delta_get(&d, out, OB__DELTA_HEAD), deltas[i].code);
		CU_ASSERT(d.boot == deltas[i].d.boot && d.seq == 7);
		CU_ASSERT(d.records == deltas[i].d.records && d.flags == deltas[i].d.flags);
		CU_ASSERT_EQUAL(ob__delta_get(&d, out, OB__DELTA_HEAD - 1), -EPROTO);
	}
	for (int kind = 0; kind < OB__DIR_KINDS; kind++) {
		CU_ASSERT_EQUAL(ob__dir_kind(OB__SYS_MEMBER_ANNOUNCE + (uint32_t)kind), kind);
		CU_ASSERT_STRING_NOT_EQUAL(ob__dir_kind_word((enum ob__dir_kind)kind), "?");
	}
	CU_ASSERT_EQUAL(ob__dir_kind(OB__SYS_NAME), -1);
	CU_ASSERT_EQUAL(ob__dir_kind(OB__SYS_MEMBER_AGAIN + 1), -1);
	CU_ASSERT_TRUE(ob__dir_kind_for_view(OB__DIR_ASK));
	CU_ASSERT_FALSE(ob__dir_kind_for_view(OB__DIR_DELTA));
	CU_ASSERT_STRING_EQUAL(ob__member_state_word(OB__MEMBER_SUSPECT), "suspect");
	CU_ASSERT_STRING_EQUAL(ob__member_state_word(99), "?");
	CU_ASSERT_STRING_EQUAL(ob__dir_reason(-EACCES), "a record that is not the sender's own");
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("member", NULL, NULL);
	CU_add_test(s, "a record comes back as it was", test_round_trip);
	CU_add_test(s, "modules that don't fit are left out", test_too_many_modules);
	CU_add_test(s, "what can't be described", test_make_refuses);
	CU_add_test(s, "descriptions that are refused", test_description_refuses);
	CU_add_test(s, "everything has a bound", test_bounds);
	CU_add_test(s, "heads that are refused", test_head_refuses);
	CU_add_test(s, "addresses", test_addresses);
	CU_add_test(s, "the other messages", test_messages);
	return ob__tap_run();
}
