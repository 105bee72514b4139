/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to codec_pomelo.  Characters beyond U+FFFF, as pomelo's browser clients treat them: they
 * write each as two surrogates of three bytes (CESU-8), which is no UTF-8, and can't read the four
 * bytes that UTF-8 has for it.  So the former becomes UTF-8 on its way in, and in JSON the latter
 * becomes \uD83D\uDE00 on its way out, which every client reads.
 */

#ifndef POMELO_UNICODE_H
#define POMELO_UNICODE_H

#include <stddef.h>
#include <stdint.h>

/* Surrogates become the character they stand for, or U+FFFD where there is one alone. In place,
 * as it never gets longer; returns the new length. */
size_t pomelo_join_surrogates(uint8_t *text, size_t len);

/* The length of JSON text once it is escaped. */
size_t pomelo_escaped_len(const uint8_t *json, size_t len);

/* Writes it, pomelo_escaped_len() bytes. */
void pomelo_escape(const uint8_t *json, size_t len, uint8_t *out);

/* Copies text, surrogates joined and what is no UTF-8 replaced by U+FFFD, at most 3 * len bytes;
 * returns how many. */
size_t pomelo_clean(const uint8_t *text, size_t len, uint8_t *out);

/* The length of the character at the front of text[0..len), len > 0; 0: that is no UTF-8. */
size_t pomelo_char_len(const uint8_t *text, size_t len);

#endif
