/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "net/stream.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/ip.h"
#include "net/stream_priv.h"

#define READ_TURN  (1u << 20)  /* bytes that all streams read in a turn, as long as ... */
#define READ_LEAST (32u << 10) /* ... each has read so many, ... */
#define READ_LATE  (4u << 10)  /* or so many, when the turn ... */
#define LATE_MS    50u         /* ... has taken so long */

/* ---------------------------------------------------------------- telling owners */

static void on_wake(uv_idle_t *handle)
{
	(void)handle; /* its being active is what keeps the poll from waiting */
}

void ob__stream_notify(struct ob__stream *s)
{
	if (ob__list_on(&s->notify_link)) {
		return;
	}
	ob__list_append(&s->m->notify, &s->notify_link);
	uv_idle_start(s->m->wake, on_wake);
}

/* Nobody is to be told anything about it any more; and if that was the last one, a poll may wait.
 */
static void forget_notice(struct ob__stream *s)
{
	ob__list_del(&s->notify_link);
	if (ob__list_empty(&s->m->notify)) {
		uv_idle_stop(s->m->wake);
	}
}

static void start_reading(struct ob__stream *s);

static void give_unread(struct ob__stream *s)
{
	struct ob__rbuf *r = s->unread;
	s->unread = NULL;
	s->ops->on_read(s, r->data, r->len);
	ob__rbuf_unref(r);
	if (s->reading && !s->unread && !s->closing && !s->ended && s->failed == 0) {
		start_reading(s);
	}
}

