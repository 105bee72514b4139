/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "base/loop.h"

#include <CUnit/CUnit.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <uv.h>

#include "tap.h"

/* What happened, as letters in order. */
static char trace[256];

static void note(char ch)
{
	size_t n = strlen(trace);
	if (n + 1 < sizeof(trace)) {
		trace[n] = ch;
		trace[n + 1] = '\0';
	}
}

/* A letter as the argument of a callback. */
static void *letter(char ch)
{
	static char letters[128];
	letters[(int)ch] = ch;
	return &letters[(int)ch];
}

static void note_arg(void *arg)
{
	note(*(const char *)arg);
}

static struct ob__loop *fresh(void)
{
	trace[0] = '\0';
	struct ob__loop *l = ob__loop_new();
	CU_ASSERT_PTR_NOT_NULL_FATAL(l);
	return l;
}

static void stop(void *arg)
{
	ob__loop_stop(arg);
}

/* Runs until `ms` have passed. */
static void run_for(struct ob__loop *l, uint64_t ms)
{
	struct ob__timeout end;
	ob__timeout_init(&end, stop, l);
	ob__timeout_set(l, &end, ms);
	ob__loop_run(l);
}

/* ---------------------------------------------------------------- hooks */

static struct ob__loop_hook hooks[4];
static struct ob__loop *hook_loop;

static void remove_self(void *arg)
{
	note('x');
	ob__loop_hook_remove(arg);
}

static void remove_others(void *arg)
{
	(void)arg;
	note('o');
	ob__loop_hook_remove(&hooks[0]); /* has run already */
	ob__loop_hook_remove(&hooks[2]); /* would be next */
	hooks[3] = (struct ob__loop_hook){.fn = note_arg, .arg = letter('d')};
	ob__loop_before_poll(hook_loop, &hooks[3]);
	ob__loop_hook_remove(&hooks[1]);
}

static void test_hooks(void)
{
	struct ob__loop *l = fresh();
	hooks[0] = (struct ob__loop_hook){.fn = note_arg, .arg = letter('a')};
	hooks[1] = (struct ob__loop_hook){.fn = remove_self, .arg = &hooks[1]};
	hooks[2] = (struct ob__loop_hook){.fn = note_arg, .arg = letter('c')};
	for (int i = 0; i < 3; i++) {
		ob__loop_before_poll(l, &hooks[i]);
	}
	ob__loop_turn(l);
	CU_ASSERT_STRING_EQUAL(trace, "axc");
	ob__loop_turn(l);
	CU_ASSERT_STRING_EQUAL(trace, "axcac");
	CU_ASSERT_EQUAL(ob__loop_free(l), 0);
}

static void test_hooks_change(void)
{
	struct ob__loop *l = fresh();
	hook_loop = l;
	hooks[0] = (struct ob__loop_hook){.fn = note_arg, .arg = letter('a')};
	hooks[1] = (struct ob__loop_hook){.fn = remove_others};
	hooks[2] = (struct ob__loop_hook){.fn = note_arg, .arg = letter('c')};
	for (int i = 0; i < 3; i++) {
		ob__loop_before_poll(l, &hooks[i]);
	}
	ob__loop_turn(l);
	CU_ASSERT_STRING_EQUAL(trace, "aod");
	ob__loop_turn(l);
	CU_ASSERT_STRING_EQUAL(trace, "aodd");

	struct ob__loop_hook zeroed = {0};
	ob__loop_hook_remove(&zeroed);
	ob__loop_hook_remove(&hooks[1]); /* twice */
	CU_ASSERT_EQUAL(ob__loop_free(l), 0);
}

/* ---------------------------------------------------------------- deferred work */

struct chain {
	struct ob__loop *l;
	int left;
};

static void chain_step(void *arg)
{
	struct chain *c = arg;
	note('s');
	if (--c->left > 0) {
		CU_ASSERT_EQUAL(ob__loop_defer(c->l, chain_step, c), 0);
	}
}

static void test_defer(void)
{
	struct ob__loop *l = fresh();
	hooks[0] = (struct ob__loop_hook){.fn = note_arg, .arg = letter('|')};
	ob__loop_before_poll(l, &hooks[0]);
	CU_ASSERT_EQUAL(ob__loop_defer(l, note_arg, letter('1')), 0);
	CU_ASSERT_EQUAL(ob__loop_defer(l, note_arg, letter('2')), 0);
	CU_ASSERT_STRING_EQUAL(trace, ""); /* never at once */
	while (ob__loop_turn(l)) {
	}
	CU_ASSERT_STRING_EQUAL(trace, "|12|"); /* and before output is flushed */

	struct chain c = {l, 3};
	trace[0] = '\0';
	ob__loop_defer(l, chain_step, &c);
	while (ob__loop_turn(l)) {
	}
	CU_ASSERT_STRING_EQUAL(trace, "|s|s|s|"); /* what it defers is for the next turn */
	CU_ASSERT_EQUAL(ob__loop_free(l), 0);
}

