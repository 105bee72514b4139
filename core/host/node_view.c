/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "base/err.h"
#include "host/client/conn.h"
#include "host/client/listen.h"
#include "host/cluster/names.h"
#include "host/cluster/policy.h"
#include "host/node.h"
#include "host/user/users.h"

bool ob__module_name_ok(const char *name)
{
	size_t len =
		strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-");

	return len > 0 && len < 64 && name[len] == '\0';
}

/* ---- sessions ---- */

int ob__node_session_text(const struct ob__node *node, const struct ob__session *s, char *out,
                          size_t cap)
{
	const char *name = ob__names_get(node, s->node);
	int len = name != NULL ? snprintf(out, cap, "%s-%016" PRIx64, name, s->seq)
	                       : snprintf(out, cap, "#%016" PRIx64 "-%016" PRIx64, s->node, s->seq);

	return len > 0 && (size_t)len < cap ? 0 : OB_E_INVAL;
}

struct ob__session *ob__node_session(const struct ob__node *node, const char *text)
{
	const char *dash = strrchr(text, '-');
	char name[OB__HELLO_NAME];
	char *end;

	if (dash == NULL || strlen(dash + 1) != 16 || (size_t)(dash - text) >= sizeof(name)) {
		return NULL;
	}
	memcpy(name, text, (size_t)(dash - text));
	name[dash - text] = '\0';
	uint64_t seq = strtoull(dash + 1, &end, 16);
	if (*end != '\0') {
		return NULL;
	}
	uint64_t id = name[0] == '#' ? strtoull(name + 1, NULL, 16) : ob__node_id(name);
	return ob__session_find(&node->sessions, id, seq);
}

/* Values that are no text are shown by their length. */
static json_t *attrs_json(const struct ob__session *s)
{
	json_t *attrs = json_object();

	for (size_t i = 0; s->more != NULL && i < s->more->attrs_len; i++) {
		const struct ob__session_attr *a = s->more->attrs[i];
		json_t *value = json_stringn((const char *)a->value, a->len);
		json_object_set_new(attrs, a->key,
		                    value != NULL ? value : json_sprintf("(%u bytes)", a->len));
	}
	return attrs;
}

static json_t *session_json(const struct ob__node *node, const struct ob__session *s)
{
	char text[OB_SESSION_TEXT];
	char peer[80] = "";
	const struct ob__conn *conn =
		s->conn != 0 ? ob__slab_get(&node->clients.conns, s->conn) : NULL;
	const struct ob__resume *away = ob__resume_get(node, s->conn);
	json_t *served = json_array();
	const char *user = ob__session_user(s);

	ob__node_session_text(node, s, text, sizeof(text));
	json_t *utf8 = json_string(user); /* NULL: it is no UTF-8 */
	json_decref(utf8);
	if (conn != NULL) {
		ob__conn_peer(conn, peer, sizeof(peer));
	}
	for (uint8_t i = 0; i < s->served_len; i++) {
		const char *name = ob__names_get(node, s->served[i]);
		char id[17];
		snprintf(id, sizeof(id), "%016" PRIx64, s->served[i]);
		json_array_append_new(served, json_string(name != NULL ? name : id));
	}
	json_t *state =
		node->states.on && s->conn != 0 ? json_string(ob__states_of(node, s)->name) : NULL;
	int number = (int)(s->handle & OB__SLAB_SLOT_MASK) + 1;

	return json_pack("{s:s, s:i, s:b, s:s, s:I, s:i, s:I, s:o, s:s, s:I, s:o, s:b, s:o*}", "id",
	                 text, "number", number, "local", s->conn != 0, "peer", peer, "messages",
	                 (json_int_t)s->messages, "in_flight",
	                 (int)(away != NULL   ? away->in_flight
	                       : conn != NULL ? conn->in_flight
	                                      : 0),
	                 "queued", (json_int_t)(conn != NULL ? conn->stream.queued : 0),
	                 "served_by", served, "user", utf8 != NULL ? user : "(no text)", "epoch",
	                 (json_int_t)(s->more != NULL ? s->more->epoch : 0), "attrs", attrs_json(s),
	                 "detached", away != NULL, "state", state);
}

