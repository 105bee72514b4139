/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Tests only.  Nodes on one loop that link over loopback, and a puppet: the other end of a link by
 * hand, over a plain socket.  Whatever waits turns the loop and gives up at a deadline.
 */

#ifndef OB__LINK_RIG_H
#define OB__LINK_RIG_H

#include <arpa/inet.h>
#include <CUnit/CUnit.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <obhost/obhost.h>

#include "base/log.h"
#include "mesh/link.h"
#include "tap.h"

#define RIG_TOKEN       "a token of some length"
#define RIG_PATIENCE_MS 20000u

struct rig_node {
	char name[OB__HELLO_NAME];
	struct ob__registry registry;
	struct ob__stats *stats;
	struct ob__links *links;
	struct ob__listener *listener;
	int port;
	int ups;
	int downs;
	int lost;
	int drained;
	int gaps;
	uint32_t frames;
	bool in_order;  /* as long as each frame's call id is one above the one before */
	uint64_t sent;  /* numbered frames */
	uint64_t heard; /* the last one's number */
	struct ob__frame last;
	uint8_t last_payload[256];
	void (*on_frame)(struct rig_node *n, struct ob__link *link, struct ob__frame *f,
	                 uint8_t *raw);
	void (*on_lost)(struct rig_node *n, struct ob__link *link);
};

static struct ob__loop *rig_loop;
static struct ob__streams rig_streams;

static inline void rig_begin(void)
{
	ob__log_set_level(getenv("RIG_LOG") != NULL ? OB_LOG_DEBUG : OB_LOG_ERROR + 1);
	rig_loop = ob__loop_new();
	CU_ASSERT_PTR_NOT_NULL_FATAL(rig_loop);
	CU_ASSERT_EQUAL_FATAL(ob__streams_init(&rig_streams, rig_loop), 0);
}

/* Turns until `condition`; true if it came. */
#define RIG_UNTIL(condition)                                                        \
	({                                                                          \
		uint64_t rig_end_ = ob__loop_hrtime_us() + RIG_PATIENCE_MS * 1000u; \
		while (!(condition) && ob__loop_hrtime_us() < rig_end_) {           \
			ob__loop_turn(rig_loop);                                    \
		}                                                                   \
		(condition);                                                        \
	})

static inline void rig_turn_ms(uint64_t ms)
{
	uint64_t end = ob__loop_hrtime_us() + ms * 1000;
	while (ob__loop_hrtime_us() < end) {
		ob__loop_turn(rig_loop);
	}
}

static inline void rig_end(void)
{
	CU_ASSERT_TRUE(RIG_UNTIL(rig_streams.open == 0));
	ob__streams_free(&rig_streams);
	CU_ASSERT_EQUAL(ob__loop_free(rig_loop), 0);
}

/* ---------------------------------------------------------------- nodes */

static inline void rig_on_up(void *arg, struct ob__peer *peer)
{
	CU_ASSERT_PTR_NOT_NULL(peer->link);
	((struct rig_node *)arg)->ups++;
}

static inline void rig_on_down(void *arg, struct ob__peer *peer, const char *reason)
{
	CU_ASSERT_PTR_NULL(peer->link);
	CU_ASSERT_TRUE(reason[0] != '\0');
	((struct rig_node *)arg)->downs++;
}

static inline void rig_on_frame(void *arg, struct ob__link *link, struct ob__frame *f, uint8_t *raw)
{
	struct rig_node *n = arg;
	n->frames++;
	n->last = *f;
	if (f->payload_len <= sizeof(n->last_payload) && f->payload_len > 0) {
		memcpy(n->last_payload, f->payload, f->payload_len);
	}
	n->in_order = n->in_order && f->call == n->heard + 1;
	n->heard = f->call;
	if (n->on_frame != NULL) {
		n->on_frame(n, link, f, raw);
	}
}

static inline void rig_on_lost(void *arg, struct ob__link *link)
{
	struct rig_node *n = arg;
	n->lost++;
	if (n->on_lost != NULL) {
		n->on_lost(n, link);
	}
}

static inline void rig_on_drained(void *arg, struct ob__peer *peer)
{
	CU_ASSERT_FALSE(ob__peer_congested(peer));
	((struct rig_node *)arg)->drained++;
}

