/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  Modules and their generations.
 *
 * A module is a name that stays; a generation is one load of its shared object.  One generation is
 * active; older ones drain until nothing of theirs is in flight, then they are stopped, given a
 * table of functions that all answer OB_E_DEAD, and unmapped.
 *
 * Everything a generation has registered or started hangs on it, and everything in flight holds a
 * reference (ob__gen_ref): held requests, calls, single timers, jobs, HTTP and admin calls.  Posts,
 * which come from any thread, are counted apart; it is stopped when they have run, too.
 * The module's own code has no unregistering to do.
 *
 * An ob_ctx is the first member of its generation, so the pointer a module passes is the
 * generation's own.
 */

#ifndef OB__GENERATION_H
#define OB__GENERATION_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <obhost/obhost.h>
#include <uv.h>

#include "base/loop.h"
#include "lib/list.h"

struct ob__blob_reader;
struct ob__blob_writer;
struct ob__kv;
struct ob__load_job;
struct ob__node;
struct ob__swap_item;
struct ob__module;

enum ob__gen_state {
	OB__GEN_LOADED = 1, /* mapped; nothing called yet */
	OB__GEN_STARTING,   /* in the shadow: registers, but is not used and may not send */
	OB__GEN_CANARY,     /* serves a share of the sessions, beside the active one */
	OB__GEN_ACTIVE,
	OB__GEN_STANDBY, /* a newer one serves, but is in probation; this one may have to return */
	OB__GEN_DRAINING,
	OB__GEN_STOPPED, /* stop() has run; waits for its loop turn and the loader */
	OB__GEN_ZOMBIE,  /* could not be unmapped safely; stays, dead */
};

/* Memory that outlives a generation (ob_state). */
struct ob__state {
	uint32_t refs;
	uint32_t version;
	size_t size;
	char *key;
	void *data;
};

struct ob__gen {
	ob_ctx ctx; /* first */
	struct ob__node *node;
	struct ob__module *module;
	struct ob__list link; /* in module->gens */
	uint32_t number;
	enum ob__gen_state state;
	const ob_module_desc *desc; /* own_desc */
	ob_module_desc own_desc;    /* a copy, filled up with zeros */
	void *dl;
	uintptr_t base; /* where it is mapped: of its link map, and all of it, [low, high) */
	uintptr_t low;
	uintptr_t high;
	char *staged; /* path of the private copy */
	char *file;   /* path it was copied from */
	uint64_t disk_size;
	uint64_t disk_mtime_ns;
	uint64_t disk_inode;
	char version[64];
	char sha256[65];
	char resident[160]; /* why it can't be unmapped safely; "" if it can */
	char why[256];      /* why it is a zombie */
	json_t *conf;       /* what it was started with; reference */

	struct ob__list regs;    /* ob__reg.gen_link */
	struct ob__list timers;  /* ob__timer.gen_link */
	struct ob__list watches; /* host/fdwatch.c */
	struct ob__list msgs;    /* ob__held_msg.gen_link */
	struct ob__list reqs;    /* held requests */
	struct ob__list calls;   /* ob__pending.u.call.gen_link */
	struct ob__list plans;   /* ob__call.gen_link: calls of several tries */
	struct ob__list gates;   /* messages that its filters hold (host/message/gate.h) */
	struct ob__list waits;   /* ob__wait.gen_link: jobs, posts, http and admin calls */
	struct ob__state **states;
	size_t states_len;

	struct ob__blob_writer *writer; /* while save() runs */
	struct ob__blob_reader *reader; /* while load() runs */

