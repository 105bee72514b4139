/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "t/sim/mesh/world.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <openssl/rand.h>

#include "base/log.h"
#include "t/sim/mesh/virtual.h"

#define START_US      (UINT64_C(1000) * 1000000) /* of the monotonic clocks */
#define WALL_START_MS (UINT64_C(1790000000) * 1000)
#define TURNS_MAX     10000u /* without any time passing: the node would spin */
#define LATE_LASTS_MS 3u
#define WAKE_US       30u /* at most, until a process that waits is run */

struct event {
	uint64_t at;
	uint64_t number;
	void (*fn)(void *arg);
	void *arg;
};

struct sim_world {
	struct sim_options options;
	struct sim_ops ops;
	void *user;
	uint64_t now;
	uint64_t random;
	uint64_t secret; /* of RAND_bytes() */
	uint64_t hash;
	struct event *heap;
	size_t heap_len;
	size_t heap_cap;
	uint64_t numbers;
	struct sim_node *nodes;
	uint8_t *blocked; /* [from * nodes + to] */
	struct sim_counts counts;
	jmp_buf *where;
};

struct sim_node *sim_current;
static struct sim_world *the_world; /* RAND_bytes() is asked without one */
static char why[512];

/* ---------------------------------------------------------------- chance and the record */

static uint64_t next_random(uint64_t *state)
{
	uint64_t x = *state += UINT64_C(0x9e3779b97f4a7c15);
	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

uint64_t sim_random(struct sim_world *w)
{
	return next_random(&w->random);
}

uint64_t sim_below(struct sim_world *w, uint64_t limit)
{
	return limit == 0 ? 0 : sim_random(w) % limit;
}

bool sim_chance(struct sim_world *w, uint32_t of_1000)
{
	return sim_below(w, 1000) < of_1000;
}

int RAND_bytes(unsigned char *out, int len)
{
	for (int i = 0; i < len; i++) {
		out[i] = (unsigned char)next_random(&the_world->secret);
	}
	return 1;
}

void sim_mark(struct sim_world *w, uint32_t kind, uint64_t a, uint64_t b, uint64_t c)
{
	const uint64_t words[] = {w->now, kind, a, b, c};
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		w->hash = (w->hash ^ words[i]) * UINT64_C(0x100000001b3);
		w->hash ^= w->hash >> 29;
	}
}

uint64_t sim_hash(const struct sim_world *w)
{
	return w->hash;
}

void sim_say(struct sim_world *w, const char *fmt, ...)
{
	if (!w->options.loud) {
		return;
	}
	va_list ap;
	va_start(ap, fmt);
	printf("# %10.6f ", (double)(w->now - START_US) / 1e6);
	vprintf(fmt, ap);
	putchar('\n');
	va_end(ap);
}

void sim_catch(struct sim_world *w, jmp_buf *where)
{
	w->where = where;
}

void sim_fail(struct sim_world *w, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	int n = snprintf(why, sizeof(why), "at %.6f s: ", (double)(w->now - START_US) / 1e6);
	vsnprintf(why + n, sizeof(why) - (size_t)n, fmt, ap);
	va_end(ap);
	if (w->options.loud) {
		sim_say(w, "FAILED %s", why);
	}
	sim_current = NULL;
	longjmp(*w->where, 1);
}

const char *sim_why(void)
{
	return why;
}

/* ---------------------------------------------------------------- events */

static bool earlier(const struct event *a, const struct event *b)
{
	return a->at != b->at ? a->at < b->at : a->number < b->number;
}

static void push(struct sim_world *w, struct event e)
{
	if (w->heap_len == w->heap_cap) {
		w->heap_cap = w->heap_cap != 0 ? 2 * w->heap_cap : 1024;
		w->heap = realloc(w->heap, w->heap_cap * sizeof(*w->heap));
		if (w->heap == NULL) {
			abort();
		}
	}
	size_t i = w->heap_len++;
	while (i > 0 && earlier(&e, &w->heap[(i - 1) / 2])) {
		w->heap[i] = w->heap[(i - 1) / 2];
		i = (i - 1) / 2;
	}
	w->heap[i] = e;
}

