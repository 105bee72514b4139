/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "base/notify.h"

#include <CUnit/CUnit.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tap.h"
#include "unit/files.h"

/* The manager's side: a datagram socket at a path or an abstract name. */
struct manager {
	int fd;
	char dir[80];
	char address[96]; /* as in $NOTIFY_SOCKET */
	char got[4096];   /* the last datagram */
};

static void manager_open(struct manager *m, bool abstract)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	files_make_dir(m->dir, sizeof(m->dir));
	snprintf(m->address, sizeof(m->address), "%s%s/n", abstract ? "@" : "", m->dir);
	size_t len = strlen(m->address);
	memcpy(addr.sun_path, m->address, len);
	if (abstract) {
		addr.sun_path[0] = '\0';
	} else {
		len++;
	}
	m->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	CU_ASSERT_FATAL(m->fd >= 0);
	CU_ASSERT_EQUAL_FATAL(bind(m->fd, (struct sockaddr *)&addr,
	                           (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)),
	                      0);
}

static void manager_close(struct manager *m)
{
	close(m->fd);
	files_remove(m->dir);
}

/* The next datagram, or NULL when none waits. */
static const char *receive(struct manager *m)
{
	ssize_t n = recv(m->fd, m->got, sizeof(m->got) - 1, 0);

	if (n < 0) {
		return NULL;
	}
	m->got[n] = '\0';
	return m->got;
}

static void set_environment(const char *address, const char *usec, const char *pid)
{
	const char *const all[][2] = {
		{"NOTIFY_SOCKET", address}, {"WATCHDOG_USEC", usec}, {"WATCHDOG_PID", pid}};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		if (all[i][1] != NULL) {
			setenv(all[i][0], all[i][1], 1);
		} else {
			unsetenv(all[i][0]);
		}
	}
}

static void test_nobody(void)
{
	struct ob__notify n;
	struct ob__notify zeroed = {.addr_len = 0};

	set_environment(NULL, "1000000", NULL);
	CU_ASSERT_EQUAL(ob__notify_open(&n), 0);
	CU_ASSERT_EQUAL(n.addr_len, 0);
	CU_ASSERT_PTR_NULL(getenv("WATCHDOG_USEC"));
	CU_ASSERT_EQUAL(ob__notify_send(&n, OB__NOTIFY_READY, "x"), 0);
	ob__notify_watch(&n, NULL);
	ob__notify_close(&n);
	CU_ASSERT_EQUAL(ob__notify_send(&zeroed, OB__NOTIFY_READY, "x"), 0);
	ob__notify_close(&zeroed);
}

static void states(bool abstract)
{
	struct manager m;
	struct ob__notify n;

	manager_open(&m, abstract);
	set_environment(m.address, "1000000", "1");
	CU_ASSERT_EQUAL_FATAL(ob__notify_open(&n), 0);
	CU_ASSERT_PTR_NULL(getenv("NOTIFY_SOCKET"));
	CU_ASSERT_PTR_NULL(getenv("WATCHDOG_USEC"));
	CU_ASSERT_PTR_NULL(getenv("WATCHDOG_PID"));
	CU_ASSERT_PTR_NULL(receive(&m));

	CU_ASSERT_EQUAL(ob__notify_send(&n, OB__NOTIFY_READY, "%s runs", "a"), 0);
	CU_ASSERT_STRING_EQUAL(receive(&m), "READY=1\nSTATUS=a runs\n");
	CU_ASSERT_EQUAL(ob__notify_send(&n, OB__NOTIFY_SAME, "b"), 0);
	CU_ASSERT_STRING_EQUAL(receive(&m), "STATUS=b\n");
	CU_ASSERT_EQUAL(ob__notify_send(&n, OB__NOTIFY_STOPPING, "c"), 0);
	CU_ASSERT_STRING_EQUAL(receive(&m), "STOPPING=1\nSTATUS=c\n");
	ob__notify_close(&n);
	CU_ASSERT_EQUAL(n.addr_len, 0);
	CU_ASSERT_EQUAL(ob__notify_send(&n, OB__NOTIFY_SAME, "closed"), 0);
	CU_ASSERT_PTR_NULL(receive(&m));
	manager_close(&m);
}

static void test_path(void)
{
	states(false);
}

static void test_abstract(void)
{
	states(true);
}

static uint64_t clock_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

