/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "base/loop.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <uv.h>

#include "base/err.h"
#include "base/log.h"

#define FREE_MS 5000u /* how long ob__loop_free() waits for handles */

/* Work to do once; deferred or posted. */
struct job {
	struct ob__list link;
	ob__loop_fn fn;
	void *arg;
};

struct signal_watch {
	uv_signal_t handle; /* first, so that the close callback gets the struct */
	struct ob__list link;
	void (*fn)(int signum, void *arg);
	void *arg;
};

struct ob__loop {
	uv_loop_t uv;
	uv_prepare_t prepare; /* runs the hooks and arms the wheel's timer */
	uv_timer_t wheel_timer;
	uv_check_t check; /* notes the time of a poll, and ends a turn for deferred work */
	uv_idle_t idle;   /* runs it; as long as it is active a poll does not block */
	uv_async_t async; /* wakes the loop for posts */
	uv_timer_t guard; /* ends ob__loop_free() */
	unsigned open;    /* own handles not closed yet, signals included */
	bool stopped;
	bool guard_fired;
	uint64_t wheel_due; /* when wheel_timer fires; UINT64_MAX: it is not armed */
	bool wheel_changed; /* an entry may be due before wheel_due */
	uint64_t polled;    /* when the last poll returned */
	struct ob__list hooks;
	struct ob__list deferred; /* of this turn */
	struct ob__list ready;    /* of earlier turns: run by the next idle callback */
	struct ob__list signals;
	pthread_mutex_t post_lock;
	struct ob__list posted; /* under post_lock */
	uint8_t *read_buffer;
	struct ob__wheel wheel;
};

static void on_wheel_timer(uv_timer_t *timer);

/* ---------------------------------------------------------------- hooks and the wheel */

static void run_hooks(struct ob__loop *l)
{
	/* A marker of our own walks the list, so that a hook may remove itself and any other. */
	struct ob__list marker;
	ob__list_init(&marker);
	for (struct ob__list *at = l->hooks.next; at != &l->hooks; at = marker.next) {
		ob__list_del(&marker);
		ob__list_insert_before(at->next, &marker);
		struct ob__loop_hook *hook = OB__CONTAINER(at, struct ob__loop_hook, link);
		hook->fn(hook->arg);
	}
	ob__list_del(&marker);
}

/* Setting a timeout is only a list insert; here, once per turn, libuv's timer follows. */
static void arm_wheel(struct ob__loop *l)
{
	l->wheel_changed = false;
	uint64_t next = ob__wheel_next(&l->wheel);
	if (next == UINT64_MAX) {
		l->wheel_due = UINT64_MAX;
		uv_timer_stop(&l->wheel_timer);
		return;
	}
	uint64_t due = l->wheel.now + next;
	if (due == l->wheel_due) {
		return;
	}
	l->wheel_due = due;
	uint64_t now = uv_now(&l->uv);
	uv_timer_start(&l->wheel_timer, on_wheel_timer, due > now ? due - now : 0, 0);
}

static void on_prepare(uv_prepare_t *handle)
{
	struct ob__loop *l = handle->data;
	run_hooks(l);
	if (l->wheel_changed) {
		arm_wheel(l);
	}
}

static void on_timeout(struct ob__wheel_entry *entry, void *arg)
{
	(void)arg;
	struct ob__timeout *t = OB__CONTAINER(entry, struct ob__timeout, entry);
	t->fn(t->arg);
}

/* What was due when the last poll returned: what has come due since then, in a turn that took long
 * or while the process slept, waits for the next poll.  So nobody is taken for silent whose word
 * may be waiting here. */
static void on_wheel_timer(uv_timer_t *timer)
{
	struct ob__loop *l = timer->data;
	uint64_t now = uv_now(&l->uv);
	l->wheel_due = UINT64_MAX;
	l->wheel_changed = true;
	ob__wheel_advance(&l->wheel, l->polled < now ? l->polled : now, on_timeout, NULL);
}

void ob__loop_before_poll(struct ob__loop *l, struct ob__loop_hook *hook)
{
	ob__list_append(&l->hooks, &hook->link);
}

void ob__loop_hook_remove(struct ob__loop_hook *hook)
{
	if (hook->link.next) {
		ob__list_del(&hook->link);
	}
}

void ob__timeout_init(struct ob__timeout *t, ob__loop_fn fn, void *arg)
{
	ob__wheel_entry_init(&t->entry);
	t->fn = fn;
	t->arg = arg;
}

void ob__timeout_set(struct ob__loop *l, struct ob__timeout *t, uint64_t ms)
{
	uint64_t now = uv_now(&l->uv);
	uint64_t expiry = ms < UINT64_MAX / 4 - now ? now + ms : UINT64_MAX / 4;
	ob__wheel_set(&l->wheel, &t->entry, expiry);
	if (expiry < l->wheel_due) {
		l->wheel_changed = true;
	}
}

void ob__timeout_clear(struct ob__loop *l, struct ob__timeout *t)
{
	ob__wheel_clear(&l->wheel, &t->entry);
}

