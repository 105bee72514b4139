/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/* The C client against servers that do as they are told, in the same thread. */

#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <CUnit/Basic.h>
#include <CUnit/CUnit.h>

#include "clients/c/obhost_client.h"
#include "clients/c/obhost_wire.h"
#include "tap.h"

#define PATIENCE_MS 5000

/* A client, its server, and what it has said. */
struct rig {
	obhost_client *c;
	int listener;
	int fd;
	char url[64];
	char said[4096];
	uint8_t got[65536]; /* what the server has, frames opened */
	size_t got_len;
	int opcode; /* of the last frame */
	int ask_on_open;
	uint32_t retry; /* the last pause */
};

static int64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void note(struct rig *r, const char *text)
{
	size_t at = strlen(r->said);

	snprintf(r->said + at, sizeof(r->said) - at, "%s ", text);
}

static void answered(obhost_client *c, int code, const void *data, size_t len, void *arg)
{
	struct rig *r = arg;
	char text[128];

	(void)c;
	snprintf(text, sizeof(text), "a%d:%.*s", code, (int)len, len ? (const char *)data : "");
	note(r, text);
}

static void pushed(obhost_client *c, uint32_t id, const void *data, size_t len, void *arg)
{
	char text[128];

	(void)c;
	snprintf(text, sizeof(text), "p%u:%.*s", id, (int)len, (const char *)data);
	note(arg, text);
}

static void handled(obhost_client *c, uint32_t id, const void *data, size_t len, void *arg)
{
	(void)c;
	(void)id;
	(void)data;
	(void)len;
	note(arg, "h");
}

static void opened(obhost_client *c, int again, void *arg)
{
	struct rig *r = arg;

	note(r, again ? "again" : "open");
	if (r->ask_on_open) {
		obhost_client_notify(c, 1, "first", 5);
	}
}

static void lost(obhost_client *c, int code, const char *reason, uint32_t retry_ms, void *arg)
{
	char text[200];
	struct rig *r = arg;

	(void)c;
	r->retry = retry_ms;
	CU_ASSERT(retry_ms >= 5 && retry_ms <= 40);
	snprintf(text, sizeof(text), "lost%d", code);
	CU_ASSERT(code == 1005 || *reason);
	note(arg, text);
}

static void closed(obhost_client *c, int code, const char *reason, void *arg)
{
	char text[200];

	(void)c;
	snprintf(text, sizeof(text), "closed%d:%s", code, reason);
	note(arg, text);
}

static void begin(struct rig *r, const char *scheme, obhost_client_options options)
{
	struct sockaddr_in at = {.sin_family = AF_INET};
	socklen_t len = sizeof(at);

	memset(r, 0, sizeof(*r));
	r->fd = -1;
	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	r->listener = socket(AF_INET, SOCK_STREAM, 0);
	CU_ASSERT_FATAL(bind(r->listener, (struct sockaddr *)&at, len) == 0);
	CU_ASSERT_FATAL(listen(r->listener, 4) == 0);
	CU_ASSERT_FATAL(getsockname(r->listener, (struct sockaddr *)&at, &len) == 0);
	snprintf(r->url, sizeof(r->url), "%s://127.0.0.1:%u", scheme, ntohs(at.sin_port));
	options.size = sizeof(options);
	options.url = r->url;
	options.arg = r;
	options.on_push = pushed;
	options.on_open = opened;
	options.on_lost = lost;
	options.on_close = closed;
	options.backoff_min_ms = 10;
	options.backoff_max_ms = 40;
	r->c = obhost_client_new(&options);
	CU_ASSERT_PTR_NOT_NULL_FATAL(r->c);
}

static void finish(struct rig *r)
{
	obhost_client_free(r->c);
	close(r->listener);
	if (r->fd >= 0) {
		close(r->fd);
	}
}

