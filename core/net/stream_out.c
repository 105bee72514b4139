/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "net/stream.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "net/stream_priv.h"

#define FREE_CHUNKS_MAX 1024u /* kept for reuse; a thousand peers with a word each need as many */
#define FREE_FAT_MAX    64u   /* from here on only those that touched little memory */
#define FAT             4096u

/* ---------------------------------------------------------------- chunks */

struct ob__chunk *ob__chunk_new(struct ob__streams *m)
{
	struct ob__chunk *c = m->free_chunks;
	if (c) {
		m->free_chunks = c->next;
		m->free_chunks_len--;
	} else {
		c = malloc(sizeof(*c) + OB__CHUNK_SIZE);
		if (!c) {
			return NULL;
		}
		m->chunks++;
	}
	c->next = NULL;
	c->ref = NULL;
	c->data = c->room;
	c->sent = 0;
	c->len = 0;
	return c;
}

static void chunk_free(struct ob__streams *m, struct ob__chunk *c)
{
	if (c->ref) {
		ob__rbuf_unref(c->ref);
		free(c);
		return;
	}
	if (m->free_chunks_len >= (c->len > FAT ? FREE_FAT_MAX : FREE_CHUNKS_MAX)) {
		free(c);
		m->chunks--;
		return;
	}
	c->next = m->free_chunks;
	m->free_chunks = c;
	m->free_chunks_len++;
}

void ob__chunks_free(struct ob__streams *m, struct ob__chunk *c)
{
	while (c) {
		struct ob__chunk *next = c->next;
		chunk_free(m, c);
		c = next;
	}
}

void ob__streams_free_chunks(struct ob__streams *m)
{
	while (m->free_chunks) {
		struct ob__chunk *c = m->free_chunks;
		m->free_chunks = c->next;
		free(c);
	}
	m->chunks = 0;
	m->free_chunks_len = 0;
	free(m->reserved);
	m->reserved = NULL;
}

static size_t chunk_room(const struct ob__chunk *c)
{
	return !c || c->ref ? 0 : OB__CHUNK_SIZE - c->len;
}

static void queue_put(struct ob__stream *s, struct ob__chunk *c)
{
	if (s->out_tail) {
		s->out_tail->next = c;
	} else {
		s->out_head = c;
	}
	while (c->next) {
		c = c->next;
	}
	s->out_tail = c;
}

static struct ob__chunk *queue_take(struct ob__stream *s)
{
	struct ob__chunk *c = s->out_head;
	s->out_head = c->next;
	if (!s->out_head) {
		s->out_tail = NULL;
	}
	c->next = NULL;
	return c;
}

/* ---------------------------------------------------------------- appending */

static bool can_append(const struct ob__stream *s)
{
	return !s->closing && s->failed == 0;
}

void ob__stream_mark_dirty(struct ob__stream *s)
{
	if (s->blocked || s->connecting || !s->opened || ob__list_on(&s->dirty_link)) {
		return;
	}
	if (s->tls && !s->tls->ready && !s->tls->plain && !ob__tls_has_output(s)) {
		return; /* waits for the handshake */
	}
	ob__list_append(&s->m->dirty, &s->dirty_link);
	s->m->pending += s->queued;
}

static void unmark_dirty(struct ob__stream *s)
{
	if (ob__list_on(&s->dirty_link)) {
		ob__list_del(&s->dirty_link);
		s->m->pending -= s->queued;
	}
}

/* `n` bytes were put into the queue. */
static void grew(struct ob__stream *s, size_t n)
{
	bool dirty = ob__list_on(&s->dirty_link);
	s->queued += n;
	if (s->high > 0 && s->queued >= s->high) {
		s->above = true;
	}
	if (dirty) {
		s->m->pending += n;
	} else {
		ob__stream_mark_dirty(s);
	}
	if (s->m->pending > OB__STREAM_EARLY_FLUSH) {
		ob__streams_flush(s->m);
	}
}

uint8_t *ob__stream_reserve_new(struct ob__stream *s, size_t len)
{
	assert(len <= OB__CHUNK_SIZE);
	assert(!s->m->reserved);
	if (!can_append(s)) {
		return NULL;
	}
	/* Linked by the commit, so that no queue ever has an empty piece. */
	s->m->reserved = ob__chunk_new(s->m);
	return s->m->reserved ? s->m->reserved->data : NULL;
}

