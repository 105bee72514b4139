/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * `obhost stubs FILE`: a C header from a declaration of methods, with which a call to another node
 * reads like one to a function of one's own, and its handler finds its arguments typed.
 *
 *     {"namespace": "user", "role": "game", "module": "rank", "methods": {
 *         "add": {"args": {"player": "string", "points": "int"}, "result": {"rank": "int"}}}}
 *
 * Everything is checked before the first line is written, so that what comes out compiles: as C and
 * as C++, with all warnings.
 */

#include "cmd/cmd.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#define NAME_MAX_LEN    64u
#define MEMBERS_MAX     64u
#define METHODS_MAX     1000u
#define METHOD_NAME_MAX 255u

/* How a type is written in JSON's declaration, in C, and read from and made into JSON. */
struct type {
	const char *word;
	const char *c;
	const char *is;    /* what must hold of the value v_ */
	const char *get;   /* of v_ */
	const char *make;  /* a new reference of the parameter that comes behind it */
	const char *close; /* and what ends that */
	bool optional;     /* NULL stands for one that is not there */
};

static const struct type types[] = {
	{"string", "const char *", "json_is_string(v_)", "json_string_value(v_)", "json_string(",
         ")", false},
	{"string?", "const char *", "v_ == NULL || json_is_null(v_) || json_is_string(v_)",
         "json_string_value(v_)", "json_string(", ")", true},
	{"int", "json_int_t ", "json_is_integer(v_)", "json_integer_value(v_)", "json_integer(",
         ")", false},
	{"number", "double ", "json_is_number(v_)", "json_number_value(v_)", "json_real(", ")",
         false},
	{"bool", "bool ", "json_is_boolean(v_)", "json_is_true(v_)", "json_boolean(", ")", false},
	{"json", "const json_t *", "v_ != NULL", "v_", "json_incref((json_t *)(uintptr_t)", ")",
         false},
	{"json?", "const json_t *", "v_ == NULL || v_ != NULL", "v_",
         "json_incref((json_t *)(uintptr_t)", ")", true},
};

/* Taken by C, by C++, or by what is written around the declared names. */
static const char *const reserved[] = {
	"alignas",  "alignof", "and",      "arg",       "asm",    "auto",     "bool",   "break",
	"call",     "case",    "catch",    "char",      "class",  "code",     "const",  "constexpr",
	"continue", "ctx",     "decltype", "default",   "delete", "do",       "double", "else",
	"enum",     "errno",   "explicit", "export",    "extern", "false",    "float",  "fn",
	"for",      "friend",  "goto",     "how",       "if",     "inline",   "int",    "linux",
	"long",     "main",    "mutable",  "namespace", "new",    "noexcept", "not",    "nullptr",
	"operator", "or",      "private",  "protected", "public", "register", "req",    "restrict",
	"return",   "short",   "signed",   "sizeof",    "static", "stderr",   "stdin",  "stdout",
	"struct",   "switch",  "template", "text",      "this",   "throw",    "to",     "true",
	"try",      "typedef", "typeid",   "typename",  "typeof", "union",    "unix",   "unsigned",
	"using",    "virtual", "void",     "volatile",  "while",  "xor",
};

/* What stands behind a method's name in the names made from it. */
static const char *const suffixes[] = {
	"_args", "_args_get", "_args_read", "_result", "_result_get",
	"_fn",   "_kept",     "_ended",     "_reply",  "_METHOD",
};

struct stubs {
	const char *file;
	const char *name_space;
	const char *role;
	const char *module;
	json_t *methods;
	FILE *out;
};

/* ---- checking ---- */

static int wrong(const struct stubs *s, const char *path, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static int wrong(const struct stubs *s, const char *path, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "obhost: stubs: %s: %s: ", s->file, path);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return -1;
}

static bool is_reserved(const char *name)
{
	for (size_t i = 0; i < sizeof(reserved) / sizeof(reserved[0]); i++) {
		if (strcmp(reserved[i], name) == 0) {
			return true;
		}
	}
	return false;
}

/* A name that may stand in C: no keyword, and no underscore at its ends, which are ours. */
static bool identifier(const char *name)
{
	size_t len = name != NULL ? strlen(name) : 0;

	if (len == 0 || len > NAME_MAX_LEN || !isalpha((unsigned char)name[0]) ||
	    name[len - 1] == '_' || is_reserved(name)) {
		return false;
	}
	for (size_t i = 0; i < len; i++) {
		if (!isalnum((unsigned char)name[i]) && name[i] != '_') {
			return false;
		}
	}
	return true;
}

