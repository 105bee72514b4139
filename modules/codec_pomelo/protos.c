/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "protos.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TAG_MAX    0xfffffffu /* with the wire type in front of it, 31 bits */
#define DEPTH_MAX  16         /* messages declared in messages */
#define ROUTES_MAX 32767
#define PREFIX     "message "

static const char *const option_words[] = {"required", "optional", "repeated"};

static const struct {
	const char *word;
	enum pomelo_kind kind;
} kinds[] = {
	{"uInt32", POMELO_UINT32}, {"sInt32", POMELO_SINT32}, {"int32", POMELO_SINT32},
	{"float", POMELO_FLOAT},   {"double", POMELO_DOUBLE}, {"string", POMELO_STRING},
};

/* ---- from the source to what clients get ---- */

static int no_memory(ob_err *err)
{
	return ob_err_set(err, "out of memory");
}

/* Cuts "option type name" in three; NULL if it is not that. */
static char *three_words(const char *key, char *words[3])
{
	char *copy = strdup(key);
	char *rest = copy;
	int n = 0;

	for (; rest != NULL && n < 3; n++) {
		words[n] = strsep(&rest, " ");
	}
	if (n == 3 && rest == NULL && *words[1] != '\0' && *words[2] != '\0') {
		return copy;
	}
	free(copy);
	return NULL;
}

static int bad_field(ob_err *err, const char *what, const char *key)
{
	return ob_err_set(
		err,
		"%.100s: \"%.100s\" must be \"required|optional|repeated TYPE NAME\" with "
		"a tag of its own, 1 to 2^28-1",
		what, key);
}

static int add_field(json_t *proto, json_t *tags, const char *what, const char *key,
                     const json_t *value, ob_err *err)
{
	json_int_t tag = json_integer_value(value);
	char *words[3] = {NULL, NULL, NULL};
	char *copy = tag >= 1 && tag <= TAG_MAX ? three_words(key, words) : NULL;
	char number[16];
	int rc = copy == NULL ? bad_field(err, what, key) : 0;

	snprintf(number, sizeof(number), "%u", (unsigned)tag);
	if (rc == 0 &&
	    (json_object_get(tags, number) != NULL || json_object_get(proto, words[2]) != NULL ||
	     strncmp(words[2], "__", 2) == 0)) {
		rc = bad_field(err, what, key);
	}
	if (rc == 0) {
		json_t *field = json_pack("{s:s, s:s, s:I}", "option", words[0], "type", words[1],
		                          "tag", tag);

		if (json_object_set_new(proto, words[2], field) != 0 ||
		    json_object_set_new(tags, number, json_string(words[2])) != 0) {
			rc = no_memory(err);
		}
	}
	free(copy);
	return rc;
}

static bool is_option(const char *key)
{
	size_t n = strcspn(key, " ");

	for (size_t i = 0; i < 3; i++) {
		if (strlen(option_words[i]) == n && strncmp(key, option_words[i], n) == 0) {
			return true;
		}
	}
	return false;
}

static json_t *parse(const char *what, const json_t *source, int depth, ob_err *err);

/* Fills a proto; what is no field and no message is passed over, as pomelo does. */
static int parse_into(json_t *proto, json_t *messages, json_t *tags, const char *what,
                      const json_t *source, int depth, ob_err *err)
{
	const char *key;
	json_t *value;
	int rc = 0;

	json_object_foreach ((json_t *)(uintptr_t)source, key, value) {
		if (rc != 0) {
			break;
		}
		if (strncmp(key, PREFIX, strlen(PREFIX)) == 0) {
			json_t *inner = parse(key, value, depth + 1, err);

			rc = inner == NULL ? OB_E_INVAL : 0;
			if (rc == 0 && json_object_set_new(messages, key + strlen(PREFIX), inner)) {
				rc = no_memory(err);
			}
		} else if (is_option(key)) {
			rc = add_field(proto, tags, what, key, value, err);
		}
	}
	return rc;
}

