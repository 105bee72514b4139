/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "host/node.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <malloc.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "host/admin/admin.h"
#include "host/admin/confhistory.h"
#include "host/admin/confreload.h"
#include "host/client/conn.h"
#include "host/cluster/policy.h"
#include "host/exit.h"
#include "host/node_mesh.h"
#include "host/swap/swap.h"

#define HTTP_HELD_MS 120000u
#define HTTPC_MAX    1024u
#define STOP_MS      2000u
#define STOP_POLL_MS 20u
#define CLOSE_TURNS  1000

static void link_waiting(struct ob__listener *l, uv_stream_t *server, void *arg)
{
	struct ob__node *node = arg;

	(void)l;
	ob__links_accept(node->links, server);
}

/* ---- process ---- */

static void raise_fd_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		if (setrlimit(RLIMIT_NOFILE, &limit) != 0) {
			ob__warning("node", "can't raise the limit of open files (%s)",
			            strerror(errno));
		}
	}
}

/* glibc gives freed large blocks back to the kernel at once, and asks again at the next one. */
static void keep_heap(void)
{
#ifdef M_TRIM_THRESHOLD
	mallopt(M_TRIM_THRESHOLD, 32 << 20);
	mallopt(M_MMAP_THRESHOLD, 32 << 20);
#endif
}

/* What the node still writes to when it has become another user. */
static int hand_over(const struct ob__node *node, const struct passwd *pw)
{
	static const char *const names[] = {
		"", "/stage", "/lock", "/incarnation", "/admin.sock", "/link.sock"};
	char path[600];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(path, sizeof(path), "%s%s", node->dir, names[i]);
		if (chown(path, pw->pw_uid, pw->pw_gid) != 0 && errno != ENOENT) {
			ob__error("node", "user: can't give %s to %s (%s)", path, pw->pw_name,
			          strerror(errno));
			return -errno;
		}
	}
	int rc = ob__confhistory_chown(node->dir, pw->pw_uid, pw->pw_gid);
	if (rc != 0) {
		ob__error("node", "user: can't give %s/conf to %s (%s)", node->dir, pw->pw_name,
		          ob__strerror(rc));
	}
	return rc;
}

static int become_user(const struct ob__node *node)
{
	const char *name = node->conf->user;

	if (name == NULL || geteuid() != 0) {
		return 0;
	}
	const struct passwd *pw = getpwnam(name);
	if (pw == NULL) {
		ob__error("node", "user: there is no user %s", name);
		return -ENOENT;
	}
	if (hand_over(node, pw) != 0) {
		return -EPERM;
	}
	if (initgroups(name, pw->pw_gid) != 0 || setgid(pw->pw_gid) != 0 ||
	    setuid(pw->pw_uid) != 0) {
		ob__error("node", "user: can't become %s (%s)", name, strerror(errno));
		return -errno;
	}
	return 0;
}

static int write_pid(const char *path, int fd)
{
	char text[32];
	int len = snprintf(text, sizeof(text), "%ld\n", (long)getpid());

	if (fd < 0 || ftruncate(fd, 0) != 0 || write(fd, text, (size_t)len) != len) {
		ob__error("node", "%s: %s", path, strerror(errno));
		return -1;
	}
	return 0;
}

/* One node per name and state directory: what is staged there is this process's own. */
static int take_lock(struct ob__node *node)
{
	char path[600];

	ob__node_lock_path(node->dir, path, sizeof(path));
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) != 0) {
		ob__error("node",
		          "a node %s is running already (%s is locked); stop it, or give this "
		          "one another name or state_dir",
		          node->conf->name, path);
		close(fd);
		return -1;
	}
	if (write_pid(path, fd) != 0) {
		if (fd >= 0) {
			close(fd);
		}
		return -1;
	}
	node->lock_fd = fd;
	if (node->conf->pid == NULL) {
		return 0;
	}
	snprintf(node->pid_path, sizeof(node->pid_path), "%s", node->conf->pid);
	fd = open(node->pid_path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	int rc = write_pid(node->pid_path, fd);
	if (fd >= 0) {
		close(fd);
	}
	return rc;
}

