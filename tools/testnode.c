/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "tools/testnode.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <netinet/in.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define NAME       "swap_test"
#define PAUSE_NS   20000000L
#define READY_TRYS 1500 /* of PAUSE_NS: half a minute */
#define STOP_TRYS  3000
#define PORT_TRYS  5
#define ANSWER_S   60
#define LOG_SHOWN  4096
#define STAGED_MAX 256

static int fail(struct ob__testnode *node, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static int fail(struct ob__testnode *node, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(node->why, sizeof(node->why), fmt, ap);
	va_end(ap);
	return -1;
}

static void pause_a_bit(void)
{
	struct timespec ts = {.tv_nsec = PAUSE_NS};

	nanosleep(&ts, NULL);
}

/* ---- its folder ---- */

static void path_in(const struct ob__testnode *node, char *out, size_t cap, const char *name)
{
	snprintf(out, cap, "%s/%s", node->dir, name);
}

int ob__testnode_init(struct ob__testnode *node)
{
	const char *tmp = getenv("TMPDIR");

	memset(node, 0, sizeof(*node));
	/* The admin socket's path must fit an address. */
	if (tmp == NULL || *tmp != '/' || strlen(tmp) > 32) {
		tmp = "/tmp";
	}
	snprintf(node->dir, sizeof(node->dir), "%s/obhost-XXXXXX", tmp);
	if (mkdtemp(node->dir) == NULL) {
		int err = errno;
		node->dir[0] = '\0';
		return fail(node, "no scratch folder in %s (%s)", tmp, strerror(err));
	}
	path_in(node, node->modules, sizeof(node->modules), "modules");
	if (mkdir(node->modules, 0755) != 0) {
		return fail(node, "%s: %s", node->modules, strerror(errno));
	}
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	remove(path);
	return 0;
}

void ob__testnode_show_log(const struct ob__testnode *node, FILE *out)
{
	char path[128];
	char text[LOG_SHOWN];

	path_in(node, path, sizeof(path), "log");
	FILE *log = fopen(path, "re");
	if (log == NULL) {
		return;
	}
	if (fseek(log, -(long)sizeof(text), SEEK_END) != 0) {
		rewind(log);
	}
	size_t n = fread(text, 1, sizeof(text), log);
	fclose(log);
	fwrite(text, 1, n, out);
}

static bool log_says(const struct ob__testnode *node, const char *words)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	if (out == NULL) {
		return false;
	}
	ob__testnode_show_log(node, out);
	fclose(out);
	bool found = memmem(text, len, words, strlen(words)) != NULL;
	free(text);
	return found;
}

/* ---- starting ---- */

static int free_port(void)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int port = -1;

	if (fd >= 0 && bind(fd, (struct sockaddr *)&at, sizeof(at)) == 0 &&
	    getsockname(fd, (struct sockaddr *)&at, &len) == 0) {
		port = ntohs(at.sin_port);
	}
	if (fd >= 0) {
		close(fd);
	}
	return port;
}

static int write_conf(struct ob__testnode *node, const json_t *given)
{
	char path[128];
	char state[128];
	json_t *conf = json_deep_copy(given);
	json_t *websocket = json_object_get(conf, "websocket");
	json_t *dirs = json_object_get(conf, "module_dirs");

	node->port = free_port();
	path_in(node, path, sizeof(path), "conf");
	path_in(node, state, sizeof(state), "state");
	websocket = json_is_object(websocket) ? json_incref(websocket) : json_object();
	dirs = json_is_array(dirs) ? json_incref(dirs) : json_array();
	int rc = json_object_set_new(websocket, "port", json_integer(node->port)) |
	         json_array_insert_new(dirs, 0, json_string(node->modules)) |
	         json_object_set_new(conf, "websocket", websocket) |
	         json_object_set_new(conf, "module_dirs", dirs) |
	         json_object_set_new(conf, "name", json_string(NAME)) |
	         json_object_set_new(conf, "host", json_string("127.0.0.1")) |
	         json_object_set_new(conf, "state_dir", json_string(state));
	if (rc == 0) {
		rc = json_dump_file(conf, path, JSON_INDENT(2));
	}
	json_decref(conf);
	return rc == 0 && node->port > 0 ? 0 : fail(node, "%s: can't write it", path);
}

