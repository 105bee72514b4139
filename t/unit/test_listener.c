/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "net/listener.h"

#include <CUnit/CUnit.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "net_util.h"
#include "tap.h"

#define MANY 200u

/* Accepts and closes at once, or does not accept at all. */
struct taker {
	struct net *n;
	unsigned calls;
	unsigned most_in_turn;
	unsigned in_turn;
	bool leave;
	bool close_listener;
};

static void on_close(struct ob__stream *s)
{
	free(s);
}

static const struct ob__stream_ops ops = {.on_close = on_close};

static void on_caller(struct ob__listener *l, uv_stream_t *server, void *arg)
{
	struct taker *t = arg;
	t->calls++;
	t->in_turn++;
	if (t->leave) {
		return;
	}
	struct ob__stream *s = malloc(sizeof(*s));
	ob__stream_init(s, &t->n->m, &ops, NULL);
	CU_ASSERT_EQUAL(ob__stream_accept(s, server), 0);
	ob__stream_close(s);
	if (t->close_listener) {
		ob__listener_close(l);
		t->n->listener = NULL;
	}
}

static void turns(struct net *n, struct taker *t, unsigned count)
{
	while (count-- > 0) {
		t->in_turn = 0;
		ob__loop_turn(n->loop);
		t->most_in_turn = t->in_turn > t->most_in_turn ? t->in_turn : t->most_in_turn;
	}
}

static void test_open(void)
{
	struct net n;
	struct taker t = {.n = &n};
	char err[256] = "";
	char wanted[64];
	net_up(&n);
	struct ob__listener_options o = {.host = "127.0.0.1"};
	struct ob__listener *l = ob__listener_open(n.loop, &o, on_caller, &t, err, sizeof(err));
	CU_ASSERT_PTR_NOT_NULL_FATAL(l);
	int port = ob__listener_port(l);
	CU_ASSERT(port > 0);
	snprintf(wanted, sizeof(wanted), "127.0.0.1:%d", port);
	CU_ASSERT_STRING_EQUAL(ob__listener_name(l), wanted);

	/* Busy already, though nothing is accepted yet. */
	o.port = port;
	CU_ASSERT_PTR_NULL(ob__listener_open(n.loop, &o, on_caller, &t, err, sizeof(err)));
	CU_ASSERT_PTR_NOT_NULL(strstr(err, wanted));
	CU_ASSERT_PTR_NOT_NULL(strstr(err, "in use"));

	int fd = net_dial_port(port, 0);
	CU_ASSERT(fd >= 0);
	turns(&n, &t, 10);
	CU_ASSERT_EQUAL(t.calls, 0);
	CU_ASSERT_EQUAL(ob__listener_start(l), 0);
	CU_ASSERT(net_until(&n, &t.calls, 1));
	CU_ASSERT_EQUAL(ob__listener_accepted(l), 1);
	close(fd);
	ob__listener_close(l);
	ob__listener_close(l);
	ob__listener_close(NULL);
	net_down(&n);
}

static void test_open_fails(void)
{
	static const struct {
		struct ob__listener_options o;
		const char *says;
	} rows[] = {
		{{.host = "192.0.2.1", .port = 0}, "192.0.2.1:0"}, /* not an address of ours */
		{{.host = "127.0.0.1", .port = 70000}, "no such port"},
		{{.host = "127.0.0.1", .port = -1}, "no such port"},
		{{.path = "/no/such/folder/socket"}, "No such file"},
		{{.path = "/dev/null"}, "not a socket"},
		{{.path = "/tmp/xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
	                  "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"},
	         "longer than"},
	};
	struct net n;
	net_up(&n);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char err[256] = "";
		CU_ASSERT_PTR_NULL(
			ob__listener_open(n.loop, &rows[i].o, on_caller, NULL, err, sizeof(err)));
		if (!strstr(err, rows[i].says)) {
			printf("# row %zu: %s\n", i, err);
			CU_FAIL("another sentence");
		}
	}
	net_down(&n);
}

static void test_reuseport(void)
{
	struct net n;
	char err[256] = "";
	net_up(&n);
	struct ob__listener_options o = {.host = "127.0.0.1", .reuseport = true};
	struct ob__listener *a = ob__listener_open(n.loop, &o, on_caller, NULL, err, sizeof(err));
	CU_ASSERT_PTR_NOT_NULL_FATAL(a);
	o.port = ob__listener_port(a);
	struct ob__listener *b = ob__listener_open(n.loop, &o, on_caller, NULL, err, sizeof(err));
	CU_ASSERT_PTR_NOT_NULL(b);
	ob__listener_close(a);
	ob__listener_close(b);
	net_down(&n);
}

