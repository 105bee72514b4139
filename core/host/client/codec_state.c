/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/client/codec_state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "host/client/codec_hook.h"
#include "host/client/conn.h"
#include "host/node.h"

#define VISITED_MAX 4096u /* places of the slab looked at in one turn */
#define CLOCK_EVERY 16u   /* migrations between two looks at the clock */
#define BLANK_MAX   256u  /* as OB_CODEC_BLANK says */

/* A registration's flag: states of some version reach it only by way of the one before. */
#define REG_BY_STEPS 1u

struct state {
	uint32_t ver;
	uint32_t size;
	void *data;
};

/* ---- counting ---- */

static void count_version(struct ob__codec_states *cs, uint32_t ver, uint32_t size, int change)
{
	size_t at = OB__CODEC_COUNTED;

	for (size_t i = 0; i < OB__CODEC_COUNTED; i++) {
		if (cs->versions[i].conns > 0 && cs->versions[i].ver == ver) {
			at = i;
			break;
		}
		if (cs->versions[i].conns == 0 && change > 0) {
			at = i;
		}
	}
	if (at == OB__CODEC_COUNTED) {
		return;
	}
	cs->versions[at].ver = ver;
	cs->versions[at].size = size;
	cs->versions[at].conns += (uint32_t)change;
}

/* Connections whose version is neither of these. */
static uint32_t others(const struct ob__codec_states *cs, uint32_t a, uint32_t b)
{
	uint32_t n = 0;

	for (size_t i = 0; i < OB__CODEC_COUNTED; i++) {
		if (cs->versions[i].ver != a && cs->versions[i].ver != b) {
			n += cs->versions[i].conns;
		}
	}
	return n;
}

static void count_result(struct ob__node *node, const char *result)
{
	char labels[64];

	snprintf(labels, sizeof(labels), "result=\"%s\"", result);
	++*ob__stat_counter(node->stats, "obhost_codec_states_total", labels,
	                    "Connections whose codec state was brought to another version.");
}

/* ---- one state ---- */

/* Of connections whose codec keeps nothing for them (OB_CODEC_BLANK). */
static const uint64_t blank[BLANK_MAX / sizeof(uint64_t)];

/* There may be keys in it. */
static void free_state(void *data, uint32_t size)
{
	if (data != NULL && data != blank) {
		explicit_bzero(data, size);
		free(data);
	}
}

static void *new_state(const ob_codec *codec)
{
	return calloc(1, codec->state_size > 0 ? codec->state_size : 1);
}

static void *try_migrate(const ob_codec *to, ob_ctx *ctx, const struct state *from)
{
	void *data = new_state(to);

	if (data == NULL || to->migrate == NULL ||
	    to->migrate(ctx, from->ver, from->data, data) != 0) {
		free_state(data, to->state_size);
		return NULL;
	}
	return data;
}

/* From any version to that of `to`: directly, else through older generations.  NULL: no way. */
static void *convert(const struct ob__codec_step *steps, size_t steps_len,
                     const struct ob__codec_step *to, const struct state *from)
{
	void *data = try_migrate(&to->codec, &to->gen->ctx, from);
	struct state at = *from;

	for (size_t i = 0; data == NULL && i < steps_len; i++) {
		const ob_codec *c = &steps[i].codec;
		void *next =
			c->state_ver != at.ver ? try_migrate(c, &steps[i].gen->ctx, &at) : NULL;
		if (next == NULL) {
			continue;
		}
		if (at.data != from->data) {
			free_state(at.data, at.size);
		}
		at = (struct state){c->state_ver, c->state_size, next};
		if (at.ver == to->codec.state_ver) {
			return at.data;
		}
		data = try_migrate(&to->codec, &to->gen->ctx, &at);
	}
	if (at.data != from->data) {
		free_state(at.data, at.size);
	}
	return data;
}

/* ---- of a connection ---- */

static void drop_kept(struct ob__conn *conn)
{
	if (conn->kept != NULL) {
		conn->codec->states->kept--;
		free_state(conn->kept->data, conn->kept->size);
		free(conn->kept);
		conn->kept = NULL;
	}
}

