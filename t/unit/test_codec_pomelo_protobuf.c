/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/* codec_pomelo's protobuf: to the byte what pomelo-protobuf 0.4.0 writes, and back. */

#include <stdlib.h>
#include <string.h>

#include <CUnit/CUnit.h>

#include "modules/codec_pomelo/protobuf.h"
#include "tap.h"

#define ROWS(table) (sizeof(table) / sizeof((table)[0]))
#define ROOM        4096

static struct pomelo_bytes scratch;

static void fail_row(const char *why)
{
	CU_FAIL("a row failed");
	fprintf(stdout, "# row: %s\n", why);
}

static json_t *json(const char *text)
{
	json_t *value = json_loads(text, JSON_DECODE_ANY, NULL);

	if (value == NULL) {
		fprintf(stdout, "# %s\n", text);
	}
	CU_ASSERT_PTR_NOT_NULL_FATAL(value);
	return value;
}

static size_t unhex(const char *text, uint8_t *out, size_t cap)
{
	size_t len = strlen(text) / 2;

	CU_ASSERT_FATAL(len <= cap);
	for (size_t i = 0; i < len; i++) {
		char pair[3] = {text[2 * i], text[2 * i + 1], '\0'};

		out[i] = (uint8_t)strtoul(pair, NULL, 16);
	}
	return len;
}

/* The protos of {"r": source, "message Top": {"required uInt32 n": 1}}. */
static struct pomelo_protos protos_of(const char *source)
{
	struct pomelo_protos protos = {0};
	json_t *all = json("{\"message Top\": {\"required uInt32 n\": 1}}");
	ob_err err = {""};

	json_object_set_new(all, "r", json(source));
	if (pomelo_protos_read(&protos, "protos", all, &err) != 0) {
		fprintf(stdout, "# %s: %s\n", source, err.text);
		CU_FAIL_FATAL("protos");
	}
	json_decref(all);
	return protos;
}

static const struct pomelo_proto *route(const struct pomelo_protos *protos)
{
	int at = pomelo_protos_find(protos, "r", 1);

	CU_ASSERT_FATAL(at >= 0);
	return protos->routes[at];
}

/* ---- both ways ---- */

struct vector {
	const char *why;
	const char *proto;
	const char *message;
	const char *hex;
};

#define V(type)    "{\"required " type " v\": 1}"
#define LIST(type) "{\"repeated " type " v\": 1}"
#define NESTED \
	"{\"required P p\": 2, \"repeated P q\": 3, \"message P\": {\"required uInt32 x\": 1}}"

static const struct vector vectors[] = {
	{"0", V("uInt32"), "{\"v\": 0}", "0800"},
	{"300", V("uInt32"), "{\"v\": 300}", "08ac02"},
	{"2^32-1", V("uInt32"), "{\"v\": 4294967295}", "08ffffffff0f"},
	{"2^40", V("uInt32"), "{\"v\": 1099511627776}", "08808080808020"},
	{"2^53", V("uInt32"), "{\"v\": 9007199254740992}", "088080808080808010"},
	{"int32 1", V("int32"), "{\"v\": 1}", "0802"},
	{"int32 -1", V("int32"), "{\"v\": -1}", "0801"},
	{"int32 -2^31", V("int32"), "{\"v\": -2147483648}", "08ffffffff0f"},
	{"sInt32 is the same", V("sInt32"), "{\"v\": -1}", "0801"},
	{"-2^53", V("sInt32"), "{\"v\": -9007199254740992}", "08ffffffffffffff1f"},
	{"string", V("string"), "{\"v\": \"\xe4\xbd\xa0\"}", "0a03e4bda0"},
	{"an empty string", V("string"), "{\"v\": \"\"}", "0a00"},
	{"float", V("float"), "{\"v\": 1.5}", "0d0000c03f"},
	{"double", V("double"), "{\"v\": 1.5}", "09000000000000f83f"},
	{"a whole double", V("double"), "{\"v\": -2}", "0900000000000000c0"},
	{"uInt32 list", LIST("uInt32"), "{\"v\": [1, 2, 300]}", "08030102ac02"},
	{"string list", LIST("string"), "{\"v\": [\"a\", \"bc\"]}", "0a01610a026263"},
	{"float list", LIST("float"), "{\"v\": [1.5, 0]}", "0d020000c03f00000000"},
	{"tag 16", "{\"required string v\": 16}", "{\"v\": \"x\"}", "82010178"},
	{"messages", NESTED, "{\"p\": {\"x\": 1}, \"q\": [{\"x\": 2}, {\"x\": 3}]}",
         "120208011a0208021a020803"},
	{"in the order of the object", NESTED, "{\"q\": [{\"x\": 2}], \"p\": {\"x\": 1}}",
         "1a02080212020801"},
	{"an outermost message", "{\"optional Top t\": 1}", "{\"t\": {\"n\": 5}}", "0a020805"},
	{"nothing that is optional", "{\"optional uInt32 v\": 1}", "{}", ""},
	{"an empty message in one",
         "{\"optional E e\": 1, \"message E\": {\"optional int32 x\": 1}}", "{\"e\": {}}", "0a00"},
	{"two strings, as pomelo's onAdd", "{\"required string a\": 1, \"required string b\": 2}",
         "{\"a\": \"u9\", \"b\": \"yo\"}", "0a0275391202796f"},
};

