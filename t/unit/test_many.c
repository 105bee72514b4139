/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "lib/many.h"

#include <CUnit/CUnit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mesh/order.h"
#include "tap.h"

#define VALUE (OB__FRAME_EXT_HEADER + sizeof(uint32_t))

static uint8_t wire[OB__MANY_BYTES + 4096];

/* A copy that ends where the data does, so that a sanitizer sees a read beyond. */
static uint8_t *exact(const void *data, size_t len)
{
	uint8_t *copy = malloc(len > 0 ? len : 1);

	CU_ASSERT_PTR_NOT_NULL_FATAL(copy);
	if (len > 0) {
		memcpy(copy, data, len);
	}
	return copy;
}

static size_t item(uint8_t *at, uint64_t call, uint32_t len)
{
	ob__put64(at, call);
	ob__put32(at + 8, len);
	memset(at + OB__MANY_HEAD, (int)call, len);
	return OB__MANY_HEAD + len;
}

static void test_count(void)
{
	static const struct {
		uint32_t lens[4]; /* of the messages, as they say */
		uint32_t n;
		int more; /* bytes behind the last, or cut off */
		uint32_t count;
	} rows[] = {
		{{0}, 0, 0, 0},                     /* a row has one at least */
		{{0}, 1, 0, 1},                     /* nothing in it */
		{{5}, 1, 0, 1},                     /* exact */
		{{5, 0, 7}, 3, 0, 3},               /* ... of several */
		{{0, 0, 0, 0}, 4, 0, 4},            /* all empty */
		{{5}, 1, -1, 0},                    /* a byte is missing */
		{{5}, 1, -5, 0},                    /* all of them */
		{{5}, 1, -6, 0},                    /* a part of the length, too */
		{{0}, 1, -1, 0},                    /* the head is cut */
		{{0}, 1, -11, 0},                   /* a single byte */
		{{5, 5}, 2, -6, 0},                 /* the last one's head is cut */
		{{5, 5}, 2, 1, 0},                  /* a byte too many */
		{{5, 5}, 2, 11, 0},                 /* nearly another head */
		{{UINT32_MAX}, 1, 0, 0},            /* more than there can be */
		{{UINT32_MAX - 11}, 1, 0, 0},       /* which with its head goes round */
		{{5, UINT32_MAX - 11, 5}, 3, 0, 0}, /* in the middle */
		{{5, UINT32_MAX - 28, 5}, 3, 0, 0}, /* back to the first */
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		size_t len = 0;
		for (uint32_t k = 0; k < rows[i].n; k++) {
			uint32_t says = rows[i].lens[k];
			uint8_t *at = wire + len;
			len += item(at, k + 1, says < 100 ? says : 0);
			ob__put32(at + 8, says);
		}
		memset(wire + len, 0, 16);
		len = (size_t)((long)len + rows[i].more);
		uint8_t *copy = exact(wire, len);
		if (ob__many_count(copy, len) != rows[i].count) {
			printf("# row %zu: %u\n", i, ob__many_count(copy, len));
			CU_FAIL("another count");
		}
		free(copy);
	}
}

/* ---------------------------------------------------------------- what may share a frame */

static uint8_t ext[64];

static uint16_t put_ext(uint8_t *to, uint32_t number, const char *text)
{
	size_t end = 0;

	if (number != 0) {
		ob__put32(to + OB__FRAME_EXT_HEADER, number);
		end = ob__frame_ext_head(to, OB__FRAME_EXT_ORDER, sizeof(number));
	}
	if (text != NULL) {
		end = ob__frame_ext_put(to, end, sizeof(ext), OB__FRAME_EXT_TEXT, text,
		                        (uint16_t)strlen(text));
	}
	return (uint16_t)end;
}

static struct ob__frame request(void)
{
	return (struct ob__frame){
		.kind = OB__FRAME_REQUEST,
		.flags = OB__FRAME_STICKY,
		.id = 1000,
		.budget = 5000,
		.call = 77,
		.src = 0x1122334455667788,
		.dst = 0x99aabbccddeeff00,
		.session_node = 0x0102030405060708,
		.session_seq = 42,
		.role = 7,
		.hops = 4,
		.status = 1,
		.payload = (const uint8_t *)"hello",
		.payload_len = 5,
	};
}

/* The whole frame, at `wire`. */
static size_t put(const struct ob__frame *f)
{
	ob__frame_put_header(wire, f);
	if (f->ext_len > 0) {
		memcpy(wire + OB__FRAME_HEADER, f->ext, f->ext_len);
	}
	if (f->payload_len > 0) {
		memcpy(wire + OB__FRAME_HEADER + f->ext_len, f->payload, f->payload_len);
	}
	return OB__FRAME_HEADER + f->ext_len + f->payload_len;
}

