/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "lib/blob.h"

#include <CUnit/CUnit.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tap.h"

/* Offsets in the format, said again here: the test does not ask the code that it tests. */
#define AT_FORMAT   4
#define AT_VERSION  8
#define AT_COUNT    12
#define AT_LENGTH   16
#define AT_NAME     24
#define AT_CRC      88
#define AT_RESERVED 92
#define AT_FIRST    96
#define KEY         0x9e3779b97f4a7c15u

/* CRC-32C bit by bit, the field itself taken as 0. */
static uint32_t crc32c(const uint8_t *data, size_t len)
{
	uint32_t sum = UINT32_MAX;

	for (size_t i = 0; i < len; i++) {
		sum ^= i >= AT_CRC && i < AT_CRC + 4 ? 0u : data[i];
		for (int bit = 0; bit < 8; bit++) {
			sum = (sum & 1) != 0 ? sum >> 1 ^ 0x82f63b78u : sum >> 1;
		}
	}
	return ~sum;
}

static void put(uint8_t *p, uint64_t v, int bytes)
{
	for (int i = 0; i < bytes; i++) {
		p[i] = (uint8_t)(v >> 8 * i);
	}
}

static uint64_t get(const uint8_t *p, int bytes)
{
	uint64_t v = 0;

	for (int i = bytes; i > 0; i--) {
		v = v << 8 | p[i - 1];
	}
	return v;
}

static void sign(uint8_t *data, size_t len)
{
	put(data + AT_CRC, crc32c(data, len), 4);
}

/* Opens an exact copy, so that a sanitizer sees a read beyond it.  NULL, or why not. */
static const char *why_not(const uint8_t *data, size_t len, const char *module)
{
	uint8_t *copy = malloc(len > 0 ? len : 1);
	struct ob__blob_reader r;
	const char *why = NULL;

	if (copy == NULL) {
		abort();
	}
	if (len > 0) {
		memcpy(copy, data, len);
	}
	int rc = ob__blob_open(&r, copy, len, module, &why);
	CU_ASSERT_EQUAL(rc, why == NULL ? 0 : -EINVAL);
	if (rc == 0) {
		ob__blob_close(&r);
	}
	free(copy);
	return why;
}

/* ---------------------------------------------------------------- golden blobs */

/* What the first release writes: version 7 of "rank", {1: "abc"}, {0xffffffff critical: 8 bytes},
 * {2: nothing}.  The bytes may never change: state that was saved must be readable. */
static const uint8_t golden_1[] = {
	0x4f, 0x42, 0x53, 0x54, 0x01, 0x00, 0x00, 0x00, /* OBST, format */
	0x07, 0x00, 0x00, 0x00, 0x03, 0x00, 0x00, 0x00, /* version, count */
	0xa0, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, /* length */
	0x72, 0x61, 0x6e, 0x6b, 0x00, 0x00, 0x00, 0x00, /* rank */
	0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	0x00, 0x00, 0x00, 0x00, 0xc4, 0x6f, 0xd2, 0xad, 0x00, 0x00, 0x00, 0x00, /* sum, 0 */
	0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, /* tag 1, no flags */
	0x03, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, /* 3 bytes */
	0x61, 0x62, 0x63, 0x00, 0x00, 0x00, 0x00, 0x00, /* abc and padding */
	0xff, 0xff, 0xff, 0xff, 0x01, 0x00, 0x00, 0x00, /* the last tag, critical */
	0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, /* 8 bytes */
	0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, /* no padding */
	0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, /* tag 2, no flags */
	0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, /* nothing */
};

static void write_golden(struct ob__blob_writer *w)
{
	CU_ASSERT_EQUAL(ob__blob_begin(w, "rank", 7, sizeof(golden_1)), 0);
	CU_ASSERT_EQUAL(ob__blob_add(w, 1, 0, "abc", 3), 0);
	CU_ASSERT_EQUAL(ob__blob_add(w, UINT32_MAX, OB__BLOB_CRITICAL, "\1\2\3\4\5\6\7\10", 8), 0);
	CU_ASSERT_EQUAL(ob__blob_add(w, 2, 0, NULL, 0), 0);
	CU_ASSERT_EQUAL(ob__blob_finish(w), 0);
}