static bool holds(const struct vector *row)
{
	struct pomelo_protos protos = protos_of(row->proto);
	json_t *message = json(row->message);
	struct pomelo_bytes out = {0};
	uint8_t want[64];
	size_t len = unhex(row->hex, want, sizeof(want));

	pomelo_bytes_begin(&out, ROOM);

	bool good = pomelo_protobuf_encode(route(&protos), message, &out) && out.len == len &&
	            memcmp(len > 0 ? out.data : want, want, len) == 0;
	json_t *back = pomelo_protobuf_decode(route(&protos), want, len, &scratch);

	good = good && back != NULL && json_equal(back, message);
	json_decref(back);
	json_decref(message);
	pomelo_bytes_free(&out);
	pomelo_protos_free(&protos);
	return good;
}

static void test_vectors(void)
{
	for (size_t i = 0; i < ROWS(vectors); i++) {
		if (!holds(&vectors[i])) {
			fail_row(vectors[i].why);
		}
	}
	CU_PASS("rows");
}

/* ---- out only ---- */

struct out_row {
	const char *why;
	const char *proto;
	const char *message;
	const char *hex; /* NULL: it can't be said */
};

static const struct out_row out_rows[] = {
	{"an empty list is left out", LIST("uInt32"), "{\"v\": []}", ""},
	{"a list that is null too", LIST("string"), "{\"v\": null}", ""},
	{"what the proto has not is left out", V("uInt32"), "{\"w\": 1, \"v\": 2}", "0802"},
	{"a fraction is cut off", V("uInt32"), "{\"v\": 1.9}", "0801"},
	{"a text that is a number", V("int32"), "{\"v\": \"-1\"}", "0801"},
	{"a required field is missing", V("uInt32"), "{}", NULL},
	{"of a message in the message", NESTED, "{\"p\": {}}", NULL},
	{"below 0", V("uInt32"), "{\"v\": -1}", NULL},
	{"beyond 2^53", V("uInt32"), "{\"v\": 9007199254740994}", NULL},
	{"far beyond", V("uInt32"), "{\"v\": 1e300}", NULL},
	{"null", V("uInt32"), "{\"v\": null}", NULL},
	{"a number for a string", V("string"), "{\"v\": 1}", NULL},
	{"a string for a float", V("float"), "{\"v\": \"1\"}", NULL},
	{"the largest float", V("float"), "{\"v\": 3.4028234663852886e38}", "0dffff7f7f"},
	{"a number too large for a float", V("float"), "{\"v\": 3.5e38}", NULL},
	{"one too large below zero", V("float"), "{\"v\": -1e300}", NULL},
	{"a text for a number", V("int32"), "{\"v\": \"one\"}", NULL},
	{"no list", LIST("uInt32"), "{\"v\": 3}", NULL},
	{"no message", NESTED, "{\"p\": 3}", NULL},
	{"one of a list is wrong", LIST("uInt32"), "{\"v\": [1, \"x\"]}", NULL},
	{"no object at all", V("uInt32"), "[1]", NULL},
};

