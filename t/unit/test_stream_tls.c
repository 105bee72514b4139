/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "net/stream.h"

#include <CUnit/CUnit.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include <openssl/crypto.h>

#include "net/stream_priv.h"
#include "net_util.h"
#include "tap.h"
#include "tls_util.h"

#define KEEP (64u << 10)

/* The owner of a stream.  What arrives must be the bytes 0, 1, 2, ... of pattern(). */
struct end {
	struct ob__stream s;
	unsigned connects;
	unsigned secures;
	unsigned ends;
	unsigned drains;
	unsigned closes;
	unsigned wrong;
	int status;
	char error[200];
	size_t got;
	uint8_t data[KEEP]; /* the first of it */
	void (*in_secure)(struct end *e);
	void (*in_read)(struct end *e);
};

static struct net net;
static struct end client;
static struct end server;
static struct end heir; /* gets the server's socket */
static struct ob__tls_ctx *client_ctx;
static struct ob__tls_ctx *server_ctx;
static struct ob__tls_start client_start;
static struct ob__tls_start server_start;
static unsigned accepted;
static unsigned allocations; /* of OpenSSL */
static uint32_t seed;

static uint32_t rnd(uint32_t below)
{
	seed = seed * 1664525u + 1013904223u;
	return (seed >> 8) % below;
}

static uint8_t pattern(size_t i)
{
	return (uint8_t)(i * 7 + (i >> 8) * 13 + (i >> 16));
}

static void on_read(struct ob__stream *s, uint8_t *data, size_t len)
{
	struct end *e = s->owner;
	CU_ASSERT_TRUE(e->secures == 1);
	for (size_t i = 0; i < len; i++) {
		e->wrong += data[i] != pattern(e->got + i);
		if (e->got + i < KEEP) {
			e->data[e->got + i] = data[i];
		}
	}
	e->got += len;
	memset(data, 0xee, len); /* it may be changed in place */
	if (e->in_read != NULL) {
		e->in_read(e);
	}
}

static void on_end(struct ob__stream *s, int status)
{
	struct end *e = s->owner;
	CU_ASSERT_FALSE(s->closing);
	e->ends++;
	e->status = status;
	snprintf(e->error, sizeof(e->error), "%s", ob__stream_error(s, status));
}

static void on_drained(struct ob__stream *s)
{
	((struct end *)s->owner)->drains++;
}

static void on_close(struct ob__stream *s)
{
	CU_ASSERT_EQUAL(s->queued, 0);
	((struct end *)s->owner)->closes++;
}

static const struct ob__stream_ops ops = {on_read, on_end, on_drained, on_close};

static void on_secure(struct ob__stream *s)
{
	struct end *e = s->owner;
	CU_ASSERT_TRUE(ob__stream_is_secure(s));
	e->secures++;
	if (e->in_secure != NULL) {
		e->in_secure(e);
	}
}

static void on_connect(struct ob__stream *s, int status)
{
	CU_ASSERT_EQUAL(status, 0);
	((struct end *)s->owner)->connects++;
	ob__stream_read(s, true);
}

static void on_accept(struct ob__listener *l, uv_stream_t *from, void *arg)
{
	(void)l;
	(void)arg;
	ob__stream_init(&server.s, &net.m, &ops, &server);
	CU_ASSERT_EQUAL(ob__stream_accept(&server.s, from), 0);
	CU_ASSERT_EQUAL(ob__stream_tls(&server.s, server_ctx, &server_start), 0);
	ob__stream_read(&server.s, true);
	accepted++;
}

/* ---------------------------------------------------------------- contexts */

static const uint8_t psk[OB__TLS_PSK_KEY] = "0123456789abcdef0123456789abcde";

static int find_psk(struct ob__stream *s, const uint8_t *id, size_t len, uint8_t *key)
{
	CU_ASSERT_PTR_EQUAL(s, &server.s);
	if (len != 5 || memcmp(id, "known", 5) != 0) {
		return -ENOENT;
	}
	memcpy(key, psk, sizeof(psk));
	return 0;
}

static struct ob__tls_ctx *make(struct ob__tls_options o)
{
	char err[256];
	struct ob__tls_ctx *ctx = ob__tls_ctx_new(&o, err, sizeof(err));
	if (ctx == NULL) {
		printf("# %s\n", err);
	}
	CU_ASSERT_PTR_NOT_NULL_FATAL(ctx);
	return ctx;
}

static void set_id(const char *id)
{
	client_start = (struct ob__tls_start){.on_secure = on_secure, .psk_id_len = strlen(id)};
	memcpy(client_start.psk_id, id, strlen(id));
	memcpy(client_start.psk_key, psk, sizeof(psk));
}

static void begin_with(struct ob__tls_ctx *for_server, struct ob__tls_ctx *for_client)
{
	net_up(&net);
	memset(&client, 0, sizeof(client));
	memset(&server, 0, sizeof(server));
	memset(&heir, 0, sizeof(heir));
	accepted = 0;
	server_ctx = for_server;
	client_ctx = for_client;
	server_start = (struct ob__tls_start){.on_secure = on_secure};
	set_id("known");
	net_listen(&net, NULL, on_accept, NULL);
}

static void begin(void)
{
	begin_with(
		make((struct ob__tls_options){.server = true, .psk = true, .psk_find = find_psk}),
		make((struct ob__tls_options){.psk = true}));
}