static void test_alike_header(void)
{
	const struct ob__frame first = request();
	struct ob__frame f = first;

	put(&first);
	CU_ASSERT_TRUE(ob__many_alike(wire, 1, &f));
	f.call = 78; /* what each has of its own */
	f.payload_len = 0;
	f.payload = NULL;
	CU_ASSERT_TRUE(ob__many_alike(wire, 1, &f));
	f.len = 4711; /* not looked at */
	f.version = 9;
	CU_ASSERT_TRUE(ob__many_alike(wire, 1, &f));
#define DIFFERS(field, value)                                 \
	do {                                                  \
		f = first;                                    \
		f.field = (value);                            \
		CU_ASSERT_FALSE(ob__many_alike(wire, 1, &f)); \
	} while (0)
	DIFFERS(kind, OB__FRAME_REPLY);
	DIFFERS(id, 1001);
	DIFFERS(budget, 4999);
	DIFFERS(role, 8);
	DIFFERS(hops, 3);
	DIFFERS(status, 0);
	/* one bit of each half */
	DIFFERS(src, first.src ^ 1);
	DIFFERS(src, first.src ^ UINT64_C(1) << 63);
	DIFFERS(dst, first.dst ^ 1);
	DIFFERS(dst, first.dst ^ UINT64_C(1) << 40);
	DIFFERS(session_node, first.session_node ^ 1);
	DIFFERS(session_node, first.session_node ^ UINT64_C(1) << 63);
	DIFFERS(session_seq, 43);
	DIFFERS(session_seq, first.session_seq ^ UINT64_C(1) << 63);
	for (unsigned bit = 0; bit < 16; bit++) {
		DIFFERS(flags, (uint16_t)(first.flags ^ 1u << bit)); /* MANY, too */
	}
#undef DIFFERS
	/* a frame of another version is none of ours */
	wire[4] = 2;
	CU_ASSERT_FALSE(ob__many_alike(wire, 1, &first));
}

static void test_alike_kinds(void)
{
	static const struct {
		uint8_t kind;
		uint16_t flags;
		uint64_t dst;
		bool may;
	} rows[] = {
		{OB__FRAME_REPLY, 0, 1, true},
		{OB__FRAME_REPLY, 0, 0, true},
		{OB__FRAME_REPLY, OB__FRAME_ONE_WAY, 1, true}, /* silence */
		{OB__FRAME_REQUEST, 0, 1, true},
		{OB__FRAME_REQUEST, OB__FRAME_CALL, 1, true},
		{OB__FRAME_REQUEST, OB__FRAME_STICKY, 0, true},
		{OB__FRAME_REQUEST, OB__FRAME_STICKY | OB__FRAME_ONE_WAY, 0, true},
		{OB__FRAME_REQUEST, 0, 0, false}, /* each may go to another node */
		{OB__FRAME_REQUEST, OB__FRAME_ONE_WAY, 0, false},
		{OB__FRAME_HELLO, 0, 1, false},
		{OB__FRAME_PUSH, OB__FRAME_STICKY, 1, false},
		{OB__FRAME_SYSTEM, OB__FRAME_STICKY, 1, false},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct ob__frame f = {
			.kind = rows[i].kind, .flags = rows[i].flags, .dst = rows[i].dst};
		put(&f);
		CU_ASSERT_EQUAL(ob__many_alike(wire, 1, &f), rows[i].may);
	}
}