static void test_out(void)
{
	for (size_t i = 0; i < ROWS(out_rows); i++) {
		const struct out_row *row = &out_rows[i];
		struct pomelo_protos protos = protos_of(row->proto);
		json_t *message = json(row->message);
		struct pomelo_bytes out = {0};
		uint8_t want[64];
		size_t len = unhex(row->hex != NULL ? row->hex : "", want, sizeof(want));

		pomelo_bytes_begin(&out, ROOM);

		bool said = pomelo_protobuf_encode(route(&protos), message, &out);

		if (said != (row->hex != NULL) ||
		    (said && (out.len != len || memcmp(len > 0 ? out.data : want, want, len)))) {
			fail_row(row->why);
		}
		json_decref(message);
		pomelo_bytes_free(&out);
		pomelo_protos_free(&protos);
	}
	CU_PASS("rows");
}

/* ---- in only ---- */

struct in_row {
	const char *why;
	const char *proto;
	const char *hex;
	const char *message; /* NULL: it is refused */
};

static const struct in_row in_rows[] = {
	{"nothing", V("uInt32"), "", "{}"},
	{"the last one counts", V("uInt32"), "08010802", "{\"v\": 2}"},
	{"a list in two parts", LIST("uInt32"), "080101080102080103", "{\"v\": [1, 2, 3]}"},
	{"an empty list", LIST("uInt32"), "0800", "{\"v\": []}"},
	{"infinity is null", V("double"), "09000000000000f07f", "{\"v\": null}"},
	{"surrogates in a string", V("string"), "0a06eda0bdedb880",
         "{\"v\": \"\xf0\x9f\x98\x80\"}"},
	{"no UTF-8 in a string", V("string"), "0a02ff41",
         "{\"v\": \"\xef\xbf\xbd"
         "A\"}"},
	{"a float keeps its digits", V("float"), "0dcdcccc3d", "{\"v\": 0.10000000149011612}"},
	{"a key and no value", V("uInt32"), "08", NULL},
	{"a varint that goes on", V("uInt32"), "0880", NULL},
	{"a varint of nine bytes", V("uInt32"), "08808080808080808001", NULL},
	{"2^53 + 1", V("uInt32"), "088180808080808010", NULL},
	{"2^54 + 1 in zigzag", V("int32"), "088180808080808020", NULL},
	{"another tag", V("uInt32"), "1001", NULL},
	{"another wire type", V("uInt32"), "0a0101", NULL},
	{"tag 0", V("uInt32"), "0001", NULL},
	{"a string cut off", V("string"), "0a0541", NULL},
	{"a string of 2^50 bytes", V("string"), "0a808080808080808002", NULL},
	{"a float cut off", V("float"), "0d0000c0", NULL},
	{"a double cut off", V("double"), "090000", NULL},
	{"a list of more than there can be", LIST("uInt32"), "08ffffffff0f", NULL},
	{"a list cut off", LIST("float"), "0d020000c03f00", NULL},
	{"a message cut off", NESTED, "12050801", NULL},
	{"a message that goes beyond its length", NESTED, "12010801", NULL},
	{"a bad message in a list", NESTED, "1a0110", NULL},
};