static int spawn(struct ob__testnode *node, const char *program)
{
	extern char **environ;
	posix_spawn_file_actions_t actions;
	char conf[128];
	char log[128];
	char *argv[] = {(char *)"obhost", (char *)"-c", conf, NULL};

	path_in(node, conf, sizeof(conf), "conf");
	path_in(node, log, sizeof(log), "log");
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_addopen(&actions, 1, log, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	posix_spawn_file_actions_adddup2(&actions, 1, 2);
	int rc = posix_spawn(&node->pid, program, &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	if (rc != 0) {
		node->pid = 0;
		return fail(node, "%s: %s", program, strerror(rc));
	}
	return 0;
}

static bool ended(struct ob__testnode *node, int *status)
{
	if (waitpid(node->pid, status, WNOHANG) != node->pid) {
		return false;
	}
	node->pid = 0;
	return true;
}

static int dial(struct ob__testnode *node)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	struct timeval limit = {.tv_sec = ANSWER_S};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(at.sun_path, sizeof(at.sun_path), "%s/state/" NAME "/admin.sock", node->dir);
	if (fd < 0) {
		return -1;
	}
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	if (connect(fd, (struct sockaddr *)&at, sizeof(at)) != 0) {
		close(fd);
		return -1;
	}
	node->admin = fdopen(fd, "r");
	if (node->admin == NULL) {
		close(fd);
		return -1;
	}
	return 0;
}

static bool is_ready(struct ob__testnode *node)
{
	json_t *body = NULL;

	if (node->admin == NULL && dial(node) != 0) {
		return false;
	}
	int status = ob__testnode_ask(node, "ready", NULL, &body);
	json_decref(body);
	return status == 200;
}

/* 0 ready, 1 a port was taken, -1 it did not start. */
static int wait_ready(struct ob__testnode *node)
{
	int status;

	for (int i = 0; i < READY_TRYS; i++) {
		if (is_ready(node)) {
			return 0;
		}
		if (ended(node, &status)) {
			return log_says(node, "address in use")
			               ? 1
			               : fail(node, "the node did not start; it said:");
		}
		pause_a_bit();
	}
	return fail(node, "the node did not get ready; it said:");
}

int ob__testnode_start(struct ob__testnode *node, const char *program, const json_t *conf)
{
	int rc = 1;

	for (int i = 0; i < PORT_TRYS && rc == 1; i++) {
		if (write_conf(node, conf) != 0 || spawn(node, program) != 0) {
			return -1;
		}
		rc = wait_ready(node);
	}
	return rc == 1 ? fail(node, "no free port") : rc;
}

/* ---- talking to it ---- */

static int send_question(const struct ob__testnode *node, const char *verb, const json_t *args)
{
	json_t *question = json_pack("{s:s, s:O*}", "verb", verb, "args", args);
	char *text = json_dumps(question, JSON_COMPACT);
	size_t len = text != NULL ? strlen(text) : 0;
	int rc = -1;

	json_decref(question);
	if (text != NULL) {
		text[len] = '\n'; /* the line's end instead of the text's */
		ssize_t n = send(fileno(node->admin), text, len + 1, MSG_NOSIGNAL);
		rc = n == (ssize_t)len + 1 ? 0 : -1;
	}
	free(text);
	return rc;
}

int ob__testnode_ask(struct ob__testnode *node, const char *verb, const json_t *args, json_t **body)
{
	json_error_t err;

	*body = NULL;
	if (node->admin == NULL || send_question(node, verb, args) != 0) {
		return fail(node, "%s: the node does not listen; it said:", verb);
	}
	json_t *answer = json_loadf(node->admin, JSON_DISABLE_EOF_CHECK, &err);
	if (answer == NULL) {
		return fail(node, "%s: no answer (%s); it said:", verb, err.text);
	}
	fgetc(node->admin); /* the line's end */
	*body = json_incref(json_object_get(answer, "body"));
	int status = (int)json_integer_value(json_object_get(answer, "status"));
	json_decref(answer);
	return status;
}

/* ---- what the system says of it ---- */

static void status_numbers(FILE *file, struct ob__testnode_use *use)
{
	char line[256];

	while (fgets(line, sizeof(line), file) != NULL) {
		if (strncmp(line, "VmRSS:", 6) == 0) {
			use->rss_kib = strtol(line + 6, NULL, 10);
		} else if (strncmp(line, "Threads:", 8) == 0) {
			use->threads = strtol(line + 8, NULL, 10);
		}
	}
}

/* A module's file is mapped in several pieces that follow one another. */
static void count_maps(FILE *file, const char *dir, struct ob__testnode_use *use)
{
	char *line = NULL;
	char last[PATH_MAX] = "";
	size_t cap = 0;

	while (getline(&line, &cap, file) > 0) {
		const char *path = strchr(line, '/');
		use->maps++;
		if (path != NULL && strncmp(path, dir, strlen(dir)) == 0 &&
		    strcmp(path, last) != 0) {
			use->staged++;
			snprintf(last, sizeof(last), "%s", path);
		}
	}
	free(line);
}

static long count_files(const char *path)
{
	DIR *dir = opendir(path);
	long n = 0;

	while (dir != NULL && readdir(dir) != NULL) {
		n++;
	}
	if (dir != NULL) {
		closedir(dir);
	}
	return n;
}

int ob__testnode_use(struct ob__testnode *node, struct ob__testnode_use *use)
{
	char path[64];

	memset(use, 0, sizeof(*use));
	snprintf(path, sizeof(path), "/proc/%d/status", (int)node->pid);
	FILE *file = fopen(path, "re");
	if (file == NULL) {
		return fail(node, "the node has gone; it said:");
	}
	status_numbers(file, use);
	fclose(file);
	snprintf(path, sizeof(path), "/proc/%d/maps", (int)node->pid);
	file = fopen(path, "re");
	if (file == NULL) {
		return fail(node, "%s: %s", path, strerror(errno));
	}
	count_maps(file, node->dir, use);
	fclose(file);
	snprintf(path, sizeof(path), "/proc/%d/fd", (int)node->pid);
	use->fds = count_files(path);
	return 0;
}

/* ---- the end ---- */

static void hang_up(struct ob__testnode *node)
{
	if (node->admin != NULL) {
		fclose(node->admin);
		node->admin = NULL;
	}
}

int ob__testnode_stop(struct ob__testnode *node)
{
	int status = -1;

	hang_up(node);
	if (node->pid == 0) {
		return 0;
	}
	kill(node->pid, SIGTERM);
	for (int i = 0; i < STOP_TRYS; i++) {
		if (ended(node, &status)) {
			return WIFEXITED(status) && WEXITSTATUS(status) == 0
			               ? 0
			               : fail(node, "the node ended with %s %d; it said:",
			                      WIFSIGNALED(status) ? "signal" : "status",
			                      WIFSIGNALED(status) ? WTERMSIG(status)
			                                          : WEXITSTATUS(status));
		}
		pause_a_bit();
	}
	return fail(node, "the node does not stop; it said:");
}

void ob__testnode_destroy(struct ob__testnode *node)
{
	hang_up(node);
	if (node->pid > 0) {
		kill(node->pid, SIGKILL);
		waitpid(node->pid, NULL, 0);
		node->pid = 0;
	}
	if (node->dir[0] != '\0') {
		nftw(node->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
		node->dir[0] = '\0';
	}
}
