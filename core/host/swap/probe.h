/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  The rehearsal: a child process loads the staged module first.
 *
 * A constructor, a start, a selftest or a load that crashes, exits or never returns does so in a
 * child that posix_spawn() made (never fork(): the node may be large).  The child has no network
 * and little of everything; it loads the copy, runs check, start, load (with the old generation's
 * present state, if its version differs), selftest and stop against a table of functions that only
 * pretend, closes it, and reports what is left over: threads, descriptors, pthread keys, signal
 * handlers, mappings.
 *
 * WHICH PROGRAM.  obhost itself can be the child (`obhost probe`), whatever the module; but most of
 * its time then goes into libcurl, OpenSSL and the thirty libraries that those bring along, which
 * few modules have a use for.  obhost-probe is the same code with the C library and jansson, ten
 * times quicker.  A module that meets other neighbours there than in the node is not for it: one
 * that links a library that is not there, lacks a symbol, or exports symbols of its own, which a
 * library of the node's might have too.  It says so before it runs any code of the module, and the
 * same module then has its rehearsal in obhost itself, as it has when obhost-probe is of another
 * build or can't be started.
 */

#ifndef OB__PROBE_H
#define OB__PROBE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "host/swap/refusal.h"

struct ob__probe {
	/* in; borrowed */
	const char *exe;     /* obhost itself; never what is not (it would run as itself) */
	const char *program; /* obhost-probe, NULL: only obhost itself */
	const char *staged;  /* the copy to load */
	const char *file;    /* the operator's, for texts */
	const char *name;    /* what the module must be called */
	const char *conf;    /* its conf, JSON text */
	bool admin;          /* it is configured with "admin": true */
	const void *state;   /* what the old generation saved, or NULL */
	size_t state_len;
	uint32_t state_version;
	uint32_t timeout_ms;
	int stop_fd; /* readable: the child is killed and the rehearsal refused; 0: none */

	/* out */
	uint32_t flags; /* of the descriptor */
	uint32_t state_write;
	uint32_t state_read_min;
	char version[64];
	char provides[256];
	char needs[256];
	char transports[256]; /* for links that it offers, with a blank between */
	char brings[256];     /* transports for clients, the same way */
	char listens[256];    /* "tcp 127.0.0.1:4000 with line", with ", " between */
	char resident[160];   /* why it can't be unmapped safely; "" if it can */
	char notes[256];      /* what else was left over; "" if nothing */
	uint32_t took_us;
	bool whole;              /* obhost itself had to do it */
	char program_fault[192]; /* why `program` is of no use, for any module; "" if it is */
};

/* Blocks; for the loader thread.  0, or -1 with the refusal filled (step "probe"). */
int ob__probe_run(struct ob__probe *p, struct ob__load_refusal *r);

/* What the child runs; its exit status.  Reads its task from descriptor 3 and writes its report
 * there.  `whole`: this is obhost itself. */
int ob__probe_main(bool whole);

#endif