static void test_in(void)
{
	for (size_t i = 0; i < ROWS(in_rows); i++) {
		const struct in_row *row = &in_rows[i];
		struct pomelo_protos protos = protos_of(row->proto);
		json_t *want = row->message != NULL ? json(row->message) : NULL;
		uint8_t data[32];
		size_t len = unhex(row->hex, data, sizeof(data));
		uint8_t *exact = malloc(len + 1); /* so that a step too far is seen */

		CU_ASSERT_PTR_NOT_NULL_FATAL(exact);
		memcpy(exact + 1, data, len);

		json_t *got = pomelo_protobuf_decode(route(&protos), exact + 1, len, &scratch);

		if ((got == NULL) != (want == NULL) || (got != NULL && !json_equal(got, want))) {
			fail_row(row->why);
		}
		free(exact);
		json_decref(got);
		json_decref(want);
		pomelo_protos_free(&protos);
	}
	CU_PASS("rows");
}

/* ---- limits ---- */

/* {"k":{"k":...}}, `depth` of them in each other. */
static json_t *chain(int depth)
{
	json_t *value = json_object();

	for (; depth > 0; depth--) {
		json_t *outer = json_object();

		json_object_set_new(outer, "k", value);
		value = outer;
	}
	return value;
}

static void test_depth(void)
{
	struct pomelo_protos protos = {0};
	json_t *source =
		json("{\"r\": {\"optional T k\": 1}, \"message T\": {\"optional T k\": 1}}");
	ob_err err;

	CU_ASSERT_EQUAL_FATAL(pomelo_protos_read(&protos, "protos", source, &err), 0);
	json_decref(source);
	for (int depth = POMELO_DEPTH_MAX; depth <= POMELO_DEPTH_MAX + 1; depth++) {
		json_t *message = chain(depth);
		struct pomelo_bytes out = {0};
		bool fits = depth == POMELO_DEPTH_MAX;

		pomelo_bytes_begin(&out, ROOM);
		CU_ASSERT_EQUAL(pomelo_protobuf_encode(route(&protos), message, &out), fits);
		json_decref(message);
		pomelo_bytes_free(&out);

		uint8_t wire[2 * (POMELO_DEPTH_MAX + 1)];
		size_t len = 2 * (size_t)depth;

		for (size_t i = 0; i < (size_t)depth; i++) {
			wire[2 * i] = 0x0a;
			wire[2 * i + 1] = (uint8_t)(len - 2 * i - 2);
		}
		message = pomelo_protobuf_decode(route(&protos), wire, len, &scratch);
		CU_ASSERT_EQUAL(message != NULL, fits);
		json_decref(message);
	}
	pomelo_protos_free(&protos);
}

/* A message of nothing but empty messages has no more of them than its bound. */
static void test_values(void)
{
	static uint8_t wire[2 * (POMELO_VALUES_MAX + 1)];
	struct pomelo_protos protos =
		protos_of("{\"repeated S s\": 1, \"message S\": {\"optional string v\": 1}}");

	for (size_t i = 0; i < sizeof(wire); i += 2) {
		wire[i] = 0x0a;
	}
	for (size_t count = POMELO_VALUES_MAX; count <= POMELO_VALUES_MAX + 1; count++) {
		json_t *message = pomelo_protobuf_decode(route(&protos), wire, 2 * count, &scratch);
		CU_ASSERT_EQUAL(message != NULL, count == POMELO_VALUES_MAX);
		json_decref(message);
	}
	pomelo_protos_free(&protos);
}

/* The length of an inner message takes the bytes that it needs. */
static void test_long_inner(void)
{
	struct pomelo_protos protos =
		protos_of("{\"required S s\": 1, \"message S\": {\"required string v\": 1}}");

	for (size_t len = 124; len <= 20000; len = len < 130 ? len + 1 : len * 5) {
		json_t *text = json_sprintf("%0*d", (int)len, 0);
		json_t *message = json_pack("{s:{s:O}}", "s", "v", text);
		struct pomelo_bytes out = {0};

		pomelo_bytes_begin(&out, 20100);
		CU_ASSERT(pomelo_protobuf_encode(route(&protos), message, &out));

		json_t *back = pomelo_protobuf_decode(route(&protos), out.data, out.len, &scratch);

		CU_ASSERT(back != NULL && json_equal(back, message));
		json_decref(back);
		pomelo_bytes_begin(&out, len + 3); /* and it is refused without the room */
		CU_ASSERT(!pomelo_protobuf_encode(route(&protos), message, &out));
		json_decref(message);
		json_decref(text);
		pomelo_bytes_free(&out);
	}
	pomelo_protos_free(&protos);
}

