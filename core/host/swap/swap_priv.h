/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the files of host/swap.  A transaction and its items, as the files of this folder
 * share them: swap.c queues and begins them, admit.c says which may begin, the steps (steps.h says
 * where each is) are done one after the other, takeover.c switches (and back), probation.c watches,
 * retire.c takes generations out, report.c tells.
 */

#ifndef OB__SWAP_PRIV_H
#define OB__SWAP_PRIV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "base/loop.h"
#include "host/node.h"
#include "host/swap/loader.h"
#include "host/swap/manifest.h"
#include "host/swap/swap.h"
#include "host/swap/tx.h"
#include "lib/list.h"

#define SWAP_HISTORY     64u
#define SWAP_MODULES_MAX 256u
#define SWAP_OLD_MAX     4u /* old generations of one module that may be on their way out */
#define SWAP_ZOMBIES_MAX 8u /* of the whole node */
#define SWAP_QUEUE       8u
#define SWAP_STATE_MAX   (64u << 20) /* bytes one module may hand over */
#define SWAP_STATE_TRIES 3

struct ob__transaction;

struct ob__swap_item {
	struct ob__transaction *tx;
	char name[64];
	struct ob__module *module; /* until the transaction has ended */
	struct ob__gen *from;      /* NULL when it is out, or never was; from the commit on only
	                            * while it leaves */
	struct ob__gen *to;        /* until the commit or the end */
	struct ob__load_job *job;
	char *conf_text;    /* for the probe */
	uint8_t *state;     /* for the probe */
	json_t *conf;       /* CONF: the new one; reference */
	json_t *from_shown; /* what `from` was, for the report */
	json_t *to_shown;
	const char *from_end; /* "unmapped", "zombie", or NULL: not out yet */
	bool unchanged;
	bool fresh; /* the module was made by this transaction */
	bool state_probed;
};

struct ob__transaction {
	struct ob__tx machine;
	struct ob__list link; /* in swap->queue, or in swap->open */
	struct ob__node *node;
	uint64_t id;

	/* what was asked */
	enum ob__swap_kind kind;
	char **names;
	size_t names_len;
	char *path;
	json_t *conf;
	char sha256[65];
	bool force;
	enum ob__swap_wait wait;
	unsigned canary;
	bool from_outside;
	uint64_t probation_ms;
	void (*on_switch)(void *arg);
	ob__swap_cb cb;
	void *arg;
	bool answered;

	struct ob__swap_item *items;
	size_t len;
	struct ob__load_job *journal; /* while it is written */
	struct ob__load_refusal refusal;
	struct ob__swap_item *refused;
	bool turn;      /* the step has its own loop turn now */
	bool queued_up; /* a turn that continues is coming */
	bool probing;   /* waits in probation */
	bool canarying; /* `to` serves a share */
	bool hung;      /* the loader hung meanwhile: answered, and refused when that ends */
	bool ended;     /* freed in the next turn */
	int state_tries;
	char returned[256]; /* why it was taken back */
	struct ob__timeout timer;
	struct ob__timeout watch;
	uint64_t until;

	json_t *steps;       /* [{"step", "us"}] */
	uint64_t step_began; /* hrtime, ns */
	enum ob__tx_step shown_step;
	uint32_t switch_objects;
	uint64_t switch_cpu_ns;
	uint64_t state_bytes;
};

struct ob__swap {
	struct ob__transaction *current; /* the exclusive one */
	struct ob__list queue;           /* waiting, oldest first */
	struct ob__list open;            /* running, committed but not done, or to be freed */
	size_t queued;
	uint64_t next_id;
	bool stopping;
	struct ob__timeout watch; /* looks at the loader while it has something to do */
	struct {
		uint64_t number; /* of the loader's job; 0: it does not hang */
		uint64_t since;  /* loop ms */
		const char *step;
		char module[64];
	} hangs;
	double rate_left; /* admissions */
	uint64_t rate_at;
	struct ob__manifest *manifest; /* the loader thread's, once it runs */
	struct {
		uint64_t id;
		json_t *report;
	} history[SWAP_HISTORY];
	uint64_t *switched;
	uint64_t *refused;
	uint64_t *returned;
	uint64_t *unmapped;
	uint64_t *zombies;
};

/* ---- admit.c ---- */

/* Another transaction may be asked for from outside: reload.rate counts those that are admitted, so
 * that what is refused before anything was tried keeps nobody from a good reload. */
bool ob__rate_left(struct ob__node *node);

/* It names a module that is not there, nor on its way in: refused before it waits, or ends the
 * probation of another.  NULL, or the refusal with its status. */
