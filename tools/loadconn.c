/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "tools/load_priv.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tools/seedpkt.h"
#include "tools/wsclient.h"

/* Sequence numbers have 16 digits and say which connection they belong to. */
#define SEQ_BASE UINT64_C(1000000000000000)
#define SEQ_STEP UINT64_C(10000000000)

static void give_up(struct ob__load *l, struct ob__load_conn *c, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Ends a connection that should have gone on. The first reason is the one reported. */
static void give_up(struct ob__load *l, struct ob__load_conn *c, const char *fmt, ...)
{
	bool expected = c->state == OB__LOAD_CLOSING;

	ob__load_conn_free(l, c);
	if (expected) {
		return;
	}
	if (!l->report->broken++) {
		char reason[192];
		va_list ap;
		va_start(ap, fmt);
		vsnprintf(reason, sizeof(reason), fmt, ap);
		va_end(ap);
		snprintf(l->report->why, sizeof(l->report->why), "connection %u of %u: %s",
		         c->index + 1, ob__load_all(l), reason);
	}
}

static int bytes_append(struct ob__load_bytes *b, const uint8_t *p, size_t n)
{
	if (b->len + n > b->cap) {
		size_t cap = b->cap ? b->cap : 512;
		while (cap < b->len + n) {
			cap *= 2;
		}
		uint8_t *data = realloc(b->data, cap);
		if (!data) {
			return -1;
		}
		b->data = data;
		b->cap = cap;
	}
	memcpy(b->data + b->len, p, n);
	b->len += n;
	return 0;
}

/* Makes b hold exactly these n bytes, which may be its own. */
static int bytes_keep(struct ob__load_bytes *b, const uint8_t *p, size_t n)
{
	if (!n && b->cap > 65536) {
		free(b->data);
		*b = (struct ob__load_bytes){0};
	}
	if (n && b->data && p >= b->data && p < b->data + b->len) {
		memmove(b->data, p, n);
		b->len = n;
		return 0;
	}
	b->len = 0;
	return n ? bytes_append(b, p, n) : 0;
}

static void arm(struct ob__load *l, struct ob__load_conn *c, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.ptr = c};

	if (c->events != events && c->state != OB__LOAD_GONE) {
		c->events = events;
		epoll_ctl(l->epfd, EPOLL_CTL_MOD, c->fd, &ev);
	}
}

/* No bytes leave but in pieces. */
static bool in_pieces(const struct ob__load *l, const struct ob__load_conn *c)
{
	return l->opts->pieces > 0 && c->state == OB__LOAD_OPEN && c->index < l->opts->conns;
}

/* Sends n bytes behind all that wait already; keeps what the socket does not take. */
static void push(struct ob__load *l, struct ob__load_conn *c, const uint8_t *p, size_t n)
{
	size_t taken = 0;

	if (!c->out.len && !in_pieces(l, c)) {
		ssize_t put = ob__load_io_send(c, p, n);
		if (put < 0 && errno != EAGAIN && errno != EINTR) {
			give_up(l, c, "send: %s", strerror(errno));
			return;
		}
		taken = put > 0 ? (size_t)put : 0;
	}
	if (taken == n) {
		return;
	}
	if (bytes_append(&c->out, p + taken, n - taken) < 0) {
		give_up(l, c, "out of memory");
		return;
	}
	if (!in_pieces(l, c)) {
		arm(l, c, EPOLLIN | EPOLLOUT);
	}
}

void ob__load_conn_piece(struct ob__load *l, struct ob__load_conn *c, size_t n)
{
	size_t left = c->out.len - c->out_off;

	if (!left || !in_pieces(l, c)) {
		return;
	}
	ssize_t put = ob__load_io_send(c, c->out.data + c->out_off, n < left ? n : left);
	if (put < 0) {
		if (errno != EAGAIN && errno != EINTR) {
			give_up(l, c, "send: %s", strerror(errno));
		}
		return;
	}
	c->out_off += (size_t)put;
	if (c->out_off == c->out.len || c->out_off > OB__LOAD_BURST) {
		size_t off = c->out_off;
		c->out_off = 0;
		bytes_keep(&c->out, c->out.data + off, c->out.len - off);
	}
}