static inline void rig_on_gap(void *arg, struct ob__peer *peer)
{
	CU_ASSERT_PTR_NOT_NULL(peer->link);
	((struct rig_node *)arg)->gaps++;
}

static inline void rig_on_accept(struct ob__listener *l, uv_stream_t *server, void *arg)
{
	CU_ASSERT_PTR_NOT_NULL(l);
	ob__links_accept(((struct rig_node *)arg)->links, server);
}

/* Port 0: any. */
static inline void rig_start(struct rig_node *n, const char *name, const char *role,
                             uint64_t incarnation, int port,
                             const struct ob__links_options *options)
{
	static const struct ob__links_ops ops = {
		.on_up = rig_on_up,
		.on_down = rig_on_down,
		.on_frame = rig_on_frame,
		.on_lost = rig_on_lost,
		.on_drained = rig_on_drained,
		.on_gap = rig_on_gap,
	};
	struct ob__identity self = {.incarnation = incarnation, .name = name, .role = role};
	struct ob__links_options o = options != NULL ? *options : (struct ob__links_options){0};
	if (o.token == NULL && o.roles == NULL) {
		o.token = RIG_TOKEN;
	} else if (o.token != NULL && o.token[0] == '\0') {
		o.token = NULL; /* none at all */
	}
	memset(n, 0, sizeof(*n));
	n->in_order = true;
	snprintf(n->name, sizeof(n->name), "%s", name);
	self.id = ob__node_id(name);
	CU_ASSERT_EQUAL_FATAL(ob__registry_init(&n->registry, &self), 0);
	n->stats = ob__stats_new();
	n->links = ob__links_new(&rig_streams, &n->registry, n->stats, &o, &ops, n);
	CU_ASSERT_PTR_NOT_NULL_FATAL(n->links);
	struct ob__listener_options lo = {.host = "127.0.0.1", .port = port};
	char err[256] = "";
	n->listener = ob__listener_open(rig_loop, &lo, rig_on_accept, n, err, sizeof(err));
	CU_ASSERT_PTR_NOT_NULL_FATAL(n->listener);
	CU_ASSERT_EQUAL_FATAL(ob__listener_start(n->listener), 0);
	n->port = ob__listener_port(n->listener);
}

static inline void rig_stop(struct rig_node *n)
{
	ob__links_free(n->links);
	ob__listener_close(n->listener);
	ob__registry_free(&n->registry);
	ob__stats_free(n->stats);
	n->links = NULL;
}

static inline void rig_dial(struct rig_node *n, int port)
{
	struct ob__remote_options o = {.host = "127.0.0.1", .port = port};
	CU_ASSERT_EQUAL(ob__links_dial(n->links, &o), 0);
}

static inline uint64_t rig_closed(const struct rig_node *n, const char *reason)
{
	char label[64];
	snprintf(label, sizeof(label), "reason=\"%s\"", reason);
	return *ob__stat_counter(n->stats, "obhost_link_closed_total", label,
	                         "Links between nodes that ended, by reason.");
}

static inline struct ob__peer *rig_peer(const struct rig_node *n, const char *name)
{
	return ob__registry_get(&n->registry, ob__node_id(name));
}

static inline struct ob__link *rig_link(const struct rig_node *n, const char *name)
{
	const struct ob__peer *p = rig_peer(n, name);
	return p == NULL ? NULL : p->link;
}

/* Sends the next numbered frame. */
static inline int rig_send(struct rig_node *n, const char *to, const void *payload, size_t len)
{
	struct ob__frame f = {
		.kind = OB__FRAME_REQUEST,
		.id = 1000,
		.call = n->sent + 1,
		.payload = payload,
		.payload_len = (uint32_t)len,
	};
	int rc = ob__peer_send(n->links, rig_peer(n, to), &f);
	n->sent += rc == 0;
	return rc;
}

/* The states of a node's dial entries, one letter each (covered is C), and the last error. */
struct rig_remotes {
	char states[16];
	char name[OB__HELLO_NAME];
	char error[128];
};

