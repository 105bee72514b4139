/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "t/sim/mesh/seeds.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BAD_MAX 5u
#define TWICE   3u /* seeds that are compared with themselves */

static bool is_long(void)
{
	const char *value = getenv("OB_LONG");
	return value != NULL && *value != '\0' && strcmp(value, "0") != 0;
}

static bool run_seed(const struct sim_seeds *s, const struct sim_run *run, uint64_t *hash)
{
	jmp_buf where;
	struct sim_world *w = s->set_up(run);
	sim_catch(w, &where);
	if (setjmp(where) == 0) {
		s->live(w);
		*hash = sim_hash(w);
		s->tear_down(w);
		return true;
	}
	printf("# seed %" PRIu64 ": %s\n# (%st/sim/mesh/%s %" PRIu64 " shows it)\n", run->seed,
	       sim_why(), run->big ? "OB_LONG=1 " : "", s->program, run->seed);
	return false;
}

static bool same_twice(const struct sim_seeds *s, uint64_t first)
{
	for (uint64_t seed = first; seed < first + TWICE; seed++) {
		const struct sim_run run = {.seed = seed};
		uint64_t a = 0;
		uint64_t b = 1;
		if (!run_seed(s, &run, &a) || !run_seed(s, &run, &b) || a != b) {
			printf("# seed %" PRIu64 ": two runs differ\n", seed);
			return false;
		}
	}
	return true;
}

static void tell(int number, bool ok, const char *what, const char *skipped)
{
	printf("%sok %d - %s%s%s\n", ok ? "" : "not ", number, what,
	       skipped != NULL ? " # SKIP " : "", skipped != NULL ? skipped : "");
}

int sim_seeds(const struct sim_seeds *s, int argc, char **argv)
{
	bool big = is_long();
	bool chosen = argc > 1;
	uint64_t first = chosen ? strtoull(argv[1], NULL, 10) : 1;
	uint64_t last = argc > 2 ? strtoull(argv[2], NULL, 10)
	                : chosen ? first
	                : big    ? s->long_seeds
	                         : s->short_seeds;
	uint64_t ran = 0;
	uint64_t bad = 0;
	uint64_t hash;
	clock_t begin = clock();
	printf("1..3\n");
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (uint64_t seed = first; seed <= last && bad < BAD_MAX; seed++, ran++) {
		const struct sim_run run = {.seed = seed, .loud = argc == 2, .big = big};
		bad += !run_seed(s, &run, &hash);
	}
	for (size_t i = 0; !chosen && !big && i < s->found_len && bad < BAD_MAX; i++, ran++) {
		const struct sim_run run = {.seed = s->found[i], .big = true};
		bad += !run_seed(s, &run, &hash);
	}
	s->show(ran, (double)(clock() - begin) / CLOCKS_PER_SEC);
	const char *failed = bad > 0 ? "a seed has failed" : NULL;
	bool met = chosen || failed != NULL || s->covered();
	bool same = failed != NULL || same_twice(s, first);
	tell(1, bad == 0, "what must hold does, whatever happens", NULL);
	tell(2, met, "everything has happened", chosen ? "seeds were chosen" : failed);
	tell(3, same, "the same seed is the same run", failed);
	return bad > 0 || !met || !same;
}
