/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/* obbench: a load client for the seed's packets over WebSocket. Options, and what is printed. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/load.h"

enum { EXIT_OK = 0, EXIT_BAD_REPLIES = 1, EXIT_USAGE = 2 };

enum {
	OPT_JSON = 256,
	OPT_VERIFY,
	OPT_CHECK_CODE,
	OPT_RAMP,
	OPT_BODY,
	OPT_IDLE,
	OPT_FRAGMENTS,
	OPT_PIECES,
	OPT_VERSIONS,
	OPT_ANNOUNCE,
	OPT_BROADCAST,
	OPT_BATCH,
	OPT_CUTS,
};

struct args {
	struct ob__load_opts load;
	const char *given; /* the address as it was given */
	char target[512];  /* cut in place into host, port and path */
	char path[512];
	bool json;
	bool depth_set;
	bool warmup_set;
	bool seconds_set;
	bool size_set;
};

static volatile sig_atomic_t stopped;

static void on_signal(int sig)
{
	(void)sig;
	stopped = 1;
}

static const char usage_text[] =
	"usage: obbench [options] [ws://|wss://]HOST:PORT[/PATH]\n"
	"\n"
	"Load over WebSocket with seed packets: 12 bytes of header, then a JSON body; each packet is\n"
	"one binary message. A reply is the next packet with the same id on the same connection.\n"
	"With wss:// no certificate is refused.\n"
	"\n"
	"  -c N       connections (50)\n"
	"  -d N       messages in flight on each (1); 0 keeps idle connections;\n"
	"             with -R: the most one connection may owe (4096)\n"
	"  -s BYTES   size of the body (64), 0 to 16 MiB\n"
	"  -i ID      message id (20000)\n"
	"  -t SEC     how long to measure (10)\n"
	"  -w SEC     warm-up before that (1; 0 with -n)\n"
	"  -n TOTAL   stop after so many messages; without -t only this and silence end the run\n"
	"  -R RATE    open loop: RATE messages/s in all, latency from the time each was due\n"
	"  -p PID,... report the CPU time and context switches of these servers\n"
	"  --idle N       N more connections that send nothing and must stay open\n"
	"  --fragments N  each message is N WebSocket frames\n"
	"  --pieces MS    no frame is sent at once: every MS milliseconds each connection sends a\n"
	"                 few bytes, at random\n"
	"  --body TEXT    send this body\n"
	"  --verify       number the messages of each connection and check that every number comes\n"
	"                 back once and in order; needs -s of at least 40\n"
	"  --versions     count the replies by the number behind \"v\", and its changes\n"
	"  --check-code   count replies whose body has a \"code\" other than 200, by code\n"
	"  --ramp N       open N connections per second\n"
	"  --broadcast    with -c 1 and --idle N: what it sends comes to all N + 1, each arrival counts\n"
	"  --batch N      stop the servers of -p while N connections are made, and so on; the time\n"
	"                 to connect is that in which they run\n"
	"  --cuts N       cut all connections at once, and have all come back at once, N times\n"
	"  --announce     write \"connected\" to stderr when all connections are there\n"
	"  --json         print one JSON object\n"
	"  -h         this help          -V         version\n"
	"\n"
	"exit status: 0 all replies came and were right, 1 some did not, 2 usage or no connection\n";