/* Runs the client until it has said so. */
static void until(struct rig *r, const char *said)
{
	int64_t end = now() + PATIENCE_MS;

	while (!strstr(r->said, said) && now() < end) {
		obhost_client_poll(r->c, 5);
	}
	if (!strstr(r->said, said)) {
		CU_FAIL("it did not come");
		printf("# waited for \"%s\", it said \"%s\"\n", said, r->said);
	}
}

static void run_for(struct rig *r, int ms)
{
	int64_t end = now() + ms;

	while (now() < end) {
		obhost_client_poll(r->c, 2);
	}
}

static void take(struct rig *r)
{
	struct pollfd p = {r->listener, POLLIN, 0};
	int64_t end = now() + PATIENCE_MS;

	if (r->fd >= 0) {
		close(r->fd);
	}
	while (poll(&p, 1, 0) == 0 && now() < end) {
		obhost_client_poll(r->c, 2);
	}
	r->fd = accept(r->listener, NULL, NULL);
	CU_ASSERT_FATAL(r->fd >= 0);
	r->got_len = 0;
}

static void receive(struct rig *r, void *data, size_t len)
{
	int64_t end = now() + PATIENCE_MS;
	size_t at = 0;

	while (at < len && now() < end) {
		ssize_t n = recv(r->fd, (char *)data + at, len - at, MSG_DONTWAIT);

		at += n > 0 ? (size_t)n : 0;
		if (n < 0) {
			obhost_client_poll(r->c, 1);
		} else if (n == 0) {
			break;
		}
	}
	CU_ASSERT_EQUAL(at, len);
}

static void say(struct rig *r, const void *data, size_t len)
{
	CU_ASSERT_EQUAL(send(r->fd, data, len, MSG_NOSIGNAL), (ssize_t)len);
}

static void say_packet(struct rig *r, uint32_t id, const char *body, int ws)
{
	uint8_t out[256];
	size_t len = strlen(body);
	size_t at = 0;

	if (ws) {
		out[at++] = 0x82;
		out[at++] = (uint8_t)(OBHOST_PACKET_HEAD + len);
	}
	obhost_packet_head(out + at, id, len);
	memcpy(out + at + OBHOST_PACKET_HEAD, body, len);
	say(r, out, at + OBHOST_PACKET_HEAD + len);
}

/* The next packet of the client is this one. */
static void expect(struct rig *r, uint32_t id, const char *body)
{
	uint8_t want[256];
	uint8_t got[256];
	size_t len = OBHOST_PACKET_HEAD + strlen(body);

	obhost_packet_head(want, id, strlen(body));
	memcpy(want + OBHOST_PACKET_HEAD, body, strlen(body));
	receive(r, got, len);
	CU_ASSERT_EQUAL(memcmp(got, want, len), 0);
}

/* The next frame of the client, its payload in r->got. */
static void frame(struct rig *r)
{
	uint8_t head[6];

	receive(r, head, 6);
	CU_ASSERT_FATAL((head[0] & 0xf0) == 0x80 && (head[1] & 0x80) && (head[1] & 0x7f) < 126);
	r->opcode = head[0] & 15;
	r->got_len = head[1] & 0x7f;
	receive(r, r->got, r->got_len);
	obhost_frame_mask(r->got, r->got_len, 0, head + 2);
}

/* Reads the client's handshake, and answers it; `accept` NULL: rightly. */
static void shake_hands(struct rig *r, const char *accept)
{
	char head[1024] = "";
	char key[OBHOST_KEY_TEXT];
	char right[OBHOST_ACCEPT_TEXT];
	char text[512];
	size_t len = 0;

	while (!obhost_head_end(head, len) && len < sizeof(head) - 1) {
		receive(r, head + len++, 1);
	}
	CU_ASSERT_PTR_NOT_NULL(strstr(head, "GET / HTTP/1.1\r\n"));
	const char *at = strstr(head, "Sec-WebSocket-Key: ");
	CU_ASSERT_PTR_NOT_NULL_FATAL(at);
	snprintf(key, sizeof(key), "%.24s", at + 19);
	obhost_accept_text(key, right);
	int n = snprintf(text, sizeof(text),
	                 "HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
	                 "Sec-WebSocket-Accept: %s\r\n\r\n",
	                 accept ? accept : right);
	say(r, text, (size_t)n);
}

