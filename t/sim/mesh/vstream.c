/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * net/sock.h on virtual sockets, and the wires between them.
 */

#include "t/sim/mesh/virtual.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "net/sock.h"

#define SYN_RETRY_US  1000000u
#define LOCAL_US      20u
#define RETRANSMIT_US 400000u /* at most, behind a silence */

struct ob__socks {
	uv_loop_t *loop;
	ob__sock_ready ready;
};

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
		if (s->handle != NULL) {
			s->handle->connect_done = s->handle->connecting;
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
	if (s->handle != NULL && s->handle->connecting) {
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

static struct vhandle *handle_new(struct ob__socks *set, struct ob__sock *k, bool is_unix)
{
	struct vhandle *h = vhandle_bare(set->loop, is_unix ? UV_NAMED_PIPE : UV_TCP);
	h->set = set;
	h->k = k;
	k->virtual = h;
	return h;
}

static void knock_tcp(struct vhandle *h, const struct sockaddr *addr)
{
	const struct sockaddr_in *in = (const struct sockaddr_in *)addr;
	struct vconn *c = h->sock->conn;
	char host[INET_ADDRSTRLEN] = "";
	uv_ip4_name(in, host, sizeof(host));
	c->port = ntohs(in->sin_port);
	c->end[1].node = sim_find_host(c->world, host);
	uint64_t us = c->end[1].node != NULL ? latency(&c->end[0], &c->end[1]) : SYN_RETRY_US;
	plan_conn(c, us, on_knock, c);
}

/* A unix socket answers at once: whoever listens there is on this machine. */
static void knock_unix(struct vhandle *h, const char *path)
{
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

int ob__sock_connect(struct ob__socks *set, struct ob__sock *k, const struct sockaddr *addr,
                     const char *path)
{
	if (addr != NULL && addr->sa_family != AF_INET) {
		return UV_ENETUNREACH;
	}
	struct vhandle *h = handle_new(set, k, addr == NULL);
	struct vconn *c = conn_new(h->loop->node);
	h->sock = &c->end[0];
	c->end[0].handle = h;
	h->connecting = true;
	h->active = true;
	h->want = OB__SOCK_WRITE;
	if (addr != NULL) {
		knock_tcp(h, addr);
	} else {
		knock_unix(h, path);
	}
	return 0;
}

int ob__sock_connected(const struct ob__sock *k)
{
	return ((const struct vhandle *)k->virtual)->connect_status;
}

void vconn_refuse(struct vconn *c)
{
	struct vsock *s = &c->end[1];
	say_reset(s);
	s->state = VSOCK_GONE;
	ob__list_del(&s->node_link);
	vconn_unref(c);
}

int ob__sock_accept(struct ob__socks *set, struct ob__sock *k, uv_stream_t *server)
{
	struct vhandle *from = vhandle_of(server);
	struct vconn *c = from->offered;
	if (c == NULL) {
		return UV_EAGAIN;
	}
	struct vhandle *h = handle_new(set, k, from->type == UV_NAMED_PIPE);
	from->offered = NULL;
	h->sock = &c->end[1];
	h->sock->handle = h;
	return 0;
}

/* ---------------------------------------------------------------- sockets of a process */

struct ob__socks *ob__socks_new(struct ob__loop *loop, ob__sock_ready ready)
{
	struct ob__socks *set = calloc(1, sizeof(*set));
	if (set == NULL) {
		abort();
	}
	set->loop = ob__loop_uv(loop);
	set->ready = ready;
	return set;
}

void ob__socks_free(struct ob__socks *set)
{
	free(set);
}

void ob__sock_init(struct ob__sock *k)
{
	*k = (struct ob__sock){.virtual = NULL};
}

bool ob__sock_is_open(const struct ob__sock *k)
{
	return k->virtual != NULL;
}

/* No virtual process hands sockets about. */
int ob__sock_take(struct ob__socks *set, struct ob__sock *k, int fd, bool is_unix)
{
	(void)set;
	(void)k;
	(void)fd;
	(void)is_unix;
	return UV_ENOTSUP;
}

void ob__sock_release(struct ob__socks *set, struct ob__sock *k)
{
	(void)set;
	(void)k;
}

int ob__sock_watch(struct ob__socks *set, struct ob__sock *k, enum ob__sock_event what, bool on)
{
	struct vhandle *h = k->virtual;
	(void)set;
	if (h != NULL) {
		h->want = on ? h->want | what : h->want & ~(unsigned)what;
		h->active = h->want != 0;
		vhandle_ready(h);
	}
	return 0;
}

int ob__sock_shut(struct ob__sock *k)
{
	const struct vhandle *h = k->virtual;
	struct vsock *s = h->sock;
	if (s == NULL || s->error != 0) {
		return UV_ENOTCONN;
	}
	if (!s->shut) {
		s->shut = true;
		send_seg(s, VSEG_FIN, NULL, 0);
	}
	return 0;
}

/* What the process cannot see on its own is no matter here. */
size_t ob__sock_unsent(const struct ob__sock *k)
{
	(void)k;
	return 0;
}

int ob__sock_peer(const struct ob__sock *k, struct sockaddr_storage *out)
{
	const struct vhandle *h = k->virtual;
	if (h == NULL || h->sock == NULL || !h->sock->established) {
		return UV_ENOTCONN;
	}
	const struct vsock *other = vsock_other(h->sock);
	bool dialled = h->sock == &h->sock->conn->end[0];
	int port = dialled ? h->sock->conn->port : 30000 + other->fd % 30000;
	uv_ip4_addr(other->node->host, port, (struct sockaddr_in *)out);
	return 0;
}

void ob__sock_move(struct ob__socks *set, struct ob__sock *into, struct ob__sock *from)
{
	struct vhandle *h = from->virtual;
	*into = *from;
	from->virtual = NULL;
	h->k = into;
	ob__sock_watch(set, into, OB__SOCK_READ, false);
}

void ob__sock_close(struct ob__socks *set, struct ob__sock *k, bool reset)
{
	struct vhandle *h = k->virtual;
	(void)set;
	if (h != NULL) {
		k->virtual = NULL;
		h->reset = reset;
		h->want = 0;
		vhandle_close(h);
	}
}

struct ob__sock *ob__sock_next(const struct ob__socks *set, uint32_t *pos)
{
	const struct vloop *l = set->loop->data;
	uint32_t at = 0;
	OB__LIST_EACH (it, &l->streams) {
		const struct vhandle *h = OB__CONTAINER(it, struct vhandle, link);
		if (h->set == set && at++ == *pos) {
			return h->k; /* closed by the caller, so that the next one has its place */
		}
	}
	return NULL;
}

/* How much of `len` bytes the kernel takes, and sends it; negative when it can't. */
static int write_some(struct vsock *s, const uv_buf_t *bufs, unsigned n)
{
	size_t cap = sim_options_of(world_of(s))->window;
	size_t room = s->window < cap ? cap - s->window : 0;
	size_t done = 0;
	if (s->error != 0 || s->shut || s->state != VSOCK_OPEN) {
		return sim_chance(world_of(s), 500) ? UV_EPIPE : UV_ECONNRESET;
	}
	for (unsigned i = 0; i < n && room > 0; i++) {
		size_t left = bufs[i].len < room ? bufs[i].len : room;
		if (left > 0) {
			send_seg(s, VSEG_DATA, bufs[i].base, left);
		}
		room -= left;
		done += left;
	}
	s->window += done;
	return (int)done;
}

ssize_t ob__sock_write(struct ob__sock *k, const uv_buf_t *bufs, unsigned n)
{
	const struct vhandle *h = k->virtual;
	if (h == NULL || h->sock == NULL) {
		return UV_EBADF;
	}
	int done = write_some(h->sock, bufs, n);
	return done == 0 ? UV_EAGAIN : done;
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

ssize_t ob__sock_read(struct ob__sock *k, void *buf, size_t cap)
{
	const struct vhandle *h = k->virtual;
	struct vsock *s = h->sock;
	if (s == NULL) {
		return UV_EBADF;
	}
	struct sim_world *w = world_of(s);
	if (s->got_len == 0) {
		return s->error != 0 ? s->error : s->ended ? 0 : UV_EAGAIN;
	}
	cap = s->got_len < cap ? s->got_len : cap;
	if (sim_below(w, 16) < sim_options_of(w)->cut_in_16) {
		cap = 1 + sim_below(w, cap);
	}
	size_t n = take_bytes(s, buf, cap);
	read_done(s, n);
	return (ssize_t)n;
}

/* ---------------------------------------------------------------- events of the poll */

static unsigned events_of(const struct vhandle *h)
{
	const struct vsock *s = h->sock;
	unsigned events = 0;
	if (h->connecting || s == NULL) {
		return h->connect_done ? OB__SOCK_WRITE : 0;
	}
	if (s->got_len > 0 || s->ended || s->error != 0) {
		events |= OB__SOCK_READ;
	}
	if (s->error != 0 || s->window < sim_options_of(world_of(s))->window) {
		events |= OB__SOCK_WRITE;
	}
	return events & h->want;
}

bool vstream_waits(const struct vhandle *h)
{
	return events_of(h) != 0;
}

void vstream_event(struct vhandle *h)
{
	unsigned events = events_of(h);
	h->connecting = h->connecting && !h->connect_done;
	h->connect_done = false;
	h->set->ready(h->k, events);
	/* A callback may have closed it: it stays in memory until the end of the turn. */
	if (h->sock != NULL && vstream_waits(h)) {
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
	const struct vhandle *x = a->sock.virtual;
	const struct vhandle *y = b->sock.virtual;
	return x != NULL && y != NULL && x->sock != NULL && y->sock != NULL && x->sock != y->sock &&
	       x->sock->conn == y->sock->conn;
}