bool ob__timeout_armed(const struct ob__timeout *t)
{
	return ob__wheel_armed(&t->entry);
}

/* ---------------------------------------------------------------- deferred and posted work */

static struct job *job_new(ob__loop_fn fn, void *arg)
{
	struct job *job = malloc(sizeof(*job));
	if (job) {
		ob__list_init(&job->link);
		job->fn = fn;
		job->arg = arg;
	}
	return job;
}

/* What a job adds to `jobs` while they run is not run here. */
static void run_jobs(struct ob__list *jobs)
{
	struct ob__list now;
	ob__list_init(&now);
	ob__list_splice(&now, jobs);
	while (!ob__list_empty(&now)) {
		struct job *job = OB__CONTAINER(now.next, struct job, link);
		ob__list_del(&job->link);
		ob__loop_fn fn = job->fn;
		void *arg = job->arg;
		free(job);
		fn(arg);
	}
}

/* After the poll: what was deferred until now may run in the next turn. */
static void on_check(uv_check_t *handle)
{
	struct ob__loop *l = handle->data;
	l->polled = uv_now(&l->uv);
	ob__list_splice(&l->ready, &l->deferred);
}

static void on_idle(uv_idle_t *handle)
{
	struct ob__loop *l = handle->data;
	run_jobs(&l->ready);
	if (ob__list_empty(&l->deferred)) {
		uv_idle_stop(&l->idle);
	}
}

int ob__loop_defer(struct ob__loop *l, ob__loop_fn fn, void *arg)
{
	struct job *job = job_new(fn, arg);
	if (!job) {
		return -ENOMEM;
	}
	ob__list_append(&l->deferred, &job->link);
	uv_idle_start(&l->idle, on_idle);
	return 0;
}

int ob__loop_post(struct ob__loop *l, ob__loop_fn fn, void *arg)
{
	struct job *job = job_new(fn, arg);
	if (!job) {
		return -ENOMEM;
	}
	pthread_mutex_lock(&l->post_lock);
	ob__list_append(&l->posted, &job->link);
	uv_async_send(&l->async);
	pthread_mutex_unlock(&l->post_lock);
	return 0;
}

static void on_async(uv_async_t *handle)
{
	struct ob__loop *l = handle->data;
	struct ob__list jobs;
	ob__list_init(&jobs);
	pthread_mutex_lock(&l->post_lock);
	ob__list_splice(&jobs, &l->posted);
	pthread_mutex_unlock(&l->post_lock);
	run_jobs(&jobs);
}

static bool work_waits(struct ob__loop *l)
{
	if (!ob__list_empty(&l->deferred) || !ob__list_empty(&l->ready)) {
		return true;
	}
	pthread_mutex_lock(&l->post_lock);
	bool waits = !ob__list_empty(&l->posted);
	pthread_mutex_unlock(&l->post_lock);
	return waits;
}

/* ---------------------------------------------------------------- life */

/* The own handles never keep uv_run() going; run() sees to that. */
static void adopt(struct ob__loop *l, uv_handle_t *handle)
{
	handle->data = l;
	uv_unref(handle);
	l->open++;
}

struct ob__loop *ob__loop_new(void)
{
	struct ob__loop *l = calloc(1, sizeof(*l));
	if (!l) {
		return NULL;
	}
	l->read_buffer = malloc(OB__LOOP_READ_BUFFER);
	if (!l->read_buffer || uv_loop_init(&l->uv) != 0) {
		goto out;
	}
	/* The only one that can fail, so the others need no way back. */
	if (uv_async_init(&l->uv, &l->async, on_async) != 0) {
		uv_loop_close(&l->uv);
		goto out;
	}
	uv_prepare_init(&l->uv, &l->prepare);
	uv_timer_init(&l->uv, &l->wheel_timer);
	uv_check_init(&l->uv, &l->check);
	uv_idle_init(&l->uv, &l->idle);
	uv_timer_init(&l->uv, &l->guard);
	adopt(l, (uv_handle_t *)&l->async);
	adopt(l, (uv_handle_t *)&l->prepare);
	adopt(l, (uv_handle_t *)&l->wheel_timer);
	adopt(l, (uv_handle_t *)&l->check);
	adopt(l, (uv_handle_t *)&l->idle);
	adopt(l, (uv_handle_t *)&l->guard);
	uv_prepare_start(&l->prepare, on_prepare);
	uv_check_start(&l->check, on_check);

	ob__list_init(&l->hooks);
	ob__list_init(&l->deferred);
	ob__list_init(&l->ready);
	ob__list_init(&l->signals);
	ob__list_init(&l->posted);
	pthread_mutex_init(&l->post_lock, NULL);
	ob__wheel_init(&l->wheel, uv_now(&l->uv));
	l->polled = uv_now(&l->uv);
	l->wheel_due = UINT64_MAX;
	return l;

out:
	free(l->read_buffer);
	free(l);
	return NULL;
}

/* uv_run() does nothing at all while no handle has a reference; for its time the async has one. */
static void run(struct ob__loop *l, uv_run_mode mode)
{
	uv_ref((uv_handle_t *)&l->async);
	uv_run(&l->uv, mode);
	uv_unref((uv_handle_t *)&l->async);
}

