/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "net/stream.h"

#include <CUnit/CUnit.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/un.h>

#include "net_util.h"
#include "tap.h"

#define BIG         (512u << 10)
#define ABUSED      8u
#define ABUSE_STEPS 6000u

static bool no_memory; /* the next malloc() fails */

/* In the place of the C library's. */
void *malloc(size_t len)
{
	static void *(*real)(size_t len);

	if (no_memory) {
		no_memory = false;
		return NULL;
	}
	if (real == NULL) {
		*(void **)&real = dlsym(RTLD_NEXT, "malloc");
	}
	return real(len);
}

/* The owner of a stream, counting what it is told. */
struct end {
	struct ob__stream s;
	unsigned connects;
	int connect_status;
	unsigned reads;
	size_t last_len; /* of the last read */
	size_t read_len;
	uint8_t read[4096];
	unsigned ends;
	int end_status;
	unsigned drains;
	unsigned closes;
	void (*in_read)(struct end *e);
	void (*in_end)(struct end *e);
	void (*in_drained)(struct end *e);
};

static void on_read(struct ob__stream *s, uint8_t *data, size_t len)
{
	struct end *e = s->owner;
	size_t n = len < sizeof(e->read) - e->read_len ? len : sizeof(e->read) - e->read_len;
	memcpy(e->read + e->read_len, data, n);
	e->read_len += n;
	memset(data, 0xee, len); /* it may be changed in place */
	CU_ASSERT_FALSE(s->closing);
	e->reads++;
	e->last_len = len;
	if (e->in_read) {
		e->in_read(e);
	}
}

static void on_end(struct ob__stream *s, int status)
{
	struct end *e = s->owner;
	CU_ASSERT_FALSE(s->closing);
	CU_ASSERT_EQUAL(s->m->flushing, 0);
	e->ends++;
	e->end_status = status;
	if (e->in_end) {
		e->in_end(e);
	}
}

static void on_drained(struct ob__stream *s)
{
	struct end *e = s->owner;
	CU_ASSERT_FALSE(s->closing);
	CU_ASSERT_EQUAL(s->m->flushing, 0);
	e->drains++;
	if (e->in_drained) {
		e->in_drained(e);
	}
}

static void on_close(struct ob__stream *s)
{
	struct end *e = s->owner;
	CU_ASSERT(s->closed);
	CU_ASSERT_EQUAL(s->queued, 0);
	e->closes++;
}

static const struct ob__stream_ops ops = {on_read, on_end, on_drained, on_close};

static void on_connect(struct ob__stream *s, int status)
{
	struct end *e = s->owner;
	e->connects++;
	e->connect_status = status;
}

/* Accepts into the next of an array of ends. */
struct acceptor {
	struct net *net;
	struct end *ends;
	unsigned count;
};

static void on_accept(struct ob__listener *l, uv_stream_t *server, void *arg)
{
	(void)l;
	struct acceptor *a = arg;
	struct end *e = &a->ends[a->count];
	ob__stream_init(&e->s, &a->net->m, &ops, e);
	CU_ASSERT_EQUAL(ob__stream_accept(&e->s, server), 0);
	a->count++;
}

/* A net with one accepted stream and the plain socket at its other side. */
struct pair {
	struct net net;
	struct acceptor acceptor;
	struct end e;
	int fd;
};

static void pair_up(struct pair *p, int sndbuf)
{
	memset(p, 0, sizeof(*p));
	net_up(&p->net);
	p->acceptor = (struct acceptor){.net = &p->net, .ends = &p->e};
	net_listen(&p->net, NULL, on_accept, &p->acceptor);
	p->fd = net_dial(&p->net, sndbuf);
	CU_ASSERT_FATAL(p->fd >= 0);
	CU_ASSERT_FATAL(net_until(&p->net, &p->acceptor.count, 1));
	if (sndbuf > 0) {
		net_send_buffer(&p->e.s, sndbuf);
	}
}

static void pair_down(struct pair *p)
{
	ob__stream_close(&p->e.s);
	CU_ASSERT(net_until(&p->net, &p->e.closes, 1));
	if (p->fd >= 0) {
		close(p->fd);
	}
	net_down(&p->net);
	CU_ASSERT_EQUAL(p->e.closes, 1);
}

static uint8_t pattern(size_t i)
{
	return (uint8_t)(i * 31 + (i >> 8) * 17 + (i >> 16));
}

static void fill(uint8_t *out, size_t from, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		out[i] = pattern(from + i);
	}
}

/* Reads until `want` bytes of the pattern came, or the end; returns how many. */
static size_t drain(struct pair *p, size_t from, size_t want)
{
	static uint8_t buf[65536];
	size_t got = 0;
	uint64_t stop = ob__loop_hrtime_us() + NET_MS_MAX * 1000u;
	while (got < want && ob__loop_hrtime_us() < stop) {
		ssize_t n = recv(p->fd, buf, sizeof(buf), 0);
		if (n == 0 || (n < 0 && errno != EAGAIN)) {
			break;
		}
		for (ssize_t i = 0; i < n; i++) {
			if (buf[i] != pattern(from + got + (size_t)i)) {
				return got + (size_t)i;
			}
		}
		got += n > 0 ? (size_t)n : 0;
		ob__loop_turn(p->net.loop);
	}
	return got;
}

/* ---------------------------------------------------------------- writing */

static void test_batches(void)
{
	struct pair p;
	pair_up(&p, 0);
	uint8_t msg[64];
	uint64_t before = p.net.m.syscalls_out;
	for (size_t i = 0; i < 100; i++) {
		fill(msg, i * sizeof(msg), sizeof(msg));
		CU_ASSERT_EQUAL(ob__stream_append(&p.e.s, msg, sizeof(msg)), 0);
	}
	CU_ASSERT_EQUAL(p.net.m.syscalls_out, before);
	CU_ASSERT_EQUAL(p.e.s.queued, 6400);
	CU_ASSERT_EQUAL(p.net.m.pending, 6400);
	net_turns(&p.net, 1);
	CU_ASSERT_EQUAL(p.net.m.syscalls_out, before + 1);
	CU_ASSERT_EQUAL(p.e.s.queued, 0);
	CU_ASSERT_EQUAL(p.net.m.bytes_out, 6400);
	CU_ASSERT_PTR_NULL(p.e.s.out_head);
	CU_ASSERT_EQUAL(p.net.m.free_chunks_len, 1);
	CU_ASSERT_EQUAL(drain(&p, 0, 6400), 6400);
	pair_down(&p);
}

