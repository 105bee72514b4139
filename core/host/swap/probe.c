/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/swap/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>

#include "host/admin/admin.h"
#include "host/swap/probe_wire.h"
#include "lib/ws.h"

#define TAIL_MAX  2048u          /* bytes kept of what the child prints */
#define WORDS_MAX 200u           /* of them in a message */
#define SLICE_MS  5              /* without a pidfd: how often to look whether the child lives */
#define MARK      "OBHOST_PROBE" /* in the environment of a rehearsal */

extern char **environ;

/* A rehearsal under way. */
struct probe_run {
	struct ob__probe *p;
	struct ob__load_refusal *r;
	const char *program; /* that is run */
	pid_t pid;
	int pidfd; /* or -1: this kernel has none */
	int sock;
	int out; /* what the child prints */
	bool dead;
	bool scarce; /* no child for lack of something, which may pass */
	bool timed_out;
	bool stopped; /* the node ends */
	uint64_t deadline_us;

	uint8_t *task; /* with its frame's header; owned */
	size_t task_len;
	uint8_t state_head[5];
	size_t sent; /* of task, state_head and state */

	uint8_t *in; /* what came and is not a whole frame */
	size_t in_len;
	char phase[OB__PROBE_PHASE_MAX + 1];
	json_t *report;
	bool elsewhere;    /* it said that it is not made for this */
	char stranger[96]; /* its build, which is not ours */
	char tail[TAIL_MAX];
	size_t tail_len;
};

static uint64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* ---- the task ---- */

static void put_head(uint8_t *out, size_t len, uint8_t kind)
{
	uint32_t n = (uint32_t)len + 1;

	memcpy(out, &n, sizeof(n));
	out[4] = kind;
}

static void take_verbs(void *arg, const ob_admin_reply *reply)
{
	*(json_t **)arg = json_deep_copy(reply->body);
}

static int make_task(struct probe_run *run)
{
	const struct ob__probe *p = run->p;
	json_t *verbs = NULL;
	char file[512]; /* for texts: it may be any bytes */

	ob__admin_run(NULL, "verbs", NULL, take_verbs, &verbs);
	snprintf(file, sizeof(file), "%s", p->file);
	ob__make_utf8(file);
	json_t *task = json_pack("{s:s, s:s, s:s, s:s, s:s, s:b, s:b, s:I, s:o}", "build",
	                         OB__PROBE_BUILD, "staged", p->staged, "file", file, "name",
	                         p->name, "conf", p->conf != NULL ? p->conf : "{}", "admin",
	                         p->admin, "state", p->state != NULL, "timeout_ms",
	                         (json_int_t)p->timeout_ms, "verbs", verbs);
	char *dump = task != NULL ? json_dumps(task, JSON_COMPACT) : NULL;

	json_decref(task);
	size_t len = dump != NULL ? strlen(dump) : 0;
	if (dump == NULL || len > OB__PROBE_TASK_MAX || p->state_len > OB__PROBE_FRAME_MAX - 1) {
		free(dump);
		ob__refuse(run->r, "probe", "spawn", p->file, "a task that can't be told", NULL,
		           "shorten the module's conf; the staging directory's name must be UTF-8",
		           "%s: its conf or its state is too long for a rehearsal, or a path is "
		           "not UTF-8",
		           p->file);
		return -1;
	}
	run->task = malloc(len + 5);
	if (run->task != NULL) {
		put_head(run->task, len, OB__PROBE_TASK);
		memcpy(run->task + 5, dump, len);
		run->task_len = len + 5;
		put_head(run->state_head, p->state_len, OB__PROBE_STATE);
	}
	free(dump);
	return run->task != NULL ? 0 : -1;
}

/* ---- the child ---- */

static int refuse_spawn(struct probe_run *run, const char *what, int err)
{
	bool scarce = err == EAGAIN || err == ENOMEM || err == EMFILE || err == ENFILE;

	run->scarce = scarce;
	ob__refuse(run->r, "probe", "spawn", run->p->file, strerror(err), "a child process",
	           scarce ? "raise the limits of processes, descriptors or memory, or try again "
	                    "later"
	                  : "check that the host's own executable can be run, or set "
	                    "reload.probe to 0",
	           "%s: the host can't make the child that rehearses it: %s: %s", run->p->file,
	           what, strerror(err));
	return -1;
}

