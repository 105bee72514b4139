/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F3.  Where a session sticks, on its way with a message.
 *
 * A session's proxy knows which node it sticks to per role; which role a message is for may only be
 * known further on, by a route node's table.  So a message that is to stay takes the choices along,
 * in an extension, and whoever settles the role settles the node with it.  No node in between has
 * to remember anything.
 *
 * The extension is a list of { u32 role, u64 node, u64 from }, little-endian: the node it sticks
 * to (0: to be chosen) and the one that it did before, while the next has not been heard of.  One
 * for role 0 has in the place of the node the key that choices are made by, if it is not the
 * session's own.
 */

#ifndef OB__STICKS_H
#define OB__STICKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/frame.h"
#include "mesh/session.h"

#define OB__STICKS_MAX 16u /* choices of one message; others are made anew */
#define OB__STICKS_EXT (OB__FRAME_EXT_HEADER + OB__STICKS_MAX * 20u)

/* Writes the extension: the choice for `role`, or for 0 all of them; and the key, if it is not 0.
 * A choice for a role that is the frame's destination need only be told if somebody in between may
 * choose another one.  Its bytes, 0: nothing to say. */
size_t ob__sticks_put(uint8_t out[OB__STICKS_EXT], const struct ob__session *s, uint32_t role,
                      uint64_t key, bool between);

/* What a frame has with it. */
struct ob__sticks {
	bool has;      /* the choice for the role */
	uint64_t node; /* as above; 0 if there is none */
	uint64_t from;
	uint64_t key; /* or 0: the session's own */
};

/* The choice for a role (0: none is looked for), and the key. */
struct ob__sticks ob__sticks_get(const struct ob__frame *f, uint32_t role);

#endif
