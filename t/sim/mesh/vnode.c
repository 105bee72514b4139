/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "t/sim/mesh/vnode.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/client/client.h"
#include "host/node_mesh.h"
#include "host/sdk/sdk.h"
#include "host/session/end.h"
#include "host/swap/swap.h"
#include "host/user/users.h"
#include "mesh/handles.h"
#include "mesh/link_priv.h"
#include "t/sim/mesh/virtual.h"

#define CLOSE_TURNS 1000

static struct vnode *from_node(const struct ob__node *node)
{
	return (struct vnode *)(uintptr_t)node;
}

struct vnode *vnode_of(const struct sim_node *n)
{
	return n->user;
}

struct vnode *vnode_of_ctx(ob_ctx *ctx)
{
	return from_node(((struct ob__gen *)ctx)->node);
}

/* ---------------------------------------------------------------- what is in place of files */

static void fill_conf(struct vnode *v)
{
	v->conf = (struct ob__nodeconf){
		.root = json_object(),
		.name = v->node.name,
		.role = v->node.role,
		.host = v->sim->host,
		.call_timeout_ms = 5000,
		.session_closed_id = 100130,
		.bind_timeout_ms = 5000,
		.rpc_port = VNODE_PORT,
		.rpc_token = "a token of some length",
		.reconnect_ms = 5000,
		.sticky_wait_ms = 3000,
		.rpc_unix = true,
		.rpc_address = v->sim->host,
		.rpc_address_port = VNODE_PORT,
		.link_idle_ms = 3000,
		.weight = OB__MEMBER_WEIGHT,
		.key_ms = 60000,
		.limits =
			{
				.connections = 1000,
				.sessions = 100000,
				.requests = 100000,
				.in_flight = 1024,
				.message = 256u << 10,
				.client_queue = 4u << 20,
				.link_queue = 16u << 20,
				.held = 8u << 20,
				.keys = 100000,
				.keys_bytes = 32u << 20,
				.users = 100000,
			},
	};
	ob__idrange_init(&v->conf.sticky);
	ob__idrange_init(&v->listen.no_state);
}

/* By whole seconds, as the host's. */
static uint64_t next_incarnation(struct sim_node *n)
{
	uint64_t wall = sim_wall_ms(n);
	uint64_t least = n->kept != 0 ? (n->kept / 1000 + 1) * 1000 : 0;
	n->kept = wall > least ? wall : least;
	n->incarnation = n->kept;
	return n->kept;
}

void ob__node_keep_incarnation(const char *dir, uint64_t incarnation)
{
	(void)dir;
	sim_current->kept = incarnation;
	sim_current->incarnation = incarnation;
}

/* ---------------------------------------------------------------- life */

struct vnode *vnode_new(struct sim_node *n, const char *role, const struct vnode_ops *ops)
{
	struct vnode *v = calloc(1, sizeof(*v));
	if (v == NULL) {
		abort();
	}
	struct ob__node *node = &v->node;
	n->user = v;
	v->sim = n;
	v->ops = ops;
	v->takes_clients = true;
	node->conf = &v->conf;
	node->phase = OB__NODE_STARTING;
	node->lock_fd = -1;
	node->loop = n->loop;
	node->started_ms = ob__loop_now(n->loop);
	ob__list_init(&node->modules);
	snprintf(node->name, sizeof(node->name), "n%u", n->index);
	snprintf(node->role, sizeof(node->role), "%s", role);
	snprintf(node->dir, sizeof(node->dir), "/run/%s", node->name);
	fill_conf(v);
	node->self = (struct ob__identity){
		.id = ob__node_id(node->name),
		.incarnation = next_incarnation(n),
		.name = node->name,
		.role = node->role,
		.role_id = ob__fnv1a32(role),
	};
	node->stats = ob__stats_new();
	ob__streams_init(&node->streams, n->loop);
	n->net = &node->streams;
	return v;
}