static void push_rest(struct ob__load *l, struct ob__load_conn *c)
{
	while (c->out_off < c->out.len) {
		ssize_t put =
			ob__load_io_send(c, c->out.data + c->out_off, c->out.len - c->out_off);
		if (put < 0 && errno == EINTR) {
			continue;
		}
		if (put < 0 && errno == EAGAIN) {
			return;
		}
		if (put < 0) {
			give_up(l, c, "send: %s", strerror(errno));
			return;
		}
		c->out_off += (size_t)put;
	}
	c->out_off = 0;
	bytes_keep(&c->out, NULL, 0);
	arm(l, c, EPOLLIN);
}

static void push_control(struct ob__load *l, struct ob__load_conn *c, unsigned opcode,
                         const uint8_t *p, size_t n)
{
	uint8_t frame[OB__WSC_HEADER_MAX + 125];
	size_t head = ob__wsc_put(frame, opcode, n, l->mask);

	ob__wskey_mask(frame + head, p, n, l->mask);
	push(l, c, frame, head + n);
}

bool ob__load_conn_queue(struct ob__load *l, struct ob__load_conn *c, uint64_t start)
{
	if (c->state != OB__LOAD_OPEN || c->index >= l->opts->conns || c->owed >= l->opts->depth ||
	    c->next - c->base >= l->ring) {
		return false;
	}
	if (l->opts->rate > 0 && c->out.len - c->out_off > OB__LOAD_BACKLOG) {
		return false;
	}
	c->when[c->next & (l->ring - 1)] = start;
	if (l->missing) {
		l->missing[c->next & (l->ring - 1)] = ob__load_all(l);
	}
	c->next++;
	c->owed++;
	c->unsent++;
	l->owed++;
	l->queued++;
	return true;
}

static void number_frames(struct ob__load *l, struct ob__load_conn *c, uint64_t seq, size_t n)
{
	for (size_t i = 0; i < n; i++, seq++) {
		uint8_t *at = l->frames + i * l->frame_len;
		uint64_t v = SEQ_BASE + c->index * SEQ_STEP + seq % SEQ_STEP;
		for (int d = OB__LOAD_DIGITS - 1; d >= 0; d--, v /= 10) {
			at[l->digit_at[d]] = (uint8_t)('0' + v % 10) ^ l->digit_key[d];
		}
	}
}

void ob__load_conn_send(struct ob__load *l, struct ob__load_conn *c)
{
	while (c->unsent && c->state == OB__LOAD_OPEN) {
		size_t n = c->unsent < l->frames_max ? c->unsent : l->frames_max;
		if (l->opts->verify) {
			number_frames(l, c, c->next - c->unsent, n);
		}
		c->unsent -= (uint32_t)n;
		push(l, c, l->frames, n * l->frame_len);
	}
}

void ob__load_conn_fill(struct ob__load *l, struct ob__load_conn *c, uint64_t now)
{
	while (!l->opts->total || l->queued < l->opts->total) {
		if (!ob__load_conn_queue(l, c, now)) {
			break;
		}
	}
	ob__load_conn_send(l, c);
}

static void count(struct ob__load_code *table, unsigned *len, unsigned cap, long value)
{
	unsigned i = 0;

	while (i < *len && table[i].code != value) {
		i++;
	}
	if (i == cap) {
		return;
	}
	if (i == *len) {
		table[(*len)++].code = value;
	}
	table[i].count++;
}

static void count_code(struct ob__load_report *r, long code)
{
	r->failed_codes++;
	count(r->code, &r->ncodes, OB__LOAD_MAX_CODES, code);
}

static void count_version(struct ob__load_report *r, struct ob__load_conn *c, int64_t version)
{
	r->version_changes += c->version >= 0 && version != c->version;
	c->version = version;
	count(r->version, &r->nversions, OB__LOAD_MAX_VERSIONS, (long)version);
}

