/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "mesh/link.h"

#include <errno.h>
#include <inttypes.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <obhost/obhost.h>
#include <openssl/crypto.h>

#include "mesh/link_priv.h"

#define ADDED_MAX      256u /* entries that were added at run time */
#define PAUSE_FIRST_MS 100u
#define LEARNED_MS     30000u  /* longest pause before a node that was heard of is dialled again */
#define UNWANTED_MS    600000u /* pause before one is that does not let this one in */
#define STEADY_MS      1000u   /* a link that lived this long is dialled again at once */
#define LOG_BURST      1u      /* lines per entry in ten seconds */

enum remote_state {
	WAITING = 1, /* for the next attempt */
	RESOLVING,
	DIALING, /* or in the handshake, or up: see link */
	COVERED, /* its peer has another link: nothing to do until that is down */
};

struct way {
	char *transport;
	char *address;
};

/* An address look-up, which can't always be called off: outlives its entry then. */
struct lookup {
	uv_getaddrinfo_t req;
	struct ob__links *links;
	struct ob__remote *remote; /* NULL: nobody waits for it any more */
};

struct ob__remote {
	struct ob__list list;
	struct ob__links *links;
	char *host;
	int port;
	char *path;
	char *role;
	struct ob__link_key key; /* its own, if it has one */
	bool has_key;
	enum ob__link_security security; /* never AS_NODE */
	struct ob__tls_ctx *tls;         /* its own, or NULL */
	char *files[3];                  /* of which it is made */
	uint64_t expects;                /* who was there the last time */
	uint64_t node;                   /* learned: nobody else may be there; or 0 */
	char *near;                      /* a unix socket that is tried first */
	struct way *ways;                /* of transports, tried next */
	size_t ways_len;
	size_t tried;         /* in this attempt: of near, ways, and host or path */
	const struct way *by; /* what is being tried, or NULL: none of the ways */
	size_t missed;        /* in this attempt: ways whose transport nobody offers */
	bool missing;         /* and there was nothing else to try: waits for a transport */
	bool added;           /* at run time */
	bool dropped;         /* learned: its entry of remote_ports was taken out */
	bool unwanted;        /* learned: waits after a refusal */
	char address[OB__TRANSPORT_NAME + OB__TRANSPORT_ADDRESS];
	enum remote_state state;
	struct ob__link *link;
	struct lookup *lookup;
	struct addrinfo *found;
	const struct addrinfo *next; /* of `found`, to be tried */
	struct ob__timeout timer;
	uint64_t pause_ms; /* before the attempt after the next failure */
	uint64_t peer_id;  /* whose other link covers this entry, or 0 */
	char name[OB__HELLO_NAME];
	char error[128];
	struct ob__log_limit limit;
};

const struct ob__link_key *ob__remote_key(const struct ob__remote *r)
{
	return r->has_key ? &r->key : r->links->keys.dial;
}

enum ob__link_security ob__remote_security(const struct ob__remote *r)
{
	return r->security;
}

struct ob__tls_ctx *ob__remote_tls(const struct ob__remote *r)
{
	struct ob__links *ls = r->links;
	if (r->security == OB__LINK_PLAIN) {
		return NULL;
	}
	if (r->tls != NULL) {
		return r->tls;
	}
	return r->security == OB__LINK_PSK ? ls->dial_psk : ls->dial_tls;
}

uint64_t ob__remote_expects(const struct ob__remote *r)
{
	return r->expects;
}

uint64_t ob__remote_node(const struct ob__remote *r)
{
	return r->node;
}

const char *ob__remote_role(const struct ob__remote *r)
{
	return r->role;
}

/* ---------------------------------------------------------------- when to try */

static uint64_t jitter(struct ob__links *ls, uint64_t ms)
{
	ls->random ^= ls->random << 13;
	ls->random ^= ls->random >> 7;
	ls->random ^= ls->random << 17;
	return ms * 4 / 5 + ls->random % (ms * 2 / 5 + 1);
}

/* Dialled for traffic, which goes another way meanwhile. */
static bool is_lazy(const struct ob__remote *r)
{
	return r->node != 0 && r->role == NULL;
}

