/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F2.  A connected socket, perhaps with TLS, and the write path.
 *
 * Writing makes no system call.  It copies into the stream's output chunk (64 KiB, from a free list
 * shared by all streams, owned only while there is something to send) or, for large payloads,
 * references a shared buffer; and it puts the stream on the dirty list once.  Just before the loop
 * polls, every dirty stream is flushed with one gathered write; what the kernel does not take waits
 * until it says that there is room.  So a hundred small messages to one peer in one turn are one
 * system call.
 *
 * Two kinds of bytes leave earlier, while they are in the cache: what the owner of a stream answers
 * to what has just been read from it, if nobody else had written to it in this turn; and all there
 * is, when dirty streams together hold more than 256 KiB.
 *
 * Reading is shared out: a stream reads once per turn, and all of them about 1 MiB, in equal parts
 * among those that have more than their part, and 4 KiB each at least.  So a turn stays short, and
 * timers, signals and other connections have theirs, whatever a thousand peers send at once.
 *
 * CALLBACKS.  No callback runs inside append, commit, flush, read or close.  What a flush finds out
 * (a broken socket, a queue that has drained) is told to the owner just before the loop polls, when
 * no other frame of ours is on the stack.
 *
 * CLOSING.  ob__stream_close() marks the stream: from that moment nothing is appended, flushed or
 * delivered, whoever still holds it on a list; the socket is closed and on_close is called in a
 * later turn, after which the memory may go.
 */

#ifndef OB__STREAM_H
#define OB__STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uv.h>

#include "base/loop.h"
#include "lib/buf.h"
#include "lib/list.h"
#include "net/sock.h"
#include "net/tls.h"

#define OB__CHUNK_SIZE         (64u << 10)
#define OB__STREAM_GATHER      (16u << 10) /* from here on payloads are referenced, not copied */
#define OB__STREAM_EARLY_FLUSH (256u << 10)

struct ob__stream;

/* What all streams of a loop share. */
struct ob__streams {
	struct ob__loop *loop;
	struct ob__loop_hook hook;
	struct ob__list dirty;
	struct ob__list notify; /* streams whose owner is to be told something */
	struct ob__list closed; /* streams whose owner is to be told that it may free them */
	struct ob__socks *socks;
	struct ob__stream *answering; /* whose owner is being given what has arrived, or NULL */
	struct ob__chunk *free_chunks;
	struct ob__chunk *reserved; /* a new chunk between reserve and commit */
	struct ob__streams_wake
		*wake; /* keeps a poll from waiting while there is somebody to tell */
	uint32_t open; /* streams that are not closed yet */
	uint32_t free_chunks_len;
	uint32_t chunks;   /* with room of their own, in use or free */
	uint32_t flushing; /* > 0 inside a flush walk */
	size_t pending;    /* bytes that dirty streams hold; not what a slow peer holds up */
	uint64_t turn;     /* the number of this one */
	size_t turn_left;  /* bytes still to be read in it, before all read the least */
	size_t turn_share; /* what a stream reads in it at most */
	uint32_t hungry;   /* streams that have left something unread in it */
	uint64_t bytes_in;
	uint64_t bytes_out;
	uint64_t syscalls_out; /* writes made */
};

/* Hooks run in the order they were added: one that writes belongs in front of this one's.  Also
 * makes the process ignore SIGPIPE. */
int ob__streams_init(struct ob__streams *m, struct ob__loop *loop);

/* All streams must be closed.  Frees the free list. */
void ob__streams_free(struct ob__streams *m);

/* Closes every stream that has a socket. */
void ob__streams_close(struct ob__streams *m);

/* Somebody is to be told something: the next poll does not wait. */
bool ob__streams_hurry(const struct ob__streams *m);

/* Flushes every dirty stream now. */
void ob__streams_flush(struct ob__streams *m);

struct ob__stream_ops {
	/* Bytes arrived, in the loop's shared buffer: valid, and free to be changed in place, until
	 * this returns. */
	void (*on_read)(struct ob__stream *s, uint8_t *data, size_t len);