static void test_golden(void)
{
	struct ob__blob_writer w;
	struct ob__blob_reader r;
	const char *why;
	size_t len;
	uint32_t tag;

	write_golden(&w);
	CU_ASSERT_EQUAL(w.len, sizeof(golden_1));
	CU_ASSERT_EQUAL(memcmp(w.data, golden_1, sizeof(golden_1)), 0);
	for (size_t i = 0; i < w.len && memcmp(w.data, golden_1, sizeof(golden_1)) != 0; i++) {
		printf("%s0x%02x,%s", i % 8 == 0 ? "# " : "", w.data[i], i % 8 == 7 ? "\n" : " ");
	}
	ob__blob_end(&w);

	CU_ASSERT_EQUAL(get(golden_1 + AT_CRC, 4), crc32c(golden_1, sizeof(golden_1)));
	CU_ASSERT_EQUAL_FATAL(ob__blob_open(&r, golden_1, sizeof(golden_1), "rank", &why), 0);
	CU_ASSERT_EQUAL(r.version, 7);
	CU_ASSERT_EQUAL(r.sections, 3);
	CU_ASSERT_TRUE(ob__blob_unseen(&r, &tag));
	CU_ASSERT_EQUAL(tag, UINT32_MAX);
	const char *text = ob__blob_find(&r, 1, &len);
	CU_ASSERT(len == 3 && memcmp(text, "abc", 3) == 0);
	CU_ASSERT_TRUE(ob__blob_unseen(&r, &tag)); /* still the other one */
	const uint8_t *bytes = ob__blob_find(&r, UINT32_MAX, &len);
	CU_ASSERT(len == 8 && get(bytes, 8) == 0x0807060504030201u);
	CU_ASSERT_FALSE(ob__blob_unseen(&r, &tag)); /* 2 is not critical */
	CU_ASSERT_PTR_NOT_NULL(ob__blob_find(&r, 2, NULL));
	CU_ASSERT_PTR_NOT_NULL(ob__blob_find(&r, 2, &len));
	CU_ASSERT_EQUAL(len, 0);
	CU_ASSERT_PTR_NULL(ob__blob_find(&r, 3, &len));
	CU_ASSERT_PTR_NULL(ob__blob_find(&r, 0, &len));
	CU_ASSERT_PTR_EQUAL(ob__blob_next(&r, NULL, NULL), text);
	ob__blob_close(&r);
	ob__blob_close(&r);
}

/* The sum that everybody means by CRC-32C: RFC 3720, B.4, and its check value. */
static void test_reference_sum(void)
{
	uint8_t zeros[AT_CRC + 4] = {0};

	CU_ASSERT_EQUAL(crc32c((const uint8_t *)"123456789", 9), 0xe3069283u);
	CU_ASSERT_EQUAL(crc32c(zeros, 32), 0x8a9136aau);
}

/* ---------------------------------------------------------------- writing */

static void test_walk(void)
{
	struct ob__blob_writer w;
	struct ob__blob_reader r;
	const char *why;
	size_t len;
	uint32_t tag = 0;
	uint8_t bytes[40];

	for (size_t i = 0; i < sizeof(bytes); i++) {
		bytes[i] = (uint8_t)(i + 1);
	}
	CU_ASSERT_EQUAL(ob__blob_begin(&w, "m", 1, 1 << 20), 0);
	for (uint32_t i = 0; i < 40; i++) {
		/* every length of padding, tags in no order */
		CU_ASSERT_EQUAL(ob__blob_add(&w, (i * 7) % 40, i == 30, bytes, i), 0);
	}
	CU_ASSERT_EQUAL(ob__blob_finish(&w), 0);
	CU_ASSERT_EQUAL_FATAL(ob__blob_open(&r, w.data, w.len, "m", &why), 0);
	CU_ASSERT_TRUE(ob__blob_unseen(&r, &tag));
	for (uint32_t i = 0; i < 40; i++) {
		const uint8_t *data = ob__blob_next(&r, &tag, &len);
		CU_ASSERT(data != NULL && tag == (i * 7) % 40 && len == i);
		CU_ASSERT_EQUAL(memcmp(data, bytes, i), 0);
		CU_ASSERT_EQUAL((uintptr_t)data % 8, 0);
	}
	CU_ASSERT_PTR_NULL(ob__blob_next(&r, &tag, &len));
	CU_ASSERT_PTR_NULL(ob__blob_next(&r, &tag, &len));
	CU_ASSERT_FALSE(ob__blob_unseen(&r, &tag)); /* next has shown them all */
	ob__blob_close(&r);

	/* more may come; then it is closed again */
	CU_ASSERT_EQUAL(ob__blob_add(&w, 99, 0, "x", 1), 0);
	CU_ASSERT_EQUAL(ob__blob_finish(&w), 0);
	CU_ASSERT_PTR_NULL(why_not(w.data, w.len, "m"));
	ob__blob_end(&w);
	ob__blob_end(&w);
}