/* JavaScript has keys that are numbers in their order, and the version is made from that. */
static json_t *sorted_tags(const json_t *tags)
{
	json_t *sorted = json_object();
	json_int_t last = 0;

	for (size_t i = json_object_size(tags); i > 0 && sorted != NULL; i--) {
		json_int_t least = INT64_MAX;
		const char *key;
		json_t *name;
		json_t *found = NULL;
		char number[24];

		json_object_foreach ((json_t *)(uintptr_t)tags, key, name) {
			json_int_t tag = strtoll(key, NULL, 10);

			if (tag > last && tag < least) {
				least = tag;
				found = name;
			}
		}
		snprintf(number, sizeof(number), "%lld", (long long)least);
		last = least;
		if (json_object_set(sorted, number, found) != 0) {
			json_decref(sorted);
			return NULL;
		}
	}
	return sorted;
}

/* A new reference; NULL with err. */
static json_t *parse(const char *what, const json_t *source, int depth, ob_err *err)
{
	if (!json_is_object(source) || depth > DEPTH_MAX) {
		ob_err_set(err, "%.100s: must be an object, %d deep at most", what, DEPTH_MAX);
		return NULL;
	}

	json_t *proto = json_object();
	json_t *messages = json_object();
	json_t *tags = json_object();
	json_t *sorted = NULL;
	int rc = proto == NULL || messages == NULL || tags == NULL
	                 ? no_memory(err)
	                 : parse_into(proto, messages, tags, what, source, depth, err);

	if (rc == 0) {
		sorted = sorted_tags(tags);
		if (json_object_set(proto, "__messages", messages) != 0 ||
		    json_object_set(proto, "__tags", sorted) != 0) {
			rc = no_memory(err);
		}
	}
	json_decref(sorted);
	json_decref(tags);
	json_decref(messages);
	if (rc != 0) {
		json_decref(proto);
		proto = NULL;
	}
	return proto;
}

/* ---- from that to what is read and written with ---- */

static void set_kind(struct pomelo_field *field, const char *type)
{
	field->kind = POMELO_MESSAGE;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (strcmp(kinds[i].word, type) == 0) {
			field->kind = kinds[i].kind;
		}
	}
}

static enum pomelo_option option_of(const char *word)
{
	for (size_t i = 0; i < 2; i++) {
		if (strcmp(option_words[i], word) == 0) {
			return (enum pomelo_option)i;
		}
	}
	return POMELO_REPEATED;
}

static const struct pomelo_proto *compile(struct pomelo_protos *protos, const char *name,
                                          json_t *parsed)
{
	struct pomelo_proto *p = calloc(1, sizeof(*p));
	const char *key;
	json_t *value;

	if (p == NULL) {
		return NULL;
	}
	p->name = name;
	p->parsed = parsed;
	p->next = protos->all;
	protos->all = p;
	p->fields = calloc(json_object_size(parsed), sizeof(*p->fields));
	if (p->fields == NULL) {
		return NULL;
	}
	json_object_foreach (parsed, key, value) {
		if (strncmp(key, "__", 2) != 0) {
			struct pomelo_field *field = &p->fields[p->len++];

			field->name = key;
			field->option =
				option_of(json_string_value(json_object_get(value, "option")));
			field->tag = (uint32_t)json_integer_value(json_object_get(value, "tag"));
			set_kind(field, json_string_value(json_object_get(value, "type")));
		}
	}
	json_object_foreach (json_object_get(parsed, "__messages"), key, value) {
		if (compile(protos, key, value) == NULL) {
			return NULL;
		}
	}
	return p;
}

static const struct pomelo_proto *compiled(const struct pomelo_protos *protos, const json_t *parsed)
{
	const struct pomelo_proto *p = protos->all;

	while (p != NULL && p->parsed != parsed) {
		p = p->next;
	}
	return p;
}

/* The message that a field's type names: one of the same message's, or an outermost one. */
static int resolve(struct pomelo_protos *protos, const struct pomelo_proto *proto,
                   struct pomelo_field *field, ob_err *err)
{
	const json_t *self = json_object_get(proto->parsed, field->name);
	const char *type = json_string_value(json_object_get(self, "type"));
	const json_t *parsed = json_object_get(json_object_get(proto->parsed, "__messages"), type);
	char outermost[300];