static void test_reserve(void)
{
	struct pair p;
	pair_up(&p, 0);
	uint8_t *out = ob__stream_reserve(&p.e.s, OB__CHUNK_SIZE);
	CU_ASSERT_PTR_NOT_NULL_FATAL(out);
	ob__stream_commit(&p.e.s, 0); /* nothing came of it */
	CU_ASSERT_EQUAL(p.e.s.queued, 0);
	CU_ASSERT_PTR_NULL(p.e.s.out_head);
	size_t sent = 0;
	/* Uneven pieces: some don't fit behind the last one. */
	for (size_t len = 1; len < 30000; len = len * 3 + 7) {
		out = ob__stream_reserve(&p.e.s, len + 100);
		CU_ASSERT_PTR_NOT_NULL_FATAL(out);
		fill(out, sent, len);
		ob__stream_commit(&p.e.s, len);
		sent += len;
	}
	out = ob__stream_reserve(&p.e.s, OB__CHUNK_SIZE);
	CU_ASSERT_PTR_NOT_NULL_FATAL(out);
	fill(out, sent, OB__CHUNK_SIZE);
	ob__stream_commit(&p.e.s, OB__CHUNK_SIZE);
	sent += OB__CHUNK_SIZE;
	CU_ASSERT_EQUAL(p.e.s.queued, sent);
	CU_ASSERT_EQUAL(drain(&p, 0, sent), sent);
	pair_down(&p);
}

static void test_reference(void)
{
	struct pair p;
	pair_up(&p, 0);
	struct ob__rbuf *r = ob__rbuf_new(40000);
	fill(r->data, 0, r->len);
	CU_ASSERT_EQUAL(ob__stream_append_ref(&p.e.s, r, 0, 100), 0); /* few: copied */
	CU_ASSERT_EQUAL(r->refs, 1);
	CU_ASSERT_EQUAL(ob__stream_append_ref(&p.e.s, r, 100, 39000), 0);
	CU_ASSERT_EQUAL(r->refs, 2);
	CU_ASSERT_EQUAL(ob__stream_append_ref(&p.e.s, r, 39100, 900), 0);
	CU_ASSERT_EQUAL(p.e.s.queued, 40000);
	CU_ASSERT_EQUAL(drain(&p, 0, 40000), 40000);
	CU_ASSERT_EQUAL(r->refs, 1);
	/* One that is never sent is let go too. */
	CU_ASSERT_EQUAL(ob__stream_append_ref(&p.e.s, r, 0, 40000), 0);
	ob__stream_close(&p.e.s);
	CU_ASSERT_EQUAL(r->refs, 1);
	CU_ASSERT_EQUAL(ob__stream_append_ref(&p.e.s, r, 0, 40000), -ECANCELED);
	ob__rbuf_unref(r);
	pair_down(&p);
}

static void test_early_flush(void)
{
	struct pair p;
	pair_up(&p, 0);
	uint8_t msg[4096];
	size_t sent = 0;
	size_t most = 0;
	for (unsigned i = 0; i < 128; i++) {
		fill(msg, sent, sizeof(msg));
		ob__stream_append(&p.e.s, msg, sizeof(msg));
		sent += sizeof(msg);
		most = p.net.m.pending > most ? p.net.m.pending : most;
	}
	CU_ASSERT(most <= OB__STREAM_EARLY_FLUSH);
	CU_ASSERT(p.net.m.syscalls_out >= 1);
	CU_ASSERT_EQUAL(drain(&p, 0, sent), sent);
	pair_down(&p);
}

/* A peer that does not read: what it has no room for waits with us and counts. */
static void test_slow_peer(void)
{
	struct pair p;
	pair_up(&p, 4096);
	p.e.s.high = 100000;
	static uint8_t big[BIG];
	fill(big, 0, sizeof(big));
	CU_ASSERT_EQUAL(ob__stream_append(&p.e.s, big, sizeof(big)), 0);
	CU_ASSERT(p.e.s.above);
	net_turns(&p.net, 3);
	CU_ASSERT(p.e.s.blocked);
	CU_ASSERT_EQUAL(p.net.m.pending, 0); /* what a slow peer holds up does not cause flushes */
	size_t queued = p.e.s.queued;
	CU_ASSERT(queued > 0 && queued < sizeof(big));
	uint64_t calls = p.net.m.syscalls_out;
	CU_ASSERT_EQUAL(ob__stream_append(&p.e.s, "x", 1), 0);
	net_turns(&p.net, 3);
	CU_ASSERT_EQUAL(p.net.m.syscalls_out, calls);
	CU_ASSERT_EQUAL(p.e.s.queued, queued + 1);
	CU_ASSERT_EQUAL(p.e.drains, 0);
	CU_ASSERT_EQUAL(drain(&p, 0, sizeof(big)), sizeof(big));
	net_turns(&p.net, 3);
	CU_ASSERT_EQUAL(p.e.drains, 1);
	CU_ASSERT_FALSE(p.e.s.above);
	CU_ASSERT_EQUAL(p.e.s.queued, 0);
	pair_down(&p);
}

/* What the kernel has taken a part of is sent to its end, or nothing comes behind it. */
static void test_part_of_a_reference(void)
{
	struct pair p;
	struct ob__rbuf *r = ob__rbuf_new(BIG);

	pair_up(&p, 4096);
	fill(r->data, 0, BIG);
	no_memory = true;
	CU_ASSERT_EQUAL(ob__stream_send_ref(&p.e.s, r, 0, BIG), -ENOMEM);
	CU_ASSERT_FALSE(no_memory);
	CU_ASSERT(p.net.m.bytes_out > 0);
	CU_ASSERT_EQUAL(p.e.s.failed, -ENOMEM);
	CU_ASSERT_EQUAL(ob__stream_append(&p.e.s, "next", 4), -ECANCELED);
	CU_ASSERT(net_until(&p.net, &p.e.ends, 1));
	ob__rbuf_unref(r);
	pair_down(&p);
}

