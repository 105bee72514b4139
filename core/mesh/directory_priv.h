/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Private to mesh/directory*.c.  What one source says of one node, and what the two files share.
 */

#ifndef OB__DIRECTORY_PRIV_H
#define OB__DIRECTORY_PRIV_H

#include "mesh/directory.h"

struct ob__dir_said {
	uint64_t incarnation;
	uint32_t gen;  /* of the snapshot it was said in or after */
	uint8_t state; /* UP or SUSPECT; OB__MEMBER_UNKNOWN: does not list it */
};

/* Compares what is said of a node with what is shown, and tells the owner. */
void ob__directory_judge(struct ob__directory *d, struct ob__dir_node *n, uint64_t now_ms);

/* Whether a synced source lists the newest life of it. */
bool ob__directory_is_listed(const struct ob__directory *d, const struct ob__dir_node *n);

/* All of them: a source came, went, or has settled. */
void ob__directory_judge_all(struct ob__directory *d, uint64_t now_ms);

/* Frees one that is not listed. */
void ob__directory_forget(struct ob__directory *d, struct ob__dir_node *n);

void ob__directory_set_synced(struct ob__directory *d, struct ob__dir_source *s, bool synced,
                              uint64_t now_ms);

/* The source does not have our record: it gets it with the next beat, which comes at once unless it
 * was told less than a second ago. */
void ob__directory_tell_again(struct ob__directory *d, struct ob__dir_source *s, uint64_t now_ms);

#endif
