/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to mesh/link.  What its parts share: link.c has the life of a link and sending,
 * link_read.c what arrives on one that is up, link_hello.c the handshake, remote.c dialling.
 *
 * Any function here that closes a link may call the owner back, and the owner may do anything but
 * free links, peers and the manager: those stay in memory until a later turn.  So after such a call
 * look at state and `freed` again before going on.
 */

#ifndef OB__LINK_PRIV_H
#define OB__LINK_PRIV_H

#include <stdbool.h>
#include <stdint.h>

#include "base/log.h"
#include "base/lograte.h"
#include "mesh/link.h"

/* Why links close; each has a word for the counter and, where there is one, a cure for the log. */
enum ob__link_reason {
	OB__LINK_ENDED,
	OB__LINK_UNREACHABLE,
	OB__LINK_HELLO_TIMEOUT,
	OB__LINK_SILENT,
	OB__LINK_UNANSWERED,
	OB__LINK_UNREAD,
	OB__LINK_NOT_HELLO,
	OB__LINK_OUT_OF_STEP,
	OB__LINK_BAD_HELLO,
	OB__LINK_SECOND_HELLO,
	OB__LINK_BAD_FRAME,
	OB__LINK_TOO_BIG,
	OB__LINK_SOURCE,
	OB__LINK_WRONG_TOKEN,
	OB__LINK_NO_TOKEN,
	OB__LINK_NOT_ENCRYPTED,
	OB__LINK_ENCRYPTED,
	OB__LINK_TLS,
	OB__LINK_CERTIFICATE,
	OB__LINK_VERSION,
	OB__LINK_SELF,
	OB__LINK_ROLE,
	OB__LINK_OTHER_NODE,
	OB__LINK_ROLE_COLLISION,
	OB__LINK_DUPLICATE,
	OB__LINK_NAME_TAKEN,
	OB__LINK_PEERS_FULL,
	OB__LINK_CROWDED,
	OB__LINK_REFUSED,
	OB__LINK_LEFT,
	OB__LINK_NOT_LEFT,
	OB__LINK_REPLACED,
	OB__LINK_REMOVED,
	OB__LINK_IDLE,
	OB__LINK_BY_OWNER,
	OB__LINK_NO_MEMORY,
	OB__LINK_REASONS,
};

/* What one token is good for. */
struct ob__link_key {
	char role[OB__HELLO_NAME]; /* that it proves, or "": membership */
	uint8_t key[32];
	uint8_t psk[OB__HELLO_PSK];
	uint8_t psk_id[OB__HELLO_PSK_ID];
};

/* The tokens of a node. */
struct ob__link_keys {
	struct ob__link_key *list;
	size_t len;
	const struct ob__link_key *dial; /* with which it dials, or NULL */
	bool by_role;                    /* membership is not enough to be let in */
};

struct ob__links {
	struct ob__streams *m;
	struct ob__loop *loop;
	struct ob__registry *registry;
	struct ob__links_ops ops;
	void *arg;
	size_t window;                    /* bytes a stream is given before the rest waits */
	struct ob__links_options options; /* the strings in it are not ours: NULL */
	struct ob__link_keys keys;
	struct ob__tls_ctx *accept_tls; /* of the node's own security; NULL: plain */
	struct ob__tls_ctx *dial_tls;
	struct ob__tls_ctx *dial_psk; /* for entries of their own, made when needed */
	struct ob__list links;        /* not closed */
	struct ob__list remotes;
	uint32_t in_hello; /* accepted links in the handshake */
	uint32_t refs;     /* ours, one per link, one per address look-up */
	bool freed;
	ob__transport_fn transport;
	void *transport_arg;
	struct ob__remote *asking; /* for which `transport` is being called; NULL: it is gone */
	uint64_t random;
	struct ob__lograte lines;                      /* of peers, and of what is dialled */
	struct ob__log_limit limits[OB__LINK_REASONS]; /* of strangers */
	uint64_t *closed[OB__LINK_REASONS];
	uint64_t *busy[OB__FRAME_KIND_END];
};

void ob__links_unref(struct ob__links *ls);

/* A link without a socket, in state DIALING and on the manager's list.  NULL when out of memory. */
struct ob__link *ob__link_new(struct ob__links *ls);

