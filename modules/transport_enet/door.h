/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * One UDP port with ENet, and its clients.
 *
 * Everything here is memory that outlives a generation of the module: it hangs on an ob_state()
 * block, and no pointer to the module's code is in it but ENetHost.intercept, which each generation
 * sets when it takes over.  A new generation with the same ENET_STATE goes on with all of it.
 */

#ifndef TRANSPORT_ENET_DOOR_H
#define TRANSPORT_ENET_DOOR_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <enet/enet.h>
#include <enet/time.h>
#include <obhost/obhost.h>

/* Grows with each change of the structs below; ENet's own structs are part of them. */
#define ENET_STATE_FORM 1u
#define ENET_STATE                                                                                \
	(ENET_STATE_FORM << 28 ^ (uint32_t)ENET_VERSION << 4 ^ (uint32_t)sizeof(ENetPeer) << 16 ^ \
	 (uint32_t)sizeof(ENetHost))

struct settings {
	uint32_t timeout_ms; /* of silence, then a client is gone */
	size_t queue;        /* bytes of a client on their way, each way */
	size_t packet;       /* bytes of one packet, either way */
};

/* A list with the place of its own; zeroed: on none. */
struct link {
	struct link *next;
	struct link *prev;
};

enum source_kind {
	SOURCE_DOOR = 1,
	SOURCE_CLIENT,
};

/* What epoll tells of. */
struct source {
	enum source_kind kind;
};

/* Packets in order: userData is the next one. */
struct packets {
	ENetPacket *head;
	ENetPacket *tail;
	size_t bytes;
};

struct client {
	struct source source; /* first */
	struct link link;     /* in door->clients */
	struct link busy;     /* in door->busy: something is on its way to it */
	struct link ending;   /* in door->ending: has `until` */
	struct door *door;
	ENetPeer *peer; /* NULL: gone */
	uint64_t number;
	int fd;             /* the other end is the host's */
	uint32_t events;    /* that are waited for */
	bool polled;        /* fd is in the epoll set */
	bool full;          /* too much on its way: not read from the host */
	bool deaf;          /* the host reads no more */
	bool held_back;     /* too much for the host: ENet takes nothing of it */
	bool host_ended;    /* the last bytes are on their way */
	uint32_t code;      /* why the host ends it */
	uint64_t until;     /* ms; then it is gone in any case */
	struct packets in;  /* for the host */
	size_t in_at;       /* of the first one, that has been written */
	struct packets out; /* not acknowledged yet; a reference to each is ours */
};

struct door {
	struct source source; /* first */
	struct link link;     /* in state->doors */
	ob_door number;
	ENetHost *host;
	char address[INET_ADDRSTRLEN + 8];
	bool open;      /* the host wants it */
	bool accepting; /* newcomers are let in */
	bool ready;     /* there is something to be received */
	bool dirty;     /* there is something to be sent */
	struct link clients;
	struct link busy;
	struct link ending;
	uint32_t clients_len;
	uint32_t serial;        /* of the last client */
	uint32_t connects_left; /* newcomers that are looked at until connects_at + 1 s */
	uint64_t connects_at;
	bool met;        /* some of them may have become peers */
	enet_uint32 due; /* ENet's ms: when it is to be served without anything coming */
	bool has_due;
};

struct state {
	uint32_t owner; /* the generation that serves */
	int epoll;      /* of all sockets; -1 (or 0, in a new block): none */
	struct link doors;
};

/* What the functions below have to do with. */
struct world {
	ob_ctx *ctx;
	struct state *state;
	struct settings settings;
	struct link gone; /* clients whose memory goes when the turn is over */
	int ignored;      /* counters */
	int refused;
	int dropped;
};

/* ---- lists ---- */

static inline void link_init(struct link *l)
{
	l->next = l;
	l->prev = l;
}

static inline bool link_on(const struct link *l)
{
	return l->next != NULL && l->next != l;
}

static inline void link_add(struct link *list, struct link *l)
{
	l->next = list;
	l->prev = list->prev;
	list->prev->next = l;
	list->prev = l;
}

static inline void link_del(struct link *l)
{
	if (l->next != NULL) {
		l->prev->next = l->next;
		l->next->prev = l->prev;
		l->next = NULL;
		l->prev = NULL;
	}
}

#define OF(l, type, member) ((type *)(void *)((char *)(l)-offsetof(type, member)))
#define EACH(it, list)                                                            \
	for (struct link *it = (list)->next, *it##_next = it->next; it != (list); \
	     it = it##_next, it##_next = it->next)

/* ---- client.c ---- */

/* A peer has connected: the host gets a client, or the peer is sent away. */
void client_new(struct world *w, struct door *d, ENetPeer *peer);

/* Of a packet that has come from it. */
void client_receive(struct world *w, struct client *c, ENetPacket *packet, uint8_t channel);

/* The peer is gone, in whatever way. */
void client_lost(struct world *w, struct client *c);

/* Its end of the pair can be read or written, or has ended. */
void client_ready(struct world *w, struct client *c, uint32_t events);

/* Lets go of what has been acknowledged, and reads on if that makes room. */
void client_reap(struct world *w, struct client *c);

/* Its time is over. */
void client_expire(struct world *w, struct client *c);

/* The host closes it. */
void client_leaving(struct client *c, uint32_t code);

/* At once, without a word to the peer. */
void client_free(struct world *w, struct client *c);

/* ---- door.c ---- */

struct door *door_new(struct world *w, const ob_door_info *info, ob_err *err);
struct door *door_find(const struct state *s, ob_door number);

/* The client that has the number, or NULL. */
struct client *door_client(const struct state *s, uint64_t number);

/* Receives, sends, and says when it wants to be called again. */
void door_serve(struct world *w, struct door *d);

/* Sends what is to be sent. */
void door_flush(struct door *d);

/* This generation looks at what comes. */
void door_take(struct world *w, struct door *d);

/* The port is free; clients must be gone. */
void door_free(struct door *d);

#endif