static struct event pop(struct sim_world *w)
{
	struct event first = w->heap[0];
	struct event e = w->heap[--w->heap_len];
	size_t i = 0;
	for (;;) {
		size_t child = 2 * i + 1;
		if (child + 1 < w->heap_len && earlier(&w->heap[child + 1], &w->heap[child])) {
			child++;
		}
		if (child >= w->heap_len || !earlier(&w->heap[child], &e)) {
			break;
		}
		w->heap[i] = w->heap[child];
		i = child;
	}
	w->heap[i] = e;
	return first;
}

void sim_plan(struct sim_world *w, uint64_t at, void (*fn)(void *arg), void *arg)
{
	push(w, (struct event){.at = at, .number = w->numbers++, .fn = fn, .arg = arg});
}

void sim_at(struct sim_world *w, uint64_t us, void (*fn)(void *arg), void *arg)
{
	sim_plan(w, w->now + us, fn, arg);
}

void sim_run(struct sim_world *w, uint64_t us)
{
	uint64_t until = w->now + us;
	while (w->heap_len > 0 && w->heap[0].at <= until) {
		struct event e = pop(w);
		w->now = e.at;
		w->counts.events++;
		e.fn(e.arg);
	}
	w->now = until;
}

uint64_t sim_now_us(const struct sim_world *w)
{
	return w->now;
}

uint64_t sim_local_us(const struct sim_node *n)
{
	return n->world->now + (uint64_t)n->skew_us;
}

uint64_t sim_wall_ms(const struct sim_node *n)
{
	return WALL_START_MS + (sim_local_us(n) - START_US) / 1000;
}

int clock_gettime(clockid_t id, struct timespec *ts)
{
	if (id != CLOCK_REALTIME || sim_current == NULL) {
		return (int)syscall(SYS_clock_gettime, id, ts);
	}
	uint64_t ms = sim_wall_ms(sim_current);
	ts->tv_sec = (time_t)(ms / 1000);
	ts->tv_nsec = (long)(ms % 1000) * 1000000;
	return 0;
}

/* ---------------------------------------------------------------- processes */

static void on_wake(void *arg);

static void wake_by(struct sim_node *n, uint64_t at)
{
	if (at < n->world->now) {
		at = n->world->now;
	}
	if (at < n->wake_at) {
		n->wake_at = at;
		sim_plan(n->world, at, on_wake, n);
	}
}

void sim_wake(struct sim_node *n)
{
	if (n->running && !n->paused && n != sim_current) {
		wake_by(n, n->world->now + sim_below(n->world, WAKE_US));
	}
}

/* A loop that is late by much reads first and fires its timeouts in the next turn, 1 ms later. */
static void note_late(struct sim_node *n, uint64_t now, uint64_t late)
{
	if (now > n->late_until || late > n->late_most) {
		n->late_most = late;
		n->late_until = now + LATE_LASTS_MS;
	}
	n->late_ms = n->late_most > late ? n->late_most + LATE_LASTS_MS : late;
}

static void run_turns(struct sim_node *n)
{
	struct sim_world *w = n->world;
	uint64_t now = sim_local_us(n) / 1000;
	uint64_t due = vloop_due(n->vloop);
	note_late(n, now, due < now ? now - due : 0);
	unsigned turns = 0;
	do {
		ob__loop_turn(n->loop);
		w->counts.turns++;
		if (++turns > TURNS_MAX) {
			sim_fail(w, "node%u spins", n->index);
		}
	} while (vloop_busy(n->vloop));
	if (w->ops.after != NULL) {
		w->ops.after(n);
	}
	due = vloop_due(n->vloop);
	if (due != UINT64_MAX) {
		wake_by(n, due * 1000 - (uint64_t)n->skew_us);
	}
}

static void on_wake(void *arg)
{
	struct sim_node *n = arg;
	struct sim_world *w = n->world;
	if (n->wake_at != w->now) {
		return; /* an earlier one has come instead */
	}
	n->wake_at = UINT64_MAX;
	if (!n->running || n->paused) {
		return;
	}
	sim_mark(w, 20, n->index, 0, 0);
	sim_current = n;
	run_turns(n);
	sim_current = NULL;
}

bool sim_on(struct sim_node *n, void (*fn)(void *arg), void *arg)
{
	if (!n->running || n->paused) {
		return false;
	}
	sim_current = n;
	run_turns(n); /* so that its clock is now */
	fn(arg);
	run_turns(n);
	sim_current = NULL;
	return true;
}