/* The number after "name": in a JSON text; -1 if there is none. */
static int64_t find_number(const uint8_t *p, size_t n, const char *quoted)
{
	const uint8_t *end = p + n;
	const uint8_t *at = memmem(p, n, quoted, strlen(quoted));
	int64_t v = 0;
	int digits = 0;

	if (!at) {
		return -1;
	}
	at += strlen(quoted);
	while (at < end && (*at == ' ' || *at == ':')) {
		at++;
	}
	for (; at < end && *at >= '0' && *at <= '9' && digits < 18; at++, digits++) {
		v = v * 10 + (*at - '0');
	}
	return digits ? v : -1;
}

/* Which message a verified reply answers; false if none that is awaited (and counted as such). */
static bool find_awaited(struct ob__load *l, struct ob__load_conn *c, const uint8_t *body, size_t n,
                         bool failed, uint64_t *seq)
{
	struct ob__load_report *r = l->report;
	int64_t v = find_number(body, n, "\"seq\"");

	*seq = c->base;
	if (v < 0) {
		r->unreadable += !failed;
		return true;
	}
	uint64_t own = (uint64_t)v - (SEQ_BASE + c->index * SEQ_STEP);
	if (own >= SEQ_STEP) {
		r->misdelivered++;
		return false;
	}
	*seq = own;
	if (own < c->base || own >= c->next || !c->when[own & (l->ring - 1)]) {
		r->duplicated++;
		return false;
	}
	r->reordered += own < c->top;
	c->top = own >= c->top ? own + 1 : c->top;
	return true;
}

static void answered(struct ob__load *l, struct ob__load_conn *c, uint64_t *when, uint64_t now)
{
	if (l->opts->rate > 0 ? *when >= l->from_ns && l->from_ns : l->measuring) {
		ob__lat_record(&l->report->lat, now - *when);
	}
	l->report->answered++;
	*when = 0;
	c->owed--;
	l->owed--;
}

/* One that has come to this connection; the next one of those that the first one has sent. */
static void take_broadcast(struct ob__load *l, struct ob__load_conn *c, uint64_t now)
{
	struct ob__load_conn *from = &l->conns[0];
	uint64_t at = c->top & (l->ring - 1);

	if (c->top >= from->next) {
		l->report->duplicated++;
		return;
	}
	c->top++;
	l->report->done += l->measuring;
	if (--l->missing[at] == 0) {
		answered(l, from, &from->when[at], now);
		from->base++;
	}
}

static void take_reply(struct ob__load *l, struct ob__load_conn *c, const uint8_t *body, size_t n,
                       uint64_t now)
{
	uint64_t seq = c->base;
	bool failed = false;

	if (l->missing) {
		take_broadcast(l, c, now);
		return;
	}
	if (l->opts->check_code) {
		int64_t code = find_number(body, n, "\"code\"");
		failed = code >= 0 && code != 200;
		if (failed) {
			count_code(l->report, (long)code);
		}
	}
	if (l->opts->versions) {
		count_version(l->report, c, find_number(body, n, "\"v\""));
	}
	if (!c->owed) {
		l->report->duplicated++;
		return;
	}
	if (l->opts->verify && !find_awaited(l, c, body, n, failed, &seq)) {
		return;
	}
	l->report->done += l->measuring;
	answered(l, c, &c->when[seq & (l->ring - 1)], now);
	while (c->base < c->next && !c->when[c->base & (l->ring - 1)]) {
		c->base++;
	}
}

/* Takes the whole packets at p. The bytes used, or -1 if the connection was given up. */
static ssize_t take_packets(struct ob__load *l, struct ob__load_conn *c, const uint8_t *p, size_t n,
                            uint64_t now)
{
	size_t at = 0;

	while (n - at >= OB__PKT_HEADER) {
		uint32_t len = ob__le32_get(p + at);
		if (len < OB__PKT_HEADER || len > OB__LOAD_MAX_FRAME) {
			give_up(l, c, "a packet of length %d", (int)len);
			return -1;
		}
		if (n - at < len) {
			break;
		}
		if (ob__le32_get(p + at + 4) == l->opts->id) {
			take_reply(l, c, p + at + OB__PKT_HEADER, len - OB__PKT_HEADER, now);
		} else {
			l->report->other_ids++;
		}
		at += len;
	}
	return (ssize_t)at;
}

