/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "lib/frame.h"

#include <CUnit/CUnit.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "tap.h"

#define MAX 4096

/* Each field has bytes of its own, so that a wrong offset or order shows. */
static const struct ob__frame sample = {
	.version = OB__FRAME_VERSION,
	.kind = OB__FRAME_REQUEST,
	.flags = 0x0201,
	.id = 0x14131211,
	.budget = 0x18171615,
	.call = 0x2827262524232221,
	.src = 0x3837363534333231,
	.dst = 0x4847464544434241,
	.session_node = 0x5857565554535251,
	.session_seq = 0x6867666564636261,
	.role = 0x74737271,
	.hops = 0x81,
	.status = 0x91,
	.ext_len = 0,
	.payload_len = 5,
};

static const uint8_t sample_bytes[OB__FRAME_HEADER + 5] = {
	69,   0,    0,    0,    1,    2,    0x01, 0x02, 0x11, 0x12, 0x13, 0x14, /* to the id */
	0x15, 0x16, 0x17, 0x18,                                                 /* budget */
	0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x28,                         /* call */
	0x31, 0x32, 0x33, 0x34, 0x35, 0x36, 0x37, 0x38,                         /* source */
	0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48,                         /* destination */
	0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58,                         /* session node */
	0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68,                         /* session seq */
	0x71, 0x72, 0x73, 0x74, 0x81, 0x91, 0,    0, /* role, hops, status, extensions */
	'h',  'e',  'l',  'l',  'o',
};

static void check_header(const struct ob__frame *f, const struct ob__frame *want)
{
	CU_ASSERT_EQUAL(f->version, want->version);
	CU_ASSERT_EQUAL(f->kind, want->kind);
	CU_ASSERT_EQUAL(f->flags, want->flags);
	CU_ASSERT_EQUAL(f->id, want->id);
	CU_ASSERT_EQUAL(f->budget, want->budget);
	CU_ASSERT_EQUAL(f->call, want->call);
	CU_ASSERT_EQUAL(f->src, want->src);
	CU_ASSERT_EQUAL(f->dst, want->dst);
	CU_ASSERT_EQUAL(f->session_node, want->session_node);
	CU_ASSERT_EQUAL(f->session_seq, want->session_seq);
	CU_ASSERT_EQUAL(f->role, want->role);
	CU_ASSERT_EQUAL(f->hops, want->hops);
	CU_ASSERT_EQUAL(f->status, want->status);
	CU_ASSERT_EQUAL(f->ext_len, want->ext_len);
	CU_ASSERT_EQUAL(f->payload_len, want->payload_len);
}

static void test_layout(void)
{
	uint8_t out[OB__FRAME_HEADER + 1];
	ob__frame_put_header(out, &sample);
	CU_ASSERT_EQUAL(memcmp(out, sample_bytes, OB__FRAME_HEADER), 0);

	struct ob__frame f;
	size_t need = 0;
	CU_ASSERT_EQUAL(ob__frame_get(&f, sample_bytes, sizeof(sample_bytes), MAX, &need), 69);
	check_header(&f, &sample);
	CU_ASSERT_EQUAL(f.len, 69);
	CU_ASSERT_PTR_EQUAL(f.payload, sample_bytes + OB__FRAME_HEADER);

	struct ob__frame zero = {.kind = OB__FRAME_PUSH};
	ob__frame_put(out, &zero);
	CU_ASSERT_EQUAL(ob__frame_get(&f, out, OB__FRAME_HEADER, MAX, &need), OB__FRAME_HEADER);
	CU_ASSERT_EQUAL(f.version, OB__FRAME_VERSION);
	CU_ASSERT_EQUAL(f.payload_len, 0);
}

/* All prefixes ask for more, and for how much; a frame behind the first is not touched. */
static void test_prefixes(void)
{
	uint8_t two[2 * sizeof(sample_bytes)];
	memcpy(two, sample_bytes, sizeof(sample_bytes));
	memcpy(two + sizeof(sample_bytes), sample_bytes, sizeof(sample_bytes));
	struct ob__frame f;
	for (size_t len = 0; len < sizeof(two); len++) {
		size_t need = 0;
		int64_t rc = ob__frame_get(&f, two, len, MAX, &need);
		if (len < sizeof(sample_bytes)) {
			CU_ASSERT_EQUAL(rc, 0);
			CU_ASSERT_EQUAL(need, len < 4 ? OB__FRAME_HEADER : sizeof(sample_bytes));
		} else {
			CU_ASSERT_EQUAL(rc, (int64_t)sizeof(sample_bytes));
		}
	}
}