static void append_again(struct end *e)
{
	static uint8_t piece[200000];
	if (e->drains < 5) {
		ob__stream_append(&e->s, piece, sizeof(piece));
	}
}

/* An owner that appends whenever it is told to must not keep the loop in its hook. */
static void test_drained_appends(void)
{
	struct pair p;
	pair_up(&p, 0);
	p.e.s.high = 1000;
	p.e.in_drained = append_again;
	static uint8_t piece[2000];
	ob__stream_append(&p.e.s, piece, sizeof(piece));
	static uint8_t buf[65536];
	for (unsigned i = 0; i < 100000 && p.e.drains < 5; i++) {
		(void)!recv(p.fd, buf, sizeof(buf), 0);
		ob__loop_turn(p.net.loop);
	}
	CU_ASSERT_EQUAL(p.e.drains, 5);
	pair_down(&p);
}

/* ---------------------------------------------------------------- reading */

static void test_read_on_off(void)
{
	struct pair p;
	pair_up(&p, 0);
	CU_ASSERT_EQUAL(send(p.fd, "abc", 3, 0), 3);
	net_turns(&p.net, 5);
	CU_ASSERT_EQUAL(p.e.reads, 0); /* not before it is asked for */
	ob__stream_read(&p.e.s, true);
	ob__stream_read(&p.e.s, true);
	CU_ASSERT(net_until(&p.net, &p.e.reads, 1));
	CU_ASSERT_EQUAL(p.net.m.bytes_in, 3);
	ob__stream_read(&p.e.s, false);
	CU_ASSERT_EQUAL(send(p.fd, "def", 3, 0), 3);
	net_turns(&p.net, 5);
	CU_ASSERT_EQUAL(p.e.read_len, 3);
	ob__stream_read(&p.e.s, true);
	CU_ASSERT(net_until(&p.net, &p.e.reads, 2));
	CU_ASSERT_NSTRING_EQUAL(p.e.read, "abcdef", 6);
	pair_down(&p);
}

#define FLOOD 32u

/* As much as the kernel takes. */
static void flood(int fd)
{
	static const char bytes[65536];

	while (send(fd, bytes, sizeof(bytes), MSG_DONTWAIT | MSG_NOSIGNAL) > 0) {
	}
}

static struct end flooded[FLOOD];

/* Everybody sends more than fits into a turn: each has its part in each turn, and no more. */
static void test_turn_shared(void)
{
	struct acceptor acceptor = {.ends = flooded};
	unsigned before[FLOOD] = {0};
	size_t trunk = 0;
	struct net net;
	int fds[FLOOD];

	memset(flooded, 0, sizeof(flooded));
	net_up(&net);
	acceptor.net = &net;
	net_listen(&net, NULL, on_accept, &acceptor);
	for (unsigned i = 0; i < FLOOD; i++) {
		fds[i] = net_dial(&net, 0);
		CU_ASSERT_FATAL(fds[i] >= 0);
		CU_ASSERT_FATAL(net_until(&net, &acceptor.count, i + 1));
		ob__stream_read(&flooded[i].s, true);
	}
	flooded[0].s.trunk = true;
	for (unsigned turn = 0; turn < 5; turn++) {
		uint64_t in = net.m.bytes_in;
		for (unsigned i = 0; i < FLOOD; i++) {
			flood(fds[i]);
			before[i] = flooded[i].reads;
		}
		ob__loop_turn(net.loop);
		in = net.m.bytes_in - in;
		CU_ASSERT(in >= FLOOD * (4u << 10));
		CU_ASSERT(in <= (1u << 20) + OB__LOOP_READ_BUFFER + FLOOD * (32u << 10));
		for (unsigned i = 0; i < FLOOD; i++) {
			CU_ASSERT_EQUAL(flooded[i].reads, before[i] + 1);
			CU_ASSERT(i == 0 || flooded[i].last_len <= net.m.turn_share);
		}
		trunk = flooded[0].last_len > trunk ? flooded[0].last_len : trunk;
	}
	CU_ASSERT(net.m.turn_share < OB__LOOP_READ_BUFFER);
	CU_ASSERT(trunk > net.m.turn_share);
	for (unsigned i = 0; i < FLOOD; i++) {
		ob__stream_close(&flooded[i].s);
		close(fds[i]);
	}
	net_turns(&net, 5);
	net_down(&net);
}

static struct end talkers[2];
static uint64_t early; /* writes that have been made when the second one talks */

/* Answers its own peer and says a word to the other one's. */
static void talk(struct end *e)
{
	early = e->s.m->syscalls_out;
	CU_ASSERT_EQUAL(ob__stream_append(&e->s, "answer", 6), 0);
	CU_ASSERT_EQUAL(ob__stream_append(&talkers[e == talkers].s, "word", 4), 0);
}

/* An answer to what has just been read goes out at once, if nobody else has written before; in a
 * turn with much talk each stream has one write for all of it, but the first. */
static void test_answers(void)
{
	struct acceptor acceptor = {.ends = talkers};
	struct net net;
	int fds[2];

	memset(talkers, 0, sizeof(talkers));
	net_up(&net);
	acceptor.net = &net;
	net_listen(&net, NULL, on_accept, &acceptor);
	for (unsigned i = 0; i < 2; i++) {
		fds[i] = net_dial(&net, 0);
		CU_ASSERT_FATAL(fds[i] >= 0);
		CU_ASSERT_FATAL(net_until(&net, &acceptor.count, i + 1));
		talkers[i].in_read = talk;
		ob__stream_read(&talkers[i].s, true);
	}
	for (unsigned trunks = 0; trunks < 2; trunks++) {
		uint64_t writes = net.m.syscalls_out;
		size_t heard[2] = {0};
		for (unsigned i = 0; i < 2; i++) {
			talkers[i].s.trunk = trunks;
			talkers[i].reads = 0;
			send(fds[i], "?", 1, MSG_NOSIGNAL);
		}
		while (talkers[0].reads + talkers[1].reads < 2) {
			ob__loop_turn(net.loop);
		}
		net_turns(&net, 1);
		CU_ASSERT_EQUAL(early - writes, trunks ? 0 : 1);
		CU_ASSERT_EQUAL(net.m.syscalls_out - writes, trunks ? 2 : 3);
		for (unsigned i = 0; i < 2; i++) {
			char buf[64];
			heard[i] = (size_t)recv(fds[i], buf, sizeof(buf), 0);
			CU_ASSERT_EQUAL(heard[i], 10);
		}
	}
	for (unsigned i = 0; i < 2; i++) {
		ob__stream_close(&talkers[i].s);
		close(fds[i]);
	}
	net_turns(&net, 5);
	net_down(&net);
}