static void on_caller(struct ob__listener *l, uv_stream_t *server, void *arg)
{
	struct ob__node *node = arg;
	(void)l;
	ob__links_accept(node->links, server);
}

static void start_clients(struct vnode *v)
{
	struct ob__clients *c = &v->node.clients;
	ob__slab_init(&c->conns, sizeof(struct ob__conn), OB__KIND_CONN,
	              v->conf.limits.connections);
	ob__list_init(&c->opened_listeners);
	ob__list_init(&c->link_paused);
	ob__broadcasts_init(&v->node);
	v->from.node = &v->node;
	v->from.conf = &v->listen;
}

static void start_module(struct vnode *v)
{
	struct ob__module *m =
		ob__module_new(&v->node, "program", NULL, json_object(), false, false);
	struct ob__gen *g = m != NULL ? ob__gen_new(&v->node, m) : NULL;
	if (g == NULL) {
		abort();
	}
	g->state = OB__GEN_ACTIVE;
	g->number = 1;
	snprintf(g->version, sizeof(g->version), "1.0.0");
	m->active = g;
	v->gen = g;
}

void vnode_start(struct vnode *v)
{
	struct ob__node *node = &v->node;
	struct sim_world *w = v->sim->world;
	const struct ob__listener_options rpc = {.host = v->sim->host, .port = VNODE_PORT};
	char err[128] = "";
	if (ob__mesh_start(node) != 0) {
		sim_fail(w, "%s: the mesh does not start", node->name);
	}
	node->cluster.dialer.machine = v->sim->machine + 1;
	ob__slots_init(&node->slots, node->self.incarnation);
	start_clients(v);
	if (ob__drain_init(node) != 0 || ob__dispatch_init(node) != 0) {
		sim_fail(w, "%s: the host does not start", node->name);
	}
	start_module(v);
	node->link_listener =
		ob__listener_open(node->loop, &rpc, on_caller, node, err, sizeof(err));
	if (node->link_listener == NULL) {
		sim_fail(w, "%s: %s", node->name, err);
	}
	ob__cluster_listen(node);
	ob__listener_start(node->link_listener);
	ob__cluster_accept(node);
	ob__cluster_describe(node);
	node->phase = OB__NODE_RUNNING;
}

/* Those that are still open: a node that dies closes none. */
static void free_conns(struct ob__node *node)
{
	struct ob__conn *conn;

	for (uint32_t pos = 0; (conn = ob__slab_next(&node->clients.conns, &pos)) != NULL;) {
		free(conn->way);
	}
	ob__slab_destroy(&node->clients.conns);
}

/* Behind the loop's own end, in which what was deferred still runs. */
static void bury(void *arg)
{
	struct vnode *v = arg;
	struct ob__node *node = &v->node;
	ob__ignored_free(&node->ignored);
	ob__permits_free(&node->permits);
	ob__router_free(&node->router);
	ob__registry_free(&node->registry);
	ob__broadcasts_free(node);
	free_conns(node);
	ob__slots_free(&node->slots);
	ob__stats_free(node->stats);
	ob__idrange_free(&v->conf.sticky);
	ob__idrange_free(&v->listen.no_state);
	json_decref((json_t *)(uintptr_t)v->conf.root);
	free(v);
}

static void end_module(struct vnode *v)
{
	struct ob__module *m = v->gen->module;
	ob__dispatch_abandon(v->gen);
	v->gen->state = OB__GEN_STOPPED;
	ob__slots_deactivate(&v->node.slots, v->gen);
	ob__slots_drop(&v->node.slots, v->gen);
	(void)ob__slots_rebuild(&v->node.slots, &v->node.modules);
	ob__gen_free(v->gen);
	ob__module_free(m);
}