/* One or a few bytes changed in the sample, from `at` on. */
static void test_refused(void)
{
	static const struct {
		size_t at;
		size_t n;
		uint8_t bytes[4];
		size_t known; /* with so many bytes the fault is known */
		int64_t rc;
	} rows[] = {
		{0, 1, {63}, 4, -EPROTO}, /* shorter than a header */
		{0, 4, {0, 0, 0, 0}, 4, -EPROTO},
		{0, 4, {1, 16, 0, 0}, 4, -EMSGSIZE}, /* 4097 */
		{0, 4, {255, 255, 255, 255}, 4, -EMSGSIZE},
		{4, 1, {0}, 64, -EPROTONOSUPPORT},
		{4, 1, {2}, 64, -EPROTONOSUPPORT},
		{5, 1, {0}, 64, -EPROTO}, /* no kind */
		{5, 1, {OB__FRAME_KIND_END}, 64, -EPROTO},
		{5, 1, {255}, 64, -EPROTO},
		{62, 2, {6, 0}, 64, -EPROTO}, /* extensions beyond the frame */
		{62, 2, {255, 255}, 64, -EPROTO},
		{62, 2, {3, 0}, 69, -EPROTO}, /* no room for an extension's header */
		{62, 2, {5, 0}, 69, -EPROTO}, /* "hello" is no extension */
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint8_t bytes[sizeof(sample_bytes)];
		memcpy(bytes, sample_bytes, sizeof(bytes));
		memcpy(bytes + rows[i].at, rows[i].bytes, rows[i].n);
		for (size_t len = 0; len <= sizeof(bytes); len++) {
			struct ob__frame f;
			size_t need = 0;
			int64_t rc = ob__frame_get(&f, bytes, len, MAX, &need);
			CU_ASSERT_EQUAL(rc, len < rows[i].known ? 0 : rows[i].rc);
		}
	}
}

static void test_limit(void)
{
	struct ob__frame f;
	size_t need;
	CU_ASSERT_EQUAL(ob__frame_get(&f, sample_bytes, 69, 69, &need), 69);
	CU_ASSERT_EQUAL(ob__frame_get(&f, sample_bytes, 69, 68, &need), -EMSGSIZE);
	CU_ASSERT_EQUAL(ob__frame_get(&f, sample_bytes, 69, 0, &need), -EMSGSIZE);
}

static void test_extensions(void)
{
	uint8_t bytes[MAX];
	size_t at = OB__FRAME_HEADER;
	at = ob__frame_ext_put(bytes, at, MAX, OB__FRAME_EXT_METHOD, "demo.svc.user.login", 19);
	CU_ASSERT_EQUAL(at, 64 + 4 + 19);
	at = ob__frame_ext_put(bytes, at, MAX, 200, "?", 1); /* of a later version */
	at = ob__frame_ext_put(bytes, at, MAX, OB__FRAME_EXT_TRACE, NULL, 0);
	at = ob__frame_ext_put(bytes, at, MAX, OB__FRAME_EXT_METHOD, "second", 6);
	CU_ASSERT_EQUAL(at, 64 + 23 + 5 + 4 + 10);
	struct ob__frame put = sample;
	put.ext_len = (uint16_t)(at - OB__FRAME_HEADER);
	put.payload_len = 3;
	ob__frame_put_header(bytes, &put);
	memcpy(bytes + at, "abc", 3);

	uint8_t whole[MAX];
	put.ext = bytes + OB__FRAME_HEADER;
	put.payload = bytes + at;
	memset(whole, 0x55, sizeof(whole));
	CU_ASSERT_EQUAL_FATAL(ob__frame_size(&put), at + 3);
	ob__frame_put(whole, &put);
	CU_ASSERT_EQUAL(memcmp(whole, bytes, at + 3), 0);
	CU_ASSERT_EQUAL(whole[at + 3], 0x55); /* and no further */

	struct ob__frame f;
	size_t need;
	CU_ASSERT_EQUAL(ob__frame_get(&f, bytes, MAX, MAX, &need), (int64_t)at + 3);
	check_header(&f, &put);
	CU_ASSERT_EQUAL(memcmp(f.payload, "abc", 3), 0);
	static const struct {
		uint8_t type;
		const char *text; /* NULL: none */
	} rows[] = {
		{OB__FRAME_EXT_METHOD, "demo.svc.user.login"}, /* the first of two */
		{OB__FRAME_EXT_TRACE, ""},
		{200, "?"},
		{OB__FRAME_EXT_IDEMPOTENCY, NULL},
		{0, NULL},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint16_t len = 9999;
		const uint8_t *ext = ob__frame_ext(&f, rows[i].type, &len);
		CU_ASSERT_EQUAL(ext == NULL, rows[i].text == NULL);
		if (ext != NULL && rows[i].text != NULL) {
			CU_ASSERT_EQUAL(len, strlen(rows[i].text));
			CU_ASSERT_EQUAL(memcmp(ext, rows[i].text, len), 0);
		}
	}
}

