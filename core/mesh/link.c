/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "mesh/link.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <obhost/obhost.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>

#include "lib/many.h"
#include "mesh/link_priv.h"
#include "mesh/pending.h"

#define LAST_WORDS_MS 1000u        /* for a REFUSED to go out */
#define LOG_BURST     5u           /* lines per reason in ten seconds, of strangers */
#define WINDOW        (512u << 10) /* more than what is flushed early, so rarely anything waits */

static const struct {
	const char *word;
	int level;
	const char *cure;
	bool stuck; /* the network may have taken what it has not delivered */
} reasons[OB__LINK_REASONS] = {
	[OB__LINK_ENDED] = {"ended", OB_LOG_NOTICE, NULL},
	[OB__LINK_UNREACHABLE] = {"unreachable", OB_LOG_WARNING, NULL},
	[OB__LINK_HELLO_TIMEOUT] = {"hello_timeout", OB_LOG_WARNING, "is that an obhost rpc port?"},
	[OB__LINK_SILENT] = {"silent", OB_LOG_WARNING, NULL, true},
	[OB__LINK_UNANSWERED] = {"unanswered", OB_LOG_WARNING, NULL, true},
	[OB__LINK_UNREAD] = {"unread", OB_LOG_WARNING, NULL, true},
	[OB__LINK_NOT_HELLO] = {"not_hello", OB_LOG_WARNING, "is that an obhost node?"},
	[OB__LINK_OUT_OF_STEP] = {"out_of_step", OB_LOG_WARNING, NULL},
	[OB__LINK_BAD_HELLO] = {"bad_hello", OB_LOG_WARNING,
                                "names and roles have 1 to 63 printable ASCII characters"},
	[OB__LINK_SECOND_HELLO] = {"second_hello", OB_LOG_WARNING, NULL},
	[OB__LINK_BAD_FRAME] = {"bad_frame", OB_LOG_WARNING, "is that an obhost node?"},
	[OB__LINK_TOO_BIG] = {"too_big", OB_LOG_WARNING, NULL},
	[OB__LINK_SOURCE] = {"source", OB_LOG_WARNING,
                             "only route nodes pass on what other nodes send"},
	[OB__LINK_WRONG_TOKEN] = {"wrong_token", OB_LOG_WARNING,
                                  "make the token in remote_ports that of the other node's rpc"},
	[OB__LINK_NO_TOKEN] = {"no_token", OB_LOG_WARNING, "set rpc.token"},
	[OB__LINK_NOT_ENCRYPTED] = {"not_encrypted", OB_LOG_WARNING,
                                    "give the caller's entry in remote_ports this node's encode or"
                                    " tls"},
	[OB__LINK_ENCRYPTED] = {"encrypted", OB_LOG_WARNING,
                                "set encode or tls in this node's rpc, or take it out of the"
                                " caller's entry in remote_ports"},
	[OB__LINK_TLS] = {"tls", OB_LOG_WARNING,
                          "are encode and tls the same at both ends, and the token or the"
                          " certificates right and in date?"},
	[OB__LINK_CERTIFICATE] = {"certificate", OB_LOG_WARNING,
                                  "a node's certificate needs the subjectAltName"
                                  " URI:obhost:ROLE/NAME"},
	[OB__LINK_VERSION] = {"version", OB_LOG_WARNING, "update the older of the two nodes"},
	[OB__LINK_SELF] = {"self", OB_LOG_WARNING,
                           "take this node out of its own remote_ports, or give each node a name"
                           " of its own"},
	[OB__LINK_ROLE] = {"role", OB_LOG_WARNING, "correct the entry's type or its address"},
	[OB__LINK_OTHER_NODE] = {"other_node", OB_LOG_INFO, "is the node's rpc.address right?"},
	[OB__LINK_ROLE_COLLISION] = {"role_collision", OB_LOG_WARNING, "rename one of the roles"},
	[OB__LINK_DUPLICATE] = {"duplicate", OB_LOG_DEBUG, NULL},
	[OB__LINK_NAME_TAKEN] = {"name_taken", OB_LOG_WARNING, "give each node a name of its own"},
	[OB__LINK_PEERS_FULL] = {"peers_full", OB_LOG_ERROR,
                                 "restart the node to forget old peers"},
	[OB__LINK_CROWDED] = {"crowded", OB_LOG_WARNING, NULL},
	[OB__LINK_REFUSED] = {"refused", OB_LOG_WARNING, NULL},
	[OB__LINK_LEFT] = {"left", OB_LOG_DEBUG, NULL},
	[OB__LINK_NOT_LEFT] = {"not_left", OB_LOG_WARNING, NULL, true},
	[OB__LINK_REPLACED] = {"replaced", OB_LOG_NOTICE, NULL},
	[OB__LINK_REMOVED] = {"removed", OB_LOG_NOTICE, NULL},
	[OB__LINK_IDLE] = {"idle", OB_LOG_INFO, NULL},
	[OB__LINK_BY_OWNER] = {"closed", OB_LOG_NOTICE, NULL},
	[OB__LINK_NO_MEMORY] = {"no_memory", OB_LOG_ERROR, NULL},
};

/* ---------------------------------------------------------------- closing */

/* Who the other end of a link that did not come up is, or says it is; NULL: nobody that is known.
 * An entry of remote_ports is not about a node. */
