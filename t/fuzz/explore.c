/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "t/fuzz/explore.h"

#include <errno.h>
#include <inttypes.h>
#include <malloc.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "t/fuzz/fuzz.h"

#define KEPT    (64 << 20) /* bytes that are not given back to the kernel between two inputs */
#define STUCK_S 60         /* one input may take so long, on a busy machine, too */

/* What a worker shares with its parent, which reads it when the worker has died. */
struct desk {
	volatile uint64_t done; /* runs */
	volatile uint64_t run;  /* the one it is at */
	volatile size_t len;    /* of its input */
	uint8_t data[];
};

struct worker {
	pid_t pid; /* 0: it has ended */
	struct desk *desk;
	uint64_t seen; /* `done` when it was last looked at */
};

struct team {
	const struct fuzz_plan *plan;
	const struct fuzz_corpus *corpus;
	struct worker workers[FUZZ_WORKERS];
	bool found;
};

/* The input is a block of its exact size, so that a sanitizer sees a read beyond it. */
static void run_input(const struct desk *desk)
{
	uint8_t *data = malloc(desk->len > 0 ? desk->len : 1);
	if (data == NULL) {
		abort();
	}
	memcpy(data, desk->data, desk->len);
	LLVMFuzzerTestOneInput(data, desk->len);
	free(data);
}

static void work(const struct team *t, unsigned which)
{
	struct desk *desk = t->workers[which].desk;
	const struct fuzz_plan *plan = t->plan;
	mallopt(M_TRIM_THRESHOLD, KEPT);
	mallopt(M_MMAP_THRESHOLD, KEPT / 2);
	for (uint64_t run = which; run < plan->runs; run += plan->workers) {
		desk->run = run;
		desk->len = fuzz_make(t->corpus, plan->seed, run, desk->data, plan->max_len);
		run_input(desk);
		desk->done++;
	}
}

static int start(struct team *t, unsigned which)
{
	struct worker *w = &t->workers[which];
	size_t size = sizeof(*w->desk) + t->plan->max_len;
	void *desk = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (desk == MAP_FAILED) {
		return -1;
	}
	w->desk = desk;
	pid_t parent = getpid();
	w->pid = fork();
	if (w->pid == 0) {
		sigset_t none;
		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() == parent) {
			work(t, which);
		}
		exit(0); /* a sanitizer looks for leaks now */
	}
	return w->pid < 0 ? -1 : 0;
}

static void save(const struct team *t, const struct desk *desk)
{
	char path[4096];
	snprintf(path, sizeof(path), "%sfinding-%" PRIu64 "-%" PRIu64, t->plan->prefix,
	         t->plan->seed, desk->run);
	FILE *f = fopen(path, "wb");
	bool good = f != NULL && fwrite(desk->data, 1, desk->len, f) == desk->len;
	if (f == NULL || fclose(f) != 0 || !good) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		return;
	}
	fprintf(stderr, "its input of %zu bytes is in %s\n", desk->len, path);
}

static void ended(struct team *t, struct worker *w, int status)
{
	w->pid = 0;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
		return;
	}
	t->found = true;
	fprintf(stderr, "run %" PRIu64 " of seed %" PRIu64 ": %s %d\n", w->desk->run, t->plan->seed,
	        WIFSIGNALED(status) ? "signal" : "exit status",
	        WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	save(t, w->desk);
}

static void kill_stuck(struct team *t)
{
	for (unsigned i = 0; i < t->plan->workers; i++) {
		struct worker *w = &t->workers[i];
		uint64_t done = w->desk != NULL ? w->desk->done : 0;
		if (w->pid > 0 && done == w->seen) {
			fprintf(stderr, "no end in %d seconds:\n", STUCK_S);
			kill(w->pid, SIGKILL);
		}
		w->seen = done;
	}
}

/* Until all have ended; at a finding the others are let run. */
static void wait_for_all(struct team *t, const sigset_t *child)
{
	static const struct timespec stuck = {.tv_sec = STUCK_S};
	for (;;) {
		int status;
		pid_t pid = waitpid(-1, &status, WNOHANG);
		for (unsigned i = 0; pid > 0 && i < t->plan->workers; i++) {
			if (t->workers[i].pid == pid) {
				ended(t, &t->workers[i], status);
			}
		}
		if (pid < 0 && errno == ECHILD) {
			return;
		}
		if (pid == 0 && sigtimedwait(child, NULL, &stuck) < 0 && errno == EAGAIN) {
			kill_stuck(t);
		}
	}
}

static double seconds(const struct timeval *t)
{
	return (double)t->tv_sec + (double)t->tv_usec / 1e6;
}

static void tell(const struct team *t)
{
	struct rusage use;
	uint64_t done = 0;
	for (unsigned i = 0; i < t->plan->workers; i++) {
		done += t->workers[i].desk != NULL ? t->workers[i].desk->done : 0;
	}
	getrusage(RUSAGE_CHILDREN, &use);
	printf("%" PRIu64 " runs of seed %" PRIu64 ", %.1f s of CPU\n", done, t->plan->seed,
	       seconds(&use.ru_utime) + seconds(&use.ru_stime));
}

int fuzz_explore(const struct fuzz_corpus *c, const struct fuzz_plan *plan)
{
	struct team t = {.plan = plan, .corpus = c};
	sigset_t child;
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, NULL); /* waited for, so none is lost */
	fflush(stdout);
	for (unsigned i = 0; i < plan->workers; i++) {
		if (start(&t, i) < 0) {
			perror("a worker");
			t.found = true;
		}
	}
	wait_for_all(&t, &child);
	tell(&t);
	for (unsigned i = 0; i < plan->workers; i++) {
		if (t.workers[i].desk != NULL) {
			munmap(t.workers[i].desk, sizeof(struct desk) + plan->max_len);
		}
	}
	return t.found ? 1 : 0;
}