static uint64_t longest_pause(const struct ob__remote *r)
{
	uint64_t ms = r->links->options.reconnect_ms;
	return is_lazy(r) && ms < LEARNED_MS ? LEARNED_MS : ms;
}

static void try_soon(struct ob__remote *r)
{
	r->state = WAITING;
	ob__timeout_set(r->links->loop, &r->timer, 0);
}

/* From the first way on, before long. */
static void try_anew(struct ob__remote *r)
{
	r->pause_ms = PAUSE_FIRST_MS;
	r->tried = 0;
	try_soon(r);
}

static size_t count_ways(const struct ob__remote *r)
{
	return (r->near != NULL) + r->ways_len + (r->host != NULL || r->path != NULL);
}

static void try_later(struct ob__remote *r)
{
	struct ob__links *ls = r->links;
	uint64_t longest = longest_pause(r);
	uint64_t ms = r->pause_ms < longest ? r->pause_ms : longest;
	r->pause_ms = ms * 2;
	r->state = WAITING;
	r->tried = 0;
	ob__timeout_set(ls->loop, &r->timer, jitter(ls, ms));
}

static void forget_found(struct ob__remote *r)
{
	uv_freeaddrinfo(r->found);
	r->found = NULL;
	r->next = NULL;
}

/* An attempt has failed; the text is in r->error. */
static void failed(struct ob__remote *r, const char *hint)
{
	uint32_t missed;
	forget_found(r);
	r->missing = r->missed == count_ways(r);
	/* That it waits it says each time: it does not try again before a module comes. */
	if (r->missing ||
	    ob__log_allow(&r->limit, LOG_BURST, ob__loop_now(r->links->loop), &missed)) {
		ob__log_at(r->node == 0 ? OB_LOG_WARNING : OB_LOG_INFO, "link",
		           "%s: not connected (%s)%s; %s", r->address, r->error, hint,
		           r->missing ? "waiting for a module that does" : "trying again");
	}
	if (!r->missing) {
		try_later(r);
		return;
	}
	r->state = WAITING;
	r->tried = 0;
}

bool ob__remotes_have(const struct ob__links *ls, uint64_t id)
{
	OB__LIST_EACH (it, &ls->remotes) {
		const struct ob__remote *r = OB__CONTAINER(it, struct ob__remote, list);
		if (r->node == 0 && (r->expects == id || r->peer_id == id)) {
			return true;
		}
	}
	return false;
}

static bool same_place(const struct ob__remote *r, const struct ob__remote *learned);

/* An entry of remote_ports for the same node or address; it does the dialling then. */
static bool is_configured(const struct ob__remote *learned)
{
	OB__LIST_EACH (it, &learned->links->remotes) {
		const struct ob__remote *r = OB__CONTAINER(it, struct ob__remote, list);
		if (r->node == 0 && same_place(r, learned)) {
			return true;
		}
	}
	return ob__remotes_have(learned->links, learned->node);
}

static bool is_covered(const struct ob__remote *r)
{
	const struct ob__peer *peer = NULL;
	uint64_t id = r->node != 0 ? r->node : r->peer_id;
	if (id != 0) {
		peer = ob__registry_get(r->links->registry, id);
	}
	return (peer != NULL && peer->link != NULL) || r->dropped ||
	       (r->node != 0 && is_configured(r));
}

/* ---------------------------------------------------------------- one attempt */

static void on_connected(struct ob__stream *s, int status)
{
	struct ob__link *l = s->owner;
	if (status < 0) {
		ob__link_close(l, OB__LINK_UNREACHABLE, "%s", uv_strerror(status));
		return;
	}
	if (!ob__stream_is_unix(s) && (l->remote == NULL || l->remote->by == NULL)) {
		ob__stream_peer(s, l->address, sizeof(l->address));
	}
	if (l->stream.tls == NULL) {
		ob__link_greet(l);
		return;
	}
	/* Says its first word when TLS is there. */
	l->state = OB__LINK_HELLO;
	ob__timeout_set(l->links->loop, &l->timeout, l->links->options.hello_ms);
	ob__stream_read(s, true);
}

