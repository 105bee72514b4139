/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "net/stream.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "lib/ip.h"
#include "net/stream_priv.h"

#define READ_TURN  (1u << 20)  /* bytes that all streams read in a turn, as long as ... */
#define READ_LEAST (32u << 10) /* ... each has read so many, ... */
#define READ_LATE  (4u << 10)  /* or so many, when the turn ... */
#define LATE_MS    50u         /* ... has taken so long */

/* ---------------------------------------------------------------- telling owners */

struct ob__streams_wake {
	uv_idle_t idle;   /* its being active is what keeps the poll from waiting */
	uv_check_t check; /* tells who is closed, with no other frame of ours on the stack */
	uint8_t handles;
};

static void on_wake(uv_idle_t *handle)
{
	(void)handle;
}

static void hurry(struct ob__streams *m)
{
	uv_idle_start(&m->wake->idle, on_wake);
}

static void calm(struct ob__streams *m)
{
	if (ob__list_empty(&m->notify) && ob__list_empty(&m->closed)) {
		uv_idle_stop(&m->wake->idle);
	}
}

bool ob__streams_hurry(const struct ob__streams *m)
{
	return uv_is_active((const uv_handle_t *)&m->wake->idle);
}

void ob__stream_notify(struct ob__stream *s)
{
	if (ob__list_on(&s->notify_link)) {
		return;
	}
	ob__list_append(&s->m->notify, &s->notify_link);
	hurry(s->m);
}

/* Nobody is to be told anything about it any more; and if that was the last one, a poll may wait.
 */
static void forget_notice(struct ob__stream *s)
{
	ob__list_del(&s->notify_link);
	calm(s->m);
}

/* One round: who closes another one meanwhile has that told in the next turn. */
static void on_check(uv_check_t *handle)
{
	struct ob__streams *m = handle->data;
	struct ob__list now;
	if (ob__list_empty(&m->closed)) {
		return;
	}
	ob__list_init(&now);
	ob__list_splice(&now, &m->closed);
	while (!ob__list_empty(&now)) {
		struct ob__stream *s = OB__CONTAINER(now.next, struct ob__stream, notify_link);
		ob__list_del(&s->notify_link);
		s->closed = true;
		ob__tls_free(s);
		m->open--;
		s->ops->on_close(s);
	}
	if (ob__list_empty(&m->closed)) {
		uv_unref((uv_handle_t *)&m->wake->idle);
	}
	calm(m);
}

bool ob__stream_wants_more(const struct ob__stream *s)
{
	return s->reading && !s->unread && !s->ended;
}

static void start_reading(struct ob__stream *s);
static void connected(struct ob__stream *s, int status);

static void give_unread(struct ob__stream *s)
{
	struct ob__rbuf *r = s->unread;
	s->unread = NULL;
	s->ops->on_read(s, r->data, r->len);
	ob__rbuf_unref(r);
	if (ob__stream_wants_more(s) && !ob__tls_is_over(s)) {
		start_reading(s);
	}
}

static void tell(struct ob__stream *s)
{
	if (s->dial && s->dial->status < 0) {
		connected(s, s->dial->status);
		return;
	}
	if (s->tell_failed) {
		s->tell_failed = false;
		s->ops->on_end(s, s->failed);
		return;
	}
	if (s->failed != 0) {
		return;
	}
	if (s->tell_drained) {
		s->tell_drained = false;
		if (!s->above) {
			s->ops->on_drained(s);
		}
	}
	if (s->unread && s->reading && !s->closing) {
		give_unread(s);
	}
	ob__tls_tell_over(s);
}

/* One round: what it causes is told in the next turn, which comes at once. */
static void tell_owners(struct ob__streams *m)
{
	struct ob__list now;
	ob__list_init(&now);
	ob__list_splice(&now, &m->notify);
	while (!ob__list_empty(&now)) {
		struct ob__stream *s = OB__CONTAINER(now.next, struct ob__stream, notify_link);
		ob__list_del(&s->notify_link);
		tell(s);
	}
	calm(m);
}