static int usage(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static int usage(const char *fmt, ...)
{
	va_list ap;

	fputs("obbench: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputs("\nTry 'obbench -h'.\n", stderr);
	return -1;
}

/* ---- options ---- */

static int parse_number(const char *name, const char *text, double min, double max, double *out)
{
	char *end;

	errno = 0;
	*out = strtod(text, &end);
	if (errno || end == text || *end || !isfinite(*out) || *out < min || *out > max) {
		return usage("%s: '%s' is not a number from %.12g to %.12g", name, text, min, max);
	}
	return 0;
}

static int parse_count(const char *name, const char *text, double min, double max, uint64_t *out)
{
	double v;

	if (parse_number(name, text, min, max, &v) < 0) {
		return -1;
	}
	if (v != floor(v)) {
		return usage("%s: '%s' is not a whole number", name, text);
	}
	*out = (uint64_t)v;
	return 0;
}

static int parse_pids(struct ob__load_opts *o, char *text)
{
	uint64_t pid;
	char *save = NULL;

	for (char *one = strtok_r(text, ",", &save); one; one = strtok_r(NULL, ",", &save)) {
		struct ob__proc_use use;
		if (parse_count("-p", one, 1, 1 << 30, &pid) < 0) {
			return -1;
		}
		if (o->npids == OB__LOAD_MAX_PIDS) {
			return usage("-p: more than %d processes", OB__LOAD_MAX_PIDS);
		}
		if (ob__proc_read((pid_t)pid, &use) < 0) {
			return usage("-p: there is no process %s", one);
		}
		o->pids[o->npids++] = (pid_t)pid;
	}
	return 0;
}

static int parse_target(struct args *a, const char *text)
{
	char *at = a->target;

	a->given = text;
	a->load.tls = !strncmp(text, "wss://", 6);
	if (a->load.tls || !strncmp(text, "ws://", 5)) {
		text = strchr(text, '/') + 2;
	}
	if (strlen(text) >= sizeof(a->target)) {
		return usage("the address is too long");
	}
	strcpy(a->target, text);
	char *slash = strchr(at, '/');
	snprintf(a->path, sizeof(a->path), "%s", slash ? slash : "/");
	if (slash) {
		*slash = '\0';
	}
	char *colon = strrchr(at, ':');
	if (!colon || colon == at || !colon[1] || strpbrk(text, " \r\n")) {
		return usage("'%s' is not HOST:PORT[/PATH]", text);
	}
	*colon = '\0';
	if (*at == '[' && colon[-1] == ']') {
		at++;
		colon[-1] = '\0';
	}
	a->load.host = at;
	a->load.port = colon + 1;
	a->load.path = a->path;
	return 0;
}

static int parse_integer_option(struct args *a, int opt)
{
	struct ob__load_opts *o = &a->load;
	uint64_t v = 0;
	int rc = -1;

	switch (opt) {
	case 'c':
		rc = parse_count("-c", optarg, 1, OB__LOAD_MAX_CONNS, &v);
		o->conns = (unsigned)v;
		return rc;
	case 'd':
		rc = parse_count("-d", optarg, 0, OB__LOAD_MAX_DEPTH, &v);
		o->depth = (unsigned)v;
		a->depth_set = true;
		return rc;
	case 's':
		rc = parse_count("-s", optarg, 0, OB__LOAD_MAX_BODY, &v);
		o->body_len = (size_t)v;
		a->size_set = true;
		return rc;
	case 'i':
		rc = parse_count("-i", optarg, 1, INT32_MAX, &v);
		o->id = (uint32_t)v;
		return rc;
	case OPT_IDLE:
		rc = parse_count("--idle", optarg, 0, OB__LOAD_MAX_CONNS, &v);
		o->idle = (unsigned)v;
		return rc;
	case OPT_FRAGMENTS:
		rc = parse_count("--fragments", optarg, 1, OB__LOAD_MAX_FRAGMENTS, &v);
		o->fragments = (unsigned)v;
		return rc;
	case OPT_BATCH:
		rc = parse_count("--batch", optarg, 1, OB__LOAD_MAX_BATCH, &v);
		o->batch = (unsigned)v;
		return rc;
	case OPT_CUTS:
		rc = parse_count("--cuts", optarg, 1, OB__LOAD_MAX_CUTS, &v);
		o->cuts = (unsigned)v;
		return rc;
	case 'n':
		return parse_count("-n", optarg, 1, 1e9, &o->total);
	default:
		return -1;
	}
}

static int parse_option(struct args *a, int opt)
{
	struct ob__load_opts *o = &a->load;

	switch (opt) {
	case 't':
		a->seconds_set = true;
		return parse_number("-t", optarg, 0.01, 86400, &o->seconds);
	case 'w':
		a->warmup_set = true;
		return parse_number("-w", optarg, 0, 3600, &o->warmup);
	case 'R':
		return parse_number("-R", optarg, 0.001, 1e8, &o->rate);
	case 'p':
		return parse_pids(o, optarg);
	case OPT_RAMP:
		return parse_number("--ramp", optarg, 0.1, 1e6, &o->ramp);
	case OPT_PIECES:
		return parse_number("--pieces", optarg, 0.1, 60000, &o->pieces);
	case OPT_BODY:
		o->body = optarg;
		return 0;
	case OPT_JSON:
		a->json = true;
		return 0;
	case OPT_VERIFY:
		o->verify = true;
		return 0;
	case OPT_CHECK_CODE:
		o->check_code = true;
		return 0;
	case OPT_VERSIONS:
		o->versions = true;
		return 0;
	case OPT_ANNOUNCE:
		o->announce = true;
		return 0;
	case OPT_BROADCAST:
		o->broadcast = true;
		return 0;
	case '?':
		return usage("wrong option");
	default:
		return parse_integer_option(a, opt);
	}
}

static int settle(struct args *a)
{
	struct ob__load_opts *o = &a->load;

	if (o->rate > 0 && !a->depth_set) {
		o->depth = 4096;
	}
	if (o->total && !a->warmup_set) {
		o->warmup = 0;
	}
	if (o->total && !a->seconds_set) {
		o->seconds = 0;
	}
	if (!o->depth && (o->rate > 0 || o->total)) {
		return usage("-d 0 keeps idle connections: it does not go with -n or -R");
	}
	if (o->broadcast && (o->conns != 1 || !o->depth || o->verify)) {
		return usage("--broadcast needs -c 1 and does not go with -d 0 or --verify");
	}
	if (o->batch && (!o->npids || o->tls || o->ramp > 0)) {
		return usage("--batch needs -p and does not go with wss:// or --ramp");
	}
	if (o->body && (o->verify || a->size_set)) {
		return usage("--body does not go with --verify or -s");
	}
	if (o->body) {
		o->body_len = strlen(o->body);
	}
	if (o->verify && o->body_len < OB__LOAD_MIN_VERIFY) {
		return usage("--verify needs -s of at least %d", OB__LOAD_MIN_VERIFY);
	}
	return 0;
}

/* 0 to go on, 1 if all is done (help), -1 after a complaint. */
static int parse_args(struct args *a, int argc, char **argv)
{
	static const struct option longs[] = {
		{"json", no_argument, NULL, OPT_JSON},
		{"verify", no_argument, NULL, OPT_VERIFY},
		{"check-code", no_argument, NULL, OPT_CHECK_CODE},
		{"ramp", required_argument, NULL, OPT_RAMP},
		{"body", required_argument, NULL, OPT_BODY},
		{"idle", required_argument, NULL, OPT_IDLE},
		{"fragments", required_argument, NULL, OPT_FRAGMENTS},
		{"pieces", required_argument, NULL, OPT_PIECES},
		{"versions", no_argument, NULL, OPT_VERSIONS},
		{"announce", no_argument, NULL, OPT_ANNOUNCE},
		{"broadcast", no_argument, NULL, OPT_BROADCAST},
		{"batch", required_argument, NULL, OPT_BATCH},
		{"cuts", required_argument, NULL, OPT_CUTS},
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'V'},
		{NULL, 0, NULL, 0},
	};

	for (;;) {
		int opt = getopt_long(argc, argv, "c:d:s:i:t:w:n:R:p:hV", longs, NULL);
		if (opt < 0) {
			break;
		}
		if (opt == 'h' || opt == 'V') {
			fputs(opt == 'h' ? usage_text : "obbench (obhost) " PACKAGE_VERSION "\n",
			      stdout);
			return 1;
		}
		if (parse_option(a, opt) < 0) {
			return -1;
		}
	}
	if (optind != argc - 1) {
		return usage("%s", optind < argc ? "more than one address" : "no address");
	}
	return parse_target(a, argv[optind]) < 0 || settle(a) < 0 ? -1 : 0;
}

/* ---- results ---- */

struct totals {
	double rate;
	double self_us; /* per message, as all of these */
	double servers_us;
	double servers_switches;
	unsigned unknown; /* servers whose use could not be read */
};

static double use_us(const struct ob__proc_use *use)
{
	return use->user_us + use->sys_us;
}

/* What is shared out among the messages; with none of them, everything is shown as 0. */
static double share(const struct ob__load_report *r)
{
	return r->done ? (double)r->done : INFINITY;
}

static struct totals sum_up(const struct args *a, const struct ob__load_report *r)
{
	struct totals t = {0};
	double n = share(r);

	t.rate = r->elapsed > 0 ? (double)r->done / r->elapsed : 0;
	t.self_us = use_us(&r->self) / n;
	for (unsigned i = 0; i < a->load.npids; i++) {
		if (!r->server[i].known) {
			t.unknown++;
			continue;
		}
		t.servers_us += use_us(&r->server[i].use) / n;
		t.servers_switches += (double)r->server[i].use.switches / n;
	}
	return t;
}

static double lat_us(const struct ob__load_report *r, double q)
{
	return (double)ob__lat_quantile(&r->lat, q) / 1000;
}

static double mean_us(const struct ob__load_report *r)
{
	return r->lat.count ? (double)r->lat.sum / (double)r->lat.count / 1000 : 0;
}

static void print_errors(const struct ob__load_report *r)
{
	const struct {
		uint64_t count;
		const char *name;
	} row[] = {
		{r->lost, "lost"},
		{r->duplicated, "duplicated"},
		{r->reordered, "out of order"},
		{r->misdelivered, "for another connection"},
		{r->unreadable, "without a sequence number"},
		{r->overrun, "due but not sent (too much owed)"},
		{r->failed_codes, "with a code other than 200"},
		{r->broken, "connections broken"},
	};

	if (!ob__load_errors(r)) {
		printf("errors        none in %" PRIu64 " messages\n", r->sent);
		return;
	}
	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		if (row[i].count) {
			printf("errors        %" PRIu64 " %s\n", row[i].count, row[i].name);
		}
	}
	for (unsigned i = 0; i < r->ncodes; i++) {
		printf("  code %-7ld %" PRIu64 "\n", r->code[i].code, r->code[i].count);
	}
	if (r->broken) {
		printf("  first       %s\n", r->why);
	}
}