static struct ob__peer *would_be(const struct ob__link *l)
{
	uint64_t id = l->dialer           ? (l->remote != NULL ? ob__remote_node(l->remote) : 0)
	              : l->theirs.id != 0 ? l->theirs.id
	                                  : l->psk_dialer;
	return id != 0 ? ob__registry_get(l->links->registry, id) : NULL;
}

/* The log has had it already: this pair does not get together, and why. */
static bool is_said(const struct ob__link *l)
{
	struct ob__peer *peer = l->peer == NULL ? would_be(l) : NULL;
	if (peer == NULL || peer->link != NULL) {
		return false;
	}
	uint32_t now = ob__fnv1a32(l->reason) | 1;
	bool said = peer->blamed[l->dialer] == now;
	peer->blamed[l->dialer] = now;
	return said;
}

/* Whom a line is about; 0: a stranger, whatever it says it is. */
static uint64_t whose(const struct ob__link *l)
{
	if (l->peer != NULL) {
		return l->peer->who.id;
	}
	return l->dialer ? ob__hash(l->links->random, l->address, strlen(l->address)) : 0;
}

static void log_closed(const struct ob__link *l, enum ob__link_reason why)
{
	struct ob__links *ls = l->links;
	uint32_t missed;
	int level = is_said(l) ? OB_LOG_DEBUG : reasons[why].level;
	if (!ob__log_on(level) || !ob__lograte_allow(&ls->lines, whose(l), why, &ls->limits[why],
	                                             LOG_BURST, ob__loop_now(ls->loop), &missed)) {
		return;
	}
	char who[OB__HELLO_NAME + 32] = "";
	if (l->peer != NULL) {
		snprintf(who, sizeof(who), "%s at ", l->peer->who.name);
	} else if (l->theirs.name[0] != '\0') {
		snprintf(who, sizeof(who), "one that says it is %s at ", l->theirs.name);
	}
	char more[48] = "";
	if (missed > 0) {
		snprintf(more, sizeof(more), " [and %u like it]", missed);
	}
	const char *cure = reasons[why].cure;
	ob__log_at(level, "link", "%s%s: closed (%s)%s%s%s", who, l->address, l->reason,
	           cure != NULL ? ": " : "", cure != NULL ? cure : "", more);
}

static bool is_holding(const struct ob__link *l)
{
	return l->old != NULL || l->hold > 0;
}

uint64_t ob__link_gone(const struct ob__link *l)
{
	return l->appended - l->held.len - l->backlog.bytes - ob__stream_kept(&l->stream);
}

/* How many bytes of frames the kernel may have: all that came while frames could overtake others
 * counts as given. */
static uint64_t given_now(const struct ob__link *l)
{
	uint64_t gone = ob__link_gone(l);
	uint64_t given = gone > l->mixed ? gone : l->mixed;
	return is_holding(l) && given > l->held_from ? l->held_from : given;
}

bool ob__link_given(const struct ob__link *link, uint64_t offset)
{
	return offset <= (link->state == OB__LINK_CLOSED ? link->given : given_now(link));
}

static void leave_hello(struct ob__link *l)
{
	if (l->state == OB__LINK_HELLO && !l->dialer) {
		l->links->in_hello--;
	}
}

enum ending {
	CLOSE,
	LAST_WORDS, /* flush, for a moment */
	ABORT,      /* what the kernel has is not to arrive */
};

/* From here on the link is only memory that waits for its socket. */
static void retire(struct ob__link *l, enum ending ending)
{
	leave_hello(l);
	l->given = given_now(l);
	l->state = OB__LINK_CLOSED;
	l->why = OB_E_MAYBE_SENT;
	ob__timeout_clear(l->links->loop, &l->timeout);
	ob__timeout_clear(l->links->loop, &l->leave_timeout);
	ob__list_del(&l->link);
	switch (ending) {
	case CLOSE:
		ob__stream_close(&l->stream);
		break;
	case LAST_WORDS:
		ob__stream_close_flushed(&l->stream, LAST_WORDS_MS);
		break;
	case ABORT:
		ob__stream_abort(&l->stream);
		break;
	}
}

/* ---------------------------------------------------------------- the stream and what waits for it
 */

static size_t waiting(const struct ob__link *l)
{
	return l->stream.queued + l->backlog.bytes;
}

/* Noted when somebody looks: who never looked need not be told of the end. */
static bool is_congested(struct ob__link *l)
{
	l->congested = l->congested || waiting(l) >= l->links->options.high;
	return l->congested;
}

/* Nothing waits, and the stream takes more. */
static bool has_room(const struct ob__link *l)
{
	return l->backlog.bytes == 0 && l->stream.queued < l->links->window;
}

void ob__link_pump(struct ob__link *l)
{
	struct ob__backlog_slice slice;
	while (l->stream.queued < l->links->window && ob__backlog_next(&l->backlog, &slice)) {
		if (ob__stream_append_ref(&l->stream, slice.bytes, slice.at, slice.len) < 0) {
			return; /* broken, or without memory just now */
		}
		ob__backlog_done(&l->backlog, &slice);
	}
}

/* Straight into the stream. */
static int give_now(struct ob__link *l, const struct ob__backlog_frame *frame, size_t total)
{
	if (total < OB__STREAM_GATHER) {
		uint8_t *out = ob__stream_reserve(&l->stream, total);
		if (out == NULL) {
			return OB_E_NOMEM;
		}
		ob__backlog_copy(out, frame, 0, total);
		ob__stream_commit(&l->stream, total);
	} else {
		struct ob__rbuf *whole = ob__rbuf_new(total);
		if (whole == NULL) {
			return OB_E_NOMEM;
		}
		ob__backlog_copy(whole->data, frame, 0, total);
		int rc = ob__stream_append_ref(&l->stream, whole, 0, total);
		ob__rbuf_unref(whole);
		if (rc < 0) {
			return rc == -ENOMEM ? OB_E_NOMEM : OB_E_NOT_SENT;
		}
	}
	l->appended += total;
	return 0;
}