#define NONE ((obhost_client_options){0})

/* ---------------------------------------------------------------- the cases ---------------- */

static void test_tcp(void)
{
	static const uint8_t answers[] = "\x0f\0\0\0\x07\0\0\0\0\0\0\0one"
					 "\x0d\0\0\0\x09\0\0\0\0\0\0\0P"
					 "\x0f\0\0\0\x07\0\0\0\0\0\0\0two"
					 "\x0f\0\0\0\x07\0\0\0\0\0\0\0new";
	struct rig r;

	begin(&r, "tcp", NONE);
	CU_ASSERT_EQUAL(obhost_client_request(r.c, 7, "a", 1, 0, answered, &r), 0);
	CU_ASSERT_EQUAL(obhost_client_request(r.c, 7, "bb", 2, 0, answered, &r), 0);
	CU_ASSERT_EQUAL(obhost_client_fd(r.c), -1);
	take(&r);
	expect(&r, 7, "a");
	expect(&r, 7, "bb");
	for (size_t i = 0; i < sizeof(answers) - 1; i++) {
		say(&r, answers + i, 1);
		obhost_client_poll(r.c, 2);
	}
	until(&r, "p7:new");
	CU_ASSERT_STRING_EQUAL(r.said, "open a0:one p9:P a0:two p7:new ");
	CU_ASSERT_EQUAL(obhost_client_on(r.c, 9, handled, &r), 0);
	say_packet(&r, 9, "P", 0);
	until(&r, "h");
	CU_ASSERT_EQUAL(obhost_client_on(r.c, 9, NULL, NULL), 0);
	say_packet(&r, 9, "Q", 0);
	until(&r, "p9:Q");
	finish(&r);
}

static void test_ws(void)
{
	struct rig r;

	begin(&r, "ws", NONE);
	r.ask_on_open = 1;
	CU_ASSERT_EQUAL(obhost_client_request(r.c, 7, "{}", 2, 0, answered, &r), 0);
	take(&r);
	shake_hands(&r, NULL);
	frame(&r);
	CU_ASSERT_EQUAL(memcmp(r.got, "\x11\0\0\0\x01\0\0\0\0\0\0\0first", 17), 0);
	frame(&r);
	CU_ASSERT_EQUAL(memcmp(r.got, "\x0e\0\0\0\x07\0\0\0\0\0\0\0{}", 14), 0);
	say(&r, "\x89\x02yo", 4);
	say_packet(&r, 7, "done", 1);
	until(&r, "a0:done");
	frame(&r);
	CU_ASSERT(r.opcode == OBHOST_WS_PONG && r.got_len == 2 && memcmp(r.got, "yo", 2) == 0);
	obhost_client_close(r.c, 4000, "bye");
	CU_ASSERT_EQUAL(obhost_client_notify(r.c, 1, "", 0), OBHOST_E_CLOSED);
	frame(&r);
	CU_ASSERT(r.opcode == OBHOST_WS_CLOSE && memcmp(r.got,
	                                                "\x0f\xa0"
	                                                "bye",
	                                                5) == 0);
	close(r.fd);
	r.fd = -1;
	until(&r, "closed4000:bye");
	CU_ASSERT_EQUAL(obhost_client_poll(r.c, 0), OBHOST_E_CLOSED);
	CU_ASSERT_EQUAL(obhost_client_timeout(r.c), -1);
	finish(&r);
}