static int spawn_actions(posix_spawn_file_actions_t *a, int sock, int out)
{
	int rc = posix_spawn_file_actions_addopen(a, 0, "/dev/null", O_RDONLY, 0);

	rc = rc != 0 ? rc : posix_spawn_file_actions_adddup2(a, out, 1);
	rc = rc != 0 ? rc : posix_spawn_file_actions_adddup2(a, out, 2);
	return rc != 0 ? rc : posix_spawn_file_actions_adddup2(a, sock, OB__PROBE_FD);
}

/* No signal is blocked and none is handled, whatever the calling thread does. */
static int spawn_attributes(posix_spawnattr_t *attr)
{
	sigset_t none;
	sigset_t all;

	sigemptyset(&none);
	sigfillset(&all);
	posix_spawnattr_setsigmask(attr, &none);
	posix_spawnattr_setsigdefault(attr, &all);
	posix_spawnattr_setpgroup(attr, 0);
	return posix_spawnattr_setflags(attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
	                                              POSIX_SPAWN_SETPGROUP);
}

/* The environment as it is, with the mark of a rehearsal.  Its strings are borrowed. */
static char **marked_environment(char *mark)
{
	size_t n = 0;

	while (environ[n] != NULL) {
		n++;
	}
	char **env = calloc(n + 2, sizeof(*env));
	if (env != NULL) {
		memcpy(env, environ, n * sizeof(*env));
		env[n] = mark;
	}
	return env;
}

static int spawn(struct probe_run *run, int sock, int out)
{
	char name[] = "obhost";
	char word[] = "probe";
	char mark[] = MARK "=1";
	char *argv[] = {name, word, NULL};
	char **env = marked_environment(mark);
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;

	if (env == NULL) {
		return refuse_spawn(run, "environment", ENOMEM);
	}
	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attr);
	int rc = spawn_actions(&actions, sock, out);
	rc = rc != 0 ? rc : spawn_attributes(&attr);
	rc = rc != 0 ? rc : posix_spawn(&run->pid, run->program, &actions, &attr, argv, env);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&actions);
	free(env);
	return rc != 0 ? refuse_spawn(run, run->program, rc) : 0;
}

static int begin(struct probe_run *run)
{
	int socks[2] = {-1, -1};
	int pipes[2] = {-1, -1};
	int rc;

	/* A program that is no obhost and rehearses would make children without end. */
	if (getenv(MARK) != NULL) {
		return refuse_spawn(run, "a rehearsal makes no rehearsal", EPERM);
	}
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, socks) != 0 ||
	    pipe2(pipes, O_CLOEXEC) != 0) {
		rc = refuse_spawn(run, "socketpair, pipe", errno);
	} else {
		rc = spawn(run, socks[1], pipes[1]);
	}
	if (socks[1] >= 0) {
		close(socks[1]);
	}
	if (pipes[1] >= 0) {
		close(pipes[1]);
	}
	run->sock = socks[0];
	run->out = pipes[0];
	if (rc == 0) {
		(void)fcntl(run->sock, F_SETFL, O_NONBLOCK);
		(void)fcntl(run->out, F_SETFL, O_NONBLOCK);
#ifdef SYS_pidfd_open
		run->pidfd = (int)syscall(SYS_pidfd_open, run->pid, 0);
#endif
	}
	return rc;
}

/* ---- talking ---- */

/* The bytes that are sent next. */
static const uint8_t *to_send(const struct probe_run *run, size_t *len)
{
	size_t at = run->sent;
	const uint8_t *state = run->p->state;

	*len = 0;
	if (at < run->task_len) {
		*len = run->task_len - at;
		return run->task + at;
	}
	at -= run->task_len;
	if (state != NULL && at < sizeof(run->state_head)) {
		*len = sizeof(run->state_head) - at;
		return run->state_head + at;
	}
	at -= state != NULL ? sizeof(run->state_head) : 0;
	if (state != NULL && at < run->p->state_len) {
		*len = run->p->state_len - at;
		return state + at;
	}
	return NULL;
}

static void send_some(struct probe_run *run)
{
	const uint8_t *data;
	size_t len;

	while ((data = to_send(run, &len)) != NULL) {
		ssize_t n = send(run->sock, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n <= 0) {
			return; /* later, or the child is gone, which its end says */
		}
		run->sent += (size_t)n;
	}
}