/* What was left unread in the last turn says how many want a part of the next. */
static void share_turn(struct ob__streams *m)
{
	size_t share = READ_TURN / (m->hungry > 0 ? m->hungry : 1);

	m->turn++;
	m->turn_left = READ_TURN;
	m->turn_share = share < OB__LOOP_READ_BUFFER ? share : OB__LOOP_READ_BUFFER;
	m->hungry = 0;
}

static void before_poll(void *arg)
{
	struct ob__streams *m = arg;
	share_turn(m);
	ob__streams_flush(m);
	if (!ob__list_empty(&m->notify)) {
		tell_owners(m);
		ob__streams_flush(m);
	}
}

static void on_ready(struct ob__sock *k, unsigned events);

static struct ob__streams_wake *wake_new(struct ob__streams *m)
{
	struct ob__streams_wake *w = malloc(sizeof(*w));
	if (!w) {
		return NULL;
	}
	uv_idle_init(ob__loop_uv(m->loop), &w->idle);
	uv_check_init(ob__loop_uv(m->loop), &w->check);
	uv_unref((uv_handle_t *)&w->idle);
	uv_unref((uv_handle_t *)&w->check);
	w->handles = 2;
	w->idle.data = w;
	w->check.data = m;
	uv_check_start(&w->check, on_check);
	return w;
}

int ob__streams_init(struct ob__streams *m, struct ob__loop *loop)
{
	*m = (struct ob__streams){.loop = loop, .hook = {.fn = before_poll, .arg = m}};
	m->socks = ob__socks_new(loop, on_ready);
	m->wake = m->socks ? wake_new(m) : NULL;
	if (!m->wake) {
		ob__socks_free(m->socks);
		return -ENOMEM;
	}
	ob__list_init(&m->dirty);
	ob__list_init(&m->notify);
	ob__list_init(&m->closed);
	share_turn(m);
	ob__loop_before_poll(loop, &m->hook);
	signal(SIGPIPE, SIG_IGN);
	return 0;
}

static void on_wake_closed(uv_handle_t *handle)
{
	struct ob__streams_wake *w = handle->data;
	if (--w->handles == 0) {
		free(w);
	}
}

void ob__streams_free(struct ob__streams *m)
{
	if (!m || !m->loop) {
		return;
	}
	assert(m->open == 0);
	ob__loop_hook_remove(&m->hook);
	ob__streams_free_chunks(m);
	m->wake->check.data = m->wake;
	uv_close((uv_handle_t *)&m->wake->idle, on_wake_closed);
	uv_close((uv_handle_t *)&m->wake->check, on_wake_closed);
	ob__socks_free(m->socks);
	*m = (struct ob__streams){0};
}

void ob__streams_close(struct ob__streams *m)
{
	struct ob__sock *k;
	for (uint32_t pos = 0; (k = ob__sock_next(m->socks, &pos)) != NULL;) {
		ob__stream_close(OB__CONTAINER(k, struct ob__stream, sock));
	}
}

/* ---------------------------------------------------------------- opening */

void ob__stream_init(struct ob__stream *s, struct ob__streams *m, const struct ob__stream_ops *ops,
                     void *owner)
{
	*s = (struct ob__stream){.m = m, .ops = ops, .owner = owner};
	ob__sock_init(&s->sock);
	ob__list_init(&s->dirty_link);
	ob__list_init(&s->notify_link);
	ob__timeout_init(&s->timer, NULL, NULL);
}

static void on_linger_over(void *arg)
{
	ob__stream_close(arg);
}

void ob__stream_opened(struct ob__stream *s, bool is_unix)
{
	assert(!s->opened && !s->closing);
	s->opened = true;
	s->is_unix = is_unix;
	s->last_read = ob__loop_now(s->m->loop);
	s->m->open++;
}