json_t *ob__node_sessions_json(const struct ob__node *node, size_t limit, uint64_t after)
{
	const struct ob__slab *slab = &node->sessions.slab;
	json_t *list = json_array();
	uint32_t i = after < slab->fresh ? (uint32_t)after : slab->fresh;
	const struct ob__session *s;

	while ((s = ob__slab_next(slab, &i)) != NULL && json_array_size(list) < limit) {
		json_array_append_new(list, session_json(node, s));
	}
	return json_pack("{s:i, s:o, s:b}", "total", (int)slab->live, "sessions", list, "more",
	                 s != NULL);
}

/* ---- peers and routes ---- */

static json_t *peer_json(const struct ob__node *node, const struct ob__peer *p)
{
	uint64_t now = ob__loop_now(node->loop);
	char id[17];
	char tls[64] = "";

	snprintf(id, sizeof(id), "%016" PRIx64, p->who.id);
	if (p->link != NULL) {
		ob__stream_cipher(&p->link->stream, tls, sizeof(tls));
	}
	json_t *j = json_pack(
		"{s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:s, s:b, s:o}",
		"id", id, "name", p->who.name, "role", p->who.role, "link",
		p->link != NULL ? "up" : "down", "address", p->address, "direction",
		p->link == NULL   ? ""
		: p->link->dialer ? "dialled"
				  : "accepted",
		"since_s", (json_int_t)(p->since != 0 ? (now - p->since) / 1000 : 0), "incarnation",
		(json_int_t)p->who.incarnation, "rtt_us",
		(json_int_t)(p->link != NULL ? p->link->rtt_us : 0), "queued",
		(json_int_t)ob__peer_queued(p), "frames_in",
		(json_int_t)(p->link != NULL ? p->link->frames_in : 0), "frames_out",
		(json_int_t)(p->link != NULL ? p->link->frames_out : 0), "tls", tls, "last_error",
		p->last_error, "draining", p->draining, "methods",
		ob__methods_json(node, p->who.id));
	ob__cluster_peer_json(node, p, j);
	return j;
}

static void add_remote(void *arg, const char *address, const char *role, const char *name,
                       const char *state, const char *error)
{
	json_array_append_new(arg,
	                      json_pack("{s:s, s:s, s:s, s:s, s:s}", "address", address, "role",
	                                role, "name", name, "state", state, "error", error));
}

json_t *ob__node_peers_json(struct ob__node *node)
{
	json_t *peers = json_array();
	json_t *remotes = json_array();

	OB__LIST_EACH (it, &node->registry.peers) {
		json_array_append_new(
			peers, peer_json(node, OB__CONTAINER(it, struct ob__peer, all_link)));
	}
	ob__links_each_remote(node->links, add_remote, remotes);
	return json_pack("{s:o, s:o, s:o, s:o}", "peers", peers, "remote_ports", remotes,
	                 "directory", ob__cluster_json(node), "transports",
	                 ob__transports_json(node));
}

static json_t *spans_json(const struct ob__node *node, const struct ob__idrange_span *spans,
                          size_t len)
{
	json_t *list = json_array();

	for (size_t i = 0; i < len; i++) {
		const char *word = ob__registry_word(&node->registry, spans[i].value);
		json_array_append_new(list,
		                      json_pack("{s:I, s:I, s:s}", "low", (json_int_t)spans[i].lo,
		                                "high", (json_int_t)spans[i].hi, "role",
		                                word != NULL ? word : "?"));
	}
	return list;
}