static void defer_stop(void *arg)
{
	ob__loop_defer(arg, stop, arg);
}

/* The poll of a turn in which work was deferred does not wait, even if a hook did it. */
static void test_defer_no_wait(void)
{
	struct ob__loop *l = fresh();
	struct ob__timeout far;
	ob__timeout_init(&far, stop, l);
	ob__timeout_set(l, &far, 60000);
	hooks[0] = (struct ob__loop_hook){.fn = defer_stop, .arg = l};
	ob__loop_before_poll(l, &hooks[0]);
	ob__loop_run(l);
	CU_ASSERT(ob__timeout_armed(&far)); /* it was not the minute that ended it */
	ob__loop_hook_remove(&hooks[0]);
	ob__timeout_clear(l, &far);
	CU_ASSERT_EQUAL(ob__loop_free(l), 0);
}

/* ---------------------------------------------------------------- posted work */

#define POSTERS 4
#define POSTS   5000

static struct poster {
	struct ob__loop *l;
	int next; /* the number that must come next */
	int sent;
	int wrong;
	struct post {
		struct poster *from;
		int number;
	} posts[POSTS];
} posters[POSTERS];

static int posts_left;

static void on_post(void *arg)
{
	struct post *p = arg;
	p->from->wrong += p->number != p->from->next++;
	if (--posts_left == 0) {
		ob__loop_stop(p->from->l);
	}
}

static void *poster_main(void *arg)
{
	struct poster *p = arg;
	for (int i = 0; i < POSTS; i++) {
		p->posts[i] = (struct post){p, i};
		p->sent += ob__loop_post(p->l, on_post, &p->posts[i]) == 0;
	}
	return NULL;
}

static void test_post(void)
{
	struct ob__loop *l = fresh();
	pthread_t threads[POSTERS];
	posts_left = POSTERS * POSTS;
	for (int i = 0; i < POSTERS; i++) {
		posters[i] = (struct poster){.l = l};
		CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, poster_main, &posters[i]),
		                      0);
	}
	ob__loop_run(l);
	for (int i = 0; i < POSTERS; i++) {
		pthread_join(threads[i], NULL);
		CU_ASSERT_EQUAL(posters[i].sent, POSTS);
		CU_ASSERT_EQUAL(posters[i].next, POSTS);
		CU_ASSERT_EQUAL(posters[i].wrong, 0);
	}
	CU_ASSERT_EQUAL(ob__loop_free(l), 0);
}

static void post_again(void *arg)
{
	struct chain *c = arg;
	note('p');
	if (--c->left > 0) {
		ob__loop_post(c->l, post_again, c);
	}
}

static void test_post_from_loop(void)
{
	struct ob__loop *l = fresh();
	struct chain c = {l, 3};
	ob__loop_post(l, post_again, &c);
	while (ob__loop_turn(l)) {
	}
	CU_ASSERT_STRING_EQUAL(trace, "ppp");
	CU_ASSERT_EQUAL(ob__loop_free(l), 0);
}

/* ---------------------------------------------------------------- timeouts */

struct timed {
	struct ob__timeout timeout;
	struct ob__loop *l;
	uint64_t wanted; /* ms */
	uint64_t set_at;
	uint64_t fired_at; /* 0: not yet */
	int again;
};

static void on_timed(void *arg)
{
	struct timed *t = arg;
	CU_ASSERT_FALSE(ob__timeout_armed(&t->timeout));
	t->fired_at = ob__loop_now(t->l);
	if (t->again-- > 0) {
		ob__timeout_set(t->l, &t->timeout, t->wanted);
	}
}

static void set_timed(struct ob__loop *l, struct timed *t, uint64_t ms)
{
	*t = (struct timed){.l = l, .wanted = ms, .set_at = ob__loop_now(l)};
	ob__timeout_init(&t->timeout, on_timed, t);
	CU_ASSERT_FALSE(ob__timeout_armed(&t->timeout));
	ob__timeout_set(l, &t->timeout, ms);
	CU_ASSERT(ob__timeout_armed(&t->timeout));
}