int ob__stream_accept(struct ob__stream *s, uv_stream_t *server)
{
	int err = ob__sock_accept(s->m->socks, &s->sock, server);
	if (err == 0) {
		ob__stream_opened(s, server->type == UV_NAMED_PIPE);
	}
	return err;
}

struct ob__stream_dial *ob__stream_dial_new(struct ob__stream *s, ob__stream_connect_cb cb)
{
	struct ob__stream_dial *dial = malloc(sizeof(*dial));
	if (dial) {
		*dial = (struct ob__stream_dial){.cb = cb};
		s->dial = dial;
	}
	return dial;
}

/* The dial that was under way has ended. */
static void connected(struct ob__stream *s, int status)
{
	ob__stream_connect_cb cb = s->dial->cb;
	free(s->dial);
	s->dial = NULL;
	s->connecting = false;
	ob__sock_watch(s->m->socks, &s->sock, OB__SOCK_WRITE, false);
	if (status < 0) {
		ob__stream_drop_queue(s);
		s->failed = status;
	} else {
		s->last_read = ob__loop_now(s->m->loop);
		if (s->tls) {
			ob__tls_begin(s);
		}
		if (s->queued > 0) {
			ob__stream_mark_dirty(s);
		}
		if (s->reading) {
			start_reading(s);
		}
	}
	cb(s, status);
}

int ob__stream_connect(struct ob__stream *s, const struct sockaddr *addr, const char *path,
                       ob__stream_connect_cb cb)
{
	if (!addr && strlen(path) >= sizeof(((struct sockaddr_un *)0)->sun_path)) {
		return -ENAMETOOLONG;
	}
	struct ob__stream_dial *dial = ob__stream_dial_new(s, cb);
	if (!dial) {
		return -ENOMEM;
	}
	int err = ob__sock_connect(s->m->socks, &s->sock, addr, path);
	if (err < 0 && addr && err != UV_ECONNREFUSED) {
		free(dial);
		s->dial = NULL;
		return err;
	}
	ob__stream_opened(s, addr == NULL);
	s->connecting = true;
	if (err < 0) {
		dial->status = err;
		ob__stream_notify(s);
	}
	return 0;
}

int ob__stream_adopt(struct ob__stream *into, struct ob__stream *from)
{
	assert(into->m == from->m);
	if (from->closing || from->failed != 0 || !from->opened || from->connecting) {
		return -ECANCELED;
	}
	ob__sock_move(from->m->socks, &into->sock, &from->sock);
	ob__stream_opened(into, from->is_unix);
	into->blocked = from->blocked;
	from->blocked = false;
	into->last_read = from->last_read;
	into->unread = from->unread;
	from->unread = NULL;
	into->tls = from->tls;
	from->tls = NULL;
	if (into->tls) {
		into->tls->s = into;
	}
	ob__stream_move_queue(into, from);
	if (into->m->answering == from) {
		into->m->answering = into;
	}
	if (ob__tls_has_output(into)) {
		ob__stream_mark_dirty(into);
	}
	ob__stream_close(from);
	return 0;
}

/* ---------------------------------------------------------------- reading */

/* Each read and each flush has its price, so a stream reads its due at once while there is time. */
static size_t least(const struct ob__streams *m)
{
	uint64_t ms = uv_hrtime() / 1000000u;
	return ms > ob__loop_now(m->loop) + LATE_MS ? READ_LATE : READ_LEAST;
}

/* What it may read now. */
static size_t due_part(const struct ob__stream *s)
{
	const struct ob__streams *m = s->m;
	size_t most = OB__LOOP_READ_BUFFER - (s->tls ? OB__TLS_READ_AT : 0);
	size_t room = m->turn_share < m->turn_left ? m->turn_share : m->turn_left;
	if (s->trunk || room > most) {
		return most;
	}
	if (room < READ_LEAST) {
		size_t due = least(m);
		room = room < due ? due : room;
	}
	return room;
}