void ob__stream_commit_slow(struct ob__stream *s, size_t used)
{
	struct ob__chunk *c = s->m->reserved;
	s->m->reserved = NULL;
	if (used == 0 || !can_append(s)) {
		if (c) {
			chunk_free(s->m, c);
		}
		return;
	}
	if (c) {
		queue_put(s, c);
	}
	assert(s->out_tail && used <= chunk_room(s->out_tail));
	s->out_tail->len += used;
	grew(s, used);
}

/* A list of chunks with `len` bytes of room, or NULL. */
static struct ob__chunk *chunks_new(struct ob__streams *m, size_t len)
{
	struct ob__chunk *list = NULL;
	for (size_t got = 0; got < len; got += OB__CHUNK_SIZE) {
		struct ob__chunk *c = ob__chunk_new(m);
		if (!c) {
			ob__chunks_free(m, list);
			return NULL;
		}
		c->next = list;
		list = c;
	}
	return list;
}

static size_t chunk_fill(struct ob__chunk *c, const uint8_t *data, size_t len)
{
	size_t room = chunk_room(c);
	size_t n = len < room ? len : room;
	memcpy(c->data + c->len, data, n);
	c->len += n;
	return n;
}

int ob__stream_append(struct ob__stream *s, const void *data, size_t len)
{
	if (!can_append(s)) {
		return -ECANCELED;
	}
	if (len == 0) {
		return 0;
	}
	size_t room = chunk_room(s->out_tail);
	struct ob__chunk *more = NULL;
	if (len > room) {
		more = chunks_new(s->m, len - room);
		if (!more) {
			return -ENOMEM;
		}
	}
	const uint8_t *from = data;
	size_t left = len;
	if (room > 0) {
		size_t n = chunk_fill(s->out_tail, from, left);
		from += n;
		left -= n;
	}
	if (more) {
		queue_put(s, more);
	}
	for (; more; more = more->next) {
		size_t n = chunk_fill(more, from, left);
		from += n;
		left -= n;
	}
	grew(s, len);
	return 0;
}

int ob__stream_append_ref(struct ob__stream *s, struct ob__rbuf *r, size_t off, size_t len)
{
	assert(off <= r->len && len <= r->len - off);
	if (len < OB__STREAM_GATHER) {
		return ob__stream_append(s, r->data + off, len);
	}
	if (!can_append(s)) {
		return -ECANCELED;
	}
	struct ob__chunk *c = malloc(sizeof(*c));
	if (!c) {
		return -ENOMEM;
	}
	c->next = NULL;
	c->ref = ob__rbuf_ref(r);
	c->data = r->data + off;
	c->sent = 0;
	c->len = len;
	queue_put(s, c);
	grew(s, len);
	return 0;
}

int ob__stream_send_ref(struct ob__stream *s, struct ob__rbuf *r, size_t off, size_t len)
{
	assert(off <= r->len && len <= r->len - off);
	if (!can_append(s) || s->queued > 0 || s->tls || !s->opened || s->connecting || len == 0) {
		return ob__stream_append_ref(s, r, off, len);
	}
	uv_buf_t buf = uv_buf_init((char *)r->data + off, (unsigned)len);
	s->m->syscalls_out++;
	ssize_t done = ob__sock_write(&s->sock, &buf, 1);
	if (done < 0 && done != UV_EAGAIN) {
		ob__stream_fail(s, (int)done);
		return (int)done;
	}
	size_t taken = done > 0 ? (size_t)done : 0;
	s->m->bytes_out += taken;
	int rc = taken == len ? 0 : ob__stream_append_ref(s, r, off + taken, len - taken);
	if (rc < 0 && taken > 0) {
		ob__stream_fail(s, rc); /* nothing may come behind a part of it */
	}
	return rc;
}

void ob__stream_drop_queue(struct ob__stream *s)
{
	unmark_dirty(s);
	ob__chunks_free(s->m, s->out_head);
	s->out_head = NULL;
	s->out_tail = NULL;
	s->queued = 0;
	ob__tls_forget(s);
}

