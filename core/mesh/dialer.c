/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "mesh/dialer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <openssl/evp.h>

#define CHECKS 4u /* looks at a link in the time until it counts as idle */

/* One node that is dialled. */
struct ob__dialing {
	struct ob__list list;
	struct ob__peer *peer;
	struct ob__remote *remote; /* NULL: no address, or none that the links take */
	struct ob__dial_way way;
	bool always;
	uint64_t life;    /* incarnation in which it was last asked */
	uint64_t traffic; /* of its link, when it was last seen to change */
	uint64_t used_at; /* loop ms, when that was */
};

/* ---------------------------------------------------------------- where */

static void add_file(EVP_MD_CTX *md, const char *path)
{
	char text[128] = "";
	FILE *f = fopen(path, "re");
	if (f == NULL) {
		return;
	}
	size_t len = fread(text, 1, sizeof(text), f);
	fclose(f);
	EVP_DigestUpdate(md, text, len);
}

uint64_t ob__machine_id(void)
{
	uint8_t digest[EVP_MAX_MD_SIZE] = {0};
	uint64_t id;
	struct stat st;
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	if (md == NULL || EVP_DigestInit_ex(md, EVP_sha256(), NULL) != 1) {
		EVP_MD_CTX_free(md);
		return 0;
	}
	add_file(md, "/etc/machine-id");
	add_file(md, "/proc/sys/kernel/random/boot_id");
	if (stat("/proc/self/ns/net", &st) == 0) {
		EVP_DigestUpdate(md, &st.st_ino, sizeof(st.st_ino));
	}
	EVP_DigestFinal_ex(md, digest, NULL);
	EVP_MD_CTX_free(md);
	memcpy(&id, digest, sizeof(id));
	return id;
}

static bool is_wildcard(const char *host)
{
	return strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0;
}

static bool is_loopback(const char *host)
{
	struct in_addr v4;
	if (inet_pton(AF_INET, host, &v4) == 1) {
		return ntohl(v4.s_addr) >> 24 == 127;
	}
	return strcmp(host, "::1") == 0 || strcmp(host, "localhost") == 0;
}

/* Takes what can be used of those that are for one machine only, or of a transport; true when the
 * node is seen to be on another one. */
static bool take_other(struct ob__dial_way *way, const char *text, uint64_t machine)
{
	struct ob__address a;
	if (ob__address_get(&a, text) < 0 || a.kind == OB__ADDRESS_TCP) {
		return false;
	}
	if ((a.kind == OB__ADDRESS_UNIX || a.machine != 0) && a.machine != machine) {
		return true;
	}
	if (a.kind == OB__ADDRESS_UNIX && way->near[0] == '\0') {
		snprintf(way->near, sizeof(way->near), "%s", a.path);
	} else if (a.kind == OB__ADDRESS_TRANSPORT && way->ways_len < OB__TRANSPORT_WAYS) {
		snprintf(way->ways[way->ways_len].transport, OB__TRANSPORT_NAME, "%.63s", a.host);
		snprintf(way->ways[way->ways_len].address, OB__TRANSPORT_ADDRESS, "%s", a.path);
		way->ways_len++;
	}
	return false;
}

bool ob__dial_way(struct ob__dial_way *way, const struct ob__description *desc, uint64_t machine)
{
	bool elsewhere = false;
	struct ob__address a;
	*way = (struct ob__dial_way){.port = 0};
	for (size_t i = 0; desc != NULL && i < desc->addresses_len; i++) {
		elsewhere |= take_other(way, desc->addresses[i], machine);
	}
	for (size_t i = 0; desc != NULL && i < desc->addresses_len && way->port == 0; i++) {
		if (ob__address_get(&a, desc->addresses[i]) < 0 || a.kind != OB__ADDRESS_TCP ||
		    is_wildcard(a.host) ||
		    (elsewhere && way->near[0] == '\0' && is_loopback(a.host))) {
			continue;
		}
		snprintf(way->host, sizeof(way->host), "%s", a.host);
		way->port = a.port;
	}
	return way->near[0] != '\0' || way->ways_len > 0 || way->port != 0;
}

/* ---------------------------------------------------------------- dialling */

static bool same_way(const struct ob__dial_way *a, const struct ob__dial_way *b)
{
	bool same = a->port == b->port && strcmp(a->host, b->host) == 0 &&
	            strcmp(a->near, b->near) == 0 && a->ways_len == b->ways_len;
	for (size_t i = 0; same && i < a->ways_len; i++) {
		same = strcmp(a->ways[i].transport, b->ways[i].transport) == 0 &&
		       strcmp(a->ways[i].address, b->ways[i].address) == 0;
	}
	return same;
}

static void hang_up(struct ob__dialing *g)
{
	if (g->remote != NULL) {
		ob__links_undial(g->remote);
		g->remote = NULL;
	}
}

static void begin(struct ob__dialer *d, struct ob__dialing *g)
{
	int err;
	struct ob__transport_way ways[OB__TRANSPORT_WAYS];
	for (size_t i = 0; i < g->way.ways_len; i++) {
		ways[i] = (struct ob__transport_way){g->way.ways[i].transport,
		                                     g->way.ways[i].address};
	}
	const struct ob__remote_options o = {
		.ways = ways,
		.ways_len = g->way.ways_len,
		.host = g->way.port != 0 ? g->way.host : NULL,
		.port = g->way.port,
		.near = g->way.near[0] != '\0' ? g->way.near : NULL,
		.role = g->always ? g->peer->who.role : NULL,
		.node = g->peer->who.id,
	};
	if (o.host != NULL || o.near != NULL || o.ways_len > 0) {
		g->remote = ob__links_dial_node(d->links, &o, &err);
	}
}

