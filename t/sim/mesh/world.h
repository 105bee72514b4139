/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to t/sim/mesh.  A world of virtual nodes in one process, for programs that run the real
 * core/mesh (and core/base/loop.c and core/net/stream*.c below it) under faults.
 *
 * What is virtual is the kernel: vloop.c and vstream.c are libuv as far as those files need it, on
 * virtual time and virtual sockets; vlistener.c is net/listener.h and vlog.c base/log.h.  A program
 * is linked with them in front of libobhost and without libuv, so whatever else of libuv it would
 * reach is an error of the linker and not a real socket.  RAND_bytes() is the world's as well, and
 * so is CLOCK_REALTIME in a process.
 *
 * A node is a machine with an address (10.x.y.z), a clock and at most one process at a time.  The
 * program says in `boot` what a process consists of (on node->loop) and in `halt` how its memory is
 * freed.  Everything else is events on one queue: bytes that arrive, timers, faults, and what the
 * program itself plans.  All chance comes from the seed, so the same seed is the same run; what
 * happens is folded into a hash by which that can be seen.
 *
 * The network between two machines is TCP as its users know it.  Bytes come in order or not at all,
 * in pieces of any size; a connection breaks by a reset that one end or both see, with or without
 * what was under way; a direction may fall silent and come back, upon which what was sent meanwhile
 * arrives; acknowledgements need the other direction.  A process that dies has its sockets closed
 * by the kernel; a machine that dies says nothing, and a reset when it is back.  A process that is
 * paused goes on being a listening address and a receive buffer.
 *
 * When a promise is broken the program calls sim_fail(), which does not return.
 */

#ifndef OB__SIM_WORLD_H
#define OB__SIM_WORLD_H

#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/loop.h"
#include "net/stream.h"

#define SIM_NODES_MAX 1024u

struct sim_world;

struct sim_node {
	struct sim_world *world;
	uint32_t index;
	uint32_t machine;     /* set before the first boot to put several nodes on one; its own */
	char host[20];        /* the machine's address; "nodeINDEX" is its name */
	uint64_t incarnation; /* of the last boot: wall clock in ms, or the last one + 1 */
	bool running;         /* has a process, which may be paused */
	bool paused;
	bool silent;             /* the machine is off */
	uint64_t late_ms;        /* how much this turn came after the nearest timeout was due */
	struct ob__loop *loop;   /* while running */
	struct ob__streams *net; /* set by boot if sim_same_connection() is wanted; may be NULL */
	void *user;              /* the program's */
	uint64_t kept;           /* the same: what a process has on its disk */

	/* private */
	int64_t skew_us;
	uint64_t slow_us;
	uint64_t late_most; /* of late, until late_until */
	uint64_t late_until;
	uint64_t resume_at;
	uint64_t wake_at;
	struct ob__list socks;
	struct ob__list listeners;
	struct vloop *vloop;
};

struct sim_ops {
	void (*boot)(struct sim_node *n);
	/* The process is gone: free all that boot made, and nothing it says is heard any more.  The
	 * loop is freed behind it. */
	void (*halt)(struct sim_node *n);
	/* After each wake-up of a node; may be NULL. */
	void (*after)(struct sim_node *n);
};

enum sim_crash {
	SIM_CRASH_PROCESS, /* the kernel closes its sockets */
	SIM_CRASH_MACHINE, /* nobody says anything */
};

struct sim_options {
	uint64_t seed;
	uint32_t nodes;
	bool loud;          /* tell everything on stdout, logs included */
	uint64_t latency;   /* us, about; 0: 200 */
	size_t window;      /* bytes a connection takes without being read; 0: 256 KiB */
	uint32_t cut_in_16; /* how often, of 16, a read gets only a part of what is there */
};

/* What the world counts, for the programs' summaries. */
struct sim_counts {
	uint64_t events;
	uint64_t turns;
	uint64_t connections;
	uint64_t segments;
	uint64_t bytes;
	uint64_t resets;
};

struct sim_world *sim_new(const struct sim_options *options, const struct sim_ops *ops, void *user);

/* Crashes what runs and frees everything; fails when something is left. */
void sim_free(struct sim_world *w);

void *sim_user(const struct sim_world *w);
struct sim_node *sim_node(struct sim_world *w, uint32_t index);
uint32_t sim_nodes(const struct sim_world *w);
const struct sim_counts *sim_counts(const struct sim_world *w);
const struct sim_options *sim_options_of(const struct sim_world *w);

/* ---------------------------------------------------------------- time and events */

uint64_t sim_now_us(const struct sim_world *w);

/* The clock of the node's machine, us, monotonic but for sim_jump(). */
uint64_t sim_local_us(const struct sim_node *n);

/* The wall clock of the node's machine, ms: the same but for where it begins. */
uint64_t sim_wall_ms(const struct sim_node *n);

/* Runs fn(arg) `us` from now, on no node. */
void sim_at(struct sim_world *w, uint64_t us, void (*fn)(void *arg), void *arg);

/* Runs fn(arg) in the node's process as if a callback of its loop; not while it is paused (then,
 * and when there is no process, false). */
bool sim_on(struct sim_node *n, void (*fn)(void *arg), void *arg);

/* Lets `us` pass. */
void sim_run(struct sim_world *w, uint64_t us);

/* ---------------------------------------------------------------- chance and the record */

uint64_t sim_random(struct sim_world *w);
uint64_t sim_below(struct sim_world *w, uint64_t limit); /* 0..limit-1 */
bool sim_chance(struct sim_world *w, uint32_t of_1000);

/* Folds an event into the hash. */
void sim_mark(struct sim_world *w, uint32_t kind, uint64_t a, uint64_t b, uint64_t c);
uint64_t sim_hash(const struct sim_world *w);

/* A line on stdout if the world is loud. */
void sim_say(struct sim_world *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Ends the seed: jumps to where sim_catch() was given, with the sentence at sim_why(). */
void sim_fail(struct sim_world *w, const char *fmt, ...)
	__attribute__((format(printf, 2, 3), noreturn));
void sim_catch(struct sim_world *w, jmp_buf *where);
const char *sim_why(void);

/* ---------------------------------------------------------------- faults */

void sim_boot(struct sim_node *n); /* nothing when it runs */
void sim_crash(struct sim_node *n, enum sim_crash how);
void sim_pause(struct sim_node *n, uint64_t us);
void sim_jump(struct sim_node *n, uint64_t us); /* its clock, forwards */
void sim_slow(struct sim_node *n, uint64_t us); /* all its wires; 0: as before */
void sim_block(struct sim_world *w, uint32_t from, uint32_t to, bool on); /* one direction */

/* Breaks one connection between the two, if there is one: at both ends, or at that of `a` only. */
void sim_reset(struct sim_node *a, struct sim_node *b, bool both);

/* Ends all faults: every direction open, nobody paused or slow, every node running. */
void sim_heal(struct sim_world *w);

/* ---------------------------------------------------------------- looking */

/* Whether the two streams are the two ends of one connection. */
bool sim_same_connection(const struct ob__stream *a, const struct ob__stream *b);

#endif