/* Closes with a reason, unless closed. */
void ob__link_close(struct ob__link *l, enum ob__link_reason why, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* As close, and tells the other side first. */
void ob__link_refuse(struct ob__link *l, enum ob__link_reason why, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Puts a frame of the link's own into the stream, past what is held. 0 or negative. */
int ob__link_put(struct ob__link *l, const struct ob__frame *f);

/* As put, in its place behind what waits. */
int ob__link_put_behind(struct ob__link *l, const struct ob__frame *f);

/* Gives the stream what waits, as far as there is room. */
void ob__link_pump(struct ob__link *l);

/* How many bytes of frames the stream has given to the kernel, or to TLS. */
uint64_t ob__link_gone(const struct ob__link *l);

/* The link of an authenticated peer starts to work, as its path or (of two) not. */
void ob__link_up(struct ob__link *l, struct ob__peer *peer);

/* The FENCE on l->old is back: moves what waits there to `l`, sends what was held, closes the old
 * one. */
void ob__link_fence_back(struct ob__link *l);

/* The steps of its end for want of traffic. */
void ob__link_on_idle(struct ob__link *l);
void ob__link_on_idle_ok(struct ob__link *l);
void ob__link_on_stay(struct ob__link *l);

/* link_read.c */
void ob__link_on_read(struct ob__stream *s, uint8_t *data, size_t len);
void ob__link_watch(struct ob__link *l);
void ob__link_probe(struct ob__link *l); /* must answer within a second */

/* As close, and what is being sent, TLS's last word included, may go out. */
void ob__link_close_gently(struct ob__link *l, enum ob__link_reason why, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* link_keys.c */
int ob__link_keys_set(struct ob__link_keys *keys, const struct ob__links_options *options,
                      const char *own_role);
void ob__link_keys_free(struct ob__link_keys *keys);
int ob__link_key_make(struct ob__link_key *key, const char *role, const char *token);
bool ob__link_keys_has(const struct ob__link_keys *keys);

/* The i-th key that may prove `role`, or NULL. */
const struct ob__link_key *ob__link_keys_for(const struct ob__link_keys *keys, const char *role,
                                             size_t i);

/* link_tls.c */
int ob__links_tls_new(struct ob__links *ls, const struct ob__link_files *files);
int ob__links_tls_reload(struct ob__links *ls);
void ob__links_tls_free(struct ob__links *ls);

/* A context for an entry's files; NULL was logged. */
struct ob__tls_ctx *ob__link_tls_files(const struct ob__link_files *files, bool server,
                                       const char *whose);

/* Puts TLS below an accepted or dialled link, if it is to be there. 0 or negative. */
int ob__link_protect(struct ob__link *l);

/* The stream has ended: closes the link with the reason. */
void ob__link_on_end(struct ob__stream *s, int status);

/* The first bytes of a caller are those of TLS, on a link without: closes it. */
bool ob__link_is_tls(struct ob__link *l, const uint8_t *data);

/* What the hello says is what TLS has proved; else refuses. */
bool ob__link_check_identity(struct ob__link *l);

/* link_hello.c */
void ob__link_greet(struct ob__link *l); /* the dialer's first word */
void ob__link_on_hello(struct ob__link *l, const struct ob__frame *f);

/* remote.c */
void ob__remote_up(struct ob__remote *r, const struct ob__link *l);

/* The entry's link is closed, and so are its peer's paths if it was one. */
void ob__remote_closed(struct ob__remote *r, const struct ob__link *l, enum ob__link_state was,
                       enum ob__link_reason why);
void ob__remotes_wake(struct ob__links *ls, uint64_t peer_id); /* that peer is down */
void ob__remotes_again(struct ob__links *ls); /* this node's tokens or certificates have changed */
bool ob__remotes_have(const struct ob__links *ls, uint64_t id); /* one of remote_ports is for it */
void ob__remotes_free(struct ob__links *ls);
const struct ob__link_key *ob__remote_key(const struct ob__remote *r); /* NULL: none */
enum ob__link_security ob__remote_security(const struct ob__remote *r);
struct ob__tls_ctx *ob__remote_tls(const struct ob__remote *r); /* NULL: plain */
uint64_t ob__remote_expects(const struct ob__remote *r);        /* a node's id, or 0 */
uint64_t ob__remote_node(const struct ob__remote *r);           /* who alone may be there, or 0 */
const char *ob__remote_role(const struct ob__remote *r);        /* expected, or NULL */

#endif