/* An answer that comes after its request has ended is nobody else's. */
static void test_late(void)
{
	struct rig r;

	begin(&r, "tcp", NONE);
	take(&r);
	until(&r, "open");
	CU_ASSERT_EQUAL(obhost_client_request(r.c, 7, "1", 1, 30, answered, &r), 0);
	until(&r, "a-4:");
	CU_ASSERT_EQUAL(obhost_client_request(r.c, 7, "2", 1, 0, answered, &r), 0);
	say_packet(&r, 7, "late", 0);
	say_packet(&r, 7, "right", 0);
	until(&r, "a0:right");
	CU_ASSERT_STRING_EQUAL(r.said, "open a-4: a0:right ");
	finish(&r);
}

static void test_notified(void)
{
	struct rig r;

	begin(&r, "tcp", (obhost_client_options){.max_requests = 2});
	take(&r);
	until(&r, "open");
	for (int i = 0; i < 3; i++) { /* they take nobody's room; the first one is forgotten */
		CU_ASSERT_EQUAL(obhost_client_notify(r.c, 7, "n", 1), 0);
		expect(&r, 7, "n");
	}
	CU_ASSERT_EQUAL(obhost_client_request(r.c, 7, "r", 1, 0, answered, &r), 0);
	CU_ASSERT_EQUAL(obhost_client_request(r.c, 8, "r", 1, 0, answered, &r), 0);
	CU_ASSERT_EQUAL(obhost_client_notify(r.c, 8, "n", 1), OBHOST_E_FULL);
	say_packet(&r, 7, "to n", 0);
	say_packet(&r, 7, "to n", 0);
	say_packet(&r, 7, "to r", 0);
	say_packet(&r, 7, "push", 0);
	until(&r, "push");
	CU_ASSERT_STRING_EQUAL(r.said, "open a0:to r p7:push ");
	finish(&r);
}

static void test_order(void)
{
	struct rig r;

	begin(&r, "tcp", NONE);
	r.ask_on_open = 1;
	CU_ASSERT_EQUAL(obhost_client_request(r.c, 1, "waits", 5, 0, answered, &r), 0);
	CU_ASSERT_EQUAL(obhost_client_notify(r.c, 2, "n", 1), 0);
	CU_ASSERT_EQUAL(obhost_client_request(r.c, 2, "r", 1, 0, answered, &r), 0);
	take(&r);
	expect(&r, 1, "first");
	expect(&r, 1, "waits");
	expect(&r, 2, "n");
	expect(&r, 2, "r");
	say_packet(&r, 1, "to first", 0);
	say_packet(&r, 1, "to waits", 0);
	say_packet(&r, 2, "to n", 0);
	say_packet(&r, 2, "to r", 0);
	until(&r, "to r");
	CU_ASSERT_STRING_EQUAL(r.said, "open a0:to waits a0:to r ");
	finish(&r);
}

static void test_pauses(void)
{
	struct rig r;

	begin(&r, "ws", NONE);
	for (int i = 0; i < 4; i++) {
		take(&r);
		shake_hands(&r, NULL);
		until(&r, i ? "again" : "open");
		say(&r,
		    "\x89\0\x88\x06\x03\xf5"
		    "full",
		    10); /* a ping, and 1013 */
		until(&r, "lost1013");
		r.said[0] = '\0';
	}
	CU_ASSERT(r.retry >= 20);
	take(&r);
	shake_hands(&r, NULL);
	say_packet(&r, 9, "there", 1);
	until(&r, "p9:there");
	close(r.fd);
	r.fd = -1;
	until(&r, "lost1006");
	CU_ASSERT(r.retry <= 10);
	finish(&r);
	begin(&r, "tcp", NONE);
	for (int i = 0; i < 4; i++) {
		take(&r);
		close(r.fd);
		r.fd = -1;
		until(&r, "lost1006");
		r.said[0] = '\0';
	}
	CU_ASSERT(r.retry >= 20);
	finish(&r);
}