static void test_alike_ext(void)
{
	static const struct {
		uint32_t number; /* of the frame's first, 0: it has none */
		const char *text;
		uint32_t count;
		uint32_t next; /* of the message */
		const char *its;
		bool may;
	} rows[] = {
		{0, NULL, 1, 0, NULL, true},
		{5, NULL, 1, 6, NULL, true},
		{5, NULL, 3, 8, NULL, true},
		{5, "a", 3, 8, "a", true},
		{0, "a", 1, 0, "a", true},
		{0, "a", 1, 0, "b", false},
		{0, "a", 1, 0, "ab", false}, /* longer */
		{0, NULL, 1, 0, "a", false}, /* one has any */
		{0, "a", 1, 0, NULL, false},
		{5, NULL, 1, 5, NULL, false}, /* the same once more */
		{5, NULL, 1, 7, NULL, false}, /* one is missing: it went another way */
		{5, NULL, 3, 6, NULL, false},
		{5, NULL, 1, 4, NULL, false},
		{5, "a", 1, 6, "b", false},
		{5, "a", 1, 6, NULL, false},
		{5, NULL, 1, 6 | 1u << 31, NULL, false}, /* of the other row */
		{5 | 1u << 31, NULL, 1, 6, NULL, false},
		{5 | 1u << 31, NULL, 1, 6 | 1u << 31, NULL, true},
		{OB__ORDER_MAX, NULL, 1, 1, NULL, false}, /* goes round: in a frame of its own */
		{OB__ORDER_MAX, NULL, 1, 1u << 31, NULL, false},
		{OB__ORDER_MAX, NULL, 2, 1 | 1u << 31, NULL, false},
		{UINT32_MAX, NULL, 1, 1 | 1u << 31, NULL, false},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint8_t its[sizeof(ext)];
		struct ob__frame first = request();
		first.ext = ext;
		first.ext_len = put_ext(ext, rows[i].number, rows[i].text);
		put(&first);
		struct ob__frame f = request();
		f.ext_len = put_ext(its, rows[i].next, rows[i].its);
		f.ext = exact(its, f.ext_len);
		if (ob__many_alike(wire, rows[i].count, &f) != rows[i].may) {
			printf("# row %zu\n", i);
			CU_FAIL("said otherwise");
		}
		free((void *)(uintptr_t)f.ext);
	}
	/* a number that is not in front, or is none, is like any other extension */
	struct ob__frame first = request();
	size_t len = ob__frame_ext_put(ext, 0, sizeof(ext), OB__FRAME_EXT_TEXT, "a", 1);
	len = ob__frame_ext_put(ext, len, sizeof(ext), OB__FRAME_EXT_ORDER, "\5\0\0\0", 4);
	first.ext = ext;
	first.ext_len = (uint16_t)len;
	put(&first);
	CU_ASSERT_TRUE(ob__many_alike(wire, 1, &first));
	ext[len - 4] = 6;
	CU_ASSERT_FALSE(ob__many_alike(wire, 1, &first));
	first.ext_len = (uint16_t)ob__frame_ext_put(ext, 0, sizeof(ext), OB__FRAME_EXT_ORDER,
	                                            "\5\0\0\0\0", 5);
	put(&first);
	CU_ASSERT_TRUE(ob__many_alike(wire, 1, &first));
	ext[OB__FRAME_EXT_HEADER] = 6;
	CU_ASSERT_FALSE(ob__many_alike(wire, 1, &first));
	/* a type in the place of the number's, at the frame and at the message */
	first.ext_len = put_ext(ext, 5, NULL);
	put(&first);
	put_ext(ext, 6, NULL);
	wire[OB__FRAME_HEADER] = OB__FRAME_EXT_USER;
	CU_ASSERT_FALSE(ob__many_alike(wire, 1, &first));
	wire[OB__FRAME_HEADER] = OB__FRAME_EXT_ORDER;
	CU_ASSERT_TRUE(ob__many_alike(wire, 1, &first));
	ext[0] = OB__FRAME_EXT_USER;
	CU_ASSERT_FALSE(ob__many_alike(wire, 1, &first));
}

/* ---------------------------------------------------------------- growing */

static void test_grows(void)
{
	struct ob__frame f = request();

	put(&f);
	CU_ASSERT_EQUAL(ob__many_grows(wire, 69, 0), 24);
	CU_ASSERT_EQUAL(ob__many_grows(wire, 69, 5), 29);
	CU_ASSERT_EQUAL(ob__many_grows(wire, 69, OB__MANY_ITEM), 24 + OB__MANY_ITEM);
	CU_ASSERT_EQUAL(ob__many_grows(wire, 69, OB__MANY_ITEM + 1), 0);
	CU_ASSERT_EQUAL(ob__many_grows(wire, 69, SIZE_MAX), 0);
	CU_ASSERT_EQUAL(ob__many_grows(wire, OB__MANY_BYTES - 29, 5), 29);
	CU_ASSERT_EQUAL(ob__many_grows(wire, OB__MANY_BYTES - 28, 5), 0);
	CU_ASSERT_EQUAL(ob__many_grows(wire, 60000, 5), 0); /* large already, with one message */
	f.flags |= OB__FRAME_MANY;
	put(&f);
	CU_ASSERT_EQUAL(ob__many_grows(wire, 69, 5), 17);
	CU_ASSERT_EQUAL(ob__many_grows(wire, OB__MANY_BYTES - 17, 5), 17);
	CU_ASSERT_EQUAL(ob__many_grows(wire, OB__MANY_BYTES - 16, 5), 0);
}

