/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * The module "misbehave" does what its conf says, {"where": HOOK, "how": WORD}, in check, start,
 * selftest, load, stop or its destructor.  Its constructor has no conf: there the environment's
 * MISBEHAVE says how.
 */

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <obhost/obhost.h>

static char where[32];
static char how[32];
static pthread_key_t key;
static volatile int one = 1;

static void never(ob_ctx *ctx, ob_req req)
{
}

static void *sleeper(void *arg)
{
	for (;;) {
		pause();
	}
	return NULL;
}

static void *short_lived(void *arg)
{
	usleep(30000);
	return NULL;
}

static void handle_signal(int signum)
{
}

static void free_value(void *value)
{
}

static void at_exit(int status, void *arg)
{
	one++;
}

static void at_close(void)
{
	one++;
}

static void begin_thread(void *(*fn)(void *))
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, fn, NULL) == 0) {
		pthread_detach(thread);
	}
}

/* 0 when the network is shut, as it must be. */
static int try_network(void)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX, .sun_path = "/nonexistent"};
	int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int bad = 0;

	bad |= socket(AF_INET, SOCK_STREAM, 0) >= 0 || errno != EACCES;
	bad |= (socket(AF_INET6, SOCK_DGRAM, 0) >= 0 || errno != EACCES) << 1;
	bad |= (s < 0) << 2;
	bad |= (connect(s, (struct sockaddr *)&un, sizeof(un)) == 0 || errno != EACCES) << 3;
	bad |= (bind(s, (struct sockaddr *)&un, sizeof(un)) == 0 || errno != EACCES) << 4;
	bad |= (listen(s, 1) == 0 || errno != EACCES) << 5;
	close(s);
	return -bad;
}

/* 0 when a file can't grow without bound, and there is no core dump. */
static int try_file(void)
{
	static char block[1 << 16];
	char name[] = "/tmp/obhost-misbehave-XXXXXX";
	int fd = mkostemp(name, O_CLOEXEC);
	ssize_t n = 1;
	ssize_t written = 0;

	unlink(name);
	for (int i = 0; i < 64 && n > 0; i++) {
		n = write(fd, block, sizeof(block));
		written += n > 0 ? n : 0;
	}
	close(fd);
	return written == 1 << 20 ? 0 : OB_E_LIMIT;
}

/* 0 when it gives way to whoever started it. */
static int try_priority(void)
{
	int parent = getpriority(PRIO_PROCESS, (id_t)getppid());
	int mine = getpriority(PRIO_PROCESS, 0);
	int wanted = parent + 10 < 19 ? parent + 10 : 19;

	return mine == wanted && sched_getscheduler(0) == SCHED_BATCH ? 0 : OB_E_STATE;
}

static int act(const char *what)
{
	if (strcmp(what, "crash") == 0) {
		*(volatile int *)(uintptr_t)(one * 64) = 1;
	} else if (strcmp(what, "abort") == 0) {
		abort();
	} else if (strcmp(what, "exit") == 0) {
		exit(7);
	} else if (strcmp(what, "exit0") == 0) {
		_exit(0);
	} else if (strcmp(what, "loop") == 0) {
		while (one) {
		}
	} else if (strcmp(what, "grandchild") == 0) {
		if (fork() == 0) {
			sleeper(NULL);
		}
	} else if (strcmp(what, "thread") == 0) {
		begin_thread(sleeper);
	} else if (strcmp(what, "short_thread") == 0) {
		begin_thread(short_lived);
	} else if (strcmp(what, "key") == 0) {
		pthread_key_create(&key, NULL);
	} else if (strcmp(what, "key_value") == 0) {
		pthread_key_create(&key, free_value);
		pthread_setspecific(key, &key);
	} else if (strcmp(what, "fd") == 0) {
		return open("/dev/zero", O_RDONLY | O_CLOEXEC) >= 0 ? 0 : OB_E_LIMIT;
	} else if (strcmp(what, "signal") == 0) {
		signal(SIGUSR1, handle_signal);
	} else if (strcmp(what, "ignore") == 0) {
		signal(SIGUSR2, SIG_IGN);
	} else if (strcmp(what, "on_exit") == 0) {
		on_exit(at_exit, NULL);
	} else if (strcmp(what, "atexit") == 0) {
		atexit(at_close);
	} else if (strcmp(what, "network") == 0) {
		return try_network();
	} else if (strcmp(what, "priority") == 0) {
		return try_priority();
	} else if (strcmp(what, "file") == 0) {
		return try_file();
	} else if (strcmp(what, "talk") == 0) {
		for (int i = 0; i < 5000; i++) {
			fprintf(stderr, "line %d\n", i);
		}
		printf("the last words\n");
		abort();
	}
	return 0;
}

static int at(const char *hook)
{
	return strcmp(where, hook) == 0 ? act(how) : 0;
}

__attribute__((constructor)) static void constructor(void)
{
	const char *what = getenv("MISBEHAVE");

	if (what != NULL) {
		act(what);
	}
}

__attribute__((destructor)) static void destructor(void)
{
	at("destructor");
}

static void take(const json_t *conf)
{
	const char *text = json_string_value(json_object_get(conf, "where"));

	snprintf(where, sizeof(where), "%s", text != NULL ? text : "");
	text = json_string_value(json_object_get(conf, "how"));
	snprintf(how, sizeof(how), "%s", text != NULL ? text : "");
}

static int check(const json_t *conf, ob_err *err)
{
	take(conf);
	if (strcmp(where, "check") == 0 && strcmp(how, "refuse") == 0) {
		return ob_err_set(err, "where: %s is no place", where);
	}
	return at("check");
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	take(conf);
	if (strcmp(where, "start") == 0 && strcmp(how, "refuse") == 0) {
		ob_log(ctx, OB_LOG_ERROR, "nothing works");
		return ob_refuse(ctx, OB_E_STATE, "no database");
	}
	if (!ob_rehearsing(ctx)) {
		return ob_refuse(ctx, OB_E_STATE, "this is no rehearsal");
	}
	if (strcmp(where, "start") == 0 && strcmp(how, "admin") == 0) {
		return ob_on_http(ctx, "GET", "/modules", never, OB_HTTP_ADMIN);
	}
	int rc = at("start");
	return rc != 0 || strcmp(how, "nothing") == 0 ? rc : ob_on_id(ctx, 1000, never);
}

static int selftest(ob_ctx *ctx)
{
	return strcmp(where, "selftest") == 0 && strcmp(how, "refuse") == 0 ? OB_E_APP
	                                                                    : at("selftest");
}

static int save(ob_ctx *ctx, ob_writer *writer, uint32_t version)
{
	return OB_E_APP;
}

static int load(ob_ctx *ctx, ob_reader *reader, uint32_t version)
{
	size_t len;

	if (strcmp(where, "load") == 0 && strcmp(how, "unread") == 0) {
		return 0;
	}
	if (ob_section_read(ctx, reader, 1, &len) == NULL || len != 3) {
		return ob_refuse(ctx, OB_E_BAD, "section 1 is not there");
	}
	return at("load");
}

static void stop(ob_ctx *ctx)
{
	at("stop");
}

OB_MODULE(misbehave, .version = "1.0", .flags = OB_MODULE_PARALLEL, .state_write = 3,
          .state_read_min = 2, .provides = "mischief/1.2", .needs = "?order/1", .check = check,
          .start = start, .selftest = selftest, .load = load, .save = save, .stop = stop);
