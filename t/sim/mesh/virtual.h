/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to t/sim/mesh.  What the virtual kernel's parts share: world.c has the queue of events
 * and the nodes, vloop.c a process's loop, vstream.c the sockets and what is between them,
 * vlistener.c where they come from.
 */

#ifndef OB__SIM_VIRTUAL_H
#define OB__SIM_VIRTUAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uv.h>

#include "lib/list.h"
#include "t/sim/mesh/world.h"

struct vconn;
struct ob__listener;

/* A piece on its way to one end of a connection. */
enum vseg_kind { VSEG_DATA, VSEG_FIN, VSEG_RESET, VSEG_TAKEN, VSEG_WELCOME };

struct vseg {
	struct vseg *next;
	uint64_t at; /* not before */
	enum vseg_kind kind;
	size_t len; /* of data; or bytes the other end has read */
	size_t off; /* of data: given to the process */
	uint8_t data[];
};

struct vqueue {
	struct vseg *head;
	struct vseg *tail;
};

enum vsock_state {
	VSOCK_NONE, /* the accepting end before anybody knows of it */
	VSOCK_OPEN,
	VSOCK_GONE, /* its process has closed it, or died */
};

/* One end. */
struct vsock {
	struct vconn *conn;
	struct sim_node *node;
	struct ob__list node_link;
	enum vsock_state state;
	struct vhandle *handle; /* of the process; NULL: not accepted yet, or not any more */
	struct vqueue on_way;   /* to this end */
	uint64_t hold_until;    /* nothing arrives before: retransmission after a silence */
	uint64_t last_at;
	struct vqueue got; /* in the receive buffer */
	size_t got_len;
	size_t read_unsaid; /* read, and the other end does not know yet */
	size_t window;      /* sent, and not known to be read */
	bool established;
	bool ended; /* the other end's FIN is here */
	bool shut;  /* ours is out */
	bool said_reset;
	int error; /* what the next read or write says */
	int fd;
};

struct vconn {
	struct sim_world *world;
	struct vsock end[2]; /* who dialled, who accepts */
	struct ob__listener *listener;
	struct ob__list backlog_link;
	uint32_t refs; /* open ends and planned events */
	uint32_t tries;
	bool local; /* a unix socket */
	char path[108];
	uint16_t port;
	bool no_host;
};

struct vloop {
	uv_loop_t *uv;
	struct sim_node *node;
	struct ob__list handles; /* not closed yet: the loop's few own ones */
	struct ob__list streams; /* the same: streams and listeners */
	struct ob__list closing;
	struct ob__list ready; /* streams and listeners that something has happened to */
	struct ob__list lookups;
	uint64_t now;      /* ms */
	uint64_t ahead_us; /* what a process that ends did not want to wait for */
	bool worked;       /* the last turn did something behind its flush */
};

struct vhandle {
	struct ob__list link; /* in vloop.handles, or closing */
	struct ob__list ready_link;
	struct vloop *loop;
	uv_handle_t *uv;
	uv_handle_type type;
	bool active;
	bool weak; /* uv_unref() */
	bool sent; /* async */
	uv_close_cb on_close;
	union {
		uv_idle_cb idle;
		uv_prepare_cb prepare;
		uv_check_cb check;
		uv_timer_cb timer;
		uv_async_cb async;
	} cb;
	uint64_t due; /* timer, ms */
	uint64_t repeat;

	/* streams */
	struct vsock *sock;
	struct ob__socks *set;
	struct ob__sock *k;
	unsigned want;      /* enum ob__sock_event */
	int connect_status; /* when connect_done */
	bool connecting;
	bool connect_done;
	bool reset;            /* closed so that what is on its way does not arrive */
	struct vconn *offered; /* a server handle's: what ob__sock_accept() takes */
	struct ob__listener *listener;
};

/* world.c */
extern struct sim_node *sim_current; /* whose process runs; NULL: the world */
void sim_plan(struct sim_world *w, uint64_t at, void (*fn)(void *arg), void *arg);
void sim_wake(struct sim_node *n); /* something has happened in its kernel */
bool sim_blocked(const struct sim_world *w, const struct sim_node *from, const struct sim_node *to);
uint64_t sim_latency(struct sim_world *w, const struct sim_node *from, const struct sim_node *to);
struct sim_counts *sim_counting(struct sim_world *w);
struct sim_node *sim_find_host(struct sim_world *w, const char *host);

/* vloop.c */
struct vhandle *vhandle_new(uv_loop_t *loop, uv_handle_t *h, uv_handle_type type);
struct vhandle *vhandle_bare(uv_loop_t *loop, uv_handle_type type); /* of nothing of libuv's */
void vhandle_close(struct vhandle *h);
struct vhandle *vhandle_of(const void *h);
void vhandle_ready(struct vhandle *h);
bool vloop_busy(const struct vloop *l);    /* another turn would do something at once */
uint64_t vloop_due(const struct vloop *l); /* ms of the nearest timer; UINT64_MAX: none */
extern size_t vhandles_open;

/* vstream.c */
void vstream_event(struct vhandle *h); /* in the poll */
bool vstream_waits(const struct vhandle *h);
void vstream_close(struct vhandle *h);
void vsock_crash(struct vsock *s, enum sim_crash how);
void vsock_unblocked(struct vsock *s);
void vsock_break(struct vsock *s);
void vconn_refuse(struct vconn *c); /* nobody took it from the backlog */
void vconn_unref(struct vconn *c);
struct vsock *vsock_other(const struct vsock *s);
extern size_t vconns_open;

/* vlistener.c */
struct ob__listener *vlistener_find(struct sim_node *n, const char *path, uint16_t port);
void vlistener_offer(struct ob__listener *l, struct vconn *c);
void vlistener_event(struct vhandle *h);
bool vlistener_waits(const struct vhandle *h);
void vlisteners_crash(struct sim_node *n);

#endif