static void test_empty(void)
{
	struct ob__blob_writer w;
	struct ob__blob_reader r;
	const char *why;
	size_t len;
	uint32_t tag;

	CU_ASSERT_EQUAL(ob__blob_begin(&w, "m", 0, OB__BLOB_HEADER), 0);
	CU_ASSERT_EQUAL(ob__blob_finish(&w), 0);
	CU_ASSERT_EQUAL(w.len, OB__BLOB_HEADER);
	CU_ASSERT_EQUAL_FATAL(ob__blob_open(&r, w.data, w.len, "m", &why), 0);
	CU_ASSERT_PTR_NULL(ob__blob_next(&r, &tag, &len));
	CU_ASSERT_PTR_NULL(ob__blob_find(&r, 0, &len));
	CU_ASSERT_FALSE(ob__blob_unseen(&r, &tag));
	ob__blob_close(&r);
	ob__blob_end(&w);
}

static void test_names(void)
{
	char name[66];
	struct ob__blob_writer w;

	memset(name, 'n', sizeof(name));
	name[64] = '\0';
	CU_ASSERT_EQUAL(ob__blob_begin(&w, name, 1, 4096), -EINVAL);
	ob__blob_end(&w);
	CU_ASSERT_EQUAL(ob__blob_begin(&w, "", 1, 4096), -EINVAL);
	ob__blob_end(&w);
	CU_ASSERT_EQUAL(ob__blob_begin(&w, "m", 1, OB__BLOB_HEADER - 1), -EINVAL);
	ob__blob_end(&w);
	CU_ASSERT_EQUAL(ob__blob_begin(&w, "m", 1, SIZE_MAX), -EINVAL);
	ob__blob_end(&w);
	name[63] = '\0';
	CU_ASSERT_EQUAL(ob__blob_begin(&w, name, 1, 4096), 0);
	CU_ASSERT_EQUAL(ob__blob_finish(&w), 0);
	CU_ASSERT_PTR_NULL(why_not(w.data, w.len, name));
	name[62] = '\0';
	CU_ASSERT_STRING_EQUAL(why_not(w.data, w.len, name), "it is another module's");
	ob__blob_end(&w);
}

/* Each row begins a blob with room for two sections of 8 bytes and adds; the first error stays. */
static void test_add_refused(void)
{
	static const struct {
		uint32_t tag;
		uint32_t flags;
		const char *data;
		size_t len;
		int rc;
	} rows[] = {
		{1, 0, "12345678", 8, -EEXIST},
		{2, 2, "12345678", 8, -EINVAL},
		{2, UINT32_MAX, "12345678", 8, -EINVAL},
		{2, 0, NULL, 1, -EINVAL},
		{2, 0, "123456789", 9, -EFBIG},
		{2, 0, "x", SIZE_MAX, -EFBIG},
		{2, 0, "x", SIZE_MAX - 16, -EFBIG},
		{2, 0, "x", SIZE_MAX / 2, -EFBIG},
		{2, 0, "12345678", 8, 0}, /* exactly full */
		{2, 1, "1234567", 7, 0},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct ob__blob_writer w;
		CU_ASSERT_EQUAL(ob__blob_begin(&w, "m", 1, OB__BLOB_HEADER + 48), 0);
		CU_ASSERT_EQUAL(ob__blob_add(&w, 1, 0, "abcdefgh", 8), 0);
		int rc = ob__blob_add(&w, rows[i].tag, rows[i].flags, rows[i].data, rows[i].len);
		CU_ASSERT_EQUAL(rc, rows[i].rc);
		if (rc != rows[i].rc) {
			printf("# row %zu: %d\n", i, rc);
		}
		CU_ASSERT_EQUAL(ob__blob_finish(&w), rc);
		int later = ob__blob_add(&w, 3, 0, NULL, 0);
		CU_ASSERT_EQUAL(later, rc != 0 ? rc : -EFBIG);
		CU_ASSERT_EQUAL(ob__blob_finish(&w), later);
		ob__blob_end(&w);
	}
}