void ob__node_keep_incarnation(const char *dir, uint64_t incarnation)
{
	char path[600];

	snprintf(path, sizeof(path), "%s/incarnation", dir);
	FILE *f = fopen(path, "we");
	if (f == NULL || fprintf(f, "%llu\n", (unsigned long long)incarnation) < 0) {
		ob__warning("node", "%s: %s; after a clock that goes back, session ids may repeat",
		            path, strerror(errno));
	}
	if (f != NULL) {
		fclose(f);
	}
}

/* Grows at each start, by whole seconds: session numbers begin at the second. */
static uint64_t next_incarnation(const char *dir)
{
	char path[600];
	struct timespec ts;
	unsigned long long stored = 0;

	snprintf(path, sizeof(path), "%s/incarnation", dir);
	FILE *f = fopen(path, "re");
	if (f != NULL) {
		if (fscanf(f, "%llu", &stored) != 1) {
			stored = 0;
		}
		fclose(f);
	}
	clock_gettime(CLOCK_REALTIME, &ts);
	uint64_t now = (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
	uint64_t least = stored != 0 ? (stored / 1000 + 1) * 1000 : 0;
	uint64_t incarnation = now > least ? now : least;
	ob__node_keep_incarnation(dir, incarnation);
	return incarnation;
}

/* ---- signals ---- */

static void on_signal(int signum, void *arg)
{
	struct ob__node *node = arg;

	switch (signum) {
	case SIGTERM:
	case SIGINT:
		ob__notice("node", "stopping (%s)", signum == SIGTERM ? "TERM" : "INT");
		ob__node_stop(node);
		return;
	case SIGQUIT:
		ob__notice("node", "draining, then stopping (QUIT)");
		ob__node_quit(node);
		return;
	case SIGHUP:
		ob__conf_reload_soon(node);
		return;
	case SIGUSR1:
		ob__log_reopen();
		ob__notice("log", "reopened (USR1)");
		return;
	default:
		return;
	}
}

/* ---- start ---- */

static int start_identity(struct ob__node *node)
{
	char err[256];

	if (ob__node_dir(node->conf, node->dir, sizeof(node->dir), err, sizeof(err)) != 0) {
		ob__error("node", "%s", err);
		return -1;
	}
	if (take_lock(node) != 0) {
		return -1;
	}
	ob__node_clear_stage(node->dir);
	snprintf(node->name, sizeof(node->name), "%s", node->conf->name);
	snprintf(node->role, sizeof(node->role), "%s", node->conf->role);
	node->self = (struct ob__identity){
		.id = ob__node_id(node->name),
		.incarnation = next_incarnation(node->dir),
		.name = node->name,
		.role = node->role,
		.role_id = ob__fnv1a32(node->conf->role),
	};
	return 0;
}

static int start_host(struct ob__node *node)
{
	char stage[600];
	char **dirs = ob__node_module_dirs(node->conf);

	snprintf(stage, sizeof(stage), "%s/stage", node->dir);
	ob__slots_init(&node->slots, node->self.incarnation);
	ob__msgnames_init(&node->msgnames, node->self.incarnation);
	ob__works_init(&node->works);
	ob__clients_init(node);
	if (ob__msgnames_load(&node->msgnames, node->conf->names) != 0 ||
	    ob__conf_apply_policies(node) != 0) {
		ob__node_module_dirs_free(dirs);
		return -1;
	}
	node->loader = dirs != NULL ? ob__loader_new(node->loop, stage, (const char *const *)dirs,
	                                             node->conf->probe_exe)
	                            : NULL;
	node->rehearses = node->conf->probe_exe != NULL;
	if (node->loader != NULL && node->conf->probe_program != NULL) {
		(void)ob__loader_program(node->loader, node->conf->probe_program);
	}
	ob__node_module_dirs_free(dirs);
	node->httpc = ob__httpc_new(node->loop, HTTPC_MAX);
	if (node->loader == NULL || node->httpc == NULL) {
		return OB_E_NOMEM;
	}
	int rc = ob__swap_init(node);
	rc = rc == 0 ? ob__drain_init(node) : rc;
	return rc == 0 ? ob__dispatch_init(node) : rc;
}

struct start_wait {
	struct ob__loop *loop;
	int status;
};

static void start_done(void *arg, int status, const json_t *body)
{
	struct start_wait *w = arg;

	(void)body;
	w->status = status;
	ob__loop_stop(w->loop);
}

static int start_modules(struct ob__node *node)
{
	struct ob__swap_request request = {.kind = OB__SWAP_START, .probation_ms = -1};
	struct start_wait wait = {.loop = node->loop};

	for (size_t i = 0; i < node->conf->modules_len; i++) {
		const struct ob__module_conf *m = &node->conf->modules[i];
		if (ob__module_new(node, m->name, m->path, json_incref(m->conf), m->admin,
		                   m->implied) == NULL) {
			return OB_E_NOMEM;
		}
	}
	ob__swap_begin(node, &request, start_done, &wait);
	ob__loop_run(node->loop);
	return wait.status == 200 ? 0 : -1;
}

/* In the log, where the file's other mistakes were. */
static void log_wrong(void *arg, enum ob__conf_severity severity, const char *line)
{
	(void)arg;
	(void)severity;
	ob__error("conf", "%s", line);
}

static int start_listeners(struct ob__node *node)
{
	const struct ob__nodeconf *c = node->conf;
	struct ob__listener_options rpc = {.host = c->host, .port = c->rpc_port};
	char path[600];
	char err[256];

	if (ob__web_open(node) != 0 || ob__clients_open(node) != 0) {
		return -1;
	}
	if (c->rpc_port != 0) {
		node->link_listener =
			ob__listener_open(node->loop, &rpc, link_waiting, node, err, sizeof(err));
		if (node->link_listener == NULL) {
			ob__error("link", "rpc: %s", err);
			return -1;
		}
	}
	if (ob__transports_check(node, c, log_wrong, NULL) != 0 ||
	    ob__transports_listen(node) != 0) {
		return -1;
	}
	ob__cluster_listen(node);
	snprintf(path, sizeof(path), "%s/admin.sock", node->dir);
	return ob__admin_open(node, path);
}

static int start_accepting(struct ob__node *node)
{
	static const int signums[] = {SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, 0};

	if (node->link_listener != NULL) {
		if (ob__listener_start(node->link_listener) != 0) {
			return -1;
		}
		ob__notice("link", "listening on %s", ob__listener_name(node->link_listener));
	}
	ob__cluster_accept(node);
	if (ob__transports_accept(node) != 0) {
		return -1;
	}
	ob__transports_init(node);
	ob__cluster_describe(node);
	if (ob__web_start(node) != 0 || ob__clients_start(node) != 0 ||
	    ob__loop_signals(node->loop, signums, on_signal, node) != 0) {
		return -1;
	}
	return ob__conf_apply_remotes(node);
}

/* While the node starts, whoever started it sees the log too. */
static int open_log(const struct ob__nodeconf *c, bool starting)
{
	struct ob__log_options log = {
		.dir = c->log_dir,
		.name = c->name,
		.level = c->log_level,
		.to_stderr = starting || c->log_stderr || c->log_dir == NULL,
		.ring_lines = c->log_ring,
	};
	char err[256];

	if (ob__log_open(&log, err, sizeof(err)) != 0) {
		ob__error("log", "%s", err);
		return -1;
	}
	return 0;
}

static int start_base(struct ob__node *node)
{
	const struct ob__nodeconf *c = node->conf;

	if (open_log(c, true) != 0) {
		return -1;
	}
	node->loop = ob__loop_new();
	node->stats = ob__stats_new();
	if (node->loop == NULL || node->stats == NULL ||
	    ob__streams_init(&node->streams, node->loop) != 0) {
		return OB_E_NOMEM;
	}
	ob__notify_watch(&node->notify, node->loop);
	node->masked_conf = ob__conf_masked(c->file, ob__nodeconf_rows);
	node->started_ms = ob__loop_now(node->loop);
	return node->masked_conf != NULL ? 0 : OB_E_NOMEM;
}

static void leave_check(void *arg);

/* Changes the environment, so it comes before there is a second thread. */
static void start_notify(struct ob__node *node)
{
	int rc = ob__notify_open(&node->notify);

	if (rc != 0) {
		ob__warning("node", "$NOTIFY_SOCKET can't be used, so nobody is told (%s)",
		            ob__strerror(rc));
	}
}

struct ob__node *ob__node_start(struct ob__nodeconf *conf, const char *const *extra_modules,
                                size_t extra_modules_len, int *exit_code)
{
	struct ob__node *node = calloc(1, sizeof(*node));
	const char *step = "base";

	*exit_code = OB__EXIT_FAILURE;
	if (node == NULL) {
		ob__nodeconf_free(conf);
		return NULL;
	}
	node->conf = conf;
	node->extra_modules = extra_modules;
	node->extra_modules_len = extra_modules_len;
	node->phase = OB__NODE_STARTING;
	node->lock_fd = -1;
	node->http_timeout_ms = HTTP_HELD_MS;
	ob__list_init(&node->modules);
	ob__timeout_init(&node->leave_timeout, leave_check, node);
	raise_fd_limit();
	keep_heap();
	signal(SIGPIPE, SIG_IGN);
	start_notify(node);
	if (start_base(node) != 0 || (step = "identity", start_identity(node)) != 0 ||
	    (step = "mesh", ob__mesh_start(node)) != 0 ||
	    (step = "routes", ob__conf_apply_routes(node)) != 0 ||
	    (step = "host", start_host(node)) != 0 ||
	    (step = "modules", start_modules(node)) != 0 ||
	    (step = "listeners", start_listeners(node)) != 0 ||
	    (step = "user", become_user(node)) != 0 ||
	    (step = "accept", start_accepting(node)) != 0) {
		*exit_code = node->conf_wrong ? OB__EXIT_USAGE : OB__EXIT_FAILURE;
		ob__error("node", "%s: not started (at %s)", conf->name, step);
		(void)ob__notify_send(&node->notify, OB__NOTIFY_SAME,
		                      "%s: not started (at %s), the log says why", conf->name,
		                      step);
		if (ob__node_free(node) != 0) {
			_exit(*exit_code); /* exit handlers would wait for what hangs */
		}
		return NULL;
	}
	ob__node_gauges(node);
	ob__cluster_gauges(node);
	ob__conf_keep(node);
	ob__policy_check(node);
	node->phase = OB__NODE_RUNNING;
	ob__node_tell(node, OB__NOTIFY_READY, NULL);
	ob__notice("node", "%s (%s) is running, pid %ld", conf->name, conf->role, (long)getpid());
	if (conf->log_dir != NULL) {
		(void)open_log(conf, false);
	}
	return node;
}

int ob__node_run(struct ob__node *node)
{
	ob__loop_run(node->loop);
	return node->exit_code;
}

/* ---- end ---- */

static bool all_closed(const struct ob__node *node)
{
	return node->clients.conns.live == 0 && node->works.jobs == 0 &&
	       ob__list_empty(&node->sessions.notice_list);
}

/* Whoever waits for something that won't come any more is told so while he is connected. */
static void tell_waiting(struct ob__node *node)
{
	node->told = true;
	ob__swap_stop(node);
	OB__LIST_EACH (it, &node->modules) {
		struct ob__module *m = OB__CONTAINER(it, struct ob__module, link);
		OB__LIST_EACH (gen, &m->gens) {
			ob__dispatch_refuse_held(OB__CONTAINER(gen, struct ob__gen, link),
			                         "the node stops");
		}
	}
	ob__streams_flush(&node->streams);
}

static void leave_check(void *arg)
{
	struct ob__node *node = arg;
	bool late = ob__loop_now(node->loop) >= node->leave_until;

	if (node->phase == OB__NODE_STOPPING && !node->told) {
		tell_waiting(node);
	} else if (node->phase == OB__NODE_STOPPING && (late || all_closed(node))) {
		ob__streams_flush(&node->streams);
		ob__loop_stop(node->loop);
		return;
	}
	ob__timeout_set(node->loop, &node->leave_timeout, STOP_POLL_MS);
}

void ob__node_quit(struct ob__node *node)
{
	struct ob__drain_options options = {
		.pace = OB__DRAIN_PACE_MAX,
		.deadline_ms = node->conf->reload.drain_ms,
		.stop = true,
		.keep = true,
	};

	if (options.deadline_ms == 0) {
		ob__node_stop(node);
	} else {
		(void)ob__drain_begin(node, &options);
	}
}

void ob__node_stop(struct ob__node *node)
{
	if (node->phase == OB__NODE_STOPPING) {
		return;
	}
	node->phase = OB__NODE_STOPPING;
	ob__cluster_leave(node);
	ob__node_tell(node, OB__NOTIFY_STOPPING, NULL);
	node->leave_until = ob__loop_now(node->loop) + STOP_MS;
	ob__drain_free(node);
	ob__clients_unlisten(node);
	ob__web_unlisten(node);
	ob__clients_close(node, OB__WS_GOING_AWAY, "the node stops");
	ob__timeout_set(node->loop, &node->leave_timeout, 0);
}

const char *ob__node_not_ready(const struct ob__node *node)
{
	switch (node->phase) {
	case OB__NODE_RUNNING:
		return NULL;
	case OB__NODE_STARTING:
		return "starting";
	case OB__NODE_DRAINING:
	case OB__NODE_LEAVING:
		return "draining";
	case OB__NODE_STOPPING:
		return "stopping";
	}
	return "unknown";
}

void ob__node_tell(struct ob__node *node, enum ob__notify_state state, const char *more)
{
	const char *what = state == OB__NOTIFY_RELOADING ? "reloading the configuration"
	                                                 : ob__node_not_ready(node);

	int rc = ob__notify_send(&node->notify, state, "%s (%s): %s%s", node->name, node->role,
	                         what != NULL ? what : "running", more != NULL ? more : "");
	if (rc != 0) {
		ob__warning("node", "can't tell the service manager anything (%s)",
		            ob__strerror(rc));
	}
}

/* What is still open is closed; a closed stream is gone within two turns. */
static void close_streams(struct ob__node *node)
{
	ob__streams_close(&node->streams);
	for (int turn = 0; turn < CLOSE_TURNS && node->streams.open > 0; turn++) {
		ob__loop_turn(node->loop);
	}
}

int ob__node_free(struct ob__node *node)
{
	int rc = 0;

	if (node == NULL) {
		return 0;
	}
	int hangs = ob__loader_free(node->loader);
	node->loader = NULL;
	ob__admin_close(node);
	ob__web_free(node);
	if (node->swap != NULL) {
		ob__clients_stop(node);
		ob__swap_stop_all(node);
		ob__dispatch_free(node);
	}
	ob__httpc_free(node->httpc);
	ob__listener_close(node->link_listener);
	ob__cluster_unlisten(node);
	ob__transports_free(node);
	if (node->links != NULL) {
		ob__timeout_clear(node->loop, &node->leave_timeout);
		ob__drain_free(node);
		ob__mesh_free(node);
	}
	if (node->streams.loop != NULL) {
		close_streams(node);
	}
	ob__notify_close(&node->notify);
	if (node->loop != NULL) {
		ob__streams_free(&node->streams);
		rc = ob__loop_free(node->loop);
	}
	rc = rc != 0 ? rc : hangs;
	if (rc != 0) { /* a module's code still runs elsewhere: what it can reach stays */
		ob__log_close();
		return rc;
	}
	ob__ignored_free(&node->ignored);
	ob__permits_free(&node->permits);
	ob__router_free(&node->router);
	ob__firsts_free(&node->firsts);
	ob__registry_free(&node->registry);
	ob__clients_free(node);
	ob__slots_free(&node->slots);
	ob__msgnames_free(&node->msgnames);
	ob__works_free(&node->works);
	ob__swap_free(node);
	ob__stats_free(node->stats);
	json_decref(node->masked_conf);
	if (node->lock_fd >= 0) {
		if (node->pid_path[0] != '\0') {
			unlink(node->pid_path);
		}
		close(node->lock_fd);
	}
	ob__log_close();
	ob__nodeconf_free(node->conf);
	free(node);
	return 0;
}