json_t *ob__node_routes_json(const struct ob__node *node)
{
	const struct ob__idrange *t = node->router.table;
	const struct ob__idrange *m = node->router.served;

	return json_pack(
		"{s:o, s:o, s:o, s:o, s:o, s:o}", "served",
		spans_json(node, m != NULL ? m->flat : NULL, m != NULL ? m->flat_len : 0), "ranges",
		spans_json(node, t != NULL ? t->flat : NULL, t != NULL ? t->flat_len : 0),
		"special",
		spans_json(node, t != NULL ? t->special : NULL, t != NULL ? t->special_len : 0),
		"policies", ob__policy_json(node), "policy_ranges", ob__policy_ranges_json(node),
		"names", ob__msgnames_json(&node->msgnames));
}

/* ---- the node ---- */

/* The seed's id of a node, md5 of "host_port". */
static void seed_id(const struct ob__nodeconf *c, char out[33])
{
	char text[300];
	uint8_t digest[EVP_MAX_MD_SIZE];
	unsigned int len = 0;

	snprintf(text, sizeof(text), "%.250s_%d", c->host, c->rpc_port);
	out[0] = '\0';
	if (EVP_Digest(text, strlen(text), digest, &len, EVP_md5(), NULL) != 1) {
		return;
	}
	for (unsigned int i = 0; i < len && i < 16; i++) {
		snprintf(out + 2 * i, 3, "%02x", digest[i]);
	}
}

json_t *ob__node_json(const struct ob__node *node)
{
	const char *not_ready = ob__node_not_ready(node);
	char id[17];
	char seed[33];

	snprintf(id, sizeof(id), "%016" PRIx64, node->self.id);
	seed_id(node->conf, seed);
	return json_pack(
		"{s:s, s:s, s:s, s:s, s:I, s:i, s:I, s:s, s:s, s:s, s:i, s:i, s:i, s:i, s:o, s:o, s:o}",
		"name", node->self.name, "role", node->self.role, "id", id, "seed_id", seed,
		"incarnation", (json_int_t)node->self.incarnation, "pid", (int)getpid(), "uptime_s",
		(json_int_t)((ob__loop_now(node->loop) - node->started_ms) / 1000), "version",
		PACKAGE_VERSION, "state", not_ready != NULL ? not_ready : "running", "config",
		node->conf->path, "sessions", (int)node->sessions.slab.live, "connections",
		(int)node->clients.conns.live, "pending", (int)node->pendings.slab.live, "requests",
		(int)node->dispatch.reqs.live, "listeners", ob__listens_json(node), "methods",
		ob__methods_own_json(node), "drain", ob__drain_json(node));
}

int ob__node_secret_equal(const char *secret, const char *given)
{
	uint8_t a[EVP_MAX_MD_SIZE];
	uint8_t b[EVP_MAX_MD_SIZE];

	if (secret == NULL || *secret == '\0') {
		return 0;
	}
	given = given != NULL ? given : "";
	if (EVP_Digest(secret, strlen(secret), a, NULL, EVP_sha256(), NULL) != 1 ||
	    EVP_Digest(given, strlen(given), b, NULL, EVP_sha256(), NULL) != 1) {
		return 0;
	}
	return CRYPTO_memcmp(a, b, 32) == 0;
}

int ob__node_secret_check(const struct ob__node *node, const char *path, const char *given)
{
	const char *secret = strcmp(path, "http.token") == 0
	                             ? node->conf->http_token
	                             : ob__conf_str(node->conf->root, path, NULL);

	return secret != NULL ? ob__node_secret_equal(secret, given) : OB_E_NOT_FOUND;
}

/* ---- gauges ---- */

static double gauge_u32(void *arg)
{
	return *(const uint32_t *)arg;
}

static double gauge_size(void *arg)
{
	return (double)*(const size_t *)arg;
}

static double gauge_u64(void *arg)
{
	return (double)*(const uint64_t *)arg;
}

static double gauge_log_dropped(void *arg)
{
	struct ob__log_stats stats;

	(void)arg;
	ob__log_get_stats(&stats);
	return (double)stats.dropped;
}

static double gauge_log_errors(void *arg)
{
	struct ob__log_stats stats;

	(void)arg;
	ob__log_get_stats(&stats);
	return (double)stats.write_errors;
}

