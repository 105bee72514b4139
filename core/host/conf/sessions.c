/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/* What is about sessions and their messages, whoever handles them. */

#include "host/conf/nodeconf_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/message/msgname.h"
#include "host/session/states.h"

static void read_resume(struct ob__reading *r)
{
	const json_t *j = r->c->root;

	r->c->resume = (struct ob__resume_conf){
		.window_ms = ob__conf_ms(j, "sessions.resume.window", 0),
		.detached = (uint32_t)ob__conf_int(j, "sessions.resume.detached", 10000),
		.bounds =
			{
				.messages =
					(uint32_t)ob__conf_int(j, "sessions.resume.messages", 256),
				.bytes = (size_t)ob__conf_int(j, "sessions.resume.bytes", 64 << 10),
				.all = (size_t)ob__conf_int(j, "sessions.resume.all", 256 << 20),
			},
	};
	if (r->c->resume.window_ms > 0 && r->c->resume.bounds.bytes > r->c->limits.client_queue) {
		ob__nodeconf_wrong(r, "sessions.resume.bytes",
		                   "must not be above limits.client_queue");
	}
}

static void read_carry(struct ob__reading *r)
{
	struct ob__nodeconf *c = r->c;
	const json_t *list = ob__conf_get(c->root, "sessions.carry");

	if (json_array_size(list) > OB__CARRY_MAX) {
		ob__nodeconf_wrong(r, "sessions.carry", "has more than 4 keys");
		return;
	}
	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *key = json_string_value(json_array_get(list, i));
		if (!ob__key_ok(key)) {
			ob__nodeconf_wrong(r, "sessions.carry", "a key is 1 to 32 bytes of text");
		}
		c->carry[c->carry_len++] = key;
	}
}

/* No two have one id; ids that come from the host only have none. */
static void read_names(struct ob__reading *r)
{
	struct ob__nodeconf *c = r->c;
	struct ob__msgnames seen = {.by_id = {.seed = 0}};
	const char *name;
	json_t *id;

	c->names = json_object_get(c->root, "names");
	json_object_foreach ((json_t *)(uintptr_t)c->names, name, id) {
		uint32_t n = (uint32_t)json_integer_value(id);
		if (!ob__msgname_ok(name, strlen(name))) {
			ob__nodeconf_wrong(r, "names",
			                   "has a name that is empty, too long or no text");
		} else if (n == OB__OFFLINE_ID || n == c->session_closed_id) {
			ob__nodeconf_wrong(r, "names", "has an id that is reserved");
		} else if (ob__msgnames_choose(&seen, name, n) != 0) {
			ob__nodeconf_wrong(r, "names", "has two names with one id");
		}
	}
	ob__msgnames_free(&seen);
}

/* The id of a name as the node will know it. */
static uint32_t id_of_name(const struct ob__nodeconf *c, const char *name)
{
	const json_t *given = json_object_get(c->names, name);

	if (given != NULL) {
		return (uint32_t)json_integer_value(given);
	}
	return ob__msgname_ok(name, strlen(name)) ? ob__msgname_hash(name, strlen(name)) : 0;
}

/* One item of states.*.ids. */
static bool read_state_ids(const struct ob__nodeconf *c, const json_t *item,
                           struct ob__state_ids *ids)
{
	json_int_t lo = json_integer_value(item);
	json_int_t hi = lo;

	if (json_is_string(item)) {
		lo = hi = id_of_name(c, json_string_value(item));
	} else if (json_is_array(item) && json_array_size(item) == 2) {
		lo = json_integer_value(json_array_get(item, 0));
		hi = json_integer_value(json_array_get(item, 1));
	}
	*ids = (struct ob__state_ids){(uint32_t)lo, (uint32_t)hi};
	return lo > 0 && lo <= hi && hi <= INT32_MAX;
}