/* Puts a frame at its place behind what waits, and gives the stream what it takes.  0, OB_E_NOMEM
 * or OB_E_NOT_SENT. */
static int give(struct ob__link *l, const struct ob__backlog_frame *frame)
{
	if (l->stream.closing || l->stream.failed != 0) {
		return OB_E_NOT_SENT;
	}
	size_t total = ob__backlog_len(frame);
	if (has_room(l) && total <= OB__PIECE_MAX) {
		return give_now(l, frame, total);
	}
	int64_t bytes =
		ob__backlog_put(&l->backlog, frame, (l->theirs.features & OB__HELLO_PARTS) != 0,
	                        l->links->registry->self.id);
	if (bytes < 0) {
		return OB_E_NOMEM;
	}
	l->appended += (uint64_t)bytes;
	if (ob__backlog_mixes(&l->backlog)) {
		l->mixed = l->appended;
	}
	ob__link_pump(l);
	return 0;
}

int ob__link_put_behind(struct ob__link *l, const struct ob__frame *f)
{
	uint8_t head[OB__FRAME_HEADER];
	if (l->backlog.bytes == 0) {
		return ob__link_put(l, f);
	}
	ob__frame_put_header(head, f);
	struct ob__backlog_frame frame = {
		.f = f,
		.part = {head, f->ext, f->payload},
		.len = {sizeof(head), f->ext_len, f->payload_len},
	};
	int rc = give(l, &frame);
	l->frames_out += rc == 0;
	return rc;
}

/* Sends what was held for the end of the old path, once nothing holds it any more. */
static void release(struct ob__link *l)
{
	if (is_holding(l)) {
		return;
	}
	bool was_congested = ob__peer_congested(l->peer) || l->held.len >= l->links->options.high;
	struct ob__buf held = l->held;
	size_t at = 0;
	int rc = 0;
	l->held = (struct ob__buf){0};
	l->appended -= held.len; /* give() counts it */
	while (at < held.len && rc >= 0) {
		struct ob__frame f;
		size_t need;
		(void)ob__frame_get(&f, held.data + at, held.len - at, held.len, &need);
		rc = give(l, &(struct ob__backlog_frame){
				     .f = &f, .part = {held.data + at}, .len = {f.len}});
		at += f.len;
	}
	ob__buf_free(&held);
	if (rc == OB_E_NOMEM) {
		ob__link_close(l, OB__LINK_NO_MEMORY, "out of memory");
		return;
	}
	if (was_congested && !ob__peer_congested(l->peer)) {
		l->links->ops.on_drained(l->links->arg, l->peer);
	}
}

/* True when that was the peer's path. */
static bool leave_path(struct ob__link *l)
{
	struct ob__peer *peer = l->peer;
	struct ob__links *ls = l->links;
	if (peer->link == l) {
		ob__registry_set_link(ls->registry, peer, NULL, ob__loop_now(ls->loop));
		snprintf(peer->last_error, sizeof(peer->last_error), "%s", l->reason);
		l->old = NULL;
		l->hold = 0;
		return true;
	}
	if (peer->link != NULL && peer->link->old == l) {
		peer->link->old = NULL;
		release(peer->link);
	}
	return false;
}

static struct ob__link *find_leaving(struct ob__links *ls, const struct ob__peer *peer)
{
	OB__LIST_EACH (it, &ls->links) {
		struct ob__link *l = OB__CONTAINER(it, struct ob__link, link);
		if (l->peer == peer && l->state == OB__LINK_LEAVING) {
			return l;
		}
	}
	return NULL;
}

static void finish(struct ob__link *l, enum ob__link_reason why, enum ending ending)
{
	struct ob__links *ls = l->links;
	struct ob__peer *peer = l->peer;
	enum ob__link_state was = l->state;
	if (was == OB__LINK_CLOSED) {
		return;
	}
	retire(l, ending);
	++*ls->closed[why];
	if (was != OB__LINK_DIALING) {
		log_closed(l, why);
	}
	bool gap =
		why != OB__LINK_LEFT && peer != NULL && peer->link != NULL && peer->link->old == l;
	bool down = peer != NULL && leave_path(l);
	if (l->remote != NULL) {
		ob__remote_closed(l->remote, l, was, why);
		l->remote = NULL;
	}
	if (peer == NULL || ls->freed) {
		return;
	}
	ls->ops.on_lost(ls->arg, l);
	struct ob__link *other;
	while (down && !ls->freed && (other = find_leaving(ls, peer)) != NULL) {
		snprintf(other->reason, sizeof(other->reason), "the other link broke");
		finish(other, OB__LINK_LEFT, ending == ABORT ? ABORT : CLOSE);
	}
	if (down && !ls->freed) {
		ob__remotes_wake(ls, peer->who.id);
		ls->ops.on_down(ls->arg, peer, l->reason);
	}
	if (gap && !ls->freed && peer->link != NULL && ls->ops.on_gap != NULL) {
		ls->ops.on_gap(ls->arg, peer);
	}
}