/* ---- protos ---- */

static const char *const bad_protos[][2] = {
	{"{\"r\": 1}", "r: must be an object"},
	{"{\"r\": {\"required uInt32\": 1}}", "required uInt32"},
	{"{\"r\": {\"required uInt32 a b\": 1}}", "required uInt32 a b"},
	{"{\"r\": {\"required uInt32 a\": 0}}", "tag"},
	{"{\"r\": {\"required uInt32 a\": 268435456}}", "tag"},
	{"{\"r\": {\"required uInt32 a\": \"1\"}}", "tag"},
	{"{\"r\": {\"required uInt32 a\": 1, \"required uInt32 b\": 1}}", "required uInt32 b"},
	{"{\"r\": {\"required uInt32 a\": 1, \"optional string a\": 2}}", "optional string a"},
	{"{\"r\": {\"required uInt32 __tags\": 1}}", "__tags"},
	{"{\"r\": {\"required bool a\": 1}}", "bool"},
	{"{\"r\": {\"required M m\": 1, \"message M\": {\"required N n\": 1}}, "
         "\"s\": {\"message N\": {}}}",
         "N"},
	{"[]", "must be an object"},
};

static void test_bad_protos(void)
{
	for (size_t i = 0; i < ROWS(bad_protos); i++) {
		struct pomelo_protos protos = {0};
		json_t *source = json(bad_protos[i][0]);
		ob_err err = {""};

		if (pomelo_protos_read(&protos, "protos", source, &err) == 0 ||
		    strstr(err.text, bad_protos[i][1]) == NULL) {
			fail_row(bad_protos[i][0]);
			fprintf(stdout, "# said: %s\n", err.text);
		}
		pomelo_protos_free(&protos);
		json_decref(source);
	}
	CU_PASS("rows");
}

static void test_find(void)
{
	struct pomelo_protos protos = {0};
	json_t *source = json("{\"onB\": {}, \"onA\": {}, \"on\": {}, \"onAa\": {}}");
	ob_err err;

	CU_ASSERT_EQUAL_FATAL(pomelo_protos_read(&protos, "protos", source, &err), 0);
	json_decref(source);
	for (size_t i = 0; i < protos.len; i++) {
		const char *name = protos.routes[i]->name;

		CU_ASSERT_EQUAL(pomelo_protos_find(&protos, name, strlen(name)), (int)i);
	}
	CU_ASSERT(pomelo_protos_find(&protos, "o", 1) < 0);
	CU_ASSERT(pomelo_protos_find(&protos, "onC", 3) < 0);
	CU_ASSERT(pomelo_protos_find(&protos, "onAaa", 5) < 0);
	CU_ASSERT(pomelo_protos_find(&protos, "", 0) < 0);
	CU_ASSERT(pomelo_protos_find(&protos, "onAa", 3) >= 0); /* its first three bytes */
	pomelo_protos_free(&protos);
	CU_ASSERT(pomelo_protos_find(&protos, "onA", 3) < 0);
}

int main(void)
{
	CU_initialize_registry();

	CU_pSuite s = CU_add_suite("codec_pomelo, protobuf", NULL, NULL);

	CU_add_test(s, "to the byte, and back", test_vectors);
	CU_add_test(s, "what can be said, and what can't", test_out);
	CU_add_test(s, "what is read, and what is not", test_in);
	CU_add_test(s, "messages in messages in messages", test_depth);
	CU_add_test(s, "many values", test_values);
	CU_add_test(s, "inner messages of any length", test_long_inner);
	CU_add_test(s, "protos that are none", test_bad_protos);
	CU_add_test(s, "the proto of a route", test_find);

	int rc = ob__tap_run();

	pomelo_bytes_free(&scratch);
	return rc;
}