static void read_state(struct ob__reading *r, const char *name, const json_t *conf,
                       struct ob__state_conf *s)
{
	const json_t *list = json_object_get(conf, "ids");
	char path[128];
	size_t i;
	json_t *item;

	s->name = name;
	s->closes = strcmp(ob__conf_str(conf, "refuse", "answer"), "close") == 0;
	s->ids = calloc(json_array_size(list) + 1, sizeof(*s->ids));
	if (!ob__state_name_ok(name)) {
		ob__nodeconf_wrong(
			r, "states",
			"has a name that is not 1 to 32 letters, digits, '_', '-' or '.'");
		return;
	}
	json_array_foreach (list, i, item) {
		if (s->ids == NULL || !read_state_ids(r->c, item, &s->ids[s->ids_len++])) {
			snprintf(path, sizeof(path), "states[\"%s\"].ids[%zu]", name, i);
			ob__nodeconf_wrong(
				r, path,
				"is no message id (1 to 2147483647), range of them, or name");
		}
	}
}

static void read_states(struct ob__reading *r)
{
	struct ob__nodeconf *c = r->c;
	json_t *map = (json_t *)(uintptr_t)json_object_get(c->root, "states");
	const char *name;
	json_t *conf;

	c->states = calloc(json_object_size(map) + 1, sizeof(*c->states));
	if (c->states == NULL || json_object_size(map) > OB__STATES_MAX / 2) {
		ob__nodeconf_wrong(r, "states", "has more than 128 states");
		return;
	}
	json_object_foreach (map, name, conf) {
		read_state(r, name, conf, &c->states[c->states_len++]);
	}
}

static void read_filters(struct ob__reading *r)
{
	const json_t *j = r->c->root;
	struct ob__filters_conf *f = &r->c->filters;
	size_t i;
	json_t *item;
	int rc = 0;

	f->time = ob__conf_get(j, "filters.time") != NULL;
	f->slow_ms = ob__conf_ms(j, "filters.time.slow", 1000);
	f->too_busy_ms = ob__conf_ms(j, "filters.too_busy", 0);
	if (ob__conf_get(j, "filters.serial") != NULL) {
		f->serial_queue = (uint32_t)ob__conf_int(j, "filters.serial.queue", 16);
		f->serial_wait_ms = ob__conf_ms(j, "filters.serial.wait", 3000);
	}
	ob__idrange_init(&f->timeouts);
	json_array_foreach (ob__conf_get(j, "filters.timeout"), i, item) {
		const json_t *range = json_object_get(item, "range");
		uint64_t ms = ob__conf_ms(item, "seconds", 0);
		if (ms == 0) {
			ob__nodeconf_wrong(r, "filters.timeout",
			                   "has seconds that are not above 0");
		}
		rc |= ob__idrange_add(
			&f->timeouts, (uint32_t)json_integer_value(json_array_get(range, 0)),
			(uint32_t)json_integer_value(json_array_get(range, 1)), (uint32_t)ms);
	}
	if (rc != 0 || ob__idrange_seal(&f->timeouts, NULL, NULL) != 0) {
		ob__nodeconf_wrong(r, "filters.timeout", "has too many entries");
	}
}

void ob__nodeconf_read_sessions(struct ob__reading *r)
{
	struct ob__nodeconf *c = r->c;
	const json_t *j = c->root;

	c->session_closed_id = (uint32_t)ob__conf_int(j, "session_closed_id", 100130);
	c->kick_id = (uint32_t)ob__conf_int(j, "sessions.kick_id", 0);
	c->bind_timeout_ms = ob__conf_ms(j, "sessions.bind_timeout", 5000);
	c->home_ms = ob__conf_ms(j, "sessions.home_time", 300000);
	if (c->bind_timeout_ms == 0) {
		ob__nodeconf_wrong(r, "sessions.bind_timeout",
		                   "must be above 0: a login needs a deadline");
	}
	read_resume(r);
	read_carry(r);
	read_names(r);
	read_states(r);
	read_filters(r);
}
