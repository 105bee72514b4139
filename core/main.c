/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include <uv.h>

#include "base/conf.h"
#include "base/err.h"
#include "cmd/cmd.h"
#include "host/cluster/transport.h"
#include "host/conf/nodeconf.h"
#include "host/exit.h"
#include "host/node.h"
#include "host/swap/loader.h"

#define MODULES_MAX    64u
#define PROBE_MS       5000u
#define TRANSPORTS_MAX 64u
#define DEFAULT_CONF   OB_SYSCONF_DIR "/obhost.conf"

struct options {
	const char *conf;
	const char *prefix;
	const char *signal;
	const char *modules[MODULES_MAX];
	size_t modules_len;
	bool test;
	bool show;
	bool version;
	bool help;
};

static void usage(FILE *out)
{
	fputs("usage: obhost [-c FILE] [-p PREFIX] [-m MODULE]... [-t | -T | -V | -s SIGNAL]\n"
	      "       obhost COMMAND ...\n"
	      "\n"
	      "  -c FILE    configuration (default " DEFAULT_CONF ")\n"
	      "  -m MODULE  load one module more, by name or path; may be repeated\n"
	      "  -p PREFIX  directory that relative paths start from\n"
	      "  -s SIGNAL  tell the running node: stop, quit, reload or reopen\n"
	      "  -t         check the configuration and its modules, then exit\n"
	      "  -T         as -t, and show the configuration with secrets masked\n"
	      "  -V         show the version; --version\n"
	      "  -h         show this; --help\n"
	      "\n",
	      out);
	ob__commands_usage(out);
}

static int parse(struct options *o, int argc, char **argv)
{
	static const struct option longs[] = {
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'V'},
		{NULL, 0, NULL, 0},
	};
	int opt;

	while ((opt = getopt_long(argc, argv, "c:p:m:s:tTVh", longs, NULL)) != -1) {
		switch (opt) {
		case 'c':
			o->conf = optarg;
			break;
		case 'p':
			o->prefix = optarg;
			break;
		case 'm':
			if (o->modules_len == MODULES_MAX) {
				fprintf(stderr, "obhost: at most %u -m\n", MODULES_MAX);
				return -1;
			}
			o->modules[o->modules_len++] = optarg;
			break;
		case 's':
			o->signal = optarg;
			break;
		case 't':
			o->test = true;
			break;
		case 'T':
			o->test = o->show = true;
			break;
		case 'V':
			o->version = true;
			break;
		case 'h':
			o->help = true;
			break;
		default:
			usage(stderr);
			return -1;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "obhost: unexpected \"%s\"\n", argv[optind]);
		usage(stderr);
		return -1;
	}
	return 0;
}

static void show_version(void)
{
	printf("obhost %s (module ABI %d.%d; libuv %s, jansson %s)\n", PACKAGE_VERSION,
	       OB_ABI_MAJOR, OB_ABI_MINOR, uv_version_string(), jansson_version_str());
}

static void report_line(void *arg, enum ob__conf_severity severity, const char *line)
{
	static const char *const words[] = {[OB__CONF_ERROR] = "error",
	                                    [OB__CONF_WARNING] = "warning",
	                                    [OB__CONF_INFO] = "info"};

	(void)arg;
	fprintf(stderr, "obhost: %s: %s\n", words[severity], line);
}

/* ---- -t ---- */

static uint32_t any_role(void *arg, const char *word)
{
	(void)arg;
	return ob__fnv1a32(word);
}

struct role_words {
	const json_t *route;
};

/* The word behind a number, found again in the file: -t has no registry. */
static const char *any_word(void *arg, uint32_t id)
{
	const struct role_words *w = arg;
	static const char *const kinds[] = {"range", "special"};
	const char *word;
	json_t *value;

	for (size_t i = 0; i < 2; i++) {
		json_object_foreach (json_object_get(w->route, kinds[i]), word, value) {
			if (ob__fnv1a32(word) == id) {
				return word;
			}
		}
	}
	return "?";
}

