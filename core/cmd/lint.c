/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "cmd/cmd.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>

#include <obhost/obhost.h>

#include "host/exit.h"
#include "host/swap/loader.h"
#include "host/swap/probe.h"
#include "lib/elf.h"

#define TIMEOUT_MS 5000

/* One file under examination. */
struct lint {
	const char *file;                                         /* as it was given */
	char path[sizeof(((struct ob__load_job *)NULL)->staged)]; /* absolute */
	const char *conf;                                         /* JSON text */
	bool own_conf;                                            /* it was given */
	ob_note note;
	char name[sizeof(((ob_note *)NULL)->name)];
	bool has_note;
	bool probed;
	int errors;
	struct ob__probe probe;
};

__attribute__((format(printf, 4, 5))) static void say(struct lint *l, const char *word,
                                                      const char *remedy, const char *fmt, ...)
{
	va_list ap;

	printf("%s: %s: ", l->file, word);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	if (remedy != NULL && remedy[0] != '\0') {
		printf("; %s", remedy);
	}
	putchar('\n');
	l->errors += strcmp(word, "error") == 0;
}

static void say_refusal(struct lint *l, const struct ob__load_refusal *r, const char *remedy)
{
	size_t len = strlen(r->file);
	const char *text = r->message;

	/* The line begins with the file already. */
	if (len > 0 && strncmp(text, r->file, len) == 0) {
		text += len;
		text += *text == ':';
		text += *text == ' ';
	}
	say(l, "error", remedy != NULL ? remedy : r->remedy, "%s", text);
}

/* ---- the file, byte by byte ---- */

static void look_inside(struct lint *l, const struct ob__elf_info *info)
{
	size_t at = offsetof(ob_note, magic);
	size_t len = sizeof(l->note) - at;

	if (info->note_len >= len) {
		memcpy((char *)&l->note + at, info->note, len);
		snprintf(l->name, sizeof(l->name), "%.*s", (int)sizeof(l->note.name), l->note.name);
		l->has_note = true;
	}
	/* The compiler's own, and the sanitizer's. */
	uint32_t own = OB_SANITIZER != 0 ? 2 : 1;
	if (info->constructors > own) {
		uint32_t n = info->constructors - own;
		say(l, "info", NULL,
		    "%u constructor%s while it is loaded, before the host can say no", n,
		    n == 1 ? " runs" : "s run");
	}
	if (info->has_runpath) {
		say(l, "warning", "link without -rpath", "it chooses where libraries come from: %s",
		    info->runpath);
	}
}

static int look_at_mode(struct lint *l, const struct stat *st)
{
	if (!S_ISREG(st->st_mode)) {
		say(l, "error", NULL, "not a regular file");
		return -1;
	}
	if (st->st_size == 0) {
		say(l, "error", "build it again", "empty");
		return -1;
	}
	if ((st->st_mode & (S_IWGRP | S_IWOTH)) != 0) {
		say(l, "warning", "chmod go-w",
		    "others may write to it: a node refuses such a file");
	}
	return 0;
}

/* ld.so takes a name with a slash as it is. */
static int find_path(struct lint *l)
{
	char *path = realpath(l->file, NULL);
	size_t len = path != NULL ? strlen(path) : 0;
	int err = path == NULL ? errno : (len < sizeof(l->path) ? 0 : ENAMETOOLONG);

	if (err == 0) {
		memcpy(l->path, path, len + 1);
	}
	free(path);
	errno = err;
	return err == 0 ? 0 : -1;
}