	/* The peer ended (status UV_EOF; it may still read) or the socket failed.  The owner
	 * closes. At most once with UV_EOF, and once more with an error if writing goes on and
	 * fails.  The peer's end comes behind all it has sent, and waits like that until the owner
	 * reads. */
	void (*on_end)(struct ob__stream *s, int status);

	/* The queue, which had reached `high`, is down to half of it.  May be NULL. */
	void (*on_drained)(struct ob__stream *s);

	/* Closed for good: the owner may free the memory that embeds the stream. */
	void (*on_close)(struct ob__stream *s);
};

/* Private: one piece of an output queue: bytes of its own, or a reference into a shared buffer. */
struct ob__chunk {
	struct ob__chunk *next;
	struct ob__rbuf *ref; /* NULL: the bytes are in room */
	uint8_t *data;
	size_t sent; /* of len */
	size_t len;
	uint8_t room[]; /* OB__CHUNK_SIZE, or nothing beside a reference */
};

/* Embedded in its owner.  Fields are private but for those marked. */
struct ob__stream {
	struct ob__sock sock;
	struct ob__streams *m;
	const struct ob__stream_ops *ops;
	void *owner; /* read-only after init: the owner's own pointer */
	struct ob__list dirty_link;
	struct ob__list notify_link; /* in m->notify, at the end in m->closed */
	struct ob__chunk *out_head;  /* queue of chunks and references, oldest first */
	struct ob__chunk *out_tail;
	struct ob__rbuf *unread;      /* bytes to hand out before any others */
	struct ob__tls *tls;          /* NULL: bytes go as they are */
	struct ob__stream_dial *dial; /* while it is connecting, or NULL */
	struct ob__timeout timer; /* the owner's, to init and use until it closes the stream; then
	                           * the end of ob__stream_close_flushed() */
	size_t queued;            /* read-only: bytes waiting */
	size_t high;              /* set by the owner; 0: no mark */
	uint64_t last_read;       /* read-only: loop ms of the last bytes from the peer */
	int failed;               /* why the socket is broken, or 0 */
	uint32_t taken;           /* of what was queued, by the kernel */
	bool above;               /* read-only: at or above `high` since it was last reached */
	bool connecting;
	bool blocked; /* the kernel takes no more: it says when it does */
	bool opened;  /* it has a socket, or had one */
	bool closing; /* read-only */
	bool is_unix : 1;
	bool trunk : 1; /* set by the owner: carries what many send, so it reads a full part */
	bool reading : 1;
	bool ended : 1;        /* the peer has sent all it will */
	bool tell_drained : 1; /* on_drained or on_end are due */
	bool tell_failed : 1;
	bool close_after_flush : 1;
	bool shut : 1; /* our FIN is out */
	bool closed : 1;
};

/* Prepares for one of accept/connect below. */
void ob__stream_init(struct ob__stream *s, struct ob__streams *m, const struct ob__stream_ops *ops,
                     void *owner);

/* Takes a pending connection of `server` (tcp or pipe), sets TCP_NODELAY, does not read yet.
 * 0 or negative; on failure the stream still needs ob__stream_close() if `opened`. */
int ob__stream_accept(struct ob__stream *s, uv_stream_t *server);

/* Dials.  `cb(s, status)` comes once, unless the stream is closed first (then never) or this
 * returns an error.  Exactly one of (addr) and (path) is used; path is a unix socket.  What is
 * appended meanwhile goes out once connected. */
typedef void (*ob__stream_connect_cb)(struct ob__stream *s, int status);
int ob__stream_connect(struct ob__stream *s, const struct sockaddr *addr, const char *path,
                       ob__stream_connect_cb cb);

/* A connected stream socket, or one whose connect() is under way, that somebody else has made:
 * takes it as it is and tells `cb` as above.  0; or negative, then the socket is still the
 * caller's: -ENOTSOCK, -ESOCKTNOSUPPORT (see ob__stream_socket()), UV_EEXIST (this loop has it
 * already). */