void vnode_halt(struct vnode *v)
{
	struct ob__node *node = &v->node;
	v->dying = true;
	node->phase = OB__NODE_STOPPING;
	end_module(v);
	ob__dispatch_free(node);
	ob__listener_close(node->link_listener);
	ob__cluster_unlisten(node);
	ob__drain_free(node);
	ob__mesh_free(node);
	for (int i = 0; i < CLOSE_TURNS && node->streams.open > 0; i++) {
		ob__loop_turn(node->loop);
	}
	ob__streams_free(&node->streams);
	sim_at(v->sim->world, 0, bury, v);
}

void vnode_dial(struct vnode *v, const struct sim_node *to, const char *role)
{
	const struct ob__remote_options o = {.host = to->host, .port = VNODE_PORT, .role = role};
	ob__links_dial(v->node.links, &o);
}

static void tapped(void *arg, struct ob__link *link, struct ob__frame *f, uint8_t *raw)
{
	struct vnode *v = arg; /* the node is its first member */
	v->tap(v, f);
	v->heard(arg, link, f, raw);
}

void vnode_tap(struct vnode *v, void (*fn)(struct vnode *v, const struct ob__frame *f))
{
	struct ob__links_ops *ops = &v->node.links->ops;
	v->tap = fn;
	v->heard = ops->on_frame;
	ops->on_frame = tapped;
}

/* ---------------------------------------------------------------- the module */

static struct ob__reg *put(struct vnode *v, enum ob__slot_kind kind, uint32_t id, const char *name)
{
	const struct ob__slot_key key = {.kind = kind, .id = id, .name = name};
	struct ob__reg *reg = NULL;
	if (ob__slot_register(&v->node.slots, v->gen, &key, &reg) != 0) {
		sim_fail(v->sim->world, "%s: a slot is taken", v->node.name);
	}
	return reg;
}

void vnode_handler(struct vnode *v, enum ob__slot_kind kind, uint32_t id, const char *method,
                   ob_handler_fn fn)
{
	put(v, kind, id, method)->fn.handler = fn;
}

void vnode_decider(struct vnode *v, enum ob__slot_kind kind, ob_decide_fn fn)
{
	put(v, kind, 0, NULL)->fn.decide = fn;
}

void vnode_event(struct vnode *v, int event, ob_event_fn fn)
{
	struct ob__reg *reg = put(v, OB__SLOT_EVENT, 0, NULL);
	reg->fn.event = fn;
	reg->priority = event;
	if (ob__slots_rebuild(&v->node.slots, &v->node.modules) != 0) {
		abort();
	}
}

/* ---------------------------------------------------------------- clients: host/client/conn.h */

struct ob__conn *ob__conn_get(struct ob__node *node, uint64_t handle)
{
	struct ob__conn *conn = ob__slab_get(&node->clients.conns, handle);
	return conn != NULL && !conn->stream.closing ? conn : NULL;
}

uint64_t vnode_connect(struct vnode *v, void *user)
{
	struct ob__node *node = &v->node;
	uint64_t handle;
	struct ob__conn *conn =
		v->takes_clients ? ob__slab_alloc(&node->clients.conns, &handle) : NULL;
	if (conn == NULL) {
		return 0;
	}
	conn->node = node;
	conn->from = &v->from;
	conn->codec_state = user;
	ob__list_init(&conn->paused_link);
	conn->broadcast = node->clients.broadcasts.last;
	conn->session = ob__session_open(&node->sessions, handle, ob__loop_now(node->loop));
	if (conn->session == NULL) {
		ob__slab_free(&node->clients.conns, conn);
		return 0;
	}
	return handle;
}

bool vnode_send(struct vnode *v, uint64_t handle, uint32_t id, uint64_t cookie, const void *data,
                size_t len)
{
	struct ob__conn *conn = ob__conn_get(&v->node, handle);
	const ob_packet packet = {
		.size = sizeof(packet),
		.kind = OB_PACKET_MESSAGE,
		.id = id,
		.cookie = cookie,
		.data = data,
		.len = len,
	};
	if (conn == NULL || conn->paused != 0) {
		return false;
	}
	ob__dispatch_client(&v->node, conn, &packet);
	return true;
}

