/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to the host, floor F4.  The node's part in the mesh, put together: links, directory,
 * router, pending requests, sessions and users; and who of them hears in which order that a link
 * has come up or gone down.
 *
 * Apart from the rest of the node, so that a simulation can have this part of it without sockets,
 * modules and files (t/sim/mesh/vnode.h).
 */

#ifndef OB__NODE_MESH_H
#define OB__NODE_MESH_H

struct ob__node;

/* Configuration, identity, loop, streams and statistics are there.  0 or OB_E_NOMEM; in any case
 * to be freed if node->links is set. */
int ob__mesh_start(struct ob__node *node);

/* Modules are stopped, and nothing is dispatched any more. */
void ob__mesh_free(struct ob__node *node);

#endif
