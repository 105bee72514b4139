/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/* The C client's parsers: whatever a server sends, and however it is cut. */

#include <stdlib.h>
#include <string.h>

#include <CUnit/Basic.h>
#include <CUnit/CUnit.h>

#include "clients/c/obhost_wire.h"
#include "tap.h"

#define MAX 64

struct seen {
	char text[256];
	int stop; /* after so many things; 0: never */
};

static void note(struct seen *s, const char *word, uint32_t n, const uint8_t *data, size_t len)
{
	size_t at = strlen(s->text);

	snprintf(s->text + at, sizeof(s->text) - at, "%s%u:%.*s ", word, n, (int)len,
	         (const char *)data);
}

static int on_packet(void *arg, uint32_t id, const uint8_t *data, size_t len)
{
	struct seen *s = arg;

	note(s, "", id, data, len);
	return s->stop > 0 && --s->stop == 0;
}

static int on_control(void *arg, int opcode, const uint8_t *data, size_t len)
{
	struct seen *s = arg;

	note(s, "c", (uint32_t)opcode, data, len);
	return 0;
}

#define P7   "\x0e\0\0\0\x07\0\0\0\0\0\0\0hi" /* 14 bytes */
#define P8   "\x0c\0\0\0\x08\0\0\0\0\0\0\0"   /* 12 */
#define B(s) (s), sizeof(s) - 1

static const struct {
	const char *why;
	int ws;
	const char *bytes;
	size_t len;
	const char *seen;
	int code; /* of the violation; 0: none */
} rows[] = {
	{"a packet", 0, B(P7), "7:hi ", 0},
	{"two, and half of one", 0, B(P7 P8 "\x0e\0\0\0\x07"), "7:hi 8: ", 0},
	{"the longest", 0,
         B("\x40\0\0\0\x01\0\0\0\0\0\0\0"
           "0123456789012345678901234567890123456789012345678901"),
         "1:0123456789012345678901234567890123456789012345678901 ", 0},
	{"too long", 0, B("\x41\0\0\0\x01\0\0\0\0\0\0\0"), "", 1009},
	{"2 GiB", 0, B("\xff\xff\xff\x7f\x01\0\0\0\0\0\0\0"), "", 1009},
	{"a negative length", 0, B("\xff\xff\xff\xff\x01\0\0\0\0\0\0\0"), "", 1002},
	{"length 0", 0, B("\0\0\0\0\x01\0\0\0\0\0\0\0"), "", 1002},
	{"length 11", 0, B("\x0b\0\0\0\x01\0\0\0\0\0\0\0"), "", 1002},
	{"id 0", 0, B(P7 "\x0c\0\0\0\0\0\0\0\0\0\0\0"), "7:hi ", 1002},
	{"a negative id", 0, B("\x0c\0\0\0\0\0\0\x80\0\0\0\0"), "", 1002},
	{"any version", 0, B("\x0c\0\0\0\x08\0\0\0\xff\0\0\0"), "8: ", 0},
	{"a frame", 1, B("\x82\x0e" P7), "7:hi ", 0},
	{"two packets in a frame", 1, B("\x82\x1a" P7 P8), "7:hi 8: ", 0},
	{"a packet in two messages", 1, B("\x82\x05\x0e\0\0\0\x07\x82\x09\0\0\0\0\0\0\0hi"),
         "7:hi ", 0},
	{"fragments, a ping between them", 1,
         B("\x02\x05\x0e\0\0\0\x07\x89\x02yo\x00\x00\x80\x09\0\0\0\0\0\0\0hi"), "c9:yo 7:hi ", 0},
	{"pong, close", 1, B("\x8a\0\x88\x05\x03\xe9!!!"), "c10: c8:\x03\xe9!!! ", 0},
	{"16 bits of length", 1,
         B("\x82\x7e\0\x80\x40\0\0\0\x01\0\0\0\0\0\0\0"
           "0123456789012345678901234567890123456789012345678901\x40\0\0\0\x02\0\0\0\0\0\0\0"
           "0123456789012345678901234567890123456789012345678901"),
         "1:0123456789012345678901234567890123456789012345678901 "
         "2:0123456789012345678901234567890123456789012345678901 ",
         0},
	{"16 bits that need not be", 1, B("\x82\x7e\0\x7d"), "", 1002},
	{"64 bits that need not be", 1, B("\x82\x7f\0\0\0\0\0\0\xff\xff"), "", 1002},
	{"2^63 and more", 1, B("\x82\x7f\x80\0\0\0\0\0\0\0"), "", 1002},
	{"a huge frame, of packets that are not", 1, B("\x82\x7f\0\0\x01\0\0\0\0\0" P7), "7:hi ",
         0},
	{"masked", 1, B("\x82\x8e\0\0\0\0" P7), "", 1002},
	{"a reserved bit", 1, B("\xc2\x0e" P7), "", 1002},
	{"a text message", 1, B("\x81\x02{}"), "", 1003},
	{"an unknown opcode", 1, B("\x83\0"), "", 1002},
	{"an unknown control frame", 1, B("\x8b\0"), "", 1002},
	{"a ping in fragments", 1, B("\x09\0"), "", 1002},
	{"a ping that is too long", 1, B("\x89\x7e\0\x7e"), "", 1002},
	{"more of nothing", 1, B("\x80\0"), "", 1002},
	{"a message within a message", 1, B("\x02\0\x82\0"), "", 1002},
	{"a close frame of one byte", 1, B("\x88\x01x"), "", 1002},
	{"empty messages", 1, B("\x82\0\x82\0\x82\x0e" P7), "7:hi ", 0},
};