static void put_back(struct end *e)
{
	if (e->reads == 1) {
		CU_ASSERT_EQUAL(ob__stream_unread(&e->s, "345", 3), 0);
		CU_ASSERT_EQUAL(ob__stream_unread(&e->s, "12", 2), 0);
		CU_ASSERT_EQUAL(e->reads, 1);
	}
}

/* What was put back comes before what the socket has, while reading is on and while it is off. */
static void test_unread(void)
{
	struct pair p;
	pair_up(&p, 0);
	p.e.in_read = put_back;
	ob__stream_read(&p.e.s, true);
	CU_ASSERT_EQUAL(send(p.fd, "0", 1, 0), 1);
	CU_ASSERT(net_until(&p.net, &p.e.reads, 1));
	CU_ASSERT_EQUAL(send(p.fd, "6", 1, 0), 1);
	CU_ASSERT(net_until(&p.net, &p.e.reads, 3));
	CU_ASSERT_EQUAL(p.e.read_len, 7);
	CU_ASSERT_NSTRING_EQUAL(p.e.read, "0123456", 7);

	ob__stream_read(&p.e.s, false);
	ob__stream_unread(&p.e.s, "7", 1);
	send(p.fd, "8", 1, 0);
	net_turns(&p.net, 5);
	CU_ASSERT_EQUAL(p.e.read_len, 7);
	ob__stream_read(&p.e.s, true);
	CU_ASSERT_EQUAL(p.e.read_len, 7); /* never from within */
	CU_ASSERT(net_until(&p.net, &p.e.reads, 5));
	CU_ASSERT_NSTRING_EQUAL(p.e.read, "012345678", 9);
	pair_down(&p);
}

/* The peer ends its side: told once; writing still works. */
static void test_half_close(void)
{
	struct pair p;
	pair_up(&p, 0);
	ob__stream_read(&p.e.s, true);
	shutdown(p.fd, SHUT_WR);
	CU_ASSERT(net_until(&p.net, &p.e.ends, 1));
	CU_ASSERT_EQUAL(p.e.end_status, UV_EOF);
	ob__stream_read(&p.e.s, true);
	uint8_t msg[100];
	fill(msg, 0, sizeof(msg));
	CU_ASSERT_EQUAL(ob__stream_append(&p.e.s, msg, sizeof(msg)), 0);
	CU_ASSERT_EQUAL(drain(&p, 0, sizeof(msg)), sizeof(msg));
	net_turns(&p.net, 5);
	CU_ASSERT_EQUAL(p.e.ends, 1);
	pair_down(&p);
}

static void close_it(struct end *e)
{
	ob__stream_close(&e->s);
	ob__stream_close(&e->s);
}

/* A reset is told once, whether a read or a write finds it, never from within append. */
static void test_reset(void)
{
	static const bool reading[] = {true, false};
	for (size_t i = 0; i < 2; i++) {
		struct pair p;
		pair_up(&p, 0);
		p.e.in_end = close_it;
		ob__stream_read(&p.e.s, reading[i]);
		net_reset(p.fd);
		p.fd = -1;
		static uint8_t piece[100000];
		for (unsigned n = 0; n < 50 && p.e.ends == 0; n++) {
			for (unsigned k = 0; k < 4; k++) {
				ob__stream_append(&p.e.s, piece, sizeof(piece));
				CU_ASSERT(p.e.ends == 0);
			}
			net_turns(&p.net, 1);
		}
		CU_ASSERT_EQUAL(p.e.ends, 1);
		CU_ASSERT(p.e.end_status < 0 && p.e.end_status != UV_EOF);
		CU_ASSERT_EQUAL(ob__stream_append(&p.e.s, "x", 1), -ECANCELED);
		pair_down(&p);
	}
}

/* ---------------------------------------------------------------- closing */

static void test_close_drops(void)
{
	struct pair p;
	pair_up(&p, 0);
	ob__stream_append(&p.e.s, "abc", 3);
	ob__stream_close(&p.e.s);
	CU_ASSERT_EQUAL(p.net.m.pending, 0);
	CU_ASSERT_EQUAL(p.e.closes, 0); /* in a later turn */
	CU_ASSERT_EQUAL(ob__stream_append(&p.e.s, "x", 1), -ECANCELED);
	CU_ASSERT_PTR_NULL(ob__stream_reserve(&p.e.s, 1));
	CU_ASSERT_EQUAL(ob__stream_unread(&p.e.s, "x", 1), -ECANCELED);
	ob__stream_close_flushed(&p.e.s, 100);
	ob__stream_read(&p.e.s, true);
	CU_ASSERT(net_until(&p.net, &p.e.closes, 1));
	char c;
	CU_ASSERT_EQUAL(recv(p.fd, &c, 1, 0), 0);
	pair_down(&p);
}