static void keep(struct ob__conn *conn, const struct state *old)
{
	struct ob__codec_kept *kept = malloc(sizeof(*kept));

	if (kept == NULL) {
		free_state(old->data, old->size);
		return;
	}
	*kept = (struct ob__codec_kept){old->ver, old->size, old->data};
	conn->kept = kept;
	conn->codec->states->kept++;
}

static void set_state(struct ob__conn *conn, const ob_codec *codec, void *data)
{
	struct ob__codec_states *cs = conn->codec->states;

	count_version(cs, conn->codec_ver, conn->codec_size, -1);
	conn->codec_state = data;
	conn->codec_ver = codec->state_ver;
	conn->codec_size = codec->state_size;
	count_version(cs, conn->codec_ver, conn->codec_size, 1);
}

int ob__codec_join(struct ob__conn *conn, const struct ob__reg *reg)
{
	const ob_codec *codec = &reg->codec;

	conn->codec = reg->slot;
	conn->codec_ver = codec->state_ver;
	conn->codec_size = codec->state_size;
	if (codec->state_size > 0) {
		conn->codec_state = calloc(1, codec->state_size);
		if (conn->codec_state == NULL) {
			return OB_E_NOMEM;
		}
	}
	count_version(reg->slot->states, codec->state_ver, codec->state_size, 1);
	reg->slot->conns++;
	return 0;
}

void ob__codec_leave(struct ob__conn *conn)
{
	drop_kept(conn);
	free_state(conn->codec_state, conn->codec_size);
	conn->codec_state = NULL;
	count_version(conn->codec->states, conn->codec_ver, conn->codec_size, -1);
	conn->codec->conns--;
}

void ob__codec_share(struct ob__conn *conn, const ob_codec *codec)
{
	uint32_t size = conn->codec_size;

	if ((codec->flags & OB_CODEC_BLANK) != 0 && size > 0 && size <= BLANK_MAX &&
	    memcmp(conn->codec_state, blank, size) == 0) {
		free_state(conn->codec_state, size);
		conn->codec_state = (void *)(uintptr_t)blank;
		conn->codec->states->blank_ver = conn->codec_ver;
		conn->codec->states->blank = true;
	}
}

int ob__codec_renew(struct ob__conn *conn, const struct ob__reg *reg)
{
	void *old = conn->codec_state;
	uint32_t old_size = conn->codec_size;
	void *data = new_state(&reg->codec);

	if (data == NULL) {
		return OB_E_NOMEM;
	}
	drop_kept(conn);
	set_state(conn, &reg->codec, data);
	free_state(old, old_size);
	return 0;
}

static bool bring_forth(struct ob__conn *conn, const struct ob__codec_step *to)
{
	struct ob__codec_states *cs = conn->codec->states;
	struct state old = {conn->codec_ver, conn->codec_size, conn->codec_state};
	void *data = convert(cs->steps, cs->steps_len, to, &old);

	if (data == NULL) {
		count_result(cs->node, "failed");
		return false;
	}
	set_state(conn, &to->codec, data);
	drop_kept(conn);
	if (cs->trial) {
		keep(conn, &old);
	} else {
		free_state(old.data, old.size);
	}
	count_result(cs->node, "migrated");
	return true;
}

/* What was kept, in the version of `to`; NULL if nothing was, or it can't be. */
static void *from_kept(struct ob__conn *conn, const struct ob__codec_step *to)
{
	struct ob__codec_states *cs = conn->codec->states;
	struct ob__codec_kept *kept = conn->kept;

	if (kept == NULL) {
		return NULL;
	}
	if (kept->ver == to->codec.state_ver && kept->size == to->codec.state_size) {
		void *data = kept->data != NULL ? kept->data : calloc(1, 1);
		kept->data = NULL;
		return data;
	}
	struct state old = {kept->ver, kept->size, kept->data};
	return convert(cs->steps, cs->steps_len, to, &old);
}

/* A state as that of a connection that begins; NULL if the codec will not. */
static void *begin_anew(struct ob__conn *conn, const struct ob__codec_step *to)
{
	void *data = new_state(&to->codec);

	if (data != NULL && ob__codec_fill(conn, &to->codec, to->gen, data) != 0) {
		free_state(data, to->codec.state_size);
		return NULL;
	}
	return data;
}