int ob__stream_connect_fd(struct ob__stream *s, int fd, ob__stream_connect_cb cb);

/* A connected stream socket that somebody else has made: takes it as it is. 0; or negative, then it
 * is still the caller's, and the stream needs ob__stream_close() if `opened`. */
int ob__stream_take_fd(struct ob__stream *s, int fd);

/* It is a stream socket, so that streams and listeners can take it: 1, of TCP; 0, of another kind;
 * -ENOTSOCK, -EBADF or -ESOCKTNOSUPPORT. */
int ob__stream_socket(int fd);

/*
 * Puts TLS below the stream: before ob__stream_connect(), or right after ob__stream_accept().  The
 * handshake goes on while reading is on; what is appended meanwhile waits for its end, and so does
 * what the peer sends.  0 or -ENOMEM; `start` is copied, the context held.
 *
 * What goes wrong arrives in on_end: UV_EPROTO for a handshake that failed or bytes that are wrong,
 * UV_ETIMEDOUT for one that takes too long, UV_ECONNABORTED for an end without TLS's goodbye, after
 * which what was read last may not be all there was.  UV_EPROTONOSUPPORT tells a server that the
 * peer does not speak TLS: what was queued is dropped then, and the owner may append a last word,
 * which is no secret, as it is, and close flushed.
 */
int ob__stream_tls(struct ob__stream *s, struct ob__tls_ctx *ctx,
                   const struct ob__tls_start *start);

/* Bytes that were read before TLS was put below it and belong to it, as when something else came in
 * front: within on_read only, and at once.  on_end may come from within. */
void ob__stream_tls_feed(struct ob__stream *s, const void *data, size_t len);

/* The handshake is done. */
bool ob__stream_is_secure(const struct ob__stream *s);

/* A sentence for the status that on_end was told; valid until the stream is closed. */
const char *ob__stream_error(const struct ob__stream *s, int status);

/* Secret bytes that only the two ends of this very TLS connection have (RFC 5705). 0, -ENOTCONN
 * before the handshake is done or without TLS, -EIO. */
int ob__stream_export(const struct ob__stream *s, const char *label, uint8_t *out, size_t len);

/* The certificate that the peer showed is for this URI (a subjectAltName of it). */
bool ob__stream_peer_has_uri(const struct ob__stream *s, const char *uri);

/* "TLSv1.3 TLS_AES_128_GCM_SHA256", or "" without TLS. */
void ob__stream_cipher(const struct ob__stream *s, char *out, size_t cap);

/* Starts or stops reading (backpressure). Harmless when already so, or closing. */
void ob__stream_read(struct ob__stream *s, bool on);

/* The rare halves of the two functions below. */
uint8_t *ob__stream_reserve_new(struct ob__stream *s, size_t len);
void ob__stream_commit_slow(struct ob__stream *s, size_t used);

/*
 * Contiguous room for `len` bytes (len <= OB__CHUNK_SIZE) at the end of the output, to encode
 * into directly; then commit what was used.  NULL when closing, broken or out of memory.  Nothing
 * else may be appended to any stream, or flushed, between reserve and commit.
 */
static inline uint8_t *ob__stream_reserve(struct ob__stream *s, size_t len)
{
	const struct ob__chunk *c = s->out_tail;

	if (c != NULL && c->ref == NULL && OB__CHUNK_SIZE - c->len >= len && !s->closing &&
	    s->failed == 0) {
		return s->out_tail->data + c->len;
	}
	return ob__stream_reserve_new(s, len);
}

static inline void ob__stream_commit(struct ob__stream *s, size_t used)
{
	struct ob__streams *m = s->m;
	size_t queued = s->queued + used;
	size_t pending = m->pending + used;

	if (m->reserved != NULL || used == 0 || !ob__list_on(&s->dirty_link) ||
	    (s->high > 0 && queued >= s->high) || pending > OB__STREAM_EARLY_FLUSH) {
		ob__stream_commit_slow(s, used);
		return;
	}
	s->out_tail->len += used;
	s->queued = queued;
	m->pending = pending;
}