/* The manager compares the time with its own clock, so it must be that clock. */
static void test_reloading(void)
{
	struct manager m;
	struct ob__notify n;
	uint64_t at = 0;

	manager_open(&m, false);
	set_environment(m.address, NULL, NULL);
	CU_ASSERT_EQUAL_FATAL(ob__notify_open(&n), 0);
	uint64_t before = clock_us();
	CU_ASSERT_EQUAL(ob__notify_send(&n, OB__NOTIFY_RELOADING, "r"), 0);
	uint64_t after = clock_us();
	const char *text = receive(&m);
	CU_ASSERT_PTR_NOT_NULL_FATAL(text);
	CU_ASSERT_EQUAL(sscanf(text, "RELOADING=1\nMONOTONIC_USEC=%" SCNu64 "\n", &at), 1);
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "\nSTATUS=r\n"));
	CU_ASSERT(before <= at && at <= after);
	ob__notify_close(&n);
	manager_close(&m);
}

/* A text can't smuggle in a line of its own, and is cut. */
static void test_text(void)
{
	struct manager m;
	struct ob__notify n;
	char text[1000];

	manager_open(&m, false);
	set_environment(m.address, NULL, NULL);
	CU_ASSERT_EQUAL_FATAL(ob__notify_open(&n), 0);
	CU_ASSERT_EQUAL(ob__notify_send(&n, OB__NOTIFY_SAME, "a\nMAINPID=1\n\x7f%s", "\xc3\xa9"),
	                0);
	CU_ASSERT_STRING_EQUAL(receive(&m), "STATUS=a MAINPID=1  \xc3\xa9\n");
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	CU_ASSERT_EQUAL(ob__notify_send(&n, OB__NOTIFY_READY, "%s", text), 0);
	const char *got = receive(&m);
	CU_ASSERT_PTR_NOT_NULL_FATAL(got);
	CU_ASSERT_EQUAL(strlen(got), strlen("READY=1\nSTATUS=\n") + 200);
	ob__notify_close(&n);
	manager_close(&m);
}

/* Addresses that are none, or of a kind that is not ours: said, and then as without a manager. */
static void test_bad_address(void)
{
	char too_long[200];

	memset(too_long, 'x', sizeof(too_long) - 1);
	too_long[0] = '/';
	too_long[sizeof(too_long) - 1] = '\0';
	const struct {
		const char *address;
		int rc;
	} rows[] = {
		{"", -EAFNOSUPPORT},
		{"/", -EAFNOSUPPORT},
		{"@", -EAFNOSUPPORT},
		{"relative", -EAFNOSUPPORT},
		{"vsock:2:1234", -EAFNOSUPPORT},
		{too_long, -ENAMETOOLONG},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct ob__notify n;
		set_environment(rows[i].address, "1000000", NULL);
		CU_ASSERT_EQUAL(ob__notify_open(&n), rows[i].rc);
		CU_ASSERT_EQUAL(n.addr_len, 0);
		CU_ASSERT_EQUAL(n.ping_ms, 0);
		CU_ASSERT_PTR_NULL(getenv("NOTIFY_SOCKET"));
		CU_ASSERT_PTR_NULL(getenv("WATCHDOG_USEC"));
		ob__notify_close(&n);
	}
}

static void test_manager_gone(void)
{
	struct manager m;
	struct ob__notify n;

	manager_open(&m, false);
	set_environment(m.address, NULL, NULL);
	CU_ASSERT_EQUAL_FATAL(ob__notify_open(&n), 0);
	close(m.fd);
	CU_ASSERT_EQUAL(ob__notify_send(&n, OB__NOTIFY_READY, "x"), -ECONNREFUSED);
	unlink(m.address);
	CU_ASSERT_EQUAL(ob__notify_send(&n, OB__NOTIFY_READY, "x"), -ENOENT);
	ob__notify_close(&n);
	files_remove(m.dir);
}

/* A manager that does not read holds nobody up for long. */
static void test_manager_stuck(void)
{
	struct manager m;
	struct ob__notify n;
	int rc = 0;

	manager_open(&m, false);
	set_environment(m.address, NULL, NULL);
	CU_ASSERT_EQUAL_FATAL(ob__notify_open(&n), 0);
	uint64_t before = clock_us();
	for (int i = 0; i < 100000 && rc == 0; i++) {
		rc = ob__notify_send(&n, OB__NOTIFY_SAME, "%d", i);
	}
	CU_ASSERT_EQUAL(rc, -EAGAIN);
	CU_ASSERT(clock_us() - before >= 150000);
	/* Not for ever; how long a loaded machine takes is its affair. */
	CU_ASSERT(clock_us() - before < 30000000);
	ob__notify_close(&n);
	manager_close(&m);
}