static void print_versions(const struct ob__load_report *r)
{
	for (unsigned i = 0; i < r->nversions; i++) {
		printf("version       %ld: %" PRIu64 "\n", r->version[i].code, r->version[i].count);
	}
}

static void print_servers(const struct args *a, const struct ob__load_report *r,
                          const struct totals *t)
{
	double n = share(r);

	if (a->load.npids) {
		printf("  servers     %.3f, %.4f context switches/msg%s\n", t->servers_us,
		       t->servers_switches, t->unknown ? " (incomplete)" : "");
	}
	for (unsigned i = 0; i < a->load.npids; i++) {
		if (!r->server[i].known) {
			printf("    %-9d gone\n", (int)a->load.pids[i]);
			continue;
		}
		printf("    %-9d %.3f (user %.3f, sys %.3f), %.4f context switches/msg\n",
		       (int)a->load.pids[i], use_us(&r->server[i].use) / n,
		       r->server[i].use.user_us / n, r->server[i].use.sys_us / n,
		       (double)r->server[i].use.switches / n);
	}
}

static void print_text(const struct args *a, const struct ob__load_report *r)
{
	const struct ob__load_opts *o = &a->load;
	struct totals t = sum_up(a, r);

	printf("%s  %u connection%s, ", a->given, o->conns, o->conns == 1 ? "" : "s");
	if (o->rate > 0) {
		printf("open loop at %.6g/s, ", o->rate);
	} else {
		printf("closed loop, depth %u, ", o->depth);
	}
	printf("body %zu B, id %" PRIu32 "%s\n", o->body_len, o->id,
	       r->interrupted ? " (interrupted)" : "");
	if (o->idle) {
		printf("idle          %u more connections\n", o->idle);
	}
	printf("connected     in %.3f s\n", r->connect_seconds);
	if (o->batch) {
		printf("  servers     %.3f us of CPU time for each\n", r->accept_us);
	}
	if (o->cuts) {
		printf("came back     in %.3f s at most, p50 %.1f ms, max %.1f ms\n",
		       r->back_seconds, (double)ob__lat_quantile(&r->back, .5) / 1e6,
		       (double)r->back.max / 1e6);
	}
	printf("messages/s    %.0f (%" PRIu64 " in %.3f s)\n", t.rate, r->done, r->elapsed);
	printf("latency us    p50 %.1f  p99 %.1f  p99.9 %.1f  max %.1f  mean %.1f\n", lat_us(r, .5),
	       lat_us(r, .99), lat_us(r, .999), (double)r->lat.max / 1000, mean_us(r));
	printf("cpu us/msg\n  obbench     %.3f\n", t.self_us);
	print_servers(a, r, &t);
	if (r->other_ids) {
		printf("other ids     %" PRIu64 " packets\n", r->other_ids);
	}
	print_versions(r);
	print_errors(r);
}