/* A link to be connected, protected if it is to be; NULL: the attempt has failed. */
static struct ob__link *begin(struct ob__remote *r, const char *address)
{
	struct ob__link *l = ob__link_new(r->links);
	if (l == NULL) {
		snprintf(r->error, sizeof(r->error), "out of memory");
		failed(r, "");
		return NULL;
	}
	r->state = DIALING;
	r->link = l;
	l->remote = r;
	l->dialer = true;
	snprintf(l->address, sizeof(l->address), "%.*s", (int)sizeof(l->address) - 1, address);
	int rc = ob__link_protect(l);
	if (rc < 0) {
		ob__link_close(l, OB__LINK_UNREACHABLE, "%s", uv_strerror(rc));
		return NULL;
	}
	return l;
}

static void dial(struct ob__remote *r, const struct sockaddr *addr, const char *path)
{
	r->by = NULL;
	struct ob__link *l = begin(r, addr == NULL ? path : r->address);
	int rc = l != NULL ? ob__stream_connect(&l->stream, addr, path, on_connected) : 0;
	if (rc < 0) {
		ob__link_close(l, OB__LINK_UNREACHABLE, "%s", uv_strerror(rc));
	}
}

static void name_way(const struct way *w, char *out, size_t cap)
{
	snprintf(out, cap, "%s:%s", w->transport, w->address);
}

static void dial_fd(struct ob__remote *r, const struct way *w, int fd)
{
	char name[OB__TRANSPORT_NAME + OB__TRANSPORT_ADDRESS];
	name_way(w, name, sizeof(name));
	r->by = w;
	struct ob__link *l = begin(r, name);
	int rc = l != NULL ? ob__stream_connect_fd(&l->stream, fd, on_connected) : -ENOMEM;
	if (rc < 0 && rc != UV_EEXIST && rc != -ENOTSOCK && rc != -EBADF) {
		close(fd);
	}
	if (l != NULL && rc < 0) {
		ob__link_close(l, OB__LINK_UNREACHABLE, "%s: %s", w->transport,
		               rc == -ESOCKTNOSUPPORT ? "no stream socket" : uv_strerror(rc));
	}
}

/* Code of a module runs in it, which may even take the entry out. */
static int ask_transport(struct ob__remote *r, const struct way *w, int *fd)
{
	struct ob__links *ls = r->links;
	char transport[OB__TRANSPORT_NAME];
	char address[OB__TRANSPORT_ADDRESS];
	char error[sizeof(r->error)];
	const struct ob__transport_way way = {transport, address};
	int rc = OB_E_NOT_FOUND;
	snprintf(transport, sizeof(transport), "%s", w->transport);
	snprintf(address, sizeof(address), "%s", w->address);
	snprintf(error, sizeof(error), "nobody offers the transport %s", transport);
	ls->asking = r;
	if (ls->transport != NULL) {
		rc = ls->transport(ls->transport_arg, &way, fd, error, sizeof(error));
	}
	if (ls->asking != r) {
		if (rc == 0) {
			close(*fd);
		}
		return -ECANCELED;
	}
	ls->asking = NULL;
	if (rc < 0) {
		memcpy(r->error, error, sizeof(r->error));
	}
	r->missed += rc == OB_E_NOT_FOUND;
	return rc;
}

static void dial_way(struct ob__remote *r, const struct way *w)
{
	int fd = -1;
	int rc = ask_transport(r, w, &fd);
	if (rc == -ECANCELED) {
		return;
	}
	if (rc == 0) {
		dial_fd(r, w, fd);
	} else if (r->tried < count_ways(r)) {
		try_soon(r);
	} else {
		failed(r, "");
	}
}

static void dial_next(struct ob__remote *r)
{
	const struct addrinfo *next = r->next;
	r->next = next->ai_next;
	dial(r, next->ai_addr, NULL);
}