static void dial_port(int port)
{
	struct sockaddr_in addr = net_addr(port);
	ob__stream_init(&client.s, &net.m, &ops, &client);
	CU_ASSERT_EQUAL(ob__stream_tls(&client.s, client_ctx, &client_start), 0);
	CU_ASSERT_EQUAL(ob__stream_connect(&client.s, (struct sockaddr *)&addr, NULL, on_connect),
	                0);
}

static void dial(void)
{
	dial_port(ob__listener_port(net.listener));
}

static void drop_end(struct end *e)
{
	if (e->s.m != NULL && !e->s.closed) {
		ob__stream_close(&e->s);
		CU_ASSERT(net_until(&net, &e->closes, 1));
	}
}

static void hang_up(void)
{
	drop_end(&client);
	drop_end(&server);
	drop_end(&heir);
	memset(&client, 0, sizeof(client));
	memset(&server, 0, sizeof(server));
	memset(&heir, 0, sizeof(heir));
	accepted = 0;
}

static void end(void)
{
	hang_up();
	ob__tls_ctx_free(server_ctx);
	ob__tls_ctx_free(client_ctx);
	net_down(&net);
}

static bool both_secure(void)
{
	return net_until(&net, &client.secures, 1) && net_until(&net, &server.secures, 1);
}

static void begin_secure(void)
{
	begin();
	dial();
	CU_ASSERT_TRUE(both_secure());
}

static bool has_got(const struct end *e, size_t len)
{
	uint64_t until = ob__loop_hrtime_us() + NET_MS_MAX * 1000u;
	while (e->got < len && e->ends == 0 && ob__loop_hrtime_us() < until) {
		ob__loop_turn(net.loop);
	}
	return e->got == len && e->wrong == 0;
}

/* Appends the next `len` bytes of the pattern. */
static void send_pattern(struct end *e, size_t *sent, size_t len, bool as_reference)
{
	struct ob__rbuf *r = ob__rbuf_new(len);
	for (size_t i = 0; i < len; i++) {
		r->data[i] = pattern(*sent + i);
	}
	CU_ASSERT_EQUAL(as_reference ? ob__stream_append_ref(&e->s, r, 0, len)
	                             : ob__stream_append(&e->s, r->data, len),
	                0);
	ob__rbuf_unref(r);
	*sent += len;
}

/* ---------------------------------------------------------------- it works */

static void test_handshake(void)
{
	uint8_t a[32];
	uint8_t b[32];
	char cipher[64];
	begin();
	dial();
	CU_ASSERT_EQUAL(ob__stream_export(&client.s, "EXPORTER-x", a, 32), -ENOTCONN);
	CU_ASSERT_TRUE(both_secure());
	CU_ASSERT_EQUAL(ob__stream_export(&client.s, "EXPORTER-x", a, 32), 0);
	CU_ASSERT_EQUAL(ob__stream_export(&server.s, "EXPORTER-x", b, 32), 0);
	CU_ASSERT_EQUAL(memcmp(a, b, 32), 0);
	CU_ASSERT_EQUAL(ob__stream_export(&server.s, "EXPORTER-y", b, 32), 0);
	CU_ASSERT_NOT_EQUAL(memcmp(a, b, 32), 0);
	ob__stream_cipher(&server.s, cipher, sizeof(cipher));
	CU_ASSERT_STRING_EQUAL(cipher, "TLSv1.3 TLS_AES_128_GCM_SHA256");
	CU_ASSERT_EQUAL(SSL_get_negotiated_group(server.s.tls->ssl) != 0, 1); /* psk_dhe_ke */
	CU_ASSERT_FALSE(ob__stream_peer_has_uri(&server.s, "x"));
	end();
}

/* Appended before there is a connection: waits, counts, and goes out once. */
static void test_early(void)
{
	size_t sent = 0;
	begin();
	dial();
	client.s.high = 1000;
	send_pattern(&client, &sent, 100000, false);
	CU_ASSERT_TRUE(client.s.above);
	CU_ASSERT_EQUAL(client.s.queued, 100000);
	CU_ASSERT_TRUE(has_got(&server, sent));
	CU_ASSERT_EQUAL(client.s.queued, 0);
	CU_ASSERT(net_until(&net, &client.drains, 1));
	end();
}

static void test_random_sizes(void)
{
	size_t up = 0;
	size_t down = 0;
	begin_secure();
	for (int i = 0; i < 400; i++) {
		size_t len = rnd(4) == 0 ? 1 + rnd(150000) : 1 + rnd(300);
		send_pattern(rnd(2) == 0 ? &client : &client, &up, len, rnd(2) == 0);
		send_pattern(&server, &down, 1 + rnd(2000), false);
		if (rnd(3) == 0) {
			ob__loop_turn(net.loop);
		}
	}
	CU_ASSERT_TRUE(has_got(&server, up));
	CU_ASSERT_TRUE(has_got(&client, down));
	CU_ASSERT_EQUAL(client.s.queued + server.s.queued, 0);
	CU_ASSERT_EQUAL(client.ends + server.ends, 0);
	end();
}

/* One record takes what a turn has to say. */
static void test_batches(void)
{
	size_t sent = 0;
	begin_secure();
	net_turns(&net, 3);
	uint64_t bytes = net.m.bytes_out;
	uint64_t calls = net.m.syscalls_out;
	for (int i = 0; i < 200; i++) {
		send_pattern(&client, &sent, 64, false);
	}
	CU_ASSERT_TRUE(has_got(&server, sent));
	CU_ASSERT_EQUAL(net.m.syscalls_out - calls, 1);
	CU_ASSERT_EQUAL(net.m.bytes_out - bytes, sent + 22); /* one header, one tag */
	end();
}

