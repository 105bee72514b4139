/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * libuv's streams as far as core/net/stream.c uses them, the sockets below, and the wires between
 * them.
 */

#include "t/sim/mesh/virtual.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define SYN_RETRY_US  1000000u
#define LOCAL_US      20u
#define RETRANSMIT_US 400000u /* at most, behind a silence */

size_t vconns_open;

struct vsock *vsock_other(const struct vsock *s)
{
	return s == &s->conn->end[0] ? &s->conn->end[1] : &s->conn->end[0];
}

static struct sim_world *world_of(const struct vsock *s)
{
	return s->conn->world;
}

/* ---------------------------------------------------------------- pieces */

static void queue_put(struct vqueue *q, struct vseg *seg)
{
	seg->next = NULL;
	if (q->tail != NULL) {
		q->tail->next = seg;
	} else {
		q->head = seg;
	}
	q->tail = seg;
}

static struct vseg *queue_take(struct vqueue *q)
{
	struct vseg *seg = q->head;
	q->head = seg->next;
	if (q->head == NULL) {
		q->tail = NULL;
	}
	return seg;
}

static void queue_clear(struct vqueue *q)
{
	while (q->head != NULL) {
		free(queue_take(q));
	}
}

/* ---------------------------------------------------------------- connections */

static struct vconn *conn_new(struct sim_node *from)
{
	struct vconn *c = calloc(1, sizeof(*c));
	if (c == NULL) {
		abort();
	}
	c->world = from->world;
	ob__list_init(&c->backlog_link);
	for (int i = 0; i < 2; i++) {
		c->end[i].conn = c;
		c->end[i].fd = 100 + 2 * (int)sim_counts(from->world)->connections + i;
		ob__list_init(&c->end[i].node_link);
	}
	c->end[0].node = from;
	c->end[0].state = VSOCK_OPEN;
	ob__list_append(&from->socks, &c->end[0].node_link);
	c->refs = 1;
	vconns_open++;
	sim_counting(c->world)->connections++;
	return c;
}

void vconn_unref(struct vconn *c)
{
	if (--c->refs > 0) {
		return;
	}
	for (int i = 0; i < 2; i++) {
		queue_clear(&c->end[i].on_way);
		queue_clear(&c->end[i].got);
	}
	free(c);
	vconns_open--;
}

static void plan_conn(struct vconn *c, uint64_t us, void (*fn)(void *arg), void *arg)
{
	c->refs++;
	sim_plan(c->world, sim_now_us(c->world) + us, fn, arg);
}

static uint64_t latency(const struct vsock *from, const struct vsock *to)
{
	return from->conn->local ? LOCAL_US : sim_latency(from->conn->world, from->node, to->node);
}

static bool blocked(const struct vsock *from, const struct vsock *to)
{
	return !from->conn->local && sim_blocked(from->conn->world, from->node, to->node);
}

/* Its process, if it has one, has something to look at. */
static void stir(struct vsock *s)
{
	if (s->handle != NULL) {
		vhandle_ready(s->handle);
		sim_wake(s->node);
	}
}

static void deliver(struct vsock *s, struct vseg *seg);

static void on_arrival(void *arg)
{
	struct vsock *s = arg;
	const struct vsock *from = vsock_other(s);
	uint64_t now = sim_now_us(world_of(s));
	while (s->on_way.head != NULL && s->on_way.head->at <= now) {
		if (blocked(from, s)) {
			break; /* until vsock_unblocked() */
		}
		if (s->hold_until > now) {
			plan_conn(s->conn, s->hold_until - now, on_arrival, s);
			break;
		}
		deliver(s, queue_take(&s->on_way));
	}
	vconn_unref(s->conn);
}

void vsock_unblocked(struct vsock *s)
{
	if (s->on_way.head == NULL) {
		return;
	}
	uint64_t wait = sim_below(world_of(s), RETRANSMIT_US);
	s->hold_until = sim_now_us(world_of(s)) + wait;
	plan_conn(s->conn, wait, on_arrival, s);
}

static void send_seg(struct vsock *from, enum vseg_kind kind, const void *data, size_t len)
{
	struct vsock *to = vsock_other(from);
	size_t room = kind == VSEG_DATA ? len : 0;
	struct vseg *seg = malloc(sizeof(*seg) + room);
	if (seg == NULL) {
		abort();
	}
	uint64_t now = sim_now_us(world_of(from));
	uint64_t at = now + latency(from, to);
	*seg = (struct vseg){.kind = kind, .len = len, .at = at > to->last_at ? at : to->last_at};
	if (room > 0) {
		memcpy(seg->data, data, room);
		sim_counting(world_of(from))->segments++;
		sim_counting(world_of(from))->bytes += len;
	}
	to->last_at = seg->at;
	queue_put(&to->on_way, seg);
	plan_conn(from->conn, seg->at - now, on_arrival, to);
}

