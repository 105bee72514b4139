/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F3.  Links: the one two-way authenticated connection between two
 * nodes.
 *
 * A node dials every entry of its remote_ports, again and again while it is not connected (at once
 * at first, then less and less often up to reconnect_time), and accepts others.  Both ends prove
 * that they know the token (mesh/hello.h) before anything else is read.
 *
 * ONE PER PAIR.  A hello from a peer that has a working link already is refused as a duplicate, and
 * the refused dialer waits while the other link works.  When both dial at the same moment two
 * links may come up; then the one dialled by the lower id stays.  A node that had begun to send on
 * the other one sends a FENCE as its last frame there, keeps what it sends meanwhile, and goes on
 * over the staying link when the FENCE has come back (or the old link has died): so order holds.  A
 * link that is being left and not ended by then is closed after as long as one that is silent.
 *
 * A hello with the id of a live peer but another incarnation is refused, naming both addresses.  In
 * either case the live link is pinged: if it does not answer within a second it is closed, and the
 * newcomer's next attempt succeeds.  All this is decided after the proof, so a stranger can't ask.
 *
 * A stream gets no more than it can send soon; what else there is waits in mesh/backlog.h, where
 * large frames are cut into pieces, so that they hold up neither the link's own frames nor, but for
 * what must stay in order, those of others.
 *
 * A link that has been silent is pinged; one that stays silent is closed, by a reset: what the
 * network has not delivered by then is not to arrive behind what goes another way meanwhile, should
 * the network come back.  Reading a link never
 * stops.  What is queued is bounded: above `hard` a send answers OB_E_BUSY.  Replies, which are the
 * ends of what was taken, have half as much room more, and system frames twice the room; a peer
 * that makes us answer and never reads is closed.  Of the system frames those that have nothing to
 * do with the order of messages (pings, the directory's) overtake the messages that wait.
 *
 * Messages that go the same way in the same burst are put into one frame (lib/many.h), if the other
 * end takes that.
 *
 * WHO MAY.  A token proves membership; a token per role, or a certificate, the role as well.  Links
 * are plain, or TLS 1.3 with a key from the token, or TLS 1.3 with certificates on both sides whose
 * subjectAltName is URI:obhost:ROLE/NAME.  Which of the three is settled at each end beforehand and
 * never between the two: the hello's proof covers the TLS exporter, a plain caller of a node that
 * encrypts is refused, and so is the reverse.
 *
 * WHOSE.  A frame has its sender in it, and that is the node at the other end, whose name was
 * proved with the link; only a route node may bring frames of others.  It has asked the same of
 * those that brought them there.  A link that brings any other frame is closed.
 *
 * Every close has a reason, counted in obhost_link_closed_total{reason=...} and logged.
 */

#ifndef OB__LINK_H
#define OB__LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/stat.h"
#include "lib/buf.h"
#include "lib/frame.h"
#include "lib/list.h"
#include "mesh/backlog.h"
#include "mesh/hello.h"
#include "mesh/registry.h"
#include "net/listener.h"
#include "net/stream.h"

struct ob__links;
struct ob__remote;

enum ob__link_state {
	OB__LINK_DIALING = 1,
	OB__LINK_HELLO, /* connected; the handshake is under way */
	OB__LINK_UP,
	OB__LINK_LEAVING, /* up, but no longer the peer's path: read only, until its FENCE is back
	                   */
	OB__LINK_CLOSED,
};

/* How the bytes of a link are protected. */
enum ob__link_security {
	OB__LINK_AS_NODE, /* of an entry to dial: as the node's own */
	OB__LINK_PLAIN,
	OB__LINK_PSK,  /* TLS 1.3 with a key from the token */
	OB__LINK_CERT, /* TLS 1.3 with certificates on both sides */
};

/* PEM files of OB__LINK_CERT. */
struct ob__link_files {
	const char *cert;
	const char *key; /* NULL: in `cert` */
	const char *ca;
};

/* The token by which nodes of a role prove it, and, while it is being changed, the one before or
 * after it. */
struct ob__role_token {
	const char *role;
	const char *token[2]; /* the second may be NULL */
};

struct ob__link {
	struct ob__stream stream;
	struct ob__links *links;
	struct ob__list link;      /* in the manager's list */
	struct ob__list pendings;  /* for the owner: requests sent on this link */
	struct ob__remote *remote; /* the entry that dialled it, or NULL: accepted */
	struct ob__peer *peer;     /* from UP on */
	enum ob__link_state state;
	bool dialer;
	uint8_t key[32]; /* of the proofs: the dialer's from the start, the acceptor's once found */
	uint8_t exporter[32]; /* of its TLS */
	uint8_t exporter_len; /* 0: plain */
	bool for_good;        /* refused by the other side, and would be again */
	uint8_t psk_refused;  /* enum ob__link_reason: why no key was found for its TLS */
	uint64_t psk_dialer;  /* who it said it is in the TLS handshake */
	struct ob__hello mine;
	struct ob__hello theirs;
	struct ob__timeout timeout; /* of the handshake, then of the next ping */
	struct ob__buf in;          /* an incomplete frame */
	struct ob__buf parts;       /* the pieces so far of a large one */
	struct ob__backlog backlog; /* frames that wait for room in the stream */
	struct ob__buf held;        /* frames kept while the old path's FENCE is out */
	struct ob__link *old;       /* the LEAVING link whose FENCE we wait for, or NULL */
	uint32_t hold;              /* times the owner wants frames kept, see ob__peer_hold() */
	uint64_t traffic;           /* frames either way that are not the link's own */
	uint64_t traffic_seen[2];   /* at the last looks for silence */
	uint64_t parting;           /* IDLE was sent: traffic + 1 then; or 0 */
	uint64_t appended;          /* bytes of frames sent so far, those held included */
	uint64_t last_end;          /* `appended` behind the frame that may grow (lib/many.h) */
	uint32_t last_len;          /* its bytes */
	uint32_t last_count;        /* its messages */
	uint64_t given;             /* once closed: how many of them the kernel may have */
	uint64_t held_from;         /* `appended` when holding began */
	uint64_t mixed;             /* `appended` when frames could last overtake others */
	bool congested;     /* the queue has reached the mark and is not down to half of it */
	uint64_t ping_sent; /* hrtime us of the ping that is out, or 0; its call id */
	uint64_t rtt_us;    /* of the last ping */
	uint64_t frames_in;
	uint64_t frames_out;
	char address[80];
	char reason[128];     /* why it was closed */
	int why;              /* result code for what was on it: OB_E_MAYBE_SENT */
	uint8_t expect;       /* the next step of the handshake */
	uint64_t since;       /* loop ms of the last change of state */
	uint64_t check_at;    /* loop ms for which `timeout` is set */
	uint64_t probed;      /* loop ms of a probe, 0: none */
	uint64_t alive_at;    /* loop ms of a sign of life other than bytes read */
	double credit_frames; /* for the owner: what it takes from this link before it is too much
	                       */
	double credit_bytes;
	uint64_t credit_at;  /* loop ms */
	uint64_t given_seen; /* as `given` at the last check, if the kernel was full then */

	/* While LEAVING: until when, in loop ms, the other end has time to end it. */
	struct ob__timeout leave_timeout;
	uint64_t leave_due;
};

struct ob__links_ops {
	/* The peer has a path now and had none before; called once per coming up. */
	void (*on_up)(void *arg, struct ob__peer *peer);

	/* The peer has no path any more. */
	void (*on_down)(void *arg, struct ob__peer *peer, const char *reason);

	/* A whole frame of kind REQUEST, REPLY, PUSH, or SYSTEM beyond those of the link itself.
	 * `raw` is its bytes, free to be patched; valid until this returns. */
	void (*on_frame)(void *arg, struct ob__link *link, struct ob__frame *f, uint8_t *raw);

	/* The link, once UP, is closed: end what hangs on link->pendings (empty afterwards). Before
	 * on_down of the same loss.  The link is not the peer's path any more. */
	void (*on_lost)(void *arg, struct ob__link *link);

	/* ob__peer_congested() was true and no longer is. */
	void (*on_drained)(void *arg, struct ob__peer *peer);

	/* The path that was being left broke before its FENCE was back: the peer has its other
	 * link, but what was sent last on the old one may be lost, either way.  May be NULL. */
	void (*on_gap)(void *arg, struct ob__peer *peer);
};

/* Strings are copied. */
struct ob__links_options {
	const char *token;                  /* of membership */
	const struct ob__role_token *roles; /* if there are any, callers are checked against these,
	                                     * and this node dials with its own role's first */
	size_t roles_len;
	enum ob__link_security security; /* AS_NODE: plain */
	struct ob__link_files files;
	uint64_t reconnect_ms; /* longest pause between attempts; 0: 5000 */
	uint32_t hello_ms;     /* for connecting, and for the handshake; 0: 3000 */
	uint32_t ping_ms;      /* silence before a ping; 0: 2000 */
	uint32_t dead_ms;      /* silence before the link is closed; 0: 6000 */
	uint32_t max_hello;    /* links in the handshake at one time; 0: 64 */
	size_t max_frame;      /* bytes; 0: 1 MiB + 4 KiB */
	size_t high;           /* queue mark, at least 2; 0: 4 MiB */
	size_t hard; /* 0: 16 MiB; replies have half as much again, system frames twice as much */
};

/* NULL when out of memory, when a token is shorter than OB__HELLO_TOKEN_MIN, or, logged, when the
 * files can't be used; without a token every caller is refused, unless it has a certificate.  What
 * is passed must live as long as the links. */
struct ob__links *ob__links_new(struct ob__streams *m, struct ob__registry *registry,
                                struct ob__stats *stats, const struct ob__links_options *options,
                                const struct ob__links_ops *ops, void *arg);

/* Closes everything without callbacks, and leaves the peers without paths and the pendings on no
 * list; memory goes in later turns, until when the streams and the loop must live. NULL is
 * accepted. */
void ob__links_free(struct ob__links *ls);

/* Takes the tokens of `options` for handshakes to come, and reads the node's certificate files
 * again.  Links that are there stay.  0; -EINVAL or -ENOMEM, and nothing has changed. */
int ob__links_rekey(struct ob__links *ls, const struct ob__links_options *options);

/* For the link listener's callback: takes the waiting connection. */
void ob__links_accept(struct ob__links *ls, uv_stream_t *server);

/* The same for a listener of a transport's: `address` is what the link is called, "NAME:ADDRESS".
 */
void ob__links_accept_as(struct ob__links *ls, uv_stream_t *server, const char *address);

#define OB__TRANSPORT_NAME    64u  /* bytes of a transport's name, terminator included */
#define OB__TRANSPORT_ADDRESS 108u /* of an address that it is given */
#define OB__TRANSPORT_WAYS    4u   /* that one entry may have */

/* An address of a transport that is not built in. */
struct ob__transport_way {
	const char *transport;
	const char *address;
};

/*
 * Makes a socket that is connected to the address, or about to be, without waiting.  0 with the
 * descriptor in *fd, which is the links' then; OB_E_NOT_FOUND: nobody offers that transport now;
 * any other negative code.  The sentence for people goes into err.  Strings are borrowed.
 */
typedef int (*ob__transport_fn)(void *arg, const struct ob__transport_way *way, int *fd, char *err,
                                size_t err_cap);

/* Whom to ask for such sockets; without one, nobody offers any. */
void ob__links_set_transports(struct ob__links *ls, ob__transport_fn fn, void *arg);

/* There are more transports than before: entries that wait for one are dialled at once. */
void ob__links_transports_changed(struct ob__links *ls);

struct ob__remote_options {
	const char *host; /* numeric or a name */
	int port;
	const char *path;                     /* instead of both: a unix socket */
	const struct ob__transport_way *ways; /* tried in this order, before host, port or path; or
	                                       * instead */
	size_t ways_len;                      /* at most OB__TRANSPORT_WAYS */
	const char *token;                    /* NULL: the node's own */
	const char *role;                     /* what the peer must be, or NULL */
	enum ob__link_security security;
	struct ob__link_files files; /* with OB__LINK_CERT; no cert: the node's own */
	uint64_t node;    /* learned, not configured: nobody but that node may answer; or 0 */
	const char *near; /* of a learned one: a unix socket that is tried first; or NULL */
	bool added;       /* at run time: ob__links_retain() leaves it alone */
};

/* Adds an entry to dial; the first attempt is made in the next turn. 0, or -EEXIST if the same
 * address is there already, -EINVAL (no address, a short token or none, files that can't be used),
 * -ENOMEM. */
int ob__links_dial(struct ob__links *ls, const struct ob__remote_options *remote);

/*
 * Adds an entry for a node that was heard of: in no list of entries, and left alone by
 * ob__links_retain().  It waits while the node has a link, or an entry of remote_ports dials it;
 * when that entry is taken out, for good.  Without a role it is dialled for traffic only: when the
 * node does not let it in, for its token or the like, it is not dialled again for ten minutes.
 * NULL with *err as above, but for -EEXIST.
 */
struct ob__remote *ob__links_dial_node(struct ob__links *ls,
                                       const struct ob__remote_options *remote, int *err);

/* The node or this one may be of another mind now: dials at once if it waits after a refusal. */
void ob__remote_again(struct ob__remote *remote);

/* It waits after a refusal. */
bool ob__remote_is_unwanted(const struct ob__remote *remote);

/* Takes it out again.  Its link stays, and nobody dials it again when it is lost. */
void ob__links_undial(struct ob__remote *remote);

/* Has a word for what the entry is about: "waiting", "connecting", "up", "covered", ... */
const char *ob__remote_state(const struct ob__remote *remote);
const char *ob__remote_error(const struct ob__remote *remote);

/* Takes entries out that are not in `keep[0..n)` and closes their links.  An entry whose own token,
 * role or security has changed is taken out too, so dial all of `keep` afterwards. */
void ob__links_retain(struct ob__links *ls, const struct ob__remote_options *keep, size_t n);

/* Takes out the entry for that address, "HOST:PORT" or "TRANSPORT:ADDRESS", or else those whose
 * node, when they were last up, had that name, and closes their links; how many. */
size_t ob__links_drop(struct ob__links *ls, const char *name);

/* Whether an entry of that role exists, up or down. */
bool ob__links_dials_role(const struct ob__links *ls, const char *role);

/* Walks the dial entries: address text, expected role (or ""), the peer's name if it was ever up
 * (or ""), state word and last error. */
typedef void (*ob__remote_fn)(void *arg, const char *address, const char *role, const char *name,
                              const char *state, const char *error);
void ob__links_each_remote(struct ob__links *ls, ob__remote_fn fn, void *arg);

/*
 * Sends a frame on the peer's path: header, f->ext, f->payload are copied.  f->len, version and
 * src (if 0: own id) are filled in.  0; OB_E_NOT_SENT when the peer is down; OB_E_BUSY above the
 * hard bound; OB_E_TOO_BIG beyond max_frame; OB_E_NOMEM.  Calls nothing back.
 */
int ob__peer_send(struct ob__links *ls, struct ob__peer *peer, struct ob__frame *f);

/* Names the frame that was sent to the peer last; 0: there is none. */
static inline uint64_t ob__peer_mark(const struct ob__peer *peer)
{
	return peer->link != NULL ? peer->link->last_end : 0;
}

/* Adds a message that differs in nothing but call and payload to the frame of that mark, if that is
 * still the last one and nothing of it has been sent; the mark becomes another one then.  False: it
 * is to be sent as others are. */
bool ob__peer_add(struct ob__peer *peer, uint64_t *mark, uint64_t call, const void *payload,
                  size_t len);

/* Passes on a whole frame that arrived from elsewhere, as it is (the caller has patched it). */
int ob__peer_forward(struct ob__links *ls, struct ob__peer *peer, const uint8_t *raw, size_t len);

/* The same, before what is held: for what has not gone another way before. */
int ob__peer_forward_past(struct ob__links *ls, struct ob__peer *peer, const uint8_t *raw,
                          size_t len);

/* The half of the function below that has something to look at. */
bool ob__link_congested(struct ob__link *l);

/* The peer's queue is above its high mark, of which the stream's own is no more than half. */
static inline bool ob__peer_congested(const struct ob__peer *peer)
{
	struct ob__link *l = peer->link;

	if (l == NULL || (!l->congested && l->stream.queued < l->stream.high &&
	                  l->backlog.bytes == 0 && l->held.len == 0 && l->old == NULL)) {
		return false;
	}
	return ob__link_congested(l);
}

/* Keeps what is sent to the peer from now on, until ob__peer_release(), as often as this was
 * called, or the link's end.  Frames that have gone another way before must arrive first. */
void ob__peer_hold(struct ob__peer *peer);

/* Sends what was kept.  Harmless when nothing is held. */
void ob__peer_release(struct ob__peer *peer);

/* The longest frame that may be sent, in bytes. */
size_t ob__links_max_frame(const struct ob__links *ls);

/* Bytes queued towards the peer. */
size_t ob__peer_queued(const struct ob__peer *peer);

/* True when what was sent up to `offset` (a former link->appended) may have reached the kernel;
 * never false when it has. */
bool ob__link_given(const struct ob__link *link, uint64_t offset);

/* Ends a link that nobody uses, if the other end agrees; `parted` of the peers says so then.  Asked
 * of the end that dialled it; what is sent meanwhile is not lost. */
void ob__link_part(struct ob__link *link);

/* Closes this link, whether it is its peer's path or not. */
void ob__link_shut(struct ob__link *link, const char *reason);

/* Closes the peer's link with a reason that is logged and shown. */
void ob__peer_close(struct ob__links *ls, struct ob__peer *peer, const char *reason);

#endif
