/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * obhost swap-test: two builds of a module exchanged again and again in a real node, under the
 * load of clients that count what they get.
 */

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>
#include <obhost/obhost.h>

#include "tools/load.h"
#include "tools/testnode.h"

enum { EXIT_OK = 0, EXIT_BAD = 1, EXIT_USAGE = 2 };

enum {
	MAX_SWAPS = 1000000,
	MAX_MODULE = 256 << 20,
	ECHO_ID = 30000,
	SETTLE_S = 30, /* for a drain or another change to end */
	/* What the node may differ by from one moment to another, the module left aside. */
	RSS_SLACK_KIB = 4096,
	MAPS_SLACK = 16,
	FDS_SLACK = 2,
};

struct args {
	unsigned swaps;
	unsigned clients;
	unsigned depth;
	uint32_t id; /* 0: not given */
	const char *body;
	bool verify;
	const char *name;
	const char *conf;
	const char *files[2]; /* old, new */
};

struct build {
	uint8_t *data;
	size_t len;
	char name[64]; /* of the module, from its identity note */
};

struct test {
	struct args args;
	struct build builds[2];
	struct ob__testnode node;
	bool echo; /* the example echo answers */

	pthread_t thread;
	bool loading;
	struct ob__load_opts opts;
	struct ob__load_report report;
	char port[16];
	char *body;
	int rc; /* of the load */
	int stop;

	struct ob__testnode_use before;
	struct ob__testnode_use after;
	unsigned swapped;
	unsigned waited; /* reloads that had to be asked for again: something drained */
	double *ms;      /* of each swap */
	char why[640];
};

static volatile sig_atomic_t interrupted;

static void on_signal(int sig)
{
	(void)sig;
	interrupted = 1;
}