static int test_module(struct ob__loader *loader, const struct ob__module_conf *m, unsigned number)
{
	struct ob__load_job job = {.op = OB__LOAD_WHOLE, .number = number};
	struct ob__load_job end = {.op = OB__LOAD_CLOSE};
	ob_err err = {""};

	snprintf(job.name, sizeof(job.name), "%s", m->name);
	snprintf(job.path, sizeof(job.path), "%s", m->path != NULL ? m->path : "");
	ob__loader_run(loader, &job);
	if (job.failed) {
		fprintf(stderr, "obhost: error: modules: %s: %s\n", m->name, job.refusal.message);
		return -1;
	}
	int rc = job.desc->check != NULL ? job.desc->check(m->conf, &err) : 0;
	if (rc != 0) {
		fprintf(stderr, "obhost: error: modules: %s: %s\n", m->name,
		        err.text[0] != '\0' ? err.text : ob__strerror(rc));
	}
	end.dl = job.dl;
	end.base = job.base;
	memcpy(end.staged, job.staged, sizeof(end.staged));
	ob__loader_run(loader, &end);
	return rc;
}

/* What the modules of the configuration offer, as their rehearsals tell. */
struct transports {
	char words[TRANSPORTS_MAX][64];
	const char *names[TRANSPORTS_MAX];
	size_t len;
};

static void add_transports(struct transports *t, char *list)
{
	char *rest = NULL;

	for (char *word = strtok_r(list, " ", &rest); word != NULL && t->len < TRANSPORTS_MAX;
	     word = strtok_r(NULL, " ", &rest)) {
		snprintf(t->words[t->len], sizeof(t->words[0]), "%s", word);
		t->names[t->len] = t->words[t->len];
		t->len++;
	}
}

static void rehearse_module(struct ob__loader *loader, const struct ob__module_conf *m,
                            unsigned number, struct transports *t)
{
	struct ob__load_job job = {.op = OB__LOAD_STAGE, .number = number};
	struct ob__load_job end = {.op = OB__LOAD_DISCARD};
	struct ob__load_refusal refusal = {.step = ""};
	char *conf = json_dumps(m->conf, JSON_COMPACT);

	snprintf(job.name, sizeof(job.name), "%s", m->name);
	snprintf(job.path, sizeof(job.path), "%s", m->path != NULL ? m->path : "");
	ob__loader_run(loader, &job);
	if (!job.failed && conf != NULL) {
		struct ob__probe probe = {
			.exe = "/proc/self/exe",
			.staged = job.staged,
			.file = job.file,
			.name = m->name,
			.conf = conf,
			.admin = m->admin,
			.timeout_ms = PROBE_MS,
		};
		if (ob__probe_run(&probe, &refusal) == 0) {
			add_transports(t, probe.transports);
		} else {
			fprintf(stderr, "obhost: warning: modules: %s\n", refusal.message);
		}
		memcpy(end.staged, job.staged, sizeof(end.staged));
		ob__loader_run(loader, &end);
	}
	free(conf);
}

static int test_transports(struct ob__loader *loader, const struct ob__nodeconf *c)
{
	static struct transports t;

	for (size_t i = 0; i < c->modules_len; i++) {
		rehearse_module(loader, &c->modules[i], (unsigned)(c->modules_len + i) + 1, &t);
	}
	return ob__transports_check_names(c, t.names, t.len, report_line, NULL);
}

static int test_modules(const struct ob__nodeconf *c)
{
	char stage[] = "/tmp/obhost-test-XXXXXX";
	char **dirs = ob__node_module_dirs(c);
	struct ob__loop *loop = ob__loop_new();
	struct ob__loader *loader = NULL;
	int failed = 0;

	if (mkdtemp(stage) == NULL) {
		fprintf(stderr, "obhost: error: %s: %s\n", stage, strerror(errno));
		failed = 1;
	} else if (dirs != NULL && loop != NULL) {
		loader = ob__loader_new(loop, stage, (const char *const *)dirs, NULL);
	}
	for (size_t i = 0; loader != NULL && i < c->modules_len; i++) {
		failed |= test_module(loader, &c->modules[i], (unsigned)i + 1);
	}
	if (loader != NULL && failed == 0 && ob__transports_used(c)) {
		failed = test_transports(loader, c);
	}
	ob__loader_free(loader);
	ob__loop_free(loop);
	ob__node_module_dirs_free(dirs);
	rmdir(stage);
	return loader != NULL ? failed : 1;
}