static void tell(struct ob__stream *s)
{
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
	if (ob__list_empty(&m->notify)) {
		uv_idle_stop(m->wake);
	}
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

int ob__streams_init(struct ob__streams *m, struct ob__loop *loop)
{
	*m = (struct ob__streams){.loop = loop, .hook = {.fn = before_poll, .arg = m}};
	m->wake = malloc(sizeof(*m->wake));
	if (!m->wake) {
		return -ENOMEM;
	}
	uv_idle_init(ob__loop_uv(loop), m->wake);
	uv_unref((uv_handle_t *)m->wake);
	ob__list_init(&m->dirty);
	ob__list_init(&m->notify);
	ob__list_init(&m->all);
	share_turn(m);
	ob__loop_before_poll(loop, &m->hook);
	signal(SIGPIPE, SIG_IGN);
	return 0;
}

static void free_handle(uv_handle_t *handle)
{
	free(handle);
}

void ob__streams_free(struct ob__streams *m)
{
	if (!m || !m->loop) {
		return;
	}
	assert(ob__list_empty(&m->all));
	ob__loop_hook_remove(&m->hook);
	ob__streams_free_chunks(m);
	uv_close((uv_handle_t *)m->wake, free_handle);
	*m = (struct ob__streams){0};
}

/* ---------------------------------------------------------------- opening */

void ob__stream_init(struct ob__stream *s, struct ob__streams *m, const struct ob__stream_ops *ops,
                     void *owner)
{
	*s = (struct ob__stream){.m = m, .ops = ops, .owner = owner};
	ob__list_init(&s->all_link);
	ob__list_init(&s->dirty_link);
	ob__list_init(&s->notify_link);
	ob__timeout_init(&s->timer, NULL, NULL);
}

static void on_linger_over(void *arg)
{
	ob__stream_close(arg);
}

int ob__stream_open_handle(struct ob__stream *s, bool is_pipe)
{
	assert(!s->opened && !s->closing);
	uv_loop_t *loop = ob__loop_uv(s->m->loop);
	int err = is_pipe ? uv_pipe_init(loop, &s->uv.pipe, 0) : uv_tcp_init(loop, &s->uv.tcp);
	if (err < 0) {
		return err;
	}
	s->uv.handle.data = s;
	s->opened = true;
	s->last_read = ob__loop_now(s->m->loop);
	ob__list_append(&s->m->all, &s->all_link);
	return 0;
}

int ob__stream_accept(struct ob__stream *s, uv_stream_t *server)
{
	int err = ob__stream_open_handle(s, server->type == UV_NAMED_PIPE);
	if (err < 0) {
		return err;
	}
	err = uv_accept(server, &s->uv.stream);
	if (err < 0) {
		return err;
	}
	if (server->type == UV_TCP) {
		uv_tcp_nodelay(&s->uv.tcp,
		               1); /* fails only on a socket that reads will find broken */
	}
	return 0;
}

struct dial {
	union {
		uv_connect_t connect;
		uv_req_t req;
	} uv;
	struct ob__stream *s;
	ob__stream_connect_cb cb;
};

void ob__stream_connected(struct ob__stream *s, int status, ob__stream_connect_cb cb)
{
	s->connecting = false;
	if (s->closing) {
		return;
	}
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

static void on_connected(uv_connect_t *req, int status)
{
	struct dial *dial = req->data;
	struct ob__stream *s = dial->s;
	ob__stream_connect_cb cb = dial->cb;
	free(dial);
	ob__stream_connected(s, status, cb);
}

int ob__stream_connect(struct ob__stream *s, const struct sockaddr *addr, const char *path,
                       ob__stream_connect_cb cb)
{
	if (!addr && strlen(path) >= sizeof(((struct sockaddr_un *)0)->sun_path)) {
		return -ENAMETOOLONG;
	}
	struct dial *dial = malloc(sizeof(*dial));
	if (!dial) {
		return -ENOMEM;
	}
	*dial = (struct dial){.s = s, .cb = cb};
	dial->uv.req.data = dial;
	int err = ob__stream_open_handle(s, !addr);
	if (err < 0) {
		goto out;
	}
	s->connecting = true;
	if (!addr) {
		uv_pipe_connect(&dial->uv.connect, &s->uv.pipe, path, on_connected);
		return 0;
	}
	uv_tcp_nodelay(&s->uv.tcp, 1);
	err = uv_tcp_connect(&dial->uv.connect, &s->uv.tcp, addr, on_connected);
	if (err == 0) {
		return 0;
	}
	s->connecting = false;
out:
	free(dial);
	return err;
}

/* The socket of `from` under a number of our own. */
static int dup_socket(const struct ob__stream *from)
{
	uv_os_fd_t fd;
	int err = uv_fileno(&from->uv.handle, &fd);
	if (err < 0) {
		return err;
	}
	int mine = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	return mine < 0 ? -errno : mine;
}

int ob__stream_adopt(struct ob__stream *into, struct ob__stream *from)
{
	assert(into->m == from->m);
	if (from->closing || from->failed != 0 || !from->opened || from->connecting) {
		return -ECANCELED;
	}
	if (from->in_write) {
		return -EBUSY;
	}
	int fd = dup_socket(from);
	if (fd < 0) {
		return fd;
	}
	bool unix_socket = ob__stream_is_unix(from);
	int err = ob__stream_open_handle(into, unix_socket);
	if (err == 0) {
		err = unix_socket ? uv_pipe_open(&into->uv.pipe, fd)
		                  : uv_tcp_open(&into->uv.tcp, fd);
	}
	if (err < 0) {
		close(fd);
		return err;
	}
	into->last_read = from->last_read;
	into->unread = from->unread;
	from->unread = NULL;
	into->tls = from->tls;
	from->tls = NULL;
	if (into->tls) {
		into->tls->s = into;
	}
	ob__stream_move_queue(into, from);
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

/* libuv asks again as long as a buffer comes back full; no buffer ends that for this turn. */
static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
	(void)suggested;
	struct ob__stream *s = handle->data;
	struct ob__streams *m = s->m;
	size_t at = s->tls ? OB__TLS_READ_AT : 0;
	size_t most = OB__LOOP_READ_BUFFER - at;
	size_t room = m->turn_share < m->turn_left ? m->turn_share : m->turn_left;
	if (s->read_turn == (uint32_t)m->turn) {
		m->hungry += !s->trunk;
		*buf = uv_buf_init(NULL, 0);
		return;
	}
	if (s->trunk || room > most) {
		room = most;
	} else if (room < READ_LEAST) {
		size_t due = least(m);
		room = room < due ? due : room;
	}
	s->read_turn = (uint32_t)m->turn;
	*buf = uv_buf_init((char *)ob__loop_read_buffer(m->loop) + at, (unsigned)room);
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
	uv_read_stop(&s->uv.stream);
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

static void on_uv_read(uv_stream_t *handle, ssize_t n, const uv_buf_t *buf)
{
	struct ob__stream *s = handle->data;
	if (n == 0 || (n == UV_ENOBUFS && buf->base == NULL)) {
		return;
	}
	if (n < 0) {
		if (s->closing) {
			ob__stream_halt(s);
			end_while_closing(s, (int)n);
			return;
		}
		ob__stream_end(s, s->tls ? ob__tls_end(s, (int)n) : (int)n);
		return;
	}
	count_read(s, (size_t)n);
	if (s->closing) {
		return;
	}
	s->last_read = ob__loop_now(s->m->loop);
	if (s->tls) {
		ob__tls_read(s, (const uint8_t *)buf->base, (size_t)n);
		return;
	}
	s->ops->on_read(s, (uint8_t *)buf->base, (size_t)n);
}

static void start_reading(struct ob__stream *s)
{
	int err = uv_read_start(&s->uv.stream, on_alloc, on_uv_read);
	if (err < 0 && err != UV_EALREADY) {
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
		uv_read_stop(&s->uv.stream);
	} else if (s->unread) {
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
		uv_read_stop(&s->uv.stream); /* give_unread() goes on */
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
	uv_read_stop(&s->uv.stream);
	ob__stream_notify(s);
}

static void on_handle_closed(uv_handle_t *handle)
{
	struct ob__stream *s = handle->data;
	s->closed = true;
	ob__tls_free(s);
	ob__list_del(&s->all_link);
	s->ops->on_close(s);
}

static void close_now(struct ob__stream *s, bool reset)
{
	if (!s->opened && ob__stream_open_handle(s, false) < 0) {
		assert(!"uv_tcp_init() without a socket can't fail");
	}
	if (s->fd_dial) {
		ob__stream_forget_fd(s);
	}
	s->closing = true;
	s->close_after_flush = false;
	s->reading = false;
	ob__stream_drop_queue(s);
	forget_notice(s);
	ob__rbuf_unref(s->unread);
	s->unread = NULL;
	ob__timeout_clear(s->m->loop, &s->timer);
	if (!reset || uv_tcp_close_reset(&s->uv.tcp, on_handle_closed) < 0) {
		uv_close(&s->uv.handle, on_handle_closed);
	}
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
		close_now(s, s->opened && !s->connecting && s->uv.handle.type == UV_TCP);
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
	uv_os_fd_t fd;
	if (uv_fileno(&s->uv.handle, &fd) < 0 || shutdown(fd, SHUT_WR) < 0) {
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
		uv_read_start(&s->uv.stream, on_alloc, on_uv_read);
	}
	if (s->queued == 0) {
		ob__stream_flushed(s);
	}
}

/* ---------------------------------------------------------------- who is there */

static int peer_address(const struct ob__stream *s, struct sockaddr_storage *out)
{
	if (!s->opened || s->uv.handle.type != UV_TCP) {
		return -ENOTCONN;
	}
	int len = sizeof(*out);
	return uv_tcp_getpeername(&s->uv.tcp, (struct sockaddr *)out, &len);
}

bool ob__stream_is_unix(const struct ob__stream *s)
{
	return s->opened && s->uv.handle.type == UV_NAMED_PIPE;
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