static int run(const uint8_t *data, size_t len, size_t piece, int ws, struct seen *s, int *code)
{
	struct obhost_wire w;
	struct obhost_wire_sink sink = {on_packet, on_control, s};
	int rc = 0;

	obhost_wire_init(&w, ws != 0, MAX);
	for (size_t at = 0; at < len && rc == 0; at += piece) {
		size_t take = len - at < piece ? len - at : piece;
		uint8_t *copy = malloc(take); /* so that reading beyond is seen */

		memcpy(copy, data + at, take);
		rc = obhost_wire_feed(&w, copy, take, &sink);
		free(copy);
		CU_ASSERT(w.packet_cap <= 512);
	}
	*code = rc < 0 ? w.code : 0;
	CU_ASSERT(rc >= 0 || w.problem);
	obhost_wire_free(&w);
	return rc;
}

static void test_rows(void)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		for (size_t piece = 1; piece <= rows[i].len; piece++) {
			struct seen s = {"", 0};
			int code;

			run((const uint8_t *)rows[i].bytes, rows[i].len, piece, rows[i].ws, &s,
			    &code);
			if (strcmp(s.text, rows[i].seen) != 0 || code != rows[i].code) {
				CU_FAIL("a row failed");
				printf("# row: %s, in pieces of %zu: %s, %d\n", rows[i].why, piece,
				       s.text, code);
				break;
			}
		}
	}
	CU_PASS("rows");
}

static void test_stop(void)
{
	struct seen s = {"", 1};
	int code;

	CU_ASSERT_EQUAL(run((const uint8_t *)P7 P8, 26, 26, 0, &s, &code), 1);
	CU_ASSERT_STRING_EQUAL(s.text, "7:hi ");
}

/* A server that says how long a packet is gets no memory for that. */
static void test_memory(void)
{
	static const uint8_t head[] = "\0\0\x10\0\x01\0\0\0\0\0\0\0ab";
	struct obhost_wire w;
	struct seen s = {"", 0};
	struct obhost_wire_sink sink = {on_packet, on_control, &s};

	obhost_wire_init(&w, false, 1 << 20);
	CU_ASSERT_EQUAL(obhost_wire_feed(&w, head, 14, &sink), 0);
	CU_ASSERT(w.packet_cap <= 512);
	obhost_wire_free(&w);
}

static void test_out(void)
{
	uint8_t head[OBHOST_PACKET_HEAD];
	uint8_t frame[OBHOST_FRAME_HEAD];
	static const uint8_t mask[4] = {1, 2, 3, 4};
	uint8_t data[] = {1, 2, 3, 4, 5, 6};

	obhost_packet_head(head, 1000, 32);
	CU_ASSERT_EQUAL(memcmp(head, "\x2c\0\0\0\xe8\x03\0\0\0\0\0\0", 12), 0);
	CU_ASSERT_EQUAL(obhost_frame_head(frame, OBHOST_WS_BINARY, 125, mask), 6);
	CU_ASSERT_EQUAL(memcmp(frame, "\x82\xfd\x01\x02\x03\x04", 6), 0);
	CU_ASSERT_EQUAL(obhost_frame_head(frame, OBHOST_WS_BINARY, 65535, mask), 8);
	CU_ASSERT_EQUAL(memcmp(frame, "\x82\xfe\xff\xff\x01", 5), 0);
	CU_ASSERT_EQUAL(obhost_frame_head(frame, OBHOST_WS_CLOSE, 65536, mask), 14);
	CU_ASSERT_EQUAL(memcmp(frame, "\x88\xff\0\0\0\0\0\x01\0\0\x01", 11), 0);
	obhost_frame_mask(data, 6, 2, mask);
	CU_ASSERT_EQUAL(memcmp(data, "\x02\x06\x02\x06\x06\x02", 6), 0);
}

