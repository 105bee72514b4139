/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <obhost/obhost.h>

#include "cmd/cmd.h"
#include "cmd/template.h"
#include "host/exit.h"

#define TEMPLATE_MAX     65536u
#define NAME_MAX_LEN     40u
#define AUTHOR_MAX       100u
#define CODEC_PREFIX     "codec_"
#define TRANSPORT_PREFIX "transport_"
#define TEXT_OF(x)       #x
#define TEXT(x)          TEXT_OF(x)

enum kind {
	HANDLER = 1u << 0,
	CODEC = 1u << 1,
	POLICY = 1u << 2,
	LISTENER = 1u << 3,
	HTTP = 1u << 4,
	TRANSPORT = 1u << 5,
	ALL = HANDLER | CODEC | POLICY | LISTENER | HTTP | TRANSPORT,
};

static const struct {
	const char *word;
	unsigned kind;
} kinds[] = {
	{"handler", HANDLER},   {"codec", CODEC}, {"policy", POLICY},
	{"listener", LISTENER}, {"http", HTTP},   {"transport", TRANSPORT},
};

/* What a project is made of.  @KIND@ and @NAME@ stand in the paths, too. */
static const struct {
	const char *from;
	const char *to;
	unsigned kinds;
	mode_t mode;
} files[] = {
	{"common/README.md", "README.md", ALL, 0666},
	{"common/Makefile.am", "Makefile.am", ALL, 0666},
	{"common/autogen.sh", "autogen.sh", ALL, 0777},
	{"common/configure.ac", "configure.ac", ALL, 0666},
	{"common/gitignore", ".gitignore", ALL, 0666},
	{"common/node.sh", "test/node.sh", ALL, 0666},
	{"codec/line_client.c", "test/line_client.c", CODEC, 0666},
	{"listener/lint.json", "test/lint.json", LISTENER, 0666},
	{"listener/swap.json", "test/swap.json", LISTENER, 0666},
	{"@KIND@/module.c", "src/@NAME@.c", ALL, 0666},
	{"@KIND@/test_node.sh", "test/test_node.sh", ALL, 0777},
	{"@KIND@/test_unit.c", "test/test_unit.c", ALL, 0666},
};

#define FILES (sizeof(files) / sizeof(files[0]))

static const char *const folders[] = {"src", "test"};

struct project {
	const char *name;
	const char *kind_word;
	unsigned kind;
	const char *dir;
	const char *templates;
	char author[AUTHOR_MAX + 1];
	char year[16];
	char path[PATH_MAX]; /* of the project */
	struct ob__template_word words[12];
	size_t words_len;
};

static void usage(FILE *out)
{
	fputs("usage: obhost new NAME [--kind KIND] [--dir DIR] [--author NAME] [--templates DIR]\n"
	      "\n"
	      "Makes DIR/NAME, a complete project for a module: source, build, tests.\n"
	      "\n"
	      "  NAME             a letter, then letters, digits and '_'; lower case; at most 40\n"
	      "  -k, --kind KIND  handler (default): takes messages of clients\n"
	      "                   http: takes HTTP requests\n"
	      "                   codec: turns bytes into messages; NAME is codec_WORD\n"
	      "                   listener: opens a port of its own\n"
	      "                   policy: chooses the node a message goes to\n"
	      "                   transport: makes the sockets for links between nodes\n"
	      "  -d, --dir DIR    where (default: here)\n"
	      "  -a, --author N   who stands in the files (default: the user's name)\n"
	      "  --templates DIR  other templates; or $OBHOST_PROJECT_DIR\n"
	      "  -h, --help       show this\n",
	      out);
}

static int complain(int code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static int complain(int code, const char *fmt, ...)
{
	va_list ap;

	fputs("obhost new: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return code;
}

/* ---- what was asked for ---- */

static bool good_name(const char *name)
{
	size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_");

	return *name >= 'a' && *name <= 'z' && name[n] == '\0' && n <= NAME_MAX_LEN;
}

static bool own_module(const char *name)
{
	static const char *const own[] = {"proxy", "route", "service", "http_admin",
	                                  "codec_obespoir"};

	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++) {
		if (strcmp(own[i], name) == 0) {
			return true;
		}
	}
	return false;
}

static int check_name(const struct project *p)
{
	size_t prefix = strlen(CODEC_PREFIX);
	bool codec = strncmp(p->name, CODEC_PREFIX, prefix) == 0;

	if (!good_name(p->name)) {
		return complain(OB__EXIT_USAGE,
		                "\"%s\" is no name for a module: it begins with a letter and has "
		                "only a-z, 0-9 and '_', at most %u of them",
		                p->name, NAME_MAX_LEN);
	}
	if (own_module(p->name)) {
		return complain(OB__EXIT_USAGE,
		                "%s is one of obhost's own modules: choose another name", p->name);
	}
	if (p->kind == CODEC && (!codec || p->name[prefix] == '\0')) {
		return complain(OB__EXIT_USAGE,
		                "a listener finds its codec WORD in the module codec_WORD: "
		                "obhost new codec_%s --kind codec",
		                codec ? "word" : p->name);
	}
	return 0;
}

static int set_kind(struct project *p, const char *word)
{
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (strcmp(kinds[i].word, word) == 0) {
			p->kind_word = kinds[i].word;
			p->kind = kinds[i].kind;
			return 0;
		}
	}
	return complain(OB__EXIT_USAGE,
	                "--kind %s: there are handler, codec, policy, listener, http and transport",
	                word);
}