void ob__link_close(struct ob__link *l, enum ob__link_reason why, const char *fmt, ...)
{
	if (l->state == OB__LINK_CLOSED) {
		return;
	}
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(l->reason, sizeof(l->reason), fmt, ap);
	va_end(ap);
	finish(l, why, reasons[why].stuck ? ABORT : CLOSE);
}

void ob__link_close_gently(struct ob__link *l, enum ob__link_reason why, const char *fmt, ...)
{
	if (l->state == OB__LINK_CLOSED) {
		return;
	}
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(l->reason, sizeof(l->reason), fmt, ap);
	va_end(ap);
	finish(l, why, LAST_WORDS);
}

/* What the dialer must know to act. */
static enum ob__refusal refusal(enum ob__link_reason why)
{
	switch (why) {
	case OB__LINK_DUPLICATE:
		return OB__REFUSED_DUPLICATE;
	case OB__LINK_NO_TOKEN:
	case OB__LINK_WRONG_TOKEN:
	case OB__LINK_NOT_ENCRYPTED:
	case OB__LINK_CERTIFICATE:
	case OB__LINK_VERSION:
	case OB__LINK_ROLE_COLLISION:
		return OB__REFUSED_FOR_GOOD;
	default:
		return OB__REFUSED_OTHER;
	}
}

void ob__link_refuse(struct ob__link *l, enum ob__link_reason why, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(l->reason, sizeof(l->reason), fmt, ap);
	va_end(ap);
	struct ob__frame f = {
		.kind = OB__FRAME_HELLO,
		.status = OB__HELLO_REFUSED,
		.id = refusal(why),
		.src = l->links->registry->self.id,
		.payload = (const uint8_t *)l->reason,
		.payload_len = (uint32_t)strlen(l->reason),
	};
	finish(l, why, ob__link_put(l, &f) == 0 ? LAST_WORDS : CLOSE);
}

void ob__link_shut(struct ob__link *link, const char *reason)
{
	ob__link_close(link, OB__LINK_BY_OWNER, "%s", reason);
}

void ob__peer_close(struct ob__links *ls, struct ob__peer *peer, const char *reason)
{
	(void)ls;
	if (peer->link != NULL) {
		ob__link_close(peer->link, OB__LINK_BY_OWNER, "%s", reason);
	}
}

/* ---------------------------------------------------------------- making and coming up */

/* As long as more waits than half of the mark, the stream is full and tells us again: the window is
 * no more than that half. */
static void on_drained(struct ob__stream *s)
{
	struct ob__link *l = s->owner;
	struct ob__peer *peer = l->peer;
	ob__link_pump(l);
	if (!l->congested || waiting(l) > l->links->options.high / 2) {
		return;
	}
	l->congested = false;
	if (peer == NULL || peer->link == NULL || (peer->link != l && peer->link->old != l)) {
		return;
	}
	if (!ob__peer_congested(peer)) {
		l->links->ops.on_drained(l->links->arg, peer);
	}
}

static void on_close(struct ob__stream *s)
{
	struct ob__link *l = s->owner;
	ob__buf_free(&l->in);
	ob__buf_free(&l->parts);
	ob__buf_free(&l->held);
	ob__backlog_free(&l->backlog);
	OPENSSL_cleanse(l->key, sizeof(l->key));
	ob__links_unref(l->links);
	free(l);
}

static const struct ob__stream_ops stream_ops = {
	.on_read = ob__link_on_read,
	.on_end = ob__link_on_end,
	.on_drained = on_drained,
	.on_close = on_close,
};

static void on_timeout(void *arg)
{
	struct ob__link *l = arg;
	uint32_t ms = l->links->options.hello_ms;
	if (l->state == OB__LINK_DIALING) {
		ob__link_close(l, OB__LINK_UNREACHABLE, "no connection within %u ms", ms);
	} else if (l->state == OB__LINK_HELLO) {
		ob__link_close(l, OB__LINK_HELLO_TIMEOUT, "no hello within %u ms", ms);
	} else {
		ob__link_watch(l);
	}
}

static void leave_within(struct ob__link *l, uint64_t ms)
{
	l->leave_due = ob__loop_now(l->links->loop) + ms;
	ob__timeout_set(l->links->loop, &l->leave_timeout, ms);
}

/* The other end may live, but what was sent last there may be lost.  When this process has slept,
 * its answer may be here and not read yet. */
static void on_not_left(void *arg)
{
	struct ob__link *l = arg;
	const struct ob__links_options *o = &l->links->options;
	if (ob__loop_now(l->links->loop) - l->leave_due > o->ping_ms) {
		leave_within(l, o->dead_ms);
		return;
	}
	ob__link_close(l, OB__LINK_NOT_LEFT, "it is left, and the other side does not end it");
}

/* Read only from now on.  Whoever is to end it has `times` as long as silence may last. */
static void leave(struct ob__link *l, uint32_t times)
{
	l->state = OB__LINK_LEAVING;
	leave_within(l, (uint64_t)times * l->links->options.dead_ms);
}

struct ob__link *ob__link_new(struct ob__links *ls)
{
	struct ob__link *l = calloc(1, sizeof(*l));
	if (l == NULL) {
		return NULL;
	}
	l->links = ls;
	l->state = OB__LINK_DIALING;
	l->since = ob__loop_now(ls->loop);
	ob__list_init(&l->pendings);
	ob__list_append(&ls->links, &l->link);
	ob__timeout_init(&l->timeout, on_timeout, l);
	ob__timeout_set(ls->loop, &l->timeout, ls->options.hello_ms);
	ob__timeout_init(&l->leave_timeout, on_not_left, l);
	ob__stream_init(&l->stream, ls->m, &stream_ops, l);
	l->stream.high = ls->window;
	l->stream.trunk = true;
	ls->refs++;
	return l;
}

