/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

#include "dictionary.h"

#include <stdlib.h>
#include <string.h>

#include "message.h"

#define CODE_MAX 65535

struct pomelo_dictionary {
	size_t len;
	const char **routes; /* by code - 1; the keys of `codes` */
	json_t *codes;
	char version[POMELO_VERSION_SIZE];
};

static int compare(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int add(struct pomelo_dictionary *d, const char *what, const json_t *route, ob_err *err)
{
	const char *word = json_string_value(route);

	if (word == NULL || *word == '\0' || json_string_length(route) > POMELO_ROUTE_MAX ||
	    strlen(word) != json_string_length(route)) {
		return ob_err_set(err, "%s: a route is a text of 1 to %u bytes", what,
		                  POMELO_ROUTE_MAX);
	}
	if (d->len == CODE_MAX) {
		return ob_err_set(err, "%s: at most %d routes in all", what, CODE_MAX);
	}
	d->routes[d->len++] = word;
	return 0;
}

/* Copies what was collected into `codes`, whose keys it is from then on. */
static int settle(struct pomelo_dictionary *d, ob_err *err)
{
	for (size_t i = 0; i < d->len; i++) {
		if (json_object_get(d->codes, d->routes[i]) != NULL) {
			return ob_err_set(err, "the dictionary has %.200s twice", d->routes[i]);
		}
		if (json_object_set_new(d->codes, d->routes[i], json_integer((json_int_t)i + 1)) !=
		    0) {
			return ob_err_set(err, "the dictionary: %.200s is no UTF-8, or no memory",
			                  d->routes[i]);
		}
	}

	const char *key;
	json_t *code;

	json_object_foreach (d->codes, key, code) {
		d->routes[json_integer_value(code) - 1] = key;
	}

	char *text = json_dumps(d->codes, JSON_COMPACT);

	if (text == NULL) {
		return ob_err_set(err, "out of memory");
	}
	pomelo_version(text, strlen(text), d->version);
	free(text);
	return 0;
}

static int fill(struct pomelo_dictionary *d, const json_t *handlers, const json_t *list,
                ob_err *err)
{
	size_t i;
	json_t *route;
	int rc = 0;

	d->codes = json_object();
	d->routes =
		calloc(json_array_size(handlers) + json_array_size(list) + 1, sizeof(*d->routes));
	if (d->codes == NULL || d->routes == NULL) {
		return ob_err_set(err, "out of memory");
	}
	json_array_foreach (handlers, i, route) {
		rc = rc == 0 ? add(d, "handlers", route, err) : rc;
	}
	if (rc == 0) {
		qsort(d->routes, d->len, sizeof(*d->routes), compare);
	}
	json_array_foreach (list, i, route) {
		rc = rc == 0 ? add(d, "dictionary", route, err) : rc;
	}
	return rc == 0 ? settle(d, err) : rc;
}

int pomelo_dictionary_new(struct pomelo_dictionary **d, const json_t *handlers, const json_t *list,
                          ob_err *err)
{
	*d = NULL;
	if (handlers == NULL && list == NULL) {
		return 0;
	}
	if ((handlers != NULL && !json_is_array(handlers)) ||
	    (list != NULL && !json_is_array(list))) {
		return ob_err_set(err, "%s: must be a list of routes",
		                  json_is_array(handlers) || handlers == NULL ? "dictionary"
		                                                              : "handlers");
	}

	struct pomelo_dictionary *made = calloc(1, sizeof(*made));

	if (made == NULL) {
		return ob_err_set(err, "out of memory");
	}

	int rc = fill(made, handlers, list, err);

	if (rc != 0) {
		pomelo_dictionary_free(made);
		return rc;
	}
	*d = made;
	return 0;
}

void pomelo_dictionary_free(struct pomelo_dictionary *d)
{
	if (d != NULL) {
		free(d->routes);
		json_decref(d->codes);
		free(d);
	}
}

uint16_t pomelo_dictionary_code(const struct pomelo_dictionary *d, const char *route, size_t len)
{
	char word[POMELO_ROUTE_MAX + 1];

	if (d == NULL || len > POMELO_ROUTE_MAX) {
		return 0;
	}
	memcpy(word, route, len);
	word[len] = '\0';
	return (uint16_t)json_integer_value(json_object_get(d->codes, word));
}

const char *pomelo_dictionary_route(const struct pomelo_dictionary *d, uint16_t code)
{
	return d != NULL && code >= 1 && code <= d->len ? d->routes[code - 1] : NULL;
}

json_t *pomelo_dictionary_json(const struct pomelo_dictionary *d)
{
	return d->codes;
}

const char *pomelo_dictionary_version(const struct pomelo_dictionary *d)
{
	return d->version;
}