	uint32_t refs;     /* what is in flight, but for posts */
	atomic_uint posts; /* that ob_post() took and the loop has not run: from any thread */
	atomic_bool open;  /* takes posts */
	bool started;      /* start() has succeeded: stop() is owed */
	bool drain_queued; /* a turn that looks whether it has drained is coming */
	bool expired;      /* its time to drain is over: nothing new may begin */
	char refused[256]; /* why a registration in start() failed, for the reply */
	struct ob__timeout *drain_timeout;
	struct ob__load_job *closing; /* while the loader unmaps it */
	struct {                      /* how far it was looked for pointers into it */
		size_t block;
		size_t at;
		char key[256];
		uint32_t conn;
		bool keys_done;
		bool codecs; /* it had some */
	} scan;
	struct ob__swap_item *leaving; /* whose report waits for its end */
	bool watched;                  /* in probation: its callbacks are timed */
	unsigned share;                /* CANARY: percent of the sessions */
	uint64_t stall_ns;             /* the longest callback while it was watched */
	uint64_t handled;
	uint64_t failed; /* ends that speak against its code, see docs/hot-swap.md */
	uint64_t since;
};

struct ob__module {
	struct ob__list link; /* in node->modules */
	char *name;
	char *path;   /* configured file, or NULL: looked for */
	json_t *conf; /* reference */
	bool admin;
	bool implied;
	struct ob__gen *active;
	struct ob__gen *canary;    /* or NULL */
	struct ob__list gens;      /* all that are mapped, oldest first */
	uint32_t gen_count;        /* live members of gens */
	uint32_t last_number;      /* of a generation */
	uint32_t last_stage;       /* of a staged file, loaded or refused: its name is used once */
	struct ob__state **states; /* of the active generation and those kept from before */
	size_t states_len;
	struct ob__kv *kv; /* of all its generations; NULL: nothing was ever kept */
	struct ob__module_counter *counters;
	size_t counters_len;
};

struct ob__module_counter {
	char *name;
	uint64_t *value; /* in the registry of metrics */
};

/* Finds by name, or NULL. */
struct ob__module *ob__module_find(struct ob__node *node, const char *name);

/* A new module without a generation; strings are copied, conf's reference is taken (stolen).  NULL
 * when out of memory. */
struct ob__module *ob__module_new(struct ob__node *node, const char *name, const char *path,
                                  json_t *conf, bool admin, bool implied);

/* Frees a module that has no generations. */
void ob__module_free(struct ob__module *m);

/* A new generation of a loaded shared object, in state LOADED. The caller moves in dl and names. */
struct ob__gen *ob__gen_new(struct ob__node *node, struct ob__module *m);

/* Frees what is left of an unmapped (or never mapped) generation. */
void ob__gen_free(struct ob__gen *g);

/* Something of the generation is in flight, or no longer.  The last one of a draining generation
 * leads to its stop in a later turn. */
void ob__gen_ref(struct ob__gen *g);
void ob__gen_unref(struct ob__gen *g);

/* Its stop(), if that is owed. */
void ob__gen_call_stop(struct ob__gen *g);

/* A post of the generation has run: perhaps that was what its stop waited for. */
void ob__gen_post_ran(struct ob__gen *g);

/* Nothing is in flight.  If it is but for posts, they are taken no more. */
bool ob__gen_shut(struct ob__gen *g);

/* May send, call and set timers. */
static inline bool ob__gen_live(const struct ob__gen *g)
{
	return g->state >= OB__GEN_CANARY && g->state <= OB__GEN_DRAINING;
}

/* May begin something that calls back later; no longer once its time to drain is over. */
static inline bool ob__gen_may_begin(const struct ob__gen *g)
{
	return ob__gen_live(g) && !g->expired;
}

/* Around a callback: in probation it is timed, else this costs a compare. */
static inline uint64_t ob__gen_enter(const struct ob__gen *g)
{
	return g->watched ? uv_hrtime() : 0;
}

static inline void ob__gen_leave(struct ob__gen *g, uint64_t entered)
{
	uint64_t took = entered != 0 ? uv_hrtime() - entered : 0;

	if (took > g->stall_ns) {
		g->stall_ns = took;
	}
}

const char *ob__gen_state_word(const struct ob__gen *g);

/* ob_state(): the module's block if key, size and version agree, else one of this generation's own
 * that becomes the module's when the generation goes live. NULL: out of memory or bounds. */
void *ob__gen_state_block(struct ob__gen *g, const char *key, size_t size, uint32_t version);

/* The generation goes live: its blocks are the module's. */
void ob__gen_states_commit(struct ob__gen *g);

#endif