static int look_at_file(struct lint *l)
{
	struct ob__elf_fault fault;
	struct ob__elf_info info = {0};
	struct stat st;
	int fd = open(l->file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	int rc = -1;

	if (fd < 0 || fstat(fd, &st) != 0 || find_path(l) != 0) {
		say(l, "error", NULL, "%s", strerror(errno));
	} else if (look_at_mode(l, &st) == 0) {
		size_t len = (size_t)st.st_size;
		void *map = mmap(NULL, len, PROT_READ, MAP_PRIVATE, fd, 0);
		if (map == MAP_FAILED) {
			say(l, "error", NULL, "%s", strerror(errno));
		} else if (ob__elf_check(map, len, &fault, &info) != 0) {
			say(l, "error", fault.remedy, "%s: %s, expected %s", fault.what,
			    fault.found, fault.expected);
		} else {
			look_inside(l, &info);
			rc = 0;
		}
		if (map != MAP_FAILED) {
			munmap(map, len);
		}
	}
	if (fd >= 0) {
		close(fd);
	}
	return rc;
}

/* ---- the identity, the rehearsal ---- */

static int check_identity(struct lint *l)
{
	struct ob__load_job job = {.op = OB__LOAD_PREFLIGHT};

	snprintf(job.name, sizeof(job.name), "%s", l->name);
	snprintf(job.file, sizeof(job.file), "%s", l->file);
	memcpy(job.staged, l->path, sizeof(job.staged));
	ob__loader_run(NULL, &job);
	if (job.failed) {
		say_refusal(l, &job.refusal, NULL);
	}
	return job.failed ? -1 : 0;
}

static void rehearse(struct lint *l)
{
	struct ob__load_refusal r = {.step = ""};

	l->probe.staged = l->path;
	l->probe.file = l->file;
	l->probe.name = l->name;
	l->probe.conf = l->conf;
	l->probe.admin = true;
	l->probe.timeout_ms = TIMEOUT_MS;
	l->probe.exe = "/proc/self/exe";
	if (ob__probe_run(&l->probe, &r) != 0) {
		bool needs_conf = !l->own_conf &&
		                  (strcmp(r.code, "check") == 0 || strcmp(r.code, "start") == 0);
		say_refusal(l, &r, needs_conf ? "give its conf with -c" : NULL);
		return;
	}
	l->probed = true;
	if (l->probe.resident[0] == '\0' && (l->probe.flags & OB_MODULE_RESIDENT) != 0) {
		snprintf(l->probe.resident, sizeof(l->probe.resident), "its author says so");
	}
	if (l->probe.resident[0] != '\0') {
		say(l, "warning", "let stop() undo what start() did",
		    "each reload leaves a generation mapped: %s", l->probe.resident);
	}
	if (l->probe.notes[0] != '\0') {
		say(l, "info", NULL, "%s", l->probe.notes);
	}
}

static void verdict(const struct lint *l)
{
	const struct ob__probe *p = &l->probe;

	printf("%s: loads: %s", l->file, l->errors == 0 ? "yes" : "no");
	if (l->probed) {
		printf(", unloads: %s%s%s%s", p->resident[0] == '\0' ? "yes" : "no",
		       p->resident[0] != '\0' ? " (" : "", p->resident,
		       p->resident[0] != '\0' ? ")" : "");
	}
	if (l->has_note) {
		printf("; module %s, ABI %u.%u", l->name, l->note.abi_major, l->note.abi_minor);
	}
	if (l->probed) {
		printf("; provides %s; needs %s", p->provides[0] != '\0' ? p->provides : "nothing",
		       p->needs[0] != '\0' ? p->needs : "nothing");
	}
	if (l->probed && p->transports[0] != '\0') {
		printf("; transports %s", p->transports);
	}
	if (l->probed && p->brings[0] != '\0') {
		printf("; transports for clients %s", p->brings);
	}
	if (l->probed && p->listens[0] != '\0') {
		printf("; listens %s", p->listens);
	}
	if (l->probed && p->state_write != 0) {
		printf("; state: writes %u, reads from %u", p->state_write, p->state_read_min);
	} else if (l->probed) {
		printf("; no state of its own");
	}
	putchar('\n');
}

static int lint(const char *file, const char *conf, bool own_conf)
{
	struct lint l = {.file = file, .conf = conf, .own_conf = own_conf};

	if (look_at_file(&l) == 0 && check_identity(&l) == 0) {
		rehearse(&l);
	}
	verdict(&l);
	fflush(stdout);
	return l.errors;
}

/* ---- the command ---- */

/* The conf as text; NULL after a message. */
static char *read_conf(const char *path)
{
	json_error_t err;
	json_t *conf = path != NULL ? json_load_file(path, 0, &err) : json_object();

	if (conf == NULL || !json_is_object(conf)) {
		fprintf(stderr, "obhost lint: %s: %s\n", path,
		        conf == NULL ? err.text : "not an object");
		json_decref(conf);
		return NULL;
	}
	char *text = json_dumps(conf, JSON_COMPACT);
	json_decref(conf);
	return text;
}

static int usage(FILE *out, int code)
{
	fputs("usage: obhost lint [-c CONF.json] FILE.so...\n"
	      "\n"
	      "Would a node load and unload these modules?  Each file is read, rehearsed in a\n"
	      "child process, and reported: one line per finding, the last one is the verdict.\n"
	      "\n"
	      "  -c FILE  the module's conf, a JSON object (default {})\n"
	      "  -h       show this; --help\n",
	      out);
	return code;
}

int ob__cmd_lint(int argc, char **argv)
{
	const char *conf_path = NULL;
	static const struct option longs[] = {{"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
	int errors = 0;
	int opt;

	while ((opt = getopt_long(argc, argv, "c:h", longs, NULL)) != -1) {
		if (opt == 'h') {
			return usage(stdout, OB__EXIT_OK);
		}
		if (opt != 'c') {
			return usage(stderr, OB__EXIT_USAGE);
		}
		conf_path = optarg;
	}
	if (optind == argc) {
		fputs("obhost lint: no FILE.so is given\n", stderr);
		return usage(stderr, OB__EXIT_USAGE);
	}
	char *conf = read_conf(conf_path);
	if (conf == NULL) {
		return OB__EXIT_USAGE;
	}
	for (int i = optind; i < argc; i++) {
		errors += lint(argv[i], conf, conf_path != NULL);
	}
	free(conf);
	return errors > 0 ? OB__EXIT_FAILURE : OB__EXIT_OK;
}
