/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the executable.  Words in a text: each @WORD@ that is known is replaced, all else
 * stays as it is, also an unknown @WORD@, which may be configure's.
 */

#ifndef OB__TEMPLATE_H
#define OB__TEMPLATE_H

#include <stddef.h>

struct ob__template_word {
	const char *word;  /* without the @ */
	const char *value; /* not looked at for words again */
};

/* Writes the text with its words replaced into out, at most cap bytes of it and no terminator, and
 * returns the length of the whole.  Pure; out may be NULL when cap is 0. */
size_t ob__template_expand(char *out, size_t cap, const char *text, size_t len,
                           const struct ob__template_word *words, size_t words_len);

#endif
