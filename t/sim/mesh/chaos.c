/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "t/sim/mesh/chaos.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define MS         UINT64_C(1000)
#define SECOND     (1000 * MS)
#define PARTED_MAX 100u /* nodes: each pair is cut */

struct cut {
	struct chaos *chaos;
	uint32_t from;
	uint32_t to;
};

static void on_cut_over(void *arg)
{
	struct cut *cut = arg;
	if (!cut->chaos->over) {
		sim_block(cut->chaos->world, cut->from, cut->to, false);
	}
	free(cut);
}

static void cut(struct chaos *c, uint32_t from, uint32_t to, uint64_t us)
{
	struct cut *cut = malloc(sizeof(*cut));
	if (cut == NULL) {
		abort();
	}
	*cut = (struct cut){.chaos = c, .from = from, .to = to};
	sim_block(c->world, from, to, true);
	sim_at(c->world, us, on_cut_over, cut);
}

/* A random set of nodes and the rest, in one direction or both. */
static void partition(struct chaos *c, uint64_t us)
{
	uint8_t in[SIM_NODES_MAX];
	uint32_t nodes = sim_nodes(c->world);
	bool both = sim_chance(c->world, 600);
	for (uint32_t i = 0; i < nodes; i++) {
		in[i] = sim_chance(c->world, 400);
	}
	for (uint32_t i = 0; i < nodes; i++) {
		for (uint32_t k = 0; k < nodes; k++) {
			if ((in[i] && !in[k]) || (both && !in[i] && in[k])) {
				cut(c, i, k, us);
			}
		}
	}
}

struct later {
	struct chaos *chaos;
	struct sim_node *n;
};

static void on_restart(void *arg)
{
	struct later *l = arg;
	if (!l->chaos->over) {
		sim_boot(l->n);
	}
	free(l);
}

static void on_slow_over(void *arg)
{
	struct later *l = arg;
	sim_slow(l->n, 0);
	free(l);
}

static void later(struct chaos *c, struct sim_node *n, uint64_t us, void (*fn)(void *arg))
{
	struct later *l = malloc(sizeof(*l));
	if (l == NULL) {
		abort();
	}
	*l = (struct later){.chaos = c, .n = n};
	sim_at(c->world, us, fn, l);
}

static void crash(struct chaos *c, struct sim_node *n, enum sim_crash how, uint64_t us)
{
	sim_crash(n, how);
	later(c, n, sim_chance(c->world, 400) ? us : us / 20, on_restart);
}

static struct sim_node *choose(struct chaos *c)
{
	uint32_t most = c->few > 0 && sim_chance(c->world, 250) ? c->few : sim_nodes(c->world);
	return sim_node(c->world, (uint32_t)sim_below(c->world, most));
}

static void one_fault(struct chaos *c, enum chaos_fault fault)
{
	uint64_t most = c->most_us != 0 ? c->most_us : 9 * SECOND;
	struct sim_node *n = choose(c);
	struct sim_node *m = choose(c);
	uint64_t us = 1 * MS + sim_below(c->world, sim_chance(c->world, 500) ? most / 9 : most);
	c->counts[fault]++;
	switch (fault) {
	case CHAOS_PAUSE:
		sim_pause(n, us);
		break;
	case CHAOS_JUMP:
		sim_jump(n, us);
		break;
	case CHAOS_SLOW:
		sim_slow(n, sim_below(c->world, 1 * SECOND));
		later(c, n, us, on_slow_over);
		break;
	case CHAOS_RESET_BOTH:
	case CHAOS_RESET_ONE:
		sim_reset(n, m, fault == CHAOS_RESET_BOTH);
		break;
	case CHAOS_STALL_ONE_WAY:
		cut(c, n->index, m->index, us);
		break;
	case CHAOS_STALL:
		cut(c, n->index, m->index, us);
		cut(c, m->index, n->index, us);
		break;
	case CHAOS_PARTITION:
		partition(c, us);
		break;
	case CHAOS_CRASH_PROCESS:
		crash(c, n, SIM_CRASH_PROCESS, us);
		break;
	case CHAOS_CRASH_MACHINE:
		crash(c, n, SIM_CRASH_MACHINE, us);
		break;
	case CHAOS_END:
		break;
	}
}

static void on_fault(void *arg)
{
	struct chaos *c = arg;
	if (!c->on) {
		return;
	}
	enum chaos_fault fault = (enum chaos_fault)sim_below(c->world, CHAOS_END);
	if (fault == CHAOS_PARTITION &&
	    (sim_nodes(c->world) > PARTED_MAX || sim_chance(c->world, 500))) {
		fault = CHAOS_RESET_BOTH;
	}
	one_fault(c, fault);
	sim_at(c->world, sim_below(c->world, 2 * c->every_us), on_fault, c);
}

void chaos_begin(struct chaos *c)
{
	c->on = true;
	sim_at(c->world, sim_below(c->world, 2 * c->every_us), on_fault, c);
}

void chaos_stop(struct chaos *c)
{
	c->on = false;
	c->over = true;
}

void chaos_end(struct chaos *c)
{
	chaos_stop(c);
	sim_heal(c->world);
}

static const char *word(enum chaos_fault fault)
{
	static const char *const words[] = {
		"pause",         "jump",  "slow",      "reset",        "reset at one end",
		"stall one way", "stall", "partition", "process dies", "machine dies",
	};
	return fault < CHAOS_END ? words[fault] : "?";
}

void chaos_show(const uint64_t counts[CHAOS_END])
{
	printf("# faults:");
	for (int i = 0; i < CHAOS_END; i++) {
		printf(" %s %" PRIu64 "%s", word((enum chaos_fault)i), counts[i],
		       i + 1 < CHAOS_END ? "," : "\n");
	}
}

bool chaos_met_all(const uint64_t counts[CHAOS_END])
{
	bool all = true;
	for (int i = 0; i < CHAOS_END; i++) {
		all = all && counts[i] > 0;
	}
	return all;
}