/* A word between the dots of a method's name. */
static bool word_ok(const char *word)
{
	size_t len = word != NULL ? strlen(word) : 0;

	return len > 0 && len <= NAME_MAX_LEN &&
	       strspn(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") ==
	               len;
}

static const struct type *type_of(const json_t *value)
{
	const char *word = json_string_value(value);

	for (size_t i = 0; word != NULL && i < sizeof(types) / sizeof(types[0]); i++) {
		if (strcmp(types[i].word, word) == 0) {
			return &types[i];
		}
	}
	return NULL;
}

static int check_members(const struct stubs *s, const char *method, const char *what,
                         json_t *members)
{
	char path[3 * NAME_MAX_LEN];
	const char *name;
	json_t *value;

	snprintf(path, sizeof(path), "methods.%s.%s", method, what);
	if (members != NULL && !json_is_object(members)) {
		return wrong(s, path, "must be an object: name to type");
	}
	if (json_object_size(members) > MEMBERS_MAX) {
		return wrong(s, path, "has more than %u members", MEMBERS_MAX);
	}
	json_object_foreach (members, name, value) {
		if (!identifier(name)) {
			return wrong(s, path, "\"%s\" can't be a name in C and C++", name);
		}
		if (type_of(value) == NULL) {
			return wrong(s, path,
			             "%s: the types are string, int, number, bool and json, and "
			             "string? and json? for what may be left out",
			             name);
		}
	}
	return 0;
}

static int check_known(const struct stubs *s, const char *path, json_t *object,
                       const char *const *known, size_t len)
{
	const char *key;
	json_t *value;

	json_object_foreach (object, key, value) {
		size_t i = 0;
		while (i < len && strcmp(known[i], key) != 0) {
			i++;
		}
		if (i == len) {
			return wrong(s, path, "\"%s\" is unknown", key);
		}
	}
	return 0;
}

/* No name made from one method is one made from another. */
static int check_clash(const struct stubs *s, const char *method)
{
	char other[2 * NAME_MAX_LEN];

	for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
		snprintf(other, sizeof(other), "%s%s", method, suffixes[i]);
		if (json_object_get(s->methods, other) != NULL) {
			return wrong(s, "methods", "%s and %s would have a name in common", method,
			             other);
		}
	}
	return 0;
}

static int check_method(const struct stubs *s, const char *name, json_t *method)
{
	static const char *const known[] = {"args", "result"};
	char path[2 * NAME_MAX_LEN];

	if (!identifier(name)) {
		return wrong(s, "methods", "\"%.100s\" can't be a name in C and C++", name);
	}
	snprintf(path, sizeof(path), "methods.%s", name);
	if (!json_is_object(method)) {
		return wrong(s, path, "must be an object with args and result");
	}
	if (check_known(s, path, method, known, 2) != 0 ||
	    check_members(s, name, "args", json_object_get(method, "args")) != 0 ||
	    check_members(s, name, "result", json_object_get(method, "result")) != 0) {
		return -1;
	}
	return check_clash(s, name);
}

static int check(struct stubs *s, json_t *root)
{
	static const char *const known[] = {"namespace", "role", "module", "methods"};
	const char *name;
	json_t *method;

	if (!json_is_object(root)) {
		return wrong(s, "it", "must be an object");
	}
	s->name_space = json_string_value(json_object_get(root, "namespace"));
	s->role = json_string_value(json_object_get(root, "role"));
	s->module = json_string_value(json_object_get(root, "module"));
	s->methods = json_object_get(root, "methods");
	if (check_known(s, "it", root, known, 4) != 0) {
		return -1;
	}
	if (!word_ok(s->name_space)) {
		return wrong(s, "namespace", "must be a word: \"user\"");
	}
	if (strcmp(s->name_space, "sys") == 0) {
		return wrong(s, "namespace", "\"sys\" is the host's: take \"user\"");
	}
	if (!word_ok(s->role)) {
		return wrong(s, "role", "must be a word: the type of the nodes that have it");
	}
	if (!identifier(s->module)) {
		return wrong(s, "module", "must be a word that can be a name in C and C++");
	}
	if (json_object_size(s->methods) == 0 || json_object_size(s->methods) > METHODS_MAX) {
		return wrong(s, "methods", "must be an object with 1 to %u methods", METHODS_MAX);
	}
	json_object_foreach (s->methods, name, method) {
		if (check_method(s, name, method) != 0) {
			return -1;
		}
	}
	return 0;
}