static void test_slow_reader(void)
{
	size_t sent = 0;
	int little = 8192;
	begin_secure();
	ob__stream_read(&server.s, false);
	net_send_buffer(&client.s, little);
	client.s.high = 1 << 20;
	size_t before = server.got;
	while (sent < 8u << 20) {
		send_pattern(&client, &sent, 50000, sent % 3 == 0);
		ob__loop_turn(net.loop);
		CU_ASSERT_TRUE(client.s.queued <= sent);
		CU_ASSERT_TRUE(ob__stream_kept(&client.s) <= client.s.queued);
	}
	CU_ASSERT_EQUAL(server.got, before);
	CU_ASSERT_TRUE(client.s.above);
	CU_ASSERT_TRUE(client.s.queued > 1 << 20);
	CU_ASSERT_EQUAL(client.drains, 0);
	ob__stream_read(&server.s, true);
	CU_ASSERT_TRUE(has_got(&server, sent));
	CU_ASSERT(net_until(&net, &client.drains, 1));
	CU_ASSERT_EQUAL(client.s.queued, 0);
	end();
}

/* OpenSSL takes some small pieces per record, however much is in it. */
static unsigned allocations_for(unsigned messages, size_t *sent)
{
	allocations = 0;
	for (unsigned i = 0; i < messages; i++) {
		send_pattern(&client, sent, 64, false);
	}
	CU_ASSERT_TRUE(has_got(&server, *sent));
	return allocations;
}

static void test_allocations(void)
{
	size_t sent = 0;
	begin_secure();
	allocations_for(1, &sent); /* warms up */
	unsigned one_message = allocations_for(1, &sent);
	CU_ASSERT_EQUAL(allocations_for(200, &sent), one_message);
	CU_ASSERT_TRUE(one_message <= 8);
	end();
}

static void test_new_keys(void)
{
	size_t sent = 0;
	size_t back = 0;
	begin_secure();
	for (int i = 0; i < 20; i++) {
		client.s.tls->records = OB__TLS_REKEY - 1;
		send_pattern(&client, &sent, 40000, false);
		CU_ASSERT_TRUE(has_got(&server, sent));
	}
	/* and one that wants ours changed too */
	SSL_key_update(client.s.tls->ssl, SSL_KEY_UPDATE_REQUESTED);
	send_pattern(&client, &sent, 10, false);
	CU_ASSERT_TRUE(has_got(&server, sent));
	send_pattern(&server, &back, 10, false);
	CU_ASSERT_TRUE(has_got(&client, back));
	end();
}

static void test_put_back(void)
{
	size_t sent = 0;
	begin_secure();
	send_pattern(&client, &sent, 5000, false);
	CU_ASSERT_TRUE(has_got(&server, sent));
	CU_ASSERT_EQUAL(ob__stream_unread(&server.s, server.data + 1000, 4000), 0);
	server.got = 1000;
	send_pattern(&client, &sent, 5000, false);
	CU_ASSERT_TRUE(has_got(&server, sent));
	end();
}

static void stop_reading(struct end *e)
{
	ob__stream_read(&e->s, false);
}

/* What came with the handshake's last bytes waits for an owner that does not read. */
static void test_paused_in_handshake(void)
{
	size_t sent = 0;
	begin();
	dial();
	server.in_secure = stop_reading;
	send_pattern(&client, &sent, 300, false);
	CU_ASSERT_TRUE(both_secure());
	net_turns(&net, 5);
	CU_ASSERT_EQUAL(server.got, 0);
	ob__stream_read(&server.s, true);
	CU_ASSERT_TRUE(has_got(&server, sent));
	end();
}

/* The heir takes over the socket. */
static void inherit(struct end *from)
{
	heir.secures = 1;
	ob__stream_init(&heir.s, &net.m, &ops, &heir);
	CU_ASSERT_EQUAL(ob__stream_adopt(&heir.s, &from->s), 0);
	ob__stream_read(&heir.s, true);
}

static void test_adopt(void)
{
	size_t sent = 0;
	size_t back = 0;
	begin_secure();
	send_pattern(&server, &back, 100, false);
	inherit(&server);
	send_pattern(&client, &sent, 70000, false);
	CU_ASSERT_TRUE(has_got(&heir, sent));
	CU_ASSERT_TRUE(has_got(&client, back));
	end();
}

/* ---------------------------------------------------------------- ends */

/* All that was said before the goodbye arrives before the end, which is a clean one; and the other
 * side may still talk. */
static void test_clean_end(void)
{
	size_t sent = 0;
	begin_secure();
	send_pattern(&client, &sent, 200000, false);
	ob__stream_close_flushed(&client.s, 5000);
	CU_ASSERT_TRUE(net_until(&net, &server.ends, 1));
	CU_ASSERT_EQUAL(server.status, UV_EOF);
	CU_ASSERT_EQUAL(server.got, sent);
	CU_ASSERT_EQUAL(server.wrong, 0);
	CU_ASSERT_EQUAL(ob__stream_append(&server.s, "still here", 10), 0);
	net_turns(&net, 3);
	CU_ASSERT_EQUAL(server.s.queued, 0);
	CU_ASSERT_EQUAL(server.ends, 1);
	ob__stream_close_flushed(&server.s, 5000);
	CU_ASSERT_TRUE(net_until(&net, &client.closes, 1));
	CU_ASSERT_TRUE(net_until(&net, &server.closes, 1));
	end();
}