/* The name goes into comments and shell commands of no file, so only lines may not break. */
static int set_author(struct project *p, const char *name)
{
	size_t len = strlen(name);

	if (len == 0 || len > AUTHOR_MAX || strstr(name, "*/") != NULL) {
		return complain(OB__EXIT_USAGE, "--author: 1 to %u bytes, without \"*/\"",
		                AUTHOR_MAX);
	}
	for (size_t i = 0; i < len; i++) {
		if ((unsigned char)name[i] < ' ' || name[i] == 127) {
			return complain(OB__EXIT_USAGE, "--author: no control characters");
		}
	}
	memcpy(p->author, name, len + 1);
	return 0;
}

static void default_author(struct project *p)
{
	const struct passwd *user = getpwuid(geteuid());
	char name[AUTHOR_MAX + 1] = "";

	if (user != NULL && user->pw_gecos != NULL) {
		snprintf(name, sizeof(name), "%.*s", (int)strcspn(user->pw_gecos, ",*\n"),
		         user->pw_gecos);
	}
	if (name[0] == '\0' && user != NULL) {
		snprintf(name, sizeof(name), "%s", user->pw_name);
	}
	if (name[0] == '\0' || set_author(p, name) != 0) {
		snprintf(p->author, sizeof(p->author), "the authors");
	}
}

/* 0 to go on, -1 when all is said (help), or an exit status. */
static int parse(struct project *p, int argc, char **argv)
{
	static const struct option longs[] = {
		{"kind", required_argument, NULL, 'k'},
		{"dir", required_argument, NULL, 'd'},
		{"author", required_argument, NULL, 'a'},
		{"templates", required_argument, NULL, 't'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	int rc = 0;
	int opt;

	while (rc == 0 && (opt = getopt_long(argc, argv, "k:d:a:h", longs, NULL)) != -1) {
		switch (opt) {
		case 'k':
			rc = set_kind(p, optarg);
			break;
		case 'd':
			p->dir = optarg;
			break;
		case 'a':
			rc = set_author(p, optarg);
			break;
		case 't':
			p->templates = optarg;
			break;
		case 'h':
			usage(stdout);
			return -1;
		default:
			usage(stderr);
			return OB__EXIT_USAGE;
		}
	}
	if (rc == 0 && optind != argc - 1) {
		complain(0, optind == argc ? "the NAME is missing" : "there are several NAMEs");
		usage(stderr);
		return OB__EXIT_USAGE;
	}
	p->name = argv[optind];
	return rc != 0 ? rc : check_name(p);
}

/* ---- files ---- */

static int join(char *out, const char *dir, const char *name)
{
	int n = snprintf(out, PATH_MAX, "%s/%s", dir, name);

	if (n < 0 || n >= PATH_MAX) {
		return complain(OB__EXIT_FAILURE, "%.60s...: the path is too long", dir);
	}
	return 0;
}

/* The path of a template or of what becomes of it. */
static int file_path(const struct project *p, char *out, const char *dir, const char *name)
{
	char expanded[NAME_MAX_LEN + 64] = "";

	ob__template_expand(expanded, sizeof(expanded) - 1, name, strlen(name), p->words,
	                    p->words_len);
	return join(out, dir, expanded);
}

static int read_template(const char *path, char *text, size_t *len)
{
	FILE *file = fopen(path, "re");

	if (file == NULL) {
		return complain(OB__EXIT_FAILURE,
		                "%s: %s; the templates come with obhost's development package, "
		                "others are given by --templates or $OBHOST_PROJECT_DIR",
		                path, strerror(errno));
	}
	*len = fread(text, 1, TEMPLATE_MAX, file);
	bool bad = ferror(file) != 0;
	bool more = !bad && fgetc(file) != EOF;
	fclose(file);
	if (bad || more) {
		return complain(OB__EXIT_FAILURE, "%s: %s", path,
		                bad ? "it can't be read" : "too big for a template");
	}
	return 0;
}

static int write_file(const char *path, const char *data, size_t len, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);

	if (fd < 0) {
		return complain(OB__EXIT_FAILURE, "%s: %s", path, strerror(errno));
	}
	ssize_t n = write(fd, data, len);
	int err = n < 0 ? errno : ENOSPC;
	bool whole = n == (ssize_t)len;
	if (close(fd) != 0 && whole) {
		err = errno;
		whole = false;
	}
	return whole ? 0 : complain(OB__EXIT_FAILURE, "%s: %s", path, strerror(err));
}

static int stamp(const struct project *p, size_t i)
{
	char from[PATH_MAX];
	char to[PATH_MAX];
	char *text = malloc(TEMPLATE_MAX);
	char *out = NULL;
	size_t len = 0;
	int rc = OB__EXIT_FAILURE;

	if (text == NULL || file_path(p, from, p->templates, files[i].from) != 0 ||
	    file_path(p, to, p->path, files[i].to) != 0 || read_template(from, text, &len) != 0) {
		goto out;
	}
	size_t need = ob__template_expand(NULL, 0, text, len, p->words, p->words_len);
	out = malloc(need + 1);
	if (out == NULL) {
		goto out;
	}
	ob__template_expand(out, need, text, len, p->words, p->words_len);
	rc = write_file(to, out, need, files[i].mode);
out:
	free(out);
	free(text);
	return rc;
}

/* Takes away what was made of a project that could not be finished. */
static void unmake(const struct project *p)
{
	char path[PATH_MAX];

	for (size_t i = 0; i < FILES; i++) {
		if (file_path(p, path, p->path, files[i].to) == 0) {
			unlink(path);
		}
	}
	for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
		if (join(path, p->path, folders[i]) == 0) {
			rmdir(path);
		}
	}
	rmdir(p->path);
}