/* ---- writing ---- */

static void put_struct(const struct stubs *s, json_t *members)
{
	const char *name;
	json_t *value;

	json_object_foreach (members, name, value) {
		fprintf(s->out, "\t%s%s;\n", type_of(value)->c, name);
	}
}

static void put_params(const struct stubs *s, json_t *members)
{
	const char *name;
	json_t *value;

	json_object_foreach (members, name, value) {
		fprintf(s->out, ", %s%s", type_of(value)->c, name);
	}
}

/* The members of body_ into the struct at `to`, ok_ says whether they are there. */
static void put_reads(const struct stubs *s, const char *to, json_t *members)
{
	const char *name;
	json_t *value;

	json_object_foreach (members, name, value) {
		const struct type *t = type_of(value);
		fprintf(s->out,
		        "\tv_ = json_object_get(body_, \"%s\");\n"
		        "\tok_ = ok_ && (%s);\n"
		        "\t%s->%s = %s;\n",
		        name, t->is, to, name, t->get);
	}
}

/* An object of the parameters: body_, NULL if there can be none. */
static void put_makes(const struct stubs *s, json_t *members)
{
	const char *name;
	json_t *value;

	fputs("\tjson_t *body_ = json_object();\n\tbool ok_ = body_ != NULL;\n\n", s->out);
	json_object_foreach (members, name, value) {
		const struct type *t = type_of(value);
		fprintf(s->out, "\tok_ = ok_ && (");
		if (t->optional) {
			fprintf(s->out, "%s == NULL || ", name);
		}
		fprintf(s->out, "json_object_set_new(body_, \"%s\", %s%s%s) == 0);\n", name,
		        t->make, name, t->close);
	}
}

static void put_get(const struct stubs *s, const char *fn, const char *type, json_t *members)
{
	fprintf(s->out,
	        "static inline bool %s(const json_t *body_, %s *into_)\n{\n"
	        "\tbool ok_ = json_is_object(body_);\n",
	        fn, type);
	if (json_object_size(members) > 0) {
		fputs("\tconst json_t *v_;\n\n", s->out);
		put_reads(s, "into_", members);
	} else {
		fputs("\n\t(void)into_;\n", s->out);
	}
	fputs("\treturn ok_;\n}\n\n", s->out);
}