/* Says that nobody is here; once. */
static void say_reset(struct vsock *from)
{
	if (from->said_reset || from->node->silent) {
		return;
	}
	from->said_reset = true;
	sim_counting(world_of(from))->resets++;
	send_seg(from, VSEG_RESET, NULL, 0);
}

static void broken(struct vsock *s, int error)
{
	s->error = error;
	queue_clear(&s->on_way);
	stir(s);
}

static void deliver(struct vsock *s, struct vseg *seg)
{
	enum vseg_kind kind = seg->kind;
	sim_mark(world_of(s), 1 + kind, s->node->index, vsock_other(s)->node->index, seg->len);
	if (s->state != VSOCK_OPEN || s->error != 0) {
		if (kind != VSEG_RESET && s->state == VSOCK_GONE) {
			say_reset(s);
		}
		free(seg);
		return;
	}
	switch (kind) {
	case VSEG_DATA:
		s->got_len += seg->len;
		queue_put(&s->got, seg);
		stir(s);
		return;
	case VSEG_FIN:
		s->ended = true;
		break;
	case VSEG_RESET:
		broken(s, UV_ECONNRESET);
		break;
	case VSEG_TAKEN:
		s->window -= seg->len;
		break;
	case VSEG_WELCOME:
		s->established = true;
		if (s->handle != NULL && s->handle->connect != NULL) {
			s->handle->connect_done = true;
		}
		break;
	}
	free(seg);
	stir(s);
}

/* ---------------------------------------------------------------- dialling */

static void on_refused(void *arg)
{
	struct vsock *s = arg;
	if (s->handle != NULL && s->handle->connect != NULL) {
		s->handle->connect_done = true;
		s->handle->connect_status = UV_ECONNREFUSED;
		stir(s);
	}
	vconn_unref(s->conn);
}

static void on_knock(void *arg)
{
	struct vconn *c = arg;
	struct vsock *from = &c->end[0];
	struct vsock *to = &c->end[1];
	if (from->state != VSOCK_OPEN) {
		vconn_unref(c);
		return;
	}
	if (to->node == NULL || to->node->silent || blocked(from, to) || blocked(to, from)) {
		plan_conn(c, SYN_RETRY_US << (c->tries < 5 ? c->tries++ : 5), on_knock, c);
		vconn_unref(c);
		return;
	}
	struct ob__listener *l = vlistener_find(to->node, c->local ? c->path : NULL, c->port);
	sim_mark(c->world, 10, from->node->index, to->node->index, l != NULL);
	if (l == NULL) {
		plan_conn(c, latency(to, from), on_refused, from);
	} else {
		to->state = VSOCK_OPEN;
		to->established = true;
		ob__list_append(&to->node->socks, &to->node_link);
		c->refs++;
		send_seg(to, VSEG_WELCOME, NULL, 0);
		vlistener_offer(l, c);
	}
	vconn_unref(c);
}

static int open_socket(struct vhandle *h, uv_connect_t *req, uv_connect_cb cb)
{
	struct vconn *c = conn_new(h->loop->node);
	h->sock = &c->end[0];
	c->end[0].handle = h;
	h->connect = req;
	h->on_connect = cb;
	h->active = true;
	req->handle = (uv_stream_t *)h->uv;
	return 0;
}

int uv_tcp_connect(uv_connect_t *req, uv_tcp_t *tcp, const struct sockaddr *addr, uv_connect_cb cb)
{
	struct vhandle *h = vhandle_of(tcp);
	const struct sockaddr_in *in = (const struct sockaddr_in *)addr;
	char host[INET_ADDRSTRLEN] = "";
	if (addr->sa_family != AF_INET) {
		return UV_ENETUNREACH;
	}
	uv_ip4_name(in, host, sizeof(host));
	open_socket(h, req, cb);
	struct vconn *c = h->sock->conn;
	c->port = ntohs(in->sin_port);
	c->end[1].node = sim_find_host(c->world, host);
	uint64_t us = c->end[1].node != NULL ? latency(&c->end[0], &c->end[1]) : SYN_RETRY_US;
	plan_conn(c, us, on_knock, c);
	return 0;
}

