/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/swap/loader.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <uv.h>

#include "base/err.h"
#include "base/log.h"
#include "host/swap/open.h"
#include "host/swap/stage.h"

#define FD_MIN    10
#define REINSTALL "install all of obhost again, then restart the node"

struct ob__loader {
	struct ob__loop *loop;
	char *stage_dir;
	char **dirs;
	char *probe_exe;
	char *program; /* obhost-probe, as it is called in texts */
	int program_fd;
	pthread_t thread;
	bool running;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool ending;
	bool abandoned; /* the job under way hangs, and nobody waits for it any more */
	struct ob__list jobs;
	int stop_fd; /* readable: the node ends */

	/* the job under way */
	enum ob__load_op op; /* 0: none */
	char name[64];
	uint64_t number;
	uint64_t since_ns;
};

static void run_stage(struct ob__loader *l, struct ob__load_job *job)
{
	struct ob__stage s = {
		.dirs = (const char *const *)l->dirs,
		.stage_dir = l->stage_dir,
		.name = job->name,
		.path = job->path,
		.want_sha = job->want_sha,
		.known_sha = job->known_sha,
		.number = job->number,
	};

	job->failed = ob__stage_run(&s, &job->refusal) != 0;
	memcpy(job->file, s.file, sizeof(job->file));
	memcpy(job->staged, s.staged, sizeof(job->staged));
	memcpy(job->sha256, s.sha256, sizeof(job->sha256));
	job->size = s.size;
	job->mtime_ns = s.mtime_ns;
	job->inode = s.inode;
	job->unchanged = s.unchanged;
}

static void run_preflight(struct ob__loader *l, struct ob__load_job *job)
{
	(void)l;
	ob__open_preflight(job);
}

static void drop_program(struct ob__loader *l, const char *why, const char *remedy)
{
	ob__warning("loader",
	            "%s %s; modules are rehearsed by obhost itself, which takes more time%s%s",
	            l->program, why, remedy[0] != '\0' ? "; " : "", remedy);
	if (l->program_fd >= 0) {
		close(l->program_fd);
	}
	l->program_fd = -1;
}

static void run_probe(struct ob__loader *l, struct ob__load_job *job)
{
	char program[64];

	/* By its descriptor: it is the file that was there when the node started. */
	snprintf(program, sizeof(program), "/proc/self/fd/%d", l->program_fd);
	job->probe.exe = l->probe_exe;
	job->probe.program = l->program_fd >= 0 ? program : NULL;
	job->probe.staged = job->staged;
	job->probe.file = job->file;
	job->probe.name = job->name;
	job->probe.stop_fd = l->stop_fd;
	job->failed = ob__probe_run(&job->probe, &job->refusal) != 0;
	job->probe.program = NULL;
	if (job->probe.program_fault[0] != '\0') {
		drop_program(l, job->probe.program_fault, REINSTALL);
	}
}

static void run_open(struct ob__loader *l, struct ob__load_job *job)
{
	(void)l;
	ob__open_run(job);
}

static void run_close(struct ob__loader *l, struct ob__load_job *job)
{
	(void)l;
	ob__open_close(job);
	if (!job->failed) {
		unlink(job->staged);
	}
}

static void run_discard(struct ob__loader *l, struct ob__load_job *job)
{
	(void)l;
	job->failed = false;
	if (job->dl != NULL) {
		ob__open_close(job);
	}
	if (!job->failed && job->staged[0] != '\0') {
		unlink(job->staged);
		job->staged[0] = '\0';
	}
}

static void run_call(struct ob__loader *l, struct ob__load_job *job)
{
	(void)l;
	job->call(job);
}

static void run_whole(struct ob__loader *l, struct ob__load_job *job)
{
	run_stage(l, job);
	if (job->failed || job->unchanged) {
		return;
	}
	run_preflight(l, job);
	if (!job->failed) {
		run_open(l, job);
	}
	if (job->failed) {
		run_discard(l, job);
		job->failed = true;
	}
}