static int fail(struct test *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static int fail(struct test *t, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(t->why, sizeof(t->why), fmt, ap);
	va_end(ap);
	return -1;
}

static double now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

static void pause_ms(long ms)
{
	struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

	nanosleep(&ts, NULL);
}

/* ---- options ---- */

static const char usage_text[] =
	"usage: obhost swap-test [options] OLD.so NEW.so\n"
	"\n"
	"Starts a node of its own with the module OLD.so, lets clients send numbered messages, and\n"
	"exchanges it: old, new, old, ... Both may be the same file. No message may be lost, doubled\n"
	"or out of order, no connection closed; the node's memory, mappings and descriptors must stay\n"
	"as they were, and every generation that was replaced must be gone at the end.\n"
	"\n"
	"  -n COUNT     exchanges (20)\n"
	"  -c CLIENTS   connections (50)\n"
	"  -d DEPTH     messages in flight on each (4)\n"
	"  --id ID      the message to send, one of the module's; else the clients talk to the\n"
	"               example module echo in the same node, or are idle without that\n"
	"  --body JSON  its body (made up)\n"
	"  --verify     the answers give back the member \"seq\" of the body: match each by it\n"
	"  --name NAME  the module's name (default: what OLD.so says)\n"
	"  --conf FILE  JSON: more of the node's configuration, e.g.\n"
	"               {\"modules\": [\"proxy\", {\"name\": \"login\", \"conf\": {\"desc\": \"x\"}}]}\n"
	"  -h           this help\n"
	"\n"
	"exit status: 0 all was well, 1 it was not, 2 usage\n";

static int usage(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static int usage(const char *fmt, ...)
{
	va_list ap;

	fputs("obhost swap-test: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputs("\nTry 'obhost swap-test -h'.\n", stderr);
	return -1;
}

static int parse_count(const char *option, unsigned long max, unsigned *out)
{
	char *end;

	errno = 0;
	unsigned long v = strtoul(optarg, &end, 10);
	if (errno != 0 || end == optarg || *end != '\0' || v < 1 || v > max ||
	    strchr(optarg, '-') != NULL) {
		return usage("%s: '%s' is not a number from 1 to %lu", option, optarg, max);
	}
	*out = (unsigned)v;
	return 0;
}

enum { OPT_ID = 256, OPT_BODY, OPT_VERIFY, OPT_NAME, OPT_CONF };

static int parse_option(struct args *a, int opt)
{
	switch (opt) {
	case 'n':
		return parse_count("-n", MAX_SWAPS, &a->swaps);
	case 'c':
		return parse_count("-c", OB__LOAD_MAX_CONNS, &a->clients);
	case 'd':
		return parse_count("-d", OB__LOAD_MAX_DEPTH, &a->depth);
	case OPT_ID:
		return parse_count("--id", INT32_MAX, &a->id);
	case OPT_BODY:
		a->body = optarg;
		return 0;
	case OPT_VERIFY:
		a->verify = true;
		return 0;
	case OPT_NAME:
		a->name = optarg;
		return 0;
	case OPT_CONF:
		a->conf = optarg;
		return 0;
	default:
		return usage("wrong option");
	}
}

/* 0 to go on, 1 if all is done (help), -1 after a complaint. */
static int parse(struct args *a, int argc, char **argv)
{
	static const struct option longs[] = {
		{"id", required_argument, NULL, OPT_ID},
		{"body", required_argument, NULL, OPT_BODY},
		{"verify", no_argument, NULL, OPT_VERIFY},
		{"name", required_argument, NULL, OPT_NAME},
		{"conf", required_argument, NULL, OPT_CONF},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	int opt;

	while ((opt = getopt_long(argc, argv, "n:c:d:h", longs, NULL)) != -1) {
		if (opt == 'h') {
			fputs(usage_text, stdout);
			return 1;
		}
		if (parse_option(a, opt) != 0) {
			return -1;
		}
	}
	if (optind != argc - 2) {
		return usage("it takes two modules, OLD.so and NEW.so");
	}
	if ((a->body != NULL || a->verify) && a->id == 0) {
		return usage("--body and --verify belong to --id");
	}
	a->files[0] = argv[optind];
	a->files[1] = argv[optind + 1];
	return 0;
}

/* ---- the two builds ---- */

/* The module's name stands in its identity note, which has the host's name and a magic number. */
static void read_name(struct build *b)
{
	ob_note note;
	const size_t front = offsetof(ob_note, owner);
	const uint8_t *at = b->data;
	const uint8_t *end = b->data + b->len;

	while ((at = memmem(at, (size_t)(end - at), "obhost\0", 8)) != NULL) {
		if ((size_t)(at - b->data) >= front && (size_t)(end - at) >= sizeof(note) - front) {
			memcpy(&note, at - front, sizeof(note));
			if (note.type == 1 && note.magic == OB_MODULE_MAGIC &&
			    memchr(note.name, '\0', sizeof(note.name)) != NULL) {
				memcpy(b->name, note.name, sizeof(b->name));
				return;
			}
		}
		at++;
	}
}

static int read_build(struct test *t, unsigned i)
{
	const char *path = t->args.files[i];
	struct build *b = &t->builds[i];
	struct stat st;
	FILE *file = fopen(path, "re");

	if (file == NULL || fstat(fileno(file), &st) != 0) {
		int err = errno;
		if (file != NULL) {
			fclose(file);
		}
		return fail(t, "%s: %s", path, strerror(err));
	}
	if (!S_ISREG(st.st_mode) || st.st_size < 1 || st.st_size > MAX_MODULE) {
		fclose(file);
		return fail(t, "%s: that is no module", path);
	}
	b->len = (size_t)st.st_size;
	b->data = malloc(b->len);
	bool whole = b->data != NULL && fread(b->data, 1, b->len, file) == b->len;
	fclose(file);
	if (!whole) {
		return fail(t, "%s: it can't be read", path);
	}
	read_name(b);
	if (b->name[0] == '\0' && t->args.name == NULL) {
		return fail(t,
		            "%s: no identity note in it, so that is no module of obhost's ABI %d "
		            "(--name would say what its name is)",
		            path, OB_ABI_MAJOR);
	}
	return 0;
}

static int read_builds(struct test *t)
{
	if (read_build(t, 0) != 0 || read_build(t, 1) != 0) {
		return -1;
	}
	if (t->args.name != NULL) {
		return strlen(t->args.name) < sizeof(t->builds[0].name) &&
		                       strchr(t->args.name, '/') == NULL
		               ? 0
		               : fail(t, "--name %s: that is no module's name", t->args.name);
	}
	t->args.name = t->builds[0].name;
	if (strcmp(t->builds[0].name, t->builds[1].name) != 0) {
		return fail(t, "%s is module %s and %s is module %s: both must be the same module",
		            t->args.files[0], t->builds[0].name, t->args.files[1],
		            t->builds[1].name);
	}
	return 0;
}

/* Makes the build the module's file, whole, as an installer does. */
static int install(struct test *t, unsigned i)
{
	char temp[128];
	char path[256];
	const struct build *b = &t->builds[i];

	snprintf(temp, sizeof(temp), "%s/.new", t->node.modules);
	snprintf(path, sizeof(path), "%s/%s.so", t->node.modules, t->args.name);
	int fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
	if (fd < 0) {
		return fail(t, "%s: %s", temp, strerror(errno));
	}
	bool good = write(fd, b->data, b->len) == (ssize_t)b->len;
	good = close(fd) == 0 && good;
	if (!good || rename(temp, path) != 0) {
		return fail(t, "%s: %s", path, strerror(errno));
	}
	return 0;
}

/* ---- the node ---- */

static bool has_module(const json_t *modules, const char *name)
{
	size_t i;
	const json_t *entry;

	json_array_foreach (modules, i, entry) {
		const char *word = json_is_object(entry)
		                           ? json_string_value(json_object_get(entry, "name"))
		                           : json_string_value(entry);
		if (word != NULL && strcmp(word, name) == 0) {
			return true;
		}
	}
	return false;
}

static void add_module(json_t *modules, const char *name)
{
	if (!has_module(modules, name)) {
		json_array_append_new(modules, json_string(name));
	}
}

/* Where the example modules are: beside the program in its build tree, or installed. */
static bool find_echo(const char *program, char *dir, size_t cap)
{
	char path[PATH_MAX + 16];
	const char *slash = strrchr(program, '/');

	snprintf(dir, cap, "%.*s/examples/.libs", slash != NULL ? (int)(slash - program) : 0,
	         program);
	snprintf(path, sizeof(path), "%s/echo.so", dir);
	if (access(path, R_OK) == 0) {
		return true;
	}
	snprintf(dir, cap, "%s", OB_EXAMPLE_DIR);
	snprintf(path, sizeof(path), "%s/echo.so", dir);
	return access(path, R_OK) == 0;
}

static json_t *node_conf(struct test *t, const char *program)
{
	json_error_t err;
	char dir[PATH_MAX];
	json_t *conf = t->args.conf != NULL ? json_load_file(t->args.conf, 0, &err) : json_object();

	if (!json_is_object(conf)) {
		json_decref(conf);
		fail(t, "%s:%d: %s", t->args.conf, err.line,
		     err.text[0] != '\0' ? err.text : "not a JSON object");
		return NULL;
	}
	json_t *modules = json_object_get(conf, "modules");
	if (!json_is_array(modules)) {
		modules = json_pack("[s]", "proxy");
		json_object_set_new(conf, "modules", modules);
	}
	t->echo = t->args.id == 0 && find_echo(program, dir, sizeof(dir));
	if (t->echo) {
		json_t *dirs = json_object_get(conf, "module_dirs");
		if (!json_is_array(dirs)) {
			dirs = json_array();
			json_object_set_new(conf, "module_dirs", dirs);
		}
		json_array_append_new(dirs, json_string(dir));
		add_module(modules, "echo");
	}
	add_module(modules, t->args.name);
	json_t *more = json_pack("{s:s, s:s, s:{s:i, s:s, s:i}}", "type", "test", "log_level",
	                         "notice", "reload", "probation", 0, "rate", "0/s", "drain", 5);
	json_object_update_missing(conf, more);
	json_decref(more);
	return conf;
}

static int start_node(struct test *t)
{
	const char *program = getenv("OBHOST");

	if (program == NULL) {
		return fail(t, "it is started by `obhost swap-test`");
	}
	if (ob__testnode_init(&t->node) != 0) {
		return fail(t, "%s", t->node.why);
	}
	json_t *conf = node_conf(t, program);
	if (conf == NULL || install(t, 0) != 0) {
		json_decref(conf);
		return -1;
	}
	int rc = ob__testnode_start(&t->node, program, conf);
	json_decref(conf);
	return rc == 0 ? 0 : fail(t, "%s", t->node.why);
}

/* ---- the clients ---- */

/* The body with room for a number in front: {"seq":0000000000000000,...}. */
static char *numbered(const char *text)
{
	json_error_t err;
	json_t *body = json_loads(text, JSON_REJECT_DUPLICATES, &err);
	char *rest = NULL;
	char *out = NULL;

	if (json_is_object(body)) {
		json_object_del(body, "seq");
		rest = json_dumps(body, JSON_COMPACT);
	}
	json_decref(body);
	if (rest != NULL && asprintf(&out, "{\"seq\":0000000000000000%s%s",
	                             strcmp(rest, "{}") == 0 ? "" : ",", rest + 1) < 0) {
		out = NULL;
	}
	free(rest);
	return out;
}

static int set_load(struct test *t)
{
	struct ob__load_opts *o = &t->opts;

	snprintf(t->port, sizeof(t->port), "%d", t->node.port);
	*o = (struct ob__load_opts){
		.host = "127.0.0.1",
		.port = t->port,
		.path = "/",
		.conns = t->args.clients,
		.depth = t->args.depth,
		.id = t->args.id != 0 ? t->args.id : ECHO_ID,
		.body_len = 64,
		.seconds = 86400,
		.verify = t->args.id == 0 || t->args.verify,
		.check_code = t->args.id != 0,
	};
	if (t->args.id == 0 && !t->echo) {
		o->depth = 0;
		o->verify = false;
	}
	if (t->args.body == NULL) {
		return 0;
	}
	t->body = t->args.verify ? numbered(t->args.body) : strdup(t->args.body);
	if (t->body == NULL) {
		return fail(t, "--body: with --verify it must be a JSON object");
	}
	o->body = t->body;
	o->body_len = strlen(t->body);
	return 0;
}

static void *run_load(void *arg)
{
	struct test *t = arg;

	t->rc = ob__load_run(&t->opts, &t->report, &t->stop);
	return NULL;
}

static int start_load(struct test *t)
{
	if (set_load(t) != 0) {
		return -1;
	}
	if (pthread_create(&t->thread, NULL, run_load, t) != 0) {
		return fail(t, "no thread for the clients");
	}
	t->loading = true;
	return 0;
}

static void stop_load(struct test *t)
{
	if (t->loading) {
		__atomic_store_n(&t->stop, 1, __ATOMIC_SEQ_CST);
		pthread_join(t->thread, NULL);
		t->loading = false;
	}
}

static long long number(const json_t *body, const char *key)
{
	return json_integer_value(json_object_get(body, key));
}

/* Waits until all clients are connected. */
static int wait_clients(struct test *t)
{
	double end = now_ms() + SETTLE_S * 1e3;
	json_t *body;

	while (now_ms() < end && !interrupted) {
		if (ob__testnode_ask(&t->node, "node", NULL, &body) != 200) {
			json_decref(body);
			return fail(t, "%s", t->node.why);
		}
		long long n = number(body, "connections");
		json_decref(body);
		if (n >= t->args.clients) {
			return 0;
		}
		pause_ms(10);
	}
	return fail(t, "the clients can't connect");
}

/* ---- swapping ---- */

static const char *error_text(const json_t *body)
{
	const char *text = NULL;

	json_unpack((json_t *)body, "{s:{s:s}}", "error", "message", &text);
	return text != NULL ? text : "it does not say why";
}

/* One exchange. 0, 1 if the node asks for patience, -1. */
static int reload(struct test *t)
{
	const char *result = "";
	json_t *args = json_pack("{s:s, s:b}", "name", t->args.name, "force", 1);
	json_t *body;
	int status = ob__testnode_ask(&t->node, "modules.reload", args, &body);

	json_decref(args);
	json_unpack(body, "{s:s}", "result", &result);
	int rc = status == 200 && (strcmp(result, "switched") == 0 ||
	                           strcmp(result, "committed") == 0)
	                 ? 0
	         : status == 409 || status == 429 ? 1
	                                          : -1;
	if (status < 0) {
		fail(t, "%s", t->node.why);
	} else if (rc != 0) {
		fail(t, "exchange %u was refused with %d: %s", t->swapped + 1, status,
		     status == 200 ? result : error_text(body));
	}
	json_decref(body);
	return rc;
}

static int swap(struct test *t)
{
	double began = now_ms();
	double end = began + SETTLE_S * 1e3;

	if (install(t, (t->swapped + 1) % 2) != 0) {
		return -1;
	}
	int rc = reload(t);
	t->waited += rc == 1;
	while (rc == 1 && now_ms() < end && !interrupted) {
		pause_ms(20);
		began = now_ms();
		rc = reload(t);
	}
	if (rc == 0) {
		t->ms[t->swapped++] = now_ms() - began;
	}
	return rc == 0 ? 0 : -1;
}

/* How many generations that were replaced are still mapped, and how many of them for ever. */
static int old_generations(struct test *t, size_t *old, size_t *zombies)
{
	size_t i;
	size_t k;
	const json_t *module;
	const json_t *generation;
	json_t *body;

	*old = *zombies = 0;
	if (ob__testnode_ask(&t->node, "modules", NULL, &body) != 200) {
		json_decref(body);
		return fail(t, "%s", t->node.why);
	}
	json_array_foreach (json_object_get(body, "modules"), i, module) {
		json_array_foreach (json_object_get(module, "old"), k, generation) {
			const char *state = json_string_value(json_object_get(generation, "state"));
			*old += 1;
			*zombies += state != NULL && strcmp(state, "zombie") == 0;
		}
	}
	json_decref(body);
	return 0;
}

/* Waits until only the active generations are left, then sees what the process has. */
static int settle(struct test *t, struct ob__testnode_use *use)
{
	double end = now_ms() + SETTLE_S * 1e3;
	size_t old;
	size_t zombies;

	for (;;) {
		if (old_generations(t, &old, &zombies) != 0) {
			return -1;
		}
		if (zombies > 0) {
			return fail(t, "%zu generations can't be unmapped: obhost lint says why",
			            zombies);
		}
		if (old == 0) {
			break;
		}
		if (now_ms() > end || interrupted) {
			return fail(t, "%zu old generations do not end", old);
		}
		pause_ms(20);
	}
	return ob__testnode_use(&t->node, use) == 0 ? 0 : fail(t, "%s", t->node.why);
}

static int run_swaps(struct test *t)
{
	/* The first exchanges fill what the node keeps for the next ones. */
	unsigned warm = t->args.swaps < 8 ? t->args.swaps / 2 : 4;

	while (t->swapped < t->args.swaps) {
		if (interrupted) {
			return fail(t, "interrupted");
		}
		if (t->swapped == warm && settle(t, &t->before) != 0) {
			return -1;
		}
		if (swap(t) != 0) {
			return -1;
		}
	}
	return settle(t, &t->after);
}

/* ---- what came of it ---- */

static int check_load(struct test *t)
{
	const struct ob__load_report *r = &t->report;

	if (t->rc != 0) {
		return fail(t, "the clients: %s", r->why);
	}
	if (ob__load_errors(r) == 0) {
		return 0;
	}
	return fail(t,
	            "of %" PRIu64 " messages %" PRIu64 " were lost, %" PRIu64 " doubled, %" PRIu64
	            " out of order, %" PRIu64 " for somebody else, %" PRIu64
	            " without their number, %" PRIu64 " failed (first code %ld); %u connections "
	            "were closed%s%s",
	            r->sent, r->lost, r->duplicated, r->reordered, r->misdelivered, r->unreadable,
	            r->failed_codes, r->ncodes > 0 ? r->code[0].code : 0, r->broken,
	            r->broken > 0 ? ": " : "", r->broken > 0 ? r->why : "");
}

static int check_use(struct test *t)
{
	const struct ob__testnode_use *b = &t->before;
	const struct ob__testnode_use *a = &t->after;

#if OB_SANITIZER == 0
	/* A sanitizer keeps what is freed for a while. */
	if (a->rss_kib > b->rss_kib + RSS_SLACK_KIB) {
		return fail(t, "the node's memory has grown from %ld to %ld KiB", b->rss_kib,
		            a->rss_kib);
	}
	if (a->maps > b->maps + MAPS_SLACK) {
		return fail(t, "the node's mappings have grown from %ld to %ld", b->maps, a->maps);
	}
#endif
	if (a->staged > b->staged) {
		return fail(t, "%ld files of modules are mapped, %ld before", a->staged, b->staged);
	}
	if (a->fds > b->fds + FDS_SLACK) {
		return fail(t, "the node has %ld descriptors open, %ld before", a->fds, b->fds);
	}
	if (a->threads > b->threads) {
		return fail(t, "the node has %ld threads, %ld before", a->threads, b->threads);
	}
	return 0;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a;
	double y = *(const double *)b;

	return (x > y) - (x < y);
}

static void print_summary(struct test *t)
{
	const struct ob__testnode_use *b = &t->before;
	const struct ob__testnode_use *a = &t->after;

	qsort(t->ms, t->swapped, sizeof(*t->ms), by_value);
	printf("module        %s, %s and %s\n", t->args.name, t->args.files[0], t->args.files[1]);
	printf("exchanges     %u; median %.1f ms, longest %.1f ms; %u had to wait for a drain\n",
	       t->swapped, t->ms[t->swapped / 2], t->ms[t->swapped - 1], t->waited);
	if (t->opts.depth > 0) {
		printf("messages      %" PRIu64 " of id %" PRIu32 "; none lost, none doubled%s\n",
		       t->report.sent, t->opts.id, t->opts.verify ? ", all in order" : "");
	} else {
		printf("messages      none: --id says which to send\n");
	}
	printf("connections   %u; none closed\n", t->opts.conns);
	printf("memory        %ld KiB, %+ld\n", a->rss_kib, a->rss_kib - b->rss_kib);
	printf("mappings      %ld, %+ld; module files among them %ld, %+ld\n", a->maps,
	       a->maps - b->maps, a->staged, a->staged - b->staged);
	printf("descriptors   %ld, %+ld; threads %ld, %+ld\n", a->fds, a->fds - b->fds, a->threads,
	       a->threads - b->threads);
	printf("generations   all that were replaced are gone\n");
}

static int run(struct test *t)
{
	t->ms = calloc(t->args.swaps, sizeof(*t->ms));
	if (t->ms == NULL) {
		return fail(t, "out of memory");
	}
	if (read_builds(t) != 0 || start_node(t) != 0 || start_load(t) != 0 ||
	    wait_clients(t) != 0) {
		return -1;
	}
	int rc = run_swaps(t);
	stop_load(t);
	if (rc != 0 || check_load(t) != 0 || check_use(t) != 0) {
		return -1;
	}
	return ob__testnode_stop(&t->node) == 0 ? 0 : fail(t, "%s", t->node.why);
}

static void destroy(struct test *t)
{
	stop_load(t);
	ob__testnode_destroy(&t->node);
	free(t->ms);
	free(t->body);
	free(t->builds[0].data);
	free(t->builds[1].data);
}

int main(int argc, char **argv)
{
	static struct test t = {.args = {.swaps = 20, .clients = 50, .depth = 4}};
	struct sigaction sa = {.sa_handler = on_signal};
	int rc = parse(&t.args, argc, argv);

	if (rc != 0) {
		return rc < 0 ? EXIT_USAGE : EXIT_OK;
	}
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGHUP, &sa, NULL);
	rc = run(&t);
	if (rc == 0) {
		print_summary(&t);
	} else {
		fprintf(stderr, "obhost swap-test: %s\n", t.why);
		if (t.node.dir[0] != '\0') {
			ob__testnode_show_log(&t.node, stderr);
		}
	}
	destroy(&t);
	return rc == 0 ? EXIT_OK : EXIT_BAD;
}