/* A unix socket answers at once: whoever listens there is on this machine. */
void uv_pipe_connect(uv_connect_t *req, uv_pipe_t *pipe, const char *path, uv_connect_cb cb)
{
	struct vhandle *h = vhandle_of(pipe);
	open_socket(h, req, cb);
	struct vconn *c = h->sock->conn;
	struct sim_world *w = c->world;
	c->local = true;
	snprintf(c->path, sizeof(c->path), "%s", path);
	for (uint32_t i = 0; i < sim_nodes(w) && c->end[1].node == NULL; i++) {
		struct sim_node *n = sim_node(w, i);
		if (n->machine == h->loop->node->machine && vlistener_find(n, path, 0) != NULL) {
			c->end[1].node = n;
		}
	}
	if (c->end[1].node != NULL) {
		plan_conn(c, LOCAL_US, on_knock, c);
		return;
	}
	h->connect_done = true;
	h->connect_status = UV_ENOENT;
	vhandle_ready(h);
	sim_wake(h->loop->node);
}

void vconn_refuse(struct vconn *c)
{
	struct vsock *s = &c->end[1];
	say_reset(s);
	s->state = VSOCK_GONE;
	ob__list_del(&s->node_link);
	vconn_unref(c);
}

int uv_accept(uv_stream_t *server, uv_stream_t *client)
{
	struct vhandle *h = vhandle_of(client);
	struct vhandle *from = vhandle_of(server);
	struct vconn *c = from->offered;
	if (c == NULL) {
		return UV_EAGAIN;
	}
	from->offered = NULL;
	h->sock = &c->end[1];
	h->sock->handle = h;
	vhandle_ready(h);
	return 0;
}

/* ---------------------------------------------------------------- streams */

int uv_tcp_init(uv_loop_t *loop, uv_tcp_t *tcp)
{
	vhandle_new(loop, (uv_handle_t *)tcp, UV_TCP);
	return 0;
}

int uv_pipe_init(uv_loop_t *loop, uv_pipe_t *pipe, int ipc)
{
	(void)ipc;
	vhandle_new(loop, (uv_handle_t *)pipe, UV_NAMED_PIPE);
	return 0;
}

int uv_tcp_nodelay(uv_tcp_t *tcp, int on)
{
	(void)tcp;
	(void)on;
	return 0;
}

/* No virtual process hands sockets about. */
int uv_tcp_open(uv_tcp_t *tcp, uv_os_sock_t fd)
{
	(void)tcp;
	(void)fd;
	return UV_ENOTSUP;
}

int uv_pipe_open(uv_pipe_t *pipe, uv_file fd)
{
	(void)pipe;
	(void)fd;
	return UV_ENOTSUP;
}

int uv_poll_init(uv_loop_t *loop, uv_poll_t *poll, int fd)
{
	(void)loop;
	(void)poll;
	(void)fd;
	return UV_ENOTSUP;
}

int uv_poll_start(uv_poll_t *poll, int events, uv_poll_cb cb)
{
	(void)poll;
	(void)events;
	(void)cb;
	return UV_ENOTSUP;
}

int uv_poll_stop(uv_poll_t *poll)
{
	(void)poll;
	return 0;
}

int uv_fileno(const uv_handle_t *uv, uv_os_fd_t *fd)
{
	const struct vhandle *h = vhandle_of(uv);
	if (h->sock == NULL) {
		return UV_EBADF;
	}
	*fd = h->sock->fd;
	return 0;
}

/* The libc's, by the number that uv_fileno() gave. */
int shutdown(int fd, int how)
{
	(void)how;
	OB__LIST_EACH (it, &sim_current->socks) {
		struct vsock *s = OB__CONTAINER(it, struct vsock, node_link);
		if (s->fd != fd) {
			continue;
		}
		if (s->error != 0) {
			errno = ENOTCONN;
			return -1;
		}
		if (!s->shut) {
			s->shut = true;
			send_seg(s, VSEG_FIN, NULL, 0);
		}
		return 0;
	}
	errno = EBADF;
	return -1;
}

int uv_tcp_getpeername(const uv_tcp_t *tcp, struct sockaddr *addr, int *len)
{
	const struct vhandle *h = vhandle_of(tcp);
	if (h->sock == NULL || !h->sock->established) {
		return UV_ENOTCONN;
	}
	const struct vsock *other = vsock_other(h->sock);
	bool dialled = h->sock == &h->sock->conn->end[0];
	int port = dialled ? h->sock->conn->port : 30000 + other->fd % 30000;
	uv_ip4_addr(other->node->host, port, (struct sockaddr_in *)addr);
	*len = sizeof(struct sockaddr_in);
	return 0;
}