#define GOOD_HEAD                                                                           \
	"HTTP/1.1 101 Switching Protocols\r\nupgrade: WebSocket\r\nConnection: Upgrade\r\n" \
	"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"

static const struct {
	const char *head;
	const char *says; /* NULL: it is good */
} heads[] = {
	{GOOD_HEAD "\r\n", NULL},
	{GOOD_HEAD "Server: x\r\n\r\n", NULL},
	{"HTTP/1.1 200 OK\r\n\r\n", "does not speak"},
	{"HTTP/1.1 1011 X\r\n\r\n", "does not speak"},
	{"HTTP/1.0 101 X\r\n\r\n", "does not speak"},
	{"hello\r\n\r\n", "does not speak"},
	{"HTTP/1.1 101 X\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n", "upgrade"},
	{"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: close\r\n\r\n", "upgrade"},
	{"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", "for this client"},
	{"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
         "Sec-WebSocket-Accept: S3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
         "for this client"},
	{GOOD_HEAD "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n", "nobody asked"},
	{GOOD_HEAD "Sec-WebSocket-Protocol: chat\r\n\r\n", "nobody asked"},
};

static void test_handshake(void)
{
	char accept[OBHOST_ACCEPT_TEXT];
	char key[OBHOST_KEY_TEXT];

	obhost_accept_text("dGhlIHNhbXBsZSBub25jZQ==", accept); /* RFC 6455, 1.3 */
	CU_ASSERT_STRING_EQUAL(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
	obhost_key_text((const uint8_t *)"the sample nonce", key);
	CU_ASSERT_STRING_EQUAL(key, "dGhlIHNhbXBsZSBub25jZQ==");
	for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
		size_t len = strlen(heads[i].head);

		CU_ASSERT_EQUAL(obhost_head_end(heads[i].head, len), len);
		CU_ASSERT_EQUAL(obhost_head_end(heads[i].head, len - 1), 0);
		const char *problem = obhost_head_problem(heads[i].head, len, accept);
		CU_ASSERT(heads[i].says ? problem && strstr(problem, heads[i].says) : !problem);
	}
}

static const struct {
	const char *text;
	int good;
	int ws;
	const char *host;
	const char *port;
	const char *path;
} urls[] = {
	{"ws://h", 1, 1, "h", "80", "/"},
	{"ws://h:20000/a/b?c=d", 1, 1, "h", "20000", "/a/b?c=d"},
	{"ws://[::1]:5/", 1, 1, "::1", "5", "/"},
	{"ws://[::1]", 1, 1, "::1", "80", "/"},
	{"tcp://127.0.0.1:65535", 1, 0, "127.0.0.1", "65535", "/"},
	{"tcp://h", 0, 0, "", "", ""},
	{"tcp://h:1/x", 0, 0, "", "", ""},
	{"wss://h", 0, 0, "", "", ""},
	{"ws://", 0, 0, "", "", ""},
	{"ws://:5", 0, 0, "", "", ""},
	{"ws://h:", 0, 0, "", "", ""},
	{"ws://h:0", 0, 0, "", "", ""},
	{"ws://h:65536", 0, 0, "", "", ""},
	{"ws://h:5x", 0, 0, "", "", ""},
	{"ws://[::1", 0, 0, "", "", ""},
	{"ws://[::1]x:5", 0, 0, "", "", ""},
	{"ws://h/a\r\nX: y", 0, 0, "", "", ""},
	{"ws://h /", 0, 0, "", "", ""},
	{"", 0, 0, "", "", ""},
};

static void test_urls(void)
{
	for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
		struct obhost_url u;
		int rc = obhost_url_parse(&u, urls[i].text);

		if (rc != (urls[i].good ? 0 : -1) ||
		    (urls[i].good &&
		     (u.ws != (urls[i].ws != 0) || strcmp(u.host, urls[i].host) != 0 ||
		      strcmp(u.port, urls[i].port) != 0 || strcmp(u.path, urls[i].path) != 0))) {
			CU_FAIL("a row failed");
			printf("# row: %s: %d %s %s %s\n", urls[i].text, rc, u.host, u.port,
			       u.path);
		}
	}
	CU_PASS("rows");
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("c_wire", NULL, NULL);
	CU_add_test(s, "what comes, in pieces of any size", test_rows);
	CU_add_test(s, "who has enough gets no more", test_stop);
	CU_add_test(s, "memory is for bytes that have come", test_memory);
	CU_add_test(s, "what goes", test_out);
	CU_add_test(s, "handshakes", test_handshake);
	CU_add_test(s, "addresses", test_urls);
	return ob__tap_run();
}
