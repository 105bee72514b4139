/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/* A node's start, its directories, what it says of itself, and its end. */

#include <arpa/inet.h>
#include <CUnit/CUnit.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "host/admin/confreload.h"
#include "host/swap/swap.h"
#include "tap.h"
#include "unit/files.h"
#include "unit/node_rig.h"

static struct rig_node n;
static struct puppet p;

/* ---------------------------------------------------------------- refused starts */

static int busy_port(int *fd)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);

	*fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CU_ASSERT_EQUAL_FATAL(bind(*fd, (struct sockaddr *)&a, sizeof(a)), 0);
	CU_ASSERT_EQUAL_FATAL(listen(*fd, 1), 0);
	CU_ASSERT_EQUAL_FATAL(getsockname(*fd, (struct sockaddr *)&a, &len), 0);
	return ntohs(a.sin_port);
}

static void test_busy_ports(void)
{
	static const char *const confs[] = {
		"'http': {'port': %d},",      "'admin': {'port': %d},",
		"'listen': [{'port': %d}],",  "'listen': [{'transport': 'tcp', 'port': %d}],",
		"'websocket': {'port': %d},", "'rpc': {'port': %d, 'token': '" RIG_TOKEN "'},",
	};
	int fd;
	int port = busy_port(&fd);

	for (size_t i = 0; i < sizeof(confs) / sizeof(confs[0]); i++) {
		char conf[200];
		char want[64];
		int code = -1;
		rig_begin();
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		snprintf(conf, sizeof(conf), confs[i], port);
#pragma GCC diagnostic pop
		rig_write_conf(&n, "n", "x", "%s 'modules': []", conf);
		CU_ASSERT_PTR_NULL(rig_start_conf(&n, &code));
		CU_ASSERT_EQUAL(code, 1);
		snprintf(want, sizeof(want), "127.0.0.1:%d", port);
		CU_ASSERT_TRUE(rig_logged("n", want));
		CU_ASSERT_TRUE(rig_logged("n", "not started (at listeners)"));
		rig_end();
	}
	close(fd);
}

