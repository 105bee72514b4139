/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to tools: one load run against a WebSocket server that speaks the seed's packets.
 *
 * A run opens its connections, warms up, measures, waits for what is still owed and closes. Closed
 * loop: each connection keeps `depth` messages in flight, and latency counts from the send. Open
 * loop (`rate` set): message k is due at k / rate whatever the server does, goes to connection
 * k mod conns, and its latency counts from when it was due, so a stalled server can't hide its
 * stall. Every phase is bounded in time, every queue in size.
 *
 * With `pieces` no frame is sent at once: each connection gives a few bytes of what it has to send,
 * a random number of them, once every so many milliseconds. At any moment nearly all of them are in
 * the middle of a frame, and with `fragments` in the middle of a message of several frames.
 *
 * With `broadcast` one connection sends, and what it sends comes to all of them: each arrival
 * counts, and the message is answered when all have it.
 *
 * How fast a server takes connections is hidden by a client that has no more of the processors than
 * the server. So with `batch` the servers are stopped while so many connections are made, which the
 * system does without them, and their requests sent; the clock runs from when they go on until all
 * of the batch are answered. With `cuts` all connections are there, end at once by a reset, and
 * come back at once, so many times.
 */
#ifndef OB__LOAD_H
#define OB__LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "tools/latency.h"
#include "tools/procstat.h"

enum {
	OB__LOAD_MAX_CONNS = 100000,
	OB__LOAD_MAX_DEPTH = 65536,
	OB__LOAD_MAX_BODY = 16 << 20,
	OB__LOAD_MIN_VERIFY = 40, /* the smallest body that can carry a sequence number */
	OB__LOAD_MAX_PIDS = 32,
	OB__LOAD_MAX_CODES = 16,
	OB__LOAD_MAX_VERSIONS = 64,
	OB__LOAD_MAX_FRAGMENTS = 64,
	OB__LOAD_MAX_BATCH = 4000, /* a system's queue before accept() is hardly ever longer */
	OB__LOAD_MAX_CUTS = 1000,
};

/* Strings are borrowed for the run. */
struct ob__load_opts {
	const char *host;
	const char *port;
	const char *path;
	unsigned conns;
	unsigned idle;  /* more connections, which only have to stay open */
	unsigned depth; /* closed loop: in flight each; open loop: the most one may owe; 0: idle */
	const char *body; /* sent as it is, body_len bytes; NULL: made up */
	size_t body_len;
	uint32_t id;
	double warmup;      /* seconds */
	double seconds;     /* of measurement; 0: until total is reached */
	uint64_t total;     /* messages; 0: until the time is over */
	double rate;        /* messages per second over all connections; 0: closed loop */
	double ramp;        /* connects per second; 0: as fast as the server takes them */
	double pieces;      /* ms between the pieces a message is sent in; 0: whole */
	unsigned fragments; /* frames of a message; 0 and 1: one */
	unsigned batch;     /* connections made while the servers are stopped; 0: these go on */
	unsigned cuts;      /* how often all connections end and come back */
	bool tls;
	bool broadcast;
	bool verify;
	bool check_code;
	bool versions; /* count the replies by their "v" */
	bool announce; /* "connected" on stderr when all connections are there */
	pid_t pids[OB__LOAD_MAX_PIDS];
	unsigned npids;
};

struct ob__load_server {
	struct ob__proc_use use; /* during the measurement */
	bool known;              /* false: it was gone at one of its ends */
};

struct ob__load_code {
	long code;
	uint64_t count;
};

struct ob__load_report {
	double elapsed;         /* seconds measured */
	double connect_seconds; /* for all of them; with batch: in which the servers ran */
	double accept_us;       /* CPU time of the servers for each connection */
	double back_seconds;    /* the longest time that it took all to come back */
	struct ob__lat back;    /* from a connection's begin to its handshake's end, after a cut */
	uint64_t done;          /* replies during the measurement */
	struct ob__lat lat;
	struct ob__proc_use self;
	struct ob__load_server server[OB__LOAD_MAX_PIDS];

	/* Over the whole run, warm-up and drain included. */
	uint64_t sent;
	uint64_t answered;
	uint64_t lost;         /* sent, never answered */
	uint64_t duplicated;   /* replies nobody was waiting for */
	uint64_t reordered;    /* replies that came after a later message's */
	uint64_t misdelivered; /* replies that belong to another connection */
	uint64_t unreadable;   /* --verify: replies without a sequence number */
	uint64_t other_ids;    /* packets of another message id; not an error */
	uint64_t overrun;      /* open loop: due, but its connection owed too much already */
	uint64_t failed_codes; /* replies with a code other than 200, by code below */
	struct ob__load_code code[OB__LOAD_MAX_CODES];
	unsigned ncodes;
	struct ob__load_code version[OB__LOAD_MAX_VERSIONS];
	unsigned nversions;
	uint64_t version_changes; /* replies of another version than the one before on their
	                             connection */
	unsigned broken;          /* connections that ended before they should */
	bool interrupted;
	char why[256]; /* how the first of those ended, or why the run could not be made */
};

/*
 * Makes one run. 0 and a filled report, even if replies were lost; -1 if the run could not be made
 * (report->why says what failed). *stop, set by a signal handler, ends it early.
 */
int ob__load_run(const struct ob__load_opts *opts, struct ob__load_report *report,
                 const volatile int *stop);

/* The number of errors in the report that make a run a failed one. */
uint64_t ob__load_errors(const struct ob__load_report *report);

#endif