void ob__links_accept(struct ob__links *ls, uv_stream_t *server)
{
	ob__links_accept_as(ls, server, NULL);
}

void ob__links_accept_as(struct ob__links *ls, uv_stream_t *server, const char *address)
{
	struct ob__link *l = ob__link_new(ls);
	if (l == NULL) {
		return;
	}
	int rc = ob__stream_accept(&l->stream, server);
	ob__stream_peer(&l->stream, l->address, sizeof(l->address));
	if (address != NULL) {
		snprintf(l->address, sizeof(l->address), "%s", address);
	}
	l->state = OB__LINK_HELLO;
	l->expect = OB__HELLO_DIALER;
	ls->in_hello++;
	if (rc < 0) {
		ob__link_close(l, OB__LINK_ENDED, "%s", uv_strerror(rc));
	} else if (ls->options.security != OB__LINK_CERT && !ob__link_keys_has(&ls->keys)) {
		ob__link_refuse(l, OB__LINK_NO_TOKEN, "this node has no rpc token");
	} else if (ls->in_hello > ls->options.max_hello) {
		ob__link_close(l, OB__LINK_CROWDED, "%u others are in the handshake",
		               ls->in_hello - 1);
	} else if (ob__link_protect(l) < 0) {
		ob__link_close(l, OB__LINK_NO_MEMORY, "out of memory");
	} else {
		ob__stream_read(&l->stream, true);
	}
}

/* Behind all that was sent on a path.  Without memory for it the other end's answer never comes: a
 * path that is being left ends after a while, an idle one stays. */
static void put_last(struct ob__link *l, enum ob__system_id id)
{
	struct ob__frame f = {
		.kind = OB__FRAME_SYSTEM,
		.id = id,
		.src = l->links->registry->self.id,
	};
	(void)ob__link_put_behind(l, &f);
}

/* What the owner has kept on one link is kept on the other, with the requests in it. */
static void move_held(struct ob__link *l, struct ob__link *from)
{
	if (from->hold == 0) {
		return;
	}
	OB__LIST_EACH_SAFE (it, &from->pendings) {
		struct ob__pending *p = OB__CONTAINER(it, struct ob__pending, link);
		if (p->link_offset > from->held_from) {
			p->link_offset = l->held_from + 1; /* given when any of them is */
			ob__list_del(&p->link);
			ob__list_append(&l->pendings, &p->link);
		}
	}
	l->held = from->held;
	l->appended += l->held.len;
	l->hold = from->hold;
	from->appended -= l->held.len;
	from->held = (struct ob__buf){0};
	from->hold = 0;
}

/* Two nodes dialled each other and `l` is the second link. */
static void settle_pair(struct ob__link *l, struct ob__link *first)
{
	struct ob__links *ls = l->links;
	if (ls->registry->self.id > l->theirs.id) {
		leave(l, 2); /* the other end has a FENCE to wait for */
		return;
	}
	put_last(first, OB__SYS_FENCE);
	leave(first, 1);
	l->old = first;
	l->held_from = l->appended;
	move_held(l, first);
	ob__registry_set_link(ls->registry, l->peer, l, ob__loop_now(ls->loop));
}

void ob__link_up(struct ob__link *l, struct ob__peer *peer)
{
	struct ob__links *ls = l->links;
	struct ob__link *first = peer->link;
	leave_hello(l);
	l->state = OB__LINK_UP;
	l->since = ob__loop_now(ls->loop);
	l->alive_at = l->since;
	l->check_at = l->since;
	l->peer = peer;
	peer->blamed[0] = peer->blamed[1] = 0;
	if (l->remote != NULL) {
		ob__remote_up(l->remote, l);
	}
	ob__link_watch(l);
	if (first != NULL) {
		settle_pair(l, first);
		return;
	}
	snprintf(peer->address, sizeof(peer->address), "%s", l->address);
	peer->parted = false;
	ob__registry_set_link(ls->registry, peer, l, l->since);
	ob__notice("link", "%s: up (%s %s, role %s)", peer->who.name,
	           l->dialer ? "dialled" : "from", l->address, peer->who.role);
	ls->ops.on_up(ls->arg, peer);
}

/* ---------------------------------------------------------------- ending for want of traffic */

static bool is_quiet(const struct ob__link *l)
{
	return l->state == OB__LINK_UP && l->peer->link == l && !is_holding(l) &&
	       ob__list_empty(&l->pendings);
}

/* Every node keeps a link with each route node, whichever of the two dialled it. */
static bool is_kept(const struct ob__link *l)
{
	const struct ob__registry *r = l->links->registry;
	return r->self.role_id == r->route_role || l->peer->who.role_id == r->route_role;
}

void ob__link_part(struct ob__link *link)
{
	if (is_quiet(link) && !is_kept(link)) {
		link->parting = link->traffic + 1;
		put_last(link, OB__SYS_IDLE);
	}
}

/* What this end has sent of late may still be under way, so it is not idle at once. */
void ob__link_on_idle(struct ob__link *l)
{
	struct ob__links *ls = l->links;
	if (!is_quiet(l) || is_kept(l) || l->dialer || l->traffic != l->traffic_seen[1] ||
	    ob__remotes_have(ls, l->theirs.id) || find_leaving(ls, l->peer) != NULL) {
		return;
	}
	put_last(l, OB__SYS_IDLE_OK);
	leave(l, 1);
	l->peer->parted = true;
	ob__registry_set_link(ls->registry, l->peer, NULL, ob__loop_now(ls->loop));
	ls->ops.on_down(ls->arg, l->peer, "nobody used the link");
}