static void on_found(uv_getaddrinfo_t *req, int status, struct addrinfo *found)
{
	struct lookup *lookup = OB__CONTAINER(req, struct lookup, req);
	struct ob__remote *r = lookup->remote;
	struct ob__links *ls = lookup->links;
	free(lookup);
	if (r == NULL) {
		uv_freeaddrinfo(found);
		ob__links_unref(ls);
		return;
	}
	r->lookup = NULL;
	ob__links_unref(ls);
	if (status < 0 || found == NULL) {
		uv_freeaddrinfo(found);
		snprintf(r->error, sizeof(r->error), "%s", uv_strerror(status));
		failed(r, ": is the host's name right?");
		return;
	}
	r->found = found;
	r->next = found;
	dial_next(r);
}

static void look_up(struct ob__remote *r)
{
	struct ob__links *ls = r->links;
	const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
	char service[16];
	snprintf(service, sizeof(service), "%d", r->port);
	struct lookup *lookup = calloc(1, sizeof(*lookup));
	int rc = lookup == NULL ? UV_ENOMEM
	                        : uv_getaddrinfo(ob__loop_uv(ls->loop), &lookup->req, on_found,
	                                         r->host, service, &hints);
	if (rc < 0) {
		free(lookup);
		snprintf(r->error, sizeof(r->error), "%s", uv_strerror(rc));
		failed(r, "");
		return;
	}
	lookup->links = ls;
	lookup->remote = r;
	ls->refs++;
	r->lookup = lookup;
	r->state = RESOLVING;
}

static void dial_last(struct ob__remote *r)
{
	union {
		struct sockaddr any;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	} addr;
	if (r->path != NULL) {
		dial(r, NULL, r->path);
	} else if (uv_ip4_addr(r->host, r->port, &addr.in) == 0 ||
	           uv_ip6_addr(r->host, r->port, &addr.in6) == 0) {
		dial(r, &addr.any, NULL);
	} else {
		look_up(r);
	}
}

static void attempt(struct ob__remote *r)
{
	if (is_covered(r)) {
		r->state = COVERED;
		return;
	}
	if (r->tried >= count_ways(r)) {
		r->tried = 0;
	}
	if (r->tried == 0) {
		r->missed = 0;
	}
	r->peer_id = 0;
	r->unwanted = false;
	r->missing = false;
	size_t first = r->near != NULL;
	size_t at = r->tried++;
	if (at < first) {
		dial(r, NULL, r->near);
	} else if (at - first < r->ways_len) {
		dial_way(r, &r->ways[at - first]);
	} else {
		dial_last(r);
	}
}

static void on_timer(void *arg)
{
	struct ob__remote *r = arg;
	if (r->next != NULL) {
		dial_next(r);
	} else {
		attempt(r);
	}
}

/* ---------------------------------------------------------------- what became of it */

void ob__remote_up(struct ob__remote *r, const struct ob__link *l)
{
	forget_found(r);
	snprintf(r->name, sizeof(r->name), "%s", l->theirs.name);
	r->error[0] = '\0';
	r->expects = l->theirs.id;
}

/* An established link is gone. */
static void lost(struct ob__remote *r, const struct ob__link *l)
{
	if (ob__loop_now(r->links->loop) - l->since >= STEADY_MS) {
		try_anew(r);
	} else {
		try_later(r);
	}
}

/* Nothing is gained by another attempt, at whatever address, before one of the two nodes is
 * configured otherwise. */
static bool is_settled(const struct ob__link *l, enum ob__link_reason why)
{
	switch (why) {
	case OB__LINK_REFUSED:
		return l->for_good;
	case OB__LINK_WRONG_TOKEN:
	case OB__LINK_TLS:
	case OB__LINK_CERTIFICATE:
	case OB__LINK_VERSION:
		return l->peer == NULL;
	default:
		return false;
	}
}

static void try_much_later(struct ob__remote *r)
{
	forget_found(r);
	r->unwanted = true;
	r->state = WAITING;
	r->tried = 0;
	ob__timeout_set(r->links->loop, &r->timer, jitter(r->links, UNWANTED_MS));
}

bool ob__remote_is_unwanted(const struct ob__remote *r)
{
	return r->unwanted;
}

