/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  Putting modules in, exchanging them, taking them out.
 *
 * A request becomes a transaction (host/swap/tx.h has its steps).  One is exclusive at a time, from
 * its admission to its commit; up to SWAP_QUEUE others wait, and one that asks for the same modules
 * as a waiting one takes its place (the older answers 409 "superseded").  A request that comes
 * while a transaction is in probation ends the probation: it is committed if nothing speaks against
 * it.
 *
 * A canary is a switch for a share of the sessions only; its probation ends in the switch for all.
 * Its modules must allow for it (OB_MODULE_PARALLEL) and share their state as it is.
 */

#ifndef OB__SWAP_H
#define OB__SWAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "host/generation.h"
#include "host/swap/loader.h"

struct ob__swap;

enum ob__swap_kind {
	OB__SWAP_START = 1, /* the configured modules, when the node starts */
	OB__SWAP_RELOAD,    /* new code for modules that are there */
	OB__SWAP_LOAD,      /* one module more */
	OB__SWAP_UNLOAD,    /* one module less */
	OB__SWAP_ROLLBACK,  /* the last good build before the one that runs */
	OB__SWAP_CONF,      /* the same code again, with a new configuration */
};

enum ob__swap_wait {
	OB__SWAP_WAIT_SWITCH, /* answer when the new generation has taken over */
	OB__SWAP_WAIT_COMMIT, /* answer when its probation is over */
	OB__SWAP_WAIT_NONE,   /* answer 202 when the transaction has begun */
};

/* Everything is borrowed and copied. */
struct ob__swap_request {
	enum ob__swap_kind kind;
	const char *const *names; /* of modules; ignored for START */
	size_t names_len;         /* RELOAD: 0 = all */
	const char *path;         /* LOAD: the file, or NULL; never from outside */
	const json_t *conf;       /* LOAD: or NULL; CONF: an object of confs by module name */
	const char *sha256;       /* RELOAD of one, LOAD: what the file must be, or NULL */
	bool force;               /* RELOAD: also what is unchanged, or in quarantine */
	enum ob__swap_wait wait;
	unsigned canary;              /* RELOAD: percent of the sessions, 1..99; 0: no canary */
	int64_t probation_ms;         /* < 0: as configured */
	bool from_outside;            /* reload.rate holds for it */
	void (*on_switch)(void *arg); /* CONF: in the switch turn, before the new ones go live */
};

/* The answer: an HTTP status and its body (borrowed). Called once, perhaps before begin returns. */
typedef void (*ob__swap_cb)(void *arg, int status, const json_t *body);

int ob__swap_init(struct ob__node *node);
void ob__swap_free(struct ob__node *node);

void ob__swap_begin(struct ob__node *node, const struct ob__swap_request *request, ob__swap_cb cb,
                    void *arg);

/* Ends the probation that is running, with a commit or a return.  The transaction's number; 0 when
 * there is none (or none of that module, name not NULL). */
uint64_t ob__swap_end_probation(struct ob__node *node, const char *name, bool commit,
                                const char *why);

/* A transaction's report by number: a running one, or one of the last 64; new reference, or NULL.
 */
json_t *ob__swap_report(struct ob__node *node, uint64_t id);

/* A draining generation has nothing in flight any more. */
void ob__swap_drained(struct ob__gen *g);

/* All modules with their generations, as GET /modules shows them; new reference. */
json_t *ob__swap_modules(struct ob__node *node);

/* {"module", "step", "hangs_s", "remedy"} while a module's code does not return to the loader; new
 * reference, NULL: all is well. */
json_t *ob__swap_loader(struct ob__node *node);

/* The node is about to end: whoever waits for a transaction is answered 503, nothing new begins, a
 * rehearsal is given up. */
void ob__swap_stop(struct ob__node *node);

/* drain() and stop() for every generation: the node ends.  Nothing is unmapped; the generations are
 * freed by ob__swap_free(), when the loop has ended. */
void ob__swap_stop_all(struct ob__node *node);

#endif
