/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * transport_enet: clients by UDP, with ENet.  A listener of the configuration with the transport
 * "enet" is an ENet host; the reliable packets of a peer on channel 0 are the stream of bytes that
 * the listener's codec reads.  See README.md.
 *
 * All descriptors are in one epoll set, whose descriptor is the only one that the host watches: so
 * a new generation takes over any number of clients by one call.
 */

#include "door.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define EVENTS         256
#define GOING_AWAY     1001u
#define TIMEOUT_MS     10000u
#define QUEUE_DEFAULT  65536u
#define PACKET_DEFAULT 131072u

static struct world world;
static uint32_t generation;
static ob_watch watch;
static ob_timer timer;
static uint64_t timer_at;
static unsigned deep; /* how often work of this module is on the stack */

/* ---- the configuration ---- */

struct option {
	const char *name;
	double least;
	double most;
	double otherwise;
};

static const struct option options[] = {
	{"packet", 1024, 67108864, PACKET_DEFAULT},
	{"queue", 4096, 16777216, QUEUE_DEFAULT},
	{"timeout", 1, 600, TIMEOUT_MS / 1000.0},
};

static double option(const json_t *conf, size_t i)
{
	const json_t *given = json_object_get(conf, options[i].name);

	return given != NULL ? json_number_value(given) : options[i].otherwise;
}

static bool is_known(const char *key)
{
	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
		if (strcmp(options[i].name, key) == 0) {
			return true;
		}
	}
	return false;
}

static int check(const json_t *conf, ob_err *err)
{
	const char *key;
	json_t *value;

	json_object_foreach ((json_t *)(uintptr_t)conf, key, value) {
		if (!is_known(key)) {
			return ob_err_set(err, "%.64s: is not known", key);
		}
		if (!json_is_number(value)) {
			return ob_err_set(err, "%.64s: must be a number", key);
		}
	}
	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
		double n = option(conf, i);
		if (n < options[i].least || n > options[i].most) {
			return ob_err_set(err, "%s: must be %.0f to %.0f", options[i].name,
			                  options[i].least, options[i].most);
		}
	}
	return 0;
}

/* ---- when to be called again ---- */

static void on_timer(ob_ctx *ctx, ob_timer fired, void *arg);

