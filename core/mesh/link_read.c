/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "mesh/link_priv.h"

#include <errno.h>
#include <inttypes.h>

#include <obhost/obhost.h>

#include "lib/many.h"

#define PROBE_MS   1000u
#define KEPT_BYTES OB__MANY_BYTES

/* ---------------------------------------------------------------- system frames of a link */

/* Answers count against nobody's mark, so a peer that asks and never reads is closed. */
static void answer(struct ob__link *l, const struct ob__frame *asked, enum ob__system_id id)
{
	struct ob__frame f = {
		.kind = OB__FRAME_SYSTEM,
		.id = id,
		.call = asked->call,
		.src = l->links->registry->self.id,
	};
	if (l->stream.queued + l->backlog.bytes > 2 * l->links->options.hard) {
		ob__link_close(l, OB__LINK_UNREAD, "it sends and does not read");
		return;
	}
	if (id == OB__SYS_PONG) {
		ob__link_put(l, &f);
	} else if (ob__link_put_behind(l, &f) == OB_E_NOMEM) {
		ob__link_close(l, OB__LINK_NO_MEMORY, "out of memory");
	}
}

static void on_pong(struct ob__link *l, const struct ob__frame *f)
{
	if (l->ping_sent != 0 && f->call == l->ping_sent) {
		l->rtt_us = ob__loop_hrtime_us() - l->ping_sent;
		l->ping_sent = 0;
		l->probed = 0;
	}
}

static void on_system(struct ob__link *l, struct ob__frame *f, uint8_t *raw)
{
	struct ob__link *path = l->peer->link;
	if (f->dst != 0) {
		l->links->ops.on_frame(l->links->arg, l, f, raw);
		return;
	}
	switch (f->id) {
	case OB__SYS_PING:
		answer(l, f, OB__SYS_PONG);
		break;
	case OB__SYS_PONG:
		on_pong(l, f);
		break;
	case OB__SYS_FENCE:
		answer(l, f, OB__SYS_FENCE_BACK);
		break;
	case OB__SYS_FENCE_BACK:
		if (path != NULL && path->old == l) {
			ob__link_fence_back(path);
		}
		break;
	case OB__SYS_IDLE:
		ob__link_on_idle(l);
		break;
	case OB__SYS_IDLE_OK:
		ob__link_on_idle_ok(l);
		break;
	case OB__SYS_STAY:
		ob__link_on_stay(l);
		break;
	default:
		l->links->ops.on_frame(l->links->arg, l, f, raw);
		break;
	}
}

/* ---------------------------------------------------------------- reading */

static void on_part(struct ob__link *l, const struct ob__frame *piece);

/* A frame is from the node at the other end.  A route node passes on what others send, but not what
 * is between the two ends of a link. */
static bool is_from_there(const struct ob__link *l, const struct ob__frame *f)
{
	return f->src == l->theirs.id || (l->peer->who.role_id == l->links->registry->route_role &&
	                                  (f->kind != OB__FRAME_SYSTEM || f->dst != 0));
}

static void not_from_there(struct ob__link *l, const struct ob__frame *f)
{
	const struct ob__peer *who = ob__registry_get(l->links->registry, f->src);
	ob__link_close(l, OB__LINK_SOURCE, "a frame (kind %u, id %u) in the name of %s %016" PRIx64,
	               f->kind, (unsigned)f->id, who != NULL ? who->who.name : "node", f->src);
}

static void on_frame(struct ob__link *l, struct ob__frame *f, uint8_t *raw)
{
	if (l->state == OB__LINK_HELLO) {
		l->frames_in++;
		ob__link_on_hello(l, f);
		return;
	}
	if (!is_from_there(l, f)) {
		not_from_there(l, f);
		return;
	}
	if (f->kind == OB__FRAME_SYSTEM && f->id == OB__SYS_PART) {
		on_part(l, f);
		return;
	}
	l->frames_in++;
	if (f->kind == OB__FRAME_SYSTEM) {
		on_system(l, f, raw);
	} else if (f->kind == OB__FRAME_HELLO) {
		ob__link_close(l, OB__LINK_SECOND_HELLO, "it said hello again");
	} else {
		l->traffic++;
		l->links->ops.on_frame(l->links->arg, l, f, raw);
	}
}

static bool is_open(const struct ob__link *l)
{
	return l->state != OB__LINK_CLOSED;
}

static size_t max_frame(const struct ob__link *l)
{
	return l->state == OB__LINK_HELLO ? OB__HELLO_MAX : l->links->options.max_frame;
}

static void bad_frame(struct ob__link *l, int rc)
{
	if (rc == -EMSGSIZE) {
		ob__link_close(l, OB__LINK_TOO_BIG, "a frame of more than %zu bytes", max_frame(l));
	} else if (rc == -EPROTONOSUPPORT) {
		ob__link_close(l, OB__LINK_VERSION, "a frame of an unknown version");
	} else {
		ob__link_close(l, OB__LINK_BAD_FRAME, "a malformed frame");
	}
}

/* What comes in pieces is taken when the last one is here. */
static void on_part(struct ob__link *l, const struct ob__frame *piece)
{
	struct ob__frame f;
	int rc = ob__backlog_join(&l->parts, piece, max_frame(l), &f);
	if (rc == -ENOMEM) {
		ob__link_close(l, OB__LINK_NO_MEMORY, "out of memory");
	} else if (rc == -EMSGSIZE) {
		bad_frame(l, rc);
	} else if (rc < 0) {
		ob__link_close(l, OB__LINK_BAD_FRAME, "a piece that does not fit");
	} else if (rc > 0) {
		/* what is called may close the link, and its memory stays until a later turn */
		struct ob__buf whole = l->parts;
		l->parts = (struct ob__buf){0};
		on_frame(l, &f, whole.data);
		ob__buf_free(&whole);
	}
}