void sim_boot(struct sim_node *n)
{
	struct sim_world *w = n->world;
	if (n->running) {
		return;
	}
	uint64_t wall = sim_wall_ms(n);
	n->incarnation = wall > n->incarnation ? wall : n->incarnation + 1;
	n->running = true;
	n->silent = false;
	n->paused = false;
	n->wake_at = UINT64_MAX;
	sim_mark(w, 21, n->index, n->incarnation, 0);
	sim_say(w, "node%u starts", n->index);
	sim_current = n;
	n->loop = ob__loop_new();
	w->ops.boot(n);
	run_turns(n);
	sim_current = NULL;
}

void sim_crash(struct sim_node *n, enum sim_crash how)
{
	struct sim_world *w = n->world;
	if (!n->running) {
		return;
	}
	sim_mark(w, 22, n->index, how, 0);
	sim_say(w, "node%u dies (%s)", n->index, how == SIM_CRASH_PROCESS ? "process" : "machine");
	n->silent = how == SIM_CRASH_MACHINE;
	vlisteners_crash(n); /* first: who waits there is among the sockets */
	while (!ob__list_empty(&n->socks)) {
		vsock_crash(OB__CONTAINER(n->socks.next, struct vsock, node_link), how);
	}
	n->running = false;
	n->net = NULL;
	sim_current = n;
	w->ops.halt(n);
	int rc = ob__loop_free(n->loop);
	sim_current = NULL;
	n->loop = NULL;
	n->user = NULL;
	if (rc != 0) {
		sim_fail(w, "node%u left handles open", n->index);
	}
}

/* ---------------------------------------------------------------- faults */

static void on_resume(void *arg)
{
	struct sim_node *n = arg;
	if (n->paused && n->resume_at <= n->world->now) {
		sim_say(n->world, "node%u goes on", n->index);
		n->paused = false;
		n->wake_at = UINT64_MAX;
		wake_by(n, n->world->now);
	}
}

void sim_pause(struct sim_node *n, uint64_t us)
{
	if (!n->running) {
		return;
	}
	sim_mark(n->world, 23, n->index, us, 0);
	sim_say(n->world, "node%u stops for %.3f s", n->index, (double)us / 1e6);
	n->paused = true;
	n->resume_at = n->world->now + us;
	sim_at(n->world, us, on_resume, n);
}

void sim_jump(struct sim_node *n, uint64_t us)
{
	sim_mark(n->world, 24, n->index, us, 0);
	sim_say(n->world, "node%u: its clock leaps by %.3f s", n->index, (double)us / 1e6);
	n->skew_us += (int64_t)us;
	sim_wake(n);
}

void sim_slow(struct sim_node *n, uint64_t us)
{
	sim_mark(n->world, 25, n->index, us, 0);
	sim_say(n->world, "node%u: %.3f s slower", n->index, (double)us / 1e6);
	n->slow_us = us;
}

bool sim_blocked(const struct sim_world *w, const struct sim_node *from, const struct sim_node *to)
{
	return w->blocked[(size_t)from->index * w->options.nodes + to->index] != 0;
}

static void release(struct sim_world *w, uint32_t from, uint32_t to)
{
	OB__LIST_EACH (it, &w->nodes[to].socks) {
		struct vsock *s = OB__CONTAINER(it, struct vsock, node_link);
		if (vsock_other(s)->node == &w->nodes[from]) {
			vsock_unblocked(s);
		}
	}
}

void sim_block(struct sim_world *w, uint32_t from, uint32_t to, bool on)
{
	uint8_t *flag = &w->blocked[(size_t)from * w->options.nodes + to];
	if (*flag == on || from == to) {
		return;
	}
	*flag = on;
	sim_mark(w, 26, from, to, on);
	if (!on) {
		release(w, from, to);
	}
}

void sim_reset(struct sim_node *a, struct sim_node *b, bool both)
{
	OB__LIST_EACH (it, &a->socks) {
		struct vsock *s = OB__CONTAINER(it, struct vsock, node_link);
		struct vsock *other = vsock_other(s);
		if (other->node == b && s->established && other->established) {
			sim_say(a->world, "node%u and node%u: reset (%s)", a->index, b->index,
			        both ? "both know" : "one knows");
			sim_mark(a->world, 27, a->index, b->index, both);
			if (both) {
				vsock_break(other);
			}
			vsock_break(s);
			return;
		}
	}
}