/* The last `len` bytes that were appended, to be changed in place, if none of them has left and
 * there is room for `more` behind them; that is what ob__stream_reserve() returns then.  Else NULL.
 */
static inline uint8_t *ob__stream_tail(const struct ob__stream *s, size_t len, size_t more)
{
	const struct ob__chunk *c = s->out_tail;

	return c != NULL && c->ref == NULL && c->len - c->sent >= len &&
	                       OB__CHUNK_SIZE - c->len >= more && !s->closing && s->failed == 0
	               ? s->out_tail->data + c->len - len
	               : NULL;
}

/* Appends a copy. 0, -ECANCELED when closing or broken, -ENOMEM (then nothing was appended). */
int ob__stream_append(struct ob__stream *s, const void *data, size_t len);

/* Appends bytes of a shared buffer, taking a reference of its own; copies when they are few. */
int ob__stream_append_ref(struct ob__stream *s, struct ob__rbuf *r, size_t off, size_t len);

/* The same, but hands them to the kernel at once if nothing waits in front of them; what it does
 * not take is appended, and where that fails the stream does.  For one write to each of many
 * streams. */
int ob__stream_send_ref(struct ob__stream *s, struct ob__rbuf *r, size_t off, size_t len);

/* What was appended goes out now, and not just before the poll.  For several writes to each of many
 * streams. */
void ob__stream_flush(struct ob__stream *s);

/* It is broken: by its socket, or because what was begun can't be ended.  Drops the queue; the
 * owner is told later, before the next poll. */
void ob__stream_fail(struct ob__stream *s, int status);

/* Puts bytes back: a copy is handed to on_read once reading is on, before any others, and never
 * from within this call.  0, -ECANCELED when closing, -ENOMEM. */
int ob__stream_unread(struct ob__stream *s, const void *data, size_t len);

/* Of what is queued, those bytes that the kernel has nothing of; what TLS has made of others may be
 * with it in part. */
size_t ob__stream_kept(const struct ob__stream *s);

/* A number that changes whenever the peer takes something of what was queued. */
uint32_t ob__stream_taken(const struct ob__stream *s);

/* Moves the socket of `from`, with what it has queued and put back, into `into`, a stream that was
 * initialised and nothing more; then closes `from`.  No system call is made.  0; or -ECANCELED when
 * `from` is closing or broken, and then both are as they were. */
int ob__stream_adopt(struct ob__stream *into, struct ob__stream *from);

/* Closes now; what is queued is dropped. Safe at any time, also twice, also from callbacks, also
 * for a stream that never got a socket. */
void ob__stream_close(struct ob__stream *s);

/* The same, and what the kernel has taken and the peer has not does not go out any more, which it
 * would for minutes when the network comes back; the peer gets a reset.  (A unix socket's peer has
 * all that the kernel took.) */
void ob__stream_abort(struct ob__stream *s);

/* Flushes what is queued, then shuts down and closes; at most `ms` later in any case.  From now on
 * nothing is delivered.  What the peer still sends is read and thrown away until it ends as well:
 * closing over unread bytes would send a reset, which may destroy our last words on their way. */
void ob__stream_close_flushed(struct ob__stream *s, uint64_t ms);

/* The peer's address as "127.0.0.1:2000", "[::1]:2000" or "unix"; "-" when there is none. */
void ob__stream_peer(const struct ob__stream *s, char *out, size_t cap);
/* The same in numbers (lib/ip.h); false when it has none. */
bool ob__stream_peer_ip(const struct ob__stream *s, uint8_t ip[16], uint16_t *port);
bool ob__stream_is_unix(const struct ob__stream *s);

/* The peer is on this machine: a unix socket, 127/8, ::1 or ::ffff:127/104. */
bool ob__stream_is_loopback(const struct ob__stream *s);

#endif