static void test_timeouts(void)
{
	static const uint64_t ms[] = {40, 0, 15, 1, 25, 3600000};
	struct ob__loop *l = fresh();
	struct timed t[6];
	for (size_t i = 0; i < 6; i++) {
		set_timed(l, &t[i], ms[i]);
	}
	ob__timeout_clear(l, &t[4].timeout);
	ob__timeout_clear(l, &t[4].timeout); /* twice */
	run_for(l, 60);
	for (size_t i = 0; i < 4; i++) {
		CU_ASSERT(t[i].fired_at >= t[i].set_at + t[i].wanted); /* never before */
	}
	CU_ASSERT(t[1].fired_at <= t[2].fired_at);
	CU_ASSERT(t[2].fired_at <= t[0].fired_at);
	CU_ASSERT_EQUAL(t[4].fired_at, 0); /* cleared */
	CU_ASSERT_EQUAL(t[5].fired_at, 0); /* an hour away */
	ob__timeout_clear(l, &t[5].timeout);
	CU_ASSERT_EQUAL(ob__loop_free(l), 0);
}

static void test_timeouts_again(void)
{
	struct ob__loop *l = fresh();
	struct timed t;
	set_timed(l, &t, 5);
	t.again = 3;
	while (t.again >= 0) { /* four times */
		run_for(l, 20);
	}
	CU_ASSERT_FALSE(ob__timeout_armed(&t.timeout));

	/* Moved further away, and then nearer than what libuv's timer was armed for. */
	set_timed(l, &t, 10);
	ob__timeout_set(l, &t.timeout, 3600000);
	run_for(l, 30);
	CU_ASSERT_EQUAL(t.fired_at, 0);
	ob__timeout_set(l, &t.timeout, 1);
	run_for(l, 30);
	CU_ASSERT_NOT_EQUAL(t.fired_at, 0);

	ob__timeout_set(l, &t.timeout, UINT64_MAX); /* never, without overflowing */
	t.fired_at = 0;
	run_for(l, 20);
	CU_ASSERT_EQUAL(t.fired_at, 0);
	ob__timeout_clear(l, &t.timeout);
	CU_ASSERT_EQUAL(ob__loop_free(l), 0);
}

static void count_turn(void *arg)
{
	(*(int *)arg)++;
}

/* A node that waits for something far away sleeps. */
struct pipe_end {
	uv_poll_t poll;
	int fds[2];
	int *slow; /* what is written to at the end of a long turn, or NULL */
	struct ob__loop *loop;
	struct ob__timeout *begins; /* set at the beginning of that turn, or NULL */
};

static void on_readable(uv_poll_t *poll, int status, int events)
{
	struct pipe_end *end = poll->data;
	(void)events;
	CU_ASSERT_EQUAL(status, 0);
	note('r');
	uv_close((uv_handle_t *)poll, NULL);
	if (end->begins != NULL) {
		ob__timeout_set(end->loop, end->begins, 200);
	}
	if (end->slow != NULL) {
		uv_sleep(300);
		CU_ASSERT_EQUAL(write(*end->slow, "x", 1), 1);
	}
}

/* Word that came during a turn that took long is read before anybody's time is up; also when that
 * turn comes behind another one. */
static void test_timeouts_late(void)
{
	enum { COUNT = 4 };
	struct ob__loop *l = fresh();
	struct ob__timeout t;
	struct ob__timeout u;
	struct pipe_end ends[COUNT] = {{.slow = NULL}};
	for (int i = 0; i < COUNT; i++) {
		CU_ASSERT_EQUAL_FATAL(pipe(ends[i].fds), 0);
		uv_poll_init(ob__loop_uv(l), &ends[i].poll, ends[i].fds[0]);
		ends[i].poll.data = &ends[i];
		uv_poll_start(&ends[i].poll, UV_READABLE, on_readable);
	}
	for (int i = 0; i < COUNT - 1; i++) {
		ends[i].slow = &ends[i + 1].fds[1];
	}
	ends[1].begins = &u;
	ends[1].loop = l;
	CU_ASSERT_EQUAL(write(ends[0].fds[1], "x", 1), 1);
	ob__timeout_init(&t, note_arg, letter('t'));
	ob__timeout_init(&u, note_arg, letter('u'));
	ob__timeout_set(l, &t, 50);
	run_for(l, 1300);
	CU_ASSERT_STRING_EQUAL(trace, "rrtrur");
	CU_ASSERT_EQUAL(ob__loop_free(l), 0);
	for (int i = 0; i < COUNT; i++) {
		close(ends[i].fds[0]);
		close(ends[i].fds[1]);
	}
}

static void test_idle_sleeps(void)
{
	struct ob__loop *l = fresh();
	int turns = 0;
	struct timed t;
	hooks[0] = (struct ob__loop_hook){.fn = count_turn, .arg = &turns};
	ob__loop_before_poll(l, &hooks[0]);
	set_timed(l, &t, 5000);
	run_for(l, 200);
	CU_ASSERT(turns >= 1 && turns < 8); /* ticks of 10 ms would be 20 */
	ob__timeout_clear(l, &t.timeout);
	CU_ASSERT_EQUAL(ob__loop_free(l), 0);
}

