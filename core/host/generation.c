/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/generation.h"

#include <stdlib.h>
#include <string.h>

#include "base/loop.h"
#include "host/kv.h"
#include "host/node.h"
#include "host/sdk/sdk.h"
#include "host/swap/swap.h"

#define STATE_MAX  (16u << 20)
#define STATES_MAX 64u

struct ob__module *ob__module_find(struct ob__node *node, const char *name)
{
	OB__LIST_EACH (it, &node->modules) {
		struct ob__module *m = OB__CONTAINER(it, struct ob__module, link);
		if (strcmp(m->name, name) == 0) {
			return m;
		}
	}
	return NULL;
}

struct ob__module *ob__module_new(struct ob__node *node, const char *name, const char *path,
                                  json_t *conf, bool admin, bool implied)
{
	struct ob__module *m = calloc(1, sizeof(*m));
	if (m == NULL || conf == NULL) {
		goto fail;
	}
	ob__list_init(&m->link);
	ob__list_init(&m->gens);
	m->conf = conf;
	m->admin = admin;
	m->implied = implied;
	m->name = strdup(name);
	m->path = path != NULL ? strdup(path) : NULL;
	if (m->name == NULL || (path != NULL && m->path == NULL)) {
		ob__module_free(m);
		return NULL;
	}
	ob__list_append(&node->modules, &m->link);
	return m;
fail:
	json_decref(conf);
	free(m);
	return NULL;
}

static void state_unref(struct ob__state *s)
{
	if (s == NULL || --s->refs > 0) {
		return;
	}
	free(s->key);
	free(s->data);
	free(s);
}

static void states_free(struct ob__state **states, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		state_unref(states[i]);
	}
	free(states);
}

void ob__module_free(struct ob__module *m)
{
	if (m == NULL) {
		return;
	}
	ob__list_del(&m->link);
	states_free(m->states, m->states_len);
	ob__kv_free(m->kv);
	for (size_t i = 0; i < m->counters_len; i++) {
		free(m->counters[i].name);
	}
	free(m->counters);
	json_decref(m->conf);
	free(m->name);
	free(m->path);
	free(m);
}

struct ob__gen *ob__gen_new(struct ob__node *node, struct ob__module *m)
{
	struct ob__gen *g = calloc(1, sizeof(*g));
	if (g == NULL) {
		return NULL;
	}
	g->ctx.api = &ob__sdk_api;
	g->node = node;
	g->module = m;
	g->state = OB__GEN_LOADED;
	g->since = ob__loop_now(node->loop);
	ob__list_init(&g->regs);
	ob__list_init(&g->timers);
	ob__list_init(&g->watches);
	ob__list_init(&g->msgs);
	ob__list_init(&g->reqs);
	ob__list_init(&g->calls);
	ob__list_init(&g->plans);
	ob__list_init(&g->gates);
	ob__list_init(&g->waits);
	ob__list_append(&m->gens, &g->link);
	m->gen_count++;
	return g;
}

void ob__gen_free(struct ob__gen *g)
{
	if (g == NULL) {
		return;
	}
	ob__list_del(&g->link);
	g->module->gen_count--;
	states_free(g->states, g->states_len);
	json_decref(g->conf);
	free(g->drain_timeout);
	free(g->closing);
	free(g->staged);
	free(g->file);
	free(g);
}

void ob__gen_call_stop(struct ob__gen *g)
{
	bool owed = g->started && g->desc->stop != NULL;

	g->started = false;
	if (owed) {
		g->desc->stop(&g->ctx);
	}
}

static bool leaving(const struct ob__gen *g)
{
	return g->state == OB__GEN_DRAINING || g->state == OB__GEN_ZOMBIE;
}

void ob__gen_ref(struct ob__gen *g)
{
	g->refs++;
}

void ob__gen_unref(struct ob__gen *g)
{
	if (--g->refs == 0 && leaving(g)) {
		ob__swap_drained(g);
	}
}