static bool bring_back(struct ob__conn *conn, const struct ob__codec_step *to)
{
	struct ob__codec_states *cs = conn->codec->states;
	struct state old = {conn->codec_ver, conn->codec_size, conn->codec_state};
	const char *result = "migrated";
	void *data = convert(cs->steps, cs->steps_len, to, &old);

	if (data == NULL) {
		result = "restored";
		data = from_kept(conn, to);
	}
	if (data == NULL) {
		result = "reset";
		data = begin_anew(conn, to);
	}
	if (data == NULL) {
		count_result(cs->node, "failed");
		return false;
	}
	set_state(conn, &to->codec, data);
	drop_kept(conn);
	free_state(old.data, old.size);
	count_result(cs->node, result);
	return true;
}

bool ob__codec_bring(struct ob__conn *conn, const struct ob__reg *reg)
{
	struct ob__codec_step to = {reg->codec, reg->gen};

	return conn->codec->states->returned ? bring_back(conn, &to) : bring_forth(conn, &to);
}

/* ---- the sweep ---- */

static void release_steps(struct ob__codec_states *cs)
{
	for (uint32_t i = 0; i < cs->steps_len; i++) {
		ob__gen_unref(cs->steps[i].gen);
	}
	cs->steps_len = 0;
}

/* One connection's part; true if it was migrated or what was kept was freed. */
static bool touch(struct ob__codec_states *cs, struct ob__conn *conn, const struct ob__reg *reg)
{
	if (conn->codec != cs->slot || !conn->opened || conn->stream.closing || conn->close_sent) {
		return false;
	}
	if (conn->codec_ver != reg->codec.state_ver) {
		if (!ob__codec_bring(conn, reg)) {
			ob__conn_close(conn, OB__WS_INTERNAL, "no codec", "no_codec");
		}
		return true;
	}
	if (conn->kept != NULL && !cs->trial) {
		drop_kept(conn);
		return true;
	}
	return false;
}

static bool has_work(const struct ob__codec_states *cs)
{
	uint32_t ver = cs->now.codec.state_ver;

	return others(cs, ver, ver) > 0 || (!cs->trial && cs->kept > 0) || cs->steps_len > 0;
}

static void sweep_turn(void *arg);

static void queue(struct ob__codec_states *cs)
{
	if (cs->queued || !has_work(cs)) {
		return;
	}
	cs->queued = ob__loop_defer(cs->node->loop, sweep_turn, cs) == 0;
	if (!cs->queued) {
		ob__warning("client",
		            "out of memory: states of the codec %s change as they are used",
		            cs->slot->name);
	}
}

static void sweep_turn(void *arg)
{
	struct ob__codec_states *cs = arg;
	const struct ob__slab *conns = &cs->node->clients.conns;
	uint64_t end = ob__loop_hrtime_us() + OB__CODEC_TURN_US;
	uint32_t visited = 0;
	uint32_t done = 0;

	cs->queued = false;
	for (; cs->pos < conns->fresh && visited < VISITED_MAX; cs->pos++, visited++) {
		struct ob__slab_head *head = ob__slab_at(conns, cs->pos);
		const struct ob__reg *reg = ob__slot_active(cs->slot);
		if (reg == NULL) {
			return;
		}
		if (ob__handle_kind(head->handle) != conns->kind ||
		    !touch(cs, (struct ob__conn *)(void *)(head + 1), reg)) {
			continue;
		}
		done++;
		if (done >= OB__CODEC_PER_TURN ||
		    (done % CLOCK_EVERY == 0 && ob__loop_hrtime_us() >= end)) {
			cs->pos++;
			break;
		}
	}
	if (cs->pos < conns->fresh) {
		queue(cs);
		return;
	}
	cs->pos = 0;
	release_steps(cs); /* whoever has an older state now is closing */
}

/* ---- the switch ---- */

static void forget_step(struct ob__codec_states *cs, const struct ob__gen *g)
{
	uint32_t len = 0;

	for (uint32_t i = 0; i < cs->steps_len; i++) {
		if (cs->steps[i].gen == g) {
			ob__gen_unref(cs->steps[i].gen);
		} else {
			cs->steps[len++] = cs->steps[i];
		}
	}
	cs->steps_len = len;
}