int uv_read_start(uv_stream_t *stream, uv_alloc_cb alloc, uv_read_cb read)
{
	struct vhandle *h = vhandle_of(stream);
	h->alloc = alloc;
	h->read = read;
	h->active = true;
	vhandle_ready(h);
	return 0;
}

int uv_read_stop(uv_stream_t *stream)
{
	vhandle_of(stream)->read = NULL;
	return 0;
}

/* How much of `len` bytes the kernel takes, and sends it; negative when it can't. */
static int write_some(struct vsock *s, const uv_buf_t *bufs, unsigned n, size_t skip)
{
	size_t cap = sim_options_of(world_of(s))->window;
	size_t room = s->window < cap ? cap - s->window : 0;
	size_t done = 0;
	if (s->error != 0 || s->shut || s->state != VSOCK_OPEN) {
		return sim_chance(world_of(s), 500) ? UV_EPIPE : UV_ECONNRESET;
	}
	for (unsigned i = 0; i < n && room > 0; i++) {
		size_t off = skip < bufs[i].len ? skip : bufs[i].len;
		size_t left = bufs[i].len - off;
		skip -= off;
		left = left < room ? left : room;
		if (left > 0) {
			send_seg(s, VSEG_DATA, bufs[i].base + off, left);
		}
		room -= left;
		done += left;
	}
	s->window += done;
	return (int)done;
}

int uv_try_write(uv_stream_t *stream, const uv_buf_t bufs[], unsigned n)
{
	struct vhandle *h = vhandle_of(stream);
	if (h->write != NULL || h->connect != NULL) {
		return UV_EAGAIN;
	}
	if (h->sock == NULL) {
		return UV_EBADF;
	}
	int done = write_some(h->sock, bufs, n, 0);
	return done == 0 ? UV_EAGAIN : done;
}

int uv_write(uv_write_t *req, uv_stream_t *stream, const uv_buf_t bufs[], unsigned n,
             uv_write_cb cb)
{
	struct vhandle *h = vhandle_of(stream);
	if (h->sock == NULL || h->write != NULL || n > 4) {
		return UV_EBADF;
	}
	h->write = req;
	h->on_write = cb;
	req->handle = stream;
	memcpy(h->bufs, bufs, n * sizeof(bufs[0]));
	h->nbufs = n;
	vhandle_ready(h);
	return 0;
}

size_t uv_stream_get_write_queue_size(const uv_stream_t *stream)
{
	const struct vhandle *h = vhandle_of(stream);
	size_t left = 0;

	for (unsigned i = 0; h->write != NULL && i < h->nbufs; i++) {
		left += h->bufs[i].len;
	}
	return left;
}

/* ---------------------------------------------------------------- events of the poll */

static bool readable(const struct vhandle *h)
{
	const struct vsock *s = h->sock;
	return h->read != NULL && h->connect == NULL && s != NULL &&
	       (s->got_len > 0 || s->ended || s->error != 0);
}

static bool writable(const struct vhandle *h)
{
	const struct vsock *s = h->sock;
	return h->write != NULL &&
	       (s->error != 0 || s->window < sim_options_of(world_of(s))->window);
}

bool vstream_waits(const struct vhandle *h)
{
	return h->connect_done || readable(h) || writable(h);
}

static void read_done(struct vsock *s, size_t n)
{
	s->got_len -= n;
	s->read_unsaid += n;
	/* Words for every read would only cost time: the sender waits for none of them. */
	if (s->read_unsaid >= sim_options_of(world_of(s))->window / 4 && s->error == 0) {
		send_seg(s, VSEG_TAKEN, NULL, s->read_unsaid);
		s->read_unsaid = 0;
	}
}

static size_t take_bytes(struct vsock *s, char *out, size_t cap)
{
	size_t n = 0;
	while (n < cap && s->got.head != NULL) {
		struct vseg *seg = s->got.head;
		size_t left = seg->len - seg->off;
		size_t take = left < cap - n ? left : cap - n;
		memcpy(out + n, seg->data + seg->off, take);
		seg->off += take;
		n += take;
		if (seg->off == seg->len) {
			free(queue_take(&s->got));
		}
	}
	return n;
}

static void do_read(struct vhandle *h)
{
	struct vsock *s = h->sock;
	struct sim_world *w = world_of(s);
	uv_stream_t *stream = (uv_stream_t *)h->uv;
	uv_buf_t buf = {0};
	h->alloc(h->uv, 65536, &buf);
	if (s->got_len > 0) {
		size_t cap = s->got_len < buf.len ? s->got_len : buf.len;
		if (sim_below(w, 16) < sim_options_of(w)->cut_in_16) {
			cap = 1 + sim_below(w, cap);
		}
		size_t n = take_bytes(s, buf.base, cap);
		read_done(s, n);
		h->read(stream, (ssize_t)n, &buf);
	} else {
		h->read(stream, s->error != 0 ? s->error : UV_EOF, &buf);
	}
}