/* Packets are a stream of their own: several in a message, or one over several messages. */
static int take_data(struct ob__load *l, struct ob__load_conn *c, const uint8_t *p, size_t n,
                     uint64_t now)
{
	bool pieced = c->packet.len;

	if (pieced) {
		if (bytes_append(&c->packet, p, n) < 0) {
			give_up(l, c, "out of memory");
			return -1;
		}
		p = c->packet.data;
		n = c->packet.len;
	}
	ssize_t used = take_packets(l, c, p, n, now);
	if (used < 0) {
		return -1;
	}
	if ((pieced || (size_t)used < n) &&
	    bytes_keep(&c->packet, p + used, n - (size_t)used) < 0) {
		give_up(l, c, "out of memory");
		return -1;
	}
	return 0;
}

static int take_frame(struct ob__load *l, struct ob__load_conn *c, const struct ob__wsc_frame *f,
                      const uint8_t *p, uint64_t now)
{
	switch (f->opcode) {
	case OB__WSC_PING:
		push_control(l, c, OB__WSC_PONG, p, f->len);
		return c->state == OB__LOAD_GONE ? -1 : 0;
	case OB__WSC_PONG:
		return 0;
	case OB__WSC_CLOSE:
		give_up(l, c, "the server closed it with %d %.*s",
		        f->len >= 2 ? p[0] << 8 | p[1] : 1005, f->len > 2 ? (int)f->len - 2 : 0,
		        f->len > 2 ? (const char *)p + 2 : "");
		return -1;
	default:
		return take_data(l, c, p, f->len, now);
	}
}

/* Takes the whole frames at p. The bytes used, or -1 if the connection was given up. */
static ssize_t take_frames(struct ob__load *l, struct ob__load_conn *c, const uint8_t *p, size_t n,
                           uint64_t now)
{
	struct ob__wsc_frame f;
	size_t at = 0;

	for (;;) {
		int head = ob__wsc_header(p + at, n - at, &f);
		if (head < 0 || (head > 0 && f.len > OB__LOAD_MAX_FRAME)) {
			give_up(l, c, head < 0 ? "a bad frame header" : "a frame over the limit");
			return -1;
		}
		if (!head || n - at - (size_t)head < f.len) {
			return (ssize_t)at;
		}
		if (take_frame(l, c, &f, p + at + head, now) < 0) {
			return -1;
		}
		at += (size_t)head + f.len;
	}
}

/* The bytes the answer took, 0 for more, -1 if the connection was given up. */
static ssize_t take_upgrade(struct ob__load *l, struct ob__load_conn *c, const uint8_t *p, size_t n)
{
	char why[160];
	int used = ob__wsc_response((const char *)p, n, l->accept, why, sizeof(why));

	if (used < 0) {
		give_up(l, c, "handshake: %s", why);
	}
	if (used > 0) {
		c->state = OB__LOAD_OPEN;
		l->opened++;
		if (l->measuring_back) {
			ob__lat_record(&l->report->back, ob__load_now() - c->begun);
		}
	}
	return used;
}

static void on_bytes(struct ob__load *l, struct ob__load_conn *c, const uint8_t *p, size_t n,
                     uint64_t now)
{
	ssize_t used = 0;

	if (c->state == OB__LOAD_UPGRADING) {
		used = take_upgrade(l, c, p, n);
	}
	if (c->state >= OB__LOAD_OPEN && used >= 0) {
		ssize_t more = take_frames(l, c, p + used, n - (size_t)used, now);
		used = more < 0 ? -1 : used + more;
	}
	if (used < 0) {
		return;
	}
	if (((size_t)used < n || c->in.len) && bytes_keep(&c->in, p + used, n - (size_t)used) < 0) {
		give_up(l, c, "out of memory");
	}
}