static void test_bad_places(void)
{
	int code = -1;
	struct ob__nodeconf *conf;
	char err[256];
	char out[512];

	/* a file where a directory should be */
	rig_begin();
	rig_write_conf(&n, "n", "x", "'modules': []");
	conf = ob__nodeconf_load(n.conf_path, NULL, 0, NULL, NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(conf);
	conf->state_dir = n.conf_path;
	CU_ASSERT_EQUAL(ob__node_dir(conf, out, sizeof(out), err, sizeof(err)), -ENOTDIR);
	CU_ASSERT_PTR_NOT_NULL(strstr(err, "state_dir: can't make "));
	CU_ASSERT_PTR_NULL(ob__node_start(conf, NULL, 0, &code));
	CU_ASSERT_EQUAL(code, 1);

	/* a path that is too long for what has to be put into it */
	char deep[PATH_MAX];
	memset(deep, 'd', sizeof(deep));
	memcpy(deep, "/nonexistent/", 13);
	conf = ob__nodeconf_load(n.conf_path, NULL, 0, NULL, NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(conf);
	for (size_t len = sizeof(out) - 40; len < sizeof(deep); len += 997) {
		deep[len] = '\0';
		conf->state_dir = deep;
		CU_ASSERT_TRUE(ob__node_dir(conf, out, sizeof(out), err, sizeof(err)) < 0);
		deep[len] = 'd';
	}
	ob__nodeconf_free(conf);
	rig_end();

	/* a log that can't be written */
	rig_begin();
	rig_write_conf(&n, "n", "x", "'modules': []");
	conf = ob__nodeconf_load(n.conf_path, NULL, 0, NULL, NULL);
	conf->log_dir = n.conf_path;
	CU_ASSERT_PTR_NULL(ob__node_start(conf, NULL, 0, &code));
	CU_ASSERT_EQUAL(code, 1);
	rig_end();

	/* a user that does not exist; only root becomes another */
	if (geteuid() == 0) {
		rig_begin();
		rig_write_conf(&n, "n", "x", "'user': 'no-such-user', 'modules': []");
		CU_ASSERT_PTR_NULL(rig_start_conf(&n, &code));
		CU_ASSERT_TRUE(rig_logged("n", "user: there is no user no-such-user"));
		rig_end();
	}
}

static long number_in(const char *path)
{
	char *text = files_read(path, NULL);
	long number = strtol(text, NULL, 10);

	free(text);
	return number;
}

/* The same node twice: the second one is refused by the lock, and the first does not notice. */
static void test_twice(void)
{
	int code = -1;
	char path[600];
	char pid_path[256];

	rig_begin();
	rig_start(&n, "n", "x", "'pid': '%s/n.pid', 'modules': []", rig_dir);
	snprintf(pid_path, sizeof(pid_path), "%s/n.pid", rig_dir);
	CU_ASSERT_EQUAL(number_in(pid_path), getpid());

	struct ob__nodeconf *conf = ob__nodeconf_load(n.conf_path, NULL, 0, NULL, NULL);
	CU_ASSERT_PTR_NULL(ob__node_start(conf, NULL, 0, &code));
	CU_ASSERT_EQUAL(code, 1);
	/* what is the first one's is still there */
	CU_ASSERT_EQUAL(access(pid_path, F_OK), 0);
	snprintf(path, sizeof(path), "%s/state/n/admin.sock", rig_dir);
	CU_ASSERT_EQUAL(access(path, F_OK), 0);
	CU_ASSERT_TRUE(rig_admin_expect(&n, "health", NULL, 200, "{}"));
	rig_stop(&n);
	CU_ASSERT_NOT_EQUAL(access(pid_path, F_OK), 0);
	/* the lock is free again */
	CU_ASSERT_PTR_NOT_NULL_FATAL(rig_start_conf(&n, &code));
	ob__node_lock_path(n.node->dir, path, sizeof(path));
	CU_ASSERT_EQUAL(number_in(path), getpid());
	rig_stop(&n);
	rig_end();
}

/* ---------------------------------------------------------------- directories */

static void test_dirs(void)
{
	struct ob__nodeconf conf = {.name = "nn", .path = (char *)(uintptr_t) "f"};
	char out[512];
	char err[256];
	char want[512];
	char value[512];

	rig_begin();
	unsetenv("STATE_DIRECTORY");
	/* the configured one wins over systemd's, whose first one counts */
	snprintf(value, sizeof(value), "%s/sd:%s/other", rig_dir, rig_dir);
	setenv("STATE_DIRECTORY", value, 1);
	CU_ASSERT_EQUAL(ob__node_dir(&conf, out, sizeof(out), err, sizeof(err)), 0);
	snprintf(want, sizeof(want), "%s/sd/nn", rig_dir);
	CU_ASSERT_STRING_EQUAL(out, want);
	snprintf(value, sizeof(value), "%s/conf/a/b", rig_dir);
	conf.state_dir = value;
	CU_ASSERT_EQUAL(ob__node_dir(&conf, out, sizeof(out), err, sizeof(err)), 0);
	snprintf(want, sizeof(want), "%s/conf/a/b/nn", rig_dir);
	CU_ASSERT_STRING_EQUAL(out, want);
	unsetenv("STATE_DIRECTORY");

	/* nobody else looks into the stage */
	struct stat st;
	snprintf(want, sizeof(want), "%s/conf/a/b/nn/stage", rig_dir);
	CU_ASSERT_EQUAL(stat(want, &st), 0);
	CU_ASSERT_EQUAL(st.st_mode & 07777, 0700);

	/* what a former life left there goes */
	char left[600];
	snprintf(left, sizeof(left), "%s/old.1.so", want);
	files_write_text(left, "");
	ob__node_clear_stage(out);
	CU_ASSERT_NOT_EQUAL(access(left, F_OK), 0);
	ob__node_clear_stage("/nonexistent");

	char lock[600];
	ob__node_lock_path(out, lock, sizeof(lock));
	CU_ASSERT_EQUAL(strncmp(lock, out, strlen(out)), 0);
	CU_ASSERT_EQUAL(lock[strlen(out)], '/');
	rig_end();
}

static void test_module_dirs(void)
{
	const char *configured[] = {"one", "two"};
	struct ob__nodeconf conf = {.module_dirs = configured, .module_dirs_len = 2};
	char **dirs = ob__node_module_dirs(&conf);

	CU_ASSERT_PTR_NOT_NULL_FATAL(dirs);
	CU_ASSERT_STRING_EQUAL(dirs[0], "one");
	CU_ASSERT_STRING_EQUAL(dirs[1], "two");
	size_t len = 2;
	while (dirs[len] != NULL) {
		len++;
	}
	CU_ASSERT_TRUE(len >= 4);
	CU_ASSERT_STRING_EQUAL(dirs[len - 2], OB_MODULE_DIR);
	CU_ASSERT_STRING_EQUAL(dirs[len - 1], OB_EXAMPLE_DIR);
	ob__node_module_dirs_free(dirs);
	ob__node_module_dirs_free(NULL);
}

static void test_module_names(void)
{
	static const struct {
		const char *name;
		bool ok;
	} rows[] = {
		{"login", true},
		{"a-b_C9", true},
		{"", false},
		{"a.b", false},
		{"a/b", false},
		{"..", false},
		{"a b", false},
		{"\xc3\xa9", false},
		{"a\n", false},
		{"a123456789b123456789c123456789d123456789e123456789f123456789g12", true},
		{"a123456789b123456789c123456789d123456789e123456789f123456789g123", false},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		CU_ASSERT_EQUAL(ob__module_name_ok(rows[i].name), rows[i].ok);
	}
}

static void write_incarnation(const char *text)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/state/n/incarnation", rig_dir);
	files_write_text(path, text);
}

/* It grows by whole seconds at least, whatever the clock or the file say. */
static void test_incarnation(void)
{
	rig_begin();
	rig_start(&n, "n", "x", "'modules': []");
	uint64_t first = n.node->self.incarnation;
	rig_stop(&n);
	CU_ASSERT_TRUE(first > 1600000000000u);
	int code;
	CU_ASSERT_PTR_NOT_NULL_FATAL(rig_start_conf(&n, &code));
	uint64_t second = n.node->self.incarnation;
	CU_ASSERT_TRUE(second / 1000 > first / 1000);
	rig_stop(&n);
	/* a clock that went back */
	write_incarnation("99999999999999\n");
	CU_ASSERT_PTR_NOT_NULL_FATAL(rig_start_conf(&n, &code));
	CU_ASSERT_EQUAL(n.node->self.incarnation, 100000000000000);
	rig_stop(&n);
	write_incarnation("nonsense");
	CU_ASSERT_PTR_NOT_NULL_FATAL(rig_start_conf(&n, &code));
	CU_ASSERT_TRUE(n.node->self.incarnation >= first);
	CU_ASSERT_TRUE(n.node->self.incarnation < 100000000000000);
	rig_stop(&n);
	rig_end();
}

/* ---------------------------------------------------------------- what it says of itself */

static void test_session_names(void)
{
	char text[OB_SESSION_TEXT];

	rig_begin();
	rig_start(&n, "n", "x", "'modules': []");
	bool fresh;
	/* of a node that is known, of one that is not */
	struct ob__session *s = ob__session_meet(&n.node->sessions, 0xabcdef, 0x1234, &fresh);
	CU_ASSERT_PTR_NOT_NULL_FATAL(s);
	CU_ASSERT_EQUAL(ob__node_session_text(n.node, s, text, sizeof(text)), 0);
	CU_ASSERT_STRING_EQUAL(text, "#0000000000abcdef-0000000000001234");
	CU_ASSERT_PTR_EQUAL(ob__node_session(n.node, text), s);
	CU_ASSERT_EQUAL(ob__node_session_text(n.node, s, text, 20), OB_E_INVAL);

	s = ob__session_meet(&n.node->sessions, ob__node_id("p-1"), 0xfedcba9876543210, &fresh);
	CU_ASSERT_PTR_EQUAL(ob__node_session(n.node, "p-1-fedcba9876543210"), s);
	static const char *const bad[] = {
		"",
		"-",
		"p-1",
		"p-1-fedcba987654321",
		"p-1-fedcba98765432100",
		"p-1-fedcba987654321g",
		"p-1-0xdcba9876543210",
		"p-1- edcba9876543210",
		"p-2-fedcba9876543210",
		"#zz-0000000000001234",
		"a123456789b123456789c123456789d123456789e123456789f123456789g123-fedcba9876543210",
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		CU_ASSERT_PTR_NULL(ob__node_session(n.node, bad[i]));
	}
	CU_ASSERT_TRUE(rig_admin_expect(
		&n, "sessions", NULL, 200,
		"{'total': 2, 'sessions': [{'local': false, 'peer': '', 'served_by': []}, {}]}"));
	rig_stop(&n);
	rig_end();
}

static void test_gauges(void)
{
	static const char *const series[] = {
		"obhost_connections", "obhost_sessions",      "obhost_pending",
		"obhost_requests",    "obhost_held_bytes",    "obhost_peers_up",
		"obhost_bytes_in",    "obhost_bytes_out",     "obhost_log_dropped",
		"obhost_deadlines",   "obhost_replies_stale",
	};

	rig_begin();
	rig_start(&n, "n", "x", "'modules': []");
	for (size_t i = 0; i < sizeof(series) / sizeof(series[0]); i++) {
		CU_ASSERT_EQUAL(rig_metric(&n, series[i]), 0);
	}
	CU_ASSERT_TRUE(rig_metric(&n, "obhost_uptime_seconds") >= 0);
	rig_stop(&n);
	rig_end();
}

/* ---------------------------------------------------------------- the end */

static ob_req kept;
static int kept_count;

static void keep(ob_ctx *ctx, ob_req req)
{
	CU_ASSERT_EQUAL(ob_request_hold(ctx, req), 0);
	kept = req;
	kept_count++;
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	return ob_on_id(ctx, 1000, keep);
}

static void begin(const char *conf)
{
	rig_begin();
	memset(&p, 0, sizeof(p));
	kept_count = 0;
	p.start = start;
	rig_start(
		&n, "n", "x",
		"'listen': [{'port': 0}], %s 'modules': [{'name': 'puppet', 'conf': {'hooks': %ld}}]",
		conf, (long)(intptr_t)&p);
}

/* ob__loop_run() as main() does it; the signal or the like has been raised before. */
static int run_out(void)
{
	int code = ob__node_run(n.node);

	rig_kill(&n);
	return code;
}

static void test_quit(void)
{
	struct rig_client c;

	begin("");
	rig_connect(&c, n.port, true);
	rig_send(&c, 1000, "{}");
	CU_ASSERT_TRUE(RIG_UNTIL(kept_count == 1));
	CU_ASSERT_PTR_NULL(ob__node_not_ready(n.node));
	ob__node_quit(n.node);
	CU_ASSERT_STRING_EQUAL(ob__node_not_ready(n.node), "draining");
	rig_turn_ms(60);
	CU_ASSERT_EQUAL(n.node->phase, OB__NODE_LEAVING); /* it waits for the handler */
	CU_ASSERT_EQUAL(ob_reply(p.ctx, kept, "{}", 2), 0);
	CU_ASSERT_TRUE(rig_expect(&c, 1000, "{}"));
	CU_ASSERT_EQUAL(rig_closed(&c), 1001);
	CU_ASSERT_STRING_EQUAL(ob__node_not_ready(n.node), "stopping");
	ob__node_stop(n.node); /* again: nothing */
	CU_ASSERT_EQUAL(run_out(), 0);
	rig_disconnect(&c);
	rig_end();
}

/* reload.drain bounds the wait. */
static void test_quit_late(void)
{
	struct rig_client c;

	begin("'reload': {'drain': 0.1, 'probation': 0, 'probe': 0, 'rate': '0/s'},");
	rig_connect(&c, n.port, true);
	rig_send(&c, 1000, "{}");
	CU_ASSERT_TRUE(RIG_UNTIL(kept_count == 1));
	ob__node_quit(n.node);
	CU_ASSERT_EQUAL(rig_closed(&c), 1001);
	CU_ASSERT_EQUAL(run_out(), 0);
	rig_disconnect(&c);
	rig_end();
}

/* A client that does not take its close frame does not keep the node. */
static void test_stop_with_a_stuck_client(void)
{
	struct rig_client c;
	char *big = calloc(1, 1 << 20);

	begin("'limits': {'client_queue': '64m', 'message': '2m'},");
	rig_connect(&c, n.port, true);
	rig_send(&c, 1000, "{}");
	CU_ASSERT_TRUE(RIG_UNTIL(kept_count == 1));
	ob_view v = {.size = sizeof(v)};
	CU_ASSERT_EQUAL(ob_req_view(p.ctx, kept, &v), 0);
	for (int i = 0; i < 16; i++) {
		CU_ASSERT_EQUAL(ob_push(p.ctx, v.session, 5, big, 1 << 20), 0);
		rig_turn();
	}
	free(big);
	uint64_t before = ob__loop_hrtime_us();
	ob__node_stop(n.node);
	CU_ASSERT_EQUAL(run_out(), 0);
	uint64_t took = ob__loop_hrtime_us() - before;
	CU_ASSERT_TRUE(took > 1500000 && took < 8000000);
	rig_disconnect(&c);
	rig_end();
}

static void test_signals(void)
{
	static const int ending[] = {SIGTERM, SIGINT, SIGQUIT};
	char path[256];
	char moved[260];

	for (size_t i = 0; i < 3; i++) {
		begin("");
		CU_ASSERT_EQUAL(kill(getpid(), ending[i]), 0);
		CU_ASSERT_EQUAL(run_out(), 0);
		rig_end();
	}
	/* the log is opened anew */
	begin("");
	snprintf(path, sizeof(path), "%s/log/n.log", rig_dir);
	snprintf(moved, sizeof(moved), "%s.1", path);
	CU_ASSERT_TRUE(rig_logged("n", "is running, pid"));
	CU_ASSERT_EQUAL(rename(path, moved), 0);
	CU_ASSERT_EQUAL(kill(getpid(), SIGUSR1), 0);
	CU_ASSERT_TRUE(RIG_UNTIL(access(path, F_OK) == 0));
	rig_stop(&n);
	rig_end();
}

/* -m, by name and by path, over a reload of the configuration as well. */
static void nothing_changed(void *arg, int status, const json_t *report)
{
	*(int *)arg = status;
	CU_ASSERT_EQUAL(json_array_size(json_object_get(report, "changed")), 0);
	CU_ASSERT_EQUAL(json_array_size(json_object_get(report, "needs_restart")), 0);
}

static void test_extra_modules(void)
{
	char path[512];
	int code;

	rig_begin();
	rig_module_path("second", path, sizeof(path));
	const char *extra[] = {"echo", path};
	rig_write_conf(&n, "n", "x", "'modules': []");
	struct ob__nodeconf *conf = ob__nodeconf_load(n.conf_path, extra, 2, NULL, NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(conf);
	struct ob__node *node = ob__node_start(conf, extra, 2, &code);
	CU_ASSERT_PTR_NOT_NULL_FATAL(node);
	CU_ASSERT_PTR_NOT_NULL(ob__module_find(node, "echo"));
	CU_ASSERT_PTR_NOT_NULL(ob__module_find(node, "second"));
	int status = 0;
	ob__conf_reload(node, nothing_changed, &status);
	CU_ASSERT_EQUAL(status, 200);
	ob__node_free(node);
	rig_end();
}

int main(void)
{
	CU_initialize_registry();
	CU_pSuite s = CU_add_suite("node", NULL, NULL);
	CU_add_test(s, "busy ports are named", test_busy_ports);
	CU_add_test(s, "places that can't be used", test_bad_places);
	CU_add_test(s, "the same node twice", test_twice);
	CU_add_test(s, "state directories", test_dirs);
	CU_add_test(s, "module directories", test_module_dirs);
	CU_add_test(s, "names of modules", test_module_names);
	CU_add_test(s, "the incarnation grows", test_incarnation);
	CU_add_test(s, "names of sessions", test_session_names);
	CU_add_test(s, "gauges", test_gauges);
	CU_add_test(s, "quit waits for what is in flight", test_quit);
	CU_add_test(s, "quit waits no longer than reload.drain", test_quit_late);
	CU_add_test(s, "a stuck client does not keep it", test_stop_with_a_stuck_client);
	CU_add_test(s, "signals", test_signals);
	CU_add_test(s, "modules of the command line", test_extra_modules);
	return ob__tap_run();
}