static void test_lost(void)
{
	struct rig r;

	begin(&r, "tcp", NONE);
	take(&r);
	until(&r, "open");
	CU_ASSERT_EQUAL(obhost_client_request(r.c, 7, "1", 1, 0, answered, &r), 0);
	expect(&r, 7, "1");
	close(r.fd);
	r.fd = -1;
	until(&r, "lost1006");
	CU_ASSERT_STRING_EQUAL(r.said, "open a-5: lost1006 ");
	CU_ASSERT_EQUAL(obhost_client_request(r.c, 8, "2", 1, 0, answered, &r), 0);
	take(&r);
	expect(&r, 8, "2");
	say_packet(&r, 8, "ok", 0);
	until(&r, "a0:ok");
	CU_ASSERT_STRING_EQUAL(r.said, "open a-5: lost1006 again a0:ok ");
	finish(&r);
}

static void test_nobody(void)
{
	struct rig r;

	begin(&r, "tcp", NONE);
	close(r.listener);
	r.listener = -1;
	CU_ASSERT_EQUAL(obhost_client_request(r.c, 7, "1", 1, 100, answered, &r), 0);
	until(&r, "a-6:");
	CU_ASSERT_PTR_NOT_NULL(strstr(r.said, "lost1006 lost1006")); /* it has tried again */
	CU_ASSERT(strlen(r.said) < 20 * strlen("lost1006 "));        /* with pauses */
	obhost_client_close(r.c, 0, NULL);
	until(&r, "closed1000:");
	finish(&r);
}

static const struct {
	const char *why;
	const char *bytes;
	size_t len;
	const char *says;
} garbage[] = {
	{"2 GiB", "\xff\xff\xff\x7f\x01\0\0\0\0\0\0\0", 12, "lost1009"},
	{"a negative length", "\xff\xff\xff\xff\x01\0\0\0\0\0\0\0", 12, "lost1002"},
	{"text", "HTTP/1.1 400 Bad Request\r\n\r\n", 28, "lost1009"},
	{"zeros", "\0\0\0\0\0\0\0\0\0\0\0\0\0", 13, "lost1002"},
};

static void test_garbage(void)
{
	for (size_t i = 0; i < sizeof(garbage) / sizeof(garbage[0]); i++) {
		struct rig r;

		begin(&r, "tcp", NONE);
		take(&r);
		until(&r, "open");
		say(&r, garbage[i].bytes, garbage[i].len);
		until(&r, garbage[i].says);
		take(&r);
		until(&r, "again");
		finish(&r);
	}
}

static void test_handshakes(void)
{
	static char long_head[5000];
	struct rig r;

	begin(&r, "ws", (obhost_client_options){.connect_ms = 200});
	take(&r);
	shake_hands(&r, "AAAAAAAAAAAAAAAAAAAAAAAAAAA=");
	until(&r, "lost1002");
	take(&r);
	say(&r, "HTTP/1.1 404 Not Found\r\n\r\n", 26);
	until(&r, "lost1002 lost1002");
	take(&r);
	memset(long_head, 'x', sizeof(long_head));
	say(&r, long_head, sizeof(long_head));
	until(&r, "lost1002 lost1002 lost1002");
	take(&r); /* and says nothing */
	until(&r, "lost1006");
	take(&r);
	shake_hands(&r, NULL);
	until(&r, "open");
	say(&r, "\x81\x02{}", 4);
	until(&r, "lost1003");
	finish(&r);
}