struct burial {
	struct ob__node *node;
	uint64_t conn;
};

static void bury_conn(void *arg)
{
	struct burial *b = arg;
	struct ob__conn *conn = ob__slab_get(&b->node->clients.conns, b->conn);
	if (conn != NULL) {
		free(conn->way);
		ob__slab_free(&b->node->clients.conns, conn);
	}
	free(b);
}

/* The session ends at once; the memory goes in a later turn, as a socket's would. */
static void leave(struct ob__conn *conn, uint16_t code)
{
	struct vnode *v = from_node(conn->node);
	struct ob__session *s = conn->session;
	struct burial *b = malloc(sizeof(*b));
	if (b == NULL) {
		abort();
	}
	*b = (struct burial){conn->node, ob__conn_handle(conn)};
	conn->stream.closing = true;
	conn->session = NULL;
	ob__list_del(&conn->paused_link);
	ob__session_closed(conn->node, s);
	ob__loop_defer(conn->node->loop, bury_conn, b);
	if (!v->dying) {
		v->ops->on_closed(v, conn->codec_state, code);
	}
}

void vnode_hang_up(struct vnode *v, uint64_t handle)
{
	struct ob__conn *conn = ob__conn_get(&v->node, handle);
	if (conn != NULL) {
		leave(conn, OB__WS_NO_STATUS);
	}
}

void ob__conn_close(struct ob__conn *conn, uint16_t code, const char *reason, const char *counted)
{
	(void)reason;
	(void)counted;
	if (!conn->stream.closing) {
		leave(conn, code);
	}
}

void ob__conn_dismiss(struct ob__conn *conn, uint16_t code, const char *reason, const char *counted)
{
	ob__conn_catch_up(conn);
	ob__conn_close(conn, code, reason, counted);
}

void ob__conn_reply(struct ob__conn *conn, uint32_t id, uint64_t cookie, int code, const char *text,
                    const void *data, size_t len)
{
	(void)id;
	(void)text;
	if (conn != NULL && !conn->stream.closing && !from_node(conn->node)->dying) {
		struct vnode *v = from_node(conn->node);
		v->ops->on_reply(v, conn->codec_state, cookie, code, data, len);
	}
}

/* Nothing is queued here, so no client is slow; but for broadcasts, which take their turns. */
int ob__conn_give_next(struct ob__conn *conn, const ob_packet *p, struct ob__fanout *fo)
{
	struct vnode *v = from_node(conn->node);
	(void)fo;
	v->ops->on_push(v, conn->codec_state, p->id, p->data, p->len);
	return 0;
}

void ob__conn_catch_up(struct ob__conn *conn)
{
	if (conn->broadcast != conn->node->clients.broadcasts.last) {
		ob__broadcasts_catch_up(conn);
	}
}

int ob__conn_give(struct ob__conn *conn, const ob_packet *p, struct ob__fanout *fo)
{
	ob__conn_catch_up(conn);
	return ob__conn_give_next(conn, p, fo);
}

int ob__conn_push(struct ob__node *node, uint64_t handle, uint32_t id, const void *data, size_t len)
{
	struct ob__conn *conn = ob__conn_get(node, handle);
	ob_packet p = {.size = sizeof(p), .id = id, .data = data, .len = len};
	return conn != NULL ? ob__conn_give(conn, &p, NULL) : OB_E_STALE;
}

/* No client here says hello: its session ends with its connection. */
struct ob__conn *ob__resume_conn(struct ob__node *node, struct ob__conn *conn,
                                 const struct ob__session *session)
{
	(void)node;
	(void)session;
	return conn;
}

struct ob__resume *ob__resume_get(const struct ob__node *node, uint64_t conn_of_session)
{
	(void)node;
	(void)conn_of_session;
	return NULL;
}

void ob__resume_claimed(struct ob__node *node, const struct ob__session *s, int code)
{
	(void)node;
	(void)s;
	(void)code;
}