/* All that the kernel has of a closed stream arrives, and nothing more of an aborted one. */
static void test_abort(void)
{
	static uint8_t piece[100000];
	for (int aborted = 0; aborted < 2; aborted++) {
		struct pair p;
		pair_up(&p, 20000);
		for (unsigned k = 0; k < 40; k++) {
			ob__stream_append(&p.e.s, piece, sizeof(piece));
		}
		net_turns(&p.net, 3);
		CU_ASSERT(p.e.s.queued > 0);
		size_t given = p.net.m.bytes_out;
		(aborted ? ob__stream_abort : ob__stream_close)(&p.e.s);
		CU_ASSERT_EQUAL(p.net.m.pending, 0);
		CU_ASSERT_EQUAL(ob__stream_append(&p.e.s, "x", 1), -ECANCELED);
		ob__stream_abort(&p.e.s);
		CU_ASSERT(net_until(&p.net, &p.e.closes, 1));
		size_t got = 0;
		ssize_t n;
		fcntl(p.fd, F_SETFL, 0);
		while ((n = recv(p.fd, piece, sizeof(piece), 0)) > 0) {
			got += (size_t)n;
		}
		CU_ASSERT_EQUAL(n, aborted ? -1 : 0);
		CU_ASSERT(aborted ? errno == ECONNRESET && got < given : got >= given);
		pair_down(&p);
	}
}

/* One that was never connected, or is no TCP connection, is just closed. */
static void test_abort_early(void)
{
	struct net net;
	struct end e = {0};
	net_up(&net);
	ob__stream_init(&e.s, &net.m, &ops, &e);
	ob__stream_abort(&e.s);
	CU_ASSERT(net_until(&net, &e.closes, 1));
	struct sockaddr_in addr;
	uv_ip4_addr("127.0.0.1", 1, &addr);
	ob__stream_init(&e.s, &net.m, &ops, &e);
	CU_ASSERT_EQUAL(ob__stream_connect(&e.s, (struct sockaddr *)&addr, NULL, on_connect), 0);
	ob__stream_abort(&e.s);
	CU_ASSERT(net_until(&net, &e.closes, 2));
	CU_ASSERT_EQUAL(e.connects, 0);
	net_down(&net);
}

/* Closed before it could be told something: the poll need not hurry for that any more. */
static void test_close_forgets(void)
{
	static const bool flushed[] = {false, true};
	for (size_t i = 0; i < 2; i++) {
		struct pair p;
		pair_up(&p, 0);
		ob__stream_read(&p.e.s, true);
		ob__stream_unread(&p.e.s, "1", 1);
		CU_ASSERT(ob__streams_hurry(&p.net.m));
		if (flushed[i]) {
			ob__stream_close_flushed(&p.e.s, 1000);
		} else {
			ob__stream_close(&p.e.s);
		}
		CU_ASSERT(ob__list_empty(&p.net.m.notify));
		CU_ASSERT_EQUAL(ob__streams_hurry(&p.net.m), !flushed[i]); /* on_close */
		net_turns(&p.net, 2);
		CU_ASSERT_FALSE(ob__streams_hurry(&p.net.m));
		CU_ASSERT_EQUAL(p.e.reads, 0);
		pair_down(&p);
	}
}

/* While the kernel takes no more: what waits is let go. */
static void test_close_blocked(void)
{
	struct pair p;
	pair_up(&p, 4096);
	struct ob__rbuf *r = ob__rbuf_new(BIG);
	memset(r->data, 1, r->len);
	ob__stream_append_ref(&p.e.s, r, 0, r->len);
	ob__stream_append_ref(&p.e.s, r, 0, r->len);
	net_turns(&p.net, 2);
	CU_ASSERT(p.e.s.blocked);
	CU_ASSERT(r->refs > 1);
	ob__stream_close(&p.e.s);
	CU_ASSERT_EQUAL(r->refs, 1);
	CU_ASSERT(net_until(&p.net, &p.e.closes, 1));
	ob__rbuf_unref(r);
	pair_down(&p);
}

static void test_close_inside(void)
{
	struct pair p;
	pair_up(&p, 0); /* in a read */
	p.e.in_read = close_it;
	ob__stream_read(&p.e.s, true);
	send(p.fd, "a", 1, 0);
	CU_ASSERT(net_until(&p.net, &p.e.closes, 1));
	CU_ASSERT_EQUAL(p.e.reads, 1);
	pair_down(&p);

	pair_up(&p, 0); /* when drained */
	p.e.in_drained = close_it;
	p.e.s.high = 1;
	ob__stream_append(&p.e.s, "abc", 3);
	CU_ASSERT(net_until(&p.net, &p.e.closes, 1));
	CU_ASSERT_EQUAL(p.e.drains, 1);
	pair_down(&p);
}

static void test_close_flushed(void)
{
	struct pair p;
	pair_up(&p, 4096);
	static uint8_t big[BIG];
	fill(big, 0, sizeof(big));
	ob__stream_read(&p.e.s, true);
	ob__stream_append(&p.e.s, big, sizeof(big));
	ob__stream_close_flushed(&p.e.s, NET_MS_MAX);
	CU_ASSERT_EQUAL(ob__stream_append(&p.e.s, "x", 1), -ECANCELED);
	/* The peer still talks: it is not listened to, and it gets no reset for it. */
	CU_ASSERT_EQUAL(send(p.fd, big, 1000, 0), 1000);
	CU_ASSERT_EQUAL(drain(&p, 0, sizeof(big) + 1), sizeof(big));
	CU_ASSERT_EQUAL(p.e.reads, 0);
	CU_ASSERT_EQUAL(p.e.closes, 0); /* until it has ended as well */
	CU_ASSERT_EQUAL(send(p.fd, big, 1000, 0), 1000);
	shutdown(p.fd, SHUT_WR);
	CU_ASSERT(net_until(&p.net, &p.e.closes, 1));
	char c;
	CU_ASSERT_EQUAL(recv(p.fd, &c, 1, 0), 0);
	pair_down(&p);
}

/* A peer that neither reads nor ends is waited for no longer than said. */
static void test_close_flushed_late(void)
{
	struct pair p;
	pair_up(&p, 4096);
	static uint8_t big[BIG];
	ob__stream_append(&p.e.s, big, sizeof(big));
	ob__stream_close_flushed(&p.e.s, 20);
	uint64_t start = ob__loop_now(p.net.loop);
	CU_ASSERT(net_until(&p.net, &p.e.closes, 1));
	CU_ASSERT(ob__loop_now(p.net.loop) - start >= 20);
	pair_down(&p);

	pair_up(&p, 0); /* nothing queued, no end from the peer */
	ob__stream_close_flushed(&p.e.s, 20);
	CU_ASSERT(net_until(&p.net, &p.e.closes, 1));
	pair_down(&p);

	pair_up(&p, 4096); /* a close in the middle of it wins */
	ob__stream_append(&p.e.s, big, sizeof(big));
	ob__stream_close_flushed(&p.e.s, NET_MS_MAX * 2);
	net_turns(&p.net, 3);
	ob__stream_close(&p.e.s);
	CU_ASSERT(net_until(&p.net, &p.e.closes, 1));
	pair_down(&p);
}

