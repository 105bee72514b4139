/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to t/fuzz.  Inputs that are made from those of a corpus: bits are flipped, bytes and
 * numbers set, parts cut out, doubled, moved and taken from another input, lengths made to fit and
 * not to fit.  Which input is made depends on the corpus (by name, not by the folder's order), the
 * seed and the number of the run alone.  One thread.
 */

#ifndef OB__FUZZ_MUTATE_H
#define OB__FUZZ_MUTATE_H

#include <stddef.h>
#include <stdint.h>

struct fuzz_input {
	char *name;
	uint8_t *data;
	size_t len;
};

struct fuzz_corpus {
	struct fuzz_input *inputs;
	size_t count;
};

/* Takes a copy of the name and the bytes.  Returns 0, or -1 without memory. */
int fuzz_corpus_add(struct fuzz_corpus *c, const char *name, const uint8_t *data, size_t len);

/* To be called when all inputs are in. */
void fuzz_corpus_sort(struct fuzz_corpus *c);

void fuzz_corpus_free(struct fuzz_corpus *c);

/* Writes the input of this run, at most `cap` bytes, and returns its length; of a corpus that is
 * sorted and not empty. */
size_t fuzz_make(const struct fuzz_corpus *c, uint64_t seed, uint64_t run, uint8_t *out,
                 size_t cap);

#endif
