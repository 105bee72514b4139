/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/message/ignored.h"

#include <stdio.h>

#include "host/cluster/names.h"
#include "host/node.h"

#define LOG_BURST 1u /* lines per reason in ten seconds, of nodes unknown here */

static const struct {
	const char *word;
	const char *text;
} reasons[OB__IGNORED_REASONS] = {
	[OB__IGNORED_USER] = {"user", "what it says of a user is malformed"},
	[OB__IGNORED_LOCK] = {"lock", "what it says of a lock is malformed"},
	[OB__IGNORED_SEND] = {"send", "what it sends to a user is malformed"},
	[OB__IGNORED_ATTR] = {"attribute", "what it says of an attribute is malformed"},
	[OB__IGNORED_KICK] = {"kick", "what it says of a client to be closed is malformed"},
	[OB__IGNORED_METHODS] = {"methods", "its list of methods is malformed"},
	[OB__IGNORED_NAME] = {"name", "what it gives as a node's name is none"},
	[OB__IGNORED_CANCEL] = {"cancel", "what it says of a cancelled call is malformed"},
	[OB__IGNORED_PUSH] = {"push", "what it pushes to many is malformed"},
	[OB__IGNORED_GROUP] = {"group", "what it says of a group is malformed"},
	[OB__IGNORED_STATE] = {"state", "what it says of a session's state is malformed"},
	[OB__IGNORED_EVENT] = {"event", "the event that it raises is malformed"},
	[OB__IGNORED_RESUME] = {"resume", "what it says of a client that came back is malformed"},
	[OB__IGNORED_NOT_PROXY] = {"not_proxy", "it speaks for a session whose proxy it is not"},
	[OB__IGNORED_NOT_KEEPER] = {"not_keeper", "it gives away a user whom it does not keep"},
	[OB__IGNORED_NOT_SENT] = {"not_sent", "it gives back what it has not been sent"},
};

void ob__ignored_init(struct ob__node *node)
{
	ob__lograte_init(&node->ignored.lines, node->registry.seed);
	for (int i = 0; i < OB__IGNORED_REASONS; i++) {
		char label[32];
		snprintf(label, sizeof(label), "reason=\"%s\"", reasons[i].word);
		node->ignored.counted[i] = ob__stat_counter(
			node->stats, "obhost_frames_ignored_total", label,
			"What other hosts have said and was not taken, by reason.");
	}
}

void ob__ignored_free(struct ob__ignored *ignored)
{
	ob__lograte_free(&ignored->lines);
	*ignored = (struct ob__ignored){0};
}

void ob__ignore_frame(struct ob__node *node, const struct ob__frame *f, enum ob__ignored_reason why)
{
	const char *name = ob__names_get(node, f->src);
	uint32_t missed;

	++*node->ignored.counted[why];
	if (ob__lograte_allow(&node->ignored.lines, name != NULL ? f->src : 0, why,
	                      &node->ignored.limits[why], LOG_BURST, ob__loop_now(node->loop),
	                      &missed)) {
		ob__warning("link", "%s: ignored, id %u (%s) [and %u like it]",
		            name != NULL ? name : "a node unknown here", (unsigned)f->id,
		            reasons[why].text, (unsigned)missed);
	}
}