/* The client's data and its goodbye, which the server reads together; the socket stays open. */
static void say_and_bye(size_t *sent)
{
	send_pattern(&client, sent, 5000, false);
	ob__streams_flush(&net.m);
	CU_ASSERT_TRUE(ob__tls_say_bye(&client.s));
	ob__stream_mark_dirty(&client.s);
	ob__streams_flush(&net.m);
}

/* Leaves all but 1,000 bytes for later. */
static void put_back_and_stop(struct end *e)
{
	CU_ASSERT_EQUAL(ob__stream_unread(&e->s, e->data + 1000, e->got - 1000), 0);
	ob__stream_read(&e->s, false);
	e->got = 1000;
	e->in_read = NULL;
}

/* A goodbye that was read waits with what was put back, until that is read; and, when all is read,
 * until an owner that has stopped reading goes on. */
static void test_goodbye_waits(void)
{
	for (int again = 0; again < 2; again++) {
		size_t sent = 0;
		begin_secure();
		server.in_read = again ? stop_reading : put_back_and_stop;
		say_and_bye(&sent);
		net_turns(&net, 5);
		CU_ASSERT_EQUAL(server.got, again ? sent : 1000);
		CU_ASSERT_EQUAL(server.ends, 0);
		CU_ASSERT_EQUAL(ob__stream_append(&server.s, "\0", 1), 0);
		CU_ASSERT_TRUE(has_got(&client, 1));
		ob__stream_read(&server.s, true);
		CU_ASSERT_TRUE(net_until(&net, &server.ends, 1));
		CU_ASSERT_EQUAL(server.status, UV_EOF);
		CU_ASSERT_EQUAL(server.got, sent);
		CU_ASSERT_EQUAL(server.wrong, 0);
		net_turns(&net, 5);
		CU_ASSERT_EQUAL(server.ends, 1);
		CU_ASSERT_EQUAL(client.ends, 0);
		end();
	}
}

/* The socket's own end comes behind the goodbye, and is no second one; also when the owner has
 * heard of neither yet. */
static void test_goodbye_then_end(void)
{
	size_t sent = 0;
	begin_secure();
	server.in_read = put_back_and_stop;
	say_and_bye(&sent);
	ob__stream_close(&client.s);
	net_turns(&net, 5);
	CU_ASSERT_EQUAL(server.ends, 0);
	ob__stream_read(&server.s, true);
	CU_ASSERT_TRUE(net_until(&net, &server.ends, 1));
	CU_ASSERT_EQUAL(server.status, UV_EOF);
	CU_ASSERT_EQUAL(server.got, sent);
	net_turns(&net, 5);
	CU_ASSERT_EQUAL(server.ends, 1);
	end();
}

/* Hands on the socket, with half of what was read. */
static void hand_on(struct end *e)
{
	heir.got = e->got / 2;
	CU_ASSERT_EQUAL(ob__stream_unread(&e->s, e->data + heir.got, e->got - heir.got), 0);
	inherit(e);
}

/* All of it, and then the end. */
static void heir_hears(size_t len, int status)
{
	CU_ASSERT_TRUE(net_until(&net, &heir.ends, 1));
	CU_ASSERT_EQUAL(heir.status, status);
	CU_ASSERT_EQUAL(heir.got, len);
	CU_ASSERT_EQUAL(heir.wrong, 0);
	CU_ASSERT_EQUAL(server.ends, 0);
}

/* Who gets a socket from within on_read gets the goodbye that came with it too. */
static void test_goodbye_to_heir(void)
{
	size_t sent = 0;
	begin_secure();
	server.in_read = hand_on;
	say_and_bye(&sent);
	heir_hears(sent, UV_EOF);
	CU_ASSERT_EQUAL(client.ends, 0);
	end();
}

/* The same with a record that nobody can read behind the data. */
static void test_nonsense_to_heir(void)
{
	char record[5 + 32] = "\x17\x03\x03\x00\x20";
	const uv_buf_t piece = uv_buf_init(record, sizeof(record));
	size_t sent = 0;
	begin_secure();
	server.in_read = hand_on;
	send_pattern(&client, &sent, 5000, false);
	ob__streams_flush(&net.m);
	CU_ASSERT_EQUAL(ob__sock_write(&client.s.sock, &piece, 1), (ssize_t)sizeof(record));
	heir_hears(sent, UV_EPROTO);
	CU_ASSERT_PTR_NOT_NULL(strstr(heir.error, "TLS failed ("));
	end();
}

/* Closing at once says goodbye if nothing is lost by it, and else does not claim so. */
static void test_close_at_once(void)
{
	size_t sent = 0;
	begin_secure();
	ob__stream_close(&client.s);
	CU_ASSERT_TRUE(net_until(&net, &server.ends, 1));
	CU_ASSERT_EQUAL(server.status, UV_EOF);
	hang_up();
	dial();
	CU_ASSERT_TRUE(both_secure());
	send_pattern(&client, &sent, 100, false);
	ob__stream_close(&client.s);
	CU_ASSERT_TRUE(net_until(&net, &server.ends, 1));
	CU_ASSERT_EQUAL(server.status, UV_ECONNABORTED);
	CU_ASSERT_STRING_EQUAL(server.error, "cut off: the connection ended without TLS's goodbye");
	end();
}

static void test_silent(void)
{
	begin();
	server_start.ms = 30;
	int fd = net_dial(&net, 0);
	CU_ASSERT_TRUE(net_until(&net, &server.ends, 1));
	CU_ASSERT_EQUAL(server.status, UV_ETIMEDOUT);
	CU_ASSERT_STRING_EQUAL(server.error, "no TLS handshake within 30 ms");
	close(fd);
	end();
}