void ob__remote_again(struct ob__remote *r)
{
	if (r->unwanted) {
		r->unwanted = false;
		try_anew(r);
	}
}

void ob__remotes_again(struct ob__links *ls)
{
	OB__LIST_EACH (it, &ls->remotes) {
		ob__remote_again(OB__CONTAINER(it, struct ob__remote, list));
	}
}

void ob__remote_closed(struct ob__remote *r, const struct ob__link *l, enum ob__link_state was,
                       enum ob__link_reason why)
{
	r->link = NULL;
	if (why == OB__LINK_IDLE && r->node != 0) {
		r->state = COVERED; /* the dialer takes it out */
		return;
	}
	if (l->peer == NULL) {
		r->expects = r->node;
	}
	snprintf(r->error, sizeof(r->error), "%s", l->reason);
	if (is_lazy(r) && is_settled(l, why)) {
		try_much_later(r);
		return;
	}
	if (r->tried < count_ways(r) && l->peer == NULL && why != OB__LINK_DUPLICATE) {
		try_soon(r); /* not by the socket that is near, say: by the other address */
		return;
	}
	if (r->next != NULL && l->peer == NULL && why != OB__LINK_DUPLICATE) {
		try_soon(r); /* not that node, or nobody, at this address: the next one */
		return;
	}
	if (was == OB__LINK_DIALING) {
		failed(r, r->by != NULL ? ": is that node running, and listening there?"
		                        : ": is that node running, and its rpc port this one?");
		return;
	}
	forget_found(r);
	if (l->peer != NULL || why == OB__LINK_DUPLICATE) {
		r->peer_id = l->theirs.id;
	}
	if (is_covered(r)) {
		r->state = COVERED;
		r->error[0] = '\0';
		snprintf(r->name, sizeof(r->name), "%s", l->theirs.name);
	} else if (l->peer != NULL) {
		lost(r, l);
	} else {
		try_later(r);
	}
}

void ob__remotes_wake(struct ob__links *ls, uint64_t peer_id)
{
	OB__LIST_EACH (it, &ls->remotes) {
		struct ob__remote *r = OB__CONTAINER(it, struct ob__remote, list);
		if (r->state == COVERED && (r->peer_id == peer_id || r->node == peer_id)) {
			try_anew(r);
		}
	}
}

void ob__links_set_transports(struct ob__links *ls, ob__transport_fn fn, void *arg)
{
	ls->transport = fn;
	ls->transport_arg = arg;
}

void ob__links_transports_changed(struct ob__links *ls)
{
	OB__LIST_EACH (it, &ls->remotes) {
		struct ob__remote *r = OB__CONTAINER(it, struct ob__remote, list);
		if (r->missing) {
			r->missing = false;
			try_anew(r);
		}
	}
}

/* ---------------------------------------------------------------- the entries */

static void remote_free(struct ob__remote *r)
{
	if (r->links->asking == r) {
		r->links->asking = NULL;
	}
	ob__list_del(&r->list);
	ob__timeout_clear(r->links->loop, &r->timer);
	if (r->lookup != NULL) {
		r->lookup->remote = NULL;
		uv_cancel((uv_req_t *)&r->lookup->req);
	}
	forget_found(r);
	OPENSSL_cleanse(&r->key, sizeof(r->key));
	ob__tls_ctx_free(r->tls);
	for (size_t i = 0; i < 3; i++) {
		free(r->files[i]);
	}
	free(r->host);
	free(r->path);
	free(r->near);
	for (size_t i = 0; i < r->ways_len; i++) {
		free(r->ways[i].transport);
		free(r->ways[i].address);
	}
	free(r->ways);
	free(r->role);
	free(r);
}

void ob__remotes_free(struct ob__links *ls)
{
	while (!ob__list_empty(&ls->remotes)) {
		remote_free(OB__CONTAINER(ls->remotes.next, struct ob__remote, list));
	}
}