void ob__link_on_idle_ok(struct ob__link *l)
{
	if (l->parting == 0 || l->peer->link != l || l->state != OB__LINK_UP) {
		return;
	}
	if (l->parting != l->traffic + 1 || !is_quiet(l)) {
		l->parting = 0;
		put_last(l, OB__SYS_STAY);
		return;
	}
	l->peer->parted = true;
	ob__link_close(l, OB__LINK_IDLE, "nobody used the link");
}

void ob__link_on_stay(struct ob__link *l)
{
	struct ob__links *ls = l->links;
	if (l->state != OB__LINK_LEAVING || l->peer->link != NULL) {
		return;
	}
	ob__timeout_clear(ls->loop, &l->leave_timeout);
	l->state = OB__LINK_UP;
	l->peer->parted = false;
	bool draining =
		l->peer->draining; /* to the other end this is no new link: not said again */
	ob__registry_set_link(ls->registry, l->peer, l, ob__loop_now(ls->loop));
	ob__registry_set_draining(ls->registry, l->peer, draining);
	ls->ops.on_up(ls->arg, l->peer);
}

void ob__link_fence_back(struct ob__link *l)
{
	struct ob__link *old = l->old;
	/* Their requests have arrived; the answers come over the new path. */
	OB__LIST_EACH (it, &old->pendings) {
		OB__CONTAINER(it, struct ob__pending, link)->link_offset = 0;
	}
	ob__list_splice(&l->pendings, &old->pendings);
	ob__link_close(old, OB__LINK_LEFT, "the nodes dialled each other, one link is enough");
}

/* ---------------------------------------------------------------- sending */

int ob__link_put(struct ob__link *l, const struct ob__frame *f)
{
	size_t total = ob__frame_size(f);
	uint8_t *out = ob__stream_reserve(&l->stream, total);
	if (out == NULL) {
		return l->stream.closing || l->stream.failed != 0 ? OB_E_NOT_SENT : OB_E_NOMEM;
	}
	ob__frame_put(out, f);
	l->appended += total;
	l->frames_out++;
	ob__stream_commit(&l->stream, total);
	return 0;
}

/* The frame that was put last, if nothing of it has been sent and there is room for a message of
 * that much payload behind it.  What comes while the path is held is behind the fence, whatever was
 * put before. */
static inline uint8_t *growing(const struct ob__link *l, size_t payload_len)
{
	if (l->last_len == 0 || l->appended != l->last_end || is_holding(l) ||
	    l->stream.queued >= l->links->window) {
		return NULL;
	}
	return ob__stream_tail(&l->stream, l->last_len, 2 * OB__MANY_HEAD + payload_len);
}

/* Adds the message, which is alike, to that frame, if no bound is in the way. */
static inline bool grow(struct ob__link *l, uint8_t *last, uint64_t call, const void *payload,
                        size_t payload_len)
{
	const struct ob__links_options *o = &l->links->options;
	size_t room = o->hard > l->stream.queued ? o->hard - l->stream.queued : 0;
	size_t max = l->last_len + room < o->max_frame ? l->last_len + room : o->max_frame;
	size_t more = ob__many_put(last, l->last_len, max, call, payload, payload_len);

	if (more == 0) {
		return false;
	}
	l->appended += more;
	l->last_end = l->appended;
	l->last_len += (uint32_t)more;
	l->last_count++;
	ob__stream_commit(&l->stream, more);
	return true;
}

/* Adds the message to the frame before it, if they are alike and nothing of that has been sent. */
static bool put_more(struct ob__link *l, const struct ob__frame *f)
{
	uint8_t *last = growing(l, f->payload_len);

	return last != NULL && ob__many_alike(last, l->last_count, f) &&
	       grow(l, last, f->call, f->payload, f->payload_len);
}

bool ob__peer_add(struct ob__peer *peer, uint64_t *mark, uint64_t call, const void *payload,
                  size_t len)
{
	struct ob__link *l = peer->link;
	uint8_t *last = l != NULL && l->last_end == *mark ? growing(l, len) : NULL;

	if (last == NULL || !grow(l, last, call, payload, len)) {
		return false;
	}
	*mark = l->last_end;
	l->traffic++;
	return true;
}

/* Puts a frame that others may be added to. */
static int put_first(struct ob__link *l, const struct ob__frame *f, size_t len)
{
	int rc = ob__link_put(l, f);
	l->last_end = l->appended;
	l->last_len = rc == 0 && (l->theirs.features & OB__HELLO_MANY) != 0 ? (uint32_t)len : 0;
	l->last_count = 1;
	return rc;
}

size_t ob__links_max_frame(const struct ob__links *ls)
{
	return ls->options.max_frame;
}

/* Signs of life, and what has nothing to do with the order of messages. */
static bool may_overtake(const struct ob__frame *f)
{
	if (f->kind != OB__FRAME_SYSTEM) {
		return false;
	}
	switch (f->id) {
	case OB__SYS_PING:
	case OB__SYS_PONG:
	case OB__SYS_CLOSED_ACK:
	case OB__SYS_NAME:
	case OB__SYS_MEMBER_ANNOUNCE:
	case OB__SYS_MEMBER_BEAT:
	case OB__SYS_MEMBER_SUBSCRIBE:
	case OB__SYS_MEMBER_ASK:
	case OB__SYS_MEMBER_HIGHER:
	case OB__SYS_MEMBER_DELTA:
	case OB__SYS_MEMBER_AGAIN:
		return true;
	default:
		return false;
	}
}