void ob__gen_post_ran(struct ob__gen *g)
{
	if (atomic_fetch_sub(&g->posts, 1) > 1 || !leaving(g)) {
		return;
	}
	if (g->refs == 0) {
		ob__swap_drained(g);
	} else {
		atomic_store(&g->open, g->state == OB__GEN_DRAINING); /* it began something */
	}
}

/* Shut while only posts are left, so that a thread that goes on posting can't keep it for ever. */
bool ob__gen_shut(struct ob__gen *g)
{
	if (g->refs > 0) {
		return false;
	}
	atomic_store(&g->open, false);
	return atomic_load(&g->posts) == 0;
}

const char *ob__gen_state_word(const struct ob__gen *g)
{
	switch (g->state) {
	case OB__GEN_LOADED:
		return "loaded";
	case OB__GEN_STARTING:
		return "starting";
	case OB__GEN_CANARY:
		return "canary";
	case OB__GEN_ACTIVE:
		return "active";
	case OB__GEN_STANDBY:
		return "standby";
	case OB__GEN_DRAINING:
		return "draining";
	case OB__GEN_STOPPED:
		return "stopped";
	case OB__GEN_ZOMBIE:
		return "zombie";
	}
	return "unknown";
}

static struct ob__state *states_find(struct ob__state **states, size_t len, const char *key)
{
	for (size_t i = 0; i < len; i++) {
		if (strcmp(states[i]->key, key) == 0) {
			return states[i];
		}
	}
	return NULL;
}

static int states_add(struct ob__state ***states, size_t *len, struct ob__state *s)
{
	struct ob__state **grown = realloc(*states, (*len + 1) * sizeof(*grown));
	if (grown == NULL) {
		return OB_E_NOMEM;
	}
	grown[(*len)++] = s;
	*states = grown;
	return 0;
}

static struct ob__state *state_new(const char *key, size_t size, uint32_t version)
{
	struct ob__state *s = calloc(1, sizeof(*s));
	if (s == NULL) {
		return NULL;
	}
	s->refs = 1;
	s->size = size;
	s->version = version;
	s->key = strdup(key);
	s->data = calloc(1, size);
	if (s->key == NULL || s->data == NULL) {
		state_unref(s);
		return NULL;
	}
	return s;
}

void *ob__gen_state_block(struct ob__gen *g, const char *key, size_t size, uint32_t version)
{
	if (size == 0 || size > STATE_MAX) {
		return NULL;
	}
	struct ob__state *mine = states_find(g->states, g->states_len, key);
	if (mine != NULL) {
		return mine->size == size && mine->version == version ? mine->data : NULL;
	}
	if (g->states_len >= STATES_MAX) {
		return NULL;
	}
	struct ob__state *s = states_find(g->module->states, g->module->states_len, key);
	if (s != NULL && s->size == size && s->version == version) {
		s->refs++;
	} else {
		s = state_new(key, size, version);
	}
	if (s == NULL || states_add(&g->states, &g->states_len, s) != 0) {
		state_unref(s);
		return NULL;
	}
	if (g->state == OB__GEN_ACTIVE) {
		ob__gen_states_commit(g);
	}
	return s->data;
}

void ob__gen_states_commit(struct ob__gen *g)
{
	struct ob__module *m = g->module;

	for (size_t i = 0; i < g->states_len; i++) {
		struct ob__state *s = g->states[i];
		struct ob__state *old = states_find(m->states, m->states_len, s->key);
		if (old == s) {
			continue;
		}
		s->refs++;
		if (old == NULL) {
			if (states_add(&m->states, &m->states_len, s) != 0) {
				s->refs--;
			}
			continue;
		}
		for (size_t k = 0; k < m->states_len; k++) {
			if (m->states[k] == old) {
				m->states[k] = s;
			}
		}
		state_unref(old);
	}
}