static bool same_text(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

/* An entry of remote_ports has one address: of a transport, or a path, or host and port. */
static bool same_address(const struct ob__remote *r, const struct ob__remote_options *o)
{
	if (o->ways_len > 0 || r->ways_len > 0) {
		return o->ways_len > 0 && r->ways_len > 0 &&
		       same_text(r->ways[0].transport, o->ways[0].transport) &&
		       same_text(r->ways[0].address, o->ways[0].address);
	}
	if (o->path != NULL || r->path != NULL) {
		return same_text(r->path, o->path);
	}
	return r->port == o->port && same_text(r->host, o->host);
}

/* One of what a learned entry has is what is in remote_ports. */
static bool same_place(const struct ob__remote *r, const struct ob__remote *learned)
{
	for (size_t i = 0; r->ways_len > 0 && i < learned->ways_len; i++) {
		if (same_text(r->ways[0].transport, learned->ways[i].transport) &&
		    same_text(r->ways[0].address, learned->ways[i].address)) {
			return true;
		}
	}
	if (r->path != NULL) {
		return same_text(r->path, learned->near);
	}
	return r->host != NULL && r->port == learned->port && same_text(r->host, learned->host);
}

static int copy_text(char **to, const char *from)
{
	*to = from != NULL ? strdup(from) : NULL;
	return from != NULL && *to == NULL ? -ENOMEM : 0;
}

static int fill_files(struct ob__remote *r, const struct ob__link_files *files)
{
	if (files->cert == NULL) {
		return r->links->dial_tls != NULL && r->links->options.security == OB__LINK_CERT
		               ? 0
		               : -EINVAL;
	}
	if (copy_text(&r->files[0], files->cert) < 0 || copy_text(&r->files[1], files->key) < 0 ||
	    copy_text(&r->files[2], files->ca) < 0) {
		return -ENOMEM;
	}
	r->tls = ob__link_tls_files(files, false, "remote_ports");
	return r->tls != NULL ? 0 : -EINVAL;
}

static enum ob__link_security security_of(const struct ob__links *ls,
                                          const struct ob__remote_options *o)
{
	return o->security != OB__LINK_AS_NODE ? o->security : ls->options.security;
}

static int fill_security(struct ob__remote *r, const struct ob__remote_options *o)
{
	r->security = security_of(r->links, o);
	r->has_key = o->token != NULL;
	int rc = r->has_key ? ob__link_key_make(&r->key, "", o->token) : 0;
	if (rc < 0) {
		return rc;
	}
	if (r->security == OB__LINK_CERT) {
		return fill_files(r, &o->files);
	}
	return ob__remote_key(r) != NULL ? 0 : -EINVAL;
}

static int fill_ways(struct ob__remote *r, const struct ob__remote_options *o)
{
	r->ways = calloc(o->ways_len + 1, sizeof(*r->ways));
	if (r->ways == NULL) {
		return -ENOMEM;
	}
	for (size_t i = 0; i < o->ways_len; i++) {
		struct way *w = &r->ways[r->ways_len++];
		if (copy_text(&w->transport, o->ways[i].transport) < 0 ||
		    copy_text(&w->address, o->ways[i].address) < 0) {
			return -ENOMEM;
		}
	}
	return 0;
}

static void fill_address(struct ob__remote *r)
{
	if (r->host != NULL) {
		bool is_ip6 = strchr(r->host, ':') != NULL;
		snprintf(r->address, sizeof(r->address), is_ip6 ? "[%s]:%d" : "%s:%d", r->host,
		         r->port);
	} else if (r->path != NULL || r->near != NULL) {
		snprintf(r->address, sizeof(r->address), "%s", r->path != NULL ? r->path : r->near);
	} else {
		name_way(&r->ways[0], r->address, sizeof(r->address));
	}
}

static int fill(struct ob__remote *r, const struct ob__remote_options *o)
{
	int rc = fill_security(r, o);
	rc = rc == 0 ? fill_ways(r, o) : rc;
	if (rc < 0) {
		return rc;
	}
	if (copy_text(&r->host, o->path != NULL ? NULL : o->host) < 0 ||
	    copy_text(&r->path, o->path) < 0 || copy_text(&r->role, o->role) < 0 ||
	    copy_text(&r->near, o->near) < 0) {
		return -ENOMEM;
	}
	r->port = o->port;
	r->added = o->added;
	r->node = o->node;
	r->expects = o->node;
	fill_address(r);
	return 0;
}

static struct ob__remote *new_remote(struct ob__links *ls, const struct ob__remote_options *o,
                                     int *err)
{
	struct ob__remote *r = calloc(1, sizeof(*r));
	if (r == NULL) {
		*err = -ENOMEM;
		return NULL;
	}
	r->links = ls;
	r->pause_ms = PAUSE_FIRST_MS;
	ob__list_init(&r->list);
	ob__timeout_init(&r->timer, on_timer, r);
	*err = fill(r, o);
	if (*err < 0) {
		remote_free(r);
		return NULL;
	}
	ob__list_append(&ls->remotes, &r->list);
	try_soon(r);
	return r;
}

static bool has_port(const struct ob__remote_options *o)
{
	return o->host != NULL && o->port >= 1 && o->port <= 65535;
}

static bool ways_ok(const struct ob__remote_options *o)
{
	bool ok = o->ways_len <= OB__TRANSPORT_WAYS;
	for (size_t i = 0; ok && i < o->ways_len; i++) {
		const struct ob__transport_way *w = &o->ways[i];
		ok = w->transport[0] != '\0' && strlen(w->transport) < OB__TRANSPORT_NAME &&
		     w->address[0] != '\0' && strlen(w->address) < OB__TRANSPORT_ADDRESS;
	}
	return ok;
}

int ob__links_dial(struct ob__links *ls, const struct ob__remote_options *remote)
{
	int rc;
	size_t added = 0;
	size_t addresses = remote->ways_len + (remote->path != NULL || remote->host != NULL);
	if (addresses != 1 || !ways_ok(remote) ||
	    (remote->path == NULL && remote->ways_len == 0 && !has_port(remote))) {
		return -EINVAL;
	}
	OB__LIST_EACH (it, &ls->remotes) {
		const struct ob__remote *r = OB__CONTAINER(it, struct ob__remote, list);
		if (r->node == 0 && same_address(r, remote)) {
			return -EEXIST;
		}
		added += r->added;
	}
	if (remote->added && added >= ADDED_MAX) {
		return -ENOSPC;
	}
	return new_remote(ls, remote, &rc) != NULL ? 0 : rc;
}

struct ob__remote *ob__links_dial_node(struct ob__links *ls,
                                       const struct ob__remote_options *remote, int *err)
{
	if (remote->node == 0 || remote->path != NULL || !ways_ok(remote) ||
	    (remote->host != NULL ? !has_port(remote)
	                          : remote->near == NULL && remote->ways_len == 0)) {
		*err = -EINVAL;
		return NULL;
	}
	return new_remote(ls, remote, err);
}

/* Those that waited for an entry of remote_ports may have to dial themselves now. */
static void wake_learned(struct ob__links *ls)
{
	OB__LIST_EACH (it, &ls->remotes) {
		struct ob__remote *r = OB__CONTAINER(it, struct ob__remote, list);
		if (r->node != 0 && r->state == COVERED) {
			try_soon(r);
		}
	}
}

void ob__links_undial(struct ob__remote *r)
{
	struct ob__link *l = r->link;
	remote_free(r);
	if (l == NULL) {
		return;
	}
	l->remote = NULL;
	if (l->state == OB__LINK_DIALING || l->state == OB__LINK_HELLO) {
		ob__link_close(l, OB__LINK_IDLE, "nobody wants it any more");
	}
}

static bool same_key(const struct ob__remote *r, const char *token)
{
	struct ob__link_key theirs;
	const struct ob__link_key *key = r->links->keys.dial;
	const struct ob__link_key *own = ob__remote_key(r);
	if (token != NULL) {
		key = ob__link_key_make(&theirs, "", token) == 0 ? &theirs : NULL;
	}
	bool same = key == own || (key != NULL && own != NULL &&
	                           CRYPTO_memcmp(key->key, own->key, sizeof(own->key)) == 0);
	OPENSSL_cleanse(&theirs, sizeof(theirs));
	return same;
}

static bool same_files(const struct ob__remote *r, const struct ob__link_files *files)
{
	return r->security != OB__LINK_CERT ||
	       (same_text(r->files[0], files->cert) && same_text(r->files[1], files->key) &&
	        same_text(r->files[2], files->ca));
}

static bool is_kept(const struct ob__remote *r, const struct ob__remote_options *keep, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (same_address(r, &keep[i])) {
			return same_text(r->role, keep[i].role) && same_key(r, keep[i].token) &&
			       r->security == security_of(r->links, &keep[i]) &&
			       same_files(r, &keep[i].files);
		}
	}
	return false;
}