/* Whether a frame may go on the peer's path now. */
static int may_send(const struct ob__links *ls, const struct ob__peer *peer, size_t len,
                    uint8_t kind)
{
	static const uint8_t rooms[OB__FRAME_KIND_END] = {
		/* in halves of the bound: what is owed to somebody goes when nothing new does */
		[OB__FRAME_REPLY] = 3,
		[OB__FRAME_SYSTEM] = 4,
	};
	const struct ob__link *l = peer->link;
	if (l == NULL || l->stream.failed != 0) {
		return OB_E_NOT_SENT;
	}
	if (len > ls->options.max_frame) {
		return OB_E_TOO_BIG;
	}
	size_t room = rooms[kind] != 0 ? ls->options.hard / 2 * rooms[kind] : ls->options.hard;
	if (ob__peer_queued(peer) + len <= room) {
		return 0;
	}
	++*ls->busy[kind];
	return OB_E_BUSY;
}

/* Keeps a frame for the end of the old path. */
static int hold(struct ob__link *l, const struct ob__backlog_frame *frame)
{
	size_t total = ob__backlog_len(frame);
	if (ob__buf_reserve(&l->held, total) < 0) {
		return OB_E_NOMEM;
	}
	for (int i = 0; i < 3; i++) {
		ob__buf_append(&l->held, frame->part[i], frame->len[i]);
	}
	l->appended += total;
	l->frames_out++;
	return 0;
}

/* A frame on its way that is in one piece already, or short. */
static int put_whole(struct ob__link *l, const uint8_t *raw, size_t len)
{
	uint8_t *out = ob__stream_reserve(&l->stream, len);
	if (out == NULL) {
		return l->stream.closing || l->stream.failed != 0 ? OB_E_NOT_SENT : OB_E_NOMEM;
	}
	memcpy(out, raw, len);
	l->appended += len;
	l->frames_out++;
	ob__stream_commit(&l->stream, len);
	return 0;
}

/* The usual: a frame of one piece, nothing before it, and far from every bound. */
static inline bool goes_at_once(const struct ob__link *l, size_t len)
{
	return l != NULL && !is_holding(l) && l->backlog.bytes == 0 && l->stream.failed == 0 &&
	       len <= OB__STREAM_GATHER && len <= l->links->options.max_frame &&
	       l->stream.queued + len < l->links->window &&
	       l->stream.queued + len <= l->links->options.hard;
}

int ob__peer_send(struct ob__links *ls, struct ob__peer *peer, struct ob__frame *f)
{
	size_t total = ob__frame_size(f);
	struct ob__link *l = peer->link;
	f->len = (uint32_t)total;
	f->version = OB__FRAME_VERSION;
	if (f->src == 0) {
		f->src = ls->registry->self.id;
	}
	if (goes_at_once(l, total)) {
		l->traffic++;
		return put_more(l, f) ? 0 : put_first(l, f, total);
	}
	int rc = may_send(ls, peer, total, f->kind);
	if (rc < 0) {
		return rc;
	}
	l->traffic++;
	if (!is_holding(l) && total <= OB__CHUNK_SIZE &&
	    (may_overtake(f) || (has_room(l) && f->payload_len <= OB__STREAM_GATHER))) {
		return ob__link_put(l, f);
	}
	uint8_t head[OB__FRAME_HEADER];
	ob__frame_put_header(head, f);
	struct ob__backlog_frame frame = {
		.f = f,
		.part = {head, f->ext, f->payload},
		.len = {sizeof(head), f->ext_len, f->payload_len},
	};
	if (is_holding(l)) {
		return hold(l, &frame);
	}
	rc = give(l, &frame);
	l->frames_out += rc == 0;
	return rc;
}

int ob__peer_forward(struct ob__links *ls, struct ob__peer *peer, const uint8_t *raw, size_t len)
{
	struct ob__link *l = peer->link;
	if (goes_at_once(l, len)) {
		l->traffic++;
		return put_whole(l, raw, len);
	}
	int rc = may_send(ls, peer, len, raw[OB__FRAME_OFF_KIND]);
	if (rc < 0) {
		return rc;
	}
	l->traffic++;
	if (!is_holding(l) && len <= OB__CHUNK_SIZE && has_room(l)) {
		return put_whole(l, raw, len);
	}
	struct ob__frame f;
	size_t need;
	if (ob__frame_get(&f, raw, len, len, &need) != (int64_t)len) {
		return OB_E_INVAL;
	}
	struct ob__backlog_frame frame = {.f = &f, .part = {raw}, .len = {len}};
	if (is_holding(l)) {
		return hold(l, &frame);
	}
	rc = give(l, &frame);
	l->frames_out += rc == 0;
	return rc;
}

int ob__peer_forward_past(struct ob__links *ls, struct ob__peer *peer, const uint8_t *raw,
                          size_t len)
{
	struct ob__link *l = peer->link;
	uint32_t hold = l != NULL ? l->hold : 0;
	if (hold > 0) {
		l->hold = 0;
	}
	int rc = ob__peer_forward(ls, peer, raw, len);
	if (hold > 0) {
		l->hold = hold;
	}
	return rc;
}

