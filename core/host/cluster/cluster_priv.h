/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to host/cluster.  What its parts share: cluster.c is between directory, links and the
 * rest of the node, cluster_path.c has the order when a path changes, cluster_self.c what this node
 * says of itself and what the others say they serve, cluster_view.c what people see.
 */

#ifndef OB__CLUSTER_PRIV_H
#define OB__CLUSTER_PRIV_H

#include <stdbool.h>

#include "host/cluster/cluster.h"

/* Something is to be done in a moment: see on_after(). */
void ob__cluster_after(struct ob__node *node);

/* Builds the table of what members serve anew. */
void ob__cluster_serve(struct ob__node *node);

void ob__cluster_path_init(struct ob__node *node);
void ob__cluster_path_up(struct ob__node *node, struct ob__peer *peer);
void ob__cluster_path_down(struct ob__node *node, struct ob__peer *peer);

/* A frame for this node; true when it was a FENCE or its echo. */
bool ob__cluster_fence(struct ob__node *node, struct ob__link *link, const struct ob__frame *f);

#endif
