/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  Names of nodes that this one has no link with.
 *
 * A session's text form has its proxy's name in it, on whatever node it is read.  So a route node
 * tells each of its peers the names of all others, when a link comes up and when it hears of a new
 * one: a name is known before the first message that comes through.  It needs no trust, for a
 * node's id is the hash of its name.
 */

#ifndef OB__NAMES_H
#define OB__NAMES_H

#include <stdint.h>

#include "lib/frame.h"
#include "mesh/registry.h"

struct ob__node;

/* The name of a node, or NULL if it was never heard. */
const char *ob__names_get(const struct ob__node *node, uint64_t id);

/* A link came up: a route node tells its peer all names, and all peers its name. */
void ob__names_share(struct ob__node *node, struct ob__peer *peer);

/* A NAME frame arrived. */
void ob__names_heard(struct ob__node *node, const struct ob__frame *f);

void ob__names_free(struct ob__node *node);

#endif