int ob__resume_push(struct ob__node *node, uint64_t conn_of_session, const ob_packet *p)
{
	(void)node;
	(void)conn_of_session;
	(void)p;
	return OB_E_STALE;
}

bool ob__session_is_away(const struct ob__node *node, uint64_t session)
{
	(void)node;
	(void)session;
	return false;
}

void ob__resumes_push_all(struct ob__node *node, const ob_packet *p)
{
	(void)node;
	(void)p;
}

void ob__resume_request_ended(struct ob__resume *r)
{
	(void)r;
}

bool ob__resumes_frame(struct ob__node *node, const struct ob__frame *f)
{
	(void)node;
	(void)f;
	return false;
}

void ob__resume_never(struct ob__conn *conn)
{
	(void)conn;
}

void ob__resume_end(struct ob__node *node, uint64_t conn_of_session)
{
	(void)node;
	(void)conn_of_session;
}

void ob__resume_reply(struct ob__resume *r, uint32_t id, uint64_t cookie, int code,
                      const char *text, const void *data, size_t len)
{
	(void)r;
	(void)id;
	(void)cookie;
	(void)code;
	(void)text;
	(void)data;
	(void)len;
}

void ob__conn_begin(struct ob__conn *conn)
{
	conn->in_flight++;
}

void ob__conn_ended(struct ob__conn *conn)
{
	if (conn != NULL && conn->in_flight-- == 0) {
		sim_fail(sim_current->world, "%s: a client's requests end that were never begun",
		         conn->node->name);
	}
}

void ob__conn_pause(struct ob__conn *conn, enum ob__conn_pause why, bool pause)
{
	conn->paused = pause ? conn->paused | why : conn->paused & ~(uint32_t)why;
}

void ob__conn_pause_link(struct ob__conn *conn, const struct ob__peer *peer)
{
	if ((conn->paused & OB__PAUSE_LINK) == 0) {
		conn->paused |= OB__PAUSE_LINK;
		conn->paused_by = peer;
		ob__list_append(&conn->node->clients.link_paused, &conn->paused_link);
	}
}

void ob__clients_link_drained(struct ob__node *node, const struct ob__peer *peer)
{
	OB__LIST_EACH_SAFE (it, &node->clients.link_paused) {
		struct ob__conn *conn = OB__CONTAINER(it, struct ob__conn, paused_link);
		if (conn->paused_by == peer) {
			ob__list_del(&conn->paused_link);
			conn->paused &= ~(uint32_t)OB__PAUSE_LINK;
		}
	}
}

/* ---------------------------------------------------------------- what else reaches out */

void ob__clients_unlisten(struct ob__node *node)
{
	from_node(node)->takes_clients = false;
}

int ob__clients_relisten(struct ob__node *node, char *err, size_t cap)
{
	(void)node;
	(void)err;
	(void)cap;
	return 0;
}

int ob__clients_start(struct ob__node *node)
{
	from_node(node)->takes_clients = true;
	return 0;
}

void ob__node_stop(struct ob__node *node)
{
	from_node(node)->stopped = true;
	ob__cluster_leave(node);
}

void ob__node_tell(struct ob__node *node, enum ob__notify_state state, const char *more)
{
	(void)node;
	(void)state;
	(void)more;
}

int ob__node_session_text(const struct ob__node *node, const struct ob__session *s, char *out,
                          size_t cap)
{
	(void)node;
	snprintf(out, cap, "%" PRIx64 "-%" PRIx64, s->node, s->seq);
	return 0;
}

/* No module calls it: its functions are the program's. */
const ob_api ob__sdk_api = {0};

/* Its one generation never drains. */
void ob__swap_drained(struct ob__gen *g)
{
	(void)g;
}

int ob__http_reply(struct ob__http_server *srv, uint64_t handle, int status, const char *type,
                   const void *body, size_t len)
{
	(void)srv;
	(void)handle;
	(void)status;
	(void)type;
	(void)body;
	(void)len;
	return 0;
}
