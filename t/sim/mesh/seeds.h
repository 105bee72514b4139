/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to t/sim/mesh.  The frame of a program that lives through one world (t/sim/mesh/world.h)
 * for each seed:
 *
 *     PROGRAM          its short form; with OB_LONG=1 in the environment the long one
 *     PROGRAM SEED     this one, with everything that happens on stdout
 *     PROGRAM A B      the seeds from A to B
 *
 * Where a program says so, OB_LONG=1 makes worlds larger, too, whichever seeds are chosen: runs
 * that have it are `big`.  Seeds that once failed stand in `found`, and the short form has them as
 * well, big.  A seed that fails is told with the command that repeats it; after a few the rest is
 * not run.
 *
 * The result is three TAP tests: that no seed fails, that the seeds together have met all they are
 * for, and that the same seed is the same run.  The second is not asked of chosen seeds, nor the
 * last two when a seed has failed.
 */

#ifndef OB__SIM_SEEDS_H
#define OB__SIM_SEEDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "t/sim/mesh/world.h"

struct sim_run {
	uint64_t seed;
	bool loud;
	bool big;
};

struct sim_seeds {
	const char *program;
	uint64_t short_seeds;
	uint64_t long_seeds;
	const uint64_t *found;
	size_t found_len;
	/* Makes the world.  What it makes stays behind when the seed fails. */
	struct sim_world *(*set_up)(const struct sim_run *run);
	void (*live)(struct sim_world *w);
	/* Frees the world and the rest. */
	void (*tear_down)(struct sim_world *w);
	/* Tells what has been counted, in lines of TAP comments. */
	void (*show)(uint64_t seeds, double seconds);
	/* A simulation that meets nothing proves nothing. */
	bool (*covered)(void);
};

/* The program's exit status. */
int sim_seeds(const struct sim_seeds *s, int argc, char **argv);

#endif