	if (parsed == NULL) {
		snprintf(outermost, sizeof(outermost), PREFIX "%.256s", type);
		parsed = json_object_get(protos->parsed, outermost);
	}
	if (parsed == NULL) {
		return ob_err_set(err, "%.80s: %.60s has the type %.60s, which is not there",
		                  proto->name, field->name, type);
	}
	field->message = compiled(protos, parsed);
	return 0;
}

static int compare(const void *a, const void *b)
{
	const struct pomelo_proto *const *one = a;
	const struct pomelo_proto *const *other = b;

	return strcmp((*one)->name, (*other)->name);
}

static int compile_all(struct pomelo_protos *protos, ob_err *err)
{
	const char *key;
	json_t *value;

	protos->routes = calloc(json_object_size(protos->parsed) + 1, sizeof(*protos->routes));
	if (protos->routes == NULL) {
		return no_memory(err);
	}
	json_object_foreach (protos->parsed, key, value) {
		const struct pomelo_proto *p = compile(protos, key, value);

		if (p == NULL) {
			return no_memory(err);
		}
		protos->routes[protos->len++] = p;
	}
	qsort(protos->routes, protos->len, sizeof(*protos->routes), compare);
	for (struct pomelo_proto *p = protos->all; p != NULL; p = p->next) {
		for (size_t i = 0; i < p->len; i++) {
			int rc = p->fields[i].kind == POMELO_MESSAGE
			                 ? resolve(protos, p, &p->fields[i], err)
			                 : 0;

			if (rc != 0) {
				return rc;
			}
		}
	}
	return 0;
}

int pomelo_protos_read(struct pomelo_protos *protos, const char *what, const json_t *source,
                       ob_err *err)
{
	const char *key;
	json_t *value;

	if (source == NULL) {
		return 0;
	}
	if (!json_is_object(source) || json_object_size(source) > ROUTES_MAX) {
		return ob_err_set(err, "%s: must be an object of protos by route", what);
	}
	protos->parsed = json_object();
	if (protos->parsed == NULL) {
		return no_memory(err);
	}
	json_object_foreach ((json_t *)(uintptr_t)source, key, value) {
		json_t *parsed = parse(key, value, 0, err);

		if (parsed == NULL) {
			return OB_E_INVAL;
		}
		if (json_object_set_new(protos->parsed, key, parsed) != 0) {
			return no_memory(err);
		}
	}
	return compile_all(protos, err);
}

void pomelo_protos_free(struct pomelo_protos *protos)
{
	while (protos->all != NULL) {
		struct pomelo_proto *p = protos->all;

		protos->all = p->next;
		free(p->fields);
		free(p);
	}
	free(protos->routes);
	json_decref(protos->parsed);
	*protos = (struct pomelo_protos){0};
}

/* ---- looking things up ---- */

int pomelo_protos_find(const struct pomelo_protos *protos, const char *route, size_t len)
{
	size_t low = 0;
	size_t high = protos->len;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const char *name = protos->routes[middle]->name;
		size_t name_len = strlen(name);
		int order = memcmp(route, name, len < name_len ? len : name_len);

		if (order == 0) {
			order = (len > name_len) - (len < name_len);
		}
		if (order == 0) {
			return (int)middle;
		}
		if (order < 0) {
			high = middle;
		} else {
			low = middle + 1;
		}
	}
	return -1;
}

const struct pomelo_field *pomelo_field_named(const struct pomelo_proto *proto, const char *name)
{
	for (size_t i = 0; i < proto->len; i++) {
		if (strcmp(proto->fields[i].name, name) == 0) {
			return &proto->fields[i];
		}
	}
	return NULL;
}

const struct pomelo_field *pomelo_field_tagged(const struct pomelo_proto *proto, uint64_t tag)
{
	for (size_t i = 0; i < proto->len; i++) {
		if (proto->fields[i].tag == tag) {
			return &proto->fields[i];
		}
	}
	return NULL;
}
