/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to codec_pomelo.  Bytes that grow, up to a limit.
 */

#ifndef POMELO_BYTES_H
#define POMELO_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pomelo_bytes {
	uint8_t *data;
	size_t len;
	size_t cap;
	size_t max;
	bool failed; /* something did not fit: what follows is dropped */
};

/* Empties it; it holds at most `max` bytes from now on. */
void pomelo_bytes_begin(struct pomelo_bytes *b, size_t max);

/* Room for `more` bytes behind what is there, NULL and failed if there is none. */
uint8_t *pomelo_bytes_room(struct pomelo_bytes *b, size_t more);

void pomelo_bytes_add(struct pomelo_bytes *b, const void *data, size_t len);
void pomelo_bytes_free(struct pomelo_bytes *b);

#endif
