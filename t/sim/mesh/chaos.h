/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to t/sim/mesh.  Faults at random, for programs that need no particular ones: pauses,
 * clocks that leap, slow wires, resets, silence in one direction or both, partitions, processes and
 * machines that die and come back.
 */

#ifndef OB__SIM_CHAOS_H
#define OB__SIM_CHAOS_H

#include <stdbool.h>
#include <stdint.h>

#include "t/sim/mesh/world.h"

enum chaos_fault {
	CHAOS_PAUSE,
	CHAOS_JUMP,
	CHAOS_SLOW,
	CHAOS_RESET_BOTH,
	CHAOS_RESET_ONE,
	CHAOS_STALL_ONE_WAY,
	CHAOS_STALL,
	CHAOS_PARTITION,
	CHAOS_CRASH_PROCESS,
	CHAOS_CRASH_MACHINE,
	CHAOS_END,
};

/* In the program's memory, as long as the world. */
struct chaos {
	struct sim_world *world;
	uint64_t every_us; /* about */
	uint64_t most_us;  /* how long one lasts; 0: 9 s */
	uint32_t few;      /* the first ones have their share of it whatever their number; or 0 */
	bool on;
	bool over;
	uint64_t *counts; /* [CHAOS_END] */
};

void chaos_begin(struct chaos *c);

/* Ends all faults, for good. */
void chaos_end(struct chaos *c);

/* The same without the word that all is well: a world that is given up. */
void chaos_stop(struct chaos *c);

/* Tells how often each has been, in a line of TAP comment. */
void chaos_show(const uint64_t counts[CHAOS_END]);

/* Each has been. */
bool chaos_met_all(const uint64_t counts[CHAOS_END]);

#endif