static void test_malformed_extensions(void)
{
	static const struct {
		uint8_t len;
		uint8_t bytes[12];
		bool ok;
	} rows[] = {
		{4, {1, 0, 0, 0}, true}, /* empty */
		{5, {1, 0, 1, 0, 'x'}, true},
		{9, {1, 0, 1, 0, 'x', 2, 0, 0, 0}, true}, /* two */
		{1, {1}, false},                          /* cut in its header */
		{3, {1, 0, 0}, false},
		{5, {1, 0, 2, 0, 'x'}, false},                   /* a byte too long */
		{5, {1, 0, 1, 1, 'x'}, false},                   /* 257 */
		{5, {1, 1, 1, 0, 'x'}, false},                   /* the zero is not zero */
		{6, {1, 0, 1, 0, 'x', 2}, false},                /* the second is cut */
		{10, {1, 0, 1, 0, 'x', 2, 0, 2, 0, 'y'}, false}, /* and too long */
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint8_t bytes[OB__FRAME_HEADER + 12 + 4] = {0};
		struct ob__frame put = sample;
		put.ext_len = rows[i].len;
		put.payload_len = 4; /* what follows is payload, not room for extensions */
		ob__frame_put_header(bytes, &put);
		memcpy(bytes + OB__FRAME_HEADER, rows[i].bytes, rows[i].len);
		struct ob__frame f;
		size_t need;
		int64_t rc = ob__frame_get(&f, bytes, sizeof(bytes), MAX, &need);
		CU_ASSERT_EQUAL(rc, rows[i].ok ? 64 + rows[i].len + 4 : -EPROTO);
	}
}

static void test_ext_put_bounds(void)
{
	static const struct {
		size_t at;
		size_t cap;
		uint16_t len;
		size_t end;
	} rows[] = {
		{0, 8, 4, 8},                      /* fits to the byte */
		{0, 7, 4, 0},                      /* one short */
		{0, 3, 0, 0},                      /* not even its header */
		{4, 8, 0, 8},        {8, 8, 0, 0}, /* full */
		{9, 8, 0, 0},                      /* beyond: a caller that ignored a 0 */
		{SIZE_MAX, 8, 0, 0}, {0, 8, UINT16_MAX, 0},
	};
	static const uint8_t data[UINT16_MAX] = {'d'};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint8_t out[9];
		memset(out, 0xee, sizeof(out));
		CU_ASSERT_EQUAL(
			ob__frame_ext_put(out, rows[i].at, rows[i].cap, 1, data, rows[i].len),
			rows[i].end);
		for (size_t k = rows[i].end; k < sizeof(out); k++) {
			CU_ASSERT_EQUAL(out[k], 0xee); /* nothing behind it was written */
		}
	}
}

static void test_forward(void)
{
	uint8_t bytes[sizeof(sample_bytes)];
	memcpy(bytes, sample_bytes, sizeof(bytes));
	ob__frame_patch_forward(bytes, 3, 0xb4b3b2b1, 0xc4c3c2c1, 0xd8d7d6d5d4d3d2d1);
	struct ob__frame want = sample;
	want.hops = 3;
	want.budget = 0xb4b3b2b1;
	want.role = 0xc4c3c2c1;
	want.dst = 0xd8d7d6d5d4d3d2d1;
	struct ob__frame f;
	size_t need;
	CU_ASSERT_EQUAL(ob__frame_get(&f, bytes, sizeof(bytes), MAX, &need), 69);
	check_header(&f, &want);
	CU_ASSERT_EQUAL(memcmp(f.payload, "hello", 5), 0);
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("frame", NULL, NULL);
	CU_add_test(s, "each field at its place", test_layout);
	CU_add_test(s, "a prefix says what it needs", test_prefixes);
	CU_add_test(s, "faults are refused as soon as they show", test_refused);
	CU_add_test(s, "the limit is inclusive", test_limit);
	CU_add_test(s, "extensions are found by type", test_extensions);
	CU_add_test(s, "malformed extensions", test_malformed_extensions);
	CU_add_test(s, "an extension is put only where it fits", test_ext_put_bounds);
	CU_add_test(s, "a forward patches four fields", test_forward);
	return ob__tap_run();
}