static struct ob__remote *find_unkept(struct ob__links *ls, const struct ob__remote_options *keep,
                                      size_t n)
{
	OB__LIST_EACH (it, &ls->remotes) {
		struct ob__remote *r = OB__CONTAINER(it, struct ob__remote, list);
		if (r->node == 0 && !r->added && !is_kept(r, keep, n)) {
			return r;
		}
	}
	return NULL;
}

static void take_out(struct ob__remote *r, const char *why)
{
	struct ob__links *ls = r->links;
	struct ob__link *l = r->link;
	uint64_t id = r->expects != 0 ? r->expects : r->peer_id;
	remote_free(r);
	OB__LIST_EACH (it, &ls->remotes) {
		struct ob__remote *learned = OB__CONTAINER(it, struct ob__remote, list);
		learned->dropped |= id != 0 && learned->node == id;
	}
	if (l != NULL) {
		l->remote = NULL;
		ob__link_close(l, OB__LINK_REMOVED, "%s", why);
	}
}

void ob__links_retain(struct ob__links *ls, const struct ob__remote_options *keep, size_t n)
{
	struct ob__remote *r;
	while (!ls->freed && (r = find_unkept(ls, keep, n)) != NULL) {
		take_out(r, "taken out of remote_ports");
	}
	wake_learned(ls);
}