/* What comes instead of a handshake, and what it is called. */
static const struct {
	const char *bytes;
	size_t len;
	int status;
} garbage[] = {
	{"GET / HTTP/1.1\r\n\r\n", 18, UV_EPROTONOSUPPORT},
	{"\x78\x00\x00\x00\x01\x05", 6, UV_EPROTONOSUPPORT},     /* a frame */
	{"\x15\x03\x03\x00\x02\x02\x28", 7, UV_EPROTONOSUPPORT}, /* an alert first */
	{"\x16\x03\x01\xff\xff garbage", 13, UV_EPROTO},
	{"\x16\x16\x16\x16\x16\x16\x16\x16\x16", 9, UV_EPROTO},
	{"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", 10, UV_EPROTO}, /* a hello that is none */
	{"\x16", 1, UV_ECONNABORTED},
	{"\x16\x03\x01\x02\x00\x01", 6, UV_ECONNABORTED},
};

static void test_garbage(void)
{
	begin();
	for (size_t i = 0; i < sizeof(garbage) / sizeof(garbage[0]); i++) {
		int fd = net_dial(&net, 0);
		CU_ASSERT_EQUAL(write(fd, garbage[i].bytes, garbage[i].len),
		                (ssize_t)garbage[i].len);
		shutdown(fd, SHUT_WR);
		CU_ASSERT_TRUE(net_until(&net, &server.ends, 1));
		CU_ASSERT_EQUAL(server.status, garbage[i].status);
		CU_ASSERT_EQUAL(server.secures + server.got, 0);
		close(fd);
		hang_up();
	}
	end();
}

static void test_last_word(void)
{
	char word[32] = "";
	begin();
	int fd = net_dial(&net, 0);
	CU_ASSERT_TRUE(net_until(&net, &accepted, 1));
	ob__stream_append(&server.s, "secret", 6);
	CU_ASSERT_EQUAL(write(fd, "hello", 5), 5);
	CU_ASSERT_TRUE(net_until(&net, &server.ends, 1));
	CU_ASSERT_EQUAL(server.s.queued, 0);
	ob__stream_append(&server.s, "speak TLS", 9);
	ob__stream_close_flushed(&server.s, 1000);
	net_turns(&net, 3);
	CU_ASSERT_EQUAL(recv(fd, word, sizeof(word), 0), 9);
	CU_ASSERT_STRING_EQUAL(word, "speak TLS");
	CU_ASSERT_EQUAL(recv(fd, word, sizeof(word), 0), 0);
	close(fd);
	CU_ASSERT_TRUE(net_until(&net, &server.closes, 1));
	end();
}

/* ---------------------------------------------------------------- on the wire */

/* Carries bytes between the two ends; `cut` of them at most at a time. */
struct relay {
	int listener;
	int to_client;
	int to_server;
	size_t carried[2]; /* from the client, from the server */
	size_t stop_at;    /* of the client's: the rest is lost */
	size_t flip_at;    /* of the client's: this byte is changed */
	uint32_t cut;
};

static void relay_open(struct relay *r)
{
	struct sockaddr_in addr = net_addr(0);
	socklen_t len = sizeof(addr);
	*r = (struct relay){.stop_at = SIZE_MAX, .flip_at = SIZE_MAX, .cut = 4096};
	r->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CU_ASSERT_FATAL(bind(r->listener, (struct sockaddr *)&addr, len) == 0);
	CU_ASSERT_FATAL(listen(r->listener, 4) == 0);
	getsockname(r->listener, (struct sockaddr *)&addr, &len);
	dial_port(ntohs(addr.sin_port));
	r->to_client = accept(r->listener, NULL, NULL);
	fcntl(r->to_client, F_SETFL, O_NONBLOCK);
	r->to_server = net_dial(&net, 0);
	CU_ASSERT_FATAL(r->to_client >= 0 && r->to_server >= 0);
}

static void relay_close(struct relay *r)
{
	close(r->listener);
	close(r->to_client);
	close(r->to_server);
}

static void carry(struct relay *r, int side)
{
	uint8_t data[4096];
	int from = side == 0 ? r->to_client : r->to_server;
	int to = side == 0 ? r->to_server : r->to_client;
	ssize_t n = recv(from, data, 1 + rnd(r->cut), 0);
	for (ssize_t i = 0; i < n; i++) {
		size_t at = r->carried[side]++;
		data[i] ^= side == 0 && at == r->flip_at ? 0x10 : 0;
		if (side == 0 && at >= r->stop_at) {
			continue;
		}
		CU_ASSERT_EQUAL(send(to, data + i, 1, MSG_NOSIGNAL | MSG_MORE), 1);
	}
	if (n > 0) {
		int on = 1;
		setsockopt(to, IPPROTO_TCP, 1 /* TCP_NODELAY: pushes what waits */, &on,
		           sizeof(on));
	}
}

static void carry_until_quiet(struct relay *r)
{
	size_t before;
	unsigned quiet = 0;
	while (quiet < 20 && server.ends == 0 && client.ends == 0) {
		before = r->carried[0] + r->carried[1];
		carry(r, 0);
		carry(r, 1);
		ob__loop_turn(net.loop);
		quiet = r->carried[0] + r->carried[1] == before ? quiet + 1 : 0;
	}
}