static uint64_t sooner(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t next_due(uint64_t now)
{
	enet_uint32 enet_now = enet_time_get();
	uint64_t due = UINT64_MAX;

	EACH(it, &world.state->doors)
	{
		const struct door *d = OF(it, struct door, link);
		if (d->has_due) {
			due = sooner(due, now + (ENET_TIME_GREATER(d->due, enet_now)
			                                 ? ENET_TIME_DIFFERENCE(d->due, enet_now)
			                                 : 0));
		}
		EACH(one, &d->ending)
		{
			due = sooner(due, OF(one, struct client, ending)->until);
		}
	}
	return due;
}

/* It may fire early, and looks again then. */
static void set_timer(uint64_t at)
{
	uint64_t now = ob_now_ms(world.ctx);

	if (at == UINT64_MAX || (timer != 0 && timer_at <= at)) {
		return;
	}
	if (timer != 0) {
		ob_timer_stop(world.ctx, timer);
	}
	timer_at = at;
	timer = ob_timer_start(world.ctx, at > now ? at - now : 0, 0, on_timer, NULL);
}

/* ---- turns ---- */

static bool serves(void)
{
	return world.state->owner == generation;
}

static void free_gone(void)
{
	EACH(it, &world.gone)
	{
		free(OF(it, struct client, link));
	}
	link_init(&world.gone);
}

/* At the end of whatever this module does: what is over goes, and what is due is known. */
static void finish(void)
{
	if (deep > 0) {
		return;
	}
	free_gone();
	EACH(it, &world.state->doors)
	{
		struct door *d = OF(it, struct door, link);
		if (!d->open && d->clients_len == 0) {
			door_free(d);
		}
	}
	set_timer(next_due(ob_now_ms(world.ctx)));
}

static void serve_doors(bool all)
{
	enet_uint32 now = enet_time_get();

	EACH(it, &world.state->doors)
	{
		struct door *d = OF(it, struct door, link);
		if (all || d->ready || (d->has_due && !ENET_TIME_GREATER(d->due, now))) {
			door_serve(&world, d);
		} else if (d->dirty) {
			door_flush(d);
		}
	}
}

static void on_ready(ob_ctx *ctx, ob_watch ready, uint32_t events, void *arg)
{
	struct epoll_event ev[EVENTS];

	(void)arg;
	(void)ready;
	if ((events & OB_FD_BROKEN) != 0) {
		ob_log(ctx, OB_LOG_ERROR, "its sockets can't be watched any more");
		return;
	}
	deep++;
	int n = epoll_wait(world.state->epoll, ev, EVENTS, 0);
	for (int i = 0; i < n; i++) {
		struct source *s = ev[i].data.ptr;
		if (s->kind == SOURCE_DOOR) {
			((struct door *)s)->ready = true;
		} else if (s->kind == SOURCE_CLIENT) {
			client_ready(&world, (struct client *)s, ev[i].events);
		}
	}
	serve_doors(false);
	deep--;
	finish();
}

static void expire(uint64_t now)
{
	EACH(it, &world.state->doors)
	{
		struct door *d = OF(it, struct door, link);
		EACH(one, &d->ending)
		{
			struct client *c = OF(one, struct client, ending);
			if (c->until <= now) {
				client_expire(&world, c);
			}
		}
	}
}

static void on_timer(ob_ctx *ctx, ob_timer fired, void *arg)
{
	(void)fired;
	(void)arg;
	timer = 0;
	if (!serves()) {
		return;
	}
	deep++;
	expire(ob_now_ms(ctx));
	serve_doors(false);
	deep--;
	finish();
}

/* ---- what the host asks for ---- */

static int begin_watch(ob_ctx *ctx)
{
	if (watch == 0 && world.state->epoll > 0) {
		watch = ob_fd_watch(ctx, world.state->epoll, OB_FD_READABLE, on_ready, NULL);
	}
	return watch != 0 ? 0 : OB_E_LIMIT;
}

static int open_set(ob_ctx *ctx, ob_err *err)
{
	struct state *s = world.state;

	if (s->epoll <= 0) {
		s->epoll = epoll_create1(EPOLL_CLOEXEC);
	}
	if (s->epoll < 0) {
		ob_err_set(err, "epoll: %s", strerror(errno));
		return -EMFILE;
	}
	int rc = begin_watch(ctx);
	return rc == 0 ? 0 : ob_err_set(err, "its sockets can't be watched");
}

static int on_open(ob_ctx *ctx, const ob_door_info *info, char *address, size_t cap, ob_err *err)
{
	int rc = open_set(ctx, err);

	if (rc != 0) {
		return rc;
	}
	struct door *d = door_find(world.state, info->door);
	if (d == NULL) {
		d = door_new(&world, info, err);
	}
	if (d == NULL) {
		return -EADDRNOTAVAIL;
	}
	if (info->connections > ENET_PROTOCOL_MAXIMUM_PEER_ID) {
		ob_log(ctx, OB_LOG_INFO, "%s: ENet has room for 4095 clients at one port",
		       d->address);
	}
	d->open = true;
	snprintf(address, cap, "%s", d->address);
	return 0;
}

static int on_accept(ob_ctx *ctx, ob_door door, ob_err *err)
{
	struct door *d = door_find(world.state, door);

	if (d == NULL || !d->open) {
		return ob_err_set(err, "it is not open");
	}
	d->accepting = true;
	set_timer(ob_now_ms(ctx));
	return 0;
}

static void on_close(ob_ctx *ctx, ob_door door)
{
	struct door *d = door_find(world.state, door);

	(void)ctx;
	if (d != NULL) {
		d->open = false;
		d->accepting = false;
		finish();
	}
}

static int on_keep(ob_ctx *ctx, ob_door door, ob_err *err)
{
	(void)ctx;
	if (door_find(world.state, door) != NULL) {
		return 0;
	}
	return ob_err_set(err,
	                  "this build keeps clients in another form (%u, ENet %u.%u.%u), it can't "
	                  "take them over",
	                  ENET_STATE_FORM, ENET_VERSION_MAJOR, ENET_VERSION_MINOR,
	                  ENET_VERSION_PATCH);
}

static void on_leave(ob_ctx *ctx, uint64_t client, uint16_t code, const char *reason)
{
	struct client *c = door_client(world.state, client);

	(void)ctx;
	(void)reason;
	if (c != NULL) {
		client_leaving(c, code);
	}
}

/* ---- generations ---- */

static int start(ob_ctx *ctx, const json_t *conf)
{
	const ob_client_transport enet = {
		.size = sizeof(enet),
		.name = "enet",
		.open = on_open,
		.accept = on_accept,
		.close = on_close,
		.keep = on_keep,
		.leave = on_leave,
	};
	ob_module_info me = {.size = sizeof(me)};

	world.ctx = ctx;
	world.state = ob_state(ctx, "enet", sizeof(*world.state), ENET_STATE);
	if (world.state == NULL || ob_module_get(ctx, &me) != 0) {
		return OB_E_NOMEM;
	}
	if (enet_initialize() != 0) {
		return ob_refuse(ctx, OB_E_APP, "ENet can't be initialised");
	}
	generation = me.generation;
	link_init(&world.gone);
	world.settings = (struct settings){
		.packet = (size_t)option(conf, 0),
		.queue = (size_t)option(conf, 1),
		.timeout_ms = (uint32_t)(option(conf, 2) * 1000),
	};
	world.ignored = ob_counter(ctx, "enet_ignored",
	                           "Packets that were not reliable, or not on channel 0.");
	world.refused = ob_counter(ctx, "enet_refused", "Peers that were sent away, one too many.");
	world.dropped = ob_counter(ctx, "enet_dropped",
	                           "Datagrams that no peer has sent and that were not let in.");
	return ob_on_client_transport(ctx, &enet);
}

/* The one that served before has let go of the descriptor. */
static void take_over(ob_ctx *ctx)
{
	struct state *s = world.state;

	if (s->doors.next == NULL) {
		link_init(&s->doors);
	}
	s->owner = generation;
	timer = 0;
	watch = 0;
	EACH(it, &s->doors)
	{
		door_take(&world, OF(it, struct door, link));
	}
	if (s->epoll > 0 && begin_watch(ctx) != 0) {
		ob_log(ctx, OB_LOG_ERROR, "its sockets can't be watched");
	}
	if (link_on(&s->doors)) {
		set_timer(ob_now_ms(ctx));
	}
}

/* Its watch is paused while it stands by, and goes on now. */
static void resume(ob_ctx *ctx)
{
	ob_watch mine = watch;

	if (mine != 0) {
		ob_fd_unwatch(ctx, mine);
	}
	if (timer != 0) {
		ob_timer_stop(ctx, timer);
	}
	take_over(ctx);
}

static void drain(ob_ctx *ctx)
{
	if (timer != 0 && !serves()) {
		ob_timer_stop(ctx, timer);
		timer = 0;
	}
}

/* Nobody has taken over: the node ends. */
static void stop(ob_ctx *ctx)
{
	struct state *s = world.state;

	(void)ctx;
	if (s == NULL || s->doors.next == NULL || !serves()) {
		return;
	}
	EACH(it, &s->doors)
	{
		struct door *d = OF(it, struct door, link);
		EACH(one, &d->clients)
		{
			struct client *c = OF(one, struct client, link);
			c->code = c->code != 0 ? c->code : GOING_AWAY;
			client_expire(&world, c);
		}
		door_free(d);
	}
	free_gone();
	if (s->epoll > 0) {
		close(s->epoll);
	}
	s->epoll = 0;
	enet_deinitialize();
}

OB_MODULE(transport_enet, .version = "1.0.0", .check = check, .start = start, .live = take_over,
          .drain = drain, .resume = resume, .stop = stop);