static void test_bounds(void)
{
	struct rig r;
	char body[300] = "";

	begin(&r, "tcp",
	      (obhost_client_options){.max_queue = 1000, .max_requests = 3, .max_message = 200});
	CU_ASSERT_EQUAL(obhost_client_request(r.c, 0, "", 0, 0, answered, &r), OBHOST_E_INVAL);
	CU_ASSERT_EQUAL(obhost_client_request(r.c, 1u << 31, "", 0, 0, answered, &r),
	                OBHOST_E_INVAL);
	CU_ASSERT_EQUAL(obhost_client_request(r.c, 1, "", 0, 0, NULL, NULL), OBHOST_E_INVAL);
	CU_ASSERT_EQUAL(obhost_client_request(r.c, 1, body, 189, 0, answered, &r), OBHOST_E_INVAL);
	for (int i = 0; i < 3; i++) {
		CU_ASSERT_EQUAL(obhost_client_request(r.c, 1, body, 188, 0, answered, &r), 0);
	}
	CU_ASSERT_EQUAL(obhost_client_request(r.c, 1, "", 0, 0, answered, &r), OBHOST_E_FULL);
	obhost_client_free(r.c);
	r.c = NULL;
	CU_ASSERT_STRING_EQUAL(r.said, "a-7: a-7: a-7: ");
	finish(&r);
	begin(&r, "tcp", (obhost_client_options){.max_queue = 500});
	CU_ASSERT_EQUAL(obhost_client_notify(r.c, 1, body, 300), 0);
	CU_ASSERT_EQUAL(obhost_client_notify(r.c, 1, body, 200), OBHOST_E_FULL);
	for (uint32_t id = 1; id <= 64; id++) {
		CU_ASSERT_EQUAL(obhost_client_on(r.c, id, handled, &r), 0);
	}
	CU_ASSERT_EQUAL(obhost_client_on(r.c, 65, handled, &r), OBHOST_E_FULL);
	CU_ASSERT_EQUAL(obhost_client_on(r.c, 64, handled, &r), 0);
	finish(&r);
}

static void test_beats(void)
{
	struct rig r;

	begin(&r, "ws", (obhost_client_options){.heartbeat_ms = 50});
	take(&r);
	shake_hands(&r, NULL);
	for (int i = 0; i < 3; i++) {
		frame(&r);
		CU_ASSERT_EQUAL(r.opcode, OBHOST_WS_PING);
		say(&r, "\x8a\0", 2);
	}
	CU_ASSERT_STRING_EQUAL(r.said, "open ");
	until(&r, "lost1006"); /* nobody has answered */
	finish(&r);
	begin(&r, "tcp", (obhost_client_options){.heartbeat_ms = 50, .heartbeat_id = 10000});
	take(&r);
	expect(&r, 10000, "{}");
	say_packet(&r, 10000, "{}", 0);
	expect(&r, 10000, "{}");
	CU_ASSERT_STRING_EQUAL(r.said, "open ");
	until(&r, "lost1006");
	finish(&r);
	begin(&r, "tcp",
	      (obhost_client_options){
		      .heartbeat_ms = 50, .heartbeat_id = 10000, .max_requests = 1});
	take(&r);
	CU_ASSERT_EQUAL(obhost_client_request(r.c, 7, "", 0, 0, answered, &r), 0);
	CU_ASSERT_EQUAL(obhost_client_request(r.c, 7, "", 0, 0, answered, &r), OBHOST_E_FULL);
	expect(&r, 7, "");
	for (int i = 0; i < 3; i++) { /* a full client asks, too */
		expect(&r, 10000, "{}");
		say_packet(&r, 10000, "{}", 0);
	}
	for (int i = 0; i < 4; i++) {
		expect(&r, 10000, "{}");
		say_packet(&r, 9, "no answer", 0);
	}
	run_for(&r, 200); /* it could not ask, and takes nobody for gone */
	CU_ASSERT_PTR_NULL(strstr(r.said, "lost"));
	finish(&r);
	begin(&r, "tcp", (obhost_client_options){.heartbeat_ms = 20});
	take(&r);
	run_for(&r, 100); /* there is nothing to ask with */
	CU_ASSERT_STRING_EQUAL(r.said, "open ");
	finish(&r);
}