static void test_close_unopened(void)
{
	struct net n;
	struct end e = {0};
	net_up(&n);
	ob__stream_init(&e.s, &n.m, &ops, &e);
	ob__stream_append(&e.s, "abc", 3);
	ob__stream_close(&e.s);
	CU_ASSERT_EQUAL(e.closes, 0);
	CU_ASSERT(net_until(&n, &e.closes, 1));
	net_down(&n);
}

/* ---------------------------------------------------------------- dialling */

static void test_connect(void)
{
	struct net n;
	struct end ends[1] = {0};
	struct end e = {0};
	struct acceptor a = {.net = &n, .ends = ends};
	net_up(&n);
	net_listen(&n, NULL, on_accept, &a);
	struct sockaddr_in addr = net_addr(ob__listener_port(n.listener));
	ob__stream_init(&e.s, &n.m, &ops, &e);
	CU_ASSERT_EQUAL(ob__stream_connect(&e.s, (struct sockaddr *)&addr, NULL, on_connect), 0);
	CU_ASSERT_EQUAL(ob__stream_append(&e.s, "early", 5), 0);
	ob__stream_read(&e.s, true);
	CU_ASSERT(net_until(&n, &e.connects, 1));
	CU_ASSERT_EQUAL(e.connect_status, 0);
	CU_ASSERT(net_until(&n, &a.count, 1));
	ob__stream_read(&ends[0].s, true);
	ob__stream_append(&ends[0].s, "hello", 5);
	CU_ASSERT(net_until(&n, &ends[0].reads, 1));
	CU_ASSERT(net_until(&n, &e.reads, 1));
	CU_ASSERT_NSTRING_EQUAL(ends[0].read, "early", 5);
	CU_ASSERT_NSTRING_EQUAL(e.read, "hello", 5);

	char peer[64];
	char wanted[64];
	snprintf(wanted, sizeof(wanted), "127.0.0.1:%d", ob__listener_port(n.listener));
	ob__stream_peer(&e.s, peer, sizeof(peer));
	CU_ASSERT_STRING_EQUAL(peer, wanted);
	CU_ASSERT(ob__stream_is_loopback(&e.s));
	CU_ASSERT_FALSE(ob__stream_is_unix(&e.s));
	ob__stream_close(&e.s);
	CU_ASSERT(net_until(&n, &ends[0].ends, 1));
	ob__stream_close(&ends[0].s);
	CU_ASSERT(net_until(&n, &ends[0].closes, 1));
	net_down(&n);
}

static void test_connect_unix(void)
{
	struct net n;
	struct end ends[1] = {0};
	struct end e = {0};
	struct acceptor a = {.net = &n, .ends = ends};
	char path[100];
	snprintf(path, sizeof(path), "/tmp/ob-test-stream-%d", (int)getpid());
	net_up(&n);
	net_listen(&n, path, on_accept, &a);
	ob__stream_init(&e.s, &n.m, &ops, &e);
	CU_ASSERT_EQUAL(ob__stream_connect(&e.s, NULL, path, on_connect), 0);
	CU_ASSERT(net_until(&n, &e.connects, 1));
	CU_ASSERT_EQUAL(e.connect_status, 0);
	CU_ASSERT(net_until(&n, &a.count, 1));
	char peer[64];
	ob__stream_peer(&ends[0].s, peer, sizeof(peer));
	CU_ASSERT_STRING_EQUAL(peer, "unix");
	CU_ASSERT(ob__stream_is_unix(&ends[0].s));
	CU_ASSERT(ob__stream_is_loopback(&ends[0].s));
	ob__stream_close(&e.s);
	ob__stream_close(&ends[0].s);
	CU_ASSERT(net_until(&n, &e.closes, 1));
	ob__stream_peer(&e.s, peer, sizeof(peer)); /* harmless afterwards */
	net_down(&n);
}

