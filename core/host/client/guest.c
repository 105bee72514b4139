/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/client/guest.h"

#include <stdlib.h>
#include <string.h>

#include "host/client/client.h"
#include "host/client/conn.h"
#include "host/node.h"
#include "net/stream.h"

bool ob__guest_needed(const struct ob__listen_conf *conf)
{
	return conf->trusted_len > 0 || conf->trusts_unix || conf->connections > 0 ||
	       conf->per_address > 0 || conf->rate.per_second > 0 || conf->rates_len > 0;
}

static struct ob__guest *make(struct ob__client_listener *from)
{
	size_t rates = from->conf->rates_len;
	struct ob__guest *g = calloc(1, sizeof(*g) + rates * sizeof(g->per_id[0]));

	if (g != NULL) {
		g->from = from;
		from->guests++;
	}
	return g;
}

struct ob__guest *ob__guest_new(struct ob__client_listener *from, const struct ob__stream *s)
{
	struct ob__guest *g = make(from);

	if (g != NULL) {
		g->known = ob__stream_peer_ip(s, g->ip.b, &g->port);
	}
	return g;
}

struct ob__guest *ob__guest_named(struct ob__client_listener *from, const struct ob__ip *ip,
                                  uint16_t port)
{
	struct ob__guest *g = make(from);

	if (g != NULL && ip != NULL) {
		g->ip = *ip;
		g->port = port;
		g->told = true;
		g->known = true;
	}
	return g;
}

/* ---- who is there ---- */

bool ob__guest_is_trusted(const struct ob__guest *g)
{
	const struct ob__listen_conf *conf = g->from->conf;

	if (!g->known) {
		return conf->trusts_unix;
	}
	for (size_t i = 0; i < conf->trusted_len; i++) {
		if (ob__cidr_has(&conf->trusted[i], &g->ip)) {
			return true;
		}
	}
	return false;
}

static void key_of(const struct ob__guest *g, uint64_t key[2])
{
	struct ob__ip who = ob__ip_household(&g->ip);

	memcpy(key, who.b, sizeof(who.b));
}

const char *ob__guest_enter(struct ob__guest *g)
{
	struct ob__client_listener *cl = g->from;
	const struct ob__listen_conf *conf = cl->conf;
	uint64_t key[2];

	if (conf->connections > 0 && cl->guests > conf->connections) {
		return "connections";
	}
	if (conf->per_address == 0 || !g->known) {
		return NULL;
	}
	key_of(g, key);
	uintptr_t there = (uintptr_t)ob__map_get(&cl->addresses, key[0], key[1]);
	if (there >= conf->per_address) {
		return "per_address";
	}
	/* NOLINTNEXTLINE(performance-no-int-to-ptr): a number, not an address */
	if (ob__map_put(&cl->addresses, key[0], key[1], (void *)(there + 1)) != 0) {
		return "memory";
	}
	g->counted = true;
	return NULL;
}

static void leave(const struct ob__guest *g)
{
	struct ob__map *map = &g->from->addresses;
	uint64_t key[2];

	key_of(g, key);
	uintptr_t there = (uintptr_t)ob__map_get(map, key[0], key[1]);
	if (there <= 1) {
		ob__map_del(map, key[0], key[1]);
	} else {
		/* NOLINTNEXTLINE(performance-no-int-to-ptr): it is there, so there is room */
		(void)ob__map_put(map, key[0], key[1], (void *)(there - 1));
	}
}

void ob__guest_free(struct ob__guest *g)
{
	if (g == NULL) {
		return;
	}
	struct ob__client_listener *from = g->from;
	if (g->counted) {
		leave(g);
	}
	free(g);
	from->guests--;
	ob__client_listener_unneeded(from);
}