static void on_readable(struct ob__load *l, struct ob__load_conn *c)
{
	size_t have = c->in.len;

	if (have) {
		memcpy(l->read_buf, c->in.data, have);
	}
	ssize_t n = ob__load_io_recv(c, l->read_buf + have, OB__LOAD_READ);
	if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
		return;
	}
	if (n <= 0) {
		give_up(l, c, c->state < OB__LOAD_OPEN ? "handshake: %s" : "%s",
		        n < 0 ? strerror(errno) : "the server closed the connection");
		return;
	}
	uint64_t now = ob__load_now();
	l->last_reply_ns = now;
	on_bytes(l, c, l->read_buf, have + (size_t)n, now);
	c = l->missing ? &l->conns[0] : c;
	if (l->sending && c->state == OB__LOAD_OPEN) {
		ob__load_conn_fill(l, c, now);
	}
}

static void ask(struct ob__load *l, struct ob__load_conn *c)
{
	c->state = OB__LOAD_UPGRADING;
	l->asked++;
	push(l, c, (const uint8_t *)l->request, l->request_len);
}

static void secure(struct ob__load *l, struct ob__load_conn *c)
{
	char why[160];
	int rc = ob__load_tls_step(c, why, sizeof(why));

	if (rc < 0) {
		give_up(l, c, "TLS: %s", why);
	} else if (rc > 0) {
		ask(l, c);
	}
}

static void on_connected(struct ob__load *l, struct ob__load_conn *c)
{
	int err = 0;
	socklen_t len = sizeof(err);

	getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &err, &len);
	if (err) {
		give_up(l, c, "connect: %s", strerror(err));
		return;
	}
	arm(l, c, EPOLLIN);
	if (!l->tls) {
		ask(l, c);
		return;
	}
	c->state = OB__LOAD_SECURING;
	if (ob__load_tls_start(l, c) < 0) {
		give_up(l, c, "out of memory");
		return;
	}
	secure(l, c);
}

void ob__load_conn_event(struct ob__load *l, struct ob__load_conn *c, uint32_t events)
{
	if (c->state == OB__LOAD_CONNECTING) {
		on_connected(l, c);
		return;
	}
	if (c->state == OB__LOAD_SECURING) {
		secure(l, c);
		return;
	}
	if (c->state != OB__LOAD_GONE && events & EPOLLOUT) {
		push_rest(l, c);
	}
	if (c->state != OB__LOAD_GONE && events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
		on_readable(l, c);
	}
}

int ob__load_conn_start(struct ob__load *l, struct ob__load_conn *c, int fd)
{
	struct epoll_event ev = {.events = EPOLLOUT, .data.ptr = c};

	c->fd = fd;
	c->begun = ob__load_now();
	c->state = OB__LOAD_CONNECTING;
	c->events = EPOLLOUT;
	bool sends = l->ring && c->index < l->opts->conns;
	c->when = sends ? calloc(l->ring, sizeof(*c->when)) : NULL;
	l->alive++;
	if ((sends && !c->when) || epoll_ctl(l->epfd, EPOLL_CTL_ADD, fd, &ev) < 0) {
		ob__load_conn_free(l, c);
		return -1;
	}
	return 0;
}

void ob__load_conn_close(struct ob__load *l, struct ob__load_conn *c)
{
	static const uint8_t normal[2] = {1000 >> 8, 1000 & 0xff};

	if (c->state != OB__LOAD_OPEN) {
		ob__load_conn_free(l, c);
		return;
	}
	c->state = OB__LOAD_CLOSING;
	push_control(l, c, OB__WSC_CLOSE, normal, sizeof(normal));
}

void ob__load_conn_free(struct ob__load *l, struct ob__load_conn *c)
{
	if (c->state == OB__LOAD_GONE) {
		return;
	}
	c->state = OB__LOAD_GONE;
	SSL_free(c->ssl);
	c->ssl = NULL;
	close(c->fd);
	c->fd = -1;
	free(c->when);
	free(c->in.data);
	free(c->packet.data);
	free(c->out.data);
	l->alive--;
	l->owed -= c->owed;
}

void ob__load_conn_cut(struct ob__load *l, struct ob__load_conn *c)
{
	const struct linger at_once = {.l_onoff = 1};

	if (c->state != OB__LOAD_GONE) {
		setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
		ob__load_conn_free(l, c);
	}
	*c = (struct ob__load_conn){
		.index = c->index, .fd = -1, .state = OB__LOAD_GONE, .version = -1};
}