/* ---------------------------------------------------------------- signals and clocks */

static int got_signum;

static void on_signal(int signum, void *arg)
{
	got_signum = signum;
	ob__loop_stop(arg);
}

static void test_signals(void)
{
	static const int signums[] = {SIGUSR1, SIGHUP, 0};
	static const int bad[] = {SIGKILL, 0};
	struct ob__loop *l = fresh();
	CU_ASSERT_EQUAL(ob__loop_signals(l, signums, on_signal, l), 0);
	CU_ASSERT_EQUAL(ob__loop_signals(l, bad, on_signal, l), -EINVAL);
	CU_ASSERT_FALSE(ob__loop_turn(l)); /* waiting for signals is nothing left to do */
	for (int i = 0; signums[i]; i++) {
		got_signum = 0;
		raise(signums[i]);
		ob__loop_run(l);
		CU_ASSERT_EQUAL(got_signum, signums[i]);
	}
	CU_ASSERT_EQUAL(ob__loop_free(l), 0);
}

static void test_clocks(void)
{
	struct ob__loop *l = fresh();
	uint64_t now = ob__loop_now(l);
	uint64_t us = ob__loop_hrtime_us();
	CU_ASSERT_EQUAL(ob__loop_now(l), now); /* read once per turn */
	run_for(l, 20);
	CU_ASSERT(ob__loop_now(l) >= now + 20);
	CU_ASSERT(ob__loop_hrtime_us() > us);
	memset(ob__loop_read_buffer(l), 0x5a, OB__LOOP_READ_BUFFER);
	CU_ASSERT_PTR_NOT_NULL(ob__loop_uv(l));
	CU_ASSERT_EQUAL(ob__loop_free(l), 0);
}

static void test_stop(void)
{
	struct ob__loop *l = fresh();
	ob__loop_stop(l);
	ob__loop_run(l); /* stopped before it began: returns */
	ob__loop_post(l, stop, l);
	ob__loop_run(l); /* and runs again */
	CU_ASSERT_EQUAL(ob__loop_free(l), 0);
}

/* ---------------------------------------------------------------- the end */

static void test_free_runs_pending(void)
{
	struct ob__loop *l = fresh();
	struct chain c = {l, 3};
	ob__loop_defer(l, chain_step, &c);
	ob__loop_post(l, note_arg, letter('p'));
	CU_ASSERT_EQUAL(ob__loop_free(l), 0);
	CU_ASSERT_EQUAL(strlen(trace), 4);
	CU_ASSERT_PTR_NOT_NULL(strchr(trace, 'p'));
	CU_ASSERT_EQUAL(c.left, 0);
	CU_ASSERT_EQUAL(ob__loop_free(NULL), 0);
}

static void defer_closed(uv_handle_t *handle)
{
	ob__loop_defer(handle->data, note_arg, letter('c'));
}

/* Handles that are closing may take their time, and what their callbacks defer still runs. */
static void test_free_waits(void)
{
	struct ob__loop *l = fresh();
	uv_timer_t timer;
	uv_timer_init(ob__loop_uv(l), &timer);
	timer.data = l;
	uv_close((uv_handle_t *)&timer, defer_closed);
	CU_ASSERT_EQUAL(ob__loop_free(l), 0);
	CU_ASSERT_STRING_EQUAL(trace, "c");
}

static void test_free_busy(void)
{
	static uv_timer_t left_open; /* keeps the loop's memory reachable */
	struct ob__loop *l = fresh();
	uv_timer_init(ob__loop_uv(l), &left_open);
	CU_ASSERT_EQUAL(ob__loop_free(l), -EBUSY);
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("loop", NULL, NULL);
	CU_add_test(s, "hooks run in order", test_hooks);
	CU_add_test(s, "hooks come and go", test_hooks_change);
	CU_add_test(s, "defer", test_defer);
	CU_add_test(s, "deferred work does not wait", test_defer_no_wait);
	CU_add_test(s, "posts keep their order", test_post);
	CU_add_test(s, "a post that posts", test_post_from_loop);
	CU_add_test(s, "timeouts", test_timeouts);
	CU_add_test(s, "timeouts set again", test_timeouts_again);
	CU_add_test(s, "timeouts that are late", test_timeouts_late);
	CU_add_test(s, "an idle loop sleeps", test_idle_sleeps);
	CU_add_test(s, "signals", test_signals);
	CU_add_test(s, "clocks and the read buffer", test_clocks);
	CU_add_test(s, "stop", test_stop);
	CU_add_test(s, "free runs what is pending", test_free_runs_pending);
	CU_add_test(s, "free waits for closing handles", test_free_waits);
	CU_add_test(s, "free tells of open handles", test_free_busy);
	return ob__tap_run();
}