static void test_many(void)
{
	struct ob__blob_writer w;
	struct ob__blob_reader r;
	const char *why;
	size_t len;

	CU_ASSERT_EQUAL(ob__blob_begin(&w, "m", 1, 64 << 20), 0);
	int rc = 0;
	for (uint32_t i = 0; i < OB__BLOB_SECTIONS; i++) {
		uint64_t value = i * KEY;
		rc |= ob__blob_add(&w, i * 3, 0, &value, sizeof(value));
	}
	CU_ASSERT_EQUAL(rc, 0);
	CU_ASSERT_EQUAL(ob__blob_finish(&w), 0);
	CU_ASSERT_EQUAL_FATAL(ob__blob_open(&r, w.data, w.len, "m", &why), 0);
	size_t wrong = 0;
	for (uint32_t i = OB__BLOB_SECTIONS; i-- > 0;) {
		uint64_t value = i * KEY;
		const void *data = ob__blob_find(&r, i * 3, &len);
		wrong += data == NULL || len != 8 || memcmp(data, &value, 8) != 0;
	}
	CU_ASSERT_EQUAL(wrong, 0);
	ob__blob_close(&r);
	CU_ASSERT_EQUAL(ob__blob_add(&w, 1, 0, "", 0), -EFBIG);

	/* a forged count beyond the bound, of sections that are there */
	uint8_t *more = calloc(1, w.len + 16);
	CU_ASSERT_PTR_NOT_NULL_FATAL(more);
	memcpy(more, w.data, w.len);
	put(more + w.len, 1, 4);
	put(more + AT_COUNT, OB__BLOB_SECTIONS + 1, 4);
	put(more + AT_LENGTH, w.len + 16, 8);
	sign(more, w.len + 16);
	CU_ASSERT_STRING_EQUAL(why_not(more, w.len + 16, "m"), "it claims too many sections");
	free(more);
	ob__blob_end(&w);
}

/* ---------------------------------------------------------------- refused */