static void count_read(struct ob__stream *s, size_t n)
{
	struct ob__streams *m = s->m;
	size_t taken = n < m->turn_left ? n : m->turn_left;
	m->bytes_in += n;
	m->turn_left -= s->trunk ? 0 : taken;
}

/* The peer has ended, or the socket is broken, behind a close that still flushes. */
static void end_while_closing(struct ob__stream *s, int status)
{
	s->ended = true;
	if (status != UV_EOF || s->shut) {
		ob__stream_close(s);
	}
}

void ob__stream_halt(struct ob__stream *s)
{
	ob__sock_watch(s->m->socks, &s->sock, OB__SOCK_READ, false);
	s->reading = false;
}

void ob__stream_end(struct ob__stream *s, int status)
{
	ob__stream_halt(s);
	s->ended = true;
	if (status != UV_EOF && status != UV_EPROTONOSUPPORT) {
		ob__stream_drop_queue(s);
		s->failed = status;
		s->tell_failed = false;
	}
	s->ops->on_end(s, status);
}

/* What has arrived, to the owner; and what he answers is sent while the socket is still in the
 * cache.  Not what others wrote before: they may go on, and one write is for all of that. */
static void hand_over(struct ob__stream *s, uint8_t *data, size_t n)
{
	struct ob__streams *m = s->m;
	m->answering = ob__list_on(&s->dirty_link) || s->trunk ? NULL : s;
	if (s->tls) {
		ob__tls_read(s, data, n);
	} else {
		s->ops->on_read(s, data, n);
	}
	if (m->answering) {
		ob__stream_flush(m->answering);
		m->answering = NULL;
	}
}

/* Something may be there; one that has left nothing waits for the next turn all the same. */
static void read_some(struct ob__stream *s)
{
	struct ob__streams *m = s->m;
	size_t room = due_part(s);
	uint8_t *buf = ob__loop_read_buffer(m->loop) + (s->tls ? OB__TLS_READ_AT : 0);
	ssize_t n = ob__sock_read(&s->sock, buf, room);
	if (n == UV_EAGAIN) {
		return;
	}
	if (n <= 0) {
		int status = n == 0 ? UV_EOF : (int)n;
		if (s->closing) {
			ob__stream_halt(s);
			end_while_closing(s, status);
			return;
		}
		ob__stream_end(s, s->tls ? ob__tls_end(s, status) : status);
		return;
	}
	count_read(s, (size_t)n);
	m->hungry += (size_t)n == room && !s->trunk;
	if (s->closing) {
		return;
	}
	s->last_read = ob__loop_now(m->loop);
	hand_over(s, buf, (size_t)n);
}

static bool may_read(const struct ob__stream *s)
{
	return s->closing ? !s->ended : ob__stream_wants_more(s);
}

static void on_ready(struct ob__sock *k, unsigned events)
{
	struct ob__stream *s = OB__CONTAINER(k, struct ob__stream, sock);
	if (s->connecting) {
		if ((events & OB__SOCK_WRITE) != 0) {
			connected(s, ob__sock_connected(k));
		}
		return;
	}
	if ((events & OB__SOCK_READ) != 0 && may_read(s)) {
		read_some(s);
	}
	if ((events & OB__SOCK_WRITE) != 0 && s->blocked && ob__sock_is_open(k)) {
		s->blocked = false;
		ob__sock_watch(s->m->socks, k, OB__SOCK_WRITE, false);
		ob__stream_mark_dirty(s);
	}
}

static void stop_reading(struct ob__stream *s)
{
	ob__sock_watch(s->m->socks, &s->sock, OB__SOCK_READ, false);
}

static void start_reading(struct ob__stream *s)
{
	int err = ob__sock_watch(s->m->socks, &s->sock, OB__SOCK_READ, true);
	if (err < 0) {
		ob__stream_fail(s, err);
	}
}

