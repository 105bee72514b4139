/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/* What a guest sends; without sockets. */

#include "host/client/guest.h"

#include <stdio.h>

#include "host/client/client.h"
#include "host/node.h"

void ob__client_count_excess(struct ob__node *node, const char *reason)
{
	char labels[64];

	snprintf(labels, sizeof(labels), "reason=\"%s\"", reason);
	++*ob__stat_counter(node->stats, "obhost_client_excess_total", labels,
	                    "Messages of clients beyond their listener's rates, by which.");
}

const char *ob__guest_send(struct ob__guest *g, uint32_t now_ms, uint32_t id)
{
	const struct ob__listen_conf *conf = g->from->conf;
	uint32_t i;

	if (conf->rate.per_second > 0 &&
	    !ob__bucket_take(&g->all, now_ms, conf->rate.per_second, conf->rate.burst)) {
		return "rate";
	}
	if (conf->rates_len > 0 && ob__idrange_find(&conf->per_id, id, &i) &&
	    !ob__bucket_take(&g->per_id[i], now_ms, conf->rates[i].per_second,
	                     conf->rates[i].burst)) {
		return "id_rate";
	}
	return NULL;
}