/* The golden blob with one field changed, its sum right again where the row says so. */
static const struct {
	size_t at;
	int bytes;
	uint64_t value;
	bool sign;
	const char *why;
} forged[] = {
	{0, 1, 'X', true, "it is no state"},
	{AT_FORMAT, 4, 0, true, "its format is another or newer one"},
	{AT_FORMAT, 4, 2, false, "its format is another or newer one"},
	{AT_FORMAT, 4, UINT32_MAX, true, "its format is another or newer one"},
	{AT_VERSION, 4, 8, false, "its checksum is wrong"},
	{AT_VERSION, 4, 8, true, NULL}, /* whether a module reads it is for the caller to say */
	{AT_COUNT, 4, 2, false, "its checksum is wrong"},
	{AT_COUNT, 4, 2, true, "there are bytes behind its last section"},
	{AT_COUNT, 4, 0, true, "there are bytes behind its last section"},
	{AT_COUNT, 4, 4, true, "a section is cut short"},
	{AT_COUNT, 4, 5, true, "it claims too many sections"},
	{AT_COUNT, 4, UINT32_MAX, true, "it claims too many sections"},
	{AT_LENGTH, 8, 159, true, "there are bytes behind its end"},
	{AT_LENGTH, 8, 161, true, "it is cut short"},
	{AT_LENGTH, 8, UINT64_MAX, true, "it is cut short"},
	{AT_LENGTH, 8, 0, true, "there are bytes behind its end"},
	{AT_NAME, 1, 's', false, "its checksum is wrong"},
	{AT_NAME, 1, 's', true, "it is another module's"},
	{AT_NAME, 1, 0, true, "its module's name is malformed"},
	{AT_NAME + 3, 1, 0, true, "it is another module's"},
	{AT_NAME + 4, 1, 's', true, "it is another module's"},
	{AT_NAME + 5, 1, 's', true, "its module's name is malformed"},
	{AT_NAME + 63, 1, 's', true, "its module's name is malformed"},
	{AT_CRC, 4, 0, false, "its checksum is wrong"},
	{AT_RESERVED, 4, 1, false, "its checksum is wrong"},
	{AT_RESERVED, 4, 1, true, "its header has a field that is not known"},
	{AT_FIRST, 4, 2, true, "a section is there twice"},
	{AT_FIRST, 4, 3, true, NULL},
	{AT_FIRST + 4, 4, 2, true, "a section has flags that are not known"},
	{AT_FIRST + 4, 4, 0x80000000u, true, "a section has flags that are not known"},
	{AT_FIRST + 8, 8, 2, true, "a section's padding is not zero"},
	{AT_FIRST + 8, 8, 8, true, NULL},
	{AT_FIRST + 8, 8, 49, true, "a section is longer than what is there"},
	{AT_FIRST + 8, 8, 48, true, "a section is cut short"},
	{AT_FIRST + 8, 8, UINT64_MAX, true, "a section is longer than what is there"},
	{AT_FIRST + 8, 8, UINT64_MAX - 15, true, "a section is longer than what is there"},
	{AT_FIRST + 8, 8, (uint64_t)1 << 32, true, "a section is longer than what is there"},
	{AT_FIRST + 19, 1, 1, true, "a section's padding is not zero"},
	{AT_FIRST + 23, 1, 1, true, "a section's padding is not zero"},
	{sizeof(golden_1) - 8, 8, 1, true, "a section is longer than what is there"},
};

static void test_forged(void)
{
	for (size_t i = 0; i < sizeof(forged) / sizeof(forged[0]); i++) {
		uint8_t data[sizeof(golden_1)];
		memcpy(data, golden_1, sizeof(data));
		put(data + forged[i].at, forged[i].value, forged[i].bytes);
		if (forged[i].sign) {
			sign(data, sizeof(data));
		}
		const char *why = why_not(data, sizeof(data), "rank");
		bool same = why == NULL || forged[i].why == NULL ? why == forged[i].why
		                                                 : strcmp(why, forged[i].why) == 0;
		CU_ASSERT_TRUE(same);
		if (!same) {
			printf("# row %zu: %s\n", i, why != NULL ? why : "taken");
		}
	}
}

/* Any cut and any flipped bit is noticed. */
static void test_damaged(void)
{
	uint8_t data[sizeof(golden_1) + 9] = {0};

	for (size_t len = 0; len < sizeof(golden_1); len++) {
		CU_ASSERT_PTR_NOT_NULL(why_not(golden_1, len, "rank"));
	}
	memcpy(data, golden_1, sizeof(golden_1));
	for (size_t more = 1; more <= 9; more++) {
		CU_ASSERT_STRING_EQUAL(why_not(data, sizeof(golden_1) + more, "rank"),
		                       "there are bytes behind its end");
	}
	for (size_t bit = 0; bit < 8 * sizeof(golden_1); bit++) {
		data[bit / 8] ^= (uint8_t)(1u << bit % 8);
		CU_ASSERT_PTR_NOT_NULL(why_not(data, sizeof(golden_1), "rank"));
		data[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	CU_ASSERT_STRING_EQUAL(why_not(NULL, 0, "rank"), "it is shorter than its header");
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("blob", NULL, NULL);
	CU_add_test(s, "golden blobs", test_golden);
	CU_add_test(s, "the sum is CRC-32C", test_reference_sum);
	CU_add_test(s, "every length, in order", test_walk);
	CU_add_test(s, "no sections", test_empty);
	CU_add_test(s, "names and bounds", test_names);
	CU_add_test(s, "refused sections", test_add_refused);
	CU_add_test(s, "as many as there may be", test_many);
	CU_add_test(s, "forged", test_forged);
	CU_add_test(s, "damaged", test_damaged);
	return ob__tap_run();
}