void ob__conns_codec_switched(struct ob__node *node, struct ob__slot *slot)
{
	struct ob__codec_states *cs = slot->states;
	const struct ob__reg *reg = ob__slot_active(slot);

	(void)node;
	if (cs == NULL || (reg != NULL && cs->now.gen == reg->gen)) {
		return;
	}
	if (reg == NULL) { /* taken out: nothing uses it */
		release_steps(cs);
		cs->now = (struct ob__codec_step){.gen = NULL};
		cs->before = NULL;
		cs->trial = false;
		return;
	}
	cs->returned = cs->trial && cs->before == reg->gen;
	forget_step(cs, reg->gen);
	if (!cs->returned && cs->now.gen != NULL && (reg->flags & REG_BY_STEPS) != 0 &&
	    cs->steps_len < OB__CODEC_STEPS) {
		ob__gen_ref(cs->now.gen);
		cs->steps[cs->steps_len++] = cs->now;
	}
	cs->trial = !cs->returned && cs->now.gen != NULL;
	cs->before = cs->trial ? cs->now.gen : NULL;
	cs->now = (struct ob__codec_step){reg->codec, reg->gen};
	cs->pos = 0;
	queue(cs);
}

void ob__conns_codec_committed(struct ob__node *node, struct ob__slot *slot)
{
	struct ob__codec_states *cs = slot->states;

	(void)node;
	if (cs == NULL || !cs->trial) {
		return;
	}
	cs->trial = false;
	cs->before = NULL;
	cs->pos = 0;
	queue(cs);
}

static void each_codec(struct ob__gen *g, void (*fn)(struct ob__node *node, struct ob__slot *slot))
{
	OB__LIST_EACH (it, &g->regs) {
		const struct ob__reg *reg = OB__CONTAINER(it, struct ob__reg, gen_link);
		if (reg->slot->kind == OB__SLOT_CODEC) {
			fn(g->node, reg->slot);
		}
	}
}

void ob__codecs_switched(struct ob__gen *g)
{
	each_codec(g, ob__conns_codec_switched);
}

void ob__codecs_committed(struct ob__gen *g)
{
	each_codec(g, ob__conns_codec_committed);
}

/* ---- registering ---- */

int ob__codec_registered(struct ob__gen *g, struct ob__reg *reg)
{
	struct ob__slot *slot = reg->slot;

	if (slot->states == NULL) {
		slot->states = calloc(1, sizeof(*slot->states));
		if (slot->states == NULL) {
			return OB_E_NOMEM;
		}
		slot->states->node = g->node;
		slot->states->slot = slot;
	}
	if (slot->active == reg) { /* a new codec of a generation that serves */
		slot->states->now = (struct ob__codec_step){reg->codec, g};
	}
	return 0;
}

static const struct ob__conn *sample(const struct ob__codec_states *cs, uint32_t ver)
{
	const struct ob__conn *conn;

	for (uint32_t i = 0; (conn = ob__slab_next(&cs->node->clients.conns, &i)) != NULL;) {
		if (conn->codec == cs->slot && conn->codec_ver == ver && conn->opened &&
		    !conn->stream.closing && !conn->close_sent) {
			return conn;
		}
	}
	return NULL;
}

/* Tries one connection's state.  0 direct, 1 by steps, -1 no way. */
static int rehearse(const struct ob__codec_states *cs, const struct ob__codec_step *to,
                    uint32_t ver)
{
	struct ob__codec_step steps[OB__CODEC_STEPS + 1];
	const struct ob__conn *conn = sample(cs, ver);

	if (conn == NULL) {
		return 0;
	}
	struct state from = {conn->codec_ver, conn->codec_size, conn->codec_state};
	void *data = convert(NULL, 0, to, &from);
	free_state(data, to->codec.state_size);
	if (data != NULL) {
		return 0;
	}
	if (cs->steps_len >= OB__CODEC_STEPS) {
		return -1;
	}
	memcpy(steps, cs->steps, sizeof(cs->steps));
	steps[cs->steps_len] = cs->now;
	data = convert(steps, cs->steps_len + 1, to, &from);
	free_state(data, to->codec.state_size);
	return data != NULL ? 1 : -1;
}