static struct ob__remote *find_named(struct ob__links *ls, const char *name, bool by_address)
{
	OB__LIST_EACH (it, &ls->remotes) {
		struct ob__remote *r = OB__CONTAINER(it, struct ob__remote, list);
		if (r->node == 0 && strcmp(by_address ? r->address : r->name, name) == 0) {
			return r;
		}
	}
	return NULL;
}

size_t ob__links_drop(struct ob__links *ls, const char *name)
{
	size_t n = 0;
	struct ob__remote *r = find_named(ls, name, true);
	bool by_address = r != NULL;
	while (!ls->freed && name[0] != '\0' && (r = find_named(ls, name, by_address)) != NULL) {
		take_out(r, "taken out by the operator");
		n++;
	}
	wake_learned(ls);
	return n;
}

bool ob__links_dials_role(const struct ob__links *ls, const char *role)
{
	OB__LIST_EACH (it, &ls->remotes) {
		if (same_text(OB__CONTAINER(it, struct ob__remote, list)->role, role)) {
			return true;
		}
	}
	return false;
}

const char *ob__remote_error(const struct ob__remote *r)
{
	return r->error;
}

const char *ob__remote_state(const struct ob__remote *r)
{
	if (r->unwanted) {
		return "refused";
	}
	if (r->missing) {
		return "no transport";
	}
	if (r->link == NULL) {
		return r->state == COVERED ? "covered"
		                           : (r->state == RESOLVING ? "resolving" : "waiting");
	}
	switch (r->link->state) {
	case OB__LINK_DIALING:
		return "connecting";
	case OB__LINK_HELLO:
		return "hello";
	case OB__LINK_UP:
		return "up";
	default:
		return "covered";
	}
}

void ob__links_each_remote(struct ob__links *ls, ob__remote_fn fn, void *arg)
{
	OB__LIST_EACH (it, &ls->remotes) {
		const struct ob__remote *r = OB__CONTAINER(it, struct ob__remote, list);
		if (r->node == 0) {
			fn(arg, r->address, r->role != NULL ? r->role : "", r->name,
			   ob__remote_state(r), r->error);
		}
	}
}