static void frame(struct probe_run *run, uint8_t kind, const uint8_t *data, size_t len)
{
	if (kind == OB__PROBE_PHASE && len <= OB__PROBE_PHASE_MAX) {
		memcpy(run->phase, data, len);
		run->phase[len] = '\0';
	} else if (kind == OB__PROBE_REPORT && run->report == NULL) {
		run->report = json_loadb((const char *)data, len, 0, NULL);
	} else if (kind == OB__PROBE_ELSEWHERE) {
		run->elsewhere = true;
	} else if (kind == OB__PROBE_STRANGER) {
		snprintf(run->stranger, sizeof(run->stranger), "%.*s", (int)len,
		         (const char *)data);
	}
}

/* Takes whole frames off the front.  What is longer than a report is dropped: nobody sends it. */
static void frames(struct probe_run *run)
{
	size_t at = 0;
	uint32_t len;

	while (run->in_len - at >= 5) {
		memcpy(&len, run->in + at, sizeof(len));
		if (len == 0 || len > OB__PROBE_REPORT_MAX) {
			at = run->in_len;
			break;
		}
		if (run->in_len - at - 4 < len) {
			break;
		}
		frame(run, run->in[at + 4], run->in + at + 5, len - 1);
		at += 4 + len;
	}
	memmove(run->in, run->in + at, run->in_len - at);
	run->in_len -= at;
}

