/*
 * @NAME@: a module for obhost. A policy: it chooses the node a message goes to.
 *
 * Copyright (c) @YEAR@ @AUTHOR@
 *
 * The node with the fewest requests under way, in proportion to its weight, takes the next one.
 * The configuration names the policy for a role:
 * "rpc": {"policy": {"service": "@NAME@"}}.
 *
 * It is called for each message that may go to any node of the role, so it is short: no memory, no
 * log lines, no locks. What it returns is the index of a candidate, or a negative result code,
 * which ends the request.
 */

#include <obhost/obhost.h>

static int choices; /* a counter on the metrics page */

/* Is a's share of work smaller than b's? */
static bool lighter(const ob_candidate *a, const ob_candidate *b)
{
	return (uint64_t)a->pending * b->weight < (uint64_t)b->pending * a->weight;
}

static int choose(ob_ctx *ctx, const ob_choice *choice)
{
	size_t best = 0;

	for (size_t i = 1; i < choice->len; i++) {
		if (lighter(&choice->candidates[i], &choice->candidates[best])) {
			best = i;
		}
	}
	ob_count(ctx, choices, 1);
	return (int)best;
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	choices = ob_counter(ctx, "choices", "Nodes chosen");
	if (choices < 0) {
		return choices;
	}
	return ob_on_policy(ctx, "@NAME@", choose);
}

OB_MODULE(@NAME@, .version = "1.0.0", .start = start);