#ifdef HAVE_MALLINFO2
static double gauge_heap(void *arg)
{
	struct mallinfo2 m = mallinfo2();

	(void)arg;
	return (double)(m.uordblks + m.hblkhd);
}

static double gauge_heap_held(void *arg)
{
	struct mallinfo2 m = mallinfo2();

	(void)arg;
	return (double)(m.arena + m.hblkhd);
}
#endif

static double gauge_chunks(void *arg)
{
	return (double)*(const uint32_t *)arg * (sizeof(struct ob__chunk) + OB__CHUNK_SIZE);
}

static double gauge_uptime(void *arg)
{
	const struct ob__node *node = arg;

	return (double)(ob__loop_now(node->loop) - node->started_ms) / 1000.0;
}

static double gauge_peers_up(void *arg)
{
	const struct ob__node *node = arg;
	int up = 0;

	OB__LIST_EACH (it, &node->registry.peers) {
		up += OB__CONTAINER(it, struct ob__peer, all_link)->link != NULL;
	}
	return up;
}

/* Where the C library says it. */
static void heap_gauges(struct ob__stats *s)
{
#ifdef HAVE_MALLINFO2
	ob__stat_gauge(s, "obhost_heap_bytes", NULL, "Memory in use on the heap.", gauge_heap,
	               NULL);
	ob__stat_gauge(s, "obhost_heap_held_bytes", NULL,
	               "Memory that the heap has of the system, in use or not.", gauge_heap_held,
	               NULL);
#else
	(void)s;
#endif
}

void ob__node_gauges(struct ob__node *node)
{
	struct ob__stats *s = node->stats;

	ob__stat_gauge(s, "obhost_uptime_seconds", NULL, "Since the start.", gauge_uptime, node);
	ob__stat_gauge(s, "obhost_connections", NULL, "Client connections.", gauge_u32,
	               &node->clients.conns.live);
	ob__stat_gauge(s, "obhost_sessions", NULL, "Sessions known.", gauge_u32,
	               &node->sessions.slab.live);
	ob__stat_gauge(s, "obhost_pending", NULL, "Requests and calls that wait for another node.",
	               gauge_u32, &node->pendings.slab.live);
	ob__stat_gauge(s, "obhost_requests", NULL, "Requests that handlers of this node hold.",
	               gauge_u32, &node->dispatch.reqs.live);
	ob__stat_gauge(s, "obhost_held_bytes", NULL, "Bytes waiting for a node to come up.",
	               gauge_size, &node->dispatch.held_bytes);
	ob__stat_gauge(s, "obhost_peers_up", NULL, "Nodes with a working link.", gauge_peers_up,
	               node);
	ob__stat_gauge(s, "obhost_bytes_in", NULL, "Bytes read from sockets.", gauge_u64,
	               &node->streams.bytes_in);
	ob__stat_gauge(s, "obhost_bytes_out", NULL, "Bytes given to sockets.", gauge_u64,
	               &node->streams.bytes_out);
	ob__stat_gauge(s, "obhost_output_chunk_bytes", NULL,
	               "Memory for what is sent, in use or kept for later; a part of the heap.",
	               gauge_chunks, &node->streams.chunks);
	ob__stat_gauge(s, "obhost_syscalls_out", NULL, "Write calls made.", gauge_u64,
	               &node->streams.syscalls_out);
	ob__stat_gauge(s, "obhost_replies_stale", NULL, "Replies that came too late.", gauge_u64,
	               &node->pendings.stale);
	ob__stat_gauge(s, "obhost_deadlines", NULL, "Requests and calls that ended by deadline.",
	               gauge_u64, &node->pendings.deadlines);
	ob__users_gauges(node);
	ob__hostgroups_gauges(node);
	heap_gauges(s);
	ob__stat_gauge(s, "obhost_log_dropped", NULL, "Log lines dropped.", gauge_log_dropped,
	               NULL);
	ob__stat_gauge(s, "obhost_log_write_errors", NULL,
	               "Times that the disk did not take log lines.", gauge_log_errors, NULL);
}