void ob__stream_move_queue(struct ob__stream *into, struct ob__stream *from)
{
	assert(!into->out_head);
	unmark_dirty(from);
	into->out_head = from->out_head;
	into->out_tail = from->out_tail;
	into->queued = from->queued;
	from->out_head = NULL;
	from->out_tail = NULL;
	from->queued = 0;
	if (into->queued > 0) {
		ob__stream_mark_dirty(into);
	}
}

/* ---------------------------------------------------------------- flushing */

void ob__stream_check_drained(struct ob__stream *s)
{
	if (!s->above || s->queued > s->high / 2) {
		return;
	}
	s->above = false;
	if (s->ops->on_drained && !s->closing) {
		s->tell_drained = true;
		ob__stream_notify(s);
	}
}

unsigned ob__chunks_gather(struct ob__chunk *list, uv_buf_t *iov, unsigned cap, size_t *total)
{
	unsigned n = 0;
	*total = 0;
	for (struct ob__chunk *c = list; c && n < cap; c = c->next) {
		size_t len = c->len - c->sent;
		iov[n++] = uv_buf_init((char *)c->data + c->sent, (unsigned)len);
		*total += len;
	}
	return n;
}

void ob__stream_drop_front(struct ob__stream *s, size_t n)
{
	while (n > 0) {
		struct ob__chunk *c = s->out_head;
		size_t left = c->len - c->sent;
		if (n < left) {
			c->sent += n;
			return;
		}
		n -= left;
		chunk_free(s->m, queue_take(s));
	}
}

/* The kernel took `n` bytes from the front. */
static void took(struct ob__stream *s, size_t n)
{
	s->queued -= n;
	s->taken += (uint32_t)n;
	s->m->bytes_out += n;
	ob__stream_drop_front(s, n);
}

void ob__stream_settle(struct ob__stream *s)
{
	ob__stream_check_drained(s);
	if (s->out_head || ob__tls_has_output(s)) {
		ob__stream_mark_dirty(s);
	} else if (s->close_after_flush) {
		ob__stream_flushed(s);
	}
}

size_t ob__stream_kept(const struct ob__stream *s)
{
	return s->queued - (s->tls ? s->tls->out_plain : 0);
}

uint32_t ob__stream_taken(const struct ob__stream *s)
{
	return s->taken - (uint32_t)ob__sock_unsent(&s->sock);
}

void ob__stream_block(struct ob__stream *s)
{
	int err = ob__sock_watch(s->m->socks, &s->sock, OB__SOCK_WRITE, true);
	if (err < 0) {
		ob__stream_fail(s, err);
		return;
	}
	s->blocked = true;
	ob__stream_check_drained(s);
}

static void flush(struct ob__stream *s)
{
	if (s->tls && !s->tls->plain) {
		ob__tls_flush(s);
		return;
	}
	while (s->out_head) {
		uv_buf_t iov[OB__TRY_IOVS];
		size_t total;
		unsigned n = ob__chunks_gather(s->out_head, iov, OB__TRY_IOVS, &total);
		s->m->syscalls_out++;
		ssize_t done = ob__sock_write(&s->sock, iov, n);
		if (done < 0 && done != UV_EAGAIN) {
			ob__stream_fail(s, (int)done);
			return;
		}
		if (done > 0) {
			took(s, (size_t)done);
		}
		if (done < 0 || (size_t)done < total) {
			ob__stream_block(s);
			return;
		}
	}
	ob__stream_settle(s);
}

void ob__stream_flush(struct ob__stream *s)
{
	if (ob__list_on(&s->dirty_link) && s->m->flushing == 0) {
		unmark_dirty(s);
		flush(s);
	}
}

/* Nothing in the walk calls back, and a flushed stream becomes dirty in it again only to say TLS's
 * goodbye. */
void ob__streams_flush(struct ob__streams *m)
{
	if (m->flushing > 0) {
		return;
	}
	m->flushing++;
	while (!ob__list_empty(&m->dirty)) {
		struct ob__stream *s = OB__CONTAINER(m->dirty.next, struct ob__stream, dirty_link);
		unmark_dirty(s);
		flush(s);
	}
	m->flushing--;
}