/* The socket stays this process's: a child that is started must not speak for the service. */
static void test_not_inherited(void)
{
	struct manager m;
	struct ob__notify n;

	manager_open(&m, false);
	set_environment(m.address, NULL, NULL);
	CU_ASSERT_EQUAL_FATAL(ob__notify_open(&n), 0);
	CU_ASSERT_TRUE((fcntl(n.fd, F_GETFD) & FD_CLOEXEC) != 0);
	int status = system("test -z \"$NOTIFY_SOCKET$WATCHDOG_USEC$WATCHDOG_PID\"");
	CU_ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	ob__notify_close(&n);
	manager_close(&m);
}

/* Which values of the environment ask this process for signs of life, and how often. */
static void test_interval(void)
{
	char mine[32];

	snprintf(mine, sizeof(mine), "%ld", (long)getpid());
	const struct {
		const char *usec;
		const char *pid;
		uint64_t ping_ms;
	} rows[] = {
		{NULL, NULL, 0},
		{"30000000", NULL, 15000},
		{"30000000", mine, 15000},
		{"30000000", "1", 0}, /* another process is watched */
		{"30000000", "", 0},
		{"3000", NULL, 1},
		{"1", NULL, 1}, /* as often as there is a tick */
		{"0", NULL, 0},
		{"", NULL, 0},
		{"-30000000", NULL, 0},
		{"+30000000", NULL, 0},
		{"30000000s", NULL, 0},
		{"99999999999999999999999", NULL, 0},
	};
	struct manager m;

	manager_open(&m, false);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct ob__notify n;
		set_environment(m.address, rows[i].usec, rows[i].pid);
		CU_ASSERT_EQUAL_FATAL(ob__notify_open(&n), 0);
		CU_ASSERT_EQUAL(n.ping_ms, rows[i].ping_ms);
		ob__notify_close(&n);
	}
	manager_close(&m);
}

static void end_loop(void *arg)
{
	ob__loop_stop(arg);
}

/* Runs the loop until it has stood for `ms`; how many signs of life came. */
static unsigned pings(struct manager *m, struct ob__loop *loop, uint64_t ms)
{
	struct ob__timeout end;
	unsigned count = 0;

	ob__timeout_init(&end, end_loop, loop);
	ob__timeout_set(loop, &end, ms);
	ob__loop_run(loop);
	while (receive(m) != NULL) {
		CU_ASSERT_STRING_EQUAL(m->got, "WATCHDOG=1\n");
		count++;
	}
	return count;
}

static void test_pings(void)
{
	struct manager m;
	struct ob__notify n;
	struct ob__loop *loop = ob__loop_new();

	CU_ASSERT_PTR_NOT_NULL_FATAL(loop);
	manager_open(&m, true);
	set_environment(m.address, "40000", NULL);
	CU_ASSERT_EQUAL_FATAL(ob__notify_open(&n), 0);
	ob__notify_watch(&n, loop);
	CU_ASSERT_PTR_NOT_NULL_FATAL(receive(&m)); /* the first one is not waited for */
	CU_ASSERT(pings(&m, loop, 200) >= 2);
	/* A loop that does not turn gives none. */
	usleep(60000);
	CU_ASSERT_PTR_NULL(receive(&m));
	CU_ASSERT(pings(&m, loop, 100) >= 1);
	ob__notify_close(&n);
	CU_ASSERT_EQUAL(pings(&m, loop, 60), 0);
	CU_ASSERT_EQUAL(ob__loop_free(loop), 0);
	manager_close(&m);
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("notify", NULL, NULL);
	CU_add_test(s, "without a manager nothing happens", test_nobody);
	CU_add_test(s, "states and texts, to a path", test_path);
	CU_add_test(s, "states and texts, to an abstract name", test_abstract);
	CU_add_test(s, "reloading comes with the time", test_reloading);
	CU_add_test(s, "a text is one line and not long", test_text);
	CU_add_test(s, "bad addresses", test_bad_address);
	CU_add_test(s, "a manager that is gone", test_manager_gone);
	CU_add_test(s, "a manager that does not read", test_manager_stuck);
	CU_add_test(s, "children don't get it", test_not_inherited);
	CU_add_test(s, "how often a sign of life is wanted", test_interval);
	CU_add_test(s, "signs of life while the loop turns", test_pings);
	return ob__tap_run();
}