void sim_heal(struct sim_world *w)
{
	sim_say(w, "all is well again");
	for (uint32_t i = 0; i < w->options.nodes; i++) {
		struct sim_node *n = &w->nodes[i];
		n->slow_us = 0;
		for (uint32_t k = 0; k < w->options.nodes; k++) {
			sim_block(w, i, k, false);
		}
		if (n->paused) {
			n->resume_at = w->now;
			on_resume(n);
		}
		sim_boot(n);
	}
}

/* ---------------------------------------------------------------- the world */

uint64_t sim_latency(struct sim_world *w, const struct sim_node *from, const struct sim_node *to)
{
	uint64_t base = w->options.latency;
	/* Some pairs are further apart than others, always the same ones. */
	uint64_t pair = ((uint64_t)from->index << 20 | to->index) * UINT64_C(0x9e3779b97f4a7c15);
	uint64_t us = base / 2 + (pair >> 40) % (base + 1) + sim_below(w, base / 2 + 1);
	uint64_t slow = from->slow_us > to->slow_us ? from->slow_us : to->slow_us;
	return us + (slow > 0 ? slow / 2 + sim_below(w, slow) : 0);
}

const struct sim_options *sim_options_of(const struct sim_world *w)
{
	return &w->options;
}

struct sim_counts *sim_counting(struct sim_world *w)
{
	return &w->counts;
}

const struct sim_counts *sim_counts(const struct sim_world *w)
{
	return &w->counts;
}

struct sim_node *sim_find_host(struct sim_world *w, const char *host)
{
	unsigned a;
	unsigned b;
	if (sscanf(host, "10.0.%u.%u", &a, &b) != 2 || b == 0 ||
	    a * 250 + b - 1 >= w->options.nodes) {
		return NULL;
	}
	return &w->nodes[a * 250 + b - 1];
}

void *sim_user(const struct sim_world *w)
{
	return w->user;
}

struct sim_node *sim_node(struct sim_world *w, uint32_t index)
{
	return &w->nodes[index];
}

uint32_t sim_nodes(const struct sim_world *w)
{
	return w->options.nodes;
}

static void init_node(struct sim_world *w, uint32_t index)
{
	struct sim_node *n = &w->nodes[index];
	n->world = w;
	n->index = index;
	n->machine = index;
	n->wake_at = UINT64_MAX;
	n->skew_us = (int64_t)sim_below(w, 3600 * UINT64_C(1000000));
	snprintf(n->host, sizeof(n->host), "10.0.%u.%u", index / 250, index % 250 + 1);
	ob__list_init(&n->socks);
	ob__list_init(&n->listeners);
}

struct sim_world *sim_new(const struct sim_options *options, const struct sim_ops *ops, void *user)
{
	struct sim_world *w = calloc(1, sizeof(*w));
	if (w == NULL) {
		abort();
	}
	w->options = *options;
	w->options.latency = options->latency != 0 ? options->latency : 200;
	w->options.window = options->window != 0 ? options->window : 256u << 10;
	w->ops = *ops;
	w->user = user;
	w->now = START_US;
	w->random = options->seed * UINT64_C(0xd1342543de82ef95) + 1;
	w->secret = ~w->random;
	w->nodes = calloc(options->nodes, sizeof(*w->nodes));
	w->blocked = calloc(options->nodes, options->nodes);
	if (w->nodes == NULL || w->blocked == NULL) {
		abort();
	}
	for (uint32_t i = 0; i < options->nodes; i++) {
		init_node(w, i);
	}
	the_world = w;
	vconns_open = 0; /* a seed that failed has left some */
	vhandles_open = 0;
	ob__log_set_level(options->loud ? OB_LOG_DEBUG : OB_LOG_ERROR);
	return w;
}

void sim_free(struct sim_world *w)
{
	for (uint32_t i = 0; i < w->options.nodes; i++) {
		sim_crash(&w->nodes[i], SIM_CRASH_PROCESS);
	}
	/* What is under way finds nobody. */
	uint64_t patience = w->now + UINT64_C(600) * 1000000;
	while (w->heap_len > 0 && w->heap[0].at <= patience) {
		sim_run(w, w->heap[0].at - w->now);
	}
	if (vconns_open != 0 || vhandles_open != 0) {
		sim_fail(w, "%zu connections and %zu handles are left", vconns_open, vhandles_open);
	}
	free(w->heap);
	free(w->nodes);
	free(w->blocked);
	free(w);
}