/* The caller's side. */
static void put_caller(const struct stubs *s, const char *m, json_t *args, json_t *result)
{
	char p[2 * NAME_MAX_LEN + 2];
	char get[2 * NAME_MAX_LEN + 16];
	char type[2 * NAME_MAX_LEN + 16];

	snprintf(p, sizeof(p), "%s_%s", s->module, m);
	snprintf(get, sizeof(get), "%s_result_get", p);
	snprintf(type, sizeof(type), "%s_result", p);
	fprintf(s->out,
	        "/* What comes of a call: strings and JSON are borrowed until the callback returns. */\n"
	        "typedef struct %s_result {\n"
	        "\tint code; /* OB_OK, or why there is nothing else */\n"
	        "\tconst char *text;\n"
	        "\tconst ob_call_result *call; /* the whole of it */\n",
	        p);
	put_struct(s, result);
	fprintf(s->out,
	        "} %s_result;\n\n"
	        "typedef void (*%s_fn)(ob_ctx *ctx, const %s_result *res, void *arg);\n\n"
	        "struct %s_kept {\n\t%s_fn fn;\n\tvoid *arg;\n};\n\n",
	        p, p, p, p, p);
	put_get(s, get, type, result);
	fprintf(s->out,
	        "static inline void %s_ended(ob_ctx *ctx, ob_call_id call, const ob_call_result *res,\n"
	        "                            void *arg)\n{\n"
	        "\tconst struct %s_kept *kept_ = (const struct %s_kept *)arg;\n"
	        "\t%s_result out_;\n"
	        "\tjson_t *body_ = NULL;\n\n"
	        "\t(void)call;\n"
	        "\tmemset(&out_, 0, sizeof(out_));\n"
	        "\tout_.code = res->code;\n"
	        "\tout_.text = res->text;\n"
	        "\tout_.call = res;\n"
	        "\tif (res->code == OB_OK && res->failed == 0) {\n"
	        "\t\tbody_ = json_loadb((const char *)res->data, res->len, 0, NULL);\n"
	        "\t\tif (!%s_result_get(body_, &out_)) {\n"
	        "\t\t\tout_.code = OB_E_BAD;\n"
	        "\t\t\tout_.text = \"the answer is not what was declared\";\n"
	        "\t\t}\n\t}\n"
	        "\tkept_->fn(ctx, &out_, kept_->arg);\n"
	        "\tjson_decref(body_);\n}\n\n",
	        p, p, p, p, p);
	fprintf(s->out,
	        "/* Calls it: `to` NULL: any node of the role %s; `how` NULL: as ob_call(), else its\n"
	        " * mode, deadline, session, key, retries, flags and request count.  0 when the call\n"
	        " * could not be made; then fn is not called. */\n"
	        "static inline ob_call_id %s(ob_ctx *ctx, const ob_target *to,\n"
	        "                            const ob_call_options *how",
	        s->role, p);
	put_params(s, args);
	fprintf(s->out, ", %s_fn fn, void *arg)\n{\n", p);
	fprintf(s->out,
	        "\tob_target any_;\n\tob_call_options how_;\n\tstruct %s_kept kept_;\n"
	        "\tob_call_id id_ = 0;\n",
	        p);
	put_makes(s, args);
	fprintf(s->out,
	        "\tchar *data_ = ok_ && fn != NULL ? json_dumps(body_, JSON_COMPACT) : NULL;\n"
	        "\tjson_decref(body_);\n"
	        "\tif (data_ == NULL) {\n\t\treturn 0;\n\t}\n"
	        "\tmemset(&any_, 0, sizeof(any_));\n"
	        "\tmemset(&how_, 0, sizeof(how_));\n"
	        "\tmemset(&kept_, 0, sizeof(kept_));\n"
	        "\tif (how != NULL) {\n\t\thow_ = *how;\n\t}\n"
	        "\tany_.role = ob_role(ctx, \"%s\");\n"
	        "\tkept_.fn = fn;\n\tkept_.arg = arg;\n"
	        "\thow_.size = sizeof(how_);\n"
	        "\thow_.id = 0;\n"
	        "\thow_.method = \"%s.%s.%s.%s\";\n"
	        "\thow_.data = data_;\n"
	        "\thow_.len = strlen(data_);\n"
	        "\thow_.keep = &kept_;\n"
	        "\thow_.keep_len = sizeof(kept_);\n"
	        "\tid_ = ob_call_with(ctx, to != NULL ? to : &any_, &how_, %s_ended, NULL);\n"
	        "\tfree(data_);\n"
	        "\treturn id_;\n}\n\n",
	        s->role, s->name_space, s->role, s->module, m, p);
}

/* The side of the handler. */
static void put_callee(const struct stubs *s, const char *m, json_t *args, json_t *result)
{
	char p[2 * NAME_MAX_LEN + 2];
	char get[2 * NAME_MAX_LEN + 16];
	char type[2 * NAME_MAX_LEN + 16];

	snprintf(p, sizeof(p), "%s_%s", s->module, m);
	snprintf(get, sizeof(get), "%s_args_get", p);
	snprintf(type, sizeof(type), "%s_args", p);
	if (json_object_size(args) > 0) {
		fprintf(s->out, "typedef struct %s_args {\n", p);
		put_struct(s, args);
		fprintf(s->out,
		        "} %s_args;\n\n"
		        "static inline bool %s_args_read(const json_t *body_, %s_args *into_)\n{\n"
		        "\tbool ok_ = json_is_object(body_);\n\tconst json_t *v_;\n\n",
		        p, p, p);
		put_reads(s, "into_", args);
		fprintf(s->out,
		        "\treturn ok_;\n}\n\n"
		        "/* In a handler: its arguments, borrowed until the request ends.  False when they "
		        "are not\n * what was declared; then the request has ended with OB_E_BAD. */\n"
		        "static inline bool %s(ob_ctx *ctx, ob_req req, %s *args_)\n{\n"
		        "\tmemset(args_, 0, sizeof(*args_));\n"
		        "\tif (%s_args_read(ob_req_json(ctx, req), args_)) {\n\t\treturn true;\n\t}\n"
		        "\tob_fail(ctx, req, OB_E_BAD, \"%s.%s: the arguments are not what was "
		        "declared\");\n"
		        "\treturn false;\n}\n\n",
		        get, type, p, s->module, m);
	}
	fprintf(s->out,
	        "/* Ends the request with a result. */\n"
	        "static inline int %s_reply(ob_ctx *ctx, ob_req req",
	        p);
	put_params(s, result);
	fputs(")\n{\n", s->out);
	put_makes(s, result);
	fputs("\tif (!ok_) {\n\t\tjson_decref(body_);\n\t\tbody_ = NULL;\n\t}\n"
	      "\treturn ob_reply_value(ctx, req, body_);\n}\n\n",
	      s->out);
}