static int make_folders(const struct project *p)
{
	char path[PATH_MAX];

	if (mkdir(p->path, 0777) != 0) {
		int err = errno;
		return complain(OB__EXIT_FAILURE, "%s: %s%s", p->path, strerror(err),
		                err == EEXIST   ? "; choose another name or --dir"
		                : err == ENOENT ? "; make the directory first"
		                                : "");
	}
	for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
		if (join(path, p->path, folders[i]) != 0 || mkdir(path, 0777) != 0) {
			complain(OB__EXIT_FAILURE, "%s: %s", path, strerror(errno));
			unmake(p);
			return OB__EXIT_FAILURE;
		}
	}
	return 0;
}

static int make(const struct project *p)
{
	int rc = make_folders(p);

	if (rc != 0) {
		return rc;
	}
	for (size_t i = 0; i < FILES; i++) {
		if ((files[i].kinds & p->kind) != 0 && stamp(p, i) != 0) {
			unmake(p);
			return OB__EXIT_FAILURE;
		}
	}
	return 0;
}

static void settle(struct project *p)
{
	const char *env = getenv("OBHOST_PROJECT_DIR");
	time_t now = time(NULL);
	struct tm tm;
	const char *codec = p->name;
	const char *transport = p->name;
	size_t prefix = strlen(TRANSPORT_PREFIX);

	if (p->author[0] == '\0') {
		default_author(p);
	}
	if (p->templates == NULL) {
		p->templates = env != NULL && *env != '\0' ? env : OB_PROJECT_DIR;
	}
	if (p->kind == CODEC) {
		codec += strlen(CODEC_PREFIX);
	}
	if (strncmp(p->name, TRANSPORT_PREFIX, prefix) == 0 && p->name[prefix] != '\0') {
		transport += prefix;
	}
	snprintf(p->year, sizeof(p->year), "%d",
	         localtime_r(&now, &tm) != NULL ? 1900 + tm.tm_year : 1970);
	const struct ob__template_word words[] = {
		{"NAME", p->name},
		{"KIND", p->kind_word},
		{"AUTHOR", p->author},
		{"YEAR", p->year},
		{"CODEC", codec},
		{"TRANSPORT", transport},
		{"TEST_PROGRAMS", p->kind == CODEC ? "test/line_client" : ""},
		{"TEST_FILES", p->kind == LISTENER ? "test/lint.json test/swap.json" : ""},
		{"LINT_FLAGS", p->kind == LISTENER ? "-c $(srcdir)/test/lint.json" : ""},
		{"SWAP_FLAGS", p->kind == HANDLER    ? "--id 1000 --verify"
	                       : p->kind == LISTENER ? "--conf $(srcdir)/test/swap.json"
	                                             : ""},
		{"OBHOST_VERSION", PACKAGE_VERSION},
		{"OBHOST_ABI", TEXT(OB_ABI_MAJOR) "." TEXT(OB_ABI_MINOR)},
	};
	memcpy(p->words, words, sizeof(words));
	p->words_len = sizeof(words) / sizeof(words[0]);
}

int ob__cmd_new(int argc, char **argv)
{
	struct project p = {.kind_word = "handler", .kind = HANDLER, .dir = "."};
	int rc = parse(&p, argc, argv);

	if (rc != 0) {
		return rc < 0 ? OB__EXIT_OK : rc;
	}
	settle(&p);
	if (strcmp(p.dir, ".") == 0) {
		snprintf(p.path, sizeof(p.path), "%s", p.name);
	} else if (join(p.path, p.dir, p.name) != 0) {
		return OB__EXIT_FAILURE;
	}
	rc = make(&p);
	if (rc == 0) {
		printf("%s is a module of kind %s. Next:\n\n"
		       "  cd %s\n  ./autogen.sh\n  ./configure\n  make check\n",
		       p.name, p.kind_word, p.path);
	}
	return rc;
}