void ob__loader_run(struct ob__loader *l, struct ob__load_job *job)
{
	static void (*const ops[OB__LOAD_OPS])(struct ob__loader *, struct ob__load_job *) = {
		[OB__LOAD_STAGE] = run_stage, [OB__LOAD_PREFLIGHT] = run_preflight,
		[OB__LOAD_PROBE] = run_probe, [OB__LOAD_OPEN] = run_open,
		[OB__LOAD_CLOSE] = run_close, [OB__LOAD_DISCARD] = run_discard,
		[OB__LOAD_CALL] = run_call,   [OB__LOAD_WHOLE] = run_whole,
	};

	ops[job->op](l, job);
}

static void job_done(void *arg)
{
	struct ob__load_job *job = arg;

	job->done(job);
}

/* With the lock held, which is let go meanwhile. */
static void run_first(struct ob__loader *l)
{
	struct ob__load_job *job = OB__CONTAINER(l->jobs.next, struct ob__load_job, link);

	ob__list_del(&job->link);
	l->op = job->op;
	l->number++;
	l->since_ns = uv_hrtime();
	snprintf(l->name, sizeof(l->name), "%s", job->name);
	pthread_mutex_unlock(&l->lock);
	ob__loader_run(l, job);
	pthread_mutex_lock(&l->lock);
	l->op = 0;
	if (l->abandoned) {
		return; /* whoever asked is gone */
	}
	if (job->loaders) {
		free(job);
	} else if (ob__loop_post(l->loop, job_done, job) != 0) {
		ob__error("loader", "%s: a result is lost (out of memory)", job->name);
	}
}

static void *loader_main(void *arg)
{
	struct ob__loader *l = arg;

	pthread_mutex_lock(&l->lock);
	while (!l->ending) {
		if (ob__list_empty(&l->jobs)) {
			pthread_cond_wait(&l->wake, &l->lock);
		} else {
			run_first(l);
		}
	}
	pthread_mutex_unlock(&l->lock);
	return NULL;
}

static char **copy_dirs(const char *const *dirs)
{
	size_t n = 0;

	while (dirs[n] != NULL) {
		n++;
	}
	char **copy = calloc(n + 1, sizeof(*copy));
	for (size_t i = 0; copy != NULL && i < n; i++) {
		copy[i] = strdup(dirs[i]);
	}
	return copy;
}

/* Not 0, which means none. */
static int stop_fd(void)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	if (fd == 0) {
		fd = fcntl(0, F_DUPFD_CLOEXEC, 3);
		close(0);
	}
	return fd;
}

struct ob__loader *ob__loader_new(struct ob__loop *loop, const char *stage_dir,
                                  const char *const *dirs, const char *probe_exe)
{
	struct ob__loader *l = calloc(1, sizeof(*l));
	/* A fault while it is blocked ends the process past every handler, and leaves no mark. */
	static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGSYS, SIGTRAP};
	sigset_t all;
	sigset_t old;

	if (l == NULL) {
		return NULL;
	}
	l->loop = loop;
	ob__list_init(&l->jobs);
	pthread_mutex_init(&l->lock, NULL);
	pthread_cond_init(&l->wake, NULL);
	l->stop_fd = stop_fd();
	l->stage_dir = strdup(stage_dir);
	l->dirs = copy_dirs(dirs);
	l->program_fd = -1;
	l->probe_exe = probe_exe != NULL ? strdup(probe_exe) : NULL;
	sigfillset(&all);
	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
		sigdelset(&all, faults[i]);
	}
	pthread_sigmask(SIG_SETMASK, &all, &old);
	l->running = l->stop_fd > 0 && l->stage_dir != NULL && l->dirs != NULL &&
	             pthread_create(&l->thread, NULL, loader_main, l) == 0;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (!l->running) {
		ob__loader_free(l);
		return NULL;
	}
	return l;
}