static void test_connect_fails(void)
{
	struct net n;
	struct end e = {0};
	char path[200];
	net_up(&n);
	net_listen(&n, NULL, on_accept, NULL);
	struct sockaddr_in addr = net_addr(ob__listener_port(n.listener));
	ob__listener_close(n.listener);
	n.listener = NULL;
	net_turns(&n, 3);
	ob__stream_init(&e.s, &n.m, &ops, &e); /* nobody there */
	CU_ASSERT_EQUAL(ob__stream_connect(&e.s, (struct sockaddr *)&addr, NULL, on_connect), 0);
	ob__stream_append(&e.s, "abc", 3);
	CU_ASSERT(net_until(&n, &e.connects, 1));
	CU_ASSERT_EQUAL(e.connect_status, UV_ECONNREFUSED);
	CU_ASSERT_EQUAL(e.s.queued, 0);
	CU_ASSERT_EQUAL(ob__stream_append(&e.s, "abc", 3), -ECANCELED);
	ob__stream_close(&e.s);
	CU_ASSERT(net_until(&n, &e.closes, 1));

	struct end f = {0}; /* closed while it dials: no word about it */
	ob__stream_init(&f.s, &n.m, &ops, &f);
	CU_ASSERT_EQUAL(ob__stream_connect(&f.s, (struct sockaddr *)&addr, NULL, on_connect), 0);
	ob__stream_append(&f.s, "abc", 3);
	ob__stream_close_flushed(&f.s, 1000);
	CU_ASSERT(net_until(&n, &f.closes, 1));
	CU_ASSERT_EQUAL(f.connects, 0);

	memset(path, 'x', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	ob__stream_init(&f.s, &n.m, &ops, &f);
	CU_ASSERT_EQUAL(ob__stream_connect(&f.s, NULL, path, on_connect), -ENAMETOOLONG);
	net_down(&n);
}

/* ---------------------------------------------------------------- moving */

static void test_adopt(void)
{
	struct pair p;
	struct end e = {0};
	pair_up(&p, 0);
	ob__stream_append(&p.e.s, "abc", 3);
	ob__stream_unread(&p.e.s, "123", 3);
	ob__stream_init(&e.s, &p.net.m, &ops, &e);
	CU_ASSERT_EQUAL(ob__stream_adopt(&e.s, &p.e.s), 0);
	CU_ASSERT(p.e.s.closing);
	CU_ASSERT_EQUAL(p.net.m.pending, 3);
	ob__stream_append(&e.s, "def", 3);
	ob__stream_read(&e.s, true);
	send(p.fd, "456", 3, 0);
	CU_ASSERT(net_until(&p.net, &e.reads, 2));
	CU_ASSERT_NSTRING_EQUAL(e.read, "123456", 6);
	CU_ASSERT(net_until(&p.net, &p.e.closes, 1));
	char buf[16];
	CU_ASSERT_EQUAL(recv(p.fd, buf, sizeof(buf), 0), 6);
	CU_ASSERT_NSTRING_EQUAL(buf, "abcdef", 6);
	struct end f = {0};
	ob__stream_init(&f.s, &p.net.m, &ops, &f);
	CU_ASSERT_EQUAL(ob__stream_adopt(&f.s, &p.e.s), -ECANCELED);
	ob__stream_close(&e.s);
	CU_ASSERT(net_until(&p.net, &e.closes, 1));
	pair_down(&p);
}

/* While the kernel takes no more: the rest goes out of the new one. */
static void test_adopt_blocked(void)
{
	struct pair p;
	struct end e = {0};
	static uint8_t big[BIG];
	pair_up(&p, 4096);
	fill(big, 0, sizeof(big));
	ob__stream_append(&p.e.s, big, sizeof(big));
	net_turns(&p.net, 2);
	CU_ASSERT(p.e.s.blocked);
	ob__stream_init(&e.s, &p.net.m, &ops, &e);
	CU_ASSERT_EQUAL(ob__stream_adopt(&e.s, &p.e.s), 0);
	CU_ASSERT(e.s.blocked);
	CU_ASSERT_EQUAL(drain(&p, 0, sizeof(big)), sizeof(big));
	ob__stream_read(&e.s, true);
	CU_ASSERT_EQUAL(send(p.fd, "abc", 3, 0), 3);
	CU_ASSERT(net_until(&p.net, &e.reads, 1));
	ob__stream_close(&e.s);
	CU_ASSERT(net_until(&p.net, &e.closes, 1));
	pair_down(&p);
}

static struct end heir;

static void hand_on(struct end *e)
{
	ob__stream_init(&heir.s, e->s.m, &ops, &heir);
	CU_ASSERT_EQUAL(ob__stream_adopt(&heir.s, &e->s), 0);
	ob__stream_read(&heir.s, true);
}

/* The kernel says at once that bytes have come and that there is room again: who reads hands the
 * stream on, and the room is the new one's. */
static void test_adopt_with_room(void)
{
	static uint8_t big[2000000];
	struct pair p;
	size_t got = 0;

	pair_up(&p, 20000);
	memset(&heir, 0, sizeof(heir));
	p.e.in_read = hand_on;
	ob__stream_read(&p.e.s, true);
	fill(big, 0, sizeof(big));
	ob__stream_append(&p.e.s, big, sizeof(big));
	net_turns(&p.net, 5);
	CU_ASSERT(p.e.s.blocked);
	for (int i = 0; i < 100; i++) { /* no turn of the loop meanwhile */
		static uint8_t buf[65536];
		ssize_t n = recv(p.fd, buf, sizeof(buf), 0);
		got += n > 0 ? (size_t)n : 0;
		usleep(1000);
	}
	CU_ASSERT(got > 0 && got < sizeof(big));
	CU_ASSERT_EQUAL(send(p.fd, "x", 1, 0), 1);
	usleep(20000);
	CU_ASSERT_EQUAL(got + drain(&p, got, sizeof(big) - got), sizeof(big));
	CU_ASSERT_EQUAL(p.e.reads, 1);
	ob__stream_close(&heir.s);
	CU_ASSERT(net_until(&p.net, &heir.closes, 1));
	pair_down(&p);
}

/* ---------------------------------------------------------------- abuse */

/* Streams that are treated in every way there is, each checked against a model: the peer sees the
 * pattern, from its start, without a hole, and all that was appended if the stream lived. */
struct abused {
	struct end e;
	int fd;
	size_t appended;
	size_t got;
	bool lossy; /* closed or reset: the tail may be missing */
};

static unsigned rnd(unsigned *seed, unsigned below)
{
	return (unsigned)rand_r(seed) % below;
}

static void abuse_write(struct abused *a, unsigned *seed)
{
	static uint8_t piece[200000];
	size_t len = 1 + rnd(seed, rnd(seed, 8) == 0 ? sizeof(piece) - 1 : 300);
	int rc = -1;
	if (rnd(seed, 3) == 0) {
		len = len < OB__CHUNK_SIZE ? len : OB__CHUNK_SIZE;
		uint8_t *out = ob__stream_reserve(&a->e.s, len);
		if (out) {
			size_t used = rnd(seed, (unsigned)len + 1);
			fill(out, a->appended, used);
			ob__stream_commit(&a->e.s, used);
			a->appended += used;
		}
		return;
	}
	fill(piece, a->appended, len);
	if (rnd(seed, 2) == 0) {
		struct ob__rbuf *r = ob__rbuf_copy(piece, len);
		rc = ob__stream_append_ref(&a->e.s, r, 0, len);
		ob__rbuf_unref(r);
	} else {
		rc = ob__stream_append(&a->e.s, piece, len);
	}
	if (rc == 0) {
		a->appended += len;
	} else {
		CU_ASSERT_EQUAL(rc, -ECANCELED);
	}
}

static bool abuse_take(struct abused *a, size_t most)
{
	static uint8_t buf[65536];
	if (a->fd < 0) {
		return false;
	}
	ssize_t n = recv(a->fd, buf, most < sizeof(buf) ? most : sizeof(buf), 0);
	for (ssize_t i = 0; i < n; i++) {
		if (buf[i] != pattern(a->got + (size_t)i)) {
			CU_FAIL("bytes out of order");
			return false;
		}
	}
	a->got += n > 0 ? (size_t)n : 0;
	return n > 0;
}

static void abuse_open(struct net *n, struct acceptor *acc, struct abused *a, unsigned *seed)
{
	*a = (struct abused){0};
	acc->ends = &a->e;
	acc->count = 0;
	a->fd = net_dial(n, 2048);
	CU_ASSERT_FATAL(a->fd >= 0);
	CU_ASSERT_FATAL(net_until(n, &acc->count, 1));
	int sndbuf = 4096;
	net_send_buffer(&a->e.s, sndbuf);
	a->e.s.high = 1 + rnd(seed, 300000);
	ob__stream_read(&a->e.s, true);
}

static void abuse_check(struct net *n, struct abused *all)
{
	size_t dirty = 0;
	for (unsigned i = 0; i < ABUSED; i++) {
		struct ob__stream *s = &all[i].e.s;
		dirty += ob__list_on(&s->dirty_link) ? s->queued : 0;
		CU_ASSERT(all[i].got + s->queued <= all[i].appended);
	}
	CU_ASSERT_EQUAL(n->m.pending, dirty);
}

static void abuse_end(struct net *n, struct abused *a, unsigned how)
{
	bool gentle = how == 0;
	if (gentle) {
		ob__stream_close_flushed(&a->e.s, NET_MS_MAX * 2);
	} else if (how == 1) {
		a->lossy = true;
		ob__stream_close(&a->e.s);
	} else if (how == 2) {
		a->lossy = true;
		net_reset(a->fd);
		a->fd = -1;
	}
	bool cut = false;
	while (a->e.closes == 0) {
		if (!abuse_take(a, 65536) && gentle && !cut && a->e.s.shut) {
			cut = true;
			while (abuse_take(a, 65536)) {
			}
			shutdown(a->fd, SHUT_WR);
		}
		if (a->e.ends > 0 && how == 2) {
			ob__stream_close(&a->e.s);
		}
		if (how == 2 && a->e.ends == 0) {
			ob__stream_append(&a->e.s, "x", 1);
		}
		ob__loop_turn(n->loop);
	}
	if (!a->lossy) {
		while (abuse_take(a, 65536)) {
		}
		CU_ASSERT_EQUAL(a->got, a->appended);
	}
	if (a->fd >= 0) {
		close(a->fd);
	}
}

static void test_abuse(void)
{
	static struct abused all[ABUSED];
	struct net n;
	struct acceptor acc = {.net = &n};
	const char *given = getenv("OB_SEED");
	unsigned seed = given ? (unsigned)atoi(given) : 1;
	net_up(&n);
	net_listen(&n, NULL, on_accept, &acc);
	for (unsigned i = 0; i < ABUSED; i++) {
		abuse_open(&n, &acc, &all[i], &seed);
	}
	for (unsigned step = 0; step < ABUSE_STEPS; step++) {
		struct abused *a = &all[rnd(&seed, ABUSED)];
		switch (rnd(&seed, 12)) {
		case 0:
			ob__streams_flush(&n.m);
			break;
		case 1:
		case 2:
			ob__loop_turn(n.loop);
			break;
		case 3:
		case 4:
			abuse_take(a, 1 + rnd(&seed, 65536));
			break;
		case 5:
			(void)!send(a->fd, "hello", 5, MSG_NOSIGNAL);
			ob__stream_read(&a->e.s, rnd(&seed, 2) == 0);
			break;
		case 6:
			if (rnd(&seed, 20) == 0) {
				abuse_end(&n, a, rnd(&seed, 3));
				abuse_open(&n, &acc, a, &seed);
			}
			break;
		default:
			abuse_write(a, &seed);
			break;
		}
		abuse_check(&n, all);
	}
	for (unsigned i = 0; i < ABUSED; i++) {
		abuse_end(&n, &all[i], i % 3);
	}
	net_down(&n);
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("stream", NULL, NULL);
	CU_add_test(s, "a hundred messages are one system call", test_batches);
	CU_add_test(s, "reserve and commit", test_reserve);
	CU_add_test(s, "large payloads are referenced", test_reference);
	CU_add_test(s, "a part of one, and no memory for the rest", test_part_of_a_reference);
	CU_add_test(s, "flushes early", test_early_flush);
	CU_add_test(s, "answers go out at once", test_answers);
	CU_add_test(s, "a slow peer", test_slow_peer);
	CU_add_test(s, "on_drained that appends", test_drained_appends);
	CU_add_test(s, "reading on and off", test_read_on_off);
	CU_add_test(s, "a turn is shared out", test_turn_shared);
	CU_add_test(s, "bytes put back", test_unread);
	CU_add_test(s, "half-closed peer", test_half_close);
	CU_add_test(s, "reset by the peer", test_reset);
	CU_add_test(s, "close drops the queue", test_close_drops);
	CU_add_test(s, "abort drops what the kernel has", test_abort);
	CU_add_test(s, "abort without a connection", test_abort_early);
	CU_add_test(s, "close before it is told", test_close_forgets);
	CU_add_test(s, "close while the kernel takes no more", test_close_blocked);
	CU_add_test(s, "close inside callbacks", test_close_inside);
	CU_add_test(s, "close after the flush", test_close_flushed);
	CU_add_test(s, "close after the flush, at the latest", test_close_flushed_late);
	CU_add_test(s, "close without a socket", test_close_unopened);
	CU_add_test(s, "connect", test_connect);
	CU_add_test(s, "connect to a unix socket", test_connect_unix);
	CU_add_test(s, "connect fails", test_connect_fails);
	CU_add_test(s, "adopt", test_adopt);
	CU_add_test(s, "adopt while the kernel takes no more", test_adopt_blocked);
	CU_add_test(s, "adopt when there is room again", test_adopt_with_room);
	CU_add_test(s, "random abuse against a model", test_abuse);
	return ob__tap_run();
}
