/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/swap/manifest.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"

#define STACK_SIZE 65536

static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGSYS, SIGTRAP};

#define SIGNALS (sizeof(signals) / sizeof(signals[0]))

/* A process has one set of signal handlers, and they take no argument: the guard's state is here.
 */
static struct {
	atomic_int fd; /* of the mark, opened beforehand; -1: disarmed */
	atomic_bool marked;
	pid_t pid; /* a child that fork() made does not speak for the node */
	struct sigaction old[SIGNALS];
	char stack[STACK_SIZE]; /* for the handler, when the thread's own has overflown */
	bool exit_hooks;
} guard = {.fd = -1};

/* Async-signal-safe, once. */
static void leave_mark(const char *text, size_t len)
{
	int fd = atomic_load(&guard.fd);

	if (fd < 0 || getpid() != guard.pid || atomic_exchange(&guard.marked, true)) {
		return;
	}
	while (len > 0) {
		ssize_t n = write(fd, text, len);
		if (n < 0 && errno != EINTR) {
			break;
		}
		text += n > 0 ? n : 0;
		len -= n > 0 ? (size_t)n : 0;
	}
}

/* Will the fault come again by itself when the handler returns?  Then whoever had the signal before
 * sees it with its address and registers; else it is raised. */
static bool comes_again(int sig, const siginfo_t *info)
{
	if (info->si_code <= 0) {
		return false; /* somebody sent it */
	}
#ifdef BUS_MCEERR_AO
	if (sig == SIGBUS && info->si_code == BUS_MCEERR_AO) {
		return false;
	}
#endif
	return sig == SIGSEGV || sig == SIGBUS || sig == SIGFPE || sig == SIGILL;
}

static void on_signal(int sig, siginfo_t *info, void *context)
{
	int err = errno;
	char text[16] = "signal 00\n";

	(void)context;
	text[7] = (char)('0' + sig / 10 % 10);
	text[8] = (char)('0' + sig % 10);
	leave_mark(text, 10);
	for (size_t i = 0; i < SIGNALS; i++) {
		if (signals[i] == sig) {
			sigaction(sig, &guard.old[i], NULL);
		}
	}
	if (!comes_again(sig, info)) {
		raise(sig);
	}
	errno = err;
}

static void on_exit_hook(void)
{
	leave_mark("exit\n", 5);
}

/* A stack of its own for the handlers of this thread, unless somebody has given it one. */
static void set_stack(void)
{
	stack_t now;
	stack_t ours = {.ss_sp = guard.stack, .ss_size = sizeof(guard.stack)};

	if (sigaltstack(NULL, &now) == 0 && (now.ss_flags & SS_DISABLE) != 0) {
		sigaltstack(&ours, NULL);
	}
}

int ob__manifest_guard(const char *dir)
{
	char path[4096];
	struct sigaction act = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK};

	if (atomic_load(&guard.fd) >= 0) {
		return -EALREADY;
	}
	int len = snprintf(path, sizeof(path), "%s/crashed", dir);
	if (len < 0 || (size_t)len >= sizeof(path)) {
		return -ENAMETOOLONG;
	}
	if (!guard.exit_hooks && (atexit(on_exit_hook) != 0 || at_quick_exit(on_exit_hook) != 0)) {
		return -ENOMEM;
	}
	guard.exit_hooks = true;
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK,
	              0600);
	if (fd < 0) {
		return -errno;
	}
	guard.pid = getpid();
	atomic_store(&guard.marked, false);
	set_stack();
	sigemptyset(&act.sa_mask);
	for (size_t i = 0; i < SIGNALS; i++) {
		sigaction(signals[i], NULL, &guard.old[i]);
	}
	atomic_store(&guard.fd, fd);
	for (size_t i = 0; i < SIGNALS; i++) {
		sigaction(signals[i], &act, NULL);
	}
	return 0;
}

void ob__manifest_mark(void)
{
	leave_mark("hang\n", 5);
}

/* The mark that is there, if any, did not mean the end. */
static void take_back(int fd)
{
	if (!atomic_load(&guard.marked) || getpid() != guard.pid) {
		return;
	}
	if (ftruncate(fd, 0) != 0 || lseek(fd, 0, SEEK_SET) != 0) {
		ob__warning("manifest", "can't take back the mark of a crash (%s)",
		            strerror(errno));
	}
	atomic_store(&guard.marked, false);
}

void ob__manifest_unmark(void)
{
	int fd = atomic_load(&guard.fd);

	if (fd >= 0) {
		take_back(fd);
	}
}

void ob__manifest_disarm(void)
{
	int fd = atomic_exchange(&guard.fd, -1);
	struct sigaction now;
	stack_t stack;

	if (fd < 0) {
		return;
	}
	for (size_t i = 0; i < SIGNALS; i++) {
		if (sigaction(signals[i], NULL, &now) == 0 && (now.sa_flags & SA_SIGINFO) != 0 &&
		    now.sa_sigaction == on_signal) {
			sigaction(signals[i], &guard.old[i], NULL);
		}
	}
	if (sigaltstack(NULL, &stack) == 0 && stack.ss_sp == guard.stack) {
		stack = (stack_t){.ss_flags = SS_DISABLE, .ss_size = MINSIGSTKSZ};
		sigaltstack(&stack, NULL);
	}
	/* Somebody ignored a signal, or handled it and went on. */
	take_back(fd);
	close(fd);
}