/* Records cut anywhere, down to single bytes, with other bytes between. */
static void test_cut_records(void)
{
	struct relay r;
	begin();
	for (int round = 0; round < 12; round++) {
		size_t up = 0;
		size_t down = 0;
		relay_open(&r);
		r.cut = round < 2 ? 1 : 1 + rnd(2000);
		for (int i = 0; i < 12; i++) {
			if (round >= 2) {
				send_pattern(&client, &up, 1 + rnd(30000), false);
			} else {
				send_pattern(&client, &up, 1 + rnd(300), false);
			}
			CU_ASSERT_EQUAL(server.s.m == NULL || server.s.failed == 0, 1);
			carry_until_quiet(&r);
			send_pattern(&server, &down, 1 + rnd(500), false);
		}
		carry_until_quiet(&r);
		CU_ASSERT_EQUAL(client.ends + server.ends, 0);
		CU_ASSERT_EQUAL(server.got, up);
		CU_ASSERT_EQUAL(client.got, down);
		CU_ASSERT_EQUAL(server.wrong + client.wrong, 0);
		hang_up();
		relay_close(&r);
	}
	end();
}

/* A changed byte, wherever it is: an error, and nothing but a true beginning was delivered. */
static void test_changed_byte(void)
{
	struct relay r;
	begin();
	for (int round = 0; round < 60; round++) {
		size_t up = 0;
		relay_open(&r);
		r.flip_at = rnd(round % 2 == 0 ? 500 : 30000);
		send_pattern(&client, &up, 30000, false);
		carry_until_quiet(&r);
		CU_ASSERT_TRUE(server.ends + client.ends > 0);
		if (server.ends > 0) {
			CU_ASSERT_TRUE(server.status == UV_EPROTO ||
			               server.status == UV_EPROTONOSUPPORT);
		}
		CU_ASSERT_TRUE(server.got < up);
		CU_ASSERT_EQUAL(server.wrong, 0);
		hang_up();
		relay_close(&r);
	}
	end();
}

/* The wire breaks: no end that looks like one of the peer's. */
static void test_truncated(void)
{
	struct relay r;
	begin();
	for (int round = 0; round < 30; round++) {
		size_t up = 0;
		relay_open(&r);
		r.stop_at = rnd(round % 2 == 0 ? 600 : 20000);
		send_pattern(&client, &up, 20000, false);
		carry_until_quiet(&r);
		shutdown(r.to_server, SHUT_WR);
		CU_ASSERT_TRUE(net_until(&net, &server.ends, 1));
		CU_ASSERT_EQUAL(server.status, UV_ECONNABORTED);
		CU_ASSERT_TRUE(server.got < up);
		CU_ASSERT_EQUAL(server.wrong, 0);
		hang_up();
		relay_close(&r);
	}
	end();
}

/* Abrupt: a reset, in the handshake and later. */
static void test_reset(void)
{
	struct relay r;
	begin();
	for (int round = 0; round < 2; round++) {
		relay_open(&r);
		if (round == 0) {
			CU_ASSERT_TRUE(net_until(&net, &accepted, 1));
		} else {
			carry_until_quiet(&r);
			CU_ASSERT_EQUAL(server.secures, 1);
		}
		net_reset(r.to_server);
		r.to_server = -1;
		CU_ASSERT_TRUE(net_until(&net, &server.ends, 1));
		CU_ASSERT_EQUAL(server.status, UV_ECONNRESET);
		hang_up();
		relay_close(&r);
	}
	end();
}

/* ---------------------------------------------------------------- who is there */

static void test_wrong_psk(void)
{
	begin();
	set_id("other");
	dial();
	CU_ASSERT_TRUE(net_until(&net, &server.ends, 1));
	CU_ASSERT_EQUAL(server.status, UV_EPROTO);
	CU_ASSERT_STRING_EQUAL(server.error, "TLS handshake failed (its key is not known here)");
	ob__stream_close_flushed(&server.s, 1000);
	CU_ASSERT_TRUE(net_until(&net, &client.ends, 1));
	CU_ASSERT_EQUAL(client.status, UV_EPROTO);
	CU_ASSERT_EQUAL(client.secures, 0);
	hang_up();
	set_id("known");
	client_start.psk_key[3] ^= 1;
	dial();
	CU_ASSERT_TRUE(net_until(&net, &server.ends, 1));
	CU_ASSERT_EQUAL(server.status, UV_EPROTO);
	CU_ASSERT_EQUAL(server.secures, 0);
	end();
}

static struct cert ca;
static struct cert ca2;
static struct cert one;
static struct cert two;
static struct cert old;
static struct cert foreign;

static struct ob__tls_ctx *mutual(bool is_server, const struct cert *c)
{
	return make((struct ob__tls_options){.server = is_server,
	                                     .only_13 = true,
	                                     .cert = c != NULL ? c->cert : NULL,
	                                     .key = c != NULL ? c->key : NULL,
	                                     .ca = ca.cert});
}

static void test_certificates(void)
{
	begin_with(mutual(true, &one), mutual(false, &two));
	dial();
	CU_ASSERT_TRUE(both_secure());
	CU_ASSERT_TRUE(ob__stream_peer_has_uri(&server.s, "obhost:service/s1"));
	CU_ASSERT_TRUE(ob__stream_peer_has_uri(&server.s, "obhost:service/s2"));
	CU_ASSERT_FALSE(ob__stream_peer_has_uri(&server.s, "obhost:service/s"));
	CU_ASSERT_FALSE(ob__stream_peer_has_uri(&server.s, "obhost:service/s11"));
	CU_ASSERT_TRUE(ob__stream_peer_has_uri(&client.s, "obhost:proxy/p1"));
	end();
}