void ob__stream_read(struct ob__stream *s, bool on)
{
	if (s->closing || s->failed != 0 || !s->opened || s->reading == on) {
		return;
	}
	if (s->ended && !s->unread) {
		return;
	}
	s->reading = on;
	if (s->connecting) {
		return;
	}
	if (!on) {
		stop_reading(s);
	} else if (s->unread || ob__tls_is_over(s)) {
		ob__stream_notify(s);
	} else {
		start_reading(s);
	}
}

int ob__stream_unread(struct ob__stream *s, const void *data, size_t len)
{
	if (s->closing) {
		return -ECANCELED;
	}
	if (len == 0) {
		return 0;
	}
	size_t behind = s->unread ? s->unread->len : 0;
	struct ob__rbuf *r = ob__rbuf_new(len + behind);
	if (!r) {
		return -ENOMEM;
	}
	memcpy(r->data, data, len);
	if (s->unread) {
		memcpy(r->data + len, s->unread->data, behind);
		ob__rbuf_unref(s->unread);
	}
	s->unread = r;
	if (s->reading) {
		stop_reading(s); /* give_unread() goes on */
		ob__stream_notify(s);
	}
	return 0;
}

/* ---------------------------------------------------------------- closing */

void ob__stream_fail(struct ob__stream *s, int status)
{
	ob__stream_drop_queue(s);
	if (s->closing) {
		ob__stream_close(s);
		return;
	}
	if (s->failed != 0) {
		return;
	}
	s->failed = status;
	s->tell_failed = true;
	s->reading = false;
	stop_reading(s);
	ob__stream_notify(s);
}

static void close_now(struct ob__stream *s, bool reset)
{
	struct ob__streams *m = s->m;
	if (!s->opened) {
		ob__stream_opened(s, false);
	}
	free(s->dial);
	s->dial = NULL;
	s->closing = true;
	s->close_after_flush = false;
	s->reading = false;
	s->blocked = false;
	ob__stream_drop_queue(s);
	ob__list_del(&s->notify_link);
	ob__rbuf_unref(s->unread);
	s->unread = NULL;
	ob__timeout_clear(m->loop, &s->timer);
	ob__sock_close(m->socks, &s->sock, reset);
	if (ob__list_empty(&m->closed)) {
		uv_ref((uv_handle_t *)&m->wake->idle);
		hurry(m);
	}
	ob__list_append(&m->closed, &s->notify_link);
}

void ob__stream_close(struct ob__stream *s)
{
	if (s->closing && !s->close_after_flush) {
		return;
	}
	if (s->opened) {
		ob__tls_last_try(s);
	}
	close_now(s, false);
}

void ob__stream_abort(struct ob__stream *s)
{
	if (!s->closing || s->close_after_flush) {
		close_now(s, s->opened && !s->connecting && !s->is_unix);
	}
}

void ob__stream_flushed(struct ob__stream *s)
{
	if (ob__tls_say_bye(s)) {
		ob__stream_mark_dirty(s);
		return;
	}
	if (s->ended) {
		ob__stream_close(s);
		return;
	}
	if (ob__sock_shut(&s->sock) < 0) {
		ob__stream_close(s);
		return;
	}
	s->shut = true;
}

void ob__stream_close_flushed(struct ob__stream *s, uint64_t ms)
{
	if (s->closing) {
		return;
	}
	bool refused = s->tls && s->tls->dead; /* and TLS has said why */
	if (!s->opened || s->connecting || (s->failed != 0 && !refused) ||
	    (s->tls && !s->tls->ready && !s->tls->plain && !refused)) {
		ob__stream_close(s);
		return;
	}
	if (refused || (s->tls && s->tls->plain)) {
		s->ended = false; /* for TLS it has; the socket has more to throw away */
	}
	s->closing = true;
	s->close_after_flush = true;
	s->reading = false;
	forget_notice(s);
	ob__rbuf_unref(s->unread);
	s->unread = NULL;
	ob__timeout_clear(s->m->loop, &s->timer);
	ob__timeout_init(&s->timer, on_linger_over, s);
	ob__timeout_set(s->m->loop, &s->timer, ms);
	if (!s->ended) {
		start_reading(s);
	}
	if (s->close_after_flush && s->queued == 0 && !s->blocked) {
		ob__stream_flushed(s);
	}
}