static void put_method(const struct stubs *s, const char *m, json_t *method)
{
	json_t *args = json_object_get(method, "args");
	json_t *result = json_object_get(method, "result");

	fprintf(s->out,
	        "/* ---- %s.%s.%s.%s ---- */\n\n"
	        "#define %s_%s_METHOD \"%s.%s.%s.%s\"\n\n",
	        s->name_space, s->role, s->module, m, s->module, m, s->name_space, s->role,
	        s->module, m);
	put_caller(s, m, args, result);
	put_callee(s, m, args, result);
}

static void put_guard(char *out, size_t cap, const struct stubs *s)
{
	int len = snprintf(out, cap, "OB_STUBS_%s_%s_%s_H", s->name_space, s->role, s->module);

	for (int i = 0; i < len && (size_t)i < cap; i++) {
		out[i] =
			isalnum((unsigned char)out[i]) ? (char)toupper((unsigned char)out[i]) : '_';
	}
}

static void put_header(const struct stubs *s)
{
	char guard[4 * NAME_MAX_LEN];
	const char *base = strrchr(s->file, '/');
	const char *name;
	json_t *method;

	put_guard(guard, sizeof(guard), s);
	fprintf(s->out,
	        "/* Made by `obhost stubs %s`: change that file, not this one.  Needs ABI 1.1. */\n\n"
	        "#ifndef %s\n#define %s\n\n"
	        "#include <stdlib.h>\n#include <string.h>\n\n#include <obhost/obhost.h>\n\n",
	        base != NULL ? base + 1 : s->file, guard, guard);
	json_object_foreach (s->methods, name, method) {
		put_method(s, name, method);
	}
	fputs("#endif\n", s->out);
}

/* ---- the command ---- */

static int usage(FILE *out, int status)
{
	fputs("usage: obhost stubs [-o OUT.h] FILE.json\n"
	      "\n"
	      "Writes a C header with typed functions for the methods that FILE declares:\n"
	      "\n"
	      "  {\"namespace\": \"user\", \"role\": \"game\", \"module\": \"rank\", \"methods\": {\n"
	      "      \"add\": {\"args\": {\"player\": \"string\", \"points\": \"int\"},\n"
	      "              \"result\": {\"rank\": \"int\"}}}}\n"
	      "\n"
	      "Types: string, int, number, bool, json; string? and json? may be left out.\n"
	      "\n"
	      "  -o OUT.h  where to; else to standard output\n"
	      "  -h        show this; --help\n",
	      out);
	return status;
}

/* Into memory first: what is there stays when something is wrong. */
static int write_out(struct stubs *s, const char *path)
{
	char *text = NULL;
	size_t len = 0;

	s->out = open_memstream(&text, &len);
	if (s->out == NULL) {
		return wrong(s, "it", "out of memory");
	}
	put_header(s);
	if (fclose(s->out) != 0) {
		free(text);
		return wrong(s, "it", "out of memory");
	}
	FILE *out = path != NULL ? fopen(path, "we") : stdout;
	bool ok = out != NULL && fwrite(text, 1, len, out) == len && fflush(out) == 0;
	if (!ok) {
		fprintf(stderr, "obhost: stubs: %s: %s\n", path != NULL ? path : "stdout",
		        strerror(errno));
	}
	if (out != NULL && path != NULL) {
		ok = fclose(out) == 0 && ok;
	}
	free(text);
	return ok ? 0 : -1;
}

int ob__cmd_stubs(int argc, char **argv)
{
	static const struct option longs[] = {{"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
	struct stubs s = {0};
	const char *path = NULL;
	json_error_t error;
	int opt;

	while ((opt = getopt_long(argc, argv, "o:h", longs, NULL)) != -1) {
		if (opt == 'h') {
			return usage(stdout, 0);
		}
		if (opt != 'o') {
			return usage(stderr, 2);
		}
		path = optarg;
	}
	if (argc - optind != 1) {
		return usage(stderr, 2);
	}
	s.file = argv[optind];
	json_t *root = json_load_file(s.file, JSON_REJECT_DUPLICATES, &error);
	if (root == NULL) {
		fprintf(stderr, "obhost: stubs: %s:%d: %s\n", s.file, error.line, error.text);
		return 1;
	}
	int rc = check(&s, root);
	rc = rc == 0 ? write_out(&s, path) : rc;
	json_decref(root);
	return rc == 0 ? 0 : 1;
}