static void set_way(struct ob__dialer *d, struct ob__dialing *g, const struct ob__description *desc)
{
	struct ob__dial_way way;
	ob__dial_way(&way, desc, d->machine);
	if (g->remote == NULL || !same_way(&way, &g->way)) {
		g->way = way;
		hang_up(g);
		begin(d, g);
	}
}

static struct ob__dialing *new_dialing(struct ob__dialer *d, struct ob__peer *peer, bool always)
{
	struct ob__dialing *g = calloc(1, sizeof(*g));
	if (g == NULL) {
		return NULL;
	}
	g->peer = peer;
	g->always = always;
	g->life = peer->who.incarnation;
	g->used_at = ob__loop_now(d->loop);
	peer->dialing = g;
	ob__list_init(&g->list);
	ob__list_append(&d->dialings, &g->list);
	d->count++;
	if (d->idle_ms != 0 && !ob__timeout_armed(&d->timeout)) {
		ob__timeout_set(d->loop, &d->timeout, d->idle_ms / CHECKS);
	}
	return g;
}

static void dialing_free(struct ob__dialer *d, struct ob__dialing *g)
{
	hang_up(g);
	g->peer->dialing = NULL;
	ob__list_del(&g->list);
	d->count--;
	free(g);
}

int ob__dialer_node(struct ob__dialer *d, struct ob__peer *peer, const struct ob__description *desc,
                    bool always)
{
	struct ob__dialing *g = peer->dialing;
	if (g == NULL && !always) {
		return 0;
	}
	if (g == NULL) {
		g = new_dialing(d, peer, always);
	}
	if (g == NULL) {
		return -ENOMEM;
	}
	g->always = always;
	set_way(d, g, desc);
	if (g->life != peer->who.incarnation && g->remote != NULL) {
		g->used_at = ob__loop_now(d->loop);
		ob__remote_again(g->remote);
	}
	g->life = peer->who.incarnation;
	return 0;
}

void ob__dialer_gone(struct ob__dialer *d, struct ob__peer *peer)
{
	if (peer->dialing != NULL) {
		dialing_free(d, peer->dialing);
	}
}

void ob__dialer_want(struct ob__dialer *d, struct ob__peer *peer,
                     const struct ob__description *desc)
{
	struct ob__dialing *g = peer->dialing;
	if (g == NULL && peer->link == NULL) {
		g = new_dialing(d, peer, false);
		if (g != NULL) {
			set_way(d, g, desc);
		}
	}
}

const char *ob__dialer_state(const struct ob__peer *peer)
{
	const struct ob__dialing *g = peer->dialing;
	if (g == NULL) {
		return "";
	}
	return g->remote != NULL ? ob__remote_state(g->remote) : "no address";
}

/* ---------------------------------------------------------------- and no longer */

/* True when nothing has used its link, or, without one, nothing has asked for it lately.  What
 * waits after a refusal goes on doing so: whoever asks meanwhile must not dial anew. */
static bool is_idle(struct ob__dialer *d, struct ob__dialing *g)
{
	uint64_t now = ob__loop_now(d->loop);
	const struct ob__link *l = g->peer->link;
	uint64_t traffic = l != NULL ? l->traffic : 0;
	if (traffic != g->traffic || (l != NULL && !ob__list_empty(&l->pendings))) {
		g->traffic = traffic;
		g->used_at = now;
	}
	bool waits = g->remote != NULL && ob__remote_is_unwanted(g->remote);
	return !waits && now - g->used_at >= d->idle_ms;
}

static void end_idle(struct ob__dialer *d, struct ob__dialing *g)
{
	struct ob__link *l = g->peer->link;
	if (l != NULL && l->dialer && (l->remote == NULL || l->remote == g->remote)) {
		ob__link_part(l);
		return;
	}
	dialing_free(d, g);
}

static void on_timeout(void *arg)
{
	struct ob__dialer *d = arg;
	OB__LIST_EACH_SAFE (it, &d->dialings) {
		struct ob__dialing *g = OB__CONTAINER(it, struct ob__dialing, list);
		if (!g->always && is_idle(d, g)) {
			end_idle(d, g);
		}
	}
	if (d->count > 0) {
		ob__timeout_set(d->loop, &d->timeout, d->idle_ms / CHECKS);
	}
}

void ob__dialer_init(struct ob__dialer *d, struct ob__loop *loop, struct ob__links *links,
                     uint64_t machine, uint64_t idle_ms)
{
	*d = (struct ob__dialer){
		.links = links,
		.loop = loop,
		.machine = machine,
		.idle_ms = idle_ms,
	};
	ob__list_init(&d->dialings);
	ob__timeout_init(&d->timeout, on_timeout, d);
}

void ob__dialer_free(struct ob__dialer *d)
{
	if (d->loop == NULL) {
		return;
	}
	ob__timeout_clear(d->loop, &d->timeout);
	while (!ob__list_empty(&d->dialings)) {
		dialing_free(d, OB__CONTAINER(d->dialings.next, struct ob__dialing, list));
	}
	d->loop = NULL;
}