/* True while there may be more. */
static bool receive(struct probe_run *run)
{
	size_t room = OB__PROBE_REPORT_MAX + 5 - run->in_len;
	ssize_t n = recv(run->sock, run->in + run->in_len, room, MSG_DONTWAIT);

	if (n > 0) {
		run->in_len += (size_t)n;
		frames(run);
	}
	return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

/* Keeps the last words. */
static bool listen_out(struct probe_run *run)
{
	char text[1024];
	ssize_t n = read(run->out, text, sizeof(text));

	if (n > 0) {
		size_t len = (size_t)n;
		size_t keep = run->tail_len + len > TAIL_MAX ? TAIL_MAX - len : run->tail_len;
		memmove(run->tail, run->tail + run->tail_len - keep, keep);
		memcpy(run->tail + keep, text, len);
		run->tail_len = keep + len;
	}
	return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

static bool is_dead(const struct probe_run *run)
{
	siginfo_t info = {.si_pid = 0};

	return waitid(P_PID, (id_t)run->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
	       info.si_pid == run->pid;
}

/* One look at everything; the rest of the time until the deadline at most. */
static void turn(struct probe_run *run, bool *sock_open, bool *out_open)
{
	uint64_t now = now_us();
	uint64_t left = run->deadline_us > now ? run->deadline_us - now : 0;
	int wait = (int)(left / 1000 + 1);
	size_t len;
	struct pollfd fds[4] = {
		{.fd = *sock_open ? run->sock : -1,
	         .events = (short)(POLLIN | (to_send(run, &len) != NULL ? POLLOUT : 0))},
		{.fd = *out_open ? run->out : -1, .events = POLLIN},
		{.fd = run->pidfd, .events = POLLIN},
		{.fd = run->p->stop_fd > 0 ? run->p->stop_fd : -1, .events = POLLIN},
	};

	if (left == 0) {
		run->timed_out = true;
		return;
	}
	poll(fds, 4, run->pidfd < 0 && wait > SLICE_MS ? SLICE_MS : wait);
	if ((fds[0].revents & POLLOUT) != 0) {
		send_some(run);
	}
	if ((fds[0].revents & (POLLIN | POLLHUP | POLLERR)) != 0) {
		*sock_open = receive(run);
	}
	if ((fds[1].revents & (POLLIN | POLLHUP | POLLERR)) != 0) {
		*out_open = listen_out(run);
	}
	run->stopped = (fds[3].revents & POLLIN) != 0;
	run->dead = is_dead(run);
}

/* Until the child has ended, by itself or by the deadline.  Its end leaves nobody behind: the whole
 * group goes, while its number can't be anyone else's. */
static int wait_for_end(struct probe_run *run)
{
	bool sock_open = true;
	bool out_open = true;
	int status = 0;

	while (!run->dead && !run->timed_out && !run->stopped) {
		turn(run, &sock_open, &out_open);
	}
	kill(-run->pid, SIGKILL);
	kill(run->pid, SIGKILL);
	while (waitpid(run->pid, &status, 0) < 0 && errno == EINTR) {
	}
	/* What was on the way; bounded, as a grandchild may hold the other end. */
	for (int i = 0; i < 64 && sock_open; i++) {
		sock_open = receive(run);
	}
	for (int i = 0; i < 64 && out_open; i++) {
		out_open = listen_out(run);
	}
	return status;
}

/* ---- the verdict ---- */

/* The end of what it printed, in one line. */
static void last_words(const struct probe_run *run, char *out, size_t cap)
{
	size_t len = run->tail_len < WORDS_MAX ? run->tail_len : WORDS_MAX;
	const char *from = run->tail + run->tail_len - len;
	size_t at = 0;

	out[0] = '\0';
	while (len > 0 && (unsigned char)from[len - 1] <= ' ') {
		len--;
	}
	if (len == 0) {
		return;
	}
	at = (size_t)snprintf(out, cap, "; it printed: %s", run->tail_len > WORDS_MAX ? "..." : "");
	for (size_t i = 0; i < len && at + 1 < cap; i++) {
		out[at++] = (unsigned char)from[i] < ' ' ? ' ' : from[i];
	}
	out[at] = '\0';
}

static void signal_name(int signum, char *out, size_t cap)
{
	static const struct {
		int signum;
		const char *name;
	} names[] = {
		{SIGABRT, "SIGABRT"}, {SIGALRM, "SIGALRM"}, {SIGBUS, "SIGBUS"},
		{SIGFPE, "SIGFPE"},   {SIGHUP, "SIGHUP"},   {SIGILL, "SIGILL"},
		{SIGINT, "SIGINT"},   {SIGKILL, "SIGKILL"}, {SIGPIPE, "SIGPIPE"},
		{SIGQUIT, "SIGQUIT"}, {SIGSEGV, "SIGSEGV"}, {SIGSYS, "SIGSYS"},
		{SIGTERM, "SIGTERM"}, {SIGTRAP, "SIGTRAP"}, {SIGUSR1, "SIGUSR1"},
		{SIGUSR2, "SIGUSR2"}, {SIGXCPU, "SIGXCPU"}, {SIGXFSZ, "SIGXFSZ"},
	};

	snprintf(out, cap, "signal %d", signum);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (names[i].signum == signum) {
			snprintf(out, cap, "%s", names[i].name);
		}
	}
}

static int refuse_end(struct probe_run *run, int status)
{
	const char *file = run->p->file;
	const char *phase = run->phase[0] != '\0' ? run->phase : "begin";
	char words[WORDS_MAX + 32];
	char found[96];

	last_words(run, words, sizeof(words));
	if (run->stopped) {
		ob__refuse(run->r, "probe", "stopping", file, NULL, NULL, NULL,
		           "%s: the node stops in the middle of its rehearsal", file);
	} else if (run->timed_out) {
		snprintf(found, sizeof(found), "%s after %u ms", phase, run->p->timeout_ms);
		ob__refuse(run->r, "probe", "timeout", file, found, "an end in time",
		           "make it quicker, or raise reload.probe",
		           "%s: in its rehearsal it was still in %s%s", file, found, words);
	} else if (WIFSIGNALED(status)) {
		char name[32];
		signal_name(WTERMSIG(status), name, sizeof(name));
		snprintf(found, sizeof(found), "%s in %s", name, phase);
		ob__refuse(run->r, "probe", "crash", file, found, "no crash",
		           "run obhost lint on the file, or the module's own tests",
		           "%s: its rehearsal died of %s%s", file, found, words);
	} else {
		snprintf(found, sizeof(found), "exit %d in %s", WEXITSTATUS(status), phase);
		ob__refuse(run->r, "probe", "exit", file, found, "no exit",
		           "a module must not end the process", "%s: its rehearsal ended with %s%s",
		           file, found, words);
	}
	return -1;
}

static const char *text_of(const json_t *report, const char *key)
{
	const char *text = json_string_value(json_object_get(report, key));

	return text != NULL ? text : "";
}

static uint32_t number_of(const json_t *report, const char *key)
{
	return (uint32_t)json_integer_value(json_object_get(report, key));
}

static int take_report(struct probe_run *run, int status)
{
	struct ob__probe *p = run->p;
	const json_t *report = run->report;
	char words[WORDS_MAX + 32];

	if (!json_is_true(json_object_get(report, "ok"))) {
		last_words(run, words, sizeof(words));
		ob__refuse(run->r, "probe", text_of(report, "code"), p->file,
		           text_of(report, "found"), text_of(report, "expected"),
		           text_of(report, "remedy"), "%s%s", text_of(report, "message"), words);
		return -1;
	}
	p->flags = number_of(report, "flags");
	p->state_write = number_of(report, "state_write");
	p->state_read_min = number_of(report, "state_read_min");
	snprintf(p->version, sizeof(p->version), "%s", text_of(report, "version"));
	snprintf(p->provides, sizeof(p->provides), "%s", text_of(report, "provides"));
	snprintf(p->needs, sizeof(p->needs), "%s", text_of(report, "needs"));
	snprintf(p->transports, sizeof(p->transports), "%s", text_of(report, "transports"));
	snprintf(p->brings, sizeof(p->brings), "%s", text_of(report, "brings"));
	snprintf(p->listens, sizeof(p->listens), "%s", text_of(report, "listens"));
	snprintf(p->resident, sizeof(p->resident), "%s", text_of(report, "resident"));
	snprintf(p->notes, sizeof(p->notes), "%s", text_of(report, "notes"));
	if (p->resident[0] == '\0' && (WIFSIGNALED(status) || WEXITSTATUS(status) != 0)) {
		snprintf(p->resident, sizeof(p->resident),
		         "something of it runs at the exit of the process (on_exit)");
	}
	return 0;
}

/* True when the module has to be rehearsed in obhost itself: no code of it has run. */
static bool is_elsewhere(struct probe_run *run, bool spawned, int status)
{
	char *fault = run->p->program_fault;
	size_t cap = sizeof(run->p->program_fault);
	bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL; /* from outside */

	if (run->scarce) {
		return false;
	}
	if (!spawned) {
		snprintf(fault, cap, "can't be started: %s", run->r->found);
	} else if (run->stranger[0] != '\0') {
		snprintf(fault, cap, "is of another build: %s, this is %s", run->stranger,
		         OB__PROBE_BUILD);
	} else if (run->phase[0] == '\0' && run->report == NULL && !run->elsewhere &&
	           !run->timed_out && !killed) {
		snprintf(fault, cap, "ended without a word (%s %d)",
		         WIFSIGNALED(status) ? "signal" : "exit",
		         WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	} else {
		return run->elsewhere;
	}
	return true;
}

/* One rehearsal in that program; true when it came to a verdict, *rc. */
static bool run_in(struct ob__probe *p, struct ob__load_refusal *r, const char *program,
                   uint64_t deadline_us, int *rc)
{
	struct probe_run run = {.p = p, .r = r, .program = program, .pid = -1};
	bool settled = true;
	int status = 0;

	run.pidfd = run.sock = run.out = -1;
	run.deadline_us = deadline_us;
	run.in = malloc(OB__PROBE_REPORT_MAX + 5);
	*rc = run.in != NULL ? make_task(&run) : refuse_spawn(&run, "memory", ENOMEM);
	if (*rc == 0) {
		*rc = begin(&run);
		bool spawned = *rc == 0;
		status = spawned ? wait_for_end(&run) : 0;
		settled = program == p->exe || !is_elsewhere(&run, spawned, status);
		if (spawned && settled) {
			*rc = run.report != NULL ? take_report(&run, status)
			                         : refuse_end(&run, status);
		}
	}
	if (run.sock >= 0) {
		close(run.sock);
	}
	if (run.out >= 0) {
		close(run.out);
	}
	if (run.pidfd >= 0) {
		close(run.pidfd);
	}
	json_decref(run.report);
	free(run.task);
	free(run.in);
	return settled;
}

int ob__probe_run(struct ob__probe *p, struct ob__load_refusal *r)
{
	uint64_t began = now_us();
	uint64_t deadline = began + (uint64_t)p->timeout_ms * 1000;
	int rc = -1;

	p->flags = p->state_write = p->state_read_min = 0;
	p->version[0] = p->provides[0] = p->needs[0] = p->transports[0] = p->brings[0] = '\0';
	p->listens[0] = p->resident[0] = p->notes[0] = '\0';
	p->program_fault[0] = '\0';
	p->whole = p->program == NULL || !run_in(p, r, p->program, deadline, &rc);
	if (p->whole) {
		*r = (struct ob__load_refusal){0};
		(void)run_in(p, r, p->exe, deadline, &rc);
	}
	p->took_us = (uint32_t)(now_us() - began);
	return rc;
}