int ob__loader_program(struct ob__loader *l, const char *path)
{
	struct ob__load_refusal r = {0};
	char why[sizeof(r.message) + 32];
	int fd = ob__stage_open(path, &r);

	l->program = strdup(path);
	if (l->program == NULL) {
		close(fd);
		return -1;
	}
	/* Out of the way of the descriptors that a child is given. */
	l->program_fd = fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, FD_MIN) : -1;
	if (fd >= 0) {
		close(fd);
	}
	if (l->program_fd < 0) {
		bool gone = strcmp(r.code, "not_found") == 0;
		snprintf(why, sizeof(why), "can't be used (%s)",
		         gone || r.code[0] == '\0' ? strerror(gone ? ENOENT : EMFILE) : r.message);
		drop_program(l, why, gone ? REINSTALL : r.remedy);
		return -1;
	}
	return 0;
}

void ob__loader_hurry(struct ob__loader *l)
{
	uint64_t one = 1;

	if (l != NULL && write(l->stop_fd, &one, sizeof(one)) < 0) {
		ob__warning("loader", "a rehearsal can't be ended (%s)", strerror(errno));
	}
}

/* True: its thread has ended. */
static bool end_thread(struct ob__loader *l)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += OB__LOADER_END_MS / 1000;
	pthread_mutex_lock(&l->lock);
	l->ending = true;
	pthread_cond_signal(&l->wake);
	pthread_mutex_unlock(&l->lock);
	ob__loader_hurry(l);
	int rc = pthread_timedjoin_np(l->thread, NULL, &until);
	if (rc == 0) {
		return true;
	}
	pthread_mutex_lock(&l->lock);
	l->abandoned = true;
	ob__error("loader", "%s: ld.so has not come back from it; what it holds is left alone",
	          l->name);
	pthread_mutex_unlock(&l->lock);
	return false;
}

int ob__loader_free(struct ob__loader *l)
{
	if (l == NULL) {
		return 0;
	}
	if (l->running && !end_thread(l)) {
		return -EBUSY;
	}
	OB__LIST_EACH_SAFE (it, &l->jobs) {
		struct ob__load_job *job = OB__CONTAINER(it, struct ob__load_job, link);
		if (job->loaders) {
			ob__loader_run(l, job);
			free(job);
		}
	}
	pthread_cond_destroy(&l->wake);
	pthread_mutex_destroy(&l->lock);
	for (char **dir = l->dirs; dir != NULL && *dir != NULL; dir++) {
		free(*dir);
	}
	free(l->dirs);
	if (l->program_fd >= 0) {
		close(l->program_fd);
	}
	free(l->program);
	free(l->probe_exe);
	if (l->stop_fd > 0) {
		close(l->stop_fd);
	}
	free(l->stage_dir);
	free(l);
	return 0;
}

bool ob__load_op_runs_code(enum ob__load_op op)
{
	return op == OB__LOAD_OPEN || op == OB__LOAD_CLOSE || op == OB__LOAD_DISCARD ||
	       op == OB__LOAD_WHOLE;
}

bool ob__loader_look(struct ob__loader *l, struct ob__loader_view *view)
{
	*view = (struct ob__loader_view){0};
	pthread_mutex_lock(&l->lock);
	bool busy = l->op != 0 || !ob__list_empty(&l->jobs);
	if (l->op != 0) {
		view->number = l->number;
		view->op = l->op;
		view->ms = (uv_hrtime() - l->since_ns) / 1000000u;
		snprintf(view->name, sizeof(view->name), "%s", l->name);
	}
	pthread_mutex_unlock(&l->lock);
	return busy;
}

void ob__loader_submit(struct ob__loader *l, struct ob__load_job *job)
{
	pthread_mutex_lock(&l->lock);
	ob__list_append(&l->jobs, &job->link);
	pthread_cond_signal(&l->wake);
	pthread_mutex_unlock(&l->lock);
}