/* A busy link cuts a frame at the end of every full read: room for the usual one stays. */
static void forget(struct ob__link *l)
{
	l->in.len = 0;
	if (l->in.cap > KEPT_BYTES) {
		ob__buf_free(&l->in);
	}
}

/* Adds to the incomplete frame what it lacks; how many bytes that took. */
static size_t complete(struct ob__link *l, const uint8_t *data, size_t len)
{
	size_t used = 0;
	while (is_open(l) && l->in.len > 0) {
		struct ob__frame f;
		size_t need = 0;
		int64_t got = ob__frame_get(&f, l->in.data, l->in.len, max_frame(l), &need);
		if (got < 0) {
			bad_frame(l, (int)got);
		} else if (got > 0) {
			on_frame(l, &f, l->in.data);
			forget(l);
		} else if (used == len) {
			break;
		} else {
			size_t lacks = need - l->in.len;
			size_t n = lacks < len - used ? lacks : len - used;
			if (ob__buf_reserve(&l->in, lacks) < 0) {
				ob__link_close(l, OB__LINK_NO_MEMORY, "out of memory");
				break;
			}
			ob__buf_append(&l->in, data + used, n);
			used += n;
		}
	}
	return used;
}

/* Keeps the beginning of a frame of `need` bytes. */
static void keep(struct ob__link *l, const uint8_t *data, size_t len, size_t need)
{
	if (ob__buf_reserve(&l->in, need > KEPT_BYTES ? need : KEPT_BYTES) < 0) {
		ob__link_close(l, OB__LINK_NO_MEMORY, "out of memory");
		return;
	}
	ob__buf_append(&l->in, data, len);
}

void ob__link_on_read(struct ob__stream *s, uint8_t *data, size_t len)
{
	struct ob__link *l = s->owner;
	if (l->state == OB__LINK_HELLO && ob__link_is_tls(l, data)) {
		return;
	}
	size_t at = complete(l, data, len);
	while (at < len && is_open(l)) {
		struct ob__frame f;
		size_t need = 0;
		int64_t got = ob__frame_get(&f, data + at, len - at, max_frame(l), &need);
		if (got < 0) {
			bad_frame(l, (int)got);
		} else if (got == 0) {
			keep(l, data + at, len - at, need);
			break;
		} else {
			on_frame(l, &f, data + at);
			at += (size_t)got;
		}
	}
}

/* ---------------------------------------------------------------- silence */

static void send_ping(struct ob__link *l)
{
	struct ob__frame f = {
		.kind = OB__FRAME_SYSTEM,
		.id = OB__SYS_PING,
		.call = ob__loop_hrtime_us(),
		.src = l->links->registry->self.id,
	};
	l->ping_sent = f.call;
	ob__link_put(l, &f);
}

static void watch_again(struct ob__link *l, uint64_t now, uint64_t ms)
{
	if (l->probed != 0 && l->probed + PROBE_MS < now + ms) {
		ms = l->probed + PROBE_MS - now;
	}
	l->check_at = now + ms;
	ob__timeout_set(l->links->loop, &l->timeout, ms);
}

void ob__link_probe(struct ob__link *l)
{
	uint64_t now = ob__loop_now(l->links->loop);
	if (l->probed != 0) {
		return;
	}
	if (l->ping_sent == 0) {
		send_ping(l);
	}
	l->probed = now;
	watch_again(l, now, PROBE_MS);
}

/* A long queue may keep a ping from its answer; as long as it moves, somebody reads it.  And a
 * check that comes much too late says that this process slept, nothing about the peer. */
static void note_life(struct ob__link *l, uint64_t now)
{
	const struct ob__stream *s = &l->stream;
	uint64_t given = ob__link_gone(l);
	if ((l->given_seen != 0 && given > l->given_seen) ||
	    now - l->check_at > l->links->options.ping_ms) {
		l->alive_at = now;
	}
	l->given_seen = s->blocked ? given : 0; /* else the kernel's buffers were not full */
}

static bool probe_failed(struct ob__link *l, uint64_t now)
{
	if (l->stream.last_read > l->probed || l->alive_at > l->probed) {
		l->probed = 0;
	}
	return l->probed != 0 && now >= l->probed + PROBE_MS;
}

void ob__link_watch(struct ob__link *l)
{
	const struct ob__links_options *o = &l->links->options;
	uint64_t now = ob__loop_now(l->links->loop);
	ob__link_pump(l); /* if memory was short */
	note_life(l, now);
	l->traffic_seen[1] = l->traffic_seen[0];
	l->traffic_seen[0] = l->traffic;
	uint64_t alive = l->stream.last_read > l->alive_at ? l->stream.last_read : l->alive_at;
	uint64_t silent = now - alive;
	if (probe_failed(l, now)) {
		ob__link_close(l, OB__LINK_UNANSWERED,
		               "no answer to a ping while another node says it is that one");
		return;
	}
	if (silent >= o->dead_ms) {
		ob__link_close(l, OB__LINK_SILENT, "silent for %u ms", (unsigned)silent);
		return;
	}
	if (silent < o->ping_ms) {
		watch_again(l, now, o->ping_ms - silent);
		return;
	}
	if (l->ping_sent == 0) {
		send_ping(l);
	}
	watch_again(l, now, o->dead_ms - silent);
}