/* It is added if the frame stays within the caller's own bound, else left as it is. */
static void test_put(void)
{
	struct ob__frame f = request();
	uint8_t before[128];

	put(&f);
	memcpy(before, wire, sizeof(before));
	CU_ASSERT_EQUAL(ob__many_put(wire, 69, 69, 7, "hello", 5), 0);
	CU_ASSERT_EQUAL(ob__many_put(wire, 69, 69 + 28, 7, "hello", 5), 0);
	CU_ASSERT_EQUAL(ob__many_put(wire, 69, SIZE_MAX, 7, NULL, OB__MANY_ITEM + 1), 0);
	CU_ASSERT_EQUAL(memcmp(before, wire, sizeof(before)), 0);
	CU_ASSERT_EQUAL(ob__many_put(wire, 69, 69 + 29, 7, "hello", 5), 29);
	CU_ASSERT_EQUAL(ob__many_put(wire, 98, 98 + 11, 8, NULL, 0), 0);
	CU_ASSERT_EQUAL(ob__many_put(wire, 98, 98 + 12, 8, NULL, 0), 12);
	size_t need;
	CU_ASSERT_EQUAL_FATAL(ob__frame_get(&f, wire, 110, 110, &need), 110);
	CU_ASSERT_EQUAL(f.many, 3);
}

/* As messages of these lengths are put one behind the other, they are read, each with the header
 * and the extensions of the first. */
static void check_row(const uint32_t *lens, uint32_t n, bool with_ext)
{
	uint8_t bytes[OB__MANY_ITEM];
	struct ob__frame first = request();
	struct ob__frame f;
	size_t need;

	memset(bytes, 1, sizeof(bytes));
	if (with_ext) {
		first.ext = ext;
		first.ext_len = put_ext(ext, 5, "text");
	}
	first.call = 1;
	first.payload = bytes;
	first.payload_len = lens[0];
	size_t len = put(&first);
	for (uint32_t i = 1; i < n; i++) {
		size_t more = ob__many_grows(wire, len, lens[i]);
		CU_ASSERT_FATAL(more > 0 && len + more <= sizeof(wire) - 1);
		memset(bytes, (int)(i + 1), sizeof(bytes));
		wire[len + more] = 0xee;
		ob__many_add(wire, len, i + 1, lens[i] > 0 ? bytes : NULL, lens[i]);
		CU_ASSERT_EQUAL(wire[len + more], 0xee); /* no further */
		len += more;
	}
	uint8_t *copy = exact(wire, len);
	CU_ASSERT_EQUAL_FATAL(ob__frame_get(&f, copy, len, len, &need), (int64_t)len);
	CU_ASSERT_EQUAL(ob__many_of(&f), n);
	CU_ASSERT_EQUAL(f.flags, n > 1 ? first.flags | OB__FRAME_MANY : first.flags);
	CU_ASSERT_EQUAL(f.call, n > 1 ? 0 : 1);
	if (n == 1) {
		free(copy);
		return;
	}
	struct ob__frame one = ob__many_begin(&f);
	uint32_t i = 0;
	for (; ob__many_next(&one, &f); i++) {
		CU_ASSERT_FATAL(i < n);
		struct ob__frame want = first;
		uint8_t a[OB__FRAME_HEADER];
		uint8_t b[OB__FRAME_HEADER];
		want.call = i + 1;
		want.payload_len = lens[i];
		ob__frame_put_header(a, &want);
		ob__frame_put_header(b, &one);
		CU_ASSERT_EQUAL(memcmp(a, b, sizeof(a)), 0);
		CU_ASSERT_EQUAL(ob__many_of(&one), 1);
		CU_ASSERT_TRUE(one.ext_len == first.ext_len &&
		               (first.ext_len == 0 || memcmp(one.ext, ext, one.ext_len) == 0));
		for (uint32_t k = 0; k < lens[i]; k++) {
			CU_ASSERT_FATAL(one.payload[k] == (uint8_t)(i + 1));
		}
	}
	CU_ASSERT_EQUAL(i, n);
	free(copy);
}