static void do_write(struct vhandle *h)
{
	size_t total = 0;
	for (unsigned i = 0; i < h->nbufs; i++) {
		total += h->bufs[i].len;
	}
	int done = write_some(h->sock, h->bufs, h->nbufs, 0);
	if (done >= 0 && (size_t)done < total) {
		size_t skip = (size_t)done;
		for (unsigned i = 0; i < h->nbufs; i++) {
			size_t off = skip < h->bufs[i].len ? skip : h->bufs[i].len;
			h->bufs[i].base += off;
			h->bufs[i].len -= off;
			skip -= off;
		}
		return;
	}
	uv_write_t *req = h->write;
	h->write = NULL;
	h->on_write(req, done < 0 ? done : 0);
}

/* A callback may close the handle, which then is off the list of ready ones and stays in memory
 * until the close callbacks. */
static bool is_closing(const struct vhandle *h)
{
	return h->sock == NULL;
}

void vstream_event(struct vhandle *h)
{
	if (h->connect_done) {
		uv_connect_t *req = h->connect;
		h->connect_done = false;
		h->connect = NULL;
		h->on_connect(req, h->connect_status);
	}
	if (!is_closing(h) && readable(h)) {
		do_read(h);
	}
	if (!is_closing(h) && writable(h)) {
		do_write(h);
	}
	if (!is_closing(h) && vstream_waits(h)) {
		vhandle_ready(h);
	}
}

/* ---------------------------------------------------------------- ends */

/* What it has sent and could not deliver is not sent again. The reset is lost where the way is
 * blocked; whoever sends something to this end gets one then. */
static void cut_off(struct vsock *s)
{
	struct vsock *other = vsock_other(s);
	if (s->error == 0 && s->established && blocked(s, other)) {
		queue_clear(&other->on_way);
		s->error = UV_ECONNRESET;
	}
}

/* The process has no use for the socket any more: what the kernel says then. */
static void abandon(struct vsock *s, bool reset)
{
	struct sim_world *w = world_of(s);
	bool unread = s->got_len > 0 || reset;
	s->handle = NULL;
	s->state = VSOCK_GONE;
	ob__list_del(&s->node_link);
	queue_clear(&s->got);
	s->got_len = 0;
	if (s->error == 0 && s->established && !s->node->silent) {
		if (unread || sim_chance(w, 100)) {
			if (sim_chance(w, 500)) {
				queue_clear(&vsock_other(s)->on_way);
			}
			say_reset(s);
		} else if (!s->shut) {
			s->shut = true;
			send_seg(s, VSEG_FIN, NULL, 0);
		}
	}
	vconn_unref(s->conn);
}

void vstream_close(struct vhandle *h)
{
	h->read = NULL;
	h->connect_done = false;
	if (h->sock != NULL) {
		struct vsock *s = h->sock;
		h->sock = NULL;
		if (h->reset) {
			cut_off(s);
		}
		abandon(s, h->reset);
	}
}

void vstream_closed(struct vhandle *h)
{
	if (h->connect != NULL) {
		uv_connect_t *req = h->connect;
		h->connect = NULL;
		h->on_connect(req, UV_ECANCELED);
	}
	if (h->write != NULL) {
		uv_write_t *req = h->write;
		h->write = NULL;
		h->on_write(req, UV_ECANCELED);
	}
}

void vsock_crash(struct vsock *s, enum sim_crash how)
{
	if (s->handle != NULL) {
		s->handle->sock = NULL;
	}
	if (how == SIM_CRASH_MACHINE) {
		/* What it had not sent never comes; its other end hears nothing. */
		queue_clear(&vsock_other(s)->on_way);
		s->error = UV_ECONNRESET;
	}
	abandon(s, false);
}

/* A box in the middle forgets the connection, and says so to this end. */
void vsock_break(struct vsock *s)
{
	if (s->state == VSOCK_OPEN && s->error == 0) {
		broken(s, UV_ECONNRESET);
	}
}

bool sim_same_connection(const struct ob__stream *a, const struct ob__stream *b)
{
	if (!a->opened || !b->opened || a->closing || b->closing) {
		return false;
	}
	const struct vhandle *x = vhandle_of(&a->uv.handle);
	const struct vhandle *y = vhandle_of(&b->uv.handle);
	return x->sock != NULL && y->sock != NULL && x->sock != y->sock &&
	       x->sock->conn == y->sock->conn;
}
