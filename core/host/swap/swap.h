/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  Putting modules in, exchanging them, taking them out.
 *
 * A transaction takes one or several modules through the same steps, and each step has a way back
 * until the switch:
 *
 *     load    (loader thread) find, stage, verify, dlopen      back: dlclose, unlink
 *     start   (loop) check, start in the shadow, selftest      back: stop, drop registrations
 *     switch  (loop, one turn) all slots of all modules        no way back in this form
 *     drain   old generations finish what they hold, then stop, then are unmapped
 *
 * Any module refused: none switches, and the old generations never notice.  One transaction runs at
 * a time; another one is answered 409.
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
};

struct ob__swap_request {
	enum ob__swap_kind kind;
	const char *const *names; /* of modules; ignored for START */
	size_t names_len;         /* RELOAD: 0 = all */
	const char *path;         /* LOAD: the file, or NULL; never from outside */
	const json_t *conf;       /* LOAD: borrowed, or NULL */
	const char *sha256;       /* RELOAD of one, LOAD: what the file must be, or NULL */
	bool force;               /* RELOAD: also what is unchanged */
	bool answer_at_once;      /* answer 202 when the transaction has begun */
};

/* The answer: an HTTP status and its body (borrowed). Called once, perhaps before begin returns. */
typedef void (*ob__swap_cb)(void *arg, int status, const json_t *body);

int ob__swap_init(struct ob__node *node);
void ob__swap_free(struct ob__node *node);

void ob__swap_begin(struct ob__node *node, const struct ob__swap_request *request, ob__swap_cb cb,
                    void *arg);

/* A transaction's report by number, one of the last 64; new reference, or NULL. */
json_t *ob__swap_report(struct ob__node *node, uint64_t id);

/* A draining generation has nothing in flight any more. */
void ob__swap_drained(struct ob__gen *g);

/* All modules with their generations, as GET /modules shows them; new reference. */
json_t *ob__swap_modules(struct ob__node *node);

/* drain() and stop() for every generation: the node ends.  Nothing is unmapped; the generations are
 * freed by ob__swap_free(), when the loop has ended. */
void ob__swap_stop_all(struct ob__node *node);

#endif