static void test_add(void)
{
	static const uint32_t rows[][6] = {
		{5, 5, 5, 5, 5, 5},   {0, 0, 0, 0, 0, 0},
		{0, 7, 0, 1, 0, 300}, {OB__MANY_ITEM, OB__MANY_ITEM, 0, 1, 2, OB__MANY_ITEM},
		{3, 0, 0, 0, 0, 0},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		for (uint32_t n = 1; n <= 6; n++) {
			check_row(rows[i], n, false);
			check_row(rows[i], n, true);
		}
	}
	/* until it is full, to the byte */
	struct ob__frame f = request();
	f.payload_len = 0;
	size_t len = put(&f);
	size_t more;
	uint32_t count = 1;
	while ((more = ob__many_grows(wire, len, 20)) > 0) {
		CU_ASSERT_TRUE(ob__many_alike(wire, count, &f));
		ob__many_add(wire, len, ++count, "01234567890123456789", 20);
		len += more;
	}
	CU_ASSERT_TRUE(len <= OB__MANY_BYTES && len + 32 > OB__MANY_BYTES);
	CU_ASSERT_EQUAL(ob__many_grows(wire, len, OB__MANY_BYTES - len - OB__MANY_HEAD),
	                OB__MANY_BYTES - len);
	ob__many_add(wire, len, ++count, "01234567890123456789",
	             OB__MANY_BYTES - len - OB__MANY_HEAD);
	size_t need;
	CU_ASSERT_EQUAL(ob__frame_get(&f, wire, OB__MANY_BYTES, OB__MANY_BYTES, &need),
	                OB__MANY_BYTES);
	CU_ASSERT_EQUAL(f.many, count);
	CU_ASSERT_EQUAL(ob__many_grows(wire, OB__MANY_BYTES, 0), 0);
}

/* Only requests and replies may say that they are many, and not of none. */
static void test_read(void)
{
	struct ob__frame f = request();
	struct ob__frame got;
	size_t need;
	uint8_t row[40];
	size_t len = item(row, 1, 3);

	len += item(row + len, 2, 0);
	f.flags |= OB__FRAME_MANY;
	f.payload = row;
	f.payload_len = (uint32_t)len;
	for (uint8_t kind = OB__FRAME_HELLO; kind < OB__FRAME_KIND_END; kind++) {
		f.kind = kind;
		size_t total = put(&f);
		bool may = kind == OB__FRAME_REQUEST || kind == OB__FRAME_REPLY;
		int64_t rc = ob__frame_get(&got, wire, total, total, &need);
		CU_ASSERT_TRUE(may ? rc == (int64_t)total && got.many == 2 : rc == -EPROTO);
	}
	f.kind = OB__FRAME_REQUEST;
	for (uint32_t cut = 0; cut <= len; cut++) {
		f.payload_len = cut;
		size_t total = put(&f);
		bool may = cut == len || cut == OB__MANY_HEAD + 3;
		CU_ASSERT_EQUAL(ob__frame_get(&got, wire, total, total, &need),
		                may ? (int64_t)total : -EPROTO);
	}
}

static void test_cut(void)
{
	for (uint32_t n = 1; n < 4; n++) {
		struct ob__frame f = request();
		f.ext = ext;
		f.ext_len = put_ext(ext, 5, NULL);
		size_t len = put(&f);
		for (uint32_t i = 1; i < 4; i++) {
			size_t more = ob__many_grows(wire, len, i);
			ob__many_add(wire, len, 77 + i, "abc", i);
			len += more;
		}
		size_t need;
		CU_ASSERT_EQUAL_FATAL(ob__frame_get(&f, wire, len, len, &need), (int64_t)len);
		struct ob__frame rest = ob__many_cut(&f, wire, n);
		CU_ASSERT_TRUE(f.many == n && rest.many == 4 - n);
		CU_ASSERT_EQUAL(rest.len, OB__FRAME_HEADER + rest.ext_len + rest.payload_len);
		uint64_t call = 77;
		struct ob__frame again;
		CU_ASSERT_EQUAL(ob__frame_get(&again, wire, len, len, &need), (int64_t)f.len);
		CU_ASSERT_TRUE(again.many == n && again.payload_len == f.payload_len);
		for (struct ob__frame one = ob__many_begin(&f); ob__many_next(&one, &f);) {
			CU_ASSERT_EQUAL(one.call, call++);
		}
		CU_ASSERT_EQUAL(call, 77 + n);
		for (struct ob__frame one = ob__many_begin(&rest); ob__many_next(&one, &rest);) {
			CU_ASSERT_EQUAL(one.call, call++);
			CU_ASSERT_EQUAL(one.payload_len, call - 1 == 77 ? 5 : call - 78);
		}
		CU_ASSERT_EQUAL(call, 81);
	}
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("many", NULL, NULL);
	CU_add_test(s, "count", test_count);
	CU_add_test(s, "alike: each field of the header", test_alike_header);
	CU_add_test(s, "alike: what may share a frame at all", test_alike_kinds);
	CU_add_test(s, "alike: extensions", test_alike_ext);
	CU_add_test(s, "bounds of growing", test_grows);
	CU_add_test(s, "put within a bound", test_put);
	CU_add_test(s, "what is added is read", test_add);
	CU_add_test(s, "what is malformed is not", test_read);
	CU_add_test(s, "cut in two", test_cut);
	return ob__tap_run();
}