static void test_ipv6(void)
{
	struct net n;
	char err[256] = "";
	net_up(&n);
	struct ob__listener_options o = {.host = "::1"};
	struct ob__listener *l = ob__listener_open(n.loop, &o, on_caller, NULL, err, sizeof(err));
	if (!l) { /* a machine without IPv6 */
		CU_ASSERT_PTR_NOT_NULL(strstr(err, "[::1]:0"));
	} else {
		CU_ASSERT_NSTRING_EQUAL(ob__listener_name(l), "[::1]:", 6);
		ob__listener_close(l);
	}
	net_down(&n);
}

static int dial_unix(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	strcpy(addr.sun_path, path);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

/* Leaves a socket file behind that nobody listens on. */
static void make_dead(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	strcpy(addr.sun_path, path);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	CU_ASSERT_EQUAL(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	listen(fd, 1);
	close(fd);
}

static void test_unix(void)
{
	struct net n;
	struct taker t = {.n = &n};
	char err[256] = "";
	char path[100];
	struct stat st;
	snprintf(path, sizeof(path), "/tmp/ob-test-listener-%d", (int)getpid());
	net_up(&n);
	make_dead(path);
	struct ob__listener_options o = {.path = path};
	mode_t mask = umask(0);
	struct ob__listener *l = ob__listener_open(n.loop, &o, on_caller, &t, err, sizeof(err));
	umask(mask);
	CU_ASSERT_PTR_NOT_NULL_FATAL(l);
	CU_ASSERT_EQUAL(stat(path, &st), 0);
	CU_ASSERT_EQUAL(st.st_mode & 0777, 0600);
	CU_ASSERT_EQUAL(ob__listener_port(l), 0);
	CU_ASSERT_STRING_EQUAL(ob__listener_name(l), path);
	/* A living one is not replaced. */
	CU_ASSERT_PTR_NULL(ob__listener_open(n.loop, &o, on_caller, &t, err, sizeof(err)));
	CU_ASSERT_PTR_NOT_NULL(strstr(err, "in use"));
	CU_ASSERT_EQUAL(ob__listener_start(l), 0);
	int fd = dial_unix(path);
	CU_ASSERT(fd >= 0);
	CU_ASSERT(net_until(&n, &t.calls, 2) || t.calls == 1); /* the try above was a caller too */
	close(fd);
	ob__listener_close(l);
	CU_ASSERT(stat(path, &st) < 0);

	/* What somebody else put in its place stays. */
	o.mode = 0660;
	mask = umask(077);
	l = ob__listener_open(n.loop, &o, on_caller, &t, err, sizeof(err));
	umask(mask);
	CU_ASSERT_PTR_NOT_NULL_FATAL(l);
	stat(path, &st);
	CU_ASSERT_EQUAL(st.st_mode & 0777, 0660);
	unlink(path);
	make_dead(path);
	ob__listener_close(l);
	CU_ASSERT_EQUAL(stat(path, &st), 0);
	unlink(path);
	net_down(&n);
}

static void test_batches(void)
{
	static int fds[MANY];
	struct net n;
	struct taker t = {.n = &n};
	net_up(&n);
	net_listen(&n, NULL, on_caller, &t);
	for (unsigned i = 0; i < MANY; i++) {
		fds[i] = net_dial(&n, 0);
		CU_ASSERT_FATAL(fds[i] >= 0);
	}
	for (unsigned i = 0; i < 1000 && t.calls < MANY; i++) {
		turns(&n, &t, 1);
	}
	CU_ASSERT_EQUAL(t.calls, MANY);
	CU_ASSERT(t.most_in_turn <= 65); /* a batch, and one that waited for its turn */
	CU_ASSERT_EQUAL(ob__listener_accepted(n.listener), MANY);
	CU_ASSERT_EQUAL(ob__listener_refused(n.listener), 0);
	for (unsigned i = 0; i < MANY; i++) {
		close(fds[i]);
	}
	/* Closed in the middle of a batch, from its callback. */
	t.close_listener = true;
	for (unsigned i = 0; i < 100; i++) {
		fds[i] = net_dial(&n, 0);
	}
	turns(&n, &t, 5);
	CU_ASSERT_EQUAL(t.calls, MANY + 1);
	for (unsigned i = 0; i < 100; i++) {
		close(fds[i]);
	}
	net_down(&n);
}

static void test_pause(void)
{
	struct net n;
	struct taker t = {.n = &n};
	net_up(&n);
	net_listen(&n, NULL, on_caller, &t);
	ob__listener_pause(n.listener);
	int a = net_dial(&n, 0);
	int b = net_dial(&n, 0);
	turns(&n, &t, 10);
	CU_ASSERT_EQUAL(t.calls, 0);
	ob__listener_start(n.listener);
	CU_ASSERT(net_until(&n, &t.calls, 2));
	/* With callers waiting, a close is clean. */
	ob__listener_pause(n.listener);
	int c = net_dial(&n, 0);
	turns(&n, &t, 10);
	CU_ASSERT_EQUAL(t.calls, 2);
	close(a);
	close(b);
	net_down(&n);
	close(c);
}

/* A callback that does not take its caller does not stop the listener. */
static void test_not_taken(void)
{
	struct net n;
	struct taker t = {.n = &n, .leave = true};
	char c;
	net_up(&n);
	net_listen(&n, NULL, on_caller, &t);
	int a = net_dial(&n, 0);
	CU_ASSERT(net_until(&n, &t.calls, 1));
	CU_ASSERT_EQUAL(ob__listener_refused(n.listener), 1);
	turns(&n, &t, 3);
	CU_ASSERT_EQUAL(recv(a, &c, 1, 0), 0);
	int b = net_dial(&n, 0);
	CU_ASSERT(net_until(&n, &t.calls, 2));
	close(a);
	close(b);
	net_down(&n);
}

/* Out of descriptors: turned away, counted, and over when there are some again. */
static void test_no_descriptors(void)
{
	struct net n;
	struct taker t = {.n = &n};
	struct rlimit old;
	char c;
	net_up(&n);
	net_listen(&n, NULL, on_caller, &t);
	int a = net_dial(&n, 0);
	getrlimit(RLIMIT_NOFILE, &old);
	struct rlimit tight = {.rlim_cur = (rlim_t)a + 10, .rlim_max = old.rlim_max};
	setrlimit(RLIMIT_NOFILE, &tight);
	for (unsigned i = 0; i < 100000000 && ob__listener_refused(n.listener) == 0; i++) {
		turns(&n, &t, 1);
	}
	CU_ASSERT_EQUAL(t.calls, 0);
	CU_ASSERT_EQUAL(ob__listener_refused(n.listener), 1);
	turns(&n, &t, 3);
	CU_ASSERT_EQUAL(recv(a, &c, 1, 0), 0);
	setrlimit(RLIMIT_NOFILE, &old);
	int b = net_dial(&n, 0);
	CU_ASSERT(net_until(&n, &t.calls, 1));
	close(a);
	close(b);
	net_down(&n);
}

/* The same, but there are some again before it is turned away. */
static void test_descriptors_again(void)
{
	struct net n;
	struct taker t = {.n = &n};
	struct rlimit old;
	net_up(&n);
	net_listen(&n, NULL, on_caller, &t);
	int fds[40];
	for (int i = 0; i < 40; i++) {
		fds[i] = dup(0);
	}
	getrlimit(RLIMIT_NOFILE, &old);
	struct rlimit tight = {.rlim_cur = (rlim_t)fds[39] + 10, .rlim_max = old.rlim_max};
	setrlimit(RLIMIT_NOFILE, &tight);
	int a = net_dial(&n, 0);
	turns(&n, &t, 3);
	CU_ASSERT_EQUAL(t.calls, 0);
	for (int i = 0; i < 40; i++) {
		close(fds[i]);
	}
	CU_ASSERT(net_until(&n, &t.calls, 1));
	CU_ASSERT_EQUAL(ob__listener_refused(n.listener), 0);
	setrlimit(RLIMIT_NOFILE, &old);
	close(a);
	net_down(&n);
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("listener", NULL, NULL);
	CU_add_test(s, "opens, then starts", test_open);
	CU_add_test(s, "says why it can't open", test_open_fails);
	CU_add_test(s, "reuseport", test_reuseport);
	CU_add_test(s, "IPv6", test_ipv6);
	CU_add_test(s, "unix socket", test_unix);
	CU_add_test(s, "accepts in batches", test_batches);
	CU_add_test(s, "pause", test_pause);
	CU_add_test(s, "a caller nobody takes", test_not_taken);
	CU_add_test(s, "out of descriptors", test_no_descriptors);
	CU_add_test(s, "descriptors that are there again in time", test_descriptors_again);
	return ob__tap_run();
}