static inline void rig_each_remote(void *arg, const char *address, const char *role,
                                   const char *name, const char *state, const char *error)
{
	struct rig_remotes *r = arg;
	CU_ASSERT_TRUE(address[0] != '\0' && role != NULL);
	size_t n = strlen(r->states);
	r->states[n] = strcmp(state, "covered") == 0 ? 'C' : state[0];
	r->states[n + 1] = '\0';
	snprintf(r->name, sizeof(r->name), "%s", name);
	snprintf(r->error, sizeof(r->error), "%s", error);
}

static inline struct rig_remotes rig_remotes(const struct rig_node *n)
{
	struct rig_remotes r = {0};
	ob__links_each_remote(n->links, rig_each_remote, &r);
	return r;
}

static inline bool rig_states_are(const struct rig_node *n, const char *states)
{
	return strcmp(rig_remotes(n).states, states) == 0;
}

/* ---------------------------------------------------------------- the puppet */

struct puppet {
	int fd;
	bool dialer;
	uint8_t key[32];
	struct ob__hello mine;
	struct ob__hello theirs;
	uint8_t in[1u << 17];
	size_t in_len;
	size_t taken; /* of the frame that was heard last */
};

static inline void puppet_init(struct puppet *p, int fd, const char *name, const char *role,
                               uint64_t incarnation, const char *token)
{
	memset(p, 0, offsetof(struct puppet, in));
	p->in_len = 0;
	p->taken = 0;
	p->fd = fd;
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	ob__hello_key(token, p->key);
	p->mine =
		(struct ob__hello){.incarnation = incarnation, .version_min = 1, .version_max = 1};
	p->mine.id = ob__node_id(name);
	snprintf(p->mine.name, sizeof(p->mine.name), "%s", name);
	snprintf(p->mine.role, sizeof(p->mine.role), "%s", role);
	ob__hello_nonce(p->mine.nonce);
}

