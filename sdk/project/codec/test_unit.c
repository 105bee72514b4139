/*
 * The functions of @NAME@, one by one, against the mock host: no node, no network, no waiting.
 * <obhost/mock.h> says what it can do.
 */

#include <stdio.h>
#include <string.h>

#include <obhost/mock.h>

OB_EXTERN OB_EXPORT const ob_module_desc ob_module; /* of src/@NAME@.c */

static int failures;

#define CHECK(what)                                                        \
	do {                                                               \
		if (!(what)) {                                             \
			failures++;                                        \
			printf("FAIL %s:%d: %s\n", __FILE__, __LINE__, #what); \
		}                                                          \
	} while (0)

static ob_mock *begin(void)
{
	ob_mock *m = ob_mock_new(&ob_module, NULL);

	CHECK(m && ob_mock_begin(m) == 0);
	return m;
}

static void test_decode(void)
{
	static const struct {
		const char *bytes;
		size_t consumed;
		int kind;
		uint32_t id;
		const char *payload;
	} rows[] = {
		{"7 hello\n", 8, OB_PACKET_MESSAGE, 7, "hello"},
		{"7 one\n8 two\n", 6, OB_PACKET_MESSAGE, 7, "one"}, /* one at a time */
		{"7 \n", 3, OB_PACKET_MESSAGE, 7, ""},
		{"7\n", 2, OB_PACKET_MESSAGE, 7, ""},
		{"2147483647 x\n", 13, OB_PACKET_MESSAGE, 2147483647, "x"},
		{"7 hel", 0, OB_PACKET_NEED, 0, NULL},
		{"2147483648 x\n", 0, OB_PACKET_CLOSE, 0, NULL}, /* no message id */
		{"0 x\n", 0, OB_PACKET_CLOSE, 0, NULL},
		{"x\n", 0, OB_PACKET_CLOSE, 0, NULL},
		{"\n", 0, OB_PACKET_CLOSE, 0, NULL},
		{"7 0123456789012345678901234567890123456789", 0, OB_PACKET_CLOSE, 0, NULL},
	};
	ob_mock *m = begin();

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint8_t data[64];
		size_t len = strlen(rows[i].bytes);
		ob_packet p;

		memcpy(data, rows[i].bytes, len);
		ssize_t n = ob_mock_decode(m, "@CODEC@", NULL, data, len, false, 40, &p);
		CHECK(n == (ssize_t)rows[i].consumed && p.kind == rows[i].kind);
		if (p.kind == OB_PACKET_MESSAGE) {
			CHECK(p.id == rows[i].id && p.len == strlen(rows[i].payload));
			CHECK(memcmp(p.data, rows[i].payload, p.len) == 0);
		}
	}
	ob_mock_free(m);
}

static void test_encode(void)
{
	ob_mock *m = begin();
	ob_packet p;
	uint8_t out[64];

	memset(&p, 0, sizeof(p));
	p.kind = OB_PACKET_REPLY;
	p.id = 2147483647;
	p.data = (const uint8_t *)"hello";
	p.len = 5;
	CHECK(ob_mock_encode(m, "@CODEC@", NULL, &p, out, sizeof(out)) == 17);
	CHECK(memcmp(out, "2147483647 hello\n", 17) == 0);
	p.data = (const uint8_t *)"a\nb"; /* two lines are no line */
	p.len = 3;
	CHECK(ob_mock_encode(m, "@CODEC@", NULL, &p, out, sizeof(out)) == 0);
	ob_mock_free(m);
}

int main(void)
{
	test_decode();
	test_encode();
	return failures ? 1 : 0;
}