static void json_string(const char *s)
{
	putchar('"');
	for (; *s; s++) {
		unsigned char ch = (unsigned char)*s;
		if (ch == '"' || ch == '\\') {
			printf("\\%c", ch);
		} else if (ch < 0x20 || ch >= 0x7f) {
			printf("\\u%04x", ch);
		} else {
			putchar(ch);
		}
	}
	putchar('"');
}

static void json_servers(const struct args *a, const struct ob__load_report *r)
{
	double n = share(r);

	printf(",\"servers\":[");
	for (unsigned i = 0; i < a->load.npids; i++) {
		const struct ob__proc_use *use = &r->server[i].use;
		printf("%s{\"pid\":%d", i ? "," : "", (int)a->load.pids[i]);
		if (r->server[i].known) {
			printf(",\"user_us\":%.4f,\"sys_us\":%.4f,\"switches\":%.5f",
			       use->user_us / n, use->sys_us / n, (double)use->switches / n);
		} else {
			printf(",\"gone\":true");
		}
		putchar('}');
	}
	putchar(']');
}

static void json_counts(const char *name, const struct ob__load_code *table, unsigned len)
{
	printf(",\"%s\":{", name);
	for (unsigned i = 0; i < len; i++) {
		printf("%s\"%ld\":%" PRIu64, i ? "," : "", table[i].code, table[i].count);
	}
	putchar('}');
}