/* A plain socket that is connected to the port. */
static inline int puppet_socket(int port, int rcvbuf)
{
	struct sockaddr_in a = {.sin_family = AF_INET,
	                        .sin_port = htons((uint16_t)port),
	                        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	if (rcvbuf > 0) {
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &rcvbuf, sizeof(rcvbuf));
	}
	CU_ASSERT_EQUAL_FATAL(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	return fd;
}

static inline int puppet_listen(int *port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	CU_ASSERT_EQUAL_FATAL(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	CU_ASSERT_EQUAL_FATAL(listen(fd, 16), 0);
	getsockname(fd, (struct sockaddr *)&a, &len);
	*port = ntohs(a.sin_port);
	return fd;
}

static inline int puppet_accept(int listener)
{
	int fd = -1;
	CU_ASSERT_TRUE_FATAL(RIG_UNTIL(fd >= 0 || (fd = accept(listener, NULL, NULL)) >= 0));
	return fd;
}

static inline void puppet_write(struct puppet *p, const void *data, size_t len)
{
	const uint8_t *at = data;
	while (len > 0) {
		ssize_t n = send(p->fd, at, len, MSG_NOSIGNAL);
		if (n < 0 && errno != EAGAIN) {
			return; /* the node has closed: the test looks at that */
		}
		if (n > 0) {
			at += n;
			len -= (size_t)n;
		}
		ob__loop_turn(rig_loop);
	}
}

static inline void puppet_say(struct puppet *p, struct ob__frame f)
{
	static uint8_t whole[OB__FRAME_HEADER + (1u << 16)];
	CU_ASSERT_TRUE_FATAL(f.payload_len <= sizeof(whole) - OB__FRAME_HEADER);
	f.src = f.src != 0 ? f.src : p->mine.id;
	ob__frame_put_header(whole, &f);
	if (f.payload_len > 0) {
		memcpy(whole + OB__FRAME_HEADER, f.payload, f.payload_len);
	}
	puppet_write(p, whole, OB__FRAME_HEADER + f.payload_len);
}

static inline void puppet_say_system(struct puppet *p, uint32_t id, uint64_t call)
{
	puppet_say(p, (struct ob__frame){.kind = OB__FRAME_SYSTEM, .id = id, .call = call});
}

static inline void puppet_say_step(struct puppet *p, uint8_t step, const void *payload, size_t len)
{
	puppet_say(p, (struct ob__frame){.kind = OB__FRAME_HELLO,
	                                 .status = step,
	                                 .payload = payload,
	                                 .payload_len = (uint32_t)len});
}

/* What has arrived: 1 with a frame in *f (borrowed until the next call), 0 nothing, -1 the end. */
static inline int puppet_poll(struct puppet *p, struct ob__frame *f)
{
	memmove(p->in, p->in + p->taken, p->in_len - p->taken);
	p->in_len -= p->taken;
	p->taken = 0;
	ssize_t n = recv(p->fd, p->in + p->in_len, sizeof(p->in) - p->in_len, 0);
	if (n > 0) {
		p->in_len += (size_t)n;
	}
	size_t need;
	int64_t got = ob__frame_get(f, p->in, p->in_len, sizeof(p->in), &need);
	CU_ASSERT_TRUE(got >= 0);
	if (got > 0) {
		p->taken = (size_t)got;
		return 1;
	}
	return n == 0 || (n < 0 && errno != EAGAIN) ? -1 : 0;
}

/* Waits for a frame; false at the end of the connection. */
static inline bool puppet_hear(struct puppet *p, struct ob__frame *f)
{
	int got = 0;
	CU_ASSERT_TRUE(RIG_UNTIL(got != 0 || (got = puppet_poll(p, f)) != 0));
	return got > 0;
}

/* Waits for the end and throws away what comes before; true if it came. */
static inline bool puppet_hears_end(struct puppet *p)
{
	struct ob__frame f;
	int got = 0;
	return RIG_UNTIL(got < 0 || (got = puppet_poll(p, &f)) < 0);
}

static inline bool puppet_hears_step(struct puppet *p, uint8_t step)
{
	struct ob__frame f;
	if (!puppet_hear(p, &f) || f.kind != OB__FRAME_HELLO || f.status != step) {
		return false;
	}
	if (step == OB__HELLO_DIALER || step == OB__HELLO_ACCEPTOR) {
		return ob__hello_get(&p->theirs, f.payload, f.payload_len) == 0;
	}
	uint8_t mac[OB__HELLO_MAC];
	ob__hello_mac(p->key, p->dialer ? 'A' : 'D', p->dialer ? &p->mine : &p->theirs,
	              p->dialer ? &p->theirs : &p->mine, NULL, 0, mac);
	return f.payload_len == sizeof(mac) && ob__hello_mac_equal(mac, f.payload);
}

static inline void puppet_introduce(struct puppet *p, uint8_t step)
{
	uint8_t payload[OB__HELLO_MAX];
	puppet_say_step(p, step, payload, ob__hello_put(&p->mine, payload, sizeof(payload)));
}

static inline void puppet_prove(struct puppet *p)
{
	uint8_t mac[OB__HELLO_MAC];
	ob__hello_mac(p->key, p->dialer ? 'D' : 'A', p->dialer ? &p->mine : &p->theirs,
	              p->dialer ? &p->theirs : &p->mine, NULL, 0, mac);
	puppet_say_step(p, p->dialer ? OB__HELLO_PROOF : OB__HELLO_WELCOME, mac, sizeof(mac));
}

/* The dialer's part, up to and without its proof. */
static inline void puppet_begin(struct puppet *p, const struct rig_node *n, const char *name,
                                const char *role, uint64_t incarnation, const char *token)
{
	puppet_init(p, puppet_socket(n->port, 0), name, role, incarnation, token);
	p->dialer = true;
	puppet_introduce(p, OB__HELLO_DIALER);
}

/* A whole handshake as the dialer; false if it failed. */
static inline bool puppet_join(struct puppet *p, const struct rig_node *n, const char *name,
                               const char *role, uint64_t incarnation, const char *token)
{
	puppet_begin(p, n, name, role, incarnation, token);
	if (!puppet_hears_step(p, OB__HELLO_ACCEPTOR)) {
		return false;
	}
	puppet_prove(p);
	return puppet_hears_step(p, OB__HELLO_WELCOME);
}

static inline void puppet_close(struct puppet *p)
{
	close(p->fd);
	p->fd = -1;
}

#endif