void ob__loop_run(struct ob__loop *l)
{
	while (!l->stopped) {
		run(l, UV_RUN_DEFAULT);
	}
	l->stopped = false;
}

bool ob__loop_turn(struct ob__loop *l)
{
	run(l, UV_RUN_NOWAIT);
	return uv_loop_alive(&l->uv) || l->wheel.count > 0 || work_waits(l);
}

void ob__loop_stop(struct ob__loop *l)
{
	l->stopped = true;
	uv_stop(&l->uv);
}

static void on_guard(uv_timer_t *timer)
{
	struct ob__loop *l = timer->data;
	l->guard_fired = true;
}

static void count_handle(uv_handle_t *handle, void *arg)
{
	(void)handle;
	(*(unsigned *)arg)++;
}

/* Handles that are not the loop's own. */
static unsigned foreign(struct ob__loop *l)
{
	unsigned all = 0;
	uv_walk(&l->uv, count_handle, &all);
	return all - l->open;
}

/* Lets work that waits run and foreign handles and requests end, as long as any of them can. */
static void settle(struct ob__loop *l)
{
	uv_timer_start(&l->guard, on_guard, FREE_MS, 0);
	while (!l->guard_fired) {
		bool waits = work_waits(l);
		if (!waits && !uv_loop_alive(&l->uv)) {
			break;
		}
		run(l, waits ? UV_RUN_NOWAIT : UV_RUN_ONCE);
	}
}

static void on_own_closed(uv_handle_t *handle)
{
	struct ob__loop *l = handle->data;
	l->open--;
}

static void on_signal_closed(uv_handle_t *handle)
{
	struct signal_watch *watch = (struct signal_watch *)handle;
	struct ob__loop *l = handle->data;
	l->open--;
	free(watch);
}

static void close_own(struct ob__loop *l)
{
	OB__LIST_EACH_SAFE (it, &l->signals) {
		struct signal_watch *watch = OB__CONTAINER(it, struct signal_watch, link);
		ob__list_del(it);
		uv_close((uv_handle_t *)&watch->handle, on_signal_closed);
	}
	uv_close((uv_handle_t *)&l->prepare, on_own_closed);
	uv_close((uv_handle_t *)&l->wheel_timer, on_own_closed);
	uv_close((uv_handle_t *)&l->check, on_own_closed);
	uv_close((uv_handle_t *)&l->idle, on_own_closed);
	uv_close((uv_handle_t *)&l->async, on_own_closed);
	uv_close((uv_handle_t *)&l->guard, on_own_closed);
	while (l->open > 0) {
		uv_run(&l->uv, UV_RUN_NOWAIT);
	}
}

static void drop_jobs(struct ob__list *jobs)
{
	OB__LIST_EACH_SAFE (it, jobs) {
		ob__list_del(it);
		free(OB__CONTAINER(it, struct job, link));
	}
}

int ob__loop_free(struct ob__loop *l)
{
	if (!l) {
		return 0;
	}
	settle(l);
	unsigned left = foreign(l);
	close_own(l);
	drop_jobs(&l->deferred);
	drop_jobs(&l->ready);
	drop_jobs(&l->posted);
	int err = uv_loop_close(&l->uv);
	if (err != 0) {
		ob__error("loop", "handles left open at the end: %u (%s)", left, ob__strerror(err));
		return -EBUSY;
	}
	pthread_mutex_destroy(&l->post_lock);
	free(l->read_buffer);
	free(l);
	return 0;
}

/* ---------------------------------------------------------------- the rest */

struct uv_loop_s *ob__loop_uv(struct ob__loop *l)
{
	return &l->uv;
}

uint64_t ob__loop_now(const struct ob__loop *l)
{
	return uv_now(&l->uv);
}

uint64_t ob__loop_hrtime_us(void)
{
	return uv_hrtime() / 1000;
}

uint8_t *ob__loop_read_buffer(struct ob__loop *l)
{
	return l->read_buffer;
}

static void on_signal(uv_signal_t *handle, int signum)
{
	struct signal_watch *watch = (struct signal_watch *)handle;
	watch->fn(signum, watch->arg);
}

static int watch_signal(struct ob__loop *l, int signum, void (*fn)(int signum, void *arg),
                        void *arg)
{
	struct signal_watch *watch = calloc(1, sizeof(*watch));
	if (!watch) {
		return -ENOMEM;
	}
	int err = uv_signal_init(&l->uv, &watch->handle);
	if (err != 0) {
		free(watch);
		return err;
	}
	watch->fn = fn;
	watch->arg = arg;
	ob__list_append(&l->signals, &watch->link);
	adopt(l, (uv_handle_t *)&watch->handle);
	return uv_signal_start(&watch->handle, on_signal, signum);
}

int ob__loop_signals(struct ob__loop *l, const int *signums, void (*fn)(int signum, void *arg),
                     void *arg)
{
	for (; *signums != 0; signums++) {
		int err = watch_signal(l, *signums, fn, arg);
		if (err != 0) {
			return err;
		}
	}
	return 0;
}