static void test_closed(void)
{
	struct rig r;

	begin(&r, "ws", NONE);
	take(&r);
	shake_hands(&r, NULL);
	until(&r, "open");
	say(&r, "\x88\x07\x03\xe9going", 9); /* 1001: it comes back */
	until(&r, "lost1001");
	frame(&r);
	CU_ASSERT(r.opcode == OBHOST_WS_CLOSE && memcmp(r.got, "\x03\xe9", 2) == 0);
	take(&r);
	shake_hands(&r, NULL);
	until(&r, "again");
	say(&r, "\x88\x0a\x0f\xa1replaced", 12);
	until(&r, "closed4001:replaced");
	CU_ASSERT_EQUAL(obhost_client_state(r.c), OBHOST_ENDED);
	CU_ASSERT_EQUAL(obhost_client_request(r.c, 1, "", 0, 0, answered, &r), OBHOST_E_CLOSED);
	finish(&r);
}

static void ends(obhost_client *c, int code, const void *data, size_t len, void *arg)
{
	answered(c, code, data, len, arg);
	CU_ASSERT_EQUAL(obhost_client_process(c), OBHOST_E_INVAL);
	obhost_client_close(c, 0, "enough");
}

static void asks_again(obhost_client *c, int code, const void *data, size_t len, void *arg)
{
	answered(c, code, data, len, arg);
	CU_ASSERT_EQUAL(obhost_client_request(c, 8, "x", 1, 0, ends, arg), 0);
}

static void test_within(void)
{
	struct rig r;

	begin(&r, "tcp", NONE);
	CU_ASSERT_EQUAL(obhost_client_request(r.c, 7, "", 0, 20, asks_again, &r), 0);
	take(&r);
	expect(&r, 7, "");
	until(&r, "a-4:");
	expect(&r, 8, "x");
	say_packet(&r, 8, "y", 0);
	say_packet(&r, 9, "never heard", 0);
	until(&r, "a0:y");
	close(r.fd);
	r.fd = -1;
	until(&r, "closed1000:enough");
	CU_ASSERT_STRING_EQUAL(r.said, "open a-4: a0:y closed1000:enough ");
	finish(&r);
}

static void test_options(void)
{
	obhost_client_options o = {.size = sizeof(o)};

	CU_ASSERT_PTR_NULL(obhost_client_new(NULL));
	CU_ASSERT_PTR_NULL(obhost_client_new(&o));
	o.url = "http://x";
	CU_ASSERT_PTR_NULL(obhost_client_new(&o));
	o.url = "ws://x";
	o.size = 4;
	CU_ASSERT_PTR_NULL(obhost_client_new(&o));
	o.size = offsetof(obhost_client_options, arg); /* of a first version */
	obhost_client *c = obhost_client_new(&o);
	CU_ASSERT_PTR_NOT_NULL(c);
	obhost_client_free(c);
	obhost_client_free(NULL);
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("c_client", NULL, NULL);
	CU_add_test(s, "TCP: requests, answers, pushes, a byte at a time", test_tcp);
	CU_add_test(s, "WebSocket: handshake, messages, pings, close", test_ws);
	CU_add_test(s, "an answer that comes too late", test_late);
	CU_add_test(s, "an answer to a notification is nobody's", test_notified);
	CU_add_test(s, "answers come in the order of sending", test_order);
	CU_add_test(s, "pauses grow while connections bring nothing", test_pauses);
	CU_add_test(s, "the connection is lost, and made again", test_lost);
	CU_add_test(s, "nobody is there", test_nobody);
	CU_add_test(s, "garbage", test_garbage);
	CU_add_test(s, "wrong handshakes", test_handshakes);
	CU_add_test(s, "bounds", test_bounds);
	CU_add_test(s, "heartbeats", test_beats);
	CU_add_test(s, "the server closes", test_closed);
	CU_add_test(s, "calls from within callbacks", test_within);
	CU_add_test(s, "options", test_options);
	return ob__tap_run();
}