static void json_errors(const struct ob__load_report *r)
{
	printf(",\"errors\":%" PRIu64 ",\"lost\":%" PRIu64 ",\"duplicated\":%" PRIu64,
	       ob__load_errors(r), r->lost, r->duplicated);
	printf(",\"reordered\":%" PRIu64 ",\"misdelivered\":%" PRIu64 ",\"unreadable\":%" PRIu64,
	       r->reordered, r->misdelivered, r->unreadable);
	printf(",\"overrun\":%" PRIu64 ",\"broken\":%u,\"other_ids\":%" PRIu64, r->overrun,
	       r->broken, r->other_ids);
	json_counts("codes", r->code, r->ncodes);
	json_counts("versions", r->version, r->nversions);
	printf(",\"version_changes\":%" PRIu64 ",\"why\":", r->version_changes);
	json_string(r->why);
}

static void print_json(const struct args *a, const struct ob__load_report *r)
{
	const struct ob__load_opts *o = &a->load;
	struct totals t = sum_up(a, r);

	printf("{\"mode\":\"%s\",\"connections\":%u,\"idle\":%u,\"depth\":%u,\"rate\":%.6g,\"body\":%zu,"
	       "\"id\":%" PRIu32,
	       o->rate > 0 ? "open" : "closed", o->conns, o->idle, o->depth, o->rate, o->body_len,
	       o->id);
	printf(",\"interrupted\":%s,\"connect_s\":%.6f,\"elapsed_s\":%.6f",
	       r->interrupted ? "true" : "false", r->connect_seconds, r->elapsed);
	printf(",\"accept_cpu_us\":%.4f,\"back_s\":%.6f,\"back_ms\":{\"p50\":%.3f,\"max\":%.3f}",
	       r->accept_us, r->back_seconds, (double)ob__lat_quantile(&r->back, .5) / 1e6,
	       (double)r->back.max / 1e6);
	printf(",\"sent\":%" PRIu64 ",\"answered\":%" PRIu64 ",\"messages\":%" PRIu64
	       ",\"msgs_per_s\":%.3f",
	       r->sent, r->answered, r->done, t.rate);
	printf(",\"latency_us\":{\"p50\":%.3f,\"p99\":%.3f,\"p999\":%.3f,\"max\":%.3f,"
	       "\"mean\":%.3f}",
	       lat_us(r, .5), lat_us(r, .99), lat_us(r, .999), (double)r->lat.max / 1000,
	       mean_us(r));
	printf(",\"client_cpu_us\":%.4f,\"server_cpu_us\":%.4f,\"server_switches\":%.5f", t.self_us,
	       t.servers_us, t.servers_switches);
	json_servers(a, r);
	json_errors(r);
	puts("}");
}

int main(int argc, char **argv)
{
	static struct args a = {
		.load =
			{
				.conns = 50,
				.depth = 1,
				.body_len = 64,
				.id = 20000,
				.warmup = 1,
				.seconds = 10,
			},
	};
	static struct ob__load_report report;
	struct sigaction sa = {.sa_handler = on_signal};
	int rc = parse_args(&a, argc, argv);

	if (rc) {
		return rc < 0 ? EXIT_USAGE : EXIT_OK;
	}
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	if (ob__load_run(&a.load, &report, &stopped) < 0) {
		fprintf(stderr, "obbench: %s: %s\n", a.given, report.why);
		return EXIT_USAGE;
	}
	if (a.json) {
		print_json(&a, &report);
	} else {
		print_text(&a, &report);
	}
	return ob__load_errors(&report) ? EXIT_BAD_REPLIES : EXIT_OK;
}