/* ---------------------------------------------------------------- who is there */

static int peer_address(const struct ob__stream *s, struct sockaddr_storage *out)
{
	return !s->opened || s->is_unix ? -ENOTCONN : ob__sock_peer(&s->sock, out);
}

bool ob__stream_is_unix(const struct ob__stream *s)
{
	return s->opened && s->is_unix;
}

/* The number in decimal; behind it. */
static char *put_number(char *out, unsigned n)
{
	char digits[10];
	size_t len = 0;
	do {
		digits[len++] = (char)('0' + n % 10);
		n /= 10;
	} while (n > 0);
	while (len > 0) {
		*out++ = digits[--len];
	}
	return out;
}

/* Asked for with every connection, so without printf's detours. */
static void put_v4(const struct sockaddr_in *in, char *out, size_t cap)
{
	uint8_t ip[4];
	char text[INET_ADDRSTRLEN + 8];
	char *end = text;
	memcpy(ip, &in->sin_addr, sizeof(ip));
	for (size_t i = 0; i < sizeof(ip); i++) {
		end = put_number(end, ip[i]);
		*end++ = i + 1 < sizeof(ip) ? '.' : ':';
	}
	end = put_number(end, ntohs(in->sin_port));
	*end++ = '\0';
	size_t len = (size_t)(end - text);
	if (cap > 0) {
		memcpy(out, text, len < cap ? len : cap);
		out[(len < cap ? len : cap) - 1] = '\0';
	}
}

void ob__stream_peer(const struct ob__stream *s, char *out, size_t cap)
{
	struct sockaddr_storage addr;
	if (ob__stream_is_unix(s)) {
		snprintf(out, cap, "unix");
		return;
	}
	if (peer_address(s, &addr) < 0) {
		snprintf(out, cap, "-");
		return;
	}
	char host[INET6_ADDRSTRLEN] = "";
	if (addr.ss_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&addr;
		uv_ip6_name(in6, host, sizeof(host));
		snprintf(out, cap, "[%s]:%u", host, ntohs(in6->sin6_port));
		return;
	}
	put_v4((const struct sockaddr_in *)&addr, out, cap);
}

bool ob__stream_peer_ip(const struct ob__stream *s, uint8_t ip[16], uint16_t *port)
{
	struct sockaddr_storage addr;
	struct ob__ip number;
	if (ob__stream_is_unix(s) || peer_address(s, &addr) < 0) {
		return false;
	}
	if (addr.ss_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&addr;
		memcpy(number.b, &in6->sin6_addr, sizeof(number.b));
		*port = ntohs(in6->sin6_port);
	} else {
		const struct sockaddr_in *in = (const struct sockaddr_in *)&addr;
		uint8_t v4[4];
		memcpy(v4, &in->sin_addr, sizeof(v4));
		ob__ip_from_v4(&number, v4);
		*port = ntohs(in->sin_port);
	}
	memcpy(ip, number.b, sizeof(number.b));
	return true;
}

bool ob__stream_is_loopback(const struct ob__stream *s)
{
	struct sockaddr_storage addr;
	if (ob__stream_is_unix(s)) {
		return true;
	}
	if (peer_address(s, &addr) < 0) {
		return false;
	}
	if (addr.ss_family == AF_INET) {
		const struct sockaddr_in *in = (const struct sockaddr_in *)&addr;
		return ntohl(in->sin_addr.s_addr) >> 24 == 127;
	}
	const struct in6_addr *in6 = &((const struct sockaddr_in6 *)&addr)->sin6_addr;
	return IN6_IS_ADDR_LOOPBACK(in6) || (IN6_IS_ADDR_V4MAPPED(in6) && in6->s6_addr[12] == 127);
}