/* Of the versions that connections have, other than the active one. */
static int check_version(struct ob__gen *g, const struct ob__codec_states *cs, size_t i,
                         const struct ob__codec_step *to, uint32_t *flags)
{
	uint32_t ver = cs->versions[i].ver;

	if (ver == to->codec.state_ver) {
		if (cs->versions[i].size == to->codec.state_size) {
			return 0;
		}
		snprintf(g->refused, sizeof(g->refused),
		         "codec state version %u has %u bytes on %u connections, not %u", ver,
		         cs->versions[i].size, cs->versions[i].conns, to->codec.state_size);
		return OB_E_STATE;
	}
	int way = ver != cs->now.codec.state_ver ? rehearse(cs, to, ver) : 0;
	if (way < 0) {
		snprintf(g->refused, sizeof(g->refused),
		         "codec state version %u: %u connections still have version %u, which it "
		         "can't migrate; they are on their way, try again",
		         to->codec.state_ver, cs->versions[i].conns, ver);
		return OB_E_STATE;
	}
	*flags |= way > 0 ? REG_BY_STEPS : 0;
	return 0;
}

/* One that writes to it, or is to come back and does, may find a state that is shared. */
static int refuse_blank(struct ob__gen *g, const ob_codec *codec)
{
	snprintf(g->refused, sizeof(g->refused),
	         "codec state version %u is shared where it is blank, or not: a codec that changes "
	         "that needs a new version",
	         codec->state_ver);
	return OB_E_STATE;
}

static int check_active(struct ob__gen *g, const ob_codec *codec, const ob_codec *old)
{
	if (old->state_ver == codec->state_ver && old->state_size != codec->state_size) {
		snprintf(
			g->refused, sizeof(g->refused),
			"codec state version %u has %u bytes, not %u: a new size needs a new version",
			codec->state_ver, old->state_size, codec->state_size);
		return OB_E_STATE;
	}
	if (old->state_ver == codec->state_ver && codec->state_size > 0 && codec->open != NULL &&
	    old->open == NULL) {
		snprintf(g->refused, sizeof(g->refused),
		         "codec state version %u was never opened: a codec that begins to needs a "
		         "new version",
		         codec->state_ver);
		return OB_E_STATE;
	}
	if (old->state_ver == codec->state_ver && codec->state_size > 0 &&
	    (codec->flags & ~old->flags & OB_CODEC_BLANK) != 0) {
		return refuse_blank(g, codec);
	}
	if (old->state_ver != codec->state_ver && codec->migrate == NULL) {
		snprintf(g->refused, sizeof(g->refused),
		         "codec state version %u replaces %u without migrate", codec->state_ver,
		         old->state_ver);
		return OB_E_STATE;
	}
	return 0;
}

int ob__codec_acceptable(struct ob__gen *g, const ob_codec *codec, uint32_t *flags)
{
	const struct ob__slot *slot = ob__slots_codec(&g->node->slots, codec->name);
	const struct ob__reg *old = ob__slot_active(slot);
	struct ob__codec_step to = {*codec, g};
	uint32_t versions = 0;

	*flags = 0;
	if (old == NULL || old->gen->module != g->module) {
		return 0; /* nobody's, or another module's, which registering refuses */
	}
	int rc = check_active(g, codec, &old->codec);
	if (rc == 0 && slot->states->blank && slot->states->blank_ver == codec->state_ver &&
	    (codec->flags & OB_CODEC_BLANK) == 0) {
		rc = refuse_blank(g, codec);
	}
	rc = rc == 0 ? ob__codec_conf_check_all(g, codec) : rc;
	for (size_t i = 0; rc == 0 && i < OB__CODEC_COUNTED; i++) {
		if (slot->states->versions[i].conns > 0) {
			versions++;
			rc = check_version(g, slot->states, i, &to, flags);
		}
	}
	if (rc == 0 && versions >= OB__CODEC_VERSIONS) {
		snprintf(g->refused, sizeof(g->refused),
		         "connections have %u versions of this codec's state; try again", versions);
		return OB_E_STATE;
	}
	return rc;
}
