/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to t/fuzz.  Runs a target on many inputs made from its corpus, in processes of their own:
 * what one of them dies of, and what it doesn't come back from, is found here, and the input it was
 * at is saved.
 */

#ifndef OB__FUZZ_EXPLORE_H
#define OB__FUZZ_EXPLORE_H

#include "t/fuzz/mutate.h"

struct fuzz_plan {
	uint64_t seed;
	uint64_t runs;      /* which inputs are made doesn't depend on the workers */
	unsigned workers;   /* processes, 1 to FUZZ_WORKERS */
	size_t max_len;     /* of an input, in bytes */
	const char *prefix; /* of the file a finding is saved in */
};

#define FUZZ_WORKERS 64u

/* Prints the sum on stdout, findings on stderr.  Returns 0, or 1: there was a finding, or it could
 * not be done. */
int fuzz_explore(const struct fuzz_corpus *c, const struct fuzz_plan *plan);

#endif