bool ob__link_congested(struct ob__link *l)
{
	return is_congested(l) || (is_holding(l) && l->held.len >= l->links->options.high) ||
	       (l->old != NULL && is_congested(l->old));
}

void ob__peer_hold(struct ob__peer *peer)
{
	struct ob__link *l = peer->link;
	if (l != NULL) {
		l->held_from = is_holding(l) ? l->held_from : l->appended;
		l->hold++;
	}
}

void ob__peer_release(struct ob__peer *peer)
{
	struct ob__link *l = peer->link;
	if (l != NULL && l->hold > 0) {
		l->hold--;
		release(l);
	}
}

size_t ob__peer_queued(const struct ob__peer *peer)
{
	const struct ob__link *l = peer->link;
	return l == NULL ? 0 : waiting(l) + l->held.len;
}

/* ---------------------------------------------------------------- the manager */

static void set_options(struct ob__links *ls, const struct ob__links_options *options)
{
	struct ob__links_options *o = &ls->options;
	*o = *options;
	o->token = NULL;
	o->roles = NULL;
	o->roles_len = 0;
	o->files = (struct ob__link_files){NULL, NULL, NULL};
	o->reconnect_ms = o->reconnect_ms != 0 ? o->reconnect_ms : 5000;
	o->hello_ms = o->hello_ms != 0 ? o->hello_ms : 3000;
	o->ping_ms = o->ping_ms != 0 ? o->ping_ms : 2000;
	o->dead_ms = o->dead_ms != 0 ? o->dead_ms : 6000;
	o->max_hello = o->max_hello != 0 ? o->max_hello : 64;
	o->max_frame = o->max_frame != 0 ? o->max_frame : (1u << 20) + (4u << 10);
	o->high = o->high != 0 ? o->high : 4u << 20;
	o->hard = o->hard != 0 ? o->hard : 16u << 20;
}

static void count_busy(struct ob__links *ls, struct ob__stats *stats)
{
	static const char *const labels[OB__FRAME_KIND_END] = {
		[OB__FRAME_REQUEST] = "kind=\"request\"",
		[OB__FRAME_REPLY] = "kind=\"reply\"",
		[OB__FRAME_PUSH] = "kind=\"push\"",
		[OB__FRAME_SYSTEM] = "kind=\"system\"",
	};
	for (uint8_t kind = OB__FRAME_REQUEST; kind < OB__FRAME_KIND_END; kind++) {
		ls->busy[kind] = ob__stat_counter(
			stats, "obhost_link_busy_total", labels[kind],
			"Frames that found too much queued towards their node, by kind.");
	}
}

struct ob__links *ob__links_new(struct ob__streams *m, struct ob__registry *registry,
                                struct ob__stats *stats, const struct ob__links_options *options,
                                const struct ob__links_ops *ops, void *arg)
{
	struct ob__links *ls = calloc(1, sizeof(*ls));
	if (ls == NULL) {
		return NULL;
	}
	ls->m = m;
	ls->loop = m->loop;
	ls->registry = registry;
	ls->ops = *ops;
	ls->arg = arg;
	ls->refs = 1;
	ob__list_init(&ls->links);
	ob__list_init(&ls->remotes);
	set_options(ls, options);
	ls->window = ls->options.high / 2 < WINDOW ? ls->options.high / 2 : WINDOW;
	if (ob__link_keys_set(&ls->keys, options, registry->self.role) < 0 ||
	    ob__links_tls_new(ls, &options->files) < 0 ||
	    RAND_bytes((unsigned char *)&ls->random, sizeof(ls->random)) != 1) {
		ob__links_unref(ls);
		return NULL;
	}
	ls->random |= 1;
	ob__lograte_init(&ls->lines, ls->random);
	count_busy(ls, stats);
	for (int i = 0; i < OB__LINK_REASONS; i++) {
		char label[64];
		snprintf(label, sizeof(label), "reason=\"%s\"", reasons[i].word);
		ls->closed[i] = ob__stat_counter(stats, "obhost_link_closed_total", label,
		                                 "Links between nodes that ended, by reason.");
	}
	return ls;
}

int ob__links_rekey(struct ob__links *ls, const struct ob__links_options *options)
{
	struct ob__link_keys fresh = {0};
	int rc = ob__link_keys_set(&fresh, options, ls->registry->self.role);
	if (rc == 0) {
		rc = ob__links_tls_reload(ls);
	}
	if (rc < 0) {
		ob__link_keys_free(&fresh);
		return rc;
	}
	ob__link_keys_free(&ls->keys);
	ls->keys = fresh;
	ob__remotes_again(ls);
	return 0;
}

void ob__links_unref(struct ob__links *ls)
{
	assert(ls->refs > 0);
	if (--ls->refs == 0) {
		ob__link_keys_free(&ls->keys);
		ob__links_tls_free(ls);
		ob__lograte_free(&ls->lines);
		free(ls);
	}
}

void ob__links_free(struct ob__links *ls)
{
	if (ls == NULL) {
		return;
	}
	ls->freed = true;
	ob__remotes_free(ls);
	while (!ob__list_empty(&ls->links)) {
		struct ob__link *l = OB__CONTAINER(ls->links.next, struct ob__link, link);
		l->remote = NULL;
		while (!ob__list_empty(&l->pendings)) {
			ob__list_del(l->pendings.next);
		}
		if (l->peer != NULL && l->peer->link == l) {
			ob__registry_set_link(ls->registry, l->peer, NULL, ob__loop_now(ls->loop));
		}
		retire(l, CLOSE);
	}
	ob__links_unref(ls);
}
