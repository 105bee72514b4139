/* SPDX-License-Identifier: BSD-2-Clause
 * Copyright (c) The obhost authors
 */

/*
 * Module proxy: decides where a client's message goes.
 *
 * The host has the connections, the sessions and the requests in flight.  This file only says:
 * refuse it, keep it, or send it to that role.  So it can be replaced under any number of
 * connected clients.
 */

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include <obhost/obhost.h>

#define SPANS_MAX       64
#define FILTER_PRIORITY 100

struct span {
	uint32_t lo;
	uint32_t hi;
};

struct settings {
	size_t max_body; /* 0: what the listener lets through */
	size_t spans;
	struct span refuse[SPANS_MAX];
};

/* Per generation: `start` fills them again from the configuration. */
static struct settings settings;
static uint32_t own_role;
static int opened;
static int closed;

static bool read_id(const json_t *value, uint32_t *id)
{
	json_int_t number = json_integer_value(value);

	if (!json_is_integer(value) || number < 0 || number > INT32_MAX) {
		return false;
	}
	*id = (uint32_t)number;
	return true;
}

static int read_refuse(const json_t *list, struct settings *to, ob_err *err)
{
	if (!json_is_array(list)) {
		return ob_err_set(err, "refuse: must be a list of [lo, hi]");
	}
	if (json_array_size(list) > SPANS_MAX) {
		return ob_err_set(err, "refuse: at most %d ranges", SPANS_MAX);
	}

	size_t i;
	const json_t *pair;

	json_array_foreach (list, i, pair) {
		struct span *span = &to->refuse[i];

		if (json_array_size(pair) != 2 || !read_id(json_array_get(pair, 0), &span->lo) ||
		    !read_id(json_array_get(pair, 1), &span->hi) || span->lo > span->hi) {
			return ob_err_set(
				err, "refuse[%zu]: must be [lo, hi], 0 <= lo <= hi <= 2^31-1", i);
		}
	}
	to->spans = json_array_size(list);
	return 0;
}

static int read_max_body(const json_t *value, struct settings *to, ob_err *err)
{
	json_int_t bytes = json_integer_value(value);

	if (!json_is_integer(value) || bytes < 1 || bytes > INT32_MAX) {
		return ob_err_set(err, "max_body: must be a number of bytes, 1 to 2^31-1");
	}
	to->max_body = (size_t)bytes;
	return 0;
}

static int read_settings(const json_t *conf, struct settings *to, ob_err *err)
{
	const char *key;
	json_t *value;

	memset(to, 0, sizeof(*to));
	json_object_foreach ((json_t *)conf, key, value) {
		int rc = 0;

		if (strcmp(key, "refuse") == 0) {
			rc = read_refuse(value, to, err);
		} else if (strcmp(key, "max_body") == 0) {
			rc = read_max_body(value, to, err);
		} else {
			rc = ob_err_set(err, "%.100s: unknown key (refuse, max_body)", key);
		}
		if (rc < 0) {
			return rc;
		}
	}
	return 0;
}

/* A filter, not part of decide(): it holds for this node's own handlers as well. */
static int admit(ob_ctx *ctx, const ob_view *view)
{
	(void)ctx;
	if (settings.max_body && view->len > settings.max_body) {
		return OB_E_TOO_BIG;
	}
	for (size_t i = 0; i < settings.spans; i++) {
		if (view->id >= settings.refuse[i].lo && view->id <= settings.refuse[i].hi) {
			return OB_E_DENIED;
		}
	}
	return 0;
}

/* Role 0 goes to any route node, whose table knows more than this one's. */
static ob_verdict decide(ob_ctx *ctx, const ob_view *view)
{
	uint32_t role = view->name ? ob_route_name(ctx, view->name, view->name_len)
	                           : ob_route_role(ctx, view->id);

	if (role == own_role) {
		return (ob_verdict){.action = OB_LOCAL};
	}
	return (ob_verdict){
		.action = OB_FORWARD,
		.target = {.role = role,
	                   .flags = view->flags & OB_VIEW_NO_STATE ? 0 : OB_TARGET_STICKY},
	};
}

static void on_session(ob_ctx *ctx, const ob_event_info *info)
{
	ob_session_info session = {.size = offsetof(ob_session_info, peer)};

	if (info->event == OB_EVENT_SESSION_OPENED) {
		ob_count(ctx, opened, 1);
		return;
	}
	/* A closed event also tells of other nodes' clients that this node has served. */
	if (ob_session_get(ctx, info->session, &session) == 0 && session.local) {
		ob_count(ctx, closed, 1);
	}
}

static int check(const json_t *conf, ob_err *err)
{
	struct settings unused;

	return read_settings(conf, &unused, err);
}

static int count_sessions(ob_ctx *ctx)
{
	opened = ob_counter(ctx, "sessions_opened", "Clients that connected");
	if (opened < 0) {
		return opened;
	}
	closed = ob_counter(ctx, "sessions_closed", "Clients that went");
	if (closed < 0) {
		return closed;
	}

	int rc = ob_on_event(ctx, OB_EVENT_SESSION_OPENED, on_session);

	return rc < 0 ? rc : ob_on_event(ctx, OB_EVENT_SESSION_CLOSED, on_session);
}

static int start(ob_ctx *ctx, const json_t *conf)
{
	ob_err err = {.text = ""};
	int rc = read_settings(conf, &settings, &err);

	if (rc < 0) {
		ob_log(ctx, OB_LOG_ERROR, "conf: %s", err.text);
		return rc;
	}

	ob_node_info node = {.size = sizeof(node)};

	rc = ob_node(ctx, &node);
	if (rc < 0) {
		return rc;
	}
	own_role = node.role_id;
	rc = count_sessions(ctx);
	if (rc < 0) {
		return rc;
	}
	rc = ob_on_filter(ctx, FILTER_PRIORITY, admit);
	return rc < 0 ? rc : ob_on_client_message(ctx, decide);
}

static int reconf(ob_ctx *ctx, const json_t *conf, int phase, ob_err *err)
{
	struct settings fresh;
	int rc = read_settings(conf, &fresh, err);

	if (rc < 0) {
		return rc;
	}
	if (phase == OB_RECONF_APPLY) {
		settings = fresh;
		ob_log(ctx, OB_LOG_NOTICE, "%zu refused id ranges, max_body %zu", settings.spans,
		       settings.max_body);
	}
	return 0;
}

OB_MODULE(proxy, .version = "1.0.0", .check = check, .start = start, .reconf = reconf);