/* Whose certificate is refused, and what the one that refuses says. */
static const struct {
	const struct cert *server;
	const struct cert *client;
	bool at_server;
	const char *says;
} refused[] = {
	{&one, &old, true, "TLS handshake failed (certificate has expired)"},
	{&one, &foreign, true, "TLS handshake failed (unable to get local issuer certificate)"},
	{&one, NULL, true, "TLS handshake failed (peer did not return a certificate)"},
	{&old, &two, false, "TLS handshake failed (certificate has expired)"},
	{&foreign, &two, false, "TLS handshake failed (unable to get local issuer certificate)"},
};

static void test_refused_certificates(void)
{
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		begin_with(mutual(true, refused[i].server), mutual(false, refused[i].client));
		dial();
		struct end *e = refused[i].at_server ? &server : &client;
		struct end *other = refused[i].at_server ? &client : &server;
		CU_ASSERT_TRUE(net_until(&net, &e->ends, 1));
		CU_ASSERT_EQUAL(e->status, UV_EPROTO);
		CU_ASSERT_STRING_EQUAL(e->error, refused[i].says);
		CU_ASSERT_EQUAL(e->secures, 0);
		ob__stream_close_flushed(&e->s, 1000);
		CU_ASSERT_TRUE(net_until(&net, &other->ends, 1));
		CU_ASSERT_EQUAL(other->status, UV_EPROTO); /* an alert, not a reset */
		end();
	}
}

/* A key and a certificate never meet. */
static void test_mixed(void)
{
	begin_with(mutual(true, &one), make((struct ob__tls_options){.psk = true}));
	dial();
	CU_ASSERT_TRUE(net_until(&net, &client.ends, 1));
	CU_ASSERT_EQUAL(client.secures + server.secures, 0);
	end();
	begin_with(
		make((struct ob__tls_options){.server = true, .psk = true, .psk_find = find_psk}),
		mutual(false, &two));
	dial();
	CU_ASSERT_TRUE(net_until(&net, &server.ends, 1));
	CU_ASSERT_EQUAL(client.secures + server.secures, 0);
	end();
}

/* Old versions are not spoken to, however much the peer wants it. */
static void test_downgrade(void)
{
	static const int versions[] = {TLS1_2_VERSION, TLS1_1_VERSION, TLS1_VERSION};
	for (size_t i = 0; i < 3; i++) {
		begin_with(mutual(true, &one),
		           make((struct ob__tls_options){
				   .ca = ca.cert, .cert = two.cert, .key = two.key}));
		ob__stream_init(&client.s, &net.m, &ops, &client);
		CU_ASSERT_EQUAL(ob__stream_tls(&client.s, client_ctx, &client_start), 0);
		SSL_set_security_level(client.s.tls->ssl, 0);
		SSL_set_min_proto_version(client.s.tls->ssl, TLS1_VERSION);
		SSL_set_max_proto_version(client.s.tls->ssl, versions[i]);
		SSL_set_cipher_list(client.s.tls->ssl, "ALL:@SECLEVEL=0");
		struct sockaddr_in addr = net_addr(ob__listener_port(net.listener));
		ob__stream_connect(&client.s, (struct sockaddr *)&addr, NULL, on_connect);
		CU_ASSERT_TRUE(net_until(&net, &server.ends, 1));
		CU_ASSERT_EQUAL(server.secures + client.secures, 0);
		CU_ASSERT_EQUAL(server.status, UV_EPROTO);
		end();
	}
}

static void test_no_renegotiation(void)
{
	size_t sent = 0;
	begin_with(make((struct ob__tls_options){.server = true, .cert = one.cert, .key = one.key}),
	           make((struct ob__tls_options){.ca = ca.cert}));
	ob__stream_init(&client.s, &net.m, &ops, &client);
	CU_ASSERT_EQUAL(ob__stream_tls(&client.s, client_ctx, &client_start), 0);
	SSL_set_max_proto_version(client.s.tls->ssl, TLS1_2_VERSION);
	SSL_clear_options(client.s.tls->ssl, SSL_OP_NO_RENEGOTIATION);
	struct sockaddr_in addr = net_addr(ob__listener_port(net.listener));
	ob__stream_connect(&client.s, (struct sockaddr *)&addr, NULL, on_connect);
	CU_ASSERT_TRUE(both_secure());
	send_pattern(&client, &sent, 5000, false); /* 1.2 works for who may */
	CU_ASSERT_TRUE(has_got(&server, sent));
	long before = SSL_num_renegotiations(server.s.tls->ssl);
	CU_ASSERT_EQUAL(SSL_renegotiate(client.s.tls->ssl), 1);
	SSL_do_handshake(client.s.tls->ssl);
	send_pattern(&client, &sent, 10, false);
	for (int i = 0; i < 50 && client.ends == 0; i++) {
		ob__loop_turn(net.loop);
	}
	CU_ASSERT_EQUAL(SSL_num_renegotiations(server.s.tls->ssl), before);
	CU_ASSERT_EQUAL(client.ends, 1);
	end();
}