json_t *ob__tx_hopeless(const struct ob__transaction *tx, int *status);

/* What it is about, and whether it may be tried now: fills the items, and counts it.  NULL, or the
 * refusal with its status. */
json_t *ob__tx_admit(struct ob__transaction *tx, int *status);

/* ---- steps.c ---- */

extern const struct ob__tx_ops ob__swap_ops;

/* Some module is not what it was. */
bool ob__tx_changes(const struct ob__transaction *tx);

/* Continues in a turn of its own. */
void ob__tx_turn(struct ob__transaction *tx);

/* ---- takeover.c ---- */

/* State from the old generations to the new ones where versions differ. 0; 1: not now, try again;
 * -1: refused. */
int ob__swap_hand_over(struct ob__transaction *tx);

/* What `from` saves for a generation that writes `to_write` and reads from `to_read` on; *out is
 * malloc()ed, NULL when there is nothing to hand over. 0 or negative with the refusal filled. */
int ob__swap_save(struct ob__gen *from, uint32_t to_write, uint32_t to_read, uint8_t **out,
                  size_t *len, uint32_t *version, struct ob__load_refusal *r);

void ob__swap_switch(struct ob__transaction *tx);
void ob__swap_switch_back(struct ob__transaction *tx);

/* The end of a canary: the new generation takes the rest of the sessions. */
void ob__swap_promote(struct ob__transaction *tx);

/* ---- probation.c ---- */

void ob__probation_begin(struct ob__transaction *tx);
void ob__probation_end(struct ob__transaction *tx);

/* The probation is over: what stands by goes (commit), or serves again. */
void ob__probation_decide(struct ob__transaction *tx, bool commit);

/* The timer's: time is over, or something speaks against the new generations. */
void ob__probation_look(void *tx);

/* Nothing speaks against the new generations; else why not. */
bool ob__probation_clean(struct ob__transaction *tx, char *why, size_t cap);

/* {"left_s", "modules": [{"name", "from": {...}, "to": {...}}]}; new reference. */
json_t *ob__probation_json(struct ob__transaction *tx);

/* ---- retire.c ---- */

/* Drains, then stops and unmaps. */
void ob__gen_begin_drain(struct ob__gen *g);

/* Stops a generation that nothing refers to; it is unmapped one loop turn later. */
void ob__gen_retire(struct ob__gen *g);
uint32_t ob__swap_zombies(const struct ob__node *node);

/* `from` of an item is out, or stays for good. */
void ob__swap_left(struct ob__gen *g, const char *how);

/* ---- scan.c ---- */

enum ob__scan {
	OB__SCAN_MORE, /* call it again in another turn */
	OB__SCAN_CLEAN,
	OB__SCAN_FOUND, /* `why` says what points into the code that goes */
};

enum ob__scan ob__gen_scan(struct ob__gen *g, char *why, size_t cap);

/* ---- watch.c ---- */

/* The loader thread is looked at while it works: code of a module that does not return to ld.so
 * (10 s, or reload.probe if that is more) is said once, the transaction that waits is answered 503,
 * and those after it are refused at once, until it returns after all. */
void ob__watch_init(struct ob__node *node);
void ob__watch_end(struct ob__node *node);

/* ob__loader_submit(), watched. */
void ob__watch_submit(struct ob__node *node, struct ob__load_job *job);

/* The refusal, while it hangs; for a transaction, or (0) at its admission. */
json_t *ob__watch_refusal(const struct ob__swap *s, uint64_t tx);

/* ---- report.c ---- */

json_t *ob__tx_json(struct ob__transaction *tx);

/* At its commit or its end: keeps what a report shows of the generations, and forgets them. */
void ob__tx_settle(struct ob__transaction *tx);
json_t *ob__gen_brief(const struct ob__gen *g);
json_t *ob__gen_detail(const struct ob__gen *g);
json_t *ob__refusal_json(uint64_t tx, const char *module, const struct ob__load_refusal *r);
json_t *ob__plain_refusal(const char *code, const char *module, const char *remedy,
                          const char *message);
void ob__swap_remember(struct ob__node *node, uint64_t id, json_t *report);

/* ---- swap.c ---- */

void ob__tx_reply(struct ob__transaction *tx, int status, json_t *body_stolen);

/* The transaction no longer keeps others from running. */
void ob__tx_release(struct ob__transaction *tx);

/* The loader hangs: those that wait for their turn are refused. */
void ob__swap_refuse_queue(struct ob__node *node);

/* The last generation of a module that was taken out is gone; unless one is on its way in. */
void ob__module_gone(struct ob__node *node, struct ob__module *m);

#endif