static int test_conf(const struct ob__nodeconf *c, bool show)
{
	struct role_words words = {ob__conf_get(c->root, "rpc.route")};
	struct ob__idrange *routes =
		ob__nodeconf_routes(c, any_role, any_word, &words, report_line, NULL);
	bool ok = routes != NULL;

	if (routes != NULL) {
		ob__idrange_free(routes);
		free(routes);
	}
	ok = test_modules(c) == 0 && ok;
	if (show) {
		json_t *masked = ob__conf_masked(c->file, ob__nodeconf_rows);
		json_dumpf(masked, stdout, JSON_INDENT(2));
		putchar('\n');
		json_decref(masked);
	}
	fprintf(stderr, "obhost: configuration %s is %s\n", c->path, ok ? "ok" : "NOT ok");
	return ok ? OB__EXIT_OK : OB__EXIT_USAGE;
}

/* ---- -s ---- */

static int signal_number(const char *word)
{
	static const struct {
		const char *word;
		int signum;
	} words[] = {
		{"stop", SIGTERM},
		{"quit", SIGQUIT},
		{"reload", SIGHUP},
		{"reopen", SIGUSR1},
	};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (strcmp(words[i].word, word) == 0) {
			return words[i].signum;
		}
	}
	return -1;
}

/* The pid in a file that a running node holds locked; 0 if none does. */
static long running_pid(const char *path)
{
	char text[32] = "";
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0) {
		return 0;
	}
	bool locked = flock(fd, LOCK_SH | LOCK_NB) != 0;
	ssize_t n = read(fd, text, sizeof(text) - 1);
	close(fd);
	return locked && n > 0 ? strtol(text, NULL, 10) : 0;
}

static int send_signal(const struct ob__nodeconf *c, const char *word)
{
	int signum = signal_number(word);
	char dir[512];
	char path[512];
	char err[256];

	if (signum < 0) {
		fprintf(stderr, "obhost: -s takes stop, quit, reload or reopen, not \"%s\"\n",
		        word);
		return OB__EXIT_USAGE;
	}
	if (ob__node_dir(c, dir, sizeof(dir), err, sizeof(err)) != 0) {
		fprintf(stderr, "obhost: %s\n", err);
		return OB__EXIT_FAILURE;
	}
	ob__node_lock_path(dir, path, sizeof(path));
	long pid = running_pid(path);
	if (pid <= 0) {
		fprintf(stderr, "obhost: no node %s is running (%s)\n", c->name, path);
		return OB__EXIT_FAILURE;
	}
	if (kill((pid_t)pid, signum) != 0) {
		fprintf(stderr, "obhost: can't signal %s, pid %ld: %s\n", c->name, pid,
		        strerror(errno));
		return OB__EXIT_FAILURE;
	}
	return OB__EXIT_OK;
}

int main(int argc, char **argv)
{
	struct options o = {.conf = DEFAULT_CONF};
	const struct ob__command *command = argc > 1 ? ob__command_find(argv[1]) : NULL;
	static char probe[PATH_MAX];
	int code;

	if (command != NULL) {
		char title[32];

		snprintf(title, sizeof(title), "obhost %s", command->word);
		argv[1] = title; /* what getopt's messages begin with */
		return command->run(argc - 1, argv + 1);
	}
	if (parse(&o, argc, argv) != 0) {
		return OB__EXIT_USAGE;
	}
	if (o.help) {
		usage(stdout);
		return OB__EXIT_OK;
	}
	if (o.version) {
		show_version();
		return OB__EXIT_OK;
	}
	if (o.prefix != NULL && chdir(o.prefix) != 0) {
		fprintf(stderr, "obhost: -p %s: %s\n", o.prefix, strerror(errno));
		return OB__EXIT_USAGE;
	}
	struct ob__nodeconf *c =
		ob__nodeconf_load(o.conf, o.modules, o.modules_len, report_line, NULL);
	if (c == NULL) {
		fprintf(stderr, "obhost: configuration %s is NOT ok\n", o.conf);
		return OB__EXIT_USAGE;
	}
	if (o.test || o.signal != NULL) {
		code = o.test ? test_conf(c, o.show) : send_signal(c, o.signal);
		ob__nodeconf_free(c);
		return code;
	}
	c->probe_exe = "/proc/self/exe";
	/* A sanitizer looks at what lies side by side in memory, so there the neighbours count. */
	if (OB_SANITIZER == 0) {
		(void)ob__command_program(probe, "core/obhost-probe", "obhost-probe");
		c->probe_program = probe; /* what is wrong with it the log says */
	}
	struct ob__node *node = ob__node_start(c, o.modules, o.modules_len, &code);
	if (node == NULL) {
		return code;
	}
	code = ob__node_run(node);
	if (ob__node_free(node) != 0) {
		_exit(code); /* exit handlers would meet the job's thread */
	}
	return code;
}