static void test_reload(void)
{
	char err[256];
	struct cert fresh;
	begin_with(mutual(true, &one), mutual(false, &two));
	dial();
	CU_ASSERT_TRUE(both_secure());
	/* The file of the server's certificate becomes another one. */
	cert_make(&fresh, "fresh", &ca, "URI:obhost:proxy/fresh", 3600);
	struct cert moved = fresh;
	snprintf(moved.cert, sizeof(moved.cert), "%s", one.cert);
	snprintf(moved.key, sizeof(moved.key), "%s", one.key);
	cert_write(&moved);
	CU_ASSERT_EQUAL(ob__tls_ctx_reload(server_ctx, err, sizeof(err)), 0);
	size_t sent = 0;
	send_pattern(&client, &sent, 1000, false); /* who is there goes on */
	CU_ASSERT_TRUE(has_got(&server, sent));
	hang_up();
	dial();
	CU_ASSERT_TRUE(both_secure());
	CU_ASSERT_TRUE(ob__stream_peer_has_uri(&client.s, "obhost:proxy/fresh"));
	hang_up();
	CU_ASSERT_EQUAL(truncate(one.key, 0), 0);
	CU_ASSERT_EQUAL(ob__tls_ctx_reload(server_ctx, err, sizeof(err)), -EINVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(err, one.key));
	dial();
	CU_ASSERT_TRUE(both_secure()); /* with what it had */
	cert_write(&one);
	cert_free(&fresh);
	end();
}

static const struct {
	struct ob__tls_options o;
	const char *says;
} bad[] = {
	{{.server = true}, "a certificate is missing"},
	{{.cert = "/nonexistent/x.crt"},
         "/nonexistent/x.crt: No such file or directory (a PEM certificate is wanted)"},
	{{.ca = "/dev/null"}, "/dev/null: "},
	{{.cert = "/dev/null"}, "/dev/null: no start line (a PEM certificate is wanted)"},
};

static void test_bad_options(void)
{
	char err[256];
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		CU_ASSERT_PTR_NULL(ob__tls_ctx_new(&bad[i].o, err, sizeof(err)));
		CU_ASSERT_NSTRING_EQUAL(err, bad[i].says, strlen(bad[i].says));
	}
	struct ob__tls_options o = {.cert = one.cert, .key = two.key};
	CU_ASSERT_PTR_NULL(ob__tls_ctx_new(&o, err, sizeof(err)));
	CU_ASSERT_PTR_NOT_NULL(strstr(err, "key values mismatch"));
}

/* ---------------------------------------------------------------- */

static void *count_malloc(size_t n, const char *file, int line)
{
	(void)file;
	(void)line;
	allocations++;
	return malloc(n);
}

static void *count_realloc(void *p, size_t n, const char *file, int line)
{
	(void)file;
	(void)line;
	allocations++;
	return realloc(p, n);
}

static void count_free(void *p, const char *file, int line)
{
	(void)file;
	(void)line;
	free(p);
}

static void test_make_certs(void)
{
	cert_dir_make();
	cert_make(&ca, "ca", NULL, NULL, 3600);
	cert_make(&ca2, "ca2", NULL, NULL, 3600);
	cert_make(&one, "one", &ca, "URI:obhost:proxy/p1", 3600);
	cert_make(&two, "two", &ca, "DNS:localhost,URI:obhost:service/s1,URI:obhost:service/s2",
	          3600);
	cert_make(&old, "old", &ca, "URI:obhost:proxy/p1", -60);
	cert_make(&foreign, "foreign", &ca2, "URI:obhost:proxy/p1", 3600);
}

static void test_drop_certs(void)
{
	struct cert *all[] = {&ca, &ca2, &one, &two, &old, &foreign};
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		cert_free(all[i]);
	}
	cert_dir_remove();
}

int main(void)
{
	CRYPTO_set_mem_functions(count_malloc, count_realloc, count_free);
	seed = 20240229;
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("stream_tls", NULL, NULL);
	CU_add_test(s, "certificates are made", test_make_certs);
	CU_add_test(s, "a handshake, and what both then know", test_handshake);
	CU_add_test(s, "what is appended early waits for it", test_early);
	CU_add_test(s, "random sizes, both ways", test_random_sizes);
	CU_add_test(s, "one record and one call for a turn's messages", test_batches);
	CU_add_test(s, "a slow reader: marks count plaintext", test_slow_reader);
	CU_add_test(s, "a message allocates nothing, a record little", test_allocations);
	CU_add_test(s, "new keys on the way", test_new_keys);
	CU_add_test(s, "put back", test_put_back);
	CU_add_test(s, "reading is off when the handshake ends", test_paused_in_handshake);
	CU_add_test(s, "another stream takes it over", test_adopt);
	CU_add_test(s, "a clean end", test_clean_end);
	CU_add_test(s, "a goodbye waits until all is read", test_goodbye_waits);
	CU_add_test(s, "a goodbye and the socket's end", test_goodbye_then_end);
	CU_add_test(s, "a goodbye goes to the heir", test_goodbye_to_heir);
	CU_add_test(s, "and so does nonsense", test_nonsense_to_heir);
	CU_add_test(s, "closed at once", test_close_at_once);
	CU_add_test(s, "a caller that says nothing", test_silent);
	CU_add_test(s, "garbage instead of a handshake", test_garbage);
	CU_add_test(s, "a last word to who does not speak TLS", test_last_word);
	CU_add_test(s, "records cut anywhere", test_cut_records);
	CU_add_test(s, "a changed byte", test_changed_byte);
	CU_add_test(s, "truncated", test_truncated);
	CU_add_test(s, "reset", test_reset);
	CU_add_test(s, "a PSK that is unknown or wrong", test_wrong_psk);
	CU_add_test(s, "certificates on both sides", test_certificates);
	CU_add_test(s, "certificates that are refused", test_refused_certificates);
	CU_add_test(s, "a PSK meets certificates", test_mixed);
	CU_add_test(s, "no older version", test_downgrade);
	CU_add_test(s, "no renegotiation", test_no_renegotiation);
	CU_add_test(s, "files read again", test_reload);
	CU_add_test(s, "options that can't work", test_bad_options);
	CU_add_test(s, "and taken away", test_drop_certs);
	return ob__tap_run();
}
